/** What all optimisers share: parameter groups, learning rates as data, one graph for each step, state. */
import { currentTrace, readGuarded } from "../ops/node.ts";
import { tensor } from "../ops/create.ts";
import { displayHolder, type MimeBundle } from "../ops/presenter.ts";
import { checkInterruption } from "../ops/runs.ts";
import { assignAll, checkOptions, Tensor } from "../ops/tensor.ts";
import { noGrad } from "../ops/transforms/backward.ts";
import { Bucket, type BucketState, type Decay, type FlatStep, type FlatUpdate } from "./bucket.ts";
import type { Module } from "./module.ts";

/** Options that every optimiser has. */
export interface RateOptions {
  /** Learning rate. */
  lr?: number;
  /** Strength of weight decay; default 0. */
  weightDecay?: number;
  /** Climbs instead of descending; default false. */
  maximize?: boolean;
}

/** Parameters with options of their own. */
export type GroupOptions<O> = { params: Module | readonly Tensor[] } & Partial<O>;

/** What an optimiser trains: a module, tensors, tensors by name, or groups. */
export type Trainable<O> = Module | readonly Tensor[] | Record<string, Tensor> | readonly GroupOptions<O>[];

/** Parameters that share options; changing one takes effect at the next step, also of a jitted one. */
export class ParameterGroup<O extends Required<RateOptions>> {
  /** Flat pieces of state, one for each type and device. */
  readonly buckets: readonly Bucket[];
  #lr: number;

  /** Made by optimisers. */
  constructor(
    readonly parameters: readonly Tensor[],
    /** All options but the rate, which is {@linkcode lr}. */
    readonly options: O,
    slots: readonly string[],
    /** The group's rate over the optimiser's: setting the optimiser's keeps it. */
    readonly ratio: number,
  ) {
    this.#lr = options.lr;
    const byKind = new Map<string, Tensor[]>();
    for (const p of parameters) {
      const kind = `${p.dtype} ${p.device}`;
      byKind.set(kind, [...byKind.get(kind) ?? [], p]);
    }
    this.buckets = [...byKind.values()].map((list) => new Bucket(list, options.lr, slots));
  }

  /** Learning rate. */
  get lr(): number {
    return this.#lr;
  }
  set lr(rate: number) {
    if (!Number.isFinite(rate)) {
      throw new RangeError(`Cannot set the learning rate to ${rate}: it is a finite number`);
    }
    if (currentTrace() !== null) {
      throw new Error(
        "Cannot set the learning rate inside jit, where it would be set once: set it before each call",
      );
    }
    if (rate === this.#lr) return;
    this.#lr = rate;
    this.options.lr = rate;
    for (const { lr } of this.buckets) lr.assign(tensor(rate, { dtype: lr.dtype, device: lr.device }), "lr");
  }
}

/** The state of an optimiser, as it is stored. */
export interface OptimizerState {
  /** The optimiser that it is of. */
  algorithm: string;
  /** In order. */
  groups: { options: Record<string, unknown>; buckets: BucketState[] }[];
}

/** Base of all optimisers: a subclass is its states' names and its equation on flat tensors. */
export abstract class Optimizer<O extends Required<RateOptions>> {
  /** Parameters with their options. */
  readonly groups: readonly ParameterGroup<O>[];
  /** Steps taken by JavaScript, for errors; jit repeats steps without it. */
  #taken = 0;
  #lr: number;

