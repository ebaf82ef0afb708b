/** Dropout as a layer. */
import { dropout } from "../ops/sampling.ts";
import type { Tensor } from "../ops/tensor.ts";
import { Module } from "./module.ts";

/**
 * In training, zeroes elements with probability p and scales the others by 1 / (1 − p); in evaluation, the identity:
 * Srivastava et al. (2014), "Dropout".
 */
export class Dropout extends Module {
  /** With probability `p`, in [0, 1]; default 0.5. */
  constructor(readonly p: number = 0.5) {
    super();
    if (!(p >= 0 && p <= 1)) {
      throw new RangeError(`Cannot drop out with probability ${p}: it lies in [0, 1]`);
    }
  }

  /** Any shape to the same. */
  override forward(x: Tensor): Tensor {
    return this.training ? dropout(x, this.p) : x;
  }

  /** Probability. */
  override details(): string {
    return `p = ${this.p}`;
  }
}
