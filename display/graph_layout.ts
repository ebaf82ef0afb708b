/** Layered layout of a graph of boxes, by d3-dag's version of Sugiyama's method. */

/** A box to place, in pixels. */
export interface Box {
  /** Names the box in edges. */
  id: string | number;
  /** Its extent across. */
  width: number;
  /** Its extent down. */
  height: number;
  /** Boxes with a rank lie in front of those with a higher one, and level with those of the same. */
  rank?: number;
}

/** A box and its centre. */
export interface PlacedBox extends Box {
  /** From the left. */
  x: number;
  /** From the top. */
  y: number;
}

/** An edge to route. */
export interface Edge {
  /** Where it leaves. */
  from: string | number;
  /** Where it enters. */
  to: string | number;
  /** Where on the side it leaves, from the middle; default there. */
  leaves?: number;
  /** Where on the side it enters, from the middle; by default edges share the side. */
  enters?: number;
}

/** The points an edge runs along, from border to border. */
export interface Route extends Edge {
  /** Control points of a curve. */
  points: [x: number, y: number][];
  /** How far it enters from the middle of the side. */
  shift: number;
}

/** Boxes by their centres. */
export interface Layout {
  /** Of the whole drawing. */
  width: number;
  /** Of the whole drawing. */
  height: number;
  /** In the order they were given. */
  boxes: PlacedBox[];
  /** In the order they were given, without edges to nowhere. */
  routes: Route[];
}

/** Where the data flows. */
export type Direction = "right" | "down";

/** Pixels between neighbours of a layer, and between layers. */
export interface Gaps {
  readonly across: number;
  readonly along: number;
}

const GAPS: Gaps = { across: 18, along: 40 };
const EXACT_NODES = 80; // Up to here the exact placement takes less than half a second.

/** Places the boxes in layers so that every edge runs in `direction`. Throws if the graph has a cycle. */
export async function layOut(
  boxes: readonly Box[],
  edges: readonly Edge[],
  direction: Direction,
  gaps: Gaps = GAPS,
): Promise<Layout> {
  const { coordGreedy, coordSimplex, graphStratify, layeringSimplex, sugiyama } = await import("d3-dag");
  const down = direction === "down";
  const known = new Map(boxes.map((box) => [String(box.id), box]));
  const parents = new Map<string, Set<string>>(boxes.map(({ id }) => [String(id), new Set()]));
  const drawn = edges.filter(({ from, to }) =>
    from !== to && known.has(String(from)) && known.has(String(to))
  );
  // Parallel edges (x · x) are one edge to the layout and several to the eye.
  for (const { from, to } of drawn) parents.get(String(to))!.add(String(from));
  const graph = graphStratify()(
    boxes.map(({ id }) => ({ id: String(id), parentIds: [...parents.get(String(id))!] })),
  );
  const size = ({ data }: { data: { id: string } }): [number, number] => {
    const { width, height } = known.get(data.id)!;
    return down ? [width, height] : [height, width];
  };
  const rank = ({ data }: { data: { id: string } }): number | undefined => known.get(data.id)!.rank;
  const base = sugiyama().layering(layeringSimplex().rank(rank)).nodeSize(size).gap([
    gaps.across,
    gaps.along,
  ]);
  const layout = boxes.length <= EXACT_NODES ? base.coord(coordSimplex()) : base.coord(coordGreedy());
  const { width, height } = layout(graph);

  const placed = new Map<string, PlacedBox>();
  for (const node of graph.nodes()) {
    const [x, y] = down ? [node.x, node.y] : [node.y, node.x];
    placed.set(node.data.id, { ...known.get(node.data.id)!, x, y });
  }
  const bends = new Map<string, [number, number][]>();
  for (const link of graph.links()) {
    const inner = link.points.slice(1, -1).map(([x, y]): [number, number] => down ? [x, y] : [y, x]);
    bends.set(JSON.stringify([link.source.data.id, link.target.data.id]), inner);
  }
  return {
    width: down ? width : height,
    height: down ? height : width,
    boxes: boxes.map(({ id }) => placed.get(String(id))!),
    routes: route(drawn, placed, bends, down, gaps.along),
  };
}

/** Edges enter a box side by side, in the order in which they arrive, so that they do not cross. */
function route(
  edges: readonly Edge[],
  placed: Map<string, PlacedBox>,
  bends: Map<string, [number, number][]>,
  down: boolean,
  along: number,
): Route[] {
  const bendsOf = (from: string | number, to: string | number) =>
    bends.get(JSON.stringify([String(from), String(to)])) ?? [];
  const arrival = edges.map(({ from, to }) => {
    const { x, y } = placed.get(String(from))!;
    const [lastX, lastY] = bendsOf(from, to).at(-1) ?? [x, y];
    return down ? lastX : lastY;
  });
  const entering = new Map<string, number[]>();
  edges.forEach(({ to, enters }, i) =>
    enters !== undefined || entering.set(String(to), [...entering.get(String(to)) ?? [], i])
  );
  for (const indices of entering.values()) indices.sort((a, b) => arrival[a] - arrival[b] || a - b);
  return edges.map((edge, i) => {
    const { from, to } = edge;
    const source = placed.get(String(from))!, target = placed.get(String(to))!;
    const indices = entering.get(String(to)) ?? [];
    const side = Math.max(0, Math.min((down ? target.width : target.height) - 12, 40 * indices.length));
    const shift = edge.enters ?? ((indices.indexOf(i) + 0.5) / indices.length - 0.5) * side,
      out = edge.leaves ?? 0;
    const start: [number, number] = down
      ? [source.x + out, source.y + source.height / 2]
      : [source.x + source.width / 2, source.y + out];
    const end: [number, number] = down
      ? [target.x + shift, target.y - target.height / 2]
      : [target.x - target.width / 2, target.y + shift];
    const step = (point: [number, number], by: number): [number, number] =>
      down ? [point[0], point[1] + by] : [point[0] + by, point[1]];
    const inner = bendsOf(from, to);
    const points = [start, step(start, along * 0.45)];
    // Two points at each bend keep the curve straight where it passes between boxes.
    for (const bend of inner) points.push(step(bend, -14), step(bend, 14));
    points.push(step(end, -along * 0.45), end);
    return { ...edge, points, shift };
  });
}
