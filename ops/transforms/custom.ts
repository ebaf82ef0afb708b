/** Derivatives by hand: customVjp, customJvp, straightThrough. */
import { noGrad } from "./backward.ts";
import { withAmbient } from "../ambient.ts";
import { tupleOutputs } from "../definitions/structural.ts";
import { isFloat } from "../dtype.ts";
import { define, type Tuple } from "../primitive.ts";
import { sameShape, showShape } from "../shape.ts";
import type { Tensor } from "../tensor.ts";
import { vjp } from "./functional.ts";
import { flatten, someLeavesLike, type Tree } from "./tree.ts";
import { vmap } from "./vmap.ts";

/** Attributes of a call with a rule: inputs are `nx` primals, `ny` results, then what the rule saved. */
interface RuleCall {
  readonly nx: number;
  readonly ny: number;
  readonly rule: (...parts: Tensor[][]) => (Tensor | null)[];
}

const counts = (p: RuleCall): string => `${p.nx},${p.ny}`;
const results = (x: readonly { shape: readonly number[]; dtype: Tensor["dtype"] }[], p: RuleCall) =>
  x.slice(p.nx, p.nx + p.ny);

/** The transpose of a linear function at a cotangent: its pullback anywhere. */
function transpose(linear: (x: Tensor[]) => Tensor[], like: Tensor[], ct: Tensor[]): Tensor[] {
  const [, pullback] = vjp(linear as (x: Tree) => Tree, like.map((t) => t.zerosLike()));
  return pullback(ct)[0];
}

/** Batches every input, and the rule with them. */
function batchRule(op: () => Tuple): Tuple["batch"] {
  return (x, batched, p: RuleCall, B) => {
    const all = x.map((t, i) => batched[i] ? t : t.expand([B, ...t.shape]));
    const rule: RuleCall["rule"] = (...parts) => {
      const holes: boolean[] = [];
      const mapped = vmap((inner: Tensor[][]) => {
        const out = p.rule(...inner);
        out.forEach((t, i) => holes[i] = t === null);
        return out.filter((t) => t !== null);
      }, { randomness: "different" })(parts);
      let at = 0;
      return holes.map((hole) => hole ? null : mapped[at++]);
    };
    return tupleOutputs(op(), all, { ...p, rule });
  };
}

const withVjp: Tuple = define({
  family: "tuple",
  name: "customVjp",
  tex: ([x]) => `f(${x})`,
  texPullbacks: (x, y) => x.map(() => `\\operatorname{backward}(\\bar{${y}})`),
  key: counts,
  outputs: (x, p) => results(x, p),
  expand: (x, p: RuleCall) => x.slice(p.nx, p.nx + p.ny),
  vjp: (cts, { x, p }) => {
    const { nx, ny, rule } = p as RuleCall;
    const ys = x.slice(nx, nx + ny);
    const parts = rule(x.slice(nx + ny), cts.map((ct, i) => ct ?? ys[i].zerosLike()));
    return [...parts, ...x.slice(nx).map(() => null)];
  },
  // The backward rule is linear in the cotangent; its transpose pushes tangents forward.
  jvp: (dx, { x, p }) => {
    const { nx, ny, rule } = p as RuleCall;
    const xs = x.slice(0, nx), ys = x.slice(nx, nx + ny), saved = x.slice(nx + ny);
    const used: number[] = [];
    const backward = (cts: Tensor[]): Tensor[] =>
      rule(saved, cts).filter((t, i) => {
        if (t !== null) used.push(i);
        return t !== null;
      }) as Tensor[];
    const probe = withAmbient({ noGrad: true }, () => rule(saved, ys.map((y) => y.zerosLike())));
    const tangents = probe.flatMap((t, i) => t === null ? [] : [dx[i] ?? xs[i].zerosLike()]);
    return tangents.length === 0 ? ys.map(() => null) : transpose(backward, ys, tangents);
  },
  batch: batchRule(() => withVjp),
});

const withJvp: Tuple = define({
  family: "tuple",
  name: "customJvp",
  tex: ([x]) => `f(${x})`,
  texPullbacks: (x, y) => x.map(() => `\\operatorname{rule}^\\top(\\bar{${y}})`),
  key: counts,
  outputs: (x, p) => results(x, p),
  expand: (x, p: RuleCall) => x.slice(p.nx, p.nx + p.ny),
  jvp: (dx, { x, p }) => {
    const { nx, rule } = p as RuleCall;
    const xs = x.slice(0, nx);
    return rule(xs, xs.map((t, i) => dx[i] ?? t.zerosLike()));
  },
  vjp: (cts, { x, p }) => {
    const { nx, ny, rule } = p as RuleCall;
    const xs = x.slice(0, nx), ys = x.slice(nx, nx + ny);
    const floats = xs.filter((t) => isFloat(t.dtype));
    const push = (dx: Tensor[]): Tensor[] => {
      let at = 0;
      return rule(xs, xs.map((t) => isFloat(t.dtype) ? dx[at++] : t.zerosLike())).map((t, i) =>
        t ?? ys[i].zerosLike()
      );
    };
    const back = transpose(push, floats, cts.map((ct, i) => ct ?? ys[i].zerosLike()));
    let at = 0;
    return [...xs.map((t) => isFloat(t.dtype) ? back[at++] : null), ...x.slice(nx).map(() => null)];
  },
  batch: batchRule(() => withJvp),
});

