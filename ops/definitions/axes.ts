/** Axes exchanged, moved, made, dropped and joined, and places along them picked: views by `permute` and `reshape`. */
import { composite } from "../composite.ts";
import { normalizeAxes, normalizeAxis, showShape, sizeOf } from "../shape.ts";
import type { Tensor } from "../tensor.ts";

export const transpose = composite({
  name: "transpose",
  tex: ([x]) => `{${x}}^\\top`,
  texPullbacks: (_, f) => [`{\\bar{${f}}}^\\top`],
  samples: [
    { shapes: [[2, 3]], call: (x) => x.transpose() },
    { shapes: [[2, 3, 2]], call: (x) => x.swapaxes(0, -1) },
  ],
}, (x: Tensor, a: number, b: number): Tensor => {
  const i = normalizeAxis("transpose", a, x.rank), j = normalizeAxis("transpose", b, x.rank);
  return x.permute(x.shape.map((_, k) => k === i ? j : k === j ? i : k));
});

export const movedim = composite({
  name: "movedim",
  tex: ([x]) => `\\operatorname{permute} ${x}`,
  texPullbacks: (_, f) => [`\\operatorname{permute}^{-1} \\bar{${f}}`],
  samples: [
    { shapes: [[2, 3, 2]], call: (x) => x.movedim(0, -1) },
    { shapes: [[2, 3, 4]], call: (x) => x.movedim([0, 1], [2, 0]) },
  ],
}, (x: Tensor, from: number | readonly number[], to: number | readonly number[]): Tensor => {
  const source = typeof from === "number" ? [from] : from, target = typeof to === "number" ? [to] : to;
  const i = source.map((a) => normalizeAxis("movedim", a, x.rank));
  const j = target.map((a) => normalizeAxis("movedim", a, x.rank));
  if (i.length !== j.length || new Set(i).size !== i.length || new Set(j).size !== j.length) {
    throw new RangeError(
      `Cannot movedim from axes ${showShape(source)} to ${showShape(target)}: ` +
        `both name as many axes, and none twice`,
    );
  }
  const rest = x.shape.map((_, k) => k).filter((k) => !i.includes(k));
  return x.permute(x.shape.map((_, k) => j.includes(k) ? i[j.indexOf(k)] : rest.shift()!));
});

export const unsqueeze = composite({
  name: "unsqueeze",
  tex: ([x]) => x,
  texPartials: () => ["1"],
  samples: [
    { shapes: [[2, 3]], call: (x) => x.unsqueeze(1) },
    { shapes: [[]], call: (x) => x.unsqueeze(-1) },
  ],
}, (x: Tensor, axis: number): Tensor => {
  const at = normalizeAxis("unsqueeze", axis, x.rank + 1);
  return x.reshape([...x.shape.slice(0, at), 1, ...x.shape.slice(at)]);
});

export const squeeze = composite({
  name: "squeeze",
  tex: ([x]) => x,
  texPartials: () => ["1"],
  samples: [
    { shapes: [[1, 2, 1]], call: (x) => x.squeeze() },
    { shapes: [[1, 2, 1, 1]], call: (x) => x.squeeze([0, 1, -1]) },
  ],
}, (x: Tensor, axes: number | readonly number[] | undefined): Tensor => {
  const list = normalizeAxes("squeeze", axes, x.rank);
  return x.reshape(x.shape.filter((n, i) => n !== 1 || !list.includes(i)));
});

export const flatten = composite({
  name: "flatten",
  tex: ([x]) => `\\operatorname{flatten} ${x}`,
  texPullbacks: (_, f) => [`\\operatorname{unflatten} \\bar{${f}}`],
  samples: [
    { shapes: [[2, 3, 2]], call: (x) => x.flatten(1) },
    { shapes: [[2, 3]], call: (x) => x.ravel() },
  ],
}, (x: Tensor, start: number, end: number): Tensor => {
  if (x.rank === 0) return x.reshape([1]);
  const a = normalizeAxis("flatten", start, x.rank), b = normalizeAxis("flatten", end, x.rank);
  if (a > b) {
    throw new RangeError(
      `Cannot flatten axes ${start} to ${end} of ${showShape(x.shape)}: the first comes before the last`,
    );
  }
  return x.reshape([...x.shape.slice(0, a), sizeOf(x.shape.slice(a, b + 1)), ...x.shape.slice(b + 1)]);
});

export const narrow = composite({
  name: "narrow",
  tex: ([x]) => `${x}[\\cdot]`,
  texPullbacks: (_, f) => [`\\operatorname{pad} \\bar{${f}}`],
  samples: [
    { shapes: [[4, 3]], call: (x) => x.narrow(0, 1, 2) },
    { shapes: [[2, 5]], call: (x) => x.narrow(-1, -3, 2) },
  ],
}, (x: Tensor, axis: number, start: number, length: number): Tensor => {
  const a = normalizeAxis("narrow", axis, x.rank), n = x.shape[a], from = start < 0 ? start + n : start;
  if (!Number.isInteger(from) || !Number.isInteger(length) || from < 0 || length < 0 || from + length > n) {
    throw new RangeError(
      `Cannot narrow axis ${axis} of ${
        showShape(x.shape)
      } to ${length} elements from ${start}: it has length ${n}`,
    );
  }
  if (length === n) return x;
  return x.window(
    x.shape.map((_, i) => i === a ? from : 0),
    x.shape.map((m, i) => i === a ? length : m),
    x.shape.map(() => 1),
  );
});

export const select = composite({
  name: "select",
  tex: ([x]) => `${x}[k]`,
  texPullbacks: (_, f) => [`\\operatorname{pad} \\bar{${f}}`],
  samples: [
    { shapes: [[3, 2]], call: (x) => x.select(0, -1) },
    { shapes: [[2, 3, 2]], call: (x) => x.select(1, 1) },
  ],
}, (x: Tensor, axis: number, index: number): Tensor => {
  const a = normalizeAxis("select", axis, x.rank);
  return x.slice(...x.shape.slice(0, a).map(() => ":" as const), index);
});
