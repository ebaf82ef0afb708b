/** Tiers on WebGPU: a kernel for each step at first, fused kernels once they are compiled, the same bits. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { manualSeed, randn, type Tensor } from "../../mod.ts";
import type { WebGpuEngine } from "../../gpu/webgpu/mod.ts";
import { read } from "../support/numbers.ts";
import { compiled, engine, flush, macrotask, test } from "./webgpu.ts";

/** Runs `f` on an engine whose structures fuse when they return. */
async function returning(f: (e: WebGpuEngine) => Promise<void>): Promise<void> {
  const e = engine(), before = e.fusion;
  e.fusion = "returning";
  try {
    await f(e);
  } finally {
    e.fusion = before;
  }
}

/** An operand of a length that no other test has, so that its structures are new. */
async function operand(length: number): Promise<Tensor> {
  manualSeed(length);
  const x = randn([length]);
  await read([x]);
  return x;
}

const f = (x: Tensor): Tensor => x.mul(2).add(3).sigmoid().mul(x);

test("a structure that returns fuses once that is compiled, with the same bits, and counts as known", () =>
  returning(async (e) => {
    const x = await operand(37), counts: number[] = [], values: unknown[] = [], { planned } = e.counts;
    for (let i = 0; i < 4; i++) {
      const before = e.counts.dispatches;
      values.push((await read([f(x)]))[0]);
      counts.push(e.counts.dispatches - before);
      await compiled();
    }
    assertEquals(counts, [4, 4, 1, 1]);
    assertEquals(e.counts.planned, planned + 1);
    for (const v of values) assertEquals(v, values[0]);
  }));

test("a loop that never yields fuses after a while", () =>
  returning(async (e) => {
    const x = await operand(38), counts: number[] = [], results: Tensor[] = [];
    for (let i = 0; i < 60; i++) {
      const before = e.counts.dispatches, y = f(x);
      flush([y.node]);
      counts.push(e.counts.dispatches - before);
      results.push(y);
    }
    assertEquals(new Set(counts.slice(0, 10)), new Set([4]));
    assertEquals(new Set(counts.slice(-10)), new Set([1]));
    const values = await read(results);
    for (const v of values) assertEquals(v, values[0]);
    assert(!e.isCompiling);
  }));

test("what cannot be compiled in the background stays on the first tier, and is told of once", () =>
  returning(async (e) => {
    const { gpu, reportFault } = e, told: Error[] = [];
    e.reportFault = (error) => told.push(error);
    gpu.createComputePipelineAsync = () => Promise.reject(new Error("no room for pipelines"));
    try {
      const x = await operand(39), values: unknown[] = [];
      // A kernel that no other test has compiled.
      const f = (x: Tensor): Tensor => x.atan().mul(x).sub(0.5).sin();
      const { dispatches } = e.counts;
      for (let i = 0; i < 50; i++) {
        values.push((await read([f(x)]))[0]);
        if (i % 8 === 0) await macrotask(5);
      }
      assertEquals(e.counts.dispatches - dispatches, 200);
      for (const v of values) assertEquals(v, values[0]);
      assertEquals(told.length, 1);
      assertStringIncludes(told[0].message, "no room for pipelines");
    } finally {
      Reflect.deleteProperty(gpu, "createComputePipelineAsync");
      e.reportFault = reportFault;
    }
  }));

test("structures on their way are compiled together, first come, first served", () =>
  returning(async (e) => {
    const x = await operand(40), g = (t: Tensor): Tensor => t.exp().add(1).log().mul(t).sum();
    for (let i = 0; i < 2; i++) await read([f(x), g(x)]), await read([g(x)]);
    await compiled();
    const before = e.counts.dispatches;
    await read([f(x), g(x)]);
    await read([g(x)]);
    assertEquals(e.counts.dispatches - before, 3);
  }));

test("a program ends without waiting for plans on their way", async () => {
  const script = `
    import { engineOf, flush } from ${JSON.stringify(import.meta.resolve("../../ops/runs.ts"))};
    import { randn, setDefaultDevice } from ${JSON.stringify(import.meta.resolve("../../mod.ts"))};
    setDefaultDevice("webgpu");
    const x = randn([9]), f = (t) => t.sin().mul(t).exp().add(t).tanh();
    await x.data();
    for (let i = 0; i < 2; i++) flush([f(x).node]);
    console.log(engineOf("webgpu").isCompiling);
    addEventListener("unload", () => console.log(engineOf("webgpu").isCompiling));`;
  const { code, stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["eval", script],
    stderr: "inherit",
  }).output();
  assertEquals(code, 0);
  assertEquals(new TextDecoder().decode(stdout).trim().split("\n").slice(-2), ["true", "true"]);
});
