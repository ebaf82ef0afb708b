/**
 * WGSL of functions as vectors do them best, in place of the prelude's: without branches, since lanes take all of them,
 * but where hardly any lane goes. Here `min` and `max` keep the first operand where it is NaN, as compilers for GPUs need
 * not, and nothing is reassociated. Polynomials are minimax fits of the relative error.
 */
import {
  DIGAMMA,
  DIGAMMA_AT_ROOT,
  DIGAMMA_ROOT,
  hornerWgsl,
  LGAMMA_AT_1,
  STIRLING,
} from "../../../ops/special.ts";
import { functionSources } from "../../webgpu/prelude.ts";

/** The root of digamma in f32. */
const ROOT = Math.fround(DIGAMMA_ROOT[0]);

/** 1.5 2^23 + n: of its sum with a small number the low bits are that, rounded to a whole number, plus n. */
const whole = (n: number): string => (12582912 + n).toFixed(1);

const horner = (x: string, ...c: string[]): string => c.reduceRight((sum, k) => `fma(${sum}, ${x}, ${k})`);

/** e^r from -ln(2) / 2 to ln(2) / 2 is 1 + r + r² q; for `sign` -1 of the number -r. */
const expQ = (r: string, sign: 1 | -1 = 1): string =>
  horner(
    r,
    "0.49999994",
    `${0.166665196 * sign}`,
    "0.0416684002",
    `${0.00836885069 * sign}`,
    "0.00138143206",
  );

/** The same with less error of e^r - 1 = r + r² q. */
const EXPM1_Q = horner("r", "0.49999997", "0.16666542", "0.0416672044", "0.00836664718", "0.00138824969");

/** Rest `r` of `t - k ln 2`, where `m` holds k and `bias` as `whole` has it; ln 2 = 355 / 512 - 2.12e-4. */
const exponent = (t: string, bias: number): string => `
  let m = fma(${t}, 1.4426950408889634, ${whole(bias)});
  let k = m - ${whole(bias)};
  let r = fma(k, 2.1219444e-4, fma(k, -0.693359375, ${t}));`;
/** 2^k, with the bias of `m` beyond 127 and what is added in exponents besides. */
const power = (more = ""): string => `bitcast<f32>((bitcast<i32>(m) << 23u)${more})`;

/**
 * x = 2^k (1 + f), f from sqrt(1/2) - 1 to sqrt(2) - 1; and what is to be added in the end for x that are no positive
 * numbers, which go on as others, and for subnormal ones.
 */
const LOG_PARTS = `
  var v = x;
  var offset = 0.0;
  var rest = 0.0;
  if (bitcast<i32>(x) + 0x7f800000 > 0xfeffffff) {
    let tiny = x < 1.17549435e-38;
    v = select(x, x * 8388608.0, tiny);
    offset = select(0.0, 23.0, tiny);
    rest = select(select(select(0.0, x, !(x < inf())), -inf(), x == 0.0), nan(), x < 0.0);
  }
  let b = bitcast<i32>(v);
  let e = (b - 0x3f3504f3) >> 23u;
  let k = f32(e) - offset;
  let f = bitcast<f32>(b - (e << 23u)) - 1.0;`;
/** ln(1 + f) is f + g with g = f² (-1/2 + f p). */
const LOG_SERIES = `
  let g = f * f * fma(f, ${
  horner(
    "f",
    "0.333333313",
    "-0.250008196",
    "0.200012267",
    "-0.166233569",
    "0.142017588",
    "-0.131601825",
    "0.12761575",
    "-0.0763449296",
  )
}, -0.5);`;

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

/** Of x: `r` = x - k π/2 from -π/4 to π/4, and k mod 4 in the low bits of `q`; π/2 in parts whose products are exact. */
const QUARTERS = `
  let m = fma(x, 0.6366197723675814, ${whole(0)});
  let k = m - ${whole(0)};
  var q = bitcast<i32>(m);
  var r = fma(k, -2.56334415e-12, fma(k, -7.5495336204767227e-8, fma(k, -4.837512969970703e-4, fma(k, -1.5703125, x))));
  if (!(abs(x) < 2000.0)) {
    r = farRest(x);
    q = farQuarter(x);
  }`;
