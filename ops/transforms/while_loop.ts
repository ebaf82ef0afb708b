/** whileLoop: steps until a condition fails, either bounded and masked, or awaited with values at hand. */
import { currentTrace, nodeOf } from "../node.ts";
import { registerRoot } from "../runs.ts";
import { Tensor } from "../tensor.ts";
import { checkPredicate, cond } from "./cond.ts";
import { scan } from "./scan.ts";
import { type Flat, flatten, type Tree, treeDifference } from "./tree.ts";

/** Options of `whileLoop` with a bound. */
export interface BoundedLoopOptions {
  /** At most so many steps, all of which are computed; those after the end keep the state. */
  maxSteps: number;
}

/** Options of `whileLoop` without a bound. */
export interface LoopOptions {
  /** No bound: the loop is awaited. */
  maxSteps?: undefined;
  /** Steps between two looks at the condition; default 1 on the host and 8 on WebGPU, where a read takes longer. */
  every?: number;
}

/**
 * `state = bodyFn(state)` as long as `condFn(state)` holds; gives the last state. The state is a tree that keeps its
 * structure, shapes and types; `condFn` returns a boolean scalar.
 *
 * Values decide how many steps there are, and a graph has none, so there are two ways to run it:
 * - `whileLoop(..., { maxSteps })` is a `scan` of so many steps in which those after the end keep the state. It
 *   works inside every transform and has derivatives in both modes, to any order. It always computes `maxSteps` steps,
 *   and ends there even if the condition still holds.
 * - `await whileLoop(...)` reads the condition as it goes, so it cannot run inside `vmap`, `jit`, `scan`, `cond` or
 *   `checkpoint`. In asynchronous functions under `jvp`, `vjp` and `grad` it can: derivatives go through the steps that
 *   were made, and reverse mode keeps the graph of all of them. For long loops, a bound or `scan` needs less memory.
 *
 * ```ts
 * import { tensor, type Tensor, whileLoop } from "@cotangent/cotangent";
 * const halve = (x: Tensor) => x.div(2), isLarge = (x: Tensor) => x.gt(1);
 * console.log(await whileLoop(isLarge, halve, tensor(10), { maxSteps: 8 }).item()); // 0.625
 * console.log(await (await whileLoop(isLarge, halve, tensor(10))).item()); // 0.625
 * ```
 */
export function whileLoop<S extends Tree>(
  condFn: (state: S) => Tensor | boolean,
  bodyFn: (state: S) => S,
  init: S,
  options: BoundedLoopOptions,
): S;
/** The same without a bound: awaited. */
export function whileLoop<S extends Tree>(
  condFn: (state: S) => Tensor | boolean,
  bodyFn: (state: S) => S,
  init: S,
  options?: LoopOptions,
): Promise<S>;
export function whileLoop(
  condFn: (state: Tree) => Tensor | boolean,
  bodyFn: (state: Tree) => Tree,
  init: Tree,
  options: BoundedLoopOptions | LoopOptions = {},
): Tree {
  const flat = flatten(init, "loop over");
  if (flat.leaves.length === 0) throw new TypeError("Cannot loop over a state without any tensor");
  const step = (state: Tree): Tree => {
    const next = bodyFn(state);
    if ((next as unknown) instanceof Promise) {
      (next as Promise<unknown>).catch(() => {});
      throw new TypeError(
        "Cannot loop with an asynchronous body: bodyFn must return the next state, not a promise",
      );
    }
    const difference = treeDifference(state, next, "the state", "bodyFn");
    if (difference !== null) {
      throw new RangeError(`Cannot loop: the state must stay alike, but ${difference}`);
    }
    return next;
  };
  const { maxSteps } = options;
  if (maxSteps !== undefined) {
    if (!Number.isInteger(maxSteps) || maxSteps < 0) {
      throw new RangeError(`Cannot loop with maxSteps ${maxSteps}: it must be a whole number, at least 0`);
    }
    return bounded(condFn, step, init, flat, maxSteps);
  }
  refuseUnbounded("loop");
  return unbounded(condFn, step, init, flat, options as LoopOptions);
}

/** Throws inside a trace, where there is no value to read that could end a loop. */
export function refuseUnbounded(action: string): void {
  const trace = currentTrace();
  if (trace === null) return;
  throw new Error(
    `Cannot ${action} inside ${trace.kind} without a bound: there the condition has no value to read. ` +
      `Give { maxSteps }, or scan a fixed number of steps`,
  );
}

/** The condition at a state as a boolean scalar. */
function predicateOf(condFn: (state: Tree) => Tensor | boolean, state: Tree, like: Tensor): Tensor {
  const holds = condFn(state);
  if (typeof holds === "boolean") return like.scalarLike(holds ? 1 : 0, "bool");
  checkPredicate("loop", holds);
  return holds;
}

function bounded(
  condFn: (state: Tree) => Tensor | boolean,
  step: (state: Tree) => Tree,
  init: Tree,
  flat: Flat,
  maxSteps: number,
): Tree {
  const like = flat.leaves[0];
  const start = { state: init, running: predicateOf(condFn, init, like) };
  const [{ state }] = scan(
    (carry: { state: Tree; running: Tensor }): [{ state: Tree; running: Tensor }, Tree] => {
      const next = cond(carry.running, step, (s: Tree) => s, carry.state);
      return [{ state: next, running: carry.running.logicalAnd(predicateOf(condFn, next, like)) }, []];
    },
    start,
    null,
    { length: maxSteps },
  );
  return state;
}

async function unbounded(
  condFn: (state: Tree) => Tensor | boolean,
  step: (state: Tree) => Tree,
  init: Tree,
  flat: Flat,
  options: LoopOptions,
): Promise<Tree> {
  const like = flat.leaves[0], { every = like.device === "host" ? 1 : 8 } = options;
  if (!Number.isInteger(every) || every < 1) {
    throw new RangeError(
      `Cannot look at the condition every ${every} steps: it must be a whole number, at least 1`,
    );
  }
  let state = init, running = predicateOf(condFn, init, like);
  while (true) {
    // Condition and state come out of one run; the state's past is then done with.
    for (const t of flatten(state).leaves) registerRoot(nodeOf(t));
    if (!await running.item()) return state;
    // The condition holds for the first of these steps; the others are masked.
    state = step(state);
    running = predicateOf(condFn, state, like);
    for (let k = 1; k < every; k++) {
      state = cond(running, step, (s: Tree) => s, state);
      running = running.logicalAnd(predicateOf(condFn, state, like));
    }
  }
}
