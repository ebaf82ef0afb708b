/** The convolution on the host: windows laid out as columns of a matrix, a block at a time, and a matrix product. */
import { allocate, type DType, isFloat, type TypedArray } from "../../ops/dtype.ts";
import type { Convolution } from "../../ops/definitions/convolution.ts";
import type { HostArray } from "../../ops/primitive.ts";
import { type Shape, sizeOf } from "../../ops/shape.ts";
import { multiply } from "./matmul.ts";
import { specialise } from "./specialise.ts";

/** Most elements of a block of columns, and the number of columns that is enough for the product to be fast. */
const BLOCK = 1 << 19, COLUMNS = 1024, FEWEST = 64;

const scratch = new Map<string, TypedArray>();

/** An array of at least n elements which lives until the next call with the same name. */
function borrow(name: string, dtype: DType, n: number): TypedArray {
  const key = `${name} ${dtype}`;
  let found = scratch.get(key);
  if (found === undefined || found.length < n) scratch.set(key, found = allocate(dtype, n));
  return found;
}

/** Three spatial axes, the missing ones in front. */
const three = (list: Shape, filling: number): number[] => [filling, filling, filling, ...list].slice(-3);

/**
 * As the record's kernel, whose sums it repeats term by term in the same order, and whose nothing is a product with
 * zero here. False where that is not the same (a weight that is not finite), and for more than three axes.
 */
export function convolve(x: HostArray, w: HostArray, y: HostArray, p: Convolution): boolean {
  const rank = x.shape.length - 3, dtype = y.dtype;
  if (rank > 3 || isFloat(dtype) && !specialise(allFinite, dtype)(w.data)) return false;
  const [N, G, C] = x.shape, O = w.shape[1];
  const I = three(x.shape.slice(3), 1), K = three(w.shape.slice(3), 1), Y = three(p.size, 1);
  const stride = three(p.stride, 1), before = three(p.before, 0), dilation = three(p.dilation, 1);
  const spread = three(p.spread, 1);
  const inputs = sizeOf(I), outputs = sizeOf(Y), depth = C * sizeOf(K);
  if (N * G * O * outputs === 0) return true;
  if (depth === 0) {
    y.data.fill(0);
    return true;
  }
  const product = (
    g: number,
    columns: TypedArray,
    at: number,
    width: number,
    to: TypedArray,
    start: number,
  ) =>
    multiply(
      { data: w.data, offset: g * O * depth, row: depth, column: 1 },
      { data: columns, offset: at, row: width, column: 1 },
      to,
      start,
      O,
      width,
      depth,
      dtype,
    );
  const plain = K.every((k, a) =>
    k === 1 && stride[a] === 1 && before[a] === 0 && spread[a] === 1 && Y[a] === I[a]
  );
  if (plain && (outputs >= FEWEST || N === 1)) {
    for (let j = 0; j < N * G; j++) product(j % G, x.data, j * C * inputs, inputs, y.data, j * O * outputs);
    return true;
  }
  const most = Math.min(COLUMNS, Math.max(FEWEST, Math.floor(BLOCK / depth)));
  const rows = N * Y[0] * Y[1], each = Math.max(1, Math.min(rows, Math.floor(most / Y[2])));
  const piece = each > 1 ? Y[2] : Math.min(Y[2], most);
  const columns = borrow("columns", dtype, depth * each * piece),
    sums = borrow("sums", dtype, O * each * piece);
  const image = Y[0] * Y[1];
  const lay = specialise(layOut, dtype), put = specialise(putRows, dtype);
  for (let g = 0; g < G; g++) {
    for (let row = 0; row < rows; row += each) {
      const count = Math.min(each, rows - row);
      for (let t = 0; t < Y[2]; t += piece) {
        const length = Math.min(piece, Y[2] - t), width = count * length;
        lay(x.data, columns, C, I, K, Y, stride, before, dilation, spread, G, g, row, count, t, length);
        // A whole example is where it belongs; others are carried there.
        const whole = count === image && row % image === 0 && length === Y[2];
        if (whole) product(g, columns, 0, width, y.data, ((row / image) * G + g) * O * outputs);
        else {
          product(g, columns, 0, width, sums, 0);
          put(sums, y.data, O, G, g, image, Y[2], row, count, t, length);
        }
      }
    }
  }
  return true;
}

