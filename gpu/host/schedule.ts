/** From steps to a schedule: views become index arithmetic, neighbours fuse, intermediates get places in an arena. */
import { wholeView } from "../../ops/definitions/movement.ts";
import { costOf, nameOf, type Work } from "../../ops/cost.ts";
import { bytesPerElement, type DType, roundTo, workingBytes } from "../../ops/dtype.ts";
import type { Lowered, Step } from "../../ops/lower.ts";
import type { Node } from "../../ops/node.ts";
import type { Aval, Custom, Elementwise, Movement, Reduction, View } from "../../ops/primitive.ts";
import { hostOf } from "../../ops/reference.ts";
import { sameShape, type Shape, sizeOf } from "../../ops/shape.ts";
import type { AttentionAttributes } from "../../ops/fused/attention_definition.ts";
import { Arena } from "./arena.ts";
import { ATTENTION, attentionKernel, type AttentionResult, hasRows, isFor } from "./attention.ts";
import { customKernel } from "./custom.ts";
import { fuse, type Fusion } from "../fusion.ts";
import {
  type Application,
  collapse,
  compileLoop,
  type Kernel,
  type Load,
  type Loop,
  strideClass,
} from "./loops.ts";
import { matmulKernel } from "./matmul.ts";
import { vectorKernel } from "./wasm/kernel.ts";
import type { Runner } from "./wasm/runner.ts";

/** Where the array of a slot comes from. */
export type SlotKind = "input" | "key" | "arena" | "root";

/** One array of a run. */
export interface Slot {
  readonly dtype: DType;
  readonly size: number;
  kind: SlotKind;
  /** Position in the run's graph of an input or a random key. */
  readonly source: number;
  /** Bytes into the arena. */
  at: number;
}

/** A number of this run that the geometry of a kernel holds: an offset that depends on where slices start. */
export interface Dynamic {
  readonly g: Int32Array;
  readonly index: number;
  readonly base: number;
  readonly parts: readonly DynamicPart[];
}

interface DynamicPart {
  readonly op: Movement;
  readonly x: View;
  readonly y: Aval;
  readonly source: number;
}

/** A number leaf: its value this run goes to `k`. */
export interface Constant {
  readonly source: number;
  readonly dtype: DType;
  /** Where there is no source. */
  readonly value: number;
}

/** What a run of some structure does, over and over. */
export interface Schedule {
  readonly kernels: readonly Kernel[];
  /** What each kernel does. */
  readonly works: readonly Work[];
  readonly geometry: readonly Int32Array[];
  readonly slots: readonly Slot[];
  /** Slots outside of the arena. */
  readonly bound: readonly number[];
  readonly constants: readonly Constant[];
  readonly dynamics: readonly Dynamic[];
  /** The slot of each root. */
  readonly roots: readonly number[];
  /** Bytes of the arena that it needs. */
  readonly bytes: number;
  /** Bytes of its results. */
  readonly results: number;
  /** Elements of its largest array. */
  readonly largest: number;
  /** Number of steps that it was made from. */
  readonly steps: number;
}

/** How to read a value: a window onto a slot, or a number. */
interface Access {
  /** Slot, or -1 for a number. */
  readonly slot: number;
  readonly constant: number;
  readonly view: View;
  readonly dynamic: readonly DynamicPart[];
}

/** Functions and operands in one loop. */
const LOOP = { applications: 32, operands: 16 };
/** A folded axis shorter than this is walked element by element. */
const SHORT = 16;
/** From this size on, operands that run the other way are walked in squares. */
const TILED = 1 << 14;

/** Which steps are computed by which kernels, the last excluded. */
export interface KernelGroup {
  readonly steps: readonly number[];
  readonly from: number;
  readonly to: number;
}

/** Makes the schedule of a run on `nodes`, of which it keeps none; tells `groups`, for pictures, which steps share kernels. */
export function makeSchedule(
  lowered: Lowered,
  nodes: readonly Node[],
  runner: Runner | null,
  groups?: KernelGroup[],
): Schedule {
  return new Planner(lowered, nodes, runner).plan(groups);
}

