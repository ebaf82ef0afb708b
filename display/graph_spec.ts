/** A laid-out graph as a layered Vega-Lite spec: boxes, curves, text and tooltips, which need no script. */

import { type Box, type Direction, type Layout, layOut } from "./graph_layout.ts";
import {
  type GraphNode,
  type GraphOptions,
  type GraphPicture,
  nodeTitle,
  typeText,
  valueText,
} from "./graph_picture.ts";
import { ink, plainLine, shorten } from "./parts.ts";
import { figure, type VegaLiteSpec } from "./vega.ts";

const PAGE_WIDTH = 880;
const SMALLEST_SCALE = 0.6; // Smaller text is not read: then the drawing is wider than the page.
const FONT_SIZE = 11;
const CHARACTER_WIDTH = 6.7; // Of the monospaced font at this size.
const LINE_HEIGHT = 14;
const HEADER_HEIGHT = 19;

// Boxes are opaque, so their text reads on any page.
const colors: Record<GraphNode["kind"], { header: string; body: string }> = {
  op: { header: "#56616e", body: "#e9ecef" },
  leaf: { header: "#1f6fb5", body: "#dfecf9" },
  constant: { header: "#77705f", body: "#efece4" },
  output: { header: "#a85a00", body: "#fdebd2" },
};

/** Where a box is drawn, with the lines of text in it. */
interface Card extends Box {
  node: GraphNode;
  lines: string[];
}

/** The spec of a graph in the direction and the amount of detail that fit the page. */
export async function graphSpec(picture: GraphPicture, options: GraphOptions): Promise<VegaLiteSpec> {
  const detailed = picture.nodes.map((node) => card(node, true));
  const compact = picture.nodes.map((node) => card(node, false));
  const directions: Direction[] = options.direction === undefined ? ["right", "down"] : [options.direction];
  let best: { layout: Layout; cards: Card[]; direction: Direction } | undefined;
  search: for (const cards of [detailed, compact]) {
    for (const direction of directions) {
      // A deep graph drawn to the right is certain not to fit.
      if (direction === "right" && directions.length > 1 && cards.length > 40) continue;
      const layout = await layOut(cards, picture.edges, direction);
      if (best === undefined || layout.width < best.layout.width) best = { layout, cards, direction };
      if (layout.width <= PAGE_WIDTH) break search;
    }
  }
  return spec(best!, options);
}

function card(node: GraphNode, detailed: boolean): Card {
  const lines: string[] = [];
  if (detailed) {
    if (node.name && node.name !== node.label && node.kind !== "leaf") {
      lines.push(shorten(plainLine(node.name), 28));
    }
    lines.push(typeText(node));
    if (node.value !== undefined) lines.push(`data ${valueText(node.value)}`);
    if (node.cotangent !== undefined) lines.push(`grad ${valueText(node.cotangent)}`);
  }
  const longest = Math.max([...header(node)].length + 1, ...lines.map((line) => [...line].length));
  return {
    id: node.id,
    node,
    lines,
    width: Math.ceil(longest * CHARACTER_WIDTH + 14),
    height: HEADER_HEIGHT + (lines.length === 0 ? 0 : lines.length * LINE_HEIGHT + 6),
  };
}

function header(node: GraphNode): string {
  return node.kind === "op" || node.kind === "output" ? shorten(plainLine(node.label), 28) : nodeTitle(node);
}

