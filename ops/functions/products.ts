/** Products of tensors as functions. */
import * as P from "../definitions/products.ts";
import { asTensor, asTensors, type Tensor } from "../tensor.ts";

/**
 * Products summed over `axes`: a number n for the last n of x and the first n of y, or lists of axes of both. The other
 * axes of x come first, then those of y.
 */
export function tensordot(x: Tensor, y: Tensor, axes: P.Contracted = 2): Tensor {
  return P.tensordot(asTensor("tensordot", x), asTensor("tensordot", y), axes);
}

/** The product of matrices, in the order that takes the fewest multiplications; one is itself. */
export function chainMatmul(...matrices: Tensor[]): Tensor {
  asTensors("chainMatmul", matrices);
  return matrices.length === 1 ? matrices[0] : P.multiDot(matrices);
}

/** `z_o = x^T W_o y + b_o` of vectors x `[..., I]` and y `[..., J]`, with weight `[O, I, J]` and bias `[O]`. */
export function bilinear(x: Tensor, y: Tensor, weight: Tensor, bias?: Tensor | null): Tensor {
  const [a, b, w] = [x, y, weight].map((t) => asTensor("bilinear", t));
  return P.bilinear(a, b, w, bias === undefined || bias === null ? null : asTensor("bilinear", bias, "bias"));
}
