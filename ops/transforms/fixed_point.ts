/** fixedPoint and rootFind: iterations that end by a residual, with implicit derivatives. */
import type { Tensor } from "../tensor.ts";
import { jvp } from "./functional.ts";
import { customRoot, type LinearSolver } from "./implicit.ts";
import { defaultTolerance, minimalResiduals, ravel, unravel } from "./krylov.ts";
import type { Tree } from "./tree.ts";
import { refuseUnbounded, whileLoop } from "./while_loop.ts";

/** Options of `rootFind` and `fixedPoint`, whether bounded or awaited. */
export interface RootOptions {
  /** Ends where the residual is at most `tolerance (1 + |x|)`, in 2-norm; default 1e-12 in f64, 1e-6 in f32. */
  tolerance?: number;
  /** Dimensions of the Krylov space in which linear systems are solved; default the unknowns, at most 50. */
  krylovSteps?: number;
}

/** With a bound: steps at most, all of which are computed. */
export interface BoundedRootOptions extends RootOptions {
  /** What is reached by then is the result. */
  maxSteps: number;
}

/** Without a bound: awaited. */
export interface AwaitedRootOptions extends RootOptions {
  /** No bound: the loop is awaited. */
  maxSteps?: undefined;
  /** Fails after so many steps; default 1,000. */
  limit?: number;
  /** Steps between two looks at the residual; default 1 on the host and 8 on WebGPU, where a read takes longer. */
  every?: number;
}

/** How `fixedPoint` iterates. */
export interface FixedPointMethod {
  /**
   * `"iterate"` (default): `x = f(x)`. `"anderson"`: mixes the last five steps, Anderson (1965) as in Walker and Ni
   * (2011). `"newton"`: Newton's method, each step of which solves a linear system by `gmres`.
   */
  solver?: "iterate" | "anderson" | "newton";
}

/** Where an iteration stands: x, its residual r = F(x), and what the method remembers. */
interface State {
  x: Tensor;
  r: Tensor;
  past: Tensor[];
}

/** One step: the next x and memory. */
interface Method {
  readonly start: (x: Tensor) => Tensor[];
  readonly next: (state: State) => [Tensor, Tensor[]];
}

const norm = (x: Tensor): Tensor => x.mul(x).sum().sqrt();

const iterate: Method = { start: () => [], next: ({ x, r }) => [x.add(r), []] };

/** `x - (dF/dx)^-1 F(x)`. */
function newton(F: (x: Tensor) => Tensor, krylovSteps: number, tolerance: number): Method {
  return {
    start: () => [],
    next: ({ x, r }) => {
      const derivative = (v: Tensor): Tensor => jvp(F, [x], [v])[1];
      return [x.sub(minimalResiduals(derivative, r, krylovSteps, tolerance)), []];
    },
  };
}

const MEMORY = 5;

/** `x = sum_i a_i (x_i + r_i)` over the last steps, where `|sum_i a_i r_i|` is smallest for `sum_i a_i = 1`. */
const anderson: Method = {
  start: (x) => [
    x.scalarLike(0).expand([MEMORY, x.size]),
    x.scalarLike(0).expand([MEMORY, x.size]),
    x.scalarLike(0, "i32"),
  ],
  next: ({ x, r, past: [oldX, oldR, count] }) => {
    const place = x.arangeLike(MEMORY, "i32"), here = place.eq(count.remainder(MEMORY)).unsqueeze(1);
    const X = x.where(here, oldX), R = r.where(here, oldR); // [MEMORY, n]
    // Rows of unit length, so that the system is as good near the end as at the start; unused rows stay out.
    const lengths = R.mul(R).sum(1).sqrt(), used = lengths.gt(0).logicalAnd(place.le(count));
    const scale = lengths.where(used, 1).reciprocal().where(used, 0), rows = R.mul(scale.unsqueeze(1));
    const identity = place.eq(place.unsqueeze(1)), ridge = x.dtype === "f64" ? 1e-13 : 1e-6;
    const diagonal = used.logicalNot().to(x.dtype).add(ridge);
    const gram = rows.matmul(rows.transpose(0, 1)).add(diagonal.where(identity, 0));
    const a = eliminate(gram, scale).mul(scale);
    const total = a.sum(), share = a.div(total.where(total.ne(0), 1)).unsqueeze(1); // [MEMORY, 1]
    return [share.mul(X.add(R)).sum(0), [X, R, count.add(1)]];
  },
};

/** The solution of a small positive definite system, by Gauss and Jordan without pivots. */
function eliminate(matrix: Tensor, right: Tensor): Tensor {
  const n = right.size, identity = right.arangeLike(n, "i32");
  let M = matrix.pad([[0, 0], [0, 1]]).add(right.unsqueeze(1).pad([[0, 0], [n, 0]])); // [n, n + 1]
  for (let k = 0; k < n; k++) {
    const row = M.select(0, k), column = M.select(1, k);
    const scaled = row.div(row.select(0, k));
    M = M.sub(column.sub(identity.eq(k).to(M.dtype)).unsqueeze(1).mul(scaled));
  }
  return M.select(1, n);
}

