/** What a primitive is: one record that holds everything known of it. Families fill in what follows by itself. */
import type { DType, TypedArray } from "./dtype.ts";
import type { Shape } from "./shape.ts";
import type { Tensor } from "./tensor.ts";
import type { Program } from "./transforms/program.ts";

/** Shape and element type of a value. */
export interface Aval {
  readonly shape: Shape;
  readonly dtype: DType;
}

/** Attributes of a node: structure, never data (data are inputs). */
// deno-lint-ignore no-explicit-any
export type Attributes = any;

/** A contiguous host array with its shape, as host kernels see operands. */
export interface HostArray extends Aval {
  readonly data: TypedArray;
}

/** What a derivative rule sees: inputs, output and attributes of the node, and which inputs matter. */
export interface RuleContext {
  readonly x: Tensor[];
  readonly y: Tensor;
  readonly p: Attributes;
  /** Per input: whether its cotangent is wanted. */
  readonly needs: boolean[];
}

/** A random number source for samples of a primitive's domain. */
export type Rng = () => number;

/** One call which the registry tests make: inputs as nested data, attributes through `call`. */
export interface Sample {
  /** Shapes of the tensor inputs. */
  readonly shapes: Shape[];
  /** Applies the op to tensors; several results are checked together. */
  readonly call: (...xs: Tensor[]) => Tensor | Tensor[];
  /** Per input: open interval which values are drawn from; default from the record. */
  readonly domain?: readonly [number, number][];
  /** Per input: fixed values instead of drawn ones (indices, masks, special points). */
  readonly values?: (readonly number[] | undefined)[];
  /** Per input: element types; default float. */
  readonly dtypes?: (DType | undefined)[];
  /** Which inputs are differentiated; default all floats. */
  readonly wrt?: number[];
  /** Central differences hold; false for what stops, rounds or jumps on purpose. Default true. */
  readonly differences?: boolean;
  /** Values need not agree at zeros, infinities and NaN (they hang on the algorithm): say why. */
  readonly notSpecial?: string;
  /** Factor on the laws' tolerances, for what loses digits; default 1. */
  readonly slack?: number;
}

/** How much work a node is. */
export interface Cost {
  /** Arithmetic operations. */
  readonly flops: number;
  /** Bytes read and written. */
  readonly bytes: number;
}

/** Parts that every record has. */
export interface Common {
  readonly name: string;
  /** How users call it, where that is not by its name: another public name, or a call with its options. */
  readonly call?: string;
  /** LaTeX of the result from LaTeX of the operands. */
  readonly tex: (x: string[], p: Attributes) => string;
  /** LaTeX of the derivative by each operand, from LaTeX of the operands and the result. */
  readonly texPartials?: (x: string[], y: string, p: Attributes) => string[];
  /** LaTeX of the cotangent of each operand, where it says more: `\bar{y}` is the result's. */
  readonly texPullbacks?: (x: string[], y: string, p: Attributes) => string[];
  /** What the tests sample beyond the family's own samples. */
  readonly samples?: readonly Sample[];
  /** Structural key of the attributes; default their JSON. What it leaves out is data. */
  readonly key?: (p: Attributes) => string;
  /** Never differentiable (comparisons, indices, random bits). */
  readonly discrete?: boolean;
}

/** Result shape and type; throws where operands do not fit. */
export type Infer = (x: readonly Aval[], p: Attributes) => Aval;

/** Cotangents of the inputs; `null` is zero. */
export type VjpRule = (ct: Tensor, c: RuleContext) => (Tensor | null)[];
/** Tangent of the output from tangents of the inputs; `null` is zero. */
export type JvpRule = (dx: (Tensor | null)[], c: RuleContext) => Tensor | null;
/** The op on inputs of which some carry a batch axis at 0; the result carries it at 0. */
export type BatchRule = (x: Tensor[], batched: boolean[], p: Attributes, B: number) => Tensor;

/** What a kernel may be written for. */
export interface KernelTarget {
  /** Whether a CPU computes: memory that threads share is no nearer than any other. */
  readonly isSoftware: boolean;
  /** Bytes that the threads of a group can share. */
  readonly workgroupMemory: number;
}

