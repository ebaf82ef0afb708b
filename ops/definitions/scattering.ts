/** Writing at indices: which source a destination gets where several are sent to it, and folds of all that are. */
import { composite } from "../composite.ts";
import { type DType, isFloat } from "../dtype.ts";
import { allBatched, custom } from "../families.ts";
import { apply } from "../node.ts";
import type { RuleContext } from "../primitive.ts";
import { sameShape, type Shape, sizeOf, splitAt, stridesOf } from "../shape.ts";
import type { Tensor } from "../tensor.ts";
import {
  checkScatter,
  DESTINATIONS,
  destinationWgsl,
  eachIndex,
  gather,
  place,
  placeWgsl,
  scatterAdd,
} from "./indexing.ts";

/**
 * For each of `p.length` places along an axis the last `j` with `index[j]` there, or -1 if there is none: what makes
 * writing to one place twice have one result, the later one, on every device.
 */
export const lastWriter = custom({
  name: "lastWriter",
  tex: ([i]) => `\\max \\{j : {${i}}_j = k\\}`,
  discrete: true,
  infer: ([index], { axis, length }) => {
    if (length === 0 && sizeOf(index.shape) > 0) {
      throw new RangeError(`Cannot scatter to axis ${axis}: it has length 0, and there are indices`);
    }
    return { shape: index.shape.map((n, i) => i === axis ? length : n), dtype: "i32" };
  },
  host: ([index], y, { axis, length }) => {
    const [outer, count, inner] = splitAt(index.shape, axis);
    y.data.fill(-1);
    for (let o = 0; o < outer; o++) {
      for (let j = 0; j < count; j++) {
        for (let i = 0; i < inner; i++) {
          const k = place("scatter", index.data[(o * count + j) * inner + i], length);
          y.data[(o * length + k) * inner + i] = j;
        }
      }
    }
  },
  wgsl: {
    threads: (_, y) => sizeOf(y.shape),
    uniforms: ([index], _, { axis, length }) => [...splitAt(index.shape, axis).slice(1), length],
    body: ([index]) => `
      let count = u(0); let inner = u(1); let length = u(2);
      let outer = t / (length * inner); let mine = (t / inner) % length; var last = -1;
      for (var j = 0; j < count; j++) {
        var k = i32(x0((outer * count + j) * inner + t % inner)); ${placeWgsl("length", index.dtype)}
        if (k == mine) { last = j; }
      }
      put(t, last);`,
  },
  flops: ([index]) => sizeOf(index.shape),
  vjp: () => [null],
  jvp: () => null,
  batch: ([index], _, p) => apply(lastWriter, [index], { ...p, axis: p.axis + 1 }),
  samples: [
    {
      shapes: [[5]],
      call: (i) => apply(lastWriter, [i], { axis: 0, length: 4 }),
      dtypes: ["i32"],
      values: [[1, 3, 1, -4, 1]],
    },
    {
      shapes: [[2, 3, 2]],
      call: (i) => apply(lastWriter, [i], { axis: 1, length: 4 }),
      dtypes: ["u32"],
      values: [[0, 1, 2, 3, 3, 3, 0, 0, 1, 0, 1, 2]],
    },
  ],
});

/** How several sources for one destination become one. */
export type ScatterReduction = "sum" | "prod" | "mean" | "amax" | "amin";

const FOLDS: Record<"prod" | "amax" | "amin", (a: number, x: number) => number> = {
  prod: (a, x) => a * x,
  amax: Math.max,
  amin: Math.min,
};

/** WGSL of one step of a fold. */
export function foldWgsl(reduce: "prod" | "amax" | "amin", dtype: DType): (a: string, x: string) => string {
  return reduce === "prod"
    ? (a, x) => `(${a} * ${x})`
    : (a, x) => `${reduce.slice(1)}${isFloat(dtype) ? "f" : ""}(${a}, ${x})`;
}

