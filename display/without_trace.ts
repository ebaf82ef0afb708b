/** Training steps that leave no trace: whatever was assigned, accumulated or drawn is put back. */
import { type Watch, withAmbient } from "../ops/ambient.ts";
import type { Node } from "../ops/node.ts";
import { rngState, setRngState } from "../ops/rng.ts";
import { flush } from "../ops/runs.ts";
import type { Tensor } from "../ops/tensor.ts";
import type { Module } from "../nn/module.ts";

interface Held {
  readonly node: Node;
  readonly isCell: boolean;
  readonly version: number;
  readonly replacedBy: string | null;
}

/** What there was before, of every handle that something changed. */
export class Before {
  readonly #held = new Map<Tensor, Held>();
  readonly #grads = new Map<Tensor, Tensor | null>();
  readonly #modes: [Module, boolean][];
  readonly #random = rngState();

  /** Takes down modes and gradients, and forgets these. */
  constructor(model: Module) {
    this.#modes = model.modules().map((m) => [m, m.training]);
    for (const p of model.parameters()) this.noteGrad(p);
    this.forget();
  }

  /** When a handle has got another value. */
  noteValue(handle: Tensor, node: Node): void {
    if (this.#held.has(handle)) return;
    const { version, replacedBy } = handle, isCell = node.cell === handle;
    this.#held.set(handle, { node, isCell, version, replacedBy });
    node.isExclusive = false; // it is needed again
    // Graphs of the caller's that lead here are not stale: the value comes back.
    if (isCell) node.cell = null;
  }

  /** Before a gradient is added to. */
  noteGrad(handle: Tensor): void {
    if (!this.#grads.has(handle)) this.#grads.set(handle, handle.grad);
  }

  /** Forgets gradients, as zeroGrad does. */
  forget(): void {
    for (const handle of this.#grads.keys()) handle.grad = null;
  }

  /** Everything but gradients as it was: the next step is the first again. */
  rewind(): void {
    for (const [handle, { node, isCell, version, replacedBy }] of this.#held) {
      handle.node = node;
      if (isCell) node.cell = handle;
      handle.version = version;
      handle.replacedBy = replacedBy;
    }
    this.#held.clear();
    this.forget();
    setRngState(this.#random);
    // From the outside in, since a mode is set for all modules inside too.
    for (const [module, mode] of this.#modes) module.train(mode);
  }

  /** The random numbers as they were: the same batch and the same masks again. */
  sameNumbers(): void {
    setRngState(this.#random);
  }

  /** Everything as it was. */
  restore(): void {
    this.rewind();
    for (const [handle, grad] of this.#grads) handle.grad = grad;
  }
}

/** Runs `f`, whose backward passes and assignments `watch` sees, and puts everything back. */
export async function withoutTrace<T>(
  model: Module,
  watch: Watch,
  f: (before: Before) => Promise<T>,
): Promise<T> {
  flush(); // what is pending belongs to the caller
  const before = new Before(model);
  const noting: Watch = {
    backward: (root, seed) => watch.backward(root, seed),
    assign(handle, node, by) {
      watch.assign(handle, node, by);
      before.noteValue(handle as Tensor, node as Node);
    },
  };
  try {
    return await withAmbient({ watch: noting }, () => f(before));
  } finally {
    before.restore();
  }
}
