/** Attention in terms of other ops, with its matrix of weights: what the kernels are held to. */
import { uniformFromBits } from "../definitions/bits.ts";
import { cat } from "../definitions/indexing.ts";
import { randomBits } from "../definitions/random.ts";
import { type DType, isHalf } from "../dtype.ts";
import { apply } from "../node.ts";
import type { Aval } from "../primitive.ts";
import type { Tensor } from "../tensor.ts";
import type { Definition } from "../transforms/by_definition.ts";

/** Attributes of the kernels. Operands: q `[B, H, T, D]`, k `[B, Hk, S, D]`, v `[B, Hk, S, E]`, then mask and key. */
export interface AttentionAttributes {
  /** Factor of the products of queries and keys. */
  readonly scale: number;
  /** Whether a query sees only keys up to its own place. */
  readonly causal: boolean;
  /** A mask `[B or 1, H or 1, T or 1, S or 1]`: keys that are seen, or what is added to scores. */
  readonly mask: "none" | "bool" | "float";
  /** Probability of dropping a weight, by random bits of the key `[K, 2]`; 0 needs no key. */
  readonly rate: number;
  /** Places of the first query and key among all of them, and the numbers of all. */
  readonly firstQuery: number;
  readonly firstKey: number;
  readonly queries: number;
  readonly keys: number;
}

/** Strides of a mask whose axes of length 1 stand for any length. */
export function maskStrides({ shape: [b, h, t, s] }: Aval): number[] {
  return [b === 1 ? 0 : h * t * s, h === 1 ? 0 : t * s, t === 1 ? 0 : s, s === 1 ? 0 : 1];
}

/** Half precision has its sums, and their logarithms, in single. */
export function outputType(dtype: DType): DType {
  return isHalf(dtype) ? "f32" : dtype;
}

/** Keys or values `[B, Hk, S, D]` for each of H heads. */
function forHeads(t: Tensor, H: number): Tensor {
  const [B, Hk, S, D] = t.shape;
  return H === Hk ? t : t.unsqueeze(2).expand([B, Hk, H / Hk, S, D]).reshape([B, H, S, D]);
}

/** What is the same for all three kernels: scores `[B, H, T, S]`, keys and values by head, what dropping leaves. */
function parts(x: Tensor[], p: AttentionAttributes, more: number) {
  const type = outputType(x[0].dtype), [B, H, T] = x[0].shape, S = x[1].shape[2];
  const q = x[0].to(type), k = forHeads(x[1].to(type), H), v = forHeads(x[2].to(type), H);
  let z = q.matmul(k.mT()).mul(p.scale);
  if (p.mask === "float") z = z.add(x[more].to(type));
  if (p.mask === "bool") z = z.where(x[more], -Infinity);
  if (p.causal) {
    const i = z.arangeLike(T, "i32").add(p.firstQuery).unsqueeze(1),
      j = z.arangeLike(S, "i32").add(p.firstKey);
    z = z.where(j.le(i), -Infinity);
  }
  const drop = (w: Tensor): Tensor => {
    if (p.rate === 0) return w;
    const key = x[x.length - 1], each = B / key.shape[0];
    const bits = apply(randomBits, [key], { shape: [each, H, p.queries, p.keys] });
    const keep = apply(uniformFromBits, [bits]).ge(p.rate).reshape([B, H, p.queries, p.keys])
      .narrow(2, p.firstQuery, T).narrow(3, p.firstKey, S);
    return w.mul(1 / (1 - p.rate)).where(keep, 0);
  };
  return { q, k, v, z, drop };
}

/** exp(z - lse), and 0 where a query sees nothing. */
function weights(z: Tensor, lse: Tensor): Tensor {
  return z.sub(lse.where(lse.ne(-Infinity), 0)).exp();
}

/** [output | lse]. */
export const definition: Definition = (x, p) => {
  const { v, z, drop } = parts(x, p, 3), lse = z.logsumexp(-1, { keepdim: true });
  return apply(cat, [drop(weights(z, lse)).matmul(v), lse], { axis: 3 });
};

/** Weights and the cotangents of scores, from [q, k, v, that of the output, [lse | delta]]. */
function backward(x: Tensor[], p: AttentionAttributes) {
  const { q, k, v, z, drop } = parts(x, p, 5), [up, stats] = x.slice(3);
  const lse = stats.narrow(-1, 0, 1), delta = stats.narrow(-1, 1, 1);
  // A query that sees nothing has weights of 0, which no random lse of a test may change.
  const w = weights(z, lse).where(lse.ne(-Infinity), 0);
  return { q, k, up, w: drop(w), dz: w.mul(drop(up.matmul(v.mT())).sub(delta)) };
}

/** The cotangent of queries. */
export const queryDefinition: Definition = (x, p) => {
  const { k, dz } = backward(x, p);
  return dz.matmul(k).mul(p.scale).to(x[0].dtype);
};

/** The cotangents of keys and values. */
export const keyValueDefinition: Definition = (x, p) => {
  const { q, up, w, dz } = backward(x, p), [B, Hk] = x[1].shape, [, H] = q.shape;
  const both = apply(cat, [dz.mT().matmul(q).mul(p.scale), w.mT().matmul(up)], { axis: 3 }); // [B, H, S, D + E]
  const [S, C] = both.shape.slice(2);
  return (H === Hk ? both : both.reshape([B, Hk, H / Hk, S, C]).sum(2)).to(x[0].dtype);
};
