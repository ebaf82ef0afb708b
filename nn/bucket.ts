/** Parameters of one group, type and device, with flat optimiser state: one tensor for all of them. */
import type { Device } from "../ops/ambient.ts";
import { tensor, zeros } from "../ops/create.ts";
import type { DType } from "../ops/dtype.ts";
import { cat } from "../ops/functions.ts";
import { readGuarded } from "../ops/node.ts";
import { flush } from "../ops/runs.ts";
import { sameShape, showShape, sizeOf } from "../ops/shape.ts";
import type { Tensor } from "../ops/tensor.ts";

/** What an optimiser's equation sees: everything flat, `[P]`, or rank 0. */
export interface FlatStep {
  /** Gradients, `[P]`. */
  readonly g: Tensor;
  /** Number of this step, from 1: rank 0, or `[P]` where parameters had no gradient in some steps. */
  readonly t: Tensor;
  /** Learning rate, rank 0. */
  readonly lr: Tensor;
  /** Flat states, `[P]`, by name. */
  readonly slots: Readonly<Record<string, Tensor>>;
}

/** What the equation gives: how far to go down, `[P]`, and the new states. */
export interface FlatUpdate {
  /** How far to go down, `[P]`. */
  readonly delta: Tensor;
  /** The new states. */
  readonly slots: Record<string, Tensor>;
}

/** How weights decay. */
export interface Decay {
  /** λ. */
  readonly weightDecay: number;
  /** Shrinks the weights by lr λ instead of adding λ w to the gradient. */
  readonly decoupled: boolean;
  /** Climbs instead of descending. */
  readonly maximize: boolean;
}

/** The state of a bucket, as it is stored. */
export interface BucketState {
  /** The parameters' shapes, in order. */
  shapes: number[][];
  /** Steps taken. */
  step: Tensor;
  /** Steps without a gradient, by parameter; null if there were none. */
  skipped: Tensor | null;
  /** Flat states by name. */
  slots: Record<string, Tensor>;
}

/** A handle and its next value. */
export type Pair = readonly [Tensor, Tensor];

/** One flat piece of an optimiser's state. */
export class Bucket {
  /** Half precision parameters have f32 state: squares of small gradients would vanish. */
  readonly dtype: DType;
  /** Where its parameters are. */
  readonly device: Device;
  /** Elements of each parameter. */
  readonly sizes: number[];
  /** A rank-0 cell, so that jit reads it anew at each call. */
  readonly lr: Tensor;
  /** Steps taken: a rank-0 cell. */
  readonly steps: Tensor;
  /** Flat states, `[P]`, by name. */
  readonly slots: Record<string, Tensor> = {};
  /** For each parameter, the steps in which it had no gradient. */
  readonly skipped: Tensor;
  #everSkipped = false;

  /** State for these parameters, which are of one type on one device. */
  constructor(readonly parameters: readonly Tensor[], rate: number, slots: readonly string[]) {
    this.device = parameters[0].device;
    this.dtype = parameters[0].dtype === "f64" ? "f64" : "f32";
    this.sizes = parameters.map((p) => p.size);
    const options = { dtype: this.dtype, device: this.device };
    this.lr = tensor(rate, options);
    this.lr.name = "lr";
    this.steps = tensor(0, options);
    this.steps.name = "step";
    this.skipped = tensor(parameters.map(() => 0), options);
    const size = this.sizes.reduce((a, b) => a + b, 0);
    for (const name of slots) {
      this.slots[name] = zeros([size], options);
      this.slots[name].name = name;
    }
    // Realised now, so that the first step is the same structure as all others.
    flush([...parameters, ...Object.values(this.slots)].map((t) => t.node));
  }

