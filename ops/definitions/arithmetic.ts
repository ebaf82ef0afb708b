/** Arithmetic of matching elements: sums, products, quotients, powers. */
import { composite } from "../composite.ts";
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
  host: (x) => Math.sign(x) + 0, // sign -0 is 0, as in PyTorch and WGSL
  wgsl: ([x], [dtype]) => isFloat(dtype) ? `signf(${x})` : dtype === "u32" ? `min(${x}, 1u)` : `sign(${x})`,
  partials: [null],
  domain: [0.2, 2],
});

export const rsqrt = elementwise({
  name: "rsqrt",
  tex: ([x]) => `\\frac{1}{\\sqrt{${x}}}`,
  texPartials: ([x]) => [`-\\frac{1}{2\\,${x}\\,\\sqrt{${x}}}`],
  accepts: "float",
  host: (x) => 1 / Math.sqrt(x),
  wgsl: ([x]) => `(1.0 / sqrt(${x}))`,
  partials: [({ x: [x], y }) => y.div(x).mul(-0.5)],
  domain: [0.5, 3],
});

/** sqrt(x² + y²) without overflow; the derivative at the origin is 0. */
export const hypot = elementwise({
  name: "hypot",
  tex: ([x, y]) => `\\sqrt{{${x}}^2 + {${y}}^2}`,
  texPartials: ([x, y], z) => [`\\frac{${x}}{${z}}`, `\\frac{${y}}{${z}}`],
  accepts: "float",
  host: (x, y) => Math.hypot(x, y),
  wgsl: ([x, y]) => `hypotf(${x}, ${y})`,
  partials: [
    ({ x: [x], y: r }) => x.div(r.where(r.ne(0), 1)),
    ({ x: [, y], y: r }) => y.div(r.where(r.ne(0), 1)),
  ],
  domain: [0.2, 2],
  flops: 6,
});

/** From x at w = 0 to y at w = 1, where it is exactly y. */
export const lerp = elementwise({
  name: "lerp",
  tex: ([x, y, w]) => `${x} + ${w}\\,(${y} - ${x})`,
  texPartials: ([x, y, w]) => [`1 - ${w}`, w, `${y} - ${x}`],
  accepts: "float",
  host: (x, y, w) => Math.abs(w) < 0.5 ? x + w * (y - x) : y - (y - x) * (1 - w),
  wgsl: ([x, y, w]) =>
    `select(${y} - (${y} - ${x}) * (1.0 - ${w}), ${x} + ${w} * (${y} - ${x}), abs(${w}) < 0.5)`,
  partials: [({ x: [, , w] }) => w.neg().add(1), ({ x: [, , w] }) => w, ({ x: [x, y] }) => y.sub(x)],
  domain: BOTH,
  samples: [[[2, 3], [2, 3], [2, 3]], [[2, 3], [3], [2, 1]], [[3], [2, 1], []]].map((shapes) => ({
    shapes,
    call: (x, y, w) => x.lerp(y, w),
    notSpecial: "the difference of large operands overflows in f32, as PyTorch's does",
  })),
  flops: 4,
});

export const addcmul = composite({
  name: "addcmul",
  tex: ([x, a, b]) => `${x} + v\\,${a} \\cdot ${b}`,
  texPartials: ([, a, b]) => ["1", `v\\,${b}`, `v\\,${a}`],
  samples: [
    { shapes: [[2, 3], [3], [2, 1]], call: (x, a, b) => x.addcmul(a, b) },
    { shapes: [[], [2], [2]], call: (x, a, b) => x.addcmul(a, b, -2.5) },
  ],
}, (x: Tensor, a: Tensor, b: Tensor, value: Tensor | number): Tensor => x.add(scaled(a.mul(b), value)));

export const addcdiv = composite({
  name: "addcdiv",
  tex: ([x, a, b]) => `${x} + v\\,\\frac{${a}}{${b}}`,
  texPartials: ([, a, b]) => ["1", `\\frac{v}{${b}}`, `-v\\,\\frac{${a}}{{${b}}^2}`],
  samples: [
    {
      shapes: [[2, 3], [3], [2, 1]],
      call: (x, a, b) => x.addcdiv(a, b),
      domain: [BOTH, BOTH, [0.5, 2]],
    },
    { shapes: [[], [2], [2]], call: (x, a, b) => x.addcdiv(a, b, -2.5), domain: [BOTH, BOTH, [0.5, 2]] },
  ],
}, (x: Tensor, a: Tensor, b: Tensor, value: Tensor | number): Tensor => x.add(scaled(a.div(b), value)));

const scaled = (x: Tensor, by: Tensor | number): Tensor => by === 1 ? x : x.mul(by);

export const ldexp = composite({
  name: "ldexp",
  tex: ([x, y]) => `${x} \\cdot 2^{${y}}`,
  texPartials: ([x, y]) => [`2^{${y}}`, `${x} \\cdot 2^{${y}} \\ln 2`],
  samples: [
    { shapes: [[2, 3], [3]], call: (x, y) => x.ldexp(y) },
    { shapes: [[3], [3]], call: (x, y) => x.ldexp(y), dtypes: [undefined, "i32"] },
  ],
}, (x: Tensor, y: Tensor): Tensor => x.mul(y.exp2()));

export const floatPower = composite({
  name: "floatPower",
  tex: ([x, y]) => `{${x}}^{${y}}`,
  texPartials: ([x, y]) => [`${y}\\,{${x}}^{${y} - 1}`, `{${x}}^{${y}} \\ln ${x}`],
  samples: [
    { shapes: [[2, 3], [3]], call: (x, y) => x.floatPower(y), domain: [[0.5, 2], BOTH] },
    { shapes: [[3]], call: (x) => x.floatPower(-2), dtypes: ["i32"], values: [[1, -2, 4]] },
  ],
}, (x: Tensor, y: Tensor | number): Tensor => x.pow(y));
