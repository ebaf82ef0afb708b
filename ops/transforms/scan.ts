/** scan: a loop with carried state as one node, differentiable both ways, mapped and nested; rebuilt in segments. */
import { advise } from "../advice.ts";
import { arange } from "../create.ts";
import { cat } from "../definitions/indexing.ts";
import { foldKey } from "../definitions/random.ts";
import { tupleOutputs } from "../definitions/structural.ts";
import { isFloat } from "../dtype.ts";
import { apply, type Node, wrap } from "../node.ts";
import { type Aval, define, type Tuple } from "../primitive.ts";
import { sameShape, showShape } from "../shape.ts";
import type { Tensor } from "../tensor.ts";
import { jvp, vjp } from "./functional.ts";
import { type Program, record } from "./program.ts";
import { checkFunction, flatten, leavesLike, type Tree } from "./tree.ts";

/** The body's holes are `[carry..., x...]` and its constants; outputs are `[carry..., y...]`. */
interface ScanAttributes {
  readonly program: Program;
  /** Lengths: carried tensors, scanned inputs. */
  readonly nC: number;
  readonly nX: number;
  readonly T: number;
  readonly reverse: boolean;
  /** Of a loop over segments: one of their steps, how many each has, and whether it goes on after others. */
  readonly step?: { readonly program: Program; readonly K: number; readonly again?: boolean };
}

