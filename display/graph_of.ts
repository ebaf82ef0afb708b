/** The graph of a tensor as a picture: its nodes with values and cotangents, read and computed for the drawing. */
import { isFloat } from "../ops/dtype.ts";
import { type Node, recordedAs, wrap } from "../ops/node.ts";
import type { TensorGraphOptions } from "../ops/presenter.ts";
import { sizeOf } from "../ops/shape.ts";
import { checkOptions, Tensor } from "../ops/tensor.ts";
import { Drawing, type Presentation } from "./bundle.ts";
import { checkLayout, type GraphNode, type GraphPicture, graphText, presentGraph } from "./graph.ts";
import { fold } from "./graph_fold.ts";
import { boxesOf, type Folded, framesOf } from "./graph_items.ts";
import { instancesOf } from "./graph_flow.ts";
import { formulas, type LocalNumbers } from "./graph_formulas.ts";
import { GraphNodes } from "./graph_nodes.ts";
import {
  CHEAP,
  type Cotangents,
  cotangentsOf,
  elements,
  faultsOf,
  partialsOf,
  SHORT,
  summaries,
  type Summary,
  workOf,
} from "./graph_values.ts";
import { formatNumber, kindOf, messageLine } from "./parts.ts";

/** Formulas with numbers are for graphs that are read node by node. */
const MOST_NUMBERS = 60;

/**
 * The graph behind a tensor, as the last line of a cell or for `show`: each op with its value, and with the
 * cotangent that came back to it. Modules and what repeats are folded where there is much; `depth` opens them. Interactive in
 * a notebook, a picture in exported pages, text in a terminal.
 */
export function graph(root: Tensor, options: TensorGraphOptions = {}): Drawing {
  if (!(root instanceof Tensor)) {
    throw new TypeError(`Cannot draw the graph of ${kindOf(root)}: it takes a tensor, as in graph(loss)`);
  }
  checkOptions("draw a graph", options, ["title", "direction", "depth", "cotangents", "values"]);
  checkLayout("a graph", options);
  return new TensorGraph(root, options);
}

class TensorGraph extends Drawing {
  /** Taken now: a later step lets the tensor drop its graph. */
  readonly #nodes: GraphNodes;

  /** What jit recorded has no values, nor has what a transform that is at work was given. */
  readonly #hasValues: boolean;

  constructor(readonly tensor: Tensor, readonly options: TensorGraphOptions) {
    super();
    const recorded = recordedAs.get(tensor.node);
    let root = recorded ?? tensor.node;
    // What a transform wraps its result in says nothing.
    while (root.op.name === "alias" && root.cell === null && !root.cut && root.inputs.length > 0) {
      [root] = root.inputs;
    }
    this.#nodes = new GraphNodes(root);
    this.#hasValues = recorded === undefined &&
      this.#nodes.all.every((n) => n.op.name !== "placeholder" || n.value !== null || this.#nodes.isEach(n));
  }

