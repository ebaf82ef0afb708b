/** Jacobians, Hessians and Hessian-vector products, from vjp, jvp and vmap. */
import { advise } from "../advice.ts";
import { eye } from "../create.ts";
import { Tensor } from "../tensor.ts";
import { grad, jvp, linearize, vjp } from "./functional.ts";
import { vmap } from "./vmap.ts";
import { checkFunction, flatten, type Tree } from "./tree.ts";

/** Unit vectors like one tensor, stacked: `[n, ...shape]`. */
function basis(x: Tensor): Tensor {
  return eye(x.size, { dtype: x.dtype, device: x.device }).reshape([x.size, ...x.shape]);
}

/** Inputs from which on a pushforward for each is worth a word. */
const MANY = 16;

const sizes = (list: readonly Tensor[]): number => list.reduce((n, t) => n + t.size, 0);

/** Replaces one leaf of a list of zeros. */
function oneHotLeaf(leaves: Tensor[], i: number, value: Tensor): Tensor[] {
  return leaves.map((t, k) => k === i ? value : t.zerosLike());
}

/**
 * The Jacobian of `f` by its first argument, a column at a time by forward mode: as many passes as inputs (all at
 * once). For trees: the tree of the output, with trees of the input in it; blocks have shape `[...y, ...x]`.
 */
export function jacfwd<X extends Tree = Tensor, R extends Tree[] = Tree[]>(
  f: (x: X, ...rest: R) => Tree,
): (x: X, ...rest: R) => Tree {
  checkFunction("take the Jacobian of", f);
  return (x, ...rest) => {
    const flat = flatten(x, "take the Jacobian by");
    const [y, push] = linearize((t: Tree) => f(t, ...rest), x);
    const ys = flatten(y), inputs = sizes(flat.leaves), outputs = sizes(ys.leaves);
    if (outputs === 1 && inputs >= MANY) {
      advise(
        "jacfwd of a scalar",
        `jacfwd takes ${inputs} pushforwards for the gradient of a scalar, one for each input; grad(f) and ` +
          "loss.backward() take one pullback for all",
      );
    }
    const blocks = flat.leaves.map((leaf, i) => {
      const columns = vmap((e: Tensor) => flatten(push(flat.rebuild(oneHotLeaf(flat.leaves, i, e)))).leaves)(
        basis(leaf),
      ) as Tensor[];
      return columns.map((c, k) => c.movedim(0, -1).reshape([...ys.leaves[k].shape, ...leaf.shape]));
    });
    return nestBlocks(ys.leaves, flat, blocks, ys.rebuild);
  };
}

function nestBlocks(
  ys: Tensor[],
  flat: { leaves: Tensor[]; rebuild: (l: readonly Tensor[]) => Tree },
  blocks: Tensor[][],
  rebuild: (l: readonly Tensor[]) => Tree,
): Tree {
  const rows = ys.map((_, k) => flat.rebuild(flat.leaves.map((_, i) => blocks[i][k])));
  let at = 0;
  return replaceLeaves(rebuild(ys), () => rows[at++]);
}

/** Puts trees in the places of tensors. */
function replaceLeaves(tree: Tree, next: () => Tree): Tree {
  if (tree instanceof Tensor) return next();
  if (Array.isArray(tree)) return tree.map((t) => replaceLeaves(t, next));
  if (typeof tree === "object" && tree !== null) {
    return Object.fromEntries(Object.entries(tree).map(([k, t]) => [k, replaceLeaves(t, next)]));
  }
  return tree;
}

/** The Jacobian of `f` by its first argument, a row at a time by reverse mode: as many passes as outputs (all at once). */
export function jacrev<X extends Tree = Tensor, R extends Tree[] = Tree[]>(
  f: (x: X, ...rest: R) => Tree,
): (x: X, ...rest: R) => Tree {
  checkFunction("take the Jacobian of", f);
  return (x, ...rest) => {
    const flat = flatten(x, "take the Jacobian by");
    const [y, pullback] = vjp((t: Tree) => f(t, ...rest), x);
    const ys = flatten(y);
    const rows = ys.leaves.map((leaf, k) => {
      const grads = vmap((e: Tensor) => flatten(pullback(ys.rebuild(oneHotLeaf(ys.leaves, k, e)))[0]).leaves)(
        basis(leaf),
      ) as Tensor[];
      return grads.map((g, i) => g.reshape([...leaf.shape, ...flat.leaves[i].shape]));
    });
    return nestBlocks(ys.leaves, flat, flat.leaves.map((_, i) => rows.map((r) => r[i])), ys.rebuild);
  };
}

/** The Hessian of a scalar function, forward over reverse; blocks `[...x, ...x]`, nested for trees. */
export function hessian<X extends Tree = Tensor, R extends Tree[] = Tree[]>(
  f: (x: X, ...rest: R) => Tensor,
): (x: X, ...rest: R) => Tree {
  const gradient = grad(f);
  return jacfwd((x: X, ...rest: R) => gradient(x, ...rest));
}

/** The Hessian of a scalar function times `v`, without the Hessian: Pearlmutter (1994), forward over reverse. */
export function hvp<X extends Tree>(f: (x: X) => Tensor, x: X, v: X): X {
  if (x === undefined || v === undefined) {
    throw new TypeError("Cannot take a Hessian-vector product without a point and a vector: hvp(f, x, v)");
  }
  return jvp((t: X) => grad(f)(t), [x], [v])[1] as X;
}
