/**
 * Attention without its matrix of weights: Dao (2023), "FlashAttention-2". The forward kernel keeps for each query the
 * output and the logarithm of the sum of its weights, from which the backward kernels compute the weights again.
 */
import { custom } from "../families.ts";
import { apply, wrap } from "../node.ts";
import type { Aval, Custom, HostArray } from "../primitive.ts";
import { sizeOf } from "../shape.ts";
import type { Tensor } from "../tensor.ts";
import { cat, paddedOf } from "../definitions/indexing.ts";
import { threefry } from "../definitions/random.ts";
import { jvpOf, vjpOf } from "../transforms/by_definition.ts";
import {
  type AttentionAttributes,
  definition,
  keyValueDefinition,
  maskStrides,
  outputType,
  queryDefinition,
} from "./attention_definition.ts";
import {
  COTANGENT,
  forwardWgsl,
  keyValueGroups,
  keyValueWgsl,
  queryGroups,
  queryWgsl,
  shared,
  uniforms,
} from "./attention_wgsl.ts";
import { THREADS } from "./attention_tiles.ts";

/** Everything about a call that kernels ask for. */
interface Geometry {
  readonly B: number;
  readonly H: number;
  readonly Hk: number;
  readonly T: number;
  readonly S: number;
  readonly D: number;
  readonly E: number;
  readonly p: AttentionAttributes;
  /** The score of query i and key j of head h in batch b, or -Infinity where it is masked. */
  readonly score: (b: number, h: number, i: number, j: number) => number;
  /** What a weight is multiplied by: 0 where it is dropped. */
  readonly kept: (b: number, h: number, i: number, j: number) => number;
}

/** Geometry of operands [q, k, v, ...] with mask and key from place `more` on. */
function geometry(x: HostArray[], p: AttentionAttributes, more: number): Geometry {
  const [q, k, v] = x, [B, H, T, D] = q.shape, [, Hk, S] = k.shape, E = v.shape[3], G = H / Hk;
  const mask = p.mask === "none" ? null : x[more],
    key = p.rate === 0 ? null : x[more + (mask === null ? 0 : 1)];
  const strides = mask === null ? [] : maskStrides(mask);
  const score = (b: number, h: number, i: number, j: number): number => {
    if (p.causal && p.firstKey + j > p.firstQuery + i) return -Infinity;
    let z = 0;
    if (mask !== null) {
      const m = mask.data[b * strides[0] + h * strides[1] + i * strides[2] + j * strides[3]];
      if (p.mask === "bool" && m === 0) return -Infinity;
      if (p.mask === "float") z = m;
    }
    const from = ((b * H + h) * T + i) * D, to = ((b * Hk + Math.floor(h / G)) * S + j) * D;
    let dot = 0;
    for (let d = 0; d < D; d++) dot += q.data[from + d] * k.data[to + d];
    return dot * p.scale + z;
  };
  const kept = key === null ? () => 1 : dropper(key, B, H, p);
  return { B, H, Hk, T, S, D, E, p, score, kept };
}

function dropper(key: HostArray, B: number, H: number, p: AttentionAttributes): Geometry["kept"] {
  const each = B / key.shape[0], limit = Math.ceil(Math.fround(p.rate) * 2 ** 24), factor = 1 / (1 - p.rate);
  return (b, h, i, j) => {
    const n = 2 * Math.floor(b / each);
    const at = (((b % each) * H + h) * p.queries + p.firstQuery + i) * p.keys + p.firstKey + j;
    return (threefry(key.data[n], key.data[n + 1], at >>> 0, 0)[0] >>> 8) >= limit ? factor : 0;
  };
}

/** Shapes [B, H, T, D], [B, Hk, S, D], [B, Hk, S, E] to the axis 0 that a batch rule merges into. */
function merged(t: Tensor, batched: boolean, B: number, own: number): Tensor {
  const all = batched ? t : t.expand([B, ...t.shape]); // [B, own or 1, ...]
  const [, n, ...rest] = all.shape;
  return (n === own ? all : all.expand([B, own, ...rest])).reshape([B * own, ...rest]);
}

/** The rule for B calls at once: one call with a longer axis 0. */
function batchRule(op: () => Custom, more: number): Custom["batch"] {
  return (x, batched, p: AttentionAttributes, B) => {
    const own = x[0].shape[batched[0] ? 1 : 0];
    const key = p.rate === 0 ? -1 : x.length - 1;
    const y = apply(
      op(),
      x.map((t, i) => {
        // A mask for all of the batch stays one; keys have an axis of their own.
        if (i === more && i !== key && !batched[i] && t.shape[0] === 1) return t;
        return merged(t, batched[i], B, i === key ? t.shape[batched[i] ? 1 : 0] : own);
      }),
      p,
    );
    return y.reshape([B, own, ...y.shape.slice(1)]);
  };
}

