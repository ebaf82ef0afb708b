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
import { type FoldStep, literal, TURNS_APART } from "./reduction.ts";

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

/** What is stored of each element, or of each row. */
export interface RowStore {
  readonly value: string;
  readonly dtype: DType;
  readonly binding: number;
  /** Its number among the walks. */
  readonly walk: number;
}

/** One time over the rows, and what follows of each row. */
export interface RowPass {
  /** Operands that it loads. */
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
  readonly stores: number;
  readonly keptRank: number;
  readonly foldedRank: number;
  /** Whether a thread has a row for itself. */
  readonly alone: boolean;
  readonly access: string;
}

/** Where the parameters stand: `lanesFirst` as in reductions; offsets of operands and of stores, lengths, steps of each. */
export const ROW_PROGRAM = { outputs: 0, folded: 1, lanes: 2, lanesFirst: 3, zero: 4, offsets: 5 };

/** Parameter words of a form. */
export function rowProgramWords({ operands, stores, keptRank, foldedRank }: RowProgramForm): number {
  const walks = operands.length + stores;
  return ROW_PROGRAM.offsets + walks + (keptRank + foldedRank) * (1 + walks);
}

function keyOf(f: RowProgramForm): string {
  const stores = (list: readonly RowStore[]): string =>
    list.map((s) => `${s.value}${s.dtype}${s.binding}.${s.walk}`).join();
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
  }|${f.stores}|${f.keptRank}|${f.foldedRank}|${f.alone}|${f.access}`;
}

/** The kernel of a form. */
export function rowProgramKernel(f: RowProgramForm): Kernel {
  return cachedKernel(keyOf(f), () => {
    const R = ROW_PROGRAM, { operands, passes, keptRank, foldedRank, alone } = f;
    const kept = R.offsets + operands.length + f.stores,
      folded = kept + keptRank,
      walks = folded + foldedRank;
    const each = keptRank + foldedRank, types = new Array<string>(f.access.length);
    for (const o of operands) if (o.binding >= 0) types[o.binding] = storedType(o.dtype);
    for (const { stores, after } of passes) {
      for (const s of [...stores, ...after.stores]) types[s.binding] = resultType(s.dtype);
    }
    const base = (walk: number): string => word(R.offsets + walk) + dot("o", keptRank, walks + walk * each);
    const place = (walk: number): string =>
      `base${walk}${dot("k", foldedRank, walks + walk * each + keptRank)}`;
    const bases: string[] = [];
    operands.forEach((o, j) => {
      if (o.mode === "constant") bases.push(`let a${j} = ${constant(o.dtype, word(R.offsets + j))};`);
      else if (o.mode === "one") {
        bases.push(`let a${j} = ${load(o.dtype, `b${o.binding}`, word(R.offsets + j))};`);
      } else bases.push(`let base${j} = ${base(j)};`);
    });
    for (let j = operands.length; j < operands.length + f.stores; j++) {
      bases.push(`let base${j} = ${base(j)};`);
    }
    const loading = (list: readonly number[], index: (j: number) => string): string[] =>
      list.map((j) => `let a${j} = ${load(operands[j].dtype, `b${operands[j].binding}`, index(j))};`);
    const computing = (list: readonly RowStep[]): string[] => list.map((s) => stepLine(s.name, s));
    const functions: string[] = [];
    let count = 0;
    const body = passes.map(({ loads, steps, folds, stores, after }) => {
      const lines = [
        ...loads.length + stores.length > 0 ? [splitIndex("k", "k", foldedRank, folded)] : [],
        ...loading(loads, place),
        ...computing(steps),
      ];
      const puts = stores.map((s) => store(s.dtype, `b${s.binding}`, place(s.walk), s.value));
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
        ? stores.length === 0 ? "" : `for (var k = i32(lane); k < end; k += i32(lanes)) {
        ${inner([...lines, ...puts])}
    }`
        : `${each((n, r) => `var sum${n} = ${literal(r.init, r.through)};`)}
    {
    var k = i32(lane);
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
      const rows = after.stores.map((s) => store(s.dtype, `b${s.binding}`, `base${s.walk}`, s.value));
      return [
        over,
        joined,
        ...totals,
        ...loading(after.loads, (j) => `base${j}`),
        ...computing(after.steps),
        ...rows.length > 0 ? [`if (lane == 0u && inside) { ${rows.join(" ")} }`] : [],
      ].filter((line) => line !== "").join("\n    ");
    }).join("\n    ");
    const text = `
    let lanes = u32(${word(R.lanes)});
    let slots = ${THREADS}u / lanes;
    let across = ${word(R.lanesFirst)} == 1;
    let lane = select(lid / slots, lid % lanes, across);
    let slot = select(lid % slots, lid / lanes, across);
    let output = i32(group * slots + slot);
    let inside = output < ${word(R.outputs)};
    let end = select(0, ${word(R.folded)}, inside);
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
