/** Krylov solvers of linear systems that are given by their product with a vector: cg and gmres. */
import { cat } from "../definitions/indexing.ts";
import type { DType } from "../dtype.ts";
import { apply } from "../node.ts";
import type { Tensor } from "../tensor.ts";
import { customLinearSolve, type LinearMap } from "./implicit.ts";
import { scan } from "./scan.ts";
import { flatten, type Tree } from "./tree.ts";

/** Options of `cg` and `gmres`. */
export interface KrylovOptions {
  /** Steps at most, which are all computed; those after convergence change nothing. Default: the unknowns, at most 50. */
  maxSteps?: number;
  /** Ends where the residual is at most so large beside b, in 2-norm; default 1e-12 in f64, 1e-6 in f32. */
  tolerance?: number;
}

/** The distance from 1 to the next number. */
function rounding(dtype: DType): number {
  return dtype === "f64" ? 2 ** -52 : dtype === "f32" ? 2 ** -23 : dtype === "f16" ? 2 ** -10 : 2 ** -7;
}

/** How small a residual can be expected to get. */
export function defaultTolerance(dtype: DType): number {
  return dtype === "f64" ? 1e-12 : 8 * rounding(dtype);
}

/** The system on one vector `[n]`, whatever the tree. */
interface Flattened {
  readonly b: Tensor;
  readonly matvec: (x: Tensor) => Tensor;
  readonly rebuild: (x: Tensor) => Tree;
}

/** A tree's tensors in a row; they have one type. */
export function ravel(tree: Tree): Tensor {
  const { leaves } = flatten(tree), types = new Set(leaves.map((t) => t.dtype));
  if (types.size !== 1) {
    throw new TypeError(
      `Cannot solve for tensors of types ${[...types].join(", ") || "none"}: give them one type`,
    );
  }
  const rows = leaves.map((t) => t.reshape([t.size]));
  return rows.length === 1 ? rows[0] : apply(cat, rows, { axis: 0 });
}

/** The tree like another with the numbers of a vector. */
export function unravel(like: Tree): (x: Tensor) => Tree {
  const { leaves, rebuild } = flatten(like);
  return (x) => {
    let at = 0;
    return rebuild(leaves.map((t) => x.narrow(0, (at += t.size) - t.size, t.size).reshape(t.shape)));
  };
}

function flattened(matvec: LinearMap<Tree>, b: Tree): Flattened {
  const rebuild = unravel(b);
  return { b: ravel(b), matvec: (x) => ravel(matvec(rebuild(x))), rebuild };
}

function limits(name: string, b: Tree, options: KrylovOptions): { maxSteps: number; tolerance: number } {
  const { size, dtype } = ravel(b);
  const { maxSteps = Math.min(size, 50), tolerance = defaultTolerance(dtype) } = options;
  if (!Number.isInteger(maxSteps) || maxSteps < 0) {
    throw new RangeError(
      `Cannot solve by ${name} with maxSteps ${maxSteps}: it must be a whole number, at least 0`,
    );
  }
  return { maxSteps, tolerance };
}

const dot = (a: Tensor, b: Tensor): Tensor => a.mul(b).sum();

/** Numerator by denominator where a condition holds, 0 elsewhere. */
function quotient(when: Tensor, a: Tensor, b: Tensor): Tensor {
  return a.where(when, 0).div(b.where(when, 1));
}

/** Whether a squared residual is still too large; true for NaN, which shall be seen. */
function isLarge(rr: Tensor, bb: Tensor, tolerance: number): Tensor {
  return rr.le(bb.mul(tolerance * tolerance)).logicalNot();
}

