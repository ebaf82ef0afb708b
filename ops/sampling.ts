/** Random tensors: of distributions, of classes, of orders; counter-based, so that recomputation repeats them. */
import type { Device } from "./ambient.ts";
import { defaultDevice, finish, OPTIONS, type TensorOptions } from "./create.ts";
import { exponentialFromBits, normalFromBits, uniformFromBits } from "./definitions/bits.ts";
import { checkDistribution, type DistributionKind, randomBits } from "./definitions/random.ts";
import { isFloat, isHalf } from "./dtype.ts";
import { apply } from "./node.ts";
import { searchsorted } from "./functions/search.ts";
import type { Elementwise } from "./primitive.ts";
import { nextKey } from "./rng.ts";
import { broadcastShapes, checkShape, type Shape, showShape } from "./shape.ts";
import { asTensor, checkOnDevice, checkOptions, type Operand, Tensor } from "./tensor.ts";

/** What whole random numbers are like: i32, so without a type. */
export type DrawOptions = Omit<TensorOptions, "dtype">;

const DRAW_OPTIONS = OPTIONS.filter((key) => key !== "dtype");

/** 32 random bits for each element. */
function bitsOf(shape: Shape, device: Device): Tensor {
  checkShape("make a tensor", shape);
  return apply(randomBits, [nextKey(device)], { shape });
}

/** Random bits as the numbers of a distribution. */
function drawn(distribution: Elementwise, shape: Shape, options: TensorOptions): Tensor {
  checkOptions("make a tensor", options, OPTIONS);
  const dtype = options.dtype ?? "f32", device = options.device ?? defaultDevice();
  checkOnDevice(dtype, device);
  if (!isFloat(dtype)) {
    throw new TypeError(`Cannot draw random numbers of type ${dtype}: they are floating point; see randint`);
  }
  let y = apply(distribution, [bitsOf(shape, device)]);
  if (distribution === uniformFromBits && isHalf(dtype)) {
    // Only as many digits as the type holds, or the largest numbers would round to 1.
    const steps = dtype === "f16" ? 2 ** 11 : 2 ** 8;
    y = y.mul(steps).floor().div(steps);
  }
  return finish(y.to(dtype), options);
}

/** Uniform random numbers in [0, 1): the same on every engine for the same seed. */
export function rand(shape: Shape, options: TensorOptions = {}): Tensor {
  return drawn(uniformFromBits, shape, options);
}

/** Standard normal random numbers. */
export function randn(shape: Shape, options: TensorOptions = {}): Tensor {
  return drawn(normalFromBits, shape, options);
}

/** Standard Gumbel random numbers, -ln(-ln u): the largest of `logits + gumbel` is a draw from their softmax. */
export function gumbel(shape: Shape, options: TensorOptions = {}): Tensor {
  checkOptions("make a tensor", options, OPTIONS);
  const { dtype = "f32", device } = options;
  const e = drawn(exponentialFromBits, shape, device === undefined ? {} : { device });
  return finish(e.log().neg().to(dtype), options);
}

/** Options of {@linkcode exponential}. */
export interface ExponentialOptions extends TensorOptions {
  /** One over the mean; default 1. */
  rate?: number;
}

/** Exponential random numbers, of density rate e^(-rate x). */
export function exponential(shape: Shape, options: ExponentialOptions = {}): Tensor {
  const { rate = 1, ...rest } = options;
  if (!(rate > 0)) throw new RangeError(`Cannot draw exponential numbers of rate ${rate}: it is above 0`);
  checkOptions("make a tensor", options, [...OPTIONS, "rate"]);
  const { dtype = "f32", device } = rest;
  const e = drawn(exponentialFromBits, shape, device === undefined ? {} : { device });
  return finish((rate === 1 ? e : e.div(rate)).to(dtype), rest);
}

/**
 * Normal random numbers of a mean and a standard deviation, numbers or tensors, of their common shape or of `shape`:
 * `mean + std randn`, through which gradients reach both.
 */
