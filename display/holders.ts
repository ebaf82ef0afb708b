/** How modules and optimisers look: tables by layer and of state. */
import { bytesOf } from "../ops/cost.ts";
import type { MimeBundle } from "../ops/presenter.ts";
import { Tensor } from "../ops/tensor.ts";
import { noGrad } from "../ops/transforms/backward.ts";
import type { Module } from "../nn/module.ts";
import type { Optimizer } from "../nn/optimizer.ts";
import { Drawing, type Presentation } from "./bundle.ts";
import { normOfAll } from "./layer_plots.ts";
import { costOfCall, type ModelCost } from "./module_cost.ts";
import { findRepeats } from "./graph_repeats.ts";
import { formatBytes, formatCount, formatNumber, kindOf, plainLine } from "./parts.ts";
import { normOf, plain, Readings } from "./readings.ts";
import { table } from "./table.ts";

/** A count: four digits are read as they are. */
const counted = (n: number): string => formatCount(n, 1e4);

const bytesOfAll = (list: readonly Tensor[]): number => list.reduce((sum, t) => sum + bytesOf(t), 0);

/**
 * A table of a model by layer: what comes out, parameters and bytes, operations forwards and back, and the norm of the
 * gradient where there is one. Shapes and operations come from a call with `inputs`, or like the last one; nothing is computed.
 *
 * ```ts
 * import { Linear, randn, ReLU, Sequential, summary } from "@cotangent/cotangent";
 * const model = new Sequential(new Linear(4, 8), new ReLU(), new Linear(8, 1));
 * console.log(summary(model, randn([16, 4])));
 * ```
 */
export function summary(model: Module, ...inputs: unknown[]): Drawing {
  if (typeof (model as Module | null)?.namedModules !== "function") {
    throw new TypeError(`Cannot sum up ${kindOf(model)}: it takes a module, and what it is called with`);
  }
  return new Summary(model, inputs.length > 0 ? costOfCall(model, inputs) : lastCall(model));
}

/** The costs of a call like the last one, if there was one and it can be repeated. */
function lastCall(model: Module): ModelCost | null {
  if (model.calledWith === null) return null;
  try {
    return costOfCall(model, model.calledWith);
  } catch {
    return null; // A forward pass that looks at values, or takes what is no plain data.
  }
}

/** Lines from which on blocks that repeat are one. */
const MANY = 24;

/** `blocks.0…11.norm1` of `blocks.0.norm1` and `blocks.11.norm1`. */
function spanned(first: string, last: string): string {
  const ends = last.split(".");
  return first.split(".").map((part, i) => part === ends[i] ? part : `${part}…${ends[i]}`).join(".");
}

interface Line {
  readonly name: string;
  readonly module: Module;
  readonly own: readonly Tensor[];
}

class Summary extends Drawing {
  readonly #lines: Line[] = [];
  #norms: ReadonlyMap<Module, number> = new Map();

  constructor(readonly model: Module, readonly cost: ModelCost | null) {
    super();
    // Objects have names that are numbers first, which layers in a row need not be.
    const first = ([path]: [string, Module]): number => path === "" ? -1 : Number(path.split(".")[0]);
    const entries = Object.entries(model.namedModules());
    if (entries.every((entry) => !Number.isNaN(first(entry)))) entries.sort((a, b) => first(a) - first(b));
    for (const [path, module] of entries) {
      // By path, since a module may contain one that contains it.
      const children = Object.keys(module.children()), members = module.members();
      const inner = new Set(
        members.filter(({ path }) => children.some((child) => path.startsWith(`${child}.`))).map((m) =>
          m.tensor
        ),
      );
      const own = module.parameters().filter((p) => !inner.has(p));
      if (children.length === 0 || own.length > 0) this.#lines.push({ name: path || "(model)", module, own });
    }
  }

