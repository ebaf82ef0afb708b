/** Statistics over axes in terms of other ops: means, spreads, norms, differences, covariances, counts. */
import { composite } from "../composite.ts";
import { isFloat } from "../dtype.ts";
import { type Shape, showShape } from "../shape.ts";
import type { Tensor } from "../tensor.ts";

/** Number of elements that a reduction over `axes` takes together. */
function countOver(shape: Shape, axes: readonly number[]): number {
  return axes.reduce((n, a) => n * shape[a], 1);
}

/** A square root whose derivative at 0 is 0 instead of infinite. */
function safeSqrt(x: Tensor): Tensor {
  const positive = x.ne(0);
  return x.where(positive, 1).sqrt().where(positive, 0);
}

export const mean = composite(
  {
    name: "mean",
    tex: ([x]) => `\\frac1n \\sum ${x}`,
    texPartials: () => ["1/n"],
    samples: [
      { shapes: [[2, 3]], call: (x) => x.mean() },
      { shapes: [[2, 3, 2]], call: (x) => x.mean([0, 2], { keepdim: true }) },
      { shapes: [[]], call: (x) => x.mean(0) },
      { shapes: [[4]], call: (x) => x.mean(0, { dtype: "f32" }), dtypes: ["i32"] },
    ],
  },
  (x: Tensor, axes: readonly number[], keepdim: boolean): Tensor =>
    x.sum(axes, { keepdim }).div(countOver(x.shape, axes)),
);

export const variance = composite(
  {
    name: "variance",
    tex: ([x]) => `\\operatorname{var} ${x}`,
    texPartials: ([x]) => [`\\frac{2}{n - c} (${x} - \\operatorname{mean} ${x})`],
    samples: [
      { shapes: [[2, 3]], call: (x) => x.variance() },
      { shapes: [[2, 3, 2]], call: (x) => x.variance([0, 2], { keepdim: true, correction: 0 }) },
    ],
  },
  (x: Tensor, axes: readonly number[], keepdim: boolean, correction: number): Tensor =>
    x.sub(x.mean(axes, { keepdim: true })).square().sum(axes, { keepdim })
      .div(Math.max(0, countOver(x.shape, axes) - correction)),
);

export const std = composite(
  {
    name: "std",
    tex: ([x]) => `\\operatorname{std} ${x}`,
    texPartials: ([x], y) => [`(${x} - \\operatorname{mean} ${x}) / ((n - c)\\,${y})`],
    samples: [
      { shapes: [[2, 3]], call: (x) => x.std() },
      { shapes: [[2, 3, 2]], call: (x) => x.std([0, 2], { keepdim: true, correction: 0 }) },
    ],
  },
  (x: Tensor, axes: readonly number[], keepdim: boolean, correction: number): Tensor =>
    safeSqrt(x.variance(axes, { keepdim, correction })),
);

export const nansum = composite(
  {
    name: "nansum",
    tex: ([x]) => `\\sum_{${x} \\ne \\text{NaN}} ${x}`,
    texPartials: ([x]) => [`[${x} \\ne \\text{NaN}]`],
    samples: [
      { shapes: [[2, 3]], call: (x) => x.nansum(1) },
      {
        shapes: [[2, 3]],
        call: (x) => x.nansum([0, 1], { keepdim: true }),
        values: [[1, NaN, 2, NaN, NaN, 3]],
        differences: false,
      },
      { shapes: [[3]], call: (x) => x.nansum(), dtypes: ["i32"] },
    ],
  },
  (x: Tensor, axes: readonly number[], keepdim: boolean): Tensor =>
    (isFloat(x.dtype) ? x.maskedFill(x.isnan(), 0) : x).sum(axes, { keepdim }),
);

export const nanmean = composite(
  {
    name: "nanmean",
    tex: ([x]) => `\\operatorname{nanmean} ${x}`,
    texPartials: ([x]) => [`[${x} \\ne \\text{NaN}] / n`],
    samples: [
      { shapes: [[2, 3]], call: (x) => x.nanmean(1) },
      { shapes: [[2, 3]], call: (x) => x.nanmean(0), values: [[1, NaN, 2, NaN, NaN, 3]], differences: false },
    ],
  },
  (x: Tensor, axes: readonly number[], keepdim: boolean): Tensor =>
    x.nansum(axes, { keepdim }).div(x.isnan().logicalNot().to(x.dtype).sum(axes, { keepdim })),
);

