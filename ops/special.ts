/** Special functions of real numbers in double precision, to about 1e-15 of their size. */

/** The coefficients of a polynomial, the constant first. */
type Polynomial = readonly number[];

/** A quotient of polynomials. */
export type Quotient = readonly [Polynomial, Polynomial];

/** c0 + c1 x + c2 x² ... */
export function horner(c: Polynomial, x: number): number {
  let s = 0;
  for (let k = c.length - 1; k >= 0; k--) s = s * x + c[k];
  return s;
}

/** The same in WGSL, in single precision. */
export function hornerWgsl(c: Polynomial, x: string): string {
  const text = (a: number): string => a.toExponential(9);
  return c.slice(0, -1).reduceRight((s, a) => `fma(${s}, ${x}, ${text(a)})`, text(c[c.length - 1]));
}

/** p(x) / q(x). */
export function ratio([p, q]: Quotient, x: number): number {
  return horner(p, x) / horner(q, x);
}

/** The same in WGSL. */
export function ratioWgsl([p, q]: Quotient, x: string): string {
  return `((${hornerWgsl(p, x)}) / (${hornerWgsl(q, x)}))`;
}

/**
 * Quotients of polynomials for erf below 15/32 (in x²), erfcx to 4 (in x) and above (in x⁻²): Cody (1969), "Rational
 * Chebyshev approximations for the error function", Mathematics of Computation 23.
 */
export const CODY: Record<"small" | "middle" | "large", Quotient> = {
  small: [
    [
      3.20937758913846947e3,
      3.77485237685302021e2,
      1.13864154151050156e2,
      3.16112374387056560,
      1.85777706184603153e-1,
    ],
    [2.84423683343917062e3, 1.28261652607737228e3, 2.44024637934444173e2, 2.36012909523441209e1, 1],
  ],
  middle: [
    [
      1.23033935479799725e3,
      2.05107837782607147e3,
      1.71204761263407058e3,
      8.81952221241769090e2,
      2.98635138197400131e2,
      6.61191906371416295e1,
      8.88314979438837594,
      5.64188496988670089e-1,
      2.15311535474403846e-8,
    ],
    [
      1.23033935480374942e3,
      3.43936767414372164e3,
      4.36261909014324716e3,
      3.29079923573345963e3,
      1.62138957456669019e3,
      5.37181101862009858e2,
      1.17693950891312499e2,
      1.57449261107098347e1,
      1,
    ],
  ],
  large: [
    [
      6.58749161529837803e-4,
      1.60837851487422766e-2,
      1.25781726111229246e-1,
      3.60344899949804439e-1,
      3.05326634961232344e-1,
      1.63153871373020978e-2,
    ],
    [
      2.33520497626869185e-3,
      6.05183413124413191e-2,
      5.27905102951428412e-1,
      1.87295284992346047,
      2.56852019228982242,
      1,
    ],
  ],
};

/** e^(x²) erfc(x) for x from 15/32 on. */
function erfcxAbove(x: number): number {
  if (x <= 4) return ratio(CODY.middle, x);
  const z = 1 / (x * x);
  return (1 / Math.sqrt(Math.PI) - z * ratio(CODY.large, z)) / x;
}

/** e^(-x²), with x² split so that its rounding does not count. */
function expMinusSquare(x: number): number {
  const h = Math.trunc(x * 16) / 16;
  return Math.exp(-h * h) * Math.exp(-(x - h) * (x + h));
}

/** 2 / √π ∫ e^(-t²) from 0 to x. */
export function erf(x: number): number {
  const a = Math.abs(x);
  if (a <= 0.46875) return x * ratio(CODY.small, x * x);
  if (a >= 6) return Math.sign(x);
  const tail = expMinusSquare(a) * erfcxAbove(a);
  return x > 0 ? 1 - tail : tail - 1;
}

/** 1 - erf(x), without cancellation in the right tail. */
export function erfc(x: number): number {
  const a = Math.abs(x);
  if (a <= 0.46875) return 1 - erf(x);
  const tail = a > 28 ? 0 : expMinusSquare(a) * erfcxAbove(a);
  return x > 0 ? tail : 2 - tail;
}

