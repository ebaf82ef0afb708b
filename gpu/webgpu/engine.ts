/** The WebGPU engine: plans by structure, runs in order, reads together, and a new device when one is lost. */
import type { Attributes } from "../../ops/primitive.ts";
import { areDeterministicAlgorithmsEnabled } from "../../ops/determinism.ts";
import type { DType, TypedArray } from "../../ops/dtype.ts";
import { collect, lower, type Lowered, type RunGraph } from "../../ops/lower.ts";
import type { Node, Storage } from "../../ops/node.ts";
import type { Engine, MemoryReport } from "../../ops/runs.ts";
import type { RunKey } from "../../ops/structure.ts";
import { Collector } from "../collector.ts";
import { type AdapterReport, DeviceLostError, type OpenDevice, openDevice } from "./device.ts";
import { checkType, makePlan } from "./emit.ts";
import type { Plan } from "./plan.ts";
import type { Block } from "./pool.ts";
import { CACHED, Reader } from "./reads.ts";
import { deviceBits, Runtime } from "./runtime.ts";
import { RunRecord, WebGpuStorage } from "./storage.ts";
import { type Upgrade, Upgrades } from "./upgrades.ts";

/** Structures whose plans are kept, and dispatches in all of them. */
const PLANS = 2048, PLANNED_DISPATCHES = 400_000;

/** Runs with indices that may go unchecked before the engine looks by itself. */
const UNCHECKED = 256;

/**
 * Runs of more steps may fuse at first sight: where fusion saves so many dispatches (of some 40 us) for each kernel that
 * has to be compiled (in some 10 ms).
 */
const LONG = 4096, REPEATED = 256;

