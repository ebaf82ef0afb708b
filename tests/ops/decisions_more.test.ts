/** More of the decisions that laziness forces: rebuilt segments, equal bits, the start, and freeing. */
import { assert, assertEquals } from "@std/assert";
import {
  Adam,
  checkpoint,
  crossEntropy,
  Dropout,
  Linear,
  manualSeed,
  randint,
  randn,
  ReLU,
  Sequential,
  Tensor,
  tensor,
} from "../../mod.ts";
import { collect, lower } from "../../ops/lower.ts";
import { testEach } from "../support/engines.ts";

/** How often the run of a loss and its gradient computes sin. */
function sines(f: (x: Tensor) => Tensor): number {
  const x = tensor([1, 2], { requiresGrad: true });
  const loss = f(x).sum();
  // The graph is looked at before anything runs.
  const wanted: Tensor[] = [];
  x.registerHook((ct) => void wanted.push(ct));
  loss.backward();
  return lower(collect([loss.node, wanted[0].node])).steps.filter((s) => s.op?.name === "sin").length;
}

testEach(
  "checkpoint against CSE: the backward pass computes a segment again, and does not share the first one",
  () => {
    const f = (x: Tensor): Tensor => x.sin().square();
    assertEquals([sines(f), sines(checkpoint(f))], [1, 2]);
  },
);

testEach("determinism: the same seed gives the same bits, step by step", async () => {
  const train = async (): Promise<number[]> => {
    manualSeed(11);
    const model = new Sequential(new Linear(8, 16), new ReLU(), new Dropout(0.3), new Linear(16, 4));
    const optimizer = new Adam(model, { lr: 0.01 }), x = randn([32, 8]), y = randint(0, 4, [32]);
    const losses: Tensor[] = [];
    for (let step = 0; step < 12; step++) {
      optimizer.zeroGrad();
      const loss = crossEntropy(model.call(x), y);
      loss.backward();
      optimizer.step();
      losses.push(loss);
    }
    return await Promise.all(losses.map((l) => l.item()));
  };
  assertEquals(await train(), await train());
});

testEach("freeing: what a step replaced is readable as long as somebody holds it", async () => {
  const w = tensor([1, 2], { requiresGrad: true }), before = w.detach();
  const unread = w.mul(10); // computed only after the step, from the version that it was made with
  w.square().sum().backward();
  w.assign(w.sub(w.grad!.mul(0.5)), "step");
  assertEquals(await before.toArray(), [1, 2]);
  assertEquals(await unread.toArray(), [10, 20]);
  assertEquals(await w.toArray(), [0, 0]);
});

Deno.test("start: COTANGENT_DEVICE=host skips the search for a GPU, and an unknown one is named", async () => {
  const run = async (device: string): Promise<{ code: number; text: string }> => {
    const script = `const c = await import(${JSON.stringify(new URL("../../mod.ts", import.meta.url).href)});
      try { c.setDefaultDevice("webgpu"); console.log("found"); } catch { console.log("skipped"); }`;
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["eval", script],
      env: { COTANGENT_DEVICE: device },
    }).output();
    return { code, text: new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr) };
  };
  const host = await run("host"), odd = await run("tpu");
  assertEquals(host.code, 0);
  assert(host.text.includes("skipped"), host.text);
  assert(odd.code !== 0 && odd.text.includes("COTANGENT_DEVICE=tpu"), odd.text);
});
