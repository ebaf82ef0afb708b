/** A schedule in the making: slots, numbers, and kernels in order. */
import { costOf, nameOf, type Work } from "../../ops/cost.ts";
import { bytesPerElement, type DType, workingBytes } from "../../ops/dtype.ts";
import type { Step } from "../../ops/lower.ts";
import type { Node } from "../../ops/node.ts";
import { sizeOf } from "../../ops/shape.ts";
import { ATTENTION } from "./attention.ts";
import type { Kernel } from "./loops.ts";
import { type Lifetime, placeAll } from "../placement.ts";
import { type RepeatLimits, repeats } from "../rematerialise.ts";
import type { Constant, Dynamic, Schedule, Slot, SlotKind, Takeover } from "./schedule.ts";
import { type Access, isRowMajor } from "./views.ts";

/** A kernel, what it reads and writes, and the steps that it does. */
export interface Entry {
  readonly kernel: Kernel;
  readonly geometry: Int32Array;
  /** Where slots stand in the geometry. */
  readonly places: readonly number[];
  readonly reads: readonly Access[];
  readonly writes: readonly number[];
  readonly steps: readonly number[];
  /** Slots that it reads element by element as it writes: a result may take the place of one. */
  readonly passes?: readonly number[];
  /** Whether it may throw; default no. */
  readonly mayFail?: boolean;
}

/** What the processor does in a nanosecond, about: operations of products, other operations, bytes. */
const SPEED = { product: 100, other: 25, bytes: 10 };

/** A schedule, and for each kernel of the draft where it ends in it: others may have come before it. */
export interface Finished {
  readonly schedule: Schedule;
  readonly ends: readonly number[];
}

export class Draft {
  readonly slots: Slot[] = [];
  readonly #constants: Constant[] = [];
  #dynamics: Dynamic[] = [];
  readonly #entries: Entry[] = [];
  /** Per slot: the kernels that write it first and use it last. */
  readonly #firstUse: number[] = [];
  readonly #lastUse: number[] = [];

  constructor(
    readonly steps: readonly Step[],
    readonly nodes: readonly Node[],
    readonly limits?: RepeatLimits,
  ) {}

