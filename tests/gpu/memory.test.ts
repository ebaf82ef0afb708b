/** What engines say of their memory, and what they do when there is too little. */
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import {
  Adam,
  arange,
  checkpoint,
  crossEntropy,
  detectAnomaly,
  embedding,
  grad,
  jit,
  layerNorm,
  Linear,
  memory,
  OutOfMemoryError,
  plannedMemory,
  randn,
  resetPeakMemoryStats,
  setMemoryBudget,
  SGD,
  sync,
  type Tensor,
  tensor,
  zeros,
} from "../../mod.ts";
import { flush } from "../../ops/runs.ts";
import { type Backend, testEach } from "../support/engines.ts";
import { rejection } from "./webgpu.ts";

/** A test on both engines, with the budget lifted afterwards. */
function test(name: string, f: (b: Backend) => Promise<void>): void {
  testEach(name, async (b) => {
    try {
      await f(b);
    } finally {
      setMemoryBudget(b.device, null);
    }
  }, { only: ["host", "webgpu"] });
}

/** A budget that leaves so many bytes beside what tensors hold. */
function leave(b: Backend, bytes: number): void {
  const { live, pooled, arena } = memory(b.device);
  setMemoryBudget(b.device, live + arena + bytes + (b.device === "host" ? 0 : pooled));
}

/** The error of what must run out of memory. */
async function failure(f: () => Promise<unknown>): Promise<OutOfMemoryError> {
  const error = await rejection(f());
  if (error instanceof OutOfMemoryError) return error;
  throw error;
}

/** The same where it throws at once. */
function refused(f: () => unknown): void {
  const error = assertThrows(f);
  assert(error instanceof OutOfMemoryError, `${error}`);
}

const MiB = 2 ** 20;

test("the peak is the most that tensors and intermediates took at once, and can be counted anew", async ({ device }) => {
  const x = randn([512, 512]).keep(); // 1 MiB
  await x.data();
  resetPeakMemoryStats(device);
  const { live } = memory(device);
  assertEquals(memory(device).peak, live);
  // Two products in the arena at once (other ones: equal steps that fuse are joined), one result.
  const y = x.matmul(x).matmul(x.matmul(x.mT())).keep();
  flush();
  const report = memory(device);
  assertEquals(report.live, live + MiB);
  assertEquals(report.peak, live + 3 * MiB);
  assert(report.arena >= 2 * MiB, `${report.arena} bytes of arena`);
  y.dispose();
  assertEquals(memory(device).live, live);
  assertEquals(memory(device).peak, live + 3 * MiB);
  resetPeakMemoryStats(device);
  assertEquals(memory(device).peak, live);
});

test("what a run will take is known before it runs", async ({ device }) => {
  const x = randn([256, 256]).keep();
  await x.data();
  const loss = (x: Tensor): Tensor => x.matmul(x).tanh().matmul(x).square().sum();
  const gradient = grad(loss)(x) as Tensor;
  resetPeakMemoryStats(device);
  const plan = plannedMemory(gradient), before = memory(device).live;
  assertEquals(gradient.node.value, null, "nothing was computed");
  assert(plan.results >= 256 * 256 * 4 && plan.arena > 0);
  assertEquals(plan.peak, before + plan.results + plan.arena);
  await gradient.data();
  assertEquals(memory(device).peak, plan.peak);
});

/** The arena of a step through so many blocks of 4 intermediates of 1 MiB each, with checkpoints every few blocks or (0) none. */
function arenaOf(layers: number, every: number): number {
  const x = randn([1024, 64]).keep(),
    scale = randn([64, 256]).keep(),
    back = randn([256, 64]).mul(0.1).keep();
  const weights = Array.from({ length: layers }, () => randn([64, 64]).keep());
  const block = (x: Tensor, w: Tensor): Tensor =>
    x.add(layerNorm(x, 64).matmul(w).matmul(scale).tanh().matmul(back));
  const loss = (...weights: Tensor[]): Tensor => {
    let y = x;
    for (let at = 0; at < layers; at += every || layers) {
      const own = weights.slice(at, at + (every || layers)),
        part = (x: Tensor): Tensor => own.reduce(block, x);
      y = every > 0 ? checkpoint(part)(y) : part(y);
    }
    return y.square().mean();
  };
  const gradients = grad(loss, { argnums: weights.map((_, i) => i) })(...weights) as Tensor[];
  return plannedMemory(...gradients).arena;
}

test("checkpoint saves memory: with one every sqrt(L) layers, the arena grows as sqrt(L)", async () => {
  await sync();
  const plain = [arenaOf(4, 0), arenaOf(16, 0)], checkpointed = [arenaOf(4, 2), arenaOf(16, 4)];
  const said = `without: ${plain}, with: ${checkpointed}`;
  assert(plain[1] > 3 * plain[0], said);
  assert(checkpointed[1] < 2.2 * checkpointed[0], said);
  assert(checkpointed[1] < 0.5 * plain[1], said);
});

