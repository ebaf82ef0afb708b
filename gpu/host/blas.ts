/** The system's BLAS, where one is found and calling it is allowed: what a vendor tuned is faster than what runs anywhere. */
import { areDeterministicAlgorithmsEnabled } from "../../ops/determinism.ts";
import { variable } from "../environment.ts";

/** Where systems keep one, best first. */
const FILES: Record<string, readonly string[]> = {
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

const gemmOf = (float: "f32" | "f64") => ({
  parameters: [
    ...["i32", "i32", "i32", "i32", "i32", "i32"],
    ...[float, "usize", "i32", "usize", "i32", float, "usize", "i32"],
  ],
  result: "void",
});

const SYMBOLS = { cblas_sgemm: gemmOf("f32"), cblas_dgemm: gemmOf("f64") };

/** What tells libraries to compute on the thread that calls them. */
const THREADS = [
  "OPENBLAS_NUM_THREADS",
  "BLIS_NUM_THREADS",
  "MKL_NUM_THREADS",
  "OMP_NUM_THREADS",
  "VECLIB_MAXIMUM_THREADS",
];

/**
 * `C [M, N] (+)= A B` in the engine's memory: `(wide, s, t, M, N, K, a, lda, b, ldb, adds, c, ldc)`, where wide is 1 for f64
 * and 0 for f32, s and t are 1 for operands that lie transposed, and lines of matrices are lda, ldb and ldc elements apart.
 */
export type Gemm = (...x: number[]) => void;

/** Products by a library. */
export interface Blas {
  /** The library's file. */
  readonly name: string;
  /** Whether it leaves threads to us: it computes on the one that calls it. */
  readonly isSerial: boolean;
}

/** Whether an operand lies transposed (0 or 1), and the distance of its lines; null for other strides. */
export function layout(row: number, column: number, rows: number, columns: number): [number, number] | null {
  if (column === 1 || columns === 1) {
    return row >= columns || rows === 1 ? [0, Math.max(row, columns, 1)] : null;
  }
  if (row === 1 || rows === 1) return column >= rows ? [1, Math.max(column, rows, 1)] : null;
  return null;
}

/** What COTANGENT_BLAS says: "0" for never, "1" for always; else whichever is faster. */
export function wanted(): string | null {
  return variable("COTANGENT_BLAS");
}

function open(): Blas | null {
  if (wanted() === "0" || Deno.permissions.querySync({ name: "ffi" }).state !== "granted") return null;
  // Our threads share products out. A library's own would wake for nothing, and be waited for when the process ends,
  // while its other threads fall over what is gone by then.
  const isSerial = THREADS.every((name) =>
    Deno.permissions.querySync({ name: "env", variable: name }).state === "granted"
  );
  const before = isSerial ? THREADS.map((name) => Deno.env.get(name)) : [];
  if (isSerial) { for (const name of THREADS) Deno.env.set(name, "1"); }
  try {
    for (const name of GEMM_SOURCE.files) {
      try {
        Deno.dlopen(name, SYMBOLS as unknown as Deno.ForeignLibraryInterface);
        return { name, isSerial };
      } catch { /* It is not there. */ }
    }
    return null;
  } finally {
    before.forEach((value, i) =>
      value === undefined ? Deno.env.delete(THREADS[i]) : Deno.env.set(THREADS[i], value)
    );
  }
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

/** What a thread opens a library with: {@linkcode lazyGemm} in text. */
export const LAZY_GEMM = `(${lazyGemm})`;

/** What WebAssembly imports: opens the library when it is first called. Self-contained, since threads run its text. */
export function lazyGemm(memory: WebAssembly.Memory, { files, symbols }: GemmSource): Gemm {
  let gemms: readonly Gemm[] | null = null, start = 0;
  const open = (): readonly Gemm[] => {
    for (const file of files) {
      try {
        const library = Deno.dlopen(file, symbols as unknown as Deno.ForeignLibraryInterface);
        const bytes = new Uint8Array(memory.buffer as ArrayBuffer);
        start = Number(Deno.UnsafePointer.value(Deno.UnsafePointer.of(bytes)));
        const { cblas_sgemm, cblas_dgemm } = library.symbols as unknown as Record<string, Gemm>;
        return [cblas_sgemm, cblas_dgemm];
      } catch { /* It is not there. */ }
    }
    throw new Error("Internal: a thread found no library");
  };
  return (wide, s, t, M, N, K, a, lda, b, ldb, adds, c, ldc) => {
    gemms ??= open();
    const [x, y, z] = [start + (a >>> 0), start + (b >>> 0), start + (c >>> 0)];
    gemms[wide](101, 111 + s, 111 + t, M, N, K, 1, x, lda, y, ldb, adds, z, ldc); // row-major; plain or transposed
  };
}

/** Where {@linkcode lazyGemm} looks. */
export interface GemmSource {
  readonly files: readonly string[];
  readonly symbols: object;
}

export const GEMM_SOURCE: GemmSource = {
  files: FILES[Deno.build.os] ?? [],
  symbols: SYMBOLS,
};
