/** Index arithmetic of strided operands: axes that several operands walk alike are taken as one. */
import type { View } from "../../ops/primitive.ts";
import { type Shape, sizeOf } from "../../ops/shape.ts";

/** Lengths of an iteration and, for each operand, its step along each axis, in elements. */
export interface Walk {
  readonly lengths: number[];
  readonly steps: number[][];
}

/** Drops axes of length 1 and joins neighbours which every operand walks without a seam. */
export function collapse(shape: Shape, strides: readonly (readonly number[])[]): Walk {
  const lengths: number[] = [], steps: number[][] = strides.map(() => []);
  for (let axis = 0; axis < shape.length; axis++) {
    const n = shape[axis];
    if (n === 1) continue;
    const last = lengths.length - 1;
    if (last >= 0 && strides.every((s, k) => steps[k][last] === s[axis] * n)) {
      lengths[last] *= n;
      strides.forEach((s, k) => steps[k][last] = s[axis]);
    } else {
      lengths.push(n);
      strides.forEach((s, k) => steps[k].push(s[axis]));
    }
  }
  return { lengths, steps };
}

/** Elements from the first to one past the last that a view reaches, counted from its base. */
export function reach(view: View): number {
  if (sizeOf(view.shape) === 0) return 0;
  return view.offset + 1 + view.strides.reduce((sum, s, i) => sum + Math.max(0, s) * (view.shape[i] - 1), 0);
}
