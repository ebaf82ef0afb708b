/** Kernels that compute many steps: the same bits as a kernel for each step, in fewer dispatches. */
import { assert, assertEquals } from "@std/assert";
import * as api from "../../mod.ts";
import {
  Adam,
  checkpoint,
  crossEntropy,
  grad,
  Linear,
  manualSeed,
  randint,
  randn,
  ReLU,
  Sequential,
  type Tensor,
  tensor,
  valueAndGrad,
} from "../../mod.ts";
import type { Limits } from "../../gpu/webgpu/device.ts";
import { makePlan } from "../../gpu/webgpu/emit.ts";
import type { Plan } from "../../gpu/webgpu/plan.ts";
import type { WebGpuEngine } from "../../gpu/webgpu/mod.ts";
import { collect, lower } from "../../ops/lower.ts";
import type { DType } from "../../ops/dtype.ts";
import { type Shape, sizeOf } from "../../ops/shape.ts";
import { backends, byReference } from "../support/engines.ts";
import { draw, random, read } from "../support/numbers.ts";
import { INPUTS, programOf } from "../laws/programs.ts";
import { compiled, engine, flush, test } from "./webgpu.ts";

const webgpu = backends.find((b) => b.name === "webgpu")!;

/** What `f` gives, and its dispatches, where runs fuse and where they do not. */
async function each<T>(
  how: WebGpuEngine["fusion"],
  f: () => Promise<T>,
): Promise<{ value: T; dispatches: number }> {
  const e = engine(), before = e.fusion;
  e.fusion = how;
  try {
    const { dispatches } = e.counts, value = await f();
    return { value, dispatches: e.counts.dispatches - dispatches };
  } finally {
    e.fusion = before;
  }
}

/** Dispatches of `f` with a kernel for each step and fused; values must have the same bits. */
async function both(what: string, f: () => Tensor[]): Promise<[number, number]> {
  const [apart, fused] = [await each("never", () => read(f())), await each("always", () => read(f()))];
  apart.value.forEach((a, i) => assertEquals(fused.value[i], a, `${what}: result ${i}`));
  return [apart.dispatches, fused.dispatches];
}

/** The plan of a run on a device with these limits. */
function planOf(roots: Tensor[], limits: Partial<Limits>, fusion = true): Plan {
  const graph = collect(roots.map((t) => t.node));
  const device: Limits = {
    binding: 2 ** 27,
    buffer: 2 ** 31,
    groups: 65535,
    uniformAlign: 256,
    storageBuffers: 8,
    workgroupMemory: 16384,
    f16: true,
    isSoftware: false,
    ...limits,
  };
  return makePlan(lower(graph), device, (source) => graph.nodes[source].p, { fusion });
}

const inputs = async (...shapes: Shape[]): Promise<Tensor[]> => {
  manualSeed(7);
  const x = shapes.map((s) => randn(s));
  await read(x);
  return x;
};

test("a chain is one kernel, with a sum at its end or after a product as well", async () => {
  const [x, w, b] = await inputs([64, 32], [32, 48], [48]);
  assertEquals(await both("chain", () => [x.add(1).mul(x).exp().sub(x.sin()).tanh()]), [6, 1]);
  assertEquals(await both("mean of squares", () => [x.sub(0.5).square().mean(1)]), [4, 1]);
  assertEquals(await both("columns", () => [x.sub(0.5).mul(x).exp().sum(0)]), [4, 1]);
  assertEquals(await both("linear layer", () => [x.matmul(w).add(b).relu()]), [3, 1]);
  assertEquals(await both("by leading axes", () => [x.reshape([4, 16, 32]).matmul(w).add(b).gelu()]), [3, 1]);
  const y = x.reshape([2, 1024]), z = x.exp().reshape([1024, 2]);
  assertEquals(await both("long product", () => [y.matmul(z).add(1).square().log1p()]), [6, 3]);
  const u = x.reshape([2048]), v = x.exp().reshape([2048]);
  assertEquals(await both("product of vectors", () => [u.matmul(v).add(1).square().log1p()]), [5, 2]);
});

