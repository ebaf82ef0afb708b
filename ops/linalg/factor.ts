/** Factorizations: Cholesky, LU, QR, eigenvalues, singular values. */
import { composite } from "../composite.ts";
import { cat } from "../definitions/indexing.ts";
import { diagonalMatrix, eyeLike } from "../definitions/linalg/common.ts";
import { eigh as eighTuple } from "../definitions/linalg/eigh.ts";
import { inverseOrder, luFactor as luTuple, rowOrder, rowsOf } from "../definitions/linalg/lu.ts";
import { qr as qrTuple } from "../definitions/linalg/qr.ts";
import { svdOf } from "../definitions/linalg/svd.ts";
import { cholesky as choleskyTuple, triangularSolve } from "../definitions/linalg/triangular.ts";
import { tupleOutputs } from "../definitions/structural.ts";
import { apply } from "../node.ts";
import { showShape } from "../shape.ts";
import { asTensor, checkOptions, type Tensor } from "../tensor.ts";
import { dominant, onMatrices, positive, sameRows, sample, symmetricOf, together } from "./support.ts";

/** Which triangle a function reads or returns. */
export interface TriangleOptions {
  /** The upper triangle; default the lower one. */
  upper?: boolean;
}

const UPPER = ["upper"];

/** 1 + the first place where `bad` holds along the last axis, 0 where there is none. */
function firstOf(bad: Tensor): Tensor {
  if (bad.shape[bad.rank - 1] === 0) return bad.to("i32").sum(-1);
  return bad.to("i32").argmax(-1).add(1).where(bad.any(-1), 0);
}

function choleskyWith(a: Tensor, upper: boolean, check: string | null): Tensor {
  return upper
    ? tupleOutputs(choleskyTuple, [a.mT()], { check })[0].mT()
    : tupleOutputs(choleskyTuple, [a], { check })[0];
}

/**
 * The Cholesky factor of positive definite matrices `[..., N, N]`: lower L with `a = L L^T`, or with `{ upper: true }`
 * its transpose. Only one triangle is read; derivatives take the matrix for symmetric (Murray 2016). A matrix that is
 * not positive definite is an error that names its first bad leading minor.
 */
export const cholesky: (a: Tensor, options?: TriangleOptions) => Tensor = composite(
  {
    name: "linalg.cholesky",
    tex: ([a]) => `\\operatorname{chol} ${a}`,
    texPullbacks: (_, f) => [`{${f}}^{-\\top} \\Phi({${f}}^\\top \\bar{${f}})\\,{${f}}^{-1}`],
    samples: [
      sample([2, 3, 3], (a) => cholesky(a), positive),
      sample([3, 3], (a) => cholesky(a, { upper: true }), positive),
    ],
  },
  onMatrices("cholesky", ["square"], (a: Tensor, options: TriangleOptions = {}): Tensor => {
    checkOptions("cholesky", options, UPPER);
    return choleskyWith(a, options.upper ?? false, "cholesky");
  }),
);

/** `cholesky` without error: `info` is 0, or the order of the first leading minor that is not positive; L is NaN there. */
export const choleskyEx: (a: Tensor, options?: TriangleOptions) => { L: Tensor; info: Tensor } = composite(
  {
    name: "linalg.choleskyEx",
    tex: ([a]) => `\\operatorname{chol} ${a}`,
    texPullbacks: (_, f) => [`{${f}}^{-\\top} \\Phi({${f}}^\\top \\bar{${f}})\\,{${f}}^{-1}`],
    samples: [sample([2, 3, 3], (a) => choleskyEx(a).L, positive)],
  },
  onMatrices("choleskyEx", ["square"], (a: Tensor, options: TriangleOptions = {}) => {
    checkOptions("choleskyEx", options, UPPER);
    const L = choleskyWith(a, options.upper ?? false, null);
    return { L, info: firstOf(L.stopGradient().diagonal().isnan()) };
  }),
);

