/** Which steps share a kernel: loops, what is computed on the way into a fold, and what follows a fold or a product. */
import { isContiguous, wholeView } from "../../ops/definitions/movement.ts";
import type { Lowered } from "../../ops/lower.ts";
import { sameShape, type Shape, sizeOf } from "../../ops/shape.ts";
import { fuse } from "../fusion.ts";
import type { Limits } from "./device.ts";
import type { RunAttributes } from "./plan.ts";

/** Steps of one kernel (or of several, where the work is too large for one). */
export interface Cluster {
  /** The reduction, contraction or custom step; -1 for a loop. */
  readonly core: number;
  /** Elementwise steps whose last is what a reduction folds. */
  readonly before: readonly number[];
  /** Elementwise steps: the loop, or what follows the core; in order. */
  readonly members: number[];
  /** Shape of the members. */
  shape: Shape;
  /** When it runs: clusters run in ascending order. */
  readonly at: number;
}

/** What runs, in order: clusters and movements (by their step). */
export interface Clusters {
  readonly order: readonly (Cluster | number)[];
  /** Whether a step of a cluster is read by another kernel, or is a root. */
  readonly isStored: (step: number, cluster: Cluster) => boolean;
  /** The step whose element t is element t of this one: what a reshape reshapes, or itself. */
  readonly behind: (step: number) => number;
  /** Per step: the steps that use it, once for each use. */
  readonly consumers: readonly (readonly number[])[];
}

/** Most functions in a loop, and after a fold or a product, whose text repeats it. */
export const LOOP = 40;
const AFTER = 20;
/** Most buffers in a kernel, where a device would take more. */
const BUFFERS = 24;

/** Most buffers in a kernel on a device. */
export function mostBuffers({ storageBuffers }: Limits): number {
  return Math.min(storageBuffers, BUFFERS);
}
/** How far apart (in steps) what is computed together may stand: its results live from one to the other. */
const NEAR = 64;
/** Loops over no more bytes run as early as they can: step counts and the like, which large loops wait for. */
const TINY = 4096;
/** Most reshapes, one on another, that a kernel sees through. */
const RESHAPES = 4;
/** Items which may run between one kernel of the list and the next. */
const WITHIN = 2 ** 21;

