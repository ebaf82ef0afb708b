/** Norms of vectors and matrices, condition and rank. */
import { composite } from "../composite.ts";
import { eigh as eighTuple } from "../definitions/linalg/eigh.ts";
import { svdOf } from "../definitions/linalg/svd.ts";
import { tupleOutputs } from "../definitions/structural.ts";
import { normalizeAxis, showShape } from "../shape.ts";
import { checkOptions, type Tensor } from "../tensor.ts";
import { inv } from "./solve.ts";
import { limitOf, onMatrices, PIVOTS, sample, type ToleranceOptions } from "./support.ts";

/** Orders of matrix norms: Frobenius, nuclear, by singular values (2, -2), columns (1, -1) or rows (infinite). */
export type MatrixOrder = "fro" | "nuc" | 1 | -1 | 2 | -2 | number;

/** Options of `vectorNorm`. */
export interface VectorNormOptions {
  /** Any number, or infinity; default 2. */
  ord?: number;
  /** Default: all, as one vector. */
  axes?: number | readonly number[];
  /** Keep the reduced axes with length 1. */
  keepdim?: boolean;
}

/** The norm `(sum |x|^ord)^(1/ord)` over axes; 0 counts what is not 0, infinite orders are the largest and smallest. */
export const vectorNorm: (x: Tensor, options?: VectorNormOptions) => Tensor = composite(
  {
    name: "linalg.vectorNorm",
    tex: ([x]) => `\\lVert ${x} \\rVert_p`,
    texPartials: ([x], f) => [`\\operatorname{sign}(${x})\\,(|${x}| / ${f})^{p - 1}`],
    samples: [
      {
        shapes: [[2, 3]],
        call: (x) => vectorNorm(x),
        notSpecial: "squares of large numbers overflow in single",
      },
      {
        shapes: [[2, 3]],
        call: (x) => vectorNorm(x, { ord: 3, axes: 1 }),
        notSpecial: "cubes of large numbers overflow in single",
      },
      { shapes: [[2, 3]], call: (x) => vectorNorm(x, { ord: -Infinity, axes: [0, 1], keepdim: true }) },
    ],
  },
  onMatrices("vectorNorm", ["tensor"], (x: Tensor, options: VectorNormOptions = {}) => {
    checkOptions("vectorNorm", options, ["ord", "axes", "keepdim"]);
    const { ord = 2, axes, keepdim = false } = options;
    return x.norm(axes, { p: ord, keepdim });
  }),
);

/** Options of `matrixNorm`. */
export interface MatrixNormOptions {
  /** Default "fro". */
  ord?: MatrixOrder;
  /** Rows and columns; default the last two. */
  axes?: readonly number[];
  /** Keep the reduced axes with length 1. */
  keepdim?: boolean;
}

/** The norm of matrices: "fro", "nuc" (sum of singular values), 2, -2 (largest, smallest), 1, -1 (columns), infinite (rows). */
export const matrixNorm: (a: Tensor, options?: MatrixNormOptions) => Tensor = composite(
  {
    name: "linalg.matrixNorm",
    tex: ([a]) => `\\lVert ${a} \\rVert`,
    texPartials: ([x], f) => [`\\frac{${x}}{${f}} \\quad (p = 2)`],
    samples: [
      ...(["nuc", 2, -2] as const).map((ord) => sample([2, 3, 3], (a) => matrixNorm(a, { ord }))),
      ...([1, -1, Infinity, -Infinity] as const).map((ord) => ({
        shapes: [[2, 3, 2]],
        call: (a: Tensor) => matrixNorm(a, { ord, axes: [0, 2], keepdim: true }),
      })),
      {
        shapes: [[3, 2]],
        call: (a) => matrixNorm(a),
        notSpecial: "squares of large numbers overflow in single",
      },
    ],
  },
  onMatrices("matrixNorm", ["matrix"], (a: Tensor, options: MatrixNormOptions = {}) => {
    checkOptions("matrixNorm", options, ["ord", "axes", "keepdim"]);
    const { ord = "fro", axes = [-2, -1], keepdim = false } = options;
    const at = axes.map((axis) => normalizeAxis("matrixNorm", axis, a.rank));
    if (at.length !== 2 || at[0] === at[1]) {
      throw new RangeError(`Cannot matrixNorm over axes [${axes}]: rows and columns are two different axes`);
    }
    if (ord === "fro") return a.norm(at, { keepdim });
    const others = a.shape.map((_, i) => i).filter((i) => !at.includes(i));
    const m = a.permute([...others, ...at]); // [..., rows, columns]
    let y: Tensor;
    if (ord === "nuc") y = svdOf(m)[1].sum(-1);
    else if (ord === 2) y = svdOf(m)[1].amax(-1);
    else if (ord === -2) y = svdOf(m)[1].amin(-1);
    else if (ord === 1) y = m.abs().sum(-2).amax(-1);
    else if (ord === -1) y = m.abs().sum(-2).amin(-1);
    else if (ord === Infinity) y = m.abs().sum(-1).amax(-1);
    else if (ord === -Infinity) y = m.abs().sum(-1).amin(-1);
    else {
      throw new RangeError(
        `Cannot matrixNorm of order ${
          String(ord)
        }: orders are "fro", "nuc", 1, -1, 2, -2, Infinity and -Infinity`,
      );
    }
    return keepdim ? y.reshape(a.shape.map((n, i) => at.includes(i) ? 1 : n)) : y;
  }),
);

