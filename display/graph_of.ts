/** The graph of a tensor as a picture: its nodes with values and cotangents, read and computed for the drawing. */
import { withAmbient } from "../ops/ambient.ts";
import { isFloat, type TypedArray } from "../ops/dtype.ts";
import { BY_BACKWARD, Node, wrap } from "../ops/node.ts";
import { readNodes } from "../ops/runs.ts";
import { sizeOf } from "../ops/shape.ts";
import { nodeNames, type Tensor } from "../ops/tensor.ts";
import { reverse } from "../ops/transforms/reverse.ts";
import { Drawing, type Presentation } from "./bundle.ts";
import { drawGraph, type GraphEdge, type GraphNode, type GraphOptions, type GraphPicture } from "./graph.ts";
import { formatNumber } from "./parts.ts";
import { texText } from "./tex.ts";

/** What `graph` draws. */
export interface TensorGraphOptions extends GraphOptions {
  /** Compute and show cotangents; default: where the tensor is a scalar that requires gradients. */
  cotangents?: boolean;
}

/** More nodes than this are counted instead of drawn, so nothing is read for them. */
const MOST_NODES = 300;
/** Tensors up to this size show their elements, larger ones their norm. */
const SHORT = 6;

/**
 * The graph behind a tensor, as the last line of a cell or for `show`: each op with its value, and with the
 * cotangent that came back to it. Interactive in a notebook, a picture in exported pages, a tree in a terminal.
 */
export function graph(root: Tensor, options: TensorGraphOptions = {}): Drawing {
  return new TensorGraph(root, options);
}

class TensorGraph extends Drawing {
  readonly #nodes: Node[];
  /** Operands of each node, taken before reading values lets nodes go of them. */
  readonly #inputs: Map<Node, readonly Node[]>;
  readonly #root: Node;

  constructor(readonly tensor: Tensor, readonly options: TensorGraphOptions) {
    super();
    this.#root = tensor.node;
    // Taken now: a later step lets the tensor drop its graph.
    this.#nodes = reachableFrom(tensor.node);
    this.#inputs = new Map(this.#nodes.map((n) => [n, isGiven(n) ? [] : n.inputs]));
  }