  override text(): string {
    const drawn = this.#draw();
    for (const [n, node] of drawn.nodes) {
      const { value, dtype, shape } = this.#nodes.result(n);
      const isKnown = this.#nodes.isValue(this.#nodes.result(n)) && value !== null && value.error === null;
      const bits = isKnown ? wrap(this.#nodes.result(n)).peek() : null;
      if (bits !== null && bits.length <= SHORT) node.value = elements(bits, dtype, shape);
    }
    return graphText(drawn.picture, this.options);
  }

  /** Values as text too, once they are read. */
  override async present(): Promise<Presentation> {
    try {
      const drawn = this.#draw(), folded = fold(drawn.picture, this.options.depth);
      await this.#read(drawn, folded);
      const { data } = await presentGraph(drawn.picture, [folded], this.options);
      return { data: { ...data, "text/plain": graphText(drawn.picture, this.options) } };
    } catch (error) {
      return {
        data: { "text/plain": `${this.text()}\n(${messageLine(error)})` },
      };
    }
  }

  protected override render(): Promise<Presentation> {
    return this.present();
  }

  #draw(): Drawn {
    const { nodes, edges, groups } = this.#nodes.picture();
    const root = nodes.get(this.#nodes.shownFor(this.#nodes.root));
    if (root !== undefined && this.tensor.name !== null) root.name = this.tensor.name;
    for (const [n, node] of nodes) if (n.op.name === "constant") node.value = formatNumber(n.p.value);
    const taken = new Set(Array.from(nodes.values(), ({ name }) => name ?? ""));
    const picture: Drawn["picture"] = { nodes: [...nodes.values()], edges: [...edges.keys()], groups };
    return { picture, nodes, edges, taken };
  }

  /** Reads what the boxes of a folded drawing show. */
  async #read(drawn: Drawn, folded: Folded): Promise<void> {
    const notes: string[] = [], seen = new Set<GraphNode>();
    for (const item of boxesOf(folded.root)) {
      if (item.kind === "node") { for (const { node } of [item, ...item.operands]) seen.add(node); }
    }
    let numbers = new Map<Node, LocalNumbers>();
    if (this.#hasValues) {
      const work = workOf(this.#nodes);
      if (this.options.values ?? work <= CHEAP) {
        try {
          numbers = await this.#values(drawn, folded, seen, notes);
        } catch (error) {
          notes.push(`Without values: ${messageLine(error)}`);
        }
      } else {notes.push(
          `Without values, which take ${formatNumber(work, 2)} operations: ask with { values: true }`,
        );}
    }
    if (notes.length > 0) drawn.picture.note = notes.join(". ");
    const all = new Map<Node, ReadonlyMap<Node, string>>();
    const nameOf = (n: Node): string | null => drawn.nodes.get(n)?.name ?? null;
    for (const [n, node] of drawn.nodes) {
      if (this.#nodes.isLeaf(n) || !seen.has(node)) continue;
      const operands = this.#nodes.operands(n), inputs = operands.map((x) => this.#nodes.shownFor(x));
      const isTurned = (k: number): boolean => this.#nodes.isTurned(operands[k]);
      const { facts, chains } = formulas(n, inputs, nameOf, drawn.taken, isTurned, numbers.get(n));
      Object.assign(node, facts);
      if (chains.size > 0) all.set(n, chains);
    }
    for (const [edge, [n, k]] of drawn.edges) {
      const x = this.#nodes.shownFor(this.#nodes.operands(n)[k]), chain = all.get(n)?.get(x);
      if (chain !== undefined) edge.numbers = chain;
    }
  }

  /** `seen` are nodes with boxes of their own, or lines in such. */
  async #values(
    drawn: Drawn,
    folded: Folded,
    seen: ReadonlySet<GraphNode>,
    notes: string[],
  ): Promise<Map<Node, LocalNumbers>> {
    const nodes = this.#nodes, { root } = nodes;
    let cts: Cotangents = { of: new Map(), parts: new Map(), order: [] };
    try {
      if (this.options.cotangents ?? sizeOf(root.shape) === 1) cts = cotangentsOf(root);
    } catch (error) {
      notes.push(`Without gradients: ${messageLine(error)}`);
    }
    type Key = GraphNode | `ct ${number}` | Edge | `d ${string}`;
    type Edge = Drawn["picture"]["edges"][number];
    const asked = new Map<Key, Tensor>(), shapes = new Map<Key, readonly number[]>();
    const numbered: [Node, (Tensor | number | undefined)[]][] = [];
    const isScalar = drawn.nodes.size <= MOST_NUMBERS &&
      nodes.drawn.every((n) => sizeOf(nodes.result(n).shape) === 1);
    const cotangent = new Map<GraphNode, `ct ${number}`>();
    for (const [n, node] of drawn.nodes) {
      if (!seen.has(node)) continue;
      const result = nodes.result(n), ct = cts.of.get(n) ?? cts.of.get(result);
      if (nodes.isValue(result) && node.kind !== "constant") {
        asked.set(node, wrap(result));
        shapes.set(node, result.shape);
      }
      if (ct !== undefined) {
        const key = `ct ${cotangent.size}` as const;
        cotangent.set(node, key);
        asked.set(key, ct);
        shapes.set(key, result.shape);
        if (isScalar) numbered.push([n, partialsOf(n, nodes.inputs(n))]);
      }
    }
    // What comes back to each instance of what repeats.
    for (const item of [...boxesOf(folded.root), ...framesOf(folded.root)]) {
      for (const { nodes: own } of item.kind === "group" ? instancesOf(item) : []) {
        const tail = own.find(({ node }) => cts.of.has(nodes.drawn[Number(node.id)]))?.node;
        if (tail !== undefined && !cotangent.has(tail)) {
          const key = `ct ${cotangent.size}` as const;
          cotangent.set(tail, key);
          asked.set(key, cts.of.get(nodes.drawn[Number(tail.id)])!);
        }
      }
    }
    // What a body reads several times gets its cotangent once.
    const given = new Map<Node, Set<number>>();
    for (const { edges } of folded.edges) {
      for (const edge of edges) {
        const [n, k] = drawn.edges.get(edge)!, part = cts.parts.get(n)?.[k], own = given.get(n) ?? new Set();
        if (part === undefined || own.has(k)) continue;
        given.set(n, own.add(k));
        asked.set(edge, part);
        shapes.set(edge, part.shape);
      }
    }
    numbered.forEach(([, partials], i) =>
      partials.forEach((d, k) => d instanceof Tensor && asked.set(`d ${i},${k}`, d))
    );
    const found = await summaries(asked, (key) => shapes.get(key) ?? []);
    for (const [key, { text, norm }] of found) {
      if (typeof key === "string") continue;
      if ("from" in key) {
        key.magnitude = norm;
        if (!text.startsWith("norm")) key.cotangent = text;
      } else key.value = text;
    }
    for (const [node, key] of cotangent) {
      const ct = found.get(key);
      if (ct === undefined) continue;
      node.cotangent = ct.text;
      node.magnitude = ct.norm;
    }
    // A box that stands for several nodes, as a weight for its views, is done with the last of them.
    const last = [...new Set(cts.order.map((n) => nodes.shownFor(n)).reverse())].reverse();
    const order = new Map(last.map((n, i) => [n, i + 1]));
    for (const [n, node] of drawn.nodes) {
      const step = order.get(n);
      if (step !== undefined) node.step = step;
    }
    if ([...found.values()].some(({ norm }) => !Number.isFinite(norm))) await this.#faults(drawn, cts, notes);
    return numbersOf(
      nodes,
      numbered,
      found as Map<string, Summary>,
      cotangent as Map<unknown, string>,
      drawn,
    );
  }

  /** Marks what is not finite, and says where that began. */
  async #faults(drawn: Drawn, cts: Cotangents, notes: string[]): Promise<void> {
    const { first, values, cotangents } = await faultsOf(this.#nodes, cts);
    for (const [list, what] of [[values, ""], [cotangents, " in grad"]] as const) {
      for (const [n, fault] of list) {
        const node = drawn.nodes.get(this.#nodes.shownFor(n));
        if (node !== undefined) node.fault ??= `${fault}${what}`;
      }
    }
    if (first === null) return;
    const shown = this.#nodes.shownFor(first.node),
      node = drawn.nodes.get(shown),
      place = this.#nodes.placeOf(first.node);
    const what = first.what === "NaN" ? "NaN" : "infinity";
    if (node === undefined) return;
    node.fault = first.backward ? `first ${what}: its derivative` : `first ${what}`;
    const name = node.name === undefined ? node.label : `${node.name} (${node.label})`;
    notes.push(
      `${first.backward ? `The derivative of ${name}` : name}${
        place === "" ? "" : ` in ${place}`
      } made the first ${what}`,
    );
  }
}

interface Drawn {
  readonly picture: GraphPicture & { note?: string };
  readonly nodes: Map<Node, GraphNode>;
  readonly edges: ReturnType<GraphNodes["picture"]>["edges"];
  readonly taken: ReadonlySet<string>;
}

/** The numbers that go into the formulas of a scalar graph. */
function numbersOf(
  nodes: GraphNodes,
  numbered: readonly [Node, (Tensor | number | undefined)[]][],
  found: ReadonlyMap<string, Summary>,
  cotangent: ReadonlyMap<unknown, string>,
  drawn: Drawn,
): Map<Node, LocalNumbers> {
  const readers = new Map<Node, Set<Node>>();
  for (const n of nodes.drawn) {
    for (const x of nodes.inputs(n)) {
      const shown = nodes.shownFor(x);
      readers.set(shown, (readers.get(shown) ?? new Set()).add(n));
    }
  }
  const numbers = new Map<Node, LocalNumbers>();
  numbered.forEach(([n, partials], i) => {
    const ct = found.get(cotangent.get(drawn.nodes.get(n)) ?? "")?.scalar;
    if (ct === undefined || !isFloat(n.dtype)) return;
    numbers.set(n, {
      cotangent: ct,
      partials: partials.map((d, k) => d instanceof Tensor ? found.get(`d ${i},${k}`)?.scalar : d),
      isShared: (x) => (readers.get(x)?.size ?? 0) > 1,
    });
  });
  return numbers;
}
