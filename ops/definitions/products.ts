/** Products of vectors, matrices and stacks of them, in terms of the matrix product. */
import { composite } from "../composite.ts";
import { apply } from "../node.ts";
import type { Sample } from "../primitive.ts";
import { normalizeAxis, sameShape, showShape, sizeOf } from "../shape.ts";
import type { Tensor } from "../tensor.ts";
import { cat } from "./indexing.ts";

/** Numbers that scale the parts of a product which is added to something. */
export interface AddedProductOptions {
  /** Times what is added to; 0 leaves it out, NaN and all; default 1. */
  beta?: number;
  /** Times the product; default 1. */
  alpha?: number;
}

/** Order of sums. */
const SUMS = "infinities of opposite signs meet in sums of another order";

/** Refuses operands of other ranks. */
function ranks(action: string, x: Tensor, m: number, y: Tensor, n: number): void {
  if (x.rank === m && y.rank === n) return;
  const kinds = ["scalars", "vectors", "matrices", "stacks of matrices [B,M,K] and [B,K,N]"];
  throw new RangeError(
    `Cannot ${action} shapes ${showShape(x.shape)} and ${showShape(y.shape)}: ${
      m === n ? `both must be ${kinds[m]}` : "it takes a matrix and a vector"
    }; matmul takes any ranks and broadcasts`,
  );
}

const samples = (a: number[], b: number[], call: (x: Tensor, y: Tensor) => Tensor): readonly Sample[] => [
  { shapes: [a, b], call, notSpecial: SUMS },
];

export const mm = composite(
  {
    name: "mm",
    tex: ([a, b]) => `${a}\\,${b}`,
    texPullbacks: ([x, y], f) => [`\\bar{${f}}\\,{${y}}^\\top`, `{${x}}^\\top \\bar{${f}}`],
    samples: samples([2, 3], [3, 2], (a, b) => a.mm(b)),
  },
  (x: Tensor, y: Tensor): Tensor => {
    ranks("mm", x, 2, y, 2);
    return x.matmul(y);
  },
);

export const bmm = composite(
  {
    name: "bmm",
    tex: ([a, b]) => `${a}\\,${b}`,
    texPullbacks: ([x, y], f) => [`\\bar{${f}}\\,{${y}}^\\top`, `{${x}}^\\top \\bar{${f}}`],
    samples: samples([2, 2, 3], [2, 3, 2], (a, b) => a.bmm(b)),
  },
  (x: Tensor, y: Tensor): Tensor => {
    ranks("bmm", x, 3, y, 3);
    if (x.shape[0] !== y.shape[0]) {
      throw new RangeError(
        `Cannot bmm shapes ${showShape(x.shape)} and ${
          showShape(y.shape)
        }: the first axes must be equal; matmul broadcasts`,
      );
    }
    return x.matmul(y);
  },
);

export const mv = composite(
  {
    name: "mv",
    tex: ([a, b]) => `${a}\\,${b}`,
    texPullbacks: ([x, y], f) => [`\\bar{${f}}\\,{${y}}^\\top`, `{${x}}^\\top \\bar{${f}}`],
    samples: samples([2, 3], [3], (a, b) => a.mv(b)),
  },
  (x: Tensor, y: Tensor): Tensor => {
    ranks("mv", x, 2, y, 1);
    return x.matmul(y);
  },
);

export const dot = composite(
  {
    name: "dot",
    tex: ([a, b]) => `${a} \\cdot ${b}`,
    texPartials: ([x, y]) => [`${y}`, `${x}`],
    samples: samples([3], [3], (a, b) => a.dot(b)),
  },
  (x: Tensor, y: Tensor): Tensor => {
    ranks("dot", x, 1, y, 1);
    if (x.size !== y.size) {
      throw new RangeError(
        `Cannot dot vectors of ${x.size} and ${y.size} elements: they must have one length`,
      );
    }
    return x.matmul(y);
  },
);

