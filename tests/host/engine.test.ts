import { assert, assertEquals, assertNotStrictEquals, assertThrows } from "@std/assert";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { createHostEngine } from "../../gpu/host/engine.ts";
import { constantNode, randomKey } from "../../ops/definitions/structural.ts";
import { makeLeaf, type Node } from "../../ops/node.ts";
import { HostStorage } from "../../ops/reference.ts";
import { engine, generator, leaf, op, random, same, values } from "./compare.ts";

const SHAPES = [[], [1], [4], [3, 4], [3, 1], [2, 3, 4]];
const UNARY = ["neg", "exp", "sin", "relu", "square", "sigmoid", "abs", "tanh"];
const BINARY = ["add", "sub", "mul", "maximum", "minimum"];

/** A random graph of floats: whatever fits together, with several roots. */
function randomGraph(seed: number): Node[] {
  const rng = generator(seed), pick = <T>(list: readonly T[]): T => list[Math.floor(rng() * list.length)];
  const dtype = pick(["f32", "f32", "f64", "f16"] as const);
  const pool: Node[] = SHAPES.map((s) => random(rng, s, dtype));
  pool.push(constantNode(0.5, dtype, "host"));
  const roots: Node[] = [];
  for (let i = 0; i < 30; i++) {
    // Mostly recent values, so that chains grow long.
    const x = rng() < 0.7 ? pool[pool.length - 1 - Math.floor(rng() * Math.min(6, pool.length))] : pick(pool);
    const rank = x.shape.length, kind = rng();
    let y: Node;
    if (kind < 0.3) y = op(pick(UNARY), [x]);
    else if (kind < 0.6) {
      const other = pick(pool);
      const fits = [...other.shape].reverse().every((n, k) => {
        const m = x.shape[rank - 1 - k];
        return m === undefined || m === n || m === 1 || n === 1;
      });
      y = op(pick(BINARY), fits ? (rng() < 0.5 ? [x, other] : [other, x]) : [x, x]);
    } else if (kind < 0.65) y = op("where", [op(pick(["lt", "ge"]), [x, x]), x, op("neg", [x])]);
    else if (kind < 0.75 && rank > 0) {
      y = op(pick(["sum", "amax"]), [x], { axes: [...Array(rank).keys()].filter(() => rng() < 0.5) });
    } else if (kind < 0.8 && rank > 1) y = op("permute", [x], { axes: [...Array(rank).keys()].reverse() });
    else if (kind < 0.84) y = op("reshape", [x], { shape: [x.shape.reduce((a, b) => a * b, 1)] });
    else if (kind < 0.88 && rank > 0 && x.shape.length < 4) y = op("expand", [x], { shape: [2, ...x.shape] });
    else if (kind < 0.92 && rank > 0 && x.shape[0] > 1) {
      y = op("slice", [x], {
        starts: x.shape.map((_, a) => a ? 0 : 1),
        sizes: x.shape.map((n, a) => a ? n : n - 1),
        steps: x.shape.map(() => 1),
      });
    } else if (kind < 0.96 && rank === 2) y = op("matmul", [x, op("permute", [x], { axes: [1, 0] })]);
    else if (rank > 0 && x.shape[rank - 1] > 0) y = op("softmax", [x], { axis: rank - 1 });
    else y = op("flip", [x], { axes: [] });
    pool.push(y);
    if (rng() < 0.1) roots.push(y);
  }
  roots.push(pool[pool.length - 1]);
  return [...new Set(roots)].filter((r) => r.value === null);
}

Deno.test("400 random graphs equal the reference", () => {
  for (let seed = 1; seed <= 400; seed++) {
    // f16 and sums amplify the last bit, so what is compared is bounded by tanh.
    same(`graph ${seed}`, () => randomGraph(seed).map((r) => op("tanh", [r])), 64);
  }
});

Deno.test("400 random graphs have the same bits where all is done again that can be", () => {
  const thrifty = createHostEngine({ repeats: { least: 1, smallest: 1, share: 1 } });
  for (let seed = 1; seed <= 400; seed++) {
    assertEquals(
      values(() => randomGraph(seed), thrifty),
      values(() => randomGraph(seed), engine),
      `graph ${seed}`,
    );
  }
});

