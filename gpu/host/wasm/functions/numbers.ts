/** Halves, and remainders. */

export const numbers: Record<string, string> = {
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
};
