/** Kernels that go over rows several times: elementwise steps and folds over the same axes, each pass with what earlier ones folded. */
import type { DType } from "../../../ops/dtype.ts";
import {
  type ChainStep,
  constant,
  type FormOperand,
  heldFunction,
  operandsKey,
  stepLine,
  stepsKey,
} from "./chain.ts";
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
  word,
} from "./kernel.ts";
import { type FoldStep, literal, REDUCTION, SPREAD, TURNS_APART } from "./reduction.ts";

/** A step of each element or of each row: `t` and its number names it. */
export interface RowStep extends ChainStep {
  /** Its number. */
  readonly name: number;
}

/** A fold of a row, whose result is step `name`. */
export interface RowFold extends FoldStep {
  readonly name: number;
  /** What is folded, and its type. */
  readonly value: string;
  readonly from: DType;
  /** Type of the result. */
  readonly to: DType;
}

/** A value that is stored, and the number of the result that it is. */
export interface RowStore {
  readonly value: string;
  readonly write: number;
}

/** A result, of each element or row; or of each split of a row, which others will fold. */
export interface RowWrite {
  readonly dtype: DType;
  readonly binding: number;
  readonly bySplit: boolean;
}

/** One time over the rows, and what follows of each row. */
export interface RowPass {
  /** Operands that it reads. */
  readonly loads: readonly number[];
  readonly steps: readonly RowStep[];
  readonly folds: readonly RowFold[];
  readonly stores: readonly RowStore[];
  readonly after: {
    readonly loads: readonly number[];
    readonly steps: readonly RowStep[];
    readonly stores: readonly RowStore[];
  };
}

/** Everything about such a kernel that is not a parameter. */
export interface RowProgramForm {
  readonly operands: readonly FormOperand[];
  readonly passes: readonly RowPass[];
  readonly writes: readonly RowWrite[];
  readonly keptRank: number;
  readonly foldedRank: number;
  /** Whether a thread has a row for itself. */
  readonly alone: boolean;
  readonly access: string;
}

/** Where the parameters stand: as in reductions; then offsets of operands, lengths, steps of each operand and result. */
export const ROW_PROGRAM = { ...REDUCTION, offsets: REDUCTION.operands };

/** Parameter words of a form. */
export function rowProgramWords({ operands, writes, keptRank, foldedRank }: RowProgramForm): number {
  return ROW_PROGRAM.offsets + operands.length +
    (keptRank + foldedRank) * (1 + operands.length + writes.length);
}

function keyOf(f: RowProgramForm): string {
  const stores = (list: readonly RowStore[]): string => list.map((s) => `${s.value}>${s.write}`).join();
  const steps = (list: readonly RowStep[]): string => `${list.map((s) => s.name)}:${stepsKey(list)}`;
  return `p|${operandsKey(f.operands)}|${
    f.passes.map((p) =>
      [
        p.loads.join(),
        steps(p.steps),
        p.folds.map((r) => `${r.name}${r.fold("a", "x")}${r.init}${r.through}${r.value}${r.from}${r.to}`)
          .join(";"),
        stores(p.stores),
        p.after.loads.join(),
        steps(p.after.steps),
        stores(p.after.stores),
      ].join("/")
    ).join("|")
  }|${
    f.writes.map((w) => `${w.dtype}${w.binding}${w.bySplit}`)
  }|${f.keptRank}|${f.foldedRank}|${f.alone}|${f.access}`;
}

