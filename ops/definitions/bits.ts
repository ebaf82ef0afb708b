/** Numbers of a distribution from random bits. */
import { elementwise } from "../families.ts";
import { horner, hornerWgsl, PPND7, ratio, ratioWgsl } from "../special.ts";

/** Standard normal numbers from 24 random bits (centred, so that the ends stay finite), by `PPND7`: about 1e-7. */
export const normalFromBits = elementwise({
  name: "normalFromBits",
  tex: ([x]) => `\\Phi^{-1}(${x})`,
  accepts: "integer",
  result: "f32",
  discrete: true,
  host: (bits) => {
    const u = ((bits >>> 8) + 0.5) * 2 ** -24, q = u - 0.5;
    if (Math.abs(q) <= 0.425) {
      const r = 0.180625 - q * q;
      return q * horner(PPND7.centre[0], r) / horner(PPND7.centre[1], r);
    }
    const r = Math.sqrt(-Math.log(q < 0 ? u : 1 - u));
    const z = r <= 5 ? ratio(PPND7.tail, r - 1.6) : ratio(PPND7.far, r - 5);
    return q < 0 ? -z : z;
  },
  wgsl: ([x]) => `normalFromBits(u32(${x}))`,
  partials: [null],
  domain: [[0, 4e9]],
  flops: 30,
});

/** WGSL of the same function, for the prelude of kernels. */
export const normalFromBitsWgsl = `
fn normalFromBits(bits: u32) -> f32 {
  let k = bits >> 8u;
  // q is exact in f32 and symmetric: k and 2^24 - 1 - k are mirror images.
  let q = (f32(i32(k) - 8388608) + 0.5) * 5.9604644775390625e-8;
  if (abs(q) <= 0.425) {
    let r = fma(-q, q, 0.180625);
    return q * (${hornerWgsl(PPND7.centre[0], "r")}) / (${hornerWgsl(PPND7.centre[1], "r")});
  }
  let tail = (f32(min(k, 16777215u - k)) + 0.5) * 5.9604644775390625e-8;
  let r = sqrt(-logf(tail));
  let c = r - 1.6; let e = r - 5.0;
  let z = select(${ratioWgsl(PPND7.far, "e")}, ${ratioWgsl(PPND7.tail, "c")}, r <= 5.0);
  return select(z, -z, q < 0.0);
}`;

/** Uniform numbers in [0, 1) from the top 24 of 32 random bits: every one is exact in f32. */
export const uniformFromBits = elementwise({
  name: "uniformFromBits",
  tex: ([x]) => `2^{-24} \\lfloor ${x} / 2^8 \\rfloor`,
  accepts: "integer",
  result: "f32",
  discrete: true,
  host: (bits) => (bits >>> 8) * 2 ** -24,
  wgsl: ([x]) => `(f32(u32(${x}) >> 8u) * 5.9604644775390625e-8)`,
  partials: [null],
  domain: [[0, 4e9]],
});

/** Exponential numbers with mean 1, -ln(1 - u) for u from 24 random bits: never 0 and never infinite. */
export const exponentialFromBits = elementwise({
  name: "exponentialFromBits",
  tex: ([x]) => `-\\ln(1 - 2^{-24} (\\lfloor ${x} / 2^8 \\rfloor + \\tfrac12))`,
  accepts: "integer",
  result: "f32",
  discrete: true,
  host: (bits) => -Math.log1p(-((bits >>> 8) + 0.5) * 2 ** -24),
  wgsl: ([x]) => `exponentialFromBits(u32(${x}))`,
  partials: [null],
  domain: [[0, 4e9]],
  flops: 20,
});

/** WGSL of the same function; 1 - u is exact in the upper half. */
export const exponentialFromBitsWgsl = `
fn exponentialFromBits(bits: u32) -> f32 {
  let k = bits >> 8u;
  if (k < 8388608u) { return -log1pf((f32(k) + 0.5) * -5.9604644775390625e-8); }
  return -logf((f32(16777215u - k) + 0.5) * 5.9604644775390625e-8);
}`;
