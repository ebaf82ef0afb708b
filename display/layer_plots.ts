/** What gradients and activations are by layer, each plot with one call. */
import { Tensor } from "../ops/tensor.ts";
import type { Watch } from "../ops/ambient.ts";
import { type Node, wrap } from "../ops/node.ts";
import { flush } from "../ops/runs.ts";
import { noGrad } from "../ops/transforms/backward.ts";
import type { Module } from "../nn/module.ts";
import { Chart, type ChartOptions } from "./chart.ts";
import { Observation } from "./diagnose/observe.ts";
import { layerLines, layerShares, layerStrips } from "./layer_charts.ts";
import { layerName, LayerWatch, Snapshot } from "./layers.ts";
import { formatNumber, kindOf } from "./parts.ts";
import { normOf, plain, Readings } from "./readings.ts";
import { withoutTrace } from "./without_trace.ts";

/** Options of {@linkcode gradientNorms}. */
export interface GradientNormOptions extends ChartOptions {
  /** A row for each layer (default) or for each parameter. */
  by?: "layer" | "parameter";
}

/** Parameters by layer: the module that they are fields of. */
export function parametersByLayer(model: Module, by: "layer" | "parameter" = "layer"): Map<string, Tensor[]> {
  const layers = new Map<string, Tensor[]>(), modules = model.namedModules();
  for (const [path, p] of Object.entries(model.namedParameters())) {
    const owner = path.split(".").slice(0, -1).join(".");
    const name = by === "parameter" ? path : layerName(owner, modules[owner]);
    layers.set(name, [...layers.get(name) ?? [], p]);
  }
  return layers;
}

/**
 * The norm of the gradient by layer, from what `backward` has left in `.grad`, on a log scale; several models or runs
 * are laid over each other.
 *
 * ```ts
 * import { gradientNorms, Linear, randn, Sequential, type Tensor } from "@cotangent/cotangent";
 * const model = new Sequential(new Linear(4, 8), (x: Tensor) => x.relu(), new Linear(8, 1));
 * model.call(randn([16, 4])).square().mean().backward();
 * const chart = gradientNorms(model); // the last line of a cell shows it
 * ```
 */
export function gradientNorms(
  models: Module | Readonly<Record<string, Module>>,
  options: GradientNormOptions = {},
): Chart {
  const named = isModule(models) ? { "": models } : models;
  if (typeof named !== "object" || named === null || !Object.values(named).every(isModule)) {
    throw new TypeError(
      `Cannot draw the gradient norms of ${
        kindOf(models)
      }: give a module, or modules by name, after backward`,
    );
  }
  const layers: string[] = [], places: { run: string; at: number }[] = [], norms: Tensor[] = [];
  for (const [run, model] of Object.entries(named)) {
    for (const [layer, parameters] of parametersByLayer(model, options.by)) {
      const gradients = parameters.flatMap((p) => p.grad ?? []);
      if (!layers.includes(layer)) layers.push(layer);
      if (gradients.length === 0) continue;
      places.push({ run, at: layers.indexOf(layer) });
      norms.push(noGrad(() => normOfAll(gradients)).keep());
    }
  }
  const title = {
    title: "gradient norm by layer",
    xTitle: "norm of the gradient",
    ...options,
    dots: options.by === "parameter",
  };
  return new Chart(norms, (values) => {
    const runs = Object.fromEntries(Object.keys(named).map((run) => [run, layers.map(() => NaN)]));
    places.forEach(({ run, at }, i) => runs[run][at] = values[i][0]);
    return layerLines(title, { layers, runs });
  });
}

/** The norm of several tensors taken together, `[1]`. */
export function normOfAll(list: readonly Tensor[]): Tensor {
  const norms = list.map((g) => normOf(g));
  const most = norms.reduce((a, b) => a.maximum(b)), divisor = most.where(most.gt(0), 1);
  return norms.map((n) => n.div(divisor).square()).reduce((a, b) => a.add(b)).sqrt().mul(most).reshape([1]);
}

function isModule(x: unknown): x is Module {
  return typeof (x as Module | null)?.namedModules === "function";
}

/** A loss from a model, for plots that run it once. */
export type ModelLoss<M extends Module> = (model: M) => Tensor | Promise<Tensor>;

/** Runs the loss once, forwards and back, and leaves no trace; `see` takes down what it needs of each layer. */
async function once<M extends Module>(
  action: string,
  model: M,
  loss: ModelLoss<M>,
  look: (layers: LayerWatch, outputs: Map<Node, string>, graph: Snapshot) => void,
  see: (layer: string, ct: Tensor) => void,
): Promise<void> {
  if (!isModule(model)) {
    throw new TypeError(`Cannot ${action} of ${kindOf(model)}: it takes a module and its loss`);
  }
  if (typeof loss !== "function") {
    throw new TypeError(
      `Cannot ${action} without a loss: give a function, as (model) => mseLoss(model.call(x), y)`,
    );
  }
  const layers = new LayerWatch(model), outputs = new Map<Node, string>();
  const watch: Watch = {
    backward: (root) => {
      const graph = new Snapshot((root as Tensor).node), present = new Set(graph.nodes);
      for (const call of layers.calls) {
        if (call.isTraced || call.path === "" || Object.keys(call.module.children()).length > 0) continue;
        const y = call.outputs.find((o) => present.has(o) && o.shape.every((n) => n > 0));
        if (y !== undefined && !outputs.has(y)) outputs.set(y, call.name);
      }
      noGrad(() => look(layers, outputs, graph));
      return (node, ct) => {
        const layer = outputs.get(node as Node);
        if (layer !== undefined) noGrad(() => see(layer, ct as Tensor));
      };
    },
    assign: () => {},
  };
  await withoutTrace(model, watch, async () => {
    try {
      const value = await loss(model);
      if (!(value instanceof Tensor) || value.size !== 1) {
        throw new TypeError(
          `Cannot ${action}: the loss is ${
            value instanceof Tensor ? `of shape [${value.shape}]` : kindOf(value)
          } and must be a tensor with one element`,
        );
      }
      value.backward();
    } finally {
      layers.stop();
    }
    flush();
  });
}

