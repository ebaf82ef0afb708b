/** Resampling of spatial axes: each axis by itself, a weighted sum of its neighbours. */
import { composite } from "../composite.ts";
import { isFloat, isHalf } from "../dtype.ts";
import type { Sample } from "../primitive.ts";
import { type Shape, showShape } from "../shape.ts";
import { asTensor, checkOptions, type Tensor } from "../tensor.ts";
import { adaptiveMeans, taps } from "./pooling.ts";

/** How {@linkcode interpolate} finds values between elements. */
export type InterpolateMode =
  | "nearest"
  | "nearest-exact"
  | "linear"
  | "bilinear"
  | "bicubic"
  | "trilinear"
  | "area";

/** Options of {@linkcode interpolate}: `size` or `scaleFactor`. */
export interface InterpolateOptions {
  /** Lengths of the result: for all spatial axes, or each. */
  size?: number | readonly number[];
  /** Lengths of the result by those of x, rounded down: for all spatial axes, or each. */
  scaleFactor?: number | readonly number[];
  /** Default "nearest". */
  mode?: InterpolateMode;
  /** Whether the centres of the corner elements stay where they are, and not the corners; only for linear and cubic modes. */
  alignCorners?: boolean;
  /** Whether places are computed by the lengths of the result instead of by `scaleFactor`; default false. */
  recomputeScaleFactor?: boolean;
}

const OPTIONS = Object.keys(
  {
    size: true,
    scaleFactor: true,
    mode: true,
    alignCorners: true,
    recomputeScaleFactor: true,
  } satisfies Record<
    keyof InterpolateOptions,
    true
  >,
);

/** Number of spatial axes that a mode is for; 0: any from 1 to 3. */
const RANKS: Record<InterpolateMode, number> = {
  nearest: 0,
  "nearest-exact": 0,
  area: 0,
  linear: 1,
  bilinear: 2,
  bicubic: 2,
  trilinear: 3,
};
const LINEAR = ["", "linear", "bilinear or bicubic", "trilinear"];

/** The elements that make up element t of an axis of length m from n, and their weights. */
interface Neighbours {
  readonly places: number[];
  readonly weights: number[] | null;
  readonly count: number;
}

/** Keys (1981), "Cubic convolution interpolation for digital image processing", with the parameter -0.75 as PyTorch. */
function cubic(f: number): number[] {
  const A = -0.75;
  const near = (x: number): number => ((A + 2) * x - (A + 3)) * x * x + 1;
  const far = (x: number): number => ((A * x - 5 * A) * x + 8 * A) * x - 4 * A;
  return [far(f + 1), near(f), near(1 - f), far(2 - f)];
}

/** `step` is the distance, in elements of x, between neighbours of the result. */
function neighbours(
  mode: InterpolateMode,
  n: number,
  m: number,
  step: number,
  alignCorners: boolean,
): Neighbours {
  const places: number[] = [],
    weights: number[] = [],
    inside = (i: number): number => Math.max(0, Math.min(n - 1, i));
  if (mode === "nearest" || mode === "nearest-exact") {
    // In single precision, as PyTorch does for all types: which element is nearest hangs on it.
    const s = Math.fround(step), half = mode === "nearest" ? 0 : 0.5;
    for (let t = 0; t < m; t++) {
      const exact = mode === "nearest" && (m === n || m === 2 * n);
      places.push(exact ? Math.floor(t * n / m) : inside(Math.floor(Math.fround((t + half) * s))));
    }
    return { places, weights: null, count: 1 };
  }
  const by = alignCorners ? (m > 1 ? (n - 1) / (m - 1) : 0) : step;
  for (let t = 0; t < m; t++) {
    const at = alignCorners ? t * by : (t + 0.5) * by - 0.5;
    if (mode === "bicubic") {
      const i = Math.floor(at);
      places.push(...[-1, 0, 1, 2].map((k) => inside(i + k)));
      weights.push(...cubic(at - i));
    } else {
      const x = Math.max(0, at), i = inside(Math.floor(x)), f = Math.min(1, x - i);
      places.push(i, inside(i + 1));
      weights.push(1 - f, f);
    }
  }
  return { places, weights, count: mode === "bicubic" ? 4 : 2 };
}

/** A number for all axes, or a list with one for each. */
function each(name: string, value: number | readonly number[], rank: number, whole: boolean): number[] {
  const list = typeof value === "number" ? Array<number>(rank).fill(value) : value;
  if (
    !Array.isArray(list) || list.length !== rank ||
    list.some((n) => !(n > 0 && Number.isFinite(n)) || whole && !Number.isInteger(n))
  ) {
    throw new RangeError(
      `Cannot interpolate with ${name} ${JSON.stringify(value)}: give one ${
        whole ? "whole number" : "number"
      } above 0, or one for each of the ${rank} spatial axes`,
    );
  }
  return list;
}

const sample = (shape: Shape, options: InterpolateOptions): Sample => ({
  shapes: [shape],
  call: (x) => interpolate(x, options),
});

