/** What an engine makes of a graph as a picture: kernels as groups around the steps that they compute. */
import { withAmbient } from "../ops/ambient.ts";
import { collect, type RunGraph } from "../ops/lower.ts";
import { BY_BACKWARD, makeNode, type Node, wrap } from "../ops/node.ts";
import { type KernelReport, kernelsOf } from "../ops/report.ts";
import { engineOf, flush } from "../ops/runs.ts";
import { sizeOf } from "../ops/shape.ts";
import { checkOptions, nodeNames, Tensor } from "../ops/tensor.ts";
import { reverse } from "../ops/transforms/reverse.ts";
import { Drawing, type Presentation } from "./bundle.ts";
import { fold } from "./graph_fold.ts";
import { checkLayout, graphText, presentGraph } from "./graph.ts";
import { below } from "./graph_nodes.ts";
import type { GraphOptions, GraphPicture } from "./graph_picture.ts";
import { formatBytes, formatCount, formatNumber, kindOf, messageLine, plainLine } from "./parts.ts";
import { isOp, MANY, opName, ProgramPicture } from "./program_picture.ts";

/** Boxes that are drawn of many kernels, each with its work. */
const LEGIBLE = 12;
/** Boxes that are tried where more are wider than the page. */
const FEWER = [24, 18, LEGIBLE, 8];

/** What `program` draws. */
export interface ProgramOptions extends GraphOptions {
  /** With the gradients of all parameters; default: where the tensor is a scalar that requires gradients. */
  gradients?: boolean;
}

/** A kernel of a {@linkcode ProgramDrawing}; shown, it is its work and its source. */
export class ProgramKernel extends Drawing {
  /** Its place, its ops and its work in one line. */
  readonly title: string;
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

  /** Made by `program`. */
  constructor(title: string, ops: readonly string[], report: KernelReport) {
    super();
    this.title = title;
    this.ops = ops;
    this.flops = report.flops;
    this.read = report.read;
    this.written = report.written;
    this.dispatches = report.dispatches;
    this.source = report.source;
  }

  /** What it does in a line, and its source. */
  override text(): string {
    return `${this.title}\n\n${this.source.trim()}`;
  }

  /** Text says it all. */
  protected override render(): Promise<Presentation> {
    return Promise.resolve({ data: {} });
  }
}

/**
 * What the engine makes of a tensor's graph, and of its gradients: the kernels, each around the ops that are computed in it, with
 * operations and bytes; which values are stored between kernels and which are computed again. Many kernels are folded by the
 * modules that they belong to, forward and backward; `depth` opens them. Computes nothing.
 *
 * ```ts
 * import { program, tensor } from "@cotangent/cotangent";
 * const x = tensor([1, 2, 3], { requiresGrad: true, device: "host" });
 * const plan = program(x.mul(2).exp().sum());
 * console.log(plan.kernels.length, plan.kernels[0].ops);
 * console.log(plan.kernels[0].source); // `plan.kernels[0]` as the last line of a cell shows it too
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

  /** Made by `program`. */
  constructor(root: Tensor, options: ProgramOptions) {
    super();
    this.#options = options;
    try {
      const { picture, kernels, arena } = planned(root, options);
      this.#picture = picture;
      this.kernels = kernels;
      this.arena = arena;
    } catch (error) {
      // A lost device, a graph that a step took away: nothing to plan, which is what there is to show.
      this.#picture = { nodes: [], edges: [], note: `${root.device}: no program. ${messageLine(error)}` };
      this.kernels = [];
      this.arena = 0;
    }
  }

  get #readable(): number | undefined {
    return this.kernels.length < MANY ? undefined : LEGIBLE;
  }

  /** A line for each kernel, or an outline by modules where there are many. */
  override text(): string {
    if (this.#readable !== undefined) return graphText(this.#picture, this.#options, this.#readable);
    const { title } = this.#options;
    const lines = [...title === undefined ? [] : [plainLine(title)], this.#picture.note!];
    return [...lines, ...this.kernels.map(({ title }) => title)].join("\n");
  }

  /** Kernels as frames around their ops. */
  protected override async render(): Promise<Presentation> {
    if (this.kernels.length === 0) return { data: {} };
    const { depth } = this.#options, folds = [fold(this.#picture, depth, this.#readable)];
    // What is wider than the page is drawn with fewer boxes.
    if (depth === undefined) {
      for (const readable of FEWER) {
        const folded = fold(this.#picture, depth, readable);
        if (folded.boxes < folds[folds.length - 1].boxes) folds.push(folded);
      }
    }
    return await presentGraph(this.#picture, folds, this.#options);
  }
}

/** What a program is drawn as, and its kernels. */
function planned(
  root: Tensor,
  options: ProgramOptions,
): { picture: GraphPicture; kernels: ProgramKernel[]; arena: number } {
  const { device } = root, engine = engineOf(device);
  if (engine.describe === undefined) throw new Error(`The engine of ${device} makes none`);
  const { graph, behind } = runOf(root, options), plan = engine.describe(graph);
  const reports = kernelsOf(plan, graph), { lowered: { steps }, arena } = plan;
  const drawn = new ProgramPicture(graph, plan, reports, behind);
  const kernels = reports.map((report, k) =>
    new ProgramKernel(drawn.line(k), report.steps.map((i) => opName(steps[i])), report)
  );
  const sum = (f: (kernel: ProgramKernel) => number): number =>
    kernels.reduce((n, kernel) => n + f(kernel), 0);
  const facts = [
    `${formatNumber(kernels.length)} kernels for ${formatNumber(steps.filter(isOp).length)} ops`,
    `${formatCount(sum((k) => k.flops))} operations`,
    `${formatBytes(sum((k) => k.read))} read`,
    `${formatBytes(sum((k) => k.written))} written`,
    `arena of ${formatBytes(arena)}`,
    ...drawn.again === 0 ? [] : [`${formatNumber(drawn.again)} ops computed again`],
  ];
  const note = kernels.length === 0
    ? "nothing to compute, the tensor has a value and no graph"
    : facts.join(", ");
  return { picture: { ...drawn.picture(), note: `${device}: ${note}` }, kernels, arena };
}

/** A run, and what those of its inputs are which have a value by another's. */
interface Planned {
  readonly graph: RunGraph;
  readonly behind: ReadonlyMap<Node, Node>;
}

/** A run that computes the tensor, and gradients, as if nothing of it were known yet. */
function runOf(root: Tensor, options: ProgramOptions): Planned {
  const nodes = below([root.node], (n) => isGiven(n) ? [] : n.inputs), copies = new Map<Node, Node>();
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
    const behind = new Map<Node, Node>();
    for (const n of below([...roots], (n) => isGiven(n) ? [] : n.inputs)) {
      const isAlias = n.op.family === "identity" && n.cell === null && n.value !== null;
      if (isAlias && n.inputs.length > 0) behind.set(n, n.inputs[0]);
    }
    return { graph: collect([...roots], false), behind };
  });
}

function isGiven(n: Node): boolean {
  return n.cell !== null || n.inputs.length === 0;
}
