/** profile: which kernels ran, how long and how much they did, as a table and as a trace. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import {
  Adam,
  jit,
  Linear,
  profile,
  randn,
  ReLU,
  Sequential,
  type Tensor,
  tensor,
  type TraceEvent,
  vmap,
} from "../../mod.ts";
import { createWebGpuEngine } from "../../gpu/webgpu/mod.ts";
import { setEngine } from "../../ops/runs.ts";
import { testEach } from "../support/engines.ts";
import { rejection } from "../gpu/webgpu.ts";

const only = ["host", "webgpu"] as const;
/** A device that is known, so that nothing is measured. */
const roofline = { host: { flops: 1e11, bytes: 1e10 }, webgpu: { flops: 1e11, bytes: 1e10 } };

testEach("profile counts calls, operations and bytes of every kernel by the records", async ({ device }) => {
  const a = randn([64, 32]).keep(), b = randn([32, 16]).keep();
  await Promise.all([a.data(), b.data()]);
  const { kernels, calls, runs, result } = await profile(async () => {
    const y = a.matmul(b).keep();
    await y.data();
    await a.matmul(b).keep().data();
    return y;
  }, { roofline });
  assertEquals(result.shape, [64, 16]);
  assertEquals(kernels.map(({ name, shape, device, calls }) => [name, shape, device, calls]), [
    ["matmul", [64, 16], device, 2],
  ]);
  assertEquals(kernels[0].flops, 2 * (2 * 64 * 32 * 16));
  assertEquals(kernels[0].bytes, 2 * 4 * (64 * 32 + 32 * 16 + 64 * 16));
  assertEquals([calls.length, runs.length], [2, 2]);
  const { time, roofline: share } = kernels[0];
  assert(time > 0, `${time} ms`);
  const least = 1000 * Math.max(kernels[0].flops / 1e11, kernels[0].bytes / 1e10);
  assert(Math.abs(share - least / time) < 1e-9, `${share} of the roofline`);
}, { only });

testEach("the times of kernels add up to most of the time that a run takes", async () => {
  const x = randn([700, 700]).keep(), run = (): Promise<number> => x.matmul(x).matmul(x).sum().item();
  for (let i = 0; i < 4; i++) await run(); // until nothing is compiled any more
  const { kernels, duration } = await profile(async () => {
    for (let i = 0; i < 3; i++) await run();
  }, { roofline });
  const total = kernels.reduce((sum, k) => sum + k.time, 0);
  assert(total <= duration * 1.05, `${total} ms of ${duration}`);
  assert(total >= duration * 0.4, `${total} ms of ${duration}`);
}, { only });

testEach(
  "a trace is what Perfetto reads: named events with times, processes and threads",
  async ({ device }) => {
    const model = new Sequential(new Linear(8, 8), new ReLU(), new Linear(8, 1)), optimizer = new Adam(model);
    const x = randn([4, 8]);
    const step = jit((x: Tensor) => {
      optimizer.zeroGrad();
      const loss = model.call(x).square().mean();
      loss.backward();
      optimizer.step();
      return loss;
    });
    const p = await profile(async () => {
      for (let i = 0; i < 3; i++) await step(x).item();
    }, { roofline });
    const path = await Deno.makeTempFile({ suffix: ".json" });
    try {
      await p.save(path);
      const { traceEvents } = JSON.parse(await Deno.readTextFile(path)) as { traceEvents: TraceEvent[] };
      for (const { ph, name, pid, tid, ts, dur } of traceEvents) {
        assert(ph === "X" || ph === "M");
        assert(typeof name === "string" && name !== "");
        for (const n of [pid, tid, ts, dur]) assert(Number.isFinite(n) && n >= 0, `${name}: ${n}`);
      }
      const kernels = traceEvents.filter((e) => e.cat === "kernel");
      assertEquals(kernels.length, p.calls.length);
      assertEquals(traceEvents.filter((e) => e.cat === "run").length, p.runs.length);
      const names = traceEvents.filter((e) => e.ph === "M").map((e) => e.args!.name);
      assertEquals(names, [device, "kernels", "runs, on the host"]);
      // No two kernels of a device overlap, and all lie within the time of the whole.
      for (let i = 1; i < kernels.length; i++) {
        assert(
          kernels[i].ts >= kernels[i - 1].ts + kernels[i - 1].dur - 1,
        );
      }
      assert(kernels[kernels.length - 1].ts / 1000 <= p.duration);
    } finally {
      await Deno.remove(path);
    }
  },
  { only },
);

