/** Families of primitives: each derives the rules which follow from what kind of function an op is. */
import { apply } from "./node.ts";
import type { DType } from "./dtype.ts";
import { isFloat } from "./dtype.ts";
import {
  type Attributes,
  type Aval,
  type BatchRule,
  type Common,
  type Contraction,
  type Custom,
  define,
  type Elementwise,
  type Identity,
  type JvpRule,
  type Movement,
  type Reduction,
  type RuleContext,
  type VjpRule,
} from "./primitive.ts";
import { broadcastShapes, sameShape, type Shape } from "./shape.ts";
import type { Tensor } from "./tensor.ts";

/** `partial * t` where a partial is a number, a mask (which also stops NaN) or a tensor. */
function scale(partial: Tensor | number, t: Tensor): Tensor | null {
  if (typeof partial === "number") {
    return partial === 0 ? null : partial === 1 ? t : partial === -1 ? t.neg() : t.mul(partial);
  }
  return partial.dtype === "bool" ? t.where(partial, 0) : t.mul(partial);
}

/** What an elementwise op takes. */
type Accepts = "any" | "number" | "float" | "integer" | "bool";

/** Declares an elementwise primitive from its function and its partial derivatives. */
export function elementwise(
  r:
    & Common
    & Pick<Elementwise, "host" | "hostInteger" | "wgsl" | "partials">
    & {
      /** Samples are drawn from here, for each operand. */
      domain: readonly [number, number] | readonly (readonly [number, number])[];
      /** Operand types; default "number". */
      accepts?: Accepts | readonly Accepts[];
      /** Result type; default that of the last operand. */
      result?: DType | ((x: readonly Aval[], p: Attributes) => DType);
      /** Floating point operations for each element; default 1. */
      flops?: number;
    },
): Elementwise {
  const inputs = r.partials.length;
  const domain = (typeof r.domain[0] === "number" ? Array(inputs).fill(r.domain) : r.domain) as [
    number,
    number,
  ][];
  const accepts = (i: number): Accepts =>
    Array.isArray(r.accepts) ? r.accepts[i] : r.accepts as Accepts ?? "number";
  const infer = (x: readonly Aval[], p: Attributes): Aval => {
    let shape: Shape = x[0].shape;
    for (let i = 0; i < x.length; i++) {
      const a = accepts(i);
      if (a !== "any") checkType(r.name, a, x[i].dtype);
      if (i > 0 && !sameShape(shape, x[i].shape)) shape = broadcastShapes(r.name, shape, x[i].shape);
    }
    const dtype = typeof r.result === "function" ? r.result(x, p) : r.result ?? x[x.length - 1].dtype;
    return { shape, dtype };
  };
  const vjp: VjpRule = (ct, c) =>
    r.partials.map((partial, i) => {
      if (partial === null || !c.needs[i]) return null;
      return scale(partial(c), ct)?.sumTo(c.x[i].shape) ?? null;
    });
  const jvp: JvpRule = (dx, c) => {
    let sum: Tensor | null = null;
    for (let i = 0; i < inputs; i++) {
      const t = dx[i], partial = r.partials[i];
      if (t === null || partial === null) continue;
      const term = scale(partial(c), t);
      if (term !== null) sum = sum === null ? term : sum.add(term);
    }
    return sum === null || sameShape(sum.shape, c.y.shape) ? sum : sum.expand(c.y.shape);
  };
  const self: Elementwise = define({
    ...r,
    family: "elementwise",
    infer,
    vjp,
    jvp,
    // The batch axis is at 0; missing axes of smaller operands go right behind it.
    batch: (x, batched, p, B) => {
      const ranks = x.map((t, i) => t.rank - (batched[i] ? 1 : 0));
      const rank = Math.max(...ranks);
      return apply(
        self,
        x.map((t, i) =>
          batched[i] && ranks[i] < rank
            ? t.reshape([B, ...Array(rank - ranks[i]).fill(1), ...t.shape.slice(1)])
            : t
        ),
        p,
      );
    },
    domain,
    inputs,
    flops: r.flops ?? 1,
  });
  return self;
}

