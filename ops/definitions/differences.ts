/** Differences of neighbours along one axis, and integrals of samples by the trapezoidal rule. */
import { composite } from "../composite.ts";
import { showShape } from "../shape.ts";
import type { Tensor } from "../tensor.ts";

/** All but the first less all but the last, `n` times. */
export const diff = composite({
  name: "diff",
  tex: ([x]) => `{${x}}_{k+1} - {${x}}_k`,
  texPartials: ([x], f) => [`\\partial {${f}}_k / \\partial {${x}}_i = [i = k + 1] - [i = k]`],
  samples: [
    { shapes: [[2, 4]], call: (x) => x.diff() },
    { shapes: [[4, 2]], call: (x) => x.diff(2, 0) },
    { shapes: [[3]], call: (x) => x.diff(4) },
    { shapes: [[3], [1], [2]], call: (x, a, b) => x.diff(1, 0, { prepend: a, append: b }) },
    { shapes: [[3]], call: (x) => x.diff(), dtypes: ["bool"] },
  ],
}, (x: Tensor, n: number, axis: number): Tensor => {
  const length = x.shape[axis];
  if (n >= length) return x.narrow(axis, 0, 0);
  let y = x;
  for (let m = length - 1; m >= length - n; m--) {
    const after = y.narrow(axis, 1, m), before = y.narrow(axis, 0, m);
    y = y.dtype === "bool" ? after.ne(before) : after.sub(before);
  }
  return y;
});

/** Areas between neighbouring samples: their mean times their distance. */
function pieces(name: string, y: Tensor, x: Tensor | number, axis: number): Tensor {
  const n = y.shape[axis];
  if (n < 2) return y.narrow(axis, 0, 0);
  const sums = y.narrow(axis, 1, n - 1).add(y.narrow(axis, 0, n - 1));
  if (typeof x === "number") return sums.mul(x / 2);
  // One axis of places is that which is integrated along; more line up from the back.
  const places = x.rank === 1
    ? x.reshape(y.shape.map((_, i) => i === axis ? x.size : 1))
    : x.reshape([...Array(Math.max(0, y.rank - x.rank)).fill(1), ...x.shape]);
  if (places.shape[axis] !== n) {
    throw new RangeError(
      `Cannot ${name} values of shape ${showShape(y.shape)} along axis ${axis} at places of shape ${
        showShape(x.shape)
      }: there is one place for each of ${n} values`,
    );
  }
  return places.diff(1, axis).mul(sums).div(2);
}

export const trapezoid = composite({
  name: "trapezoid",
  tex: ([y]) => `\\sum \\tfrac12 ({${y}}_k + {${y}}_{k+1})\\,\\Delta x`,
  samples: [
    { shapes: [[2, 4]], call: (y) => y.trapezoid() },
    { shapes: [[4, 2]], call: (y) => y.trapezoid({ axis: 0, dx: 0.5 }) },
    { shapes: [[2, 4], [4]], call: (y, x) => y.trapezoid({ x }) },
    { shapes: [[3, 2], [3, 1]], call: (y, x) => y.trapezoid({ x, axis: 0 }) },
  ],
}, (y: Tensor, x: Tensor | number, axis: number): Tensor => pieces("trapezoid", y, x, axis).sum(axis));

export const cumulativeTrapezoid = composite(
  {
    name: "cumulativeTrapezoid",
    tex: ([y]) => `\\operatorname{cumsum} \\tfrac12 ({${y}}_k + {${y}}_{k+1})\\,\\Delta x`,
    samples: [
      { shapes: [[2, 4]], call: (y) => y.cumulativeTrapezoid() },
      { shapes: [[2, 4], [2, 4]], call: (y, x) => y.cumulativeTrapezoid({ x }) },
    ],
  },
  (y: Tensor, x: Tensor | number, axis: number): Tensor =>
    pieces("cumulativeTrapezoid", y, x, axis).cumsum(axis),
);