export function normal(mean: Operand, std: Operand, shape?: Shape, options: TensorOptions = {}): Tensor {
  const like = mean instanceof Tensor ? mean : std instanceof Tensor ? std : null;
  if (shape === undefined) {
    if (like === null) {
      throw new TypeError("Cannot draw normal numbers without a shape: give one, as in normal(0, 1, [2, 3])");
    }
    shape = mean instanceof Tensor && std instanceof Tensor
      ? broadcastShapes("draw normal numbers", mean.shape, std.shape)
      : like.shape;
  }
  if (typeof std === "number" && !(std >= 0)) {
    throw new RangeError(`Cannot draw normal numbers with standard deviation ${std}: it is at least 0`);
  }
  if (!(std instanceof Tensor) && typeof std !== "number") {
    asTensor("draw normal numbers", std, "standard deviation");
  }
  if (!(mean instanceof Tensor) && typeof mean !== "number") asTensor("draw normal numbers", mean, "mean");
  const { dtype = like !== null && isFloat(like.dtype) ? like.dtype : "f32", device = like?.device } =
    options;
  const z = randn(shape, device === undefined ? { dtype } : { dtype, device });
  const spread = std instanceof Tensor ? checked(std, "deviation", "draw normal numbers").to(dtype) : std;
  return finish(z.mul(spread).add(mean instanceof Tensor ? mean.to(dtype) : mean), options);
}

/** Whole random numbers in [low, high) as i32, with a range of at most 2^24. */
export function randint(low: number, high: number, shape: Shape, options: DrawOptions = {}): Tensor {
  if (!Number.isInteger(low) || !Number.isInteger(high) || high <= low || high - low > 2 ** 24) {
    throw new RangeError(
      `Cannot draw whole numbers in [${low}, ${high}): give low < high, at most 2^24 apart`,
    );
  }
  checkOptions("make a tensor", options, DRAW_OPTIONS);
  const u = rand(shape, options.device === undefined ? {} : { device: options.device });
  return finish(u.mul(high - low).floor().to("i32").add(low), options);
}

/** The numbers 0 to n - 1 (i32) in random order. */
export function randperm(n: number, options: DrawOptions = {}): Tensor {
  if (!Number.isInteger(n) || n < 0) {
    throw new RangeError(`Cannot draw an order of ${n} numbers: n is a whole number from 0`);
  }
  checkOptions("make a tensor", options, DRAW_OPTIONS);
  const device = options.device ?? defaultDevice();
  let order = bitsOf([n], device).argsort(0);
  // Equal bits keep their order: with many numbers some are equal, so these are sorted once more.
  if (n > 1000) order = order.gather(0, bitsOf([n], device).argsort(0));
  return finish(order, options);
}

/** Options of random tensors in the image of another; default its type and device. */
function likeOptions(action: string, x: Tensor, options: TensorOptions): TensorOptions {
  asTensor(action, x);
  return { dtype: x.dtype, device: x.device, ...options };
}

/** `rand` with the shape, type and device of another tensor. */
export function randLike(x: Tensor, options: TensorOptions = {}): Tensor {
  return rand(x.shape, likeOptions("randLike", x, options));
}

/** `randn` with the shape, type and device of another tensor. */
export function randnLike(x: Tensor, options: TensorOptions = {}): Tensor {
  return randn(x.shape, likeOptions("randnLike", x, options));
}

/** Whole random numbers in [low, high) with the shape, type and device of another tensor. */
export function randintLike(x: Tensor, low: number, high: number, options: TensorOptions = {}): Tensor {
  const { dtype, device } = likeOptions("randintLike", x, options);
  checkOptions("make a tensor", options, OPTIONS);
  return finish(randint(low, high, x.shape, device === undefined ? {} : { device }).to(dtype!), options);
}

