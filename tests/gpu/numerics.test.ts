/** Functions of one number on the device: as accurate as floats allow, and right where floats end. */
import { assert, assertEquals } from "@std/assert";
import { type Tensor, tensor } from "../../mod.ts";
import { digamma, erf, erfc, erfinv, lgamma, ndtr, polygamma, sinc } from "../../ops/special.ts";
import { read } from "../support/numbers.ts";
import { test } from "./webgpu.ts";

const EPSILON = 2 ** -24;

/** Largest error in half units in the last place, or an error where one is NaN or infinite and the other is not. */
async function worst(
  name: string,
  x: Float32Array<ArrayBuffer>,
  f: (x: Tensor) => Tensor,
  exact: (x: number) => number,
): Promise<number> {
  const [y] = await read([f(tensor(x))]);
  let most = 0;
  for (let i = 0; i < x.length; i++) {
    const e = exact(x[i]), a = y[i], rounded = Math.fround(e);
    if (a === rounded || (Number.isNaN(a) && Number.isNaN(e))) continue;
    // Devices may flush what is below the smallest normal number, and round to infinity a little early.
    if (Math.abs(e) < 1.2e-38 && Math.abs(a) < 1.2e-38) continue;
    if (Math.abs(e) > 3.4e38 && Math.abs(a) > 3.4e38) continue;
    assert(Number.isFinite(a) && Number.isFinite(rounded), `${name}(${x[i]}) is ${a}, not ${rounded}`);
    most = Math.max(most, Math.abs(a - e) / Math.abs(e) / EPSILON);
  }
  return most;
}

const between = (low: number, high: number, n = 20_000): Float32Array<ArrayBuffer> =>
  Float32Array.from({ length: n }, (_, i) => low + (high - low) * (i + 0.37) / n);
const everySize = (n = 20_000): Float32Array<ArrayBuffer> =>
  Float32Array.from({ length: n }, (_, i) => Math.exp(170 * (i / n - 0.5)));

