import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import {
  activationHistograms,
  Adam,
  gradientHistograms,
  gradientNorms,
  init,
  Linear,
  manualSeed,
  Module,
  mseLoss,
  randn,
  recordLayers,
  saturation,
  Sequential,
  SGD,
  Sigmoid,
  type Tensor,
} from "../../mod.ts";
import { test } from "../support/engines.ts";

const deep = (layers: number, start?: typeof init.zeros): Sequential =>
  new Sequential(
    ...Array.from({ length: layers }, (_, i) => [
      new Linear(i === 0 ? 4 : 16, i === layers - 1 ? 1 : 16, start === undefined ? {} : { init: start }),
      ...(i === layers - 1 ? [] : [new Sigmoid()]),
    ]).flat(),
  );

function task(): { x: Tensor; loss: (m: Module) => Tensor } {
  manualSeed(1);
  const x = randn([32, 4]), y = x.sum(1, { keepdim: true }).detach();
  return { x, loss: (m) => mseLoss((m as Sequential).call(x), y) };
}

/** The spec of a chart, once its tensors are read. */
async function specOf(chart: { present(): Promise<{ data: Record<string, unknown> }> }) {
  const { data } = await chart.present();
  assertStringIncludes(String(data["image/svg+xml"]), "<svg");
  return {
    // deno-lint-ignore no-explicit-any
    spec: data["application/vnd.vegalite.v5+json"] as any,
    text: String(data["text/plain"]),
    svg: String(data["image/svg+xml"]),
  };
}

test("gradient norms of several runs lie over each other on a log scale, with what is zero or missing said", async () => {
  const { loss } = task(), a = deep(6), b = deep(6);
  loss(a).backward();
  loss(b).backward();
  b.parameters().slice(0, 2).forEach((p) => p.grad = null);
  const { spec, text } = await specOf(gradientNorms({ first: a, second: b }));
  assertEquals(spec.encoding.x.scale.type, "log");
  const rows = spec.data.values as { layer: string; series: string; value: number | null }[];
  assertEquals(rows.length, 12);
  assertEquals(rows[0].layer, "0 Linear");
  const values = rows.filter((r) => r.series === "first").map((r) => r.value!);
  assert(values[0] < values[5] / 100, "vanishing gradients are seen");
  assertEquals(rows[6].value, null);
  assertStringIncludes(JSON.stringify(spec.title), "none of second: 0 Linear");
  assertMatch(text, /0 Linear +█ +\S+e-\d+|0 Linear +█/);
});

test("gradient norms do not overflow or vanish in f32, and by parameter have a row each", async () => {
  const model = new Linear(4, 2);
  model.weight.grad = model.weight.onesLike().mul(1e-30);
  model.bias!.grad = model.bias!.onesLike().mul(1e30);
  const { spec } = await specOf(gradientNorms(model, { by: "parameter" }));
  const [weight, bias] = spec.data.values.map((r: { value: number }) => r.value);
  assert(
    Math.abs(weight / (1e-30 * Math.sqrt(8)) - 1) < 1e-5 && Math.abs(bias / (1e30 * Math.sqrt(2)) - 1) < 1e-5,
  );
});

test("histograms have a strip for each layer, and leave the model alone", async () => {
  const { loss } = task(), model = deep(4);
  const before = JSON.stringify(await Promise.all(model.parameters().map((p) => p.toArray())));
  const values = await specOf(await activationHistograms(model, loss));
  const layers = new Set(values.spec.layer[0].data.values.map((r: { layer: string }) => r.layer));
  assertEquals([...layers], [
    "0 Linear",
    "1 Sigmoid",
    "2 Linear",
    "3 Sigmoid",
    "4 Linear",
    "5 Sigmoid",
    "6 Linear",
  ]);
  const shares = values.spec.layer[0].data.values.filter((r: { layer: string }) => r.layer === "1 Sigmoid")
    .map((r: { share: number }) => r.share);
  assert(Math.abs(shares.reduce((a: number, b: number) => a + b, 0) - 1) < 1e-3);
  assertMatch(values.text, /1 Sigmoid +\| *[░▒▓█]+ *\| 0\.\d+ ± 0\.\d+/);
  const sizes = await specOf(await gradientHistograms(model, loss));
  assertEquals(new Set(sizes.spec.layer[0].data.values.map((r: { layer: string }) => r.layer)).size, 7);
  assertEquals(JSON.stringify(await Promise.all(model.parameters().map((p) => p.toArray()))), before);
  assert(model.parameters().every((p) => p.grad === null));
});

