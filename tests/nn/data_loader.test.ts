/** Loaders: batches, order, resuming, and turns for the event loop. */
import { assert, assertEquals, assertNotEquals, assertRejects, assertThrows } from "@std/assert";
import { manualSeed, type Tensor, tensor } from "../../mod.ts";
import { DataLoader, shuffledOrder } from "../../nn/data_loader.ts";
import { numbers } from "./support.ts";

async function epoch(loader: DataLoader, upTo = Infinity): Promise<number[][]> {
  const out: number[][] = [];
  for await (const batch of loader) {
    out.push(await numbers(batch));
    if (out.length >= upTo) break;
  }
  return out;
}

Deno.test("batches come in order, with a last one that is not full unless it is dropped", async () => {
  const data = Float32Array.from({ length: 7 }, (_, i) => i);
  const loader = new DataLoader(data, { batchSize: 3 });
  assertEquals(await epoch(loader), [[0, 1, 2], [3, 4, 5], [6]]);
  assertEquals([loader.length, loader.epoch, loader.examples], [3, 1, 7]);
  const short = new DataLoader(data, { batchSize: 3, dropLast: true });
  assertEquals(await epoch(short), [[0, 1, 2], [3, 4, 5]]);
  assertEquals(short.length, 2);
});

Deno.test("batches have the structure of the data", async () => {
  const first = async (data: unknown): Promise<unknown> => {
    const { value: batch } = await new DataLoader(data, { batchSize: 2 })[Symbol.asyncIterator]().next();
    const read = async (t: Tensor): Promise<unknown> => [t.dtype, await t.toArray()];
    if (Array.isArray(batch)) return Promise.all(batch.map(read));
    if ("toArray" in batch) return read(batch);
    return Object.fromEntries(
      await Promise.all(Object.entries(batch).map(async ([k, t]) => [k, await read(t as Tensor)])),
    );
  };
  const x = tensor([[1, 2], [3, 4], [5, 6]]), y = new Int32Array([7, 8, 9]);
  assertEquals(await first([x, y]), [["f32", [[1, 2], [3, 4]]], ["i32", [7, 8]]]);
  assertEquals(await first({ x, y }), { x: ["f32", [[1, 2], [3, 4]]], y: ["i32", [7, 8]] });
  assertEquals(await first([[[1, 2], 3], [[4, 5], 6]]), [["f32", [[1, 2], [4, 5]]], ["f32", [3, 6]]]);
  assertEquals(await first([[1, 2], [3, 4]]), ["f32", [[1, 2], [3, 4]]]);
  assertEquals(await first([{ a: true }, { a: false }]), { a: ["bool", [true, false]] });
  assertEquals(await first({ data: new Uint8Array([255, 3, 4, 5]), shape: [2, 2], dtype: "f32" }), ["f32", [[
    255,
    3,
  ], [4, 5]]]);
  const lazy = { length: 3, at: (i: number) => Promise.resolve({ n: i, v: new Float32Array([i, i]) }) };
  assertEquals(await first(lazy), { n: ["f32", [0, 1]], v: ["f32", [[0, 0], [1, 1]]] });
});

Deno.test("a shuffled epoch has every example once, in an order that seed and epoch decide", async () => {
  const data = Float32Array.from({ length: 20 }, (_, i) => i);
  const a = new DataLoader(data, { batchSize: 6, shuffle: true, seed: 3 });
  const one = await epoch(a), two = await epoch(a);
  assertEquals(one.flat().sort((p, q) => p - q), [...data]);
  assertNotEquals(one, two);
  const b = new DataLoader(data, { batchSize: 6, shuffle: true, seed: 3 });
  assertEquals([await epoch(b), await epoch(b)], [one, two]);
  manualSeed(1);
  const c = await epoch(new DataLoader(data, { shuffle: true }));
  manualSeed(1);
  assertEquals(await epoch(new DataLoader(data, { shuffle: true })), c);
  // Every place gets every example about equally often.
  const counts = new Float64Array(25);
  for (let e = 0; e < 5000; e++) shuffledOrder(5, 9, e).forEach((v, i) => counts[5 * i + v]++);
  counts.forEach((n) => assert(Math.abs(n - 1000) < 150, `${counts}`));
});

Deno.test("a loader goes on from its state in another object, also between epochs", async () => {
  const data = Float32Array.from({ length: 10 }, (_, i) => i), options = { batchSize: 3, shuffle: true };
  for (const stop of [1, 3, 4]) {
    const a = new DataLoader(data, { ...options, seed: 8 }), whole = [...await epoch(a), ...await epoch(a)];
    const b = new DataLoader(data, { ...options, seed: 8 }), head = await epoch(b, stop);
    const c = new DataLoader(data, { ...options, seed: 1 });
    c.loadStateDict(JSON.parse(JSON.stringify(b.stateDict())));
    const tail = [...await epoch(c), ...await epoch(c)];
    if (stop === 4) tail.push(...await epoch(c));
    assertEquals([...head, ...tail].slice(0, 8), [...whole].slice(0, 8));
  }
});

Deno.test("breaking off a loop ends its epoch", async () => {
  const loader = new DataLoader(Float32Array.from({ length: 6 }, (_, i) => i), { batchSize: 2 });
  assertEquals(await epoch(loader, 1), [[0, 1]]);
  assertEquals(await epoch(loader), [[0, 1], [2, 3], [4, 5]]);
  assertEquals(loader.epoch, 2);
});

Deno.test("the event loop gets its turn while batches are loaded", async () => {
  const loader = new DataLoader(Float32Array.from({ length: 60 }, (_, i) => i));
  let turns = 0, running = true;
  const turn = (): void => {
    turns++;
    if (running) setImmediate(turn);
  };
  setImmediate(turn);
  for await (const _ of loader) {
    const end = performance.now() + 4;
    while (performance.now() < end);
  }
  running = false;
  assert(turns >= 8, `${turns} turns in 240 ms`);
});

Deno.test("data that cannot be loaded say why", async () => {
  assertThrows(
    () => new DataLoader([new Float32Array(2), new Float32Array(3)]),
    RangeError,
    "0 has 2 rows and 1 3",
  );
  assertThrows(() => new DataLoader(new Uint8Array(4)), TypeError, "bytes or booleans");
  assertThrows(() => new DataLoader(new Float64Array(4), { batchSize: 0 }), RangeError, "size");
  assertThrows(() => new DataLoader({ data: new Float32Array(5), shape: [2, 2] }), RangeError, "5 elements");
  assertThrows(() => new DataLoader(tensor(1)), RangeError, "scalar");
  assertThrows(() => new DataLoader(3), TypeError, "number");
  assertThrows(() => new DataLoader({}), RangeError, "no columns");
  await assertRejects(() => epoch(new DataLoader(["a", "b"])), TypeError, "string");
});
