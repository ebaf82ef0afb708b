import { assert, assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import { displayHook } from "../../display/bundle.ts";
import { type Chart, lineChart, scatterChart, thin } from "../../display/chart.ts";
import { heatmap } from "../../display/heatmap.ts";
import { tensor } from "../../mod.ts";

interface Row {
  x: number | null;
  y: number | null;
  series: string;
}

const rowsOf = (chart: Chart): Row[] => (chart.spec.data as { values: Row[] }).values;

Deno.test("a heat map of a tensor takes a title behind it, as other charts do", async () => {
  assertStringIncludes(
    (await heatmap(tensor([[1, 2], [3, 4]]), { title: "J" }).present()).data["text/plain"] as string,
    "J",
  );
});

Deno.test("a chart has a Vega-Lite v5 spec, an SVG and text, and no HTML that would outrank them", async () => {
  const bundle = await lineChart({ series: { a: [1, 2], b: [2, 1] }, title: "T" })[displayHook]();
  assertEquals(Object.keys(bundle), ["application/vnd.vegalite.v5+json", "image/svg+xml", "text/plain"]);
  const spec = bundle["application/vnd.vegalite.v5+json"] as Record<string, unknown>;
  assertEquals(spec.$schema, "https://vega.github.io/schema/vega-lite/v5.json");
  assertStringIncludes(String(bundle["image/svg+xml"]), "<svg");
  assertStringIncludes(String(bundle["text/plain"]), "1 … 2");
});

Deno.test("titles and names cannot inject markup", async () => {
  const evil = `</text><script>alert("1")</script>`;
  const bundle = await lineChart({ series: { [evil]: [1, 2], b: [1, 1] }, title: evil, xTitle: evil })
    [displayHook]();
  const svg = String(bundle["image/svg+xml"]);
  assert(!svg.includes("<script"));
  assertStringIncludes(svg, "&lt;script&gt;");
});

Deno.test("values that are not finite leave gaps and are counted", () => {
  const chart = lineChart({ series: [1, NaN, 3, Infinity] });
  assertEquals(rowsOf(chart).map(({ y }) => y), [1, null, 3, null]);
  assertEquals((chart.spec.title as { text: string }).text, "2 values not finite");
  assertStringIncludes(chart.text(), "2 not finite");
});

Deno.test("a log scale leaves out what is not positive", () => {
  const chart = lineChart({ series: [1, 0, -1, 10], yScale: "log" });
  assertEquals(rowsOf(chart).map(({ y }) => y), [1, null, null, 10]);
  assertStringIncludes(JSON.stringify(chart.spec.title), "not positive");
});

Deno.test("a log scale writes small and large ticks as powers", async () => {
  const { "image/svg+xml": svg } = await lineChart({ series: [1e-9, 1, 1e12], yScale: "log" })[displayHook]();
  const labels = Array.from(String(svg).matchAll(/<text[^>]*>([^<]+)<\/text>/g), ([, label]) => label);
  assert(labels.includes("1e10") || labels.includes("1e12"), labels.join());
  assert(labels.every((label) => !/0000|\+/.test(label)), labels.join());
});

Deno.test("a legend has as many columns as its names leave room for", () => {
  const legendOf = (names: string[]) => {
    const series = Object.fromEntries(names.map((name) => [name, [1, 2]]));
    const [layer] = lineChart({ series }).spec.layer as { encoding: { color: { legend: unknown } } }[];
    return layer.encoding.color.legend as { columns: number; labelLimit: number };
  };
  assertEquals(legendOf(["a", "b"]).columns, 2);
  assertEquals(legendOf([..."abcdefg"]).columns, 5);
  const long = legendOf(["value", "forward mode: a pushforward for each input"]);
  assertEquals(long.columns, 1);
  assert(long.labelLimit > 42 * 6);
});

Deno.test("names in a legend are whole in SVG, whose renderer guesses how wide letters are", async () => {
  const names = ["true gradient, 0 everywhere", "straight-through", "forward: n pushforwards"];
  const series = Object.fromEntries(names.map((name) => [name, [1, 2]]));
  const { "image/svg+xml": svg } = await lineChart({ series })[displayHook]();
  for (const name of names) assert(String(svg).includes(`>${name}</text>`), String(svg));
});

Deno.test("series come as values, lists, typed arrays and points", () => {
  assertEquals(rowsOf(lineChart({ series: [5, 6] })).map(({ x }) => x), [0, 1]);
  assertEquals(rowsOf(lineChart({ series: [new Float32Array([5]), [6]] })).map(({ series }) => series), [
    "0",
    "1",
  ]);
  assertEquals(rowsOf(lineChart({ series: { a: { x: [7], y: [8] }, b: [9] }, x: [3] })), [
    { x: 7, y: 8, series: "a" },
    { x: 3, y: 9, series: "b" },
  ]);
});

Deno.test("a long series keeps its first, last and extreme values", () => {
  const values = Array.from({ length: 100_000 }, (_, i) => Math.sin(i / 1000));
  values[54_321] = 9;
  values[12_345] = -9;
  const kept = thin(values, 1000);
  assert(kept.length <= 1002);
  for (const i of [0, 12_345, 54_321, 99_999]) assert(kept.includes(i));
});

Deno.test("charts of nothing and of one value are drawn", async () => {
  const charts = [
    lineChart({ series: [] }),
    lineChart({ series: {} }),
    lineChart({ series: [NaN] }),
    lineChart({ series: [3] }),
    scatterChart({ points: { x: [], y: [] } }),
    heatmap({ values: [] }),
    heatmap({ values: [[1]] }),
  ];
  for (const chart of charts) {
    const bundle = await chart[displayHook]();
    assertStringIncludes(String(bundle["image/svg+xml"]), "<svg");
    assert(!String(bundle["text/plain"]).includes("drawing failed"));
  }
});

Deno.test("a heat map keeps rows apart that have the same label", () => {
  const chart = heatmap({ values: [[1], [2]], y: ["the", "the"] });
  const rows = (chart.spec.data as { values: { row: string }[] }).values.map(({ row }) => row);
  assertEquals(new Set(rows).size, 2);
  assert(rows.every((row) => row.startsWith("the")));
});

Deno.test("numbers in a heat map fit their cells, and zero has no sign", () => {
  const { spec } = heatmap({ values: [[1.4, -0.0029, -0], [0.07, 120e-4, -0.93]], numbers: true });
  const cells = (spec.data as { values: { text: string }[] }).values;
  assertEquals(cells.map(({ text }) => text), ["1.4", "0", "0", "0.07", "0.01", "−0.93"]);
});

Deno.test("a heat map of too many cells is averaged and says so", () => {
  const values = Array.from({ length: 300 }, () => new Float32Array(300).fill(2));
  const chart = heatmap({ values });
  const cells = (chart.spec.data as { values: { value: number }[] }).values;
  assert(cells.length <= 4096);
  assert(cells.every(({ value }) => value === 2));
  assertStringIncludes(JSON.stringify(chart.spec.title), "mean of 5 × 5");
  values[7][9] = -40, values[200][3] = 70;
  assertMatch(heatmap({ values }).text(), /300 × 300, [−-]40 … 70/);
});

Deno.test("a scatter chart shows each cloud and its size", () => {
  const chart = scatterChart({ points: { a: { x: [0, 1], y: [0, 1] }, b: { x: [2], y: [2] } } });
  assertEquals(rowsOf(chart).length, 3);
  assertStringIncludes(chart.text(), "a (2), b (1)");
});

Deno.test("charts read the tensors that they are given", async () => {
  const loss = tensor([1, 2, 4]).mul(2), x = tensor([0, 1, 2]);
  const charts = [
    lineChart({ series: loss }),
    lineChart({ series: { loss }, x }),
    lineChart({ series: { loss: { x, y: loss }, half: [1, 2, 4] } }),
    scatterChart({ points: { x, y: loss.mul(3) } }),
    heatmap({ values: tensor([[1, 2], [3, 4]]).exp() }),
    heatmap({ values: [loss, x] }),
  ];
  for (const chart of charts) {
    const bundle = await chart[displayHook]();
    assertEquals(Object.keys(bundle), ["application/vnd.vegalite.v5+json", "image/svg+xml", "text/plain"]);
    assert(!String(bundle["text/plain"]).includes("not read"));
  }
  assertEquals(rowsOf(charts[1]).map(({ y }) => y), [2, 4, 8]);
  const cells = (charts[4].spec.data as { values: { row: string; column: string; text: string }[] }).values;
  assertEquals(cells.map(({ row, column, text }) => row + column + text), ["002.7", "017.4", "1020", "1155"]);
});

Deno.test("a chart of tensors shows what they were when it was made", async () => {
  const w = tensor([1, 2], { requiresGrad: true });
  const chart = lineChart({ series: { w } });
  w.assign(tensor([5, 6]));
  await chart[displayHook]();
  assertEquals(rowsOf(chart).map(({ y }) => y), [1, 2]);
});

Deno.test("before its tensors are read a chart says so", () => {
  const chart = lineChart({ series: tensor([1, 2]).exp() });
  assertStringIncludes(chart.text(), "not read yet");
  assertThrows(() => chart.spec, TypeError, "await x.toArray()");
});

Deno.test("charts say what they take", () => {
  const wrong = (f: () => unknown, type: new (m: string) => Error, text: string) =>
    assertThrows(f, type, text);
  // deno-lint-ignore no-explicit-any
  const any = (value: unknown): any => value;
  const t = tensor([1, 2, 3]), matrix = tensor([[1, 2]]);
  wrong(() => lineChart(any([1, 2, 3])), TypeError, "Cannot draw a line chart of an array: it takes options");
  wrong(() => lineChart(any(t)), TypeError, "of a Tensor: it takes options, as in lineChart({ series");
  wrong(() => lineChart(any({})), TypeError, "without series");
  wrong(() => lineChart({ series: any(t.toArray()) }), TypeError, "is an await missing?");
  wrong(() => lineChart({ series: any({ loss: 3 }) }), TypeError, "Cannot draw series loss of a number");
  wrong(
    () => lineChart({ series: any({ loss: [t.sum()] }) }),
    TypeError,
    "element 0 is a Tensor; read it first",
  );
  wrong(() => lineChart({ series: any(["a"]) }), TypeError, "element 0 is a string");
  wrong(() => lineChart({ series: { loss: matrix } }), RangeError, "Cannot draw series loss of shape [1,2]");
  wrong(() => lineChart({ series: [1, 2, 3], x: [1, 2] }), RangeError, "x has 2 values and y 3");
  wrong(() => lineChart({ series: { a: { x: [1], y: t } } }), RangeError, "x has 1 values and y 3");
  wrong(() => scatterChart(any({ series: t })), TypeError, "without points: give them, as in scatterChart");
  wrong(() => scatterChart({ points: any(t) }), TypeError, "Cannot draw points of a Tensor");
  wrong(() => scatterChart({ points: { a: any([1]) } }), TypeError, "Cannot draw points a of an array");
  wrong(() => scatterChart({ points: { x: [1], y: [1, 2] } }), RangeError, "x has 1 values and y 2");
  wrong(() => heatmap(any(3)), TypeError, "Cannot draw a heat map of a number: it takes options");
  wrong(() => heatmap({ values: any([1, 2]) }), TypeError, "row 0 of a heat map of a number");
  wrong(() => heatmap({ values: [[1, 2], [3]] }), RangeError, "lengths 2 and 1");
});
