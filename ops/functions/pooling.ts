/** Pooling: the largest, the mean or a norm of windows over one, two and three axes. */
import { composite } from "../composite.ts";
import { convolution } from "../definitions/convolution.ts";
import { windowAlong, windowArgmax, type Windows, windowTake } from "../definitions/windows.ts";
import { isFloat, isHalf } from "../dtype.ts";
import { apply } from "../node.ts";
import type { Sample } from "../primitive.ts";
import { type Shape, showShape, sizeOf } from "../shape.ts";
import { asTensor, checkOptions, type Tensor } from "../tensor.ts";
import { AXES, checkFits, joinLeading, type PerAxis, perAxis, spatial, windowsIn } from "./spatial.ts";

/** Options of {@linkcode maxPool2d} and its like. */
export interface MaxPoolOptions {
  /** Step of the window; default the kernel's lengths. */
  stride?: PerAxis;
  /** Places on both sides of each axis that no maximum is taken from, at most half a kernel; default 0. */
  padding?: PerAxis;
  /** Step within the window; default 1. */
  dilation?: PerAxis;
  /** Whether a last window that starts inside, but ends outside, counts; default false. */
  ceilMode?: boolean;
  /** Whether the places of the maxima are returned as well; default false. */
  returnIndices?: boolean;
}

/** Options of {@linkcode avgPool2d} and its like. */
export interface AvgPoolOptions {
  /** Step of the window; default the kernel's lengths. */
  stride?: PerAxis;
  /** Zeros on both sides of each axis, at most half a kernel; default 0. */
  padding?: PerAxis;
  /** Whether a last window that starts inside, but ends outside, counts; default false. */
  ceilMode?: boolean;
  /** Whether those zeros count as elements; default true. */
  countIncludePad?: boolean;
  /** Divides the sums instead of the number of elements. */
  divisorOverride?: number | null;
}

/** Options of {@linkcode lpPool2d} and its like. */
export interface LpPoolOptions {
  /** Step of the window; default the kernel's lengths. */
  stride?: PerAxis;
  /** Whether a last window that starts inside, but ends outside, counts; default false. */
  ceilMode?: boolean;
}

/** What is pooled, and its place (i32), counted through all spatial axes of its channel. */
export interface Pooled {
  /** The largest elements. */
  values: Tensor;
  /** Where they stand. */
  indices: Tensor;
}

/** A length for all spatial axes, or one for each; null keeps an axis as it is. */
export type OutputSize = number | readonly (number | null)[];

const MAX_OPTIONS = Object.keys(
  { stride: true, padding: true, dilation: true, ceilMode: true, returnIndices: true } satisfies Record<
    keyof MaxPoolOptions,
    true
  >,
);
const AVG_OPTIONS = Object.keys(
  {
    stride: true,
    padding: true,
    ceilMode: true,
    countIncludePad: true,
    divisorOverride: true,
  } satisfies Record<
    keyof AvgPoolOptions,
    true
  >,
);

/** The windows of a pool: PyTorch's number of them, of which none starts behind the input and its padding in front. */
function windowsOf(
  action: string,
  x: Tensor,
  rank: number,
  kernelSize: PerAxis,
  options: MaxPoolOptions & AvgPoolOptions,
): Windows {
  const I = x.shape.slice(x.rank - rank);
  const kernel = perAxis(action, "kernel", kernelSize, rank, 1);
  const { stride: step } = options;
  const given = step === undefined || step === null || (Array.isArray(step) && step.length === 0)
    ? kernel
    : step;
  const stride = perAxis(action, "stride", given, rank, 1);
  const before = perAxis(action, "padding", options.padding ?? 0, rank, 0);
  const dilation = perAxis(action, "dilation", options.dilation ?? 1, rank, 1);
  const extent = kernel.map((k, a) => (k - 1) * dilation[a] + 1);
  before.forEach((p, a) => {
    if (p <= extent[a] / 2) return;
    throw new RangeError(
      `Cannot ${action} with padding ${p} and a kernel that spans ${
        extent[a]
      } places: padding is at most half of that; pad the input itself with x.pad(...)`,
    );
  });
  const padded = I.map((n, a) => n + 2 * before[a]);
  const { ceilMode = false } = options;
  if (!ceilMode) checkFits(action, x.shape, padded, extent, kernel);
  const size = padded.map((n, a) => {
    if (!ceilMode) return windowsIn(n, extent[a], stride[a]);
    const count = Math.ceil((n - extent[a]) / stride[a]) + 1;
    return (count - 1) * stride[a] >= I[a] + before[a] ? count - 1 : count;
  });
  if (size.some((n) => n < 1)) {
    throw new RangeError(
      `Cannot ${action} shape ${showShape(x.shape)} with a kernel of shape ${
        showShape(kernel)
      }: no window fits`,
    );
  }
  return { kernel, stride, before, dilation, size, adaptive: false };
}

