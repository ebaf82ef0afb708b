/** Kernels of custom primitives: the record's own, or a faster one of the same results where that one is slow. */
import type { TypedArray } from "../../ops/dtype.ts";
import type { Attributes, Aval, Custom } from "../../ops/primitive.ts";
import { sameShape, type Shape, sizeOf, splitAt, stridesOf } from "../../ops/shape.ts";
import { roundAll } from "../../ops/reference.ts";
import type { Kernel } from "./loops.ts";
import { convolve } from "./convolution.ts";
import { argsortLines } from "./order.ts";
import { specialise } from "./specialise.ts";
import { windowArgmax, windowPut, windowTake } from "./windows.ts";
import { exponentialRows, normGradRows, normRows, randomVectors } from "./rows.ts";
import type { Runner } from "./wasm/runner.ts";

interface MutableArray extends Aval {
  data: TypedArray;
}

/** Computes `y`, or returns false, having harmed nothing, where the record's kernel must (and throws its error). */
type Fast = (x: readonly MutableArray[], y: MutableArray, p: Attributes, runner: Runner | null) => boolean;

const EMPTY: TypedArray = new Float32Array(0);

/**
 * The kernel of a custom step. Its geometry is `[start of each operand, slot of each operand, slot of y]`;
 * `wholes` says which operands fill their slots.
 */
export function customKernel(
  op: Custom,
  avals: readonly Aval[],
  result: Aval,
  source: number,
  attributes: Attributes,
  wholes: readonly boolean[],
  runner: Runner | null,
): Kernel {
  const x: MutableArray[] = avals.map((a) => ({ shape: a.shape, dtype: a.dtype, data: EMPTY }));
  const y: MutableArray = { shape: result.shape, dtype: result.dtype, data: EMPTY };
  const sizes = avals.map((a) => sizeOf(a.shape)), n = avals.length;
  const fast: Fast | null = FAST[op.name] ?? null;
  return (v, _, g, nodes) => {
    const p = source < 0 ? attributes : nodes[source].p;
    for (let i = 0; i < n; i++) {
      const data = v[g[n + i]];
      x[i].data = wholes[i] ? data : data.subarray(g[i], g[i] + sizes[i]);
    }
    y.data = v[g[2 * n]];
    try {
      if (fast === null || !fast(x, y, p, runner)) {
        y.data.fill(0); // as records may expect of new arrays
        op.host(x, y, p);
      }
      if (y.dtype === "bf16") roundAll(y);
    } finally {
      for (let i = 0; i < n; i++) x[i].data = EMPTY;
      y.data = EMPTY;
    }
  };
}

/** Whether a kernel has read all of a row, or element by element, when it writes there: its result may replace its operand. */
export function passesOn(name: string): boolean {
  return name === "softmax";
}

function typesOf(x: readonly MutableArray[]): string {
  let types = "";
  for (const a of x) types += a.dtype;
  return types;
}

