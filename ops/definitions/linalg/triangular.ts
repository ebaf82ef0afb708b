/** Triangular systems and the Cholesky factor, which both go row by row. */
import { allBatched, custom } from "../../families.ts";
import { apply } from "../../node.ts";
import type { Attributes, Custom, RuleContext } from "../../primitive.ts";
import { sizeOf } from "../../shape.ts";
import type { Tensor } from "../../tensor.ts";
import { tupleOutputs } from "../structural.ts";
import { count, eachMatrix, eyeLike, kernel, matrixName, put, split, symmetric, tuple } from "./common.ts";

/** Attributes of a triangular system. */
interface Triangle {
  readonly upper: boolean;
  /** Ones stand on the diagonal, whatever the matrix has there. */
  readonly unit: boolean;
}

/** The part of x which a triangular system reads. */
function part(x: Tensor, { upper, unit }: Triangle): Tensor {
  return upper ? x.triu(unit ? 1 : 0) : x.tril(unit ? -1 : 0);
}

/** Rows that a thread takes in one turn, each with up to n products. */
const rowsInTurn = (n: number): number => Math.max(1, Math.floor(16384 / Math.max(1, n)));

/** `x` with `a x = b` for triangular a `[..., N, N]` and b `[..., N, K]`. */
export const solveTriangular: Custom = custom({
  name: "solveTriangular",
  tex: ([a, b]) => `{${a}}^{-1} ${b}`,
  texPullbacks: ([a], y) => [
    `-\\operatorname{tri}({${a}}^{-\\top} \\bar{${y}}\\,{${y}}^\\top)`,
    `{${a}}^{-\\top} \\bar{${y}}`,
  ],
  infer: ([, b]) => b,
  host: ([a, b], y, { upper, unit }: Triangle) => {
    const { M: n, N: k } = split(b.shape);
    const x = new Float64Array(n);
    for (let t = 0; t < count(b.shape); t++) {
      for (let c = 0; c < k; c++) {
        for (let s = 0; s < n; s++) {
          const i = upper ? n - 1 - s : s, row = (t * n + i) * n;
          let v = b.data[(t * n + i) * k + c];
          for (let j = upper ? i + 1 : 0; j < (upper ? n : i); j++) v -= a.data[row + j] * x[j];
          x[i] = unit ? v : v / a.data[row + i];
        }
        for (let i = 0; i < n; i++) y.data[(t * n + i) * k + c] = x[i];
      }
    }
  },
  wgsl: {
    // A thread a column; as many rows in a turn as stay below the loops' limit.
    threads: ([, b]) => count(b.shape) * b.shape[b.shape.length - 1],
    turns: ([a]) => Math.ceil(a.shape[a.shape.length - 1] / rowsInTurn(a.shape[a.shape.length - 1])),
    uniforms: ([, b], _, p: Triangle) => [
      ...b.shape.slice(-2),
      p.upper ? 1 : 0,
      p.unit ? 1 : 0,
      rowsInTurn(b.shape[b.shape.length - 2]),
    ],
    body: () => `
      let n = u(0); let k = u(1); let m = t / k; let at = m * n * k + t % k;
      for (var s = turn * u(4); s < min(n, (turn + 1) * u(4)); s++) {
        let i = select(s, n - 1 - s, u(2) == 1); let row = (m * n + i) * n;
        var v = x1(at + i * k);
        for (var r = 0; r < s; r++) {
          let j = select(r, n - 1 - r, u(2) == 1);
          v -= x0(row + j) * y(at + j * k);
        }
        if (u(3) == 0) { v = v / x0(row + i); }
        put(at + i * k, v);
      }`,
  },
  flops: ([a, b]) => sizeOf(b.shape) * a.shape[a.shape.length - 1],
  vjp: (ct, { x: [a], y, p, needs }: RuleContext) => {
    const db = apply(solveTriangular, [a.mT(), ct], { upper: !p.upper, unit: p.unit });
    return [needs[0] ? part(db.matmul(y.mT()), p).neg() : null, db];
  },
  jvp: ([da, db], { x: [a, b], y, p }) => {
    const moved = da === null ? null : part(da, p).matmul(y);
    const rhs = moved === null ? db! : (db ?? b.zerosLike()).sub(moved);
    return apply(solveTriangular, [a, rhs], p);
  },
  batch: (x, batched, p, B) => apply(solveTriangular, allBatched(x, batched, B), p),
  samples: [[false, false], [true, false], [true, true]].map(([upper, unit]) => ({
    shapes: [[2, 3, 3], [2, 3, 2]],
    call: (a: Tensor, b: Tensor): Tensor => triangularSolve(a.add(onesOnDiagonal(a).mul(3)), b, upper, unit),
    notSpecial: "quotients of infinities come in another order",
  })),
});

/** `a^-1 b` for triangular a. */
export function triangularSolve(a: Tensor, b: Tensor, upper: boolean, unit = false): Tensor {
  return apply(solveTriangular, [a, b], { upper, unit });
}

