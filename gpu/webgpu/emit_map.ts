/** Kernels with a body of their own, over contiguous operands. */
import { type Binding, bindOnce, type Operand, type PlanBuilder } from "./builder.ts";
import { canFault, forUniforms, MAP, type MapForm, mapKernel, readsQuads } from "./kernels/map.ts";
import type { FaultMessage } from "./plan.ts";
import { THREADS } from "./kernels/kernel.ts";

/** One call of a body. */
export interface MapCall {
  readonly body: string;
  /** Of threads that work together: how many are in a group, and what they share. */
  readonly workgroup?: MapForm["workgroup"];
  /** Threads, or groups of them. */
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
/** Up to so many operations a byte a call is traffic above all. */
const LITTLE = 8;

/** Adds the call; where the parameters of its last turn stand, or null where there is nothing to do. */
export function emitMap(
  b: PlanBuilder,
  { body, workgroup = null, threads, turns = 1, uniforms, operands, result, message, operations = 0 }:
    MapCall,
): number | null {
  if (threads === 0) return null;
  const bindings: Binding[] = [];
  const bindingOf = operands.map(({ value }) => bindOnce(bindings, b.whole(value)));
  bindings.push(b.whole(result.value));
  const text = (workgroup?.globals ?? "") + body;
  // Memory is read by fours where every reader of fours finds them in place.
  const isQuads = bindings.map(({ value }, n) => {
    const readers = operands.filter((_, j) => bindingOf[j] === n && readsQuads(text, j));
    return readers.length > 0 && value!.elements % 4 === 0 &&
      readers.every((o) => o.moving < 0 && o.view.offset % 4 === 0);
  });
  const generic = mapKernel({
    body,
    workgroup,
    operands: operands.map((o, j) => ({
      dtype: o.dtype,
      binding: bindingOf[j],
      isQuads: isQuads[bindingOf[j]],
    })),
    result: result.dtype,
    uniforms: uniforms.length,
    access: b.access(bindings),
  });
  // Threads that work together know how far their loops go: lengths of tiles are part of their text.
  const isSpecial = b.specialises && operations >= MANY && workgroup === null;
  const kernel = isSpecial ? forUniforms(generic, uniforms) : generic;
  if (canFault(body)) bindings.push({ value: null, offset: 0, bytes: 0 });
  // What computes much is not worth it.
  const isRepeatable = turns === 1 && !canFault(body) &&
    operations <= LITTLE * bindings.reduce((n, { bytes }) => n + bytes, 0);
  let at: number | null = null;
  for (let turn = 0; turn < turns; turn++) {
    at = b.reserve(kernel);
    const words = [threads, 0, 0, turn, ...operands.map((o) => o.view.offset), ...uniforms];
    if (canFault(body)) {
      b.faults.push({ word: at / 4 + MAP.faultSlot, message });
      words[MAP.faultNumber] = b.faults.length;
    }
    for (let j = 0; j < operands.length; j++) b.patchOffset(at, MAP.operand(j), operands[j]);
    const groups = workgroup === null ? Math.ceil(threads / THREADS) : threads;
    b.dispatch(kernel, bindings, groups, at, words, isRepeatable);
  }
  return at;
}
