/**
 * Time to draw graphs of 10 to 10,000 nodes, in milliseconds: folding, layout with the spec, and the SVG; then language models
 * from call to picture, with values and gradients. `deno run -A bench/graph_pictures.ts`.
 */
import {
  crossEntropy,
  Embedding,
  graph,
  LayerNorm,
  Linear,
  manualSeed,
  Module,
  randint,
  setDefaultDevice,
} from "../mod.ts";
import { type Tensor, TransformerEncoderLayer } from "../mod.ts";
import { fold } from "../display/graph_fold.ts";
import type { GraphEdge, GraphNode, GraphPicture } from "../display/graph_picture.ts";
import { graphSpec } from "../display/graph_spec.ts";
import { renderSvg } from "../display/vega.ts";

const REPEATS = 5;

/** A graph in which nothing repeats: each node reads the one before and, often, another of the last dozen. */
function random(size: number): GraphPicture {
  let state = 1;
  const next = (n: number): number => (state = state * 48271 % 0x7fffffff) % n;
  const labels = ["mul", "add", "sub", "tanh", "exp", "sin", "matmul", "relu", "sigmoid", "log", "neg"];
  const edges: GraphEdge[] = [];
  const nodes = Array.from({ length: size }, (_, id): GraphNode => {
    if (id > 0) edges.push({ from: id - 1, to: id, magnitude: 10 ** -next(5) });
    if (id > 12 && next(3) > 0) edges.push({ from: id - 2 - next(10), to: id, magnitude: 10 ** -next(5) });
    const kind = id === 0 ? "leaf" : "op", shape = [2 + next(7), 16];
    return { id, kind, label: labels[next(labels.length)], shape, dtype: "f32" };
  });
  return { nodes, edges };
}

const median = (list: number[]): number => list.sort((a, b) => a - b)[list.length >> 1];

async function timed<T>(work: () => T | Promise<T>): Promise<[T, number]> {
  const start = performance.now(), result = await work();
  return [result, performance.now() - start];
}

await renderSvg((await graphSpec(random(5), fold(random(5)), {})).still); // loads the libraries
console.log("nodes    depth    boxes     fold    spec     svg  total");
for (const depth of [undefined, 2]) {
  for (const size of [10, 100, 1000, 10_000]) {
    const picture = random(size), times: number[][] = [[], [], []];
    let boxes = 0;
    for (let k = 0; k < REPEATS; k++) {
      const [folded, folding] = await timed(() => fold(picture, depth));
      const [{ still }, making] = await timed(() => graphSpec(picture, folded, {}));
      const [, rendering] = await timed(() => renderSvg(still));
      boxes = folded.boxes;
      [folding, making, rendering].forEach((time, i) => times[i].push(time));
    }
    const [folding, making, rendering] = times.map(median);
    const cells = [folding, making, rendering, folding + making + rendering].map((ms) =>
      ms.toFixed(0).padStart(7)
    );
    console.log(
      `${String(size).padEnd(8)} ${String(depth ?? "auto").padEnd(8)} ${String(boxes).padEnd(6)}${
        cells.join(" ")
      }`,
    );
  }
}

class Language extends Module {
  embed = new Embedding(64, 32);
  blocks: TransformerEncoderLayer[];
  norm = new LayerNorm(32);
  head = new Linear(32, 64);
  constructor(layers: number) {
    super();
    this.blocks = Array.from(
      { length: layers },
      () => new TransformerEncoderLayer(32, 4, { feedforward: 64 }),
    );
  }
  forward(ids: Tensor): Tensor {
    const x = this.blocks.reduce((h, block): Tensor => block.call(h, { causal: true }), this.embed.call(ids));
    return this.head.call(this.norm.call(x));
  }
}

setDefaultDevice("host");
manualSeed(0);
console.log("\ntransformer, from graph(loss) to the bundle with values, gradients and SVG");
for (const layers of [12, 48]) {
  const model = new Language(layers), times: number[] = [];
  let nodes = "";
  for (let k = 0; k < 3; k++) {
    const logits = model.call(randint(0, 64, [2, 16]));
    const loss = crossEntropy(logits.reshape([32, 64]), randint(0, 64, [32]));
    const [{ data }, time] = await timed(() => graph(loss).present());
    nodes = String(data["text/plain"]).split("\n")[0];
    times.push(time);
  }
  console.log(
    `${layers} layers, ${nodes}: first ${times[0].toFixed(0)} ms, then ${
      Math.min(...times.slice(1)).toFixed(0)
    } ms`,
  );
}
