/** Where a program's time goes: a table by kernel, and a trace for Perfetto. */
import type { Device } from "../ops/ambient.ts";
import {
  type KernelTime,
  measureRoofline,
  recordKernels,
  type Roofline,
  type RunTime,
} from "../ops/profile.ts";
import { registerRoot } from "../ops/runs.ts";
import { type Shape, showShape } from "../ops/shape.ts";
import { Tensor } from "../ops/tensor.ts";
import { Drawing, type Presentation } from "./bundle.ts";
import { table } from "./table.ts";

/** Options of {@linkcode profile}. */
export interface ProfileOptions {
  /** What a device can do, in place of what is measured: the figures of its maker, say. */
  readonly roofline?: Partial<Record<Device, Roofline>>;
}

/** All calls of one kernel. */
export interface KernelSummary {
  /** The ops in it. */
  readonly name: string;
  /** Shape of what it computes last. */
  readonly shape: Shape;
  /** Where it ran. */
  readonly device: Device;
  /** How often. */
  readonly calls: number;
  /** Milliseconds in all calls: the device's clock on WebGPU, the wall clock on the host. */
  readonly time: number;
  /** Arithmetic operations in all calls, from the records of the ops. */
  readonly flops: number;
  /** Bytes read and written in all calls, each array once a call. */
  readonly bytes: number;
  /** The shortest time that the roofline allows over the time that it took. */
  readonly roofline: number;
}

/** An event of a trace, in the format of Chrome and Perfetto: times are microseconds. */
export interface TraceEvent {
  /** "X": something that lasts; "M": the name of a process or thread. */
  readonly ph: "X" | "M";
  /** What it is. */
  readonly name: string;
  /** Process: a device. */
  readonly pid: number;
  /** Thread: the kernels of a device, or its runs as the host sees them. */
  readonly tid: number;
  /** When it began, from the call of `profile` on. */
  readonly ts: number;
  /** How long it took. */
  readonly dur: number;
  /** "kernel" or "run". */
  readonly cat?: string;
  /** What else is known. */
  readonly args?: Readonly<Record<string, unknown>>;
}

/** A trace that Perfetto (ui.perfetto.dev) and chrome://tracing open. */
export interface Trace {
  /** All events. */
  readonly traceEvents: readonly TraceEvent[];
  /** How viewers write times. */
  readonly displayTimeUnit: "ms";
}

/** Processes and threads of a trace. */
const PROCESSES: Readonly<Record<Device, number>> = { host: 1, webgpu: 2 };
const KERNELS = 1, RUNS = 2;

/** What is said of a function that computed nothing. */
const NOTHING =
  "and nothing was computed: ops wait until somebody reads their values; return the tensors, or read them, as in profile(() => loss.item())";

/** What a function did: shown as a table by kernel, the slowest first. */
export class Profile<T> extends Drawing {
  /** Made by {@linkcode profile}. */
  constructor(
    /** What the function returned. */
    readonly result: T,
    /** By kernel, the slowest first. */
    readonly kernels: readonly KernelSummary[],
    /** Every call, in order. */
    readonly calls: readonly KernelTime[],
    /** The host's time for each run. */
    readonly runs: readonly RunTime[],
    /** Milliseconds from the call until all devices were done. */
    readonly duration: number,
    /** What shares are of. */
    readonly rooflines: Partial<Record<Device, Roofline>>,
    private readonly start: number,
  ) {
    super();
  }

