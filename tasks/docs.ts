/** Writes `docs/ops.md` from the registry and the public API; `--check` only says whether it is up to date. */

import "../mod.ts";
import { zeros } from "../ops/create.ts";
import { type DType, DTYPES, isFloat } from "../ops/dtype.ts";
import { type Composite, composites } from "../ops/composite.ts";
import type { Node } from "../ops/node.ts";
import { type Primitive, primitives } from "../ops/primitive.ts";
import { sizeOf } from "../ops/shape.ts";
import type { Tensor } from "../ops/tensor.ts";
import { type Case, casesOf } from "../tests/laws/samples.ts";
import { command, deno, root, TaskError } from "./process.ts";

type Op = Primitive | Composite;

/** How an op is called, and the first sentence of its documentation. */
interface Call {
  readonly text: string;
  readonly says: string;
}

// ---- calls, from the public documentation

interface Param {
  kind: string;
  name?: string;
  optional?: boolean;
  left?: { name?: string };
  arg?: { name?: string };
}

function parameter(p: Param): string {
  switch (p.kind) {
    case "assign":
      return `${p.left?.name ?? "options"}?`;
    case "rest":
      return `...${p.arg?.name}`;
    default:
      return `${p.name ?? "options"}${p.optional ? "?" : ""}`;
  }
}

/** The function that a constant is by its type, which may have a name; of several signatures the last. */
// deno-lint-ignore no-explicit-any
function signatureOf(type: any, symbols: readonly any[]): { params: Param[] } | undefined {
  if (type?.kind === "fnOrConstructor") return type.value;
  if (type?.kind !== "typeRef") return undefined;
  const named = symbols.find((s) => s.name === type.value.typeName)?.declarations[0];
  if (named?.kind === "interface") return named.def.callSignatures.at(-1);
  return named?.kind === "typeAlias" ? signatureOf(named.def.tsType, symbols) : undefined;
}

/** Methods of Tensor, then functions, then functions of namespaces, by name. */
async function publicCalls(): Promise<Map<string, Call>> {
  const { code, stdout, output } = await deno(["doc", "--json", "mod.ts"]);
  if (code !== 0) throw new TaskError(output);
  const calls = new Map<string, Call>();
  const plain = (doc: string): string => doc.replaceAll(/\{@linkcode (\w+)\}/g, "`$1`");
  const sentence = (doc = ""): string =>
    /^[\s\S]*?[.;:](?=\s|$)/.exec(plain(doc))?.[0].replaceAll(/\s+/g, " ").replace(/[;:]$/, ".") ?? doc;
  // deno-lint-ignore no-explicit-any
  const add = (prefix: string, name: string, f: any, doc?: string): void => {
    const key = prefix === "x." ? name : `${prefix}${name}`;
    if (f === undefined || calls.has(key)) return;
    calls.set(key, {
      text: `${prefix}${name}(${f.params.map(parameter).join(", ")})`,
      says: sentence(doc),
    });
  };
  // deno-lint-ignore no-explicit-any
  const symbols: any[] = Object.values<any>(JSON.parse(stdout).nodes).flatMap((m) => m.symbols);
  // deno-lint-ignore no-explicit-any
  const walk = (list: any[], prefix: string, kind: string): void => {
    for (const symbol of list) {
      for (const d of symbol.declarations) {
        if (d.kind === "class" && symbol.name === "Tensor" && kind === "method") {
          for (const m of d.def.methods) {
            if (m.jsDoc?.doc !== undefined) add("x.", m.name, m.functionDef, m.jsDoc.doc);
          }
        } else if (d.kind === "function" && kind === "function") {
          add(prefix, symbol.name, d.def, d.jsDoc?.doc);
        } else if (d.kind === "variable" && kind === "function") {
          add(prefix, symbol.name, signatureOf(d.def.tsType, symbols), d.jsDoc?.doc);
        } else if (d.kind === "namespace" && kind === "namespace") {
          walk(d.def.elements, `${symbol.name}.`, "function");
        }
      }
    }
  };
  for (const kind of ["method", "function", "namespace"]) walk(symbols, "", kind);
  return calls;
}

