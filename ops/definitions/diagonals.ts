/** Diagonals of matrices as windows with a step of a row and an element, and the way back. */
import { composite } from "../composite.ts";
import { inversePermutation, normalizeAxis, sameShape, showShape } from "../shape.ts";
import type { Tensor } from "../tensor.ts";

/** Two different axes, counted from the front. */
function twoAxes(action: string, axis1: number, axis2: number, rank: number): [number, number] {
  const a = normalizeAxis(action, axis1, rank), b = normalizeAxis(action, axis2, rank);
  if (a === b) throw new RangeError(`Cannot ${action} along axes ${axis1} and ${axis2}: they are the same`);
  return [a, b];
}

/** Where a diagonal lies in the elements of its matrix. */
interface Line {
  /** `[...rest, rows * columns]`. */
  readonly shape: number[];
  readonly starts: number[];
  readonly sizes: number[];
  readonly steps: number[];
}

function lineOf(rest: readonly number[], rows: number, columns: number, offset: number): Line {
  const k = Math.max(0, offset >= 0 ? Math.min(rows, columns - offset) : Math.min(rows + offset, columns));
  const start = k === 0 ? 0 : offset >= 0 ? offset : -offset * columns;
  const zeros = rest.map(() => 0), ones = rest.map(() => 1);
  return {
    shape: [...rest, rows * columns],
    starts: [...zeros, start],
    sizes: [...rest, k],
    steps: [...ones, columns + 1],
  };
}

/** Axes in order but for two, which come last. */
function last(rank: number, a: number, b: number): number[] {
  return [...Array.from({ length: rank }, (_, i) => i).filter((i) => i !== a && i !== b), a, b];
}

export const diagonal = composite({
  name: "diagonal",
  tex: ([x]) => `\\operatorname{diagonal} ${x}`,
  texPullbacks: (_, f) => [`\\operatorname{diagEmbed} \\bar{${f}}`],
  samples: [
    { shapes: [[3, 4]], call: (x) => x.diagonal() },
    { shapes: [[4, 3]], call: (x) => x.diagonal(1) },
    { shapes: [[2, 4, 3]], call: (x) => x.diagonal(-2) },
    { shapes: [[3, 2, 3]], call: (x) => x.diagonal(1, 0, -1) },
    { shapes: [[2, 3]], call: (x) => x.diagonal(5) },
  ],
}, (x: Tensor, offset: number, axis1: number, axis2: number): Tensor => {
  const [a, b] = twoAxes("take a diagonal", axis1, axis2, x.rank);
  const moved = x.permute(last(x.rank, a, b)), rest = moved.shape.slice(0, -2);
  const line = lineOf(rest, x.shape[a], x.shape[b], offset);
  return moved.reshape(line.shape).window(line.starts, line.sizes, line.steps);
});

export const diagEmbed = composite({
  name: "diagEmbed",
  tex: ([x]) => `\\operatorname{diag} ${x}`,
  texPullbacks: (_, f) => [`\\operatorname{diagonal} \\bar{${f}}`],
  samples: [
    { shapes: [[3]], call: (x) => x.diagEmbed() },
    { shapes: [[2, 3]], call: (x) => x.diagEmbed(1) },
    { shapes: [[2, 3]], call: (x) => x.diagEmbed(-1, 0, 2) },
  ],
}, (x: Tensor, offset: number, axis1: number, axis2: number): Tensor => {
  if (x.rank === 0) throw new RangeError("Cannot embed a scalar as a diagonal: it takes at least one axis");
  const [a, b] = twoAxes("embed a diagonal", axis1, axis2, x.rank + 1);
  const rest = x.shape.slice(0, -1), n = x.shape[x.rank - 1] + Math.abs(offset);
  const line = lineOf(rest, n, n, offset);
  const square = x.scatterWindow(line.shape, line.starts, line.steps).reshape([...rest, n, n]);
  return square.permute(inversePermutation(last(x.rank + 1, a, b)));
});

export const diag = composite({
  name: "diag",
  tex: ([x]) => `\\operatorname{diag} ${x}`,
  texPullbacks: (_, f) => [`\\operatorname{diag} \\bar{${f}}`],
  samples: [
    { shapes: [[3]], call: (x) => x.diag(1) },
    { shapes: [[3, 4]], call: (x) => x.diag(-1) },
  ],
}, (x: Tensor, offset: number): Tensor => {
  if (x.rank === 1) return x.diagEmbed(offset);
  if (x.rank === 2) return x.diagonal(offset);
  throw new RangeError(
    `Cannot take diag of shape ${
      showShape(x.shape)
    }: it takes a vector or a matrix; see diagonal and diagEmbed`,
  );
});