test("saturation is the share of sigmoids past 0.97, and of units of ReLU that are dead", async () => {
  const { x } = task();
  const model = new Sequential(
    new Linear(4, 8),
    (h: Tensor) => h.relu(),
    new Linear(8, 8),
    (h: Tensor) => h.add(50).sigmoid(),
  );
  (model.layers[0] as Linear).bias!.assign(-100);
  const { spec, text } = await specOf(await saturation(model, (m) => m.call(x).mean()));
  assertEquals(
    spec.data.values.map((r: { layer: string; kind: string; share: number }) => [r.layer, r.kind, r.share]),
    [["1 Lambda", "relu", 1], ["3 Lambda", "sigmoid", 1]],
  );
  assertStringIncludes(text, "100 %");
});

test("a record of layers maps norms and update ratios over steps, and says what is not read", async () => {
  const { loss } = task(),
    model = deep(3),
    optimizer = new SGD(model, { lr: 0.5 }),
    record = recordLayers(model);
  assertStringIncludes(Deno.inspect(record), "no step is noted");
  for (let i = 0; i < 12; i++) {
    optimizer.zeroGrad();
    loss(model).backward();
    optimizer.step();
    record.note();
  }
  assertStringIncludes(Deno.inspect(record), "not read yet");
  await record.read();
  const norms = await specOf(record.gradientNorms());
  assertEquals(norms.spec.data.values.length, 36);
  assertStringIncludes(norms.text, "3 layers, 12 steps");
  const weights = model.parameters().slice(4), old = await Promise.all(weights.map((p) => p.toArray()));
  optimizer.zeroGrad();
  loss(model).backward();
  optimizer.step();
  record.note();
  const updates = await specOf(record.updateRatios());
  const last = updates.spec.data.values.filter((r: { layer: string }) => r.layer === "4 Linear").at(-1).log;
  const flat = (v: number[]) => v.flat(2) as number[],
    now = await Promise.all(weights.map((p) => p.toArray()));
  const before = old.flatMap(flat), far = now.flatMap(flat).map((v, i) => v - before[i]);
  assert(Math.abs(last - Math.log10(Math.hypot(...far) / Math.hypot(...before))) < 0.01);
});

test("a record of many steps stays small, and joins steps without losing one", async () => {
  const { loss } = task(),
    model = deep(2),
    optimizer = new Adam(model, { lr: 1e-3 }),
    record = recordLayers(model);
  for (let i = 0; i < 400; i++) {
    optimizer.zeroGrad();
    loss(model).backward();
    optimizer.step();
    record.note();
  }
  const { spec, svg } = await specOf(record);
  const froms = new Set(spec.data.values.map((r: { from: number }) => r.from));
  assert(froms.size <= 120 && froms.size >= 100, String(froms.size));
  assert(svg.length < 200_000);
});

test("plots by layer say what they take", async () => {
  const model = new Linear(2, 2), x = randn([3, 2]);
  assertThrows(() => gradientNorms(x as never), TypeError, "give a module");
  assertThrows(() => recordLayers({} as never), TypeError, "it takes a module");
  await assertRejects(() => activationHistograms(model, (m) => m.call(x)), TypeError, "one element");
  await assertRejects(() => saturation(model, undefined as never), TypeError, "give a function");
});

test("layers whose names hold markup are shown as they are called", async () => {
  class Net extends Module {
    ['<img src=x>"&'] = new Linear(4, 1);
    forward(x: Tensor): Tensor {
      return this['<img src=x>"&'].call(x);
    }
  }
  const { x } = task(), model = new Net();
  model.call(x).mean().backward();
  const { svg } = await specOf(gradientNorms(model));
  assert(!svg.includes("<img") && svg.includes("&lt;img"));
});
