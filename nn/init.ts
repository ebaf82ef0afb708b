/** Starting values of weights: fresh tensors by shape, `[out, in, ...kernel]` as layers keep them. */
import { full, type TensorOptions } from "../ops/create.ts";
import { rand, randn } from "../ops/sampling.ts";
import { type Shape, showShape, sizeOf } from "../ops/shape.ts";
import type { Tensor } from "../ops/tensor.ts";

/** Makes a tensor of a shape; what layers take as their `init` option. */
export type Initializer = (shape: Shape, options?: TensorOptions) => Tensor;

/** What follows a layer, which decides by how much its weights are scaled. */
export type Nonlinearity = "linear" | "sigmoid" | "tanh" | "relu" | "leakyRelu" | "selu";

/** Options of the initialisers after Xavier. */
export interface GainOptions extends TensorOptions {
  /** Scales the standard deviation; default 1. */
  gain?: number;
}

/** Options of the initialisers after He. */
export interface HeOptions extends TensorOptions {
  /** Keep the variance of the forward pass (fan in, default) or of the backward pass (fan out). */
  mode?: "fanIn" | "fanOut";
  /** Default relu. */
  nonlinearity?: Nonlinearity;
  /** Slope below 0 of a leaky ReLU; default 0 (0.01 if `nonlinearity` is leakyRelu). */
  a?: number;
}

/** Number of inputs and outputs that one weight of a tensor `[out, in, ...kernel]` connects. */
export function fans(shape: Shape): { fanIn: number; fanOut: number } {
  if (shape.length < 2) {
    throw new RangeError(
      `Cannot count the fans of shape ${showShape(shape)}: weights have at least two axes, [out, in]`,
    );
  }
  const kernel = sizeOf(shape.slice(2));
  return { fanIn: shape[1] * kernel, fanOut: shape[0] * kernel };
}

/** Factor that keeps the variance through a nonlinearity: PyTorch's `calculate_gain`. */
export function gain(nonlinearity: Nonlinearity, a = 0.01): number {
  switch (nonlinearity) {
    case "linear":
    case "sigmoid":
      return 1;
    case "tanh":
      return 5 / 3;
    case "relu":
      return Math.SQRT2;
    case "leakyRelu":
      return Math.sqrt(2 / (1 + a * a));
    case "selu":
      return 3 / 4;
  }
}

/** All 0. */
export function zeros(shape: Shape, options: TensorOptions = {}): Tensor {
  return full(shape, 0, options);
}

/** All 1. */
export function ones(shape: Shape, options: TensorOptions = {}): Tensor {
  return full(shape, 1, options);
}

/** All `value` (default 0). */
export function constant(shape: Shape, options: TensorOptions & { value?: number } = {}): Tensor {
  const { value = 0, ...rest } = options;
  return full(shape, value, rest);
}

/** Uniform in [low, high), by default [0, 1). */
export function uniform(shape: Shape, options: TensorOptions & { low?: number; high?: number } = {}): Tensor {
  const { low = 0, high = 1, requiresGrad, name, ...rest } = options;
  return finish(rand(shape, rest).mul(high - low).add(low), requiresGrad, name);
}

/** Normal with a mean (default 0) and standard deviation (default 1). */
export function normal(shape: Shape, options: TensorOptions & { mean?: number; std?: number } = {}): Tensor {
  const { mean = 0, std = 1, requiresGrad, name, ...rest } = options;
  return finish(randn(shape, rest).mul(std).add(mean), requiresGrad, name);
}

function finish(x: Tensor, requiresGrad: boolean | undefined, name: string | undefined): Tensor {
  if (requiresGrad) x.requiresGrad = true;
  if (name !== undefined) x.name = name;
  return x;
}

/**
 * Uniform in ±gain √(6 / (fanIn + fanOut)): Glorot and Bengio (2010), "Understanding the difficulty of training deep
 * feedforward neural networks", equation 16.
 */
export function xavierUniform(shape: Shape, options: GainOptions = {}): Tensor {
  const { gain: g = 1, ...rest } = options, { fanIn, fanOut } = fans(shape);
  const bound = g * Math.sqrt(6 / (fanIn + fanOut));
  return uniform(shape, { ...rest, low: -bound, high: bound });
}

/** Normal with standard deviation gain √(2 / (fanIn + fanOut)): Glorot and Bengio (2010), equation 12. */
export function xavierNormal(shape: Shape, options: GainOptions = {}): Tensor {
  const { gain: g = 1, ...rest } = options, { fanIn, fanOut } = fans(shape);
  return normal(shape, { ...rest, std: g * Math.sqrt(2 / (fanIn + fanOut)) });
}

/** Standard deviation gain / √fan, and the options that are left. */
function he(shape: Shape, options: HeOptions): [number, TensorOptions] {
  const { mode = "fanIn", nonlinearity = "relu", a, ...rest } = options;
  const scale = a === undefined ? gain(nonlinearity) : Math.sqrt(2 / (1 + a * a));
  return [scale / Math.sqrt(fans(shape)[mode]), rest];
}

/**
 * Uniform in ±gain √(3 / fan): He et al. (2015), "Delving deep into rectifiers". `a: Math.sqrt(5)` gives
 * PyTorch's default of Linear, ±1 / √fanIn.
 */
export function heUniform(shape: Shape, options: HeOptions = {}): Tensor {
  const [std, rest] = he(shape, options), bound = Math.sqrt(3) * std;
  return uniform(shape, { ...rest, low: -bound, high: bound });
}

/** Normal with standard deviation gain / √fan: He et al. (2015), equation 10. */
export function heNormal(shape: Shape, options: HeOptions = {}): Tensor {
  const [std, rest] = he(shape, options);
  return normal(shape, { ...rest, std });
}

/** {@linkcode heUniform} under PyTorch's name. */
export const kaimingUniform: (shape: Shape, options?: HeOptions) => Tensor = heUniform;

/** {@linkcode heNormal} under PyTorch's name. */
export const kaimingNormal: (shape: Shape, options?: HeOptions) => Tensor = heNormal;