/** The windows of an adaptive pool. */
function adaptiveWindows(action: string, x: Tensor, rank: number, size: OutputSize): Windows {
  const I = x.shape.slice(x.rank - rank), list = typeof size === "number" ? [size] : size;
  const all = Array.isArray(list) && list.length === 1 ? Array<number | null>(rank).fill(list[0]) : list;
  if (
    !Array.isArray(all) || all.length !== rank ||
    all.some((n) => n !== null && !(Number.isInteger(n) && n > 0))
  ) {
    throw new RangeError(
      `Cannot ${action} to size ${JSON.stringify(size)}: give one whole number from 1 on` +
        (rank === 1 ? "" : `, or one (or null, for as it is) for each of ${AXES[rank]}`),
    );
  }
  I.forEach((n, a) => {
    if (n > 0) return;
    throw new RangeError(
      `Cannot ${action} shape ${showShape(x.shape)}: axis ${x.rank - rank + a} has no elements`,
    );
  });
  const ones = I.map(() => 1), to = I.map((n, a) => all[a] ?? n);
  return { kernel: ones, stride: ones, before: ones.map(() => 0), dilation: ones, size: to, adaptive: true };
}

/** Elements of a window that one thread looks through: some devices end its loops after 65,535 turns. */
const LONGEST_ON_GPU = 32768;

/** The largest element of each window and its place. */
function maxima(action: string, x: Tensor, rank: number, p: Windows): Pooled {
  const { flat, back } = joinLeading(x, rank), I = flat.shape.slice(1);
  p.size.forEach((size, axis) => {
    for (let t = 0; t < size; t++) {
      const [first, end] = windowAlong(p, axis, I[axis], t);
      if (first < end) continue;
      throw new RangeError(
        `Cannot ${action} shape ${showShape(x.shape)}: window ${t} along axis ${
          x.rank - rank + axis
        } holds nothing but padding; take a smaller padding or dilation`,
      );
    }
  });
  // One window for all is an axis, whatever its length.
  const all = p.adaptive && p.size.every((n) => n === 1);
  const longest = sizeOf(
    I.map((n, a) => p.adaptive ? Math.ceil(n / p.size[a]) + 1 : Math.min(n, p.kernel[a])),
  );
  if (!all && longest > LONGEST_ON_GPU && x.device === "webgpu") {
    throw new RangeError(
      `Cannot ${action} shape ${
        showShape(x.shape)
      } by windows of ${longest} elements on webgpu: a thread takes ` +
        `at most ${LONGEST_ON_GPU}. Pool in two steps, by parts of the window and then by the rest, or on the host`,
    );
  }
  const indices = all
    ? flat.reshape([flat.shape[0], sizeOf(I)]).argmax(1).reshape([flat.shape[0], ...p.size])
    : apply(windowArgmax, [flat], p);
  return { values: back(apply(windowTake, [flat, indices], p)), indices: back(indices) };
}

/** A maximum pool over a number of axes. */
export interface MaxPool {
  /** With the places of the maxima. */
  (x: Tensor, kernelSize: PerAxis, options: MaxPoolOptions & { returnIndices: true }): Pooled;
  /** The maxima alone. */
  (x: Tensor, kernelSize: PerAxis, options?: MaxPoolOptions & { returnIndices?: false }): Tensor;
}

