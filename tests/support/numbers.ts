/** Random numbers by seed, reads of many tensors at once, and comparisons that say where values differ. */
import { nodeOf } from "../../ops/node.ts";
import { readNodes } from "../../ops/runs.ts";
import { type DType, roundToBf16, type TypedArray } from "../../ops/dtype.ts";
import type { Tensor } from "../../ops/tensor.ts";

/** Uniform numbers in [0, 1) from a seed (mulberry32). */
export function random(seed: number): () => number {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A seed from a text, so that a test's numbers do not depend on the tests around it. */
export function seedOf(text: string): number {
  let h = 2166136261;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 16777619);
  return h >>> 0;
}

/** `n` numbers in an open interval. */
export function draw(rng: () => number, n: number, [lo, hi]: readonly [number, number]): number[] {
  return Array.from({ length: n }, () => lo + (hi - lo) * rng());
}

/** Whole numbers in a closed interval. */
export function drawWhole(rng: () => number, n: number, lo: number, hi: number): number[] {
  return Array.from({ length: n }, () => lo + Math.floor(rng() * (hi - lo + 1)));
}

/** Values of many tensors, computed as one run and read at once. */
export async function read(tensors: readonly Tensor[]): Promise<TypedArray[]> {
  return await readNodes(tensors.map(nodeOf));
}

/** How far values may differ. */
export interface Within {
  /** Times the larger of 1 and the largest expected magnitude ... */
  tolerance: number;
  /** ... or times each element's own magnitude (plus a floor). */
  each?: boolean;
}

/** Throws with the first place where two arrays differ; NaN equals NaN, infinities equal themselves. */
export function assertClose(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  within: number | Within,
  what: string,
): void {
  const { tolerance, each = false } = typeof within === "number" ? { tolerance: within } : within;
  if (actual.length !== expected.length) {
    throw new Error(`${what}: ${actual.length} elements, expected ${expected.length}`);
  }
  let scale = 1;
  for (let i = 0; i < expected.length; i++) {
    if (Number.isFinite(expected[i])) scale = Math.max(scale, Math.abs(expected[i]));
  }
  for (let i = 0; i < expected.length; i++) {
    const a = actual[i], e = expected[i];
    if (Object.is(a, e) || a === e) continue;
    if (Number.isNaN(a) && Number.isNaN(e)) continue;
    const limit = tolerance * (each ? Math.max(1, Math.abs(e)) : scale);
    if (Number.isFinite(a) && Number.isFinite(e) && Math.abs(a - e) <= limit) continue;
    throw new Error(
      `${what}: element ${i} is ${a}, expected ${e} (within ${limit.toExponential(1)})\n` +
        `  actual   ${show(actual)}\n  expected ${show(expected)}`,
    );
  }
}

function show(x: ArrayLike<number>): string {
  const first = Array.from({ length: Math.min(x.length, 16) }, (_, i) => Number(x[i].toPrecision(8)));
  return `[${first.join(", ")}${x.length > 16 ? ", ..." : ""}]`;
}

/** Sum of products of matching elements. */
export function inner(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let s = 0;
  for (let i = 0; i < a.length; i++) s += a[i] * b[i];
  return s;
}

/** Rounds numbers as a store in `dtype` does. */
export function stored(values: readonly number[], dtype: DType): number[] {
  switch (dtype) {
    case "f32":
      return values.map(Math.fround);
    case "f16":
      return values.map(Math.f16round);
    case "bf16":
      return values.map(roundToBf16);
    case "f64":
      return [...values];
    case "i32":
      return values.map((v) => v | 0);
    case "u32":
      return values.map((v) => v >>> 0);
    case "bool":
      return values.map((v) => v !== 0 ? 1 : 0);
  }
}