/** The normal distribution function, without cancellation in the left tail. */
export function ndtr(x: number): number {
  const a = Math.abs(x) * Math.SQRT1_2;
  if (a <= 0.46875) return 0.5 + 0.5 * erf(x * Math.SQRT1_2);
  if (a > 28) return x > 0 ? 1 : 0;
  const h = Math.trunc(x * 16) / 16;
  const tail = 0.5 * Math.exp(-0.5 * h * h) * Math.exp(-0.5 * (x - h) * (x + h)) * erfcxAbove(a);
  return x > 0 ? 1 - tail : tail;
}

/**
 * Quotients of polynomials for the inverse of the normal distribution function: Wichura (1988), "Algorithm AS 241: The
 * percentage points of the normal distribution", Applied Statistics 37; in the centre and in two parts of the tails.
 */
const PPND16: Record<"centre" | "tail" | "far", Quotient> = {
  centre: [
    [
      3.3871328727963666080,
      1.3314166789178437745e2,
      1.9715909503065514427e3,
      1.3731693765509461125e4,
      4.5921953931549871457e4,
      6.7265770927008700853e4,
      3.3430575583588128105e4,
      2.5090809287301226727e3,
    ],
    [
      1,
      4.2313330701600911252e1,
      6.8718700749205790830e2,
      5.3941960214247511077e3,
      2.1213794301586595867e4,
      3.9307895800092710610e4,
      2.8729085735721942674e4,
      5.2264952788528545610e3,
    ],
  ],
  tail: [
    [
      1.42343711074968357734,
      4.63033784615654529590,
      5.76949722146069140550,
      3.64784832476320460504,
      1.27045825245236838258,
      2.41780725177450611770e-1,
      2.27238449892691845833e-2,
      7.74545014278341407640e-4,
    ],
    [
      1,
      2.05319162663775882187,
      1.67638483018380384940,
      6.89767334985100004550e-1,
      1.48103976427480074590e-1,
      1.51986665636164571966e-2,
      5.47593808499534494600e-4,
      1.05075007164441684324e-9,
    ],
  ],
  far: [
    [
      6.65790464350110377720,
      5.46378491116411436990,
      1.78482653991729133580,
      2.96560571828504891230e-1,
      2.65321895265761230930e-2,
      1.24266094738807843860e-3,
      2.71155556874348757815e-5,
      2.01033439929228813265e-7,
    ],
    [
      1,
      5.99832206555887937690e-1,
      1.36929880922735805310e-1,
      1.48753612908506148525e-2,
      7.86869131145613259100e-4,
      1.84631831751005468180e-5,
      1.42151175831644588870e-7,
      2.04426310338993978564e-15,
    ],
  ],
};

/** The same in single precision (PPND7), about 1e-7. */
export const PPND7: Record<"centre" | "tail" | "far", Quotient> = {
  centre: [
    [3.3871327179, 50.434271938, 159.29113202, 59.10937472],
    [1, 17.895169469, 78.757757664, 67.1875636],
  ],
  tail: [
    [1.4234372777, 2.75681539, 1.3067284816, 0.17023821103],
    [1, 0.7370016425, 0.12021132975],
  ],
  far: [
    [6.657905115, 3.081226386, 0.42868294337, 0.017337203997],
    [1, 0.24197894225, 0.012258202635],
  ],
};

/** What erf maps to x: infinite at -1 and 1, NaN beyond. */
export function erfinv(x: number): number {
  const a = Math.abs(x);
  if (!(a < 1)) return a === 1 ? x * Infinity : NaN;
  const q = x / 2;
  if (a <= 0.85) return q * ratio(PPND16.centre, 0.180625 - q * q) * Math.SQRT1_2;
  const r = Math.sqrt(-Math.log((1 - a) / 2)); // 1 - a is exact
  const z = r <= 5 ? ratio(PPND16.tail, r - 1.6) : ratio(PPND16.far, r - 5);
  return (x < 0 ? -z : z) * Math.SQRT1_2;
}

