/** Optimisers against formulas worked on the host in double precision, and what they must not do. */
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  crossEntropy,
  defaultDevice,
  embedding,
  jit,
  manualSeed,
  memory,
  noGrad,
  parameter,
  randn,
  sync,
  type Tensor,
  tensor,
  zeros,
} from "../../mod.ts";
import { Adam, type AdamOptions, AdamW, oneMinusPower } from "../../nn/adam.ts";
import { clipGradNorm, clipGradValue } from "../../nn/clip.ts";
import * as init from "../../nn/init.ts";
import { Linear } from "../../nn/linear.ts";
import { l1Loss, mseLoss } from "../../nn/loss.ts";
import { bceWithLogits } from "../../nn/loss_class.ts";
import { Dropout } from "../../nn/dropout.ts";
import { ReLU } from "../../nn/activation.ts";
import { constant, cosine, linearWarmup, LRScheduler, sequence, stepDecay } from "../../nn/schedule.ts";
import { Sequential } from "../../nn/sequential.ts";
import { SGD, type SGDOptions } from "../../nn/sgd.ts";
import { testEach } from "../support/engines.ts";
import { nextSerial } from "../../ops/node.ts";
import { collectGarbage, f64, keysOf, numbers } from "./support.ts";

function near(actual: number[], expected: number[], tolerance: number): void {
  assertEquals(actual.length, expected.length);
  actual.forEach((v, i) =>
    assert(
      Math.abs(v - expected[i]) <= tolerance * Math.max(1, Math.abs(expected[i])),
      `${actual} is not ${expected}`,
    )
  );
}

/** Minimises sum(c w²) / 2, of which the gradient is c w, for `n` steps. */
const C = [1, 3, -0.5];
function descend(w: Tensor, optimizer: { step(): void; zeroGrad(): void }, n: number): void {
  for (let i = 0; i < n; i++) {
    optimizer.zeroGrad();
    w.square().mul(tensor(C, { dtype: w.dtype, device: w.device })).sum().mul(0.5).backward();
    optimizer.step();
  }
}

for (
  const options of [
    { lr: 0.1 },
    { lr: 0.1, momentum: 0.9 },
    { lr: 0.1, momentum: 0.9, dampening: 0.3, weightDecay: 0.2 },
    { lr: 0.1, momentum: 0.9, nesterov: true, maximize: true },
  ] as SGDOptions[]
) {
  Deno.test(`SGD with ${JSON.stringify(options)} takes the steps of its formula`, async () => {
    const w = f64([1, -2, 0.5]),
      x = [1, -2, 0.5],
      { lr = 0, momentum = 0, dampening = 0, weightDecay = 0 } = options;
    descend(w, new SGD([w], options), 6);
    const b = [0, 0, 0];
    for (let t = 1; t <= 6; t++) {
      x.forEach((v, i) => {
        const g = C[i] * v * (options.maximize ? -1 : 1) + weightDecay * v;
        b[i] = t === 1 ? g : momentum * b[i] + (1 - dampening) * g;
        x[i] -= lr * (momentum === 0 ? g : options.nesterov ? g + momentum * b[i] : b[i]);
      });
    }
    near(await numbers(w), x, 1e-12);
  });
}

function adamByHand(x: number[], n: number, options: AdamOptions, decoupled: boolean): number[] {
  const { lr = 1e-3, betas: [b1, b2] = [0.9, 0.999], eps = 1e-8, weightDecay = 0, amsgrad = false } = options;
  const m = x.map(() => 0), v = x.map(() => 0), top = x.map(() => 0);
  x = [...x];
  for (let t = 1; t <= n; t++) {
    x.forEach((w, i) => {
      const g = C[i] * w + (decoupled ? 0 : weightDecay * w);
      m[i] = b1 * m[i] + (1 - b1) * g;
      v[i] = b2 * v[i] + (1 - b2) * g * g;
      top[i] = amsgrad ? Math.max(top[i], v[i]) : v[i];
      if (decoupled) w -= lr * weightDecay * w;
      x[i] = w - lr * (m[i] / (1 - b1 ** t)) / (Math.sqrt(top[i] / (1 - b2 ** t)) + eps);
    });
  }
  return x;
}

