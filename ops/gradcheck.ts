/** Gradient checks: derivatives by the rules against central differences, with the worst element named. */
import { epsilon, isFloat, roundTo, type TypedArray } from "./dtype.ts";
import { readNodes } from "./runs.ts";
import { showShape, sizeOf } from "./shape.ts";
import { fromStorageData, Tensor } from "./tensor.ts";
import { vjp } from "./transforms/functional.ts";
import { flatten, type Tree } from "./transforms/tree.ts";

/** Options of `gradcheck`. */
export interface GradcheckOptions {
  /** Step of the differences; default the cube root of the type's precision, times the element's size. */
  eps?: number;
  /** Absolute tolerance; default 1e-6 in f64, 1e-2 in f32. */
  atol?: number;
  /** Relative tolerance; default 1e-5 in f64, 1e-2 in f32. */
  rtol?: number;
  /** Throw where the check fails (default), or only report. */
  raise?: boolean;
}

/** An entry of a Jacobian in which rules and differences differ most. */
export interface WorstElement {
  /** Which argument. */
  readonly input: number;
  /** Where in it. */
  readonly index: number[];
  /** Where in the output. */
  readonly output: number[];
  /** The derivative by the rules. */
  readonly analytic: number;
  /** The derivative by central differences. */
  readonly numeric: number;
}

/** What a gradient check found. */
export interface GradcheckReport {
  /** Whether every entry is within the tolerance. */
  readonly ok: boolean;
  /** `|a - n| / (|a| + |n|)` over all entries (Euclidean norms). */
  readonly relativeError: number;
  /** Largest `|a - n|`. */
  readonly maxError: number;
  /** Entries compared. */
  readonly entries: number;
  /** Where the difference is largest against the tolerance. */
  readonly worst: WorstElement | null;
  /** In words, with the likely cause where the check fails. */
  readonly message: string;
}

/** Thrown by `gradcheck` where derivatives and differences disagree. */
export class GradcheckError extends Error {
  /** The error's name. */
  override name = "GradcheckError";
  /** Made by `gradcheck`. */
  constructor(/** What was found. */ readonly report: GradcheckReport) {
    super(report.message);
  }
}

function place(flat: number, shape: readonly number[]): number[] {
  const out = new Array<number>(shape.length);
  for (let a = shape.length - 1; a >= 0; a--) {
    out[a] = flat % shape[a];
    flat = Math.floor(flat / shape[a]);
  }
  return out;
}

/**
 * Compares the Jacobian of `f` at `inputs` by reverse mode with central differences,
 * `(f(x + h e) - f(x - h e)) / 2h`, element by element. Use f64 on the host: f32 leaves three digits.
 *
 * ```ts
 * import { gradcheck, tensor, type Tensor } from "@cotangent/cotangent";
 * const x = tensor([0.5, -1, 2], { dtype: "f64", device: "host" });
 * const report = await gradcheck((x: Tensor) => x.sin().mul(x), [x]);
 * console.log(report.ok); // true
 * ```
 */
