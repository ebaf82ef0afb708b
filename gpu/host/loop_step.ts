/** Kernels that are loops over elements, from what they read. */
import { type DType } from "../../ops/dtype.ts";
import type { Reduction } from "../../ops/primitive.ts";
import { hostOf } from "../../ops/reference.ts";
import { type Shape, sizeOf } from "../../ops/shape.ts";
import type { Draft } from "./draft.ts";
import { type Application, collapse, compileLoop, type Load, type Loop, strideClass } from "./loops.ts";
import { type Access, whole } from "./views.ts";
import { vectorKernel } from "./wasm/kernel.ts";
import type { Runner } from "./wasm/runner.ts";

/** A folded axis shorter than this is walked element by element. */
const SHORT = 16;
/** From this size on, operands that run the other way are walked in squares. */
const TILED = 1 << 14;
/** Folds that may start again in each block, since their first value is neutral. */
const BLOCKED = new Set(["sum", "prod", "amax", "amin"]);

/** A loop over `shape`: operands as it sees them, functions of them, and which values it stores. */
export interface LoopStep {
  readonly shape: Shape;
  readonly operands: readonly Access[];
  readonly types: readonly DType[];
  readonly applications: readonly Application[];
  readonly stores: readonly { readonly value: string; readonly slot: number }[];
  /** What it folds over which axes, of the type `from`; null for none. */
  readonly fold: { readonly op: Reduction; readonly axes: readonly number[]; readonly from: DType } | null;
  /** The steps that it does. */
  readonly steps: readonly number[];
}

/** Adds a loop's kernel. */
export function addLoop(draft: Draft, runner: Runner | null, step: LoopStep): void {
  const { shape, operands, types, applications, stores, fold, steps } = step;
  const loads: Access[] = [], loadTypes: DType[] = [], constants: number[] = [];
  operands.forEach((x, i) => {
    if (x.slot < 0) constants.push(x.constant);
    else {
      loads.push(x);
      loadTypes.push(types[i]);
    }
  });
  let lengths = shape, strides = loads.map((x) => x.view.strides);
  let isReduced = shape.map((_, a) => fold !== null && fold.axes.includes(a));
  if (fold !== null) {
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
  const y = draft.slots[stores[0].slot].dtype;
  const loop: Loop = {
    rank,
    loads: kinds,
    constants: constants.length,
    applications,
    stores: stores.map((s) => ({ value: s.value, dtype: draft.slots[s.slot].dtype })),
    fold: fold === null ? null : {
      name: fold.op.name,
      host: hostOf(fold.op, y),
      integer: hostOf(fold.op, y) !== fold.op.host,
      init: fold.op.init(fold.from),
      from: fold.from,
      reduced: axes.reduced,
      short: innermost < 0 || axes.lengths[innermost] < SHORT || !BLOCKED.has(fold.op.name),
    },
    tiled: opposed && fold === null,
  };
  const kernel = (runner && vectorKernel(loop, axes, runner)) ?? compileLoop(loop);
  const g: number[] = [...axes.lengths], offsets: number[] = [];
  loads.forEach((x, l) => {
    g.push(x.slot);
    offsets.push(g.length);
    g.push(x.view.offset);
    kinds[l].strides.forEach((s, a) => s === "s" && g.push(axes.strides[l][a]));
  });
  const places = [...offsets.map((at) => at - 1), ...stores.map((_, i) => g.length + i)];
  for (const s of stores) g.push(s.slot);
  g.push(...constants);
  const geometry = Int32Array.from(g);
  loads.forEach((x, l) => draft.follow(geometry, offsets[l], x));
  draft.add({
    kernel,
    geometry,
    places,
    reads: loads,
    writes: stores.map((s) => s.slot),
    steps,
    passes: fold === null ? passes(draft, loads, shape) : [],
  });
}

/** Slots that a loop over `shape` reads at the elements that it writes, and nowhere else. */
function passes(draft: Draft, loads: readonly Access[], shape: Shape): number[] {
  const isInStep = (x: Access): boolean => draft.isWhole(x) && sizeOf(x.view.shape) === sizeOf(shape);
  return loads.flatMap(({ slot }) => loads.every((x) => x.slot !== slot || isInStep(x)) ? [slot] : []);
}

/** A copy of a value in a slot of its own. */
export function copy(draft: Draft, runner: Runner | null, x: Access, dtype: DType): Access {
  const { shape } = x.view, slot = draft.slot(dtype, sizeOf(shape));
  addLoop(draft, runner, {
    ...{ shape, operands: [x], types: [dtype], applications: [], fold: null, steps: [] },
    stores: [{ value: x.slot < 0 ? "c0" : "x0", slot }],
  });
  return whole(slot, shape);
}
