/** Gradient descent, with momentum. */
import type { FlatStep, FlatUpdate } from "./bucket.ts";
import { checkOptions } from "../ops/tensor.ts";
import { Optimizer, type RateOptions, type Trainable } from "./optimizer.ts";

/** Options of {@linkcode SGD}. */
export interface SGDOptions extends RateOptions {
  /** μ; default 0. */
  momentum?: number;
  /** τ: how much less of a new gradient counts; default 0. */
  dampening?: number;
  /** Looks ahead along the momentum; default false. */
  nesterov?: boolean;
}

const OPTIONS = Object.keys(
  {
    lr: true,
    momentum: true,
    dampening: true,
    nesterov: true,
    weightDecay: true,
    maximize: true,
  } satisfies Record<keyof SGDOptions, true>,
);

/**
 * w ← w − η d with d = g, or with momentum b ← μ b + (1 − τ) g (b = g in the first step) and d = b, or d = g + μ b
 * (Nesterov): PyTorch's form of Sutskever et al. (2013), "On the importance of initialization and momentum".
 * Default rate 1e-3.
 */
export class SGD extends Optimizer<Required<SGDOptions>> {
  /** Trains `params` (a module, a list of tensors, or groups with options of their own). */
  constructor(params: Trainable<SGDOptions>, options: SGDOptions = {}) {
    checkOptions("make SGD", options, OPTIONS);
    const { nesterov = false, momentum = 0, dampening = 0 } = options;
    if (nesterov && (momentum <= 0 || dampening !== 0)) {
      throw new RangeError("Cannot use nesterov without momentum or with dampening");
    }
    const defaults = { lr: 1e-3, weightDecay: 0, maximize: false, momentum, dampening, nesterov };
    super("SGD", params, { ...defaults, ...options }, (o) => o.momentum === 0 ? [] : ["momentum"]);
  }

  /** One step on flat tensors. */
  protected override update({ g, t, lr, slots }: FlatStep, o: Required<SGDOptions>): FlatUpdate {
    if (o.momentum === 0) return { delta: g.mul(lr), slots: {} };
    // The first gradient is not dampened.
    const fresh = o.dampening === 0 ? g : g.mul(t.scalarLike(1).where(t.eq(1), 1 - o.dampening));
    const b = slots.momentum.mul(o.momentum).add(fresh);
    const d = o.nesterov ? g.add(b.mul(o.momentum)) : b;
    return { delta: d.mul(lr), slots: { momentum: b } };
  }
}
