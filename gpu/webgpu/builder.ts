/** Builds a plan: keeps book of values, views, parameters and lives while kernels are emitted. */
import type { DType } from "../../ops/dtype.ts";
import { costOf, nameOf, type Work } from "../../ops/cost.ts";
import { isFloat, packBf16, roundTo } from "../../ops/dtype.ts";
import { showBytes } from "../../ops/out_of_memory.ts";
import type { Lowered, Step } from "../../ops/lower.ts";
import type { Attributes, View } from "../../ops/primitive.ts";
import { type Shape, showShape, sizeOf } from "../../ops/shape.ts";
import { isContiguous, wholeView } from "../../ops/definitions/movement.ts";
import { placeInChunks } from "../placement.ts";
import type { Limits } from "./device.ts";
import { foldGroups, type Kernel, storedBytes } from "./kernels/kernel.ts";
import {
  type Bound,
  type Dispatch,
  type FaultMessage,
  type Patch,
  type Plan,
  type RootSource,
  type RunAttributes,
  type Takeover,
  Words,
} from "./plan.ts";
import { aligned } from "./pool.ts";
import { repeated } from "./repeated.ts";

/** A value that no buffer can hold; the message says why. */
export class TooLargeError extends Error {
  constructor(message: string, readonly bytes: number) {
    super(message);
  }
}

/** A contiguous array that views look at. */
export interface Value {
  readonly kind: "input" | "constant" | "computed";
  readonly dtype: DType;
  readonly elements: number;
  readonly bytes: number;
  /** The step that it is. */
  readonly step: number;
  /** For inputs the position in the graph. */
  readonly position: number;
  /** Root slot, or -1. */
  slot: number;
  from: number;
  to: number;
  /** For materialised constants: where they stand among the parameters, or -1. */
  at: number;
  /** The value whose memory it takes over: an input, or an intermediate. */
  home: Value | null;
}

/** A step as its readers see it. */
export interface Operand {
  readonly value: Value;
  readonly view: View;
  readonly dtype: DType;
  /** The step whose view starts where data says, or -1. */
  readonly moving: number;
  /** The part of a value that is too large to bind, which the view's offset counts from. */
  readonly window?: Binding;
}

/** Whether an operand is all of its value, in order. */
export function isWhole({ value, view }: Operand): boolean {
  return isContiguous(view) && view.offset === 0 && sizeOf(view.shape) === value.elements;
}

/** A binding before memory is planned. */
export interface Binding {
  readonly value: Value | null; // null: the faults
  readonly offset: number;
  readonly bytes: number;
}

export interface Draft {
  kernel: Kernel;
  bindings: Binding[];
  groups: [number, number];
  at: number;
  work: Work;
  /** Whether it may be done again: it reads what it does not write, and nothing else writes its result. */
  isRepeatable: boolean;
}

/** State of a plan in the making. */
export class PlanBuilder {
  readonly steps: readonly Step[];
  /** Per step: 1 for roots. */
  readonly isRoot: Uint8Array;
  readonly operands: Operand[] = [];
  readonly faults: { word: number; message: FaultMessage }[] = [];
  readonly #values: Value[] = [];
  #drafts: Draft[] = [];
  /** Whether dispatches are drafts of spares. */
  #isAside = false;
  /** How some values can be made again of others that their kernel stores. */
  readonly #spares = new Map<Value, Draft>();
  readonly #blocks: { at: number; words: readonly number[] }[] = [];
  readonly #patches: Patch[] = [];
  readonly #views = new Map<number, View>();
  readonly #copies = new Map<number, Operand>();
  readonly #names = new Map<string, number>();
  #bytes = 0;
  #now: RunAttributes;

  /** `specialises`: whether kernels with much to do are made for their shape; `steady`: whether slices start where they do now. */
  constructor(
    readonly lowered: Lowered,
    readonly limits: Limits,
    now: RunAttributes,
    readonly specialises: boolean,
    readonly steady: boolean,
  ) {
    this.#now = now;
    this.steps = lowered.steps;
    this.isRoot = new Uint8Array(lowered.steps.length);
    for (const r of lowered.roots) this.isRoot[r] = 1;
  }

