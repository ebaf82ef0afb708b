/** Builds graphs of bare nodes and holds the host engine to the reference interpreter. */
import { assert, assertEquals } from "@std/assert";
import { createHostEngine, type HostEngine } from "../../gpu/host/engine.ts";
import { data } from "../../ops/definitions/structural.ts";
import { allocate, type DType, epsilon, isFloat, roundTo, type TypedArray } from "../../ops/dtype.ts";
import "../../ops/definitions/fused.ts";
import "../../ops/create.ts";
import "../../ops/fused/norm.ts";
import "../../ops/functions.ts";
import { makeLeaf, makeNode, type Node } from "../../ops/node.ts";
import { type Attributes, type Primitive, primitives } from "../../ops/primitive.ts";
import { elementsOf, HostStorage, ReferenceEngine } from "../../ops/reference.ts";
import { type Shape, sizeOf } from "../../ops/shape.ts";

/** The engine under test, shared so that its caches fill as in a program. */
export const engine: HostEngine = createHostEngine();
const reference = new ReferenceEngine();

/** A seeded random number generator (mulberry32). */
export function generator(seed: number): () => number {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** Numbers that break things, each of which some type rounds to something else. */
export const SPECIAL: readonly number[] = [
  0,
  -0,
  1,
  -1,
  0.5,
  -0.5,
  1.5,
  2.5,
  NaN,
  Infinity,
  -Infinity,
  1e-40,
  1e38,
  -1e38,
  70000,
  0.1,
  -3,
  2147483647,
  -2147483648,
  4294967295,
];

/** A realised leaf. */
export function leaf(values: ArrayLike<number>, shape: Shape, dtype: DType = "f32"): Node {
  const array = allocate(dtype, sizeOf(shape));
  for (let i = 0; i < array.length; i++) array[i] = roundTo(dtype, values[i % values.length]);
  const node = makeLeaf(data, null, { shape, dtype }, "host");
  node.value = new HostStorage(array);
  return node;
}

/** A realised leaf of random numbers from `low` to `high`. */
export function random(rng: () => number, shape: Shape, dtype: DType = "f32", low = -2, high = 2): Node {
  const values = Array.from({ length: sizeOf(shape) }, () => {
    const x = low + (high - low) * rng();
    return isFloat(dtype) ? x : dtype === "bool" ? +(rng() > 0.5) : Math.floor(x);
  });
  return leaf(values, shape, dtype);
}

/** An op on nodes, by name. */
export function op(name: string, inputs: readonly Node[], p: Attributes = null): Node {
  const record = primitives().get(name) as Primitive;
  assert(record !== undefined, `there is a primitive ${name}`);
  return makeNode(record, inputs, p);
}

/** Values of roots, as plain arrays, on a fresh copy of the graph. */
export function values(build: () => Node[], on: { run(roots: Node[]): void }): TypedArray[] {
  const roots = build();
  on.run(roots.filter((r) => r.value === null));
  return roots.map((r) => elementsOf(r.value as HostStorage));
}

/** Asserts that the host engine gives what the reference does: exactly, or within `tolerance` epsilons. */
export function same(name: string, build: () => Node[], tolerance = 0): void {
  const types = build().map((r) => r.dtype), expected = values(build, reference);
  for (const round of ["first", "cached"]) {
    const actual = values(build, engine);
    for (let r = 0; r < expected.length; r++) {
      assertEquals(actual[r].length, expected[r].length, `${name}: size of root ${r}`);
      let scale = 0;
      if (tolerance > 0) {
        for (const x of expected[r]) if (Number.isFinite(x)) scale = Math.max(scale, Math.abs(x));
      }
      for (let i = 0; i < expected[r].length; i++) {
        const a = actual[r][i], e = expected[r][i];
        const ok = Object.is(a, e) ||
          (tolerance > 0 && Math.abs(a - e) <= tolerance * epsilon(types[r]) * Math.max(Math.abs(e), scale));
        assert(ok, `${name} (${round} run): root ${r} element ${i} is ${a}, the reference has ${e}`);
      }
    }
  }
}
