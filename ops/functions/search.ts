/** Looking for values: where they belong among sorted ones. */
import { search } from "../definitions/order.ts";
import { isFloat } from "../dtype.ts";
import { asTensor, checkOptions, type Operand, Tensor } from "../tensor.ts";

/** Options of `searchsorted`. */
export interface SearchOptions {
  /** The last place that keeps the order instead of the first. */
  right?: boolean;
  /** The same as a word: "left" or "right". */
  side?: "left" | "right";
  /** The order that sorts the sequence, as `argsort` gives it, where it is not sorted. */
  sorter?: Tensor;
}

/**
 * The places (i32) at which `values` would be inserted to keep `sorted`, ascending along its last axis, in order: the
 * number of elements below a value, with `right` also of those equal to it. `sorted` is one line, or one for each line
 * of `values` with equal leading axes. NaN belongs at the end.
 */
export function searchsorted(sorted: Tensor, values: Operand, options: SearchOptions = {}): Tensor {
  asTensor("searchsorted", sorted, "sorted sequence");
  checkOptions("searchsorted", options, ["right", "side", "sorter"]);
  const { side = options.right ? "right" : "left", sorter } = options;
  if (side !== "left" && side !== "right") {
    throw new TypeError(`Cannot searchsorted with side ${side}: it is left or right`);
  }
  if (side === "left" && options.right) {
    throw new TypeError("Cannot searchsorted with side left and right true: give one of them");
  }
  const line = sorter === undefined ? sorted : sorted.gather(-1, sorter);
  const at = typeof values === "number"
    ? sorted.scalarLike(values, isFloat(sorted.dtype) || Number.isInteger(values) ? sorted.dtype : "f32")
    : asTensor("searchsorted", values, "values");
  return search(line, at, side === "right");
}
