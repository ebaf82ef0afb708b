/** From the steps of a run to kernels: how each family of primitives is computed. */
import type { DType } from "../../ops/dtype.ts";
import type { Lowered } from "../../ops/lower.ts";
import type {
  Aval,
  Contraction,
  Custom,
  Elementwise,
  Movement,
  Reduction,
  View,
} from "../../ops/primitive.ts";
import { type Shape, sizeOf, splitAt, stridesOf } from "../../ops/shape.ts";
import { isContiguous, wholeView } from "../../ops/definitions/movement.ts";
import { noSuchClass } from "../../ops/definitions/fused.ts";
import { type FlatIndex, noPlace } from "../../ops/definitions/places.ts";
import type { Limits } from "./device.ts";
import { type Operand, PlanBuilder } from "./builder.ts";
import { emitElementwise } from "./emit_elementwise.ts";
import { emitFold, emitMatmul } from "./emit_folds.ts";
import { emitRows, rowOp } from "./emit_rows.ts";
import { emitLong } from "./emit_long.ts";
import { emitMap } from "./emit_map.ts";
import { MAP } from "./kernels/map.ts";
import type { FaultMessage, Plan, RunAttributes } from "./plan.ts";

/** The plan of a run on devices with these limits. */
export function makePlan(lowered: Lowered, limits: Limits, now: RunAttributes): Plan {
  const b = new PlanBuilder(lowered, limits, now);
  const isRoot = new Set(lowered.roots);
  const results = new Map<number, Operand>();
  lowered.steps.forEach((step, i) => {
    checkType(step.dtype, limits);
    const operand = emitStep(b, i);
    b.operands.push(operand);
    if (isRoot.has(i)) results.set(i, isWhole(operand) ? operand : copyOf(b, i));
  });
  return b.finish(lowered.roots.map((i) => results.get(i)!));
}

/** Refuses element types that the device does not have. */
export function checkType(dtype: DType, limits: Limits): void {
  if (dtype === "f64") {
    throw new TypeError(
      `Cannot compute in f64 on WebGPU, which has no 64-bit floats: convert with x.to("f32"), or compute on the host ` +
        `with { device: "host" }`,
    );
  }
  if (dtype === "f16" && !limits.f16) {
    throw new TypeError(
      `Cannot compute in f16 on this GPU, whose driver lacks shader-f16: convert with x.to("f32"), or compute on the ` +
        `host with { device: "host" }`,
    );
  }
}

/** Whether a root may have the memory of this value for its own. */
function isWhole({ value, view }: Operand): boolean {
  return value.kind !== "constant" && isContiguous(view) && view.offset === 0 &&
    sizeOf(view.shape) === value.elements;
}

function emitStep(b: PlanBuilder, i: number): Operand {
  const { op, leaf, shape, dtype, source } = b.steps[i];
  if (op === null) {
    const value = b.value(leaf === "input" ? "input" : "constant", dtype, sizeOf(shape), i, source);
    return { value, view: wholeView(shape), dtype, moving: -1 };
  }
  b.count(op.name);
  switch (op.family) {
    case "elementwise":
      return elementwise(b, i, op);
    case "movement":
      return movement(b, i, op);
    case "reduction":
      return reduction(b, i, op);
    case "contraction":
      return contraction(b, i, op);
    case "custom":
      return op.name === "cat" ? cat(b, i) : custom(b, i, op);
  }
}

function elementwise(b: PlanBuilder, i: number, op: Elementwise): Operand {
  const { inputs, shape, dtype } = b.steps[i];
  const result = b.result(i, shape, dtype);
  const expression = op.wgsl(
    inputs.map((_, j) => `a${j}`),
    inputs.map((j) => b.steps[j].dtype),
    b.attributes(i),
  );
  emitElementwise(b, expression, inputs.map((j) => b.operands[j]), shape, result);
  return result;
}

/** A copy of what step `i` stands for, in row-major order. */
function copyOf(b: PlanBuilder, i: number): Operand {
  const { shape, dtype } = b.steps[i];
  const result = b.result(i, shape, dtype);
  emitElementwise(b, "a0", [b.operands[i]], shape, result);
  return result;
}

/** Operand `j` of a step with its elements in row-major order. */
function contiguous(b: PlanBuilder, j: number): Operand {
  return b.contiguous(j, (k) => copyOf(b, k));
}