/** `(L L^T)^-1 b` of a Cholesky factor `[..., N, N]` and b `[..., N, K]`. */
export const choleskySolve: (b: Tensor, L: Tensor, options?: TriangleOptions) => Tensor = composite(
  {
    name: "linalg.choleskySolve",
    tex: ([b, l]) => `(${l}\\,{${l}}^\\top)^{-1} ${b}`,
    texPullbacks: (
      [, l],
      f,
    ) => [
      `(${l}\\,{${l}}^\\top)^{-1} \\bar{${f}}`,
      `-(G + G^\\top)\\,${l}, \\; G = (${l}\\,{${l}}^\\top)^{-1} \\bar{${f}}\\,{${f}}^\\top`,
    ],
    samples: [{
      ...sample([2, 3, 3], (a) => a),
      shapes: [[3, 2], [2, 3, 3]],
      call: (b, a) => choleskySolve(b, dominant(a)),
    }],
  },
  onMatrices("choleskySolve", ["matrix", "square"], (b: Tensor, l: Tensor, options: TriangleOptions = {}) => {
    checkOptions("choleskySolve", options, UPPER);
    const [factor, right] = together("choleskySolve", options.upper ? l.mT() : l, b);
    sameRows("choleskySolve", factor, right);
    return triangularSolve(factor.mT(), triangularSolve(factor, right, false), true);
  }),
);

/** `(L L^T)^-1` of a Cholesky factor. */
export const choleskyInverse: (L: Tensor, options?: TriangleOptions) => Tensor = composite(
  {
    name: "linalg.choleskyInverse",
    tex: ([l]) => `(${l}\\,{${l}}^\\top)^{-1}`,
    texPullbacks: ([l], f) => [`-${f}\\,(\\bar{${f}} + \\bar{${f}}^\\top)\\,${f}\\,${l}`],
    samples: [sample([2, 3, 3], (a) => choleskyInverse(a))],
  },
  onMatrices(
    "choleskyInverse",
    ["square"],
    (l: Tensor, options: TriangleOptions = {}) => choleskySolve(eyeLike(l, l.shape[l.rank - 1]), l, options),
  ),
);

/** LU factors, packed: L below its diagonal of ones, U above; and LAPACK's pivots, counted from 1. */
export interface LUFactors {
  /** `[..., M, N]`. */
  LU: Tensor;
  /** Row i was exchanged with row `pivots[i]`, for i = 1, 2 ... in turn. */
  pivots: Tensor;
}

function factorWith(a: Tensor): LUFactors {
  const [LU, pivots] = tupleOutputs(luTuple, [a], { check: null });
  return { LU, pivots };
}

/** LU factors with partial pivoting of matrices `[..., M, N]`, for `luSolve` and `luUnpack`. */
export const luFactor: (a: Tensor) => LUFactors = composite(
  {
    name: "linalg.luFactor",
    tex: ([a]) => `\\operatorname{lu} ${a}`,
    texPullbacks: () => [
      "P\\,L^{-\\top} (\\operatorname{tril}_{-1}(L^\\top \\bar{L}) + \\operatorname{triu}(\\bar{U}\\,U^\\top))\\,U^{-\\top}",
    ],
    samples: [sample([2, 3, 3], (a) => luFactor(a).LU)],
  },
  onMatrices("luFactor", ["matrix"], factorWith),
);

/** `luFactor` with `info`: 0, or 1 + the place of the first pivot that is exactly 0. */
export const luFactorEx: (a: Tensor) => LUFactors & { info: Tensor } = composite(
  {
    name: "linalg.luFactorEx",
    tex: ([a]) => `\\operatorname{lu} ${a}`,
    texPullbacks: () => [
      "P\\,L^{-\\top} (\\operatorname{tril}_{-1}(L^\\top \\bar{L}) + \\operatorname{triu}(\\bar{U}\\,U^\\top))\\,U^{-\\top}",
    ],
    samples: [sample([3, 2], (a) => luFactorEx(a).LU)],
  },
  onMatrices("luFactorEx", ["matrix"], (a: Tensor) => {
    const factors = factorWith(a);
    return { ...factors, info: firstOf(factors.LU.stopGradient().diagonal().eq(0)) };
  }),
);

/** P, L and U of packed factors. */
export const luUnpack: (LU: Tensor, pivots: Tensor) => { P: Tensor; L: Tensor; U: Tensor } = composite(
  {
    name: "linalg.luUnpack",
    tex: ([a, p]) => `\\operatorname{unpack}(${a}, ${p})`,
    samples: [{
      shapes: [[2, 4, 3], [2, 3]],
      dtypes: [undefined, "i32"],
      values: [undefined, [2, 3, 4, 1, 2, 4]],
      call: (a, p) => Object.values(luUnpack(a, p)),
    }],
  },
  onMatrices("luUnpack", ["matrix"], (lu: Tensor, pivots: Tensor) => {
    const [M, N] = lu.shape.slice(-2), K = Math.min(M, N);
    const order = orderOf("luUnpack", lu, pivots);
    const below = lu.narrow(-1, 0, K).tril(-1), diagonal = lu.arangeLike(M).unsqueeze(1).eq(lu.arangeLike(K));
    return {
      P: order.oneHot(M, lu.dtype).mT(),
      L: below.maskedFill(diagonal, 1),
      U: lu.narrow(-2, 0, K).triu(),
    };
  }),
);

