/** The host engine: schedules, cached by structure, run over typed arrays. */
import {
  allocate,
  bytesPerElement,
  type DType,
  packBf16,
  roundTo,
  type TypedArray,
  workingBytes,
} from "../../ops/dtype.ts";
import { collect, lower, type RunGraph } from "../../ops/lower.ts";
import type { Node, Storage } from "../../ops/node.ts";
import {
  isAllocationFailure,
  type Label,
  labelOf,
  namesOf,
  outOfMemory,
  type OutOfMemoryError,
  savedForBackward,
  showBytes,
} from "../../ops/out_of_memory.ts";
import type { Recorder } from "../../ops/profile.ts";
import { elementsOf, HostStorage, kept, type StoredArray } from "../../ops/reference.ts";
import type { Engine, MemoryNeed, MemoryReport } from "../../ops/runs.ts";
import type { RunPlan } from "../../ops/report.ts";
import type { RunKey } from "../../ops/structure.ts";
import { availableMemory, LARGE_REQUEST } from "../available.ts";
import { Collector, type Owned } from "../collector.ts";
import { arrayAt, HostMemory, isShared } from "./memory.ts";
import { type KernelGroup, makeSchedule, type Schedule } from "./schedule.ts";
import { createRunner } from "./wasm/runner.ts";

/** Limits of what {@linkcode HostEngine} keeps. */
export interface HostEngineOptions {
  /** Schedules in the cache; default 500. */
  readonly schedules?: number;
  /** Steps of all schedules in the cache together; default 200,000. */
  readonly steps?: number;
}

/** What runs of a schedule share: its arrays in an arena, and its numbers. */
interface Frame {
  readonly arena: ArenaBlock;
  /** Arrays by slot; those of inputs and roots are set for the time of a run only. */
  readonly values: TypedArray[];
  readonly numbers: Float64Array;
}

/** A schedule in the cache. Its frame may be collected while nothing runs. */
interface Entry {
  readonly schedule: Schedule;
  frame: WeakRef<Frame> | null;
}

/** Where the intermediates of all schedules lie: in shared memory, or in a buffer of its own. */
interface ArenaBlock {
  readonly buffer: ArrayBuffer;
  readonly at: number;
  readonly bytes: number;
}

/** What is given back with an array: bytes of the account, and a place in shared memory or -1. */
interface Held {
  readonly live: number;
  readonly bytes: number;
  readonly at: number;
  readonly label: Label | null;
}

/** A value whose bytes are accounted for on their own, and given back when no storage has its array. */
class OwnedStorage extends HostStorage {
  constructor(data: StoredArray, label: Label | null, readonly owned: Owned<Held>) {
    super(data, label);
  }
}

/** A value whose bytes are accounted for together with the others of its run. */
class AccountedStorage extends HostStorage {
  constructor(data: StoredArray, readonly account: object) {
    super(data);
  }
}

/** Arrays from this size on are accounted for on their own; of smaller ones a run's scalars together, and the rest. */
const LARGE = 1 << 10, SCALAR = 8;
/** Arrays from so many bytes on lie in shared memory; results that may be taken from it while none comes back. */
const SHARED = 1 << 12, UNRETURNED = 1 << 28;
const REPLACED = new Error("Cannot use a value that an update in place has replaced");
/** The arena grows at least to this, and by at most so much more than a run needs. */
const SMALLEST_ARENA = 1 << 16, MOST_GROWTH = 1 << 26;
const LARGEST = "an array of the host has at most 2^31 - 1 elements";
const NOTHING: TypedArray = new Float32Array(0);

/** Computes on the host in generated JavaScript. */
export class HostEngine implements Engine {
  readonly device = "host";
  readonly #cache = new Map<RunKey, Entry>();
  readonly #scheduleLimit: number;
  readonly #stepLimit: number;
  #cachedSteps = 0;
  readonly #memory = new HostMemory();
  readonly #runner = createRunner(this.#memory);
  #arena: WeakRef<ArenaBlock> | null = null;
  /** What gives the arena's place back. */
  #arenaOwned: Owned<Held> | null = null;
  /** The frame of the run that is being done. */
  #running: Frame | null = null;
  #live = 0;
  readonly #collector = new Collector<Held>((held) => this.#release(held), () => this.#live);
  /** Bytes of results in shared memory since any came back. */
  #taken = 0;
  #peak = 0;
  #budget = Infinity;
  #recorder: Recorder | null = null;
  /** How many storages share an array, where it is more than one. */
  readonly #shared = new WeakMap<StoredArray, number>();

