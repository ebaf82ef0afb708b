import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import {
  Adam,
  BatchNorm1d,
  BatchNorm2d,
  bceLoss,
  bceWithLogits,
  type Cause,
  clipGradNorm,
  Conv2d,
  crossEntropy,
  customVjp,
  diagnose,
  Dropout,
  Embedding,
  Flatten,
  init,
  jit,
  LayerNorm,
  Linear,
  manualSeed,
  Module,
  mseLoss,
  parameter,
  randint,
  randn,
  ReLU,
  rngState,
  RNNCell,
  scan,
  Sequential,
  SGD,
  straightThrough,
  Tanh,
  type Tensor,
  tensor,
  TransformerEncoderLayer,
  vjp,
  zeros,
} from "../../mod.ts";
import { test, testEach } from "../support/engines.ts";

type Report = Awaited<ReturnType<typeof diagnose>>;

const causes = (report: Report): Cause[] => report.findings.map((f) => f.cause);

/** The finding of a cause, which must be there. */
function found(report: Report, cause: Cause): Report["findings"][number] {
  const finding = report.findings.find((f) => f.cause === cause);
  assert(finding !== undefined, `no ${cause} in\n${report.text()}`);
  return finding!;
}

function healthy(report: Report): void {
  assertEquals(causes(report), [], report.text());
  assert(report.isHealthy);
  assertStringIncludes(report.text(), "nothing found");
}

/** A task of regression: y = x_0 x_1 + x_2. */
function regression(B = 64): { x: Tensor; y: Tensor } {
  const x = randn([B, 8]);
  const y = x.narrow(1, 0, 1).mul(x.narrow(1, 1, 1)).add(x.narrow(1, 2, 1));
  return { x: x.detach(), y: y.detach() };
}

const mlp = (...inner: Module[]): Sequential =>
  new Sequential(new Linear(8, 32), ...inner, new Linear(32, 1));

// ---- healthy models ----------------------------------------------------------------------------------------------

test("diagnose gives a clean bill to a tiny linear regression", async () => {
  manualSeed(1);
  const x = randn([32, 1]), y = x.mul(3).add(1), model = new Linear(1, 1);
  healthy(await diagnose(model, (m) => mseLoss(m.call(x), y), { optimizer: new SGD(model, { lr: 0.1 }) }));
});

test("diagnose gives a clean bill to a multilayer perceptron", async () => {
  manualSeed(2);
  const { x, y } = regression(), model = mlp(new ReLU(), new Linear(32, 32), new ReLU());
  healthy(await diagnose(model, (m) => mseLoss(m.call(x), y), { optimizer: new Adam(model, { lr: 1e-2 }) }));
});

test("diagnose gives a clean bill to a convolutional network with BatchNorm", async () => {
  manualSeed(3);
  const model = new Sequential(
    new Conv2d(1, 8, 3, { padding: 1 }),
    new BatchNorm2d(8),
    new ReLU(),
    new Conv2d(8, 8, 3, { padding: 1, stride: 2 }),
    new BatchNorm2d(8),
    new ReLU(),
    new Flatten(),
    new Linear(128, 10),
  );
  const x = randn([16, 1, 8, 8]), y = randint(0, 10, [16]);
  healthy(
    await diagnose(model, (m) => crossEntropy(m.call(x), y), { optimizer: new Adam(model, { lr: 1e-3 }) }),
  );
});

class Transformer extends Module {
  tokens = new Embedding(20, 16);
  layers = [0, 1, 2].map(() => new TransformerEncoderLayer(16, 2, { feedforward: 32 }));
  norm = new LayerNorm(16);
  head = new Linear(16, 20);
  forward(x: Tensor): Tensor {
    let h = this.tokens.call(x);
    for (const layer of this.layers) h = layer.call(h);
    return this.head.call(this.norm.call(h));
  }
}

test("diagnose gives a clean bill to a transformer with dropout", async () => {
  manualSeed(4);
  const model = new Transformer(), x = randint(0, 20, [4, 10]), y = randint(0, 20, [4, 10]);
  healthy(
    await diagnose(model, (m) => crossEntropy(m.call(x), y), { optimizer: new Adam(model, { lr: 1e-3 }) }),
  );
});

class Recurrent extends Module {
  cell = new RNNCell(3, 16);
  head = new Linear(16, 1);
  forward(x: Tensor): Tensor {
    const [last] = scan(
      (h: Tensor, x: Tensor) => {
        const next = this.cell.call(x, h);
        return [next, next];
      },
      zeros([x.shape[1], 16]),
      x,
    );
    return this.head.call(last as Tensor);
  }
}

test("diagnose gives a clean bill to a recurrent network in a scan", async () => {
  manualSeed(5);
  const model = new Recurrent(), x = randn([12, 8, 3]), y = x.sum(0).sum(1, { keepdim: true }).mul(0.1);
  healthy(await diagnose(model, (m) => mseLoss(m.call(x), y), { optimizer: new Adam(model, { lr: 1e-2 }) }));
});

