/** What gradients and updates are by layer over the steps of a training: noted on the device, read now and then. */
import type { Node } from "../ops/node.ts";
import { readNodes } from "../ops/runs.ts";
import { cat } from "../ops/functions.ts";
import type { Tensor } from "../ops/tensor.ts";
import { noGrad } from "../ops/transforms/backward.ts";
import type { Module } from "../nn/module.ts";
import { Drawing, messageOf, type Presentation } from "./bundle.ts";
import { Chart, type ChartOptions, type ChartParts } from "./chart.ts";
import { layerMap } from "./layer_map.ts";
import { normOfAll, parametersByLayer } from "./layer_plots.ts";
import { kindOf } from "./parts.ts";

const READ_MS = 500;

/** Numbers `[layers]` by step, on the device until they are read. */
class Series {
  readonly steps: number[] = [];
  readonly values: ArrayLike<number>[] = [];
  #pending: { step: number; node: Node }[] = [];

  add(step: number, t: Tensor): void {
    this.#pending.push({ step, node: t.keep().node });
  }

  get isWaiting(): boolean {
    return this.#pending.length > 0;
  }

  async read(): Promise<void> {
    const pending = this.#pending;
    this.#pending = [];
    const values = await readNodes(pending.map(({ node }) => node));
    pending.forEach(({ step }, i) => {
      this.steps.push(step);
      this.values.push(values[i]);
    });
  }
}

/**
 * Norms of gradients and sizes of updates by layer, step by step. Shown itself it is the map of gradient norms; made by
 * {@linkcode recordLayers}.
 */
export class LayerRecord extends Drawing {
  readonly #layers: Map<string, Tensor[]>;
  readonly #gradients = new Series();
  readonly #updates = new Series();
  #values = new Map<Tensor, Tensor>();
  #step = 0;
  #readAt = performance.now();
  #reading: Promise<void> = Promise.resolve();
  #fault: unknown = null;

  /** Made by `recordLayers`. */
  constructor(readonly model: Module) {
    super();
    this.#layers = parametersByLayer(model);
    this.#remember();
  }

  /** Notes a step: call it after `backward` and the optimiser's step, before gradients are forgotten. Waits for nothing. */
  note(): void {
    this.#step++;
    noGrad(() => {
      const groups = [...this.#layers.values()];
      const one = (list: Tensor[], norm: () => Tensor): Tensor =>
        list.length === 0 ? groups[0][0].scalarLike(NaN, "f32").reshape([1]) : norm();
      const gradients = groups.map((list) => list.flatMap((p) => p.grad ?? []));
      this.#gradients.add(
        this.#step,
        cat(gradients.map((list) => one(list, () => normOfAll(list).to("f32")))),
      );
      const moved = groups.map((list) => list.filter((p) => this.#hasOld(p)));
      const ratios = moved.map((list) =>
        one(list, () => {
          const old = list.map((p) => this.#values.get(p)!);
          const far = normOfAll(list.map((p, i) => p.stopGradient().to("f32").sub(old[i].to("f32"))));
          return far.div(normOfAll(old)).to("f32");
        })
      );
      this.#updates.add(this.#step, cat(ratios));
    });
    this.#remember();
    if (performance.now() - this.#readAt >= READ_MS) void this.#read();
  }

  #hasOld(p: Tensor): boolean {
    const old = this.#values.get(p);
    return old !== undefined && old.shape.join() === p.shape.join() && old.device === p.device;
  }

  #remember(): void {
    this.#values = new Map([...this.#layers.values()].flat().map((p) => [p, p.stopGradient()]));
  }

  #read(): Promise<void> {
    this.#readAt = performance.now();
    return this.#reading = this.#reading.then(async () => {
      try {
        await this.#gradients.read();
        await this.#updates.read();
      } catch (error) {
        this.#fault ??= error; // Said where it is drawn.
      }
    });
  }

  /** Reads what is still on the device. */
  async read(): Promise<void> {
    await this.#read();
    if (this.#fault !== null) throw this.#fault;
  }

  #map(series: Series, options: ChartOptions & { middle?: number }): Chart {
    const layers = [...this.#layers.keys()];
    return new LateChart(
      () => this.#read(),
      () => layerMap(options, { layers, steps: series.steps, values: series.values }),
    );
  }

  /** A map of layers by steps: the norm of the gradient, in powers of ten. */
  gradientNorms(options: ChartOptions = {}): Chart {
    return this.#map(this.#gradients, { title: "gradient norm by layer and step", ...options });
  }

  /** A map of layers by steps: how far weights moved, relative to their size; about 0.001 is usual. */
  updateRatios(options: ChartOptions = {}): Chart {
    const title = "update to weight ratio by layer and step";
    return this.#map(this.#updates, {
      title,
      subtitle: "0.001 is usual: blue is slower, orange faster",
      ...options,
      middle: 1e-3,
    });
  }

  /** The map of gradient norms, of what is read. */
  override text(): string {
    if (this.#step === 0) return "no step is noted: call note() after each";
    const unread = this.#gradients.isWaiting ? "\n(the last steps are not read yet)" : "";
    const fault = this.#fault === null ? "" : `\n(${messageOf(this.#fault)})`;
    return this.gradientNorms().text() + unread + fault;
  }

  /** Every representation; reads what is still on the device. */
  override async present(): Promise<Presentation> {
    await this.#read();
    return await super.present();
  }

  /** The map of gradient norms. */
  protected override async render(): Promise<Presentation> {
    return await this.gradientNorms().present();
  }
}

/** A chart of numbers that are still being gathered. */
class LateChart extends Chart {
  readonly #wait: () => Promise<void>;
  readonly #late: () => ChartParts;

  constructor(wait: () => Promise<void>, late: () => ChartParts) {
    super([], late);
    this.#wait = wait;
    this.#late = late;
  }

  override async present(): Promise<Presentation> {
    await this.#wait();
    return await new Chart([], this.#late).present();
  }
}

/**
 * Starts to record gradients and updates by layer. The record reads the device at most twice a second.
 *
 * ```ts
 * import { Linear, mseLoss, randn, recordLayers, SGD } from "@cotangent/cotangent";
 * const x = randn([16, 4]), model = new Linear(4, 1), optimizer = new SGD(model, { lr: 0.1 }), record = recordLayers(model);
 * for (let step = 0; step < 20; step++) {
 *   optimizer.zeroGrad();
 *   mseLoss(model.call(x), x.sum(1, { keepdim: true })).backward();
 *   optimizer.step();
 *   record.note();
 * }
 * await record.read();
 * const maps = [record.gradientNorms(), record.updateRatios()]; // the last line of a cell shows one
 * ```
 */
export function recordLayers(model: Module): LayerRecord {
  if (typeof (model as Module | null)?.namedModules !== "function") {
    throw new TypeError(`Cannot record the layers of ${kindOf(model)}: it takes a module`);
  }
  if (model.parameters().length === 0) {
    throw new RangeError(`Cannot record the layers of ${model.constructor.name}: it has no parameters`);
  }
  return new LayerRecord(model);
}
