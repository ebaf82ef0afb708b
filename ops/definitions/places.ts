/** Indexing by tensors of places: several axes at once, and flat. */
import { composite } from "../composite.ts";
import { allBatched, custom } from "../families.ts";
import { apply } from "../node.ts";
import type { Aval } from "../primitive.ts";
import { type SliceRange, windowOf } from "../ranges.ts";
import {
  broadcastShapes,
  inversePermutation,
  normalizeAxis,
  type Shape,
  showShape,
  sizeOf,
} from "../shape.ts";
import type { Tensor } from "../tensor.ts";
import { embedding, embeddingGrad } from "./indexing.ts";
import { lastWriter } from "./scattering.ts";

/** What to say of place `k`, which is none. */
export function noPlace({ lengths, action, wrap }: FlatIndex, k: number): string {
  const has = lengths.length === 1
    ? `the axis has length ${lengths[0]}`
    : `the axes have lengths ${lengths.slice(0, -1).join(", ")} and ${lengths[lengths.length - 1]}`;
  return `Cannot ${action} at index ${k}: ${wrap ? has : `places are 0 to ${lengths[0] - 1}`}`;
}

/** What `flatIndex` is told. */
export interface FlatIndex {
  readonly lengths: readonly number[];
  /** What it is for, in errors. */
  readonly action: string;
  /** Whether negative places count from the back. */
  readonly wrap: boolean;
}

/** Row-major places in an array of `p.lengths` from places along each axis, all of which are checked. */
export const flatIndex = custom({
  name: "flatIndex",
  tex: (x) => `(${x.join(", ")})`,
  discrete: true,
  infer: (x, p: FlatIndex) => {
    for (const a of x) checkWhole(p.action, a);
    if (p.lengths.includes(0) && sizeOf(x[0].shape) > 0) {
      throw new RangeError(
        `Cannot ${p.action} in axes of lengths ${showShape(p.lengths)}: there are no places`,
      );
    }
    return { shape: x[0].shape, dtype: "i32" };
  },
  host: (x, y, p: FlatIndex) => {
    for (let t = 0; t < y.data.length; t++) {
      let at = 0;
      for (let a = 0; a < x.length; a++) {
        const i = x[a].data[t], n = p.lengths[a], k = i < 0 && p.wrap ? i + n : i;
        if (!(k >= 0 && k < n)) throw new RangeError(noPlace(p, i));
        at = at * n + k;
      }
      y.data[t] = at;
    }
  },
  wgsl: {
    threads: (_, y) => sizeOf(y.shape),
    uniforms: (_x, _y, p: FlatIndex) => [...p.lengths],
    body: (x, _, p: FlatIndex) =>
      `var at = 0;
      ${
        x.map((a, j) => {
          // From 2^31 on, which is no place either, u32 is negative here.
          const wrap = p.wrap && a.dtype !== "u32";
          return `{ let n = u(${j}); var k = i32(x${j}(t));
            if (k < ${wrap ? "-n" : "0"} || k >= n) { fault(k); k = 0; } if (k < 0) { k += n; }
            at = at * n + k; }`;
        }).join("\n")
      }
      put(t, at);`,
  },
  flops: (x, y) => x.length * sizeOf(y.shape),
  vjp: (_, { x }) => x.map(() => null),
  jvp: () => null,
  batch: (x, batched, p, B) => apply(flatIndex, allBatched(x, batched, B), p),
  samples: [
    {
      shapes: [[4], [4]],
      call: (i, j) => apply(flatIndex, [i, j], { lengths: [3, 5], action: "index", wrap: true }),
      dtypes: ["i32", "u32"],
      values: [[0, -1, 2, -3], [4, 3, 0, 1]],
    },
  ],
});

function checkWhole(action: string, index: Aval): void {
  if (index.dtype === "i32" || index.dtype === "u32") return;
  throw new TypeError(
    `Cannot ${action} with an index of type ${index.dtype}: indices are whole numbers, as in index.to("i32")` +
      (index.dtype === "bool" ? "; for a mask, see maskedSelect, where and maskedFill" : ""),
  );
}

/** One key of `index`: a range as in `slice`, `null` for a new axis, `"..."` for all axes in between, or places. */
export type IndexKey = SliceRange | null | "..." | Tensor | Int32Array;

/** Places among the keys, and what remains. */
interface Keys {
  /** By axis of `shape`: places, or null where the axis is taken whole. */
  readonly at: (Tensor | null)[];
  /** What the other keys mean: ranges of the tensor, then axes of the sliced one with new ones. */
  readonly ranges: SliceRange[];
  readonly shape: number[];
}

/** A tensor of places; the class is known to who calls. */
type Places = (key: unknown) => Tensor | null;

