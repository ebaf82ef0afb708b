/** Reading and writing at indices, joining and padding. */
import { apply, type Node } from "../node.ts";
import { allBatched, custom } from "../families.ts";
import type { DType } from "../dtype.ts";
import type { Aval, HostArray, MapKernel } from "../primitive.ts";
import type { Tensor } from "../tensor.ts";
import { sameShape, type Shape, showShape, sizeOf, splitAt, stridesOf } from "../shape.ts";

/** Concatenation along an existing axis. */
export const cat = custom({
  name: "cat",
  tex: (x) => `[${x.join("; ")}]`,
  texPullbacks: (x, y) => x.map((_, i) => `\\bar{${y}}_${i + 1}`),
  infer: (x, { axis }) => {
    let length = 0;
    for (const a of x) {
      if (a.dtype !== x[0].dtype) {
        throw new TypeError(`Cannot cat types ${x[0].dtype} and ${a.dtype}: convert one of them`);
      }
      if (a.shape.length !== x[0].shape.length || a.shape.some((n, i) => i !== axis && n !== x[0].shape[i])) {
        throw new RangeError(
          `Cannot cat shapes ${showShape(x[0].shape)} and ${
            showShape(a.shape)
          } along axis ${axis}: all other axes must be equal`,
        );
      }
      length += a.shape[axis];
    }
    return { shape: x[0].shape.map((n, i) => i === axis ? length : n), dtype: x[0].dtype };
  },
  host: (x, y, { axis }) => {
    let at = 0;
    for (const a of x) {
      const [outer, n, inner] = splitAt(a.shape, axis), total = y.shape[axis];
      for (let o = 0; o < outer; o++) {
        y.data.set(a.data.subarray(o * n * inner, (o + 1) * n * inner), (o * total + at) * inner);
      }
      at += n;
    }
  },
  wgsl: {
    threads: (_, y) => sizeOf(y.shape),
    // Total length and inner stride, then each operand's length.
    uniforms: (x, y, { axis }) => [...splitAt(y.shape, axis).slice(1), ...x.map((a) => a.shape[axis])],
    body: (x) =>
      `let total = u(0); let inner = u(1);
      let outer = t / (total * inner); var k = (t / inner) % total; let i = t % inner;` +
      x.map((_, j) =>
        `if (k >= 0 && k < u(${j + 2})) { put(t, x${j}((outer * u(${j + 2}) + k) * inner + i)); } k -= u(${
          j + 2
        });`
      )
        .join("\n"),
  },
  flops: () => 0,
  vjp: (ct, { x, p: { axis } }) => {
    let at = 0;
    return x.map((a) => {
      const piece = ct.narrow(axis, at, a.shape[axis]);
      at += a.shape[axis];
      return piece;
    });
  },
  jvp: (dx, { x, p }) => apply(cat, dx.map((d, i) => d ?? x[i].zerosLike()), p),
  batch: (x, batched, p, B) => apply(cat, allBatched(x, batched, B), { axis: p.axis + 1 }),
});

/** Writes x into zeros of `shape`, at `starts`, every `steps`-th place: the transpose of `slice`. */
export const scatterWindow = custom({
  name: "scatterWindow",
  tex: ([x]) => `\\operatorname{pad} ${x}`,
  texPullbacks: (_, f) => [`\\bar{${f}}[\\cdot]`],
  key: (p) => `${p.shape}|${p.steps}`,
  infer: ([x], p) => ({ shape: p.shape, dtype: x.dtype }),
  host: ([x], y, { starts, steps }) => {
    const strides = stridesOf(y.shape);
    y.data.fill(0);
    eachIndex(x.shape, (i, at) => {
      let j = 0;
      for (let a = 0; a < i.length; a++) j += strides[a] * (starts[a] + i[a] * steps[a]);
      y.data[j] = x.data[at];
    });
  },
  wgsl: {
    threads: (_, y) => sizeOf(y.shape),
    uniforms: ([x], y, { starts, steps }) => [
      y.shape.length,
      ...y.shape.flatMap((n, a) => [n, x.shape[a], starts[a], steps[a]]),
    ],
    body: ([x]) => `
      var rest = t; var at = 0; var stride = 1; var inside = true;
      for (var a = u(0) - 1; a >= 0; a--) {
        let n = u(1 + 4 * a); let m = u(2 + 4 * a);
        let k = rest % n - u(3 + 4 * a); rest = rest / n;
        let step = u(4 + 4 * a);
        inside = inside && k >= 0 && k % step == 0 && k / step < m;
        at += (k / step) * stride; stride *= m;
      }
      if (inside) { put(t, x0(at)); } else { put(t, ${zeroOf(x)}); }`,
  },
  flops: () => 0,
  vjp: (ct, { x: [x], p }) => [ct.window(p.starts, x.shape, p.steps)],
  jvp: ([dx], { p }) => apply(scatterWindow, [dx!], p),
  batch: ([x], _, p, B) =>
    apply(scatterWindow, [x], { shape: [B, ...p.shape], starts: [0, ...p.starts], steps: [1, ...p.steps] }),
});

