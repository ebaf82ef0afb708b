/** What a run of some structure does on the host, over and over. */
import type { Work } from "../../ops/cost.ts";
import type { DType } from "../../ops/dtype.ts";
import type { Aval, Movement, View } from "../../ops/primitive.ts";
import type { Kernel } from "./loops.ts";

/** Where the array of a slot comes from. */
export type SlotKind = "input" | "key" | "arena" | "root";

/** One array of a run. */
export interface Slot {
  readonly dtype: DType;
  readonly size: number;
  kind: SlotKind;
  /** Position in the run's graph of an input or a random key. */
  readonly source: number;
  /** Bytes into the arena. */
  at: number;
}

/** A number of this run that the geometry of a kernel holds: an offset that depends on where slices start. */
export interface Dynamic {
  readonly g: Int32Array;
  readonly index: number;
  readonly base: number;
  readonly parts: readonly DynamicPart[];
}

export interface DynamicPart {
  readonly op: Movement;
  readonly x: View;
  readonly y: Aval;
  readonly source: number;
}

/** A number leaf: its value this run goes to `k`. */
export interface Constant {
  readonly source: number;
  readonly dtype: DType;
  /** Where there is no source. */
  readonly value: number;
}

/** A result that may be written where an input stands which it replaces, while nothing else sees that. */
export interface Takeover {
  /** The slots. */
  readonly root: number;
  readonly input: number;
  /** The kernel from which on the input is gone. */
  readonly kernel: number;
}

/** What a run of some structure does, over and over. */
export interface Schedule {
  readonly kernels: readonly Kernel[];
  /** What each kernel does. */
  readonly works: readonly Work[];
  readonly geometry: readonly Int32Array[];
  readonly slots: readonly Slot[];
  /** Slots outside of the arena. */
  readonly bound: readonly number[];
  readonly constants: readonly Constant[];
  readonly dynamics: readonly Dynamic[];
  /** The slot of each root. */
  readonly roots: readonly number[];
  readonly takeovers: readonly Takeover[];
  /** Bytes of the arena that it needs. */
  readonly bytes: number;
  /** Bytes of its results. */
  readonly results: number;
  /** Elements of its largest array. */
  readonly largest: number;
  /** Number of steps that it was made from. */
  readonly steps: number;
}

/** Which steps are computed by which kernels, the last excluded. */
export interface KernelGroup {
  readonly steps: readonly number[];
  readonly from: number;
  readonly to: number;
}
