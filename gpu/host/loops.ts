/** Loops over elements as generated JavaScript: what to compute is in the text, how far and where in numbers. */
import { type DType, roundToBf16, type TypedArray } from "../../ops/dtype.ts";
import type { Node } from "../../ops/node.ts";
import { expressionOf } from "./expressions.ts";

/**
 * One compiled step: `v` values by slot, `k` numbers of this run, `g` its geometry (slots, lengths, strides,
 * offsets), `nodes` the graph of this run, whose attributes hold data.
 */
export type Kernel = (v: TypedArray[], k: Float64Array, g: Int32Array, nodes: readonly Node[]) => void;

/** Step of an operand along one axis: none, one element, or a number in the geometry. */
export type StrideClass = "0" | "1" | "s";

/** An operand in memory: its type and how it moves along each axis of the loop. */
export interface Load {
  readonly dtype: DType;
  readonly strides: readonly StrideClass[];
}

/** One function application; operands and result are names: `x3` a load, `c0` a number, `t5` the fifth result. */
export interface Application {
  readonly name: string;
  readonly host: (...x: number[]) => number;
  /** Whether `host` is the record's `hostInteger`. */
  readonly integer: boolean;
  /** The record's WGSL of the operands' names. */
  readonly wgsl: string;
  readonly x: readonly string[];
  readonly types: readonly DType[];
  readonly dtype: DType;
}

/** How a loop folds its value. */
export interface Fold {
  readonly name: string;
  readonly host: (accumulator: number, x: number) => number;
  /** Whether `host` is the record's `hostInteger`. */
  readonly integer: boolean;
  readonly init: number;
  /** Type of what is folded. */
  readonly from: DType;
  /** Per axis of the loop: whether it is folded. */
  readonly reduced: readonly boolean[];
  /** The innermost folded axis is too short for blocks. */
  readonly short: boolean;
}

/** A loop nest: `[lengths, (slot, offset, strides "s") of each load, slots of stores, numbers]` is its geometry. */
export interface Loop {
  /** Number of axes, collapsed. */
  readonly rank: number;
  readonly loads: readonly Load[];
  readonly constants: number;
  readonly applications: readonly Application[];
  /** What is written, in row-major order of the loop (or of the axes that a fold leaves). */
  readonly stores: readonly { readonly value: string; readonly dtype: DType }[];
  readonly fold: Fold | null;
  /** Walk the last two axes in squares: for operands that run the other way. */
  readonly tiled: boolean;
}

/** Rounds text to a type, as a store and a load would. */
function rounded(text: string, dtype: DType): string {
  switch (dtype) {
    case "f32":
      return `Math.fround(${text})`;
    case "f16":
      return `Math.f16round(${text})`;
    case "bf16":
      return `bf16(${text})`;
    case "f64":
      return text;
    case "i32":
      return `(${text}) | 0`;
    case "u32":
      return `(${text}) >>> 0`;
    case "bool":
      return `+((${text}) !== 0)`;
  }
}

function isExact(a: Application): boolean {
  if (expressionOf(a.name)?.exact !== true) return false;
  if (a.dtype === "bool") return a.name !== "where";
  if (a.dtype === "i32" || a.dtype === "u32") return false;
  return a.types.every((t) => t === a.dtype || t === "bool");
}

/** Makes the text of a function, or null where it is called. */
function textOf(a: Application): ((...x: string[]) => string) | null {
  const expression = expressionOf(a.name);
  return (a.integer ? expression?.integer : expression?.text) ?? null;
}

/** The name of a function which is called. */
function callee(a: Application): string {
  return `f_${a.name}${a.integer ? "Integer" : ""}`;
}

function applied(a: Application): string {
  const text = textOf(a)?.(...a.x) ?? `${callee(a)}(${a.x.join(", ")})`;
  return isExact(a) ? text : rounded(text, a.dtype);
}

