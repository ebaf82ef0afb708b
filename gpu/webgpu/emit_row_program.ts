/** Programs over rows as kernels: what each pass loads, computes, folds and stores. */
import { sizeOf, stridesOf } from "../../ops/shape.ts";
import { type Binding, bindOnce, type Operand, type PlanBuilder } from "./builder.ts";
import { expressionOf, isNumber } from "./chain.ts";
import { type Spread, spread } from "./heuristics.ts";
import type { FormOperand } from "./kernels/chain.ts";
import { THREADS } from "./kernels/kernel.ts";
import {
  ROW_PROGRAM,
  type RowFold,
  type RowPass,
  type RowProgramForm,
  rowProgramKernel,
  type RowStep,
  type RowStore,
} from "./kernels/row_program.ts";
import { foldOf, type Kind, type ProgramStep, type RowProgram, type Source } from "./row_programs.ts";
import { collapse } from "./views.ts";

/** An operand or a result, with its steps along the kept axes, then along the folded ones. */
interface Walking {
  readonly operand: Operand;
  readonly strides: readonly number[];
  readonly bySplit?: boolean;
}

/** Rows: lengths of their axes and of those along them. */
interface Rows {
  readonly kept: readonly number[];
  readonly folded: readonly number[];
}

/** Computes a program. */
export function emitRowProgram(b: PlanBuilder, program: RowProgram): void {
  const { shape, axes, kept, lanesFirst } = program, steps = [...program.steps.values()];
  const numbers = new Map(steps.map(({ step }, i) => [step, i]));
  const rows: Rows = { kept: kept.map((a) => shape[a]), folded: axes.map((a) => shape[a]) };
  const ordered = (strides: readonly number[]): number[] => [...kept, ...axes].map((a) => strides[a]);
  const ofRows = [...stridesOf(rows.kept), ...axes.map(() => 0)];
  const reads = program.operands.map(({ operand, strides }): Walking => ({
    operand,
    strides: ordered(strides),
  }));
  const stored = steps.filter(({ step }) => program.isStored(step));
  const writes = stored.map(({ step, kind }): Walking => {
    const { shape: own, dtype } = b.steps[step], operand = b.operands[step] = b.result(step, own, dtype);
    return { operand, strides: kind === "row" ? ofRows : ordered(stridesOf(shape)) };
  });
  const passes = passesOf(b, program, stored, numbers);
  if (program.spread.splits === 1) {
    return emitPasses(b, rows, reads, writes, passes, program.spread, lanesFirst);
  }
  // Splits of rows are folded by themselves, then what they gave.
  const [{ folds, after, ...first }] = passes, { splits } = program.spread, { outputs } = program;
  const partial = folds.map(({ name, through }) => b.result(steps[name].step, [splits, outputs], through));
  const parts = partial.map((operand): Walking => ({ operand, strides: [], bySplit: true }));
  const stores = folds.map(({ name }, write): RowStore => ({ value: `t${name}`, write }));
  const alone: RowPass = {
    ...first,
    folds: folds.map((f) => ({ ...f, to: f.through })),
    after: { loads: [], steps: [], stores },
  };
  emitPasses(b, rows, reads, parts, [alone], program.spread, lanesFirst);
  const last: RowPass = {
    loads: partial.map((_, i) => reads.length + i),
    steps: [],
    folds: folds.map((f, i) => ({ ...f, value: `a${reads.length + i}`, from: f.through })),
    stores: [],
    after,
  };
  const along = (
    strides: readonly number[],
    step: number,
  ): number[] => [...strides.slice(0, kept.length), step];
  const { lanes } = spread(outputs, splits, outputs === 1, b.limits);
  emitPasses(
    b,
    { kept: rows.kept, folded: [splits] },
    [
      ...reads.map((r): Walking => ({ ...r, strides: along(r.strides, 0) })),
      ...partial.map((operand): Walking => ({ operand, strides: along(ofRows, outputs) })),
    ],
    writes.map((w) => ({ ...w, strides: along(w.strides, 0) })),
    [last],
    { lanes, splits: 1, share: splits },
    outputs === 1,
  );
}

