/** WGSL of chains: operands are loaded, elementwise steps follow one another in registers, some of them are stored. */
import type { DType } from "../../../ops/dtype.ts";
import {
  dot,
  load,
  loadQuad,
  quadType,
  resultType,
  splitIndex,
  store,
  storedType,
  storeQuad,
  valueType,
  word,
} from "./kernel.ts";

/** How an operand is addressed: element t; by its strides; always the same one; a number in the parameters. */
export type Mode = "flat" | "walk" | "one" | "constant";

/** One operand of a form. */
export interface FormOperand {
  readonly dtype: DType;
  readonly mode: Mode;
  /** Its storage binding; -1 for constants. */
  readonly binding: number;
}

/** One step: WGSL of its value from `a0`, `a1` ... (operands), `t0`, `t1` ... (earlier steps) and `s` (what a kernel made). */
export interface ChainStep {
  readonly expression: string;
  readonly dtype: DType;
  /** Whether other steps or a fold use it: then it is exactly what memory would hold. */
  readonly isUsed: boolean;
}

/** Where a value goes. */
export interface FormStore {
  readonly value: string;
  readonly dtype: DType;
  readonly mode: "flat" | "walk";
  readonly binding: number;
}

/** Everything about a chain that is not a parameter. */
export interface ChainForm {
  readonly operands: readonly FormOperand[];
  readonly steps: readonly ChainStep[];
  readonly stores: readonly FormStore[];
  /** Axes of the walk. */
  readonly rank: number;
}

/** The form as text. */
export function chainKey({ operands, steps, stores, rank }: ChainForm): string {
  return `${operandsKey(operands)}|${stepsKey(steps)}|${
    stores.map((s) => `${s.value}${s.dtype}${s.mode}${s.binding}`)
  }|${rank}`;
}

/** Operands as text. */
export function operandsKey(operands: readonly FormOperand[]): string {
  return operands.map((o) => `${o.dtype}${o.mode}${o.binding}`).join();
}

/** Steps as text. */
export function stepsKey(steps: readonly ChainStep[]): string {
  return steps.map((s) => `${s.expression}:${s.dtype}${s.isUsed ? "!" : ""}`).join(";");
}

/** Parameter words of a chain: an offset (or number) for each operand, then for each store; lengths; steps. */
export function chainWords({ operands, stores, rank }: ChainForm): number {
  const walking = [...operands, ...stores].filter((o) => o.mode === "walk").length;
  return operands.length + stores.length + rank * (1 + walking);
}

/** Notes the element types of a chain's bindings. */
export function chainTypes({ operands, stores }: ChainForm, types: string[]): void {
  for (const o of operands) if (o.binding >= 0) types[o.binding] = storedType(o.dtype);
  for (const s of stores) types[s.binding] = resultType(s.dtype);
}

/** WGSL statements of a chain for element `t`, which is number `whole` of all; its parameters stand at `at`. */
export function chainLines(f: ChainForm, at: number, whole: string): string[] {
  const { operands, steps, stores } = f, { lines, index } = walkOf(f, at, whole);
  operands.forEach((o, j) => {
    const offset = word(at + j);
    lines.push(
      `let a${j} = ${
        o.mode === "constant"
          ? constant(o.dtype, offset)
          : load(o.dtype, `b${o.binding}`, index(o.mode, offset))
      };`,
    );
  });
  lines.push(...stepLines(steps));
  stores.forEach((s, j) => {
    const place = index(s.mode, word(at + operands.length + j));
    lines.push(store(s.dtype, `b${s.binding}`, place, storedValue(s, steps)));
  });
  return lines;
}

/**
 * How a chain goes by fours: for each operand whether four neighbours are read, or one that stands for all of them. Where
 * operands walk, the last axis has whole fours.
 */
export type Fours = readonly boolean[];

/** Notes the element types of a chain that goes by fours. */
export function quadTypes({ operands, stores }: ChainForm, fours: Fours, types: string[]): void {
  operands.forEach((o, j) => {
    if (o.binding >= 0) types[o.binding] = (fours[j] ? quadType : storedType)(o.dtype);
  });
  for (const s of stores) types[s.binding] = quadType(s.dtype);
}

