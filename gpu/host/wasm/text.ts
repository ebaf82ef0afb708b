/** Words of WebAssembly's text that all of our kernels are written with. */

/** The value of a local. */
export const get = (x: string): string => `(local.get $${x})`;
/** Sets a local. */
export const set = (x: string, value: string): string => `(local.set $${x} ${value})`;
/** A whole number. */
export const i32 = (n: number): string => `(i32.const ${n})`;
export const add = (a: string, b: string): string => `(i32.add ${a} ${b})`;
export const mul = (a: string, b: string): string => `(i32.mul ${a} ${b})`;
export const sub = (a: string, b: string): string => `(i32.sub ${a} ${b})`;
export const min = (a: string, b: string): string => `(select ${a} ${b} (i32.lt_s ${a} ${b}))`;
/** A loop that runs while `condition`, which is asked first. */
export const loop = (label: string, condition: string, body: string): string =>
  `(block $${label}_end (loop $${label} (br_if $${label}_end (i32.eqz ${condition})) ${body} (br $${label})))`;
/** Declarations of parameters and of locals, given their names with blanks between. */
export const params = (names: string): string => names.split(" ").map((n) => `(param $${n} i32)`).join(" ");
export const locals = (names: string, type = "i32"): string =>
  names.split(" ").map((n) => `(local $${n} ${type})`).join(" ");
/** Moves a local on. */
export const step = (x: string, by: string | number): string =>
  set(x, add(get(x), typeof by === "number" ? i32(by) : by));

/** `x y + z` of four f32, rounded once where the machine can. */
export const madd = (fused: boolean, x: string, y: string, z: string): string =>
  fused ? `(f32x4.relaxed_madd ${x} ${y} ${z})` : `(f32x4.add (f32x4.mul ${x} ${y}) ${z})`;

/** Lanes of a shuffle that puts four f32 of two vectors side by side, those of the second from 4 on. */
export const lanes = (...list: [number, number, number, number]): string =>
  list.flatMap((lane) => [0, 1, 2, 3].map((byte) => 4 * lane + byte)).join(" ");

/** Lanes of a shuffle that bring the upper two of four f32 down. */
export const HIGH = lanes(2, 3, 2, 3);

/** Lanes of a shuffle that bring the second of four f32 to the first. */
export const ODD = lanes(1, 1, 3, 3);

/** Vectors of all bits and of none. */
export const ONES = "(i32x4.splat (i32.const -1))", ZEROS = "(i32x4.splat (i32.const 0))";

export const sum = (...x: string[]): string => x.reduce((a, b) => add(a, b));
export const max = (a: string, b: string): string => `(select ${a} ${b} (i32.gt_s ${a} ${b}))`;
export const when = (condition: string, then: string, otherwise = ""): string =>
  `(if ${condition} (then ${then})${otherwise === "" ? "" : ` (else ${otherwise})`})`;
/** A loop from `from` on while below `to`. */
export const count = (i: string, from: string, to: string, body: string, by: string | number = 1): string =>
  `${set(i, from)} ${loop(i, `(i32.lt_s ${get(i)} ${to})`, `${body} ${step(i, by)}`)}`;
export const splat = (x: string): string => `(f32x4.splat ${x})`;
export const f32 = (x: number | string): string => `(f32.const ${x})`;
/** n texts, one a line. */
export const each = (n: number, f: (i: number) => string): string =>
  Array.from({ length: n }, (_, i) => f(i)).join("\n");
