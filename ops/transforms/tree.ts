/** Trees: tensors nested in plain objects and arrays, flattened and rebuilt. */
import { Tensor } from "../tensor.ts";

/** A tensor, or tensors nested in objects and arrays to any depth. Other leaves pass through unchanged. */
// deno-lint-ignore no-explicit-any
export type Tree = any;

/** The tensors of a tree in order, and how to put others in their places. */
export interface Flat {
  readonly leaves: Tensor[];
  readonly rebuild: (leaves: readonly Tensor[]) => Tree;
}

/** Flattens a tree. Objects are taken in the order of their keys; class instances are refused. */
export function flatten(tree: Tree, action = "use"): Flat {
  const leaves: Tensor[] = [];
  const build = walk(tree, leaves, action, "");
  return {
    leaves,
    rebuild: (values) => {
      let i = 0;
      return build(() => values[i++]);
    },
  };
}

type Builder = (next: () => Tensor) => Tree;

function walk(tree: Tree, leaves: Tensor[], action: string, path: string): Builder {
  if (tree instanceof Tensor) {
    leaves.push(tree);
    return (next) => next();
  }
  if (Array.isArray(tree)) {
    const parts = tree.map((t, i) => walk(t, leaves, action, `${path}[${i}]`));
    return (next) => parts.map((b) => b(next));
  }
  if (typeof tree === "object" && tree !== null) {
    const prototype = Object.getPrototypeOf(tree);
    if (prototype !== Object.prototype && prototype !== null) {
      throw new TypeError(
        `Cannot ${action} a ${prototype.constructor?.name ?? "class instance"}${
          path ? ` at ${path}` : ""
        }: ` +
          `pass tensors, or plain objects and arrays of tensors` +
          (tree instanceof Promise ? " (is an await missing?)" : ` (a module's are in module.parameters())`),
      );
    }
    const keys = Object.keys(tree);
    const parts = keys.map((k) => walk(tree[k], leaves, action, `${path}.${k}`));
    return (next) => Object.fromEntries(keys.map((k, i) => [k, parts[i](next)]));
  }
  return () => tree;
}

/** The tree with `f` applied to each tensor. */
export function treeMap<T extends Tree>(
  f: (x: Tensor, ...others: Tensor[]) => Tensor,
  tree: T,
  ...others: T[]
): T {
  const { leaves, rebuild } = flatten(tree), rest = others.map((t) => flatten(t).leaves);
  return rebuild(leaves.map((x, i) => f(x, ...rest.map((r) => r[i]))));
}

/** The tensors of a tree, in order. */
export function treeLeaves(tree: Tree): Tensor[] {
  return flatten(tree).leaves;
}

/** Everything about a tree but the bits: shape of the nesting, avals, and other leaves. */
export function treeKey(tree: Tree): string {
  return JSON.stringify(tree, function (_, value) {
    if (value instanceof Tensor) {
      return `T${value.dtype}[${value.shape}]${value.device}${value.requiresGrad ? "g" : ""}`;
    }
    if (typeof value === "function") return `f#${objectId(value)}`;
    if (typeof value === "number") return `n${value}`;
    if (typeof value === "bigint" || typeof value === "symbol" || value === undefined) {
      return `v${String(value)}`;
    }
    if (typeof value === "object" && value !== null && !Array.isArray(value)) {
      const prototype = Object.getPrototypeOf(value);
      if (prototype !== Object.prototype && prototype !== null) return `o#${objectId(value)}`;
    }
    return value;
  });
}

const ids = new WeakMap<object, number>();
let idCount = 0;
function objectId(x: object): number {
  let id = ids.get(x);
  if (id === undefined) ids.set(x, id = ++idCount);
  return id;
}
