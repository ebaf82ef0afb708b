/** Linear systems, inverses, determinants and functions of matrices. */
import { composite } from "../composite.ts";
import { eyeLike, scaleColumns } from "../definitions/linalg/common.ts";
import { eigh as eighTuple } from "../definitions/linalg/eigh.ts";
import { exponential } from "../definitions/linalg/exponential.ts";
import { factorsOf, slogdetOf, solve as solveTuple, solveWith } from "../definitions/linalg/lu.ts";
import { detOf, pinv as pinvTuple, svdOf } from "../definitions/linalg/svd.ts";
import { triangularSolve } from "../definitions/linalg/triangular.ts";
import { tupleOutputs } from "../definitions/structural.ts";
import { normalizeAxis, sameShape, showShape, sizeOf } from "../shape.ts";
import { checkOptions, type Tensor } from "../tensor.ts";
import type { ToleranceOptions } from "./support.ts";
import { dominant, limitOf, onMatrices, PIVOTS, sameRows, sample, symmetricOf, together } from "./support.ts";

/** Options of `solveTriangular`. */
export interface SolveTriangularOptions {
  /** Whether the matrix is upper triangular; the other triangle is not read. */
  upper: boolean;
  /** Solve `a x = b` (default) or `x a = b`. */
  left?: boolean;
  /** Take ones for the diagonal. */
  unitriangular?: boolean;
}

/** `x` with `a x = b` for triangular a `[..., N, N]` and b `[..., N, K]`; infinite or NaN where the diagonal is 0. */
export const solveTriangular: (a: Tensor, b: Tensor, options: SolveTriangularOptions) => Tensor = composite(
  {
    name: "linalg.solveTriangular",
    tex: ([a, b]) => `{${a}}^{-1} ${b}`,
    texPullbacks: (
      [a],
      f,
    ) => [`-\\operatorname{tri}({${a}}^{-\\top} \\bar{${f}}\\,{${f}}^\\top)`, `{${a}}^{-\\top} \\bar{${f}}`],
    samples: [
      { upper: true },
      { upper: false, left: false },
      { upper: true, unitriangular: true },
    ].map((options) => ({
      shapes: [[2, 3, 3], [3, 3]],
      call: (a: Tensor, b: Tensor) => solveTriangular(dominant(a), b, options),
      notSpecial: "quotients of infinities come in another order",
    })),
  },
  onMatrices(
    "solveTriangular",
    ["square", "matrix"],
    (a: Tensor, b: Tensor, options: SolveTriangularOptions) => {
      checkOptions("solveTriangular", options, ["upper", "left", "unitriangular"]);
      const { upper, left = true, unitriangular = false } = options;
      if (typeof upper !== "boolean") {
        throw new TypeError(
          `Cannot solveTriangular without { upper }: say whether the matrix is upper triangular`,
        );
      }
      // x a = b is a^T x^T = b^T.
      const [f, y] = left ? together("solveTriangular", a, b) : together("solveTriangular", a.mT(), b.mT());
      sameRows("solveTriangular", f, y);
      const x = triangularSolve(f, y, upper === left, unitriangular);
      return left ? x : x.mT();
    },
  ),
);

/** Options of `solve`. */
export interface SolveOptions {
  /** Solve `a x = b` (default) or `x a = b`. */
  left?: boolean;
}

function solution(action: string, check: string | null, a: Tensor, b: Tensor, options: SolveOptions): Tensor {
  checkOptions(action, options, ["left"]);
  const { left = true } = options;
  const vector = b.rank === 1 || (b.rank === a.rank - 1 && sameShape(b.shape, a.shape.slice(0, -1)));
  const column = vector ? b.unsqueeze(-1) : left ? b : b.mT();
  const [f, y] = together(action, a, column);
  sameRows(action, f, y);
  const x = solveWith(f, y, check, !left);
  return vector ? x.squeeze(-1) : left ? x : x.mT();
}

