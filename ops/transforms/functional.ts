/** Functional derivatives over trees: vjp, jvp, linearize, grad, valueAndGrad. */
import { ambient, withAmbient } from "../ambient.ts";
import { isFloat } from "../dtype.ts";
import { aliasNode, passOn } from "../definitions/structural.ts";
import { type Node, nodeOf } from "../node.ts";
import { sameShape, showShape } from "../shape.ts";
import { Tensor } from "../tensor.ts";
import { forward } from "./forward.ts";
import { reverse } from "./reverse.ts";
import { checkFunction, type Flat, flatten, leavesLike, type Tree } from "./tree.ts";

/** A tensor or a promise of one, as functions that await values return. */
type Awaitable<T> = T | Promise<T>;

/** Applies `f` now, or when the promise is there. */
function then<A, B>(x: A | Promise<A>, f: (x: A) => B): B | Promise<B> {
  return x instanceof Promise ? x.then(f) : f(x);
}

/** The evaluation of a function on isolated inputs. */
interface Evaluation {
  readonly inputs: Node[];
  readonly output: Tree;
  readonly leaves: Tensor[];
  /** Behind the leaves: a pullback that jit records later must go through them, and not begin at new holes. */
  readonly nodes: Node[];
  readonly paths: string[];
  readonly rebuild: (leaves: readonly Tensor[]) => Tree;
  readonly mask: number;
  /** Runs `build` where outer transforms see what it makes, and ends this one's interest in the results. */
  readonly leave: (build: () => (Tensor | null)[]) => (Tensor | null)[];
}

/**
 * Evaluates `f` on aliases of `primals`, so that nothing outside is confused with them. Results that leave lose
 * the mark of this transform; under an outer noGrad they become constants.
 */
function evaluate(
  action: string,
  f: (...leaves: Tensor[]) => Awaitable<Tree>,
  primals: readonly Tensor[],
): Awaitable<Evaluation> {
  const outer = ambient();
  for (const x of primals) {
    if (!isFloat(x.dtype)) {
      throw new TypeError(
        `Cannot ${action} by a tensor of type ${x.dtype}: only floating point tensors have derivatives; ` +
          `convert it with x.to("f32") or leave it out of the differentiated arguments`,
      );
    }
  }
  const bit = Math.min(outer.depth + 1, 30), mask = 1 << bit;
  const inside = { noGrad: false, depth: outer.depth + 1 };
  const inputs = withAmbient(
    { noGrad: false },
    () => primals.map((x) => aliasNode(nodeOf(x), nodeOf(x).track | mask)),
  );
  const aliases = inputs.map((n) => new Tensor(n));
  // A pullback may be called inside another transform, which then owns the same bit: it must not be taken away.
  const leave = (build: () => (Tensor | null)[]): (Tensor | null)[] => {
    const { depth } = ambient(), strip = bit > Math.min(depth, 30) ? mask : 0;
    return withAmbient(
      { noGrad: false, depth: Math.max(depth, outer.depth) + 1 },
      () => build().map((t) => t === null ? null : leaveTransform(t, strip, outer.noGrad)),
    );
  };
  return then(withAmbient(inside, () => f(...aliases)), (output: Tree): Evaluation => {
    const { leaves, paths, rebuild } = flatten(output, `${action} a function that returns`);
    return { inputs, output, leaves, nodes: leaves.map(nodeOf), paths, rebuild, mask, leave };
  });
}

/** A result without the mark of the transform that made it. */
function leaveTransform(t: Tensor, mask: number, cut: boolean): Tensor {
  const node = nodeOf(t);
  return new Tensor(passOn(node, node.track & ~mask, cut));
}

/** The pullback of a function: cotangents of its output to cotangents of its inputs. */
export type Pullback = (ct: Tree) => Tree;

/** Cotangents of the inputs of an evaluation, zeros filled in. */
function pull(e: Evaluation, cts: readonly (Tensor | null)[]): Tensor[] {
  const targets = new Set(e.inputs);
  return e.leave(() => {
    const found = reverse(e.nodes, cts, {
      mask: e.mask,
      isTarget: (n) => targets.has(n),
    });
    return e.inputs.map((n) => found.get(n) ?? new Tensor(n).stopGradient().zerosLike());
  }) as Tensor[];
}

function checkCotangents(e: Evaluation, ct: Tree): Tensor[] {
  const leaves = leavesLike("pull back a cotangent that differs from the output", ct, e);
  leaves.forEach((t, i) => {
    const y = e.leaves[i];
    if (!sameShape(t.shape, y.shape)) {
      throw new RangeError(
        `Cannot pull back a cotangent of shape ${showShape(t.shape)}: the output has shape ${
          showShape(y.shape)
        }`,
      );
    }
  });
  return leaves.map((t, i) => isFloat(e.leaves[i].dtype) ? t.to(e.leaves[i].dtype) : t);
}

function leaveValues(e: Evaluation): Tree {
  return e.rebuild(e.leave(() => e.leaves) as Tensor[]);
}

