/** Writes `docs/ops.md` from the registry and the public API, and the README's picture; `--check` only says whether they are up to date. */

import "../mod.ts";
import { zeros } from "../ops/create.ts";
import { type DType, DTYPES, isFloat } from "../ops/dtype.ts";
import { type Composite, composites } from "../ops/composite.ts";
import type { Node } from "../ops/node.ts";
import { type Attributes, type Primitive, primitives } from "../ops/primitive.ts";
import { sizeOf } from "../ops/shape.ts";
import type { Tensor } from "../ops/tensor.ts";
import { type Case, casesOf } from "../tests/laws/samples.ts";
import { picture } from "./picture.ts";
import { command, deno, root, TaskError } from "./process.ts";

type Op = Primitive | Composite;

/** How an op is called, and the first sentence of its documentation. */
interface Call {
  readonly text: string;
  readonly says: string;
  /** Makes tensors: a method that returns some, or a function of ops/. */
  readonly op: boolean;
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

/** The first sentence, or what stands before a colon or a semicolon outside of code and parentheses. */
function sentenceOf(doc: string): string {
  const text = doc.replaceAll(/\{@linkcode (\w+)\}/g, "`$1`").replaceAll(/\s+/g, " ").trim();
  let depth = 0, code = false;
  for (let i = 0; i < text.length; i++) {
    const c = text[i], ends = i + 1 === text.length || text[i + 1] === " ";
    if (c === "`") code = !code;
    if (code) continue;
    if ("([{".includes(c)) depth++;
    if (")]}".includes(c)) depth--;
    if (ends && c === "." && text[i - 1] !== "." && !/\b(e\.g|i\.e|al|cf)$/.test(text.slice(0, i))) {
      return text.slice(0, i + 1);
    }
    if (ends && depth <= 0 && (c === ";" || c === ":")) return `${text.slice(0, i)}.`;
  }
  return text;
}

/** Files whose functions are ops. */
const OPS = /\/ops\/(?:create|sampling|functions|linalg|nn\/dropout)\b/;

/** Methods of Tensor as `x.name`, functions, and functions of namespaces as `space.name`. */
async function publicCalls(): Promise<Map<string, Call>> {
  const { code, stdout, output } = await deno(["doc", "--json", "mod.ts"]);
  if (code !== 0) throw new TaskError(output);
  const calls = new Map<string, Call>();
  // deno-lint-ignore no-explicit-any
  const add = (key: string, f: any, doc: string | undefined, op: boolean): void => {
    if (f === undefined || calls.has(key)) return;
    calls.set(key, {
      text: `${key}(${f.params.map(parameter).join(", ")})`,
      says: sentenceOf(doc ?? ""),
      op,
    });
  };
  // deno-lint-ignore no-explicit-any
  const symbols: any[] = Object.values<any>(JSON.parse(stdout).nodes).flatMap((m) => m.symbols);
  // deno-lint-ignore no-explicit-any
  const walk = (list: any[], prefix: string): void => {
    for (const symbol of list) {
      const key = `${prefix}${symbol.name}`;
      for (const d of symbol.declarations) {
        const op = OPS.test(d.location.filename);
        if (d.kind === "class" && symbol.name === "Tensor") {
          for (const m of d.def.methods) {
            if (m.jsDoc?.doc !== undefined && m.kind === "method") {
              add(`x.${m.name}`, m.functionDef, m.jsDoc.doc, tensors(m.functionDef.returnType));
            }
          }
        } else if (d.kind === "function") {
          add(key, d.def, d.jsDoc?.doc, op && tensors(d.def.returnType));
        } else if (d.kind === "variable") {
          add(key, signatureOf(d.def.tsType, symbols), d.jsDoc?.doc, op);
        } else if (d.kind === "namespace") {
          walk(d.def.elements, `${symbol.name}.`);
        }
      }
    }
  };
  const tensors = (type: unknown): boolean => /"(Tensor|Unique)"/.test(JSON.stringify(type ?? null));
  walk(symbols, "");
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
  const fileOf = (name: string): string | undefined =>
    [`name: "${name}",`, `\\(\\s*"${name}"`].map((pattern) => {
      const named = new RegExp(pattern);
      return [...texts].find(([, text]) => named.test(text))?.[0];
    }).find((file) => file !== undefined);
  return new Map(ops.map((op) => {
    // A record may be made beside another, under its name and one more word, as in layerNormGrad.
    const file = fileOf(op.name) ?? fileOf(op.name.replace(/[A-Z][a-z]+$/, ""));
    if (file === undefined) throw new TaskError(`No file of ops/ defines ${op.name}`);
    return [op.name, file];
  }));
}

const zerosFor = (c: Case, float: DType): Tensor[] =>
  c.shapes.map((shape, i) => zeros(shape, { dtype: c.dtypes?.[i] ?? float, device: "host" }));

/** Kinds of element types which a call takes: floats, whole numbers, booleans. */
function kindsOf(op: Op, cases: readonly Case[]): string {
  // The method converts what its record does not take, as exp does integers.
  const converts = (dtype: DType): boolean => {
    if (op.family !== "elementwise") return false;
    const [x, ...rest] = zerosFor(cases[0], dtype);
    try {
      return (x as unknown as Record<string, (...xs: Tensor[]) => Tensor>)[op.name](...rest).shape.length >=
        0;
    } catch {
      return false;
    }
  };
  const takes = (dtype: DType): boolean =>
    converts(dtype) ||
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

/** What formulas are made of: LaTeX of the operands, which of them the call has, attributes. */
interface Shown {
  readonly x: string[];
  readonly given: boolean[];
  readonly p: Attributes;
}

/** A record's node in a sample. What stands behind the operands of the call is the record's own, and is not shown. */
function shownOf(op: Op, c: Case): Shown {
  const names = NAMES.slice(0, Math.max(1, c.shapes.length)), seen = new Set<Node>();
  const result = c.call(...zerosFor(c, "f32"));
  const stack = (Array.isArray(result) ? result : [result]).map((y) => y.node);
  while (stack.length > 0) {
    const node = stack.pop()!;
    if (seen.has(node)) continue;
    seen.add(node);
    if (node.op === op) {
      // Before the operands of an implicit function stands what its solver found.
      const found: string[] = op.name === "implicit" ? Array(node.p.n).fill("x^*") : [];
      return {
        x: [...found, ...names],
        given: [...found.map(() => false), ...names.map(() => true)],
        p: node.p,
      };
    }
    stack.push(...node.inputs);
  }
  return { x: names, given: names.map(() => true), p: null };
}

function derivativeOf(op: Op, c: Case, { x, given, p }: Shown): string {
  const result = c.call(...zerosFor(c, "f32"));
  const results = Array.isArray(result) ? result : [result];
  const discrete = op.family === "composite"
    ? !results.some((y) => isFloat(y.dtype)) || c.shapes.every((_, i) => c.dtypes?.[i] !== undefined)
    : op.discrete;
  if (discrete) return "none (discrete)";
  const rows = (formulas: string[], left: (x: string) => string): string =>
    formulas.flatMap((t, i) => given[i] ? [mathOf(`${left(x[i])}${t}`)] : []).join(", ");
  if (op.texPartials !== undefined) return rows(op.texPartials(x, "f", p), () => "");
  if (op.texPullbacks !== undefined) return rows(op.texPullbacks(x, "f", p), (a) => `\\bar{${a}} = `);
  if (op.family === "composite") return "by its parts";
  throw new TaskError(
    `${op.name} has a derivative and does not say it: give its record texPartials or texPullbacks`,
  );
}

// ---- the page

/** Titles of sections, in their order, and the files of ops/ whose records they hold; linalg is a section of its own. */
const SECTIONS: Readonly<Record<string, readonly string[]>> = {
  "Arithmetic": ["arithmetic"],
  "Rounding": ["rounding"],
  "Comparison and logic": ["comparison"],
  "Selection": ["selection"],
  "Exponential functions": ["exponential"],
  "Trigonometric functions": ["trigonometric"],
  "Special functions": ["special"],
  "Activations": ["activation"],
  "Reductions": ["reduction"],
  "Statistics": ["statistics"],
  "Running folds": ["running"],
  "Differences and integrals": ["differences"],
  "Order": ["order"],
  "Shapes and axes": ["movement", "axes"],
  "Arrangement and joining": ["arrangement", "joining", "functions"],
  "Diagonals and triangles": ["diagonals"],
  "Indexing": ["indexing", "slices", "places"],
  "Scattering": ["scattering"],
  "Windows": ["sliding", "unfold", "windows"],
  "Products": ["contraction", "products"],
  "Linear algebra": [],
  "Distances": ["distance"],
  "Convolution": ["convolution"],
  "Pooling and resampling": ["pooling", "unpool", "interpolate", "grid_sample"],
  "Embedding": ["embedding"],
  "Normalization": ["norm", "normalization"],
  "Attention": ["attention"],
  "Losses": ["fused", "loss"],
  "Transforms and control flow": ["checkpoint", "custom", "scan", "cond", "implicit"],
  "Random numbers": ["random", "bits"],
  "Types and graph": ["cast", "structural"],
};

function sectionOf(source: string): string {
  if (source.includes("/linalg/")) return "Linear algebra";
  const file = source.split("/").at(-1)!.replace(".ts", "");
  const found = Object.entries(SECTIONS).find(([, files]) => files.includes(file));
  return found?.[0] ?? `${file[0].toUpperCase()}${file.slice(1).replaceAll("_", " ")}`;
}

/** How users call an op: by its name, or by what its record says; and what that is called among public names. */
function callOf(op: Op, calls: ReadonlyMap<string, Call>): [string, Call] | undefined {
  const key = op.call?.replace(/\(.*$/, "") ?? (calls.has(`x.${op.name}`) ? `x.${op.name}` : op.name);
  const call = calls.get(key);
  if (call === undefined && op.call === undefined) return undefined;
  if (call === undefined) throw new TaskError(`The call ${op.call} of ${op.name} is nothing public`);
  return [key, op.call?.includes("(") ? { ...call, text: op.call, says: "" } : call];
}

const BESIDE = "Without a record of their own", INSIDE = "Inside others";

const HEAD = `# Ops

Generated from the registry of \`ops/definitions/\` by \`deno task docs\`: a record holds the formula, the derivatives, the
kernels of both engines and what the tests sample, so what stands here is what runs.

- **Formula**: x, y, z, u ... are the tensors that the call has, in order; f is the result.
- **Derivative**: partial derivatives by each operand in order, or, where they say more, the cotangent $\\bar x$ of each
  operand from that of the result, $\\bar f$. $[\\cdot]$ is 1 where a condition holds and 0 elsewhere. "By its parts" is
  an op made of others, which are differentiated.
- **Cost**: floating point operations for each element of the largest operand or result, in one of the tests' samples.
- **Types**: what operands may be, besides indices. Every op runs on both engines: on the host with f64, f32, f16 and
  bf16, on WebGPU with all of these but f64.

Where PyTorch, JAX and TensorFlow.js have the same under another name: [migration.md](migration.md).

`;

async function page(): Promise<string> {
  const calls = await publicCalls();
  const ops: Op[] = [...primitives().values(), ...composites().values()].filter((op) =>
    casesOf(op).length > 0
  );
  const sources = await sourcesOf(ops);
  const done = new Set<string>();
  const sections = new Map<string, string[]>(Object.keys(SECTIONS).map((title) => [title, []]));
  for (const op of ops) {
    const cases = casesOf(op), source = sources.get(op.name)!, [key, call] = callOf(op, calls) ?? ["", null];
    const most = Math.max(...cases.map(({ shapes }) => shapes.length));
    const c = op.name === "implicit" ? cases[0] : cases.find(({ shapes }) => shapes.length === most)!;
    const shown = shownOf(op, c);
    const title = call === null ? INSIDE : sectionOf(source);
    const first = call === null ? `*${op.name}*` : `\`${call.text}\`${call.says && "<br>"}${call.says}`;
    done.add(key);
    const row = [
      first.replaceAll("|", "\\|"),
      mathOf(op.tex(shown.x, shown.p)),
      derivativeOf(op, c, shown),
      costOf(cases),
      kindsOf(op, cases),
      `[source](../${source})`,
    ];
    if (!sections.has(title)) sections.set(title, []);
    sections.get(title)!.push(`| ${row.join(" | ")} |`);
  }
  // What users do not call themselves comes last.
  const inside = sections.get(INSIDE) ?? [];
  sections.delete(INSIDE);
  const beside = [...calls].flatMap(([key, call]) =>
    call.op && !done.has(key)
      ? [`| \`${call.text}\` | ${call.says} |`.replaceAll(/(?<=[^ ])\|(?=[^ ])/g, "\\|")]
      : []
  );
  const filled = [...sections].filter(([, rows]) => rows.length > 0);
  const table = (rows: readonly string[]): string =>
    `| call | formula | derivative | cost | types | |\n| --- | --- | --- | --- | --- | --- |\n${
      rows.join("\n")
    }\n`;
  const link = (title: string, rows: readonly string[]): string =>
    `- [${title}](#${title.toLowerCase().replaceAll(" ", "-")}) (${rows.length})`;
  return [
    `${HEAD}${ops.length} ops:\n`,
    `${
      [...filled, [BESIDE, beside] as const, [INSIDE, inside] as const].map(([title, rows]) =>
        link(title, rows)
      ).join("\n")
    }\n`,
    ...filled.map(([title, rows]) => `## ${title}\n\n${table(rows)}`),
    `## ${BESIDE}\n\nOther names, what makes tensors from numbers, and what hangs on values and so is awaited.\n\n` +
    `| call | |\n| --- | --- |\n${beside.join("\n")}\n`,
    `## ${INSIDE}\n\nWhat the ops above, their derivatives and random numbers are made of; users do not call it.\n\n${
      table(inside)
    }`,
  ].join("\n");
}

await command(async () => {
  const files = { "docs/ops.md": await page(), "docs/graph.svg": await picture() };
  await Deno.mkdir(`${root}docs`, { recursive: true });
  let code = 0;
  for (const [name, text] of Object.entries(files)) {
    if (!Deno.args.includes("--check")) {
      await Deno.writeTextFile(`${root}${name}`, text);
      console.log(`Wrote ${name}`);
    } else if (await Deno.readTextFile(`${root}${name}`).catch(() => "") !== text) {
      console.log(`${name} is not what the package makes: run deno task docs`);
      code = 1;
    }
  }
  return code;
});
