/** Circular and hyperbolic functions and their inverses. */
export const trigonometric: Record<string, string> = {
  // Product of two words, high half.
  mulHigh: `fn mulHigh(a: u32, b: u32) -> u32 {
  let a0 = a & 0xffffu; let a1 = a >> 16u; let b0 = b & 0xffffu; let b1 = b >> 16u;
  let low = a1 * b0 + ((a0 * b0) >> 16u);
  return a1 * b1 + (low >> 16u) + ((a0 * b1 + (low & 0xffffu)) >> 16u);
}`,
  // x - k pi / 2 from -pi / 4 to pi / 4, and k mod 4. Large x: the bits of 2 / pi that matter (Payne and Hanek, 1983).
  quarters: `fn quarters(x: f32) -> vec2<f32> {
  let a = abs(x);
  if (a < 2000.0) {
    let k = round(x * 0.6366197723675814);
    return vec2<f32>((x - k * 1.5703125 - k * 4.837512969970703e-4) - k * 7.549790126404332e-8, k - 4.0 * floor(k * 0.25));
  }
  if (!isFinite(x)) { return vec2<f32>(nan(), 0.0); }
  var w = array<u32, 9>(0u, 0xa2f9836eu, 0x4e441529u, 0xfc2757d1u, 0xf534ddc0u, 0xdb629599u, 0x3c439041u, 0xfe5163abu, 0xdebbc561u);
  let bits = bitcast<u32>(a);
  let m = (bits & 0x007fffffu) | 0x00800000u;
  // x = m 2^e; bits of 2 / pi above 2^(1 - e) make whole turns.
  let s = (bits >> 23u) - 120u;
  let i = s >> 5u; let b = s & 31u;
  let w0 = select(w[i], (w[i] << b) | (w[i + 1u] >> ((32u - b) & 31u)), b > 0u);
  let w1 = select(w[i + 1u], (w[i + 1u] << b) | (w[i + 2u] >> ((32u - b) & 31u)), b > 0u);
  let w2 = select(w[i + 2u], (w[i + 2u] << b) | (w[i + 3u] >> ((32u - b) & 31u)), b > 0u);
  let mid = m * w1 + mulHigh(m, w2);
  let high = m * w0 + mulHigh(m, w1) + select(0u, 1u, mid < mulHigh(m, w2));
  let f = (high << 2u) | (mid >> 30u);
  let k = (high >> 30u) + (f >> 31u);
  let r = (f32(bitcast<i32>(f)) + f32(mid << 2u) * 2.3283064365386963e-10) * 3.657295198e-10;
  let q = select(k, 4u - (k & 3u), x < 0.0) & 3u;
  return vec2<f32>(select(r, -r, x < 0.0), f32(q));
}`,
  sinSmall: `fn sinSmall(r: f32) -> f32 {
  let z = r * r;
  return fma(r * z, fma(fma(fma(2.7557319e-6, z, -1.9841270e-4), z, 8.3333333e-3), z, -0.16666667), r);
}`,
  cosSmall: `fn cosSmall(r: f32) -> f32 {
  let z = r * r;
  return fma(z, fma(fma(fma(fma(-2.7557319e-7, z, 2.4801587e-5), z, -1.3888889e-3), z, 4.1666667e-2), z, -0.5), 1.0);
}`,
  turn: `fn turn(r: f32, q: f32) -> f32 {
  let y = select(sinSmall(r), cosSmall(r), q == 1.0 || q == 3.0);
  return select(y, -y, q >= 2.0);
}`,
  sinf: `fn sinf(x: f32) -> f32 { let t = quarters(x); return turn(t.x, t.y); }`,
  cosf:
    `fn cosf(x: f32) -> f32 { let t = quarters(x); return turn(t.x, select(t.y + 1.0, 0.0, t.y == 3.0)); }`,
  tanhf: `fn tanhf(x: f32) -> f32 {
  let a = abs(x);
  if (a < 0.55) {
    // The series of tanh.
    let z = x * x;
    let q = fma(fma(fma(fma(fma(fma(fma(-5.9e-4, z, 1.4558344e-3), z, -3.5921280e-3), z, 8.8632355e-3), z, -2.1869489e-2), z, 5.3968254e-2), z, -0.13333333), z, 0.33333333);
    return fma(-x * z, q, x);
  }
  let t = 1.0 - 2.0 / (expf(2.0 * min(a, 20.0)) + 1.0);
  return select(select(t, -t, x < 0.0), x, isNan(x));
}`,
  tanf: `fn tanf(x: f32) -> f32 {
  let t = quarters(x); let s = sinSmall(t.x); let c = cosSmall(t.x);
  return select(s / c, -c / s, t.y == 1.0 || t.y == 3.0);
}`,
  // asin x = x + x³ p(x²) up to 1/2.
  asinSmall: `fn asinSmall(x: f32) -> f32 {
  let z = x * x;
  return fma(x * z, fma(fma(fma(fma(fma(0.0337996551, z, 0.0170816904), z, 0.0311153121), z, 0.0445981083), z, 0.0750009852), z, 0.166666663), x);
}`,
  // Above 1/2 by the half angle: asin x = π/2 - 2 asin sqrt((1 - x) / 2).
  asinf: `fn asinf(x: f32) -> f32 {
  let a = abs(x);
  if (isNan(x) || a > 1.0) { return nan(); }
  if (a <= 0.5) { return asinSmall(x); }
  return copysignf(1.5707963267948966 - 2.0 * asinSmall(sqrt(0.5 * (1.0 - a))), x);
}`,
  acosf: `fn acosf(x: f32) -> f32 {
  let a = abs(x);
  if (isNan(x) || a > 1.0) { return nan(); }
  if (a <= 0.5) { return 1.5707963267948966 - asinSmall(x); }
  let t = 2.0 * asinSmall(sqrt(0.5 * (1.0 - a)));
  return select(t, 3.141592653589793 - t, x < 0.0);
}`,
  // atan x = x + x³ p(x²) up to tan(π/8).
  atanSmall: `fn atanSmall(x: f32) -> f32 {
  let z = x * x;
  return fma(x * z, fma(fma(fma(fma(-0.0645638556, z, 0.107452696), z, -0.142641218), z, 0.199995463), z, -0.333333318), x);
}`,
  // Of n / d >= 0: above tan(π/8) less π/4, above tan(3π/8) by its reciprocal.
  atanRatio: `fn atanRatio(n: f32, d: f32) -> f32 {
  if (n > 2.41421356 * d) { return 1.5707963267948966 - atanSmall(d / n); }
  if (n > 0.41421356 * d) { return 0.7853981633974483 + atanSmall((n - d) / (n + d)); }
  return atanSmall(n / d);
}`,
  atanf: `fn atanf(x: f32) -> f32 {
  if (isNan(x)) { return x; }
  let a = abs(x);
  if (a > 1e9) { return copysignf(1.5707963267948966, x); }
  return copysignf(atanRatio(a, 1.0), x);
}`,
  atan2f: `fn atan2f(y: f32, x: f32) -> f32 {
  if (isNan(x) || isNan(y)) { return nan(); }
  var n = abs(y); var d = abs(x);
  var t = 0.0;
  if (isInf(y) && isInf(x)) { t = 0.7853981633974483; }
  else if (isInf(y)) { t = 1.5707963267948966; }
  else if (n != 0.0 && !isInf(x)) {
    // Sums and products of neither overflow.
    if (max(n, d) > 1e37) { n *= 0.0625; d *= 0.0625; }
    t = atanRatio(n, d);
  }
  return copysignf(select(t, 3.141592653589793 - t, minus(x)), y);
}`,
  sinhf: `fn sinhf(x: f32) -> f32 {
  let a = abs(x);
  if (isNan(x)) { return x; }
  if (a < 1.0) {
    let z = x * x;
    return fma(x * z, fma(fma(fma(2.80614171e-6, z, 1.98381227e-4), z, 8.3333396e-3), z, 0.166666666), x);
  }
  // e^(a / 2) squared does not overflow before the result.
  let h = expf(0.5 * min(a, 300.0));
  let e = select(0.5 * expf(min(a, 80.0)), 0.5 * h * h, a > 80.0);
  return copysignf(e - 0.25 / e, x);
}`,
  coshf: `fn coshf(x: f32) -> f32 {
  let a = abs(x);
  if (isNan(x)) { return x; }
  let h = expf(0.5 * min(a, 300.0));
  let e = select(0.5 * expf(min(a, 80.0)), 0.5 * h * h, a > 80.0);
  return e + 0.25 / e;
}`,
  // ln(a + sqrt(a² + 1)).
  asinhf: `fn asinhf(x: f32) -> f32 {
  let a = abs(x);
  if (!isFinite(x)) { return x; }
  if (a > 1e9) { return copysignf(logf(a) + 0.6931471805599453, x); }
  return copysignf(log1pf(a + a * a / (1.0 + sqrt(fma(a, a, 1.0)))), x);
}`,
  acoshf: `fn acoshf(x: f32) -> f32 {
  if (isNan(x) || x < 1.0) { return nan(); }
  if (isInf(x)) { return x; }
  if (x > 1e9) { return logf(x) + 0.6931471805599453; }
  let t = x - 1.0;
  return log1pf(t + sqrt(t * (t + 2.0)));
}`,
  atanhf: `fn atanhf(x: f32) -> f32 {
  let a = abs(x);
  if (isNan(x) || a > 1.0) { return nan(); }
  if (a == 1.0) { return copysignf(inf(), x); }
  return copysignf(0.5 * log1pf(2.0 * a / (1.0 - a)), x);
}`,
  hypotf: `fn hypotf(x: f32, y: f32) -> f32 {
  if (isInf(x) || isInf(y)) { return inf(); }
  let m = max(abs(x), abs(y)); let n = min(abs(x), abs(y));
  if (isNan(x) || isNan(y)) { return nan(); }
  if (m == 0.0) { return 0.0; }
  let r = n / m;
  return m * sqrt(fma(r, r, 1.0));
}`,
};
