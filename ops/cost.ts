/** How much work a node is, from its record. */
import { bytesPerElement } from "./dtype.ts";
import type { Attributes, Aval, Cost, Primitive } from "./primitive.ts";
import { sizeOf } from "./shape.ts";

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
    case "movement":
    case "leaf":
    case "identity":
    case "tuple":
    case "output":
      return { flops: 0, bytes: op.family === "movement" ? bytes : 0 };
  }
}
