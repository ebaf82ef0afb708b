/** Activations of neural networks, with derivatives that neither overflow nor need more than input or output. */
import { composite } from "../composite.ts";
import { elementwise } from "../families.ts";
import { isFloat } from "../dtype.ts";
import { apply } from "../node.ts";
import type { Sample } from "../primitive.ts";
import { ndtr } from "../special.ts";
import type { Tensor } from "../tensor.ts";

const BOTH: [number, number] = [-2, 2];

export const sigmoid = elementwise({
  name: "sigmoid",
  tex: ([x]) => `\\sigma(${x})`,
  texPartials: ([x]) => [`\\sigma(${x})\\,(1 - \\sigma(${x}))`],
  accepts: "float",
  // Neither branch exponentiates a positive number, so neither overflows.
  host: (x) => x >= 0 ? 1 / (1 + Math.exp(-x)) : Math.exp(x) / (1 + Math.exp(x)),
  wgsl: ([x]) => `sigmoidf(${x})`,
  partials: [({ y }) => y.mul(y.neg().add(1))],
  domain: BOTH,
  flops: 10,
});

export const relu = elementwise({
  name: "relu",
  tex: ([x]) => `\\max(0, ${x})`,
  texPartials: ([x]) => [`[${x} > 0]`],
  host: (x) => Number.isNaN(x) ? x : x > 0 ? x : 0,
  wgsl: ([x], [dtype]) => isFloat(dtype) ? `maxf(${x}, 0.0)` : `max(${x}, 0)`,
  partials: [({ x: [x] }) => x.gt(0)],
  domain: BOTH,
});

export const softplus = elementwise({
  name: "softplus",
  tex: ([x]) => `\\ln(1 + e^{${x}})`,
  texPartials: ([x]) => [`\\sigma(${x})`],
  accepts: "float",
  host: (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x))),
  wgsl: ([x]) => `softplusf(${x})`,
  partials: [({ x: [x] }) => x.sigmoid()],
  domain: BOTH,
  flops: 20,
});

export const logSigmoid = elementwise({
  name: "logSigmoid",
  tex: ([x]) => `\\ln \\sigma(${x})`,
  texPartials: ([x]) => [`\\sigma(-${x})`],
  accepts: "float",
  host: (x) => Math.min(x, 0) - Math.log1p(Math.exp(-Math.abs(x))),
  wgsl: ([x]) => `logSigmoidf(${x})`,
  partials: [({ x: [x] }) => x.neg().sigmoid()],
  domain: BOTH,
  flops: 20,
});

/** x where derivatives still change; beyond they are 0 and 1, where x times that would be NaN at infinity. */
const limited = (x: Tensor, limit: number): Tensor => x.clamp(-limit, limit);

const sigmoidOf = (x: number): number => x >= 0 ? 1 / (1 + Math.exp(-x)) : Math.exp(x) / (1 + Math.exp(x));

export const silu = elementwise({
  name: "silu",
  tex: ([x]) => `${x}\\,\\sigma(${x})`,
  texPartials: ([x]) => [`\\sigma(${x})\\,(1 + ${x}\\,\\sigma(-${x}))`],
  accepts: "float",
  host: (x) => x * sigmoidOf(x),
  wgsl: ([x]) => `siluf(${x})`,
  partials: [({ x: [x] }) => {
    const t = limited(x, 800), s = t.sigmoid();
    return s.mul(t.mul(s.neg().add(1)).add(1));
  }],
  domain: BOTH,
  flops: 12,
});

export const mish = elementwise({
  name: "mish",
  tex: ([x]) => `${x} \\tanh(\\ln(1 + e^{${x}}))`,
  texPartials: ([x]) => [`t + ${x}\\,\\sigma(${x})\\,(1 - t^2), t = \\tanh(\\ln(1 + e^{${x}}))`],
  accepts: "float",
  // tanh(softplus(x)) = n / (n + 2) with n = e^x (e^x + 2).
  host: (x) => {
    if (x > 40) return x;
    const e = Math.exp(x), n = e * (e + 2);
    return x * (n / (n + 2));
  },
  wgsl: ([x]) => `mishf(${x})`,
  partials: [({ x: [x] }) => {
    const t = limited(x, 800), h = t.softplus().tanh();
    return h.add(t.mul(t.sigmoid()).mul(h.square().neg().add(1)));
  }],
  domain: BOTH,
  flops: 25,
});

const density = (x: number): number => Math.exp(-0.5 * x * x) / Math.sqrt(2 * Math.PI);

