/** LU factors with partial pivoting, and what is computed from them: solutions, determinants. */
import { apply } from "../../node.ts";
import type { Attributes, Aval, Tuple } from "../../primitive.ts";
import { cat, gather } from "../indexing.ts";
import { sizeOf } from "../../shape.ts";
import type { Tensor } from "../../tensor.ts";
import { argsort } from "../reduction.ts";
import { tupleOutputs } from "../structural.ts";
import { eachMatrix, kernel, matrixName, put, split, tuple, unpack } from "./common.ts";
import { triangularSolve, triangularSolveRight } from "./triangular.ts";

/** Only the first pivot of a matrix that is 0 is told. */
const FIRST_PIVOT = `
          var first = true;
          for (var i = 0; i < j; i++) { first = first && !eqf(y(at + i * n + i), 0.0); }
          if (first) { fault(matrix * k + j); }`;

/** `[LU | pivots]`, packed; `p.check` is the action of the error at a pivot of zero, null for none. */
const luKernel = kernel({
  name: "luKernel",
  tex: ([a]) => `\\operatorname{lu} ${a}`,
  infer: ([a]) => {
    const { batch, M, N } = split(a.shape);
    return { shape: [...batch, M * N + Math.min(M, N)], dtype: a.dtype };
  },
  fault: (k, [a], p: Attributes) => {
    const { M, N } = split(a.shape), K = Math.min(M, N);
    return `Cannot ${p.check} ${matrixName(a.shape, Math.floor(k / K))}: it is singular (pivot ${
      k % K
    } of its LU factors is 0); pinv and lstsq take such matrices`;
  },
  host: (x, y, p) => {
    const { M, N } = split(x[0].shape), K = Math.min(M, N), pivots = new Float64Array(K);
    eachMatrix(x[0], (a, t) => {
      for (let j = 0; j < K; j++) {
        let at = j;
        for (let i = j + 1; i < M; i++) if (Math.abs(a[i * N + j]) > Math.abs(a[at * N + j])) at = i;
        pivots[j] = at + 1;
        if (at !== j) {
          for (let c = 0; c < N; c++) [a[j * N + c], a[at * N + c]] = [a[at * N + c], a[j * N + c]];
        }
        const d = a[j * N + j];
        if (d === 0) {
          if (p.check !== null) throw new RangeError(luKernel.fault!(t * K + j, x, p));
          continue;
        }
        for (let i = j + 1; i < M; i++) {
          const l = a[i * N + j] /= d;
          for (let c = j + 1; c < N; c++) a[i * N + c] -= l * a[j * N + c];
        }
      }
      put(y.data, t * (M * N + K), a, pivots);
    });
  },
  wgsl: {
    // A thread an element. After a copy, two turns for each pivot: one thread finds it, exchanges rows and divides the
    // column below; then all others are updated.
    threads: ([a]) => sizeOf(a.shape),
    turns: ([a]) => 1 + 2 * Math.min(...a.shape.slice(-2)),
    uniforms: ([a]) => a.shape.slice(-2),
    body: (_, __, p) => `
      let m = u(0); let n = u(1); let k = min(m, n); let e = t % (m * n); let matrix = t / (m * n);
      let at = matrix * (m * n + k); let j = (turn - 1) / 2;
      if (turn == 0) { put(at + e, x0(t)); return; }
      if (turn % 2 == 1) {
        if (e != 0) { return; }
        var best = j; var largest = abs(y(at + j * n + j));
        for (var i = j + 1; i < m; i++) {
          let v = abs(y(at + i * n + j));
          if (gtf(v, largest)) { best = i; largest = v; }
        }
        put(at + m * n + j, f32(best + 1));
        if (best != j) {
          for (var c = 0; c < n; c++) {
            let v = y(at + j * n + c);
            put(at + j * n + c, y(at + best * n + c)); put(at + best * n + c, v);
          }
        }
        let d = y(at + j * n + j);
        if (eqf(d, 0.0)) {
          ${p.check !== null ? FIRST_PIVOT : ""}
          return;
        }
        for (var i = j + 1; i < m; i++) { put(at + i * n + j, y(at + i * n + j) / d); }
        return;
      }
      let i = e / n; let c = e % n;
      if (i > j && c > j && !eqf(y(at + j * n + j), 0.0)) {
        put(at + e, y(at + e) - y(at + i * n + j) * y(at + j * n + c));
      }`,
  },
  flops: ([a]) => sizeOf(a.shape) * Math.min(...a.shape.slice(-2)),
  samples: [{
    shapes: [[2, 3, 4]],
    call: (x) => apply(luKernel, [x], { check: null }),
    differences: false,
    notSpecial: "no order of pivots among infinities and NaN",
  }],
});