class Mixed extends Module {
  a = new Linear(8, 32);
  b = new Linear(32, 1);
  forward(x: Tensor): Tensor {
    const half = (t: Tensor): Tensor => t.to("f16");
    const h = half(x).matmul(half(this.a.weight).mT()).add(half(this.a.bias!)).relu();
    return h.matmul(half(this.b.weight).mT()).add(half(this.b.bias!)).to("f32");
  }
}

test("diagnose gives a clean bill to mixed precision in f16", async () => {
  manualSeed(6);
  const { x, y } = regression(), model = new Mixed();
  healthy(await diagnose(model, (m) => mseLoss(m.call(x), y), { optimizer: new Adam(model, { lr: 1e-3 }) }));
});

class Residual extends Module {
  input = new Linear(8, 32);
  blocks = Array.from(
    { length: 16 },
    () => new Sequential(new LayerNorm(32), new Linear(32, 32), new ReLU(), new Linear(32, 32)),
  );
  output = new Linear(32, 1);
  forward(x: Tensor): Tensor {
    let h = this.input.call(x);
    for (const block of this.blocks) h = h.add(block.call(h));
    return this.output.call(h);
  }
}

test("diagnose gives a clean bill to a deep residual network", async () => {
  manualSeed(7);
  const { x, y } = regression(), model = new Residual();
  healthy(await diagnose(model, (m) => mseLoss(m.call(x), y), { optimizer: new Adam(model, { lr: 1e-3 }) }));
});

test("diagnose gives a clean bill to dropout and BatchNorm, whose state it leaves alone", async () => {
  manualSeed(8);
  const { x, y } = regression(), model = mlp(new BatchNorm1d(32), new ReLU(), new Dropout(0.2));
  const before = JSON.stringify(await Promise.all(model.buffers().map((b) => b.toArray())));
  healthy(await diagnose(model, (m) => mseLoss(m.call(x), y), { optimizer: new Adam(model, { lr: 1e-2 }) }));
  assertEquals(JSON.stringify(await Promise.all(model.buffers().map((b) => b.toArray()))), before);
});

class Words extends Module {
  table = new Embedding(50, 8);
  head = new Linear(8, 2);
  forward(x: Tensor): Tensor {
    return this.head.call(this.table.call(x).mean(1));
  }
}

test("diagnose gives a clean bill to a bag of embeddings", async () => {
  manualSeed(9);
  const model = new Words(), x = randint(0, 50, [16, 6]), y = randint(0, 2, [16]);
  healthy(
    await diagnose(model, (m) => crossEntropy(m.call(x), y), { optimizer: new SGD(model, { lr: 0.5 }) }),
  );
});

class LowRank extends Module {
  base = new Linear(8, 32).freeze();
  a = parameter(randn([2, 8]));
  b = parameter(zeros([32, 2]));
  head = new Linear(32, 1);
  forward(x: Tensor): Tensor {
    const h = this.base.call(x).add(x.matmul(this.a.mT()).matmul(this.b.mT()));
    return this.head.call(h.tanh());
  }
}

test("diagnose gives a clean bill to a frozen layer with a low-rank update that starts at zero", async () => {
  manualSeed(10);
  const { x, y } = regression(), model = new LowRank();
  const optimizer = new Adam(model.parameters().filter((p) => p.requiresGrad), { lr: 1e-2 });
  healthy(await diagnose(model, (m) => mseLoss(m.call(x), y), { optimizer }));
});

test("diagnose gives a clean bill to a whole step with accumulation, clipping and jit", async () => {
  manualSeed(11);
  const { x, y } = regression(), model = mlp(new Tanh()), optimizer = new Adam(model, { lr: 1e-2 });
  const step = jit(() => {
    optimizer.zeroGrad();
    let total = tensor(0);
    for (const at of [0, 32]) {
      const loss = mseLoss(model.call(x.narrow(0, at, 32)), y.narrow(0, at, 32)).div(2);
      loss.backward();
      total = total.add(loss);
    }
    clipGradNorm(model, 0.1);
    optimizer.step();
    return total;
  });
  healthy(await diagnose(model, () => step(), { optimizer }));
});

// ---- planted mistakes --------------------------------------------------------------------------------------------

test("diagnose finds a missing zeroGrad", async () => {
  manualSeed(20);
  const { x, y } = regression(), model = mlp(new Tanh()), optimizer = new SGD(model, { lr: 0.01 });
  const report = await diagnose(model, (m) => {
    const loss = mseLoss(m.call(x), y);
    loss.backward();
    optimizer.step();
    return loss;
  }, { optimizer });
  assertEquals(report.findings[0].cause, "missing-zero-grad", report.text());
  assertStringIncludes(report.findings[0].remedy, "zeroGrad()");
});

/** Two networks against each other, with an optimiser each. */
class Pair extends Module {
  generator = new Sequential(new Linear(8, 32), new ReLU(), new Linear(32, 2));
  critic = new Sequential(new Linear(2, 32), new ReLU(), new Linear(32, 1));
  forward(z: Tensor): Tensor {
    return this.critic.call(this.generator.call(z)) as Tensor;
  }
}

