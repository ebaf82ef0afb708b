/** Choosing between elements: the larger, the smaller, one by a condition, limits. */
import { composite } from "../composite.ts";
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

/** The larger one that is not NaN; ties give the derivative to the first operand. */
export const fmax = elementwise({
  name: "fmax",
  tex: ([x, y]) => `\\operatorname{fmax}(${x}, ${y})`,
  texPartials: ([x, y]) => [`[${x} \\ge ${y}]`, `[${y} > ${x}]`],
  host: (x, y) => Number.isNaN(x) ? y : Number.isNaN(y) ? x : Math.max(x, y),
  wgsl: ([x, y], [dtype]) => isFloat(dtype) ? `fmaxf(${x}, ${y})` : `max(${x}, ${y})`,
  partials: [
    ({ x: [x, y] }) => firstWins(x.ge(y), y),
    ({ x: [x, y] }) => firstWins(x.ge(y), y).logicalNot(),
  ],
  domain: BOTH,
});

/** The smaller one that is not NaN; ties give the derivative to the first operand. */
export const fmin = elementwise({
  name: "fmin",
  tex: ([x, y]) => `\\operatorname{fmin}(${x}, ${y})`,
  texPartials: ([x, y]) => [`[${x} \\le ${y}]`, `[${y} < ${x}]`],
  host: (x, y) => Number.isNaN(x) ? y : Number.isNaN(y) ? x : Math.min(x, y),
  wgsl: ([x, y], [dtype]) => isFloat(dtype) ? `fminf(${x}, ${y})` : `min(${x}, ${y})`,
  partials: [
    ({ x: [x, y] }) => firstWins(x.le(y), y),
    ({ x: [x, y] }) => firstWins(x.le(y), y).logicalNot(),
  ],
  domain: BOTH,
});

const firstWins = (better: Tensor, y: Tensor): Tensor =>
  isFloat(y.dtype) ? better.logicalOr(y.isnan()) : better;

/** |x| with the sign of y. */
export const copysign = elementwise({
  name: "copysign",
  tex: ([x, y]) => `|${x}| \\operatorname{sign} ${y}`,
  texPartials: ([x, y]) => [`\\operatorname{sign} ${x} \\operatorname{sign} ${y}`, "0"],
  accepts: "float",
  host: (x, y) => y < 0 || Object.is(y, -0) ? -Math.abs(x) : Math.abs(x),
  wgsl: ([x, y]) => `copysignf(${x}, ${y})`,
  partials: [({ x: [x, y] }) => x.sign().mul(x.onesLike().copysign(y)), null],
  domain: [0.2, 2],
});

/** 0 below 0, 1 above, `value` at 0. */
export const heaviside = composite({
  name: "heaviside",
  tex: ([x, v]) => `[${x} > 0] + [${x} = 0]\\,${v}`,
  texPartials: ([x]) => ["0", `[${x} = 0]`],
  samples: [
    { shapes: [[4], []], call: (x, v) => x.heaviside(v), values: [[-1, 0, 2, 0]], wrt: [1] },
    { shapes: [[3], [3]], call: (x, v) => x.heaviside(v), dtypes: ["i32", "i32"] },
  ],
}, (x: Tensor, value: Tensor): Tensor => value.where(x.eq(0), x.gt(0).to(x.dtype)));

/** Numbers in place of NaN and the infinities; nothing flows back from there. */
export const nanToNum = composite(
  {
    name: "nanToNum",
    tex: ([x]) => `\\operatorname{nanToNum} ${x}`,
    texPartials: ([x]) => [`[|${x}| < \\infty]`],
    samples: [
      {
        shapes: [[6]],
        call: (x) => x.nanToNum(9, 8, 7),
        values: [[0, 1, Infinity, -Infinity, NaN, -3]],
        differences: false,
      },
      { shapes: [[2, 3]], call: (x) => x.nanToNum(1, 2, 3) },
    ],
  },
  (x: Tensor, nan: number, above: number, below: number): Tensor =>
    x.maskedFill(x.isnan(), nan).maskedFill(x.eq(Infinity), above).maskedFill(x.eq(-Infinity), below),
);

export const maskedFill = composite({
  name: "maskedFill",
  tex: ([x, m, c]) => `\\begin{cases}${c ?? "c"} & ${m}\\\\${x} & \\text{else}\\end{cases}`,
  texPartials: ([, y]) => [`[\\lnot ${y}]`, "0", `[${y}]`],
  samples: [
    {
      shapes: [[2, 3], [3], []],
      call: (x, m, c) => x.maskedFill(m, c),
      dtypes: [undefined, "bool"],
      values: [undefined, [1, 0, 1]],
    },
    {
      shapes: [[2, 3], [2, 1]],
      call: (x, m) => x.maskedFill(m, -1),
      dtypes: [undefined, "bool"],
      values: [undefined, [0, 1]],
    },
  ],
}, (x: Tensor, mask: Tensor, value: Tensor): Tensor => value.where(mask, x));