export const diagflat = composite({
  name: "diagflat",
  tex: ([x]) => `\\operatorname{diag} ${x}`,
  texPullbacks: (_, f) => [`\\operatorname{diag} \\bar{${f}}`],
  samples: [{ shapes: [[2, 2]], call: (x) => x.diagflat(-1) }, { shapes: [[]], call: (x) => x.diagflat() }],
}, (x: Tensor, offset: number): Tensor => x.reshape([x.size]).diagEmbed(offset));

export const trace = composite({
  name: "trace",
  tex: ([x]) => `\\operatorname{tr} ${x}`,
  texPullbacks: (_, f) => [`\\bar{${f}}\\,I`],
  samples: [{ shapes: [[3, 4]], call: (x) => x.trace() }, { shapes: [[2, 3, 3]], call: (x) => x.trace() }],
}, (x: Tensor): Tensor => {
  if (x.rank < 2) {
    throw new RangeError(`Cannot take the trace of shape ${showShape(x.shape)}: it takes a matrix`);
  }
  return x.diagonal().sum(-1);
});

export const diagonalScatter = composite({
  name: "diagonalScatter",
  tex: ([x, s]) => `\\operatorname{diagonal} ${x} \\leftarrow ${s}`,
  texPullbacks: (
    _,
    f,
  ) => [`\\operatorname{diagonal} \\bar{${f}} \\leftarrow 0`, `\\operatorname{diagonal} \\bar{${f}}`],
  samples: [
    { shapes: [[3, 4], [2]], call: (x, s) => x.diagonalScatter(s, 2) },
    { shapes: [[3, 2, 3], [2, 2]], call: (x, s) => x.diagonalScatter(s, -1, 0, 2) },
  ],
}, (x: Tensor, source: Tensor, offset: number, axis1: number, axis2: number): Tensor => {
  const [a, b] = twoAxes("write a diagonal", axis1, axis2, x.rank);
  const order = last(x.rank, a, b), moved = x.permute(order);
  const line = lineOf(moved.shape.slice(0, -2), x.shape[a], x.shape[b], offset);
  if (!sameShape(source.shape, line.sizes)) {
    throw new RangeError(
      `Cannot write shape ${showShape(source.shape)} to diagonal ${offset} of shape ${showShape(x.shape)}: ` +
        `it has shape ${showShape(line.sizes)}`,
    );
  }
  return written(moved.reshape(line.shape), source, line.starts, line.steps).reshape(moved.shape)
    .permute(inversePermutation(order));
});

/** Whether a column is at most the row + `diagonal`, for the last two axes of x. */
function lower(action: string, x: Tensor, diagonal: number): Tensor {
  if (x.rank < 2 || !Number.isInteger(diagonal)) {
    throw new RangeError(
      `Cannot ${action} shape ${showShape(x.shape)} from diagonal ${diagonal}: ` +
        `it takes a matrix and a whole number`,
    );
  }
  const [m, n] = x.shape.slice(-2);
  return x.arangeLike(n, "i32").le(x.arangeLike(m, "i32").add(diagonal).unsqueeze(1));
}

export const tril = composite({
  name: "tril",
  tex: ([x]) => `\\operatorname{tril} ${x}`,
  texPartials: () => ["[i \\ge j]"],
  samples: [
    { shapes: [[3, 4]], call: (x) => x.tril(1) },
    { shapes: [[2, 3, 3]], call: (x) => x.tril(-1) },
  ],
}, (x: Tensor, diagonal: number): Tensor => x.maskedFill(lower("tril", x, diagonal).logicalNot(), 0));

export const triu = composite({
  name: "triu",
  tex: ([x]) => `\\operatorname{triu} ${x}`,
  texPartials: () => ["[i \\le j]"],
  samples: [
    { shapes: [[3, 4]], call: (x) => x.triu(1) },
    { shapes: [[2, 3, 3]], call: (x) => x.triu(-1) },
  ],
}, (x: Tensor, diagonal: number): Tensor => x.maskedFill(lower("triu", x, diagonal - 1), 0));

/** `x` with `source` in the window from `starts`, every `steps`-th place. */
export function written(
  x: Tensor,
  source: Tensor,
  starts: readonly number[],
  steps: readonly number[],
): Tensor {
  const inside = x.scalarLike(1, "bool").expand(source.shape).scatterWindow(x.shape, starts, steps);
  return source.to(x.dtype).scatterWindow(x.shape, starts, steps).where(inside, x);
}
