/** What an engine makes of a graph as a picture: kernels as groups around the steps that they compute. */
import { withAmbient } from "../ops/ambient.ts";
import { bytesOf } from "../ops/cost.ts";
import { collect, type RunGraph, type Step } from "../ops/lower.ts";
import { BY_BACKWARD, makeNode, type Node, wrap } from "../ops/node.ts";
import { type KernelReport, kernelsOf, type RunPlan, viewed } from "../ops/report.ts";
import { engineOf, flush } from "../ops/runs.ts";
import { sizeOf } from "../ops/shape.ts";
import { checkOptions, nodeNames, Tensor } from "../ops/tensor.ts";
import { texText } from "../ops/tex.ts";
import { reverse } from "../ops/transforms/reverse.ts";
import { Drawing, type Presentation } from "./bundle.ts";
import { fold } from "./graph_fold.ts";
import { checkLayout, presentGraph } from "./graph.ts";
import { findRepeats } from "./graph_repeats.ts";
import { UNSTORED } from "./graph_cards.ts";
import { contents } from "./graph_items.ts";
import { below } from "./graph_nodes.ts";
import type { GraphEdge, GraphGroup, GraphNode, GraphOptions, GraphPicture } from "./graph_picture.ts";
import { formatBytes, formatCount, formatNumber, kindOf, plainLine, shorten } from "./parts.ts";

/** What `program` draws. */
export interface ProgramOptions extends GraphOptions {
  /** With the gradients of all parameters; default: where the tensor is a scalar that requires gradients. */
  gradients?: boolean;
}

/** A kernel of a {@linkcode ProgramDrawing}. */
export interface ProgramKernel {
  /** The ops that it computes. */
  readonly ops: readonly string[];
  /** Floating-point operations. */
  readonly flops: number;
  /** Bytes that it reads, each value once. */
  readonly read: number;
  /** Bytes that it writes. */
  readonly written: number;
  /** How many times it is started in a run. */
  readonly dispatches: number;
  /** Its program: WGSL on a GPU, the generated function on the host. */
  readonly source: string;
}

/**
 * What the engine makes of a tensor's graph, and of its gradients: the kernels, each around the ops that are computed in it, with
 * operations and bytes; which values are stored between kernels and which are computed again. Computes nothing.
 *
 * ```ts
 * import { program, tensor } from "@cotangent/cotangent";
 * const x = tensor([1, 2, 3], { requiresGrad: true, device: "host" });
 * const plan = program(x.mul(2).exp().sum());
 * console.log(plan.kernels.length, plan.kernels[0].ops);
 * console.log(plan.kernels[0].source);
 * ```
 */
export function program(root: Tensor, options: ProgramOptions = {}): ProgramDrawing {
  if (!(root instanceof Tensor)) {
    throw new TypeError(`Cannot draw the program of ${kindOf(root)}: it takes a tensor, as in program(loss)`);
  }
  checkOptions("draw a program", options, ["title", "direction", "depth", "gradients"]);
  checkLayout("a program", options);
  return new ProgramDrawing(root, options);
}

/** What {@linkcode program} gives: a drawing, and the kernels as data. */
export class ProgramDrawing extends Drawing {
  readonly #picture: GraphPicture;
  readonly #options: ProgramOptions;
  /** In the order in which they run. */
  readonly kernels: readonly ProgramKernel[];
  /** Bytes of memory for what lives only inside the run. */
  readonly arena: number;
  readonly #lines: readonly string[];

  /** Made by `program`. */
  constructor(root: Tensor, options: ProgramOptions) {
    super();
    const { device } = root, engine = engineOf(device);
    if (engine.describe === undefined) {
      throw new Error(`Cannot draw a program: the engine of ${device} makes none`);
    }
    const graph = runOf(root, options), plan = engine.describe(graph), kernels = kernelsOf(plan, graph);
    const { steps } = plan.lowered;
    this.#options = options;
    this.arena = plan.arena;
    this.kernels = kernels.map(({ flops, read, written, dispatches, source, steps: own }) => {
      return { ops: own.map((i) => opName(steps[i])), flops, read, written, dispatches, source };
    });
    const drawn = new ProgramPicture(graph, plan, kernels);
    this.#picture = { ...drawn.picture(), note: this.#summary(device, steps, drawn.recomputed) };
    this.#lines = listed(kernels.map((kernel) => drawn.line(kernel)));
  }

