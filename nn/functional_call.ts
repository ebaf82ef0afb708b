/** A module as a function of its parameters: what per-example gradients, MAML and Hessian products differentiate. */
import { currentTrace, type Node, nodeOf } from "../ops/node.ts";
import { sameShape, showShape } from "../ops/shape.ts";
import { Tensor } from "../ops/tensor.ts";
import type { Tree } from "../ops/transforms/tree.ts";
import type { Module, ParameterTree } from "./module.ts";

function* named(tree: ParameterTree | Record<string, Tensor>, path: string): Generator<[string, Tensor]> {
  for (const [key, value] of Object.entries(tree)) {
    const inner = path === "" ? key : `${path}.${key}`;
    if (value instanceof Tensor) yield [inner, value];
    else if (typeof value === "object" && value !== null) yield* named(value, inner);
    else throw new TypeError(`Cannot call a module with ${inner} = ${value}: it must be a tensor`);
  }
}

/**
 * Calls `model` with other tensors in place of (some of) its parameters and buffers, given by path or nested as
 * `model.parameterTree()` is. The model itself stays as it is.
 *
 * ```ts
 * import { functionalCall, grad, Linear, mseLoss, randn, type Tensor, vmap } from "@cotangent/cotangent";
 * const model = new Linear(3, 1), x = randn([8, 3]), y = randn([8, 1]);
 * const loss = (p: Record<string, Tensor>, x: Tensor, y: Tensor) => mseLoss(functionalCall(model, p, x), y);
 * const each = vmap(grad(loss), { inAxes: [null, 0, 0] })(model.namedParameters(), x, y);
 * console.log(each.weight.shape); // [8, 1, 3]: a gradient for each example
 * ```
 */
export function functionalCall<M extends Module>(
  model: M,
  params: ParameterTree | Record<string, Tensor>,
  ...args: Parameters<M["forward"]>
): ReturnType<M["forward"]> {
  const known = new Map(model.members().map((m) => [m.path, m.tensor]));
  const swaps = new Map<Tensor, { path: string; node: Node; before: Node }>();
  for (const [path, value] of named(params, "")) {
    const handle = known.get(path);
    if (handle === undefined) {
      throw new Error(
        `Cannot call ${model.constructor.name} with a tensor for ${path}: ` +
          `it has no parameter or buffer of that name (it has ${[...known.keys()].join(", ")})`,
      );
    }
    const node = nodeOf(value), twin = swaps.get(handle);
    if (!sameShape(node.shape, handle.shape)) {
      throw new RangeError(
        `Cannot call ${model.constructor.name} with ${path} of shape ${showShape(node.shape)}: it has shape ${
          showShape(handle.shape)
        }`,
      );
    }
    if (twin !== undefined && twin.node !== node) {
      throw new Error(
        `Cannot call ${model.constructor.name} with two tensors for ${twin.path} and ${path}: they are tied`,
      );
    }
    swaps.set(handle, { path, node, before: handle.node });
  }
  let result: Tree;
  const assigned: string[] = [];
  try {
    for (const [handle, { node }] of swaps) handle.node = node;
    result = model.call(...args);
  } finally {
    for (const [handle, { path, node, before }] of swaps) {
      if (handle.node !== node) {
        assigned.push(path);
        for (let t = currentTrace(); t !== null; t = t.outer) {
          if (t.effects.get(handle) === node) t.effects.delete(handle);
        }
      }
      handle.node = before;
    }
  }
  if ((result as unknown) instanceof Promise) {
    (result as Promise<unknown>).catch(() => {});
    throw new TypeError(
      "Cannot make a functional call of a module with an asynchronous forward: the parameters would change back before it is done",
    );
  }
  if (assigned.length > 0) {
    throw new Error(
      `Cannot assign to ${assigned.join(", ")} inside functionalCall, where other tensors stand for them: ` +
        `leave running statistics out of the given tensors, or call model.eval() first`,
    );
  }
  return result;
}
