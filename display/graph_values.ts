/** What must be computed to draw a graph: values, cotangents and what flows along edges, and where NaN comes from. */
import { withAmbient } from "../ops/ambient.ts";
import { costOf } from "../ops/cost.ts";
import { isFloat, type TypedArray } from "../ops/dtype.ts";
import { BY_BACKWARD, type Node, wrap } from "../ops/node.ts";
import type { RuleContext } from "../ops/primitive.ts";
import { readNodes } from "../ops/runs.ts";
import { type Shape, sizeOf } from "../ops/shape.ts";
import type { Tensor } from "../ops/tensor.ts";
import { reverse } from "../ops/transforms/reverse.ts";
import type { GraphNodes } from "./graph_nodes.ts";
import { formatNumber, formatWhole } from "./parts.ts";

/** Tensors up to this size show their elements, larger ones their norm. */
export const SHORT = 6;
/** Operations that a drawing may cost without being asked for. */
export const CHEAP = 2e9;

/** A tensor in few words. */
export interface Summary {
  readonly text: string;
  /** Its norm. */
  readonly norm: number;
  /** Its only element, of a scalar. */
  readonly scalar?: number;
}

/** The backward pass of a graph, not yet computed. */
export interface Cotangents {
  readonly of: ReadonlyMap<Node, Tensor>;
  /** What each node gives to its operands. */
  readonly parts: ReadonlyMap<Node, readonly (Tensor | undefined)[]>;
  /** Nodes in the order in which their cotangents are complete. */
  readonly order: readonly Node[];
}

/** Builds the cotangents of all that a scalar depends on. */
export function cotangentsOf(root: Node): Cotangents {
  const of = new Map<Node, Tensor>(), parts = new Map<Node, (Tensor | undefined)[]>();
  if ((root.track & BY_BACKWARD) !== 0) {
    withAmbient({ noGrad: true }, () => {
      reverse([root], [wrap(root).onesLike()], {
        mask: BY_BACKWARD,
        isTarget: (n: Node) => n.cell !== null,
        visit: (n, ct) => void of.set(n, ct),
        part: (n, k, ct) => {
          const own = parts.get(n) ?? [];
          own[k] = ct;
          parts.set(n, own);
        },
      });
    });
  }
  return { of, parts, order: [...of.keys()] };
}

/** Operations of the forward pass. */
export function workOf(nodes: GraphNodes): number {
  return nodes.all.reduce((sum, n) => {
    // A tuple counts what is recorded in it.
    if (nodes.isLeaf(n) || n.value !== null || nodes.isInside(n)) return sum;
    return sum + costOf(n.op, nodes.inputs(n), n, n.p).flops;
  }, 0);
}

/** The derivative of an elementwise scalar op by each operand: what to read, or a number. */
export function partialsOf(n: Node, inputs: readonly Node[]): (Tensor | number | undefined)[] {
  const { op } = n;
  if (op.family !== "elementwise") return [];
  return withAmbient({ noGrad: true }, () => {
    const context: RuleContext = { x: inputs.map(wrap), y: wrap(n), p: n.p, needs: inputs.map(() => true) };
    return op.partials.map((partial, k) => inputs[k].track === 0 ? undefined : partial?.(context) ?? 0);
  });
}

/** Short text and norm of each tensor; `shapes` are those that the program sees. */
export async function summaries<K>(
  tensors: ReadonlyMap<K, Tensor>,
  shapeOf: (key: K) => Shape = (key) => tensors.get(key)!.shape,
): Promise<Map<K, Summary>> {
  const known = new Map<Node, Tensor>(), asked = new Set<Node>();
  withAmbient({ noGrad: true }, () => {
    for (const t of tensors.values()) {
      if (known.has(t.node)) continue;
      const shown = t.size <= SHORT ? t : isFloat(t.dtype) ? t.stopGradient().to("f32").norm() : null;
      if (shown === null) continue;
      known.set(t.node, shown);
      asked.add(shown.node);
    }
  });
  const list = [...asked], bits = await readNodes(list), found = new Map(list.map((n, i) => [n, bits[i]]));
  const out = new Map<K, Summary>();
  for (const [key, t] of tensors) {
    const values = found.get(known.get(t.node)?.node as Node);
    if (values === undefined) continue;
    if (t.size > SHORT) out.set(key, { text: `norm ${formatNumber(values[0])}`, norm: values[0] });
    else {
      const summary = { text: elements(values, t.dtype, shapeOf(key)), norm: Math.hypot(...values) };
      out.set(key, values.length === 1 ? { ...summary, scalar: values[0] } : summary);
    }
  }
  return out;
}

