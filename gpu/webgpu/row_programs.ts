/** Which reductions, and steps between them and after them, go over their rows in one kernel. */
import { wholeView } from "../../ops/definitions/movement.ts";
import type { DType } from "../../ops/dtype.ts";
import type { Reduction, View } from "../../ops/primitive.ts";
import { broadcastStrides, sameShape, type Shape, sizeOf, stridesOf } from "../../ops/shape.ts";
import type { Operand, PlanBuilder } from "./builder.ts";
import { type Cluster, type Clusters, mostBuffers } from "./clusters.ts";
import { lanesAreNeighbours } from "./emit_folds.ts";
import { type Spread, spread } from "./heuristics.ts";

/** Where a value is at hand: for each element of a row, or once for the row. */
export type Kind = "element" | "row";

/** A step of a program. */
export interface ProgramStep {
  readonly step: number;
  readonly kind: Kind;
  /** For elements the first pass that can compute it, for rows the pass after which it is known. */
  readonly level: number;
  /** What it is computed from, or what it folds. */
  readonly inputs: readonly Source[];
}

/** Where an input comes from: an earlier step of the program, or an operand by its number. */
export type Source = { readonly step: number } | { readonly operand: number };

/** What a program reads, with its steps along the axes of whole rows. */
export interface ProgramOperand {
  readonly operand: Operand;
  readonly strides: readonly number[];
  readonly kind: Kind;
}

/** Most steps of a program, and folds in it: its text has each step once for every pass that needs it. */
const STEPS = 48, FOLDS = 8;
/** How far apart (in steps) clusters of a program may stand. */
const NEAR = 64;

/** Type that a fold accumulates in. */
export function accumulator(dtype: DType): "f32" | "i32" | "u32" {
  return dtype === "bool" ? "u32" : dtype === "i32" || dtype === "u32" ? dtype : "f32";
}

/** Clusters over the same rows. */
export class RowProgram {
  /** Shape of all elements. */
  readonly shape: Shape;
  readonly axes: readonly number[];
  readonly kept: readonly number[];
  readonly spread: Spread;
  readonly lanesFirst: boolean;
  /** By their step, in order. */
  readonly steps = new Map<number, ProgramStep>();
  readonly operands: ProgramOperand[] = [];
  readonly clusters: Cluster[] = [];
  readonly #numbers = new Map<string, number>();
  readonly #keptStrides: readonly number[];
  #folds = 0;

  constructor(readonly b: PlanBuilder, readonly all: Clusters, first: Cluster) {
    this.shape = b.steps[b.steps[first.core].inputs[0]].shape;
    this.axes = (b.attributes(first.core) as { axes: number[] }).axes;
    this.kept = [...this.shape.keys()].filter((i) => !this.axes.includes(i));
    const kept = this.kept.map((i) => this.shape[i]), steps = stridesOf(kept);
    this.#keptStrides = this.shape.map((_, i) => this.axes.includes(i) ? 0 : steps[this.kept.indexOf(i)]);
    this.lanesFirst = this.#lanesFirst(first);
    this.spread = spread(sizeOf(kept), this.folded, this.lanesFirst, b.limits);
  }

  /** Rows. */
  get outputs(): number {
    return sizeOf(this.kept.map((i) => this.shape[i]));
  }

  /** Elements of a row. */
  get folded(): number {
    return sizeOf(this.axes.map((i) => this.shape[i]));
  }

