/** The matrix product on the host: packed panels and a 4 by 4 register tile, accumulated in double precision. */
import { type DType, roundToBf16, type TypedArray } from "../../ops/dtype.ts";
import type { View } from "../../ops/primitive.ts";
import { sizeOf } from "../../ops/shape.ts";
import { collapse, type Kernel } from "./loops.ts";
import { specialise } from "./specialise.ts";
import { byLibrary, product, products, usesLibrary, VECTORS } from "./wasm/product.ts";
import type { Runner } from "./wasm/runner.ts";

/** Where a matrix lies: first element, and steps from row to row and from column to column. */
export interface Matrix {
  readonly data: TypedArray;
  readonly offset: number;
  readonly row: number;
  readonly column: number;
}

// Blocks: rows, columns and depth of what is packed at once (doubles: 512, 1024 and 256 KiB).
const ROWS = 128, COLUMNS = 256, DEPTH = 512;
/** Below so many multiplications, or this few rows or columns, packing costs more than it gives. */
const SMALL = 4096;

let packedA = new Float64Array(0), packedB = packedA, tile = packedA;

/** `c[i0 .., j0 ..] (+)= a b` for a panel of 4 rows and one of 4 columns. */
function micro(
  a: Float64Array,
  p: number,
  b: Float64Array,
  q: number,
  K: number,
  c: Float64Array,
  r: number,
  width: number,
  first: boolean,
): void {
  let c00 = 0, c01 = 0, c02 = 0, c03 = 0, c10 = 0, c11 = 0, c12 = 0, c13 = 0;
  let c20 = 0, c21 = 0, c22 = 0, c23 = 0, c30 = 0, c31 = 0, c32 = 0, c33 = 0;
  const r1 = r + width, r2 = r1 + width, r3 = r2 + width;
  if (!first) {
    c00 = c[r], c01 = c[r + 1], c02 = c[r + 2], c03 = c[r + 3];
    c10 = c[r1], c11 = c[r1 + 1], c12 = c[r1 + 2], c13 = c[r1 + 3];
    c20 = c[r2], c21 = c[r2 + 1], c22 = c[r2 + 2], c23 = c[r2 + 3];
    c30 = c[r3], c31 = c[r3 + 1], c32 = c[r3 + 2], c33 = c[r3 + 3];
  }
  for (let k = 0; k < K; k++) {
    const b0 = b[q], b1 = b[q + 1], b2 = b[q + 2], b3 = b[q + 3];
    const a0 = a[p];
    c00 += a0 * b0, c01 += a0 * b1, c02 += a0 * b2, c03 += a0 * b3;
    const a1 = a[p + 1];
    c10 += a1 * b0, c11 += a1 * b1, c12 += a1 * b2, c13 += a1 * b3;
    const a2 = a[p + 2];
    c20 += a2 * b0, c21 += a2 * b1, c22 += a2 * b2, c23 += a2 * b3;
    const a3 = a[p + 3];
    c30 += a3 * b0, c31 += a3 * b1, c32 += a3 * b2, c33 += a3 * b3;
    p += 4;
    q += 4;
  }
  c[r] = c00, c[r + 1] = c01, c[r + 2] = c02, c[r + 3] = c03;
  c[r1] = c10, c[r1 + 1] = c11, c[r1 + 2] = c12, c[r1 + 3] = c13;
  c[r2] = c20, c[r2 + 1] = c21, c[r2 + 2] = c22, c[r2 + 3] = c23;
  c[r3] = c30, c[r3 + 1] = c31, c[r3 + 2] = c32, c[r3 + 3] = c33;
}

/** Lays `lines` lines of K elements out in panels of 4 lines, element by element; missing lines are zero. */
function pack(
  x: TypedArray,
  at: number,
  line: number,
  step: number,
  lines: number,
  K: number,
  out: Float64Array,
): void {
  let w = 0;
  for (let i = 0; i < lines; i += 4) {
    const rest = lines - i;
    let p0 = at + i * line;
    if (rest >= 4) {
      let p1 = p0 + line, p2 = p1 + line, p3 = p2 + line;
      for (let k = 0; k < K; k++) {
        out[w] = x[p0];
        out[w + 1] = x[p1];
        out[w + 2] = x[p2];
        out[w + 3] = x[p3];
        w += 4;
        p0 += step;
        p1 += step;
        p2 += step;
        p3 += step;
      }
    } else {
      for (let k = 0; k < K; k++) {
        out[w] = x[p0];
        out[w + 1] = rest > 1 ? x[p0 + line] : 0;
        out[w + 2] = rest > 2 ? x[p0 + 2 * line] : 0;
        out[w + 3] = 0;
        w += 4;
        p0 += step;
      }
    }
  }
}

