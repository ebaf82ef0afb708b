/** The lines of a graph: coloured by the gradient that flows back along them, with the residual highway as one wide line. */

import { logLabel } from "./chart.ts";
import { textWidth } from "./graph_cards.ts";
import { magnitudeOf } from "./graph_flow.ts";
import type { Folded, FoldedEdge, Item } from "./graph_items.ts";
import type { Plan, Stretch } from "./graph_frames.ts";
import type { Direction } from "./graph_layout.ts";
import type { Canvas, Layer } from "./graph_marks.ts";
import { nodeTitle, typeText, valueText } from "./graph_picture.ts";
import { groupTitle } from "./graph_text.ts";
import { formatNumber, ink, plainLine, shorten } from "./parts.ts";

/** From small to large gradients: violet, blue, green, orange, which stand out from white and from black. */
const RAMP = ["#8a63d2", "#2f86d2", "#0f9b77", "#d9770b"];
/** What is not finite. */
export const RED = "#d43a2f";
const DECADES = 6; // Smaller gradients have the colour of the smallest.

/** How gradients are coloured. */
export class GradientScale {
  readonly #domain: [number, number];

  constructor(magnitudes: Iterable<number>) {
    this.#domain = domainOf([...magnitudes]);
  }

  /** The encoding of values with their gradient in the field `gradient`. */
  color(legend: unknown = null): unknown {
    const scale = { type: "log", domain: this.#domain, range: RAMP, interpolate: "rgb", clamp: true };
    return { field: "gradient", type: "quantitative", scale, legend };
  }

  /** A finite gradient that is not zero as the field `gradient`. */
  shown(magnitude: number): number {
    return Math.max(magnitude, this.#domain[0]);
  }
}

/** The gradient that comes back to each instance of what repeats, as cells from `x` on. */
export function cellLayers(
  canvas: Canvas,
  cells: readonly { x: number; y: number; gradients: readonly { name: string; magnitude: number }[] }[],
  scale: GradientScale,
): Layer[] {
  const graded: unknown[] = [], broken: unknown[] = [], zero: unknown[] = [];
  for (const { x, y, gradients } of cells) {
    gradients.forEach(({ name, magnitude }, i) => {
      const facts = { instance: plainLine(name), grad: `norm ${formatNumber(magnitude)}` };
      const cell = { x: x + CELL * i, x2: x + CELL * (i + 1) - 1.5, y, y2: y + 10, facts };
      if (!Number.isFinite(magnitude)) broken.push(cell);
      else if (magnitude === 0) zero.push(cell);
      else graded.push({ ...cell, gradient: scale.shown(magnitude) });
    });
  }
  const tooltip = { field: "facts", type: "nominal" };
  return [
    canvas.rects(graded, {}, { color: scale.color(), tooltip }),
    canvas.rects(zero, { fillOpacity: 0, stroke: ink }, { tooltip }),
    canvas.rects(broken, { color: RED }, { tooltip }),
  ];
}

/** The width of a cell. */
export const CELL = 9;

/** Curves and their tips. */
export function edgeLayers(
  canvas: Canvas,
  { edges }: Folded,
  plan: Plan,
  direction: Direction,
  highway: ReadonlySet<FoldedEdge>,
  scale: GradientScale,
): Layer[] {
  const magnitudes = edges.map(magnitudeOf);
  const plain: unknown[] = [], graded: unknown[] = [], zero: unknown[] = [], broken: unknown[] = [];
  const tips: Record<"plain" | "graded" | "broken", unknown[]> = { plain: [], graded: [], broken: [] };
  plan.stretches.forEach((stretch, number) => {
    const own = stretch.edges.map((i) => edges[i]), isHighway = own.some((edge) => highway.has(edge));
    const known = stretch.edges.flatMap((i) => magnitudes[i] === undefined ? [] : [magnitudes[i]]);
    const magnitude = known.length === 0 ? undefined : Math.sqrt(known.reduce((sum, m) => sum + m * m, 0));
    const facts = factsOf(own, magnitude);
    const kind = magnitude === undefined
      ? "plain"
      : !Number.isFinite(magnitude)
      ? "broken"
      : magnitude === 0
      ? "zero"
      : "graded";
    const shown = kind === "graded" ? scale.shown(magnitude!) : undefined;
    const size = (isHighway ? 4 : 1.4) * canvas.scale;
    const values = stretch.points.map((point, i) => ({
      edge: number,
      i,
      ...canvas.point(point),
      size,
      facts,
      ...(shown === undefined ? {} : { gradient: shown }),
    }));
    ({ plain, graded, zero, broken })[kind].push(...values);
    if (!stretch.ends) return;
    const tip = { ...tipOf(canvas, stretch, direction), ...(shown === undefined ? {} : { gradient: shown }) };
    tips[kind === "zero" ? "plain" : kind].push(tip);
  });
  const tooltip = { field: "facts", type: "nominal" };
  const size = { field: "size", type: "quantitative", scale: null, legend: null };
  const legend = {
    title: "gradient along an edge (norm)",
    titleLimit: 0,
    orient: "bottom",
    direction: "horizontal",
    gradientLength: 180,
    gradientThickness: 7,
    titleFontSize: 10,
    labelFontSize: 10,
    tickCount: 3,
    format: "~g",
    labelExpr: logLabel,
    offset: 4,
  };
  const shape = direction === "down" ? "triangle-down" : "triangle-right";
  const tip = { shape, size: canvas.squarePx(40) };
  const wide = { strokeWidth: size, tooltip };
  return [
    canvas.curves(plain, { color: ink }, wide),
    canvas.curves(zero, { color: RAMP[0], strokeDash: [3, 3] }, wide),
    canvas.curves(graded, {}, { ...wide, color: scale.color(legend) }),
    canvas.curves(broken, { color: RED }, wide),
    canvas.points(tips.plain, { ...tip, color: ink }),
    canvas.points(tips.graded, tip, { color: scale.color() }),
    canvas.points(tips.broken, { ...tip, color: RED }),
  ];
}

/** From the smallest to the largest gradient that is seen: at least a decade, at most six. */
function domainOf(magnitudes: readonly number[]): [number, number] {
  const known = magnitudes.filter((m) => Number.isFinite(m) && m > 0);
  if (known.length === 0) return [0.1, 1];
  const high = Math.max(...known), low = Math.max(Math.min(...known), high * 10 ** -DECADES);
  const room = Math.sqrt(Math.max(1, 10 * low / high));
  return [low / room, high * room];
}

function factsOf(edges: readonly FoldedEdge[], magnitude: number | undefined): Record<string, string> {
  const name = (item: Item): string =>
    shorten(item.kind === "node" ? nodeTitle(item.node) : groupTitle(item), 40);
  const [{ from, source, edges: [first] }] = edges;
  const facts: Record<string, string> = {
    edge: `${name(from)} → ${[...new Set(edges.map(({ to }) => name(to)))].join(", ")}`,
  };
  if (first.label !== undefined) facts.argument = plainLine(first.label);
  facts.type = typeText(source);
  if (edges.length === 1 && edges[0].edges.length === 1 && first.cotangent !== undefined) {
    facts.grad = valueText(first.cotangent);
    if (first.numbers !== undefined) facts.numbers = plainLine(first.numbers);
  } else if (magnitude !== undefined) facts.grad = `norm ${formatNumber(magnitude)}`;
  return facts;
}

function tipOf(canvas: Canvas, { points }: Stretch, direction: Direction): { x: number; y: number } {
  const { x, y } = canvas.point(points[points.length - 1]);
  return direction === "down" ? { x, y: y - 3 } : { x: x - 3, y };
}

/** Arguments beside tips, shapes beside the start of lines that leave groups, and what goes on to the next instance. */
export function labelLayers(
  canvas: Canvas,
  { edges, carries }: Folded,
  plan: Plan,
  direction: Direction,
): Layer[] {
  const labels: { x: number; y: number; text: string; left: boolean }[] = [];
  const told = new Set<Item>();
  for (const stretch of plan.stretches) {
    const edge = edges[stretch.edge], { label } = edge.edges[0];
    if (stretch.ends && label !== undefined) {
      const { x, y } = canvas.point(stretch.points[stretch.points.length - 1]), left = stretch.shift < 0;
      const place = direction === "down"
        ? { x: x + (left ? -5 : 5), y: y - 9 }
        : { x: x - 9, y: y + (left ? -7 : 7) };
      labels.push({ ...place, text: shorten(plainLine(label), 12), left: direction === "right" || left });
    }
    // A box of one op tells its type itself, or has no room for it.
    if (
      stretch.begins && edge.from.kind === "group" && edge.source.shape.length > 0 && !told.has(edge.from)
    ) {
      told.add(edge.from);
      const { x, y } = canvas.point(stretch.points[0]), text = typeText(edge.source);
      const left = direction === "down" && stretch.points[0][0] + textWidth(text) > plan.width;
      labels.push({ x: x + (left ? -5 : 5), y: y + (direction === "down" ? 8 : -7), text, left });
    }
  }
  for (const box of plan.boxes) {
    if (!carries.has(box.item)) continue;
    const { x, y } = canvas.point([box.x + box.width, box.y + box.height]);
    labels.push({ x: x + 5, y: y - 5, text: "↻ next", left: false });
  }
  return [true, false].map((left) =>
    canvas.texts(labels.filter((label) => label.left === left), {
      color: ink,
      size: 9,
      align: left ? "right" : "left",
    })
  );
}
