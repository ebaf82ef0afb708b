/** Running results along one axis: each element hangs on the one before it. */
import { apply } from "../node.ts";
import { composite } from "../composite.ts";
import { allBatched, custom } from "../families.ts";
import { type DType, isFloat } from "../dtype.ts";
import type { Aval, Custom } from "../primitive.ts";
import { sameShape, showShape, sizeOf } from "../shape.ts";
import type { Tensor } from "../tensor.ts";
import { forLines, less, LINE } from "./reduction.ts";

/** WGSL of a running result: what is carried along a line, and how it moves on to place `k`, which is element `i`. */
export interface RunningWgsl {
  /** Declares what is carried. */
  readonly state: string;
  /** Sets it to what it was where the result was `carry`. */
  readonly restore: string;
  /** Moves it on. */
  readonly step: string;
  /** The result, from what is carried. */
  readonly value: string;
}

/** What a kernel knows of its operands. */
type Types = readonly Pick<Aval, "dtype">[];

/** `start` is the line's first element; `u(2)` is 1 where lines run from the back. */
const ELEMENT = "let i = start + select(k, n - 1 - k, u(2) == 1) * stride;";

/** A thread a line. */
function runningKernel(wgsl: (x: Types) => RunningWgsl): Custom["wgsl"] {
  return {
    threads: LINE.threads,
    uniforms: (x, y, p) => [...LINE.uniforms(x, y, p), p.reverse === true ? 1 : 0],
    body: (x) => {
      const r = wgsl(x);
      return `${LINE.wgsl} ${r.state}
      for (var k = 0; k < n; k++) { ${ELEMENT} ${r.step} put(i, ${r.value}); }`;
    },
  };
}

/**
 * The same from place `u(3)` to `u(4)`, where operand `carry`, if there is one, has the line's result before: writes
 * each result, or (`last`) only what is carried on.
 */
export function runningPart(
  { state, restore, step, value }: RunningWgsl,
  carry: number,
  last: boolean,
): string {
  return `${LINE.wgsl} ${state}
  ${carry < 0 ? "" : `let carry = x${carry}(t); ${restore}`}
  for (var k = u(3); k < u(4); k++) { ${ELEMENT} ${step} ${last ? "" : `put(i, ${value});`} }
  ${last ? `put(t, ${value});` : ""}`;
}

/** Along `axis`, all but the last element; or all but the first. */
const withoutLast = (t: Tensor, axis: number): Tensor => t.narrow(axis, 0, t.shape[axis] - 1);
const withoutFirst = (t: Tensor, axis: number): Tensor => t.narrow(axis, 1, t.shape[axis] - 1);

/** A zero before the first element along `axis`, or (`after`) behind the last. */
function withZero(t: Tensor, axis: number, after: boolean): Tensor {
  return t.pad(t.shape.map((_, i): [number, number] => i !== axis ? [0, 0] : after ? [0, 1] : [1, 0]));
}

/** `t` where each element has that of its predecessor: that one is next to it, in front or (`reverse`) behind. */
function predecessor(t: Tensor, axis: number, reverse: boolean): Tensor {
  return reverse ? withoutFirst(t, axis) : withoutLast(t, axis);
}

const recurrenceWgsl = ([, { dtype }]: Types): RunningWgsl => ({
  state: `var y = ${isFloat(dtype) ? "0.0" : dtype === "i32" ? "0" : "0u"};`,
  restore: "y = carry;",
  step: "if (k == 0) { y = x1(i); } else { y = x0(i) * y + x1(i); }",
  value: "y",
});

/**
 * The linear recurrence y_k = a_k y_{k-1} + b_k along one axis, y_0 = b_0; with `reverse` y_k = a_k y_{k+1} + b_k.
 * Its derivatives are such recurrences too, the pullback in the other direction.
 */
