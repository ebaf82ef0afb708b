/** Order statistics along one axis in terms of `argsort`, `argmax` and `gather`: derivatives go to the element found. */
import { apply } from "../node.ts";
import { composite } from "../composite.ts";
import { allBatched, custom } from "../families.ts";
import { isFloat, promote } from "../dtype.ts";
import { showShape, sizeOf } from "../shape.ts";
import type { Tensor } from "../tensor.ts";
import { less, more } from "./reduction.ts";
import { recurrence } from "./running.ts";

/** Elements along an axis, and where they stand (i32). */
export interface Found {
  /** The elements. */
  values: Tensor;
  /** Their places along the axis. */
  indices: Tensor;
}

/** The elements at `indices`, which have length 1 along `axis`; the axis vanishes unless it is kept. */
function found(x: Tensor, indices: Tensor, axis: number, keepdim: boolean): Found {
  const values = x.gather(axis, indices);
  return keepdim ? { values, indices } : { values: values.squeeze(axis), indices: indices.squeeze(axis) };
}

/** Refuses a line without elements. */
function checkSome(action: string, x: Tensor, axis: number): void {
  if (x.shape[axis] > 0) return;
  throw new RangeError(
    `Cannot take the ${action} along axis ${axis} of shape ${showShape(x.shape)}: it has length 0`,
  );
}

/** The one found element of a whole tensor; ties share the derivative equally. */
function ofAll(x: Tensor, value: Tensor): Tensor {
  const v = value.stopGradient(),
    same = isFloat(x.dtype) ? x.eq(v).logicalOr(x.isnan().logicalAnd(v.isnan())) : x.eq(v);
  return isFloat(x.dtype) ? x.where(same, -Infinity).amax() : value;
}

const TIES = [1, 3, 3, 2, 2, 0, 0, 2];

export const max = composite(
  {
    name: "max",
    tex: ([x]) => `\\max ${x}`,
    texPartials: ([x], f) => [`\\partial ${f} / \\partial {${x}}_i = [i = k], \\; ${f} = {${x}}_k`],
    samples: [
      { shapes: [[2, 4]], call: (x) => x.max(1).values },
      { shapes: [[2, 4]], call: (x) => x.max(0, { keepdim: true }).indices, values: [TIES] },
      { shapes: [[]], call: (x) => x.max(-1).values },
      { shapes: [[2, 4]], call: (x) => x.max() },
    ],
  },
  (x: Tensor, axis: number, keepdim: boolean): Found =>
    found(x, x.argmax(axis, { keepdim: true }), axis, keepdim),
);

export const min = composite(
  {
    name: "min",
    tex: ([x]) => `\\min ${x}`,
    texPartials: ([x], f) => [`\\partial ${f} / \\partial {${x}}_i = [i = k], \\; ${f} = {${x}}_k`],
    samples: [
      { shapes: [[2, 4]], call: (x) => x.min(1).values },
      { shapes: [[2, 4]], call: (x) => x.min(0, { keepdim: true }).indices, values: [TIES] },
      { shapes: [[]], call: (x) => x.min(-1).values },
      { shapes: [[2, 4]], call: (x) => x.min() },
    ],
  },
  (x: Tensor, axis: number, keepdim: boolean): Found =>
    found(x, x.argmin(axis, { keepdim: true }), axis, keepdim),
);

export const sort = composite({
  name: "sort",
  tex: ([x]) => `\\operatorname{sort} ${x}`,
  texPartials: (
    [x],
    f,
  ) => [`\\partial {${f}}_i / \\partial {${x}}_j = [j = k_i], \\; {${f}}_i = {${x}}_{k_i}`],
  samples: [
    { shapes: [[2, 4]], call: (x) => x.sort().values },
    { shapes: [[4, 2]], call: (x) => x.sort(0, { descending: true }).indices, values: [TIES] },
    { shapes: [[]], call: (x) => x.sort().values },
  ],
}, (x: Tensor, axis: number, descending: boolean): Found => {
  const indices = x.argsort(axis, { descending });
  return { values: x.gather(axis, indices), indices };
});

