import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { displayHook } from "../../display/bundle.ts";
import { table } from "../../display/table.ts";

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