for (
  const [make, options] of [
    [Adam, { lr: 0.1 }],
    [Adam, { lr: 0.05, betas: [0.8, 0.95], eps: 1e-3, weightDecay: 0.1 }],
    [Adam, { lr: 0.1, amsgrad: true }],
    [AdamW, { lr: 0.1, weightDecay: 0.3 }],
  ] as [typeof Adam, AdamOptions][]
) {
  Deno.test(`${make.name} with ${JSON.stringify(options)} takes the steps of its formula`, async () => {
    const w = f64([1, -2, 0.5]), expected = adamByHand([1, -2, 0.5], 40, options, make.name === "AdamW");
    descend(w, new make([w], options), 40);
    near(await numbers(w), expected, 1e-11);
    const single = tensor([1, -2, 0.5], { requiresGrad: true });
    descend(single, new make([single], options), 40);
    near(await numbers(single), expected, 2e-5);
  });
}

Deno.test("Adam's bias correction keeps its digits in single precision", async () => {
  for (const beta of [0.9, 0.999, 0.9999]) {
    for (const t of [1, 2, 7, 50, 1000, 100_000]) {
      const exact = -Math.expm1(t * Math.log(beta));
      const value = await oneMinusPower(beta, tensor(t)).item();
      assert(Math.abs(value / exact - 1) < 5e-6, `${beta} ${t}: ${value} ${exact}`);
    }
  }
});

Deno.test("a parameter without a gradient stays as it is, and its own steps are counted when it has one again", async () => {
  const a = f64([1, -2, 0.5]), b = f64([1, -2, 0.5]), optimizer = new Adam([a, b], { lr: 0.1 });
  const c = tensor(C, { dtype: "f64", device: "host" });
  for (let i = 0; i < 7; i++) {
    optimizer.zeroGrad();
    a.square().mul(c).sum().mul(0.5).backward();
    if (i >= 4) b.square().mul(c).sum().mul(0.5).backward();
    optimizer.step();
    if (i === 3) assertEquals(await numbers(b), [1, -2, 0.5]);
  }
  near(await numbers(a), adamByHand([1, -2, 0.5], 7, { lr: 0.1 }, false), 1e-11);
  near(await numbers(b), adamByHand([1, -2, 0.5], 3, { lr: 0.1 }, false), 1e-11);
});

Deno.test("parameters of several types share an optimiser; half precision has state in single", async () => {
  const a = f64([1, -2, 0.5]), h = tensor([1, -2, 0.5], { dtype: "f16", device: "host", requiresGrad: true });
  const optimizer = new Adam([a, h], { lr: 0.1 });
  for (let i = 0; i < 3; i++) {
    optimizer.zeroGrad();
    for (const w of [a, h]) {
      w.square().mul(tensor(C, { dtype: w.dtype, device: w.device })).sum().mul(0.5).backward();
    }
    optimizer.step();
  }
  assertEquals(optimizer.groups[0].buckets.map((b) => b.dtype), ["f64", "f32"]);
  near(await numbers(h), await numbers(a), 5e-3);
  assertEquals(h.dtype, "f16");
});

Deno.test("groups have rates of their own, which keep their ratio when the optimiser's is set", async () => {
  const a = f64([1]), b = f64([1]);
  const optimizer = new SGD([{ params: [a] }, { params: [b], lr: 0.01 }], { lr: 0.1 });
  optimizer.lr = 1;
  near(optimizer.groups.map((g) => g.lr), [1, 0.1], 1e-15);
  a.add(b).sum().backward();
  optimizer.step();
  near([...await numbers(a), ...await numbers(b)], [0, 0.9], 1e-12);
});

Deno.test("differentiating a graph built before a step is an error that names the step", () => {
  const w = tensor([1, 2], { requiresGrad: true, name: "w" }), optimizer = new Adam([w]);
  const step = (): Tensor => {
    optimizer.zeroGrad();
    const loss = w.square().sum();
    loss.backward();
    optimizer.step();
    return loss;
  };
  step();
  step();
  const old = step();
  const error = assertThrows(() => old.backward(), Error, "Adam.step 3");
  assert(error.message.includes("parameter w"), error.message);
});

Deno.test("a step without any gradient says what is missing", () => {
  const w = tensor([1], { requiresGrad: true });
  assertThrows(() => new SGD([w]).step(), Error, "loss.backward()");
  assertThrows(() => new SGD([]), RangeError, "no parameters");
  assertThrows(() => new SGD([w, w]), Error, "twice");
  assertThrows(() => new SGD([tensor([1])]), Error, "requires gradients");
  assertThrows(() => new SGD([w.mul(2)]), Error, "leaves");
  assertThrows(() => new SGD([w], { nesterov: true }), RangeError, "momentum");
  assertThrows(() => new Adam([w], { betas: [1, 0.9] }), RangeError, "betas");
  assertThrows(() => new Adam([w], { lr: NaN }), RangeError, "NaN");
  assertThrows(() => jit(() => (new SGD([w]), w.sum()))(), Error, "inside a transform");
});

