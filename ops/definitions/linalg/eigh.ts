/** Eigenvalues and eigenvectors of symmetric matrices, by Jacobi's rotations. */
import { apply } from "../../node.ts";
import type { Custom, Tuple } from "../../primitive.ts";
import { sizeOf } from "../../shape.ts";
import type { Tensor } from "../../tensor.ts";
import { tupleOutputs } from "../structural.ts";
import {
  count,
  diagonalMatrix,
  eachMatrix,
  kernel,
  onDiagonal,
  plus,
  put,
  scaleColumns,
  split,
  symmetric,
  tuple,
  unpack,
} from "./common.ts";

/** Sweeps after which Jacobi's method ends; it needs about 6 to 10. */
const SWEEPS = 40;

/** `[eigenvalues | eigenvectors | room to work in]`, packed, of the lower triangle. */
const eighKernel: Custom = kernel({
  name: "eighKernel",
  tex: ([a]) => `\\operatorname{eigh} ${a}`,
  infer: ([a]) => {
    const { batch, N } = split(a.shape);
    return { shape: [...batch, N + 2 * N * N], dtype: a.dtype };
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
      put(y.data, t * (N + 2 * N * N), values, vectors);
    });
  },
  wgsl: {
    threads: ([a]) => count(a.shape),
    uniforms: ([a]) => [a.shape[a.shape.length - 1], SWEEPS],
    body: () => `
      let n = u(0); let w = t * (n + 2 * n * n); let v = w + n; let a = v + n * n;
      var total = 0.0;
      for (var i = 0; i < n; i++) {
        for (var j = 0; j <= i; j++) {
          let e = x0(t * n * n + i * n + j);
          put(a + i * n + j, e); put(a + j * n + i, e); total += e * e;
          put(v + i * n + j, select(0.0, 1.0, i == j)); put(v + j * n + i, select(0.0, 1.0, i == j));
        }
      }
      for (var sweep = 0; sweep < u(1); sweep++) {
        var off = 0.0;
        for (var p = 0; p < n; p++) { for (var q = p + 1; q < n; q++) { let e = y(a + p * n + q); off += e * e; } }
        if (!gtf(off, 1e-18 * total)) { break; }
        for (var p = 0; p < n; p++) {
          for (var q = p + 1; q < n; q++) {
            let apq = y(a + p * n + q);
            if (abs(apq) < 1e-37) { continue; }
            let app = y(a + p * n + p); let aqq = y(a + q * n + q);
            let theta = (aqq - app) / (2.0 * apq);
            // Beyond 1e9 the tangent is 1 / (2 theta) to the last bit, and the square would overflow.
            let big = abs(theta) > 1e9; let safe = select(theta, 1.0, big);
            let tangent = select(select(1.0, -1.0, theta < 0.0) / (abs(safe) + sqrt(safe * safe + 1.0)), 0.5 / theta, big);
            let c = 1.0 / sqrt(tangent * tangent + 1.0); let s = tangent * c;
            put(a + p * n + p, app - tangent * apq); put(a + q * n + q, aqq + tangent * apq);
            put(a + p * n + q, 0.0); put(a + q * n + p, 0.0);
            for (var i = 0; i < n; i++) {
              let vp = y(v + i * n + p); let vq = y(v + i * n + q);
              put(v + i * n + p, c * vp - s * vq); put(v + i * n + q, s * vp + c * vq);
              if (i != p && i != q) {
                let ip = y(a + i * n + p); let iq = y(a + i * n + q);
                let np = c * ip - s * iq; let nq = s * ip + c * iq;
                put(a + i * n + p, np); put(a + p * n + i, np);
                put(a + i * n + q, nq); put(a + q * n + i, nq);
              }
            }
          }
        }
      }
      for (var i = 0; i < n; i++) { put(w + i, y(a + i * n + i)); }
      for (var i = 0; i < n; i++) {
        var least = i;
        for (var j = i + 1; j < n; j++) { if (ltf(y(w + j), y(w + least))) { least = j; } }
        if (least != i) {
          let e = y(w + i); put(w + i, y(w + least)); put(w + least, e);
          for (var k = 0; k < n; k++) {
            let f = y(v + k * n + i); put(v + k * n + i, y(v + k * n + least)); put(v + k * n + least, f);
          }
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
  outputs: ([a]) => [{ shape: a.shape.slice(0, -1), dtype: a.dtype }, { shape: a.shape, dtype: a.dtype }],
  expand: ([a]) => {
    const { N } = split(a.shape);
    return unpack(apply(eighKernel, [a], null), [[N], [N, N]]);
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
