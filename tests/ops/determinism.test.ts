/** The same bits over runs, tiers and places in memory, and the switch that asks for them. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  Adam,
  areDeterministicAlgorithmsEnabled,
  crossEntropy,
  jit,
  Linear,
  manualSeed,
  randint,
  randn,
  ReLU,
  Sequential,
  type Tensor,
  TransformerEncoderLayer,
  useDeterministicAlgorithms,
} from "../../mod.ts";
import { engineOf, flush } from "../../ops/runs.ts";
import { WebGpuEngine } from "../../gpu/webgpu/mod.ts";
import { testEach } from "../support/engines.ts";
import { read } from "../support/numbers.ts";

const test = (name: string, f: () => Promise<void>): void => testEach(name, f, { only: ["host", "webgpu"] });

async function fixed(f: () => Promise<void>): Promise<void> {
  useDeterministicAlgorithms(true);
  try {
    await f();
  } finally {
    useDeterministicAlgorithms(false);
  }
}

/** Losses and last gradients of a few steps, from the same start. */
async function train(isJitted: boolean): Promise<unknown[]> {
  manualSeed(5);
  const encoder = new TransformerEncoderLayer(16, 2, { feedforward: 24, dropout: 0.1 });
  const head = new Sequential(new ReLU(), new Linear(16, 40));
  const optimizers = [encoder, head].map((m) => new Adam(m, { lr: 0.01 }));
  const x = randn([4, 9, 16]), y = randint(0, 40, [36]);
  const step = (x: Tensor, y: Tensor): Tensor => {
    for (const optimizer of optimizers) optimizer.zeroGrad();
    const loss = crossEntropy(head.call(encoder.call(x)).reshape([36, 40]), y);
    loss.backward();
    for (const optimizer of optimizers) optimizer.step();
    return loss;
  };
  const jitted = jit(step), losses: Tensor[] = [];
  for (let i = 0; i < 8; i++) losses.push((isJitted ? jitted : step)(x, y));
  const parameters = [...encoder.parameters(), ...head.parameters()];
  return await read([...losses, ...parameters, ...parameters.map((p) => p.grad!)]);
}

test("deterministic algorithms: training gives the same bits in every run, plain and under jit", () =>
  fixed(async () => {
    const first = await train(false);
    assertEquals(await train(false), first);
    assertEquals(await train(true), first);
  }));

test("deterministic algorithms: a structure is computed in one way from its first run on", () =>
  fixed(async () => {
    manualSeed(1);
    const x = randn([41, 3]), engine = engineOf(x.device);
    await read([x]);
    const counts: number[] = [], values: unknown[] = [];
    for (let i = 0; i < 40; i++) {
      const before = engine instanceof WebGpuEngine ? engine.counts.dispatches : 0;
      const y = x.mul(2).add(1).tanh().mul(x).sum(0);
      flush([y.node]);
      counts.push(engine instanceof WebGpuEngine ? engine.counts.dispatches - before : 0);
      values.push((await read([y]))[0]);
    }
    assertEquals(new Set(counts).size, 1);
    for (const v of values) assertEquals(v, values[0]);
  }));

test("jit records anew when the switch is turned, and says why", async () => {
  const f = jit((x: Tensor) => x.square().sum()), x = randn([3]);
  await read([f(x)]);
  await fixed(async () => void await read([f(x)]));
  await read([f(x)]);
  assertEquals(f.explain(), ["recording 2: deterministic algorithms is true, not false"]);
});

testEach("a product has the same bits read and used", async () => {
  manualSeed(2);
  // Small enough to be a JavaScript array of its own where it is read, large enough for vectors.
  const a = randn([12, 600]), b = randn([600, 12]);
  await read([a, b]);
  const [used] = await read([a.matmul(b).add(0)]), [alone] = await read([a.matmul(b)]);
  assertEquals(alone, used);
}, { only: ["host"] });

testEach("results have the same bits whichever memory they get", async () => {
  manualSeed(3);
  // Beyond 256 MiB in one turn results come from the heap.
  const x = randn([1 << 21]), kept: Tensor[] = [], sums: unknown[] = [];
  await read([x]);
  for (let i = 0; i < 40; i++) {
    const y = x.exp();
    flush([y.node]);
    kept.push(y);
  }
  for (const y of [kept[0], kept[39]]) sums.push((await read([y.narrow(0, 0, 5000)]))[0]);
  assertEquals(sums[1], sums[0]);
}, { only: ["host"] });

Deno.test("the environment turns deterministic algorithms on, and wrong values are named", async () => {
  const run = async (value: string): Promise<string> => {
    const script = `const c = await import(${JSON.stringify(import.meta.resolve("../../mod.ts"))});
      console.log(c.areDeterministicAlgorithmsEnabled());`;
    const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["eval", script],
      env: { COTANGENT_DETERMINISTIC: value, COTANGENT_DEVICE: "host" },
    }).output();
    return new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  };
  assertEquals(await run("1"), "true\n");
  assertEquals(await run("0"), "false\n");
  assert((await run("yes")).includes("COTANGENT_DETERMINISTIC=yes"));
  assertThrows(() => useDeterministicAlgorithms("on" as unknown as boolean), TypeError, "true or false");
  assert(!areDeterministicAlgorithmsEnabled());
});
