/** Forward mode: walks a graph from its inputs to outputs and builds the graph of tangents. */
import { outputsOf } from "../definitions/structural.ts";
import { type Node, wrap } from "../node.ts";
import type { Tensor } from "../tensor.ts";
import { reachable } from "./reverse.ts";

/** Tangents of the outputs from tangents of some nodes; `null` is zero. */
export function forward(
  outputs: readonly Node[],
  tangents: Map<Node, Tensor>,
  mask: number,
): (Tensor | null)[] {
  const order = reachable(outputs, { mask, isTarget: (node) => tangents.has(node) });
  const tangent = new Map<Node, Tensor | null>(tangents);
  const tuples = new Map<Node, (Tensor | null)[]>();
  for (const node of order) {
    if (tangent.has(node)) continue;
    const { op } = node;
    if (op.family === "output") {
      tangent.set(node, tuples.get(node.inputs[0])?.[node.p.i] ?? null);
      continue;
    }
    const dx = node.inputs.map((x) => tangent.get(x) ?? null);
    if (op.family === "leaf" || dx.every((d) => d === null) && op.family !== "tuple") {
      tangent.set(node, null);
      continue;
    }
    const x = node.inputs.map(wrap), needs = dx.map((d) => d !== null);
    if (op.family === "tuple") {
      tuples.set(
        node,
        needs.some((n) => n) ? op.jvp(dx, { x, y: outputsOf(node), p: node.p, needs }) : [],
      );
    } else tangent.set(node, op.jvp(dx, { x, y: wrap(node), p: node.p, needs }));
  }
  return outputs.map((node) => tangent.get(node) ?? null);
}
