/** Anomaly mode: which op made the first NaN or infinity, from what, and at which line. */
import { type AnomalyLog, withAmbient } from "./ambient.ts";
import { isFloat, type TypedArray } from "./dtype.ts";
import { inPlaceOf, type Node, wrap } from "./node.ts";
import { readNodes } from "./runs.ts";
import { broadcastStrides, type Shape, showShape, stridesOf } from "./shape.ts";
import { texText } from "./tex.ts";

/** Names the op that made the first value which is not finite. */
export class AnomalyError extends Error {
  /** The error's name. */
  override name = "AnomalyError";
  /** Made by `detectAnomaly`. */
  constructor(
    message: string,
    /** The op. */
    readonly op: string,
    /** Its formula in LaTeX. */
    readonly formula: string,
    /** The line of the user's program that made it, or "". */
    readonly line: string,
    /** Whether it was made by the backward pass of that op. */
    readonly backward: boolean,
  ) {
    super(message);
  }
}

/**
 * Runs `f` and throws an {@linkcode AnomalyError} at the first op, forward or backward, that turned finite operands
 * into NaN or infinity, also where `f` itself throws (the error's `cause`). Keeps a stack for every op and computes every intermediate: slow, for finding a fault.
 */
export async function detectAnomaly<T>(f: () => T | Promise<T>): Promise<T> {
  const log: Log = { made: new Map(), backwardOf: null, stack: null };
  const find = () => firstFault(log, [...log.made.keys()]);
  let result: T;
  try {
    result = await withAmbient({ anomaly: log }, f);
  } catch (cause) {
    // What ended it, as a loss of NaN ends fit, may come from an anomaly; a failed run has no values to look at.
    const error = await find().catch(() => null);
    if (error === null) throw cause;
    error.cause = cause;
    throw error;
  }
  const error = await find();
  if (error !== null) throw error;
  return result;
}

interface Log extends AnomalyLog {
  readonly made: Map<Node, { inputs: readonly Node[]; stack: string; backwardOf: Node | null }>;
}

/** Operands as they were when `node` was made; those of the whole tuple for one of its outputs. */
function operandsOf(log: Log, node: Node): readonly Node[] {
  const inputs = log.made.get(node)?.inputs ?? node.inputs;
  return node.op.family === "output" && inputs.length > 0 ? operandsOf(log, inputs[0]) : inputs;
}

/** The first of `nodes`, in order, that is not finite though all its operands are. */
async function firstFault(log: Log, nodes: readonly Node[]): Promise<AnomalyError | null> {
  const isOpen = openness(log);
  const hasValue = (n: Node): boolean => !isOpen(n) && n.op.family !== "tuple" && isFloat(n.dtype);
  const checked = nodes.filter(hasValue);
  if (checked.length === 0) return null;
  const all = [...new Set([...checked, ...checked.flatMap((n) => operandsOf(log, n)).filter(hasValue)])];
  const values = await readNodes(all);
  const valueOf = new Map(all.map((n, i) => [n, values[i]]));
  const places = new Map(all.map((n, i) => [n, values[i].findIndex((v: number) => !Number.isFinite(v))]));
  const placeIn = (n: Node): number => places.get(n) ?? -1;
  for (const node of checked) {
    const at = placeIn(node);
    if (at < 0 || operandsOf(log, node).some((x) => placeIn(x) >= 0)) continue;
    const tuple = node.op.family === "output" ? log.made.get(node)?.inputs[0] : undefined;
    if (tuple?.op.family === "tuple") {
      // What is in it says more.
      const { op, p } = tuple, known = log.made.size, inputs = operandsOf(log, node).map(wrap);
      withAmbient({ anomaly: log, noGrad: true }, () => inPlaceOf(tuple, () => op.expand(inputs, p)));
      const inside = await firstFault(log, [...log.made.keys()].slice(known));
      if (inside !== null) return inside;
    }
    return anomaly(log, node, tuple ?? node, at, valueOf);
  }
  return null;
}

/** Tells the nodes that lead to a placeholder and so have no value. */
function openness(log: Log): (node: Node) => boolean {
  const known = new Map<Node, boolean>();
  return (root) => {
    const stack = [root];
    while (stack.length > 0) {
      const node = stack[stack.length - 1];
      // Not all nodes are in the log: aliases of transforms are not.
      const inputs = node.value !== null ? [] : log.made.get(node)?.inputs ?? node.inputs;
      const unknown = known.has(node) ? undefined : inputs.find((x) => !known.has(x));
      if (unknown !== undefined) {
        stack.push(unknown);
        continue;
      }
      known.set(node, node.op.name === "placeholder" || inputs.some((x) => known.get(x)));
      stack.pop();
    }
    return known.get(root)!;
  };
}

/** `maker` is the tuple that `node` is an output of, or `node` itself. */
function anomaly(
  log: Log,
  node: Node,
  maker: Node,
  at: number,
  valueOf: Map<Node, TypedArray>,
): AnomalyError {
  const { stack, backwardOf } = log.made.get(node)!;
  const letters = ["x", "y", "z", "w"], subject = backwardOf ?? maker, bits = valueOf.get(node)!;
  const operandTex = operandsOf(log, subject).map((_, i) => letters[i] ?? `x_{${i}}`);
  const formula = subject.op.tex(operandTex, subject.p);
  // For the backward pass the forward op's line says more.
  const line = userLine((backwardOf === null ? undefined : log.made.get(backwardOf)?.stack) ?? stack);
  const operands = operandsOf(log, node).map((x, i) => {
    const v = valueOf.get(x);
    return v === undefined
      ? ""
      : `${letters[i] ?? `x${i}`} = ${
        x.shape.length === 0
          ? v[0]
          : node.op.family === "elementwise"
          ? v[placeOf(at, node.shape, x.shape)]
          : showShape(x.shape)
      }`;
  }).filter((s) => s !== "").join(", ");
  const what = Number.isNaN(bits[at]) ? "NaN" : "infinity";
  const where = backwardOf === null
    ? `${maker.op.name} made the first ${what}`
    : `the backward pass of ${backwardOf.op.name} made the first ${what} (in ${maker.op.name})`;
  return new AnomalyError(
    `${where}: ${texText(formula)}, shape ${showShape(node.shape)}, element ${at}${
      operands ? `, with ${operands}` : ""
    }` +
      (line ? `\n  made at ${line}` : ""),
    subject.op.name,
    formula,
    line,
    backwardOf !== null,
  );
}

/** Where an operand of `shape` has what an elementwise op reads for the element at `at` of its result. */
function placeOf(at: number, result: Shape, shape: Shape): number {
  const strides = broadcastStrides({ shape, strides: stridesOf(shape) }, result);
  return stridesOf(result).reduce((place, n, a) => place + Math.floor(at / n) % result[a] * strides[a], 0);
}

const PACKAGE = new URL("..", import.meta.url).href;
const ROOMS = ["ops/", "nn/", "gpu/", "display/"].map((r) => PACKAGE + r);

/** The innermost line of a stack that is not this package's. */
export function userLine(stack: string): string {
  for (const line of stack.split("\n").slice(1)) {
    const place =
      /\(?((?:file|https?|blob|data|jsr|npm|ext):[^)\s]+|<anonymous>:[^)\s]+|[^\s()]+:\d+:\d+)\)?$/.exec(
        line.trim(),
      )?.[1];
    if (
      place === undefined || place.startsWith("ext:") || place.startsWith("node:") ||
      ROOMS.some((r) => place.startsWith(r))
    ) continue;
    return place;
  }
  return "";
}
