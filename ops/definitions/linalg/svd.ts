/** Singular values and vectors by one-sided Jacobi rotations, and what is made of them: pseudoinverse, determinant. */
import { apply } from "../../node.ts";
import type { Custom, Tuple } from "../../primitive.ts";
import { sizeOf } from "../../shape.ts";
import type { Tensor } from "../../tensor.ts";
import { productOfOthers } from "../reduction.ts";
import { tupleOutputs } from "../structural.ts";
import {
  count,
  diagonalMatrix,
  eachMatrix,
  kernel,
  like,
  ofFinite,
  onDiagonal,
  plus,
  put,
  scaleColumns,
  scaleRows,
  split,
  tuple,
  unpack,
} from "./common.ts";
import { ROTATION, rounds, sweeps } from "./jacobi.ts";
import { determinantParts } from "./lu.ts";
import { qr } from "./qr.ts";

/** Sweeps after which the host's loop ends; it needs about 6 to 10. */
const SWEEPS = 40;

/**
 * `[U | S | V | room to work in]`, packed, of matrices with at least as many rows as columns (Hestenes 1958). Columns of
 * U that belong to singular values of 0 are 0.
 */
const svdKernel: Custom = kernel({
  name: "svdKernel",
  tex: ([a]) => `\\operatorname{svd} ${a}`,
  infer: ([a]) => {
    const { batch, M, N } = split(a.shape);
    return { shape: [...batch, 2 * M * N + 2 * N * N + 2 * N + 1], dtype: a.dtype };
  },
  host: ([x], y) => {
    const { M, N } = split(x.shape), v = new Float64Array(N * N), s = new Float64Array(N);
    const inner = (a: Float64Array, p: number, q: number): number => {
      let sum = 0;
      for (let i = 0; i < M; i++) sum += a[i * N + p] * a[i * N + q];
      return sum;
    };
    const turn = (a: Float64Array, rows: number, p: number, q: number, cos: number, sin: number): void => {
      for (let i = 0; i < rows; i++) {
        const ip = a[i * N + p], iq = a[i * N + q];
        a[i * N + p] = cos * ip - sin * iq;
        a[i * N + q] = sin * ip + cos * iq;
      }
    };
    eachMatrix(x, (a, t) => {
      // Scaled so that squares neither overflow nor vanish.
      let largest = 0;
      for (const e of a) largest = Math.max(largest, Math.abs(e));
      const scale = largest > 0 && Number.isFinite(largest) ? largest : 1;
      for (let i = 0; i < a.length; i++) a[i] /= scale;
      v.fill(0);
      for (let i = 0; i < N; i++) v[i * N + i] = 1;
      for (let sweep = 0, turned = true; sweep < SWEEPS && turned; sweep++) {
        turned = false;
        for (let p = 0; p < N; p++) {
          for (let q = p + 1; q < N; q++) {
            const alpha = inner(a, p, p), beta = inner(a, q, q), gamma = inner(a, p, q);
            if (!(Math.abs(gamma) > 2e-16 * Math.sqrt(alpha * beta))) continue;
            turned = true;
            const zeta = (beta - alpha) / (2 * gamma);
            const tan = (zeta < 0 ? -1 : 1) / (Math.abs(zeta) + Math.sqrt(zeta * zeta + 1));
            const cos = 1 / Math.sqrt(tan * tan + 1);
            turn(a, M, p, q, cos, tan * cos);
            turn(v, N, p, q, cos, tan * cos);
          }
        }
      }
      for (let j = 0; j < N; j++) s[j] = Math.sqrt(inner(a, j, j));
      const order = Array.from({ length: N }, (_, j) => j).sort((i, j) => s[j] - s[i]);
      const u = new Float64Array(M * N), sorted = new Float64Array(N), vectors = new Float64Array(N * N);
      order.forEach((from, to) => {
        sorted[to] = s[from] * scale;
        for (let i = 0; i < N; i++) vectors[i * N + to] = v[i * N + from];
        for (let i = 0; i < M; i++) u[i * N + to] = s[from] <= 1e-280 ? 0 : a[i * N + from] / s[from];
      });
      put(y.data, t * (2 * M * N + 2 * N * N + 2 * N + 1), u, sorted, vectors);
    });
  },
  wgsl: {
    // A thread a column or a pair. Two turns to scale, one for each round of disjoint pairs, two to sort.
    threads: ([a]) => count(a.shape) * a.shape[a.shape.length - 1],
    turns: ([a]) => 4 + rounds(a.shape[a.shape.length - 1]) * sweeps(a.shape[a.shape.length - 1]),
    uniforms: (
      [a],
    ) => [...a.shape.slice(-2), rounds(a.shape[a.shape.length - 1]) * sweeps(a.shape[a.shape.length - 1])],
    body: () => `
      let m = u(0); let n = u(1); let matrix = t / n; let j = t % n;
      let left = matrix * (2 * m * n + 2 * n * n + 2 * n + 1); let values = left + m * n; let right = values + n;
      let a = right + n * n; let b = a + m * n; let length = b + n * n; let scale = length + n;
      if (turn == 0) {
        var largest = 0.0;
        for (var i = 0; i < m; i++) { largest = maxf(largest, abs(x0((matrix * m + i) * n + j))); }
        put(values + j, largest);
        return;
      }
      if (turn == 1) {
        // Scaled so that squares neither overflow nor vanish.
        var largest = 0.0;
        for (var i = 0; i < n; i++) { largest = maxf(largest, y(values + i)); }
        if (!gtf(largest, 0.0) || !isFinite(largest)) { largest = 1.0; }
        for (var i = 0; i < m; i++) { put(a + i * n + j, x0((matrix * m + i) * n + j) / largest); }
        for (var i = 0; i < n; i++) { put(b + i * n + j, select(0.0, 1.0, i == j)); }
        if (j == 0) { put(scale, largest); }
        return;
      }
      if (turn == 2 + u(2)) {
        var sum = 0.0;
        for (var i = 0; i < m; i++) { let e = y(a + i * n + j); sum += e * e; }
        put(length + j, sqrt(sum));
        return;
      }
      if (turn == 3 + u(2)) {
        let mine = y(length + j); var place = 0;
        for (var k = 0; k < n; k++) {
          let other = y(length + k);
          if (other > mine || (other == mine && k < j)) { place++; }
        }
        put(values + place, mine * y(scale));
        for (var i = 0; i < n; i++) { put(right + i * n + place, y(b + i * n + j)); }
        for (var i = 0; i < m; i++) {
          var e = 0.0;
          if (!(mine <= 1e-18)) { e = y(a + i * n + j) / mine; }
          put(left + i * n + place, e);
        }
        return;
      }
      if (j >= (n + 1) / 2) { return; }
      let pq = pairOf(j, n, turn - 2);
      if (pq.y >= n) { return; }
      var alpha = 0.0; var beta = 0.0; var gamma = 0.0;
      for (var i = 0; i < m; i++) {
        let ip = y(a + i * n + pq.x); let iq = y(a + i * n + pq.y);
        alpha += ip * ip; beta += iq * iq; gamma += ip * iq;
      }
      if (!gtf(abs(gamma), 1.2e-7 * sqrt(alpha) * sqrt(beta) + 1e-37)) { return; }
      let zeta = (beta - alpha) / (2.0 * gamma); var c = 1.0; var s = 0.0;
      ${ROTATION("zeta")}
      for (var i = 0; i < m; i++) {
        let ip = y(a + i * n + pq.x); let iq = y(a + i * n + pq.y);
        put(a + i * n + pq.x, c * ip - s * iq); put(a + i * n + pq.y, s * ip + c * iq);
      }
      for (var i = 0; i < n; i++) {
        let ip = y(b + i * n + pq.x); let iq = y(b + i * n + pq.y);
        put(b + i * n + pq.x, c * ip - s * iq); put(b + i * n + pq.y, s * ip + c * iq);
      }`,
  },
  flops: ([a]) => 60 * sizeOf(a.shape) * a.shape[a.shape.length - 1],
  samples: [{
    shapes: [[2, 4, 3]],
    call: (x) => apply(svdKernel, [x], null).narrow(-1, 12, 3),
    differences: false,
    notSpecial: "rotations among infinities and NaN",
  }],
});