export async function gradcheck(
  // deno-lint-ignore no-explicit-any
  f: (...x: any[]) => Tree,
  inputs: readonly Tensor[],
  options: GradcheckOptions = {},
): Promise<GradcheckReport> {
  if (inputs.length === 0) throw new TypeError("Cannot gradcheck a function of no inputs");
  inputs.forEach((x, i) => {
    if (!(x instanceof Tensor) || !isFloat(x.dtype)) {
      throw new TypeError(
        `Cannot gradcheck by input ${i}: it must be a floating point tensor, best f64 on the host`,
      );
    }
  });
  const precise = inputs.every((x) => x.dtype === "f64");
  const { atol = precise ? 1e-6 : 1e-2, rtol = precise ? 1e-5 : 1e-2, raise = true } = options;
  const base = await readNodes(inputs.map((x) => x.node));
  const at = (i: number, bits: TypedArray): Tensor =>
    fromStorageData(bits, inputs[i].shape, inputs[i].dtype, inputs[i].device);
  const fixed = base.map((bits, i) => at(i, bits));
  const run = async (xs: Tensor[]): Promise<Tensor[]> =>
    flatten(await f(...xs)).leaves.filter((t) => isFloat(t.dtype));

  // Rows of the Jacobian: one pullback for each output element.
  const [y, pullback] = await vjp((...xs: Tensor[]) => run(xs), ...fixed);
  const rows: { output: number; index: number; grads: Tensor[] }[] = [];
  y.forEach((t, output) => {
    for (let j = 0; j < t.size; j++) {
      const e = new Float64Array(t.size);
      e[j] = 1;
      const ct = y.map((u, k) => k === output ? onDevice(e, t) : u.zerosLike());
      rows.push({ output, index: j, grads: pullback(ct) });
    }
  });
  const analytic = await readNodes(rows.flatMap((r) => r.grads.map((g) => g.node)));

  // Columns by differences, all read at once.
  const steps: { input: number; index: number; h: number; plus: Tensor[]; minus: Tensor[] }[] = [];
  for (let input = 0; input < inputs.length; input++) {
    for (let index = 0; index < base[input].length; index++) {
      const x = base[input][index];
      const h = options.eps ?? Math.cbrt(epsilon(inputs[input].dtype)) * Math.max(1, Math.abs(x));
      const shifted = async (by: number): Promise<Tensor[]> => {
        const bits = base[input].slice();
        bits[index] = x + by;
        return await run(fixed.map((t, k) => k === input ? at(k, bits) : t));
      };
      steps.push({ input, index, h, plus: await shifted(h), minus: await shifted(-h) });
    }
  }
  const values = await readNodes(steps.flatMap((s) => [...s.plus, ...s.minus].map((t) => t.node)));

  let worst: WorstElement | null = null, worstExcess = -1, maxError = 0;
  let sumDiff = 0, sumA = 0, sumN = 0, entries = 0, ok = true;
  const outputs = y.length;
  steps.forEach((s, k) => {
    // The stored steps are rounded; the real distance is what divides.
    const hi = roundLike(inputs[s.input], base[s.input][s.index] + s.h),
      lo = roundLike(inputs[s.input], base[s.input][s.index] - s.h);
    rows.forEach((row, r) => {
      const plus = values[k * 2 * outputs + row.output][row.index],
        minus = values[k * 2 * outputs + outputs + row.output][row.index];
      const n = (plus - minus) / (hi - lo), a = analytic[r * inputs.length + s.input][s.index];
      const error = Math.abs(a - n), allowed = atol + rtol * Math.abs(n);
      entries++;
      sumDiff += error * error, sumA += a * a, sumN += n * n;
      maxError = Math.max(maxError, error);
      if (!(error <= allowed)) ok = false;
      const excess = Number.isNaN(error) ? Infinity : error / allowed;
      if (excess > worstExcess) {
        worstExcess = excess;
        worst = {
          input: s.input,
          index: place(s.index, inputs[s.input].shape),
          output: place(row.index, y[row.output].shape),
          analytic: a,
          numeric: n,
        };
      }
    });
  });
  const scale = Math.sqrt(sumA) + Math.sqrt(sumN);
  const relativeError = scale === 0 ? 0 : Math.sqrt(sumDiff) / scale;
  const message = describe(ok, relativeError, worst, entries, precise);
  const report: GradcheckReport = { ok, relativeError, maxError, entries, worst, message };
  if (!ok && raise) throw new GradcheckError(report);
  return report;
}

function onDevice(bits: Float64Array<ArrayBuffer>, like: Tensor): Tensor {
  return fromStorageData(
    like.dtype === "f64" ? bits : Float32Array.from(bits),
    like.shape,
    like.dtype === "f64" ? "f64" : "f32",
    like.device,
  )
    .to(like.dtype);
}

function roundLike(x: Tensor, value: number): number {
  return roundTo(x.dtype, value);
}

function describe(
  ok: boolean,
  relative: number,
  worst: WorstElement | null,
  entries: number,
  precise: boolean,
): string {
  if (ok) return `Gradient check passed: ${entries} derivatives, relative error ${relative.toExponential(1)}`;
  const w = worst!;
  const where = `d output${showShape(w.output)} / d input ${w.input}${showShape(w.index)}`;
  const cause = Number.isNaN(w.analytic) || Number.isNaN(w.numeric)
    ? "a value is NaN: find its origin with detectAnomaly"
    : !precise
    ? "f32 leaves about three digits to differences: check in f64 on the host"
    : w.analytic === 0 || relative > 0.1
    ? "the derivative of an op on this path is likely wrong or missing; or the point is at a kink (relu, max, abs at 0)"
    : "the step may be too large for the curvature (try a smaller eps), or the function is not deterministic";
  return `Gradient check failed: ${where} is ${w.analytic} by the rules and ${w.numeric} by differences ` +
    `(relative error overall ${relative.toExponential(1)}): ${cause}`;
}

/** Checks second derivatives: the gradient check of the pullback of `f`, by its inputs and by the cotangent. */
export async function gradgradcheck(
  // deno-lint-ignore no-explicit-any
  f: (...x: any[]) => Tree,
  inputs: readonly Tensor[],
  options: GradcheckOptions = {},
): Promise<GradcheckReport> {
  const outputs = flatten(await f(...inputs)).leaves.filter((t) => isFloat(t.dtype));
  // A fixed cotangent without symmetry.
  const cts = outputs.map((t, k) =>
    onDevice(Float64Array.from({ length: sizeOf(t.shape) }, (_, i) => Math.sin(1 + i + 10 * k)), t).reshape(
      t.shape,
    )
  );
  const n = inputs.length;
  return await gradcheck(
    async (...all: Tensor[]) => {
      const [, pullback] = await vjp(
        async (...xs: Tensor[]) => flatten(await f(...xs)).leaves.filter((t) => isFloat(t.dtype)),
        ...all.slice(0, n),
      );
      return pullback(all.slice(n));
    },
    [...inputs, ...cts],
    options,
  );
}
