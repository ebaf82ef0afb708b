/** Rearrangements made of views and joins: repeating, rolling, turning, cutting, exchanging space for channels. */
import { composite } from "../composite.ts";
import { apply } from "../node.ts";
import type { SliceRange } from "../ranges.ts";
import { windowOf } from "../ranges.ts";
import { normalizeAxis, sameShape, type Shape, showShape, sizeOf } from "../shape.ts";
import type { Tensor } from "../tensor.ts";
import { written } from "./diagonals.ts";
import { cat } from "./indexing.ts";

const whole = (n: unknown): n is number => Number.isInteger(n) && n as number >= 0;

export const unflatten = composite({
  name: "unflatten",
  tex: ([x]) => `\\operatorname{unflatten} ${x}`,
  texPullbacks: (_, f) => [`\\operatorname{flatten} \\bar{${f}}`],
  samples: [{ shapes: [[2, 6]], call: (x) => x.unflatten(1, [2, -1]) }],
}, (x: Tensor, axis: number, lengths: Shape): Tensor => {
  const a = normalizeAxis("unflatten", axis, x.rank), n = x.shape[a];
  const known = sizeOf(lengths.filter((m) => m !== -1)), hole = lengths.indexOf(-1);
  const full = lengths.map((m) => m === -1 ? n / known : m);
  if (lengths.lastIndexOf(-1) !== hole || !full.every(whole) || sizeOf(full) !== n) {
    throw new RangeError(
      `Cannot unflatten axis ${axis} of ${showShape(x.shape)} to lengths ${showShape(lengths)}: ` +
        `they must multiply to ${n}, and one of them may be -1`,
    );
  }
  return x.reshape([...x.shape.slice(0, a), ...full, ...x.shape.slice(a + 1)]);
});

export const repeat = composite({
  name: "repeat",
  tex: ([x]) => `\\operatorname{repeat} ${x}`,
  texPullbacks: (_, f) => [`\\sum \\bar{${f}}`],
  samples: [
    { shapes: [[2, 3]], call: (x) => x.repeat([2, 1, 3]) },
    { shapes: [[3]], call: (x) => x.tile([2]) },
  ],
}, (x: Tensor, times: readonly number[]): Tensor => {
  const extra = times.length - x.rank;
  if (extra < 0 || !times.every(whole)) {
    throw new RangeError(
      `Cannot repeat ${showShape(x.shape)} ${showShape(times)} times: ` +
        `give a whole number for each axis, new axes come in front`,
    );
  }
  const lengths = times.map((_, i) => x.shape[i - extra] ?? 1);
  if (times.every((k) => k === 1)) return x.reshape(lengths);
  return x.reshape(lengths.flatMap((n) => [1, n]))
    .expand(lengths.flatMap((n, i) => [times[i], n]))
    .reshape(lengths.map((n, i) => times[i] * n));
});

export const repeatInterleave = composite({
  name: "repeatInterleave",
  tex: ([x]) => `\\operatorname{repeat} ${x}`,
  texPullbacks: (_, f) => [`\\sum \\bar{${f}}`],
  samples: [
    { shapes: [[2, 3]], call: (x) => x.repeatInterleave(2) },
    { shapes: [[2, 3]], call: (x) => x.repeatInterleave(3, 0) },
    { shapes: [[2, 3]], call: (x) => x.repeatInterleave([2, 0, 1], 1) },
  ],
}, (x: Tensor, times: number | readonly number[], axis: number | undefined): Tensor => {
  if (axis === undefined || x.rank === 0) return repeatInterleaveAxis(x.reshape([x.size]), times, 0);
  return repeatInterleaveAxis(x, times, normalizeAxis("repeatInterleave", axis, x.rank));
});

function repeatInterleaveAxis(x: Tensor, times: number | readonly number[], a: number): Tensor {
  const n = x.shape[a];
  if (typeof times === "number" ? !whole(times) : !(times.length === n && times.every(whole))) {
    throw new RangeError(
      `Cannot repeat the elements of axis ${a} of ${showShape(x.shape)} ${
        typeof times === "number" ? times : showShape(times)
      } times: give a whole number, or one for each of its ${n} elements`,
    );
  }
  if (typeof times === "number") {
    const shape = [...x.shape.slice(0, a + 1), times, ...x.shape.slice(a + 1)];
    return x.unsqueeze(a + 1).expand(shape).reshape(x.shape.map((m, i) => i === a ? m * times : m));
  }
  const pieces = times.flatMap((k, i) =>
    k === 0 ? [] : [x.narrow(a, i, 1).expand(x.shape.map((m, j) => j === a ? k : m))]
  );
  if (pieces.length === 0) return x.narrow(a, 0, 0);
  return pieces.length === 1 ? pieces[0] : apply(cat, pieces, { axis: a });
}

