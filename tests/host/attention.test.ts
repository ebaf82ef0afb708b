/** Attention by blocks in f32 against the record's own kernel in f64: values and gradients of all operands. */
import { assert } from "@std/assert";
import { grad, manualSeed, rand, randn, scaledDotProductAttention, type Tensor, vmap } from "../../mod.ts";
import type { DType } from "../../ops/dtype.ts";
import { backends, use } from "../support/engines.ts";

const host = backends.find((b) => b.name === "host")!;

// Batch, heads, those of keys, queries, keys, and their widths: more than a block, fewer keys, shared heads.
const SHAPES = [[2, 4, 2, 130, 130, 16, 24], [1, 2, 2, 70, 200, 8, 8], [1, 2, 1, 700, 70, 32, 16], [
  1,
  1,
  1,
  64,
  64,
  4,
  4,
]];

for (const [B, H, Hk, T, S, D, E] of SHAPES) {
  for (const causal of [false, true]) {
    for (const kind of ["no mask", "a mask", "a bias", "dropping", "a mask and dropping"]) {
      Deno.test(`attention [${[B, H, T, D]}] of ${S} keys${causal ? ", causal" : ""}, with ${kind}`, async () => {
        use(host);
        manualSeed(3);
        const q = randn([B, H, T, D]),
          k = randn([B, Hk, S, D]),
          v = randn([B, Hk, S, E]),
          ct = randn([B, H, T, E]);
        // Some queries see nothing.
        const seen = rand([B, 1, T, S]).gt(0.3).logicalAnd(rand([B, 1, T, 1]).gt(0.1)),
          bias = randn([1, H, T, S]);
        const run = async (dtype: DType): Promise<ArrayLike<number>[]> => {
          const mask = kind.startsWith("a mask")
            ? { mask: seen }
            : kind === "a bias"
            ? { mask: bias.to(dtype) }
            : {};
          const dropout = kind.endsWith("dropping") ? 0.3 : 0;
          manualSeed(5); // the same weights are dropped
          const f = (q: Tensor, k: Tensor, v: Tensor): Tensor =>
            scaledDotProductAttention(q, k, v, { causal, ...mask, dropout, groupedHeads: H !== Hk });
          const x = [q, k, v].map((t) => t.to(dtype));
          const loss = (q: Tensor, k: Tensor, v: Tensor): Tensor => f(q, k, v).mul(ct.to(dtype)).sum();
          const g = grad(loss, { argnums: [0, 1, 2] })(...x as [Tensor, Tensor, Tensor]) as Tensor[];
          return await Promise.all([f(x[0], x[1], x[2]), ...g].map((t) => t.data()));
        };
        const fast = await run("f32"), truth = await run("f64");
        fast.forEach((a, i) => {
          let scale = 1, worst = 0;
          for (let j = 0; j < a.length; j++) {
            scale = Math.max(scale, Math.abs(truth[i][j]));
            const off = Math.abs(a[j] - truth[i][j]);
            worst = Math.max(worst, Number.isNaN(off) ? Infinity : off);
          }
          assert(worst <= 3e-6 * scale, `result ${i} is off by ${worst / scale}`);
        });
      });
    }
  }
}

Deno.test("under vmap each call drops by a key of its own", async () => {
  use(host);
  manualSeed(4);
  const q = randn([3, 2, 70, 70, 8]);
  const run = (dtype: DType): Promise<ArrayLike<number>> => {
    manualSeed(5);
    const f = (q: Tensor): Tensor => scaledDotProductAttention(q, q, q, { dropout: 0.5 });
    return vmap(f, { randomness: "different" })(q.to(dtype)).data();
  };
  const fast = await run("f32"), truth = await run("f64");
  for (let i = 0; i < fast.length; i++) {
    assert(Math.abs(fast[i] - truth[i]) < 1e-5, `element ${i} is ${fast[i]} and must be ${truth[i]}`);
  }
});
