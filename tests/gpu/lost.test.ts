/** A device that goes away in the middle of work: what was there is lost with a clear error, and work goes on. */
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import {
  Adam,
  jit,
  Linear,
  loadCheckpoint,
  manualSeed,
  profile,
  randn,
  saveCheckpoint,
  type Tensor,
  tensor,
} from "../../mod.ts";
import { createWebGpuEngine, DeviceLostError, type WebGpuEngine } from "../../gpu/webgpu/mod.ts";
import { setEngine } from "../../ops/runs.ts";
import { flush, macrotask, rejection, test as on } from "./webgpu.ts";

/** A test on a device of its own, which it may destroy. */
function test(name: string, f: (engine: WebGpuEngine) => Promise<void>): void {
  on(name, async () => {
    const engine = (await createWebGpuEngine())!;
    setEngine(engine);
    try {
      await f(engine);
    } finally {
      engine.destroy();
      await macrotask(20);
    }
  });
}

async function lost(promise: Promise<unknown>): Promise<void> {
  const error = await rejection(promise);
  assert(error instanceof DeviceLostError, `${error.stack}`);
  assertStringIncludes(error.message, "was lost");
}

test("all reads in flight end when the device is killed, and later ones work", async (engine) => {
  const x = randn([300, 300]).keep();
  await x.narrow(0, 0, 1).data();
  const reads = [x.matmul(x), x.exp(), x.sum()].map((y) => y.data());
  engine.destroy();
  const after = x.add(1).data();
  for (const read of reads) await lost(read);
  await lost(after);
  await lost(x.data());
  assertEquals(await tensor([1, 2]).mul(2).toArray(), [2, 4]);
});

for (const at of ["before the call", "between the call and the read", "two macrotasks after the call"]) {
  test(`a jitted function works again after a device that was killed ${at}`, async (engine) => {
    const f = jit((x: Tensor) => x.mul(tensor([2, 3])).exp().sum()); // with data of its own
    for (let i = 0; i < 3; i++) assertEquals(await f(tensor([0, 0])).item(), 2);
    if (at === "before the call") engine.destroy();
    const y = f(tensor([0, 0])).keep();
    if (at === "two macrotasks after the call") await macrotask().then(() => macrotask());
    if (at !== "before the call") engine.destroy();
    await lost(y.item());
    for (let i = 0; i < 3; i++) assertEquals(await f(tensor([0, 0])).item(), 2);
  });
}

for (const [how, compile] of [["", <F>(f: F): F => f], [" under jit", jit]] as const) {
  test(`parameters and the optimiser's state that were lost come back from a checkpoint${how}`, async (engine) => {
    const path = await Deno.makeTempFile({ suffix: ".safetensors" });
    manualSeed(1);
    const model = new Linear(4, 1), optimizer = new Adam(model, { lr: 0.1 });
    const step = (compile as <F>(f: F) => F)((x: Tensor): Tensor => {
      optimizer.zeroGrad();
      const loss = model.call(x).square().mean();
      loss.backward();
      optimizer.step();
      return loss;
    });
    const train = async (n: number): Promise<number[]> => {
      const losses: number[] = [];
      for (let i = 0; i < n; i++) losses.push(await step(tensor([[1, 2, 3, 4]])).item());
      return losses;
    };
    try {
      await train(5);
      await saveCheckpoint(path, { model, optimizer });
      const expected = await train(5);
      const last = step(tensor([[1, 2, 3, 4]]));
      engine.destroy();
      await lost(last.item());
      // Whichever comes first: what stepping needs, or the loss, says what to do.
      const error = await rejection(train(1));
      assert(error instanceof DeviceLostError, `${error.stack}`);
      assertStringIncludes(error.message, "load parameters and the optimiser's state from a checkpoint");
      assert(assertThrows(() => (optimizer.zeroGrad(), optimizer.step())) instanceof Error);
      await loadCheckpoint(path, { model, optimizer });
      assertEquals(await train(5), expected);
    } finally {
      await Deno.remove(path);
    }
  });
}

test("a device that is killed under profile ends it with its error", async (engine) => {
  const x = randn([64, 64]).keep();
  flush();
  await lost(profile(async () => {
    const y = x.matmul(x).sum();
    y.keep();
    flush();
    engine.destroy();
    await y.item();
  }));
  assertEquals(await tensor([3]).add(1).item(), 4);
});
