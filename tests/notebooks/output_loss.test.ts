/** Counts the outputs of many cells that arrive: all of them in our runner, and with the package in others as well. */

import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { ensureJupyter, python } from "../../tasks/jupyter.ts";
import { execute } from "../../tasks/notebook.ts";
import { root, run } from "../../tasks/process.ts";
import { plainTexts, readOutputs, streamText, writeNotebook } from "./notebooks.ts";

const MOST_LOST = 1 / 10_000;

const packageCell = 'import "@cotangent/cotangent";';
const stockCell = "void 0;";

/** One cell and what must be there after it: lines of the streams, last states of displays, the result. */
interface Expectation {
  source: string;
  stdout: string[];
  stderr: string[];
  displays: string[];
  results: string[];
}

function cell(index: number): Expectation {
  const id = `cell ${index}`;
  const nothing = { stdout: [], stderr: [], displays: [], results: [`"${id}"`] };
  switch (index % 4) {
    case 0:
      return {
        ...nothing,
        source: `for (let i = 0; i < 10; i++) console.log("${id} line " + i);\n"${id}"`,
        stdout: Array.from({ length: 10 }, (_, line) => `${id} line ${line}`),
      };
    case 1:
      return {
        ...nothing,
        source: `
for (let i = 0; i < 4; i++) {
  const bundle = { "image/svg+xml": "<svg xmlns='http://www.w3.org/2000/svg'/>", "text/plain": "${id} chart " + i };
  await Deno.jupyter.display(bundle, { raw: true, display_id: "${id}", update: i > 0 });
}
"${id}"`,
        displays: [`${id} chart 3`],
      };
    case 2:
      return { ...nothing, source: `"${id}"` };
    default:
      return {
        ...nothing,
        source: `console.log("${id} out"); console.error("${id} error"); "${id}"`,
        stdout: [`${id} out`],
        stderr: [`${id} error`],
      };
  }
}

interface Loss {
  expected: number;
  missing: string[];
  seconds: number;
}

async function loss(expectations: Expectation[], executed: string, seconds: number): Promise<Loss> {
  const [, ...outputs] = await readOutputs(executed);
  let expected = 0;
  const missing: string[] = [];
  expectations.forEach(({ stdout, stderr, displays, results }, index) => {
    const compare = (wanted: string[], arrived: string[]) => {
      expected += wanted.length;
      missing.push(...wanted.filter((text) => !arrived.includes(text)));
    };
    // deno-lint-ignore no-control-regex
    const plain = (text: string) => text.replace(/\x1b\[\d+m/g, "");
    compare(stdout, streamText(outputs[index]).split("\n"));
    compare(stderr, streamText(outputs[index], "stderr").split("\n"));
    compare(displays, plainTexts(outputs[index], "display_data"));
    compare(results, plainTexts(outputs[index], "execute_result").map(plain));
  });
  return { expected, missing, seconds };
}

type RunnerName = "our runner" | "nbclient";

async function measure(runner: RunnerName, first: string, cells: number): Promise<Loss> {
  const expectations = Array.from({ length: cells }, (_, index) => cell(index));
  const name = `loss-${runner.replace(" ", "-")}-${first === stockCell ? "stock" : "package"}`;
  const path = await writeNotebook(name, [first, ...expectations.map(({ source }) => source)]);
  const output = path.replace(".ipynb", ".executed.ipynb");
  const env = { COTANGENT_DEVICE: "host" };
  const { code, output: report, seconds } = runner === "our runner"
    ? await execute(path, { output, quiet: true, env })
    : await run(python, [join(root, "tests/notebooks/nbclient_run.py"), path, output], {
      env: { ...await ensureJupyter(), ...env },
    });
  assertEquals(code, 0, report);
  return await loss(expectations, output, seconds);
}

function report(what: string, { expected, missing, seconds }: Loss): void {
  const rate = (100 * missing.length / expected).toFixed(2);
  console.log(
    `${what}: lost ${missing.length} of ${expected} outputs (${rate} %) in ${seconds.toFixed(0)} s`,
  );
}

/** Runs `body` while every core spins. */
async function withBusyCores<T>(body: () => Promise<T>): Promise<T> {
  // The bound is for the case that this process dies without killing them.
  const spin = "const end = Date.now() + 180_000; while (Date.now() < end);";
  const spinners = Array.from(
    { length: navigator.hardwareConcurrency },
    () => new Deno.Command(Deno.execPath(), { args: ["eval", "--no-config", spin] }).spawn(),
  );
  try {
    return await body();
  } finally {
    for (const spinner of spinners) spinner.kill("SIGKILL");
    await Promise.all(spinners.map((spinner) => spinner.status));
  }
}

Deno.test("our runner loses no output of 1,000 cells", async () => {
  const found = await measure("our runner", packageCell, 1000);
  report("our runner, package imported", found);
  assertEquals(found.missing, []);
});

Deno.test("our runner loses no output of a kernel without the package", async () => {
  const found = await measure("our runner", stockCell, 200);
  report("our runner, stock kernel", found);
  assertEquals(found.missing, []);
});

Deno.test("nbclient loses at most 1 output in 10,000 where the package is imported", async () => {
  const stock = await measure("nbclient", stockCell, 200);
  report("nbclient, stock kernel", stock);
  const found = await measure("nbclient", packageCell, 1000);
  report("nbclient, package imported", found);
  assert(
    found.missing.length <= MOST_LOST * found.expected,
    `Lost: ${found.missing.slice(0, 20).join(", ")}`,
  );
});

Deno.test("no output is lost while all cores are busy", async () => {
  const [ours, others] = await withBusyCores(async () => [
    await measure("our runner", packageCell, 300),
    await measure("nbclient", packageCell, 300),
  ]);
  report("our runner, package imported, cores busy", ours);
  report("nbclient, package imported, cores busy", others);
  assertEquals(ours.missing, []);
  assert(
    others.missing.length <= MOST_LOST * others.expected,
    `Lost: ${others.missing.slice(0, 20).join(", ")}`,
  );
});