/** Inputs are `[carry..., xs..., consts...]`; outputs `[last carry..., ys..., carry before each step...]`. */
const loop: Tuple = define({
  family: "tuple",
  name: "scan",
  tex: ([x]) => `\\operatorname{scan}(${x})`,
  texPullbacks: (x, y) =>
    x.map((a) =>
      `\\sum_t \\left(\\frac{\\partial ${y}_t}{\\partial ${a}}\\right)^\\top \\bar{${y}}_t\\text{, from the last step to the first}`
    ),
  key: (p: ScanAttributes) => `${p.nC},${p.nX},${p.T},${p.reverse},${p.program.key}`,
  flops: ({ program, T }: ScanAttributes) => T * program.flops,
  outputs: (_, { program, nC, T }: ScanAttributes): Aval[] => {
    const stacked = (a: Aval): Aval => ({ shape: [T, ...a.shape], dtype: a.dtype });
    return [
      ...program.outputs.slice(0, nC),
      ...program.outputs.slice(nC).map(stacked),
      ...program.params.slice(0, nC).map(stacked),
    ];
  },
  bodies: ({ program, nC, nX, T, step }: ScanAttributes) => {
    const one = step?.program ?? program;
    const name = (i: number): string =>
      i < nC ? "carry" : i < nC + nX - 1 ? "x of each step" : "number of the step";
    return [{
      label: "",
      program: one,
      operands: [
        ...one.params.map((_, i) => i),
        ...one.consts.map((c) => {
          const place = program.consts.indexOf(c);
          return place < 0 ? -1 : nC + nX + place;
        }),
      ],
      holes: one.params.map((_, i) => name(i)),
      results: [
        ...one.outputs.map((_, i) => i < nC ? "last carry" : "y of all steps"),
        ...one.params.slice(0, nC).map(() => "carry before each step"),
      ],
      carried: nC,
      times: T * (step?.K ?? 1),
      again: step?.again ?? false,
    }];
  },
  // Engines see the loop unrolled; the plan is cached, and dead outputs cost nothing.
  expand: (x, { program, nC, nX, T, reverse }: ScanAttributes) => {
    const [carry, ys, before] = unrolled(program, x, nC, nX, T, reverse);
    return [...carry, ...ys, ...before];
  },
  vjp: (cts, { x, y, p, needs }) => {
    const { program, nC, nX, T, reverse } = p as ScanAttributes;
    const nY = program.outputs.length - nC, nK = x.length - nC - nX;
    const init = x.slice(0, nC), xs = x.slice(nC, nC + nX), consts = x.slice(nC + nX);
    const before = y.slice(nC + nY);
    // Only what is wanted: the loop keeps all its state alive, and a NaN in an unwanted one would spread.
    const floatC = indices(init);
    const floatX = indices(xs).filter((i) => needs[nC + i]),
      floatK = indices(consts).filter((i) => needs[nC + nX + i]);
    // Cotangents that the stacked carries got (from second derivatives) join at each step.
    const ctCarry = floatC.map((i) => cts[i] ?? init[i].zerosLike());
    const ctY = Array.from(
      { length: nY },
      (_, i) => isFloat(program.outputs[nC + i].dtype) ? cts[nC + i] : null,
    );
    const ctBefore = floatC.map((i) => cts[nC + nY + i]);
    const withY = ctY.flatMap((t, i) => t === null ? [] : [i]);
    const withB = ctBefore.flatMap((t, i) => t === null ? [] : [i]);
    const seq = [...before, ...xs, ...withY.map((i) => ctY[i]!), ...withB.map((i) => ctBefore[i]!)];
    const state = [...ctCarry, ...floatK.map((i) => consts[i].zerosLike())];
    const [last, grads] = scanTensors(state, seq, T, !reverse, (s, row) => {
      const c = row.slice(0, nC), xt = row.slice(nC, nC + nX);
      const cy = row.slice(nC + nX, nC + nX + withY.length), cb = row.slice(nC + nX + withY.length);
      const ctc = s.slice(0, floatC.length), ctk = s.slice(floatC.length);
      const primals = [
        ...floatC.map((i) => c[i]),
        ...floatX.map((i) => xt[i]),
        ...floatK.map((i) => consts[i]),
      ];
      const [, pullback] = vjp((...q: Tensor[]) => {
        const cc = [...c], xx = [...xt], kk = [...consts];
        floatC.forEach((i, k) => cc[i] = q[k]);
        floatX.forEach((i, k) => xx[i] = q[floatC.length + k]);
        floatK.forEach((i, k) => kk[i] = q[floatC.length + floatX.length + k]);
        const out = program.call([...cc, ...xx, ...kk]);
        return [...floatC.map((i) => out[i]), ...withY.map((i) => out[nC + i])];
      }, ...primals);
      const back = pullback([...ctc, ...cy]) as Tensor[];
      const nextC = floatC.map((_, k) => {
        const at = withB.indexOf(k);
        return at < 0 ? back[k] : back[k].add(cb[at]);
      });
      const nextK = ctk.map((t, k) => t.add(back[floatC.length + floatX.length + k]));
      return [[...nextC, ...nextK], floatX.map((_, k) => back[floatC.length + k])];
    });
    const out: (Tensor | null)[] = Array(x.length).fill(null);
    floatC.forEach((i, k) => out[i] = last[k]);
    floatX.forEach((i, k) => out[nC + i] = grads[k]);
    floatK.forEach((i, k) => out[nC + nX + i] = last[floatC.length + k]);
    return out.slice(0, nC + nX + nK);
  },
  jvp: (dx, { x, p }) => {
    const { program, nC, nX, T, reverse } = p as ScanAttributes;
    const nY = program.outputs.length - nC;
    const init = x.slice(0, nC), xs = x.slice(nC, nC + nX), consts = x.slice(nC + nX);
    const floatC = indices(init);
    const floatX = indices(xs).filter((i) => dx[nC + i] !== null),
      floatK = indices(consts).filter((i) => dx[nC + nX + i] !== null);
    const floatY = program.outputs.slice(nC).flatMap((y, i) => isFloat(y.dtype) ? [i] : []);
    const tangent = (i: number): Tensor => dx[i] ?? x[i].zerosLike();
    const state = [...init, ...floatC.map(tangent)];
    const seq = [...xs, ...floatX.map((i) => tangent(nC + i))];
    const dk = floatK.map((i) => tangent(nC + nX + i));
    const [last, outs] = scanTensors(state, seq, T, reverse, (s, row) => {
      const c = s.slice(0, nC), xt = row.slice(0, nX);
      const primals = [
        ...floatC.map((i) => c[i]),
        ...floatX.map((i) => xt[i]),
        ...floatK.map((i) => consts[i]),
      ];
      const [value, push] = jvp(
        (...q: Tensor[]) => {
          const cc = [...c], xx = [...xt], kk = [...consts];
          floatC.forEach((i, k) => cc[i] = q[k]);
          floatX.forEach((i, k) => xx[i] = q[floatC.length + k]);
          floatK.forEach((i, k) => kk[i] = q[floatC.length + floatX.length + k]);
          return program.call([...cc, ...xx, ...kk]);
        },
        primals,
        [...s.slice(nC), ...row.slice(nX), ...dk],
      ) as [Tensor[], Tensor[]];
      return [
        [...value.slice(0, nC), ...floatC.map((i) => push[i])],
        [...floatY.map((i) => push[nC + i]), ...floatC.map((_, k) => s[nC + k])],
      ];
    });
    const out: (Tensor | null)[] = Array(nC + nY + nC).fill(null);
    floatC.forEach((i, k) => out[i] = last[nC + k]);
    floatY.forEach((i, k) => out[nC + i] = outs[k]);
    floatC.forEach((i, k) => out[nC + nY + i] = outs[floatY.length + k]);
    return out;
  },
  batch: (x, batched, p: ScanAttributes, B) => {
    const { program, nC, nX, T, reverse } = p;
    const nY = program.outputs.length - nC;
    // All carries are batched: whichever is not becomes so in the loop.
    const init = x.slice(0, nC).map((t, i) => batched[i] ? t : t.expand([B, ...t.shape]));
    const xs = x.slice(nC, nC + nX).map((t, i) => batched[nC + i] ? t.movedim(0, 1) : t);
    const consts = x.slice(nC + nX);
    const flags = [...init.map(() => true), ...batched.slice(nC)];
    const [last, ys, before] = scanTensors(init, xs, T, reverse, (c, row) => {
      const { outputs, flags: out } = program.batched([...c, ...row, ...consts], flags, B);
      const whole = outputs.map((t, i) => out[i] ? t : t.expand([B, ...t.shape]));
      return [whole.slice(0, nC), whole.slice(nC)];
    });
    return [...last, ...ys.slice(0, nY).map((t) => t.movedim(1, 0)), ...before.map((t) => t.movedim(1, 0))];
  },
});

