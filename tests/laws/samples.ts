/** What the registry laws call each primitive with: families generate theirs, the rest stand in a table by name. */
import {
  cat,
  cg,
  checkpoint,
  cond,
  crossEntropy,
  customJvp,
  customRoot,
  customVjp,
  embedding,
  eye,
  gmres,
  layerNorm,
  nllLoss,
  rmsNorm,
  scaledDotProductAttention,
  scan,
  type Tensor,
  vmap,
  whileLoop,
} from "../../mod.ts";
import type { Composite } from "../../ops/composite.ts";
import { apply } from "../../ops/node.ts";
import type { DType } from "../../ops/dtype.ts";
import { type Primitive, primitives, type Sample } from "../../ops/primitive.ts";
import type { Windows } from "../../ops/definitions/windows.ts";
import type { Shape } from "../../ops/shape.ts";

/** A sample with a name for messages. */
export interface Case extends Sample {
  readonly label: string;
}

const op = (name: string): Primitive => {
  const record = primitives().get(name);
  if (record === undefined) throw new Error(`There is no primitive ${name}`);
  return record;
};
const direct = (name: string, p: unknown = null) => (...xs: Tensor[]): Tensor => apply(op(name), xs, p);

type Entry = Omit<Case, "label">;
const of = (shapes: Shape[], call: Case["call"], rest: Partial<Entry> = {}): Entry => ({
  shapes,
  call,
  ...rest,
});

const windows = (
  kernel: number[],
  stride: number[],
  before: number[],
  dilation: number[],
  size: number[],
): Windows => ({ kernel, stride, before, dilation, size, adaptive: false });

const INDEX: Pick<Entry, "dtypes"> = { dtypes: [undefined, "i32"] };

/** A backward kernel of causal attention. */
const attentionGrad = (of: string): (...x: Tensor[]) => Tensor =>
  direct(`attention${of}Grad`, {
    ...{ scale: 0.8, causal: true, mask: "none", rate: 0 },
    ...{ firstQuery: 1, firstKey: 0, queries: 4, keys: 4 },
  });

const ROWS: Partial<Entry> = { notSpecial: "squares of large numbers overflow in single precision only" };
const SOLVED: Partial<Entry> = { notSpecial: "what a solver makes of infinities is its own" };