function conjugateGradients(matvec: LinearMap<Tree>, right: Tree, maxSteps: number, tolerance: number): Tree {
  const { b, matvec: times, rebuild } = flattened(matvec, right), bb = dot(b, b);
  const start = { x: b.zerosLike(), r: b, p: b, rr: bb };
  const [{ x }] = scan(
    ({ x, r, p, rr }: Record<"x" | "r" | "p" | "rr", Tensor>): [typeof start, Tree] => {
      const on = isLarge(rr, bb, tolerance), q = times(p), pq = dot(p, q);
      const alpha = quotient(on.logicalAnd(pq.ne(0)), rr, pq);
      const next = r.sub(q.mul(alpha)), nextRR = dot(next, next);
      return [
        { x: x.add(p.mul(alpha)), r: next, p: next.add(p.mul(quotient(on, nextRR, rr))), rr: nextRR },
        [],
      ];
    },
    start,
    null,
    { length: maxSteps, checkpoint: "all" },
  );
  return rebuild(x);
}

/**
 * Steps k keep orthonormal rows q_k of A P, so that each takes the residual's part along q_k away; the next direction
 * is q_k itself, as in ORTHODIR (Young and Jea, 1980), which does not break down.
 */
export function minimalResiduals(
  matvec: LinearMap<Tree>,
  right: Tree,
  maxSteps: number,
  tolerance: number,
): Tree {
  const { b, matvec: times, rebuild } = flattened(matvec, right), bb = dot(b, b), [n] = b.shape, m = maxSteps;
  const rows = b.scalarLike(0).expand([m, n]);
  const start = { x: b.zerosLike(), r: b, v: b, P: rows, Q: rows };
  const places = b.arangeLike(m, "i32"), noise = (64 * rounding(b.dtype)) ** 2;
  const [{ x }] = scan(
    ({ x, r, v, P, Q }: Record<"x" | "r" | "v" | "P" | "Q", Tensor>, k: Tensor): [typeof start, Tree] => {
      const on = isLarge(dot(r, r), bb, tolerance);
      const full = times(v);
      let p = v, q = full;
      for (let twice = 0; twice < 2; twice++) {
        const h = Q.matmul(q); // [m]
        q = q.sub(h.matmul(Q));
        p = p.sub(h.matmul(P));
      }
      const qq = dot(q, q), length = qq.sqrt();
      // What rounding left of a direction that is spanned already is noise.
      const fresh = on.logicalAnd(qq.le(dot(full, full).mul(noise)).logicalNot());
      const unit = quotient(fresh, q, length), along = quotient(fresh, p, length);
      const alpha = dot(r, unit);
      const here = places.eq(k).unsqueeze(1); // [m, 1]
      return [
        {
          x: x.add(along.mul(alpha)),
          r: r.sub(unit.mul(alpha)),
          v: unit,
          P: P.maskedFill(here, 0).add(along.where(here, 0)),
          Q: Q.maskedFill(here, 0).add(unit.where(here, 0)),
        },
        [],
      ];
    },
    start,
    places,
    { checkpoint: "all" },
  );
  return rebuild(x);
}

/**
 * The solution of `matvec(x) = b` for a symmetric positive definite matrix, by conjugate gradients: Hestenes and
 * Stiefel (1952). b may be a tree; derivatives by b and by what `matvec` captures are those of `customLinearSolve`.
 */
export function cg<X extends Tree>(matvec: LinearMap<X>, b: X, options: KrylovOptions = {}): X {
  const { maxSteps, tolerance } = limits("cg", b, options);
  const solve = (A: LinearMap<X>, c: X): X => conjugateGradients(A, c, maxSteps, tolerance);
  return customLinearSolve(matvec, b, solve, solve);
}

/**
 * The x with the smallest residual of `matvec(x) = b` in the Krylov space of `maxSteps` dimensions, for any regular
 * matrix: what GMRES finds (Saad and Schultz, 1986). It keeps `2 maxSteps` vectors. Derivatives as for `cg`.
 */
export function gmres<X extends Tree>(matvec: LinearMap<X>, b: X, options: KrylovOptions = {}): X {
  const { maxSteps, tolerance } = limits("gmres", b, options);
  const solve = (A: LinearMap<X>, c: X): X => minimalResiduals(A, c, maxSteps, tolerance);
  return customLinearSolve(matvec, b, solve, solve);
}
