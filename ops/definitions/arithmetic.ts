/** Arithmetic of matching elements: sums, products, quotients, powers. */
import { elementwise } from "../families.ts";
import { isFloat } from "../dtype.ts";
import type { RuleContext } from "../primitive.ts";
import type { Tensor } from "../tensor.ts";

const first = (c: RuleContext): Tensor => c.x[0];
const BOTH: [number, number] = [-2, 2];

export const neg = elementwise({
  name: "neg",
  tex: ([x]) => `-${x}`,
  texPartials: () => ["-1"],
  host: (x) => -x,
  wgsl: ([x], [dtype]) => dtype === "u32" ? `(0u - ${x})` : `-(${x})`,
  partials: [() => -1],
  domain: BOTH,
});

export const add = elementwise({
  name: "add",
  tex: ([x, y]) => `${x} + ${y}`,
  texPartials: () => ["1", "1"],
  host: (x, y) => x + y,
  wgsl: ([x, y]) => `(${x} + ${y})`,
  partials: [() => 1, () => 1],
  domain: BOTH,
});

export const sub = elementwise({
  name: "sub",
  tex: ([x, y]) => `${x} - ${y}`,
  texPartials: () => ["1", "-1"],
  host: (x, y) => x - y,
  wgsl: ([x, y]) => `(${x} - ${y})`,
  partials: [() => 1, () => -1],
  domain: BOTH,
});

export const mul = elementwise({
  name: "mul",
  tex: ([x, y]) => `${x} \\cdot ${y}`,
  texPartials: ([x, y]) => [y, x],
  host: (x, y) => x * y,
  hostInteger: Math.imul,
  wgsl: ([x, y]) => `(${x} * ${y})`,
  partials: [({ x: [, y] }) => y, first],
  domain: BOTH,
});

export const div = elementwise({
  name: "div",
  tex: ([x, y]) => `\\frac{${x}}{${y}}`,
  texPartials: ([x, y]) => [`\\frac{1}{${y}}`, `-\\frac{${x}}{{${y}}^2}`],
  accepts: "float",
  host: (x, y) => x / y,
  wgsl: ([x, y]) => `(${x} / ${y})`,
  partials: [({ x: [, y] }) => y.reciprocal(), ({ x: [, y], y: q }) => q.div(y).neg()],
  domain: [BOTH, [0.5, 2]],
});

export const reciprocal = elementwise({
  name: "reciprocal",
  tex: ([x]) => `\\frac{1}{${x}}`,
  texPartials: ([x]) => [`-\\frac{1}{{${x}}^2}`],
  accepts: "float",
  host: (x) => 1 / x,
  wgsl: ([x]) => `(1.0 / ${x})`,
  partials: [({ y }) => y.square().neg()],
  domain: [0.5, 2],
});

/** Whole powers modulo 2^32; of negative powers the part that is whole, and 0 of 0. */
function powInteger(x: number, y: number): number {
  if (y < 0) return x === 1 ? 1 : x === -1 ? (y % 2 === 0 ? 1 : -1) : 0;
  let r = 1;
  for (let n = y; n > 0; n = Math.floor(n / 2)) {
    if (n % 2 === 1) r = Math.imul(r, x);
    x = Math.imul(x, x);
  }
  return r;
}

export const pow = elementwise({
  name: "pow",
  tex: ([x, y]) => `{${x}}^{${y}}`,
  texPartials: ([x, y]) => [`${y}\\,{${x}}^{${y} - 1}`, `{${x}}^{${y}} \\ln ${x}`],
  accepts: "number",
  host: (x, y) => x === 1 || (x === -1 && Math.abs(y) === Infinity) ? 1 : Math.pow(x, y), // IEEE: 1 to any power is 1
  hostInteger: powInteger,
  wgsl: ([x, y], [dtype]) =>
    isFloat(dtype) ? `powf(${x}, ${y})` : dtype === "u32" ? `powu(${x}, ${y})` : `powi(${x}, ${y})`,
  partials: [
    // y x^(y-1), and 0 where y = 0 also at x = 0.
    ({ x: [x, y] }) => y.mul(x.pow(y.sub(1))).where(y.ne(0), 0),
    // x^y ln x, and 0 at x = 0 for y >= 0, where the limit is.
    ({ x: [x, y], y: z }) => z.mul(x.log()).where(x.ne(0).logicalOr(y.lt(0)), 0),
  ],
  domain: [[0.5, 2], BOTH],
  flops: 10,
});

export const sqrt = elementwise({
  name: "sqrt",
  tex: ([x]) => `\\sqrt{${x}}`,
  texPartials: ([x]) => [`\\frac{1}{2\\,\\sqrt{${x}}}`],
  accepts: "float",
  host: Math.sqrt,
  wgsl: ([x]) => `sqrt(${x})`,
  partials: [({ y }) => y.reciprocal().mul(0.5)],
  domain: [0.5, 3],
});

export const abs = elementwise({
  name: "abs",
  tex: ([x]) => `|${x}|`,
  texPartials: ([x]) => [`\\operatorname{sign} ${x}`],
  host: Math.abs,
  wgsl: ([x]) => `abs(${x})`,
  partials: [({ x: [x] }) => x.sign()],
  domain: [0.2, 2],
});

export const square = elementwise({
  name: "square",
  tex: ([x]) => `{${x}}^2`,
  texPartials: ([x]) => [`2\\,${x}`],
  host: (x) => x * x,
  hostInteger: (x) => Math.imul(x, x),
  wgsl: ([x]) => `(${x} * ${x})`,
  partials: [({ x: [x] }) => x.mul(2)],
  domain: BOTH,
});

export const sign = elementwise({
  name: "sign",
  tex: ([x]) => `\\operatorname{sign} ${x}`,
  texPartials: () => ["0"],
  host: Math.sign,
  wgsl: ([x], [dtype]) => isFloat(dtype) ? `signf(${x})` : dtype === "u32" ? `min(${x}, 1u)` : `sign(${x})`,
  partials: [null],
  domain: [0.2, 2],
});
