/** Loops that wait for others of the same text, so that one kernel computes them all. */
import { emitChains } from "./emit_elementwise.ts";
import type { PlanBuilder, Value } from "./builder.ts";
import type { Chain } from "./chain.ts";
import type { Cluster } from "./clusters.ts";
import type { Takeovers } from "./takeovers.ts";
import { stepsKey } from "./kernels/chain.ts";

/** Chains and their steps, in order. */
interface Batch {
  readonly chains: Chain[];
  readonly clusters: Cluster[];
  readonly steps: number[];
  readonly isWork: boolean;
}

/** Chains on their way to the device: nothing between them and now reads what they write. */
export class Batches {
  readonly #open = new Map<string, Batch>();
  readonly #written = new Set<Value>();

  /** `tell` hears which steps were emitted. */
  constructor(
    readonly b: PlanBuilder,
    readonly takeovers: Takeovers,
    readonly tell: (steps: readonly number[]) => void,
  ) {}

  /** Adds the chain of some steps; not `isWork`: it only copies what the last of them is; `cluster`: whose loop it is. */
  add(chain: Chain, steps: readonly number[], isWork: boolean, cluster: Cluster | null = null): void {
    if (chain.operands.some(({ value }) => this.#written.has(value))) this.flush();
    const key = `${isWork}|${stepsKey(chain.steps)}`;
    let batch = this.#open.get(key);
    if (batch === undefined) {
      this.#open.set(key, batch = { chains: [], clusters: [], steps: [], isWork });
    }
    batch.chains.push(chain);
    batch.steps.push(...steps);
    if (cluster !== null) batch.clusters.push(cluster);
    for (const { result } of chain.stores) this.#written.add(result.value);
  }

  /** Whether a value waits to be written. */
  has(value: Value): boolean {
    return this.#written.has(value);
  }

  /** Emits all of them. */
  flush(): void {
    for (const { chains, clusters, steps, isWork } of this.#open.values()) {
      this.takeovers.take(chains, clusters);
      const emit = (): void => emitChains(this.b, chains);
      if (isWork) this.b.working(steps, emit);
      else emit();
      this.tell(steps);
      clusters.forEach((k) => this.takeovers.done(k));
    }
    this.#open.clear();
    this.#written.clear();
  }
}