/** The same values; a run that finds no distribution in them throws. */
function checked(x: Tensor, kind: DistributionKind, action: string, draws = 1): Tensor {
  const p = { kind, action, draws };
  if (kind === "probability" || kind === "deviation") return apply(checkDistribution, [x], p);
  const possible = (kind === "weights" ? x.gt(0) : x.isfinite()).to("i32").sum(-1);
  return apply(checkDistribution, [x, possible], p);
}

/**
 * 1 with probability p, else 0: of the shape and type of a tensor of probabilities, or `shape` of one probability.
 * Nothing flows back to p.
 */
export function bernoulli(p: Operand, shape?: Shape, options: TensorOptions = {}): Tensor {
  if (typeof p === "number") {
    if (!(p >= 0 && p <= 1)) throw new RangeError(`Cannot draw with probability ${p}: it lies in [0, 1]`);
    const { dtype = "f32", device } = options;
    checkOptions("make a tensor", options, OPTIONS);
    if (shape === undefined) {
      throw new TypeError(
        "Cannot draw with one probability without a shape: give it, as in bernoulli(0.5, [2, 3])",
      );
    }
    return finish(rand(shape, device === undefined ? {} : { device }).lt(p).to(dtype), options);
  }
  checkOptions("make a tensor", options, OPTIONS);
  const x = asTensor("draw", p, "probability"), { dtype = x.dtype } = options;
  const known = checked(isFloat(x.dtype) ? x : x.to("f32"), "probability", "draw").stopGradient();
  return finish(rand(shape ?? x.shape, { device: x.device }).lt(known).to(dtype), options);
}

/**
 * Class numbers (i32) drawn from unnormalised log-probabilities `[..., C]`: `[...shape, ...]` of them, independent, by
 * the largest of logits and Gumbel noise (Gumbel, 1954).
 */
export function categorical(logits: Tensor, shape: Shape = []): Tensor {
  const x = asTensor("draw classes", logits, "list of logits");
  if (x.rank === 0 || x.shape[x.rank - 1] === 0) {
    throw new RangeError(
      `Cannot draw classes by logits of shape ${showShape(x.shape)}: the last axis holds the classes`,
    );
  }
  checkShape("draw classes", shape);
  const known = checked(x.to("f32"), "logits", "draw classes").stopGradient();
  return known.add(gumbel([...shape, ...x.shape], { device: x.device })).argmax(-1);
}

/** Options of {@linkcode multinomial}. */
export interface MultinomialOptions {
  /** Whether a class can be drawn several times; default false. */
  replacement?: boolean;
}

/**
 * `draws` class numbers (i32) `[..., draws]` for each row of weights `[..., C]`, which need not add up to 1. Without
 * replacement by the largest keys ln w + Gumbel noise: Efraimidis and Spirakis (2006), "Weighted random sampling with a
 * reservoir". A run throws where weights are negative or not finite, or fewer than the draws are above 0.
 */
export function multinomial(weights: Tensor, draws: number, options: MultinomialOptions = {}): Tensor {
  const x = asTensor("draw classes", weights, "list of weights"), C = x.shape[x.rank - 1];
  checkOptions("draw classes", options, ["replacement"]);
  const { replacement = false } = options;
  if (x.rank === 0 || C === 0) {
    throw new RangeError(
      `Cannot draw classes by weights of shape ${showShape(x.shape)}: the last axis holds the classes`,
    );
  }
  if (!Number.isInteger(draws) || draws < 1 || (!replacement && draws > C)) {
    throw new RangeError(
      `Cannot draw ${draws} of ${C} classes: give a whole number from 1` +
        (replacement ? "" : `, at most ${C} without { replacement: true }`),
    );
  }
  const w = checked(x.to("f32"), "weights", "draw classes", replacement ? 1 : draws).stopGradient();
  if (!replacement) return w.log().add(gumbel(x.shape, { device: x.device })).topk(draws, -1).indices;
  const sums = w.cumsum(-1), u = rand([...x.shape.slice(0, -1), draws], { device: x.device });
  const found = searchsorted(sums, u.mul(sums.narrow(-1, C - 1, 1)), { right: true });
  // Sums may round so that a class of weight 0 is found: the last one before it that has a weight is meant.
  const possible = w.arangeLike(C, "i32").expand(x.shape).where(w.gt(0), -1).cummax(-1).values;
  return possible.gather(-1, found.minimum(C - 1)); // beyond only by weights that are refused
}

