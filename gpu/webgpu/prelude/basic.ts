/** Tests of special values, orders, signs and powers of two: what the other functions are made of. */
/** Compilers fold `x != x` to false and max(NaN, 1) to 1: NaN is told by its bits. */
export const basic: Record<string, string> = {
  isNan: `fn isNan(x: f32) -> bool { return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u; }`,
  isFinite: `fn isFinite(x: f32) -> bool { return (bitcast<u32>(x) & 0x7fffffffu) < 0x7f800000u; }`,
  // A bf16 is the upper half of an f32; word i / 2 holds element i.
  unpackBf16:
    `fn unpackBf16(word: u32, i: i32) -> f32 { return bitcast<f32>(select(word << 16u, word & 0xffff0000u, (i & 1) == 1)); }`,
  unpackBf16Quad: `fn unpackBf16Quad(w: vec2<u32>) -> vec4<f32> {
  return bitcast<vec4<f32>>(vec4<u32>(w.x << 16u, w.x & 0xffff0000u, w.y << 16u, w.y & 0xffff0000u));
}`,
  packBf16: `fn packBf16(x: f32) -> u32 {
  let bits = bitcast<u32>(x);
  return select(bits + 0x7fffu + ((bits >> 16u) & 1u), bits | 0x400000u, isNan(x)) >> 16u;
}`,
  packBf16Quad: `fn packBf16Quad(v: vec4<f32>) -> vec2<u32> {
  return vec2<u32>(packBf16(v.x) | packBf16(v.y) << 16u, packBf16(v.z) | packBf16(v.w) << 16u);
}`,
  // Through a variable, since a constant expression may not be infinite.
  inf: `fn inf() -> f32 { var bits = 0x7f800000u; return bitcast<f32>(bits); }`,
  nan: `fn nan() -> f32 { var bits = 0x7fc00000u; return bitcast<f32>(bits); }`,
  maxf: `fn maxf(a: f32, b: f32) -> f32 { return select(select(max(a, b), b, isNan(b)), a, isNan(a)); }`,
  minf: `fn minf(a: f32, b: f32) -> f32 { return select(select(min(a, b), b, isNan(b)), a, isNan(a)); }`,
  eqf: `fn eqf(a: f32, b: f32) -> bool { return a == b && !isNan(a) && !isNan(b); }`,
  nef: `fn nef(a: f32, b: f32) -> bool { return !eqf(a, b); }`,
  ltf: `fn ltf(a: f32, b: f32) -> bool { return a < b && !isNan(a) && !isNan(b); }`,
  lef: `fn lef(a: f32, b: f32) -> bool { return a <= b && !isNan(a) && !isNan(b); }`,
  gtf: `fn gtf(a: f32, b: f32) -> bool { return a > b && !isNan(a) && !isNan(b); }`,
  gef: `fn gef(a: f32, b: f32) -> bool { return a >= b && !isNan(a) && !isNan(b); }`,
  signf: `fn signf(x: f32) -> f32 { return select(sign(x), x, isNan(x)); }`,
  // 2^k for k from -252 to 254, in two factors so that results may be subnormal.
  scale2: `fn scale2(x: f32, k: i32) -> f32 {
  let half = k >> 1u;
  return x * bitcast<f32>(u32(half + 127) << 23u) * bitcast<f32>(u32(k - half + 127) << 23u);
}`,
  // The upper 12 bits of a mantissa: products of two heads are exact, and compilers do not see through it.
  head: `fn head(x: f32) -> f32 { return bitcast<f32>(bitcast<u32>(x) & 0xfffff000u); }`,
  isInf: `fn isInf(x: f32) -> bool { return (bitcast<u32>(x) & 0x7fffffffu) == 0x7f800000u; }`,
  // The sign bit, also of -0.
  minus: `fn minus(x: f32) -> bool { return (bitcast<u32>(x) >> 31u) == 1u; }`,
  signbitf: `fn signbitf(x: f32) -> bool { return minus(x) && !isNan(x); }`,
  copysignf: `fn copysignf(x: f32, y: f32) -> f32 {
  return bitcast<f32>((bitcast<u32>(x) & 0x7fffffffu) | (bitcast<u32>(y) & 0x80000000u));
}`,
  // NaN loses.
  fmaxf: `fn fmaxf(a: f32, b: f32) -> f32 { return select(select(max(a, b), a, isNan(b)), b, isNan(a)); }`,
  fminf: `fn fminf(a: f32, b: f32) -> f32 { return select(select(min(a, b), a, isNan(b)), b, isNan(a)); }`,
  whole: `fn whole(x: f32) -> bool { return abs(x) < 8388608.0 && floor(x) == x; }`,
  // Pair k of n in a round, smaller number first; one that meets n, or more, sits out. The last stays, the others go round.
  pairOf: `fn pairOf(k: i32, n: i32, round: i32) -> vec2<i32> {
  let m = n + n % 2 - 1; let r = round % m;
  let p = select((r + k) % m, m, k == 0); let q = select((r - k + m) % m, r, k == 0);
  return vec2<i32>(min(p, q), max(p, q));
}`,
};
