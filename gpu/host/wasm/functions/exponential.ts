/** Exponentials, logarithms, powers and what is made of them. */
import { EXPM1_Q, exponent, expQ, horner, power, whole } from "./parts.ts";

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

export const exponential: Record<string, string> = {
  // Results go through twice 2^k, or through what a subnormal number needs: 2^-25 2^(k + 25).
  expf: `fn expf(x: f32) -> f32 {
  let t = min(max(x, -104.0), 89.0);${exponent("t", 126)}
  let less = (bitcast<i32>(t) >> 31u) & 0x0d000000;
  return fma(fma(${expQ("r")}, r, 1.0), r, 1.0) * ${power(" + less")} * bitcast<f32>(0x40000000 - less);
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
};
