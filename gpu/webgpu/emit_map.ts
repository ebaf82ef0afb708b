/** Kernels with a body of their own, over contiguous operands. */
import { type Binding, bindOnce, type Operand, type PlanBuilder } from "./builder.ts";
import { canFault, forUniforms, MAP, mapKernel } from "./kernels/map.ts";
import type { FaultMessage } from "./plan.ts";
import { THREADS } from "./kernels/kernel.ts";

/** One call of a body. */
export interface MapCall {
  readonly body: string;
  readonly threads: number;
  /** How often it runs; default 1. */
  readonly turns?: number;
  readonly uniforms: readonly number[];
  /** Contiguous. */
  readonly operands: readonly Operand[];
  readonly result: Operand;
  /** What to say when the body calls fault(k). */
  readonly message: FaultMessage;
  /** How much it does, where the uniforms are lengths and the like, and the same in each turn; else 0, the default. */
  readonly operations?: number;
}

/** From so many operations on a kernel of its own for a shape is worth compiling. */
const MANY = 2 ** 18;

/** Adds the call; where the parameters of its last turn stand, or null where there is nothing to do. */
export function emitMap(
  b: PlanBuilder,
  { body, threads, turns = 1, uniforms, operands, result, message, operations = 0 }: MapCall,
): number | null {
  if (threads === 0) return null;
  const bindings: Binding[] = [];
  const bindingOf = operands.map(({ value }) => bindOnce(bindings, b.whole(value)));
  bindings.push(b.whole(result.value));
  const generic = mapKernel({
    body,
    operands: operands.map((o, j) => ({ dtype: o.dtype, binding: bindingOf[j] })),
    result: result.dtype,
    uniforms: uniforms.length,
    access: b.access(bindings),
  });
  const kernel = b.specialises && operations >= MANY ? forUniforms(generic, uniforms) : generic;
  if (canFault(body)) bindings.push({ value: null, offset: 0, bytes: 0 });
  let at: number | null = null;
  for (let turn = 0; turn < turns; turn++) {
    at = b.reserve(kernel);
    const words = [threads, 0, 0, turn, ...operands.map((o) => o.view.offset), ...uniforms];
    if (canFault(body)) {
      b.faults.push({ word: at / 4 + MAP.faultSlot, message });
      words[MAP.faultNumber] = b.faults.length;
    }
    for (let j = 0; j < operands.length; j++) b.patchOffset(at, MAP.operand(j), operands[j]);
    b.dispatch(kernel, bindings, Math.ceil(threads / THREADS), at, words);
  }
  return at;
}
