/** Dropout as layers: what they do in training, and nothing in evaluation. */
import {
  alphaDropout,
  dropout,
  dropout1d,
  dropout2d,
  dropout3d,
  featureAlphaDropout,
} from "../ops/sampling.ts";
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
    return this.training ? this.drop(x) : x;
  }

  /** What training does. */
  protected drop(x: Tensor): Tensor {
    return dropout(x, this.p);
  }

  /** Probability. */
  override details(): string {
    return `p = ${this.p}`;
  }
}

/** Dropout of whole channels of `[N, C, T]` or `[C, T]`: {@linkcode dropout1d}. */
export class Dropout1d extends Dropout {
  /** What training does. */
  protected override drop(x: Tensor): Tensor {
    return dropout1d(x, this.p);
  }
}

/** Dropout of whole channels of `[N, C, H, W]`: {@linkcode dropout2d}. */
export class Dropout2d extends Dropout {
  /** What training does. */
  protected override drop(x: Tensor): Tensor {
    return dropout2d(x, this.p);
  }
}

/** Dropout of whole channels of `[N, C, D, H, W]` or `[C, D, H, W]`: {@linkcode dropout3d}. */
export class Dropout3d extends Dropout {
  /** What training does. */
  protected override drop(x: Tensor): Tensor {
    return dropout3d(x, this.p);
  }
}

/** Dropout that keeps mean 0 and variance 1, for selu: {@linkcode alphaDropout}. */
export class AlphaDropout extends Dropout {
  /** What training does. */
  protected override drop(x: Tensor): Tensor {
    return alphaDropout(x, this.p);
  }
}

/** Dropout of whole channels that keeps mean 0 and variance 1: {@linkcode featureAlphaDropout}. */
export class FeatureAlphaDropout extends Dropout {
  /** What training does. */
  protected override drop(x: Tensor): Tensor {
    return featureAlphaDropout(x, this.p);
  }
}
