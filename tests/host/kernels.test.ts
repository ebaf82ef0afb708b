import { assertEquals, assertThrows } from "@std/assert";
import type { DType } from "../../ops/dtype.ts";
import type { Node } from "../../ops/node.ts";
import { primitives } from "../../ops/primitive.ts";
import { ReferenceEngine } from "../../ops/reference.ts";
import { engine, generator, leaf, op, random, same, SPECIAL, values } from "./compare.ts";

const TYPES: readonly DType[] = ["f32", "f64", "f16", "i32", "u32", "bool"];
const SHAPES = [
  [],
  [1],
  [7],
  [3000],
  [5, 1],
  [4, 6],
  [40, 3],
  [2, 3, 4],
  [3, 50, 2],
  [2, 1, 33, 3],
  [0],
  [3, 0],
  [0, 3],
  [2, 0, 3],
];

function subsets(rank: number): number[][] {
  return Array.from({ length: 1 << rank }, (_, bits) => [...Array(rank).keys()].filter((a) => bits >> a & 1));
}

Deno.test("every reduction equals the reference over all sets of axes, within the error of its order", () => {
  for (const record of primitives().values()) {
    if (record.family !== "reduction") continue;
    for (const dtype of TYPES) {
      for (const shape of SHAPES) {
        for (const axes of subsets(shape.length)) {
          if (record.name.startsWith("am") && axes.some((a) => shape[a] === 0)) continue;
          const low = record.name === "prod" ? 0.5 : -2, high = record.name === "prod" ? 1.5 : 3;
          const x = (): Node => random(generator(shape.length + axes.length), shape, dtype, low, high);
          // The reference adds doubles one by one, with the larger error.
          const tolerance = dtype === "f64" ? 1000 : 2;
          same(
            `${record.name} ${dtype} [${shape}] over [${axes}]`,
            () => [op(record.name, [x()], { axes })],
            tolerance,
          );
          if (dtype === "bool") continue;
          same(`${record.name} of a square ${dtype} [${shape}] over [${axes}]`, () => {
            const a = x();
            return [op(record.name, [op("mul", [a, a])], { axes })];
          }, tolerance);
        }
      }
    }
  }
});

Deno.test("reductions of views, and of values that others need too, equal the reference", () => {
  for (const name of ["sum", "amax"]) {
    for (const axes of subsets(3)) {
      for (const order of [[0, 1, 2], [2, 1, 0], [1, 2, 0], [1, 0, 2]]) {
        same(`${name} of permute`, () => {
          const x = random(generator(3), [20, 33, 18]), y = op("permute", [x], { axes: order });
          return [op(name, [y], { axes })];
        }, 2);
        same(`${name} of a product with a permute and a row`, () => {
          const x = random(generator(3), [4, 33, 18]), y = op("permute", [x], { axes: order });
          const row = random(generator(4), [y.shape[2]]), z = op("mul", [op("exp", [y]), row]);
          return [
            op(name, [z], { axes }),
            ...(axes.length === 1 ? [z] : []),
            op(name, [op("neg", [row])], { axes: [0] }),
          ];
        }, 2);
      }
    }
    same(
      `${name} of an expanded number`,
      () => [op(name, [op("expand", [leaf([0.1], [])], { shape: [30, 40] })], { axes: [1] })],
      2,
    );
  }
});

Deno.test("reductions of special values equal the reference", () => {
  for (const name of ["sum", "prod", "amax", "amin"]) {
    for (const dtype of ["f32", "f64", "f16"] as const) {
      for (let n = 1; n <= SPECIAL.length; n++) {
        same(
          `${name} of ${n}`,
          () => [
            op(name, [leaf(SPECIAL, [n, 2], dtype)], { axes: [0] }),
            op(name, [leaf(SPECIAL, [2, n], dtype)], { axes: [1] }),
          ],
          2,
        );
      }
      same(
        `${name} of NaN at the end`,
        () => [op(name, [leaf([...Array(99).fill(1), NaN], [100], dtype)], { axes: [0] })],
      );
      same(`${name} of -0`, () => [op(name, [leaf([-0], [100], dtype)], { axes: [0] })]);
    }
  }
});