/** 0, or 1 + the place of the first pivot that is exactly 0. */
function infoOf(lu: Tensor): Tensor {
  const zero = lu.diagonal().eq(0);
  if (zero.shape[zero.rank - 1] === 0) return zero.to("i32").sum(-1);
  return zero.to("i32").argmax(-1).add(1).where(zero.any(-1), 0);
}

/**
 * `x` with `a x = b` for square matrices `[..., N, N]` and b `[..., N, K]` or vectors `[..., N]`. An exactly singular
 * matrix is an error that names it.
 */
export const solve: (a: Tensor, b: Tensor, options?: SolveOptions) => Tensor = composite(
  {
    name: "linalg.solve",
    tex: ([a, b]) => `{${a}}^{-1} ${b}`,
    texPullbacks: ([a], f) => [`-{${a}}^{-\\top} \\bar{${f}}\\,{${f}}^\\top`, `{${a}}^{-\\top} \\bar{${f}}`],
    samples: [
      { ...sample([], (a) => a), shapes: [[2, 3, 3], [3, 2]], call: (a, b) => solve(dominant(a), b) },
      { ...sample([], (a) => a), shapes: [[3, 3], [3]], call: (a, b) => solve(dominant(a), b) },
      {
        ...sample([], (a) => a),
        shapes: [[3, 3], [2, 3]],
        call: (a, b) => solve(dominant(a), b, { left: false }),
      },
    ],
  },
  onMatrices(
    "solve",
    ["square", "tensor"],
    (a: Tensor, b: Tensor, options: SolveOptions = {}) => solution("solve", "solve", a, b, options),
  ),
);

/** `solve` without error: `info` is 0, or 1 + the place of the first pivot that is exactly 0. */
export const solveEx: (a: Tensor, b: Tensor, options?: SolveOptions) => { result: Tensor; info: Tensor } =
  composite(
    {
      name: "linalg.solveEx",
      tex: ([a, b]) => `{${a}}^{-1} ${b}`,
      texPullbacks: (
        [a],
        f,
      ) => [`-{${a}}^{-\\top} \\bar{${f}}\\,{${f}}^\\top`, `{${a}}^{-\\top} \\bar{${f}}`],
      samples: [{
        ...sample([], (a) => a),
        shapes: [[3, 3], [3]],
        call: (a, b) => solveEx(dominant(a), b).result,
      }],
    },
    onMatrices("solveEx", ["square", "tensor"], (a: Tensor, b: Tensor, options: SolveOptions = {}) => ({
      result: solution("solveEx", null, a, b, options),
      info: infoOf(factorsOf(a, null)[0]),
    })),
  );

/** The inverse of square matrices `[..., N, N]`; an exactly singular one is an error that names it. */
export const inv: (a: Tensor) => Tensor = composite(
  {
    name: "linalg.inv",
    tex: ([a]) => `{${a}}^{-1}`,
    texPullbacks: (_, f) => [`-{${f}}^\\top \\bar{${f}}\\,{${f}}^\\top`],
    samples: [sample([3, 3], (a) => inv(a)), sample([2, 2, 2], (a) => inv(a))],
  },
  onMatrices("inv", ["square"], (a: Tensor) => solveWith(a, eyeLike(a, a.shape[a.rank - 1]), "inv")),
);

/** `inv` without error: `info` is 0, or 1 + the place of the first pivot that is exactly 0. */
export const invEx: (a: Tensor) => { inverse: Tensor; info: Tensor } = composite(
  {
    name: "linalg.invEx",
    tex: ([a]) => `{${a}}^{-1}`,
    texPullbacks: (_, f) => [`-{${f}}^\\top \\bar{${f}}\\,{${f}}^\\top`],
    samples: [sample([3, 3], (a) => invEx(a).inverse)],
  },
  onMatrices("invEx", ["square"], (a: Tensor) => {
    const [lu, order] = factorsOf(a, null);
    const eye = eyeLike(a, a.shape[a.rank - 1]);
    return {
      inverse: tupleOutputs(solveTuple, [a, eye, lu, order], { transposed: false })[0],
      info: infoOf(lu),
    };
  }),
);

