/** Layers that convolve, and their transposes. */
import type { TensorOptions } from "../ops/create.ts";
import {
  conv1d,
  conv2d,
  conv3d,
  type ConvOptions,
  convTranspose1d,
  convTranspose2d,
  convTranspose3d,
  type ConvTransposeOptions,
} from "../ops/functions/convolution.ts";
import { type PerAxis, perAxis } from "../ops/functions/spatial.ts";
import { sizeOf } from "../ops/shape.ts";
import { checkOptions, type Tensor } from "../ops/tensor.ts";
import { type Initializer, kaimingUniform, uniform } from "./init.ts";
import { Module } from "./module.ts";
import { parameter } from "./parameter.ts";

/** Options of {@linkcode Conv2d} and its like. */
export interface ConvLayerOptions extends Omit<ConvOptions, "bias">, Pick<TensorOptions, "dtype" | "device"> {
  /** Whether there is a bias; default true. */
  bias?: boolean;
  /** Starting values of the weight; default uniform in ±1 / √(elements of a filter), as PyTorch. */
  init?: Initializer;
}

/** Options of {@linkcode ConvTranspose2d} and its like. */
export interface ConvTransposeLayerOptions
  extends Omit<ConvLayerOptions, "padding">, Pick<ConvTransposeOptions, "padding" | "outputPadding"> {}

const SHARED = {
  bias: true,
  init: true,
  dtype: true,
  device: true,
  stride: true,
  dilation: true,
  groups: true,
} as const;
const OPTIONS = Object.keys(
  { ...SHARED, padding: true } satisfies Record<keyof ConvLayerOptions, true>,
);
const TRANSPOSE_OPTIONS = Object.keys(
  { ...SHARED, padding: true, outputPadding: true } satisfies Record<keyof ConvTransposeLayerOptions, true>,
);

/** What all of these layers are: filters, a bias for each output channel, and options of a function of them. */
export abstract class ConvolutionLayer<O extends ConvLayerOptions | ConvTransposeLayerOptions>
  extends Module {
  /** `[out, in / groups, ...kernel]`, transposed `[in, out / groups, ...kernel]`. */
  weight: Tensor;
  /** `[out]`. */
  bias: Tensor | null = null;
  /** Lengths of the kernel. */
  readonly kernelSize: readonly number[];
  /** Stride, padding, dilation, groups. */
  readonly options: Omit<O, "bias" | "init" | "dtype" | "device">;

  /** Filters over `rank` axes, from `inputs` to `outputs` channels. */
  constructor(
    name: string,
    rank: number,
    readonly inputs: number,
    readonly outputs: number,
    kernelSize: PerAxis,
    options: O,
    transposed: boolean,
  ) {
    super();
    const action = `make ${name}`;
    checkOptions(action, options, transposed ? TRANSPOSE_OPTIONS : OPTIONS);
    const { bias = true, init, dtype, device, ...rest } = options;
    const place = { ...(dtype && { dtype }), ...(device && { device }) };
    const { groups = 1 } = rest;
    if (![inputs, outputs].every((n) => Number.isInteger(n) && n > 0)) {
      throw new RangeError(
        `Cannot ${action} from ${inputs} to ${outputs} channels: give two whole numbers from 1 on`,
      );
    }
    if (!Number.isInteger(groups) || groups < 1 || inputs % groups !== 0 || outputs % groups !== 0) {
      throw new RangeError(
        `Cannot ${action} from ${inputs} to ${outputs} channels in ${groups} groups: both must be multiples of the number of groups`,
      );
    }
    this.kernelSize = perAxis(action, "kernel", kernelSize, rank, 1);
    this.options = rest;
    const [first, second] = transposed ? [inputs, outputs / groups] : [outputs, inputs / groups];
    const shape = [first, second, ...this.kernelSize];
    this.weight = parameter(init?.(shape, place) ?? kaimingUniform(shape, { a: Math.sqrt(5), ...place }));
    const bound = 1 / Math.sqrt(second * sizeOf(this.kernelSize));
    if (bias) this.bias = parameter(uniform([outputs], { low: -bound, high: bound, ...place }));
  }

  /** Channels in and out, kernel and options. */
  override details(): string {
    const more = Object.entries(this.options).map(([name, value]) => `, ${name} ${JSON.stringify(value)}`);
    return `${this.inputs} -> ${this.outputs}, kernel ${this.kernelSize.join(" x ")}${more.join("")}${
      this.bias === null ? ", no bias" : ""
    }`;
  }
}