  /** For each dispatch that was added, where it ends among those of the plan: what is done again comes before it. */
  ends: readonly number[] = [];

  /** How many dispatches there are so far. */
  get dispatches(): number {
    return this.#drafts.length;
  }

  /** Counts an op for the run's label. */
  count(name: string): void {
    this.#names.set(name, (this.#names.get(name) ?? 0) + 1);
  }

  /** A value of `shape` that dispatches will write. */
  value(kind: Value["kind"], dtype: DType, elements: number, step: number, position = -1): Value {
    const bytes = Math.max(4, Math.ceil(elements * storedBytes(dtype) / 4) * 4);
    if (bytes > this.limits.buffer || elements >= 2 ** 31) {
      throw new TooLargeError(
        `${this.steps[step]?.op?.name ?? "an input"} alone has ${
          showShape(this.steps[step].shape)
        } ${dtype}, and a ` +
          `buffer of this device at most ${showBytes(this.limits.buffer)} and 2^31 elements`,
        bytes,
      );
    }
    const value: Value = {
      kind,
      dtype,
      elements,
      bytes,
      step,
      position,
      slot: -1,
      from: -1,
      to: -1,
      at: -1,
      home: null,
    };
    this.#values.push(value);
    return value;
  }

  /** A new contiguous result of a step. */
  result(step: number, shape: Shape, dtype: DType): Operand {
    return {
      value: this.value("computed", dtype, sizeOf(shape), step),
      view: wholeView(shape),
      dtype,
      moving: -1,
    };
  }

  /** Attributes of a step, in this run or in the run of `now`. */
  attributes(step: number, now: RunAttributes = this.#now): Attributes {
    const { source, p } = this.steps[step];
    return source < 0 ? p : now(source);
  }

