/** The host engine: schedules, cached by structure, run over typed arrays. */
import { allocate, type DType, packBf16, roundTo, type TypedArray, workingBytes } from "../../ops/dtype.ts";
import { collect, lower, type RunGraph } from "../../ops/lower.ts";
import type { Node, Storage } from "../../ops/node.ts";
import { elementsOf, HostStorage, kept, type StoredArray } from "../../ops/reference.ts";
import type { Engine, MemoryReport } from "../../ops/runs.ts";
import type { RunKey } from "../../ops/structure.ts";
import { Collector } from "../collector.ts";
import { arrayAt, HostMemory, isShared } from "./memory.ts";
import { makeSchedule, type Schedule } from "./schedule.ts";
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
const SMALLEST_ARENA = 1 << 16;
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
  #live = 0;
  #largest = 0;
  readonly #collector = new Collector(() => this.#live);
  /** Bytes of results in shared memory since any came back. */
  #taken = 0;
  #peak = 0;
  readonly #registry = new FinalizationRegistry<Held>((held) => this.#release(held));
  /** How many storages share an array, where it is more than one. */
  readonly #shared = new WeakMap<StoredArray, number>();

  constructor(options: HostEngineOptions = {}) {
    this.#scheduleLimit = options.schedules ?? 500;
    this.#stepLimit = options.steps ?? 200_000;
  }

  upload(data: TypedArray, dtype: DType): Storage {
    if (dtype === "bf16") return this.#store(packBf16(data));
    const own = this.#placed(dtype, data.length);
    if (own === null) return this.#store(data.slice());
    own.set(data);
    return this.#store(own);
  }

  run(roots: Node[]): void {
    const graph = collect(roots);
    const entry = this.#entry(graph.key) ??
      this.#add(graph.key, makeSchedule(lower(graph), graph.nodes, this.#runner));
    const frame = this.#frame(entry);
    setNumbers(entry.schedule, graph.nodes, frame);
    this.#execute(entry.schedule, graph, frame);
  }

  compile(graph: RunGraph): () => boolean {
    // A schedule of its own, in whose frame the numbers stay.
    const entry: Entry = { schedule: makeSchedule(lower(graph), graph.nodes, this.#runner), frame: null };
    this.#largest = Math.max(this.#largest, entry.schedule.bytes);
    let numbers: Float64Array | null = null;
    return () => {
      const frame = this.#frame(entry);
      if (frame.numbers !== numbers) setNumbers(entry.schedule, graph.nodes, frame);
      ({ numbers } = frame);
      this.#execute(entry.schedule, graph, frame);
      return true;
    };
  }

  /** Runs a schedule on the values of the graph's inputs. */
  #execute(schedule: Schedule, { nodes, roots }: RunGraph, { values, numbers }: Frame): void {
    const { slots, bound, kernels, geometry } = schedule;
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
      for (let i = 0; i < kernels.length; i++) kernels[i](values, numbers, geometry[i], nodes);
      this.#realise(nodes, roots, schedule, values);
      isDone = true;
    } finally {
      for (let k = 0; k < bound.length; k++) {
        const i = bound[k];
        if (!isDone && slots[i].kind === "root") this.#giveBack(values[i]);
        values[i] = NOTHING;
      }
    }
    this.#peak = Math.max(this.#peak, this.#live + schedule.bytes);
    this.#collector.check();
  }

  read(values: { storage: Storage }[]): Promise<TypedArray[]> {
    // Copies, of arrays that nobody else shares.
    return Promise.resolve(values.map(({ storage }) => elementsOf(storage as HostStorage).slice()));
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
    else if (this.#registry.unregister(data)) this.#release(heldBy(data));
  }

  memory(): MemoryReport {
    return {
      live: this.#live,
      pooled: this.#arena?.deref()?.bytes ?? 0,
      arena: this.#largest,
      peak: Math.max(this.#peak, this.#live),
    };
  }

  #entry(key: RunKey): Entry | null {
    const entry = this.#cache.get(key);
    if (entry === undefined) return null;
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
    this.#largest = Math.max(this.#largest, schedule.bytes);
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
    const bytes = Math.max(SMALLEST_ARENA, least, Math.min(2 * (old?.bytes ?? 0), 2 * least));
    if (old !== undefined && this.#registry.unregister(old)) this.#memory.give(old.at, old.bytes);
    const at = this.#memory.take(bytes);
    const arena: ArenaBlock = at === null
      ? { buffer: new ArrayBuffer(bytes), at: 0, bytes }
      : { buffer: this.#memory.buffer, at, bytes };
    if (at !== null) this.#registry.register(arena, { live: 0, bytes, at }, arena);
    this.#arena = new WeakRef(arena);
    return arena;
  }

  /** An array for a result; its elements are anything. Brain floats are packed into an array of their own. */
  #allocate(dtype: DType, size: number): TypedArray {
    return dtype === "bf16" ? allocate(dtype, size) : this.#placed(dtype, size) ?? allocate(dtype, size);
  }

  /**
   * What is kept of a result. What a loop makes that never lets anything come back is left to the heap, whose collector
   * needs no turn of the event loop.
   */
  #kept(values: TypedArray, dtype: DType): StoredArray {
    if (!isShared(values)) return kept(values, dtype);
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
    const stored = new Map<TypedArray, StoredArray>();
    const accounts: [object | null, object | null] = [null, null], bytes = [0, 0];
    for (let i = 0; i < roots.length; i++) {
      const node = nodes[roots[i]];
      if (node.value !== null) continue;
      const slot = schedule.roots[i], { kind, dtype, source } = schedule.slots[slot];
      const before = kind === "input" ? (nodes[source].value as HostStorage).data : stored.get(values[slot]);
      const data = before ?? this.#kept(values[slot], dtype);
      if (before !== undefined) {
        this.#shared.set(data, (this.#shared.get(data) ?? 0) + 1);
        node.value = new HostStorage(data);
        continue;
      }
      if (roots.length > 1) stored.set(values[slot], data);
      if (data.byteLength >= LARGE) node.value = this.#store(data);
      else {
        const group = data.byteLength <= SCALAR ? 0 : 1;
        bytes[group] += data.byteLength;
        node.value = new AccountedStorage(data, accounts[group] ??= {});
      }
    }
    accounts.forEach((account, kind) => {
      if (account === null) return;
      this.#live += bytes[kind];
      this.#registry.register(account, { live: bytes[kind], bytes: 0, at: -1 });
    });
  }

  #store(data: StoredArray): HostStorage {
    this.#live += data.byteLength;
    this.#registry.register(data, heldBy(data), data);
    return new HostStorage(data);
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

function heldBy(data: StoredArray): Held {
  const bytes = data.byteLength;
  return { live: bytes, bytes, at: isShared(data) ? data.byteOffset : -1 };
}

/** The engine of device "host". */
export function createHostEngine(options: HostEngineOptions = {}): HostEngine {
  return new HostEngine(options);
}
