/** vmap: a function of one example as a function of a batch, by rewriting its graph. */
import { arange } from "../create.ts";
import { foldKey } from "../definitions/random.ts";
import { passOn } from "../definitions/structural.ts";
import { apply, type Trace, wrap } from "../node.ts";
import { showShape } from "../shape.ts";
import { Tensor } from "../tensor.ts";
import { record } from "./program.ts";
import { checkFunction, type Flat, flatten, type Tree } from "./tree.ts";

/** Where the batch axis of an argument or result is; `null`: it has none and is shared. */
export type Axis = number | null;

/** An axis for all tensors of a tree, or a tree of them. */
export type AxisTree = Axis | readonly AxisTree[] | { readonly [key: string]: AxisTree };

/** Options of `vmap`. */
export interface VmapOptions {
  /** Batch axis of all arguments, or a list with that of each; for trees, a tree of axes. Default 0. */
  inAxes?: AxisTree;
  /** Batch axis of the results, or a tree of them. Default 0. */
  outAxes?: AxisTree;
  /** What random numbers inside are: refused (default), the same for all elements, or different. */
  randomness?: "error" | "same" | "different";
}

/** The axis that a tree of axes has for the leaf at `path`, as in `.layers[0].weight`. */
function axisAt(axes: AxisTree, path: string): Axis {
  let at: AxisTree | undefined = axes;
  for (const key of path.match(/[^.[\]]+/g) ?? []) {
    if (typeof at !== "object" || at === null) break;
    at = (at as Record<string, AxisTree>)[key];
  }
  if (at !== null && typeof at !== "number") {
    throw new TypeError(
      `Cannot vmap: there is no axis for the tensor at ${
        path || "the top"
      }; give a number, null, or a tree of them`,
    );
  }
  return at;
}

/**
 * Maps a function over a batch axis: `vmap(f)(xs)` is f of each element of xs, stacked, computed at once.
 *
 * ```ts
 * import { grad, tensor, vmap, type Tensor } from "@cotangent/cotangent";
 * const df = grad((x: Tensor) => x.pow(3));
 * console.log(await vmap(df)(tensor([1, 2, 3])).toArray()); // [3, 12, 27]
 * ```
 */
// deno-lint-ignore no-explicit-any
export function vmap<A extends any[], Y extends Tree>(
  f: (...x: A) => Y,
  options: VmapOptions = {},
): (...x: A) => Y {
  checkFunction("vmap", f);
  const { inAxes = 0, outAxes = 0, randomness = "error" } = options;
  return (...args) => {
    const axes = args.map((_, i): AxisTree => Array.isArray(inAxes) ? inAxes[i] ?? null : inAxes);
    const flats = args.map((a) => flatten(a, "vmap over"));
    let B = -1;
    const batchedLeaves: Tensor[] = [];
    const flags: boolean[] = [];
    flats.forEach((flat, i) =>
      flat.leaves.forEach((t, k) => {
        const axis = axisAt(axes[i], flat.paths[k]);
        flags.push(axis !== null);
        if (axis === null) return void batchedLeaves.push(t);
        if (t.rank === 0) {
          throw new RangeError(
            `Cannot vmap over axis ${axis} of a scalar (argument ${i}): say inAxes null for arguments that are shared`,
          );
        }
        const n = t.shape[axis < 0 ? axis + t.rank : axis];
        if (B >= 0 && n !== B) {
          throw new RangeError(
            `Cannot vmap over batches of different lengths: argument ${i} has ${n} elements along axis ${axis}, others have ${B}`,
          );
        }
        B = n;
        batchedLeaves.push(t.movedim(axis, 0));
      })
    );
    if (B < 0) throw new RangeError("Cannot vmap: no argument has a batch axis");
    const device = batchedLeaves[0].device;
    const avals = batchedLeaves.map((t, i) => ({
      shape: flags[i] ? t.shape.slice(1) : t.shape,
      dtype: t.dtype,
      track: t.node.track,
    }));
    // One more hole: the number of the element, for random keys.
    avals.push({ shape: [], dtype: "i32", track: 0 });
    let element: Tensor | null = null;
    let made: Flat;
    const { program, effects } = record(avals, (params) => {
      element = params[params.length - 1];
      let at = 0;
      const xs = flats.map((flat) => flat.rebuild(params.slice(at, at += flat.leaves.length))) as A;
      const y = f(...xs);
      if ((y as unknown) instanceof Promise) return y as never;
      made = flatten(y, "vmap a function that returns");
      return made.leaves;
    }, {
      kind: "vmap",
      device,
      randomness,
      foldKey: (key, _: Trace) => randomness === "different" ? apply(foldKey, [key, element!]) : key,
    });
    const inputs = [...batchedLeaves, arange(B, { dtype: "i32", device }), ...program.consts.map(wrap)];
    const result = program.batched(inputs, [...flags, true, ...program.consts.map(() => false)], B);
    const n = result.outputs.length - effects.length;
    effects.forEach((handle, i) => handle.assign(result.outputs[n + i], "vmap"));
    return made!.rebuild(
      result.outputs.slice(0, n).map((output, i) => {
        // An argument that is passed on stays the caller's, whatever becomes of the result.
        const t = inputs.some(({ node }) => node === output.node)
          ? new Tensor(passOn(output.node, output.node.track))
          : output;
        const axis = axisAt(outAxes, made.paths[i]);
        if (axis === null) {
          if (!result.flags[i]) return t;
          throw new RangeError(
            `Cannot vmap with outAxes null: the result at ${
              made.paths[i] || "the top"
            } is different for each element`,
          );
        }
        const whole = result.flags[i] ? t : t.expand([B, ...t.shape]);
        if (axis >= whole.rank || axis < -whole.rank) {
          throw new RangeError(
            `Cannot put the batch axis at ${axis} of a result of shape ${showShape(whole.shape)}`,
          );
        }
        return whole.movedim(0, axis);
      }),
    );
  };
}
