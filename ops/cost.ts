/** How much work nodes and kernels are, from the records of their ops. */
import { bytesPerElement } from "./dtype.ts";
import type { Attributes, Aval, Cost, Primitive } from "./primitive.ts";
import { type Shape, sizeOf } from "./shape.ts";

/** Bytes of an array in memory. */
export function bytesOf({ shape, dtype }: Aval): number {
  return sizeOf(shape) * bytesPerElement(dtype);
}

/** Floating-point operations of one node, and the bytes that it reads and writes where it runs for itself. */
export function costOf(op: Primitive, x: readonly Aval[], y: Aval, p: Attributes): Cost {
  const bytes = x.reduce((sum, operand) => sum + bytesOf(operand), bytesOf(y));
  switch (op.family) {
    case "elementwise":
      return { flops: op.flops * sizeOf(y.shape), bytes };
    case "reduction":
      return { flops: sizeOf(x[0].shape), bytes };
    case "contraction":
      return { flops: 2 * sizeOf(y.shape) * x[0].shape[x[0].shape.length - 1], bytes }; // [..., M, K] x [..., K, N]
    case "custom":
      return { flops: op.flops(x, y, p), bytes };
    case "tuple":
      return { flops: op.flops?.(p) ?? 0, bytes: 0 };
    case "movement":
    case "leaf":
    case "identity":
    case "output":
      return { flops: 0, bytes: op.family === "movement" ? bytes : 0 };
  }
}

/** What a kernel does each time. */
export interface Work extends Cost {
  /** The ops in it. */
  readonly name: string;
  /** Shape of what it computes last. */
  readonly shape: Shape;
}

/** Most names that are written out. */
const NAMES = 5;

/** One name for the ops of a kernel, in order: "mul, add x3, sum". */
export function nameOf(ops: readonly string[]): string {
  const counts = new Map<string, number>();
  for (const op of ops) counts.set(op, (counts.get(op) ?? 0) + 1);
  const parts = [...counts].map(([name, n]) => n === 1 ? name : `${name} x${n}`);
  if (parts.length === 0) return "copy";
  // What a kernel ends with says most.
  return parts.length <= NAMES
    ? parts.join(", ")
    : [...parts.slice(0, NAMES - 2), "...", ...parts.slice(-2)].join(", ");
}