const sigmoid = (x: number): number => x >= 0 ? 1 / (1 + Math.exp(-x)) : Math.exp(x) / (1 + Math.exp(x));
const cases: [string, Float32Array<ArrayBuffer>, (x: Tensor) => Tensor, (x: number) => number][] = [
  ["exp", between(-104, 89), (x) => x.exp(), Math.exp],
  ["log of every size", everySize(), (x) => x.log(), Math.log],
  ["log near 1", between(0.5, 2), (x) => x.log(), Math.log],
  ["sin", between(-10, 10), (x) => x.sin(), Math.sin],
  ["sin of every size", everySize(), (x) => x.sin(), Math.sin],
  ["cos of large numbers", between(-3000, 3000), (x) => x.cos(), Math.cos],
  ["tanh", between(-12, 12), (x) => x.tanh(), Math.tanh],
  ["tanh near 0", between(-1e-3, 1e-3), (x) => x.tanh(), Math.tanh],
  ["sigmoid", between(-85, 40), (x) => x.sigmoid(), sigmoid],
  [
    "softplus",
    between(-80, 40),
    (x) => x.softplus(),
    (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x))),
  ],
  ["pow 2.5", between(1e-3, 1e3), (x) => x.pow(2.5), (x) => x ** 2.5],
  ["pow -0.1 of every size", everySize(), (x) => x.pow(-0.1), (x) => x ** Math.fround(-0.1)],
  ["pow 33.3", between(0.1, 10), (x) => x.pow(33.3), (x) => x ** Math.fround(33.3)],
  ["pow -3", between(-3, 3), (x) => x.pow(-3), (x) => x ** -3],
  ["exp2", between(-140, 127), (x) => x.exp2(), (x) => 2 ** x],
  ["expm1", between(-20, 88), (x) => x.expm1(), Math.expm1],
  ["expm1 near 0", between(-1e-3, 1e-3), (x) => x.expm1(), Math.expm1],
  ["log1p of every size", everySize(), (x) => x.log1p(), Math.log1p],
  ["log1p near 0 and -1", between(-0.999, 1), (x) => x.log1p(), Math.log1p],
  ["log2 of every size", everySize(), (x) => x.log2(), Math.log2],
  ["log2 near 1", between(0.5, 2), (x) => x.log2(), Math.log2],
  ["log10 of every size", everySize(), (x) => x.log10(), Math.log10],
  ["tan", between(-10, 10), (x) => x.tan(), Math.tan],
  ["tan of every size", everySize(), (x) => x.tan(), Math.tan],
  ["asin", between(-1, 1), (x) => x.asin(), Math.asin],
  ["acos", between(-1, 1), (x) => x.acos(), Math.acos],
  ["atan", between(-5, 5), (x) => x.atan(), Math.atan],
  ["atan of every size", everySize(), (x) => x.atan(), Math.atan],
  ["atan2 of every size", everySize(), (x) => x.atan2(-3), (x) => Math.atan2(x, -3)],
  ["sinh", between(-89, 89), (x) => x.sinh(), Math.sinh],
  ["sinh near 0", between(-1.2, 1.2), (x) => x.sinh(), Math.sinh],
  ["cosh", between(-89, 89), (x) => x.cosh(), Math.cosh],
  ["asinh of every size", everySize(), (x) => x.asinh(), Math.asinh],
  ["acosh", between(1, 20), (x) => x.acosh(), Math.acosh],
  ["acosh of every size", everySize(), (x) => x.abs().add(1).acosh(), (x) => Math.acosh(Math.fround(x + 1))],
  ["atanh", between(-1, 1), (x) => x.atanh(), Math.atanh],
  ["hypot of every size", everySize(), (x) => x.hypot(1e-20), (x) => Math.hypot(x, Math.fround(1e-20))],
  ["erf", between(-4, 4), (x) => x.erf(), erf],
  ["erf near 0", between(-1e-3, 1e-3), (x) => x.erf(), erf],
  ["erfc to where it vanishes", between(-3, 9.1), (x) => x.erfc(), erfc],
  ["erfinv", between(-1, 1), (x) => x.erfinv(), erfinv],
  ["lgamma", between(0.001, 0.9), (x) => x.lgamma(), lgamma],
  ["lgamma about 1 and 2", between(0.9, 2.2), (x) => x.lgamma(), lgamma],
  ["lgamma above", between(2.2, 50), (x) => x.lgamma(), lgamma],
  ["digamma", between(1.6, 50), (x) => x.digamma(), digamma],
  ["digamma near 0", between(0.001, 1.2), (x) => x.digamma(), digamma],
  ["trigamma", between(0.01, 50), (x) => x.polygamma(1), (x) => polygamma(1, x)],
  ["trigamma below 0", between(-5.9, -0.1), (x) => x.polygamma(1), (x) => polygamma(1, x)],
  ["the third polygamma", between(0.01, 50), (x) => x.polygamma(3), (x) => polygamma(3, x)],
  ["sinc near 0", between(-0.9, 0.9), (x) => x.sinc(), sinc],
  [
    "logSigmoid",
    between(-80, 80),
    (x) => x.logSigmoid(),
    (x) => Math.min(x, 0) - Math.log1p(Math.exp(-Math.abs(x))),
  ],
  ["silu", between(-80, 40), (x) => x.silu(), (x) => x * sigmoid(x)],
  ["gelu to where it vanishes", between(-12, 5), (x) => x.gelu(), (x) => x * ndtr(x)],
  ["mish", between(-80, 40), (x) => x.mish(), (x) => x * Math.tanh(Math.log1p(Math.exp(x)))],
];

for (const [name, x, f, exact] of cases) {
  test(`${name} is right to a few units in the last place`, async () => {
    const error = await worst(name, x, f, exact);
    assert(error < 10, `${name} is wrong by ${error} half units in the last place`);
  });
}

const SPECIAL = [
  0,
  -0,
  1,
  -1,
  0.5,
  -0.5,
  2,
  -2,
  3,
  -3,
  64,
  65,
  1e-45,
  -1e-38,
  3e38,
  -3e38,
  88.8,
  -104,
  Infinity,
  -Infinity,
  NaN,
];

