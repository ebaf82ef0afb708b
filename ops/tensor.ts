/** The handle that people hold: a method for each op, and the imperative side (`backward`, `.grad`, `assign`). */
import { ambient, type Device } from "./ambient.ts";
import {
  bytesPerElement,
  type DType,
  DTYPES,
  isFloat,
  isHalf,
  promote,
  roundToBf16,
  type TypedArray,
} from "./dtype.ts";
import {
  apply,
  BY_BACKWARD,
  currentTrace,
  makeLeaf,
  makeNode,
  nextSerial,
  Node,
  nodeOf,
  setTensorFactory,
  type Trace,
} from "./node.ts";
import {
  currentPresenter,
  type MimeBundle,
  type Picture,
  printedIn,
  type PrintedPlace,
  type TensorGraphOptions,
} from "./presenter.ts";
import type { Elementwise } from "./primitive.ts";
import { dropStaleGraphs, engineOf, flush, readNodes, registerRoot, throwTakenBack } from "./runs.ts";
import {
  broadcastShapes,
  checkShape,
  normalizeAxes,
  normalizeAxis,
  sameShape,
  type Shape,
  showShape,
  sizeOf,
} from "./shape.ts";
import * as E from "./definitions/elementwise.ts";
import { MAX_ORDER } from "./special.ts";
import * as M from "./definitions/movement.ts";
import * as R from "./definitions/reduction.ts";
import * as S from "./definitions/statistics.ts";
import * as O from "./definitions/order.ts";
import * as D from "./definitions/differences.ts";
import { groupRows, indicesOf, truePlaces } from "./positions.ts";
import * as Running from "./definitions/running.ts";
import type { Found, Interpolation } from "./definitions/order.ts";
import * as I from "./definitions/indexing.ts";
import * as Axes from "./definitions/axes.ts";
import * as Arrangement from "./definitions/arrangement.ts";
import * as Diagonals from "./definitions/diagonals.ts";
import * as Places from "./definitions/places.ts";
import * as Slices from "./definitions/slices.ts";
import * as Scattering from "./definitions/scattering.ts";
import * as Sliding from "./definitions/sliding.ts";
import type { IndexKey } from "./definitions/places.ts";
import type { ScatterReduction } from "./definitions/scattering.ts";
import type { PadOptions } from "./definitions/sliding.ts";
import { type SliceRange, windowOf } from "./ranges.ts";
import { matmul } from "./definitions/contraction.ts";
import * as Distance from "./definitions/distance.ts";
import * as Products from "./definitions/products.ts";
import type { AddedProductOptions } from "./definitions/products.ts";
import {
  aliasNode,
  constantNode,
  data as dataLeaf,
  detach,
  isLent,
  passOn,
} from "./definitions/structural.ts";

/** A tensor or a JavaScript number, which takes the tensor's type. */
export type Operand = Tensor | number;

/** Numbers nested to any depth; booleans make a boolean tensor. */
export type Nested = number | boolean | readonly Nested[];

/** Options of a reduction. */
export interface ReduceOptions {
  /** Keep the reduced axes with length 1. */
  keepdim?: boolean;
}

/** Options of a sum, product or mean. */
export interface SumOptions extends ReduceOptions {
  /** Convert to this type first. */
  dtype?: DType;
}

/** Options of a sort. */
export interface SortOptions {
  /** From the largest to the smallest. */
  descending?: boolean;
  /** Equal elements keep their order; they do in any case. */
  stable?: boolean;
}

/** Options of an integral over samples. */
export interface TrapezoidOptions {
  /** Where the samples were taken: one place for each along the axis, or a tensor that broadcasts to the values. */
  x?: Tensor;
  /** How far apart they were taken; default 1. */
  dx?: number;
  /** The axis that is integrated along; default the last. */
  axis?: number;
}

/** Different elements, or slices along an axis. */
export interface Unique {
  /** Each of them once. */
  values: Tensor;
  /** Where in `values` each element stands (i32). */
  inverse: Tensor;
  /** How often each occurs (i32). */
  counts: Tensor;
}

/** Options of a quantile. */
export interface QuantileOptions extends ReduceOptions {
  /** How a quantile between two elements comes from them; default linear. */
  interpolation?: Interpolation;
}

/** Options of `div`. */
export interface DivOptions {
  /** Round the quotient down, or towards 0; default: do not round. */
  rounding?: "floor" | "trunc";
}

/** Options of `isclose`. */
export interface CloseOptions {
  /** Relative distance, of the second operand; default 1e-5. */
  rtol?: number;
  /** Absolute distance; default 1e-8. */
  atol?: number;
  /** Whether NaN is close to NaN; default false. */
  equalNan?: boolean;
}

/** Options of `softplus`. */
export interface SoftplusOptions {
  /** Steepness; default 1. */
  beta?: number;
  /** Where beta x is above it, x is the result; default infinity, since nothing overflows. */
  threshold?: number;
}

/** Options of `gelu`. */
export interface GeluOptions {
  /** Whether the normal distribution function is approximated; default none. */
  approximate?: "none" | "tanh";
}

/** Options of ops that can compute in another type. */
export interface TypeOptions {
  /** The type which the operand is converted to before. */
  dtype?: DType;
}

/** Options of writing at places. */
export interface PutOptions {
  /** Add to what is there, every value, instead of replacing it. */
  accumulate?: boolean;
}

/** Options of reductions at places. */
export interface ScatterOptions {
  /** Whether a place's own value counts where something is sent to it; default true. */
  includeSelf?: boolean;
}

/** Takes a cotangent on its way back; what it returns goes on instead. */
export type TensorHook = (ct: Tensor) => Tensor | void;

/** Hooks on nodes, or on the handle of a leaf whose node changes: a side table, since nodes are immutable. */
export const nodeHooks: WeakMap<Node | Tensor, TensorHook[]> = new WeakMap();
/** How often a handle's hooks were changed, which recordings depend on. */
export const hookChanges: WeakMap<Node | Tensor, number> = new WeakMap();

/** Handles of computed nodes that keep their gradient in `.grad`, once all hooks have run. */
export const retained: WeakMap<Node, Set<Tensor>> = new WeakMap();

/** Names that handles gave to their nodes, for pictures. */
export const nodeNames: WeakMap<Node, string> = new WeakMap();

let runBackward: (root: Tensor, ct: Tensor | undefined, options: BackwardOptions) => void;
/** Called once by transforms/backward.ts. */
export function setBackward(f: typeof runBackward): void {
  runBackward = f;
}

/** Options of `backward`. */
export interface BackwardOptions {
  /** Keep the gradients' own graph, for second derivatives. */
  createGraph?: boolean;
  /** Only these leaves get a gradient. */
  inputs?: Tensor[];
}

function operand(action: string, like: Tensor, y: Operand): [Tensor, Tensor] {
  if (typeof y === "number") {
    if (isFloat(like.dtype)) return [like, like.scalarLike(y)];
    if (!Number.isInteger(y)) {
      const what = Number.isFinite(y) ? `the fractional number ${y}` : y;
      throw new TypeError(
        `Cannot ${action} a tensor of type ${like.dtype} and ${what}: convert it first with x.to("f32")`,
      );
    }
    const x = like.dtype === "bool" ? like.to("i32") : like;
    return [x, x.scalarLike(y)];
  }
  if (!(y instanceof Tensor)) {
    throw new TypeError(
      `Cannot ${action} a tensor and ${describe(y)}: the operand must be a tensor or a number`,
    );
  }
  if (like.dtype === y.dtype) return [like, y];
  // A scalar tensor does not widen a larger one of the same kind.
  if (isFloat(like.dtype) && isFloat(y.dtype) && (like.rank === 0) !== (y.rank === 0)) {
    return like.rank === 0 ? [like.to(y.dtype), y] : [like, y.to(like.dtype)];
  }
  const dtype = promote(like.dtype, y.dtype);
  return [like.to(dtype), y.to(dtype)];
}

/** Refuses a gradient for a handle from outside of vmap, scan, checkpoint: there it would be a placeholder for good. */
function refuseInside(handle: Tensor): void {
  for (let t = currentTrace(); t !== null; t = t.outer) {
    if (handle.born >= t.start) continue;
    throw new Error(
      `Cannot set the gradient of a tensor${handle.name ? ` (${handle.name})` : ""} from inside ${t.kind}: ` +
        `call backward outside, on what ${t.kind} returns, or use grad inside`,
    );
  }
}

/** The tensor whose gradient a handle shows: inside jit, an argument shows that of the leaf it stands for. */
function gradientHolder(handle: Tensor): Tensor {
  const { cell, op } = handle.node;
  return cell !== null && op.name === "placeholder" ? cell : handle;
}

/** The recording by jit that an older handle is used in, if any. */
function jitTrace(handle: Tensor): Trace | null {
  for (let t = currentTrace(); t !== null; t = t.outer) {
    if (t.grads !== null && handle.born < t.start) return t;
  }
  return null;
}

function describe(x: unknown): string {
  if (x instanceof Promise) return "a Promise (is an await missing?)";
  if (x === null || x === undefined) return String(x);
  if (Array.isArray(x)) return "an array (make it a tensor with tensor([...]))";
  if (typeof x !== "object") return `a ${typeof x}`;
  const name = Object.getPrototypeOf(x)?.constructor?.name ?? "Object";
  return name === "Object" ? "an object" : `${/^[AEIOU]/.test(name) ? "an" : "a"} ${name}`;
}

/** The tensor that was given, or an error that names the action, its operand and what was given instead. */
export function asTensor(action: string, x: unknown, role = "operand", way = "tensor([...])"): Tensor {
  if (x instanceof Tensor) return x;
  const plain = Array.isArray(x) || ArrayBuffer.isView(x) || typeof x === "number" || typeof x === "boolean";
  const what = Array.isArray(x) ? "an array" : describe(x);
  throw new TypeError(
    `Cannot ${action}: the ${role} is ${what} and must be a tensor${
      plain ? `; make it one with ${way}` : ""
    }`,
  );
}

/** How class numbers, ids and indices are made. */
export const WHOLE_NUMBERS = 'tensor([...], { dtype: "i32" })';

/** The tensors that were given as a list, or an error. */
export function asTensors(action: string, list: unknown): readonly Tensor[] {
  if (!Array.isArray(list)) {
    throw new TypeError(
      `Cannot ${action} ${
        list instanceof Tensor ? "a tensor" : describe(list)
      }: give the tensors as an array, as in ${action}([a, b])`,
    );
  }
  for (let i = 0; i < list.length; i++) {
    if (!(list[i] instanceof Tensor)) asTensor(action, list[i], `list's element ${i}`);
  }
  return list;
}

/** Checks that a shape, or axes, came as an array. */
function checkList(action: string, what: string, list: unknown, example: string): void {
  if (Array.isArray(list)) return;
  const given = typeof list === "number"
    ? String(list)
    : list instanceof Tensor
    ? "a tensor"
    : describe(list);
  throw new TypeError(
    `Cannot ${action} ${given}: give the ${what} as an array, as in ${example}`,
  );
}

/** Checks that options are an object whose keys are all known; names the nearest known one. */
export function checkOptions(action: string, options: object, known: readonly string[]): void {
  if (
    typeof options !== "object" || options === null || Array.isArray(options) || options instanceof Tensor
  ) {
    const given = Array.isArray(options)
      ? "an array"
      : typeof options === "object"
      ? describe(options)
      : String(options);
    throw new TypeError(
      `Cannot ${action} with ${given} for options: they are an object, as in { ${known[0]}: ... }`,
    );
  }
  for (const key in options) {
    if (known.includes(key)) continue;
    throw new TypeError(
      `Cannot ${action} with the option ${key}: the nearest of ${known.join(", ")} is ${nearest(key, known)}`,
    );
  }
}

/** The known word nearest to another: the same but for case and signs, its initials, or the fewest changes. */
function nearest(word: string, known: readonly string[]): string {
  const plain = (s: string): string => s.replace(/[^a-z0-9]/gi, "").toLowerCase();
  const initials = word.replace(/[^a-z]/gi, " ").replace(/([A-Z])/g, " $1").split(" ").map((s) => s[0] ?? "")
    .join("");
  const distance = (k: string): number => plain(k) === plain(initials) ? 0 : changes(plain(word), plain(k));
  return known.reduce((best, k) => distance(k) < distance(best) ? k : best);
}

/** Levenshtein's distance. */
function changes(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 0; i < a.length; i++) {
    const next = [i + 1];
    for (let j = 0; j < b.length; j++) {
      next.push(Math.min(next[j] + 1, row[j + 1] + 1, row[j] + (a[i] === b[j] ? 0 : 1)));
    }
    row = next;
  }
  return row[b.length];
}

const NO_KEYS: readonly string[] = [];
const CORRECTION: readonly string[] = ["correction"];
const DTYPE: readonly string[] = ["dtype"];
const P: readonly string[] = ["p"];
const DESCENDING: readonly string[] = ["descending", "stable"];
const INTERPOLATION: readonly string[] = ["interpolation"];
const INTERPOLATIONS: readonly Interpolation[] = ["linear", "lower", "higher", "midpoint", "nearest"];

/** Checks the options of a reduction. */
function checkReduce(action: string, options: ReduceOptions, more = NO_KEYS): void {
  if (typeof options !== "object" || options === null) {
    throw new TypeError(
      `Cannot ${action} with ${options} for options: ` +
        (typeof options === "number"
          ? `give several axes as an array, as in x.${action}([0, 1])`
          : `reduced axes stay with { keepdim: true }, as in x.${action}(0, { keepdim: true })`),
    );
  }
  for (const key in options) {
    if (key !== "keepdim" && !more.includes(key)) checkOptions(action, options, ["keepdim", ...more]);
  }
}

