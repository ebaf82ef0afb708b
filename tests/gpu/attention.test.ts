/** Attention in each style of its kernels, against the host engine: what a GPU gets is tested on a rasteriser as well. */
import { assert } from "@std/assert";
import { type Device, grad, manualSeed, scaledDotProductAttention, type Tensor, tensor } from "../../mod.ts";
import { draw, random } from "../support/numbers.ts";
import { engine, test } from "./webgpu.ts";

interface Call {
  readonly what: string;
  /** [B, H, Hk, T, S, D, E]. */
  readonly shape: readonly number[];
  readonly causal?: boolean;
  readonly dropout?: number;
  /** Of a mask `[T, S]`. */
  readonly mask?: "bool" | "float";
}

// Few, since a compiler takes a second for each kernel.
const CALLS: readonly Call[] = [
  { what: "odd widths and a bias", shape: [2, 4, 2, 70, 45, 6, 5], causal: true, mask: "float" },
  { what: "wide heads", shape: [1, 1, 1, 20, 70, 100, 132] },
  { what: "a mask and dropout", shape: [2, 2, 2, 36, 20, 8, 8], mask: "bool", dropout: 0.3 },
];

/** Output and gradients on a device. */
function results(
  { shape: [B, H, Hk, T, S, D, E], causal = false, dropout = 0, mask }: Call,
  device: Device,
): Promise<number[][]> {
  const rng = random(5);
  const of = (...shape: number[]): Tensor =>
    tensor(Float32Array.from(draw(rng, shape.reduce((a, b) => a * b), [-1, 1])), { shape, device });
  const [q, k, v, ct] = [of(B, H, T, D), of(B, Hk, S, D), of(B, Hk, S, E), of(B, H, T, E)];
  const places = Array.from({ length: T * S }, (_, i) => (i * 7) % 3);
  // Row 3 sees nothing.
  const seen = places.map((n, i) => n !== 0 && Math.floor(i / S) !== 3);
  const options = {
    causal,
    dropout,
    groupedHeads: H !== Hk,
    ...mask === undefined ? {} : { mask: tensor(mask === "bool" ? seen : places, { shape: [T, S], device }) },
  };
  if (options.mask !== undefined && mask === "float") options.mask = options.mask.to("f32");
  const f = (q: Tensor, k: Tensor, v: Tensor): Tensor => {
    manualSeed(11);
    return scaledDotProductAttention(q, k, v, options);
  };
  const loss = (q: Tensor, k: Tensor, v: Tensor): Tensor => f(q, k, v).mul(ct).sum();
  const all = [f(q, k, v), ...grad(loss, { argnums: [0, 1, 2] })(q, k, v)];
  return Promise.all(all.map(async (t) => [...await t.data()].map(Number)));
}

async function compare(call: Call, isSoftware: boolean): Promise<void> {
  engine().assume({ isSoftware });
  try {
    const [here, there] = [await results(call, "webgpu"), await results(call, "host")];
    here.forEach((x, i) =>
      x.forEach((value, k) =>
        assert(
          Math.abs(value - there[i][k]) <= 2e-6 * Math.max(1, Math.abs(value)),
          `${call.what}, software: ${isSoftware}, result ${i}, element ${k}: ${value}, not ${there[i][k]}`,
        )
      )
    );
  } finally {
    engine().assume({});
  }
}

test("attention and its gradients are right in the style of a GPU", async () => {
  for (const call of CALLS) await compare(call, false);
});

test("attention and its gradients are right in the style of a rasteriser", async () => {
  for (const call of CALLS) await compare(call, true);
  await compare({ what: "large tiles", shape: [1, 4, 4, 512, 512, 64, 64], causal: true }, true);
});