function movement(b: PlanBuilder, i: number, op: Movement): Operand {
  const { inputs: [from], shape, dtype } = b.steps[i];
  const x = b.operands[from], p = b.attributes(i);
  const view = op.view(x.view, p, { shape, dtype });
  if (view !== null) {
    // Where a slice starts is data; so is where anything on top of it does.
    const moves = op.key !== undefined || x.moving >= 0;
    if (moves) b.moves(i, from);
    return { value: x.value, view, dtype, moving: moves ? i : -1 };
  }
  const copy = contiguous(b, from);
  return { ...copy, view: op.view(wholeView(x.view.shape), p, { shape, dtype }) ?? wholeView(shape) };
}

function reduction(b: PlanBuilder, i: number, op: Reduction): Operand {
  const { inputs: [from], shape, dtype } = b.steps[i];
  const x = b.operands[from], { axes } = b.attributes(i) as { axes: number[] };
  const through = dtype === "bool" ? "u32" : dtype === "i32" || dtype === "u32" ? dtype : "f32";
  const result = b.result(i, shape, dtype);
  emitFold(b, {
    fold: (acc, value) => op.wgsl(acc, value, through),
    init: op.init(x.dtype),
    through,
    x,
    axes,
    result,
  });
  return result;
}

function contraction(b: PlanBuilder, i: number, _op: Contraction): Operand {
  const { inputs: [l, r], shape, dtype } = b.steps[i];
  const result = b.result(i, shape, dtype);
  emitMatmul(b, b.operands[l], b.operands[r], result);
  return result;
}

/** Concatenation is a copy of each operand into its window of the result. */
function cat(b: PlanBuilder, i: number): Operand {
  const { inputs, shape, dtype } = b.steps[i];
  const { axis } = b.attributes(i) as { axis: number };
  const result = b.result(i, shape, dtype), strides = stridesOf(shape);
  let at = 0;
  for (const j of inputs) {
    const part: Shape = b.steps[j].shape;
    const window: View = { shape: part, strides, offset: at * splitAt(shape, axis)[2] };
    emitElementwise(b, "a0", [b.operands[j]], part, { ...result, view: window });
    at += part[axis];
  }
  return result;
}

function custom(b: PlanBuilder, i: number, op: Custom): Operand {
  const { inputs, shape, dtype } = b.steps[i];
  const y: Aval = { shape, dtype };
  const avals: Aval[] = inputs.map((j) => ({ shape: b.steps[j].shape, dtype: b.steps[j].dtype }));
  const operands = inputs.map((j) => contiguous(b, j));
  const result = b.result(i, shape, dtype);
  const p = b.attributes(i);
  const { fault } = op;
  const message = fault === undefined
    ? faultMessage(op.name, avals, y, p)
    : (k: number) => fault(k, avals, p);
  const rows = rowOp(op.name, p?.axis, avals[0].shape.length);
  if (emitLong(b, { name: op.name, p, operands, result, message })) return result;
  if (rows !== null) {
    emitRows(b, rows, operands, result, message);
    return result;
  }
  const at = emitMap(b, {
    body: op.wgsl.body(avals, y, p),
    threads: op.wgsl.threads(avals, y, p),
    turns: op.wgsl.turns?.(avals, y, p) ?? 1,
    uniforms: op.wgsl.uniforms(avals, y, p),
    operands,
    result,
    message,
  });
  if (op.key !== undefined && at !== null) {
    const first = at / 4 + MAP.uniforms(operands.length);
    b.patch((w, now) => w.i32.set(op.wgsl.uniforms(avals, y, b.attributes(i, now)), first));
  }
  return result;
}

/** Ops that are parts of others, by what those are called. */
const ACTIONS: Readonly<Record<string, string>> = { lastWriter: "scatter", scatterFold: "scatterReduce" };

/** What the host says of the same index. */
function faultMessage(name: string, x: readonly Aval[], y: Aval, p: { axis?: number } | null): FaultMessage {
  const index = name === "flatIndex" || name === "lastWriter" ? x[0] : x[1];
  const shown = (bits: number): number => index?.dtype === "u32" ? bits >>> 0 : bits | 0;
  if (name === "flatIndex") return (bits) => noPlace(p as unknown as FlatIndex, shown(bits));
  if (name === "crossEntropy" || name === "nllLoss") {
    const classes = x[0].shape[x[0].shape.length - 1];
    return (bits) => noSuchClass(name, shown(bits), classes);
  }
  const isTable = name.startsWith("embedding"), shape = name === "embeddingGrad" ? y.shape : x[0].shape;
  const action = ACTIONS[name] ?? (isTable ? "look up an embedding" : name);
  const n = (name === "lastWriter" ? y.shape : shape)[isTable ? 0 : p?.axis ?? 0];
  return (bits) => `Cannot ${action} at index ${shown(bits)}: the axis has length ${n}`;
}
