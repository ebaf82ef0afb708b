/** The imperative side of reverse mode: `loss.backward()` fills the `.grad` of leaves. */
import { ambient, type TidyList, withAmbient } from "../ambient.ts";
import { isFloat } from "../dtype.ts";
import { BY_BACKWARD, currentTrace, nextSerial, type Node, nodeOf } from "../node.ts";
import { checkInterruption, flush, registerRoot } from "../runs.ts";
import { sameShape, showShape } from "../shape.ts";
import { type BackwardOptions, setBackward, Tensor } from "../tensor.ts";
import { passOn } from "../definitions/structural.ts";
import { reverse } from "./reverse.ts";
import { flatten, type Tree } from "./tree.ts";

/** Gradients that were built without their own graph. */
const plainGradients = new WeakSet<Node>();

/** Whether a tensor was computed from gradients that have no graph of their own. */
function isOfGradients(root: Node): boolean {
  const stack = [root], seen = new Set(stack);
  while (stack.length > 0) {
    const node = stack.pop()!;
    if (plainGradients.has(node)) return true;
    for (const x of node.inputs) {
      if (seen.has(x)) continue;
      seen.add(x);
      stack.push(x);
    }
  }
  return false;
}

function backward(root: Tensor, cotangent: Tensor | undefined, options: BackwardOptions): void {
  if (!root.requiresGrad) {
    if (isOfGradients(root.node)) {
      throw new Error(
        "Cannot call backward on what was computed from gradients: they have no graph of their own. Keep it where they " +
          "are made, as in loss.backward(undefined, { createGraph: true }), or use grad(grad(f)), hessian or hvp",
      );
    }
    throw new Error(
      `Cannot call backward on a tensor that does not require gradients: no tensor with requiresGrad = true leads to it` +
        (isFloat(root.dtype) ? "" : ` (its type is ${root.dtype})`),
    );
  }
  let seed = cotangent;
  if (seed === undefined) {
    if (root.size !== 1) {
      throw new RangeError(
        `Cannot call backward on a tensor of shape ${
          showShape(root.shape)
        } without a cotangent: gradients are of scalars. ` +
          `Reduce it first, as in y.sum().backward(), or pass a cotangent of that shape`,
      );
    }
    seed = root.onesLike();
  } else if (!sameShape(seed.shape, root.shape)) {
    throw new RangeError(
      `Cannot call backward with a cotangent of shape ${
        showShape(seed.shape)
      }: it must have the tensor's shape ${showShape(root.shape)}`,
    );
  } else if (seed.dtype !== root.dtype) seed = seed.to(root.dtype);
  let visit: ((node: Node, ct: Tensor) => void) | null = null;
  if (currentTrace() === null) {
    checkInterruption(); // before anything is changed
    visit = ambient().watch?.backward(root, seed) ?? null; // while nodes still have their operands
    flush(); // what the last step left
  }
  const handles = options.inputs === undefined ? null : new Map(options.inputs.map((t) => [nodeOf(t), t]));
  const isTarget = (node: Node) => {
    if (handles === null ? node.cell !== null : handles.has(node)) return true;
    if (node.op.name === "placeholder") refuseHole(node);
    return false;
  };
  const node = nodeOf(root);
  const found = withAmbient(
    options.createGraph ? { noGrad: false } : { noGrad: true },
    () =>
      reverse([node], [seed], {
        mask: BY_BACKWARD,
        isTarget,
        zeros: true,
        ...(visit === null ? {} : { visit }),
      }),
  );
  const given = new Set<Node>();
  /** A cotangent as a gradient of its own: what is the caller's, or another tensor's gradient, stays theirs. */
  const own = (ct: Tensor): Tensor => {
    const y = nodeOf(ct), isOwn = y.value === null && !given.has(y);
    given.add(y);
    return new Tensor(isOwn ? y : passOn(y, y.track));
  };
  withAmbient({ noGrad: !options.createGraph }, () => {
    for (const [leaf, ct] of found) {
      const handle = handles?.get(leaf) ?? leaf.cell!;
      const before = handle.grad;
      const grad = before === null ? own(ct) : before.add(ct);
      grad.name = handle.name === null ? null : `${handle.name}.grad`;
      handle.grad = grad;
      if (!options.createGraph) plainGradients.add(grad.node);
      if (currentTrace() === null) registerRoot(grad.node);
    }
  });
  if (currentTrace() === null) registerRoot(node);
}

/** A hole for a tensor with a graph of its own: gradients would end here instead of reaching its parameters. */
function refuseHole(node: Node): void {
  const kind = currentTrace()?.kind;
  if (kind === undefined) return;
  throw new Error(
    `Cannot call backward inside ${kind} through a tensor of shape ${
      showShape(node.shape)
    } that was computed ` +
      `outside from parameters: compute it inside, take it in with x.detach(), or call backward outside`,
  );
}

setBackward(backward);

/** Runs `f` without recording gradients: tensors made inside are constants to `backward` and to outer transforms. */
export function noGrad<T>(f: () => T): T {
  return withAmbient({ noGrad: true }, f);
}

/** Records gradients again inside `noGrad`. */
export function enableGrad<T>(f: () => T): T {
  return withAmbient({ noGrad: false }, f);
}

/**
 * Runs `f` and gives back at once the memory of what was made inside, but for the tensors of the tree that it returns,
 * for gradients and for assigned values. Nobody needs it: what is unreachable is freed anyway, a little later.
 */
export function tidy<T extends Tree>(f: () => T): T {
  const list: TidyList = { made: [], escaped: [] }, start = nextSerial();
  const result = withAmbient({ tidy: list }, f);
  if ((result as unknown) instanceof Promise) {
    (result as Promise<unknown>).catch(() => {});
    throw new TypeError(
      "Cannot tidy an asynchronous function: what is still needed after an await cannot be known",
    );
  }
  if (currentTrace() !== null) return result; // placeholders hold no memory
  const kept = [
    ...flatten(result, "tidy a function that returns").leaves.map((t) => t.node),
    ...list.escaped as Node[],
  ];
  flush(kept);
  const values = new Set(kept.map((node) => node.value));
  for (const t of list.made as Tensor[]) {
    if (t.node.serial >= start && !values.has(t.node.value)) t.dispose(); // rules make handles of older nodes, too
  }
  return result;
}
