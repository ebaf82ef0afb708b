/** What an engine makes of a run, for pictures: its kernels, what they read and write, and what stays in memory. */
import { bytesOf, costOf } from "./cost.ts";
import type { Lowered, RunGraph, Step } from "./lower.ts";
import type { Attributes } from "./primitive.ts";

/** A kernel of an engine. */
export interface KernelPlan {
  /** The steps that it computes, in order. */
  readonly steps: readonly number[];
  /** How many times it is started in a run. */
  readonly dispatches: number;
  /** Its program: WGSL, or what the engine has in its place. */
  readonly source: string;
}

/** What an engine will do for a run. */
export interface RunPlan {
  /** Its steps, after the engine has joined what is equal. */
  readonly lowered: Lowered;
  /** In the order in which they run. */
  readonly kernels: readonly KernelPlan[];
  /** Bytes of memory for what lives only inside the run. */
  readonly arena: number;
}

/** A kernel and its work. */
export interface KernelReport extends KernelPlan {
  /** Steps whose values it writes to memory: other kernels read them, or they are results. */
  readonly stores: readonly number[];
  /** Floating-point operations. */
  readonly flops: number;
  /** Bytes that it reads from memory, each value once. */
  readonly read: number;
  /** Bytes that it writes to memory. */
  readonly written: number;
}

/** What kernels a run has, and the work of each. */
export function kernelsOf({ lowered, kernels }: RunPlan, { nodes }: RunGraph): KernelReport[] {
  const { steps, roots } = lowered, kernelOf = new Map<number, number>(), isStored = new Set<number>();
  kernels.forEach((kernel, k) => kernel.steps.forEach((step) => kernelOf.set(step, k)));
  const base = (step: number): number => viewed(steps, step, (i) => kernelOf.has(i));
  for (const root of roots) isStored.add(base(root));
  steps.forEach((step, i) => {
    if (step.op === null || (step.op.family === "movement" && !kernelOf.has(i))) return;
    for (const x of step.inputs) if (kernelOf.get(base(x)) !== kernelOf.get(i)) isStored.add(base(x));
  });
  const attributes = ({ source, p }: Step): Attributes => source < 0 ? p : nodes[source].p;
  return kernels.map((kernel, k) => {
    const inputs = new Set<number>();
    let flops = 0;
    for (const i of kernel.steps) {
      const step = steps[i];
      if (step.op === null) continue;
      flops += costOf(step.op, step.inputs.map((x) => steps[x]), step, attributes(step)).flops;
      for (const x of step.inputs) {
        if (kernelOf.get(base(x)) !== k && steps[base(x)].leaf !== "constant") inputs.add(base(x));
      }
    }
    const stores = kernel.steps.filter((i) => isStored.has(i));
    const sum = (list: Iterable<number>): number =>
      [...list].reduce((bytes, i) => bytes + bytesOf(steps[i]), 0);
    return { ...kernel, stores, flops, read: sum(inputs), written: sum(stores) };
  });
}

/** The step whose memory is read for step `i`: what views are views of, unless they are copied. */
export function viewed(steps: readonly Step[], i: number, isCopied: (step: number) => boolean): number {
  let at = i;
  while (steps[at].op?.family === "movement" && !isCopied(at)) at = steps[at].inputs[0];
  return at;
}