/** Multiplications of the matrices of queries and keys. */
const flops = (products: number) => ([q, k]: readonly Aval[]): number =>
  2 * products * sizeOf(q.shape) * k.shape[2];

/** [output | ln of the sum of weights], `[B, H, T, E + 1]`; a query that sees no key has output 0 and -Infinity. */
export const attention: Custom = custom({
  name: "attention",
  call: "scaledDotProductAttention",
  tex: ([q, k, v]) => `\\operatorname{softmax}\\left(\\frac{${q} {${k}}^\\top}{\\sqrt{d}}\\right) ${v}`,
  texPullbacks: (
    [q, k, v],
    f,
  ) => [
    `\\frac{1}{\\sqrt{d}}\\,Z\\,${k}`,
    `\\frac{1}{\\sqrt{d}}\\,Z^\\top ${q}`,
    `P^\\top \\bar{${f}}, \\; P = \\operatorname{softmax}(\\cdot), \\; Z = P \\odot (W - \\operatorname{sum}(P \\odot W)), \\; W = \\bar{${f}}\\,{${v}}^\\top`,
  ],
  infer: ([q, , v]) => ({
    shape: [...q.shape.slice(0, 3), v.shape[3] + 1],
    dtype: outputType(q.dtype),
  }),
  host: (x, y, p: AttentionAttributes) => {
    const g = geometry(x, p, 3), { B, H, Hk, T, S, E } = g, weights = new Float64Array(S), v = x[2].data;
    const sums = new Float64Array(E);
    for (let b = 0; b < B; b++) {
      for (let h = 0; h < H; h++) {
        const values = (b * Hk + Math.floor(h * Hk / H)) * S * E;
        for (let i = 0; i < T; i++) {
          const at = ((b * H + h) * T + i) * (E + 1);
          let m = -Infinity, l = 0;
          for (let j = 0; j < S; j++) m = Math.max(m, weights[j] = g.score(b, h, i, j));
          sums.fill(0);
          for (let j = 0; j < S; j++) {
            if (weights[j] === -Infinity) continue;
            const w = Math.exp(weights[j] - m), kept = w * g.kept(b, h, i, j), from = values + j * E;
            l += w;
            for (let e = 0; e < E; e++) sums[e] += kept * v[from + e];
          }
          for (let e = 0; e < E; e++) y.data[at + e] = l === 0 ? 0 : sums[e] / l;
          y.data[at + E] = l === 0 ? -Infinity : m + Math.log(l);
        }
      }
    }
  },
  wgsl: {
    threads: ([q, , v]) => queryGroups(q, v.shape[3]),
    workgroup: { threads: THREADS, globals: (x, p, target) => shared(x, p, target, 3) },
    uniforms: (x, _, p) => uniforms(x, p, 3),
    body: (x, _, p, target) => forwardWgsl(x, p, target),
  },
  definition,
  flops: flops(2),
  vjp: (ct, c) => {
    const { x, y, p, needs } = c, [q, k, v, ...more] = x, E = v.shape[3], D = q.shape[3];
    const lse = y.narrow(-1, E, 1), up = part(ct, 0, E)!, ofLse = part(ct, E, 1);
    // With weights w = exp(z - lse) and their cotangents dw, that of z is w (dw - delta).
    // A query that sees nothing passes nothing on, whatever comes back to its -Infinity.
    const along = up.mul(y.narrow(-1, 0, E)).sum(-1, { keepdim: true });
    const delta = (ofLse === null ? along : along.sub(ofLse)).where(lse.ne(-Infinity), 0);
    const operands = [q, k, v, up, apply(cat, [lse, delta], { axis: 3 }), ...more];
    const both = needs[1] || needs[2] ? apply(keyValueGrad, operands, p) : null;
    return x.map((_, i) => {
      if (!needs[i]) return null;
      if (i === 0) return apply(queryGrad, operands, p);
      if (i === 1) return both!.narrow(-1, 0, D);
      if (i === 2) return both!.narrow(-1, D, E);
      return vjpOf(definition)(ct, { ...c, needs: needs.map((_, k) => k === i) })[i];
    });
  },
  jvp: jvpOf(definition),
  batch: batchRule(() => attention, 3),
});

/** Columns of a cotangent, or null where it was made with zeros there: mostly the output alone is used. */
function part(ct: Tensor, from: number, n: number): Tensor | null {
  const padded = paddedOf(ct.node), last = ct.rank - 1;
  if (padded === null) return ct.narrow(last, from, n);
  const { x, starts } = padded, start = starts[last], end = start + x.shape[last];
  if (x.shape.some((n, a) => a < last && n !== ct.shape[a])) return ct.narrow(last, from, n);
  if (start === from && end === from + n) return wrap(x);
  return end <= from || from + n <= start ? null : ct.narrow(last, from, n);
}

