/** Eigenvalues and eigenvectors of symmetric matrices, by Jacobi's rotations. */
import { apply } from "../../node.ts";
import type { Custom, Tuple } from "../../primitive.ts";
import { sizeOf } from "../../shape.ts";
import type { Tensor } from "../../tensor.ts";
import { tupleOutputs } from "../structural.ts";
import { ROTATION, rounds, sweeps } from "./jacobi.ts";
import {
  count,
  diagonalMatrix,
  eachMatrix,
  kernel,
  ofFinite,
  onDiagonal,
  plus,
  put,
  scaleColumns,
  split,
  symmetric,
  tuple,
  unpack,
} from "./common.ts";

/** Sweeps after which the host's loop ends; it needs about 6 to 10. */
const SWEEPS = 40;

/** `[eigenvalues | eigenvectors | room to work in]`, packed, of the lower triangle. */
const eighKernel: Custom = kernel({
  name: "eighKernel",
  tex: ([a]) => `\\operatorname{eigh} ${a}`,
  infer: ([a]) => {
    const { batch, N } = split(a.shape);
    return { shape: [...batch, 3 * N + 3 * N * N], dtype: a.dtype };
  },
  host: ([x], y) => {
    const { N } = split(x.shape), v = new Float64Array(N * N), values = new Float64Array(N);
    eachMatrix(x, (a, t) => {
      let total = 0;
      for (let i = 0; i < N; i++) {
        for (let j = 0; j < i; j++) a[j * N + i] = a[i * N + j];
        for (let j = 0; j <= i; j++) total += a[i * N + j] ** 2;
      }
      v.fill(0);
      for (let i = 0; i < N; i++) v[i * N + i] = 1;
      for (let sweep = 0; sweep < SWEEPS; sweep++) {
        let off = 0;
        for (let p = 0; p < N; p++) for (let q = p + 1; q < N; q++) off += a[p * N + q] ** 2;
        if (!(off > 1e-38 * total)) break;
        for (let p = 0; p < N; p++) {
          for (let q = p + 1; q < N; q++) {
            const apq = a[p * N + q];
            if (apq === 0) continue;
            const theta = (a[q * N + q] - a[p * N + p]) / (2 * apq);
            const tan = (theta < 0 ? -1 : 1) / (Math.abs(theta) + Math.sqrt(theta * theta + 1));
            const c = 1 / Math.sqrt(tan * tan + 1), s = tan * c;
            a[p * N + p] -= tan * apq;
            a[q * N + q] += tan * apq;
            a[p * N + q] = a[q * N + p] = 0;
            for (let i = 0; i < N; i++) {
              const vp = v[i * N + p], vq = v[i * N + q];
              v[i * N + p] = c * vp - s * vq;
              v[i * N + q] = s * vp + c * vq;
              if (i === p || i === q) continue;
              const ip = a[i * N + p], iq = a[i * N + q];
              a[i * N + p] = a[p * N + i] = c * ip - s * iq;
              a[i * N + q] = a[q * N + i] = s * ip + c * iq;
            }
          }
        }
      }
      const order = Array.from({ length: N }, (_, i) => i).sort((i, j) => a[i * N + i] - a[j * N + j]);
      const vectors = new Float64Array(N * N);
      order.forEach((from, to) => {
        values[to] = a[from * N + from];
        for (let i = 0; i < N; i++) vectors[i * N + to] = v[i * N + from];
      });
      put(y.data, t * (3 * N + 3 * N * N), values, vectors);
    });
  },
  wgsl: {
    // A thread a row or a pair. After a copy, three turns for each round of disjoint pairs: their rotations, then those
    // of columns, then those of rows; then eigenvalues find their places.
    threads: ([a]) => count(a.shape) * a.shape[a.shape.length - 1],
    turns: ([a]) => 2 + 3 * rounds(a.shape[a.shape.length - 1]) * sweeps(a.shape[a.shape.length - 1]),
    uniforms: (
      [a],
    ) => [
      a.shape[a.shape.length - 1],
      rounds(a.shape[a.shape.length - 1]) * sweeps(a.shape[a.shape.length - 1]),
    ],
    body: () => `
      let n = u(0); let matrix = t / n; let i = t % n;
      let w = matrix * (3 * n + 3 * n * n); let v = w + n; let a = v + n * n; let b = a + n * n; let turns = b + n * n;
      if (turn == 0) {
        for (var j = 0; j < n; j++) {
          put(a + i * n + j, x0(matrix * n * n + max(i, j) * n + min(i, j)));
          put(b + i * n + j, select(0.0, 1.0, i == j));
        }
        return;
      }
      if (turn == 1 + 3 * u(1)) {
        let mine = y(a + i * n + i); var place = 0;
        for (var j = 0; j < n; j++) {
          let other = y(a + j * n + j);
          if (other < mine || (other == mine && j < i)) { place++; }
        }
        put(w + place, mine);
        for (var j = 0; j < n; j++) { put(v + j * n + place, y(b + j * n + i)); }
        return;
      }
      let round = (turn - 1) / 3; let phase = (turn - 1) % 3; let pairs = (n + 1) / 2;
      if (phase == 0) {
        if (i >= pairs) { return; }
        let pq = pairOf(i, n, round);
        var c = 1.0; var s = 0.0;
        if (pq.y < n) {
          let apq = y(a + pq.x * n + pq.y);
          if (abs(apq) > 1e-37) {
            let theta = (y(a + pq.y * n + pq.y) - y(a + pq.x * n + pq.x)) / (2.0 * apq);
            ${ROTATION("theta")}
          }
        }
        put(turns + 2 * i, c); put(turns + 2 * i + 1, s);
        return;
      }
      for (var k = 0; k < pairs; k++) {
        let pq = pairOf(k, n, round);
        let c = y(turns + 2 * k); let s = y(turns + 2 * k + 1);
        if (pq.y >= n || s == 0.0) { continue; }
        if (phase == 1) {
          let ap = y(a + i * n + pq.x); let aq = y(a + i * n + pq.y);
          put(a + i * n + pq.x, c * ap - s * aq); put(a + i * n + pq.y, s * ap + c * aq);
          let bp = y(b + i * n + pq.x); let bq = y(b + i * n + pq.y);
          put(b + i * n + pq.x, c * bp - s * bq); put(b + i * n + pq.y, s * bp + c * bq);
        } else {
          let ap = y(a + pq.x * n + i); let aq = y(a + pq.y * n + i);
          put(a + pq.x * n + i, select(c * ap - s * aq, 0.0, i == pq.y));
          put(a + pq.y * n + i, select(s * ap + c * aq, 0.0, i == pq.x));
        }
      }`,
  },
  flops: ([a]) => 60 * sizeOf(a.shape) * a.shape[a.shape.length - 1],
  samples: [{
    shapes: [[2, 3, 3]],
    call: (x) => apply(eighKernel, [x], null).narrow(-1, 0, 3),
    differences: false,
    notSpecial: "rotations among infinities and NaN",
  }],
});

