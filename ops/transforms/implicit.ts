/** Implicit functions: customRoot and customLinearSolve, whose derivatives solve a linear system and unroll nothing. */
import { tupleOutputs } from "../definitions/structural.ts";
import { isFloat } from "../dtype.ts";
import { wrap } from "../node.ts";
import { define, type Tuple } from "../primitive.ts";
import type { Tensor } from "../tensor.ts";
import { noGrad } from "./backward.ts";
import { jvp, stopGradient, vjp } from "./functional.ts";
import { type Program, record } from "./program.ts";
import { type Flat, flatten, type Tree, treeDifference } from "./tree.ts";
import { vmap } from "./vmap.ts";

/** A linear function on trees. */
export type LinearMap<X extends Tree> = (x: X) => X;

/** Solves `matvec(x) = b` for x, which is like b. */
export type LinearSolver<X extends Tree> = (matvec: LinearMap<X>, b: X) => X;

/** x at theta, where `f(x, theta) = 0`. All is explicit, on lists of tensors, so that vmap can map it. */
interface System {
  readonly f: (x: Tensor[], theta: Tensor[]) => Tensor[];
  /** v with `df/dx v = b` at (x, theta). */
  readonly solve: Solver;
  /** The same with the transpose of df/dx. */
  readonly transposeSolve: Solver;
}

type Solver = (x: Tensor[], theta: Tensor[], b: Tensor[]) => Tensor[];

interface ImplicitAttributes {
  /** Inputs are n tensors x, which solve the system as they are, then theta. */
  readonly n: number;
  readonly system: System;
}

/** df/dx times v. */
function push({ f }: Pick<System, "f">, x: Tensor[], theta: Tensor[], v: Tensor[]): Tensor[] {
  return jvp((...q: Tensor[]) => f(q, theta), x, v)[1];
}

/** The transpose of df/dx times v. */
function pull({ f }: Pick<System, "f">, x: Tensor[], theta: Tensor[], v: Tensor[]): Tensor[] {
  return vjp((...q: Tensor[]) => f(q, theta), ...x)[1](v);
}

/** The list with other tensors in some places. */
function replaced(list: readonly Tensor[], places: readonly number[], by: readonly Tensor[]): Tensor[] {
  const out = [...list];
  places.forEach((i, k) => out[i] = by[k]);
  return out;
}

const implicit: Tuple = define({
  family: "tuple",
  name: "implicit",
  call: "customRoot",
  tex: (x, { n = 1 }: Partial<ImplicitAttributes>) => `x^*(${x.slice(n).join(", ")}) \\text{ with } F = 0`,
  texPullbacks: (x, y, { n = 1 }: Partial<ImplicitAttributes>) =>
    x.map((a, i) => {
      const slope = (of: string): string => `\\left(\\frac{\\partial F}{\\partial ${of}}\\right)`;
      return i < n ? "0" : `-${slope(a)}^\\top ${slope(y)}^{-\\top} \\bar{${y}}`;
    }),
  key: (p: ImplicitAttributes) => `${p.n}`,
  outputs: (x, { n }: ImplicitAttributes) => x.slice(0, n),
  expand: (x, { n }: ImplicitAttributes) => x.slice(0, n),
  // df/dx dx + df/dtheta dtheta = 0. The outputs y stand for x, so that x depends on theta in higher orders too.
  jvp: (dx, { x, y, p }) => {
    const { n, system } = p as ImplicitAttributes, theta = x.slice(n);
    const moving = theta.flatMap((_, i) => dx[n + i] === null ? [] : [i]);
    if (moving.length === 0) return y.map(() => null);
    const [, df] = jvp(
      (...q: Tensor[]) => system.f(y, replaced(theta, moving, q)),
      moving.map((i) => theta[i]),
      moving.map((i) => dx[n + i]!),
    );
    return linearSolution(system, y, theta, df.map((t) => t.neg()), false);
  },
  vjp: (cts, { x, y, p, needs }) => {
    const { n, system } = p as ImplicitAttributes, theta = x.slice(n);
    const wanted = theta.flatMap((t, i) => needs[n + i] && isFloat(t.dtype) ? [i] : []);
    const w = linearSolution(system, y, theta, cts.map((ct, i) => ct ?? y[i].zerosLike()), true);
    const [, pullback] = vjp(
      (...q: Tensor[]) => system.f(y, replaced(theta, wanted, q)),
      ...wanted.map((i) => theta[i]),
    );
    const out: (Tensor | null)[] = x.map(() => null);
    pullback(w).forEach((t: Tensor, k: number) => out[n + wanted[k]] = t.neg());
    return out;
  },
  batch: (x, batched, { n, system }: ImplicitAttributes, B) => {
    const all = x.map((t, i) => batched[i] ? t : t.expand([B, ...t.shape]));
    const mapped = <A extends Tensor[][]>(f: (...lists: A) => Tensor[]): (...lists: A) => Tensor[] =>
      vmap(f, { randomness: "different" });
    return tupleOutputs(implicit, all, {
      n,
      system: {
        f: mapped(system.f),
        solve: mapped(system.solve),
        transposeSolve: mapped(system.transposeSolve),
      },
    });
  },
});

