/** Comparisons and logic: boolean results without derivatives. */
import { composite } from "../composite.ts";
import { elementwise } from "../families.ts";
import { isFloat } from "../dtype.ts";
import type { Elementwise } from "../primitive.ts";
import type { Tensor } from "../tensor.ts";

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

/** Whether the sign is minus, also that of -0. */
export const signbit = elementwise({
  name: "signbit",
  tex: ([x]) => `[${x} < 0]`,
  result: "bool",
  discrete: true,
  host: (x) => x < 0 || Object.is(x, -0) ? 1 : 0,
  wgsl: ([x], [dtype]) => isFloat(dtype) ? `signbitf(${x})` : dtype === "u32" ? "false" : `(${x} < 0)`,
  partials: [null],
  domain: BOTH,
});

const SPECIAL = [0, 1, Infinity, -Infinity, NaN, -3];

export const isinf = composite({
  name: "isinf",
  tex: ([x]) => `[|${x}| = \\infty]`,
  samples: [{ shapes: [[6]], call: (x) => x.isinf(), values: [SPECIAL] }],
}, (x: Tensor): Tensor => x.abs().eq(Infinity));

export const isposinf = composite({
  name: "isposinf",
  tex: ([x]) => `[${x} = \\infty]`,
  samples: [{ shapes: [[6]], call: (x) => x.isposinf(), values: [SPECIAL] }],
}, (x: Tensor): Tensor => x.eq(Infinity));

export const isneginf = composite({
  name: "isneginf",
  tex: ([x]) => `[${x} = -\\infty]`,
  samples: [{ shapes: [[6]], call: (x) => x.isneginf(), values: [SPECIAL] }],
}, (x: Tensor): Tensor => x.eq(-Infinity));

export const logicalXor = composite({
  name: "logicalXor",
  tex: ([x, y]) => `${x} \\ne ${y}`,
  samples: [
    { shapes: [[2, 3], [3]], call: (x, y) => x.logicalXor(y), dtypes: ["bool", "bool"] },
    { shapes: [[4], [4]], call: (x, y) => x.logicalXor(y), values: [[0, 1, 0, 2], [0, 3, 4, 0]] },
  ],
}, (x: Tensor, y: Tensor): Tensor => x.to("bool").ne(y.to("bool")));

/** |x - y| within atol + rtol |y|; equal infinities are close, NaN only where asked for. */
export const isclose = composite(
  {
    name: "isclose",
    tex: ([x, y]) => `[|${x} - ${y}| \\le a + r\\,|${y}|]`,
    samples: [
      {
        shapes: [[6], [6]],
        call: (x, y) => x.isclose(y),
        values: [SPECIAL, [0, 1.000001, ...SPECIAL.slice(2)]],
      },
      { shapes: [[2, 3], [3]], call: (x, y) => x.isclose(y, { rtol: 0, atol: 0.5 }) },
      { shapes: [[6], [6]], call: (x, y) => x.isclose(y, { equalNan: true }), values: [SPECIAL, SPECIAL] },
    ],
  },
  (x: Tensor, y: Tensor, rtol: number, atol: number, equalNan: boolean): Tensor => {
    const distance = x.sub(y).abs();
    const near = distance.le(y.abs().mul(rtol).add(atol)).logicalAnd(distance.isfinite());
    const close = x.eq(y).logicalOr(near);
    return equalNan ? close.logicalOr(x.isnan().logicalAnd(y.isnan())) : close;
  },
);
