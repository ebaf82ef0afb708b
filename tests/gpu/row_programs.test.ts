/** Reductions over the same axes, and what is between them and after them, are one kernel, with the bits of many. */
import { assert, assertEquals } from "@std/assert";
import { grad, manualSeed, randn, type Tensor, tensor, valueAndGrad } from "../../mod.ts";
import type { WebGpuEngine } from "../../gpu/webgpu/mod.ts";
import type { DType } from "../../ops/dtype.ts";
import type { Shape } from "../../ops/shape.ts";
import { backends, byReference } from "../support/engines.ts";
import { read } from "../support/numbers.ts";
import { engine, test } from "./webgpu.ts";

const webgpu = backends.find((b) => b.name === "webgpu")!;

async function on(fusion: WebGpuEngine["fusion"], isSoftware: boolean, f: () => Tensor[]) {
  const e = engine(), before = e.fusion;
  e.fusion = fusion;
  e.assume({ isSoftware });
  try {
    const { dispatches } = e.counts, values = await read(f());
    return { values, dispatches: e.counts.dispatches - dispatches };
  } finally {
    e.fusion = before;
    e.assume({});
  }
}

/** The same bits in `kernels` kernels as in one for each step, near the reference's; rows shared by threads and not. */
async function together(what: string, kernels: number, f: () => Tensor[]): Promise<void> {
  const reference = await byReference(webgpu, () => read(f()));
  for (const isSoftware of [true, false]) {
    const apart = await on("never", isSoftware, f), fused = await on("always", isSoftware, f);
    apart.values.forEach((a, i) => {
      assertEquals(fused.values[i], a, `${what}: result ${i}`);
      a.forEach((v, k) => {
        const e = reference[i][k];
        assert(
          Object.is(v, e) || Math.abs(v - e) <= 2e-4 * Math.max(1, Math.abs(e)),
          `${what}: result ${i} at ${k} is ${v}, not ${e}`,
        );
      });
    });
    assertEquals(fused.dispatches, kernels, `${what}: kernels, of ${apart.dispatches}`);
  }
}

async function input(shape: Shape): Promise<Tensor> {
  const x = randn(shape).keep();
  await read([x]);
  return x;
}

const normalised = (x: Tensor): Tensor =>
  x.sub(x.mean(-1, { keepdim: true })).div(x.std(-1, { keepdim: true }).add(1e-5));
const rms = (x: Tensor, w: Tensor): Tensor =>
  x.mul(x.square().mean(-1, { keepdim: true }).add(1e-6).rsqrt()).mul(w);
const softmax = (x: Tensor, axis: number): Tensor => {
  const e = x.sub(x.amax(axis, { keepdim: true })).exp();
  return e.div(e.sum(axis, { keepdim: true }));
};
const logSoftmax = (x: Tensor): Tensor => {
  const z = x.sub(x.amax(-1, { keepdim: true }));
  return z.sub(z.exp().sum(-1, { keepdim: true }).log());
};

test("normalisations written by hand are one kernel", async () => {
  manualSeed(3);
  const x = await input([40, 96]), w = await input([96]), y = await input([2, 5, 7, 33]);
  await together("x - mean over std", 1, () => [normalised(x)]);
  await together("of more axes", 1, () => [normalised(y)]);
  await together("over two axes", 1, () => [y.sub(y.mean([2, 3], { keepdim: true })).square().mean([2, 3])]);
  await together("RMSNorm", 1, () => [rms(x, w)]);
  await together("logSoftmax", 1, () => [logSoftmax(x)]);
  await together("softmax", 1, () => [softmax(x, 1)]);
  await together("softmax of columns", 1, () => [softmax(x, 0)]);
  await together("logsumexp and more", 1, () => {
    const m = x.amax(1), s = x.sub(m.unsqueeze(1)).exp().sum(1).log().add(m);
    return [s, m, x.sub(s.unsqueeze(1))];
  });
});

test("reductions of the same rows share a kernel, with several results", async () => {
  manualSeed(4);
  const x = await input([50, 64]), ct = await input([50, 64]);
  await together("variance and mean", 1, () => [x.mean(1), x.variance(1), x.std(1).add(1)]);
  await together("sums of a cotangent", 1, () => [ct.sum(1), ct.mul(x).sum(1), ct.amax(1), x.amin(1)]);
  await together("sums of columns", 1, () => [ct.sum(0), ct.mul(x).sum(0)]);
  await together(
    "of booleans and integers",
    1,
    () => [x.gt(0).any(1), x.gt(0).all(1), x.gt(0.5).to("i32").sum(1)],
  );
  // Other rows, or other axes, do not.
  await together("of both axes", 2, () => [x.sum(0), x.sum(1)]);
});

