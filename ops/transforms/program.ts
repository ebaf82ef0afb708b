/** Recorded functions: a graph with holes, which can be filled again, batched, and keyed by structure. */
import { ambient, type Device, withAmbient } from "../ambient.ts";
import { costOf } from "../cost.ts";
import { placeholderNode, tupleOutputs } from "../definitions/structural.ts";
import {
  currentTrace,
  inPlaceOf,
  inTrace,
  makeNode,
  nextSerial,
  Node,
  nodeOf,
  setScope,
  type Trace,
  wrap,
} from "../node.ts";
import type { Aval } from "../primitive.ts";
import { nodeHooks, nodeNames, Tensor } from "../tensor.ts";

/** A graph with holes. */
export class Program {
  /** Nodes between the holes and the outputs, operands first. */
  readonly interior: readonly Node[];
  /** What the outputs use from outside, and leaves made inside. */
  readonly consts: readonly Node[];
  /** Operands of the interior, which a node itself may let go of once it has a value. */
  readonly #inputs: (readonly Node[])[];
  #key: string | null = null;

  constructor(readonly params: readonly Node[], readonly outputs: readonly Node[], start: number) {
    const known = new Set<Node>(params), interior: Node[] = [], consts: Node[] = [];
    const stack: Node[] = [], next: number[] = [];
    for (const output of outputs) {
      stack.push(output), next.push(0);
      while (stack.length > 0) {
        const top = stack.length - 1, node = stack[top];
        if (known.has(node)) {
          stack.pop(), next.pop();
          continue;
        }
        // An output of a tuple outside is outside, also where a rule asked for it only now.
        const made = node.op.family === "output" && node.inputs.length > 0
          ? node.inputs[0].serial
          : node.serial;
        const outside = made < start || node.op.family === "leaf" || node.value !== null;
        if (!outside && next[top] < node.inputs.length) {
          const x = node.inputs[next[top]++];
          if (!known.has(x)) stack.push(x), next.push(0);
          continue;
        }
        known.add(node);
        (outside ? consts : interior).push(node);
        stack.pop(), next.pop();
      }
    }
    this.interior = interior;
    this.#inputs = interior.map((n) => n.inputs);
    this.consts = consts;
  }

  /** Operands of a node of the interior. */
  operandsOf(k: number): readonly Node[] {
    return this.#inputs[k];
  }

  /** The outputs for other values in the holes and, if given, other constants. */
  fill(params: readonly Node[], consts: readonly Node[] = this.consts): Node[] {
    const to = new Map<Node, Node>();
    this.params.forEach((p, i) => to.set(p, params[i]));
    this.consts.forEach((c, i) => to.set(c, consts[i]));
    const watched = ambient().anomaly !== null;
    this.interior.forEach((node, k) => {
      const inputs = this.#inputs[k].map((x) => to.get(x)!);
      const make = (): Node => makeNode(node.op, inputs, node.p, node.cut);
      const copy = watched ? inPlaceOf(node, make) : make();
      to.set(node, copy);
      copy.scope = node.scope;
      // What handles hung on the original goes with it.
      const hooks = nodeHooks.get(node), name = nodeNames.get(node);
      if (hooks !== undefined) nodeHooks.set(copy, hooks);
      if (name !== undefined) nodeNames.set(copy, name);
    });
    return this.outputs.map((y) => to.get(y)!);
  }

