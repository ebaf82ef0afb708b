/** Adam, and Adam with decoupled weight decay. */
import { checkOptions, type Tensor } from "../ops/tensor.ts";
import type { FlatStep, FlatUpdate } from "./bucket.ts";
import { Optimizer, type RateOptions, type Trainable } from "./optimizer.ts";

/** Options of {@linkcode Adam} and {@linkcode AdamW}. */
export interface AdamOptions extends RateOptions {
  /** Decay of the two averages; default [0.9, 0.999]. */
  betas?: readonly [number, number];
  /** Added to the denominator; default 1e-8. */
  eps?: number;
  /** Divides by the largest second moment so far: Reddi et al. (2018); default false. */
  amsgrad?: boolean;
}

const OPTIONS = Object.keys(
  {
    lr: true,
    betas: true,
    eps: true,
    weightDecay: true,
    amsgrad: true,
    maximize: true,
  } satisfies Record<keyof AdamOptions, true>,
);

/**
 * m ← β₁ m + (1 − β₁) g, v ← β₂ v + (1 − β₂) g², w ← w − η m̂ / (√v̂ + ε) with m̂ = m / (1 − β₁ᵗ) and
 * v̂ = v / (1 − β₂ᵗ): Kingma and Ba (2015), "Adam", algorithm 1. Weight decay adds λ w to g. Default rate 1e-3.
 */
export class Adam extends Optimizer<Required<AdamOptions>> {
  /** Trains `params` (a module, a list of tensors, or groups with options of their own). */
  constructor(params: Trainable<AdamOptions>, options: AdamOptions = {}, name: string = "Adam") {
    checkOptions(`make ${name}`, options, OPTIONS);
    const { betas = [0.9, 0.999] } = options;
    if (!Array.isArray(betas) || betas.length !== 2 || betas.some((b) => !(b >= 0 && b < 1))) {
      throw new RangeError(`Cannot make ${name} with betas [${betas}]: they are two numbers in [0, 1)`);
    }
    const defaults = { lr: 1e-3, weightDecay: 0, maximize: false, eps: 1e-8, amsgrad: false };
    super(
      name,
      params,
      { ...defaults, ...options, betas },
      (o) => o.amsgrad ? ["m", "v", "largest"] : ["m", "v"],
    );
  }

  /** One step on flat tensors. */
  protected override update({ g, t, lr, slots }: FlatStep, o: Required<AdamOptions>): FlatUpdate {
    const [b1, b2] = o.betas;
    const m = slots.m.mul(b1).add(g.mul(1 - b1));
    const v = slots.v.mul(b2).add(g.square().mul(1 - b2));
    const largest = o.amsgrad ? slots.largest.maximum(v) : v;
    const denominator = largest.sqrt().mul(oneMinusPower(b2, t).sqrt().reciprocal()).add(o.eps);
    const delta = m.div(denominator).mul(lr.div(oneMinusPower(b1, t)));
    return { delta, slots: o.amsgrad ? { m, v, largest } : { m, v } };
  }
}

/** Adam with weights that decay by η λ w, apart from the gradient: Loshchilov and Hutter (2019). Default λ 0.01. */
export class AdamW extends Adam {
  /** Trains `params` (a module, a list of tensors, or groups with options of their own). */
  constructor(params: Trainable<AdamOptions>, options: AdamOptions = {}) {
    checkOptions("make AdamW", options, OPTIONS);
    super(params, { weightDecay: 0.01, ...options }, "AdamW");
  }
  /** Weights shrink directly. */
  protected override readonly decoupled: boolean = true;
}

/**
 * 1 − βᵗ for a tensor t. Near 0 the difference loses digits (of 1 − 0.999 in f32, three of seven), so there it is
 * the series −z (1 + z/2 (1 + z/3 (1 + z/4))) of z = t ln β.
 */
export function oneMinusPower(beta: number, t: Tensor): Tensor {
  if (beta === 0) return t.onesLike();
  const z = t.mul(Math.log(beta)), direct = z.exp().sub(1).neg();
  if (t.dtype === "f64") return direct;
  const near = z.div(4).add(1).mul(z.div(3)).add(1).mul(z.div(2)).add(1).mul(z).neg();
  return near.where(z.gt(-0.02), direct);
}
