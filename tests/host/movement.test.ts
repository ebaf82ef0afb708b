import { assertEquals } from "@std/assert";
import type { Node } from "../../ops/node.ts";
import type { HostStorage } from "../../ops/reference.ts";
import { engine, generator, leaf, op, random, same } from "./compare.ts";

const DTYPES = ["f32", "f64", "f16", "i32", "u32", "bool"] as const;

/** Every movement of a `[3, 4, 5]` array, and some of movements. */
const MOVES: Record<string, (x: Node) => Node> = {
  reshape: (x) => op("reshape", [x], { shape: [6, 10] }),
  flatten: (x) => op("reshape", [x], { shape: [60] }),
  permute: (x) => op("permute", [x], { axes: [2, 0, 1] }),
  swap: (x) => op("permute", [x], { axes: [0, 2, 1] }),
  expand: (x) => op("expand", [x], { shape: [2, 3, 4, 5] }),
  slice: (x) => op("slice", [x], { starts: [1, 0, 2], sizes: [2, 2, 2], steps: [1, 2, 1] }),
  flip: (x) => op("flip", [x], { axes: [0, 2] }),
  "reshape of permute": (x) => op("reshape", [op("permute", [x], { axes: [2, 0, 1] })], { shape: [5, 12] }),
  "flatten of permute": (x) => op("reshape", [op("permute", [x], { axes: [1, 2, 0] })], { shape: [60] }),
  "slice of flip": (x) =>
    op("slice", [op("flip", [x], { axes: [1] })], { starts: [0, 1, 0], sizes: [3, 2, 5], steps: [1, 1, 1] }),
  "flip of slice": (x) =>
    op("flip", [op("slice", [x], { starts: [1, 1, 1], sizes: [2, 3, 4], steps: [1, 1, 1] })], {
      axes: [1, 2],
    }),
  "expand of slice": (x) =>
    op("expand", [op("slice", [x], { starts: [1, 0, 0], sizes: [1, 4, 1], steps: [1, 1, 1] })], {
      shape: [3, 4, 5],
    }),
  "slice of slice of permute": (x) =>
    op("slice", [
      op("slice", [op("permute", [x], { axes: [2, 1, 0] })], {
        starts: [1, 0, 1],
        sizes: [4, 3, 2],
        steps: [1, 1, 1],
      }),
    ], {
      starts: [1, 1, 0],
      sizes: [2, 2, 2],
      steps: [2, 1, 1],
    }),
  "reshape of slice": (x) =>
    op("reshape", [op("slice", [x], { starts: [0, 1, 0], sizes: [3, 2, 5], steps: [1, 2, 1] })], {
      shape: [6, 5],
    }),
  "row of slice": (x) =>
    op("reshape", [op("slice", [x], { starts: [1, 0, 0], sizes: [1, 4, 5], steps: [1, 1, 1] })], {
      shape: [20],
    }),
  "nothing": (x) => op("slice", [x], { starts: [0, 0, 0], sizes: [0, 4, 5], steps: [1, 1, 1] }),
};

for (const dtype of DTYPES) {
  Deno.test(`movements of ${dtype} arrays are exact, alone, computed with, summed and as operands of kernels`, () => {
    const x = (): Node => random(generator(4), [3, 4, 5], dtype, 0, 9);
    for (const [name, move] of Object.entries(MOVES)) {
      same(name, () => [move(x())]);
      same(`${name} then compare`, () => {
        const y = move(x());
        return [op("eq", [y, y]), op("ne", [y, leaf([3], [], dtype)])];
      });
      same(`compare, then ${name}`, () => {
        const a = x();
        return [move(op("eq", [a, leaf([3], [], dtype)])), move(op("where", [op("eq", [a, a]), a, a]))];
      });
      same(`${name} then sum`, () => {
        const y = move(x());
        return [op("sum", [y], { axes: [0] }), op("sum", [y], { axes: [y.shape.length - 1] })];
      });
      same(`${name} then cat`, () => {
        const y = move(x());
        return [op("cat", [y, y], { axis: y.shape.length - 1 }), op("cat", [y, y], { axis: 0 })];
      });
    }
  });
}

Deno.test("a large transpose is exact", () => {
  for (const shape of [[130, 257], [3, 100, 129]]) {
    const axes = shape.length === 2 ? [1, 0] : [0, 2, 1];
    same("transpose", () => [op("permute", [random(generator(9), shape)], { axes })]);
    same("add of a transpose", () => {
      const x = random(generator(9), shape), y = random(generator(10), axes.map((a) => shape[a]));
      return [op("add", [op("mul", [op("permute", [x], { axes }), y]), y])];
    });
  }
});

Deno.test("where a slice starts is data: one schedule reads other places each run", () => {
  for (let i = 0; i < 6; i++) {
    const p = { starts: [i, 0], sizes: [1, 3], steps: [1, 1] };
    same(`slice at ${i}`, () => {
      const x = leaf([...Array(18).keys()], [6, 3]);
      const row = op("slice", [x], p);
      const inner = op("slice", [op("reshape", [row], { shape: [3] })], {
        starts: [i % 3],
        sizes: [1],
        steps: [1],
      });
      return [
        op("neg", [row]),
        row,
        inner,
        op("cat", [row, row], { axis: 0 }),
        op("sum", [row], { axes: [0] }),
      ];
    });
    same(`matmul of a slice at ${i}`, () => {
      const x = random(generator(1), [6, 3]), w = random(generator(2), [3, 2]);
      return [op("matmul", [op("slice", [x], p), w])];
    }, 1);
    same(
      `window at ${i}`,
      () => [op("scatterWindow", [leaf([1, 2, 3], [3])], { shape: [12], starts: [i], steps: [2] })],
    );
  }
});

Deno.test("roots that are views of one value do not disturb it", () => {
  const x = leaf([1, 2, 3, 4], [2, 2]), flat = op("reshape", [x], { shape: [4] }), y = op("neg", [flat]);
  engine.run([flat, y]);
  assertEquals((flat.value as HostStorage).data, Float32Array.of(1, 2, 3, 4));
  engine.free(flat.value!);
  assertEquals((x.value as HostStorage).data, Float32Array.of(1, 2, 3, 4));
  assertEquals((y.value as HostStorage).data, Float32Array.of(-1, -2, -3, -4));
});