/** `b a^-1` for triangular a. */
export function triangularSolveRight(b: Tensor, a: Tensor, upper: boolean, unit = false): Tensor {
  return triangularSolve(a.mT(), b.mT(), !upper, unit).mT();
}

/** Only the first bad minor of a matrix is told: what follows is NaN. */
const FIRST_MINOR = `
        var first = i == j;
        if (j > 0) { first = first && !isNan(y(at + (j - 1) * (n + 1))); }
        if (first) { fault(m * n + j); }`;

/** The lower factor; `p.check` is the action of the error, null to write NaN from the failed column on. */
const choleskyKernel = kernel({
  name: "choleskyKernel",
  tex: ([a]) => `\\operatorname{chol} ${a}`,
  infer: ([a]) => a,
  fault: (k, [a], p: Attributes) => {
    const { N } = split(a.shape);
    return `Cannot ${p.check} ${matrixName(a.shape, Math.floor(k / N))}: its leading minor of order ${
      k % N + 1
    } is not positive, and the matrix must be positive definite`;
  },
  host: (x, y, p) => {
    const { N } = split(y.shape);
    eachMatrix(x[0], (a, t) => {
      for (let j = 0; j < N; j++) {
        for (let k = 0; k < j; k++) {
          const l = a[j * N + k];
          for (let i = j; i < N; i++) a[i * N + j] -= a[i * N + k] * l;
        }
        const d = a[j * N + j];
        if (!(d > 0)) {
          if (p.check !== null) throw new RangeError(choleskyKernel.fault!(t * N + j, x, p));
          a[j * N + j] = NaN;
        }
        const root = Math.sqrt(a[j * N + j]);
        for (let i = j; i < N; i++) a[i * N + j] /= root;
        a.fill(0, j * N + j + 1, (j + 1) * N);
      }
      put(y.data, t * N * N, a);
    });
  },
  wgsl: {
    // A thread a row, a turn a column.
    threads: ([a]) => count(a.shape) * a.shape[a.shape.length - 1],
    turns: ([a]) => a.shape[a.shape.length - 1],
    uniforms: ([a]) => [a.shape[a.shape.length - 1]],
    body: (_, __, p) => `
      let n = u(0); let m = t / n; let i = t % n; let j = turn; let at = m * n * n;
      if (i < j) { put(at + i * n + j, 0.0); return; }
      var d = x0(at + j * n + j); var s = x0(at + i * n + j);
      for (var k = 0; k < j; k++) {
        let l = y(at + j * n + k);
        d -= l * l; s -= l * y(at + i * n + k);
      }
      if (!gtf(d, 0.0)) {
        ${p.check !== null ? FIRST_MINOR : ""}
        d = nan();
      }
      if (i == j) { put(at + i * n + j, sqrt(d)); } else { put(at + i * n + j, s / sqrt(d)); }`,
  },
  flops: ([a]) => sizeOf(a.shape) * a.shape[a.shape.length - 1] / 3,
  samples: [{
    shapes: [[2, 3, 3]],
    call: (x) => apply(choleskyKernel, [x.matmul(x.mT()).add(onesOnDiagonal(x))], { check: null }),
    differences: false,
    notSpecial: "a matrix that is not positive definite has no factor",
  }],
});

const onesOnDiagonal = (x: Tensor): Tensor => eyeLike(x, 3);

/** The lower triangle with its diagonal halved. */
function halved(x: Tensor): Tensor {
  return x.tril().add(x.tril(-1)).mul(0.5);
}

/**
 * Lower L with `a = L L^T`, of the lower triangle of a. Derivatives take a for symmetric (Murray 2016, "Differentiation
 * of the Cholesky decomposition"): with Phi the lower triangle, its diagonal halved, `dL = L Phi(L^-1 da L^-T)`.
 */
export const cholesky = tuple({
  name: "cholesky",
  tex: ([a]) => `\\operatorname{chol} ${a}`,
  texPullbacks: (_, y) => [`{${y}}^{-\\top} \\Phi({${y}}^\\top \\bar{${y}})\\,{${y}}^{-1}`],
  outputs: ([a]) => [{ shape: a.shape, dtype: a.dtype }],
  expand: ([a], p) => [apply(choleskyKernel, [a], p)],
  vjp: ([ct], { y: [l] }) => {
    const inner = triangularSolve(l.mT(), halved(l.mT().matmul(ct!.tril())), true);
    return [symmetric(triangularSolveRight(inner, l, false))];
  },
  jvp: ([da], { y: [l] }) => {
    const inner = triangularSolve(l, symmetric(da!), false);
    return [l.matmul(halved(triangularSolveRight(inner, l.mT(), true)))];
  },
  samples: [{
    shapes: [[2, 3, 3]],
    call: (x) => tupleOutputs(cholesky, [x.matmul(x.mT()).add(onesOnDiagonal(x))], { check: "factor" }),
    slack: 5,
    notSpecial: "a matrix that is not positive definite has no factor",
  }],
});
