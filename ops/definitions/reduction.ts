/** Folds over axes, and the two operations along one axis that are made of them: softmax and logsumexp. */
import { apply } from "../node.ts";
import { custom, reduction } from "../families.ts";
import { type DType, isFloat } from "../dtype.ts";
import type { Aval, HostArray, RuleContext } from "../primitive.ts";
import { type Shape, sizeOf, splitAt } from "../shape.ts";
import type { Tensor } from "../tensor.ts";

/** The reduced value with its axes back as ones, to broadcast against the operand. */
function kept(y: Tensor, c: RuleContext): Tensor {
  return y.reshape(c.x[0].shape.map((n, i) => c.p.axes.includes(i) ? 1 : n));
}

export const sum = reduction({
  name: "sum",
  tex: ([x]) => `\\sum ${x}`,
  texPullbacks: (_, y) => [`\\operatorname{expand} \\bar{${y}}`],
  result: (dtype) => dtype === "bool" ? "i32" : dtype,
  init: () => 0,
  host: (a, x) => a + x,
  hostInteger: (a, x) => (a + x) | 0,
  wgsl: (a, x) => `(${a} + ${x})`,
  vjp: (ct, c) => [kept(ct, c).expand(c.x[0].shape)],
  jvp: ([dx], { p }) => apply(sum, [dx!], p),
});

/** The products of all other elements along the last axis, zeros included, differentiable to any order. */
export function productOfOthers(x: Tensor): Tensor {
  const n = x.shape[x.rank - 1];
  const shifted = (t: Tensor, by: number): Tensor => t.narrow(-1, 0, n - by).padOnes(by, 0);
  const backShifted = (t: Tensor, by: number): Tensor => t.narrow(-1, by, n - by).padOnes(0, by);
  let before = n > 1 ? shifted(x, 1) : x.onesLike(), after = n > 1 ? backShifted(x, 1) : x.onesLike();
  for (let by = 1; by < n; by *= 2) {
    before = before.mul(shifted(before, by));
    after = after.mul(backShifted(after, by));
  }
  return before.mul(after);
}

/** The operand with the reduced axes last, as one. */
function flattened(x: Tensor, axes: number[]): { flat: Tensor; back: (t: Tensor) => Tensor } {
  const rest = x.shape.map((_, i) => i).filter((i) => !axes.includes(i));
  const order = [...rest, ...axes], moved = x.permute(order);
  const inverse: number[] = [];
  order.forEach((a, i) => inverse[a] = i);
  return {
    flat: moved.reshape([...rest.map((i) => x.shape[i]), sizeOf(axes.map((i) => x.shape[i]))]),
    back: (t) => t.reshape(moved.shape).permute(inverse),
  };
}

export const prod = reduction({
  name: "prod",
  tex: ([x]) => `\\prod ${x}`,
  texPartials: ([x]) => [`\\prod_{j \\ne i} {${x}}_j`],
  result: (dtype) => dtype === "bool" ? "i32" : dtype,
  init: () => 1,
  host: (a, x) => a * x,
  hostInteger: Math.imul,
  wgsl: (a, x) => `(${a} * ${x})`,
  vjp: (ct, c) => {
    const { flat, back } = flattened(c.x[0], c.p.axes);
    return [back(productOfOthers(flat)).mul(kept(ct, c))];
  },
  jvp: ([dx], c) => {
    const { flat, back } = flattened(c.x[0], c.p.axes);
    return apply(sum, [back(productOfOthers(flat)).mul(dx!)], c.p);
  },
});

/** Where the extremum is taken, shared equally among ties; NaN counts as the extremum. */
function shareOfExtremum(c: RuleContext): Tensor {
  const [x] = c.x, y = kept(c.y.stopGradient(), c);
  const here = x.eq(y).logicalOr(isFloat(x.dtype) ? x.isnan().logicalAnd(y.isnan()) : x.ne(x)).to(x.dtype);
  return here.div(kept(apply(sum, [here], c.p), c));
}