function adversaries(clearsGenerator: boolean): { pair: Pair; step: () => Tensor } {
  const pair = new Pair(),
    { generator, critic } = pair,
    real = randn([64, 2]).detach(),
    noise = randn([64, 8]).detach();
  const [first, second] = [critic, generator].map((m) => new Adam(m, { lr: 1e-3 }));
  const judged = (x: Tensor, is: number): Tensor => {
    const score = critic.call(x) as Tensor;
    return bceWithLogits(score, zeros(score.shape).add(is));
  };
  return {
    pair,
    step() {
      const fake = generator.call(noise) as Tensor;
      first.zeroGrad();
      judged(real, 1).add(judged(fake.detach(), 0)).backward();
      first.step();
      if (clearsGenerator) second.zeroGrad();
      const loss = judged(fake, 1);
      loss.backward();
      second.step();
      return loss;
    },
  };
}

test("diagnose takes the gradient of one adversary for no missing zeroGrad of the other", async () => {
  manualSeed(20);
  const { pair, step } = adversaries(true);
  healthy(await diagnose(pair, step));
  const alone = adversaries(true);
  healthy(await diagnose(alone.pair.generator, alone.step));
});

test("diagnose has nothing against an adversary whose gradients are cleared only before its own backward pass", async () => {
  manualSeed(20);
  const pair = new Pair(),
    { generator, critic } = pair,
    real = randn([64, 2]).detach(),
    noise = randn([64, 8]).detach();
  const [first, second] = [generator, critic].map((m) => new Adam(m, { lr: 1e-3 }));
  const judged = (x: Tensor, is: number): Tensor =>
    bceWithLogits(critic.call(x) as Tensor, zeros([64, 1]).add(is));
  healthy(
    await diagnose(pair, () => {
      const fake = generator.call(noise) as Tensor, loss = judged(fake, 1);
      first.zeroGrad();
      loss.backward();
      first.step();
      second.zeroGrad();
      judged(real, 1).add(judged(fake.detach(), 0)).backward();
      second.step();
      return loss;
    }),
  );
});

test("diagnose takes the losses of two models in one step for no micro-batches", async () => {
  manualSeed(20);
  const { x, y } = regression(), pair = new Sequential(mlp(new Tanh()), mlp(new Tanh()));
  const models = [pair.layers[0], pair.layers[1]] as Sequential[];
  const optimizers = models.map((m) => new Adam(m, { lr: 1e-3 }));
  healthy(
    await diagnose(pair, () => {
      for (const optimizer of optimizers) optimizer.zeroGrad();
      const losses = models.map((m) => mseLoss(m.call(x) as Tensor, y));
      for (const loss of losses) loss.backward();
      for (const optimizer of optimizers) optimizer.step();
      return losses[0];
    }),
  );
});

test("diagnose finds a missing zeroGrad of the second optimiser of a step", async () => {
  manualSeed(20);
  const { pair, step } = adversaries(false);
  const { evidence } = found(await diagnose(pair, step), "missing-zero-grad");
  assertStringIncludes(evidence, "4 parameters");
});

test("diagnose finds a parameter that is detached, and where", async () => {
  manualSeed(21);
  const { x, y } = regression();
  const model = new Sequential(new Linear(8, 32), new ReLU(), (h: Tensor) => h.detach(), new Linear(32, 1));
  const finding = found(await diagnose(model, (m) => mseLoss(m.call(x), y)), "detached");
  assertStringIncludes(finding.message, "0.weight");
  assertStringIncludes(finding.remedy, "detach");
});

test("diagnose finds a loss that reaches nothing at all", async () => {
  const { x, y } = regression(), model = mlp(new ReLU());
  const finding = found(await diagnose(model, (m) => mseLoss(m.call(x).detach(), y)), "detached");
  assertStringIncludes(finding.message, "0.weight");
});

test("diagnose finds a parameter that was replaced after the optimiser was made", async () => {
  manualSeed(22);
  const { x, y } = regression(), layer = new Linear(8, 1), optimizer = new SGD(layer, { lr: 0.1 });
  layer.weight = parameter(zeros([1, 8]));
  const finding = found(await diagnose(layer, (m) => mseLoss(m.call(x), y), { optimizer }), "replaced");
  assertStringIncludes(finding.message, "weight");
});

test("diagnose finds a layer that is never called, and one that was frozen", async () => {
  manualSeed(23);
  const { x, y } = regression();
  class Net extends Module {
    a = new Linear(8, 1);
    spare = new Linear(8, 1);
    forward(x: Tensor): Tensor {
      return this.a.call(x);
    }
  }
  const model = new Net(), optimizer = new SGD(model, { lr: 0.01 });
  const idle = found(await diagnose(model, (m) => mseLoss(m.call(x), y), { optimizer }), "unused");
  assertStringIncludes(idle.message, "spare.weight");
  assertStringIncludes(idle.evidence, "spare was not called");
  model.freeze((path) => path === "a.bias");
  const frozen = found(await diagnose(model, (m) => mseLoss(m.call(x), y), { optimizer }), "frozen");
  assertStringIncludes(frozen.message, "a.bias");
});

test("diagnose finds that everything is frozen", async () => {
  const { x, y } = regression(), model = mlp(new Tanh()).freeze();
  assertEquals(causes(await diagnose(model, (m) => mseLoss(m.call(x), y))), ["frozen"]);
});

