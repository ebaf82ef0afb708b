/**
 * Results of loops that take the place of what the loop reads: a new parameter that of the one it replaces (in jitted steps),
 * an intermediate that of another which nobody reads any more.
 */
import { isHalf } from "../../ops/dtype.ts";
import { isContiguous } from "../../ops/definitions/movement.ts";
import { sizeOf } from "../../ops/shape.ts";
import { isWhole, type Operand, type PlanBuilder, type Value } from "./builder.ts";
import type { Chain } from "./chain.ts";
import type { Cluster, Clusters } from "./clusters.ts";
import { inOwnBuffer } from "./pool.ts";

/** Finds the loops that may write over what they read, element by element, since nobody reads it later. */
export class Takeovers {
  /** By root: the input that it replaces. */
  readonly #replaced = new Map<number, number>();
  /** By step: the clusters that read it. */
  readonly #readers = new Map<number, Set<Cluster>>();
  readonly #done = new Set<Cluster>();
  /** What results show, which has memory of its own. */
  readonly #results = new Set<number>();
  readonly #taken = new Set<number>();

  constructor(readonly b: PlanBuilder) {}

  /** Looks for who reads what. */
  find({ order }: Clusters): void {
    const { steps, lowered: { roots, replaced = [] } } = this.b;
    // The steps in whose memory each may lie: views lie in what they show, and so may parts of one put together again.
    const places: (readonly number[])[] = [];
    steps.forEach(({ op, inputs }, i) => {
      const [first = [], ...others] = inputs.map((x) => places[x]);
      if (op?.family === "movement") places.push(first);
      else if (op?.name !== "cat") places.push([i]);
      else places.push([i, ...first.filter((x) => others.every((o) => o.includes(x)))]);
    });
    for (const r of roots) for (const x of places[r]) this.#results.add(x);
    replaced.forEach((input, k) => input >= 0 && this.#replaced.set(roots[k], input));
    for (const item of order) {
      if (typeof item === "number") continue;
      for (const i of [...item.before, ...item.core < 0 ? [] : [item.core], ...item.members]) {
        for (const x of steps[i].inputs.flatMap((x) => places[x])) {
          const readers = this.#readers.get(x);
          if (readers === undefined) this.#readers.set(x, new Set([item]));
          else readers.add(item);
        }
      }
    }
  }

  /** Notes that a cluster was emitted. */
  done(cluster: Cluster): void {
    this.#done.add(cluster);
  }

  /** Has the results of loops lie where others do, before a dispatch of all these loops. */
  take(chains: readonly Chain[], clusters: readonly Cluster[]): void {
    clusters.forEach((cluster, k) => {
      const chain = chains[k];
      if (!chain.stores.every(({ result }) => isContiguous(result.view))) return;
      for (const { result: { value } } of chain.stores) {
        const from = this.#results.has(value.step)
          ? this.#input(chain, cluster, value)
          : this.#intermediate(chain, cluster, value);
        if (from === null) continue;
        this.#taken.add(from.step);
        value.home = from.home ?? from;
      }
    });
  }

  /** The input that a root replaces, if its memory will do. */
  #input(chain: Chain, cluster: Cluster, to: Value): Value | null {
    const step = this.#replaced.get(to.step);
    if (step === undefined || !this.#isFree(step, cluster)) return null;
    const { value } = this.b.operands[step], uses = chain.operands.filter((o) => o.value === value);
    return fits(value, to) && inOwnBuffer(to.bytes) && uses.every((o) => isInPlace(o, chain)) ? value : null;
  }

  /** An intermediate that the loop reads last. */
  #intermediate(chain: Chain, cluster: Cluster, to: Value): Value | null {
    for (const { value } of chain.operands) {
      if (value.kind !== "computed" || !fits(value, to)) continue;
      const uses = chain.operands.filter((o) => o.value === value);
      if (uses.every((o) => isInPlace(o, chain)) && this.#isFree(value.step, cluster)) return value;
    }
    return null;
  }

  /** Whether only this cluster still reads a step. Who copied a movement is not known. */
  #isFree(step: number, cluster: Cluster): boolean {
    if (this.#taken.has(step) || this.#results.has(step)) return false;
    if (this.b.steps[step].op?.family === "movement") return false;
    for (const r of this.#readers.get(step) ?? []) if (r !== cluster && !this.#done.has(r)) return false;
    return true;
  }
}

/** Whether one may be written over the other. What is empty is never written. */
function fits(from: Value, to: Value): boolean {
  return from.dtype === to.dtype && !isHalf(from.dtype) && from.bytes === to.bytes && to.elements > 0;
}

/** Whether a loop reads an operand in the order in which it writes. */
function isInPlace(o: Operand, { shape }: Chain): boolean {
  return o.moving < 0 && o.window === undefined && isWhole(o) && sizeOf(shape) === o.value.elements;
}
