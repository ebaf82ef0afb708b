/** A laid-out graph as a layered Vega-Lite spec: boxes, curves, text and tooltips, which need no script. */

import { type Card, cardOf, type Detail, HEADER_HEIGHT, LINE_HEIGHT, textWidth } from "./graph_cards.ts";
import { backwardSteps, gradientsOf, highwayOf, magnitudeOf } from "./graph_flow.ts";
import { boxesOf, type Folded, framesOf, type GroupItem, type Item } from "./graph_items.ts";
import { type Plan, planFrames } from "./graph_frames.ts";
import type { Direction, Gaps } from "./graph_layout.ts";
import { CELL, cellLayers, edgeLayers, GradientScale, labelLayers } from "./graph_lines.ts";
import { Canvas } from "./graph_marks.ts";
import type { GraphOptions, GraphPicture } from "./graph_picture.ts";
import { groupTitle } from "./graph_text.ts";
import { stepLayers } from "./graph_steps.ts";
import { wrapped } from "./chart.ts";
import { ink, plainLine } from "./parts.ts";
import { figure, type VegaLiteSpec } from "./vega.ts";

const PAGE_WIDTH = 550; // With padding and the menu that front ends add, that of a narrow notebook: 600.
const SMALLEST_SCALE = 0.75; // Smaller text is not read: then the drawing is wider than the page.
const FEW = 24; // Boxes whose values are all worth their room.
const NOTE_LETTERS = 66; // Longer lines are counted as wider than the page where an SVG is made.
const TIGHT: Gaps = { across: 14, along: 26 };

/**
 * The spec of a graph in the direction and the amount of detail that fit the page, as it is on paper, and by how much it is
 * wider than the page even so.
 */
export async function graphSpec(
  picture: GraphPicture,
  folded: Folded,
  options: GraphOptions,
): Promise<{ spec: VegaLiteSpec; still: VegaLiteSpec; overhang: number }> {
  const { plan, cards, direction } = await bestPlan(folded, options.direction);
  const drawing: Drawn = { folded, plan, cards, direction, picture, options };
  const overhang = Math.max(0, plan.width * SMALLEST_SCALE - PAGE_WIDTH);
  return { spec: spec(drawing, true), still: spec(drawing, false), overhang };
}

interface Drawn {
  readonly folded: Folded;
  readonly plan: Plan;
  readonly cards: ReadonlyMap<Item, Card>;
  readonly direction: Direction;
  readonly picture: GraphPicture;
  readonly options: GraphOptions;
}

async function bestPlan(
  folded: Folded,
  wanted: Direction | undefined,
): Promise<{ plan: Plan; cards: Map<Item, Card>; direction: Direction }> {
  const boxes = boxesOf(folded.root), frames = framesOf(folded.root);
  const isSmall = boxes.length <= FEW;
  // Frames have their doors above and below; a deep graph drawn to the right is certain not to fit.
  const directions: Direction[] = frames.length > 0
    ? ["down"]
    : wanted !== undefined
    ? [wanted]
    : boxes.length > 40
    ? ["down"]
    : ["right", "down"];
  let best: { plan: Plan; cards: Map<Item, Card>; direction: Direction } | undefined;
  for (const detail of (isSmall ? ["full", "short", "title"] : ["short", "title"]) as Detail[]) {
    const cards = new Map(boxes.map((item) => [item, cardOf(item, detail)]));
    const sizeOf = (item: Item): { width: number; height: number } =>
      cards.get(item) ?? { width: item.kind === "group" ? frameWidth(item) : 0, height: 0 };
    for (const direction of directions) {
      const plan = await planFrames(folded, sizeOf, direction, isSmall ? undefined : TIGHT);
      if (best === undefined || plan.width < best.plan.width) best = { plan, cards, direction };
      if (plan.width <= PAGE_WIDTH / (detail === "title" ? 1 : 0.8)) return { plan, cards, direction };
    }
  }
  return best!;
}

/** The least width of a frame: its title, and a cell for each instance. */
function frameWidth(group: GroupItem): number {
  return textWidth(groupTitle(group)) + 30 + CELL * gradientsOf(group).length;
}

