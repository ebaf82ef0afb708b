/** The host's kernels of convolutions and windows against the records', bit for bit. */
import "../../ops/functions/convolution.ts";
import "../../ops/functions/pooling.ts";
import type { Convolution } from "../../ops/definitions/convolution.ts";
import type { Windows } from "../../ops/definitions/windows.ts";
import type { DType } from "../../ops/dtype.ts";
import type { Shape } from "../../ops/shape.ts";
import { generator, leaf, op, random, same, SPECIAL } from "./compare.ts";

/** x `[N, G, C, ...I]`, w `[G, O, C, ...K]` and attributes; the result has all places that a window reaches. */
function convolves(x: Shape, w: Shape, p: Partial<Convolution>, dtype: DType = "f32"): void {
  const I = x.slice(3), K = w.slice(3), one = I.map(() => 1), zero = I.map(() => 0);
  const { stride = one, before = zero, dilation = one, spread = one } = p;
  const size = p.size ?? I.map((n, a) => {
    const extent = (n - 1) * spread[a] + 1 + 2 * before[a] - (K[a] - 1) * dilation[a];
    return Math.max(1, Math.ceil(extent / stride[a]));
  });
  const all: Convolution = { stride, before, dilation, spread, size };
  same(
    `convolution of ${JSON.stringify([x, w, all, dtype])}`,
    () => [op("convolution", [random(generator(1), x, dtype), random(generator(2), w, dtype)], all)],
    dtype === "f32" ? 32 : 0, // large products of f32 run in vectors, whose sums lose a few bits
  );
}

Deno.test("columns and a product give the sums of the record, whatever the geometry", () => {
  for (const dtype of ["f32", "f64", "f16", "i32", "u32"] as const) {
    convolves([2, 1, 3, 9, 8], [1, 5, 3, 3, 3], { before: [1, 1] }, dtype);
    convolves([3, 2, 2, 7, 6], [2, 3, 2, 2, 3], { stride: [2, 3], before: [1, 2], dilation: [3, 1] }, dtype);
    // The gradients of a strided convolution: spread, and with a window larger than the result.
    convolves([2, 1, 5, 4, 3], [1, 3, 5, 3, 3], { before: [2, 1], spread: [2, 3] }, dtype);
    convolves([3, 2, 4, 12, 13], [2, 6, 4, 9, 10], { dilation: [1, 1], size: [3, 3] }, dtype);
    convolves(
      [1, 1, 40, 12, 13],
      [1, 6, 40, 5, 6],
      { dilation: [2, 2], size: [3, 3], before: [1, 1] },
      dtype,
    );
  }
  // More columns than a block, in rows and within a row; one place; deep; a plain product; three axes and four.
  convolves([3, 1, 2, 40, 41], [1, 4, 2, 3, 3], { before: [1, 1] });
  convolves([1, 1, 1, 3000], [1, 4, 1, 5], { before: [2] });
  convolves([70, 1, 3, 2, 2], [1, 4, 3, 2, 2], {});
  convolves([2, 1, 200, 5, 5], [1, 9, 200, 3, 3], {});
  convolves([2, 3, 6, 9, 9], [3, 5, 6, 1, 1], {});
  convolves([2, 3, 6, 3, 3], [3, 5, 6, 1, 1], {});
  convolves([2, 1, 2, 4, 5, 6], [1, 3, 2, 3, 2, 2], {
    stride: [1, 2, 1],
    before: [0, 1, 1],
    spread: [2, 1, 3],
  });
  convolves([2, 1, 2, 3, 3, 3, 3], [1, 2, 2, 2, 2, 2, 2], { before: [0, 1, 0, 1] });
  // Windows that begin inside, or beyond.
  convolves([1, 1, 2, 6, 6], [1, 2, 2, 2, 2], { before: [-2, -7], size: [3, 4] });
  convolves([0, 1, 2, 6], [1, 2, 2, 2], {});
  convolves([2, 1, 0, 6], [1, 2, 0, 2], {});
});

Deno.test("weights that are not finite meet no padding", () => {
  const p: Convolution = { stride: [1, 2], before: [1, 1], dilation: [1, 1], spread: [1, 1], size: [5, 3] };
  const x = (): ReturnType<typeof leaf> => leaf([1, -2, 0.5], [2, 1, 2, 5, 5]);
  for (const value of [Infinity, -Infinity, NaN]) {
    same("weights", () => [op("convolution", [x(), leaf([1, value, 2], [1, 3, 2, 3, 3])], p)]);
    same(
      "inputs",
      () => [op("convolution", [leaf([1, 2, value], [2, 1, 2, 5, 5]), leaf([1, -1], [1, 3, 2, 3, 3])], p)],
    );
  }
});

Deno.test("windows take, put and find as the records do", () => {
  const cases: [Shape, Windows][] = [
    [[3, 9], { kernel: [3], stride: [2], before: [1], dilation: [2], size: [4], adaptive: false }],
    [[2, 6, 5], {
      kernel: [2, 3],
      stride: [2, 1],
      before: [1, 1],
      dilation: [1, 2],
      size: [4, 3],
      adaptive: false,
    }],
    [[2, 4, 3, 5], {
      kernel: [2, 2, 2],
      stride: [2, 1, 3],
      before: [0, 1, 0],
      dilation: [1, 1, 1],
      size: [2, 4, 2],
      adaptive: false,
    }],
    [[2, 5, 7], {
      kernel: [1, 1],
      stride: [1, 1],
      before: [0, 0],
      dilation: [1, 1],
      size: [3, 4],
      adaptive: true,
    }],
  ];
  for (const [shape, p] of cases) {
    for (const dtype of ["f32", "f64", "f16", "i32"] as const) {
      for (const x of [() => random(generator(3), shape, dtype), () => leaf(SPECIAL, shape, dtype)]) {
        const index = (): ReturnType<typeof op> => op("windowArgmax", [x()], p);
        same("windowArgmax", () => [index()]);
        same("windowTake", () => [op("windowTake", [x(), index()], p)]);
        const ct = (): ReturnType<typeof op> => random(generator(4), [shape[0], ...p.size], dtype);
        same("windowPut", () => [op("windowPut", [ct(), index()], { ...p, input: shape.slice(1) })]);
      }
    }
  }
});
