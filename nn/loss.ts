/** Losses: how far predictions are from targets. */
import type { LossOptions } from "../ops/functions.ts";
import { sameShape, showShape } from "../ops/shape.ts";
import type { Tensor } from "../ops/tensor.ts";

export { crossEntropy } from "../ops/functions.ts";
export type { LossOptions } from "../ops/functions.ts";

function check(loss: string, input: Tensor, target: Tensor): void {
  // Broadcasting [B, 1] against [B] would compare everything with everything.
  if (!sameShape(input.shape, target.shape)) {
    throw new RangeError(
      `Cannot take the ${loss} of predictions ${showShape(input.shape)} against targets ${
        showShape(target.shape)
      }: ` +
        `the shapes must be the same; use reshape or unsqueeze`,
    );
  }
}

function reduce(losses: Tensor, options: LossOptions): Tensor {
  const { reduction = "mean" } = options;
  return reduction === "mean" ? losses.mean() : reduction === "sum" ? losses.sum() : losses;
}

/** (x − y)², averaged over all elements. */
export function mseLoss(input: Tensor, target: Tensor, options: LossOptions = {}): Tensor {
  check("mseLoss", input, target);
  return reduce(input.sub(target).square(), options);
}

/** |x − y|, averaged over all elements. */
export function l1Loss(input: Tensor, target: Tensor, options: LossOptions = {}): Tensor {
  check("l1Loss", input, target);
  return reduce(input.sub(target).abs(), options);
}

/** Options of {@linkcode bceWithLogits}. */
export interface BceOptions extends LossOptions {
  /** Weight of positive examples, a number or a tensor that broadcasts; default 1. */
  posWeight?: number | Tensor;
}

/**
 * Binary cross-entropy −y ln σ(z) − (1 − y) ln(1 − σ(z)) of logits z, computed as softplus(z) − y z, which neither
 * overflows nor loses digits; its gradient is σ(z) − y.
 */
export function bceWithLogits(logits: Tensor, target: Tensor, options: BceOptions = {}): Tensor {
  check("bceWithLogits", logits, target);
  const y = target.to(logits.dtype), { posWeight } = options;
  if (posWeight === undefined) return reduce(logits.softplus().sub(logits.mul(y)), options);
  // −ln(1 − σ(z)) = softplus(z) and −ln σ(z) = softplus(−z).
  const positive = y.mul(posWeight).mul(logits.neg().softplus());
  return reduce(positive.add(y.neg().add(1).mul(logits.softplus())), options);
}
