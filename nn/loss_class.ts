/** Losses of classification: against class numbers, probabilities and yes or no. */
import { crossEntropy as fusedCrossEntropy, nllLoss as fusedNllLoss } from "../ops/definitions/fused.ts";
import * as L from "../ops/definitions/loss.ts";
import { isFloat, isHalf } from "../ops/dtype.ts";
import { apply } from "../ops/node.ts";
import { normalizeAxis, sameShape, type Shape, showShape } from "../ops/shape.ts";
import { asTensor, checkOptions, type Operand, Tensor, WHOLE_NUMBERS } from "../ops/tensor.ts";
import {
  checkSame,
  checkWeight,
  lossOperands,
  type LossOptions,
  reduceLosses,
  type WeightedLossOptions,
} from "./loss.ts";

/** Options of {@linkcode nllLoss}. */
export interface NllOptions extends LossOptions {
  /** Where the classes are; default the last axis. PyTorch's losses of images `[N, C, H, W]` have them at axis 1. */
  axis?: number;
  /** A factor for each class, `[C]`; the mean is over the sum of the factors of the targets. */
  weight?: Tensor;
  /** Targets that do not count; default none (PyTorch's is -100). */
  ignoreIndex?: number;
}

/** Options of {@linkcode crossEntropy}. */
export interface CrossEntropyOptions extends NllOptions {
  /** ε: the target is (1 - ε) of the class and ε / C of all, Szegedy et al. (2016); default 0. */
  labelSmoothing?: number;
}

const NLL: readonly string[] = ["reduction", "axis", "weight", "ignoreIndex"];

/** A shape without one axis. */
const without = (shape: Shape, axis: number): Shape => shape.filter((_, i) => i !== axis);

/** The axis of the classes; an error where targets fit several and none was named. */
function classAxis(loss: string, x: Tensor, target: Tensor, axis: number | undefined): number {
  if (x.rank === 0) {
    throw new RangeError(`Cannot take the ${loss} of a scalar: predictions have an axis, the classes`);
  }
  if (axis !== undefined) return normalizeAxis(`take the ${loss}`, axis, x.rank);
  const last = x.rank - 1;
  const fits = (a: number): boolean =>
    sameShape(isFloat(target.dtype) ? x.shape : without(x.shape, a), target.shape);
  if (last < 2 || !fits(1)) return last;
  throw new RangeError(
    `Cannot take the ${loss} of predictions ${showShape(x.shape)} against targets ${
      showShape(target.shape)
    }: ` +
      (fits(last)
        ? `the classes may be axis 1 or the last one; say which, as in { axis: 1 } or { axis: -1 }`
        : `the classes are the last axis, if not { axis: 1 } says otherwise`),
  );
}

/** The weights of classes, checked. */
function classWeights(loss: string, weight: Tensor | undefined, x: Tensor): Tensor | null {
  if (weight === undefined) return null;
  asTensor(`take the ${loss}`, weight, "weight");
  const classes = x.shape[x.rank - 1];
  if (weight.rank !== 1 || weight.shape[0] !== classes) {
    throw new RangeError(
      `Cannot take the ${loss} of ${classes} classes with a weight of shape ${
        showShape(weight.shape)
      }: it must be [${classes}]`,
    );
  }
  return weight.to(x.dtype);
}

/** Rows of a loss against class numbers, with ignored ones 0, and what their mean divides by. */
function rows(
  loss: string,
  x: Tensor,
  target: Tensor,
  { weight, ignoreIndex }: NllOptions,
  each: (label: Tensor, w: Tensor | null) => Tensor,
): { losses: Tensor; count: Operand | undefined } {
  const w = classWeights(loss, weight, x);
  if (ignoreIndex !== undefined && !Number.isInteger(ignoreIndex)) {
    throw new RangeError(`Cannot take the ${loss} with ignoreIndex ${ignoreIndex}: it is a whole number`);
  }
  if (w === null && ignoreIndex === undefined) return { losses: each(target, null), count: undefined };
  const counts = ignoreIndex === undefined ? null : target.ne(ignoreIndex);
  const label = counts === null ? target : target.where(counts, 0);
  const factor = w === null ? null : apply(fusedNllLoss, [w.expand(x.shape), label]).neg();
  const present = (t: Tensor): Tensor => counts === null ? t : t.where(counts, 0);
  return {
    losses: present(each(label, factor)),
    count: present(factor ?? x.scalarLike(1).expand(target.shape)).sum(),
  };
}

