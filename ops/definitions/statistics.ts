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
