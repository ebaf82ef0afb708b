/** Layers that normalise: over the batch, or over the features. */
import type { TensorOptions } from "../ops/create.ts";
import { type Shape, showShape } from "../ops/shape.ts";
import { assignAll, type Tensor } from "../ops/tensor.ts";
import { noGrad } from "../ops/transforms/backward.ts";
import { ones, zeros } from "./init.ts";
import { Module } from "./module.ts";
import { buffer, parameter } from "./parameter.ts";

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
    if (x.rank < 2 || x.shape[1] !== this.channels) {
      throw new RangeError(
        `Cannot apply ${this} to a tensor of shape ${
          showShape(x.shape)
        }: it must be [B, ${this.channels}, ...]`,
      );
    }
    const channel = [1, this.channels, ...x.shape.slice(2).map(() => 1)];
    const useBatch = this.training || this.runningMean === null;
    const [mean, variance] = useBatch ? this.#batch(x) : [this.runningMean!, this.runningVar!]; // [C]
    const scale = variance.add(this.eps).sqrt().reciprocal();
    const y = x.sub(mean.reshape(channel)).mul(scale.reshape(channel));
    if (this.weight === null) return y;
    return y.mul(this.weight.reshape(channel)).add(this.bias!.reshape(channel));
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
    const { runningMean, runningVar, momentum } = this;
    if (this.training && runningMean !== null && runningVar !== null) {
      const move = (running: Tensor, now: Tensor): Tensor =>
        running.mul(1 - momentum).add(now.to(running.dtype).mul(momentum));
      noGrad(() =>
        assignAll([
          [runningMean, move(runningMean, mean)],
          [runningVar, move(runningVar, variance.mul(n / (n - 1)))],
        ], "BatchNorm")
      );
    }
    return [mean, variance];
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
    const n = this.shape.length, tail = x.shape.slice(x.rank - n);
    if (x.rank < n || tail.some((m, i) => m !== this.shape[i])) {
      throw new RangeError(
        `Cannot apply ${this} to a tensor of shape ${showShape(x.shape)}: its last axes must be ${
          showShape(this.shape)
        }`,
      );
    }
    const axes = this.shape.map((_, i) => i - n);
    const centred = x.sub(x.mean(axes, { keepdim: true }));
    const variance = centred.square().mean(axes, { keepdim: true });
    const y = centred.mul(variance.add(this.eps).sqrt().reciprocal());
    const scaled = this.weight === null ? y : y.mul(this.weight);
    return this.bias === null ? scaled : scaled.add(this.bias);
  }

  /** Normalised shape. */
  override details(): string {
    return showShape(this.shape);
  }
}