/** The derivative of gelu: Φ and φ share their exponential. */
const geluDerivative = elementwise({
  name: "geluDerivative",
  tex: ([x]) => `\\operatorname{gelu}'(${x})`,
  texPartials: ([x]) => [`\\frac{2 - {${x}}^2}{\\sqrt{2 \\pi}} e^{-{${x}}^2 / 2}`],
  accepts: "float",
  host: (x) => ndtr(x) + Math.max(-40, Math.min(x, 40)) * density(x),
  wgsl: ([x]) => `geluDerivativef(${x})`,
  partials: [({ x: [x] }) => {
    const t = limited(x, 40), square = t.square();
    return square.mul(-0.5).exp().mul(square.neg().add(2)).mul(1 / Math.sqrt(2 * Math.PI));
  }],
  domain: BOTH,
  flops: 35,
});

/** x Φ(x): Hendrycks and Gimpel (2016), "Gaussian error linear units". */
export const gelu = elementwise({
  name: "gelu",
  tex: ([x]) => `${x}\\,\\Phi(${x})`,
  texPartials: ([x]) => [`\\Phi(${x}) + \\frac{${x}}{\\sqrt{2 \\pi}} e^{-{${x}}^2 / 2}`],
  accepts: "float",
  host: (x) => x * ndtr(x),
  wgsl: ([x]) => `geluf(${x})`,
  partials: [({ x: [x] }) => apply(geluDerivative, [x])],
  domain: BOTH,
  flops: 30,
});

const SLOPE = 2 * Math.sqrt(2 / Math.PI);

/** The same with Φ approximated by tanh: x/2 (1 + tanh(√(2/π) (x + 0.044715 x³))). */
export const geluTanh = elementwise({
  name: "geluTanh",
  call: 'x.gelu({ approximate: "tanh" })',
  tex: ([x]) => `\\tfrac12 ${x}\\,(1 + \\tanh(\\sqrt{2 / \\pi}\\,(${x} + 0.044715\\,{${x}}^3)))`,
  texPartials: (
    [x],
  ) => [
    `\\tfrac12 (1 + t) + \\tfrac12 ${x}\\,(1 - t^2) \\sqrt{2 / \\pi}\\,(1 + 0.134145\\,{${x}}^2), t = \\tanh(\\sqrt{2 / \\pi}\\,(${x} + 0.044715\\,{${x}}^3))`,
  ],
  accepts: "float",
  // (1 + tanh u) / 2 is sigmoid(2 u), which does not cancel.
  host: (x) => x * sigmoidOf(SLOPE * x * (1 + 0.044715 * x * x)),
  wgsl: ([x]) => `geluTanhf(${x})`,
  partials: [({ x: [x] }) => {
    const t = limited(x, 30), cube = t.square().mul(0.044715);
    const s = t.mul(cube.add(1)).mul(SLOPE).sigmoid(), slope = cube.mul(3).add(1).mul(SLOPE);
    return s.mul(t.mul(s.neg().add(1)).mul(slope).add(1));
  }],
  domain: BOTH,
  flops: 20,
});

/** ln(1 + e^(βx)) / β, and x where βx is above the threshold. */
export const softplusScaled = composite(
  {
    name: "softplusScaled",
    call: "x.softplus({ beta })",
    tex: ([x]) => `\\tfrac{1}{\\beta} \\ln(1 + e^{\\beta ${x}})`,
    texPartials: ([x]) => [`\\sigma(\\beta ${x})`],
    samples: [
      { shapes: [[2, 3]], call: (x) => x.softplus({ beta: 2 }) },
      { shapes: [[4]], call: (x) => x.softplus({ beta: 3, threshold: 1 }), values: [[-1, 0.2, 0.5, 2]] },
    ],
  },
  (x: Tensor, beta: number, threshold: number): Tensor => {
    const smooth = x.mul(beta).softplus().div(beta);
    return threshold === Infinity ? smooth : x.where(x.mul(beta).gt(threshold), smooth);
  },
);

/** Samples of an activation that kinks at most at -3, -1, 0, 1, 3 and 6. */
const samples = (...calls: ((x: Tensor) => Tensor)[]): Sample[] =>
  calls.map((call) => ({
    shapes: [[2, 4]],
    call,
    values: [[-4.5, -1.8, -0.6, -0.3, 0.2, 0.7, 2.2, 7.5]],
  }));

/** A slope below 0 (and at 0), 1 above. */
export const leakyRelu = composite({
  name: "leakyRelu",
  tex: ([x]) => `\\max(0, ${x}) + s \\min(0, ${x})`,
  texPartials: ([x]) => [`[${x} > 0] + s\\,[${x} \\le 0]`],
  samples: samples((x) => x.leakyRelu(), (x) => x.leakyRelu(0.3)),
}, (x: Tensor, slope: number): Tensor => x.where(x.gt(0), x.mul(slope)));

