/** Layers against their equations, and effects under transforms. */
import { assert, assertEquals, assertRejects, assertStrictEquals, assertThrows } from "@std/assert";
import { checkpoint, jit, manualSeed, randn, type Tensor, tensor, vmap, zeros } from "../../mod.ts";
import { Dropout } from "../../nn/dropout.ts";
import { Linear } from "../../nn/linear.ts";
import { BatchNorm, LayerNorm } from "../../nn/norm.ts";
import { buffer, parameter } from "../../nn/parameter.ts";
import { RNNCell } from "../../nn/rnn_cell.ts";
import { Sequential } from "../../nn/sequential.ts";
import { numbers } from "./support.ts";

Deno.test("BatchNorm normalises by the batch in training and by running statistics in evaluation", async () => {
  const norm = new BatchNorm(2), x = tensor([[1, 10], [3, 30], [5, 50]]);
  const y = await numbers(norm.call(x));
  const z = 2 / Math.sqrt(8 / 3 + 1e-5);
  [-z, 0, z].forEach((v, i) => assert(Math.abs(y[2 * i] - v) < 1e-5));
  // 0.9 old + 0.1 new, variance unbiased: 4 and 400.
  (await numbers(norm.runningMean!)).forEach((v, i) => assert(Math.abs(v - [0.3, 3][i]) < 1e-6));
  (await numbers(norm.runningVar!)).forEach((v, i) => assert(Math.abs(v - [1.3, 40.9][i]) < 1e-5));
  norm.eval();
  const e = await numbers(norm.call(x));
  assert(Math.abs(e[0] - (1 - 0.3) / Math.sqrt(1.3 + 1e-5)) < 1e-5);
  assertEquals(Object.keys(norm.stateDict()), ["weight", "bias", "runningMean", "runningVar"]);
  const images = new BatchNorm(3).call(randn([2, 3, 4, 5]));
  assertEquals(images.shape, [2, 3, 4, 5]);
  const m = await numbers(images.mean([0, 2, 3]));
  m.forEach((v) => assert(Math.abs(v) < 1e-5));
});

Deno.test("running statistics move once per call, also under jit and checkpoint", async () => {
  const x = tensor([[1], [3], [5]]);
  for (const wrap of [(f: (x: Tensor) => Tensor) => f, jit, checkpoint] as const) {
    const norm = new BatchNorm(1), call = wrap((x: Tensor) => norm.call(x).square().sum());
    const loss = call(x);
    if (wrap !== jit) loss.backward();
    assert(Math.abs((await numbers(norm.runningMean!))[0] - 0.3) < 1e-6);
    call(x);
    assert(Math.abs((await numbers(norm.runningMean!))[0] - 0.57) < 1e-6);
  }
});

Deno.test("BatchNorm over examples inside vmap is an error that names the way out", () => {
  const norm = new BatchNorm(2);
  const f = vmap((x: Tensor) => norm.call(x));
  const error = assertThrows(() => f(randn([3, 4, 2])), Error, "inside vmap");
  assert(error.message.includes("eval()") && error.message.includes("runningMean"), error.message);
  norm.eval();
  assertEquals(f(randn([3, 4, 2])).shape, [3, 4, 2]);
  assertThrows(() => new BatchNorm(2).call(randn([1, 2])), RangeError, "more than one value");
});

Deno.test("LayerNorm normalises each example", async () => {
  const norm = new LayerNorm([2, 3]), y = norm.call(randn([4, 2, 3]));
  (await numbers(y.mean([1, 2]))).forEach((v) => assert(Math.abs(v) < 1e-5));
  (await numbers(y.square().mean([1, 2]))).forEach((v) => assert(Math.abs(v - 1) < 1e-3));
  assertThrows(() => norm.call(randn([4, 3])), RangeError, "[2,3]");
});

Deno.test("dropout drops in training only, and repeats itself from the same seed", async () => {
  const drop = new Dropout(0.25), x = tensor(new Float32Array(4000).fill(1));
  manualSeed(1);
  const a = await numbers(drop.call(x));
  manualSeed(1);
  assertEquals(await numbers(drop.call(x)), a);
  const kept = a.filter((v) => v !== 0);
  assert(Math.abs(kept.length / 4000 - 0.75) < 0.03 && Math.abs(kept[0] - 4 / 3) < 1e-6);
  drop.eval();
  assertStrictEquals(drop.call(x), x);
});

Deno.test("an RNN cell without a state is one with the state 0", async () => {
  const cell = new RNNCell(2, 3), x = randn([4, 2]);
  const a = await numbers(cell.call(x)), b = await numbers(cell.call(x, zeros([4, 3])));
  a.forEach((v, i) => assert(Math.abs(v - b[i]) < 1e-6));
  assertEquals(Object.keys(cell.namedParameters()).length, 4);
});

Deno.test("layers and roles refuse what they cannot take", async () => {
  assertThrows(() => new Linear(2, 3).call(randn([4, 3])), RangeError, "Linear(2 -> 3)");
  const w = randn([2], { requiresGrad: true });
  assertThrows(() => parameter(w.mul(2)), Error, "detach");
  assertThrows(() => buffer(w), Error, "requires gradients");
  assertThrows(() => new Sequential(3 as never), TypeError, "layer 0");
  await assertRejects(() => new Linear(1, 1).toDevice("nowhere" as never));
});
