/** The system's library, where there is one, against sums by hand: every layout of operands, and what it refuses. */
import { assert, assertEquals } from "@std/assert";
import { blas, GEMM_SOURCE, layout, lazyGemm } from "../../gpu/host/blas.ts";
import { HostMemory } from "../../gpu/host/memory.ts";
import { product, products, usesLibrary } from "../../gpu/host/wasm/product.ts";
import { createRunner } from "../../gpu/host/wasm/runner.ts";
import { generator } from "./compare.ts";

const library = blas(), memory = new HostMemory();
const gemm = memory.memory === null ? null : lazyGemm(memory.memory, GEMM_SOURCE);
const SHAPES = [[3, 5, 4], [1, 6, 7], [8, 1, 3], [16, 16, 16], [2, 3, 1]];
const LAYOUTS = [[0, 0], [0, 1], [1, 0], [1, 1]];

/** A copy of an array where WebAssembly and the library reach it. */
function placed<A extends Float32Array | Float64Array>(values: A): A {
  const at = memory.take(values.byteLength)!, kind = values.constructor as new (...x: unknown[]) => A;
  const array = new kind(memory.buffer, at, values.length);
  array.set(values);
  return array;
}

type Matrix = { data: Float32Array | Float64Array; row: number; column: number };

/** Asserts that `c [M, line]` is `a b` in its first N columns, plus `before` everywhere. */
function check(a: Matrix, b: Matrix, c: ArrayLike<number>, line: number, shape: number[], before: number[]) {
  const [M, N, K] = shape;
  for (let i = 0; i < M; i++) {
    for (let j = 0; j < line; j++) {
      let sum = before[j < N ? 0 : 1];
      for (let k = 0; k < K && j < N; k++) {
        sum += a.data[i * a.row + k * a.column] * b.data[k * b.row + j * b.column];
      }
      const off = Math.abs(c[i * line + j] - sum);
      assert(off < 1e-5 * Math.sqrt(K), `${shape}: row ${i}, column ${j} is off by ${off}`);
    }
  }
}

Deno.test({
  name: `products of ${library?.name ?? "a system library (NOT RUN: there is none)"} in every layout`,
  ignore: library === null || gemm === null,
  fn: () => {
    const rng = generator(1);
    for (const [M, N, K] of SHAPES) {
      for (const [s, t] of LAYOUTS) {
        for (const wide of [0, 1]) {
          const line = N + 2, array = wide ? Float64Array : Float32Array;
          const [row, column] = s ? [1, M] : [K, 1], [r, q] = t ? [1, K] : [N, 1];
          const a = { data: placed(new array(M * K).map(rng)), row, column };
          const b = { data: placed(new array(K * N).map(rng)), row: r, column: q };
          const x = layout(row, column, M, K)!, w = layout(r, q, K, N)!;
          for (const adds of [0, 1]) {
            const c = placed(new array(M * line).fill(7));
            const [i, j, k] = [a.data, b.data, c].map((data) => data.byteOffset);
            gemm!(wide, x[0], w[0], M, N, K, i, x[1], j, w[1], adds, k, line);
            check(a, b, c, line, [M, N, K], [7 * adds, 7]);
          }
        }
      }
    }
    // Repeated rows, a step in both directions, lines that overlap.
    assertEquals([layout(0, 1, 4, 4), layout(16, 2, 4, 4), layout(2, 16, 4, 4)], [null, null, null]);
  },
});

Deno.test("products of any layout, shared out among threads, are the sums, whoever computes them", async () => {
  const runner = createRunner(memory)!, rng = generator(2);
  usesLibrary(runner, 1 << 30);
  // The first of them start the threads.
  for (
    const [M, N, K] of [[200, 190, 180], [127, 131, 263], [64, 400, 230], [400, 64, 230], [13, 100, 900]]
  ) {
    for (const [s, t] of LAYOUTS) {
      const [a, b] = [placed(new Float32Array(M * K).map(rng)), placed(new Float32Array(K * N).map(rng))];
      const c = placed(new Float32Array(M * N)),
        [row, column] = s ? [1, M] : [K, 1],
        [r, q] = t ? [1, K] : [N, 1];
      product(
        runner,
        [M, N, K],
        { at: a.byteOffset, row: 4 * row, column: 4 * column },
        { at: b.byteOffset, row: 4 * r, column: 4 * q },
        c.byteOffset,
      );
      check({ data: a, row, column }, { data: b, row: r, column: q }, c, N, [M, N, K], [0, 0]);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }
  const [B, M, N, K] = [20, 70, 65, 66];
  const [a, b] = [placed(new Float32Array(B * M * K).map(rng)), placed(new Float32Array(B * K * N).map(rng))];
  const c = placed(new Float32Array(B * M * N));
  products(
    runner,
    [M, N, K],
    { at: a.byteOffset, row: 4 * K, column: 4 },
    { at: b.byteOffset, row: 4, column: 4 * K },
    c.byteOffset,
    B,
    4 * M * K,
    4 * K * N,
  );
  for (let i = 0; i < B; i++) {
    const x = a.subarray(i * M * K), w = b.subarray(i * K * N), y = c.subarray(i * M * N);
    check({ data: x, row: K, column: 1 }, { data: w, row: 1, column: K }, y, N, [M, N, K], [0, 0]);
  }
});
