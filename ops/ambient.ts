/** What surrounds a computation without being passed to it: noGrad, anomaly mode, transform depth, device. */
import { AsyncLocalStorage } from "node:async_hooks";

/** Where tensors live and compute. */
export type Device = "host" | "webgpu";

/** Ambient state, immutable; a changed copy is entered for the length of a call, awaits included. */
export interface Ambient {
  /** New nodes are not differentiable. */
  readonly noGrad: boolean;
  /** Depth of functional transforms that are being evaluated. */
  readonly depth: number;
  /** Collects every node made, with the line that made it. */
  readonly anomaly: AnomalyLog | null;
  /** Collects every tensor made, to be disposed at the end. */
  readonly tidy: TidyList | null;
  /** Device of new tensors, over the default. */
  readonly device: Device | null;
  /** Random numbers of its own, over the global ones. */
  readonly rng: { seed: number; count: number } | null;
  /** Looks on at backward passes and assignments. */
  readonly watch: Watch | null;
}

/** Instruments of a training step; tensors and nodes are theirs to interpret. */
export interface Watch {
  /** A backward pass begins; what it returns sees each node's cotangent once it is complete. */
  backward(root: unknown, seed: unknown): ((node: unknown, ct: unknown) => void) | null;
  /** A handle has got another value in place of `before`. */
  assign(handle: unknown, before: unknown, by: string): void;
}

/** What `tidy` has seen made, and nodes that something outside holds. */
export interface TidyList {
  readonly made: unknown[];
  readonly escaped: unknown[];
}

/** Nodes made under anomaly detection, in order. */
export interface AnomalyLog {
  /** By node: its operands, which it lets go of once it has a value, the line that made it, and for whose derivative. */
  readonly made: Map<unknown, { inputs: readonly unknown[]; stack: string; backwardOf: unknown }>;
  backwardOf: unknown;
  /** Instead of the line at hand, where a recorded node is made again. */
  stack: string | null;
}

const storage = new AsyncLocalStorage<Ambient>();
const NONE: Ambient = {
  noGrad: false,
  depth: 0,
  anomaly: null,
  tidy: null,
  device: null,
  rng: null,
  watch: null,
};

/** The ambient state at this point of the program. */
export function ambient(): Ambient {
  return storage.getStore() ?? NONE;
}

/** Runs `f` with some of the ambient state replaced; asynchronous functions keep it across awaits. */
export function withAmbient<T>(change: Partial<Ambient>, f: () => T): T {
  return storage.run({ ...ambient(), ...change }, f);
}
