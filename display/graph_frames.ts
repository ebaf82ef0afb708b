/** Layout of a folded graph: each frame is laid out for itself, and is a box to what is around it. */

import { boxesOf, type Folded, type FoldedEdge, type GroupItem, type Item } from "./graph_items.ts";
import { type Box, type Direction, type Edge, type Gaps, layOut } from "./graph_layout.ts";

/** A box or a frame, in pixels from the left and the top of the drawing. */
export interface Placed {
  readonly item: Item;
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

/** A stretch of an edge, between boxes or borders of frames. */
export interface Stretch {
  readonly points: readonly (readonly [x: number, y: number])[];
  /** Its place in the list of edges; of those that run together the first. */
  readonly edge: number;
  /** All that run together. */
  readonly edges: readonly number[];
  /** Whether it ends at a box, where the tip is. */
  readonly ends: boolean;
  /** Whether it begins at a box. */
  readonly begins: boolean;
  /** How far from the middle it enters. */
  readonly shift: number;
}

/** A laid-out drawing. */
export interface Plan {
  readonly width: number;
  readonly height: number;
  readonly boxes: readonly Placed[];
  /** Outer ones first. */
  readonly frames: readonly Placed[];
  readonly stretches: readonly Stretch[];
}

/** Room in a frame: beside what is in it, and above for the title. */
const SIDE = 12, TITLE = 24, BELOW = 8, DOOR = 10;

/** A line between items of one frame, or from and to its border. */
interface Segment {
  readonly from: Item | null;
  readonly to: Item | null;
  /** Where it crosses the borders of `from` and `to`, if these are frames, or that of the frame itself. */
  readonly leaves: string;
  readonly enters: string;
  readonly edges: number[];
}

interface Inner {
  readonly width: number;
  readonly height: number;
  readonly placed: Placed[];
  readonly frames: Placed[];
  readonly stretches: Stretch[];
  /** Distance of each crossing from the middle of the border. */
  readonly ports: Map<string, number>;
}

/** Places all boxes; `sizeOf` says how large one is, and the least width of a frame. */
export async function planFrames(
  folded: Folded,
  sizeOf: (item: Item) => { width: number; height: number },
  direction: Direction,
  gaps?: Gaps,
): Promise<Plan> {
  const segments = segmentsOf(folded);
  const layOutGroup = async (group: GroupItem): Promise<Inner> => {
    const inner = new Map<Item, Inner>();
    for (const item of group.items) {
      if (item.kind === "group" && item.open) inner.set(item, await layOutGroup(item));
    }
    const own = segments.get(group) ?? [], isRoot = group === folded.root;
    const ids = new Map<Item, string>(group.items.map((item, i) => [item, `i${i}`]));
    const boxes: Box[] = group.items.map((item) => ({
      id: ids.get(item)!,
      ...inner.get(item) ?? sizeOf(item),
    }));
    const ins = new Set<string>(), outs = new Set<string>();
    for (const { from, to, leaves, enters } of own) {
      if (from === null) ins.add(leaves);
      if (to === null) outs.add(enters);
    }
    for (const key of ins) boxes.push({ id: `>${key}`, width: 6, height: 1, rank: 0 });
    for (const key of outs) boxes.push({ id: `<${key}`, width: 6, height: 1, rank: 1 });
    const edges: Edge[] = own.map(({ from, to, leaves, enters }) => {
      const edge: Edge = {
        from: from === null ? `>${leaves}` : ids.get(from)!,
        to: to === null ? `<${enters}` : ids.get(to)!,
      };
      const out = from === null ? 0 : inner.get(from)?.ports.get(`<${leaves}`);
      const into = to === null ? 0 : inner.get(to)?.ports.get(`>${enters}`);
      if (out !== undefined) edge.leaves = out;
      if (into !== undefined) edge.enters = into;
      return edge;
    });
    const layout = await layOut(boxes, edges, direction, gaps);
    const width = isRoot ? layout.width : Math.max(layout.width + 2 * SIDE, sizeOf(group).width);
    const left = isRoot ? 0 : (width - layout.width) / 2;
    // Doors need no layers of their own.
    const inside = layout.boxes.slice(0, group.items.length);
    const first = Math.min(...inside.map((box) => box.y - box.height / 2), layout.height);
    const last = Math.max(...inside.map((box) => box.y + box.height / 2), 0);
    const top = isRoot ? 0 : TITLE - (ins.size === 0 ? 0 : Math.max(0, first - DOOR));
    const height = isRoot ? layout.height : last + top + (outs.size > 0 ? DOOR : 0) + BELOW;
    const placed: Placed[] = [],
      frames: Placed[] = [],
      stretches: Stretch[] = [],
      ports = new Map<string, number>();
    layout.boxes.forEach((box, i) => {
      if (i >= group.items.length) {
        ports.set(String(box.id), box.x + left - width / 2);
        return;
      }
      const item = group.items[i], below = inner.get(item);
      const x = left + box.x - box.width / 2, y = top + box.y - box.height / 2;
      const own = { item, x, y, width: box.width, height: box.height };
      if (below === undefined) {
        placed.push(own);
        return;
      }
      frames.push(own, ...below.frames.map((f) => ({ ...f, x: f.x + x, y: f.y + y })));
      placed.push(...below.placed.map((b) => ({ ...b, x: b.x + x, y: b.y + y })));
      stretches.push(...below.stretches.map((s) => ({
        ...s,
        points: s.points.map(([a, b]): [number, number] => [a + x, b + y]),
      })));
    });
    layout.routes.forEach(({ points, shift }, i) => {
      const { from, to, edges } = own[i];
      const lowest = to === null ? height : Infinity;
      const highest = from === null ? 0 : -Infinity;
      const moved = points.map(([x, y]): [number, number] => [
        x + left,
        Math.max(highest, Math.min(y + top, lowest)),
      ]);
      // From border to border.
      if (from === null) moved.unshift([moved[0][0], 0]);
      if (to === null) moved.push([moved[moved.length - 1][0], height]);
      const isBox = (item: Item | null): boolean => item !== null && !inner.has(item);
      stretches.push({ points: moved, edge: edges[0], edges, ends: isBox(to), begins: isBox(from), shift });
    });
    return { width, height, placed, frames, stretches, ports };
  };
  const { width, height, placed, frames, stretches } = await layOutGroup(folded.root);
  const order = new Map(boxesOf(folded.root).map((item, i) => [item, i]));
  placed.sort((a, b) => order.get(a.item)! - order.get(b.item)!);
  return { width, height, boxes: placed, frames, stretches };
}

/** What is drawn in each frame of each edge: those that run the same way run together. */
function segmentsOf({ root, edges }: Folded): Map<GroupItem, Segment[]> {
  const found = new Map<GroupItem, Map<string, Segment>>();
  const names = new Map<Item, number>();
  const nameOf = (item: Item | null): string => {
    if (item === null) return "";
    const known = names.get(item) ?? names.size;
    names.set(item, known);
    return String(known);
  };
  const add = (
    group: GroupItem,
    edge: number,
    from: Item | null,
    to: Item | null,
    ends: FoldedEdge,
  ): void => {
    const leaves = nameOf(ends.from), enters = from === null || to !== ends.to ? nameOf(ends.from) : "";
    const isParallel = from === ends.from && to === ends.to;
    const key = `${nameOf(from)},${nameOf(to)},${leaves},${enters}${isParallel ? `,${edge}` : ""}`;
    const own = found.get(group) ?? new Map<string, Segment>();
    found.set(group, own);
    const known = own.get(key);
    if (known === undefined) own.set(key, { from, to, leaves, enters, edges: [edge] });
    else known.edges.push(edge);
  };
  edges.forEach((ends, i) => {
    const up = around(ends.from), down = around(ends.to);
    const common = up.find((group) => down.includes(group)) ?? root;
    let from: Item = ends.from;
    for (const group of up) {
      if (group === common) break;
      add(group, i, from, null, ends);
      from = group;
    }
    const entered: [GroupItem, Item][] = [];
    let to: Item = ends.to;
    for (const group of down) {
      if (group === common) break;
      entered.push([group, to]);
      to = group;
    }
    add(common, i, from, to, ends);
    for (const [group, item] of entered) add(group, i, null, item, ends);
  });
  return new Map(Array.from(found, ([group, own]) => [group, [...own.values()]]));
}

/** The frames around a box, inner ones first. */
function around(item: Item): GroupItem[] {
  const found: GroupItem[] = [];
  for (let group = item.parent; group !== null; group = group.parent) found.push(group);
  return found;
}
