/** Shapes, axes and strides: pure arithmetic on lists of lengths. */

/** Axis lengths, outermost first; `[]` is a scalar. */
export type Shape = readonly number[];

/** Number of elements. */
export function sizeOf(shape: Shape): number {
  let size = 1;
  for (let i = 0; i < shape.length; i++) size *= shape[i];
  return size;
}

/** Whether two shapes are the same. */
export function sameShape(a: Shape, b: Shape): boolean {
  if (a === b) return true;
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** A shape as people write it: `[2,3]`. */
export function showShape(shape: Shape): string {
  return `[${shape.join(",")}]`;
}

/** Row-major strides in elements. */
export function stridesOf(shape: Shape): number[] {
  const strides = new Array<number>(shape.length);
  for (let i = shape.length - 1, s = 1; i >= 0; i--) {
    strides[i] = s;
    s *= shape[i];
  }
  return strides;
}

/** Strides of an array broadcast to `shape`: 0 along axes that it lacks or has with length 1. */
export function broadcastStrides(x: { shape: Shape; strides: readonly number[] }, shape: Shape): number[] {
  const extra = shape.length - x.shape.length;
  return shape.map((_, i) => i < extra || x.shape[i - extra] === 1 ? 0 : x.strides[i - extra]);
}

/** Two shapes below each other as they broadcast, from the last axis, with a mark below the k-th of them from the end. */
export function alignShapes(a: Shape, b: Shape, k: number): string {
  const rank = Math.max(a.length, b.length);
  const cell = (s: Shape, i: number): string => i < rank - s.length ? "" : String(s[i - rank + s.length]);
  const widths = Array.from({ length: rank }, (_, i) => Math.max(cell(a, i).length, cell(b, i).length));
  const line = (s: Shape): string =>
    widths.map((width, i) =>
      cell(s, i).padStart(width) + (i === rank - 1 ? "]" : i < rank - s.length ? "  " : ", ")
    )
      .join("");
  const at = widths.slice(0, rank - k + 1).reduce((sum, width) => sum + width + 2, 0) - 2;
  return `\n  [${line(a)}\n  [${line(b)}\n  ${" ".repeat(at)}^`;
}

/** The shape that operands broadcast to, or an error that names the action and both shapes. */
export function broadcastShapes(action: string, a: Shape, b: Shape): Shape {
  if (sameShape(a, b)) return a;
  const rank = Math.max(a.length, b.length);
  const out = new Array<number>(rank);
  for (let k = 1; k <= rank; k++) {
    const m = k <= a.length ? a[a.length - k] : 1, n = k <= b.length ? b[b.length - k] : 1;
    if (m !== n && m !== 1 && n !== 1) {
      throw new RangeError(
        `Cannot ${action} shapes ${showShape(a)} and ${showShape(b)}: ` +
          `axis -${k} has lengths ${m} and ${n}, which must be equal or 1${alignShapes(a, b, k)}`,
      );
    }
    out[rank - k] = m === 1 ? n : m;
  }
  return out;
}

/** Axis counted from the front; negative ones count from the back. */
export function normalizeAxis(action: string, axis: number, rank: number): number {
  if (!Number.isInteger(axis) || axis < -rank || axis >= rank) {
    throw new RangeError(
      rank === 0
        ? `Cannot ${action} along axis ${axis} of a scalar: it has no axes`
        : `Cannot ${action} along axis ${axis} of a tensor of rank ${rank}: axes go from ${-rank} to ${
          rank - 1
        }`,
    );
  }
  return axis < 0 ? axis + rank : axis;
}

/** Distinct axes in ascending order; `undefined` means all of them. */
export function normalizeAxes(
  action: string,
  axes: number | readonly number[] | undefined,
  rank: number,
): number[] {
  if (axes === undefined) return Array.from({ length: rank }, (_, i) => i);
  const list = typeof axes === "number" ? [axes] : axes;
  const out = list.map((a) => normalizeAxis(action, a, rank)).sort((a, b) => a - b);
  for (let i = 1; i < out.length; i++) {
    if (out[i] === out[i - 1]) throw new RangeError(`Cannot ${action}: axis ${out[i]} is named twice`);
  }
  return out;
}

/** Checks that every length is a whole number that is not negative. */
export function checkShape(action: string, shape: Shape): void {
  if (!Array.isArray(shape)) {
    throw new TypeError(`Cannot ${action}: a shape is an array of lengths, not ${typeof shape}`);
  }
  for (const n of shape) {
    if (!Number.isInteger(n) || n < 0) {
      throw new RangeError(`Cannot ${action} of shape ${showShape(shape)}: ${n} is not a length`);
    }
  }
}

/** The axis split `[outer, length, inner]` around one axis. */
export function splitAt(shape: Shape, axis: number): [outer: number, length: number, inner: number] {
  return [sizeOf(shape.slice(0, axis)), shape[axis], sizeOf(shape.slice(axis + 1))];
}

/** The axes of a permutation's inverse. */
export function inversePermutation(axes: readonly number[]): number[] {
  const out = new Array<number>(axes.length);
  axes.forEach((a, i) => out[a] = i);
  return out;
}
