/** Functions that put several tensors together, or grids and products of vectors. */
import { composite } from "../composite.ts";
import { broadcastShapes, showShape } from "../shape.ts";
import { promote } from "../dtype.ts";
import { apply } from "../node.ts";
import * as I from "../definitions/indexing.ts";
import { vander as powersOf } from "../definitions/products.ts";
import { asTensor, asTensors, checkOptions, type Tensor } from "../tensor.ts";

/** Tensors joined along an axis, all as the type that holds all of theirs. */
export function joined(tensors: readonly Tensor[], axis: number): Tensor {
  if (tensors.length === 1) return tensors[0];
  const dtype = tensors.map((t) => t.dtype).reduce(promote);
  return apply(I.cat, tensors.map((t) => t.to(dtype)), { axis });
}

function some(action: string, tensors: readonly Tensor[]): readonly Tensor[] {
  if (asTensors(action, tensors).length === 0) throw new RangeError(`Cannot ${action} no tensors`);
  return tensors;
}

/** A scalar as a vector of one element; all else as it is. */
export function atleast1d(x: Tensor): Tensor {
  return asTensor("atleast1d", x).rank >= 1 ? x : x.reshape([1]);
}

/** A scalar or vector as a matrix of one row; all else as it is. */
export function atleast2d(x: Tensor): Tensor {
  return asTensor("atleast2d", x).rank >= 2 ? x : x.reshape([1, x.size]);
}

/** A vector of n elements as `[1, n, 1]`, a matrix with a last axis of length 1; more axes as they are. */
export function atleast3d(x: Tensor): Tensor {
  const { rank, shape } = asTensor("atleast3d", x);
  return rank >= 3 ? x : rank === 2 ? x.reshape([...shape, 1]) : x.reshape([1, x.size, 1]);
}

composite({
  name: "atleast3d",
  tex: ([x]) => x,
  texPartials: () => ["1"],
  samples: [{
    shapes: [[], [2], [2, 3]],
    call: (a, b, c) => [atleast1d(a), atleast2d(b), atleast3d(a), atleast3d(b), atleast3d(c)],
  }],
}, atleast3d);

/** Joined along axis 1 (vectors along axis 0). */
export function hstack(tensors: readonly Tensor[]): Tensor {
  const all = some("hstack", tensors).map(atleast1d);
  return joined(all, all[0].rank === 1 ? 0 : 1);
}

/** Joined along axis 0, vectors as rows. */
export function vstack(tensors: readonly Tensor[]): Tensor {
  return joined(some("vstack", tensors).map(atleast2d), 0);
}

/** Joined along axis 2, after `atleast3d`. */
export function dstack(tensors: readonly Tensor[]): Tensor {
  return joined(some("dstack", tensors).map(atleast3d), 2);
}

/** Joined along axis 1, scalars and vectors as columns. */
export function columnStack(tensors: readonly Tensor[]): Tensor {
  return joined(some("columnStack", tensors).map((t) => t.rank <= 1 ? t.reshape([t.size, 1]) : t), 1);
}

const tex = (x: string[]): string => `[${x.join(", ")}]`;
composite({
  name: "hstack",
  tex,
  texPullbacks: (x, y) => x.map((_, i) => `\\bar{${y}}_${i + 1}`),
  samples: [
    { shapes: [[2], []], call: (a, b) => hstack([a, b]) },
    { shapes: [[2, 1], [2, 3]], call: (a, b) => hstack([a, b]) },
  ],
}, hstack);
composite({
  name: "vstack",
  tex: (x) => `[${x.join("; ")}]`,
  texPullbacks: (x, y) => x.map((_, i) => `\\bar{${y}}_${i + 1}`),
  samples: [{ shapes: [[3], [2, 3]], call: (a, b) => vstack([a, b]) }],
}, vstack);
composite({
  name: "dstack",
  tex,
  texPullbacks: (x, y) => x.map((_, i) => `\\bar{${y}}_${i + 1}`),
  samples: [{ shapes: [[3], [1, 3]], call: (a, b) => dstack([a, b]) }],
}, dstack);
composite({
  name: "columnStack",
  tex,
  texPullbacks: (x, y) => x.map((_, i) => `\\bar{${y}}_${i + 1}`),
  samples: [{ shapes: [[2], [2, 2]], call: (a, b) => columnStack([a, b]) }],
}, columnStack);

/** Options of `meshgrid`. */
export interface MeshgridOptions {
  /** `ij`: axis i of the grids belongs to vector i. `xy`: the first two axes are exchanged. Default ij. */
  indexing?: "ij" | "xy";
}

/** The coordinates of all points of a grid, given those along each axis: a tensor of the grid's shape for each vector. */
export function meshgrid(tensors: readonly Tensor[], options: MeshgridOptions = {}): Tensor[] {
  const all = some("meshgrid", tensors).map(atleast1d);
  checkOptions("meshgrid", options, ["indexing"]);
  const { indexing = "ij" } = options;
  if (indexing !== "ij" && indexing !== "xy") {
    throw new TypeError(`Cannot meshgrid with indexing ${String(indexing)}: it is ij or xy`);
  }
  const wrong = all.find((t) => t.rank > 1);
  if (wrong !== undefined) {
    throw new RangeError(`Cannot meshgrid shape ${showShape(wrong.shape)}: it takes vectors`);
  }
  const shape = all.map((t) => t.size);
  const grids = all.map((t, i) => t.reshape(shape.map((_, k) => k === i ? t.size : 1)).expand(shape));
  return indexing === "xy" && all.length > 1 ? grids.map((g) => g.transpose(0, 1)) : grids;
}
composite({
  name: "meshgrid",
  tex: (x) => `(${x.join(", ")})`,
  samples: [
    { shapes: [[2], [3]], call: (a, b) => meshgrid([a, b]) },
    { shapes: [[2], [3], []], call: (a, b, c) => meshgrid([a, b, c], { indexing: "xy" }) },
  ],
}, meshgrid);

