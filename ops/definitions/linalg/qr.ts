/** QR by Householder's reflections, with LAPACK's signs. */
import { apply } from "../../node.ts";
import type { Attributes, Custom, Tuple } from "../../primitive.ts";
import { sizeOf } from "../../shape.ts";
import type { Tensor } from "../../tensor.ts";
import { cat } from "../indexing.ts";
import { tupleOutputs } from "../structural.ts";
import { count, eachMatrix, kernel, plus, put, split, tuple, unpack } from "./common.ts";
import { triangularSolveRight } from "./triangular.ts";

/** Columns of Q, which are the rows of R. */
function inner(M: number, N: number, p: Attributes): number {
  return p.complete ? M : Math.min(M, N);
}

/** `[Q | R | reflections | tau]`, packed: what lies behind R is room to work in. */
const qrKernel: Custom = kernel({
  name: "qrKernel",
  tex: ([a]) => `\\operatorname{qr} ${a}`,
  infer: ([a], p) => {
    const { batch, M, N } = split(a.shape), K = inner(M, N, p);
    return { shape: [...batch, M * K + K * N + M * N + Math.min(M, N)], dtype: a.dtype };
  },
  host: ([x], y, p) => {
    const { M, N } = split(x.shape), K = inner(M, N, p), reflections = Math.min(M, N);
    const q = new Float64Array(M * K), r = new Float64Array(K * N), taus = new Float64Array(reflections);
    eachMatrix(x, (a, t) => {
      for (let j = 0; j < reflections; j++) {
        let below = 0;
        for (let i = j + 1; i < M; i++) below = Math.hypot(below, a[i * N + j]);
        const alpha = a[j * N + j], beta = alpha < 0 ? Math.hypot(alpha, below) : -Math.hypot(alpha, below);
        taus[j] = below === 0 ? 0 : (beta - alpha) / beta;
        if (below === 0) continue;
        for (let i = j + 1; i < M; i++) a[i * N + j] /= alpha - beta;
        a[j * N + j] = beta;
        reflect(a, N, a, j, j + 1, N);
      }
      q.fill(0);
      for (let i = 0; i < K; i++) q[i * K + i] = 1;
      for (let j = reflections - 1; j >= 0; j--) reflect(q, K, a, j, j, K);
      for (let i = 0; i < K; i++) for (let c = 0; c < N; c++) r[i * N + c] = c < i ? 0 : a[i * N + c];
      put(y.data, t * (M * K + K * N + M * N + reflections), q, r, a, taus);
    });
    /** (1 - tau v v^T) times columns of `to`, v being 1 at row j and column j of `a` below. */
    function reflect(to: Float64Array, width: number, a: Float64Array, j: number, from: number, end: number) {
      for (let c = from; c < end; c++) {
        let w = to[j * width + c];
        for (let i = j + 1; i < M; i++) w += a[i * N + j] * to[i * width + c];
        w *= taus[j];
        to[j * width + c] -= w;
        for (let i = j + 1; i < M; i++) to[i * width + c] -= w * a[i * N + j];
      }
    }
  },
  wgsl: {
    // A thread a column. After a copy, two turns for each reflection: one thread finds it, then it is applied; then one
    // for each to form Q, and one for R.
    threads: ([a], _, p) =>
      count(a.shape) * Math.max(a.shape.at(-1)!, inner(a.shape.at(-2)!, a.shape.at(-1)!, p)),
    turns: ([a]) => 2 + 3 * Math.min(...a.shape.slice(-2)),
    uniforms: ([a], _, p) => [...a.shape.slice(-2), inner(a.shape.at(-2)!, a.shape.at(-1)!, p)],
    body: () => `
      let m = u(0); let n = u(1); let k = u(2); let l = min(m, n); let matrix = t / max(n, k); let c = t % max(n, k);
      let q = matrix * (m * k + k * n + m * n + l); let r = q + m * k; let a = r + k * n; let tau = a + m * n;
      if (turn == 0) {
        for (var i = 0; i < m; i++) {
          if (c < n) { put(a + i * n + c, x0(matrix * m * n + i * n + c)); }
          if (c < k) { put(q + i * k + c, select(0.0, 1.0, i == c)); }
        }
        return;
      }
      if (turn > 3 * l) {
        if (c >= n) { return; }
        for (var i = 0; i < k; i++) {
          if (c < i) { put(r + i * n + c, 0.0); } else { put(r + i * n + c, y(a + i * n + c)); }
        }
        return;
      }
      if (turn > 2 * l) {
        let j = 3 * l - turn;
        if (c < j || c >= k) { return; }
        var d = y(q + j * k + c);
        for (var i = j + 1; i < m; i++) { d += y(a + i * n + j) * y(q + i * k + c); }
        d *= y(tau + j);
        put(q + j * k + c, y(q + j * k + c) - d);
        for (var i = j + 1; i < m; i++) { put(q + i * k + c, y(q + i * k + c) - d * y(a + i * n + j)); }
        return;
      }
      let j = (turn - 1) / 2;
      if (turn % 2 == 0) {
        if (c <= j || c >= n) { return; }
        var d = y(a + j * n + c);
        for (var i = j + 1; i < m; i++) { d += y(a + i * n + j) * y(a + i * n + c); }
        d *= y(tau + j);
        put(a + j * n + c, y(a + j * n + c) - d);
        for (var i = j + 1; i < m; i++) { put(a + i * n + c, y(a + i * n + c) - d * y(a + i * n + j)); }
        return;
      }
      if (c != 0) { return; }
      var largest = 0.0;
      for (var i = j + 1; i < m; i++) { largest = maxf(largest, abs(y(a + i * n + j))); }
      if (eqf(largest, 0.0)) { put(tau + j, 0.0); return; }
      let alpha = y(a + j * n + j);
      largest = maxf(largest, abs(alpha)); // so that squares neither overflow nor vanish
      var s = (alpha / largest) * (alpha / largest);
      for (var i = j + 1; i < m; i++) { let v = y(a + i * n + j) / largest; s += v * v; }
      let beta = select(-largest, largest, alpha < 0.0) * sqrt(s);
      put(tau + j, (beta - alpha) / beta);
      for (var i = j + 1; i < m; i++) { put(a + i * n + j, y(a + i * n + j) / (alpha - beta)); }
      put(a + j * n + j, beta);`,
  },
  flops: ([a]) => 4 * sizeOf(a.shape) * Math.min(...a.shape.slice(-2)),
  samples: [[[2, 3, 2], false], [[2, 3], false], [[3, 2], true]].map(([shape, complete]) => ({
    shapes: [shape as number[]],
    call: (x: Tensor) => apply(qrKernel, [x], { complete }),
    differences: false,
    notSpecial: "reflections among infinities and NaN",
  })),
});

