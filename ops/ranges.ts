/** Ranges of places along axes, as `slice` takes them. */
import { type Shape, showShape } from "./shape.ts";

/**
 * Places along one axis: a number picks one and drops the axis, `[start, stop]` or `[start, stop, step]` a range
 * (negative places count from the back, `null` means the end), `":"` all.
 */
export type SliceRange = number | ":" | readonly [number | null, (number | null)?, number?];

/** A window with the axes that are gone through backwards, and those that vanish. */
export interface RangedWindow {
  readonly starts: number[];
  readonly sizes: number[];
  readonly steps: number[];
  readonly backward: number[];
  /** Axis lengths of the result, without the axes that a number picked from. */
  readonly shape: number[];
}

/** What ranges mean for a shape; axes without one are taken whole. */
export function windowOf(shape: Shape, ranges: readonly SliceRange[]): RangedWindow {
  if (ranges.length > shape.length) {
    throw new RangeError(
      `Cannot slice ${showShape(shape)} by ${ranges.length} ranges: it has ${shape.length} axes`,
    );
  }
  const starts: number[] = [], sizes: number[] = [], steps: number[] = [], backward: number[] = [];
  shape.forEach((n, i) => {
    const r = ranges[i] ?? ":";
    if (r === ":") {
      starts.push(0), sizes.push(n), steps.push(1);
    } else if (typeof r === "number") {
      const at = r < 0 ? r + n : r;
      if (!Number.isInteger(r) || at < 0 || at >= n) {
        throw new RangeError(
          `Cannot slice ${showShape(shape)} at place ${r} of axis ${i}: it has length ${n}`,
        );
      }
      starts.push(at), sizes.push(1), steps.push(1);
    } else {
      if (!Array.isArray(r)) {
        const given = typeof r === "string" ? `"${r}"` : (r as object).constructor?.name ?? "an object";
        throw new TypeError(
          `Cannot slice axis ${i} by ${given}: ` +
            `give a place, ":" or [start, stop, step], as in x.slice(0, [1, 3])`,
        );
      }
      const step = r[2] ?? 1;
      if (!Number.isInteger(step) || step === 0) {
        throw new RangeError(`Cannot slice axis ${i} with step ${step}: it is a whole number that is not 0`);
      }
      for (const k of [r[0], r[1]]) {
        if (k !== null && k !== undefined && !Number.isInteger(k)) {
          throw new RangeError(
            `Cannot slice axis ${i} from or to place ${k}: it is a whole number, or null for the end`,
          );
        }
      }
      const limit = (k: number | null | undefined, fallback: number): number =>
        k === null || k === undefined
          ? fallback
          : Math.min(Math.max(k < 0 ? k + n : k, step > 0 ? 0 : -1), step > 0 ? n : n - 1);
      const from = limit(r[0], step > 0 ? 0 : n - 1), to = limit(r[1], step > 0 ? n : -1);
      const count = Math.max(0, Math.ceil((to - from) / step));
      // A step backwards is a window of the same places, then a flip.
      starts.push(count === 0 ? 0 : step > 0 ? from : from + (count - 1) * step);
      sizes.push(count), steps.push(Math.abs(step));
      if (step < 0) backward.push(i);
    }
  });
  return { starts, sizes, steps, backward, shape: sizes.filter((_, i) => typeof ranges[i] !== "number") };
}
