/** The module that stands for a notebook when its cells are type-checked. */

import { assertEquals, assertMatch } from "@std/assert";
import { notebookModule } from "../../tasks/notebook_code.ts";

const code = (...sources: string[]) =>
  notebookModule(sources.map((source) => ({ cell_type: "code", source })));

/** The lines that say something. */
const lines = (text: string) =>
  text.split("\n").filter((line) => line && line !== ";" && line !== "export {};");

Deno.test("imports go to the top, and a name that two cells import is imported once", () => {
  const { text } = code(
    `import { a, b } from "x";\na;`,
    `import {\n  b,\n  c,\n} from "x";\nimport * as d from "y";\nb;`,
    `import * as d from "y";\nc;`,
  );
  assertEquals(lines(text), [
    `import { a, b } from "x";`,
    `import { c } from "x";`,
    `import * as d from "y";`,
    "a;",
    "b;",
    "c;",
  ]);
});

Deno.test("a name that is declared anew opens a scope that lasts to the end", () => {
  const { text } = code("const a = 1;", "const b = a;", `const a = "s";`, "a;");
  assertEquals(lines(text), ["const a = 1;", "const b = a;", "{", `const a = "s";`, "a;", "}"]);
});

Deno.test("names in patterns, functions, classes and types count as declared", () => {
  const declares = (source: string, name: string) =>
    code(source, `const ${name} = 1;`).text.includes("\n{\n");
  assertEquals(declares("const { a, b: c, ...d } = x;", "c"), true);
  assertEquals(declares("const { a, b: c, ...d } = x;", "d"), true);
  assertEquals(declares("const { a, b: c, ...d } = x;", "b"), false);
  assertEquals(declares("const [\n  first,\n  second = 2,\n] = x;", "second"), true);
  assertEquals(declares("async function f() {\n  const inner = 1;\n}", "f"), true);
  assertEquals(declares("async function f() {\n  const inner = 1;\n}", "inner"), false);
  assertEquals(declares("class A {}", "A"), true);
  assertEquals(declares("type T = 1;", "T"), true);
});

Deno.test("each line knows the cell and the line that it comes from", () => {
  const { text, origins } = code(`import { a } from "x";\na;`, "const a = 1;\nconst b = 2;");
  const all = text.split("\n");
  const originOf = (line: string) => origins.get(all.indexOf(line) + 1);
  assertEquals(originOf(`import { a } from "x";`), { cell: 1, line: 1 });
  assertEquals(originOf("a;"), { cell: 1, line: 2 });
  assertEquals(originOf("const b = 2;"), { cell: 2, line: 2 });
});

Deno.test("text in markdown and empty cells is left out", () => {
  const { text, origins } = notebookModule([
    { cell_type: "markdown", source: "const x = ;" },
    { cell_type: "code", source: [] },
    { cell_type: "code", source: ["let y = 1;\n", "y;"] },
  ]);
  assertMatch(text, /^let y = 1;\ny;/);
  assertEquals(origins.get(2), { cell: 1, line: 2 });
});
