/** Elements in memory as lanes of vectors. */
import type { DType } from "../../../ops/dtype.ts";
import { i32 } from "./text.ts";
import { type Lane, laneOf } from "./vector.ts";

/** Bytes of an element. */
export const bytes = (dtype: DType): number => BYTES[dtype];
const BYTES: Record<DType, number> = { bool: 1, f16: 2, bf16: 4, f32: 4, i32: 4, u32: 4, f64: 8 };

/** Halves are computed with in single precision, and rounded after each function. */
export const laneOfType = (dtype: DType): Lane => dtype === "f16" || dtype === "bf16" ? "f32" : laneOf(dtype);

/** Four elements, or one of them in each lane; of an f16 the bits. */
export function load(dtype: DType, at: string, single: boolean, offset = 0): string {
  const by = offset === 0 ? "" : `offset=${offset} `;
  switch (dtype) {
    case "f16":
      return single ? `(i32x4.splat (i32.load16_u ${by}${at}))` : `(v128.load16x4_u ${by}${at})`;
    case "bool": {
      const bytes = single
        ? `(i32x4.splat (i32.load8_u ${by}${at}))`
        : `(i32x4.extend_low_i16x8_u (i16x8.extend_low_i8x16_u (v128.load32_zero ${by}${at})))`;
      return `(i32x4.ne ${bytes} (i32x4.splat ${i32(0)}))`;
    }
    case "f32":
    case "bf16":
    case "f64":
    case "i32":
    case "u32":
      return single ? `(v128.load32_splat ${by}${at})` : `(v128.load ${by}${at})`;
  }
}

/** The same the other way. */
export function store(dtype: DType, at: string, value: string, single: boolean, offset = 0): string {
  const by = offset === 0 ? "" : `offset=${offset} `;
  switch (dtype) {
    case "f16": {
      if (single) return `(i32.store16 ${by}${at} (i32x4.extract_lane 0 ${value}))`;
      return `(v128.store64_lane ${by}0 ${at} (i16x8.narrow_i32x4_u ${value} ${value}))`;
    }
    case "bool": {
      const bits = `(v128.and ${value} (i32x4.splat ${i32(1)}))`;
      if (single) return `(i32.store8 ${by}${at} (i32x4.extract_lane 0 ${bits}))`;
      const words = `(i16x8.narrow_i32x4_u ${bits} ${bits})`;
      return `(v128.store32_lane ${by}0 ${at} (i8x16.narrow_i16x8_u ${words} ${words}))`;
    }
    case "f32":
    case "bf16":
    case "f64":
    case "i32":
    case "u32":
      return single ? `(v128.store32_lane ${by}0 ${at} ${value})` : `(v128.store ${by}${at} ${value})`;
  }
}