  /** Number of kernels so far. */
  get length(): number {
    return this.#entries.length;
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

  add(entry: Entry): void {
    this.#entries.push(entry);
  }

  /** The schedule whose results are in these slots; for each the slot of an input that it replaces, or -1. */
  finish(roots: readonly number[], replaced: readonly number[]): Finished {
    const { slots } = this, works = this.#entries.map((entry) => this.#work(entry));
    const { entries, ends } = this.#repeated(works);
    entries.forEach(({ reads, writes }, at) => {
      for (const { slot } of reads) this.#lastUse[slot] = at;
      for (const s of writes) {
        this.#firstUse[s] = at;
        this.#lastUse[s] = Math.max(this.#lastUse[s] ?? 0, at);
      }
    });
    const schedule: Schedule = {
      kernels: entries.map(({ kernel }) => kernel),
      works: entries.length === works.length ? works : entries.map((entry) => this.#work(entry)),
      geometry: entries.map(({ geometry }) => geometry),
      slots,
      bound: slots.flatMap(({ kind }, i) => kind === "arena" ? [] : [i]),
      constants: this.#constants,
      dynamics: this.#dynamics,
      roots,
      takeovers: this.#takeovers(entries, roots, replaced),
      bytes: this.#place(entries),
      results: slots.reduce((n, s) => s.kind === "root" ? n + s.size * workingBytes(s.dtype) : n, 0),
      largest: slots.reduce((n, s) => Math.max(n, s.size), 0),
      steps: this.steps.length,
    };
    return { schedule, ends };
  }

  /** Kernels with those that are done again, and for each of the draft's its end among them. */
  #repeated(works: readonly Work[]): { entries: Entry[]; ends: number[] } {
    const isKept = (slot: number): boolean => this.slots[slot].kind === "arena";
    let total = 0;
    const doings = this.#entries.map(({ reads, writes, steps }, k) => {
      const { flops, bytes } = works[k], { op } = this.steps[steps[steps.length - 1]] ?? { op: null };
      const isProduct = op?.family === "contraction" || ATTENTION.includes(op?.name ?? "");
      const cost = flops / (isProduct ? SPEED.product : SPEED.other) + bytes / SPEED.bytes;
      total += cost;
      const isOnce = isProduct || op?.family === "reduction" || !writes.every(isKept);
      const from = reads.map(({ slot }) => slot).filter(isKept);
      return { reads: from, writes: writes.filter(isKept), cost: isOnce ? Infinity : cost };
    });
    const list = repeats(
      doings,
      total,
      (s) => this.slots[s].size * workingBytes(this.slots[s].dtype),
      this.limits,
    );
    if (list.length === 0) return { entries: this.#entries, ends: this.#entries.map((_, k) => k + 1) };
    const entries: Entry[] = [], ends: number[] = [];
    /** The slot that a value is read from now, and its geometries by that of the draft. */
    const now = new Map<number, number>(), copies = new Map<Int32Array, Int32Array[]>();
    const push = (entry: Entry, name: (slot: number) => number): void => {
      const own = { ...entry, ...renamed(entry, name) };
      entries.push(own);
      copies.set(entry.geometry, [...copies.get(entry.geometry) ?? [], own.geometry]);
    };
    list.sort((a, b) => b.before - a.before || b.again - a.again);
    this.#entries.forEach((entry, k) => {
      while (list.at(-1)?.before === k) {
        const again = this.#entries[list.pop()!.again], [from] = again.writes;
        const { dtype, size } = this.slots[from], to = this.slot(dtype, size);
        // It has run before, so it does not fail.
        push({ ...again, mayFail: false }, (slot) => slot === from ? to : now.get(slot) ?? slot);
        now.set(from, to);
      }
      push(entry, (slot) => now.get(slot) ?? slot);
      ends.push(entries.length);
    });
    this.#dynamics = this.#dynamics.flatMap((d) => copies.get(d.g)!.map((g) => ({ ...d, g })));
    return { entries, ends };
  }

  /** Where the kernel that writes a result reads last what it replaces, element by element, and nothing after it may fail. */
  #takeovers(entries: readonly Entry[], roots: readonly number[], replaced: readonly number[]): Takeover[] {
    /** How often a slot is a result, or replaced by one. */
    const uses = new Map<number, number>();
    for (const slot of [...roots, ...replaced]) uses.set(slot, (uses.get(slot) ?? 0) + 1);
    const lastThatMayFail = entries.findLastIndex(({ mayFail }) => mayFail === true);
    return roots.flatMap((root, k) => {
      const input = replaced[k], kernel = this.#firstUse[root];
      if (input < 0 || this.slots[root].kind !== "root" || kernel <= lastThatMayFail) return [];
      const x = this.slots[input],
        y = this.slots[root],
        isAlone = uses.get(root) === 1 && uses.get(input) === 1;
      const fits = x.kind === "input" && x.dtype === y.dtype && x.size === y.size;
      return isAlone && fits && this.#lastUse[input] === kernel && entries[kernel].passes?.includes(input)
        ? [{ root, input, kernel }]
        : [];
    });
  }

  /** Gives intermediates their places in the arena; bytes needed. */
  #place(entries: readonly Entry[]): number {
    const lifetimes: Lifetime[] = [], indices: number[] = [], placeOf = new Map<number, number>();
    const inOrder = [...this.slots.keys()]
      .filter((i) => this.slots[i].kind === "arena" && this.#firstUse[i] !== undefined)
      .sort((a, b) => this.#firstUse[a] - this.#firstUse[b]);
    const taken = new Set<number>();
    for (const i of inOrder) {
      const { dtype, size } = this.slots[i], bytes = size * workingBytes(dtype);
      const from = this.#firstUse[i], to = this.#lastUse[i];
      const heir = entries[from].passes?.find((x) =>
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

  #work({ reads, writes, steps }: Entry): Work {
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

/** What a kernel is on other slots. */
function renamed(
  { geometry, places, reads, writes, passes }: Entry,
  name: (slot: number) => number,
): Pick<Entry, "geometry" | "reads" | "writes" | "passes"> {
  const own = geometry.slice();
  for (const at of places) if (own[at] >= 0) own[at] = name(own[at]);
  return {
    geometry: own,
    reads: reads.map((x) => ({ ...x, slot: name(x.slot) })),
    writes: writes.map(name),
    passes: passes?.map(name) ?? [],
  };
}
