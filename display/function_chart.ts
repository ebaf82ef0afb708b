/** Functions with their derivatives, and the singular values of a matrix. */
import { linspace } from "../ops/create.ts";
import { svdvals } from "../ops/linalg/mod.ts";
import { Tensor } from "../ops/tensor.ts";
import { noGrad } from "../ops/transforms/backward.ts";
import { grad } from "../ops/transforms/functional.ts";
import { vmap } from "../ops/transforms/vmap.ts";
import { type Chart, type ChartOptions, lineChart, type Points } from "./chart.ts";
import { isPlainObject } from "./bundle.ts";
import { kindOf } from "./parts.ts";

/** A function of one number. */
export type ScalarFunction = (x: Tensor) => Tensor;

/** Options of {@linkcode functionChart}. */
export interface FunctionChartOptions extends ChartOptions {
  /** Where the curves begin; default -4. */
  from?: number;
  /** Where they end; default 4. */
  to?: number;
  /** Points of each curve; default 201. */
  points?: number;
  /** How many derivatives are drawn, by `grad`; default 1. */
  derivatives?: number;
}

const PRIMES = ["", "'", "''", "'''"];

/**
 * Functions of one number and their derivatives, which `grad` takes.
 *
 * ```ts
 * import { functionChart, type Tensor } from "@cotangent/cotangent";
 * const chart = functionChart({ tanh: (x: Tensor) => x.tanh(), gelu: (x: Tensor) => x.gelu() });
 * ```
 */
export function functionChart(
  functions: ScalarFunction | Readonly<Record<string, ScalarFunction>>,
  options: FunctionChartOptions = {},
): Chart {
  const { from = -4, to = 4, points = 201, derivatives = 1, ...rest } = options;
  const named: Record<string, unknown> = typeof functions === "function"
    ? { [functions.name || "f"]: functions }
    : functions;
  if (!isPlainObject(named) || Object.values(named).some((f) => typeof f !== "function")) {
    throw new TypeError(
      `Cannot draw ${
        kindOf(functions)
      } as functions: give one, or functions by name, as in functionChart((x) => x.tanh())`,
    );
  }
  if (!(from < to) || !Number.isInteger(points) || points < 2) {
    throw new RangeError(
      `Cannot draw functions from ${from} to ${to} at ${points} points: the first limit is below the second, with two points at least`,
    );
  }
  if (!Number.isInteger(derivatives) || derivatives < 0 || derivatives > 3) {
    throw new RangeError(`Cannot draw ${derivatives} derivatives: 0 to 3`);
  }
  const x = linspace(from, to, points), series: Record<string, Points> = {};
  for (const [name, f] of Object.entries(named) as [string, ScalarFunction][]) {
    let g = f;
    for (let order = 0; order <= derivatives; order++) {
      series[name + PRIMES[order]] = { x, y: noGrad(() => vmap((t: Tensor) => g(t).reshape([]))(x)) };
      const below = g;
      g = (t) => grad(below)(t) as Tensor;
    }
  }
  const dashed = Object.keys(series).filter((name) => /'$/.test(name));
  return lineChart({ xTitle: "x", height: 260, ...rest, series, dashed });
}

/** Options of {@linkcode singularValues}. */
export type SingularValueOptions = ChartOptions;

/** The singular values of matrices, largest first, on a log scale: rank and condition at a glance. */
export function singularValues(
  matrices: Tensor | Readonly<Record<string, Tensor>>,
  options: SingularValueOptions = {},
): Chart {
  const named = matrices instanceof Tensor ? { "": matrices } : matrices;
  const series: Record<string, Tensor> = {};
  for (const [name, x] of Object.entries(named)) {
    if (!(x instanceof Tensor)) {
      throw new TypeError(
        `Cannot draw the singular values of ${kindOf(x)}: give a matrix, or matrices by name`,
      );
    }
    if (x.rank !== 2) {
      throw new RangeError(
        `Cannot draw the singular values of shape [${x.shape}]: a matrix has two axes, as x.reshape([x.shape[0], -1]) has`,
      );
    }
    series[name] = noGrad(() => svdvals(x.stopGradient().to(x.dtype === "f64" ? "f64" : "f32")));
  }
  return lineChart({
    title: "singular values",
    xTitle: "number, from the largest",
    yScale: "log",
    height: 240,
    ...options,
    series,
  });
}
