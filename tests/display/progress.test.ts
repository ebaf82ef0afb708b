import { assertEquals, assertMatch } from "@std/assert";
import { trainingProgress } from "../../display/progress.ts";
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
  assertMatch(lines[0], /step 100,000 {2}loss 4\.54e−5/);
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
