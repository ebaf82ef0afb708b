/** PyTorch's products of matrices, distances and linear algebra as calls of ours. */
import {
  bilinear,
  cdist,
  linalg,
  pairwiseDistance,
  pdist,
  type Tensor,
  tensordot,
  zeros,
} from "../../mod.ts";
import { type Mapped, type Named, op, spelled } from "./bind.ts";

const product = (f: (x: Tensor, y: Tensor) => Tensor): Mapped =>
  op("x, other", ({ x, other }) => f(x, other));
const added = (method: "addmm" | "addmv" | "addr" | "addbmm" | "baddbmm"): Mapped =>
  op("x, a, b, beta, alpha", ({ x, a, b, ...options }) => x[method](a, b, options));

/** Results in PyTorch's order. */
const parts = (record: object): Tensor[] => Object.values(record);

/** Matrices that OpInfo makes symmetric: `f(x + x^T)`. */
const symmetric = (names: string, f: (named: Named) => Tensor | Tensor[]): Mapped =>
  op(names, ({ a, ...o }) => f({ a: a.add(a.mT()), ...o }));
/** The triangle that OpInfo makes an argument. */
const triangle = (a: Tensor, upper = false): Tensor => upper ? a.triu() : a.tril();
const order = (ord: number | string | undefined): { ord?: linalg.MatrixOrder } =>
  ord === undefined ? {} : { ord: ord as linalg.MatrixOrder };
const axes = (dim: number | number[] | undefined): { axes?: number | number[] } =>
  dim === undefined || (Array.isArray(dim) && dim.length === 0) ? {} : { axes: dim };

const norm: Mapped = op(
  "x, ord, dim, keepdim",
  ({ x, ord, dim, keepdim = false }) => linalg.norm(x, { ...order(ord), ...axes(dim), keepdim }),
);

/** `|U|`, `S`, `[S, |Vh|]` or `[U Vh, S]`, told apart by their ranks. */
const withoutSigns: Mapped["processed"] = ([u, s, vh], recorded) => {
  const K = s.shape[s.rank - 1], left = u.narrow(-1, 0, K), right = vh.narrow(-2, 0, K);
  const isValues = recorded[0].shape.length === s.rank;
  if (recorded.length === 1) return [isValues ? s : left.abs()];
  return isValues ? [s, right.abs()] : [left.matmul(right), s];
};

const factors: Mapped["processed"] = ([, L, U]) => [L, U];

/** What a driver of LAPACK's does not compute is empty in PyTorch. */
const leastSquares = (all: boolean): Mapped =>
  op("a, b, rcond, driver", ({ a, b, rcond, driver }) => {
    const y = linalg.lstsq(a, b, rcond === undefined ? {} : { rcond });
    const empty = (dtype: Tensor["dtype"]): Tensor => zeros([0], { dtype });
    const residuals = driver === "gelsy" ? empty(a.dtype) : y.residuals;
    if (!all) return [y.solution, driver === "gelsy" ? empty(a.dtype) : residuals];
    return [
      y.solution,
      residuals,
      driver === "gels" ? empty("i32") : y.rank,
      driver === "gelss" || driver === "gelsd" ? y.singularValues : empty(a.dtype),
    ];
  });

