/** Element types: their sizes, their arrays on the host, and how two of them promote. */

/** Element type of a tensor. `f64` lives on the host only; `f16` computes in `f32`. */
export type DType = "f32" | "f16" | "f64" | "i32" | "u32" | "bool";

/** An array which holds elements of some {@linkcode DType} on the host. */
export type TypedArray =
  | Float32Array<ArrayBuffer>
  | Float16Array<ArrayBuffer>
  | Float64Array<ArrayBuffer>
  | Int32Array<ArrayBuffer>
  | Uint32Array<ArrayBuffer>
  | Uint8Array<ArrayBuffer>;

const BYTES: Record<DType, number> = { f32: 4, f16: 2, f64: 8, i32: 4, u32: 4, bool: 1 };

/** All element types, widest last within a kind. */
export const DTYPES: readonly DType[] = ["bool", "i32", "u32", "f16", "f32", "f64"];

/** Bytes of one element on the host. */
export function bytesPerElement(dtype: DType): number {
  return BYTES[dtype];
}

/** Whether gradients exist for this type. */
export function isFloat(dtype: DType): boolean {
  return dtype === "f32" || dtype === "f16" || dtype === "f64";
}

/** A zero-filled host array of `size` elements; booleans are bytes 0 and 1. */
export function allocate(dtype: DType, size: number): TypedArray {
  switch (dtype) {
    case "f32":
      return new Float32Array(size);
    case "f16":
      return new Float16Array(size);
    case "f64":
      return new Float64Array(size);
    case "i32":
      return new Int32Array(size);
    case "u32":
      return new Uint32Array(size);
    case "bool":
      return new Uint8Array(size);
  }
}

/** The element type that a host array stands for. */
export function dtypeOf(array: ArrayBufferView): DType | null {
  if (array instanceof Float32Array) return "f32";
  if (array instanceof Float16Array) return "f16";
  if (array instanceof Float64Array) return "f64";
  if (array instanceof Int32Array) return "i32";
  if (array instanceof Uint32Array) return "u32";
  if (array instanceof Uint8Array) return "bool";
  return null;
}

/** Rounds a JavaScript number to the nearest value of `dtype`, as a store would. */
export function roundTo(dtype: DType, x: number): number {
  switch (dtype) {
    case "f32":
      return Math.fround(x);
    case "f16":
      return Math.f16round(x);
    case "f64":
      return x;
    case "i32":
      return x | 0;
    case "u32":
      return x >>> 0;
    case "bool":
      return x !== 0 ? 1 : 0;
  }
}

const RANK: Record<DType, number> = { bool: 0, i32: 1, u32: 1, f16: 2, f32: 3, f64: 4 };

/** The type of a result of operands of types `a` and `b`: PyTorch's promotion. */
export function promote(a: DType, b: DType): DType {
  if (a === b) return a;
  if (RANK[a] === RANK[b]) return "i32"; // i32 with u32
  return RANK[a] > RANK[b] ? a : b;
}

/** Relative spacing of floating point numbers near 1 (machine epsilon). */
export function epsilon(dtype: DType): number {
  switch (dtype) {
    case "f16":
      return 2 ** -10;
    case "f32":
      return 2 ** -23;
    default:
      return 2 ** -52;
  }
}
