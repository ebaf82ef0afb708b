/** Rounding, and division into whole quotients and remainders. */
import { composite } from "../composite.ts";
import { elementwise } from "../families.ts";
import { isFloat } from "../dtype.ts";
import type { Tensor } from "../tensor.ts";

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

/** The quotient less its remainder: x / y itself may round up to a whole number. */
function floorQuotient(x: number, y: number): number {
  if (y === 0) return x / y;
  const r = x % y, q = (x - r) / y - (r !== 0 && (y < 0) !== (r < 0) ? 1 : 0);
  return q === 0 ? 0 * x / y : Math.round(q);
}

/** Quotient rounded down, as in PyTorch; for whole numbers too, of which a quotient by 0 is 0 on every device. */
export const floorDivide = elementwise({
  name: "floorDivide",
  tex: ([x, y]) => `\\lfloor ${x} / ${y} \\rfloor`,
  texPartials: () => ["0", "0"],
  host: floorQuotient,
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

export const ceil = elementwise({
  name: "ceil",
  tex: ([x]) => `\\lceil ${x} \\rceil`,
  texPartials: () => ["0"],
  accepts: "float",
  host: Math.ceil,
  wgsl: ([x]) => `ceil(${x})`,
  partials: [null],
  domain: [0.2, 0.8],
});

export const trunc = elementwise({
  name: "trunc",
  tex: ([x]) => `\\operatorname{trunc} ${x}`,
  texPartials: () => ["0"],
  accepts: "float",
  host: Math.trunc,
  wgsl: ([x]) => `trunc(${x})`,
  partials: [null],
  domain: [0.2, 0.8],
});

export const frac = composite({
  name: "frac",
  tex: ([x]) => `${x} - \\operatorname{trunc} ${x}`,
  texPartials: () => ["1"],
  samples: [{ shapes: [[2, 3]], call: (x) => x.frac(), domain: [[0.2, 0.8]] }],
}, (x: Tensor): Tensor => x.sub(x.trunc()));

/** To a number of decimal places; a negative one rounds to powers of ten. */
export const roundDecimals = composite({
  name: "roundDecimals",
  call: "x.round(decimals)",
  tex: ([x]) => `10^{-d} \\lfloor 10^d\\,${x} \\rceil`,
  texPartials: () => ["0"],
  samples: [
    { shapes: [[2, 3]], call: (x) => x.round(1), domain: [[0.16, 0.24]] },
    { shapes: [[2, 3]], call: (x) => x.round(-1), domain: [[6, 14]] },
  ],
}, (x: Tensor, decimals: number): Tensor => {
  const scale = 10 ** Math.abs(decimals);
  return decimals > 0 ? x.mul(scale).round().div(scale) : x.div(scale).round().mul(scale);
});

/** Quotient rounded towards 0; of whole numbers by 0 it is 0 on every device. */
export const truncDivide = elementwise({
  name: "truncDivide",
  call: 'x.div(y, { rounding: "trunc" })',
  tex: ([x, y]) => `\\operatorname{trunc}(${x} / ${y})`,
  texPartials: () => ["0", "0"],
  host: (x, y) => Math.trunc(x / y),
  hostInteger: (x, y) => y === 0 ? 0 : Math.trunc(x / y),
  wgsl: ([x, y], [dtype]) =>
    isFloat(dtype)
      ? `truncdivf(${x}, ${y})`
      : dtype === "u32"
      ? `floordivu(${x}, ${y})`
      : `truncdivi(${x}, ${y})`,
  partials: [null, null],
  domain: [[0.2, 0.8], [1, 2]],
});

/** Remainder with the sign of the dividend; of whole numbers by 0 it is 0 on every device. */
export const fmod = elementwise({
  name: "fmod",
  tex: ([x, y]) => `\\operatorname{fmod}(${x}, ${y})`,
  texPartials: ([x, y]) => ["1", `-\\operatorname{trunc}(${x} / ${y})`],
  host: (x, y) => x % y,
  hostInteger: (x, y) => y === 0 ? 0 : x % y,
  wgsl: ([x, y], [dtype]) =>
    isFloat(dtype) ? `fmodf(${x}, ${y})` : dtype === "u32" ? `remainderu(${x}, ${y})` : `fmodi(${x}, ${y})`,
  partials: [() => 1, ({ x: [x, y] }) => x.div(y, { rounding: "trunc" }).neg()],
  domain: [[0.2, 0.8], [1, 2]],
});
