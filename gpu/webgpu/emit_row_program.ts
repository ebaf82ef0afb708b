/** Programs over rows as kernels: what each pass loads, computes, folds and stores. */
import { type Binding, bindOnce, type Operand, type PlanBuilder } from "./builder.ts";
import { expressionOf, isNumber } from "./chain.ts";
import { foldOf, type Kind, type ProgramStep, type RowProgram, type Source } from "./row_programs.ts";
import type { FormOperand, Mode } from "./kernels/chain.ts";
import {
  ROW_PROGRAM,
  type RowFold,
  type RowPass,
  type RowProgramForm,
  rowProgramKernel,
  type RowStep,
  type RowStore,
} from "./kernels/row_program.ts";
import { THREADS } from "./kernels/kernel.ts";
import { stridesOf } from "../../ops/shape.ts";
import { collapse } from "./views.ts";

/** Computes a program. */
export function emitRowProgram(b: PlanBuilder, program: RowProgram): void {
  const { shape, axes, kept, spread: { lanes }, outputs, lanesFirst } = program;
  const bindings: Binding[] = [], steps = [...program.steps.values()];
  const numbers = new Map(steps.map(({ step }, i) => [step, i]));
  const operands = program.operands.map(({ operand, strides }): FormOperand => {
    const mode: Mode = isNumber(b, operand) ? "constant" : strides.every((n) => n === 0) ? "one" : "walk";
    const binding = mode === "constant" ? -1 : bindOnce(bindings, b.whole(operand.value));
    return { dtype: operand.dtype, mode, binding };
  });
  const keptStrides = stridesOf(kept.map((i) => shape[i]));
  const stored: { readonly step: ProgramStep; readonly store: RowStore; readonly strides: number[] }[] = [];
  for (const step of steps) {
    if (!program.isStored(step.step)) continue;
    const { shape: own, dtype } = b.steps[step.step];
    const result = b.operands[step.step] = b.result(step.step, own, dtype);
    const binding = bindOnce(bindings, b.whole(result.value)), walk = operands.length + stored.length;
    const strides = step.kind === "element"
      ? stridesOf(shape)
      : shape.map((_, a) => axes.includes(a) ? 0 : keptStrides[kept.indexOf(a)]);
    stored.push({ step, store: { value: `t${numbers.get(step.step)}`, dtype, binding, walk }, strides });
  }
  const nameOf = (s: Source): string => "operand" in s ? `a${s.operand}` : `t${numbers.get(s.step)}`;
  const isFold = ({ step }: ProgramStep): boolean => b.steps[step].op!.family === "reduction";
  const asStep = ({ step, inputs }: ProgramStep): RowStep => ({
    name: numbers.get(step)!,
    expression: expressionOf(b, step, inputs.map(nameOf)),
    dtype: b.steps[step].dtype,
    isUsed: true,
  });
  const storesOf = (kind: Kind, level: number): RowStore[] =>
    stored.filter(({ step }) => step.kind === kind && step.level === level).map(({ store }) => store);
  const walks = (j: number): boolean => operands[j].mode === "walk";
  const loaded = new Set<number>();
  const loadsOf = (list: readonly ProgramStep[]): number[] => [
    ...new Set(
      list.flatMap(({ inputs }) =>
        inputs.flatMap((s) => "operand" in s && walks(s.operand) ? [s.operand] : [])
      ),
    ),
  ];
  const passes: RowPass[] = [];
  const last = Math.max(...steps.filter((s) => isFold(s) || program.isStored(s.step)).map((s) => s.level));
  for (let level = 0; level <= last; level++) {
    const folds = steps.filter((s) => isFold(s) && s.level === level);
    const wanted = new Set<number>();
    const want = ({ inputs }: ProgramStep): void => {
      for (const s of inputs) if ("step" in s) add(program.steps.get(s.step)!);
    };
    const add = (s: ProgramStep): void => {
      if (s.kind === "row" || wanted.has(s.step)) return;
      wanted.add(s.step);
      want(s);
    };
    folds.forEach(want);
    for (const { step } of stored) if (step.kind === "element" && step.level === level) add(step);
    const inside = steps.filter((s) => wanted.has(s.step));
    const rows = steps.filter((s) => s.kind === "row" && !isFold(s) && s.level === level);
    const first = loadsOf(rows).filter((j) => !loaded.has(j));
    for (const j of first) loaded.add(j);
    passes.push({
      loads: loadsOf([...inside, ...folds]),
      steps: inside.map(asStep),
      folds: folds.map((s): RowFold => {
        const from = b.steps[s.step].inputs[0];
        return {
          ...foldOf(b, s.step),
          name: numbers.get(s.step)!,
          value: nameOf(s.inputs[0]),
          from: b.steps[from].dtype,
          to: b.steps[s.step].dtype,
        };
      }),
      stores: storesOf("element", level),
      after: { loads: first, steps: rows.map(asStep), stores: storesOf("row", level) },
    });
  }
  const all = [...program.operands.map(({ strides }) => strides), ...stored.map(({ strides }) => strides)];
  const walk = (list: readonly number[]) =>
    collapse(list.map((a) => shape[a]), all.map((strides) => list.map((a) => strides[a])));
  const k = walk(kept), r = walk(axes);
  const form: RowProgramForm = {
    operands,
    passes,
    stores: stored.length,
    keptRank: k.lengths.length,
    foldedRank: r.lengths.length,
    alone: lanes === 1,
    access: b.access(bindings),
  };
  const kernel = rowProgramKernel(form), at = b.reserve(kernel);
  const reads: readonly Operand[] = program.operands.map(({ operand }) => operand);
  reads.forEach((o, j) => {
    if (operands[j].mode === "constant") b.patchConstant(at / 4 + ROW_PROGRAM.offsets + j, o.value.step);
    else b.patchOffset(at, ROW_PROGRAM.offsets + j, o);
  });
  b.dispatch(kernel, bindings, Math.ceil(outputs / (THREADS / lanes)), at, [
    outputs,
    program.folded,
    lanes,
    lanesFirst ? 1 : 0,
    0,
    ...reads.map((o, j) => operands[j].mode === "constant" ? 0 : o.view.offset),
    ...stored.map(() => 0),
    ...k.lengths,
    ...r.lengths,
    ...all.flatMap((_, j) => [...k.steps[j], ...r.steps[j]]),
  ]);
}
