/** The engine around the kernels: structures met again, memory, failures, and the loss of the device. */
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import {
  crossEntropy,
  embedding,
  memory,
  OutOfMemoryError,
  sync,
  type Tensor,
  tensor,
  zeros,
} from "../../mod.ts";
import { createWebGpuEngine, DeviceLostError, WebGpuEngine } from "../../gpu/webgpu/mod.ts";
import { setEngine } from "../../ops/runs.ts";
import { read } from "../support/numbers.ts";
import { engine, flush, macrotask, rejection, test } from "./webgpu.ts";

test("numbers, keys and where slices start are data: a thousand runs are one structure", async () => {
  const x = tensor(Float32Array.from({ length: 64 }, (_, i) => i));
  const f = (k: number): Tensor =>
    x.narrow(0, k, 4).mul(k).add(x.scatterWindow([70], [k], [1]).narrow(0, k, 4)).sum();
  await f(0).data();
  const before = engine().counts.planned;
  const results: Tensor[] = [];
  for (let k = 0; k < 60; k++) {
    results.push(f(k).keep());
    flush();
  }
  assertEquals(engine().counts.planned, before);
  (await read(results)).forEach((r, k) => assertEquals(r[0], k * (4 * k + 6) + 6));
});

test("a view of a slice of a slice starts where this run says", async () => {
  const x = tensor(Float32Array.from({ length: 100 }, (_, i) => i), { shape: [10, 10] });
  for (const k of [0, 3, 5]) {
    const y = x.narrow(0, k, 4).mT().narrow(0, k, 2).flip(1);
    const [v, m] = await read([y.reshape([8]), y.matmul(y.mT())]);
    const row = (c: number): number[] => [3, 2, 1, 0].map((r) => (k + r) * 10 + k + c);
    assertEquals([...v], [...row(0), ...row(1)]);
    const dot = (a: number[], b: number[]): number => a.reduce((s, z, i) => s + z * b[i], 0);
    assertEquals([...m], [
      dot(row(0), row(0)),
      dot(row(0), row(1)),
      dot(row(1), row(0)),
      dot(row(1), row(1)),
    ]);
  }
});

test("one value may be every operand, and roots may be names of inputs or of each other", async () => {
  const x = tensor([1, 2, 3]), y = x.add(1);
  const [a, b, c, d] = await read([y.mul(y), y.reshape([3, 1]), x.reshape([1, 3]), y]);
  assertEquals([[...a], [...b], [...c], [...d]], [[4, 9, 16], [2, 3, 4], [1, 2, 3], [2, 3, 4]]);
  const [shared] = await read([x.mul(x).matmul(x)]);
  assertEquals(shared[0], 36);
});

test("an index out of range fails the run that has it, by name, and no other", async () => {
  const x = tensor([1, 2, 3, 4]), i = tensor([0, 9], { dtype: "i32" });
  const bad = x.gather(0, i).keep(), later = bad.mul(2), good = x.add(1).keep();
  flush();
  const use = later.keep();
  flush();
  assertStringIncludes((await rejection(bad.data())).message, "Cannot gather");
  assert((await rejection(use.data())) instanceof RangeError, "what used it fails too");
  assertStringIncludes((await rejection(good.data())).message, "Cannot gather", "it was the same run");
  assertEquals([...await x.add(2).data()], [3, 4, 5, 6]);
  assertEquals([...await x.gather(0, tensor([3, -4], { dtype: "i32" })).data()], [4, 1]);
});

test("wrong classes and ids are named", async () => {
  const logits = tensor([[1, 2, 3]]), table = tensor([[1, 2], [3, 4]]);
  assertStringIncludes(
    (await rejection(crossEntropy(logits, tensor([3], { dtype: "i32" })).data())).message,
    "Cannot take the crossEntropy against class 3: there are 3 classes, 0 to 2",
  );
  assertStringIncludes(
    (await rejection(embedding(table, tensor([2], { dtype: "i32" })).data())).message,
    "Cannot look up an embedding at index 2: the axis has length 2",
  );
});

test("a loop that only syncs lets timers run, and what is done is done", async () => {
  const x = zeros([1 << 16]).add(1).keep();
  let fired = false;
  setTimeout(() => fired = true, 0);
  const start = performance.now();
  for (let i = 0; !fired && performance.now() - start < 2000; i++) {
    const y = x.mul(i).keep();
    await sync();
    y.dispose();
  }
  assert(fired);
});

test("a fault shows at the next sync without a read", async () => {
  const bad = tensor([1]).gather(0, tensor([5], { dtype: "i32" })).keep();
  await sync();
  assert(bad.node.value?.error instanceof RangeError);
});

