import { assert, assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { answerHooksWith, displayHook, Drawing, type Presentation } from "../../display/bundle.ts";
import { reportFault } from "../../display/kernel/faults.ts";
import { cellEnded } from "../../display/kernel/interrupt.ts";
import { repairOutput } from "../../display/kernel/output.ts";
import type { KernelRuntime } from "../../display/kernel/runtime.ts";
import {
  inKernel,
  interrupt,
  interruptSignal,
  isInterruption,
  repairKernel,
  restoreKernel,
  yieldToEvents,
} from "../../display/kernel.ts";
import { fit, Linear, liveDisplay, mseLoss, parameter, SGD, show, sync, tensor } from "../../mod.ts";

type Message = [type: string, content: unknown];

/** A kernel that notes what it is given; `deno jupyter` itself is tried by the notebook tests. */
function fakeKernel(
  results = true,
): { runtime: KernelRuntime; sent: Message[]; run: (result: unknown) => Promise<void> } {
  const sent: Message[] = [];
  const runtime: KernelRuntime = {
    api: {
      broadcast: (type, { name, text, data }) => sent.push([type, data ?? `${name}: ${text}`]),
      display: (value) => Promise.resolve(void sent.push(["display_data", value])),
    },
    Console: (Deno as unknown as Record<symbol, { Console: KernelRuntime["Console"] }>)[
      (Deno as unknown as { internal: symbol }).internal
    ].Console!,
  };
  if (results) {
    runtime.results = {
      broadcastResult: (_, result) =>
        Promise.resolve(void (result !== undefined && sent.push(["result", result]))),
    };
  }
  return { runtime, sent, run: async (result) => await runtime.results!.broadcastResult(1, result) };
}

/** Runs `cell` with the output of a kernel repaired. */
async function repaired(
  cell: (kernel: ReturnType<typeof fakeKernel>) => Promise<void> | void,
  results = true,
): Promise<Message[]> {
  const kernel = fakeKernel(results);
  const undo = repairOutput(kernel.runtime, () => {});
  try {
    await cell(kernel);
  } finally {
    undo();
  }
  return kernel.sent;
}

/** Does what the kernel does with what a cell threw. */
function reportError(): void {
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = 2; // The kernel's call comes from no file, so these frames must not be seen.
  JSON.stringify({ name: "Error", message: "thrown", stack: "" });
  Error.stackTraceLimit = limit;
}

const drawn = (text: string) => ({ [displayHook]: () => ({ "text/plain": text }) });

Deno.test("outside a kernel the repair changes nothing", () => {
  const before = [console.log, JSON.stringify, globalThis.onerror];
  repairKernel();
  assertEquals(inKernel(), false);
  assertEquals([console.log, JSON.stringify, globalThis.onerror], before);
  restoreKernel();
});

Deno.test("importing and repairing needs no permission and keeps no process alive", async () => {
  const url = new URL("../../display/kernel.ts", import.meta.url).href;
  const code = `import { repairKernel } from ${JSON.stringify(url)}; repairKernel(); console.log("done");`;
  const file = await Deno.makeTempFile({ suffix: ".ts" });
  await Deno.writeTextFile(file, code);
  try {
    const started = performance.now();
    const { success, stdout } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--no-prompt", "--no-lock", file],
    }).output();
    assert(success);
    assertEquals(new TextDecoder().decode(stdout), "done\n");
    assert(performance.now() - started < 20_000);
  } finally {
    await Deno.remove(file);
  }
});

Deno.test("what a cell logs leaves in few messages, before its result", async () => {
  const sent = await repaired(async ({ run }) => {
    for (let i = 0; i < 100; i++) console.log(i);
    await run("result");
  });
  assertEquals(sent[sent.length - 1], ["result", "result"]);
  assert(sent.length <= 5, `${sent.length} messages`);
  const text = sent.slice(0, -1).map(([, text]) => String(text).replace("stdout: ", "")).join("");
  assertEquals(text, Array.from({ length: 100 }, (_, i) => `${i}\n`).join(""));
});

Deno.test("logs, errors and displays keep their order", async () => {
  const sent = await repaired(async ({ run, runtime }) => {
    console.log(1);
    console.error(2);
    await runtime.api.display(3);
    console.log("%s of %d", 4, 5);
    runtime.api.broadcast("display_data", { data: 6 });
    console.warn(7);
    await run(undefined);
  });
  assertEquals(sent, [
    ["stream", "stdout: 1\n"],
    ["stream", "stderr: 2\n"],
    ["display_data", 3],
    ["stream", "stdout: 4 of 5\n"],
    ["display_data", 6],
    ["stream", "stderr: 7\n"],
  ]);
});

Deno.test("the first line after a silence leaves at once, so a hang does not hide it", async () => {
  let first = -1;
  await repaired(({ sent }) => {
    console.log("about to hang");
    first = sent.length;
  });
  assertEquals(first, 1);
});