export const roll = composite({
  name: "roll",
  tex: ([x]) => `\\operatorname{roll} ${x}`,
  texPullbacks: (_, f) => [`\\operatorname{roll}^{-1} \\bar{${f}}`],
  samples: [
    { shapes: [[5]], call: (x) => x.roll(2) },
    { shapes: [[2, 3]], call: (x) => x.roll(-1) },
    { shapes: [[2, 3]], call: (x) => x.roll([1, -1], [0, 1]) },
  ],
}, (x: Tensor, shifts: number | readonly number[], axes: number | readonly number[] | undefined): Tensor => {
  if (axes === undefined) {
    if (typeof shifts !== "number") {
      throw new TypeError(`Cannot roll by several shifts without axes: give an axis for each`);
    }
    return rollAxis(x.reshape([x.size]), shifts, 0).reshape(x.shape);
  }
  const by = typeof shifts === "number" ? [shifts] : shifts, along = typeof axes === "number" ? [axes] : axes;
  if (by.length !== along.length) {
    throw new RangeError(
      `Cannot roll by ${by.length} shifts along ${along.length} axes: give an axis for each shift`,
    );
  }
  return along.reduce((y, axis, i) => rollAxis(y, by[i], normalizeAxis("roll", axis, x.rank)), x);
});

function rollAxis(x: Tensor, shift: number, a: number): Tensor {
  const n = x.shape[a];
  if (!Number.isInteger(shift)) throw new RangeError(`Cannot roll by ${shift}: a shift is a whole number`);
  const by = n === 0 ? 0 : ((shift % n) + n) % n;
  if (by === 0) return x;
  return apply(cat, [x.narrow(a, n - by, by), x.narrow(a, 0, n - by)], { axis: a });
}

export const rot90 = composite({
  name: "rot90",
  tex: ([x]) => `\\operatorname{rot90} ${x}`,
  texPullbacks: (_, f) => [`\\operatorname{rot90}^{-1} \\bar{${f}}`],
  samples: [
    { shapes: [[2, 3]], call: (x) => x.rot90() },
    { shapes: [[2, 3, 2]], call: (x) => x.rot90(-1, [1, 2]) },
    { shapes: [[2, 3]], call: (x) => x.rot90(2) },
  ],
}, (x: Tensor, times: number, axes: readonly number[]): Tensor => {
  const [a, b] = axes.map((axis) => normalizeAxis("rot90", axis, x.rank));
  if (axes.length !== 2 || a === b || !Number.isInteger(times)) {
    throw new RangeError(
      `Cannot turn ${showShape(x.shape)} ${times} times in the plane of axes ${showShape(axes)}: ` +
        `it takes a whole number and two different axes`,
    );
  }
  switch (((times % 4) + 4) % 4) {
    case 1:
      return x.flip(b).transpose(a, b);
    case 2:
      return x.flip([a, b]);
    case 3:
      return x.flip(a).transpose(a, b);
  }
  return x;
});

/** Pieces of given lengths along an axis. */
function cut(x: Tensor, a: number, lengths: readonly number[]): Tensor[] {
  let at = 0;
  return lengths.map((m) => {
    at += m;
    return x.narrow(a, at - m, m);
  });
}

export const split = composite({
  name: "split",
  tex: ([x]) => `\\operatorname{split} ${x}`,
  texPullbacks: (_, f) => [`[\\bar{${f}}_1, \\bar{${f}}_2, \\ldots]`],
  samples: [
    { shapes: [[5, 2]], call: (x) => x.split(2) },
    { shapes: [[2, 5]], call: (x) => x.split([1, 4], 1) },
  ],
}, (x: Tensor, lengths: number | readonly number[], axis: number): Tensor[] => {
  const a = normalizeAxis("split", axis, x.rank), n = x.shape[a];
  if (!Array.isArray(lengths) && !(Number.isInteger(lengths) && lengths as number > 0)) {
    throw new RangeError(
      `Cannot split axis ${axis} of ${
        showShape(x.shape)
      } into pieces of ${lengths}: give a length above 0, or an array of lengths`,
    );
  }
  const list = typeof lengths === "number"
    ? Array.from(
      { length: Math.max(1, Math.ceil(n / lengths)) },
      (_, i) => Math.min(lengths, n - i * lengths),
    )
    : lengths;
  if (list.reduce((s, m) => s + m, 0) !== n) {
    throw new RangeError(
      `Cannot split axis ${axis} of ${showShape(x.shape)} into lengths ${
        showShape(list)
      }: they must add up to ${n}`,
    );
  }
  return cut(x, a, list);
});

