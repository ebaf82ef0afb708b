/** Functions without parameters as modules. */
import { asTensor, type GeluOptions, type Tensor } from "../ops/tensor.ts";
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

/** ln(1 + eˣ). */
export class Softplus extends Module {
  /** Any shape to the same. */
  override forward(x: Tensor): Tensor {
    return x.softplus();
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