/** Refuses what has no derivative: the columns of Q beyond those of the matrix can be chosen. */
function checkUnique(M: number, N: number, p: Attributes): void {
  if (p.complete && M > N) {
    throw new Error(
      `Cannot differentiate the complete qr of [${M},${N}]: the last ${
        M - N
      } columns of Q are not unique; use mode "reduced"`,
    );
  }
}

/**
 * `a = Q R`. With a1 the leading columns, `C = Q^T da1 R1^-1` and `W = tril(C, -1) - tril(C, -1)^T`:
 * `dQ = Q W + (1 - Q Q^T) da1 R1^-1`, `dR = Q^T da - W R` (Walter and Lehmann 2018; Roberts and Roberts 2020).
 */
export const qr: Tuple = tuple({
  name: "qr",
  tex: ([a]) => `\\operatorname{qr} ${a}`,
  texPullbacks: () => [
    "(\\bar{Q} + Q\\,\\operatorname{copyltu} M)\\,R^{-\\top}, \\; M = R \\cdot \\bar{R}^\\top - \\bar{Q}^\\top Q",
  ],
  outputs: ([a], p) => {
    const { batch, M, N } = split(a.shape), K = inner(M, N, p);
    return [{ shape: [...batch, M, K], dtype: a.dtype }, { shape: [...batch, K, N], dtype: a.dtype }];
  },
  expand: ([a], p) => {
    const { M, N } = split(a.shape), K = inner(M, N, p);
    return unpack(apply(qrKernel, [a], p), [[M, K], [K, N]]);
  },
  vjp: ([cq, cr], { x: [a], y: [q, r], p }) => {
    const { M, N } = split(a.shape), K = Math.min(M, N);
    checkUnique(M, N, p);
    const gr = cr?.triu() ?? null, r1 = r.narrow(-1, 0, K);
    const turn = plus(cq && q.mT().matmul(cq), gr && gr.matmul(r.mT()).neg());
    if (turn === null) return [null];
    let left = q.matmul(turn.sub(turn.mT()).tril(-1));
    if (cq !== null && M > K) left = left.add(cq.sub(q.matmul(q.mT().matmul(cq))));
    let first = triangularSolveRight(left, r1.mT(), false);
    if (N > K) {
      first = apply(cat, [first, first.scalarLike(0).expand([...a.shape.slice(0, -1), N - K])], {
        axis: a.rank - 1,
      });
    }
    return [plus(first, gr && q.matmul(gr))];
  },
  jvp: ([da], { x: [a], y: [q, r], p }) => {
    if (da === null) return [null, null];
    const { M, N } = split(a.shape), K = Math.min(M, N);
    checkUnique(M, N, p);
    const moved = triangularSolveRight(da.narrow(-1, 0, K), r.narrow(-1, 0, K), true); // da1 R1^-1
    const c = q.mT().matmul(moved), below = c.tril(-1), turn = below.sub(below.mT());
    const dq = M > K ? q.matmul(turn.sub(c)).add(moved) : q.matmul(turn);
    return [dq, q.mT().matmul(da).sub(turn.matmul(r)).triu()];
  },
  samples: [[2, 3, 3], [4, 2], [2, 3]].map((shape) => ({
    shapes: [shape],
    call: (x: Tensor) => tupleOutputs(qr, [x], { complete: false }),
    domain: [[0.2, 3] as const],
    slack: 50,
    notSpecial: "reflections among infinities and NaN",
  })),
});
