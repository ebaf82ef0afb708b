/** Losses of numbers: how far predictions are from targets. */
import * as L from "../ops/definitions/loss.ts";
import { isFloat } from "../ops/dtype.ts";
import { sameShape, showShape } from "../ops/shape.ts";
import { asTensor, checkOptions, type Operand, Tensor } from "../ops/tensor.ts";

/** How losses are put together: their mean, their sum, or not at all. */
export type Reduction = "mean" | "sum" | "none";

/** Options of all losses. */
export interface LossOptions {
  /** How the losses of elements or rows are put together; default mean. */
  reduction?: Reduction;
}

/** Options of losses that weigh elements. */
export interface WeightedLossOptions extends LossOptions {
  /** A factor for the loss of each element; it broadcasts. */
  weight?: Tensor;
}

const OPTIONS: readonly string[] = ["reduction"], WEIGHTED: readonly string[] = ["reduction", "weight"];

/** Floating point operands of a loss, checked; `known` are the names of its options. */
export function lossOperands(
  loss: string,
  operands: Readonly<Record<string, Tensor>>,
  options: object,
  known: readonly string[] = [],
): Tensor[] {
  const x = Object.entries(operands).map(([role, t]) => asTensor(`take the ${loss}`, t, role));
  checkOptions(`take the ${loss}`, options, [...OPTIONS, ...known]);
  return x.map((t) => isFloat(t.dtype) ? t : t.to("f32"));
}

/** Checks that predictions and targets have one shape. */
export function checkSame(loss: string, input: Tensor, target: Tensor): void {
  // Broadcasting [B, 1] against [B] would compare everything with everything.
  if (sameShape(input.shape, target.shape)) return;
  throw new RangeError(
    `Cannot take the ${loss} of predictions ${showShape(input.shape)} against targets ${
      showShape(target.shape)
    }: the shapes must be the same; use reshape or unsqueeze`,
  );
}

/** Predictions and targets of one shape. */
function pair(loss: string, input: Tensor, target: Tensor, options: object, known = WEIGHTED): Tensor[] {
  const both = lossOperands(loss, { prediction: input, target }, options, known);
  checkSame(loss, input, target);
  return both;
}

/** Losses put together as the options say; a mean is over `count` instead of their number, where it is given. */
export function reduceLosses(
  loss: string,
  losses: Tensor,
  { reduction = "mean" }: LossOptions,
  count?: Operand,
): Tensor {
  switch (reduction) {
    case "mean":
      return count === undefined ? losses.mean() : losses.sum().div(count);
    case "sum":
      return losses.sum();
    case "none":
      return losses;
  }
  throw new TypeError(
    `Cannot take the ${loss} with reduction ${String(reduction)}: reductions are mean, sum and none`,
  );
}

/** A weight that broadcasts to the losses, or an error. */
export function checkWeight(loss: string, weight: Tensor, losses: Tensor): Tensor {
  asTensor(`take the ${loss}`, weight, "weight");
  const extra = losses.rank - weight.rank;
  if (extra < 0 || weight.shape.some((n, i) => n !== 1 && n !== losses.shape[i + extra])) {
    throw new RangeError(
      `Cannot take the ${loss} of shape ${showShape(losses.shape)} with a weight of shape ${
        showShape(weight.shape)
      }: it must broadcast to the losses`,
    );
  }
  return weight.to(losses.dtype);
}

/** Losses times their weights, put together; their mean is over the sum of the weights. */
function weighted(loss: string, losses: Tensor, options: WeightedLossOptions): Tensor {
  if (options.weight === undefined) return reduceLosses(loss, losses, options);
  const w = checkWeight(loss, options.weight, losses);
  return reduceLosses(loss, losses.mul(w), options, w.expand(losses.shape).sum());
}

/** (x - y)². With weights the mean is Σ w (x - y)² / Σ w. */
export function mseLoss(input: Tensor, target: Tensor, options: WeightedLossOptions = {}): Tensor {
  const [x, y] = pair("mseLoss", input, target, options);
  return weighted("mseLoss", L.mseLoss(x, y), options);
}

/** |x - y|; the derivative at 0 is 0. With weights the mean is Σ w |x - y| / Σ w. */
export function l1Loss(input: Tensor, target: Tensor, options: WeightedLossOptions = {}): Tensor {
  const [x, y] = pair("l1Loss", input, target, options);
  return weighted("l1Loss", L.l1Loss(x, y), options);
}