test("a tensor that no array can hold is an error, and the next run works", async () => {
  const error = await failure(() => zeros([1e6, 1e6]).keep().narrow(0, 0, 1).data());
  assertStringIncludes(error.message, "3.638 TiB");
  const product = await failure(() => randn([70_000, 4]).matmul(randn([4, 70_000])).keep().sum().item());
  assertStringIncludes(product.message, "matmul");
  refused(() => arange(1e12));
  assertEquals(await tensor([1, 2]).sum().item(), 3);
});

test("more elements than a kernel counts are an error on the GPU, and counted on the host", async ({ device }) => {
  const sum = (): Promise<number> => zeros([46_341, 46_341]).add(1).amax().item();
  if (device === "webgpu") assertStringIncludes((await failure(sum)).message, "count to 2^31");
  else assertEquals(await zeros([3, 2 ** 31]).narrow(1, 2 ** 31 - 2, 2).add(1).sum().item(), 6);
});

test("a run, an upload and a jitted call beyond the budget are errors that change nothing", async (b) => {
  const model = new Linear(64, 64), optimizer = new Adam(model, { lr: 0.01 }), x = randn([8, 64]).keep();
  const step = (x: Tensor): Tensor => {
    optimizer.zeroGrad();
    const loss = model.call(x).square().mean();
    loss.backward();
    optimizer.step();
    return loss;
  };
  const jitted = jit((x: Tensor) => model.call(x).tanh().sum());
  for (let i = 0; i < 4; i++) await step(x).item();
  const before = await model.weight.data();
  leave(b, MiB / 2);
  const large = x.tile([4000, 1]); // 8 MiB
  assertStringIncludes((await failure(() => large.keep().data())).message, "the budget is");
  leave(b, MiB / 2);
  refused(() => tensor(new Float32Array(MiB)));
  await failure(() => jitted(large.add(1).keep()).item());
  assertEquals(await model.weight.data(), before);
  assert(Number.isFinite(await step(x).item()), "what fits runs under the same budget");
  setMemoryBudget(b.device, null);
  assertEquals((await x.tile([4000, 1]).data()).length, 8 * 64 * 4000);
});

test("the error shows the largest tensors, their names and makers, and what checkpoint would save", async (b) => {
  // Five at most are large: V8 may hold what it compiles code for, as the values before the step.
  const model = new Linear(300, 300), optimizer = new SGD(model, { lr: 0.01 }), x = randn([64, 300]).keep();
  const loss = (x: Tensor): Tensor => {
    let y = x;
    for (let i = 0; i < 16; i++) y = model.call(y).tanh();
    return y.square().mean();
  };
  loss(x).backward();
  optimizer.step();
  await sync();
  leave(b, MiB);
  const { message, asked, device } = await failure(async () => {
    const y = loss(x.tile([20, 1]));
    optimizer.zeroGrad();
    y.backward();
    await y.item();
  });
  assertEquals(device, b.device);
  assert(asked > 16 * 20 * 64 * 300 * 4, `${asked} bytes`);
  assertStringIncludes(message, `weight [300,300] f32, made by SGD.step 1`);
  assertStringIncludes(message, "[64,300] f32, made by normalFromBits");
  // 16 results of tanh of 1.465 MiB; over 4 parts, the ends of each and the inside of one.
  assertStringIncludes(message, "keeps 23.44 MiB in 16 intermediates: checkpoint(f) over 4 parts");
  assertStringIncludes(message, "about 11.72 MiB");
});

test("what a jitted step's backward pass keeps is in the error too", async (b) => {
  const model = new Linear(64, 64), optimizer = new Adam(model, { lr: 0.01 });
  const step = jit((x: Tensor) => {
    let y = x;
    for (let i = 0; i < 9; i++) y = model.call(y).tanh();
    const loss = y.square().mean();
    optimizer.zeroGrad();
    loss.backward();
    optimizer.step();
    return loss;
  });
  const large = randn([1024, 64]).keep();
  await step(randn([8, 64])).item();
  await large.data();
  const before = await model.weight.data();
  leave(b, MiB / 4);
  const { message } = await failure(() => step(large).item());
  assertStringIncludes(message, "keeps 2.25 MiB in 9 intermediates: checkpoint(f) over 3 parts");
  assertEquals(await model.weight.data(), before);
  assert(Number.isFinite(await step(large.narrow(0, 0, 8)).item()));
});