/** The same statements as of {@linkcode chainLines} for elements `t` to `t + 3`, whose results are stored in order. */
export function quadLines(f: ChainForm, fours: Fours, at: number, whole: string): string[] {
  const { operands, steps, stores } = f, own: string[][] = [[], [], [], []];
  const { lines, index } = walkOf(f, at, whole);
  operands.forEach((o, j) => {
    const offset = word(at + j), from = `b${o.binding}`;
    if (o.mode === "constant") lines.push(`let a${j} = ${constant(o.dtype, offset)};`);
    else if (!fours[j]) lines.push(`let a${j} = ${load(o.dtype, from, index(o.mode, offset))};`);
    else {
      lines.push(`let q${j} = ${loadQuad(o.dtype, from, index(o.mode, offset))};`);
      own.forEach((list, c) => list.push(`let a${j} = q${j}[${c}];`));
    }
  });
  stores.forEach(({ dtype }, j) => lines.push(`var v${j}: vec4<${valueType(dtype)}>;`));
  own.forEach((list, c) => {
    list.push(...stepLines(steps), ...stores.map((s, j) => `v${j}[${c}] = ${storedValue(s, steps)};`));
    lines.push(`{ ${list.join("\n    ")} }`);
  });
  stores.forEach((s, j) =>
    lines.push(storeQuad(s.dtype, `b${s.binding}`, index("flat", word(at + operands.length + j)), `v${j}`))
  );
  return lines;
}

/** WGSL statements that find element `whole` in what walks, and the index of an operand or a store, asked for in order. */
function walkOf(
  { operands, stores, rank }: ChainForm,
  at: number,
  whole: string,
): { lines: string[]; index: (mode: Mode, offset: string) => string } {
  const lengths = at + operands.length + stores.length, all = [...operands, ...stores];
  let walked = lengths + rank;
  return {
    lines: all.some((o) => o.mode === "walk") ? [splitIndex("i", whole, rank, lengths)] : [],
    index: (mode, offset) => {
      if (mode === "flat") return `${offset} + t`;
      if (mode === "one") return offset;
      const text = offset + dot("i", rank, walked);
      walked += rank;
      return text;
    },
  };
}

/** WGSL of what is stored: a step that nothing else uses is there as it is. */
function storedValue({ value }: FormStore, steps: readonly ChainStep[]): string {
  const step = /^t\d/.test(value) ? steps[Number(value.slice(1))] : null;
  return step !== null && !step.isUsed ? step.expression : value;
}

/** WGSL statements `let t0 = ...` of the steps that others use. */
export function stepLines(steps: readonly ChainStep[]): string[] {
  return steps.flatMap((s, k) => s.isUsed ? [stepLine(k, s)] : []);
}

/** WGSL statement of step `k`. */
export function stepLine(k: number, { dtype, expression }: ChainStep): string {
  return `let t${k} = ${asStored(dtype, expression)};`;
}

/**
 * A value as memory would give it back: rounded to its type, and out of the compiler's sight. Else compilers join
 * neighbours, as in (a + b) - a = b and a b + c by one rounding, and a fused chain would differ from its steps.
 */
function asStored(dtype: DType, value: string): string {
  if (valueType(dtype) !== "f32") return value;
  if (dtype === "f16") return `held(f32(f16(${value})))`;
  return `held(${dtype === "bf16" ? `bitcast<f32>(packBf16(${value}) << 16u)` : value})`;
}

/** WGSL of `held`, where `text` uses it; parameter word `zero` is 0, which no compiler knows. */
export function heldFunction(text: string, zero: number): string {
  return /\bheld\(/.test(text)
    ? `fn held(x: f32) -> f32 { return bitcast<f32>(bitcast<u32>(x) ^ u32(${word(zero)})); }\n`
    : "";
}

/** WGSL of a number whose bits are a parameter. */
export function constant(dtype: DType, bits: string): string {
  switch (valueType(dtype)) {
    case "f32":
      return `bitcast<f32>(${bits})`;
    case "i32":
      return bits;
    case "u32":
      return `bitcast<u32>(${bits})`;
    case "bool":
      return `(${bits} != 0)`;
  }
}