Deno.test("a sum of a million small numbers is right to the last bit of f32", () => {
  const y = op("sum", [leaf([0.1], [1000, 1000])], { axes: [0, 1] });
  assertEquals(values(() => [y], engine)[0][0], Math.fround(1e6 * Math.fround(0.1)));
});

/** Large products run in vectors of their own type, or in the system's library; all others are exact. */
const vectors = (dtype: string, M: number, N: number, K: number): number =>
  (dtype === "f32" || dtype === "f64") && M * N * K >= 32768 ? 4 * Math.sqrt(K) : 0;

Deno.test("matmul equals the reference: small products bit for bit, large ones but for the order of sums", () => {
  const sizes = [
    [1, 1, 1],
    [2, 3, 4],
    [5, 7, 3],
    [4, 4, 300],
    [1, 50, 200],
    [50, 1, 200],
    [64, 64, 1],
    [33, 65, 29],
    [130, 70, 20],
    [20, 260, 40],
    [17, 19, 700],
  ];
  sizes.push([130, 8, 600], [0, 3, 2], [3, 0, 2], [3, 2, 0]);
  for (const [M, N, K] of sizes) {
    for (const dtype of ["f32", "f64", "f16", "i32", "u32"] as const) {
      const a = (s: number[]): Node => random(generator(M), s, dtype, -5, 5),
        b = (s: number[]): Node => random(generator(N), s, dtype, -5, 5);
      const near = vectors(dtype, M, N, K);
      same(`${dtype} ${M} ${N} ${K}`, () => [op("matmul", [a([M, K]), b([K, N])])], near);
      const t = (x: Node): Node => op("permute", [x], { axes: [1, 0] });
      same(`transposed ${dtype} ${M} ${N} ${K}`, () => [op("matmul", [t(a([K, M])), t(b([N, K]))])], near);
    }
  }
});

Deno.test("batched matmul equals the reference, shared factors and views included", () => {
  for (const batch of [[1], [3], [2, 3], [0], [2, 1, 2]]) {
    for (const [M, N, K] of [[2, 3, 4], [20, 30, 10]]) {
      const a = (): Node => random(generator(7), [...batch, M, K]),
        b = (): Node => random(generator(8), [...batch, K, N]);
      same("batch", () => [op("matmul", [a(), b()])], 16);
      same(
        "shared right",
        () => [
          op("matmul", [a(), op("expand", [random(generator(1), [K, N])], { shape: [...batch, K, N] })]),
        ],
        16,
      );
      same(
        "shared left",
        () => [
          op("matmul", [op("expand", [random(generator(1), [M, K])], { shape: [...batch, M, K] }), b()]),
        ],
        16,
      );
      same("shared right, strided left", () => {
        const x = random(generator(2), [M, ...batch, K]), axes = [...batch.keys()].map((i) => i + 1);
        const w = op("expand", [random(generator(1), [K, N])], { shape: [...batch, K, N] });
        return [op("matmul", [op("permute", [x], { axes: [...axes, 0, batch.length + 1] }), w])];
      }, 16);
      same("strided batch", () => {
        const rank = batch.length + 2, x = random(generator(2), [M, ...batch, K]);
        const axes = [...batch.keys()].map((i) => i + 1);
        return [
          op("matmul", [
            op("permute", [x], { axes: [...axes, 0, rank - 1] }),
            op("flip", [b()], { axes: [rank - 2] }),
          ]),
        ];
      }, 16);
    }
  }
  same(
    "an expanded number",
    () => [op("matmul", [op("expand", [leaf([2], [])], { shape: [5, 6] }), random(generator(2), [6, 7])])],
  );
});