test("diagnose finds a rounding that no gradient passes", async () => {
  manualSeed(24);
  const { x, y } = regression();
  const model = new Sequential(new Linear(8, 4), (h: Tensor) => h.round(), new Linear(4, 1));
  const finding = found(await diagnose(model, (m) => mseLoss(m.call(x), y)), "zero-derivative");
  assertStringIncludes(finding.evidence, "1"); // The layer that rounds.
  assertStringIncludes(finding.remedy, "straightThrough");
});

for (
  const [name, start] of [["zeros", init.zeros], [
    "one number",
    (s: number[]) => init.constant(s, { value: 0.3 }),
  ]] as const
) {
  test(`diagnose finds units that start from ${name} and stay equal`, async () => {
    manualSeed(25);
    const { x, y } = regression(), option = { init: start as typeof init.zeros, bias: false };
    const model = new Sequential(new Linear(8, 16, option), new Tanh(), new Linear(16, 1, option));
    const report = await diagnose(model, (m) => mseLoss(m.call(x), y), {
      optimizer: new SGD(model, { lr: 0.01 }),
    });
    assertEquals(report.findings[0].cause, "equal-initialisation", report.text());
    assertStringIncludes(report.findings[0].message, "0.weight");
    assertStringIncludes(report.findings[0].remedy, "init.heNormal");
  });
}

const deep = (layers: number, activation: (x: Tensor) => Tensor, start?: typeof init.zeros): Sequential =>
  new Sequential(
    ...Array.from({ length: layers }, (_, i) => [
      new Linear(i === 0 ? 8 : 32, i === layers - 1 ? 1 : 32, start === undefined ? {} : { init: start }),
      ...(i === layers - 1 ? [] : [activation]),
    ]).flat(),
  );

test("diagnose finds gradients that vanish in sigmoids", async () => {
  manualSeed(26);
  const { x, y } = regression(), model = deep(12, (h) => h.sigmoid(), init.xavierUniform);
  const finding = found(await diagnose(model, (m) => mseLoss(m.call(x), y)), "vanishing");
  assertStringIncludes(finding.message, "sigmoids");
  assertStringIncludes(finding.message, "it begins at 20 Linear (below 22 Linear)");
});

class Unrolled extends Module {
  cell = new RNNCell(3, 16);
  head = new Linear(16, 1);
  constructor(readonly steps: number) {
    super();
  }
  forward(x: Tensor): Tensor {
    let h: Tensor = zeros([x.shape[1], 16]);
    for (let t = 0; t < this.steps; t++) h = this.cell.call(x.select(0, t), h);
    return this.head.call(h);
  }
}

test("diagnose finds gradients that vanish through time, and has nothing against ten steps", async () => {
  manualSeed(42);
  const x = randn([60, 4, 3]),
    run = (steps: number) => {
      const model = new Unrolled(steps);
      return diagnose(model, (m) => m.call(x).square().mean());
    };
  healthy(await run(10));
  const finding = found(await run(60), "vanishing");
  assertStringIncludes(finding.message, "through time in cell");
  assertStringIncludes(finding.remedy, "gated cells");
});

test("diagnose finds gradients that vanish by saturation, and the layer", async () => {
  manualSeed(27);
  const { x, y } = regression(), large: typeof init.zeros = (s, o) => init.normal(s, { ...o, std: 4 });
  const model = new Sequential(
    ...Array.from(
      { length: 4 },
      (_, i) => [new Linear(i === 0 ? 8 : 32, 32, { init: init.xavierUniform }), new Tanh()],
    ).flat(),
    new Linear(32, 32, { init: large }),
    new Tanh(),
    new Linear(32, 1, { init: (s, o) => init.normal(s, { ...o, std: 1e-2 }) }),
  );
  const report = await diagnose(model, (m) => mseLoss(m.call(x), y));
  assertEquals(causes(report), [], report.text()); // One saturated layer alone does not kill a gradient.
  const all = deep(10, (h) => h.mul(20).tanh(), init.xavierUniform);
  for (const p of all.parameters()) p.assign(p.mul(0.2));
  const many = new Sequential(
    ...Array.from(
      { length: 9 },
      (
        _,
        i,
      ) => [new Linear(i === 0 ? 8 : 32, 32, { init: init.xavierUniform }), (h: Tensor) => h.add(5).tanh()],
    )
      .flat(),
    new Linear(32, 1),
  );
  const finding = found(await diagnose(many, (m) => mseLoss(m.call(x), y)), "vanishing");
  assertStringIncludes(finding.message, "saturation");
});

test("diagnose finds weights that start too small and too large", async () => {
  manualSeed(28);
  const { x, y } = regression();
  const scaled = (std: number): typeof init.zeros => (s, o) => init.normal(s, { ...o, std });
  const small = found(
    await diagnose(deep(8, (h) => h.tanh(), scaled(0.02)), (m) => mseLoss(m.call(x), y)),
    "vanishing",
  );
  assertStringIncludes(small.message, "scale of the initial weights");
  const large = found(
    await diagnose(deep(8, (h) => h.relu(), scaled(1)), (m) => mseLoss(m.call(x), y)),
    "exploding",
  );
  assertStringIncludes(large.message, "scale of the initial weights");
  assertStringIncludes(large.remedy, "init.heNormal");
});