/** v with `A v = b`, where A is df/dx at (x, theta) or its transpose, as a function of b, x and theta. */
function linearSolution(
  system: System,
  x: Tensor[],
  theta: Tensor[],
  b: Tensor[],
  transposed: boolean,
): Tensor[] {
  const { solve, transposeSolve } = system, n = x.length;
  const parts = (
    t: Tensor[],
  ): [Tensor[], Tensor[], Tensor[]] => [t.slice(0, n), t.slice(n, 2 * n), t.slice(2 * n)];
  const times = transposed ? pull : push;
  const linear: System = {
    f: (v, t) => {
      const [c, at, rest] = parts(t);
      return times(system, at, rest, v).map((y, i) => y.sub(c[i]));
    },
    solve: (_, t, c) =>
      (transposed ? transposeSolve : solve)(...parts(t).slice(1) as [Tensor[], Tensor[]], c),
    transposeSolve: (_, t, c) =>
      (transposed ? solve : transposeSolve)(...parts(t).slice(1) as [Tensor[], Tensor[]], c),
  };
  const v = noGrad(() => (transposed ? transposeSolve : solve)(x, theta, b));
  return tupleOutputs(
    implicit,
    [...v, ...b, ...x, ...theta],
    { n, system: linear } satisfies ImplicitAttributes,
  );
}

/** Tensors of a result that must be like `like`. */
function alike(action: string, result: Tree, like: Tree, name: string): Tensor[] {
  if ((result as unknown) instanceof Promise) {
    (result as Promise<unknown>).catch(() => {});
    throw new TypeError(
      `Cannot ${action}: ${name} returns a promise, and derivatives are built without waiting; bound its steps instead`,
    );
  }
  const difference = treeDifference(like, result, "the unknown", name);
  if (difference !== null) {
    throw new RangeError(`Cannot ${action}: ${name} must return what is like the unknown, but ${difference}`);
  }
  return flatten(result).leaves;
}

/** The unknown's tensors; all are of floating point. */
function unknown(action: string, tree: Tree): Flat {
  const flat = flatten(tree, action);
  if (flat.leaves.length === 0) throw new TypeError(`Cannot ${action} without any tensor`);
  flat.leaves.forEach((t, i) => {
    if (isFloat(t.dtype)) return;
    throw new TypeError(
      `Cannot ${action} of type ${t.dtype}${
        flat.paths[i] ? ` at ${flat.paths[i]}` : ""
      }: the unknown must be of ` +
        `floating point; convert it, as in x.to("f32")`,
    );
  });
  return flat;
}

type Kind = "customRoot" | "customLinearSolve";

/** Records `f` on placeholders like some tensors; what it captures becomes the constants. */
function recordLike(kind: Kind, like: readonly Tensor[], f: (x: Tensor[]) => Tensor[]): Program {
  const avals = like.map((t) => ({ shape: t.shape, dtype: t.dtype, track: t.node.track }));
  return record(avals, f, { kind, device: like[0].device }).program;
}

/** Solvers as programs: a rule may run where what they capture (a placeholder of vmap, say) is there no more. */
class Solvers {
  /** What they capture; behind theta in the inputs of the tuple. */
  readonly captured: Tensor[] = [];
  constructor(
    readonly kind: Kind,
    readonly x: readonly Tensor[],
    readonly theta: readonly Tensor[],
  ) {}

  add(f: Solver): Solver {
    const { x, theta, captured } = this, n = x.length, m = theta.length, from = m + captured.length;
    const program = noGrad(() =>
      recordLike(
        this.kind,
        [...x, ...theta, ...x],
        (p) => f(p.slice(0, n), p.slice(n, n + m), p.slice(n + m)),
      )
    );
    captured.push(...program.consts.map((c) => wrap(c).stopGradient()));
    const to = m + captured.length;
    return (at, all, b) => program.call([...at, ...all.slice(0, m), ...b, ...all.slice(from, to)]);
  }
}

/**
 * The root x of `f(x) = 0` that `solver(f, initial)` finds, with derivatives by the implicit function theorem: for f
 * that depends on theta, `dx/dtheta = -(df/dx)^-1 df/dtheta`. The solver may do anything (loop, read values, be
 * asynchronous; then so is the result): no derivative looks into it. Both modes, any order, vmap and jit; x is a tree,
 * theta whatever f captures.
 *
 * `tangentSolve(g, b)` solves the linear system `g(v) = b`, where g is df/dx at the root in forward mode and its
 * transpose in reverse mode. It must be synchronous; `cg` (g symmetric) and `gmres` will do, for a scalar
 * `(g, b) => b.div(g(tensor(1)))`. Where the transposed system wants another solver, give `transposeSolve`.
 *
 * ```ts
 * import { customRoot, grad, tensor, type Tensor } from "@cotangent/cotangent";
 * const newton = (f: (x: Tensor) => Tensor, x: Tensor) => {
 *   for (let i = 0; i < 20; i++) x = x.sub(f(x).div(grad(f)(x)));
 *   return x;
 * };
 * const sqrt = (a: Tensor) =>
 *   customRoot((x: Tensor) => x.square().sub(a), a, newton, (g, b: Tensor) => b.div(g(tensor(1))));
 * console.log(await grad(sqrt)(tensor(4)).item()); // 0.25
 * ```
 */