export const topk = composite({
  name: "topk",
  tex: ([x]) => `\\operatorname{topk} ${x}`,
  texPartials: (
    [x],
    f,
  ) => [`\\partial {${f}}_i / \\partial {${x}}_j = [j = k_i], \\; {${f}}_i = {${x}}_{k_i}`],
  samples: [
    { shapes: [[2, 4]], call: (x) => x.topk(2).values },
    { shapes: [[4, 2]], call: (x) => x.topk(3, 0, { largest: false }).values },
    { shapes: [[3]], call: (x) => x.topk(0).values },
    { shapes: [[]], call: (x) => x.topk(1).values },
  ],
}, (x: Tensor, k: number, axis: number, largest: boolean): Found => {
  const n = x.shape[axis];
  if (!Number.isInteger(k) || k < 0 || k > n) {
    throw new RangeError(
      `Cannot take the topk with k = ${k} along axis ${axis} of shape ${
        showShape(x.shape)
      }: k is a whole number from 0 to ${n}`,
    );
  }
  const indices = x.argsort(axis, { descending: largest }).narrow(axis, 0, k);
  return { values: x.gather(axis, indices), indices };
});

export const kthvalue = composite({
  name: "kthvalue",
  tex: ([x]) => `${x}_{(k)}`,
  texPartials: ([x], f) => [`\\partial ${f} / \\partial {${x}}_i = [i = k], \\; ${f} = {${x}}_k`],
  samples: [
    { shapes: [[2, 4]], call: (x) => x.kthvalue(2).values },
    { shapes: [[4, 2]], call: (x) => x.kthvalue(4, 0, { keepdim: true }).values },
    { shapes: [[]], call: (x) => x.kthvalue(1).values },
  ],
}, (x: Tensor, k: number, axis: number, keepdim: boolean): Found => {
  const n = x.shape[axis];
  if (!Number.isInteger(k) || k < 1 || k > n) {
    throw new RangeError(
      `Cannot take the kthvalue with k = ${k} along axis ${axis} of shape ${
        showShape(x.shape)
      }: k is a whole number from 1, the smallest, to ${n}`,
    );
  }
  return found(x, x.argsort(axis).narrow(axis, k - 1, 1), axis, keepdim);
});

export const median = composite({
  name: "median",
  tex: ([x]) => `\\operatorname{median} ${x}`,
  texPartials: ([x], f) => [`\\partial ${f} / \\partial {${x}}_i = [i = k], \\; ${f} = {${x}}_k`],
  samples: [
    { shapes: [[2, 5]], call: (x) => x.median(1).values },
    { shapes: [[4, 2]], call: (x) => x.median(0, { keepdim: true }).indices, values: [TIES] },
    { shapes: [[2, 3]], call: (x) => x.median(1).values, values: [[1, NaN, 2, 5, 4, 6]], differences: false },
    { shapes: [[2, 3]], call: (x) => x.median() },
    { shapes: [[]], call: (x) => x.median(0).values },
    { shapes: [[4]], call: (x) => x.median(), dtypes: ["i32"] },
  ],
}, (x: Tensor, axis: number, keepdim: boolean): Found => {
  checkSome("median", x, axis);
  let indices = x.argsort(axis).narrow(axis, (x.shape[axis] - 1) >> 1, 1);
  // The first NaN is the median of a line that has one.
  if (isFloat(x.dtype)) {
    indices = x.argmax(axis, { keepdim: true }).where(x.isnan().any(axis, { keepdim: true }), indices);
  }
  return found(x, indices, axis, keepdim);
});

/** The median of all elements. */
export const medianOfAll = (x: Tensor): Tensor => ofAll(x, x.reshape([-1]).median(0).values);

export const nanmedian = composite({
  name: "nanmedian",
  tex: ([x]) => `\\operatorname{nanmedian} ${x}`,
  texPartials: ([x], f) => [`\\partial ${f} / \\partial {${x}}_i = [i = k], \\; ${f} = {${x}}_k`],
  samples: [
    { shapes: [[2, 5]], call: (x) => x.nanmedian(1).values },
    {
      shapes: [[2, 4]],
      call: (x) => x.nanmedian(1).values,
      values: [[1, NaN, 2, 3, 5, NaN, NaN, 6]],
      differences: false,
    },
    { shapes: [[2, 3]], call: (x) => x.nanmedian() },
    { shapes: [[]], call: (x) => x.nanmedian(0).values },
  ],
}, (x: Tensor, axis: number, keepdim: boolean): Found => {
  checkSome("nanmedian", x, axis);
  const n = x.isnan().logicalNot().sum(axis, { keepdim: true });
  return found(x, x.argsort(axis).gather(axis, n.sub(1).clamp(0).floorDivide(2)), axis, keepdim);
});