test("diagnose finds dead ReLUs", async () => {
  manualSeed(29);
  const { x, y } = regression(), model = mlp(new ReLU(), new Linear(32, 32), new ReLU());
  (model.layers[2] as Linear).bias!.assign(-10);
  const finding = found(await diagnose(model, (m) => mseLoss(m.call(x), y)), "dead-relu");
  assertStringIncludes(finding.message, "3");
  assertStringIncludes(finding.evidence, "100 %");
});

test("diagnose finds updates that are too large, and too small", async () => {
  manualSeed(30);
  const { x, y } = regression(), model = mlp(new Tanh()), loss = (m: Sequential) => mseLoss(m.call(x), y);
  const large = await diagnose(model, loss, { optimizer: new SGD(model, { lr: 50 }) });
  assert(causes(large).some((c) => c === "update-too-large" || c === "diverging"), large.text());
  const small = await diagnose(model, loss, { optimizer: new SGD(model, { lr: 1e-9 }) });
  assertStringIncludes(found(small, "update-too-small").remedy, "raise the learning rate (1e-9)");
});

test("diagnose finds a loss that is not finite after some steps", async () => {
  manualSeed(31);
  const { x, y } = regression(), model = new Linear(8, 1);
  const report = await diagnose(model, (m) => mseLoss(m.call(x), y), {
    optimizer: new SGD(model, { lr: 1e2 }),
    steps: 30,
  });
  assertStringIncludes(found(report, "diverging").message, "not finite after");
});

test("diagnose finds a training that is not finite after one step", async () => {
  manualSeed(33);
  const { x, y } = regression(), model = mlp(new ReLU());
  const optimizer = new SGD(model, { lr: 1e30 });
  const report = await diagnose(model, (m) => mseLoss(m.call(x), y), { optimizer });
  assertStringIncludes(found(report, "diverging").message, "not finite after 1 step");
});

test("diagnose has nothing against a model that has learned all, whose loss is rounding", async () => {
  manualSeed(34);
  const { x } = regression(), model = new Linear(8, 1), y = model.call(x).detach();
  const report = await diagnose(model, (m) => mseLoss(m.call(x), y.add(1e-6)), {
    optimizer: new Adam(model, { lr: 1e-4 }),
  });
  assertEquals(causes(report).filter((c) => c === "update-too-large"), [], report.text());
});

test("diagnose names the parameter that is not finite, or the data", async () => {
  manualSeed(35);
  const { x, y } = regression(), loss = (m: Sequential) => mseLoss(m.call(x), y), model = mlp(new Tanh());
  const clean = await diagnose(model, (m) => mseLoss(m.call(x.mul(NaN)), y));
  assertStringIncludes(found(clean, "not-finite").message, "the data");
  (model.layers[2] as Linear).weight.assign((model.layers[2] as Linear).weight.detach().mul(Infinity));
  assertStringIncludes(found(await diagnose(model, loss), "not-finite").message, "2.weight");
});

test("diagnose finds a loss that is the same tensor at each step", async () => {
  manualSeed(36);
  const { x, y } = regression(), model = mlp(new Tanh()), once = mseLoss(model.call(x), y);
  const report = await diagnose(model, () => once, { optimizer: new SGD(model, { lr: 0.01 }) });
  assertEquals(causes(report), ["stale-loss"], report.text());
});

test("diagnose and saturation take a batch without rows", async () => {
  manualSeed(37);
  const { x, y } = regression(), model = mlp(new ReLU());
  await diagnose(model, (m) => mseLoss(m.call(x.narrow(0, 0, 0)), y.narrow(0, 0, 0)));
});

test("diagnose finds clipping layer by layer", async () => {
  manualSeed(32);
  const { x, y } = regression(), model = mlp(new Tanh()), optimizer = new SGD(model, { lr: 0.01 });
  const report = await diagnose(model, (m) => {
    optimizer.zeroGrad();
    const loss = mseLoss(m.call(x), y);
    loss.backward();
    for (const p of m.parameters()) clipGradNorm([p], 0.05);
    optimizer.step();
    return loss;
  }, { optimizer });
  assertEquals(causes(report), ["clipped-by-layer"], report.text());
  assertStringIncludes(report.findings[0].remedy, "clipGradNorm(model, maxNorm)");
});

test("diagnose finds clipping layer by layer in hooks, which stay as they were", async () => {
  manualSeed(43);
  const { x, y } = regression(), model = mlp(new Tanh()), optimizer = new SGD(model, { lr: 0.01 });
  let calls = 0;
  for (const p of model.parameters()) {
    p.registerHook((ct) => {
      calls++;
      const norm = ct.square().sum().sqrt();
      return ct.mul(norm.add(1e-6).reciprocal().mul(0.05).minimum(1));
    });
  }
  const report = await diagnose(model, (m) => mseLoss(m.call(x), y), { optimizer, steps: 1 });
  assertEquals(causes(report), ["clipped-by-layer"], report.text());
  calls = 0;
  mseLoss(model.call(x), y).backward();
  assertEquals(calls, 4);
});

