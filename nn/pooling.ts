/** Layers without parameters over spatial axes: pooling, resampling, windows as columns. */
import { interpolate, type InterpolateOptions } from "../ops/functions/interpolate.ts";
import {
  adaptiveAvgPool1d,
  adaptiveAvgPool2d,
  adaptiveAvgPool3d,
  adaptiveMaxPool1d,
  adaptiveMaxPool2d,
  adaptiveMaxPool3d,
  avgPool1d,
  avgPool2d,
  avgPool3d,
  type AvgPoolOptions,
  localResponseNorm,
  lpPool1d,
  lpPool2d,
  type LpPoolOptions,
  maxPool1d,
  maxPool2d,
  maxPool3d,
  type MaxPoolOptions,
  type OutputSize,
} from "../ops/functions/pooling.ts";
import type { PerAxis } from "../ops/functions/spatial.ts";
import { fold, unfold, type UnfoldOptions } from "../ops/functions/unfold.ts";
import type { Tensor } from "../ops/tensor.ts";
import { Module } from "./module.ts";

/** Options of {@linkcode MaxPool2d} and its like; the places of the maxima are the function's to give. */
export type MaxPoolLayerOptions = Omit<MaxPoolOptions, "returnIndices">;

const shown = (first: unknown, options: object = {}): string =>
  [
    JSON.stringify(first),
    ...Object.entries(options).map(([name, value]) => `${name} ${JSON.stringify(value)}`),
  ]
    .join(", ");

/** The largest element of each window of x `[B, C, L]` or `[C, L]`: {@linkcode maxPool1d}. */
export class MaxPool1d extends Module {
  /** Windows of `kernelSize`, side by side unless a stride is given. */
  constructor(readonly kernelSize: PerAxis, readonly options: MaxPoolLayerOptions = {}) {
    super();
  }
  /** Shorter along the spatial axes. */
  override forward(x: Tensor): Tensor {
    return maxPool1d(x, this.kernelSize, this.options);
  }
  /** Kernel and options. */
  override details(): string {
    return shown(this.kernelSize, this.options);
  }
}

/** The largest element of each window of x `[B, C, H, W]` or `[C, H, W]`: {@linkcode maxPool2d}. */
export class MaxPool2d extends Module {
  /** Windows of `kernelSize`, side by side unless a stride is given. */
  constructor(readonly kernelSize: PerAxis, readonly options: MaxPoolLayerOptions = {}) {
    super();
  }
  /** Shorter along the spatial axes. */
  override forward(x: Tensor): Tensor {
    return maxPool2d(x, this.kernelSize, this.options);
  }
  /** Kernel and options. */
  override details(): string {
    return shown(this.kernelSize, this.options);
  }
}

/** The largest element of each window of x `[B, C, D, H, W]` or `[C, D, H, W]`: {@linkcode maxPool3d}. */
export class MaxPool3d extends Module {
  /** Windows of `kernelSize`, side by side unless a stride is given. */
  constructor(readonly kernelSize: PerAxis, readonly options: MaxPoolLayerOptions = {}) {
    super();
  }
  /** Shorter along the spatial axes. */
  override forward(x: Tensor): Tensor {
    return maxPool3d(x, this.kernelSize, this.options);
  }
  /** Kernel and options. */
  override details(): string {
    return shown(this.kernelSize, this.options);
  }
}

/** The mean of each window of x `[B, C, L]` or `[C, L]`: {@linkcode avgPool1d}. */
export class AvgPool1d extends Module {
  /** Windows of `kernelSize`, side by side unless a stride is given. */
  constructor(readonly kernelSize: PerAxis, readonly options: AvgPoolOptions = {}) {
    super();
  }
  /** Shorter along the spatial axes. */
  override forward(x: Tensor): Tensor {
    return avgPool1d(x, this.kernelSize, this.options);
  }
  /** Kernel and options. */
  override details(): string {
    return shown(this.kernelSize, this.options);
  }
}

