/** cond: one of two functions, chosen by a tensor; nothing of the other one leaks into values or derivatives. */
import { tupleOutputs } from "../definitions/structural.ts";
import { isFloat } from "../dtype.ts";
import { wrap } from "../node.ts";
import { type Aval, define, type Tuple } from "../primitive.ts";
import { sameShape, showShape } from "../shape.ts";
import { Tensor } from "../tensor.ts";
import { jvp, vjp } from "./functional.ts";
import { type Program, record } from "./program.ts";
import { flatten, type Tree, treeDifference } from "./tree.ts";

/** Inputs are `[predicate, operands..., constants of yes..., constants of no...]`. */
interface CondAttributes {
  readonly yes: Program;
  readonly no: Program;
}

/** Inputs of one branch: operands, then its own constants. */
function inputsOf(x: readonly Tensor[], p: CondAttributes, branch: "yes" | "no"): Tensor[] {
  const n = 1 + p.yes.params.length, m = n + p.yes.consts.length;
  return [...x.slice(1, n), ...branch === "yes" ? x.slice(n, m) : x.slice(m)];
}

/** Position in the inputs of the tuple of what `inputsOf` gives. */
function placesOf(p: CondAttributes, branch: "yes" | "no"): number[] {
  const n = p.yes.params.length, m = p.yes.consts.length;
  const consts = branch === "yes"
    ? p.yes.consts.map((_, i) => 1 + n + i)
    : p.no.consts.map((_, i) => 1 + n + m + i);
  return [...p.yes.params.map((_, i) => 1 + i), ...consts];
}

/**
 * The predicate has shape P, which leads the shapes of all inputs and outputs where it is not a scalar: then each of
 * its elements chooses for itself (vmap).
 */
const choice: Tuple = define({
  family: "tuple",
  name: "cond",
  tex: ([c, x]) => `\\operatorname{cond}(${c}, ${x ?? ""})`,
  texPullbacks: ([c, ...x], y) => [
    "0",
    ...x.map((a) => {
      const branch = (k: number): string =>
        `\\left(\\frac{\\partial ${y}_${k}}{\\partial ${a}}\\right)^\\top \\bar{${y}}`;
      return `\\operatorname{cond}(${c}, ${branch(1)}, ${branch(2)})`;
    }),
  ],
  key: (p: CondAttributes) => `${p.yes.key}|${p.no.key}`,
  outputs: (_, p: CondAttributes): Aval[] => [...p.yes.outputs],
  flops: (p: CondAttributes) => p.yes.flops + p.no.flops,
  bodies: (p: CondAttributes) => [
    { label: "where it holds", program: p.yes, operands: placesOf(p, "yes") },
    { label: "where it does not", program: p.no, operands: placesOf(p, "no") },
  ],
  expand: (x, p: CondAttributes) => {
    const a = p.yes.call(inputsOf(x, p, "yes")), b = p.no.call(inputsOf(x, p, "no"));
    return a.map((t, i) =>
      t.where(x[0].reshape([...x[0].shape, ...t.shape.slice(x[0].rank).map(() => 1)]), b[i])
    );
  },
  // The derivative of a choice is the choice of derivatives: what the other branch gives, NaN too, is never seen.
  vjp: (cts, { x, p, needs }) => {
    const wanted = x.flatMap((t, i) => needs[i] && isFloat(t.dtype) ? [i] : []);
    const given = cts.flatMap((ct, i) => ct === null ? [] : [i]);
    const pull = (branch: "yes" | "no") => (...all: Tensor[]): Tensor[] => {
      const inputs = [x[0], ...all.slice(0, x.length - 1)], places = placesOf(p, branch);
      const own = wanted.filter((i) => places.includes(i));
      if (own.length === 0) return wanted.map((i) => inputs[i].zerosLike());
      const [, pullback] = vjp((...q: Tensor[]) => {
        const at = [...inputs];
        own.forEach((i, k) => at[i] = q[k]);
        const y = (p as CondAttributes)[branch].call(inputsOf(at, p, branch));
        return given.map((i) => y[i]);
      }, ...own.map((i) => inputs[i]));
      const back = pullback(all.slice(x.length - 1));
      return wanted.map((i) => own.includes(i) ? back[own.indexOf(i)] : inputs[i].zerosLike());
    };
    const grads = choose(x[0], pull("yes"), pull("no"), [...x.slice(1), ...given.map((i) => cts[i]!)]);
    const out: (Tensor | null)[] = Array(x.length).fill(null);
    wanted.forEach((i, k) => out[i] = grads[k]);
    return out;
  },
  jvp: (dx, { x, p }) => {
    const moving = x.flatMap((_, i) => dx[i] === null ? [] : [i]);
    const floats = (p as CondAttributes).yes.outputs.flatMap((y, i) => isFloat(y.dtype) ? [i] : []);
    const push = (branch: "yes" | "no") => (...all: Tensor[]): Tensor[] => {
      const inputs = [x[0], ...all.slice(0, x.length - 1)];
      return jvp(
        (...q: Tensor[]) => {
          const at = [...inputs];
          moving.forEach((i, k) => at[i] = q[k]);
          const y = (p as CondAttributes)[branch].call(inputsOf(at, p, branch));
          return floats.map((i) => y[i]);
        },
        moving.map((i) => inputs[i]),
        all.slice(x.length - 1),
      )[1];
    };
    const tangents = choose(x[0], push("yes"), push("no"), [...x.slice(1), ...moving.map((i) => dx[i]!)]);
    const out: (Tensor | null)[] = (p as CondAttributes).yes.outputs.map(() => null);
    floats.forEach((i, k) => out[i] = tangents[k]);
    return out;
  },
  batch: (x, batched, p: CondAttributes, B) => {
    // Where elements choose for themselves all is batched, so that each is masked before a sum over the batch.
    const each = batched[0] || x[0].rank > 0;
    const all = x.map((t, i) => batched[i] || !each ? t : t.expand([B, ...t.shape]));
    const flags = batched.map((b) => b || each);
    const branch = (name: "yes" | "no") => (...inner: Tensor[]): Tensor[] => {
      const result = p[name].batched(
        inputsOf([x[0], ...inner], p, name),
        placesOf(p, name).map((i) => flags[i]),
        B,
      );
      return result.outputs.map((t, i) => result.flags[i] ? t : t.expand([B, ...t.shape]));
    };
    return choose(all[0], branch("yes"), branch("no"), all.slice(1));
  },
});