test("long rows are split over workgroups, and share the kernels of both halves", async () => {
  manualSeed(8);
  const x = await input([20_000, 5]), ct = await input([20_000, 5]), w = await input([5]);
  await together("sums of columns", 2, () => [ct.sum(0), ct.mul(x).sum(0), x.square().mean(0).mul(w).add(1)]);
  await together("of all", 2, () => [x.abs().amax(), x.sum(), x.square().sum().sqrt()]);
  // What reads a sum for each element is a kernel of its own.
  await together("centred", 4, () => [x.sub(x.mean(0)).square().sum(0), x.amin(0)]);
});

test("gradients of normalisations written by hand have the same bits in fewer kernels", async () => {
  manualSeed(5);
  const x = await input([12, 40]), w = await input([40]), ct = await input([12, 40]);
  const cases: Record<string, (x: Tensor) => Tensor> = {
    "normalised": (x) => normalised(x).mul(ct).sum(),
    "RMSNorm": (x) => rms(x, w).mul(ct).sum(),
    "logSoftmax": (x) => logSoftmax(x).mul(ct).sum(),
    "softmax": (x) => softmax(x, -1).mul(ct).sum(),
  };
  for (const [name, f] of Object.entries(cases)) {
    for (const isSoftware of [true, false]) {
      const g = (): Tensor[] => [...valueAndGrad(f)(x), grad((x: Tensor) => grad(f)(x).square().sum())(x)];
      const apart = await on("never", isSoftware, g), fused = await on("always", isSoftware, g);
      apart.values.forEach((a, i) => assertEquals(fused.values[i], a, `${name}: result ${i}`));
      assert(fused.dispatches * 3 <= apart.dispatches, `${name}: ${fused.dispatches} of ${apart.dispatches}`);
    }
  }
});

test("rows of special numbers, of half precision, strided, sliced, transposed and empty", async () => {
  manualSeed(6);
  const special = tensor([[1, NaN, 2, 0], [Infinity, 1, 2, 3], [-Infinity, -Infinity, -Infinity, -Infinity], [
    0,
    -0,
    1e38,
    3e38,
  ]]);
  await together("special points", 1, () => [softmax(special, 1), special.amax(1)]);
  const x = await input([24, 30]);
  for (const dtype of ["f16", "bf16"] as DType[]) {
    const y = x.to(dtype).keep();
    await read([y]);
    for (const isSoftware of [true, false]) {
      const f = (): Tensor[] => [softmax(y, 1), normalised(y).to("f32"), y.sum(1)];
      const apart = await on("never", isSoftware, f), fused = await on("always", isSoftware, f);
      apart.values.forEach((a, i) => assertEquals(fused.values[i], a, `${dtype}: result ${i}`));
    }
  }
  // The first fold's lanes are neighbours the other way.
  await together("transposed", 2, () => [softmax(x.mT(), 1)]);
  await together("sliced", 1, () => {
    const part = x.narrow(1, 3, 20);
    return [softmax(part, 1), part.sum(1)];
  });
  await together("broadcast", 1, () => [softmax(x.narrow(1, 4, 1).expand([24, 9]), 1)]);
  await together("one row", 1, () => [softmax(x.reshape([1, 720]).narrow(1, 0, 60), 1)]);
  await together("one element a row", 1, () => [softmax(x.reshape([720, 1]), 1)]);
  await read([softmax(x.narrow(0, 0, 0), 1)]);
});

test("what others read is stored, and nothing is computed before what it reads", async () => {
  manualSeed(7);
  const x = await input([16, 20]), w = await input([20, 8]);
  for (const isSoftware of [true, false]) {
    const f = (): Tensor[] => {
      const m = x.mean(1, { keepdim: true }), d = x.sub(m), p = d.matmul(w).sum();
      const v = d.square().mean(1, { keepdim: true }), late = x.mul(p).sum(1);
      return [d.div(v), late, d.mT(), v.squeeze(), p, d.exp().sum(1).mul(late)];
    };
    const apart = await on("never", isSoftware, f), fused = await on("always", isSoftware, f);
    apart.values.forEach((a, i) => assertEquals(fused.values[i], a, `result ${i}`));
    assert(fused.dispatches < apart.dispatches);
  }
});
