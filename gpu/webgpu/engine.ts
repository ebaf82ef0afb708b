/** The WebGPU engine: plans by structure, runs in order, reads together, and a new device when one is lost. */
import type { Attributes } from "../../ops/primitive.ts";
import type { DType, TypedArray } from "../../ops/dtype.ts";
import { collect, type RunGraph } from "../../ops/lower.ts";
import type { Node, Storage } from "../../ops/node.ts";
import { labelOf, showBytes } from "../../ops/out_of_memory.ts";
import type { Recorder } from "../../ops/profile.ts";
import type { Engine, MemoryNeed, MemoryReport } from "../../ops/runs.ts";
import type { RunPlan } from "../../ops/report.ts";
import { describeRun } from "./describe.ts";
import { type AdapterReport, DeviceLostError, type Limits, type OpenDevice, openDevice } from "./device.ts";
import { checkType } from "./emit.ts";
import type { Plan } from "./plan.ts";
import { makeRunPlan, Plans } from "./plans.ts";
import { type Block, classOf } from "./pool.ts";
import { storedBytes } from "./kernels/kernel.ts";
import { CACHED, Reader } from "./reads.ts";
import { deviceBits, type Needs, Runtime } from "./runtime.ts";
import { RunRecord, WebGpuStorage } from "./storage.ts";
import { Timer } from "./timer.ts";

/** Runs with indices that may go unchecked before the engine looks by itself. */
const UNCHECKED = 256;

/** What the engine did, for tests and benchmarks. */
export interface EngineCounts {
  runs: number;
  dispatches: number;
  /** Runs whose structure was new. */
  planned: number;
}

/** Computes on a GPU through WebGPU. */
export class WebGpuEngine implements Engine {
  readonly device = "webgpu";
  readonly counts: EngineCounts = { runs: 0, dispatches: 0, planned: 0 };
  /** Called with errors that no tensor carries. */
  reportFault: ((error: Error) => void) | null = null;
  #runtime: Runtime;
  #reader: Reader;
  /** The new device on its way, while the old one is lost. */
  #recovery: Promise<void> | null = null;
  /** Work that waits for the new device. */
  #queue: { work: () => void; fail: (error: Error) => void }[] = [];
  readonly #plans = new Plans(this.counts, (error) => this.reportFault?.(error));
  #budget = Infinity;
  #recorder: Recorder | null = null;
  /** A look at the faults of runs that nobody reads. */
  #checking: Promise<void> | null = null;

  constructor(open: OpenDevice) {
    [this.#runtime, this.#reader] = this.#start(open);
  }

  /** Whether the device is a rasteriser on the CPU. */
  get isSoftware(): boolean {
    return this.#runtime.open.info.isSoftware;
  }

  /** What the device is. */
  get info(): AdapterReport {
    return this.#runtime.open.info;
  }

  /** Which runs fuse their steps. */
  get fusion(): Plans["fusion"] {
    return this.#plans.fusion;
  }
  set fusion(how: Plans["fusion"]) {
    this.#plans.fusion = how;
  }

  /** Whether fused plans are on their way. */
  get isCompiling(): boolean {
    return this.#plans.isCompiling;
  }

  /** What plans go by. */
  get limits(): Limits {
    return this.#runtime.limits;
  }

  /** Has plans made as if the device had these limits. */
  assume(limits: Partial<Limits>): void {
    const runtime = this.#runtime;
    runtime.limits = { ...runtime.open.limits, ...limits };
    this.#plans.forget();
  }

  /** The device in use; another one after a loss. */
  get gpu(): GPUDevice {
    return this.#runtime.device;
  }

  #start(open: OpenDevice): [Runtime, Reader] {
    const runtime = new Runtime(open, this.#budget);
    open.device.addEventListener("uncapturederror", (event) => {
      event.preventDefault();
      this.reportFault?.(new Error(`WebGPU: ${(event as GPUUncapturedErrorEvent).error.message}`));
    });
    open.device.lost.then((info) => this.#onLost(runtime, info));
    return [runtime, new Reader(runtime)];
  }

  #onLost(runtime: Runtime, info: { readonly reason: string; readonly message: string }): void {
    runtime.lost = new DeviceLostError(
      `The GPU device was lost (${
        info.message || info.reason
      }), and this tensor lived only there: compute it again from data ` +
        `on the host, or load parameters and the optimiser's state from a checkpoint (loadCheckpoint). New tensors get a new device`,
    );
    if (runtime !== this.#runtime || this.#recovery !== null) return;
    this.#recovery = openDevice().catch(() => null).then((open) => {
      const queue = this.#queue;
      this.#queue = [];
      this.#recovery = null;
      if (open === null) {
        const error = new DeviceLostError(
          "The GPU device was lost and there is no other: compute on the host",
        );
        for (const { fail } of queue) fail(error);
        return;
      }
      [this.#runtime, this.#reader] = this.#start(open);
      for (const { work, fail } of queue) {
        try {
          work();
        } catch (error) {
          fail(error as Error);
        }
      }
    });
  }

  /** Does `work` now, or on the next device where this one is lost. */
  #submit(work: () => void, fail: (error: Error) => void): void {
    if (this.#recovery !== null) this.#queue.push({ work, fail });
    else if (this.#runtime.lost !== null) {
      // The last try found no device: try again.
      this.#onLost(this.#runtime, { reason: "no device", message: "" });
      this.#queue.push({ work, fail });
    } else work();
  }

  admit(elements: number, dtype: DType, action: string): void {
    const { open: { limits: { buffer } } } = this.#runtime, bytes = elements * storedBytes(dtype);
    const needs: Needs = { action, results: [bytes], chunks: [], saved: null };
    if (bytes > buffer) {
      throw this.#runtime.shortage(needs, `a buffer of this device has at most ${showBytes(buffer)}`);
    }
    this.#runtime.admit(needs);
  }

  upload(data: TypedArray, dtype: DType): Storage {
    checkType(dtype, this.#runtime.open.limits);
    const action = `hold ${data.length} elements of ${dtype}`;
    this.admit(data.length, dtype, action);
    const needs: Needs = { action, results: [data.length * storedBytes(dtype)], chunks: [], saved: null };
    const bits = deviceBits(data, dtype);
    const storage = new WebGpuStorage({ by: "data", shape: [data.length], dtype, name: null, stack: null });
    // A queued upload keeps its own copy: the caller may change the array meanwhile.
    const own = this.#recovery === null && this.#runtime.lost === null
      ? bits
      : deviceBits(data.slice(), dtype);
    this.#submit(() => {
      const record = new RunRecord(), runtime = this.#runtime;
      runtime.watched(record, needs, () => storage.place(runtime, runtime.upload(own)));
      storage.record = record;
    }, (error) => storage.error = error);
    if (data.byteLength <= CACHED) storage.cached = data.slice();
    this.#runtime.collector.check();
    return storage;
  }

