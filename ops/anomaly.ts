/** Anomaly mode: which op made the first NaN or infinity, from what, and at which line. */
import { type AnomalyLog, withAmbient } from "./ambient.ts";
import { isFloat, type TypedArray } from "./dtype.ts";
import type { Node } from "./node.ts";
import { readNodes } from "./runs.ts";
import { showShape } from "./shape.ts";
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
 * into NaN or infinity. Keeps a stack for every op and computes every intermediate: slow, for finding a fault.
 */
export async function detectAnomaly<T>(f: () => T | Promise<T>): Promise<T> {
  const log: AnomalyLog = { entries: [], backwardOf: null };
  const result = await withAmbient({ anomaly: log }, f);
  const entries = log.entries as { node: Node; stack: string; backwardOf: Node | null }[];
  const open = openNodes(entries.map((e) => e.node));
  const checked = entries.filter(({ node }) =>
    !open.has(node) && node.op.family !== "tuple" && isFloat(node.dtype)
  );
  if (checked.length === 0) return result;
  // Reading lets nodes go of their operands.
  const subjects = checked.flatMap(({ node, backwardOf }) =>
    backwardOf === null ? [node] : [node, backwardOf]
  );
  const inputsBefore = new Map(subjects.map((node) => [node, [...node.inputs]]));
  const operands = [...new Set(checked.flatMap(({ node }) => node.inputs))]
    .filter((n) => !open.has(n) && n.op.family !== "tuple" && isFloat(n.dtype));
  const all = [...new Set([...checked.map((e) => e.node), ...operands])];
  const values = await readNodes(all);
  const valueOf = new Map(all.map((n, i) => [n, values[i]]));
  for (const { node, stack, backwardOf } of checked) {
    const bits = valueOf.get(node)!, at = bits.findIndex((v: number) => !Number.isFinite(v));
    if (at < 0) continue;
    const inputs = inputsBefore.get(node)!;
    if (inputs.some((x) => valueOf.get(x)?.some((v: number) => !Number.isFinite(v)))) continue;
    // For the backward pass the forward op's line says more.
    const made = backwardOf === null ? stack : entries.find((e) => e.node === backwardOf)?.stack ?? stack;
    const arity = inputsBefore.get(backwardOf ?? node)!.length;
    throw anomaly(node, bits, at, inputs, arity, valueOf, made, backwardOf);
  }
  return result;
}

/** Nodes that lead to a placeholder and so have no value. */
function openNodes(nodes: readonly Node[]): Set<Node> {
  const open = new Set<Node>();
  for (const node of nodes) {
    if (
      node.op.name === "placeholder" || node.inputs.some((x) => open.has(x) || x.op.name === "placeholder")
    ) open.add(node);
  }
  return open;
}

function anomaly(
  node: Node,
  bits: TypedArray,
  at: number,
  inputs: Node[],
  arity: number,
  valueOf: Map<Node, TypedArray>,
  stack: string,
  backwardOf: Node | null,
): AnomalyError {
  const letters = ["x", "y", "z", "w"], subject = backwardOf ?? node;
  const operandTex = Array.from({ length: arity }, (_, i) => letters[i] ?? `x_{${i}}`);
  const formula = subject.op.tex(operandTex, subject.p);
  const line = userLine(stack);
  const operands = inputs.map((x, i) => {
    const v = valueOf.get(x);
    return v === undefined
      ? ""
      : `${letters[i] ?? `x${i}`} = ${
        x.shape.length === 0 ? v[0] : v.length === bits.length ? v[at] : `${showShape(x.shape)}`
      }`;
  }).filter((s) => s !== "").join(", ");
  const what = Number.isNaN(bits[at]) ? "NaN" : "infinity";
  const where = backwardOf === null
    ? `${node.op.name} made the first ${what}`
    : `the backward pass of ${backwardOf.op.name} made the first ${what} (in ${node.op.name})`;
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
