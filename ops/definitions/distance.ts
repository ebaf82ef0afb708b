/** Lengths of vectors and angles between them. */
import { composite } from "../composite.ts";
import type { Sample } from "../primitive.ts";
import type { Tensor } from "../tensor.ts";

/** The p-norm along an axis, which stays; its gradient at 0 is 0. */
function length(x: Tensor, p: number, axis: number): Tensor {
  const kept = { keepdim: true };
  if (p === 2) return x.norm(axis, kept);
  if (p === 0) return x.ne(0).to(x.dtype).sum(axis, kept);
  const a = x.abs();
  if (p === 1) return a.sum(axis, kept);
  if (p === Infinity) return a.amax(axis, kept);
  if (p === -Infinity) return a.amin(axis, kept);
  const some = x.ne(0), powers = a.where(some, 1).pow(p).where(some, p > 0 ? 0 : Infinity).sum(axis, kept);
  const inside = powers.ne(0).logicalAnd(powers.ne(Infinity));
  return powers.where(inside, 1).pow(1 / p).where(inside, powers.pow(1 / p).stopGradient());
}

const OVERFLOW = "the length of the largest numbers overflows where the square is single";

/** Each vector along an axis over its length, or over eps if that is larger. */
export const normalize = composite(
  {
    name: "normalize",
    tex: ([x]) => `${x} / \\max(\\lVert ${x} \\rVert_p, \\epsilon)`,
    samples: [[2, 1], [2, 0], [1, 1], [3, -1], [0, 1], [Infinity, 1]].map(([p, axis]): Sample => ({
      shapes: [[2, 3]],
      call: (x): Tensor => normalize(x, { p, axis, eps: 1e-12 }),
      notSpecial: OVERFLOW,
    })),
  },
  (x: Tensor, o: { p: number; axis: number; eps: number }): Tensor =>
    x.div(length(x, o.p, o.axis).clamp(o.eps)),
);

/** The sum along an axis of the products of two vectors, each over its length, or over eps if that is larger. */
export const cosineSimilarity = composite({
  name: "cosineSimilarity",
  tex: ([x, y]) =>
    `\\frac{${x} \\cdot ${y}}{\\max(\\lVert ${x} \\rVert, \\epsilon) \\max(\\lVert ${y} \\rVert, \\epsilon)}`,
  samples: [
    {
      shapes: [[2, 3], [2, 3]],
      call: (x, y): Tensor => cosineSimilarity(x, y, { axis: 1, eps: 1e-8 }),
      notSpecial: OVERFLOW,
    },
    {
      shapes: [[2, 1, 3], [4, 3]],
      call: (x, y): Tensor => cosineSimilarity(x, y, { axis: 1, eps: 1e-8 }),
      notSpecial: OVERFLOW,
    },
  ],
}, (x: Tensor, y: Tensor, { axis, eps }: { axis: number; eps: number }): Tensor => {
  const rank = Math.max(x.rank, y.rank), back = axis - rank;
  const along = (t: Tensor): Tensor => t.reshape([...Array(rank - t.rank).fill(1), ...t.shape]);
  const unit = (t: Tensor): Tensor => t.div(t.norm(back, { keepdim: true }).clamp(eps));
  return unit(along(x)).mul(unit(along(y))).sum(back);
});

/** 1 - cos where y = 1, max(0, cos - margin) where y = -1, along the last axis; squared lengths have 1e-12 added. */
export const cosineEmbedding = composite({
  name: "cosineEmbeddingLoss",
  tex: ([a, b, y]) => `[${y} = 1] (1 - \\cos(${a}, ${b})) + [${y} = -1] \\max(0, \\cos(${a}, ${b}) - m)`,
  samples: [{
    shapes: [[3, 4], [3, 4], [3]],
    call: (a, b, y): Tensor => cosineEmbedding(a, b, y, -0.5),
    values: [undefined, undefined, [1, -1, 1]],
    wrt: [0, 1],
    notSpecial: OVERFLOW,
  }],
}, (a: Tensor, b: Tensor, y: Tensor, margin: number): Tensor => {
  const squared = (t: Tensor): Tensor => t.square().sum(-1).add(1e-12);
  const cos = a.mul(b).sum(-1).div(squared(a).mul(squared(b)).sqrt());
  return cos.neg().add(1).where(y.eq(1), 0).add(cos.sub(margin).clamp(0).where(y.eq(-1), 0));
});

/** max(0, |a - p| - |a - n| + margin) along the last axis, each difference with eps added. */
export const tripletMargin = composite({
  name: "tripletMarginLoss",
  tex: ([a, p, n]) => `\\max(0, \\lVert ${a} - ${p} \\rVert - \\lVert ${a} - ${n} \\rVert + m)`,
  samples: [[2, 0], [2, 1], [3, 1], [1, 0]].map(([p, swap]) => ({
    shapes: [[3, 4], [3, 4], [3, 4]],
    call: (a: Tensor, b: Tensor, n: Tensor): Tensor =>
      tripletMargin(a, b, n, { margin: 2, p, eps: 1e-6, swap: swap === 1 }),
    notSpecial: OVERFLOW,
  })),
}, (
  a: Tensor,
  p: Tensor,
  n: Tensor,
  o: { margin: number; p: number; eps: number; swap: boolean },
): Tensor => {
  const distance = (x: Tensor, y: Tensor): Tensor => length(x.sub(y).add(o.eps), o.p, -1).squeeze(-1);
  const far = distance(a, n);
  return distance(a, p).sub(o.swap ? far.minimum(distance(p, n)) : far).add(o.margin).clamp(0);
});
