/** A schedule in the making: slots, numbers, and kernels in order. */
import { costOf, nameOf, type Work } from "../../ops/cost.ts";
import { bytesPerElement, type DType, workingBytes } from "../../ops/dtype.ts";
import type { Step } from "../../ops/lower.ts";
import type { Node } from "../../ops/node.ts";
import { sizeOf } from "../../ops/shape.ts";
import type { Kernel } from "./loops.ts";
import { type Lifetime, placeAll } from "./placement.ts";
import type { Constant, Dynamic, Schedule, Slot, SlotKind, Takeover } from "./schedule.ts";
import { type Access, isRowMajor } from "./views.ts";

/** A kernel, what it reads and writes, and the steps that it does. */
export interface Entry {
  readonly kernel: Kernel;
  readonly geometry: Int32Array;
  readonly reads: readonly Access[];
  readonly writes: readonly number[];
  readonly steps: readonly number[];
  /** Slots that it reads element by element as it writes: a result may take the place of one. */
  readonly passes?: readonly number[];
  /** Whether it may throw; default no. */
  readonly mayFail?: boolean;
}

export class Draft {
  readonly slots: Slot[] = [];
  readonly #constants: Constant[] = [];
  readonly #dynamics: Dynamic[] = [];
  readonly #kernels: Kernel[] = [];
  readonly #works: Work[] = [];
  readonly #geometry: Int32Array[] = [];
  /** Per slot: the kernels that write it first and use it last, and the slot whose place it can take. */
  readonly #firstUse: number[] = [];
  readonly #lastUse: number[] = [];
  readonly #passes: (readonly number[])[] = [];
  #lastThatMayFail = -1;

  constructor(readonly steps: readonly Step[], readonly nodes: readonly Node[]) {}

  /** Number of kernels so far. */
  get length(): number {
    return this.#kernels.length;
  }

  /** A new array; the number of its slot. */
  slot(dtype: DType, size: number, kind: SlotKind = "arena", source = -1): number {
    return this.slots.push({ dtype, size, kind, source, at: 0 }) - 1;
  }

  /** A number of each run; where it stands. */
  constant(source: number, dtype: DType, value: number): number {
    return this.#constants.push({ source, dtype, value }) - 1;
  }

  /** Type of what is read. */
  typeOf(x: Access): DType {
    return x.slot < 0 ? this.#constants[x.constant].dtype : this.slots[x.slot].dtype;
  }

  /** Attributes of a step in this run; those that are data differ in the next. */
  attributes(step: Step): Step["p"] {
    return step.source < 0 ? step.p : this.nodes[step.source].p;
  }

  /** Whether a value is all of its slot, in order. */
  isWhole(x: Access): boolean {
    if (x.slot < 0 || x.dynamic.length > 0 || x.view.offset !== 0) return false;
    return this.slots[x.slot].size === sizeOf(x.view.shape) && isRowMajor(x.view);
  }

  /** Keeps an offset in a geometry up to date, if it depends on data. */
  follow(g: Int32Array, index: number, x: Access): void {
    if (x.dynamic.length > 0) this.#dynamics.push({ g, index, base: x.view.offset, parts: x.dynamic });
  }

  add({ kernel, geometry, reads, writes, steps, passes = [], mayFail = false }: Entry): void {
    const at = this.#kernels.length;
    if (mayFail) this.#lastThatMayFail = at;
    this.#kernels.push(kernel);
    this.#geometry.push(geometry);
    this.#works.push(this.#work(reads, writes, steps));
    this.#passes.push(passes);
    for (const { slot } of reads) this.#lastUse[slot] = at;
    for (const s of writes) {
      this.#firstUse[s] = at;
      this.#lastUse[s] = Math.max(this.#lastUse[s] ?? 0, at);
    }
  }

