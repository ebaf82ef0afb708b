/** Ops made of others: a function, and beside it what the tests sample and the documentation says of it. */
import type { Sample } from "./primitive.ts";

/** An op without rules or kernels of its own: its graph is that of its parts. */
export interface Composite {
  readonly family: "composite";
  readonly name: string;
  /** How users call it, where that is not by its name: another public name, or a call with its options. */
  readonly call?: string;
  /** LaTeX of the result from LaTeX of the operands. */
  readonly tex: (x: string[]) => string;
  /** LaTeX of the derivative by each operand, from LaTeX of the operands and the result. */
  readonly texPartials?: (x: string[], y: string) => string[];
  /** LaTeX of the cotangent of each operand, where it says more: `\bar{y}` is the result's. */
  readonly texPullbacks?: (x: string[], y: string) => string[];
  /** What the registry laws call it with. */
  readonly samples: readonly Sample[];
}

const registry = new Map<string, Composite>();

/** Enters an op that is made of others into the registry, and returns its function. */
// deno-lint-ignore no-explicit-any
export function composite<F extends (...args: any[]) => unknown>(record: Omit<Composite, "family">, f: F): F {
  if (registry.has(record.name)) throw new Error(`Internal: composite ${record.name} is defined twice`);
  registry.set(record.name, { ...record, family: "composite" });
  return f;
}

/** All ops made of others by name, in order of definition. */
export function composites(): ReadonlyMap<string, Composite> {
  return registry;
}
