/** Attention layers and transformer blocks: PyTorch's numbers and names, and a small model that learns to sort. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  Adam,
  alphaDropout,
  crossEntropy,
  dropout2d,
  dropout3d,
  Embedding,
  grad,
  jit,
  Linear,
  manualSeed,
  Module,
  MultiheadAttention,
  ones,
  randint,
  randn,
  rotaryPositions,
  scaledDotProductAttention,
  sinusoidalPositions,
  stack,
  type Tensor,
  tensor,
  TransformerDecoderLayer,
  TransformerEncoderLayer,
} from "../../mod.ts";
import { numbers } from "./support.ts";

const F64 = { dtype: "f64", device: "host" } as const;

/** Parameters sin(k + length of the name), as the numbers below were made with in PyTorch 2.13. */
function filled<M extends Module>(module: M): M {
  for (const [name, p] of Object.entries(module.namedParameters())) {
    p.assign(
      tensor(Float64Array.from({ length: p.size }, (_, k) => Math.sin(k + name.length)), {
        shape: p.shape,
        ...F64,
      }),
    );
  }
  return module;
}

const sequence = (n: number, shape: number[], f: (k: number) => number): Tensor =>
  tensor(Float64Array.from({ length: n }, (_, k) => f(k)), { shape, ...F64 });
const x = sequence(12, [1, 3, 4], (k) => Math.sin(k * 0.7)),
  memory = sequence(10, [1, 2, 5], (k) => Math.cos(k * 0.3));

async function near(actual: Tensor, expected: number[]): Promise<void> {
  (await numbers(actual)).forEach((v, i) =>
    assert(Math.abs(v - expected[i]) < 2e-6, `${i}: ${v}, not ${expected[i]}`)
  );
}

Deno.test("MultiheadAttention has PyTorch's numbers and names", async () => {
  const self = filled(new MultiheadAttention(4, 2, F64));
  assertEquals(Object.keys(self.stateDict()), [
    "in_proj_weight",
    "in_proj_bias",
    "out_proj.weight",
    "out_proj.bias",
  ]);
  const output = [1.233602, 2.61279, -2.283805, 1.925616, 1.193851, 2.618526, -2.251553, 1.877718].concat(
    [3.421354, 0.625092, -1.873066, 3.37636],
  );
  await near(self.call(x, x, x, { causal: true }), output);
  const both = self.withWeights(x, x, x, { causal: true });
  await near(both.output, output);
  await near(both.weights, [1, 0, 0, 0.986678, 0.013322, 0, 0.198208, 0.674148, 0.127644]);
  const cross = filled(new MultiheadAttention(4, 2, { keyWidth: 5, valueWidth: 5, ...F64 }));
  assertEquals(Object.keys(cross.stateDict()).slice(0, 3), [
    "q_proj_weight",
    "k_proj_weight",
    "v_proj_weight",
  ]);
  const row = [4.00601, 1.876641, -4.093855, 5.02802];
  await near(cross.call(x, memory, memory, { keyPaddingMask: tensor([[false, true]], { device: "host" }) }), [
    ...row,
    ...row,
    ...row,
  ]);
});

Deno.test("transformer layers have PyTorch's numbers", async () => {
  const options = { feedforward: 8, dropout: 0, ...F64 };
  await near(
    filled(new TransformerEncoderLayer(4, 2, { activation: "gelu", ...options })).call(x),
    [-0.469932, -1.531202, -0.670539, 1.420051, -0.44384, -1.508467, -0.709695, 1.442189].concat(
      [-0.477082, -1.546174, -0.623347, 1.403579],
    ),
  );
  await near(
    filled(new TransformerDecoderLayer(4, 2, { normFirst: true, ...options })).call(x, x.flip(1)),
    [2.383871, -5.903117, -0.064485, 8.851301, 2.055337, -6.756588, -1.517164, 6.468391].concat(
      [1.809655, -6.487922, -0.460889, 8.986089],
    ),
  );
});

Deno.test("dropped attention weights are the same forward and backward", async () => {
  const [q, k, v] = [1, 2, 3].map(() => randn([2, 3, 4], F64));
  const f = (t: Tensor): Tensor => scaledDotProductAttention(q, k, t, { dropout: 0.5 }).sum();
  // Linear in the values: f(v) = <f'(v), v> holds only if both drop the same weights.
  const seeded = (g: () => Tensor): Tensor => {
    manualSeed(3);
    return g();
  };
  const y = seeded(() => f(v)), dv = seeded(() => grad(f)(v) as Tensor);
  assert(Math.abs(await y.item() - await dv.mul(v).sum().item()) < 1e-12);
  assert(Math.abs(await y.item() - await scaledDotProductAttention(q, k, v).sum().item()) > 1e-3);
});