/** `1 / (values[j] - values[i])` off the diagonal, 0 on it; infinite where eigenvalues are equal. */
function gaps(values: Tensor): Tensor {
  const diagonal = onDiagonal(values, values.shape[values.rank - 1]);
  return values.unsqueeze(-2).sub(values.unsqueeze(-1)).maskedFill(diagonal, 1).reciprocal().maskedFill(
    diagonal,
    0,
  );
}

/**
 * Ascending eigenvalues and eigenvectors (columns) of the lower triangle. With `E = V^T da V` and
 * `F = 1 / (l_j - l_i)`: `dl = diag E`, `dV = V (F * E)` (Giles 2008, 3.1). Derivatives take a for symmetric; those of
 * eigenvectors are infinite or NaN at equal eigenvalues, those of eigenvalues are not.
 */
export const eigh: Tuple = tuple({
  name: "eigh",
  tex: ([a]) => `\\operatorname{eigh} ${a}`,
  texPullbacks: () => [
    "V\\,(\\operatorname{diag} \\bar{\\lambda} + G \\odot (V^\\top \\bar{V}))\\,V^\\top, \\; G_{ij} = \\frac{1}{\\lambda_j - \\lambda_i}",
  ],
  outputs: ([a]) => [{ shape: a.shape.slice(0, -1), dtype: a.dtype }, { shape: a.shape, dtype: a.dtype }],
  expand: ([a]) => {
    const { N } = split(a.shape), i = a.scalarLike(1, "i32").expand([N]).cumsum(0); // no table in an expansion
    return ofFinite(a.where(i.unsqueeze(1).ge(i), 0), unpack(apply(eighKernel, [a], null), [[N], [N, N]]));
  },
  vjp: ([cl, cv], { y: [l, v] }) => {
    const turn = cv && v.matmul(gaps(l).mul(v.mT().matmul(cv)));
    const inner = plus(cl && scaleColumns(v, cl), turn);
    return [inner && symmetric(inner.matmul(v.mT()))];
  },
  jvp: ([da], { y: [l, v] }) => {
    if (da === null) return [null, null];
    const e = v.mT().matmul(symmetric(da)).matmul(v);
    return [e.diagonal(), v.matmul(gaps(l).mul(e))];
  },
  samples: [[2, 3, 3], [1, 1], [4, 4]].map((shape) => ({
    shapes: [shape],
    call: (x: Tensor) => {
      const [l, v] = tupleOutputs(
        eigh,
        [symmetric(x).add(diagonalMatrix(x.arangeLike(shape[1]).mul(3)))],
        null,
      );
      return [l, v.square()]; // signs of eigenvectors are free
    },
    slack: 20,
    notSpecial: "rotations among infinities and NaN",
  })),
});
