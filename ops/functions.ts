/** Ops as functions: those that take several tensors, and einsum. */
import { composite } from "./composite.ts";
import { normalizeAxis, sameShape, showShape } from "./shape.ts";
import { joined } from "./functions/joining.ts";
import { asTensor, asTensors, type Operand, Tensor } from "./tensor.ts";

export { embedding, embeddingBag } from "./functions/embedding.ts";
export type { EmbeddingBagOptions, EmbeddingLookup } from "./functions/embedding.ts";
export {
  atleast1d,
  atleast2d,
  atleast3d,
  blockDiag,
  broadcastTensors,
  cartesianProd,
  columnStack,
  combinations,
  dstack,
  hstack,
  meshgrid,
  vander,
  vstack,
} from "./functions/joining.ts";
export type { CombinationOptions, MeshgridOptions, VanderOptions } from "./functions/joining.ts";

/** `a` where `condition` holds, `b` elsewhere; neither's NaN leaks into the other's gradient. */
export function where(condition: Tensor, a: Operand, b: Operand): Tensor {
  asTensor("where", condition, "condition", "tensor([true, ...])");
  if (a instanceof Tensor) return a.where(condition, b);
  if (b instanceof Tensor) return b.where(condition.logicalNot(), a);
  if (typeof a !== "number") asTensor("where", a, "first choice");
  return condition.scalarLike(a, "f32").where(condition, b);
}

/** Tensors joined along an existing axis, all as the type that holds all of theirs. */
export function cat(tensors: readonly Tensor[], axis = 0): Tensor {
  asTensors("cat", tensors);
  if (tensors.length === 0) throw new RangeError("Cannot cat no tensors");
  return joined(tensors, normalizeAxis("cat", axis, tensors[0].rank));
}

/** Tensors of one shape joined along a new axis. */
export function stack(tensors: readonly Tensor[], axis = 0): Tensor {
  asTensors("stack", tensors);
  if (tensors.length === 0) throw new RangeError("Cannot stack no tensors");
  const other = tensors.find((t) => !sameShape(t.shape, tensors[0].shape));
  if (other !== undefined) {
    throw new RangeError(
      `Cannot stack shapes ${showShape(tensors[0].shape)} and ${showShape(other.shape)}: they must be equal`,
    );
  }
  return cat(tensors.map((t) => t.unsqueeze(axis)), normalizeAxis("stack", axis, tensors[0].rank + 1));
}

composite({
  name: "stack",
  tex: (x) => `[${x.join(", ")}]`,
  texPullbacks: (x, y) => x.map((_, i) => `\\bar{${y}}_${i + 1}`),
  samples: [
    { shapes: [[2, 3], [2, 3]], call: (a, b) => stack([a, b]) },
    { shapes: [[2], [2], [2]], call: (a, b, c) => stack([a, b, c], -1) },
  ],
}, stack);

/** Pieces of given lengths (or of one length, the last may be shorter) along an axis. */
export function split(x: Tensor, lengths: number | readonly number[], axis = 0): Tensor[] {
  return asTensor("split", x).split(lengths, axis);
}

/**
 * Sums of products in Einstein's notation: `einsum("ij,jk->ik", a, b)`. Letters that the result does not have are
 * summed over; without `->` those that appear once remain, in alphabetical order; `...` stands for leading axes.
 */