function sorted(action: string, shape: Shape, keys: readonly IndexKey[], places: Places): Keys {
  const dots = keys.indexOf("...");
  if (dots >= 0 && keys.lastIndexOf("...") !== dots) {
    throw new RangeError(`Cannot ${action} with two "...": one of them stands for all axes in between`);
  }
  const used = keys.filter((k) => k !== null && k !== "...").length;
  if (used > shape.length) {
    throw new RangeError(
      `Cannot ${action} ${showShape(shape)} by ${used} keys: it has ${shape.length} axes`,
    );
  }
  const colons = Array<IndexKey>(shape.length - used).fill(":");
  const full = dots < 0 ? [...keys, ...colons] : [...keys.slice(0, dots), ...colons, ...keys.slice(dots + 1)];
  const ranges = full.filter((k) => k !== null).map((k) => places(k) === null ? k as SliceRange : ":");
  const lengths = windowOf(shape, ranges).shape;
  const at: (Tensor | null)[] = [], to: number[] = [];
  let axis = 0;
  for (const k of full) {
    if (k === null) at.push(null), to.push(1);
    else if (typeof k !== "number") at.push(places(k)), to.push(lengths[axis++]);
  }
  return { at, ranges, shape: to };
}

/** A tensor with the axes that have places in front, as rows, and which rows are meant. */
interface Rows {
  /** `[V, ...rest]`. */
  readonly rows: Tensor;
  /** Shape `S`, to which all places broadcast. */
  readonly ids: Tensor;
  readonly order: number[];
  /** Lengths of `x` in that order. */
  readonly moved: Shape;
  /** How many of the other axes come before those of `S` in the result. */
  readonly before: number;
}

function rowsOf(action: string, x: Tensor, at: readonly (Tensor | null)[]): Rows {
  const axes = at.flatMap((k, i) => k === null ? [] : [i]),
    rest = at.flatMap((k, i) => k === null ? [i] : []);
  const lengths = axes.map((a) => x.shape[a]);
  const shape = axes.reduce<Shape>((s, a) => broadcastShapes(action, s, at[a]!.shape), []);
  const ids = apply(flatIndex, axes.map((a) => at[a]!.expand(shape)), { lengths, action, wrap: true });
  const order = [...axes, ...rest], moved = order.map((a) => x.shape[a]);
  const rows = x.permute(order).reshape([sizeOf(lengths), ...rest.map((a) => x.shape[a])]);
  // Where places stand side by side, so does what they pick; otherwise it comes first. A scalar place is like a number.
  const list = at.flatMap((k, i) => k !== null && k.rank === 0 ? [] : [i]);
  const among = list.flatMap((a, i) => at[a] === null ? [] : [i]);
  const together = among.length > 0 && among[among.length - 1] - among[0] === among.length - 1;
  return { rows, ids, order, moved, before: together ? among[0] : 0 };
}

/** The axes of `[...S, ...rest]` in the order of the result. */
function resultOrder(S: number, rest: number, before: number): number[] {
  const picked = Array.from({ length: S }, (_, i) => i),
    others = Array.from({ length: rest }, (_, i) => S + i);
  return [...others.slice(0, before), ...picked, ...others.slice(before)];
}

const LISTS = { dtypes: [undefined, "i32" as const, "i32" as const] };

export const index = composite({
  name: "index",
  tex: ([x, ...i]) => `${x}[${i.join(", ")}]`,
  texPullbacks: ([, i, j], f) => [`\\sum_{${i}, ${j}} \\bar{${f}}`, "0", "0"],
  samples: [
    {
      shapes: [[3, 4], [2], [2]],
      call: (x, i, j) => x.index(i, j),
      ...LISTS,
      values: [undefined, [0, -1], [3, 1]],
    },
    {
      shapes: [[2, 3, 4], [2, 1], [3]],
      call: (x, i, j) => x.index(":", i, j),
      ...LISTS,
      values: [undefined, [0, 2], [3, 1, 3]],
    },
    {
      shapes: [[3, 2, 4], [2], [2]],
      call: (x, i, j) => x.index(i, [0, 2], j),
      ...LISTS,
      values: [undefined, [1, 1], [3, 0]],
    },
    {
      shapes: [[3, 2, 4, 2], [2], []],
      call: (x, i, j) => x.index(null, "...", i, j, 1),
      ...LISTS,
      values: [undefined, [1, 0], [3]],
    },
    { shapes: [[3, 4]], call: (x) => x.index(1, null, [null, null, -2]) },
    { shapes: [[3, 4]], call: (x) => x.index(":", Int32Array.of(3, 0, 3)) },
  ],
}, (x: Tensor, keys: readonly IndexKey[], places: Places): Tensor => {
  const { at, ranges, shape } = sorted("index", x.shape, keys, places);
  const sliced = x.slice(...ranges).reshape(shape);
  if (at.every((k) => k === null)) return sliced;
  const { rows, ids, before } = rowsOf("index", sliced, at);
  return apply(embedding, [rows, ids]).permute(resultOrder(ids.rank, rows.rank - 1, before));
});

