/** Exponentials and logarithms. */
import { elementwise } from "../families.ts";

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
