/** Sine, cosine and tangent. */
import { horner, whole } from "./parts.ts";

/** Of x: `r` = x - k π/2 from -π/4 to π/4, and k mod 4 in the low bits of `q`; π/2 in parts whose products are exact. */
const QUARTERS = `
  let m = fma(x, 0.6366197723675814, ${whole(0)});
  let k = m - ${whole(0)};
  var q = bitcast<i32>(m);
  var r = fma(k, -2.56334415e-12, fma(k, -7.5495336204767227e-8, fma(k, -4.837512969970703e-4, fma(k, -1.5703125, x))));
  if (!(abs(x) < 2000.0)) {
    r = farRest(x);
    q = farQuarter(x);
  }`;
const SIN_COS = `
  let z = r * r;
  let s = copysignf(fma(r * z, ${horner("z", "-0.166666538", "0.00833215099", "-0.000195139801")}, r), r);
  let c = fma(z * z, ${horner("z", "0.0416666456", "-0.00138873036", "2.44316689e-05")}, fma(z, -0.5, 1.0));`;

/** Words of 2 / π. */
const TWO_OVER_PI = [
  "0u",
  "0xa2f9836eu",
  "0x4e441529u",
  "0xfc2757d1u",
  "0xf534ddc0u",
  "0xdb629599u",
  "0x3c439041u",
  "0xfe5163abu",
];
/** The word of 2 / π at `i` (0 to 4) and `j`. */
const word = (j: number): string =>
  [1, 2, 3, 4].reduce((w, i) => `select(${w}, ${TWO_OVER_PI[i + j]}, i == ${i})`, TWO_OVER_PI[j]);
/** Large x in quarters of a turn, `high` and `mid` of a fixed-point number: the bits of 2 / π that matter (Payne and Hanek, 1983). */
const FAR = `
  let bits = bitcast<u32>(x) & 0x7fffffffu;
  let w = (bits & 0x007fffffu) | 0x00800000u;
  let s = (bits >> 23u) - 120u;
  let i = bitcast<i32>(s >> 5u);
  // A shift to the left by s mod 32 as a product.
  let p = u32(bitcast<f32>(((s & 31u) + 127u) << 23u));
  let w1 = (${word(1)} * p) | mulHigh(${word(2)}, p);
  let w2 = (${word(2)} * p) | mulHigh(${word(3)}, p);
  let low = mulHigh(w, w2);
  let mid = w * w1 + low;
  let high = w * ((${word(0)} * p) | mulHigh(${word(1)}, p)) + mulHigh(w, w1) + select(0u, 1u, mid < low);
  let part = (high << 2u) | (mid >> 30u);`;

export const trigonometric: Record<string, string> = {
  farRest: `fn farRest(x: f32) -> f32 {${FAR}
  let upper = f32(bitcast<i32>(part & 0xffffff00u));
  let lower = f32(part & 0xffu) + f32(mid << 2u) * 2.3283064365386963e-10;
  let r = fma(upper, 3.65729529994141e-10, fma(upper, -1.0177351e-17, lower * 3.6572952e-10));
  return select(nan(), select(r, -r, x < 0.0), isFinite(x));
}`,
  farQuarter: `fn farQuarter(x: f32) -> i32 {${FAR}
  let k = bitcast<i32>((high >> 30u) + (part >> 31u));
  return select(k, 0 - k, x < 0.0);
}`,
  sinf: `fn sinf(x: f32) -> f32 {${QUARTERS}${SIN_COS}
  let y = select(s, c, (q & 1) != 0);
  return bitcast<f32>(bitcast<i32>(y) ^ ((q & 2) << 30u));
}`,
  cosf: `fn cosf(x: f32) -> f32 {${QUARTERS}${SIN_COS}
  let y = select(c, s, (q & 1) != 0);
  return bitcast<f32>(bitcast<i32>(y) ^ (((q + 1) & 2) << 30u));
}`,
  tanf: `fn tanf(x: f32) -> f32 {${QUARTERS}${SIN_COS}
  let odd = (q & 1) != 0;
  return select(s, -c, odd) / select(c, s, odd);
}`,
};
