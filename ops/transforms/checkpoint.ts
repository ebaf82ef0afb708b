/** Gradient checkpointing: the backward pass rebuilds a segment instead of keeping its intermediates. */
import { barrier, tupleOutputs } from "../definitions/structural.ts";
import { isFloat } from "../dtype.ts";
import { apply, wrap } from "../node.ts";
import { define, type Tuple } from "../primitive.ts";
import type { Tensor } from "../tensor.ts";
import { jvp, vjp } from "./functional.ts";
import { type Program, record } from "./program.ts";
import { checkFunction, flatten, type Tree } from "./tree.ts";

const segment: Tuple = define({
  family: "tuple",
  name: "checkpoint",
  tex: ([x]) => `\\operatorname{checkpoint}(${x})`,
  texPullbacks: (x, y) =>
    x.map((a) =>
      `\\left(\\frac{\\partial ${y}}{\\partial ${a}}\\right)^\\top \\bar{${y}}\\text{, recomputed}`
    ),
  key: (p) => p.program.key,
  outputs: (_, p) => p.program.outputs,
  flops: (p) => p.program.flops,
  bodies: ({ program }) => [{
    label: "",
    program,
    operands: Array.from({ length: program.params.length + program.consts.length }, (_, i) => i),
  }],
  expand: (x, p) => (p.program as Program).call(x),
  vjp: (cts, { x, p }) => {
    const program = p.program as Program;
    const present = cts.filter((ct) => ct !== null);
    const floats = x.filter((t) => isFloat(t.dtype));
    // Waiting for the cotangents keeps the rebuilt nodes from being taken for the originals.
    const [ys, pullback] = vjp((...xs: Tensor[]) => {
      let at = 0;
      const all = x.map((t) => isFloat(t.dtype) ? xs[at++] : t);
      return program.call(all.map((t) => apply(barrier, [t, ...present])));
    }, ...floats);
    const back = pullback(cts.map((ct, i) => ct ?? ys[i].zerosLike())) as Tensor[];
    let at = 0;
    return x.map((t) => isFloat(t.dtype) ? back[at++] : null);
  },
  // Tangents are checkpointed with their primals.
  jvp: (dx, { x, p }) => {
    const program = p.program as Program, moving = x.flatMap((_, i) => dx[i] === null ? [] : [i]);
    const push = (...both: Tensor[]): Tensor[] => {
      const primals = both.slice(0, x.length), tangents = both.slice(x.length);
      return jvp(
        (...xs: Tensor[]) => {
          const all = [...primals];
          moving.forEach((i, k) => all[i] = xs[k]);
          return program.call(all).filter((t) => isFloat(t.dtype));
        },
        moving.map((i) => primals[i]),
        tangents,
      )[1];
    };
    const tangents = checkpointed(push, [...x, ...moving.map((i) => dx[i]!)]);
    let at = 0;
    return program.outputs.map((y) => isFloat(y.dtype) ? tangents[at++] : null);
  },
  batch: (x, batched, p, B) =>
    checkpointed((...xs) => {
      const { outputs, flags } = (p.program as Program).batched(xs, batched, B);
      return outputs.map((t, i) => flags[i] ? t : t.expand([B, ...t.shape]));
    }, x),
});

function checkpointed(f: (...x: Tensor[]) => Tensor[], x: Tensor[]): Tensor[] {
  const avals = x.map((t) => ({ shape: t.shape, dtype: t.dtype, track: t.node.track }));
  const { program, effects } = record(avals, (params) => f(...params), {
    kind: "checkpoint",
    device: x[0].device,
  });
  const outputs = tupleOutputs(segment, [...x, ...program.consts.map(wrap)], { program });
  const n = outputs.length - effects.length;
  effects.forEach((handle, i) => handle.assign(outputs[n + i], "checkpoint"));
  return outputs.slice(0, n);
}

/**
 * The same function with a backward pass that recomputes its inside instead of keeping it: Chen et al. (2016),
 * "Training deep nets with sublinear memory cost". Random masks repeat themselves; effects happen once.
 */
// deno-lint-ignore no-explicit-any
export function checkpoint<A extends any[], Y extends Tree>(f: (...x: A) => Y): (...x: A) => Y {
  checkFunction("checkpoint", f);
  return (...args) => {
    const flat = flatten(args, "checkpoint a function of");
    if (flat.leaves.length === 0) {
      throw new TypeError("Cannot checkpoint a function of no tensors: there is nothing to recompute from");
    }
    let rebuild: (leaves: readonly Tensor[]) => Tree;
    const outputs = checkpointed((...xs) => {
      const y = f(...flat.rebuild(xs) as A);
      if ((y as unknown) instanceof Promise) return y as never;
      const out = flatten(y, "checkpoint a function that returns");
      rebuild = out.rebuild;
      return out.leaves;
    }, flat.leaves);
    return rebuild!(outputs);
  };
}
