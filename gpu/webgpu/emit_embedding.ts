/** Sums by id without looking at every id for every row: the ids are ordered first. */
import { sizeOf } from "../../ops/shape.ts";
import type { Operand, PlanBuilder } from "./builder.ts";
import { emitMap } from "./emit_map.ts";

/** A thread an id: its place among all, equal ones in turn. The first half gets who is there, the second what id. */
const ORDER = `
  var k = i32(x0(t)); if (k < 0) { k += u(1); } if (k < 0 || k >= u(1)) { fault(); k = 0; }
  var place = 0;
  for (var j = 0; j < u(0); j++) {
    var w = i32(x0(j)); w += select(0, u(1), w < 0);
    place += select(0, 1, w < k || (w == k && j < t));
  }
  put(place, t); put(u(0) + place, k);`;

/** A thread an element: finds the first of its row's ids by bisection, and sums until they end. */
const SUM = (zero: string): string => `
  let row = t / u(0); let d = t % u(0);
  var low = 0; var high = u(1);
  while (low < high) {
    let middle = (low + high) / 2;
    if (x1(u(1) + middle) < row) { low = middle + 1; } else { high = middle; }
  }
  var s = ${zero};
  for (var j = low; j < u(1); j++) {
    if (x1(u(1) + j) != row) { break; }
    s += x0(x1(j) * u(0) + d);
  }
  put(t, s);`;

/** Sums `ct` by `ids` into `result`; false where the plain way is as good. */
export function emitEmbeddingGrad(
  b: PlanBuilder,
  [ct, ids]: readonly Operand[],
  result: Operand,
  message: string,
): boolean {
  const T = sizeOf(ids.view.shape), size = sizeOf(result.view.shape), rows = result.view.shape[0];
  if (T < 32 || size <= 2 * T) return false;
  const order = b.result(result.value.step, [2, T], "i32");
  emitMap(b, { body: ORDER, threads: T, uniforms: [T, rows], operands: [ids], result: order, message });
  const zero = result.dtype === "i32" ? "0" : result.dtype === "u32" ? "0u" : "0.0";
  emitMap(b, {
    body: SUM(zero),
    threads: size,
    uniforms: [size / rows, T],
    operands: [ct, order],
    result,
    message,
  });
  return true;
}
