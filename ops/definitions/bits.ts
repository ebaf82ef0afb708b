/** Numbers of a distribution from random bits. */
import { elementwise } from "../families.ts";

// Inverse normal distribution function, Wichura (1988), AS 241, PPND7: about 1e-7 relative.
const A = [3.3871327179, 50.434271938, 159.29113202, 59.10937472];
const B = [1, 17.895169469, 78.757757664, 67.1875636];
const C = [1.4234372777, 2.75681539, 1.3067284816, 0.17023821103];
const D = [1, 0.7370016425, 0.12021132975];
const E = [6.657905115, 3.081226386, 0.42868294337, 0.017337203997];
const F = [1, 0.24197894225, 0.012258202635];
const polynomial = (c: number[], r: number): number => c.reduceRight((s, a) => s * r + a, 0);
const polynomialWgsl = (c: number[], r: string): string =>
  c.slice(0, -1).reduceRight((s, a) => `fma(${s}, ${r}, ${a.toFixed(12)})`, c[c.length - 1].toFixed(12));

/** Standard normal numbers from 24 random bits (centred, so that the ends stay finite). */
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
      return q * polynomial(A, r) / polynomial(B, r);
    }
    const r = Math.sqrt(-Math.log(q < 0 ? u : 1 - u));
    const z = r <= 5
      ? polynomial(C, r - 1.6) / polynomial(D, r - 1.6)
      : polynomial(E, r - 5) / polynomial(F, r - 5);
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
    return q * (${polynomialWgsl(A, "r")}) / (${polynomialWgsl(B, "r")});
  }
  let tail = (f32(min(k, 16777215u - k)) + 0.5) * 5.9604644775390625e-8;
  let r = sqrt(-logf(tail));
  let c = r - 1.6; let e = r - 5.0;
  let z = select((${polynomialWgsl(E, "e")}) / (${polynomialWgsl(F, "e")}), (${polynomialWgsl(C, "c")}) / (${
  polynomialWgsl(D, "c")
}), r <= 5.0);
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
