/** Convolutions and transposed convolutions over one, two and three axes. */
import { composite } from "../composite.ts";
import { convolution } from "../definitions/convolution.ts";
import { apply } from "../node.ts";
import { showShape } from "../shape.ts";
import { asTensor, checkOptions, type Tensor } from "../tensor.ts";
import { AXES, checkFits, type PerAxis, perAxis, spatial, windowsIn } from "./spatial.ts";

/** Options of {@linkcode conv2d} and its like. */
export interface ConvOptions {
  /** `[O]`, added to each output channel. */
  bias?: Tensor | null;
  /** Step of the window; default 1. */
  stride?: PerAxis;
  /**
   * Zeros on both sides of each axis; default 0 ("valid"). "same" keeps lengths (stride 1 only); where that takes an
   * odd number of zeros, the odd one is at the end.
   */
  padding?: PerAxis | "same" | "valid";
  /** Step within the window; default 1. */
  dilation?: PerAxis;
  /** Input and output channels are split into so many groups, each convolved by itself; default 1. */
  groups?: number;
}

/** Options of {@linkcode convTranspose2d} and its like. */
export interface ConvTransposeOptions extends Omit<ConvOptions, "padding"> {
  /** Places by which the result is shortened on both sides of each axis; default 0. */
  padding?: PerAxis;
  /** Places by which the result is longer at the end: which of the lengths that a stride joins is meant; default 0. */
  outputPadding?: PerAxis;
}

const OPTIONS = Object.keys(
  { bias: true, stride: true, padding: true, dilation: true, groups: true } satisfies Record<
    keyof ConvOptions,
    true
  >,
);
const TRANSPOSE_OPTIONS = [...OPTIONS, "outputPadding"];

/** What all convolutions check of their operands: weight, groups and bias against the input's channels. */
function operands(
  action: string,
  input: unknown,
  weight: unknown,
  options: ConvTransposeOptions | ConvOptions,
  rank: number,
  transposed: boolean,
): { x: Tensor; w: Tensor; groups: number; bias: Tensor | null; channels: number; outputs: number } {
  const x = spatial(action, input, rank), w = asTensor(action, weight, "weight");
  checkOptions(action, options, transposed ? TRANSPOSE_OPTIONS : OPTIONS);
  const { bias = null, groups = 1 } = options;
  const both = `Cannot ${action} shape ${showShape(x.shape)} with a weight of shape ${showShape(w.shape)}`;
  if (w.rank !== rank + 2) {
    const [a, b] = transposed ? ["in", "out / groups"] : ["out", "in / groups"];
    throw new RangeError(
      `${both}: the weight must be [${a}, ${b}, ${AXES[rank].slice(1).replace(/\w/g, (c) => `k${c}`)}`,
    );
  }
  const channels = x.shape[x.rank - rank - 1], [first, second] = w.shape;
  if (!Number.isInteger(groups) || groups < 1) {
    throw new RangeError(`Cannot ${action} in ${groups} groups: their number is a whole number from 1 on`);
  }
  const divided = transposed ? channels : first;
  if (divided % groups !== 0) {
    throw new RangeError(
      `${both} in ${groups} groups: the ${divided} ${
        transposed ? "input" : "output"
      } channels must be a multiple of that`,
    );
  }
  const takes = transposed ? first : second * groups;
  if (channels !== takes) {
    throw new RangeError(
      `${both}${groups === 1 ? "" : ` in ${groups} groups`}: the input has ${channels} channels (axis ${
        x.rank - rank - 1
      }), and the weight takes ${takes}`,
    );
  }
  const outputs = transposed ? second * groups : first;
  if (bias !== null) {
    asTensor(action, bias, "bias");
    if (bias.rank !== 1 || bias.shape[0] !== outputs) {
      throw new RangeError(
        `${both} and a bias of shape ${
          showShape(bias.shape)
        }: the bias must be [${outputs}], a number for each output channel`,
      );
    }
  }
  return { x, w, groups, bias, channels, outputs };
}

