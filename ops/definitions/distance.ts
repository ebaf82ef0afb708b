/** Lengths of vectors and angles between them. */
import { composite } from "../composite.ts";
import { apply } from "../node.ts";
import type { Sample } from "../primitive.ts";
import type { Tensor } from "../tensor.ts";
import { cat } from "./indexing.ts";

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
    texPullbacks: (
      [x],
      f,
    ) => [
      `\\frac{\\bar{${f}} - ${f} \\langle ${f}, \\bar{${f}} \\rangle}{\\lVert ${x} \\rVert} \\quad (p = 2)`,
    ],
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
  texPartials: (
    [x, y],
    f,
  ) => [
    `\\frac{1}{\\lVert ${x} \\rVert} \\left(\\frac{${y}}{\\lVert ${y} \\rVert} - ${f} \\frac{${x}}{\\lVert ${x} \\rVert}\\right)`,
    `\\frac{1}{\\lVert ${y} \\rVert} \\left(\\frac{${x}}{\\lVert ${x} \\rVert} - ${f} \\frac{${y}}{\\lVert ${y} \\rVert}\\right)`,
  ],
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

const distanceSample = (p: number): Sample => ({
  shapes: [[2, 3, 2], [4, 2]],
  call: (x, y): Tensor => cdist(x, y, p),
  notSpecial: OVERFLOW,
});

/** The p-norms of the last axis; without elements they are 0 for every p. */
const ofRows = (d: Tensor, p: number): Tensor => d.norm(-1, { p: d.shape[d.rank - 1] === 0 ? 1 : p });

/** Distances of all rows of x `[..., P, D]` to all rows of y `[..., R, D]`; the gradient where two coincide is 0. */
export const cdist = composite({
  name: "cdist",
  tex: ([x, y]) => `\\lVert {${x}}_i - {${y}}_j \\rVert_p`,
  texPartials: (
    [x, y],
    f,
  ) => [
    `\\operatorname{sign}(d)\\,(|d| / ${f})^{p - 1}, \\; d = {${x}}_i - {${y}}_j`,
    `-\\operatorname{sign}(d)\\,(|d| / ${f})^{p - 1}`,
  ],
  samples: [
    ...[1, 2, 3, 0, Infinity].map(distanceSample),
    // Two points coincide.
    {
      shapes: [[2, 2], [2, 2]],
      values: [[1, 2, 0.5, -1], [0.5, -1, 3, 0.25]],
      call: (x, y): Tensor => cdist(x, y, 2),
      differences: false,
      notSpecial: OVERFLOW,
    },
  ],
}, (x: Tensor, y: Tensor, p: number): Tensor => ofRows(x.unsqueeze(-2).sub(y.unsqueeze(-3)), p));

/** Distances of all pairs of rows i < j of x `[N, D]`. */
export const pdist = composite({
  name: "pdist",
  tex: ([x]) => `\\lVert {${x}}_i - {${x}}_j \\rVert_p, i < j`,
  texPartials: ([x], f) => [`\\operatorname{sign}(d)\\,(|d| / ${f})^{p - 1}, \\; d = {${x}}_i - {${x}}_j`],
  samples: [2, 1, Infinity].map((p): Sample => ({
    shapes: [[4, 2]],
    call: (x): Tensor => pdist(x, p),
    notSpecial: OVERFLOW,
  })),
}, (x: Tensor, p: number): Tensor => {
  const n = x.shape[0], all = x.arangeLike(n * n, "i32");
  // Row i of the pairs begins behind i + 1 places of the square that are not pairs.
  const pairs = Array.from(
    { length: Math.max(0, n - 1) },
    (_, i) => all.narrow(0, i * n + i + 1, n - i - 1),
  );
  const places = pairs.length === 0 ? all.narrow(0, 0, 0) : apply(cat, pairs, { axis: 0 });
  const d = x.indexSelect(0, places.floorDivide(n)).sub(x.indexSelect(0, places.remainder(n)));
  return ofRows(d, p);
});

/** Distances of matching vectors of the last axis, eps added to each difference. */
export const pairwiseDistance = composite(
  {
    name: "pairwiseDistance",
    tex: ([x, y]) => `\\lVert ${x} - ${y} + \\epsilon \\rVert_p`,
    texPartials: (
      [x, y],
      f,
    ) => [
      `\\operatorname{sign}(d)\\,(|d| / ${f})^{p - 1}, \\; d = ${x} - ${y} + \\epsilon`,
      `-\\operatorname{sign}(d)\\,(|d| / ${f})^{p - 1}`,
    ],
    samples: [2, 3, -1].map((p): Sample => ({
      shapes: [[2, 3], [3]],
      call: (x, y): Tensor => pairwiseDistance(x, y, { p, eps: 1e-6, keepdim: false }),
      notSpecial: OVERFLOW,
    })),
  },
  (x: Tensor, y: Tensor, { p, eps, keepdim }: { p: number; eps: number; keepdim: boolean }): Tensor =>
    x.sub(y).add(eps).norm(-1, { p, keepdim }),
);

/** The norm of a difference. */
export const dist = composite({
  name: "dist",
  tex: ([x, y]) => `\\lVert ${x} - ${y} \\rVert_p`,
  texPartials: (
    [x, y],
    f,
  ) => [
    `\\operatorname{sign}(${x} - ${y})\\,(|${x} - ${y}| / ${f})^{p - 1}`,
    `-\\operatorname{sign}(${x} - ${y})\\,(|${x} - ${y}| / ${f})^{p - 1}`,
  ],
  samples: [2, 4].map((p): Sample => ({
    shapes: [[2, 3], [3]],
    call: (x, y): Tensor => x.dist(y, p),
    notSpecial: OVERFLOW,
  })),
}, (x: Tensor, y: Tensor, p: number): Tensor => x.sub(y).norm(undefined, { p }));
