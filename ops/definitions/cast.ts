/** Conversion between element types. */
import { apply } from "../node.ts";
import { type DType, isFloat } from "../dtype.ts";
import { define, type Elementwise } from "../primitive.ts";

const BOTH: [number, number] = [-2, 2];

/** Conversion between element types; its transpose is the conversion back. */
export const cast: Elementwise = define({
  name: "cast",
  call: "x.to",
  family: "elementwise",
  tex: ([x]) => `${x}`,
  texPartials: () => ["1"],
  infer: ([x], p) => ({ shape: x.shape, dtype: p.dtype }),
  host: (x) => x, // the store rounds
  wgsl: ([x], [from], p) => castWgsl(x, from, p.dtype),
  partials: [() => 1],
  domain: [BOTH],
  inputs: 1,
  flops: 0,
  vjp: (ct, { x: [x] }) => [isFloat(x.dtype) ? ct.to(x.dtype) : null],
  jvp: ([dx], { p }) => isFloat(p.dtype) ? apply(cast, [dx!], p) : null,
  batch: ([x], _, p) => apply(cast, [x], p),
});

function castWgsl(x: string, from: string, to: string): string {
  if (to === "bool") {
    return from === "bool"
      ? x
      : from === "i32"
      ? `(${x} != 0)`
      : from === "u32"
      ? `(${x} != 0u)`
      : `nef(${x}, 0.0)`;
  }
  if (to === "i32") return isFloat(from as DType) ? `wholef(${x})` : `i32(${x})`;
  if (to === "u32") return isFloat(from as DType) ? `u32(wholef(${x}))` : `u32(${x})`;
  return `f32(${x})`; // f16 is rounded by the store
}
