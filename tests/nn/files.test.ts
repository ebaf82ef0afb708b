/** Files: safetensors both ways, hostile ones, and checkpoints that a run goes on from bit by bit. */
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { crossEntropy, jit, manualSeed, randn, rngState, type Tensor, tensor } from "../../mod.ts";
import { Adam } from "../../nn/adam.ts";
import { loadCheckpoint, saveCheckpoint, type Stateful } from "../../nn/checkpoint.ts";
import { DataLoader } from "../../nn/data_loader.ts";
import { Dropout } from "../../nn/dropout.ts";
import { Linear } from "../../nn/linear.ts";
import { BatchNorm } from "../../nn/norm.ts";
import { loadSafetensors, readSafetensors, saveSafetensors, writeSafetensors } from "../../nn/safetensors.ts";
import { LRScheduler, stepDecay } from "../../nn/schedule.ts";
import { Sequential } from "../../nn/sequential.ts";
import { numbers, sameBits } from "./support.ts";

/** A file with this header and these elements. */
function file(header: unknown, data: Uint8Array = new Uint8Array(0), claim?: bigint): Uint8Array {
  const json = typeof header === "string"
    ? new TextEncoder().encode(header)
    : new TextEncoder().encode(JSON.stringify(header));
  const out = new Uint8Array(8 + json.length + data.length);
  new DataView(out.buffer).setBigUint64(0, claim ?? BigInt(json.length), true);
  out.set(json, 8);
  out.set(data, 8 + json.length);
  return out;
}

Deno.test("every type survives the way into a file and back, with metadata", async () => {
  const tensors: Record<string, Tensor> = {
    bits: tensor([[true, false, true]]),
    half: tensor([1.5, -2], { dtype: "f16" }),
    whole: tensor([[1], [-2]], { dtype: "i32" }),
    natural: tensor([4294967295], { dtype: "u32" }),
    single: tensor([0.1, -0, NaN, Infinity]),
    double: tensor([0.1], { dtype: "f64", device: "host" }),
    scalar: tensor(3),
    empty: tensor(new Float32Array(0), { shape: [0, 4] }),
    "__proto__": tensor([7]),
    "ünï.code": tensor([8]),
  };
  Object.defineProperty(tensors, "__proto__", { value: tensor([7]), enumerable: true });
  const bytes = await saveSafetensors(tensors, { format: "test" });
  assertEquals(new DataView(bytes.buffer).getBigUint64(0, true) % 8n, 0n);
  // A view at an odd place must work too.
  const shifted = new Uint8Array(bytes.length + 3);
  shifted.set(bytes, 3);
  const back = loadSafetensors(shifted.subarray(3));
  assertEquals(back.metadata, { format: "test" });
  assertEquals(back.notes.filter((note) => !note.startsWith("double: F64 is on the host")), []);
  assertEquals(Object.keys(back.tensors).sort(), Object.keys(tensors).sort());
  for (const name of Object.keys(tensors)) {
    assertEquals([back.tensors[name].dtype, back.tensors[name].shape], [
      tensors[name].dtype,
      tensors[name].shape,
    ]);
  }
  assert(await sameBits(tensors, back.tensors));
});

Deno.test("types without a counterpart are converted, with a note", async () => {
  const bf = new Uint8Array(new Uint16Array([0x3f80, 0xc000]).buffer); // 1, -2
  const long = new Uint8Array(new BigInt64Array([-5n]).buffer), byte = new Uint8Array([200]);
  const { tensors, notes } = loadSafetensors(file({
    a: { dtype: "I64", shape: [1], data_offsets: [0, 8] },
    b: { dtype: "BF16", shape: [2], data_offsets: [8, 12] },
    c: { dtype: "U8", shape: [1], data_offsets: [12, 13] },
  }, new Uint8Array([...long, ...bf, ...byte])));
  assertEquals(notes, ["a: I64 became i32", "c: U8 became i32"]);
  assertEquals([await numbers(tensors.a), await numbers(tensors.b), await numbers(tensors.c)], [
    [-5],
    [1, -2],
    [200],
  ]);
  const large = new Uint8Array(new BigInt64Array([2n ** 40n]).buffer);
  assertThrows(
    () => loadSafetensors(file({ a: { dtype: "I64", shape: [1], data_offsets: [0, 8] } }, large)),
    RangeError,
    "fit",
  );
});