const BINS = 60;

/** A strip for each layer: where the values of its output lie. Runs the loss once and leaves no trace. */
export async function activationHistograms<M extends Module>(
  model: M,
  loss: ModelLoss<M>,
  options: ChartOptions = {},
): Promise<Chart> {
  const names: string[] = [], inputs: Tensor[] = [];
  await once("draw the activations", model, loss, (_layers, outputs) => {
    const values = [...outputs].map(([node]) => plain(wrap(node)));
    names.push(...outputs.values());
    // Four times the largest root mean square holds almost all values of every layer.
    const limit = values.map((y) => y.square().mean().sqrt()).reduce(
      (a, b) => a.maximum(b),
      values[0]?.scalarLike(0),
    )
      ?.mul(4).add(1e-30);
    if (limit === undefined) return;
    inputs.push(limit.reshape([1]).keep());
    for (const y of values) {
      inputs.push(y.div(limit).clamp(-1, 1).histc(BINS, { min: -1, max: 1 }).keep());
      inputs.push(y.mean().reshape([1]).keep(), y.sub(y.mean()).square().mean().sqrt().reshape([1]).keep());
    }
  }, () => {});
  const title = { title: "activations by layer", xTitle: "value", ...options };
  return new Chart(inputs, ([limit, ...rest]) => {
    const most = limit?.[0] ?? 1, high = Number.isFinite(most) && most > 0 ? most : 1;
    return layerStrips(
      title,
      names.map((layer, i) => ({
        layer,
        counts: rest[3 * i],
        note: `${formatNumber(rest[3 * i + 1][0], 2)} ± ${formatNumber(rest[3 * i + 2][0], 2)}`,
      })),
      { low: -high, high },
    );
  });
}

/** A strip for each layer: the sizes of its output's cotangents, on a log scale. Runs the loss once and leaves no trace. */
export async function gradientHistograms<M extends Module>(
  model: M,
  loss: ModelLoss<M>,
  options: ChartOptions = {},
): Promise<Chart> {
  const low = -12, high = 4;
  const found = new Map<string, Tensor[]>(), order: string[] = [];
  await once("draw the gradients", model, loss, (_layers, outputs) => {
    order.push(...outputs.values());
  }, (layer, ct) => {
    const size = plain(ct).abs(), zero = size.eq(0);
    const power = size.where(zero.logicalNot(), 1).log10().clamp(low, high).where(
      zero.logicalNot(),
      2 * high,
    );
    found.set(layer, [
      power.histc(BINS, { min: low, max: high }).keep(),
      zero.to("f32").mean().reshape([1]).keep(),
      size.isfinite().logicalNot().to("f32").mean().reshape([1]).keep(),
    ]);
  });
  const names = order.filter((name) => found.has(name));
  const title = { title: "gradients by layer", xTitle: "size of the cotangent's elements", ...options };
  return new Chart(names.flatMap((name) => found.get(name)!), (values) =>
    layerStrips(
      title,
      names.map((layer, i) => ({
        layer,
        counts: values[3 * i],
        note: [
          [values[3 * i + 1][0], "zero"],
          [values[3 * i + 2][0], "not finite"],
        ].flatMap(([share, what]) =>
          (share as number) > 0.005 ? [`${Math.round(100 * (share as number))} % ${what}`] : []
        )
          .join(", "),
      })),
      { low, high, powers: true },
    ));
}

/**
 * How much of each activation is of no use to gradients: units of a ReLU that are 0 for every example, values of sigmoid
 * and tanh past 0.97 of their range. Runs the loss once and leaves no trace.
 */
export async function saturation<M extends Module>(
  model: M,
  loss: ModelLoss<M>,
  options: ChartOptions = {},
): Promise<Chart> {
  const readings = new Readings();
  let seen: Observation | null = null;
  await once("draw the saturation", model, loss, (layers, _outputs, graph) => {
    seen = new Observation(model.parameters(), readings, layers);
    seen.lookAt(graph, new Map());
  }, () => {});
  await readings.read();
  const activations = (seen as Observation | null)?.activations ?? [];
  const title = {
    title: "saturation by layer",
    xTitle: "dead units of ReLU, values of sigmoid and tanh past 0.97",
    ...options,
  };
  return new Chart(
    [],
    () => layerShares(title, activations.map((a) => ({ layer: a.place, kind: a.op, share: a.share() }))),
  );
}