/** Samples of primitives that no family can sample, by name. */
const table: Record<string, Entry[]> = {
  cast: [
    of([[2, 3]], (x) => x.to("f32"), { dtypes: ["f16"] }),
    of([[2, 3]], (x) => x.to("f16"), { differences: false }),
    of([[6]], (x) => x.to("i32"), { domain: [[-5, 5]] }),
    of([[6]], (x) => x.to("bool"), { values: [[0, 1, -1, 0, 0.5, -0.25]] }),
    of([[4]], (x) => x.to("f32"), { dtypes: ["i32"], values: [[-3, 0, 7, 100]] }),
    of([[4]], (x) => x.to("i32"), { dtypes: ["bool"], values: [[1, 0, 0, 1]] }),
    of([[4]], (x) => x.to("u32"), { dtypes: ["i32"], values: [[1, 0, 5, 9]] }),
  ],
  reshape: [
    of([[2, 3]], (x) => x.reshape([3, 2])),
    of([[2, 3]], (x) => x.reshape([6, 1])),
    of([[2, 3, 2]], (x) => x.permute([1, 0, 2]).reshape([6, 2])),
    of([[]], (x) => x.reshape([1, 1])),
  ],
  permute: [
    of([[2, 3]], (x) => x.permute([1, 0])),
    of([[2, 3, 4]], (x) => x.permute([2, 0, 1])),
  ],
  expand: [
    of([[3]], (x) => x.expand([2, 3])),
    of([[2, 1]], (x) => x.expand([3, 2, 4])),
    of([[]], (x) => x.expand([2, 2])),
    of([[1, 3]], (x) => x.expand([1, 1, 3])),
  ],
  slice: [
    of([[3, 5]], (x) => x.slice([1, 3], [0, 5, 2])),
    of([[5]], (x) => x.slice(2)),
    of([[4, 3]], (x) => x.slice([null, null, -1], [1, 2])),
    of([[4, 3]], (x) => x.narrow(0, 1, 2)),
  ],
  flip: [of([[2, 3]], (x) => x.flip(1)), of([[2, 3]], (x) => x.flip([0, 1]))],
  matmul: [
    of([[2, 3, 4], [4, 2]], (a, b) => a.matmul(b)),
    of([[2, 1, 3, 2], [4, 2, 3]], (a, b) => a.matmul(b)),
    of([[3], [3]], (a, b) => a.matmul(b)),
    of([[2, 3], [3]], (a, b) => a.matmul(b)),
  ],
  cat: [
    of([[2, 3], [2, 2]], (a, b) => cat([a, b], 1)),
    of([[2], [1], [3]], (a, b, c) => cat([a, b, c])),
    of([[2, 2, 2], [2, 1, 2]], (a, b) => cat([a, b], 1)),
  ],
  scatterWindow: [
    of([[2, 3]], (x) => x.pad([[1, 2], [0, 1]])),
    of([[2, 3]], (x) => x.scatterWindow([5, 7], [1, 2], [2, 2])),
    of([[2]], (x) => x.pad([[1, 1]], 3)),
  ],
  gather: [
    of([[3, 4], [3, 2]], (x, i) => x.gather(1, i), { ...INDEX, values: [undefined, [0, 3, 1, 1, -1, 2]] }),
    of([[3, 4], [2, 4]], (x, i) => x.gather(0, i), {
      ...INDEX,
      values: [undefined, [0, 2, 1, 1, 2, 2, 0, -3]],
    }),
    of([[2, 3, 2], [2, 2, 1]], (x, i) => x.gather(1, i), { ...INDEX, values: [undefined, [0, 2, 1, 1]] }),
  ],
  scatterAdd: [
    of([[3, 4], [3, 2], [3, 2]], (x, i, s) => x.scatterAdd(1, i, s), {
      dtypes: [undefined, "i32"],
      values: [undefined, [0, 3, 1, 1, -1, 2]],
    }),
    of([[3, 2], [4, 2], [4, 2]], (x, i, s) => x.scatterAdd(0, i, s), {
      dtypes: [undefined, "i32"],
      values: [undefined, [0, 2, 1, 1, 0, 2, 0, 0]],
    }),
  ],
  embedding: [
    of([[5, 3], [4]], (w, i) => embedding(w, i), { ...INDEX, values: [undefined, [0, 4, 2, 2]] }),
    of([[4, 2], [2, 2]], (w, i) => embedding(w, i), { ...INDEX, values: [undefined, [-1, 1, 3, 0]] }),
    of([[3, 4], [2]], (x, i) => x.indexSelect(1, i), { ...INDEX, values: [undefined, [3, 0]] }),
  ],
  embeddingGrad: [
    of([[4, 3], [4]], direct("embeddingGrad", { shape: [5, 3] }), {
      ...INDEX,
      values: [undefined, [0, 4, 2, -1]],
    }),
    of([[2, 2, 3], [2, 2]], direct("embeddingGrad", { shape: [3, 3] }), {
      ...INDEX,
      values: [undefined, [0, 2, 2, 0]],
    }),
  ],
  convolution: [
    // [N, G, C, I] with [G, O, C, K]
    of(
      [[2, 2, 1, 5], [2, 2, 1, 2]],
      direct("convolution", { stride: [2], before: [1], dilation: [2], spread: [1], size: [3] }),
    ),
    of(
      [[1, 1, 2, 3, 2], [1, 2, 2, 2, 2]],
      direct("convolution", {
        stride: [1, 3],
        before: [1, -1],
        dilation: [1, 2],
        spread: [2, 3],
        size: [5, 2],
      }),
    ),
    of(
      [[2, 1, 1, 2, 2, 3], [1, 1, 1, 1, 2, 2]],
      direct("convolution", {
        stride: [1, 1, 2],
        before: [0, 0, 1],
        dilation: [1, 1, 1],
        spread: [1, 1, 1],
        size: [2, 1, 2],
      }),
    ),
  ],
  windowArgmax: [
    of([[2, 5]], direct("windowArgmax", windows([2], [2], [1], [2], [3]))),
    of([[1, 3, 4]], direct("windowArgmax", windows([2, 2], [1, 2], [1, 0], [1, 1], [4, 2]))),
    of(
      [[1, 3, 4]],
      direct("windowArgmax", { ...windows([1, 1], [1, 1], [0, 0], [1, 1], [2, 3]), adaptive: true }),
    ),
  ],
  windowTake: [
    of([[2, 4], [2, 3]], direct("windowTake", windows([2], [1], [0], [1], [3])), {
      ...INDEX,
      values: [undefined, [0, 1, 3, 1, 2, 2]],
    }),
    of([[1, 2, 3], [1, 1, 2]], direct("windowTake", windows([2, 2], [1, 1], [0, 0], [1, 1], [1, 2])), {
      ...INDEX,
      values: [undefined, [4, 4]],
    }),
  ],
  windowPut: [
    of([[2, 3], [2, 3]], direct("windowPut", { ...windows([2], [1], [0], [1], [3]), input: [4] }), {
      ...INDEX,
      values: [undefined, [0, 1, 3, 1, 2, 2]],
    }),
    of([[1, 3], [1, 3]], direct("windowPut", { ...windows([2], [2], [1], [2], [3]), input: [5] }), {
      ...INDEX,
      values: [undefined, [1, 1, 3]],
    }),
    of(
      [[1, 3], [1, 3]],
      direct("windowPut", { ...windows([1], [1], [0], [1], [3]), adaptive: true, input: [5] }),
      {
        ...INDEX,
        values: [undefined, [1, 1, 4]],
      },
    ),
  ],
  unfoldWindows: [
    of([[2, 5]], direct("unfoldWindows", windows([2], [2], [1], [2], [3]))),
    of([[1, 3, 4]], direct("unfoldWindows", windows([2, 2], [1, 2], [1, 0], [1, 1], [4, 2]))),
  ],
  foldWindows: [
    of([[2, 2, 3]], direct("foldWindows", { ...windows([2], [2], [1], [2], [3]), input: [5] })),
    of(
      [[1, 2, 2, 4, 2]],
      direct("foldWindows", { ...windows([2, 2], [1, 2], [1, 0], [1, 1], [4, 2]), input: [3, 4] }),
    ),
  ],
  logsumexp: [
    of([[2, 4]], (x) => x.logsumexp(1)),
    of([[3, 2]], (x) => x.logsumexp(0)),
    of([[2, 3, 2]], (x) => x.logsumexp([0, 2], { keepdim: true })),
  ],
  softmax: [
    of([[2, 4]], (x) => x.softmax()),
    of([[3, 2]], (x) => x.softmax(0)),
    of([[2, 3, 2]], (x) => x.softmax(1)),
  ],
  cumsum: [
    of([[2, 4]], (x) => x.cumsum(1)),
    of([[3, 2]], (x) => x.cumsum(0)),
    of([[2, 3]], direct("cumsum", { axis: 1, reverse: true })),
  ],
  argmax: [
    of([[2, 4]], (x) => x.argmax(1)),
    of([[3, 2]], (x) => x.argmax(0)),
    of([[3, 2]], (x) => x.argmax()),
  ],
  argmin: [
    of([[2, 4]], (x) => x.argmin(1)),
    of([[3, 2]], (x) => x.argmin(0, { keepdim: true })),
    of([[3, 2]], (x) => x.argmin()),
  ],
  argsort: [
    of([[2, 4]], (x) => x.argsort()),
    of([[4, 2]], (x) => x.argsort(0, { descending: true })),
    of([[2, 4]], (x) => x.sort().values),
  ],
  crossEntropy: [
    of([[3, 4], [3]], (z, y) => crossEntropy(z, y, { reduction: "none" }), {
      ...INDEX,
      values: [undefined, [0, 3, 1]],
    }),
    of([[2, 2, 3], [2, 2]], (z, y) => crossEntropy(z, y), { ...INDEX, values: [undefined, [0, 2, 1, 1]] }),
    of([[3], []], (z, y) => crossEntropy(z, y), { ...INDEX, values: [undefined, [2]] }),
    of(
      [[3, 4], [3], [4]],
      (z, y, weight) => crossEntropy(z, y, { weight, ignoreIndex: 3, labelSmoothing: 0.2 }),
      { ...INDEX, values: [undefined, [0, 3, 1]], domain: [[-1.5, 1.5], [0, 1], [0.2, 2]] },
    ),
    of([[2, 4, 3], [2, 3]], (z, y) => crossEntropy(z, y, { axis: 1, reduction: "none", ignoreIndex: 2 }), {
      ...INDEX,
      values: [undefined, [0, 2, 1, 3, 2, 1]],
    }),
  ],
  nllLoss: [
    of([[3, 4], [3]], (x, y) => nllLoss(x, y, { reduction: "none" }), {
      ...INDEX,
      values: [undefined, [0, 3, 1]],
    }),
    of([[3, 4], [3], [4]], (x, y, weight) => nllLoss(x, y, { weight, ignoreIndex: 3 }), {
      ...INDEX,
      values: [undefined, [0, 3, 1]],
      domain: [[-1.5, 1.5], [0, 1], [0.2, 2]],
    }),
  ],
  attention: [
    of([[2, 2, 3, 2], [2, 2, 4, 2], [2, 2, 4, 3]], (q, k, v) => scaledDotProductAttention(q, k, v), ROWS),
    of([[4, 3, 2], [2, 3, 2], [2, 3, 2]], (q, k, v) => {
      return scaledDotProductAttention(q, k, v, { causal: true, groupedHeads: true, scale: 0.7 });
    }, ROWS),
    of([[3, 2], [4, 2], [4, 2], [3, 4]], (q, k, v, mask) => scaledDotProductAttention(q, k, v, { mask }), {
      ...ROWS,
      dtypes: [undefined, undefined, undefined, "bool"],
      values: [undefined, undefined, undefined, [1, 1, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0]],
    }),
    of(
      [[2, 3, 2], [2, 4, 2], [2, 4, 2], [2, 1, 4]],
      (q, k, v, mask) => scaledDotProductAttention(q, k, v, { mask }),
      ROWS,
    ),
    of(
      [[2, 2, 3, 2], [2, 1, 4, 2], [2, 1, 4, 3], [1, 2]],
      direct("attention", {
        ...{ scale: 0.8, causal: false, mask: "none", rate: 0.4 },
        ...{ firstQuery: 0, firstKey: 0, queries: 3, keys: 4 },
      }),
      {
        ...ROWS,
        dtypes: [undefined, undefined, undefined, "u32"],
        values: [undefined, undefined, undefined, [7, 9]],
      },
    ),
  ],
  attentionQueryGrad: [
    of([[1, 2, 3, 2], [1, 1, 4, 2], [1, 1, 4, 2], [1, 2, 3, 2], [1, 2, 3, 2]], attentionGrad("Query"), ROWS),
  ],
  attentionKeyValueGrad: [
    of(
      [[1, 2, 3, 2], [1, 1, 4, 2], [1, 1, 4, 2], [1, 2, 3, 2], [1, 2, 3, 2]],
      attentionGrad("KeyValue"),
      ROWS,
    ),
  ],
  layerNorm: [
    of([[2, 3], [3], [3]], (x, weight, bias) => layerNorm(x, 3, { weight, bias }), ROWS),
    of([[2, 2, 3]], (x) => layerNorm(x, [2, 3], { eps: 0.5 }), ROWS),
    of([[2, 3], [3]], (x, bias) => layerNorm(x, 3, { bias }), ROWS),
  ],
  rmsNorm: [
    of([[2, 3], [3]], (x, weight) => rmsNorm(x, 3, { weight }), ROWS),
    of([[2, 2, 3]], (x) => rmsNorm(x, [2, 3], { eps: 0.5 }), ROWS),
  ],
  layerNormGrad: [
    of([[2, 3], [2, 3]], direct("layerNormGrad", { axes: 1, eps: 0.1 }), ROWS),
    of([[2, 3, 2], [2, 3, 2]], direct("layerNormGrad", { axes: 2, eps: 0.1 }), ROWS),
  ],
  rmsNormGrad: [of([[2, 3], [2, 3]], direct("rmsNormGrad", { axes: 1, eps: 0.1 }), ROWS)],
  randomBits: [
    of([[2]], direct("randomBits", { shape: [2, 3] }), { dtypes: ["u32"], values: [[7, 9]] }),
    of([[3, 2]], direct("randomBits", { shape: [2] }), {
      dtypes: ["u32"],
      values: [[7, 9, 0, 1, 4294967295, 5]],
    }),
  ],
  foldKey: [
    of([[2], []], direct("foldKey"), { dtypes: ["u32", "i32"], values: [[7, 9], [3]] }),
    of([[2], [3]], direct("foldKey"), { dtypes: ["u32", "i32"], values: [[7, 9], [0, 1, 2]] }),
  ],
  normalFromBits: [
    of([[7]], direct("normalFromBits"), {
      dtypes: ["u32"],
      values: [[0, 1, 255, 256, 2147483648, 4294967295, 123456789]],
    }),
  ],
  uniformFromBits: [
    of([[7]], direct("uniformFromBits"), {
      dtypes: ["u32"],
      values: [[0, 1, 255, 256, 2147483648, 4294967295, 123456789]],
    }),
  ],
  alias: [of([[2, 3]], direct("alias"))],
  detach: [of([[2, 3]], (x) => x.stopGradient(), { differences: false })],
  barrier: [of([[2, 3], [4]], direct("barrier"))],
  scan: [
    of([[2], [3, 2]], (c, xs) => {
      const [last, ys] = scan((s: Tensor, x: Tensor) => [s.mul(x.sin()).add(x), s.square()], c, xs);
      return [last, ys];
    }),
    of([[2, 2], [2], [3, 2]], (w, c, xs) => {
      const [last, ys] = scan((s: Tensor, x: Tensor) => [w.matmul(s).tanh().add(x), s], c, xs, {
        reverse: true,
      });
      return [last, ys];
    }),
    of([[2]], (c) => scan((s: Tensor) => [s.sin(), s.sum()], c, null, { length: 3 })),
    // Each step's carry is used after it, so that second derivatives reach the stacked carries.
    of([[]], (c) => scan((s: Tensor) => [s.mul(s).cos(), s.exp()], c, null, { length: 4 })[0]),
    of([[2], [5, 2]], (c, xs) => {
      const step = ({ h, k }: { h: Tensor; k: Tensor[] }, [x]: Tensor[]) => {
        const next = h.mul(0.5).add(x), l = k[0].add(next.tanh());
        return [{ h: next, k: [l] }, { y: l.mul(h) }] as [{ h: Tensor; k: Tensor[] }, { y: Tensor }];
      };
      const [last, { y }] = scan(step, { h: c, k: [c.cos()] }, [xs], { reverse: true });
      return [last.h, last.k[0], y];
    }),
    of([[], [11]], (c, xs) => scan((s: Tensor, x: Tensor) => [s.mul(x).sin().add(x), s], c, xs)),
    of(
      [[], [4]],
      (c, xs) =>
        scan((s: Tensor, x: Tensor) => [s.mul(x).sin(), s], c, xs, { checkpoint: "all", reverse: true }),
    ),
    of(
      [[], [4]],
      (c, xs) => scan((s: Tensor, x: Tensor) => [s.mul(x).sin(), s], c, xs, { checkpoint: false }),
    ),
  ],
  cond: [
    of(
      [[3]],
      (x) =>
        cond(x.sum().gt(0), (t: Tensor) => [t.sin(), t.sum()], (t: Tensor) => [t.exp(), t.square().sum()], x),
    ),
    of([[], [2]], (a, w) => cond(a.lt(0), () => w.mul(a).cos(), () => w.square())),
    // Each element chooses for itself; w is shared by all.
    of(
      [[4], []],
      (x, w) =>
        vmap((t: Tensor) => cond(t.gt(0), (u: Tensor) => u.mul(w).sin(), (u: Tensor) => u.square(), t))(x),
    ),
    of(
      [[2, 2]],
      (x) =>
        vmap((row: Tensor) =>
          vmap((t: Tensor) =>
            cond(t.gt(row.sum()), (u: Tensor) => u.mul(row.sum()), (u: Tensor) => u.exp(), t)
          )(row)
        )(x),
    ),
    of(
      [[]],
      (x) => whileLoop((t: Tensor) => t.lt(3), (t: Tensor) => t.square().add(t).add(0.7), x, { maxSteps: 6 }),
    ),
  ],
  implicit: [
    of([[3]], (a) => {
      const solver = (_: unknown, x: Tensor): Tensor => {
        for (let i = 0; i < 12; i++) x = x.sub(x.pow(3).add(x).sub(a).div(x.square().mul(3).add(1)));
        return x;
      };
      return customRoot(
        (x: Tensor) => x.pow(3).add(x).sub(a),
        a.zerosLike(),
        solver,
        (g, b: Tensor) => b.div(g(b.onesLike())),
      );
    }, SOLVED),
    of([[2, 2], [2]], (A, b) => {
      const M = A.mul(0.5).add(eye(2, { dtype: A.dtype }).mul(3));
      return gmres(({ x }: { x: Tensor }) => ({ x: M.matmul(x) }), { x: b }).x;
    }, SOLVED),
    of([[2, 2], [2]], (A, b) => {
      const M = A.matmul(A.transpose(0, 1)).add(eye(2, { dtype: A.dtype }));
      return cg((v: Tensor) => M.matmul(v), b);
    }, SOLVED),
  ],
  checkpoint: [
    of([[2, 3], [3]], (x, w) => checkpoint((a: Tensor, b: Tensor) => a.mul(b).sin())(x, w)),
    of([[3]], (x) => {
      const { a, b } = checkpoint((t: Tensor) => ({ a: t.exp(), b: t.mul(t.sum()) }))(x);
      return [a, b];
    }),
  ],
  customVjp: [
    of([[3], [3]], (x, y) =>
      customVjp(
        (a: Tensor, b: Tensor): [Tensor, Tensor[]] => [a.sin().mul(b), [a, b]],
        ([a, b], ct: Tensor) => [ct.mul(b).mul(a.cos()), ct.mul(a.sin())],
      )(x, y)),
    of([[2, 2]], (x) =>
      customVjp(
        (a: Tensor): [Tensor[], Tensor] => [[a.exp(), a.sum(0)], a],
        (a: Tensor, [c, d]: Tensor[]) => [c.mul(a.exp()).add(d.expand(a.shape))],
      )(x)),
  ],
  customJvp: [
    of([[3], [3]], (x, y) =>
      customJvp(
        (a: Tensor, b: Tensor) => a.mul(b).sin(),
        ([a, b], [da, db]) => a.mul(b).cos().mul(da.mul(b).add(db.mul(a))),
      )(x, y)),
  ],
};