  #table(): Drawing {
    const { cost } = this, isGraded = this.#norms.size > 0;
    const rows = this.#folded().map(({ name, lines }) => {
      const [{ module, own }] = lines, calls = lines.map((l) => cost?.layers.get(l.module)), [c] = calls;
      const all = lines.flatMap((l) => l.own), size = all.reduce((n, p) => n + p.size, 0);
      const frozen = own.length > 0 && all.every((p) => !p.requiresGrad);
      const work = (pass: "forward" | "backward"): string =>
        c === undefined ? "" : counted(calls.reduce((n, call) => n + (call?.[pass] ?? 0), 0));
      return [
        name,
        plainLine(module.constructor.name) + (c !== undefined && c.calls > 1 ? ` × ${c.calls}` : "") +
        (frozen ? " (frozen)" : ""),
        ...(cost === null
          ? []
          : [c === undefined ? "not called" : c.outputs.map((s) => `[${s.join(", ")}]`).join(" ")]),
        size === 0 ? undefined : size,
        size === 0 ? "" : formatBytes(bytesOfAll(all)),
        ...(cost === null ? [] : [work("forward"), work("backward")]),
        ...(isGraded ? [this.#gradient(lines)] : []),
      ];
    });
    if (cost !== null) rows.push(...this.#elsewhere(cost, isGraded));
    const parameters = this.model.parameters(), size = parameters.reduce((n, p) => n + p.size, 0);
    const frozen = parameters.filter((p) => !p.requiresGrad).reduce((n, p) => n + p.size, 0);
    const title = [
      `${plainLine(this.model.constructor.name)}: ${formatNumber(size)} parameters${
        frozen > 0 ? ` (${formatNumber(frozen)} frozen)` : ""
      }`,
      formatBytes(bytesOfAll(parameters)),
      ...(cost === null ? [] : [`${counted(cost.forward)} FLOPs forward, ${counted(cost.backward)} back`]),
    ].join(", ");
    return table(rows, {
      columns: [
        "layer",
        "kind",
        ...(cost === null ? [] : ["output"]),
        "parameters",
        "size",
        ...(cost === null ? [] : ["FLOPs →", "FLOPs ←"]),
        ...(isGraded ? ["gradient norm"] : []),
      ],
      title,
      digits: 3,
    });
  }

  /** Blocks that repeat are one each where there are many lines: their sums, and the range of their gradients. */
  #folded(): { name: string; lines: readonly Line[] }[] {
    const lines = this.#lines, known = new Map<string, number>();
    if (lines.length <= MANY) return lines.map((line) => ({ name: line.name, lines: [line] }));
    const sequence = lines.map(({ name, module, own }) => {
      const call = this.cost?.layers.get(module),
        shapes = own.map((p) => `${p.dtype}[${p.shape}]${p.requiresGrad}`);
      const outputs = call === undefined ? "" : `${call.calls}${call.outputs.map((s) => `[${s}]`)}`;
      const key = `${name.replaceAll(/\d+/g, "#")} ${module.constructor.name} ${shapes} ${outputs}`;
      known.set(key, known.get(key) ?? known.size);
      return known.get(key)!;
    });
    return findRepeats(sequence, lines.map(() => 1), 4).flatMap(({ at, period, times }) =>
      Array.from({ length: period }, (_, i) => {
        const own = Array.from({ length: times }, (_, k) => lines[at + k * period + i]);
        return { name: spanned(own[0].name, own[times - 1].name), lines: own };
      })
    );
  }

  #gradient(lines: readonly Line[]): number | string | undefined {
    const norms = lines.flatMap(({ module }) => this.#norms.get(module) ?? []);
    if (norms.length < 2) return norms[0];
    const low = Math.min(...norms), high = Math.max(...norms);
    return Number.isNaN(low) ? NaN : `${formatNumber(low, 2)} to ${formatNumber(high, 2)}`;
  }

  /** Operations that are in no line: those of containers, and of the derivatives of loops. */
  #elsewhere(cost: ModelCost, isGraded: boolean): (string | undefined)[][] {
    const listed = this.#lines.flatMap(({ module }) => cost.layers.get(module) ?? []);
    const forward = listed.reduce((n, c) => n - c.forward, cost.forward);
    const backward = listed.reduce((n, c) => n - c.backward, cost.backward);
    if (forward + backward <= 0.01 * (cost.forward + cost.backward)) return [];
    const row = ["(elsewhere)", "", "", undefined, "", counted(forward), counted(backward)];
    return [isGraded ? [...row, undefined] : row];
  }

  override text(): string {
    return this.#table().text();
  }

  /** Reads the norms of gradients first, if there are any. */
  override async present(): Promise<Presentation> {
    const readings = new Readings();
    const asked = noGrad(() =>
      this.#lines.flatMap(({ module, own }) => {
        const gradients = own.flatMap((p) => p.grad ?? []);
        return gradients.length === 0 ? [] : [[module, readings.one(normOfAll(gradients))] as const];
      })
    );
    try {
      await readings.read();
      this.#norms = new Map(asked.map(([module, norm]) => [module, norm()]));
    } catch {
      // A device that is lost leaves the table without them.
    }
    return await this.#table().present();
  }

  protected override render(): Promise<Presentation> {
    return this.#table().present();
  }
}

