/** Losses of elements and of rows, before they are put together; `nn/` checks their operands. */
import { composite } from "../composite.ts";
import { elementwise } from "../families.ts";
import { apply } from "../node.ts";
import type { Sample } from "../primitive.ts";
import type { Tensor } from "../tensor.ts";
import { nllLoss } from "./fused.ts";

type Pair = (x: Tensor, y: Tensor) => Tensor;

/** A sample of predictions and targets, with values from an interval. */
const pair = (call: Pair, rest: Partial<Sample> = {}): Sample => ({
  shapes: [[2, 3], [2, 3]],
  call,
  ...rest,
});

/** Targets that are 1 or -1. */
const SIGNS: Partial<Sample> = { values: [undefined, [1, -1, -1, 1, 1, -1]], wrt: [0] };

const POSITIVE: [number, number] = [0.2, 2], ANY: [number, number] = [-1.5, 1.5];

export const mseLoss = composite({
  name: "mseLoss",
  tex: ([x, y]) => `(${x} - ${y})^2`,
  texPartials: ([x, y]) => [`2\\,(${x} - ${y})`, `2\\,(${y} - ${x})`],
  samples: [pair((x, y): Tensor => mseLoss(x, y))],
}, (x: Tensor, y: Tensor): Tensor => x.sub(y).square());

export const l1Loss = composite({
  name: "l1Loss",
  tex: ([x, y]) => `|${x} - ${y}|`,
  texPartials: ([x, y]) => [`\\operatorname{sign}(${x} - ${y})`, `\\operatorname{sign}(${y} - ${x})`],
  samples: [pair((x, y): Tensor => l1Loss(x, y))],
}, (x: Tensor, y: Tensor): Tensor => x.sub(y).abs());

/** d^2 / 2 up to |d| = delta, delta (|d| - delta / 2) beyond: c (d - c / 2) with c = d limited to ±delta. */
export const huberLoss = composite({
  name: "huberLoss",
  tex: ([x, y]) => `\\operatorname{huber}_\\delta(${x} - ${y})`,
  texPartials: (
    [x, y],
  ) => [
    `\\operatorname{clamp}(${x} - ${y}, -\\delta, \\delta)`,
    `\\operatorname{clamp}(${y} - ${x}, -\\delta, \\delta)`,
  ],
  samples: [pair((x, y): Tensor => huberLoss(x, y, 1)), pair((x, y): Tensor => huberLoss(x, y, 0.3))],
}, (x: Tensor, y: Tensor, delta: number): Tensor => {
  const d = x.sub(y), c = d.clamp(-delta, delta);
  return c.mul(d.sub(c.mul(0.5)));
});

export const smoothL1Loss = composite(
  {
    name: "smoothL1Loss",
    tex: ([x, y]) => `\\operatorname{huber}_\\beta(${x} - ${y}) / \\beta`,
    texPartials: (
      [x, y],
    ) => [
      `\\operatorname{clamp}(\\tfrac{1}{\\beta} (${x} - ${y}), -1, 1)`,
      `\\operatorname{clamp}(\\tfrac{1}{\\beta} (${y} - ${x}), -1, 1)`,
    ],
    samples: [
      pair((x, y): Tensor => smoothL1Loss(x, y, 1)),
      pair((x, y): Tensor => smoothL1Loss(x, y, 0.4)),
      pair((x, y): Tensor => smoothL1Loss(x, y, 0)),
    ],
  },
  (x: Tensor, y: Tensor, beta: number): Tensor => beta === 0 ? l1Loss(x, y) : huberLoss(x, y, beta).div(beta),
);