  #lanesFirst({ core, before }: Cluster): boolean {
    const x = before.length > 0 ? undefined : this.b.operands[this.b.steps[core].inputs[0]];
    return lanesAreNeighbours(x?.view ?? wholeView(this.shape), this.axes);
  }

  /** Takes a cluster in, if it is over these rows and reads what is at hand, or what is there before the program. */
  add(k: Cluster): boolean {
    const { b } = this, own: number[] = [], operands = this.operands.length, folds = this.#folds;
    const isFirst = this.clusters.length === 0;
    let shares = isFirst;
    const take = (
      step: number,
      kind: Kind,
      inputs: readonly number[],
      target: Shape,
      isFold = false,
    ): boolean => {
      const sources: Source[] = [];
      let level = 0;
      for (const i of inputs) {
        const source = this.#source(i, isFold ? "element" : kind, target);
        if (source === null) return false;
        sources.push(source);
        if ("operand" in source) {
          // Reading it once for several folds is worth a kernel of several results.
          shares ||= k.core >= 0 && source.operand < operands;
          continue;
        }
        const from = this.steps.get(source.step)!;
        shares ||= !own.includes(source.step);
        level = Math.max(level, from.level + (from.kind === "row" && (isFold || kind === "element") ? 1 : 0));
      }
      this.steps.set(step, { step, kind, level, inputs: sources });
      own.push(step);
      return true;
    };
    const chain = (list: readonly number[], kind: Kind): boolean =>
      list.every((m) => take(m, kind, b.steps[m].inputs, b.steps[m].shape));
    const takeAll = (): boolean => {
      if (k.core < 0) {
        const { shape } = b.steps[k.members[0]];
        return chain(k.members, sameShape(shape, this.shape) ? "element" : "row");
      }
      const [from] = b.steps[k.core].inputs;
      if (!chain(k.before, "element") || !take(k.core, "row", [from], this.shape, true)) return false;
      this.#folds++;
      return chain(k.members, "row");
    };
    if (takeAll() && shares && this.#fits(k)) {
      this.clusters.push(k);
      return true;
    }
    for (const step of own) this.steps.delete(step);
    for (const [key, j] of this.#numbers) if (j >= operands) this.#numbers.delete(key);
    this.operands.length = operands;
    this.#folds = folds;
    return false;
  }

  #fits(k: Cluster): boolean {
    // Where rows are split over workgroups, nothing of an element can wait for its row.
    if (this.spread.splits > 1) {
      for (const { step, kind, level } of this.steps.values()) {
        if (level > 0 || (kind === "element" && this.isStored(step))) return false;
      }
    }
    if (this.steps.size > STEPS || this.#folds > FOLDS) return false;
    const bound = new Set(this.operands.map(({ operand }) => operand.value));
    let stored = 0;
    for (const step of this.steps.keys()) if (this.isStored(step)) stored++;
    return bound.size + stored <= mostBuffers(this.b.limits) && k.members.every((m) => this.#binds(m)) &&
      (k.core < 0 || this.#binds(k.core));
  }

  #binds(step: number): boolean {
    return sizeOf(this.b.steps[step].shape) * 4 <= this.b.limits.binding;
  }

  /** Whether a step is a root, or read outside of the program. */
  isStored(step: number): boolean {
    return this.b.isRoot[step] === 1 || this.all.consumers[step].some((c) => !this.#isInside(c));
  }

  #isInside(step: number): boolean {
    if (this.steps.has(step)) return true;
    const { op } = this.b.steps[step], users = this.all.consumers[step];
    return op!.family === "movement" && this.b.isRoot[step] === 0 && users.length > 0 &&
      users.every((u) => this.#isInside(u));
  }

  /** Where step `i` is at hand for steps of a kind and shape; null where it is not. */
  #source(i: number, kind: Kind, target: Shape): Source | null {
    const { steps } = this.b, path: number[] = [];
    let at = i;
    while (!this.steps.has(at) && this.b.operands[at] === undefined) {
      const { op, inputs } = steps[at];
      // Where slices start is data.
      if (op === null || op.family !== "movement" || op.key !== undefined) return null;
      path.push(at);
      at = inputs[0];
    }
    const from = this.steps.get(at), there = from === undefined ? this.b.operands[at] : null;
    let view: View | null = there?.view ?? wholeView(steps[at].shape);
    for (const m of path.reverse()) {
      const { op, shape, dtype } = steps[m];
      if (op!.family === "movement") view = op!.view(view, this.b.attributes(m), { shape, dtype });
      if (view === null) return null;
    }
    if (there !== null) {
      return path.length > 0 && there.moving >= 0 ? null : this.#operand(i, { ...there, view }, kind, target);
    }
    if (from === undefined || view.offset !== 0) return null;
    const strides = broadcastStrides(view, target);
    const expected = kind === "row" || from.kind === "element" ? stridesOf(target) : this.#keptStrides;
    if (kind === "row" && from.kind !== "row") return null;
    return target.every((n, a) => n === 1 || strides[a] === expected[a]) ? { step: at } : null;
  }

  #operand(i: number, operand: Operand, kind: Kind, target: Shape): Source | null {
    if (operand.value.bytes > this.b.limits.binding || operand.window !== undefined) return null;
    let strides = broadcastStrides(operand.view, target);
    if (kind === "row") {
      // Axes of one element may stand anywhere between those of the rows.
      const long = [...target.keys()].filter((a) => target[a] > 1);
      const rows = this.kept.filter((a) => this.shape[a] > 1);
      if (long.length !== rows.length || long.some((a, n) => target[a] !== this.shape[rows[n]])) return null;
      const own = strides;
      strides = this.shape.map((_, a) => rows.includes(a) ? own[long[rows.indexOf(a)]] : 0);
    }
    const key = `${kind}${i}|${strides}`;
    let number = this.#numbers.get(key);
    if (number === undefined) {
      this.#numbers.set(key, number = this.operands.push({ operand, strides, kind }) - 1);
    }
    return { operand: number };
  }
}

