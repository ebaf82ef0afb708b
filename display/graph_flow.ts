/** What flows along the lines of a drawn graph: gradients, residual highways, and the steps of the backward pass. */

import {
  boxesOf,
  type Folded,
  type FoldedEdge,
  type GroupItem,
  type Item,
  type NodeItem,
  nodesOf,
} from "./graph_items.ts";
import { nodeTitle, valueText } from "./graph_picture.ts";
import { groupTitle } from "./graph_text.ts";
import { formatNumber, plainLine, shorten } from "./parts.ts";

/** The norm of the cotangents that flow back along an edge, where that is known. */
export function magnitudeOf({ edges }: FoldedEdge): number | undefined {
  const known = edges.flatMap(({ magnitude }) => magnitude === undefined ? [] : [magnitude]);
  if (known.length < 2) return known[0];
  return Math.sqrt(known.reduce((sum, m) => sum + m * m, 0));
}

/** Edges that pass a value around what is added to it, and on to where that sum leaves its frame. */
export function highwayOf({ edges }: Folded): Set<FoldedEdge> {
  const into = new Map<Item, FoldedEdge[]>();
  for (const edge of edges) into.set(edge.to, [...into.get(edge.to) ?? [], edge]);
  const isBelow = (from: Item, target: Item): boolean => {
    const seen = new Set<Item>([from]), stack = [from];
    while (stack.length > 0) {
      for (const { from: x } of into.get(stack.pop()!) ?? []) {
        if (x === target) return true;
        if (seen.has(x)) continue;
        seen.add(x);
        stack.push(x);
      }
    }
    return false;
  };
  const found = new Set<FoldedEdge>(), sums = new Set<Item>();
  for (const [to, own] of into) {
    if (to.kind !== "node" || to.node.label !== "add" || own.length !== 2 || to.node.shape.length === 0) {
      continue;
    }
    for (const [around, through] of [own, [own[1], own[0]]]) {
      if (around.from === through.from || !isBelow(through.from, around.from)) continue;
      found.add(around);
      sums.add(to);
    }
  }
  // The last sum goes on out of its frame.
  const around = new Set(Array.from(found, ({ from }) => from));
  for (const edge of edges) {
    if (sums.has(edge.from) && !around.has(edge.from) && edge.from.parent !== edge.to.parent) found.add(edge);
  }
  return found;
}

/** Instances that a drawing tells apart. */
const CELLS = 32;

/** An instance of what repeats. */
export interface Instance {
  readonly name: string;
  /** The last first: the first whose cotangent is known tells the gradient that comes back to the instance. */
  readonly nodes: readonly NodeItem[];
}

/** The instances of a repeated group in the order of computation; some of them where there are many. */
export function instancesOf({ instances, names }: GroupItem): Instance[] {
  if (instances === null) return [];
  const count = Math.min(CELLS, instances.length);
  return Array.from({ length: count }, (_, i) => {
    const k = count === 1 ? 0 : Math.round(i * (instances.length - 1) / (count - 1));
    const nodes = instances[k].flatMap(nodesOf).sort((a, b) => b.index - a.index);
    return { name: names[k] || `${k + 1} of ${instances.length}`, nodes };
  });
}

/** The gradient that comes back to each instance, where it is known. */
export function gradientsOf(group: GroupItem): { name: string; magnitude: number }[] {
  return instancesOf(group).flatMap(({ name, nodes }) => {
    const magnitude = nodes.find(({ node }) => node.magnitude !== undefined)?.node.magnitude;
    return magnitude === undefined ? [] : [{ name, magnitude }];
  });
}

/** Letters of a line about a step: more are wider than the page. */
const LONGEST = 70;

/** One step of the backward pass: the box whose cotangent is computed. */
export interface BackwardStep {
  readonly item: Item;
  /** The edges that it comes along; where there are several, what they bring is added. */
  readonly edges: readonly FoldedEdge[];
  readonly text: string;
}

/** The backward pass in its order, as far as the nodes say when it reaches them. */
export function backwardSteps({ root, edges }: Folded): BackwardStep[] {
  const out = new Map<Item, FoldedEdge[]>();
  for (const edge of edges) out.set(edge.from, [...out.get(edge.from) ?? [], edge]);
  const firstStep = (item: Item): number =>
    nodesOf(item).reduce((least, { node }) => Math.min(least, node.step ?? Infinity), Infinity);
  return boxesOf(root).map((item) => ({ item, at: firstStep(item) })).filter(({ at }) => at < Infinity)
    .sort((a, b) => a.at - b.at)
    .map(({ item }) => {
      const carrying = (out.get(item) ?? []).filter((edge) => magnitudeOf(edge) !== undefined);
      return { item, edges: carrying, text: shorten(describe(item, carrying), LONGEST) };
    });
}

function describe(item: Item, edges: readonly FoldedEdge[]): string {
  const title = shorten(item.kind === "node" ? nodeTitle(item.node) : groupTitle(item), 28);
  const cotangent = item.kind === "node" ? item.node.cotangent : undefined;
  const total = cotangent === undefined ? "" : ` = ${valueText(cotangent)}`;
  if (edges.length === 0) return `grad of ${title}${total}`;
  const parts = edges.map((edge) => {
    const part = edge.edges.length === 1 ? edge.edges[0].cotangent : undefined;
    const to = edge.to.kind === "node" ? nodeTitle(edge.to.node) : groupTitle(edge.to);
    const value = part !== undefined ? valueText(part) : `norm ${formatNumber(magnitudeOf(edge)!, 3)}`;
    return `${value} from ${shorten(to, 20)}`;
  });
  const alone = edges.length === 1 && edges[0].edges.length === 1 ? edges[0].edges[0].numbers : undefined;
  if (alone !== undefined) return `grad of ${title} = ${plainLine(alone)}`;
  if (parts.length === 1) return `grad of ${title}${total}, ${parts[0].replace(/^.* from/, "from")}`;
  const list = parts.length <= 3
    ? parts.join(" + ")
    : `${parts.slice(0, 3).join(" + ")} + ${parts.length - 3} more`;
  return `grad of ${title} = ${list}${total}`;
}
