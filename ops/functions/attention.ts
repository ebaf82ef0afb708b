/** Attention of queries to keys. */
import { isFloat } from "../dtype.ts";
import { attention } from "../fused/attention.ts";
import type { AttentionAttributes } from "../fused/attention_definition.ts";
import { turnsEach } from "../fused/attention_wgsl.ts";
import { cat } from "../functions.ts";
import { apply } from "../node.ts";
import { nextKey } from "../rng.ts";
import { broadcastShapes, sameShape, type Shape, showShape, sizeOf } from "../shape.ts";
import { asTensor, checkOptions, type Tensor } from "../tensor.ts";

/** Options of {@linkcode scaledDotProductAttention}. */
export interface AttentionOptions {
  /** Keys that a query sees (bool), or what is added to scores (float): broadcasts to `[..., T, S]`. */
  mask?: Tensor;
  /** Query i sees keys up to i only, besides what the mask says; default false. */
  causal?: boolean;
  /** Factor of the scores; default 1 / √D. */
  scale?: number;
  /** Probability of dropping a weight; default 0. */
  dropout?: number;
  /** Keys and values may have fewer heads (axis -3), each for a group of queries' heads: PyTorch's `enable_gqa`. */
  groupedHeads?: boolean;
}

const ACTION = "scaledDotProductAttention";

function fail(q: Tensor, k: Tensor, v: Tensor, why: string): never {
  throw new RangeError(
    `Cannot take the ${ACTION} of queries ${showShape(q.shape)}, keys ${showShape(k.shape)} and values ${
      showShape(v.shape)
    }: ${why}`,
  );
}

/** Turns of a loop that are safe on all devices. */
const TURNS = 60_000;

/**
 * softmax(q kᵀ / √D) v of queries `[..., T, D]`, keys `[..., S, D]` and values `[..., S, E]`: `[..., T, E]`. The matrix of
 * weights is never stored: Dao (2023), "FlashAttention-2". A query that sees no key gives 0, without gradient.
 *
 * ```ts
 * import { randn, scaledDotProductAttention } from "@cotangent/cotangent";
 * const [q, k, v] = [randn([2, 8, 10, 16]), randn([2, 8, 10, 16]), randn([2, 8, 10, 16])]; // [B, H, T, D]
 * console.log(scaledDotProductAttention(q, k, v, { causal: true }).shape); // [2, 8, 10, 16]
 * ```
 */
export function scaledDotProductAttention(
  query: Tensor,
  key: Tensor,
  value: Tensor,
  options: AttentionOptions = {},
): Tensor {
  const given = Object.entries({ query, key, value });
  for (const [role, t] of given) asTensor(`take the ${ACTION}`, t, role);
  checkOptions(`take the ${ACTION}`, options, ["mask", "causal", "scale", "dropout", "groupedHeads"]);
  const { mask, causal = false, dropout = 0, groupedHeads = false } = options;
  for (const [role, t] of given) {
    if (!isFloat(t.dtype) || t.dtype !== query.dtype) {
      throw new TypeError(
        `Cannot take the ${ACTION} of ${role} of type ${t.dtype}: query, key and value have one floating point type`,
      );
    }
  }
  if (!(dropout >= 0 && dropout < 1)) {
    throw new RangeError(`Cannot take the ${ACTION} with dropout ${dropout}: it lies in [0, 1)`);
  }
  if (given.some(([, t]) => t.rank < 2)) fail(query, key, value, "each has at least two axes");
  const [T, D] = query.shape.slice(-2), [S, E] = value.shape.slice(-2);
  if (key.shape[key.rank - 1] !== D) fail(query, key, value, "queries and keys must have one width");
  if (key.shape[key.rank - 2] !== S) fail(query, key, value, "there must be one value for each key");

  // [B, H, T, D], [B, Hk, S, D], [B, Hk, S, E]
  const own = given.map(([, t]): Shape => t.shape.slice(0, -2));
  const heads = own.map((lead) => lead[lead.length - 1] ?? 1), [H] = heads;
  if (groupedHeads) {
    if (given.some(([, t]) => t.rank < 3)) {
      fail(query, key, value, "grouped heads are the third axis from the back");
    }
    if (heads[1] !== heads[2] || heads[1] === 0 || H % heads[1] !== 0) {
      fail(query, key, value, "the heads of keys and values must be as many, and divide those of queries");
    }
  }
  const batch = own.map((lead) => groupedHeads ? lead.slice(0, -1) : lead)
    .reduce((a, b) => broadcastShapes(ACTION, a, b));
  const lead: Shape = groupedHeads ? [...batch, H] : batch; // of the result
  const rows = sizeOf(lead.slice(0, -1)), all = lead[lead.length - 1] ?? 1;
  const four = (t: Tensor, h: number): Tensor =>
    t.expand([...(groupedHeads ? [...batch, h] : lead), ...t.shape.slice(-2)])
      .reshape([rows, groupedHeads ? h : all, ...t.shape.slice(-2)]);
  const [q, k, v] = given.map(([, t], i) => four(t, heads[i]));

  const { scale = 1 / Math.sqrt(D) } = options;
  const more: Tensor[] = [];
  if (mask !== undefined) more.push(fourAxes(mask, lead, T, S, query));
  if (dropout > 0) more.push(nextKey(query.device).reshape([1, 2]));
  const p: AttentionAttributes = {
    ...{
      scale,
      causal,
      mask: mask === undefined ? "none" : mask.dtype === "bool" ? "bool" : "float",
      rate: dropout,
    },
    ...{ firstQuery: 0, firstKey: 0, queries: T, keys: S },
  };
  const longest = Math.max(1, Math.floor(TURNS / turnsEach(D, E)));
  const y = query.device === "webgpu" && Math.max(S, T * (q.shape[1] / k.shape[1])) > longest
    ? inBlocks([q, k, v, ...more], p, longest)
    : apply(attention, [q, k, v, ...more], p).narrow(-1, 0, E);
  return y.reshape([...lead, T, E]).to(query.dtype);
}