Deno.test("the first line of a cell leaves at once, however soon after another cell, so a hang does not hide it", async () => {
  await repaired(async ({ run, sent }) => {
    for (const what of ["ends", "throws"]) {
      console.log("first");
      console.log(what);
      if (what === "ends") await run(undefined);
      else reportError();
      console.log(`after one that ${what}`);
      assertEquals(sent.at(-1), ["stream", `stdout: after one that ${what}\n`]);
      await run(undefined);
    }
  });
});

Deno.test("what a cell logs before it throws leaves before the error", async () => {
  let before: Message[] = [];
  await repaired(({ sent }) => {
    for (let i = 0; i < 3; i++) console.log(i);
    assertEquals(sent.length, 1);
    reportError();
    before = [...sent];
  });
  assertEquals(before, [["stream", "stdout: 0\n"], ["stream", "stdout: 1\n2\n"]]);
});

Deno.test("elements of arrays and objects that draw themselves are drawn", async () => {
  const sent = await repaired(async ({ run }) => {
    await run([drawn("a<"), 1]);
    await run({ "<key>": { [displayHook]: () => ({ "image/svg+xml": "<svg/>" }) } });
    await run([1, 2]);
  });
  const [array, ...others] = sent;
  assertEquals(array[0], "execute_result");
  assertStringIncludes(String((array[1] as Record<string, unknown>)["text/html"]), "a&lt;");
  assertEquals(others.map(([type]) => type), ["display_data", "display_data", "result"]);
  assertStringIncludes(JSON.stringify(others[0][1]), "&lt;key&gt;");
});

const dataOf = ([, data]: Message) => data as Record<string, string>;

Deno.test("nested trees of tensors are computed in both forms", async () => {
  const weight = tensor([1, 2]);
  const sent = await repaired(async ({ run }) => {
    await run({ layer1: { w: weight.mul(2), config: { lr: 0.5 } }, rows: [[weight.add(10)]] });
    await run([[weight.add(weight)]]);
  });
  assertEquals(sent.map(([type]) => type), ["execute_result", "execute_result"]);
  const { "text/plain": text, "text/html": html } = dataOf(sent[0]);
  for (const part of ["[2  4]", "[11  12]", "lr: 0.5"]) assertStringIncludes(text, part);
  for (const path of ["layer1.w", "layer1.config", "rows[0][0]"]) assertStringIncludes(html, `>${path}<`);
  assertStringIncludes(dataOf(sent[1])["text/plain"], "[2  4]");
  assert(!JSON.stringify(sent).includes("not computed"));
});

Deno.test("of many tensors all values are in the text, and the first are drawn", async () => {
  const many = Array.from({ length: 200 }, (_, i) => tensor(i).add(0.5));
  const [message] = await repaired(({ run }) => run(Object.fromEntries(many.map((x, i) => [`x${i}`, x]))));
  const { "text/plain": text, "text/html": html } = dataOf(message);
  assert(!text.includes("not computed"), text);
  assertStringIncludes(text, "199.5");
  assertStringIncludes(html, "… and 176 more");
});

Deno.test("a tree that contains itself, or has no drawing, is left to the kernel or drawn once", async () => {
  const loop: Record<string, unknown> = { part: drawn("a") };
  loop.self = loop;
  const plain = { a: [1, { b: 2 }] };
  const sent = await repaired(async ({ run }) => {
    await run(loop);
    await run(plain);
  });
  assertEquals(sent.map(([type]) => type), ["execute_result", "result"]);
  assertEquals(sent[1][1], plain);
});

Deno.test("a promise of show or of a live display is no result of its own", async () => {
  const log = console.log;
  console.log = () => {};
  try {
    const sent = await repaired(async ({ run }) => {
      await run(show("shown"));
      await run(liveDisplay().update("shown"));
      await run(liveDisplay().end("shown"));
    });
    assertEquals(sent.filter(([type]) => type !== "stream"), []);
  } finally {
    console.log = log;
  }
});

Deno.test("shows that nobody awaits come in the order of their calls, also of what shows something itself", async () => {
  const log = console.log, lines: string[] = [];
  console.log = (text: string) => void lines.push(text);
  const slow = (text: string, ms: number) => ({
    [displayHook]: async () => {
      await new Promise((resolve) => setTimeout(resolve, ms));
      return { "text/plain": text };
    },
  });
  const outer = {
    async [displayHook]() {
      await show("inner");
      return { "text/plain": "outer" };
    },
  };
  try {
    show(slow("first", 40));
    show(slow("second", 1), "third");
    await show(outer);
    await show("last");
  } finally {
    console.log = log;
  }
  assertEquals(lines.filter((text) => text !== "inner"), ["first", "second", "third", "outer", "last"]);
  assert(lines.includes("inner"));
});