/** A node that is another in one piece with zeros around it: that one, and where it starts; null for any other node. */
export function paddedOf({ op, p, inputs: [x] }: Node): { x: Node; starts: readonly number[] } | null {
  return op === scatterWindow && p.steps.every((step: number) => step === 1) ? { x, starts: p.starts } : null;
}

/** WGSL of a zero of the type of `x`. */
export function zeroOf(x: Aval): string {
  return x.dtype === "bool" ? "false" : x.dtype === "i32" ? "0" : x.dtype === "u32" ? "0u" : "0.0";
}

/** Calls `f` with every index of a shape in row-major order. */
export function eachIndex(shape: Shape, f: (index: number[], at: number) => void): void {
  const size = sizeOf(shape), index = new Array<number>(shape.length).fill(0);
  for (let at = 0; at < size; at++) {
    f(index, at);
    for (let a = shape.length - 1; a >= 0; a--) {
      if (++index[a] < shape[a]) break;
      index[a] = 0;
    }
  }
}

/** A place along an axis, negative ones counted from the back; out of range is an error. */
export function place(action: string, i: number, n: number): number {
  const k = i < 0 ? i + n : i;
  if (!(k >= 0 && k < n)) throw new RangeError(`Cannot ${action} at index ${i}: the axis has length ${n}`);
  return k;
}

/** WGSL which checks an index as `place` does; `fault(k)` makes the run fail. */
export const placeWgsl = (n: string, dtype: DType): string =>
  dtype === "u32"
    ? `if (k < 0 || k >= ${n}) { fault(k); k = 0; }` // from 2^31 on, which is no place either
    : `if (k < -(${n}) || k >= ${n}) { fault(k); k = 0; } if (k < 0) { k += ${n}; }`;

function checkIndex(action: string, x: Shape, index: Aval, axis: number, sameAs: Shape): void {
  if (index.dtype !== "i32" && index.dtype !== "u32") {
    throw new TypeError(
      `Cannot ${action} with an index of type ${index.dtype}: indices are whole numbers, as in index.to("i32")`,
    );
  }
  if (index.shape.length !== x.length || sameAs.some((n, i) => i !== axis && n > x[i])) {
    throw new RangeError(
      `Cannot ${action} shape ${showShape(x)} along axis ${axis} with an index of shape ${
        showShape(index.shape)
      }: ` +
        `the index has the rank of the tensor and no axis longer than its, but for axis ${axis}`,
    );
  }
}

/** Checks index and source of a scatter to `x`. */
export function checkScatter(action: string, x: Aval, index: Aval, src: Aval, axis: number): void {
  checkIndex(action, x.shape, index, axis, index.shape);
  if (!sameShape(index.shape, src.shape)) {
    throw new RangeError(
      `Cannot ${action} values of shape ${showShape(src.shape)} at indices of shape ${
        showShape(index.shape)
      }: they must be equal`,
    );
  }
  if (src.dtype !== x.dtype) {
    throw new TypeError(
      `Cannot ${action} values of type ${src.dtype} to a tensor of type ${x.dtype}: convert one of them`,
    );
  }
  if (x.shape[axis] === 0 && sizeOf(index.shape) > 0) {
    throw new RangeError(`Cannot ${action} to axis ${axis}: it has length 0, and there are indices`);
  }
}

