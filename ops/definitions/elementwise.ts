/** Functions of one element, and of matching elements: arithmetic, comparisons, activations, casts. */
import { apply } from "../node.ts";
import { elementwise } from "../families.ts";
import { type DType, isFloat } from "../dtype.ts";
import { define, type Elementwise, type RuleContext } from "../primitive.ts";
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

function comparison(
  name: string,
  symbol: string,
  host: (x: number, y: number) => boolean,
  wgsl: string,
): Elementwise {
  return elementwise({
    name,
    tex: ([x, y]) => `[${x} ${symbol} ${y}]`,
    accepts: "any",
    result: "bool",
    discrete: true,
    host: (x, y) => host(x, y) ? 1 : 0,
    // Comparing through functions keeps compilers from folding x != x.
    wgsl: ([x, y], [dtype]) =>
      isFloat(dtype)
        ? `${name}f(${x}, ${y})`
        : dtype === "bool"
        ? `(u32(${x}) ${wgsl} u32(${y}))`
        : `(${x} ${wgsl} ${y})`,
    partials: [null, null],
    domain: BOTH,
  });
}

export const eq = comparison("eq", "=", (x, y) => x === y, "==");
export const ne = comparison("ne", "\\ne", (x, y) => x !== y, "!=");
export const lt = comparison("lt", "<", (x, y) => x < y, "<");
export const le = comparison("le", "\\le", (x, y) => x <= y, "<=");
export const gt = comparison("gt", ">", (x, y) => x > y, ">");
export const ge = comparison("ge", "\\ge", (x, y) => x >= y, ">=");

export const logicalNot = elementwise({
  name: "logicalNot",
  tex: ([x]) => `\\lnot ${x}`,
  accepts: "bool",
  discrete: true,
  host: (x) => x !== 0 ? 0 : 1,
  wgsl: ([x]) => `!(${x})`,
  partials: [null],
  domain: [0, 1],
});

export const logicalAnd = elementwise({
  name: "logicalAnd",
  tex: ([x, y]) => `${x} \\land ${y}`,
  accepts: "bool",
  discrete: true,
  host: (x, y) => x !== 0 && y !== 0 ? 1 : 0,
  wgsl: ([x, y]) => `(${x} && ${y})`,
  partials: [null, null],
  domain: [0, 1],
});

export const logicalOr = elementwise({
  name: "logicalOr",
  tex: ([x, y]) => `${x} \\lor ${y}`,
  accepts: "bool",
  discrete: true,
  host: (x, y) => x !== 0 || y !== 0 ? 1 : 0,
  wgsl: ([x, y]) => `(${x} || ${y})`,
  partials: [null, null],
  domain: [0, 1],
});

export const isnan = elementwise({
  name: "isnan",
  tex: ([x]) => `[${x} \\text{ is NaN}]`,
  accepts: "float",
  result: "bool",
  discrete: true,
  host: (x) => Number.isNaN(x) ? 1 : 0,
  wgsl: ([x]) => `isNan(${x})`,
  partials: [null],
  domain: BOTH,
});

export const isfinite = elementwise({
  name: "isfinite",
  tex: ([x]) => `[|${x}| < \\infty]`,
  accepts: "float",
  result: "bool",
  discrete: true,
  host: (x) => Number.isFinite(x) ? 1 : 0,
  wgsl: ([x]) => `isFinite(${x})`,
  partials: [null],
  domain: BOTH,
});

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

export const floor = elementwise({
  name: "floor",
  tex: ([x]) => `\\lfloor ${x} \\rfloor`,
  texPartials: () => ["0"],
  accepts: "float",
  host: Math.floor,
  wgsl: ([x]) => `floor(${x})`,
  partials: [null],
  domain: [0.2, 0.8],
});

export const round = elementwise({
  name: "round",
  tex: ([x]) => `\\lfloor ${x} \\rceil`,
  texPartials: () => ["0"],
  accepts: "float",
  // Halves go to the even neighbour, as in IEEE 754, PyTorch and WGSL.
  host: (x) => {
    const r = Math.round(x);
    return Math.abs(x % 1) === 0.5 && r % 2 !== 0 ? r - 1 : r;
  },
  wgsl: ([x]) => `round(${x})`,
  partials: [null],
  domain: [0.6, 1.4],
});

/** Quotient rounded down, as in PyTorch; for whole numbers too, of which a quotient by 0 is 0 on every device. */
export const floorDivide = elementwise({
  name: "floorDivide",
  tex: ([x, y]) => `\\lfloor ${x} / ${y} \\rfloor`,
  texPartials: () => ["0", "0"],
  host: (x, y) => Math.floor(x / y),
  hostInteger: (x, y) => y === 0 ? 0 : Math.floor(x / y),
  wgsl: ([x, y], [dtype]) =>
    isFloat(dtype)
      ? `floordivf(${x}, ${y})`
      : dtype === "u32"
      ? `floordivu(${x}, ${y})`
      : `floordivi(${x}, ${y})`,
  partials: [null, null],
  domain: [[0.2, 0.8], [1, 2]],
});

