/** Loops in WebAssembly: every function within two units in the last place of f32, whatever the layout. */

import { assert, assertEquals } from "@std/assert";
import { assemble } from "../../gpu/host/wasm/assembler.ts";
import { Frame } from "../../gpu/host/wasm/frame.ts";
import { Vectorizer } from "../../gpu/host/wasm/vector.ts";
import { Unsupported } from "../../gpu/host/wasm/wgsl.ts";
import { vectorSources } from "../../gpu/host/wasm/functions.ts";
import type { DType } from "../../ops/dtype.ts";
import type { Node } from "../../ops/node.ts";
import { type Elementwise, primitives } from "../../ops/primitive.ts";
import { generator, leaf, op, random, same, values } from "./compare.ts";
import { HostEngine } from "../../gpu/host/engine.ts";
import { stored } from "../support/numbers.ts";

const engine = new HostEngine();
/** Enough elements for vectors, and some over. */
const N = 5003;

const SPECIAL = [
  0,
  -0,
  1,
  -1,
  0.5,
  -0.5,
  1.5,
  2.5,
  -2.5,
  100,
  -100,
  88.8,
  1e4,
  -1e4,
  1e-30,
  3e38,
  -3e38,
  Infinity,
  -Infinity,
  NaN,
];

/** Units in the last place of the f32 nearest to `truth`, that `x` is off by. */
function ulps(x: number, truth: number, least: number): number {
  const nearest = Math.fround(truth);
  if (Object.is(x, nearest) || x === nearest || (Number.isNaN(x) && Number.isNaN(truth))) return 0;
  if (!Number.isFinite(nearest) || !Number.isFinite(x)) return Infinity;
  const unit = 2 ** Math.floor(Math.log2(Math.max(least, Math.abs(nearest)))) - 23;
  return Math.abs(x - truth) / unit;
}

/** Magnitudes below which errors count as if they were of that size: subnormal numbers, and what cancels. */
const LEAST: Record<string, number> = { logaddexp: 1, logaddexp2: 1 };
/** Where f32 overflows on the way and doubles do not. */
const OVERFLOWS = new Set(["lerp"]);

function typesOf(record: Elementwise): DType[] | null {
  for (const first of ["f32", "bool"] as const) {
    const types: DType[] = [first, ...Array<DType>(record.inputs - 1).fill("f32")];
    try {
      record.infer(types.map((dtype) => ({ shape: [N], dtype })), null);
      return types;
    } catch { /* It takes other types. */ }
  }
  return null;
}

function isVectorised(record: Elementwise, types: readonly DType[]): boolean {
  const names = types.map((_, i) => `x${i}`);
  try {
    const v = new Vectorizer(vectorSources(), true);
    v.expression(
      record.wgsl(names, [...types], null),
      new Map(names.map((n, i) => [n, { type: types[i] as "f32" | "bool", text: `(local.get $${n})` }])),
      new Frame(),
    );
    return true;
  } catch (error) {
    if (error instanceof Unsupported) return false;
    throw error;
  }
}

const plain: string[] = [];

for (const record of primitives().values()) {
  if (record.family !== "elementwise" || record.name === "cast") continue;
  const types = typesOf(record);
  if (types === null) continue;
  if (!isVectorised(record, types)) {
    plain.push(record.name);
    continue;
  }
  Deno.test(`${record.name} in vectors is within two units in the last place`, () => {
    const rng = generator(7);
    const inputs = types.map((dtype, i) => {
      const [lo, hi] = record.domain[i];
      const data = Array.from(
        { length: N },
        (_, k) => k < 400 ? SPECIAL[Math.floor(k / 20 ** i) % 20] : lo + (hi - lo) * rng(),
      );
      return stored(data, dtype);
    });
    const [y] = values(() => [op(record.name, inputs.map((x, i) => leaf(x, [N], types[i])))], engine);
    const isBool = y instanceof Uint8Array;
    let worst = 0, at = 0;
    for (let k = 0; k < N; k++) {
      const truth = record.host(...inputs.map((x) => x[k]));
      if (OVERFLOWS.has(record.name) && inputs.some((x) => Math.abs(x[k]) > 1e38)) continue;
      const off = isBool ? Math.abs(y[k] - truth) : ulps(y[k], truth, LEAST[record.name] ?? 2 ** -120);
      if (off > worst) worst = off, at = k;
    }
    assert(
      worst <= 2,
      `${record.name}(${inputs.map((x) => x[at])}) is ${y[at]}, off by ${worst.toFixed(2)} units`,
    );
  });
}

Deno.test("all functions of f32 are vectorised but derivatives of any order", () => {
  assertEquals(plain, ["sincDerivative", "polygamma"]);
});

