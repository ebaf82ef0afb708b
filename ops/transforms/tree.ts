/** Trees: tensors nested in plain objects and arrays, flattened and rebuilt. */
import { Tensor } from "../tensor.ts";

/** A tensor, or tensors nested in objects and arrays to any depth. Other leaves pass through unchanged. */
// deno-lint-ignore no-explicit-any
export type Tree = any;

/** The tensors of a tree in order, where they are, and how to put others in their places. */
export interface Flat {
  readonly leaves: Tensor[];
  /** Where each leaf is: `.layers[0].weight`, or empty for the tree itself. */
  readonly paths: string[];
  readonly rebuild: (leaves: readonly Tensor[]) => Tree;
}

/** Flattens a tree, keys in alphabetical order; class instances are refused. */
export function flatten(tree: Tree, action = "use"): Flat {
  const leaves: Tensor[] = [], paths: string[] = [];
  const build = walk(tree, leaves, paths, action, "");
  return {
    leaves,
    paths,
    rebuild: (values) => {
      let i = 0;
      return build(() => values[i++]);
    },
  };
}

type Builder = (next: () => Tensor) => Tree;

function walk(tree: Tree, leaves: Tensor[], paths: string[], action: string, path: string): Builder {
  if (tree instanceof Tensor) {
    leaves.push(tree);
    paths.push(path);
    return (next) => next();
  }
  if (Array.isArray(tree)) {
    const parts = tree.map((t, i) => walk(t, leaves, paths, action, `${path}[${i}]`));
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
          (tree instanceof Promise
            ? " (is an await missing?)"
            : ` (a module's are in module.namedParameters())`),
      );
    }
    // Two trees that differ in the order of their keys are the same tree; what is built keeps the order it had.
    const keys = Object.keys(tree);
    const parts = new Map(
      [...keys].sort().map((k) => [k, walk(tree[k], leaves, paths, action, `${path}.${k}`)]),
    );
    return (next) => {
      const built = new Map([...parts].map(([k, b]) => [k, b(next)]));
      return Object.fromEntries(keys.map((k) => [k, built.get(k)]));
    };
  }
  return () => tree;
}

/** The tensors of `tree` in the places that `like` has tensors, or an error that names a place where they differ. */
export function leavesLike(action: string, tree: Tree, like: Flat): Tensor[] {
  const flat = flatten(tree, action);
  const missing = like.paths.find((p) => !flat.paths.includes(p)),
    extra = flat.paths.find((p) => !like.paths.includes(p));
  if (missing !== undefined || extra !== undefined) {
    const place = (p: string): string => p === "" ? "the tree itself" : p;
    throw new RangeError(
      `Cannot ${action}: the tree must have tensors where the other has them, and ` +
        (missing !== undefined
          ? `there is none at ${place(missing)}`
          : `there is one too many at ${place(extra!)}`),
    );
  }
  return flat.leaves;
}

/** Like `leavesLike`, with `null` where the tree has nothing. */
export function someLeavesLike(action: string, tree: Tree, like: Flat): (Tensor | null)[] {
  const flat = flatten(tree, action);
  const at = new Map(flat.paths.map((p, i) => [p, flat.leaves[i]]));
  const extra = flat.paths.find((p) => !like.paths.includes(p));
  if (extra !== undefined) {
    throw new RangeError(
      `Cannot ${action}: there is a tensor at ${extra || "the top"}, where the other tree has none`,
    );
  }
  return like.paths.map((p) => at.get(p) ?? null);
}

/** The tree with `f` applied to each tensor; the other trees have tensors in the same places. */
export function treeMap<T extends Tree>(
  f: (x: Tensor, ...others: Tensor[]) => Tree,
  tree: T,
  ...others: T[]
): T {
  const flat = flatten(tree), rest = others.map((t) => leavesLike("map over trees", t, flat));
  return flat.rebuild(flat.leaves.map((x, i) => f(x, ...rest.map((r) => r[i]))));
}

/** The tensors of a tree, in order. */
export function treeLeaves(tree: Tree): Tensor[] {
  return flatten(tree).leaves;
}

/** Everything about a tree but the bits: shape of the nesting, avals, and other leaves. */
export function treeKey(tree: Tree): string {
  if (tree instanceof Tensor) {
    return `T${tree.dtype}[${tree.shape}]${tree.device}${tree.requiresGrad ? "g" : ""}`;
  }
  if (Array.isArray(tree)) return `[${tree.map(treeKey)}]`;
  switch (typeof tree) {
    case "string":
      return JSON.stringify(tree);
    case "number":
      return Object.is(tree, -0) ? "-0" : String(tree);
    case "bigint":
      return `${tree}n`;
    case "function":
    case "symbol":
      return `#${objectId(tree)}`;
    case "object": {
      if (tree === null) return "null";
      const prototype = Object.getPrototypeOf(tree);
      if (prototype !== Object.prototype && prototype !== null) return `#${objectId(tree)}`;
      return `{${Object.keys(tree).sort().map((k) => `${JSON.stringify(k)}:${treeKey(tree[k])}`)}}`;
    }
    default:
      return String(tree);
  }
}

const ids = new Map<symbol, number>(), objectIds = new WeakMap<object, number>();
let idCount = 0;
function objectId(x: object | symbol): number {
  const table = (typeof x === "symbol" ? ids : objectIds) as Map<unknown, number>;
  let id = table.get(x);
  if (id === undefined) table.set(x, id = ++idCount);
  return id;
}
