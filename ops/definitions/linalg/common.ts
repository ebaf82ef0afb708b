/** What the records of linear algebra share: kernels over stacks of matrices, and tuples made of them. */
import { allBatched, custom } from "../../families.ts";
import { apply } from "../../node.ts";
import { type Attributes, type Aval, type Custom, define, type Tuple } from "../../primitive.ts";
import { type Shape, sizeOf } from "../../shape.ts";
import type { Tensor } from "../../tensor.ts";
import { tupleOutputs } from "../structural.ts";

/** Leading axes, rows and columns. */
export function split(shape: Shape): { batch: Shape; M: number; N: number } {
  const rank = shape.length;
  return { batch: shape.slice(0, -2), M: shape[rank - 2], N: shape[rank - 1] };
}

/** Number of matrices in a stack. */
export function count(shape: Shape): number {
  return sizeOf(shape.slice(0, -2));
}

/** How messages name a matrix of a stack. */
export function matrixName(shape: Shape, matrix: number): string {
  return shape.length === 2 ? `the matrix [${shape}]` : `matrix ${matrix} of [${shape}]`;
}

/** A primitive that only computes: what it factors is differentiated by the tuple which expands to it. */
export function kernel(
  r:
    & Omit<Custom, "family" | "vjp" | "jvp" | "batch" | "discrete" | "wgsl">
    & { wgsl: Custom["wgsl"] },
): Custom {
  const self: Custom = custom({
    ...r,
    discrete: true,
    vjp: (_, { x }) => x.map(() => null),
    jvp: () => null,
    batch: (x, batched, p, B) => apply(self, allBatched(x, batched, B), p),
  });
  return self;
}

/** Declares an op with rules of its own on stacks of matrices; its value is what it expands to. */
export function tuple(r: Omit<Tuple, "family" | "batch">): Tuple {
  const self: Tuple = define({
    ...r,
    family: "tuple",
    batch: (x, batched, p, B) => tupleOutputs(self, allBatched(x, batched, B), p),
  });
  return self;
}

/** Calls `f` with each matrix of a stack in double precision, its number, and where its part of the result begins. */
export function eachMatrix(
  x: { shape: Shape; data: ArrayLike<number> },
  f: (a: Float64Array, matrix: number) => void,
): void {
  const { M, N } = split(x.shape), size = M * N, n = count(x.shape);
  const a = new Float64Array(size);
  for (let t = 0; t < n; t++) {
    for (let i = 0; i < size; i++) a[i] = x.data[t * size + i];
    f(a, t);
  }
}

/** Writes several arrays behind each other. */
export function put(
  to: { [i: number]: number },
  at: number,
  ...parts: readonly ArrayLike<number>[]
): void {
  for (const part of parts) for (let i = 0; i < part.length; i++) to[at++] = part[i];
}

/** The parts of a packed result `[..., total]` under their own shapes, in order. */
export function unpack(packed: Tensor, shapes: readonly Shape[]): Tensor[] {
  const batch = packed.shape.slice(0, -1);
  let at = 0;
  return shapes.map((shape) => {
    const size = sizeOf(shape);
    at += size;
    return packed.narrow(-1, at - size, size).reshape([...batch, ...shape]);
  });
}

/** Results of which those of matrices that hold an infinity or NaN are NaN throughout: rotations lose some of them. */
export function ofFinite(a: Tensor, results: readonly Tensor[]): Tensor[] {
  const lost = a.isfinite().all([-2, -1]).logicalNot(); // [...batch]
  return results.map((y) =>
    y.maskedFill(lost.reshape([...lost.shape, ...Array(y.rank - lost.rank).fill(1)]), NaN)
  );
}

/** One result of the same type as the first operand. */
export function like(x: readonly Aval[], ...shapes: Shape[]): Aval[] {
  return shapes.map((shape) => ({ shape, dtype: x[0].dtype }));
}

/** The sum of what is there. */
export function plus(...terms: (Tensor | null)[]): Tensor | null {
  return terms.reduce((a, b) => a === null ? b : b === null ? a : a.add(b), null);
}

/** `(x + x^T) / 2`. */
export function symmetric(x: Tensor): Tensor {
  return x.add(x.mT()).mul(0.5);
}

/** A diagonal matrix times x: rows scaled. */
export function scaleRows(x: Tensor, by: Tensor): Tensor {
  return x.mul(by.unsqueeze(-1));
}

/** x times a diagonal matrix: columns scaled. */
export function scaleColumns(x: Tensor, by: Tensor): Tensor {
  return x.mul(by.unsqueeze(-2));
}

/** Where row and column are the same, `[N, N]`. */
export function onDiagonal(x: Tensor, n: number): Tensor {
  const i = x.arangeLike(n, "i32");
  return i.eq(i.unsqueeze(1));
}

/** The identity `[..., N, N]` like x. */
export function eyeLike(x: Tensor, n: number): Tensor {
  return onDiagonal(x, n).to(x.dtype).expand([...x.shape.slice(0, -2), n, n]);
}

/** A matrix with this diagonal. */
export function diagonalMatrix(d: Tensor): Tensor {
  const n = d.shape[d.rank - 1];
  return d.unsqueeze(-1).expand([...d.shape, n]).where(onDiagonal(d, n), 0);
}

/** Attributes of an op without any. */
export const NONE: Attributes = null;