/** An adaptive maximum pool over a number of axes. */
export interface AdaptiveMaxPool {
  /** With the places of the maxima. */
  (x: Tensor, outputSize: OutputSize, options: { returnIndices: true }): Pooled;
  /** The maxima alone. */
  (x: Tensor, outputSize: OutputSize, options?: { returnIndices?: false }): Tensor;
}

function maxPool(rank: number): MaxPool {
  const action = `maxPool${rank}d`;
  return ((input: Tensor, kernelSize: PerAxis, options: MaxPoolOptions = {}) => {
    const x = spatial(action, input, rank);
    checkOptions(action, options, MAX_OPTIONS);
    const pooled = maxima(action, x, rank, windowsOf(action, x, rank, kernelSize, options));
    return options.returnIndices ? pooled : pooled.values;
  }) as MaxPool;
}

function adaptiveMaxPool(rank: number): AdaptiveMaxPool {
  const action = `adaptiveMaxPool${rank}d`;
  return ((input: Tensor, outputSize: OutputSize, options: { returnIndices?: boolean } = {}) => {
    const x = spatial(action, input, rank);
    checkOptions(action, options, ["returnIndices"]);
    const pooled = maxima(action, x, rank, adaptiveWindows(action, x, rank, outputSize));
    return options.returnIndices ? pooled : pooled.values;
  }) as AdaptiveMaxPool;
}

/** Computes in f32 what loses digits or overflows in 16 bits, and rounds at the end. */
function wide(x: Tensor, f: (x: Tensor) => Tensor): Tensor {
  return isHalf(x.dtype) ? f(x.to("f32")).to(x.dtype) : f(x);
}

function floats(action: string, x: Tensor): Tensor {
  if (isFloat(x.dtype)) return x;
  throw new TypeError(`Cannot ${action} a tensor of type ${x.dtype}: convert it first, as in x.to("f32")`);
}

/** Sums of windows over the last axes of a tensor `[N, ...I]`. */
function windowSums(x: Tensor, { kernel, stride, before, dilation, size }: Windows): Tensor {
  const N = x.shape[0], ones = x.scalarLike(1).expand([1, 1, 1, ...kernel]);
  const y = apply(convolution, [x.reshape([N, 1, 1, ...x.shape.slice(1)]), ones], {
    stride,
    before,
    dilation,
    spread: stride.map(() => 1),
    size,
  });
  return y.reshape([N, ...size]);
}

/** The number of elements in each window along an axis, with padding or without. */
function counts(p: Windows, axis: number, n: number, withPadding: boolean): number[] {
  return Array.from({ length: p.size[axis] }, (_, t) => {
    const start = t * p.stride[axis] - p.before[axis];
    const end = Math.min(start + p.kernel[axis], n + p.before[axis]);
    return withPadding ? end - start : Math.max(0, Math.min(end, n) - Math.max(start, 0));
  });
}

/** A mean pool over a number of axes. */
export type AvgPool = (x: Tensor, kernelSize: PerAxis, options?: AvgPoolOptions) => Tensor;
/** An adaptive mean pool over a number of axes. */
export type AdaptiveAvgPool = (x: Tensor, outputSize: OutputSize) => Tensor;
/** A pool by a norm over a number of axes. */
export type LpPool = (x: Tensor, normType: number, kernelSize: PerAxis, options?: LpPoolOptions) => Tensor;

