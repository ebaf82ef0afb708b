/** The matrix exponential, by a Taylor polynomial with scaling and squaring. */
import { apply } from "../../node.ts";
import type { Custom, Tuple } from "../../primitive.ts";
import { sizeOf } from "../../shape.ts";
import type { Tensor } from "../../tensor.ts";
import { cat } from "../indexing.ts";
import { tupleOutputs } from "../structural.ts";
import { count, eachMatrix, kernel, put, split, tuple, unpack } from "./common.ts";

/** At a norm of 1/2 the next term is below 1e-21. */
const DEGREE = 17;

/** `[e^a | room to work in]`, packed. */
const exponentialKernel: Custom = kernel({
  name: "exponentialKernel",
  tex: ([a]) => `e^{${a}}`,
  infer: ([a]) => {
    const { batch, N } = split(a.shape);
    return { shape: [...batch, 2 * N * N], dtype: a.dtype };
  },
  host: ([x], y) => {
    const { N } = split(x.shape);
    const times = (to: Float64Array, a: Float64Array, b: Float64Array, by: number): void => {
      to.fill(0);
      for (let i = 0; i < N; i++) {
        for (let k = 0; k < N; k++) {
          const e = a[i * N + k] * by;
          for (let j = 0; j < N; j++) to[i * N + j] += e * b[k * N + j];
        }
      }
    };
    eachMatrix(x, (a, t) => {
      let norm = 0, squarings = 0;
      for (let j = 0; j < N; j++) {
        let column = 0;
        for (let i = 0; i < N; i++) column += Math.abs(a[i * N + j]);
        norm = Math.max(norm, column);
      }
      for (; norm > 0.5 && squarings < 64; norm /= 2) squarings++;
      let e = new Float64Array(N * N), other = new Float64Array(N * N);
      for (let i = 0; i < N; i++) e[i * N + i] = 1;
      for (let k = DEGREE; k > 0; k--) {
        times(other, a, e, 1 / (k * 2 ** squarings));
        [e, other] = [other, e];
        for (let i = 0; i < N; i++) e[i * N + i] += 1;
      }
      for (let k = 0; k < squarings; k++) {
        times(other, e, e, 1);
        [e, other] = [other, e];
      }
      put(y.data, t * 2 * N * N, e);
    });
  },
  wgsl: {
    threads: ([a]) => count(a.shape),
    uniforms: ([a]) => [a.shape[a.shape.length - 1], DEGREE],
    body: () => `
      let n = u(0); let a = t * n * n; let e = 2 * a; let w = e + n * n;
      var norm = 0.0; var squarings = 0; var scale = 1.0;
      for (var j = 0; j < n; j++) {
        var column = 0.0;
        for (var i = 0; i < n; i++) { column += abs(x0(a + i * n + j)); }
        norm = maxf(norm, column);
      }
      for (; gtf(norm, 0.5) && squarings < 64; norm *= 0.5) { squarings++; scale *= 0.5; }
      for (var i = 0; i < n * n; i++) { put(e + i, select(0.0, 1.0, i / n == i % n)); }
      for (var k = u(1); k > 0; k--) {
        for (var i = 0; i < n * n; i++) {
          var s = 0.0;
          for (var l = 0; l < n; l++) { s += x0(a + (i / n) * n + l) * y(e + l * n + i % n); }
          put(w + i, s * scale / f32(k));
        }
        for (var i = 0; i < n * n; i++) { put(e + i, select(0.0, 1.0, i / n == i % n) + y(w + i)); }
      }
      for (var k = 0; k < squarings; k++) {
        for (var i = 0; i < n * n; i++) {
          var s = 0.0;
          for (var l = 0; l < n; l++) { s += y(e + (i / n) * n + l) * y(e + l * n + i % n); }
          put(w + i, s);
        }
        for (var i = 0; i < n * n; i++) { put(e + i, y(w + i)); }
      }`,
  },
  flops: ([a]) => 2 * (DEGREE + 5) * sizeOf(a.shape) * a.shape[a.shape.length - 1],
  samples: [{
    shapes: [[2, 3, 3]],
    call: (x) => apply(exponentialKernel, [x], null).narrow(-1, 0, 9),
    differences: false,
    notSpecial: "powers of infinities and NaN",
  }],
});

/** The derivative of e^a along e: the upper right block of `exp [[a, e], [0, a]]` (Mathias 1996). */
function along(a: Tensor, e: Tensor): Tensor {
  const n = a.shape[a.rank - 1], last = a.rank - 1;
  const upper = apply(cat, [a, e], { axis: last }), lower = apply(cat, [a.zerosLike(), a], { axis: last });
  const block = apply(cat, [upper, lower], { axis: last - 1 }); // [..., 2 N, 2 N]
  return tupleOutputs(matrixExp, [block], null)[0].narrow(-2, 0, n).narrow(-1, n, n);
}

/** `e^a`; both derivatives are exponentials of block matrices (Al-Mohy and Higham 2009). */
export const matrixExp: Tuple = tuple({
  name: "matrixExp",
  tex: ([a]) => `e^{${a}}`,
  outputs: ([a]) => [{ shape: a.shape, dtype: a.dtype }],
  expand: ([a]) => {
    const { N } = split(a.shape);
    return unpack(apply(exponentialKernel, [a], null), [[N, N], [N, N]]).slice(0, 1);
  },
  vjp: ([ct], { x: [a] }) => [along(a.mT(), ct!)],
  jvp: ([da], { x: [a] }) => [da === null ? null : along(a, da)],
  samples: [[2, 3, 3], [1, 1]].map((shape) => ({
    shapes: [shape],
    call: (x: Tensor) => tupleOutputs(matrixExp, [x], null),
    slack: 5,
    notSpecial: "powers of infinities and NaN",
  })),
});
