/** Elementwise chains and copies: cutting work that is too large. */
import { sizeOf } from "../../ops/shape.ts";
import type { Binding, Operand, PlanBuilder } from "./builder.ts";
import { bindChain, type BoundChain, type Chain, type LaidChain, layChain } from "./chain.ts";
import { ELEMENTWISE, elementwiseKernel, goesByFours } from "./kernels/elementwise.ts";
import { THREADS } from "./kernels/kernel.ts";

/** Elements of a piece start at multiples of this, so that their bytes start where bindings may. */
const PIECE = 256;

/** Elements from which on they are read by fours: fewer share the kernel of one each. */
const MANY = 2 ** 16;

/** Whether all that a chain has in order begins at a multiple of four elements. */
function isAligned({ operands, modes }: LaidChain, { words, form }: BoundChain): boolean {
  return operands.every((o, j) => modes[j] !== "flat" || (o.moving < 0 && words[j] % 4 === 0)) &&
    form.stores.every((_, j) => words[operands.length + j] % 4 === 0);
}

/** Computes a chain over its shape. */
export function emitChain(b: PlanBuilder, chain: Chain): void {
  const size = sizeOf(chain.shape);
  if (size === 0) return;
  const laid = layChain(b, chain), { limits } = b;
  const cut = chain.operands.some((o, j) => laid.modes[j] !== "constant" && o.value.bytes > limits.binding) ||
    chain.stores.some((s) => s.result.value.bytes > limits.binding);
  // A piece's window may begin up to 256 bytes before its first element.
  const piece = cut ? Math.floor((limits.binding / 4 - PIECE) / PIECE) * PIECE : size;
  for (let first = 0; first < size; first += piece) {
    const n = Math.min(piece, size - first);
    const bindings: Binding[] = [];
    const bound = bindChain(b, laid, bindings, first, n);
    const byFours = n >= MANY && n % 4 === 0 && isAligned(laid, bound) && goesByFours(bound.form);
    const kernel = elementwiseKernel(bound.form, b.access(bindings), byFours), at = b.reserve(kernel);
    bound.patch(at, ELEMENTWISE.chain);
    const threads = byFours ? n / 4 : n;
    b.dispatch(kernel, bindings, Math.ceil(threads / THREADS), at, [n, first, 0, ...bound.words]);
  }
}

/** Computes `expression` of `a0`, `a1` ... into the view of `result`. */
export function emitElementwise(
  b: PlanBuilder,
  expression: string,
  operands: readonly Operand[],
  shape: readonly number[],
  result: Operand,
): void {
  emitChain(b, {
    operands,
    steps: [{ expression, dtype: result.dtype, isUsed: false }],
    stores: [{ value: "t0", result }],
    shape: [...shape],
  });
}
