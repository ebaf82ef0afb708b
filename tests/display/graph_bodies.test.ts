/** Graphs of what is recorded inside of one node: loops, checkpointed segments, branches. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { checkpoint, cond, graph, Linear, Module, scan, type Tensor, tensor, zeros } from "../../mod.ts";

function named(values: number[], name: string): Tensor {
  const t = tensor(values, { requiresGrad: true, device: "host" });
  t.name = name;
  return t;
}

async function shown(root: Tensor, depth?: number): Promise<{ text: string; svg: string }> {
  const { data } = await graph(root, depth === undefined ? {} : { depth }).present();
  return { text: String(data["text/plain"]), svg: String(data["image/svg+xml"]) };
}

class Cell extends Module {
  linear = new Linear(2, 2, { device: "host" });
  forward(h: Tensor, x: Tensor): Tensor {
    return this.linear.call(h).add(x).tanh();
  }
}

class Rnn extends Module {
  cell = new Cell();
  forward(x: Tensor): Tensor {
    return scan(
      (h: Tensor, row: Tensor) => {
        const next = this.cell.call(h, row);
        return [next, next.sum()];
      },
      zeros([2], { device: "host" }),
      x,
    )[0];
  }
}

Deno.test("the body of a scan is drawn once, with its carry, its modules and how often it runs", async () => {
  const x = tensor(Array.from({ length: 18 }, (_, i) => Math.sin(i)), { device: "host" }).reshape([9, 2]);
  const { text, svg } = await shown(new Rnn().call(x).sum());
  for (
    const part of ["scan × 9 steps", "x of each step  f32[2]", "carry  f32[2]", "tanh  f32[2]  ↻ next step"]
  ) {
    assertStringIncludes(text, part);
  }
  assertEquals(
    text.match(/tanh/g)?.length,
    text.match(/↻/g)!.length + text.match(/tanh {2}\(above\)/g)!.length,
  );
  // The number of the step, which the body does not read, is not drawn.
  assert(!text.includes("i32"), text);
  for (const part of ["scan × 9 steps", "cell: Cell", "↻ next"]) assertStringIncludes(svg, part);
  const closed = await shown(new Rnn().call(x).sum(), 0);
  assert(!closed.svg.includes("carry") && closed.svg.includes("scan × 9 steps"), "depth 0 opens nothing");
});

Deno.test("what is left of a scan that is cut into segments is said, and its body is not drawn twice", async () => {
  const w = named([0.5, -1], "w"), x = tensor(Array.from({ length: 10 }, (_, i) => i), { device: "host" });
  const [last, all] = scan(
    (c: Tensor, row: Tensor) => [c.mul(w).add(row), c],
    zeros([2], { device: "host" }),
    x.reshape([5, 2]),
  );
  const { text } = await shown(last.sum().add(all.sum()));
  assertEquals(text.match(/scan × 4 steps {2}f32\n/g)?.length, 1);
  assertEquals(text.match(/scan × 1 step {2}f32\n/g)?.length, 1);
  assertEquals(text.match(/carry {2}f32\[2\]\n/g)?.length, 1);
  for (const part of ["last carry  f32[2]", "y of all steps  f32[2,2,2]"]) assertStringIncludes(text, part);
});

Deno.test("a checkpointed segment shows its ops with their values, and changes no gradient", async () => {
  const a = named([1, 2, 3], "a"), loss = checkpoint((x: Tensor) => x.mul(2).sin().exp())(a).sum();
  const { text } = await shown(loss);
  assertStringIncludes(text, "sin  f32[3]  data [0.9093, -0.7568, -0.2794]");
  assertStringIncludes(text, "checkpoint  f32[3]  data [2.483, 0.4692, 0.7562]  grad [1, 1, 1]");
  loss.backward();
  const [first] = await a.grad!.toArray() as number[];
  assert(Math.abs(first - 2 * Math.cos(2) * Math.exp(Math.sin(2))) < 1e-5, String(first));
});

Deno.test("cond shows its predicate and both branches; loops in segments are opened too", async () => {
  const a = named([1, 2, 3], "a");
  const chosen = cond(a.sum().gt(1), (x: Tensor) => x.sin(), (x: Tensor) => x.cos().mul(2), a);
  const { text } = await shown(chosen.sum());
  for (const part of ["├─ gt  bool  data true", "where it holds: sin", "where it does not: mul"]) {
    assertStringIncludes(text, part);
  }
  const loop = (x: Tensor): Tensor => scan((c: Tensor) => [c.sin(), c.sum()], x, null, { length: 3 })[0];
  const nested = await shown(checkpoint((x: Tensor) => loop(x).exp())(a).sum());
  for (const part of ["checkpoint", "exp", "scan × 3 steps", "sin  f32[3]  ↻ next step"]) {
    assertStringIncludes(nested.text, part);
  }
});
