/** What engines do while a function runs: every run and kernel with its time. */
import type { Device } from "./ambient.ts";
import type { Work } from "./cost.ts";
import { tensor } from "./create.ts";
import { engines, sync } from "./runs.ts";
import type { Tensor } from "./tensor.ts";

/** Times are milliseconds, as `performance.now` counts them. */
export interface Timed {
  /** Where. */
  readonly device: Device;
  /** When it began. */
  readonly start: number;
  /** How long it took. */
  readonly duration: number;
}

/** One call of a kernel. */
export interface KernelTime extends Timed, Work {}

/** What the host spends on one run: to find or make its plan, and to carry it out or hand it over. */
export interface RunTime extends Timed {
  /** Kernels in it. */
  readonly kernels: number;
}

/** What engines tell while they are recorded. */
export interface Recorder {
  /** A kernel was run. */
  kernel(time: KernelTime): void;
  /** A run was done, or handed over. */
  run(time: RunTime): void;
}

/** What a function did on all devices. */
export interface Recording<T> {
  readonly result: T;
  readonly kernels: readonly KernelTime[];
  readonly runs: readonly RunTime[];
  readonly start: number;
  /** Milliseconds from the call until all devices were done. */
  readonly duration: number;
}

let isRecording = false;

/** Runs `f`, waits until all devices are done, and gives what they did. */
export async function recordKernels<T>(f: () => T | Promise<T>): Promise<Recording<T>> {
  if (isRecording) throw new Error("Cannot profile inside profile: engines keep one record at a time");
  isRecording = true;
  const kernels: KernelTime[] = [], runs: RunTime[] = [];
  const recorder: Recorder = { kernel: (k) => kernels.push(k), run: (r) => runs.push(r) };
  try {
    await sync();
    for (const engine of engines()) await engine.record?.(recorder);
    const start = performance.now(), result = await f();
    await sync();
    const duration = performance.now() - start;
    for (const engine of engines()) await engine.record?.(null);
    kernels.sort((a, b) => a.start - b.start);
    return { result, kernels, runs, start, duration };
  } finally {
    for (const engine of engines()) await engine.record?.(null);
    isRecording = false;
  }
}

/** The most that a device does in a second. */
export interface Roofline {
  /** Arithmetic operations. */
  readonly flops: number;
  /** Bytes to and from memory. */
  readonly bytes: number;
}

const rooflines = new WeakMap<object, Roofline>();
/** Milliseconds that a measurement should take, and how often it is repeated. */
const LONG = 4, REPEATS = 3;
const SIDES = [256, 512, 1024, 2048, 4096], ELEMENTS = [2 ** 22, 2 ** 24, 2 ** 26];

/**
 * The roofline of a device as this library reaches it, measured once: the best rate of a matrix product in f32, and of
 * adding a number to every element of an array, each as large as it must be to take a few milliseconds.
 */
export async function measureRoofline(device: Device): Promise<Roofline> {
  const engine = engines().find((e) => e.device === device)!;
  let found = rooflines.get(engine);
  if (found === undefined) {
    const filled = (n: number, shape: number[]) => tensor(new Float32Array(n).fill(0.5), { shape, device });
    const flops = await best(SIDES, (n) => {
      const x = filled(n * n, [n, n]);
      return () => x.matmul(x).keep();
    }, (k) => k.flops);
    const bytes = await best(ELEMENTS, (n) => {
      const x = filled(n, [n]);
      return () => x.add(1).keep();
    }, (k) => k.bytes);
    rooflines.set(engine, found = { flops, bytes });
  }
  return found;
}

/** The best rate a second of what `make` gives, at the first size that takes long enough. */
async function best(
  sizes: readonly number[],
  make: (n: number) => () => Tensor,
  amount: (k: KernelTime) => number,
): Promise<number> {
  let rate = 0;
  for (const n of sizes) {
    const f = make(n);
    let shortest = Infinity;
    for (let i = 0; i < REPEATS; i++) {
      const { result, kernels } = await recordKernels(f);
      result.dispose(); // so that the next one has memory that was written before
      for (const k of kernels) {
        if (amount(k) === 0 || k.duration === 0) continue;
        rate = Math.max(rate, 1000 * amount(k) / k.duration);
        shortest = Math.min(shortest, k.duration);
      }
    }
    if (shortest >= LONG) break;
  }
  return rate;
}
