import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { fitProgress } from "../../display/fit_progress.ts";
import { liveSvg, trainingProgress } from "../../display/progress.ts";
import type { ProgressInfo } from "../../nn/progress.ts";
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
  const svg = liveSvg(undefined, "", { x: [1, 2], y: [-0.000102, -0.0000102] });
  const [, left] = /<text x="([\d.]+)"[^>]*text-anchor="end"[^>]*>−0\.000102</.exec(svg)!;
  assert(Number(left) >= 6 * "−0.000102".length, left);
});