/**
 * -x_y of log-probabilities x `[..., C]` against class numbers y `[...]` (i32). A class that there is not is an error.
 */
export function nllLoss(input: Tensor, target: Tensor, options: NllOptions = {}): Tensor {
  asTensor("take the nllLoss", target, "target", WHOLE_NUMBERS);
  const [all] = lossOperands("nllLoss", { "prediction (log-probabilities)": input }, options, NLL);
  const x = all.movedim(classAxis("nllLoss", all, target, options.axis), -1);
  const { losses, count } = rows("nllLoss", x, target, options, (label, w) => {
    const loss = apply(fusedNllLoss, [x, label]);
    return w === null ? loss : loss.mul(w);
  });
  return reduceLosses("nllLoss", losses, options, count);
}

/**
 * Cross-entropy of logits `[..., C]` against class numbers `[...]` (i32), fused: its gradient is `p - e_y`; or against
 * probabilities `[..., C]`: -Σ_c y_c ln softmax(z)_c. The classes are the last axis, or `axis` (PyTorch's is 1); where
 * the shapes leave that open for more than two axes, it must be said. A class that there is not is an error.
 *
 * ```ts
 * import { crossEntropy, randn, zeros } from "@cotangent/cotangent";
 * const tokens = crossEntropy(randn([2, 7, 50]), zeros([2, 7], { dtype: "i32" })); // [B, T, C]
 * const pixels = crossEntropy(randn([2, 50, 8, 9]), zeros([2, 8, 9], { dtype: "i32" }), { axis: 1 }); // [B, C, H, W]
 * console.log(tokens.shape, pixels.shape); // [], []
 * ```
 */
export function crossEntropy(logits: Tensor, target: Tensor, options: CrossEntropyOptions = {}): Tensor {
  asTensor("take the crossEntropy", logits, "prediction (logits)");
  asTensor("take the crossEntropy", target, "target", WHOLE_NUMBERS);
  checkOptions("take the crossEntropy", options, [...NLL, "labelSmoothing"]);
  const { labelSmoothing: smoothing = 0, weight, ignoreIndex } = options;
  if (!(smoothing >= 0 && smoothing <= 1)) {
    throw new RangeError(`Cannot take the crossEntropy with labelSmoothing ${smoothing}: it lies in [0, 1]`);
  }
  const float = isFloat(logits.dtype) ? logits : logits.to("f32");
  const axis = classAxis("crossEntropy", float, target, options.axis);
  const z = float.movedim(axis, -1), C = z.shape[z.rank - 1];
  if (isFloat(target.dtype)) {
    if (ignoreIndex !== undefined) {
      throw new TypeError(
        `Cannot take the crossEntropy against probabilities with ignoreIndex: there is none`,
      );
    }
    if (target.rank < logits.rank) {
      throw new TypeError(
        `Cannot take the crossEntropy against targets of type ${target.dtype}: targets are class numbers, as in ` +
          `target.to("i32"), or probabilities of the logits' shape ${showShape(logits.shape)}`,
      );
    }
    checkSame("crossEntropy", logits, target);
    if (C === 0) {
      throw new RangeError(
        `Cannot take the crossEntropy of logits ${showShape(float.shape)}: there are no classes`,
      );
    }
    const given = target.to(z.dtype).movedim(axis, -1), w = classWeights("crossEntropy", weight, z);
    const y = smoothing === 0 ? given : given.mul(1 - smoothing).add(smoothing / C);
    const losses = z.logSoftmax(-1).mul(w === null ? y : y.mul(w)).sum(-1).neg();
    return reduceLosses("crossEntropy", losses, options);
  }
  const { losses, count } = rows("crossEntropy", z, target, options, (label, factor) => {
    const own = apply(fusedCrossEntropy, [z, label]), loss = factor === null ? own : own.mul(factor);
    if (smoothing === 0) return loss;
    const w = classWeights("crossEntropy", weight, z), surprise = z.logSoftmax(-1).neg(); // [..., C]
    const smooth = (w === null ? surprise : surprise.mul(w)).sum(-1);
    return loss.mul(1 - smoothing).add(smooth.mul(smoothing / C));
  });
  return reduceLosses("crossEntropy", losses, options, count);
}

