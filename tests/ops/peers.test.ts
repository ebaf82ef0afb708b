/** Sixteen calls at which a peer gives NaN, something wrong or an error, with what we give: on every engine, plain and under jit. */
import { assertEquals } from "@std/assert";
import {
  Adam,
  conv2d,
  einsum,
  embedding,
  grad,
  hessian,
  jit,
  jvp,
  maxPool2d,
  type Tensor,
  tensor,
  treeLeaves,
  vmap,
} from "../../mod.ts";
import { testEach } from "../support/engines.ts";
import { assertClose, read } from "../support/numbers.ts";

/** A call with what comes of it: there (run on Deno 2.9.6 with jax-js 0.1.25 and TensorFlow.js 4.22) and here. */
interface Case {
  readonly name: string;
  readonly peer: string;
  readonly gives: string;
  readonly f: (...x: Tensor[]) => Tensor | Tensor[];
  readonly at: number[][];
  readonly weGive: number[][];
  /** Relative, absolute beside 0; default exact. */
  readonly within?: number;
}

type F = (x: Tensor) => Tensor;
const gradient = (f: F): F => grad((x: Tensor) => f(x).sum());
const whole = (x: number[]): Tensor => tensor(x, { dtype: "i32" });

const cases: Case[] = [
  {
    name: "1. the gradient of sigmoid, far out",
    peer: "jax-js",
    gives: "NaN at -1000 and -100",
    f: gradient((x) => x.sigmoid()),
    at: [[-1000, -100, 0, 100, 1000]],
    weGive: [[0, 0, 0.25, 0, 0]],
    within: 1e-30,
  },
  {
    name: "2. the gradient of softplus, far out",
    peer: "jax-js",
    gives: "NaN at 100 and 1000",
    f: gradient((x) => x.softplus()),
    at: [[-1000, -100, 0, 100, 1000]],
    weGive: [[0, 0, 0.5, 1, 1]],
    within: 1e-30,
  },
  {
    name: "3. the gradient of pow at 0",
    peer: "jax-js",
    gives: "NaN",
    f: (x) => [2, 3, tensor(2)].map((p) => gradient((x) => x.pow(p))(x)),
    at: [[0]],
    weGive: [[0], [0], [0]],
  },
  {
    name: "4. the gradient of a product with a zero",
    peer: "jax-js",
    gives: "NaN at the zero",
    f: gradient((x) => x.prod()),
    at: [[1, 0, 3]],
    weGive: [[0, 3, 0]],
  },
  {
    name: "5. the gradient of running products with a zero",
    peer: "jax-js, TensorFlow.js",
    gives: "NaN at the zero, no gradient",
    f: gradient((x) => x.cumprod(0)),
    at: [[1, 0, 3]],
    weGive: [[1, 4, 0]],
  },
  {
    name: "6. the gradient of the norm at 0",
    peer: "TensorFlow.js",
    gives: "NaN",
    f: gradient((x) => x.norm()),
    at: [[0, 0]],
    weGive: [[0, 0]],
  },
  {
    name: "7. the gradient of the standard deviation of a constant",
    peer: "jax-js",
    gives: "NaN",
    f: gradient((x) => x.std()),
    at: [[2, 2, 2]],
    weGive: [[0, 0, 0]],
  },
  {
    name: "8. isnan of NaN on WebGPU",
    peer: "jax-js",
    gives: "false",
    f: (x) => x.isnan().to("f32"),
    at: [[NaN, Infinity, 1]],
    weGive: [[1, 0, 0]],
  },
  {
    name: "9. the gradient of rows that are taken by index, under jit",
    peer: "jax-js, TensorFlow.js (gatherND)",
    gives: "an error, no gradient",
    f: (x) => [
      gradient((x) => x.indexSelect(0, whole([2, 0, 2])).square())(x),
      gradient((x) => x.gather(0, whole([2, 0, 2])).square())(x),
    ],
    at: [[1, 2, 3]],
    weGive: [[2, 0, 12], [2, 0, 12]],
  },
  {
    name: "10. the gradient through a cast, as mixed precision needs it",
    peer: "jax-js",
    gives: "no gradient",
    f: gradient((x) => x.to("f16").mul(3).to("f32").square()),
    at: [[0.5, -1]],
    weGive: [[9, -18]],
  },
  {
    name: "11. the Hessian over a tree of several inputs",
    peer: "jax-js",
    gives: "an error: it takes one array with one axis",
    // f = a^2 (b_0^2 + b_1^2)
    f: (a, b) =>
      treeLeaves(
        hessian((p: { a: Tensor; b: Tensor }) => p.a.square().mul(p.b.square().sum()).sum())({ a, b }),
      ),
    at: [[3], [1, 2]],
    weGive: [[10], [12, 24], [12, 24], [18, 0, 0, 18]], // aa, ab, ba, bb
  },
  {
    name: "12. second derivatives of a convolution by its filter, and of max-pooling",
    peer: "TensorFlow.js",
    gives: "no gradient of a gradient",
    f: (w, x) => {
      const square = x.reshape([1, 1, 2, 2]);
      return [
        grad(gradient((w) => conv2d(square, w.reshape([1, 1, 1, 1])).pow(3)))(w), // 6 w sum(x^3)
        gradient(gradient((x) => maxPool2d(x.reshape([1, 1, 2, 2]), 2).pow(3)))(x), // 6 x at the largest
      ];
    },
    at: [[3], [1, 2, 3, 4]],
    weGive: [[1800], [0, 0, 0, 24]],
    within: 1e-6,
  },
  {
    name: "13. the gradient of einsum",
    peer: "TensorFlow.js",
    gives: "no gradient",
    f: (a, b) =>
      grad((a: Tensor, b: Tensor) => einsum("ij,jk->ik", a.reshape([2, 2]), b.reshape([2, 2])).sum(), {
        argnums: [0, 1],
      })(a, b),
    at: [[1, 2, 3, 4], [5, 6, 7, 8]],
    weGive: [[11, 15, 11, 15], [4, 4, 6, 6]],
  },
  {
    name: "14. the gradient of topk",
    peer: "TensorFlow.js",
    gives: "no gradient",
    f: gradient((x) => x.topk(2).values.mul(tensor([2, 7]))),
    at: [[1, 5, 3]],
    weGive: [[0, 2, 7]],
  },
  {
    name: "15. the gradient of an embedding, with the GPU and without",
    peer: "TensorFlow.js on wasm, jax-js on WebGPU",
    gives: "an error, a shader that does not compile",
    f: gradient((w) => embedding(w.reshape([3, 2]), whole([0, 2, 2]))),
    at: [[1, 2, 3, 4, 5, 6]],
    weGive: [[1, 1, 0, 0, 2, 2]],
  },
  {
    name: "16. powers as exact as Adam's bias correction needs them",
    peer: "jax-js",
    gives: "0.98992 for 0.999^10 = 0.99005, so Adam is off by 1e-3",
    f: (x) => [x.pow(10), x.pow(tensor(10))],
    at: [[0.5, 0.9, 0.999, 1.1, 3]],
    weGive: Array(2).fill([0.5, 0.9, 0.999, 1.1, 3].map((x) => Math.fround(x) ** 10)),
    within: 1e-6,
  },
];