export const recurrence = custom({
  name: "recurrence",
  tex: ([a, b]) => `y_k = {${a}}_k\\,y_{k-1} + {${b}}_k`,
  texPullbacks: ([a], y) => [
    `\\bar{b}_k\\,{${y}}_{k-1}`,
    `\\bar{b}_k = \\bar{${y}}_k + {${a}}_{k+1}\\,\\bar{b}_{k+1}`,
  ],
  samples: [
    { shapes: [[2, 4], [2, 4]], call: (a, b) => apply(recurrence, [a, b], { axis: 1, reverse: false }) },
    { shapes: [[3, 2], [3, 2]], call: (a, b) => apply(recurrence, [a, b], { axis: 0, reverse: true }) },
    { shapes: [[1, 2], [1, 2]], call: (a, b) => apply(recurrence, [a, b], { axis: 0, reverse: false }) },
    {
      shapes: [[3], [3]],
      call: (a, b) => apply(recurrence, [a, b], { axis: 0, reverse: true }),
      dtypes: ["i32", "i32"],
    },
  ],
  infer: ([a, b]) => {
    if (!sameShape(a.shape, b.shape) || a.dtype !== b.dtype) {
      throw new RangeError(
        `Cannot run a recurrence of factors ${showShape(a.shape)} ${a.dtype} and terms ${
          showShape(b.shape)
        } ${b.dtype}: they must be alike`,
      );
    }
    return { shape: b.shape, dtype: b.dtype };
  },
  host: ([a, b], y, { axis, reverse }) => {
    const n = b.shape[axis], product = isFloat(b.dtype) ? (u: number, v: number) => u * v : Math.imul;
    forLines(b.shape, axis, (start, stride) => {
      let value = 0;
      for (let k = 0; k < n; k++) {
        const i = start + (reverse ? n - 1 - k : k) * stride;
        y.data[i] = value = k === 0 ? b.data[i] : product(a.data[i], value) + b.data[i];
      }
    });
  },
  wgsl: runningKernel(recurrenceWgsl),
  flops: ([, b]) => 2 * sizeOf(b.shape),
  vjp: (ct, { x: [a], y, p: { axis, reverse }, needs }) => {
    if (y.shape[axis] < 2) return [needs[0] ? y.zerosLike() : null, ct];
    // The factor between k and its successor stands at the successor.
    const factors = withZero(predecessor(a, axis, !reverse), axis, !reverse);
    const terms = apply(recurrence, [factors, ct], { axis, reverse: !reverse });
    const inside = predecessor(terms, axis, !reverse).mul(predecessor(y, axis, reverse));
    return [needs[0] ? withZero(inside, axis, reverse) : null, terms];
  },
  jvp: ([da, db], { x: [a, b], y, p }) => {
    let terms = db ?? b.zerosLike();
    if (da !== null && y.shape[p.axis] > 1) {
      const inside = predecessor(da, p.axis, !p.reverse).mul(predecessor(y, p.axis, p.reverse));
      terms = terms.add(withZero(inside, p.axis, p.reverse));
    }
    return apply(recurrence, [a, terms], p);
  },
  batch: (x, batched, p, B) => apply(recurrence, allBatched(x, batched, B), { ...p, axis: p.axis + 1 }),
});

/** Running products: the recurrence of factors x_k without terms, so zeros do no harm to derivatives. */
export const cumprod = composite({
  name: "cumprod",
  tex: ([x]) => `\\operatorname{cumprod} ${x}`,
  texPartials: ([x], y) => [`\\partial {${y}}_k / \\partial {${x}}_i = \\prod_{j \\le k, j \\ne i} {${x}}_j`],
  samples: [
    { shapes: [[2, 4]], call: (x) => x.cumprod(1) },
    { shapes: [[3, 2]], call: (x) => x.cumprod(0), values: [[0, 2, 0.5, 0, -1, 0]] },
    { shapes: [[]], call: (x) => x.cumprod(-1) },
  ],
}, (x: Tensor, axis: number): Tensor => {
  const n = x.shape[axis];
  if (n < 2) return x;
  const first = x.narrow(axis, 0, 1).pad(
    x.shape.map((_, i): [number, number] => [0, i === axis ? n - 1 : 0]),
  );
  return apply(recurrence, [x, first], { axis, reverse: false });
});

/** Whether `x` goes before `y` as an extremum: at least as far out, or NaN. */
const beyond = (name: "cummax" | "cummin", dtype: DType): string => {
  const [a, b] = name === "cummax" ? ["v", "value"] : ["value", "v"];
  return isFloat(dtype) ? `(isNan(v) || (!isNan(value) && !ltf(${a}, ${b})))` : `!(${less(dtype)(a, b)})`;
};

const extremumWgsl = (name: "cummax" | "cummin") => ([{ dtype }]: Types): RunningWgsl => ({
  state: "var best = 0; var value = x0(start);",
  restore: "best = carry; value = x0(start + best * stride);",
  step: `let v = x0(i); if (${beyond(name, dtype)}) { best = k; value = v; }`,
  value: "best",
});

/** Where the largest or smallest element so far stands along one axis: the last of ties; NaN stays. */
function runningExtremum(op: "argcummax" | "argcummin") {
  const name = op.slice(3) as "cummax" | "cummin";
  const self = custom({
    name: op,
    tex: ([x]) => `\\operatorname{${op}} ${x}`,
    discrete: true,
    samples: [
      { shapes: [[2, 4]], call: (x) => x[name](1).indices },
      { shapes: [[4, 2]], call: (x) => x[name](0).indices, values: [[1, 2, 1, 3, 0, 3, 1, 0]] },
      { shapes: [[4]], call: (x) => x[name](0).indices, dtypes: ["i32"] },
    ],
    infer: ([x]) => ({ shape: x.shape, dtype: "i32" }),
    host: ([x], y, { axis }) => {
      const n = x.shape[axis], s = name === "cummax" ? 1 : -1;
      forLines(x.shape, axis, (start, stride) => {
        let best = 0, value: number = x.data[start];
        for (let k = 0; k < n; k++) {
          const v = x.data[start + k * stride];
          if (Number.isNaN(v) || s * v >= s * value) {
            best = k;
            value = v;
          }
          y.data[start + k * stride] = best;
        }
      });
    },
    wgsl: runningKernel(extremumWgsl(name)),
    flops: ([x]) => sizeOf(x.shape),
    vjp: () => [null],
    jvp: () => null,
    batch: ([x], _, p) => apply(self, [x], { axis: p.axis + 1 }),
  });
  return self;
}

