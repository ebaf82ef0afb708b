/** A plan as pictures show it: which steps each kernel computes, and its WGSL. */
import { lower, type RunGraph } from "../../ops/lower.ts";
import type { RunPlan } from "../../ops/report.ts";
import type { Limits } from "./device.ts";
import { makePlan, type PlanTrace } from "./emit.ts";

/** What a run of this structure is on devices with these limits; nothing is kept. */
export function describeRun(graph: RunGraph, limits: Limits, fusion: boolean): RunPlan {
  const trace: PlanTrace = { lowered: null, groups: [] };
  const plan = makePlan(lower(graph), limits, (source) => graph.nodes[source].p, { fusion, trace });
  return {
    lowered: trace.lowered!,
    kernels: trace.groups.map(({ steps, from, to }) => {
      const sources = new Set(plan.dispatches.slice(from, to).map(({ kernel }) => kernel.source));
      return { steps, dispatches: to - from, source: [...sources].join("\n\n") };
    }),
    arena: plan.chunks.reduce((sum, bytes) => sum + bytes, 0),
  };
}