function indices(list: readonly Tensor[]): number[] {
  return list.flatMap((t, i) => isFloat(t.dtype) ? [i] : []);
}

function stackRows(rows: Tensor[]): Tensor {
  const one = rows.map((t) => t.unsqueeze(0));
  return one.length === 1 ? one[0] : apply(cat, one, { axis: 0 });
}

function emptyLike(like: Tensor, a: Aval): Tensor {
  return like.scalarLike(0, a.dtype).expand([0, ...a.shape]);
}

/** The steps one by one: last carries, stacked results, stacked carries before each step. */
function unrolled(
  program: Program,
  x: readonly Tensor[],
  nC: number,
  nX: number,
  T: number,
  reverse: boolean,
): [Tensor[], Tensor[], Tensor[]] {
  const xs = x.slice(nC, nC + nX), consts = x.slice(nC + nX);
  let carry = x.slice(0, nC);
  const ys: Tensor[][] = [], before: Tensor[][] = [];
  for (let k = 0; k < T; k++) {
    const t = reverse ? T - 1 - k : k;
    before[t] = carry;
    const out = program.call([...carry, ...xs.map((s) => s.select(0, t)), ...consts]);
    carry = out.slice(0, nC);
    ys[t] = out.slice(nC);
  }
  const stack = (rows: Tensor[][], avals: readonly Aval[]): Tensor[] =>
    avals.map((a, i) => rows.length === 0 ? emptyLike(x[0], a) : stackRows(rows.map((r) => r[i])));
  return [carry, stack(ys, program.outputs.slice(nC)), stack(before, program.params.slice(0, nC))];
}

/** Records one step; the last hole is the number of the iteration, for random keys. */
function recordStep(
  init: Tensor[],
  xs: Tensor[],
  body: (carry: Tensor[], row: Tensor[]) => [Tensor[], Tensor[]],
): Program {
  const nC = init.length;
  const avals = [
    ...init.map((t) => ({ shape: t.shape, dtype: t.dtype, track: t.node.track | anyTrack(xs) })),
    ...xs.map((t) => ({ shape: t.shape.slice(1), dtype: t.dtype, track: t.node.track })),
    { shape: [], dtype: "i32" as const, track: 0 },
  ];
  let iteration: Tensor | null = null;
  return record(avals, (params) => {
    iteration = params[params.length - 1];
    const result = body(params.slice(0, nC), params.slice(nC, -1));
    if ((result as unknown) instanceof Promise) return result as never;
    const [carry, ys] = result;
    carry.forEach((c, i) => {
      if (!sameShape(c.shape, init[i].shape) || c.dtype !== init[i].dtype) {
        throw new RangeError(
          `Cannot scan: the carry starts with shape ${showShape(init[i].shape)}, ${
            init[i].dtype
          } and goes on with ` +
            `${showShape(c.shape)}, ${c.dtype}; they must be the same`,
        );
      }
    });
    return [...carry, ...ys];
  }, {
    kind: "scan",
    device: (init[0] ?? xs[0]).device,
    foldKey: (key) => apply(foldKey, [key, iteration!]),
  }).program;
}

