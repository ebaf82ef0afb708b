/** Layered layout of a graph of boxes, by d3-dag's version of Sugiyama's method. */

/** A box to place, in pixels. */
export interface Box {
  /** Names the box in edges. */
  id: string | number;
  /** Its extent across. */
  width: number;
  /** Its extent down. */
  height: number;
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
  /** Carried along. */
  label?: string;
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

const ACROSS = 18; // Between neighbours of a layer.
const ALONG = 40; // Between layers.
const EXACT_NODES = 80; // Up to here the exact placement takes less than half a second.

/** Places the boxes in layers so that every edge runs in `direction`. Throws if the graph has a cycle. */
export async function layOut(
  boxes: readonly Box[],
  edges: readonly Edge[],
  direction: Direction,
): Promise<Layout> {
  const { coordGreedy, coordSimplex, graphStratify, sugiyama } = await import("d3-dag");
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
  const base = sugiyama().nodeSize(size).gap([ACROSS, ALONG]);
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
    routes: route(drawn, placed, bends, down),
  };
}

/** Edges enter a box side by side, in the order in which they arrive, so that they do not cross. */
function route(
  edges: readonly Edge[],
  placed: Map<string, PlacedBox>,
  bends: Map<string, [number, number][]>,
  down: boolean,
): Route[] {
  const bendsOf = (from: string | number, to: string | number) =>
    bends.get(JSON.stringify([String(from), String(to)])) ?? [];
  const arrival = edges.map(({ from, to }) => {
    const { x, y } = placed.get(String(from))!;
    const [lastX, lastY] = bendsOf(from, to).at(-1) ?? [x, y];
    return down ? lastX : lastY;
  });
  const entering = new Map<string, number[]>();
  edges.forEach(({ to }, i) => entering.set(String(to), [...entering.get(String(to)) ?? [], i]));
  for (const indices of entering.values()) indices.sort((a, b) => arrival[a] - arrival[b] || a - b);
  return edges.map((edge, i) => {
    const { from, to } = edge;
    const source = placed.get(String(from))!, target = placed.get(String(to))!;
    const indices = entering.get(String(to))!;
    const side = Math.max(0, Math.min((down ? target.width : target.height) - 12, 40 * indices.length));
    const shift = ((indices.indexOf(i) + 0.5) / indices.length - 0.5) * side;
    const start: [number, number] = down
      ? [source.x, source.y + source.height / 2]
      : [source.x + source.width / 2, source.y];
    const end: [number, number] = down
      ? [target.x + shift, target.y - target.height / 2]
      : [target.x - target.width / 2, target.y + shift];
    const step = (point: [number, number], by: number): [number, number] =>
      down ? [point[0], point[1] + by] : [point[0] + by, point[1]];
    const inner = bendsOf(from, to);
    const points = [start, step(start, ALONG * 0.45)];
    // Two points at each bend keep the curve straight where it passes between boxes.
    for (const bend of inner) points.push(step(bend, -14), step(bend, 14));
    points.push(step(end, -ALONG * 0.45), end);
    return { ...edge, points, shift };
  });
}
