/** Directions of vectors and how far they agree. */
import * as D from "../definitions/distance.ts";
import { isFloat, isHalf } from "../dtype.ts";
import { broadcastShapes, normalizeAxis, showShape } from "../shape.ts";
import { asTensor, checkOptions, type Tensor } from "../tensor.ts";

/** Options of {@linkcode normalize}. */
export interface NormalizeOptions {
  /** The order of the norm; default 2. */
  p?: number;
  /** The axis of the vectors; default 1, as in PyTorch. */
  axis?: number;
  /** Shorter vectors are divided by this; default 1e-12. */
  eps?: number;
}

/** x / max(|x|_p, ε) along an axis; vectors of zeros stay zeros, with a gradient of ct / ε. */
export function normalize(x: Tensor, options: NormalizeOptions = {}): Tensor {
  asTensor("normalize", x);
  checkOptions("normalize", options, ["p", "axis", "eps"]);
  const { p = 2, axis = 1, eps = 1e-12 } = options;
  const float = isFloat(x.dtype) ? x : x.to("f32");
  return inSingle(
    [float],
    ([t]) => D.normalize(t, { p, axis: normalizeAxis("normalize", axis, x.rank), eps }),
  );
}

/** Options of {@linkcode cosineSimilarity}. */
export interface CosineOptions {
  /** The axis of the vectors, of the broadcast shape; default 1, as in PyTorch. */
  axis?: number;
  /** Shorter vectors are divided by this; default 1e-8. */
  eps?: number;
}

/** x · y / (max(|x|, ε) max(|y|, ε)) along an axis, which vanishes; operands broadcast. */
export function cosineSimilarity(x: Tensor, y: Tensor, options: CosineOptions = {}): Tensor {
  const action = "take the cosineSimilarity";
  asTensor(action, x, "first operand");
  asTensor(action, y, "second operand");
  checkOptions(action, options, ["axis", "eps"]);
  const { axis = 1, eps = 1e-8 } = options, shape = broadcastShapes(action, x.shape, y.shape);
  const at = normalizeAxis("cosineSimilarity", axis, shape.length);
  const both = [x, y].map((t) => isFloat(t.dtype) ? t : t.to("f32"));
  return inSingle(both, ([a, b]) =>
    // A length of 1 along the axis stands for that many equal elements.
    D.cosineSimilarity(widen(a, shape, at), widen(b, shape, at), { axis: at, eps }));
}

/** Refuses an order that is no number. */
function checkOrder(action: string, p: unknown): void {
  if (typeof p === "number" && !Number.isNaN(p)) return;
  throw new TypeError(`Cannot take the ${action} of order ${String(p)}: it is a number or Infinity`);
}

/** Distances of all pairs have orders from 0 on. */
function checkPairOrder(action: string, p: number): void {
  checkOrder(action, p);
  if (p < 0) throw new RangeError(`Cannot take the ${action} of order ${p}: it must not be negative`);
}

/** Floating point operands of one type. */
function floats(...tensors: Tensor[]): Tensor[] {
  return tensors.map((t) => isFloat(t.dtype) ? t : t.to("f32"));
}

/**
 * Distances `[..., P, R]` in the p-norm of all rows of x `[..., P, D]` to all rows of y `[..., R, D]`; leading axes
 * broadcast. Where two rows coincide the gradient is 0.
 */
export function cdist(x: Tensor, y: Tensor, p = 2): Tensor {
  for (const t of [x, y]) {
    if (asTensor("take the cdist", t).rank < 2) {
      throw new RangeError(`Cannot take the cdist of shape ${showShape(t.shape)}: rows are [..., P, D]`);
    }
  }
  checkPairOrder("cdist", p);
  const [m, n] = [x, y].map((t) => t.shape[t.rank - 1]);
  if (m !== n) {
    throw new RangeError(
      `Cannot take the cdist of shapes ${showShape(x.shape)} and ${
        showShape(y.shape)
      }: the last axes have lengths ${m} and ${n}, which must be equal`,
    );
  }
  return inSingle(floats(x, y), ([a, b]) => D.cdist(a, b, p));
}

/** Distances in the p-norm of all pairs of rows i < j of x `[N, D]`, those of row 0 first. */
export function pdist(x: Tensor, p = 2): Tensor {
  if (asTensor("take the pdist", x).rank !== 2) {
    throw new RangeError(`Cannot take the pdist of shape ${showShape(x.shape)}: rows are [N, D]`);
  }
  checkPairOrder("pdist", p);
  return inSingle(floats(x), ([a]) => D.pdist(a, p));
}

/** Options of {@linkcode pairwiseDistance}. */
export interface PairwiseDistanceOptions {
  /** The order of the norm; default 2. */
  p?: number;
  /** Added to each difference; default 1e-6. */
  eps?: number;
  /** Keep the last axis with length 1. */
  keepdim?: boolean;
}

/** |x - y + eps|_p along the last axis; operands broadcast. */
export function pairwiseDistance(x: Tensor, y: Tensor, options: PairwiseDistanceOptions = {}): Tensor {
  asTensor("take the pairwiseDistance", x, "first operand");
  asTensor("take the pairwiseDistance", y, "second operand");
  checkOptions("take the pairwiseDistance", options, ["p", "eps", "keepdim"]);
  const { p = 2, eps = 1e-6, keepdim = false } = options;
  checkOrder("pairwiseDistance", p);
  return inSingle(floats(x, y), ([a, b]) => D.pairwiseDistance(a, b, { p, eps, keepdim }));
}

function widen(x: Tensor, shape: readonly number[], axis: number): Tensor {
  const own = axis - (shape.length - x.rank);
  return x.expand(
    own < 0
      ? [...shape.slice(axis, axis + 1), ...Array(-own - 1).fill(1), ...x.shape]
      : x.shape.map((n, i) => i === own ? shape[axis] : n),
  );
}

/** Half precision goes through single: small limits would be 0 in it. */
function inSingle(x: Tensor[], f: (x: Tensor[]) => Tensor): Tensor {
  return x.some((t) => isHalf(t.dtype))
    ? f(x.map((t) => isHalf(t.dtype) ? t.to("f32") : t)).to(x[0].dtype)
    : f(x);
}
