/** Functions that kernels use, right at NaN, zeros and infinities: a kernel gets those which its text names. */
import { normalFromBitsWgsl } from "../../ops/definitions/bits.ts";
import { threefryWgsl } from "../../ops/definitions/random.ts";

/** Compilers fold `x != x` to false and max(NaN, 1) to 1: NaN is told by its bits. */
const FUNCTIONS: Record<string, string> = {
  isNan: `fn isNan(x: f32) -> bool { return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u; }`,
  isFinite: `fn isFinite(x: f32) -> bool { return (bitcast<u32>(x) & 0x7fffffffu) < 0x7f800000u; }`,
  // A bf16 is the upper half of an f32; word i / 2 holds element i.
  unpackBf16:
    `fn unpackBf16(word: u32, i: i32) -> f32 { return bitcast<f32>(select(word << 16u, word & 0xffff0000u, (i & 1) == 1)); }`,
  packBf16: `fn packBf16(x: f32) -> u32 {
  let bits = bitcast<u32>(x);
  return select(bits + 0x7fffu + ((bits >> 16u) & 1u), bits | 0x400000u, isNan(x)) >> 16u;
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
  let half = k / 2;
  return x * bitcast<f32>(u32(half + 127) << 23u) * bitcast<f32>(u32(k - half + 127) << 23u);
}`,
  // e^r for |r| <= ln(2) / 2, by its series.
  expSmall: `fn expSmall(r: f32) -> f32 {
  let q = fma(fma(fma(fma(fma(1.9841270e-4, r, 1.3888889e-3), r, 8.3333333e-3), r, 4.1666667e-2), r, 0.16666667), r, 0.5);
  return fma(q * r, r, r) + 1.0;
}`,
  // e^x = 2^k e^r with r = x - k ln 2, ln 2 = 355 / 512 - 2.12e-4. Compilers join k a + k b to k (a + b), which would
  // lose the bits that the two parts are there for; the exact integer product keeps them apart.
  expf: `fn expf(x: f32) -> f32 {
  if (isNan(x)) { return x; }
  if (x > 88.8) { return inf(); }
  if (x < -104.0) { return 0.0; }
  let k = i32(round(x * 1.4426950408889634));
  let r = (x - f32(k * 355) * 0.001953125) + f32(k) * 2.1219444e-4;
  return scale2(expSmall(r), k);
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
  sigmoidf: `fn sigmoidf(x: f32) -> f32 {
  let e = expf(-abs(x));
  return select(1.0, e, x < 0.0) / (1.0 + e);
}`,
  softplusf: `fn softplusf(x: f32) -> f32 { return maxf(x, 0.0) + log1pSmall(expf(-abs(x))); }`,
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
  // The upper 12 bits of a mantissa: products of two heads are exact, and compilers do not see through it.
  head: `fn head(x: f32) -> f32 { return bitcast<f32>(bitcast<u32>(x) & 0xfffff000u); }`,
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
  if (!isFinite(q) || !isFinite(y) || abs(q) >= 8388608.0) { return floor(q); }
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
  normalFromBits: normalFromBitsWgsl,
  threefry: threefryWgsl,
};

const uses = new Map<string, string[]>();

function named(text: string, except = ""): string[] {
  return Object.keys(FUNCTIONS).filter((name) => name !== except && new RegExp(`\\b${name}\\(`).test(text));
}

/** The functions that `text` names, and those which they name, in order of definition. */
export function preludeFor(text: string): string {
  const wanted = new Set<string>();
  const stack = named(text);
  while (stack.length > 0) {
    const name = stack.pop()!;
    if (wanted.has(name)) continue;
    wanted.add(name);
    let inner = uses.get(name);
    if (inner === undefined) uses.set(name, inner = named(FUNCTIONS[name], name));
    stack.push(...inner);
  }
  return Object.keys(FUNCTIONS).filter((name) => wanted.has(name)).map((name) => FUNCTIONS[name]).join("\n");
}