/** Iterates until the residual is small: bounded, or awaited. */
function run(
  action: string,
  F: (x: Tensor) => Tensor,
  x0: Tensor,
  method: Method,
  tolerance: number,
  options: BoundedRootOptions | AwaitedRootOptions,
): Tensor | Promise<Tensor> {
  const init: State = { x: x0, r: F(x0), past: method.start(x0) };
  // False for NaN: what is lost does not come back.
  const isLarge = ({ x, r }: State): Tensor => norm(r).gt(norm(x).add(1).mul(tolerance));
  const step = (state: State): State => {
    const [x, past] = method.next(state);
    return { x, r: F(x), past };
  };
  if (options.maxSteps !== undefined) {
    return whileLoop(isLarge, step, init, { maxSteps: options.maxSteps }).x;
  }
  const { limit = 1000, every } = options as AwaitedRootOptions;
  return (async () => {
    const counted = await whileLoop(
      ({ state, count }) => isLarge(state).logicalAnd(count.lt(limit)),
      ({ state, count }) => ({ state: step(state), count: count.add(1) }),
      { state: init, count: x0.scalarLike(0, "i32") },
      every === undefined ? {} : { every },
    );
    const { x, r } = counted.state, residual = await norm(r).item(), size = await norm(x).item();
    if (Number.isFinite(size) && residual <= tolerance * (1 + size)) return x;
    throw new Error(
      `Cannot ${action}: after ${await counted.count.item()} steps the residual is ${
        residual.toPrecision(3)
      }; ` +
        `start nearer, choose another solver, or allow a larger tolerance or limit`,
    );
  })();
}

/** Values of a function as a vector, which are as many as its arguments, or an error. */
function sameSize(action: string, y: Tensor, x: Tensor): Tensor {
  if (y.size === x.size) return y;
  throw new RangeError(
    `Cannot ${action}: the function takes ${x.size} numbers and returns ${y.size}; they must be as many`,
  );
}

/** What both functions share: F is zero at the result, and `method` is chosen by F on vectors. */
function implicitRoot(
  action: string,
  F: (x: Tree) => Tree,
  initial: Tree,
  methodOf: (F: (x: Tensor) => Tensor, krylovSteps: number, tolerance: number) => Method,
  options: BoundedRootOptions | AwaitedRootOptions,
): Tree {
  if (options.maxSteps === undefined) refuseUnbounded(action);
  const { size, dtype } = ravel(initial);
  const { tolerance = defaultTolerance(dtype), krylovSteps = Math.min(size, 50) } = options;
  const solver = (f: (x: Tree) => Tree, start: Tree): Tree => {
    const rebuild = unravel(initial),
      onVectors = (x: Tensor): Tensor => sameSize(action, ravel(f(rebuild(x))), x);
    const x = run(
      action,
      onVectors,
      ravel(start),
      methodOf(onVectors, krylovSteps, tolerance),
      tolerance,
      options,
    );
    return x instanceof Promise ? x.then(rebuild) : rebuild(x);
  };
  const tangentSolve: LinearSolver<Tree> = (g, b) => minimalResiduals(g, b, krylovSteps, tolerance);
  return customRoot(F, initial, solver, tangentSolve);
}

/**
 * The x with `f(x) = x` that iteration from `initial` leads to. Its derivatives are implicit: reverse mode solves
 * `(1 - df/dx)^T w = ct` by `gmres`, and unrolls nothing (deep equilibrium models: Bai et al., 2019). Both modes, any
 * order; x is a tree of one type, and f captures what it depends on.
 *
 * With `maxSteps` the loop is bounded and works inside every transform, but always computes so many steps, and ends
 * there converged or not. Without, it is awaited, reads its residual as it goes, and fails after `limit` steps.
 *
 * ```ts
 * import { fixedPoint, grad, tensor, type Tensor } from "@cotangent/cotangent";
 * // x = cos(a x): dx/da = -x sin(a x) / (1 + a sin(a x)).
 * const x = (a: Tensor) => fixedPoint((x: Tensor) => a.mul(x).cos(), tensor(1), { maxSteps: 60 });
 * console.log(await x(tensor(1)).item(), await grad(x)(tensor(1)).item()); // 0.739..., -0.297...
 * ```
 */
export function fixedPoint<X extends Tree>(
  f: (x: X) => X,
  initial: X,
  options: BoundedRootOptions & FixedPointMethod,
): X;
/** The same without a bound: awaited. */
export function fixedPoint<X extends Tree>(
  f: (x: X) => X,
  initial: X,
  options?: AwaitedRootOptions & FixedPointMethod,
): Promise<X>;
export function fixedPoint(
  f: (x: Tree) => Tree,
  initial: Tree,
  options: (BoundedRootOptions | AwaitedRootOptions) & FixedPointMethod = {},
): Tree {
  const { solver = "iterate" } = options;
  if (solver !== "iterate" && solver !== "anderson" && solver !== "newton") {
    throw new TypeError(
      `Cannot find a fixed point by solver ${solver}: there are iterate, anderson and newton`,
    );
  }
  const rebuild = unravel(initial);
  const F = (x: Tree): Tree => {
    const y = f(x);
    if (y instanceof Promise) return y;
    const vector = ravel(x);
    return rebuild(sameSize("find a fixed point", ravel(y), vector).sub(vector));
  };
  const methodOf = solver === "newton" ? newton : () => solver === "anderson" ? anderson : iterate;
  return implicitRoot("find a fixed point", F, initial, methodOf, options);
}

/**
 * The x with `f(x) = 0` that Newton's method from `initial` leads to, with implicit derivatives: see `customRoot`, and
 * `fixedPoint` for bounds and awaiting.
 */
export function rootFind<X extends Tree>(f: (x: X) => X, initial: X, options: BoundedRootOptions): X;
/** The same without a bound: awaited. */
export function rootFind<X extends Tree>(
  f: (x: X) => X,
  initial: X,
  options?: AwaitedRootOptions,
): Promise<X>;
export function rootFind(
  f: (x: Tree) => Tree,
  initial: Tree,
  options: BoundedRootOptions | AwaitedRootOptions = {},
): Tree {
  return implicitRoot("find a root", f, initial, newton, options);
}