class Planner {
  readonly #steps: readonly Step[];
  readonly #nodes: readonly Node[];
  readonly #rootSteps: readonly number[];
  readonly #isRoot: Uint8Array;
  readonly #fusion: Fusion;
  readonly #access: Access[] = [];
  /** What a kernel that came before has computed besides. */
  readonly #done = new Map<number, Access>();
  readonly #slots: Slot[] = [];
  readonly #constants: Constant[] = [];
  readonly #dynamics: Dynamic[] = [];
  readonly #kernels: Kernel[] = [];
  readonly #works: Work[] = [];
  readonly #geometry: Int32Array[] = [];
  readonly #firstUse: number[] = [];
  readonly #lastUse: number[] = [];
  readonly #runner: Runner | null;

  constructor(lowered: Lowered, nodes: readonly Node[], runner: Runner | null) {
    this.#runner = runner;
    this.#nodes = nodes;
    this.#steps = lowered.steps;
    this.#rootSteps = lowered.roots;
    this.#isRoot = new Uint8Array(lowered.steps.length);
    for (const r of lowered.roots) this.#isRoot[r] = 1;
    this.#fusion = fuse(lowered, LOOP);
  }

  plan(groups?: KernelGroup[]): Schedule {
    this.#steps.forEach((step, i) => {
      const from = this.#kernels.length;
      this.#access.push(this.#emit(step, i));
      const to = this.#kernels.length;
      if (to > from) groups?.push({ steps: this.#together(step, i), from, to });
    });
    const roots = this.#rootSteps.map((r) => this.#rootSlot(this.#access[r]));
    const bound = this.#slots.flatMap(({ kind }, i) => kind === "arena" ? [] : [i]);
    return {
      kernels: this.#kernels,
      works: this.#works,
      geometry: this.#geometry,
      slots: this.#slots,
      bound,
      constants: this.#constants,
      dynamics: this.#dynamics,
      roots,
      bytes: this.#place(),
      results: this.#slots.reduce((n, s) => s.kind === "root" ? n + s.size * workingBytes(s.dtype) : n, 0),
      largest: this.#slots.reduce((n, s) => Math.max(n, s.size), 0),
      steps: this.#steps.length,
    };
  }

