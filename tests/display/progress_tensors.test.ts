/** Progress of loops by hand, whose readings are tensors: read seldom, together, without their graphs, and never a failure. */
import { assert, assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import { clipGradNorm, defaultDevice, SGD, tensor, tidy, trainingProgress } from "../../mod.ts";
import { type Engine, engineOf, flush, setEngine } from "../../ops/runs.ts";
import { testEach } from "../support/engines.ts";

/** What `action` prints; on a terminal every line as it is rewritten. */
async function printed(action: () => Promise<void>, isTerminal = false): Promise<string[]> {
  const { log } = console, { stdout, consoleSize } = Deno, kept = { ...stdout }, lines: string[] = [];
  console.log = (line: string) => void lines.push(line);
  Deno.consoleSize = () => ({ columns: 200, rows: 40 });
  Object.assign(stdout, {
    isTerminal: () => isTerminal,
    writeSync: (bytes: Uint8Array) => (lines.push(new TextDecoder().decode(bytes)), bytes.length),
  });
  try {
    await action();
  } finally {
    console.log = log;
    Deno.consoleSize = consoleSize;
    for (const name of ["isTerminal", "writeSync"]) Reflect.deleteProperty(stdout, name);
    Object.assign(stdout, kept);
  }
  return lines;
}

type Read = Engine["read"];

/** Runs `action` while `read` stands between it and the default device. */
async function through(
  read: (values: Parameters<Read>[0], own: Read) => ReturnType<Read>,
  action: () => Promise<void>,
) {
  const engine = engineOf(defaultDevice());
  setEngine(
    new Proxy(engine, {
      get(target, name) {
        if (name === "read") return (values: Parameters<Read>[0]) => read(values, (v) => target.read(v));
        const value = Reflect.get(target, name, target);
        return typeof value === "function" ? value.bind(target) : value;
      },
    }),
  );
  try {
    await action();
  } finally {
    setEngine(engine);
  }
}

/** Counts the values of each read into `sizes`. */
const counting = (sizes: number[]) => (values: Parameters<Read>[0], own: Read) => {
  sizes.push(values.length);
  return own(values);
};

const turn = (): Promise<void> => new Promise((done) => setImmediate(done));

testEach("a loop that shows tensors reads at most twice a second, all of them at once", async () => {
  const w = tensor([1, -2, 3], { requiresGrad: true }), optimizer = new SGD([w], { lr: 1e-5 });
  const reads: number[] = [], begun = performance.now();
  let taken = 0;
  const loop = async () => {
    const progress = trainingProgress({ clip: 5 });
    while (performance.now() - begun < 1300) {
      optimizer.zeroGrad();
      const loss = w.square().sum();
      loss.backward();
      const gradNorm = clipGradNorm([w], 5);
      optimizer.step();
      progress.update({ loss, gradNorm, rate: 0.01 });
      taken++;
      await turn();
    }
    await progress.end();
  };
  const lines = await printed(() => through(counting(reads), loop), true);
  assert(reads.length >= 2, `${reads.length} reads`);
  assert(reads.length <= 1 + Math.floor((performance.now() - begun) / 500), `${reads.length} reads`);
  assert(reads[0] > 2 && reads.every((n) => n % 2 === 0), `${reads} values at once`);
  assertStringIncludes(lines[0], "step 1"); // something is there at once
  assert(
    lines.slice(0, -2).some((line) => /loss [\d.]+ {2}gradient norm [\d.]+ {2}rate 0\.01/.test(line)),
    lines.join("\n"),
  );
  assertMatch(
    lines.at(-1)!,
    new RegExp(`step ${taken.toLocaleString("en-US")}  loss .*gradient norm .*rate 0\\.01`),
  );
});

testEach(
  "many steps that never yield are read once, the last of each name is shown, and the curve is of all",
  async ({ name }) => {
    const x = tensor(2, { requiresGrad: true }), total = name === "host" ? 100_000 : 5_000;
    const reads: number[] = [];
    const lines = await printed(() =>
      through(counting(reads), async () => {
        const progress = trainingProgress();
        for (let step = 1; step <= total; step++) {
          progress.update({ step, loss: x.mul(step) });
          if (step === 50) progress.update({ step, accuracy: tensor(0.75) });
        }
        await progress.end();
      })
    );
    assertEquals(reads.length, 1);
    assert(reads[0] > 250 && reads[0] <= 1025, `${reads[0]} values`);
    assertEquals(/[▁-█]+/.exec(lines[0])![0], "▁▁▁▂▂▃▃▃▄▄▅▅▆▆▆▇▇███");
    assertStringIncludes(lines[0], `accuracy 0.75`);
    assertStringIncludes(lines[0], `loss ${(2 * total).toLocaleString("en-US")}`);
  },
);

testEach("tensors and numbers are shown in the order of their steps, and null is nothing", async () => {
  const lines = await printed(async () => {
    const progress = trainingProgress();
    progress.update({ loss: tensor(4), gradNorm: null });
    progress.update({ loss: 3 });
    progress.update({ loss: tensor([2]), epoch: 1 });
    progress.update({ loss: 1, accuracy: tensor(true) });
    await progress.end();
  });
  assertMatch(lines[0], /^█▆▃▁ {2}step 4 {2}epoch 1 {2}loss 1 {2}accuracy 1 {2}/);
});

testEach("a loss that is not finite is marked, with its step", async () => {
  const lines = await printed(async () => {
    const progress = trainingProgress();
    for (const y of [1, 2, 0, 0]) progress.update({ loss: tensor(1).div(y) });
    progress.update({ loss: tensor(0).div(0), gradNorm: tensor(Infinity) });
    await progress.end();
  });
  assertMatch(lines[0], /×.*loss NaN {2}loss not finite at step 3 {2}gradient norm Infinity/);
});

testEach("a reading that was disposed of is said and left out, and takes no other along", async () => {
  const lines = await printed(async () => {
    const progress = trainingProgress(), losses = [3, 2, 1].map((y) => tensor(y));
    for (const loss of losses) progress.update({ loss, accuracy: tensor(0.5) });
    losses[2].dispose();
    await progress.end();
  });
  assert(!lines[0].includes("loss 2"), lines[0]);
  assertMatch(
    lines[0],
    /^█▁ {2}step 3 {2}accuracy 0\.5 .*1 reading not to be had: Cannot use a tensor after dispose/,
  );
});

testEach("what is shown inside tidy outlives it", async () => {
  const lines = await printed(async () => {
    const progress = trainingProgress(), x = tensor([1, 2]);
    for (let i = 0; i < 3; i++) tidy(() => progress.update({ loss: x.mul(2).sum() }));
    await progress.end();
  });
  assertStringIncludes(lines[0], "loss 6");
});

testEach("a device that fails is told of, and nothing is thrown", async () => {
  const lines = await printed(() =>
    through(() => Promise.reject(new Error("the device is gone")), async () => {
      const progress = trainingProgress({ title: "Fit" });
      for (let i = 0; i < 3; i++) progress.update({ loss: tensor(i) });
      await progress.end();
    })
  );
  assertMatch(lines[0], /^Fit {2}step 3 .*3 readings not to be had: the device is gone/);
});

testEach("a step that failed is shown, and its error still reaches the loop", async ({ engine }) => {
  const w = tensor([1, 2]),
    failing = new Proxy(engine!, {
      get(target, name) {
        if (name === "run") throw new Error("no memory");
        const value = Reflect.get(target, name, target);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
  flush();
  const lines = await printed(async () => {
    const progress = trainingProgress();
    setEngine(failing);
    try {
      const next = w.mul(2);
      w.assign(next);
      progress.update({ loss: next.sum() });
      await progress.end();
    } finally {
      setEngine(engine!);
    }
  });
  assertStringIncludes(lines[0], "1 reading not to be had: no memory");
  assertThrows(() => w.assign(tensor([3, 4])), Error, "no memory");
  assertEquals(await w.toArray(), [1, 2]);
});
