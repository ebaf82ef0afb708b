/** Windows that move over spatial axes: the place of their maximum, what stands there, and their elements laid out. */
import { apply } from "../node.ts";
import { allBatched, custom, multilinear } from "../families.ts";
import { type DType, isFloat } from "../dtype.ts";
import type { Attributes, Custom } from "../primitive.ts";
import { type Shape, sizeOf, stridesOf } from "../shape.ts";
import type { Tensor } from "../tensor.ts";
import { eachIndex } from "./indexing.ts";

/** Windows over axes 1, 2, ... of an operand `[N, ...I]`, a number for each. */
export interface Windows {
  /** Lengths of the window. */
  readonly kernel: readonly number[];
  /** Step of the window. */
  readonly stride: readonly number[];
  /** Places before the input at which the first window begins. */
  readonly before: readonly number[];
  /** Step within the window. */
  readonly dilation: readonly number[];
  /** How many windows there are. */
  readonly size: readonly number[];
  /** Windows of n / size elements, from rounded down to rounded up, instead of all the above but the size. */
  readonly adaptive: boolean;
}

/** The first place of window t that lies within an axis of length n, the place behind its last one, and the step. */
export function windowAlong(p: Windows, axis: number, n: number, t: number): [number, number, number] {
  if (p.adaptive) return [Math.floor(t * n / p.size[axis]), Math.ceil((t + 1) * n / p.size[axis]), 1];
  const step = p.dilation[axis], from = t * p.stride[axis] - p.before[axis];
  return [
    from < 0 ? from + Math.ceil(-from / step) * step : from,
    Math.min(n, from + (p.kernel[axis] - 1) * step + 1),
    step,
  ];
}

const axesOf = (rank: number): number[] => Array.from({ length: rank }, (_, a) => a);

/** Seven uniforms an axis: number of windows, length of the input, then the window; whether adaptive is `u(0)`. */
const windowUniforms = (I: Shape, p: Windows): number[] => [
  p.adaptive ? 1 : 0,
  ...I.flatMap((n, a) => [p.size[a], n, p.kernel[a], p.stride[a], p.before[a], p.dilation[a]]),
];
const u = (a: number, k: number): string => `u(${1 + 6 * a + k})`;
const product = (rank: number, k: number): string => axesOf(rank).map((a) => u(a, k)).join(" * ");

/** WGSL: the index `t` of a result `[N, ...]` as `rest` (of N) and `t0`, `t1` ... with lengths `u(a, k)`. */
const unravel = (rank: number, k: number): string =>
  `var rest = t;\n` +
  axesOf(rank).toReversed().map((a) => `let t${a} = rest % ${u(a, k)}; rest /= ${u(a, k)};`).join("\n");
/** WGSL: the row-major index of `names` in axes with lengths `u(a, k)`. */
const ravel = (rank: number, k: number, names: string): string =>
  axesOf(rank).reduce((at, a) => a === 0 ? `${names}0` : `(${at}) * ${u(a, k)} + ${names}${a}`, "0");

/** Joins the batch axis with axis 0, which is one of many alike. */
const joined = (op: () => Custom) => (x: Tensor[], batched: boolean[], p: Attributes, B: number): Tensor => {
  const all = allBatched(x, batched, B);
  const y = apply(op(), all.map((t) => t.reshape([B * t.shape[1], ...t.shape.slice(2)])), p);
  return y.reshape([B, y.shape[0] / B, ...y.shape.slice(1)]);
};

/**
 * The place (i32, counted through all spatial axes) of the largest element of each window: the first of ties, the
 * last NaN.
 */