Deno.test("a step leaves no graph behind and needs no noGrad", async () => {
  const w = tensor([1, 2], { requiresGrad: true }), optimizer = new SGD([w], { lr: 0.1 });
  w.square().sum().backward();
  optimizer.step();
  assert(w.isLeaf && w.requiresGrad);
  await w.data();
  assertEquals(w.node.inputs.length, 0);
});

function network(): Sequential {
  return new Sequential(new Linear(4, 8), new ReLU(), new Dropout(0.2), new Linear(8, 3));
}
function trainStep(model: Sequential, optimizer: Adam): (x: Tensor, y: Tensor) => Tensor {
  return (x, y) => {
    optimizer.zeroGrad();
    const loss = crossEntropy(model.call(x), y);
    loss.backward();
    clipGradNorm(model, 1);
    optimizer.step();
    return loss;
  };
}

Deno.test("1,000 Adam steps are one structure, and the rate is data", async () => {
  const model = network(), optimizer = new Adam(model), step = trainStep(model, optimizer);
  const x = randn([6, 4]).keep(), y = tensor([0, 1, 2, 0, 1, 2], { dtype: "i32" });
  await sync();
  const rates = cosine(0.1, 1000);
  const keys = await keysOf(async () => {
    for (let i = 0; i < 1000; i++) {
      optimizer.lr = rates(i);
      step(x, y);
    }
    await sync();
  });
  assert(keys.length >= 999, `${keys.length} runs`);
  assertEquals(new Set(keys).size, 1);
});

Deno.test("a whole jitted step is recorded once, follows the rate, and equals the eager one", async () => {
  const run = async (
    wrap: (f: (x: Tensor, y: Tensor) => Tensor) => (x: Tensor, y: Tensor) => Tensor,
  ): Promise<number[]> => {
    manualSeed(7);
    const model = network(), optimizer = new Adam(model, { lr: 0.05 });
    const step = wrap(trainStep(model, optimizer));
    const x = randn([6, 4]), y = tensor([0, 1, 2, 0, 1, 2], { dtype: "i32" });
    for (let i = 0; i < 10; i++) {
      optimizer.lr = 0.05 / (i + 1);
      step(x, y);
    }
    return (await Promise.all(model.parameters().map(numbers))).flat();
  };
  let recordings = 0;
  const jitted = await run((f) => {
    const g = jit(f);
    return (x, y) => {
      const loss = g(x, y);
      recordings = g.recordings();
      return loss;
    };
  });
  assertEquals(recordings, 1);
  near(jitted, await run((f) => f), 1e-6);
});

Deno.test("jitted steps without a wait between them do not pile up, and leave nothing for a run to come", async () => {
  const model = network(), optimizer = new Adam(model), step = jit(trainStep(model, optimizer));
  const x = randn([6, 4]).keep(), y = tensor([0, 1, 2, 0, 1, 2], { dtype: "i32" });
  step(x, y);
  await sync();
  const first = nextSerial();
  for (let i = 0; i < 50; i++) step(x, y);
  const made = nextSerial() - first;
  assertEquals((await keysOf(() => sync())).length, 0);
  assert(made < 50 * 40, `${made} nodes and handles for 50 steps`);
});

Deno.test("a jitted step records anew when an option changes, and refuses to set the rate inside", () => {
  const w = tensor([1], { requiresGrad: true }), optimizer = new SGD([w], { lr: 0.1, momentum: 0.5 });
  const step = jit(() => {
    optimizer.zeroGrad();
    const loss = w.square().sum();
    loss.backward();
    optimizer.step();
    return loss;
  });
  step();
  step();
  optimizer.groups[0].options.momentum = 0.9;
  step();
  assertEquals(step.recordings(), 2);
  assertThrows(() => jit(() => (optimizer.lr = 1, w.sum()))(), Error, "inside jit");
});