export function einsum(equation: string, ...operands: Tensor[]): Tensor {
  if (typeof equation !== "string") {
    throw new TypeError(`Cannot einsum without an equation: it comes first, as in einsum("ij,jk->ik", a, b)`);
  }
  if (Array.isArray(operands[0])) {
    throw new TypeError(
      `Cannot einsum "${equation}" of an array: give the tensors one by one, as in einsum("ij,jk->ik", a, b)`,
    );
  }
  operands.forEach((t, i) =>
    t instanceof Tensor || asTensor(`einsum "${equation}"`, t, `equation's operand ${i + 1}`)
  );
  const [left, right] = equation.replaceAll(" ", "").split("->");
  let terms = left.split(",");
  const fail = (why: string): never => {
    throw new RangeError(
      `Cannot einsum "${equation}" of shapes ${
        operands.map((t) => showShape(t.shape)).join(" and ")
      }: ${why}`,
    );
  };
  if (terms.length !== operands.length) fail(`it names ${terms.length} operands and got ${operands.length}`);
  // An ellipsis becomes capital letters, which broadcast from the right.
  const extra = terms.map((t, i) => t.includes("...") ? operands[i].rank - (t.length - 3) : 0);
  if (extra.some((n) => n < 0)) fail("an operand has fewer axes than letters");
  const most = Math.max(0, ...extra),
    dots = (n: number): string =>
      Array.from({ length: n }, (_, k) => String.fromCharCode(0x100 + most - n + k)).join("");
  terms = terms.map((t, i) => t.replace("...", dots(extra[i])));
  const count = new Map<string, number>();
  terms.forEach((t) => [...t].forEach((c) => count.set(c, (count.get(c) ?? 0) + 1)));
  const out = right !== undefined ? right.replace("...", dots(most)) : dots(most) +
    [...count].filter(([c, n]) => n === 1 && c.charCodeAt(0) < 0x100).map(([c]) => c).sort().join("");
  if (new Set(out).size !== out.length) fail("the result names an axis twice");
  for (const c of out) if (!count.has(c)) fail(`the result has the axis ${c}, which no operand has`);
  const lengths = new Map<string, number>();
  terms.forEach((t, i) => {
    if (t.length !== operands[i].rank) {
      fail(`operand ${i + 1} has ${operands[i].rank} axes and ${t.length} letters`);
    }
    [...t].forEach((c, k) => {
      const n = operands[i].shape[k], before = lengths.get(c) ?? 1;
      if (n !== before && n !== 1 && before !== 1) fail(`axis ${c} has lengths ${before} and ${n}`);
      lengths.set(c, Math.max(before, n));
    });
  });
  let [labels, result] = diagonals(terms[0], operands[0]);
  for (let i = 1; i < operands.length; i++) {
    const [l, t] = diagonals(terms[i], operands[i]);
    const later = new Set([...out, ...terms.slice(i + 1).join("")]);
    [labels, result] = contract(labels, result, l, t, later);
  }
  const gone = [...labels].flatMap((c, i) => out.includes(c) ? [] : [i]);
  if (gone.length > 0) result = result.sum(gone);
  labels = [...labels].filter((c) => out.includes(c)).join("");
  return result.permute([...out].map((c) => labels.indexOf(c))).expand([...out].map((c) => lengths.get(c)!));
}

/** Repeated letters within an operand pick its diagonal. */
function diagonals(labels: string, t: Tensor): [string, Tensor] {
  for (let i = 0; i < labels.length; i++) {
    const j = labels.indexOf(labels[i], i + 1);
    if (j < 0) continue;
    const c = labels[i], rest = [...labels].flatMap((_, k) => k === i || k === j ? [] : [k]);
    return diagonals([...rest.map((k) => labels[k]), c].join(""), t.permute([...rest, i, j]).diagonal());
  }
  return [labels, t];
}

/** The product of two operands, summed over letters that nothing needs later. */
function contract(la: string, a: Tensor, lb: string, b: Tensor, later: Set<string>): [string, Tensor] {
  const lone = (l: string, other: string): number[] =>
    [...l].flatMap((c, i) => other.includes(c) || later.has(c) ? [] : [i]);
  const da = lone(la, lb), db = lone(lb, la);
  if (da.length > 0) a = a.sum(da), la = [...la].filter((_, i) => !da.includes(i)).join("");
  if (db.length > 0) b = b.sum(db), lb = [...lb].filter((_, i) => !db.includes(i)).join("");
  const both = [...la].filter((c) => lb.includes(c));
  // Lengths of 1 broadcast.
  const length = (c: string): number => Math.max(a.shape[la.indexOf(c)], b.shape[lb.indexOf(c)]);
  a = a.expand([...la].map((c, i) => both.includes(c) ? length(c) : a.shape[i]));
  b = b.expand([...lb].map((c, i) => both.includes(c) ? length(c) : b.shape[i]));
  const batch = both.filter((c) => later.has(c)), summed = both.filter((c) => !later.has(c));
  const rows = [...la].filter((c) => !lb.includes(c)), columns = [...lb].filter((c) => !la.includes(c));
  const take = (l: string, t: Tensor, groups: string[][]): Tensor => {
    const order = groups.flat().map((c) => l.indexOf(c));
    return t.permute(order).reshape([
      ...groups[0].map((c) => t.shape[l.indexOf(c)]),
      ...groups.slice(1).map((g) => g.reduce((n, c) => n * t.shape[l.indexOf(c)], 1)),
    ]);
  };
  const x = take(la, a, [batch, rows, summed]), y = take(lb, b, [batch, summed, columns]);
  const shape = [...batch, ...rows].map((c) => a.shape[la.indexOf(c)]).concat(
    columns.map((c) => b.shape[lb.indexOf(c)]),
  );
  return [[...batch, ...rows, ...columns].join(""), x.matmul(y).reshape(shape)];
}
