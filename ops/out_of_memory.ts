/** The error for what does not fit, with what holds the memory, what made it and what `checkpoint` would save. */
import { ambient, type Device } from "./ambient.ts";
import { userLine } from "./anomaly.ts";
import { bytesOf } from "./cost.ts";
import type { DType } from "./dtype.ts";
import type { RunGraph } from "./lower.ts";
import type { Node } from "./node.ts";
import { type Shape, showShape } from "./shape.ts";

/** What a value is, for reports of memory; a mutable record, since names come later. */
export interface Label {
  /** The op, or the step, that made it. */
  readonly by: string;
  shape: Shape;
  readonly dtype: DType;
  /** That of the parameter whose value it is. */
  name: string | null;
  /** Where it was made, under anomaly detection. */
  readonly stack: string | null;
}

/** The label of a value that a run gives to `node`. */
export function labelOf(node: Node): Label {
  let made = node;
  while (made.op.family === "identity" && made.origin === null && made.inputs.length > 0) {
    made = made.inputs[0];
  }
  const log = ambient().anomaly?.made;
  return {
    by: node.cell?.replacedBy ?? made.op.name,
    shape: node.shape,
    dtype: node.dtype,
    name: node.cell?.name ?? null,
    stack: (log?.get(node) ?? log?.get(made))?.stack ?? null,
  };
}

/** A run, an upload or a new tensor needs more memory than the device has, or than its budget. The next run works. */
export class OutOfMemoryError extends RangeError {
  /** Tells it from other errors where `instanceof` cannot: across copies of the package. */
  override readonly name = "OutOfMemoryError";
  /** Made by engines. */
  constructor(
    message: string,
    /** Where. */
    readonly device: Device,
    /** Bytes that were asked for. */
    readonly asked: number,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** Bytes as people read them. */
export function showBytes(bytes: number): string {
  const units = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
  let at = 0;
  for (; bytes >= 1024 && at < units.length - 1; at++) bytes /= 1024;
  return `${at === 0 ? bytes : Number(bytes.toPrecision(4))} ${units[at]}`;
}

/** What the backward pass of a run keeps of the forward pass. */
export interface Saved {
  readonly bytes: number;
  readonly count: number;
}

/** Intermediates that ops on cotangents use: those of differentiable ops, of what nobody differentiates any more. */
export function savedForBackward({ nodes, saved: known }: Pick<RunGraph, "nodes" | "saved">): Saved {
  if (known !== undefined) return known;
  const saved = new Set<Node>();
  for (const node of nodes) {
    if (node.track !== 0 || node.value !== null || node.origin !== null) continue;
    for (let x of node.inputs) {
      // A view of a value keeps that value.
      while (x.value === null && (x.op.family === "movement" || x.op.family === "identity")) x = x.inputs[0];
      if (x.track !== 0 && x.value === null && x.op.family !== "leaf" && x.op.family !== "tuple") {
        saved.add(x);
      }
    }
  }
  let bytes = 0;
  for (const x of saved) bytes += bytesOf(x);
  return { bytes, count: saved.size };
}

/** The ops of a run, for errors. */
export function namesOf({ nodes }: RunGraph): string {
  const counts = new Map<string, number>();
  for (const { value, op } of nodes) {
    if (value === null && op.family !== "leaf" && op.family !== "identity") {
      counts.set(op.name, (counts.get(op.name) ?? 0) + 1);
    }
  }
  const names = [...counts.keys()], total = [...counts.values()].reduce((a, b) => a + b, 0);
  const list = names.slice(0, 6).join(", ") + (names.length > 6 ? ", ..." : "");
  return total === 0 ? "a copy" : total === 1 ? names[0] : `${total} ops (${list})`;
}

/** What an engine knows when memory is short. */
export interface Shortage {
  readonly device: Device;
  /** What could not be done: "compute 3 ops (mul, add, sum)". */
  readonly action: string;
  readonly asked: number;
  /** Why that is too much: "the budget is 4 GiB". */
  readonly limit: string;
  readonly live: number;
  readonly arena: number;
  /** Values on the device. */
  readonly held: Iterable<{ readonly label: Label | null; readonly bytes: number }>;
  readonly saved: Saved | null;
  readonly cause?: unknown;
}

const SHOWN = 5;
/** A saving is worth naming from so many bytes on. */
const WORTH = 2 ** 16;

/** The error for a shortage. */
export function outOfMemory(s: Shortage): OutOfMemoryError {
  const lines = [
    `Cannot ${s.action}: out of memory on ${s.device}. It needs ${
      showBytes(s.asked)
    }, and ${s.limit}; tensors hold ` +
    `${showBytes(s.live)} and intermediates ${showBytes(s.arena)}`,
  ];
  const largest = [...s.held].filter((h) => h.label !== null).sort((a, b) => b.bytes - a.bytes);
  if (largest.length > 0) {
    lines.push(`The largest tensors, of ${largest.length}:`);
    for (const { label, bytes } of largest.slice(0, SHOWN)) {
      const { by, shape, dtype, name, stack } = label!, line = stack === null ? "" : userLine(stack);
      lines.push(
        `  ${showBytes(bytes)}  ${name === null ? "" : `${name} `}${
          showShape(shape)
        } ${dtype}, made by ${by}` +
          (line === "" ? "" : ` at ${line}`),
      );
    }
  }
  if (s.saved !== null && s.saved.count > 3 && s.saved.bytes >= WORTH) {
    const { bytes, count } = s.saved, segments = Math.round(Math.sqrt(count));
    lines.push(
      `The backward pass keeps ${
        showBytes(bytes)
      } in ${count} intermediates: checkpoint(f) over ${segments} parts of ` +
        `the forward pass would keep about ${showBytes(Math.min(bytes, 2 * bytes / segments))}`,
    );
  }
  lines.push(
    "Work on smaller parts, let go of tensors that are not needed, or use checkpoint; setMemoryBudget sets the budget",
  );
  return new OutOfMemoryError(
    lines.join("\n"),
    s.device,
    s.asked,
    s.cause === undefined ? {} : { cause: s.cause },
  );
}

/** Whether JavaScript refused an array for its size. */
export function isAllocationFailure(error: unknown): error is RangeError {
  return error instanceof RangeError &&
    /allocation failed|Invalid (typed )?array (buffer )?length/i.test(error.message);
}
