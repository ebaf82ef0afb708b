/** How much a run needs at once: the order of its kernels, results in place of operands, places in the arena. */
import { assert, assertEquals } from "@std/assert";
import { createHostEngine } from "../../gpu/host/engine.ts";
import { type Lifetime, placeAll } from "../../gpu/placement.ts";
import type { Node } from "../../ops/node.ts";
import { repeats } from "../../gpu/rematerialise.ts";
import { generator, op, random, same, values } from "./compare.ts";

/** Bytes of the arena that a run takes. */
function arena(roots: Node[]): number {
  const host = createHostEngine();
  return host.planned(roots).arena;
}

const transposed = (x: Node): Node => op("permute", [x], { axes: [1, 0] });

Deno.test("the gradient of a weight is computed when its cotangent appears, though it comes last among the roots", () => {
  const rng = generator(1), rows = 4096, width = 16, layers = 8, bytes = 4 * rows * width;
  const weights = Array.from({ length: layers }, () => random(rng, [width, width]));
  const kept: Node[] = [random(rng, [rows, width])];
  for (const w of weights) kept.push(op("matmul", [kept[kept.length - 1], w]));
  let ct = op("sin", [kept.pop()!]);
  const gradients: Node[] = [];
  for (let i = layers - 1; i >= 0; i--) {
    gradients.unshift(op("matmul", [transposed(kept[i]), ct]));
    ct = op("matmul", [ct, transposed(weights[i])]);
  }
  // What the forward pass keeps, and two cotangents; all cotangents at once would be 7 more.
  const most = (layers + 1) * bytes, need = arena([...gradients, ct]);
  assert(need <= most, `${need} bytes, at most ${most} are needed`);
});

Deno.test("what only lets a value go together is computed together, though its results are needed late", () => {
  const rng = generator(4), rows = 4096, width = 16, bytes = 4 * rows * width;
  const w = random(rng, [width, width]), late: Node[] = [];
  let x = op("matmul", [random(rng, [rows, width]), w]);
  for (let i = 0; i < 8; i++) {
    late.push(op("matmul", [transposed(x), x]), op("sum", [x], { axes: [0] }));
    x = op("matmul", [x, w]);
  }
  const all = late.reduce((sum, y) => op("add", [sum, y]));
  const need = arena([op("sum", [x], { axes: [0, 1] }), all]);
  assert(need <= 2.2 * bytes, `${need} bytes, at most ${2.2 * bytes} are needed`);
});

Deno.test("a function's result takes the place of its operand, unless that is used again or read elsewhere", () => {
  const n = 1 << 14, bytes = 4 * n, x = random(generator(2), [128, 128]);
  const y = op("matmul", [x, x]), two = op("matmul", [op("sin", [y]), x]);
  assertEquals(arena([two]), bytes);
  assertEquals(arena([op("matmul", [op("add", [y, transposed(y)]), x])]), 2 * bytes);
  assertEquals(arena([op("matmul", [op("sin", [y]), y])]), 2 * bytes);
  assertEquals(arena([op("matmul", [op("softmax", [y], { axis: 1 }), x])]), bytes);
  assertEquals(arena([op("matmul", [op("softmax", [y], { axis: 0 }), x])]), bytes);
  assertEquals(
    arena([op("matmul", [op("cast", [y], { dtype: "f64" }), op("cast", [x], { dtype: "f64" })])]),
    4 * bytes, // both as f64; that of y is not in the place of y
  );
});

Deno.test("results in place of operands are those of the reference", () => {
  for (const [rows, width] of [[5, 7], [128, 130], [300, 515]]) {
    const make = (): Node[] => {
      const rng = generator(rows), x = random(rng, [rows, width]), square = random(rng, [rows, rows]);
      const y = op("tanh", [op("matmul", [square, x])]);
      return [0, 1].flatMap((axis) => {
        const row = op("sum", [op("softmax", [y], { axis })], { axes: [0] });
        const chain = op("matmul", [
          square,
          op("sin", [op("softmax", [op("matmul", [square, y])], { axis })]),
        ]);
        return [row, op("tanh", [chain])];
      });
    };
    same(`${rows} by ${width}`, make, 1 << 14);
  }
});

