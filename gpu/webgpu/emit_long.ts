/**
 * Operations along an axis of any length, in steps that no thread takes too many of: some devices (llvmpipe) end a
 * thread's loops after 65,535 turns, all loops together, and say nothing.
 */
import type { DType } from "../../ops/dtype.ts";
import { type Convolution, convolutionUniforms, convolutionWgsl } from "../../ops/definitions/convolution.ts";
import { beats, less } from "../../ops/definitions/reduction.ts";
import { RUNNING, runningPart } from "../../ops/definitions/running.ts";
import { placeWgsl } from "../../ops/definitions/indexing.ts";
import { foldWgsl } from "../../ops/definitions/scattering.ts";
import { wholeView } from "../../ops/definitions/movement.ts";
import type { Attributes } from "../../ops/primitive.ts";
import { sizeOf, splitAt } from "../../ops/shape.ts";
import type { Operand, PlanBuilder } from "./builder.ts";
import { storeOnly } from "./chain.ts";
import { emitElementwise } from "./emit_elementwise.ts";
import { emitFold } from "./emit_folds.ts";
import { emitMap } from "./emit_map.ts";
import type { FaultMessage } from "./plan.ts";
import { THREADS, valueType } from "./kernels/kernel.ts";

/** Most turns of one loop of a thread. */
const TURNS = 32768;
/** Lines longer than this are cut; three loops over one stay far below the limit. */
const LONG = 4096;
/** Elements that a thread goes through where lines are cut. */
const BLOCK = 256;

/** A custom primitive over contiguous operands. */
export interface LongCall {
  readonly name: string;
  readonly p: Attributes;
  readonly operands: readonly Operand[];
  readonly result: Operand;
  readonly message: FaultMessage;
}

/** Computes what has an axis too long for its record's kernel; false where that kernel will do. */
export function emitLong(b: PlanBuilder, call: LongCall): boolean {
  const { name, p, operands, result } = call, [x] = operands, { shape } = x.view;
  if (sizeOf(result.view.shape) === 0) return false;
  switch (name) {
    case "softmax":
    case "logsumexp":
    case "crossEntropy": {
      const axis = name === "crossEntropy" ? shape.length - 1 : p.axis;
      // Several threads share a row of the last axis.
      if (shape[axis] <= (axis === shape.length - 1 ? THREADS * LONG : LONG)) return false;
      emitSoftmax(b, call, axis);
      return true;
    }
    case "cumsum":
      if (shape[p.axis] <= LONG) return false;
      emitCumsum(b, x, p.axis, p.reverse === true, result);
      return true;
    case "argmax":
    case "argmin":
      if (shape[p.axis] <= LONG) return false;
      emitExtremum(b, x, p.axis, beats(name, x.dtype), result);
      return true;
    case "recurrence":
    case "argcummax":
    case "argcummin":
    case "logcumsumexp":
      if (shape[p.axis] <= TURNS) return false;
      emitRunning(b, call);
      return true;
    case "argsort":
      if (shape[p.axis] <= BLOCK) return false;
      emitArgsort(b, x, p.axis, p.descending === true, result);
      return true;
    case "scatterAdd":
      if (!sortPays(shape[p.axis], operands[1].view.shape[p.axis])) return false;
      emitScatterAdd(b, call, ADD);
      return true;
    case "scatterFold":
      if (!sortPays(shape[p.axis], operands[1].view.shape[p.axis])) return false;
      emitScatterAdd(b, call, foldWgsl(p.reduce, result.dtype));
      return true;
    case "lastWriter":
      if (!sortPays(p.length, shape[p.axis])) return false;
      emitLastWriter(b, call);
      return true;
    case "embeddingGrad": {
      const ids = sizeOf(operands[1].view.shape);
      if (ids <= LONG && (ids < 32 || sizeOf(result.view.shape) <= 2 * ids)) return false;
      emitEmbeddingGrad(b, call);
      return true;
    }
    case "convolution": {
      const products = sizeOf(operands[1].view.shape.slice(2));
      // A filter's gradient sums over all places of all examples, for few elements.
      if (products <= LONG && (products <= 2 * BLOCK || sizeOf(result.view.shape) > 2 ** 14)) return false;
      emitConvolution(b, operands, p, products, result);
      return true;
    }
    default:
      return false;
  }
}

/** Whether sorting `count` indices costs less than a thread for each of `places` that goes through all of them. */
function sortPays(places: number, count: number): boolean {
  if (count > LONG) return true;
  const sorting = count * Math.min(count, BLOCK) + 4 * (places + count) * Math.log2(count);
  return count >= 32 && places * count > 2 * sorting;
}

/** A value on the way to a result. */
function made(b: PlanBuilder, result: Operand, shape: readonly number[], dtype: DType): Operand {
  return b.result(result.value.step, shape, dtype);
}