const four = new Uint8Array(4), eight = new Uint8Array(8);
const f32 = (shape: unknown, data_offsets: unknown, dtype: unknown = "F32"): unknown => ({
  dtype,
  shape,
  data_offsets,
});
const HOSTILE: [string, Uint8Array, string][] = [
  ["an empty file", new Uint8Array(0), "0 bytes"],
  ["a cut length", new Uint8Array(7), "7 bytes"],
  ["a header longer than the file", file("{}", undefined, 100n), "truncated"],
  ["a header of exabytes", file("{}", undefined, 2n ** 63n), "at most 100000000"],
  ["a header of gigabytes", file("{}", undefined, 3_000_000_000n), "at most 100000000"],
  ["a header that is not JSON", file("{not json"), "not JSON"],
  ["a header that is not UTF-8", file("x").with(8, 0xff), "not JSON"],
  ["a header that is a list", file([]), "not a JSON object"],
  ["a header that is null", file("null"), "not a JSON object"],
  ["metadata with numbers", file({ __metadata__: { a: 1 } }), "metadata a"],
  ["metadata that are a list", file({ __metadata__: [] }), "__metadata__"],
  ["an unknown type", file({ a: f32([1], [0, 4], "F99") }, four), "F99"],
  ["a type by the name of a method", file({ a: f32([1], [0, 4], "toString") }, four), "toString"],
  ["no type", file({ a: { shape: [1], data_offsets: [0, 4] } }, four), "type"],
  ["a number for a tensor", file({ a: 3 }), "not described"],
  ["null for a tensor", file({ a: null }), "not described"],
  ["a negative length", file({ a: f32([-1], [0, 4]) }, four), "list of lengths"],
  ["a fractional length", file({ a: f32([0.5], [0, 4]) }, four), "list of lengths"],
  ["a length as text", file({ a: f32(["1"], [0, 4]) }, four), "list of lengths"],
  ["a shape that overflows", file({ a: f32([2 ** 30, 2 ** 30, 2 ** 30], [0, 4]) }, four), "takes"],
  ["a shape that overflows to zero", file({ a: f32([2 ** 32, 2 ** 32], [0, 0]) }), "takes"],
  ["a shape of terabytes", file({ a: f32([2 ** 40], [0, 4]) }, four), "takes"],
  ["too few bytes for the shape", file({ a: f32([2], [0, 4]) }, four), "takes 8 bytes, and has 4"],
  ["offsets behind the end", file({ a: f32([2], [0, 8]) }, four), "there are 4"],
  ["offsets backwards", file({ a: f32([1], [4, 0]) }, four), "lies at"],
  ["three offsets", file({ a: f32([1], [0, 4, 8]) }, four), "two places"],
  ["negative offsets", file({ a: f32([1], [-4, 0]) }, four), "two places"],
  ["overlapping tensors", file({ a: f32([1], [0, 4]), b: f32([1], [0, 4]) }, four), "overlaps"],
  ["a gap", file({ a: f32([1], [4, 8]) }, eight), "gaps"],
  ["bytes that belong to nothing", file({ a: f32([1], [0, 4]) }, eight), "take 4 bytes"],
  [
    "a name twice",
    file(
      '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}',
      eight,
    ),
    "gaps",
  ],
  ["a boolean of 2", file({ a: f32([1], [0, 1], "BOOL") }, new Uint8Array([2])), "BOOL"],
];
for (const [what, bytes, why] of HOSTILE) {
  Deno.test(`a safetensors file with ${what} is refused with a clear error`, () => {
    const error = assertThrows(() => loadSafetensors(bytes), RangeError, "Cannot read safetensors");
    assert(error.message.includes(why), error.message);
  });
}

