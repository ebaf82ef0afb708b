/** Softmax, logsumexp and crossEntropy along a last axis: several threads a row. */
import { sizeOf } from "../../ops/shape.ts";
import { rowLanes } from "./heuristics.ts";
import type { Binding, Operand, PlanBuilder } from "./builder.ts";
import { rowKernel, type RowOp, ROWS } from "./kernels/rows.ts";
import type { FaultMessage } from "./plan.ts";
import { THREADS } from "./kernels/kernel.ts";

/** Which kernel computes `name` along `axis` of rank `rank` in rows, or null where a thread a line is better. */
export function rowOp(name: string, axis: number | undefined, rank: number): RowOp | null {
  if (name === "crossEntropy") return name;
  // Along other axes neighbouring lines are neighbours in memory, and a thread for each reads them well.
  return (name === "softmax" || name === "logsumexp") && axis === rank - 1 ? name : null;
}

/** Computes contiguous `x` (and class numbers) row by row into `result`. */
export function emitRows(
  b: PlanBuilder,
  op: RowOp,
  operands: readonly Operand[],
  result: Operand,
  message: FaultMessage,
): void {
  const [x, target = null] = operands, { shape } = x.view;
  const n = shape[shape.length - 1], rows = sizeOf(shape.slice(0, -1));
  if (rows === 0 || (n === 0 && op === "softmax")) return;
  const lanes = rowLanes(rows, n, b.limits);
  const bindings: Binding[] = operands.concat(result).map((o) => b.whole(o.value));
  const quads = n > 0 && n % 4 === 0 && x.view.offset % 4 === 0 && x.moving < 0;
  const access = b.access(bindings);
  const kernel = rowKernel({ op, dtype: x.dtype, quads, target: target?.dtype ?? null, access });
  const at = b.reserve(kernel);
  const words = [rows, n, lanes, x.view.offset, target?.view.offset ?? 0, 0, 0];
  b.patchOffset(at, ROWS.offset, x);
  if (target !== null) {
    b.patchOffset(at, ROWS.target, target);
    b.faults.push({ word: at / 4 + ROWS.faultSlot, message });
    words[ROWS.faultNumber] = b.faults.length;
    bindings.push({ value: null, offset: 0, bytes: 0 });
  }
  b.dispatch(kernel, bindings, Math.ceil(rows / (THREADS / lanes)), at, words, true);
}