/** `[N, groups, channels / groups, ...]` of an input. */
function grouped(x: Tensor, rank: number, groups: number, channels: number): Tensor {
  return x.reshape([
    x.rank === rank + 2 ? x.shape[0] : 1,
    groups,
    channels / groups,
    ...x.shape.slice(x.rank - rank),
  ]);
}

/** The result of the primitive in the layout of the input, with its bias. */
function finish(y: Tensor, like: Tensor, rank: number, outputs: number, bias: Tensor | null): Tensor {
  const size = y.shape.slice(3);
  const z = y.reshape(like.rank === rank + 2 ? [y.shape[0], outputs, ...size] : [outputs, ...size]);
  return bias === null ? z : z.add(bias.reshape([outputs, ...size.map(() => 1)]));
}

function conv(rank: number, input: Tensor, weight: Tensor, options: ConvOptions): Tensor {
  const action = `conv${rank}d`;
  const { x, w, groups, bias, channels, outputs } = operands(action, input, weight, options, rank, false);
  const stride = perAxis(action, "stride", options.stride ?? 1, rank, 1);
  const dilation = perAxis(action, "dilation", options.dilation ?? 1, rank, 1);
  const kernel = w.shape.slice(2), extent = kernel.map((k, a) => (k - 1) * dilation[a] + 1);
  checkKernel(action, w);
  const { padding = 0 } = options, lengths = x.shape.slice(x.rank - rank);
  let before: number[], after: number[];
  if (padding === "same") {
    if (stride.some((s) => s !== 1)) {
      throw new RangeError(
        `Cannot ${action} with padding "same" and stride ${
          showShape(stride)
        }: it keeps lengths only for stride 1; give the padding in numbers`,
      );
    }
    before = extent.map((e) => Math.floor((e - 1) / 2));
    after = extent.map((e, a) => e - 1 - before[a]);
  } else if (typeof padding === "string" && padding !== "valid") {
    throw new RangeError(`Cannot ${action} with padding "${padding}": give numbers, "same" or "valid"`);
  } else before = after = perAxis(action, "padding", padding === "valid" ? 0 : padding, rank, 0);
  const padded = lengths.map((n, a) => n + before[a] + after[a]);
  checkFits(action, x.shape, padded, extent, kernel);
  const size = padded.map((n, a) => windowsIn(n, extent[a], stride[a]));
  const y = apply(
    convolution,
    [grouped(x, rank, groups, channels), w.reshape([groups, outputs / groups, ...w.shape.slice(1)])],
    { stride, before, dilation, spread: stride.map(() => 1), size },
  );
  return finish(y, x, rank, outputs, bias);
}

function checkKernel(action: string, w: Tensor): void {
  if (!w.shape.slice(2).includes(0)) return;
  throw new RangeError(`Cannot ${action} with a weight of shape ${showShape(w.shape)}: its kernel is empty`);
}

function convTranspose(rank: number, input: Tensor, weight: Tensor, options: ConvTransposeOptions): Tensor {
  const action = `convTranspose${rank}d`;
  const { x, w, groups, bias, channels, outputs } = operands(action, input, weight, options, rank, true);
  const stride = perAxis(action, "stride", options.stride ?? 1, rank, 1);
  const dilation = perAxis(action, "dilation", options.dilation ?? 1, rank, 1);
  const padding = perAxis(action, "padding", options.padding ?? 0, rank, 0);
  const more = perAxis(action, "outputPadding", options.outputPadding ?? 0, rank, 0);
  checkKernel(action, w);
  const kernel = w.shape.slice(2), lengths = x.shape.slice(x.rank - rank);
  more.forEach((n, a) => {
    if (n < stride[a] || n < dilation[a]) return;
    throw new RangeError(
      `Cannot ${action} with outputPadding ${n}, stride ${stride[a]} and dilation ${dilation[a]}: ` +
        `outputPadding must be smaller than one of the others`,
    );
  });
  const size = lengths.map((n, a) =>
    (n - 1) * stride[a] - 2 * padding[a] + dilation[a] * (kernel[a] - 1) + more[a] + 1
  );
  if (size.some((n) => n < 1)) {
    throw new RangeError(
      `Cannot ${action} shape ${showShape(x.shape)} with a kernel of shape ${showShape(kernel)} and padding ${
        showShape(padding)
      }: the result would have lengths ${showShape(size)}; pad less`,
    );
  }
  const spatialAxes = kernel.map((_, a) => a + 3);
  // [in, out / G, ...K] to [G, out / G, in / G, ...K], mirrored.
  const mirrored = w.reshape([groups, channels / groups, ...w.shape.slice(1)])
    .permute([0, 2, 1, ...spatialAxes]).flip(spatialAxes);
  const y = apply(convolution, [grouped(x, rank, groups, channels), mirrored], {
    stride: stride.map(() => 1),
    before: kernel.map((k, a) => (k - 1) * dilation[a] - padding[a]),
    dilation,
    spread: stride,
    size,
  });
  return finish(y, x, rank, outputs, bias);
}

