import { assert, assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import { fitProgress } from "../../display/fit_progress.ts";
import { trainingProgress } from "../../display/progress.ts";
import { Curve, liveSvg, spikes, trainingFigure } from "../../display/progress_picture.ts";
import type { ProgressInfo } from "../../nn/progress.ts";
import { jit, type Tensor, tensor } from "../../mod.ts";
import { liveDisplay, show } from "../../display/show.ts";

/** What `action` prints where a line cannot be rewritten. */
async function printed(action: () => Promise<void>): Promise<string[]> {
  const log = console.log, isTerminal = Deno.stdout.isTerminal;
  const lines: string[] = [];
  console.log = (line: string) => lines.push(line);
  Deno.stdout.isTerminal = () => false;
  try {
    await action();
  } finally {
    console.log = log;
    Deno.stdout.isTerminal = isTerminal;
  }
  return lines;
}

Deno.test("progress in a file is its last line", async () => {
  const lines = await printed(async () => {
    const progress = trainingProgress({ total: 100, title: "Fit" });
    for (let step = 1; step <= 100; step++) progress.update({ step, loss: 1 / step, rate: 0.1 });
    await progress.end();
    await progress.end();
  });
  assertEquals(lines.length, 1);
  assertMatch(lines[0], /^Fit {2}█.*▁ {2}100\/100 {2}loss 0\.01 {2}rate 0\.1 {2}.*s$/);
});

Deno.test("progress refuses what is no reading, by name", () => {
  const progress = trainingProgress();
  // deno-lint-ignore no-explicit-any
  const update = (state: any) => () => progress.update(state);
  const two = tensor([1, 2], { device: "host" });
  assertThrows(update({ loss: two.mean().item() }), TypeError, "as loss: it is a number or a tensor");
  assertThrows(update({ step: two.mean() }), TypeError, "Cannot show a Tensor as step: it is a number");
  assertThrows(update({ loss: two }), RangeError, "shape [2] as loss: it must have exactly one element");
  assertThrows(() => jit((x: Tensor) => (progress.update({ loss: x.sum() }), x))(two), Error, "inside jit");
});

Deno.test("progress takes a hundred thousand steps without a step number", async () => {
  const lines = await printed(async () => {
    const progress = trainingProgress();
    for (let i = 0; i < 100_000; i++) progress.update({ loss: Math.exp(-i / 1e4) });
    await progress.end();
  });
  assertMatch(lines[0], /step 100,000 {2}loss 4\.54e-5/);
});

Deno.test("a live display prints what stands at the end", async () => {
  const lines = await printed(async () => {
    const live = liveDisplay();
    await live.update("first");
    await live.update({ "text/plain": "second" });
    await live.end();
  });
  assertEquals(lines, ["second"]);
});

Deno.test("show prints text, and names the types of what has none", async () => {
  const lines = await printed(() =>
    show("a", { b: 1 }, { "text/plain": "c", "text/html": "<b>" }, { "image/png": "" })
  );
  assertEquals(lines, ["a", "{ b: 1 }", "c", "[image/png]"]);
});

const halfway: ProgressInfo = {
  step: 50,
  steps: null,
  epoch: 1,
  epochs: 4,
  loss: 0.5,
  losses: [{ step: 25, loss: 1 }, { step: 50, loss: 0.5 }],
  lr: 0.1,
  seconds: 5,
  stepsPerSecond: 10,
  values: {},
};

Deno.test("progress of fit has the time and speed of the loop, not of its display, and the epoch it is in", async () => {
  const lines = await printed(async () => {
    await fitProgress().end({ ...halfway, stopped: false, error: null });
  });
  assertMatch(lines[0], /step 50 {2}epoch 2\/4 {2}loss 0\.5 {2}rate 0\.1 {2}10 it\/s {2}5\.0 s$/);
});

Deno.test("progress of fit counts no epoch behind the last, and none where their number is not known", async () => {
  const lines = await printed(async () => {
    await fitProgress().end({ ...halfway, epoch: 4, stopped: false, error: null });
    await fitProgress().end({ ...halfway, epochs: null, steps: 50, stopped: false, error: null });
  });
  assertStringIncludes(lines[0], "epoch 4/4");
  assertMatch(lines[1], /50\/50 {2}loss/);
});

Deno.test("progress of fit says that the loop was stopped, or what went wrong", async () => {
  const lines = await printed(async () => {
    await fitProgress().end({ ...halfway, stopped: true, error: null });
    await fitProgress().end({ ...halfway, stopped: false, error: new RangeError("no batches") });
  });
  assertMatch(lines[0], /5\.0 s {2}stopped$/);
  assertMatch(lines[1], /5\.0 s {2}RangeError: no batches$/);
});

Deno.test("an evaluation named loss is not a point of the curve", async () => {
  const lines = await printed(async () => {
    await fitProgress().end({ ...halfway, values: { loss: 9, accuracy: 0.75 }, stopped: false, error: null });
  });
  assertStringIncludes(lines[0], "loss 0.5  rate 0.1  evaluated loss 9  accuracy 0.75");
});

Deno.test("the numbers of the axis of the live curve have room", () => {
  const svg = liveSvg(undefined, "", { loss: { x: [1, 2], y: [-0.000102, -0.0000102] } });
  const [, left] = /<text x="([\d.]+)"[^>]*text-anchor="end"[^>]*>−0\.000102</.exec(svg)!;
  assert(Number(left) >= 6 * "−0.000102".length, left);
});

const curves = (steps: number) => {
  const x = Array.from({ length: steps }, (_, i) => i + 1);
  return {
    loss: { x, y: x.map((i) => 1 / i) },
    norm: { x, y: x.map((i) => i === 40 ? 30 : i === 60 ? NaN : 1 + 0.1 * Math.sin(i)) },
    rate: { x, y: x.map((i) => 1e-3 * Math.min(1, i / 20)) },
    clip: 2,
  };
};

Deno.test("a training shows loss, gradient norms with clip and spikes, and a learning rate that changes", async () => {
  const live = liveSvg("T", "step 99", curves(99));
  assertStringIncludes(live, "gradient norm, clipped to 2");
  assertStringIncludes(live, "learning rate");
  assertEquals(live.match(/<circle/g)?.length, 2);
  const { data } = await trainingFigure("T", "99 steps", curves(99)).present();
  const spec = JSON.stringify(data["application/vnd.vegalite.v5+json"]);
  assertStringIncludes(spec, "gradient norm, clipped to 2, 2 spikes");
  assertStringIncludes(spec, "strokeDash");
  assertStringIncludes(String(data["image/svg+xml"]), "<svg");
  const plain = curves(99), constant = { ...plain.rate, y: plain.rate.y.map(() => 0.1) };
  assert(!liveSvg("T", "", { loss: plain.loss, rate: constant }).includes("learning rate"));
});

Deno.test("a spike is several times the median of the norms before, or not finite", () => {
  assertEquals(spikes([1, 1, 1, 1, 1, 9, 1, Infinity, 1, 2]), [5, 7]);
  assertEquals(spikes([9, 1, 1]), []);
});

Deno.test("a curve that is full joins neighbours, and one of norms keeps its spikes", () => {
  const mean = new Curve(), largest = new Curve("largest");
  for (let i = 1; i <= 5000; i++) {
    mean.add(i, i);
    largest.add(i, i === 2500 ? 100 : 1);
  }
  assert(mean.y.length < 1000 && largest.y.includes(100));
  mean.x.forEach((step, i) => assert(Math.abs(mean.y[i] - step) < 8, `${step} ${mean.y[i]}`));
});

Deno.test("a figure has no layer without points, and a domain where nothing is finite", async () => {
  const curve = (values: number[]): Curve => {
    const c = new Curve();
    values.forEach((v, i) => c.add(i + 1, v));
    return c;
  };
  const spec = async (loss: number[], norm: number[]): Promise<string> => {
    const curves = { loss: curve(loss), norm: curve(norm), rate: new Curve(), clip: 1 };
    return JSON.stringify(
      (await trainingFigure("T", "s", curves).present()).data["application/vnd.vegalite.v5+json"],
    );
  };
  const one = await spec(Array(40).fill(1), Array.from({ length: 40 }, (_, i) => i === 30 ? 50 : 1));
  assertStringIncludes(one, "datum.spike === true");
  assert(!one.includes("isValid(datum.stray)"));
  const none = await spec([NaN, NaN], [NaN, NaN]);
  assert(!none.includes("datum.spike === true"));
  assertStringIncludes(none, '"domain":[0,1]');
  assertStringIncludes(none, '"domain":[1,10]');
});

Deno.test("a live status that is longer than a line goes on in the next, between its parts", () => {
  const curves = { loss: new Curve(), norm: new Curve(), rate: new Curve() };
  const parts = Array.from({ length: 14 }, (_, i) => `reading ${i}`);
  const svg = liveSvg("title", parts.join(" · "), curves);
  const lines = [...svg.matchAll(/>([^<>]*reading[^<>]*)</g)].map(([, line]) => line);
  assertEquals(lines.join(" · ").split(" · "), ["title", ...parts]);
  assert(lines.length === 3 && lines.every((line) => line.length <= 80), lines.join("\n"));
});
