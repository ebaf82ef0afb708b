/** Programs: what kernels an engine makes of a graph, with what they compute, store and compute again. */
import { assert, assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import {
  checkpoint,
  crossEntropy,
  graph,
  Linear,
  Module,
  ones,
  program,
  ReLU,
  Sequential,
  type Tensor,
  tensor,
  TransformerEncoderLayer,
} from "../../mod.ts";
import { hasEngine } from "../../ops/runs.ts";

function leaf(values: number[], name: string, device: "host" | "webgpu" = "host"): Tensor {
  const t = tensor(values, { requiresGrad: true, device });
  t.name = name;
  return t;
}

Deno.test("elementwise ops and the sum that reads them are one kernel, which stores only its result", () => {
  const x = leaf([1, 2, 3], "x"), { kernels, arena } = program(x.mul(2).exp().sum(), { gradients: false });
  assertEquals(kernels.length, 1);
  const [{ ops, read, written, flops, dispatches, source }] = kernels;
  assertEquals(ops, ["mul", "exp", "sum"]);
  assertEquals({ read, written, dispatches }, { read: 12, written: 4, dispatches: 1 });
  assert(flops > 9 && arena === 0 && source.includes("Math.exp"));
});

Deno.test("a program has the gradients of a loss, and computes nothing", async () => {
  const x = leaf([1, 2, 3], "x"), loss = x.mul(x).sum(), drawing = program(loss, { title: "squares" });
  assertEquals(x.grad, null);
  assertEquals(loss.peek(), null);
  const text = drawing.text();
  assertStringIncludes(text, "squares\nhost: ");
  const { data } = await drawing.present();
  assertStringIncludes(String(data["image/svg+xml"]), "grad x = ");
  assertEquals(await loss.item(), 14);
  // What has a value is planned as if it had none.
  assertEquals(program(loss, { title: "squares" }).text(), text);
});

Deno.test("what a checkpoint rebuilds is told", async () => {
  const x = leaf([1, 2, 3], "x"), f = (t: Tensor): Tensor => t.exp().sin().matmul(ones([3, 3])).tanh();
  const plain = program(f(x).sum()), rebuilt = program(checkpoint(f)(x).sum());
  assert(!plain.text().includes("again"));
  assertStringIncludes(rebuilt.text(), "ops computed again");
  assertStringIncludes(String((await rebuilt.present()).data["image/svg+xml"]), "computed again");
});

Deno.test("the program of a tensor that has a value and no graph says so, without a failed drawing", async () => {
  const x = tensor([1, 2], { device: "host" }).sin().sum();
  await x.data();
  const text = String((await program(x).present()).data["text/plain"]);
  assertEquals(text, "host: nothing to compute, the tensor has a value and no graph");
});

Deno.test("the gradient of a weight has its name, though it is a view of what a kernel stores", async () => {
  const model = new Sequential(
    new Linear(3, 4, { device: "host" }),
    new ReLU(),
    new Linear(4, 2, { device: "host" }),
  );
  const loss = model.call(ones([5, 3], { device: "host" })).square().sum();
  const svg = String((await program(loss, { depth: 3 }).present()).data["image/svg+xml"]);
  for (const path of ["0.weight", "0.bias", "2.weight", "2.bias"]) {
    assertStringIncludes(svg, `grad ${path} = `);
  }
});

Deno.test("graphs and programs refuse options that mean nothing", () => {
  const y = leaf([1, 2], "x").sum();
  for (const draw of [graph, program]) {
    assertThrows(() => draw(y, { depth: -1 }), RangeError, "from 0");
    for (const depth of [0, Infinity]) assertStringIncludes(draw(y, { depth }).text(), "sum");
    assertThrows(() => draw(y, { direction: "up" as "down" }), TypeError, "directions are right and down");
    assertThrows(() => draw(y, { dept: 1 } as Record<string, unknown>), TypeError, "depth");
  }
});

Deno.test("kernels that repeat are listed once", () => {
  let h: Tensor = leaf([1, 2, 3, 4], "x").reshape([2, 2]);
  for (let i = 0; i < 40; i++) h = h.matmul(h).tanh();
  const lines = program(h.sum(), { gradients: false }).text().split("\n");
  assertStringIncludes(lines.join("\n"), "(matmul + tanh) × 39");
  assert(lines.length < 12, lines.join("\n"));
});

/** Twelve blocks and a head, each block checkpointed if asked for. */
class Stack extends Module {
  blocks: TransformerEncoderLayer[];
  head: Linear;
  constructor(readonly isCheckpointed: boolean, device: "host" | "webgpu") {
    super();
    const options = { feedforward: 32, normFirst: true, dropout: 0, device };
    this.blocks = Array.from({ length: 12 }, () => new TransformerEncoderLayer(16, 2, options));
    this.head = new Linear(16, 10, { device });
  }
  forward(x: Tensor): Tensor {
    const run = (block: TransformerEncoderLayer) => (h: Tensor): Tensor => block.call(h);
    return this.head.call(
      this.blocks.reduce((h, block) => (this.isCheckpointed ? checkpoint(run(block)) : run(block))(h), x),
    );
  }
}

for (const device of ["host", "webgpu"] as const) {
  Deno.test({
    name: `the program of a small network fits the page, unless it is to be open: ${device}`,
    ignore: !hasEngine(device),
    fn: async () => {
      const x = ones([16, 2], { device }), deep = { device };
      for (const sizes of [[2, 8, 1], [2, 64, 32, 16, 1]]) {
        const layers = sizes.slice(1).flatMap((n, i) => [new Linear(sizes[i], n, deep), new ReLU()]);
        const loss = new Sequential(...layers).call(x).sub(1).square().mean();
        const widthOf = async (options: { depth?: number }): Promise<number> => {
          const { data } = await program(loss, options).present();
          return Number(/width="(\d+)"/.exec(String(data["image/svg+xml"]))![1]);
        };
        const width = await widthOf({});
        assert(width <= 660, `${width} pixels wide`);
        assert(await widthOf({ depth: 4 }) > width);
      }
    },
  });
}

for (const isCheckpointed of [false, true]) {
  const name = `the program of a 12-layer transformer${isCheckpointed ? ", checkpointed," : ""}`;
  Deno.test(`${name} is a dozen boxes that fit the page, with the work of each block's kernels`, async () => {
    const x = tensor(Array.from({ length: 64 }, (_, i) => Math.sin(i)), { device: "host" });
    const scores = new Stack(isCheckpointed, "host").call(x.reshape([1, 4, 16]));
    const plan = program(
      crossEntropy(scores.reshape([4, 10]), tensor([1, 2, 3, 4], { dtype: "i32", device: "host" })),
    );
    const text = plan.text(), kernels = /\((\d+) kernels/.source;
    assertMatch(text, new RegExp(`blocks\\.0 … 11: TransformerEncoderLayer × 12  ${kernels}`));
    assertMatch(text, new RegExp(`blocks\\.11 … 1: TransformerEncoderLayer backward × 11  ${kernels}`));
    assert(text.split("\n").length < 32, text);
    assertEquals(/\d ops again\)/.test(text), isCheckpointed);
    const { data } = await plan.present(), svg = String(data["image/svg+xml"]);
    const width = Number(/width="(\d+)"/.exec(svg)![1]);
    assert(width <= 660, `${width} pixels wide`);
    assertMatch(svg, /\d+ kernels, [\d.]+ k op/);
    const opened = program(
      crossEntropy(scores.reshape([4, 10]), tensor([1, 2, 3, 4], { dtype: "i32", device: "host" })),
      { depth: 3 },
    );
    assertStringIncludes(opened.text(), "self_attn: MultiheadAttention backward");
  });
}

Deno.test("a kernel, shown, is its work and its source", async () => {
  const [kernel] = program(leaf([1, 2, 3], "x").mul(2).exp().sum(), { gradients: false }).kernels;
  const text = String((await kernel.present()).data["text/plain"]);
  assertMatch(text, /^kernel 1: 3 ops: mul, exp, sum.*12 B → 4 B\n\n/);
  assertStringIncludes(text, "Math.exp");
});

Deno.test("programs say where their kernels come from, and what they take", () => {
  const model = new Sequential(new Linear(3, 4, { device: "host" }), new ReLU());
  assertStringIncludes(program(model.call(ones([2, 3], { device: "host" })).sum()).text(), "(0)");
  assertThrows(() => program(3 as unknown as Tensor), TypeError, "Cannot draw the program of a number");
});

Deno.test({
  name: "the WGSL of a kernel is at hand",
  ignore: !hasEngine("webgpu"),
  fn: () => {
    const { kernels } = program(leaf([1, 2, 3], "x", "webgpu").mul(2).exp().sum());
    assertStringIncludes(kernels[0].source, "@compute");
  },
});
