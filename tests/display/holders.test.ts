import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import {
  Adam,
  BatchNorm1d,
  Conv2d,
  Dropout,
  Flatten,
  Linear,
  manualSeed,
  Module,
  MultiheadAttention,
  randn,
  ReLU,
  rngState,
  RNNCell,
  scan,
  Sequential,
  SGD,
  summary,
  type Tensor,
  zeros,
} from "../../mod.ts";
import { costOfCall } from "../../display/module_cost.ts";
import { test } from "../support/engines.ts";

async function shown(x: object): Promise<Record<string, string>> {
  return await (x as Record<symbol, () => Promise<Record<string, string>>>)[Symbol.for("Jupyter.display")]();
}

test("a model shows as a table by layer, with shapes and operations once it was called", async () => {
  const model = new Sequential(new Linear(4, 8), new ReLU(), new Linear(8, 2));
  const before = await shown(model);
  assertStringIncludes(before["text/plain"], "Sequential: 58 parameters, 232 B");
  assert(!before["text/plain"].includes("FLOPs"));
  model.call(randn([16, 4]));
  const after = (await shown(model))["text/plain"];
  assertStringIncludes(after, "[16, 8]");
  assertStringIncludes(after, "[16, 2]");
  assertStringIncludes(after, "FLOPs");
  model.call(randn([16, 4])).square().mean().backward();
  const graded = await shown(model);
  assertStringIncludes(graded["text/plain"], "gradient norm");
  assertStringIncludes(graded["text/html"], "<table");
});

test("operations are those of the products: two for each multiply-add, twice as many back but at the first layer", () => {
  const model = new Sequential(new Linear(4, 8, { bias: false }), new Linear(8, 2, { bias: false }));
  const { layers, forward } = costOfCall(model, [randn([16, 4])]);
  const [first, second] = model.layers.map((m) => layers.get(m)!);
  assertEquals([first.forward, second.forward], [2 * 16 * 4 * 8, 2 * 16 * 8 * 2]);
  assertEquals([first.backward, second.backward], [2 * 16 * 4 * 8, 2 * 2 * 16 * 8 * 2]);
  assertEquals(forward, first.forward + second.forward);
});

test("summing up computes nothing, draws nothing and changes no statistics", async () => {
  manualSeed(5);
  const model = new Sequential(
    new Conv2d(1, 4, 3),
    new ReLU(),
    new Flatten(),
    new Linear(4 * 36, 8),
    new BatchNorm1d(8),
    new Dropout(0.5),
  );
  const random = rngState(), nodes = model.members().map((m) => m.tensor.node);
  const text = Deno.inspect(summary(model, randn([2, 1, 8, 8])));
  assertStringIncludes(text, "[2, 4, 6, 6]");
  assertEquals(rngState().count, random.count + 1); // The input's.
  assert(model.members().every((m, i) => m.tensor.node === nodes[i]));
  assertEquals(await model.buffers()[0].toArray(), Array(8).fill(0));
  assertEquals(model.call(randn([2, 1, 8, 8])).shape, [2, 8]);
});

test("blocks that repeat are one in the table of a deep model: their sums, and the range of their gradients", async () => {
  const block = () =>
    new Sequential(new Linear(4, 4), new Linear(4, 4), new ReLU(), new Linear(4, 4), new ReLU());
  const model = new Sequential(...Array.from({ length: 12 }, block), new Linear(4, 2));
  model.call(randn([3, 4])).square().sum().backward();
  const { "text/plain": text } = await shown(model);
  assertEquals(text.split("\n").length, 3 + 6, text);
  assertMatch(text, /^0…11\.1 +Linear +\[3, 4\] +240 .* to /m);
  assertMatch(text, /^12 +Linear +\[3, 2\] +10 /m);
  assertMatch(text.split("\n").at(-1)!, /^12 /, "layers are in their order");
});

class Recurrent extends Module {
  cell = new RNNCell(3, 4);
  spare = new Linear(2, 2).freeze();
  forward(x: Tensor): Tensor {
    return scan(
      (h: Tensor, x: Tensor) => {
        const next = this.cell.call(x, h);
        return [next, next];
      },
      zeros([x.shape[1], 4]),
      x,
    )[0] as Tensor;
  }
}