Deno.test("memory stays flat over many steps", async () => {
  const model = network(), optimizer = new Adam(model), step = trainStep(model, optimizer);
  const x = randn([6, 4]).keep(), y = tensor([0, 1, 2, 0, 1, 2], { dtype: "i32" });
  const run = async (n: number): Promise<number> => {
    for (let i = 0; i < n; i++) {
      step(x, y);
      if (i % 50 === 0) await new Promise((r) => setImmediate(r));
    }
    await sync();
    for (let i = 0; i < 3; i++) {
      collectGarbage();
      await new Promise((r) => setTimeout(r, 5));
    }
    return memory(defaultDevice()).live;
  };
  const before = await run(100), after = await run(600);
  assert(after <= before * 1.1 + 10_000, `${before} bytes became ${after}`);
});

Deno.test("the state of an optimiser restores it, and is refused where it does not fit", async () => {
  const a = f64([1, -2, 0.5]), optimizer = new Adam([a], { lr: 0.1 });
  descend(a, optimizer, 5);
  const b = f64(await numbers(a)), twin = new Adam([b], { lr: 7 });
  twin.loadStateDict(optimizer.stateDict());
  assertEquals(twin.lr, 0.1);
  descend(a, optimizer, 5);
  descend(b, twin, 5);
  assertEquals(await numbers(a), await numbers(b));
  assertThrows(() => new SGD([b]).loadStateDict(optimizer.stateDict()), Error, "Adam");
  assertThrows(() => new Adam([f64([1])]).loadStateDict(optimizer.stateDict()), RangeError, "[3]");
});

Deno.test("clipping scales all gradients by their common norm and returns it without reading", async () => {
  const a = f64([3]), b = f64([4]);
  const run = (scale: number): void => {
    a.zeroGrad(), b.zeroGrad();
    a.square().add(b.square()).sum().mul(scale).backward(); // gradients 2 scale a
  };
  run(0.5);
  near(await numbers(clipGradNorm([a, b], 1)), [5], 1e-12);
  near([...await numbers(a.grad!), ...await numbers(b.grad!)], [0.6, 0.8], 1e-5);
  run(0.5);
  near(await numbers(clipGradNorm([a, b], 10)), [5], 1e-12);
  near(await numbers(b.grad!), [4], 1e-12);
  near(await numbers(clipGradNorm([a, b], 2, { normType: Infinity })), [4], 1e-12);
  near(await numbers(a.grad!), [1.5], 1e-5);
  run(0.5);
  clipGradValue([a, b], 3.5);
  assertEquals([...await numbers(a.grad!), ...await numbers(b.grad!)], [3, 3.5]);
  run(NaN);
  await assertRejects(() => clipGradNorm([a, b], 1, { errorIfNonfinite: true }), RangeError, "NaN");
  assert(Number.isNaN((await numbers(clipGradNorm([a, b], 1)))[0]));
  a.zeroGrad(), b.zeroGrad();
  assertThrows(() => clipGradNorm([a, b], 1), Error, "backward");
});

Deno.test("schedules are functions of the step, and the scheduler counts", () => {
  const s = linearWarmup(cosine(1, 10), 4);
  assertEquals([0, 1, 3, 4, 9, 14, 99].map((i) => +s(i).toFixed(6)), [0.2, 0.4, 0.8, 1, 0.5, 0, 0]);
  assertEquals([0, 4, 5, 10].map((i) => +stepDecay(1, 5)(i).toFixed(6)), [1, 1, 0.1, 0.01]);
  const both = sequence([[constant(3), 2], [stepDecay(1, 1, { factor: 0.5 }), Infinity]]);
  assertEquals([0, 1, 2, 3, 4].map(both), [3, 3, 1, 0.5, 0.25]);
  const optimizer = new SGD([tensor([1], { requiresGrad: true })]),
    scheduler = new LRScheduler(optimizer, both);
  scheduler.step();
  scheduler.step();
  assertEquals([optimizer.lr, scheduler.count], [1, 2]);
  const other = new LRScheduler(optimizer, both);
  other.loadStateDict(scheduler.stateDict());
  assertEquals(optimizer.lr, 1);
});

Deno.test("losses are their formulas, and do not broadcast", async () => {
  const x = tensor([1, 2, 4]), y = tensor([1, 0, 1]);
  near(await numbers(mseLoss(x, y)), [13 / 3], 1e-6);
  near(await numbers(l1Loss(x, y, { reduction: "sum" })), [5], 1e-6);
  near(await numbers(mseLoss(x, y, { reduction: "none" })), [0, 4, 9], 1e-6);
  const z = tensor([-100, 0, 100, 3], { requiresGrad: true }), t = tensor([0, 1, 1, 0]);
  near(
    await numbers(bceWithLogits(z, t, { reduction: "none" })),
    [0, Math.LN2, 0, Math.log1p(Math.exp(3))],
    1e-6,
  );
  bceWithLogits(z, t, { reduction: "sum" }).backward();
  near(await numbers(z.grad!), [0, -0.5, 0, 1 / (1 + Math.exp(-3))], 1e-6);
  near(await numbers(bceWithLogits(tensor([0]), tensor([1]), { posWeight: 3 })), [3 * Math.LN2], 1e-6);
  assertThrows(() => mseLoss(zeros([3, 1]), zeros([3])), RangeError, "[3,1]");
});

