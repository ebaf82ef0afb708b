/** Drawings of computation graphs: boxes with name, shape, value and gradient, from the inputs to the outputs. */

import { type Bundle, Drawing, type Presentation } from "./bundle.ts";
import { graphSpec } from "./graph_spec.ts";
import {
  type GraphEdge,
  type GraphNode,
  type GraphOptions,
  type GraphPicture,
  nodeTitle,
  typeText,
  valueText,
} from "./graph_picture.ts";
import { consoleText, formatNumber, plainLine } from "./parts.ts";
import { presentFigure } from "./vega.ts";

export type { GraphEdge, GraphNode, GraphOptions, GraphPicture };

const MOST_NODES = 300; // Drawn; more are summarised, since no one could read them.
const MOST_LINES = 80;

/** Draws a computation graph; as a tree from its outputs in a terminal, as counts where it is too large to read. */
export function drawGraph(picture: GraphPicture, options: GraphOptions = {}): Drawing {
  return new GraphDrawing(picture, options);
}

class GraphDrawing extends Drawing {
  constructor(readonly picture: GraphPicture, readonly options: GraphOptions) {
    super();
  }

  override text(): string {
    const title = this.options.title === undefined ? [] : [plainLine(this.options.title)];
    const lines = this.picture.nodes.length > MOST_NODES ? summary(this.picture) : tree(this.picture);
    return [...title, ...lines].join("\n");
  }

  protected override async render(): Promise<Presentation> {
    const data: Bundle = {};
    if (this.picture.nodes.length === 0 || this.picture.nodes.length > MOST_NODES) return { data };
    return await presentFigure(await graphSpec(this.picture, this.options));
  }
}

function line(node: GraphNode): string {
  const op = node.kind === "op" || (node.kind === "output" && node.name !== undefined);
  const title = op && node.name ? `${nodeTitle(node)} = ${plainLine(node.label)}` : nodeTitle(node);
  const value = node.value === undefined ? "" : `  data ${consoleText(valueText(node.value))}`;
  const gradient = node.cotangent === undefined ? "" : `  grad ${consoleText(valueText(node.cotangent))}`;
  return `${title}  ${typeText(node)}${value}${gradient}`;
}

/** The graph as a tree with its outputs at the top; what was shown before is only named. */
function tree({ nodes, edges }: GraphPicture): string[] {
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

/** How many nodes of which kind, where the graph is too large to draw. */
function summary({ nodes, edges }: GraphPicture): string[] {
  const count = (kinds: GraphNode["kind"][]) => {
    const counts = new Map<string, number>();
    for (const node of nodes) {
      if (kinds.includes(node.kind)) {
        counts.set(plainLine(node.label), (counts.get(plainLine(node.label)) ?? 0) + 1);
      }
    }
    const sorted = [...counts].sort(([, a], [, b]) => b - a);
    const total = sorted.reduce((sum, [, times]) => sum + times, 0);
    const shown = sorted.slice(0, 12).map(([label, times]) => times === 1 ? label : `${label} × ${times}`);
    const more = sorted.length > 12 ? `, and ${sorted.length - 12} other kinds` : "";
    return { total, text: shown.join(", ") + more };
  };
  const ops = count(["op", "output"]), leaves = count(["leaf"]), constants = count(["constant"]);
  const lines = [
    `${formatNumber(nodes.length)} nodes and ${formatNumber(edges.length)} edges, too many to draw`,
  ];
  lines.push(`  ${formatNumber(ops.total)} ops: ${ops.text}`);
  if (leaves.total > 0) lines.push(`  ${formatNumber(leaves.total)} leaves: ${leaves.text}`);
  if (constants.total > 0) lines.push(`  ${formatNumber(constants.total)} constants: ${constants.text}`);
  return lines;
}