/** sin(πx), exactly 0 at whole numbers. */
export function sinPi(x: number): number {
  const r = x - 2 * Math.round(x / 2), a = Math.abs(r); // exact
  return a <= 0.5 ? Math.sin(Math.PI * r) : Math.sign(r) * Math.sin(Math.PI * (1 - a));
}

/** cos(πx), exactly 0 halfway between whole numbers. */
export function cosPi(x: number): number {
  const a = Math.abs(x - 2 * Math.round(x / 2));
  return a <= 0.25 ? Math.cos(Math.PI * a) : Math.sin(Math.PI * (0.5 - a));
}

/** Bernoulli's numbers B2, B4 ... */
const BERNOULLI = [
  1 / 6,
  -1 / 30,
  1 / 42,
  -1 / 30,
  5 / 66,
  -691 / 2730,
  7 / 6,
  -3617 / 510,
  43867 / 798,
  -174611 / 330,
];

/** Stirling's series: Bernoulli(2k) / (2k (2k - 1)), powers of x⁻². */
export const STIRLING: Polynomial = BERNOULLI.map((b, i) => b / ((2 * i + 2) * (2 * i + 1)));

/** The same for digamma: Bernoulli(2k) / 2k, powers of x⁻². */
export const DIGAMMA: Polynomial = BERNOULLI.map((b, i) => b / (2 * i + 2));

/** n! ∑ (q + k)^-(n + 1) over k ≥ 0 for q > 0: the sum to where Euler and Maclaurin's formula converges, then that. */
function zetaSum(n: number, q: number): number {
  // k! / a^(k + 1), factor by factor, so that neither part overflows alone.
  const power = (k: number, a: number): number => {
    let p = 1 / a;
    for (let j = 1; j <= k; j++) p *= j / a;
    return p;
  };
  let sum = 0, a = q;
  for (; a < 12 + n; a++) sum += power(n, a);
  // The integral is (n - 1)! / a^n; by it half a term and ∑ B(2k) / (2k)! n (n + 1) ... (n + 2k - 1) / a^(2k).
  let rest = 1 + n / (2 * a), t = n / a * (n + 1) / a;
  for (let k = 1; k <= BERNOULLI.length; k++) {
    t /= (2 * k) * (2 * k - 1);
    rest += BERNOULLI[k - 1] * t;
    t *= (n + 2 * k) / a * (n + 2 * k + 1) / a;
  }
  return sum + power(n - 1, a) * rest;
}

/** ψ^(n)(x) / n! for x > 0 and n ≥ 1, the Taylor coefficients of digamma. */
function digammaCoefficient(n: number, x: number): number {
  let c = (n % 2 === 1 ? 1 : -1) * zetaSum(n, x);
  for (let j = 2; j <= n; j++) c /= j;
  return c;
}

const EULER = 0.5772156649015329;

/** Taylor coefficients of ln Γ(1 + z) from z on: -γ, then (-1)^k ζ(k) / k: Abramowitz and Stegun (1964), 6.1.33. */
export const LGAMMA_AT_1: Polynomial = Array.from(
  { length: 26 },
  (_, i) => (i === 0 ? -EULER : digammaCoefficient(i, 1) / (i + 1)),
);

/** Those of ln Γ(2 + z): 1 - γ, then (-1)^k (ζ(k) - 1) / k. */
export const LGAMMA_AT_2: Polynomial = Array.from(
  { length: 36 },
  (_, i) => (i === 0 ? 1 - EULER : digammaCoefficient(i, 2) / (i + 1)),
);