/** x above 0, `scale` (e^(x / width) - 1) below; at 0 the derivative of the branch below counts. */
const bent = (x: Tensor, scale: number, width = 1): Tensor => {
  const above = x.gt(0), below = x.maskedFill(above, 0);
  return x.where(above, (width === 1 ? below : below.div(width)).expm1().mul(scale));
};

/** Clevert, Unterthiner and Hochreiter (2015), "Fast and accurate deep network learning by exponential linear units". */
export const elu = composite({
  name: "elu",
  tex: ([x]) => `\\begin{cases}${x} & ${x} > 0\\\\\\alpha\\,(e^{${x}} - 1) & \\text{else}\\end{cases}`,
  texPartials: ([x]) => [`\\begin{cases}1 & ${x} > 0\\\\\\alpha\\,e^{${x}} & \\text{else}\\end{cases}`],
  samples: samples((x) => x.elu(), (x) => x.elu(0.7)),
}, (x: Tensor, alpha: number): Tensor => bent(x, alpha));

/** Barron (2017), "Continuously differentiable exponential linear units". */
export const celu = composite({
  name: "celu",
  tex: ([x]) =>
    `\\begin{cases}${x} & ${x} > 0\\\\\\alpha\\,(e^{${x} / \\alpha} - 1) & \\text{else}\\end{cases}`,
  texPartials: ([x]) => [`\\begin{cases}1 & ${x} > 0\\\\e^{${x} / \\alpha} & \\text{else}\\end{cases}`],
  samples: samples((x) => x.celu(), (x) => x.celu(0.7)),
}, (x: Tensor, alpha: number): Tensor => bent(x, alpha, alpha));

/** Klambauer, Unterthiner, Mayr and Hochreiter (2017), "Self-normalizing neural networks", whose constants these are. */
export const selu = composite({
  name: "selu",
  tex: ([x]) =>
    `1.0507\\,\\begin{cases}${x} & ${x} > 0\\\\1.6733\\,(e^{${x}} - 1) & \\text{else}\\end{cases}`,
  texPartials: (
    [x],
  ) => [`1.0507\\,\\begin{cases}1 & ${x} > 0\\\\1.6733\\,e^{${x}} & \\text{else}\\end{cases}`],
  samples: samples((x) => x.selu()),
}, (x: Tensor): Tensor => bent(x, 1.6732632423543772848170429916717).mul(1.0507009873554804934193349852946));

/** Limits whose derivative is 0 on the boundary (that of `clamp` is 1 there). */
const between = (x: Tensor, min: number, max: number): Tensor =>
  x.where(x.gt(min).logicalAnd(x.lt(max)), x.stopGradient().clamp(min, max));

export const hardtanh = composite({
  name: "hardtanh",
  tex: ([x]) => `\\min(\\max(${x}, a), b)`,
  texPartials: ([x]) => [`[a < ${x} < b]`],
  samples: samples((x) => x.hardtanh(), (x) => x.hardtanh(-0.5, 2)),
}, between);

export const relu6 = composite({
  name: "relu6",
  tex: ([x]) => `\\min(\\max(${x}, 0), 6)`,
  texPartials: ([x]) => [`[0 < ${x} < 6]`],
  samples: samples((x) => x.relu6()),
}, (x: Tensor): Tensor => between(x, 0, 6));

export const hardsigmoid = composite({
  name: "hardsigmoid",
  tex: ([x]) => `\\tfrac16 \\min(\\max(${x} + 3, 0), 6)`,
  texPartials: ([x]) => [`\\tfrac16 [-3 < ${x} < 3]`],
  samples: samples((x) => x.hardsigmoid()),
}, (x: Tensor): Tensor => between(x.add(3), 0, 6).div(6));

/** Howard et al. (2019), "Searching for MobileNetV3". */
export const hardswish = composite({
  name: "hardswish",
  tex: ([x]) => `\\tfrac16 ${x} \\min(\\max(${x} + 3, 0), 6)`,
  texPartials: ([x]) => [`[${x} \\ge 3] + (\\tfrac13 ${x} + \\tfrac12)\\,[-3 < ${x} < 3]`],
  samples: samples((x) => x.hardswish()),
}, (x: Tensor): Tensor => x.mul(between(x.add(3), 0, 6).div(6)));

