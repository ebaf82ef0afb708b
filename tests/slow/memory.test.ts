/** Long loops stay flat in memory: nothing that people keep (losses, totals, norms, states) holds graphs or old parameters. */
import { assert, assertEquals } from "@std/assert";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { noGrad, randn, type Tensor, tensor, trainingProgress } from "../../mod.ts";
import type { Node } from "../../ops/node.ts";
import { testEach } from "../support/engines.ts";

setFlagsFromString("--expose-gc");
const gc: () => void = runInNewContext("gc");
const turn = (): Promise<void> => new Promise((done) => setImmediate(done));

/** Bytes on the heap after what is unreachable has gone, finalisers included. */
async function heap(): Promise<number> {
  for (let i = 0; i < 4; i++) {
    gc();
    await turn();
  }
  const { heapUsed, external } = Deno.memoryUsage();
  return heapUsed + external;
}

/**
 * Runs `step` 10,000 times and measures the heap three times. A leak grows between any two of them; a cache that
 * fills once, or a kernel compiled in the background, between two only, so the smaller growth counts.
 */
async function assertFlat(step: (t: number) => void | Promise<void>, bytesPerStep: number): Promise<void> {
  const sizes: number[] = [];
  for (let t = 0; t <= 10_000; t++) {
    await step(t);
    if (t % 20 === 0) await turn();
    if (t === 2_000 || t === 6_000 || t === 10_000) sizes.push(await heap());
  }
  const grown = Math.min(sizes[1] - sizes[0], sizes[2] - sizes[1]) / 4_000;
  assert(grown <= bytesPerStep, `${grown.toFixed(0)} bytes a step stay behind, at most ${bytesPerStep} may`);
}

/** Nodes that can be reached from a tensor. */
function reachable(root: Tensor): number {
  const seen = new Set<Node>(), todo = [root.node];
  while (todo.length > 0) {
    const n = todo.pop()!;
    if (seen.has(n)) continue;
    seen.add(n);
    todo.push(...n.inputs);
  }
  return seen.size;
}

/** A training step on w; gives the loss and the norm of its gradient. */
function trainer(): () => { loss: Tensor; norm: Tensor } {
  const w = tensor([1, -2, 3, 0.5], { requiresGrad: true }), m = tensor([0, 0, 0, 0]);
  return () => {
    const loss = w.sub(0.25).square().sum();
    w.zeroGrad();
    loss.backward();
    const norm = w.grad!.norm();
    noGrad(() => {
      m.assign(m.mul(0.9).add(w.grad!));
      w.assign(w.sub(m.mul(0.001)), "sgd.step");
    });
    return { loss, norm };
  };
}

testEach("10,000 training steps that keep nothing are flat in memory", async () => {
  const step = trainer();
  await assertFlat(() => void step(), 100);
});

testEach("10,000 training steps with a list of losses keep a value each and no graph", async () => {
  const step = trainer(), losses: Tensor[] = [];
  await assertFlat(() => void losses.push(step().loss), 2_500);
  assertEquals(reachable(losses[100]), 1, "a kept loss has no graph");
  assert(Number.isFinite(await losses[100].item()));
});

testEach("10,000 training steps with a running total, never read, are flat in memory", async () => {
  const step = trainer();
  let total = tensor(0);
  await assertFlat(() => void (total = total.add(step().loss)), 400);
  assert(Number.isFinite(await total.item()));
});

testEach("10,000 training steps with a detached running total and a plot of norms", async () => {
  const step = trainer(), norms: Tensor[] = [];
  let total = tensor(0);
  await assertFlat(() => {
    const { loss, norm } = step();
    total = total.add(loss.detach());
    norms.push(norm);
  }, 4_000);
  assert(Number.isFinite(await total.item()) && Number.isFinite(await norms[5_000].item()));
});

testEach("10,000 steps of a recurrent state, read every hundredth time, are flat in memory", async () => {
  const w = tensor([[0.5, 0.1], [-0.2, 0.3]]);
  let h = tensor([0.1, 0.2]);
  await assertFlat(async (t) => {
    h = w.matmul(h).tanh().add(0.1);
    if (t % 100 === 0) await h.data();
  }, 100);
});

testEach("10,000 evaluations under noGrad are flat in memory", async () => {
  const w = tensor([1, 2, 3], { requiresGrad: true });
  await assertFlat(async (t) => {
    const y = noGrad(() => w.mul(t).add(randn([3])).sum());
    if (t % 50 === 0) await y.data();
  }, 100);
});

/** Steps that show tensors, every second of them with a graph that no step takes away. */
function shown(): (t: number) => void {
  const step = trainer(),
    w = tensor(Array(1000).fill(1), { requiresGrad: true }),
    progress = trainingProgress();
  return (t) => {
    const loss = t % 2 === 0 ? step().loss : w.mul(tensor(new Float32Array(1000))).sum();
    progress.update({ loss, other: loss.mul(2) });
  };
}

testEach("10,000 steps that show tensors are flat in memory", async () => {
  await assertFlat(shown(), 100);
});

// On WebGPU buffers of a loop that never yields come back in lumps, whether it shows tensors or not.
testEach("100,000 steps that never yield and show tensors are flat in memory", () => {
  const step = shown(), sizes: number[] = [];
  for (let t = 0; t <= 100_000; t++) {
    step(t);
    if (t !== 20_000 && t !== 60_000 && t !== 100_000) continue;
    gc();
    const { heapUsed, external } = Deno.memoryUsage();
    sizes.push(heapUsed + external);
  }
  const grown = Math.min(sizes[1] - sizes[0], sizes[2] - sizes[1]) / 40_000;
  assert(grown <= 100, `${grown.toFixed(0)} bytes a step stay behind`);
}, { only: ["reference", "host"] });