/** A mask as `[B or 1, H or 1, T or 1, S or 1]`. */
function fourAxes(mask: Tensor, lead: Shape, T: number, S: number, query: Tensor): Tensor {
  asTensor(`take the ${ACTION}`, mask, "mask", "tensor([[true, ...]])");
  if (mask.dtype !== "bool" && !isFloat(mask.dtype)) {
    throw new TypeError(
      `Cannot take the ${ACTION} with a mask of type ${mask.dtype}: it is bool (true where a key is seen) or ` +
        `floating point (added to scores); compare it first, as in mask.ne(0)`,
    );
  }
  const to = [...lead, T, S], extra = to.length - mask.rank;
  if (extra < 0 || mask.shape.some((n, i) => n !== 1 && n !== to[i + extra])) {
    throw new RangeError(
      `Cannot take the ${ACTION} with a mask of shape ${showShape(mask.shape)}: it must broadcast to ${
        showShape(to)
      }`,
    );
  }
  const full = [...Array(extra).fill(1), ...mask.shape], own = full.slice(0, -3);
  const [h, t, s] = [full[full.length - 3] ?? 1, ...full.slice(-2)];
  const m = mask.dtype === "bool" ? mask : mask.to(query.dtype);
  const one = own.every((n) => n === 1), batch = lead.slice(0, -1);
  return one
    ? m.reshape([1, h, t, s])
    : m.reshape(full).expand([...sameShape(own, batch) ? own : batch, h, t, s]).reshape([
      sizeOf(batch),
      h,
      t,
      s,
    ]);
}

/** The same in pieces that no thread takes too many turns for: rows apart, keys put together by their sums. */
function inBlocks([q, k, v, ...more]: Tensor[], p: AttentionAttributes, longest: number): Tensor {
  const T = q.shape[2], S = k.shape[2], E = v.shape[3], G = q.shape[1] / k.shape[1];
  const each = Math.max(1, Math.floor(longest / G)), rows: Tensor[] = [];
  const part = (t: Tensor, axis: number, from: number, n: number): Tensor =>
    t.shape[axis] === 1 ? t : t.narrow(axis, from, n);
  for (let firstQuery = 0; firstQuery < T; firstQuery += each) {
    const t = Math.min(each, T - firstQuery), outputs: Tensor[] = [], sums: Tensor[] = [];
    for (let firstKey = 0; firstKey < S; firstKey += longest) {
      if (p.causal && firstKey > firstQuery + t - 1) break;
      const s = Math.min(longest, S - firstKey);
      const rest = more.map((m, i) =>
        i === 0 && p.mask !== "none" ? part(part(m, 2, firstQuery, t), 3, firstKey, s) : m
      );
      const operands = [
        q.narrow(2, firstQuery, t),
        k.narrow(2, firstKey, s),
        v.narrow(2, firstKey, s),
        ...rest,
      ];
      const y = apply(attention, operands, { ...p, firstQuery, firstKey });
      outputs.push(y.narrow(-1, 0, E));
      sums.push(y.narrow(-1, E, 1));
    }
    if (outputs.length === 1) {
      rows.push(outputs[0]);
      continue;
    }
    const lse = cat(sums, -1), total = lse.logsumexp(-1, { keepdim: true });
    const share = lse.sub(total.where(total.ne(-Infinity), 0)).exp(); // [B, H, t, blocks]
    rows.push(
      outputs.map((y, i) => y.mul(share.narrow(-1, i, 1))).reduce((a, b) => a.add(b)),
    );
  }
  return cat(rows, 2);
}