/** `1 / (s_j^2 - s_i^2)` off the diagonal, 0 on it; infinite where singular values are equal. */
function gaps(s: Tensor): Tensor {
  const diagonal = onDiagonal(s, s.shape[s.rank - 1]), row = s.unsqueeze(-2), column = s.unsqueeze(-1);
  return row.sub(column).mul(row.add(column)).maskedFill(diagonal, 1).reciprocal().maskedFill(diagonal, 0);
}

/** x without its part in the space of the columns of q. */
function outside(q: Tensor, x: Tensor): Tensor {
  return x.sub(q.matmul(q.mT().matmul(x)));
}

/**
 * `a = U diag(S) V^T` for a with at least as many rows as columns, S descending. With `E = U^T da V` and
 * `F = 1 / (s_j^2 - s_i^2)`: `dS = diag E`, `dU = U (F * (E S + S E^T)) + (1 - U U^T) da V S^-1`,
 * `dV = V (F * (S E + E^T S))` (Townsend 2016; Wan and Zhang 2019). Derivatives of singular vectors are infinite or
 * NaN at equal or zero singular values, those of singular values are not.
 */
export const svd: Tuple = tuple({
  name: "svd",
  tex: ([a]) => `\\operatorname{svd} ${a}`,
  texPullbacks: () => [
    "U\\,(\\operatorname{diag} \\bar{S} + K_U\\,S + S\\,K_V)\\,V^\\top + (1 - U \\cdot U^\\top)\\,\\bar{U}\\,S^{-1} V^\\top, \\; K_W = G \\odot (W^\\top \\bar{W} - \\bar{W}^\\top W), \\; G_{ij} = \\frac{1}{s_j^2 - s_i^2}",
  ],
  outputs: ([a]) => {
    const { batch, N } = split(a.shape);
    return like([a], a.shape, [...batch, N], [...batch, N, N]);
  },
  expand: ([a]) => {
    const { M, N } = split(a.shape);
    const [u, s, v] = unpack(apply(svdKernel, [a], null), [[M, N], [N], [N, N]]);
    // Columns of 0 have no reflection, so that Q has there what completes the others to an orthonormal set.
    const missing = u.square().sum(-2, { keepdim: true }).lt(0.5);
    return ofFinite(a, [tupleOutputs(qr, [u], { complete: false })[0].where(missing, u), s, v]);
  },
  vjp: ([cu, cs, cv], { x: [a], y: [u, s, v] }) => {
    const { M, N } = split(a.shape);
    const skew = (q: Tensor, c: Tensor): Tensor => {
      const t = q.mT().matmul(c);
      return gaps(s).mul(t.sub(t.mT()));
    };
    const inner = plus(
      cu && scaleColumns(skew(u, cu), s),
      cv && scaleRows(skew(v, cv), s),
      cs && diagonalMatrix(cs),
    );
    const beside = cu !== null && M > N ? scaleColumns(outside(u, cu), s.reciprocal()) : null;
    const left = plus(inner && u.matmul(inner), beside);
    return [left && left.matmul(v.mT())];
  },
  jvp: ([da], { x: [a], y: [u, s, v] }) => {
    if (da === null) return [null, null, null];
    const { M, N } = split(a.shape), moved = da.matmul(v), e = u.mT().matmul(moved), f = gaps(s);
    let du = u.matmul(f.mul(scaleColumns(e, s).add(scaleRows(e.mT(), s))));
    if (M > N) du = du.add(scaleColumns(outside(u, moved), s.reciprocal()));
    return [du, e.diagonal(), v.matmul(f.mul(scaleRows(e, s).add(scaleColumns(e.mT(), s))))];
  },
  samples: [[2, 3, 3], [4, 2], [1, 1]].map((shape) => ({
    shapes: [shape],
    call: (x: Tensor) => {
      const N = shape[shape.length - 1];
      const apart = x.add(
        x.arangeLike(shape[shape.length - 2]).unsqueeze(1).eq(x.arangeLike(N)).to(x.dtype)
          .mul(x.arangeLike(N).mul(3).add(4)),
      );
      const [u, s, v] = tupleOutputs(svd, [apart], null);
      return [u.square(), s, u.narrow(-2, 0, N).mul(v)]; // signs of pairs of vectors are free
    },
    slack: 20,
    notSpecial: "rotations among infinities and NaN",
  })),
});