export const windowArgmax = custom({
  name: "windowArgmax",
  tex: ([x]) => `\\operatorname{argmax} ${x}`,
  discrete: true,
  infer: ([x], p: Windows) => {
    if (x.dtype === "bool") {
      throw new TypeError(`Cannot maxPool a tensor of type bool: convert it first, as in x.to("f32")`);
    }
    return { shape: [x.shape[0], ...p.size], dtype: "i32" };
  },
  host: ([x], y, p: Windows) => {
    const I = x.shape.slice(1), strides = stridesOf(I), inputs = sizeOf(I), rank = I.length;
    const at = new Array<number>(rank);
    eachIndex(y.shape, ([n, ...t], to) => {
      const windows = I.map((m, a) => windowAlong(p, a, m, t[a]));
      let best = -1, value = 0;
      const visit = (axis: number, from: number): void => {
        if (axis < rank) {
          const [first, end, step] = windows[axis];
          for (at[axis] = first; at[axis] < end; at[axis] += step) {
            visit(axis + 1, from + at[axis] * strides[axis]);
          }
          return;
        }
        const v = x.data[n * inputs + from];
        if (best < 0 || v > value || Number.isNaN(v)) best = from, value = v;
      };
      visit(0, 0);
      y.data[to] = best;
    });
  },
  wgsl: {
    threads: (_, y) => sizeOf(y.shape),
    uniforms: ([x], _, p) => windowUniforms(x.shape.slice(1), p),
    body: ([x]) => {
      const rank = x.shape.length - 1, float = isFloat(x.dtype);
      const loops = axesOf(rank).reduceRight(
        (inner, a) => `for (var i${a} = first${a}; i${a} < end${a}; i${a} += step${a}) { ${inner} }`,
        `let k = ${ravel(rank, 1, "i")}; let v = x0(base + k);
        if (best < 0 || ${float ? "ltf(value, v) || isNan(v)" : "value < v"}) { best = k; value = v; }`,
      );
      return `${unravel(rank, 0)}
        ${axesOf(rank).map(windowWgsl).join("\n")}
        let base = rest * ${product(rank, 1)};
        var best = -1; var value = x0(base);
        ${loops}
        put(t, best);`;
    },
  },
  flops: (_, y, p) => sizeOf(y.shape) * sizeOf(p.kernel),
  vjp: () => [null],
  jvp: () => null,
  batch: joined(() => windowArgmax),
});

/** WGSL of {@linkcode windowAlong}. */
const windowWgsl = (a: number): string => `
  var first${a} = t${a} * ${u(a, 3)} - ${u(a, 4)}; var step${a} = ${u(a, 5)};
  var end${a} = min(${u(a, 1)}, first${a} + (${u(a, 2)} - 1) * step${a} + 1);
  if (first${a} < 0) { first${a} += ((step${a} - 1 - first${a}) / step${a}) * step${a}; }
  if (u(0) == 1) {
    first${a} = t${a} * ${u(a, 1)} / ${u(a, 0)}; step${a} = 1;
    end${a} = ((t${a} + 1) * ${u(a, 1)} + ${u(a, 0)} - 1) / ${u(a, 0)};
  }`;

/** What stands in x `[N, ...I]` at the places (of {@linkcode windowArgmax}) `[N, ...size]`. */
export const windowTake = multilinear({
  name: "windowTake",
  tex: ([x, i]) => `${x}[${i}]`,
  texPullbacks: ([, i], y) => [`\\sum_{${i}} \\bar{${y}}`, "0"],
  infer: ([x, index]) => ({ shape: index.shape, dtype: x.dtype }),
  host: ([x, index], y) => {
    const inputs = sizeOf(x.shape.slice(1)), outputs = sizeOf(y.shape.slice(1));
    for (let t = 0; t < y.data.length; t++) {
      y.data[t] = x.data[Math.floor(t / outputs) * inputs + index.data[t]];
    }
  },
  wgsl: {
    threads: (_, y) => sizeOf(y.shape),
    uniforms: ([x], y) => [sizeOf(x.shape.slice(1)), sizeOf(y.shape.slice(1))],
    body: () => `put(t, x0((t / u(1)) * u(0) + x1(t)));`,
  },
  flops: () => 0,
  transposes: [
    (ct, { x: [x, index], p }) => apply(windowPut, [ct, index], { ...p, input: x.shape.slice(1) }),
    null,
  ],
  batch: joined(() => windowTake),
});