/** The determinant; its gradient is the matrix of cofactors, which is finite at singular matrices too. */
export const det: (a: Tensor) => Tensor = composite(
  {
    name: "linalg.det",
    tex: ([a]) => `\\det ${a}`,
    texPartials: ([a]) => [`\\operatorname{cof} ${a} = \\det(${a})\\,{${a}}^{-\\top}`],
    samples: [sample([2, 3, 3], (a) => det(a))],
  },
  onMatrices("det", ["square"], detOf),
);

/** Sign and `ln |det a|`; 0 and -infinity for a singular matrix. */
export const slogdet: (a: Tensor) => { sign: Tensor; logabsdet: Tensor } = composite(
  {
    name: "linalg.slogdet",
    tex: ([a]) => `\\ln |\\det ${a}|`,
    texPartials: ([a]) => [`{${a}}^{-\\top}`],
    samples: [sample([2, 3, 3], (a) => slogdet(a).logabsdet)],
  },
  onMatrices("slogdet", ["square"], (a: Tensor) => {
    const [sign, logabsdet] = slogdetOf(a);
    return { sign, logabsdet };
  }),
);

/** `ln det a`; NaN where the determinant is negative, -infinity where it is 0. */
export const logdet: (a: Tensor) => Tensor = composite(
  {
    name: "linalg.logdet",
    tex: ([a]) => `\\ln \\det ${a}`,
    texPartials: ([a]) => [`{${a}}^{-\\top}`],
    samples: [sample([2, 3, 3], (a) => logdet(a))],
  },
  onMatrices("logdet", ["square"], (a: Tensor) => {
    const [sign, logabsdet] = slogdetOf(a);
    return logabsdet.maskedFill(sign.eq(-1), NaN);
  }),
);

/**
 * The pseudoinverse of Moore and Penrose, `[..., N, M]` for `[..., M, N]`: singular values at or below
 * `max(atol, rtol * largest)` count as 0. Its derivative holds where the rank stays (Golub and Pereyra 1973).
 */
export const pinv: (a: Tensor, options?: ToleranceOptions) => Tensor = composite(
  {
    name: "linalg.pinv",
    tex: ([a]) => `{${a}}^+`,
    texPullbacks: (
      [a],
      f,
    ) => [
      `-{${f}}^\\top \\bar{${f}}\\,{${f}}^\\top + (1 - ${a}\\,${f})\\,\\bar{${f}}^\\top ${f}\\,{${f}}^\\top + {${f}}^\\top ${f}\\,\\bar{${f}}^\\top (1 - ${f}\\,${a})`,
    ],
    samples: [
      sample([2, 3, 3], (a) => pinv(a)),
      sample([4, 2], (a) => pinv(a)),
      sample([3, 3], (a) => pinv(a, { hermitian: true }), symmetricOf),
      // Of rank 1, also once the product is rounded to 16 bits.
      {
        ...sample([], (a) => a),
        shapes: [[3, 1], [1, 4]],
        domain: [[0.5, 2], [0.5, 2]],
        call: (u, v) => pinv(u.matmul(v), { rtol: 0.05 }),
      },
    ],
  },
  onMatrices("pinv", ["matrix"], (a: Tensor, options: ToleranceOptions = {}) => {
    checkOptions("pinv", options, ["atol", "rtol", "hermitian"]);
    if (a.size === 0) return a.mT();
    const value = a.stopGradient();
    let u: Tensor, s: Tensor, v: Tensor;
    if (options.hermitian) {
      [s, v] = tupleOutputs(eighTuple, [value], null);
      u = v;
    } else [u, s, v] = svdOf(value);
    const kept = s.abs().gt(limitOf(a, s.abs(), options));
    const inverses = s.where(kept, 1).reciprocal().where(kept, 0);
    return tupleOutputs(pinvTuple, [a, scaleColumns(v, inverses).matmul(u.mT())], null)[0];
  }),
);

