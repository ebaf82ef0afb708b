/** The graph of a tensor as a picture: its nodes with values and cotangents, read and computed for the drawing. */
import { withAmbient } from "../ops/ambient.ts";
import { isFloat, type TypedArray } from "../ops/dtype.ts";
import { BY_BACKWARD, Node, recordedAs, wrap } from "../ops/node.ts";
import { readNodes } from "../ops/runs.ts";
import { type Shape, sizeOf } from "../ops/shape.ts";
import { nodeNames, Tensor } from "../ops/tensor.ts";
import { texName, texNumber, texText } from "../ops/tex.ts";
import { reverse } from "../ops/transforms/reverse.ts";
import { Drawing, type Presentation } from "./bundle.ts";
import { drawGraph, type GraphEdge, type GraphNode, type GraphOptions, type GraphPicture } from "./graph.ts";
import { formatNumber, kindOf } from "./parts.ts";

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
  if (!(root instanceof Tensor)) {
    throw new TypeError(`Cannot draw the graph of ${kindOf(root)}: it takes a tensor, as in graph(loss)`);
  }
  return new TensorGraph(root, options);
}

class TensorGraph extends Drawing {
  readonly #nodes: Node[];
  /** Operands of each node, taken before reading values lets nodes go of them. */
  readonly #inputs: Map<Node, readonly Node[]>;
  readonly #root: Node;
  /** Products and reductions, by the reshapes that they end in: to who wrote it they are one op. */
  readonly #productOf = new Map<Node, Node>();
  /** The last of these reshapes, by op. */
  readonly #resultOf = new Map<Node, Node>();

  constructor(readonly tensor: Tensor, readonly options: TensorGraphOptions) {
    super();
    this.#root = recordedAs.get(tensor.node) ?? tensor.node;
    // Taken now: a later step lets the tensor drop its graph.
    this.#nodes = reachableFrom(this.#root);
    this.#inputs = new Map(this.#nodes.map((n) => [n, isGiven(n) ? [] : n.inputs]));
    this.#findProducts();
  }

  #findProducts(): void {
    const readers = new Map<Node, Node[]>(this.#nodes.map((n) => [n, []]));
    for (const [n, inputs] of this.#inputs) for (const x of inputs) readers.get(x)!.push(n);
    for (const n of this.#nodes) {
      if ((n.op.family !== "contraction" && n.op.family !== "reduction") || this.#isLeaf(n)) continue;
      let last = n;
      while (last !== this.#root && nodeNames.get(last) === undefined) {
        const next = readers.get(last)!;
        if (next.length !== 1 || next[0].op.name !== "reshape" || !restores(n, last.shape, next[0].shape)) {
          break;
        }
        last = next[0];
        this.#productOf.set(last, n);
        this.#resultOf.set(n, last);
      }
    }
  }

  /** The node that holds what an op gives, and says its shape. */
  #result(n: Node): Node {
    return this.#resultOf.get(n) ?? n;
  }

  /** Leaves, and handles' own nodes, whatever they were computed from once. */
  #isLeaf(n: Node): boolean {
    return this.#inputs.get(n)!.length === 0;
  }

