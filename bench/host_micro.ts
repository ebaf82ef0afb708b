/** Speed of the host engine: matrix products, elementwise loops, reductions, and the cost of a small node. */
import { createHostEngine } from "../gpu/host/engine.ts";
import { data } from "../ops/definitions/structural.ts";
import "../ops/create.ts";
import "../ops/functions.ts";
import { collect } from "../ops/lower.ts";
import { makeLeaf, makeNode, type Node } from "../ops/node.ts";
import { type Attributes, primitives } from "../ops/primitive.ts";
import { HostStorage } from "../ops/reference.ts";
import { type Shape, sizeOf } from "../ops/shape.ts";

const engine = createHostEngine();

function leaf(shape: Shape): Node {
  const node = makeLeaf(data, null, { shape, dtype: "f32" }, "host");
  node.value = new HostStorage(Float32Array.from({ length: sizeOf(shape) }, () => Math.random() - 0.5));
  return node;
}

function op(name: string, x: readonly Node[], p: Attributes = null): Node {
  return makeNode(primitives().get(name)!, x, p);
}

/** Least milliseconds of `rounds` calls. */
function best(rounds: number, f: () => void): number {
  let least = Infinity;
  for (let i = 0; i < rounds; i++) {
    const start = performance.now();
    f();
    least = Math.min(least, performance.now() - start);
  }
  return least;
}

function report(what: string, value: number, unit: string): void {
  console.log(`${what.padEnd(44)} ${value.toFixed(2).padStart(9)} ${unit}`);
}

for (const n of [16, 64, 256, 512, 1024]) {
  const a = leaf([n, n]), b = leaf([n, n]);
  const t = (x: Node): Node => op("permute", [x], { axes: [1, 0] });
  const rounds = n > 512 ? 4 : 20;
  report(`matmul ${n}`, 2 * n ** 3 / best(rounds, () => engine.run([op("matmul", [a, b])])) / 1e6, "GFLOP/s");
  report(
    `matmul ${n}, both transposed`,
    2 * n ** 3 / best(rounds, () => engine.run([op("matmul", [t(a), t(b)])])) / 1e6,
    "GFLOP/s",
  );
}
{
  const a = leaf([64, 12, 64, 32]), b = leaf([64, 12, 32, 64]);
  report(
    "matmul, 768 of [64,32] x [32,64]",
    2 * 768 * 64 * 64 * 32 / best(10, () => engine.run([op("matmul", [a, b])])) / 1e6,
    "GFLOP/s",
  );
}

const N = 1 << 20,
  x = leaf([1024, 1024]),
  y = leaf([1024, 1024]),
  row = leaf([1024]),
  column = leaf([1024, 1]);
const per = (f: () => Node[], rounds = 20): number => best(rounds, () => engine.run(f())) * 1e6 / N;
report("x + y", per(() => [op("add", [x, y])]), "ns/element");
report("x + row", per(() => [op("add", [x, row])]), "ns/element");
report("x * column", per(() => [op("mul", [x, column])]), "ns/element");
report("x + y transposed", per(() => [op("add", [x, op("permute", [y], { axes: [1, 0] })])]), "ns/element");
report("x transposed, copied", per(() => [op("permute", [x], { axes: [1, 0] })]), "ns/element");
report(
  "chain of 10 (+, *)",
  per(() => {
    let t = x;
    for (let i = 0; i < 5; i++) t = op("mul", [op("add", [t, y]), row]);
    return [t];
  }),
  "ns/element",
);
report("relu", per(() => [op("relu", [x])]), "ns/element");
report("x > y", per(() => [op("gt", [x, y])]), "ns/element");
report("exp", per(() => [op("exp", [x])]), "ns/element");
report("tanh", per(() => [op("tanh", [x])]), "ns/element");
report("sigmoid", per(() => [op("sigmoid", [x])]), "ns/element");
report("cast to f16", per(() => [op("cast", [x], { dtype: "f16" })]), "ns/element");
report("sum of all", per(() => [op("sum", [x], { axes: [0, 1] })]), "ns/element");
report("sum of rows", per(() => [op("sum", [x], { axes: [1] })]), "ns/element");
report("sum of columns", per(() => [op("sum", [x], { axes: [0] })]), "ns/element");
report(
  "sum of (x - y)^2",
  per(() => [op("sum", [op("square", [op("sub", [x, y])])], { axes: [0, 1] })]),
  "ns/element",
);
report("amax of rows", per(() => [op("amax", [x], { axes: [1] })]), "ns/element");
report("softmax of rows", per(() => [op("softmax", [x], { axis: 1 })]), "ns/element");
report("softmax of columns", per(() => [op("softmax", [x], { axis: 0 })]), "ns/element");
{
  const key = makeLeaf(
    primitives().get("randomKey")!,
    { value: [1, 2] },
    { shape: [2], dtype: "u32" },
    "host",
  );
  const bits = (): Node => op("randomBits", [key], { shape: [1024, 1024] });
  report("random bits", per(() => [bits()], 5), "ns/element");
  report("normal numbers", per(() => [op("normalFromBits", [bits()])], 5), "ns/element");
}
{
  const g = leaf([1024, 1024]), m = leaf([1024, 1024]), v = leaf([1024, 1024]);
  const [b1, a1, b2, a2, rate, e] = [0.9, 0.1, 0.999, 0.001, 0.01, 1e-8].map((value) =>
    makeLeaf(primitives().get("constant")!, { value }, { shape: [], dtype: "f32" }, "host")
  );
  report(
    "Adam, three results",
    per(() => {
      const m1 = op("add", [op("mul", [m, b1]), op("mul", [g, a1])]);
      const v1 = op("add", [op("mul", [v, b2]), op("mul", [op("square", [g]), a2])]);
      return [op("sub", [x, op("mul", [op("div", [m1, op("add", [op("sqrt", [v1]), e])]), rate])]), m1, v1];
    }),
    "ns/element",
  );
}

const OPS = 1000;
function chain(start: Node, step: (t: Node, i: number) => Node): Node {
  let t = start;
  for (let i = 0; i < OPS; i++) t = step(t, i);
  return t;
}
for (
  const [what, build] of [
    ["1,000 elementwise ops on [8]", (): Node => chain(leaf([8]), (t, i) => op(i % 2 ? "neg" : "relu", [t]))],
    ["1,000 matmuls of [4,4]", (): Node => chain(leaf([4, 4]), (t) => op("matmul", [t, t]))],
    ["1,000 softmaxes of [8]", (): Node => chain(leaf([8]), (t) => op("softmax", [t], { axis: 0 }))],
  ] as const
) {
  const graphs = Array.from({ length: 60 }, build);
  let at = 0;
  const start = performance.now();
  engine.run([graphs[at++]]);
  report(`${what}: first run`, (performance.now() - start) * 1000 / OPS, "us/node");
  const whole = best(50, () => engine.run([graphs[at++]]));
  const collecting = best(50, () => collect([build()])) - best(50, () => build());
  report(`${what}: cached run`, whole * 1000 / OPS, "us/node");
  report(`${what}: of which collect()`, collecting * 1000 / OPS, "us/node");
}
{
  const a = leaf([8]), count = 20_000;
  const start = performance.now();
  for (let i = 0; i < count; i++) engine.run([op("neg", [a])]);
  report("a run of one small op", (performance.now() - start) * 1000 / count, "us");
}