/** Options of {@linkcode bceWithLogits}. */
export interface BceOptions extends WeightedLossOptions {
  /** Weight of positive examples, a number or a tensor that broadcasts; default 1. */
  posWeight?: number | Tensor;
}

/** Losses times their weights, put together; a mean is over their number. */
function elements(loss: string, losses: Tensor, options: WeightedLossOptions): Tensor {
  const { weight } = options;
  return reduceLosses(
    loss,
    weight === undefined ? losses : losses.mul(checkWeight(loss, weight, losses)),
    options,
  );
}

/**
 * Binary cross-entropy -y ln σ(z) - (1 - y) ln(1 - σ(z)) of logits z, computed as softplus(z) - y z, which neither
 * overflows nor loses digits; its gradient is σ(z) - y.
 */
export function bceWithLogits(logits: Tensor, target: Tensor, options: BceOptions = {}): Tensor {
  const known = ["weight", "posWeight"];
  const [z] = lossOperands("bceWithLogits", { prediction: logits, target }, options, known);
  checkSame("bceWithLogits", logits, target);
  return elements("bceWithLogits", L.bceWithLogits(z, target.to(z.dtype), options.posWeight), options);
}

/**
 * Binary cross-entropy -y ln x - (1 - y) ln(1 - x) of probabilities x; logarithms are limited to -100, as in PyTorch.
 * Outside of [0, 1] it is NaN. Of logits, {@linkcode bceWithLogits} loses no digits.
 */
export function bceLoss(input: Tensor, target: Tensor, options: WeightedLossOptions = {}): Tensor {
  const [x] = lossOperands("bceLoss", { prediction: input, target }, options, ["weight"]);
  checkSame("bceLoss", input, target);
  // 1e-12, which limits the gradient, is 0 in half precision.
  const type = isHalf(x.dtype) ? "f32" : x.dtype;
  const losses = apply(L.binaryCrossEntropy, [x.to(type), target.to(type)]).to(x.dtype);
  return elements("bceLoss", losses, options);
}

/** Options of {@linkcode klDiv}. */
export interface KlDivOptions {
  /** As of other losses; `"batchmean"` is the sum over the length of axis 0: the divergence. Default mean. */
  reduction?: LossOptions["reduction"] | "batchmean";
  /** Whether targets are logarithms too; default false. */
  logTarget?: boolean;
}

/** Kullback-Leibler divergence y (ln y - x) of log-probabilities x from probabilities y, 0 at y = 0. */
export function klDiv(input: Tensor, target: Tensor, options: KlDivOptions = {}): Tensor {
  const [x, y] = lossOperands("klDiv", { prediction: input, target }, options, ["logTarget"]);
  checkSame("klDiv", input, target);
  const { reduction = "mean", logTarget = false } = options;
  const losses = logTarget ? L.klDivOfLog(x, y) : L.klDiv(x, y);
  return reduction === "batchmean"
    ? losses.sum().div(x.shape[0] ?? 1)
    : reduceLosses("klDiv", losses, { reduction });
}
