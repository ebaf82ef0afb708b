/** Custom primitives over rows in WebAssembly: softmax and its relatives, normalisation, random bits. */
import type { TypedArray } from "../../ops/dtype.ts";
import type { NormAttributes } from "../../ops/fused/norm.ts";
import { f32Bits } from "../../ops/fused/uniforms.ts";
import type { HostArray } from "../../ops/primitive.ts";
import { splitAt } from "../../ops/shape.ts";
import { COLUMNS } from "./wasm/columns.ts";
import { type Module, type Runner, TURNS } from "./wasm/runner.ts";

/** From so many elements on rows go through WebAssembly, and rows of so many. */
const LEAST = 4096, SHORTEST = 8;

/** Whether rows of `n` elements of an f32 array are worth it. */
function isWorthIt(x: HostArray, n: number, runner: Runner | null): runner is Runner {
  return runner !== null && x.dtype === "f32" && x.data.length >= LEAST && n >= SHORTEST;
}

/**
 * Calls `name(x, y, n, rows, ...more)` on all rows of `n` elements. Each of `more` is an array, which moves by so many bytes
 * a row, or a number. False where there is no memory for what has to be copied.
 */
function call(
  runner: Runner,
  module: Module,
  name: string,
  n: number,
  x: TypedArray,
  y: TypedArray,
  more: readonly (number | { readonly data: TypedArray; readonly row: number })[],
): boolean {
  const rows = x.length / n, work = 4 * x.length;
  const from = runner.address(x), to = runner.result(y);
  const others = more.map((m) =>
    typeof m === "number" ? { at: m, row: 0 } : { at: runner.address(m.data), row: m.row }
  );
  const isThere = from !== null && to !== null && others.every(({ at }) => at !== null);
  if (isThere) {
    const step = y.byteLength / rows;
    runner.run(module, name, rows, 1, work, (a, b) => [
      from + 4 * a * n,
      to + a * step,
      n,
      b - a,
      ...others.map(({ at, row }) => at! + a * row),
    ], TURNS);
  }
  runner.finish();
  return isThere;
}

/** Softmax, log-sum-exp or cross-entropy (along the last axis); labels must be checked before. */
export function exponentialRows(
  name: "softmax" | "logsumexp" | "crossEntropy",
  x: HostArray,
  y: HostArray,
  axis: number,
  runner: Runner | null,
  labels: TypedArray | null = null,
): boolean {
  const [outer, n, inner] = splitAt(x.shape, axis);
  if (inner > 1) return runner !== null && exponentialColumns(name, x, y, [outer, n, inner], runner);
  if (!isWorthIt(x, n, runner)) return false;
  const more = labels === null ? [] : [{ data: labels, row: 4 }];
  return call(runner, runner.rows, name, n, x.data, y.data, more);
}

/** The same along an axis with others behind it. */
function exponentialColumns(
  name: string,
  x: HostArray,
  y: HostArray,
  [outer, n, inner]: readonly number[],
  runner: Runner,
): boolean {
  if (!isWorthIt(x, inner, runner) || n === 0) return false;
  const from = runner.address(x.data), to = runner.result(y.data);
  if (from !== null && to !== null) {
    const blocks = outer * Math.ceil(inner / COLUMNS);
    runner.run(
      runner.columns,
      name,
      blocks,
      1,
      4 * x.data.length,
      (a, b, { sums }) => [from, to, n, inner, a, b, sums],
      TURNS,
    );
  }
  runner.finish();
  return from !== null && to !== null;
}

/** Normalisation. */
export function normRows(
  name: "layerNorm" | "rmsNorm",
  [x, ...rest]: readonly HostArray[],
  y: HostArray,
  p: NormAttributes,
  runner: Runner | null,
): boolean {
  const n = lengthOf(x, p);
  if (!isWorthIt(x, n, runner)) return false;
  const weight = p.weight ? rest[0].data : new Float32Array(n).fill(1);
  const bias = p.bias ? rest[rest.length - 1].data : new Float32Array(n);
  const more = [{ data: weight, row: 0 }, { data: bias, row: 0 }, f32Bits(p.eps)];
  return call(runner, runner.norms, name, n, x.data, y.data, more);
}

/** The pullback of one that neither scales nor shifts. */
export function normGradRows(
  name: "layerNormGrad" | "rmsNormGrad",
  [g, x]: readonly HostArray[],
  y: HostArray,
  p: NormAttributes,
  runner: Runner | null,
): boolean {
  const n = lengthOf(x, p);
  if (!isWorthIt(x, n, runner)) return false;
  return call(runner, runner.norms, name, n, g.data, y.data, [{ data: x.data, row: 4 * n }, f32Bits(p.eps)]);
}

/** Threefry's first words for `n` counters of each key. */
export function randomVectors(keys: TypedArray, y: TypedArray, n: number, runner: Runner | null): boolean {
  if (runner === null || n < LEAST) return false;
  const at = runner.result(y);
  for (let k = 0; at !== null && k < y.length / n; k++) {
    runner.run(runner.random, "bits", n, 16, 4 * n, (from, to) => [
      at + 4 * k * n,
      from,
      to,
      keys[2 * k],
      keys[2 * k + 1],
    ], TURNS);
  }
  runner.finish();
  return at !== null;
}

function lengthOf(x: HostArray, p: NormAttributes): number {
  return x.shape.slice(x.shape.length - p.axes).reduce((a, b) => a * b, 1);
}