function checkLike(action: string, list: (Tensor | null)[], like: Tensor[]): void {
  if (list.length !== like.length) {
    throw new RangeError(`Cannot ${action}: the rule gave ${list.length} parts for ${like.length}`);
  }
  list.forEach((t, i) => {
    if (t !== null && !sameShape(t.shape, like[i].shape)) {
      throw new RangeError(
        `Cannot ${action}: the rule gave shape ${showShape(t.shape)} for one of shape ${
          showShape(like[i].shape)
        }`,
      );
    }
  });
}

/**
 * A function with a reverse rule of its own. `forward` gives the result and what the rule needs later;
 * `backward(saved, ct)` gives an array with the cotangent of each argument (`null`: none). All modes and orders
 * follow: forward mode transposes the rule, which is linear in the cotangent.
 *
 * ```ts
 * import { customVjp, grad, tensor, type Tensor } from "@cotangent/cotangent";
 * // e^x whose gradient is clipped to 1.
 * const exp = customVjp((x: Tensor) => [x.exp(), [x]], ([x], ct: Tensor) => [ct.mul(x.exp().clamp(-1, 1))]);
 * console.log(await grad(exp)(tensor(2)).item()); // 1
 * ```
 */
// deno-lint-ignore no-explicit-any
export function customVjp<A extends any[], Y extends Tree, S extends Tree>(
  forward: (...x: A) => [Y, S],
  backward: (saved: S, ct: Y) => Tree[],
): (...x: A) => Y {
  return (...args) => {
    const xs = flatten(args, "call a function with a custom rule on");
    // The inside is of no interest to any derivative: the rule stands for it.
    const [y, saved] = forward(...xs.rebuild(xs.leaves) as A);
    const ys = flatten(y, "return"), ss = flatten(saved, "save");
    const rule: RuleCall["rule"] = (savedLeaves, cts) => {
      const parts = backward(ss.rebuild(savedLeaves), ys.rebuild(cts));
      if (!Array.isArray(parts) || parts.length !== args.length) {
        throw new RangeError(
          `Cannot pull back through a custom rule: backward must return an array with one cotangent for each of ${args.length} arguments`,
        );
      }
      const out = someLeavesLike("pull back through a custom rule", parts, xs);
      checkLike("pull back through a custom rule", out, xs.leaves);
      return out;
    };
    const p: RuleCall = { nx: xs.leaves.length, ny: ys.leaves.length, rule };
    return ys.rebuild(tupleOutputs(withVjp, [...xs.leaves, ...ys.leaves, ...ss.leaves], p));
  };
}

/** A function with a forward rule of its own: `rule(primals, tangents)` gives the tangent of the result; it must be linear in the tangents. */
// deno-lint-ignore no-explicit-any
export function customJvp<A extends any[], Y extends Tree>(
  f: (...x: A) => Y,
  rule: (primals: A, tangents: A) => Y,
): (...x: A) => Y {
  return (...args) => {
    const xs = flatten(args, "call a function with a custom rule on");
    const ys = flatten(f(...args), "return");
    const p: RuleCall = {
      nx: xs.leaves.length,
      ny: ys.leaves.length,
      rule: (primals, tangents) =>
        someLeavesLike(
          "push forward through a custom rule",
          rule(xs.rebuild(primals) as A, xs.rebuild(tangents) as A),
          ys,
        ),
    };
    return ys.rebuild(tupleOutputs(withJvp, [...xs.leaves, ...ys.leaves], p));
  };
}

/**
 * A function whose backward pass is the identity: the straight-through estimator of Bengio et al. (2013). Apply it
 * to the discrete step alone, as in `straightThrough((w) => w.round())(w)`.
 */
export function straightThrough(f: (x: Tensor) => Tensor): (x: Tensor) => Tensor {
  return customVjp((x: Tensor): [Tensor, Tensor[]] => {
    const y = noGrad(() => f(x));
    if (!sameShape(y.shape, x.shape)) {
      throw new RangeError(
        `Cannot pass straight through from shape ${showShape(x.shape)} to ${
          showShape(y.shape)
        }: they must be equal`,
      );
    }
    return [y, []];
  }, (_, ct: Tensor) => [ct]);
}