/** Factors U `[M, K]`, S and V `[N, K]`, K the smaller length. */
export function svdOf(a: Tensor): Tensor[] {
  if (a.shape[a.rank - 2] >= a.shape[a.rank - 1]) return tupleOutputs(svd, [a], null);
  const [v, s, u] = tupleOutputs(svd, [a.mT()], null);
  return [u, s, v];
}

/**
 * The pseudoinverse of input 0, given as input 1: with `Y = a^+`,
 * `dY = -Y da Y + Y Y^T da^T (1 - a Y) + (1 - Y a) da^T Y^T Y` (Golub and Pereyra 1973), where the rank stays.
 */
export const pinv: Tuple = tuple({
  name: "pinv",
  tex: ([a]) => `{${a}}^+`,
  texPullbacks: (
    [x],
    f,
  ) => [
    `-{${f}}^\\top \\bar{${f}}\\,{${f}}^\\top + (1 - ${x}\\,${f})\\,\\bar{${f}}^\\top ${f}\\,{${f}}^\\top + {${f}}^\\top ${f}\\,\\bar{${f}}^\\top (1 - ${f}\\,${x})`,
  ],
  outputs: (x) => x.slice(1),
  expand: (x) => x.slice(1),
  vjp: ([ct], { x: [a], y: [y] }) => {
    const c = ct!, yt = y.mT(), t = c.mT();
    const left = t.matmul(y), right = y.matmul(t); // ct^T Y, Y ct^T
    const first = yt.matmul(c).matmul(yt).neg();
    const second = left.sub(a.matmul(y.matmul(left))).matmul(yt);
    const third = yt.matmul(right.sub(right.matmul(y).matmul(a)));
    return [first.add(second).add(third), null];
  },
  jvp: ([da], { x: [a], y: [y] }) => {
    if (da === null) return [null];
    const t = da.mT(), yt = y.mT();
    const second = y.matmul(yt.matmul(t)), third = t.matmul(yt).matmul(y);
    return [
      second.sub(second.matmul(a).matmul(y)).add(third.sub(y.matmul(a.matmul(third)))).sub(
        y.matmul(da).matmul(y),
      ),
    ];
  },
  samples: [[3, 3], [2, 4, 2], [2, 3]].map((shape) => ({
    shapes: [shape],
    call: (x: Tensor) => {
      const apart = x.add(
        x.arangeLike(shape[shape.length - 2]).unsqueeze(1)
          .eq(x.arangeLike(shape[shape.length - 1])).to(x.dtype).mul(4),
      );
      const [u, s, v] = svdOf(apart.stopGradient());
      return tupleOutputs(pinv, [apart, scaleColumns(v, s.reciprocal()).matmul(u.mT())], null);
    },
    slack: 5,
    notSpecial: "rotations among infinities and NaN",
  })),
});

