/** Stop on a real kernel: loops of every kind end, their state is kept, and the next cell runs. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { ensureJupyter, python } from "../../tasks/jupyter.ts";
import { root, run } from "../../tasks/process.ts";

interface Cell {
  source: string;
  /** When Stop is pressed: seconds after the cell's first output. */
  stops?: number[];
}

interface Ran {
  /** Messages of the kernel. */
  outputs: [type: string, content: { text?: string; ename?: string; data?: Record<string, string> }][];
  end: "over" | "died" | "never";
  seconds?: number;
}

async function runCells(name: string, cells: Cell[]): Promise<Ran[]> {
  const folder = join(root, "out/test-notebooks");
  await Deno.mkdir(folder, { recursive: true });
  const path = join(folder, `${name}.json`);
  await Deno.writeTextFile(path, JSON.stringify(cells));
  const env = { ...await ensureJupyter(), COTANGENT_DEVICE: "host" };
  const { code, stdout, output } = await run(python, [join(root, "tests/notebooks/run_cells.py"), path], {
    env,
  });
  assertEquals(code, 0, output);
  return JSON.parse(stdout);
}

const textOf = ({ outputs }: Ran) => outputs.map(([, { text = "" }]) => text).join("");
const errorsOf = ({ outputs }: Ran) =>
  outputs.filter(([type]) => type === "error").map(([, { ename }]) => ename);

const setUp = `
import { fit, interruptSignal, Linear, mseLoss, ones, randn, SGD, show, tensor } from "@cotangent/cotangent";
const model = new Linear(3, 1), optimizer = new SGD(model, { lr: 0.01 }), x = randn([8, 3]), y = ones([8, 1]);
let steps = 0;
function step() {
  optimizer.zeroGrad();
  const loss = mseLoss(model.call(x), y);
  loss.backward();
  optimizer.step();
  steps++;
  return loss;
}
void 0;`;

/** What must work after Stop: the state is there and finite, steps go on, and the signal is fresh. */
const goOn = `
const before = steps;
await step().item();
console.log(before > 0, steps === before + 1, await model.weight.isfinite().all().item() === 1, interruptSignal().aborted);
steps = 0;
void 0;`.replaceAll("const before", "var before");

const loops: { what: string; source: string; error: string[]; says?: string }[] = [
  {
    what: "PyTorch's, with item()",
    source: `for (;;) await step().item();`,
    error: ["AbortError"],
  },
  {
    what: "one that looks at interruptSignal()",
    source: `while (!interruptSignal().aborted) await step().item();\nconsole.log("ended");`,
    error: [],
    says: "ended",
  },
  { what: "a synchronous one", source: `for (;;) step();`, error: ["AbortError"] },
  {
    what: "a synchronous one that looks at interruptSignal()",
    source: `while (!interruptSignal().aborted) step();\nconsole.log("ended");`,
    error: [],
    says: "ended",
  },
  {
    what: "a synchronous one that asked for the signal and never looks",
    source: `interruptSignal();\nfor (;;) step();`,
    error: ["AbortError"],
  },
  {
    what: "fit",
    source: `
var report = await fit(model, {
  loader: { *[Symbol.iterator]() { for (;;) yield { x, y }; } },
  loss: (model, { x, y }) => mseLoss(model.call(x), y),
  optimizer,
  onStep: () => void steps++,
});
console.log(report.stopped, report.steps === steps, Number.isFinite(report.loss));`,
    error: [],
    says: "true true true",
  },
];

Deno.test("Stop ends loops of every kind, keeps their state, and the next cell runs", async () => {
  const [, ...ran] = await runCells("stop-loops", [
    { source: setUp },
    ...loops.flatMap(({ source }): Cell[] => [
      { source: `console.log("running");\n${source}`, stops: [0.7] },
      { source: goOn },
    ]),
  ]);
  loops.forEach(({ what, error, says = "" }, i) => {
    const [loop, after] = [ran[2 * i], ran[2 * i + 1]];
    assertEquals([loop.end, ...errorsOf(loop)], ["over", ...error], what);
    assert(loop.seconds! < 4, `${what} took ${loop.seconds} s`);
    assertStringIncludes(textOf(loop), says, what);
    assertEquals([after.end, textOf(after)], ["over", "true true true false\n"], what);
  });
});

Deno.test("Stop says so where it does not end a cell, and the third one ends the kernel", async () => {
  const [, slow, idle, caught, hung] = await runCells("stop-hung", [
    { source: setUp },
    {
      source: `console.log("running");\nawait new Promise((r) => setTimeout(r, 2000));\n"over"`,
      stops: [0.2],
    },
    { source: `console.log(await step().item() > 0, interruptSignal().aborted);` },
    {
      // Whoever catches the error goes on, and can be stopped again.
      source: `
console.log("running");
for (let i = 0; i < 2; i++) {
  try {
    for (;;) await step().item();
  } catch (error) {
    console.log("caught", error.name);
    await new Promise((r) => setTimeout(r, 1500));
  }
}`,
      stops: [0.3, 2.5],
    },
    { source: `console.log("running");\nawait new Promise(() => {});`, stops: [0.2, 1.8, 2.2] },
  ]);
  assertEquals(slow.end, "over");
  assertEquals(textOf(slow).split("Stopping, but the cell still runs").length, 2, textOf(slow));
  assertEquals(textOf(idle), "true false\n");
  assertEquals([caught.end, textOf(caught)], ["over", "running\ncaught AbortError\ncaught AbortError\n"]);
  assertEquals(hung.end, "died");
  assertStringIncludes(textOf(hung), "Stop again to end the kernel");
});

Deno.test("one more press ends an evaluation that fit waits for, and says so", async () => {
  const [, evaluating, after] = await runCells("stop-evaluation", [
    { source: setUp },
    {
      source: `
console.log("running");
await fit(model, {
  loader: [{ x, y }],
  loss: (model, { x, y }) => mseLoss(model.call(x), y),
  optimizer,
  onStep: () => void steps++,
  evaluate: async (model) => {
    for (;;) await mseLoss(model.call(x), y).item();
  },
});`,
      stops: [0.5, 2],
    },
    { source: `console.log(model.training);` + goOn },
  ]);
  assertEquals([evaluating.end, ...errorsOf(evaluating)], ["over", "AbortError"]);
  assertStringIncludes(textOf(evaluating), "One more press ends it at its next read or step");
  assertEquals(textOf(after), "true\ntrue true true false\n");
});

Deno.test("results of trees are computed, and show without await has no result", async () => {
  const [, tree, shown] = await runCells("stop-results", [
    { source: setUp },
    { source: `({ layer: { w: tensor([1, 2]).mul(2) }, rows: [[tensor(5).add(1)]] })` },
    { source: `show(tensor([3]).add(4))` },
  ]);
  const [[type, { data }]] = tree.outputs;
  assertEquals([tree.outputs.length, type], [1, "execute_result"]);
  assertStringIncludes(data!["text/plain"], "[2  4]");
  assert(!data!["text/plain"].includes("not computed"));
  assertEquals(shown.outputs.map(([type]) => type), ["display_data"]);
});
