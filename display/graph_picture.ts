/** A computation graph as plain data, and how its nodes are named. */

import type { GraphOptions } from "../ops/presenter.ts";
import { formatNumber, plainLine, shorten } from "./parts.ts";

/** A node to draw. Values and cotangents are short text, or numbers. */
export interface GraphNode {
  /** Names the node in edges. */
  id: string | number;
  /** Decides the colour; an output is an op that is asked for. */
  kind: "op" | "leaf" | "constant" | "output";
  /** The op, or what a leaf is called if it has no name. */
  label: string;
  /** What the program calls it. */
  name?: string;
  /** Tells it from others with the same label and no name: `parameter 2`. */
  number?: number;
  /** Axis lengths; empty for a scalar. */
  shape: readonly number[];
  /** The type of its elements. */
  dtype: string;
  /** Shown as `data`. */
  value?: string | number;
  /** Shown as `grad`. */
  cotangent?: string | number;
  /** The norm of its cotangent, where that is one number for all elements. */
  magnitude?: number;
  /** What the op computes; seen when pointed at. */
  formula?: string;
  /** Its derivative; seen when pointed at. */
  derivative?: string;
  /** Cotangents of its operands from that of its result; seen when pointed at. */
  pullback?: string;
  /** The same with the numbers of this graph put in; seen when pointed at. */
  numbers?: string;
  /** What is wrong with its value or its cotangent: drawn in red. */
  fault?: string;
  /** When the backward pass computes its cotangent, counted from 1. */
  step?: number;
  /** Where its value goes: one more line. */
  memory?: string;
  /** The next step of a loop begins with its value. */
  carried?: boolean;
  /** What the kernel that begins with it does. */
  work?: KernelWork;
  /** The group that it stands in. */
  within?: string | number;
}

/** What kernels do in a run. */
export interface KernelWork {
  /** How many there are. */
  readonly kernels: number;
  /** Floating-point operations. */
  readonly flops: number;
  /** Bytes. */
  readonly read: number;
  /** Bytes. */
  readonly written: number;
  /** How many ops are computed again because that is cheaper than to keep them. */
  readonly again: number;
}

/** An edge to draw, in the direction of the data. */
export interface GraphEdge {
  /** The node that is read. */
  from: string | number;
  /** The node that reads. */
  to: string | number;
  /** Which argument it is. */
  label?: string;
  /** The norm of the cotangent that flows back along it: decides its colour. */
  magnitude?: number;
  /** That cotangent, where it is short. */
  cotangent?: string | number;
  /** How that cotangent comes about, with numbers. */
  numbers?: string;
}

/** Nodes that are drawn in a frame, or as one box: a call of a module, a kernel. */
export interface GraphGroup {
  /** Names the group in nodes and groups. */
  id: string | number;
  /** What it is. */
  label: string;
  /** What the program calls it. */
  name?: string;
  /** More to see when pointed at, and in the box. */
  facts?: Readonly<Record<string, string>>;
  /** The group around it. */
  within?: string | number;
}

/** A computation graph as plain data. */
export interface GraphPicture {
  /** In any order. */
  nodes: readonly GraphNode[];
  /** Those into one node in the order of its arguments. */
  edges: readonly GraphEdge[];
  /** In any order. */
  groups?: readonly GraphGroup[];
  /** Said below the title. */
  note?: string;
}

export type { GraphOptions };

/** `f32[2,3]`, or `f32` for a scalar. */
export function typeText({ dtype, shape }: { dtype: string; shape: readonly number[] }): string {
  return plainLine(shape.length === 0 ? dtype : `${dtype}[${shape.join(",")}]`);
}

/** A value as text that fits a box. */
export function valueText(value: string | number): string {
  return shorten(typeof value === "number" ? formatNumber(value) : plainLine(value), 72);
}

/** How the drawing names a node: `name`, or the label. */
export function nodeTitle(node: GraphNode): string {
  return shorten(plainLine(ownName(node)), 28);
}

/** `name`, or the label, with a number where others have it too. */
export function ownName({ name, label, number }: GraphNode): string {
  return name || (number === undefined ? label : `${label} ${number}`);
}

/** Numbers leaves without a name where several have one label; `nodes` are in lists that show the same leaf. */
export function numberLeaves(nodes: Iterable<readonly GraphNode[]>): void {
  const alike = new Map<string, (readonly GraphNode[])[]>();
  for (const same of nodes) {
    const [{ kind, name, label }] = same;
    if (kind === "leaf" && !name) alike.set(label, [...alike.get(label) ?? [], same]);
  }
  for (const lists of alike.values()) {
    if (lists.length > 1) lists.forEach((same, i) => same.forEach((node) => node.number = i + 1));
  }
}
