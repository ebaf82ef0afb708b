/** The system's BLAS, where one is found and calling it is allowed: what a vendor tuned is faster than what runs anywhere. */
import { areDeterministicAlgorithmsEnabled } from "../../ops/determinism.ts";
import type { TypedArray } from "../../ops/dtype.ts";

const ROW_MAJOR = 101, PLAIN = 111, TRANSPOSED = 112;

/** Where systems keep one, best first. */
const LIBRARIES: Record<string, readonly string[]> = {
  darwin: ["/System/Library/Frameworks/Accelerate.framework/Accelerate"],
  linux: [
    "libopenblas.so.0",
    "libopenblas.so",
    "libblis.so.4",
    "libblis.so",
    "libmkl_rt.so.2",
    "libmkl_rt.so",
  ],
  windows: ["libopenblas.dll", "mkl_rt.2.dll"],
};

const SYMBOLS = {
  cblas_sgemm: {
    parameters: [
      ...["i32", "i32", "i32", "i32", "i32", "i32"],
      ...["f32", "buffer", "i32", "buffer", "i32", "f32", "buffer", "i32"],
    ],
    result: "void",
  },
  cblas_dgemm: {
    parameters: [
      ...["i32", "i32", "i32", "i32", "i32", "i32"],
      ...["f64", "buffer", "i32", "buffer", "i32", "f64", "buffer", "i32"],
    ],
    result: "void",
  },
} as const;

type Gemm = (...x: (number | TypedArray)[]) => void;

/** A matrix in an array: its elements from the first on, and its steps from row to row and from column to column. */
export interface Strided {
  readonly data: TypedArray;
  readonly row: number;
  readonly column: number;
}

/** Products by a library. */
export interface Blas {
  /** The library's file. */
  readonly name: string;
  /**
   * `c [M, N] = a [M, K] b [K, N]` of f32 or of f64 arrays; the rows of c lie `line` elements apart. False where the
   * strides are not those of rows or columns.
   */
  readonly multiply: (
    a: Strided,
    b: Strided,
    c: TypedArray,
    line: number,
    M: number,
    N: number,
    K: number,
  ) => boolean;
}

/** Whether an operand is as it is or transposed, and the distance of its lines; null for other strides. */
function layout({ row, column }: Strided, rows: number, columns: number): [number, number] | null {
  if (column === 1 || columns === 1) {
    return row >= columns || rows === 1 ? [PLAIN, Math.max(row, columns, 1)] : null;
  }
  if (row === 1 || rows === 1) return column >= rows ? [TRANSPOSED, Math.max(column, rows, 1)] : null;
  return null;
}

/** What COTANGENT_BLAS says: "0" for never, "1" for always; else whichever is faster. */
export function wanted(): string | undefined {
  const { state } = Deno.permissions.querySync({ name: "env", variable: "COTANGENT_BLAS" });
  return state === "granted" ? Deno.env.get("COTANGENT_BLAS") : undefined;
}

function open(): Blas | null {
  if (wanted() === "0" || Deno.permissions.querySync({ name: "ffi" }).state !== "granted") return null;
  for (const name of LIBRARIES[Deno.build.os] ?? []) {
    try {
      // The types of a dynamic library are its symbols', which are the same for all of these.
      const { symbols } = Deno.dlopen(name, SYMBOLS as unknown as Deno.ForeignLibraryInterface);
      const single = symbols.cblas_sgemm as unknown as Gemm, double = symbols.cblas_dgemm as unknown as Gemm;
      const multiply: Blas["multiply"] = (a, b, c, line, M, N, K) => {
        const l = layout(a, M, K), r = layout(b, K, N);
        if (l === null || r === null || M * N * K === 0) return false;
        const gemm = c instanceof Float64Array ? double : single;
        gemm(ROW_MAJOR, l[0], r[0], M, N, K, 1, a.data, l[1], b.data, r[1], 0, c, line);
        return true;
      };
      return { name, multiply };
    } catch { /* It is not there. */ }
  }
  return null;
}

let found: Blas | null | undefined;

/**
 * The library, looked for once; null without one, without the permission for it, with COTANGENT_BLAS=0, or where bits
 * must not hang on what is installed.
 */
export function blas(): Blas | null {
  if (areDeterministicAlgorithmsEnabled()) return null;
  return found === undefined ? found = open() : found;
}