function avgPool(rank: number): AvgPool {
  const action = `avgPool${rank}d`;
  return (input, kernelSize, options = {}) => {
    const x = floats(action, spatial(action, input, rank));
    checkOptions(action, options, AVG_OPTIONS);
    const { countIncludePad = true, divisorOverride = null } = options;
    if (divisorOverride === 0) {
      throw new RangeError(`Cannot ${action} with divisorOverride 0: it divides the sums`);
    }
    const p = windowsOf(action, x, rank, kernelSize, options), { flat, back } = joinLeading(x, rank);
    const I = flat.shape.slice(1);
    return back(wide(flat, (f) => {
      const sums = windowSums(f, p);
      if (divisorOverride !== null) return sums.div(divisorOverride);
      const each = I.map((n, a) => counts(p, a, n, countIncludePad));
      if (each.every((c) => c.every((n) => n === c[0]))) {
        return sums.div(Math.max(1, sizeOf(each.map((c) => c[0]))));
      }
      // The number of elements of a window is the product of those along the axes.
      const table = each.reduce<number[]>((all, c) => all.flatMap((m) => c.map((n) => m * n)), [1]);
      const count = f.tableLike(
        `counts ${JSON.stringify(each)}`,
        p.size,
        f.dtype,
        () => table.map((n) => Math.max(1, n)),
      );
      return sums.div(count);
    }));
  };
}

function adaptiveAvgPool(rank: number): AdaptiveAvgPool {
  const action = `adaptiveAvgPool${rank}d`;
  return (input, outputSize) => {
    const x = floats(action, spatial(action, input, rank));
    const p = adaptiveWindows(action, x, rank, outputSize);
    return adaptiveMeans(x, p.size);
  };
}

/** Means over the last axes: of windows from `floor(t n / size)` to `ceil((t + 1) n / size)` along each. */
export function adaptiveMeans(x: Tensor, size: Shape): Tensor {
  const { flat, back } = joinLeading(x, size.length);
  return back(wide(flat, (f) =>
    size.reduce((y, m, a) => {
      const axis = a + 1, n = y.shape[axis], rest = y.shape.slice(axis + 1);
      if (m === n) return y;
      if (n % m === 0) return y.reshape([...y.shape.slice(0, axis), m, n / m, ...rest]).mean(axis + 1);
      const longest = Math.max(
        ...Array.from({ length: m }, (_, t) => Math.ceil((t + 1) * n / m) - Math.floor(t * n / m)),
      );
      const key = `adaptive ${n} ${m}`, places: number[] = [], weights: number[] = [];
      for (let t = 0; t < m; t++) {
        const first = Math.floor(t * n / m), length = Math.ceil((t + 1) * n / m) - first;
        for (let k = 0; k < longest; k++) {
          places.push(first + Math.min(k, length - 1));
          // A shorter window shares its last element's weight, so that no weight is 0, which would make NaN of infinity.
          weights.push(1 / length / (k < length - 1 ? 1 : longest - length + 1));
        }
      }
      return taps(y, axis, key, places, weights, longest);
    }, f)));
}

/** `y[t] = sum over k of weights[t, k] x[places[t, k]]` along an axis, `count` taps each. */
export function taps(
  x: Tensor,
  axis: number,
  key: string,
  places: readonly number[],
  weights: readonly number[] | null,
  count: number,
): Tensor {
  const m = places.length / count, rest = x.shape.slice(axis + 1);
  const read = x.indexSelect(axis, x.tableLike(`places ${key}`, [places.length], "i32", () => places));
  if (weights === null) return read;
  const w = x.tableLike(`weights ${key}`, [m, count], x.dtype, () => weights);
  return read.reshape([...x.shape.slice(0, axis), m, count, ...rest])
    .mul(w.reshape([m, count, ...rest.map(() => 1)])).sum(axis + 1);
}

function lpPool(rank: number): LpPool {
  const action = `lpPool${rank}d`;
  return (input, normType, kernelSize, options = {}) => {
    const x = floats(action, spatial(action, input, rank));
    checkOptions(action, options, ["stride", "ceilMode"]);
    if (!(normType > 0)) {
      throw new RangeError(`Cannot ${action} with norm ${normType}: its order must be above 0`);
    }
    const p = windowsOf(action, x, rank, kernelSize, options), { flat, back } = joinLeading(x, rank);
    return back(wide(flat, (f) => {
      const powers = normType === 1 ? f : normType === 2 ? f.square() : f.pow(normType);
      const sums = windowSums(powers, p), some = sums.ne(0);
      // The gradient at 0 is 0, as that of a norm.
      return normType === 1 ? sums : sums.where(some, 1).pow(1 / normType).where(some, 0);
    }));
  };
}

