/** Chains before they have memory: how operands and results are addressed, and what is bound. */
import { isContiguous } from "../../ops/definitions/movement.ts";
import type { Elementwise } from "../../ops/primitive.ts";
import { broadcastStrides, type Shape } from "../../ops/shape.ts";
import { type Binding, bindOnce, type Operand, type PlanBuilder } from "./builder.ts";
import type { ChainForm, ChainStep, Mode } from "./kernels/chain.ts";
import { storedBytes, valueType } from "./kernels/kernel.ts";
import { collapse, type Walk } from "./views.ts";

/** Elementwise steps over one shape, some of which are stored. */
export interface Chain {
  readonly operands: readonly Operand[];
  readonly steps: readonly ChainStep[];
  readonly stores: readonly { readonly value: string; readonly result: Operand }[];
  readonly shape: Shape;
}

/** A chain that only stores what a kernel made. */
export function storeOnly(result: Operand): Chain {
  return { operands: [], steps: [], stores: [{ value: "s", result }], shape: result.view.shape };
}

/** How a chain walks. */
export interface LaidChain extends Chain {
  readonly modes: readonly Mode[];
  readonly storeModes: readonly ("flat" | "walk")[];
  readonly walk: Walk;
  readonly rank: number;
}

/** A chain with bindings: its form, its parameters, and what to do when they have a place. */
export interface BoundChain {
  readonly form: ChainForm;
  readonly words: readonly number[];
  /** Has numbers and moving offsets written in each run; the block is at byte `at`, the chain's part at word `first`. */
  readonly patch: (at: number, first: number) => void;
}

/** Whether an operand is a number in the parameters. */
export function isNumber(b: PlanBuilder, { value }: Operand): boolean {
  return value.kind === "constant" && b.steps[value.step].leaf === "constant";
}

/** WGSL of elementwise step `m` of these operands: `a` and a number from memory, `t` and a number earlier steps. */
export function expressionOf(b: PlanBuilder, m: number, x: string[]): string {
  const { op, inputs, dtype } = b.steps[m];
  // Compilers take x - x for 0, which it is not for infinities and NaN; two operands may be the same memory.
  if (
    op!.name === "sub" && valueType(dtype) === "f32" &&
    (x[0] === x[1] || (x[0][0] === "a" && x[1][0] === "a"))
  ) {
    x[1] = `held(${x[1]})`;
  }
  return (op as Elementwise).wgsl(x, inputs.map((i) => b.steps[i].dtype), b.attributes(m));
}

/** Chooses how each operand and each result is addressed. */
export function layChain(b: PlanBuilder, chain: Chain): LaidChain {
  const { operands, stores, shape } = chain;
  const strides = operands.map((o) => broadcastStrides(o.view, shape));
  const modes = operands.map((o, j): Mode =>
    isNumber(b, o)
      ? "constant"
      : strides[j].every((s, i) => s === 0 || shape[i] === 1)
      ? "one"
      : isContiguous({ shape, strides: strides[j], offset: 0 })
      ? "flat"
      : "walk"
  );
  const storeModes = stores.map(({ result }) =>
    isContiguous(result.view) ? "flat" as const : "walk" as const
  );
  const walking = strides.filter((_, j) => modes[j] === "walk");
  stores.forEach(({ result }, j) => storeModes[j] === "walk" && walking.push([...result.view.strides]));
  const walk = collapse(shape, walking);
  return { ...chain, modes, storeModes, walk, rank: walking.length === 0 ? 0 : walk.lengths.length };
}

/** Adds what elements `first` to `first + n` need to `bindings`; n is null where a kernel reaches all of them. */
export function bindChain(
  b: PlanBuilder,
  { operands, steps, stores, modes, storeModes, walk, rank }: LaidChain,
  bindings: Binding[],
  first = 0,
  n: number | null = null,
): BoundChain {
  const offsets: number[] = [];
  const bind = (o: Operand, mode: Mode): number => {
    if (mode === "constant") {
      offsets.push(0);
      return -1;
    }
    const w = window(b, o, mode, first, n);
    offsets.push(w.offset);
    return bindOnce(bindings, w.binding);
  };
  const form: ChainForm = {
    operands: operands.map((o, j) => ({ dtype: o.dtype, mode: modes[j], binding: bind(o, modes[j]) })),
    steps,
    stores: stores.map(({ value, result }, j) => ({
      value,
      dtype: result.dtype,
      mode: storeModes[j],
      binding: bind(result, storeModes[j]),
    })),
    rank,
  };
  const words = rank > 0 ? [...offsets, ...walk.lengths, ...walk.steps.flat()] : offsets;
  const patch = (at: number, start: number): void =>
    operands.forEach((o, j) => {
      if (modes[j] === "constant") b.patchConstant(at / 4 + start + j, o.value.step);
      else b.patchOffset(at, start + j, o);
    });
  return { form, words, patch };
}

/** What to bind for elements `first` to `first + n` of an operand, and the offset of its element there. */
function window(
  b: PlanBuilder,
  o: Operand,
  mode: Mode,
  first: number,
  n: number | null,
): { binding: Binding; offset: number } {
  if (o.window !== undefined) return { binding: o.window, offset: o.view.offset };
  if (n === null || o.value.bytes <= b.limits.binding) {
    return { binding: b.whole(o.value), offset: o.view.offset + (mode === "flat" ? first : 0) };
  }
  if (mode !== "flat" || o.moving >= 0) throw b.tooLarge(o.value);
  const each = storedBytes(o.dtype), start = (o.view.offset + first) * each;
  const from = Math.floor(start / 256) * 256;
  const to = Math.min(o.value.bytes, Math.ceil((start + n * each) / 4) * 4);
  return { binding: { value: o.value, offset: from, bytes: to - from }, offset: (start - from) / each };
}
