/** Layers that normalise: over the batch, or over the features. */
import type { TensorOptions } from "../ops/create.ts";
import { sameShape, type Shape, showShape } from "../ops/shape.ts";
import { assignAll, type Tensor } from "../ops/tensor.ts";
import { noGrad } from "../ops/transforms/backward.ts";
import { batchNorm, groupNorm, instanceNorm, layerNorm, rmsNorm } from "../ops/functions/normalization.ts";
import { ones, zeros } from "./init.ts";
import { Module } from "./module.ts";
import { buffer, parameter } from "./parameter.ts";

/** Refuses what is not `[B, channels, ...]` of one of some ranks. */
function checkChannels(layer: Module, x: Tensor, channels: number, ranks: readonly number[] | null): void {
  if (x.rank >= 2 && x.shape[1] === channels && (ranks === null || ranks.includes(x.rank))) return;
  throw new RangeError(
    `Cannot apply ${layer} to a tensor of shape ${showShape(x.shape)}: it must be [B, ${channels}, ...]` +
      (ranks === null ? "" : ` with ${ranks.join(" or ")} axes`),
  );
}

/** Refuses what does not end in a shape. */
function checkTail(layer: Module, x: Tensor, shape: Shape): void {
  if (x.rank >= shape.length && sameShape(x.shape.slice(x.rank - shape.length), shape)) return;
  throw new RangeError(
    `Cannot apply ${layer} to a tensor of shape ${showShape(x.shape)}: its last axes must be ${
      showShape(shape)
    }`,
  );
}

/** Options of {@linkcode BatchNorm}. */
export interface BatchNormOptions extends Pick<TensorOptions, "dtype" | "device"> {
  /** Added to the variance; default 1e-5. */
  eps?: number;
  /** Weight of the newest batch in the running statistics; default 0.1. */
  momentum?: number;
  /** Whether a scale and a shift are learned; default true. */
  affine?: boolean;
  /** Whether running statistics are kept for evaluation; default true. */
  trackRunningStats?: boolean;
}

/**
 * y = γ (x − μ) / √(σ² + ε) + β over all axes but axis 1: Ioffe and Szegedy (2015), "Batch normalization". In
 * training, μ and σ² are those of the batch, and the running statistics move towards them (with the unbiased
 * variance, as PyTorch); in evaluation, the running statistics are used. The update is an effect: it happens once
 * under `checkpoint` and at each call under `jit`; under `vmap` over examples it is an error.
 */
export class BatchNorm extends Module {
  /** γ, `[C]`. */
  weight: Tensor | null = null;
  /** β, `[C]`. */
  bias: Tensor | null = null;
  /** `[C]`. */
  runningMean: Tensor | null = null;
  /** `[C]`. */
  runningVar: Tensor | null = null;
  /** ε. */
  readonly eps: number;
  /** Weight of the newest batch in the running statistics. */
  readonly momentum: number;
  /** Ranks of inputs that are taken; default any from 2 on. */
  protected readonly ranks: readonly number[] | null = null;

  /** For inputs `[B, channels]` or `[B, channels, ...]`. */
  constructor(readonly channels: number, options: BatchNormOptions = {}) {
    super();
    const { eps = 1e-5, momentum = 0.1, affine = true, trackRunningStats = true, ...rest } = options;
    this.eps = eps;
    this.momentum = momentum;
    if (affine) {
      this.weight = parameter(ones([channels], rest));
      this.bias = parameter(zeros([channels], rest));
    }
    if (trackRunningStats) {
      this.runningMean = buffer(zeros([channels], rest));
      this.runningVar = buffer(ones([channels], rest));
    }
  }

  /** `[B, C, ...]` to the same. */
  override forward(x: Tensor): Tensor {
    checkChannels(this, x, this.channels, this.ranks);
    const useBatch = this.training || this.runningMean === null;
    const [mean, variance] = useBatch ? this.#batch(x) : [this.runningMean!, this.runningVar!]; // [C]
    const { weight, bias, eps } = this;
    return batchNorm(x, { runningMean: mean, runningVar: variance, weight, bias, eps });
  }

