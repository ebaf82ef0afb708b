import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { displayHook } from "../../display/bundle.ts";
import { table } from "../../display/table.ts";
import { tensor } from "../../mod.ts";

Deno.test("a table of records aligns numbers to the right and text to the left", () => {
  const rows = [{ op: "matmul", ms: 1.5 }, { op: "add", ms: 100, note: "slow" }];
  assertEquals(
    table(rows, { title: "Costs" }).text(),
    `Costs
op       ms  note
──────  ───  ────
matmul  1.5
add     100  slow`,
  );
});

Deno.test("a table of arrays needs no columns", () => {
  assertEquals(table([[1, "a"], [22, "b"]]).text(), " 1  a\n22  b");
  assertEquals(table([]).text(), "(an empty table)");
});

Deno.test("cells, columns and titles of a table are escaped", async () => {
  const evil = `<img src=x onerror="alert(1)">`;
  const html = String((await table([{ [evil]: evil }], { title: evil })[displayHook]())["text/html"]);
  assert(!html.includes("<img"));
  assertStringIncludes(html, "&lt;img");
});

Deno.test("a long table keeps its first and last rows and says how many are left out", () => {
  const text = table(Array.from({ length: 1000 }, (_, i) => [i])).text();
  assertStringIncludes(text, "… 940 more");
  assertStringIncludes(text, "999");
});

Deno.test("numbers of a table can be pasted in a terminal and are typeset in a notebook", async () => {
  const drawing = table([[-1.5e-7, Infinity, "a − b"]]);
  assertEquals(drawing.text(), "-1.5e-7  Infinity  a − b");
  assertStringIncludes(String((await drawing[displayHook]())["text/html"]), "−1.5e−7");
});

Deno.test("a table says what it takes", () => {
  // deno-lint-ignore no-explicit-any
  const wrong = (rows: any, text: string) => assertThrows(() => table(rows), TypeError, text);
  wrong({ a: 1 }, "Cannot make a table of an object: it takes an array of rows, as in table([row])");
  wrong(tensor([[1]]), "table(await x.toArray())");
  wrong([1, 2], "row 0 is a number");
});
