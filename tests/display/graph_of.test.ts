/** Graphs of tensors: what boxes and tooltips say of values, shapes and derivatives. */
import { assert, assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { displayHook } from "../../display/bundle.ts";
import {
  AnomalyError,
  checkpoint,
  detectAnomaly,
  graph,
  jit,
  Linear,
  Module,
  ones,
  program,
  randn,
  Sequential,
  SGD,
  Tanh,
  type Tensor,
  tensor,
  TransformerEncoderLayer,
} from "../../mod.ts";
import { primitives } from "../../ops/primitive.ts";
import { texName, texText } from "../../ops/tex.ts";

type Facts = Record<string, string>;

/** The tooltips of a graph, by op. */
async function tooltips(root: Tensor): Promise<Record<string, Facts>> {
  const bundle = await graph(root)[displayHook]();
  const spec = bundle["application/vnd.vegalite.v5+json"] as {
    layer: { data: { values: { facts?: Facts }[] } }[];
  };
  const facts = spec.layer.flatMap(({ data }) => data.values).flatMap(({ facts }) =>
    facts !== undefined && "type" in facts && !("edge" in facts) ? [facts] : []
  );
  return Object.fromEntries(
    facts.map((value) => [value.name ?? value.op ?? value.leaf ?? value.constant, value]),
  );
}

function named(values: number | number[] | number[][], name: string): Tensor {
  const t = tensor(values as number[], { requiresGrad: true });
  t.name = name;
  return t;
}

Deno.test("formulas of every primitive are text without LaTeX or doubled words", () => {
  const p = { axes: [1, 0], axis: 0, value: 3, i: 0 };
  const operands = ["W1", "b", "c"].map(texName), result = texName("out");
  for (const [name, record] of primitives()) {
    const formulas = [
      record.tex(operands, p),
      ...record.texPartials?.(operands, result, p) ?? [],
      ...record.texPullbacks?.(operands, result, p) ?? [],
    ].map(texText);
    for (const text of formulas) {
      assert(!/[\\{}](?!j|$)/.test(text.replaceAll(/#\{.*\}/g, "")), `${name}: ${text}`);
      assert(!/\b(\p{L}+) ?\1\b/u.test(text.replaceAll("out", "")), `${name} doubles a word: ${text}`);
      assert(!/ {2}| [)\]⌋⌉]|[(\[⌊] /.test(text), `${name} has stray spaces: ${text}`);
    }
  }
  const formula = (name: string, x: string[]): string => texText(primitives().get(name)!.tex(x, p));
  assertEquals(formula("amax", ["x"]), "max x");
  assertEquals(formula("where", ["c", "a", "b"]), "a if c, else b");
  assertEquals(texText(primitives().get("prod")!.texPartials!(["x"], "y", p)[0]), "Π_(j ≠ i) x_j");
  assertEquals(
    texText(primitives().get("amax")!.texPartials!(["x"], "y", p)[0]),
    "[x_i = y] / #{j : x_j = y}",
  );
});

Deno.test("the tooltip of a matrix product is its pullback, in the names of the operands", async () => {
  const W1 = named([[1, 2], [3, 4]], "W1"), x = named([1, 2], "x");
  const facts = (await tooltips(W1.matmul(x)))["matmul"];
  assertEquals(facts.formula, "W1 x");
  assertEquals(facts.pullback, "W̅1̅ = o̅u̅t̅ xᵀ;  x̄ = W1ᵀ o̅u̅t̅");
  assertEquals(facts.derivative, undefined);
});

Deno.test("names that are letters of the formula stay the names of their operands", async () => {
  const y = named(6, "y"), x = named(3, "x");
  const facts = (await tooltips(y.div(x)))["div"];
  assertEquals(facts.formula, "y/x");
  assertEquals(facts.derivative, "∂out/∂y = 1/x;  ∂out/∂x = -y/x²");
});

Deno.test("operands without names get free letters, constants stand for themselves, repeats add up", async () => {
  const x = named(3, "x"), q = x.exp().mul(-2);
  q.name = "q";
  const facts = await tooltips(q);
  assertEquals(facts.q.formula, "y · (-2)");
  assertEquals(facts.q.derivative, "∂q/∂y = -2");
  assertEquals((await tooltips(x.mul(x)))["mul"].derivative, "∂out/∂x = x + x");
  const odd = named(1, "a_b^{c}\\d");
  assertEquals((await tooltips(odd.tanh()))["tanh"].formula, "tanh a_b^ c d");
});

Deno.test("products of vectors have the shapes that the program sees", async () => {
  const W = named([[1, 2], [3, 4]], "W"), x = named([1, 2], "x");
  const facts = await tooltips(W.matmul(x).tanh().dot(x));
  assertEquals(Object.keys(facts).sort(), ["W", "matmul", "tanh", "x"].sort());
  const first = await tooltips(W.matmul(x).tanh().sum());
  assertEquals(first.matmul.type, "f32[2]");
  assertEquals(first.matmul.data, "[5, 11]");
  assertEquals((await tooltips(x.dot(x))).matmul.type, "f32");
  assertEquals((await tooltips(W.div(W.sum(1, { keepdim: true })).sum())).sum.type, "f32");
  assertEquals((await tooltips(W.sum(1, { keepdim: true }).exp().mean())).exp.type, "f32[2,1]");
  assertStringIncludes(graph(W.sum(1, { keepdim: true })).text(), "sum  f32[2,1]");
  const h = W.matmul(x);
  h.name = "h";
  const { h: product } = await tooltips(h.exp().sum());
  assertEquals([product.op, product.formula, product.type], ["matmul", "W x", "f32[2]"]);
  const y = x.dot(x);
  assertEquals(await y.item(), 5);
  assertStringIncludes(graph(y).text(), "matmul  f32  data 5");
  assertEquals((await tooltips(ones([2, 3, 4]).matmul(ones([4, 5])).exp().sum())).matmul.type, "f32[2,3,5]");
});

Deno.test("small matrices are shown row by row and whole", async () => {
  const facts = await tooltips(named([[0.1234, -0.5678, 1], [-0.1111, 0.2222, 2]], "A").neg().sum());
  assertEquals(facts.neg.data, "[[−0.1234, 0.5678, −1], [0.1111, −0.2222, −2]]");
});

Deno.test("random numbers are one leaf", async () => {
  const facts = await tooltips(randn([3]).mul(2).sum());
  assertEquals(Object.keys(facts).sort(), ["constant", "mul", "randn", "sum"].sort());
  assertStringIncludes(graph(randn([3]).mul(2)).text(), "├─ randn  f32[3]");
});

Deno.test("graph says what it takes", () => {
  assertThrows(
    () => graph(3 as unknown as Tensor),
    TypeError,
    "Cannot draw the graph of a number: it takes a tensor",
  );
});

Deno.test("the message of an anomaly has its formula as text", async () => {
  const error = await assertRejects(() => detectAnomaly(() => tensor([0]).div(tensor([0]))), AnomalyError);
  assertStringIncludes(error.message, "div made the first NaN: x/y, shape [1]");
  assertEquals(error.formula, "\\frac{x}{y}");
  const backward = await assertRejects(
    () =>
      detectAnomaly(() => {
        const x = tensor([0], { requiresGrad: true });
        x.sqrt().sum().backward();
        return x.grad!.toArray();
      }),
    AnomalyError,
  );
  assertStringIncludes(backward.message, "the backward pass of sqrt made the first infinity");
  assertStringIncludes(backward.message, ": √x, shape [1]");
});

Deno.test("drawing a graph changes no gradient", async () => {
  const x = named(3, "x"), y = x.mul(2).retainGrad(), loss = y.mul(y);
  await graph(loss)[displayHook]();
  assertEquals(y.grad, null);
});

Deno.test("modules are frames, with their parameters by the names that they have there", async () => {
  const model = new Sequential(new Linear(3, 4), new Tanh(), new Linear(4, 1));
  const text = String(
    (await graph(model.call(ones([2, 3])).mean(), { depth: 1 }).present()).data["image/svg+xml"],
  );
  for (const title of ["0: Linear", "2: Linear", ">weight<", ">bias<"]) assertStringIncludes(text, title);
  // What is drawn as one op is not framed.
  assert(!text.includes("Tanh"));
});

Deno.test("a loss has its value in its box also where boxes of ops have none", async () => {
  const x = ones([32, 4]), model = new Sequential(new Linear(4, 16), new Tanh(), new Linear(16, 1));
  const loss = (model.call(x) as Tensor).mul(0).square().mean().add(1.25);
  const { data } = await graph(loss, { depth: 3 }).present();
  assertStringIncludes(String(data["image/svg+xml"]), "data 1.25");
});

Deno.test("a deep transformer is one block in a terminal too", () => {
  class Stack extends Module {
    blocks = Array.from(
      { length: 12 },
      () => new TransformerEncoderLayer(8, 2, { feedforward: 16, dropout: 0 }),
    );
    forward(x: Tensor): Tensor {
      return this.blocks.reduce((h, block) => block.call(h) as Tensor, x);
    }
  }
  const text = graph(new Stack().call(ones([1, 4, 8])).mean(), { depth: 1 }).text();
  assertStringIncludes(text, "blocks.0 … 11: TransformerEncoderLayer × 12");
  assert(text.split("\n").length < 40, text);
});

Deno.test("numbers are put into the derivatives of scalars, and what is added where a value is used twice", async () => {
  const a1 = named(2, "a1"), w2 = named(0.5, "w2");
  const p = a1.mul(w2);
  p.name = "p";
  const y = p.add(a1).mul(0.24), facts = await tooltips(y);
  assertEquals(facts.add.numbers, "p: ct = 0.24 × 1 = 0.24;  a1: ct += 0.24 × 1 = 0.24");
  assertEquals(
    facts.p.numbers,
    "a1: ct += 0.24 × w2 = 0.24 × 0.5 = 0.12;  w2: ct = 0.24 × a1 = 0.24 × 2 = 0.48",
  );
  const bundle = await graph(y)[displayHook]();
  assertStringIncludes(String(bundle["image/svg+xml"]), "grad of a1 = ");
});

Deno.test("the first NaN is marked, forward and backward", async () => {
  const x = named([-1, 4], "x");
  const forward = (await graph(x.log().sqrt().sum()).present()).data;
  assertStringIncludes(String(forward["text/plain"]), "log made the first NaN");
  assertStringIncludes(String(forward["text/plain"]), "(first NaN)");
  const z = named([0, 4], "z");
  const backward = (await graph(z.sqrt().sum()).present()).data;
  assertStringIncludes(String(backward["text/plain"]), "The derivative of sqrt made the first infinity");
  const data = (await graph(named([NaN, 1], "bad").exp().sum()).present()).data;
  assertStringIncludes(String(data["text/plain"]), "bad (parameter) made the first NaN");
});

Deno.test("large work is not done unasked", async () => {
  const x = ones([2048, 2048]);
  const text = String((await graph(x.matmul(x).sum()).present()).data["text/plain"]);
  assertStringIncludes(text, "Without values, which take");
  const rebuilt = checkpoint((t: Tensor) => t.matmul(t).matmul(t))(ones([1024, 1024], { requiresGrad: true }))
    .sum();
  assertStringIncludes(
    String((await graph(rebuilt).present()).data["text/plain"]),
    "which take 4.3e9 operations",
  );
});

Deno.test("names with markup, empty tensors and disposed ones are shown", async () => {
  const evil = named([1], `<b onclick="x">&'`), empty = named([], "empty");
  const { data } = await graph(evil.mul(2).sum().add(empty.sum())).present();
  assert(!String(data["image/svg+xml"]).includes("<b onclick"));
  const gone = ones([3]), y = gone.mul(2).sum();
  await gone.data();
  gone.dispose();
  const shown = (await graph(y).present()).data;
  assertStringIncludes(String(shown["text/plain"]), "Without values: ");
  assert("image/svg+xml" in shown);
});

Deno.test("a NaN in one of many equal blocks is found, though only the first block is drawn", async () => {
  class Block extends Module {
    constructor(readonly shift: number) {
      super();
    }
    w = new Linear(2, 2);
    forward(x: Tensor): Tensor {
      return this.w.call(x).square().add(this.shift).sqrt().tanh().add(x);
    }
  }
  class Deep extends Module {
    blocks = Array.from({ length: 12 }, (_, i) => new Block(i === 7 ? -1000 : 1));
    forward(x: Tensor): Tensor {
      return this.blocks.reduce((h, block) => block.call(h) as Tensor, x);
    }
  }
  const { data } = await graph(new Deep().call(ones([1, 2])).sum()).present();
  assertStringIncludes(String(data["text/plain"]), "sqrt in blocks.7 made the first NaN");
  assertStringIncludes(String(data["image/svg+xml"]), "blocks.0 … 11: Block × 12");
  assertStringIncludes(String(data["image/svg+xml"]), "sqrt in blocks.7 made the first NaN");
});

Deno.test("a jitted call is drawn as what it does, with the modules in it", async () => {
  const layer = new Linear(3, 3), call = jit((x: Tensor) => layer.call(x).square().mean());
  await call(ones([2, 3])).item();
  const text = graph(call(ones([2, 3]))).text();
  assert(text.startsWith("div  f32") && !text.includes("alias"), text);
  const { data } = await graph(call(ones([2, 3]))).present();
  assertStringIncludes(String(data["image/svg+xml"]), ">Linear<");
});

Deno.test("loss.graph takes what graph takes", () => {
  const loss = named(3, "x").square();
  assertEquals(loss.graph({ title: "T" }).text(), graph(loss, { title: "T" }).text());
  assertThrows(() => loss.graph({ dept: 1 } as never), TypeError, "Cannot draw a graph");
});

Deno.test("a graph whose parameters were replaced keeps its values and says why it has no gradients", async () => {
  const w = named([2, 3], "w"), optimizer = new SGD([w], { lr: 0.1 }), loss = w.square().sum();
  loss.backward();
  const drawing = graph(loss);
  optimizer.step();
  const text = String((await drawing.present()).data["text/plain"]);
  assertStringIncludes(text, "Without gradients: Cannot differentiate a graph built before SGD.step 1");
  assertStringIncludes(text, "data [4, 9]");
});

Deno.test("parameters and data without names are told apart by numbers", async () => {
  const [w, v] = [[1, 2], [3, 4]].map((values) => tensor(values, { requiresGrad: true }));
  const loss = w.mul(v).add(tensor([1, 2])).mul(tensor([0, 1])).add(v).sum();
  const { data } = await graph(loss).present(), text = String(data["text/plain"]);
  for (const part of ["parameter 1  f32[2]", "parameter 2  f32[2]", "data 1  f32[2]", "data 2  f32[2]"]) {
    assertStringIncludes(text, part);
  }
  assertStringIncludes(String(data["image/svg+xml"]), "parameter 2");
  assertStringIncludes(String((await program(loss).present()).data["image/svg+xml"]), "parameter 2");
  assert(!graph(w.square().sum()).text().includes("parameter 1"), "one needs no number");
});

Deno.test("the backward pass reaches the weight of a module that is called twice after all that it is used for", async () => {
  const l = new Linear(4, 4), x = tensor([[1, 2, 3, 4]]);
  const { data } = await graph(l.call(l.call(x).tanh()).sum()).present();
  const spec = JSON.stringify(data["application/vnd.vegalite.v5+json"]);
  const order = [
    ...new Set([...spec.matchAll(/(\d+) {2}grad of (\w+)/g)].map(([, step, of]) => `${step} ${of}`)),
  ]
    .sort((a, b) => parseInt(a) - parseInt(b)).map((line) => line.split(" ")[1]);
  assertEquals(order.length, 8, order.join());
  assert(order.indexOf("weight") > order.lastIndexOf("matmul"), order.join());
  assert(order.indexOf("bias") > order.lastIndexOf("add"), order.join());
});
