import { assert, assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import {
  checkpoint,
  full,
  functionChart,
  grad,
  heatmap,
  Linear,
  lossLandscape,
  manualSeed,
  memoryChart,
  mseLoss,
  ones,
  randn,
  Sequential,
  singularValues,
  type Tensor,
  tensor,
  zeros,
} from "../../mod.ts";
import { liveBytes } from "../../display/memory_chart.ts";
import { statistics, tensorMap } from "../../display/tensor_map.ts";
import { test } from "../support/engines.ts";

async function bundleOf(x: unknown): Promise<Record<string, unknown>> {
  return await (x as Record<symbol, () => Promise<Record<string, unknown>>>)[Symbol.for("Jupyter.display")]();
}
const SPEC = "application/vnd.vegalite.v5+json";

test("functions are drawn with the derivatives that grad gives, dashed", async () => {
  const chart = functionChart({ square: (x: Tensor) => x.square() }, {
    from: -2,
    to: 2,
    points: 5,
    derivatives: 2,
  });
  await chart.present();
  const rows = (chart.spec.data as { values: { series: string; y: number }[] }).values;
  const of = (name: string): number[] => rows.filter((r) => r.series === name).map((r) => r.y);
  assertEquals(of("square"), [4, 1, 0, 1, 4]);
  assertEquals(of("square'"), [-4, -2, 0, 2, 4]);
  assertEquals(of("square''"), [2, 2, 2, 2, 2]);
  assertStringIncludes(JSON.stringify(chart.spec), "strokeDash");
  assertThrows(() => functionChart(3 as never), TypeError, "give one");
  assertThrows(() => functionChart((x: Tensor) => x, { from: 1, to: 1 }), RangeError, "first limit");
});

test("singular values show rank, and take matrices", async () => {
  manualSeed(1);
  const chart = singularValues({ "rank 2": randn([6, 2]).matmul(randn([2, 6])) });
  await chart.present();
  const rows = (chart.spec.data as { values: { y: number | null }[] }).values;
  assert(rows[1].y! > 0.1 && (rows[2].y === null || rows[2].y! < 1e-4));
  assertThrows(() => singularValues(randn([3])), RangeError, "two axes");
});

test("a heat map takes a tensor, and one with more axes has a map for each matrix", async () => {
  const two = await heatmap(tensor([[1, 2], [3, 4]])).present();
  assertStringIncludes(JSON.stringify(two.data[SPEC]), '"value":4');
  const { data } = await heatmap(randn([3, 4, 5])).present();
  // deno-lint-ignore no-explicit-any
  const spec = data[SPEC] as any;
  assertEquals(spec.facet.field, "facet");
  assertEquals(spec.data.values.length, 60);
  assertStringIncludes(String(data["image/svg+xml"]), ">[2]</text>");
});

test("the memory of a run rises and falls by what is needed again", async () => {
  const x = randn([1000]);
  await x.data(); // 4,000 bytes each; the last is a scalar.
  const y = x.sin().exp().sum();
  assertEquals(liveBytes([y.node]), [4000, 8000, 4004]);
  assertEquals(liveBytes([x.node]), []);
  const block = (h: Tensor): Tensor => h.sin().exp().tanh().sigmoid();
  const run = (layer: (h: Tensor) => Tensor) => () =>
    grad((x: Tensor) => [1, 2, 3, 4, 5, 6].reduce((h) => layer(h), x).sum())(x);
  const peak = (f: () => Tensor): number => Math.max(...liveBytes([f().node]));
  assert(peak(run(checkpoint(block)) as () => Tensor) < 0.6 * peak(run(block) as () => Tensor));
  const chart = memoryChart({ plain: run(block), checkpointed: run(checkpoint(block)) });
  assertStringIncludes(JSON.stringify(chart.spec.title), "plain: peak");
  assert((await chart.present()).data["image/svg+xml"] !== undefined);
});

test("the memory of small runs is drawn in the unit that its peak is told in", () => {
  const x = randn([32, 4]);
  const chart = memoryChart({ small: () => grad((t: Tensor) => t.sin().exp().sum())(x) });
  assertStringIncludes(JSON.stringify(chart.spec), '"title":"KiB"');
  assertStringIncludes(chart.text(), "0.5 … 1.5");
});

test("a loss landscape has the loss of the model in its middle, and leaves the model as it was", async () => {
  manualSeed(2);
  const x = randn([16, 3]),
    y = x.sum(1, { keepdim: true }),
    model = new Sequential(new Linear(3, 4), new Linear(4, 1));
  const loss = (m: Sequential): Tensor => mseLoss(m.call(x), y);
  const here = await loss(model).item(), nodes = model.parameters().map((p) => p.node);
  const chart = await lossLandscape(model, loss, { points: 5 });
  const values = (chart.spec.data as { values: { value: number }[] }).values.map((c) => c.value);
  assertEquals(values.length, 25);
  assert(Math.abs(values[12] - here) < 1e-6 && new Set(values).size === 25);
  assert(model.parameters().every((p, i) => p.node === nodes[i] && p.requiresGrad));
  await assertRejects(() => lossLandscape(model, (m) => m.call(x)), TypeError, "one element");
});

test("a large tensor is a map with statistics and its first values, a small one a table", async () => {
  manualSeed(3);
  const x = randn([30, 40]);
  x.name = '<w> & "co"';
  const bundle = await bundleOf(x);
  assertEquals(Object.keys(bundle), [SPEC, "image/svg+xml", "text/plain"]);
  assert(!String(bundle["image/svg+xml"]).includes("<w>"));
  const title = JSON.stringify((bundle[SPEC] as { title: unknown }).title);
  for (const part of ["min −", "mean ", "max ", "std 1", "first "]) assertStringIncludes(title, part);
  assertEquals(Object.keys(await bundleOf(randn([3, 4]))), ["text/plain", "text/html"]);
});

test("tensors of NaN, without elements, with a million rows: something small and true is shown", async () => {
  const nan = await bundleOf(full([30, 30], NaN));
  assertStringIncludes(JSON.stringify(nan[SPEC]), "900 not finite (all)");
  assertStringIncludes(String(nan["image/svg+xml"]), "<svg");
  assertEquals(Object.keys(await bundleOf(zeros([0, 3]))), ["text/plain"]);
  const long = await bundleOf(ones([1_000_000, 3]));
  assertStringIncludes(JSON.stringify(long[SPEC]), "× 1 elements");
  for (const part of Object.values(long)) assert(JSON.stringify(part).length < 100_000);
  const many = await bundleOf(randn([64, 3, 16, 16]));
  assertStringIncludes(JSON.stringify(many[SPEC]), "12 of 192 matrices");
});

test("a map averages blocks of finite elements, and counts what it says", () => {
  const bits = Float32Array.from({ length: 200 * 200 }, (_, i) => i === 0 ? NaN : 2);
  const { spec, text } = tensorMap(bits, [200, 200]);
  const { values } = spec.data as { values: (number | string)[] };
  assert(values.length <= 2400 && values.every((v) => v === 2));
  assertStringIncludes(text(), "a cell is the mean of");
  assertEquals(
    statistics(new Float32Array([0, 0, 1, 3]), "f32"),
    "min 0 · mean 1 · max 3 · std 1.225 · 50 % zero",
  );
  assertEquals(statistics(new Uint8Array([0, 1, 1]), "bool"), "2 of 3 true");
});

test("a long subtitle does not make the plot smaller", async () => {
  const { data } = await memoryChart({
    ["a name that is quite long for a series"]: () => ones([2]).exp(),
    ["another long name"]: () => ones([2]),
  })
    .present();
  const lines = (data[SPEC] as { title: { subtitle: string[] } }).title.subtitle;
  assert(lines.length > 1 && lines.every((line) => line.length <= 62));
});