const FAST: Record<string, Fast> = {
  softmax: (x, y, { axis }, runner) => {
    if (exponentialRows("softmax", x[0], y, axis, runner)) return true;
    specialise(softmaxLines, typesOf(x))(x[0].data, y.data, ...splitAt(y.shape, axis));
    return true;
  },
  logsumexp: (x, y, { axis }, runner) => {
    if (exponentialRows("logsumexp", x[0], y, axis, runner)) return true;
    specialise(logsumexpLines, typesOf(x))(x[0].data, y.data, ...splitAt(x[0].shape, axis));
    return true;
  },
  crossEntropy: (x, y, _, runner) => {
    const C = x[0].shape[x[0].shape.length - 1], labels = x[1].data;
    if (x[1].dtype === "i32" && labels.every((k) => k >= 0 && k < C)) {
      if (exponentialRows("crossEntropy", x[0], y, x[0].shape.length - 1, runner, labels)) return true;
    }
    return specialise(crossEntropyRows, typesOf(x))(x[0].data, x[1].data, y.data, C);
  },
  layerNorm: (x, y, p, runner) => normRows("layerNorm", x, y, p, runner),
  rmsNorm: (x, y, p, runner) => normRows("rmsNorm", x, y, p, runner),
  layerNormGrad: (x, y, p, runner) => normGradRows("layerNormGrad", x, y, p, runner),
  rmsNormGrad: (x, y, p, runner) => normGradRows("rmsNormGrad", x, y, p, runner),
  cumsum: (x, y, { axis, reverse }) => {
    specialise(cumsumLines, typesOf(x))(x[0].data, y.data, ...splitAt(y.shape, axis), reverse === true);
    return true;
  },
  argmax: (x, y, { axis }) => {
    specialise(argmaxLines, typesOf(x))(x[0].data, y.data as Int32Array, ...splitAt(x[0].shape, axis));
    return true;
  },
  argsort: (x, y, { axis, descending }) => {
    specialise(argsortLines, typesOf(x))(x[0].data, y.data, ...splitAt(y.shape, axis), descending);
    return true;
  },
  embedding: (x, y) => {
    const [w, ids] = x, V = w.shape[0];
    return specialise(embeddingRows, typesOf(x))(
      w.data,
      ids.data,
      y.data,
      V,
      V === 0 ? 0 : w.data.length / V,
    );
  },
  embeddingGrad: (x, y) => {
    const V = y.shape[0];
    return specialise(embeddingGradRows, typesOf(x))(
      x[0].data,
      x[1].data,
      y.data,
      V,
      V === 0 ? 0 : y.data.length / V,
    );
  },
  gather: (x, y, { axis }) => {
    const [from, index] = x;
    if (!sameBut(axis, from.shape, index.shape)) return false;
    return specialise(gatherLines, typesOf(x))(
      from.data,
      index.data,
      y.data,
      from.shape[axis],
      ...splitAt(index.shape, axis),
    );
  },
  scatterAdd: (x, y, { axis }) => {
    const [to, index, from] = x;
    if (!sameBut(axis, to.shape, index.shape)) return false;
    return specialise(scatterAddLines, typesOf(x))(
      to.data,
      index.data,
      from.data,
      y.data,
      to.shape[axis],
      ...splitAt(index.shape, axis),
    );
  },
  cat: (x, y, { axis }) => {
    const [outer, total, inner] = splitAt(y.shape, axis), copy = specialise(catLines, y.dtype);
    let at = 0;
    for (const a of x) {
      const run = a.shape[axis] * inner;
      copy(a.data, y.data, outer, run, total * inner, at);
      at += run;
    }
    return true;
  },
  scatterWindow: (x, y, { starts, steps }) => {
    y.data.fill(0);
    const to = stridesOf(y.shape);
    let at = 0;
    for (let a = 0; a < to.length; a++) {
      at += to[a] * starts[a];
      to[a] *= steps[a];
    }
    specialise(windowRows, y.dtype)(x[0].data, y.data, x[0].shape, to, at);
    return true;
  },
  convolution: (x, y, p, runner) => convolve(x[0], x[1], y, p, runner),
  windowArgmax: (x, y, p) => windowArgmax(x[0], y, p),
  windowTake: (x, y) => windowTake(x[0], x[1], y),
  windowPut: (x, y) => windowPut(x[0], x[1], y),
  randomBits: (x, y, { shape }, runner) => {
    const keys = x[0].data, n = sizeOf(shape);
    if (!randomVectors(keys, y.data, n, runner)) threefryBits(keys as Uint32Array, y.data as Uint32Array, n);
    return true;
  },
};

function sameBut(axis: number, a: Shape, b: Shape): boolean {
  return sameShape(a.slice(0, axis), b.slice(0, axis)) && sameShape(a.slice(axis + 1), b.slice(axis + 1));
}

// From here on every function is self-contained: it is copied for each type.

function softmaxLines(x: TypedArray, y: TypedArray, outer: number, n: number, inner: number): void {
  const end = n * inner;
  for (let o = 0; o < outer; o++) {
    for (let i = 0; i < inner; i++) {
      const start = o * end + i, stop = start + end;
      let m = -Infinity, s = 0;
      for (let k = start; k < stop; k += inner) m = Math.max(m, x[k]);
      for (let k = start; k < stop; k += inner) s += Math.exp(x[k] - m);
      for (let k = start; k < stop; k += inner) y[k] = Math.exp(x[k] - m) / s;
    }
  }
}

