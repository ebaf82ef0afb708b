/** What a call of a module costs by layer: shapes and operations, from its graph; nothing is computed. */
import { full } from "../ops/create.ts";
import { costOf } from "../ops/cost.ts";
import { isFloat } from "../ops/dtype.ts";
import { bareTrace, BY_BACKWARD, inTrace, nextSerial, type Node, wrap } from "../ops/node.ts";
import { rngState, setRngState } from "../ops/rng.ts";
import { flush } from "../ops/runs.ts";
import type { Shape } from "../ops/shape.ts";
import { Tensor } from "../ops/tensor.ts";
import { noGrad } from "../ops/transforms/backward.ts";
import { reverse } from "../ops/transforms/reverse.ts";
import type { Module, TensorOutline } from "../nn/module.ts";
import { isPlainObject } from "./bundle.ts";
import { LayerWatch, Snapshot } from "./layers.ts";

/** A module's part of a call. */
export interface LayerCost {
  /** Shapes of what it returned last. */
  readonly outputs: readonly Shape[];
  /** How often it was called. */
  calls: number;
  /** Operations of the forward pass. */
  forward: number;
  /** Operations of the backward pass to parameters. */
  backward: number;
}

/** Costs by module, and what belongs to none. */
export interface ModelCost {
  /** By module, of the innermost one that an op was made in. */
  readonly layers: ReadonlyMap<Module, LayerCost>;
  /** Operations of the whole forward pass. */
  readonly forward: number;
  /** Operations of the whole backward pass. */
  readonly backward: number;
}

/** An argument with zeros in place of its tensors. */
function filled(x: unknown): unknown {
  if (x instanceof Tensor) return full([...x.shape], 0, { dtype: x.dtype, device: x.device });
  if (isOutline(x)) return full([...x.shape], 0, { dtype: x.dtype, device: x.device });
  if (Array.isArray(x)) return x.map(filled);
  return isPlainObject(x) ? Object.fromEntries(Object.entries(x).map(([k, v]) => [k, filled(v)])) : x;
}

function isOutline(x: unknown): x is TensorOutline {
  return typeof x === "object" && x !== null && "shape" in x && "dtype" in x && "device" in x;
}

/** What `model.call(...inputs)` costs; inputs are tensors or their outlines. Random numbers and buffers stay as they are. */
export function costOfCall(model: Module, inputs: readonly unknown[]): ModelCost {
  flush(model.members().map((m) => m.tensor.node)); // so that starting values are no part of the call
  const watch = new LayerWatch(model), random = rngState();
  const trace = bareTrace("checkpoint", nextSerial()); // assignments inside are undone
  try {
    return inTrace(trace, () => {
      // deno-lint-ignore no-explicit-any
      const result = (model as any).call(...inputs.map(filled));
      watch.stop();
      return sumUp(watch, tensorsOf(result));
    });
  } finally {
    watch.stop();
    for (const [handle, before] of trace.effects) handle.node = before;
    setRngState(random);
  }
}

function tensorsOf(x: unknown): Tensor[] {
  if (x instanceof Tensor) return [x];
  if (Array.isArray(x)) return x.flatMap(tensorsOf);
  return isPlainObject(x) ? Object.values(x).flatMap(tensorsOf) : [];
}

function sumUp(watch: LayerWatch, results: readonly Tensor[]): ModelCost {
  const layers = new Map<Module, LayerCost>(), byScope = new Map<string, Module>();
  for (const call of watch.calls) {
    const calls = (layers.get(call.module)?.calls ?? 0) + 1;
    layers.set(call.module, { outputs: call.outputs.map((y) => y.shape), calls, forward: 0, backward: 0 });
    const own = call.outputs.find((y) => watch.makerOf(y) === call);
    if (own?.scope) byScope.set(own.scope.path, call.module);
  }
  const tally = new Tally(byScope, layers);
  const before = new Set<Node>();
  for (const y of results) {
    for (const n of new Snapshot(y.node).nodes) {
      if (before.has(n)) continue;
      before.add(n);
      tally.add("forward", n, watch.makerOf(n)?.module ?? null);
    }
  }
  // The nodes that a rule makes follow the visit of the node whose rule it is.
  const begins: { serial: number; module: Module | null }[] = [], start = nextSerial();
  const ends = results.filter((y) => isFloat(y.dtype) && y.requiresGrad);
  if (ends.length > 0) {
    const found = noGrad(() =>
      reverse(ends.map((y) => y.node), ends.map((y) => y.onesLike()), {
        mask: BY_BACKWARD,
        isTarget: (n) => n.cell !== null,
        visit: (n) => void begins.push({ serial: nextSerial(), module: watch.makerOf(n)?.module ?? null }),
      })
    );
    for (const ct of found.values()) {
      for (const n of new Snapshot(ct.node).nodes) {
        if (n.serial < start || before.has(n)) continue;
        before.add(n);
        tally.add("backward", n, ownerAt(begins, n.serial));
      }
    }
  }
  return { layers, forward: tally.forward, backward: tally.backward };
}

/** Operations, by pass and by module. */
class Tally {
  forward = 0;
  backward = 0;
  readonly #expanded = new Set<Node>();

  constructor(
    readonly byScope: ReadonlyMap<string, Module>,
    readonly layers: ReadonlyMap<Module, LayerCost>,
  ) {}

  /** Counts a node for `owner`; what a tuple stands for, for the modules that it was recorded in. */
  add(pass: "forward" | "backward", node: Node, owner: Module | null): void {
    if (node.value !== null || node.op.family === "output") return;
    if (node.op.family !== "tuple") {
      const { flops } = costOf(node.op, node.inputs, node, node.p), layer = this.layers.get(owner!);
      this[pass] += flops;
      if (layer !== undefined) layer[pass] += flops;
      return;
    }
    if (this.#expanded.has(node)) return;
    this.#expanded.add(node);
    const { op, p, inputs } = node, seen = new Set<Node>(inputs);
    const stack = noGrad(() => op.expand(inputs.map(wrap), p)).map((t) => t.node);
    while (stack.length > 0) {
      const n = stack.pop()!;
      if (seen.has(n)) continue;
      seen.add(n);
      this.add(pass, n, this.byScope.get(n.scope?.path ?? "") ?? owner);
      for (const x of n.inputs) stack.push(x);
    }
  }
}

/** The module whose rule was at work when a serial was given. */
function ownerAt(
  begins: readonly { serial: number; module: Module | null }[],
  serial: number,
): Module | null {
  let low = 0, high = begins.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (begins[middle].serial <= serial) low = middle + 1;
    else high = middle;
  }
  return low === 0 ? null : begins[low - 1].module;
}
