/** docs/migration.md holds to the public API, to docs/ops.md and to PyTorch's names that the OpInfo tests map. */
import { assertEquals } from "@std/assert";
import * as cotangent from "../../mod.ts";
import * as testing from "../../ops/testing.ts";
import { mapping } from "../opinfo/mapping.ts";

const page = (name: string): Promise<string> =>
  Deno.readTextFile(new URL(`../../docs/${name}`, import.meta.url));

interface Row {
  readonly torch: string;
  /** Code of ours, a call each. */
  readonly ours: readonly string[];
}

async function rows(): Promise<Row[]> {
  const text = await page("migration.md");
  const cells = text.split("\n").filter((line) => /^\| (?!---|PyTorch)/.test(line))
    .map((line) => line.split("|").slice(1, -1).map((cell) => cell.trim()));
  for (const row of cells) assertEquals(row.length, 5, `five columns in | ${row.join(" | ")} |`);
  return cells.map(([torch, , , ours]) => ({
    torch,
    ours: [...ours.matchAll(/`([^`]+)`/g)].map(([, code]) => code.replace(/^(await|new) /, "")),
  }));
}

/** What a name before a dot stands for in code of ours. */
const receivers: Record<string, object> = {
  x: cotangent.Tensor.prototype,
  loss: cotangent.Tensor.prototype,
  model: cotangent.Module.prototype,
  optimizer: cotangent.Optimizer.prototype,
};
const exported: Record<string, unknown> = { ...testing, ...cotangent };

/** The name that code of ours begins with: `x.sum`, `linalg.inv`, `cat`. */
const nameOf = (code: string): string => /^[\w.]+/.exec(code)?.[0] ?? code;

function exists(name: string): boolean {
  const [first, second, ...more] = name.split(".");
  if (more.length > 0) return false;
  if (second === undefined) return first in exported;
  const owner = receivers[first] ?? exported[first];
  return typeof owner === "object" && owner !== null && second in owner;
}

Deno.test("every name of ours in docs/migration.md is public", async () => {
  const codes = (await rows()).flatMap((row) => row.ours);
  const chained = codes.flatMap((code) =>
    [...code.matchAll(/(?<=\))\.(\w+)\(/g)].map(([, name]) => `x.${name}`)
  );
  const wrong = [...codes.map(nameOf), ...chained].filter((name) => !exists(name));
  assertEquals(wrong, []);
});

Deno.test("every public op of docs/ops.md has a row in docs/migration.md", async () => {
  const [ops] = (await page("ops.md")).split("\n## Inside others");
  const calls = new Set([...ops.matchAll(/^\| `([\w.]+)\(/gm)].map(([, name]) => name));
  const named = new Set((await rows()).flatMap((row) => row.ours.map(nameOf)));
  assertEquals([...calls].filter((name) => !named.has(name)), []);
});

/** Names of the OpInfo tests that the table leaves out, with the reason. */
const OTHERWISE: readonly [string, RegExp][] = [
  ["operators of Python", /^__\w+__$/],
  ["the same with a copy, which is no difference here", /_copy$/],
  ["without a check, which is no difference here", /^unsafe_/],
  ["the same with the type of another tensor", /^new_|^scalar_tensor$/],
];

Deno.test("PyTorch's names that the OpInfo tests map are in docs/migration.md", async () => {
  const words = new Set((await rows()).flatMap((row) => row.torch.match(/\w+/g) ?? []));
  const missing = Object.keys(mapping).map((name) => name.split("/")[0].split(".").at(-1)!)
    .filter((name) => !words.has(name) && !OTHERWISE.some(([, which]) => which.test(name)));
  assertEquals([...new Set(missing)], []);
});
