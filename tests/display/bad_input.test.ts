/** What cannot be shown: something true and small is, and no display hook throws. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import {
  Adam,
  DeviceLostError,
  diagnose,
  full,
  functionChart,
  gradientNorms,
  graph,
  heatmap,
  Linear,
  lineChart,
  memoryChart,
  Module,
  profile,
  program,
  randn,
  scatterChart,
  SGD,
  singularValues,
  summary,
  table,
  type Tensor,
  tensor,
  vmap,
  zeros,
} from "../../mod.ts";
import { describe } from "../../display/bundle.ts";

const markup = `<script>alert("x")</script><img src=x onerror='y'>`;

/** Every way to show a tensor; each takes a tensor of any shape. */
const ways: Record<string, (x: Tensor) => unknown> = {
  "the tensor": (x) => x,
  "its graph": (x) => graph(x),
  "the graph of a loss": (x) => graph(x.mul(2).sum()),
  "its program": (x) => program(x.mul(2).sum()),
  "a program with gradients": (x) => program(x.mul(2).sum(), { gradients: true }),
  "a heat map": (x) => heatmap(x.reshape([x.shape[0] ?? 1, x.size / (x.shape[0] || 1)]), { title: markup }),
  "a line": (x) => lineChart({ series: { [markup]: x.reshape([-1]) } }),
  "a cloud": (x) => scatterChart({ points: { [markup]: { x: x.reshape([-1]), y: x.reshape([-1]) } } }),
  "singular values": (x) => singularValues({ [markup]: x.reshape([1, -1]) }),
  "a table": (x) => table([{ [markup]: x, text: markup }]),
  "memory": (x) => memoryChart({ [markup]: () => x.mul(2).exp().sum() }),
  "a function": (x) => functionChart({ [markup]: (t: Tensor) => t.mul(x.reshape([-1]).sum()) }),
};

/** The text that is shown of a thing; fails where something throws, is empty, or would be read as markup. */
async function shown(thing: unknown, what: string): Promise<string> {
  const inConsole = Deno.inspect(thing);
  const { data } = await describe(thing), text = String(data["text/plain"]);
  assert(text.trim() !== "" && inConsole.trim() !== "", `${what} shows nothing`);
  assert(!/Maximum call stack|Internal|undefined|\[object/.test(text + inConsole), `${what}: ${text}`);
  for (const type of ["text/html", "image/svg+xml"]) {
    assert(!/<script|<img/i.test(String(data[type] ?? "")), `${what} injects markup into ${type}`);
  }
  return text;
}

async function lost(x: Tensor): Promise<Tensor> {
  await x.data();
  x.node.value!.error = new DeviceLostError("The WebGPU device was lost");
  return x;
}

function leaked(): Tensor {
  let inner: Tensor | null = null;
  vmap((x: Tensor) => (inner = x.mul(2), x))(zeros([3, 2], { device: "host" }));
  return inner!;
}

function stale(): Tensor {
  const w = randn([2], { requiresGrad: true, device: "host" }), optimizer = new SGD([w], { lr: 0.1 });
  const y = w.square();
  y.sum().backward();
  optimizer.step();
  return y;
}

const host = { device: "host" } as const;

for (
  const [name, make, says] of [
    ["on a lost device", () => lost(randn([2, 2], { requiresGrad: true, ...host })), "was lost"],
    ["of a transform that is over", () => leaked(), "placeholder"],
    ["from before a step", () => stale(), null],
    ["full of NaN", () => full([3, 3], NaN, host), null],
    ["without elements", () => zeros([0, 3], host), null],
    ["with a million rows", () => randn([1_000_000, 1], host), null],
    ["with a name that is markup", () => Object.assign(randn([2, 2], host), { name: markup }), null],
  ] as const
) {
  Deno.test(`a tensor ${name} is shown as something true and small in every way`, async () => {
    const x = await make();
    for (const [way, show] of Object.entries(ways)) {
      const text = await shown(show(x), `${way} of a tensor ${name}`);
      assert(text.length < 6000, `${way} is ${text.length} letters`);
      if (says !== null && way !== "memory" && way !== "a table") assertStringIncludes(text, says);
    }
  });
}

class Shared extends Module {
  a = new Linear(2, 2, host);
  b = this.a;
  forward(x: Tensor): Tensor {
    return this.b.call(this.a.call(x).relu());
  }
}

class Cycle extends Module {
  inner = Object.assign(new Linear(2, 2, host), { outer: this });
  forward(x: Tensor): Tensor {
    return this.inner.call(x);
  }
}

class Named extends Module {
  [markup] = new Linear(2, 2, host);
  forward(x: Tensor): Tensor {
    return this[markup].call(x);
  }
}

Deno.test("modules that share, that contain each other and whose names are markup show in every way", async () => {
  const x = randn([4, 2], host);
  for (const model of [new Shared(), new Cycle(), new Named()]) {
    const loss = (m: Module): Tensor => m.call(x).square().mean(), optimizer = new Adam(model, { lr: 0.01 });
    loss(model).backward();
    for (
      const [what, thing] of Object.entries({
        module: model,
        summary: summary(model, x),
        optimizer,
        norms: gradientNorms(model),
        diagnosis: await diagnose(model, loss, { optimizer }),
        graph: graph(loss(model)),
        program: program(loss(model)),
      })
    ) await shown(thing, `${what} of ${model.constructor.name}`);
  }
});

Deno.test("a lost device and a loss from before the step are findings of diagnose and notes of a program", async () => {
  const x = randn([4, 2], host), model = new Linear(2, 2, host), old = model.call(x).square().mean();
  const optimizer = new SGD(model, { lr: 0.1 });
  model.call(x).square().mean().backward();
  optimizer.step();
  const report = await diagnose(model, () => old);
  assertEquals(report.findings.map(({ cause }) => cause), ["stale-loss"]);
  assertStringIncludes(await shown(report, "the report"), "compute the loss inside");
  assertStringIncludes(
    await shown(program(old), "the program"),
    "host: no program. Cannot differentiate a graph",
  );
  await lost(model.weight);
  const gone = await diagnose(model, (m) => m.call(x).square().mean());
  assertEquals(gone.findings.map(({ cause }) => cause), ["device-lost"]);
  assertStringIncludes(await shown(gone, "the report"), "no step was taken");
});

Deno.test("a chart without series and a profile in which nothing was computed say so", async () => {
  for (const chart of [lineChart({ series: {} }), scatterChart({ points: {} })]) {
    assertStringIncludes(await shown(chart, "the chart"), "no series was given");
  }
  const x = tensor([1, 2], host);
  const lazy = await profile(() => {
    x.mul(2);
  });
  assertStringIncludes(await shown(lazy, "the profile"), "ops wait until somebody reads");
});

Deno.test("a heat map of many rows or columns is of blocks, each side for itself", async () => {
  const tall = heatmap(full([1000, 3], 2, host));
  await tall.present();
  const values = (tall.spec.data as { values: { value: number }[] }).values;
  assertEquals(values.length, 100 * 3);
  assert(values.every(({ value }) => value === 2));
  assertStringIncludes(JSON.stringify(tall.spec.title), "mean of 10 × 1 values");
});