function extremum(
  name: "amax" | "amin",
  host: (a: number, x: number) => number,
  first: (dtype: DType) => number,
) {
  return reduction({
    name,
    tex: ([x]) => `\\${name.slice(1)} ${x}`,
    texPartials: ([x], y) => [`[{${x}}_i = ${y}] / \\#\\{j : {${x}}_j = ${y}\\}`],
    empty: "there is no largest or smallest of no elements",
    init: first,
    host,
    wgsl: (a, x, dtype) => isFloat(dtype) ? `${name.slice(1)}f(${a}, ${x})` : `${name.slice(1)}(${a}, ${x})`,
    vjp: (ct, c) => [shareOfExtremum(c).mul(kept(ct, c))],
    jvp: ([dx], c) => apply(sum, [shareOfExtremum(c).mul(dx!)], c.p),
  });
}

const LOWEST: Record<DType, number> = {
  f32: -Infinity,
  f16: -Infinity,
  bf16: -Infinity,
  f64: -Infinity,
  i32: -(2 ** 31),
  u32: 0,
  bool: 0,
};
const HIGHEST: Record<DType, number> = {
  f32: Infinity,
  f16: Infinity,
  bf16: Infinity,
  f64: Infinity,
  i32: 2 ** 31 - 1,
  u32: 2 ** 32 - 1,
  bool: 1,
};

export const amax = extremum("amax", Math.max, (dtype) => LOWEST[dtype]);
export const amin = extremum("amin", Math.min, (dtype) => HIGHEST[dtype]);

/** Calls `f` with the first index and the stride of every line along `axis`. */
export function forLines(
  shape: Shape,
  axis: number,
  f: (start: number, stride: number, line: number) => void,
): void {
  const [outer, n, inner] = splitAt(shape, axis);
  for (let o = 0; o < outer; o++) for (let i = 0; i < inner; i++) f(o * n * inner + i, inner, o * inner + i);
}

/** Uniforms and address of a line along an axis, for kernels with a thread a line. */
export const LINE = {
  threads: (x: readonly Aval[], _: Aval, p: { axis: number }): number => {
    const [outer, , inner] = splitAt(x[0].shape, p.axis);
    return outer * inner;
  },
  uniforms: (x: readonly Aval[], _: Aval, p: { axis: number }): number[] =>
    splitAt(x[0].shape, p.axis).slice(1),
  /** `n` elements from `start` on, `stride` apart. */
  wgsl: "let n = u(0); let stride = u(1); let start = (t / stride) * n * stride + t % stride;",
};

/** WGSL of `a < b`, NaN being larger than everything. */
export function less(dtype: DType): (a: string, b: string) => string {
  return isFloat(dtype)
    ? (a, b) => `(ltf(${a}, ${b}) || (isNan(${b}) && !isNan(${a})))`
    : (a, b) => dtype === "bool" ? `(!${a} && ${b})` : `(${a} < ${b})`;
}

/** WGSL of `a > b`, NaN being larger than everything. */
export function more(dtype: DType): (a: string, b: string) => string {
  return (a, b) => less(dtype)(b, a);
}

/** log(sum(exp(x))) along one axis, which vanishes; the maximum is taken out first, so nothing overflows. */
export const logsumexp = custom({
  name: "logsumexp",
  tex: ([x]) => `\\ln \\sum e^{${x}}`,
  texPartials: ([x]) => [`\\operatorname{softmax}(${x})`],
  infer: ([x], p) => ({ shape: x.shape.filter((_, i) => i !== p.axis), dtype: x.dtype }),
  host: ([x], y, { axis }) => {
    const n = x.shape[axis];
    forLines(x.shape, axis, (start, stride, line) => {
      let m = -Infinity, s = 0;
      for (let k = 0; k < n; k++) m = Math.max(m, x.data[start + k * stride]);
      if (Number.isFinite(m)) { for (let k = 0; k < n; k++) s += Math.exp(x.data[start + k * stride] - m); }
      y.data[line] = Number.isFinite(m) ? m + Math.log(s) : m;
    });
  },
  wgsl: {
    threads: LINE.threads,
    uniforms: LINE.uniforms,
    body: () =>
      `${LINE.wgsl}
      var m = -inf(); var s = 0.0;
      for (var k = 0; k < n; k++) { m = maxf(m, x0(start + k * stride)); }
      if (isFinite(m)) {
        for (var k = 0; k < n; k++) { s += expf(x0(start + k * stride) - m); }
        put(t, m + logf(s));
      } else { put(t, m); }`,
  },
  flops: ([x]) => 12 * sizeOf(x.shape),
  vjp: (ct, c) => [logsumexpPartial(c).mul(ct.unsqueeze(c.p.axis))],
  jvp: ([dx], c) => logsumexpPartial(c).mul(dx!).sum(c.p.axis),
  batch: ([x], _, p) => apply(logsumexp, [x], { axis: p.axis + 1 }),
});