test("what the device refuses poisons its run and names it, and the next run works", async () => {
  const e = (await createWebGpuEngine())!;
  setEngine(e);
  const device = e.gpu, make = device.createBindGroup;
  const x = tensor([1, 2, 3]);
  await sync();
  // A buffer of the wrong usage makes the device refuse the run.
  device.createBindGroup = (d) =>
    make.call(device, {
      ...d,
      entries: [...d.entries].map((entry) => ({
        ...entry,
        resource: { buffer: device.createBuffer({ size: 256, usage: 8 }) },
      })),
    });
  const bad = x.mul(5).exp().keep();
  flush();
  device.createBindGroup = make;
  const error = await rejection(bad.data());
  assertStringIncludes(error.message, "mul, exp");
  assertEquals([...await x.mul(6).data()], [6, 12, 18]);
  e.destroy();
});

test("too much memory is an error of that run", async () => {
  const e = (await createWebGpuEngine())!;
  setEngine(e);
  const device = e.gpu, make = device.createBuffer;
  const x = tensor([1, 2, 3]);
  await sync();
  device.createBuffer = (d) => make.call(device, { ...d, size: 2 ** 50 });
  const bad = zeros([100_000]).add(x.sum()).keep();
  flush();
  device.createBuffer = make;
  const error = await rejection(bad.data());
  assert(error instanceof Error && /memory|refused/.test(error.message), error.message);
  e.destroy();
});

test("a budget counts what small tensors take, not the pages that they share", async () => {
  const e = (await createWebGpuEngine())!;
  setEngine(e);
  const x = zeros([1000]).add(1).keep(); // 4,000 bytes, in a page of 64 such
  await x.data();
  e.setBudget(e.memory().live + 2 ** 16);
  const results: Tensor[] = [];
  for (let i = 0; i < 8; i++) {
    results.push(x.mul(i).keep());
    flush();
  }
  assertEquals((await results[7].data())[999], 7);
  for (let i = 8; i < 24; i++) results.push(x.mul(i).keep());
  assertStringIncludes((await rejection(results[23].data())).message, "the budget is");
  e.destroy();
});

test("a GPU that has no more memory fails the run with what holds it, and the next run works", async () => {
  const e = (await createWebGpuEngine())!;
  setEngine(e);
  const device = e.gpu, { pushErrorScope, popErrorScope } = device, scopes: string[] = [];
  const x = zeros([300_000]).add(1).keep();
  flush();
  await sync();
  device.pushErrorScope = (filter) => (scopes.push(filter), pushErrorScope.call(device, filter));
  device.popErrorScope = async () => {
    const isMemory = scopes.pop() === "out-of-memory", error = await popErrorScope.call(device);
    return isMemory ? new GPUOutOfMemoryError("no more") : error;
  };
  const bad = x.mul(2).keep();
  flush();
  Object.assign(device, { pushErrorScope, popErrorScope });
  const error = await rejection(bad.data());
  assert(error instanceof OutOfMemoryError, `${error}`);
  for (
    const part of ["Cannot compute mul: out of memory on webgpu", "the device had no more", "[300000] f32"]
  ) {
    assertStringIncludes(error.message, part);
  }
  assertEquals((await x.mul(6).data())[299_999], 6);
  e.destroy();
});

test("f64 is refused with a way out", () => {
  const error = assertThrows(() => tensor([1], { dtype: "f64" }), Error);
  assertStringIncludes(error.message, "f32");
});

test("a lost device loses its tensors, and the next runs get a new one", async () => {
  const e = (await createWebGpuEngine())!;
  setEngine(e);
  const x = tensor([1, 2, 3]), y = x.mul(2).keep(), scalar = x.sum();
  flush();
  await scalar.item();
  e.destroy();
  const lost = await rejection(y.data());
  assert(lost instanceof DeviceLostError, `${lost}`);
  assertStringIncludes(lost.message, "was lost");
  assert(assertThrows(() => flushOf(x.add(1).exp())) instanceof DeviceLostError);
  assert((await rejection(x.add(1).keep().data())) instanceof DeviceLostError);
  // Synchronously after the loss: waits for the new device.
  const z = tensor([4, 5]).mul(10), w = z.add(1).keep();
  flush();
  assertEquals([...await w.data()], [41, 51]);
  assertEquals([...await tensor([4, 5]).add(1).data()], [5, 6]);
  e.destroy();
});

test("without any device what waits fails, and a later one is found", async () => {
  const e = (await createWebGpuEngine())!;
  setEngine(e);
  const { gpu } = navigator, request = gpu.requestAdapter;
  e.destroy();
  await macrotask(5);
  gpu.requestAdapter = () => Promise.resolve(null);
  await macrotask(50); // the device of the first recovery is there
  e.destroy();
  const y = tensor(new Float32Array(1000)).add(1).keep();
  flush();
  await macrotask(20);
  const z = tensor(new Float32Array(1000)).add(1).keep();
  flush();
  assert((await rejection(z.data())) instanceof DeviceLostError);
  assert((await rejection(y.data())) instanceof DeviceLostError);
  gpu.requestAdapter = request;
  const w = tensor(new Float32Array(1000)).add(1).keep();
  flush();
  assertEquals((await w.data())[999], 1);
  e.destroy();
});