/** The logarithms are limited to -100, so that sure and wrong predictions have a finite loss, as in PyTorch. */
export const binaryCrossEntropy = elementwise({
  name: "binaryCrossEntropy",
  call: "bceLoss",
  tex: ([x, y]) => `-${y} \\ln ${x} - (1 - ${y}) \\ln (1 - ${x})`,
  texPartials: ([x, y]) => [`\\frac{${x} - ${y}}{${x} (1 - ${x})}`, `\\ln \\frac{1 - ${x}}{${x}}`],
  accepts: "float",
  flops: 25,
  host: (x, y) => -y * Math.max(Math.log(x), -100) - (1 - y) * Math.max(Math.log1p(-x), -100),
  wgsl: ([x, y]) => `(-${y} * maxf(logf(${x}), -100.0) - (1.0 - ${y}) * maxf(log1pf(-${x}), -100.0))`,
  partials: [
    ({ x: [x, y] }) => x.sub(y).div(x.mul(x.neg().add(1)).clamp(1e-12)),
    ({ x: [x] }) => x.neg().add(1).log().clamp(-100).sub(x.log().clamp(-100)),
  ],
  domain: [0.05, 0.95],
  samples: [[[2, 3], [2, 3]], [[2, 3], [3]], [[], [2]]].map((shapes) => ({
    shapes,
    call: (x: Tensor, y: Tensor): Tensor => apply(binaryCrossEntropy, [x, y]),
    domain: [[0.05, 0.95], [0, 1]],
    notSpecial: "with targets far outside of [0, 1] its two terms cancel",
  })),
});

/** With a weight w of positive examples: (1 - y) softplus(z) + w y softplus(-z), since -ln sigmoid(z) = softplus(-z). */
export const bceWithLogits = composite(
  {
    name: "bceWithLogits",
    tex: ([z, y]) => `\\operatorname{softplus}(${z}) - ${y} ${z}`,
    texPartials: ([z, y]) => [`\\sigma(${z}) - ${y}`, `-${z}`],
    samples: [
      pair((z, y): Tensor => bceWithLogits(z, y), { notSpecial: "inf - inf at infinite logits and targets" }),
      {
        shapes: [[2, 3], [2, 3], [3]],
        call: (z, y, w): Tensor => bceWithLogits(z, y, w),
        domain: [ANY, [0, 1], POSITIVE],
        notSpecial: "inf - inf at infinite logits and targets",
      },
    ],
  },
  (z: Tensor, y: Tensor, positive?: Tensor | number): Tensor =>
    positive === undefined
      ? z.softplus().sub(z.mul(y))
      : y.mul(positive).mul(z.neg().softplus()).add(y.neg().add(1).mul(z.softplus())),
);

/** y (ln y - x), and 0 at y = 0. */
export const klDiv = composite({
  name: "klDiv",
  tex: ([x, y]) => `${y} (\\ln ${y} - ${x})`,
  texPartials: ([x, y]) => [`-${y}`, `\\ln ${y} + 1 - ${x}`],
  samples: [
    pair((x, y): Tensor => klDiv(x, y), { domain: [ANY, POSITIVE] }),
    pair((x, y): Tensor => klDiv(x, y), { values: [undefined, [0.5, 0, 0.25, 1, 0, 0.1]], wrt: [0] }),
  ],
}, (x: Tensor, y: Tensor): Tensor => {
  const some = y.ne(0);
  return y.mul(y.where(some, 1).log().sub(x.where(some, 0)));
});

/** The same of ln y. */
export const klDivOfLog = composite({
  name: "klDivOfLog",
  call: "klDiv(x, y, { logTarget: true })",
  tex: ([x, y]) => `e^{${y}} (${y} - ${x})`,
  texPartials: ([x, y]) => [`-e^{${y}}`, `e^{${y}} (${y} - ${x} + 1)`],
  samples: [pair((x, y): Tensor => klDivOfLog(x, y), { notSpecial: "differences of infinities" })],
}, (x: Tensor, y: Tensor): Tensor => y.exp().mul(y.sub(x)));

/** x where y = 1, max(0, margin - x) where y = -1, their sum for any other y. */
export const hingeEmbeddingLoss = composite(
  {
    name: "hingeEmbeddingLoss",
    tex: ([x, y]) => `[${y} = 1] ${x} + [${y} = -1] \\max(0, m - ${x})`,
    texPartials: ([x, y]) => [`[${y} = 1] - [${y} = -1]\\,[${x} < m]`, "0"],
    samples: [pair((x, y): Tensor => hingeEmbeddingLoss(x, y, 1), SIGNS)],
  },
  (x: Tensor, y: Tensor, margin: number): Tensor =>
    x.where(y.ne(-1), 0).add(x.neg().add(margin).clamp(0).where(y.ne(1), 0)),
);