/** The axes of a reduction, in order, with its options checked. */
function reducedAxes(
  action: string,
  axes: number | readonly number[] | undefined,
  options: ReduceOptions,
  rank: number,
  more = NO_KEYS,
): number[] {
  checkReduce(action, options, more);
  if (axes !== undefined && typeof axes !== "number" && !Array.isArray(axes)) {
    throw new TypeError(
      `Cannot ${action} over axes that are ${
        (axes as unknown) instanceof Tensor ? "a tensor" : describe(axes)
      }: give a number or an array of numbers, as in x.${action}(0) or x.${action}([0, 1], { keepdim: true })`,
    );
  }
  if (rank > 0) return normalizeAxes(action, axes, rank);
  const named = typeof axes === "number" ? [axes] : axes ?? [];
  for (const axis of named) if (axis !== 0 && axis !== -1) normalizeAxis(action, axis, 0);
  // A scalar is a line of one element along axis 0 or -1.
  return named.length > 1 ? normalizeAxes(action, named, 1).slice(1) : [];
}

/**
 * An n-dimensional array on a device, as a handle to a node of the graph. Ops compute nothing: they check
 * shapes and types, and values appear when they are read (`await x.data()`, `await x.item()`), when `backward`
 * or an optimiser's step has run, or when shown.
 */
export class Tensor {
  /** Serial at which this handle was made; tells inside from outside of a trace. */
  readonly born: number = nextSerial();
  #name: string | null = null;
  #grad: Tensor | null = null;
  /** How often the value was replaced by `assign`. */
  version = 0;
  /** What replaced the value last, for errors. */
  replacedBy: string | null = null;

  /** @internal The graph node behind this handle; `assign` exchanges it. */
  node: Node;

  /** @internal Wraps a node; use `tensor`, `zeros` and the like to make tensors. */
  constructor(node: Node) {
    this.node = node;
    if (node.isExclusive) node.isExclusive = false;
    ambient().tidy?.made.push(this);
  }

