/** Normalisation over features, groups of channels and batches. */
import { composite } from "../composite.ts";
import { epsilon, isFloat } from "../dtype.ts";
import { layerNorm as fusedLayerNorm, rmsNorm as fusedRmsNorm } from "../fused/norm.ts";
import { apply } from "../node.ts";
import { sameShape, type Shape, showShape, sizeOf } from "../shape.ts";
import { asTensor, checkOptions, type Tensor } from "../tensor.ts";

/** Options of {@linkcode layerNorm} and {@linkcode groupNorm}. */
export interface NormOptions {
  /** γ; default none. */
  weight?: Tensor | null;
  /** β; default none. */
  bias?: Tensor | null;
  /** Added to the variance; default 1e-5. */
  eps?: number;
}

/** Options of {@linkcode rmsNorm}. */
export interface RmsNormOptions {
  /** γ; default none. */
  weight?: Tensor | null;
  /** Added to the mean of squares; default the distance of 1 to the next number of the type, as in PyTorch. */
  eps?: number;
}

/** Rows longer than this are folded by many threads on WebGPU, not by one. */
const LONGEST_ROW = 4096;

function rows(
  name: "layerNorm" | "rmsNorm",
  x: Tensor,
  shape: number | Shape,
  { weight, bias, eps }: { weight: Tensor | null; bias: Tensor | null; eps: number | undefined },
): Tensor {
  const float = isFloat(asTensor(name, x).dtype) ? x : x.to("f32");
  const lengths = typeof shape === "number" ? [shape] : shape, n = lengths.length;
  if (n === 0 || n > x.rank || !sameShape(x.shape.slice(x.rank - n), lengths)) {
    throw new RangeError(
      `Cannot ${name} a tensor of shape ${showShape(x.shape)} over ${
        showShape(lengths)
      }: these must be its last axes`,
    );
  }
  const affine = [weight, bias].flatMap((t) => t === null ? [] : [t.to(float.dtype)]);
  const p = {
    axes: n,
    eps: eps ?? epsilon(float.dtype),
    weight: weight !== null,
    bias: bias !== null,
  };
  const { op, definition } = name === "layerNorm" ? fusedLayerNorm : fusedRmsNorm;
  return float.device === "webgpu" && sizeOf(lengths) > LONGEST_ROW
    ? definition([float, ...affine], p)
    : apply(op, [float, ...affine], p);
}

/** γ (x - μ) / √(σ² + ε) + β with mean and variance over the last axes, whose lengths are `shape`. */
export function layerNorm(x: Tensor, shape: number | Shape, options: NormOptions = {}): Tensor {
  checkOptions("layerNorm", options, ["weight", "bias", "eps"]);
  const { weight = null, bias = null, eps = 1e-5 } = options;
  return rows("layerNorm", x, shape, { weight, bias, eps });
}

/** γ x / √(mean(x²) + ε) over the last axes, whose lengths are `shape`: Zhang and Sennrich (2019). */
export function rmsNorm(x: Tensor, shape: number | Shape, options: RmsNormOptions = {}): Tensor {
  checkOptions("rmsNorm", options, ["weight", "eps"]);
  return rows("rmsNorm", x, shape, { weight: options.weight ?? null, bias: null, eps: options.eps });
}

/** A vector `[C]` beside axis 1 of a tensor. */
function besideChannels(name: string, x: Tensor, t: Tensor): Tensor {
  if (t.rank !== 1 || t.shape[0] !== x.shape[1]) {
    throw new RangeError(
      `Cannot ${name} a tensor of shape ${showShape(x.shape)} with a vector of shape ${
        showShape(t.shape)
      }: it must have one element for each of ${x.shape[1]} channels`,
    );
  }
  return t.to(x.dtype).reshape([1, x.shape[1], ...x.shape.slice(2).map(() => 1)]);
}

function affine(name: string, x: Tensor, y: Tensor, { weight = null, bias = null }: NormOptions): Tensor {
  const scaled = weight === null ? y : y.mul(besideChannels(name, x, weight));
  return bias === null ? scaled : scaled.add(besideChannels(name, x, bias));
}

function channels(name: string, x: Tensor): Tensor {
  if (asTensor(name, x).rank < 2) {
    throw new RangeError(`Cannot ${name} a tensor of shape ${showShape(x.shape)}: it must be [N, C, ...]`);
  }
  return isFloat(x.dtype) ? x : x.to("f32");
}

const grouped = composite({
  name: "groupNorm",
  tex: ([x, g, b]) => `${g} \\frac{${x} - \\mu_G}{\\sqrt{\\sigma_G^2 + \\epsilon}} + ${b}`,
  texPullbacks: (
    [x, w],
    f,
  ) => [
    `\\frac{g - \\operatorname{mean} g - \\hat{${x}} \\operatorname{mean}(g\\,\\hat{${x}})}{\\sqrt{\\sigma^2 + \\epsilon}}, \\; g = ${w}\\,\\bar{${f}}`,
    `\\sum \\hat{${x}}\\,\\bar{${f}}`,
    `\\sum \\bar{${f}}`,
  ],
  samples: [
    {
      shapes: [[2, 4, 3], [4], [4]],
      call: (x, weight, bias): Tensor => groupNorm(x, 2, { weight, bias }),
      notSpecial: "normalised rows of infinities and of what squares overflow",
    },
    {
      shapes: [[2, 3]],
      call: (x): Tensor => groupNorm(x, 1, { eps: 0.5 }),
      notSpecial: "normalised rows of infinities and of what squares overflow",
    },
  ],
}, (x: Tensor, groups: number, eps: number): Tensor => {
  const [N, C, ...rest] = x.shape, row = (C / groups) * sizeOf(rest);
  return rows("layerNorm", x.reshape([N, groups, row]), row, { weight: null, bias: null, eps }).reshape(
    x.shape,
  );
});

