/** Which steps share a loop, on any engine. */
import type { Lowered } from "../ops/lower.ts";
import { sameShape } from "../ops/shape.ts";

/** Loops by the step at which they run, their last. */
export interface Fusion {
  /** Per step: the last step of its loop; -1 for what is no loop. */
  readonly heads: Int32Array;
  /** Per last step: the elementwise steps of its loop, in order. */
  readonly members: ReadonlyMap<number, readonly number[]>;
  /** Per step: the steps that use it, once for each use. */
  readonly consumers: readonly (readonly number[])[];
}

/** How large a loop may be. */
export interface LoopLimits {
  /** Most functions in one loop: the compiler runs out of registers, then out of patience. */
  readonly applications: number;
  /** Most operands. */
  readonly operands: number;
  /** Whether a step counts as an operand; default yes. */
  readonly isOperand?: (step: number) => boolean;
  /** Whether a root inside a loop counts as one more operand; default no. */
  readonly countsRoots?: boolean;
  /** Whether elementwise steps may be computed in the loop of this reduction; default yes. */
  readonly folds?: (reduction: number) => boolean;
}

/**
 * Groups steps into loops. From the last step backwards: an elementwise step joins the loop that all its
 * consumers are in, if that runs over the same shape; so nothing in between can depend on it. Roots may join:
 * the loop stores them on its way. A reduction's loop stores nothing else, so roots stay out of it.
 */
export function fuse({ steps, roots }: Lowered, limits: LoopLimits): Fusion {
  const { isOperand = () => true, folds = () => true, countsRoots = false } = limits;
  const heads = new Int32Array(steps.length).fill(-1), isRoot = new Uint8Array(steps.length);
  for (const r of roots) isRoot[r] = 1;
  const consumers: number[][] = steps.map(() => []);
  steps.forEach((step, i) => step.inputs.forEach((x) => consumers[x].push(i)));
  const members = new Map<number, number[]>(), operands = new Map<number, Set<number>>();
  const rootsIn = new Map<number, number>();

  const fits = (i: number, head: number): boolean => {
    const to = steps[head];
    return to.op!.family === "reduction"
      ? isRoot[i] === 0 && sameShape(steps[i].shape, steps[to.inputs[0]].shape) && folds(head)
      : sameShape(steps[i].shape, to.shape);
  };
  const join = (i: number): boolean => {
    if (consumers[i].length === 0) return false;
    const head = heads[consumers[i][0]];
    if (head < 0 || !consumers[i].every((c) => heads[c] === head) || !fits(i, head)) return false;
    const loop = members.get(head)!,
      external = operands.get(head)!,
      inputs = steps[i].inputs.filter(isOperand);
    const stores = countsRoots ? (rootsIn.get(head) ?? 0) + isRoot[i] : 0;
    const more = inputs.filter((x) => !external.has(x)).length;
    if (loop.length >= limits.applications || external.size - 1 + more + stores > limits.operands) {
      return false;
    }
    heads[i] = head;
    loop.push(i);
    external.delete(i);
    for (const x of inputs) external.add(x);
    rootsIn.set(head, stores);
    return true;
  };
  for (let i = steps.length - 1; i >= 0; i--) {
    const family = steps[i].op?.family;
    if (family !== "elementwise" && family !== "reduction") continue;
    if (family === "elementwise" && join(i)) continue;
    heads[i] = i;
    members.set(i, family === "elementwise" ? [i] : []);
    operands.set(i, new Set(steps[i].inputs.filter(isOperand)));
  }
  for (const loop of members.values()) loop.reverse();
  return { heads, members, consumers };
}
