/** Functions without parameters as modules. */
import type { Tensor } from "../ops/tensor.ts";
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

/**
 * x/2 (1 + tanh(√(2/π) (x + 0.044715 x³))): Hendrycks and Gimpel (2016), "Gaussian error linear units", in its
 * approximation by tanh (PyTorch's `approximate="tanh"`).
 */
export function gelu(x: Tensor): Tensor {
  const inner = x.mul(x.square().mul(0.044715).add(1)).mul(Math.sqrt(2 / Math.PI));
  return x.mul(0.5).mul(inner.tanh().add(1));
}

/** {@linkcode gelu} as a module. */
export class GELU extends Module {
  /** Any shape to the same. */
  override forward(x: Tensor): Tensor {
    return gelu(x);
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
