/** Elementwise chains and copies: cutting work that is too large. */
import { sizeOf } from "../../ops/shape.ts";
import { type Binding, isWhole, type Operand, type PlanBuilder } from "./builder.ts";
import { bindChain, type BoundChain, type Chain, type LaidChain, layChain } from "./chain.ts";
import type { Fours } from "./kernels/chain.ts";
import {
  besideAt,
  ELEMENTWISE,
  elementwiseKernel,
  goesByFours,
  SIDE_BY_SIDE,
  sideBySideKernel,
} from "./kernels/elementwise.ts";
import { besideElements } from "./heuristics.ts";
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
  const isAll = !cut && chain.stores.every(({ result }) => isWhole(result));
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
    const words = [n, first, 0, ...bound.words];
    b.dispatch(kernel, bindings, Math.ceil(threads / THREADS), at, words, isAll);
  }
}

/** A chain beside others. */
interface Beside {
  readonly chain: Chain;
  readonly laid: LaidChain;
  readonly n: number;
}

/** Most chains in a kernel, whose text has all of them. */
const BESIDE = 64;

/** Computes chains which do not read each other's results, as many in a kernel as it can bind. */
export function emitChains(b: PlanBuilder, chains: readonly Chain[]): void {
  const { limits } = b, byFours: Beside[] = [], byOnes: Beside[] = [], most = besideElements(limits);
  for (const chain of chains) {
    const n = sizeOf(chain.shape);
    if (n === 0) continue;
    const laid = layChain(b, chain), each = { chain, laid, n };
    const values = [
      ...chain.operands.filter((_, j) => laid.modes[j] !== "constant"),
      ...chain.stores.map((s) => s.result),
    ];
    if (!b.specialises || n > most || values.some((o) => o.value.bytes > limits.binding)) emitChain(b, chain);
    else {
      const bound = bindChain(b, laid, []), fours = n % 4 === 0 ? foursOf(laid, bound) : null;
      (fours !== null && goesByFours(bound.form, fours) ? byFours : byOnes).push(each);
    }
  }
  if (byFours.reduce((sum, { n }) => sum + n, 0) < MANY) byOnes.push(...byFours.splice(0));
  emitBeside(b, byFours, true);
  emitBeside(b, byOnes, false);
}

function emitBeside(b: PlanBuilder, list: readonly Beside[], byFours: boolean): void {
  const most = besideElements(b.limits);
  let first = 0;
  while (first < list.length) {
    let bindings: Binding[] = [], last = first, total = 0;
    const bound: BoundChain[] = [], fours: Fours[] = [];
    for (; last < list.length && last - first < BESIDE; last++) {
      const more = [...bindings], own = bindChain(b, list[last].laid, more);
      total += list[last].n;
      const by = byFours ? [...fours, foursOf(list[last].laid, own)!] : fours;
      if (
        last > first &&
        (total > most || more.length > b.limits.storageBuffers || !areRead([...bound, own], by))
      ) break;
      bindings = more;
      bound.push(own);
      if (byFours) fours.push(by[by.length - 1]);
    }
    const part = list.slice(first, last);
    first = last;
    if (part.length === 1) {
      emitChain(b, part[0].chain);
      continue;
    }
    const forms = bound.map(({ form }) => form), at = besideAt(forms);
    const kernel = sideBySideKernel(forms, b.access(bindings), byFours ? fours : null),
      to = b.reserve(kernel);
    const words = [0];
    let end = 0;
    bound.forEach((own, i) => {
      const { n } = part[i];
      end += Math.ceil((byFours ? n / 4 : n) / THREADS);
      own.patch(to, at[i] + SIDE_BY_SIDE.chain);
      words.push(end, n, ...own.words);
    });
    b.dispatch(kernel, bindings, end, to, words);
  }
}

/** Whether no memory is read both by fours and by ones. */
function areRead(bound: readonly BoundChain[], fours: readonly Fours[]): boolean {
  const quads = new Map<number, boolean>();
  const agrees = (binding: number, byFours: boolean): boolean => {
    const known = quads.get(binding);
    quads.set(binding, byFours);
    return binding < 0 || known === undefined || known === byFours;
  };
  return fours.every((by, i) =>
    bound[i].form.operands.every(({ binding }, j) => agrees(binding, by[j])) &&
    bound[i].form.stores.every(({ binding }) => agrees(binding, true))
  );
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
