/** The system's library, where there is one, against sums by hand: every layout of operands, and what it refuses. */
import { assert, assertEquals } from "@std/assert";
import { blas } from "../../gpu/host/blas.ts";
import { generator } from "./compare.ts";

const library = blas();

Deno.test({
  name: `products of ${library?.name ?? "a system library (NOT RUN: there is none)"} in every layout`,
  ignore: library === null,
  fn: () => {
    const rng = generator(1);
    for (const A of [Float32Array, Float64Array] as const) {
      for (const [M, N, K] of [[3, 5, 4], [1, 6, 7], [8, 1, 3], [16, 16, 16], [2, 3, 1]]) {
        for (const [s, t] of [[0, 0], [0, 1], [1, 0], [1, 1]]) {
          const a = new A(M * K + 9).map(rng), b = new A(K * N + 9).map(rng), line = N + 2;
          const c = new A(M * line).fill(7);
          const left = { data: a, row: s ? 1 : K, column: s ? M : 1 };
          const right = { data: b, row: t ? 1 : N, column: t ? K : 1 };
          assert(library!.multiply(left, right, c, line, M, N, K), `${[M, N, K, s, t]}`);
          for (let i = 0; i < M; i++) {
            for (let j = 0; j < line; j++) {
              let sum = 0;
              for (let k = 0; k < K; k++) {
                sum += a[i * left.row + k * left.column] * b[k * right.row + j * right.column];
              }
              const off = Math.abs(c[i * line + j] - (j < N ? sum : 7));
              assert(off < 1e-5, `${[M, N, K, s, t]}: row ${i}, column ${j} is off by ${off}`);
            }
          }
        }
      }
    }
    // Repeated rows, a step in both directions, nothing at all.
    const x = { data: new Float32Array(64), row: 0, column: 1 }, y = { ...x, row: 16, column: 2 };
    assertEquals(library!.multiply(x, y, new Float32Array(64), 4, 4, 4, 4), false);
    assertEquals(library!.multiply(y, y, new Float32Array(64), 4, 0, 4, 4), false);
  },
});
