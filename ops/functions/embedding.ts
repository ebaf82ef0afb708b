/** Vectors by number, one by one and in bags. */
import { composite } from "../composite.ts";
import * as I from "../definitions/indexing.ts";
import { flatIndex } from "../definitions/places.ts";
import { apply } from "../node.ts";
import { normalizeAxis, sameShape, showShape } from "../shape.ts";
import { asTensor, checkOptions, type Tensor, WHOLE_NUMBERS } from "../tensor.ts";

/** Options of `embedding`. */
export interface EmbeddingLookup {
  /** An id whose row gets no gradient. */
  paddingIdx?: number;
}

/** Which ids are not padding. */
function real(weight: Tensor, ids: Tensor, paddingIdx: number): Tensor {
  const pad = normalizeAxis("pad an embedding", paddingIdx, weight.shape[0] ?? 0);
  const names = ids.ne(pad);
  // Negative ids count from the back.
  return pad === 0 || ids.dtype === "u32" ? names : names.logicalAnd(ids.ne(pad - weight.shape[0]));
}

/** Rows of `weight` at `ids`. */
export function embedding(weight: Tensor, ids: Tensor, options: EmbeddingLookup = {}): Tensor {
  asTensor("take an embedding", weight, "weight");
  asTensor("take an embedding", ids, "list of ids", WHOLE_NUMBERS);
  checkOptions("take an embedding", options, ["paddingIdx"]);
  const y = apply(I.embedding, [weight, ids]);
  if (options.paddingIdx === undefined) return y;
  const mask = real(weight, ids, options.paddingIdx);
  return y.where(mask.reshape([...ids.shape, ...weight.shape.slice(1).map(() => 1)]), y.stopGradient());
}

/** Options of `embeddingBag`. */
export interface EmbeddingBagOptions {
  /** How the rows of a bag are put together; default mean. Of an empty bag it is 0. */
  mode?: "sum" | "mean" | "max";
  /** For ids of rank 1: where each bag begins, from 0 on. Without it, ids are `[bags, length]`. */
  offsets?: Tensor;
  /** Whether the last offset is where the last bag ends. */
  includeLastOffset?: boolean;
  /** Factors of the rows, of the shape of the ids; only for sums. */
  perSampleWeights?: Tensor;
  /** An id that does not count. */
  paddingIdx?: number;
}

const BAG_OPTIONS = Object.keys(
  {
    mode: true,
    offsets: true,
    includeLastOffset: true,
    perSampleWeights: true,
    paddingIdx: true,
  } satisfies Record<keyof EmbeddingBagOptions, true>,
);

/** Sums, means or maxima of the rows of `weight` `[V, D]` at bags of ids: `[bags, D]`. */
export function embeddingBag(weight: Tensor, ids: Tensor, options: EmbeddingBagOptions = {}): Tensor {
  asTensor("take an embeddingBag", weight, "weight");
  asTensor("take an embeddingBag", ids, "list of ids", WHOLE_NUMBERS);
  checkOptions("take an embeddingBag", options, BAG_OPTIONS);
  const { mode = "mean", offsets, includeLastOffset = false, perSampleWeights, paddingIdx } = options;
  const fail = (why: string): never => {
    throw new RangeError(
      `Cannot take an embeddingBag of ids of shape ${showShape(ids.shape)} in a table of shape ${
        showShape(weight.shape)
      }: ${why}`,
    );
  };
  if (!["sum", "mean", "max"].includes(mode)) fail(`the mode is sum, mean or max, not ${String(mode)}`);
  if (weight.rank !== 2) fail("a table has two axes");
  if (offsets === undefined ? ids.rank !== 2 : ids.rank !== 1 || offsets.rank !== 1) {
    fail("they are [bags, length], or a vector with a vector of offsets");
  }
  if (perSampleWeights !== undefined) {
    if (mode !== "sum") fail(`perSampleWeights are for sums, not for mode ${mode}`);
    if (!sameShape(perSampleWeights.shape, ids.shape)) fail("perSampleWeights have the shape of the ids");
  }
  const N = ids.size, D = weight.shape[1], flat = ids.reshape([N]), one = weight.scalarLike(1, "i32");
  const B = offsets === undefined ? ids.shape[0] : offsets.size - (includeLastOffset ? 1 : 0);
  let bags: Tensor;
  if (offsets === undefined) bags = ids.arangeLike(B, "i32").unsqueeze(1).expand(ids.shape).reshape([N]);
  else {
    // The number of bags that have begun, less one.
    const starts = one.zerosLike().expand([N + 1]).indexAdd(0, offsets, one.expand([offsets.size]));
    const count = starts.cumsum(0).narrow(0, 0, N).sub(1);
    bags = apply(flatIndex, [count], { lengths: [B], action: "find the bag of an id", wrap: false });
  }
  const keep = paddingIdx === undefined ? null : real(weight, flat, paddingIdx);
  const rows = apply(I.embedding, [weight, flat]);
  const zeros = weight.scalarLike(0).expand([B, D]);
  const scaled = perSampleWeights === undefined ? rows : rows.mul(perSampleWeights.reshape([N, 1]));
  const sum = (): Tensor =>
    zeros.indexAdd(0, bags, keep === null ? scaled : scaled.where(keep.unsqueeze(1), 0));
  if (mode === "sum") return sum();
  const counts = weight.scalarLike(0).expand([B]).indexAdd(
    0,
    bags,
    keep === null ? weight.scalarLike(1).expand([N]) : keep.to(weight.dtype),
  ).unsqueeze(1);
  if (mode === "mean") return sum().div(counts.maximum(1));
  const candidates = keep === null ? rows : rows.where(keep.unsqueeze(1), -Infinity);
  return zeros.indexReduce(0, bags, candidates, "amax", { includeSelf: false }).where(counts.gt(0), 0);
}

const BAGS = { dtypes: [undefined, "i32" as const], values: [undefined, [0, 4, 2, 2, 1, 4]] };
composite({
  name: "embeddingBag",
  tex: ([w, i]) => `\\sum {${w}}[${i}]`,
  texPullbacks: ([, i], f) => [`\\sum_{${i}} \\bar{${f}}`, "0"],
  samples: [
    ...(["sum", "mean", "max"] as const).map((mode) => ({
      shapes: [[5, 2], [2, 3]],
      call: (w: Tensor, i: Tensor) => embeddingBag(w, i, { mode, paddingIdx: 4 }),
      ...BAGS,
    })),
    {
      shapes: [[5, 2], [6], [3], [6]],
      call: (w, i, offsets, perSampleWeights) =>
        embeddingBag(w, i, { mode: "sum", offsets, perSampleWeights }),
      dtypes: [undefined, "i32", "i32"],
      values: [undefined, [0, 4, 2, 2, 1, 4], [0, 0, 0]],
    },
  ],
}, embeddingBag);
