/** What a tensor is to the module that holds it: a parameter, a buffer, or nothing. */
import { aliasNode } from "../ops/definitions/structural.ts";
import { BY_BACKWARD, currentTrace } from "../ops/node.ts";
import { registerRoot } from "../ops/runs.ts";
import type { Tensor } from "../ops/tensor.ts";

/** Parameters are trained; buffers are state that is saved but not trained. */
export type Role = "parameter" | "buffer";

const roles = new WeakMap<Tensor, Role>();

/**
 * Marks a tensor as a parameter: it requires gradients, and a module that has it as a field trains and saves it.
 * It stays a parameter when frozen.
 *
 * ```ts
 * import { Module, parameter, randn, type Tensor } from "@cotangent/cotangent";
 * class Scale extends Module {
 *   factor = parameter(randn([3]));
 *   forward(x: Tensor): Tensor {
 *     return x.mul(this.factor);
 *   }
 * }
 * console.log(Object.keys(new Scale().namedParameters())); // ["factor"]
 * ```
 */
export function parameter(x: Tensor): Tensor {
  if (!x.isLeaf) {
    throw new Error(
      `Cannot make a parameter of a computed tensor: gradients end at leaves; use parameter(x.detach())`,
    );
  }
  x.requiresGrad = true;
  roles.set(x, "parameter");
  return x.keep();
}

/** Marks a tensor as a buffer: a module that has it as a field saves it and does not train it. */
export function buffer(x: Tensor): Tensor {
  if (x.requiresGrad) {
    throw new Error(
      `Cannot make a buffer of a tensor that requires gradients: use parameter(x), or buffer(x.detach())`,
    );
  }
  roles.set(x, "buffer");
  return x.keep();
}

/** The role of a field; a leaf that requires gradients is a parameter without being marked. */
export function roleOf(x: Tensor): Role | null {
  const role = roles.get(x);
  if (role !== undefined) return role;
  if (!x.requiresGrad || !x.isLeaf) return null;
  roles.set(x, "parameter");
  return "parameter";
}

const paths = new WeakMap<Tensor, string>();

/** Names a tensor by its path, unless it has a name of its own or a longer path from a module further out. */
export function nameByPath(x: Tensor, path: string): void {
  const before = paths.get(x);
  if (x.name !== null && x.name !== before) return;
  if (before !== undefined && before.split(".").length >= path.split(".").length) return;
  paths.set(x, path);
  x.name = path;
}

/** Puts a value of another type or device behind a handle, which keeps its role. */
export function replaceValue(handle: Tensor, value: Tensor, by: string): void {
  if (currentTrace() !== null) {
    throw new Error(`Cannot move ${handle.name ?? "a tensor"} inside a transform: do it before`);
  }
  const trained = handle.requiresGrad;
  const node = aliasNode(value.stopGradient().node, trained ? BY_BACKWARD : 0, !trained);
  node.cell = handle;
  handle.node = node;
  handle.version++;
  handle.replacedBy = by;
  handle.grad = null;
  registerRoot(node);
}