function spec(
  { layout, cards, direction }: { layout: Layout; cards: Card[]; direction: Direction },
  options: GraphOptions,
): VegaLiteSpec {
  const scale = Math.min(1, Math.max(SMALLEST_SCALE, PAGE_WIDTH / layout.width));
  const margin = 4;
  const width = layout.width + 2 * margin, height = layout.height + 2 * margin;
  const at = (field: string, extent: number, flipped: boolean) => ({
    field,
    type: "quantitative",
    axis: null,
    scale: { domain: flipped ? [extent, 0] : [0, extent], nice: false, zero: false },
  });
  const x = at("x", width, false), y = at("y", height, true);
  const color = { field: "color", type: "nominal", scale: null, legend: null };
  const round = 4 * scale;

  const headers: unknown[] = [], bodies: unknown[] = [], titles: unknown[] = [], texts: unknown[] = [];
  const hovers = new Map<string, VegaLiteSpec[]>();
  layout.boxes.forEach((box, i) => {
    const { node, lines } = cards[i];
    const left = box.x - box.width / 2 + margin, top = box.y - box.height / 2 + margin;
    const area = { x: left, x2: left + box.width, y: top, y2: top + box.height };
    headers.push({ ...area, color: colors[node.kind].header, bare: lines.length === 0 });
    if (lines.length > 0) bodies.push({ ...area, y: top + HEADER_HEIGHT, color: colors[node.kind].body });
    titles.push({ x: box.x + margin, y: top + HEADER_HEIGHT / 2, text: header(node) });
    lines.forEach((text, line) => {
      texts.push({ x: box.x + margin, y: top + HEADER_HEIGHT + 3 + (line + 0.5) * LINE_HEIGHT, text });
    });
    const facts = tooltip(node);
    // One layer for each set of facts, since a tooltip shows missing ones as "undefined".
    const key = Object.keys(facts).join("\n");
    hovers.set(key, [...hovers.get(key) ?? [], { ...area, ...facts }]);
  });

  const curves = layout.routes.flatMap(({ points }, edge) =>
    points.map(([pointX, pointY], i) => ({ edge, i, x: tenth(pointX + margin), y: tenth(pointY + margin) }))
  );
  const tips = layout.routes.map(({ points }) => {
    const [tipX, tipY] = points[points.length - 1];
    return direction === "down"
      ? { x: tipX + margin, y: tipY + margin - 3 }
      : { x: tipX + margin - 3, y: tipY + margin };
  });
  const labels = layout.routes.flatMap(({ points, shift, label }) => {
    const [tipX, tipY] = points[points.length - 1];
    const place = direction === "down"
      ? { x: tipX + margin + (shift < 0 ? -5 : 5), y: tipY + margin - 9 }
      : { x: tipX + margin - 9, y: tipY + margin + (shift < 0 ? -7 : 7) };
    return label === undefined ? [] : [{ ...place, text: shorten(plainLine(label), 12), left: shift < 0 }];
  });

  const text = (values: unknown[], style: VegaLiteSpec) => ({
    data: { values },
    mark: {
      type: "text",
      font: "ui-monospace, Menlo, Consolas, monospace",
      fontSize: FONT_SIZE * scale,
      ...style,
    },
    encoding: { x, y, text: { field: "text", type: "nominal" } },
  });
  const rect = (values: unknown[], mark: VegaLiteSpec, encoding: VegaLiteSpec) => ({
    data: { values },
    mark: { type: "rect", ...mark },
    encoding: { x, x2: { field: "x2" }, y, y2: { field: "y2" }, ...encoding },
  });
  const layer = [
    {
      data: { values: curves },
      mark: { type: "line", interpolate: "basis", color: ink, strokeWidth: 1.3 * scale },
      encoding: {
        x,
        y,
        detail: { field: "edge", type: "nominal" },
        order: { field: "i", type: "quantitative" },
      },
    },
    {
      data: { values: tips },
      mark: {
        type: "point",
        shape: direction === "down" ? "triangle-down" : "triangle-right",
        filled: true,
        opacity: 1,
        color: ink,
        size: 34 * scale * scale,
      },
      encoding: { x, y },
    },
    rect(headers, { cornerRadius: round }, { color }),
    rect(bodies, { cornerRadiusBottomLeft: round, cornerRadiusBottomRight: round }, { color }),
    text(titles, { color: "#ffffff", fontWeight: "bold" }),
    text(texts, { color: "#1c1f22" }),
    ...[true, false].filter((left) => labels.some((label) => label.left === left)).map((left) => {
      const align = direction === "right" || left ? "right" : "left";
      return text(labels.filter((label) => label.left === left), { color: ink, fontSize: 9 * scale, align });
    }),
    ...Array.from(hovers.values(), (values) =>
      rect(values, { opacity: 0 }, {
        tooltip: Object.keys(values[0]).filter((key) => !["x", "x2", "y", "y2"].includes(key))
          .map((field) => ({ field, type: "nominal" })),
      })),
  ];
  return figure({
    width: Math.round(width * scale),
    height: Math.round(height * scale),
    ...(options.title === undefined ? {} : { title: { text: plainLine(options.title) } }),
    layer,
  });
}

const tenth = (value: number) => Math.round(value * 10) / 10;

function tooltip(node: GraphNode): Record<string, string> {
  const facts: Record<string, string | number | undefined> = {
    name: node.name,
    [node.kind === "op" || node.kind === "output" ? "op" : node.kind]: node.label,
    type: typeText(node),
    data: node.value,
    grad: node.cotangent,
    formula: node.formula,
    derivative: node.derivative,
    pullback: node.pullback,
  };
  return Object.fromEntries(
    Object.entries(facts).filter(([, value]) => value !== undefined && value !== "")
      .map((
        [key, value],
      ) => [key, typeof value === "number" ? String(value) : shorten(plainLine(value), 300)]),
  );
}