const largest = ([x]: string[]): string => `\\max_{\\square} ${x}`;
const mean = ([x]: string[]): string => `\\operatorname{mean}_{\\square} ${x}`;
const norm = ([x]: string[]): string => `\\lVert ${x} \\rVert_{\\square}`;

/** Samples of one operand. */
const of = (shape: Shape, call: Sample["call"], rest: Partial<Sample> = {}): Sample => ({
  shapes: [shape],
  call,
  ...rest,
});

/**
 * The largest element of each window of x `[B, C, L]` or `[C, L]`: `y[b, c, t] = max over k of
 * x[b, c, t stride + k dilation - padding]`. Padding never wins, NaN does; the gradient goes to the first maximum.
 * `returnIndices` gives `{ values, indices }`. Errors: a kernel longer than the padded input, more padding than half
 * a kernel.
 */
export const maxPool1d: MaxPool = composite({
  name: "maxPool1d",
  tex: largest,
  texPullbacks: (_, f) => [`\\sum_{\\square} [i = \\operatorname{argmax}]\\,\\bar{${f}}`],
  samples: [
    of([2, 2, 5], (x) => maxPool1d(x, 2)),
    of([2, 6], (x) => maxPool1d(x, 3, { stride: 2, padding: 1, dilation: 2, ceilMode: true })),
  ],
}, maxPool(1));

/** {@linkcode maxPool1d} over two axes: x `[B, C, H, W]` or `[C, H, W]`. */
export const maxPool2d: MaxPool = composite({
  name: "maxPool2d",
  tex: largest,
  texPullbacks: (_, f) => [`\\sum_{\\square} [i = \\operatorname{argmax}]\\,\\bar{${f}}`],
  samples: [
    of([1, 2, 4, 5], (x) => maxPool2d(x, 2)),
    of([2, 4, 3], (x) => maxPool2d(x, [3, 2], { stride: [1, 2], padding: [1, 0], ceilMode: true })),
    of([1, 3, 3], (x) => {
      const { values, indices } = maxPool2d(x, 2, { stride: 1, returnIndices: true });
      return [values, indices];
    }),
  ],
}, maxPool(2));

/** {@linkcode maxPool1d} over three axes: x `[B, C, D, H, W]` or `[C, D, H, W]`. */
export const maxPool3d: MaxPool = composite({
  name: "maxPool3d",
  tex: largest,
  texPullbacks: (_, f) => [`\\sum_{\\square} [i = \\operatorname{argmax}]\\,\\bar{${f}}`],
  samples: [of([1, 2, 2, 3, 4], (x) => maxPool3d(x, 2, { stride: [1, 1, 2], padding: [0, 1, 0] }))],
}, maxPool(3));

/**
 * The mean of each window of x `[B, C, L]` or `[C, L]`. Zeros of the padding count as elements unless
 * `countIncludePad` is false; places behind the padding, which `ceilMode` may reach, never do.
 */
export const avgPool1d: AvgPool = composite({
  name: "avgPool1d",
  tex: mean,
  texPullbacks: (_, f) => [`\\sum_{\\square} \\bar{${f}} / n`],
  samples: [
    of([2, 2, 5], (x) => avgPool1d(x, 2)),
    of([2, 6], (x) => avgPool1d(x, 3, { stride: 2, padding: 1, ceilMode: true, countIncludePad: false })),
  ],
}, avgPool(1));

/** {@linkcode avgPool1d} over two axes: x `[B, C, H, W]` or `[C, H, W]`. */
export const avgPool2d: AvgPool = composite({
  name: "avgPool2d",
  tex: mean,
  texPullbacks: (_, f) => [`\\sum_{\\square} \\bar{${f}} / n`],
  samples: [
    of([1, 2, 4, 5], (x) => avgPool2d(x, 2, { ceilMode: true })),
    of([2, 4, 3], (x) => avgPool2d(x, [3, 2], { stride: [1, 2], padding: [1, 0], divisorOverride: -2 })),
  ],
}, avgPool(2));

