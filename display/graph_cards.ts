/** The boxes of a graph: their titles, lines of text, sizes and colours, and what is seen when they are pointed at. */

import { gradientsOf } from "./graph_flow.ts";
import type { GroupItem, Item, NodeItem } from "./graph_items.ts";
import { type GraphNode, nodeTitle, typeText, valueText } from "./graph_picture.ts";
import { groupSize, groupTitle, localName } from "./graph_text.ts";
import { workIn, workText } from "./graph_work.ts";
import { formatNumber, plainLine, shorten } from "./parts.ts";

/** How much a box says. */
export type Detail = "full" | "short" | "title";

/** What is in a box. */
export interface Card {
  readonly title: string;
  readonly lines: readonly string[];
  readonly width: number;
  readonly height: number;
  readonly header: string;
  readonly body: string;
  readonly facts: Readonly<Record<string, string>>;
}

/** Of the text in boxes, at full size. */
export const FONT_SIZE = 11, LINE_HEIGHT = 14, HEADER_HEIGHT = 19;
const CHARACTER_WIDTH = 6.7; // Of the monospaced font at this size.
const WIDEST = 36; // Characters.
/** What is said of a value that is never written to memory. */
export const UNSTORED = "not stored";

// Boxes are opaque, so their text reads on any page.
const COLORS: Record<GraphNode["kind"] | "group" | "fault", { header: string; body: string }> = {
  op: { header: "#56616e", body: "#e9ecef" },
  leaf: { header: "#1f6fb5", body: "#dfecf9" },
  constant: { header: "#77705f", body: "#efece4" },
  output: { header: "#a85a00", body: "#fdebd2" },
  group: { header: "#5a4fa3", body: "#e8e5f6" },
  fault: { header: "#b3261e", body: "#fbe0dd" },
};

/** The box of an item. */
export function cardOf(item: Item, detail: Detail): Card {
  return item.kind === "node" ? nodeCard(item, detail) : groupCard(item, detail);
}

/** Pixels that text takes. */
export function textWidth(text: string): number {
  return [...text].length * CHARACTER_WIDTH;
}

function sized(title: string, lines: string[], kind: keyof typeof COLORS, facts: Card["facts"]): Card {
  const longest = Math.max(textWidth(title) + CHARACTER_WIDTH, ...lines.map(textWidth));
  return {
    title,
    lines,
    width: Math.ceil(longest + 14),
    height: HEADER_HEIGHT + (lines.length === 0 ? 0 : lines.length * LINE_HEIGHT + 6),
    ...COLORS[kind],
    facts,
  };
}

function nodeCard({ node, operands, parent }: NodeItem, detail: Detail): Card {
  const isOp = node.kind === "op" || node.kind === "output", lines: string[] = [];
  const name = node.name && node.name !== node.label ? shorten(localName(node.name, parent), 22) : "";
  const number = node.kind === "constant" && detail !== "full" && node.value !== undefined
    ? valueText(node.value)
    : "";
  const title = number !== ""
    ? number
    : !isOp
    ? shorten(name || nodeTitle(node), 28)
    : `${name}${name && " = "}${shorten(plainLine(node.label), 28)}`;
  if (detail !== "title") {
    // What shows its only element needs no type.
    if (node.shape.length > 0 || node.value === undefined || node.dtype !== "f32") lines.push(typeText(node));
    const isLeftOut = detail === "short" && isOp && node.shape.length > 0;
    const data = node.value === undefined || number !== "" || isLeftOut
      ? ""
      : `data ${valueText(node.value)}`;
    const grad = node.cotangent === undefined ? "" : `grad ${valueText(node.cotangent)}`;
    if (data !== "" && grad !== "" && data.length + grad.length <= WIDEST) lines.push(`${data} │ ${grad}`);
    else lines.push(...[data, grad].filter((text) => text !== ""));
  }
  if (detail !== "title" || operands.length > 0) {
    if (operands.some(({ node: operand }) => operand.kind === "constant") && node.formula !== undefined) {
      lines.push(shorten(node.formula, WIDEST));
    }
    for (const { node: operand } of operands) {
      if (operand.kind === "constant") continue;
      const what = `${shorten(localName(nodeTitle(operand), parent), 20)} [${operand.shape.join(",")}]`;
      const grad = operand.magnitude === undefined ? "" : ` │ grad ${formatNumber(operand.magnitude, 3)}`;
      lines.push(`${what}${what.length + grad.length <= WIDEST ? grad : ""}`);
    }
  }
  if (node.memory !== undefined && (detail !== "title" || node.memory !== UNSTORED)) {
    lines.push(plainLine(node.memory));
  }
  if (node.fault !== undefined) lines.push(shorten(plainLine(node.fault), 28));
  return sized(title, lines, node.fault === undefined ? node.kind : "fault", nodeFacts(node, operands));
}

