/** Reductions and matrix products: spread over enough workgroups, in two passes where one has too few. */
import { isContiguous, wholeView } from "../../ops/definitions/movement.ts";
import { sizeOf } from "../../ops/shape.ts";
import type { View } from "../../ops/primitive.ts";
import { type Binding, bindOnce, type Operand, type PlanBuilder } from "./builder.ts";
import { MATMUL, matmulKernel } from "./kernels/matmul.ts";
import { REDUCTION, reductionKernel, type Spread, spread } from "./kernels/reduction.ts";
import { storedBytes, THREADS } from "./kernels/kernel.ts";
import { collapse } from "./views.ts";

/** A fold of an operand over axes. */
export interface Fold {
  readonly fold: (acc: string, x: string) => string;
  readonly init: number;
  readonly through: "f32" | "i32" | "u32";
  readonly x: Operand;
  readonly axes: readonly number[];
  readonly result: Operand;
}

/** Folds `x` over axes into `result`. */
export function emitFold(b: PlanBuilder, f: Fold): void {
  if (f.x.value.bytes > b.limits.binding && f.x.window === undefined) return emitParts(b, f);
  const { view } = f.x;
  const kept = view.shape.map((_, i) => i).filter((i) => !f.axes.includes(i));
  const outputs = sizeOf(kept.map((i) => view.shape[i])), folded = sizeOf(f.axes.map((i) => view.shape[i]));
  if (outputs === 0) return;
  const lanesFirst = step(view, f.axes) <= step(view, kept);
  const s = spread(outputs, folded, lanesFirst);
  if (s.splits === 1) return emitPass(b, f, kept, s, lanesFirst, f.result);
  const shape = [s.splits, outputs];
  const partial = b.result(f.result.value.step, shape, f.through);
  emitPass(b, f, kept, s, lanesFirst, partial);
  const last = { ...f, x: partial, axes: [0] };
  const { lanes } = spread(outputs, s.splits, outputs === 1);
  emitPass(b, last, [1], { lanes, splits: 1, share: s.splits }, outputs === 1, f.result);
}

/** Folds what is too large to bind in parts of its first axis, each through a window. */
function emitParts(b: PlanBuilder, f: Fold): void {
  const { value, view: { shape, offset }, dtype, moving } = f.x;
  if (!isContiguous(f.x.view) || moving >= 0) throw b.tooLarge(value);
  // Folded as a whole, its shape does not matter.
  const whole = f.axes.length === shape.length;
  const lengths = whole ? [sizeOf(shape)] : shape, axes = whole ? [0] : f.axes;
  const row = sizeOf(lengths.slice(1)), each = storedBytes(dtype);
  const most = Math.floor((b.limits.binding - 256) / (row * each));
  if (most < 1) throw b.tooLarge(value);
  const outputs = sizeOf(f.result.view.shape),
    folded = axes.includes(0),
    count = Math.ceil(lengths[0] / most);
  const partial = folded ? b.result(value.step, [count, outputs], f.through) : null;
  for (let i = 0; i < count; i++) {
    const first = i * most, n = Math.min(most, lengths[0] - first);
    const start = (offset + first * row) * each, from = Math.floor(start / 256) * 256;
    const to = Math.min(value.bytes, Math.ceil((start + n * row * each) / 4) * 4);
    const part = [n, ...lengths.slice(1)];
    const x: Operand = {
      value,
      view: { ...wholeView(part), offset: (start - from) / each },
      dtype,
      moving: -1,
      window: { value, offset: from, bytes: to - from },
    };
    const at = folded ? i * outputs : first * (outputs / lengths[0]);
    const result = partial ?? f.result;
    emitFold(b, { ...f, axes, x, result: { ...result, view: { ...result.view, offset: at } } });
  }
  if (partial !== null) emitFold(b, { ...f, x: partial, axes: [0] });
}

/** The smallest distance in memory along some axes. */
function step(view: View, axes: readonly number[]): number {
  return Math.min(Infinity, ...axes.filter((i) => view.shape[i] > 1).map((i) => Math.abs(view.strides[i])));
}

function emitPass(
  b: PlanBuilder,
  f: Fold,
  kept: readonly number[],
  s: Spread,
  lanesFirst: boolean,
  to: Operand,
): void {
  const { shape, strides, offset } = f.x.view;
  const walk = (axes: readonly number[]) =>
    collapse(axes.map((i) => shape[i]), [axes.map((i) => strides[i])]);
  const k = walk(kept), r = walk(f.axes);
  const outputs = sizeOf(k.lengths), folded = sizeOf(r.lengths);
  const bindings: Binding[] = [f.x.window ?? b.whole(f.x.value), b.whole(to.value)];
  const kernel = reductionKernel({
    fold: f.fold,
    init: f.init,
    from: f.x.dtype,
    through: f.through,
    to: to.dtype,
    keptRank: k.lengths.length,
    foldedRank: r.lengths.length,
    access: b.access(bindings),
  });
  const at = b.reserve(kernel);
  const blocks = Math.ceil(outputs / (THREADS / s.lanes));
  b.patchOffset(at, REDUCTION.offset, f.x);
  b.dispatch(kernel, bindings, blocks * s.splits, at, [
    outputs,
    folded,
    s.share,
    s.lanes,
    lanesFirst ? 1 : 0,
    offset,
    blocks,
    to.view.offset,
    ...k.lengths,
    ...k.steps[0],
    ...r.lengths,
    ...r.steps[0],
  ]);
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

/** The batched product of `x` and `y` into `result`. */
export function emitMatmul(b: PlanBuilder, x: Operand, y: Operand, result: Operand): void {
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
  const through = result.dtype === "i32" || result.dtype === "u32" ? result.dtype : "f32";
  const to = splits === 1 ? result : b.result(result.value.step, [splits, batches * M * N], through);
  const bindings: Binding[] = [];
  const l = bindOnce(bindings, b.whole(x.value)), r = bindOnce(bindings, b.whole(y.value));
  bindings.push(b.whole(to.value));
  const kernel = matmulKernel({
    from: x.dtype,
    to: to.dtype,
    rows,
    columns,
    batchRank: batch.lengths.length,
    bindings: [l, r],
    access: b.access(bindings),
  });
  const at = b.reserve(kernel);
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
    ...batch.lengths,
    ...batch.steps.flat(),
  ]);
  if (splits > 1) {
    emitFold(b, { fold: (acc, v) => `(${acc} + ${v})`, init: 0, through, x: to, axes: [0], result });
  }
}

/** Rows (or columns) for each thread, by how many there are. */
function tile(n: number): number {
  return n > 48 ? 4 : n > 16 ? 2 : 1;
}
