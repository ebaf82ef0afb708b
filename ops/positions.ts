/** Places that hang on values, found on the host: of what is not 0, and of the first of equal rows. */
import { type Shape, sizeOf } from "./shape.ts";

/** The indices `[count, rank]` of places in row-major order. */
export function indicesOf(places: Int32Array, shape: Shape): Int32Array<ArrayBuffer> {
  const rank = shape.length, out = new Int32Array(places.length * rank);
  places.forEach((place, i) => {
    let rest = place;
    for (let a = rank - 1; a >= 0; a--) {
      out[i * rank + a] = rest % shape[a];
      rest = Math.floor(rest / shape[a]);
    }
  });
  return out;
}

/** Where elements are not 0 (NaN is not), in row-major order. */
export function truePlaces(data: ArrayLike<number>): Int32Array<ArrayBuffer> {
  const out: number[] = [];
  for (let i = 0; i < data.length; i++) if (data[i] !== 0) out.push(i);
  return Int32Array.from(out);
}

/** Groups of equal rows, in the order of the result. */
export interface Groups {
  /** The first row of each group. */
  readonly first: Int32Array<ArrayBuffer>;
  /** The group of each row. */
  readonly inverse: Int32Array<ArrayBuffer>;
  /** How many rows are in each group. */
  readonly counts: Int32Array<ArrayBuffer>;
}

/**
 * Groups of equal rows among `n` rows of `[n, width]`: sorted (lexicographically, NaN last and never equal), or only of
 * neighbours.
 */
export function groupRows(data: ArrayLike<number>, shape: Shape, sorted: boolean): Groups {
  const n = shape[0], width = sizeOf(shape.slice(1));
  /** Negative, 0 or positive as row i goes before, with or behind row j; two NaN go with each other. */
  const compare = (i: number, j: number): number => {
    for (let k = 0; k < width; k++) {
      const v = data[i * width + k], w = data[j * width + k];
      if (v < w) return -1;
      if (v > w) return 1;
      if (v !== w && Number.isNaN(v) !== Number.isNaN(w)) return Number.isNaN(v) ? 1 : -1;
    }
    return 0;
  };
  const isEqual = (i: number, j: number): boolean => {
    for (let k = 0; k < width; k++) if (data[i * width + k] !== data[j * width + k]) return false;
    return true;
  };
  const order = Array.from({ length: n }, (_, i) => i);
  if (sorted) order.sort(compare);
  const first: number[] = [], counts: number[] = [], inverse = new Int32Array(n);
  order.forEach((row, place) => {
    if (place === 0 || !isEqual(order[place - 1], row)) {
      first.push(row);
      counts.push(0);
    }
    counts[counts.length - 1]++;
    inverse[row] = first.length - 1;
  });
  return { first: Int32Array.from(first), inverse, counts: Int32Array.from(counts) };
}