Deno.test("a file cut anywhere is refused", async () => {
  const bytes = await saveSafetensors({ a: randn([3, 2]), b: tensor([true]) }, { k: "v" });
  for (let n = 0; n < bytes.length; n++) assertThrows(() => loadSafetensors(bytes.slice(0, n)), RangeError);
});

Deno.test("what cannot be saved says so", async () => {
  await assertRejects(() => saveSafetensors({ a: 3 as never }), TypeError, "not a tensor");
  await assertRejects(() => saveSafetensors({ __metadata__: tensor(1) }), RangeError, "__metadata__");
  await assertRejects(() => saveSafetensors({}, { a: 1 as never }), TypeError, "strings");
  await assertRejects(
    () => saveSafetensors("a.safetensors" as never, {}),
    TypeError,
    "writeSafetensors(path",
  );
});

Deno.test("what holds no bytes is not read as a file", async () => {
  const { buffer } = await saveSafetensors({ a: tensor(1) });
  for (const given of [buffer, "a.safetensors", undefined]) {
    assertThrows(() => loadSafetensors(given as never), TypeError, "readSafetensors(path)");
  }
});

interface Run {
  model: Sequential;
  optimizer: Adam;
  loader: DataLoader;
  scheduler: LRScheduler;
  losses: number[];
  train: (steps: number) => Promise<void>;
}
function run(
  compile: <F extends (x: Tensor, y: Tensor) => Tensor>(f: F) => (x: Tensor, y: Tensor) => Tensor,
): Run {
  const model = new Sequential(new Linear(4, 6), new BatchNorm(6), new Dropout(0.3), new Linear(6, 3));
  const optimizer = new Adam(model, { lr: 0.05, amsgrad: true });
  const loader = new DataLoader({
    x: Float32Array.from({ length: 30 }, (_, i) => Math.sin(i)),
    y: new Int32Array(30).map((_, i) => i % 3),
  }, {
    batchSize: 4,
    shuffle: true,
  });
  const scheduler = new LRScheduler(optimizer, stepDecay(0.05, 7, { factor: 0.5 }));
  const losses: number[] = [];
  const step = compile((x, y) => {
    optimizer.zeroGrad();
    const features = x.unsqueeze(1).mul(tensor([1, 2, 3, 4])).cos();
    const loss = crossEntropy(model.call(features), y);
    loss.backward();
    optimizer.step();
    return loss;
  });
  const train = async (steps: number): Promise<void> => {
    while (steps > 0) {
      for await (const { x, y } of loader) {
        losses.push(await step(x, y).item());
        scheduler.step();
        if (--steps === 0) break;
      }
    }
  };
  return { model, optimizer, loader, scheduler, losses, train };
}

for (const [how, compile] of [["eagerly", <F>(f: F): F => f], ["under jit", jit]] as const) {
  Deno.test(`a run stopped and resumed in fresh objects is the same bit by bit, ${how}`, async () => {
    const path = await Deno.makeTempFile({ suffix: ".safetensors" });
    try {
      manualSeed(5);
      const whole = run(compile as typeof jit);
      await whole.train(20);
      manualSeed(5);
      const first = run(compile as typeof jit);
      await first.train(10);
      const { train: _t, losses: _l, ...parts } = first;
      const saving = saveCheckpoint(path, { ...parts, step: 10, note: { best: -Infinity, tags: ["a"] } });
      // Training goes on while the file is written: the file has what was there at the call.
      await first.train(1);
      await saving;
      manualSeed(999);
      const second = run(compile as typeof jit);
      const { train: _u, losses: _m, ...fresh } = second;
      const rest = await loadCheckpoint(path, fresh);
      assertEquals(rest, { step: 10, note: { best: -Infinity, tags: ["a"] } });
      await second.train(10);
      assertEquals(second.losses, whole.losses.slice(10));
      assert(await sameBits(second.model.stateDict(), whole.model.stateDict()));
    } finally {
      await Deno.remove(path);
    }
  });
}