Deno.test("fused loops over any layout are what the reference has", () => {
  const rng = (): () => number => generator(3);
  const x = (shape: number[], dtype: DType = "f32"): Node => random(rng(), shape, dtype, -2, 2);
  const chain = (a: Node, b: Node): Node => op("mul", [op("add", [a, b]), op("sub", [a, leaf([0.5], [])])]);
  for (
    const [a, b] of [[[70, 90], [70, 90]], [[70, 90], [90]], [[70, 90], [70, 1]], [[9, 20, 50], [20, 1]], [[
      8,
      1,
      90,
    ], [9, 90]], [[6000], []]]
  ) {
    same(`chain ${a} ${b}`, () => [chain(x(a), x(b))], 1);
    same(`compare ${a} ${b}`, () => [op("where", [op("lt", [x(a), x(b)]), x(a), leaf([3], [])])]);
    same(
      `masks ${a} ${b}`,
      () => [op("logicalAnd", [op("gt", [x(a), leaf([0], [])]), op("isfinite", [x(a)])])],
    );
    for (let axis = 0; axis < a.length; axis++) {
      for (const fold of ["sum", "prod", "amax", "amin"]) {
        same(
          `${fold} ${a} ${axis}`,
          () => [op(fold, [op("abs", [op("add", [x(a), x(b)])])], { axes: [axis] })],
          2,
        );
      }
    }
    const all = a.map((_, i) => i);
    same(`sum of all ${a}`, () => [op("sum", [op("square", [x(a)])], { axes: all })], 2);
    if (a.length > 2) same(`sum outside ${a}`, () => [op("sum", [x(a)], { axes: [0, 1] })], 2);
    if (a.length > 2) same(`sum around ${a}`, () => [op("sum", [x(a)], { axes: [0, 2] })], 2);
  }
  // A part of an array, views that repeat, one that runs backwards (which JavaScript does).
  same(
    "window",
    () => [op("exp", [op("slice", [x([90, 80])], { starts: [3, 5], sizes: [80, 70], steps: [1, 1] })])],
    2,
  );
  same("expanded", () => [chain(op("expand", [x([80])], { shape: [70, 80] }), x([70, 80]))], 1);
  same("flipped", () => [chain(op("flip", [x([70, 80])], { axes: [1] }), x([70, 80]))], 1);
  same("long columns", () => [op("sum", [x([5, 3000])], { axes: [0] })], 2);
});

Deno.test("folds of everything in parts: lengths that parts do not divide, axes that do not merge, NaN at the end", () => {
  const numbers = (n: number): Float32Array =>
    Float32Array.from({ length: n }, (_, i) => ((i * 7919) % 1000) / 500 - 1);
  for (const n of [65_536, 100_003, 70_000 + 16_384 * 3 + 1]) {
    for (const fold of ["sum", "amax", "amin"]) {
      same(`${fold} of ${n}`, () => [op(fold, [leaf(numbers(n), [n])], { axes: [0] })], 1);
      const window = (): Node =>
        op("slice", [leaf(numbers(2 * n), [2, n])], { starts: [0, 1], sizes: [2, n - 1], steps: [1, 1] });
      same(`${fold} of a window of ${n}`, () => [op(fold, [window()], { axes: [0, 1] })], 1);
    }
    const last = (): Node => leaf(numbers(n).fill(NaN, n - 1), [n]);
    same(`amax of NaN after ${n}`, () => [op("amax", [last()], { axes: [0] })]);
    same(`prod of ${n}`, () => [op("prod", [leaf(numbers(n).fill(1, 0, n - 40), [n])], { axes: [0] })], 2);
  }
});

Deno.test("integer chains wrap, and NaN goes through extremes", () => {
  const i = (): Node => leaf(Array.from({ length: N }, (_, k) => (k * 2654435761) | 0), [N], "i32");
  same("i32", () => [op("add", [op("mul", [i(), i()]), op("neg", [i()])])]);
  const x = (): Node => leaf(Array.from({ length: N }, (_, k) => k === 4000 ? NaN : k % 7), [N]);
  same("amax", () => [op("amax", [x()], { axes: [0] })]);
  same("amin", () => [op("amin", [op("neg", [x()])], { axes: [0] })]);
});

Deno.test("rows in vectors: softmax, logsumexp, with infinities and NaN", () => {
  for (const [rows, n] of [[5, 1000], [700, 9], [3, 4099]]) {
    const x = (): Node => {
      const rng = generator(2), data = Array.from({ length: rows * n }, () => 60 * rng() - 30);
      data[1] = -Infinity;
      if (rows > 3) data[n] = NaN, data[2 * n] = Infinity;
      if (rows > 4) data.fill(-Infinity, 3 * n, 4 * n);
      return leaf(data, [rows, n]);
    };
    same(`softmax ${rows} ${n}`, () => [op("softmax", [x()], { axis: 1 })], 4);
    same(`logsumexp ${rows} ${n}`, () => [op("logsumexp", [x()], { axis: 1 })], 4);
  }
});