/** A store rounds by itself, but for booleans, which are bytes, and bf16, which is computed with in f32. */
function stored(value: string, dtype: DType): string {
  return dtype === "bool" ? `+(${value} !== 0)` : dtype === "bf16" ? rounded(value, dtype) : value;
}

const FOLDS: Record<string, (s: string, x: string) => string> = {
  sum: (s, x) => `${s} + ${x}`,
  prod: (s, x) => `${s} * ${x}`,
  amax: (s, x) => `Math.max(${s}, ${x})`,
  amin: (s, x) => `Math.min(${s}, ${x})`,
};
const INTEGER_FOLDS: typeof FOLDS = {
  sum: (s, x) => `(${s} + ${x}) | 0`,
  prod: (s, x) => `Math.imul(${s}, ${x})`,
};

const BLOCK = 1024;
const TILE = 32;
const accumulators = new Float64Array(BLOCK);
const compiled = new Map<string, Kernel>();
const COMPILED_LIMIT = 4096;

/** The text of a loop, without the functions that it calls. */
export function loopText(loop: Loop): string {
  const { rank, loads, fold } = loop;
  const head: string[] = [];
  let at = 0;
  for (let a = 0; a < rank; a++) head.push(`const n${a} = g[${at++}];`);
  loads.forEach((load, l) => {
    head.push(`const x${l}_ = v[g[${at++}]], o${l} = g[${at++}]; // ${load.dtype}`);
    load.strides.forEach((s, a) => s === "s" && head.push(`const s${l}_${a} = g[${at++}];`));
  });
  loop.stores.forEach((s, i) => head.push(`const y${i} = v[g[${at++}]]; // ${s.dtype}`));
  for (let c = 0; c < loop.constants; c++) head.push(`const c${c} = k[g[${at++}]];`);

  /** Statements that step into axis `a` by index text `i`; pointers so far are in `pointer`. */
  const enter = (pointer: string[], a: number, i: string): string => {
    let text = "";
    loads.forEach((load, l) => {
      const s = load.strides[a];
      if (s === "0") return;
      const name = `p${l}_${a}`;
      text += `const ${name} = ${pointer[l]} + ${s === "1" ? i : `${i} * s${l}_${a}`};`;
      pointer[l] = name;
    });
    return text;
  };
  const start = (): string[] => loads.map((_, l) => `o${l}`);
  /** Loads which axis `a` does not move, before its loop. */
  const hoisted = (pointer: string[], a: number): string =>
    loads.map((load, l) => load.strides[a] === "0" ? `const x${l} = x${l}_[${pointer[l]}];` : "").join("");
  /** Everything for one element, at index `i` of axis `a` (null: outside of loops). Names end in `mark`. */
  const element = (pointer: string[], a: number | null, i: string, mark = ""): string => {
    let text = "";
    const rename = (x: string): string => mark === "" || x[0] === "c" || isHoisted(x, a) ? x : x + mark;
    loads.forEach((load, l) => {
      if (a === null) text += `const x${l} = x${l}_[${pointer[l]}];`;
      else if (load.strides[a] !== "0") {
        const step = load.strides[a] === "1" ? i : `(${i}) * s${l}_${a}`;
        text += `const x${l}${mark} = x${l}_[${pointer[l]} + ${step}];`;
      }
    });
    loop.applications.forEach((application, t) => {
      text += `const t${t}${mark} = ${applied({ ...application, x: application.x.map(rename) })};`;
    });
    return text;
  };
  const isHoisted = (x: string, a: number | null): boolean =>
    x[0] === "x" && a !== null && loads[Number(x.slice(1))].strides[a] === "0";
  const store = (i: string): string => loop.stores.map((s, y) => `y${y}[${i}] = ${s.value};`).join("");

  const body = fold !== null
    ? foldText(loop, { enter, start, hoisted, element, isHoisted })
    : elementsText(loop, { enter, start, hoisted, element, store });
  return `${head.join("\n")}\n${body}`;
}