export const marginRankingLoss = composite({
  name: "marginRankingLoss",
  tex: ([a, b, y]) => `\\max(0, m - ${y} (${a} - ${b}))`,
  texPartials: ([x, y, z], f) => [`-${z}\\,[${f} > 0]`, `${z}\\,[${f} > 0]`, `(${y} - ${x})\\,[${f} > 0]`],
  samples: [{
    shapes: [[2, 3], [2, 3], [2, 3]],
    call: (a, b, y): Tensor => marginRankingLoss(a, b, y, 0.5),
    values: [undefined, undefined, [1, -1, -1, 1, 1, -1]],
    wrt: [0, 1],
  }],
}, (a: Tensor, b: Tensor, y: Tensor, margin: number): Tensor => y.neg().mul(a.sub(b)).add(margin).clamp(0));

export const softMarginLoss = composite({
  name: "softMarginLoss",
  tex: ([x, y]) => `\\ln (1 + e^{-${y} ${x}})`,
  texPartials: ([x, y]) => [`-${y}\\,\\sigma(-${y}\\,${x})`, `-${x}\\,\\sigma(-${y}\\,${x})`],
  samples: [pair((x, y): Tensor => softMarginLoss(x, y), SIGNS)],
}, (x: Tensor, y: Tensor): Tensor => y.neg().mul(x).softplus());

/** The mean over the last axis of the binary cross-entropies of logits, each times a weight. */
export const multilabelSoftMarginLoss = composite({
  name: "multilabelSoftMarginLoss",
  tex: ([z, y]) => `\\frac{1}{C} \\sum_c \\operatorname{softplus}({${z}}_c) - {${y}}_c {${z}}_c`,
  texPartials: ([x, y]) => [`\\tfrac{1}{C} (\\sigma(${x}) - ${y})`, `-\\tfrac{1}{C} ${x}`],
  samples: [
    pair((z, y): Tensor => multilabelSoftMarginLoss(z, y), { notSpecial: "inf - inf at infinite logits" }),
  ],
}, (z: Tensor, y: Tensor, weight?: Tensor): Tensor => {
  const each = bceWithLogits(z, y);
  return (weight === undefined ? each : each.mul(weight)).mean(-1);
});

/** Below eps the variance counts as eps and keeps the gradient that it would have there; a negative one is NaN. */
export const gaussianNllLoss = composite({
  name: "gaussianNllLoss",
  tex: ([x, y, v]) => `\\frac{1}{2} \\left(\\ln ${v} + \\frac{(${x} - ${y})^2}{${v}}\\right)`,
  texPartials: (
    [x, y, z],
  ) => [
    `\\frac{${x} - ${y}}{${z}}`,
    `\\frac{${y} - ${x}}{${z}}`,
    `\\tfrac12 \\left(\\frac{1}{${z}} - \\frac{(${x} - ${y})^2}{{${z}}^2}\\right)`,
  ],
  samples: [{
    shapes: [[2, 3], [2, 3], [2, 1]],
    call: (x, y, v): Tensor => gaussianNllLoss(x, y, v, { eps: 1e-6, full: true }),
    domain: [ANY, ANY, POSITIVE],
    notSpecial: "squares and quotients of the largest numbers",
  }],
}, (x: Tensor, y: Tensor, variance: Tensor, o: { eps: number; full: boolean }): Tensor => {
  const limited = variance.clamp(o.eps).maskedFill(variance.lt(0), NaN).sub(variance).stopGradient();
  const v = variance.add(limited.where(variance.ge(o.eps).logicalNot(), 0));
  const loss = v.log().add(x.sub(y).square().div(v)).mul(0.5);
  return o.full ? loss.add(0.5 * Math.log(2 * Math.PI)) : loss;
});

