/** Reductions and matrix products: spread over enough workgroups, in two passes where one has too few. */
import { isContiguous, wholeView } from "../../ops/definitions/movement.ts";
import type { DType } from "../../ops/dtype.ts";
import { sizeOf } from "../../ops/shape.ts";
import type { View } from "../../ops/primitive.ts";
import { type Binding, bindOnce, type Operand, type PlanBuilder } from "./builder.ts";
import { bindChain, type Chain, isNumber, layChain, storeOnly } from "./chain.ts";
import type { ChainStep, Mode } from "./kernels/chain.ts";
import { finishAt as productFinishAt, MATMUL, type MatmulForm, matmulKernel } from "./kernels/matmul.ts";
import {
  finishAt as foldFinishAt,
  REDUCTION,
  type ReductionForm,
  reductionKernel,
  type Spread,
  spread,
} from "./kernels/reduction.ts";
import type { Shapes } from "./kernels/specialise.ts";
import { storedBytes, THREADS } from "./kernels/kernel.ts";
import { broadcastStrides, collapse } from "./views.ts";

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
  const lanesFirst = step(view, f.axes) <= step(view, kept);
  const s = spread(outputs, folded, lanesFirst);
  if (s.splits === 1) return emitPass(b, f, kept, s, lanesFirst);
  const shape = [s.splits, outputs];
  const partial = b.result(f.finish.stores[0].result.value.step, shape, f.through);
  emitPass(b, { ...f, dtype: f.through, finish: storeOnly(partial) }, kept, s, lanesFirst);
  const last = { ...f, x: partial, axes: [0] };
  const { lanes } = spread(outputs, s.splits, outputs === 1);
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
  const after = foldFinishAt(form), groups = blocks * s.splits;
  finish.patch(at, after);
  const words = [
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
  ];
  const shapes: Shapes = [[REDUCTION.outputs, REDUCTION.zero], [REDUCTION.operands + operands.length, after]];
  b.dispatch(b.forShape(kernel, groups, words, shapes), bindings, groups, at, words);
}

/** Workgroups which keep a GPU busy. */
const ENOUGH_GROUPS = 256;
/** Least of K that is worth a split of its own, and most: some devices end a thread's loops after 65,535 turns. */
const LEAST_SHARE = 256, MOST_SHARE = 32768;

/** How much of K a split takes, and how many splits there are. */
export function splitDepth(K: number, tiles: number): { share: number; splits: number } {
  const useful = Math.min(Math.ceil(ENOUGH_GROUPS / tiles), Math.floor(K / LEAST_SHARE));
  const wanted = Math.max(useful, Math.ceil(K / MOST_SHARE));
  if (wanted < 2) return { share: Math.max(16, K), splits: 1 };
  const share = Math.ceil(K / wanted / 16) * 16;
  return { share, splits: Math.ceil(K / share) };
}

/** The batched product of `x` and `y`, of type `dtype`; `s` in the chain that follows. */
export function emitMatmul(b: PlanBuilder, x: Operand, y: Operand, dtype: DType, after: Chain): void {
  const rank = x.view.shape.length;
  const [M, K] = x.view.shape.slice(rank - 2), N = y.view.shape[rank - 1];
  const batch = collapse(x.view.shape.slice(0, rank - 2), [
    x.view.strides.slice(0, rank - 2),
    y.view.strides.slice(0, rank - 2),
  ]);
  const batches = sizeOf(batch.lengths);
  if (M * N * batches === 0) return;
  let rows = tile(M), columns = tile(N);
  const tiles = (): number => Math.ceil(M / (16 * rows)) * Math.ceil(N / (16 * columns)) * batches;
  if (tiles() < ENOUGH_GROUPS && rows === 4) rows = 2;
  if (tiles() < ENOUGH_GROUPS && columns === 4) columns = 2;
  const { share, splits } = splitDepth(K, tiles());
  const through = dtype === "i32" || dtype === "u32" ? dtype : "f32";
  const partial = splits === 1
    ? null
    : b.result(after.stores[0].result.value.step, [splits, batches * M * N], through);
  const bindings: Binding[] = [];
  const l = bindOnce(bindings, b.whole(x.value)), r = bindOnce(bindings, b.whole(y.value));
  const finish = bindChain(b, layChain(b, partial === null ? after : storeOnly(partial)), bindings);
  const form: MatmulForm = {
    from: x.dtype,
    finish: finish.form,
    rows,
    columns,
    batchRank: batch.lengths.length,
    bindings: [l, r],
    access: b.access(bindings),
  };
  const kernel = matmulKernel(form), at = b.reserve(kernel);
  finish.patch(at, productFinishAt(form));
  b.patchOffset(at, MATMUL.aOffset, x);
  b.patchOffset(at, MATMUL.bOffset, y);
  const tilesM = Math.ceil(M / (16 * rows)), tilesN = Math.ceil(N / (16 * columns));
  b.dispatch(kernel, bindings, tilesM * tilesN * batches * splits, at, [
    M,
    N,
    K,
    share,
    x.view.offset,
    x.view.strides[rank - 2],
    x.view.strides[rank - 1],
    y.view.offset,
    y.view.strides[rank - 2],
    y.view.strides[rank - 1],
    tilesM,
    tilesN,
    batches,
    0,
    ...batch.lengths,
    ...batch.steps.flat(),
    ...finish.words,
  ]);
  if (partial !== null) {
    const fold = (acc: string, v: string): string => `(${acc} + ${v})`;
    emitFold(b, { fold, init: 0, through, x: partial, axes: [0], dtype, finish: after });
  }
}

/** Rows (or columns) for each thread, by how many there are. */
function tile(n: number): number {
  return n > 48 ? 4 : n > 16 ? 2 : 1;
}
