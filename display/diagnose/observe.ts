/** One training step seen by instruments: graphs, cotangents, gradients and updates, read together at the end. */
import type { Watch } from "../../ops/ambient.ts";
import { isHalf } from "../../ops/dtype.ts";
import { BY_BACKWARD, type Node, wrap } from "../../ops/node.ts";
import { rngState } from "../../ops/rng.ts";
import { nodeHooks, retained, type Tensor } from "../../ops/tensor.ts";
import { noGrad } from "../../ops/transforms/backward.ts";
import { reverse } from "../../ops/transforms/reverse.ts";
import { type LayerWatch, Snapshot } from "../layers.ts";
import { normOf, plain, Readings } from "../readings.ts";

/** What an activation did: its units that are dead or saturated, and its mean slope. */
export interface ActivationSeen {
  /** The op. */
  readonly op: "relu" | "sigmoid" | "tanh";
  /** Where it stands, in words. */
  readonly place: string;
  /** Its serial, to tell what lies between two layers. */
  readonly serial: number;
  /** Values for each unit. */
  readonly perUnit: number;
  /** Share of units that are 0 for every example (relu), or of values past 0.97 of the range. */
  readonly share: () => number;
  /** Mean derivative. */
  readonly slope: () => number;
}

/** A layer as the backward pass went through it. */
export interface LayerSeen {
  /** Its name. */
  readonly name: string;
  /** The module's path, which calls of one module share. */
  readonly path: string;
  /** First serial after it. */
  readonly to: number;
  /** Norm of the cotangent of its output; null where none came. */
  gradient: (() => number) | null;
  /** Root mean square of its output. */
  readonly size: () => number;
  /** Standard deviation of its weight times the root of the operands it sums over; null without a matrix. */
  readonly gain: (() => number) | null;
}

/** One backward pass. */
export interface Pass {
  /** The graph it went through. */
  readonly graph: Snapshot;
  /** The gradient that it brought to each leaf. */
  readonly gradients: Map<Tensor, Tensor>;
  /** Leaves that had a gradient already. */
  readonly had: ReadonlySet<Tensor>;
  /** Random draws in the backward pass. */
  draws: number;
  /** Mean of the cotangent that it began with, which is 1 unless another was given. */
  readonly seed: () => number;
}

/** Parameters that were given new values together. */
export interface Update {
  /** What did it. */
  readonly by: string;
  /** The gradients that were there then. */
  readonly used: Map<Tensor, Tensor | null>;
  /** The values before. */
  readonly from: Map<Tensor, Tensor>;
  /** Backward passes before it. */
  readonly after: number;
}

/** What instruments note of one call of the step. */
export class Observation {
  /** Backward passes, in order. */
  readonly passes: Pass[] = [];
  /** Updates of parameters, in order. */
  readonly updates: Update[] = [];
  /** By leaf: norm of the gradient with the loss as it is and 1024 times as large, in half precision; elements lost. */
  readonly lost = new Map<Tensor, { gone: () => number; there: () => number }>();
  /** Activations, in the order of the graph. */
  activations: ActivationSeen[] = [];
  /** Layers with weights, from first to last. */
  layers: LayerSeen[] = [];

  readonly #values = new Map<Tensor, Node>();

  /** Looks closely (at graph, activations and layers) or only at gradients. */
  constructor(
    readonly parameters: readonly Tensor[],
    readonly readings: Readings,
    readonly layerWatch: LayerWatch | null,
  ) {}

  /** What looks on. */
  readonly watch: Watch = {
    backward: (root, seed) => this.#backward((root as Tensor).node, seed as Tensor),
    assign: (handle, before, by) => this.#assign(handle as Tensor, before as Node, by),
  };

  /** The node of a parameter's value in the step, also once an update has replaced it. */
  valueOf(p: Tensor): Node {
    return this.#values.get(p) ?? p.node;
  }

  /** All that came to a parameter; null if nothing did. */
  gradientOf(p: Tensor): Tensor | null {
    const parts = this.passes.flatMap(({ gradients }) => gradients.get(p) ?? []);
    return parts.length === 0 ? null : noGrad(() => parts.reduce((sum, g) => sum.add(g)));
  }

  /** Notes the graph of a loss that nothing trains. */
  withoutGradients(loss: Tensor): void {
    const graph = new Snapshot(loss.node);
    this.passes.push({ graph, gradients: new Map(), had: new Set(), draws: 0, seed: () => 1 });
  }

  #assign(handle: Tensor, before: Node, by: string): void {
    if (!handle.requiresGrad || !handle.isLeaf) return;
    let update = this.updates.at(-1);
    const isLater = update?.after !== this.passes.length; // another backward pass came in between
    if (update === undefined || isLater || update.by !== by || update.from.has(handle)) {
      update = { by, used: new Map(), from: new Map(), after: this.passes.length };
      this.updates.push(update);
    }
    update.from.set(handle, wrap(before).stopGradient());
    if (!this.#values.has(handle)) this.#values.set(handle, before);
    update.used.set(handle, handle.grad);
  }

