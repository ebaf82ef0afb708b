/** Matrix products of every shape in every variant of their kernel: what a GPU gets is tested on a rasteriser as well. */
import { assert, assertEquals } from "@std/assert";
import { manualSeed, randn, type Tensor, tensor } from "../../mod.ts";
import type { Limits } from "../../gpu/webgpu/device.ts";
import { foldsProduct, productTile, tileBytes, tileSides } from "../../gpu/webgpu/heuristics.ts";
import type { DType } from "../../ops/dtype.ts";
import { read } from "../support/numbers.ts";
import { engine, test } from "./webgpu.ts";

/** Runs `f` with the kernels of a device of one kind, then of the other. */
async function onBoth(f: (isSoftware: boolean) => Promise<void>): Promise<void> {
  try {
    for (const isSoftware of [true, false]) {
      engine().assume({ isSoftware });
      await f(isSoftware);
    }
  } finally {
    engine().assume({});
  }
}

/** Small whole numbers, whose sums are exact in every type. */
function numbers(n: number, by: number, span: number): number[] {
  return Array.from({ length: n }, (_, i) => (i * by) % span - Math.floor(span / 2));
}

/** The product of B matrices, by the definition. */
function product(a: number[], b: number[], [B, M, K, N]: readonly number[]): number[] {
  const y = new Array<number>(B * M * N).fill(0);
  for (let i = 0; i < B * M; i++) {
    const t = Math.floor(i / M);
    for (let k = 0; k < K; k++) {
      const x = a[i * K + k], from = (t * K + k) * N;
      for (let j = 0; j < N; j++) y[i * N + j] += x * b[from + j];
    }
  }
  return y;
}

/** The same matrices, stored the other way round. */
function turned(x: Tensor): Tensor {
  return x.mT().add(0).mT();
}

const SHAPES: readonly (readonly number[])[] = [
  [1, 1, 1, 1],
  [1, 3, 0, 4],
  [1, 5, 7, 3],
  [1, 8, 4, 8],
  [1, 12, 8, 20],
  [3, 17, 12, 31],
  [1, 1, 40, 1],
  [1, 1, 40, 70],
  [2, 70, 40, 1],
  [1, 4, 36, 300],
  [1, 300, 36, 4],
  [1, 2, 36, 258],
  [1, 67, 1, 33],
  [2, 64, 32, 64],
  [1, 65, 20, 129],
];

test("products of every shape are exact on every kind of device, however operands are stored", async () => {
  await onBoth(async (isSoftware) => {
    for (const shape of SHAPES) {
      const [B, M, K, N] = shape, a = numbers(B * M * K, 31, 7), b = numbers(B * K * N, 17, 5);
      const e = product(a, b, shape);
      const x = tensor(a, { shape: [B, M, K] }), y = tensor(b, { shape: [B, K, N] });
      const wide = tensor([...a, ...a], { shape: [2 * B, M, K] }).narrow(0, B, B);
      const results = await read([
        x.matmul(y),
        turned(x).matmul(y),
        x.matmul(turned(y)),
        turned(x).matmul(turned(y)),
        wide.matmul(y),
      ]);
      results.forEach((r, i) =>
        assertEquals([...r], e, `${shape}, stored in way ${i}, software: ${isSoftware}`)
      );
    }
  });
});

test("products of every type accumulate in 32 bits", async () => {
  await onBoth(async (isSoftware) => {
    for (const dtype of ["f16", "bf16", "i32", "u32"] as DType[]) {
      for (const shape of [[1, 12, 8, 20], [2, 19, 40, 33], [1, 1, 36, 24], [1, 24, 36, 1]]) {
        const [B, M, K, N] = shape;
        const a = numbers(B * M * K, 31, 5).map((v) => dtype === "u32" ? v + 2 : v);
        const b = numbers(B * K * N, 17, 3).map((v) => dtype === "u32" ? v + 1 : v);
        const x = tensor(a, { shape: [B, M, K], dtype }), y = tensor(b, { shape: [B, K, N], dtype });
        const [p, q] = await read([x.matmul(y).to("f32"), turned(x).matmul(turned(y)).to("f32")]);
        const e = product(a, b, shape), what = `${dtype}, ${shape}, software: ${isSoftware}`;
        assertEquals([...p], e, what);
        assertEquals([...q], e, `${what}, turned`);
      }
    }
    const ones = tensor(new Array(3000).fill(1), { dtype: "f16" });
    // In f16 a sum of ones ends at 2048.
    assertEquals(await ones.reshape([1, 3000]).matmul(ones.reshape([3000, 1])).item(), 3000);
  });
});