  /** Leaves, and handles' own nodes, whatever they were computed from once. */
  #isLeaf(n: Node): boolean {
    return this.#inputs.get(n)!.length === 0;
  }

  /** Nodes that only pass on what another shows, in the same order of elements. */
  #isHidden(n: Node): boolean {
    const inputs = this.#inputs.get(n)!;
    return inputs.length === 1 && nodeNames.get(n) === undefined && n !== this.#root &&
      (n.op.family === "identity" || n.op.name === "reshape" ||
        (n.op.name === "expand" && inputs[0].op.name === "constant"));
  }

  #shownFor(n: Node): Node {
    while (this.#isHidden(n)) n = this.#inputs.get(n)![0];
    return n;
  }

  override text(): string {
    const known = new Map<Node, string>();
    for (const node of this.#nodes) {
      const bits = isValue(node) && node.value !== null && node.value.error === null
        ? wrap(node).peek()
        : null;
      if (bits !== null && bits.length <= SHORT) known.set(node, elements(bits, node));
    }
    return drawGraph(this.#picture(known, new Map()), this.options).text();
  }

  protected override render(): Promise<Presentation> {
    return this.present();
  }

  override async present(): Promise<Presentation> {
    try {
      return await (await this.#drawing()).present();
    } catch (error) {
      return {
        data: { "text/plain": `${this.text()}\n(${error instanceof Error ? error.message : error})` },
      };
    }
  }

  async #drawing(): Promise<Drawing> {
    const few = this.#nodes.length <= MOST_NODES;
    const values = few
      ? await summaries(
        new Map(this.#nodes.filter((n) => isValue(n) && !this.#isHidden(n)).map((n) => [n, wrap(n)])),
      )
      : new Map();
    const cotangents = few ? await summaries(this.#cotangents()) : new Map();
    return drawGraph(this.#picture(values, cotangents), this.options);
  }

  #cotangents(): Map<Node, Tensor> {
    const found = new Map<Node, Tensor>(), root = this.#root;
    const wanted = this.options.cotangents ?? sizeOf(root.shape) === 1;
    if (!wanted || (root.track & BY_BACKWARD) === 0) return found;
    withAmbient({ noGrad: true }, () => {
      const walk = {
        mask: BY_BACKWARD,
        isTarget: (n: Node) => n.cell !== null,
        visit: (n: Node, ct: Tensor) => void found.set(n, ct),
      };
      reverse([root], [wrap(root).onesLike()], walk);
    });
    return found;
  }

  #picture(values: Map<Node, string>, cotangents: Map<Node, string>): GraphPicture {
    const drawn = this.#nodes.filter((n) => !this.#isHidden(n));
    const id = new Map(drawn.map((n, i) => [n, i]));
    const nodes = drawn.map((n): GraphNode => {
      const node: GraphNode = {
        id: id.get(n)!,
        kind: !this.#isLeaf(n)
          ? (n === this.#root ? "output" : "op")
          : n.op.name === "constant"
          ? "constant"
          : "leaf",
        label: label(n, this.#isLeaf(n)),
        shape: n.shape,
        dtype: n.dtype,
      };
      const name = nameOf(n, this.#root, this.tensor);
      if (name !== null) node.name = name;
      const value = n.op.name === "constant" ? formatNumber(n.p.value) : values.get(n);
      if (value !== undefined) node.value = value;
      const ct = cotangents.get(n);
      if (ct !== undefined) node.cotangent = ct;
      if (!this.#isLeaf(n)) {
        const letters = this.#inputs.get(n)!.map((x, i) =>
          nameOf(this.#shownFor(x), this.#root, this.tensor) ?? LETTERS[i] ?? `x${i}`
        );
        node.formula = texText(n.op.tex(letters, n.p));
        if (n.op.texPartials !== undefined) {
          node.derivative = n.op.texPartials.map((t, i) => `∂/∂${LETTERS[i]} = ${texText(t)}`).join(",  ");
        }
      }
      return node;
    });
    const edges: GraphEdge[] = [];
    for (const n of drawn) {
      for (const x of this.#inputs.get(n)!) edges.push({ from: id.get(this.#shownFor(x))!, to: id.get(n)! });
    }
    return { nodes, edges };
  }
}

const LETTERS = ["x", "y", "z"];

function nameOf(n: Node, root: Node, tensor: Tensor): string | null {
  return (n === root ? tensor.name : null) ?? nodeNames.get(n) ?? n.cell?.name ?? null;
}

function label(n: Node, leaf: boolean): string {
  if (n.op.family === "output") return leaf ? "value" : `output ${n.p.i}`;
  if (n.cell !== null) return n.cell.requiresGrad ? "parameter" : "cell";
  if (!leaf) return n.op.name;
  // A realised value without graph, whatever op once made it.
  return n.op.name === "constant" || n.op.name === "placeholder"
    ? n.op.name
    : n.stale !== null
    ? `${n.op.name} (before ${n.stale})`
    : "data";
}

/** Leaves, and handles' own nodes, whatever they were computed from once. */
function isGiven(n: Node): boolean {
  return n.inputs.length === 0 || n.cell !== null;
}

function isValue(n: Node): boolean {
  return n.op.family !== "tuple" && n.op.name !== "placeholder";
}

/** All nodes below `root`, operands first. */
function reachableFrom(root: Node): Node[] {
  const order: Node[] = [], seen = new Set<Node>([root]), stack: [Node, number][] = [[root, 0]];
  while (stack.length > 0) {
    const top = stack[stack.length - 1], x = isGiven(top[0]) ? undefined : top[0].inputs[top[1]++];
    if (x === undefined) {
      order.push(top[0]);
      stack.pop();
    } else if (!seen.has(x)) {
      seen.add(x);
      stack.push([x, 0]);
    }
  }
  return order;
}

function elements(bits: TypedArray, node: Node): string {
  const all = Array.from(bits, (v) => node.dtype === "bool" ? (v !== 0 ? "true" : "false") : formatNumber(v));
  return node.shape.length === 0 ? all[0] : `[${all.join(", ")}]`;
}

/** Short text for each tensor: its elements, or its norm. */
async function summaries(tensors: Map<Node, Tensor>): Promise<Map<Node, string>> {
  const nodes = [...tensors.keys()];
  const shown = withAmbient({ noGrad: true }, () =>
    nodes.map((n) => {
      const t = tensors.get(n)!;
      return t.size <= SHORT ? t : isFloat(t.dtype) ? t.stopGradient().to("f32").norm() : null;
    }));
  const asked = shown.flatMap((t) => t === null ? [] : [t.node]);
  const bits = await readNodes(asked);
  let at = 0;
  const out = new Map<Node, string>();
  nodes.forEach((n, i) => {
    const t = shown[i];
    if (t === null) return;
    const values = bits[at++];
    out.set(
      n,
      tensors.get(n)!.size <= SHORT
        ? elements(values, tensors.get(n)!.node)
        : `norm ${formatNumber(values[0])}`,
    );
  });
  return out;
}