/** The mean of each window of x `[B, C, H, W]` or `[C, H, W]`: {@linkcode avgPool2d}. */
export class AvgPool2d extends Module {
  /** Windows of `kernelSize`, side by side unless a stride is given. */
  constructor(readonly kernelSize: PerAxis, readonly options: AvgPoolOptions = {}) {
    super();
  }
  /** Shorter along the spatial axes. */
  override forward(x: Tensor): Tensor {
    return avgPool2d(x, this.kernelSize, this.options);
  }
  /** Kernel and options. */
  override details(): string {
    return shown(this.kernelSize, this.options);
  }
}

/** The mean of each window of x `[B, C, D, H, W]` or `[C, D, H, W]`: {@linkcode avgPool3d}. */
export class AvgPool3d extends Module {
  /** Windows of `kernelSize`, side by side unless a stride is given. */
  constructor(readonly kernelSize: PerAxis, readonly options: AvgPoolOptions = {}) {
    super();
  }
  /** Shorter along the spatial axes. */
  override forward(x: Tensor): Tensor {
    return avgPool3d(x, this.kernelSize, this.options);
  }
  /** Kernel and options. */
  override details(): string {
    return shown(this.kernelSize, this.options);
  }
}

/** The largest elements of as many windows as the result has elements, for x `[B, C, L]` or `[C, L]`: {@linkcode adaptiveMaxPool1d}. */
export class AdaptiveMaxPool1d extends Module {
  /** To `outputSize`, whatever the lengths of the input. */
  constructor(readonly outputSize: OutputSize) {
    super();
  }
  /** `outputSize` along the spatial axes. */
  override forward(x: Tensor): Tensor {
    return adaptiveMaxPool1d(x, this.outputSize);
  }
  /** Size of the result. */
  override details(): string {
    return shown(this.outputSize);
  }
}

/** The largest elements of as many windows as the result has elements, for x `[B, C, H, W]` or `[C, H, W]`: {@linkcode adaptiveMaxPool2d}. */
export class AdaptiveMaxPool2d extends Module {
  /** To `outputSize`, whatever the lengths of the input. */
  constructor(readonly outputSize: OutputSize) {
    super();
  }
  /** `outputSize` along the spatial axes. */
  override forward(x: Tensor): Tensor {
    return adaptiveMaxPool2d(x, this.outputSize);
  }
  /** Size of the result. */
  override details(): string {
    return shown(this.outputSize);
  }
}

/** The largest elements of as many windows as the result has elements, for x `[B, C, D, H, W]` or `[C, D, H, W]`: {@linkcode adaptiveMaxPool3d}. */
export class AdaptiveMaxPool3d extends Module {
  /** To `outputSize`, whatever the lengths of the input. */
  constructor(readonly outputSize: OutputSize) {
    super();
  }
  /** `outputSize` along the spatial axes. */
  override forward(x: Tensor): Tensor {
    return adaptiveMaxPool3d(x, this.outputSize);
  }
  /** Size of the result. */
  override details(): string {
    return shown(this.outputSize);
  }
}

/** Means of as many windows as the result has elements, for x `[B, C, L]` or `[C, L]`: {@linkcode adaptiveAvgPool1d}. */
export class AdaptiveAvgPool1d extends Module {
  /** To `outputSize`, whatever the lengths of the input. */
  constructor(readonly outputSize: OutputSize) {
    super();
  }
  /** `outputSize` along the spatial axes. */
  override forward(x: Tensor): Tensor {
    return adaptiveAvgPool1d(x, this.outputSize);
  }
  /** Size of the result. */
  override details(): string {
    return shown(this.outputSize);
  }
}

/** Means of as many windows as the result has elements, for x `[B, C, H, W]` or `[C, H, W]`: {@linkcode adaptiveAvgPool2d}. */
export class AdaptiveAvgPool2d extends Module {
  /** To `outputSize`, whatever the lengths of the input. */
  constructor(readonly outputSize: OutputSize) {
    super();
  }
  /** `outputSize` along the spatial axes. */
  override forward(x: Tensor): Tensor {
    return adaptiveAvgPool2d(x, this.outputSize);
  }
  /** Size of the result. */
  override details(): string {
    return shown(this.outputSize);
  }
}