export const outer = composite(
  {
    name: "outer",
    tex: ([a, b]) => `${a}\\,{${b}}^\\top`,
    texPullbacks: ([x, y], f) => [`\\bar{${f}}\\,${y}`, `\\bar{${f}}^\\top ${x}`],
    samples: [{ shapes: [[2], [3]], call: (a, b) => a.outer(b) }],
  },
  (x: Tensor, y: Tensor): Tensor => {
    ranks("outer", x, 1, y, 1);
    return x.unsqueeze(1).mul(y);
  },
);

/** Axes of x and of y that a product sums over. */
export type Contracted = number | readonly [readonly number[], readonly number[]];

export const tensordot = composite(
  {
    name: "tensordot",
    tex: ([a, b]) => `${a} \\cdot ${b}`,
    texPartials: ([x, y]) => [`${y}`, `${x}`],
    samples: [
      { shapes: [[2, 3, 4], [3, 4, 2]], call: (a, b): Tensor => tensordot(a, b, 2), notSpecial: SUMS },
      {
        shapes: [[2, 3, 4], [2, 2, 3]],
        call: (a, b): Tensor => tensordot(a, b, [[1, 0], [2, 1]]),
        notSpecial: SUMS,
      },
      { shapes: [[2], [3]], call: (a, b): Tensor => tensordot(a, b, 0) },
    ],
  },
  (x: Tensor, y: Tensor, axes: Contracted): Tensor => {
    const fail = (why: string): never => {
      throw new RangeError(`Cannot tensordot shapes ${showShape(x.shape)} and ${showShape(y.shape)}: ${why}`);
    };
    if (typeof axes === "number") {
      if (!Number.isInteger(axes) || axes < 0 || axes > Math.min(x.rank, y.rank)) {
        fail(`${axes} axes cannot be summed over; give a whole number up to the lower rank`);
      }
      const n = axes;
      axes = [Array.from({ length: n }, (_, i) => x.rank - n + i), Array.from({ length: n }, (_, i) => i)];
    }
    if (!Array.isArray(axes) || axes.length !== 2 || axes[0].length !== axes[1].length) {
      fail("axes are a number, or as many of the first as of the second, as in [[0, 1], [1, 0]]");
    }
    const left = axes[0].map((a) => normalizeAxis("tensordot", a, x.rank));
    const right = axes[1].map((a) => normalizeAxis("tensordot", a, y.rank));
    if (new Set(left).size !== left.length || new Set(right).size !== right.length) {
      fail("an axis is named twice");
    }
    left.forEach((a, i) => {
      const m = x.shape[a], n = y.shape[right[i]];
      if (m === n) return;
      if (m !== 1 && n !== 1) {
        fail(`axes ${a} and ${right[i]} have lengths ${m} and ${n}, which must be equal or 1`);
      }
      // A length of 1 stands for that many equal elements: the other is summed first.
      if (m === 1) y = y.sum(right[i], { keepdim: true });
      else x = x.sum(a, { keepdim: true });
    });
    const freeX = x.shape.map((_, i) => i).filter((i) => !left.includes(i));
    const freeY = y.shape.map((_, i) => i).filter((i) => !right.includes(i));
    const K = sizeOf(left.map((a) => x.shape[a]));
    const rows = freeX.map((i) => x.shape[i]), columns = freeY.map((i) => y.shape[i]);
    return x.permute([...freeX, ...left]).reshape([sizeOf(rows), K])
      .matmul(y.permute([...right, ...freeY]).reshape([K, sizeOf(columns)]))
      .reshape([...rows, ...columns]);
  },
);