export const indexPut = composite({
  name: "indexPut",
  tex: ([x, ...i]) => `${x}[${i.slice(0, -1).join(", ")}] \\leftarrow ${i[i.length - 1]}`,
  texPullbacks: (
    [, i, j],
    f,
  ) => [`\\bar{${f}}[${i}, ${j}] \\leftarrow 0`, "0", "0", `\\bar{${f}}[${i}, ${j}]`],
  samples: [false, true].flatMap((accumulate) => [
    {
      shapes: [[3, 4], [3], [3], [3]],
      call: (x: Tensor, i: Tensor, j: Tensor, v: Tensor) => x.indexPut([i, j], v, { accumulate }),
      ...LISTS,
      values: [undefined, [0, -1, 0], [3, 1, 3]],
    },
    {
      shapes: [[2, 3, 4], [2], [4]],
      call: (x: Tensor, i: Tensor, v: Tensor) => x.indexPut([":", i], v, { accumulate }),
      ...LISTS,
      values: [undefined, [2, 2]],
    },
    {
      shapes: [[3, 2, 4], [2], [2, 2]],
      call: (x: Tensor, i: Tensor, v: Tensor) => x.indexPut([i, 1, [0, null, 2]], v, { accumulate }),
      ...LISTS,
      values: [undefined, [2, 1]],
    },
  ]),
}, (
  x: Tensor,
  keys: readonly IndexKey[],
  values: Tensor,
  accumulate: boolean,
  places: Places,
): Tensor => {
  const { at, ranges, shape } = sorted("indexPut", x.shape, keys, places);
  const sliced = x.slice(...ranges), to = sliced.reshape(shape);
  const v = values.to(x.dtype);
  let y: Tensor;
  if (at.every((k) => k === null)) {
    y = accumulate ? to.add(fill(v, to.shape)) : fill(v, to.shape);
  } else {
    const { rows, ids, order, moved, before } = rowsOf("indexPut", to, at);
    const result = resultOrder(ids.rank, rows.rank - 1, before),
      lengths = [...ids.shape, ...rows.shape.slice(1)];
    const each = fill(v, result.map((a) => lengths[a])).permute(inversePermutation(result));
    y = (accumulate ? addRows(rows, ids, each) : putRows(rows, ids, each)).reshape(moved).permute(
      inversePermutation(order),
    );
  }
  const back = y.reshape(sliced.shape);
  return ranges.every((r) => r === ":") ? back : x.sliceScatter(back, ranges);
});

/** Values broadcast to what they are written to. */
function fill(v: Tensor, shape: Shape): Tensor {
  const extra = v.rank - shape.length;
  // Leading axes of length 1 say nothing.
  const lean = extra > 0 && v.shape.slice(0, extra).every((n) => n === 1)
    ? v.reshape(v.shape.slice(extra))
    : v;
  return lean.expand(shape);
}

/** Rows with `values` `[...S, ...rest]` added at ids of shape S. */
export function addRows(rows: Tensor, ids: Tensor, values: Tensor): Tensor {
  return rows.add(apply(embeddingGrad, [values, ids], { shape: rows.shape }));
}

/** Rows with `values` `[...S, ...rest]` at ids of shape S; of several values for one row the last remains. */
export function putRows(rows: Tensor, ids: Tensor, values: Tensor): Tensor {
  const N = ids.size, [V, ...rest] = rows.shape;
  if (N === 0 || V === 0) return rows;
  const from = apply(lastWriter, [ids.reshape([N])], { axis: 0, length: V });
  const chosen = apply(embedding, [values.reshape([N, ...rest]), from.maximum(0)]);
  return chosen.where(from.ge(0).reshape([V, ...rest.map(() => 1)]), rows);
}

/** Flat places of an index of any shape in a tensor. */
function flat(action: string, x: Tensor, index: Tensor): Tensor {
  return apply(flatIndex, [index], { lengths: [x.size], action, wrap: true });
}

const FLAT = { dtypes: [undefined, "i32" as const] };

export const take = composite({
  name: "take",
  tex: ([x, i]) => `${x}[${i}]`,
  texPullbacks: ([, i], f) => [`\\sum_{${i}} \\bar{${f}}`, "0"],
  samples: [{
    shapes: [[2, 3], [2, 2]],
    call: (x, i) => x.take(i),
    ...FLAT,
    values: [undefined, [0, 5, -1, 2]],
  }],
}, (x: Tensor, index: Tensor): Tensor => apply(embedding, [x.reshape([x.size]), flat("take", x, index)]));