  #backward(root: Node, seed: Tensor): (node: unknown, ct: unknown) => void {
    const graph = new Snapshot(root);
    const leaves = graph.nodes.flatMap((n) => n.cell !== null && n.track !== 0 ? [n.cell] : []);
    const begun = rngState().count;
    const pass: Pass = {
      graph,
      gradients: new Map(),
      had: new Set(leaves.filter((p) => p.grad !== null)),
      draws: 0,
      seed: this.readings.one(noGrad(() => plain(seed).mean())),
    };
    const isFirst = this.passes.push(pass) === 1;
    const outputs = new Map<Node, LayerSeen>();
    if (this.layerWatch !== null && isFirst) {
      noGrad(() => {
        this.lookAt(graph, outputs);
        if (graph.nodes.some((n) => isHalf(n.dtype) && n.track !== 0)) this.#scaled(root, seed, graph, pass);
      });
    }
    // What hooks on parameters make of their gradients is how these are used, as clipping is.
    const arrived = new Map<Tensor, Tensor>(), watched = new Map<Tensor, () => void>();
    for (const leaf of leaves) {
      const hooks = nodeHooks.get(leaf);
      if (hooks === undefined || hooks.length === 0) continue;
      const hook = (ct: Tensor): void => void arrived.set(leaf, ct);
      hooks.unshift(hook);
      watched.set(leaf, () => hooks.splice(hooks.indexOf(hook), 1));
    }
    return (node, ct) => {
      const n = node as Node, t = ct as Tensor;
      pass.draws = rngState().count - begun;
      if (n.cell !== null) {
        watched.get(n.cell)?.();
        pass.gradients.set(n.cell, arrived.get(n.cell) ?? t);
      }
      const layer = outputs.get(n);
      if (layer !== undefined) layer.gradient = this.readings.one(normOf(t));
    };
  }

  /** Asks for what activations and layers are doing. */
  lookAt(graph: Snapshot, outputs: Map<Node, LayerSeen>): void {
    const { readings } = this, watch = this.layerWatch!, present = new Set(graph.nodes);
    for (const n of graph.nodes) {
      const op = n.op.name;
      if (
        (op !== "relu" && op !== "sigmoid" && op !== "tanh") || n.track === 0 || n.shape.length === 0 ||
        n.shape.includes(0)
      ) {
        continue;
      }
      this.activations.push(activation(op, n, graph, watch.placeOf(n), readings));
    }
    for (const call of watch.weighted()) {
      const y = call.outputs.find((o) => present.has(o) && o.track !== 0);
      if (y === undefined || y.shape.length === 0) continue;
      const matrix = watch.weightsOf(call.module).find((p) => p.rank >= 2);
      const isTable = matrix !== undefined &&
        graph.nodes.some((n) =>
          n.op.name === "embedding" && graph.inputs.get(n)!.some((x) => x.cell === matrix)
        );
      const layer: LayerSeen = {
        name: call.name,
        path: call.path,
        to: call.to,
        gradient: null,
        size: readings.one(plain(wrap(y)).square().mean().sqrt()),
        gain: matrix === undefined || isTable ? null : readings.one(
          plain(matrix).square().mean().sqrt().mul(Math.sqrt(matrix.size / matrix.shape[0])),
        ),
      };
      this.layers.push(layer);
      outputs.set(y, layer);
    }
  }

  /** The same backward pass of 1024 times the loss: what half precision loses to zero comes back in it. */
  #scaled(root: Node, seed: Tensor, graph: Snapshot, pass: Pass): void {
    const hooks = graph.nodes.map((n) => [n.cell ?? n, nodeHooks.get(n.cell ?? n)] as const);
    const kept = graph.nodes.map((n) => [n, retained.get(n)] as const);
    for (const [at] of hooks) nodeHooks.delete(at);
    for (const [n] of kept) retained.delete(n);
    const walk = (factor: number): Map<Node, Tensor> =>
      reverse([root], [seed.mul(factor)], { mask: BY_BACKWARD, isTarget: (n) => n.cell !== null });
    try {
      const once = walk(1);
      for (const [leaf, ct] of walk(1024)) {
        const there = plain(ct).ne(0), gone = plain(once.get(leaf)!).eq(0).logicalAnd(there);
        const count = (t: Tensor): () => number => this.readings.one(t.to("f32").sum());
        if (leaf.cell !== null) this.lost.set(leaf.cell, { gone: count(gone), there: count(there) });
      }
    } finally {
      for (const [at, list] of hooks) if (list !== undefined) nodeHooks.set(at, list);
      for (const [n, set] of kept) if (set !== undefined) retained.set(n, set);
    }
    pass.draws = 0;
  }
}

function activation(
  op: ActivationSeen["op"],
  n: Node,
  graph: Snapshot,
  place: string,
  readings: Readings,
): ActivationSeen {
  const y = plain(wrap(n)), serial = n.serial;
  if (op !== "relu") {
    const slope = op === "sigmoid" ? y.mul(y.neg().add(1)) : y.square().neg().add(1);
    const past = op === "sigmoid" ? y.sub(0.5).abs().gt(0.47) : y.abs().gt(0.97);
    return {
      op,
      place,
      serial,
      perUnit: 1,
      share: readings.one(past.to("f32").mean()),
      slope: readings.one(slope.mean()),
    };
  }
  // Channels are units of a convolution, the last axis of anything else.
  const unit = n.shape.length > 2 && comesFromConvolution(graph, n) ? 1 : n.shape.length - 1;
  const others = n.shape.flatMap((_, axis) => axis === unit ? [] : [axis]);
  const most = others.length === 0 ? y : y.amax(others);
  return {
    op,
    place,
    serial,
    perUnit: y.size / n.shape[unit],
    share: readings.one(most.eq(0).to("f32").mean()),
    slope: readings.one(y.gt(0).to("f32").mean()),
  };
}

/** Whether the nearest product behind an activation is a convolution. */
function comesFromConvolution(graph: Snapshot, node: Node): boolean {
  const queue = [node], seen = new Set(queue);
  for (const x of queue) {
    if (x.op.name === "convolution") return true;
    if (x.op.family === "contraction" || seen.size > 200) return false;
    for (const y of graph.inputs.get(x) ?? []) {
      if (seen.has(y) || y.cell !== null) continue;
      seen.add(y);
      queue.push(y);
    }
  }
  return false;
}