const FLOATS: DType[] = ["f32", "f16", "f64"];

/** The operand types of an elementwise record when the type under test is `dtype`; null where it refuses it. */
export function operandTypes(
  record: Extract<Primitive, { family: "elementwise" }>,
  dtype: DType,
): DType[] | null {
  const all = Array<DType>(record.inputs).fill(dtype);
  for (const types of [all, ["bool" as const, ...all.slice(1)]]) {
    try {
      record.infer(types.map((t) => ({ shape: [], dtype: t })), null);
      return types;
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
    }
  }
  return null;
}

function elementwiseCases(record: Extract<Primitive, { family: "elementwise" }>): Case[] {
  const n = record.inputs, call = direct(record.name);
  const layouts: Shape[][] = n === 1
    ? [[[2, 3]], [[]], [[0, 2]]]
    : n === 2
    ? [[[2, 3], [2, 3]], [[2, 3], [3]], [[2, 1], [1, 3]], [[], [2]], [[3], [2, 1]], [[2], []], [[0, 3], [3]]]
    : [[[2, 3], [2, 3], [2, 3]], [[2, 3], [3], [2, 1]], [[3], [2, 1], []], [[], [], [2]]];
  const types = operandTypes(record, "f64") ?? operandTypes(record, "bool") ?? operandTypes(record, "u32");
  if (types === null) {
    throw new Error(`Primitive ${record.name} takes neither floats, booleans nor u32: give it samples`);
  }
  const dtypes = types.map((t) => FLOATS.includes(t) ? undefined : t);
  const domain = record.domain.map(([lo, hi]): [number, number] => [lo, hi]);
  return layouts.map((shapes) => ({ label: JSON.stringify(shapes), shapes, call, dtypes, domain }));
}

