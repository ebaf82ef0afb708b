/** Activations with a kink or a bend at 0, and those that are made of pieces, as modules. */
import type { TensorOptions } from "../ops/create.ts";
import { full } from "../ops/create.ts";
import { checkOptions, type Tensor } from "../ops/tensor.ts";
import { Module } from "./module.ts";
import { parameter } from "./parameter.ts";

/** x above 0, a small slope below: {@linkcode Tensor.leakyRelu}. */
export class LeakyReLU extends Module {
  /** `negativeSlope` is the slope below 0. */
  constructor(readonly negativeSlope: number = 0.01) {
    super();
  }
  /** Any shape to the same. */
  override forward(x: Tensor): Tensor {
    return x.leakyRelu(this.negativeSlope);
  }
  /** The slope. */
  override details(): string {
    return `${this.negativeSlope}`;
  }
}

/** x above 0, alpha (eˣ - 1) below: {@linkcode Tensor.elu}. */
export class ELU extends Module {
  /** The bound below is -alpha. */
  constructor(readonly alpha: number = 1) {
    super();
  }
  /** Any shape to the same. */
  override forward(x: Tensor): Tensor {
    return x.elu(this.alpha);
  }
  /** The bound. */
  override details(): string {
    return `${this.alpha}`;
  }
}

/** x above 0, alpha (e^(x / alpha) - 1) below: {@linkcode Tensor.celu}. */
export class CELU extends Module {
  /** The bound below is -alpha. */
  constructor(readonly alpha: number = 1) {
    super();
  }
  /** Any shape to the same. */
  override forward(x: Tensor): Tensor {
    return x.celu(this.alpha);
  }
  /** The bound. */
  override details(): string {
    return `${this.alpha}`;
  }
}

/** {@linkcode ELU} with constants that keep mean 0 and variance 1 over layers: {@linkcode Tensor.selu}. */
export class SELU extends Module {
  /** Any shape to the same. */
  override forward(x: Tensor): Tensor {
    return x.selu();
  }
}

/** min(max(0, x), 6). */
export class ReLU6 extends Module {
  /** Any shape to the same. */
  override forward(x: Tensor): Tensor {
    return x.relu6();
  }
}

/** x limited to an interval: {@linkcode Tensor.hardtanh}. */
export class Hardtanh extends Module {
  /** The interval, by default [-1, 1]. */
  constructor(readonly min: number = -1, readonly max: number = 1) {
    super();
  }
  /** Any shape to the same. */
  override forward(x: Tensor): Tensor {
    return x.hardtanh(this.min, this.max);
  }
  /** The interval. */
  override details(): string {
    return `${this.min}, ${this.max}`;
  }
}

/** min(max(x + 3, 0), 6) / 6. */
export class Hardsigmoid extends Module {
  /** Any shape to the same. */
  override forward(x: Tensor): Tensor {
    return x.hardsigmoid();
  }
}

/** x hardsigmoid(x). */
export class Hardswish extends Module {
  /** Any shape to the same. */
  override forward(x: Tensor): Tensor {
    return x.hardswish();
  }
}

/** x moved towards 0: {@linkcode Tensor.softshrink}. */
export class Softshrink extends Module {
  /** At most `lambda` is taken away. */
  constructor(readonly lambda: number = 0.5) {
    super();
  }
  /** Any shape to the same. */
  override forward(x: Tensor): Tensor {
    return x.softshrink(this.lambda);
  }
  /** The way. */
  override details(): string {
    return `${this.lambda}`;
  }
}

/** x, but 0 where it is small: {@linkcode Tensor.hardshrink}. */
export class Hardshrink extends Module {
  /** Up to `lambda` is small. */
  constructor(readonly lambda: number = 0.5) {
    super();
  }
  /** Any shape to the same. */
  override forward(x: Tensor): Tensor {
    return x.hardshrink(this.lambda);
  }
  /** What is small. */
  override details(): string {
    return `${this.lambda}`;
  }
}

/** x above a threshold, `value` up to it. */
export class Threshold extends Module {
  /** Where x begins, and what stands for it below. */
  constructor(readonly threshold: number, readonly value: number) {
    super();
  }
  /** Any shape to the same. */
  override forward(x: Tensor): Tensor {
    return x.threshold(this.threshold, this.value);
  }
  /** Threshold and value. */
  override details(): string {
    return `${this.threshold}, ${this.value}`;
  }
}

/** Options of {@linkcode PReLU}. */
export interface PReLUOptions extends Pick<TensorOptions, "dtype" | "device"> {
  /** The first value of the slopes; default 0.25. */
  init?: number;
}

/** x above 0, a learned slope below: {@linkcode Tensor.prelu}. */
export class PReLU extends Module {
  /** `[count]`. */
  weight: Tensor;

  /** One slope, or one for each place along axis 1. */
  constructor(readonly count: number = 1, options: PReLUOptions = {}) {
    super();
    checkOptions("make PReLU", options, ["init", "dtype", "device"]);
    const { init = 0.25, ...rest } = options;
    this.weight = parameter(full([count], init, rest));
  }
  /** Any shape to the same. */
  override forward(x: Tensor): Tensor {
    return x.prelu(this.weight);
  }
  /** The number of slopes. */
  override details(): string {
    return `${this.count}`;
  }
}
