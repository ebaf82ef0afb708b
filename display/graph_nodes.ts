/** Which nodes of a tensor's graph are drawn, as one op each where the program wrote one, and in which calls of modules. */
import { type Node, type Scope } from "../ops/node.ts";
import { type Shape } from "../ops/shape.ts";
import { nodeNames } from "../ops/tensor.ts";
import { type Inside, insideOf, type Opened } from "./graph_bodies.ts";
import { type GraphEdge, type GraphGroup, type GraphNode, numberLeaves } from "./graph_picture.ts";

/** Random numbers, by the op that makes them of bits: their keys and bits are not drawn. */
const RANDOM: Record<string, string> = {
  normalFromBits: "randn",
  uniformFromBits: "rand",
  randomBits: "random bits",
};

/** The graph below a node, as it was when this was made. */
export class GraphNodes {
  /** Operands first. */
  readonly all: readonly Node[];
  /** Those with boxes, in the order of computation. */
  readonly drawn: readonly Node[];
  /** Operands of each node, taken before reading values lets nodes go of them. */
  readonly #inputs: Map<Node, readonly Node[]>;
  readonly #scopes: Map<Node, Scope | null>;
  /** Ops by the nodes that they end in: to who wrote it a product and its reshape are one op. */
  readonly #opOf = new Map<Node, Node>();
  /** Leaves that a product reads with rows and columns exchanged, which is said in its formula. */
  readonly #turned = new Set<Node>();
  /** The last of these, by op. */
  readonly #resultOf = new Map<Node, Node>();
  /** What tuples have recorded, and the body that a node was recorded in. */
  readonly #inside = new Map<Node, Inside | null>();
  readonly #bodyOf = new Map<Node, Opened>();
  /** Nodes in the body of a loop, which have another value in each step. */
  readonly #each = new Set<Node>();

