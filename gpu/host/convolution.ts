/** The convolution on the host: windows laid out as columns of a matrix, a block at a time, and a matrix product. */
import { allocate, type DType, isFloat, type TypedArray } from "../../ops/dtype.ts";
import type { Convolution } from "../../ops/definitions/convolution.ts";
import type { HostArray } from "../../ops/primitive.ts";
import { type Shape, sizeOf } from "../../ops/shape.ts";
import { type Matrix, multiply } from "./matmul.ts";
import { isShared } from "./memory.ts";
import { specialise } from "./specialise.ts";
import { product as vectors, VECTORS } from "./wasm/product.ts";
import type { Runner } from "./wasm/runner.ts";

/** Elements of a block of columns; as many as are laid out at once at most. */
const BLOCK = 1 << 19, MOST = 1 << 24;
/** Columns of a block at most, and those that make a product fast. */
const COLUMNS = 1024, FEWEST = 64;

const scratch = new Map<string, TypedArray>();

/** An array of at least n elements which lives until the next call with the same name. */
function borrow(name: string, dtype: DType, n: number): TypedArray {
  const key = `${name} ${dtype}`;
  let found = scratch.get(key);
  if (found === undefined || found.length < n) scratch.set(key, found = allocate(dtype, n));
  return found;
}

/** The same in memory that WebAssembly reaches, until `finish`, where there is some. */
function borrowFrom(runner: Runner | null, name: string, dtype: DType, n: number): TypedArray {
  const at = runner === null || dtype !== "f32" ? null : runner.borrow(4 * n);
  return at === null ? borrow(name, dtype, n) : new Float32Array(runner!.memory.buffer, at, n);
}

/** Three spatial axes, the missing ones in front. */
const three = (list: Shape, filling: number): number[] => [filling, filling, filling, ...list].slice(-3);

/**
 * As the record's kernel, whose sums it repeats term by term in the same order; where windows are laid out as columns,
 * nothing is a product with zero. False where that is not the same (a weight that is not finite), and for more than
 * three axes.
 */
export function convolve(
  x: HostArray,
  w: HostArray,
  y: HostArray,
  p: Convolution,
  runner: Runner | null,
): boolean {
  const at = runner === null || y.dtype !== "f32" ? null : runner.result(y.data);
  const placed = at === null ? y.data : new Float32Array(runner!.memory.buffer, at, y.data.length);
  try {
    return convolved(x, w, { ...y, data: placed }, p, runner);
  } finally {
    runner?.finish();
  }
}