export const chunk = composite({
  name: "chunk",
  tex: ([x]) => `\\operatorname{chunk} ${x}`,
  texPullbacks: (_, f) => [`[\\bar{${f}}_1, \\bar{${f}}_2, \\ldots]`],
  samples: [{ shapes: [[5, 2]], call: (x) => x.chunk(2) }, { shapes: [[2, 6]], call: (x) => x.chunk(4, 1) }],
}, (x: Tensor, count: number, axis: number): Tensor[] => {
  const a = normalizeAxis("chunk", axis, x.rank), n = x.shape[a];
  if (!(Number.isInteger(count) && count > 0)) {
    throw new RangeError(
      `Cannot chunk axis ${axis} of ${showShape(x.shape)} into ${count} pieces: give a number above 0`,
    );
  }
  // Of no elements there are as many empty pieces as asked for.
  return n === 0 ? cut(x, a, Array(count).fill(0)) : split(x, Math.ceil(n / count), a);
});

export const tensorSplit = composite({
  name: "tensorSplit",
  tex: ([x]) => `\\operatorname{split} ${x}`,
  texPullbacks: (_, f) => [`[\\bar{${f}}_1, \\bar{${f}}_2, \\ldots]`],
  samples: [
    { shapes: [[5, 2]], call: (x) => x.tensorSplit(3) },
    { shapes: [[2, 5]], call: (x) => x.tensorSplit([1, 3], 1) },
    { shapes: [[4]], call: (x) => x.hsplit(2) },
    { shapes: [[2, 2, 4]], call: (x) => [...x.vsplit(2), ...x.dsplit([1])] },
  ],
}, (x: Tensor, where: number | readonly number[], axis: number): Tensor[] => {
  const a = normalizeAxis("tensorSplit", axis, x.rank), n = x.shape[a];
  if (typeof where === "number") {
    if (!(Number.isInteger(where) && where > 0)) {
      throw new RangeError(
        `Cannot split axis ${axis} of ${showShape(x.shape)} into ${where} pieces: give a number above 0`,
      );
    }
    // The first n mod k pieces are one longer.
    const short = Math.floor(n / where);
    return cut(x, a, Array.from({ length: where }, (_, i) => short + (i < n % where ? 1 : 0)));
  }
  const range = (start: number | null, stop: number | null): Tensor =>
    x.slice(...Array.from({ length: a }, (): SliceRange => ":"), [start, stop]);
  return [...where, null].map((stop, i) => range(i === 0 ? null : where[i - 1], stop));
});

/** `tensorSplit` along the axis that a name stands for; a number of pieces must divide it. */
export function splitEvenly(
  action: string,
  x: Tensor,
  where: number | readonly number[],
  axis: number,
): Tensor[] {
  if (typeof where === "number" && x.shape[axis] % where !== 0) {
    throw new RangeError(
      `Cannot ${action} ${showShape(x.shape)} into ${where} pieces: axis ${axis} has length ${
        x.shape[axis]
      }, which they do not divide; see tensorSplit`,
    );
  }
  return tensorSplit(x, where, axis);
}

export const unbind = composite({
  name: "unbind",
  tex: ([x]) => `\\operatorname{unbind} ${x}`,
  texPullbacks: (_, f) => [`[\\bar{${f}}_1, \\bar{${f}}_2, \\ldots]`],
  samples: [{ shapes: [[2, 3]], call: (x) => x.unbind() }, { shapes: [[2, 3]], call: (x) => x.unbind(-1) }],
}, (x: Tensor, axis: number): Tensor[] => {
  const a = normalizeAxis("unbind", axis, x.rank);
  return Array.from({ length: x.shape[a] }, (_, i) => x.select(a, i));
});