Deno.test("matmul passes on NaN and infinity only where they belong", () => {
  for (const n of [30, 40]) {
    const x = (): Node => leaf([...Array(100).fill(1), NaN, Infinity], [n, n]);
    same(`special ${n}`, () => [op("matmul", [x(), random(generator(1), [n, n])])], n === 40 ? 16 : 0);
  }
});

const ids = (shape: number[], n: number, dtype: DType = "i32"): Node =>
  random(generator(6), shape, dtype, dtype === "i32" ? -n : 0, n);

Deno.test("every kernel of our own for a custom primitive equals the record's", () => {
  for (const dtype of ["f32", "f64", "f16"] as const) {
    for (const shape of [[7], [5, 9], [3, 4, 5], [2, 1, 70], [1, 1]]) {
      for (let axis = 0; axis < shape.length; axis++) {
        const x = (): Node => random(generator(axis), shape, dtype),
          special = (): Node => leaf(SPECIAL, shape, dtype);
        for (const make of [x, special, () => leaf([-Infinity], shape, dtype), () => op("neg", [x()])]) {
          for (const name of ["softmax", "logsumexp", "argmax"]) {
            same(name, () => [op(name, [make()], { axis })]);
          }
          for (const descending of [false, true]) {
            same("argsort", () => [op("argsort", [make()], { axis, descending })]);
          }
          for (const reverse of [false, true]) {
            same("cumsum", () => [op("cumsum", [make()], { axis, reverse })]);
          }
        }
        const n = shape[axis];
        for (const length of [1, 4, 12]) {
          const index = (): Node => ids(shape.map((m, a) => a === axis ? length : m), n);
          const small = (): Node => ids(shape.map((m, a) => a === axis ? length : Math.max(1, m - 1)), n);
          for (const i of [index, small]) {
            same("gather", () => [op("gather", [x(), i()], { axis })]);
            same(
              "scatterAdd",
              () => [op("scatterAdd", [x(), i(), random(generator(3), i().shape, dtype)], { axis })],
            );
          }
        }
        for (const count of [1, 2, 3]) {
          same("cat", () => [op("cat", Array.from({ length: count }, x), { axis })]);
        }
        const shift = {
          shape: shape.map((m) => 2 * m + 1),
          starts: shape.map((_, a) => a % 2),
          steps: shape.map((m) => m > 0 ? 2 : 1),
        };
        same(
          "scatterWindow",
          () => [op("scatterWindow", [x()], shift), op("scatterWindow", [op("exp", [x()])], shift)],
        );
      }
      const D = shape.slice(1);
      same("embedding", () => [op("embedding", [random(generator(1), shape, dtype), ids([2, 6], shape[0])])]);
      same(
        "embeddingGrad",
        () => [
          op("embeddingGrad", [random(generator(1), [2, 6, ...D], dtype), ids([2, 6], shape[0])], { shape }),
        ],
      );
      same(
        "crossEntropy",
        () => [
          op("crossEntropy", [
            random(generator(1), shape, dtype),
            ids(shape.slice(0, -1), shape[shape.length - 1], "u32"),
          ]),
        ],
      );
    }
    same(
      "cat of long rows",
      () => [
        op("cat", [random(generator(1), [3, 200], dtype), random(generator(2), [3, 70], dtype)], { axis: 1 }),
      ],
    );
  }
  for (const shape of [[], [1], [1000], [3, 5], [0]]) {
    same("randomBits", () => [op("randomBits", [leaf([12345, 4294967295], [2], "u32")], { shape })]);
    same(
      "randomBits of keys",
      () => [op("randomBits", [leaf([1, 2, 4000000000, 4], [2, 2], "u32")], { shape })],
    );
  }
});

Deno.test("long lines with ties and NaN are sorted as the record does", () => {
  const data = Array.from({ length: 3000 }, (_, i) => i % 97 === 5 ? NaN : (i * 7919) % 101 - 50);
  for (const descending of [false, true]) {
    for (const dtype of ["f32", "i32"] as const) {
      const shape = [1000, 3];
      same("argsort", () => [op("argsort", [leaf(data, shape, dtype)], { axis: 0, descending })]);
    }
  }
});

