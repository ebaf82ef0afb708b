/** Products under their names in linear algebra. */
import * as P from "../definitions/products.ts";
import { asTensor, asTensors, type Tensor } from "../tensor.ts";

/** The product of matrices, in the order that takes the fewest multiplications; the first and last may be vectors. */
export function multiDot(tensors: readonly Tensor[]): Tensor {
  return P.multiDot(asTensors("multiDot", tensors));
}

/** The cross product along an axis of length 3 (the last by default); other axes broadcast. */
export function cross(x: Tensor, y: Tensor, axis = -1): Tensor {
  return asTensor("cross", x).cross(y, axis);
}

/** Vandermonde's matrices: powers 0 to `columns` - 1 (default: as many as elements) of the last axis, as rows. */
export function vander(x: Tensor, columns?: number): Tensor {
  const v = asTensor("vander", x).rank === 0 ? x.reshape([1]) : x;
  const n = columns ?? v.shape[v.rank - 1];
  if (!Number.isInteger(n) || n < 1) {
    throw new RangeError(`Cannot vander with ${n} columns: give a whole number above 0`);
  }
  return P.vander(v, n);
}

/** Sums of products along an axis (the last by default); operands broadcast. */
export function vecdot(x: Tensor, y: Tensor, axis = -1): Tensor {
  return asTensor("vecdot", x).mul(asTensor("vecdot", y)).sum(axis);
}