/** Multiplies `x` by the sources that an index sends to it, or takes the largest or smallest of all. */
export const scatterFold = custom({
  name: "scatterFold",
  tex: ([x, i, s], p) => `\\operatorname{${p.reduce}}(${x}[${i}], ${s})`,
  // Of a sum all pass on, of a product each the product of the others, of an extremum those that are it, in equal shares.
  texPartials: ([x, i, s], y, p) =>
    p.reduce === "prod"
      ? [`${y} / ${x}`, "0", `${y}[${i}] / ${s}`]
      : [`[${x} = ${y}] / n`, "0", `[${s} = ${y}[${i}]] / n`],
  infer: ([x, index, src], { axis }) => {
    checkScatter("scatterReduce", x, index, src, axis);
    if (x.dtype === "bool") throw new TypeError("Cannot scatterReduce booleans: convert them first");
    return { shape: x.shape, dtype: x.dtype };
  },
  host: ([x, index, src], y, { axis, reduce }) => {
    const strides = stridesOf(x.shape), n = x.shape[axis];
    const integer = y.dtype === "i32" || y.dtype === "u32";
    const f = reduce === "prod" && integer ? Math.imul : FOLDS[reduce as "prod"];
    y.data.set(x.data);
    eachIndex(index.shape, (i, at) => {
      let j = strides[axis] * place("scatterReduce", index.data[at], n);
      for (let a = 0; a < i.length; a++) if (a !== axis) j += strides[a] * i[a];
      y.data[j] = f(y.data[j], src.data[at]);
    });
  },
  wgsl: {
    ...DESTINATIONS,
    body: ([x, index], _, { reduce }) =>
      destinationWgsl(index.dtype, foldWgsl(reduce, x.dtype)("s", "x2(i)")),
  },
  flops: (x) => sizeOf(x[2].shape),
  vjp: (ct, c) => {
    const [self, source] = c.p.reduce === "prod" ? others(c) : shares(c);
    return [
      c.needs[0] ? ct.mul(self) : null,
      null,
      c.needs[2] ? apply(gather, [ct, c.x[1]], { axis: c.p.axis }).mul(source) : null,
    ];
  },
  jvp: ([dx, , ds], c) => {
    const [self, source] = c.p.reduce === "prod" ? others(c) : shares(c);
    const from = dx === null ? c.x[0].zerosLike() : dx.mul(self);
    return ds === null ? from : apply(scatterAdd, [from, c.x[1], ds.mul(source)], { axis: c.p.axis });
  },
  batch: (x, batched, p, B) => apply(scatterFold, allBatched(x, batched, B), { ...p, axis: p.axis + 1 }),
  samples: (["prod", "amax", "amin"] as const).map((reduce) => ({
    shapes: [[3, 3], [4, 2], [4, 2]],
    call: (x, i, s) => apply(scatterFold, [x, i, s], { axis: 0, reduce }),
    dtypes: [undefined, "i32"],
    values: [undefined, [0, 2, 1, 1, 0, 2, 0, -3]],
  })),
});

/** Of each operand, where it is the extremum, shared equally among ties; NaN counts as the extremum. */
function shares({ x: [x, index, src], y, p: { axis } }: RuleContext): [Tensor, Tensor] {
  const top = y.stopGradient(), tops = apply(gather, [top, index], { axis });
  const same = (a: Tensor, b: Tensor): Tensor =>
    (isFloat(a.dtype) ? a.eq(b).logicalOr(a.isnan().logicalAnd(b.isnan())) : a.eq(b)).to(x.dtype);
  const self = same(x, top), source = same(src, tops);
  const share = apply(scatterAdd, [self, index, source], { axis }).reciprocal();
  return [self.mul(share), source.mul(apply(gather, [share, index], { axis }))];
}

/**
 * Of each operand, the product of all others that meet in its destination, also where some are 0: the quotient by what
 * is not 0, and the fold with a 1 in the place of what is. Both depend on the others, so second derivatives are right
 * too, but for two sources of 0 in one destination, where they are 0.
 */
function others({ x: [x, index, src], y, p }: RuleContext): [Tensor, Tensor] {
  const axis = { axis: p.axis }, isZero = x.eq(0), areZero = src.eq(0);
  const zeros = apply(scatterAdd, [x.zerosLike(), index, areZero.to(x.dtype)], axis);
  const single = areZero.logicalAnd(apply(gather, [zeros, index], axis).eq(1));
  const a = x.maskedFill(isZero, 1);
  const forSelf = apply(scatterFold, [a, index, src], p);
  const forSource = apply(scatterFold, [x, index, src.maskedFill(single, 1)], p);
  return [
    forSelf.where(isZero, y.div(a)),
    apply(gather, [forSource, index], axis)
      .where(single, apply(gather, [y, index], axis).div(src.maskedFill(areZero, 1))),
  ];
}

/** A source without what lies beyond the index, as PyTorch takes it. */
export function fitted(src: Tensor, shape: Shape): Tensor {
  if (src.rank !== shape.length || src.shape.some((n, i) => n < shape[i]) || sameShape(src.shape, shape)) {
    return src;
  }
  return src.window(shape.map(() => 0), shape, shape.map(() => 1));
}