Deno.test("initialisers have the spread of their formulas", async () => {
  manualSeed(3);
  const spread = async (t: Tensor): Promise<[number, number]> => {
    const v = await numbers(t), mean = v.reduce((a, b) => a + b) / v.length;
    return [Math.sqrt(v.reduce((s, a) => s + (a - mean) ** 2, 0) / v.length), Math.max(...v.map(Math.abs))];
  };
  const shape = [60, 40, 3], [fanIn, fanOut] = [120, 180];
  assertEquals(init.fans(shape), { fanIn, fanOut });
  near([(await spread(init.xavierNormal(shape)))[0]], [Math.sqrt(2 / 300)], 0.005);
  near([(await spread(init.heNormal(shape)))[0]], [Math.sqrt(2 / fanIn)], 0.005);
  near([(await spread(init.heNormal(shape, { mode: "fanOut", nonlinearity: "tanh" })))[0]], [
    5 / 3 / Math.sqrt(fanOut),
  ], 0.005);
  const [, xavier] = await spread(init.xavierUniform(shape, { gain: 2 }));
  assert(xavier <= 2 * Math.sqrt(6 / 300) && xavier > 1.98 * Math.sqrt(6 / 300));
  const [, linear] = await spread(new Linear(100, 60).weight);
  assert(linear <= 0.1 && linear > 0.099);
  assertEquals(await numbers(init.constant([2], { value: 5 })), [5, 5]);
  assertThrows(() => init.heUniform([3]), RangeError, "[out, in]");
  const own = new Linear(2, 2, { init: init.zeros, bias: false });
  assertEquals(await numbers(noGrad(() => own.weight.mul(1))), [0, 0, 0, 0]);
});

/** A step on rows of a table; an index out of range makes its run fail. */
const stepOn = (table: Tensor, optimizer: Adam) => (ids: number[]): Tensor => {
  optimizer.zeroGrad();
  const loss = embedding(table, tensor(ids, { dtype: "i32" })).square().sum();
  loss.backward();
  optimizer.step();
  return loss;
};

testEach(
  "a step whose run fails on the host is taken back: parameters and state are those before",
  async () => {
    const table = parameter(tensor([[1, 2], [3, 4]])), optimizer = new Adam([table], { lr: 0.1 });
    const step = stepOn(table, optimizer);
    for (let i = 0; i < 2; i++) await step([0, 1]).item();
    const weights = await table.toArray(), state = optimizer.stateDict().groups[0].buckets[0];
    const m = await state.slots.m.toArray();
    await assertRejects(() => step([0, 2]).item(), RangeError, "index 2");
    assertEquals(await table.toArray(), weights);
    const now = optimizer.stateDict().groups[0].buckets[0];
    assertEquals([await now.slots.m.toArray(), await now.step.item()], [m, 2]);
    // A loss that nobody reads: the next step tells, and changes nothing.
    step([0, 2]);
    await new Promise((done) => setImmediate(done));
    await new Promise((done) => setImmediate(done));
    assertThrows(() => step([0, 1]), RangeError, "index 2");
    assertEquals(await table.toArray(), weights);
    assert(Number.isFinite(await step([0, 1]).item()));
    assertEquals(await optimizer.stateDict().groups[0].buckets[0].step.item(), 3);
  },
  { only: ["host", "reference"] },
);

testEach("a step that turns out to have failed on the GPU says what to do at the next one", async () => {
  const table = parameter(tensor([[1, 2], [3, 4]])), optimizer = new Adam([table], { lr: 0.1 });
  const step = stepOn(table, optimizer);
  table.name = "table";
  await step([0, 1]).item();
  await assertRejects(() => step([0, 2]).item(), RangeError, "index 2");
  const error = assertThrows(() => step([0, 1]), Error, "Cannot step: table was lost in a step that failed");
  assert((error as Error).cause instanceof RangeError);
}, { only: ["webgpu"] });