  /** Axis lengths. */
  get shape(): Shape {
    return this.node.shape;
  }
  /** Element type. */
  get dtype(): DType {
    return this.node.dtype;
  }
  /** Where it lives. */
  get device(): Device {
    return this.node.device;
  }
  /** Number of axes. */
  get rank(): number {
    return this.node.shape.length;
  }
  /** Number of elements. */
  get size(): number {
    return sizeOf(this.node.shape);
  }
  /** Bytes of the elements. */
  get nbytes(): number {
    return this.size * bytesPerElement(this.dtype);
  }
  /** A name for pictures and errors. */
  get name(): string | null {
    return this.#name;
  }
  set name(name: string | null) {
    this.#name = name;
    if (name !== null) nodeNames.set(this.node, name);
    const label = this.node.value?.label;
    if (label) label.name = name;
  }
  /** What `backward` has accumulated, or null. */
  get grad(): Tensor | null {
    const holder = gradientHolder(this);
    if (holder !== this) return holder.grad;
    const trace = jitTrace(this), grad = this.#grad;
    if (trace !== null) return trace.grads!.read(this, grad);
    if (grad !== null && grad.node.isExclusive) grad.node.isExclusive = false; // now somebody has it
    return grad;
  }
  set grad(grad: Tensor | null) {
    const holder = gradientHolder(this);
    if (holder !== this) {
      holder.grad = grad;
      return;
    }
    const trace = jitTrace(this);
    if (trace !== null) trace.grads?.write(this, this.#grad);
    else if (grad !== null) refuseInside(this);
    this.#grad = grad;
    if (grad !== null) ambient().tidy?.escaped.push(grad.node);
  }
  /** @internal Sets the gradient and returns the one before, which this shows to nobody. */
  replaceGrad(grad: Tensor | null): Tensor | null {
    const before = this.#grad;
    this.grad = grad;
    return before;
  }
  /** Whether `backward` computes a gradient through this tensor. */
  get requiresGrad(): boolean {
    return (this.node.track & BY_BACKWARD) !== 0;
  }
  set requiresGrad(on: boolean) {
    if (on === this.requiresGrad) return;
    if (on && !isFloat(this.dtype)) {
      throw new TypeError(
        `Cannot ask for gradients of a tensor of type ${this.dtype}: only floating point tensors have them`,
      );
    }
    if (!this.isLeaf) {
      throw new Error(
        `Cannot change requiresGrad of a computed tensor: use x.detach() for one without gradient`,
      );
    }
    this.node = aliasNode(this.node, on ? BY_BACKWARD : 0, !on);
    if (on) this.node.cell = this;
  }
  /** Whether the tensor was given and not computed from tensors that require gradients. */
  get isLeaf(): boolean {
    return this.node.cell === this || this.node.track === 0;
  }

  // ---- values ------------------------------------------------------------------------------------------------

  /** The elements in row-major order, copied to the host. Booleans are bytes. */
  async data(): Promise<TypedArray> {
    this.#refuseInTrace("read");
    return (await readNodes([this.node]))[0];
  }

  /** The one element of a tensor of size 1. */
  async item(): Promise<number> {
    if (this.size !== 1) {
      throw new RangeError(
        `Cannot take the item of a tensor of shape ${
          showShape(this.shape)
        }: it must have exactly one element; use data() or toArray()`,
      );
    }
    return (await this.data())[0];
  }

  /** The elements as nested arrays (a number for a scalar; booleans for a boolean tensor). */
  // deno-lint-ignore no-explicit-any
  async toArray(): Promise<any> {
    return nest(await this.data(), this.shape, this.dtype === "bool");
  }

  /** The elements if they can be had without waiting, else null. */
  peek(): TypedArray | null {
    const value = this.node.value;
    return value === null || value.error !== null
      ? null
      : engineOf(this.device).peek(value, this.dtype, this.size);
  }

  /**
   * The graph behind this tensor as a picture, for `show` or as the last line of a cell: each op with its value, and with the
   * cotangent that came back to it.
   *
   * ```ts
   * import { tensor } from "@cotangent/cotangent";
   * const x = tensor(3, { requiresGrad: true });
   * console.log(x.mul(x).graph({ title: "x squared" }).text());
   * ```
   */
  graph(options: TensorGraphOptions = {}): Picture {
    return currentPresenter().graph(this, options);
  }

  /** Asks for the value to be computed with the next run and kept; returns the tensor. */
  keep(): this {
    if (currentTrace() === null) registerRoot(this.node);
    return this;
  }

  /**
   * Gives the memory back now instead of when the tensor is unreachable. What a transform only passed on (an argument that is
   * its result) stays the argument's.
   */
  dispose(): void {
    if (isLent(this.node)) return;
    const value = this.node.value;
    if (value !== null && value.error === null) engineOf(this.device).free(value);
  }
  /** `using x = ...` disposes at the end of the block. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  #refuseInTrace(action: string): void {
    const trace = currentTrace();
    if (trace !== null) {
      throw new Error(
        `Cannot ${action} a tensor inside ${trace.kind}: there it is a placeholder without a value. ` +
          `Return it from the function and read it outside`,
      );
    }
  }

  /** A copy on another device; it is a leaf there, without graph. */
  async toDevice(device: Device): Promise<Tensor> {
    if (device === this.device) return this;
    const engine = engineOf(device);
    const bits = await this.data();
    return fromStorageData(bits, this.shape, this.dtype, engine.device);
  }

  // ---- gradients ---------------------------------------------------------------------------------------------

  /**
   * Computes the gradients of this tensor by every leaf that requires one, and adds them to the leaves' `.grad`.
   * A tensor that is not a scalar needs a cotangent of its shape.
   */
  backward(cotangent?: Tensor, options: BackwardOptions = {}): void {
    if (cotangent !== undefined) asTensor("call backward", cotangent, "cotangent");
    runBackward(this, cotangent, options);
  }

  /** Forgets the accumulated gradient. */
  zeroGrad(): void {
    this.grad = null;
  }

  /** Keeps the gradient of a computed tensor in `.grad` as well. */
  retainGrad(): this {
    if (this.isLeaf) return this;
    const handles = retained.get(this.node) ?? new Set();
    retained.set(this.node, handles.add(this));
    return this;
  }

  /** Calls `hook` with the cotangent of this tensor in every backward pass; returns how to remove it. */
  registerHook(hook: TensorHook): () => void {
    if (this.node.track === 0) {
      throw new Error(`Cannot register a hook on a tensor that does not require gradients`);
    }
    const at = this.node.cell ?? this.node;
    const hooks = nodeHooks.get(at) ?? [];
    const note = (): unknown => hookChanges.set(at, (hookChanges.get(at) ?? 0) + 1);
    nodeHooks.set(at, hooks);
    hooks.push(hook);
    note();
    const remove = (): void => {
      const i = hooks.indexOf(hook);
      if (i < 0) return;
      hooks.splice(i, 1);
      note();
    };
    for (let t = currentTrace(); t !== null; t = t.outer) t.hooked?.(remove);
    return remove;
  }

  /** The same value without graph: nothing flows back through it. */
  detach(): Tensor {
    const node = makeNode(detach, [nodeOf(this)], null, true);
    if (currentTrace() === null) registerRoot(node);
    return new Tensor(node);
  }

  /** The same value as a constant to all derivatives; unlike `detach` it asks for no value to be kept. */
  stopGradient(): Tensor {
    return new Tensor(makeNode(detach, [nodeOf(this)], null, true));
  }

  /**
   * Replaces the value that this handle stands for. Graphs built on the old value keep it, but can no longer be
   * differentiated if the tensor requires gradients.
   */
  assign(value: Operand, by = "assign"): void {
    assignAll([[this, value]], by);
  }

  // ---- internals that rules use --------------------------------------------------------------------------------

  /** @internal A scalar of this type and device. */
  scalarLike(value: number, dtype: DType = this.dtype): Tensor {
    return new Tensor(constantNode(value, dtype, this.device));
  }
  /** Zeros of this shape and type. */
  zerosLike(): Tensor {
    return this.scalarLike(0).expand(this.shape);
  }
  /** Ones of this shape and type. */
  onesLike(): Tensor {
    return this.scalarLike(1).expand(this.shape);
  }
  /** @internal 0, 1, ... n - 1 on this device. */
  arangeLike(n: number, dtype: DType = this.dtype): Tensor {
    return tableOn(
      this.device,
      `arange ${n}`,
      [n],
      dtype,
      () => Float64Array.from({ length: n }, (_, i) => i),
    );
  }
  /** @internal A constant on this device, made once for a key that says all about its elements. */
  tableLike(key: string, shape: Shape, dtype: DType, make: () => ArrayLike<number>): Tensor {
    return tableOn(this.device, key, shape, dtype, make);
  }
  /** @internal Sums broadcast axes away until the shape is `shape`. */
  sumTo(shape: Shape): Tensor {
    if (sameShape(this.shape, shape)) return this;
    const extra = this.rank - shape.length;
    const axes = this.shape.map((_, i) => i).filter((i) =>
      i < extra || (shape[i - extra] === 1 && this.shape[i] !== 1)
    );
    const summed = axes.length > 0 ? apply(R.sum, [this], { axes }) : this;
    return sameShape(summed.shape, shape) ? summed : summed.reshape(shape);
  }
  /** @internal A window by explicit starts, sizes and steps. */
  window(starts: readonly number[], sizes: Shape, steps: readonly number[]): Tensor {
    return apply(M.slice, [this], { starts, sizes, steps });
  }
  /** @internal The transpose of `window`. */
  scatterWindow(shape: Shape, starts: readonly number[], steps: readonly number[]): Tensor {
    return apply(I.scatterWindow, [this], { shape, starts, steps });
  }
  /** @internal Ones in front of and behind the last axis. */
  padOnes(before: number, after: number): Tensor {
    const piece = (n: number): Tensor => this.scalarLike(1).expand([...this.shape.slice(0, -1), n]);
    const parts = [this as Tensor];
    if (before > 0) parts.unshift(piece(before));
    if (after > 0) parts.push(piece(after));
    return apply(I.cat, parts, { axis: this.rank - 1 });
  }

  #unary(op: Elementwise): Tensor {
    return apply(op, [this]);
  }
  /** The float version of an integer or boolean tensor, as PyTorch's float functions take them. */
  #float(): Tensor {
    return isFloat(this.dtype) ? this : this.to("f32");
  }
  /** Computes in f32 what overflows or loses digits in 16 bits on the way, and rounds at the end. */
  #inSingle(f: (x: Tensor) => Tensor): Tensor {
    return isHalf(this.dtype) ? f(this.to("f32")).to(this.dtype) : f(this.#float());
  }
  #binary(op: Elementwise, y: Operand): Tensor {
    const [a, b] = operand(op.name, this, y);
    return apply(op, [a, b]);
  }
  #number(): Tensor {
    return this.dtype === "bool" ? this.to("i32") : this;
  }
  /** A function of floats of this and of another operand, whole numbers as f32. */
  #floatBinary(op: Elementwise, y: Operand): Tensor {
    return this.#float().#binary(op, y instanceof Tensor ? y.#float() : y);
  }
  /** Rounding of floats; whole numbers are rounded already. */
  #rounded(op: Elementwise): Tensor {
    return this.dtype === "i32" || this.dtype === "u32" ? this : this.#unary(op);
  }
  #as(dtype: DType | undefined): Tensor {
    return dtype === undefined ? this : this.to(dtype);
  }
  /** `f` along an axis; a scalar is a line of one element along axis 0 or -1. */
  #along<T extends Tensor | Found>(action: string, axis: number, f: (x: Tensor, axis: number) => T): T {
    if (typeof axis !== "number") throw new TypeError(oneAxis(action, axis));
    if (this.rank > 0 || (axis !== 0 && axis !== -1)) return f(this, normalizeAxis(action, axis, this.rank));
    const y = f(this.reshape([1]), 0);
    return (y instanceof Tensor
      ? y.reshape([])
      : { values: y.values.reshape([]), indices: y.indices.reshape([]) }) as T;
  }

  // ---- arithmetic ----------------------------------------------------------------------------------------------

  /** -x. */
  neg(): Tensor {
    return this.#number().#unary(E.neg);
  }
  /** x + y, broadcast. */
  add(y: Operand): Tensor {
    return this.#number().#binary(E.add, y);
  }
  /** x - y, broadcast. */
  sub(y: Operand): Tensor {
    return this.#number().#binary(E.sub, y);
  }
  /** x y, element by element, broadcast. */
  mul(y: Operand): Tensor {
    return this.#number().#binary(E.mul, y);
  }
  /** x / y; whole numbers divide to f32, but to whole numbers where the quotient is rounded (down, or towards 0). */
  div(y: Operand, options: DivOptions = {}): Tensor {
    if (options.rounding === undefined) {
      checkOptions("div", options, ["rounding"]);
      return this.#floatBinary(E.div, y);
    }
    switch (options.rounding) {
      case "floor":
        return this.floorDivide(y);
      case "trunc":
        return this.#number().#binary(E.truncDivide, y);
    }
    throw new TypeError(
      `Cannot div with rounding ${String(options.rounding)}: roundings are floor and trunc`,
    );
  }
  /** x / y rounded down. */
  floorDivide(y: Operand): Tensor {
    return this.#number().#binary(E.floorDivide, y);
  }
  /** The remainder of x / y, with the sign of x; the exact one. */
  fmod(y: Operand): Tensor {
    return this.#number().#binary(E.fmod, y);
  }
  /** The remainder of x / y, with the sign of y. */
  remainder(y: Operand): Tensor {
    return this.#number().#binary(E.remainder, y);
  }
  /** 1 / x. */
  reciprocal(): Tensor {
    return this.#float().#unary(E.reciprocal);
  }
  /** x to the power y; the derivative at x = 0 is the limit, for whole powers too. */
  pow(y: Operand): Tensor {
    return this.#number().#binary(E.pow, y);
  }
  /** x to the power y in floating point, whatever the types. */
  floatPower(y: Operand): Tensor {
    return E.floatPower(this.#float(), y instanceof Tensor ? y.#float() : y);
  }
  /** x 2^y. */
  ldexp(y: Operand): Tensor {
    const [x, exponent] = operand("ldexp", this.#float(), y instanceof Tensor ? y.#float() : y);
    return E.ldexp(x, exponent);
  }
  /** sqrt(x² + y²), without overflow; the derivative at the origin is 0. */
  hypot(y: Operand): Tensor {
    return this.#floatBinary(E.hypot, y);
  }
  /** x + w (end - x), broadcast; exactly `end` at w = 1. */
  lerp(end: Operand, weight: Operand): Tensor {
    const [x, y] = operand("lerp", this.#float(), end);
    const [a, w] = operand("lerp", x, weight);
    return apply(E.lerp, [a, y.to(a.dtype), w]);
  }
  /** x + value a b, broadcast. */
  addcmul(a: Tensor, b: Tensor, value: Operand = 1): Tensor {
    return E.addcmul(this.#number(), asTensor("addcmul", a), asTensor("addcmul", b), value);
  }
  /** x + value a / b, broadcast. */
  addcdiv(a: Tensor, b: Tensor, value: Operand = 1): Tensor {
    return E.addcdiv(this.#number(), asTensor("addcdiv", a), asTensor("addcdiv", b), value);
  }
  /** x^2. */
  square(): Tensor {
    return this.#number().#unary(E.square);
  }
  /** The larger of x and y; ties share the derivative equally, NaN wins. */
  maximum(y: Operand): Tensor {
    return this.#number().#binary(E.maximum, y);
  }
  /** The smaller of x and y; ties share the derivative equally, NaN wins. */
  minimum(y: Operand): Tensor {
    return this.#number().#binary(E.minimum, y);
  }
  /** The larger of x and y that is not NaN; ties give the derivative to x. */
  fmax(y: Operand): Tensor {
    return this.#number().#binary(E.fmax, y);
  }
  /** The smaller of x and y that is not NaN; ties give the derivative to x. */
  fmin(y: Operand): Tensor {
    return this.#number().#binary(E.fmin, y);
  }
  /** |x| with the sign of y, which -0 has too. */
  copysign(y: Operand): Tensor {
    return this.#floatBinary(E.copysign, y);
  }
  /** 0 where x < 0, 1 where x > 0, `value` where x = 0 (and 0 where x is NaN). */
  heaviside(value: Operand): Tensor {
    const [x, v] = operand("heaviside", this.#number(), value);
    return E.heaviside(x, v);
  }
  /** Numbers in place of NaN (0) and the infinities (the largest and the least number of the type). */
  nanToNum(nan = 0, above?: number, below?: number): Tensor {
    if (!isFloat(this.dtype)) return this;
    const most = LARGEST[this.dtype as keyof typeof LARGEST];
    return E.nanToNum(this, nan, above ?? most, below ?? -most);
  }
  /** This where `condition` holds, `other` elsewhere. */
  where(condition: Tensor, other: Operand): Tensor {
    asTensor("where", condition, "condition", "tensor([true, ...])");
    const [a, b] = operand("where", this, other);
    return apply(E.where, [condition, a, b]);
  }
  /** `value` where `mask` holds, this elsewhere; a mask stays a mask. */
  maskedFill(mask: Tensor, value: Operand): Tensor {
    asTensor("maskedFill", mask, "mask", "tensor([true, ...])");
    if (this.dtype === "bool" && typeof value === "number") value = this.scalarLike(value === 0 ? 0 : 1);
    const [a, b] = operand("maskedFill", this, value);
    return E.maskedFill(a, mask, b);
  }
  /** Limits to [min, max]; the derivative is 1 on the boundary. */
  clamp(min?: Operand, max?: Operand): Tensor {
    const x = this.#number();
    if (min === undefined && max === undefined) {
      throw new TypeError("Cannot clamp without a limit: give min, max or both");
    }
    if (!isFloat(x.dtype) && (min === undefined || max === undefined)) {
      return min !== undefined ? x.maximum(min) : x.minimum(max!);
    }
    const lo = operand("clamp", x, min ?? -Infinity)[1], hi = operand("clamp", x, max ?? Infinity)[1];
    return apply(E.clamp, [x, lo, hi]);
  }
  /** |x|; the derivative at 0 is 0. */
  abs(): Tensor {
    return this.#number().#unary(E.abs);
  }
  /** -1, 0 or 1. */
  sign(): Tensor {
    return this.#number().#unary(E.sign);
  }
  /** Rounded down. */
  floor(): Tensor {
    return this.#rounded(E.floor);
  }
  /** Rounded up. */
  ceil(): Tensor {
    return this.#rounded(E.ceil);
  }
  /** Rounded towards 0. */
  trunc(): Tensor {
    return this.#rounded(E.trunc);
  }
  /** What `trunc` takes away: x - trunc(x), with the sign of x. */
  frac(): Tensor {
    return E.frac(this);
  }
  /**
   * Rounded to the nearest whole number, or to `decimals` places (negative: to tens, hundreds ...), halves to even; the
   * derivative is 0 (see `straightThrough`).
   */
  round(decimals = 0): Tensor {
    if (!Number.isInteger(decimals)) {
      throw new RangeError(`Cannot round to ${decimals} decimal places: their number is whole`);
    }
    if (decimals === 0 || this.dtype === "i32" || this.dtype === "u32") return this.#rounded(E.round);
    return this.#inSingle((x) => E.roundDecimals(x, decimals));
  }

  // ---- comparisons ---------------------------------------------------------------------------------------------

  /** x = y. */
  eq(y: Operand): Tensor {
    return this.#binary(E.eq, y);
  }
  /** x is not y. */
  ne(y: Operand): Tensor {
    return this.#binary(E.ne, y);
  }
  /** x < y. */
  lt(y: Operand): Tensor {
    return this.#binary(E.lt, y);
  }
  /** x <= y. */
  le(y: Operand): Tensor {
    return this.#binary(E.le, y);
  }
  /** x > y. */
  gt(y: Operand): Tensor {
    return this.#binary(E.gt, y);
  }
  /** x >= y. */
  ge(y: Operand): Tensor {
    return this.#binary(E.ge, y);
  }
  /** Not x. */
  logicalNot(): Tensor {
    return this.to("bool").#unary(E.logicalNot);
  }
  /** x and y. */
  logicalAnd(y: Tensor): Tensor {
    return apply(E.logicalAnd, [this.to("bool"), asTensor("logicalAnd", y).to("bool")]);
  }
  /** x or y. */
  logicalOr(y: Tensor): Tensor {
    return apply(E.logicalOr, [this.to("bool"), asTensor("logicalOr", y).to("bool")]);
  }
  /** Either x or y. */
  logicalXor(y: Tensor): Tensor {
    return E.logicalXor(this, asTensor("logicalXor", y));
  }
  /** Whether |x - y| is at most `atol` + `rtol` |y|: 1e-8 and 1e-5 by default. */
  isclose(y: Operand, options: CloseOptions = {}): Tensor {
    checkOptions("compare by isclose", options, ["rtol", "atol", "equalNan"]);
    const { rtol = 1e-5, atol = 1e-8, equalNan = false } = options;
    if (!(rtol >= 0 && atol >= 0)) {
      throw new RangeError(
        `Cannot compare by isclose within rtol ${rtol} and atol ${atol}: both are at least 0`,
      );
    }
    const [a, b] = operand("compare", this.#number(), y);
    return E.isclose(a.#float(), b.#float(), rtol, atol, equalNan);
  }
  /** Whether the sign is minus, which -0 has too. */
  signbit(): Tensor {
    return this.#number().#unary(E.signbit);
  }
  /** Whether an element is infinite. */
  isinf(): Tensor {
    return E.isinf(this.#float());
  }
  /** Whether an element is positive infinity. */
  isposinf(): Tensor {
    return E.isposinf(this.#float());
  }
  /** Whether an element is negative infinity. */
  isneginf(): Tensor {
    return E.isneginf(this.#float());
  }
  /** Whether an element is not a number. */
  isnan(): Tensor {
    return this.#float().#unary(E.isnan);
  }
  /** Whether an element is neither infinite nor NaN. */
  isfinite(): Tensor {
    return this.#float().#unary(E.isfinite);
  }

  // ---- functions -----------------------------------------------------------------------------------------------

  /** e^x. */
  exp(): Tensor {
    return this.#float().#unary(E.exp);
  }
  /** Natural logarithm. */
  log(): Tensor {
    return this.#float().#unary(E.log);
  }
  /** 2^x. */
  exp2(): Tensor {
    return this.#float().#unary(E.exp2);
  }
  /** e^x - 1, exact near 0. */
  expm1(): Tensor {
    return this.#float().#unary(E.expm1);
  }
  /** ln(1 + x), exact near 0. */
  log1p(): Tensor {
    return this.#float().#unary(E.log1p);
  }
  /** Logarithm to base 2. */
  log2(): Tensor {
    return this.#float().#unary(E.log2);
  }
  /** Logarithm to base 10. */
  log10(): Tensor {
    return this.#float().#unary(E.log10);
  }
  /** ln(e^x + e^y), which does not overflow. */
  logaddexp(y: Operand): Tensor {
    return this.#floatBinary(E.logaddexp, y);
  }
  /** log2(2^x + 2^y), which does not overflow. */
  logaddexp2(y: Operand): Tensor {
    const [a, b] = operand("logaddexp2", this.#float(), y instanceof Tensor ? y.#float() : y);
    return E.logaddexp2(a, b);
  }
  /** x ln y, and 0 where x = 0. */
  xlogy(y: Operand): Tensor {
    return this.#floatBinary(E.xlogy, y);
  }
  /** x ln(1 + y), and 0 where x = 0. */
  xlog1py(y: Operand): Tensor {
    return this.#floatBinary(E.xlog1py, y);
  }
  /** ln(x / (1 - x)), the inverse of `sigmoid`; `eps` limits x to [eps, 1 - eps] before. */
  logit(eps?: number): Tensor {
    return E.logit(this.#float(), eps);
  }
  /** Sine of radians. */
  sin(): Tensor {
    return this.#float().#unary(E.sin);
  }
  /** Cosine of radians. */
  cos(): Tensor {
    return this.#float().#unary(E.cos);
  }
  /** Tangent of radians. */
  tan(): Tensor {
    return this.#float().#unary(E.tan);
  }
  /** The angle in [-π/2, π/2] of a sine; NaN beyond [-1, 1]. */
  asin(): Tensor {
    return this.#float().#unary(E.asin);
  }
  /** The angle in [0, π] of a cosine; NaN beyond [-1, 1]. */
  acos(): Tensor {
    return this.#float().#unary(E.acos);
  }
  /** The angle in (-π/2, π/2) of a tangent. */
  atan(): Tensor {
    return this.#float().#unary(E.atan);
  }
  /** The angle of the point (abscissa, this), from -π to π; the derivative at the origin is 0. */
  atan2(abscissa: Operand): Tensor {
    return this.#floatBinary(E.atan2, abscissa);
  }
  /** Degrees as radians. */
  deg2rad(): Tensor {
    return E.deg2rad(this.#float());
  }
  /** Radians as degrees. */
  rad2deg(): Tensor {
    return E.rad2deg(this.#float());
  }
  /** Hyperbolic sine. */
  sinh(): Tensor {
    return this.#float().#unary(E.sinh);
  }
  /** Hyperbolic cosine. */
  cosh(): Tensor {
    return this.#float().#unary(E.cosh);
  }
  /** Inverse hyperbolic sine. */
  asinh(): Tensor {
    return this.#float().#unary(E.asinh);
  }
  /** Inverse hyperbolic cosine; NaN below 1. */
  acosh(): Tensor {
    return this.#float().#unary(E.acosh);
  }
  /** Inverse hyperbolic tangent; NaN beyond [-1, 1]. */
  atanh(): Tensor {
    return this.#float().#unary(E.atanh);
  }
  /** Hyperbolic tangent. */
  tanh(): Tensor {
    return this.#float().#unary(E.tanh);
  }
  /** Square root; NaN below 0. */
  sqrt(): Tensor {
    return this.#float().#unary(E.sqrt);
  }
  /** 1 / sqrt(x). */
  rsqrt(): Tensor {
    return this.#float().#unary(E.rsqrt);
  }
  /** 2/√π ∫ e^(-t²) dt from 0 to x. */
  erf(): Tensor {
    return this.#float().#unary(E.erf);
  }
  /** 1 - erf(x), without cancellation for large x. */
  erfc(): Tensor {
    return this.#float().#unary(E.erfc);
  }
  /** The inverse of `erf`; NaN beyond [-1, 1]. */
  erfinv(): Tensor {
    return this.#float().#unary(E.erfinv);
  }
  /** ln |Γ(x)|. */
  lgamma(): Tensor {
    return this.#float().#unary(E.lgamma);
  }
  /** The derivative of `lgamma`; NaN at negative whole numbers. */
  digamma(): Tensor {
    return this.#float().#unary(E.digamma);
  }
  /** The n-th derivative of `digamma`. */
  polygamma(n: number): Tensor {
    if (!Number.isInteger(n) || n < 0 || n >= MAX_ORDER) {
      throw new RangeError(
        `Cannot take the polygamma of order ${n}: orders are whole numbers from 0 to ${MAX_ORDER - 1}`,
      );
    }
    const x = this.#float();
    return apply(E.polygamma, [x.scalarLike(n), x]);
  }
  /** sin(πx) / (πx), and 1 at 0. */
  sinc(): Tensor {
    return this.#float().#unary(E.sinc);
  }

  // ---- activations ---------------------------------------------------------------------------------------------

  /** 1 / (1 + e^-x). */
  sigmoid(): Tensor {
    return this.#float().#unary(E.sigmoid);
  }
  /** ln sigmoid(x), which does not overflow. */
  logSigmoid(): Tensor {
    return this.#float().#unary(E.logSigmoid);
  }
  /** max(0, x); the derivative at 0 is 0. */
  relu(): Tensor {
    return this.#number().#unary(E.relu);
  }
  /** min(max(0, x), 6); the derivative at 0 and 6 is 0. */
  relu6(): Tensor {
    return E.relu6(this.#number());
  }
  /** x above 0, `negativeSlope` x below. */
  leakyRelu(negativeSlope = 0.01): Tensor {
    return E.leakyRelu(this.#float(), negativeSlope);
  }
  /** x above 0, weight x below: one weight, or one for each place along axis 1. */
  prelu(weight: Tensor): Tensor {
    const C = this.rank < 2 ? 1 : this.shape[1];
    if (asTensor("prelu", weight, "weight").rank > 1 || (weight.size !== 1 && weight.size !== C)) {
      throw new RangeError(
        `Cannot prelu shape ${showShape(this.shape)} with weights ${
          showShape(weight.shape)
        }: there is one weight, or one for each of the ${C} places along axis 1`,
      );
    }
    const [x, w] = operand("prelu", this.#float(), weight);
    return E.prelu(x, w.size === 1 ? w.reshape([]) : w.reshape([C, ...Array(this.rank - 2).fill(1)]));
  }
  /** x above 0, alpha (e^x - 1) below. */
  elu(alpha = 1): Tensor {
    return E.elu(this.#float(), alpha);
  }
  /** x above 0, alpha (e^(x / alpha) - 1) below. */
  celu(alpha = 1): Tensor {
    if (alpha === 0) throw new RangeError("Cannot celu with alpha 0: x is divided by it; relu is the limit");
    return E.celu(this.#float(), alpha);
  }
  /** `elu` with the alpha and the factor that keep mean 0 and variance 1 over layers. */
  selu(): Tensor {
    return E.selu(this.#float());
  }
  /** ln(1 + e^(beta x)) / beta, which does not overflow; x itself where beta x is above `threshold`. */
  softplus(options: SoftplusOptions = {}): Tensor {
    checkOptions("softplus", options, ["beta", "threshold"]);
    const { beta = 1, threshold = Infinity } = options;
    if (beta === 1 && threshold === Infinity) return this.#float().#unary(E.softplus);
    if (!(beta > 0)) throw new RangeError(`Cannot softplus with beta ${beta}: it is above 0`);
    return E.softplusScaled(this.#float(), beta, threshold);
  }
  /** x sigmoid(x). */
  silu(): Tensor {
    return this.#float().#unary(E.silu);
  }
  /** x tanh(softplus(x)). */
  mish(): Tensor {
    return this.#float().#unary(E.mish);
  }
  /** x Φ(x) with the normal distribution function, or (`approximate: "tanh"`) with its approximation by tanh. */
  gelu(options: GeluOptions = {}): Tensor {
    checkOptions("gelu", options, ["approximate"]);
    switch (options.approximate) {
      case undefined:
      case "none":
        return this.#float().#unary(E.gelu);
      case "tanh":
        return this.#float().#unary(E.geluTanh);
    }
    throw new TypeError(`Cannot gelu with approximate ${String(options.approximate)}: it is none or tanh`);
  }
  /** Limits to [min, max]; the derivative is 0 on the boundary, where that of `clamp` is 1. */
  hardtanh(min = -1, max = 1): Tensor {
    if (!(min <= max)) {
      throw new RangeError(`Cannot hardtanh to [${min}, ${max}]: the first limit is the lower one`);
    }
    return E.hardtanh(this.#number(), min, max);
  }
  /** min(max(x + 3, 0), 6) / 6. */
  hardsigmoid(): Tensor {
    return E.hardsigmoid(this.#float());
  }
  /** x hardsigmoid(x). */
  hardswish(): Tensor {
    return E.hardswish(this.#float());
  }
  /** x / (1 + |x|). */
  softsign(): Tensor {
    return E.softsign(this.#float());
  }
  /** x - tanh x. */
  tanhshrink(): Tensor {
    return E.tanhshrink(this.#float());
  }
  /** x moved towards 0 by `lambda`, at most to 0. */
  softshrink(lambda = 0.5): Tensor {
    if (!(lambda >= 0)) throw new RangeError(`Cannot softshrink by ${lambda}: give 0 or more`);
    return E.softshrink(this.#float(), lambda);
  }
  /** x, but 0 from -lambda to lambda. */
  hardshrink(lambda = 0.5): Tensor {
    return E.hardshrink(this.#float(), lambda);
  }
  /** x above the threshold, `value` up to it. */
  threshold(threshold: number, value: number): Tensor {
    return E.threshold(this.#number(), threshold, value);
  }
  /** The first half of an axis times the sigmoid of the second. */
  glu(axis = -1): Tensor {
    const a = normalizeAxis("glu", axis, this.rank);
    if (this.shape[a] % 2 !== 0) {
      throw new RangeError(
        `Cannot glu along axis ${axis} of shape ${
          showShape(this.shape)
        }: its length must be even to be halved`,
      );
    }
    return E.glu(this.#float(), a);
  }

  // ---- types ---------------------------------------------------------------------------------------------------

  /** The same values in another type, rounded to nearest; gradients come back in this one. */
  to(dtype: DType): Tensor {
    if (dtype === this.dtype) return this;
    if (!DTYPES.includes(dtype)) {
      refuseDevice(dtype);
      throw new TypeError(`Cannot convert to type ${dtype}: types are ${DTYPES.join(", ")}`);
    }
    checkOnDevice(dtype, this.device);
    return apply(E.cast, [this], { dtype });
  }

  // ---- reductions ----------------------------------------------------------------------------------------------

  #kept(y: Tensor, axes: readonly number[], keepdim: boolean | undefined): Tensor {
    return keepdim ? y.reshape(this.shape.map((n, i) => axes.includes(i) ? 1 : n)) : y;
  }
  /** Sum over `axes` (all by default). */
  sum(axes?: number | readonly number[], options: SumOptions = {}): Tensor {
    const list = reducedAxes("sum", axes, options, this.rank, DTYPE), x = this.#as(options.dtype);
    return this.#kept(
      list.length === 0 ? x.#number() : apply(R.sum, [x], { axes: list }),
      list,
      options.keepdim,
    );
  }
  /** Mean over `axes` (all by default); NaN of no elements. */
  mean(axes?: number | readonly number[], options: SumOptions = {}): Tensor {
    const list = reducedAxes("mean", axes, options, this.rank, DTYPE);
    return this.#as(options.dtype).#inSingle((x) => S.mean(x, list, options.keepdim ?? false));
  }
  /** Product over `axes` (all by default); its gradient is right where elements are 0. */
  prod(axes?: number | readonly number[], options: SumOptions = {}): Tensor {
    const list = reducedAxes("prod", axes, options, this.rank, DTYPE), x = this.#as(options.dtype);
    return this.#kept(
      list.length === 0 ? x.#number() : apply(R.prod, [x], { axes: list }),
      list,
      options.keepdim,
    );
  }
  /** Sum over `axes` (all by default) of the elements that are not NaN. */
  nansum(axes?: number | readonly number[], options: SumOptions = {}): Tensor {
    const list = reducedAxes("nansum", axes, options, this.rank, DTYPE);
    return S.nansum(this.#as(options.dtype), list, options.keepdim ?? false);
  }
  /** Mean over `axes` (all by default) of the elements that are not NaN; NaN of none. */
  nanmean(axes?: number | readonly number[], options: SumOptions = {}): Tensor {
    const list = reducedAxes("nanmean", axes, options, this.rank, DTYPE);
    return this.#as(options.dtype).#inSingle((x) => S.nanmean(x, list, options.keepdim ?? false));
  }
  /** Largest element over `axes` (all by default); ties share the derivative equally. */
  amax(axes?: number | readonly number[], options: ReduceOptions = {}): Tensor {
    const list = reducedAxes("amax", axes, options, this.rank);
    return this.#kept(
      list.length === 0 ? this : apply(R.amax, [this], { axes: list }),
      list,
      options.keepdim,
    );
  }
  /** Smallest element over `axes` (all by default); ties share the derivative equally. */
  amin(axes?: number | readonly number[], options: ReduceOptions = {}): Tensor {
    const list = reducedAxes("amin", axes, options, this.rank);
    return this.#kept(
      list.length === 0 ? this : apply(R.amin, [this], { axes: list }),
      list,
      options.keepdim,
    );
  }
  /** Variance over `axes`, divided by n - `correction` (1 by default, as PyTorch). */
  variance(axes?: number | readonly number[], options: ReduceOptions & { correction?: number } = {}): Tensor {
    const list = reducedAxes("variance", axes, options, this.rank, CORRECTION);
    return this.#inSingle((x) => S.variance(x, list, options.keepdim ?? false, options.correction ?? 1));
  }
  /** Standard deviation over `axes`; its gradient at a constant is 0. */
  std(axes?: number | readonly number[], options: ReduceOptions & { correction?: number } = {}): Tensor {
    const list = reducedAxes("std", axes, options, this.rank, CORRECTION);
    return this.#inSingle((x) => S.std(x, list, options.keepdim ?? false, options.correction ?? 1));
  }
  /**
   * The vector norm (sum |x|^p)^(1/p) over `axes` (all by default), Euclidean by default. `p` may be any number: 0
   * counts what is not 0, `Infinity` is the largest and `-Infinity` the smallest |x|. Its derivatives are 0 where x is
   * 0, and where the norm is.
   */
  norm(axes?: number | readonly number[], options: ReduceOptions & { p?: number } = {}): Tensor {
    const list = reducedAxes("norm", axes, options, this.rank, P), { p = 2, keepdim = false } = options;
    if (typeof p !== "number" || Number.isNaN(p)) {
      throw new TypeError(
        `Cannot norm ${
          showShape(this.shape)
        } with p = ${p}: p is a number or Infinity, 2 for the Euclidean norm`,
      );
    }
    return this.#inSingle((x) => S.norm(x, list, p, keepdim));
  }
  /** ln sum e^x over one axis or several (all by default), without overflow. */
  logsumexp(axes?: number | readonly number[], options: ReduceOptions = {}): Tensor {
    const list = reducedAxes("logsumexp", axes, options, this.rank), x = this.#float();
    if (list.length === 0) return x;
    if (list.length === 1) {
      return this.#kept(apply(R.logsumexp, [x], { axis: list[0] }), list, options.keepdim);
    }
    const rest = this.shape.map((_, i) => i).filter((i) => !list.includes(i));
    const flat = x.permute([...rest, ...list]).reshape([
      ...rest.map((i) => this.shape[i]),
      list.reduce((n, a) => n * this.shape[a], 1),
    ]);
    return this.#kept(apply(R.logsumexp, [flat], { axis: rest.length }), list, options.keepdim);
  }
  /** e^x / sum e^x along `axis`, in another type if given. */
  softmax(axis = -1, options: TypeOptions = {}): Tensor {
    checkOptions("softmax", options, DTYPE);
    const x = this.#as(options.dtype).#float();
    return x.#along("softmax", axis, (x, axis) => apply(R.softmax, [x], { axis }));
  }
  /** e^-x / sum e^-x along `axis`. */
  softmin(axis = -1, options: { dtype?: DType } = {}): Tensor {
    checkOptions("softmin", options, DTYPE);
    return S.softmin(this.#as(options.dtype), axis);
  }
  /** ln softmax, computed without the softmax; in another type if given. */
  logSoftmax(axis = -1, options: TypeOptions = {}): Tensor {
    checkOptions("logSoftmax", options, DTYPE);
    return this.#as(options.dtype).#float().#along("logSoftmax", axis, E.logSoftmax);
  }
  #argExtremum(name: "argmax" | "argmin", axis: number | undefined, options: ReduceOptions): Tensor {
    if (axis === undefined) return this.reshape([-1]).#argExtremum(name, 0, {});
    checkReduce(name, options);
    return this.#along(name, axis, (x, axis) => {
      const y = apply(R[name], [x], { axis });
      return options.keepdim ? y.unsqueeze(axis) : y;
    });
  }
  /** Index (i32) of the largest element along `axis`, or of all of them; the first of ties, NaN is largest. */
  argmax(axis?: number, options: ReduceOptions = {}): Tensor {
    return this.#argExtremum("argmax", axis, options);
  }
  /** Index (i32) of the smallest element along `axis`, or of all of them; the first of ties, NaN is smallest. */
  argmin(axis?: number, options: ReduceOptions = {}): Tensor {
    return this.#argExtremum("argmin", axis, options);
  }
  /** Running sums along `axis`. */
  cumsum(axis: number, options: { dtype?: DType } = {}): Tensor {
    checkOptions("cumsum", options, DTYPE);
    return this.#as(options.dtype).#number().#along(
      "cumsum",
      axis,
      (x, axis) => apply(R.cumsum, [x], { axis, reverse: false }),
    );
  }
  /** Running products along `axis`; derivatives are right where elements are 0, to any order. */
  cumprod(axis: number, options: { dtype?: DType } = {}): Tensor {
    checkOptions("cumprod", options, DTYPE);
    return this.#as(options.dtype).#number().#along("cumprod", axis, Running.cumprod);
  }
  /** Largest elements so far along `axis`, and where they stand: the last of ties; NaN stays. */
  cummax(axis: number): Found {
    return this.#along("cummax", axis, Running.cummax);
  }
  /** Smallest elements so far along `axis`, and where they stand: the last of ties; NaN stays. */
  cummin(axis: number): Found {
    return this.#along("cummin", axis, Running.cummin);
  }
  /** ln of running sums of e^x along `axis`, without overflow. */
  logcumsumexp(axis: number): Tensor {
    return this.#float().#along(
      "logcumsumexp",
      axis,
      (x, axis) => apply(Running.logcumsumexp, [x], { axis }),
    );
  }
  /** Whether any element along `axes` is true (not 0). */
  any(axes?: number | readonly number[], options: ReduceOptions = {}): Tensor {
    return S.any(this, reducedAxes("any", axes, options, this.rank), options.keepdim ?? false);
  }
  /** Whether all elements along `axes` are true (not 0). */
  all(axes?: number | readonly number[], options: ReduceOptions = {}): Tensor {
    return S.all(this, reducedAxes("all", axes, options, this.rank), options.keepdim ?? false);
  }
  /** How many elements along `axes` are not 0 (i32). */
  countNonzero(axes?: number | readonly number[], options: ReduceOptions = {}): Tensor {
    return S.countNonzero(
      this,
      reducedAxes("countNonzero", axes, options, this.rank),
      options.keepdim ?? false,
    );
  }

  // ---- order ---------------------------------------------------------------------------------------------------

  /**
   * The largest elements along `axis` and where they stand: the first of ties, which the derivative goes to. NaN is
   * largest. `amax` takes several axes, `maximum` two tensors.
   */
  max(axis: number, options?: ReduceOptions): Found;
  /** The largest element of all; ties share the derivative equally. */
  max(): Tensor;
  max(axis?: number, options: ReduceOptions = {}): Tensor | Found {
    if (axis === undefined) return this.amax();
    checkReduce("max", options);
    return this.#along("max", axis, (x, axis) => O.max(x, axis, options.keepdim ?? false));
  }
  /**
   * The smallest elements along `axis` and where they stand: the first of ties, which the derivative goes to. NaN is
   * smallest. `amin` takes several axes, `minimum` two tensors.
   */
  min(axis: number, options?: ReduceOptions): Found;
  /** The smallest element of all; ties share the derivative equally. */
  min(): Tensor;
  min(axis?: number, options: ReduceOptions = {}): Tensor | Found {
    if (axis === undefined) return this.amin();
    checkReduce("min", options);
    return this.#along("min", axis, (x, axis) => O.min(x, axis, options.keepdim ?? false));
  }
  /** The smallest and the largest element along `axis`, or of all; ties share the derivative equally. */
  aminmax(axis?: number, options: ReduceOptions = {}): { min: Tensor; max: Tensor } {
    checkReduce("aminmax", options);
    return O.aminmax(this, axis, options.keepdim ?? false);
  }
  /** Order (i32) that sorts along `axis`: stable, NaN last, first if descending. */
  argsort(axis = -1, options: SortOptions = {}): Tensor {
    checkOptions("argsort", options, DESCENDING);
    return this.#along(
      "argsort",
      axis,
      (x, axis) => apply(R.argsort, [x], { axis, descending: options.descending ?? false }),
    );
  }
  /** Sorted elements along `axis` and the order that sorts them: stable, NaN last, first if descending. */
  sort(axis = -1, options: SortOptions = {}): Found {
    checkOptions("sort", options, DESCENDING);
    return this.#along("sort", axis, (x, axis) => O.sort(x, axis, options.descending ?? false));
  }
  /** The elements sorted along the first axis. */
  msort(): Tensor {
    return O.msort(this);
  }
  /** The `k` largest elements along `axis` (the smallest unless `largest`), in order, and where they stand. */
  topk(k: number, axis = -1, options: { largest?: boolean } = {}): Found {
    checkOptions("topk", options, ["largest"]);
    return this.#along("topk", axis, (x, axis) => O.topk(x, k, axis, options.largest ?? true));
  }
  /** The `k`-th smallest element along `axis`, counted from 1, and where it stands. */
  kthvalue(k: number, axis = -1, options: ReduceOptions = {}): Found {
    checkReduce("kthvalue", options);
    return this.#along("kthvalue", axis, (x, axis) => O.kthvalue(x, k, axis, options.keepdim ?? false));
  }
  /**
   * The medians along `axis` and where they stand; of an even number the lower one, as PyTorch. A line with NaN has the
   * median NaN.
   */
  median(axis: number, options?: ReduceOptions): Found;
  /** The median of all elements; ties share the derivative equally. */
  median(): Tensor;
  median(axis?: number, options: ReduceOptions = {}): Tensor | Found {
    if (axis === undefined) return O.medianOfAll(this);
    checkReduce("median", options);
    return this.#along("median", axis, (x, axis) => O.median(x, axis, options.keepdim ?? false));
  }
  /** The medians along `axis` of the elements that are not NaN, and where they stand. */
  nanmedian(axis: number, options?: ReduceOptions): Found;
  /** The median of all elements that are not NaN. */
  nanmedian(): Tensor;
  nanmedian(axis?: number, options: ReduceOptions = {}): Tensor | Found {
    if (axis === undefined) return O.nanmedianOfAll(this);
    checkReduce("nanmedian", options);
    return this.#along("nanmedian", axis, (x, axis) => O.nanmedian(x, axis, options.keepdim ?? false));
  }
  /** The most frequent elements along `axis`, the smallest of several, and where they stand last. */
  mode(axis = -1, options: ReduceOptions = {}): Found {
    checkReduce("mode", options);
    return this.#along("mode", axis, (x, axis) => O.mode(x, axis, options.keepdim ?? false));
  }
  #quantile(
    name: "quantile" | "nanquantile",
    q: number | Tensor,
    axis: number | undefined,
    options: QuantileOptions,
  ): Tensor {
    checkReduce(name, options, INTERPOLATION);
    const { keepdim = false, interpolation = "linear" } = options;
    if (!INTERPOLATIONS.includes(interpolation)) {
      throw new TypeError(
        `Cannot take the ${name} with interpolation ${interpolation}: it is one of ${
          INTERPOLATIONS.join(", ")
        }`,
      );
    }
    if (typeof q === "number" ? !(q >= 0 && q <= 1) : !(q instanceof Tensor)) {
      throw new RangeError(
        `Cannot take the ${name} at q = ${q}: q is a number from 0 to 1, or a tensor of such`,
      );
    }
    return this.#inSingle((x) => {
      const at = typeof q === "number" ? x.scalarLike(q) : q.to(x.dtype);
      if (axis === undefined) {
        const y = O[name](x.reshape([-1]), at, 0, false, interpolation);
        return keepdim ? y.reshape([...at.shape, ...this.shape.map(() => 1)]) : y;
      }
      const isLine = this.rank === 0 && (axis === 0 || axis === -1);
      return isLine
        ? O[name](x.reshape([1]), at, 0, false, interpolation)
        : O[name](x, at, normalizeAxis(name, axis, this.rank), keepdim, interpolation);
    });
  }
  /**
   * The `q`-quantiles along `axis` (of all elements by default), q from 0 to 1; of several q, a tensor of rank 1, their
   * axis comes first. Between two elements `interpolation` decides, linear by default. NaN of a line with NaN.
   */
  quantile(q: number | Tensor, axis?: number, options: QuantileOptions = {}): Tensor {
    return this.#quantile("quantile", q, axis, options);
  }
  /** The `quantile` of the elements that are not NaN. */
  nanquantile(q: number | Tensor, axis?: number, options: QuantileOptions = {}): Tensor {
    return this.#quantile("nanquantile", q, axis, options);
  }
  /** The number (i32) of the bucket between sorted `boundaries` (rank 1) that each element is in; see `searchsorted`. */
  bucketize(boundaries: Tensor, options: { right?: boolean } = {}): Tensor {
    checkOptions("bucketize", options, ["right"]);
    if (asTensor("bucketize", boundaries, "boundaries").rank !== 1) {
      throw new RangeError(
        `Cannot bucketize by boundaries of shape ${showShape(boundaries.shape)}: they have one axis`,
      );
    }
    return O.bucketize(this, boundaries, options.right ?? false);
  }
  /** Whether each element equals one of `elements`. */
  isin(elements: Tensor): Tensor {
    return O.isin(this, asTensor("isin", elements, "list of elements"));
  }

  /** How many elements (of x's type) fall into each of `bins` equal intervals from `min` to `max`, by default those of all. */
  histc(bins = 100, options: { min?: number; max?: number } = {}): Tensor {
    checkOptions("histc", options, ["min", "max"]);
    const { min = 0, max = 0 } = options;
    if (!Number.isInteger(bins) || bins < 1 || !(min <= max)) {
      throw new RangeError(
        `Cannot count elements of ${showShape(this.shape)} in ${bins} intervals from ${min} to ${max}: ` +
          `there is at least one, and the first limit is not above the second`,
      );
    }
    return S.histc(this.#float(), bins, min, max);
  }

  // ---- differences and covariances -----------------------------------------------------------------------------

  /** Differences x_{k+1} - x_k of neighbours along `axis`, `n` times, of x between what is put before and behind it. */
  diff(n = 1, axis = -1, options: { prepend?: Tensor; append?: Tensor } = {}): Tensor {
    checkOptions("diff", options, ["prepend", "append"]);
    if (!Number.isInteger(n) || n < 0) {
      throw new RangeError(`Cannot diff ${n} times: give a whole number that is not negative`);
    }
    const a = normalizeAxis("diff", axis, this.rank);
    const { prepend, append } = options;
    const parts = [prepend, this as Tensor, append].filter((t) => t !== undefined)
      .map((t) => asTensor("diff", t, "tensor beside it"));
    if (n === 0) return this;
    return D.diff(parts.length === 1 ? this : apply(I.cat, parts, { axis: a }), n, a);
  }
  /** The integral over `axis` of samples `dx` (1 by default) apart, or at places `x`, by the trapezoidal rule. */
  trapezoid(options: TrapezoidOptions = {}): Tensor {
    const [places, axis] = this.#places("trapezoid", options);
    return D.trapezoid(this.#float(), places, axis);
  }
  /** The integrals from the first sample to each other one; see `trapezoid`. */
  cumulativeTrapezoid(options: TrapezoidOptions = {}): Tensor {
    const [places, axis] = this.#places("cumulativeTrapezoid", options);
    return D.cumulativeTrapezoid(this.#float(), places, axis);
  }
  #places(action: string, options: TrapezoidOptions): [Tensor | number, number] {
    checkOptions(action, options, ["x", "dx", "axis"]);
    const { x, dx, axis = -1 } = options;
    if (x !== undefined && dx !== undefined) {
      throw new TypeError(`Cannot ${action} with places x and a distance dx: give one of them`);
    }
    if (x !== undefined) asTensor(action, x, "places x");
    return [x ?? dx ?? 1, normalizeAxis(action, axis, this.rank)];
  }
  /**
   * Covariances `[V, V]` of V variables, the rows, over observations, the columns (a vector is one variable, whose
   * variance is a scalar), divided by their number less `correction` (1 by default), or by weights as PyTorch does.
   */
  cov(options: { correction?: number } & S.Weights = {}): Tensor {
    checkOptions("cov", options, ["correction", "fweights", "aweights"]);
    this.#variables("cov");
    return this.#inSingle((x) => S.cov(x, options.correction ?? 1, options));
  }
  /** Pearson's correlations `[V, V]` of V variables, the rows. */
  corrcoef(): Tensor {
    this.#variables("corrcoef");
    return this.#inSingle(S.corrcoef);
  }
  #variables(action: string): void {
    if (this.rank <= 2) return;
    throw new RangeError(
      `Cannot take the ${action} of shape ${
        showShape(this.shape)
      }: it has at most two axes, variables and observations`,
    );
  }

  // ---- what hangs on values ------------------------------------------------------------------------------------

  async #values(action: string): Promise<TypedArray> {
    this.#refuseInTrace(action);
    return (await readNodes([this.node]))[0];
  }
  #places32(places: Int32Array<ArrayBuffer>, shape: Shape = [places.length]): Tensor {
    return fromStorageData(places, shape, "i32", this.device);
  }
  /**
   * The indices (i32) `[count, rank]` of elements that are not 0, in row-major order. Their number hangs on the values,
   * so this reads them: inside `vmap`, `jit`, `scan` and `checkpoint` it throws.
   */
  async nonzero(): Promise<Tensor> {
    const places = truePlaces(await this.ne(0).#values("find the nonzero elements of"));
    return this.#places32(indicesOf(places, this.shape), [places.length, this.rank]);
  }
  /**
   * The elements where `mask` holds, in row-major order, both broadcast; derivatives go to where they came from. Reads
   * the mask, since the number of elements hangs on it: inside `vmap`, `jit`, `scan` and `checkpoint` it throws.
   */
  async maskedSelect(mask: Tensor): Promise<Tensor> {
    if (asTensor("maskedSelect", mask, "mask", "tensor([true, ...])").dtype !== "bool") {
      throw new TypeError(
        `Cannot maskedSelect by a mask of type ${mask.dtype}: compare it first, as in mask.ne(0)`,
      );
    }
    const shape = broadcastShapes("maskedSelect", this.shape, mask.shape), size = sizeOf(shape);
    const at = truePlaces(await mask.expand(shape).#values("select by the mask of"));
    return this.expand(shape).reshape([size]).indexSelect(0, this.#places32(at));
  }
  /**
   * The different elements in ascending order (NaN last, each by itself), or the different slices along `axis` in
   * lexicographic order; where in the result each stands, and how often each occurs (i32). Derivatives go to the first
   * of equal ones. Reads the values: inside `vmap`, `jit`, `scan` and `checkpoint` it throws.
   */
  async unique(options: { axis?: number } = {}): Promise<Unique> {
    return await this.#groups("unique", options, true);
  }
  /** As `unique`, but only neighbours count as equal, and what remains keeps its order. */
  async uniqueConsecutive(options: { axis?: number } = {}): Promise<Unique> {
    return await this.#groups("uniqueConsecutive", options, false);
  }
  async #groups(name: string, options: { axis?: number }, sorted: boolean): Promise<Unique> {
    checkOptions(name, options, ["axis"]);
    const { axis } = options;
    if (axis === undefined || this.rank === 0) {
      if (axis !== undefined && axis !== 0 && axis !== -1) normalizeAxis(name, axis, 0);
      const { values, inverse, counts } = await this.reshape([this.size]).#groupsAlong(name, 0, sorted);
      return { values, inverse: inverse.reshape(this.shape), counts };
    }
    return await this.#groupsAlong(name, normalizeAxis(name, axis, this.rank), sorted);
  }
  async #groupsAlong(name: string, axis: number, sorted: boolean): Promise<Unique> {
    const lines = this.movedim(axis, 0);
    const g = groupRows(await lines.#values(`take the ${name} elements of`), lines.shape, sorted);
    return {
      values: this.indexSelect(axis, this.#places32(g.first)),
      inverse: this.#places32(g.inverse),
      counts: this.#places32(g.counts),
    };
  }
  /**
   * How often (i32) each whole number from 0 on occurs in a vector, or the sums of their weights; at least `minlength`
   * numbers. Reads the values: inside `vmap`, `jit`, `scan` and `checkpoint` it throws.
   */
  async bincount(options: { weights?: Tensor; minlength?: number } = {}): Promise<Tensor> {
    checkOptions("bincount", options, ["weights", "minlength"]);
    const { weights, minlength = 0 } = options;
    if (this.rank !== 1 || isFloat(this.dtype)) {
      throw new TypeError(
        `Cannot bincount ${showShape(this.shape)} of type ${this.dtype}: it takes a vector of whole numbers`,
      );
    }
    let bins = minlength;
    for (const v of await this.#values("count the numbers of")) {
      if (v < 0) throw new RangeError(`Cannot bincount the number ${v}: it must not be negative`);
      bins = Math.max(bins, v + 1);
    }
    const each = weights ?? this.scalarLike(1, "i32").expand(this.shape);
    return each.scalarLike(0).expand([bins]).scatterAdd(0, this.#number(), each);
  }

  // ---- movement ------------------------------------------------------------------------------------------------

  /** The same elements under another shape; one length may be -1. */
  reshape(shape: Shape): Tensor {
    checkList("reshape to", "shape", shape, "x.reshape([3, 2])");
    const hole = shape.indexOf(-1);
    let to = shape;
    if (hole >= 0) {
      const rest = sizeOf(shape.filter((_, i) => i !== hole));
      if (shape.lastIndexOf(-1) !== hole || rest === 0 || this.size % rest !== 0) {
        throw new RangeError(
          `Cannot reshape ${showShape(this.shape)} to ${
            showShape(shape)
          }: no single length fits in the place of -1`,
        );
      }
      to = shape.map((n, i) => i === hole ? this.size / rest : n);
    } else checkShape("reshape to a tensor", shape);
    return sameShape(to, this.shape) ? this : apply(M.reshape, [this], { shape: to });
  }
  /** Axes in another order: axis i of the result is axis `axes[i]`. */
  permute(axes: readonly number[]): Tensor {
    checkList("permute by", "axes", axes, "x.permute([1, 0])");
    const list = axes.map((a) => normalizeAxis("permute", a, this.rank));
    if (list.length !== this.rank || new Set(list).size !== this.rank) {
      throw new RangeError(
        `Cannot permute ${
          showShape(this.shape)
        } by [${axes}]: each of its ${this.rank} axes must be named once`,
      );
    }
    return list.every((a, i) => a === i) ? this : apply(M.permute, [this], { axes: list });
  }
  /** Two axes exchanged. */
  transpose(a = -2, b = -1): Tensor {
    return Axes.transpose(this, a, b);
  }
  /** The transpose of a matrix (or of the last two axes). */
  mT(): Tensor {
    return this.transpose(-2, -1);
  }
  /** `transpose` under NumPy's name. */
  swapaxes(a: number, b: number): Tensor {
    return this.transpose(a, b);
  }
  /** Axes moved to other places; all others keep their order. */
  movedim(from: number | readonly number[], to: number | readonly number[]): Tensor {
    return Axes.movedim(this, from, to);
  }
  /** Repeated along axes of length 1 and along new ones in front; -1 keeps a length. */
  expand(shape: Shape): Tensor {
    checkList("expand to", "shape", shape, "x.expand([3, 2])");
    const extra = shape.length - this.rank;
    const to = shape.includes(-1) ? shape.map((n, i) => n === -1 ? this.shape[i - extra] ?? -1 : n) : shape;
    checkShape("expand to a tensor", to);
    return sameShape(to, this.shape) ? this : apply(M.expand, [this], { shape: to });
  }
  /** `expand` under NumPy's name. */
  broadcastTo(shape: Shape): Tensor {
    return this.expand(shape);
  }
  /** Expanded to the shape of another tensor. */
  expandAs(other: Tensor): Tensor {
    return this.expand(asTensor("expandAs", other).shape);
  }
  /** The same elements under the shape of another tensor. */
  viewAs(other: Tensor): Tensor {
    return this.reshape(asTensor("viewAs", other).shape);
  }
  /** A new axis of length 1 at `axis`. */
  unsqueeze(axis: number): Tensor {
    return Axes.unsqueeze(this, axis);
  }
  /** Without those of `axes` that have length 1, or without all such axes. */
  squeeze(axes?: number | readonly number[]): Tensor {
    if (axes !== undefined && typeof axes !== "number") {
      checkList("squeeze", "axes", axes, "x.squeeze([0, 2])");
    }
    return Axes.squeeze(this, axes);
  }
  /** Axes from `start` to `end` as one. */
  flatten(start = 0, end = -1): Tensor {
    return Axes.flatten(this, start, end);
  }
  /** All elements as a vector. */
  ravel(): Tensor {
    return this.reshape([this.size]);
  }
  /** One axis as several of the given lengths, of which one may be -1. */
  unflatten(axis: number, lengths: Shape): Tensor {
    checkList("unflatten to", "lengths", lengths, "x.unflatten(0, [2, 3])");
    return Arrangement.unflatten(this, axis, lengths);
  }
  /** Copies side by side, as often along each axis as `times` says; more numbers than axes make new ones in front. */
  repeat(times: readonly number[]): Tensor {
    checkList("repeat by", "times", times, "x.repeat([2, 3])");
    return Arrangement.repeat(this, times);
  }
  /** As `repeat`, but fewer numbers than axes are for the last ones. */
  tile(times: readonly number[]): Tensor {
    checkList("tile by", "times", times, "x.tile([2, 3])");
    return Arrangement.repeat(this, [...this.shape.slice(times.length).map(() => 1), ...times]);
  }
  /**
   * Each element (of the vector of all, or along `axis`) several times in a row: `times` is a number, or one for each
   * element.
   */
  repeatInterleave(times: number | readonly number[], axis?: number): Tensor {
    if (typeof times !== "number") {
      checkList("repeatInterleave by", "times", times, "x.repeatInterleave([2, 3], 0)");
    }
    return Arrangement.repeatInterleave(this, times, axis);
  }
  /** Elements shifted along axes; what leaves at one end comes in at the other. Without axes as if it were a vector. */
  roll(shifts: number | readonly number[], axes?: number | readonly number[]): Tensor {
    return Arrangement.roll(this, shifts, axes);
  }
  /** Turned by 90 degrees, `times` over, from the first towards the second of two axes. */
  rot90(times = 1, axes: readonly number[] = [0, 1]): Tensor {
    checkList("turn in the plane of", "axes", axes, "x.rot90(1, [0, 1])");
    return Arrangement.rot90(this, times, axes);
  }
  /** Reversed along axis 1: left and right exchanged. */
  fliplr(): Tensor {
    if (this.rank < 2) {
      throw new RangeError(`Cannot fliplr shape ${showShape(this.shape)}: it takes at least two axes`);
    }
    return this.flip(1);
  }
  /** Reversed along axis 0: up and down exchanged. */
  flipud(): Tensor {
    return this.flip(0);
  }
  /** Reversed along `axes`. */
  flip(axes: number | readonly number[]): Tensor {
    if (typeof axes !== "number") checkList("flip by", "axes", axes, "x.flip([0, 1])");
    return apply(M.flip, [this], { axes: normalizeAxes("flip", axes, this.rank) });
  }
  /** `length` elements from `start` on along `axis`. */
  narrow(axis: number, start: number, length: number): Tensor {
    return Axes.narrow(this, axis, start, length);
  }
  /**
   * A window, by axis: a number picks one place and drops the axis, `[start, stop]` or `[start, stop, step]` a
   * range (negative places count from the back, `null` means the end), `":"` all.
   */
  slice(...ranges: SliceRange[]): Tensor {
    const { starts, sizes, steps, backward, shape } = windowOf(this.shape, ranges);
    let y = sameShape(sizes, this.shape) && steps.every((s) => s === 1)
      ? this as Tensor
      : this.window(starts, sizes, steps);
    if (backward.length > 0) y = y.flip(backward);
    return y.reshape(shape);
  }
  /** One place along an axis, which vanishes. */
  select(axis: number, index: number): Tensor {
    return Axes.select(this, axis, index);
  }
  /** This with `source` in the place of `x.slice(...ranges)`. */
  sliceScatter(source: Tensor, ranges: readonly SliceRange[]): Tensor {
    checkList("write to", "ranges", ranges, "x.sliceScatter(y, [[0, 2]])");
    return Arrangement.sliceScatter(this, asTensor("sliceScatter", source, "source"), ranges);
  }
  /** This with `source` in the place of `x.select(axis, index)`. */
  selectScatter(source: Tensor, axis: number, index: number): Tensor {
    const a = normalizeAxis("selectScatter", axis, this.rank);
    return this.sliceScatter(source, [...this.shape.slice(0, a).map(() => ":" as const), index]);
  }
  /** Pieces of given lengths (or of one length, the last may be shorter) along an axis. */
  split(lengths: number | readonly number[], axis = 0): Tensor[] {
    return Arrangement.split(this, lengths, axis);
  }
  /** At most `count` pieces of one length along an axis, the last may be shorter. */
  chunk(count: number, axis = 0): Tensor[] {
    return Arrangement.chunk(this, count, axis);
  }
  /** `count` pieces along an axis, the first ones longer by one if need be, or pieces that end before given places. */
  tensorSplit(where: number | readonly number[], axis = 0): Tensor[] {
    return Arrangement.tensorSplit(this, where, axis);
  }
  /** Pieces along axis 1 (0 of a vector): a number that divides its length, or the places before which they end. */
  hsplit(where: number | readonly number[]): Tensor[] {
    this.#atLeast("hsplit", 1);
    return Arrangement.splitEvenly("hsplit", this, where, this.rank === 1 ? 0 : 1);
  }
  /** Pieces along axis 0 of at least two: a number that divides its length, or the places before which they end. */
  vsplit(where: number | readonly number[]): Tensor[] {
    this.#atLeast("vsplit", 2);
    return Arrangement.splitEvenly("vsplit", this, where, 0);
  }
  /** Pieces along axis 2: a number that divides its length, or the places before which they end. */
  dsplit(where: number | readonly number[]): Tensor[] {
    this.#atLeast("dsplit", 3);
    return Arrangement.splitEvenly("dsplit", this, where, 2);
  }
  #atLeast(action: string, rank: number): void {
    if (this.rank >= rank) return;
    throw new RangeError(`Cannot ${action} shape ${showShape(this.shape)}: it takes at least ${rank} axes`);
  }
  /** All places along an axis, which vanishes. */
  unbind(axis = 0): Tensor[] {
    return Arrangement.unbind(this, axis);
  }
  /**
   * Windows of `size` elements (`dilation` apart) that slide along an axis by `step`; their elements are a new last
   * axis. A view: it takes no memory.
   */
  unfold(axis: number, size: number, step: number, dilation = 1): Tensor {
    return Sliding.slide(this, axis, size, step, dilation);
  }
  /**
   * `[before, after]` more elements on each axis (the last ones if fewer are given), filled with a value or with what
   * the edges say; negative lengths cut off.
   */
  pad(padding: readonly (readonly [number, number])[], options: number | PadOptions = 0): Tensor {
    checkList("pad by", "padding", padding, "x.pad([[1, 1]]), [before, after] for each axis");
    if (!padding.every((pair) => Array.isArray(pair) && pair.length === 2)) {
      throw new TypeError(
        `Cannot pad ${showShape(this.shape)} by ${
          JSON.stringify(padding)
        }: give [before, after] for each axis, as in x.pad([[1, 1]])`,
      );
    }
    if (padding.length > this.rank || !padding.every((pair) => pair.every((n) => Number.isInteger(n)))) {
      throw new RangeError(
        `Cannot pad ${
          showShape(this.shape)
        }: give [before, after] in whole numbers for at most ${this.rank} axes`,
      );
    }
    if (typeof options === "number") return Sliding.pad(this, padding, "constant", options);
    checkOptions("pad", options, ["mode", "value"]);
    const { mode = "constant", value = 0 } = options;
    if (!["constant", "reflect", "replicate", "circular"].includes(mode)) {
      throw new TypeError(
        `Cannot pad in mode ${String(mode)}: modes are constant, reflect, replicate and circular`,
      );
    }
    return Sliding.pad(this, padding, mode, value);
  }
  /**
   * The diagonal `offset` above the main one, of matrices that lie in two axes (the last two by default), as a new last
   * axis.
   */
  diagonal(offset = 0, axis1 = -2, axis2 = -1): Tensor {
    return Diagonals.diagonal(this, offset, axis1, axis2);
  }
  /** Matrices with the last axis as the diagonal `offset` above the main one; their rows are `axis1`, their columns `axis2`. */
  diagEmbed(offset = 0, axis1 = -2, axis2 = -1): Tensor {
    return Diagonals.diagEmbed(this, offset, axis1, axis2);
  }
  /** The matrix with a vector as its diagonal, or the diagonal of a matrix. */
  diag(offset = 0): Tensor {
    return Diagonals.diag(this, offset);
  }
  /** The matrix with all elements as its diagonal. */
  diagflat(offset = 0): Tensor {
    return Diagonals.diagflat(this, offset);
  }
  /** The sum of the diagonal of a matrix (or of the last two axes). */
  trace(): Tensor {
    return Diagonals.trace(this);
  }
  /** This with `source` in the place of `x.diagonal(offset, axis1, axis2)`. */
  diagonalScatter(source: Tensor, offset = 0, axis1 = -2, axis2 = -1): Tensor {
    return Diagonals.diagonalScatter(
      this,
      asTensor("diagonalScatter", source, "source"),
      offset,
      axis1,
      axis2,
    );
  }
  /** Channels to space: `[..., C r^2, H, W]` to `[..., C, H r, W r]` (Shi et al., 2016, arXiv:1609.05158). */
  pixelShuffle(r: number): Tensor {
    return Arrangement.pixelShuffle(this, r);
  }
  /** Space to channels: `[..., C, H r, W r]` to `[..., C r^2, H, W]`, the inverse of `pixelShuffle`. */
  pixelUnshuffle(r: number): Tensor {
    return Arrangement.pixelUnshuffle(this, r);
  }
  /** The channels of `[B, C, ...]` dealt out among `groups` (Zhang et al., 2017, arXiv:1707.01083). */
  channelShuffle(groups: number): Tensor {
    return Arrangement.channelShuffle(this, groups);
  }
  /** The lower triangle (columns up to row + `diagonal`), zeros elsewhere. */
  tril(diagonal = 0): Tensor {
    return Diagonals.tril(this, diagonal);
  }
  /** The upper triangle (columns from row + `diagonal` on), zeros elsewhere. */
  triu(diagonal = 0): Tensor {
    return Diagonals.triu(this, diagonal);
  }

  // ---- indexing ------------------------------------------------------------------------------------------------

  /**
   * Elements at places: a key for each axis, or `null` for a new axis, or `"..."` for all axes in between. A key is a
   * range as in `slice`, or places (a whole-number tensor or an `Int32Array`). Places of several axes are broadcast, and
   * their axes stand where the keys did if those are side by side, else in front, as in PyTorch.
   *
   * ```ts
   * import { tensor } from "@cotangent/cotangent";
   * const x = tensor([[1, 2, 3], [4, 5, 6]]);
   * console.log(await x.index(":", Int32Array.of(2, 0)).toArray()); // [[3, 1], [6, 4]]
   * console.log(await x.index(Int32Array.of(0, 1), Int32Array.of(2, 0)).toArray()); // [3, 4]
   * ```
   */
  index(...keys: IndexKey[]): Tensor {
    return Places.index(this, this.#keys(keys), placesOf);
  }
  /**
   * This with `values` (broadcast) in the place of `x.index(...keys)`, or added there. Of several values for one place
   * the last remains.
   */
  indexPut(keys: readonly IndexKey[], values: Operand, options: PutOptions = {}): Tensor {
    checkList("index by", "keys", keys, 'x.indexPut([":", i], 0)');
    checkOptions("indexPut", options, ["accumulate"]);
    const v = typeof values === "number" ? this.scalarLike(values) : asTensor("indexPut", values, "values");
    return Places.indexPut(this, this.#keys(keys), v, options.accumulate ?? false, placesOf);
  }
  #keys(keys: readonly IndexKey[]): IndexKey[] {
    return keys.map((k) =>
      k instanceof Int32Array ? fromStorageData(k.slice(), [k.length], "i32", this.device) : k
    );
  }
  /** Elements at places of the vector of all elements. */
  take(index: Tensor): Tensor {
    return Places.take(this, asTensor("take", index, "index", WHOLE_NUMBERS));
  }
  /** This with the elements of `source` at places of the vector of all elements, or added there. */
  put(index: Tensor, source: Tensor, options: PutOptions = {}): Tensor {
    asTensor("put", index, "index", WHOLE_NUMBERS);
    checkOptions("put", options, ["accumulate"]);
    return Places.put(this, index, asTensor("put", source, "source"), options.accumulate ?? false);
  }
  /** `gather` with index and tensor broadcast along all other axes; without an axis from the vector of all elements. */
  takeAlongDim(index: Tensor, axis?: number): Tensor {
    return Places.takeAlongDim(this, asTensor("takeAlongDim", index, "index", WHOLE_NUMBERS), axis);
  }
  /** `y[i][j] = x[index[i][j]][j]` for axis 0, and likewise for any axis. */
  gather(axis: number, index: Tensor): Tensor {
    asTensor("gather", index, "index", WHOLE_NUMBERS);
    const x = atLeastVector(this), a = normalizeAxis("gather", axis, x.rank);
    return apply(I.gather, [x, atLeastVector(index)], { axis: a }).reshape(index.shape);
  }
  /** This plus `src` added at the places that `gather` with the same index reads. */
  scatterAdd(axis: number, index: Tensor, src: Tensor): Tensor {
    asTensor("scatterAdd", index, "index", WHOLE_NUMBERS);
    const x = atLeastVector(this), i = atLeastVector(index);
    const s = Scattering.fitted(atLeastVector(asTensor("scatterAdd", src, "source")), i.shape);
    return apply(I.scatterAdd, [x, i, s], { axis: normalizeAxis("scatterAdd", axis, x.rank) }).reshape(
      this.shape,
    );
  }
  /** This with `src` at the places that `gather` with the same index reads; of several for one place the last remains. */
  scatter(axis: number, index: Tensor, src: Operand): Tensor {
    asTensor("scatter", index, "index", WHOLE_NUMBERS);
    const x = atLeastVector(this), a = normalizeAxis("scatter", axis, x.rank);
    const s = typeof src === "number" ? src : atLeastVector(asTensor("scatter", src, "source"));
    return Scattering.scatter(x, a, atLeastVector(index), s).reshape(this.shape);
  }
  /**
   * This and `src`, at the places that `gather` with the same index reads, put together by a sum, product, mean, maximum
   * or minimum: ties share the derivative equally, and that of a product is right where elements are 0.
   */
  scatterReduce(
    axis: number,
    index: Tensor,
    src: Tensor,
    reduce: ScatterReduction,
    options: ScatterOptions = {},
  ): Tensor {
    asTensor("scatterReduce", index, "index", WHOLE_NUMBERS);
    asTensor("scatterReduce", src, "source");
    checkOptions("scatterReduce", options, ["includeSelf"]);
    const x = atLeastVector(this), a = normalizeAxis("scatterReduce", axis, x.rank);
    return Scattering.scatterReduce(
      x,
      a,
      atLeastVector(index),
      atLeastVector(src),
      reduce,
      options.includeSelf ?? true,
    ).reshape(this.shape);
  }
  /** The slices at `index` (rank 1) along `axis`. */
  indexSelect(axis: number, index: Tensor): Tensor {
    return Slices.indexSelect(this, axis, asTensor("indexSelect", index, "index", WHOLE_NUMBERS));
  }
  /** This plus `alpha` times the slices of `source`, added to the slices at `index` (rank 1) along `axis`. */
  indexAdd(axis: number, index: Tensor, source: Tensor, options: { alpha?: number } = {}): Tensor {
    asTensor("indexAdd", index, "index", WHOLE_NUMBERS);
    checkOptions("indexAdd", options, ["alpha"]);
    return Slices.indexAdd(this, axis, index, asTensor("indexAdd", source, "source"), options.alpha ?? 1);
  }
  /** This with the slices of `source` at `index` (rank 1) along `axis`; of several for one place the last remains. */
  indexCopy(axis: number, index: Tensor, source: Tensor): Tensor {
    asTensor("indexCopy", index, "index", WHOLE_NUMBERS);
    return Slices.indexCopy(this, axis, index, asTensor("indexCopy", source, "source"));
  }
  /** This with `value` in the slices at `index` (rank 1) along `axis`. */
  indexFill(axis: number, index: Tensor, value: Operand): Tensor {
    asTensor("indexFill", index, "index", WHOLE_NUMBERS);
    return Slices.indexFill(this, axis, index, value);
  }
  /** As `scatterReduce`, for whole slices at `index` (rank 1) along `axis`. */
  indexReduce(
    axis: number,
    index: Tensor,
    source: Tensor,
    reduce: ScatterReduction,
    options: ScatterOptions = {},
  ): Tensor {
    asTensor("indexReduce", index, "index", WHOLE_NUMBERS);
    asTensor("indexReduce", source, "source");
    checkOptions("indexReduce", options, ["includeSelf"]);
    return Slices.indexReduce(this, axis, index, source, reduce, options.includeSelf ?? true);
  }
  /** This with the elements of `source`, one after the other, where `mask` (broadcast) holds. */
  maskedScatter(mask: Tensor, source: Tensor): Tensor {
    asTensor("maskedScatter", mask, "mask", "tensor([true, ...])");
    return Places.maskedScatter(this, mask, asTensor("maskedScatter", source, "source"));
  }
  /** One-hot vectors of class numbers, a new last axis of length `classes`; a number that is no class is an error. */
  oneHot(classes: number, dtype: DType = "f32"): Tensor {
    return Places.oneHot(this, classes).to(dtype);
  }

  // ---- contraction ---------------------------------------------------------------------------------------------

  /** Matrix product of the last two axes, leading axes broadcast; vectors count as a row or a column. */
  matmul(y: Tensor): Tensor {
    asTensor("matmul", y);
    if (this.rank === 0 || y.rank === 0) {
      throw new RangeError(
        `Cannot matmul shapes ${showShape(this.shape)} and ${showShape(y.shape)}: scalars multiply with mul`,
      );
    }
    const [p, q] = operand("matmul", this, y);
    const a = p.rank === 1 ? p.unsqueeze(0) : p, b = q.rank === 1 ? q.unsqueeze(1) : q;
    let z: Tensor;
    if (a.rank > 2 && b.rank === 2) {
      // One product instead of a batch: the leading axes join the rows.
      z = apply(matmul, [a.reshape([sizeOf(a.shape.slice(0, -1)), a.shape[a.rank - 1]]), b]).reshape([
        ...a.shape.slice(0, -1),
        b.shape[1],
      ]);
    } else {
      const batch = broadcastShapes("matmul", a.shape.slice(0, -2), b.shape.slice(0, -2));
      z = apply(matmul, [
        a.expand([...batch, ...a.shape.slice(-2)]),
        b.expand([...batch, ...b.shape.slice(-2)]),
      ]);
    }
    if (p.rank === 1) z = z.squeeze(-2);
    return q.rank === 1 ? z.squeeze(-1) : z;
  }
  /** Matrix product of two matrices. */
  mm(y: Tensor): Tensor {
    return Products.mm(this, asTensor("mm", y));
  }
  /** Matrix products of two stacks `[B, M, K]` and `[B, K, N]`. */
  bmm(y: Tensor): Tensor {
    return Products.bmm(this, asTensor("bmm", y));
  }
  /** Product of a matrix and a vector. */
  mv(y: Tensor): Tensor {
    return Products.mv(this, asTensor("mv", y));
  }
  /** Inner product of two vectors. */
  dot(y: Tensor): Tensor {
    return Products.dot(this, asTensor("dot", y));
  }
  /** Inner product of two vectors, which for real numbers is `dot`. */
  vdot(y: Tensor): Tensor {
    return Products.dot(this, asTensor("vdot", y));
  }
  /** Sums of products over the last axes: `z[..., ...] = sum_k x[..., k] y[..., k]`; a scalar multiplies. */
  inner(y: Tensor): Tensor {
    return Products.inner(this, asTensor("inner", y));
  }
  /** Outer product of two vectors. */
  outer(y: Tensor): Tensor {
    return Products.outer(this, asTensor("outer", y));
  }
  /** `beta x + alpha a b` of matrices a and b. */
  addmm(a: Tensor, b: Tensor, options: AddedProductOptions = {}): Tensor {
    return Products.addmm(this, ...productOperands("addmm", a, b, options));
  }
  /** `beta x + alpha a b` of a matrix a and a vector b. */
  addmv(a: Tensor, b: Tensor, options: AddedProductOptions = {}): Tensor {
    return Products.addmv(this, ...productOperands("addmv", a, b, options));
  }
  /** `beta x + alpha a b^T` of vectors a and b. */
  addr(a: Tensor, b: Tensor, options: AddedProductOptions = {}): Tensor {
    return Products.addr(this, ...productOperands("addr", a, b, options));
  }
  /** `beta x + alpha sum_i a_i b_i` of stacks of matrices a and b. */
  addbmm(a: Tensor, b: Tensor, options: AddedProductOptions = {}): Tensor {
    return Products.addbmm(this, ...productOperands("addbmm", a, b, options));
  }
  /** `beta x + alpha a_i b_i` for each of stacks of matrices a and b. */
  baddbmm(a: Tensor, b: Tensor, options: AddedProductOptions = {}): Tensor {
    return Products.baddbmm(this, ...productOperands("baddbmm", a, b, options));
  }
  /** The p-norm of x - y, all elements together; operands broadcast. */
  dist(y: Operand, p = 2): Tensor {
    return Distance.dist(...operand("dist", this.#float(), y), p);
  }
  /** Kronecker's product: every element of x times all of y, as one array. */
  kron(y: Tensor): Tensor {
    return Products.kron(this, asTensor("kron", y));
  }
  /** The cross product along an axis of length 3; other axes broadcast. */
  cross(y: Tensor, axis = -1): Tensor {
    return Products.cross(this, asTensor("cross", y), axis);
  }

  // ---- display -------------------------------------------------------------------------------------------------

  /** What a notebook shows. */
  async [Symbol.for("Jupyter.display")](): Promise<MimeBundle> {
    try {
      return await currentPresenter().display(this);
    } catch (error) {
      return {
        "text/plain": `Tensor ${showShape(this.shape)} ${this.dtype}: ${
          error instanceof Error ? error.message : error
        }`,
      };
    }
  }
  /** What `console.log` shows. */
  [Symbol.for("Deno.customInspect")](_inspect?: unknown, place?: PrintedPlace): string {
    try {
      return printedIn(place, currentPresenter().inspect(this));
    } catch (error) {
      return `${this} (${error instanceof Error ? error.message : error})`;
    }
  }
  /** What `JSON.stringify` writes: what the tensor is, without its values, which take a wait (`await x.toArray()`). */
  toJSON(): { shape: Shape; dtype: DType; device: Device } {
    return { shape: this.shape, dtype: this.dtype, device: this.device };
  }
  /** Type and shape; the values are on the device. */
  toString(): string {
    return `Tensor(${showShape(this.shape)}, ${this.dtype})`;
  }
  /** Arithmetic by operators would be silently wrong: it throws. */
  [Symbol.toPrimitive](hint: string): string {
    if (hint === "string") return this.toString();
    throw new TypeError(
      `Cannot use a tensor in an operator like + or >: use methods, as in a.add(b) or a.gt(b), or await x.item()`,
    );
  }
}

/** The largest numbers of the floating point types. */
const LARGEST = {
  f16: 65504,
  bf16: 3.3895313892515355e38,
  f32: 3.4028234663852886e38,
  f64: Number.MAX_VALUE,
};

/** Operands of a product that is added to a tensor. */
function productOperands(
  action: string,
  a: Tensor,
  b: Tensor,
  options: AddedProductOptions,
): [Tensor, Tensor, AddedProductOptions] {
  checkOptions(action, options, ["beta", "alpha"]);
  return [asTensor(action, a), asTensor(action, b), options];
}

/** A scalar as a vector of one element. */
function atLeastVector(x: Tensor): Tensor {
  return x.rank === 0 ? x.reshape([1]) : x;
}

/** Places among keys. */
function placesOf(key: unknown): Tensor | null {
  return key instanceof Tensor ? key : null;
}

setTensorFactory((node) => new Tensor(node));

/** Elements as nested arrays. */
// deno-lint-ignore no-explicit-any
export function nest(data: TypedArray, shape: Shape, bool: boolean): any {
  let level: unknown[] = bool ? Array.from(data, (v) => v !== 0) : Array.from(data);
  for (let axis = shape.length - 1; axis > 0; axis--) {
    const n = shape[axis], count = sizeOf(shape.slice(0, axis));
    level = Array.from({ length: count }, (_, i) => level.slice(i * n, (i + 1) * n));
  }
  return shape.length === 0 ? level[0] : level;
}

/** Points from a type that is a device to the way of moving. */
export function refuseDevice(dtype: string): void {
  if (dtype === "host" || dtype === "webgpu") {
    throw new TypeError(
      `Cannot convert to type ${dtype}, which is a device: move with await x.toDevice("${dtype}")`,
    );
  }
}

/** What to do where one axis is taken and something else was given. */
function oneAxis(action: string, axis: unknown): string {
  return `Cannot ${action} along ${
    axis instanceof Tensor ? "a tensor" : axis === null ? "null" : `axes ${JSON.stringify(axis)}`
  }: give one axis, as in x.${action}(0)`;
}

/** Refuses types and devices that there are not, and types that a device does not have. */
export function checkOnDevice(dtype: DType, device: Device): void {
  if (device !== "host" && device !== "webgpu") {
    throw new TypeError(`Cannot use device ${device}: devices are host and webgpu`);
  }
  if (!DTYPES.includes(dtype)) {
    throw new TypeError(`Cannot make a tensor of type ${dtype}: types are ${DTYPES.join(", ")}`);
  }
  if (dtype === "f64" && device === "webgpu") {
    throw new TypeError(
      `Cannot hold f64 on webgpu: the GPU interface has no double precision. Use f32, or compute on the host: ` +
        `tensor(data, { dtype: "f64", device: "host" })`,
    );
  }
}

/** A leaf with these elements. */
export function fromStorageData(bits: TypedArray, shape: Shape, dtype: DType, device: Device): Tensor {
  checkOnDevice(dtype, device);
  const node = makeLeaf(dataLeaf, null, { shape, dtype }, device);
  node.value = engineOf(device).upload(bits, dtype);
  if (node.value.label) node.value.label.shape = shape;
  return new Tensor(node);
}

const tables = new Map<string, Node>();

/** A constant that rules ask for again and again, shared under a key that says all about its elements. */
function tableOn(
  device: Device,
  key: string,
  shape: Shape,
  dtype: DType,
  make: () => ArrayLike<number>,
): Tensor {
  const full = `${device} ${key} ${dtype}`;
  let node = tables.get(full);
  if (node === undefined || node.value!.error !== null) {
    node = fromStorageData(convert(make(), dtype), shape, dtype, device).node;
    if (tables.size >= 64) tables.delete(tables.keys().next().value!);
    tables.set(full, node);
  }
  ambient().tidy?.escaped.push(node);
  return new Tensor(node);
}

/** A host array of another type. */
export function convert(from: ArrayLike<number>, dtype: DType): TypedArray {
  switch (dtype) {
    case "f32":
      return Float32Array.from(from);
    case "f16":
      return Float16Array.from(from);
    case "bf16":
      return Float32Array.from(from, roundToBf16);
    case "f64":
      return Float64Array.from(from);
    case "i32":
      return Int32Array.from(from);
    case "u32":
      return Uint32Array.from(from);
    case "bool":
      return Uint8Array.from(from, (v) => v !== 0 ? 1 : 0);
  }
}

/** Replaces the values of several handles at once, as an optimiser's step does. */
export function assignAll(pairs: readonly (readonly [Tensor, Operand])[], by: string): void {
  let replaced = false;
  if (currentTrace() === null) throwTakenBack();
  // An assignment that still waits would pile up with this one to a graph of both.
  if (
    currentTrace() === null &&
    pairs.some(([handle]) => handle.node.cell === handle && handle.node.value === null)
  ) flush();
  for (const [handle, operandValue] of pairs) {
    const value = typeof operandValue === "number"
      ? handle.scalarLike(operandValue).expand(handle.shape)
      : asTensor("assign", operandValue, "value");
    if (
      !sameShape(value.shape, handle.shape) || value.dtype !== handle.dtype || value.device !== handle.device
    ) {
      throw new TypeError(
        `Cannot assign a tensor of shape ${
          showShape(value.shape)
        }, ${value.dtype} on ${value.device} to one of shape ` +
          `${showShape(handle.shape)}, ${handle.dtype} on ${handle.device}: they must be the same`,
      );
    }
  }
  for (const [handle, operandValue] of pairs) {
    const value = typeof operandValue === "number"
      ? handle.scalarLike(operandValue).expand(handle.shape)
      : operandValue;
    recordEffect(handle, value);
    const grads = handle.requiresGrad && handle.node.cell === handle;
    const node = passOn(nodeOf(value), grads ? BY_BACKWARD : 0, !grads), before = handle.node;
    node.cell = handle;
    handle.node = node;
    if (currentTrace() === null) {
      if (node.value === null && before.value?.error === null) node.replaces = before;
      ambient().watch?.assign(handle, before, by);
    }
    ambient().tidy?.escaped.push(node);
    handle.version++;
    handle.replacedBy = by;
    replaced ||= grads;
    if (currentTrace() === null) registerRoot(node);
  }
  if (replaced) dropStaleGraphs();
}

/** Notes an assignment inside a trace, so that the transform can make it an output; refuses it where it can't. */
function recordEffect(handle: Tensor, value: Tensor): void {
  for (let trace = currentTrace(); trace !== null; trace = trace.outer) {
    if (handle.born >= trace.start) continue;
    if (trace.kind === "scan") {
      throw new Error(
        `Cannot assign to a tensor inside scan: carry the value instead, as part of scan's state`,
      );
    }
    if (trace.kind === "cond") {
      throw new Error(
        `Cannot assign to a tensor inside cond, where both branches are computed: return the value and assign it outside`,
      );
    }
    if (trace.kind === "linearize" || trace.kind === "customRoot" || trace.kind === "customLinearSolve") {
      throw new Error(`Cannot assign to a tensor inside ${trace.kind}`);
    }
    if (trace.kind === "vmap" && dependsOnInside(nodeOf(value), trace.start)) {
      throw new Error(
        `Cannot assign a value that is different for each element inside vmap to a tensor${
          handle.name ? ` (${handle.name})` : ""
        } ` +
          `that all elements share: reduce it first, or call the model in evaluation mode (model.eval())`,
      );
    }
    if (!trace.effects.has(handle)) trace.effects.set(handle, handle.node);
  }
}

function dependsOnInside(node: Node, start: number): boolean {
  const seen = new Set<Node>(), stack = [node];
  while (stack.length > 0) {
    const n = stack.pop()!;
    if (seen.has(n) || n.serial < start) continue;
    if (n.op.name === "placeholder") return true;
    seen.add(n);
    for (const x of n.inputs) stack.push(x);
  }
  return false;
}
