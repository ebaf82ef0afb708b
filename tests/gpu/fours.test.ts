/** Kernels that go by fours, and rows in the style of each device: the same numbers as one by one. */
import { assert, assertEquals } from "@std/assert";
import { layerNorm, manualSeed, randn, rmsNorm, type Tensor, vjp } from "../../mod.ts";
import type { DType } from "../../ops/dtype.ts";
import { read } from "../support/numbers.ts";
import { engine, test } from "./webgpu.ts";

test("large chains go by fours, with the bits of small ones", async () => {
  manualSeed(3);
  const n = 70_000, x = randn([n]), y = randn([n]), one = randn([]);
  await read([x, y, one]);
  const chain = (a: Tensor, b: Tensor, dtype: DType): Tensor[] => {
    const p = a.mul(50).to(dtype), q = b.mul(50).to(dtype), s = one.to(dtype);
    const z = p.add(q).mul(s).sub(3), big = z.gt(q);
    return [z, big, p.where(big, z), big.to(dtype)].map((t) => t.to(t.dtype === "bool" ? "i32" : "f32"));
  };
  for (const dtype of ["f32", "f16", "bf16", "i32"] as DType[]) {
    for (const how of ["never", "always"] as const) {
      const before = engine().fusion;
      engine().fusion = how;
      try {
        const whole = await read(chain(x, y, dtype));
        for (const [from, length] of [[0, 30_000], [30_000, 39_999], [69_999, 1]]) {
          const parts = await read(chain(x.narrow(0, from, length), y.narrow(0, from, length), dtype));
          parts.forEach((part, i) =>
            assertEquals(part, whole[i].slice(from, from + length), `${dtype}, result ${i} from ${from}`)
          );
        }
      } finally {
        engine().fusion = before;
      }
    }
  }
});

test("chains over operands of any strides have the same bits by fours", async () => {
  manualSeed(5);
  const x = randn([64, 48, 32]), turned = randn([32, 48, 64]).permute([2, 1, 0]);
  const row = randn([32]), column = randn([48, 1]), odd = randn([64, 48, 33]).narrow(2, 1, 32);
  const even = randn([64, 48, 40]).narrow(2, 4, 32);
  await read([x, turned, row, column, odd, even]);
  for (const y of [row, column, turned, odd, even, x.narrow(0, 3, 1), x.flip(2)]) {
    const f = (x: Tensor, y: Tensor): Tensor => x.mul(y).add(row).maximum(column);
    const [whole] = await read([f(x, y)]);
    for (const from of [0, 7, 63]) {
      const part = y.shape[0] === 64 ? y.narrow(0, from, 1) : y;
      const [one] = await read([f(x.narrow(0, from, 1), part)]);
      assertEquals(one, whole.slice(from * 1536, (from + 1) * 1536), `${y.shape} from ${from}`);
    }
  }
});

test("rows are normalised the same, shared by a group or not", async () => {
  manualSeed(4);
  for (const D of [7, 70, 132, 1024]) {
    const x = randn([9, D]), weight = randn([D]), bias = randn([D]), ct = randn([9, D]);
    const results = async (): Promise<number[][]> => {
      const f = (x: Tensor, w: Tensor): Tensor => layerNorm(x, [D], { weight: w, bias }).add(rmsNorm(x, [D]));
      const [y, pull] = vjp(f, x, weight);
      return (await read([y, ...pull(ct)])).map((r) => [...r].map(Number));
    };
    const all: number[][][] = [];
    try {
      for (const isSoftware of [true, false]) {
        engine().assume({ isSoftware });
        all.push(await results());
      }
    } finally {
      engine().assume({});
    }
    all[0].forEach((r, i) =>
      r.forEach((v, k) =>
        assert(Math.abs(v - all[1][i][k]) <= 4e-6 * Math.max(1, Math.abs(v)), `${D}: ${v}, ${all[1][i][k]}`)
      )
    );
  }
});