  #table(): Drawing {
    const { kernels, calls, runs, duration } = this, total = kernels.reduce((sum, k) => sum + k.time, 0);
    const isMixed = new Set(kernels.map((k) => k.device)).size > 1;
    const limits = Object.entries(this.rooflines).map(([device, { flops, bytes }]) =>
      `${device} ${(flops / 1e9).toPrecision(3)} GFLOP/s, ${(bytes / 1e9).toPrecision(3)} GB/s`
    );
    const title =
      `${duration.toPrecision(4)} ms, ${total.toPrecision(4)} ms of it in ${calls.length} kernels of ` +
      `${runs.length} runs` + (limits.length === 0 ? "" : `; roofline: ${limits.join("; ")}`);
    const rows = kernels.map((k) => ({
      kernel: k.name,
      shape: showShape(k.shape),
      ...(isMixed ? { device: k.device } : {}),
      calls: k.calls,
      ms: k.time,
      "% of time": total === 0 ? 0 : 100 * k.time / total,
      "GFLOP/s": rate(k.flops, k.time),
      "GB/s": rate(k.bytes, k.time),
      "% of roofline": 100 * k.roofline,
    }));
    return table(rows, { title, digits: 3 });
  }

  /** The table, by kernel. */
  override text(): string {
    return this.calls.length === 0 ? `${this.duration.toPrecision(4)} ms, ${NOTHING}` : this.#table().text();
  }

  /** The table for a notebook. */
  protected override render(): Promise<Presentation> {
    return this.calls.length === 0 ? Promise.resolve({ data: {} }) : this.#table().present();
  }

  /** Every kernel and run on a line of time. */
  trace(): Trace {
    const events: TraceEvent[] = [];
    const devices = new Set([...this.calls, ...this.runs].map((x) => x.device));
    const named = (pid: number, tid: number, what: string, name: string): void =>
      void events.push({ ph: "M", name: what, pid, tid, ts: 0, dur: 0, args: { name } });
    for (const device of devices) {
      named(PROCESSES[device], 0, "process_name", device);
      named(PROCESSES[device], KERNELS, "thread_name", "kernels");
      named(PROCESSES[device], RUNS, "thread_name", "runs, on the host");
    }
    const at = (time: number): number => Math.max(0, 1000 * (time - this.start));
    for (const { device, start, duration, kernels } of this.runs) {
      const name = `run of ${kernels} kernels`;
      events.push({
        ph: "X",
        name,
        cat: "run",
        pid: PROCESSES[device],
        tid: RUNS,
        ts: at(start),
        dur: 1000 * duration,
        args: { kernels },
      });
    }
    for (const { device, name, shape, start, duration, flops, bytes } of this.calls) {
      events.push({
        ph: "X",
        name,
        cat: "kernel",
        pid: PROCESSES[device],
        tid: KERNELS,
        ts: at(start),
        dur: 1000 * duration,
        args: { shape: showShape(shape), flops, bytes },
      });
    }
    return { traceEvents: events, displayTimeUnit: "ms" };
  }

  /** Writes the trace to a file, which ui.perfetto.dev opens. */
  async save(path: string | URL): Promise<void> {
    await Deno.writeTextFile(path, JSON.stringify(this.trace()));
  }
}

/** Billions a second; `ms` may be 0. */
function rate(amount: number, ms: number): number {
  return ms === 0 ? 0 : amount / ms / 1e6;
}

/**
 * Runs `f`, waits for it, for the tensor or list of tensors that it returns and for all devices, and shows where the time went: for each kernel its calls, time, rates and the
 * share of the roofline, which is the time that arithmetic at the peak rate or traffic at the peak bandwidth would take
 * at least, over the time that it took. Peaks are measured once, by a large product and a large addition, or given; what
 * stays in the processor's caches goes beyond them.
 *
 * Times are the device's own on WebGPU, where it has a clock for them, and the wall clock's otherwise. While profiled, WebGPU
 * does each kernel in a pass of its own, which takes the host longer; without `profile` nothing is measured.
 *
 * ```ts
 * import { profile, randn } from "@cotangent/cotangent";
 * const x = randn([64, 64]);
 * const p = await profile(() => x.matmul(x).tanh().sum().item());
 * console.log(p.kernels.length > 0, p.trace().traceEvents.length > 0); // true true
 * ```
 */
export async function profile<T>(f: () => T | Promise<T>, options: ProfileOptions = {}): Promise<Profile<T>> {
  const { result, kernels, runs, start, duration } = await recordKernels(async () => {
    const result = await f();
    // A tensor that f returns without reading it is what was to be seen.
    for (const x of [result].flat()) if (x instanceof Tensor) registerRoot(x.node);
    return result;
  });
  const rooflines: Partial<Record<Device, Roofline>> = {};
  for (const device of new Set(kernels.map((k) => k.device))) {
    rooflines[device] = options.roofline?.[device] ?? await measureRoofline(device);
  }
  const groups = new Map<string, KernelTime[]>();
  for (const k of kernels) {
    const key = `${k.device} ${k.name} ${k.shape}`, group = groups.get(key);
    if (group === undefined) groups.set(key, [k]);
    else group.push(k);
  }
  const summaries = [...groups.values()].map((group): KernelSummary => {
    const { name, shape, device } = group[0], peak = rooflines[device]!;
    const sum = (f: (k: KernelTime) => number): number => group.reduce((n, k) => n + f(k), 0);
    const time = sum((k) => k.duration), flops = sum((k) => k.flops), bytes = sum((k) => k.bytes);
    const least = 1000 * sum((k) => Math.max(k.flops / peak.flops, k.bytes / peak.bytes));
    return {
      name,
      shape,
      device,
      calls: group.length,
      time,
      flops,
      bytes,
      roofline: time === 0 ? 0 : least / time,
    };
  });
  summaries.sort((a, b) => b.time - a.time);
  return new Profile(result, summaries, kernels, runs, duration, rooflines, start);
}