/** Groups the steps of a run; with `apart`, each runs for itself. */
export function cluster(
  lowered: Lowered,
  limits: Limits,
  attributes: RunAttributes,
  apart: boolean,
): Clusters {
  const { steps, roots } = lowered;
  const most = mostBuffers(limits);
  const isOperand = (i: number): boolean => steps[i].leaf !== "constant";
  const fits = (i: number): boolean => sizeOf(steps[i].shape) * 4 <= limits.binding;
  const { heads, members, consumers } = fuse(lowered, {
    applications: apart ? 1 : LOOP,
    operands: most - 2,
    isOperand,
    countsRoots: true,
    folds: (i) => !apart && fits(steps[i].inputs[0]),
  });
  const isRoot = new Uint8Array(steps.length);
  for (const r of roots) isRoot[r] = 1;
  const of: (Cluster | null)[] = new Array(steps.length).fill(null);
  const when = new Float64Array(steps.length);
  const slots: (Cluster | number | null)[][] = [[null]];

  const reshapes = new Map<number, boolean>();
  const isReshape = (i: number): boolean => {
    const { op, inputs, source, p, shape, dtype } = steps[i];
    if (op === null || op.family !== "movement" || op.key !== undefined) return false;
    let known = reshapes.get(i);
    if (known === undefined) {
      const x = steps[inputs[0]].shape;
      const view = sizeOf(x) !== sizeOf(shape)
        ? null
        : op.view(wholeView(x), source < 0 ? p : attributes(source), { shape, dtype });
      reshapes.set(i, known = view !== null && view.offset === 0 && isContiguous(view));
    }
    return known;
  };
  const behind = (i: number): number => {
    for (let n = 0; n < RESHAPES && isReshape(i); n++) i = steps[i].inputs[0];
    return i;
  };
  /** Whether use `c` of a step happens inside a cluster. */
  const isInside = (c: number, k: Cluster, left = RESHAPES): boolean => {
    if (of[c] === k) return c !== k.core;
    return left > 0 && isRoot[c] === 0 && isReshape(c) && consumers[c].every((d) => isInside(d, k, left - 1));
  };
  const isStored = (i: number, k: Cluster): boolean =>
    isRoot[i] === 1 || consumers[i].some((c) => !isInside(c, k));

  /** Steps that the members of a cluster read. */
  const operandsOf = (list: readonly number[], inside: ReadonlySet<number>): Set<number> => {
    const found = new Set<number>();
    for (const m of list) {
      for (const x of steps[m].inputs) {
        if (!inside.has(x) && !inside.has(behind(x)) && isOperand(x)) found.add(x);
      }
    }
    return found;
  };
  const place = (slot: number, make: (at: number) => Cluster | number): number => {
    const at = slot * WITHIN + slots[slot].length;
    slots[slot].push(make(at));
    return at;
  };
  const latest = (list: Iterable<number>): number => {
    let last = 0;
    for (const x of list) last = Math.max(last, when[x]);
    return last;
  };
  const add = (
    slot: number,
    core: number,
    before: readonly number[],
    loop: readonly number[],
    shape: Shape,
  ): void => {
    place(slot, (at) => {
      const k: Cluster = { core, before, members: [...loop], shape, at };
      for (const m of core < 0 ? loop : [core, ...before]) {
        of[m] = k;
        when[m] = at;
      }
      return k;
    });
  };
  /** A kernel of its own, after all so far. */
  const next = (): number => slots.push([]) - 1;

  /** The earlier cluster that a loop may be part of. */
  const host = (loop: readonly number[], operands: ReadonlySet<number>): Cluster | null => {
    let k: Cluster | null = null;
    for (const x of operands) {
      const from = of[behind(x)];
      if (from !== null && (k === null || from.at > k.at)) k = from;
    }
    if (k === null) return null;
    const first = steps[loop[0]], family = k.core < 0 ? null : steps[k.core].op!.family;
    if (family === "custom" || first.segment !== steps[k.core < 0 ? k.members[0] : k.core].segment) {
      return null;
    }
    const last = k.members.length > 0 ? k.members[k.members.length - 1] : k.core;
    if (loop[loop.length - 1] - last > NEAR) return null;
    if (k.members.length + loop.length > (k.core < 0 ? LOOP : AFTER)) return null;
    if (k.members.length > 0 && !sameShape(k.shape, first.shape)) return null;
    for (const x of operands) {
      if (of[behind(x)] !== k) {
        if (when[x] >= k.at || (k.core >= 0 && !fits(x))) return null;
      } else if (!sameShape(steps[x].shape, first.shape)) return null;
    }
    if (k.core >= 0 && !fits(loop[0])) return null;
    const all = [...k.members, ...loop], inside = new Set(all);
    if (k.core >= 0) inside.add(k.core);
    const reads = operandsOf(all, inside);
    if (family === "contraction") { for (const x of steps[k.core].inputs) reads.add(x); }
    if (family === "reduction") {
      if (k.before.length === 0) reads.add(steps[k.core].inputs[0]);
      for (const x of operandsOf(k.before, new Set(k.before))) reads.add(x);
    }
    // As if the loop were in: what only it uses needs no memory.
    for (const m of loop) of[m] = k;
    let stores = 0;
    for (const m of inside) if (isStored(m, k)) stores++;
    if (reads.size + stores <= most) return k;
    for (const m of loop) of[m] = null;
    return null;
  };

  steps.forEach((step, i) => {
    if (step.op === null) return;
    switch (step.op.family) {
      case "movement": {
        const slot = Math.floor(when[step.inputs[0]] / WITHIN);
        when[i] = place(slot, () => i);
        return;
      }
      case "elementwise": {
        if (heads[i] !== i) return;
        const loop = members.get(i)!, operands = operandsOf(loop, new Set(loop));
        const k = apart ? null : host(loop, operands);
        if (k !== null) {
          k.members.push(...loop);
          k.shape = step.shape;
          for (const m of loop) when[m] = k.at;
          return;
        }
        const early = !apart && sizeOf(step.shape) * 4 <= TINY;
        return add(early ? Math.floor(latest(operands) / WITHIN) : next(), -1, [], loop, step.shape);
      }
      case "reduction":
        return add(next(), i, members.get(i)!, [], step.shape);
      case "contraction":
      case "custom":
        return add(next(), i, [], [], step.shape);
    }
  });
  const order: (Cluster | number)[] = [];
  for (const slot of slots) for (const item of slot) if (item !== null) order.push(item);
  return { order, isStored, behind, consumers };
}
