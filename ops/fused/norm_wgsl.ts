/** WGSL of normalised rows: a row is shared by the threads of a group, or has one of its own where that is as good. */
import type { MapKernel } from "../primitive.ts";

/** Threads of a group. */
const THREADS = 64;
/** Shorter rows are not worth sharing. */
const SHORT = 32;

/** Rows of D elements: how their sums are made and their elements are gone through. */
export interface RowStyle {
  /** WGSL for each part of a row: it begins at element `j`. */
  readonly loop: (body: string) => string;
  /** Elements of an operand from place `i` on, as many as a part has. */
  readonly read: (operand: number, i: string) => string;
  readonly write: (value: string) => string;
  /** Type of a part. */
  readonly type: string;
}

/** A kernel for `rows` rows of D elements; `body` has `at`, where row `row` begins, `D`, and `total`, the sum of a row. */
export function rowsKernel<P>(
  lengths: (p: P, shape: readonly number[]) => readonly [rows: number, D: number],
  numbers: (p: P) => number[],
  body: (style: RowStyle, p: P) => string,
): MapKernel {
  const isOwn = (D: number, isSoftware: boolean): boolean => isSoftware || D <= SHORT;
  return {
    threads: ([x], _, p, { isSoftware }) => {
      const [rows, D] = lengths(p as P, x.shape);
      return D === 0 ? 0 : isOwn(D, isSoftware) ? Math.ceil(rows / THREADS) : rows;
    },
    uniforms: ([x], _, p) => [...lengths(p as P, x.shape), ...numbers(p as P)],
    workgroup: {
      threads: THREADS,
      globals: ([x], p, { isSoftware }) => {
        const [, D] = lengths(p as P, x.shape), of = D % 4 === 0 ? "(v.x + v.y) + (v.z + v.w)" : "v";
        const head = `fn total(lid: u32, v: ${D % 4 === 0 ? "vec4<f32>" : "f32"}) -> f32`;
        if (isOwn(D, isSoftware)) return `${head} { return ${of}; }`;
        return `var<workgroup> sums: array<f32, ${THREADS}>;
${head} {
  sums[lid] = ${of};
  for (var s = ${THREADS / 2}u; s > 0u; s = s >> 1u) {
    workgroupBarrier();
    if (lid < s) { sums[lid] += sums[lid + s]; }
  }
  workgroupBarrier();
  let sum = sums[0];
  workgroupBarrier();
  return sum;
}`;
      },
    },
    body: ([x], _, p, { isSoftware }) => {
      const [, D] = lengths(p as P, x.shape),
        own = isOwn(D, isSoftware),
        four = D % 4 === 0,
        part = four ? 4 : 1;
      const style: RowStyle = {
        loop: (text) =>
          `for (var j = ${own ? "0" : `${part} * i32(lid)`}; j < D; j += ${
            own ? part : part * THREADS
          }) { ${text} }`,
        read: (operand, i) => `${four ? "q" : "x"}${operand}(${i})`,
        write: (value) => `${four ? "put4" : "put"}(at + j, ${value});`,
        type: four ? "vec4<f32>" : "f32",
      };
      return `let D = u(1); let row = ${
        own ? `i32(group) * ${THREADS} + i32(lid)` : "i32(group)"
      }; let at = row * D;
  if (row >= u(0)) { return; }
  ${body(style, p as P)}`;
    },
  };
}