/** Indices of `cummax`. */
export const argcummax = runningExtremum("argcummax");
/** Indices of `cummin`. */
export const argcummin = runningExtremum("argcummin");

const atRunning = (name: "cummax" | "cummin", op: Custom) =>
  composite({
    name,
    tex: ([x]) => `\\operatorname{${name}} ${x}`,
    samples: [
      { shapes: [[2, 4]], call: (x) => x[name](1).values },
      { shapes: [[3, 2]], call: (x) => x[name](0).values },
    ],
  }, (x: Tensor, axis: number): { values: Tensor; indices: Tensor } => {
    const indices = apply(op, [x], { axis });
    return { values: x.gather(axis, indices), indices };
  });

/** The largest element so far and where it stands. */
export const cummax = atRunning("cummax", argcummax);
/** The smallest element so far and where it stands. */
export const cummin = atRunning("cummin", argcummin);

const logcumsumexpWgsl = (): RunningWgsl => ({
  state: "var m = -inf(); var s = 0.0;",
  restore: "m = carry; s = 1.0;",
  // The largest element so far is taken out; s sums e^(x - m).
  step: `let v = x0(i);
    if (isNan(v)) { m = v; } else if (gtf(v, m)) { s = s * expf(m - v) + 1.0; m = v; }
    else if (isFinite(v)) { s += expf(v - m); }`,
  value: "select(m, m + logf(s), isFinite(m))",
});

/** ln of running sums of e^x along one axis, without overflow. */
export const logcumsumexp = custom({
  name: "logcumsumexp",
  tex: ([x]) => `\\ln \\operatorname{cumsum} e^{${x}}`,
  texPartials: (
    [x],
    y,
  ) => [`\\partial {${y}}_k / \\partial {${x}}_i = e^{{${x}}_i - {${y}}_k}, \\; i \\le k`],
  samples: [
    { shapes: [[2, 4]], call: (x) => x.logcumsumexp(1) },
    { shapes: [[3, 2]], call: (x) => x.logcumsumexp(0), domain: [[-9, 9]] },
    { shapes: [[]], call: (x) => x.logcumsumexp(0) },
  ],
  infer: ([x]) => ({ shape: x.shape, dtype: x.dtype }),
  host: ([x], y, { axis }) => {
    const n = x.shape[axis];
    forLines(x.shape, axis, (start, stride) => {
      let m = -Infinity, s = 0;
      for (let k = 0; k < n; k++) {
        const i = start + k * stride, v = x.data[i];
        if (Number.isNaN(v)) m = v;
        else if (v > m) {
          s = s * Math.exp(m - v) + 1;
          m = v;
        } else if (Number.isFinite(v)) s += Math.exp(v - m);
        y.data[i] = Number.isFinite(m) ? m + Math.log(s) : m;
      }
    });
  },
  wgsl: runningKernel(logcumsumexpWgsl),
  flops: ([x]) => 25 * sizeOf(x.shape),
  // Sums of e^(x_i - y_k) over k are recurrences with factors e^(y_k - y_{k+1}), which are at most 1.
  vjp: (ct, { x: [x], y, p: { axis } }) => {
    const sums = apply(recurrence, [decay(y, axis, true), ct], { axis, reverse: true });
    return [share(x, y).mul(sums)];
  },
  jvp: ([dx], { x: [x], y, p: { axis } }) =>
    apply(recurrence, [decay(y, axis, false), share(x, y).mul(dx!)], { axis, reverse: false }),
  batch: ([x], _, p) => apply(logcumsumexp, [x], { axis: p.axis + 1 }),
});

/** e^(x - y); 0 where nothing has been summed yet. */
function share(x: Tensor, y: Tensor): Tensor {
  const some = y.ne(-Infinity);
  return x.sub(y.where(some, 0)).exp();
}

/** e^(y_k - y_{k+1}), at k or at k + 1; 0 where nothing has been summed yet. */
function decay(y: Tensor, axis: number, atFirst: boolean): Tensor {
  if (y.shape[axis] < 2) return y.zerosLike();
  const before = withoutLast(y, axis), after = withoutFirst(y, axis), some = after.ne(-Infinity);
  return withZero(before.sub(after.where(some, 0)).exp(), axis, atFirst);
}

/** Kernels that engines cut where lines are too long for one thread, by name. */
export const RUNNING: Record<string, (x: Types) => RunningWgsl> = {
  recurrence: recurrenceWgsl,
  argcummax: extremumWgsl("cummax"),
  argcummin: extremumWgsl("cummin"),
  logcumsumexp: logcumsumexpWgsl,
};