/**
 * The value of `f` at `primals` and its pullback, the vector-Jacobian product `ct -> J^T ct`. The pullback takes a
 * cotangent like the output and returns an array with one like each primal; it may be called often.
 *
 * ```ts
 * import { tensor, vjp } from "@cotangent/cotangent";
 * const [y, pullback] = vjp((x) => x.square(), tensor([1, 2, 3]));
 * const [ct] = pullback(tensor([1, 1, 1]));
 * console.log(await y.toArray(), await ct.toArray()); // [1, 4, 9], [2, 4, 6]
 * ```
 */
export function vjp<A extends Tree[], Y extends Tree>(
  f: (...x: A) => Promise<Y>,
  ...primals: A
): Promise<[Y, (ct: Y) => A]>;
/** The same for a synchronous function. */
export function vjp<A extends Tree[], Y extends Tree>(f: (...x: A) => Y, ...primals: A): [Y, (ct: Y) => A];
export function vjp(f: (...x: Tree[]) => Tree, ...primals: Tree[]): Tree {
  checkFunction("take the vjp of", f);
  const flat = flatten(primals, "take the vjp of a function of");
  return then(
    evaluate("take the vjp", (...xs) => f(...flat.rebuild(xs)), flat.leaves),
    (e) => [leaveValues(e), (ct: Tree) => flat.rebuild(pull(e, checkCotangents(e, ct)))],
  );
}

/** Tangents of the outputs of an evaluation, zeros filled in. */
function push(e: Evaluation, tangents: readonly Tensor[]): Tensor[] {
  return e.leave(() => {
    const map = new Map(e.inputs.map((n, i) => [n, tangents[i]]));
    return forward(e.nodes, map, e.mask).map((t, i) => t ?? e.leaves[i].stopGradient().zerosLike());
  }) as Tensor[];
}

function checkTangents(like: Flat, tangents: Tree): Tensor[] {
  const leaves = leavesLike("push forward a tangent that differs from its primal", tangents, like),
    primals = like.leaves;
  return leaves.map((t, i) => {
    if (!sameShape(t.shape, primals[i].shape)) {
      throw new RangeError(
        `Cannot push forward a tangent of shape ${showShape(t.shape)}: its primal has shape ${
          showShape(primals[i].shape)
        }`,
      );
    }
    return t.to(primals[i].dtype);
  });
}

/**
 * The value of `f` at `primals` and its derivative in the direction of `tangents`, the Jacobian-vector product
 * `J dx`, in one forward pass.
 */
export function jvp<A extends Tree[], Y extends Tree>(
  f: (...x: A) => Promise<Y>,
  primals: A,
  tangents: A,
): Promise<[Y, Y]>;
/** The same for a synchronous function. */
export function jvp<A extends Tree[], Y extends Tree>(f: (...x: A) => Y, primals: A, tangents: A): [Y, Y];
export function jvp(f: (...x: Tree[]) => Tree, primals: Tree[], tangents: Tree[]): Tree {
  checkFunction("take the jvp of", f);
  if (!Array.isArray(primals) || !Array.isArray(tangents)) {
    throw new TypeError("Cannot take the jvp: primals and tangents are arrays, as in jvp(f, [x], [dx])");
  }
  const flat = flatten(primals, "take the jvp of a function of");
  const dx = checkTangents(flat, tangents);
  return then(
    evaluate("take the jvp", (...xs) => f(...flat.rebuild(xs)), flat.leaves),
    (e) => [leaveValues(e), e.rebuild(push(e, dx))],
  );
}

/** The value of `f` at `primals` and its derivative there as a linear function of tangents; `f` is called once. */
export function linearize<A extends Tree[], Y extends Tree>(
  f: (...x: A) => Promise<Y>,
  ...primals: A
): Promise<[Y, (...dx: A) => Y]>;
/** The same for a synchronous function. */
export function linearize<A extends Tree[], Y extends Tree>(
  f: (...x: A) => Y,
  ...primals: A
): [Y, (...dx: A) => Y];
export function linearize(f: (...x: Tree[]) => Tree, ...primals: Tree[]): Tree {
  checkFunction("linearize", f);
  const flat = flatten(primals, "linearize a function of");
  return then(
    evaluate("linearize", (...xs) => f(...flat.rebuild(xs)), flat.leaves),
    (e) => [leaveValues(e), (...dx: Tree[]) => e.rebuild(push(e, checkTangents(flat, dx)))],
  );
}

/** Options of `grad` and `valueAndGrad`. */
export interface GradOptions {
  /** Which arguments to differentiate by; default the first. A list gives a list of gradients. */
  argnums?: number | readonly number[];
  /** The function returns `[loss, auxiliary]`; only the loss is differentiated. */
  hasAux?: boolean;
}

/** Anything: arguments that are passed on. */
// deno-lint-ignore no-explicit-any
export type Any = any;

