/** What functions over spatial axes share: arguments given once or for each axis, and the axes in front. */
import { type Shape, showShape } from "../shape.ts";
import { asTensor, type Tensor } from "../tensor.ts";

/** A whole number for all spatial axes, or one for each. */
export type PerAxis = number | readonly number[];

/** The same word for 1, 2 and 3 axes, and the axes as people write them. */
export const AXES: readonly string[] = ["", "[L]", "[H, W]", "[D, H, W]"];

/** A number for each of `rank` spatial axes, from `least` on. */
export function perAxis(action: string, what: string, value: PerAxis, rank: number, least: number): number[] {
  // A list of one number, like a number, is for all axes.
  const list = typeof value === "number" ? [value] : value;
  const all = Array.isArray(list) && list.length === 1 ? Array<number>(rank).fill(list[0]) : list;
  if (!Array.isArray(all) || all.length !== rank || all.some((n) => !Number.isInteger(n) || n < least)) {
    const shown = JSON.stringify(value) ?? String(value);
    throw new RangeError(
      `Cannot ${action} with ${what} ${shown}: give one whole number from ${least} on` +
        (rank === 1 ? "" : `, or one for each of ${AXES[rank]}`),
    );
  }
  return all;
}

/** Checks that x is `[channels, ...axes]` or `[batch, channels, ...axes]` with `rank` spatial axes. */
export function spatial(action: string, x: unknown, rank: number): Tensor {
  const t = asTensor(action, x, "input");
  if (t.rank !== rank + 1 && t.rank !== rank + 2) {
    const axes = AXES[rank].slice(1);
    throw new RangeError(
      `Cannot ${action} a tensor of shape ${showShape(t.shape)}: it must be [batch, channels, ${axes}` +
        ` or, for one example, [channels, ${axes}`,
    );
  }
  return t;
}

/** The product of axes before the last `rank` ones as one axis, and how to undo it. */
export function joinLeading(x: Tensor, rank: number): { flat: Tensor; back: (y: Tensor) => Tensor } {
  const front = x.shape.slice(0, x.rank - rank);
  return {
    flat: x.reshape([front.reduce((n, m) => n * m, 1), ...x.shape.slice(x.rank - rank)]),
    back: (y) => y.reshape([...front, ...y.shape.slice(1)]),
  };
}

/** Number of windows of `extent` places that fit, in steps of `stride`, into `length` places. */
export function windowsIn(length: number, extent: number, stride: number): number {
  return Math.floor((length - extent) / stride) + 1;
}

/** Refuses windows that do not fit into the padded input. */
export function checkFits(
  action: string,
  x: Shape,
  padded: Shape,
  extent: Shape,
  kernel: Shape,
): void {
  padded.forEach((n, a) => {
    if (n >= extent[a]) return;
    const axis = x.length - padded.length + a;
    throw new RangeError(
      `Cannot ${action} shape ${showShape(x)} with a kernel of shape ${
        showShape(kernel)
      }: on axis ${axis} the kernel ` +
        `spans ${
          extent[a]
        } places (with its dilation) and the padded input has ${n}; pad more, or take a smaller kernel`,
    );
  });
}
