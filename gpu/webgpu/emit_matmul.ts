/** Matrix products: tiles, spread over K as well where they are few; with a vector, the fold that they are. */
import type { DType } from "../../ops/dtype.ts";
import { sizeOf } from "../../ops/shape.ts";
import type { View } from "../../ops/primitive.ts";
import { type Binding, bindOnce, type Operand, type PlanBuilder } from "./builder.ts";
import { bindChain, type Chain, layChain, storeOnly } from "./chain.ts";
import { emitFold } from "./emit_folds.ts";
import { foldsProduct, productTile, splitDepth, tileSides, tilesOf } from "./heuristics.ts";
import type { ChainForm } from "./kernels/chain.ts";
import { finishAt, MATMUL, type MatmulForm, matmulKernel, tileThreads } from "./kernels/matmul.ts";
import type { Quads } from "./kernels/products.ts";
import { collapse } from "./views.ts";

const add = (acc: string, v: string): string => `(${acc} + ${v})`;

/** The batched product of `x` and `y`, of type `dtype`; `s` in the chain that follows. */
export function emitMatmul(b: PlanBuilder, x: Operand, y: Operand, dtype: DType, after: Chain): void {
  const rank = x.view.shape.length, { limits } = b;
  const [M, K] = x.view.shape.slice(rank - 2), N = y.view.shape[rank - 1];
  const batch = collapse(x.view.shape.slice(0, rank - 2), [
    x.view.strides.slice(0, rank - 2),
    y.view.strides.slice(0, rank - 2),
  ]);
  const batches = sizeOf(batch.lengths), shape = { M, N, K, batches };
  if (M * N * batches === 0) return;
  const through = dtype === "i32" || dtype === "u32" ? dtype : "f32";
  if (foldsProduct(shape, limits)) return emitProductFold(b, x, y, dtype, through, after);
  const tile = productTile(shape, limits), tiles = tilesOf(tile, shape);
  const { share, splits } = splitDepth(K, tiles, limits);
  const partial = splits === 1
    ? null
    : b.result(after.stores[0].result.value.step, [splits, batches * M * N], through);
  const bindings: Binding[] = [];
  const l = bindOnce(bindings, b.whole(x.value)), r = bindOnce(bindings, b.whole(y.value));
  const finish = bindChain(b, layChain(b, partial === null ? after : storeOnly(partial)), bindings);
  const form: MatmulForm = {
    from: x.dtype,
    finish: finish.form,
    tile,
    batchRank: batch.lengths.length,
    bindings: [l, r],
    quads: quadsOf(x, y, batch.steps, [l, r], finish.form),
    access: b.access(bindings),
  };
  const kernel = matmulKernel(form), at = b.reserve(kernel);
  finish.patch(at, finishAt(form));
  b.patchOffset(at, MATMUL.aOffset, x);
  b.patchOffset(at, MATMUL.bOffset, y);
  const [high, wide] = tileSides(tile), units = tiles * splits;
  b.dispatch(kernel, bindings, tile.depth > 0 ? units : Math.ceil(units / tileThreads(tile)), at, [
    M,
    N,
    K,
    share,
    x.view.offset,
    x.view.strides[rank - 2],
    x.view.strides[rank - 1],
    y.view.offset,
    y.view.strides[rank - 1],
    y.view.strides[rank - 2],
    Math.ceil(M / high),
    Math.ceil(N / wide),
    batches,
    splits,
    0,
    ...batch.lengths,
    ...batch.steps.flat(),
    ...finish.words,
  ]);
  if (partial !== null) {
    emitFold(b, { fold: add, init: 0, through, x: partial, axes: [0], dtype, finish: after });
  }
}

/** How both operands are read: by fours where every four lie together in a binding that nothing else reads otherwise. */
function quadsOf(
  x: Operand,
  y: Operand,
  steps: readonly (readonly number[])[],
  [l, r]: readonly [number, number],
  { operands, stores }: ChainForm,
): [Quads, Quads] {
  const of = (o: Operand, batchSteps: readonly number[], line: number, along: number): Quads => {
    const { shape, strides, offset } = o.view;
    const by = (unit: number, other: number): boolean =>
      strides[unit] === 1 && shape[unit] % 4 === 0 && o.value.elements >= 4 &&
      [offset, strides[other], ...batchSteps].every((n) => n % 4 === 0);
    if (o.moving >= 0) return "none";
    return by(along, line) ? "along" : by(line, along) ? "across" : "none";
  };
  const rank = x.view.shape.length;
  const a = of(x, steps[0], rank - 2, rank - 1), b = of(y, steps[1], rank - 1, rank - 2);
  const isElsewhere = (n: number): boolean => [...operands, ...stores].some((o) => o.binding === n);
  if (l === r && (a === "none" || b === "none")) return ["none", "none"];
  return [isElsewhere(l) ? "none" : a, isElsewhere(r) ? "none" : b];
}

/** The product with a vector: the sum over K of what stands at [..., m, n, k] of both operands. */
function emitProductFold(
  b: PlanBuilder,
  x: Operand,
  y: Operand,
  dtype: DType,
  through: "f32" | "i32" | "u32",
  finish: Chain,
): void {
  const rank = x.view.shape.length, [M, K] = x.view.shape.slice(rank - 2), N = y.view.shape[rank - 1];
  const shape = [...x.view.shape.slice(0, rank - 2), M, N, K];
  const placed = ({ view: { strides, offset } }: Operand, own: (s: readonly number[]) => number[]): View => ({
    shape,
    strides: [...strides.slice(0, rank - 2), ...own(strides.slice(rank - 2))],
    offset,
  });
  const left: Operand = { ...x, view: placed(x, ([m, k]) => [m, 0, k]) };
  const right: Operand = { ...y, view: placed(y, ([k, n]) => [0, n, k]) };
  const folded = {
    operands: [left, right],
    steps: [],
    value: "(a0 * a1)",
    dtype: through,
    view: N === 1 ? left.view : right.view,
  };
  emitFold(b, { fold: add, init: 0, through, x: folded, axes: [rank], dtype, finish });
}