/**
 * γ (x - μ) / √(σ² + ε) + β of `[N, C, ...]` with mean and variance over each of `groups` groups of channels: Wu and He
 * (2018), "Group normalization". γ and β are `[C]`.
 */
export function groupNorm(x: Tensor, groups: number, options: NormOptions = {}): Tensor {
  checkOptions("groupNorm", options, ["weight", "bias", "eps"]);
  const t = channels("groupNorm", x), C = t.shape[1];
  if (!Number.isInteger(groups) || groups < 1 || C % groups !== 0) {
    throw new RangeError(
      `Cannot groupNorm a tensor of shape ${
        showShape(x.shape)
      } in ${groups} groups: their number must divide the ${C} channels`,
    );
  }
  return affine("groupNorm", t, grouped(t, groups, options.eps ?? 1e-5), options);
}

/** Options of {@linkcode batchNorm} and {@linkcode instanceNorm}. */
export interface RunningNormOptions extends NormOptions {
  /** Means `[C]` to normalise by instead. */
  runningMean?: Tensor | null;
  /** Variances `[C]` to normalise by instead. */
  runningVar?: Tensor | null;
}

const RUNNING: readonly string[] = ["weight", "bias", "eps", "runningMean", "runningVar"];

/** Normalised by given statistics `[C]`. */
function byRunning(name: string, x: Tensor, mean: Tensor, variance: Tensor, eps: number): Tensor {
  return x.sub(besideChannels(name, x, mean))
    .mul(besideChannels(name, x, variance.to(x.dtype).add(eps).sqrt().reciprocal()));
}

function running(name: string, o: RunningNormOptions): [Tensor, Tensor] | null {
  const { runningMean = null, runningVar = null } = o;
  if (runningMean !== null && runningVar !== null) return [runningMean, runningVar];
  if (runningMean === null && runningVar === null) return null;
  throw new TypeError(`Cannot ${name} with one of runningMean and runningVar: give both or neither`);
}

/**
 * γ (x - μ) / √(σ² + ε) + β of `[N, C, ...]` with mean and variance of each channel of each example: Ulyanov, Vedaldi and
 * Lempitsky (2016), "Instance normalization"; or with running statistics `[C]` where they are given.
 */
export function instanceNorm(x: Tensor, options: RunningNormOptions = {}): Tensor {
  checkOptions("instanceNorm", options, RUNNING);
  const t = channels("instanceNorm", x), given = running("instanceNorm", options), { eps = 1e-5 } = options;
  if (given !== null) {
    return affine("instanceNorm", t, byRunning("instanceNorm", t, ...given, eps), options);
  }
  if (sizeOf(t.shape.slice(2)) === 1 && t.size > 0) {
    throw new RangeError(
      `Cannot instanceNorm a tensor of shape ${
        showShape(x.shape)
      }: each channel of an example must have more than one value`,
    );
  }
  return affine("instanceNorm", t, grouped(t, t.shape[1], eps), options);
}

const ofBatch = composite({
  name: "batchNorm",
  tex: ([x]) => `\\frac{${x} - \\mu_B}{\\sqrt{\\sigma_B^2 + \\epsilon}}`,
  texPullbacks: (
    [x],
    f,
  ) => [
    `\\frac{g - \\operatorname{mean} g - \\hat{${x}} \\operatorname{mean}(g\\,\\hat{${x}})}{\\sqrt{\\sigma^2 + \\epsilon}}, \\; g = \\bar{${f}}`,
  ],
  samples: [
    {
      shapes: [[3, 2, 2], [2], [2]],
      call: (x, weight, bias): Tensor => batchNorm(x, { weight, bias }),
      notSpecial: "normalised rows of infinities and of what squares overflow",
    },
    {
      shapes: [[3, 2], [2], [2]],
      call: (x, runningMean, runningVar): Tensor => batchNorm(x, { runningMean, runningVar }),
      domain: [[-1.5, 1.5], [-1, 1], [0.2, 2]],
    },
  ],
}, (x: Tensor, axes: number[], eps: number): Tensor => {
  const centred = x.sub(x.mean(axes, { keepdim: true }));
  return centred.mul(centred.square().mean(axes, { keepdim: true }).add(eps).sqrt().reciprocal());
});

/**
 * γ (x - μ) / √(σ² + ε) + β of `[N, C, ...]` or `[N, C]` with mean and variance of each channel over the batch: Ioffe and
 * Szegedy (2015), "Batch normalization"; or with running statistics `[C]` where they are given. It moves none: the
 * layer does.
 */
export function batchNorm(x: Tensor, options: RunningNormOptions = {}): Tensor {
  checkOptions("batchNorm", options, RUNNING);
  const t = channels("batchNorm", x), given = running("batchNorm", options), { eps = 1e-5 } = options;
  if (given !== null) return affine("batchNorm", t, byRunning("batchNorm", t, ...given, eps), options);
  const axes = t.shape.flatMap((_, i) => i === 1 ? [] : [i]);
  if (t.size > 0 && t.size === t.shape[1]) {
    throw new RangeError(
      `Cannot batchNorm a tensor of shape ${showShape(x.shape)}: each channel must have more than one value`,
    );
  }
  return affine("batchNorm", t, ofBatch(t, axes, eps), options);
}