/** The order of rows of pivots that fit the factors. */
function orderOf(action: string, lu: Tensor, pivots: Tensor): Tensor {
  const K = Math.min(...lu.shape.slice(-2)),
    p = asTensor(action, pivots, "pivots", 'tensor([...], { dtype: "i32" })');
  if (p.dtype !== "i32") {
    throw new TypeError(
      `Cannot ${action} with pivots of type ${p.dtype}: they are i32, as luFactor gives them`,
    );
  }
  if (p.rank !== lu.rank - 1 || p.shape[p.rank - 1] !== K) {
    throw new RangeError(
      `Cannot ${action} with factors ${showShape(lu.shape)} and pivots ${
        showShape(p.shape)
      }: pivots have the shape ${showShape([...lu.shape.slice(0, -2), K])}`,
    );
  }
  return apply(rowOrder, [p], { rows: lu.shape[lu.rank - 2] });
}

/** `a = P L U` with partial pivoting, of matrices `[..., M, N]`. */
export const lu: (a: Tensor) => { P: Tensor; L: Tensor; U: Tensor } = composite(
  {
    name: "linalg.lu",
    tex: ([a]) => `\\operatorname{lu} ${a}`,
    texPullbacks: () => [
      "P\\,L^{-\\top} (\\operatorname{tril}_{-1}(L^\\top \\bar{L}) + \\operatorname{triu}(\\bar{U}\\,U^\\top))\\,U^{-\\top}",
    ],
    samples: [
      sample([3, 3], (a) => Object.values(lu(a))),
      sample([2, 2, 3], (a) => Object.values(lu(a))),
      sample([4, 2], (a) => Object.values(lu(a))),
    ],
  },
  onMatrices("lu", ["matrix"], (a: Tensor) => {
    const { LU, pivots } = factorWith(a);
    return luUnpack(LU, pivots);
  }),
);

/** Options of `luSolve`. */
export interface LUSolveOptions {
  /** Solve `a x = b` (default) or `x a = b`. */
  left?: boolean;
  /** Solve with the transpose of a. */
  adjoint?: boolean;
}

/** `x` with `a x = b` from the factors of a; differentiable by the factors and by b. */
export const luSolve: (LU: Tensor, pivots: Tensor, b: Tensor, options?: LUSolveOptions) => Tensor = composite(
  {
    name: "linalg.luSolve",
    tex: ([a, p, b]) => `\\operatorname{solve}(${a}, ${p}, ${b})`,
    samples: [{}, { adjoint: true }, { left: false }].map((options) => ({
      shapes: [[2, 3, 3], [2, 3], [3, 3]],
      dtypes: [undefined, "i32", undefined],
      values: [undefined, [2, 3, 3, 1, 2, 3], undefined],
      call: (a: Tensor, p: Tensor, b: Tensor) => luSolve(dominant(a), p, b, options),
      notSpecial: "quotients of infinities come in another order",
    })),
  },
  (LU: Tensor, pivots: Tensor, b: Tensor, options: LUSolveOptions = {}): Tensor => {
    checkOptions("luSolve", options, ["left", "adjoint"]);
    const { left = true, adjoint = false } = options;
    return onMatrices("luSolve", ["square", "matrix"], (lu: Tensor, rhs: Tensor): Tensor => {
      // x a = b is a^T x^T = b^T.
      const [f, y] = together("luSolve", lu, left ? rhs : rhs.mT());
      sameRows("luSolve", f, y);
      const own = orderOf("luSolve", lu, pivots),
        order = own.expand([...f.shape.slice(0, -2), own.shape[own.rank - 1]]);
      const x = adjoint !== !left
        ? rowsOf(
          triangularSolve(f.mT(), triangularSolve(f.mT(), y, false), true, true),
          inverseOrder(order),
        )
        : triangularSolve(f, triangularSolve(f, rowsOf(y, order), false, true), true);
      return left ? x : x.mT();
    })(LU, b);
  },
);