  /** Statistics of a batch; the running ones follow. */
  #batch(x: Tensor): [Tensor, Tensor] {
    const axes = x.shape.flatMap((_, i) => i === 1 ? [] : [i]), n = x.size / this.channels;
    if (this.training && n <= 1) {
      throw new RangeError(
        `Cannot normalise a batch of shape ${
          showShape(x.shape)
        }: training needs more than one value for each channel`,
      );
    }
    const mean = x.mean(axes), variance = x.variance(axes, { correction: 0 });
    if (this.training) this.moveRunning(mean, variance.mul(n / (n - 1)));
    return [mean, variance];
  }

  /** Moves the running statistics, if there are any, towards new ones `[C]`. */
  protected moveRunning(mean: Tensor, variance: Tensor): void {
    const { runningMean, runningVar, momentum } = this;
    if (runningMean === null || runningVar === null) return;
    const move = (running: Tensor, now: Tensor): Tensor =>
      running.mul(1 - momentum).add(now.to(running.dtype).mul(momentum));
    noGrad(() =>
      assignAll(
        [[runningMean, move(runningMean, mean)], [runningVar, move(runningVar, variance)]],
        "BatchNorm",
      )
    );
  }

  /** Channels. */
  override details(): string {
    return `${this.channels}`;
  }
}

/** Options of {@linkcode LayerNorm}. */
export interface LayerNormOptions extends Pick<TensorOptions, "dtype" | "device"> {
  /** Added to the variance; default 1e-5. */
  eps?: number;
  /** Whether a scale (and a shift) is learned; default true. */
  affine?: boolean;
  /** Whether a shift is learned; default true. */
  bias?: boolean;
}

/**
 * y = γ (x − μ) / √(σ² + ε) + β with μ and σ² of each example over its last axes: Ba, Kiros and Hinton (2016),
 * "Layer normalization".
 */
export class LayerNorm extends Module {
  /** γ, of the normalised shape. */
  weight: Tensor | null = null;
  /** β, of the normalised shape. */
  bias: Tensor | null = null;
  /** Lengths of the axes that are normalised over. */
  readonly shape: Shape;
  /** ε. */
  readonly eps: number;

  /** For inputs `[..., ...shape]`; a number is the length of the last axis. */
  constructor(shape: number | Shape, options: LayerNormOptions = {}) {
    super();
    const { eps = 1e-5, affine = true, bias = true, ...rest } = options;
    this.shape = typeof shape === "number" ? [shape] : shape;
    this.eps = eps;
    if (affine) this.weight = parameter(ones(this.shape, rest));
    if (affine && bias) this.bias = parameter(zeros(this.shape, rest));
  }

  /** `[..., ...shape]` to the same. */
  override forward(x: Tensor): Tensor {
    checkTail(this, x, this.shape);
    const { weight, bias, eps } = this;
    return layerNorm(x, this.shape, { weight, bias, eps });
  }

  /** Normalised shape. */
  override details(): string {
    return showShape(this.shape);
  }
}

/** {@linkcode BatchNorm} of `[B, C]` and `[B, C, T]`. */
export class BatchNorm1d extends BatchNorm {
  /** Batches of vectors or sequences. */
  protected override readonly ranks: readonly number[] = [2, 3];
}

/** {@linkcode BatchNorm} of `[B, C, H, W]`. */
export class BatchNorm2d extends BatchNorm {
  /** Batches of images. */
  protected override readonly ranks: readonly number[] = [4];
}

/** {@linkcode BatchNorm} of `[B, C, D, H, W]`. */
export class BatchNorm3d extends BatchNorm {
  /** Batches of volumes. */
  protected override readonly ranks: readonly number[] = [5];
}

/** Options of {@linkcode RMSNorm}. */
export interface RMSNormOptions extends Pick<TensorOptions, "dtype" | "device"> {
  /** Added to the mean of squares; default the distance of 1 to the next number of the type. */
  eps?: number;
  /** Whether a scale is learned; default true. */
  affine?: boolean;
}

/** y = γ x / √(mean(x²) + ε) over the last axes: Zhang and Sennrich (2019), "Root mean square layer normalization". */
export class RMSNorm extends Module {
  /** γ, of the normalised shape. */
  weight: Tensor | null = null;
  /** Lengths of the axes that are normalised over. */
  readonly shape: Shape;
  /** ε, or undefined for that of the type. */
  readonly eps: number | undefined;

