/** Rules of a fused op from its definition in terms of others: for derivatives that have no kernel of their own. */
import type { Attributes, JvpRule, VjpRule } from "../primitive.ts";
import type { Tensor } from "../tensor.ts";
import { jvp, vjp } from "./functional.ts";

/** An op in terms of others. */
export type Definition = (x: Tensor[], p: Attributes) => Tensor;

/** The definition as a function of some of its operands. */
function of(f: Definition, x: Tensor[], at: number[], p: Attributes): (...w: Tensor[]) => Tensor {
  return (...w) => {
    const all = [...x];
    at.forEach((i, k) => all[i] = w[k]);
    return f(all, p);
  };
}

/** The pullback of a definition. */
export function vjpOf(f: Definition): VjpRule {
  return (ct, { x, p, needs }) => {
    const at = needs.flatMap((need, i) => need ? [i] : []);
    const [, pullback] = vjp(of(f, x, at, p), ...at.map((i) => x[i]));
    const parts = pullback(ct) as Tensor[];
    return x.map((_, i) => at.includes(i) ? parts[at.indexOf(i)] : null);
  };
}

/** The pushforward of a definition. */
export function jvpOf(f: Definition): JvpRule {
  return (dx, { x, p }) => {
    const at = dx.flatMap((d, i) => d === null ? [] : [i]);
    return jvp(of(f, x, at, p), at.map((i) => x[i]), at.map((i) => dx[i]!))[1];
  };
}