const SIN_COS = `
  let z = r * r;
  let s = copysignf(fma(r * z, ${horner("z", "-0.166666538", "0.00833215099", "-0.000195139801")}, r), r);
  let c = fma(z * z, ${horner("z", "0.0416666456", "-0.00138873036", "2.44316689e-05")}, fma(z, -0.5, 1.0));`;

/** Words of 2 / π. */
const TWO_OVER_PI = [
  "0u",
  "0xa2f9836eu",
  "0x4e441529u",
  "0xfc2757d1u",
  "0xf534ddc0u",
  "0xdb629599u",
  "0x3c439041u",
  "0xfe5163abu",
];
/** The word of 2 / π at `i` (0 to 4) and `j`. */
const word = (j: number): string =>
  [1, 2, 3, 4].reduce((w, i) => `select(${w}, ${TWO_OVER_PI[i + j]}, i == ${i})`, TWO_OVER_PI[j]);
/** Large x in quarters of a turn, `high` and `mid` of a fixed-point number: the bits of 2 / π that matter (Payne and Hanek, 1983). */
const FAR = `
  let bits = bitcast<u32>(x) & 0x7fffffffu;
  let w = (bits & 0x007fffffu) | 0x00800000u;
  let s = (bits >> 23u) - 120u;
  let i = bitcast<i32>(s >> 5u);
  // A shift to the left by s mod 32 as a product.
  let p = u32(bitcast<f32>(((s & 31u) + 127u) << 23u));
  let w1 = (${word(1)} * p) | mulHigh(${word(2)}, p);
  let w2 = (${word(2)} * p) | mulHigh(${word(3)}, p);
  let low = mulHigh(w, w2);
  let mid = w * w1 + low;
  let high = w * ((${word(0)} * p) | mulHigh(${word(1)}, p)) + mulHigh(w, w1) + select(0u, 1u, mid < low);
  let part = (high << 2u) | (mid >> 30u);`;