test("diagnose finds accumulation without 1 / G", async () => {
  manualSeed(33);
  const { x, y } = regression(), model = mlp(new Tanh()), optimizer = new SGD(model, { lr: 0.01 });
  const step = (divide: boolean) => (m: Sequential) => {
    optimizer.zeroGrad();
    for (let i = 0; i < 4; i++) {
      const loss = mseLoss(m.call(x.narrow(0, 16 * i, 16)), y.narrow(0, 16 * i, 16));
      (divide ? loss.div(4) : loss).backward();
    }
    optimizer.step();
  };
  const report = await diagnose(model, step(false), { optimizer });
  assertEquals(causes(report), ["accumulated-without-mean"], report.text());
  assertStringIncludes(report.findings[0].remedy, "loss.div(4).backward()");
  healthy(await diagnose(model, step(true), { optimizer }));
});

test("diagnose finds micro-batches whose gradients are cleared before the step", async () => {
  manualSeed(35);
  const { x, y } = regression(), model = mlp(new Tanh()), optimizer = new SGD(model, { lr: 0.01 });
  const report = await diagnose(model, (m) => {
    let loss!: Tensor;
    for (const at of [0, 32]) {
      optimizer.zeroGrad();
      loss = mseLoss(m.call(x.narrow(0, at, 32)) as Tensor, y.narrow(0, at, 32)).div(2);
      loss.backward();
    }
    optimizer.step();
    return loss;
  });
  assertEquals(causes(report), ["overwritten"], report.text());
  assertStringIncludes(report.findings[0].remedy, "before the first micro-batch");
});

test("diagnose has nothing against gradients of several losses that are combined by hand", async () => {
  manualSeed(35);
  const { x, y } = regression(), model = mlp(new Tanh()), optimizer = new SGD(model, { lr: 0.01 });
  const parameters = model.parameters();
  healthy(
    await diagnose(model, (m) => {
      const parts = [0, 32].map((at) => {
        optimizer.zeroGrad();
        mseLoss(m.call(x.narrow(0, at, 32)) as Tensor, y.narrow(0, at, 32)).backward();
        return parameters.map((p) => p.grad!);
      });
      parameters.forEach((p, i) => p.grad = parts[0][i].add(parts[1][i]).div(2));
      optimizer.step();
    }),
  );
});

test("diagnose finds a softmax by hand under a logarithm, and one before crossEntropy", async () => {
  manualSeed(36);
  const x = randn([16, 8]), y = randint(0, 4, [16]), model = new Linear(8, 4);
  const byHand = (z: Tensor): Tensor => z.exp().div(z.exp().sum(1, { keepdim: true }));
  const probabilities = (z: Tensor): Tensor => {
    const e = z.sub(z.amax(1, { keepdim: true })).exp();
    return e.div(e.sum(1, { keepdim: true }));
  };
  for (const softmax of [byHand, probabilities]) {
    const loss = (m: Linear): Tensor => softmax(m.call(x)).gather(1, y.unsqueeze(1)).log().mean().neg();
    assertStringIncludes(found(await diagnose(model, loss), "softmax-not-fused").message, "softmax by hand");
    const twice = found(await diagnose(model, (m) => crossEntropy(softmax(m.call(x)), y)), "softmax-twice");
    assertStringIncludes(twice.message, "softmax by hand");
  }
});

test("what a diagnosis says of numbers is short", async () => {
  const x = randn([16, 8]), model = new Linear(8, 4);
  const report = await diagnose(model, (m) => m.call(x).relu().mul(0).log().mean());
  assert(!/\d\.\d{4}/.test(report.text()), report.text());
  const same = { init: (shape: readonly number[]) => init.constant(shape, { value: 0.1 }) };
  const equal = new Sequential(new Linear(8, 8, same), new Linear(8, 1, same));
  const { evidence } = found(
    await diagnose(equal, (m) => (m.call(x) as Tensor).mean()),
    "equal-initialisation",
  );
  assertStringIncludes(evidence, "equal gradients");
});

test("diagnose finds a softmax that is taken twice", async () => {
  manualSeed(34);
  const { x } = regression(), y = randint(0, 4, [64]);
  const model = new Sequential(new Linear(8, 4), (h: Tensor) => h.softmax());
  const finding = found(await diagnose(model, (m) => crossEntropy(m.call(x), y)), "softmax-twice");
  assertStringIncludes(finding.message, "crossEntropy");
});

test("diagnose finds a logarithm of a softmax as two ops", async () => {
  manualSeed(35);
  const { x } = regression(), y = randint(0, 4, [64]), model = new Linear(8, 4);
  const finding = found(
    await diagnose(model, (m) => m.call(x).softmax().gather(1, y.unsqueeze(1)).log().mean().neg()),
    "softmax-not-fused",
  );
  assertStringIncludes(finding.remedy, "crossEntropy");
});

