/** Losses: how far predictions are from targets. */
import { type LossOptions, reduceLosses } from "../ops/functions.ts";
import { sameShape, showShape } from "../ops/shape.ts";
import { asTensor, checkOptions, type Tensor } from "../ops/tensor.ts";

export { crossEntropy } from "../ops/functions.ts";
export type { LossOptions } from "../ops/functions.ts";

const OPTIONS: readonly string[] = ["reduction"];

function check(loss: string, input: Tensor, target: Tensor, options: LossOptions, known = OPTIONS): void {
  asTensor(`take the ${loss}`, input, "prediction");
  asTensor(`take the ${loss}`, target, "target");
  checkOptions(`take the ${loss}`, options, known);
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

/** (x − y)², averaged over all elements. */
export function mseLoss(input: Tensor, target: Tensor, options: LossOptions = {}): Tensor {
  check("mseLoss", input, target, options);
  return reduceLosses("mseLoss", input.sub(target).square(), options);
}

/** |x − y|, averaged over all elements. */
export function l1Loss(input: Tensor, target: Tensor, options: LossOptions = {}): Tensor {
  check("l1Loss", input, target, options);
  return reduceLosses("l1Loss", input.sub(target).abs(), options);
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
  check("bceWithLogits", logits, target, options, [...OPTIONS, "posWeight"]);
  const y = target.to(logits.dtype), { posWeight } = options;
  if (posWeight === undefined) {
    return reduceLosses("bceWithLogits", logits.softplus().sub(logits.mul(y)), options);
  }
  // −ln(1 − σ(z)) = softplus(z) and −ln σ(z) = softplus(−z).
  const positive = y.mul(posWeight).mul(logits.neg().softplus());
  return reduceLosses("bceWithLogits", positive.add(y.neg().add(1).mul(logits.softplus())), options);
}
