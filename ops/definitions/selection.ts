/** Choosing between elements: the larger, the smaller, one by a condition, limits. */
import { elementwise } from "../families.ts";
import { isFloat } from "../dtype.ts";
import type { RuleContext } from "../primitive.ts";
import type { Tensor } from "../tensor.ts";

const first = (c: RuleContext): Tensor => c.x[0];
const BOTH: [number, number] = [-2, 2];

const tie = (a: Tensor, b: Tensor, larger: boolean): Tensor => {
  const half = a.onesLike().mul(0.5);
  return half.where(a.eq(b), a.onesLike().where(larger ? a.lt(b).logicalNot() : a.gt(b).logicalNot(), 0));
};

export const maximum = elementwise({
  name: "maximum",
  tex: ([x, y]) => `\\max(${x}, ${y})`,
  texPartials: ([x, y]) => [
    `[${x} > ${y}] + \\tfrac12 [${x} = ${y}]`,
    `[${y} > ${x}] + \\tfrac12 [${x} = ${y}]`,
  ],
  host: (x, y) => Math.max(x, y), // NaN in, NaN out
  wgsl: ([x, y], [dtype]) => isFloat(dtype) ? `maxf(${x}, ${y})` : `max(${x}, ${y})`,
  partials: [({ x: [a, b] }) => tie(a, b, true), ({ x: [a, b] }) => tie(b, a, true)],
  domain: BOTH,
});

export const minimum = elementwise({
  name: "minimum",
  tex: ([x, y]) => `\\min(${x}, ${y})`,
  texPartials: ([x, y]) => [
    `[${x} < ${y}] + \\tfrac12 [${x} = ${y}]`,
    `[${y} < ${x}] + \\tfrac12 [${x} = ${y}]`,
  ],
  host: (x, y) => Math.min(x, y),
  wgsl: ([x, y], [dtype]) => isFloat(dtype) ? `minf(${x}, ${y})` : `min(${x}, ${y})`,
  partials: [({ x: [a, b] }) => tie(a, b, false), ({ x: [a, b] }) => tie(b, a, false)],
  domain: BOTH,
});

/** `where(c, a, b)`: a where c, else b. Neither branch's NaN leaks into the other's gradient. */
export const where = elementwise({
  name: "where",
  tex: ([c, a, b]) => `\\begin{cases}${a} & ${c}\\\\${b} & \\text{else}\\end{cases}`,
  texPartials: ([c]) => ["0", `[${c}]`, `[\\lnot ${c}]`],
  accepts: ["bool", "any", "any"],
  host: (c, a, b) => c !== 0 ? a : b,
  wgsl: ([c, a, b]) => `select(${b}, ${a}, ${c})`,
  partials: [null, first, ({ x: [c] }) => c.logicalNot()],
  domain: [[0, 1], BOTH, BOTH],
});

/** Limits by tensors; the derivative on the boundary itself is 1. */
export const clamp = elementwise({
  name: "clamp",
  tex: ([x, a, b]) => `\\operatorname{clamp}(${x}, ${a}, ${b})`,
  texPartials: ([x, a, b]) => [
    `[${a} \\le ${x} \\le ${b}]`,
    `[${x} < ${a} < ${b}]`,
    `[${x} > ${b} \\lor ${a} > ${b}]`,
  ],
  host: (x, lo, hi) => Number.isNaN(x) ? x : Math.min(Math.max(x, lo), hi),
  wgsl: ([x, lo, hi], [dtype]) =>
    isFloat(dtype) ? `minf(maxf(${x}, ${lo}), ${hi})` : `min(max(${x}, ${lo}), ${hi})`,
  partials: [
    ({ x: [x, lo, hi] }) => x.ge(lo).logicalAnd(x.le(hi)),
    ({ x: [x, lo, hi] }) => x.lt(lo).logicalAnd(lo.lt(hi)),
    ({ x: [x, lo, hi] }) => x.gt(hi).logicalOr(lo.gt(hi)),
  ],
  domain: [BOTH, [-1.5, -0.5], [0.5, 1.5]],
});