/** Nested brackets, as in `[[1, 2], [3, 4]]`. */
export function elements(bits: TypedArray, dtype: string, shape: Shape): string {
  const nested = (axis: number, at: number): string => {
    if (axis === shape.length) {
      if (dtype === "bool") return bits[at] !== 0 ? "true" : "false";
      return dtype === "i32" || dtype === "u32" ? formatWhole(bits[at]) : formatNumber(bits[at]);
    }
    const step = sizeOf(shape.slice(axis + 1));
    return `[${Array.from({ length: shape[axis] }, (_, i) => nested(axis + 1, at + i * step)).join(", ")}]`;
  };
  return nested(0, 0);
}

/** Where values stop being finite. */
export interface Fault {
  readonly node: Node;
  readonly what: "NaN" | "infinity";
  /** Whether its derivative made it, from finite values. */
  readonly backward: boolean;
}

/** The first nodes, in the order of computation, that make of finite operands what is not, and all that is not finite. */
export async function faultsOf(
  nodes: GraphNodes,
  { of, parts, order }: Cotangents,
): Promise<{ first: Fault | null; values: Map<Node, Fault["what"]>; cotangents: Map<Node, Fault["what"]> }> {
  const tensors = new Map<string, Tensor>();
  const index = new Map(nodes.all.map((n, i) => [n, i]));
  const worth = (t: Tensor): boolean => isFloat(t.dtype) && t.size > 0;
  nodes.all.forEach((n, i) => {
    if (nodes.isValue(n) && worth(wrap(n))) tensors.set(`v${i}`, wrap(n));
  });
  for (const [n, ct] of of) if (worth(ct)) tensors.set(`c${index.get(n)}`, ct);
  for (const [n, own] of parts) {
    own.forEach((ct, k) => ct !== undefined && worth(ct) && tensors.set(`p${index.get(n)},${k}`, ct));
  }
  // The largest size is NaN or infinite exactly where an element is.
  const largest = withAmbient(
    { noGrad: true },
    () => [...tensors.values()].map((t) => t.stopGradient().abs().amax().node),
  );
  const bits = await readNodes(largest), states = new Map<string, Fault["what"]>();
  [...tensors.keys()].forEach((key, i) => {
    const size = Number(bits[i][0]);
    if (!Number.isFinite(size)) states.set(key, Number.isNaN(size) ? "NaN" : "infinity");
  });
  const at = (kind: string, n: Node): Fault["what"] | undefined => states.get(`${kind}${index.get(n)}`);
  const collect = (kind: string, list: Iterable<Node>): Map<Node, Fault["what"]> =>
    new Map([...list].flatMap((n) => {
      const what = at(kind, n);
      return what === undefined ? [] : [[n, what] as const];
    }));
  const values = collect("v", nodes.all), cotangents = collect("c", of.keys());
  let first: Fault | null = null;
  for (const n of nodes.all) {
    const what = values.get(n);
    if (what === undefined || operandsOf(nodes, n).some((x) => values.has(x))) continue;
    first = { node: n, what, backward: false };
    break;
  }
  if (first === null) {
    for (const n of order) {
      const k = parts.get(n)?.findIndex((_, k) => states.has(`p${index.get(n)},${k}`)) ?? -1;
      if (k < 0 || cotangents.has(n)) continue;
      first = { node: n, what: states.get(`p${index.get(n)},${k}`)!, backward: true };
      break;
    }
  }
  return { first, values, cotangents };
}

/** Operands that have elements: those of the whole tuple for one of its outputs. */
function operandsOf(nodes: GraphNodes, n: Node): readonly Node[] {
  const inputs = nodes.inputs(n);
  return n.op.family === "output" && inputs.length > 0 ? nodes.inputs(inputs[0]) : inputs;
}