/** The program that begins with a reduction, if others of `order` from `n` on can be part of it. */
export function programFrom(
  b: PlanBuilder,
  clusters: Clusters,
  n: number,
  isDone: (k: Cluster) => boolean,
): RowProgram | null {
  const { order } = clusters, first = order[n] as Cluster;
  const program = new RowProgram(b, clusters, first);
  if (program.outputs === 0 || program.folded === 0 || !program.add(first)) {
    return null;
  }
  const { segment } = b.steps[first.core];
  let last = first.core;
  for (let i = n + 1; i < order.length; i++) {
    const k = order[i];
    if (typeof k === "number" || isDone(k)) continue;
    const begin = k.before[0] ?? (k.core < 0 ? k.members[0] : k.core);
    if (begin - last > NEAR) break;
    if (b.steps[begin].segment !== segment || !belongs(b, k, program) || !program.add(k)) continue;
    last = Math.max(last, k.core, k.members[k.members.length - 1] ?? 0);
  }
  return program.clusters.length > 1 ? program : null;
}

/** Whether a cluster is over the same rows. */
function belongs(b: PlanBuilder, k: Cluster, { shape, axes, outputs, lanesFirst }: RowProgram): boolean {
  if (k.core < 0) {
    const own = b.steps[k.members[0]].shape;
    return sameShape(own, shape) || sizeOf(own) === outputs;
  }
  const { op, inputs: [from] } = b.steps[k.core];
  if (op!.family !== "reduction" || !sameShape(b.steps[from].shape, shape)) return false;
  if (!sameShape((b.attributes(k.core) as { axes: number[] }).axes, axes)) return false;
  const x = k.before.length > 0 ? undefined : b.operands[from];
  return lanesAreNeighbours(x?.view ?? wholeView(shape), axes) === lanesFirst;
}

/** How a reduction folds. */
export function foldOf(b: PlanBuilder, step: number): {
  readonly fold: (acc: string, x: string) => string;
  readonly init: number;
  readonly through: "f32" | "i32" | "u32";
} {
  const { op, inputs: [from], dtype } = b.steps[step], { wgsl, init } = op as Reduction;
  const through = accumulator(dtype);
  return { fold: (acc, x) => wgsl(acc, x, through), init: init(b.steps[from].dtype), through };
}