/** The order of rows that LAPACK's pivots `[..., K]`, counted from 1, bring about: `(P^T a)[i] = a[order[i]]`. */
export const rowOrder = kernel({
  name: "rowOrder",
  tex: ([x]) => `\\operatorname{order} ${x}`,
  infer: ([x], p) => ({ shape: [...x.shape.slice(0, -1), p.rows], dtype: "i32" }),
  fault: (k, _, p) => `Cannot exchange rows by the pivot ${k}: there are ${p.rows} rows, 1 to ${p.rows}`,
  host: (x, y, p) => {
    const K = x[0].shape[x[0].shape.length - 1], M: number = p.rows;
    for (let t = 0; t < sizeOf(x[0].shape.slice(0, -1)); t++) {
      const order = Array.from({ length: M }, (_, i) => i);
      for (let j = 0; j < K; j++) {
        const i = x[0].data[t * K + j] - 1;
        if (!(i >= 0 && i < M)) throw new RangeError(rowOrder.fault!(i + 1, x, p));
        [order[j], order[i]] = [order[i], order[j]];
      }
      put(y.data, t * M, order);
    }
  },
  wgsl: {
    threads: ([x]) => sizeOf(x.shape.slice(0, -1)),
    uniforms: ([x], _, p) => [x.shape[x.shape.length - 1], p.rows],
    body: () => `
      let k = u(0); let m = u(1); let at = t * m;
      for (var i = 0; i < m; i++) { put(at + i, i); }
      for (var j = 0; j < k; j++) {
        var i = x0(t * k + j) - 1;
        if (i < 0 || i >= m) { fault(i + 1); i = j; }
        let v = y(at + j); put(at + j, y(at + i)); put(at + i, v);
      }`,
  },
  flops: () => 0,
  samples: [{
    shapes: [[2, 3]],
    dtypes: ["i32"],
    values: [[3, 2, 3, 1, 2, 3]],
    call: (x) => apply(rowOrder, [x], { rows: 4 }),
  }],
});

/** The rows of x `[..., M, N]` in another order `[..., M]`. */
export function rowsOf(x: Tensor, order: Tensor): Tensor {
  return apply(gather, [x, order.unsqueeze(-1).expand(x.shape)], { axis: x.rank - 2 });
}

/** The order that undoes one. */
export function inverseOrder(order: Tensor): Tensor {
  return apply(argsort, [order], { axis: order.rank - 1, descending: false });
}

/**
 * The factors of `a = P L U`, L (ones on its diagonal left out) below U, and the pivots. Derivatives, with
 * `X = L^-1 P^T da U^-1` on the leading square: `dL = L tril(X, -1)`, `dU = triu(X) U` (de Hoog, Anderssen and Lukas
 * 2011), and the rest of a wide or tall matrix follows.
 */
