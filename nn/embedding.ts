/** A table of vectors, looked up by number. */
import type { TensorOptions } from "../ops/create.ts";
import { embedding } from "../ops/functions.ts";
import { checkOptions, type Tensor } from "../ops/tensor.ts";
import { type Initializer, normal } from "./init.ts";
import { Module } from "./module.ts";
import { parameter } from "./parameter.ts";

/** Options of {@linkcode Embedding}. */
export interface EmbeddingOptions extends Pick<TensorOptions, "dtype" | "device"> {
  /** Starting values of the table `[count, width]`; default standard normal. */
  init?: Initializer;
}

const OPTIONS = Object.keys(
  { init: true, dtype: true, device: true } satisfies Record<keyof EmbeddingOptions, true>,
);

/** y_t = W[i_t]: rows of a table W `[count, width]` by ids (i32). */
export class Embedding extends Module {
  /** `[count, width]`. */
  weight: Tensor;

  /** A table of `count` vectors with `width` elements. */
  constructor(readonly count: number, readonly width: number, options: EmbeddingOptions = {}) {
    super();
    checkOptions("make Embedding", options, OPTIONS);
    const { init = normal, ...rest } = options;
    this.weight = parameter(init([count, width], rest));
  }

  /** Ids `[...]` to vectors `[..., width]`. */
  override forward(ids: Tensor): Tensor {
    return embedding(this.weight, ids);
  }

  /** Size of the table. */
  override details(): string {
    return `${this.count} x ${this.width}`;
  }
}