/** The median of all elements that are not NaN. */
export const nanmedianOfAll = (x: Tensor): Tensor => ofAll(x, x.reshape([-1]).nanmedian(0).values);

export const mode = composite({
  name: "mode",
  tex: ([x]) => `\\operatorname{mode} ${x}`,
  texPartials: ([x], f) => [`\\partial ${f} / \\partial {${x}}_i = [i = k], \\; ${f} = {${x}}_k`],
  samples: [
    { shapes: [[2, 4]], call: (x) => x.mode().values, values: [TIES], differences: false },
    {
      shapes: [[4, 2]],
      call: (x) => x.mode(0, { keepdim: true }).values,
      values: [TIES],
      differences: false,
    },
    { shapes: [[]], call: (x) => x.mode().values },
  ],
}, (x: Tensor, axis: number, keepdim: boolean): Found => {
  checkSome("mode", x, axis);
  const { values, indices } = x.sort(axis), n = x.shape[axis];
  // Runs of equal elements, counted: the first longest is that of the smallest mode, and ends at its last place.
  const same = values.narrow(axis, 1, n - 1).eq(values.narrow(axis, 0, n - 1)).to("i32");
  const ones = values.scalarLike(1, "i32").expand(values.shape);
  const factors = same.pad(values.shape.map((_, i): [number, number] => [i === axis ? 1 : 0, 0]));
  const runs = apply(recurrence, [factors, ones], { axis, reverse: false });
  return found(x, indices.gather(axis, runs.argmax(axis, { keepdim: true })), axis, keepdim);
});

/** How a quantile between two elements comes from them. */
export type Interpolation = "linear" | "lower" | "higher" | "midpoint" | "nearest";

/** a + w (b - a) from the nearer end, so that both ends are exact and infinite ones stay. */
function between(a: Tensor, b: Tensor, w: Tensor): Tensor {
  const whole = b.sub(a), near = w.lt(0.5);
  return a.add(whole.mul(w)).where(near, b.sub(whole.mul(w.neg().add(1))));
}

/** Elements at fractional `ranks` of sorted lines: `ranks` has their shape but for `axis`. */
function interpolate(sorted: Tensor, axis: number, ranks: Tensor, valid: Tensor, how: Interpolation): Tensor {
  // The length is no place, so the engine refuses it.
  const at = (r: Tensor): Tensor => sorted.gather(axis, r.to("i32").where(valid, sorted.shape[axis]));
  switch (how) {
    case "lower":
      return at(ranks.floor());
    case "higher":
      return at(ranks.floor().add(ranks.floor().lt(ranks).to(ranks.dtype)));
    case "nearest":
      return at(ranks.round());
    case "linear":
    case "midpoint": {
      const low = ranks.stopGradient().floor(), weight = ranks.sub(low);
      const below = at(low), above = at(low.add(weight.stopGradient().gt(0).to(low.dtype)));
      return between(below, above, how === "linear" ? weight : weight.onesLike().mul(0.5));
    }
  }
}

/** Quantiles of lines: `q` has rank 0 or 1, and its axis comes first in the result. */
function quantiles(
  x: Tensor,
  q: Tensor,
  axis: number,
  keepdim: boolean,
  how: Interpolation,
  skipNan: boolean,
): Tensor {
  const name = skipNan ? "nanquantile" : "quantile";
  if (q.rank > 1) {
    throw new RangeError(
      `Cannot take the ${name} at q of shape ${showShape(q.shape)}: it has one axis at most`,
    );
  }
  checkSome(name, x, axis);
  const sorted = x.sort(axis).values, isNan = x.isnan();
  const n = skipNan
    ? isNan.logicalNot().sum(axis, { keepdim: true }).sub(1).clamp(0).to(x.dtype)
    : x.scalarLike(x.shape[axis] - 1).expand(x.shape.map((m, i) => i === axis ? 1 : m));
  const Q = q.size, wide = q.reshape(x.shape.map((_, i) => i === axis ? Q : 1));
  let ranks = wide.mul(n); // Q along the axis
  // The last element of a line with NaN is NaN.
  if (!skipNan) ranks = ranks.maskedFill(isNan.any(axis, { keepdim: true }), x.shape[axis] - 1);
  const y = interpolate(sorted, axis, ranks, wide.ge(0).logicalAnd(wide.le(1)), how);
  const first = y.movedim(axis, 0); // [Q, rest]
  const rest = keepdim ? x.shape.map((m, i) => i === axis ? 1 : m) : first.shape.slice(1);
  return first.reshape([...q.shape, ...rest]);
}

