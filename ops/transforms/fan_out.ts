/** Fan-out: what the uses of a value give to its cotangent adds up. */
import { cat, paddedOf } from "../definitions/indexing.ts";
import { apply, wrap } from "../node.ts";
import type { Tensor } from "../tensor.ts";

/** The cotangent of one value, use by use. */
export class FanOut {
  /** Of uses of the whole, added up as they come, so that none has to wait in memory. */
  #sum: Tensor | null = null;
  /** Of uses of windows, with zeros around each; null without any, as most values are. */
  #windows: Tensor[] | null = null;

  /** One more use. */
  add(ct: Tensor): void {
    if (paddedOf(ct.node) !== null) (this.#windows ??= []).push(ct);
    else this.#sum = this.#sum?.add(ct) ?? ct;
  }

  /** The sum. */
  total(): Tensor {
    const windows = this.#windows, sum = this.#sum;
    if (windows === null) return sum!;
    if (windows.length === 1 && sum === null) return windows[0];
    const whole = joined(windows), rest = whole === null ? windows.map(again) : [whole];
    return rest.reduce((sum: Tensor | null, ct) => sum?.add(ct) ?? ct, sum)!;
  }
}

/** Windows that cover the whole once, as a split value has them, one behind the other: no zeros and no sums. */
function joined(windows: readonly Tensor[]): Tensor | null {
  const { shape } = windows[0], parts = windows.map((ct) => paddedOf(ct.node)!);
  const axis = shape.findIndex((n, a) => parts[0].x.shape[a] !== n);
  if (axis < 0) return null;
  parts.sort((a, b) => a.starts[axis] - b.starts[axis]);
  let end = 0;
  for (const { x, starts } of parts) {
    const follows = shape.every((n, a) => a === axis ? starts[a] === end : x.shape[a] === n);
    if (!follows) return null;
    end += x.shape[axis];
  }
  return end === shape[axis] ? apply(cat, parts.map(({ x }) => wrap(x)), { axis }) : null;
}

/** The same window as a new node, so that its zeros are made when they are added and not before. */
function again({ node: { op, inputs: [x], p } }: Tensor): Tensor {
  return apply(op, [wrap(x)], p);
}