  /** `name` is used in errors; `slotsOf` says which flat states options call for. */
  constructor(
    readonly name: string,
    params: Trainable<O>,
    defaults: O,
    protected readonly slotsOf: (options: O) => readonly string[],
  ) {
    if (currentTrace() !== null) {
      throw new Error(
        `Cannot make ${name} inside a transform: its state would be new at each call; make it outside`,
      );
    }
    this.#lr = defaults.lr;
    const seen = new Map<Tensor, number>();
    this.groups = groupsOf<O>(params).map(({ params, ...own }, at) => {
      checkOptions(`make ${name}`, own, Object.keys(defaults));
      const options = { ...defaults, ...own } as O;
      if (!(Number.isFinite(options.lr))) {
        throw new RangeError(`Cannot make ${name} with learning rate ${options.lr}: it is a finite number`);
      }
      const list = tensorsOf(params);
      list.forEach((p, i) => this.#check(p, `${p?.name ?? `parameter ${i}`} of group ${at}`, seen, at));
      if (list.length === 0) throw new RangeError(`Cannot make ${name}: group ${at} has no parameters`);
      return new ParameterGroup(
        list,
        options,
        slotsOf(options),
        defaults.lr === 0 ? 1 : options.lr / defaults.lr,
      );
    });
    if (!this.parameters.some((p) => p.requiresGrad)) {
      throw new Error(
        `Cannot make ${name}: none of the tensors requires gradients; wrap them in parameter(...)`,
      );
    }
  }

  #check(p: Tensor, label: string, seen: Map<Tensor, number>, group: number): void {
    if (!(p instanceof Tensor)) throw new TypeError(`Cannot make ${this.name}: ${label} is not a tensor`);
    if (!p.isLeaf) {
      throw new Error(
        `Cannot make ${this.name}: ${label} is computed from others; give the leaves it is computed from`,
      );
    }
    if (seen.has(p)) {
      throw new Error(`Cannot make ${this.name}: ${label} is there twice, also in group ${seen.get(p)}`);
    }
    seen.set(p, group);
  }

  /** The new states and the step down; all tensors are flat. */
  protected abstract update(f: FlatStep, options: O): FlatUpdate;
  /** Whether weight decay shrinks the weights directly. */
  protected readonly decoupled: boolean = false;

  /** All parameters. */
  get parameters(): readonly Tensor[] {
    return this.groups.flatMap((g) => g.parameters);
  }

  /** Learning rate; setting it scales the groups with rates of their own likewise. */
  get lr(): number {
    return this.#lr;
  }
  set lr(rate: number) {
    for (const group of this.groups) group.lr = rate * group.ratio;
    this.#lr = rate;
  }

  /**
   * Replaces every parameter that has a gradient, in one graph that runs together with the backward pass. Graphs
   * built before can no longer be differentiated. After Stop in a notebook it throws and replaces none.
   */
  step(): void {
    checkInterruption();
    this.#checkLost();
    const pairs = noGrad(() =>
      this.groups.flatMap((group) => {
        const o = guarded(group.options);
        const decay: Decay = { ...o, decoupled: this.decoupled };
        const absent = this.slotsOf(o).filter((name) => !(name in group.buckets[0].slots));
        if (absent.length > 0) {
          throw new Error(
            `Cannot step: ${this.name} was made without ${
              absent.join(", ")
            }; make a new one with these options`,
          );
        }
        return group.buckets.flatMap((bucket) => bucket.step(decay, (f) => this.update(f, o)));
      })
    );
    if (pairs.length === 0) {
      throw new Error(
        `Cannot step: no parameter of ${this.name} has a gradient. Call loss.backward() after zeroGrad() and before ` +
          `step(), and check that the loss depends on the parameters`,
      );
    }
    assignAll(pairs, currentTrace() === null ? `${this.name}.step ${++this.#taken}` : `${this.name}.step`);
  }

  /** On a GPU an earlier step can turn out to have failed, and then no version of a parameter is left. */
  #checkLost(): void {
    for (const { name, node: { value } } of this.parameters) {
      const error = value?.error ?? null;
      if (error === null) continue;
      if (error.name === "DeviceLostError") throw error; // it says what to do
      throw new Error(
        `Cannot step: ${
          name ?? "a parameter"
        } was lost in a step that failed (${error.message}). Load a checkpoint ` +
          `(loadCheckpoint), or assign a value and make a new ${this.name}`,
        { cause: error },
      );
    }
  }

  /** Forgets all gradients. */
  zeroGrad(): void {
    for (const p of this.parameters) p.grad = null;
  }

