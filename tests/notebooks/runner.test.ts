/** The notebook runner: what it stores, and that it names the cell which did not do what it should. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { execute } from "../../tasks/notebook.ts";
import { type CodeCell, plainTexts, readOutputs, streamText, writeNotebook } from "./notebooks.ts";

async function runCells(name: string, cells: (string | CodeCell)[], timeout = 60) {
  const path = await writeNotebook(name, cells);
  const output = path.replace(".ipynb", ".executed.ipynb");
  const { code, output: report } = await execute(path, { output, timeout });
  return { code, report, outputs: await readOutputs(output) };
}

const update = (state: string, isUpdate: boolean) =>
  `await Deno.jupyter.display({ "text/plain": "${state}" }, { raw: true, display_id: "d", update: ${isUpdate} });`;

Deno.test("the runner keeps streams, results and the last state of displays, also where a later cell changes it", async () => {
  const { code, report, outputs } = await runCells("runner-keeps", [
    `${update("first", false)} ${update("second", true)}`,
    `for (let i = 0; i < 3000; i++) console.log(i);`,
    `${update("third", true)}\n"over"`,
    `setTimeout(() => console.log("late"), 100);\nvoid 0;`,
  ]);
  assertEquals(code, 0, report);
  assertEquals(plainTexts(outputs[0], "display_data"), ["third"]);
  assertEquals(streamText(outputs[1]), Array.from({ length: 3000 }, (_, i) => `${i}\n`).join(""));
  assertEquals(outputs[2].length, 1);
  assertEquals(streamText(outputs[3]), "late\n");
  assertStringIncludes(report, "[2/4] for (let i = 0; i < 3000; i++) console.log(i);");
  assertStringIncludes(report, "Ran 4 cells with 4 outputs");
});

Deno.test("the runner gives the notebook its profile, its device and its folder", async () => {
  const path = await writeNotebook("runner-profile", [
    `console.log(["QUICK", "DEVICE"].map((name) => Deno.env.get("COTANGENT_" + name)).join());`,
    `console.log(Deno.cwd());`,
  ]);
  const output = path.replace(".ipynb", ".executed.ipynb");
  const { code, output: report } = await execute(path, {
    output,
    quick: true,
    env: { COTANGENT_DEVICE: "host" },
  });
  assertEquals(code, 0, report);
  const [variables, folder] = await readOutputs(output);
  assertEquals(streamText(variables), "1,host\n");
  assertEquals(streamText(folder), `${path.slice(0, path.lastIndexOf("/"))}\n`);
});

const failures: { what: string; source: string; says: string; timeout?: number }[] = [
  { what: "throws", source: `throw new RangeError("wanted");`, says: "RangeError: wanted" },
  { what: "does not parse", source: `const broken = ;`, says: "it does not parse" },
  { what: "ends the kernel", source: `Deno.exit(3);`, says: "the kernel died" },
  {
    what: "never ends",
    source: `await new Promise((resolve) => setTimeout(resolve, 60_000));`,
    says: "no end within 3 s",
    timeout: 3,
  },
  { what: "blocks", source: `while (true);`, says: "no end within 3 s", timeout: 3 },
];

for (const { what, source, says, timeout } of failures) {
  Deno.test(`the runner names a cell that ${what}`, async () => {
    const name = `runner-${what.replaceAll(" ", "-")}`;
    const { code, report } = await runCells(
      name,
      [`"fine"`, `// What follows fails.\n${source}`, `"never"`],
      timeout,
    );
    assertEquals(code, 1);
    assertStringIncludes(report, `Cell 2 failed: ${source}\n  ${says}`);
    assert(!report.includes("[3/3]"), report);
  });
}

Deno.test("the runner names each cell that shows nothing although it should", async () => {
  const silent = {
    get shown() {
      return undefined;
    },
  };
  assertEquals(silent.shown, undefined);
  const { code, report } = await runCells("runner-silent", [
    `const nothing = undefined;\nnothing`,
    `const show = () => {};\nshow(\n  1,\n);`,
    { source: `"text only"`, metadata: { expects: ["text/plain", "image/svg+xml"] } },
    { source: `console.log("a");`, metadata: { expects: ["stream"] } },
    { source: `throw new Error("on purpose");`, metadata: { tags: ["raises-exception"] } },
    { source: `1;\nvoid 0;`, metadata: { expects: ["error"] } },
    { source: `nothing`, metadata: { expects: [] } },
  ]);
  assertEquals(code, 1);
  const named = [...report.matchAll(/^Cell (\d+) failed: .*\n {2}(.*)$/gm)].map((
    [, cell, reason],
  ) => [cell, reason]);
  assertEquals(named, [
    ["1", "it should show any output and did not"],
    ["2", "it should show any output and did not"],
    ["3", "it should show image/svg+xml and did not"],
    ["6", "it should show error and did not"],
  ]);
});

Deno.test("the runner expects no output of statements that may show none", async () => {
  const cells = [
    `const model = { step() {}, value: 1 };`,
    `model.step();`,
    `await Promise.resolve();`,
    `for (const x of [1]) {\n  x;\n}`,
    "const text = `\nmodel\n`;",
    `const long =\n  1;`,
    `if (true) {\n  model.value;\n}`,
    `// only a comment`,
    `function f() {\n  return 1;\n}`,
    `model.value += 1;\nvoid 0;`,
  ];
  const { code, report } = await runCells("runner-modest", cells);
  assertEquals(code, 0, report);
});
