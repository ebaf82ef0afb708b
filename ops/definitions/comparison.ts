/** Comparisons and logic: boolean results without derivatives. */
import { elementwise } from "../families.ts";
import { isFloat } from "../dtype.ts";
import type { Elementwise } from "../primitive.ts";

const BOTH: [number, number] = [-2, 2];

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
