/** Activations that neither overflow nor cancel. */
export const activation: Record<string, string> = {
  sigmoidf: `fn sigmoidf(x: f32) -> f32 {
  let e = expf(-abs(x));
  return select(1.0, e, x < 0.0) / (1.0 + e);
}`,
  softplusf: `fn softplusf(x: f32) -> f32 { return maxf(x, 0.0) + log1pSmall(expf(-abs(x))); }`,
  logSigmoidf: `fn logSigmoidf(x: f32) -> f32 { return minf(x, 0.0) - log1pSmall(expf(-abs(x))); }`,
  siluf: `fn siluf(x: f32) -> f32 { return x * sigmoidf(x); }`,
  // tanh(softplus(x)) = n / (n + 2) with n = e^x (e^x + 2).
  mishf: `fn mishf(x: f32) -> f32 {
  let e = expf(min(x, 20.0));
  let n = e * (e + 2.0);
  return select(x * (n / (n + 2.0)), x, x > 20.0 || isNan(x));
}`,
  geluf: `fn geluf(x: f32) -> f32 { return x * ndtrf(x); }`,
  // Φ(x) + x φ(x), by the tail Φ(-|x|) - |x| φ(x).
  geluDerivativef: `fn geluDerivativef(x: f32) -> f32 {
  if (isNan(x)) { return x; }
  let a = min(abs(x), 15.0);
  let e = expMinusSquare(a, 0.5);
  let b = a * 0.7071067811865476;
  var tail = 0.5 - 0.5 * erff(min(b, 0.46875));
  if (b > 0.46875) { tail = 0.5 * e * erfcxAbove(b); }
  tail -= 0.3989422804014327 * a * e;
  return select(1.0 - tail, tail, x < 0.0);
}`,
  // (1 + tanh(u)) / 2 is sigmoid(2 u), which does not cancel.
  geluTanhf: `fn geluTanhf(x: f32) -> f32 {
  let u = x * fma(0.07135481282, x * x, 1.5957691216057308);
  return x * sigmoidf(u);
}`,
};