function reductionCases(record: Primitive): Case[] {
  const layouts: [Shape, number[]][] = [[[2, 3], [1]], [[2, 3], [0]], [[2, 3, 2], [0, 2]], [[4], [0]], [[
    1,
    3,
  ], [0]]];
  return layouts.map(([shape, axes]) => ({
    label: `${JSON.stringify(shape)} over ${axes}`,
    shapes: [shape],
    call: direct(record.name, { axes }),
  }));
}

/** Everything to try on an op; an empty list is a missing sample, which fails a test. */
export function casesOf(record: Primitive | Composite): Case[] {
  const own = [...record.samples ?? [], ...table[record.name] ?? []]
    .map((c, i): Case => ({ ...c, label: `sample ${i} ${JSON.stringify(c.shapes)}` }));
  switch (record.family) {
    case "composite":
      return own;
    case "elementwise":
      return own.length > 0 ? own : elementwiseCases(record);
    case "reduction":
      return [...reductionCases(record), ...own];
    case "contraction": {
      const shapes: Shape[][] = [[[2, 3], [3, 2]], [[2, 2, 3], [2, 3, 1]], [[1, 1], [1, 1]]];
      return [
        ...shapes.map((s): Case => ({ label: JSON.stringify(s), shapes: s, call: direct(record.name) })),
        ...own,
      ];
    }
    case "movement":
    case "custom":
    case "identity":
    case "tuple":
      return own;
    case "leaf":
    case "output":
      return [];
  }
}

/** Names in the table which no primitive has: left over from a removed one, or a typing error. */
export function strayNames(): string[] {
  return Object.keys(table).filter((name) => !primitives().has(name));
}