/** y = x ⋆ W + b ({@linkcode conv1d}) for x of shape `[B, in, L]` or `[in, L]`. */
export class Conv1d extends ConvolutionLayer<ConvLayerOptions> {
  /** From `inputs` to `outputs` channels; a kernel in one number is as long on all axes. */
  constructor(inputs: number, outputs: number, kernelSize: PerAxis, options: ConvLayerOptions = {}) {
    super("Conv1d", 1, inputs, outputs, kernelSize, options, false);
  }

  /** `[B, in, ...]` to `[B, out, ...]`. */
  override forward(x: Tensor): Tensor {
    return conv1d(x, this.weight, { ...this.options, bias: this.bias });
  }
}

/** y = x ⋆ W + b ({@linkcode conv2d}) for x of shape `[B, in, H, W]` or `[in, H, W]`. */
export class Conv2d extends ConvolutionLayer<ConvLayerOptions> {
  /** From `inputs` to `outputs` channels; a kernel in one number is as long on all axes. */
  constructor(inputs: number, outputs: number, kernelSize: PerAxis, options: ConvLayerOptions = {}) {
    super("Conv2d", 2, inputs, outputs, kernelSize, options, false);
  }

  /** `[B, in, ...]` to `[B, out, ...]`. */
  override forward(x: Tensor): Tensor {
    return conv2d(x, this.weight, { ...this.options, bias: this.bias });
  }
}

/** y = x ⋆ W + b ({@linkcode conv3d}) for x of shape `[B, in, D, H, W]` or `[in, D, H, W]`. */
export class Conv3d extends ConvolutionLayer<ConvLayerOptions> {
  /** From `inputs` to `outputs` channels; a kernel in one number is as long on all axes. */
  constructor(inputs: number, outputs: number, kernelSize: PerAxis, options: ConvLayerOptions = {}) {
    super("Conv3d", 3, inputs, outputs, kernelSize, options, false);
  }

  /** `[B, in, ...]` to `[B, out, ...]`. */
  override forward(x: Tensor): Tensor {
    return conv3d(x, this.weight, { ...this.options, bias: this.bias });
  }
}

/** The transpose of {@linkcode Conv1d} with its own bias ({@linkcode convTranspose1d}), x as there. */
export class ConvTranspose1d extends ConvolutionLayer<ConvTransposeLayerOptions> {
  /** From `inputs` to `outputs` channels; a kernel in one number is as long on all axes. */
  constructor(inputs: number, outputs: number, kernelSize: PerAxis, options: ConvTransposeLayerOptions = {}) {
    super("ConvTranspose1d", 1, inputs, outputs, kernelSize, options, true);
  }

  /** `[B, in, ...]` to `[B, out, ...]`. */
  override forward(x: Tensor): Tensor {
    return convTranspose1d(x, this.weight, { ...this.options, bias: this.bias });
  }
}

/** The transpose of {@linkcode Conv2d} with its own bias ({@linkcode convTranspose2d}), x as there. */
export class ConvTranspose2d extends ConvolutionLayer<ConvTransposeLayerOptions> {
  /** From `inputs` to `outputs` channels; a kernel in one number is as long on all axes. */
  constructor(inputs: number, outputs: number, kernelSize: PerAxis, options: ConvTransposeLayerOptions = {}) {
    super("ConvTranspose2d", 2, inputs, outputs, kernelSize, options, true);
  }

  /** `[B, in, ...]` to `[B, out, ...]`. */
  override forward(x: Tensor): Tensor {
    return convTranspose2d(x, this.weight, { ...this.options, bias: this.bias });
  }
}

/** The transpose of {@linkcode Conv3d} with its own bias ({@linkcode convTranspose3d}), x as there. */
export class ConvTranspose3d extends ConvolutionLayer<ConvTransposeLayerOptions> {
  /** From `inputs` to `outputs` channels; a kernel in one number is as long on all axes. */
  constructor(inputs: number, outputs: number, kernelSize: PerAxis, options: ConvTransposeLayerOptions = {}) {
    super("ConvTranspose3d", 3, inputs, outputs, kernelSize, options, true);
  }

  /** `[B, in, ...]` to `[B, out, ...]`. */
  override forward(x: Tensor): Tensor {
    return convTranspose3d(x, this.weight, { ...this.options, bias: this.bias });
  }
}