test("what runs inside scan counts for each step, and what is not called says so", () => {
  const model = new Recurrent();
  const steps = (T: number) =>
    costOfCall(model, [randn([T, 2, 3])]).layers.get(model.cell.recurrent)!.forward;
  assertEquals(steps(20), 2 * steps(10));
  const text = Deno.inspect(summary(model, randn([10, 2, 3])));
  assertMatch(text, /spare +Linear \(frozen\) +not called/);
  assertStringIncludes(text, "(6 frozen)");
});

test("a model whose call cannot be repeated from shapes shows what is known", async () => {
  class Odd extends Module {
    layer = new Linear(2, 2);
    forward(x: Tensor, f: (x: Tensor) => Tensor): Tensor {
      return f(this.layer.call(x));
    }
  }
  const model = new Odd();
  model.call(randn([3, 2]), (x) => x.relu());
  assertStringIncludes((await shown(model))["text/plain"], "layer  Linear");
  const attention = new MultiheadAttention(8, 2), x = randn([2, 5, 8]);
  attention.call(x, x, x);
  assertStringIncludes((await shown(attention))["text/plain"], "[2, 5, 8]");
});

test("an optimiser shows as its state", async () => {
  const model = new Linear(4, 2), optimizer = new Adam(model, { lr: 0.01 });
  for (let i = 0; i < 3; i++) {
    optimizer.zeroGrad();
    model.call(randn([4, 4])).square().mean().backward();
    optimizer.step();
  }
  const { "text/plain": text, "text/html": html } = await shown(optimizer);
  assertStringIncludes(text, "Adam: step 3, lr 0.01, eps 1e-8, betas [0.9,0.999]");
  assertMatch(text, /2 parameters +10 +0\.\d+/);
  assertMatch(text, /\nv +10 +/);
  assertStringIncludes(html, "<table");
  const groups = new SGD([{ params: [model.weight], lr: 1 }, { params: [model.bias!] }], {
    lr: 0.1,
    momentum: 0.9,
  });
  assertMatch((await shown(groups))["text/plain"], /0 +momentum +8/);
});

test("hooks of modules and optimisers do not throw, and names cannot inject markup", async () => {
  class Net extends Module {
    ['<b>"&'] = new Linear(2, 2);
    forward(x: Tensor): Tensor {
      return this['<b>"&'].call(x);
    }
  }
  const { "text/html": html } = await shown(new Net());
  assert(!html.includes("<b>") && html.includes("&lt;b&gt;"));
  const lost = new Linear(2, 2), optimizer = new SGD(lost, { lr: 0.1, momentum: 0.9 });
  await lost.weight.data();
  lost.weight.node.value!.error = new Error("The device is lost");
  lost.weight.grad = lost.weight.mul(2);
  assertStringIncludes((await shown(lost))["text/plain"], "Linear: 6 parameters");
  assertStringIncludes((await shown(optimizer))["text/plain"], "The device is lost");
  const { "text/plain": text } = await shown(lost.weight);
  assertStringIncludes(text, "The device is lost");
  assertStringIncludes(Deno.inspect(lost.weight), "The device is lost");
});

test("a module that contains itself is printed and summed up", async () => {
  class Inner extends Module {
    outer: Module | null = null;
    layer = new Linear(2, 2);
    forward(x: Tensor): Tensor {
      return this.layer.call(x);
    }
  }
  class Outer extends Module {
    inner = new Inner();
    layer = new Linear(2, 3);
    self = this;
    forward(x: Tensor): Tensor {
      return this.layer.call(this.inner.call(x));
    }
  }
  const model = new Outer();
  model.inner.outer = model;
  assertStringIncludes(Deno.inspect(model), "(outer): [Circular]");
  assertStringIncludes(Deno.inspect(model), "(self): [Circular]");
  const { "text/plain": text } = await shown(model);
  assertStringIncludes(text, "15 parameters");
  assertMatch(text, /inner\.layer +Linear +6 /);
  assertMatch(text, /\nlayer +Linear +9 /);
  class Loop extends Module {
    weight = new Linear(2, 2).weight;
    self = this;
    forward(x: Tensor): Tensor {
      return x.matmul(this.weight);
    }
  }
  assertMatch((await shown(new Loop()))["text/plain"], /\(model\) +Loop +4 /);
});