export const inner = composite(
  {
    name: "inner",
    tex: ([a, b]) => `\\langle ${a}, ${b} \\rangle`,
    texPartials: ([x, y]) => [`${y}`, `${x}`],
    samples: [
      { shapes: [[2, 3], [4, 3]], call: (a, b) => a.inner(b), notSpecial: SUMS },
      { shapes: [[], [2]], call: (a, b) => a.inner(b) },
    ],
  },
  (x: Tensor, y: Tensor): Tensor =>
    x.rank === 0 || y.rank === 0 ? x.mul(y) : tensordot(x, y, [[x.rank - 1], [y.rank - 1]]),
);

/** `beta x + alpha product`; x broadcasts to the product, whose shape is the result's. */
function added(
  action: string,
  x: Tensor,
  product: Tensor,
  { beta = 1, alpha = 1 }: AddedProductOptions,
): Tensor {
  const scaled = alpha === 1 ? product : product.mul(alpha);
  if (beta === 0) return scaled;
  const shape = product.shape;
  if (x.rank > shape.length || x.shape.some((n, i) => n !== 1 && n !== shape[shape.length - x.rank + i])) {
    throw new RangeError(
      `Cannot ${action} to shape ${showShape(x.shape)}: it must broadcast to the product's, ${
        showShape(shape)
      }`,
    );
  }
  return (beta === 1 ? x : x.mul(beta)).add(scaled);
}

const addedTex = ([x, a, b]: string[]): string => `\\beta\\,${x} + \\alpha\\,${a}\\,${b}`;
const addedPullbacks = ([, a, b]: string[], f: string): string[] => [
  `\\beta\\,\\bar{${f}}`,
  `\\alpha\\,\\bar{${f}}\\,{${b}}^\\top`,
  `\\alpha\\,{${a}}^\\top \\bar{${f}}`,
];
const addedSamples = (
  shapes: number[][],
  method: "addmm" | "addmv" | "addr" | "addbmm" | "baddbmm",
): Sample[] => [
  { shapes, call: (x, a, b) => x[method](a, b, { alpha: 0.5, beta: -2 }), notSpecial: SUMS },
];

export const addmm = composite(
  {
    name: "addmm",
    tex: addedTex,
    texPullbacks: addedPullbacks,
    samples: addedSamples([[2], [3, 2], [2, 2]], "addmm"),
  },
  (x: Tensor, a: Tensor, b: Tensor, o: AddedProductOptions): Tensor => added("addmm", x, mm(a, b), o),
);

export const addmv = composite(
  {
    name: "addmv",
    tex: addedTex,
    texPullbacks: addedPullbacks,
    samples: addedSamples([[3], [3, 2], [2]], "addmv"),
  },
  (x: Tensor, a: Tensor, b: Tensor, o: AddedProductOptions): Tensor => added("addmv", x, mv(a, b), o),
);

export const addr = composite(
  {
    name: "addr",
    tex: addedTex,
    texPullbacks: (
      [, y, z],
      f,
    ) => [`\\beta\\,\\bar{${f}}`, `\\alpha\\,\\bar{${f}}\\,${z}`, `\\alpha\\,\\bar{${f}}^\\top ${y}`],
    samples: addedSamples([[3, 1], [3], [2]], "addr"),
  },
  (x: Tensor, a: Tensor, b: Tensor, o: AddedProductOptions): Tensor => added("addr", x, outer(a, b), o),
);

export const addbmm = composite(
  {
    name: "addbmm",
    tex: ([x, a, b]) => `\\beta\\,${x} + \\alpha \\sum_i {${a}}_i\\,{${b}}_i`,
    texPullbacks: addedPullbacks,
    samples: addedSamples([[3, 2], [2, 3, 2], [2, 2, 2]], "addbmm"),
  },
  (x: Tensor, a: Tensor, b: Tensor, o: AddedProductOptions): Tensor =>
    added("addbmm", x, bmm(a, b).sum(0), o),
);