export function customRoot<X extends Tree>(
  f: (x: X) => X,
  initial: X,
  solver: (f: (x: X) => X, initial: X) => Promise<X>,
  tangentSolve: LinearSolver<X>,
  transposeSolve?: LinearSolver<X>,
): Promise<X>;
/** The same with a synchronous solver. */
export function customRoot<X extends Tree>(
  f: (x: X) => X,
  initial: X,
  solver: (f: (x: X) => X, initial: X) => X,
  tangentSolve: LinearSolver<X>,
  transposeSolve?: LinearSolver<X>,
): X;
export function customRoot(
  f: (x: Tree) => Tree,
  initial: Tree,
  solver: (f: (x: Tree) => Tree, initial: Tree) => Tree,
  tangentSolve: LinearSolver<Tree>,
  transposeSolve: LinearSolver<Tree> = tangentSolve,
): Tree {
  const action = "find a root";
  const { rebuild } = unknown(action, initial);
  const finish = (found: Tree): Tree => {
    const x = alike(action, stopGradient(found), initial, "solver");
    const program = recordLike("customRoot", x, (leaves) => {
      const y = f(rebuild(leaves));
      return (y as unknown) instanceof Promise ? y as never : alike(action, y, initial, "f");
    });
    const theta = program.consts.map(wrap), solvers = new Solvers("customRoot", x, theta);
    const equation = {
      f: (at: Tensor[], all: Tensor[]) => program.call([...at, ...all.slice(0, theta.length)]),
    };
    const solverOf = (by: LinearSolver<Tree>, times: typeof push, name: string): Solver =>
      solvers.add((at, all, b) => {
        const g = (v: Tree): Tree => rebuild(times(equation, at, all, flatten(v).leaves));
        return alike(action, by(g, rebuild(b)), initial, name);
      });
    const system: System = {
      ...equation,
      solve: solverOf(tangentSolve, push, "tangentSolve"),
      transposeSolve: solverOf(
        transposeSolve,
        pull,
        transposeSolve === tangentSolve ? "tangentSolve" : "transposeSolve",
      ),
    };
    const inputs = [...x, ...theta, ...solvers.captured];
    return rebuild(tupleOutputs(implicit, inputs, { n: x.length, system } satisfies ImplicitAttributes));
  };
  const found = noGrad(() => solver(f, stopGradient(initial)));
  return (found as unknown) instanceof Promise ? found.then(finish) : finish(found);
}

/**
 * The solution x of the linear system `matvec(x) = b` that `solve(matvec, b)` finds, with the derivatives of a linear
 * solve: `dx = solve(db - dA x)` forwards, and backwards `w = transposeSolve(ct)` is the cotangent of b and `-w x^T`
 * that of the matrix A. No derivative looks into the solvers. Both modes, any order, vmap and jit; x and b are alike
 * and may be trees, A is whatever `matvec` captures.
 *
 * `transposeSolve(vecmat, ct)` solves the transposed system; for a symmetric A it is `solve` itself. Without it there
 * is no reverse mode.
 */
export function customLinearSolve<X extends Tree>(
  matvec: LinearMap<X>,
  b: X,
  solve: LinearSolver<X>,
  transposeSolve?: LinearSolver<X>,
): X {
  const action = "solve a linear system", { leaves, rebuild } = unknown(action, b), n = leaves.length;
  const program = recordLike("customLinearSolve", leaves, (v) => {
    const y = matvec(rebuild(v));
    return (y as unknown) instanceof Promise ? y as never : alike(action, y, b, "matvec");
  });
  // theta is b, then what matvec captures.
  const theta = [...leaves, ...program.consts.map(wrap)],
    solvers = new Solvers("customLinearSolve", leaves, theta);
  const times = (v: Tensor[], all: Tensor[]): Tensor[] => program.call([...v, ...all.slice(n, theta.length)]);
  const primal = solvers.add((_, all, c) =>
    alike(action, solve((v) => rebuild(times(flatten(v).leaves, all)), rebuild(c)), b, "solve")
  );
  const system: System = {
    f: (v, all) => times(v, all).map((t, i) => t.sub(all[i])),
    solve: primal,
    transposeSolve: transposeSolve === undefined ? noTranspose : solvers.add((at, all, c) => {
      const vecmat = (v: X): X => rebuild(pull({ f: times }, at, all, flatten(v).leaves));
      return alike(action, transposeSolve(vecmat, rebuild(c)), b, "transposeSolve");
    }),
  };
  const all = [...theta, ...solvers.captured];
  const x = noGrad(() => primal(leaves, all, leaves));
  return rebuild(tupleOutputs(implicit, [...x, ...all], { n, system } satisfies ImplicitAttributes));
}

function noTranspose(): never {
  throw new Error(
    `Cannot pull back through customLinearSolve without a solver of the transposed system: ` +
      `give transposeSolve (for a symmetric matrix the same as solve)`,
  );
}
