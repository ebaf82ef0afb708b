/** Kernels for rows of contiguous numbers that need the largest of the row first: softmax and what is made of it. */
import type { DType } from "../../../ops/dtype.ts";
import {
  cachedKernel,
  faultFunction,
  type Kernel,
  kernel,
  load,
  resultType,
  store,
  storedType,
  THREADS,
  word,
} from "./kernel.ts";

/** What is made of a row. */
export type RowOp = "softmax" | "logsumexp" | "crossEntropy";

/** Everything about a row kernel that is not a parameter. */
export interface RowForm {
  readonly op: RowOp;
  readonly dtype: DType;
  /** Type of the class numbers of crossEntropy. */
  readonly target: DType | null;
  /** The row, the target if there is one, the result. */
  readonly access: string;
}

/** Where the parameters stand. */
export const ROWS = { rows: 0, length: 1, lanes: 2, offset: 3, target: 4, faultSlot: 5, faultNumber: 6 };

/** The kernel of a form. */
export function rowKernel(f: RowForm): Kernel {
  return cachedKernel(`w|${f.op}|${f.dtype}|${f.target}|${f.access}`, () => {
    const hasTarget = f.target !== null, result = hasTarget ? 2 : 1;
    const types: string[] = [
      storedType(f.dtype),
      ...hasTarget ? [storedType(f.target!)] : [],
      resultType(f.dtype),
    ];
    const put = (i: string, v: string): string => store(f.dtype, `b${result}`, i, v);
    const x = (i: string): string => load(f.dtype, "b0", `${word(ROWS.offset)} + ${i}`);
    if (hasTarget) types.push("atomic<u32>");
    return kernel({
      access: hasTarget ? f.access + "w" : f.access,
      types,
      words: 7,
      globals: `var<workgroup> scratch: array<f32, ${THREADS}>;
${hasTarget ? faultFunction("b3", ROWS.faultSlot, ROWS.faultNumber) : ""}`,
      body: `
  let lanes = u32(${word(ROWS.lanes)});
  let lane = lid % lanes;
  let row = i32(group * (${THREADS}u / lanes) + lid / lanes);
  let n = ${word(ROWS.length)};
  let inside = row < ${word(ROWS.rows)};
  let at = row * n;
  let first = select(n, i32(lane), inside);
  var m = -inf();
  for (var k = first; k < n; k += i32(lanes)) { m = maxf(m, ${x("at + k")}); }
  scratch[lid] = m;
  for (var s = lanes / 2u; s > 0u; s = s / 2u) {
    workgroupBarrier();
    if (lane < s) { scratch[lid] = maxf(scratch[lid], scratch[lid + s]); }
  }
  workgroupBarrier();
  m = scratch[lid - lane];
  workgroupBarrier();
  var sum = 0.0;
  for (var k = first; k < n; k += i32(lanes)) { sum += expf(${x("at + k")} - m); }
  scratch[lid] = sum;
  for (var s = lanes / 2u; s > 0u; s = s / 2u) {
    workgroupBarrier();
    if (lane < s) { scratch[lid] += scratch[lid + s]; }
  }
  workgroupBarrier();
  sum = scratch[lid - lane];
${finish(f.op, put, x)}`,
    });
  });
}

function finish(op: RowOp, put: (i: string, v: string) => string, x: (i: string) => string): string {
  switch (op) {
    case "softmax":
      return `  for (var k = first; k < n; k += i32(lanes)) { ${
        put("at + k", `expf(${x("at + k")} - m) / sum`)
      } }`;
    case "logsumexp":
      return `  if (inside && lane == 0u) { ${put("row", "select(m, m + logf(sum), isFinite(m))")} }`;
    case "crossEntropy":
      return `  if (inside && lane == 0u) {
    var c = i32(b1[${word(ROWS.target)} + row]);
    if (c < 0 || c >= n) { fault(c); c = 0; }
    ${put("row", `logf(sum) + (m - ${x("at + c")})`)}
  }`;
  }
}