/** The loop on lists of tensors: `[last carries, stacked results, carries before each step]`. */
function scanTensors(
  init: Tensor[],
  xs: Tensor[],
  T: number,
  reverse: boolean,
  body: (carry: Tensor[], row: Tensor[]) => [Tensor[], Tensor[]],
): [Tensor[], Tensor[], Tensor[]] {
  const steps = arange(T, { dtype: "i32", device: (init[0] ?? xs[0]).device });
  return loopOver(recordStep(init, xs, body), init, [...xs, steps], T, reverse);
}

function loopOver(
  program: Program,
  init: Tensor[],
  xs: Tensor[],
  T: number,
  reverse: boolean,
  step?: ScanAttributes["step"],
): [Tensor[], Tensor[], Tensor[]] {
  const nC = init.length, nY = program.outputs.length - nC;
  const p: ScanAttributes = { program, nC, nX: xs.length, T, reverse, ...step === undefined ? {} : { step } };
  const out = tupleOutputs(loop, [...init, ...xs, ...program.consts.map(wrap)], p);
  return [out.slice(0, nC), out.slice(nC, nC + nY), out.slice(nC + nY)];
}

/** A program of `n` steps, which takes the rows `[n, ...]` at once; what a step draws, it draws here too. */
function segmentOf(program: Program, nC: number, n: number, reverse: boolean): Program {
  const nX = program.params.length - nC, consts = program.consts.map(wrap);
  const avals = program.params.map((a, i) => ({
    shape: i < nC ? a.shape : [n, ...a.shape],
    dtype: a.dtype,
    track: a.track,
  }));
  return record(avals, (params) => {
    const [carry, ys] = unrolled(program, [...params, ...consts], nC, nX, n, reverse);
    return [...carry, ...ys];
  }, { kind: "scan", device: program.params[0].device }).program;
}

/**
 * The loop as one of S segments with K steps each, and one more of what is left. Its derivatives keep the carries
 * before segments and rebuild one segment at a time: S carries and what K steps save, instead of T.
 */
function scanSegments(
  program: Program,
  init: Tensor[],
  xs: Tensor[],
  T: number,
  K: number,
  reverse: boolean,
): [Tensor[], Tensor[]] {
  const nC = init.length, S = Math.floor(T / K), rest = T - S * K;
  const main = xs.map((t) => t.narrow(0, reverse ? rest : 0, S * K).reshape([S, K, ...t.shape.slice(1)]));
  const [carry, ys] = loopOver(segmentOf(program, nC, K, reverse), init, main, S, reverse, { program, K });
  const rows = ys.map((t) => t.reshape([S * K, ...t.shape.slice(2)]));
  if (rest === 0) return [carry, rows];
  const last = xs.map((t) => t.narrow(0, reverse ? 0 : S * K, rest).unsqueeze(0)); // [1, rest, ...]
  const [end, more] = loopOver(segmentOf(program, nC, rest, reverse), carry, last, 1, reverse, {
    program,
    K: rest,
    again: true,
  });
  const joined = rows.map((t, i) => {
    const m = more[i].squeeze(0);
    return apply(cat, reverse ? [m, t] : [t, m], { axis: 0 });
  });
  return [end, joined];
}

/** A slice along axis 0 that does not begin at the start. */
function isLaterPart(node: Node): boolean {
  return node.op.name === "slice" && node.p.starts[0] > 0 && node.inputs.length > 0;
}

/** A number spread over a shape, as zeros are. */
function isFresh(node: Node): boolean {
  const [x] = node.inputs;
  return node.op.name === "constant" ||
    (x !== undefined && (node.op.family === "movement" || node.op.family === "identity") && isFresh(x));
}