/** The choice on lists of tensors. */
function choose(
  predicate: Tensor,
  yes: (...x: Tensor[]) => Tensor[],
  no: (...x: Tensor[]) => Tensor[],
  operands: readonly Tensor[],
): Tensor[] {
  const avals = operands.map((t) => ({ shape: t.shape, dtype: t.dtype, track: t.node.track }));
  const programOf = (f: (...x: Tensor[]) => Tensor[]): Program =>
    record(avals, (params) => f(...params), { kind: "cond", device: predicate.device }).program;
  const p: CondAttributes = { yes: programOf(yes), no: programOf(no) };
  return tupleOutputs(
    choice,
    [predicate, ...operands, ...p.yes.consts.map(wrap), ...p.no.consts.map(wrap)],
    p,
  );
}

/**
 * `thenFn(...operands)` where the predicate holds, `elseFn(...operands)` where it does not. Operands and results are
 * trees; both functions return the same structure, shapes and types.
 *
 * A predicate that is a tensor (a boolean scalar) has no value while the graph is built: **both** branches are
 * computed and one result is chosen. The other branch's values and derivatives, NaN too, reach nothing, in both modes
 * and to any order, also where `vmap` lets each element choose. A JavaScript boolean calls one function and builds
 * nothing of the other: `cond(await p.item() === 1, ...)` computes one branch only.
 *
 * ```ts
 * import { cond, grad, tensor, type Tensor } from "@cotangent/cotangent";
 * const f = (x: Tensor) => cond(x.gt(0), (t: Tensor) => t.sqrt(), (t: Tensor) => t.mul(0), x);
 * console.log(await grad(f)(tensor(0)).item()); // 0; the root's infinite derivative stays out
 * ```
 */
// deno-lint-ignore no-explicit-any
export function cond<A extends any[], Y extends Tree>(
  predicate: Tensor | boolean,
  thenFn: (...operands: A) => Y,
  elseFn: (...operands: A) => Y,
  ...operands: A
): Y {
  if (typeof predicate === "boolean") return predicate ? thenFn(...operands) : elseFn(...operands);
  checkPredicate("cond", predicate);
  const flat = flatten(operands, "cond on");
  const results: Tree[] = [];
  const branch = (f: (...operands: A) => Y) => (...x: Tensor[]): Tensor[] => {
    const y = f(...flat.rebuild(x) as A);
    if ((y as unknown) instanceof Promise) return y as never;
    results.push(y);
    if (results.length === 2) {
      const difference = treeDifference(results[0], results[1], "thenFn", "elseFn");
      if (difference !== null) {
        throw new RangeError(`Cannot cond: both branches must return the same, but ${difference}`);
      }
    }
    return flatten(y, "cond on functions that return").leaves;
  };
  const ys = choose(predicate, branch(thenFn), branch(elseFn), flat.leaves);
  return flatten(results[0]).rebuild(ys);
}

/** Throws unless `predicate` is a boolean scalar. */
export function checkPredicate(action: string, predicate: unknown): asserts predicate is Tensor {
  if (!(predicate instanceof Tensor)) {
    throw new TypeError(
      `Cannot ${action} on ${
        predicate instanceof Promise ? "a Promise (is an await missing?)" : `a ${typeof predicate}`
      }: the predicate must be a boolean, or a boolean tensor of shape []`,
    );
  }
  if (predicate.dtype !== "bool") {
    throw new TypeError(
      `Cannot ${action} on a predicate of type ${predicate.dtype}: it must be bool; compare it, as in x.gt(0)`,
    );
  }
  if (!sameShape(predicate.shape, [])) {
    throw new RangeError(
      `Cannot ${action} on a predicate of shape ${showShape(predicate.shape)}: it must be a scalar; ` +
        `use where or vmap for a choice by element, or reduce it with all() or any()`,
    );
  }
}
