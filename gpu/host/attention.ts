/** Attention on the host: what a call's operands are to the kernels in WebAssembly, and how its work is shared out. */
import type { DType, TypedArray } from "../../ops/dtype.ts";
import type { AttentionAttributes } from "../../ops/fused/attention_definition.ts";
import type { Aval, Custom, View } from "../../ops/primitive.ts";
import { sizeOf, stridesOf } from "../../ops/shape.ts";
import { blas } from "./blas.ts";
import type { Kernel } from "./loops.ts";
import { roomFor } from "./wasm/attention.ts";
import { type Word, WORDS } from "./wasm/attention_rows.ts";
import { usesLibrary } from "./wasm/product.ts";
import { type Runner, TURNS } from "./wasm/runner.ts";

/** Scores of a block at most, and its queries; so many scores are worth vectors at least. */
const BLOCK = 1 << 16, FEWEST = 32, MOST = 64, LEAST = 1 << 12;
/** Time of a score beside the products, and multiplications in about a nanosecond. */
const SCORE = 4, SPEED = 16;
/** Time of random bits of a score. */
const TOSS = 4;

/** The kernels of attention: forward, and backward to queries, and to keys and values side by side. */
export const ATTENTION: readonly string[] = ["attention", "attentionQueryGrad", "attentionKeyValueGrad"];

/** An operand: how its elements lie from its start on. */
export interface AttentionOperand {
  readonly view: View;
  readonly dtype: DType;
}

/** A step that a kernel does: its record and its result; null for none. */
export type AttentionResult = (Aval & { readonly op: Custom }) | null;

/** Whether rows of a view lie contiguous and apart, as these kernels take them. */
export function hasRows({ shape, strides }: View): boolean {
  return strides[3] === 1 && (shape[2] === 1 || strides[2] >= shape[3]);
}

/** Whether a call is for these kernels: f32, and enough to do; counters of random bits are whole numbers below 2^31. */
export function isFor(x: readonly AttentionOperand[], p: AttentionAttributes): boolean {
  const [q, k, v] = x.map(({ view }) => view.shape), plain = x.length - extras(p);
  return x.slice(0, plain).every(({ dtype }) => dtype === "f32") && q[2] * k[2] >= LEAST && q[3] >= 4 &&
    v[3] >= 4 && (p.rate === 0 || q[0] * q[1] * p.queries * p.keys < 2 ** 31);
}

/** Operands beside those that every call has: a mask, and a key. */
function extras({ mask, rate }: AttentionAttributes): number {
  return (mask === "none" ? 0 : 1) + (rate === 0 ? 0 : 1);
}

/**
 * The kernel of attention (`results` has one) or of both its gradients (two). Its geometry is `[start of each operand, slot
 * of each operand, slot of each result]`.
 */
