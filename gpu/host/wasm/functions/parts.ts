/** What several functions are made of: polynomials, and e^x as 2^k e^r. */

/** 1.5 2^23 + n: of its sum with a small number the low bits are that, rounded to a whole number, plus n. */
export const whole = (n: number): string => (12582912 + n).toFixed(1);

export const horner = (x: string, ...c: string[]): string =>
  c.reduceRight((sum, k) => `fma(${sum}, ${x}, ${k})`);

/** e^r from -ln(2) / 2 to ln(2) / 2 is 1 + r + r² q; for `sign` -1 of the number -r. */
export const expQ = (r: string, sign: 1 | -1 = 1): string =>
  horner(
    r,
    "0.49999994",
    `${0.166665196 * sign}`,
    "0.0416684002",
    `${0.00836885069 * sign}`,
    "0.00138143206",
  );

/** The same with less error of e^r - 1 = r + r² q. */
export const EXPM1_Q = horner(
  "r",
  "0.49999997",
  "0.16666542",
  "0.0416672044",
  "0.00836664718",
  "0.00138824969",
);

/** Rest `r` of `t - k ln 2`, where `m` holds k and `bias` as `whole` has it; ln 2 = 355 / 512 - 2.12e-4. */
export const exponent = (t: string, bias: number): string => `
  let m = fma(${t}, 1.4426950408889634, ${whole(bias)});
  let k = m - ${whole(bias)};
  let r = fma(k, 2.1219444e-4, fma(k, -0.693359375, ${t}));`;
/** 2^k, with the bias of `m` beyond 127 and what is added in exponents besides. */
export const power = (more = ""): string => `bitcast<f32>((bitcast<i32>(m) << 23u)${more})`;
