/** Reductions: spread over enough workgroups, in two passes where one has too few. */
import { isContiguous, wholeView } from "../../ops/definitions/movement.ts";
import type { DType } from "../../ops/dtype.ts";
import { broadcastStrides, sizeOf } from "../../ops/shape.ts";
import type { View } from "../../ops/primitive.ts";
import { type Binding, bindOnce, type Operand, type PlanBuilder } from "./builder.ts";
import { bindChain, type Chain, isNumber, layChain, storeOnly } from "./chain.ts";
import type { ChainStep, Mode } from "./kernels/chain.ts";
import { finishAt, REDUCTION, type ReductionForm, reductionKernel } from "./kernels/reduction.ts";
import { type Spread, spread } from "./heuristics.ts";
import { storedBytes, THREADS } from "./kernels/kernel.ts";
import { collapse } from "./views.ts";

/** What is folded: the value of a chain over `view.shape`; the view's strides say how its memory lies. */
export interface Folded {
  readonly operands: readonly Operand[];
  readonly steps: readonly ChainStep[];
  readonly value: string;
  readonly dtype: DType;
  readonly view: View;
}

/** A fold over axes. */
export interface Fold {
  readonly fold: (acc: string, x: string) => string;
  readonly init: number;
  readonly through: "f32" | "i32" | "u32";
  readonly x: Operand | Folded;
  readonly axes: readonly number[];
  /** Type of what it makes. */
  readonly dtype: DType;
  /** What becomes of it: `s` in the chain. */
  readonly finish: Chain;
}

/** The chain that is an operand alone. */
function foldedOf(x: Operand | Folded): Folded {
  return "operands" in x ? x : { operands: [x], steps: [], value: "a0", dtype: x.dtype, view: x.view };
}

/** Whether a fold needs more than one kernel can bind, so that nothing can be folded in. */
export function foldsInParts(b: PlanBuilder, x: Operand): boolean {
  return x.value.bytes > b.limits.binding;
}

/** Folds `x` over axes. */
export function emitFold(b: PlanBuilder, f: Fold): void {
  const { x } = f;
  if (!("operands" in x) && foldsInParts(b, x) && x.window === undefined) return emitParts(b, f, x);
  const { view } = x;
  const kept = view.shape.map((_, i) => i).filter((i) => !f.axes.includes(i));
  const outputs = sizeOf(kept.map((i) => view.shape[i])), folded = sizeOf(f.axes.map((i) => view.shape[i]));
  if (outputs === 0) return;
  const lanesFirst = lanesAreNeighbours(view, f.axes);
  const s = spread(outputs, folded, lanesFirst, b.limits);
  if (s.splits === 1) return emitPass(b, f, kept, s, lanesFirst);
  const shape = [s.splits, outputs];
  const partial = b.result(f.finish.stores[0].result.value.step, shape, f.through);
  emitPass(b, { ...f, dtype: f.through, finish: storeOnly(partial) }, kept, s, lanesFirst);
  const last = { ...f, x: partial, axes: [0] };
  const { lanes } = spread(outputs, s.splits, outputs === 1, b.limits);
  emitPass(b, last, [1], { lanes, splits: 1, share: s.splits }, outputs === 1);
}