export const baddbmm = composite(
  {
    name: "baddbmm",
    tex: addedTex,
    texPullbacks: addedPullbacks,
    samples: addedSamples([[3, 2], [2, 3, 2], [2, 2, 2]], "baddbmm"),
  },
  (x: Tensor, a: Tensor, b: Tensor, o: AddedProductOptions): Tensor => added("baddbmm", x, bmm(a, b), o),
);

export const kron = composite(
  {
    name: "kron",
    tex: ([a, b]) => `${a} \\otimes ${b}`,
    texPartials: ([x, y]) => [`\\cdot \\otimes ${y}`, `${x} \\otimes \\cdot`],
    samples: [
      { shapes: [[2, 3], [3, 2]], call: (a, b) => a.kron(b) },
      { shapes: [[2], [2, 3]], call: (a, b) => a.kron(b) },
    ],
  },
  (x: Tensor, y: Tensor): Tensor => {
    const rank = Math.max(x.rank, y.rank);
    const [m, n] = [x, y].map((t) => [...Array(rank - t.rank).fill(1), ...t.shape]);
    // Axes of x and y in turn, which then join in pairs.
    return x.reshape(m.flatMap((k) => [k, 1])).mul(y.reshape(n.flatMap((k) => [1, k])))
      .reshape(m.map((k, i) => k * n[i]));
  },
);

export const cross = composite(
  {
    name: "cross",
    tex: ([a, b]) => `${a} \\times ${b}`,
    texPullbacks: ([x, y], f) => [`${y} \\times \\bar{${f}}`, `\\bar{${f}} \\times ${x}`],
    samples: [
      { shapes: [[2, 3], [2, 3]], call: (a, b) => a.cross(b), notSpecial: SUMS },
      { shapes: [[3, 1], [3, 2]], call: (a, b) => a.cross(b, 0), notSpecial: SUMS },
    ],
  },
  (x: Tensor, y: Tensor, axis: number): Tensor => {
    const at = normalizeAxis("cross", axis, Math.max(x.rank, y.rank)) - Math.max(x.rank, y.rank);
    for (const t of [x, y]) {
      if (t.rank + at < 0 || t.shape[t.rank + at] !== 3) {
        throw new RangeError(
          `Cannot cross shapes ${showShape(x.shape)} and ${
            showShape(y.shape)
          } along axis ${axis}: its length must be 3`,
        );
      }
    }
    const turned = (t: Tensor, by: number): Tensor =>
      apply(cat, [t.narrow(at, by, 3 - by), t.narrow(at, 0, by)], { axis: t.rank + at });
    return turned(x, 1).mul(turned(y, 2)).sub(turned(x, 2).mul(turned(y, 1)));
  },
);

/** The order of products which takes the fewest multiplications: `split[i][j]` ends the left part (dynamic programming). */
function cheapestSplits(lengths: readonly number[]): number[][] {
  const n = lengths.length - 1, cost = Array.from({ length: n }, () => new Array<number>(n).fill(0));
  const split = Array.from({ length: n }, () => new Array<number>(n).fill(0));
  for (let span = 1; span < n; span++) {
    for (let i = 0; i + span < n; i++) {
      const j = i + span;
      cost[i][j] = Infinity;
      for (let k = i; k < j; k++) {
        const c = cost[i][k] + cost[k + 1][j] + lengths[i] * lengths[k + 1] * lengths[j + 1];
        if (c < cost[i][j]) cost[i][j] = c, split[i][j] = k;
      }
    }
  }
  return split;
}