/** Options of `qr`. */
export interface QrOptions {
  /** "reduced" (default): Q `[M, K]`, R `[K, N]`, K the smaller; "complete": Q `[M, M]`; "r": Q is empty. */
  mode?: "reduced" | "complete" | "r";
}

/**
 * `a = Q R` with orthonormal columns of Q and upper triangular R, signs as LAPACK's. Differentiable where the leading
 * columns are independent; complete Q of a tall matrix is not.
 */
export const qr: (a: Tensor, options?: QrOptions) => { Q: Tensor; R: Tensor } = composite(
  {
    name: "linalg.qr",
    tex: ([a]) => `\\operatorname{qr} ${a}`,
    texPullbacks: () => [
      "(\\bar{Q} + Q\\,\\operatorname{copyltu} M)\\,R^{-\\top}, \\; M = R \\cdot \\bar{R}^\\top - \\bar{Q}^\\top Q",
    ],
    samples: [
      sample([2, 3, 3], (a) => Object.values(qr(a))),
      sample([4, 2], (a) => Object.values(qr(a))),
      sample([2, 3], (a) => Object.values(qr(a, { mode: "complete" }))),
      sample([4, 2], (a) => qr(a, { mode: "r" }).R),
    ],
  },
  onMatrices("qr", ["matrix"], (a: Tensor, options: QrOptions = {}) => {
    checkOptions("qr", options, ["mode"]);
    const { mode = "reduced" } = options;
    if (!["reduced", "complete", "r"].includes(mode)) {
      throw new TypeError(`Cannot qr with mode ${mode}: modes are reduced, complete and r`);
    }
    const [Q, R] = tupleOutputs(qrTuple, [a], { complete: mode === "complete" });
    return { Q: mode === "r" ? a.scalarLike(0).expand([0]) : Q, R };
  }),
);

/** Q of `reflections` `[..., M, N]` and `tau` `[..., K]`, as LAPACK's geqrf gives them: `H_1 ... H_K`, first N columns. */
export const householderProduct: (reflections: Tensor, tau: Tensor) => Tensor = composite(
  {
    name: "linalg.householderProduct",
    tex: ([a, t]) => `\\prod_i (1 - {${t}}_i\\,{${a}}_i\\,{${a}}_i^\\top)`,
    samples: [{ shapes: [[2, 4, 3], [2, 2]], call: (a, t) => householderProduct(a, t) }],
  },
  onMatrices("householderProduct", ["matrix", "tensor"], (a: Tensor, tau: Tensor) => {
    const [M, N] = a.shape.slice(-2), K = tau.shape[tau.rank - 1];
    if (tau.rank !== a.rank - 1 || M < N || K > N) {
      throw new RangeError(
        `Cannot householderProduct shapes ${showShape(a.shape)} and ${
          showShape(tau.shape)
        }: matrices [..., M, N] with M >= N go with scalars [..., K], K <= N`,
      );
    }
    const row = a.arangeLike(M, "i32").unsqueeze(1);
    let q = row.eq(a.arangeLike(N, "i32")).to(a.dtype).expand(a.shape);
    for (let k = K - 1; k >= 0; k--) {
      const v = a.narrow(-1, k, 1).where(row.gt(k), 0).maskedFill(row.eq(k), 1); // [..., M, 1]
      q = q.sub(v.mul(tau.narrow(-1, k, 1).unsqueeze(-1)).matmul(v.mT().matmul(q)));
    }
    return q;
  }),
);

/** Options of `eigh` and `eigvalsh`. */
export interface EighOptions {
  /** The triangle that is read: "L" (default) or "U". */
  uplo?: "L" | "U";
}

function eighWith(action: string, a: Tensor, options: EighOptions): Tensor[] {
  checkOptions(action, options, ["uplo"]);
  const { uplo = "L" } = options;
  if (uplo !== "L" && uplo !== "U") {
    throw new TypeError(`Cannot ${action} with uplo ${uplo}: it is L or U, the triangle that is read`);
  }
  return tupleOutputs(eighTuple, [uplo === "U" ? a.mT() : a], null);
}

/**
 * Ascending eigenvalues `[..., N]` and eigenvectors (columns, `[..., N, N]`) of symmetric matrices. Signs of
 * eigenvectors are free. Derivatives take the matrix for symmetric; those of eigenvectors are infinite or NaN where
 * eigenvalues are equal, as PyTorch's are.
 */
