/** The steps of a run as a picture: kernels as groups around them, in the calls of modules that they belong to. */
import { bytesOf } from "../ops/cost.ts";
import type { RunGraph, Step } from "../ops/lower.ts";
import { backwardOf, type Node, type Scope } from "../ops/node.ts";
import { type KernelReport, type RunPlan, viewed } from "../ops/report.ts";
import { nodeNames } from "../ops/tensor.ts";
import { texText } from "../ops/tex.ts";
import { UNSTORED } from "./graph_cards.ts";
import { contents } from "./graph_items.ts";
import {
  type GraphEdge,
  type GraphGroup,
  type GraphNode,
  type GraphPicture,
  numberLeaves,
} from "./graph_picture.ts";
import { workText } from "./graph_work.ts";
import { formatBytes, formatNumber, plainLine, shorten } from "./parts.ts";

/** Kernels from which on each reader of a parameter or a number has its own, which its box can tell, and few boxes are open. */
export const MANY = 24;

/** What a step does; a view that is not one is copied. */
export function opName({ op }: Step): string {
  return op === null ? "" : op.family === "movement" ? `copy of ${op.name}` : op.name;
}

/** Whether a step computes something. */
export function isOp({ op }: Step): boolean {
  return op !== null && op.family !== "movement";
}

/** What a program is drawn as. */
export class ProgramPicture {
  readonly #steps: readonly Step[];
  readonly #computed: Set<number>;
  readonly #roots: Set<number>;
  readonly #stored: Set<number>;
  /** What the program calls a result, by the step that it is a view of. */
  readonly #names = new Map<number, string>();
  /** The node of an input, and the first step that is it: transforms give one value to several nodes. */
  readonly #inputs = new Map<number, { node: Node; first: number }>();

  /** How many ops are computed again because that is cheaper than to keep them. */
  readonly again: number;