/** The derivative of the cofactors along e: it is its own transpose. Finite wherever a is, singular or not. */
function cofactorDerivative(a: Tensor, e: Tensor): Tensor {
  const n = a.shape[a.rank - 1];
  const [u, s, v] = tupleOutputs(svd, [a], null), sign = orientation(u).mul(orientation(v));
  // Products of all singular values but i and j.
  const others = productOfOthers(s.unsqueeze(-2).expand(a.shape).maskedFill(onDiagonal(a, n), 1))
    .maskedFill(onDiagonal(a, n), 0);
  const inner = u.mT().matmul(e).matmul(v);
  const diagonal = others.matmul(inner.diagonal().unsqueeze(-1)).squeeze(-1);
  const d = diagonalMatrix(diagonal).sub(others.mul(inner.mT()));
  return u.matmul(d).matmul(v.mT()).mul(sign.unsqueeze(-1).unsqueeze(-1));
}

/** The determinant of an orthogonal matrix: 1 or -1, without derivative. */
function orientation(q: Tensor): Tensor {
  const { parity, diagonal } = determinantParts(q);
  return parity.mul(diagonal.sign().prod(-1));
}

/** The matrix of cofactors of input 0, given as input 1: the derivative of the determinant. */
export const cofactors: Tuple = tuple({
  name: "cofactors",
  tex: ([a]) => `\\operatorname{cof} ${a}`,
  texPullbacks: ([x], f) => [`\\nabla^2 \\operatorname{det}(${x})\\,\\bar{${f}}`],
  outputs: (x) => x.slice(1),
  expand: (x) => x.slice(1),
  vjp: ([ct], { x: [a] }) => [cofactorDerivative(a, ct!), null],
  jvp: ([da], { x: [a] }) => [da === null ? null : cofactorDerivative(a, da)],
  samples: [[3, 3], [2, 2, 2], [1, 1]].map((shape) => ({
    shapes: [shape],
    call: (x: Tensor) =>
      cofactorsOf(x.add(diagonalMatrix(x.arangeLike(shape[shape.length - 1]).mul(2).add(3)))),
    slack: 20,
    notSpecial: "rotations among infinities and NaN",
  })),
});