  /** For inputs `[..., ...shape]`; a number is the length of the last axis. */
  constructor(shape: number | Shape, options: RMSNormOptions = {}) {
    super();
    const { eps, affine = true, ...rest } = options;
    this.shape = typeof shape === "number" ? [shape] : shape;
    this.eps = eps;
    if (affine) this.weight = parameter(ones(this.shape, rest));
  }

  /** `[..., ...shape]` to the same. */
  override forward(x: Tensor): Tensor {
    checkTail(this, x, this.shape);
    const { weight, eps } = this;
    return rmsNorm(x, this.shape, eps === undefined ? { weight } : { weight, eps });
  }

  /** Normalised shape. */
  override details(): string {
    return showShape(this.shape);
  }
}

/** Options of {@linkcode GroupNorm}. */
export interface GroupNormOptions extends Pick<TensorOptions, "dtype" | "device"> {
  /** Added to the variance; default 1e-5. */
  eps?: number;
  /** Whether a scale and a shift are learned for each channel; default true. */
  affine?: boolean;
}

/** y = γ (x - μ) / √(σ² + ε) + β over groups of channels: Wu and He (2018), "Group normalization". */
export class GroupNorm extends Module {
  /** γ, `[C]`. */
  weight: Tensor | null = null;
  /** β, `[C]`. */
  bias: Tensor | null = null;
  /** ε. */
  readonly eps: number;

  /** For inputs `[B, channels, ...]`, whose channels the groups divide. */
  constructor(readonly groups: number, readonly channels: number, options: GroupNormOptions = {}) {
    super();
    const { eps = 1e-5, affine = true, ...rest } = options;
    if (channels % groups !== 0) {
      throw new RangeError(
        `Cannot make GroupNorm of ${channels} channels in ${groups} groups: they must divide`,
      );
    }
    this.eps = eps;
    if (affine) {
      this.weight = parameter(ones([channels], rest));
      this.bias = parameter(zeros([channels], rest));
    }
  }

  /** `[B, C, ...]` to the same. */
  override forward(x: Tensor): Tensor {
    checkChannels(this, x, this.channels, null);
    const { weight, bias, eps } = this;
    return groupNorm(x, this.groups, { weight, bias, eps });
  }

  /** Groups and channels. */
  override details(): string {
    return `${this.channels} in ${this.groups}`;
  }
}

/**
 * y = γ (x - μ) / √(σ² + ε) + β over each channel of each example: Ulyanov, Vedaldi and Lempitsky (2016). Without
 * options neither scale nor running statistics are kept, as in PyTorch.
 */
export abstract class InstanceNorm extends BatchNorm {
  /** For inputs `[B, channels, ...]`. */
  constructor(channels: number, options: BatchNormOptions = {}) {
    super(channels, { affine: false, trackRunningStats: false, ...options });
  }

  /** `[B, C, ...]` to the same. */
  override forward(x: Tensor): Tensor {
    checkChannels(this, x, this.channels, this.ranks);
    const { weight, bias, eps, runningMean, runningVar } = this;
    if (!this.training && runningMean !== null) {
      return instanceNorm(x, { weight, bias, eps, runningMean, runningVar });
    }
    const y = instanceNorm(x, { weight, bias, eps });
    if (this.training && runningMean !== null) {
      // Means over the batch of the statistics of its examples.
      const axes = x.shape.flatMap((_, i) => i < 2 ? [] : [i]);
      this.moveRunning(x.mean(axes).mean(0), x.variance(axes).mean(0));
    }
    return y;
  }
}

/** Instance normalisation of `[B, C, T]`. */
export class InstanceNorm1d extends InstanceNorm {
  /** Batches of sequences. */
  protected override readonly ranks: readonly number[] = [3];
}

/** Instance normalisation of `[B, C, H, W]`. */
export class InstanceNorm2d extends InstanceNorm {
  /** Batches of images. */
  protected override readonly ranks: readonly number[] = [4];
}

/** Instance normalisation of `[B, C, D, H, W]`. */
export class InstanceNorm3d extends InstanceNorm {
  /** Batches of volumes. */
  protected override readonly ranks: readonly number[] = [5];
}
