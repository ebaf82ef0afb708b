/** Hooks of modules: before and after the forward pass, and on the cotangents that enter and leave. */
import { alias } from "../ops/definitions/structural.ts";
import { apply, type Node } from "../ops/node.ts";
import type { Tensor } from "../ops/tensor.ts";
import { flatten, type Tree } from "../ops/transforms/tree.ts";
import type { Module } from "./module.ts";

/** Sees the arguments of a call; what it returns (an array of arguments) replaces them. */
export type ForwardPreHook = (module: Module, args: Tree[]) => Tree[] | void;
/** Sees arguments and result of a call; what it returns replaces the result. */
export type ForwardHook = (module: Module, args: Tree[], output: Tree) => Tree | void;
/**
 * Sees the cotangents of a module's tensors, lazily: of its inputs and of its outputs, `null` where none arrives.
 * What it returns replaces the cotangent of the one input.
 */
export type FullBackwardHook = (
  module: Module,
  gradInput: (Tensor | null)[],
  gradOutput: (Tensor | null)[],
) => Tensor | void;

/** Which of `targets` the outputs depend on. */
function reachable(outputs: readonly Tensor[], targets: readonly Tensor[]): boolean[] {
  const first = Math.min(...targets.map((t) => t.node.serial));
  const stack = outputs.map((t) => t.node), seen = new Set<Node>(stack);
  while (stack.length > 0) {
    const node = stack.pop()!;
    if (node.serial < first) continue;
    for (const x of node.inputs) {
      if (!seen.has(x)) {
        seen.add(x);
        stack.push(x);
      }
    }
  }
  return targets.map((t) => seen.has(t.node));
}

/** Calls `forward` between identity nodes whose tensor hooks gather the cotangents for `hooks`. */
export function withBackwardHooks(
  module: Module,
  hooks: readonly FullBackwardHook[],
  args: Tree[],
  forward: (args: Tree[]) => Tree,
): Tree {
  const isolate = (t: Tensor): Tensor => t.node.track === 0 ? t : apply(alias, [t]);
  const x = flatten(args, "call a module with backward hooks on");
  const inputs = x.leaves.map(isolate);
  const finish = (result: Tree): Tree => {
    const y = flatten(result, "return from a module with backward hooks");
    const outputs = y.leaves.map(isolate);
    tap(module, hooks, inputs, outputs);
    return y.rebuild(outputs);
  };
  const result = forward(x.rebuild(inputs));
  return result instanceof Promise ? result.then(finish) : finish(result);
}

function tap(
  module: Module,
  hooks: readonly FullBackwardHook[],
  inputs: readonly Tensor[],
  outputs: readonly Tensor[],
): void {
  const tracked = (list: readonly Tensor[]): number[] =>
    list.flatMap((t, i) => t.node.track === 0 ? [] : [i]);
  const used = inputs.length > 0 ? reachable(outputs, inputs) : [];
  const awaited = tracked(inputs).filter((i) => used[i]), sources = tracked(outputs);
  let gradInput: (Tensor | null)[] = inputs.map(() => null);
  let gradOutput: (Tensor | null)[] = outputs.map(() => null);
  let arrived = 0, left = 0;
  const fire = (): Tensor | void => {
    let changed: Tensor | void = undefined;
    for (const hook of [...hooks]) {
      const result = hook(module, [...gradInput], [...gradOutput]);
      if (result === undefined) continue;
      if (awaited.length !== 1) {
        throw new Error(
          `Cannot replace the cotangent of a module with ${awaited.length} differentiable inputs from a backward hook: ` +
            `register a hook on the tensor instead, as in x.registerHook(...)`,
        );
      }
      gradInput[awaited[0]] = changed = result;
    }
    gradInput = inputs.map(() => null);
    gradOutput = outputs.map(() => null);
    arrived = left = 0;
    return changed;
  };
  for (const i of sources) {
    outputs[i].registerHook((ct) => {
      gradOutput[i] = ct;
      arrived++;
      // Without a differentiable input, nothing comes later.
      if (awaited.length === 0 && arrived === sources.length) fire();
    });
  }
  for (const i of awaited) {
    inputs[i].registerHook((ct) => {
      gradInput[i] = ct;
      left++;
      if (left === awaited.length) return fire();
    });
  }
}