/** Cofactors by `det(U) det(V) U cof(S) V^T`, which holds for singular matrices. */
export function cofactorsOf(a: Tensor): Tensor {
  const [u, s, v] = tupleOutputs(svd, [a.stopGradient()], null);
  const sign = orientation(u).mul(orientation(v)).unsqueeze(-1).unsqueeze(-1);
  return tupleOutputs(cofactors, [a, scaleColumns(u, productOfOthers(s)).matmul(v.mT()).mul(sign)], null)[0];
}

/** The determinant of input 0, given as input 1: `d det a = <cof a, da>`, finite at singular matrices too. */
export const det: Tuple = tuple({
  name: "det",
  tex: ([a]) => `\\det ${a}`,
  texPartials: ([a]) => [`\\operatorname{cof} ${a}`, "0"],
  outputs: (x) => x.slice(1),
  expand: (x) => x.slice(1),
  vjp: ([ct], { x: [a] }) => [cofactorsOf(a).mul(ct!.unsqueeze(-1).unsqueeze(-1)), null],
  jvp: ([da], { x: [a] }) => [da === null ? null : cofactorsOf(a).mul(da).sum([-2, -1])],
  samples: [
    { shapes: [[2, 3, 3]], call: detOf, slack: 5, notSpecial: "no order of pivots among infinities and NaN" },
    {
      // Of rank 1, and 0: derivatives by cofactors that are not those of an inverse.
      shapes: [[2, 3, 3]],
      values: [[1, 2, -1, 2, 4, -2, 0.5, 1, -0.5, ...Array(9).fill(0)]],
      call: detOf,
      slack: 5,
      notSpecial: "no order of pivots among infinities and NaN",
    },
  ],
});

/** The determinant, by LU. */
export function detOf(a: Tensor): Tensor {
  const { parity, diagonal } = determinantParts(a);
  return tupleOutputs(det, [a, parity.mul(diagonal.prod(-1))], null)[0];
}