/** Options of `norm`. */
export interface LinalgNormOptions {
  /** A number, "fro" or "nuc"; default 2 for vectors and "fro" for matrices. */
  ord?: MatrixOrder;
  /** One axis for vectors, two for matrices; default all. */
  axes?: number | readonly number[];
  /** Keep the reduced axes with length 1. */
  keepdim?: boolean;
}

/** `matrixNorm` over two axes and `vectorNorm` over one; without `ord` the Euclidean norm over all axes. */
export const norm: (x: Tensor, options?: LinalgNormOptions) => Tensor = composite(
  {
    name: "linalg.norm",
    tex: ([x]) => `\\lVert ${x} \\rVert`,
    texPartials: ([x], f) => [`\\frac{${x}}{${f}} \\quad (p = 2)`],
    samples: [
      { shapes: [[2, 3]], call: (x) => norm(x, { ord: 1 }) },
      { shapes: [[2, 3]], call: (x) => norm(x, { ord: 1, axes: 1 }) },
      sample([3, 3], (a) => norm(a, { ord: 2 })),
    ],
  },
  onMatrices("norm", ["tensor"], (x: Tensor, options: LinalgNormOptions = {}) => {
    checkOptions("norm", options, ["ord", "axes", "keepdim"]);
    const { ord, axes, keepdim = false } = options;
    const list = axes === undefined ? undefined : typeof axes === "number" ? [axes] : axes;
    if (ord === undefined) return x.norm(list, { keepdim });
    const count = list?.length ?? x.rank;
    if (count === 2) {
      return matrixNorm(x, list === undefined ? { ord, keepdim } : { ord, axes: list, keepdim });
    }
    if (count > 2 || typeof ord !== "number") {
      throw new RangeError(
        `Cannot norm ${showShape(x.shape)} of order ${String(ord)} over ${count} axes: ` +
          `numbers are orders of vectors and matrices, "fro" and "nuc" of matrices; give { axes }`,
      );
    }
    return x.norm(list, { p: ord, keepdim });
  }),
);

/** The condition number `|a| |a^-1|` in a norm: of singular values by default. */
export const cond: (a: Tensor, options?: { p?: MatrixOrder }) => Tensor = composite(
  {
    name: "linalg.cond",
    tex: ([a]) => `\\kappa(${a})`,
    samples: [
      sample([2, 3, 3], (a) => cond(a)),
      sample([4, 2], (a) => cond(a, { p: -2 })),
      sample([3, 3], (a) => cond(a, { p: 1 })),
    ],
  },
  onMatrices("cond", ["matrix"], (a: Tensor, options: { p?: MatrixOrder } = {}) => {
    checkOptions("cond", options, ["p"]);
    const { p = 2 } = options;
    if (p === 2 || p === -2) {
      const s = svdOf(a)[1];
      return p === 2 ? s.amax(-1).div(s.amin(-1)) : s.amin(-1).div(s.amax(-1));
    }
    return matrixNorm(a, { ord: p }).mul(matrixNorm(inv(a), { ord: p }));
  }),
);

/** How many singular values (eigenvalues in magnitude with `hermitian`) exceed `max(atol, rtol * largest)`; i32. */
export const matrixRank: (a: Tensor, options?: ToleranceOptions) => Tensor = composite(
  {
    name: "linalg.matrixRank",
    tex: ([a]) => `\\operatorname{rank} ${a}`,
    samples: [{ shapes: [[2, 3, 3]], call: (a) => matrixRank(a), differences: false, notSpecial: PIVOTS }],
  },
  onMatrices("matrixRank", ["matrix"], (a: Tensor, options: ToleranceOptions = {}) => {
    checkOptions("matrixRank", options, ["atol", "rtol", "hermitian"]);
    const value = a.stopGradient();
    const s = options.hermitian ? tupleOutputs(eighTuple, [value], null)[0].abs() : svdOf(value)[1];
    return s.size === 0 ? s.to("i32").sum(-1) : s.gt(limitOf(a, s, options)).to("i32").sum(-1);
  }),
);