function checkType(name: string, accepts: Accepts, dtype: DType): void {
  const ok = accepts === "float"
    ? isFloat(dtype)
    : accepts === "bool"
    ? dtype === "bool"
    : accepts === "integer"
    ? dtype === "i32" || dtype === "u32"
    : dtype !== "bool";
  if (ok) return;
  const way = accepts === "bool" ? "compare it first, as in x.ne(0)" : `convert it first, as in x.to("f32")`;
  throw new TypeError(`Cannot ${name} a tensor of type ${dtype}: it takes ${accepts} values; ${way}`);
}

/** Declares a movement of elements; it is linear, so its transpose is all that its derivatives need. */
export function movement(
  r: Common & Pick<Movement, "infer" | "view"> & {
    transpose: (ct: Tensor, c: RuleContext) => Tensor;
    /** Attributes for an operand with one more axis in front, of length B. */
    batched: (p: Attributes, B: number) => Attributes;
    /** What to do to the operand before, where its axes do not line up by themselves. */
    align?: (x: Tensor, p: Attributes) => Tensor;
  },
): Movement {
  const self: Movement = define({
    ...r,
    family: "movement",
    vjp: (ct, c) => [r.transpose(ct, c)],
    jvp: ([dx], { p }) => apply(self, [dx!], p),
    batch: ([x], _, p, B) => apply(self, [r.align?.(x, p) ?? x], r.batched(p, B)),
  });
  return self;
}

/** Axes of a reduction and the operand's lengths without them. */
function reducedShape(shape: Shape, axes: readonly number[]): number[] {
  return shape.filter((_, i) => !axes.includes(i));
}

/** Declares a fold over axes. */
export function reduction(
  r: Common & Pick<Reduction, "init" | "host" | "hostInteger" | "wgsl" | "vjp" | "jvp"> & {
    result?: (dtype: DType) => DType;
    /** Why there is no result for no elements; default: the neutral element is one. */
    empty?: string;
  },
): Reduction {
  const self: Reduction = define({
    ...r,
    family: "reduction",
    infer: ([x], p) => {
      if (r.empty !== undefined && p.axes.some((a: number) => x.shape[a] === 0)) {
        throw new RangeError(`Cannot ${r.name} over an axis of length 0 of shape [${x.shape}]: ${r.empty}`);
      }
      return { shape: reducedShape(x.shape, p.axes), dtype: r.result?.(x.dtype) ?? x.dtype };
    },
    batch: ([x], _, p) => apply(self, [x], { ...p, axes: p.axes.map((a: number) => a + 1) }),
  });
  return self;
}

/** Declares a primitive with rules and kernels of its own. */
export function custom(r: Omit<Custom, "family">): Custom {
  return define({ ...r, family: "custom" });
}

/**
 * Declares a primitive that is linear in each operand by itself: a transpose for each of them (null for one that is
 * not differentiated by, as an index) is all that its derivatives need.
 */
export function multilinear(
  { transposes, ...r }: Omit<Custom, "family" | "vjp" | "jvp"> & {
    transposes: readonly (((ct: Tensor, c: RuleContext) => Tensor) | null)[];
  },
): Custom {
  const self: Custom = custom({
    ...r,
    vjp: (ct, c) => transposes.map((transpose, i) => c.needs[i] ? transpose?.(ct, c) ?? null : null),
    jvp: (dx, { x, p }) => {
      let sum: Tensor | null = null;
      dx.forEach((d, i) => {
        if (d === null || transposes[i] === null) return;
        const term = apply(self, x.map((t, j) => j === i ? d : t), p);
        sum = sum === null ? term : (sum as Tensor).add(term);
      });
      return sum;
    },
  });
  return self;
}

/** Declares a batched matrix product. */
export function contraction(r: Omit<Contraction, "family">): Contraction {
  return define({ ...r, family: "contraction" });
}

/** Declares a node that passes its first input through. */
export function identity(
  r: Common & { vjp?: VjpRule; jvp?: JvpRule; batch?: BatchRule },
): Identity {
  const self: Identity = define({
    vjp: (ct: Tensor, c: RuleContext) => c.x.map((_, i) => i === 0 ? ct : null),
    jvp: ([dx]: (Tensor | null)[]) => dx,
    batch: (x: Tensor[], _: boolean[], p: Attributes) => apply(self, x, p),
    ...r,
    family: "identity",
  });
  return self;
}

/** For batching rules which want every operand batched: adds the axis where it is missing. */
export function allBatched(x: Tensor[], batched: boolean[], B: number): Tensor[] {
  return x.map((t, i) => batched[i] ? t : t.expand([B, ...t.shape]));
}