test("under anomaly detection the error names the lines that made the largest tensors", async (b) => {
  const error = await failure(() =>
    detectAnomaly(async () => {
      const large = randn([1000, 500]).keep();
      await large.data();
      leave(b, MiB);
      await large.expand([4, 1000, 500]).add(large).keep().data();
    })
  );
  const line = error.message.split("\n").find((l) => l.includes("[1000,500] f32, made by normalFromBits at"));
  assertStringIncludes(line ?? error.message, import.meta.url);
});

test("garbage is collected before a run is refused, also in the middle of a synchronous loop", async (b) => {
  const x = randn([MiB / 4]).keep(); // 1 MiB
  await x.data();
  leave(b, 12 * MiB);
  let y = x;
  for (let i = 0; i < 60; i++) {
    y = x.add(y.mul(0.5)).detach().keep();
    flush();
  }
  assert(Number.isFinite(await y.mean().item()));
});

test("what is kept for reuse is let go before a run is refused", async (b) => {
  const many = Array.from({ length: 8 }, (_, i) => zeros([MiB / 4]).add(i).keep());
  flush();
  const { live } = memory(b.device);
  for (const x of many) x.dispose();
  setMemoryBudget(b.device, live + 3 * MiB);
  const one = zeros([2 * MiB]).add(1).keep(); // 8 MiB in one piece
  assertEquals((await one.narrow(0, 5, 1).data())[0], 1);
});

test("a value that was there when it was assigned keeps nothing of the one before it", async () => {
  const w = randn([1000]).keep();
  await w.data();
  w.assign(tensor(new Float32Array(1000)));
  assertEquals(w.node.replaces, null);
});

test("a loss that is computed with its step keeps none of the values before the step", async ({ device }) => {
  const model = new Linear(512, 512, { bias: false }), optimizer = new SGD(model, { lr: 0.01 });
  const x = randn([4, 512]).keep();
  const live = async (): Promise<number> => {
    setMemoryBudget(device, 0);
    await failure(() => zeros([MiB]).add(1).data()); // after a collection
    setMemoryBudget(device, null);
    return memory(device).live;
  };
  await sync();
  const before = await live(); // the weight of 1 MiB and x
  let loss = x;
  for (let i = 0; i < 3; i++) {
    optimizer.zeroGrad();
    loss = model.call(x).square().mean();
    loss.backward();
    optimizer.step();
    await sync();
  }
  optimizer.zeroGrad();
  let more = Infinity;
  // V8 holds what it compiles code for, for a moment.
  for (let i = 0; i < 50 && more >= MiB / 4; i++) {
    await new Promise((done) => setTimeout(done, 20));
    more = await live() - before;
  }
  assert(more < MiB / 4, `${more / MiB} MiB more than one weight`);
  assertStringIncludes((assertThrows(() => loss.backward()) as Error).message, "SGD.step");
});

testEach(
  "what a jitted step's first call leaves to nobody is collected before its second",
  async ({ device }) => {
    const model = new Linear(1024, 1024, { bias: false }), optimizer = new Adam(model, { lr: 0.01 });
    const x = randn([4, 1024]).keep();
    const step = jit(() => {
      optimizer.zeroGrad();
      model.call(x).square().mean().backward();
      optimizer.step();
    });
    await sync();
    const before = memory(device).live - 3 * 4 * MiB; // the weight, and the optimiser's state
    for (let i = 0; i < 3; i++) step();
    const { live } = memory(device);
    assert(
      live <= before + 4 * 4 * MiB + MiB,
      `${(live - before) / MiB} MiB, of 16 for weight, gradient and state`,
    );
  },
  { only: ["host", "webgpu"] },
);

test("results that could be differentiated and that nobody holds make room for others without a step", async (b) => {
  const w = randn([MiB / 4]).keep(); // 1 MiB
  w.requiresGrad = true;
  await w.data();
  leave(b, 12 * MiB);
  for (let i = 0; i < 60; i++) assert(Number.isFinite((await w.mul(i).data())[0]));
});

test("a failed run gives back what it took", async (b) => {
  const table = randn([100, 2000]).keep(), wrong = tensor([3, 100], { dtype: "i32" });
  flush();
  const run = async (): Promise<void> => {
    const bad = embedding(table, wrong).keep(), other = table.mul(2).keep();
    assertStringIncludes((await rejection(bad.data())).message, "embedding");
    assertStringIncludes((await rejection(other.data())).message, "embedding", "it was the same run");
  };
  await run();
  const inUse = (): number => memory(b.device).live - memory(b.device).pooled;
  const before = inUse();
  for (let i = 0; i < 20; i++) await run();
  for (let i = 0; i < 5; i++) await new Promise((done) => setTimeout(done, 5));
  const grown = inUse() - before;
  assert(grown < (b.device === "host" ? 1 : 20) * MiB, `${grown} bytes stay behind`);
  assert(await crossEntropy(table.narrow(1, 0, 3), tensor([1], { dtype: "i32" }).expand([100])).item() > 0);
});
