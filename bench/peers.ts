/**
 * The work of PEERS: ours and PyTorch's on the CPU, in turns, so that what the machine does meanwhile meets both.
 * `deno run -A bench/peers.ts [python]`; without a Python that has torch only ours is measured. Ratios below 1: faster.
 */
import {
  Adam,
  crossEntropy,
  grad,
  jit,
  LayerNorm,
  Linear,
  manualSeed,
  randint,
  randn,
  ReLU,
  Sequential,
  setDefaultDevice,
  sync,
  type Tensor,
} from "../mod.ts";

setDefaultDevice("host");
manualSeed(0);
const ready = async (...ts: Tensor[]): Promise<void> => void (await Promise.all(ts.map((t) => t.data())));
const keep = async (...ts: Tensor[]): Promise<void> => {
  for (const t of ts) t.keep();
  await sync();
};

const a = randn([256, 256]), b = randn([1024, 1024]), x = randn([4096, 1024]), small = randn([16]);
const features = randn([4096, 768]), norm = new LayerNorm(768), ct = randn([4096, 768]);
const mlp = new Sequential(
  new Linear(784, 512),
  new ReLU(),
  new Linear(512, 256),
  new ReLU(),
  new Linear(256, 10),
);
const optimizer = new Adam(mlp, { lr: 1e-3 });
const images = randn([128, 784]), labels = randint(0, 10, [128]);
await ready(a, b, x, small, features, ct, images, labels);

const cheap = (t: Tensor): Tensor => {
  let y = t;
  for (let i = 0; i < 5; i++) y = y.mul(1.01).add(0.1);
  return y;
};
const transcendental = (t: Tensor): Tensor => {
  let y = t;
  for (let i = 0; i < 5; i++) y = y.tanh().exp();
  return y;
};
const chain = (t: Tensor): Tensor => {
  let y = t;
  for (let i = 0; i < 500; i++) y = y.mul(1.001).add(0.01);
  return y.sum();
};
const step = jit((x: Tensor, y: Tensor) => {
  optimizer.zeroGrad();
  const loss = crossEntropy(mlp.call(x), y);
  loss.backward();
  optimizer.step();
  return loss;
});

const works: Record<string, () => Promise<void>> = {
  "matmul 256": () => keep(a.matmul(a)),
  "matmul 1024": () => keep(b.matmul(b)),
  "10 cheap elementwise ops, 4 M": () => keep(cheap(x)),
  "10 transcendental ops, 4 M": () => keep(transcendental(x)),
  "softmax [4096, 1024]": () => keep(x.softmax()),
  "LayerNorm f+b [4096, 768]": () => {
    const f = (x: Tensor): Tensor => norm.call(x).mul(ct).sum();
    return keep(grad(f)(features));
  },
  "MLP step, Adam": async () => {
    step(images, labels);
    await sync();
  },
  "1,000 tiny ops f+b": () => keep(grad(chain)(small)),
};

const TORCH = `
import json, sys, time, torch
import torch.nn.functional as F
torch.manual_seed(0)
torch.set_num_threads(int(sys.argv[1]))
a, b, x, small = torch.randn(256, 256), torch.randn(1024, 1024), torch.randn(4096, 1024), torch.randn(16)
feat, ct = torch.randn(4096, 768), torch.randn(4096, 768)
norm = torch.nn.LayerNorm(768)
mlp = torch.nn.Sequential(torch.nn.Linear(784, 512), torch.nn.ReLU(), torch.nn.Linear(512, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10))
opt = torch.optim.Adam(mlp.parameters(), 1e-3)
images, labels = torch.randn(128, 784), torch.randint(0, 10, (128,))
def cheap():
    y = x
    for _ in range(5): y = y * 1.01 + 0.1
def trans():
    y = x
    for _ in range(5): y = y.tanh().exp()
def ln():
    f = feat.clone().requires_grad_()
    (norm(f) * ct).sum().backward()
def mlp_step():
    opt.zero_grad(); loss = F.cross_entropy(mlp(images), labels); loss.backward(); opt.step()
def tiny():
    s = small.clone().requires_grad_(); y = s
    for _ in range(500): y = y * 1.001 + 0.01
    y.sum().backward()
def nograd(f):
    def g():
        with torch.no_grad(): f()
    return g
works = {
  "matmul 256": nograd(lambda: a @ a), "matmul 1024": nograd(lambda: b @ b), "10 cheap elementwise ops, 4 M": nograd(cheap),
  "10 transcendental ops, 4 M": nograd(trans), "softmax [4096, 1024]": nograd(lambda: x.softmax(-1)),
  "LayerNorm f+b [4096, 768]": ln, "MLP step, Adam": mlp_step, "1,000 tiny ops f+b": tiny,
}
for line in sys.stdin:
    name, n = json.loads(line)
    start = time.perf_counter()
    for _ in range(n): works[name]()
    print((time.perf_counter() - start) / n * 1000, flush=True)
`;

/** Lines of a stream of text. */
class TextLineStream extends TransformStream<string, string> {
  constructor() {
    let rest = "";
    super({
      transform: (chunk, controller) => {
        const lines = (rest + chunk).split("\n");
        rest = lines.pop()!;
        for (const line of lines) controller.enqueue(line);
      },
    });
  }
}

/** PyTorch in a process of its own: milliseconds a call, or null without it. */
function torch(python: string): ((name: string, n: number) => Promise<number>) | null {
  try {
    const child = new Deno.Command(python, {
      args: ["-c", TORCH, `${navigator.hardwareConcurrency}`],
      stdin: "piped",
      stdout: "piped",
    }).spawn();
    const writer = child.stdin.getWriter();
    const lines = child.stdout.pipeThrough(new TextDecoderStream()).pipeThrough(new TextLineStream())
      .getReader();
    return async (name, n) => {
      await writer.write(new TextEncoder().encode(JSON.stringify([name, n]) + "\n"));
      return Number((await lines.read()).value);
    };
  } catch {
    return null;
  }
}

const theirs = Deno.args[0] === undefined ? null : torch(Deno.args[0]);
const rows: Record<string, string | number>[] = [];
const median = (list: number[]): number => list.sort((p, q) => p - q)[list.length >> 1];
for (const [name, work] of Object.entries(works)) {
  for (let i = 0; i < 3; i++) await work();
  const once = performance.now();
  await work();
  const n = Math.max(1, Math.min(50, Math.round(60 / (performance.now() - once))));
  await theirs?.(name, n);
  const ours: number[] = [], other: number[] = [];
  for (let round = 0; round < 7; round++) {
    const start = performance.now();
    for (let i = 0; i < n; i++) await work();
    ours.push((performance.now() - start) / n);
    if (theirs !== null) other.push(await theirs(name, n));
  }
  const ratios = ours.map((t, i) => t / (other[i] ?? NaN));
  const row: Record<string, string | number> = { work: name, "ms": Number(median([...ours]).toFixed(3)) };
  if (theirs !== null) {
    row["PyTorch ms"] = Number(median(other).toFixed(3));
    row["ratio"] = Number(median(ratios).toFixed(2));
  }
  rows.push(row);
}
console.table(rows);
if (theirs !== null) {
  const result = {
    date: new Date().toISOString().slice(0, 10),
    deno: Deno.version.deno,
    cores: navigator.hardwareConcurrency,
    rows,
  };
  const file = new URL("results/peers.host.json", import.meta.url);
  await Deno.writeTextFile(file, JSON.stringify(result, null, 2) + "\n");
}
Deno.exit();