export const put = composite({
  name: "put",
  tex: ([x, i, s]) => `${x}[${i}] \\leftarrow ${s}`,
  texPullbacks: ([, i], f) => [`\\bar{${f}}[${i}] \\leftarrow 0`, "0", `\\bar{${f}}[${i}]`],
  samples: [false, true].map((accumulate) => ({
    shapes: [[2, 3], [4], [2, 2]],
    call: (x: Tensor, i: Tensor, s: Tensor) => x.put(i, s, { accumulate }),
    ...FLAT,
    values: [undefined, [0, 5, -1, 2]],
  })),
}, (x: Tensor, index: Tensor, source: Tensor, accumulate: boolean): Tensor => {
  if (index.size !== source.size) {
    throw new RangeError(
      `Cannot put ${source.size} values at ${index.size} places: there must be as many`,
    );
  }
  const rows = x.reshape([x.size]), ids = flat("put", x, index).reshape([index.size]);
  const values = source.to(x.dtype).reshape([source.size]);
  return (accumulate ? addRows(rows, ids, values) : putRows(rows, ids, values)).reshape(x.shape);
});

export const takeAlongDim = composite({
  name: "takeAlongDim",
  tex: ([x, i]) => `${x}[${i}]`,
  texPullbacks: ([, i], f) => [`\\sum_{${i}} \\bar{${f}}`, "0"],
  samples: [
    {
      shapes: [[3, 4], [1, 2]],
      call: (x, i) => x.takeAlongDim(i, 1),
      ...FLAT,
      values: [undefined, [3, -4]],
    },
    { shapes: [[2, 2], [3]], call: (x, i) => x.takeAlongDim(i), ...FLAT, values: [undefined, [3, 0, 3]] },
  ],
}, (x: Tensor, index: Tensor, axis: number | undefined): Tensor => {
  if (axis === undefined) return x.reshape([x.size]).gather(0, index.reshape([index.size]));
  const a = normalizeAxis("takeAlongDim", axis, x.rank);
  if (index.rank !== x.rank) {
    throw new RangeError(
      `Cannot takeAlongDim of shape ${showShape(x.shape)} with an index of shape ${
        showShape(index.shape)
      }: they have equal ranks`,
    );
  }
  const rest = broadcastShapes(
    "takeAlongDim of",
    x.shape.map((n, i) => i === a ? 1 : n),
    index.shape.map((n, i) => i === a ? 1 : n),
  );
  const like = (t: Tensor): Tensor => t.expand(rest.map((n, i) => i === a ? t.shape[a] : n));
  return like(x).gather(a, like(index));
});

export const maskedScatter = composite({
  name: "maskedScatter",
  tex: ([x, m, s]) => `${x}[${m}] \\leftarrow ${s}`,
  samples: [
    {
      shapes: [[2, 3], [2, 3], [5]],
      call: (x, m, s) => x.maskedScatter(m, s),
      dtypes: [undefined, "bool"],
      values: [undefined, [1, 0, 0, 1, 1, 0]],
    },
    {
      shapes: [[3], [2, 1], [2, 3]],
      call: (x, m, s) => x.maskedScatter(m, s),
      dtypes: [undefined, "bool"],
      values: [undefined, [0, 1]],
    },
  ],
}, (x: Tensor, mask: Tensor, source: Tensor): Tensor => {
  const shape = broadcastShapes("maskedScatter", x.shape, mask.shape), size = sizeOf(shape);
  if (size === 0) return x.expand(shape);
  const here = mask.to("bool").expand(shape).reshape([size]);
  // The k-th place of the mask takes the k-th element; elsewhere none is read, but the first.
  const from = here.to("i32").cumsum(0).sub(1).where(here, 0);
  const values = source.size === 0 ? x.scalarLike(0).expand([1]) : source.to(x.dtype).reshape([source.size]);
  const last = source.size === 0 ? from.add(here.to("i32")) : from;
  const places = apply(flatIndex, [last], { lengths: [values.size], action: "maskedScatter", wrap: false });
  return apply(embedding, [values, places]).where(here, x.expand(shape).reshape([size])).reshape(shape);
});

export const oneHot = composite({
  name: "oneHot",
  tex: ([i]) => `e_{${i}}`,
  samples: [{ shapes: [[2, 2]], call: (i) => i.oneHot(3), dtypes: ["i32"], values: [[0, 2, 1, 1]] }],
}, (x: Tensor, classes: number): Tensor => {
  const at = apply(flatIndex, [x], { lengths: [classes], action: "take a one-hot vector", wrap: false });
  return at.unsqueeze(-1).eq(x.arangeLike(classes, "i32"));
});