function spec({ folded, plan, cards, direction, picture, options }: Drawn, isLive: boolean): VegaLiteSpec {
  const margin = 9, steps = backwardSteps(folded);
  const shrink = Math.min(1, Math.max(SMALLEST_SCALE, PAGE_WIDTH / (plan.width + 2 * margin)));
  const tail = steps.length === 0 ? 0 : isLive ? 22 : steps.length <= 12 ? 8 + 15 * steps.length : 0;
  const longest = tail === 0 ? 0 : Math.max(...steps.map(({ text }) => textWidth(text) + 40));
  const width = Math.max(plan.width + 2 * margin, longest), height = plan.height + 2 * margin + tail;
  const canvas = new Canvas(
    width,
    height,
    shrink,
    margin + (width - plan.width - 2 * margin) / 2,
    margin,
    isLive,
  );
  const highway = highwayOf(folded);
  const gradients = new Map(
    [...plan.frames, ...plan.boxes].flatMap(({ item }) =>
      item.kind === "group" ? [[item as Item, gradientsOf(item)]] : []
    ),
  );
  const known = [
    ...folded.edges.map(magnitudeOf),
    ...[...gradients.values()].flat().map(({ magnitude }) => magnitude),
  ];
  const scale = new GradientScale(known.filter((m) => m !== undefined));
  const bottom = plan.height + margin;

  const headers: unknown[] = [], bodies: unknown[] = [], titles: unknown[] = [], texts: unknown[] = [];
  const hovers: unknown[] = [];
  for (const box of plan.boxes) {
    const { title, lines, header, body, facts } = cards.get(box.item)!;
    const area = canvas.area(box), top = area.y;
    headers.push({ ...area, color: header });
    if (lines.length > 0) bodies.push({ ...area, y: top + HEADER_HEIGHT, color: body });
    const middle = (area.x + area.x2) / 2;
    titles.push({ x: middle, y: top + HEADER_HEIGHT / 2, text: title });
    lines.forEach((text, line) => {
      texts.push({ x: middle, y: top + HEADER_HEIGHT + 3 + (line + 0.5) * LINE_HEIGHT, text });
    });
    hovers.push({ ...area, facts });
  }
  // Boxes that stand for several have another edge behind them.
  const behind = plan.boxes.filter(({ item }) => item.kind === "group" && item.instances !== null).map((
    box,
  ) => ({
    ...canvas.area({ ...box, x: box.x + 4, y: box.y + 4 }),
    color: cards.get(box.item)!.header,
  }));
  const frames = plan.frames.map((frame) => canvas.area(frame));
  const doubled = plan.frames.filter(({ item }) => item.kind === "group" && item.instances !== null)
    .map((frame) =>
      canvas.area({
        ...frame,
        x: frame.x - 3,
        y: frame.y - 3,
        width: frame.width + 6,
        height: frame.height + 6,
      })
    );
  const names = plan.frames.map((frame) => {
    const { x, y } = canvas.area(frame);
    return {
      x: x + 9,
      y: y + 11,
      text: groupTitle(frame.item as GroupItem),
      facts: cardOf(frame.item, "full").facts,
    };
  });
  const cells = [
    ...plan.frames.map((frame) => {
      const { x, y } = canvas.area(frame);
      return {
        x: x + 20 + textWidth(groupTitle(frame.item as GroupItem)),
        y: y + 6,
        gradients: gradients.get(frame.item)!,
      };
    }),
    ...plan.boxes.filter(({ item }) => gradients.get(item)?.length).map((box) => {
      const { x, x2, y2 } = canvas.area(box), own = gradients.get(box.item)!;
      return { x: (x + x2 - CELL * own.length) / 2, y: y2 - 15, gradients: own };
    }),
  ];
  const tags = names.map(({ x, y, text, facts }) => ({
    x: x - 5,
    x2: x + textWidth(text) + 5,
    y: y - 8,
    y2: y + 8,
    facts,
  }));

  const layer = [
    canvas.rects(doubled, {
      fillOpacity: 0,
      stroke: "#8a80d0",
      strokeWidth: canvas.px(1),
      cornerRadius: canvas.px(8),
    }),
    canvas.rects(frames, {
      fill: "#8a80d0",
      fillOpacity: 0.09,
      stroke: "#8a80d0",
      strokeWidth: canvas.px(1.2),
      cornerRadius: canvas.px(7),
    }),
    ...edgeLayers(canvas, folded, plan, direction, highway, scale),
    canvas.rects(tags, { fill: "#5a4fa3", cornerRadius: canvas.px(4) }, {
      tooltip: { field: "facts", type: "nominal" },
    }),
    canvas.texts(names, { color: "#ffffff", align: "left", fontWeight: "bold" }),
    canvas.rects(behind, { cornerRadius: canvas.px(4), opacity: 0.55 }, { color: canvas.colors }),
    canvas.rects(headers, { cornerRadius: canvas.px(4) }, { color: canvas.colors }),
    canvas.rects(bodies, { cornerRadiusBottomLeft: canvas.px(4), cornerRadiusBottomRight: canvas.px(4) }, {
      color: canvas.colors,
    }),
    canvas.texts(titles, { color: "#ffffff", fontWeight: "bold" }),
    canvas.texts(texts, { color: "#1c1f22" }),
    ...cellLayers(canvas, cells, scale),
    ...labelLayers(canvas, folded, plan, direction),
    ...stepLayers(canvas, plan, folded.edges, steps, direction, bottom, isLive),
    canvas.rects(hovers, { opacity: 0 }, { tooltip: { field: "facts", type: "nominal" } }),
  ].filter(({ data }) => data.values.length > 0);

  const params: VegaLiteSpec[] = [];
  if (isLive) {
    const moves = { type: "interval", zoom: "wheel![event.ctrlKey || event.metaKey || event.altKey]" };
    Object.assign(layer[0], { params: [{ name: "moved", select: moves, bind: "scales" }] });
    if (steps.length > 0) {
      const bind = { input: "range", min: 0, max: steps.length, step: 1, name: "Backward pass, step " };
      params.push({ name: "step", value: 0, bind });
    }
  }
  const hint = isLive && plan.boxes.length > FEW
    ? ["drag to move, Ctrl + wheel to zoom, double-click to see all"]
    : [];
  const note = picture.note === undefined ? [] : wrapped(plainLine(picture.note), NOTE_LETTERS);
  const notes = [...note, ...hint];
  const title = options.title !== undefined
    ? { title: { text: plainLine(options.title), subtitle: notes, subtitleColor: ink } }
    : notes.length === 0
    ? {}
    : { title: { text: notes, fontSize: 11, fontWeight: "normal" } };
  return figure({
    width: Math.round(width * shrink),
    height: Math.round(height * shrink),
    ...title,
    ...(params.length === 0 ? {} : { params }),
    layer,
    resolve: { scale: { color: "independent" } },
  });
}