Deno.test("what is little work is done again for the backward pass instead of being kept, with the same bits", () => {
  const rows = 2048, width = 256, layers = 6, bytes = 4 * rows * width;
  const build = (isKept: boolean): Node[] => {
    const rng = generator(5),
      weights = Array.from({ length: layers }, () => random(rng, [width, width], "f32", -0.1, 0.1));
    let y = random(rng, [rows, width]);
    const pre: Node[] = [], post: Node[] = [y];
    for (const w of weights) {
      pre.push(op("matmul", [y, w]));
      y = op("sin", [pre[pre.length - 1]]);
      post.push(y);
    }
    let ct = op("matmul", [y, weights[0]]);
    const gradients: Node[] = [];
    for (let i = layers - 1; i >= 0; i--) {
      ct = op("mul", [ct, op("cos", [pre[i]])]);
      gradients.push(op("matmul", [transposed(post[i]), ct]));
      ct = op("matmul", [ct, transposed(weights[i])]);
    }
    return [...gradients, ct, ...isKept ? post.slice(1) : []];
  };
  const need = arena(build(false)), most = (2 * layers + 1) * bytes;
  // Those before the functions are kept, and those after them but for two, which is what time allows.
  assert(need < most - 1.5 * bytes, `${need / bytes} arrays at once, ${most / bytes} without`);
  const once = values(() => build(false), createHostEngine()),
    kept = values(() => build(true), createHostEngine());
  once.forEach((v, i) => assertEquals(v, kept[i], `result ${i}`));
});

Deno.test("repeats: a chosen kernel's operands are there, and later ones read the repeat", () => {
  const MiB = 2 ** 20, product = { cost: Infinity };
  const doings = [
    { reads: [], writes: [0], ...product },
    { reads: [0], writes: [1], cost: 1 }, // little work, read now and late
    { reads: [1], writes: [2], ...product },
    { reads: [2], writes: [3], ...product },
    { reads: [2, 3], writes: [4], ...product }, // 0 and 1 wait here
    { reads: [4], writes: [5], ...product },
    { reads: [1, 5], writes: [6], ...product },
    { reads: [0, 6], writes: [7], ...product },
  ];
  assertEquals(repeats(doings, 1000, () => 4 * MiB), [{ again: 1, slot: 1, before: 6 }]);
  assertEquals(repeats(doings, 1000, () => MiB / 2), [], "a small run");
  assertEquals(repeats(doings, 10, () => 4 * MiB), [], "too much time");
  const gone = doings.map((d, k) => k < 7 ? d : { ...d, reads: [6] });
  assertEquals(repeats(gone, 1000, () => 4 * MiB), [], "its operand is gone by then");
});

Deno.test("places by size fit where places in the order of time do not, and none overlap", () => {
  // In time: 1, then 2 behind it, then 3 behind both, since 1 leaves a hole that is too small.
  const list = [{ bytes: 64, from: 0, to: 1 }, { bytes: 128, from: 1, to: 2 }, {
    bytes: 192,
    from: 2,
    to: 3,
  }];
  assertEquals(placeAll(list).bytes, 320);
  // As in attention: by size the one of 64 comes last and finds a gap of 63.
  const tight = [[65, 0, 5], [64, 2, 3], [65, 3, 8], [128, 8, 10]];
  assertEquals(
    placeAll(tight.map(([n, from, to]) => ({ bytes: 64 * n, from, to }))).bytes,
    64 * (65 + 64 + 65),
  );
  const rng = generator(3);
  for (let k = 0; k < 200; k++) {
    const some: Lifetime[] = Array.from({ length: 40 }, () => {
      const from = Math.floor(rng() * 50);
      return { bytes: Math.floor(rng() * 1000), from, to: from + Math.floor(rng() * 20) };
    }).sort((a, b) => a.from - b.from);
    const { places, bytes } = placeAll(some);
    some.forEach((a, i) => {
      assert(places[i] + a.bytes <= bytes);
      some.slice(0, i).forEach((b, j) => {
        const apart = places[i] + a.bytes <= places[j] || places[j] + b.bytes <= places[i];
        assert(apart || b.to < a.from || a.to < b.from, `list ${k}: ${i} over ${j}`);
      });
    });
  }
});
