/** The convolution of any rank, of which its derivatives and the transposed convolution are instances again. */
import { apply } from "../node.ts";
import { multilinear } from "../families.ts";
import { type DType, isFloat } from "../dtype.ts";
import { type Shape, showShape, sizeOf, stridesOf } from "../shape.ts";
import type { Tensor } from "../tensor.ts";
import { eachIndex } from "./indexing.ts";

/** Attributes of {@linkcode convolution}, a number for each spatial axis. */
export interface Convolution {
  /** Step of the window. */
  readonly stride: readonly number[];
  /** Places before the input at which the first window begins; negative inside of it. */
  readonly before: readonly number[];
  /** Step within the window. */
  readonly dilation: readonly number[];
  /** Distance at which the input's elements are laid out, with zeros between them. */
  readonly spread: readonly number[];
  /** Lengths of the result; what windows read beyond the input is nothing. */
  readonly size: readonly number[];
}

/** Lengths of N, G, C, O, and of the spatial axes of input and window. */
function lengths(x: Shape, w: Shape): { N: number; G: number; C: number; O: number; I: Shape; K: Shape } {
  return { N: x[0], G: x[1], C: x[2], O: w[1], I: x.slice(3), K: w.slice(3) };
}

/** For an axis: the input's place under window t and tap k, or -1 where there is nothing, at t K + k. */
function places(p: Convolution, axis: number, I: number, K: number): Int32Array {
  const out = new Int32Array(p.size[axis] * K);
  for (let t = 0; t < p.size[axis]; t++) {
    for (let k = 0; k < K; k++) {
      const q = t * p.stride[axis] + k * p.dilation[axis] - p.before[axis], i = q / p.spread[axis];
      out[t * K + k] = q >= 0 && Number.isInteger(i) && i < I ? i : -1;
    }
  }
  return out;
}

const flipped = (x: Tensor): Tensor => x.flip(x.shape.slice(3).map((_, i) => 3 + i));
/** Axes 0, 1 and 2 in another order, the spatial ones as they are. */
const leading = (x: Tensor, ...axes: number[]): Tensor =>
  x.permute([...axes, ...x.shape.slice(3).map((_, i) => 3 + i)]);

/**
 * `y[n,g,o,t] = sum over c, k of x[n,g,c,i] w[g,o,c,k]` with `i spread = t stride + k dilation - before`, for x
 * `[N, G, C, ...I]`, w `[G, O, C, ...K]` and y `[N, G, O, ...size]`. What lies outside of x adds nothing, whatever
 * the weight: there are no zeros that an infinite weight could turn into NaN.
 */
export const convolution = multilinear({
  name: "convolution",
  tex: ([x, w]) => `${x} \\star ${w}`,
  texPullbacks: ([x, w], y) => [`\\bar{${y}} \\ast ${w}`, `${x} \\star \\bar{${y}}`],
  infer: ([x, w], p: Convolution) => {
    if (x.dtype !== w.dtype) {
      throw new TypeError(
        `Cannot convolve types ${x.dtype} and ${w.dtype}: convert one of them, as in x.to("${w.dtype}")`,
      );
    }
    if (x.dtype === "bool") {
      throw new TypeError(`Cannot convolve tensors of type bool: convert them, as in x.to("f32")`);
    }
    if (x.shape.length !== w.shape.length || x.shape[1] !== w.shape[0] || x.shape[2] !== w.shape[2]) {
      throw new Error(`Internal: convolution of ${showShape(x.shape)} and ${showShape(w.shape)}`);
    }
    return { shape: [x.shape[0], x.shape[1], w.shape[1], ...p.size], dtype: x.dtype };
  },
  host: ([x, w], y, p: Convolution) => {
    const { G, C, O, I, K } = lengths(x.shape, w.shape), inputs = sizeOf(I), taps = sizeOf(K);
    const at = I.map((n, a) => places(p, a, n, K[a])), strides = stridesOf(I), whole = !isFloat(y.dtype);
    eachIndex(y.shape, ([n, g, o, ...t], to) => {
      let s = 0;
      for (let c = 0; c < C; c++) {
        const from = ((n * G + g) * C + c) * inputs, weight = ((g * O + o) * C + c) * taps;
        eachIndex(K, (k, j) => {
          let i = from;
          for (let a = 0; a < k.length; a++) {
            const place = at[a][t[a] * K[a] + k[a]];
            if (place < 0) return;
            i += place * strides[a];
          }
          s = whole ? (s + Math.imul(x.data[i], w.data[weight + j])) | 0 : s + x.data[i] * w.data[weight + j];
        });
      }
      y.data[to] = s;
    });
  },
  wgsl: {
    threads: (_, y) => sizeOf(y.shape),
    uniforms: ([x, w], y, p) => convolutionUniforms(x.shape, w.shape, y.shape, p),
    body: ([x]) => convolutionWgsl(x.shape.length - 3, x.dtype),
  },
  flops: ([, w], y) => 2 * sizeOf(y.shape) * sizeOf(w.shape.slice(2)),
  transposes: [
    // The cotangent, spread by the stride, under the mirrored window, in steps of the spread.
    (ct, { x: [x, w], p }) =>
      apply(convolution, [ct, leading(flipped(w), 0, 2, 1)], {
        stride: p.spread,
        before: p.before.map((b: number, a: number) => (w.shape[3 + a] - 1) * p.dilation[a] - b),
        dilation: p.dilation,
        spread: p.stride,
        size: x.shape.slice(3),
      }),
    // The cotangent is the window: steps and dilation change places, and so do batch and channels.
    (ct, { x: [x, w], p }) =>
      leading(
        apply(convolution, [leading(x, 2, 1, 0), leading(ct, 1, 2, 0)], {
          ...p,
          stride: p.dilation,
          dilation: p.stride,
          size: w.shape.slice(3),
        }), // [C, G, O, ...K]
        1,
        2,
        0,
      ),
  ],
  batch: ([x, w], batched, p, B) => {
    const [N, G] = x.shape.slice(batched[0] ? 1 : 0), O = w.shape[batched[1] ? 2 : 1];
    const rest = (t: Tensor): number[] => t.shape.slice(3).map((_, i) => 3 + i);
    if (!batched[1]) { // the batch axis joins N
      return apply(convolution, [x.reshape([B * N, ...x.shape.slice(2)]), w], p)
        .reshape([B, N, G, O, ...p.size]);
    }
    if (!batched[0]) { // it joins the outputs of each group
      const all = w.permute([1, 0, 2, ...rest(w)]).reshape([G, B * O, ...w.shape.slice(3)]);
      const y = apply(convolution, [x, all], p).reshape([N, G, B, O, ...p.size]);
      return y.permute([2, 0, 1, 3, ...y.shape.slice(4).map((_, i) => 4 + i)]);
    }
    // It joins the groups.
    const xs = x.permute([1, 0, 2, ...rest(x)]).reshape([N, B * G, ...x.shape.slice(3)]);
    const y = apply(convolution, [xs, w.reshape([B * G, ...w.shape.slice(2)])], p);
    return y.reshape([N, B, G, O, ...p.size]).permute([1, 0, 2, ...y.shape.slice(2).map((_, i) => 3 + i)]);
  },
});

