/** From the steps of a run to kernels: how each family of primitives is computed. */
import type { DType } from "../../ops/dtype.ts";
import type { Lowered } from "../../ops/lower.ts";
import type { Aval, Custom, Movement, View } from "../../ops/primitive.ts";
import { sameShape, type Shape, sizeOf, splitAt, stridesOf } from "../../ops/shape.ts";
import { isContiguous, wholeView } from "../../ops/definitions/movement.ts";
import { noSuchClass } from "../../ops/definitions/fused.ts";
import { type FlatIndex, noPlace } from "../../ops/definitions/places.ts";
import type { Limits } from "./device.ts";
import { isWhole, type Operand, PlanBuilder } from "./builder.ts";
import { Batches } from "./batches.ts";
import { inShortOrder } from "../sequence.ts";
import { joinEqual } from "../simplify.ts";
import { type Chain, expressionOf, storeOnly } from "./chain.ts";
import { type Cluster, cluster, type Clusters, LOOP, mostBuffers } from "./clusters.ts";
import { Takeovers } from "./takeovers.ts";
import { emitChain, emitChains } from "./emit_elementwise.ts";
import { emitFold, type Folded, foldsInParts } from "./emit_folds.ts";
import { emitMatmul } from "./emit_matmul.ts";
import type { ChainStep } from "./kernels/chain.ts";
import { emitRowProgram } from "./emit_row_program.ts";
import { emitRows, rowOp } from "./emit_rows.ts";
import { foldOf, programFrom } from "./row_programs.ts";
import { emitLong } from "./emit_long.ts";
import { emitMap } from "./emit_map.ts";
import { MAP } from "./kernels/map.ts";
import type { FaultMessage, Plan, RunAttributes } from "./plan.ts";

/** What plans may do. */
export interface PlanOptions {
  /** Whether steps share kernels, equal steps are joined, and large work is compiled for its shape; default true. */
  readonly fusion?: boolean;
  /** Whether all runs have the attributes of this one, but for random keys: where slices start is no data then. */
  readonly steady?: boolean;
  /** Is told, for pictures, which steps which dispatches compute. */
  readonly trace?: PlanTrace;
}

/** Which steps are computed by which dispatches, the last excluded. */
export interface PlanTrace {
  lowered: Lowered | null;
  readonly groups: { steps: readonly number[]; from: number; to: number }[];
}