testEach("a profile shows itself as a table", async () => {
  const x = randn([50, 50]);
  const p = await profile(() => x.exp().matmul(x).sum().item(), { roofline });
  const text = Deno.inspect(p, { colors: false });
  for (
    const part of [
      "kernel",
      "calls",
      "ms",
      "GFLOP/s",
      "GB/s",
      "% of roofline",
      "matmul",
      "100 GFLOP/s, 10.0 GB/s",
    ]
  ) {
    assertStringIncludes(text, part);
  }
  const { data } = await p.present();
  assertStringIncludes(String(data["text/html"]), "<table");
  assertEquals(data["text/plain"], text);
}, { only });

testEach(
  "profile takes synchronous functions too, nests no other, and leaves nothing switched on",
  async () => {
    const x = randn([20, 20]);
    const p = await profile(() => void vmap((row: Tensor) => row.square().sum())(x).keep(), { roofline });
    assert(p.calls.length > 0 && p.result === undefined);
    assertStringIncludes((await rejection(profile(() => profile(() => 1)))).message, "inside profile");
    assertEquals((await rejection(profile(() => Promise.reject(new Error("mine"))))).message, "mine");
    await x.add(1).data();
    assertEquals((await profile(() => 1)).calls.length, 0);
  },
  { only },
);

testEach("the roofline is measured where it is not given", async ({ device }) => {
  const { rooflines, kernels } = await profile(() => randn([100]).exp().sum().item());
  const { flops, bytes } = rooflines[device]!;
  assert(flops > 1e7 && bytes > 1e7, `${flops} operations and ${bytes} bytes a second`);
  assert(kernels.every((k) => k.roofline >= 0));
}, { only: ["host"] });

testEach("a GPU without a clock for kernels is timed by waiting for each", async () => {
  const { gpu } = navigator, request = gpu.requestAdapter;
  gpu.requestAdapter = async (options) => {
    const adapter = (await request.call(gpu, options))!;
    return {
      info: adapter.info,
      limits: adapter.limits,
      features: new Set<string>(),
      requestDevice: (d: GPUDeviceDescriptor) => adapter.requestDevice(d),
    } as unknown as GPUAdapter;
  };
  const engine = (await createWebGpuEngine().finally(() => gpu.requestAdapter = request))!;
  assert(!engine.gpu.features.has("timestamp-query"));
  setEngine(engine);
  const x = tensor([1, 2, 3]);
  const { calls, result } = await profile(() => x.exp().add(x.sum()).sum().item(), { roofline });
  assert(calls.length >= 3 && calls.every((k) => k.duration > 0));
  assert(Math.abs(result - (18 + Math.exp(1) + Math.exp(2) + Math.exp(3))) < 1e-3);
  engine.destroy();
}, { only: ["webgpu"] });

testEach("profile sees what computes the tensors that are returned and not read", async () => {
  const x = randn([8, 8]), square = jit((x: Tensor) => x.matmul(x));
  await x.data();
  const ways: (() => Tensor | Tensor[])[] = [() => x.matmul(x), () => [x.matmul(x)], () => square(x)];
  for (const way of ways) {
    assertEquals((await profile(way, { roofline })).kernels.map((k) => k.name), ["matmul"]);
  }
}, { only });
