/** Windows that slide along an axis, their transpose, and padding by what the edges say. */
import { composite } from "../composite.ts";
import { custom, movement } from "../families.ts";
import { apply } from "../node.ts";
import { normalizeAxis, showShape, sizeOf, splitAt } from "../shape.ts";
import type { Tensor } from "../tensor.ts";
import { cat, zeroOf } from "./indexing.ts";

/** `p.count` windows along `p.axis`, every `p.step`-th, of `p.size` elements on a new last axis. They may overlap. */
export const unfold = movement({
  name: "unfold",
  tex: ([x]) => `\\operatorname{unfold} ${x}`,
  texPullbacks: (_, y) => [`\\operatorname{fold} \\bar{${y}}`],
  infer: ([x], { axis, count, size }) => ({
    shape: [...x.shape.map((n, i) => i === axis ? count : n), size],
    dtype: x.dtype,
  }),
  view: (x, { axis, step, dilation }, y) => ({
    shape: y.shape,
    strides: [...x.strides.map((s, i) => i === axis ? s * step : s), x.strides[axis] * dilation],
    offset: x.offset,
  }),
  transpose: (ct, { x: [x], p: { axis, step, dilation } }) =>
    apply(foldAlong, [ct], { axis, length: x.shape[axis], step, dilation }),
  batched: (p) => ({ ...p, axis: p.axis + 1 }),
  samples: [
    { shapes: [[7]], call: (x) => x.unfold(0, 3, 1) },
    { shapes: [[2, 7]], call: (x) => x.unfold(1, 3, 2) },
    { shapes: [[6, 2]], call: (x) => x.unfold(0, 2, 3) },
    { shapes: [[2, 8]], call: (x) => x.unfold(1, 3, 2, 2).mul(2) },
    { shapes: [[3, 5]], call: (x) => x.unfold(1, 3, 1).unfold(0, 2, 1) },
    { shapes: [[2, 9]], call: (x) => x.unfold(1, 2, 1, 4) },
  ],
});

/** What `foldAlong` is told: the axis of windows, its length in the result, and how windows lie. */
interface Fold {
  readonly axis: number;
  readonly length: number;
  readonly step: number;
  readonly dilation: number;
}

/** Sums windows (the last axis) into an axis of `p.length`: the transpose of `unfold`. */
export const foldAlong = custom({
  name: "foldAlong",
  tex: ([x]) => `\\operatorname{fold} ${x}`,
  texPullbacks: (_, y) => [`\\operatorname{unfold} \\bar{${y}}`],
  infer: ([x], p: Fold) => ({
    shape: x.shape.slice(0, -1).map((n, i) => i === p.axis ? p.length : n),
    dtype: x.dtype,
  }),
  host: ([x], y, { axis, length, step, dilation }: Fold) => {
    const size = x.shape[x.shape.length - 1], [outer, count, inner] = splitAt(x.shape.slice(0, -1), axis);
    // Sums in double precision, then rounds once, whatever the type of the store.
    const sums = new Float64Array(y.data.length);
    for (let o = 0, at = 0; o < outer; o++) {
      for (let w = 0; w < count; w++) {
        for (let i = 0; i < inner; i++) {
          const start = (o * length + w * step) * inner + i;
          for (let k = 0; k < size; k++) sums[start + k * dilation * inner] += x.data[at++];
        }
      }
    }
    for (let j = 0; j < sums.length; j++) y.data[j] = sums[j];
  },
  wgsl: {
    // A thread a destination, so the result is the same every time; it goes through windows or, if they are fewer,
    // their elements: the root of all there are at most.
    threads: (_, y) => sizeOf(y.shape),
    uniforms: ([x], _, { axis, length, step, dilation }: Fold) => {
      const [, count, inner] = splitAt(x.shape.slice(0, -1), axis), size = x.shape[x.shape.length - 1];
      const byElement = size < Math.min(count, (size - 1) * dilation / step);
      return [length, inner, count, size, step, dilation, byElement ? 1 : 0];
    },
    body: ([x]) => `
      let n = u(0); let inner = u(1); let count = u(2); let size = u(3); let step = u(4); let dilation = u(5);
      let outer = t / (n * inner); let i = (t / inner) % n; let span = (size - 1) * dilation; var s = ${
      zeroOf(x)
    };
      if (u(6) == 1) {
        for (var k = 0; k < size; k++) {
          let start = i - k * dilation;
          if (start >= 0 && start % step == 0 && start / step < count) {
            s += x0(((outer * count + start / step) * inner + t % inner) * size + k);
          }
        }
      } else {
        let last = min(i / step, count - 1);
        for (var w = select(0, (i - span + step - 1) / step, i > span); w <= last; w++) {
          let k = i - w * step;
          if (k % dilation == 0) { s += x0(((outer * count + w) * inner + t % inner) * size + k / dilation); }
        }
      }
      put(t, s);`,
  },
  flops: ([x]) => sizeOf(x.shape),
  vjp: (ct, { x: [x], p: { axis, step, dilation } }) => [
    apply(unfold, [ct], { axis, count: x.shape[axis], size: x.shape[x.rank - 1], step, dilation }),
  ],
  jvp: ([dx], { p }) => apply(foldAlong, [dx!], p),
  batch: ([x], _, p) => apply(foldAlong, [x], { ...p, axis: p.axis + 1 }),
  samples: [
    {
      shapes: [[5, 3]],
      call: (x) => apply(foldAlong, [x], { axis: 0, length: 8, step: 1, dilation: 1 }),
    },
    {
      shapes: [[2, 3, 2, 3]],
      call: (x) => apply(foldAlong, [x], { axis: 1, length: 9, step: 2, dilation: 2 }),
    },
  ],
});