test("a reshape that a chain sees through may be read elsewhere too", async () => {
  const [x, w, b] = await inputs([64, 32], [32, 48], [16, 48]);
  // The reshape of the sum is an operand of the loop after it and of a product.
  await both("reshaped product", () => {
    const y = x.matmul(w).reshape([4, 16, 48]);
    return [y.add(b).exp(), y.permute([0, 2, 1]).matmul(y)];
  });
  await both("reshaped loop", () => {
    const z = x.add(1).reshape([32, 64]).reshape([64, 32]), y = z.tanh();
    return [y.mul(z), z.matmul(y.mT()), y];
  });
});

test("compilers do not see through a fused chain: nothing cancels, nothing is rounded once instead of twice", async () => {
  const [x, y] = await inputs([1000], [1000]);
  await both("a sum minus its part", () => [x.add(1e6).sub(1e6), x.add(y).sub(x)]);
  await both("multiply and add", () => [x.mul(y).add(x), x.mul(3).sub(y.mul(3)), x.mul(y).sum()]);
  await both("inverses", () => [x.reciprocal().reciprocal(), x.exp().log(), x.neg().neg(), x.mul(3).div(3)]);
  const special = tensor([0, -0, Infinity, -Infinity, NaN, 1e-40, 3e38, -1]);
  await both("special points", () => {
    const a = special.mul(2), b = a.sub(special);
    return [a, b, b.sub(a), a.mul(0), a.neg().relu(), a.maximum(b), a.div(special), b.sqrt().neg().add(0)];
  });
  const [back] = await read([special.add(0).neg()]);
  assertEquals(Object.is(back[0], -0), true);
});

test("steps in f16 and bf16 are rounded each", async () => {
  const [x] = await inputs([500]);
  for (const dtype of ["f16", "bf16"] as DType[]) {
    const f = (): Tensor[] => {
      const a = x.to(dtype), b = a.mul(3.3).add(1).sub(a.exp());
      return [b.to("f32"), b, a.mul(1.7).sum().to("f32"), a.add(1000).sub(1000).to("f32")];
    };
    await both(dtype, f);
    const [, , , fused] = (await each("always", () => read(f()))).value;
    // 1000 + x in f16 has steps of 1/2, in bf16 of 4.
    const step = dtype === "f16" ? 0.5 : 4;
    assert(fused.every((v) => v % step === 0), `${dtype} sums are rounded`);
  }
});

test("random chains over broadcast, strided and constant operands give the same bits, and the reference's values", async () => {
  for (let seed = 0; seed < 12; seed++) {
    const data = (shape: Shape, k: number): Float32Array<ArrayBuffer> =>
      Float32Array.from(draw(random(seed * 10 + k), sizeOf(shape), [-1.5, 1.5]));
    const f = (): Tensor[] => {
      const rng = random(seed), pick = (n: number): number => Math.floor(rng() * n);
      const at = (shape: Shape, k: number): Tensor => tensor(data(shape, k), { shape });
      const wide = at([3, 5, 14], 3),
        pool: Tensor[] = [
          at([3, 5, 7], 0),
          at([7, 5, 3], 1).permute([2, 1, 0]),
          at([5, 1], 2).expand([3, 5, 7]),
          wide.narrow(2, seed % 7, 7),
          wide.flip(2).slice(":", ":", [0, 14, 2]),
          at([7], 4),
          at([], 5),
        ];
      for (let i = 0; i < 24; i++) {
        const a = pool[pick(pool.length)], b = pool[pick(pool.length)], c = pool[pick(pool.length)];
        const next = [
          () => a.add(b),
          () => a.mul(b).tanh(),
          () => a.sub(b).mul(0.5),
          () => a.where(a.gt(b), c),
          () => a.sin().add(1.5),
          () => a.maximum(b).neg(),
          () => a.abs().sqrt(),
          () => a.expand([3, 5, 7]).permute([0, 2, 1]).permute([0, 2, 1]).add(c),
        ][pick(8)]();
        pool.push(next);
      }
      const last = pool[pool.length - 1].expand([3, 5, 7]);
      return [last, pool[pool.length - 5], pool[pool.length - 9], last.sum(1), last.mean([0, 2]).exp()];
    };
    const [apart, fused] = await both(`chain ${seed}`, f);
    assert(fused < apart, `${fused} of ${apart} dispatches`);
    const { value } = await each("always", () => read(f()));
    const reference = await byReference(webgpu, () => read(f()));
    value.forEach((v, i) =>
      v.forEach((a, k) => {
        const e = reference[i][k];
        assert(
          Math.abs(a - e) <= 2e-4 * Math.max(1, Math.abs(e)),
          `chain ${seed}, result ${i}: ${a}, not ${e}`,
        );
      })
    );
  }
});