function logsumexpLines(x: TypedArray, y: TypedArray, outer: number, n: number, inner: number): void {
  const end = n * inner;
  for (let o = 0; o < outer; o++) {
    for (let i = 0; i < inner; i++) {
      const start = o * end + i, stop = start + end;
      let m = -Infinity, s = 0;
      for (let k = start; k < stop; k += inner) m = Math.max(m, x[k]);
      if (Number.isFinite(m)) {
        for (let k = start; k < stop; k += inner) s += Math.exp(x[k] - m);
        m += Math.log(s);
      }
      y[o * inner + i] = m;
    }
  }
}

function crossEntropyRows(z: TypedArray, target: TypedArray, y: TypedArray, C: number): boolean {
  for (let row = 0; row < y.length; row++) {
    const at = row * C, label = target[row];
    if (!(label >= 0 && label < C)) return false;
    let m = -Infinity, s = 0;
    for (let k = at; k < at + C; k++) m = Math.max(m, z[k]);
    for (let k = at; k < at + C; k++) s += Math.exp(z[k] - m);
    y[row] = Math.log(s) + (m - z[at + label]);
  }
  return true;
}

function cumsumLines(
  x: TypedArray,
  y: TypedArray,
  outer: number,
  n: number,
  inner: number,
  reverse: boolean,
): void {
  const step = reverse ? -inner : inner;
  for (let o = 0; o < outer; o++) {
    for (let i = 0; i < inner; i++) {
      let at = o * n * inner + i + (reverse ? (n - 1) * inner : 0), s = 0;
      for (let k = 0; k < n; k++) {
        s += x[at];
        y[at] = s;
        at += step;
      }
    }
  }
}

function argmaxLines(x: TypedArray, y: Int32Array, outer: number, n: number, inner: number): void {
  for (let o = 0; o < outer; o++) {
    for (let i = 0; i < inner; i++) {
      const start = o * n * inner + i;
      let best = 0, value: number = x[start];
      for (let k = 1; k < n; k++) {
        const v = x[start + k * inner];
        if (v > value || (v !== v && value === value)) {
          best = k;
          value = v;
        }
      }
      y[o * inner + i] = best;
    }
  }
}

function embeddingRows(w: TypedArray, ids: TypedArray, y: TypedArray, V: number, D: number): boolean {
  for (let t = 0; t < ids.length; t++) {
    let row = ids[t];
    if (row < 0) row += V;
    if (!(row >= 0 && row < V)) return false;
    const from = row * D, to = t * D;
    for (let d = 0; d < D; d++) y[to + d] = w[from + d];
  }
  return true;
}

function embeddingGradRows(ct: TypedArray, ids: TypedArray, y: TypedArray, V: number, D: number): boolean {
  // Doubles need no sums apart from the result.
  const sums = y instanceof Float64Array ? y : new Float64Array(y.length);
  sums.fill(0);
  for (let t = 0; t < ids.length; t++) {
    let row = ids[t];
    if (row < 0) row += V;
    if (!(row >= 0 && row < V)) return false;
    const to = row * D, from = t * D;
    for (let d = 0; d < D; d++) sums[to + d] += ct[from + d];
  }
  if (sums !== y) { for (let i = 0; i < y.length; i++) y[i] = sums[i]; }
  return true;
}

function gatherLines(
  x: TypedArray,
  index: TypedArray,
  y: TypedArray,
  length: number,
  outer: number,
  n: number,
  inner: number,
): boolean {
  let at = 0;
  for (let o = 0; o < outer; o++) {
    const from = o * length * inner;
    for (let k = 0; k < n; k++) {
      for (let i = 0; i < inner; i++) {
        let place = index[at];
        if (place < 0) place += length;
        if (!(place >= 0 && place < length)) return false;
        y[at++] = x[from + place * inner + i];
      }
    }
  }
  return true;
}