/** A convolution over a number of axes. */
export type Conv = (x: Tensor, weight: Tensor, options?: ConvOptions) => Tensor;
/** A transposed convolution over a number of axes. */
export type ConvTranspose = (x: Tensor, weight: Tensor, options?: ConvTransposeOptions) => Tensor;

const tex = ([x, w]: string[]): string => `${x} \\star ${w}`;
const transposedTex = ([x, w]: string[]): string => `${x} \\star^{\\top} ${w}`;

/**
 * Convolution (cross-correlation, as PyTorch) of x `[B, C, L]` or `[C, L]` with weight `[O, C / groups, k]`:
 * `y[b, o, t] = bias[o] + sum over c, k of x[b, c, t stride + k dilation - padding] weight[o, c, k]`. Errors: channels
 * or groups that do not fit, a kernel longer than the padded input.
 */
export const conv1d: Conv = composite({
  name: "conv1d",
  tex,
  texPullbacks: ([x, w], f) => [`\\bar{${f}} \\star^{\\top} ${w}`, `${x} \\star \\bar{${f}}`],
  samples: [
    { shapes: [[2, 2, 5], [3, 2, 2], [3]], call: (x, w, bias) => conv1d(x, w, { bias }) },
    { shapes: [[2, 5], [2, 1, 3]], call: (x, w) => conv1d(x, w, { padding: "same", groups: 2 }) },
    { shapes: [[1, 1, 6], [1, 1, 2]], call: (x, w) => conv1d(x, w, { stride: 2, padding: 1, dilation: 3 }) },
  ],
}, (x: Tensor, weight: Tensor, options: ConvOptions = {}): Tensor => conv(1, x, weight, options));

/**
 * {@linkcode conv1d} over two axes: x `[B, C, H, W]` or `[C, H, W]`, weight `[O, C / groups, kH, kW]`.
 *
 * ```ts
 * import { conv2d, randn } from "@cotangent/cotangent";
 *
 * const x = randn([8, 3, 32, 32]), w = randn([16, 3, 3, 3]);
 * conv2d(x, w, { stride: 2, padding: 1 }).shape; // [8, 16, 16, 16]
 * ```
 */
export const conv2d: Conv = composite({
  name: "conv2d",
  tex,
  texPullbacks: ([x, w], f) => [`\\bar{${f}} \\star^{\\top} ${w}`, `${x} \\star \\bar{${f}}`],
  samples: [
    { shapes: [[2, 2, 3, 4], [3, 2, 2, 2], [3]], call: (x, w, bias) => conv2d(x, w, { bias, padding: 1 }) },
    {
      shapes: [[1, 4, 5, 4], [2, 2, 3, 2]],
      call: (x, w) => conv2d(x, w, { stride: [2, 1], padding: [2, 1], dilation: [2, 1], groups: 2 }),
    },
    { shapes: [[1, 3, 2], [1, 1, 2, 3]], call: (x, w) => conv2d(x, w, { padding: "same" }) },
  ],
}, (x: Tensor, weight: Tensor, options: ConvOptions = {}): Tensor => conv(2, x, weight, options));