Deno.test("dropout of channels drops all of a channel, and alphaDropout keeps mean and variance", async () => {
  manualSeed(1);
  for (
    const y of [
      dropout2d(ones([4, 8, 3, 3])).reshape([32, 9]),
      dropout3d(ones([8, 3, 3, 3])).reshape([8, 27]),
    ]
  ) {
    for (const row of await y.toArray() as number[][]) {
      assert(row.every((v) => v === row[0]) && [0, 2].includes(row[0]));
    }
  }
  const z = alphaDropout(randn([100_000]), 0.3);
  assert(Math.abs(await z.mean().item()) < 0.02 && Math.abs(await z.std().item() - 1) < 0.02);
  assertThrows(() => dropout2d(ones([2, 3])), RangeError, "4 axes");
});

Deno.test("rotary positions turn products of queries and keys by their distance only", async () => {
  const [q, k] = [randn([1, 6], F64), randn([1, 6], F64)];
  const at = (t: Tensor, place: number): Tensor => rotaryPositions(t, { positions: tensor([place], F64) });
  const product = (i: number, j: number): Tensor => at(q, i).mul(at(k, j)).sum();
  const [a, b, c] = await numbers(stack([product(5, 2), product(13, 10), product(5, 3)]));
  assert(Math.abs(a - b) < 1e-12 && Math.abs(a - c) > 1e-6);
  await near(sinusoidalPositions(2, 4, F64), [
    0,
    1,
    0,
    1,
    Math.sin(1),
    Math.cos(1),
    Math.sin(0.01),
    Math.cos(0.01),
  ]);
});

Deno.test("bad input to attention names what is and what must be", () => {
  assertThrows(() => new MultiheadAttention(6, 4), RangeError, "must divide the width");
  const layer = new MultiheadAttention(4, 2);
  assertThrows(() => layer.call(ones([2, 3, 5])), RangeError, "last axis must have length 4");
  assertThrows(() => layer.call(ones([4])), RangeError, "[B, T, width]");
  const padding = { keyPaddingMask: ones([2, 2]).to("bool") };
  assertThrows(
    () => layer.call(ones([2, 3, 4]), undefined, undefined, padding),
    RangeError,
    "must be [2,3], bool",
  );
  const q = ones([2, 3, 4]);
  assertThrows(() => scaledDotProductAttention(q, ones([2, 3, 5]), q), RangeError, "one width");
  assertThrows(() => scaledDotProductAttention(q, ones([2, 5, 4]), q), RangeError, "one value for each key");
  assertThrows(
    () => scaledDotProductAttention(q, q, q, { mask: ones([2]).to("bool") }),
    RangeError,
    "[2,3,3]",
  );
  assertThrows(
    () => scaledDotProductAttention(q, q, q, { mask: ones([3]).to("i32") }),
    TypeError,
    "mask.ne(0)",
  );
  const three = ones([3, 3, 4]);
  assertThrows(
    () => scaledDotProductAttention(three, q, q, { groupedHeads: true }),
    RangeError,
    "divide those of queries",
  );
});

Deno.test("a small transformer learns to sort", async () => {
  manualSeed(0);
  const V = 8, T = 6, C = 32, options = { device: "host" } as const;
  class Sorter extends Module {
    tokens = new Embedding(V, C, options);
    places = sinusoidalPositions(T, C, options);
    block = new TransformerEncoderLayer(C, 4, { feedforward: 64, dropout: 0, normFirst: true, ...options });
    second = new TransformerEncoderLayer(C, 4, { feedforward: 64, dropout: 0, normFirst: true, ...options });
    head = new Linear(C, V, options);
    forward(ids: Tensor): Tensor {
      return this.head.call(this.second.call(this.block.call(this.tokens.call(ids).add(this.places))));
    }
  }
  const model = new Sorter(), adam = new Adam(model, { lr: 3e-3 });
  const step = jit((ids: Tensor, sorted: Tensor) => {
    const loss = crossEntropy(model.call(ids), sorted);
    adam.zeroGrad();
    loss.backward();
    adam.step();
    return loss;
  });
  for (let i = 0; i < 300; i++) {
    const ids = randint(0, V, [64, T], options);
    step(ids, ids.sort(1).values);
  }
  const ids = randint(0, V, [256, T], options), right = model.call(ids).argmax(-1).eq(ids.sort(1).values);
  const accuracy = await right.to("f32").mean().item();
  assert(accuracy > 0.97, `accuracy ${accuracy}`);
});