/** What `lstsq` gives. */
export interface LeastSquares {
  /** `[..., N, K]`, of least norm where there are several. */
  solution: Tensor;
  /** Sums of squares `[..., K]` of `a x - b`; empty unless M > N. */
  residuals: Tensor;
  /** `[...]`, i32. */
  rank: Tensor;
  /** `[..., min(M, N)]`, descending. */
  singularValues: Tensor;
}

/** `x` that makes `|a x - b|` least, of a `[..., M, N]` and b `[..., M, K]` or vectors; as PyTorch's driver gelsd. */
export const lstsq: (a: Tensor, b: Tensor, options?: { rcond?: number }) => LeastSquares = composite(
  {
    name: "linalg.lstsq",
    tex: ([a, b]) => `{${a}}^+ ${b}`,
    samples: [
      {
        shapes: [[4, 2], [4, 3]],
        slack: 10,
        notSpecial: PIVOTS,
        call: (a, b) => lstsq(dominant(a), b).solution,
      },
      {
        shapes: [[2, 2, 3], [2, 2, 1]],
        slack: 10,
        notSpecial: PIVOTS,
        call: (a, b) => lstsq(dominant(a), b).solution,
      },
      {
        shapes: [[4, 2], [4, 3]],
        slack: 10,
        notSpecial: PIVOTS,
        call: (a, b) => lstsq(dominant(a), b).residuals,
      },
    ],
  },
  onMatrices("lstsq", ["matrix", "tensor"], (a: Tensor, b: Tensor, options: { rcond?: number } = {}) => {
    checkOptions("lstsq", options, ["rcond"]);
    const [M, N] = a.shape.slice(-2);
    const vector = b.rank === a.rank - 1 && sameShape(b.shape, a.shape.slice(0, -1));
    const [f, y] = together("lstsq", a, vector ? b.unsqueeze(-1) : b.rank < 2 ? b.unsqueeze(-1) : b);
    if (y.shape[y.rank - 2] !== M) {
      throw new RangeError(
        `Cannot lstsq with matrices ${showShape(a.shape)} and right sides ${
          showShape(b.shape)
        }: both must have the same number of rows`,
      );
    }
    const tolerance = options.rcond === undefined ? {} : { rtol: options.rcond };
    const x = pinv(f, tolerance).matmul(y), s = svdOf(f)[1];
    const residuals = M > N ? f.matmul(x).sub(y).square().sum(-2) : a.scalarLike(0).expand([0]);
    const rank = s.size === 0
      ? s.to("i32").sum(-1)
      : s.stopGradient().gt(limitOf(f, s.stopGradient(), tolerance)).to("i32").sum(-1);
    const plain = vector || b.rank < 2;
    return {
      solution: plain ? x.squeeze(-1) : x,
      residuals: plain && M > N ? residuals.squeeze(-1) : residuals,
      rank,
      singularValues: s,
    };
  }),
);

/** The n-th power of square matrices for whole n, by squaring; negative ones are powers of the inverse. */
export const matrixPower: (a: Tensor, n: number) => Tensor = composite(
  {
    name: "linalg.matrixPower",
    tex: ([a]) => `{${a}}^n`,
    texPullbacks: ([a], f) => [`\\sum_{i < n} ({${a}}^\\top)^i \\bar{${f}}\\,({${a}}^\\top)^{n - 1 - i}`],
    samples: [
      sample([2, 2, 2], (a) => matrixPower(a, 5), (x) => x, {
        notSpecial: "powers of infinities come in another order",
      }),
      sample([3, 3], (a) => matrixPower(a, -2)),
      sample([2, 2], (a) => matrixPower(a, 0)),
    ],
  },
  onMatrices("matrixPower", ["square"], (a: Tensor, n: number) => {
    if (!Number.isInteger(n)) throw new RangeError(`Cannot matrixPower by ${n}: the power is a whole number`);
    if (n === 0) return a.zerosLike().add(eyeLike(a, a.shape[a.rank - 1]));
    let square = n < 0 ? inv(a) : a, y: Tensor | null = null;
    for (let left = Math.abs(n);;) {
      if (left % 2 === 1) y = y === null ? square : y.matmul(square);
      left = Math.floor(left / 2);
      if (left === 0) return y!;
      square = square.matmul(square);
    }
  }),
);