  async record(recorder: Recorder | null): Promise<void> {
    this.#recorder = recorder;
    const { timer } = this.#runtime;
    this.#runtime.timer = recorder === null ? null : new Timer(this.#runtime.device, recorder);
    await timer?.finish();
  }

  run(roots: Node[]): void {
    const start = this.#recorder === null ? 0 : performance.now(), graph = collect(roots);
    const plan = this.#plans.of(graph, this.#runtime, true);
    const storages = this.#storages(graph);
    const fail = (error: Error): void => storages.forEach((s) => s !== null && (s.error ??= error));
    try {
      this.#submit(() => this.#execute(graph, plan, storages, start), fail);
    } catch (error) {
      fail(error as Error);
      throw error;
    }
    this.#runtime.collector.check();
  }

  /** New storages behind the roots that have no value. */
  #storages({ nodes, roots }: RunGraph): (WebGpuStorage | null)[] {
    return roots.map((position) => {
      const node = nodes[position];
      if (node.value !== null) return null;
      const storage = new WebGpuStorage(labelOf(node));
      node.value = storage;
      return storage;
    });
  }

  planned(roots: readonly Node[]): MemoryNeed {
    const { slots, chunks } = this.#plans.of(collect(roots, false), this.#runtime, false);
    return { results: slots.reduce((n, bytes) => n + classOf(bytes), 0), arena: sum(chunks) };
  }

  compile(graph: RunGraph): () => boolean {
    const attributes = (source: number): Attributes => graph.nodes[source].p;
    const plan = makeRunPlan(graph, this.#runtime, { fusion: this.#plans.fusion !== "never", steady: true });
    this.counts.planned++;
    // Of what is data only random keys change from now on.
    let isKey = false;
    const watched = (source: number): Attributes => {
      isKey ||= graph.nodes[source].op.name === "randomKey";
      return attributes(source);
    };
    const patches = plan.patches.filter((patch) => {
      isKey = false;
      patch(plan.words, watched);
      return isKey;
    });
    const steady: Plan = { ...plan, patches, steady: true };
    let calls = 0;
    return () => {
      if (this.#recovery !== null || this.#runtime.lost !== null) return false;
      // A model's first values, which were replaced by others, and those that the first call replaces are nobody's then.
      if (calls++ < 2) this.#runtime.collector.checkSoon();
      this.#execute(graph, steady, this.#storages(graph), this.#recorder === null ? 0 : performance.now());
      this.#runtime.collector.check();
      return true;
    };
  }

  describe(graph: RunGraph): RunPlan {
    return describeRun(graph, this.#runtime.limits, this.fusion !== "never");
  }

  #execute(graph: RunGraph, plan: Plan, storages: readonly (WebGpuStorage | null)[], start: number): void {
    const runtime = this.#runtime;
    const record = new RunRecord();
    const inputs: (Block | null)[] = [];
    const banned = new Set<GPUBuffer>();
    for (const position of plan.inputs) {
      const storage = graph.nodes[position].value as WebGpuStorage;
      if (storage.error !== null) throw storage.error;
      inputs[position] = storage.block!;
      banned.add(storage.buffer);
      if (storage.record !== null) record.dependOn(storage.record);
    }
    const taken = takenOver(plan, graph), { slots, chunks, saved = null } = plan;
    const results = taken.size === 0 ? slots : slots.filter((_, i) => !taken.has(i));
    const needs: Needs = { action: `compute ${plan.label}`, results, chunks, saved };
    runtime.admit(needs);
    runtime.watched(record, needs, () => {
      const blocks = new Map([...taken].map(([slot, { block }]) => [slot, block!]));
      const slots = runtime.slots(plan, banned, blocks);
      try {
        runtime.run(plan, inputs, slots, (source) => graph.nodes[source].p, record);
        plan.roots.forEach((source, i) => {
          const storage = storages[i];
          if (storage === null || storage.error !== null) return;
          if (source.kind === "slot") {
            storage.place(runtime, slots[source.index].retain());
            storage.record = record;
          } else {
            const input = graph.nodes[source.index].value as WebGpuStorage;
            if (storage === input) return;
            if (input.error !== null) {
              storage.error = input.error;
              return;
            }
            storage.place(runtime, input.block!.retain());
            storage.record = input.record;
            storage.cached = input.cached;
          }
        });
        for (const storage of taken.values()) storage.release();
      } finally {
        for (const block of slots) block.release();
      }
    });
    if (runtime.faults.unchecked >= UNCHECKED && this.#checking === null) {
      this.#checking = this.#reader.sync().catch(() => {}).finally(() => this.#checking = null);
    }
    this.#recorder?.run({
      device: "webgpu",
      start,
      duration: performance.now() - start,
      kernels: plan.dispatches.length,
    });
    this.counts.runs++;
    this.counts.dispatches += plan.dispatches.length;
    runtime.pool.peak = Math.max(runtime.pool.peak, runtime.pool.live + sum(chunks));
  }

  async read(values: { storage: Storage; dtype: DType; size: number }[]): Promise<TypedArray[]> {
    const storages = values.map((v) => v.storage as WebGpuStorage);
    for (const storage of storages) storage.beginRead();
    try {
      await this.#recovery;
      const reader = this.#reader;
      return await Promise.all(values.map((v, i) => reader.read({ ...v, storage: storages[i] })));
    } finally {
      for (const storage of storages) storage.endRead();
    }
  }

  peek(storage: Storage): TypedArray | null {
    const { cached, error } = storage as WebGpuStorage;
    return error !== null || cached === null ? null : cached.slice();
  }

  async sync(): Promise<void> {
    await this.#recovery;
    await this.#reader.sync();
  }

  free(storage: Storage): void {
    (storage as WebGpuStorage).free();
  }

  /**
   * Gives the memory of a value that was replaced, and that nothing else can see, back at once instead of when it is
   * collected: what is submitted later may have it, and any later use is an error. A value that is being read waits for the collector.
   */
  release(storage: Storage): void {
    // What waits for a new device may use it still.
    this.#submit(() => (storage as WebGpuStorage).release(), () => {});
  }

  memory(): MemoryReport {
    const { pool, arenaBytes } = this.#runtime;
    return {
      live: pool.live,
      pooled: pool.pooled,
      arena: arenaBytes,
      peak: pool.peak,
      budget: this.#budget,
    };
  }

  resetPeak(): void {
    this.#runtime.pool.peak = this.#runtime.pool.live;
  }

  setBudget(bytes: number): void {
    this.#budget = this.#runtime.budget = bytes;
  }

  /** Destroys the device; the engine gets another one when it is used again. */
  destroy(): void {
    this.#runtime.destroy();
  }
}

/** By slot: the inputs whose memory becomes that of results, since nobody else sees them. */
function takenOver({ takeovers, inputs }: Plan, { nodes }: RunGraph): Map<number, WebGpuStorage> {
  const taken = new Map<number, WebGpuStorage>();
  if (takeovers.length === 0) return taken;
  const uses = new Map<Storage | null, number>();
  for (const i of inputs) uses.set(nodes[i].value, (uses.get(nodes[i].value) ?? 0) + 1);
  for (const { slot, input } of takeovers) {
    const { isExclusive, value } = nodes[input], storage = value as WebGpuStorage;
    if (isExclusive && uses.get(value) === 1 && storage.isSole) taken.set(slot, storage);
  }
  return taken;
}

function sum(list: readonly number[]): number {
  return list.reduce((a, b) => a + b, 0);
}

/** An engine on the fastest adapter, or null where there is none. */
export async function createWebGpuEngine(): Promise<WebGpuEngine | null> {
  const open = await openDevice();
  return open === null ? null : new WebGpuEngine(open);
}