  /** The assignments of one step, or none if no parameter has a gradient. */
  step(decay: Decay, update: (f: FlatStep) => FlatUpdate): Pair[] {
    const grads = this.parameters.map((p) =>
      readGuarded(() => p.requiresGrad, "requiresGrad of a parameter") ? p.grad : null
    );
    const missing = grads.map((g) => g === null);
    if (missing.every((m) => m)) return [];
    const some = missing.some((m) => m);
    const g = this.#flatten(grads.map((grad, i) => grad === null ? null : this.#gradient(grad, i, decay)));
    const pairs: Pair[] = [];
    const next = this.steps.add(1);
    pairs.push([this.steps, next]);
    let t = next;
    if (some || readGuarded(() => this.#everSkipped, "whether a parameter was ever skipped")) {
      this.#everSkipped = true;
      const skipped = this.skipped.add(
        cat(missing.map((m) => this.skipped.scalarLike(m ? 1 : 0).expand([1]))),
      );
      pairs.push([this.skipped, skipped]);
      t = this.#spread(next.sub(skipped)); // [P]
    }
    const { delta, slots } = update({ g, t, lr: this.lr, slots: this.slots });
    // What has no gradient stays as it is, state included.
    const present = some
      ? cat(grads.map((grad, i) => this.steps.scalarLike(grad === null ? 0 : 1).expand([this.sizes[i]]))).to(
        "bool",
      )
      : null;
    for (const [name, value] of Object.entries(slots)) {
      const old = this.slots[name];
      pairs.push([old, present === null ? value : value.where(present, old)]);
    }
    const shrink = decay.decoupled && decay.weightDecay !== 0 ? this.lr.mul(-decay.weightDecay).add(1) : null;
    let at = 0;
    this.parameters.forEach((p, i) => {
      const piece = delta.narrow(0, at, this.sizes[i]).reshape(p.shape);
      at += this.sizes[i];
      if (grads[i] === null) return;
      const w = p.to(this.dtype);
      pairs.push([p, (shrink === null ? w : w.mul(shrink)).sub(piece).to(p.dtype)]);
    });
    return pairs;
  }

  /** The direction to go down, flat, with decay that counts as part of the gradient. */
  #gradient(grad: Tensor, i: number, { maximize, decoupled, weightDecay }: Decay): Tensor {
    const p = this.parameters[i];
    if (!sameShape(grad.shape, p.shape)) {
      throw new RangeError(
        `Cannot step: the gradient of ${p.name ?? `parameter ${i}`} has shape ${
          showShape(grad.shape)
        } and must have ${showShape(p.shape)}`,
      );
    }
    let g = grad.to(this.dtype);
    if (maximize) g = g.neg();
    if (weightDecay !== 0 && !decoupled) g = g.add(p.to(this.dtype).mul(weightDecay));
    return g.reshape([-1]);
  }

  #flatten(parts: (Tensor | null)[]): Tensor {
    return cat(parts.map((part, i) => part ?? this.steps.scalarLike(0).expand([this.sizes[i]])));
  }

  /** One number for each parameter, `[N]`, as one for each element, `[P]`. */
  #spread(x: Tensor): Tensor {
    return cat(this.sizes.map((n, i) => x.narrow(0, i, 1).expand([n])));
  }

  /** A snapshot. */
  state(): BucketState {
    return {
      shapes: this.parameters.map((p) => [...p.shape]),
      step: this.steps.detach(),
      skipped: this.#everSkipped ? this.skipped.detach() : null,
      slots: Object.fromEntries(Object.entries(this.slots).map(([name, t]) => [name, t.detach()])),
    };
  }

  /** The assignments that restore a snapshot and a rate: everything, since a lost device takes everything. */
  restore(state: BucketState, rate: number): Pair[] {
    const shapes = this.parameters.map((p) => p.shape);
    if (
      state.shapes.length !== shapes.length || state.shapes.some((s, i) => !sameShape(s, shapes[i]))
    ) {
      throw new RangeError(
        `Cannot load the state of an optimiser for parameters of shapes ${
          state.shapes.map(showShape).join(" ")
        }: ` +
          `this one has ${shapes.map(showShape).join(" ")}`,
      );
    }
    const missing = Object.keys(this.slots).filter((name) => !Object.hasOwn(state.slots, name));
    if (missing.length > 0) {
      throw new Error(`Cannot load the state of an optimiser: it lacks ${missing.join(", ")}`);
    }
    this.#everSkipped = state.skipped !== null;
    return [
      [this.steps, state.step],
      [this.lr, tensor(rate, { dtype: this.dtype, device: this.device })],
      ...Object.entries(this.slots).map(([name, t]): Pair => [t, state.slots[name]]),
      [this.skipped, state.skipped ?? this.skipped.zerosLike()],
    ];
  }

  /** Bytes of state. */
  get nbytes(): number {
    return Object.values(this.slots).reduce(
      (n, t) => n + sizeOf(t.shape) * (this.dtype === "f64" ? 8 : 4),
      0,
    );
  }
}
