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
  /** An id whose row starts as zeros and is not trained; negative ones count from the back. */
  paddingIdx?: number;
}

const OPTIONS = Object.keys(
  { init: true, paddingIdx: true, dtype: true, device: true } satisfies Record<keyof EmbeddingOptions, true>,
);

/** y_t = W[i_t]: rows of a table W `[count, width]` by ids (i32). */
export class Embedding extends Module {
  /** `[count, width]`. */
  weight: Tensor;
  /** The id that stands for nothing, if there is one. */
  readonly paddingIdx: number | null;

  /** A table of `count` vectors with `width` elements. */
  constructor(readonly count: number, readonly width: number, options: EmbeddingOptions = {}) {
    super();
    checkOptions("make Embedding", options, OPTIONS);
    const { init = normal, paddingIdx, ...rest } = options;
    const weight = init([count, width], rest);
    this.paddingIdx = paddingIdx ?? null;
    this.weight = parameter(
      paddingIdx === undefined
        ? weight
        : weight.selectScatter(weight.scalarLike(0).expand([width]), 0, paddingIdx),
    );
  }

  /** Ids `[...]` to vectors `[..., width]`. */
  override forward(ids: Tensor): Tensor {
    const { paddingIdx } = this;
    return embedding(this.weight, ids, paddingIdx === null ? {} : { paddingIdx });
  }

  /** Size of the table. */
  override details(): string {
    return `${this.count} x ${this.width}`;
  }
}
