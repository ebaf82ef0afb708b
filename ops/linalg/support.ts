/** What functions on matrices share: checks of operands, half precision, samples. */
import { eyeLike } from "../definitions/linalg/common.ts";
import { type DType, isFloat, isHalf } from "../dtype.ts";
import type { Sample } from "../primitive.ts";
import { broadcastShapes, showShape } from "../shape.ts";
import { asTensor, type Operand, Tensor } from "../tensor.ts";

/** What an operand must be: any tensor, one with two axes or more, or with the last two equal. */
export type Kind = "tensor" | "matrix" | "square";

/** Refuses what is no floating point tensor of a kind. */
function check(action: string, x: unknown, kind: Kind): Tensor {
  const t = asTensor(action, x);
  if (!isFloat(t.dtype)) {
    throw new TypeError(
      `Cannot ${action} a tensor of type ${t.dtype}: it takes floating point numbers; convert it first, as in x.to("f32")`,
    );
  }
  if (kind !== "tensor" && t.rank < 2) {
    throw new RangeError(
      `Cannot ${action} shape ${showShape(t.shape)}: a matrix has two axes, and a stack of them more`,
    );
  }
  if (kind === "square" && t.shape[t.rank - 1] !== t.shape[t.rank - 2]) {
    throw new RangeError(
      `Cannot ${action} shape ${showShape(t.shape)}: the last two axes have lengths ${
        t.shape[t.rank - 2]
      } and ${t.shape[t.rank - 1]}, which must be equal`,
    );
  }
  return t;
}

/** All tensors of a result in another type, if they are floating point numbers. */
function converted<T>(y: T, dtype: DType): T {
  if (y instanceof Tensor) return (isFloat(y.dtype) ? y.to(dtype) : y) as T;
  if (Array.isArray(y)) return y.map((t) => converted(t, dtype)) as T;
  return Object.fromEntries(Object.entries(y as object).map(([k, t]) => [k, converted(t, dtype)])) as T;
}

/** `f` with its first operands checked by kind; they have one type, and 16 bits are computed in f32. */
// deno-lint-ignore no-explicit-any
export function onMatrices<F extends (...args: any[]) => unknown>(action: string, kinds: Kind[], f: F): F {
  return ((...args: unknown[]) => {
    const tensors = kinds.map((kind, i) => check(action, args[i], kind)), { dtype } = tensors[0];
    for (const t of tensors) {
      if (t.dtype !== dtype) {
        throw new TypeError(
          `Cannot ${action} tensors of types ${dtype} and ${t.dtype}: convert one of them, as in x.to("${dtype}")`,
        );
      }
    }
    if (!isHalf(dtype)) return f(...args);
    return converted(f(...tensors.map((t) => t.to("f32")), ...args.slice(kinds.length)), dtype);
  }) as F;
}

/** Two stacks of matrices with the same leading axes. */
export function together(action: string, a: Tensor, b: Tensor): [Tensor, Tensor] {
  const batch = broadcastShapes(action, a.shape.slice(0, -2), b.shape.slice(0, -2));
  return [a, b].map((t) => t.expand([...batch, ...t.shape.slice(-2)])) as [Tensor, Tensor];
}

/** Refuses a right side whose rows do not fit. */
export function sameRows(action: string, a: Tensor, b: Tensor): void {
  const n = a.shape[a.rank - 1], m = b.shape[b.rank - 2];
  if (n === m) return;
  throw new RangeError(
    `Cannot ${action} with matrices ${showShape(a.shape)} and right sides ${
      showShape(b.shape)
    }: there are ${n} unknowns and ${m} rows, which must be equal`,
  );
}

/** Below what a singular value counts as 0, and how values are had. */
export interface ToleranceOptions {
  /** Absolute; default 0. */
  atol?: Operand;
  /** Times the largest singular value; default max(M, N) times the type's epsilon, 0 where atol is given. */
  rtol?: Operand;
  /** The matrix is symmetric: eigenvalues by its lower triangle instead of singular values. */
  hermitian?: boolean;
}

/** The limit for each matrix of a stack, `[..., 1]`, from its values in magnitude. */
export function limitOf(a: Tensor, magnitudes: Tensor, { atol, rtol }: ToleranceOptions): Tensor {
  const epsilon = a.dtype === "f64" ? 2 ** -52 : 2 ** -23;
  const column = (t: Operand): Operand =>
    typeof t === "number" ? t : t.to(a.dtype).stopGradient().unsqueeze(-1);
  const absolute = column(atol ?? 0);
  const relative = rtol !== undefined
    ? column(rtol)
    : atol === undefined
    ? Math.max(...a.shape.slice(-2)) * epsilon
    // Where a tolerance of 0 was given there is none to fall back on.
    : typeof absolute === "number"
    ? absolute > 0 ? 0 : Math.max(...a.shape.slice(-2)) * epsilon
    : absolute.zerosLike().where(absolute.gt(0), Math.max(...a.shape.slice(-2)) * epsilon);
  return magnitudes.amax(-1, { keepdim: true }).mul(relative).maximum(absolute);
}

/** Why samples of factorizations leave out special points. */
export const PIVOTS =
  "pivots, rotations and convergence hang on the order of operations at infinities and NaN";

/** A sample of a function of one stack of matrices, which `of` makes well-conditioned. */
export function sample(
  shape: readonly number[],
  call: (a: Tensor) => Tensor | Tensor[],
  of: (x: Tensor) => Tensor = dominant,
  rest: Partial<Sample> = {},
): Sample {
  return { shapes: [shape], call: (x) => call(of(x)), slack: 10, notSpecial: PIVOTS, ...rest };
}

/** x with 4, 6, 8 ... added along the diagonal: invertible, with distinct singular values. */
export function dominant(x: Tensor): Tensor {
  const [M, N] = x.shape.slice(-2), column = x.arangeLike(N);
  return x.add(x.arangeLike(M).unsqueeze(1).eq(column).to(x.dtype).mul(column.mul(2).add(4)));
}

/** A positive definite matrix. */
export function positive(x: Tensor): Tensor {
  return x.matmul(x.mT()).add(eyeLike(x, x.shape[x.rank - 1]));
}

/** A symmetric matrix with distinct eigenvalues. */
export function symmetricOf(x: Tensor): Tensor {
  const y = dominant(x);
  return y.add(y.mT()).mul(0.5);
}
