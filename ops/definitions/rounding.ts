/** Rounding, and division into whole quotients and remainders. */
import { elementwise } from "../families.ts";
import { isFloat } from "../dtype.ts";

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