/** Folds what is too large to bind in parts of its first axis, each through a window. */
function emitParts(b: PlanBuilder, f: Fold, operand: Operand): void {
  const { value, view: { shape, offset }, dtype, moving } = operand;
  if (!isContiguous(operand.view) || moving >= 0) throw b.tooLarge(value);
  // Folded as a whole, its shape does not matter.
  const whole = f.axes.length === shape.length;
  const lengths = whole ? [sizeOf(shape)] : shape, axes = whole ? [0] : f.axes;
  const row = sizeOf(lengths.slice(1)), each = storedBytes(dtype);
  const most = Math.floor((b.limits.binding - 256) / (row * each));
  if (most < 1) throw b.tooLarge(value);
  const { result } = f.finish.stores[0];
  const outputs = sizeOf(result.view.shape),
    folded = axes.includes(0),
    count = Math.ceil(lengths[0] / most);
  const partial = folded ? b.result(value.step, [count, outputs], f.through) : null;
  for (let i = 0; i < count; i++) {
    const first = i * most, n = Math.min(most, lengths[0] - first);
    const start = (offset + first * row) * each, from = Math.floor(start / 256) * 256;
    const end = Math.min(value.bytes, Math.ceil((start + n * row * each) / 4) * 4);
    const part = [n, ...lengths.slice(1)];
    const x: Operand = {
      value,
      view: { ...wholeView(part), offset: (start - from) / each },
      dtype,
      moving: -1,
      window: { value, offset: from, bytes: end - from },
    };
    const at = folded ? i * outputs : first * (outputs / lengths[0]);
    const to = partial ?? result;
    const finish = storeOnly({ ...to, view: { ...to.view, offset: to.view.offset + at } });
    emitFold(b, { ...f, axes, x, dtype: to.dtype, finish });
  }
  if (partial !== null) emitFold(b, { ...f, x: partial, axes: [0] });
}

/** Whether what is folded lies closer together than what is kept apart. */
export function lanesAreNeighbours(view: View, axes: readonly number[]): boolean {
  return step(view, axes) <= step(view, [...view.shape.keys()].filter((i) => !axes.includes(i)));
}

/** The smallest distance in memory along some axes. */
function step(view: View, axes: readonly number[]): number {
  return Math.min(Infinity, ...axes.filter((i) => view.shape[i] > 1).map((i) => Math.abs(view.strides[i])));
}

function emitPass(b: PlanBuilder, f: Fold, kept: readonly number[], s: Spread, lanesFirst: boolean): void {
  const { operands, steps, value, dtype, view: { shape } } = foldedOf(f.x);
  const strides = operands.map((o) => broadcastStrides(o.view, shape));
  const modes = operands.map((o, j): Mode =>
    isNumber(b, o) ? "constant" : operands.length > 1 && strides[j].every((n) => n === 0) ? "one" : "walk"
  );
  const walking = strides.filter((_, j) => modes[j] === "walk");
  const walk = (axes: readonly number[]) =>
    collapse(axes.map((i) => shape[i]), walking.map((w) => axes.map((i) => w[i])));
  const k = walk(kept), r = walk(f.axes);
  const outputs = sizeOf(k.lengths), folded = sizeOf(r.lengths);
  const bindings: Binding[] = [];
  const bindingOf = operands.map((o, j) =>
    modes[j] === "constant" ? -1 : bindOnce(bindings, o.window ?? b.whole(o.value))
  );
  const finish = bindChain(b, layChain(b, f.finish), bindings);
  const form: ReductionForm = {
    fold: f.fold,
    init: f.init,
    operands: operands.map((o, j) => ({ dtype: o.dtype, mode: modes[j], binding: bindingOf[j] })),
    steps,
    value,
    from: dtype,
    through: f.through,
    to: f.dtype,
    finish: finish.form,
    keptRank: k.lengths.length,
    foldedRank: r.lengths.length,
    access: b.access(bindings),
  };
  const kernel = reductionKernel(form), at = b.reserve(kernel);
  const blocks = Math.ceil(outputs / (THREADS / s.lanes));
  operands.forEach((o, j) => {
    if (modes[j] === "constant") b.patchConstant(at / 4 + REDUCTION.operands + j, o.value.step);
    else b.patchOffset(at, REDUCTION.operands + j, o);
  });
  finish.patch(at, finishAt(form));
  b.dispatch(kernel, bindings, blocks * s.splits, at, [
    outputs,
    folded,
    s.share,
    s.lanes,
    lanesFirst ? 1 : 0,
    blocks,
    0,
    ...operands.map((o, j) => modes[j] === "constant" ? 0 : o.view.offset),
    ...k.lengths,
    ...r.lengths,
    ...walking.flatMap((_, j) => [...k.steps[j], ...r.steps[j]]),
    ...finish.words,
  ]);
}
