/** Exponentials, logarithms and powers. */
export const exponential: Record<string, string> = {
  // e^r for |r| <= ln(2) / 2, by its series.
  expSmall: `fn expSmall(r: f32) -> f32 {
  let q = fma(fma(fma(fma(fma(1.9841270e-4, r, 1.3888889e-3), r, 8.3333333e-3), r, 4.1666667e-2), r, 0.16666667), r, 0.5);
  return fma(q * r, r, r) + 1.0;
}`,
  // e^x = 2^k e^r with r = x - k ln 2, ln 2 = 355 / 512 - 2.12e-4. Compilers join k a + k b to k (a + b), which would
  // lose the bits that the two parts are there for; the exact integer product keeps them apart. The sum with 1.5 2^23 + 126
  // has k + 126 in its low bits. Results go through twice 2^k, or through what a subnormal number needs: 2^-25 2^(k + 25).
  expf: `fn expf(x: f32) -> f32 {
  let t = clamp(x, -104.0, 89.0);
  let m = bitcast<i32>(t * 1.4426950408889634 + 12583038.0);
  let k = m - 0x4b40007e;
  let less = (bitcast<i32>(t) >> 31u) & 0x0d000000;
  let r = (t - f32(k * 355) * 0.001953125) + f32(k) * 2.1219444e-4;
  let q = fma(fma(fma(fma(1.38143206e-3, r, 0.00836885069), r, 0.0416684002), r, 0.166665196), r, 0.49999994);
  let e = fma(fma(q, r, 1.0), r, 1.0) * bitcast<f32>((m << 23u) + less) * bitcast<f32>(0x40000000 - less);
  return select(e, x, isNan(x));
}`,
  // ln x = k ln 2 + ln(1 + f), f from sqrt(1/2) - 1 to sqrt(2) - 1; ln(1 + f) = 2 atanh(s), s = f / (2 + f).
  logf: `fn logf(x: f32) -> f32 {
  let bits = bitcast<u32>(x);
  if ((bits << 1u) == 0u) { return -inf(); }
  if (bits >= 0x7f800000u) { return select(nan(), x, bits == 0x7f800000u); }
  let tiny = bits < 0x00800000u;
  let v = select(x, x * 8388608.0, tiny);
  if (v == 0.0) { return -inf(); }
  let b = bitcast<u32>(v);
  let e = bitcast<i32>(b - 0x3f3504f3u) >> 23u;
  let k = f32(e - select(0, 23, tiny));
  let f = bitcast<f32>(b - (bitcast<u32>(e) << 23u)) - 1.0;
  let s = f / (2.0 + f);
  let z = s * s;
  let r = z * fma(fma(fma(fma(0.18181818, z, 0.22222222), z, 0.28571429), z, 0.4), z, 0.66666667);
  let h = 0.5 * f * f;
  return fma(k, 0.693359375, f - (h - fma(s, h + r, k * -2.1219444e-4)));
}`,
  // ln(1 + u) for u from 0 to 1 as 2 atanh(u / (2 + u)).
  log1pSmall: `fn log1pSmall(u: f32) -> f32 {
  let s = u / (2.0 + u);
  let z = s * s;
  let r = fma(fma(fma(fma(fma(fma(0.13333333, z, 0.15384615), z, 0.18181818), z, 0.22222222), z, 0.28571429), z, 0.4), z, 0.66666667);
  return fma(s * z, r, 2.0 * s);
}`,
  powi: `fn powi(x: i32, y: i32) -> i32 {
  if (y < 0) { return select(select(0, select(1, -1, (y & 1) == 1), x == -1), 1, x == 1); }
  var n = y; var b = x; var r = 1;
  while (n > 0) { if ((n & 1) == 1) { r *= b; } b *= b; n = n >> 1u; }
  return r;
}`,
  powu: `fn powu(x: u32, y: u32) -> u32 {
  var n = y; var b = x; var r = 1u;
  while (n > 0u) { if ((n & 1u) == 1u) { r *= b; } b *= b; n = n >> 1u; }
  return r;
}`,
  powf: `fn powf(x: f32, y: f32) -> f32 {
  if (y == 0.0 || x == 1.0) { return 1.0; }
  if (isNan(x) || isNan(y)) { return nan(); }
  let a = abs(x);
  let n = abs(y);
  let whole = n >= 8388608.0 || floor(n) == n;
  // Small whole exponents by multiplication: exact where the result is.
  if (whole && n <= 64.0) {
    var k = u32(n); var b = x; var r = 1.0;
    while (k > 0u) { if ((k & 1u) == 1u) { r *= b; } b *= b; k = k >> 1u; }
    return select(r, 1.0 / r, y < 0.0);
  }
  let odd = whole && n < 16777216.0 && (u32(min(n, 16777216.0)) & 1u) == 1u;
  let flip = odd && (bitcast<u32>(x) >> 31u) == 1u;
  if (a == 0.0 || !isFinite(a)) {
    let r = select(0.0, inf(), (a != 0.0) == (y > 0.0));
    return select(r, -r, flip);
  }
  if (x < 0.0 && !whole) { return nan(); }
  if (n > 4.0e9) { return select(select(0.0, inf(), (a > 1.0) == (y > 0.0)), 1.0, a == 1.0); }
  let r = powPositive(a, y);
  return select(r, -r, flip);
}`,
  // 2^(y log2 a) with log2 a = e + h + l, where e and h are exact, and every product of heads too.
  powPositive: `fn powPositive(a: f32, y: f32) -> f32 {
  let tiny = bitcast<u32>(a) < 0x00800000u;
  let b = bitcast<u32>(select(a, a * 8388608.0, tiny));
  let k = bitcast<i32>(b - 0x3f3504f3u) >> 23u;
  let e = f32(k - select(0, 23, tiny));
  let f = bitcast<f32>(b - (bitcast<u32>(k) << 23u)) - 1.0;
  let d = 2.0 + f;
  let s = f / d;
  let sh = head(s); let sl = s - sh;
  let dh = head(d); let dl = (2.0 - dh) + f;
  let rest = ((f - sh * dh) - sh * dl - sl * d) / d;
  let z = s * s;
  let tail = s * z * fma(fma(fma(fma(0.26230819, z, 0.32059890), z, 0.41219859), z, 0.57707802), z, 0.96179669);
  let h = sh * 2.884765625;
  let l = sh * 0.0006244567779 + (sl + rest) * 2.88539 + tail;
  let yh = head(y); let yl = y - yh;
  let hh = head(h); let hl = h - hh;
  let i = round(y * e + y * (h + l));
  if (i > 130.0) { return inf(); }
  if (i < -152.0) { return 0.0; }
  let r = ((yh * e - i) + yh * hh) + (yl * (e + h) + (yh * hl + y * l));
  return scale2(expSmall(r * 0.69314718056), i32(i));
}`,
  exp2f: `fn exp2f(x: f32) -> f32 {
  if (isNan(x)) { return x; }
  if (x >= 128.0) { return inf(); }
  if (x < -150.0) { return 0.0; }
  let k = round(x);
  return scale2(expSmall((x - k) * 0.69314718), i32(k));
}`,
  // e^x - 1; below ln(2) / 2 by the series of e^x without its 1.
  expm1f: `fn expm1f(x: f32) -> f32 {
  if (abs(x) < 0.35) {
    let q = fma(fma(fma(fma(fma(1.9841270e-4, x, 1.3888889e-3), x, 8.3333333e-3), x, 4.1666667e-2), x, 0.16666667), x, 0.5);
    return fma(q * x, x, x);
  }
  return expf(x) - 1.0;
}`,
  log1pf: `fn log1pf(x: f32) -> f32 {
  if (abs(x) < 0.5) { return log1pSmall(x); }
  return logf(1.0 + x);
}`,
  // x = 2^k (1 + f) as (k, f), f from sqrt(1/2) - 1 to sqrt(2) - 1, of normal and subnormal x.
  logParts: `fn logParts(x: f32) -> vec2<f32> {
  let tiny = bitcast<u32>(x) < 0x00800000u;
  let b = bitcast<u32>(select(x, x * 8388608.0, tiny));
  let e = bitcast<i32>(b - 0x3f3504f3u) >> 23u;
  return vec2<f32>(f32(e - select(0, 23, tiny)), bitcast<f32>(b - (bitcast<u32>(e) << 23u)) - 1.0);
}`,
  log2f: `fn log2f(x: f32) -> f32 {
  let e = logf(x);
  if (!isFinite(e)) { return e; }
  let p = logParts(x);
  return fma(log1pSmall(p.y), 1.4426950408889634, p.x);
}`,
  log10f: `fn log10f(x: f32) -> f32 {
  let e = logf(x);
  if (!isFinite(e)) { return e; }
  let p = logParts(x);
  return fma(p.x, 0.301025390625, fma(p.x, 4.605038981195e-6, log1pSmall(p.y) * 0.4342944819032518));
}`,
  // ln(e^x + e^y) from the larger one.
  logaddexpf: `fn logaddexpf(x: f32, y: f32) -> f32 {
  if (isNan(x) || isNan(y)) { return nan(); }
  let m = max(x, y);
  return select(m + log1pSmall(expf(min(x, y) - m)), m, isInf(m));
}`,
  xlogyf:
    `fn xlogyf(x: f32, y: f32) -> f32 { return select(x * logf(y), 0.0, x == 0.0 && !isNan(x) && !isNan(y)); }`,
  xlog1pyf:
    `fn xlog1pyf(x: f32, y: f32) -> f32 { return select(x * log1pf(y), 0.0, x == 0.0 && !isNan(x) && !isNan(y)); }`,
};