export const luFactor: Tuple = tuple({
  name: "luFactor",
  tex: ([a]) => `\\operatorname{lu} ${a}`,
  texPullbacks: () => [
    "P\\,L^{-\\top} (\\operatorname{tril}_{-1}(L^\\top \\bar{L}) + \\operatorname{triu}(\\bar{U}\\,U^\\top))\\,U^{-\\top}",
  ],
  outputs: ([a]) => {
    const { batch, M, N } = split(a.shape);
    return [{ shape: a.shape, dtype: a.dtype }, { shape: [...batch, Math.min(M, N)], dtype: "i32" }];
  },
  expand: ([a], p) => {
    const { M, N } = split(a.shape);
    const [lu, pivots] = unpack(apply(luKernel, [a], p), [[M, N], [Math.min(M, N)]]);
    return [lu, pivots.to("i32")];
  },
  vjp: ([ct], { x: [a], y: [lu, pivots] }) => {
    if (ct === null) return [null];
    const { M, N } = split(a.shape), K = Math.min(M, N);
    const [square, g] = [lu, ct].map((t) => t.narrow(-2, 0, K).narrow(-1, 0, K));
    const unit = (t: Tensor): Tensor => triangularSolve(square.mT(), t, true, true); // L^-T t
    const below = (t: Tensor): Tensor => triangularSolveRight(t, square.mT(), false); // t U^-T
    let lower = lowerOf(square).mT().matmul(g.tril(-1)), upper = g.triu().matmul(square.triu().mT());
    if (N > K) lower = lower.sub(rest(ct, -1, K).matmul(rest(lu, -1, K).mT()));
    if (M > K) upper = upper.sub(rest(lu, -2, K).mT().matmul(rest(ct, -2, K)));
    let d = below(unit(lower.tril(-1).add(upper.triu())));
    if (N > K) d = apply(cat, [d, unit(rest(ct, -1, K))], { axis: d.rank - 1 });
    if (M > K) d = apply(cat, [d, below(rest(ct, -2, K))], { axis: d.rank - 2 });
    return [rowsOf(d, inverseOrder(apply(rowOrder, [pivots], { rows: M })))];
  },
  jvp: ([da], { x: [a], y: [lu, pivots] }) => {
    if (da === null) return [null, null];
    const { M, N } = split(a.shape), K = Math.min(M, N);
    const moved = rowsOf(da, apply(rowOrder, [pivots], { rows: M }));
    const [square, d] = [lu, moved].map((t) => t.narrow(-2, 0, K).narrow(-1, 0, K));
    const X = triangularSolveRight(triangularSolve(square, d, false, true), square, true);
    let out = lowerOf(square).matmul(X.tril(-1)).add(X.triu().matmul(square.triu()));
    if (N > K) {
      const wide = triangularSolve(square, rest(moved, -1, K), false, true)
        .sub(X.tril(-1).matmul(rest(lu, -1, K)));
      out = apply(cat, [out, wide], { axis: out.rank - 1 });
    }
    if (M > K) {
      const tall = triangularSolveRight(rest(moved, -2, K), square, true)
        .sub(rest(lu, -2, K).matmul(X.triu()));
      out = apply(cat, [out, tall], { axis: out.rank - 2 });
    }
    return [out, null];
  },
  samples: [[3, 3], [2, 2, 4], [4, 3]].map((shape) => ({
    shapes: [shape],
    call: (x: Tensor) => tupleOutputs(luFactor, [x.add(x.arangeLike(1).add(2))], { check: null }),
    slack: 20,
    notSpecial: "no order of pivots among infinities and NaN",
  })),
});

/** What lies behind the first k along an axis. */
function rest(x: Tensor, axis: number, k: number): Tensor {
  return x.narrow(axis, k, x.shape[x.rank + axis] - k);
}

/** The unit lower triangle of packed square factors. */
function lowerOf(lu: Tensor): Tensor {
  const i = lu.arangeLike(lu.shape[lu.rank - 1], "i32");
  return lu.tril(-1).where(i.ne(i.unsqueeze(1)), 1);
}

/** `x` with `a x = b` (`p.transposed`: `a^T x = b`), of a, b, packed factors of a and their order of rows. */
export const solve: Tuple = tuple({
  name: "solve",
  tex: ([a, b], p) => `{${a}}^{${p.transposed ? "-\\top" : "-1"}} ${b}`,
  texPullbacks: ([a], y) => [
    `-{${a}}^{-\\top} \\bar{${y}}\\,{${y}}^\\top`,
    `{${a}}^{-\\top} \\bar{${y}}`,
    "0",
    "0",
  ],
  outputs: ([, b]) => [{ shape: b.shape, dtype: b.dtype }],
  expand: ([, b, lu, order], { transposed }) => {
    if (!transposed) return [triangularSolve(lu, triangularSolve(lu, rowsOf(b, order), false, true), true)];
    const inner = triangularSolve(lu.mT(), b, false); // U^-T b
    return [rowsOf(triangularSolve(lu.mT(), inner, true, true), inverseOrder(order))];
  },
  vjp: ([ct], { x: [a, , lu, order], y: [y], p: { transposed }, needs }) => {
    const [db] = tupleOutputs(solve, [a, ct!, lu, order], { transposed: !transposed });
    const da = needs[0] ? (transposed ? y.matmul(db.mT()) : db.matmul(y.mT())).neg() : null;
    return [da, db, null, null];
  },
  jvp: ([da, db], { x: [a, b, lu, order], y: [y], p }) => {
    const moved = da === null ? null : (p.transposed ? da.mT() : da).matmul(y);
    const rhs = moved === null ? db ?? b.zerosLike() : (db ?? b.zerosLike()).sub(moved);
    return tupleOutputs(solve, [a, rhs, lu, order], p);
  },
  samples: [false, true].map((transposed) => ({
    shapes: [[2, 3, 3], [2, 3, 2]],
    call: (a: Tensor, b: Tensor) => {
      const dominant = a.add(a.arangeLike(3).eq(a.arangeLike(3).unsqueeze(1)).to(a.dtype).mul(4));
      return tupleOutputs(solve, [dominant, b, ...factorsOf(dominant, null)], { transposed });
    },
    notSpecial: "no order of pivots among infinities and NaN",
  })),
});

