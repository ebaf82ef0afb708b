/** Blocks of transformers, and what tells them of places. */
import { arange, type TensorOptions } from "../ops/create.ts";
import { cat } from "../ops/functions.ts";
import { showShape } from "../ops/shape.ts";
import { asTensor, checkOptions, type Tensor } from "../ops/tensor.ts";
import { type AttendOptions, MultiheadAttention } from "./attention.ts";
import { Dropout } from "./dropout.ts";
import { Linear } from "./linear.ts";
import { Module } from "./module.ts";
import { LayerNorm } from "./norm.ts";

/** Options of {@linkcode TransformerEncoderLayer} and {@linkcode TransformerDecoderLayer}. */
export interface TransformerLayerOptions extends Pick<TensorOptions, "dtype" | "device"> {
  /** Width between the two linear maps; default 2048. */
  feedforward?: number;
  /** Probability of dropping; default 0.1. */
  dropout?: number;
  /** Default relu. */
  activation?: "relu" | "gelu";
  /** Normalises in front of each part instead of behind it: Xiong et al. (2020); default false. */
  normFirst?: boolean;
  /** ε of the normalisations; default 1e-5. */
  eps?: number;
  /** Whether maps and normalisations have biases; default true. */
  bias?: boolean;
}

const OPTIONS: readonly string[] = [
  ...["feedforward", "dropout", "activation", "normFirst", "eps", "bias", "dtype", "device"],
];

/** What both layers share: attention to themselves, a feedforward part, and how parts are put together. */
export abstract class TransformerLayer extends Module {
  /** Attention to the sequence itself. */
  selfAttn: MultiheadAttention;
  /** Into the width between. */
  linear1: Linear;
  /** Out of it. */
  linear2: Linear;
  /** Of the attention. */
  norm1: LayerNorm;
  /** Of what follows. */
  norm2: LayerNorm;
  /** Drops in the width between and behind each part. */
  dropout: Dropout;
  /** Normalises in front of each part. */
  readonly normFirst: boolean;
  /** Between the linear maps. */
  readonly activation: "relu" | "gelu";

  /** For sequences `[B, T, width]`. */
  constructor(readonly width: number, readonly heads: number, options: TransformerLayerOptions = {}) {
    super();
    checkOptions(`make ${new.target.name}`, options, OPTIONS);
    const {
      feedforward = 2048,
      dropout = 0.1,
      activation = "relu",
      normFirst = false,
      eps = 1e-5,
      bias = true,
      ...rest
    } = options;
    if (activation !== "relu" && activation !== "gelu") {
      throw new TypeError(`Cannot make ${new.target.name} with activation ${activation}: it is relu or gelu`);
    }
    this.selfAttn = new MultiheadAttention(width, heads, { dropout, bias, ...rest });
    this.linear1 = new Linear(width, feedforward, { bias, ...rest });
    this.linear2 = new Linear(feedforward, width, { bias, ...rest });
    this.norm1 = new LayerNorm(width, { eps, bias, ...rest });
    this.norm2 = new LayerNorm(width, { eps, bias, ...rest });
    this.dropout = new Dropout(dropout);
    this.normFirst = normFirst;
    this.activation = activation;
  }

  /** x + part(norm(x)), or norm(x + part(x)). */
  protected residual(x: Tensor, norm: LayerNorm, part: (x: Tensor) => Tensor): Tensor {
    return this.normFirst
      ? x.add(this.dropout.call(part(norm.call(x))))
      : norm.call(x.add(this.dropout.call(part(x))));
  }