  /** Nodes that only pass on what another shows, in the same order of elements. */
  #isHidden(n: Node): boolean {
    const inputs = this.#inputs.get(n)!;
    if (this.#productOf.has(n)) return true;
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
    for (const n of this.#nodes) {
      const node = this.#result(n), { value, dtype, shape } = node;
      const bits = isValue(node) && value !== null && value.error === null ? wrap(node).peek() : null;
      if (bits !== null && bits.length <= SHORT) known.set(n, elements(bits, dtype, shape));
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
    // What jit recorded has no values.
    const few = this.#nodes.length <= MOST_NODES && this.#root === this.tensor.node;
    const values = few
      ? await summaries(
        new Map(
          this.#nodes.filter((n) => isValue(n) && !this.#isHidden(n)).map((n) => [n, wrap(this.#result(n))]),
        ),
        (n) => this.#result(n).shape,
      )
      : new Map();
    const cotangents = few ? await summaries(this.#cotangents(), (n) => this.#result(n).shape) : new Map();
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

  #nameOf(n: Node): string | null {
    const result = this.#result(n);
    return (result === this.#root ? this.tensor.name : null) ?? nodeNames.get(result) ?? n.cell?.name ?? null;
  }

  #picture(values: Map<Node, string>, cotangents: Map<Node, string>): GraphPicture {
    const drawn = this.#nodes.filter((n) => !this.#isHidden(n));
    const id = new Map(drawn.map((n, i) => [n, i]));
    const taken = new Set(drawn.map((n) => this.#nameOf(n) ?? ""));
    const nodes = drawn.map((n): GraphNode => {
      const node: GraphNode = {
        id: id.get(n)!,
        kind: !this.#isLeaf(n)
          ? (this.#result(n) === this.#root ? "output" : "op")
          : n.op.name === "constant"
          ? "constant"
          : "leaf",
        label: label(n, this.#isLeaf(n)),
        shape: this.#result(n).shape,
        dtype: n.dtype,
      };
      const name = this.#nameOf(n);
      if (name !== null) node.name = name;
      const value = n.op.name === "constant" ? formatNumber(n.p.value) : values.get(n);
      if (value !== undefined) node.value = value;
      const ct = cotangents.get(n);
      if (ct !== undefined) node.cotangent = ct;
      if (!this.#isLeaf(n)) {
        Object.assign(
          node,
          formulas(n, this.#inputs.get(n)!.map((x) => this.#shownFor(x)), (x) => this.#nameOf(x), taken),
        );
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

const LETTERS = ["x", "y", "z", "u", "v", "w", "a", "b", "c"];

/** The formula of an op and what its derivative rule says, in the names of its operands, or letters that are free. */
function formulas(
  n: Node,
  inputs: readonly Node[],
  nameOf: (x: Node) => string | null,
  taken: ReadonlySet<string>,
): Pick<GraphNode, "formula" | "derivative" | "pullback"> {
  const letters = LETTERS.filter((letter) => !taken.has(letter));
  const names = new Map<Node, string>();
  inputs.forEach((x, i) => {
    if (x.op.name === "constant" || names.has(x)) return;
    names.set(x, nameOf(x) ?? letters.shift() ?? `x${i + 1}`);
  });
  const result = nameOf(n) ?? (taken.has("out") ? "result" : "out");
  const operands = inputs.map((x) =>
    x.op.name === "constant" ? texNumber(x.p.value) : texName(names.get(x)!)
  );
  const lines = (rules: string[] | undefined, left: (name: string) => string): string =>
    Array.from(names, ([x, name]) => {
      // What comes back to an operand that is given twice adds up.
      const terms = (rules ?? []).filter((term, i) => inputs[i] === x && term !== "0");
      const sum = terms.length === 0 ? "0" : terms.join(" + ");
      return rules === undefined ? "" : `${texText(left(texName(name)))} = ${texText(sum)}`;
    }).filter((line) => line !== "").join(";  ");
  const found: Pick<GraphNode, "formula" | "derivative" | "pullback"> = {
    formula: texText(n.op.tex(operands, n.p)),
  };
  const y = texName(result);
  const derivative = lines(n.op.texPartials?.(operands, y, n.p), (x) => `∂${y}/∂${x}`);
  if (derivative !== "") found.derivative = derivative;
  const pullback = lines(n.op.texPullbacks?.(operands, y, n.p), (x) => `\\bar{${x}}`);
  if (pullback !== "") found.pullback = pullback;
  return found;
}

/** Whether a reshape takes away axes of length 1 or splits rows, as matmul does at its end, or keeps reduced axes. */
function restores(n: Node, from: Shape, to: Shape): boolean {
  if (n.op.family === "reduction") {
    const kept = n.inputs[0]?.shape.map((length, i) => n.p.axes.includes(i) ? 1 : length);
    return kept?.join() === to.join();
  }
  const long = (shape: Shape): string => shape.filter((n) => n !== 1).join();
  return to.length < from.length
    ? long(from) === long(to)
    : from.length === 2 && to.length > 2 && to[to.length - 1] === from[1];
}

/** Random numbers, by the op that makes them of bits: their keys and bits are not drawn. */
const RANDOM: Record<string, string> = {
  normalFromBits: "randn",
  uniformFromBits: "rand",
  randomBits: "random bits",
};

function label(n: Node, leaf: boolean): string {
  if (n.op.family === "output") return leaf ? "value" : `output ${n.p.i}`;
  if (n.cell !== null) return n.cell.requiresGrad ? "parameter" : "cell";
  if (!leaf) return n.op.name;
  // A realised value without graph, whatever op once made it.
  return n.op.name === "constant" || n.op.name === "placeholder"
    ? n.op.name
    : n.op.name in RANDOM
    ? RANDOM[n.op.name]
    : n.stale !== null
    ? `${n.op.name} (before ${n.stale})`
    : "data";
}

/** Leaves, and handles' own nodes, whatever they were computed from once. */
function isGiven(n: Node): boolean {
  return n.inputs.length === 0 || n.cell !== null || n.op.name in RANDOM;
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

/** Nested brackets, as in `[[1, 2], [3, 4]]`. */
function elements(bits: TypedArray, dtype: string, shape: Shape): string {
  const nested = (axis: number, at: number): string => {
    if (axis === shape.length) {
      return dtype === "bool" ? (bits[at] !== 0 ? "true" : "false") : formatNumber(bits[at]);
    }
    const step = sizeOf(shape.slice(axis + 1));
    return `[${Array.from({ length: shape[axis] }, (_, i) => nested(axis + 1, at + i * step)).join(", ")}]`;
  };
  return nested(0, 0);
}

/** Short text for each tensor: its elements, or its norm. */
async function summaries(
  tensors: Map<Node, Tensor>,
  shapeOf: (n: Node) => Shape,
): Promise<Map<Node, string>> {
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
        ? elements(values, tensors.get(n)!.dtype, shapeOf(n))
        : `norm ${formatNumber(values[0])}`,
    );
  });
  return out;
}