test("large tiles are exact at their edges", async () => {
  engine().assume({ isSoftware: false });
  try {
    for (const shape of [[130, 60, 20, 64], [130, 124, 17, 128], [130, 125, 8, 126]]) {
      const [B, M, K, N] = shape, a = numbers(B * M * K, 31, 7), b = numbers(B * K * N, 17, 5);
      const x = tensor(a, { shape: [B, M, K] }), y = tensor(b, { shape: [B, K, N] });
      const e = product(a, b, shape);
      for (const r of await read([x.matmul(y), turned(x).matmul(turned(y))])) {
        assert(r.every((v, i) => v === e[i]), `${shape}`);
      }
    }
  } finally {
    engine().assume({});
  }
});

test("operands that begin anywhere, and a product with itself and its own operands, are read right", async () => {
  await onBoth(async () => {
    const a = numbers(24 * 24, 31, 7), x = tensor(a, { shape: [24, 24] });
    const square = product(a, a, [1, 24, 24, 24]);
    const [y, z, w] = await read([
      x.matmul(x),
      x.matmul(x).add(x).mul(x),
      x.matmul(x.mT()).add(tensor(1)),
    ]);
    assertEquals([...y], square);
    assertEquals([...z], square.map((s, i) => (s + a[i]) * a[i] + 0));
    const turnedA = a.map((_, i) => a[(i % 24) * 24 + Math.floor(i / 24)]);
    assertEquals([...w], product(a, turnedA, [1, 24, 24, 24]).map((s) => s + 1));
    for (const from of [1, 2, 4]) {
      const part = x.narrow(1, from, 16), rows = x.narrow(0, from, 16);
      const p = Array.from({ length: 24 * 16 }, (_, i) => a[Math.floor(i / 16) * 24 + from + i % 16]);
      const [r] = await read([part.matmul(rows)]);
      assertEquals([...r], product(p, a.slice(24 * from, 24 * (from + 16)), [1, 24, 16, 24]), `from ${from}`);
    }
  });
});

test("tiles are chosen by shape and by what the device has", () => {
  const gpu = { isSoftware: false, workgroupMemory: 32768 } as Limits;
  const sides = (M: number, N: number, device = gpu): number[] =>
    tileSides(productTile({ M, N, K: 1024, batches: 1 }, device));
  assertEquals(sides(4096, 4096), [128, 128]);
  assertEquals(sides(4096, 4096, { ...gpu, workgroupMemory: 16384 }), [64, 64]);
  assertEquals(sides(1024, 1024), [64, 64]);
  assertEquals(sides(256, 256), [32, 32]);
  assertEquals(sides(8, 4096), [16, 256]);
  assertEquals(sides(4096, 8), [256, 16]);
  for (const [M, N] of [[1, 1], [9, 3], [33, 70_000], [5000, 5000], [200_000, 20]]) {
    const tile = productTile({ M, N, K: 64, batches: 3 }, { ...gpu, workgroupMemory: 16384 });
    assert(tileBytes(tile) <= 16384 && tile.down * tile.across <= 256);
  }
  assert(foldsProduct({ M: 1, N: 4096, K: 4096, batches: 1 }, gpu));
  assert(!foldsProduct({ M: 2, N: 4096, K: 4096, batches: 1 }, gpu));
});

test("a product that is only used transposed is stored so, with the same bits", async () => {
  manualSeed(4);
  const x = randn([3, 40, 24]).keep(), y = randn([3, 40, 33]).keep();
  await read([x, y]);
  await onBoth(async () => {
    const e = engine(), { dispatches } = e.counts;
    const [turned] = await read([x.mT().matmul(y).mT()]);
    assertEquals(e.counts.dispatches - dispatches, 1);
    const [plain] = await read([x.mT().matmul(y)]);
    for (let b = 0; b < 3; b++) {
      for (let m = 0; m < 24; m++) {
        for (let n = 0; n < 33; n++) {
          assertEquals(turned[(b * 33 + n) * 24 + m], plain[(b * 24 + m) * 33 + n]);
        }
      }
    }
  });
});
