/** Functions in vectors over all of f32: units in the last place against double precision, with and without fused multiply-adds. */
import { assert } from "@std/assert";
import { assemble } from "../../gpu/host/wasm/assembler.ts";
import { vectorSources } from "../../gpu/host/wasm/functions.ts";
import { layoutOf, loopText, type VectorLoop } from "../../gpu/host/wasm/loops.ts";
import { type Elementwise, primitives } from "../../ops/primitive.ts";
import "../../ops/functions.ts";
import { generator } from "./compare.ts";

/** Units that each function may be off by over all numbers (half a unit more without fused multiply-adds); those of the others are in `vectors.test.ts`. */
const UNITS: Record<string, number> = {
  exp: 1.2,
  exp2: 1.2,
  expm1: 2,
  log: 1.2,
  log2: 2,
  log10: 2,
  log1p: 2,
  tanh: 2,
  erf: 2,
  sin: 2,
  cos: 2,
  sigmoid: 2.5,
  softplus: 3,
  tan: 4,
  asin: 3,
  acos: 2,
  atan: 3,
  sinh: 3,
  cosh: 3,
  asinh: 2,
  acosh: 3,
  atanh: 2.5,
  erfc: 6,
  gelu: 10,
  rsqrt: 2,
  relu: 0,
  sqrt: 0.5,
};
const N = 1 << 18, BYTES = 4 * N, X = 1 << 16;

const memory = new WebAssembly.Memory({ initial: 64, maximum: 65536, shared: true });
const x = new Float32Array(memory.buffer, X, N), bits = new Uint32Array(memory.buffer, X, N);
const y = new Float32Array(memory.buffer, X + BYTES, N);
const other = new Float32Array(memory.buffer, X + 2 * BYTES, N);

const isFused = WebAssembly.validate(
  assemble(
    "(func $f (param $x v128) (result v128) (f32x4.relaxed_madd (local.get $x) (local.get $x) (local.get $x)))",
  ),
);
const CHOICES = isFused ? [true, false] : [false];

/** Applies an expression of `x0`, and of `x1` if there are two, to all of `x` (and of `other`). */
function apply(wgsl: string, fused: boolean, operands = 1): void {
  const loop: VectorLoop = {
    rank: 1,
    loads: Array.from({ length: operands }, () => ({ dtype: "f32", moves: true })),
    constants: 0,
    applications: [{ wgsl, x: ["x0"], types: ["f32"], dtype: "f32" }],
    stores: [{ value: "t0", dtype: "f32" }],
    fold: null,
    shared: 0,
  };
  const layout = layoutOf(loop), words = new Int32Array(memory.buffer, 0, layout.words);
  words[layout.lengths] = N;
  layout.loads.forEach((at, i) => words[at] = X + 2 * i * BYTES);
  words[layout.stores[0]] = X + BYTES;
  const module = new WebAssembly.Module(assemble(loopText(loop, vectorSources(), fused)));
  const { run } = new WebAssembly.Instance(module, { m: { m: memory } }).exports;
  (run as (g: number, from: number, to: number, scratch: number) => void)(0, 0, N, 0);
}

/**
 * Functions with zeros that single precision does not resolve: errors of results below 1 count as if they were of that size;
 * for negative numbers, where reflection takes two large terms off each other, below 16.
 */
const AROUND_ZEROS: Record<string, number> = { lgamma: 4, digamma: 4 };

/** Units of the f32 nearest to `truth`, subnormal ones included; a zero of the other sign is as wrong as can be. */
function units(value: number, truth: number): number {
  const nearest = Math.fround(truth);
  if (Object.is(value, nearest)) return 0;
  if (!Number.isFinite(nearest) || !Number.isFinite(value) || value === nearest) return Infinity;
  const unit = 2 ** (Math.max(-126, Math.floor(Math.log2(Math.abs(nearest) || 2 ** -149))) - 23);
  return Math.abs(value - truth) / unit;
}

/** What `x` is filled with: numbers of all exponents and both signs, NaN and infinities among them; or an interval. */
const FILLS: Record<string, (rng: () => number) => void> = {
  "all bits": (rng) => {
    for (let i = 0; i < N; i++) bits[i] = i * (2 ** 32 / N) + Math.floor(rng() * (2 ** 32 / N));
    [0, -0, 1, -1, Infinity, -Infinity, NaN].forEach((value, i) => x[i] = value);
  },
  "-10 to 10": (rng) => x.forEach((_, i) => x[i] = 20 * rng() - 10),
  "around 1": (rng) => x.forEach((_, i) => x[i] = 0.6 + 0.9 * rng()),
  "around 0": (rng) => x.forEach((_, i) => x[i] = rng() - 0.5),
  "large angles": (rng) => x.forEach((_, i) => x[i] = (rng() - 0.5) * 2 ** (10 + 20 * rng())),
};

for (const [name, limit] of Object.entries({ ...UNITS, ...AROUND_ZEROS })) {
  const record = primitives().get(name) as Elementwise, wgsl = record.wgsl(["x0"], ["f32"], null);
  for (const fused of CHOICES) {
    const most = fused || limit < 1 ? limit : limit + 0.5;
    Deno.test(`${name} is within ${most} units of all numbers${fused ? ", with fused multiply-adds" : ""}`, () => {
      const rng = generator(11);
      for (const [where, fill] of Object.entries(FILLS)) {
        fill(rng);
        apply(wgsl, fused);
        let worst = 0, at = 0;
        for (let i = 0; i < N; i++) {
          const truth = record.host(x[i]), least = x[i] < 0 ? 16 : 1;
          const isNear = name in AROUND_ZEROS && Math.abs(truth) < least;
          const off = isNear ? Math.abs(y[i] - truth) * 2 ** 23 / least : units(y[i], truth);
          if (off > worst) worst = off, at = i;
        }
        assert(worst <= most, `${where}: ${name}(${x[at]}) is ${y[at]}, off by ${worst.toFixed(2)} units`);
      }
    });
  }
}

Deno.test("remainders of any numbers, subnormal ones and huge quotients included, are exact", () => {
  const rng = generator(5), otherBits = new Uint32Array(memory.buffer, other.byteOffset, N);
  for (let i = 0; i < N; i++) {
    bits[i] = rng() * 2 ** 32;
    // A third of the quotients are moderate, a third whole.
    otherBits[i] = i % 3 === 0 ? rng() * 2 ** 32 : bits[i] - Math.floor(rng() * 2 ** 27);
    if (i % 3 === 2) x[i] = other[i] * Math.floor(rng() * 3000);
  }
  [0, -0, 1, Infinity, NaN].forEach((a, i) =>
    [0, -0, 1, Infinity, NaN].forEach((b, k) => {
      x[5 * i + k] = a;
      other[5 * i + k] = b;
    })
  );
  const record = primitives().get("fmod") as Elementwise;
  for (const fused of CHOICES) {
    apply(record.wgsl(["x0", "x1"], ["f32", "f32"], null), fused, 2);
    const at = y.findIndex((value, i) => !Object.is(value, Math.fround(x[i] % other[i])));
    assert(at < 0, `fmod(${x[at]}, ${other[at]}) is ${y[at]}, not ${x[at] % other[at]}`);
  }
});
