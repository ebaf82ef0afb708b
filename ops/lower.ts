/** From nodes to what an engine executes: the graph of a run with its structural key, and its list of steps. */
import { Node, type Origin, outsideTraces, type Scope, wrap } from "./node.ts";
import type {
  Attributes,
  Contraction,
  Custom,
  Elementwise,
  Movement,
  Primitive,
  Reduction,
} from "./primitive.ts";
import type { DType } from "./dtype.ts";
import type { Saved } from "./out_of_memory.ts";
import type { Shape } from "./shape.ts";
import { keyOf, type RunKey } from "./structure.ts";

/** The nodes of a run, operands first. Realised nodes and leaves are inputs. */
export interface RunGraph {
  readonly nodes: readonly Node[];
  /** Positions of the roots. */
  readonly roots: readonly number[];
  /** Equal for equal structures, whatever the data. */
  readonly key: RunKey;
  /** What a backward pass in it keeps, where its nodes do not tell: those of jit's copies are differentiated by nobody. */
  readonly saved?: Saved;
  /** For each root: the position of an input that it replaces, or -1. Its array may become the root's while nothing else sees it. */
  readonly replaced?: readonly number[] | undefined;
}

const NONE: readonly Node[] = [];
let runs = 0;

/**
 * Collects what a run needs. Nodes that an earlier run computed and dropped, and that new nodes use, become
 * roots too, so that they are computed twice and not every time. Nothing is noted where no run follows.
 */
export function collect(roots: readonly Node[], isRun = true): RunGraph {
  for (;;) {
    const calls: Origin[] = [], graph = walk(roots, calls, isRun);
    if (graph !== null) return graph;
    // Calls which jit compiled are runs of their own; what they give are inputs then.
    for (const call of calls) call.compute();
  }
}

/** The nodes below the roots, or null and calls that must be computed before. */
function walk(roots: readonly Node[], calls: Origin[], isRun: boolean): RunGraph | null {
  const run = ++runs;
  const nodes: Node[] = [], again: Node[] = [];
  const stack: Node[] = [], next: number[] = [];
  for (let r = 0; r < roots.length; r++) {
    stack.push(roots[r]);
    next.push(0);
    while (stack.length > 0) {
      const top = stack.length - 1, node = stack[top];
      if (node.mark === run) {
        stack.pop();
        next.pop();
        continue;
      }
      if (node.value === null) {
        if (node.origin !== null) calls.push(node.origin);
        else {
          const { inputs } = node;
          let at = next[top];
          while (at < inputs.length && inputs[at].mark === run) at++;
          if (at < inputs.length) {
            next[top] = at + 1;
            stack.push(inputs[at]);
            next.push(0);
            continue;
          }
          check(node);
          if (node.lastRun === 0) {
            for (let i = 0; i < inputs.length; i++) if (inputs[i].lastRun !== 0) again.push(inputs[i]);
          }
        }
      } else {
        check(node);
        if (node.track === 0) node.inputs = NONE; // nobody differentiates it: its past may go
      }
      node.mark = run;
      node.place = nodes.length;
      nodes.push(node);
      stack.pop();
      next.pop();
    }
  }
  if (calls.length > 0) return null;
  const all = again.length === 0 ? roots : recomputed(roots, again);
  const rootPlaces = new Array<number>(all.length);
  for (let i = 0; i < all.length; i++) rootPlaces[i] = all[i].place;
  const key = keyOf(nodes, rootPlaces);
  for (let i = 0; i < nodes.length && isRun; i++) {
    const node = nodes[i];
    if (node.value === null && node.inputs.length > 0) node.lastRun = run;
  }
  return { nodes, roots: rootPlaces, key };
}

/** The roots, and what an earlier run has computed and dropped. */
function recomputed(roots: readonly Node[], again: readonly Node[]): Node[] {
  const keep = new Set<Node>(roots);
  for (const used of again) {
    const x = behindViews(used);
    if (x.value === null && x.lastRun !== 0 && x.inputs.length > 0 && x.op.family !== "tuple") keep.add(x);
  }
  return [...keep];
}

/** What was computed, below nodes that only rearrange or pass it on. */
function behindViews(node: Node): Node {
  let x = node;
  while (x.value === null && (x.op.family === "movement" || x.op.family === "identity")) x = x.inputs[0];
  return x;
}

function check(node: Node): void {
  if (node.value !== null) {
    if (node.value.error !== null) throw node.value.error;
    return;
  }
  if (node.op.name === "placeholder") {
    throw new Error(
      `Cannot compute a value from a placeholder of shape [${node.shape}]: a tensor made inside vmap, jit, scan, ` +
        `checkpoint or linearize was used outside of it. Return it from the function instead`,
    );
  }
  if (node.stale !== null) throw new Error(`Internal: a stale node without value`);
}