interface Parts {
  enter: (pointer: string[], a: number, i: string) => string;
  start: () => string[];
  hoisted: (pointer: string[], a: number) => string;
  element: (pointer: string[], a: number | null, i: string, mark?: string) => string;
}

function elementsText(loop: Loop, at: Parts & { store: (i: string) => string }): string {
  const { rank } = loop, pointer = at.start();
  if (rank === 0) return at.element(pointer, null, "0") + at.store("0");
  const last = rank - 1;
  let text = rank > 1 ? "let w = 0;\n" : "", close = "";
  if (loop.tiled) {
    for (let a = 0; a < rank - 2; a++) {
      text += `for (let i${a} = 0; i${a} < n${a}; i${a}++) {${at.enter(pointer, a, `i${a}`)}\n`;
      close += "}";
    }
    const m = `n${rank - 2}`, n = `n${last}`;
    text += `for (let q = 0; q < ${m}; q += ${TILE}) for (let r = 0; r < ${n}; r += ${TILE}) {
      const qe = Math.min(${m}, q + ${TILE}), re = Math.min(${n}, r + ${TILE});
      for (let i = q; i < qe; i++) {
        const z = w + i * ${n};${at.enter(pointer, rank - 2, "i")}${at.hoisted(pointer, last)}
        for (let j = r; j < re; j++) {${at.element(pointer, last, "j")}${at.store("z + j")}}
      }
    }
    w += ${m} * ${n};`;
    return text + close;
  }
  for (let a = 0; a < last; a++) {
    text += `for (let i${a} = 0; i${a} < n${a}; i${a}++) {${at.enter(pointer, a, `i${a}`)}\n`;
    close += "}";
  }
  text += `${at.hoisted(pointer, last)}
    for (let j = 0; j < n${last}; j++) {${at.element(pointer, last, "j")}${
    at.store(rank > 1 ? "w + j" : "j")
  }}
    ${rank > 1 ? `w += n${last};` : ""}`;
  return text + close;
}

function foldText(loop: Loop, at: Parts & { isHoisted: (x: string, a: number | null) => boolean }): string {
  const { rank } = loop, fold = loop.fold!, pointer = at.start();
  const value = loop.stores[0].value, dtype = loop.stores[0].dtype;
  const step = (fold.integer ? INTEGER_FOLDS : FOLDS)[fold.name] ??
    ((s: string, x: string) => `fold(${s}, ${x})`);
  const init = Object.is(fold.init, -0) ? "-0" : String(fold.init);
  const kept: number[] = [], reduced: number[] = [];
  for (let a = 0; a < rank; a++) (fold.reduced[a] ? reduced : kept).push(a);
  const open = (a: number): string =>
    `for (let i${a} = 0; i${a} < n${a}; i${a}++) {${at.enter(pointer, a, `i${a}`)}\n`;
  let text = "let w = 0;\n", close = "";

  if (reduced.length > 0 && kept.length > 0 && kept[kept.length - 1] === rank - 1) {
    // Folded axes outside, a kept one inside: a row of accumulators, a block of columns at a time.
    const last = rank - 1;
    for (const a of kept.slice(0, -1)) {
      text += open(a);
      close += "}";
    }
    text += `for (let r = 0; r < n${last}; r += ${BLOCK}) {
      const e = Math.min(${BLOCK}, n${last} - r);
      acc.fill(${init}, 0, e);\n`;
    let inner = "";
    for (const a of reduced) {
      text += open(a);
      inner += "}";
    }
    text += `${at.hoisted(pointer, last)}
      for (let j = 0; j < e; j++) {${at.element(pointer, last, "(r + j)")}acc[j] = ${step("acc[j]", value)};}
      ${inner}
      for (let j = 0; j < e; j++) y0[w + r + j] = ${stored("acc[j]", dtype)};
    }
    w += n${last};`;
    return text + close;
  }

  for (const a of kept) {
    text += open(a);
    close += "}";
  }
  text += `let s = ${init};\n`;
  if (reduced.length === 0) text += `${at.element(pointer, null, "0")}s = ${step("s", value)};`;
  else {
    const last = reduced[reduced.length - 1];
    let inner = "";
    for (const a of reduced.slice(0, -1)) {
      text += open(a);
      inner += "}";
    }
    text += at.hoisted(pointer, last);
    if (fold.short) {
      text += `for (let j = 0; j < n${last}; j++) {${at.element(pointer, last, "j")}s = ${
        step("s", value)
      };}`;
    } else {
      // Blocks of four interleaved partial results: faster, and rounding errors grow with the block only.
      const marks = ["a", "b", "c", "d"];
      const marked = (m: string): string => value[0] === "c" || at.isHoisted(value, last) ? value : value + m;
      text += `for (let r = 0; r < n${last}; r += ${BLOCK}) {
        const e = Math.min(r + ${BLOCK}, n${last});
        let s0 = ${init}, s1 = ${init}, s2 = ${init}, s3 = ${init}, j = r;
        for (; j + 3 < e; j += 4) {
          ${
        marks.map((m, i) =>
          `${at.element(pointer, last, `(j + ${i})`, m)}s${i} = ${step(`s${i}`, marked(m))};`
        )
          .join("\n")
      }
        }
        for (; j < e; j++) {${at.element(pointer, last, "j")}s0 = ${step("s0", value)};}
        s = ${step("s", `(${step(`(${step("s0", "s1")})`, `(${step("s2", "s3")})`)})`)};
      }`;
    }
    text += inner;
  }
  text += `\ny0[w++] = ${stored("s", dtype)};`;
  return text + close;
}

