/** The matrix exponential, by a Taylor polynomial with scaling and squaring. */
import { apply } from "../../node.ts";
import type { Tuple } from "../../primitive.ts";
import type { Tensor } from "../../tensor.ts";
import { cat } from "../indexing.ts";
import { tupleOutputs } from "../structural.ts";
import { eyeLike, tuple } from "./common.ts";

/** At a norm of 1/2 the next term is below 1e-21. */
const DEGREE = 17;
/** Enough for a norm of 8 million, where single precision has no digits of the result left. */
const SQUARINGS = 24;

/** The value: `(p(a / 2^s))^(2^s)` with s for each matrix by its largest sum of a column. */
function value(a: Tensor): Tensor {
  const eye = eyeLike(a, a.shape[a.rank - 1]);
  const norm = a.abs().sum(-2, { keepdim: true }).amax(-1, { keepdim: true }); // [..., 1, 1]
  let scaled = a, limit = 0.5;
  const squared: Tensor[] = [];
  for (let k = 0; k < SQUARINGS; k++, limit *= 2) {
    squared.push(norm.gt(limit));
    scaled = scaled.mul(0.5).where(squared[k], scaled);
  }
  let y = eye;
  for (let k = DEGREE; k > 0; k--) y = scaled.matmul(y).mul(1 / k).add(eye);
  for (const more of squared) y = y.matmul(y).where(more, y);
  return y;
}

/** The derivative of e^a along e: the upper right block of `exp [[a, e], [0, a]]` (Mathias 1996). */
function along(a: Tensor, e: Tensor): Tensor {
  const n = a.shape[a.rank - 1], last = a.rank - 1;
  const upper = apply(cat, [a, e], { axis: last }), lower = apply(cat, [a.zerosLike(), a], { axis: last });
  const block = apply(cat, [upper, lower], { axis: last - 1 }); // [..., 2 N, 2 N]
  return exponential(block).narrow(-2, 0, n).narrow(-1, n, n);
}

/** `e^a` of input 0, given as input 1; both derivatives are exponentials of block matrices (Al-Mohy and Higham 2009). */
export const matrixExp: Tuple = tuple({
  name: "matrixExp",
  tex: ([a]) => `e^{${a}}`,
  texPullbacks: ([x], f) => [`\\int_0^1 e^{s {${x}}^\\top} \\bar{${f}}\\,e^{(1 - s) {${x}}^\\top} ds`],
  outputs: (x) => x.slice(1),
  expand: (x) => x.slice(1),
  vjp: ([ct], { x: [a] }) => [along(a.mT(), ct!), null],
  jvp: ([da], { x: [a] }) => [da === null ? null : along(a, da)],
  samples: [[2, 3, 3], [1, 1]].map((shape) => ({
    shapes: [shape],
    call: (x: Tensor) => exponential(x),
    slack: 5,
    notSpecial: "powers of infinities and NaN",
  })),
});

/** `e^a`. */
export function exponential(a: Tensor): Tensor {
  return a.shape[a.rank - 1] === 0 ? a : tupleOutputs(matrixExp, [a, value(a.stopGradient())], null)[0];
}
