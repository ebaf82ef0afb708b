/** Independent chains of one text share a kernel: optimisers over many parameters, concatenations, results that are windows. */
import { assert, assertEquals } from "@std/assert";
import {
  AdamW,
  cat,
  clipGradNorm,
  crossEntropy,
  jit,
  Linear,
  manualSeed,
  randint,
  randn,
  Sequential,
  Tanh,
  type Tensor,
} from "../../mod.ts";
import type { Limits } from "../../gpu/webgpu/device.ts";
import { makePlan } from "../../gpu/webgpu/emit.ts";
import type { Plan } from "../../gpu/webgpu/plan.ts";
import type { WebGpuEngine } from "../../gpu/webgpu/mod.ts";
import type { DType } from "../../ops/dtype.ts";
import { collect, lower } from "../../ops/lower.ts";
import { pendingRoots } from "../../ops/runs.ts";
import type { Shape } from "../../ops/shape.ts";
import { read } from "../support/numbers.ts";
import { engine, flush, test } from "./webgpu.ts";

/** Runs `f` fused or not, on a device of these limits. */
async function on<T>(
  fusion: WebGpuEngine["fusion"],
  limits: Partial<Limits>,
  f: () => Promise<T>,
): Promise<{ value: T; dispatches: number }> {
  const e = engine(), before = e.fusion;
  e.fusion = fusion;
  e.assume(limits);
  try {
    const { dispatches } = e.counts, value = await f();
    return { value, dispatches: e.counts.dispatches - dispatches };
  } finally {
    e.fusion = before;
    e.assume({});
  }
}

/** The plan of what is pending, on a GPU. */
function pendingPlan(steady: boolean): Plan {
  const graph = collect(pendingRoots("webgpu", []), false);
  const { limits } = engine().gpu;
  return makePlan(
    lower(graph),
    {
      binding: 2 ** 27,
      buffer: 2 ** 31,
      groups: limits.maxComputeWorkgroupsPerDimension,
      uniformAlign: 256,
      storageBuffers: 128,
      workgroupMemory: 16384,
      f16: true,
      isSoftware: false,
    },
    (source) => graph.nodes[source].p,
    { steady },
  );
}

/** Rows of results with the same bits in a kernel each and together, on devices that bind few buffers and many. */
async function same(what: string, most: number, f: () => Tensor[]): Promise<void> {
  const apart = await on("never", {}, () => read(f()));
  for (const storageBuffers of [5, 8, 32]) {
    for (const isSoftware of [true, false]) {
      const together = await on("always", { storageBuffers, isSoftware }, () => read(f()));
      together.value.forEach((v, i) => assertEquals(v, apart.value[i], `${what}: result ${i}`));
      if (storageBuffers === 32 && !isSoftware) {
        assert(
          together.dispatches <= most,
          `${what}: ${together.dispatches} of ${apart.dispatches} dispatches`,
        );
      }
    }
  }
}

const SHAPES: Shape[] = [[3], [64, 32], [1], [300, 260], [7, 5], [128], [16, 4, 4], [0], [2, 2]];

async function inputs(dtype: DType = "f32"): Promise<Tensor[]> {
  manualSeed(5);
  const x = SHAPES.map((s) => randn(s).to(dtype));
  for (const t of x) t.keep();
  flush();
  await read(x);
  return x;
}

test("independent chains of one text are one kernel, with the same bits", async () => {
  const x = await inputs(), [rate] = await inputs();
  await same("updates", 2, () => x.map((t) => t.mul(rate.narrow(0, 1, 1).reshape([])).sub(t.square())));
  await same("transposed", 3, () => x.map((t) => t.rank === 2 ? t.mT().mul(2) : t.mul(2)));
  await same("of constants", 2, () => x.map((t, i) => t.mul(i).add(1)));
  // The second of each reads the first.
  await same("in two steps", 8, () => x.flatMap((t) => [t.exp(), t.exp().square().sum().add(t)]).slice(0, 6));
  for (const dtype of ["f16", "bf16", "bool", "i32"] as DType[]) {
    const y = await inputs(dtype), one = (t: Tensor): Tensor => dtype === "bool" ? t.logicalNot() : t.add(t);
    await same(dtype, 2, () => y.map(one));
  }
});

test("concatenations and windows as results are one kernel each, and nothing where they lie so", async () => {
  const x = await inputs(), flat = x.map((t) => t.reshape([-1]));
  await same("cat", 2, () => [cat(flat)]);
  await same("cat along columns", 2, () => [cat([x[1], x[1].mul(1), x[1].narrow(1, 3, 4)], 1)]);
  await same("windows", 4, () => {
    const all = cat(flat).mul(2);
    let at = 0;
    return x.map((t) => all.narrow(0, (at += t.size) - t.size, t.size).reshape(t.shape));
  });
  const together = jit((y: Tensor) => cat([y.narrow(0, 0, 7), y.narrow(0, 7, 3), y.narrow(0, 10, 90)]).exp());
  const swapped = jit((y: Tensor) => cat([y.narrow(0, 7, 93), y.narrow(0, 0, 7)]).exp());
  const y = randn([100]);
  const [a, b, c] = await read([together(y), swapped(y), y.exp()]);
  assertEquals(a, c);
  assertEquals([...b], [...c.slice(7), ...c.slice(0, 7)]);
  const { dispatches } = await on("always", {}, () => read([together(y)]));
  assertEquals(dispatches, 1);
});

test("AdamW over many parameters with clipped gradients takes at most five kernels on a GPU, and gives the same losses", async () => {
  const train = async (
    fusion: WebGpuEngine["fusion"],
    isSoftware: boolean,
    jitted: boolean,
  ): Promise<number[]> => {
    manualSeed(3);
    const layers = Array.from({ length: 8 }, (_, i) => [new Linear(i === 0 ? 20 : 24, 24), new Tanh()]);
    const model = new Sequential(...layers.flat(), new Linear(24, 4));
    const optimizer = new AdamW(model, { lr: 0.01 }), x = randn([8, 20]), y = randint(0, 4, [8]);
    const step = (): Tensor => {
      optimizer.zeroGrad();
      const loss = crossEntropy(model.call(x), y);
      loss.backward();
      clipGradNorm(model, 0.1);
      optimizer.step();
      return loss;
    };
    const f = jitted ? jit(step) : step, losses: number[] = [];
    await on(fusion, { isSoftware, storageBuffers: 32 }, async () => {
      for (let i = 0; i < 4; i++) losses.push(await f().item());
    });
    if (!jitted && !isSoftware) {
      step();
      const names = pendingPlan(true).dispatches.map((d) => d.work.name);
      const own = names.slice(names.indexOf("cat"));
      assert(own.length <= 5 && own.at(-1) === "mul x18, sub x18", own.join("; "));
      flush();
    }
    return losses;
  };
  for (const isSoftware of [true, false]) {
    const apart = await train("never", isSoftware, false);
    for (const jitted of [false, true]) assertEquals(await train("always", isSoftware, jitted), apart);
  }
});