/** `y[i, j] = x[index[i, j], j]` along axis 0, and likewise along any axis. */
export const gather = custom({
  name: "gather",
  tex: ([x, i]) => `${x}[${i}]`,
  texPullbacks: ([, i], f) => [`\\sum_{${i}} \\bar{${f}}`, "0"],
  infer: ([x, index], { axis }) => {
    checkIndex("gather", x.shape, index, axis, index.shape);
    return { shape: index.shape, dtype: x.dtype };
  },
  host: ([x, index], y, { axis }) => {
    const strides = stridesOf(x.shape), n = x.shape[axis];
    eachIndex(index.shape, (i, at) => {
      let j = strides[axis] * place("gather", index.data[at], n);
      for (let a = 0; a < i.length; a++) if (a !== axis) j += strides[a] * i[a];
      y.data[at] = x.data[j];
    });
  },
  wgsl: {
    threads: (_, y) => sizeOf(y.shape),
    uniforms: ([x], y, { axis }) => [y.shape.length, axis, ...y.shape.flatMap((n, a) => [n, x.shape[a]])],
    body: ([, index]) => `
      var rest = t; var at = 0; var stride = 1;
      for (var a = u(0) - 1; a >= 0; a--) {
        let n = u(2 + 2 * a); let m = u(3 + 2 * a); var k = rest % n; rest = rest / n;
        if (a == u(1)) { k = i32(x1(t)); ${placeWgsl("m", index.dtype)} }
        at += k * stride; stride *= m;
      }
      put(t, x0(at));`,
  },
  flops: () => 0,
  vjp: (ct, { x: [x, index], p }) => [apply(scatterAdd, [x.zerosLike(), index, ct], p), null],
  jvp: ([dx], { x: [, index], p }) => dx === null ? null : apply(gather, [dx, index], p),
  batch: (x, batched, p, B) => apply(gather, allBatched(x, batched, B), { axis: p.axis + 1 }),
});

/** A thread a destination, of [x, index, src]: the uniforms of {@linkcode destinationWgsl}. */
export const DESTINATIONS: Pick<MapKernel, "threads" | "uniforms"> = {
  threads: (_, y) => sizeOf(y.shape),
  uniforms: ([x, index], _, { axis }) => [
    x.shape.length,
    axis,
    index.shape[axis],
    sizeOf(index.shape.slice(axis + 1)),
    ...x.shape.flatMap((n, a) => [n, index.shape[a]]),
  ],
};

/** WGSL of what destination t becomes: `s`, and by `fold` each `x2(i)` sent to it, in order, so that it repeats itself. */
export const destinationWgsl = (index: DType, fold: string): string => `
  var rest = t; var at = 0; var stride = 1; var mine = 0; var inside = true; var length = 0;
  for (var a = u(0) - 1; a >= 0; a--) {
    let n = u(4 + 2 * a); let m = u(5 + 2 * a); let k = rest % n; rest = rest / n;
    if (a == u(1)) { mine = k; length = n; } else { inside = inside && k < m; at += k * stride; }
    stride *= m;
  }
  var s = x0(t);
  if (inside) {
    for (var j = 0; j < u(2); j++) {
      let i = at + j * u(3);
      var k = i32(x1(i)); ${placeWgsl("length", index)}
      if (k == mine) { s = ${fold}; }
    }
  }
  put(t, s);`;

/** Adds `src` to `x` at the places which `gather` with the same index reads. Repeated places add up. */
export const scatterAdd = custom({
  name: "scatterAdd",
  tex: ([x, i, s]) => `${x}[${i}] \\mathrel{+}= ${s}`,
  texPullbacks: ([, i], f) => [`\\bar{${f}}`, "0", `\\bar{${f}}[${i}]`],
  infer: ([x, index, src], { axis }) => {
    checkScatter("scatterAdd", x, index, src, axis);
    return { shape: x.shape, dtype: x.dtype };
  },
  host: ([x, index, src], y, { axis }) => {
    const strides = stridesOf(x.shape), n = x.shape[axis];
    // Sums in double precision, then rounds once, whatever the type of the store.
    const sums = Float64Array.from(x.data);
    eachIndex(index.shape, (i, at) => {
      let j = strides[axis] * place("scatterAdd", index.data[at], n);
      for (let a = 0; a < i.length; a++) if (a !== axis) j += strides[a] * i[a];
      sums[j] += src.data[at];
    });
    for (let j = 0; j < sums.length; j++) y.data[j] = sums[j];
  },
  wgsl: {
    ...DESTINATIONS,
    body: ([, index]) => destinationWgsl(index.dtype, "s + x2(i)"),
  },
  flops: (x) => sizeOf(x[2].shape),
  vjp: (ct, { x: [, index], p, needs }) => [ct, null, needs[2] ? apply(gather, [ct, index], p) : null],
  jvp: ([dx, , ds], { x: [x, index, src], p }) =>
    apply(scatterAdd, [dx ?? x.zerosLike(), index, ds ?? src.zerosLike()], p),
  batch: (x, batched, p, B) => apply(scatterAdd, allBatched(x, batched, B), { axis: p.axis + 1 }),
});