  /** The steps that are computed where step `i` is. */
  #together(step: Step, i: number): number[] {
    const members = this.#fusion.members.get(i) ?? [];
    return step.op?.family === "elementwise" ? [...members] : [...members, i];
  }

  #emit(step: Step, i: number): Access {
    switch (step.leaf) {
      case "input":
        return this.#whole(this.#slot(step.dtype, sizeOf(step.shape), "input", step.source), step.shape);
      case "randomKey":
        if (step.source < 0) throw new Error("Internal: a random key without a node");
        return this.#whole(this.#slot(step.dtype, sizeOf(step.shape), "key", step.source), step.shape);
      case "constant": {
        const value = step.source < 0 ? roundTo(step.dtype, Number(step.p.value)) : 0;
        this.#constants.push({ source: step.source, dtype: step.dtype, value });
        return { slot: -1, constant: this.#constants.length - 1, view: wholeView(step.shape), dynamic: [] };
      }
      case null:
        break;
    }
    const op = step.op!;
    switch (op.family) {
      case "movement":
        return this.#move(op, step);
      case "elementwise": {
        if (this.#fusion.heads[i] !== i) return NOWHERE;
        return this.#loop(i, step.shape, null);
      }
      case "reduction":
        return this.#loop(i, this.#steps[step.inputs[0]].shape, op);
      case "contraction":
        return this.#contract(step, i);
      case "custom":
        return this.#done.get(i) ?? this.#attention(op, step, i) ?? this.#custom(step, i);
    }
  }

  #slot(dtype: DType, size: number, kind: SlotKind, source = -1): number {
    this.#slots.push({ dtype, size, kind, source, at: 0 });
    return this.#slots.length - 1;
  }

  #whole(slot: number, shape: Shape): Access {
    return { slot, constant: -1, view: wholeView(shape), dynamic: [] };
  }

  /** A movement: a view on what its operand is a view of, or else a copy. */
  #move(op: Movement, step: Step): Access {
    const x = this.#access[step.inputs[0]], y: Aval = { shape: step.shape, dtype: step.dtype };
    if (x.slot < 0) return { ...x, view: { shape: step.shape, strides: step.shape.map(() => 0), offset: 0 } };
    // With a structural key of their own, attributes hold data; then where the view starts is data too.
    const isData = op.key !== undefined && step.source >= 0;
    const p = this.#attributes(step);
    const from = isData ? { ...x.view, offset: 0 } : x.view;
    const view = op.view(from, p, y);
    if (view !== null) {
      if (!isData) return { ...x, view };
      const dynamic = [...x.dynamic, { op, x: from, y, source: step.source }];
      return { ...x, view: { ...view, offset: x.view.offset }, dynamic };
    }
    const copy = this.#contiguous(x, step.dtype);
    const whole = wholeView(x.view.shape);
    return {
      slot: copy.slot,
      constant: -1,
      view: op.view(whole, p, y) ?? wholeView(step.shape),
      dynamic: [],
    };
  }

  /** Attributes of a step in this run; those that are data differ in the next. */
  #attributes(step: Step): Step["p"] {
    return step.source < 0 ? step.p : this.#nodes[step.source].p;
  }

  /** The value with its elements in row-major order from the front of a slot. */
  #contiguous(x: Access, dtype: DType): Access {
    if (x.slot >= 0 && x.dynamic.length === 0 && this.#isWhole(x)) return x;
    const { shape } = x.view, to = this.#slot(dtype, sizeOf(shape), "arena");
    this.#run(shape, [x], [dtype], [], [{ value: x.slot < 0 ? "c0" : "x0", slot: to }], null, null, []);
    return this.#whole(to, shape);
  }

  #isWhole(x: Access): boolean {
    if (x.view.offset !== 0 || this.#slots[x.slot].size !== sizeOf(x.view.shape)) return false;
    return isRowMajor(x.view);
  }

  /** Emits the loop whose last step is `head`. */
  #loop(head: number, shape: Shape, reduction: Reduction | null): Access {
    const members = this.#fusion.members.get(head)!, index = new Map<number, string>();
    const operands: Access[] = [], types: DType[] = [], names = new Map<number, string>();
    const applications: Application[] = [];
    // Operands are told apart as steps: what was seen before has its name.
    const nameOf = (s: number): string => {
      const inside = index.get(s);
      if (inside !== undefined) return inside;
      let name = names.get(s);
      if (name === undefined) {
        name = this.#operand(operands, types, this.#access[s], this.#steps[s].dtype, shape);
        names.set(s, name);
      }
      return name;
    };
    for (const m of members) {
      const step = this.#steps[m], op = step.op as Elementwise;
      const x = step.inputs.map(nameOf), types = step.inputs.map((s) => this.#steps[s].dtype);
      applications.push({
        name: op.name,
        host: hostOf(op, step.dtype),
        integer: hostOf(op, step.dtype) !== op.host,
        wgsl: op.wgsl(x, types, this.#attributes(step)),
        x,
        types,
        dtype: step.dtype,
      });
      index.set(m, `t${applications.length - 1}`);
    }
    if (reduction !== null) {
      const step = this.#steps[head], from = step.inputs[0];
      const to = this.#slot(step.dtype, sizeOf(step.shape), "arena");
      const stores = [{ value: nameOf(from), slot: to }];
      this.#run(shape, operands, types, applications, stores, reduction, {
        axes: this.#attributes(step).axes,
        from: this.#steps[from].dtype,
      }, [...members, head]);
      return this.#whole(to, step.shape);
    }
    const stores: { value: string; slot: number }[] = [];
    for (const m of members) {
      if (m !== head && this.#isRoot[m] === 0) continue;
      const to = this.#slot(this.#steps[m].dtype, sizeOf(shape), "arena");
      stores.push({ value: index.get(m)!, slot: to });
      // Set now, although the loop runs at its head: only roots ask for it.
      if (m !== head) this.#access[m] = this.#whole(to, shape);
    }
    this.#run(shape, operands, types, applications, stores, null, null, members);
    return this.#whole(stores[stores.length - 1].slot, shape);
  }

  /** Adds an operand of a loop over `shape`; its name is `c` and a number, or `x` and its place. */
  #operand(operands: Access[], types: DType[], x: Access, dtype: DType, shape: Shape): string {
    const isConstant = x.slot < 0, extra = shape.length - x.view.shape.length;
    const place = operands.filter((o) => o.slot < 0 === isConstant).length;
    const strides = shape.map((_, a) =>
      a < extra || x.view.shape[a - extra] === 1 ? 0 : x.view.strides[a - extra]
    );
    operands.push({ ...x, view: { shape, strides, offset: x.view.offset } });
    types.push(dtype);
    return `${isConstant ? "c" : "x"}${place}`;
  }

  /** Emits one loop kernel. */
  #run(
    shape: Shape,
    operands: readonly Access[],
    types: readonly DType[],
    applications: readonly Application[],
    stores: readonly { value: string; slot: number }[],
    reduction: Reduction | null,
    folded: { axes: readonly number[]; from: DType } | null,
    steps: readonly number[],
  ): void {
    const loads: Access[] = [], loadTypes: DType[] = [], constants: number[] = [];
    operands.forEach((x, i) => {
      if (x.slot < 0) constants.push(x.constant);
      else {
        loads.push(x);
        loadTypes.push(types[i]);
      }
    });
    let lengths = shape, strides = loads.map((x) => x.view.strides);
    let isReduced = shape.map((_, a) => folded !== null && folded.axes.includes(a));
    if (folded !== null) {
      // A kept axis that lies contiguous is walked innermost.
      const last = isReduced.lastIndexOf(false), end = shape.length - 1;
      if (last >= 0 && last < end && shape[last] > 1 && strides.some((s) => s[last] === 1)) {
        const order = [...shape.keys()].filter((a) => a !== last);
        order.push(last);
        lengths = order.map((a) => shape[a]);
        strides = strides.map((s) => order.map((a) => s[a]));
        isReduced = order.map((a) => isReduced[a]);
      }
    }
    // Stores are contiguous over the loop (or over what a fold keeps), so kept axes merge freely.
    const axes = collapse(lengths, strides, isReduced);
    const rank = axes.lengths.length;
    const kinds: Load[] = loads.map((_, l) => ({
      dtype: loadTypes[l],
      strides: axes.strides[l].map(strideClass),
    }));
    const opposed = rank >= 2 && sizeOf(shape) >= TILED &&
      kinds.some((load) => load.strides[rank - 1] === "s" && load.strides[rank - 2] === "1");
    const innermost = axes.reduced.lastIndexOf(true);
    const y = this.#slots[stores[0].slot].dtype;
    const loop: Loop = {
      rank,
      loads: kinds,
      constants: constants.length,
      applications,
      stores: stores.map((s) => ({ value: s.value, dtype: this.#slots[s.slot].dtype })),
      fold: reduction === null || folded === null ? null : {
        name: reduction.name,
        host: hostOf(reduction, y),
        integer: hostOf(reduction, y) !== reduction.host,
        init: reduction.init(folded.from),
        from: folded.from,
        reduced: axes.reduced,
        short: innermost < 0 || axes.lengths[innermost] < SHORT || !BLOCKED.has(reduction.name),
      },
      tiled: opposed && reduction === null,
    };
    const kernel = (this.#runner && vectorKernel(loop, axes, this.#runner)) ?? compileLoop(loop);
    const g: number[] = [...axes.lengths], offsets: number[] = [];
    loads.forEach((x, l) => {
      g.push(x.slot);
      offsets.push(g.length);
      g.push(x.view.offset);
      kinds[l].strides.forEach((s, a) => s === "s" && g.push(axes.strides[l][a]));
    });
    for (const s of stores) g.push(s.slot);
    g.push(...constants);
    const geometry = Int32Array.from(g);
    loads.forEach((x, l) => this.#follow(geometry, offsets[l], x));
    this.#add(kernel, geometry, loads, stores.map((s) => s.slot), steps);
  }

  /** Keeps an offset in a geometry up to date, if it depends on data. */
  #follow(g: Int32Array, index: number, x: Access): void {
    if (x.dynamic.length > 0) this.#dynamics.push({ g, index, base: x.view.offset, parts: x.dynamic });
  }

  /** Adds the kernel of these steps. */
  #add(
    kernel: Kernel,
    geometry: Int32Array,
    reads: readonly Access[],
    writes: readonly number[],
    steps: readonly number[],
  ): void {
    const at = this.#kernels.length;
    this.#kernels.push(kernel);
    this.#geometry.push(geometry);
    this.#works.push(this.#work(reads, writes, steps));
    for (const { slot } of reads) this.#lastUse[slot] = at;
    for (const s of writes) {
      this.#firstUse[s] = at;
      this.#lastUse[s] = Math.max(this.#lastUse[s] ?? 0, at);
    }
  }

  #work(reads: readonly Access[], writes: readonly number[], steps: readonly number[]): Work {
    let flops = 0, bytes = 0;
    for (const i of steps) {
      const step = this.#steps[i];
      flops += costOf(step.op!, step.inputs.map((x) => this.#steps[x]), step, this.#attributes(step)).flops;
    }
    for (const { slot, view } of reads) {
      const { size, dtype } = this.#slots[slot];
      // What is broadcast is read once.
      const seen = view.shape.reduce((n, m, a) => view.strides[a] === 0 ? n : n * m, 1);
      bytes += Math.min(size, seen) * bytesPerElement(dtype);
    }
    for (const slot of writes) bytes += this.#slots[slot].size * bytesPerElement(this.#slots[slot].dtype);
    const name = nameOf(steps.map((i) => this.#steps[i].op!.name));
    const shape = this.#steps[steps[steps.length - 1]]?.shape ?? reads[0]?.view.shape ?? [];
    return { name, shape, flops, bytes };
  }

  #contract(step: Step, i: number): Access {
    let [a, b] = step.inputs.map((s) => {
      const x = this.#access[s];
      return x.slot < 0 ? this.#contiguous(x, this.#steps[s].dtype) : x;
    });
    const rank = step.shape.length, K = a.view.shape[rank - 1], isTransposed = this.#isTransposed(i);
    // (a b)ᵀ = bᵀ aᵀ
    if (isTransposed) [a, b] = [b, a].map((x) => ({ ...x, view: transposed(x.view) }));
    const shape = isTransposed ? swapLast(step.shape) : step.shape, [M, N] = shape.slice(rank - 2);
    const to = this.#slot(step.dtype, sizeOf(shape), "arena");
    const geometry = Int32Array.of(a.slot, b.slot, to, a.view.offset, b.view.offset);
    this.#follow(geometry, 3, a);
    this.#follow(geometry, 4, b);
    const kernel = matmulKernel(a.view, b.view, [M, N, K], step.dtype, this.#runner);
    this.#add(kernel, geometry, [a, b], [to], [i]);
    const y = this.#whole(to, shape);
    return isTransposed ? { ...y, view: transposed(y.view) } : y;
  }

  /** Whether all that use a product see it transposed, as the gradient of a transposed weight is: then it is stored so. */
  #isTransposed(i: number): boolean {
    const users = this.#fusion.consumers[i];
    if (this.#isRoot[i] === 1 || users.length === 0) return false;
    const swapped = swapLast([...this.#steps[i].shape.keys()]);
    return users.every((u) =>
      this.#steps[u].op!.name === "permute" && sameShape(this.#attributes(this.#steps[u]).axes, swapped)
    );
  }

  /** Attention, and both its gradients at once, where vectors do it. */
  #attention(op: Custom, step: Step, i: number): Access | null {
    if (this.#runner === null || !ATTENTION.includes(op.name)) return null;
    const p = this.#attributes(step) as AttentionAttributes, isForward = op.name === ATTENTION[0];
    const types = step.inputs.map((s) => ({
      view: wholeView(this.#steps[s].shape),
      dtype: this.#steps[s].dtype,
    }));
    if (!isFor(types, p)) return null;
    const operands = step.inputs.map((s, k) => {
      const x = this.#access[s],
        rows = isForward ? 3 : 4,
        isMask = k === (isForward ? 3 : 5) && p.mask !== "none";
      const fits = x.slot >= 0 && (isMask || (k < rows ? hasRows(x.view) : isRowMajor(x.view)));
      return fits ? x : this.#contiguous(x, this.#steps[s].dtype);
    });
    const places = isForward ? [i] : ATTENTION.slice(1).map((name) => this.#twin(i, name));
    const results = places.map((place): AttentionResult =>
      place < 0 ? null : { ...this.#steps[place], op: this.#steps[place].op as Custom }
    );
    const to = results.map((y) => y === null ? -1 : this.#slot(y.dtype, sizeOf(y.shape), "arena"));
    const slots = operands.map((x) => x.slot);
    const geometry = Int32Array.of(...operands.map((x) => x.view.offset), ...slots, ...to);
    operands.forEach((x, k) => this.#follow(geometry, k, x));
    const x = operands.map(({ view }, k) => ({ view, dtype: types[k].dtype }));
    this.#add(
      attentionKernel(x, results, p, this.#runner),
      geometry,
      operands,
      to.filter((slot) => slot >= 0),
      places.filter((place) => place >= 0),
    );
    results.forEach((y, k) => y !== null && this.#done.set(places[k], this.#whole(to[k], y.shape)));
    return this.#done.get(i)!;
  }

  /** The step of an op on the operands of step `i`, that step itself included; -1 for none. */
  #twin(i: number, name: string): number {
    const { inputs } = this.#steps[i], p = JSON.stringify(this.#attributes(this.#steps[i]));
    return this.#fusion.consumers[inputs[0]].find((c) => {
      const { op, inputs: others } = this.#steps[c];
      return op!.name === name && sameShape(others, inputs) &&
        JSON.stringify(this.#attributes(this.#steps[c])) === p;
    }) ?? -1;
  }

  #custom(step: Step, i: number): Access {
    const op = step.op as Extract<Step["op"], { family: "custom" }>;
    const offsets: number[] = [], windows: Access[] = [];
    const x: Aval[] = step.inputs.map((s) => ({ shape: this.#steps[s].shape, dtype: this.#steps[s].dtype }));
    const slots = step.inputs.map((s, k) => {
      let access = this.#access[s];
      // A contiguous window needs no copy, only its start.
      if (access.slot < 0 || !isRowMajor(access.view)) {
        access = this.#contiguous(access, this.#steps[s].dtype);
      }
      offsets[k] = access.view.offset;
      windows[k] = access;
      return access.slot;
    });
    const to = this.#slot(step.dtype, sizeOf(step.shape), "arena");
    const geometry = Int32Array.of(...offsets, ...slots, to);
    windows.forEach((access, i) => this.#follow(geometry, i, access));
    const wholes = windows.map((access) => access.dynamic.length === 0 && this.#isWhole(access));
    this.#add(
      customKernel(
        op,
        x,
        { shape: step.shape, dtype: step.dtype },
        step.source,
        step.p,
        wholes,
        this.#runner,
      ),
      geometry,
      windows,
      [to],
      [i],
    );
    return this.#whole(to, step.shape);
  }

  /** The slot which holds a root and nothing else. */
  #rootSlot(x: Access): number {
    let { slot } = x;
    if (slot < 0 || x.dynamic.length > 0 || !this.#isWhole(x)) {
      slot = this.#slot(
        this.#slots[slot]?.dtype ?? this.#constants[x.constant].dtype,
        sizeOf(x.view.shape),
        "arena",
      );
      this.#run(
        x.view.shape,
        [x],
        [this.#slots[slot].dtype],
        [],
        [{ value: x.slot < 0 ? "c0" : "x0", slot }],
        null,
        null,
        [],
      );
    }
    if (this.#slots[slot].kind === "arena") this.#slots[slot].kind = "root";
    return slot;
  }

  /** Places intermediates in the arena, where no two that live at the same time overlap; bytes needed. */
  #place(): number {
    const slots = this.#slots,
      ends: number[][] = this.#kernels.map(() => []),
      starts: number[][] = ends.map(() => []);
    slots.forEach((slot, i) => {
      if (slot.kind !== "arena" || this.#firstUse[i] === undefined) return;
      starts[this.#firstUse[i]].push(i);
      ends[this.#lastUse[i]].push(i);
    });
    const arena = new Arena();
    const bytesOf = (i: number): number => slots[i].size * workingBytes(slots[i].dtype);
    for (let t = 0; t < starts.length; t++) {
      for (const i of starts[t]) slots[i].at = arena.take(bytesOf(i));
      for (const i of ends[t]) arena.give(slots[i].at, bytesOf(i));
    }
    return arena.bytes;
  }
}

const NOWHERE: Access = { slot: -1, constant: -1, view: wholeView([]), dynamic: [] };
/** Folds that may start again in each block, since their first value is neutral. */
const BLOCKED = new Set(["sum", "prod", "amax", "amin"]);

/** A list with its last two swapped. */
function swapLast(list: readonly number[]): number[] {
  const n = list.length;
  return [...list.slice(0, n - 2), list[n - 1], list[n - 2]];
}

function transposed({ shape, strides, offset }: View): View {
  return { shape: swapLast(shape), strides: swapLast(strides), offset };
}

/** Whether elements lie in row-major order without gaps. */
function isRowMajor(view: View): boolean {
  let step = 1;
  for (let a = view.shape.length - 1; a >= 0; a--) {
    if (view.shape[a] !== 1 && view.strides[a] !== step) return false;
    step *= view.shape[a];
  }
  return true;
}
