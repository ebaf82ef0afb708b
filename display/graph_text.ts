/** Graphs as text: small ones as a tree from their outputs, large ones as an outline of their groups. */

import { type Folded, type GroupItem, type Item, nodesOf } from "./graph_items.ts";
import {
  type GraphEdge,
  type GraphNode,
  type GraphPicture,
  nodeTitle,
  ownName,
  typeText,
  valueText,
} from "./graph_picture.ts";
import { workIn, workText } from "./graph_work.ts";
import { consoleText, formatNumber, plainLine, shorten } from "./parts.ts";

const MOST_LINES = 80;

function line(node: GraphNode, frame: GroupItem | null = null): string {
  const op = node.kind === "op" || (node.kind === "output" && node.name !== undefined);
  const own = shorten(localName(ownName(node), frame), 28);
  const title = op && node.name ? `${own} = ${plainLine(node.label)}` : own;
  const value = node.value === undefined ? "" : `  data ${consoleText(valueText(node.value))}`;
  const gradient = node.cotangent === undefined ? "" : `  grad ${consoleText(valueText(node.cotangent))}`;
  const fault = node.fault === undefined ? "" : `  (${plainLine(node.fault)})`;
  const memory = node.memory === undefined ? "" : `  (${plainLine(node.memory)})`;
  const carried = node.carried ? "  ↻ next step" : "";
  return `${title}  ${typeText(node)}${value}${gradient}${memory}${carried}${fault}`;
}

/** The graph as a tree with its outputs at the top; what was shown before is only named. */
export function tree({ nodes, edges }: GraphPicture): string[] {
  const byId = new Map(nodes.map((node) => [node.id, node]));
  const inputs = new Map<string | number, GraphEdge[]>(nodes.map(({ id }) => [id, []]));
  const read = new Set<string | number>();
  for (const edge of edges) {
    inputs.get(edge.to)?.push(edge);
    read.add(edge.from);
  }
  const seen = new Set<string | number>();
  const lines: string[] = [];
  // A stack, not recursion: a chain may be longer than the call stack.
  type Entry = { id: string | number; lead: string; branch: string; label?: string };
  const ends = nodes.filter(({ id }) => !read.has(id));
  const stack: Entry[] = ends.reverse().map(({ id }) => ({ id, lead: "", branch: "" }));
  while (stack.length > 0) {
    const { id, lead, branch, label } = stack.pop()!;
    const node = byId.get(id);
    if (node === undefined) continue;
    const name = label === undefined ? "" : `${plainLine(label)}: `;
    if (lines.length >= MOST_LINES) {
      const rest = nodes.length - seen.size;
      if (rest > 0) lines.push(`… and ${rest} more`);
      break;
    }
    if (seen.has(id) && inputs.get(id)!.length > 0) {
      lines.push(`${lead}${branch}${name}${nodeTitle(node)}  (above)`);
      continue;
    }
    lines.push(`${lead}${branch}${name}${line(node)}`);
    seen.add(id);
    const below = branch === "" ? "" : lead + (branch === "├─ " ? "│  " : "   ");
    const children = inputs.get(id)!;
    for (let i = children.length - 1; i >= 0; i--) {
      const child: Entry = {
        id: children[i].from,
        lead: below,
        branch: i === children.length - 1 ? "└─ " : "├─ ",
      };
      if (children[i].label !== undefined) child.label = children[i].label!;
      stack.push(child);
    }
  }
  return lines.length === 0 ? ["(an empty graph)"] : lines;
}

/** A name without the path of the frame that it stands in. */
export function localName(name: string, frame: GroupItem | null): string {
  const plain = plainLine(name);
  for (let group = frame; group !== null; group = group.parent) {
    const path = group.name.split(" … ")[0];
    if (path !== "" && plain.startsWith(`${path}.`)) return plain.slice(path.length + 1);
  }
  return plain;
}

/** What a group is called: `layers.0 … 11: Block × 12`. */
export function groupTitle({ label, name: path, instances, parent }: GroupItem): string {
  const name = localName(path, parent);
  const times = instances === null ? "" : ` × ${formatNumber(instances.length)}`;
  const title = name === "" || name === label ? label : label === "" ? name : `${name}: ${label}`;
  return times !== "" && name === "" && label.includes(" ") ? `(${title})${times}` : `${title}${times}`;
}

/** How much is in a group. */
export function groupSize(group: GroupItem): { ops: number; parameters: number; elements: number } {
  let ops = 0, parameters = 0, elements = 0;
  for (const { node } of nodesOf(group).flatMap((item) => [item, ...item.operands])) {
    if (node.kind === "op" || node.kind === "output") ops++;
    else if (node.label === "parameter") {
      parameters++;
      elements += node.shape.reduce((a, b) => a * b, 1);
    }
  }
  return { ops, parameters, elements };
}

/** The graph in the order of computation, a line for each box, indented by frames. */
export function outline({ root, size }: Folded, edges: number): string[] {
  const lines = [`${formatNumber(size)} nodes and ${formatNumber(edges)} edges`];
  const visit = (items: readonly Item[], lead: string): void => {
    items.forEach((item, i) => {
      const isLast = i === items.length - 1, branch = isLast ? "└─ " : "├─ ";
      if (item.kind === "node") {
        const operands = item.operands.map(({ node }) =>
          node.kind === "constant" && node.value !== undefined
            ? valueText(node.value)
            : localName(nodeTitle(node), item.parent)
        ).join(", ");
        lines.push(
          `${lead}${branch}${line(item.node, item.parent)}${operands === "" ? "" : `  with ${operands}`}`,
        );
        return;
      }
      const { ops, elements } = groupSize(item), work = workIn(item);
      const facts = work === null ? [`${formatNumber(ops)} ops`] : workText(work);
      if (elements > 0 && work === null) facts.push(`${formatNumber(elements)} parameters`);
      facts.push(...Object.entries(item.facts).map(([key, value]) => `${key} ${plainLine(value)}`));
      lines.push(`${lead}${branch}${groupTitle(item)}  (${facts.join(", ")})`);
      if (item.open) visit(item.items, lead + (isLast ? "   " : "│  "));
    });
  };
  visit(root.items, "");
  const most = 4 * MOST_LINES;
  return lines.length <= most ? lines : [...lines.slice(0, most), `… and ${lines.length - most} more lines`];
}