/** Sums elements `[N, ...size]` at their places into zeros `[N, ...input]`: the transpose of {@linkcode windowTake}. */
export const windowPut = multilinear({
  name: "windowPut",
  tex: ([ct, i]) => `\\sum_{${i}} ${ct}`,
  texPullbacks: ([, i], y) => [`\\bar{${y}}[${i}]`, "0"],
  infer: ([ct], p) => ({ shape: [ct.shape[0], ...p.input], dtype: ct.dtype }),
  host: ([ct, index], y) => {
    const inputs = sizeOf(y.shape.slice(1)), outputs = sizeOf(ct.shape.slice(1));
    // Sums in double precision, then rounds once, whatever the type of the store.
    const sums = new Float64Array(y.data.length);
    for (let t = 0; t < ct.data.length; t++) {
      sums[Math.floor(t / outputs) * inputs + index.data[t]] += ct.data[t];
    }
    for (let i = 0; i < sums.length; i++) y.data[i] = sums[i];
  },
  wgsl: {
    // A thread a destination: sums, in order, the windows over it whose maximum it is.
    threads: (_, y) => sizeOf(y.shape),
    uniforms: (_, y, p) => windowUniforms(y.shape.slice(1), p),
    body: ([ct]) => {
      const rank = ct.shape.length - 1;
      const range = (a: number): string => `
        var first${a} = max(0, (t${a} + ${u(a, 4)} - (${u(a, 2)} - 1) * ${u(a, 5)} + ${u(a, 3)} - 1) / ${
        u(a, 3)
      });
        var end${a} = min(${u(a, 0)}, (t${a} + ${u(a, 4)}) / ${u(a, 3)} + 1);
        if (u(0) == 1) {
          first${a} = t${a} * ${u(a, 0)} / ${u(a, 1)};
          end${a} = ((t${a} + 1) * ${u(a, 0)} + ${u(a, 1)} - 1) / ${u(a, 1)};
        }`;
      const loops = axesOf(rank).reduceRight(
        (inner, a) => `for (var i${a} = first${a}; i${a} < end${a}; i${a}++) { ${inner} }`,
        `let j = base + ${ravel(rank, 0, "i")}; if (x1(j) == mine) { s += x0(j); }`,
      );
      return `${unravel(rank, 1)}
        let mine = ${ravel(rank, 1, "t")}; let base = rest * ${product(rank, 0)};
        ${axesOf(rank).map(range).join("\n")}
        var s = ${zeroOf(ct.dtype)};
        ${loops}
        put(t, s);`;
    },
  },
  flops: ([ct]) => sizeOf(ct.shape),
  transposes: [(ct, { x: [, index], p }) => apply(windowTake, [ct, index], p), null],
  batch: joined(() => windowPut),
});

const zeroOf = (dtype: DType): string => dtype === "i32" ? "0" : dtype === "u32" ? "0u" : "0.0";

/** For window t and tap k, both row-major: the place in the input, or -1 outside of it. */
function eachTap(I: Shape, p: Windows, f: (tap: number, window: number, place: number) => void): void {
  const strides = stridesOf(I), windows = sizeOf(p.size), rank = I.length;
  eachIndex([...p.kernel, ...p.size], (index, at) => {
    let place = 0;
    for (let a = 0; a < rank && place >= 0; a++) {
      const i = index[rank + a] * p.stride[a] + index[a] * p.dilation[a] - p.before[a];
      place = i >= 0 && i < I[a] ? place + i * strides[a] : -1;
    }
    f(Math.floor(at / windows), at % windows, place);
  });
}

