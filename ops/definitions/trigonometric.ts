/** Circular and hyperbolic functions. */
import { elementwise } from "../families.ts";

const BOTH: [number, number] = [-2, 2];

export const sin = elementwise({
  name: "sin",
  tex: ([x]) => `\\sin ${x}`,
  texPartials: ([x]) => [`\\cos ${x}`],
  accepts: "float",
  host: Math.sin,
  wgsl: ([x]) => `sinf(${x})`,
  partials: [({ x: [x] }) => x.cos()],
  domain: [-3, 3],
  flops: 10,
});

export const cos = elementwise({
  name: "cos",
  tex: ([x]) => `\\cos ${x}`,
  texPartials: ([x]) => [`-\\sin ${x}`],
  accepts: "float",
  host: Math.cos,
  wgsl: ([x]) => `cosf(${x})`,
  partials: [({ x: [x] }) => x.sin().neg()],
  domain: [-3, 3],
  flops: 10,
});

export const tanh = elementwise({
  name: "tanh",
  tex: ([x]) => `\\tanh ${x}`,
  texPartials: ([x]) => [`1 - \\tanh^2 ${x}`],
  accepts: "float",
  host: Math.tanh,
  wgsl: ([x]) => `tanhf(${x})`,
  partials: [({ y }) => y.square().neg().add(1)],
  domain: BOTH,
  flops: 10,
});