function map(
  b: PlanBuilder,
  operands: readonly Operand[],
  result: Operand,
  threads: number,
  uniforms: readonly number[],
  body: string,
  message: FaultMessage = () => "",
): void {
  emitMap(b, { body, threads, uniforms, operands, result, message });
}

function zeroOf(dtype: DType): string {
  return dtype === "i32" ? "0" : dtype === "u32" ? "0u" : "0.0";
}

/** softmax, logsumexp and crossEntropy from folds, which spread any length over workgroups. */
function emitSoftmax(b: PlanBuilder, { name, operands, result, message }: LongCall, axis: number): void {
  const [x] = operands, { shape } = x.view, kept = shape.map((n, i) => i === axis ? 1 : n);
  const m = made(b, result, kept, "f32"), s = made(b, result, kept, "f32");
  const e = made(b, result, shape, "f32");
  const through = "f32", axes = [axis];
  emitFold(b, {
    fold: (a, v) => `maxf(${a}, ${v})`,
    init: -Infinity,
    through,
    x,
    axes,
    dtype: m.dtype,
    finish: storeOnly(m),
  });
  const top = name === "logsumexp" ? "select(0.0, a1, isFinite(a1))" : "a1";
  emitElementwise(b, `expf(a0 - ${top})`, [x, m], shape, e);
  emitFold(b, {
    fold: (a, v) => `(${a} + ${v})`,
    init: 0,
    through,
    x: e,
    axes,
    dtype: s.dtype,
    finish: storeOnly(s),
  });
  if (name === "softmax") return emitElementwise(b, "(a0 / a1)", [e, s], shape, result);
  const lines = (o: Operand): Operand => ({ ...o, view: wholeView(result.view.shape) });
  if (name === "logsumexp") {
    const whole = "select(a0, a0 + logf(a1), isFinite(a0))";
    return emitElementwise(b, whole, [lines(m), lines(s)], result.view.shape, result);
  }
  map(
    b,
    [x, operands[1], m, s],
    result,
    sizeOf(kept),
    [shape[axis]],
    `var k = i32(x1(t)); if (k < 0 || k >= u(0)) { fault(k); k = 0; }
    put(t, logf(x3(t)) + (x2(t) - x0(t * u(0) + k)));`,
    message,
  );
}

/** A thread's block of a line of n elements: `first` to `last` along the axis. */
const WITHIN = `
  let n = u(0); let stride = u(1); let blocks = u(2); let each = u(3);
  let block = (t / stride) % blocks; let line = t / (stride * blocks);
  let start = line * n * stride + t % stride;
  let first = block * each; let last = min(n, first + each);`;

/** Running sums: sums of blocks, running sums of those, and blocks once more from where those say. */
function emitCumsum(b: PlanBuilder, x: Operand, axis: number, reverse: boolean, result: Operand): void {
  const [outer, n, inner] = splitAt(x.view.shape, axis), zero = zeroOf(x.dtype);
  const blocks = n <= LONG ? 1 : Math.ceil(n / BLOCK), each = blocks === 1 ? n : BLOCK;
  const uniforms = [n, inner, blocks, each, reverse ? 1 : 0], threads = outer * blocks * inner;
  const loop = (put: string): string => `
    for (var k = first; k < last; k++) {
      let i = start + select(k, n - 1 - k, u(4) == 1) * stride; s += x0(i); ${put}
    }`;
  if (blocks === 1) {
    return map(b, [x], result, threads, uniforms, `${WITHIN} var s = ${zero}; ${loop("put(i, s);")}`);
  }
  const shape = [outer, blocks, inner], type = valueType(x.dtype);
  const sums = made(b, result, shape, type), totals = made(b, result, shape, type);
  map(b, [x], sums, threads, uniforms, `${WITHIN} var s = ${zero}; ${loop("")} put(t, s);`);
  emitCumsum(b, sums, 1, false, totals);
  map(
    b,
    [x, totals],
    result,
    threads,
    uniforms,
    `${WITHIN} var s = ${zero}; if (block > 0) { s = x1(t - stride); } ${loop("put(i, s);")}`,
  );
}

/** Running results by turns: what is carried from one to the next first, then all results of each. */
function emitRunning(b: PlanBuilder, { name, p, operands, result }: LongCall): void {
  const [outer, n, inner] = splitAt(result.view.shape, p.axis);
  const running = RUNNING[name](operands), line = [n, inner, p.reverse === true ? 1 : 0];
  let carry: Operand | null = null;
  for (let first = 0; first < n; first += TURNS) {
    const last = Math.min(n, first + TURNS), uniforms = [...line, first, last];
    const all: Operand[] = carry === null ? [...operands] : [...operands, carry];
    const at = carry === null ? -1 : operands.length;
    map(b, all, result, outer * inner, uniforms, runningPart(running, at, false));
    if (last === n) return;
    const next = made(b, result, [outer, inner], valueType(result.dtype));
    map(b, all, next, outer * inner, uniforms, runningPart(running, at, true));
    carry = next;
  }
}

