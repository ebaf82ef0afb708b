/** Sorting on the host: a stable merge sort of places by values, several times as fast as an array's with a comparison. */
import type { TypedArray } from "../../ops/dtype.ts";

/** The order which sorts each line of `x`, NaN being larger than everything. Self-contained: it is copied for each type. */
export function argsortLines(
  x: TypedArray,
  y: TypedArray,
  outer: number,
  n: number,
  inner: number,
  descending = false,
): void {
  const RUN = 8;
  const v = new Float64Array(n);
  let from = new Int32Array(n), to = new Int32Array(n);
  /** Whether `a` stands before `b` though it comes after it. */
  const overtakes = (a: number, b: number): boolean =>
    descending ? a > b || (a !== a && b === b) : a < b || (b !== b && a === a);
  for (let o = 0; o < outer; o++) {
    for (let i = 0; i < inner; i++) {
      const start = o * n * inner + i;
      for (let k = 0; k < n; k++) v[k] = x[start + k * inner];
      // Short runs by insertion, then runs of twice the length from two.
      for (let first = 0; first < n; first += RUN) {
        const last = Math.min(n, first + RUN);
        for (let k = first; k < last; k++) {
          let at = k;
          while (at > first && overtakes(v[k], v[from[at - 1]])) from[at] = from[--at];
          from[at] = k;
        }
      }
      for (let width = RUN; width < n; width *= 2) {
        for (let first = 0; first < n; first += 2 * width) {
          const middle = Math.min(n, first + width), last = Math.min(n, first + 2 * width);
          let a = first, b = middle;
          for (let k = first; k < last; k++) {
            const right = b < last && (a >= middle || overtakes(v[from[b]], v[from[a]]));
            to[k] = right ? from[b++] : from[a++];
          }
        }
        [from, to] = [to, from];
      }
      for (let k = 0; k < n; k++) y[start + k * inner] = from[k];
    }
  }
}