function gradients(f: (...x: Any[]) => Any, options: GradOptions): (...args: Any[]) => Any {
  checkFunction("differentiate", f);
  const { argnums = 0, hasAux = false } = options;
  const list = typeof argnums === "number" ? [argnums] : argnums;
  return (...args) => {
    for (const n of list) {
      if (!Number.isInteger(n) || n < 0 || n >= args.length) {
        throw new RangeError(
          `Cannot differentiate by argument ${n}: the function was called with ${args.length} arguments`,
        );
      }
    }
    const flat = flatten(list.map((n) => args[n]), "differentiate by");
    let aux: Tree;
    const run = (...xs: Tensor[]): Tree => {
      const all = [...args];
      flat.rebuild(xs).forEach((tree: Tree, i: number) => all[list[i]] = tree);
      return then(f(...all), (result: Tree) => {
        const loss = hasAux ? result[0] : result;
        if (!(loss instanceof Tensor) || loss.size !== 1 || !isFloat(loss.dtype)) {
          const got = loss instanceof Tensor
            ? `a tensor of shape ${showShape(loss.shape)}, ${loss.dtype}`
            : `${typeof loss}`;
          throw new RangeError(
            `Cannot take the gradient of a function that returns ${got}: gradients are of scalars. ` +
              `Reduce it (y.sum()), or use vjp or jacrev`,
          );
        }
        if (hasAux) {
          aux = result[1];
          return { loss, aux };
        }
        return { loss };
      });
    };
    return then(evaluate("differentiate", run, flat.leaves), (e) => {
      const loss = e.output.loss as Tensor;
      const seeds = e.leaves.map((t) => t === loss ? loss.onesLike() : null);
      // The same tensor may be returned as auxiliary too; only one seed counts.
      const first = seeds.findIndex((s) => s !== null);
      const grads = flat.rebuild(pull(e, seeds.map((s, i) => i === first ? s : null)));
      const values = leaveValues(e);
      const value = hasAux ? [values.loss, values.aux ?? aux] : values.loss;
      return { value, grads: typeof argnums === "number" ? grads[0] : grads };
    });
  };
}

/**
 * The gradient of a scalar function as a function: `grad(f)(x)` is df/dx, shaped like x. Applies to its own result,
 * to any order. The function may be asynchronous and read values; then so is its gradient.
 *
 * ```ts
 * import { grad, tensor, type Tensor } from "@cotangent/cotangent";
 * const f = (x: Tensor) => x.pow(3).sum();
 * console.log(await grad(f)(tensor([1, 2])).toArray()); // [3, 12]
 * ```
 */
export function grad<A extends Tree = Tensor, R extends Any[] = Any[]>(
  f: (x: A, ...rest: R) => Tensor,
  options?: GradOptions & { argnums?: 0; hasAux?: false },
): (x: A, ...rest: R) => A;
/** The same for an asynchronous function. */
export function grad<A extends Tree = Tensor, R extends Any[] = Any[]>(
  f: (x: A, ...rest: R) => Promise<Tensor>,
  options?: GradOptions & { argnums?: 0; hasAux?: false },
): (x: A, ...rest: R) => Promise<A>;
/** The same by other arguments, or with an auxiliary result: `[gradient, auxiliary]`. */
export function grad(f: (...x: Any[]) => Any, options?: GradOptions): (...x: Any[]) => Any;
export function grad(f: (...x: Any[]) => Any, options: GradOptions = {}): (...x: Any[]) => Any {
  const run = gradients(f, options);
  return (...args) =>
    then(run(...args), ({ value, grads }: Any) => options.hasAux ? [grads, value[1]] : grads);
}

/** Like `grad`, but gives `[value, gradient]`. */
export function valueAndGrad<A extends Tree = Tensor, R extends Any[] = Any[]>(
  f: (x: A, ...rest: R) => Tensor,
  options?: GradOptions & { argnums?: 0; hasAux?: false },
): (x: A, ...rest: R) => [Tensor, A];
/** The same for an asynchronous function. */
export function valueAndGrad<A extends Tree = Tensor, R extends Any[] = Any[]>(
  f: (x: A, ...rest: R) => Promise<Tensor>,
  options?: GradOptions & { argnums?: 0; hasAux?: false },
): (x: A, ...rest: R) => Promise<[Tensor, A]>;
/** The same by other arguments, or with an auxiliary result: `[[value, auxiliary], gradient]`. */
export function valueAndGrad(f: (...x: Any[]) => Any, options?: GradOptions): (...x: Any[]) => Any;
export function valueAndGrad(f: (...x: Any[]) => Any, options: GradOptions = {}): (...x: Any[]) => Any {
  const run = gradients(f, options);
  return (...args) => then(run(...args), ({ value, grads }: Any) => [value, grads]);
}

/** A constant to all derivatives; trees too. */
export function stopGradient<T extends Tree>(x: T): T {
  const { leaves, rebuild } = flatten(x);
  return rebuild(leaves.map((t) => t.stopGradient()));
}