/** ln |Γ(x)|: Taylor series about 1 and 2 and Γ(x + 1) = x Γ(x) below 8, Stirling's series above, reflection below 0. */
export function lgamma(x: number): number {
  if (!Number.isFinite(x)) return Math.abs(x);
  if (x <= 0) return Math.log(Math.PI) - Math.log(Math.abs(sinPi(x))) - lgamma(1 - x);
  if (x >= 8) {
    const rest = horner(STIRLING, 1 / (x * x)) / x + (0.5 * Math.log(2 * Math.PI) - 0.5);
    return (x - 0.5) * (Math.log(x) - 1) + rest;
  }
  const above2 = (z: number): number => z * horner(LGAMMA_AT_2, z);
  if (x < 0.5) return above2(x) - Math.log1p(x) - Math.log(x);
  if (x < 0.75) return above2(x - 1) - Math.log(x);
  if (x < 1.25) return (x - 1) * horner(LGAMMA_AT_1, x - 1);
  let factor = 1, y = x;
  while (y > 2.5) factor *= --y;
  return above2(y - 2) + Math.log(factor);
}

/** Where digamma vanishes, in two parts. */
export const DIGAMMA_ROOT: readonly [number, number] = [1.4616321449683622, 9.549995429965697e-17];

/** Taylor coefficients of digamma about its root, from the first derivative on. */
export const DIGAMMA_AT_ROOT: Polynomial = Array.from(
  { length: 42 },
  (_, i) => digammaCoefficient(i + 1, DIGAMMA_ROOT[0]),
);

/** The derivative of ln Γ; at 0 infinite with the sign of -x, NaN at negative whole numbers, as in PyTorch. */
export function digamma(x: number): number {
  if (x === 0) return -1 / x;
  if (x < 0) return Number.isInteger(x) ? NaN : digamma(1 - x) - Math.PI * cosPi(x) / sinPi(x);
  if (!(x < 10)) {
    const z = 1 / (x * x);
    return Math.log(x) - 0.5 / x - z * horner(DIGAMMA, z);
  }
  if (x < 1) return digamma(x + 1) - 1 / x;
  let y = x, sum = 0;
  while (y > 2) sum += 1 / --y;
  const d = y - DIGAMMA_ROOT[0] - DIGAMMA_ROOT[1];
  return d * horner(DIGAMMA_AT_ROOT, d) + sum;
}

/** The largest order of {@linkcode polygamma} and {@linkcode sincDerivative}. */
export const MAX_ORDER = 64;

/** The n-th derivative of digamma, for whole n from 0 to {@linkcode MAX_ORDER}; infinite at its poles. */
export function polygamma(n: number, x: number): number {
  if (n === 0) return digamma(x);
  if (!(n > 0 && n <= MAX_ORDER && Number.isInteger(n))) return NaN;
  const sign = n % 2 === 1 ? 1 : -1;
  if (x > 0) return sign * zetaSum(n, x);
  if (!Number.isFinite(x)) return NaN;
  const g = -x - Math.floor(-x);
  if (g === 0) return sign * Infinity;
  // Terms with a negative x + k are those of g, g + 1 ... -x.
  return sign * zetaSum(n, 1 - g) + zetaSum(n, g) - zetaSum(n, 1 - x);
}

/** sin(πx) / (πx), and 1 at 0. */
export function sinc(x: number): number {
  return x === 0 ? 1 : sinPi(x) / (Math.PI * x);
}

/** The n-th derivative of {@linkcode sinc}, for whole n from 0 to {@linkcode MAX_ORDER}. */
export function sincDerivative(n: number, x: number): number {
  if (!(n >= 0 && n <= MAX_ORDER && Number.isInteger(n)) || !Number.isFinite(x)) return NaN;
  const z = Math.PI * x;
  let f: number;
  if (Math.abs(z) < Math.max(1, n)) {
    // ∑ (-1)^((n + k) / 2) z^k / (k! (n + k + 1)), over k of n's parity.
    let t = n % 2 === 0 ? 1 : z;
    if (Math.ceil(n / 2) % 2 === 1) t = -t;
    f = 0;
    for (let k = n % 2; k < 60 + 4 * n; k += 2) {
      f += t / (n + k + 1);
      t *= -z * z / ((k + 1) * (k + 2));
    }
  } else {
    // z f(n) + n f(n - 1) is the n-th derivative of the sine.
    const s = sinPi(x), c = cosPi(x);
    f = s / z;
    for (let k = 1; k <= n; k++) f = ([s, c, -s, -c][k % 4] - k * f) / z;
  }
  return f * Math.PI ** n;
}
