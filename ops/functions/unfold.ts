/** Windows laid out as columns (im2col) and their transpose. */
import { composite } from "../composite.ts";
import { foldWindows, unfoldWindows, type Windows } from "../definitions/windows.ts";
import { apply } from "../node.ts";
import { showShape, sizeOf } from "../shape.ts";
import { asTensor, checkOptions, type Tensor } from "../tensor.ts";
import { checkFits, type PerAxis, perAxis, spatial, windowsIn } from "./spatial.ts";

/** Options of {@linkcode unfold} and {@linkcode fold}. */
export interface UnfoldOptions {
  /** Step within the window; default 1. */
  dilation?: PerAxis;
  /** Zeros on both sides of each axis; default 0. */
  padding?: PerAxis;
  /** Step of the window; default 1. */
  stride?: PerAxis;
}

const OPTIONS = Object.keys(
  { dilation: true, padding: true, stride: true } satisfies Record<keyof UnfoldOptions, true>,
);

/** The windows over an input with lengths `I`, of which `shape` is the whole shape. */
function windowsOver(
  action: string,
  shape: readonly number[],
  I: readonly number[],
  kernelSize: PerAxis,
  options: UnfoldOptions,
): Windows {
  checkOptions(action, options, OPTIONS);
  const kernel = perAxis(action, "kernel", kernelSize, 2, 1);
  const stride = perAxis(action, "stride", options.stride ?? 1, 2, 1);
  const before = perAxis(action, "padding", options.padding ?? 0, 2, 0);
  const dilation = perAxis(action, "dilation", options.dilation ?? 1, 2, 1);
  const extent = kernel.map((k, a) => (k - 1) * dilation[a] + 1), padded = I.map((n, a) => n + 2 * before[a]);
  checkFits(action, shape, padded, extent, kernel);
  const size = padded.map((n, a) => windowsIn(n, extent[a], stride[a]));
  return { kernel, stride, before, dilation, size, adaptive: false };
}

/**
 * The elements of all windows of x `[B, C, H, W]` or `[C, H, W]` as columns (im2col): `[B, C kH kW, windows]` or
 * `[C kH kW, windows]`, both row-major. With it a convolution is `weight.flatten(1).matmul(unfold(x, kernel))`.
 */
export const unfold: (x: Tensor, kernelSize: PerAxis, options?: UnfoldOptions) => Tensor = composite({
  name: "unfold2d",
  call: "unfold",
  tex: ([x]) => `\\operatorname{unfold} ${x}`,
  texPullbacks: (_, f) => [`\\operatorname{fold} \\bar{${f}}`],
  samples: [
    { shapes: [[1, 2, 3, 4]], call: (x) => unfold(x, 2) },
    { shapes: [[2, 4, 3]], call: (x) => unfold(x, [2, 3], { dilation: [2, 1], padding: 1, stride: [1, 2] }) },
  ],
}, (input: Tensor, kernelSize: PerAxis, options: UnfoldOptions = {}): Tensor => {
  const x = spatial("unfold", input, 2), [H, W] = x.shape.slice(-2);
  const p = windowsOver("unfold", x.shape, [H, W], kernelSize, options);
  const front = x.shape.slice(0, -3), C = x.shape[x.rank - 3];
  const y = apply(unfoldWindows, [x.reshape([sizeOf(front) * C, H, W])], p); // [B C, kH, kW, T0, T1]
  return y.reshape([...front, C * sizeOf(p.kernel), sizeOf(p.size)]);
});

/**
 * Sums the columns of windows `[B, C kH kW, windows]` or `[C kH kW, windows]` where the windows overlap, to
 * `[B, C, ...outputSize]`: the transpose of {@linkcode unfold}.
 */
export const fold: (x: Tensor, outputSize: PerAxis, kernelSize: PerAxis, options?: UnfoldOptions) => Tensor =
  composite({
    name: "fold",
    tex: ([x]) => `\\operatorname{fold} ${x}`,
    texPullbacks: (_, f) => [`\\operatorname{unfold} \\bar{${f}}`],
    samples: [
      { shapes: [[1, 8, 6]], call: (x) => fold(x, [3, 4], 2) },
      {
        shapes: [[6, 8]],
        call: (x) => fold(x, [4, 3], [2, 3], { dilation: [2, 1], padding: 1, stride: [1, 2] }),
      },
    ],
  }, (input: Tensor, outputSize: PerAxis, kernelSize: PerAxis, options: UnfoldOptions = {}): Tensor => {
    const x = asTensor("fold", input, "input"), size = perAxis("fold", "outputSize", outputSize, 2, 1);
    const p = windowsOver("fold", size, size, kernelSize, options), taps = sizeOf(p.kernel);
    if (
      x.rank !== 2 && x.rank !== 3 || x.shape[x.rank - 2] % taps !== 0 ||
      x.shape[x.rank - 1] !== sizeOf(p.size)
    ) {
      throw new RangeError(
        `Cannot fold shape ${showShape(x.shape)} to ${showShape(size)} with a kernel of shape ${
          showShape(p.kernel)
        }: it must be [B, C ${taps}, ${sizeOf(p.size)}] or [C ${taps}, ${
          sizeOf(p.size)
        }], ${taps} elements of each of ${sizeOf(p.size)} windows`,
      );
    }
    const front = x.shape.slice(0, -2), C = x.shape[x.rank - 2] / taps;
    const y = apply(foldWindows, [x.reshape([sizeOf(front) * C, ...p.kernel, ...p.size])], {
      ...p,
      input: size,
    });
    return y.reshape([...front, C, ...size]);
  });