/** A WGSL kernel in which every thread runs `body`: `x0(i)`, `put(i, v)`, `u(k)` and `t` are at hand. */
export interface MapKernel {
  /** Number of threads, or of groups of threads that work together. */
  readonly threads: (x: readonly Aval[], y: Aval, p: Attributes, target: KernelTarget) => number;
  /**
   * For threads that work together: how many there are in a group, and the variables that they share and functions that
   * they call, in WGSL. The body knows `group: u32` and, in it, `lid: u32` in place of `t`.
   */
  readonly workgroup?: {
    readonly threads: number;
    readonly globals: (x: readonly Aval[], p: Attributes, target: KernelTarget) => string;
  };
  /**
   * How often the kernel runs, one time after the other, for what must wait for other threads or would keep one of them
   * too long (see gpu/webgpu/emit_long.ts); default 1.
   */
  readonly turns?: (x: readonly Aval[], y: Aval, p: Attributes) => number;
  /** Whole numbers which the body reads as `u(0)`, `u(1)` ... (i32). */
  readonly uniforms: (x: readonly Aval[], y: Aval, p: Attributes) => number[];
  /**
   * WGSL statements, free of shapes. `x0(i)` reads element i (row-major) of input 0 as f32, i32, u32 or bool,
   * `q0(i)` four of them from an i on that is divisible by 4;
   * `put(i, v)` writes output element i, `put4(i, v)`, alone, four from such an i on of a result of whole fours, `y(i)` reads what this thread, or any in an earlier turn, has put there; `u(k)`
   * is a uniform; `t: i32` the thread's number, `turn: i32` that of the turn; `fault(k)` makes the run fail, with the
   * record's `fault` as message.
   */
  readonly body: (x: readonly Aval[], y: Aval, p: Attributes, target: KernelTarget) => string;
}

/** Same function on each element; operands broadcast. */
export interface Elementwise extends Common {
  readonly family: "elementwise";
  readonly infer: Infer;
  readonly host: (...x: number[]) => number;
  /** The same for i32 and u32 results, where doubles do not do: modulo 2^32 (the store takes the low 32 bits). */
  readonly hostInteger?: (...x: number[]) => number;
  readonly wgsl: (x: string[], dtypes: DType[], p: Attributes) => string;
  /** Derivative by each operand: a tensor, a boolean tensor (a mask), a number, or null where it is zero. */
  readonly partials: readonly (((c: RuleContext) => Tensor | number) | null)[];
  /** Domain of each operand for samples. */
  readonly domain: readonly (readonly [number, number])[];
  readonly vjp: VjpRule;
  readonly jvp: JvpRule;
  readonly batch: BatchRule;
  readonly flops: number;
  readonly inputs: number;
}

/** A strided window onto an array. */
export interface View {
  readonly shape: Shape;
  readonly strides: readonly number[];
  readonly offset: number;
}

/** Rearranges elements without computing: engines may turn it into index arithmetic. */
export interface Movement extends Common {
  readonly family: "movement";
  readonly infer: Infer;
  /** The view of the result onto a view of the input, or null if a copy is needed first. */
  readonly view: (x: View, p: Attributes, y: Aval) => View | null;
  readonly vjp: VjpRule;
  readonly jvp: JvpRule;
  readonly batch: BatchRule;
}

/** Folds one operand over `p.axes` (ascending) with an associative function; the axes vanish. */
export interface Reduction extends Common {
  readonly family: "reduction";
  readonly infer: Infer;
  /** The neutral element, by type. */
  readonly init: (dtype: DType) => number;
  readonly host: (accumulator: number, x: number) => number;
  /** The same for i32 and u32 results, modulo 2^32. */
  readonly hostInteger?: (accumulator: number, x: number) => number;
  readonly wgsl: (accumulator: string, x: string, dtype: DType) => string;
  readonly vjp: VjpRule;
  readonly jvp: JvpRule;
  readonly batch: BatchRule;
}