  /** States, step counts, rates and options, as they are now. */
  stateDict(): OptimizerState {
    return {
      algorithm: this.name,
      groups: this.groups.map((g) => ({
        options: { ...g.options } as Record<string, unknown>,
        buckets: g.buckets.map((b) => b.state()),
      })),
    };
  }

  /** Goes on from a stored state of an optimiser with the same groups of parameters. */
  loadStateDict(state: OptimizerState): void {
    const mine = this.groups, groups = state?.groups ?? [];
    if (
      state?.algorithm !== this.name || groups.length !== mine.length ||
      groups.some((g, i) => g.buckets.length !== mine[i].buckets.length)
    ) {
      throw new Error(
        `Cannot load the state of ${state?.algorithm} with ${groups.length} groups into ${this.name} with ${mine.length}`,
      );
    }
    const pairs = mine.flatMap((g, i) =>
      g.buckets.flatMap((b, k) =>
        b.restore(groups[i].buckets[k], (groups[i].options as Partial<O>).lr ?? g.lr)
      )
    );
    assignAll(pairs, "loadStateDict");
    mine.forEach((g, i) => {
      const { lr, ...rest } = groups[i].options as Partial<O>;
      Object.assign(g.options, rest);
      if (lr !== undefined) g.lr = lr;
    });
    this.#lr = mine[0].lr / mine[0].ratio;
    this.#taken = mine[0].buckets[0].steps.peek()?.[0] ?? 0;
  }

  /** Options, for `console.log`. */
  toString(): string {
    const text = this.groups.map((g) => {
      const count = g.parameters.reduce((n, p) => n + p.size, 0);
      const options = Object.entries(g.options).map(([k, v]) => `${k} ${Array.isArray(v) ? `[${v}]` : v}`);
      return `${g.parameters.length} tensors, ${count} elements, ${options.join(", ")}`;
    });
    return `${this.name}(${text.join("; ")})`;
  }
  /** What `console.log` shows. */
  [Symbol.for("Deno.customInspect")](): string {
    return this.toString();
  }
  /** What a notebook shows: a table of its state. */
  [Symbol.for("Jupyter.display")](): Promise<MimeBundle> {
    return displayHolder(this);
  }
}

/** Options, each of which a recording depends on; the rate is data. */
function guarded<O extends object>(options: O): O {
  const copy = { ...options };
  for (const key of Object.keys(options) as (keyof O)[]) {
    if (key === "lr") continue;
    const value = options[key];
    if (Array.isArray(value)) {
      copy[key] = value.map((_, i) =>
        readGuarded(() => (options[key] as unknown[])[i], `option ${String(key)}[${i}]`)
      ) as never;
    } else copy[key] = readGuarded(() => options[key], `option ${String(key)}`);
  }
  return copy;
}

function isModule(x: unknown): x is Module {
  return typeof (x as Module | null)?.parameters === "function";
}

function tensorsOf(params: Module | readonly Tensor[]): readonly Tensor[] {
  return isModule(params) ? params.parameters() : [...params];
}

function groupsOf<O>(params: Trainable<O>): readonly GroupOptions<O>[] {
  if (isModule(params)) return [{ params } as GroupOptions<O>];
  if (params instanceof Tensor) throw new TypeError("Cannot make an optimiser of a tensor: give a list, [x]");
  if (!Array.isArray(params)) {
    const named = params as Record<string, Tensor>;
    for (const [name, p] of Object.entries(named)) p.name ??= name;
    return [{ params: Object.values(named) } as unknown as GroupOptions<O>];
  }
  const list = params as readonly (Tensor | GroupOptions<O>)[];
  const groups = list.filter((g): g is GroupOptions<O> =>
    !(g instanceof Tensor) && typeof g === "object" && g !== null && "params" in g
  );
  if (groups.length > 0 && groups.length === list.length) return groups;
  return [{ params: list } as unknown as GroupOptions<O>];
}