// From here on every function is self-contained: it is copied for each type.

function allFinite(x: TypedArray): boolean {
  // The difference is NaN where x is not finite.
  let zero = 0;
  for (let i = 0; i < x.length; i++) zero += x[i] - x[i];
  return zero === 0;
}

/** Columns `[C, K0, K1, K2]` by `[count, length]`: what the windows of these rows of the result read of group g. */
function layOut(
  x: TypedArray,
  out: TypedArray,
  C: number,
  I: readonly number[],
  K: readonly number[],
  Y: readonly number[],
  stride: readonly number[],
  before: readonly number[],
  dilation: readonly number[],
  spread: readonly number[],
  G: number,
  g: number,
  row: number,
  count: number,
  first: number,
  length: number,
): void {
  const [I0, I1, I2] = I, [K0, K1, K2] = K, inputs = I0 * I1 * I2, step = stride[2], gap = spread[2];
  let w = 0;
  for (let c = 0; c < C; c++) {
    for (let k0 = 0; k0 < K0; k0++) {
      for (let k1 = 0; k1 < K1; k1++) {
        for (let k2 = 0; k2 < K2; k2++) {
          const start = first * step + k2 * dilation[2] - before[2];
          // Places start + t step, t from `from` to `to`, lie within the input, gap apart.
          let from = start >= 0 ? 0 : Math.ceil(-start / step);
          let to = Math.floor(((I2 - 1) * gap - start) / step) + 1;
          if (to > length) to = length;
          if (from > to) from = to = 0;
          const line = Math.floor(row / Y[1]);
          let t1 = row % Y[1], t0 = line % Y[0], n = (line - t0) / Y[0];
          for (let r = 0; r < count; r++) {
            const q0 = t0 * stride[0] + k0 * dilation[0] - before[0], i0 = q0 / spread[0];
            const q1 = t1 * stride[1] + k1 * dilation[1] - before[1], i1 = q1 / spread[1];
            const inside = q0 >= 0 && q1 >= 0 && i0 < I0 && i1 < I1 && q0 % spread[0] === 0 &&
              q1 % spread[1] === 0;
            const end = w + length;
            if (inside && to > from) {
              const base = ((n * G + g) * C + c) * inputs + (i0 * I1 + i1) * I2;
              const stop = w + to;
              for (const skip = w + from; w < skip; w++) out[w] = 0;
              if (gap === 1) {
                for (let i = base + start + from * step; w < stop; w++, i += step) out[w] = x[i];
              } else {
                for (let q = start + from * step; w < stop; w++, q += step) {
                  out[w] = q % gap === 0 ? x[base + q / gap] : 0;
                }
              }
            }
            for (; w < end; w++) out[w] = 0;
            if (++t1 === Y[1]) {
              t1 = 0;
              if (++t0 === Y[0]) {
                t0 = 0;
                n++;
              }
            }
          }
        }
      }
    }
  }
}

/** Carries sums `[O, count, length]` to their rows in the result. */
function putRows(
  sums: TypedArray,
  y: TypedArray,
  O: number,
  G: number,
  g: number,
  image: number,
  width: number,
  row: number,
  count: number,
  first: number,
  length: number,
): void {
  let from = 0;
  for (let o = 0; o < O; o++) {
    for (let r = row; r < row + count; r++) {
      const place = r % image, n = (r - place) / image;
      let to = (((n * G + g) * O + o) * image + place) * width + first;
      for (let i = 0; i < length; i++) y[to++] = sums[from++];
    }
  }
}
