/** Drawings of computation graphs: boxes with name, shape, value and gradient, from the inputs to the outputs. */

import { Drawing, type Presentation } from "./bundle.ts";
import { fold } from "./graph_fold.ts";
import { type Folded } from "./graph_items.ts";
import type {
  GraphEdge,
  GraphGroup,
  GraphNode,
  GraphOptions,
  GraphPicture,
  KernelWork,
} from "./graph_picture.ts";
import { graphSpec } from "./graph_spec.ts";
import { outline, tree } from "./graph_text.ts";
import { plainLine } from "./parts.ts";
import { presentFigure } from "./vega.ts";

export type { GraphEdge, GraphGroup, GraphNode, GraphOptions, GraphPicture, KernelWork };

/** More nodes than this are told as an outline in a terminal. */
const TREE = 60;

/** Draws a computation graph; as a tree from its outputs, or an outline of its groups, in a terminal. */
export function drawGraph(picture: GraphPicture, options: GraphOptions = {}): Drawing {
  checkLayout("a graph", options);
  return new GraphDrawing(picture, options);
}

class GraphDrawing extends Drawing {
  constructor(readonly picture: GraphPicture, readonly options: GraphOptions) {
    super();
  }

  override text(): string {
    return graphText(this.picture, this.options);
  }

  protected override async render(): Promise<Presentation> {
    if (this.picture.nodes.length === 0) return { data: {} };
    return await presentGraph(this.picture, [fold(this.picture, this.options.depth)], this.options);
  }
}

/** Refuses a direction and a depth that are none. */
export function checkLayout(what: string, { direction, depth }: GraphOptions): void {
  if (direction !== undefined && direction !== "right" && direction !== "down") {
    throw new TypeError(`Cannot draw ${what} in direction ${direction}: directions are right and down`);
  }
  if (depth !== undefined && !(Math.floor(depth) === depth && depth >= 0)) {
    throw new RangeError(
      `Cannot draw ${what} with depth ${depth}: it is how many levels of groups are opened, from 0`,
    );
  }
}

/** The drawing for a terminal. */
export function graphText(picture: GraphPicture, options: GraphOptions, readable?: number): string {
  const above = [options.title, picture.note].filter((text) => text !== undefined).map(plainLine);
  const { nodes, edges } = picture;
  const lines = nodes.length <= TREE
    ? tree(picture)
    : outline(fold(picture, options.depth, readable), edges.length);
  return [...above, ...lines].join("\n");
}

/** The drawing for a notebook: the first of `folds` that fits the page, or else the narrowest. */
export async function presentGraph(
  picture: GraphPicture,
  folds: readonly Folded[],
  options: GraphOptions,
): Promise<Presentation> {
  let best = await graphSpec(picture, folds[0], options);
  for (let i = 1; i < folds.length && best.overhang > 0; i++) {
    const next = await graphSpec(picture, folds[i], options);
    if (next.overhang < best.overhang) best = next;
  }
  return await presentFigure(best.spec, best.still);
}
