/** Plans by structure, and their tiers: a kernel for each step at first, fused ones once a structure returns. */
import { areDeterministicAlgorithmsEnabled } from "../../ops/determinism.ts";
import { lower, type Lowered, type RunGraph } from "../../ops/lower.ts";
import { namesOf, savedForBackward } from "../../ops/out_of_memory.ts";
import type { Attributes } from "../../ops/primitive.ts";
import type { RunKey } from "../../ops/structure.ts";
import { TooLargeError } from "./builder.ts";
import { makePlan, type PlanOptions } from "./emit.ts";
import type { Plan } from "./plan.ts";
import type { Runtime } from "./runtime.ts";
import { type Upgrade, Upgrades } from "./upgrades.ts";

/** Structures whose plans are kept, and dispatches in all of them. */
const PLANS = 2048, PLANNED_DISPATCHES = 400_000;

/**
 * Runs of more steps may fuse at first sight: where fusion saves so many dispatches (of some 40 us) for each kernel that
 * has to be compiled (in some 10 ms).
 */
const LONG = 4096, REPEATED = 256;

/** The plans of a structure: with a kernel for each step, then with fusion, which may be on its way. */
interface Entry {
  apart: Plan | null;
  fused: Plan | null;
  upgrade: Upgrade | null;
}

/** The plan of a run on a device, or the error that says why it has no room. */
export function makeRunPlan(
  graph: RunGraph,
  runtime: Runtime,
  { fusion = true, steady = false }: PlanOptions,
  lowered: Lowered = lower(graph),
): Plan {
  const saved = savedForBackward(graph);
  try {
    return {
      ...makePlan(lowered, runtime.limits, (source) => graph.nodes[source].p, { fusion, steady }),
      saved,
    };
  } catch (error) {
    if (!(error instanceof TooLargeError)) throw error;
    const action = `compute ${namesOf(graph)}`;
    throw runtime.shortage({ action, results: [error.bytes], chunks: [], saved }, error.message);
  }
}

/** The plans that an engine keeps. */
export class Plans {
  /**
   * Which runs fuse their steps: those of a structure that returns, once what that takes is compiled (so that what runs
   * once shares the kernels of everything else and compiles nothing), all, or none. Results have the same bits.
   */
  fusion: "returning" | "always" | "never" = "returning";
  readonly #entries = new Map<RunKey, Entry>();
  readonly #upgrades: Upgrades;
  #dispatches = 0;
  /** Whether plans were made for the same bits in every run. */
  #isFixed = areDeterministicAlgorithmsEnabled();

  /** `counts` has the number of structures that were new; `report` hears why a plan cannot be used. */
  constructor(readonly counts: { planned: number }, report: (error: Error) => void) {
    this.#upgrades = new Upgrades(report);
  }

  /** Whether fused plans are on their way. */
  get isCompiling(): boolean {
    return !this.#upgrades.isIdle;
  }

  /** Forgets all of them. */
  forget(): void {
    for (const { upgrade } of this.#entries.values()) if (upgrade !== null) this.#upgrades.drop(upgrade);
    this.#entries.clear();
    this.#dispatches = 0;
  }

  /** The plan of a run on a device; not `isRun`: the one that it would have, for who asks beforehand. */
  of(graph: RunGraph, runtime: Runtime, isRun: boolean): Plan {
    const isFixed = areDeterministicAlgorithmsEnabled();
    if (isFixed !== this.#isFixed && runtime.limits.tiles !== undefined) this.forget();
    this.#isFixed = isFixed;
    let entry = this.#entries.get(graph.key);
    if (entry === undefined) {
      this.counts.planned++;
      entry = { apart: null, fused: null, upgrade: null };
    }
    // Most recently used last.
    this.#entries.delete(graph.key);
    this.#entries.set(graph.key, entry);
    switch (isFixed ? "always" : this.fusion) {
      case "never":
        return entry.apart ??= this.#keep(entry, makeRunPlan(graph, runtime, { fusion: false }));
      case "always":
        return entry.fused ??= this.#keep(entry, makeRunPlan(graph, runtime, { fusion: true }));
      case "returning": {
        const { fused, apart } = entry;
        if (fused === null && apart === null) return this.#first(entry, graph, runtime);
        return fused ?? (isRun ? this.#upgraded(entry, graph, runtime) : null) ?? apart!;
      }
    }
  }

  /** The plan of a structure that was not seen before. */
  #first(entry: Entry, graph: RunGraph, runtime: Runtime): Plan {
    const lowered = lower(graph);
    if (lowered.steps.length > LONG) {
      // An unrolled loop: a handful of kernels, over and over.
      const plan = makeRunPlan(graph, runtime, { fusion: true }, lowered),
        kernels = new Set(plan.dispatches.map((d) => d.kernel));
      if (kernels.size * REPEATED < lowered.steps.length - plan.dispatches.length) {
        return entry.fused = this.#keep(entry, plan);
      }
    }
    return entry.apart = this.#keep(entry, makeRunPlan(graph, runtime, { fusion: false }, lowered));
  }

  /** The fused plan of a structure that returns, or null while it is on its way. */
  #upgraded(entry: Entry, graph: RunGraph, runtime: Runtime): Plan | null {
    const apart = entry.apart!, { saved } = apart;
    if (entry.upgrade === null) {
      // The plan is made later, when the nodes are gone.
      const lowered = lower(graph), attributes = graph.nodes.map((node): Attributes => node.p);
      const { limits } = runtime;
      const make = (): Plan => {
        const plan = { ...makePlan(lowered, limits, (source) => attributes[source]), saved: saved! };
        // Where there was nothing to gain, kernels and bind groups are there already.
        const isSame = plan.dispatches.length === apart.dispatches.length &&
          plan.dispatches.every(({ kernel }, i) => kernel === apart.dispatches[i].kernel);
        return isSame ? apart : plan;
      };
      entry.upgrade = this.#upgrades.begin(make, runtime);
    }
    const { upgrade } = entry;
    try {
      const plan = upgrade.take();
      if (plan === null) return null;
      this.#upgrades.drop(upgrade);
      entry.upgrade = entry.apart = null;
      this.#dispatches -= apart.dispatches.length;
      return entry.fused = this.#keep(entry, plan);
    } catch (error) {
      this.#upgrades.fail(upgrade, error);
      return null;
    }
  }

  /** Counts a plan of an entry, and forgets the oldest entries where there are too many. */
  #keep(entry: Entry, plan: Plan): Plan {
    this.#dispatches += plan.dispatches.length;
    for (const [key, old] of this.#entries) {
      if (this.#entries.size <= PLANS && this.#dispatches <= PLANNED_DISPATCHES || old === entry) break;
      this.#entries.delete(key);
      this.#dispatches -= (old.fused?.dispatches.length ?? 0) + (old.apart?.dispatches.length ?? 0);
      if (old.upgrade !== null) this.#upgrades.drop(old.upgrade);
    }
    return plan;
  }
}