/**
 * x `[B, C, ...spatial]` with 1 to 3 spatial axes resampled to other lengths. Element t of an axis stands at
 * `(t + 1/2) step - 1/2` in x, where `step` is the old length by the new one (or 1 / scaleFactor); with `alignCorners`
 * at `t (old - 1) / (new - 1)`. "nearest" takes the element at `floor(t step)`, "area" means of windows
 * ({@linkcode adaptiveAvgPool2d}). Antialiasing is not done: to make smaller without aliases, use "area".
 *
 * ```ts
 * import { interpolate, rand } from "@cotangent/cotangent";
 *
 * interpolate(rand([1, 3, 8, 8]), { scaleFactor: 2, mode: "bilinear" }).shape; // [1, 3, 16, 16]
 * ```
 */
export const interpolate: (x: Tensor, options: InterpolateOptions) => Tensor = composite({
  name: "interpolate",
  tex: ([x]) => `\\operatorname{interpolate}(${x})`,
  texPullbacks: (_, f) => [`\\operatorname{interpolate}^\\top(\\bar{${f}})`],
  samples: [
    sample([2, 1, 4], { size: 7 }),
    sample([1, 2, 3, 2], { scaleFactor: [1.7, 0.6], mode: "nearest-exact" }),
    sample([1, 2, 4], { size: 3, mode: "linear" }),
    sample([1, 1, 3, 2], { size: [5, 4], mode: "bilinear", alignCorners: true }),
    sample([1, 1, 4, 3], { scaleFactor: 1.5, mode: "bicubic" }),
    sample([1, 1, 2, 3, 2], { scaleFactor: [2, 1, 1.5], mode: "trilinear" }),
    sample([1, 2, 4, 3], { size: [2, 5], mode: "area" }),
  ],
}, (input: Tensor, options: InterpolateOptions): Tensor => {
  const x = asTensor("interpolate", input, "input"), rank = x.rank - 2, I = x.shape.slice(2);
  checkOptions("interpolate", options, OPTIONS);
  const { size, scaleFactor, mode = "nearest", alignCorners, recomputeScaleFactor = false } = options;
  if (rank < 1 || rank > 3) {
    throw new RangeError(
      `Cannot interpolate a tensor of shape ${
        showShape(x.shape)
      }: it must be [batch, channels, ...] with 1 to 3 more axes`,
    );
  }
  if (I.includes(0)) {
    throw new RangeError(
      `Cannot interpolate shape ${showShape(x.shape)}: there is nothing between no elements`,
    );
  }
  if (!Object.hasOwn(RANKS, mode)) {
    throw new RangeError(
      `Cannot interpolate with mode "${mode}": modes are ${Object.keys(RANKS).join(", ")}`,
    );
  }
  if (RANKS[mode] !== 0 && RANKS[mode] !== rank) {
    throw new RangeError(
      `Cannot interpolate shape ${showShape(x.shape)} with mode "${mode}", which is for ${
        RANKS[mode]
      } spatial axes: for ${rank} it is ${LINEAR[rank]}`,
    );
  }
  if (RANKS[mode] === 0 && alignCorners !== undefined) {
    throw new RangeError(
      `Cannot interpolate with mode "${mode}" and alignCorners: that is for the modes linear, bilinear, bicubic and trilinear`,
    );
  }
  if ((size === undefined) === (scaleFactor === undefined)) {
    throw new TypeError("Cannot interpolate without a size, or with two: give either size or scaleFactor");
  }
  const factors = scaleFactor === undefined ? null : each("scaleFactor", scaleFactor, rank, false);
  const to = size !== undefined
    ? each("size", size, rank, true)
    : I.map((n, a) => Math.floor(n * factors![a]));
  if (to.includes(0)) {
    throw new RangeError(
      `Cannot interpolate shape ${showShape(x.shape)} by ${
        JSON.stringify(scaleFactor)
      }: the result would have lengths ${showShape(to)}; take a larger scaleFactor`,
    );
  }
  if (mode === "area") return adaptiveMeans(requireFloat(x, mode), to);
  const isNearest = mode === "nearest" || mode === "nearest-exact";
  const half = !isNearest && isHalf(x.dtype);
  const start = isNearest ? x : half ? x.to("f32") : requireFloat(x, mode);
  const y = to.reduce((z, m, a) => {
    const n = I[a], step = factors !== null && !recomputeScaleFactor ? 1 / factors[a] : n / m;
    const { places, weights, count } = neighbours(mode, n, m, step, alignCorners ?? false);
    return taps(z, a + 2, `${mode} ${n} ${m} ${step} ${alignCorners ?? false}`, places, weights, count);
  }, start);
  return half ? y.to(x.dtype) : y;
});

function requireFloat(x: Tensor, mode: string): Tensor {
  if (isFloat(x.dtype)) return x;
  throw new TypeError(
    `Cannot interpolate a tensor of type ${x.dtype} with mode "${mode}": convert it first, as in x.to("f32")`,
  );
}