const QUANTILE_SAMPLES = (name: "quantile" | "nanquantile") => [
  { shapes: [[2, 5]], call: (x: Tensor) => x[name](0.3, 1) },
  { shapes: [[4, 2]], call: (x: Tensor) => x[name](0.6, 0, { keepdim: true, interpolation: "midpoint" }) },
  ...(["lower", "higher", "nearest"] as const).map((interpolation) => ({
    shapes: [[2, 5]],
    call: (x: Tensor) => x[name](0.45, 1, { interpolation }),
  })),
  {
    shapes: [[2, 3], [2]],
    call: (x: Tensor, q: Tensor) => x[name](q, 1),
    domain: [[-1, 1], [0.1, 0.4]] as [number, number][],
    notSpecial: "a quantile is a number from 0 to 1",
  },
  { shapes: [[3, 2]], call: (x: Tensor) => x[name](0.5) },
  {
    shapes: [[2, 4]],
    call: (x: Tensor) => x[name](0.7, 1),
    values: [[1, NaN, 2, 3, 5, 4, 7, 6]],
    differences: false,
  },
];

export const quantile = composite(
  { name: "quantile", tex: ([x]) => `Q_q(${x})`, samples: QUANTILE_SAMPLES("quantile") },
  (x: Tensor, q: Tensor, axis: number, keepdim: boolean, how: Interpolation): Tensor =>
    quantiles(x, q, axis, keepdim, how, false),
);

export const nanquantile = composite(
  { name: "nanquantile", tex: ([x]) => `Q_q(${x})`, samples: QUANTILE_SAMPLES("nanquantile") },
  (x: Tensor, q: Tensor, axis: number, keepdim: boolean, how: Interpolation): Tensor =>
    quantiles(x, q, axis, keepdim, how, true),
);

/** Where values belong in sorted lines: the first place (`right`: the last) that keeps the order; NaN goes last. */
export const searchsorted = custom({
  name: "searchsorted",
  tex: ([s, x]) => `\\#\\{j : {${s}}_j < ${x}\\}`,
  discrete: true,
  samples: [
    {
      shapes: [[4], [2, 3]],
      call: (s, x) => apply(searchsorted, [s, x], { right: false }),
      values: [[-1, 0, 0, 1]],
    },
    {
      shapes: [[2, 3], [2, 5]],
      call: (s, x) => apply(searchsorted, [s, x], { right: true }),
      values: [[-1, 0, 1, 0, 0, 2], [0, 1, -1, 3, -3, 0.5, 0, 2, -1, 9]],
    },
    {
      shapes: [[3], []],
      call: (s, x) => apply(searchsorted, [s, x], { right: true }),
      values: [[-1, 0, 1], [0]],
    },
    {
      shapes: [[3], [4]],
      call: (s, x) => apply(searchsorted, [s, x], { right: false }),
      dtypes: ["i32", "i32"],
      values: [[-1, 0, 1]],
    },
  ],
  infer: ([s, x]) => {
    const rank = s.shape.length;
    if (
      rank === 0 ||
      (rank > 1 && (rank !== x.shape.length || s.shape.some((n, i) => i < rank - 1 && n !== x.shape[i])))
    ) {
      throw new RangeError(
        `Cannot search ${showShape(s.shape)} for values of shape ${
          showShape(x.shape)
        }: give one sorted line, or one for each line of values, with equal leading axes`,
      );
    }
    if (s.dtype !== x.dtype) {
      throw new TypeError(`Cannot search values of type ${x.dtype} among ${s.dtype}: convert one of them`);
    }
    return { shape: x.shape, dtype: "i32" };
  },
  host: ([s, x], y, { right }) => {
    const n = s.shape[s.shape.length - 1], m = s.shape.length === 1 ? 0 : x.shape[x.shape.length - 1];
    for (let t = 0; t < x.data.length; t++) {
      const start = m === 0 ? 0 : Math.floor(t / m) * n, v = x.data[t];
      let low = 0, high = n;
      while (low < high) {
        const middle = (low + high) >> 1, w = s.data[start + middle];
        if (right ? !(w > v) : !(w >= v)) low = middle + 1;
        else high = middle;
      }
      y.data[t] = low;
    }
  },
  wgsl: {
    threads: (_, y) => sizeOf(y.shape),
    uniforms: ([s, x], _, { right }) => [
      s.shape[s.shape.length - 1],
      s.shape.length === 1 ? sizeOf(x.shape) : x.shape[x.shape.length - 1],
      right ? 1 : 0,
    ],
    body: ([{ dtype }]) => {
      const above = isFloat(dtype) ? "gtf(w, v)" : more(dtype)("w", "v");
      const reaches = isFloat(dtype) ? "gef(w, v)" : `!(${less(dtype)("w", "v")})`;
      return `let start = (t / u(1)) * u(0); let v = x1(t);
      var low = 0; var high = u(0);
      while (low < high) {
        let middle = low + (high - low) / 2; let w = x0(start + middle);
        if (select(${reaches}, ${above}, u(2) == 1)) { high = middle; } else { low = middle + 1; }
      }
      put(t, low);`;
    },
  },
  flops: ([s, x]) => sizeOf(x.shape) * Math.log2(s.shape[s.shape.length - 1] + 2),
  vjp: () => [null, null],
  jvp: () => null,
  batch: (x, batched, p, B) => {
    // One line for all values stays one; a line for each element of the batch takes all its values.
    if (!batched[0] && x[0].rank === 1) return apply(searchsorted, x, p);
    const [s, v] = allBatched(x, batched, B);
    return s.rank > 2
      ? apply(searchsorted, [s, v], p)
      : apply(searchsorted, [s, v.reshape([B, sizeOf(v.shape.slice(1))])], p).reshape(v.shape);
  },
});