const FUNCTIONS: Record<string, string> = {
  // Results go through twice 2^k, or through what a subnormal number needs: 2^-25 2^(k + 25).
  expf: `fn expf(x: f32) -> f32 {
  let t = min(max(x, -104.0), 89.0);${exponent("t", 126)}
  let less = (bitcast<i32>(t) >> 31u) & 0x0d000000;
  return fma(fma(${expQ("r")}, r, 1.0), r, 1.0) * ${power(" + less")} * bitcast<f32>(0x40000000 - less);
}`,
  // Bits of an f16 as a number: those of an f32 whose exponent is 112 too small, but for infinities and NaN.
  halfBits: `fn halfBits(bits: u32) -> f32 {
  let m = (bits & 0x7fffu) << 13u;
  let y = bitcast<u32>(bitcast<f32>(m) * 5.192296858534828e33);
  let special = m >= 0x0f800000u;
  return bitcast<f32>(select(y, m | 0x7f800000u, special) | ((bits & 0x8000u) << 16u));
}`,
  // The nearest f16: the sum with 2^13 times its power of two has its last bit.
  roundHalf: `fn roundHalf(x: f32) -> f32 {
  let a = abs(x);
  let s = max(bitcast<f32>(bitcast<u32>(a) & 0x7f800000u), 6.103515625e-5) * 8192.0;
  return copysignf(select((a + s) - s, a * inf(), !(a < 65520.0)), x);
}`,
  // Bits of a number that an f16 can hold.
  toHalf: `fn toHalf(x: f32) -> u32 {
  let m = min(bitcast<u32>(abs(x) * 1.925929944387236e-34) >> 13u, 0x7c00u);
  return select(m, 0x7e00u, isNan(x)) | ((bitcast<u32>(x) >> 16u) & 0x8000u);
}`,
  // The nearest bf16, the upper half of an f32.
  roundBrain: `fn roundBrain(x: f32) -> f32 {
  let bits = bitcast<u32>(x);
  let y = (bits + 0x7fffu + ((bits >> 16u) & 1u)) & 0xffff0000u;
  return select(bitcast<f32>(y), x, isNan(x));
}`,
  // e^x of what is not positive.
  expBelow: `fn expBelow(x: f32) -> f32 {
  let t = max(x, -104.0);${exponent("t", 151)}
  return fma(fma(${expQ("r")}, r, 1.0), r, 1.0) * ${power()} * 5.9604644775390625e-8;
}`,
  exp2f: `fn exp2f(x: f32) -> f32 {
  let t = min(max(x, -151.0), 129.0);
  let m = t + ${whole(126)};
  let r = t - (m - ${whole(126)});
  let less = (bitcast<i32>(t) >> 31u) & 0x0d000000;
  let p = ${
    horner(
      "r",
      "0.693147182",
      "0.240226477",
      "0.0555033237",
      "0.00961843692",
      "0.0013398875",
      "0.00015353362",
    )
  };
  return fma(p, r, 1.0) * ${power(" + less")} * bitcast<f32>(0x40000000 - less);
}`,
  // 2 (h (e^r - 1) + (h - 1/2)), h = 2^(k - 1).
  expm1f: `fn expm1f(x: f32) -> f32 {
  let t = min(max(x, -18.0), 89.0);${exponent("t", 126)}
  let h = ${power()};
  let p = fma(r * r, ${EXPM1_Q}, r);
  return copysignf(2.0 * fma(h, p, h - 0.5), x);
}`,
  // c / (c + c e^-x) with c = 2^-64, so that nothing overflows; r is the negative rest.
  sigmoidf: `fn sigmoidf(x: f32) -> f32 {
  let t = min(max(x, -104.0), 18.0);
  let m = fma(t, -1.4426950408889634, ${whole(63)});
  let k = m - ${whole(63)};
  let r = fma(k, -2.1219444e-4, fma(k, 0.693359375, t));
  let e = fma(fma(${expQ("r", -1)}, r, -1.0), r, 1.0) * ${power()};
  return 5.421010862427522e-20 / (5.421010862427522e-20 + e);
}`,
  logf: `fn logf(x: f32) -> f32 {${LOG_PARTS}${LOG_SERIES}
  return fma(k, 0.693359375, g + fma(k, -2.1219444e-4, f)) + rest;
}`,
  log2f: `fn log2f(x: f32) -> f32 {${LOG_PARTS}${LOG_SERIES}
  return fma(f + g, 1.4426950408889634, k) + rest;
}`,
  log10f: `fn log10f(x: f32) -> f32 {${LOG_PARTS}${LOG_SERIES}
  return fma(k, 0.301025390625, fma(k, 4.605038981195e-6, (f + g) * 0.4342944819032518)) + rest;
}`,
  // 1 + x = 2^k (1 + f) + what rounding took: f = 2^-k x + (2^-k - 1).
  log1pf: `fn log1pf(x: f32) -> f32 {
  let u = 1.0 + x;
  var v = u;
  var w = x;
  var offset = 0.0;
  var rest = 0.0;
  if (bitcast<i32>(u) + 0x7f800000 > 0xfdffffff) {
    let large = u > 0.0 && u < inf();
    v = select(1.0, u * 0.25, large);
    w = select(0.0, x * 0.25, large);
    offset = select(0.0, -2.0, large);
    rest = select(select(select(x, 0.0, large), -inf(), u == 0.0), nan(), u < 0.0);
  }
  let e = (bitcast<i32>(v) - 0x3f3504f3) >> 23u;
  let k = f32(e) - offset;
  let scale = bitcast<f32>(0x3f800000 - (e << 23u));
  let f = fma(w, scale, scale - 1.0);${LOG_SERIES}
  return copysignf(fma(k, 0.693359375, g + fma(k, -2.1219444e-4, f)) + rest, x);
}`,
  log1pSmall: `fn log1pSmall(u: f32) -> f32 {
  let s = u / (2.0 + u);
  let z = s * s;
  return fma(s * z, ${horner("z", "0.666664183", "0.400215268", "0.280018061", "0.280119866")}, 2.0 * s);
}`,
  softplusf: `fn softplusf(x: f32) -> f32 { return maxf(x, 0.0) + log1pSmall(expBelow(-abs(x))); }`,
  logSigmoidf: `fn logSigmoidf(x: f32) -> f32 { return minf(x, 0.0) - log1pSmall(expBelow(-abs(x))); }`,
  // E / (E + 1) with E = (e^(2 |x|) - 1) / 2, as what a small quotient is taken off.
  tanhf: `fn tanhf(x: f32) -> f32 {
  let t = min(abs(x + x), 18.1);${exponent("t", 126)}
  let h = ${power()};
  let e = fma(h, fma(r * r, ${EXPM1_Q}, r), h - 0.5);
  let a = min(e, 1.0);
  return copysignf(fma(a, a / (-1.0 - e), a), x);
}`,
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
  // Of whole exponents up to 64 products, exact where the result is; of others 2^(y log2 |x|).
  powf: `fn powf(x: f32, y: f32) -> f32 {
  let n = abs(y);
  let whole = n >= 8388608.0 || floor(n) == n;
  let small = whole && n <= 64.0;
  var r = 1.0;
  if (small) {
    var k = u32(n);
    var b = x;
    while (k > 0u) {
      if ((k & 1u) == 1u) { r *= b; }
      b *= b;
      k = k >> 1u;
    }
    r = select(r, 1.0 / r, y < 0.0);
  }
  if (!small) {
    let a = abs(x);
    r = powPositive(a, y);
    if (n > 4.0e9) { r = select(select(0.0, inf(), (a > 1.0) == (y > 0.0)), 1.0, a == 1.0); }
    if (x < 0.0 && !whole) { r = nan(); }
    if (a == 0.0 || !isFinite(a)) { r = select(0.0, inf(), (a != 0.0) == (y > 0.0)); }
    if (minus(x) && whole && n < 16777216.0) { r = select(r, -r, (u32(n) & 1u) == 1u); }
    if (isNan(x) || isNan(y)) { r = nan(); }
    if (x == 1.0) { r = 1.0; }
  }
  return r;
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
  // x - q y in two exact products while the quotient is short, and q one too large where it was rounded up to a whole
  // number; else long division of the mantissas.
  fmodf: `fn fmodf(x: f32, y: f32) -> f32 {
  let a = abs(x);
  let b = abs(y);
  let quotient = a / b;
  let q = trunc(quotient);
  let h = head(b);
  var r = (a - q * h) - q * (b - h);
  r = select(r, r + b, r < 0.0);
  if (!(quotient < 2048.0)) {
    var ea = bitcast<i32>(a) >> 23u;
    var eb = bitcast<i32>(b) >> 23u;
    var m = bitcast<i32>(a) & 0x007fffff;
    var n = bitcast<i32>(b) & 0x007fffff;
    if (ea == 0) { ea = 1; } else { m = m | 0x00800000; }
    if (eb == 0) { eb = 1; } else { n = n | 0x00800000; }
    while (n > 0 && n < 0x00800000) {
      n = n << 1u;
      eb -= 1;
    }
    var i = ea - eb;
    while (i > -1) {
      if (m >= n) { m -= n; }
      if (i > 0) { m = m << 1u; }
      i -= 1;
    }
    r = scale2(f32(m), eb - 150);
  }
  if (b > a) { r = a; }
  if (!(a < inf()) || b == 0.0 || isNan(b)) { r = nan(); }
  return copysignf(r, x);
}`,
  farRest: `fn farRest(x: f32) -> f32 {${FAR}
  let upper = f32(bitcast<i32>(part & 0xffffff00u));
  let lower = f32(part & 0xffu) + f32(mid << 2u) * 2.3283064365386963e-10;
  let r = fma(upper, 3.65729529994141e-10, fma(upper, -1.0177351e-17, lower * 3.6572952e-10));
  return select(nan(), select(r, -r, x < 0.0), isFinite(x));
}`,
  farQuarter: `fn farQuarter(x: f32) -> i32 {${FAR}
  let k = bitcast<i32>((high >> 30u) + (part >> 31u));
  return select(k, 0 - k, x < 0.0);
}`,
  sinf: `fn sinf(x: f32) -> f32 {${QUARTERS}${SIN_COS}
  let y = select(s, c, (q & 1) != 0);
  return bitcast<f32>(bitcast<i32>(y) ^ ((q & 2) << 30u));
}`,
  cosf: `fn cosf(x: f32) -> f32 {${QUARTERS}${SIN_COS}
  let y = select(c, s, (q & 1) != 0);
  return bitcast<f32>(bitcast<i32>(y) ^ (((q + 1) & 2) << 30u));
}`,
  tanf: `fn tanf(x: f32) -> f32 {${QUARTERS}${SIN_COS}
  let odd = (q & 1) != 0;
  return select(s, -c, odd) / select(c, s, odd);
}`,
};

const sources = new Map([...functionSources(), ...Object.entries(FUNCTIONS)]);

/** What kernels call, by name. */
export function vectorSources(): ReadonlyMap<string, string> {
  return sources;
}