const NORM_ORDERS = [2, 1, 0, 3, 1.5, 0.5, -1, -2.5, Infinity, -Infinity];

/** (sum |x|^p)^(1/p) with its limits; derivatives where x or the norm is 0 are 0. */
export const norm = composite({
  name: "norm",
  tex: ([x]) => `\\lVert ${x} \\rVert_p`,
  texPartials: ([x], y) => [`\\operatorname{sign}(${x})\\,(|${x}| / ${y})^{p - 1}`],
  samples: [
    ...NORM_ORDERS.map((p) => ({ shapes: [[2, 3]], call: (x: Tensor) => x.norm([1], { p }) })),
    ...NORM_ORDERS.map((p) => ({
      shapes: [[2, 2]],
      call: (x: Tensor) => x.norm(0, { p, keepdim: true }),
      values: [[0, 1, 0, 0]],
      differences: false,
    })),
    { shapes: [[]], call: (x) => x.norm() },
  ],
}, (x: Tensor, axes: readonly number[], p: number, keepdim: boolean): Tensor => {
  const o = { keepdim };
  if (p === 2) return safeSqrt(x.square().sum(axes, o));
  if (p === 1) return x.abs().sum(axes, o);
  if (p === 0) return x.stopGradient().ne(0).to(x.dtype).sum(axes, o);
  if (p === Infinity) return x.abs().amax(axes, o);
  if (p === -Infinity) return x.abs().amin(axes, o);
  if (p < 0 && countOver(x.shape, axes) === 0) {
    throw new RangeError(
      `Cannot take the norm with p = ${p} over no elements, of shape ${
        showShape(x.shape)
      }: there is none for p < 0`,
    );
  }
  // Zeros, and sums that have no root with a finite derivative, are replaced before and after.
  const none = p > 0 ? 0 : Infinity, away = x.ne(0);
  const sum = x.where(away, 1).abs().pow(p).where(away, none).sum(axes, o), some = sum.ne(none);
  return sum.where(some, 1).pow(1 / p).where(some, 0);
});

export const any = composite(
  {
    name: "any",
    tex: ([x]) => `\\bigvee ${x}`,
    samples: [
      { shapes: [[2, 3]], call: (x) => x.any(1), values: [[0, 0, 0, 0, 2, 0]] },
      { shapes: [[0]], call: (x) => x.any() },
    ],
  },
  (x: Tensor, axes: readonly number[], keepdim: boolean): Tensor =>
    x.to("bool").sum(axes, { keepdim }).to("bool"),
);

export const all = composite(
  {
    name: "all",
    tex: ([x]) => `\\bigwedge ${x}`,
    samples: [
      { shapes: [[2, 3]], call: (x) => x.all(1), values: [[1, 2, 3, 4, 0, 5]] },
      { shapes: [[0]], call: (x) => x.all() },
    ],
  },
  (x: Tensor, axes: readonly number[], keepdim: boolean): Tensor =>
    x.logicalNot().any(axes, { keepdim }).logicalNot(),
);

export const countNonzero = composite(
  {
    name: "countNonzero",
    tex: ([x]) => `\\#\\{i : {${x}}_i \\ne 0\\}`,
    samples: [{ shapes: [[2, 3]], call: (x) => x.countNonzero(1), values: [[0, 0, 1, -1, 2, 0]] }],
  },
  (x: Tensor, axes: readonly number[], keepdim: boolean): Tensor =>
    x.to("bool").sum(axes, { keepdim, dtype: "i32" }),
);

/** Weights of observations for `cov`. */
export interface Weights {
  /** How often each observation counts (whole numbers). */
  readonly fweights?: Tensor;
  /** How much each observation weighs. */
  readonly aweights?: Tensor;
}