/** Means of as many windows as the result has elements, for x `[B, C, D, H, W]` or `[C, D, H, W]`: {@linkcode adaptiveAvgPool3d}. */
export class AdaptiveAvgPool3d extends Module {
  /** To `outputSize`, whatever the lengths of the input. */
  constructor(readonly outputSize: OutputSize) {
    super();
  }
  /** `outputSize` along the spatial axes. */
  override forward(x: Tensor): Tensor {
    return adaptiveAvgPool3d(x, this.outputSize);
  }
  /** Size of the result. */
  override details(): string {
    return shown(this.outputSize);
  }
}

/** The p-norm of each window of x `[B, C, L]` or `[C, L]`: {@linkcode lpPool1d}. */
export class LPPool1d extends Module {
  /** Windows of `kernelSize`, side by side unless a stride is given. */
  constructor(readonly normType: number, readonly kernelSize: PerAxis, readonly options: LpPoolOptions = {}) {
    super();
  }
  /** Shorter along the spatial axes. */
  override forward(x: Tensor): Tensor {
    return lpPool1d(x, this.normType, this.kernelSize, this.options);
  }
  /** Norm, kernel and options. */
  override details(): string {
    return shown(this.normType, { kernel: this.kernelSize, ...this.options });
  }
}

/** The p-norm of each window of x `[B, C, H, W]` or `[C, H, W]`: {@linkcode lpPool2d}. */
export class LPPool2d extends Module {
  /** Windows of `kernelSize`, side by side unless a stride is given. */
  constructor(readonly normType: number, readonly kernelSize: PerAxis, readonly options: LpPoolOptions = {}) {
    super();
  }
  /** Shorter along the spatial axes. */
  override forward(x: Tensor): Tensor {
    return lpPool2d(x, this.normType, this.kernelSize, this.options);
  }
  /** Norm, kernel and options. */
  override details(): string {
    return shown(this.normType, { kernel: this.kernelSize, ...this.options });
  }
}

/** x `[B, C, ...spatial]` resampled: {@linkcode interpolate}. */
export class Upsample extends Module {
  /** To a `size` or by a `scaleFactor`, by default to the nearest element. */
  constructor(readonly options: InterpolateOptions) {
    super();
  }
  /** Other lengths along the spatial axes. */
  override forward(x: Tensor): Tensor {
    return interpolate(x, this.options);
  }
  /** Options. */
  override details(): string {
    return Object.entries(this.options).map(([name, value]) => `${name} ${JSON.stringify(value)}`).join(", ");
  }
}

/** The elements of all windows as columns, `[B, C, H, W]` to `[B, C kH kW, windows]`: {@linkcode unfold}. */
export class Unfold extends Module {
  /** Windows of `kernelSize`. */
  constructor(readonly kernelSize: PerAxis, readonly options: UnfoldOptions = {}) {
    super();
  }
  /** Windows as columns. */
  override forward(x: Tensor): Tensor {
    return unfold(x, this.kernelSize, this.options);
  }
  /** Kernel and options. */
  override details(): string {
    return shown(this.kernelSize, this.options);
  }
}

/** Sums columns of windows where they overlap, `[B, C kH kW, windows]` to `[B, C, ...outputSize]`: {@linkcode fold}. */
export class Fold extends Module {
  /** Windows of `kernelSize` over `outputSize`. */
  constructor(
    readonly outputSize: PerAxis,
    readonly kernelSize: PerAxis,
    readonly options: UnfoldOptions = {},
  ) {
    super();
  }
  /** Columns as windows. */
  override forward(x: Tensor): Tensor {
    return fold(x, this.outputSize, this.kernelSize, this.options);
  }
  /** Size, kernel and options. */
  override details(): string {
    return shown(this.outputSize, { kernel: this.kernelSize, ...this.options });
  }
}

/** Divides by a power of the mean square of neighbouring channels: {@linkcode localResponseNorm}. */
export class LocalResponseNorm extends Module {
  /** Over `size` neighbouring channels. */
  constructor(readonly size: number, readonly options: { alpha?: number; beta?: number; k?: number } = {}) {
    super();
  }
  /** `[B, C, ...]` to the same. */
  override forward(x: Tensor): Tensor {
    return localResponseNorm(x, this.size, this.options);
  }
  /** Channels and options. */
  override details(): string {
    return shown(this.size, this.options);
  }
}