function scatterAddLines(
  first: TypedArray,
  index: TypedArray,
  x: TypedArray,
  y: TypedArray,
  length: number,
  outer: number,
  n: number,
  inner: number,
): boolean {
  // Doubles, and 32-bit whole numbers, need no sums apart from the result.
  const apart = y instanceof Float32Array || y instanceof Float16Array;
  const sums = apart ? new Float64Array(y.length) : y;
  sums.set(first);
  let at = 0;
  for (let o = 0; o < outer; o++) {
    const to = o * length * inner;
    for (let k = 0; k < n; k++) {
      for (let i = 0; i < inner; i++) {
        let place = index[at];
        if (place < 0) place += length;
        if (!(place >= 0 && place < length)) return false;
        sums[to + place * inner + i] += x[at++];
      }
    }
  }
  if (apart) { for (let i = 0; i < y.length; i++) y[i] = sums[i]; }
  return true;
}

function catLines(
  x: TypedArray,
  y: TypedArray,
  outer: number,
  run: number,
  stride: number,
  at: number,
): void {
  if (run >= 64) {
    for (let o = 0; o < outer; o++) y.set(x.subarray(o * run, (o + 1) * run), o * stride + at);
    return;
  }
  for (let o = 0; o < outer; o++) {
    const from = o * run, to = o * stride + at;
    for (let i = 0; i < run; i++) y[to + i] = x[from + i];
  }
}

/** Writes x, row-major, to `y[at + index * strides]`. */
function windowRows(
  x: TypedArray,
  y: TypedArray,
  shape: readonly number[],
  strides: readonly number[],
  at: number,
): void {
  // Axes that lie one behind the other in y as well are one.
  const lengths: number[] = [], steps: number[] = [];
  for (let a = 0; a < shape.length; a++) {
    const top = lengths.length - 1;
    if (top >= 0 && steps[top] === shape[a] * strides[a]) {
      lengths[top] *= shape[a];
      steps[top] = strides[a];
    } else {
      lengths.push(shape[a]);
      steps.push(strides[a]);
    }
  }
  const last = lengths.length - 1;
  if (last < 0) {
    y[at] = x[0];
    return;
  }
  const n = lengths[last], step = steps[last], index = new Array<number>(lengths.length).fill(0);
  for (let from = 0; from < x.length; from += n) {
    if (step === 1 && n >= 64) y.set(x.subarray(from, from + n), at);
    else for (let i = 0; i < n; i++) y[at + i * step] = x[from + i];
    for (let a = last - 1; a >= 0; a--) {
      at += steps[a];
      if (++index[a] < lengths[a]) break;
      at -= steps[a] * lengths[a];
      index[a] = 0;
    }
  }
}

/** Threefry-2x32 with 20 rounds, first word, for n counters of each key. */
function threefryBits(keys: Uint32Array, y: Uint32Array, n: number): void {
  for (let i = 0, counter = 0, key = 0; i < y.length; i++, counter++) {
    if (counter === n) {
      counter = 0;
      key += 2;
    }
    const k0 = keys[key] | 0, k1 = keys[key + 1] | 0, k2 = k0 ^ k1 ^ 0x1bd11bda;
    let a = (counter + k0) | 0, b = k1;
    for (let group = 0; group < 5; group++) {
      if ((group & 1) === 0) {
        a = (a + b) | 0, b = ((b << 13) | (b >>> 19)) ^ a;
        a = (a + b) | 0, b = ((b << 15) | (b >>> 17)) ^ a;
        a = (a + b) | 0, b = ((b << 26) | (b >>> 6)) ^ a;
        a = (a + b) | 0, b = ((b << 6) | (b >>> 26)) ^ a;
      } else {
        a = (a + b) | 0, b = ((b << 17) | (b >>> 15)) ^ a;
        a = (a + b) | 0, b = ((b << 29) | (b >>> 3)) ^ a;
        a = (a + b) | 0, b = ((b << 16) | (b >>> 16)) ^ a;
        a = (a + b) | 0, b = ((b << 24) | (b >>> 8)) ^ a;
      }
      const next = group % 3; // key words group + 1 and group + 2, in turn
      a = (a + (next === 0 ? k1 : next === 1 ? k2 : k0)) | 0;
      b = (b + (next === 0 ? k2 : next === 1 ? k0 : k1) + group + 1) | 0;
    }
    y[i] = a;
  }
}