test("random programs with gradients give the same bits fused", async () => {
  for (const seed of [3, 14, 15, 92, 65, 35]) {
    const p = programOf(seed), rng = random(seed);
    const [a, b, c] = INPUTS.map((s) =>
      tensor(Float32Array.from(draw(rng, sizeOf(s), [-1.2, 1.2])), { shape: s })
    );
    await both(`program ${seed}`, () => {
      const loss = (a: Tensor, b: Tensor, c: Tensor): Tensor =>
        p.run(api as Parameters<typeof p.run>[0], a, b, c).sin().sum();
      return [loss(a, b, c), ...grad(loss, { argnums: [0, 1, 2] })(a, b, c)];
    });
  }
});

test("roots inside a chain are stored on the way, however many", async () => {
  const [x] = await inputs([33, 7]);
  const f = (): Tensor[] => {
    const out = [x.add(1)];
    for (let i = 0; i < 30; i++) out.push(out[i].mul(0.9).add(x));
    return [...out, out[30].sum(), out[12].permute([1, 0]), out[5].reshape([231])];
  };
  const [apart, fused] = await both("roots", f);
  assert(apart > 60 && fused <= 8, `${apart}, ${fused}`);
});

test("kernels bind no more buffers than the device has", async () => {
  const x = await inputs(...new Array(40).fill([16]));
  const f = (): Tensor => x.reduce((sum, t, i) => i % 2 ? sum.mul(t) : sum.add(t));
  assert((await both("forty operands", () => [f(), f().sum()]))[1] <= 6);
  for (const storageBuffers of [5, 8, 10]) {
    const steps = [
      f(),
      f().sum(),
      x[0].reshape([4, 4]).matmul(x[1].reshape([4, 4])).add(f().reshape([4, 4])),
    ];
    const roots = x.slice(0, 20).reduce<Tensor[]>((all, t) => [...all, (all.at(-1) ?? t).add(t)], []);
    for (const d of planOf([...steps, ...roots], { storageBuffers }).dispatches) {
      assert(d.bindings.length <= storageBuffers, `${d.bindings.length} bindings of ${storageBuffers}`);
    }
  }
});

test("a result never takes the memory of what its own kernel reads", async () => {
  const [x, w] = await inputs([32, 32], [32, 32]);
  const f = (): Tensor[] => {
    let h = x;
    for (let i = 0; i < 12; i++) {
      const y = h.matmul(w).mul(0.1).add(h), z = y.tanh();
      h = z.add(y.permute([1, 0])).mul(z.sum(1, { keepdim: true }));
    }
    return [h, h.sum()];
  };
  await both("a deep net", f);
  const { dispatches } = planOf(f(), {});
  for (const { kernel, bindings } of dispatches) {
    const arena = bindings.filter((b) => b.kind === "arena");
    arena.forEach((a, i) =>
      arena.slice(i + 1).forEach((b) =>
        assert(
          a.index !== b.index || a.offset + a.bytes <= b.offset || b.offset + b.bytes <= a.offset,
          `two bindings overlap: ${kernel.access}`,
        )
      )
    );
  }
});

test("values over what a kernel can bind are cut, and not folded into others", () => {
  const big = tensor(new Float32Array(1)).expand([1 << 20]).mul(2), shape = [1 << 10, 1 << 10];
  const square = big.reshape(shape), limits = { binding: 2 ** 20, buffer: 2 ** 24, storageBuffers: 8 };
  const { dispatches } = planOf([big.add(1).exp(), big.sub(1).sum(), square.sum(1).add(1)], limits);
  for (const d of dispatches) for (const b of d.bindings) assert(b.bytes <= limits.binding);
});

