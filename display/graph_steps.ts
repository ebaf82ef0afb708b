/** The backward pass on a drawing: numbers on boxes, a slider that walks through them, and a strip of text on paper. */

import type { BackwardStep } from "./graph_flow.ts";
import type { FoldedEdge } from "./graph_items.ts";
import type { Plan } from "./graph_frames.ts";
import type { Direction } from "./graph_layout.ts";
import type { Canvas, Layer } from "./graph_marks.ts";
import { ink } from "./parts.ts";

/** Stands out from every box, line and page. */
const LIGHT = "#e6a700";
const STRIP = 12; // Steps that paper has room for.

/** Layers for the steps; in a live drawing those of the step that the parameter `step` says. */
export function stepLayers(
  canvas: Canvas,
  plan: Plan,
  drawn: readonly FoldedEdge[],
  steps: readonly BackwardStep[],
  direction: Direction,
  bottom: number,
  isLive: boolean,
): Layer[] {
  if (steps.length === 0) return [];
  const boxes = new Map(plan.boxes.map((box) => [box.item, box]));
  const glows: unknown[] = [],
    flows: unknown[] = [],
    lines: unknown[] = [],
    badges: unknown[] = [],
    sums: unknown[] = [];
  steps.forEach(({ item, edges, text }, i) => {
    const step = i + 1, box = boxes.get(item);
    if (box === undefined) return;
    const { x, y, x2, y2 } = canvas.area(box);
    glows.push({ x: x - 2, y: y - 2, x2: x2 + 2, y2: y2 + 2, step });
    badges.push({ x: x2 + 1, y: y, text: String(step), step });
    const own = new Set(edges);
    plan.stretches.forEach(({ points, edges: numbers }, number) => {
      if (!numbers.some((n) => own.has(drawn[n]))) return;
      points.forEach((point, k) =>
        flows.push({ edge: `${step},${number}`, i: k, ...canvas.point(point), step })
      );
    });
    if (edges.length > 1) {
      const out: [number, number] = direction === "down"
        ? [box.x + box.width / 2, box.y + box.height]
        : [box.x + box.width, box.y + box.height / 2];
      const { x, y } = canvas.point(out);
      sums.push({ x, y, text: "+", step });
    }
    lines.push({ x: 6, y: bottom + (isLive ? 12 : 10 + 15 * i), text: `${step}  ${text}`, step });
  });
  const now = (value: number, other: number): unknown => ({
    condition: { test: "datum.step === step", value },
    value: other,
  });
  const glow = { fillOpacity: 0, stroke: LIGHT, strokeWidth: canvas.px(3), cornerRadius: canvas.px(6) };
  const badge = { size: canvas.squarePx(190), color: LIGHT };
  const number = { color: "#1c1f22", size: 8.5, fontWeight: "bold" };
  const marks = [
    canvas.points(badges, badge),
    canvas.texts(badges, number),
    canvas.points(sums, { size: canvas.squarePx(120), color: LIGHT }),
    canvas.texts(sums, { ...number, size: 10 }),
  ];
  if (!isLive) {
    return steps.length > STRIP
      ? marks
      : [...marks, canvas.texts(lines, { color: ink, align: "left", size: 10.5 })];
  }
  return [
    canvas.curves(flows, { color: LIGHT, strokeWidth: canvas.px(3.2) }, { opacity: now(0.9, 0) }),
    canvas.rects(glows, glow, { opacity: now(1, 0) }),
    ...marks,
    canvas.texts(lines, { color: ink, align: "left", size: 11 }, { opacity: now(1, 0) }),
  ];
}