/** The cotangent of queries from [q, k, v, that of the output, [lse | delta]]: scale Σ_j w_j (dw_j - delta) k_j. */
export const queryGrad: Custom = custom({
  name: "attentionQueryGrad",
  tex: ([q]) => `\\bar{${q}}`,
  texPullbacks: (x, y) =>
    x.map((a) => `\\left(\\frac{\\partial ${y}}{\\partial ${a}}\\right)^\\top \\bar{${y}}`),
  infer: ([q]) => ({ shape: q.shape, dtype: q.dtype }),
  host: (x, y, p: AttentionAttributes) => {
    const g = geometry(x, p, 5), { B, H, Hk, T, S, D, E } = g, [, k, v, up, stats] = x.map((a) => a.data);
    const sums = new Float64Array(D);
    for (let b = 0; b < B; b++) {
      for (let h = 0; h < H; h++) {
        const kv = (b * Hk + Math.floor(h * Hk / H)) * S;
        for (let i = 0; i < T; i++) {
          const row = (b * H + h) * T + i, lse = stats[2 * row], delta = stats[2 * row + 1];
          sums.fill(0);
          for (let j = 0; j < S && lse !== -Infinity; j++) {
            const z = g.score(b, h, i, j);
            if (z === -Infinity) continue;
            let dw = 0;
            for (let e = 0; e < E; e++) dw += up[row * E + e] * v[(kv + j) * E + e];
            const dz = Math.exp(z - lse) * (dw * g.kept(b, h, i, j) - delta);
            for (let d = 0; d < D; d++) sums[d] += dz * k[(kv + j) * D + d];
          }
          for (let d = 0; d < D; d++) y.data[row * D + d] = sums[d] * p.scale;
        }
      }
    }
  },
  wgsl: {
    threads: ([q]) => queryGroups(q, q.shape[3]),
    workgroup: { threads: THREADS, globals: (x, p, target) => shared(x, p, target, 5) + COTANGENT },
    uniforms: (x, _, p) => uniforms(x, p, 5),
    body: (x, _, p, target) => queryWgsl(x, p, target),
  },
  definition: queryDefinition,
  flops: flops(3),
  vjp: vjpOf(queryDefinition),
  jvp: jvpOf(queryDefinition),
  batch: batchRule(() => queryGrad, 5),
});

/** The cotangents of keys and values side by side, `[B, Hk, S, D + E]`: Σ_i scale w (dw - delta) q_i and Σ_i w dy_i. */
export const keyValueGrad: Custom = custom({
  name: "attentionKeyValueGrad",
  tex: ([, k, v]) => `[\\bar{${k}}; \\bar{${v}}]`,
  texPullbacks: (x, y) =>
    x.map((a) => `\\left(\\frac{\\partial ${y}}{\\partial ${a}}\\right)^\\top \\bar{${y}}`),
  infer: ([q, k, v]) => ({
    shape: [...k.shape.slice(0, 3), k.shape[3] + v.shape[3]],
    dtype: q.dtype,
  }),
  host: (x, y, p: AttentionAttributes) => {
    const g = geometry(x, p, 5), { B, H, Hk, T, S, D, E } = g, [q, , v, up, stats] = x.map((a) => a.data);
    const sums = new Float64Array(D + E), G = H / Hk;
    for (let b = 0; b < B; b++) {
      for (let hk = 0; hk < Hk; hk++) {
        for (let j = 0; j < S; j++) {
          const to = (b * Hk + hk) * S + j;
          sums.fill(0);
          for (let h = hk * G; h < (hk + 1) * G; h++) {
            for (let i = 0; i < T; i++) {
              const row = (b * H + h) * T + i, lse = stats[2 * row], z = g.score(b, h, i, j);
              if (lse === -Infinity || z === -Infinity) continue;
              let dw = 0;
              for (let e = 0; e < E; e++) dw += up[row * E + e] * v[to * E + e];
              const kept = g.kept(b, h, i, j),
                w = Math.exp(z - lse),
                dz = w * (dw * kept - stats[2 * row + 1]);
              for (let d = 0; d < D; d++) sums[d] += dz * p.scale * q[row * D + d];
              for (let e = 0; e < E; e++) sums[D + e] += w * kept * up[row * E + e];
            }
          }
          for (let d = 0; d < D + E; d++) y.data[to * (D + E) + d] = sums[d];
        }
      }
    }
  },
  wgsl: {
    threads: (x, _, p, target) => keyValueGroups(x, p, target),
    workgroup: { threads: THREADS, globals: (x, p, target) => shared(x, p, target, 5) + COTANGENT },
    uniforms: (x, _, p) => uniforms(x, p, 5),
    body: (x, _, p, target) => keyValueWgsl(x, p, target),
  },
  definition: keyValueDefinition,
  flops: flops(4),
  vjp: vjpOf(keyValueDefinition),
  jvp: jvpOf(keyValueDefinition),
  batch: batchRule(() => keyValueGrad, 5),
});