/** With zeros (false) behind, up to a shape. */
function grown(x: Tensor, shape: Shape): Tensor {
  return sameShape(x.shape, shape) ? x : x.scatterWindow(shape, shape.map(() => 0), shape.map(() => 1));
}

export const scatter = composite({
  name: "scatter",
  tex: ([x, i, s]) => `${x}[${i}] \\leftarrow ${s}`,
  texPullbacks: ([, i], f) => [`\\bar{${f}}[${i}] \\leftarrow 0`, "0", `\\bar{${f}}[${i}]`],
  samples: [
    {
      shapes: [[3, 4], [2, 3], [2, 3]],
      call: (x, i, s) => x.scatter(1, i, s),
      dtypes: [undefined, "i32"],
      values: [undefined, [0, 3, 1, 1, -1, 1]],
    },
    {
      shapes: [[3, 2], [4, 2], [5, 2]],
      call: (x, i, s) => x.scatter(0, i, s),
      dtypes: [undefined, "i32"],
      values: [undefined, [0, 2, 1, 1, 0, 2, 0, 0]],
    },
    {
      shapes: [[3, 2], [2, 1]],
      call: (x, i) => x.scatter(0, i, 2.5),
      dtypes: [undefined, "i32"],
      values: [undefined, [1, 2]],
    },
  ],
}, (x: Tensor, axis: number, index: Tensor, value: Tensor | number): Tensor => {
  const src = typeof value === "number" ? null : fitted(value, index.shape);
  checkScatter("scatter", x, index, src ?? { shape: index.shape, dtype: x.dtype }, axis);
  if (sizeOf(index.shape) === 0) return x;
  const from = apply(lastWriter, [index], { axis, length: x.shape[axis] });
  const here = grown(from.ge(0), x.shape);
  if (src === null) return x.maskedFill(here, value);
  return grown(apply(gather, [src, from.maximum(0)], { axis }), x.shape).where(here, x);
});

const NEUTRAL: Record<"prod" | "amax" | "amin", (dtype: DType) => number> = {
  prod: () => 1,
  amax: (dtype) => isFloat(dtype) ? -Infinity : dtype === "u32" ? 0 : -(2 ** 31),
  amin: (dtype) => isFloat(dtype) ? Infinity : dtype === "u32" ? 2 ** 32 - 1 : 2 ** 31 - 1,
};

const INDEXED = { dtypes: [undefined, "i32" as const], values: [undefined, [0, 2, 1, 1, 0, 2, 0, 0]] };

export const scatterReduce = composite({
  name: "scatterReduce",
  tex: ([x, i, s]) => `\\operatorname{reduce}(${x}[${i}], ${s})`,
  samples: (["sum", "prod", "mean", "amax", "amin"] as const).flatMap((reduce) =>
    [true, false].map((includeSelf) => ({
      shapes: [[3, 3], [4, 2], [4, 2]],
      call: (x: Tensor, i: Tensor, s: Tensor) => x.scatterReduce(0, i, s, reduce, { includeSelf }),
      ...INDEXED,
    }))
  ),
}, (
  x: Tensor,
  axis: number,
  index: Tensor,
  source: Tensor,
  reduce: ScatterReduction,
  includeSelf: boolean,
): Tensor => {
  const src = fitted(source, index.shape);
  checkScatter("scatterReduce", x, index, src, axis);
  if (reduce === "sum" && includeSelf) return apply(scatterAdd, [x, index, src], { axis });
  const one = x.scalarLike(1, "i32"), start = includeSelf ? one : one.zerosLike();
  const count = apply(scatterAdd, [start.expand(x.shape), index, one.expand(index.shape)], { axis });
  const alone = includeSelf ? null : count.eq(0);
  const base = (neutral: number): Tensor => alone === null ? x : x.where(alone, neutral);
  switch (reduce) {
    case "sum":
      return apply(scatterAdd, [base(0), index, src], { axis });
    case "mean": {
      const sums = apply(scatterAdd, [base(0), index, src], { axis });
      const n = count.maximum(1).to(x.dtype);
      return isFloat(x.dtype) ? sums.div(n) : sums.floorDivide(n);
    }
    case "prod":
    case "amax":
    case "amin":
      return apply(scatterFold, [base(NEUTRAL[reduce](x.dtype)), index, src], { axis, reduce });
  }
  throw new TypeError(
    `Cannot scatterReduce by ${String(reduce)}: reductions are sum, prod, mean, amax and amin`,
  );
});
