/** The order of the rooms, held by reading every import. */
import { assert, assertEquals } from "@std/assert";

/** What each room may import besides itself. */
const MAY: Record<string, string[]> = {
  ops: [],
  gpu: ["ops"],
  nn: ["ops"],
  display: ["ops", "nn"],
};

/** Inside `ops/`: earlier groups never import values from later ones. */
const ROOT = new URL("..", import.meta.url);

function* sources(dir: URL): Generator<URL> {
  for (const entry of Deno.readDirSync(dir)) {
    if (entry.isDirectory) yield* sources(new URL(`${entry.name}/`, dir));
    else if (entry.name.endsWith(".ts")) yield new URL(entry.name, dir);
  }
}

interface Import {
  readonly target: string;
  readonly typeOnly: boolean;
}

function imports(file: URL): Import[] {
  const text = Deno.readTextFileSync(file).replace(/\/\*[\s\S]*?\*\//g, "");
  const found: Import[] = [];
  for (const m of text.matchAll(/^\s*(?:import|export)\s+(type\s+)?([^;]*?\sfrom\s+)?"([^"]+)";/gm)) {
    const names = /\{([^}]*)\}/.exec(m[2] ?? "")?.[1];
    const allTypes = names !== undefined && names.trim() !== "" &&
      names.split(",").every((n) => n.trim() === "" || n.trim().startsWith("type "));
    found.push({ target: m[3], typeOnly: m[1] !== undefined || allTypes });
  }
  for (const m of text.matchAll(/\bimport\("([^"]+)"\)/g)) found.push({ target: m[1], typeOnly: false });
  return found;
}

for (const [room, allowed] of Object.entries(MAY)) {
  Deno.test(`${room}/ imports ${allowed.length === 0 ? "nothing outside itself" : `only itself and ${allowed.join(", ")}`}`, () => {
    for (const file of sources(new URL(`${room}/`, ROOT))) {
      for (const { target, typeOnly } of imports(file)) {
        if (!target.startsWith(".")) continue;
        const path = new URL(target, file).href.slice(ROOT.href.length);
        const to = path.split("/")[0];
        assert(
          to === room || allowed.includes(to),
          `${file.href.slice(ROOT.href.length)} imports ${path}: ${room}/ may import ${
            [room, ...allowed].join(", ")
          }`,
        );
        // Pictures know the shape of modules, not their code.
        if (room === "display" && to === "nn") {
          assert(typeOnly, `${file.pathname} imports more than types from nn/`);
        }
      }
    }
  });
}

Deno.test("no module is imported in a circle at run time", () => {
  const graph = new Map<string, string[]>();
  for (const room of Object.keys(MAY)) {
    for (const file of sources(new URL(`${room}/`, ROOT))) {
      graph.set(
        file.href,
        imports(file).filter((i) => !i.typeOnly && i.target.startsWith(".")).map((i) =>
          new URL(i.target, file).href
        ),
      );
    }
  }
  const state = new Map<string, "open" | "done">();
  const circles: string[] = [];
  const visit = (file: string, path: string[]): void => {
    if (state.get(file) === "done") return;
    if (state.get(file) === "open") {
      circles.push(
        [...path.slice(path.indexOf(file)), file].map((f) => f.slice(ROOT.href.length)).join(" -> "),
      );
      return;
    }
    state.set(file, "open");
    for (const to of graph.get(file) ?? []) visit(to, [...path, file]);
    state.set(file, "done");
  };
  for (const file of graph.keys()) visit(file, []);
  assertEquals(circles, []);
});

Deno.test("the top level holds the rooms and what a repository needs, nothing else", () => {
  const allowed = new Set([
    ...Object.keys(MAY),
    ...["mod.ts", "notebooks", "tests", "bench", "docs", "tasks", "deno.json", "deno.lock"],
    ...["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "LICENSE", ".ci", ".git", ".gitignore"],
    ...[".tools", "out", "coverage", "node_modules", ".github"],
  ]);
  const extra = [...Deno.readDirSync(ROOT)].map((e) => e.name).filter((n) => !allowed.has(n));
  assertEquals(extra, []);
});

Deno.test("every source file opens with a sentence that says what it is", () => {
  for (const room of Object.keys(MAY)) {
    for (const file of sources(new URL(`${room}/`, ROOT))) {
      const text = Deno.readTextFileSync(file);
      assert(
        /^(\/\/ deno-lint-ignore-file[^\n]*\n|\/\/\/ <reference[^\n]*\n)*\/\*\*/.test(text),
        `${file.pathname} opens without a doc comment`,
      );
    }
  }
});