/** Remainder with the sign of the divisor, as in PyTorch; of whole numbers by 0 it is 0 on every device. */
export const remainder = elementwise({
  name: "remainder",
  tex: ([x, y]) => `${x} \\bmod ${y}`,
  texPartials: ([x, y]) => ["1", `-\\lfloor ${x} / ${y} \\rfloor`],
  host: (x, y) => {
    const r = x % y; // exact
    return r !== 0 && (r < 0) !== (y < 0) ? r + y : r;
  },
  wgsl: ([x, y], [dtype]) =>
    isFloat(dtype)
      ? `remainderf(${x}, ${y})`
      : dtype === "u32"
      ? `remainderu(${x}, ${y})`
      : `remainderi(${x}, ${y})`,
  partials: [() => 1, ({ x: [x, y] }) => x.floorDivide(y).neg()],
  domain: [[0.2, 0.8], [1, 2]],
});

/** Conversion between element types; its transpose is the conversion back. */
export const cast: Elementwise = define({
  name: "cast",
  family: "elementwise",
  tex: ([x]) => `${x}`,
  texPartials: () => ["1"],
  infer: ([x], p) => ({ shape: x.shape, dtype: p.dtype }),
  host: (x) => x, // the store rounds
  wgsl: ([x], [from], p) => castWgsl(x, from, p.dtype),
  partials: [() => 1],
  domain: [BOTH],
  inputs: 1,
  flops: 0,
  vjp: (ct, { x: [x] }) => [isFloat(x.dtype) ? ct.to(x.dtype) : null],
  jvp: ([dx], { p }) => isFloat(p.dtype) ? apply(cast, [dx!], p) : null,
  batch: ([x], _, p) => apply(cast, [x], p),
});

function castWgsl(x: string, from: string, to: string): string {
  if (to === "bool") {
    return from === "bool"
      ? x
      : from === "i32"
      ? `(${x} != 0)`
      : from === "u32"
      ? `(${x} != 0u)`
      : `nef(${x}, 0.0)`;
  }
  if (to === "i32") return isFloat(from as DType) ? `wholef(${x})` : `i32(${x})`;
  if (to === "u32") return isFloat(from as DType) ? `u32(wholef(${x}))` : `u32(${x})`;
  return `f32(${x})`; // f16 is rounded by the store
}

// Inverse normal distribution function, Wichura (1988), AS 241, PPND7: about 1e-7 relative.
const A = [3.3871327179, 50.434271938, 159.29113202, 59.10937472];
const B = [1, 17.895169469, 78.757757664, 67.1875636];
const C = [1.4234372777, 2.75681539, 1.3067284816, 0.17023821103];
const D = [1, 0.7370016425, 0.12021132975];
const E = [6.657905115, 3.081226386, 0.42868294337, 0.017337203997];
const F = [1, 0.24197894225, 0.012258202635];
const polynomial = (c: number[], r: number): number => c.reduceRight((s, a) => s * r + a, 0);
const polynomialWgsl = (c: number[], r: string): string =>
  c.slice(0, -1).reduceRight((s, a) => `fma(${s}, ${r}, ${a.toFixed(12)})`, c[c.length - 1].toFixed(12));

/** Standard normal numbers from 24 random bits (centred, so that the ends stay finite). */
export const normalFromBits = elementwise({
  name: "normalFromBits",
  tex: ([x]) => `\\Phi^{-1}(${x})`,
  accepts: "integer",
  result: "f32",
  discrete: true,
  host: (bits) => {
    const u = ((bits >>> 8) + 0.5) * 2 ** -24, q = u - 0.5;
    if (Math.abs(q) <= 0.425) {
      const r = 0.180625 - q * q;
      return q * polynomial(A, r) / polynomial(B, r);
    }
    const r = Math.sqrt(-Math.log(q < 0 ? u : 1 - u));
    const z = r <= 5
      ? polynomial(C, r - 1.6) / polynomial(D, r - 1.6)
      : polynomial(E, r - 5) / polynomial(F, r - 5);
    return q < 0 ? -z : z;
  },
  wgsl: ([x]) => `normalFromBits(u32(${x}))`,
  partials: [null],
  domain: [[0, 4e9]],
  flops: 30,
});

/** WGSL of the same function, for the prelude of kernels. */
export const normalFromBitsWgsl = `
fn normalFromBits(bits: u32) -> f32 {
  let k = bits >> 8u;
  // q is exact in f32 and symmetric: k and 2^24 - 1 - k are mirror images.
  let q = (f32(i32(k) - 8388608) + 0.5) * 5.9604644775390625e-8;
  if (abs(q) <= 0.425) {
    let r = fma(-q, q, 0.180625);
    return q * (${polynomialWgsl(A, "r")}) / (${polynomialWgsl(B, "r")});
  }
  let tail = (f32(min(k, 16777215u - k)) + 0.5) * 5.9604644775390625e-8;
  let r = sqrt(-logf(tail));
  let c = r - 1.6; let e = r - 5.0;
  let z = select((${polynomialWgsl(E, "e")}) / (${polynomialWgsl(F, "e")}), (${polynomialWgsl(C, "c")}) / (${
  polynomialWgsl(D, "c")
}), r <= 5.0);
  return select(z, -z, q < 0.0);
}`;

/** Uniform numbers in [0, 1) from the top 24 of 32 random bits: every one is exact in f32. */
export const uniformFromBits = elementwise({
  name: "uniformFromBits",
  tex: ([x]) => `2^{-24} \\lfloor ${x} / 2^8 \\rfloor`,
  accepts: "integer",
  result: "f32",
  discrete: true,
  host: (bits) => (bits >>> 8) * 2 ** -24,
  wgsl: ([x]) => `(f32(u32(${x}) >> 8u) * 5.9604644775390625e-8)`,
  partials: [null],
  domain: [[0, 4e9]],
});