/** Rounds a block of sums into the result. */
function unpack(
  c: Float64Array,
  width: number,
  rows: number,
  columns: number,
  y: TypedArray,
  at: number,
  N: number,
): void {
  for (let i = 0; i < rows; i++) {
    const from = i * width, to = at + i * N;
    for (let j = 0; j < columns; j++) y[to + j] = c[from + j];
  }
}

/** Few rows, few columns or little depth: sums of 4 columns at a time, straight from the operands. */
function direct(
  a: TypedArray,
  ao: number,
  ar: number,
  ac: number,
  b: TypedArray,
  bo: number,
  br: number,
  bc: number,
  y: TypedArray,
  yo: number,
  M: number,
  N: number,
  K: number,
): void {
  for (let i = 0; i < M; i++) {
    const p = ao + i * ar, to = yo + i * N;
    let j = 0;
    for (; j + 3 < N; j += 4) {
      let q = bo + j * bc, r = p, s0 = 0, s1 = 0, s2 = 0, s3 = 0;
      for (let k = 0; k < K; k++) {
        const v = a[r];
        s0 += v * b[q];
        s1 += v * b[q + bc];
        s2 += v * b[q + 2 * bc];
        s3 += v * b[q + 3 * bc];
        q += br;
        r += ac;
      }
      y[to + j] = s0;
      y[to + j + 1] = s1;
      y[to + j + 2] = s2;
      y[to + j + 3] = s3;
    }
    for (; j < N; j++) {
      let q = bo + j * bc, r = p, s = 0;
      for (let k = 0; k < K; k++) {
        s += a[r] * b[q];
        q += br;
        r += ac;
      }
      y[to + j] = s;
    }
  }
}

/** Whole numbers: products and sums modulo 2^32. */
function whole(
  a: TypedArray,
  ao: number,
  ar: number,
  ac: number,
  b: TypedArray,
  bo: number,
  br: number,
  bc: number,
  y: TypedArray,
  yo: number,
  M: number,
  N: number,
  K: number,
): void {
  for (let i = 0; i < M; i++) {
    const to = yo + i * N;
    for (let j = 0; j < N; j++) {
      let p = ao + i * ar, q = bo + j * bc, s = 0;
      for (let k = 0; k < K; k++) {
        s = (s + Math.imul(a[p], b[q])) | 0;
        p += ac;
        q += br;
      }
      y[to + j] = s;
    }
  }
}

/**
 * `y[at ..] = a b` with a `[M, K]`, b `[K, N]` and y `[M, N]` row-major. Every sum runs over k in order, in
 * double precision, and is rounded once, so that the result does not depend on the way it was computed.
 */
export function multiply(
  a: Matrix,
  b: Matrix,
  y: TypedArray,
  at: number,
  M: number,
  N: number,
  K: number,
  type: string,
): void {
  if (type === "i32" || type === "u32") {
    specialise(whole, type)(
      a.data,
      a.offset,
      a.row,
      a.column,
      b.data,
      b.offset,
      b.row,
      b.column,
      y,
      at,
      M,
      N,
      K,
    );
    return;
  }
  if (M * N * K <= SMALL || M < 4 || N < 4 || K < 4) {
    specialise(direct, type)(
      a.data,
      a.offset,
      a.row,
      a.column,
      b.data,
      b.offset,
      b.row,
      b.column,
      y,
      at,
      M,
      N,
      K,
    );
    return;
  }
  const packIt = specialise(pack, type), unpackIt = specialise(unpack, type);
  const width = Math.min(COLUMNS, (N + 3) & ~3),
    height = Math.min(ROWS, (M + 3) & ~3),
    depth = Math.min(DEPTH, K);
  if (packedA.length < height * depth) packedA = new Float64Array(height * depth);
  if (packedB.length < width * depth) packedB = new Float64Array(width * depth);
  if (tile.length < width * height) tile = new Float64Array(width * height);
  for (let j = 0; j < N; j += COLUMNS) {
    const columns = Math.min(COLUMNS, N - j);
    for (let i = 0; i < M; i += ROWS) {
      const rows = Math.min(ROWS, M - i);
      for (let k = 0; k < K; k += DEPTH) {
        const steps = Math.min(DEPTH, K - k);
        // One block deep, the packed columns serve all rows.
        if (K > DEPTH || i === 0) {
          packIt(b.data, b.offset + j * b.column + k * b.row, b.column, b.row, columns, steps, packedB);
        }
        packIt(a.data, a.offset + i * a.row + k * a.column, a.row, a.column, rows, steps, packedA);
        for (let c = 0; c < columns; c += 4) {
          for (let r = 0; r < rows; r += 4) {
            micro(packedA, r * steps, packedB, c * steps, steps, tile, r * width + c, width, k === 0);
          }
        }
      }
      unpackIt(tile, width, rows, columns, y, at + i * N + j, N);
    }
  }
}

