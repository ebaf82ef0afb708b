/** Modules: members, modes, state, hooks. */
import { assert, assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import { jit, randn, type Tensor, tensor, zeros } from "../../mod.ts";
import { Lambda, ReLU } from "../../nn/activation.ts";
import { Dropout } from "../../nn/dropout.ts";
import { Embedding } from "../../nn/embedding.ts";
import { Linear } from "../../nn/linear.ts";
import { Module } from "../../nn/module.ts";
import { buffer, parameter } from "../../nn/parameter.ts";
import { Sequential } from "../../nn/sequential.ts";
import { SGD } from "../../nn/sgd.ts";
import { numbers, sameBits } from "./support.ts";

class Net extends Module {
  hidden = new Linear(3, 4);
  heads = [new Linear(4, 2), new Linear(4, 1)];
  named = { scale: parameter(tensor([1, 2])) };
  seen = buffer(tensor(0));
  plain = tensor([1, 2, 3]);
  raw = tensor([5], { requiresGrad: true });
  forward(x: Tensor): Tensor {
    return this.heads[0].call(this.hidden.call(x).relu()).mul(this.named.scale);
  }
}

Deno.test("parameters are found in fields, lists and objects, and named by their paths", () => {
  const net = new Net();
  assertEquals(Object.keys(net.namedParameters()), [
    "hidden.weight",
    "hidden.bias",
    "heads.0.weight",
    "heads.0.bias",
    "heads.1.weight",
    "heads.1.bias",
    "named.scale",
    "raw",
  ]);
  assertEquals(Object.keys(net.namedBuffers()), ["seen"]);
  assertEquals(net.hidden.weight.name, "hidden.weight");
  assertEquals(net.parameterCount(), 12 + 4 + 8 + 2 + 4 + 1 + 2 + 1);
  assertEquals(Object.keys(net.namedModules()), ["", "hidden", "heads.0", "heads.1"]);
  assertEquals(Object.keys(net.children()), ["hidden", "heads.0", "heads.1"]);
  const tree = net.parameterTree() as { heads: { 0: { bias: Tensor } } };
  assertStrictEquals(tree.heads[0].bias, net.heads[0].bias);
});

Deno.test("a name grows to the longest path and never replaces a name that was given", () => {
  const inner = new Linear(2, 2), own = new Linear(2, 2);
  own.weight.name = "mine";
  inner.parameters();
  assertEquals(inner.weight.name, "weight");
  new Sequential(inner, own).parameters();
  assertEquals([inner.weight.name, own.weight.name], ["0.weight", "mine"]);
  inner.parameters();
  assertEquals(inner.weight.name, "0.weight");
});

Deno.test("tied weights count once, under the first path, and load from either", async () => {
  class Tied extends Module {
    embed = new Embedding(5, 3);
    out = new Linear(3, 5, { bias: false });
    constructor() {
      super();
      this.out.weight = this.embed.weight;
    }
    forward(ids: Tensor): Tensor {
      return this.out.call(this.embed.call(ids));
    }
  }
  const a = new Tied();
  assertEquals(Object.keys(a.namedParameters()), ["embed.weight"]);
  assertEquals(a.call(tensor([1, 2], { dtype: "i32" })).shape, [2, 5]);
  const value = randn([5, 3]);
  a.loadStateDict({ "out.weight": value });
  assertEquals(await numbers(a.embed.weight), await numbers(value));
  a.loadStateDict({ "embed.weight": value, "out.weight": value });
  a.call(tensor([1], { dtype: "i32" })).sum().backward();
  new SGD(a, { lr: 0.1 }).step();
  assertStrictEquals(a.out.weight.node, a.embed.weight.node);
});

Deno.test("a module that contains itself is walked once", () => {
  const net = new Net() as Net & { self?: Module };
  net.self = net;
  assertEquals(net.parameters().length, 8);
  assertEquals(net.modules().length, 4);
});

Deno.test("freezing stops gradients for the chosen parameters and unfreezing brings them back", () => {
  const net = new Net(), x = randn([2, 3]);
  net.call(x).sum().backward();
  net.freeze((path) => path.startsWith("hidden"));
  assertEquals(net.hidden.weight.grad, null);
  net.zeroGrad();
  net.call(x).sum().backward();
  assertEquals(net.hidden.weight.grad, null);
  assert(net.heads[0].weight.grad !== null);
  assertEquals(net.parameters().length, 8);
  net.unfreeze();
  net.call(x).sum().backward();
  assert(net.hidden.weight.grad !== null);
});

Deno.test("a jitted step records anew when parameters are frozen or the mode changes", () => {
  const model = new Sequential(new Linear(2, 2), new Dropout(0.5), new Linear(2, 1));
  const run = jit((x: Tensor) => model.call(x));
  run(randn([3, 2]));
  run(randn([3, 2]));
  assertEquals(run.recordings(), 1);
  model.eval();
  run(randn([3, 2]));
  assertEquals(run.recordings(), 2);
  model.train();
  run(randn([3, 2]));
  assertEquals(run.recordings(), 2);
  model.freeze();
  run(randn([3, 2]));
  assertEquals(run.recordings(), 3);
});

Deno.test("a jitted step that records anew after an update differentiates the new values", async () => {
  const model = new Linear(2, 1), optimizer = new SGD(model, { lr: 0.1 });
  const step = jit((x: Tensor) => {
    optimizer.zeroGrad();
    const loss = model.call(x).square().mean();
    loss.backward();
    optimizer.step();
    return loss;
  });
  const a = await step(randn([4, 2])).item();
  const b = await step(randn([3, 2])).item();
  assert(Number.isFinite(a) && Number.isFinite(b));
  assertEquals(step.recordings(), 2);
});

Deno.test("a state dict is a snapshot, and loading it restores every value", async () => {
  const net = new Net(), before = net.stateDict();
  const twin = new Net();
  twin.loadStateDict(before);
  net.call(randn([2, 3])).sum().backward();
  new SGD(net, { lr: 1 }).step();
  assert(await sameBits(before, twin.stateDict()));
  assert(!await sameBits(before, net.stateDict()));
});

Deno.test("loading a state dict names everything that does not fit, and changes nothing", async () => {
  const model = new Linear(2, 3), before = model.stateDict();
  const error = assertThrows(
    () => model.loadStateDict({ weight: zeros([2, 3]), other: zeros([1]) }),
    Error,
    "Cannot load a state dict into Linear",
  );
  assert(error.message.includes("missing: bias"));
  assert(error.message.includes("unexpected: other"));
  assert(error.message.includes("weight has shape [2,3] and must have [3,2]"));
  assertThrows(
    () => model.loadStateDict({ weight: zeros([3, 2], { dtype: "i32" }), bias: zeros([3]) }),
    Error,
    "i32",
  );
  assertEquals(model.loadStateDict({ bias: zeros([3]), other: zeros([1]) }, { strict: false }), {
    missing: ["weight"],
    unexpected: ["other"],
  });
  assertEquals(await numbers(model.bias!), [0, 0, 0]);
  assertEquals(await numbers(model.weight), await numbers(before.weight));
});

Deno.test("a module converts to another float type and keeps its handles", async () => {
  const model = new Linear(2, 3, { device: "host" }), weight = model.weight, values = await numbers(weight);
  model.to("f64");
  assertStrictEquals(model.weight, weight);
  assertEquals([weight.dtype, weight.requiresGrad], ["f64", true]);
  assertEquals(await numbers(weight), values);
  model.call(randn([1, 2], { dtype: "f64", device: "host" })).sum().backward();
  assertEquals(weight.grad!.dtype, "f64");
  assertThrows(() => model.to("i32"), TypeError, "i32");
});

Deno.test("forward hooks see and replace arguments and results, until they are removed", async () => {
  const model = new Lambda((x) => x.mul(2));
  const log: string[] = [];
  const offs = [
    model.registerForwardPreHook((m, [x]) => {
      assertStrictEquals(m, model);
      log.push("pre");
      return [x.add(1)];
    }),
    model.registerForwardHook((_, args, y) => {
      assertEquals(args.length, 1);
      log.push("post");
      return y.neg();
    }),
  ];
  assertEquals(await model.call(tensor(1)).item(), -4);
  offs.forEach((off) => off());
  assertEquals(await model.call(tensor(1)).item(), 2);
  assertEquals(log, ["pre", "post"]);
});

Deno.test("backward hooks see the cotangents of inputs and outputs and may replace the input's", async () => {
  const model = new Lambda((x) => x.mul(3)), x = tensor([1, 2], { requiresGrad: true });
  const seen: (number[] | null)[][] = [];
  const pending: Promise<void>[] = [];
  const off = model.registerFullBackwardHook((_, gi, go) => {
    pending.push((async () => {
      seen.push([await numbers(gi[0]!), await numbers(go[0]!)]);
    })());
    return gi[0]!.mul(10);
  });
  model.call(x).sum().backward();
  await Promise.all(pending);
  assertEquals(seen, [[[3, 3], [1, 1]]]);
  assertEquals(await numbers(x.grad!), [30, 30]);
  off();
  x.zeroGrad();
  model.call(x).sum().backward();
  assertEquals(await numbers(x.grad!), [3, 3]);
});

Deno.test("backward hooks run where no input is differentiable, and with several inputs once", () => {
  const first = new Linear(2, 1);
  let calls = 0;
  first.registerFullBackwardHook((_, gi, go) => {
    calls++;
    assertEquals([gi[0], go[0]!.shape], [null, [3, 1]]);
  });
  first.call(randn([3, 2])).sum().backward();
  assertEquals(calls, 1);
  const pair = new Lambda((a, b) => a.mul(b)),
    a = randn([2], { requiresGrad: true }),
    b = randn([2], { requiresGrad: true });
  pair.registerFullBackwardHook((_, gi) => {
    calls++;
    assertEquals(gi.map((g) => g === null), [false, false]);
  });
  pair.call(a, b).sum().backward();
  assertEquals(calls, 2);
  pair.registerFullBackwardHook((_, gi) => gi[0]!);
  assertThrows(() => pair.call(a, b).sum().backward(), Error, "2 differentiable inputs");
});

Deno.test("a Sequential prints a line for each layer", () => {
  const text = new Sequential(new Linear(2, 3), new ReLU(), new Sequential(new Linear(3, 1, { bias: false })))
    .toString();
  assertEquals(
    text,
    "Sequential(\n  (0): Linear(2 -> 3)\n  (1): ReLU()\n  (2): Sequential(\n    (0): Linear(3 -> 1, no bias)\n  )\n)",
  );
});

Deno.test("a device is no type to convert a module to", () => {
  // deno-lint-ignore no-explicit-any
  const error = assertThrows(() => new Linear(2, 3).to("webgpu" as any), TypeError);
  assert(error.message.includes(`await x.toDevice("webgpu")`), error.message);
});
