/** Elementwise kernels and copies: choosing how operands are addressed, and cutting work that is too large. */
import { type Shape, sizeOf } from "../../ops/shape.ts";
import { isContiguous } from "../../ops/definitions/movement.ts";
import { type Binding, bindOnce, type Operand, type PlanBuilder } from "./builder.ts";
import { ELEMENTWISE, type ElementwiseForm, elementwiseKernel, type Mode } from "./kernels/elementwise.ts";
import { storedBytes, THREADS } from "./kernels/kernel.ts";
import { broadcastStrides, collapse } from "./views.ts";

/** Elements of a piece start at multiples of this, so that their bytes start where bindings may. */
const PIECE = 256;

/** Computes `expression` of `a0`, `a1` ... over `shape` into the view of `result`. */
export function emitElementwise(
  b: PlanBuilder,
  expression: string,
  operands: readonly Operand[],
  shape: Shape,
  result: Operand,
): void {
  const size = sizeOf(shape);
  if (size === 0) return;
  const strides = operands.map((o) => broadcastStrides(o.view, shape));
  const modes = operands.map((o, j): Mode =>
    o.value.kind === "constant" && b.steps[o.value.step].leaf === "constant"
      ? "constant"
      : strides[j].every((s, i) => s === 0 || shape[i] === 1)
      ? "one"
      : isContiguous({ shape, strides: strides[j], offset: 0 })
      ? "flat"
      : "walk"
  );
  const resultMode = isContiguous(result.view) ? "flat" : "walk";
  const walking = strides.filter((_, j) => modes[j] === "walk");
  if (resultMode === "walk") walking.push([...result.view.strides]);
  const walk = collapse(shape, walking);
  const rank = walking.length === 0 ? 0 : walk.lengths.length;
  const cut = operands.some((o, j) => modes[j] !== "constant" && o.value.bytes > b.limits.binding) ||
    result.value.bytes > b.limits.binding;
  // A piece's window may begin up to 256 bytes before its first element.
  const piece = cut ? Math.floor((b.limits.binding / 4 - PIECE) / PIECE) * PIECE : size;
  for (let first = 0; first < size; first += piece) {
    const n = Math.min(piece, size - first);
    const bindings: Binding[] = [];
    const offsets: number[] = [];
    const bindingOf = operands.map((o, j) => {
      if (modes[j] === "constant") {
        offsets.push(0);
        return -1;
      }
      const w = window(b, o, modes[j], first, n);
      offsets.push(w.offset);
      return bindOnce(bindings, w.binding);
    });
    const w = window(b, result, resultMode, first, n);
    bindings.push(w.binding);
    const form: ElementwiseForm = {
      expression,
      operands: operands.map((o, j) => ({ dtype: o.dtype, mode: modes[j], binding: bindingOf[j] })),
      result: result.dtype,
      resultMode,
      rank,
      access: b.access(bindings),
    };
    const kernel = elementwiseKernel(form), at = b.reserve(kernel);
    operands.forEach((o, j) => {
      if (modes[j] === "constant") b.patchConstant(at / 4 + ELEMENTWISE.operand(j), o.value.step);
      else b.patchOffset(at, ELEMENTWISE.operand(j), o);
    });
    const words = [n, first, w.offset, ...offsets];
    if (rank > 0) words.push(...walk.lengths, ...walk.steps.flat());
    b.dispatch(kernel, bindings, Math.ceil(n / THREADS), at, words);
  }
}

/** What to bind for elements `first` to `first + n` of an operand, and the offset of its element there. */
function window(
  b: PlanBuilder,
  o: Operand,
  mode: Mode,
  first: number,
  n: number,
): { binding: Binding; offset: number } {
  if (o.value.bytes <= b.limits.binding) {
    return { binding: b.whole(o.value), offset: o.view.offset + (mode === "flat" ? first : 0) };
  }
  if (mode !== "flat" || o.moving >= 0) throw b.tooLarge(o.value);
  const each = storedBytes(o.dtype), start = (o.view.offset + first) * each;
  const from = Math.floor(start / 256) * 256;
  const to = Math.min(o.value.bytes, Math.ceil((start + n * each) / 4) * 4);
  return { binding: { value: o.value, offset: from, bytes: to - from }, offset: (start - from) / each };
}
