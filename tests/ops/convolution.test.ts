/** Convolution and pooling where laws do not look: ties, padding, infinities, and derivatives of derivatives. */
import { assertEquals } from "@std/assert";
import {
  adaptiveAvgPool1d,
  avgPool1d,
  avgPool2d,
  conv1d,
  conv2d,
  grad,
  interpolate,
  lpPool1d,
  maxPool1d,
  maxPool2d,
  type Tensor,
  tensor,
  vmap,
} from "../../mod.ts";
import { testEach } from "../support/engines.ts";
import { assertClose, random, read } from "../support/numbers.ts";

const drawn = (shape: number[], seed: number): Tensor => {
  const rng = random(seed), size = shape.reduce((n, m) => n * m, 1);
  return tensor(Float32Array.from({ length: size }, () => 2 * rng() - 1), { shape });
};

testEach("the gradient of a maximum goes to the first of equals", async () => {
  const x = tensor([[[1, 3, 3, 0], [3, 2, 1, 0]]]);
  const { values, indices } = maxPool2d(x, 2, { returnIndices: true });
  assertEquals(await values.toArray(), [[[3, 3]]]);
  assertEquals(await indices.toArray(), [[[1, 2]]]);
  const g = grad((t: Tensor) => maxPool2d(t, 2).sum())(x);
  assertEquals(await g.toArray(), [[[0, 1, 1, 0], [0, 0, 0, 0]]]);
});

testEach("padding never is the maximum, and NaN always is", async () => {
  const x = tensor([[-3, -2, NaN, -1, -Infinity, -Infinity]]);
  assertEquals(await maxPool1d(x, 2, { padding: 1 }).toArray(), [[-3, NaN, -1, -Infinity]]);
});

testEach("a mean of infinities is one, in windows of any length and with weights that add up", async () => {
  const x = tensor([[1, Infinity, 2, 3, 4]]);
  assertEquals(await avgPool1d(x, 2, { stride: 1 }).toArray(), [[Infinity, Infinity, 2.5, 3.5]]);
  assertEquals(await adaptiveAvgPool1d(x, 3).toArray(), [[Infinity, Infinity, 3.5]]);
});

testEach("padding counts as elements unless it must not; what is behind it never does", async () => {
  const x = tensor([[4, 8, 12]]);
  const all = { stride: 2, padding: 1 };
  assertEquals(await avgPool1d(x, 2, all).toArray(), [[2, 10]]);
  assertEquals(await avgPool1d(x, 2, { ...all, countIncludePad: false }).toArray(), [[4, 10]]);
  assertEquals(await avgPool1d(x, 2, { stride: 2, ceilMode: true }).toArray(), [[6, 12]]);
  assertEquals(await avgPool2d(x.unsqueeze(0), [1, 3], { divisorOverride: 4 }).toArray(), [[[6]]]);
});

testEach("an infinite weight leaves padding alone", async () => {
  const y = conv1d(tensor([[1, 2]]), tensor([[[Infinity, 1, -1]]]), { padding: 1 });
  assertEquals(await y.toArray(), [[-1, Infinity]]);
});

testEach("the gradient of a norm of zeros is 0", async () => {
  const g = grad((x: Tensor) => lpPool1d(x, 2, 2).sum())(tensor([[0, 0, 3, 4]]));
  assertClose(await g.data(), [0, 0, 0.6, 0.8], 1e-6, "gradient");
});

testEach("nearest takes the same elements as PyTorch", async () => {
  const x = tensor([[[0, 1, 2, 3, 4]]]);
  const at = (size: number, mode: "nearest" | "nearest-exact"): Promise<number[][][]> =>
    interpolate(x, { size, mode }).toArray();
  assertEquals(await at(3, "nearest"), [[[0, 1, 3]]]);
  assertEquals(await at(3, "nearest-exact"), [[[0, 2, 4]]]);
  assertEquals(await at(7, "nearest"), [[[0, 0, 1, 2, 2, 3, 4]]]);
});

testEach("second derivatives by filters are those of central differences", async (b) => {
  if (b.float !== "f64") return;
  const wide = (shape: number[], seed: number): Tensor => drawn(shape, seed).to("f64");
  const x = wide([2, 2, 6, 6], 1),
    u = wide([3, 2, 3, 3], 2),
    w = wide([2, 3, 2, 2], 3),
    v = wide([3, 2, 3, 3], 4);
  const loss = (u: Tensor): Tensor =>
    conv2d(maxPool2d(conv2d(x, u, { padding: 1 }).tanh(), 2), w, { stride: 2 }).square().sum();
  const hv = grad((t: Tensor) => grad(loss)(t).mul(v).sum())(u);
  const step = 1e-5, [plus, minus] = [1, -1].map((s) => grad(loss)(u.add(v.mul(s * step))));
  const [got, a, c] = await read([hv, plus, minus]);
  assertClose(got, Array.from(a, (_, i) => (a[i] - c[i]) / (2 * step)), 1e-6, "Hessian times v");
});

testEach("gradients of filters for each example are those of a loop", async () => {
  const x = drawn([3, 2, 5, 5], 5), w = drawn([4, 2, 3, 3], 6);
  const g = (image: Tensor): Tensor =>
    grad((t: Tensor) => maxPool2d(conv2d(image, t).tanh(), 2, { stride: 1 }).square().sum())(w);
  const each = vmap(g)(x), loop = [0, 1, 2].map((i) => g(x.select(0, i)));
  const [all, ...one] = await read([each, ...loop]);
  one.forEach((e, i) => assertClose(all.subarray(i * e.length, (i + 1) * e.length), e, 1e-5, `example ${i}`));
});
