/** The graph: immutable nodes, made by `apply`, and the scopes (traces) that tell inside from captured. */
import { ambient, type Device } from "./ambient.ts";
import { type DType, isFloat } from "./dtype.ts";
import type { Label } from "./out_of_memory.ts";
import type { Attributes, Aval, Primitive } from "./primitive.ts";
import type { Shape } from "./shape.ts";
import type { Tensor } from "./tensor.ts";

/** Bits and their place on a device; what exactly is the engine's business. */
export interface Storage {
  readonly device: Device;
  /** Why the value cannot be had any more (failed run, lost device, disposed); null while it can. */
  error: Error | null;
  /** What it is, for reports of memory, where the engine keeps that. */
  readonly label?: Label | null;
}

/** Bit of {@linkcode Node.track} for gradients by `backward`; transforms use one bit for each depth. */
export const BY_BACKWARD = 1;

/** What gave a parameter another value, so that graphs of the one before can't be differentiated. */
export interface Replacement {
  readonly by: string;
  /** The parameter's name, if it has one. */
  readonly parameter: string | null;
}

/** A call that is not drawn out into nodes: it computes its results together, and builds their graph if someone walks it. */
export interface Origin {
  /** Gives all results of the call their values, or the error that they have instead. */
  compute(): void;
  /** The node in the call's graph that a result stands for. */
  unfold(result: Node): Node;
  /** What gradients of a result would flow to. */
  dependencies(result: Node): readonly Node[];
}

/** A call of a module: what pictures draw its nodes in. */
export interface Scope {
  /** The module's path in the outermost module, `""` for that one. */
  readonly path: string;
  /** The module's class. */
  readonly kind: string;
  /** The call that it was made in. */
  readonly outer: Scope | null;
  /** What its derivative belongs to, once one was made. */
  backward?: Scope;
}

/** What the derivative of something made in `scope` belongs to. */
export function backwardOf(scope: Scope | null): Scope | null {
  if (scope === null) return null;
  const { path, kind, outer } = scope;
  if (scope.backward === undefined) {
    const backward: Scope = { path, kind: `${kind} backward`, outer: backwardOf(outer) };
    // Derivatives of derivatives are in one place.
    scope.backward = backward.backward = backward;
  }
  return scope.backward;
}

let scope: Scope | null = null;

/** The innermost call of a module that is under way. */
export function currentScope(): Scope | null {
  return scope;
}

/** Makes nodes belong to `next` from now on; returns what they belonged to before. */
export function setScope(next: Scope | null): Scope | null {
  const before = scope;
  scope = next;
  return before;
}

let serials = 0;

/** The serial that the next node or handle gets. */
export function nextSerial(): number {
  return serials++;
}

/** One value in the graph. Only its realisation (`value`) changes, from null to bits. */
export class Node implements Aval {
  readonly serial = serials++;
  /** The value, once a run has computed it. */
  value: Storage | null = null;
  /** The handle that this node was made for (a parameter or a cell), if any. */
  cell: Tensor | null = null;
  /** The run that computed it as an intermediate without keeping it; 0 if none. */
  lastRun = 0;
  /** The walk that collected it last, and its place among the nodes of that run. */
  mark = 0;
  place = 0;
  /** The call of a module that made it, if any. */
  scope: Scope | null = scope;
  /** Why there is no graph behind this node any more: what replaced a parameter it used. */
  stale: Replacement | null = null;
  /** For an assignment that still waits for its run: the node before it, which comes back where the run fails. */
  replaces: Node | null = null;
  /** The call of a jitted function that it is a result of, until its graph is asked for. */
  origin: Origin | null = null;
  /** Made by a jitted call for a handle or its gradient, and seen by nothing else since: its memory goes when it is replaced. */
  isExclusive = false;
  #inputs: readonly Node[];

