/**
 * How long a structure takes that was never seen: from the call to the value, in milliseconds, for programs of random ops
 * on [64, 64], each run once, without and with its gradient. `deno run -A bench/first_run.ts [host|webgpu] [size]`.
 */
import { type Device, manualSeed, randn, setDefaultDevice, type Tensor } from "../mod.ts";

const device = (Deno.args[0] ?? "host") as Device, size = Number(Deno.args[1] ?? 64);
setDefaultDevice(device);
manualSeed(0);

const ops: ((a: Tensor, b: Tensor) => Tensor)[] = [
  (a, b) => a.add(b),
  (a, b) => a.mul(b),
  (a) => a.tanh(),
  (a) => a.sigmoid(),
  (a) => a.mul(0.9),
  (a) => a.relu(),
  (a, b) => a.sub(b.mean(1, { keepdim: true })),
  (a) => a.transpose(0, 1),
  (a) => a.softmax(1),
  (a, b) => a.matmul(b).mul(0.1),
  (a) => a.exp().add(1).log(),
  (a, b) => a.maximum(b),
];

let seed = 1;
/** A whole number below `n`. */
function draw(n: number): number {
  seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
  return Math.floor(seed / 2 ** 32 * n);
}

function program(length: number, inputs: readonly Tensor[]): Tensor {
  const values = [...inputs];
  for (let i = 0; i < length; i++) {
    values.push(ops[draw(ops.length)](values[values.length - 1], values[draw(values.length)]));
  }
  return values[values.length - 1].mean();
}

const x = randn([size, size]), w = randn([size, size], { requiresGrad: true });
await Promise.all([x.data(), w.data()]);

for (const length of [10, 100, 1000]) {
  const value: number[] = [], gradient: number[] = [];
  for (let i = 0; i < 9; i++) {
    const start = performance.now();
    await program(length, [x, w]).item();
    const middle = performance.now();
    w.grad = null;
    const y = program(length, [x, w]).add(w.mean());
    y.backward();
    await w.grad!.data();
    value.push(middle - start);
    gradient.push(performance.now() - middle);
  }
  const show = (list: number[]): string =>
    `first ${list[0].toFixed(1)}, median ${list.sort((a, b) => a - b)[list.length >> 1].toFixed(1)} ms`;
  console.log(`${length} ops on ${device}: value ${show(value)}; with gradient ${show(gradient)}`);
}
