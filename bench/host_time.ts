/**
 * Host time of a step, in microseconds a node: building the graph, backward, collecting it with its key, and the rest
 * of a run (plan look-up, execution on tiny data), plain and under jit. `deno run -A bench/host_time.ts [host|webgpu]`.
 */
import { Adam, crossEntropy, jit, Linear, manualSeed, randint, randn, ReLU, Sequential } from "../mod.ts";
import { setDefaultDevice, sync, type Tensor, tensor, TransformerEncoderLayer } from "../mod.ts";
import type { Device } from "../ops/ambient.ts";
import { collect } from "../ops/lower.ts";
import { nextSerial, type Node } from "../ops/node.ts";
import { engineOf, flush, setEngine } from "../ops/runs.ts";

const device = (Deno.args[0] ?? "host") as Device;
setDefaultDevice(device);
manualSeed(0);

// The engine is watched: what it is asked to run is collected a second time, alone.
const engine = engineOf(device);
let runs = 0, running = 0, collecting = 0, nodes = 0;
let isWatched = false;
setEngine(
  new Proxy(engine, {
    get: (target, key) => {
      const value = Reflect.get(target, key, target);
      if (typeof value !== "function") return value;
      if (key !== "run" || !isWatched) return value.bind(target);
      return (roots: Node[]): void => {
        const start = performance.now();
        nodes += collect(roots).nodes.length;
        const middle = performance.now();
        target.run(roots);
        collecting += middle - start;
        running += performance.now() - middle;
        runs++;
      };
    },
  }),
);

/** Rounds before any is counted: until then V8 still compiles, and WebGPU is on its first tier. */
const WARM = 300;

function median(list: number[]): number {
  return list.sort((a, b) => a - b)[list.length >> 1];
}

function row(what: string, micros: number, nodes: number): void {
  const each = nodes > 0 ? `${(micros / nodes).toFixed(3).padStart(8)} us a node` : "";
  console.log(`${what.padEnd(46)} ${micros.toFixed(1).padStart(10)} us ${each}`);
}

/** Times the parts of one step: `build` makes a loss, `finish` everything behind it. */
async function measure(name: string, rounds: number, build: () => Tensor, finish: (loss: Tensor) => void) {
  const parts: number[][] = [[], [], [], []];
  let made = 0;
  for (let i = 0; i < rounds + WARM; i++) {
    isWatched = i % 2 === 1;
    runs =
      running =
      collecting =
      nodes =
        0;
    const first = nextSerial(), t0 = performance.now();
    const loss = build();
    const t1 = performance.now();
    finish(loss);
    const t2 = performance.now();
    flush([loss.node]);
    made = nextSerial() - first;
    if (i >= WARM) {
      if (!isWatched) parts[0].push(t1 - t0), parts[1].push(t2 - t1);
      else parts[2].push(collecting), parts[3].push(running);
    }
    if (i % 8 === 0) await sync();
  }
  console.log(`\n${name} on ${device}: ${nodes} nodes run, ${made} nodes and handles made`);
  const [build_, finish_, collect_, run_] = parts.map((p) => 1000 * median(p));
  row("build", build_, nodes);
  row("backward, step", finish_, nodes);
  row("collect and key", collect_, nodes);
  row("run (collects as well; with the work itself)", run_, nodes);
}

async function measureJit(name: string, rounds: number, step: () => void): Promise<void> {
  const times: number[] = [];
  let made = 0;
  for (let i = 0; i < rounds + WARM; i++) {
    const first = nextSerial(), start = performance.now();
    step();
    flush();
    if (i >= WARM) times.push(performance.now() - start);
    made = nextSerial() - first;
    if (i % 8 === 0) await sync();
  }
  row(`${name} under jit, ${made} nodes and handles`, 1000 * median(times), 0);
}

const x = randn([16]), w = tensor([1.5], { requiresGrad: true });
const chain = (t: Tensor, n: number): Tensor => {
  let y = t;
  for (let i = 0; i < n / 2; i++) y = y.mul(1.001).add(0.01);
  return y;
};
await x.data();
await measure("chain of 1,000 ops", 60, () => chain(x, 1000), () => {});
for (const n of [10, 100, 1000]) {
  const f = jit((t: Tensor) => chain(t, n));
  await measureJit(`chain of ${n}`, 100, () => f(x).keep());
}

const mlp = new Sequential(new Linear(8, 8), new ReLU(), new Linear(8, 8), new ReLU(), new Linear(8, 4));
const features = randn([4, 8]), labels = randint(0, 4, [4]);
await Promise.all([features.data(), labels.data()]);
const optimizer = new Adam(mlp, { lr: 1e-3 });
await measure("MLP, 3 layers of 8, Adam", 200, () => crossEntropy(mlp.call(features), labels), (loss) => {
  optimizer.zeroGrad();
  loss.backward();
  optimizer.step();
});
const mlpStep = jit((x: Tensor, y: Tensor) => {
  optimizer.zeroGrad();
  const loss = crossEntropy(mlp.call(x), y);
  loss.backward();
  optimizer.step();
  return loss;
});
await measureJit("MLP", 200, () => void mlpStep(features, labels));

const block = new Sequential(
  ...[1, 2].map(() => new TransformerEncoderLayer(8, 2, { feedforward: 16, dropout: 0 })),
);
const words = randn([2, 4, 8]);
await words.data();
const adam = new Adam(block, { lr: 1e-3 });
await measure("Transformer, 2 layers of 8, Adam", 60, () => block.call(words).square().mean(), (loss) => {
  adam.zeroGrad();
  loss.backward();
  adam.step();
});
const blockStep = jit((x: Tensor) => {
  adam.zeroGrad();
  const loss = block.call(x).square().mean();
  loss.backward();
  adam.step();
  return loss;
});
await measureJit("Transformer", 60, () => void blockStep(words));

// Last: its losses keep their graphs, since no step replaces the parameter.
await measure("chain of 1,000 ops and its gradient", 60, () => chain(x.mul(w), 1000).sum(), (y) => {
  w.grad = null;
  y.backward();
});
