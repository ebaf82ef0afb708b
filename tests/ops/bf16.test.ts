/** bf16: two bytes an element on every engine, rounded as IEEE rounds, computed with in f32. */
import { assertEquals } from "@std/assert";
import { grad, loadSafetensors, saveSafetensors, type Tensor, tensor, zeros } from "../../mod.ts";
import type { WebGpuStorage } from "../../gpu/webgpu/storage.ts";
import { HostStorage } from "../../ops/reference.ts";
import { test, testEach } from "../support/engines.ts";

// The spacing of bf16 at 1 is 2^-7.
const ulp = 2 ** -7;

testEach("bf16 rounds to nearest, halves to even, and keeps what is not finite", async () => {
  const x = tensor([1 + ulp / 2, 1 + 1.5 * ulp, 1 + 0.51 * ulp, -0, Infinity, NaN, 3.4e38, 1e-40], {
    dtype: "bf16",
  });
  const [a, b, c, zero, infinite, nan, large, tiny] = await x.data();
  assertEquals([a, b, c], [1, 1 + 2 * ulp, 1 + ulp]);
  assertEquals([Object.is(zero, -0), infinite, nan, large], [true, Infinity, NaN, Infinity]);
  assertEquals(Math.abs(tiny - 1e-40) < 1e-41, true);
  // Rounding on the device: what f32 computes becomes the nearest bf16.
  const computed = tensor([1, 1, 1]).add(tensor([ulp / 2, 1.5 * ulp, 0.51 * ulp])).to("bf16");
  assertEquals([...await computed.data()], [1, 1 + 2 * ulp, 1 + ulp]);
});

testEach("bf16 elements of odd lengths and views do not disturb their neighbours", async () => {
  const x = tensor([1, 2, 3, 4, 5, 6, 7], { dtype: "bf16" });
  assertEquals(await x.narrow(0, 1, 5).mul(2).toArray(), [4, 6, 8, 10, 12]);
  assertEquals(await x.flip(0).pad([[1, 2]], 9).toArray(), [9, 7, 6, 5, 4, 3, 2, 1, 9, 9]);
  assertEquals(await x.narrow(0, 0, 3).reshape([3, 1]).matmul(x.reshape([1, 7])).sum().item(), 168);
});

testEach("a value of bf16 takes two bytes an element", async () => {
  const x = zeros([1 << 16], { dtype: "bf16" }).add(1).keep();
  assertEquals((await x.data())[99], 1);
  const value = x.node.value,
    bytes = value instanceof HostStorage ? value.data.byteLength : (value as WebGpuStorage).block!.bytes;
  assertEquals([x.nbytes, bytes], [1 << 17, 1 << 17]);
});

test("bf16 with f16 computes in f32, with f32 in f32; gradients have the type of what they are of", async () => {
  const x = tensor([1, 2], { dtype: "bf16" }), half = tensor([1, 2], { dtype: "f16" });
  assertEquals([x.add(half).dtype, x.add(tensor([1, 2])).dtype, x.add(1).dtype], ["f32", "f32", "bf16"]);
  const loss = (a: Tensor, b: Tensor): Tensor => a.to("f32").mul(b.to("f32")).sum();
  const [g, h] = grad(loss, { argnums: [0, 1] })(x, half);
  assertEquals([g.dtype, h.dtype, await g.toArray(), await h.toArray()], ["bf16", "f16", [1, 2], [1, 2]]);
});

test("safetensors keep bf16 as it is", async () => {
  const w = tensor([1.5, -2, 0.0078125], { dtype: "bf16" });
  const { tensors, notes } = loadSafetensors(await saveSafetensors({ w }));
  assertEquals([tensors.w.dtype, await tensors.w.toArray(), notes], ["bf16", [1.5, -2, 0.0078125], []]);
});
