/** Losses that ask for a margin: between classes, between pairs, between triples. */
import { cosineEmbedding, tripletMargin } from "../ops/definitions/distance.ts";
import * as L from "../ops/definitions/loss.ts";
import { sameShape, showShape } from "../ops/shape.ts";
import { asTensor, type Tensor, WHOLE_NUMBERS } from "../ops/tensor.ts";
import { checkSame, checkWeight, lossOperands, type LossOptions, reduceLosses } from "./loss.ts";

/** Options of losses with a margin. */
export interface MarginOptions extends LossOptions {
  /** By how much scores have to differ. */
  margin?: number;
}

const MARGIN: readonly string[] = ["margin"];

/** x where y = 1 and max(0, margin - x) where y = -1, for distances x; default margin 1. */
export function hingeEmbeddingLoss(input: Tensor, target: Tensor, options: MarginOptions = {}): Tensor {
  const [x, y] = lossOperands("hingeEmbeddingLoss", { prediction: input, target }, options, MARGIN);
  checkSame("hingeEmbeddingLoss", input, target);
  return reduceLosses("hingeEmbeddingLoss", L.hingeEmbeddingLoss(x, y, options.margin ?? 1), options);
}

/** max(0, margin - y (a - b)): a ranks above b where y = 1, below where y = -1; default margin 0. Operands broadcast. */
export function marginRankingLoss(a: Tensor, b: Tensor, target: Tensor, options: MarginOptions = {}): Tensor {
  const operands = { "first score": a, "second score": b, target };
  const [x, z, y] = lossOperands("marginRankingLoss", operands, options, MARGIN);
  return reduceLosses("marginRankingLoss", L.marginRankingLoss(x, z, y, options.margin ?? 0), options);
}

/** ln(1 + e^(-y x)) against targets y that are 1 or -1. */
export function softMarginLoss(input: Tensor, target: Tensor, options: LossOptions = {}): Tensor {
  const [x, y] = lossOperands("softMarginLoss", { prediction: input, target }, options);
  checkSame("softMarginLoss", input, target);
  return reduceLosses("softMarginLoss", L.softMarginLoss(x, y), options);
}

/** Options of {@linkcode multilabelSoftMarginLoss}. */
export interface MultilabelSoftMarginOptions extends LossOptions {
  /** A factor for each class; it broadcasts to `[..., C]`. */
  weight?: Tensor;
}

/** The mean over classes of the binary cross-entropies of logits `[..., C]` against targets 0 or 1. */
export function multilabelSoftMarginLoss(
  input: Tensor,
  target: Tensor,
  options: MultilabelSoftMarginOptions = {},
): Tensor {
  const name = "multilabelSoftMarginLoss";
  const [z, y] = lossOperands(name, { "prediction (logits)": input, target }, options, ["weight"]);
  checkSame(name, input, target);
  if (z.rank === 0) throw new RangeError(`Cannot take the ${name} of a scalar: it has no axis of classes`);
  const { weight } = options;
  const losses = L.multilabelSoftMarginLoss(
    z,
    y,
    weight === undefined ? weight : checkWeight(name, weight, z),
  );
  return reduceLosses(name, losses, options);
}

/** Rows `[N, C]` and class numbers of scores `[N, C]` or `[C]`, and the losses as the scores were. */
function rows(
  loss: string,
  x: Tensor,
  target: Tensor,
  labels: number,
  f: (x: Tensor, y: Tensor) => Tensor,
): Tensor {
  asTensor(`take the ${loss}`, target, "target", WHOLE_NUMBERS);
  if (target.dtype !== "i32" && target.dtype !== "u32") {
    throw new TypeError(
      `Cannot take the ${loss} against targets of type ${target.dtype}: targets are class numbers, as in target.to("i32")`,
    );
  }
  const row = x.rank < 2, C = x.rank === 0 ? 1 : x.shape[x.rank - 1], N = row ? 1 : x.shape[0];
  const shape = labels === 1 ? [N] : [N, C], size = shape.reduce((n, m) => n * m, 1);
  const fits = row ? target.rank < 2 && target.size === size : sameShape(target.shape, shape);
  if (x.rank > 2 || C === 0 || !fits) {
    throw new RangeError(
      `Cannot take the ${loss} of scores ${showShape(x.shape)} against targets ${showShape(target.shape)}: ` +
        `scores are [N, C] and targets ${labels === 1 ? "[N]" : "[N, C]"}, or without N`,
    );
  }
  const losses = f(x.reshape([N, C]), target.reshape(shape)); // [N]
  return row ? losses.reshape([]) : losses;
}