/** The plan of a run on devices with these limits. */
export function makePlan(
  graph: Lowered,
  limits: Limits,
  now: RunAttributes,
  options: PlanOptions = {},
): Plan {
  const { fusion = true, steady = false, trace } = options;
  const loops = { applications: fusion ? LOOP : 1, operands: mostBuffers(limits) - 2 };
  const lowered = inShortOrder(fusion ? joinEqual(graph, now) : graph, loops);
  if (trace !== undefined) trace.lowered = lowered;
  const b = new PlanBuilder(lowered, limits, now, fusion, steady);
  const results = new Map<number, Operand>();
  let from = 0;
  const tell = (steps: readonly number[]): void => {
    if (b.dispatches > from) trace?.groups.push({ steps, from, to: b.dispatches });
    from = b.dispatches;
  };
  const takeovers = new Takeovers(b), batches = new Batches(b, takeovers, tell);
  const keepRoot = (i: number): void => {
    if (b.isRoot[i] === 0) return;
    const operand = b.operands[i];
    if (operand.value.kind !== "constant" && isWhole(operand)) results.set(i, operand);
    else {
      const { shape, dtype } = b.steps[i], result = b.result(i, shape, dtype);
      batches.add(copying(operand, result), b.steps[i].op === null ? [] : [i], false);
      results.set(i, result);
    }
  };
  lowered.steps.forEach((step, i) => {
    checkType(step.dtype, limits);
    if (step.op !== null) return b.count(step.op.name);
    b.operands[i] = leaf(b, i);
    keepRoot(i);
  });
  const clusters = cluster(lowered, limits, now, !fusion);
  takeovers.find(clusters);
  const done = new Set<Cluster>();
  clusters.order.forEach((item, n) => {
    if (typeof item === "number") {
      const x = b.operands[lowered.steps[item].inputs[0]];
      // What only its own kernel uses has no memory to look at.
      if (x === undefined) return;
      b.operands[item] = movement(b, batches, item, lowered.steps[item].op as Movement);
      tell([item]);
      keepRoot(item);
    } else if (done.has(item)) return;
    else if (item.core < 0) {
      for (const i of item.members) b.countable(b.steps[i]);
      batches.add(loopOf(b, item, clusters, -1), item.members, true, item);
      for (const i of item.members) keepRoot(i);
      if (!fusion) batches.flush();
    } else {
      batches.flush();
      const isReduction = b.steps[item.core].op!.family === "reduction";
      const program = fusion && isReduction ? programFrom(b, clusters, n, (k) => done.has(k)) : null;
      const steps = program === null
        ? [...item.before, item.core, ...item.members]
        : [...program.steps.keys()];
      b.working(steps, () => program === null ? emitCore(b, item, clusters) : emitRowProgram(b, program));
      tell(steps);
      takeovers.done(item);
      for (const k of program?.clusters ?? []) done.add(k), takeovers.done(k);
      for (const i of steps) keepRoot(i);
    }
  });
  batches.flush();
  const plan = b.finish(lowered.roots.map((i) => results.get(i)!));
  // What is done again belongs to what it is done for.
  const endOf = (k: number): number => k === 0 ? 0 : b.ends[k - 1];
  trace?.groups.forEach((group) => Object.assign(group, { from: endOf(group.from), to: endOf(group.to) }));
  return plan;
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

function leaf(b: PlanBuilder, i: number): Operand {
  const { leaf, shape, dtype, source } = b.steps[i];
  const value = b.value(leaf === "input" ? "input" : "constant", dtype, sizeOf(shape), i, source);
  return { value, view: wholeView(shape), dtype, moving: -1 };
}

function emitCore(b: PlanBuilder, k: Cluster, clusters: Clusters): void {
  const op = b.steps[k.core].op!;
  switch (op.family) {
    case "reduction":
      return reduction(b, k, clusters);
    case "contraction":
      return contraction(b, k, clusters);
    case "custom":
      b.operands[k.core] = op.name === "cat" ? cat(b, k.core) : custom(b, k.core, op);
      return;
    case "elementwise":
    case "movement":
      throw new Error("Internal: a cluster around a step that needs none");
  }
}

/** The steps of `list` as a chain over `operands`, which are found for them; `t` numbers from `names`. */
function stepsOf(
  b: PlanBuilder,
  list: readonly number[],
  names: Map<number, string>,
  behind: (step: number) => number,
): { operands: Operand[]; steps: ChainStep[] } {
  const operands: Operand[] = [], steps: Omit<ChainStep, "isUsed">[] = [], first = names.size;
  const used = new Set<string>();
  for (const m of list) {
    const { inputs, dtype } = b.steps[m];
    const x = inputs.map((i) => {
      let name = names.get(i);
      // A reshape of a value at hand is at hand; one of an operand is another operand.
      if (name === undefined && names.get(behind(i))?.[0] === "t") name = names.get(behind(i));
      if (name === undefined) names.set(i, name = `a${operands.push(b.operands[i]) - 1}`);
      used.add(name);
      return name;
    });
    steps.push({ expression: expressionOf(b, m, x), dtype });
    names.set(m, `t${first + steps.length - 1}`);
  }
  return { operands, steps: steps.map((s, k) => ({ ...s, isUsed: used.has(`t${first + k}`) })) };
}

/** The chain of a cluster's members, with memory for what others read; `seed` is a core whose value is at hand, or -1. */
function loopOf(b: PlanBuilder, k: Cluster, clusters: Clusters, seed: number): Chain {
  const names = new Map<number, string>(), stores: Chain["stores"][number][] = [];
  const start: ChainStep[] = [];
  if (seed >= 0) {
    names.set(seed, "t0");
    start.push({ expression: "s", dtype: b.steps[seed].dtype, isUsed: true });
  }
  const { operands, steps } = stepsOf(b, k.members, names, clusters.behind);
  for (const m of seed < 0 ? k.members : [seed, ...k.members]) {
    if (!clusters.isStored(m, k)) continue;
    const { shape, dtype } = b.steps[m];
    stores.push({ value: names.get(m)!, result: b.operands[m] = b.result(m, shape, dtype) });
  }
  return { operands, steps: [...start, ...steps], stores, shape: k.shape };
}

/** Notes how members that are stored can be computed again of others, as a gelu of what it was applied to. */
function noteSpares(b: PlanBuilder, k: Cluster, { isStored, behind }: Clusters): void {
  const own = [k.core, ...k.members], stored = own.filter((m) => isStored(m, k));
  if (stored.length < 2) return;
  for (const m of stored) {
    if (m === k.core || b.isRoot[m] === 1) continue;
    const list = new Set<number>();
    const isThere = (i: number): boolean => {
      if (!own.includes(i) || (i !== m && stored.includes(i)) || list.has(i)) return true;
      const is = i !== k.core &&
        b.steps[i].inputs.every((x) => isThere(own.includes(behind(x)) ? behind(x) : x));
      list.add(i);
      return is;
    };
    if (!isThere(m)) continue;
    const names = new Map<number, string>(), { operands, steps } = stepsOf(b, [...list], names, behind);
    const { shape } = b.steps[m], result = b.operands[m];
    if (operands.some((o) => o === undefined)) continue;
    b.spare(
      result.value,
      () => emitChain(b, { operands, steps, stores: [{ value: names.get(m)!, result }], shape }),
    );
  }
}

/** What becomes of a core's value `s`, and what must follow because it is too large to be bound whole. */
function afterCore(b: PlanBuilder, k: Cluster, clusters: Clusters, whole: boolean): [Chain, Chain | null] {
  const { core, members } = k;
  if (members.length > 0 && whole && operandsFit(b, k)) return [loopOf(b, k, clusters, core), null];
  const { shape, dtype } = b.steps[core];
  const result = b.operands[core] = b.result(core, shape, dtype);
  return [storeOnly(result), members.length > 0 ? loopOf(b, k, clusters, -1) : null];
}

/** Whether kernels can bind all that the members of a cluster read. */
function operandsFit(b: PlanBuilder, { members }: Cluster): boolean {
  // What has no operand yet is a value of this very cluster.
  return members.every((m) =>
    b.steps[m].inputs.every((x) => (b.operands[x]?.value.bytes ?? 0) <= b.limits.binding)
  );
}

/** The chain that copies an operand to a result. */
function copying(operand: Operand, result: Operand): Chain {
  return {
    operands: [operand],
    steps: [{ expression: "a0", dtype: result.dtype, isUsed: false }],
    stores: [{ value: "t0", result }],
    shape: result.view.shape,
  };
}

/** A copy of what step `i` stands for, in row-major order. */
function copyOf(b: PlanBuilder, i: number): Operand {
  const { shape, dtype } = b.steps[i], result = b.result(i, shape, dtype);
  emitChain(b, copying(b.operands[i], result));
  return result;
}

/** Operand `j` of a step with its elements in row-major order. */
function contiguous(b: PlanBuilder, j: number): Operand {
  return b.contiguous(j, (k) => copyOf(b, k));
}

function movement(b: PlanBuilder, batches: Batches, i: number, op: Movement): Operand {
  const { inputs: [from], shape, dtype } = b.steps[i];
  const x = b.operands[from], p = b.attributes(i);
  const view = op.view(x.view, p, { shape, dtype });
  if (view !== null) {
    // Where a slice starts is data; so is where anything on top of it does.
    const moves = !b.steady && (op.key !== undefined || x.moving >= 0);
    if (moves) b.moves(i, from);
    return { value: x.value, view, dtype, moving: moves ? i : -1 };
  }
  if (batches.has(x.value)) batches.flush();
  const copy = contiguous(b, from);
  return { ...copy, view: op.view(wholeView(x.view.shape), p, { shape, dtype }) ?? wholeView(shape) };
}

function reduction(b: PlanBuilder, k: Cluster, clusters: Clusters): void {
  const { inputs: [from], shape, dtype } = b.steps[k.core];
  const { axes } = b.attributes(k.core) as { axes: number[] };
  const x = k.before.length === 0 ? b.operands[from] : folded(b, k);
  const whole = "operands" in x || !foldsInParts(b, x);
  const [finish, rest] = afterCore(b, k, clusters, whole && sizeOf(shape) > 0);
  emitFold(b, { ...foldOf(b, k.core), x, axes, dtype, finish });
  if (rest !== null) emitChain(b, rest);
  else noteSpares(b, k, clusters);
}

/** What a reduction folds as a chain; as a value of its own, where it reads what is too large to be bound. */
function folded(b: PlanBuilder, { before }: Cluster): Folded | Operand {
  const names = new Map<number, string>(), last = before[before.length - 1];
  const chain = stepsOf(b, before, names, (x) => x), { operands } = chain;
  const steps = chain.steps.map((s) => ({ ...s, isUsed: true }));
  const { shape, dtype } = b.steps[last], value = names.get(last)!;
  if (operands.every((o) => o.value.bytes <= b.limits.binding)) {
    return { operands, steps, value, dtype, view: wholeView(shape) };
  }
  const result = b.result(last, shape, dtype);
  emitChain(b, { operands, steps, stores: [{ value, result }], shape });
  return result;
}

function contraction(b: PlanBuilder, k: Cluster, clusters: Clusters): void {
  const { inputs: [l, r], shape, dtype } = b.steps[k.core];
  if (isTransposed(b, k, clusters)) {
    // (l r)ᵀ = rᵀ lᵀ
    const result = b.result(k.core, swapLast(shape), dtype);
    emitMatmul(b, transposed(b.operands[r]), transposed(b.operands[l]), dtype, storeOnly(result));
    b.operands[k.core] = transposed(result);
    return;
  }
  const [finish, rest] = afterCore(b, k, clusters, sizeOf(shape) > 0);
  emitMatmul(b, b.operands[l], b.operands[r], dtype, finish);
  if (rest !== null) emitChain(b, rest);
  else noteSpares(b, k, clusters);
}

/** Whether all that use a product see it transposed, as the gradient of a transposed weight is: then it is stored so. */
function isTransposed(b: PlanBuilder, { core, members }: Cluster, { consumers }: Clusters): boolean {
  const { shape } = b.steps[core], users = consumers[core];
  if (members.length > 0 || users.length === 0 || b.isRoot[core] === 1) return false;
  const swapped = swapLast([...shape.keys()]);
  return users.every((u) => b.steps[u].op!.name === "permute" && sameShape(b.attributes(u).axes, swapped));
}

/** A list with its last two swapped. */
function swapLast(list: readonly number[]): number[] {
  const n = list.length;
  return [...list.slice(0, n - 2), list[n - 1], list[n - 2]];
}

function transposed(x: Operand): Operand {
  const { shape, strides, offset } = x.view;
  return { ...x, view: { shape: swapLast(shape), strides: swapLast(strides), offset } };
}

/** Concatenation is a copy of each operand into its window of the result, or nothing where they lie so. */
function cat(b: PlanBuilder, i: number): Operand {
  const { inputs, shape, dtype } = b.steps[i];
  const { axis } = b.attributes(i) as { axis: number };
  const [first] = inputs.map((j) => b.operands[j]);
  let next = first.view.offset;
  const lieSo = sizeOf(shape.slice(0, axis)) === 1 && first.moving < 0 && inputs.every((j) => {
    const { value, view, moving } = b.operands[j], isNext = view.offset === next;
    next += sizeOf(view.shape);
    return value === first.value && isContiguous(view) && isNext && moving < 0;
  });
  if (lieSo) return { ...first, view: { ...wholeView(shape), offset: first.view.offset } };
  const result = b.result(i, shape, dtype), strides = stridesOf(shape);
  let at = 0;
  emitChains(
    b,
    inputs.map((j) => {
      const part: Shape = b.steps[j].shape;
      const window: View = { shape: part, strides, offset: at * splitAt(shape, axis)[2] };
      at += part[axis];
      return copying(b.operands[j], { ...result, view: window });
    }),
  );
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
  const { workgroup } = op.wgsl, { limits } = b;
  const at = emitMap(b, {
    body: op.wgsl.body(avals, y, p, limits),
    workgroup: workgroup === undefined
      ? null
      : { threads: workgroup.threads, globals: workgroup.globals(avals, p, limits) },
    threads: op.wgsl.threads(avals, y, p, limits),
    turns: op.wgsl.turns?.(avals, y, p) ?? 1,
    uniforms: op.wgsl.uniforms(avals, y, p),
    operands,
    result,
    message,
    // With a key of their own, attributes are data.
    operations: op.key === undefined ? op.flops(avals, y, p) : 0,
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