  #summary(device: string, steps: readonly Step[], recomputed: number): string {
    if (this.kernels.length === 0) {
      return `${device}: nothing to compute, the tensor has a value and no graph`;
    }
    const sum = (f: (kernel: ProgramKernel) => number): number =>
      this.kernels.reduce((n, kernel) => n + f(kernel), 0);
    const ops = steps.filter(({ op }) => op !== null && op.family !== "movement").length;
    const parts = [
      `${device}: ${formatNumber(this.kernels.length)} kernels for ${formatNumber(ops)} ops`,
      `${formatCount(sum((k) => k.flops))} operations`,
      `${formatBytes(sum((k) => k.read))} read`,
      `${formatBytes(sum((k) => k.written))} written`,
      `arena of ${formatBytes(this.arena)}`,
    ];
    if (recomputed > 0) parts.push(`${formatNumber(recomputed)} ops computed again`);
    return parts.join(", ");
  }

  /** A line for each kernel; what repeats is said once. */
  override text(): string {
    const most = 60, lines = this.#lines.slice(0, most);
    if (this.#lines.length > most) lines.push(`… and ${this.#lines.length - most} more kernels`);
    const title = this.#options.title === undefined ? [] : [plainLine(this.#options.title)];
    return [...title, this.#picture.note!, ...lines].join("\n");
  }

  /** Kernels as frames around their ops. */
  protected override async render(): Promise<Presentation> {
    if (this.kernels.length === 0) return { data: {} };
    return await presentGraph(this.#picture, fold(this.#picture, this.#options.depth), this.#options);
  }
}

/** Numbered lines, of which what repeats is said once. */
function listed(kernels: readonly { text: string; place: string }[]): string[] {
  const numbers = new Map<string, number>(), lines: string[] = [];
  const sequence = kernels.map(({ text }) => {
    const known = numbers.get(text) ?? numbers.size;
    numbers.set(text, known);
    return known;
  });
  for (const { at, period, times } of findRepeats(sequence, sequence.map(() => 1), 3)) {
    for (let k = at; k < at + period; k++) {
      const { text, place } = kernels[k];
      lines.push(`${String(k + 1).padStart(4)}  ${text}${place === "" ? "" : `  (${place})`}`);
    }
    const last = at + period * times;
    if (times > 1) {
      lines.push(
        `      … ${period === 1 ? "again" : `these ${period} again`} up to kernel ${last}: × ${times}`,
      );
    }
  }
  return lines;
}

/** What a step does; a view that is not one is copied. */
function opName({ op }: Step): string {
  return op === null ? "" : op.family === "movement" ? `copy of ${op.name}` : op.name;
}

/** A run that computes the tensor, and gradients, as if nothing of it were known yet. */
function runOf(root: Tensor, options: ProgramOptions): RunGraph {
  const nodes = below(root.node, isGiven), copies = new Map<Node, Node>();
  flush(nodes.filter((n) => n.cell !== null && n.inputs.length > 0));
  return withAmbient({ noGrad: false, anomaly: null }, () => {
    for (const n of nodes) {
      if (isGiven(n)) {
        copies.set(n, n);
        continue;
      }
      const copy = makeNode(n.op, n.inputs.map((x) => copies.get(x)!), n.p, n.cut), name = nodeNames.get(n);
      copy.scope = n.scope;
      if (name !== undefined) nodeNames.set(copy, name);
      copies.set(n, copy);
    }
    const loss = copies.get(root.node)!, roots = new Set([loss]);
    const isScalar = sizeOf(loss.shape) === 1 && (loss.track & BY_BACKWARD) !== 0;
    if (options.gradients ?? isScalar) {
      const walk = { mask: BY_BACKWARD, isTarget: (n: Node) => n.cell !== null, visit: () => {} };
      const found = withAmbient({ noGrad: true }, () => reverse([loss], [wrap(loss).onesLike()], walk));
      for (const [n, ct] of found) {
        if (n.cell?.name) nodeNames.set(ct.node, `grad ${n.cell.name}`);
        roots.add(ct.node);
      }
    }
    return collect([...roots]);
  });
}

function isGiven(n: Node): boolean {
  return n.cell !== null || n.inputs.length === 0;
}

class ProgramPicture {
  readonly #steps: readonly Step[];
  readonly #computed: Set<number>;
  readonly #roots: Set<number>;
  readonly #stored: Set<number>;
  /** What the program calls a result, by the step that it is a view of. */
  readonly #names = new Map<number, string>();

  constructor(readonly graph: RunGraph, plan: RunPlan, readonly kernels: readonly KernelReport[]) {
    this.#steps = plan.lowered.steps;
    this.#computed = new Set(kernels.flatMap(({ steps }) => steps));
    this.#roots = new Set(plan.lowered.roots.map((root) => this.#base(root)));
    this.#stored = new Set(kernels.flatMap(({ stores }) => stores));
    for (const root of plan.lowered.roots) {
      const { source } = this.#steps[root],
        name = source < 0 ? undefined : nodeNames.get(graph.nodes[source]);
      if (name !== undefined) this.#names.set(this.#base(root), name);
    }
  }

  /** How many steps are computed again because that is cheaper than to keep them. */
  get recomputed(): number {
    return this.#steps.filter(({ segment, op }) => segment > 0 && op !== null && op.family !== "movement")
      .length;
  }

  /** A kernel in one line, and where it stands. */
  line(kernel: KernelReport): { text: string; place: string } {
    return { text: `${this.#label(kernel)}  ${this.#work(kernel)}`, place: this.#placeOf(kernel) };
  }

  picture(): GraphPicture {
    const nodes: GraphNode[] = [], edges: GraphEdge[] = [], groups: GraphGroup[] = [];
    const used = new Set<number>();
    this.kernels.forEach((kernel, k) => {
      const { dispatches } = kernel, place = this.#placeOf(kernel);
      groups.push({
        id: k,
        label: this.#label(kernel),
        name: `kernel ${k + 1}`,
        facts: {
          work: this.#work(kernel),
          ...(place === "" ? {} : { in: place }),
          ...(dispatches === 1 ? {} : { dispatches: formatNumber(dispatches) }),
        },
      });
      for (const i of kernel.steps) {
        const node: GraphNode = { ...this.#node(i), within: k };
        // A kernel of one op is drawn as that op.
        if (kernel.steps.length === 1) node.memory = `kernel ${k + 1}, ${node.memory}`;
        nodes.push(node);
        for (const x of this.#steps[i].inputs) {
          const from = this.#base(x), edge: GraphEdge = { from, to: i }, view = this.#viewText(x);
          if (view !== "") edge.label = view;
          used.add(from);
          edges.push(edge);
        }
      }
    });
    const leaves = [...used].filter((i) => this.#steps[i].leaf !== null).map((i) => this.#node(i));
    return { nodes: [...leaves, ...nodes], edges, groups };
  }

  #node(i: number): GraphNode {
    const { op, leaf, source, shape, dtype, segment, p } = this.#steps[i];
    const origin = source < 0 ? undefined : this.graph.nodes[source], attributes = origin?.p ?? p;
    const own = origin === undefined ? undefined : nodeNames.get(origin) ?? origin.cell?.name ?? undefined;
    const name = own ?? this.#names.get(i);
    const node: GraphNode = { id: i, kind: "op", label: opName(this.#steps[i]), shape, dtype };
    if (name !== undefined) node.name = name;
    if (op === null) {
      node.kind = leaf === "constant" ? "constant" : "leaf";
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
    return viewed(this.#steps, i, (step) => this.#computed.has(step));
  }

  /** How a view rearranges what it looks at; nothing where only the shape is another. */
  #viewText(i: number): string {
    const names: string[] = [];
    for (let at = i; at !== this.#base(i); at = this.#steps[at].inputs[0]) {
      const { name } = this.#steps[at].op!;
      if (name !== "reshape" && name !== "expand") names.unshift(name);
    }
    return names.join(", ");
  }

  #label({ steps }: KernelReport): string {
    return contents(steps.map((i) => opName(this.#steps[i])));
  }

  #work({ flops, read, written }: KernelReport): string {
    return `${formatCount(flops)} op, ${formatBytes(read)} → ${formatBytes(written)}`;
  }

  /** The module whose call made the first step that a call of a module made. */
  #placeOf({ steps }: KernelReport): string {
    for (const i of steps) {
      const { source } = this.#steps[i], scope = source < 0 ? null : this.graph.nodes[source].scope;
      if (scope !== null) return shorten(plainLine(scope.path || scope.kind), 40);
    }
    return "";
  }
}