/** The state of an optimiser by group: rate and options, and each slot with its size. */
async function displayOptimizer(optimizer: Optimizer<never>): Promise<MimeBundle> {
  const readings = new Readings();
  const rows = noGrad(() =>
    optimizer.groups.flatMap((group, at) =>
      group.buckets.flatMap((bucket) => {
        const elements = bucket.sizes.reduce((a, b) => a + b, 0), steps = readings.one(plain(bucket.steps));
        const start = { group: at, lr: group.lr, steps };
        const weights = bucket.parameters.map((p) => normOf(p).square()).reduce((a, b) => a.add(b)).div(
          elements,
        ).sqrt();
        return [
          {
            ...start,
            state: `${bucket.parameters.length} parameter${bucket.parameters.length > 1 ? "s" : ""}`,
            elements,
            rms: readings.one(weights),
            bytes: bytesOfAll(bucket.parameters),
          },
          ...Object.entries(bucket.slots).map(([name, t]) => ({
            ...start,
            state: name,
            elements: t.size,
            rms: readings.one(plain(t).square().mean().sqrt()),
            bytes: bytesOfAll([t]),
          })),
        ];
      })
    )
  );
  await readings.read();
  const options = optimizer.groups.map((g) =>
    Object.entries(g.options as Record<string, unknown>).filter(([k, v]) =>
      k !== "lr" && v !== false && v !== 0
    )
      .map(([k, v]) => `${k} ${Array.isArray(v) ? `[${v}]` : v}`).join(", ")
  );
  const isOne = optimizer.groups.length === 1;
  const drawing = table(
    rows.map((r) => [
      ...(optimizer.groups.length > 1 ? [r.group] : []),
      r.state,
      r.elements,
      r.rms(),
      formatBytes(r.bytes),
      ...(isOne ? [] : [r.lr, r.steps()]),
    ]),
    {
      columns: [
        ...(optimizer.groups.length > 1 ? ["group"] : []),
        "state",
        "elements",
        "root mean square",
        "size",
        ...(isOne ? [] : ["learning rate", "steps"]),
      ],
      title: `${plainLine(optimizer.name)}: ${
        [
          ...(isOne ? [`step ${rows[0].steps()}`, `lr ${formatNumber(rows[0].lr)}`] : []),
          [...new Set(options)].filter(Boolean).join("; "),
        ].filter(Boolean).join(", ")
      }`,
      digits: 4,
    },
  );
  return (await drawing.present()).data;
}

/** What a notebook shows for a module or an optimiser. */
export async function displayHolder(x: object): Promise<MimeBundle> {
  if (typeof (x as Module).namedModules === "function") {
    const { data } = await summary(x as Module).present();
    return data;
  }
  return await displayOptimizer(x as Optimizer<never>);
}