/** The plans of a structure: with a kernel for each step, then with fusion, which may be on its way. */
interface Entry {
  apart: Plan | null;
  fused: Plan | null;
  upgrade: Upgrade | null;
}

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
  /**
   * Which runs fuse their steps: those of a structure that returns, once what that takes is compiled (so that what runs
   * once shares the kernels of everything else and compiles nothing), all, or none. Results have the same bits.
   */
  fusion: "returning" | "always" | "never" = "returning";

  #runtime: Runtime;
  #reader: Reader;
  /** The new device on its way, while the old one is lost. */
  #recovery: Promise<void> | null = null;
  /** Work that waits for the new device. */
  #queue: { work: () => void; fail: (error: Error) => void }[] = [];
  readonly #plans = new Map<RunKey, Entry>();
  readonly #upgrades = new Upgrades((error) => this.reportFault?.(error));
  #planned = 0;
  #peakArena = 0;
  /** A look at the faults of runs that nobody reads. */
  #checking: Promise<void> | null = null;
  readonly #collector = new Collector(() => this.#runtime.pool.live);

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

  /** Whether fused plans are on their way. */
  get isCompiling(): boolean {
    return !this.#upgrades.isIdle;
  }

  /** The device in use; another one after a loss. */
  get gpu(): GPUDevice {
    return this.#runtime.device;
  }

  #start(open: OpenDevice): [Runtime, Reader] {
    const runtime = new Runtime(open);
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
        `on the host. New tensors get a new device`,
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

  upload(data: TypedArray, dtype: DType): Storage {
    checkType(dtype, this.#runtime.open.limits);
    const { buffer } = this.#runtime.open.limits;
    const bits = deviceBits(data, dtype);
    if (bits.byteLength > buffer) {
      throw new RangeError(
        `Cannot hold ${data.length} elements of ${dtype} in one buffer of this device: ${bits.byteLength} bytes, at most ${buffer}`,
      );
    }
    const storage = new WebGpuStorage();
    // A queued upload keeps its own copy: the caller may change the array meanwhile.
    const own = this.#recovery === null && this.#runtime.lost === null
      ? bits
      : deviceBits(data.slice(), dtype);
    this.#submit(() => {
      const record = new RunRecord();
      this.#runtime.watched(
        record,
        "an upload",
        () => storage.place(this.#runtime, this.#runtime.upload(own)),
      );
      storage.record = record;
    }, (error) => storage.error = error);
    if (data.byteLength <= CACHED) storage.cached = data.slice();
    this.#collector.check();
    return storage;
  }

  run(roots: Node[]): void {
    const graph = collect(roots);
    const plan = this.#planFor(graph);
    const storages = graph.roots.map((position) => {
      const node = graph.nodes[position];
      if (node.value !== null) return null;
      return node.value = new WebGpuStorage();
    });
    this.#submit(
      () => this.#execute(graph, plan, storages),
      (error) => storages.forEach((s) => s !== null && (s.error ??= error)),
    );
    this.#collector.check();
  }

  compile(graph: RunGraph): () => boolean {
    const attributes = (source: number): Attributes => graph.nodes[source].p;
    const { limits } = this.#runtime.open, fusion = this.fusion !== "never";
    const plan = makePlan(lower(graph), limits, attributes, { fusion });
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
    return () => {
      if (this.#recovery !== null || this.#runtime.lost !== null) return false;
      const storages = graph.roots.map((position) => {
        const node = graph.nodes[position];
        if (node.value !== null) return null;
        return node.value = new WebGpuStorage();
      });
      this.#execute(graph, steady, storages);
      this.#collector.check();
      return true;
    };
  }

  #planFor(graph: RunGraph): Plan {
    let entry = this.#plans.get(graph.key);
    if (entry === undefined) {
      this.counts.planned++;
      entry = { apart: null, fused: null, upgrade: null };
    }
    // Most recently used last.
    this.#plans.delete(graph.key);
    this.#plans.set(graph.key, entry);
    switch (areDeterministicAlgorithmsEnabled() ? "always" : this.fusion) {
      case "never":
        return entry.apart ??= this.#keep(entry, this.#make(graph, false));
      case "always":
        return entry.fused ??= this.#keep(entry, this.#make(graph, true));
      case "returning":
        if (entry.fused !== null) return entry.fused;
        return entry.apart === null ? this.#first(entry, graph) : this.#upgraded(entry, graph) ?? entry.apart;
    }
  }

  /** The plan of a structure that was not seen before. */
  #first(entry: Entry, graph: RunGraph): Plan {
    const lowered = lower(graph);
    if (lowered.steps.length > LONG) {
      // An unrolled loop: a handful of kernels, over and over.
      const plan = this.#make(graph, true, lowered), kernels = new Set(plan.dispatches.map((d) => d.kernel));
      if (kernels.size * REPEATED < lowered.steps.length - plan.dispatches.length) {
        return entry.fused = this.#keep(entry, plan);
      }
    }
    return entry.apart = this.#keep(entry, this.#make(graph, false, lowered));
  }

  /** The fused plan of a structure that returns, or null while it is on its way. */
  #upgraded(entry: Entry, graph: RunGraph): Plan | null {
    const apart = entry.apart!;
    if (entry.upgrade === null) {
      // The plan is made later, when the nodes are gone.
      const lowered = lower(graph), attributes = graph.nodes.map((node): Attributes => node.p);
      const { limits } = this.#runtime.open;
      const make = (): Plan => {
        const plan = makePlan(lowered, limits, (source) => attributes[source]);
        // Where there was nothing to fuse, kernels and bind groups are there already.
        return apart.dispatches.length === plan.dispatches.length ? apart : plan;
      };
      entry.upgrade = this.#upgrades.begin(make, this.#runtime);
    }
    const { upgrade } = entry;
    try {
      const plan = upgrade.take();
      if (plan === null) return null;
      this.#upgrades.drop(upgrade);
      entry.upgrade = entry.apart = null;
      this.#planned -= apart.dispatches.length;
      return entry.fused = this.#keep(entry, plan);
    } catch (error) {
      this.#upgrades.fail(upgrade, error);
      return null;
    }
  }

  #make(graph: RunGraph, fusion: boolean, lowered: Lowered = lower(graph)): Plan {
    return makePlan(lowered, this.#runtime.open.limits, (source) => graph.nodes[source].p, { fusion });
  }

  /** Counts a plan of an entry, and forgets the oldest entries where there are too many. */
  #keep(entry: Entry, plan: Plan): Plan {
    this.#planned += plan.dispatches.length;
    for (const [key, old] of this.#plans) {
      if (this.#plans.size <= PLANS && this.#planned <= PLANNED_DISPATCHES || old === entry) break;
      this.#plans.delete(key);
      this.#planned -= (old.fused?.dispatches.length ?? 0) + (old.apart?.dispatches.length ?? 0);
      if (old.upgrade !== null) this.#upgrades.drop(old.upgrade);
    }
    return plan;
  }

  #execute(graph: RunGraph, plan: Plan, storages: readonly (WebGpuStorage | null)[]): void {
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
    runtime.watched(record, plan.label, () => {
      const slots = runtime.slots(plan, banned);
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
      } finally {
        for (const block of slots) block.release();
      }
    });
    if (runtime.faults.unchecked >= UNCHECKED && this.#checking === null) {
      this.#checking = this.#reader.sync().catch(() => {}).finally(() => this.#checking = null);
    }
    this.counts.runs++;
    this.counts.dispatches += plan.dispatches.length;
    this.#peakArena = Math.max(this.#peakArena, runtime.arenaBytes);
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
    return { live: pool.live, pooled: pool.pooled, arena: arenaBytes, peak: pool.peak + this.#peakArena };
  }

  /** Destroys the device; the engine gets another one when it is used again. */
  destroy(): void {
    this.#runtime.destroy();
  }
}

/** An engine on the fastest adapter, or null where there is none. */
export async function createWebGpuEngine(): Promise<WebGpuEngine | null> {
  const open = await openDevice();
  return open === null ? null : new WebGpuEngine(open);
}