/** The first extremum of each block, then of those, until one is left. */
function emitExtremum(b: PlanBuilder, x: Operand, axis: number, better: string, result: Operand): void {
  const [outer, n, inner] = splitAt(x.view.shape, axis);
  let candidates: Operand | null = null, m = n;
  while (candidates === null || m > 1) {
    const blocks = Math.ceil(m / BLOCK);
    const to: Operand = blocks === 1 ? result : made(b, result, [outer, blocks, inner], "i32");
    const at = (j: string): string => candidates === null ? j : `x1(start + (${j}) * stride)`;
    const body: string = `${WITHIN} let row = line * u(4) * stride + t % stride;
      var best = ${at("first")}; var value = x0(row + best * stride);
      for (var j = first + 1; j < last; j++) {
        let k = ${at("j")}; let v = x0(row + k * stride);
        if (${better}) { best = k; value = v; }
      }
      put(t, best);`;
    const operands: Operand[] = candidates === null ? [x] : [x, candidates];
    map(b, operands, to, outer * blocks * inner, [m, inner, blocks, BLOCK, n], body);
    candidates = to;
    m = blocks;
  }
}

/** Sorts blocks by counting, then merges sorted runs: an element's place is its own and that among the others. */
function emitArgsort(b: PlanBuilder, x: Operand, axis: number, descending: boolean, result: Operand): void {
  const [, n, inner] = splitAt(x.view.shape, axis), size = sizeOf(x.view.shape);
  const before = less(x.dtype);
  const comes = `let w = x0(start + k * stride);
    let below = select(${before("w", "v")}, ${before("v", "w")}, u(2) == 1);
    let above = select(${before("v", "w")}, ${before("w", "v")}, u(2) == 1);
    let comes = below || (!above && k < mine);`;
  const head = `let n = u(0); let stride = u(1); let width = u(3);
    let start = (t / (n * stride)) * n * stride + t % stride; let at = (t / stride) % n; let run = at / width;`;
  const uniforms = (width: number): number[] => [n, inner, descending ? 1 : 0, width];
  const target = (width: number): Operand => width >= n ? result : made(b, result, x.view.shape, "i32");
  let order = target(BLOCK);
  map(
    b,
    [x],
    order,
    size,
    uniforms(BLOCK),
    `${head} let mine = at; let v = x0(start + mine * stride); var place = run * width;
    for (var k = run * width; k < min(n, run * width + width); k++) { ${comes} if (comes) { place++; } }
    put(start + place * stride, mine);`,
  );
  for (let width = BLOCK; width < n; width *= 2) {
    const to = target(2 * width);
    map(
      b,
      [x, order],
      to,
      size,
      uniforms(width),
      `${head} let mine = x1(start + at * stride); let v = x0(start + mine * stride);
      let other = (run ^ 1) * width; var low = min(other, n); var high = min(other + width, n);
      while (low < high) {
        let middle = low + (high - low) / 2;
        let k = x1(start + middle * stride); ${comes}
        if (comes) { low = middle + 1; } else { high = middle; }
      }
      let place = min(run, run ^ 1) * width + (at - run * width) + (low - min(other, n));
      put(start + place * stride, mine);`,
    );
    order = to;
  }
}

/** Indices counted from the front, and the order which sorts them along an axis. */
function sorted(
  b: PlanBuilder,
  index: Operand,
  axis: number,
  length: number,
  result: Operand,
  message: FaultMessage,
): [Operand, Operand] {
  const { shape } = index.view, size = sizeOf(shape);
  const keys = made(b, result, shape, "i32"), order = made(b, result, shape, "i32");
  map(
    b,
    [index],
    keys,
    size,
    [length],
    `var k = i32(x0(t)); ${placeWgsl("u(0)", index.dtype)} put(t, k);`,
    message,
  );
  emitArgsort(b, keys, axis, false, order);
  return [keys, order];
}

/** Adds in turns of few elements to `start` (null: zero): `body` is one turn, `u(0)` to `u(1)`, from where it stands. */
function emitTurns(
  b: PlanBuilder,
  operands: readonly Operand[],
  result: Operand,
  count: number,
  uniforms: readonly number[],
  start: Operand | null,
  body: (start: string) => string,
): void {
  const { shape } = result.view;
  for (let first = 0; first < count; first += TURNS) {
    const last = Math.min(count, first + TURNS);
    const to = last === count ? result : made(b, result, shape, valueType(result.dtype));
    const all: Operand[] = start === null ? [...operands] : [...operands, start];
    const text = start === null ? zeroOf(result.dtype) : `x${operands.length}(t)`;
    map(b, all, to, sizeOf(shape), [first, last, ...uniforms], body(text));
    start = to;
  }
}