/** exp(x - y): the softmax; 0 where all is -infinity. */
function logsumexpPartial({ x: [x], y, p }: RuleContext): Tensor {
  return x.sub(y.where(y.ne(-Infinity), 0).unsqueeze(p.axis)).exp();
}

/** exp(x) / sum(exp(x)) along one axis. */
export const softmax = custom({
  name: "softmax",
  tex: ([x]) => `\\operatorname{softmax}(${x})`,
  texPartials: (_, y) => [`\\operatorname{diag}(${y}) - ${y}\\,{${y}}^\\top`],
  infer: ([x]) => ({ shape: x.shape, dtype: x.dtype }),
  host: ([x], y, { axis }) => {
    const n = x.shape[axis];
    forLines(x.shape, axis, (start, stride) => {
      let m = -Infinity, s = 0;
      for (let k = 0; k < n; k++) m = Math.max(m, x.data[start + k * stride]);
      for (let k = 0; k < n; k++) s += Math.exp(x.data[start + k * stride] - m);
      for (let k = 0; k < n; k++) y.data[start + k * stride] = Math.exp(x.data[start + k * stride] - m) / s;
    });
  },
  wgsl: {
    threads: LINE.threads,
    uniforms: LINE.uniforms,
    body: () =>
      `${LINE.wgsl}
      var m = -inf(); var s = 0.0;
      for (var k = 0; k < n; k++) { m = maxf(m, x0(start + k * stride)); }
      for (var k = 0; k < n; k++) { s += expf(x0(start + k * stride) - m); }
      for (var k = 0; k < n; k++) { put(start + k * stride, expf(x0(start + k * stride) - m) / s); }`,
  },
  flops: ([x]) => 25 * sizeOf(x.shape),
  vjp: (ct, { y, p }) => [y.mul(ct.sub(ct.mul(y).sum(p.axis, { keepdim: true })))],
  jvp: ([dx], { y, p }) => y.mul(dx!.sub(dx!.mul(y).sum(p.axis, { keepdim: true }))),
  batch: ([x], _, p) => apply(softmax, [x], { axis: p.axis + 1 }),
});

const cumsumTex = (x: string, reverse: boolean): string =>
  reverse
    ? `\\operatorname{flip} \\operatorname{cumsum} \\operatorname{flip} ${x}`
    : `\\operatorname{cumsum} ${x}`;

/** Running sums along one axis, from the front or (`reverse`) from the back. */
export const cumsum = custom({
  name: "cumsum",
  tex: ([x], p) => cumsumTex(x, p.reverse),
  texPullbacks: (_, y, p) => [cumsumTex(`\\bar{${y}}`, !p.reverse)],
  infer: ([x]) => ({ shape: x.shape, dtype: x.dtype }),
  host: ([x], y, { axis, reverse }) => {
    const n = x.shape[axis];
    forLines(x.shape, axis, (start, stride) => {
      let s = 0;
      for (let k = 0; k < n; k++) {
        const i = start + (reverse ? n - 1 - k : k) * stride;
        y.data[i] = s += x.data[i];
      }
    });
  },
  wgsl: {
    threads: LINE.threads,
    uniforms: (x, y, p) => [...LINE.uniforms(x, y, p), p.reverse ? 1 : 0],
    body: ([x]) =>
      `${LINE.wgsl}
      var s = ${x.dtype === "i32" ? "0" : x.dtype === "u32" ? "0u" : "0.0"};
      for (var k = 0; k < n; k++) {
        let i = start + select(k, n - 1 - k, u(2) == 1) * stride;
        s += x0(i); put(i, s);
      }`,
  },
  flops: ([x]) => sizeOf(x.shape),
  vjp: (ct, { p }) => [apply(cumsum, [ct], { ...p, reverse: !p.reverse })],
  jvp: ([dx], { p }) => apply(cumsum, [dx!], p),
  batch: ([x], _, p) => apply(cumsum, [x], { ...p, axis: p.axis + 1 }),
});

