/** The loss around a model's parameters, along two random directions. */
import { linspace } from "../ops/create.ts";
import { readNodes } from "../ops/runs.ts";
import { withSeed } from "../ops/rng.ts";
import { randnLike } from "../ops/sampling.ts";
import { Tensor } from "../ops/tensor.ts";
import { noGrad } from "../ops/transforms/backward.ts";
import type { Module } from "../nn/module.ts";
import type { Chart, ChartOptions } from "./chart.ts";
import { heatmap } from "./heatmap.ts";
import type { ModelLoss } from "./layer_plots.ts";
import { formatNumber, kindOf } from "./parts.ts";
import { plain } from "./readings.ts";
import { withoutTrace } from "./without_trace.ts";

/** Options of {@linkcode lossLandscape}. */
export interface LandscapeOptions extends ChartOptions {
  /** Points along each direction, an odd number so that the model is one; default 21. */
  points?: number;
  /** How far to go, in units of the weights' own size; default 1. */
  range?: number;
  /** Of the random directions; default 0. */
  seed?: number;
}

/**
 * The loss on a plane through the model's parameters, spanned by two random directions whose rows are as large as the
 * weights' own: Li et al. (2018), "Visualizing the loss landscape of neural nets". Biases and other vectors stay. The
 * model is left as it was.
 */
export async function lossLandscape<M extends Module>(
  model: M,
  loss: ModelLoss<M>,
  options: LandscapeOptions = {},
): Promise<Chart> {
  const { points = 21, range = 1, seed = 0, ...rest } = options;
  if (typeof (model as Module | null)?.namedModules !== "function" || typeof loss !== "function") {
    throw new TypeError(
      `Cannot draw the loss landscape of ${
        kindOf(model)
      }: it takes a module and a loss, as (model) => mseLoss(model.call(x), y)`,
    );
  }
  if (!Number.isInteger(points) || points < 3 || !(range > 0)) {
    throw new RangeError(
      `Cannot draw a loss landscape of ${points} points to ${range}: there are 3 at least, and the range is positive`,
    );
  }
  const weights = model.parameters().filter((p) => p.rank >= 2 && p.size > 0);
  if (weights.length === 0) throw new RangeError("Cannot draw a loss landscape: no parameter is a matrix");
  const places = Array.from(await linspace(-range, range, points).data(), (v) => Number(v.toPrecision(6)));
  const idle = { backward: () => null, assign: () => {} };
  const rows = await withoutTrace(model, idle, (before) =>
    noGrad(async () => {
      const start = weights.map((p) => p.stopGradient().keep());
      const [across, down] = [1, 2].map((k) => withSeed(seed + k, () => start.map(direction)));
      const values: number[][] = [];
      for (const b of [...places].reverse()) {
        const row: Tensor[] = [];
        for (const a of places) {
          weights.forEach((p, i) => p.assign(start[i].add(across[i].mul(a)).add(down[i].mul(b))));
          before.sameNumbers();
          const value = await loss(model);
          if (!(value instanceof Tensor) || value.size !== 1) {
            throw new TypeError(
              `Cannot draw a loss landscape of ${
                value instanceof Tensor ? `a loss of shape [${value.shape}]` : kindOf(value)
              }: it is a tensor with one element`,
            );
          }
          row.push(plain(value).reshape([]).keep());
        }
        values.push((await readNodes(row.map((t) => t.node))).map(([v]) => v));
      }
      return values;
    }));
  const middle = points >> 1, flat = rows.flat(), least = Math.min(...flat.filter(Number.isFinite));
  const at = flat.indexOf(least), label = (i: number): string => formatNumber(places[i], 2);
  return heatmap({
    title: "loss landscape",
    subtitle: `loss at the model ${formatNumber(rows[points - 1 - middle][middle])}; least ${
      formatNumber(least)
    } at (${label(at % points)}, ${label(points - 1 - Math.floor(at / points))})`,
    xTitle: "direction 1",
    yTitle: "direction 2",
    ...rest,
    values: rows,
    x: places.map((_, i) => label(i)),
    y: places.map((_, i) => label(points - 1 - i)),
  });
}

/** A random direction each of whose rows is as long as that of the weight. */
function direction(w: Tensor): Tensor {
  const d = randnLike(w), axes = w.shape.map((_, i) => i).slice(1);
  const norm = (t: Tensor): Tensor => t.square().sum(axes, { keepdim: true }).sqrt();
  return d.mul(norm(w).div(norm(d).add(1e-12))).keep();
}