  constructor(readonly root: Node) {
    const inputsOf = (n: Node): readonly Node[] => {
      if (isGiven(n)) return [];
      let inside = this.#inside.get(n);
      if (inside === undefined) this.#inside.set(n, inside = insideOf(n));
      return inside?.inputs ?? n.inputs;
    };
    const all = below([root], inputsOf);
    this.#inputs = new Map(all.map((n) => [n, inputsOf(n)]));
    this.#enterBodies(all);
    this.#scopes = new Map(all.map((n) => [n, n.scope]));
    // By age, since what one call of a module made then stands together; a result of jit is older than its graph,
    // and what was recorded is as old as the call of it.
    const age = new Map<Node, number>();
    for (const n of all) {
      const own = this.#outermost(n).serial;
      age.set(n, this.inputs(n).reduce((latest, x) => Math.max(latest, age.get(x)!), own));
    }
    const place = new Map(all.map((n, i) => [n, i]));
    this.all = all.sort((a, b) => age.get(a)! - age.get(b)! || place.get(a)! - place.get(b)!);
    this.#findOps();
    this.drawn = this.all.filter((n) => !this.#isHidden(n));
  }

  /** Operands of a node. */
  inputs(n: Node): readonly Node[] {
    return this.#inputs.get(n) ?? [];
  }

  /** Operands as the program gave them, where a body stands between a node and them. */
  operands(n: Node): readonly Node[] {
    return this.#inside.get(n) ? n.inputs : this.inputs(n);
  }

  /** Whose operand, and which, operand `k` of a node is: a body's holes stand for the operands of its tuple. */
  source(n: Node, k: number): readonly [reader: Node, operand: number] {
    const body = this.#bodyOf.get(n);
    const place = body?.holes.get(n) ?? body?.holes.get(this.inputs(n)[k]);
    return place === undefined ? [n, k] : [body!.tuple, place];
  }

  /** Whether a node has elements that can be read: what a loop computes in each step has not. */
  isValue(n: Node): boolean {
    return n.op.family !== "tuple" && n.op.name !== "placeholder" && !this.#each.has(n);
  }

  /** Whether a node was recorded in a tuple. */
  isInside(n: Node): boolean {
    return this.#bodyOf.has(n);
  }

  /** Whether a node is another value in each step of a loop. */
  isEach(n: Node): boolean {
    return this.#each.has(n);
  }

  /** The node that holds what an op gives, and says its shape. */
  result(n: Node): Node {
    return this.#resultOf.get(n) ?? n;
  }

  /** Leaves, and handles' own nodes, whatever they were computed from once. */
  isLeaf(n: Node): boolean {
    return this.inputs(n).length === 0;
  }

  /** The drawn node that shows what `n` is. */
  shownFor(n: Node): Node {
    let shown = n;
    while (this.#isHidden(shown)) shown = this.inputs(shown)[0];
    return shown;
  }

  /** Whether rows and columns of the node that is shown for `n` are exchanged in it. */
  isTurned(n: Node): boolean {
    let x = n;
    while (this.#isHidden(x) && !this.#turned.has(x)) x = this.inputs(x)[0];
    return this.#turned.has(x);
  }

  /** What the program calls a node. */
  nameOf(n: Node): string | null {
    const result = this.result(n);
    return nodeNames.get(result) ?? n.cell?.name ?? null;
  }

  /** Where a node was made, as paths of modules: `layers.0.norm1`. */
  placeOf(n: Node): string {
    for (let scope = this.#scopes.get(n) ?? null; scope !== null; scope = scope.outer) {
      if (scope.path !== "") return scope.path;
    }
    return "";
  }

  /** The boxes without what must be read, their edges with the operand that each stands for, and groups. */
  picture(): {
    nodes: Map<Node, GraphNode>;
    edges: Map<GraphEdge, readonly [reader: Node, operand: number]>;
    groups: GraphGroup[];
  } {
    const id = new Map(this.drawn.map((n, i) => [n, i]));
    const scopes = new Map<Opened | null, Map<Scope, GraphGroup>>(), groups: GraphGroup[] = [];
    const frames = new Map<Opened, GraphGroup>();
    /** The group of a call, in a body or not; a body's own where the call is around it. */
    const groupOf = (scope: Scope | null, body: Opened | null): GraphGroup | null => {
      if (body !== null && (scope === null || scope === this.#scopes.get(body.tuple))) return frameOf(body);
      if (scope === null) return null;
      const own = scopes.get(body) ?? new Map<Scope, GraphGroup>();
      scopes.set(body, own);
      let group = own.get(scope);
      if (group === undefined) {
        group = { id: groups.length, label: scope.kind };
        groups.push(group);
        own.set(scope, group);
        if (scope.path !== "") group.name = scope.path;
        const outer = groupOf(scope.outer, body);
        if (outer !== null) group.within = outer.id;
      }
      return group;
    };
    const frameOf = (body: Opened): GraphGroup => {
      let group = frames.get(body);
      if (group === undefined) {
        group = { id: groups.length, label: [this.#labelOf(body.tuple), body.label].join(" ").trim() };
        groups.push(group);
        frames.set(body, group);
        const outer = groupOf(this.#scopes.get(body.tuple) ?? null, this.#bodyOf.get(body.tuple) ?? null);
        if (outer !== null) group.within = outer.id;
      }
      return group;
    };
    const carried = new Set<Node>();
    for (const body of this.#bodyOf.values()) {
      for (const n of body.carried) if (!body.each.has(n)) carried.add(this.shownFor(n));
    }
    const nodes = new Map(this.drawn.map((n): [Node, GraphNode] => {
      const isLeaf = this.isLeaf(n), { shape, dtype } = this.result(n), name = this.nameOf(n);
      const node: GraphNode = {
        id: id.get(n)!,
        kind: !isLeaf
          ? (this.result(n) === this.root ? "output" : "op")
          : n.op.name === "constant"
          ? "constant"
          : "leaf",
        label: isLeaf ? leafLabel(n) : this.#labelOf(n),
        shape,
        dtype,
      };
      if (name !== null) node.name = name;
      const body = this.#bodyOf.get(n) ?? null, own = this.#inside.get(n)?.bodies ?? [];
      // What a loop or a segment gives stands in its frame.
      const group = own.length === 1 ? frameOf(own[0]) : groupOf(this.#scopes.get(n) ?? null, body);
      if (group !== null) node.within = group.id;
      if (body?.each.has(n)) Object.assign(node, { kind: "leaf", label: body.each.get(n) });
      if (carried.has(n)) node.carried = true;
      return [n, node];
    }));
    numberLeaves(Array.from(nodes.values(), (node) => [node]));
    const edges = new Map<GraphEdge, readonly [Node, number]>();
    for (const n of this.drawn) {
      this.inputs(n).forEach((x, k) => {
        const edge: GraphEdge = { from: id.get(this.shownFor(x))!, to: id.get(n)! };
        const label = this.#inside.get(n)?.labels[k] ?? "";
        if (label !== "") edge.label = label;
        edges.set(edge, this.source(n, k));
      });
    }
    return { nodes, edges, groups };
  }

  /** Notes which body a node was recorded in, and what is another value in each step; `all` has operands first. */
  #enterBodies(all: readonly Node[]): void {
    for (const body of [...this.#inside.values()].flatMap((inside) => inside?.bodies ?? [])) {
      for (const n of [...body.interior, ...body.holes.keys()]) this.#bodyOf.set(n, body);
      for (const n of body.each.keys()) this.#each.add(n);
    }
    for (const n of all) {
      if (this.#bodyOf.has(n) && this.operands(n).some((x) => this.#each.has(x))) this.#each.add(n);
    }
  }

  /** What an op is called, a loop with how often it runs. */
  #labelOf(n: Node): string {
    if (n.cell !== null) return leafLabel(n);
    if (n.op.family === "output") return this.#inside.get(n.inputs[0])?.results[n.p.i] ?? `output ${n.p.i}`;
    const times = this.#inside.get(n)?.times ?? "";
    return times === "" ? n.op.name : `${n.op.name} × ${times}`;
  }

  /** The outermost tuple that a node was recorded in. */
  #outermost(n: Node): Node {
    let at = n;
    for (let body = this.#bodyOf.get(at); body !== undefined; body = this.#bodyOf.get(at)) at = body.tuple;
    return at;
  }

  #findOps(): void {
    const readers = new Map<Node, Node[]>(this.all.map((n) => [n, []]));
    for (const [n, inputs] of this.#inputs) for (const x of inputs) readers.get(x)!.push(n);
    for (const n of this.all) {
      const own = readers.get(n)!, isRead = own.length === 1 && own[0].op.family === "contraction";
      if (
        isRead && turns(n) && this.isLeaf(this.shownFor(this.inputs(n)[0])) && nodeNames.get(n) === undefined
      ) {
        this.#turned.add(n);
      }
    }
    const end = (op: Node, last: Node): void => {
      this.#opOf.set(last, op);
      this.#resultOf.set(op, last);
    };
    for (const n of this.all) {
      if (this.isLeaf(n)) continue;
      // A tuple of which one output is used is that output.
      const own = readers.get(n)!;
      if (n.op.family === "tuple" && own.length === 1 && own[0].op.family === "output") end(n, own[0]);
      if (n.op.family !== "contraction" && n.op.family !== "reduction") continue;
      let last = n;
      while (last !== this.root && nodeNames.get(last) === undefined) {
        const next = readers.get(last)!;
        if (next.length !== 1 || next[0].op.name !== "reshape" || !restores(n, last.shape, next[0].shape)) {
          break;
        }
        last = next[0];
        end(n, last);
      }
    }
  }

  /** Nodes that only pass on what another shows, in the same order of elements. */
  #isHidden(n: Node): boolean {
    if (this.#opOf.has(n) || this.#turned.has(n)) return true;
    const inputs = this.inputs(n);
    return inputs.length === 1 && nodeNames.get(n) === undefined && n !== this.root &&
      (n.op.family === "identity" || n.op.name === "reshape" ||
        (n.op.name === "expand" && inputs[0].op.name === "constant"));
  }
}

/** Whether a node exchanges the last two axes of its operand. */
function turns(n: Node): boolean {
  if (n.op.name !== "permute") return false;
  const { axes } = n.p as { axes: readonly number[] }, rank = axes.length;
  return rank >= 2 &&
    axes.every((axis, i) => axis === (i === rank - 1 ? rank - 2 : i === rank - 2 ? rank - 1 : i));
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

function leafLabel(n: Node): string {
  if (n.op.family === "output") return "value";
  if (n.cell !== null) return n.cell.requiresGrad ? "parameter" : "cell";
  // A realised value without graph, whatever op once made it.
  return n.op.name === "constant" || n.op.name === "placeholder"
    ? n.op.name
    : n.op.name in RANDOM
    ? RANDOM[n.op.name]
    : n.stale !== null
    ? `${n.op.name} (before ${n.stale.by})`
    : "data";
}

/** Leaves, and handles' own nodes, whatever they were computed from once. */
function isGiven(n: Node): boolean {
  return n.inputs.length === 0 || n.cell !== null || n.op.name in RANDOM;
}

/** All nodes below `roots`, operands first, by what `inputsOf` says. */
export function below(roots: readonly Node[], inputsOf: (n: Node) => readonly Node[]): Node[] {
  const order: Node[] = [], seen = new Set<Node>();
  for (const root of roots) {
    const stack: [Node, number, readonly Node[]][] = seen.has(root) ? [] : [[root, 0, inputsOf(root)]];
    seen.add(root);
    while (stack.length > 0) {
      const top = stack[stack.length - 1], x = top[2][top[1]++];
      if (x === undefined) {
        order.push(top[0]);
        stack.pop();
      } else if (!seen.has(x)) {
        seen.add(x);
        stack.push([x, 0, inputsOf(x)]);
      }
    }
  }
  return order;
}