// ---- what a record says, and what a sample shows

/** The file of each record, by its name in the text. */
async function sourcesOf(ops: readonly Op[]): Promise<Map<string, string>> {
  const texts = new Map<string, string>();
  const folders = ["definitions", "definitions/linalg", "fused", "functions", "linalg", "transforms"];
  for (const folder of [...folders.map((f) => `ops/${f}`), "ops"]) {
    for await (const { name, isFile } of Deno.readDir(root + folder)) {
      if (isFile && name.endsWith(".ts")) {
        texts.set(`${folder}/${name}`, await Deno.readTextFile(`${root}${folder}/${name}`));
      }
    }
  }
  return new Map(ops.map((op) => {
    const fileOf = (name: string): string | undefined => {
      const named = new RegExp(`(?:name: |\\(\\s*)"${name}"`);
      return [...texts].find(([, text]) => named.test(text))?.[0];
    };
    // A record may be made beside another, under its name and one more word, as in layerNormGrad.
    const file = fileOf(op.name) ?? fileOf(op.name.replace(/[A-Z][a-z]+$/, ""));
    if (file === undefined) throw new TaskError(`No file of ops/ defines ${op.name}`);
    return [op.name, file];
  }));
}

const zerosFor = (c: Case, float: DType): Tensor[] =>
  c.shapes.map((shape, i) => zeros(shape, { dtype: c.dtypes?.[i] ?? float, device: "host" }));

/** Kinds of element types which a call takes: floats, whole numbers, booleans. */
function kindsOf(cases: readonly Case[]): string {
  const takes = (dtype: DType): boolean =>
    cases.some((c) => {
      if (c.dtypes?.length === c.shapes.length && c.dtypes.every((t) => t !== undefined)) {
        return c.dtypes.includes(dtype);
      }
      try {
        c.call(...zerosFor(c, dtype));
        return true;
      } catch {
        return false;
      }
    });
  const kinds = DTYPES.filter(takes);
  return [
    kinds.some(isFloat) ? "float" : "",
    kinds.includes("i32") || kinds.includes("u32") ? "int" : "",
    kinds.includes("bool") ? "bool" : "",
  ].filter(Boolean).join(", ");
}

function flopsOf(node: Node): number {
  const { op, inputs } = node, size = sizeOf(node.shape);
  switch (op.family) {
    case "elementwise":
      return op.flops * size;
    case "reduction":
      return sizeOf(inputs[0].shape);
    case "contraction":
      return 2 * size * inputs[0].shape[inputs[0].shape.length - 1];
    case "custom":
      return op.flops(inputs, node, node.p);
    case "movement":
    case "identity":
    case "tuple":
    case "output":
    case "leaf":
      return 0;
  }
}

/** Floating point operations of a sample for each element of its largest operand or result. */
function costOf(cases: readonly Case[]): string {
  const c = cases.find((c) => c.shapes.some((s) => sizeOf(s) > 1)) ?? cases[0];
  const xs = zerosFor(c, "f32"), result = c.call(...xs), ys = Array.isArray(result) ? result : [result];
  const seen = new Set<Node>(), stack = ys.map((y) => y.node), given = new Set(xs.map((x) => x.node));
  let flops = 0;
  while (stack.length > 0) {
    const node = stack.pop()!;
    if (seen.has(node) || given.has(node)) continue;
    seen.add(node);
    flops += flopsOf(node);
    stack.push(...node.inputs);
  }
  const each = flops / Math.max(1, ...[...xs, ...ys].map((t) => t.size));
  return each === 0 ? "moves only" : `${each < 10 ? Number(each.toFixed(1)) : Math.round(each)}`;
}

const NAMES = ["x", "y", "z", "u", "v", "w"];

function mathOf(tex: string): string {
  return `$${tex.replaceAll("|", "\\|")}$`;
}

function formulaOf(op: Op, c: Case): string {
  if (op.family === "tuple" || op.family === "output") return "";
  try {
    return mathOf(op.tex(NAMES.slice(0, Math.max(1, c.shapes.length)), attributesOf(op, c)));
  } catch {
    return "";
  }
}

