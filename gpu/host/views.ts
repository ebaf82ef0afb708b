/** How kernels read values: windows onto arrays, so that movements copy nothing. */
import { wholeView } from "../../ops/definitions/movement.ts";
import type { View } from "../../ops/primitive.ts";
import type { Shape } from "../../ops/shape.ts";
import type { DynamicPart } from "./schedule.ts";

/** How to read a value: a window onto a slot, or a number. */
export interface Access {
  /** Slot, or -1 for a number. */
  readonly slot: number;
  readonly constant: number;
  readonly view: View;
  readonly dynamic: readonly DynamicPart[];
}

/** Of what no kernel reads. */
export const NOWHERE: Access = { slot: -1, constant: -1, view: wholeView([]), dynamic: [] };
/** All of a slot. */
export function whole(slot: number, shape: Shape): Access {
  return { slot, constant: -1, view: wholeView(shape), dynamic: [] };
}

/** A list with its last two swapped. */
export function swapLast(list: readonly number[]): number[] {
  const n = list.length;
  return [...list.slice(0, n - 2), list[n - 1], list[n - 2]];
}

/** A matrix in each place with rows and columns swapped. */
export function transposed({ shape, strides, offset }: View): View {
  return { shape: swapLast(shape), strides: swapLast(strides), offset };
}

/** Whether elements lie in row-major order without gaps. */
export function isRowMajor(view: View): boolean {
  let step = 1;
  for (let a = view.shape.length - 1; a >= 0; a--) {
    if (view.shape[a] !== 1 && view.strides[a] !== step) return false;
    step *= view.shape[a];
  }
  return true;
}