/** WGSL of whether `v` goes before `value` as the extremum: further out, or the first NaN. */
export function beats(name: "argmax" | "argmin", dtype: DType): string {
  if (name === "argmax") return more(dtype)("v", "value");
  return isFloat(dtype) ? "(ltf(v, value) || (isNan(v) && !isNan(value)))" : less(dtype)("v", "value");
}

/** Index of an extremum along one axis, the first of ties; NaN counts as the extremum. */
function argExtremum(name: "argmax" | "argmin") {
  const sign = name === "argmax" ? 1 : -1;
  const self = custom({
    name,
    tex: ([x]) => `\\operatorname{${name}} ${x}`,
    discrete: true,
    infer: ([x], p) => {
      if (x.shape[p.axis] === 0) {
        throw new RangeError(`Cannot ${name} along axis ${p.axis} of shape [${x.shape}]: it has length 0`);
      }
      return { shape: x.shape.filter((_, i) => i !== p.axis), dtype: "i32" };
    },
    host: ([x], y, { axis }) => {
      const n = x.shape[axis];
      forLines(x.shape, axis, (start, stride, line) => {
        let best = 0, value: number = x.data[start];
        for (let k = 1; k < n; k++) {
          const v = x.data[start + k * stride];
          if (sign * v > sign * value || (Number.isNaN(v) && !Number.isNaN(value))) {
            best = k;
            value = v;
          }
        }
        y.data[line] = best;
      });
    },
    wgsl: {
      threads: LINE.threads,
      uniforms: LINE.uniforms,
      body: ([x]) =>
        `${LINE.wgsl}
      var best = 0; var value = x0(start);
      for (var k = 1; k < n; k++) {
        let v = x0(start + k * stride);
        if (${beats(name, x.dtype)}) { best = k; value = v; }
      }
      put(t, best);`,
    },
    flops: ([x]) => sizeOf(x.shape),
    vjp: () => [null],
    jvp: () => null,
    batch: ([x], _, p) => apply(self, [x], { axis: p.axis + 1 }),
  });
  return self;
}

export const argmax = argExtremum("argmax");
export const argmin = argExtremum("argmin");

/** Order which sorts along one axis: stable, NaN last (first when descending). */
export const argsort = custom({
  name: "argsort",
  tex: ([x]) => `\\operatorname{argsort} ${x}`,
  discrete: true,
  infer: ([x]) => ({ shape: x.shape, dtype: "i32" }),
  host: ([x]: HostArray[], y, { axis, descending }) => {
    const n = x.shape[axis], s = descending ? -1 : 1;
    forLines(x.shape, axis, (start, stride) => {
      const at = (k: number): number => x.data[start + k * stride];
      const order = Array.from({ length: n }, (_, k) => k).sort((a, b) => {
        const v = at(a), w = at(b);
        // NaN is larger than everything.
        return v < w ? -s : v > w ? s : s * (+Number.isNaN(v) - +Number.isNaN(w));
      });
      order.forEach((k, place) => y.data[start + place * stride] = k);
    });
  },
  wgsl: {
    // A thread an element: its place is the number of elements that come before it.
    threads: ([x]) => sizeOf(x.shape),
    uniforms: (x, y, p) => [...LINE.uniforms(x, y, p), p.descending ? 1 : 0],
    body: ([x]) => {
      const before = less(x.dtype);
      return `let n = u(0); let stride = u(1);
      let start = (t / (n * stride)) * n * stride + t % stride; let mine = (t / stride) % n;
      let v = x0(start + mine * stride); var place = 0;
      for (var k = 0; k < n; k++) {
        let w = x0(start + k * stride);
        let below = select(${before("w", "v")}, ${before("v", "w")}, u(2) == 1);
        let above = select(${before("v", "w")}, ${before("w", "v")}, u(2) == 1);
        if (below || (!above && k < mine)) { place++; }
      }
      put(start + place * stride, mine);`;
    },
  },
  flops: ([x], _, p) => sizeOf(x.shape) * Math.log2(Math.max(2, x.shape[p.axis])),
  vjp: () => [null],
  jvp: () => null,
  batch: ([x], _, p) => apply(argsort, [x], { ...p, axis: p.axis + 1 }),
});