/** Attributes of the record's node in a sample. */
function attributesOf(op: Op, c: Case): unknown {
  const result = c.call(...zerosFor(c, "f32"));
  const stack = (Array.isArray(result) ? result : [result]).map((y) => y.node), seen = new Set<Node>();
  while (stack.length > 0) {
    const node = stack.pop()!;
    if (seen.has(node)) continue;
    seen.add(node);
    if (node.op === op) return node.p;
    stack.push(...node.inputs);
  }
  return null;
}

function derivativeOf(op: Op, c: Case): string {
  const x = NAMES.slice(0, Math.max(1, c.shapes.length));
  if (op.family === "composite") {
    return op.texPartials === undefined ? "by its parts" : op.texPartials(x, "y").map(mathOf).join(", ");
  }
  if (op.discrete) return "none (discrete)";
  const p = attributesOf(op, c);
  if (op.texPartials !== undefined) return op.texPartials(x, "f", p).map(mathOf).join(", ");
  if (op.texPullbacks !== undefined) {
    return op.texPullbacks(x, "f", p).map((t, i) => mathOf(`\\bar{${x[i]}} = ${t}`)).join(", ");
  }
  return "";
}

const HEAD = `# Ops

Generated from the registry of \`ops/definitions/\` by \`deno task docs\`: a record holds the formula, the derivatives, the
kernels of both engines and what the tests sample, so what stands here is what runs.

- **Derivative**: partial derivatives by each operand in order, or, where they say more, the cotangent $\\bar x$ of each
  operand from that of the result, $\\bar f$. "By its parts" is an op made of others, which are differentiated.
- **Cost**: floating point operations for each element of the largest operand or result, in one of the tests' samples.
- **Types**: what operands may be. Every op runs on both engines: on the host with f64, f32, f16 and bf16, on WebGPU
  with all of these but f64.

`;

async function page(): Promise<string> {
  const calls = await publicCalls();
  const ops: Op[] = [...primitives().values(), ...composites().values()].filter((op) =>
    casesOf(op).length > 0
  );
  const sources = await sourcesOf(ops);
  const sections = new Map<string, string[]>();
  for (const op of ops) {
    const cases = casesOf(op), source = sources.get(op.name)!, call = calls.get(op.name);
    const title = source.split("/").at(-1)!.replace(".ts", "").replaceAll("_", " ");
    const first = call === undefined ? `*${op.name}* (inside others)` : `\`${call.text}\`<br>${call.says}`;
    const row = [
      first.replaceAll("|", "\\|"),
      formulaOf(op, cases[0]),
      derivativeOf(op, cases[0]),
      costOf(cases),
      kindsOf(cases),
      `[source](../${source})`,
    ];
    sections.set(title, [...sections.get(title) ?? [], `| ${row.join(" | ")} |`]);
  }
  // What users do not call themselves comes last.
  const inside = (rows: string[]): number => Number(rows.every((row) => row.includes("(inside others)")));
  const ordered = [...sections].sort(([, a], [, b]) => inside(a) - inside(b));
  const tables = ordered.map(([title, rows]) =>
    `## ${title[0].toUpperCase()}${title.slice(1)}\n\n` +
    `| call | formula | derivative | cost | types | |\n| --- | --- | --- | --- | --- | --- |\n${
      rows.join("\n")
    }\n`
  );
  return `${HEAD}${ops.length} ops.\n\n${tables.join("\n")}`;
}

await command(async () => {
  const text = await page(), path = `${root}docs/ops.md`;
  if (Deno.args.includes("--check")) {
    const now = await Deno.readTextFile(path).catch(() => "");
    if (now === text) return 0;
    console.log("docs/ops.md is not what the registry says: run deno task docs");
    return 1;
  }
  await Deno.mkdir(`${root}docs`, { recursive: true });
  await Deno.writeTextFile(path, text);
  console.log(`Wrote docs/ops.md`);
  return 0;
});