/** {@linkcode avgPool1d} over three axes: x `[B, C, D, H, W]` or `[C, D, H, W]`. */
export const avgPool3d: AvgPool = composite({
  name: "avgPool3d",
  tex: mean,
  texPullbacks: (_, f) => [`\\sum_{\\square} \\bar{${f}} / n`],
  samples: [of([1, 1, 2, 3, 4], (x) => avgPool3d(x, 2, { stride: [1, 1, 2], padding: [0, 1, 0] }))],
}, avgPool(3));

/**
 * The largest element of each of `outputSize` windows, which cover x `[B, C, L]` or `[C, L]` evenly: window t from
 * `floor(t L / size)` up to `ceil((t + 1) L / size)`.
 */
export const adaptiveMaxPool1d: AdaptiveMaxPool = composite({
  name: "adaptiveMaxPool1d",
  tex: largest,
  texPullbacks: (_, f) => [`\\sum_{\\square} [i = \\operatorname{argmax}]\\,\\bar{${f}}`],
  samples: [of([2, 2, 5], (x) => adaptiveMaxPool1d(x, 3)), of([2, 4], (x) => adaptiveMaxPool1d(x, 1))],
}, adaptiveMaxPool(1));

/** {@linkcode adaptiveMaxPool1d} over two axes: x `[B, C, H, W]` or `[C, H, W]`. */
export const adaptiveMaxPool2d: AdaptiveMaxPool = composite({
  name: "adaptiveMaxPool2d",
  tex: largest,
  texPullbacks: (_, f) => [`\\sum_{\\square} [i = \\operatorname{argmax}]\\,\\bar{${f}}`],
  samples: [of([1, 2, 4, 3], (x) => adaptiveMaxPool2d(x, [3, 2]))],
}, adaptiveMaxPool(2));

/** {@linkcode adaptiveMaxPool1d} over three axes: x `[B, C, D, H, W]` or `[C, D, H, W]`. */
export const adaptiveMaxPool3d: AdaptiveMaxPool = composite({
  name: "adaptiveMaxPool3d",
  tex: largest,
  texPullbacks: (_, f) => [`\\sum_{\\square} [i = \\operatorname{argmax}]\\,\\bar{${f}}`],
  samples: [of([1, 2, 2, 3, 4], (x) => adaptiveMaxPool3d(x, [null, 2, 3]))],
}, adaptiveMaxPool(3));

/**
 * The mean of each of `outputSize` windows, which cover x `[B, C, L]` or `[C, L]` evenly: window t from
 * `floor(t L / size)` up to `ceil((t + 1) L / size)`.
 */
export const adaptiveAvgPool1d: AdaptiveAvgPool = composite({
  name: "adaptiveAvgPool1d",
  tex: mean,
  texPullbacks: (_, f) => [`\\sum_{\\square} \\bar{${f}} / n`],
  samples: [of([2, 2, 5], (x) => adaptiveAvgPool1d(x, 3)), of([2, 4], (x) => adaptiveAvgPool1d(x, 2))],
}, adaptiveAvgPool(1));

/** {@linkcode adaptiveAvgPool1d} over two axes: x `[B, C, H, W]` or `[C, H, W]`. */
export const adaptiveAvgPool2d: AdaptiveAvgPool = composite({
  name: "adaptiveAvgPool2d",
  tex: mean,
  texPullbacks: (_, f) => [`\\sum_{\\square} \\bar{${f}} / n`],
  samples: [
    of([1, 2, 4, 5], (x) => adaptiveAvgPool2d(x, [3, 7])),
    of([2, 3, 2], (x) => adaptiveAvgPool2d(x, 1)),
  ],
}, adaptiveAvgPool(2));

/** {@linkcode adaptiveAvgPool1d} over three axes: x `[B, C, D, H, W]` or `[C, D, H, W]`. */
export const adaptiveAvgPool3d: AdaptiveAvgPool = composite({
  name: "adaptiveAvgPool3d",
  tex: mean,
  texPullbacks: (_, f) => [`\\sum_{\\square} \\bar{${f}} / n`],
  samples: [of([1, 1, 2, 3, 4], (x) => adaptiveAvgPool3d(x, [null, 2, 3]))],
}, adaptiveAvgPool(3));

