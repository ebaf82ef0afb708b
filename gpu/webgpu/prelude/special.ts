/** The error function, the gamma function and their relatives. */
import {
  CODY,
  DIGAMMA,
  DIGAMMA_AT_ROOT,
  DIGAMMA_ROOT,
  hornerWgsl,
  LGAMMA_AT_1,
  LGAMMA_AT_2,
  MAX_ORDER,
  PPND7,
  ratioWgsl,
  STIRLING,
} from "../../../ops/special.ts";

/** The root of digamma in f32. */
const ROOT = Math.fround(DIGAMMA_ROOT[0]);

export const special: Record<string, string> = {
  // e^(x²) erfc(x) from 15/32 on.
  erfcxAbove: `fn erfcxAbove(x: f32) -> f32 {
  if (x <= 4.0) { return ${ratioWgsl(CODY.middle, "x")}; }
  let z = 1.0 / (x * x);
  return (0.5641895835477563 - z * ${ratioWgsl(CODY.large, "z")}) / x;
}`,
  // e^(-c x²); the square of x's head is exact.
  expMinusSquare: `fn expMinusSquare(x: f32, c: f32) -> f32 {
  let h = head(x);
  return expf(-c * (h * h)) * expf(-c * ((x - h) * (x + h)));
}`,
  erfcAbove: `fn erfcAbove(x: f32) -> f32 {
  if (x > 10.1) { return 0.0; }
  return expMinusSquare(x, 1.0) * erfcxAbove(x);
}`,
  // The normal distribution function.
  ndtrf: `fn ndtrf(x: f32) -> f32 {
  if (isNan(x)) { return x; }
  let a = abs(x) * 0.7071067811865476;
  if (a <= 0.46875) { return 0.5 + 0.5 * erff(x * 0.7071067811865476); }
  if (a > 10.1) { return select(1.0, 0.0, x < 0.0); }
  let tail = 0.5 * expMinusSquare(x, 0.5) * erfcxAbove(a);
  return select(1.0 - tail, tail, x < 0.0);
}`,
  erff: `fn erff(x: f32) -> f32 {
  let a = abs(x);
  if (isNan(x)) { return x; }
  if (a <= 0.46875) {
    let z = x * x;
    return x * ${ratioWgsl(CODY.small, "z")};
  }
  return copysignf(1.0 - erfcAbove(a), x);
}`,
  erfcf: `fn erfcf(x: f32) -> f32 {
  let a = abs(x);
  if (isNan(x)) { return x; }
  if (a <= 0.46875) { return 1.0 - erff(x); }
  let tail = erfcAbove(a);
  return select(tail, 2.0 - tail, x < 0.0);
}`,
  erfinvf: `fn erfinvf(x: f32) -> f32 {
  let a = abs(x);
  if (isNan(x) || a > 1.0) { return nan(); }
  if (a == 1.0) { return copysignf(inf(), x); }
  if (a <= 0.85) {
    let r = fma(-0.25 * x, x, 0.180625);
    return x * 0.3535533905932738 * ${ratioWgsl(PPND7.centre, "r")};
  }
  let r = sqrt(-logf(0.5 * (1.0 - a))) - 1.6;
  return copysignf(0.7071067811865476 * ${ratioWgsl(PPND7.tail, "r")}, x);
}`,
  // x less the nearest even number, from -1 to 1.
  evenRest:
    `fn evenRest(x: f32) -> f32 { return select(x - 2.0 * round(0.5 * x), 0.0, abs(x) >= 16777216.0); }`,
  sinPif: `fn sinPif(x: f32) -> f32 {
  if (!isFinite(x)) { return nan(); }
  let r = evenRest(x); let a = abs(r); let b = min(a, 1.0 - a);
  let y = select(sinSmall(3.14159265 * b), cosSmall(3.14159265 * (0.5 - b)), b > 0.25);
  return select(y, -y, r < 0.0);
}`,
  cosPif: `fn cosPif(x: f32) -> f32 {
  if (!isFinite(x)) { return nan(); }
  let a = abs(evenRest(x)); let b = min(a, 1.0 - a);
  let y = select(cosSmall(3.14159265 * b), sinSmall(3.14159265 * (0.5 - b)), b > 0.25);
  return select(y, -y, a > 0.5);
}`,
  // ln Γ(2 + z) for z from -3/4 to 1/2.
  lgammaAt2: `fn lgammaAt2(z: f32) -> f32 { return z * (${hornerWgsl(LGAMMA_AT_2.slice(0, 18), "z")}); }`,
  lgammaAbove: `fn lgammaAbove(x: f32) -> f32 {
  if (x >= 8.0) {
    let z = 1.0 / (x * x);
    return (x - 0.5) * (logf(x) - 1.0) + (0.4189385332 + (${hornerWgsl(STIRLING.slice(0, 4), "z")}) / x);
  }
  if (x < 0.5) { return lgammaAt2(x) - log1pf(x) - logf(x); }
  if (x < 0.75) { return lgammaAt2(x - 1.0) - logf(x); }
  if (x < 1.25) {
    let z = x - 1.0;
    return z * (${hornerWgsl(LGAMMA_AT_1.slice(0, 12), "z")});
  }
  var factor = 1.0; var y = x;
  while (y > 2.5) { y -= 1.0; factor *= y; }
  return lgammaAt2(y - 2.0) + logf(factor);
}`,
  lgammaf: `fn lgammaf(x: f32) -> f32 {
  if (isNan(x)) { return x; }
  if (isInf(x)) { return inf(); }
  if (x > 0.0) { return lgammaAbove(x); }
  if (whole(x) || x <= -8388608.0) { return inf(); }
  return 1.1447298858494002 - logf(abs(sinPif(x))) - lgammaAbove(1.0 - x);
}`,
  digammaAbove: `fn digammaAbove(x: f32) -> f32 {
  if (x >= 8.0) {
    let r = 1.0 / x; let z = r * r;
    return logf(x) - (0.5 * r + z * (${hornerWgsl(DIGAMMA.slice(0, 5), "z")}));
  }
  var y = x; var sum = 0.0;
  if (y < 1.0) { sum = -1.0 / y; y += 1.0; }
  while (y > 2.0) { y -= 1.0; sum += 1.0 / y; }
  let d = (y - ${ROOT}) - ${DIGAMMA_ROOT[0] - ROOT};
  return d * (${hornerWgsl(DIGAMMA_AT_ROOT.slice(0, 20), "d")}) + sum;
}`,
  digammaf: `fn digammaf(x: f32) -> f32 {
  if (isNan(x)) { return x; }
  if (x == 0.0) { return copysignf(inf(), -x); }
  if (x > 0.0) { return digammaAbove(x); }
  if (isInf(x) || whole(x) || x <= -8388608.0) { return nan(); }
  return digammaAbove(1.0 - x) - 3.141592653589793 * cosPif(x) / sinPif(x);
}`,
  // k! / a^(k + 1), factor by factor, so that neither part overflows alone.
  factorialPower: `fn factorialPower(k: i32, a: f32) -> f32 {
  var p = 1.0 / a;
  for (var j = 1; j <= k; j++) { p *= f32(j) / a; }
  return p;
}`,
  // n! times the sum of (q + k)^-(n + 1), as on the host with fewer terms.
  zetaSum: `fn zetaSum(n: i32, q: f32) -> f32 {
  var sum = 0.0; var a = q; let c = f32(n);
  while (a < 6.0 + c) { sum += factorialPower(n, a); a += 1.0; }
  let z = 1.0 / a; let t = c * z * (c + 1.0) * z;
  let u = (c + 2.0) * z * (c + 3.0) * z; let v = (c + 4.0) * z * (c + 5.0) * z; let w = (c + 6.0) * z * (c + 7.0) * z;
  let rest = 0.5 * c * z + t * (0.08333333333 - u * (1.388888889e-3 - v * (3.306878307e-5 - w * 8.267195767e-7)));
  return sum + factorialPower(n - 1, a) * (1.0 + rest);
}`,
  polygammaf: `fn polygammaf(n: f32, x: f32) -> f32 {
  if (isNan(n) || isNan(x) || !whole(n) || n < 0.0 || n > ${MAX_ORDER}.0) { return nan(); }
  if (n == 0.0) { return digammaf(x); }
  let k = i32(n); let sign = select(-1.0, 1.0, (k & 1) == 1);
  if (isInf(x)) { return select(nan(), 0.0 * sign, x > 0.0); }
  if (x > 0.0) { return sign * zetaSum(k, x); }
  let g = -x - floor(-x);
  if (g == 0.0) { return sign * inf(); }
  return sign * zetaSum(k, 1.0 - g) + (zetaSum(k, g) - zetaSum(k, 1.0 - x));
}`,
  sincf: `fn sincf(x: f32) -> f32 { return select(sinPif(x) / (3.141592653589793 * x), 1.0, x == 0.0); }`,
  // Series for small x, else z f(n) + n f(n - 1) = the n-th derivative of sin z.
  sincDerivativef: `fn sincDerivativef(n: f32, x: f32) -> f32 {
  if (isNan(n) || !isFinite(x) || !whole(n) || n < 0.0 || n > ${MAX_ORDER}.0) { return nan(); }
  let z = 3.141592653589793 * x; let k = i32(n);
  var scale = 1.0;
  for (var j = 0; j < k; j++) { scale *= 3.141592653589793; }
  if (abs(z) < max(1.0, n)) {
    let odd = k & 1;
    var t = select(1.0, z, odd == 1);
    if ((((k + 1) / 2) & 1) == 1) { t = -t; }
    var f = 0.0;
    for (var j = odd; j < 20 + 4 * k; j += 2) {
      f += t / f32(k + j + 1);
      t *= -z * z / f32((j + 1) * (j + 2));
    }
    return scale * f;
  }
  let s = sinPif(x); let c = cosPif(x);
  var f = s / z;
  for (var j = 1; j <= k; j++) {
    let d = select(select(s, c, (j & 1) == 1), -select(s, c, (j & 1) == 1), (j & 2) == 2);
    f = (d - f32(j) * f) / z;
  }
  return scale * f;
}`,
};
