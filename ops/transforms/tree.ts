/** Trees: tensors nested in plain objects and arrays, flattened and rebuilt. */
import { showShape } from "../shape.ts";
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

/** Refuses what is not a function, where a function is to be transformed. */
export function checkFunction(action: string, f: unknown): void {
  if (typeof f === "function") return;
  const what = f instanceof Tensor ? "a tensor" : f === null ? "null" : typeof f;
  throw new TypeError(`Cannot ${action} ${what}: give a function, as in (x) => x.square().sum()`);
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

/**
 * The first place where two trees differ in structure, shape, type or other leaves, in words that name the trees; null
 * where they are alike.
 */
export function treeDifference(a: Tree, b: Tree, nameA: string, nameB: string, path = ""): string | null {
  const place = path === "" ? "" : ` at ${path}`;
  if (a instanceof Tensor && b instanceof Tensor) {
    const show = (t: Tensor): string => `${showShape(t.shape)}, ${t.dtype}`;
    return show(a) === show(b) ? null : `${nameA} gives ${show(a)}${place} and ${nameB} ${show(b)}`;
  }
  const kinds = [a, b].map(kindOf);
  if (kinds[0] !== kinds[1]) return `${nameA} gives ${kinds[0]}${place} and ${nameB} ${kinds[1]}`;
  if (typeof a !== "object" || a === null || a instanceof Tensor) {
    if (Object.is(a, b)) return null;
    return `${nameA} gives ${String(a)}${place} and ${nameB} ${
      String(b)
    }: a value that is chosen must be a tensor`;
  }
  const keys = [...new Set([...Object.keys(a), ...Object.keys(b)])];
  for (const key of Array.isArray(a) ? keys : keys.sort()) {
    const at = Array.isArray(a) ? `${path}[${key}]` : `${path}.${key}`;
    if (!Object.hasOwn(a, key)) return `${nameA} gives nothing at ${at} and ${nameB} ${kindOf(b[key])}`;
    if (!Object.hasOwn(b, key)) return `${nameA} gives ${kindOf(a[key])} at ${at} and ${nameB} nothing`;
    const difference = treeDifference(a[key], b[key], nameA, nameB, at);
    if (difference !== null) return difference;
  }
  return null;
}

function kindOf(tree: Tree): string {
  if (tree instanceof Tensor) return "a tensor";
  if (Array.isArray(tree)) return "an array";
  if (tree === null || tree === undefined) return String(tree);
  return typeof tree === "object" ? "an object" : `a ${typeof tree}`;
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