Deno.test("halves in vectors: every f16 is read, every f32 rounded to one, subnormal ones, infinities and NaN included", () => {
  const all = Float32Array.from({ length: 1 << 16 }, (_, i) => {
    const bits = new DataView(new ArrayBuffer(2));
    bits.setUint16(0, i);
    return bits.getFloat16(0);
  });
  const halves = (): Node => leaf(all, [all.length], "f16");
  same("all f16", () => [op("cast", [halves()], { dtype: "f32" })]);
  const rng = generator(4),
    between = Array.from({ length: 1 << 16 }, (_, i) => {
      const x = all[i], other = all[i ^ 1];
      return i % 3 === 0 ? (x + other) / 2 : x + (other - x) * rng();
    });
  for (const dtype of ["f16", "bf16"] as const) {
    same(
      `${dtype} of f32`,
      () => [op("cast", [leaf([...between, 65519, 65520, -1e6, 1e-9, 3e38], [(1 << 16) + 5])], { dtype })],
    );
    const x = (): Node => random(generator(8), [70, 90], dtype),
      row = (): Node => random(generator(9), [90], dtype);
    const column = (): Node => random(generator(9), [70, 1], dtype);
    const chain = (b: Node): Node => op("add", [op("mul", [x(), b]), op("div", [x(), leaf([3], [], dtype)])]);
    same(`${dtype} chain with a row`, () => [chain(row())]);
    same(`${dtype} chain with a column`, () => [chain(column())]);
    same(`${dtype} compared`, () => [op("where", [op("lt", [x(), row()]), x(), column()])]);
    same(
      `${dtype} summed in f32`,
      () => [op("sum", [op("cast", [x()], { dtype: "f32" })], { axes: [1] })],
      1,
    );
    same(`${dtype} tanh`, () => [op("tanh", [x()])], 1);
  }
});

Deno.test("random bits in vectors are those of each key and counter", () => {
  for (const n of [4099, 300_001]) {
    const keys = (): Node => leaf([1, 2, 4000000000, 4, 12345, 4294967295], [3, 2], "u32");
    same(`bits ${n}`, () => [op("randomBits", [keys()], { shape: [n] })]);
    same(`normal ${n}`, () => [op("normalFromBits", [op("randomBits", [keys()], { shape: [n] })])], 2);
  }
});

Deno.test("the assembler refuses what it does not know", () => {
  for (
    const text of ["(func $f (f32x4.cube))", "(func $f (local.get $x))", "(func $f (br $out))", "(func $f"]
  ) {
    let message = "";
    try {
      assemble(text);
    } catch (error) {
      message = (error as Error).message;
    }
    assert(message.startsWith("Internal:"), text);
  }
});

Deno.test("columns in vectors: softmax, logsumexp along axes that are not the last, with infinities and NaN", () => {
  for (const [outer, n, inner] of [[1, 50, 1030], [3, 40, 513], [7, 5, 130], [500, 1, 11]]) {
    const x = (): Node => {
      const rng = generator(2), data = Array.from({ length: outer * n * inner }, () => 60 * rng() - 30);
      data[1] = -Infinity;
      for (let k = 0; k < n; k++) data[k * inner + 2] = -Infinity;
      data[3] = NaN;
      data[4] = Infinity;
      data[(n - 1) * inner + 5] = NaN;
      data[5] = Infinity;
      return leaf(data, [outer, n, inner]);
    };
    for (const name of ["softmax", "logsumexp"]) {
      same(`${name} ${outer} ${n} ${inner}`, () => [op(name, [x()], { axis: 1 })], 4);
    }
  }
});

Deno.test("rows in vectors: normalisation and its pullback, of rows far from 0, constant ones, and NaN", () => {
  for (const [rows, n] of [[5, 1000], [700, 9], [3, 4099]]) {
    const x = (seed: number, level = 0): Node => {
      const rng = generator(seed), data = Array.from({ length: rows * n }, () => level + 4 * rng() - 2);
      data.fill(3.1, n, 2 * n);
      data[2 * n] = NaN;
      return leaf(data, [rows, n]);
    };
    const row = (seed: number): Node => random(generator(seed), [n]);
    for (const name of ["layerNorm", "rmsNorm"]) {
      for (const level of [0, 100]) {
        const p = { axes: 1, eps: 1e-5, weight: false, bias: false };
        const what = `${name} ${rows} ${n} ${level}`, z = (): Node => x(1, level);
        same(what, () => [op(name, [z()], p)], 200);
        same(
          `${what} scaled`,
          () => [op(name, [z(), row(2), row(3)], { ...p, weight: true, bias: true })],
          200,
        );
        same(`${what} shifted`, () => [op(name, [z(), row(3)], { ...p, bias: true })], 200);
        same(`${what} pullback`, () => [op(`${name}Grad`, [x(4), z()], p)], 200);
      }
    }
  }
});
