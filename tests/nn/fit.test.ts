/** The training loop: it learns, stops, resumes, and seldom reads. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { defaultDevice, manualSeed, randn, type Tensor, tensor } from "../../mod.ts";
import { engineOf, setEngine } from "../../ops/runs.ts";
import { Adam } from "../../nn/adam.ts";
import { DataLoader } from "../../nn/data_loader.ts";
import { Dropout } from "../../nn/dropout.ts";
import { fit, type FitOptions } from "../../nn/fit.ts";
import { Linear } from "../../nn/linear.ts";
import { mseLoss } from "../../nn/loss.ts";
import { type ProgressEnd, type ProgressInfo, setProgressFactory } from "../../nn/progress.ts";
import { cosine } from "../../nn/schedule.ts";
import { Sequential } from "../../nn/sequential.ts";
import { SGD } from "../../nn/sgd.ts";
import { numbers, sameBits } from "./support.ts";

type Batch = { x: Tensor; y: Tensor };
function setup(): FitOptions<Sequential, Batch> & { model: Sequential } {
  manualSeed(11);
  const model = new Sequential(new Linear(3, 8), new Dropout(0.1), (x: Tensor) => x.tanh(), new Linear(8, 1));
  const x = randn([32, 3]);
  return {
    model,
    loader: new DataLoader({ x, y: x.sum(1, { keepdim: true }) }, { batchSize: 8, shuffle: true }),
    loss: (m, b) => mseLoss(m.call(b.x), b.y),
    optimizer: new Adam(model, { lr: 0.02 }),
    progress: false,
  };
}

for (const jitted of [false, true]) {
  Deno.test(`fit learns${jitted ? " with a recorded step" : ""}, by schedule, and returns the losses`, async () => {
    const { model, ...options } = setup();
    const report = await fit(model, {
      ...options,
      epochs: 30,
      clip: 5,
      schedule: cosine(0.05, 120),
      jit: jitted,
    });
    assertEquals([report.steps, report.epochs, report.stopped, report.losses.length], [120, 30, false, 120]);
    assertEquals(report.losses.map((l) => l.step), Array.from({ length: 120 }, (_, i) => i + 1));
    assert(report.loss < report.losses[0].loss / 4, `${report.losses[0].loss} became ${report.loss}`);
    assert(Math.abs(options.optimizer.lr - cosine(0.05, 120)(119)) < 1e-12);
    assert(model.training);
  });
}

Deno.test("a report as the last line of a cell is short, and has every loss", async () => {
  const { model, ...options } = setup();
  const report = await fit(model, { ...options, steps: 40 });
  const text = Deno.inspect(report, { colors: false });
  assert(text.length < 200 && text.startsWith("FitReport { steps: 40, "), text);
  assert(text.includes("losses: [40]"), text);
  assertEquals([Object.keys(report).length, JSON.parse(JSON.stringify(report)).losses.length], [7, 40]);
});

Deno.test("fit reads at most twice a second", async () => {
  const engine = engineOf(defaultDevice());
  let reads = 0;
  setEngine(
    new Proxy(engine, {
      get(target, name) {
        if (name === "read") reads++;
        const value = Reflect.get(target, name, target);
        return typeof value === "function" ? value.bind(target) : value;
      },
    }),
  );
  try {
    const { model, ...options } = setup(), begun = performance.now();
    await fit(model, { ...options, steps: 400 });
    assert(reads <= 1 + Math.floor((performance.now() - begun) / 500), `${reads} reads`);
  } finally {
    setEngine(engine);
  }
});

Deno.test("fit stops on a signal with all state kept, and a later call goes on", async () => {
  const whole = setup();
  await fit(whole.model, { ...whole, steps: 30 });
  const { model, ...options } = setup(), stop = new AbortController();
  const report = await fit(model, {
    ...options,
    steps: 30,
    signal: stop.signal,
    onStep: ({ step }) => step === 13 ? stop.abort() : undefined,
  });
  assertEquals([report.stopped, report.steps, report.losses.length], [true, 13, 13]);
  await fit(model, { ...options, steps: 17 });
  assert(await sameBits(model.stateDict(), whole.model.stateDict()));
  const already = await fit(model, { ...options, steps: 5, signal: AbortSignal.abort() });
  assertEquals([already.stopped, already.steps], [true, 0]);
  assert(Number.isNaN(already.loss));
});

Deno.test("a signal from a timer reaches a loop that never waits", async () => {
  const { model, ...options } = setup();
  const report = await fit(model, { ...options, steps: Infinity, signal: AbortSignal.timeout(150) });
  assert(report.stopped && report.seconds < 2, `${report.seconds} s`);
});

Deno.test("fit resumes from a checkpoint bit by bit", async () => {
  const dir = await Deno.makeTempDir(), path = `${dir}/run.safetensors`;
  try {
    const whole = setup();
    await fit(whole.model, { ...whole, epochs: 6 });
    for (const at of [4, 7, 8]) {
      const first = setup(), stop = new AbortController();
      await fit(first.model, {
        ...first,
        epochs: 6,
        signal: stop.signal,
        checkpoint: { path, every: 3 },
        onStep: ({ step }) => step === at ? stop.abort() : undefined,
      });
      const second = setup();
      randn([3]); // other random numbers
      const report = await fit(second.model, { ...second, epochs: 6, checkpoint: { path, resume: true } });
      assertEquals([report.steps, report.losses[0].step, report.epochs], [24, at + 1, 6]);
      assert(await sameBits(second.model.stateDict(), whole.model.stateDict()), `stopped at ${at}`);
      await Deno.remove(path);
    }
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("a loss of NaN ends the run with its step, unless told otherwise", async () => {
  const make = (): FitOptions<Linear, Tensor> & { model: Linear } => {
    const model = new Linear(1, 1, { bias: false });
    let n = 0;
    return {
      model,
      loader: new DataLoader(tensor([[1], [2], [3]])),
      loss: (m, x) => m.call(x).square().sum().mul(++n === 3 ? NaN : 1),
      optimizer: new SGD(model, { lr: 0 }),
      progress: false,
    };
  };
  const a = make(),
    error = await assertRejects(() => fit(a.model, { ...a, epochs: 2 }), RangeError, "at step 3");
  assert((error as Error).message.includes("detectAnomaly"));
  const b = make();
  assertEquals((await fit(b.model, { ...b, epochs: 2, onNonfinite: "stop" })).stopped, true);
  const c = make(), report = await fit(c.model, { ...c, epochs: 2, onNonfinite: "ignore" });
  assertEquals([report.stopped, report.steps], [false, 6]);
});

Deno.test("fit evaluates without gradients and in evaluation mode, after each epoch or every so many steps", async () => {
  const { model, ...options } = setup(), modes: boolean[] = [];
  const evaluate = async (m: Sequential): Promise<{ error: number; tracked: number }> => {
    modes.push(m.training);
    const y = m.call(randn([4, 3]));
    return { error: (await numbers(y.square().mean()))[0], tracked: y.requiresGrad ? 1 : 0 };
  };
  const a = await fit(model, { ...options, epochs: 2, evaluate });
  assertEquals(a.evaluations.map((e) => [e.step, e.values.tracked]), [[4, 0], [8, 0]]);
  const b = await fit(model, { ...options, steps: 5, evaluateEvery: 2, evaluate: () => 3 });
  assertEquals(b.evaluations.map((e) => [e.step, e.values.value]), [[2, 3], [4, 3], [5, 3]]);
  assertEquals(modes, [false, false]);
  model.eval();
  await fit(model, { ...options, steps: 1 });
  assertEquals(model.training, false);
});

Deno.test("fit tells a progress display about every loss once, and how it ended", async () => {
  const losses: number[] = [], ends: ProgressEnd[] = [];
  const show = {
    update: (i: ProgressInfo) => losses.push(...i.losses.map((l) => l.step)),
    end: (i: ProgressEnd) => void ends.push(i),
  };
  setProgressFactory(() => show);
  try {
    const { model, progress: _, ...options } = setup();
    await fit(model, { ...options, epochs: 2 });
    losses.push(...ends[0].losses.map((l) => l.step));
    assertEquals(losses, [1, 2, 3, 4, 5, 6, 7, 8]);
    assertEquals([ends[0].step, ends[0].epochs, ends[0].stopped, ends[0].error], [8, 2, false, null]);
    await assertRejects(
      () => fit(model, { ...options, loss: () => randn([3], { requiresGrad: true }) }),
      RangeError,
      "one element",
    );
    assert(ends[1].error !== null);
    const stopping = { update: () => {}, end: () => {}, signal: AbortSignal.abort() };
    assertEquals((await fit(model, { ...options, progress: stopping })).stopped, true);
  } finally {
    setProgressFactory(null);
  }
});

Deno.test("a loader without batches is an error instead of an endless loop", async () => {
  const { model, ...options } = setup();
  await assertRejects(() => fit(model, { ...options, loader: [], epochs: 3 }), RangeError, "no batches");
  await assertRejects(() => fit(model, { ...options, epochs: 1.5 }), RangeError, "epochs");
  await assertRejects(() => fit(undefined as never, options), TypeError, "fit(model");
});
