/** Leaves, and nodes that pass a value through and mean something to transforms only. */
import type { Device } from "../ambient.ts";
import { type DType, isFloat } from "../dtype.ts";
import { identity } from "../families.ts";
import { apply, makeLeaf, makeNode, Node, nodeOf, wrap } from "../node.ts";
import { type Attributes, type Aval, define, type Leaf, type Output, type Tuple } from "../primitive.ts";
import type { Tensor } from "../tensor.ts";

/** Data given by the user; always realised. */
export const data: Leaf = define({ family: "leaf", name: "data", tex: () => "x" });

/** A number; its value `p.value` is data, never structure. */
export const constant: Leaf = define({
  family: "leaf",
  name: "constant",
  tex: (_, p) => `${p.value}`,
  key: () => "",
});

/** The key of one random op: seed and count `p.value`, taken when the node was made; under jit taken anew each call. */
export const randomKey: Leaf = define({ family: "leaf", name: "randomKey", tex: () => "key", key: () => "" });

/** A hole, to be filled when a recorded graph is applied. */
export const placeholder: Leaf = define({ family: "leaf", name: "placeholder", tex: () => "\\square" });

/** The same value under a new name: isolates the inputs of transforms, marks module outputs. */
export const alias = identity({ name: "alias", tex: ([x]) => x, texPartials: () => ["1"] });

/** The same value, no derivative. */
export const detach = identity({
  name: "detach",
  tex: ([x]) => `\\operatorname{sg}(${x})`,
  texPartials: () => ["0"],
  vjp: () => [null],
  jvp: () => null,
});

/** The first operand, once the others are there: keeps rebuilt segments apart from the originals. */
export const barrier = identity({
  name: "barrier",
  tex: ([x]) => x,
  texPartials: (x) => x.map((_, i) => i === 0 ? "1" : "0"),
  jvp: ([dx]) => dx,
  batch: (x, batched, p, B) =>
    apply(barrier, batched[0] ? x : [x[0].expand([B, ...x[0].shape]), ...x.slice(1)], p),
});

/** One output of a tuple. */
export const output: Output = define({ family: "output", name: "output", tex: ([x], p) => `${x}_{${p.i}}` });

/** All outputs of a tuple's node. */
export function outputsOf(tuple: Node): Tensor[] {
  const { outputs } = tuple.op as Tuple;
  return outputs(tuple.inputs, tuple.p).map((_, i) => wrap(makeNode(output, [tuple], { i })));
}

/** Applies a tuple primitive and picks all its outputs. */
export function tupleOutputs(op: Tuple, x: readonly Tensor[], p: Attributes): Tensor[] {
  return outputsOf(makeNode(op, x.map(nodeOf), p));
}

/** A scalar constant. */
export function constantNode(value: number, dtype: DType, device: Device): Node {
  return makeLeaf(constant, { value }, { shape: [], dtype }, device);
}

/** A placeholder of a shape and type. */
export function placeholderNode(aval: Aval, device: Device, track = 0): Node {
  return makeLeaf(placeholder, null, { shape: aval.shape, dtype: aval.dtype }, device, track);
}

/** An alias with a track of its own; `cut` makes it a constant to everything outside. */
export function aliasNode(x: Node, track: number, cut = false): Node {
  const base = makeNode(alias, [x], null, cut);
  const node = new Node(
    alias,
    base.inputs,
    null,
    x.shape,
    x.dtype,
    x.device,
    cut || !isFloat(x.dtype) ? 0 : track,
    base.depth,
    cut,
  );
  node.value = x.value;
  return node;
}

const lent = new WeakSet<Node>();

/** An alias that leaves a transform: of what has a value already it is another's, which disposing of it leaves alone. */
export function passOn(x: Node, track: number, cut = false): Node {
  const node = aliasNode(x, track, cut);
  if (node.value !== null) lent.add(node);
  return node;
}

/** Whether the value of a node is that of another, which it only passes on. */
export function isLent(node: Node): boolean {
  return lent.has(node);
}