function anyTrack(list: readonly Tensor[]): number {
  return list.reduce((m, t) => m | t.node.track, 0);
}

/** Options of `scan`. */
export interface ScanOptions {
  /** Number of steps, where there is nothing to scan over. */
  length?: number;
  /** From the last element to the first. */
  reverse?: boolean;
  /**
   * What reverse mode keeps of T steps. `"sqrt"` (default): the carry before each of about sqrt(T) segments, of which
   * it rebuilds one at a time. `"all"`: each carry, and rebuilds single steps. `false`: everything that the steps
   * compute, and rebuilds nothing. Rebuilding costs one more forward pass.
   */
  checkpoint?: "sqrt" | "all" | false;
}

/**
 * A loop with state: `body(carry, x)` returns `[carry, y]` for each slice x of `xs` along axis 0. Gives the last
 * carry and all y stacked. Carries, inputs and results are trees; the carry keeps its shapes.
 *
 * Reverse mode needs memory for about `2 sqrt(T)` carries, not for what all T steps compute: Chen et al. (2016),
 * "Training deep nets with sublinear memory cost"; `checkpoint` chooses otherwise.
 *
 * ```ts
 * import { scan, tensor, type Tensor } from "@cotangent/cotangent";
 * const [last, sums] = scan((s: Tensor, x: Tensor) => [s.add(x), s.add(x)], tensor(0), tensor([1, 2, 3]));
 * console.log(await last.item(), await sums.toArray()); // 6, [1, 3, 6]
 * ```
 */
export function scan<C extends Tree, X extends Tree, Y extends Tree>(
  body: (carry: C, x: X) => [C, Y],
  init: C,
  xs: X | null,
  options: ScanOptions = {},
): [C, Y] {
  checkFunction("scan", body);
  const carry = flatten(init, "carry"), rows = flatten(xs, "scan over");
  const lengths = rows.leaves.map((t) => {
    if (t.rank === 0) throw new RangeError("Cannot scan over a scalar: the steps are along axis 0");
    return t.shape[0];
  });
  const T = options.length ?? lengths[0];
  if (T === undefined) throw new TypeError("Cannot scan over nothing: give xs, or { length }");
  for (const n of lengths) {
    if (n !== T) throw new RangeError(`Cannot scan over inputs of different lengths ${T} and ${n}`);
  }
  if (carry.leaves.length + rows.leaves.length === 0) throw new TypeError("Cannot scan without any tensor");
  const { reverse = false, checkpoint = "sqrt" } = options;
  if (checkpoint !== "sqrt" && checkpoint !== "all" && checkpoint !== false) {
    throw new TypeError(`Cannot scan with checkpoint ${checkpoint}: it is "sqrt", "all" or false`);
  }
  if (rows.leaves.some((t) => isLaterPart(t.node)) && carry.leaves.every((t) => isFresh(t.node))) {
    advise(
      "scan of a window from a fresh state",
      "this scan begins inside a longer sequence from a state of constants. To truncate the backward pass alone, run the " +
        "whole sequence window by window and carry the state over, detached: carry = treeMap((t) => t.detach(), carry)",
    );
  }
  let rebuildY: ((leaves: readonly Tensor[]) => Tree) | null = null;
  const { leaves } = carry, nC = leaves.length;
  const program = recordStep(leaves, rows.leaves, (c, row) => {
    const result = body(carry.rebuild(c), rows.rebuild(row));
    if ((result as unknown) instanceof Promise) return result as never;
    if (!Array.isArray(result) || result.length !== 2) {
      throw new TypeError("Cannot scan: the body must return [carry, y]");
    }
    const next = leavesLike("scan: the carry changes", result[0], carry), y = flatten(result[1], "stack");
    rebuildY = y.rebuild;
    return [next, y.leaves];
  });
  const all = [...rows.leaves, arange(T, { dtype: "i32", device: program.params[0].device })];
  const K = checkpoint === "sqrt" ? Math.floor(Math.sqrt(T)) : 1;
  const [last, ys] = checkpoint === false
    ? unrolled(program, [...leaves, ...all, ...program.consts.map(wrap)], nC, all.length, T, reverse)
    : K > 1
    ? scanSegments(program, leaves, all, T, K, reverse)
    : loopOver(program, leaves, all, T, reverse);
  return [carry.rebuild(last), rebuildY!(ys)];
}