/** {@linkcode conv1d} over three axes: x `[B, C, D, H, W]` or `[C, D, H, W]`, weight `[O, C / groups, kD, kH, kW]`. */
export const conv3d: Conv = composite({
  name: "conv3d",
  tex,
  texPullbacks: ([x, w], f) => [`\\bar{${f}} \\star^{\\top} ${w}`, `${x} \\star \\bar{${f}}`],
  samples: [
    { shapes: [[1, 2, 3, 2, 3], [2, 2, 2, 2, 2], [2]], call: (x, w, bias) => conv3d(x, w, { bias }) },
    {
      shapes: [[2, 2, 2, 3], [2, 1, 1, 2, 2]],
      call: (x, w) => conv3d(x, w, { stride: [1, 2, 1], padding: [0, 1, 1], groups: 2 }),
    },
  ],
}, (x: Tensor, weight: Tensor, options: ConvOptions = {}): Tensor => conv(3, x, weight, options));

/**
 * The transpose of {@linkcode conv1d} by its input ("deconvolution"), as a function: x `[B, C, L]` or `[C, L]` with
 * weight `[C, O / groups, k]` to length `(L - 1) stride - 2 padding + dilation (k - 1) + outputPadding + 1`.
 */
export const convTranspose1d: ConvTranspose = composite(
  {
    name: "convTranspose1d",
    tex: transposedTex,
    texPullbacks: ([x, w], f) => [`\\bar{${f}} \\star ${w}`, `\\bar{${f}} \\star ${x}`],
    samples: [
      {
        shapes: [[2, 2, 3], [2, 3, 2], [3]],
        call: (x, w, bias) => convTranspose1d(x, w, { bias, stride: 2, padding: 1, outputPadding: 1 }),
      },
      { shapes: [[2, 3], [2, 1, 2]], call: (x, w) => convTranspose1d(x, w, { dilation: 2, groups: 2 }) },
    ],
  },
  (x: Tensor, weight: Tensor, options: ConvTransposeOptions = {}): Tensor =>
    convTranspose(1, x, weight, options),
);

/** {@linkcode convTranspose1d} over two axes: x `[B, C, H, W]` or `[C, H, W]`, weight `[C, O / groups, kH, kW]`. */
export const convTranspose2d: ConvTranspose = composite(
  {
    name: "convTranspose2d",
    tex: transposedTex,
    texPullbacks: ([x, w], f) => [`\\bar{${f}} \\star ${w}`, `\\bar{${f}} \\star ${x}`],
    samples: [
      {
        shapes: [[1, 2, 2, 3], [2, 2, 2, 3], [2]],
        call: (x, w, bias) => convTranspose2d(x, w, { bias, stride: [2, 1], padding: [0, 1] }),
      },
      {
        shapes: [[2, 2, 2], [2, 1, 2, 1]],
        call: (x, w) => convTranspose2d(x, w, { stride: 3, outputPadding: [2, 1], groups: 2 }),
      },
    ],
  },
  (x: Tensor, weight: Tensor, options: ConvTransposeOptions = {}): Tensor =>
    convTranspose(2, x, weight, options),
);

/** {@linkcode convTranspose1d} over three axes: x `[B, C, D, H, W]` or `[C, D, H, W]`, weight `[C, O / groups, kD, kH, kW]`. */
export const convTranspose3d: ConvTranspose = composite(
  {
    name: "convTranspose3d",
    tex: transposedTex,
    texPullbacks: ([x, w], f) => [`\\bar{${f}} \\star ${w}`, `\\bar{${f}} \\star ${x}`],
    samples: [
      {
        shapes: [[1, 2, 2, 1, 2], [2, 1, 1, 2, 2], [1]],
        call: (x, w, bias) => convTranspose3d(x, w, { bias, stride: [1, 2, 2], padding: [0, 0, 1] }),
      },
    ],
  },
  (x: Tensor, weight: Tensor, options: ConvTransposeOptions = {}): Tensor =>
    convTranspose(3, x, weight, options),
);
