/** The affine layer. */
import type { TensorOptions } from "../ops/create.ts";
import { showShape } from "../ops/shape.ts";
import { asTensor, checkOptions, Tensor } from "../ops/tensor.ts";
import { type Initializer, kaimingUniform, uniform } from "./init.ts";
import { Module } from "./module.ts";
import { parameter } from "./parameter.ts";

/** Options of {@linkcode Linear}. */
export interface LinearOptions extends Pick<TensorOptions, "dtype" | "device"> {
  /** Whether there is a bias; default true. */
  bias?: boolean;
  /** Starting values of the weight `[out, in]`; default uniform in ±1 / √in, as PyTorch. */
  init?: Initializer;
}

const OPTIONS = Object.keys(
  { bias: true, init: true, dtype: true, device: true } satisfies Record<keyof LinearOptions, true>,
);

/** y = x Wᵀ + b, for x of shape `[..., in]`, W of `[out, in]` and b of `[out]`. */
export class Linear extends Module {
  /** `[out, in]`. */
  weight: Tensor;
  /** `[out]`. */
  bias: Tensor | null = null;

  /** A layer from `inputs` to `outputs` features. */
  constructor(readonly inputs: number, readonly outputs: number, options: LinearOptions = {}) {
    super();
    checkOptions("make Linear", options, OPTIONS);
    const { bias = true, init, ...rest } = options;
    const weight = init?.([outputs, inputs], rest) ??
      kaimingUniform([outputs, inputs], { a: Math.sqrt(5), ...rest });
    this.weight = parameter(weight);
    const bound = inputs > 0 ? 1 / Math.sqrt(inputs) : 0;
    if (bias) this.bias = parameter(uniform([outputs], { low: -bound, high: bound, ...rest }));
  }

  /** `[..., in]` to `[..., out]`. */
  override forward(x: Tensor): Tensor {
    if (!(x instanceof Tensor)) asTensor(`apply ${this}`, x, "input");
    if (x.rank === 0 || x.shape[x.rank - 1] !== this.inputs) {
      throw new RangeError(
        `Cannot apply ${this} to a tensor of shape ${
          showShape(x.shape)
        }: its last axis must have length ${this.inputs}`,
      );
    }
    const y = x.matmul(this.weight.mT());
    return this.bias === null ? y : y.add(this.bias);
  }

  /** Features in and out. */
  override details(): string {
    return `${this.inputs} -> ${this.outputs}${this.bias === null ? ", no bias" : ""}`;
  }
}