/** Covariances of rows: variables are rows and observations columns; a vector is one variable. */
export const cov = composite({
  name: "cov",
  tex: ([x]) => `\\tfrac{1}{n - c} (${x} - \\bar{${x}})(${x} - \\bar{${x}})^\\top`,
  samples: [
    { shapes: [[3, 4]], call: (x) => x.cov() },
    { shapes: [[4]], call: (x) => x.cov({ correction: 0 }) },
    {
      shapes: [[2, 3], [3]],
      call: (x, w) => x.cov({ aweights: w, fweights: x.arangeLike(3, "i32").add(1) }),
      domain: [[-1, 1], [0.5, 2]],
      notSpecial: "weights that are negative or infinite have no meaning",
    },
  ],
}, (x: Tensor, correction: number, { fweights, aweights }: Weights): Tensor => {
  const rows = x.rank < 2 ? x.reshape([1, x.size]) : x, n = rows.shape[1];
  const as = (w: Tensor | undefined): Tensor | null => w?.to(x.dtype) ?? null;
  const f = as(fweights), a = as(aweights), w = f !== null && a !== null ? f.mul(a) : f ?? a;
  if (w !== null && (w.rank !== 1 || w.size !== n)) {
    throw new RangeError(
      `Cannot take the cov of shape ${showShape(x.shape)} with weights of shape ${
        showShape((fweights ?? aweights)!.shape)
      }: there is one for each of ${n} observations`,
    );
  }
  if (w === null) {
    const centred = rows.sub(rows.mean(1, { keepdim: true }));
    return asVariance(centred.matmul(centred.mT()).div(Math.max(0, n - correction)));
  }
  const total = w.sum(), centred = rows.sub(rows.mul(w).sum(1, { keepdim: true }).div(total));
  // Weights that say how reliable an observation is take more from the total than counts do.
  const lost = a === null ? total.onesLike() : w.mul(a).sum().div(total);
  return asVariance(centred.mul(w).matmul(centred.mT()).div(total.sub(lost.mul(correction)).clamp(0)));
});

/** A matrix of one element as a scalar. */
const asVariance = (c: Tensor): Tensor => c.size === 1 ? c.reshape([]) : c;

/** Pearson's correlations of rows. */
export const corrcoef = composite({
  name: "corrcoef",
  tex: ([x]) => `C_{ij} / \\sqrt{C_{ii} C_{jj}}, \\; C = \\operatorname{cov} ${x}`,
  samples: [{ shapes: [[3, 4]], call: (x) => x.corrcoef(), notSpecial: "constant rows have no correlation" }],
}, (x: Tensor): Tensor => {
  const c = x.cov();
  if (c.rank === 0) return c.div(c);
  const spread = c.diagonal().sqrt();
  return c.div(spread.unsqueeze(1)).div(spread.unsqueeze(0)).clamp(-1, 1);
});

/** How many elements fall into each of `bins` equal intervals from `min` to `max`, both included. */
export const histc = composite({
  name: "histc",
  tex: ([x]) => `\\#\\{i : {${x}}_i \\in B_k\\}`,
  texPartials: () => ["0"],
  samples: [
    { shapes: [[2, 5]], call: (x) => x.histc(4, { min: -1, max: 1 }), differences: false },
    {
      shapes: [[6]],
      call: (x) => x.histc(3),
      differences: false,
      notSpecial: "infinite elements give no intervals",
    },
  ],
}, (x: Tensor, bins: number, min: number, max: number): Tensor => {
  const flat = x.stopGradient().reshape([x.size]), none = x.scalarLike(0).expand([bins]);
  if (x.size === 0) return none;
  let low = flat.scalarLike(min), high = flat.scalarLike(max);
  if (min === max) {
    const [a, b] = [flat.amin(), flat.amax()], same = a.eq(b).to(x.dtype);
    low = a.sub(same);
    high = b.add(same);
  }
  const inside = flat.ge(low).logicalAnd(flat.le(high));
  const at = flat.sub(low).div(high.sub(low)).mul(bins).where(inside, 0).to("i32").clamp(0, bins - 1);
  return none.scatterAdd(0, at, inside.to(x.dtype));
});

export const softmin = composite({
  name: "softmin",
  tex: ([x]) => `\\operatorname{softmax}(-${x})`,
  texPartials: (_, y) => [`${y}\\,{${y}}^\\top - \\operatorname{diag}(${y})`],
  samples: [{ shapes: [[2, 4]], call: (x) => x.softmin() }, { shapes: [[3, 2]], call: (x) => x.softmin(0) }],
}, (x: Tensor, axis: number): Tensor => x.neg().softmax(axis));
