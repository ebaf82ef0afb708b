/**
 * Assertions about tensors and derivatives for people's own `deno test`.
 *
 * ```ts
 * import { assertClose, assertGradients } from "@cotangent/cotangent/testing";
 * import { tensor, type Tensor } from "@cotangent/cotangent";
 *
 * await assertClose(tensor([1, 2]).square(), [1, 4]);
 * await assertGradients((x: Tensor) => x.tanh(), [tensor([0.3, -2], { dtype: "f64", device: "host" })]);
 * ```
 *
 * @module
 */
import { gradcheck, type GradcheckOptions, gradgradcheck } from "./gradcheck.ts";
import { showShape } from "./shape.ts";
import { nest, type Nested, Tensor } from "./tensor.ts";
import type { TypedArray } from "./dtype.ts";

/** How close is close enough. */
export interface CloseOptions {
  /** Absolute tolerance; default 1e-6, for f16 1e-3, for bf16 8e-3. */
  atol?: number;
  /** Relative tolerance; default 1e-5, for f16 2e-3, for bf16 1.6e-2. */
  rtol?: number;
  /** Said first in the message. */
  message?: string;
}

function flat(x: unknown, out: number[], shape: number[], depth: number): void {
  if (Array.isArray(x)) {
    shape[depth] = Math.max(shape[depth] ?? 0, x.length);
    for (const v of x) flat(v, out, shape, depth + 1);
  } else out.push(Number(x));
}

async function numbers(
  x: Tensor | Nested | TypedArray,
): Promise<{ values: number[]; shape: readonly number[]; dtype: string }> {
  if (x instanceof Tensor) return { values: Array.from(await x.data()), shape: x.shape, dtype: x.dtype };
  if (ArrayBuffer.isView(x)) return { values: Array.from(x), shape: [x.length], dtype: "number" };
  const values: number[] = [], shape: number[] = [];
  flat(x, values, shape, 0);
  return { values, shape, dtype: "number" };
}

/** Asserts that two tensors (or numbers, nested or typed arrays) have the same shape and close elements; NaN equals NaN. */
export async function assertClose(
  actual: Tensor | Nested | TypedArray,
  expected: Tensor | Nested | TypedArray,
  options: CloseOptions = {},
): Promise<void> {
  const a = await numbers(actual), e = await numbers(expected);
  const has = (dtype: string): boolean => a.dtype === dtype || e.dtype === dtype;
  const [absolute, relative] = has("bf16") ? [8e-3, 1.6e-2] : has("f16") ? [1e-3, 2e-3] : [1e-6, 1e-5];
  const { atol = absolute, rtol = relative } = options;
  const head = options.message === undefined ? "" : `${options.message}: `;
  if (a.shape.length !== e.shape.length || a.shape.some((n, i) => n !== e.shape[i])) {
    throw new Error(
      `${head}Values are not close: shape ${showShape(a.shape)} is not the expected ${showShape(e.shape)}`,
    );
  }
  let worst = -1, most = 0, wrong = 0;
  for (let i = 0; i < e.values.length; i++) {
    const x = a.values[i], y = e.values[i];
    if (Object.is(x, y) || x === y) continue;
    const error = Math.abs(x - y), allowed = atol + rtol * Math.abs(y);
    if (error <= allowed) continue;
    wrong++;
    const excess = Number.isNaN(error) ? Infinity : error / allowed;
    if (worst < 0 || excess > most) {
      most = excess;
      worst = i;
    }
  }
  if (worst < 0) return;
  const at: number[] = [];
  for (let axis = a.shape.length - 1, k = worst; axis >= 0; axis--) {
    at.unshift(k % a.shape[axis]);
    k = Math.floor(k / a.shape[axis]);
  }
  const few = (v: number[]): string =>
    v.length <= 12 ? JSON.stringify(nest(Float64Array.from(v), a.shape, false)) : "";
  throw new Error(
    `${head}Values are not close: ${wrong} of ${e.values.length} elements differ; the worst, at ${
      showShape(at)
    }, is ` +
      `${a.values[worst]} and should be ${e.values[worst]} (allowed ${atol} + ${rtol} x |expected|)` +
      (few(a.values) ? `\n  actual   ${few(a.values)}\n  expected ${few(e.values)}` : ""),
  );
}

/**
 * Asserts that first derivatives of `f` by rules equal central differences, and, with `second` (the default), second
 * derivatives too. Give f64 tensors on the host.
 */
export async function assertGradients(
  // deno-lint-ignore no-explicit-any
  f: (...x: any[]) => Tensor | Tensor[],
  inputs: readonly Tensor[],
  options: Omit<GradcheckOptions, "raise"> & { second?: boolean } = {},
): Promise<void> {
  const { second = true, ...rest } = options;
  await gradcheck(f, inputs, rest);
  if (second) await gradgradcheck(f, inputs, rest);
}