function convolved(
  x: HostArray,
  w: HostArray,
  y: HostArray,
  p: Convolution,
  runner: Runner | null,
): boolean {
  const rank = x.shape.length - 3, dtype = y.dtype;
  if (rank > 3) return false;
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
  const finite = !isFloat(dtype) || specialise(allFinite, dtype)(w.data);
  if (isFloat(dtype) && K[2] <= Y[2] && (O < 4 || !finite)) {
    // Few filters: each weight slides over a plane at a time.
    specialise(slide, dtype)(
      x.data,
      w.data,
      y.data,
      N * G,
      G,
      C,
      O,
      I,
      K,
      Y,
      stride,
      before,
      dilation,
      spread,
    );
    return true;
  }
  if (!finite) return false;
  // `[O, depth]` times columns `[depth, width]`.
  const product = (g: number, columns: Matrix, width: number, to: TypedArray, start: number): void => {
    const filters = { data: w.data, offset: g * O * depth, row: depth, column: 1 };
    if (runner !== null && dtype === "f32" && O * width * depth >= VECTORS && isShared(to)) {
      const [a, b] = [filters, columns].map(({ data, offset, row, column }) => {
        const at = runner.address(data);
        return at === null ? null : { at: at + 4 * offset, row: 4 * row, column: 4 * column };
      });
      if (a !== null && b !== null) {
        return vectors(runner, [O, width, depth], a, b, to.byteOffset + 4 * start);
      }
    }
    multiply(filters, columns, to, start, O, width, depth, dtype);
  };
  const plain = K.every((k, a) =>
    k === 1 && stride[a] === 1 && before[a] === 0 && spread[a] === 1 && Y[a] === I[a]
  );
  if (plain && (outputs >= FEWEST || N === 1)) {
    for (let j = 0; j < N * G; j++) {
      const columns = { data: x.data, offset: j * C * inputs, row: inputs, column: 1 };
      product(j % G, columns, inputs, y.data, j * O * outputs);
    }
    return true;
  }
  const lay = specialise(layOut, dtype), put = specialise(putRows, dtype);
  const image = Y[0] * Y[1], example = G * C * inputs;
  let sums: TypedArray | null = null;
  const finish = (
    g: number,
    columns: Matrix,
    row: number,
    count: number,
    t: number,
    length: number,
  ): void => {
    // A whole example is where it belongs; others are carried there.
    if (count === image && row % image === 0 && length === Y[2]) {
      product(g, columns, outputs, y.data, ((row / image) * G + g) * O * outputs);
      return;
    }
    const n = O * count * length;
    if (sums === null || sums.length < n) sums = borrowFrom(runner, "sums", dtype, n);
    product(g, columns, count * length, sums, 0);
    put(sums, y.data, O, G, g, image, Y[2], row, count, t, length);
  };
  if (K[2] > Y[2] && depth * outputs <= MOST) {
    // A large window in few places, as in a filter's gradient: its columns are laid out one after the other.
    const each = Math.max(1, Math.min(N, Math.floor(BLOCK / (depth * outputs)))), lines = C * K[0] * K[1];
    const data = borrowFrom(runner, "columns", dtype, depth * each * outputs);
    for (let g = 0; g < G; g++) {
      for (let n = 0; n < N; n += each) {
        const count = Math.min(each, N - n), from = (n * G + g) * C * inputs;
        lay(
          x.data,
          data,
          from,
          count,
          example,
          I,
          Y,
          stride,
          K,
          dilation,
          before,
          spread,
          inputs,
          0,
          lines,
          0,
          K[2],
        );
        finish(g, { data, offset: 0, row: 1, column: depth }, n * image, count * image, 0, Y[2]);
      }
    }
    return true;
  }
  const most = Math.min(COLUMNS, Math.max(FEWEST, Math.floor(BLOCK / depth)));
  const rows = N * image, each = Math.max(1, Math.min(rows, Math.floor(most / Y[2])));
  const piece = each > 1 ? Y[2] : Math.min(Y[2], most);
  const data = borrowFrom(runner, "columns", dtype, depth * each * piece);
  for (let g = 0; g < G; g++) {
    for (let row = 0; row < rows; row += each) {
      const count = Math.min(each, rows - row), from = g * C * inputs;
      for (let t = 0; t < Y[2]; t += piece) {
        const length = Math.min(piece, Y[2] - t);
        lay(
          x.data,
          data,
          from,
          C,
          inputs,
          I,
          K,
          dilation,
          Y,
          stride,
          before,
          spread,
          example,
          row,
          count,
          t,
          length,
        );
        finish(g, { data, offset: 0, row: count * length, column: 1 }, row, count, t, length);
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

/** Adds, weight by weight, its multiple of the places that it reads to a plane of sums in double precision. */
function slide(
  x: TypedArray,
  w: TypedArray,
  y: TypedArray,
  NG: number,
  G: number,
  C: number,
  O: number,
  I: readonly number[],
  K: readonly number[],
  Y: readonly number[],
  stride: readonly number[],
  before: readonly number[],
  dilation: readonly number[],
  spread: readonly number[],
): void {
  const [I0, I1, I2] = I, [K0, K1, K2] = K, [Y0, Y1, Y2] = Y, inputs = I0 * I1 * I2;
  const outputs = Y0 * Y1 * Y2, step = stride[2], gap = spread[2], sums = new Float64Array(outputs);
  for (let ng = 0; ng < NG; ng++) {
    for (let o = 0; o < O; o++) {
      let at = ((ng % G) * O + o) * C * K0 * K1 * K2;
      sums.fill(0);
      for (let c = 0; c < C; c++) {
        const plane = (ng * C + c) * inputs;
        for (let k0 = 0; k0 < K0; k0++) {
          for (let k1 = 0; k1 < K1; k1++) {
            for (let k2 = 0; k2 < K2; k2++, at++) {
              const v = w[at], start = k2 * dilation[2] - before[2];
              const from = start >= 0 ? 0 : Math.ceil(-start / step);
              const to = Math.min(Y2, Math.floor(((I2 - 1) * gap - start) / step) + 1);
              for (let t0 = 0; t0 < Y0; t0++) {
                const q0 = t0 * stride[0] + k0 * dilation[0] - before[0], i0 = q0 / spread[0];
                if (q0 < 0 || i0 >= I0 || q0 % spread[0] !== 0) continue;
                for (let t1 = 0; t1 < Y1; t1++) {
                  const q1 = t1 * stride[1] + k1 * dilation[1] - before[1], i1 = q1 / spread[1];
                  if (q1 < 0 || i1 >= I1 || q1 % spread[1] !== 0) continue;
                  const base = plane + (i0 * I1 + i1) * I2, row = (t0 * Y1 + t1) * Y2;
                  if (gap === 1) {
                    let i = base + start + from * step;
                    for (let t = from; t < to; t++, i += step) sums[row + t] += v * x[i];
                  } else {
                    let q = start + from * step;
                    for (let t = from; t < to; t++, q += step) {
                      if (q % gap === 0) sums[row + t] += v * x[base + q / gap];
                    }
                  }
                }
              }
            }
          }
        }
      }
      const first = (ng * O + o) * outputs;
      for (let t = 0; t < outputs; t++) y[first + t] = sums[t];
    }
  }
}

/**
 * Lays x out as `[outer, T0, T1, T2]` by `[rows, length]`: what taps T of `outer` channels (`skip` apart, from `origin`
 * on) read for `count` rows `[n, R0, R1]` (examples `next` apart) and places along R2. Taps and rows are windows and
 * their elements, or the other way round: a place is the sum of both, each times its step.
 */
function layOut(
  x: TypedArray,
  out: TypedArray,
  origin: number,
  outer: number,
  skip: number,
  I: readonly number[],
  T: readonly number[],
  tapStep: readonly number[],
  R: readonly number[],
  rowStep: readonly number[],
  before: readonly number[],
  spread: readonly number[],
  next: number,
  row: number,
  count: number,
  first: number,
  length: number,
): void {
  const [I0, I1, I2] = I, [T0, T1, T2] = T, [R0, R1] = R, step = rowStep[2], gap = spread[2];
  const line = Math.floor(row / R1), r1 = row % R1, r0 = line % R0, n0 = (line - r0) / R0;
  let w = 0;
  for (let c = 0; c < outer; c++) {
    for (let k0 = 0; k0 < T0; k0++) {
      for (let k1 = 0; k1 < T1; k1++) {
        for (let k2 = 0; k2 < T2; k2++) {
          const start = first * step + k2 * tapStep[2] - before[2];
          // Places start + t step, t from `from` to `to`, lie within the input, gap apart.
          let from = start >= 0 ? 0 : Math.ceil(-start / step);
          let to = Math.floor(((I2 - 1) * gap - start) / step) + 1;
          if (to > length) to = length;
          if (from > to) from = to = 0;
          let t1 = r1, t0 = r0, n = n0;
          for (let r = 0; r < count; r++) {
            let i0 = t0 * rowStep[0] + k0 * tapStep[0] - before[0];
            let i1 = t1 * rowStep[1] + k1 * tapStep[1] - before[1];
            let inside = i0 >= 0 && i1 >= 0 && to > from;
            if (spread[0] !== 1) {
              inside = inside && i0 % spread[0] === 0;
              i0 /= spread[0];
            }
            if (spread[1] !== 1) {
              inside = inside && i1 % spread[1] === 0;
              i1 /= spread[1];
            }
            const end = w + length;
            if (inside && i0 < I0 && i1 < I1) {
              const base = origin + n * next + c * skip + (i0 * I1 + i1) * I2, stop = w + to;
              for (const zeros = w + from; w < zeros; w++) out[w] = 0;
              if (gap === 1) {
                for (let i = base + start + from * step; w < stop; w++, i += step) out[w] = x[i];
              } else {
                for (let q = start + from * step; w < stop; w++, q += step) {
                  out[w] = q % gap === 0 ? x[base + q / gap] : 0;
                }
              }
            }
            for (; w < end; w++) out[w] = 0;
            if (++t1 === R1) {
              t1 = 0;
              if (++t0 === R0) {
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
