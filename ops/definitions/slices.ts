/** Whole slices along one axis at places: picked, added to, replaced, filled, put together. */
import { composite } from "../composite.ts";
import { apply } from "../node.ts";
import { normalizeAxis, showShape } from "../shape.ts";
import type { Tensor } from "../tensor.ts";
import { embedding } from "./indexing.ts";
import { addRows, flatIndex, putRows } from "./places.ts";
import { lastWriter, scatterReduce, type ScatterReduction } from "./scattering.ts";

/** A tensor with an axis, the axis, and the index and source of an op on whole slices, checked. */
function slices(
  action: string,
  x: Tensor,
  axis: number,
  index: Tensor,
  source: Tensor | null,
): [rows: Tensor, axis: number, ids: Tensor, values: Tensor | null] {
  if (index.rank > 1) {
    throw new RangeError(
      `Cannot ${action} by an index of shape ${showShape(index.shape)}: it must have one axis`,
    );
  }
  const self = x.rank === 0 ? x.reshape([1]) : x, a = normalizeAxis(action, axis, self.rank);
  const ids = apply(flatIndex, [index.reshape([index.size])], {
    lengths: [self.shape[a]],
    action,
    wrap: true,
  });
  if (source === null) return [self, a, ids, null];
  const shape = self.shape.map((n, i) => i === a ? ids.size : n);
  const values = source.rank === 0 ? source.reshape([1]) : source;
  if (values.rank !== self.rank || values.shape.some((n, i) => n !== shape[i])) {
    throw new RangeError(
      `Cannot ${action} values of shape ${showShape(source.shape)} to shape ${
        showShape(x.shape)
      } along axis ${axis} at ${ids.size} places: they have shape ${showShape(shape)}`,
    );
  }
  return [self, a, ids, values.to(x.dtype)];
}

const SLICES = { dtypes: [undefined, "i32" as const], values: [undefined, [0, 2, -3]] };

export const indexSelect = composite({
  name: "indexSelect",
  tex: ([x, i]) => `${x}[${i}]`,
  texPullbacks: ([, i], f) => [`\\sum_{${i}} \\bar{${f}}`, "0"],
  samples: [
    { shapes: [[3, 2], [3]], call: (x, i) => x.indexSelect(0, i), ...SLICES },
    { shapes: [[2, 3], [3]], call: (x, i) => x.indexSelect(-1, i), ...SLICES },
  ],
}, (x: Tensor, axis: number, index: Tensor): Tensor => {
  if (index.rank !== 1) {
    throw new RangeError(
      `Cannot indexSelect by an index of shape ${showShape(index.shape)}: it must have one axis`,
    );
  }
  const [self, a, ids] = slices("indexSelect", x, axis, index, null);
  const y = apply(embedding, [self.movedim(a, 0), ids]).movedim(0, a);
  return x.rank === 0 && ids.size === 1 ? y.reshape([]) : y;
});

export const indexAdd = composite({
  name: "indexAdd",
  tex: ([x, i, s]) => `${x}[${i}] \\mathrel{+}= ${s}`,
  texPullbacks: ([, i], f) => [`\\bar{${f}}`, "0", `\\alpha\\,\\bar{${f}}[${i}]`],
  samples: [
    { shapes: [[3, 2], [3], [3, 2]], call: (x, i, s) => x.indexAdd(0, i, s), ...SLICES },
    { shapes: [[2, 3], [3], [2, 3]], call: (x, i, s) => x.indexAdd(1, i, s, { alpha: -2 }), ...SLICES },
  ],
}, (x: Tensor, axis: number, index: Tensor, source: Tensor, alpha: number): Tensor => {
  const [self, a, ids, values] = slices("indexAdd", x, axis, index, source);
  const scaled = alpha === 1 ? values! : values!.mul(alpha);
  return addRows(self.movedim(a, 0), ids, scaled.movedim(a, 0)).movedim(0, a).reshape(x.shape);
});

export const indexCopy = composite({
  name: "indexCopy",
  tex: ([x, i, s]) => `${x}[${i}] \\leftarrow ${s}`,
  texPullbacks: ([, i], f) => [`\\bar{${f}}[${i}] \\leftarrow 0`, "0", `\\bar{${f}}[${i}]`],
  samples: [
    { shapes: [[4, 2], [3], [3, 2]], call: (x, i, s) => x.indexCopy(0, i, s), ...SLICES },
    { shapes: [[2, 3], [3], [2, 3]], call: (x, i, s) => x.indexCopy(1, i, s), ...SLICES },
  ],
}, (x: Tensor, axis: number, index: Tensor, source: Tensor): Tensor => {
  const [self, a, ids, values] = slices("indexCopy", x, axis, index, source);
  return putRows(self.movedim(a, 0), ids, values!.movedim(a, 0)).movedim(0, a).reshape(x.shape);
});

export const indexFill = composite({
  name: "indexFill",
  tex: ([x, i]) => `${x}[${i}] \\leftarrow c`,
  texPullbacks: ([, i], f) => [`\\bar{${f}}[${i}] \\leftarrow 0`, "0"],
  samples: [
    { shapes: [[4, 2], [3]], call: (x, i) => x.indexFill(0, i, 3), ...SLICES },
    { shapes: [[2, 3], [3], []], call: (x, i, v) => x.indexFill(1, i, v), ...SLICES },
  ],
}, (x: Tensor, axis: number, index: Tensor, value: Tensor | number): Tensor => {
  const [self, a, ids] = slices("indexFill", x, axis, index, null), n = self.shape[a];
  if (ids.size === 0) return x;
  const here = apply(lastWriter, [ids], { axis: 0, length: n }).ge(0);
  return self.maskedFill(here.reshape(self.shape.map((_, i) => i === a ? n : 1)), value).reshape(x.shape);
});

export const indexReduce = composite({
  name: "indexReduce",
  tex: ([x, i, s]) => `\\operatorname{reduce}(${x}[${i}], ${s})`,
  samples: (["prod", "mean", "amax", "amin"] as const).map((reduce) => ({
    shapes: [[3, 2], [3], [3, 2]],
    call: (x: Tensor, i: Tensor, s: Tensor) => x.indexReduce(0, i, s, reduce),
    ...SLICES,
  })),
}, (
  x: Tensor,
  axis: number,
  index: Tensor,
  source: Tensor,
  reduce: ScatterReduction,
  includeSelf: boolean,
): Tensor => {
  const [self, a, ids, values] = slices("indexReduce", x, axis, index, source);
  const each = ids.reshape(self.shape.map((_, i) => i === a ? ids.size : 1)).expand(values!.shape);
  return scatterReduce(self, a, each, values!, reduce, includeSelf).reshape(x.shape);
});
