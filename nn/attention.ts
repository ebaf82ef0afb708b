/** Attention with several heads as a layer. */
import type { TensorOptions } from "../ops/create.ts";
import { scaledDotProductAttention } from "../ops/functions/attention.ts";
import { showShape } from "../ops/shape.ts";
import { dropout } from "../ops/sampling.ts";
import { asTensor, checkOptions, type Tensor } from "../ops/tensor.ts";
import { xavierUniform, zeros } from "./init.ts";
import { Linear } from "./linear.ts";
import { Module } from "./module.ts";
import { parameter } from "./parameter.ts";

/** Options of {@linkcode MultiheadAttention}. */
export interface MultiheadAttentionOptions extends Pick<TensorOptions, "dtype" | "device"> {
  /** Whether the projections have biases; default true. */
  bias?: boolean;
  /** Width of keys; default that of queries. */
  keyWidth?: number;
  /** Width of values; default that of queries. */
  valueWidth?: number;
  /** Probability of dropping a weight in training; default 0. */
  dropout?: number;
}

/** What a call of {@linkcode MultiheadAttention} may say. */
export interface AttendOptions {
  /**
   * Keys that a query sees (bool, true where it does, as for `scaledDotProductAttention` and unlike PyTorch's layer), or
   * what is added to scores (float): broadcasts to `[B, H, T, S]`.
   */
  mask?: Tensor;
  /** Keys that are padding, `[B, S]` (or `[S]` without a batch): true where no query sees them. */
  keyPaddingMask?: Tensor;
  /** Query i sees keys up to i only; default false. */
  causal?: boolean;
}

const MAKE: readonly string[] = ["bias", "keyWidth", "valueWidth", "dropout", "dtype", "device"];
const CALL: readonly string[] = ["mask", "keyPaddingMask", "causal"];

/** Queries, keys and values by head, and the mask of both kinds. */
interface Heads {
  readonly q: Tensor;
  readonly k: Tensor;
  readonly v: Tensor;
  readonly mask: Tensor | undefined;
}

/**
 * y = concat(head₁ ... head_H) Wₒ with headₕ = softmax(q Wₕ (k Uₕ)ᵀ / √D) v Vₕ: Vaswani et al. (2017), "Attention is all you
 * need", section 3.2.2. Batches come first, `[B, T, width]`. Members have PyTorch's names (`in_proj_weight`, `out_proj.weight`
 * and so on), so that its files load.
 *
 * ```ts
 * import { MultiheadAttention, randn } from "@cotangent/cotangent";
 * const layer = new MultiheadAttention(16, 4), x = randn([2, 10, 16]);
 * console.log(layer.call(x, x, x, { causal: true }).shape); // [2, 10, 16]
 * ```
 */
export class MultiheadAttention extends Module {
  /** Projections of queries, keys and values above each other, `[3 width, width]`, where they are of one width. */
  inProjWeight: Tensor | null = null;
  /** Projections apart: `[width, width]`, `[width, keyWidth]`, `[width, valueWidth]`, where they are not. */
  qProjWeight: Tensor | null = null;
  /** Of keys. */
  kProjWeight: Tensor | null = null;
  /** Of values. */
  vProjWeight: Tensor | null = null;
  /** Biases of the three, `[3 width]`. */
  inProjBias: Tensor | null = null;
  /** Wₒ. */
  outProj: Linear;
  /** Probability of dropping a weight in training. */
  readonly dropout: number;

  /** `heads` heads that divide `width`. */
  constructor(readonly width: number, readonly heads: number, options: MultiheadAttentionOptions = {}) {
    super();
    checkOptions("make MultiheadAttention", options, MAKE);
    const { bias = true, keyWidth = width, valueWidth = width, dropout: p = 0, ...rest } = options;
    if (!Number.isInteger(heads) || heads < 1 || width % heads !== 0) {
      throw new RangeError(
        `Cannot make MultiheadAttention of width ${width} with ${heads} heads: their number must divide the width`,
      );
    }
    this.dropout = p;
    if (keyWidth === width && valueWidth === width) {
      this.inProjWeight = parameter(xavierUniform([3 * width, width], rest));
    } else {
      this.qProjWeight = parameter(xavierUniform([width, width], rest));
      this.kProjWeight = parameter(xavierUniform([width, keyWidth], rest));
      this.vProjWeight = parameter(xavierUniform([width, valueWidth], rest));
    }
    if (bias) this.inProjBias = parameter(zeros([3 * width], rest));
    this.outProj = new Linear(width, width, { bias, ...rest });
    this.outProj.bias?.assign(0);
  }

  /** Queries `[B, T, width]`, keys and values `[B, S, ...]` (default the queries) to `[B, T, width]`; B may be missing. */
  override forward(
    query: Tensor,
    key: Tensor = query,
    value: Tensor = key,
    options: AttendOptions = {},
  ): Tensor {
    const { q, k, v, mask } = this.#heads(query, key, value, options);
    const y = scaledDotProductAttention(q, k, v, {
      ...mask === undefined ? {} : { mask },
      causal: options.causal ?? false,
      dropout: this.training ? this.dropout : 0,
    });
    return this.#join(y);
  }

