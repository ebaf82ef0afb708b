/** What a run does on the device, for one structure: dispatches, their parameters, and where values lie. */
import type { Attributes } from "../../ops/primitive.ts";
import type { Saved } from "../../ops/out_of_memory.ts";
import type { Work } from "../../ops/cost.ts";
import type { Kernel } from "./kernels/kernel.ts";

/** Bytes of memory that a dispatch binds. */
export interface Bound {
  readonly kind: "input" | "root" | "arena" | "parameters" | "faults";
  /** Position in the graph, root slot or arena chunk. */
  readonly index: number;
  readonly offset: number;
  readonly bytes: number;
}

/** One kernel call. */
export interface Dispatch {
  readonly kernel: Kernel;
  readonly bindings: readonly Bound[];
  readonly groups: readonly [number, number];
  /** Its parameters, as a byte offset. */
  readonly at: number;
  /** What it does. */
  readonly work: Work;
}

/** Parameters of a run, seen as integers and as floats. */
export class Words {
  readonly i32: Int32Array<ArrayBuffer>;
  readonly u32: Uint32Array<ArrayBuffer>;
  readonly f32: Float32Array<ArrayBuffer>;
  constructor(bytes: number) {
    const buffer = new ArrayBuffer(bytes);
    this.i32 = new Int32Array(buffer);
    this.u32 = new Uint32Array(buffer);
    this.f32 = new Float32Array(buffer);
  }
}

/** Attributes of this run's nodes, by position in the graph. */
export type RunAttributes = (source: number) => Attributes;

/** Writes what is data of a run (numbers, keys, where slices start) into its parameters. */
export type Patch = (words: Words, attributes: RunAttributes) => void;

/** Where a root's value comes from: memory of its own, or an input that it is another name for. */
export interface RootSource {
  readonly kind: "slot" | "input";
  readonly index: number;
}

/** The result in `slot` is written over the input at position `input`. */
export interface Takeover {
  readonly slot: number;
  readonly input: number;
}

/** What to say of an index that is out of range. */
export type FaultMessage = (index: number) => string;

/** Everything about a run but its data. Knows no device, so it outlives one. */
export interface Plan {
  readonly dispatches: readonly Dispatch[];
  readonly words: Words;
  readonly patches: readonly Patch[];
  /** Bytes of each arena chunk. */
  readonly chunks: readonly number[];
  /** Bytes of each root slot. */
  readonly slots: readonly number[];
  readonly roots: readonly RootSource[];
  /** Slots whose memory is that of an input which nobody else sees, or has a copy of it to begin with. */
  readonly takeovers: readonly Takeover[];
  /** Positions of inputs that are bound. */
  readonly inputs: readonly number[];
  /** Calls which can fail: the words that name where, and what to say. */
  readonly faults: readonly { readonly word: number; readonly message: FaultMessage }[];
  /** It is run over and over with the same numbers: its parameters stay on the device. */
  readonly steady?: boolean;
  /** The names of the ops, for errors. */
  readonly label: string;
  /** What a backward pass in it keeps of the forward pass. */
  readonly saved?: Saved;
}