Deno.test("constants and random keys are data: one schedule takes new ones each run", () => {
  for (const value of [1, 2.5, -3]) {
    const build = (): Node[] => {
      const c = constantNode(value, "f32", "host"), x = leaf([1, 2], [2]);
      const key = makeLeaf(randomKey, { value: [value * 1000, 7].map((k) => k >>> 0) }, {
        shape: [2],
        dtype: "u32",
      }, "host");
      return [
        op("mul", [x, c]),
        op("randomBits", [key], { shape: [4] }),
        op("expand", [c], { shape: [3] }),
        op("neg", [c]),
      ];
    };
    same(`constant ${value}`, build);
  }
  same(
    "a constant alone",
    () => [constantNode(0.1, "f32", "host"), constantNode(7, "i32", "host"), constantNode(1, "bool", "host")],
  );
});

Deno.test("values of one run stay when the next of the same structure comes", () => {
  const build = (x: number): Node => op("exp", [op("add", [leaf([x], [100]), leaf([1], [100])])]);
  const a = build(0), b = build(1);
  engine.run([a]);
  const before = (a.value as HostStorage).data.slice();
  engine.run([b]);
  assertEquals((a.value as HostStorage).data, before);
  assertNotStrictEquals((a.value as HostStorage).data.buffer, (b.value as HostStorage).data.buffer);
});

Deno.test("upload copies, read copies, peek shows, free makes use an error", async () => {
  const host = createHostEngine(), source = Float32Array.of(1, 2, 3);
  const storage = host.upload(source, "f32");
  source[0] = 9;
  const [read] = await host.read([{ storage }]);
  assertEquals(read, Float32Array.of(1, 2, 3));
  assertEquals(host.peek(storage), read);
  assertNotStrictEquals(host.peek(storage), host.peek(storage)); // what is done to it changes no tensor
  assertEquals(host.memory().live, 12);
  host.free(storage);
  host.free(storage);
  assertEquals(host.memory().live, 0);
  assertEquals(host.peek(storage), null);
  const x = leaf([1], [3]);
  x.value = storage;
  assertThrows(() => host.run([op("neg", [x])]), Error, "dispose");
});

Deno.test("memory reports what roots hold, the arena, and the peak", () => {
  const host = createHostEngine(), x = leaf([1, 2, 3], [1000, 100]);
  const middle = op("sin", [x]), y = op("matmul", [op("permute", [middle], { axes: [1, 0] }), middle]);
  host.run([y]);
  const { live, arena, peak } = host.memory();
  assertEquals(live, 100 * 100 * 4);
  assertEquals(arena, 1000 * 100 * 4);
  assertEquals(peak, live + arena);
});

Deno.test("a scalar that is kept does not keep the other results of its run in the account", async () => {
  setFlagsFromString("--expose-gc");
  const gc = runInNewContext("gc") as () => void;
  const host = createHostEngine(), kept: (Node["value"])[] = [];
  const run = (): void => {
    const x = op("sin", [leaf([1, 2], [5000])]), loss = op("sum", [x], { axes: [0] });
    const bias = op("cos", [leaf([1], [10])]);
    host.run([x, loss, bias]);
    kept.push(loss.value);
  };
  for (let i = 0; i < 20; i++) run();
  for (let i = 0; i < 20 && host.memory().live > 20 * 4; i++) {
    await new Promise((resolve) => setTimeout(resolve, 5));
    gc();
  }
  assertEquals([host.memory().live, kept.length], [20 * 4, 20]);
});

Deno.test("an intermediate takes the place of one that nobody needs any more", () => {
  const host = createHostEngine();
  let x = leaf([1, 2, 3], [64, 64]);
  for (let i = 0; i < 50; i++) x = op("matmul", [x, x]);
  host.run([x]);
  assertEquals(host.memory().peak - host.memory().live, 2 * 64 * 64 * 4);
});

Deno.test("the schedule cache is bounded", () => {
  const host = createHostEngine({ schedules: 4 });
  for (let round = 0; round < 3; round++) {
    for (let n = 1; n < 12; n++) {
      const [y] = values(() => [op("neg", [leaf([n], [n])])], host);
      assertEquals([...y], Array(n).fill(-n));
    }
  }
});

Deno.test("what nobody holds is given back: roots leave the account, the arena is collected", async () => {
  setFlagsFromString("--expose-gc");
  const gc = runInNewContext("gc") as () => void;
  const host = createHostEngine();
  const run = (n: number): void =>
    host.run([op("matmul", [op("sin", [leaf([1, 2], [n, n])]), op("cos", [leaf([1], [n, n])])])]);
  for (const n of [3, 10, 300]) run(n);
  assert(host.memory().live >= 300 * 300 * 4 && host.memory().arena >= 2 * 300 * 300 * 4);
  for (let i = 0; i < 20 && host.memory().live + host.memory().arena > 0; i++) {
    await new Promise((resolve) => setTimeout(resolve, 5));
    gc();
  }
  assertEquals([host.memory().live, host.memory().arena], [0, 0]);
  run(300);
});