  /**
   * The output and the weights, `[B, T, S]` averaged over the heads or `[B, H, T, S]`: a picture of who looks where, which
   * takes the memory that {@linkcode MultiheadAttention.forward} spares.
   */
  withWeights(
    query: Tensor,
    key: Tensor = query,
    value: Tensor = key,
    options: AttendOptions & { average?: boolean } = {},
  ): { output: Tensor; weights: Tensor } {
    const { average = true, ...rest } = options;
    const { q, k, v, mask } = this.#heads(query, key, value, rest);
    const [T, S] = [q.shape[q.rank - 2], k.shape[k.rank - 2]];
    let z = q.matmul(k.mT()).mul(1 / Math.sqrt(q.shape[q.rank - 1])); // [..., H, T, S]
    if (mask !== undefined) z = mask.dtype === "bool" ? z.where(mask, -Infinity) : z.add(mask);
    if (rest.causal) z = z.where(z.onesLike().narrow(-2, 0, T).narrow(-1, 0, S).tril().to("bool"), -Infinity);
    const lse = z.logsumexp(-1, { keepdim: true });
    const w = z.sub(lse.where(lse.ne(-Infinity), 0)).exp(); // a query that sees nothing weighs nothing
    const dropped = this.training ? dropout(w, this.dropout) : w;
    return { output: this.#join(dropped.matmul(v)), weights: average ? dropped.mean(-3) : dropped };
  }

  /** `[..., H, T, D]` to `[..., T, width]`, projected. */
  #join(y: Tensor): Tensor {
    const t = y.movedim(-3, -2); // [..., T, H, D]
    return this.outProj.call(t.reshape([...t.shape.slice(0, -2), this.width]));
  }

  #heads(query: Tensor, key: Tensor, value: Tensor, options: AttendOptions): Heads {
    const action = `apply ${this}`;
    checkOptions(action, options, CALL);
    const inputs = Object.entries({ query, key, value }).map(([role, t]) => asTensor(action, t, role));
    const { width: E, heads: H } = this, rank = query.rank;
    if (rank < 2 || rank > 3 || inputs.some((t) => t.rank !== rank)) {
      throw new RangeError(
        `Cannot ${action} to tensors of shapes ${
          inputs.map((t) => showShape(t.shape)).join(", ")
        }: they must be ` +
          `[B, T, width], or all [T, width]`,
      );
    }
    const packed = this.inProjWeight, weights = [this.qProjWeight, this.kProjWeight, this.vProjWeight];
    inputs.forEach((t, i) => {
      const width = (packed ?? weights[i]!).shape[1];
      if (t.shape[rank - 1] === width) return;
      throw new RangeError(
        `Cannot ${action} to a tensor of shape ${
          showShape(t.shape)
        }: its last axis must have length ${width}`,
      );
    });
    const project = (t: Tensor, weight: Tensor, from: number): Tensor => {
      const y = t.matmul(weight.mT());
      return this.inProjBias === null ? y : y.add(this.inProjBias.narrow(0, from, weight.shape[0]));
    };
    const isSelf = packed !== null && query === key && key === value;
    const all = isSelf ? project(inputs[0], packed, 0) : null; // one product for all three
    const [q, k, v] = inputs.map((t, i) => {
      const z = all?.narrow(-1, i * E, E) ?? project(t, packed?.narrow(0, i * E, E) ?? weights[i]!, i * E);
      return z.reshape([...t.shape.slice(0, -1), H, E / H]).movedim(-2, -3); // [..., H, T, D]
    });
    const { mask, keyPaddingMask: padding } = options;
    if (padding === undefined) return { q, k, v, mask };
    const shape = key.shape.slice(0, -1);
    if (
      padding.dtype !== "bool" || padding.rank !== shape.length ||
      padding.shape.some((n, i) => n !== shape[i])
    ) {
      throw new RangeError(
        `Cannot ${action} with a keyPaddingMask of shape ${
          showShape(padding.shape)
        }, ${padding.dtype}: it must be ${showShape(shape)}, bool`,
      );
    }
    const seen = padding.logicalNot().unsqueeze(-2).unsqueeze(-2); // [..., 1, 1, S]
    if (mask === undefined) return { q, k, v, mask: seen };
    return { q, k, v, mask: mask.dtype === "bool" ? mask.logicalAnd(seen) : mask.where(seen, -Infinity) };
  }

  /** Members by PyTorch's names. */
  protected override fields(): Iterable<[string, unknown]> {
    return Object.entries(this).map((
      [name, value],
    ) => [name.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`), value]);
  }

  /** Width and heads. */
  override details(): string {
    return `${this.width}, ${this.heads} heads`;
  }
}
