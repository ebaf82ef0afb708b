/** Values on the device, and the runs they come from: a failed run makes all that depends on it unreadable. */
import type { Storage } from "../../ops/node.ts";
import type { TypedArray } from "../../ops/dtype.ts";
import type { Label } from "../../ops/out_of_memory.ts";
import type { Collector, Owned } from "../collector.ts";
import type { Block } from "./pool.ts";

/** One submitted run, until all checks on it are in. */
export class RunRecord {
  failure: Error | null = null;
  /** Runs which used values of this one while it was unchecked. */
  dependents: RunRecord[] = [];
  /** Checks and unchecked runs that it waits for. */
  open = 0;
  /** Its word among the faults, or -1. */
  slot = -1;

  /** Whether it cannot fail any more. */
  get settled(): boolean {
    return this.open === 0;
  }

  /** Makes this run wait for `other` and fail with it. */
  dependOn(other: RunRecord): void {
    if (other.open === 0 || other.dependents[other.dependents.length - 1] === this) return;
    other.dependents.push(this);
    this.open++;
  }

  /** Counts one check as passed. */
  pass(): void {
    const stack: RunRecord[] = [this];
    while (stack.length > 0) {
      const record = stack.pop()!;
      if (--record.open > 0) continue;
      stack.push(...record.dependents);
      record.dependents = [];
    }
  }

  /** Poisons the results of this run and of all that used them. */
  fail(error: Error): void {
    const stack: RunRecord[] = [this];
    while (stack.length > 0) {
      const record = stack.pop()!;
      if (record.failure !== null) continue;
      record.failure = error;
      stack.push(...record.dependents);
    }
  }
}

/** What is given back with a storage. */
export interface Held {
  readonly block: Block;
  readonly label: Label;
}

/** What a storage needs to know of its device. */
export interface Home {
  /** Why everything on the device is gone, or null. */
  readonly lost: Error | null;
  /** Gives blocks of unreachable storages back. */
  readonly collector: Collector<Held>;
}

const REPLACED = new Error("Cannot use a value that an update in place has replaced");

/** A contiguous value in a block of device memory. */
export class WebGpuStorage implements Storage {
  readonly device = "webgpu";
  /** Copy on the host, of small values that were read. */
  cached: TypedArray | null = null;
  /** The run which computes it, while that can still fail. */
  record: RunRecord | null = null;
  #error: Error | null = null;
  #home: Home | null = null;
  #reads = 0;
  #owned: Owned<Held> | null = null;

  constructor(readonly label: Label) {}

  /** Takes over one ownership of `block`. */
  place(home: Home, block: Block): void {
    this.#home = home;
    this.#owned = home.collector.watch(this, { block, label: this.label });
  }

  /** Its memory, or null while it is not placed yet or when it is gone. */
  get block(): Block | null {
    return this.#owned?.held?.block ?? null;
  }

  get buffer(): GPUBuffer {
    return this.block!.buffer;
  }

  /** Where it begins in its buffer, in bytes. */
  get offset(): number {
    return this.block!.offset;
  }

  get size(): number {
    return this.block!.bytes;
  }

  get error(): Error | null {
    if (this.#error !== null) return this.#error;
    if (this.record !== null && this.record.failure !== null) return this.record.failure;
    return this.#home?.lost ?? null;
  }

  set error(error: Error | null) {
    this.#error = error;
  }

  /** Whether its memory is a buffer that nobody else has and nobody reads from. */
  get isSole(): boolean {
    return this.#reads === 0 && this.error === null && this.block?.owners === 1 && this.block.page === null;
  }

  /** Counts a read under way, for which the memory stays. */
  beginRead(): void {
    this.#reads++;
  }

  /** Ends a read. */
  endRead(): void {
    this.#reads--;
  }

  /**
   * Gives the memory of a replaced value back: later submits may have it, since the queue is in order. A value that is
   * being read is left to the collector: its reader looks for errors when it has the numbers.
   */
  release(): void {
    if (this.#reads > 0) return;
    this.free(REPLACED);
  }

  /** Gives the memory back now. */
  free(why: Error = new Error("Cannot use a tensor after dispose()")): void {
    this.#error ??= why;
    if (this.#owned !== null) this.#home!.collector.giveBack(this.#owned);
    this.cached = null;
  }
}