/** `searchsorted` for operands of any types. */
export function search(sorted: Tensor, values: Tensor, right: boolean): Tensor {
  const dtype = promote(sorted.dtype, values.dtype);
  return apply(searchsorted, [sorted.to(dtype), values.to(dtype)], { right });
}

export const bucketize = composite({
  name: "bucketize",
  tex: ([x, b]) => `\\#\\{j : {${b}}_j < ${x}\\}`,
  samples: [
    { shapes: [[2, 3], [4]], call: (x, b) => x.bucketize(b), values: [undefined, [-1, 0, 0, 1]] },
    { shapes: [[3], [2]], call: (x, b) => x.bucketize(b, { right: true }), values: [undefined, [-0.5, 0.5]] },
  ],
}, (x: Tensor, boundaries: Tensor, right: boolean): Tensor => search(boundaries, x, right));

export const isin = composite({
  name: "isin",
  tex: ([x, y]) => `[${x} \\in ${y}]`,
  samples: [
    { shapes: [[2, 3], [4]], call: (x, y) => x.isin(y), values: [[1, 2, 3, 4, 5, 6], [5, 2, 7, 2]] },
    { shapes: [[3], [0]], call: (x, y) => x.isin(y) },
  ],
}, (x: Tensor, elements: Tensor): Tensor => {
  const m = elements.size;
  if (m === 0) return x.ne(x).logicalAnd(x.eq(x));
  const sorted = elements.to(promote(x.dtype, elements.dtype)).reshape([m]).sort().values;
  const at = search(sorted, x, false).clamp(0, m - 1);
  return sorted.gather(0, at.reshape([x.size])).reshape(x.shape).eq(x);
});

export const aminmax = composite({
  name: "aminmax",
  tex: ([x]) => `(\\min ${x}, \\max ${x})`,
  texPartials: ([x], f) => [`[{${x}}_i = ${f}] / \\#\\{j : {${x}}_j = ${f}\\}`],
  samples: [{
    shapes: [[2, 4]],
    call: (x) => {
      const { min, max } = x.aminmax(1);
      return [min, max];
    },
  }],
}, (x: Tensor, axis: number | undefined, keepdim: boolean): { min: Tensor; max: Tensor } => ({
  min: x.amin(axis, { keepdim }),
  max: x.amax(axis, { keepdim }),
}));

export const msort = composite({
  name: "msort",
  tex: ([x]) => `\\operatorname{sort} ${x}`,
  texPartials: (
    [x],
    f,
  ) => [`\\partial {${f}}_i / \\partial {${x}}_j = [j = k_i], \\; {${f}}_i = {${x}}_{k_i}`],
  samples: [{ shapes: [[4, 2]], call: (x) => x.msort() }],
}, (x: Tensor): Tensor => x.sort(0).values);
