import { assertEquals } from "@std/assert";
import { expressionNames, expressionOf } from "../../gpu/host/expressions.ts";
import type { DType } from "../../ops/dtype.ts";
import type { Node } from "../../ops/node.ts";
import { type Elementwise, primitives } from "../../ops/primitive.ts";
import { generator, leaf, op, random, same, SPECIAL } from "./compare.ts";

const FLOATS: readonly DType[] = ["f32", "f64", "f16"];
const TYPES: readonly DType[] = [...FLOATS, "i32", "u32", "bool"];

function records(): Elementwise[] {
  return [...primitives().values()].filter((r) => r.family === "elementwise");
}

/** Operands of a record in a type, or null where it does not take that type. */
function operands(record: Elementwise, dtype: DType, make: (i: number, dtype: DType) => Node): Node[] | null {
  const x = Array.from(
    { length: record.inputs },
    (_, i) => make(i, record.name === "where" && i === 0 ? "bool" : dtype),
  );
  try {
    record.infer(x, record.name === "cast" ? { dtype } : null);
    return x;
  } catch (error) {
    if (error instanceof TypeError) return null;
    throw error;
  }
}

Deno.test("every elementwise primitive equals the reference on special values of every type", () => {
  for (const record of records()) {
    for (const dtype of TYPES) {
      const n = SPECIAL.length;
      // All pairs of special values, and triples of some.
      const pick = [
        (i: number) => SPECIAL[i % n],
        (i: number) => SPECIAL[Math.floor(i / n) % n],
        (i: number) => SPECIAL[(i * 7 + 3) % n],
      ];
      const make = (i: number, type: DType): Node =>
        leaf(Array.from({ length: n * n }, (_, k) => pick[i](k)), [n, n], type);
      if (operands(record, dtype, make) === null) continue;
      for (const to of record.name === "cast" ? TYPES : [null]) {
        same(
          `${record.name} ${dtype} ${to ?? ""}`,
          () => [op(record.name, operands(record, dtype, make)!, to === null ? null : { dtype: to })],
        );
      }
    }
  }
});

Deno.test("every elementwise primitive equals the reference where its operands broadcast", () => {
  const shapes: [number[], number[], number[]][] = [
    [[], [], []],
    [[1], [], [1, 1]],
    [[3, 4], [4], [3, 1]],
    [[4], [3, 1], [2, 1, 1]],
    [[2, 1, 5], [3, 1], [1]],
    [[0], [1], [2, 1]],
    [[3, 0, 2], [2], [1, 1, 1]],
    [[70], [70], [70]],
  ];
  for (const record of records()) {
    for (const s of shapes) {
      const make = (i: number, type: DType): Node =>
        random(generator(i + 1), s[i], type, ...(record.domain[i] ?? [0, 1]));
      for (const dtype of ["f32", "i32", "bool"] as const) {
        if (operands(record, dtype, make) === null) continue;
        same(
          `${record.name} ${JSON.stringify(s)}`,
          () => [
            op(record.name, operands(record, dtype, make)!, record.name === "cast" ? { dtype: "f16" } : null),
          ],
        );
      }
    }
  }
});

Deno.test("a fused chain rounds every intermediate to its type, so it equals the chain run op by op", () => {
  for (const dtype of TYPES) {
    const x = (): Node => leaf(SPECIAL, [5, 40], dtype),
      y = (): Node => random(generator(5), [5, 40], dtype, -9, 9);
    same(`chain in ${dtype}`, () => {
      const a = dtype === "bool" ? op("cast", [x()], { dtype: "i32" }) : x();
      const b = dtype === "bool" ? op("cast", [y()], { dtype: "i32" }) : y();
      let t = op("mul", [a, b]);
      t = op("add", [t, a]);
      t = op("sub", [op("mul", [t, t]), b]);
      const mask = op("lt", [t, a]);
      t = op("where", [mask, op("mul", [t, b]), op("neg", [t])]);
      return [
        t,
        mask,
        op("cast", [op("cast", [t], { dtype: "f16" })], { dtype: "f64" }),
        op("cast", [t], { dtype: "bool" }),
      ];
    });
  }
});

Deno.test("whole numbers wrap inside a fused loop as they do in memory", () => {
  for (const dtype of ["i32", "u32"] as const) {
    for (const name of ["neg", "abs", "square", "relu"]) {
      same(
        `${name} ${dtype}`,
        () => [op("cast", [op(name, [leaf(SPECIAL, [SPECIAL.length], dtype)])], { dtype: "f64" })],
      );
    }
  }
});

Deno.test("values used inside a fused loop and outside of it are both right", () => {
  same("diamond", () => {
    const x = random(generator(1), [6, 7]), a = op("exp", [x]), b = op("mul", [a, x]), c = op("add", [a, b]);
    return [c, b, op("sum", [a], { axes: [0] }), op("reshape", [c], { shape: [42] })];
  }, 4);
});

Deno.test("a chain of 5,000 functions and a graph of 300 roots run", () => {
  same("long", () => {
    let t = random(generator(2), [3]);
    const one = leaf([1.0001], []);
    for (let i = 0; i < 5000; i++) t = op(i % 2 ? "mul" : "add", [t, i % 3 ? one : t.depth % 2 ? t : one]);
    return [t];
  });
  same("many roots", () => {
    const x = random(generator(3), [10]), out: Node[] = [];
    let t = x;
    for (let i = 0; i < 300; i++) out.push(t = op("sin", [op("add", [t, x])]));
    return out;
  });
});

Deno.test("the texts of expressions are those of records that exist", () => {
  for (const name of expressionNames()) {
    assertEquals(primitives().get(name)?.family, "elementwise", name);
    assertEquals(expressionOf(name) !== null, true);
  }
  assertEquals(expressionOf("toString"), null);
});
