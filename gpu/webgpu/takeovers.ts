/** Results that take the place of inputs which they replace: an optimiser's new parameters and state, in jitted steps. */
import { isHalf } from "../../ops/dtype.ts";
import { isContiguous } from "../../ops/definitions/movement.ts";
import { sizeOf } from "../../ops/shape.ts";
import type { PlanBuilder, Value } from "./builder.ts";
import type { Chain } from "./chain.ts";
import type { Cluster, Clusters } from "./clusters.ts";
import { inOwnBuffer } from "./pool.ts";

/** Who reads an input that is replaced. */
interface Replaced {
  /** The step of the input. */
  readonly input: number;
  readonly readers: Set<Cluster>;
}

/** Finds the loops that may write over what they read, element by element, since nobody reads it later. */
export class Takeovers {
  /** By the value of a root: what it replaces. */
  readonly #replaced = new Map<number, Replaced>();
  readonly #done = new Set<Cluster>();

  constructor(readonly b: PlanBuilder) {}

  /** Looks for who reads what. */
  find({ order }: Clusters): void {
    const { steps, lowered: { roots, replaced = [] } } = this.b, byInput = new Map<number, Replaced>();
    const behind = (i: number): number => {
      while (steps[i].op?.family === "movement") i = steps[i].inputs[0];
      return i;
    };
    const results = new Set(roots.map(behind));
    replaced.forEach((input, k) => {
      const root = roots[k];
      // An input that is a result too keeps its memory.
      if (input < 0 || results.has(input) || byInput.has(input) || this.#replaced.has(root)) return;
      const found = { input, readers: new Set<Cluster>() };
      byInput.set(input, found);
      this.#replaced.set(root, found);
    });
    if (byInput.size === 0) return;
    for (const item of order) {
      if (typeof item === "number") continue;
      for (const i of [...item.before, ...item.core < 0 ? [] : [item.core], ...item.members]) {
        for (const x of steps[i].inputs) byInput.get(behind(x))?.readers.add(item);
      }
    }
  }

  /** Notes that a cluster was emitted. */
  done(cluster: Cluster): void {
    this.#done.add(cluster);
  }

  /** Has the results of loops lie where inputs do, before a dispatch of all these loops. */
  take(chains: readonly Chain[], clusters: readonly Cluster[]): void {
    if (this.#replaced.size === 0) return;
    clusters.forEach((cluster, k) => {
      for (const { result } of chains[k].stores) {
        const found = this.#replaced.get(result.value.step);
        if (found === undefined || ![...found.readers].every((r) => r === cluster || this.#done.has(r))) {
          continue;
        }
        const { value } = this.b.operands[found.input];
        if (fits(value, result.value) && isReadInPlace(chains[k], value)) result.value.home = value;
      }
    });
  }
}

/** Whether one may be written over the other. Small ones share buffers with others, which kernels read. */
function fits(from: Value, to: Value): boolean {
  return from.dtype === to.dtype && !isHalf(from.dtype) && from.bytes === to.bytes && inOwnBuffer(from.bytes);
}

/** Whether a loop reads an input, if it does, in the order in which it writes. */
function isReadInPlace({ operands, stores, shape }: Chain, input: Value): boolean {
  return stores.every(({ result }) => isContiguous(result.view)) &&
    operands.every(({ value, view, moving, window }) =>
      value !== input ||
      (moving < 0 && window === undefined && view.offset === 0 && isContiguous(view) &&
        sizeOf(view.shape) === value.elements && sizeOf(shape) === value.elements)
    );
}
