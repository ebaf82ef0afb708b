/** From steps to kernels: views become index arithmetic, neighbours fuse. */
import { wholeView } from "../../ops/definitions/movement.ts";
import { type DType, roundTo } from "../../ops/dtype.ts";
import type { AttentionAttributes } from "../../ops/fused/attention_definition.ts";
import { lower, type Lowered, type RunGraph, type Step } from "../../ops/lower.ts";
import type { Node } from "../../ops/node.ts";
import type { Aval, Custom, Elementwise, Movement, Reduction } from "../../ops/primitive.ts";
import { hostOf } from "../../ops/reference.ts";
import { broadcastStrides, sameShape, type Shape, sizeOf } from "../../ops/shape.ts";
import { fuse, type Fusion } from "../fusion.ts";
import { inShortOrder } from "../sequence.ts";
import { ATTENTION, attentionKernel, type AttentionResult, hasRows, isFor } from "./attention.ts";
import { customKernel, passesOn } from "./custom.ts";
import { Draft } from "./draft.ts";
import { addLoop, copy } from "./loop_step.ts";
import type { Application } from "./loops.ts";
import { matmulKernel } from "./matmul.ts";
import type { RepeatLimits } from "../rematerialise.ts";
import type { KernelGroup, Schedule } from "./schedule.ts";
import { type Access, isRowMajor, NOWHERE, swapLast, transposed, whole } from "./views.ts";
import type { Runner } from "./wasm/runner.ts";

/** Functions and operands in one loop. */
const LOOP = { applications: 32, operands: 16 };

/** A schedule, and the steps that it was made from, in their order. */
export interface Plan {
  readonly schedule: Schedule;
  readonly lowered: Lowered;
  /** Which steps share kernels, for pictures. */
  readonly groups: readonly KernelGroup[];
}

/** Makes the schedule of a run, which keeps none of the graph's nodes. */
export function planOf(graph: RunGraph, runner: Runner | null, limits?: RepeatLimits): Plan {
  return new Planner(inShortOrder(lower(graph), LOOP), graph.nodes, runner, limits).plan();
}

class Planner {
  readonly #lowered: Lowered;
  readonly #steps: readonly Step[];
  readonly #isRoot: Uint8Array;
  readonly #fusion: Fusion;
  readonly #access: Access[] = [];
  /** What a kernel that came before has computed besides. */
  readonly #done = new Map<number, Access>();
  readonly #draft: Draft;
  readonly #runner: Runner | null;

  constructor(lowered: Lowered, nodes: readonly Node[], runner: Runner | null, limits?: RepeatLimits) {
    this.#runner = runner;
    this.#lowered = lowered;
    this.#steps = lowered.steps;
    this.#isRoot = new Uint8Array(lowered.steps.length);
    for (const r of lowered.roots) this.#isRoot[r] = 1;
    this.#fusion = fuse(lowered, LOOP);
    this.#draft = new Draft(lowered.steps, nodes, limits);
  }