/** The table. */
export const linearAlgebra: Record<string, Mapped> = {
  // ---- products
  "matmul": product((x, y) => x.matmul(y)),
  "mm": product((x, y) => x.mm(y)),
  "bmm": product((x, y) => x.bmm(y)),
  "mv": product((x, y) => x.mv(y)),
  "__rmatmul__": product((x, y) => y.matmul(x)),
  "dot": product((x, y) => x.dot(y)),
  "vdot": product((x, y) => x.vdot(y)),
  "inner": product((x, y) => x.inner(y)),
  "outer": product((x, y) => x.outer(y)),
  "kron": product((x, y) => x.kron(y)),
  "addmm": added("addmm"),
  "addmm/decomposed": added("addmm"),
  "addmv": added("addmv"),
  "addr": added("addr"),
  "addbmm": added("addbmm"),
  "baddbmm": added("baddbmm"),
  "tensordot": op("x, y, dims", ({ x, y, dims }) => tensordot(x, y, dims)),
  // Without dim PyTorch takes the first axis of length 3.
  "cross": op("x, y, dim", ({ x, y, dim }) => x.cross(y, dim ?? x.shape.indexOf(3))),
  "linalg.cross": op("x, y, dim", ({ x, y, dim }) => linalg.cross(x, y, dim)),
  "linalg.multi_dot": op("tensors", ({ tensors }) => linalg.multiDot(tensors)),
  "linalg.vecdot": op("x, y, dim", ({ x, y, dim }) => linalg.vecdot(x, y, dim)),
  "linalg.vander": op("x, N", ({ x, N }) => linalg.vander(x, N)),
  "nn.functional.bilinear": op(
    "x, y, weight, bias",
    ({ x, y, weight, bias }) => bilinear(x, y, weight, bias),
  ),

  // ---- distances
  "cdist": op("x, y, p, mode", ({ x, y, p }) => cdist(x, y, p)),
  "nn.functional.pdist": op("x, p", ({ x, p }) => pdist(x, p)),
  "nn.functional.pairwise_distance": op(
    "x, y, p, eps, keepdim",
    ({ x, y, ...options }) => pairwiseDistance(x, y, options),
  ),
  "dist": op("x, y, p", ({ x, y, p }) => x.dist(y, p)),

  // ---- norms
  "norm/nuc": op(
    "x, p, dim, keepdim",
    ({ x, dim, keepdim = false }) => linalg.matrixNorm(x, { ord: "nuc", axes: dim ?? [-2, -1], keepdim }),
  ),
  "linalg.norm": norm,
  "linalg.norm/subgradients_at_zero": norm,
  "linalg.vector_norm": op(
    "x, ord, dim, keepdim",
    ({ x, ord = 2, dim, keepdim = false }) => linalg.vectorNorm(x, { ord, ...axes(dim), keepdim }),
  ),
  "linalg.matrix_norm": op(
    "x, ord, dim, keepdim",
    ({ x, ord = "fro", dim = [-2, -1], keepdim = false }) =>
      linalg.matrixNorm(x, { ord, axes: dim, keepdim }),
  ),
  "linalg.cond": op("a, p", ({ a, p }) => linalg.cond(a, p === undefined ? {} : { p })),
  "linalg.matrix_rank": op("a, atol, rtol, hermitian", ({ a, ...options }) => linalg.matrixRank(a, options)),
  "linalg.matrix_rank/hermitian": symmetric(
    "a, hermitian",
    ({ a, ...options }) => linalg.matrixRank(a, options),
  ),

  // ---- factorizations
  "cholesky": symmetric("a, upper", ({ a, ...o }) => linalg.cholesky(a, o)),
  "linalg.cholesky": symmetric("a, upper", ({ a, ...o }) => linalg.cholesky(a, o)),
  "linalg.cholesky_ex": symmetric("a, upper", ({ a, ...o }) => parts(linalg.choleskyEx(a, o))),
  "cholesky_solve": op(
    "b, l, upper",
    ({ b, l, upper = false }) => linalg.choleskySolve(b, triangle(l, upper), { upper }),
  ),
  "cholesky_inverse": op("l, upper", ({ l, upper = false }) => {
    const n = l.shape[l.rank - 1], i = l.arangeLike(n), diagonal = i.eq(i.unsqueeze(1));
    return linalg.choleskyInverse(triangle(l.maskedFill(diagonal, 1), upper), { upper });
  }),
  "lu": spelled("a, pivot, get_infos", ({ a, get_infos = false }) => {
    const { LU, pivots, info } = linalg.luFactorEx(a);
    return get_infos ? [LU, pivots, info] : [LU, pivots];
  }),
  "linalg.lu_factor": op("a, pivot", ({ a }) => parts(linalg.luFactor(a))),
  "linalg.lu_factor_ex": op("a, pivot", ({ a }) => parts(linalg.luFactorEx(a))),
  "linalg.lu": { ...op("a, pivot", ({ a }) => parts(linalg.lu(a))), processed: factors },
  "lu_unpack": {
    ...op("lu, pivots", ({ lu, pivots }) => parts(linalg.luUnpack(lu, pivots))),
    processed: factors,
  },
  "linalg.lu_solve": op(
    "lu, pivots, b, left, adjoint",
    ({ lu, pivots, b, ...options }) => linalg.luSolve(lu, pivots, b, options),
  ),
  "lu_solve": op("b, lu, pivots", ({ b, lu, pivots }) => linalg.luSolve(lu, pivots, b)),
  "qr": op("a, some", ({ a, some = true }) => parts(linalg.qr(a, { mode: some ? "reduced" : "complete" }))),
  "linalg.qr": op("a, mode", ({ a, ...o }) => parts(linalg.qr(a, o))),
  "linalg.householder_product": op("a, tau", ({ a, tau }) => linalg.householderProduct(a, tau)),
  "linalg.eigh": {
    ...symmetric("a, UPLO", ({ a, UPLO = "L" }) => parts(linalg.eigh(a, { uplo: UPLO }))),
    processed: ([values, vectors]) => [values, vectors.abs()],
  },
  "linalg.eigvalsh": symmetric("a, UPLO", ({ a, UPLO = "L" }) => linalg.eigvalsh(a, { uplo: UPLO })),
  "svd": {
    ...op("a, some", ({ a, some = true }) => parts(linalg.svd(a, { fullMatrices: !some }))),
    processed: withoutSigns,
  },
  "linalg.svd": {
    ...op(
      "a, full_matrices",
      ({ a, full_matrices = true }) => parts(linalg.svd(a, { fullMatrices: full_matrices })),
    ),
    processed: withoutSigns,
  },
  "linalg.svdvals": op("a", ({ a }) => linalg.svdvals(a)),

  // ---- systems, inverses, determinants, functions of matrices
  "linalg.solve_triangular": op(
    "a, b, upper, left, unitriangular",
    ({ a, b, upper, ...options }) => linalg.solveTriangular(a, b, { upper, ...options }),
  ),
  "triangular_solve": spelled("b, a", ({ b, a }) => {
    const lower = triangle(a);
    return [linalg.solveTriangular(lower, b, { upper: false }), lower];
  }),
  "linalg.solve": op("a, b, left", ({ a, b, ...o }) => linalg.solve(a, b, o)),
  "linalg.solve_ex": op("a, b, left", ({ a, b, ...o }) => parts(linalg.solveEx(a, b, o))),
  "linalg.inv": op("a", ({ a }) => linalg.inv(a)),
  "linalg.inv_ex": op("a", ({ a }) => parts(linalg.invEx(a))),
  "linalg.det": op("a", ({ a }) => linalg.det(a)),
  "linalg.slogdet": op("a", ({ a }) => parts(linalg.slogdet(a))),
  "logdet": op("a", ({ a }) => linalg.logdet(a)),
  "pinverse": op("a", ({ a }) => linalg.pinv(a)),
  "linalg.pinv": op("a, atol, rtol", ({ a, ...o }) => linalg.pinv(a, o)),
  "linalg.pinv/hermitian": symmetric("a, hermitian", ({ a, ...o }) => linalg.pinv(a, o)),
  "linalg.pinv/singular": spelled("a, b", ({ a, b }) => linalg.pinv(a.matmul(b.mT()))),
  "linalg.lstsq": leastSquares(true),
  "linalg.lstsq/grad_oriented": leastSquares(false),
  "linalg.matrix_power": op("a, n", ({ a, n }) => linalg.matrixPower(a, n)),
  "matrix_exp": op("a", ({ a }) => linalg.matrixExp(a)),
  "linalg.tensorinv": op("a, ind", ({ a, ind }) => linalg.tensorinv(a, ind)),
  "linalg.tensorsolve": op(
    "a, b, dims",
    ({ a, b, dims }) => linalg.tensorsolve(a, b, dims === undefined ? {} : { axes: dims }),
  ),
};
