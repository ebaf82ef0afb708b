/** The simplest recurrent layer. */
import type { Tensor } from "../ops/tensor.ts";
import { uniform } from "./init.ts";
import { Linear, type LinearOptions } from "./linear.ts";
import { Module } from "./module.ts";

/**
 * h' = tanh(x Wᵀ + b + h Uᵀ + c): Elman (1990), "Finding structure in time". All parameters start uniform in
 * ±1 / √hidden, as in PyTorch.
 */
export class RNNCell extends Module {
  /** W and b. */
  input: Linear;
  /** U and c. */
  recurrent: Linear;

  /** From `inputs` features and a state of `hidden`. */
  constructor(inputs: number, readonly hidden: number, options: Omit<LinearOptions, "init"> = {}) {
    super();
    const bound = 1 / Math.sqrt(hidden);
    const init: LinearOptions["init"] = (shape, rest) =>
      uniform(shape, { ...rest, low: -bound, high: bound });
    this.input = new Linear(inputs, hidden, { ...options, init });
    this.recurrent = new Linear(hidden, hidden, { ...options, init });
    this.input.bias?.assign(init([hidden], { dtype: this.input.bias.dtype, device: this.input.bias.device }));
  }

  /** x `[B, inputs]` and h `[B, hidden]` (default 0) to the next state `[B, hidden]`. */
  override forward(x: Tensor, h?: Tensor): Tensor {
    const y = this.input.call(x);
    return (h === undefined ? y.add(this.recurrent.bias ?? 0) : y.add(this.recurrent.call(h))).tanh();
  }
}
