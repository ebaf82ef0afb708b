/** Maxima put back where they were found. */
import { composite } from "../composite.ts";
import type { Sample } from "../primitive.ts";
import { type Shape, showShape, sizeOf } from "../shape.ts";
import { asTensor, checkOptions, type Tensor, WHOLE_NUMBERS } from "../tensor.ts";
import { joinLeading, type PerAxis, perAxis, spatial } from "./spatial.ts";

/** Options of {@linkcode maxUnpool2d} and its like: those of the pool, and which of the lengths it joins is meant. */
export interface MaxUnpoolOptions {
  /** Step of the window; default the kernel's lengths. */
  stride?: PerAxis;
  /** Padding of the pool; default 0. */
  padding?: PerAxis;
  /** Lengths of the spatial axes; default `(n - 1) stride - 2 padding + kernel`. */
  outputSize?: readonly number[];
}

/** The inverse of a maximum pool over a number of axes, as far as there is one. */
export type MaxUnpool = (
  x: Tensor,
  indices: Tensor,
  kernelSize: PerAxis,
  options?: MaxUnpoolOptions,
) => Tensor;

function maxUnpool(rank: number): MaxUnpool {
  const action = `maxUnpool${rank}d`;
  return (input, places, kernelSize, options = {}) => {
    const x = spatial(action, input, rank), indices = asTensor(action, places, "indices", WHOLE_NUMBERS);
    checkOptions(action, options, ["stride", "padding", "outputSize"]);
    if (showShape(x.shape) !== showShape(indices.shape)) {
      throw new RangeError(
        `Cannot ${action} shape ${showShape(x.shape)} to indices of shape ${
          showShape(indices.shape)
        }: they are the values and the indices of one maxPool, of the same shape`,
      );
    }
    const kernel = perAxis(action, "kernel", kernelSize, rank, 1);
    const stride = perAxis(action, "stride", options.stride ?? kernel, rank, 1);
    const padding = perAxis(action, "padding", options.padding ?? 0, rank, 0);
    const usual = x.shape.slice(x.rank - rank).map((n, a) =>
      (n - 1) * stride[a] - 2 * padding[a] + kernel[a]
    );
    const size = options.outputSize === undefined
      ? usual
      : perAxis(action, "outputSize", options.outputSize, rank, 1);
    if (size.some((n, a) => n < 1 || Math.abs(n - usual[a]) >= stride[a])) {
      throw new RangeError(
        `Cannot ${action} shape ${showShape(x.shape)} to lengths ${showShape(size)}: a pool with stride ${
          showShape(stride)
        } comes from lengths less than that away from ${showShape(usual)}`,
      );
    }
    const { flat, back } = joinLeading(x, rank), N = flat.shape[0], P = sizeOf(flat.shape.slice(1));
    const zeros = x.scalarLike(0).expand([N, sizeOf(size)]);
    return back(zeros.scatter(1, indices.reshape([N, P]), flat.reshape([N, P])).reshape([N, ...size]));
  };
}

const tex = ([x, i]: string[]): string => `\\operatorname{unpool}(${x}, ${i})`;
const of = (shape: Shape, places: number[], call: Sample["call"]): Sample => ({
  shapes: [shape, shape],
  dtypes: [undefined, "i32"],
  values: [undefined, places],
  call,
});

/**
 * Zeros with the values of x `[B, C, L]` or `[C, L]` at `indices`, which {@linkcode maxPool1d} returned; where windows
 * share a maximum, which is the same value, it counts once.
 */
export const maxUnpool1d: MaxUnpool = composite({
  name: "maxUnpool1d",
  tex,
  texPullbacks: ([, i], f) => [`\\bar{${f}}[${i}]`, "0"],
  samples: [of([1, 2, 2], [1, 2, 0, 3], (x, i) => maxUnpool1d(x, i, 2))],
}, maxUnpool(1));

/** {@linkcode maxUnpool1d} over two axes: x `[B, C, H, W]` or `[C, H, W]`. */
export const maxUnpool2d: MaxUnpool = composite({
  name: "maxUnpool2d",
  tex,
  texPullbacks: ([, i], f) => [`\\bar{${f}}[${i}]`, "0"],
  samples: [of([1, 2, 2], [0, 3, 9, 14], (x, i) => maxUnpool2d(x, i, 2, { outputSize: [4, 5] }))],
}, maxUnpool(2));

/** {@linkcode maxUnpool1d} over three axes: x `[B, C, D, H, W]` or `[C, D, H, W]`. */
export const maxUnpool3d: MaxUnpool = composite({
  name: "maxUnpool3d",
  tex,
  texPullbacks: ([, i], f) => [`\\bar{${f}}[${i}]`, "0"],
  samples: [of([1, 1, 1, 2], [3, 12], (x, i) => maxUnpool3d(x, i, 2))],
}, maxUnpool(3));