test("thousands of lookups that nobody reads are checked all the same", async () => {
  const table = tensor([[1, 2], [3, 4]]),
    good = tensor([1], { dtype: "i32" }),
    bad = tensor([7], { dtype: "i32" });
  let last = table.sum();
  const kept: Tensor[] = [];
  for (let i = 0; i < 3000; i++) {
    last = last.add(embedding(table, good).sum()).stopGradient().keep();
    flush();
    if (i % 1000 === 500) await macrotask();
    if (i === 1500 || i === 2999) {
      kept.push(embedding(table, bad).keep());
      flush();
    }
  }
  assertEquals(await last.item(), 10 + 7 * 3000);
  for (const k of kept) assertStringIncludes((await rejection(k.data())).message, "the axis has length");
});

function flushOf(x: Tensor): void {
  x.keep();
  flush();
}

test("ten thousand small runs keep memory flat", async () => {
  const x = tensor([1, 2, 3]);
  let total = tensor(0);
  const run = async (n: number): Promise<void> => {
    for (let i = 0; i < n; i++) {
      total = total.add(x.mul(i % 10).sum()).stopGradient().keep();
      flush();
      if (i % 100 === 99) await macrotask();
    }
    await sync();
  };
  await run(2000);
  const before = bytes();
  await run(8000);
  const after = bytes();
  assert(after < before + 4 * 2 ** 20, `${before} bytes became ${after}`);
  assertEquals(await total.item(), 6 * 4.5 * 10_000);
});

function bytes(): number {
  const { live, pooled, arena } = memory("webgpu");
  return live + pooled + arena;
}

test("large results that nobody holds are given back", async () => {
  const x = zeros([2 ** 20]).add(1).keep(); // 4 MiB
  for (let i = 0; i < 400; i++) {
    x.add(i).keep();
    flush();
    if (i % 10 === 9) await new Promise((resolve) => setImmediate(resolve));
  }
  await sync();
  await macrotask(20);
  assert(memory("webgpu").live < 800 * 2 ** 20, `${memory("webgpu").live} bytes are held`);
});

test("a thousand reads in a loop are all right and leave nothing", async () => {
  const x = tensor(Float32Array.from({ length: 1000 }, (_, i) => i));
  const all = x.mul(2).keep();
  flush();
  const before = bytes();
  for (let i = 0; i < 1000; i++) {
    const [v] = await read([all.narrow(0, i, 1)]);
    assertEquals(v[0], 2 * i);
  }
  await macrotask(20);
  assert(bytes() < before + 2 ** 20);
});

test("reads asked for together are one submit", async () => {
  const e = engine(), x = tensor([1, 2, 3]), values = Array.from({ length: 50 }, (_, i) => x.mul(i).keep());
  flush();
  let submits = 0;
  const { queue } = e.gpu, submit = queue.submit;
  queue.submit = (buffers) => {
    submits++;
    submit.call(queue, buffers);
  };
  const results = await Promise.all(values.map((v) => v.data()));
  queue.submit = submit;
  assertEquals(submits, 1);
  results.forEach((r, i) => assertEquals([...r], [i, 2 * i, 3 * i]));
});

test("small values that were read are seen without waiting", async () => {
  const y = tensor([1, 2]).mul(3).keep();
  flush();
  assertEquals(y.peek(), null);
  await y.data();
  assertEquals([...y.peek()!], [3, 6]);
});

test("disposed tensors give memory back at once and say so", async () => {
  const y = tensor([1, 2]).mul(3).keep();
  flush();
  const before = memory("webgpu").live;
  y.dispose();
  assert(memory("webgpu").live < before);
  assertStringIncludes((await rejection(y.data())).message, "dispose");
  assert(engine() instanceof WebGpuEngine);
});

test("memory of replaced values is used again at once, but for what is being read", async () => {
  const gpu = engine(), n = 1_000_000;
  let w = zeros([n]).add(1).keep();
  flush();
  await sync();
  const first = gpu.memory();
  const reads: Promise<unknown>[] = [];
  for (let i = 0; i < 60; i++) {
    const next: Tensor = w.add(1).keep();
    flush();
    const old = w.node.value!;
    if (i === 30) {
      reads.push(
        gpu.read([{ storage: old, dtype: "f32", size: n }]).then(([x]) =>
          assertEquals([x[0], x[n - 1]], [31, 31])
        ),
      );
    }
    gpu.release(old);
    if (i === 59) await rejection(w.data()).then((e) => assertStringIncludes(e.message, "replaced"));
    w = next;
  }
  await Promise.all(reads);
  assertEquals((await w.data())[n - 1], 61);
  const { live, pooled } = gpu.memory();
  assert(live + pooled <= first.live + first.pooled + 4 * 4 * n, `${live + pooled} bytes`);
});

test("32-bit ids from 2^31 on are out of range, not counted from the end", async () => {
  const ids = tensor([4294967295], { dtype: "u32" });
  assertStringIncludes(
    (await rejection(tensor([1, 2]).gather(0, ids).data())).message,
    "Cannot gather at index 4294967295: the axis has length 2",
  );
});