/** `full` adds Stirling's ln y! = y ln y - y + ln(2 pi y) / 2 for y > 1. */
export const poissonNllLoss = composite({
  name: "poissonNllLoss",
  tex: ([x, y]) => `e^{${x}} - ${y} ${x}`,
  texPartials: ([x, y]) => [`e^{${x}} - ${y}`, `-${x}`],
  samples: [
    pair((x, y): Tensor => poissonNllLoss(x, y, { logInput: true, full: true, eps: 1e-8 }), {
      values: [undefined, [0.5, 3, 1.5, 4, 0, 1.25]],
      notSpecial: "differences of infinities",
    }),
    pair((x, y): Tensor => poissonNllLoss(x, y, { logInput: false, full: false, eps: 1e-8 }), {
      domain: [POSITIVE, POSITIVE],
      notSpecial: "differences of infinities",
    }),
  ],
}, (x: Tensor, y: Tensor, o: { logInput: boolean; full: boolean; eps: number }): Tensor => {
  const loss = o.logInput ? x.exp().sub(y.mul(x)) : x.sub(y.mul(x.add(o.eps).log()));
  if (!o.full) return loss;
  const many = y.gt(1), n = y.where(many, 2);
  return loss.add(n.mul(n.log()).sub(n).add(n.mul(2 * Math.PI).log().mul(0.5)).where(many, 0));
});

/** mean_j max(0, m - x_y + x_j)^p over the other classes j of rows `[N, C]`, times the weight of class y. */
export const multiMarginLoss = composite({
  name: "multiMarginLoss",
  tex: ([x, y]) => `\\frac{1}{C} \\sum_{j \\ne ${y}} \\max(0, m - {${x}}_{${y}} + {${x}}_j)^p`,
  samples: [1, 2].map((p) => ({
    shapes: [[3, 4], [3], [4]],
    call: (x: Tensor, y: Tensor, w: Tensor): Tensor => multiMarginLoss(x, y, { p, margin: 0.5, weight: w }),
    dtypes: [undefined, "i32"],
    values: [undefined, [0, 3, 1]],
  })),
}, (x: Tensor, y: Tensor, o: { p: number; margin: number; weight: Tensor | undefined }): Tensor => {
  const classes = x.shape[1], own = y.unsqueeze(1).eq(x.arangeLike(classes, "i32")); // [N, C]
  const gap = x.add(apply(nllLoss, [x, y]).unsqueeze(1)).add(o.margin).relu().where(own.logicalNot(), 0);
  const loss = (o.p === 1 ? gap : gap.square()).sum(1).div(classes);
  return o.weight === undefined ? loss : loss.mul(apply(nllLoss, [o.weight.expand(x.shape), y]).neg());
});

/** Over rows `[N, C]`: sum over labels y and over classes i that are none of max(0, 1 - x_y + x_i) / C. */
export const multilabelMarginLoss = composite({
  name: "multilabelMarginLoss",
  tex: ([x, y]) => `\\frac{1}{C} \\sum_{j \\in ${y},\\, i \\notin ${y}} \\max(0, 1 - {${x}}_j + {${x}}_i)`,
  samples: [{
    shapes: [[2, 4], [2, 4]],
    call: (x, y): Tensor => multilabelMarginLoss(x, y),
    dtypes: [undefined, "i32"],
    values: [undefined, [3, 0, -1, 1, 2, -1, 0, 0]],
  }],
}, (x: Tensor, y: Tensor): Tensor => {
  const classes = x.shape[1];
  const given = y.lt(0).to("i32").cumsum(1).eq(0), label = y.where(given, 0); // [N, C]: labels end at the first -1
  const at = label.unsqueeze(2).eq(x.arangeLike(classes, "i32")).logicalAnd(given.unsqueeze(2)); // [N, C, C]
  const labelled = at.any(1).unsqueeze(1); // [N, 1, C]
  const gap = x.gather(1, label).neg().add(1).unsqueeze(2).add(x.unsqueeze(1)).relu(); // [N, C, C]
  return gap.where(given.unsqueeze(2).logicalAnd(labelled.logicalNot()), 0).sum([1, 2]).div(classes);
});