/** All combinations of an element of each vector, as rows; one vector alone stays as it is. */
export function cartesianProd(...tensors: Tensor[]): Tensor {
  if (some("cartesianProd", tensors).length === 1) return tensors[0];
  return joined(meshgrid(tensors).map((g) => g.reshape([g.size, 1])), 1);
}
composite({
  name: "cartesianProd",
  tex: (x) => x.join(" \\times "),
  samples: [{ shapes: [[2], [3]], call: (a, b) => cartesianProd(a, b) }],
}, cartesianProd);

/** Options of `combinations`. */
export interface CombinationOptions {
  /** Whether an element may come several times; default false. */
  withReplacement?: boolean;
}

/** All combinations of `r` elements of a vector, in order, as rows. */
export function combinations(x: Tensor, r = 2, options: CombinationOptions = {}): Tensor {
  if (asTensor("combinations", x).rank !== 1 || !Number.isInteger(r) || r < 0) {
    throw new RangeError(
      `Cannot take combinations of ${r} elements of shape ${showShape(x.shape)}: it takes a vector`,
    );
  }
  checkOptions("combinations", options, ["withReplacement"]);
  const again = options.withReplacement === true, places: number[] = [];
  let count = 0;
  const choose = (chosen: number[], from: number): void => {
    if (chosen.length === r) {
      places.push(...chosen), count++;
      return;
    }
    for (let i = from; i < x.size; i++) choose([...chosen, i], again ? i : i + 1);
  };
  choose([], 0);
  return r === 0
    ? x.narrow(0, 0, 0)
    : count === 0
    ? x.narrow(0, 0, 0).reshape([0, r])
    : x.index(Int32Array.from(places)).reshape([count, r]);
}
composite({
  name: "combinations",
  tex: ([x]) => `\\binom{${x}}{r}`,
  samples: [
    { shapes: [[3]], call: (x) => combinations(x) },
    { shapes: [[3]], call: (x) => combinations(x, 2, { withReplacement: true }) },
  ],
}, combinations);

/** A matrix with the given ones (vectors as rows, scalars as 1 by 1) along its diagonal and zeros elsewhere. */
export function blockDiag(...tensors: Tensor[]): Tensor {
  const all = some("blockDiag", tensors).map(atleast2d);
  const wrong = all.find((t) => t.rank > 2);
  if (wrong !== undefined) {
    throw new RangeError(
      `Cannot blockDiag shape ${showShape(wrong.shape)}: it takes matrices, vectors and scalars`,
    );
  }
  const columns = all.reduce((n, t) => n + t.shape[1], 0);
  let before = 0;
  return joined(
    all.map((t) => {
      const after = columns - before - t.shape[1];
      const row = t.pad([[0, 0], [before, after]]);
      before += t.shape[1];
      return row;
    }),
    0,
  );
}
composite({
  name: "blockDiag",
  tex: (x) => `\\operatorname{diag}(${x.join(", ")})`,
  texPullbacks: (x, y) => x.map((_, i) => `\\bar{${y}}_{${i + 1}${i + 1}}`),
  samples: [{ shapes: [[2, 1], [2], []], call: (a, b, c) => blockDiag(a, b, c) }],
}, blockDiag);

/** Options of `vander`. */
export interface VanderOptions {
  /** Powers from 0 up instead of down to 0. */
  increasing?: boolean;
}

/** Powers of the elements of `[..., n]` as a new last axis: x^(columns - 1) down to x^0; `columns` is n by default. */
export function vander(x: Tensor, columns?: number, options: VanderOptions = {}): Tensor {
  const n = columns ?? asTensor("vander", x).shape[x.rank - 1];
  if (x.rank === 0 || !Number.isInteger(n) || n < 1) {
    throw new RangeError(
      `Cannot take ${n} powers of shape ${showShape(x.shape)}: it takes a vector and at least one column`,
    );
  }
  checkOptions("vander", options, ["increasing"]);
  const powers = powersOf(x, n);
  return options.increasing === true ? powers : powers.flip(-1);
}

/** Tensors expanded to their common shape. */
export function broadcastTensors(...tensors: Tensor[]): Tensor[] {
  tensors.forEach((t) => asTensor("broadcast", t));
  const shape = tensors.reduce((s, t) => broadcastShapes("broadcast", s, t.shape), [] as readonly number[]);
  return tensors.map((t) => t.expand(shape));
}
composite({
  name: "broadcastTensors",
  tex: (x) => `(${x.join(", ")})`,
  texPullbacks: (x, y) => x.map((_, i) => `\\sum \\bar{${y}}_${i + 1}`),
  samples: [{ shapes: [[2, 1], [3], []], call: (a, b, c) => broadcastTensors(a, b, c) }],
}, broadcastTensors);