  constructor(
    readonly op: Primitive,
    inputs: readonly Node[],
    readonly p: Attributes,
    readonly shape: Shape,
    readonly dtype: DType,
    readonly device: Device,
    /** Bit set: which differentiations are interested (0: none, the node is a constant to all). */
    readonly track: number,
    /** Longest path of unrealised nodes below. */
    readonly depth: number,
    /** Made under noGrad or by detach: nothing flows through, also in copies of this node. */
    readonly cut: boolean,
  ) {
    this.#inputs = inputs;
  }

  /** Operands; none once the node has let go of its graph. */
  get inputs(): readonly Node[] {
    if (this.origin !== null) this.inputs = [this.origin.unfold(this)];
    return this.#inputs;
  }
  set inputs(list: readonly Node[]) {
    this.origin = null;
    this.#inputs = list;
  }
}

/** For results of jitted steps, which have no graph: the recorded node, for pictures of the structure. */
export const recordedAs: WeakMap<Node, Node> = new WeakMap();

/** A scope in which a function is recorded with placeholders instead of values. */
export interface Trace {
  readonly kind:
    | "vmap"
    | "jit"
    | "scan"
    | "checkpoint"
    | "linearize"
    | "cond"
    | "customRoot"
    | "customLinearSolve";
  /** Nodes from this serial on are inside. */
  readonly start: number;
  /** Assignments made inside, in order, with what the handle held before. */
  readonly effects: Map<Tensor, Node>;
  /** Only jit: one hole for each older handle that is read. */
  readonly capture: ((handle: Tensor) => Node) | null;
  /** Only jit: the accumulated gradient of an older handle, as a hole; and the note that it was written. */
  readonly grads: {
    read(handle: Tensor, grad: Tensor | null): Tensor | null;
    write(handle: Tensor, before: Tensor | null): void;
  } | null;
  /** Only jit: something beside tensors that the recording depends on; a change makes it record anew. */
  readonly guard: ((read: () => unknown, what: string) => void) | null;
  /** Only jit: how to take a hook back that was registered inside, should the recording be thrown away. */
  readonly hooked: ((remove: () => void) => void) | null;
  /** Only vmap: what `randomness` was chosen. */
  readonly randomness: "error" | "same" | "different";
  /** Turns a random key into the one of this element or iteration. */
  readonly foldKey: ((key: Tensor) => Tensor) | null;
  readonly outer: Trace | null;
}

/** A trace of nodes from `start` on that captures, guards and folds nothing. */
export function bareTrace(kind: Trace["kind"], start: number): Trace {
  return {
    kind,
    start,
    effects: new Map(),
    capture: null,
    grads: null,
    guard: null,
    hooked: null,
    randomness: "different",
    foldKey: null,
    outer: null,
  };
}

let current: Trace | null = null;

/** The innermost trace that is being recorded, or null. */
export function currentTrace(): Trace | null {
  return current;
}

/** Records `f` inside a trace; asynchronous functions are refused, since a placeholder has no value to await. */
export function inTrace<T>(trace: Trace, f: () => T): T {
  const before = current;
  current = trace;
  try {
    const result = f();
    if (result instanceof Promise) {
      result.catch(() => {});
      throw new TypeError(
        `Cannot ${trace.kind} an asynchronous function: inside, tensors are placeholders without values to await. ` +
          `Read values outside of it, or use grad, vjp or jvp, which take asynchronous functions`,
      );
    }
    return result;
  } finally {
    current = before;
  }
}

/** Reads something beside tensors (a mode, an option; `what` names it) so that recordings notice when it changes. */
export function readGuarded<T>(read: () => T, what: string): T {
  for (let t = current; t !== null; t = t.outer) t.guard?.(read, what);
  return read();
}

/** Runs `f` outside of all traces. */
export function outsideTraces<T>(f: () => T): T {
  const before = current;
  current = null;
  try {
    return f();
  } finally {
    current = before;
  }
}

/** The node behind a handle, as the current trace sees it. */
export function nodeOf(handle: Tensor): Node {
  const node = handle.node;
  for (let t = current; t !== null; t = t.outer) {
    if (t.capture !== null && handle.born < t.start && node.serial < t.start) return t.capture(handle);
  }
  return node;
}

