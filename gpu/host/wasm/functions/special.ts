/** The error function and the gamma function. */
import {
  DIGAMMA,
  DIGAMMA_AT_ROOT,
  DIGAMMA_ROOT,
  hornerWgsl,
  LGAMMA_AT_1,
  STIRLING,
} from "../../../../ops/special.ts";
import { EXPM1_Q, exponent, horner, power, whole } from "./parts.ts";

/** The root of digamma in f32. */
const ROOT = Math.fround(DIGAMMA_ROOT[0]);

/** e^(x²) erfc(x) from 0 to 10.3. */
const erfcx = (x: string): string =>
  `(${horner(x, "1.0", "1.23727643", "0.730311751", "0.228559762", "0.0326400772")} / ${
    horner(x, "1.0", "2.36565614", "2.39966106", "1.32293689", "0.405138165", "0.0578523315")
  })`;
/** Of `a` not negative: `tail` = scale e^(-c a²) erfcx(b). The square of a's head is exact. */
const erfcTail = (c: string, b: string, scale: string): string => `
  let h = head(a);
  let t = -${c} * (h * h);
  let m = fma(t, 1.4426950408889634, ${whole(151)});
  let k = m - ${whole(151)};
  let r = fma(k, 2.1219444e-4, fma(k, -0.693359375, t)) - ${c} * ((a - h) * (a + h));
  let p = fma(fma(${
  horner("r", "0.499999821", "0.166663826", "0.0416700207", "0.008382787", "0.00137855986")
}, r, 1.0), r, 1.0);
  let tail = p * ${erfcx(b)} * ${power()} * ${scale};`;

export const special: Record<string, string> = {
  // 1 - e^(-u) with u = -ln erfc(a), a polynomial times a.
  erff: `fn erff(x: f32) -> f32 {
  let a = min(abs(x), 3.95);
  let n = -a;
  let t = fma(n, 1.128379106521606, n * fma(a, ${
    horner(
      "a",
      "0.636619389",
      "0.102777831",
      "-0.0191530641",
      "-0.000160396361",
      "0.00166702783",
      "-0.000632837065",
      "0.000117641328",
      "-9.25627137e-06",
    )
  }, 6.057397e-8));${exponent("t", 127)}
  let h = ${power()};
  let p = fma(r * r, ${EXPM1_Q}, r);
  return copysignf(fma(h, p, h - 1.0), x);
}`,
  erfcf: `fn erfcf(x: f32) -> f32 {
  let a = min(abs(x), 10.2);${erfcTail("1.0", "a", "5.9604644775390625e-8")}
  return select(tail, 2.0 - tail, x < 0.0);
}`,
  ndtrf: `fn ndtrf(x: f32) -> f32 {
  let a = min(abs(x), 14.4);${erfcTail("0.5", "(a * 0.7071067811865476)", "2.98023223876953125e-8")}
  return select(1.0 - tail, tail, x < 0.0);
}`,
  // e^(-a²/2) stands in the tail, too.
  geluDerivativef: `fn geluDerivativef(x: f32) -> f32 {
  let a = min(abs(x), 14.4);${erfcTail("0.5", "(a * 0.7071067811865476)", "2.98023223876953125e-8")}
  let below = fma(-2.37788129e-8 * a, p * ${power()}, tail);
  return select(1.0 - below, below, x < 0.0);
}`,
  // ln Γ of positive numbers: steps down to 2.5, of which there are six at most, are written out.
  lgammaAbove: `fn lgammaAbove(x: f32) -> f32 {
  var r = 0.0;
  if (x >= 8.0) {
    let z = 1.0 / (x * x);
    r = (x - 0.5) * (logf(x) - 1.0) + (0.4189385332 + (${hornerWgsl(STIRLING.slice(0, 4), "z")}) / x);
  }
  if (!(x >= 8.0)) {
    var y = x;
    var factor = 1.0;
    ${"if (y > 2.5) { y -= 1.0; factor *= y; }\n    ".repeat(6)}
    // Below 3/4 by the next number, below 1/2 by the one after that; between 3/4 and 5/4 around 1.
    var z = y - 2.0;
    var rest = logf(factor);
    if (x < 0.75) {
      z = select(x - 1.0, x, x < 0.5);
      rest = select(0.0, -log1pf(x), x < 0.5) - logf(x);
    }
    r = lgammaAt2(z) + rest;
    if (x >= 0.75 && x < 1.25) {
      let u = x - 1.0;
      r = u * (${hornerWgsl(LGAMMA_AT_1.slice(0, 12), "u")});
    }
  }
  return r;
}`,
  digammaAbove: `fn digammaAbove(x: f32) -> f32 {
  var r = 0.0;
  if (x >= 8.0) {
    let q = 1.0 / x;
    let z = q * q;
    r = logf(x) - (0.5 * q + z * (${hornerWgsl(DIGAMMA.slice(0, 5), "z")}));
  }
  if (!(x >= 8.0)) {
    var y = x;
    var sum = 0.0;
    if (y < 1.0) { sum = -1.0 / y; y += 1.0; }
    ${"if (y > 2.0) { y -= 1.0; sum += 1.0 / y; }\n    ".repeat(6)}
    let d = (y - ${ROOT}) - ${DIGAMMA_ROOT[0] - ROOT};
    r = d * (${hornerWgsl(DIGAMMA_AT_ROOT.slice(0, 20), "d")}) + sum;
  }
  return r;
}`,
};
