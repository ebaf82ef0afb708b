/** Words of WebAssembly's text that all of our kernels are written with. */

/** The value of a local. */
export const get = (x: string): string => `(local.get $${x})`;
/** Sets a local. */
export const set = (x: string, value: string): string => `(local.set $${x} ${value})`;
/** A whole number. */
export const i32 = (n: number): string => `(i32.const ${n})`;
export const add = (a: string, b: string): string => `(i32.add ${a} ${b})`;
export const mul = (a: string, b: string): string => `(i32.mul ${a} ${b})`;
/** Moves a local on. */
export const step = (x: string, by: string | number): string =>
  set(x, add(get(x), typeof by === "number" ? i32(by) : by));

/** `x y + z` of four f32, rounded once where the machine can. */
export const madd = (fused: boolean, x: string, y: string, z: string): string =>
  fused ? `(f32x4.relaxed_madd ${x} ${y} ${z})` : `(f32x4.add (f32x4.mul ${x} ${y}) ${z})`;

/** Lanes of a shuffle that bring the upper two of four f32 down. */
export const HIGH = "8 9 10 11 12 13 14 15 8 9 10 11 12 13 14 15";

/** Lanes of a shuffle that bring the second of four f32 to the first. */
export const ODD = "4 5 6 7 4 5 6 7 12 13 14 15 12 13 14 15";

/** Vectors of all bits and of none. */
export const ONES = "(i32x4.splat (i32.const -1))", ZEROS = "(i32x4.splat (i32.const 0))";