  /** The holes and constants which gradients of an output, by differentiations in `mask`, would flow to. */
  dependencies(output: Node, mask: number): Node[] {
    const inputs = new Map(this.interior.map((n, k) => [n, this.#inputs[k]]));
    const found: Node[] = [], seen = new Set<Node>([output]), stack = [output];
    while (stack.length > 0) {
      const node = stack.pop()!;
      if ((node.track & mask) === 0 && node.op.family !== "tuple") continue;
      const below = inputs.get(node);
      if (below === undefined) found.push(node);
      for (const x of below ?? []) {
        if (seen.has(x)) continue;
        seen.add(x);
        stack.push(x);
      }
    }
    return found;
  }

  /** As a function of the holes and then the constants. */
  call(x: readonly Tensor[]): Tensor[] {
    const n = this.params.length, nodes = x.map(nodeOf);
    return this.fill(nodes.slice(0, n), nodes.slice(n)).map(wrap);
  }

  /** Floating-point operations of the interior. */
  get flops(): number {
    return this.interior.reduce((sum, n, k) => sum + costOf(n.op, this.#inputs[k], n, n.p).flops, 0);
  }

  /** Equal for equal structures. */
  get key(): string {
    if (this.#key !== null) return this.#key;
    const position = new Map<Node, number>();
    const aval = (n: Node): string => `${n.dtype}[${n.shape}]`;
    let text = "";
    for (const n of [...this.params, ...this.consts]) {
      position.set(n, position.size);
      text += aval(n) + ";";
    }
    this.interior.forEach((n, k) => {
      position.set(n, position.size);
      const p = n.p === null
        ? ""
        : n.op.family === "tuple" && n.op.key !== undefined
        ? n.op.key(n.p)
        : JSON.stringify(n.p);
      text += `${n.op.name}(${this.#inputs[k].map((x) => position.get(x))})${p}${aval(n)};`;
    });
    return this.#key = `${text}>${this.outputs.map((y) => position.get(y))}`;
  }

  /** The outputs when some holes and constants carry a batch axis at 0, and which outputs do. */
  batched(
    x: readonly Tensor[],
    flags: readonly boolean[],
    B: number,
  ): { outputs: Tensor[]; flags: boolean[] } {
    const to = new Map<Node, { t: Tensor; b: boolean }>();
    const tuples = new Map<Node, { ts: Tensor[]; b: boolean }>();
    [...this.params, ...this.consts].forEach((p, i) => to.set(p, { t: x[i], b: flags[i] }));
    for (let k = 0; k < this.interior.length; k++) {
      const node = this.interior[k], { op } = node, operands = this.#inputs[k];
      if (op.family === "output") {
        const tuple = tuples.get(operands[0])!;
        to.set(node, { t: tuple.ts[node.p.i], b: tuple.b });
        continue;
      }
      const inputs = operands.map((i) => to.get(i)!), b = inputs.some((i) => i.b);
      if (op.family === "tuple") {
        const xs = inputs.map((i) => i.t);
        tuples.set(node, {
          ts: b ? op.batch(xs, inputs.map((i) => i.b), node.p, B) : tupleOutputs(op, xs, node.p),
          b,
        });
        continue;
      }
      if (op.family === "leaf") throw new Error("Internal: a leaf inside a program");
      const outer = setScope(node.scope);
      let y: Tensor;
      try {
        y = inPlaceOf(
          node,
          () =>
            b
              ? op.batch(inputs.map((i) => i.t), inputs.map((i) => i.b), node.p, B)
              : wrap(makeNode(op, inputs.map((i) => nodeOf(i.t)), node.p, node.cut)),
        );
      } finally {
        setScope(outer);
      }
      to.set(node, { t: b && node.cut ? y.stopGradient() : y, b });
    }
    const results = this.outputs.map((y) => to.get(y)!);
    return { outputs: results.map((r) => r.t), flags: results.map((r) => r.b) };
  }
}

export { outputsOf, tupleOutputs } from "../definitions/structural.ts";

/** Options of `record`. */
export type RecordOptions =
  & { kind: Trace["kind"]; device: Device }
  & Partial<Pick<Trace, "capture" | "grads" | "guard" | "hooked" | "randomness">>
  & { foldKey?: (key: Tensor, trace: Trace) => Tensor };

/** What recording gives: the program, and the handles assigned to inside, whose new values are the last outputs. */
export interface Recording {
  readonly program: Program;
  readonly effects: readonly Tensor[];
}

/**
 * Records `f` on placeholders like `avals` (with the track of what will fill them). Handles assigned to inside get
 * their old values back; the new ones become outputs behind those of `f`.
 */
export function record(
  avals: readonly (Aval & { track: number })[],
  f: (params: Tensor[]) => Tensor[],
  options: RecordOptions,
): Recording {
  const start = nextSerial();
  const params = avals.map((a) => placeholderNode(a, options.device, a.track));
  const trace: Trace = {
    kind: options.kind,
    start,
    effects: new Map(),
    capture: options.capture ?? null,
    grads: options.grads ?? null,
    guard: options.guard ?? null,
    hooked: options.hooked ?? null,
    randomness: options.randomness ?? "different",
    foldKey: options.foldKey === undefined ? null : (key) => options.foldKey!(key, trace),
    outer: currentTrace(),
  };
  let outputs: Node[] = [];
  let effects: [Tensor, Node][] = [];
  try {
    // Inside, where a handle from outside is what the trace takes it for.
    // What it makes belongs to the program: nothing for `tidy`.
    outputs = withAmbient({ tidy: null }, () =>
      inTrace(trace, () => {
        const results: Tensor[] | Promise<never> = f(params.map((n) => new Tensor(n)));
        return results instanceof Promise ? results as never : results.map(nodeOf);
      }));
  } finally {
    effects = [...trace.effects].map(([handle, before]): [Tensor, Node] => {
      const after = handle.node;
      handle.node = before;
      return [handle, after];
    });
  }
  return {
    program: new Program(params, [...outputs, ...effects.map(([, n]) => n)], start),
    effects: effects.map(([h]) => h),
  };
}
