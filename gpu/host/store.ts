/** What the host engine holds: arrays of values, the arena, and what room is left. */
import {
  allocate,
  bytesPerElement,
  type DType,
  packBf16,
  type TypedArray,
  workingBytes,
} from "../../ops/dtype.ts";
import type { RunGraph } from "../../ops/lower.ts";
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
import { HostStorage, kept, type StoredArray } from "../../ops/reference.ts";
import type { MemoryReport } from "../../ops/runs.ts";
import { availableMemory, LARGE_REQUEST } from "../available.ts";
import { Collector, type Owned } from "../collector.ts";
import { arrayAt, HostMemory, isShared } from "./memory.ts";
import type { Schedule } from "./schedule.ts";

/** Where the intermediates of all schedules lie: in shared memory, or in a buffer of its own. */
export interface ArenaBlock {
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
export class OwnedStorage extends HostStorage {
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
/** The arena grows at least to this, and by at most so much more than a run needs. */
const SMALLEST_ARENA = 1 << 16, MOST_GROWTH = 1 << 26;
const LARGEST = "an array of the host has at most 2^31 - 1 elements";
/** Why a value has none any more. */
export const REPLACED: Error = new Error("Cannot use a value that an update in place has replaced");
/** Stands where no array is. */
export const NOTHING: TypedArray = new Float32Array(0);

/** Memory of one host engine. */
export class HostStore {
  readonly memory = new HostMemory();
  readonly collector = new Collector<Held>((held) => this.#release(held), () => this.#live);
  /** Most bytes that may be in use. */
  budget = Infinity;
  #live = 0;
  #peak = 0;
  #arena: WeakRef<ArenaBlock> | null = null;
  /** What gives the arena's place back. */
  #arenaOwned: Owned<Held> | null = null;
  /** Bytes of results in shared memory since any came back. */
  #taken = 0;
  /** How many storages share an array, where it is more than one. */
  readonly #shared = new WeakMap<StoredArray, number>();

  /** A value with a copy of these elements. */
  upload(data: TypedArray, dtype: DType): HostStorage {
    const bytes = data.length * bytesPerElement(dtype), action = `hold ${data.length} elements of ${dtype}`;
    this.admit(bytes, 0, data.length, action, null);
    const label: Label = { by: "data", shape: [data.length], dtype, name: null, stack: null };
    return this.withMemory(bytes, action, null, () => {
      if (dtype === "bf16") return this.#store(packBf16(data), label);
      const own = this.#placed(dtype, data.length);
      if (own === null) return this.#store(data.slice(), label);
      own.set(data);
      return this.#store(own, label);
    });
  }

  /** Gives a value's memory back, unless others share it; using it is `why` from now on. */
  free(storage: Storage, why: Error): void {
    if (storage.error !== null) return;
    storage.error = why;
    if (!(storage instanceof HostStorage)) return;
    const { data } = storage, others = this.#shared.get(data) ?? 0;
    (storage as { data: StoredArray }).data = data.subarray(0, 0).slice();
    if (others > 0) this.#shared.set(data, others - 1);
    else if (storage instanceof OwnedStorage) this.collector.giveBack(storage.owned);
  }

  /** Whether a value alone has its array. */
  isOwn(storage: Storage | null): storage is OwnedStorage {
    return storage instanceof OwnedStorage && storage.error === null &&
      !(storage.data instanceof Uint16Array) &&
      (this.#shared.get(storage.data) ?? 0) === 0;
  }

  /** Marks a value as written over by a run that failed. */
  lose(storage: OwnedStorage, cause: unknown): void {
    this.free(
      storage,
      new Error("Cannot use a value that a step which failed had begun to replace", { cause }),
    );
  }

  /** Bytes in use. */
  report(): MemoryReport {
    return {
      live: this.#live,
      pooled: this.memory.free,
      arena: this.#arena?.deref()?.bytes ?? 0,
      peak: Math.max(this.#peak, this.#live),
      budget: this.budget,
    };
  }

  /** The peak counts from now on. */
  resetPeak(): void {
    this.#peak = this.#live;
  }

  /** Counts a run whose intermediates took so many bytes. */
  note(arena: number): void {
    this.#peak = Math.max(this.#peak, this.#live + arena);
  }

  /** Throws where results and an arena of so many bytes do not fit, once garbage is collected and the old arena gone. */
  admit(results: number, arena: number, largest: number, action: string, graph: RunGraph | null): void {
    let limit = largest < 2 ** 31 ? this.#lacks(results, arena) : LARGEST;
    if (limit === null) return;
    if (limit !== LARGEST) {
      this.collector.collect();
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
    if (this.#live + held + more > this.budget) return `the budget is ${showBytes(this.budget)}`;
    if (more < LARGE_REQUEST) return null;
    const available = this.memory.free + availableMemory();
    return more > available ? `the machine has ${showBytes(available)} left` : null;
  }

  /** Does `work` again where JavaScript had no array for it, once garbage is collected. */
  withMemory<T>(bytes: number, action: string, graph: RunGraph | null, work: () => T): T {
    try {
      return work();
    } catch (error) {
      if (!isAllocationFailure(error)) throw error;
    }
    this.collector.collect();
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
    const { live, arena } = this.report();
    return outOfMemory({
      device: "host",
      action: graph === null ? action : `${action} ${namesOf(graph)}`,
      asked,
      limit,
      live,
      arena,
      held: [...this.collector.held()].map(({ label, live }) => ({ label, bytes: live })),
      saved: graph === null ? null : savedForBackward(graph),
      cause,
    });
  }

  /** The arena, or where it is too small another in its place, for which frames are made anew. */
  arena(least: number): ArenaBlock {
    const old = this.#arena?.deref();
    if (old !== undefined && old.bytes >= least) return old;
    const bytes = Math.max(
      SMALLEST_ARENA,
      least,
      Math.min(2 * (old?.bytes ?? 0), 2 * least, least + MOST_GROWTH),
    );
    this.#dropArena();
    const at = this.memory.take(bytes);
    const arena: ArenaBlock = at === null
      ? { buffer: new ArrayBuffer(bytes), at: 0, bytes }
      : { buffer: this.memory.buffer, at, bytes };
    if (at !== null) this.#arenaOwned = this.collector.watch(arena, { live: 0, bytes, at, label: null });
    this.#arena = new WeakRef(arena);
    return arena;
  }

  #dropArena(): void {
    if (this.#arenaOwned !== null) this.collector.giveBack(this.#arenaOwned);
    this.#arena = this.#arenaOwned = null;
  }

  /** An array for a result; its elements are anything. Brain floats are packed into an array of their own. */
  allocate(dtype: DType, size: number): TypedArray {
    return dtype === "bf16" ? allocate(dtype, size) : this.#placed(dtype, size) ?? allocate(dtype, size);
  }

  /**
   * What is kept of a result. Where memory comes back by finalisers only, what a loop makes that never lets anything come
   * back is left to the heap, whose collector needs no turn of the event loop.
   */
  #kept(values: TypedArray, dtype: DType): StoredArray {
    if (!isShared(values)) return kept(values, dtype);
    if (this.collector.isPrompt) return values;
    this.#taken += values.byteLength;
    if (this.#taken <= UNRETURNED) return values;
    this.#taken -= values.byteLength;
    const copy = values.slice();
    this.giveBack(values);
    return copy;
  }

  /** Gives back an array that no value has. */
  giveBack(values: TypedArray): void {
    if (isShared(values)) this.memory.give(values.byteOffset, values.byteLength);
  }

  /** An array in shared memory; null where it is too small for that, or there is no room. */
  #placed(dtype: DType, size: number): TypedArray | null {
    const bytes = size * workingBytes(dtype), at = bytes < SHARED ? null : this.memory.take(bytes);
    return at === null ? null : arrayAt(dtype, this.memory.buffer, at, size);
  }

  #release({ live, bytes, at }: Held): void {
    this.#live -= live;
    if (at < 0) return;
    this.memory.give(at, bytes);
    this.#taken = 0;
  }

  /** Gives the roots their values, all at once. */
  realise(
    nodes: readonly Node[],
    roots: readonly number[],
    schedule: Schedule,
    values: TypedArray[],
    taken: readonly { readonly root: number; readonly storage: OwnedStorage }[],
  ): void {
    const { slots } = schedule,
      arrays = new Map<number, StoredArray>(),
      made = new Map<number, HostStorage>(),
      before = new Map(taken.map(({ root, storage }) => [root, storage]));
    // Before anything changes: there may be no memory for a copy.
    for (const slot of schedule.roots) {
      const { kind, dtype } = slots[slot];
      if (kind === "input" || arrays.has(slot) || before.has(slot)) continue;
      const data = this.#kept(values[slot], dtype);
      if (!isShared(data)) values[slot] = NOTHING; // its place is given back
      arrays.set(slot, data);
    }
    const accounts: [object | null, object | null] = [null, null], bytes = [0, 0];
    for (let i = 0; i < roots.length; i++) {
      const node = nodes[roots[i]];
      if (node.value !== null) continue;
      const slot = schedule.roots[i], { kind, source } = slots[slot];
      const replaced = before.get(slot);
      if (replaced !== undefined) {
        node.value = this.#successor(replaced, node);
        continue;
      }
      const same = kind === "input" ? nodes[source].value as HostStorage : made.get(slot);
      if (same !== undefined) {
        node.value = this.#another(same, node);
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
      this.collector.watch(account, { live: bytes[kind], bytes: 0, at: -1, label: null });
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

  /** A storage with the array of another, which has none from now on. */
  #successor(storage: OwnedStorage, node: Node): HostStorage {
    const { data, owned } = storage, label = labelOf(node);
    if (owned.held !== null) owned.held = { ...owned.held, label };
    storage.error = REPLACED;
    (storage as { data: StoredArray }).data = NOTHING;
    return new OwnedStorage(data, label, owned);
  }

  #store(data: StoredArray, label: Label): HostStorage {
    const live = data.byteLength, at = isShared(data) ? data.byteOffset : -1;
    this.#live += live;
    return new OwnedStorage(data, label, this.collector.watch(data, { live, bytes: live, at, label }));
  }
}