  /** Two linear maps with the activation between. */
  protected feed(x: Tensor): Tensor {
    return this.linear2.call(this.dropout.call(this.linear1.call(x)[this.activation]()));
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

/**
 * Attention of a sequence to itself, then a feedforward part, each added to what goes in and normalised: Vaswani et al.
 * (2017), "Attention is all you need", figure 1, left. With `causal` it is the block of a language model.
 */
export class TransformerEncoderLayer extends TransformerLayer {
  /** `[B, T, width]` to the same. */
  override forward(x: Tensor, options: AttendOptions = {}): Tensor {
    const y = this.residual(x, this.norm1, (t) => this.selfAttn.call(t, t, t, options));
    return this.residual(y, this.norm2, (t) => this.feed(t));
  }
}

/** The same with attention to another sequence between: Vaswani et al. (2017), figure 1, right. */
export class TransformerDecoderLayer extends TransformerLayer {
  /** Attention to the other sequence. */
  multiheadAttn: MultiheadAttention;
  /** Of the feedforward part. */
  norm3: LayerNorm;

  /** For sequences `[B, T, width]`. */
  constructor(width: number, heads: number, options: TransformerLayerOptions = {}) {
    super(width, heads, options);
    const { dropout = 0.1, eps = 1e-5, bias = true, dtype, device } = options;
    const rest = { ...dtype === undefined ? {} : { dtype }, ...device === undefined ? {} : { device } };
    this.multiheadAttn = new MultiheadAttention(width, heads, { dropout, bias, ...rest });
    this.norm3 = new LayerNorm(width, { eps, bias, ...rest });
  }

  /** x `[B, T, width]` beside `memory` `[B, S, width]` to `[B, T, width]`; options of both attentions. */
  override forward(
    x: Tensor,
    memory: Tensor,
    options: { self?: AttendOptions; cross?: AttendOptions } = {},
  ): Tensor {
    checkOptions(`apply ${this}`, options, ["self", "cross"]);
    const y = this.residual(x, this.norm1, (t) => this.selfAttn.call(t, t, t, options.self ?? {}));
    const z = this.residual(
      y,
      this.norm2,
      (t) => this.multiheadAttn.call(t, memory, memory, options.cross ?? {}),
    );
    return this.residual(z, this.norm3, (t) => this.feed(t));
  }
}

/** Angles t / base^(2i / width) of places `[T]`: `[T, width / 2]`. */
function angles(action: string, places: Tensor, width: number, base: number): Tensor {
  if (!Number.isInteger(width) || width < 2 || width % 2 !== 0) {
    throw new RangeError(`Cannot ${action} of width ${width}: it must be even`);
  }
  const rates = arange(width / 2, { dtype: places.dtype, device: places.device }).mul(
    -2 * Math.log(base) / width,
  ).exp();
  return places.unsqueeze(-1).mul(rates);
}

/**
 * sin(t / 10000^(2i / width)) at column 2i and the cosine at 2i + 1 for places t = 0 ... length - 1, `[length, width]`: Vaswani
 * et al. (2017), section 3.5.
 */
export function sinusoidalPositions(
  length: number,
  width: number,
  options: Pick<TensorOptions, "dtype" | "device"> = {},
): Tensor {
  const a = angles("encode positions", arange(length, options), width, 10_000);
  return cat([a.sin().unsqueeze(-1), a.cos().unsqueeze(-1)], -1).reshape([length, width]);
}

/** Options of {@linkcode rotaryPositions}. */
export interface RotaryOptions {
  /** Places of the rows, `[T]`; default 0, 1, ... */
  positions?: Tensor;
  /** Base of the rates; default 10,000. */
  base?: number;
}

/**
 * Queries or keys `[..., T, D]` with each pair of columns (i, i + D/2) turned by the angle t / base^(2i / D), so that
 * products of queries and keys depend on the distance of their places: Su et al. (2021), "RoFormer".
 */
export function rotaryPositions(x: Tensor, options: RotaryOptions = {}): Tensor {
  const action = "turn by positions";
  asTensor(action, x);
  checkOptions(action, options, ["positions", "base"]);
  if (x.rank < 2) {
    throw new RangeError(`Cannot ${action} a tensor of shape ${showShape(x.shape)}: it is [..., T, D]`);
  }
  const [T, D] = x.shape.slice(-2), type = x.dtype === "f64" ? "f64" : "f32";
  const places = options.positions ?? arange(T, { device: x.device });
  if (places.rank !== 1 || places.shape[0] !== T) {
    throw new RangeError(
      `Cannot ${action} a tensor of shape ${showShape(x.shape)} at positions of shape ${
        showShape(places.shape)
      }: they must be [${T}]`,
    );
  }
  const a = angles(action, places.to(type), D, options.base ?? 10_000); // [T, D / 2]
  const [cos, sin] = [a.cos().to(x.dtype), a.sin().to(x.dtype)];
  const first = x.narrow(-1, 0, D / 2), second = x.narrow(-1, D / 2, D / 2);
  return cat([first.mul(cos).sub(second.mul(sin)), second.mul(cos).add(first.mul(sin))], -1);
}