Deno.test("a result whose hook throws is shown as text", async () => {
  const sent = await repaired(({ run }) =>
    run({
      [displayHook]: () => {
        throw new TypeError("no device");
      },
    })
  );
  assertEquals(sent[0][0], "execute_result");
  assertStringIncludes(JSON.stringify(sent[0][1]), "no device");
});

Deno.test("where the end of a cell cannot be held back, hooks send their drawing themselves", async () => {
  class Word extends Drawing {
    override text(): string {
      return "word";
    }
    protected override render(): Promise<Presentation> {
      return Promise.resolve({ data: { "text/html": "<i>word</i>" } });
    }
  }
  let answer: unknown;
  const sent = await repaired(async () => {
    answer = await new Word()[displayHook]();
  }, false);
  assertEquals(answer, {});
  assertEquals(sent, [["display_data", { "text/html": "<i>word</i>", "text/plain": "word" }]]);
  answerHooksWith(undefined);
  assertEquals(Object.keys(await new Word()[displayHook]()), ["text/html", "text/plain"]);
});

Deno.test("undoing the repair restores console and JSON", async () => {
  const before = [console.log, console.error, console.table, JSON.stringify];
  await repaired(() => assert(console.log !== before[0] && JSON.stringify !== before[3]));
  assertEquals([console.log, console.error, console.table, JSON.stringify], before);
});

Deno.test("a signal stays aborted until the cell ends, and the next cell has its own", () => {
  const first = interruptSignal();
  interrupt();
  interrupt();
  assert(first.aborted && isInterruption(first.reason));
  assertEquals(interruptSignal(), first);
  cellEnded();
  assert(!interruptSignal().aborted);
  cellEnded();
});

Deno.test("after Stop, reads and steps throw until the cell ends, and change nothing", async () => {
  cellEnded();
  const w = parameter(tensor([3, -4]));
  const optimizer = new SGD([w], { lr: 0.1 });
  const loss = w.square().sum();
  loss.backward();
  const before = await w.toArray();
  interrupt();
  assert(isInterruption(assertThrows(() => optimizer.step())));
  for (const read of [() => loss.item(), () => w.data(), () => w.toArray(), sync]) {
    assert(isInterruption(await assertRejects(read)));
  }
  cellEnded();
  assertEquals(await w.toArray(), before);
  optimizer.step();
  assert(await w.square().sum().item() < await loss.item());
});

Deno.test("a read that waits when Stop comes ends too", async () => {
  cellEnded();
  const x = tensor([1, 2]);
  await yieldToEvents();
  const reads = (async () => {
    for (;;) await x.data();
  })();
  setTimeout(interrupt, 20);
  assert(isInterruption(await assertRejects(() => reads)));
  cellEnded();
});

Deno.test("a cell that has asked for the signal ends by itself", async () => {
  cellEnded();
  const w = parameter(tensor(3));
  const optimizer = new SGD([w], { lr: 0.01 });
  let steps = 0;
  while (!interruptSignal().aborted) {
    optimizer.zeroGrad();
    const loss = w.square();
    loss.backward();
    if (++steps === 5) interrupt();
    optimizer.step();
    await loss.item();
  }
  assertEquals(steps, 5);
  cellEnded();
});

Deno.test("fit ends with its report after Stop", async () => {
  cellEnded();
  const model = new Linear(1, 1);
  const x = tensor([[1], [2]]);
  const report = await fit(model, {
    loader: {
      *[Symbol.iterator]() {
        for (;;) yield x;
      },
    },
    loss: (model, x) => mseLoss(model.call(x), x),
    optimizer: new SGD(model, { lr: 0.01 }),
    progress: { signal: interruptSignal(), update() {}, end() {} },
    onStep: ({ step }) => {
      if (step === 7) interrupt();
    },
  });
  assertEquals([report.stopped, report.steps, report.losses.length], [true, 7, 7]);
  cellEnded();
});

Deno.test("yielding lets timers run", async () => {
  let ran = false;
  setTimeout(() => ran = true, 0);
  const deadline = performance.now() + 2000;
  while (!ran && performance.now() < deadline) await yieldToEvents();
  assert(ran);
});

Deno.test("a fault says where it comes from, once", async () => {
  const error = console.error;
  const lines: string[] = [];
  console.error = (text: string) => lines.push(text);
  try {
    const fault = new RangeError("binding too large");
    for (let i = 0; i < 5; i++) reportFault(fault, "WebGPU");
    await new Promise((resolve) => setTimeout(resolve, 1100));
  } finally {
    console.error = error;
  }
  assertEquals(lines.length, 2);
  assertStringIncludes(lines[0], "WebGPU: RangeError: binding too large\n    at ");
  assertEquals(lines[1], "(and 4 more like it)");
});