export function attentionKernel(
  x: readonly AttentionOperand[],
  results: readonly AttentionResult[],
  p: AttentionAttributes,
  runner: Runner,
): Kernel {
  const [q, k, v, u] = x.map(({ view }) => view), [B, H, T, D] = q.shape, [, Hk, S] = k.shape, E = v.shape[3];
  const isForward = results.length === 1, n = x.length;
  const each = Math.min(T, Math.max(FEWEST, Math.min(MOST, Math.floor(BLOCK / S)))),
    blocks = Math.ceil(T / each);
  const line = 4 * ((S + 3) & ~3), room = roomFor(each, line, D);
  const scores = B * H * T * S / (p.causal ? 2 : 1), products = isForward ? D + E : 3 * D + 2 * E;
  const work = scores * (SCORE + (p.rate === 0 ? 0 : TOSS) + products / SPEED),
    units = isForward ? B * H * blocks : B * Hk;
  const fixed: Partial<Record<Word, number>> = {
    ...{ H, Hk, G: H / Hk, T, S, D, E, each, blocks, line },
    ...{ causal: p.causal ? 1 : 0, first: p.firstQuery - p.firstKey + 1 },
    ...steps("q", q, 4),
    ...steps("k", k, 4),
    ...steps("v", v, 4),
    ...isForward ? {} : steps("u", u, 4),
    ...p.mask === "none" ? {} : maskSteps(x[n - extras(p)]),
    ...p.rate === 0 ? {} : { drops: 1, perKey: B / x[n - 1].view.shape[0], limit: limitOf(p.rate) },
    ...{ queries: p.queries, keys: p.keys, firstQuery: p.firstQuery, firstKey: p.firstKey },
    mask: ["none", "bool", "float"].indexOf(p.mask),
    roomOf: room,
  };
  const template = Int32Array.from(WORDS, (name) => fixed[name] ?? 0),
    at = (name: Word) => WORDS.indexOf(name);
  const floats = new Float32Array(template.buffer);
  floats[at("scale")] = p.scale;
  floats[at("factor")] = 1 / (1 - p.rate);
  const operands: readonly Word[] = [
    ...isForward ? ["q", "k", "v"] as const : ["q", "k", "v", "u", "stats"] as const,
    ...p.mask === "none" ? [] : ["m"] as const,
    ...p.rate === 0 ? [] : ["key"] as const,
  ];
  const outputs: readonly Word[] = isForward ? ["y"] : ["dq", "dkv"];
  return (values, _, g) => {
    const { words, geometry } = runner.own, to = results.map((_, i) => values[g[2 * n + i]]);
    const rooms = runner.borrow(room * runner.threadsFor(work));
    const from = x.map((_, i) => runner.address(values[g[n + i]]));
    const into = to.map((y) => y === undefined ? 0 : runner.result(y));
    if (rooms === null || from.includes(null) || into.includes(null)) {
      runner.finish();
      return byRecord(x, results, p, values, g);
    }
    words.set(template);
    const library = usesLibrary(runner, scores * products);
    words[at("library")] = library ? 1 : 0;
    words[at("room")] = rooms;
    x.forEach(({ dtype }, i) => words[at(operands[i])] = from[i]! + (dtype === "bool" ? 1 : 4) * g[i]);
    outputs.forEach((name, i) => words[at(name)] = into[i]!);
    runner.run(
      runner.attention,
      isForward ? "forward" : "backward",
      units,
      1,
      library && !blas()!.isSerial ? 0 : work,
      (a, b, { sums, panels }) => [geometry, a, b, sums, panels],
      TURNS,
    );
    runner.finish();
  };
}

/** Random bits from which on a weight is kept: see the record. */
const limitOf = (rate: number): number => Math.ceil(Math.fround(rate) * 2 ** 24);

function steps(name: "q" | "k" | "v" | "u", { strides }: View, bytes: number): Record<string, number> {
  return Object.fromEntries(["b", "h", "i"].map((axis, a) => [name + axis, bytes * strides[a]]));
}

/** Steps of a mask, whose axes of length 1 stand for any length. */
function maskSteps({ view: { shape, strides }, dtype }: AttentionOperand): Record<string, number> {
  const bytes = dtype === "bool" ? 1 : 4;
  return Object.fromEntries(
    ["b", "h", "i", "j"].map((axis, a) => [`m${axis}`, shape[a] === 1 ? 0 : bytes * strides[a]]),
  );
}

/** What the records compute, where there is no memory for more. */
function byRecord(
  x: readonly AttentionOperand[],
  results: readonly AttentionResult[],
  p: AttentionAttributes,
  values: readonly TypedArray[],
  g: Int32Array,
): void {
  const n = x.length;
  const whole = x.map(({ view: { shape, strides }, dtype }, i) => {
    const from = values[g[n + i]], data = from.slice(0, sizeOf(shape)), own = stridesOf(shape);
    for (let j = 0; j < data.length; j++) {
      data[j] = from[shape.reduce((at, m, a) => at + Math.floor(j / own[a]) % m * strides[a], g[i])];
    }
    return { shape, dtype, data };
  });
  results.forEach((y, i) => y?.op.host(whole, { ...y, data: values[g[2 * n + i]] }, p));
}