/** The elements of all windows: x `[N, ...I]` to `[N, ...kernel, ...size]`, zeros where a window leaves the input. */
export const unfoldWindows = multilinear({
  name: "unfoldWindows",
  tex: ([x]) => `\\operatorname{unfold} ${x}`,
  texPullbacks: (_, y) => [`\\operatorname{fold} \\bar{${y}}`],
  infer: ([x], p: Windows) => ({ shape: [x.shape[0], ...p.kernel, ...p.size], dtype: x.dtype }),
  host: ([x], y, p: Windows) => {
    const I = x.shape.slice(1),
      inputs = sizeOf(I),
      windows = sizeOf(p.size),
      elements = sizeOf(y.shape.slice(1));
    eachTap(I, p, (tap, window, place) => {
      for (let n = 0; n < x.shape[0]; n++) {
        y.data[n * elements + tap * windows + window] = place < 0 ? 0 : x.data[n * inputs + place];
      }
    });
  },
  wgsl: {
    threads: (_, y) => sizeOf(y.shape),
    uniforms: ([x], _, p) => windowUniforms(x.shape.slice(1), p),
    body: ([x]) => {
      const rank = x.shape.length - 1, axes = axesOf(rank);
      return `${unravel(rank, 0)}
        ${axes.toReversed().map((a) => `let k${a} = rest % ${u(a, 2)}; rest /= ${u(a, 2)};`).join("\n")}
        ${axes.map((a) => `let i${a} = t${a} * ${u(a, 3)} + k${a} * ${u(a, 5)} - ${u(a, 4)};`).join("\n")}
        var v = ${x.dtype === "bool" ? "false" : zeroOf(x.dtype)};
        if (${axes.map((a) => `i${a} >= 0 && i${a} < ${u(a, 1)}`).join(" && ")}) {
          v = x0(rest * ${product(rank, 1)} + ${ravel(rank, 1, "i")});
        }
        put(t, v);`;
    },
  },
  flops: () => 0,
  transposes: [(ct, { x: [x], p }) => apply(foldWindows, [ct], { ...p, input: x.shape.slice(1) })],
  batch: joined(() => unfoldWindows),
});

/** Sums windows `[N, ...kernel, ...size]` where they overlap, to `[N, ...input]`: the transpose of unfolding. */
export const foldWindows = multilinear({
  name: "foldWindows",
  tex: ([x]) => `\\operatorname{fold} ${x}`,
  texPullbacks: (_, y) => [`\\operatorname{unfold} \\bar{${y}}`],
  infer: ([x], p) => ({ shape: [x.shape[0], ...p.input], dtype: x.dtype }),
  host: ([x], y, p) => {
    const I = y.shape.slice(1),
      inputs = sizeOf(I),
      windows = sizeOf(p.size),
      elements = sizeOf(x.shape.slice(1));
    // Sums in double precision, then rounds once, whatever the type of the store.
    const sums = new Float64Array(y.data.length);
    eachTap(I, p, (tap, window, place) => {
      if (place < 0) return;
      for (let n = 0; n < x.shape[0]; n++) {
        sums[n * inputs + place] += x.data[n * elements + tap * windows + window];
      }
    });
    for (let i = 0; i < sums.length; i++) y.data[i] = sums[i];
  },
  wgsl: {
    threads: (_, y) => sizeOf(y.shape),
    uniforms: (_, y, p) => windowUniforms(y.shape.slice(1), p),
    body: ([x], y) => {
      const rank = y.shape.length - 1, axes = axesOf(rank);
      const loops = axes.reduceRight(
        (inner, a) =>
          `for (var k${a} = 0; k${a} < ${u(a, 2)}; k${a}++) {
          let q${a} = t${a} + ${u(a, 4)} - k${a} * ${u(a, 5)}; let i${a} = q${a} / ${u(a, 3)};
          if (q${a} < 0 || i${a} * ${u(a, 3)} != q${a} || i${a} >= ${u(a, 0)}) { continue; }
          ${inner} }`,
        `s += x0((rest * ${product(rank, 2)} + ${ravel(rank, 2, "k")}) * ${product(rank, 0)} + ${
          ravel(rank, 0, "i")
        });`,
      );
      return `${unravel(rank, 1)}
        var s = ${zeroOf(x.dtype)};
        ${loops}
        put(t, s);`;
    },
  },
  flops: ([x]) => sizeOf(x.shape),
  transposes: [(ct, { p }) => apply(unfoldWindows, [ct], p)],
  batch: joined(() => foldWindows),
});