const POWERS: Partial<Sample> = { domain: [[0.2, 1.5]] };

/** `(sum over a window of x^p)^(1/p)` of x `[B, C, L]` or `[C, L]`; its gradient where that is 0 is 0. */
export const lpPool1d: LpPool = composite({
  name: "lpPool1d",
  tex: norm,
  texPullbacks: ([x], f) => [`\\sum_{\\square} (${x} / ${f})^{p - 1}\\,\\bar{${f}}`],
  samples: [
    of([2, 2, 5], (x) => lpPool1d(x, 2, 2)),
    of([2, 5], (x) => lpPool1d(x, 1.5, 3, { stride: 2 }), POWERS),
  ],
}, lpPool(1));

/** {@linkcode lpPool1d} over two axes: x `[B, C, H, W]` or `[C, H, W]`. */
export const lpPool2d: LpPool = composite({
  name: "lpPool2d",
  tex: norm,
  texPullbacks: ([x], f) => [`\\sum_{\\square} (${x} / ${f})^{p - 1}\\,\\bar{${f}}`],
  samples: [of([1, 2, 3, 4], (x) => lpPool2d(x, 2, 2, { ceilMode: true }))],
}, lpPool(2));

/** {@linkcode lpPool1d} over three axes: x `[B, C, D, H, W]` or `[C, D, H, W]`. */
export const lpPool3d: LpPool = composite({
  name: "lpPool3d",
  tex: norm,
  texPullbacks: ([x], f) => [`\\sum_{\\square} (${x} / ${f})^{p - 1}\\,\\bar{${f}}`],
  samples: [of([1, 1, 2, 2, 3], (x) => lpPool3d(x, 2, 2))],
}, lpPool(3));

/**
 * `x / (k + alpha / size * sum of x^2 over size neighbouring channels)^beta` for x `[B, C, ...]`: Krizhevsky et al.
 * (2012), "ImageNet classification with deep convolutional neural networks", section 3.3, with alpha as PyTorch has it.
 */
export const localResponseNorm: (
  x: Tensor,
  size: number,
  options?: { alpha?: number; beta?: number; k?: number },
) => Tensor = composite({
  name: "localResponseNorm",
  tex: ([x]) => `\\operatorname{LRN}(${x})`,
  texPullbacks: (
    [x],
    f,
  ) => [
    `d^{-\\beta}\\,\\bar{${f}} - \\tfrac{2 \\alpha \\beta}{n}\\,${x} \\sum_{\\square} ${f}\\,\\bar{${f}} / d, \\; d = k + \\tfrac{\\alpha}{n} \\sum_{\\square} {${x}}^2`,
  ],
  samples: [
    of([2, 4, 3], (x) => localResponseNorm(x, 3, { alpha: 0.5 })),
    of([1, 3, 2, 2], (x) => localResponseNorm(x, 2)),
  ],
}, (input: Tensor, size: number, options: { alpha?: number; beta?: number; k?: number } = {}): Tensor => {
  const x = floats("localResponseNorm", asTensor("localResponseNorm", input, "input"));
  checkOptions("localResponseNorm", options, ["alpha", "beta", "k"]);
  const { alpha = 1e-4, beta = 0.75, k = 1 } = options;
  if (x.rank < 3) {
    throw new RangeError(
      `Cannot localResponseNorm a tensor of shape ${showShape(x.shape)}: it must be [B, C, ...]`,
    );
  }
  perAxis("localResponseNorm", "size", size, 1, 1);
  const [B, C] = x.shape, S = sizeOf(x.shape.slice(2));
  return wide(x, (y) => {
    const sums = windowSums(y.square().reshape([B, C, S]), {
      kernel: [size, 1],
      stride: [1, 1],
      before: [Math.floor(size / 2), 0],
      dilation: [1, 1],
      size: [C, S],
      adaptive: false,
    });
    return y.div(sums.mul(alpha / size).add(k).pow(beta).reshape(x.shape));
  });
});
