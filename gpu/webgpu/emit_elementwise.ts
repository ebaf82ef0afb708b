/** Elementwise chains and copies: cutting work that is too large. */
import { sizeOf } from "../../ops/shape.ts";
import type { Binding, Operand, PlanBuilder } from "./builder.ts";
import { bindChain, type BoundChain, type Chain, type LaidChain, layChain } from "./chain.ts";
import type { Fours } from "./kernels/chain.ts";
import { ELEMENTWISE, elementwiseKernel, goesByFours } from "./kernels/elementwise.ts";
import { THREADS } from "./kernels/kernel.ts";

/** Elements of a piece start at multiples of this, so that their bytes start where bindings may. */
const PIECE = 256;

/** Elements from which on they are read by fours: fewer share the kernel of one each. */
const MANY = 2 ** 16;

/** How elements of a chain are read by fours, or null where they are not side by side, or not in place. */
function foursOf(
  { operands, modes, storeModes, walk, rank }: LaidChain,
  { words }: BoundChain,
): Fours | null {
  const inPlace = (j: number): boolean => words[j] % 4 === 0;
  if (storeModes.some((mode, j) => mode === "walk" || !inPlace(operands.length + j))) return null;
  if (rank > 0 && walk.lengths[rank - 1] % 4 !== 0) return null;
  const fours: boolean[] = [];
  let walked = 0;
  for (const [j, mode] of modes.entries()) {
    const steps = mode === "walk" ? walk.steps[walked++] : mode === "flat" ? [1] : [0];
    const last = steps[steps.length - 1];
    if (last !== 0 && last !== 1) return null;
    const whole = inPlace(j) && operands[j].moving < 0 && steps.slice(0, -1).every((n) => n % 4 === 0);
    if (last === 1 && !whole) return null;
    fours.push(last === 1);
  }
  return fours;
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
    const found = n >= MANY && n % 4 === 0 ? foursOf(laid, bound) : null;
    const fours = found !== null && goesByFours(bound.form, found) ? found : null;
    const kernel = elementwiseKernel(bound.form, b.access(bindings), fours), at = b.reserve(kernel);
    bound.patch(at, ELEMENTWISE.chain);
    const threads = fours === null ? n : n / 4;
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