let makeTensor: (node: Node) => Tensor;
/** Called once by tensor.ts: how a node becomes a handle. */
export function setTensorFactory(f: (node: Node) => Tensor): void {
  makeTensor = f;
}

/** A handle for a node. */
export function wrap(node: Node): Tensor {
  return makeTensor(node);
}

let onSoftRoot: (node: Node) => void = () => {};
/** Called once by runs.ts: takes scalars with a long unrealised past. */
export function setSoftRootListener(f: (node: Node) => void): void {
  onSoftRoot = f;
}
const SOFT_DEPTH = 64;

/** Makes a node of primitive `op` on `inputs`, checking shapes, types and devices. */
export function makeNode(op: Primitive, inputs: readonly Node[], p: Attributes, cut = false): Node {
  let track = 0, depth = 0;
  let device: Device | null = null;
  for (let i = 0; i < inputs.length; i++) {
    const x = inputs[i];
    track |= x.track;
    if (x.isExclusive) x.isExclusive = false;
    if (x.value === null && x.depth >= depth) depth = x.depth + 1;
    if (device === null) device = x.device;
    else if (x.device !== device) throw deviceError(op, inputs);
  }
  let shape: Shape, dtype: DType;
  switch (op.family) {
    case "elementwise":
    case "movement":
    case "reduction":
    case "contraction":
    case "custom": {
      const y = op.infer(inputs, p);
      shape = y.shape;
      dtype = y.dtype;
      break;
    }
    case "identity":
      shape = inputs[0].shape;
      dtype = inputs[0].dtype;
      break;
    case "tuple":
      shape = [];
      dtype = "f32";
      break;
    case "output": {
      const tuple = inputs[0];
      const y = (tuple.op as Extract<Primitive, { family: "tuple" }>).outputs(tuple.inputs, tuple.p)[p.i];
      shape = y.shape;
      dtype = y.dtype;
      break;
    }
    case "leaf":
      throw new Error("Internal: leaves are made by makeLeaf");
  }
  const state = ambient();
  if (state.noGrad) cut = true;
  if (cut || op.discrete || !isFloat(dtype)) track = 0;
  if (device === null) throw new Error(`Internal: ${op.name} without operands`);
  const node = new Node(op, inputs, p, shape, dtype, device, track, depth, cut);
  if (state.anomaly !== null) {
    const { made, stack, backwardOf } = state.anomaly;
    made.set(node, { inputs, stack: stack ?? new Error().stack ?? "", backwardOf });
  }
  if (depth >= SOFT_DEPTH && shape.length === 0 && op.family !== "tuple" && current === null) {
    onSoftRoot(node);
  }
  return node;
}

/** Runs `f` so that what it makes counts, to anomaly detection, as made where `node` was. */
export function inPlaceOf<T>(node: Node, f: () => T): T {
  const log = ambient().anomaly, own = log?.made.get(node);
  if (log === null || own === undefined) return f();
  const { stack, backwardOf } = log;
  log.stack = own.stack;
  log.backwardOf = own.backwardOf ?? backwardOf;
  try {
    return f();
  } finally {
    log.stack = stack;
    log.backwardOf = backwardOf;
  }
}

function deviceError(op: Primitive, inputs: readonly Node[]): Error {
  return new TypeError(
    `Cannot ${op.name} tensors on different devices (${inputs.map((x) => x.device).join(", ")}): ` +
      `move one of them with await x.toDevice("${inputs[0].device}")`,
  );
}

/** Makes a leaf: data, a constant or a placeholder. */
export function makeLeaf(op: Primitive, p: Attributes, aval: Aval, device: Device, track = 0): Node {
  return new Node(op, [], p, aval.shape, aval.dtype, device, track, 0, false);
}

/** Applies a primitive to tensors. */
export function apply(op: Primitive, inputs: readonly Tensor[], p: Attributes = null): Tensor {
  const nodes = new Array<Node>(inputs.length);
  for (let i = 0; i < inputs.length; i++) nodes[i] = nodeOf(inputs[i]);
  return makeTensor(makeNode(op, nodes, p));
}
