/** Exponentials and logarithms. */
import { composite } from "../composite.ts";
import { elementwise } from "../families.ts";
import type { Tensor } from "../tensor.ts";

const BOTH: [number, number] = [-2, 2];

export const exp = elementwise({
  name: "exp",
  tex: ([x]) => `e^{${x}}`,
  texPartials: ([x]) => [`e^{${x}}`],
  accepts: "float",
  host: Math.exp,
  wgsl: ([x]) => `expf(${x})`,
  partials: [({ y }) => y],
  domain: BOTH,
  flops: 10,
});

export const log = elementwise({
  name: "log",
  tex: ([x]) => `\\ln ${x}`,
  texPartials: ([x]) => [`\\frac{1}{${x}}`],
  accepts: "float",
  host: Math.log,
  wgsl: ([x]) => `logf(${x})`,
  partials: [({ x: [x] }) => x.reciprocal()],
  domain: [0.5, 3],
  flops: 10,
});

export const exp2 = elementwise({
  name: "exp2",
  tex: ([x]) => `2^{${x}}`,
  texPartials: ([x]) => [`2^{${x}} \\ln 2`],
  accepts: "float",
  host: (x) => 2 ** x,
  wgsl: ([x]) => `exp2f(${x})`,
  partials: [({ y }) => y.mul(Math.LN2)],
  domain: BOTH,
  flops: 10,
});

export const expm1 = elementwise({
  name: "expm1",
  tex: ([x]) => `e^{${x}} - 1`,
  texPartials: ([x]) => [`e^{${x}}`],
  accepts: "float",
  host: Math.expm1,
  wgsl: ([x]) => `expm1f(${x})`,
  partials: [({ y }) => y.add(1)],
  domain: BOTH,
  flops: 10,
});

export const log1p = elementwise({
  name: "log1p",
  tex: ([x]) => `\\ln(1 + ${x})`,
  texPartials: ([x]) => [`\\frac{1}{1 + ${x}}`],
  accepts: "float",
  host: Math.log1p,
  wgsl: ([x]) => `log1pf(${x})`,
  partials: [({ x: [x] }) => x.add(1).reciprocal()],
  domain: [-0.6, 2],
  flops: 10,
});

export const log2 = elementwise({
  name: "log2",
  tex: ([x]) => `\\log_2 ${x}`,
  texPartials: ([x]) => [`\\frac{1}{${x} \\ln 2}`],
  accepts: "float",
  host: Math.log2,
  wgsl: ([x]) => `log2f(${x})`,
  partials: [({ x: [x] }) => x.mul(Math.LN2).reciprocal()],
  domain: [0.5, 3],
  flops: 10,
});

export const log10 = elementwise({
  name: "log10",
  tex: ([x]) => `\\log_{10} ${x}`,
  texPartials: ([x]) => [`\\frac{1}{${x} \\ln 10}`],
  accepts: "float",
  host: Math.log10,
  wgsl: ([x]) => `log10f(${x})`,
  partials: [({ x: [x] }) => x.mul(Math.LN10).reciprocal()],
  domain: [0.5, 3],
  flops: 10,
});

/** sigmoid(x - y), and 1/2 for equal infinities. */
function share(x: Tensor, y: Tensor): Tensor {
  const finite = x.ne(y).logicalOr(x.isfinite());
  return x.where(finite, 0).sub(y.where(finite, 0)).sigmoid();
}

/** ln(e^x + e^y), which does not overflow. */
export const logaddexp = elementwise({
  name: "logaddexp",
  tex: ([x, y]) => `\\ln(e^{${x}} + e^{${y}})`,
  texPartials: ([x, y]) => [`\\sigma(${x} - ${y})`, `\\sigma(${y} - ${x})`],
  accepts: "float",
  host: (x, y) => {
    const m = Math.max(x, y);
    return Math.abs(m) === Infinity ? m : m + Math.log1p(Math.exp(Math.min(x, y) - m));
  },
  wgsl: ([x, y]) => `logaddexpf(${x}, ${y})`,
  partials: [({ x: [x, y] }) => share(x, y), ({ x: [x, y] }) => share(y, x)],
  domain: BOTH,
  flops: 20,
});

export const logaddexp2 = composite({
  name: "logaddexp2",
  tex: ([x, y]) => `\\log_2(2^{${x}} + 2^{${y}})`,
  texPartials: ([x, y]) => [`\\sigma((${x} - ${y}) \\ln 2)`, `\\sigma((${y} - ${x}) \\ln 2)`],
  samples: [{ shapes: [[2, 3], [3]], call: (x, y) => x.logaddexp2(y) }],
}, (x: Tensor, y: Tensor): Tensor => x.mul(Math.LN2).logaddexp(y.mul(Math.LN2)).div(Math.LN2));

/** x ln y, and 0 where x is 0 whatever y is but NaN. */
export const xlogy = elementwise({
  name: "xlogy",
  tex: ([x, y]) => `${x} \\ln ${y}`,
  texPartials: ([x, y]) => [`\\ln ${y}`, `\\frac{${x}}{${y}}`],
  accepts: "float",
  host: (x, y) => x === 0 && !Number.isNaN(y) ? 0 : x * Math.log(y),
  wgsl: ([x, y]) => `xlogyf(${x}, ${y})`,
  partials: [
    // Where x is 0 and y has no logarithm it is 0, as the value.
    ({ x: [x, y] }) => y.maskedFill(x.eq(0).logicalAnd(y.le(0)), 1).log(),
    ({ x: [x, y] }) => x.div(y.where(x.ne(0).logicalOr(y.ne(0)), 1)),
  ],
  domain: [BOTH, [0.5, 3]],
  flops: 12,
});

/** x ln(1 + y), and 0 where x is 0 whatever y is but NaN. */
export const xlog1py = elementwise({
  name: "xlog1py",
  tex: ([x, y]) => `${x} \\ln(1 + ${y})`,
  texPartials: ([x, y]) => [`\\ln(1 + ${y})`, `\\frac{${x}}{1 + ${y}}`],
  accepts: "float",
  host: (x, y) => x === 0 && !Number.isNaN(y) ? 0 : x * Math.log1p(y),
  wgsl: ([x, y]) => `xlog1pyf(${x}, ${y})`,
  partials: [
    ({ x: [x, y] }) => y.maskedFill(x.eq(0).logicalAnd(y.le(-1)), 0).log1p(),
    ({ x: [x, y] }) => x.div(y.where(x.ne(0).logicalOr(y.ne(-1)), 0).add(1)),
  ],
  domain: [BOTH, [-0.5, 2]],
  flops: 12,
});

/** ln(x / (1 - x)), of x limited to [eps, 1 - eps] if eps is given. */
export const logit = composite(
  {
    name: "logit",
    tex: ([x]) => `\\ln \\frac{${x}}{1 - ${x}}`,
    texPartials: ([x]) => [`\\frac{1}{${x}\\,(1 - ${x})}`],
    samples: [
      { shapes: [[2, 3]], call: (x) => x.logit(), domain: [[0.1, 0.9]] },
      { shapes: [[4]], call: (x) => x.logit(0.2), values: [[0.1, 0.3, 0.75, 0.95]] },
    ],
  },
  (x: Tensor, eps: number | undefined): Tensor => {
    const inside = eps === undefined ? x : x.clamp(eps, 1 - eps);
    return inside.log().sub(inside.neg().log1p());
  },
);