export const sliceScatter = composite({
  name: "sliceScatter",
  tex: ([x, s]) => `${x}[\\cdot] \\leftarrow ${s}`,
  texPullbacks: (_, f) => [`\\bar{${f}}[\\cdot] \\leftarrow 0`, `\\bar{${f}}[\\cdot]`],
  samples: [
    { shapes: [[5, 2], [2, 2]], call: (x, s) => x.sliceScatter(s, [[1, 5, 2]]) },
    { shapes: [[2, 4], [2, 2]], call: (x, s) => x.sliceScatter(s, [":", [null, null, -2]]) },
    { shapes: [[3, 4], [4]], call: (x, s) => x.selectScatter(s, 0, -1) },
    { shapes: [[3, 4], [3]], call: (x, s) => x.selectScatter(s, 1, 2) },
  ],
}, (x: Tensor, source: Tensor, ranges: readonly SliceRange[]): Tensor => {
  const { starts, sizes, steps, backward, shape } = windowOf(x.shape, ranges);
  if (!sameShape(source.shape, shape)) {
    throw new RangeError(
      `Cannot write shape ${showShape(source.shape)} to a slice of shape ${showShape(shape)} of ${
        showShape(x.shape)
      }: they must be equal`,
    );
  }
  const full = source.reshape(sizes);
  return written(x, backward.length > 0 ? full.flip(backward) : full, starts, steps);
});

export const pixelShuffle = composite({
  name: "pixelShuffle",
  tex: ([x]) => `\\operatorname{shuffle} ${x}`,
  texPullbacks: (_, f) => [`\\operatorname{unshuffle} \\bar{${f}}`],
  samples: [{ shapes: [[1, 4, 2, 3]], call: (x) => x.pixelShuffle(2) }],
}, (x: Tensor, factor: number): Tensor => {
  const [C, H, W] = x.shape.slice(-3), r = factor;
  if (x.rank < 3 || !(Number.isInteger(r) && r > 0) || C % (r * r) !== 0) {
    throw new RangeError(
      `Cannot pixelShuffle shape ${showShape(x.shape)} by ${r}: ` +
        `it takes [..., C r^2, H, W] and a whole number r above 0`,
    );
  }
  const rest = x.shape.slice(0, -3), k = rest.length, front = rest.map((_, i) => i);
  return x.reshape([...rest, C / (r * r), r, r, H, W])
    .permute([...front, k, k + 3, k + 1, k + 4, k + 2])
    .reshape([...rest, C / (r * r), H * r, W * r]);
});

export const pixelUnshuffle = composite({
  name: "pixelUnshuffle",
  tex: ([x]) => `\\operatorname{unshuffle} ${x}`,
  texPullbacks: (_, f) => [`\\operatorname{shuffle} \\bar{${f}}`],
  samples: [{ shapes: [[1, 2, 4, 2]], call: (x) => x.pixelUnshuffle(2) }],
}, (x: Tensor, factor: number): Tensor => {
  const [C, H, W] = x.shape.slice(-3), r = factor;
  if (x.rank < 3 || !(Number.isInteger(r) && r > 0) || H % r !== 0 || W % r !== 0) {
    throw new RangeError(
      `Cannot pixelUnshuffle shape ${showShape(x.shape)} by ${r}: ` +
        `it takes [..., C, H r, W r] and a whole number r above 0`,
    );
  }
  const rest = x.shape.slice(0, -3), k = rest.length, front = rest.map((_, i) => i);
  return x.reshape([...rest, C, H / r, r, W / r, r])
    .permute([...front, k, k + 2, k + 4, k + 1, k + 3])
    .reshape([...rest, C * r * r, H / r, W / r]);
});

export const channelShuffle = composite({
  name: "channelShuffle",
  tex: ([x]) => `\\operatorname{shuffle} ${x}`,
  texPullbacks: (_, f) => [`\\operatorname{shuffle}^{-1} \\bar{${f}}`],
  samples: [{ shapes: [[2, 6, 2]], call: (x) => x.channelShuffle(3) }],
}, (x: Tensor, groups: number): Tensor => {
  const [B, C, ...rest] = x.shape;
  if (x.rank < 2 || !(Number.isInteger(groups) && groups > 0) || C % groups !== 0) {
    throw new RangeError(
      `Cannot channelShuffle shape ${
        showShape(x.shape)
      } in ${groups} groups: it takes [B, C, ...], where the groups divide C`,
    );
  }
  return x.reshape([B, groups, C / groups, ...rest]).transpose(1, 2).reshape(x.shape);
});
