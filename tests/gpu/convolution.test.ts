/** Convolutions whose sums are longer than a thread's loop, or of few elements: cut into blocks. */
import { assert } from "@std/assert";
import { conv1d, conv2d, grad, type Tensor, tensor } from "../../mod.ts";
import { random, read } from "../support/numbers.ts";
import { test } from "./webgpu.ts";

const numbers = (n: number, seed: number): Float32Array<ArrayBuffer> => {
  const rng = random(seed);
  return Float32Array.from({ length: n }, () => Math.round(8 * rng()) / 4 - 1);
};

test("a sum of more products than a thread may go through is that of blocks", async () => {
  const n = 100_000, x = numbers(n, 1), w = numbers(n, 2);
  const [y] = await read([conv1d(tensor(x, { shape: [1, 1, n] }), tensor(w, { shape: [1, 1, n] }))]);
  const sum = x.reduce((s, v, i) => s + v * w[i], 0);
  assert(Math.abs(y[0] - sum) < 1e-3 * Math.max(1, Math.abs(sum)), `${y[0]} is not ${sum}`);
});

test("the gradient of a filter sums over all places of all examples", async () => {
  const B = 8, L = 64, x = numbers(B * L * L, 3), ct = numbers(B * L * L, 4);
  const images = tensor(x, { shape: [B, 1, L, L] }), weights = tensor(ct, { shape: [B, 1, L, L] });
  const loss = (w: Tensor): Tensor => conv2d(images, w, { padding: 1 }).mul(weights).sum();
  const [g] = await read([grad(loss)(tensor(numbers(9, 5), { shape: [1, 1, 3, 3] }))]);
  for (let k = 0; k < 9; k++) {
    let s = 0;
    const di = Math.floor(k / 3) - 1, dj = k % 3 - 1;
    for (let b = 0; b < B; b++) {
      for (let i = 0; i < L; i++) {
        for (let j = 0; j < L; j++) {
          if (i + di < 0 || i + di >= L || j + dj < 0 || j + dj >= L) continue;
          s += ct[(b * L + i) * L + j] * x[(b * L + i + di) * L + j + dj];
        }
      }
    }
    assert(Math.abs(g[k] - s) < 1e-3 * Math.max(1, Math.abs(s)), `weight ${k}: ${g[k]} is not ${s}`);
  }
});