export const multiDot = composite(
  {
    name: "linalg.multiDot",
    tex: (x) => x.join("\\,"),
    samples: [
      { shapes: [[2, 3], [3, 4], [4, 2]], call: (a, b, c): Tensor => multiDot([a, b, c]), notSpecial: SUMS },
      { shapes: [[3], [3, 4], [4]], call: (a, b, c): Tensor => multiDot([a, b, c]), notSpecial: SUMS },
    ],
  },
  (tensors: readonly Tensor[]): Tensor => {
    const n = tensors.length;
    const fail = (why: string): never => {
      throw new RangeError(
        `Cannot multiDot shapes ${tensors.map((t) => showShape(t.shape)).join(", ")}: ${why}`,
      );
    };
    if (n < 2) fail("there must be at least two");
    const first = tensors[0].rank === 1, last = tensors[n - 1].rank === 1;
    const m = tensors.map((t, i) =>
      i === 0 && first ? t.unsqueeze(0) : i === n - 1 && last ? t.unsqueeze(1) : t
    );
    if (m.some((t) => t.rank !== 2)) fail("all must be matrices, and the first and last may be vectors");
    m.forEach((t, i) => {
      if (i > 0 && m[i - 1].shape[1] !== t.shape[0]) {
        fail(
          `${i - 1} has ${m[i - 1].shape[1]} columns and ${i} has ${t.shape[0]} rows, which must be equal`,
        );
      }
    });
    const split = cheapestSplits([m[0].shape[0], ...m.map((t) => t.shape[1])]);
    const product = (i: number, j: number): Tensor =>
      i === j ? m[i] : product(i, split[i][j]).matmul(product(split[i][j] + 1, j));
    let y = product(0, n - 1);
    if (first) y = y.squeeze(0);
    return last ? y.squeeze(-1) : y;
  },
);

export const bilinear = composite(
  {
    name: "bilinear",
    tex: ([x, y, w]) => `{${x}}^\\top ${w}\\,${y}`,
    texPullbacks: (
      [x, y, z],
      f,
    ) => [
      `\\bar{${f}}\\,${z}\\,${y}`,
      `\\bar{${f}}\\,{${z}}^\\top ${x}`,
      `\\bar{${f}} \\otimes ${x}\\,{${y}}^\\top`,
    ],
    samples: [
      {
        shapes: [[2, 3], [2, 4], [5, 3, 4]],
        call: (x, y, w): Tensor => bilinear(x, y, w, null),
        notSpecial: SUMS,
      },
      {
        shapes: [[3], [2], [2, 3, 2], [2]],
        call: (x, y, w, b): Tensor => bilinear(x, y, w, b),
        notSpecial: SUMS,
      },
    ],
  },
  (x: Tensor, y: Tensor, weight: Tensor, bias: Tensor | null): Tensor => {
    const lead = x.shape.slice(0, -1), [O, I, J] = weight.shape;
    if (
      weight.rank !== 3 || x.rank < 1 || !sameShape(lead, y.shape.slice(0, -1)) ||
      x.shape[x.rank - 1] !== I ||
      y.shape[y.rank - 1] !== J
    ) {
      throw new RangeError(
        `Cannot bilinear shapes ${showShape(x.shape)} and ${showShape(y.shape)} with weight ${
          showShape(weight.shape)
        }: [..., I] and [..., J] go with [O, I, J]`,
      );
    }
    const B = sizeOf(lead);
    const half = x.reshape([B, I]).matmul(weight.permute([1, 0, 2]).reshape([I, O * J])).reshape([B, O, J]);
    const z = half.matmul(y.reshape([B, J, 1])).reshape([...lead, O]);
    return bias === null ? z : z.add(bias);
  },
);

export const vander = composite(
  {
    name: "vander",
    tex: ([x]) => `[1, ${x}, {${x}}^2, \\ldots]`,
    texPartials: ([x]) => [`[0, 1, 2\\,${x}, \\ldots]`],
    samples: [{ shapes: [[2, 3]], call: (x): Tensor => vander(x, 4) }, {
      shapes: [[3]],
      call: (x): Tensor => vander(x, 1),
    }],
  },
  (x: Tensor, columns: number): Tensor => {
    const powers = x.unsqueeze(-1).expand([...x.shape, Math.max(0, columns - 1)]);
    return powers.padOnes(1, 0).narrow(-1, 0, columns).cumprod(-1);
  },
);