export const softsign = composite({
  name: "softsign",
  tex: ([x]) => `\\frac{${x}}{1 + |${x}|}`,
  texPartials: ([x]) => [`\\frac{1}{(1 + |${x}|)^2}`],
  samples: samples((x) => x.softsign()),
}, (x: Tensor): Tensor => x.div(x.abs().add(1)));

export const tanhshrink = composite({
  name: "tanhshrink",
  tex: ([x]) => `${x} - \\tanh ${x}`,
  texPartials: ([x]) => [`\\tanh^2 ${x}`],
  samples: samples((x) => x.tanhshrink()),
}, (x: Tensor): Tensor => x.sub(x.tanh()));

/** x moved towards 0 by λ, and 0 where it would pass it. */
export const softshrink = composite({
  name: "softshrink",
  tex: ([x]) => `\\operatorname{sign}(${x}) \\max(|${x}| - \\lambda, 0)`,
  texPartials: ([x]) => [`[|${x}| > \\lambda]`],
  samples: samples((x) => x.softshrink(), (x) => x.softshrink(1)),
}, (x: Tensor, lambda: number): Tensor => x.sub(x.clamp(-lambda, lambda)));

/** 0 from -λ to λ, x elsewhere. */
export const hardshrink = composite({
  name: "hardshrink",
  tex: ([x]) => `${x}\\,[|${x}| > \\lambda]`,
  texPartials: ([x]) => [`[|${x}| > \\lambda]`],
  samples: samples((x) => x.hardshrink(), (x) => x.hardshrink(1)),
}, (x: Tensor, lambda: number): Tensor => x.maskedFill(x.ge(-lambda).logicalAnd(x.le(lambda)), 0));

/** `value` up to the threshold, x above. */
export const threshold = composite({
  name: "threshold",
  tex: ([x]) => `\\begin{cases}${x} & ${x} > t\\\\v & \\text{else}\\end{cases}`,
  texPartials: ([x]) => [`[${x} > t]`],
  samples: samples((x) => x.threshold(0.5, -1)),
}, (x: Tensor, at: number, value: number): Tensor => x.maskedFill(x.le(at), value));

/** Halves a, b of an axis to a σ(b): Dauphin et al. (2016), "Language modeling with gated convolutional networks". */
export const glu = composite({
  name: "glu",
  tex: ([x]) => `${x}_a\\,\\sigma(${x}_b)`,
  texPartials: ([x]) => [`(\\sigma({${x}}_b), \\; {${x}}_a\\,\\sigma({${x}}_b)\\,\\sigma(-{${x}}_b))`],
  samples: [
    { shapes: [[2, 4]], call: (x) => x.glu() },
    { shapes: [[2, 4, 3]], call: (x) => x.glu(1) },
  ],
}, (x: Tensor, axis: number): Tensor => {
  const half = x.shape[axis] / 2;
  return x.narrow(axis, 0, half).mul(x.narrow(axis, half, half).sigmoid());
});

/** A learned slope below 0: He et al. (2015), "Delving deep into rectifiers". */
export const prelu = composite({
  name: "prelu",
  tex: ([x, w]) => `\\max(0, ${x}) + ${w} \\min(0, ${x})`,
  texPartials: ([x, w]) => [`[${x} > 0] + ${w}\\,[${x} \\le 0]`, `\\min(0, ${x})`],
  samples: [
    { shapes: [[2, 3], [3]], call: (x, w) => x.prelu(w) },
    { shapes: [[2, 3, 2], [3]], call: (x, w) => x.prelu(w) },
    { shapes: [[4], []], call: (x, w) => x.prelu(w) },
  ],
}, (x: Tensor, weight: Tensor): Tensor => {
  const above = x.gt(0);
  return x.where(above, x.maskedFill(above, 0).mul(weight));
});

export const logSoftmax = composite({
  name: "logSoftmax",
  tex: ([x]) => `\\ln \\operatorname{softmax}(${x})`,
  texPullbacks: ([x], f) => [`\\bar{${f}} - \\operatorname{softmax}(${x}) \\sum \\bar{${f}}`],
  samples: [
    { shapes: [[2, 4]], call: (x) => x.logSoftmax() },
    { shapes: [[2, 3, 2]], call: (x) => x.logSoftmax(1) },
  ],
}, (x: Tensor, axis: number): Tensor => {
  if (x.size === 0) return x;
  // Without the largest, so that what is subtracted lies in [0, ln n] and large elements lose no digits.
  const z = x.sub(x.stopGradient().amax(axis, { keepdim: true }));
  return z.sub(z.logsumexp(axis, { keepdim: true }));
});