Deno.test("a checkpoint that fails half way leaves every part as it was", async () => {
  const path = await Deno.makeTempFile({ suffix: ".safetensors" });
  const parts = (): { model: Linear; optimizer: Adam; loader: { state: number } & Stateful } => {
    const model = new Linear(2, 1), optimizer = new Adam(model, { lr: 0.1 });
    const loader = {
      state: 1,
      stateDict: () => loader.state,
      loadStateDict: (state: number): void => {
        loader.state = state;
        if (state === 7) throw new Error("no seventh");
      },
    };
    return { model, optimizer, loader };
  };
  const train = async (
    { model, optimizer }: { model: Linear; optimizer: Adam },
    n: number,
  ): Promise<void> => {
    for (let i = 0; i < n; i++) {
      optimizer.zeroGrad();
      const loss = model.call(tensor([[1, 2]])).square().sum();
      loss.backward();
      optimizer.step();
      await loss.item();
    }
  };
  try {
    const stored = parts(), mine = parts();
    await train(stored, 3);
    stored.loader.state = 7;
    await saveCheckpoint(path, { ...stored });
    await train(mine, 2);
    const weights = await numbers(mine.model.weight), state = mine.optimizer.stateDict(), random = rngState();
    await assertRejects(() => loadCheckpoint(path, { ...mine }), Error, "no seventh");
    assertEquals(await numbers(mine.model.weight), weights);
    assertEquals(mine.loader.state, 1);
    assertEquals(rngState(), random);
    const { slots, step } = mine.optimizer.stateDict().groups[0].buckets[0], old = state.groups[0].buckets[0];
    assertEquals([await numbers(slots.m), await step.item()], [await numbers(old.slots.m), 2]);
  } finally {
    await Deno.remove(path);
  }
});

Deno.test("a checkpoint says what it lacks and what it cannot hold", async () => {
  const dir = await Deno.makeTempDir(), path = `${dir}/a.safetensors`, model = new Linear(1, 1);
  try {
    await saveCheckpoint(path, { model, weights: [tensor([1])] });
    assertEquals([...Deno.readDirSync(dir)].map((f) => f.name), ["a.safetensors"]);
    await assertRejects(
      () => loadCheckpoint(path, { optimizer: new Adam(model) }),
      RangeError,
      "it holds model, weights",
    );
    await assertRejects(() => loadCheckpoint(path, { model: new Linear(2, 1) }), Error, "[1,1]");
    await assertRejects(() => saveCheckpoint(path, { f: () => 1 }), TypeError, "function");
    await assertRejects(() => saveCheckpoint(path, { m: { n: new Map() } }), TypeError, "m.n, a Map");
    const before = rngState();
    const { weights } = await loadCheckpoint(path, { model }, { rng: false });
    assertEquals(rngState(), before);
    assertEquals(await numbers(weights[0]), [1]);
    await writeSafetensors(path, { a: tensor([1]) });
    assertEquals(await numbers((await readSafetensors(path)).tensors.a), [1]);
    await assertRejects(() => loadCheckpoint(path), RangeError, "without one");
    for (const text of ["{", "null", "{}", '{"version":1}', '{"version":1,"parts":null}']) {
      await writeSafetensors(path, {}, { "cotangent.checkpoint": text });
      await assertRejects(() => loadCheckpoint(path, { model }), RangeError, "Cannot load a checkpoint");
    }
    assertThrows(() => new Adam(model).loadStateDict(undefined as never), Error, "Cannot load the state");
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});