  constructor(
    readonly graph: RunGraph,
    plan: RunPlan,
    readonly kernels: readonly KernelReport[],
    behind: ReadonlyMap<Node, Node>,
  ) {
    this.#steps = plan.lowered.steps;
    this.#computed = new Set(kernels.flatMap(({ steps }) => steps));
    this.#roots = new Set(plan.lowered.roots.map((root) => this.#base(root)));
    this.#stored = new Set(kernels.flatMap(({ stores }) => stores));
    this.again = this.#steps.filter((_, i) => this.#isAgain(i)).length;
    const first = new Map<Node, number>();
    this.#steps.forEach(({ leaf, source }, i) => {
      if (leaf !== "input" || source < 0) return;
      let node = graph.nodes[source];
      while (behind.has(node)) node = behind.get(node)!;
      if (!first.has(node)) first.set(node, i);
      this.#inputs.set(i, { node, first: first.get(node)! });
    });
    for (const root of plan.lowered.roots) {
      const { source } = this.#steps[root],
        name = source < 0 ? undefined : nodeNames.get(graph.nodes[source]);
      if (name !== undefined) this.#names.set(this.#base(root), name);
    }
  }

  /** A kernel in one line, and where it stands. */
  line(k: number): string {
    const kernel = this.kernels[k], place = this.#placeOf(kernel);
    const where = place === null ? "" : `  (${shorten(plainLine(place.path || place.kind), 40)})`;
    return `kernel ${k + 1}: ${this.#label(kernel)}  ${
      workText({ kernels: 1, again: 0, ...kernel }).join(", ")
    }${where}`;
  }

  picture(): GraphPicture {
    const nodes: GraphNode[] = [], edges: GraphEdge[] = [], groups: GraphGroup[] = [];
    const leaves = new Map<string | number, GraphNode>(), calls = new Map<Scope, GraphGroup>();
    let between: GraphGroup | undefined;
    const call = (scope: Scope | null): GraphGroup | undefined => {
      let group = scope === null ? undefined : calls.get(scope);
      if (scope === null || group !== undefined) return group;
      group = { id: `call ${calls.size}`, label: scope.kind };
      calls.set(scope, group);
      groups.push(group);
      if (scope.path !== "") group.name = scope.path;
      const outer = call(scope.outer);
      if (outer !== undefined) group.within = outer.id;
      return group;
    };
    const isLarge = this.kernels.length >= MANY;
    const places = this.kernels.map((kernel) => this.#placeOf(kernel));
    const order = isLarge ? this.#together(places) : this.kernels.map((_, k) => k);
    order.forEach((k, at) => {
      const kernel = this.kernels[k], { dispatches, flops, read, written } = kernel;
      let outer = call(places[k]);
      if (outer === undefined && isLarge) {
        // What runs between calls of modules, as a loss does, is one box.
        if (at === 0 || places[order[at - 1]] !== null) {
          let end = at;
          while (places[order[end]] === null) end++;
          const own = order.slice(at, end).flatMap((i) => this.kernels[i].steps);
          between = { id: `from ${k}`, label: contents(own.map((i) => opName(this.#steps[i]))) };
          groups.push(between);
        }
        outer = between;
      }
      const group: GraphGroup = { id: k, label: this.#label(kernel), name: `kernel ${k + 1}` };
      if (dispatches !== 1) group.facts = { dispatches: formatNumber(dispatches) };
      if (outer !== undefined) group.within = outer.id;
      groups.push(group);
      kernel.steps.forEach((i, place) => {
        const node: GraphNode = { ...this.#node(i), within: k }, again = this.#isAgain(i) ? 1 : 0;
        node.work = place === 0
          ? { kernels: 1, flops, read, written, again }
          : { kernels: 0, flops: 0, read: 0, written: 0, again };
        // A kernel of one op is drawn as that op.
        if (kernel.steps.length === 1) node.memory = `kernel ${k + 1}, ${node.memory}`;
        nodes.push(node);
        for (const x of this.#steps[i].inputs) {
          let from: string | number = this.#base(x);
          const view = this.#viewText(x);
          if (this.#steps[from].leaf !== null) {
            const leaf = this.#node(from);
            if (isLarge && (leaf.kind === "constant" || leaf.label === "parameter")) {
              Object.assign(leaf, { id: from = `${from} of ${i}`, within: k });
            }
            leaves.set(leaf.id, leaf);
          }
          edges.push({ from, to: i, ...view === "" ? {} : { label: view } });
        }
      });
    });
    const same = new Map<number, GraphNode[]>();
    for (const leaf of leaves.values()) {
      const step = parseInt(String(leaf.id));
      same.set(step, [...same.get(step) ?? [], leaf]);
    }
    numberLeaves(same.values());
    return { nodes: [...leaves.values(), ...nodes], edges, groups };
  }

  /**
   * Kernels so that those of a call of a module stand together, each as late as its readers allow: an engine may run them in
   * an order that takes less memory.
   */
  #together(places: readonly (Scope | null)[]): number[] {
    const kernelOf = new Map<number, number>();
    this.kernels.forEach(({ steps }, k) => steps.forEach((i) => kernelOf.set(i, k)));
    const waits = this.kernels.map(() => 0);
    const operands = this.kernels.map(({ steps }, k) => {
      const found = steps.flatMap((i) => this.#steps[i].inputs.map((x) => kernelOf.get(this.#base(x))));
      return [...new Set(found)].filter((from) => from !== undefined && from !== k) as number[];
    });
    for (const from of operands.flat()) waits[from]++;
    const paths = places.map((scope) => {
      const path: Scope[] = [];
      for (let s = scope; s !== null; s = s.outer) path.unshift(s);
      return path;
    });
    const order: number[] = [], ready = waits.flatMap((n, k) => n === 0 ? [k] : []);
    let last: readonly Scope[] = [];
    // Most of the path in common with what comes behind it, then derivatives, then what the engine runs last.
    const rank = (k: number): readonly number[] => {
      const path = paths[k];
      let common = 0;
      while (common < path.length && path[common] === last[common]) common++;
      return [common, path[0]?.backward === path[0] ? 1 : 0, k];
    };
    while (ready.length > 0) {
      let best = 0, most = rank(ready[0]);
      for (let i = 1; i < ready.length; i++) {
        const own = rank(ready[i]), j = own.findIndex((n, at) => n !== most[at]);
        if (own[j] > most[j]) [best, most] = [i, own];
      }
      const [k] = ready.splice(best, 1);
      order.push(k);
      last = paths[k];
      for (const from of operands[k]) if (--waits[from] === 0) ready.push(from);
    }
    return order.reverse();
  }

  #node(i: number): GraphNode {
    const { op, leaf, source, shape, dtype, segment, p } = this.#steps[i];
    const origin = this.#inputs.get(i)?.node ?? (source < 0 ? undefined : this.graph.nodes[source]);
    const attributes = origin?.p ?? p;
    const own = origin === undefined ? undefined : nodeNames.get(origin) ?? origin.cell?.name ?? undefined;
    const name = own ?? this.#names.get(i);
    const node: GraphNode = { id: i, kind: "op", label: opName(this.#steps[i]), shape, dtype };
    if (name !== undefined) node.name = name;
    if (op === null) {
      node.kind = leaf === "input" ? "leaf" : "constant";
      node.label = leaf === "constant"
        ? "constant"
        : leaf === "randomKey"
        ? "random key"
        : origin?.cell
        ? "parameter"
        : "data";
      if (leaf === "constant") node.value = formatNumber(Number(attributes.value));
      return node;
    }
    node.formula = texText(op.tex(["x", "y", "z", "w"].slice(0, this.#steps[i].inputs.length), attributes));
    const bytes = formatBytes(bytesOf({ shape, dtype }));
    node.memory = this.#roots.has(i)
      ? `result, ${bytes}`
      : this.#stored.has(i)
      ? `stored, ${bytes}`
      : UNSTORED;
    if (this.#roots.has(i)) node.kind = "output";
    if (segment > 0) node.memory = `computed again, ${node.memory}`;
    return node;
  }

  #base(i: number): number {
    const memory = this.#memory(i);
    return this.#inputs.get(memory)?.first ?? memory;
  }

  #memory(i: number): number {
    return viewed(this.#steps, i, (step) => this.#computed.has(step));
  }

  /** How a view rearranges what it looks at; nothing where only the shape is another. */
  #viewText(i: number): string {
    const names: string[] = [];
    for (let at = i, end = this.#memory(i); at !== end; at = this.#steps[at].inputs[0]) {
      const { name } = this.#steps[at].op!;
      if (name !== "reshape" && name !== "expand") names.unshift(name);
    }
    return names.join(", ");
  }

  #label({ steps }: KernelReport): string {
    return contents(steps.map((i) => opName(this.#steps[i])));
  }

  #isAgain(i: number): boolean {
    return this.#steps[i].segment > 0 && isOp(this.#steps[i]);
  }

  /** The call of a module that made the first step that one made. */
  #placeOf({ steps }: KernelReport): Scope | null {
    for (const i of steps) {
      const { source, scope, segment } = this.#steps[i];
      const own = source < 0 ? scope : this.graph.nodes[source].scope;
      if (own !== null) return segment > 0 ? backwardOf(own) : own;
    }
    return null;
  }
}
