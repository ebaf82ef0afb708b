/** Reverse mode: walks a graph from its outputs to targets and builds the graph of cotangents. */
import { ambient } from "../ambient.ts";
import { outputsOf } from "../definitions/structural.ts";
import { backwardOf, BY_BACKWARD, currentScope, type Node, readGuarded, setScope, wrap } from "../node.ts";
import type { Tuple } from "../primitive.ts";
import { replacementOf } from "../runs.ts";
import { sameShape, showShape } from "../shape.ts";
import { hookChanges, nodeHooks, retained, Tensor } from "../tensor.ts";
import { FanOut } from "./fan_out.ts";

/** Which differentiation walks (`mask` of {@linkcode Node.track}) and where it ends. */
export interface Walk {
  readonly mask: number;
  readonly isTarget: (node: Node) => boolean;
  /** Give zeros to targets that are reached without any cotangent. */
  readonly zeros?: boolean;
  /** Sees every cotangent once it is complete, for pictures. */
  readonly visit?: (node: Node, ct: Tensor) => void;
  /** Sees what a node gives to the cotangent of operand `k`, for pictures. */
  readonly part?: (node: Node, k: number, ct: Tensor) => void;
}

/** Cotangents of all targets that the outputs depend on. */
export function reverse(
  outputs: readonly Node[],
  seeds: readonly (Tensor | null)[],
  walk: Walk,
): Map<Node, Tensor> {
  const order = reachable(outputs, walk);
  const needs = new Set<Node>();
  for (const node of order) {
    if (walk.isTarget(node) || node.inputs.some((x) => needs.has(x))) needs.add(node);
  }
  const cts = new Map<Node, FanOut>();
  const tupleCts = new Map<Node, (Tensor | null)[]>();
  const found = new Map<Node, Tensor>();
  const add = (node: Node, ct: Tensor | null): void => {
    if (ct === null || !needs.has(node)) return;
    let sum = cts.get(node);
    if (sum === undefined) cts.set(node, sum = new FanOut());
    sum.add(ct);
  };
  const give = (node: Node, k: number, ct: Tensor | null): void => {
    if (ct !== null) walk.part?.(node, k, ct);
    add(node.inputs[k], ct);
  };
  outputs.forEach((node, i) => add(node, seeds[i]));
  const log = ambient().anomaly, outer = log?.backwardOf ?? null, caller = currentScope();
  const visit = (node: Node): void => {
    if (log !== null) log.backwardOf = node;
    setScope(node.scope === null ? caller : backwardOf(node.scope));
    if (node.op.family === "tuple") {
      const list = tupleCts.get(node);
      if (list !== undefined) pullTuple(node, node.op, list, needs, give);
      return;
    }
    const sum = cts.get(node);
    if (sum === undefined) return;
    cts.delete(node);
    let ct = sum.total();
    const { cell } = node, hooks = nodeHooks.get(cell ?? node);
    if (cell !== null) {
      readGuarded(
        () => hookChanges.get(cell) ?? 0,
        `the number of changes to the hooks of ${cell.name ?? "a tensor"}`,
      );
    }
    if (hooks !== undefined) {
      for (const hook of [...hooks]) {
        const changed = hook(ct);
        if (changed !== undefined) ct = checkHook(changed, ct);
      }
    }
    // To look at a graph changes no gradient.
    if (walk.mask === BY_BACKWARD && walk.visit === undefined) {
      for (const handle of retained.get(node) ?? []) {
        handle.grad = handle.grad === null ? ct : handle.grad.add(ct);
      }
    }
    walk.visit?.(node, ct);
    if (walk.isTarget(node)) {
      found.set(node, ct);
      return;
    }
    if (node.op.family === "output") {
      const tuple = node.inputs[0];
      const list = tupleCts.get(tuple) ?? [];
      list[node.p.i] = list[node.p.i] === undefined ? ct : list[node.p.i]!.add(ct);
      tupleCts.set(tuple, list);
      walk.part?.(node, 0, ct);
      return;
    }
    if (node.op.family === "leaf") return;
    const wanted = node.inputs.map((x) => needs.has(x));
    const parts = node.op.vjp(ct, { x: node.inputs.map(wrap), y: wrap(node), p: node.p, needs: wanted });
    for (let k = 0; k < parts.length; k++) if (wanted[k]) give(node, k, parts[k]);
  };
  try {
    for (let i = order.length - 1; i >= 0; i--) if (needs.has(order[i])) visit(order[i]);
  } finally {
    setScope(caller);
    if (log !== null) log.backwardOf = outer;
  }
  // Reached, but every derivative on the way is zero (round, sign): a gradient of zeros, not none.
  if (walk.zeros) {
    for (const node of order) {
      if (walk.isTarget(node) && !found.has(node)) found.set(node, wrap(node).zerosLike());
    }
  }
  return found;
}

function checkHook(changed: Tensor, ct: Tensor): Tensor {
  if (!(changed instanceof Tensor)) {
    const what = (changed as unknown) instanceof Promise
      ? "a promise: hooks are synchronous"
      : typeof changed;
    throw new TypeError(
      `Cannot go on with what a hook returned (${what}): it must be a tensor like the cotangent, or nothing`,
    );
  }
  if (!sameShape(changed.shape, ct.shape) || changed.dtype !== ct.dtype) {
    throw new RangeError(
      `Cannot go on with a hook's cotangent of shape ${showShape(changed.shape)}, ${changed.dtype}: ` +
        `it must be like the one it was given, ${showShape(ct.shape)}, ${ct.dtype}`,
    );
  }
  return changed;
}

function pullTuple(
  node: Node,
  op: Tuple,
  list: (Tensor | null)[],
  needs: Set<Node>,
  give: (node: Node, k: number, ct: Tensor | null) => void,
): void {
  const outputs = op.outputs(node.inputs, node.p);
  const cts = outputs.map((_, i) => list[i] ?? null);
  const wanted = node.inputs.map((x) => needs.has(x));
  const parts = op.vjp(cts, { x: node.inputs.map(wrap), y: outputsOf(node), p: node.p, needs: wanted });
  parts.forEach((part, k) => wanted[k] && give(node, k, part));
}

/** The differentiable part of the graph, operands first. */
export function reachable(outputs: readonly Node[], walk: Walk): Node[] {
  const order: Node[] = [], seen = new Set<Node>();
  const stack: Node[] = [], next: number[] = [];
  for (const output of outputs) {
    if ((output.track & walk.mask) === 0 || seen.has(output)) continue;
    stack.push(output), next.push(0);
    seen.add(output);
    while (stack.length > 0) {
      const top = stack.length - 1, node = stack[top];
      if (next[top] === 0) checkAlive(node, walk.mask);
      if (walk.isTarget(node) || next[top] >= node.inputs.length) {
        order.push(node);
        stack.pop(), next.pop();
        continue;
      }
      const x = node.inputs[next[top]++];
      if ((x.track & walk.mask) !== 0 && !seen.has(x)) {
        seen.add(x);
        stack.push(x), next.push(0);
      }
    }
  }
  return order;
}

function checkAlive(node: Node, mask: number): void {
  if (mask !== BY_BACKWARD) return;
  const stale = replacementOf(node);
  if (stale === null) return;
  const { by, parameter } = stale;
  throw new Error(
    `Cannot differentiate a graph built before ${by}: ${by} replaced ${
      parameter ? `parameter ${parameter}` : "a parameter"
    } that it used. ` +
      `Compute the loss anew after the step, or call backward before it`,
  );
}