/** One step of a fold, as WGSL. */
type Step = (s: string, value: string) => string;
const ADD: Step = (s, value) => `(${s} + ${value})`;

/** A thread a destination: finds its elements among the sorted ones by bisection, and folds them in order. */
const FOLD = (key: (j: string) => string, value: (j: string) => string, step: Step): string => `
  var low = 0; var high = u(2);
  while (low < high) {
    let middle = low + (high - low) / 2;
    if (${key("middle")} < mine) { low = middle + 1; } else { high = middle; }
  }
  for (var j = max(low, u(0)); j < u(1); j++) {
    if (${key("j")} != mine) { break; }
    s = ${step("s", value("j"))};
  }`;

function emitScatterAdd(
  b: PlanBuilder,
  { p: { axis }, operands, result, message }: LongCall,
  step: Step,
): void {
  const [x, index, src] = operands, to = x.view.shape, from = index.view.shape;
  const [keys, order] = sorted(b, index, axis, to[axis], result, message);
  const uniforms = [
    from[axis],
    to.length,
    axis,
    sizeOf(from.slice(axis + 1)),
    ...to.flatMap((n, a) => [n, from[a]]),
  ];
  const place = (j: string): string => `(at + x2(at + ${j} * u(5)) * u(5))`;
  emitTurns(b, [src, keys, order], result, from[axis], uniforms, x, (start) => `
    var rest = t; var at = 0; var stride = 1; var mine = 0; var inside = true;
    for (var a = u(3) - 1; a >= 0; a--) {
      let n = u(6 + 2 * a); let m = u(7 + 2 * a); let k = rest % n; rest = rest / n;
      if (a == u(4)) { mine = k; } else { inside = inside && k < m; at += k * stride; }
      stride *= m;
    }
    var s = ${start};
    if (inside) {${FOLD((j) => `x1(${place(j)})`, (j) => `x0(${place(j)})`, step)}}
    put(t, s);`);
}

function emitEmbeddingGrad(b: PlanBuilder, { operands: [ct, ids], result, message }: LongCall): void {
  const T = sizeOf(ids.view.shape), { shape } = result.view, size = sizeOf(shape);
  const flat: Operand = { ...ids, view: { ...wholeView([T]), offset: ids.view.offset } };
  const [keys, order] = sorted(b, flat, 0, shape[0], result, message);
  emitTurns(b, [ct, keys, order], result, T, [T, size / shape[0]], null, (start) => `
    let mine = t / u(3); let d = t % u(3); var s = ${start};
    ${FOLD((j) => `x1(x2(${j}))`, (j) => `x0(x2(${j}) * u(3) + d)`, ADD)}
    put(t, s);`);
}

/** Sums of blocks of products, each a thread, then the sums of those. */
function emitConvolution(
  b: PlanBuilder,
  operands: readonly Operand[],
  p: Convolution,
  products: number,
  result: Operand,
): void {
  const [x, w] = operands.map((o) => o.view.shape), y = result.view.shape, size = sizeOf(y);
  // As many blocks as 64 MiB of sums allow.
  const each = Math.max(BLOCK, Math.ceil(products * size / 2 ** 24)), blocks = Math.ceil(products / each);
  const type = valueType(result.dtype), through = type === "bool" ? "u32" : type;
  const sums = made(b, result, [blocks, ...y], type);
  const body = convolutionWgsl(x.length - 3, operands[0].dtype);
  map(b, operands, sums, blocks * size, convolutionUniforms(x, w, y, p, each), body);
  const fold = (a: string, v: string): string => `(${a} + ${v})`, finish = storeOnly(result);
  emitFold(b, { fold, init: 0, through, x: sums, axes: [0], dtype: result.dtype, finish });
}

/** The last of the sorted ones that are sent to a place is the last in the index, since the order is stable. */
function emitLastWriter(b: PlanBuilder, { p: { axis, length }, operands, result, message }: LongCall): void {
  const [index] = operands, [, count, inner] = splitAt(index.view.shape, axis);
  const [keys, order] = sorted(b, index, axis, length, result, message);
  map(
    b,
    [keys, order],
    result,
    sizeOf(result.view.shape),
    [count, inner, length],
    `
    let start = (t / (u(1) * u(2))) * u(0) * u(1) + t % u(1); let mine = (t / u(1)) % u(2);
    var low = 0; var high = u(0);
    while (low < high) {
      let middle = low + (high - low) / 2;
      if (x0(start + x1(start + middle * u(1)) * u(1)) <= mine) { low = middle + 1; } else { high = middle; }
    }
    let last = x1(start + max(low - 1, 0) * u(1));
    put(t, select(-1, last, low > 0 && x0(start + last * u(1)) == mine));`,
  );
}
