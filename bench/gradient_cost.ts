/** How much more a gradient costs than the value: five functions, interleaved rounds, median of ratios. */
import {
  checkpoint,
  crossEntropy,
  defaultDevice,
  grad,
  manualSeed,
  randint,
  randn,
  scan,
  type Tensor,
} from "../mod.ts";

manualSeed(0);
const x = randn([256, 512]), w = randn([512, 512]).mul(0.04), v = randn([512, 10]).mul(0.04);
const y = randint(0, 10, [256]), seq = randn([32, 64, 64]), u = randn([64, 64]).mul(0.1);
await Promise.all([x, w, v, y, seq, u].map((t) => t.data()));

const mlp = (w: Tensor): Tensor => crossEntropy(x.matmul(w).relu().matmul(w).relu().matmul(v), y);
const functions: Record<string, { f: (a: Tensor) => Tensor; at: Tensor }> = {
  "sum of products": { f: (a) => a.mul(a.sin()).sum(), at: x },
  "matrix product": { f: (a) => x.matmul(a).square().mean(), at: w },
  "MLP with cross-entropy": { f: mlp, at: w },
  "the same, checkpointed": { f: (a) => checkpoint(mlp)(a), at: w },
  "recurrence of 32 steps": {
    f: (a) =>
      scan((h: Tensor, s: Tensor) => [h.matmul(a).add(s).tanh(), []], seq.select(0, 0).mul(0), seq)[0]
        .square().mean(),
    at: u,
  },
};

async function time(run: () => Tensor): Promise<number> {
  const start = performance.now();
  await run().data();
  return performance.now() - start;
}

const rows: Record<string, string | number>[] = [];
for (const [name, { f, at }] of Object.entries(functions)) {
  const df = grad(f), ratios: number[] = [], forwards: number[] = [];
  for (let round = 0; round < 12; round++) {
    const forward = await time(() => f(at)), both = await time(() => df(at));
    if (round < 2) continue; // the first rounds compile
    forwards.push(forward);
    ratios.push(both / forward);
  }
  ratios.sort((a, b) => a - b), forwards.sort((a, b) => a - b);
  rows.push({
    function: name,
    "forward ms": Number(forwards[5].toFixed(2)),
    "gradient / forward": Number(ratios[5].toFixed(2)),
    "min": Number(ratios[0].toFixed(2)),
    "max": Number(ratios[9].toFixed(2)),
  });
}
console.table(rows);
const result = {
  date: new Date().toISOString().slice(0, 10),
  device: defaultDevice(),
  deno: Deno.version.deno,
  cores: navigator.hardwareConcurrency,
  rows,
};
const file = new URL(`results/gradient_cost.${defaultDevice()}.json`, import.meta.url);
await Deno.writeTextFile(file, JSON.stringify(result, null, 2) + "\n");
console.log("The value is part of the gradient's run. The chapter's bound is 5.");