test("diagnose finds a sigmoid before a loss of logits, and one before a logarithm", async () => {
  manualSeed(44);
  const { x } = regression(), y = x.narrow(1, 0, 1).gt(0).to("f32"), model = new Linear(8, 1);
  const twice = await diagnose(model, (m) => bceWithLogits(m.call(x).sigmoid(), y));
  assertStringIncludes(found(twice, "softmax-twice").message, "bceWithLogits");
  const apart = await diagnose(model, (m) => bceLoss(m.call(x).sigmoid(), y));
  assertStringIncludes(found(apart, "softmax-not-fused").remedy, "bceWithLogits");
  healthy(await diagnose(model, (m) => bceWithLogits(m.call(x), y)));
});

test("diagnose finds a logarithm of zero, with the op and its line", async () => {
  manualSeed(36);
  const { x } = regression(), model = new Linear(8, 4);
  const report = await diagnose(model, (m) => m.call(x).relu().log().mean());
  assertEquals(report.findings[0].cause, "log-of-zero", report.text());
  assertStringIncludes(report.findings[0].evidence, "diagnose.test.ts");
});

test("diagnose finds where a NaN comes from, and half precision that overflows", async () => {
  manualSeed(37);
  const { x } = regression(), model = new Linear(8, 4);
  const root = await diagnose(model, (m) => m.call(x).mul(0).sqrt().mean());
  const finding = found(root, "not-finite");
  assertStringIncludes(finding.message, "sqrt");
  const half = await diagnose(model, (m) => m.call(x).to("f16").mul(5e4).square().to("f32").mean());
  assertStringIncludes(found(half, "half-overflow").evidence, "65,504");
  const number = await diagnose(model, (m) => m.call(x).to("f16").mul(1e5).to("f32").mean());
  assertStringIncludes(found(number, "half-overflow").message, "100000");
});

test("diagnose finds gradients that f16 loses", async () => {
  manualSeed(38);
  const { x, y } = regression(), model = new Mixed();
  const finding = found(await diagnose(model, (m) => mseLoss(m.call(x), y).mul(1e-6)), "half-underflow");
  assertStringIncludes(finding.remedy, "scale the loss");
});

const wrongSquare = customVjp((x: Tensor) => [x.square(), [x]], ([x], ct: Tensor) => [ct.mul(x)]);
const rightSquare = customVjp((x: Tensor) => [x.square(), [x]], ([x], ct: Tensor) => [ct.mul(x).mul(2)]);

test("diagnose finds a custom rule that is not the derivative", async () => {
  manualSeed(39);
  const { x, y } = regression(), model = new Linear(8, 1);
  const finding = found(await diagnose(model, (m) => mseLoss(wrongSquare(m.call(x)), y)), "wrong-derivative");
  assertStringIncludes(finding.remedy, "gradcheck");
  healthy(await diagnose(model, (m) => mseLoss(rightSquare(m.call(x)), y)));
});

test("diagnose finds straight-through off its discrete node", async () => {
  manualSeed(40);
  const { x, y } = regression(), model = new Linear(8, 1);
  const wide = straightThrough((w) => w.mul(3).tanh().round());
  const finding = found(
    await diagnose(model, (m) => mseLoss(wide(m.call(x)), y)),
    "straight-through-too-wide",
  );
  assertStringIncludes(finding.message, "tanh");
  const scaled = straightThrough((w) => w.div(0.1).round().mul(0.1));
  healthy(await diagnose(model, (m) => mseLoss(scaled(m.call(x)), y)));
});

test("diagnose finds recomputation whose random masks differ", async () => {
  manualSeed(41);
  const { x, y } = regression(), model = mlp(new ReLU());
  const noisy = (h: Tensor): Tensor => h.mul(randn(h.shape).gt(0));
  const recomputed = customVjp(
    (h: Tensor) => [noisy(h), [h]],
    ([h], ct: Tensor) => vjp(noisy, h)[1](ct) as Tensor[],
  );
  const finding = found(await diagnose(model, (m) => mseLoss(recomputed(m.call(x)), y)), "random-backward");
  assertStringIncludes(finding.remedy, "checkpoint");
});

test("diagnose does not call a model that has learned stuck", async () => {
  manualSeed(46);
  const x = randn([64, 3]), y = x.sum(1, { keepdim: true }).add(randn([64, 1]).mul(0.3)).detach();
  const model = new Linear(3, 1), optimizer = new SGD(model, { lr: 0.2 });
  for (let i = 0; i < 200; i++) {
    optimizer.zeroGrad();
    mseLoss(model.call(x), y).backward();
    optimizer.step();
  }
  healthy(await diagnose(model, (m) => mseLoss(m.call(x), y), { optimizer }));
});

class Valley extends Module {
  x = parameter(tensor([[10.3, 10.2], [9.8, 10.4]]));
  forward(): Tensor {
    return this.x.sub(10).abs().sum();
  }
}