/** Batched matrix product `[..., M, K] x [..., K, N]`; all leading axes equal. */
export interface Contraction extends Common {
  readonly family: "contraction";
  readonly infer: Infer;
  readonly vjp: VjpRule;
  readonly jvp: JvpRule;
  readonly batch: BatchRule;
}

/** Anything else with one output and kernels of its own. */
export interface Custom extends Common {
  readonly family: "custom";
  readonly infer: Infer;
  readonly host: (x: HostArray[], y: HostArray, p: Attributes) => void;
  readonly wgsl: MapKernel;
  /** What an engine says when the kernel has called `fault(k)`, and the host throws; default: index k is out of range. */
  readonly fault?: (k: number, x: readonly Aval[], p: Attributes) => string;
  /** The same in terms of other ops; tests hold the kernels to it. */
  readonly definition?: (x: Tensor[], p: Attributes) => Tensor;
  readonly flops: (x: readonly Aval[], y: Aval, p: Attributes) => number;
  readonly vjp: VjpRule;
  readonly jvp: JvpRule;
  readonly batch: BatchRule;
}

/** Nodes without operands: data, constants, placeholders. */
export interface Leaf extends Common {
  readonly family: "leaf";
}

/** Passes one value through and only means something to transforms (alias, detach, barrier). */
export interface Identity extends Common {
  readonly family: "identity";
  readonly vjp: VjpRule;
  readonly jvp: JvpRule;
  readonly batch: BatchRule;
}

/** A recorded function inside a tuple, for pictures. */
export interface Body {
  /** When it runs: `if true`; empty where it always does. */
  readonly label: string;
  readonly program: Program;
  /** The operand of the tuple behind each hole and then each constant; -1 for a constant that is none. */
  readonly operands: readonly number[];
  /** What a hole is called that is another value in each step, `null` for one that is its operand. */
  readonly holes?: readonly (string | null)[];
  /** What the outputs of the tuple are called. */
  readonly results?: readonly string[];
  /** How many outputs, from the first on, the next step begins with. */
  readonly carried?: number;
  /** How often it runs, for a loop. */
  readonly times?: number;
  /** Whether it is the body of the loop before, which has been drawn. */
  readonly again?: boolean;
}

/** Several outputs, picked by `output` nodes; engines see its expansion. */
export interface Tuple extends Common {
  readonly family: "tuple";
  readonly outputs: (x: readonly Aval[], p: Attributes) => Aval[];
  /** The work of a recorded program inside; default none, since all else is in the graph. */
  readonly flops?: (p: Attributes) => number;
  /** What was recorded; none for a loop that goes on with another's body. */
  readonly bodies?: (p: Attributes) => readonly Body[];
  /** The outputs in terms of other ops. */
  readonly expand: (x: Tensor[], p: Attributes) => Tensor[];
  readonly vjp: (ct: (Tensor | null)[], c: TupleContext) => (Tensor | null)[];
  readonly jvp: (dx: (Tensor | null)[], c: TupleContext) => (Tensor | null)[];
  readonly batch: (x: Tensor[], batched: boolean[], p: Attributes, B: number) => Tensor[];
}

/** What rules of a tuple see. */
export interface TupleContext {
  readonly x: Tensor[];
  readonly y: Tensor[];
  readonly p: Attributes;
  readonly needs: boolean[];
}

/** The pick of one output of a tuple. */
export interface Output extends Common {
  readonly family: "output";
}

/** Everything that a node can be: a closed union, so that a new family fails to compile in every engine. */
export type Primitive =
  | Elementwise
  | Movement
  | Reduction
  | Contraction
  | Custom
  | Leaf
  | Identity
  | Tuple
  | Output;

const registry = new Map<string, Primitive>();

/** Adds a record to the registry and returns it. */
export function define<T extends Primitive>(record: T): T {
  if (registry.has(record.name)) throw new Error(`Internal: primitive ${record.name} is defined twice`);
  registry.set(record.name, record);
  return record;
}

/** All primitives by name, in order of definition. */
export function primitives(): ReadonlyMap<string, Primitive> {
  return registry;
}