/** Zeroes elements with probability `p` and scales the others by 1 / (1 - p). */
export function dropout(x: Tensor, p = 0.5): Tensor {
  return dropped(x, p, x.shape);
}

/** The same for all elements that share a draw; `shape` broadcasts to that of x. */
function dropped(x: Tensor, p: number, shape: Shape): Tensor {
  const keep = kept(x, p, shape);
  return keep === true ? x : keep === false ? x.mul(0) : x.mul(1 / (1 - p)).where(keep, 0);
}

/** What stays: all, nothing, or as drawn. */
function kept(x: Tensor, p: number, shape: Shape): Tensor | boolean {
  asTensor("drop out", x);
  if (!(p >= 0 && p <= 1)) throw new RangeError(`Cannot drop out with probability ${p}: it lies in [0, 1]`);
  if (p === 0 || p === 1) return p === 0;
  return rand(shape, { device: x.device }).ge(p);
}

/** A draw for each channel: `[N, C, 1, ...]`, or `[C, 1, ...]` where there is no batch. */
function channels(x: Tensor, axes: number, ranks: readonly number[]): Shape {
  asTensor("drop out", x);
  if (!ranks.includes(x.rank)) {
    throw new RangeError(
      `Cannot drop out channels of a tensor of shape ${showShape(x.shape)}: it must have ${
        ranks.join(" or ")
      } axes`,
    );
  }
  return x.shape.map((n, i) => i < x.rank - axes ? n : 1);
}

/** {@linkcode dropout} of whole channels of `[N, C, T]` or `[C, T]`: Tompson et al. (2015). */
export function dropout1d(x: Tensor, p = 0.5): Tensor {
  return dropped(x, p, channels(x, 1, [2, 3]));
}

/** {@linkcode dropout} of whole channels of `[N, C, H, W]`. */
export function dropout2d(x: Tensor, p = 0.5): Tensor {
  return dropped(x, p, channels(x, 2, [4]));
}

/** {@linkcode dropout} of whole channels of `[N, C, D, H, W]` or `[C, D, H, W]`. */
export function dropout3d(x: Tensor, p = 0.5): Tensor {
  return dropped(x, p, channels(x, 3, [4, 5]));
}

/** The limit of selu at -infinity, which dropped elements become. */
const SELU_FLOOR = -1.7580993408473766;

/** Dropped to the floor of selu, then a x + b with which mean 0 and variance 1 stay. */
function dropToFloor(x: Tensor, p: number, shape: Shape): Tensor {
  const keep = kept(x, p, shape);
  if (typeof keep === "boolean") return keep ? x : x.mul(0);
  const a = 1 / Math.sqrt((SELU_FLOOR ** 2 * p + 1) * (1 - p));
  return x.where(keep, SELU_FLOOR).mul(a).sub(a * p * SELU_FLOOR);
}

/** Dropout that keeps mean 0 and variance 1, for selu: Klambauer et al. (2017), "Self-normalizing neural networks". */
export function alphaDropout(x: Tensor, p = 0.5): Tensor {
  return dropToFloor(x, p, x.shape);
}

/** {@linkcode alphaDropout} of whole channels of `[N, C, ...]`. */
export function featureAlphaDropout(x: Tensor, p = 0.5): Tensor {
  asTensor("drop out", x);
  if (x.rank < 2) {
    throw new RangeError(
      `Cannot drop out channels of a tensor of shape ${showShape(x.shape)}: it must be [N, C, ...]`,
    );
  }
  return dropToFloor(x, p, x.shape.map((n, i) => i < 2 ? n : 1));
}
