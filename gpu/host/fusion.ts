/** Which steps share a loop. */
import type { Lowered } from "../../ops/lower.ts";
import { sameShape } from "../../ops/shape.ts";

/** Most functions and operands in one loop: the compiler runs out of registers, then out of patience. */
const MAX_APPLICATIONS = 32, MAX_OPERANDS = 16;

/** Loops by the step at which they run, their last. */
export interface Fusion {
  /** Per step: the last step of its loop; -1 for what is no loop. */
  readonly heads: Int32Array;
  /** Per last step: the elementwise steps of its loop, in order. */
  readonly members: ReadonlyMap<number, readonly number[]>;
}

/**
 * Groups steps into loops. From the last step backwards: an elementwise step joins the loop that all its
 * consumers are in, if that runs over the same shape; so nothing in between can depend on it. Roots may join:
 * the loop stores them on its way. A reduction's loop stores nothing else, so roots stay out of it.
 */
export function fuse({ steps, roots }: Lowered): Fusion {
  const heads = new Int32Array(steps.length).fill(-1), isRoot = new Uint8Array(steps.length);
  for (const r of roots) isRoot[r] = 1;
  const consumers: number[][] = steps.map(() => []);
  steps.forEach((step, i) => step.inputs.forEach((x) => consumers[x].push(i)));
  const members = new Map<number, number[]>(), operands = new Map<number, Set<number>>();

  const fits = (i: number, head: number): boolean => {
    const to = steps[head];
    return to.op!.family === "reduction"
      ? isRoot[i] === 0 && sameShape(steps[i].shape, steps[to.inputs[0]].shape)
      : sameShape(steps[i].shape, to.shape);
  };
  const join = (i: number): boolean => {
    if (consumers[i].length === 0) return false;
    const head = heads[consumers[i][0]];
    if (head < 0 || !consumers[i].every((c) => heads[c] === head) || !fits(i, head)) return false;
    const loop = members.get(head)!, external = operands.get(head)!, { inputs } = steps[i];
    const more = inputs.filter((x) => !external.has(x)).length;
    if (loop.length >= MAX_APPLICATIONS || external.size - 1 + more > MAX_OPERANDS) return false;
    heads[i] = head;
    loop.push(i);
    external.delete(i);
    for (const x of inputs) external.add(x);
    return true;
  };
  for (let i = steps.length - 1; i >= 0; i--) {
    const family = steps[i].op?.family;
    if (family !== "elementwise" && family !== "reduction") continue;
    if (family === "elementwise" && join(i)) continue;
    heads[i] = i;
    members.set(i, family === "elementwise" ? [i] : []);
    operands.set(i, new Set(steps[i].inputs));
  }
  for (const loop of members.values()) loop.reverse();
  return { heads, members };
}