test("equal steps are computed once, but not across a rebuilt segment, nor where attributes are data", async () => {
  const [x] = await inputs([64]);
  const dispatches = (f: () => Tensor[]): number => planOf(f(), {}).dispatches.length;
  const y = x.cumsum(0);
  assertEquals(dispatches(() => [x.cumsum(0), x.cumsum(0), y]), dispatches(() => [y]));
  assert(dispatches(() => [x.narrow(0, 1, 4).cumsum(0), x.narrow(0, 2, 4).cumsum(0)]) === 2);
  const [a, b] = await read([x.narrow(0, 1, 4).exp(), x.narrow(0, 2, 4).exp()]);
  assertEquals(a[1], b[0]);
  const f = (t: Tensor): Tensor => t.cumsum(0).sin().cumsum(0).square().sum();
  const count = (g: (t: Tensor) => Tensor): number => {
    const [value, at] = valueAndGrad(g)(x);
    return planOf([value, at], {}).dispatches.length;
  };
  assert(count((t) => checkpoint(f)(t)) > count(f), "the rebuilt segment is computed again");
  await both("checkpointed", () => [grad((t: Tensor) => checkpoint(f)(t))(x), grad(f)(x)]);
});

test("a training step of an MLP with Adam takes less than half of the dispatches, and gives the same losses", async () => {
  const train = async (how: WebGpuEngine["fusion"]): Promise<{ losses: number[]; dispatches: number }> => {
    manualSeed(3);
    const model = new Sequential(
      new Linear(20, 32),
      new ReLU(),
      new Linear(32, 16),
      new ReLU(),
      new Linear(16, 4),
    );
    const optimizer = new Adam(model, { lr: 0.01 }), x = randn([8, 20]), y = randint(0, 4, [8]);
    const losses: Tensor[] = [];
    let dispatches = 0;
    await each(how, async () => {
      for (let step = 0; step < 6; step++) {
        const before = engine().counts.dispatches;
        optimizer.zeroGrad();
        const loss = crossEntropy(model.call(x), y);
        loss.backward();
        optimizer.step();
        losses.push(loss);
        flush();
        await read([loss]);
        await compiled();
        dispatches = engine().counts.dispatches - before;
      }
    });
    return { losses: await Promise.all(losses.map((l) => l.item())), dispatches };
  };
  const apart = await train("never"), fused = await train("always"), returning = await train("returning");
  assertEquals(fused.losses, apart.losses);
  assertEquals(returning.losses, apart.losses);
  assertEquals(returning.dispatches, fused.dispatches);
  assert(fused.dispatches * 2 <= apart.dispatches, `${fused.dispatches} of ${apart.dispatches} dispatches`);
});

test("large windows and lines are compiled for their shape, with the same bits", async () => {
  manualSeed(11);
  const image = randn([3, 4, 40, 41]), filters = randn([5, 4, 3, 3]), table = randn([4100, 67]);
  await read([image, filters, table]);
  const convolve = (w: Tensor): Tensor => api.conv2d(image, w, { padding: 1 });
  const cases: Record<string, () => Tensor[]> = {
    "a convolution": () => [convolve(filters)],
    "its gradient": () => [grad((w: Tensor) => convolve(w).square().sum())(filters)],
    "windows": () => [api.maxPool2d(image, 2), api.avgPool2d(image, 3)],
    "lines": () => [table.cumsum(0), table.cumprod(1), table.argsort(1)],
  };
  for (const [name, f] of Object.entries(cases)) await both(name, f);
  const sourcesOf = (y: Tensor, fusion = true): string[] =>
    planOf([y], {}, fusion).dispatches.map((d) => d.kernel.source);
  const calls = (sources: string[]): number => sources.join().match(/\bu\(\d+\)/g)?.length ?? 0;
  assertEquals(calls(sourcesOf(convolve(filters))), 0);
  // The first tier, and small ones, share one kernel among all shapes.
  assert(calls(sourcesOf(convolve(filters), false)) > 0);
  assert(calls(sourcesOf(api.conv2d(image.narrow(0, 0, 1).narrow(2, 0, 5), filters))) > 0);
});