/** Packed factors and order of rows, without derivative; `check` is the action of the error if a is singular. */
export function factorsOf(a: Tensor, check: string | null): [lu: Tensor, order: Tensor] {
  const [lu, pivots] = tupleOutputs(luFactor, [a.stopGradient()], { check });
  return [lu, apply(rowOrder, [pivots], { rows: a.shape[a.rank - 2] })];
}

/** `a^-1 b`. */
export function solveWith(a: Tensor, b: Tensor, check: string | null, transposed = false): Tensor {
  return tupleOutputs(solve, [a, b, ...factorsOf(a, check)], { transposed })[0];
}

/** -1 for an odd number of exchanges, else 1. */
function parity(pivots: Tensor, like: Tensor): Tensor {
  const stays = pivots.eq(pivots.arangeLike(pivots.shape[pivots.rank - 1], "i32").add(1));
  return like.scalarLike(1).expand(pivots.shape).where(stays, -1).prod(-1);
}

/** Parity times the diagonal of U, without derivative. */
export function determinantParts(a: Tensor): { parity: Tensor; diagonal: Tensor } {
  const [lu, pivots] = tupleOutputs(luFactor, [a.stopGradient()], { check: null });
  return { parity: parity(pivots, a), diagonal: lu.diagonal() };
}

/** Sign and logarithm of the magnitude of the determinant, given as inputs 1 and 2: `d ln|a| = tr(a^-1 da)`. */
export const slogdet: Tuple = tuple({
  name: "slogdet",
  tex: ([a]) => `\\ln |\\det ${a}|`,
  texPartials: ([a]) => [`{${a}}^{-\\top}`, "0", "0"],
  outputs: (x: readonly Aval[]) => x.slice(1),
  expand: (x) => x.slice(1),
  vjp: (
    [, ct],
    { x: [a] },
  ) => [ct === null ? null : inverse(a, true).mul(ct.unsqueeze(-1).unsqueeze(-1)), null, null],
  jvp: ([da], { x: [a] }) => [null, da === null ? null : inverse(a, true).mul(da).sum([-2, -1])],
  samples: [[2, 3, 3], [1, 1]].map((shape) => ({
    shapes: [shape],
    call: (a: Tensor) =>
      slogdetOf(a.add(a.arangeLike(shape[1]).eq(a.arangeLike(shape[1]).unsqueeze(1)).to(a.dtype).mul(4))),
    notSpecial: "no order of pivots among infinities and NaN",
  })),
});

/** `[sign, ln |det|]`; 0 and -infinity for a singular matrix. */
export function slogdetOf(a: Tensor): Tensor[] {
  const { parity, diagonal } = determinantParts(a);
  return tupleOutputs(slogdet, [a, parity.mul(diagonal.sign().prod(-1)), diagonal.abs().log().sum(-1)], null);
}

/** `a^-1` or `a^-T`, infinite or NaN where a is singular. */
function inverse(a: Tensor, transposed: boolean): Tensor {
  const i = a.arangeLike(a.shape[a.rank - 1], "i32");
  return solveWith(a, i.eq(i.unsqueeze(1)).to(a.dtype).expand(a.shape), null, transposed);
}