Deno.test("scalars and nothing go through custom kernels", () => {
  same(
    "window of a scalar",
    () => [op("scatterWindow", [leaf([3], [])], { shape: [], starts: [], steps: [] })],
  );
  same(
    "window of nothing",
    () => [op("scatterWindow", [leaf([], [0, 2])], { shape: [4, 3], starts: [1, 0], steps: [1, 1] })],
  );
  same("cat of nothing", () => [op("cat", [leaf([], [0, 2]), leaf([1], [1, 2])], { axis: 0 })]);
  same("embedding of nothing", () => [op("embedding", [leaf([1, 2], [2]), leaf([], [0], "i32")])]);
  same("gather of nothing", () => [op("gather", [leaf([], [0]), leaf([], [0], "i32")], { axis: 0 })]);
});

Deno.test("an index out of range throws the record's error, and the engine goes on", () => {
  const reference = new ReferenceEngine();
  const cases: [string, () => Node[]][] = [
    ["gather", () => [op("gather", [leaf([1, 2, 3], [3]), leaf([0, 3], [2], "i32")], { axis: 0 })]],
    ["gather below", () => [op("gather", [leaf([1, 2, 3], [3]), leaf([-4], [1], "i32")], { axis: 0 })]],
    [
      "scatterAdd",
      () => [op("scatterAdd", [leaf([1, 2, 3], [3]), leaf([0, 9], [2], "i32"), leaf([1], [2])], { axis: 0 })],
    ],
    ["embedding", () => [op("embedding", [leaf([1, 2, 3], [3, 1]), leaf([5], [1], "i32")])]],
    [
      "embeddingGrad",
      () => [op("embeddingGrad", [leaf([1], [1, 2]), leaf([5], [1], "i32")], { shape: [3, 2] })],
    ],
    ["crossEntropy", () => [op("crossEntropy", [leaf([1, 2, 3], [3]), leaf([3], [], "i32")])]],
  ];
  for (const [name, build] of cases) {
    const expected = assertThrows(() => values(build, reference), RangeError);
    for (let i = 0; i < 2; i++) {
      const roots = [op("neg", [leaf([1], [2])]), ...build()];
      assertThrows(() => engine.run(roots), RangeError, expected.message, name);
      assertEquals(roots.map((r) => r.value), roots.map(() => null), "nothing is realised");
    }
    same(
      `after ${name}`,
      () => [op("gather", [leaf([1, 2, 3], [3]), leaf([0, 2], [2], "i32")], { axis: 0 })],
    );
  }
});

Deno.test("a product that is only used transposed is stored so, and has the same bits", () => {
  const rng = generator(7);
  for (
    const [a, b] of [[[5, 3], [3, 7]], [[90, 40], [40, 70]], [[3, 20, 30], [3, 30, 50]], [[4, 20, 30], [
      30,
      50,
    ]]]
  ) {
    const [x, w] = [random(rng, a), random(rng, b)], axes = a.length === 2 ? [1, 0] : [0, 2, 1];
    const product = (): Node => {
      const full = b.length < a.length ? op("expand", [w], { shape: [a[0], ...b] }) : w;
      return op("matmul", [x, full]);
    };
    const build = (): Node[] => {
      const swapped = op("permute", [product()], { axes });
      return [product(), swapped, op("neg", [swapped])];
    };
    const [y, swapped, negative] = values(build, engine).map((v) => [...v]);
    const M = a[a.length - 2], N = b[b.length - 1];
    const expected = y.map((_, i) => {
      const [batch, j, k] = [Math.floor(i / (M * N)), Math.floor(i % (M * N) / M), i % M];
      return y[batch * M * N + k * N + j];
    });
    assertEquals(swapped, expected);
    assertEquals(negative, expected.map((v) => -v));
  }
});