Deno.test("a run keeps neither its graph nor its operands alive", async () => {
  setFlagsFromString("--expose-gc");
  const gc = runInNewContext("gc") as () => void;
  const host = createHostEngine(), dead: WeakRef<object>[] = [];
  const run = (): void => {
    const x = leaf([1, 2, 3, 4], [4, 4]), i = leaf([1, 0], [2], "i32");
    const row = op("slice", [x], { starts: [1, 0], sizes: [2, 4], steps: [1, 1] });
    const y = op("softmax", [op("matmul", [op("embedding", [row, i]), op("exp", [x])])], { axis: 1 });
    host.run([op("sum", [y], { axes: [0] })]);
    for (const node of [x, i, row, y]) dead.push(new WeakRef(node));
    for (const node of [x, i]) dead.push(new WeakRef((node.value as HostStorage).data));
  };
  for (let k = 0; k < 3; k++) run();
  for (let k = 0; k < 20 && dead.some((d) => d.deref() !== undefined); k++) {
    await new Promise((resolve) => setTimeout(resolve, 5));
    gc();
  }
  assertEquals(dead.filter((d) => d.deref() !== undefined).length, 0);
});

Deno.test("20,000 small runs in one synchronous loop keep memory flat", () => {
  const host = createHostEngine(), rng = generator(1);
  let w = random(rng, [32, 32]);
  const used = (): number => {
    const { rss, external } = Deno.memoryUsage();
    return Math.max(rss, external);
  };
  let before = 0;
  for (let i = 0; i < 20_000; i++) {
    const y = op("sub", [w, op("mul", [op("tanh", [op("matmul", [w, w])]), leaf([0.01], [])])]);
    host.run([y]);
    y.inputs = [];
    w = y;
    if (i === 4000) before = used();
  }
  assert(used() - before < 100e6, `memory grew by ${(used() - before) / 1e6} MB in 16,000 runs`);
});

Deno.test("large results of a synchronous loop keep memory flat", () => {
  const host = createHostEngine();
  let w = leaf([1, 2, 3], [1 << 20]), most = 0;
  const before = Deno.memoryUsage().rss;
  for (let i = 0; i < 500; i++) {
    const y = op("add", [w, leaf([1], [])]);
    host.run([y]);
    y.inputs = [];
    w = y;
    most = Math.max(most, Deno.memoryUsage().rss - before);
  }
  assert(most < 600e6, `memory grew by ${most / 1e6} MB, of 2 GB made`);
});

Deno.test("what a long synchronous loop computes has the bits of its first run", () => {
  // Results past the share of memory that comes back by finalisers only were computed by slower kernels.
  const host = createHostEngine(),
    rng = generator(1),
    [x, w] = [0, 1].map(() => random(rng, [512, 512], "f32"));
  const results: Node[] = [];
  for (let i = 0; i < 300; i++) {
    const y = op("matmul", [x, w]);
    host.run([y]);
    results.push(y);
  }
  const [first, last] = [results[0], results[299]].map((y) => host.peek(y.value!)!);
  assert(last.every((v, i) => v === first[i]));
});

Deno.test("a run that fails keeps no memory", () => {
  const host = createHostEngine(), table = leaf([1, 2, 3], [4, 1 << 16]), used: number[] = [];
  for (let i = 0; i < 200; i++) {
    const wrong = op("embedding", [table, leaf([7], [1], "i32")]), large = op("tanh", [table]);
    assertThrows(() => host.run([large, wrong]));
    used.push(Deno.memoryUsage().rss);
  }
  assert(used[199] - used[9] < 100e6, `memory grew by ${(used[199] - used[9]) / 1e6} MB, of 200 MB taken`);
});

Deno.test("a loop in vectors keeps neither the graph nor the operands of the run that it was made for", async () => {
  setFlagsFromString("--expose-gc");
  const gc = runInNewContext("gc") as () => void;
  const host = createHostEngine(), dead: WeakRef<object>[] = [];
  const run = (): void => {
    const x = leaf([1, 2, 3, 4], [100, 80]);
    const y = op("sum", [op("exp", [op("mul", [x, x])])], { axes: [0] });
    host.run([y, op("tanh", [x])]);
    dead.push(new WeakRef(x), new WeakRef(y), new WeakRef((x.value as HostStorage).data));
  };
  for (let k = 0; k < 3; k++) run();
  for (let k = 0; k < 20 && dead.some((d) => d.deref() !== undefined); k++) {
    await new Promise((resolve) => setTimeout(resolve, 5));
    gc();
  }
  assertEquals(dead.filter((d) => d.deref() !== undefined).length, 0);
});