test("powers at zeros, ones, infinities and NaN are those of IEEE 754", async () => {
  const x = SPECIAL.flatMap((a) => SPECIAL.map(() => a)), y = SPECIAL.flatMap(() => SPECIAL);
  const [z] = await read([tensor(x).pow(tensor(y))]);
  x.forEach((base, i) => {
    if (Math.abs(base) < 1e-37 && base !== 0) return; // subnormal: devices may take it for 0
    const e = base === 1 || (base === -1 && Math.abs(y[i]) === Infinity)
      ? 1
      : Math.fround(Math.fround(base) ** Math.fround(y[i]));
    if (Math.abs(e) < 1.2e-38) return assert(Math.abs(z[i]) < 1.2e-38, `${base} ** ${y[i]} is ${z[i]}`);
    const ok = Object.is(z[i], e) || Math.abs(z[i] - e) <= 1e-6 * Math.abs(e);
    assert(ok, `${base} ** ${y[i]} is ${z[i]}, not ${e}`);
  });
});

test("small whole powers are exact", async () => {
  const [z] = await read([tensor([-3, -2, 5, 10, -1]).pow(tensor([3, 10, 4, 5, 63]))]);
  assertEquals([...z], [-27, 1024, 625, 100000, -1]);
});

test("NaN goes through comparisons, extrema and activations as on the host", async () => {
  const x = tensor([NaN, 1, -1]), y = tensor([1, NaN, NaN]);
  const results = await read([
    x.eq(x),
    x.ne(x),
    x.lt(y),
    x.ge(y),
    x.maximum(y),
    x.minimum(y),
    x.relu(),
    x.tanh(),
    x.sigmoid(),
    x.amax(),
    x.isnan(),
  ]);
  assertEquals(results.map((r) => [...r].map((v) => Number.isNaN(v) ? "NaN" : v)).slice(0, 7), [
    [0, 1, 1],
    [1, 0, 0],
    [0, 0, 0],
    [0, 0, 0],
    ["NaN", "NaN", "NaN"],
    ["NaN", "NaN", "NaN"],
    ["NaN", 1, 0],
  ]);
  assert(Number.isNaN(results[7][0]) && Number.isNaN(results[8][0]) && Number.isNaN(results[9][0]));
  assertEquals([...results[10]], [1, 0, 0]);
});

test("division and remainder of floats round as exact ones do", async () => {
  const a = [2.5, -7, 7, -7, 5e-45, 1e30, 1, 6, -1], b = [0.001, 3, -3, -3, 3e-45, 7, Infinity, 0, 0];
  const f = a.map(Math.fround), g = b.map(Math.fround);
  const remainder = f.map((x, i) => {
    const r = x % g[i];
    return r !== 0 && (r < 0) !== (g[i] < 0) ? Math.fround(r + g[i]) : r;
  });
  const [q, r] = await read([tensor(a).floorDivide(tensor(b)), tensor(a).remainder(tensor(b))]);
  f.forEach((x, i) => {
    if (Math.abs(x) < 1e-40) return; // subnormal
    assert(
      Object.is(r[i], remainder[i]) || r[i] === remainder[i],
      `remainder ${x} ${g[i]} is ${r[i]}, not ${remainder[i]}`,
    );
    const e = Math.fround(Math.floor(x / g[i]));
    assert(Object.is(q[i], e) || q[i] === e, `floorDivide ${x} ${g[i]} is ${q[i]}, not ${e}`);
  });
});

test("a difference of a value with itself is NaN where the value is not finite, in kernels of one step and of many", async () => {
  const values = [0, -0, 1.5, Infinity, -Infinity, NaN], expected = [0, 0, 0, NaN, NaN, NaN];
  const x = tensor(values), y = tensor([...values, ...values]);
  const differences: [string, () => Tensor][] = [
    ["one operand", () => x.sub(x)],
    [
      "two views of it",
      () => y.narrow(0, 0, 6).sub(y.narrow(0, 6, 6).add(y.narrow(0, 0, 6)).sub(y.narrow(0, 6, 6))),
    ],
    ["a step", () => x.mul(1).sub(x.mul(1)).mul(1)],
    ["half precision", () => x.to("bf16").sub(x.to("bf16")).to("f32")],
  ];
  for (let tier = 0; tier < 3; tier++) {
    for (const [name, difference] of differences) assertEquals(await difference().toArray(), expected, name);
  }
});
