/** Kernels of elementwise functions and of copies: operands of any strides, a result of any strides. */
import type { DType } from "../../../ops/dtype.ts";
import {
  cachedKernel,
  dot,
  type Kernel,
  kernel,
  load,
  resultType,
  splitIndex,
  store,
  storedType,
  THREADS,
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

/** Everything about an elementwise kernel that is not a parameter. */
export interface ElementwiseForm {
  /** WGSL of the result from `a0`, `a1` ... */
  readonly expression: string;
  readonly operands: readonly FormOperand[];
  readonly result: DType;
  readonly resultMode: "flat" | "walk";
  /** Axes of the walk. */
  readonly rank: number;
  readonly access: string;
}

/** Where the parameters of a form stand. */
export const ELEMENTWISE = {
  /** Number of elements, and the number of the first. */
  n: 0,
  first: 1,
  /** Offset of the result, then of each operand (or its constant). */
  result: 2,
  operand: (j: number): number => 3 + j,
  lengths: (operands: number): number => 3 + operands,
};

/** The kernel of a form; the result is its last binding. */
export function elementwiseKernel(f: ElementwiseForm): Kernel {
  const key = `e|${f.expression}|${
    f.operands.map((o) => `${o.dtype}${o.mode}${o.binding}`)
  }|${f.result}${f.resultMode}|${f.rank}|${f.access}`;
  return cachedKernel(key, () => {
    const k = f.operands.length, lengths = ELEMENTWISE.lengths(k);
    let at = lengths + f.rank;
    const types = new Array<string>(f.access.length);
    const walks = f.resultMode === "walk" || f.operands.some((o) => o.mode === "walk");
    const lines = [
      `let t = i32(group * ${THREADS}u + lid);`,
      `if (t >= ${word(ELEMENTWISE.n)}) { return; }`,
    ];
    if (walks) lines.push(splitIndex("i", `t + ${word(ELEMENTWISE.first)}`, f.rank, lengths));
    f.operands.forEach((o, j) => {
      const offset = word(ELEMENTWISE.operand(j));
      if (o.mode === "constant") {
        lines.push(`let a${j} = ${constant(o.dtype, offset)};`);
        return;
      }
      types[o.binding] = storedType(o.dtype);
      let index = offset;
      if (o.mode === "flat") index += " + t";
      else if (o.mode === "walk") {
        index += dot("i", f.rank, at);
        at += f.rank;
      }
      lines.push(`let a${j} = ${load(o.dtype, `b${o.binding}`, index)};`);
    });
    const out = f.access.length - 1;
    types[out] = resultType(f.result);
    let index = word(ELEMENTWISE.result);
    if (f.resultMode === "flat") index += " + t";
    else {
      index += dot("i", f.rank, at);
      at += f.rank;
    }
    lines.push(store(f.result, `b${out}`, index, f.expression));
    return kernel({ access: f.access, types, words: at, body: "  " + lines.join("\n  ") });
  });
}

function constant(dtype: DType, bits: string): string {
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