/** The passes of a program; `stored` in the order of its results. */
function passesOf(
  b: PlanBuilder,
  program: RowProgram,
  stored: readonly ProgramStep[],
  numbers: ReadonlyMap<number, number>,
): RowPass[] {
  const steps = [...program.steps.values()];
  const nameOf = (s: Source): string => "operand" in s ? `a${s.operand}` : `t${numbers.get(s.step)}`;
  const isFold = ({ step }: ProgramStep): boolean => b.steps[step].op!.family === "reduction";
  const asStep = ({ step, inputs }: ProgramStep): RowStep => ({
    name: numbers.get(step)!,
    expression: expressionOf(b, step, inputs.map(nameOf)),
    dtype: b.steps[step].dtype,
    isUsed: true,
  });
  const asFold = ({ step, inputs }: ProgramStep): RowFold => ({
    ...foldOf(b, step),
    name: numbers.get(step)!,
    value: nameOf(inputs[0]),
    from: b.steps[b.steps[step].inputs[0]].dtype,
    to: b.steps[step].dtype,
  });
  const storesOf = (kind: Kind, level: number): RowStore[] =>
    stored.flatMap((s, write) =>
      s.kind === kind && s.level === level ? [{ value: `t${numbers.get(s.step)}`, write }] : []
    );
  const loadsOf = (list: readonly ProgramStep[]): number[] => [
    ...new Set(list.flatMap(({ inputs }) => inputs.flatMap((s) => "operand" in s ? [s.operand] : []))),
  ];
  const loaded = new Set<number>(), passes: RowPass[] = [];
  const last = Math.max(...steps.filter((s) => isFold(s) || stored.includes(s)).map((s) => s.level));
  for (let level = 0; level <= last; level++) {
    const folds = steps.filter((s) => isFold(s) && s.level === level), wanted = new Set<ProgramStep>();
    const want = ({ inputs }: ProgramStep): void => {
      for (const s of inputs) if ("step" in s) add(program.steps.get(s.step)!);
    };
    const add = (s: ProgramStep): void => {
      if (s.kind === "row" || wanted.has(s)) return;
      wanted.add(s);
      want(s);
    };
    folds.forEach(want);
    for (const s of stored) if (s.kind === "element" && s.level === level) add(s);
    const inside = steps.filter((s) => wanted.has(s));
    const rows = steps.filter((s) => s.kind === "row" && !isFold(s) && s.level === level);
    const fresh = loadsOf(rows).filter((j) => !loaded.has(j));
    for (const j of fresh) loaded.add(j);
    passes.push({
      loads: loadsOf([...inside, ...folds]),
      steps: inside.map(asStep),
      folds: folds.map(asFold),
      stores: storesOf("element", level),
      after: { loads: fresh, steps: rows.map(asStep), stores: storesOf("row", level) },
    });
  }
  return passes;
}

function emitPasses(
  b: PlanBuilder,
  rows: Rows,
  reads: readonly Walking[],
  writes: readonly Walking[],
  passes: readonly RowPass[],
  { lanes, splits, share }: Spread,
  lanesFirst: boolean,
): void {
  const bindings: Binding[] = [], rank = rows.kept.length;
  const used = new Set(passes.flatMap(({ loads, after }) => [...loads, ...after.loads]));
  const isPatched = (j: number): boolean => used.has(j) && isNumber(b, reads[j].operand);
  const operands = reads.map(({ operand, strides }, j): FormOperand => {
    const { dtype } = operand;
    if (!used.has(j) || isPatched(j)) return { dtype, mode: "constant", binding: -1 };
    const binding = bindOnce(bindings, b.whole(operand.value));
    return { dtype, mode: strides.every((n) => n === 0) ? "one" : "walk", binding };
  });
  const all = [...reads, ...writes].map(({ strides }) => strides);
  const walk = (lengths: readonly number[], from: number) =>
    collapse(lengths, all.map((s) => lengths.map((_, a) => s[from + a] ?? 0)));
  const k = walk(rows.kept, 0), r = walk(rows.folded, rank);
  const form: RowProgramForm = {
    operands,
    writes: writes.map(({ operand, bySplit = false }) => ({
      dtype: operand.dtype,
      binding: bindOnce(bindings, b.whole(operand.value)),
      bySplit,
    })),
    passes,
    keptRank: k.lengths.length,
    foldedRank: r.lengths.length,
    alone: lanes === 1,
    access: b.access(bindings),
  };
  const kernel = rowProgramKernel(form), at = b.reserve(kernel), first = ROW_PROGRAM.offsets;
  reads.forEach(({ operand }, j) => {
    if (isPatched(j)) b.patchConstant(at / 4 + first + j, operand.value.step);
    else if (used.has(j)) b.patchOffset(at, first + j, operand);
  });
  const outputs = sizeOf(rows.kept), blocks = Math.ceil(outputs / (THREADS / lanes));
  const words = [
    outputs,
    sizeOf(rows.folded),
    share,
    lanes,
    lanesFirst ? 1 : 0,
    blocks,
    0,
    ...operands.map(({ mode }, j) => mode === "constant" ? 0 : reads[j].operand.view.offset),
    ...k.lengths,
    ...r.lengths,
    ...all.flatMap((_, j) => [...k.steps[j], ...r.steps[j]]),
  ];
  b.dispatch(kernel, bindings, blocks * splits, at, words, splits === 1);
}