/** Uniforms of {@linkcode convolutionWgsl}, where each thread sums `each` products (by default all). */
export function convolutionUniforms(
  x: Shape,
  w: Shape,
  y: Shape,
  p: Convolution,
  each: number = sizeOf(w.slice(2)),
): number[] {
  const { G, C, O, I, K } = lengths(x, w);
  return [
    sizeOf(y),
    each,
    G,
    C,
    O,
    sizeOf(K),
    ...I.flatMap((
      n,
      a,
    ) => [p.size[a], n, K[a], p.stride[a], p.before[a], p.dilation[a], p.spread[a]]),
  ];
}

/** A thread sums part `t / size` of the products of one element: of all its taps in all channels, in order. */
export function convolutionWgsl(rank: number, dtype: DType): string {
  const axes = Array.from({ length: rank }, (_, a) => a),
    u = (a: number, k: number): string => `u(${6 + 7 * a + k})`;
  const zero = dtype === "i32" ? "0" : dtype === "u32" ? "0u" : "0.0";
  // The next tap: the last axis turns fastest, then the others, then the channel.
  const next = axes.reduce(
    (outer, a) => `k${a}++; if (k${a} == ${u(a, 2)}) { k${a} = 0; ${outer} }`,
    "base += inputs;",
  );
  return `
    var rest = t % u(0); let first = (t / u(0)) * u(1); let last = min(first + u(1), u(3) * u(5));
    ${
    axes.toReversed().map((a) =>
      `let start${a} = (rest % ${u(a, 0)}) * ${u(a, 3)} - ${u(a, 4)}; rest /= ${u(a, 0)};`
    ).join("\n")
  }
    let o = rest % u(4); rest /= u(4); let g = rest % u(2);
    var inputs = 1; ${axes.map((a) => `inputs *= ${u(a, 1)};`).join(" ")}
    let weight = (g * u(4) + o) * u(3) * u(5);
    var tap = first % u(5); var base = (rest * u(3) + first / u(5)) * inputs;
    ${axes.toReversed().map((a) => `var k${a} = tap % ${u(a, 2)}; tap /= ${u(a, 2)};`).join(" ")}
    var s = ${zero};
    for (var r = first; r < last; r++) {
      ${
    axes.map((a) => `let q${a} = start${a} + k${a} * ${u(a, 5)}; let i${a} = q${a} / ${u(a, 6)};`).join("\n")
  }
      if (${
    axes.map((a) => `q${a} >= 0 && i${a} * ${u(a, 6)} == q${a} && i${a} < ${u(a, 1)}`).join(" && ")
  }) {
        var at = 0; ${axes.map((a) => `at = at * ${u(a, 1)} + i${a};`).join(" ")}
        s += x0(base + at) * x1(weight + r);
      }
      ${next}
    }
    put(t, s);`;
}