/** Options of {@linkcode smoothL1Loss}. */
export interface SmoothL1Options extends LossOptions {
  /** β, from which on the loss is linear; default 1. At 0 it is {@linkcode l1Loss}. */
  beta?: number;
}

/** (x - y)² / 2β where |x - y| < β, and |x - y| - β/2 beyond: Girshick (2015), "Fast R-CNN", equation 3. */
export function smoothL1Loss(input: Tensor, target: Tensor, options: SmoothL1Options = {}): Tensor {
  const [x, y] = pair("smoothL1Loss", input, target, options, ["beta"]), { beta = 1 } = options;
  if (!(beta >= 0)) {
    throw new RangeError(`Cannot take the smoothL1Loss with beta ${beta}: it must not be negative`);
  }
  return reduceLosses("smoothL1Loss", L.smoothL1Loss(x, y, beta), options);
}

/** Options of {@linkcode huberLoss}. */
export interface HuberOptions extends WeightedLossOptions {
  /** δ, from which on the loss is linear; default 1. */
  delta?: number;
}

/** (x - y)² / 2 where |x - y| ≤ δ, and δ (|x - y| - δ/2) beyond: Huber (1964). */
export function huberLoss(input: Tensor, target: Tensor, options: HuberOptions = {}): Tensor {
  const [x, y] = pair("huberLoss", input, target, options, ["delta", "weight"]), { delta = 1 } = options;
  if (!(delta > 0)) {
    throw new RangeError(`Cannot take the huberLoss with delta ${delta}: it must be positive`);
  }
  const loss = L.huberLoss(x, y, delta);
  // PyTorch divides by the number of elements here, whatever their weights.
  return reduceLosses(
    "huberLoss",
    options.weight === undefined ? loss : loss.mul(checkWeight("huberLoss", options.weight, loss)),
    options,
  );
}

/** Options of {@linkcode gaussianNllLoss}. */
export interface GaussianNllOptions extends LossOptions {
  /** Adds the constant ln(2π) / 2; default false. */
  full?: boolean;
  /** Smaller variances count as this one; default 1e-6. */
  eps?: number;
}

/**
 * (ln v + (x - y)² / v) / 2 of a mean x and a variance v: Nix and Weigend (1994). The variance is a number, has the
 * shape of the means, or that shape with a last axis of length 1 or without it. A negative one gives NaN.
 */
export function gaussianNllLoss(
  input: Tensor,
  target: Tensor,
  variance: Operand,
  options: GaussianNllOptions = {},
): Tensor {
  const [x, y] = lossOperands("gaussianNllLoss", { prediction: input, target }, options, ["full", "eps"]);
  const { eps = 1e-6, full = false } = options;
  if (!(eps > 0)) {
    throw new RangeError(`Cannot take the gaussianNllLoss with eps ${eps}: it must be positive`);
  }
  let v = typeof variance === "number"
    ? x.scalarLike(variance).expand(x.shape)
    : asTensor("take the gaussianNllLoss", variance, "variance").to(x.dtype);
  if (v.rank === x.rank - 1 && v.shape.every((n, i) => n === x.shape[i])) v = v.unsqueeze(-1);
  if (v.rank !== x.rank || v.shape.some((n, i) => n !== x.shape[i] && n !== 1)) {
    throw new RangeError(
      `Cannot take the gaussianNllLoss of predictions ${showShape(x.shape)} with a variance of shape ${
        showShape(v.shape)
      }: it must have the same shape, or 1 for an axis, or lack the last axis`,
    );
  }
  return reduceLosses("gaussianNllLoss", L.gaussianNllLoss(x, y, v, { eps, full }), options);
}

/** Options of {@linkcode poissonNllLoss}. */
export interface PoissonNllOptions extends LossOptions {
  /** Whether predictions are logarithms of rates; default true. */
  logInput?: boolean;
  /** Adds Stirling's approximation of ln y!; default false. */
  full?: boolean;
  /** Added to a rate before its logarithm; default 1e-8. */
  eps?: number;
}

/** eˣ - y x of logarithms of rates, or x - y ln(x + ε) of rates, against counts y. */
export function poissonNllLoss(input: Tensor, target: Tensor, options: PoissonNllOptions = {}): Tensor {
  const [x, y] = pair("poissonNllLoss", input, target, options, ["logInput", "full", "eps"]);
  const { logInput = true, full = false, eps = 1e-8 } = options;
  return reduceLosses("poissonNllLoss", L.poissonNllLoss(x, y, { logInput, full, eps }), options);
}
