/** Kernels for rows of contiguous numbers that need the largest of the row first: softmax and what is made of it. */
import type { DType } from "../../../ops/dtype.ts";
import {
  cachedKernel,
  faultFunction,
  type Kernel,
  kernel,
  load,
  loadQuad,
  quadType,
  resultType,
  store,
  storedType,
  storeQuad,
  THREADS,
  word,
} from "./kernel.ts";

/** What is made of a row. */
export type RowOp = "softmax" | "logsumexp" | "crossEntropy";

/** Everything about a row kernel that is not a parameter. */
export interface RowForm {
  readonly op: RowOp;
  readonly dtype: DType;
  /** Whether rows begin and end at multiples of four elements, and are read (and written) by fours. */
  readonly quads: boolean;
  /** Type of the class numbers of crossEntropy. */
  readonly target: DType | null;
  /** The row, the target if there is one, the result. */
  readonly access: string;
}

/** Where the parameters stand. */
export const ROWS = { rows: 0, length: 1, lanes: 2, offset: 3, target: 4, faultSlot: 5, faultNumber: 6 };

/** The kernel of a form. */
export function rowKernel(f: RowForm): Kernel {
  return cachedKernel(`w|${f.op}|${f.dtype}|${f.quads}|${f.target}|${f.access}`, () => {
    const { op, dtype, quads } = f, hasTarget = f.target !== null, result = hasTarget ? 2 : 1;
    const own = quads && op === "softmax";
    const types: string[] = [
      quads ? quadType(dtype) : storedType(dtype),
      ...hasTarget ? [storedType(f.target!)] : [],
      own ? quadType(dtype) : resultType(dtype),
    ];
    const at = (i: string): string => `${word(ROWS.offset)} + ${i}`;
    // One element, and as many as a turn takes.
    const one = (i: string): string =>
      quads ? `(${loadQuad(dtype, "b0", at(i))})[(${i}) & 3]` : load(dtype, "b0", at(i));
    const x = (i: string): string => quads ? loadQuad(dtype, "b0", at(i)) : one(i);
    const put = (i: string, v: string): string => (own ? storeQuad : store)(dtype, `b${result}`, i, v);
    const of = (g: (v: string) => string): string =>
      quads ? `vec4<f32>(${["v.x", "v.y", "v.z", "v.w"].map(g).join(", ")})` : g("v");
    const sum = (v: string): string => quads ? `quadSum(${v})` : v;
    const loop = (body: string): string =>
      `for (var k = first; k < n; k += ${quads ? 4 : 1} * i32(lanes)) { let v = ${x("at + k")}; ${body} }`;
    // NaN comes back in the sum of softmax, and must come out of the largest where that alone is the result.
    const larger = op === "softmax" ? "max" : "maxf";
    const largest = quads ? `${larger}(${larger}(v.x, v.y), ${larger}(v.z, v.w))` : "v";
    if (hasTarget) types.push("atomic<u32>");
    return kernel({
      access: hasTarget ? f.access + "w" : f.access,
      types,
      words: 7,
      globals: `var<workgroup> scratch: array<f32, ${THREADS}>;
fn quadSum(v: vec4<f32>) -> f32 { return (v.x + v.y) + (v.z + v.w); }
${hasTarget ? faultFunction("b3", ROWS.faultSlot, ROWS.faultNumber) : ""}`,
      body: `
  let lanes = u32(${word(ROWS.lanes)});
  let lane = lid % lanes;
  let row = i32(group * (${THREADS}u / lanes) + lid / lanes);
  let n = ${word(ROWS.length)};
  let inside = row < ${word(ROWS.rows)};
  let at = row * n;
  let first = select(n, ${quads ? "4 * " : ""}i32(lane), inside);
  var m = -inf();
  ${loop(`m = ${larger}(m, ${largest});`)}
  scratch[lid] = m;
  for (var s = lanes / 2u; s > 0u; s = s / 2u) {
    workgroupBarrier();
    if (lane < s) { scratch[lid] = maxf(scratch[lid], scratch[lid + s]); }
  }
  workgroupBarrier();
  m = scratch[lid - lane];
  workgroupBarrier();
  var sum = 0.0;
  ${loop(`sum += ${sum(of((v) => `expf(${v} - m)`))};`)}
  scratch[lid] = sum;
  for (var s = lanes / 2u; s > 0u; s = s / 2u) {
    workgroupBarrier();
    if (lane < s) { scratch[lid] += scratch[lid + s]; }
  }
  workgroupBarrier();
  sum = scratch[lid - lane];
${
        op === "softmax"
          ? loop(put("at + k", of((v) => `expf(${v} - m) / sum`)))
          : op === "logsumexp"
          ? `  if (inside && lane == 0u) { ${put("row", "select(m, m + logf(sum), isFinite(m))")} }`
          : `  if (inside && lane == 0u) {
    var c = i32(b1[${word(ROWS.target)} + row]);
    if (c < 0 || c >= n) { fault(c); c = 0; }
    let z = ${one("at + c")};
    ${put("row", "logf(sum) + (m - z)")}
  }`
      }`,
    });
  });
}