const list = (y: Tensor | Tensor[]): Tensor[] => Array.isArray(y) ? y : [y];

for (const { name, peer, gives, f, at, weGive, within = 0 } of cases) {
  testEach(`${name}: ${peer} gives ${gives}; we give ${JSON.stringify(weGive)}`, async () => {
    const x = at.map((v) => tensor(v));
    for (const [how, g] of [["plain", f], ["under jit", jit(f)]] as const) {
      const values = await read(list(g(...x)));
      assertEquals(values.map((v) => v.length), weGive.map((e) => e.length), how);
      values.forEach((v, i) =>
        weGive[i].forEach((e, k) =>
          assertClose(
            [v[k]],
            [e],
            within * Math.min(1, Math.abs(e) || 1),
            `${how}, result ${i}, element ${k}`,
          )
        )
      );
    }
  });
}

testEach("Adam's first hundred steps are those of double precision to 1e-6", async () => {
  // The mathematics in doubles; the gradient of (w - 3)^2.
  let w = 1, m = 0, v = 0;
  const p = tensor(1, { requiresGrad: true }), adam = new Adam([p], { lr: 0.01 });
  for (let t = 1; t <= 100; t++) {
    const g = 2 * (w - 3);
    m = 0.9 * m + 0.1 * g;
    v = 0.999 * v + 0.001 * g * g;
    w -= 0.01 * (m / (1 - 0.9 ** t)) / (Math.sqrt(v / (1 - 0.999 ** t)) + 1e-8);
    adam.zeroGrad();
    p.sub(3).square().backward();
    adam.step();
  }
  assertClose([await p.item()], [w], 2e-6, "the parameter");
});

testEach(
  "beyond the sixteen: forward mode and vmap, which TensorFlow.js and tinygrad do not have",
  async () => {
    const cube = (x: Tensor): Tensor => x.pow(3);
    assertEquals(await jvp(cube, [tensor([1, 2])], [tensor([1, 1])])[1].toArray(), [3, 12]);
    assertEquals(await vmap(grad(cube))(tensor([1, 2])).toArray(), [3, 12]);
  },
);

testEach(
  "beyond the sixteen: logsumexp of a row of minus infinities, NaN in jax-js and TensorFlow.js",
  async () => {
    const x = tensor([[-Infinity, -Infinity], [0, -Infinity]]);
    const f = (x: Tensor): Tensor => x.logsumexp(1),
      g = (x: Tensor): Tensor => grad((x: Tensor) => f(x).sum())(x);
    for (const [y, dx] of [[f(x), g(x)], [jit(f)(x), jit(g)(x)]]) {
      assertEquals(await y.toArray(), [-Infinity, 0]);
      assertEquals((await dx.toArray() as number[][])[1], [1, 0]);
    }
  },
);