test("diagnose finds a loss that oscillates, and one that is stuck", async () => {
  const model = new Valley();
  const swinging = await diagnose(model, (m) => m.call(), { optimizer: new SGD(model, { lr: 1 }) });
  assertEquals(causes(swinging), ["oscillating"], swinging.text());
  const saddle = new Valley();
  saddle.x.assign(tensor([[0, Math.SQRT1_2], [0, 0]]));
  const loss = (m: Valley): Tensor => m.x.square().sum().sub(m.x.pow(4).sum()).add(1);
  const stuck = await diagnose(saddle, loss, { optimizer: new SGD(saddle, { lr: 0.1 }) });
  assertStringIncludes(found(stuck, "stuck").remedy, "stationary");
});

testEach("diagnose finds the same on each engine", async () => {
  manualSeed(45);
  const { x, y } = regression(), loss = (m: Sequential): Tensor => mseLoss(m.call(x), y);
  const equal = new Sequential(
    new Linear(8, 4, { init: init.zeros }),
    new Tanh(),
    new Linear(4, 1, { init: init.zeros }),
  );
  found(await diagnose(equal, loss), "equal-initialisation");
  const dead = mlp(new ReLU());
  (dead.layers[0] as Linear).bias!.assign(-100);
  found(await diagnose(dead, loss, { optimizer: new SGD(dead, { lr: 0.1 }), steps: 3 }), "dead-relu");
  found(await diagnose(deep(12, (h) => h.sigmoid(), init.xavierUniform), loss), "vanishing");
  const model = new Linear(8, 1);
  found(await diagnose(model, (m) => m.call(x).mul(0).log().mean()), "log-of-zero");
  healthy(
    await diagnose(model, (m) => mseLoss(m.call(x), y), {
      optimizer: new Adam(model, { lr: 0.01 }),
      steps: 5,
    }),
  );
});

// ---- manners -----------------------------------------------------------------------------------------------------

test("diagnose leaves parameters, gradients, optimiser, modes, random numbers and graphs as they were", async () => {
  manualSeed(50);
  const { x, y } = regression(),
    model = mlp(new BatchNorm1d(32), new Dropout(0.5)),
    optimizer = new Adam(model, { lr: 0.1 });
  const loss = (m: Sequential): Tensor => mseLoss(m.call(x), y);
  loss(model).backward();
  optimizer.step();
  const state = async () =>
    JSON.stringify([
      await Promise.all(Object.values(model.stateDict()).map((t) => t.toArray())),
      await Promise.all(model.parameters().map((p) => p.grad?.toArray())),
      await Promise.all(
        optimizer.groups[0].buckets.flatMap((b) => Object.values(b.state().slots)).map((t) => t.toArray()),
      ),
      rngState(),
      model.modules().map((m) => m.training),
      model.parameters().map((p) => [p.version, p.replacedBy]),
    ]);
  const outer = loss(model), before = await state();
  const handles = model.parameters().map((p) => p.node), grads = model.parameters().map((p) => p.grad);
  await diagnose(model, (m) => {
    m.train();
    return loss(m);
  }, { optimizer, steps: 4 });
  await diagnose(model, (m) => {
    optimizer.zeroGrad();
    loss(m).backward();
    optimizer.step();
  });
  assertEquals(await state(), before);
  assert(model.parameters().every((p, i) => p.node === handles[i] && p.grad === grads[i]));
  outer.backward(); // A graph from before is not stale.
});

test("diagnose puts everything back after an error, too", async () => {
  manualSeed(51);
  const { x, y } = regression(), model = mlp(new ReLU()), optimizer = new SGD(model, { lr: 0.1 });
  const before = await model.parameters()[0].toArray();
  let calls = 0;
  await assertRejects(
    () =>
      diagnose(model, (m) => {
        if (++calls === 3) throw new Error("no more data");
        return mseLoss(m.call(x), y);
      }, { optimizer }),
    Error,
    "no more data",
  );
  assertEquals(await model.parameters()[0].toArray(), before);
  assertEquals(model.parameters()[0].grad, null);
  assertEquals(model.layers[0].call(x).shape, [64, 32]);
});

test("diagnose refuses what it cannot run, in words", async () => {
  const model = new Linear(2, 2), x = randn([3, 2]);
  await assertRejects(() => diagnose(model, model.call(x) as never), TypeError, "give a function");
  await assertRejects(() => diagnose(x as never, () => x), TypeError, "it takes a module");
  await assertRejects(() => diagnose(model, () => model.call(x)), RangeError, "one element, as loss.mean()");
  await assertRejects(() => diagnose(model, () => {}), TypeError, "return the loss");
});

test("a diagnosis shows itself, with names that cannot inject markup", async () => {
  manualSeed(52);
  const { x, y } = regression();
  class Net extends Module {
    ['<b>&"layer'] = new Linear(8, 1);
    spare = new Linear(2, 2);
    forward(x: Tensor): Tensor {
      return this['<b>&"layer'].call(x.detach());
    }
  }
  const report = await diagnose(new Net(), (m) => mseLoss(m.call(x), y));
  const bundle = await report[Symbol.for("Jupyter.display") as never] as unknown;
  assertEquals(typeof bundle, "function");
  const { data } = await report.present();
  assert(!String(data["text/html"]).includes('<b>&"layer'));
  assertStringIncludes(Deno.inspect(report), "1 finding");
  assertStringIncludes(String(data["text/plain"]), "change:");
});