  plan(): Plan {
    const draft = this.#draft, groups: KernelGroup[] = [];
    this.#steps.forEach((step, i) => {
      const from = draft.length;
      this.#access.push(this.#emit(step, i));
      const to = draft.length;
      if (to > from) groups.push({ steps: this.#together(step, i), from, to });
    });
    const roots = this.#lowered.roots.map((r) => this.#rootSlot(this.#access[r]));
    const replaced = roots.map((_, k) => {
      const x = this.#lowered.replaced?.[k] ?? -1;
      return x < 0 ? -1 : this.#access[x].slot;
    });
    const { schedule, ends } = draft.finish(roots, replaced);
    // What is done again belongs to what it is done for.
    const endOf = (k: number): number => k === 0 ? 0 : ends[k - 1];
    return {
      schedule,
      lowered: this.#lowered,
      groups: groups.map(({ steps, from, to }) => ({ steps, from: endOf(from), to: endOf(to) })),
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
        return whole(this.#draft.slot(step.dtype, sizeOf(step.shape), "input", step.source), step.shape);
      case "randomKey":
        if (step.source < 0) throw new Error("Internal: a random key without a node");
        return whole(this.#draft.slot(step.dtype, sizeOf(step.shape), "key", step.source), step.shape);
      case "constant": {
        const value = step.source < 0 ? roundTo(step.dtype, Number(step.p.value)) : 0;
        const constant = this.#draft.constant(step.source, step.dtype, value);
        return { slot: -1, constant, view: wholeView(step.shape), dynamic: [] };
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

  /** A movement: a view on what its operand is a view of, or else a copy. */
  #move(op: Movement, step: Step): Access {
    const x = this.#access[step.inputs[0]], y: Aval = { shape: step.shape, dtype: step.dtype };
    if (x.slot < 0) return { ...x, view: { shape: step.shape, strides: step.shape.map(() => 0), offset: 0 } };
    // With a structural key of their own, attributes hold data; then where the view starts is data too.
    const isData = op.key !== undefined && step.source >= 0;
    const p = this.#draft.attributes(step);
    const from = isData ? { ...x.view, offset: 0 } : x.view;
    const view = op.view(from, p, y);
    if (view !== null) {
      if (!isData) return { ...x, view };
      const dynamic = [...x.dynamic, { op, x: from, y, source: step.source }];
      return { ...x, view: { ...view, offset: x.view.offset }, dynamic };
    }
    const copied = this.#contiguous(x, step.dtype);
    return { ...copied, view: op.view(copied.view, p, y) ?? wholeView(step.shape) };
  }

  /** The value with its elements in row-major order from the front of a slot. */
  #contiguous(x: Access, dtype: DType): Access {
    return this.#draft.isWhole(x) ? x : copy(this.#draft, this.#runner, x, dtype);
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
        wgsl: op.wgsl(x, types, this.#draft.attributes(step)),
        x,
        types,
        dtype: step.dtype,
      });
      index.set(m, `t${applications.length - 1}`);
    }
    if (reduction !== null) {
      const step = this.#steps[head], from = step.inputs[0];
      const to = this.#draft.slot(step.dtype, sizeOf(step.shape));
      const stores = [{ value: nameOf(from), slot: to }];
      addLoop(this.#draft, this.#runner, {
        ...{ shape, operands, types, applications, stores, steps: [...members, head] },
        fold: { op: reduction, axes: this.#draft.attributes(step).axes, from: this.#steps[from].dtype },
      });
      return whole(to, step.shape);
    }
    const stores: { value: string; slot: number }[] = [];
    for (const m of members) {
      if (m !== head && this.#isRoot[m] === 0) continue;
      const to = this.#draft.slot(this.#steps[m].dtype, sizeOf(shape));
      stores.push({ value: index.get(m)!, slot: to });
      // Set now, although the loop runs at its head: only roots ask for it.
      if (m !== head) this.#access[m] = whole(to, shape);
    }
    addLoop(this.#draft, this.#runner, {
      ...{ shape, operands, types, applications, stores, fold: null, steps: members },
    });
    return whole(stores[stores.length - 1].slot, shape);
  }

  /** Adds an operand of a loop over `shape`; its name is `c` and a number, or `x` and its place. */
  #operand(operands: Access[], types: DType[], x: Access, dtype: DType, shape: Shape): string {
    const isConstant = x.slot < 0, strides = broadcastStrides(x.view, shape);
    const place = operands.filter((o) => o.slot < 0 === isConstant).length;
    operands.push({ ...x, view: { shape, strides, offset: x.view.offset } });
    types.push(dtype);
    return `${isConstant ? "c" : "x"}${place}`;
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
    const to = this.#draft.slot(step.dtype, sizeOf(shape));
    const geometry = Int32Array.of(a.slot, b.slot, to, a.view.offset, b.view.offset);
    this.#draft.follow(geometry, 3, a);
    this.#draft.follow(geometry, 4, b);
    const kernel = matmulKernel(a.view, b.view, [M, N, K], step.dtype, this.#runner);
    this.#draft.add({ kernel, geometry, places: [0, 1, 2], reads: [a, b], writes: [to], steps: [i] });
    const y = whole(to, shape);
    return isTransposed ? { ...y, view: transposed(y.view) } : y;
  }

  /** Whether all that use a product see it transposed, as the gradient of a transposed weight is: then it is stored so. */
  #isTransposed(i: number): boolean {
    const users = this.#fusion.consumers[i];
    if (this.#isRoot[i] === 1 || users.length === 0) return false;
    const swapped = swapLast([...this.#steps[i].shape.keys()]);
    return users.every((u) =>
      this.#steps[u].op!.name === "permute" && sameShape(this.#draft.attributes(this.#steps[u]).axes, swapped)
    );
  }

  /** Attention, and both its gradients at once, where vectors do it. */
  #attention(op: Custom, step: Step, i: number): Access | null {
    if (this.#runner === null || !ATTENTION.includes(op.name)) return null;
    const p = this.#draft.attributes(step) as AttentionAttributes, isForward = op.name === ATTENTION[0];
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
    const to = results.map((y) => y === null ? -1 : this.#draft.slot(y.dtype, sizeOf(y.shape)));
    const slots = operands.map((x) => x.slot);
    const geometry = Int32Array.of(...operands.map((x) => x.view.offset), ...slots, ...to);
    operands.forEach((x, k) => this.#draft.follow(geometry, k, x));
    const x = operands.map(({ view }, k) => ({ view, dtype: types[k].dtype }));
    this.#draft.add({
      kernel: attentionKernel(x, results, p, this.#runner),
      geometry,
      places: [...slots, ...to].map((_, i) => slots.length + i),
      reads: operands,
      writes: to.filter((slot) => slot >= 0),
      steps: places.filter((place) => place >= 0),
    });
    results.forEach((y, k) => y !== null && this.#done.set(places[k], whole(to[k], y.shape)));
    return this.#done.get(i)!;
  }

  /** The step of an op on the operands of step `i`, that step itself included; -1 for none. */
  #twin(i: number, name: string): number {
    const { inputs } = this.#steps[i], p = JSON.stringify(this.#draft.attributes(this.#steps[i]));
    return this.#fusion.consumers[inputs[0]].find((c) => {
      const { op, inputs: others } = this.#steps[c];
      return op!.name === name && sameShape(others, inputs) &&
        JSON.stringify(this.#draft.attributes(this.#steps[c])) === p;
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
    const to = this.#draft.slot(step.dtype, sizeOf(step.shape));
    const geometry = Int32Array.of(...offsets, ...slots, to);
    windows.forEach((access, i) => this.#draft.follow(geometry, i, access));
    const wholes = windows.map((access) => this.#draft.isWhole(access)), { shape, dtype, source, p } = step;
    const kernel = customKernel(op, x, { shape, dtype }, source, p, wholes, this.#runner);
    const passes = passesOn(op.name) ? windows.filter((_, k) => wholes[k]).map(({ slot }) => slot) : [];
    this.#draft.add({
      ...{ kernel, geometry, reads: windows, writes: [to], steps: [i], passes, mayFail: true },
      places: [...slots, to].map((_, i) => slots.length + i),
    });
    return whole(to, step.shape);
  }

  /** The slot which holds a root and nothing else. */
  #rootSlot(x: Access): number {
    const draft = this.#draft;
    const { slot } = draft.isWhole(x) ? x : copy(draft, this.#runner, x, draft.typeOf(x));
    if (draft.slots[slot].kind === "arena") draft.slots[slot].kind = "root";
    return slot;
  }
}