/** Checks what `unfold` is asked, and asks the primitive. */
export function slide(x: Tensor, axis: number, size: number, step: number, dilation: number): Tensor {
  if (x.rank === 0) return slide(x.reshape([1]), axis, size, step, dilation).reshape([size]);
  const a = normalizeAxis("unfold", axis, x.rank), n = x.shape[a];
  if (![size, step, dilation].every((k) => Number.isInteger(k) && k > 0) || dilation * (size - 1) + 1 > n) {
    throw new RangeError(
      `Cannot unfold axis ${axis} of ${showShape(x.shape)} into windows of ${size} elements every ${step}` +
        `${
          dilation === 1 ? "" : `, ${dilation} apart`
        }: all are whole numbers above 0, and a window fits in ${n}`,
    );
  }
  const count = Math.floor((n - dilation * (size - 1) - 1) / step) + 1;
  return apply(unfold, [x], { axis: a, count, size, step, dilation });
}

/** How `pad` fills. */
export type PadMode = "constant" | "reflect" | "replicate" | "circular";

/** Options of `pad`. */
export interface PadOptions {
  /**
   * `constant` fills with `value`; `reflect` mirrors at the edge element, `replicate` repeats it, `circular` goes on at
   * the other end. Default constant.
   */
  mode?: PadMode;
  /** What `constant` fills with; default 0. */
  value?: number;
}

/** Padding of one axis by copies of its own elements. */
function padAxis(x: Tensor, a: number, before: number, after: number, mode: PadMode): Tensor {
  // Circular padding goes on where the cropped tensor begins; the others look at the whole one.
  if (mode === "circular" && (before < 0 || after < 0)) {
    const kept = crop(x, a, Math.min(before, 0), Math.min(after, 0));
    return padAxis(kept, a, Math.max(before, 0), Math.max(after, 0), mode);
  }
  const n = x.shape[a], most = mode === "reflect" ? n - 1 : mode === "circular" ? n : n === 0 ? 0 : Infinity;
  if (Math.max(before, after) > most) {
    throw new RangeError(
      `Cannot pad axis ${a} of ${showShape(x.shape)} by ${before} and ${after} in mode ${mode}: ` +
        (n === 0 ? "it is empty" : `at most ${most} elements can be had from length ${n}`),
    );
  }
  const piece = (start: number, count: number): Tensor =>
    mode === "replicate"
      ? x.narrow(a, start === 0 ? 0 : n - 1, 1).expand(x.shape.map((m, i) => i === a ? count : m))
      : mode === "reflect"
      ? x.narrow(a, start === 0 ? 1 : n - 1 - count, count).flip(a)
      : x.narrow(a, start === 0 ? n - count : 0, count);
  const parts: Tensor[] = [x];
  if (before > 0) parts.unshift(piece(0, before));
  if (after > 0) parts.push(piece(1, after));
  return crop(
    parts.length === 1 ? x : apply(cat, parts, { axis: a }),
    a,
    Math.min(before, 0),
    Math.min(after, 0),
  );
}

/** Without `-before` and `-after` elements at the ends. */
function crop(x: Tensor, a: number, before: number, after: number): Tensor {
  const left = x.shape[a] + before + after;
  if (left < 0) {
    throw new RangeError(
      `Cannot pad axis ${a} of ${
        showShape(x.shape)
      } by ${before} and ${after}: less than nothing would be left`,
    );
  }
  return x.narrow(a, -before, left);
}

export const pad = composite({
  name: "pad",
  tex: ([x]) => `\\operatorname{pad} ${x}`,
  texPullbacks: (_, f) => [`\\operatorname{crop} \\bar{${f}}`],
  samples: [
    { shapes: [[2, 3]], call: (x) => x.pad([[1, 2], [0, 1]]) },
    { shapes: [[2, 4]], call: (x) => x.pad([[-1, 2], [1, -2]], 3) },
    { shapes: [[3, 4]], call: (x) => x.pad([[1, 2], [3, -1]], { mode: "reflect" }) },
    { shapes: [[2, 3]], call: (x) => x.pad([[2, 0], [-1, 4]], { mode: "replicate" }) },
    { shapes: [[2, 3]], call: (x) => x.pad([[1, 2], [2, -1]], { mode: "circular" }) },
  ],
}, (x: Tensor, padding: readonly (readonly [number, number])[], mode: PadMode, value: number): Tensor => {
  const each = x.shape.map((_, i) => padding[i - (x.rank - padding.length)] ?? [0, 0]);
  if (mode !== "constant") {
    return each.reduce(
      (y: Tensor, [before, after], a) => before === 0 && after === 0 ? y : padAxis(y, a, before, after, mode),
      x,
    );
  }
  const more = each.map(([before, after]) => [Math.max(before, 0), Math.max(after, 0)]);
  const kept = each.reduce(
    (y: Tensor, [before, after], a) => crop(y, a, Math.min(before, 0), Math.min(after, 0)),
    x,
  );
  const shape = kept.shape.map((n, i) => n + more[i][0] + more[i][1]);
  const starts = more.map(([before]) => before), steps = shape.map(() => 1);
  if (more.every(([before, after]) => before + after === 0)) return kept;
  const padded = kept.scatterWindow(shape, starts, steps);
  if (value === 0) return padded;
  const inside = kept.scalarLike(1, "bool").expand(kept.shape).scatterWindow(shape, starts, steps);
  return padded.maskedFill(inside.logicalNot(), value);
});
