/** What fusion does on WebGPU: dispatches, times and host time, fused and a kernel for each step in turns. */
import {
  Adam,
  crossEntropy,
  defaultDevice,
  layerNorm,
  Linear,
  manualSeed,
  randint,
  randn,
  ReLU,
  Sequential,
  setDefaultDevice,
  type Tensor,
} from "../mod.ts";
import { WebGpuEngine } from "../gpu/webgpu/mod.ts";
import { engineOf, flush } from "../ops/runs.ts";

setDefaultDevice("webgpu");
const engine = engineOf("webgpu");
if (!(engine instanceof WebGpuEngine)) throw new Error("There is no WebGPU engine");
manualSeed(0);

const x = randn([4, 1024, 1024]), y = randn([4, 1024, 1024]), row = randn([1024]), small = randn([8]);
const images = randn([128, 784]), classes = randint(0, 10, [128]), rows = randn([4096, 768]);
await Promise.all([x, y, row, small, images, classes, rows].map((t) => t.data()));

const model = new Sequential(
  new Linear(784, 512),
  new ReLU(),
  new Linear(512, 256),
  new ReLU(),
  new Linear(256, 10),
);
const optimizer = new Adam(model, { lr: 1e-3 });

function step(): Tensor {
  optimizer.zeroGrad();
  const loss = crossEntropy(model.call(images), classes);
  loss.backward();
  optimizer.step();
  return loss;
}

function chain(n: number, x: Tensor, f: (t: Tensor, i: number) => Tensor): Tensor {
  for (let i = 0; i < n; i++) x = f(x, i);
  return x;
}

/** Work of which only a number is read. */
const work: Record<string, { rounds: number; f: () => Tensor }> = {
  "10 cheap elementwise ops on 4M": {
    rounds: 6,
    f: () => chain(10, x, (t, i) => i % 2 ? t.mul(row) : t.add(y)).narrow(2, 0, 1).sum(),
  },
  "10 transcendental ops on 4M": {
    rounds: 4,
    f: () => chain(5, x, (t) => t.tanh().exp()).narrow(2, 0, 1).sum(),
  },
  "mean of squares of 4M": { rounds: 6, f: () => x.sub(y).square().mean() },
  "LayerNorm of [4096,768]": { rounds: 6, f: () => layerNorm(rows, [768]).narrow(1, 0, 1).sum() },
  "MLP 784-512-256-10, batch 128, Adam": { rounds: 6, f: step },
  "1,000 tiny ops": {
    rounds: 10,
    f: () => chain(1000, small, (t, i) => i % 2 ? t.mul(0.5) : t.add(1)).sum(),
  },
};

interface Run {
  dispatches: number;
  ms: number;
  /** Building the graph and submitting it. */
  host: number;
}

async function run(f: () => Tensor): Promise<Run> {
  const { dispatches } = (engine as WebGpuEngine).counts, start = performance.now();
  const result = f().keep();
  flush();
  const host = performance.now() - start;
  await result.data();
  return {
    dispatches: (engine as WebGpuEngine).counts.dispatches - dispatches,
    ms: performance.now() - start,
    host,
  };
}

const median = (values: number[]): number => values.sort((a, b) => a - b)[values.length >> 1];
const digits = (value: number): number => Number(value.toPrecision(3));

const table: Record<string, string | number>[] = [];
for (const [name, { rounds, f }] of Object.entries(work)) {
  const apart: Run[] = [], fused: Run[] = [];
  for (let round = 0; round < rounds + 2; round++) {
    engine.fusion = "never";
    const a = await run(f);
    engine.fusion = "always";
    const b = await run(f);
    if (round < 2) continue; // the first rounds compile
    apart.push(a);
    fused.push(b);
  }
  table.push({
    work: name,
    "dispatches apart": apart[0].dispatches,
    "fused": fused[0].dispatches,
    "ms apart": digits(median(apart.map((r) => r.ms))),
    "ms fused": digits(median(fused.map((r) => r.ms))),
    "ratio": digits(median(apart.map((r, i) => r.ms / fused[i].ms))),
    "host ms apart": digits(median(apart.map((r) => r.host))),
    "host ms fused": digits(median(fused.map((r) => r.host))),
  });
}
console.table(table);
const result = {
  date: new Date().toISOString().slice(0, 10),
  adapter: engine.info.description,
  device: defaultDevice(),
  deno: Deno.version.deno,
  cores: navigator.hardwareConcurrency,
  rows: table,
};
const file = new URL("results/webgpu_micro.json", import.meta.url);
await Deno.writeTextFile(file, JSON.stringify(result, null, 2) + "\n");
console.log("Apart: a kernel for each step. Ratio: median over rounds in turns; above 1, fusion is faster.");