/** `e^a` of square matrices. */
export const matrixExp: (a: Tensor) => Tensor = composite(
  {
    name: "linalg.matrixExp",
    tex: ([a]) => `e^{${a}}`,
    texPullbacks: ([a], f) => [`\\int_0^1 e^{s {${a}}^\\top} \\bar{${f}}\\,e^{(1 - s) {${a}}^\\top} ds`],
    samples: [sample([2, 3, 3], (a) => matrixExp(a), (x) => x)],
  },
  onMatrices("matrixExp", ["square"], exponential),
);

/** The inverse of a tensor taken for a matrix, whose rows are the first `ind` axes. */
export const tensorinv: (a: Tensor, ind?: number) => Tensor = composite(
  {
    name: "linalg.tensorinv",
    tex: ([a]) => `{${a}}^{-1}`,
    texPullbacks: (_, f) => [`-{${f}}^\\top \\bar{${f}}\\,{${f}}^\\top`],
    samples: [{
      ...sample([], (a) => a),
      shapes: [[2, 2, 4]],
      call: (x) => tensorinv(dominant(x.reshape([4, 4])).reshape([2, 2, 4])),
    }],
  },
  onMatrices("tensorinv", ["tensor"], (a: Tensor, ind = 2) => {
    if (!Number.isInteger(ind) || ind < 1) {
      throw new RangeError(`Cannot tensorinv with ${ind} axes for rows: give a whole number above 0`);
    }
    const rows = a.shape.slice(0, ind), columns = a.shape.slice(ind);
    if (sizeOf(rows) !== sizeOf(columns)) {
      throw new RangeError(
        `Cannot tensorinv shape ${showShape(a.shape)} with ${ind} axes for rows: there are ${
          sizeOf(rows)
        } rows and ${sizeOf(columns)} columns, which must be equal`,
      );
    }
    return inv(a.reshape([sizeOf(rows), sizeOf(columns)])).reshape([...columns, ...rows]);
  }),
);

/** `x` with `tensordot(a, x, x.rank) = b`; `axes` of a are moved to its end first. */
export const tensorsolve: (a: Tensor, b: Tensor, options?: { axes?: readonly number[] }) => Tensor =
  composite(
    {
      name: "linalg.tensorsolve",
      tex: ([a, b]) => `{${a}}^{-1} ${b}`,
      texPullbacks: (
        [a],
        f,
      ) => [`-{${a}}^{-\\top} \\bar{${f}}\\,{${f}}^\\top`, `{${a}}^{-\\top} \\bar{${f}}`],
      samples: [{
        ...sample([], (a) => a),
        shapes: [[4, 4], [2, 2]],
        call: (a, b) => tensorsolve(dominant(a).reshape([2, 2, 4]), b),
      }],
    },
    onMatrices(
      "tensorsolve",
      ["tensor", "tensor"],
      (a: Tensor, b: Tensor, options: { axes?: readonly number[] } = {}) => {
        checkOptions("tensorsolve", options, ["axes"]);
        const last = (options.axes ?? []).map((axis) => normalizeAxis("tensorsolve", axis, a.rank));
        const moved = a.permute([...a.shape.map((_, i) => i).filter((i) => !last.includes(i)), ...last]);
        const shape = moved.shape.slice(b.rank);
        if (sizeOf(shape) !== b.size || moved.size !== b.size * b.size) {
          throw new RangeError(
            `Cannot tensorsolve shapes ${showShape(a.shape)} and ${
              showShape(b.shape)
            }: there are ${b.size} equations and ${sizeOf(shape)} unknowns, which must be equal`,
          );
        }
        return solution(
          "tensorsolve",
          "tensorsolve",
          moved.reshape([b.size, b.size]),
          b.reshape([b.size]),
          {},
        )
          .reshape(shape);
      },
    ),
  );
