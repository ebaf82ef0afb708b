/** What tuples have recorded inside (the body of a loop, a checkpointed segment, branches), opened for a picture. */
import { alias, placeholder } from "../ops/definitions/structural.ts";
import { Node } from "../ops/node.ts";
import type { Body } from "../ops/primitive.ts";
import { nodeNames } from "../ops/tensor.ts";
import { formatNumber } from "./parts.ts";

/** A recorded function inside a tuple, as nodes of its own. */
export interface Opened {
  readonly tuple: Node;
  readonly label: string;
  /** What it computes. */
  readonly interior: ReadonlySet<Node>;
  /** What it gives. */
  readonly outputs: readonly Node[];
  /** Those of them that the next step begins with. */
  readonly carried: readonly Node[];
  /** Nodes that pass operands in, with the place of the operand. */
  readonly holes: ReadonlyMap<Node, number>;
  /** What a hole is called where it is another value in each step, and so has none to show. */
  readonly each: ReadonlyMap<Node, string>;
}

/** What a node is drawn with in place of its operands, and the bodies to draw. */
export interface Inside {
  readonly inputs: readonly Node[];
  readonly bodies: readonly Opened[];
  /** When each of these is the value, by its place; empty where it always is. */
  readonly labels: readonly string[];
  /** What the outputs of the tuple are called, by their place. */
  readonly results: readonly string[];
  /** `5 steps`, for a loop. */
  readonly times: string;
}

/** What is inside of a tuple's node; `null` for one that has no recorded function. */
export function insideOf(tuple: Node): Inside | null {
  if (tuple.op.family !== "tuple" || tuple.inputs.length === 0) return null;
  const list = tuple.op.bodies?.(tuple.p) ?? [];
  if (list.length === 0) return null;
  const [{ times = 0, results = [] }] = list, shown = list.filter(({ again }) => !again);
  const bodies = shown.map((body) => open(tuple, body));
  // A predicate is in no branch.
  const others = tuple.inputs.filter((_, i) => list.every(({ operands }) => !operands.includes(i)));
  const own: [Node, string][] = shown.length === 0
    ? list.flatMap((body) => used(tuple, body).map((x): [Node, string] => [x, ""]))
    : bodies.flatMap(({ outputs, label }) => outputs.map((y): [Node, string] => [y, label]));
  const inputs: [Node, string][] = [...others.map((x): [Node, string] => [x, ""]), ...own];
  return {
    inputs: inputs.map(([x]) => x),
    labels: inputs.map(([, label]) => label),
    results,
    bodies,
    times: times === 0 ? "" : `${formatNumber(times)} step${times === 1 ? "" : "s"}`,
  };
}

/** The operands that a body reads. */
function used(tuple: Node, { program, operands }: Body): Node[] {
  const read = new Set<Node>([
    ...program.outputs,
    ...program.interior.flatMap((_, k) => program.operandsOf(k)),
  ]);
  return [...program.params, ...program.consts].flatMap((inner, i) =>
    operands[i] >= 0 && read.has(inner) ? [tuple.inputs[operands[i]]] : []
  );
}

function open(tuple: Node, { label, program, operands, holes: names, carried = 0 }: Body): Opened {
  const to = new Map<Node, Node>(), holes = new Map<Node, number>(), each = new Map<Node, string>();
  [...program.params, ...program.consts].forEach((inner, i) => {
    const place = operands[i], name = names?.[i] ?? null;
    if (place < 0) {
      to.set(inner, inner);
      return;
    }
    const like = name === null ? tuple.inputs[place] : inner, op = name === null ? alias : placeholder;
    const hole = copyOf(inner, op, [tuple.inputs[place]], like);
    if (name !== null) each.set(hole, name);
    holes.set(hole, place);
    to.set(inner, hole);
  });
  // Nothing but a picture sees these nodes: no derivative is interested in them, and no run waits for them.
  program.interior.forEach((node, k) => {
    const inputs = program.operandsOf(k).map((x) => to.get(x)!), copy = copyOf(node, node.op, inputs, node);
    const name = nodeNames.get(node);
    if (name !== undefined) nodeNames.set(copy, name);
    copy.scope = node.scope;
    to.set(node, copy);
  });
  const outputs = program.outputs.map((y) => to.get(y)!);
  return {
    tuple,
    label,
    interior: new Set(program.interior.map((n) => to.get(n)!)),
    outputs,
    carried: outputs.slice(0, carried),
    holes,
    each,
  };
}

function copyOf(node: Node, op: Node["op"], inputs: readonly Node[], { shape, dtype }: Node): Node {
  const copy = new Node(op, inputs, op === node.op ? node.p : null, shape, dtype, node.device, 0, 0, true);
  copy.scope = null;
  return copy;
}