  /** The schedule whose results are in these slots; for each the slot of an input that it replaces, or -1. */
  finish(roots: readonly number[], replaced: readonly number[]): Schedule {
    const { slots } = this;
    return {
      kernels: this.#kernels,
      works: this.#works,
      geometry: this.#geometry,
      slots,
      bound: slots.flatMap(({ kind }, i) => kind === "arena" ? [] : [i]),
      constants: this.#constants,
      dynamics: this.#dynamics,
      roots,
      takeovers: this.#takeovers(roots, replaced),
      bytes: this.#place(),
      results: slots.reduce((n, s) => s.kind === "root" ? n + s.size * workingBytes(s.dtype) : n, 0),
      largest: slots.reduce((n, s) => Math.max(n, s.size), 0),
      steps: this.steps.length,
    };
  }

  /** Where the kernel that writes a result reads last what it replaces, element by element, and nothing after it may fail. */
  #takeovers(roots: readonly number[], replaced: readonly number[]): Takeover[] {
    /** How often a slot is a result, or replaced by one. */
    const uses = new Map<number, number>();
    for (const slot of [...roots, ...replaced]) uses.set(slot, (uses.get(slot) ?? 0) + 1);
    return roots.flatMap((root, k) => {
      const input = replaced[k], kernel = this.#firstUse[root];
      if (input < 0 || this.slots[root].kind !== "root" || kernel <= this.#lastThatMayFail) return [];
      const x = this.slots[input],
        y = this.slots[root],
        isAlone = uses.get(root) === 1 && uses.get(input) === 1;
      const fits = x.kind === "input" && x.dtype === y.dtype && x.size === y.size;
      return isAlone && fits && this.#lastUse[input] === kernel && this.#passes[kernel].includes(input)
        ? [{ root, input, kernel }]
        : [];
    });
  }

  /** Gives intermediates their places in the arena; bytes needed. */
  #place(): number {
    const lifetimes: Lifetime[] = [], indices: number[] = [], placeOf = new Map<number, number>();
    const inOrder = [...this.slots.keys()]
      .filter((i) => this.slots[i].kind === "arena" && this.#firstUse[i] !== undefined)
      .sort((a, b) => this.#firstUse[a] - this.#firstUse[b]);
    const taken = new Set<number>();
    for (const i of inOrder) {
      const { dtype, size } = this.slots[i], bytes = size * workingBytes(dtype);
      const from = this.#firstUse[i], to = this.#lastUse[i];
      const heir = this.#passes[from].find((x) =>
        placeOf.has(x) && !taken.has(x) && this.#lastUse[x] === from &&
        this.slots[x].size * workingBytes(this.slots[x].dtype) === bytes
      );
      if (heir === undefined) {
        placeOf.set(i, lifetimes.length);
        lifetimes.push({ bytes, from, to });
      } else {
        taken.add(heir);
        placeOf.set(i, placeOf.get(heir)!);
        lifetimes[placeOf.get(heir)!].to = to;
      }
      indices.push(i);
    }
    const { places, bytes } = placeAll(lifetimes);
    for (const i of indices) this.slots[i].at = places[placeOf.get(i)!];
    return bytes;
  }

  #work(reads: readonly Access[], writes: readonly number[], steps: readonly number[]): Work {
    let flops = 0, bytes = 0;
    for (const i of steps) {
      const step = this.steps[i];
      flops += costOf(step.op!, step.inputs.map((x) => this.steps[x]), step, this.attributes(step)).flops;
    }
    for (const { slot, view } of reads) {
      const { size, dtype } = this.slots[slot];
      // What is broadcast is read once.
      const seen = view.shape.reduce((n, m, a) => view.strides[a] === 0 ? n : n * m, 1);
      bytes += Math.min(size, seen) * bytesPerElement(dtype);
    }
    for (const slot of writes) bytes += this.slots[slot].size * bytesPerElement(this.slots[slot].dtype);
    const name = nameOf(steps.map((i) => this.steps[i].op!.name));
    const shape = this.steps[steps[steps.length - 1]]?.shape ?? reads[0]?.view.shape ?? [];
    return { name, shape, flops, bytes };
  }
}