/** The compiled loop; equal texts share one function, whatever their sizes. */
export function compileLoop(loop: Loop): Kernel {
  const text = loopText(loop);
  // Folds without a text are told apart by name.
  const key = loop.fold === null ? text : `${text}//${loop.fold.name} ${loop.fold.integer}`;
  let kernel = compiled.get(key);
  if (kernel === undefined) {
    const hosts = new Map<string, (...x: number[]) => number>();
    for (const a of loop.applications) if (textOf(a) === null) hosts.set(callee(a), a.host);
    const names = [...hosts.keys()];
    kernel = new Function("fold", "acc", "bf16", ...names, `return (v, k, g) => {\n${text}\n};`)(
      loop.fold?.host,
      accumulators,
      roundToBf16,
      ...hosts.values(),
    ) as Kernel;
    if (compiled.size >= COMPILED_LIMIT) compiled.delete(compiled.keys().next().value!);
    compiled.set(key, kernel);
  }
  return kernel;
}

/** A loop's axes: lengths, and strides of each operand along each. */
export interface Axes {
  readonly lengths: readonly number[];
  readonly strides: readonly (readonly number[])[];
  readonly reduced: readonly boolean[];
}

/** Drops axes of length 1 and merges neighbours that every operand walks as one; lengths stay below 2^31. */
export function collapse(
  shape: readonly number[],
  strides: readonly (readonly number[])[],
  reduced: readonly boolean[],
): Axes {
  const lengths: number[] = [], out: number[][] = strides.map(() => []), folded: boolean[] = [];
  for (let a = 0; a < shape.length; a++) {
    if (shape[a] === 1) continue;
    const top = lengths.length - 1;
    if (
      top >= 0 && folded[top] === reduced[a] && lengths[top] * shape[a] < 2 ** 31 &&
      strides.every((s, i) => out[i][top] === s[a] * shape[a])
    ) {
      lengths[top] *= shape[a];
      strides.forEach((s, i) => out[i][top] = s[a]);
    } else {
      lengths.push(shape[a]);
      folded.push(reduced[a]);
      strides.forEach((s, i) => out[i].push(s[a]));
    }
  }
  return { lengths, strides: out, reduced: folded };
}

/** How a stride appears in the text. */
export function strideClass(stride: number): StrideClass {
  return stride === 0 ? "0" : stride === 1 ? "1" : "s";
}