function groupCard(group: GroupItem, detail: Detail): Card {
  const { ops, parameters, elements } = groupSize(group), work = workIn(group), lines: string[] = [];
  const times = group.instances === null ? "" : ` × ${formatNumber(group.instances.length)}`;
  const name = localName(group.name, group.parent), short = shorten(name || group.label, 30);
  const title = times !== "" && name === "" && short.includes(" ")
    ? `(${short})${times}`
    : `${short}${times}`;
  if (detail !== "title") {
    if (name !== "" && group.label !== "" && group.label !== name) lines.push(shorten(group.label, WIDEST));
    lines.push(
      ...Object.entries(group.facts).map(([key, value]) => shorten(`${key} ${plainLine(value)}`, WIDEST)),
    );
    if (work === null && Object.keys(group.facts).length === 0) {
      lines.push(`${formatNumber(ops)} ops${elements === 0 ? "" : `, ${formatNumber(elements)} parameters`}`);
    }
  }
  if (work !== null) lines.push(...workText(work));
  const fault = faultIn(group), cells = gradientsOf(group).length;
  if (fault !== undefined) lines.push(shorten(fault, 28));
  const card = sized(title, lines, fault === undefined ? "group" : "fault", {
    group: groupTitle(group),
    ...(group.instances === null ? {} : { shown: `the first of ${formatNumber(group.instances.length)}` }),
    ops: formatNumber(ops),
    ...(parameters === 0 || work !== null
      ? {}
      : { parameters: `${formatNumber(elements)} in ${formatNumber(parameters)} tensors` }),
    ...(work === null ? {} : { work: workText(work).join(", ") }),
    ...group.facts,
    ...(fault === undefined ? {} : { fault }),
  });
  // Room for a cell for each instance.
  return cells === 0
    ? card
    : { ...card, width: Math.max(card.width, 9 * cells + 12), height: card.height + 14 };
}

/** What is wrong in a group. */
export function faultIn(group: GroupItem): string | undefined {
  for (const list of group.instances ?? [group.items]) {
    for (const item of list) {
      const fault = item.kind === "node" ? item.node.fault : faultIn(item);
      if (fault !== undefined) return plainLine(fault);
    }
  }
  return undefined;
}

function nodeFacts(node: GraphNode, operands: readonly NodeItem[]): Record<string, string> {
  const facts: Record<string, string | number | undefined> = {
    name: node.name,
    [node.kind === "op" || node.kind === "output" ? "op" : node.kind]: node.label,
    type: typeText(node),
    data: node.value,
    grad: node.cotangent,
    formula: node.formula,
    derivative: node.derivative,
    pullback: node.pullback,
    numbers: node.numbers,
    fault: node.fault,
    memory: node.memory,
  };
  for (const { node: operand } of operands) {
    if (operand.kind === "constant") continue;
    const grad = operand.cotangent === undefined ? "" : `, grad ${valueText(operand.cotangent)}`;
    facts[plainLine(nodeTitle(operand))] = `${typeText(operand)}${grad}`;
  }
  return Object.fromEntries(
    Object.entries(facts).filter(([, value]) => value !== undefined && value !== "")
      .map((
        [key, value],
      ) => [key, typeof value === "number" ? String(value) : shorten(plainLine(value), 300)]),
  );
}