export const eigh: (a: Tensor, options?: EighOptions) => { eigenvalues: Tensor; eigenvectors: Tensor } =
  composite(
    {
      name: "linalg.eigh",
      tex: ([a]) => `\\operatorname{eigh} ${a}`,
      texPullbacks: () => [
        "V\\,(\\operatorname{diag} \\bar{\\lambda} + G \\odot (V^\\top \\bar{V}))\\,V^\\top, \\; G_{ij} = \\frac{1}{\\lambda_j - \\lambda_i}",
      ],
      samples: [
        // A function of the matrix, which no sign changes.
        sample([2, 3, 3], (a) => {
          const { eigenvalues: l, eigenvectors: v } = eigh(a);
          return v.matmul(diagonalMatrix(l.sin())).matmul(v.mT());
        }, symmetricOf),
      ],
    },
    onMatrices("eigh", ["square"], (a: Tensor, options: EighOptions = {}) => {
      const [eigenvalues, eigenvectors] = eighWith("eigh", a, options);
      return { eigenvalues, eigenvectors };
    }),
  );

/** Ascending eigenvalues `[..., N]` of symmetric matrices; their gradient is finite where they are equal. */
export const eigvalsh: (a: Tensor, options?: EighOptions) => Tensor = composite(
  {
    name: "linalg.eigvalsh",
    tex: ([a]) => `\\operatorname{eigvals} ${a}`,
    texPullbacks: (_, f) => [`V\\,(\\operatorname{diag} \\bar{${f}})\\,V^\\top`],
    samples: [sample([2, 3, 3], (a) => eigvalsh(a, { uplo: "U" }), symmetricOf)],
  },
  onMatrices(
    "eigvalsh",
    ["square"],
    (a: Tensor, options: EighOptions = {}) => eighWith("eigvalsh", a, options)[0],
  ),
);

/** Options of `svd`. */
export interface SvdOptions {
  /** U `[M, M]` and Vh `[N, N]` (default, as PyTorch); false: only the K columns and rows that S has. */
  fullMatrices?: boolean;
}

/** Columns that complete orthonormal ones to a basis, constants to derivatives. */
function completed(q: Tensor): Tensor {
  const [M, K] = q.shape.slice(-2);
  if (M === K) return q;
  const more = tupleOutputs(qrTuple, [q.stopGradient()], { complete: true })[0].narrow(-1, K, M - K);
  return apply(cat, [q, more.stopGradient()], { axis: q.rank - 1 });
}

/**
 * `a = U diag(S) Vh`, S descending. Signs of pairs of vectors are free. Derivatives of vectors are infinite or NaN at
 * equal or zero singular values, as PyTorch's are; the columns beyond S have none.
 */
export const svd: (a: Tensor, options?: SvdOptions) => { U: Tensor; S: Tensor; Vh: Tensor } = composite(
  {
    name: "linalg.svd",
    tex: ([a]) => `\\operatorname{svd} ${a}`,
    texPullbacks: () => [
      "U\\,(\\operatorname{diag} \\bar{S} + K_U\\,S + S\\,K_V)\\,V^\\top + \\ldots, \\; K_W = G \\odot (W^\\top \\bar{W} - \\bar{W}^\\top W), \\; G_{ij} = \\frac{1}{s_j^2 - s_i^2}",
    ],
    samples: [[3, 3], [2, 4, 2], [2, 3]].map((shape) =>
      sample(shape, (a) => {
        const { U, S, Vh } = svd(a, { fullMatrices: false });
        return [S, U.matmul(diagonalMatrix(S.sin())).matmul(Vh)];
      })
    ),
  },
  onMatrices("svd", ["matrix"], (a: Tensor, options: SvdOptions = {}) => {
    checkOptions("svd", options, ["fullMatrices"]);
    const [u, S, v] = svdOf(a), full = options.fullMatrices ?? true;
    return { U: full ? completed(u) : u, S, Vh: (full ? completed(v) : v).mT() };
  }),
);

/** Descending singular values `[..., K]`; their gradient is finite where they are equal. */
export const svdvals: (a: Tensor) => Tensor = composite(
  {
    name: "linalg.svdvals",
    tex: ([a]) => `\\sigma(${a})`,
    texPullbacks: (_, f) => [`U\\,(\\operatorname{diag} \\bar{${f}})\\,V^\\top`],
    samples: [sample([3, 3], (a) => svdvals(a)), sample([2, 2, 3], (a) => svdvals(a))],
  },
  onMatrices("svdvals", ["matrix"], (a: Tensor) => svdOf(a)[1]),
);
