/** Remainders, whole quotients and conversion to whole numbers. */
export const division: Record<string, string> = {
  // The remainder that division leaves, exact: long division of the mantissas.
  fmodf: `fn fmodf(x: f32, y: f32) -> f32 {
  let a = bitcast<u32>(x) & 0x7fffffffu;
  let b = bitcast<u32>(y) & 0x7fffffffu;
  if (b == 0u || a >= 0x7f800000u || b > 0x7f800000u) { return nan(); }
  if (a < b) { return x; }
  var ea = i32(a >> 23u); var eb = i32(b >> 23u);
  var m = a & 0x007fffffu; var n = b & 0x007fffffu;
  if (ea == 0) { ea = 1; } else { m |= 0x00800000u; }
  if (eb == 0) { eb = 1; } else { n |= 0x00800000u; }
  // Both below 2^24; shifts keep m below 2 n, so nothing overflows once m < n.
  m = m % n;
  for (var i = ea - eb; i > 0; i--) {
    m = m << 1u;
    if (m >= n) { m -= n; }
    if (m == 0u) { break; }
  }
  let r = scale2(f32(m), eb - 150);
  return select(r, -r, (bitcast<u32>(x) >> 31u) == 1u);
}`,
  remainderf: `fn remainderf(x: f32, y: f32) -> f32 {
  let r = fmodf(x, y);
  return select(r, r + y, nef(r, 0.0) && (r < 0.0) != (y < 0.0));
}`,
  floordivf: `fn floordivf(x: f32, y: f32) -> f32 {
  let q = x / y;
  if (isNan(q) || isInf(x)) { return select(nan(), q, y == 0.0); }
  if (isInf(y)) { return select(q, -1.0, x != 0.0 && (x < 0.0) != (y < 0.0)); }
  if (isInf(q) || abs(q) >= 8388608.0) { return floor(q); }
  // A quotient just below a whole number rounds up to it: the exact remainder tells. x - r is no larger than x.
  let r = fmodf(x, y);
  let t = round((x - r) / y);
  return select(t, t - 1.0, nef(r, 0.0) && (r < 0.0) != (y < 0.0));
}`,
  floordivu: `fn floordivu(x: u32, y: u32) -> u32 { return select(x / max(y, 1u), 0u, y == 0u); }`,
  remainderu: `fn remainderu(x: u32, y: u32) -> u32 { return select(x % max(y, 1u), 0u, y == 0u); }`,
  remainderi: `fn remainderi(x: i32, y: i32) -> i32 { return select(x - y * floordivi(x, y), 0, y == 0); }`,
  floordivi: `fn floordivi(x: i32, y: i32) -> i32 {
  if (y == 0) { return 0; }
  let q = x / y;
  return select(q, q - 1, q * y != x && (x < 0) != (y < 0));
}`,
  // Conversion to 32-bit whole numbers as a store on the host does: modulo 2^32, and 0 for what is not finite.
  wholef: `fn wholef(x: f32) -> i32 {
  if (abs(x) < 2147483648.0) { return i32(x); }
  let bits = bitcast<u32>(x);
  let shift = ((bits >> 23u) & 0xffu) - 150u;
  if (shift > 31u) { return 0; }
  let m = bitcast<i32>(((bits & 0x007fffffu) | 0x00800000u) << shift);
  return select(m, -m, x < 0.0);
}`,
  // The quotient of floats towards 0, by its exact remainder.
  truncdivf: `fn truncdivf(x: f32, y: f32) -> f32 {
  let q = x / y;
  if (!isFinite(q) || !isFinite(y) || abs(q) >= 8388608.0) { return trunc(q); }
  return copysignf(round((abs(x) - fmodf(abs(x), abs(y))) / abs(y)), q);
}`,
  truncdivi: `fn truncdivi(x: i32, y: i32) -> i32 { return select(x / select(y, 1, y == 0), 0, y == 0); }`,
  fmodi: `fn fmodi(x: i32, y: i32) -> i32 { return select(x - y * truncdivi(x, y), 0, y == 0); }`,
};
