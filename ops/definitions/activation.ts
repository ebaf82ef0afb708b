/** Activations of neural networks, with derivatives that neither overflow nor need more than input or output. */
import { elementwise } from "../families.ts";
import { isFloat } from "../dtype.ts";

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