/** One computation of a run; `inputs` are earlier steps. */
export interface Step extends Record<never, never> {
  readonly op: Elementwise | Movement | Reduction | Contraction | Custom | null;
  /** The node it comes from, whose attributes hold the data of this run; -1 for what expansion made. */
  readonly source: number;
  /** Attributes, where source is -1. */
  readonly p: Attributes;
  readonly inputs: readonly number[];
  readonly shape: Shape;
  readonly dtype: DType;
  /** For `op` null: a realised input, a number, or a random key. */
  readonly leaf: "input" | "constant" | "randomKey" | null;
  /** The last barrier that it came through, 0 for none: a rebuilt segment stays apart from the original. */
  readonly segment: number;
  /** The call of a module that it was made in, where source is -1. */
  readonly scope: Scope | null;
}

/** What an engine executes: steps in order, and for each root its step. */
export interface Lowered {
  readonly steps: readonly Step[];
  readonly roots: readonly number[];
  /** For each root: the step of the input that it replaces, or -1. */
  readonly replaced?: readonly number[] | undefined;
}

/** Turns a graph into steps: tuples are expanded, identities vanish. Holds no node, so it may be kept. */
export function lower(graph: Pick<RunGraph, "nodes" | "roots" | "replaced">): Lowered {
  const source = new Map<Node, number>();
  graph.nodes.forEach((node, i) => source.set(node, i));
  const done = new Map<Node, number>();
  const expansions = new Map<Node, Node[]>();
  const steps: Step[] = [];
  const segments = new Map<Node, number>(), barriers = new Map<Node, number>();
  const segmentOf = (node: Node): number =>
    segments.size === 0 ? 0 : node.inputs.reduce((last, x) => Math.max(last, segments.get(x) ?? 0), 0);
  const emit = (node: Node, op: Step["op"], leaf: Step["leaf"]): void => {
    const inputs = op === null ? [] : node.inputs.map((x) => done.get(x)!);
    done.set(node, steps.length);
    const from = source.get(node) ?? -1, segment = op === null ? 0 : segmentOf(node);
    if (segment > 0) segments.set(node, segment);
    steps.push({
      op,
      source: from,
      p: from < 0 ? node.p : null,
      inputs,
      shape: node.shape,
      dtype: node.dtype,
      leaf,
      segment,
      scope: from < 0 ? node.scope : null,
    });
  };
  /** What must be done before `node`, or null when it is done. */
  const advance = (node: Node): readonly Node[] | null => {
    if (node.value !== null) {
      if (!source.has(node)) throw new Error("Internal: an expansion reached data outside of its run");
      emit(node, null, "input");
      return null;
    }
    const { op } = node;
    switch (op.family) {
      case "leaf":
        if (op.name === "constant" || op.name === "randomKey") {
          emit(node, null, op.name);
          return null;
        }
        throw new Error(`Internal: leaf ${op.name} in a run`);
      case "identity":
        return follow(node, node.inputs[0]);
      case "output": {
        const tuple = node.inputs[0];
        let outputs = expansions.get(tuple);
        if (outputs === undefined) {
          outputs = outsideTraces(() =>
            (tuple.op as Extract<Primitive, { family: "tuple" }>).expand(tuple.inputs.map(wrap), tuple.p)
          )
            .map((t) => t.node);
          expansions.set(tuple, outputs);
        }
        return follow(node, outputs[node.p.i]);
      }
      case "tuple":
        throw new Error(`Internal: tuple ${op.name} used as a value`);
      case "elementwise":
      case "movement":
      case "reduction":
      case "contraction":
      case "custom": {
        const missing = node.inputs.filter((x) => !done.has(x));
        if (missing.length > 0) return missing;
        emit(node, op, null);
        return null;
      }
    }
  };
  const follow = (node: Node, to: Node): readonly Node[] | null => {
    const step = done.get(to);
    if (step === undefined) return [to];
    done.set(node, step);
    let segment = Math.max(segments.get(to) ?? 0, segmentOf(node));
    if (node.op.name === "barrier") {
      // All operands of a rebuilt segment wait for the same.
      const awaited = node.inputs[1] ?? node;
      segment = barriers.get(awaited) ?? barriers.size + 1;
      barriers.set(awaited, segment);
    }
    if (segment > 0) segments.set(node, segment);
    return null;
  };
  for (const r of graph.roots) {
    const stack = [graph.nodes[r]];
    while (stack.length > 0) {
      const node = stack[stack.length - 1];
      if (done.has(node)) {
        stack.pop();
        continue;
      }
      const missing = advance(node);
      if (missing === null) stack.pop();
      else for (let i = missing.length - 1; i >= 0; i--) stack.push(missing[i]);
    }
  }
  const stepOf = (place: number): number => done.get(graph.nodes[place]) ?? -1;
  return {
    steps,
    roots: graph.roots.map(stepOf),
    replaced: graph.replaced?.map((place) => place < 0 ? -1 : stepOf(place)),
  };
}