/** Options of {@linkcode multiMarginLoss}. */
export interface MultiMarginOptions extends MarginOptions {
  /** The power, 1 or 2; default 1. */
  p?: 1 | 2;
  /** A factor for each class, `[C]`. */
  weight?: Tensor;
}

/** Σ_j≠y max(0, margin - x_y + x_j)^p / C of scores `[N, C]` against class numbers `[N]`; default margin 1. */
export function multiMarginLoss(input: Tensor, target: Tensor, options: MultiMarginOptions = {}): Tensor {
  const name = "multiMarginLoss", known = ["p", "margin", "weight"];
  const [x] = lossOperands(name, { prediction: input }, options, known),
    { p = 1, margin = 1, weight } = options;
  if (p !== 1 && p !== 2) throw new RangeError(`Cannot take the ${name} with p ${p}: it is 1 or 2`);
  const losses = rows(name, x, target, 1, (scores, y) => {
    if (weight !== undefined && (weight.rank !== 1 || weight.shape[0] !== scores.shape[1])) {
      throw new RangeError(
        `Cannot take the ${name} of ${scores.shape[1]} classes with a weight of shape ${
          showShape(weight.shape)
        }: it must be [${scores.shape[1]}]`,
      );
    }
    return L.multiMarginLoss(scores, y.to("i32"), { p, margin, weight: weight?.to(x.dtype) });
  });
  return reduceLosses(name, losses, options);
}

/**
 * Σ max(0, 1 - x_y + x_i) / C over labels y of a row and classes i that are none, of scores `[N, C]` against labels
 * `[N, C]`, which end at the first -1.
 */
export function multilabelMarginLoss(input: Tensor, target: Tensor, options: LossOptions = {}): Tensor {
  const name = "multilabelMarginLoss";
  const [x] = lossOperands(name, { prediction: input }, options);
  return reduceLosses(
    name,
    rows(name, x, target, 2, (scores, y) => L.multilabelMarginLoss(scores, y.to("i32"))),
    options,
  );
}

/**
 * 1 - cos(a, b) where y = 1 and max(0, cos(a, b) - margin) where y = -1, of rows `[N, D]` with targets `[N]`, or of
 * vectors with a scalar; default margin 0.
 */
export function cosineEmbeddingLoss(
  a: Tensor,
  b: Tensor,
  target: Tensor,
  options: MarginOptions = {},
): Tensor {
  const name = "cosineEmbeddingLoss", operands = { "first vector": a, "second vector": b, target };
  const [x, z, y] = lossOperands(name, operands, options, MARGIN);
  checkSame(name, a, b);
  if (x.rank < 1 || !sameShape(x.shape.slice(0, -1), y.shape)) {
    throw new RangeError(
      `Cannot take the ${name} of vectors ${showShape(x.shape)} against targets ${showShape(y.shape)}: ` +
        `there must be one target for each vector along the last axis`,
    );
  }
  return reduceLosses(name, cosineEmbedding(x, z, y, options.margin ?? 0), options);
}

/** Options of {@linkcode tripletMarginLoss}. */
export interface TripletMarginOptions extends MarginOptions {
  /** The order of the norm; default 2. */
  p?: number;
  /** Added to differences, so that equal vectors have a gradient; default 1e-6. */
  eps?: number;
  /** Takes the distance of negative and positive where it is the smaller one: Balntas et al. (2016); default false. */
  swap?: boolean;
}

/** max(0, |a - p| - |a - n| + margin) of vectors along the last axis: Schroff et al. (2015), "FaceNet"; default margin 1. */
export function tripletMarginLoss(
  anchor: Tensor,
  positive: Tensor,
  negative: Tensor,
  options: TripletMarginOptions = {},
): Tensor {
  const name = "tripletMarginLoss";
  const [a, p, n] = lossOperands(name, { anchor, positive, negative }, options, [
    "margin",
    "p",
    "eps",
    "swap",
  ]);
  if (a.rank === 0) throw new RangeError(`Cannot take the ${name} of scalars: they have no last axis`);
  const { margin = 1, p: order = 2, eps = 1e-6, swap = false } = options;
  return reduceLosses(name, tripletMargin(a, p, n, { margin, p: order, eps, swap }), options);
}
