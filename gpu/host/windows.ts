/** Kernels of moving windows on the host: the place of the maximum, what stands there, and the way back. */
import type { TypedArray } from "../../ops/dtype.ts";
import { windowAlong, type Windows } from "../../ops/definitions/windows.ts";
import type { HostArray } from "../../ops/primitive.ts";
import { sizeOf } from "../../ops/shape.ts";
import { specialise } from "./specialise.ts";

/** As the record's kernel; false for more than three axes. */
export function windowArgmax(x: HostArray, y: HostArray, p: Windows): boolean {
  const I = x.shape.slice(1);
  if (I.length > 3) return false;
  // First place, end and step of each window along each axis, the missing axes in front.
  const along = I.map((n, a) =>
    Int32Array.from(Array.from({ length: p.size[a] }, (_, t) => windowAlong(p, a, n, t)).flat())
  );
  while (along.length < 3) along.unshift(Int32Array.of(0, 1, 1));
  const [I1, I2] = [1, 1, 1, ...I].slice(-2);
  specialise(argmaxWindows, x.dtype)(
    x.data,
    y.data,
    x.shape[0],
    sizeOf(I),
    I1,
    I2,
    along[0],
    along[1],
    along[2],
  );
  return true;
}

/** What stands at the places, which are those of a plane of x. */
export function windowTake(x: HostArray, index: HostArray, y: HostArray): boolean {
  const inputs = sizeOf(x.shape.slice(1)), outputs = sizeOf(y.shape.slice(1));
  specialise(takePlaces, x.dtype)(x.data, index.data, y.data, x.shape[0], inputs, outputs);
  return true;
}

/** Sums at the places in a plane of y. */
export function windowPut(x: HostArray, index: HostArray, y: HostArray): boolean {
  const inputs = sizeOf(y.shape.slice(1)), outputs = sizeOf(x.shape.slice(1));
  specialise(putPlaces, x.dtype)(x.data, index.data, y.data, y.shape[0], inputs, outputs);
  return true;
}

// From here on every function is self-contained: it is copied for each type.

function argmaxWindows(
  x: TypedArray,
  y: TypedArray,
  N: number,
  inputs: number,
  I1: number,
  I2: number,
  w0: Int32Array,
  w1: Int32Array,
  w2: Int32Array,
): void {
  let to = 0;
  for (let n = 0, base = 0; n < N; n++, base += inputs) {
    for (let a = 0; a < w0.length; a += 3) {
      for (let b = 0; b < w1.length; b += 3) {
        for (let c = 0; c < w2.length; c += 3) {
          const first = w2[c], end = w2[c + 1], step = w2[c + 2];
          let best = -1, value = 0;
          for (let i = w0[a]; i < w0[a + 1]; i += w0[a + 2]) {
            for (let j = w1[b]; j < w1[b + 1]; j += w1[b + 2]) {
              const line = (i * I1 + j) * I2;
              for (let k = line + first; k < line + end; k += step) {
                const v = x[base + k];
                if (v > value || best < 0 || v !== v) {
                  best = k;
                  value = v;
                }
              }
            }
          }
          y[to++] = best;
        }
      }
    }
  }
}

function takePlaces(
  x: TypedArray,
  index: TypedArray,
  y: TypedArray,
  N: number,
  inputs: number,
  outputs: number,
): void {
  let t = 0;
  for (let n = 0, base = 0; n < N; n++, base += inputs) {
    for (let k = 0; k < outputs; k++, t++) y[t] = x[base + index[t]];
  }
}

function putPlaces(
  x: TypedArray,
  index: TypedArray,
  y: TypedArray,
  N: number,
  inputs: number,
  outputs: number,
): void {
  // Sums in double precision, a plane at a time, then rounds once.
  const sums = new Float64Array(inputs);
  let t = 0;
  for (let n = 0, base = 0; n < N; n++, base += inputs) {
    sums.fill(0);
    for (let k = 0; k < outputs; k++, t++) sums[index[t]] += x[t];
    for (let i = 0; i < inputs; i++) y[base + i] = sums[i];
  }
}