/** Rows of a table: `y[..., :] = weight[ids[...], :]`. */
export const embedding = custom({
  name: "embedding",
  tex: ([w, i]) => `${w}[${i}]`,
  texPullbacks: ([, i], y) => [`\\sum_t e_{{${i}}_t}\\,\\bar{${y}}_t`, "0"],
  infer: ([w, ids]) => {
    if (ids.dtype !== "i32" && ids.dtype !== "u32") {
      throw new TypeError(
        `Cannot look up an embedding by ids of type ${ids.dtype}: ids are whole numbers, as in ids.to("i32")`,
      );
    }
    if (w.shape.length < 1) {
      throw new RangeError(`Cannot look up an embedding in a scalar: the table has a row for each id`);
    }
    return { shape: [...ids.shape, ...w.shape.slice(1)], dtype: w.dtype };
  },
  host: ([w, ids], y) => {
    const D = sizeOf(w.shape.slice(1)), V = w.shape[0];
    for (let t = 0; t < ids.data.length; t++) {
      const row = place("look up an embedding", ids.data[t], V);
      y.data.set(w.data.subarray(row * D, (row + 1) * D), t * D);
    }
  },
  wgsl: {
    threads: (_, y) => sizeOf(y.shape),
    uniforms: ([w]) => [sizeOf(w.shape.slice(1)), w.shape[0]],
    body: ([, ids]) =>
      `var k = i32(x1(t / u(0))); ${placeWgsl("u(1)", ids.dtype)} put(t, x0(k * u(0) + t % u(0)));`,
  },
  flops: () => 0,
  vjp: (ct, { x: [w, ids] }) => [apply(embeddingGrad, [ct, ids], { shape: w.shape }), null],
  jvp: ([dw], { x: [, ids] }) => dw === null ? null : apply(embedding, [dw, ids]),
  batch: ([w, ids], batched, _, B) => {
    if (!batched[0]) return apply(embedding, [w, ids]);
    const all = batched[1] ? ids : ids.expand([B, ...ids.shape]);
    const V = w.shape[1], N = sizeOf(all.shape.slice(1)), D = sizeOf(w.shape.slice(2));
    const index = all.reshape([B, N, 1]).expand([B, N, D]);
    return apply(gather, [w.reshape([B, V, D]), index], { axis: 1 }).reshape([
      ...all.shape,
      ...w.shape.slice(2),
    ]);
  },
});

/** Sums cotangents by id into a table of `shape`: the transpose of `embedding`. */
export const embeddingGrad = custom({
  name: "embeddingGrad",
  tex: ([ct, i]) => `\\sum_{${i}} ${ct}`,
  texPullbacks: ([, i], f) => [`\\bar{${f}}[${i}]`, "0"],
  infer: ([ct, ids], p) => {
    if (p.shape[0] === 0 && sizeOf(ids.shape) > 0) {
      throw new RangeError("Cannot look up an embedding in a table without rows");
    }
    return { shape: p.shape, dtype: ct.dtype };
  },
  host: ([ct, ids]: HostArray[], y) => {
    const D = sizeOf(y.shape.slice(1));
    // Sums in double precision, then rounds once, whatever the type of the store.
    const sums = new Float64Array(y.data.length);
    for (let t = 0; t < ids.data.length; t++) {
      const row = place("look up an embedding", ids.data[t], y.shape[0]);
      for (let d = 0; d < D; d++) sums[row * D + d] += ct.data[t * D + d];
    }
    for (let i = 0; i < sums.length; i++) y.data[i] = sums[i];
  },
  wgsl: {
    threads: (_, y) => sizeOf(y.shape),
    uniforms: ([, ids], y) => [sizeOf(y.shape.slice(1)), sizeOf(ids.shape), y.shape[0]],
    body: ([ct, ids]) => `
      let row = t / u(0); let d = t % u(0); var s = ${zeroOf(ct)};
      for (var j = 0; j < u(1); j++) {
        var k = i32(x1(j)); ${placeWgsl("u(2)", ids.dtype)}
        if (k == row) { s += x0(j * u(0) + d); }
      }
      put(t, s);`,
  },
  flops: ([ct]) => sizeOf(ct.shape),
  vjp: (ct, { x: [, ids] }) => [apply(embedding, [ct, ids]), null],
  jvp: ([dct], { x: [, ids], p }) => dct === null ? null : apply(embeddingGrad, [dct, ids], p),
  batch: ([ct, ids], batched, p, B): Tensor => {
    const V = p.shape[0], D = sizeOf(p.shape.slice(1));
    const all = batched[1] ? ids : ids.expand([B, ...ids.shape]),
      each = batched[0] ? ct : ct.expand([B, ...ct.shape]);
    const N = sizeOf(all.shape.slice(1));
    const index = all.reshape([B, N, 1]).expand([B, N, D]);
    const none = ct.scalarLike(0).expand([B, V, D]);
    return apply(scatterAdd, [none, index, each.reshape([B, N, D])], { axis: 1 }).reshape([B, ...p.shape]);
  },
});
