/** What a folded graph is made of: boxes of nodes, and groups that are boxes or frames around others. */

import type { GraphEdge, GraphNode } from "./graph_picture.ts";

/** A node of the picture as a box. */
export interface NodeItem {
  readonly kind: "node";
  readonly node: GraphNode;
  /** Its place among the nodes of the picture, in the order of computation. */
  readonly index: number;
  /** Operands that are told of in its box instead of having their own. */
  operands: NodeItem[];
  parent: GroupItem | null;
}

/** Several items, drawn as one box or, opened, as a frame around them. */
export interface GroupItem {
  readonly kind: "group";
  readonly id: string;
  /** The group of the picture that it is, if it is one. */
  readonly source: string | number | null;
  /** What it is: a module's class, or what is in it. */
  readonly label: string;
  readonly name: string;
  readonly facts: Readonly<Record<string, string>>;
  /** In the order of computation; of a repeated group those of its first instance. */
  items: Item[];
  /** For a repeated group: the items of each instance. */
  readonly instances: readonly (readonly Item[])[] | null;
  /** What the program calls each instance. */
  readonly names: readonly string[];
  open: boolean;
  parent: GroupItem | null;
}

/** What a frame holds. */
export type Item = NodeItem | GroupItem;

/** What is drawn as one line. */
export interface FoldedEdge {
  readonly from: Item;
  readonly to: Item;
  /** The node that is read. */
  readonly source: GraphNode;
  /** The edges of the picture that it stands for. */
  readonly edges: readonly GraphEdge[];
}

/** A folded graph. */
export interface Folded {
  /** Opened; has no frame. */
  readonly root: GroupItem;
  /** Between boxes, each once but for several arguments of one op. */
  readonly edges: readonly FoldedEdge[];
  /** Boxes whose values go on to the next instance of what repeats. */
  readonly carries: ReadonlySet<Item>;
  /** How many boxes are drawn. */
  readonly boxes: number;
  /** Nodes of the picture. */
  readonly size: number;
}

/** The innermost box that stands for an item: itself, or the outermost group around it that is closed. */
export function boxOf(item: Item): Item {
  let box = item;
  for (let group = item.parent; group !== null; group = group.parent) if (!group.open) box = group;
  return box;
}

/** All nodes in an item; of a repeated group those of all instances. */
export function nodesOf(item: Item): NodeItem[] {
  const found: NodeItem[] = [], stack: Item[] = [item];
  while (stack.length > 0) {
    const top = stack.pop()!;
    if (top.kind === "node") found.push(top);
    else if (top.instances === null) stack.push(...top.items);
    else for (const items of top.instances) stack.push(...items);
  }
  return found.sort((a, b) => a.index - b.index);
}

/** Boxes to draw, in the order of computation. */
export function boxesOf(root: GroupItem): Item[] {
  return root.items.flatMap((item) => item.kind === "group" && item.open ? boxesOf(item) : [item]);
}

/** Frames to draw, outer ones first. */
export function framesOf(root: GroupItem): GroupItem[] {
  return root.items.flatMap((item) => item.kind === "group" && item.open ? [item, ...framesOf(item)] : []);
}

/** Boxes that an item takes. */
export function countOf(item: Item): number {
  return item.kind === "group" && item.open ? item.items.reduce((n, inner) => n + countOf(inner), 0) : 1;
}

/** Says what ops there are: `12 ops: mul × 6, add × 6`. */
export function contents(ops: readonly string[]): string {
  const counts = new Map<string, number>();
  for (const op of ops) counts.set(op, (counts.get(op) ?? 0) + 1);
  const most = [...counts].sort(([, a], [, b]) => b - a);
  const list = most.slice(0, 3).map(([op, n]) => n === 1 ? op : `${op} × ${n}`);
  return ops.length === 1 ? list[0] : `${ops.length} ops: ${list.join(", ")}${most.length > 3 ? ", …" : ""}`;
}