/** The product of batches of matrices; its geometry is `[slots of a, b and y, starts of a and b]`. */
export function matmulKernel(
  a: View,
  b: View,
  [M, N, K]: readonly number[],
  type: DType,
  runner: Runner | null,
): Kernel {
  const rank = a.shape.length, batch = a.shape.slice(0, rank - 2);
  const [ar, ac] = a.strides.slice(rank - 2), [br, bc] = b.strides.slice(rank - 2);
  const { lengths, strides: [sa, sb] } = collapse(
    batch,
    [a.strides.slice(0, rank - 2), b.strides.slice(0, rank - 2)],
    batch.map(() => false),
  );
  // Where each product of the batch starts.
  const starts: [number, number][] = [];
  let rows = M;
  if (lengths.length === 1 && sb[0] === 0 && sa[0] === M * ar) {
    // One right factor for all: the batch joins the rows.
    rows = lengths[0] * M;
    starts.push([0, 0]);
  } else {
    for (let t = 0, total = sizeOf(lengths); t < total; t++) {
      let rest = t, i = 0, j = 0;
      for (let axis = lengths.length - 1; axis >= 0; axis--) {
        const at = rest % lengths[axis];
        rest = (rest - at) / lengths[axis];
        i += at * sa[axis];
        j += at * sb[axis];
      }
      starts.push([i, j]);
    }
  }
  const isBatch = starts.length > 1 && lengths.length === 1;
  const each = rows * N * K, least = isBatch ? VECTORS / starts.length : VECTORS;
  const vectors = type === "f32" && runner !== null && N >= 4 && each >= Math.max(512, least) ? runner : null;
  return (v, _, g) => {
    const x = v[g[0]], w = v[g[1]], y = v[g[2]];
    if (vectors !== null) {
      const left = vectors.address(x), right = vectors.address(w), to = vectors.result(y);
      if (left !== null && right !== null && to !== null) {
        const l = { at: left + 4 * g[3], row: 4 * ar, column: 4 * ac };
        const r = { at: right + 4 * g[4], row: 4 * br, column: 4 * bc };
        if (isBatch) {
          products(vectors, [M, N, K], l, r, to, starts.length, 4 * sa[0], 4 * sb[0]);
        } else {
          starts.forEach(([i, j], t) =>
            product(
              vectors,
              [rows, N, K],
              { ...l, at: l.at + 4 * i },
              { ...r, at: r.at + 4 * j },
              to + 4 * t * M * N,
            )
          );
        }
        return vectors.finish();
      }
      vectors.finish();
    }
    const doubles = type === "f64" && each >= VECTORS && runner !== null && usesLibrary(runner, each)
      ? runner
      : null;
    const [left, right] = [x, w].map((data) => doubles?.address(data) ?? null),
      into = doubles?.result(y) ?? null;
    for (let t = 0; t < starts.length; t++) {
      const [i, j] = starts[t], to = t * M * N;
      if (doubles !== null && left !== null && right !== null && into !== null) {
        const l = { at: left + 8 * (g[3] + i), row: 8 * ar, column: 8 * ac };
        const r = { at: right + 8 * (g[4] + j), row: 8 * br, column: 8 * bc };
        if (byLibrary(doubles, [rows, N, K], l, r, into + 8 * to, 8 * N, 8)) continue;
      }
      multiply(
        { data: x, offset: g[3] + i, row: ar, column: ac },
        { data: w, offset: g[4] + j, row: br, column: bc },
        y,
        to,
        rows,
        N,
        K,
        type,
      );
    }
    doubles?.finish();
    if (type === "bf16") { for (let i = 0; i < y.length; i++) y[i] = roundToBf16(y[i]); }
  };
}