  constructor(options: HostEngineOptions = {}) {
    this.#scheduleLimit = options.schedules ?? 500;
    this.#stepLimit = options.steps ?? 200_000;
  }

  upload(data: TypedArray, dtype: DType): Storage {
    const bytes = data.length * bytesPerElement(dtype), action = `hold ${data.length} elements of ${dtype}`;
    this.admit(data.length, dtype, action);
    const label: Label = { by: "data", shape: [data.length], dtype, name: null, stack: null };
    return this.#withMemory(bytes, action, null, () => {
      if (dtype === "bf16") return this.#store(packBf16(data), label);
      const own = this.#placed(dtype, data.length);
      if (own === null) return this.#store(data.slice(), label);
      own.set(data);
      return this.#store(own, label);
    });
  }

  admit(elements: number, dtype: DType, action: string): void {
    this.#admit(elements * bytesPerElement(dtype), 0, elements, action, null);
  }

  run(roots: Node[]): void {
    const start = this.#recorder === null ? 0 : performance.now(), graph = collect(roots);
    this.#execute(this.#entry(graph), graph, setNumbers, start);
  }

  record(recorder: Recorder | null): Promise<void> {
    this.#recorder = recorder;
    return Promise.resolve();
  }

  planned(roots: readonly Node[]): MemoryNeed {
    const { schedule } = this.#entry(collect(roots, false));
    return { results: schedule.results, arena: schedule.bytes };
  }

  compile(graph: RunGraph): () => boolean {
    // A schedule of its own, in whose frame the numbers stay.
    const entry: Entry = { schedule: makeSchedule(lower(graph), graph.nodes, this.#runner), frame: null };
    let numbers: Float64Array | null = null;
    const prepare: typeof setNumbers = (schedule, nodes, frame) => {
      if (frame.numbers !== numbers) setNumbers(schedule, nodes, frame);
      ({ numbers } = frame);
    };
    return () => {
      this.#execute(entry, graph, prepare, this.#recorder === null ? 0 : performance.now());
      return true;
    };
  }

  describe(graph: RunGraph): RunPlan {
    const lowered = lower(graph), groups: KernelGroup[] = [];
    const { kernels, bytes } = makeSchedule(lowered, graph.nodes, this.#runner, groups);
    return {
      lowered,
      kernels: groups.map(({ steps, from, to }) => {
        return { steps, dispatches: to - from, source: kernels.slice(from, to).map(String).join("\n\n") };
      }),
      arena: bytes,
    };
  }

  /** Runs a schedule on the values of the graph's inputs; `start` is when the run began, for a recorder. */
  #execute(entry: Entry, graph: RunGraph, prepare: typeof setNumbers, start: number): void {
    const { results, bytes, largest } = entry.schedule;
    this.#admit(results, bytes, largest, "compute", graph);
    this.#withMemory(results + bytes, "compute", graph, () => {
      const frame = this.#running = this.#frame(entry);
      prepare(entry.schedule, graph.nodes, frame);
      this.#attempt(entry.schedule, graph, frame);
    });
    this.#peak = Math.max(this.#peak, this.#live + bytes);
    this.#recorder?.run({
      device: "host",
      start,
      duration: performance.now() - start,
      kernels: entry.schedule.kernels.length,
    });
    this.#collector.check();
  }

  /** Does all kernels of a run; where one fails, nothing has changed. */
  #attempt(schedule: Schedule, { nodes, roots }: RunGraph, { values, numbers }: Frame): void {
    const { slots, bound, kernels, works, geometry } = schedule;
    let isDone = false;
    try {
      for (let k = 0; k < bound.length; k++) {
        const i = bound[k], { kind, dtype, size, source } = slots[i];
        if (kind === "input") values[i] = elementsOf(nodes[source].value as HostStorage);
        else if (kind === "root") values[i] = this.#allocate(dtype, size);
        else {
          values[i] = allocate(dtype, size);
          values[i].set(nodes[source].p.value);
        }
      }
      const recorder = this.#recorder;
      for (let i = 0; i < kernels.length; i++) {
        const start = recorder === null ? 0 : performance.now();
        kernels[i](values, numbers, geometry[i], nodes);
        recorder?.kernel({ ...works[i], device: "host", start, duration: performance.now() - start });
      }
      this.#realise(nodes, roots, schedule, values);
      isDone = true;
    } finally {
      for (let k = 0; k < bound.length; k++) {
        const i = bound[k];
        if (!isDone && slots[i].kind === "root") this.#giveBack(values[i]);
        values[i] = NOTHING;
      }
      this.#running = null;
    }
  }

  /** Throws where results and an arena of so many bytes do not fit, once garbage is collected and the old arena gone. */
  #admit(results: number, arena: number, largest: number, action: string, graph: RunGraph | null): void {
    let limit = largest < 2 ** 31 ? this.#lacks(results, arena) : LARGEST;
    if (limit === null) return;
    if (limit !== LARGEST) {
      this.#collector.collect();
      if (this.#lacks(results, arena) === null) return;
      this.#dropArena();
      limit = this.#lacks(results, arena);
    }
    if (limit !== null) throw this.#shortage(results + arena, limit, action, graph);
  }

  /** Why so many bytes do not fit, or null. */
  #lacks(results: number, arena: number): string | null {
    const held = this.#arena?.deref()?.bytes ?? 0;
    const more = results + Math.max(0, arena - held);
    if (this.#live + held + more > this.#budget) return `the budget is ${showBytes(this.#budget)}`;
    if (more < LARGE_REQUEST) return null;
    const available = this.#memory.free + availableMemory();
    return more > available ? `the machine has ${showBytes(available)} left` : null;
  }

  /** Does `work` again where JavaScript had no array for it, once garbage is collected. */
  #withMemory<T>(bytes: number, action: string, graph: RunGraph | null, work: () => T): T {
    try {
      return work();
    } catch (error) {
      if (!isAllocationFailure(error)) throw error;
    }
    this.#collector.collect();
    try {
      return work();
    } catch (error) {
      if (!isAllocationFailure(error)) throw error;
      throw this.#shortage(bytes, `the machine refuses it (${error.message})`, action, graph, error);
    }
  }

  #shortage(
    asked: number,
    limit: string,
    action: string,
    graph: RunGraph | null,
    cause?: unknown,
  ): OutOfMemoryError {
    const { live, arena } = this.memory();
    return outOfMemory({
      device: "host",
      action: graph === null ? action : `${action} ${namesOf(graph)}`,
      asked,
      limit,
      live,
      arena,
      held: [...this.#collector.held()].map(({ label, live }) => ({ label, bytes: live })),
      saved: graph === null ? null : savedForBackward(graph),
      cause,
    });
  }

  read(values: { storage: Storage }[]): Promise<TypedArray[]> {
    // Copies, of arrays that nobody else shares.
    return Promise.resolve(values.map(({ storage }) => {
      const elements = elementsOf(storage as HostStorage), { length, byteLength } = elements;
      return this.#withMemory(byteLength, `read ${length} elements`, null, () => elements.slice());
    }));
  }

  peek(storage: Storage): TypedArray | null {
    return storage instanceof HostStorage && storage.error === null ? elementsOf(storage).slice() : null;
  }

  sync(): Promise<void> {
    return Promise.resolve();
  }

  free(storage: Storage): void {
    this.#free(storage, new Error("Cannot use a tensor after dispose()"));
  }

  release(storage: Storage): void {
    this.#free(storage, REPLACED);
  }

  #free(storage: Storage, why: Error): void {
    if (storage.error !== null) return;
    storage.error = why;
    if (!(storage instanceof HostStorage)) return;
    const { data } = storage, others = this.#shared.get(data) ?? 0;
    (storage as { data: StoredArray }).data = data.subarray(0, 0).slice();
    if (others > 0) this.#shared.set(data, others - 1);
    else if (storage instanceof OwnedStorage) this.#collector.giveBack(storage.owned);
  }

  memory(): MemoryReport {
    return {
      live: this.#live,
      pooled: this.#memory.free,
      arena: this.#arena?.deref()?.bytes ?? 0,
      peak: Math.max(this.#peak, this.#live),
      budget: this.#budget,
    };
  }

  resetPeak(): void {
    this.#peak = this.#live;
  }

  setBudget(bytes: number): void {
    this.#budget = bytes;
  }

  #entry(graph: RunGraph): Entry {
    const { key } = graph, entry = this.#cache.get(key);
    if (entry === undefined) return this.#add(key, makeSchedule(lower(graph), graph.nodes, this.#runner));
    if (this.#cache.size > this.#scheduleLimit >> 1) {
      // Last used, last in the map; while there is plenty of room the order does not matter.
      this.#cache.delete(key);
      this.#cache.set(key, entry);
    }
    return entry;
  }

  #add(key: RunKey, schedule: Schedule): Entry {
    const entry: Entry = { schedule, frame: null };
    this.#cache.set(key, entry);
    this.#cachedSteps += schedule.steps;
    for (const [oldest, { schedule: old }] of this.#cache) {
      const isFull = this.#cache.size > this.#scheduleLimit || this.#cachedSteps > this.#stepLimit;
      if (!isFull || oldest === key) break;
      this.#cache.delete(oldest);
      this.#cachedSteps -= old.steps;
    }
    return entry;
  }

  /** Arrays for the intermediates of a schedule, in an arena which all schedules share. */
  #frame(entry: Entry): Frame {
    const { schedule } = entry, made = entry.frame?.deref();
    let arena = this.#arena?.deref();
    if (made !== undefined && made.arena === arena) return made;
    if (arena === undefined || arena.bytes < schedule.bytes) arena = this.#newArena(schedule.bytes, arena);
    const { buffer, at } = arena;
    const values = schedule.slots.map((s) => {
      if (s.kind !== "arena") return NOTHING;
      if (s.at + s.size * workingBytes(s.dtype) > arena.bytes) throw new Error("Internal: arena too small");
      return arrayAt(s.dtype, buffer, at + s.at, s.size);
    });
    const numbers = Float64Array.from(schedule.constants, (c) => c.value);
    const frame: Frame = { arena, values, numbers };
    entry.frame = new WeakRef(frame);
    return frame;
  }

  /** An arena in the place of the one before, whose frames are made anew. */
  #newArena(least: number, old: ArenaBlock | undefined): ArenaBlock {
    const bytes = Math.max(
      SMALLEST_ARENA,
      least,
      Math.min(2 * (old?.bytes ?? 0), 2 * least, least + MOST_GROWTH),
    );
    this.#dropArena();
    const at = this.#memory.take(bytes);
    const arena: ArenaBlock = at === null
      ? { buffer: new ArrayBuffer(bytes), at: 0, bytes }
      : { buffer: this.#memory.buffer, at, bytes };
    if (at !== null) this.#arenaOwned = this.#collector.watch(arena, { live: 0, bytes, at, label: null });
    this.#arena = new WeakRef(arena);
    return arena;
  }

  #dropArena(): void {
    if (this.#arenaOwned !== null) this.#collector.giveBack(this.#arenaOwned);
    this.#arena = this.#arenaOwned = null;
  }

  /** An array for a result; its elements are anything. Brain floats are packed into an array of their own. */
  #allocate(dtype: DType, size: number): TypedArray {
    return dtype === "bf16" ? allocate(dtype, size) : this.#placed(dtype, size) ?? allocate(dtype, size);
  }

  /**
   * What is kept of a result. Where memory comes back by finalisers only, what a loop makes that never lets anything come
   * back is left to the heap, whose collector needs no turn of the event loop.
   */
  #kept(values: TypedArray, dtype: DType): StoredArray {
    if (!isShared(values)) return kept(values, dtype);
    if (this.#collector.isPrompt) return values;
    this.#taken += values.byteLength;
    if (this.#taken <= UNRETURNED) return values;
    this.#taken -= values.byteLength;
    const copy = values.slice();
    this.#giveBack(values);
    return copy;
  }

  #giveBack(values: TypedArray): void {
    if (isShared(values)) this.#memory.give(values.byteOffset, values.byteLength);
  }

  /** An array in shared memory; null where it is too small for that, or there is no room. */
  #placed(dtype: DType, size: number): TypedArray | null {
    const bytes = size * workingBytes(dtype), at = bytes < SHARED ? null : this.#memory.take(bytes);
    return at === null ? null : arrayAt(dtype, this.#memory.buffer, at, size);
  }

  #release({ live, bytes, at }: Held): void {
    this.#live -= live;
    if (at < 0) return;
    this.#memory.give(at, bytes);
    this.#taken = 0;
  }

  /** Gives the roots their values, all at once. */
  #realise(nodes: readonly Node[], roots: readonly number[], schedule: Schedule, values: TypedArray[]): void {
    const { slots } = schedule,
      arrays = new Map<number, StoredArray>(),
      made = new Map<number, HostStorage>();
    // Before anything changes: there may be no memory for a copy.
    for (const slot of schedule.roots) {
      const { kind, dtype } = slots[slot];
      if (kind === "input" || arrays.has(slot)) continue;
      const data = this.#kept(values[slot], dtype);
      if (!isShared(data)) values[slot] = NOTHING; // its place is given back
      arrays.set(slot, data);
    }
    const accounts: [object | null, object | null] = [null, null], bytes = [0, 0];
    for (let i = 0; i < roots.length; i++) {
      const node = nodes[roots[i]];
      if (node.value !== null) continue;
      const slot = schedule.roots[i], { kind, source } = slots[slot];
      const before = kind === "input" ? nodes[source].value as HostStorage : made.get(slot);
      if (before !== undefined) {
        node.value = this.#another(before, node);
        continue;
      }
      const data = arrays.get(slot)!;
      if (data.byteLength >= LARGE) node.value = this.#store(data, labelOf(node));
      else {
        const group = data.byteLength <= SCALAR ? 0 : 1;
        bytes[group] += data.byteLength;
        node.value = new AccountedStorage(data, accounts[group] ??= {});
      }
      if (roots.length > 1) made.set(slot, node.value as HostStorage);
    }
    accounts.forEach((account, kind) => {
      if (account === null) return;
      this.#live += bytes[kind];
      this.#collector.watch(account, { live: bytes[kind], bytes: 0, at: -1, label: null });
    });
  }

  /** A storage of its own for the array of another. */
  #another(storage: HostStorage, { cell }: Node): HostStorage {
    const { data, label } = storage;
    this.#shared.set(data, (this.#shared.get(data) ?? 0) + 1);
    if (label !== null) label.name ??= cell?.name ?? null;
    if (storage instanceof OwnedStorage) return new OwnedStorage(data, label, storage.owned);
    return storage instanceof AccountedStorage
      ? new AccountedStorage(data, storage.account)
      : new HostStorage(data);
  }

  #store(data: StoredArray, label: Label): HostStorage {
    const live = data.byteLength, at = isShared(data) ? data.byteOffset : -1;
    this.#live += live;
    return new OwnedStorage(data, label, this.#collector.watch(data, { live, bytes: live, at, label }));
  }
}

/** Puts numbers, and where slices start, into a schedule and its frame. */
function setNumbers(
  { constants, dynamics }: Schedule,
  nodes: readonly Node[],
  { numbers }: Frame,
): void {
  for (let i = 0; i < constants.length; i++) {
    const { source, dtype } = constants[i];
    if (source >= 0) numbers[i] = roundTo(dtype, Number(nodes[source].p.value));
  }
  for (let i = 0; i < dynamics.length; i++) {
    const { g, index, base, parts } = dynamics[i];
    let offset = base;
    for (const part of parts) offset += part.op.view(part.x, nodes[part.source].p, part.y)!.offset;
    g[index] = offset;
  }
}

/** The engine of device "host". */
export function createHostEngine(options: HostEngineOptions = {}): HostEngine {
  return new HostEngine(options);
}