/** The kernel of a form. */
export function rowProgramKernel(f: RowProgramForm): Kernel {
  return cachedKernel(keyOf(f), () => {
    const R = ROW_PROGRAM, { operands, writes, passes, keptRank, foldedRank, alone } = f;
    const kept = R.offsets + operands.length, folded = kept + keptRank, walks = folded + foldedRank;
    const each = keptRank + foldedRank, types = new Array<string>(f.access.length);
    for (const o of operands) if (o.binding >= 0) types[o.binding] = storedType(o.dtype);
    for (const w of writes) types[w.binding] = resultType(w.dtype);
    const base = (walk: number): string => dot("o", keptRank, walks + walk * each);
    const along = (walk: number): string => dot("k", foldedRank, walks + walk * each + keptRank);
    const bases = operands.map((o, j) => {
      const offset = word(R.offsets + j);
      if (o.mode === "constant") return `let a${j} = ${constant(o.dtype, offset)};`;
      if (o.mode === "one") return `let a${j} = ${load(o.dtype, `b${o.binding}`, offset)};`;
      return `let base${j} = ${offset}${base(j)};`;
    });
    writes.forEach((_, j) => bases.push(`let to${j} = 0${base(operands.length + j)};`));
    const loading = (list: readonly number[], index: (j: number) => string): string[] =>
      list.filter((j) => operands[j].mode === "walk").map((j) =>
        `let a${j} = ${load(operands[j].dtype, `b${operands[j].binding}`, index(j))};`
      );
    const storing = (list: readonly RowStore[], index: (j: number) => string): string[] =>
      list.map(({ value, write }) => {
        const { dtype, binding, bySplit } = writes[write];
        const at = bySplit ? `i32(split) * ${word(R.outputs)} + output` : index(write);
        return store(dtype, `b${binding}`, at, value);
      });
    const computing = (list: readonly RowStep[]): string[] => list.map((s) => stepLine(s.name, s));
    const functions: string[] = [];
    let count = 0;
    const body = passes.map(({ loads, steps, folds, stores, after }) => {
      const lines = [
        ...loads.length + stores.length > 0 ? [splitIndex("k", "k", foldedRank, folded)] : [],
        ...loading(loads, (j) => `base${j}${along(j)}`),
        ...computing(steps),
      ];
      const puts = storing(stores, (j) => `to${j}${along(operands.length + j)}`);
      const numbers = folds.map(() => count++);
      folds.forEach((r, i) => {
        const n = numbers[i];
        functions.push(
          `fn fold${n}(acc: ${r.through}, x: ${r.through}) -> ${r.through} { return ${r.fold("acc", "x")}; }`,
          ...alone ? [] : [`var<workgroup> scratch${n}: array<${r.through}, ${THREADS}>;`],
        );
      });
      const inner = (list: readonly string[]): string => list.join("\n        ");
      const each = (f: (n: number, r: RowFold) => string): string =>
        folds.map((r, i) => f(numbers[i], r)).join(" ");
      const over = folds.length === 0
        ? stores.length === 0 ? "" : `for (var k = begin + i32(lane); k < end; k += i32(lanes)) {
        ${inner([...lines, ...puts])}
    }`
        : `${each((n, r) => `var sum${n} = ${literal(r.init, r.through)};`)}
    {
    var k = begin + i32(lane);
    while (k < end) {
      ${each((n, r) => `var part${n} = ${literal(r.init, r.through)};`)}
      let stop = min(end, k + ${TURNS_APART} * i32(lanes));
      for (; k < stop; k += i32(lanes)) {
        ${inner([...lines, ...puts])}
        ${
          each((n, r) =>
            `part${n} = fold${n}(part${n}, ${r.from === "bool" ? `${r.through}(${r.value})` : r.value});`
          )
        }
      }
      ${each((n) => `sum${n} = fold${n}(sum${n}, part${n});`)}
    }
    }`;
      const joined = folds.length === 0 || alone ? "" : `${each((n) => `scratch${n}[lid] = sum${n};`)}
    for (var s = lanes / 2u; s > 0u; s = s / 2u) {
      workgroupBarrier();
      if (lane < s) { ${
        each((n) => `scratch${n}[lid] = fold${n}(scratch${n}[lid], scratch${n}[lid + s * step]);`)
      } }
    }
    workgroupBarrier();
    ${each((n) => `sum${n} = scratch${n}[leader];`)}`;
      const totals = folds.map((r, i) =>
        stepLine(r.name, {
          expression: r.to === "bool" ? `(sum${numbers[i]} != 0u)` : `sum${numbers[i]}`,
          dtype: r.to,
          isUsed: true,
        })
      );
      const rows = storing(after.stores, (j) => `to${j}`);
      return [
        over,
        joined,
        ...totals,
        ...loading(after.loads, (j) => `base${j}`),
        ...computing(after.steps),
        ...rows.length > 0 ? [`if (lane == 0u && inside) { ${rows.join(" ")} }`] : [],
      ].filter((line) => line !== "").join("\n    ");
    }).join("\n    ");
    const text = `${SPREAD}
    let inside = output < ${word(R.outputs)};
    let begin = i32(split) * ${word(R.share)};
    let end = select(0, min(${word(R.folded)}, begin + ${word(R.share)}), inside);
    let step = select(slots, 1u, across);
    let leader = select(slot, slot * lanes, across);
    ${splitIndex("o", "output", keptRank, kept)}
    ${bases.join("\n    ")}
    ${body}`;
    return kernel({
      access: f.access,
      types,
      words: rowProgramWords(f),
      globals: `${heldFunction(text, R.zero)}${functions.join("\n")}`,
      body: text,
    });
  });
}
