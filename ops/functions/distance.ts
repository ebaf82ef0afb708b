/** Directions of vectors and how far they agree. */
import * as D from "../definitions/distance.ts";
import { isFloat, isHalf } from "../dtype.ts";
import { broadcastShapes, normalizeAxis } from "../shape.ts";
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