  /** Remembers that the start of `step`'s view, made from that of `from`, is data. */
  moves(step: number, from: number): void {
    const { op, shape, dtype } = this.steps[step];
    if (op === null || op.family !== "movement") throw new Error("Internal: only movements move");
    const views = this.#views, start = this.operands[from].view;
    this.#patches.push((_, now) => {
      views.set(step, op.view(views.get(from) ?? start, this.attributes(step, now), { shape, dtype })!);
    });
  }

  /** Adds `offset` of an operand to a parameter block, now and in each run. */
  patchOffset(at: number, word: number, operand: Operand): void {
    if (operand.moving < 0) return;
    const views = this.#views, i = at / 4 + word, { moving } = operand;
    this.#patches.push((words) => {
      words.i32[i] = views.get(moving)!.offset;
    });
  }

  /** Calls `patch` before each run. */
  patch(patch: Patch): void {
    this.#patches.push(patch);
  }

  /** Writes a constant's bits into parameter word `i` (counted from the start of all), in each run. */
  patchConstant(i: number, step: number): void {
    const { dtype } = this.steps[step];
    this.#patches.push((words, now) => {
      const value = roundTo(dtype, Number(this.attributes(step, now).value));
      if (isFloat(dtype)) words.f32[i] = value;
      else words.i32[i] = value;
    });
  }

  /** Memory of a constant or a key, as kernels which need an address see it. */
  materialise(value: Value): void {
    if (value.kind !== "constant" || value.at >= 0) return;
    const { leaf, dtype } = this.steps[value.step];
    this.#bytes = aligned(this.#bytes);
    value.at = this.#bytes;
    this.#bytes += value.bytes;
    const i = value.at / 4;
    if (leaf === "constant" && dtype === "f16") {
      this.#patches.push((words, now) => {
        new Float16Array(words.i32.buffer)[2 * i] = this.attributes(value.step, now).value;
      });
    } else if (leaf === "constant" && dtype === "bf16") {
      this.#patches.push((words, now) => {
        words.u32[i] = packBf16([this.attributes(value.step, now).value])[0];
      });
    } else if (leaf === "constant") this.patchConstant(i, value.step);
    else {
      this.#patches.push((words, now) => {
        const key = this.attributes(value.step, now).value;
        for (let k = 0; k < key.length; k++) words.u32[i + k] = key[k];
      });
    }
  }

  /** Where the next dispatch's parameters will stand. */
  reserve(kernel: Kernel): number {
    const { uniformAlign } = this.limits;
    const at = Math.ceil(this.#bytes / uniformAlign) * uniformAlign;
    this.#bytes = at + kernel.words * 4;
    return at;
  }

  /** The whole of a value, for a kernel that reaches all of it. */
  whole(value: Value): Binding {
    this.materialise(value);
    if (value.bytes > this.limits.binding) throw this.tooLarge(value);
    return { value, offset: 0, bytes: value.bytes };
  }

  /** The error for a value that no kernel can reach as a whole. */
  tooLarge(value: Value): RangeError {
    const step = this.steps[value.step];
    return new RangeError(
      `Cannot compute with a tensor of shape ${
        showShape(step.shape)
      } in one kernel: it takes ${value.bytes} bytes, and a ` +
        `kernel of this device reaches at most ${this.limits.binding}. Work on parts, as in x.narrow(...), or on the host`,
    );
  }

  /** "r" for what this run only reads, "w" for what it computes. */
  access(bindings: readonly Binding[]): string {
    return bindings.map((b) => b.value === null || b.value.kind === "computed" ? "w" : "r").join("");
  }

  /**
   * Adds a dispatch of `threadGroups` workgroups; the last binding that is a value is its result. `isRepeatable`: it reads
   * nothing that it writes, and alone writes its result.
   */
  dispatch(
    kernel: Kernel,
    bindings: Binding[],
    threadGroups: number,
    at: number,
    words: readonly number[],
    isRepeatable = false,
  ): void {
    const number = this.#drafts.length;
    if (!this.#isAside) noteUse(bindings, number);
    const work: Work = {
      name: "copy",
      shape: [bindings[bindings.length - 1].value?.elements ?? 0],
      flops: 0,
      bytes: bindings.reduce((n, b) => n + b.bytes, 0),
    };
    const groups = foldGroups(threadGroups, this.limits.groups);
    this.#drafts.push({ kernel, bindings, groups, at, work, isRepeatable });
    this.#blocks.push({ at, words });
  }

  /** Notes that what `emit` dispatches would make a value again, if it is one dispatch. */
  spare(value: Value, emit: () => void): void {
    const drafts = this.#drafts;
    this.#drafts = [];
    this.#isAside = true;
    emit();
    if (this.#drafts.length === 1) this.#spares.set(value, this.#drafts[0]);
    this.#drafts = drafts;
    this.#isAside = false;
  }

  /** Refuses to walk more elements than kernels can count, though they need no memory: broadcast ones, say. */
  countable({ op, shape, inputs }: Step): void {
    for (const walked of [shape, ...inputs.map((x) => this.steps[x].shape)]) {
      if (sizeOf(walked) < 2 ** 31) continue;
      throw new TooLargeError(
        `${op!.name} alone walks ${showShape(walked)}, and kernels of this device count to 2^31`,
        4 * sizeOf(walked),
      );
    }
  }

  /** Counts all that `emit` dispatches as work of these steps. */
  working(steps: readonly number[], emit: () => void): void {
    const drafts = this.#drafts, from = drafts.length;
    for (const i of steps) this.countable(this.steps[i]);
    emit();
    let flops = 0;
    for (const i of steps) {
      const step = this.steps[i];
      flops += costOf(step.op!, step.inputs.map((x) => this.steps[x]), step, this.attributes(i)).flops;
    }
    const name = nameOf(steps.map((i) => this.steps[i].op!.name)), count = drafts.length - from;
    const { shape } = this.steps[steps[steps.length - 1]];
    for (let i = from; i < drafts.length; i++) {
      drafts[i].work = { name, shape, flops: flops / count, bytes: drafts[i].work.bytes };
    }
  }

  /** The operand with its elements in row-major order: itself, or what `copy` makes of it. */
  contiguous(step: number, copy: (step: number) => Operand): Operand {
    const operand = this.operands[step];
    if (isContiguous(operand.view)) return operand;
    let made = this.#copies.get(step);
    if (made === undefined) this.#copies.set(step, made = copy(step));
    return made;
  }

  /** The plan, with memory laid out. */
  finish(roots: readonly Operand[]): Plan {
    const slots: number[] = [];
    const sources = roots.map(({ value }): RootSource => {
      if (value.kind === "input") return { kind: "input", index: value.position };
      if (value.slot < 0) value.slot = slots.push(value.bytes) - 1;
      return { kind: "slot", index: value.slot };
    });
    this.#repeat();
    for (const { home, to } of this.#values) if (home?.kind === "computed") home.to = Math.max(home.to, to);
    const inArena = this.#values
      .filter((v) => v.kind === "computed" && v.slot < 0 && v.home === null && v.from >= 0)
      .sort((a, b) => a.from - b.from);
    const { places, chunks } = placeInChunks(
      inArena.map((v) => ({ bytes: aligned(v.bytes), from: v.from, to: v.to })),
      Math.floor(this.limits.buffer / 256) * 256,
    );
    const placeOf = new Map(inArena.map((v, i) => [v, places[i]]));
    const inputs = new Set<number>(), takeovers: Takeover[] = [];
    for (const { slot, home } of this.#values) {
      if (home?.kind !== "input") continue;
      inputs.add(home.position);
      takeovers.push({ slot, input: home.position });
    }
    const bound = ({ value, offset, bytes }: Binding): Bound => {
      if (value === null) return { kind: "faults", index: 0, offset, bytes };
      if (value.kind === "input") {
        inputs.add(value.position);
        return { kind: "input", index: value.position, offset, bytes };
      }
      if (value.kind === "constant") {
        return { kind: "parameters", index: 0, offset: value.at + offset, bytes };
      }
      if (value.slot >= 0) return { kind: "root", index: value.slot, offset, bytes };
      const place = placeOf.get(value.home ?? value)!;
      return { kind: "arena", index: place.chunk, offset: place.offset + offset, bytes };
    };
    // A plan outlives its first run, whose nodes must not live as long.
    this.#now = () => {
      throw new Error("Internal: attributes of no run");
    };
    const words = new Words(aligned(Math.max(256, this.#bytes)));
    for (const { at, words: list } of this.#blocks) words.i32.set(list, at / 4);
    const dispatches = this.#drafts.map((d): Dispatch => ({ ...d, bindings: d.bindings.map(bound) }));
    return {
      dispatches,
      words,
      patches: this.#patches,
      chunks,
      slots,
      takeovers,
      roots: sources,
      inputs: [...inputs],
      faults: this.faults,
      label: this.#label(),
    };
  }

  /** Has little work done again, so that less waits for the backward pass. */
  #repeat(): void {
    const isKept = (v: Value): boolean => v.kind !== "computed" || v.slot >= 0;
    const { drafts, values, ends } = repeated(this.#drafts, isKept, this.#spares, this.limits.repeats);
    this.ends = ends;
    if (drafts.length === this.#drafts.length) return;
    this.#drafts = drafts;
    this.#values.push(...values);
    for (const v of this.#values) v.from = -1;
    drafts.forEach(({ bindings }, number) => noteUse(bindings, number));
  }

  #label(): string {
    const names = [...this.#names.keys()];
    const total = [...this.#names.values()].reduce((a, b) => a + b, 0);
    const list = names.slice(0, 6).join(", ") + (names.length > 6 ? ", ..." : "");
    return total === 0 ? "a copy" : total === 1 ? names[0] : `${total} ops (${list})`;
  }
}

/** Notes that a dispatch binds these. */
function noteUse(bindings: readonly Binding[], number: number): void {
  for (const { value } of bindings) {
    if (value === null) continue;
    if (value.from < 0) value.from = number;
    value.to = number;
  }
}

/** The number of a binding among those of a dispatch, where the same memory is bound once: to be written if anybody does. */
export function bindOnce(bindings: Binding[], binding: Binding): number {
  const memory = ({ value }: Binding): Value | null => value?.home ?? value;
  const found = bindings.findIndex((x) =>
    memory(x) === memory(binding) && x.offset === binding.offset && x.bytes === binding.bytes
  );
  if (found < 0) return bindings.push(binding) - 1;
  if (bindings[found].value?.kind === "input") bindings[found] = binding;
  return found;
}
