/** Element types: their sizes, their arrays on the host, and how two of them promote. */

/** Element type of a tensor. `f64` lives on the host only; `f16` and `bf16` are stored in 16 bits and compute in `f32`. */
export type DType = "f32" | "f16" | "bf16" | "f64" | "i32" | "u32" | "bool";

/** An array which holds elements of some {@linkcode DType} on the host; those of `bf16` come as a `Float32Array`. */
export type TypedArray =
  | Float32Array<ArrayBuffer>
  | Float16Array<ArrayBuffer>
  | Float64Array<ArrayBuffer>
  | Int32Array<ArrayBuffer>
  | Uint32Array<ArrayBuffer>
  | Uint8Array<ArrayBuffer>;

const BYTES: Record<DType, number> = { f32: 4, f16: 2, bf16: 2, f64: 8, i32: 4, u32: 4, bool: 1 };

/** All element types, widest last within a kind. */
export const DTYPES: readonly DType[] = ["bool", "i32", "u32", "bf16", "f16", "f32", "f64"];

/** Bytes of one element in memory. */
export function bytesPerElement(dtype: DType): number {
  return BYTES[dtype];
}

/** Bytes of one element while the host computes with it. */
export function workingBytes(dtype: DType): number {
  return dtype === "bf16" ? 4 : BYTES[dtype];
}

/** Whether gradients exist for this type. */
export function isFloat(dtype: DType): boolean {
  return dtype === "f32" || dtype === "f64" || isHalf(dtype);
}

/** Whether a type has 16 bits: what overflows or loses digits in it is computed in f32. */
export function isHalf(dtype: DType): boolean {
  return dtype === "f16" || dtype === "bf16";
}

const single = new Float32Array(1), singleBits = new Uint32Array(single.buffer);

/** The nearest bf16, which is the upper half of an f32; halves go to the even neighbour. */
export function roundToBf16(x: number): number {
  single[0] = x;
  if (x === x) singleBits[0] = (singleBits[0] + 0x7fff + ((singleBits[0] >>> 16) & 1)) & 0xffff0000;
  return single[0];
}

/** The bits of bf16 numbers, which are rounded. */
export function packBf16(values: ArrayLike<number>): Uint16Array<ArrayBuffer> {
  const bits = new Uint16Array(values.length);
  for (let i = 0; i < bits.length; i++) {
    roundToBf16(values[i]);
    bits[i] = singleBits[0] >>> 16;
  }
  return bits;
}

/** The numbers that bf16 bits stand for. */
export function unpackBf16(bits: Uint16Array): Float32Array<ArrayBuffer> {
  const values = new Float32Array(bits.length), words = new Uint32Array(values.buffer);
  for (let i = 0; i < bits.length; i++) words[i] = bits[i] << 16;
  return values;
}

/** A zero-filled host array of `size` elements; booleans are bytes 0 and 1. */
export function allocate(dtype: DType, size: number): TypedArray {
  switch (dtype) {
    case "f32":
    case "bf16":
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
    case "bf16":
      return roundToBf16(x);
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

const RANK: Record<DType, number> = { bool: 0, i32: 1, u32: 1, f16: 2, bf16: 2, f32: 3, f64: 4 };

/** The type of a result of operands of types `a` and `b`: PyTorch's promotion. */
export function promote(a: DType, b: DType): DType {
  if (a === b) return a;
  if (RANK[a] === RANK[b]) return RANK[a] === 1 ? "i32" : "f32"; // i32 with u32, f16 with bf16
  return RANK[a] > RANK[b] ? a : b;
}

/** Relative spacing of floating point numbers near 1 (machine epsilon). */
export function epsilon(dtype: DType): number {
  switch (dtype) {
    case "bf16":
      return 2 ** -7;
    case "f16":
      return 2 ** -10;
    case "f32":
      return 2 ** -23;
    default:
      return 2 ** -52;
  }
}
