/** Functions without parameters as modules. */
import { asTensor, type GeluOptions, type SoftplusOptions, type Tensor } from "../ops/tensor.ts";
import { Module } from "./module.ts";

/** Any function of tensors as a module. */
export class Lambda extends Module {
  readonly #f: (...x: Tensor[]) => Tensor;

  /** Applies `f`. */
  constructor(f: (...x: Tensor[]) => Tensor) {
    super();
    this.#f = f;
  }
  /** f(x). */
  override forward(...x: Tensor[]): Tensor {
    return this.#f(...x);
  }
  /** Name of the function, if it has one. */
  override details(): string {
    return this.#f.name;
  }
}

/** max(0, x). */
export class ReLU extends Module {
  /** Any shape to the same. */
  override forward(x: Tensor): Tensor {
    return x.relu();
  }
}

/** tanh x. */
export class Tanh extends Module {
  /** Any shape to the same. */
  override forward(x: Tensor): Tensor {
    return x.tanh();
  }
}

/** 1 / (1 + e⁻ˣ). */
export class Sigmoid extends Module {
  /** Any shape to the same. */
  override forward(x: Tensor): Tensor {
    return x.sigmoid();
  }
}

/** x sigmoid(x). */
export class SiLU extends Module {
  /** Any shape to the same. */
  override forward(x: Tensor): Tensor {
    return x.silu();
  }
}

/** ln(1 + e^(beta x)) / beta: {@linkcode Tensor.softplus}. */
export class Softplus extends Module {
  /** With beta 1 and no threshold, unless options say otherwise. */
  constructor(readonly options: SoftplusOptions = {}) {
    super();
  }
  /** Any shape to the same. */
  override forward(x: Tensor): Tensor {
    return x.softplus(this.options);
  }
}

/** ln(1 / (1 + e⁻ˣ)). */
export class LogSigmoid extends Module {
  /** Any shape to the same. */
  override forward(x: Tensor): Tensor {
    return x.logSigmoid();
  }
}

/** x tanh(ln(1 + eˣ)): Misra (2019), "Mish: a self regularized non-monotonic activation function". */
export class Mish extends Module {
  /** Any shape to the same. */
  override forward(x: Tensor): Tensor {
    return x.mish();
  }
}

/** x / (1 + |x|). */
export class Softsign extends Module {
  /** Any shape to the same. */
  override forward(x: Tensor): Tensor {
    return x.softsign();
  }
}

/** x - tanh x. */
export class Tanhshrink extends Module {
  /** Any shape to the same. */
  override forward(x: Tensor): Tensor {
    return x.tanhshrink();
  }
}

/** x Φ(x), as the method of that name: {@linkcode Tensor.gelu}. */
export function gelu(x: Tensor, options: GeluOptions = {}): Tensor {
  return asTensor("gelu", x).gelu(options);
}

/** {@linkcode gelu} as a module. */
export class GELU extends Module {
  /** By default exact; `approximate: "tanh"` is what GPT-2 was trained with. */
  constructor(readonly options: GeluOptions = {}) {
    super();
  }
  /** Any shape to the same. */
  override forward(x: Tensor): Tensor {
    return x.gelu(this.options);
  }
}

/** eˣ / Σ eˣ along an axis. */
export class Softmax extends Module {
  /** Along `axis`, by default the last. */
  constructor(readonly axis: number = -1) {
    super();
  }
  /** Any shape to the same. */
  override forward(x: Tensor): Tensor {
    return x.softmax(this.axis);
  }
}

/** ln softmax along an axis, computed without the softmax. */
export class LogSoftmax extends Module {
  /** Along `axis`, by default the last. */
  constructor(readonly axis: number = -1) {
    super();
  }
  /** Any shape to the same. */
  override forward(x: Tensor): Tensor {
    return x.logSoftmax(this.axis);
  }
}

/** e⁻ˣ / Σ e⁻ˣ along an axis. */
export class Softmin extends Module {
  /** Along `axis`, by default the last. */
  constructor(readonly axis: number = -1) {
    super();
  }
  /** Any shape to the same. */
  override forward(x: Tensor): Tensor {
    return x.softmin(this.axis);
  }
}

/** The first half of an axis times the sigmoid of the second: {@linkcode Tensor.glu}. */
export class GLU extends Module {
  /** Along `axis`, by default the last. */
  constructor(readonly axis: number = -1) {
    super();
  }
  /** Halves the axis. */
  override forward(x: Tensor): Tensor {
    return x.glu(this.axis);
  }
}

/** `[B, ...]` to `[B, features]`. */
export class Flatten extends Module {
  /** Keeps the axes before `start`. */
  constructor(readonly start: number = 1) {
    super();
  }
  /** Joins the axes from `start` on. */
  override forward(x: Tensor): Tensor {
    return x.flatten(this.start);
  }
}
