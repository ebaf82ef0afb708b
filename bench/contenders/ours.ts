/** This library; the device and COTANGENT_BLAS come from the environment. */
import {
  Adam,
  AdamW,
  checkpoint,
  crossEntropy,
  defaultDevice,
  Embedding,
  grad,
  jit,
  LayerNorm,
  layerNorm,
  Linear,
  memory,
  Module,
  noGrad,
  parameter,
  ReLU,
  scaledDotProductAttention,
  Sequential,
  sync,
  type Tensor,
  tensor,
  TransformerEncoderLayer,
  valueAndGrad,
} from "../../mod.ts";
import { integers, type Kinds, numbers, type Prepared, serve, transposed, valuesOf } from "../worker.ts";
import type { Training } from "../works.ts";

const random = (seed: number, shape: number[]): Tensor =>
  tensor(numbers(seed, shape.reduce((a, b) => a * b, 1)), { shape });

function prepared(f: () => Tensor[]): Prepared {
  let last: Tensor[] = [];
  return {
    step: () => {
      for (const t of last) t.dispose(); // as the peers of JavaScript do; without it, memory comes back by finalisers
      last = f();
      for (const t of last) t.keep();
      return sync();
    },
    results: () => Promise.all(last.map((t) => t.data() as Promise<Float32Array>)),
  };
}

const repeated = (times: number, f: (t: Tensor) => Tensor) => (x: Tensor): Tensor => {
  for (let i = 0; i < times; i++) x = f(x);
  return x;
};

/** A model's loss, its gradient or its training step, jitted unless it is to be plain. */
function training(
  { parameters, upTo, plain }: Training & { plain: boolean },
  model: Module,
  optimizer: Adam | AdamW,
  lossOf: (x: Tensor) => Tensor,
  x: Tensor,
): Prepared {
  const members = model.namedParameters();
  for (const [i, [name, shape]] of parameters.entries()) {
    members[name].assign(tensor(valuesOf(parameters[i], i), { shape: [...shape] }));
  }
  const f = (x: Tensor): Tensor[] => {
    if (upTo === "forward") return [noGrad(() => lossOf(x))];
    optimizer.zeroGrad();
    const loss = lossOf(x);
    loss.backward();
    if (upTo === "step") optimizer.step();
    return upTo === "step" ? [loss] : [loss, ...parameters.map(([name]) => members[name].grad!)];
  };
  const step = plain ? f : jit(f);
  return prepared(() => step(x));
}

class Gpt extends Module {
  tokens: Embedding;
  positions: Tensor;
  blocks: TransformerEncoderLayer[];
  norm: LayerNorm;
  head: Linear;

  constructor(
    vocabulary: number,
    width: number,
    T: number,
    heads: number,
    layers: number,
    readonly segment: number,
  ) {
    super();
    this.tokens = new Embedding(vocabulary, width);
    this.positions = parameter(random(0, [T, width]));
    const block = () =>
      new TransformerEncoderLayer(width, heads, {
        ...{ feedforward: 4 * width, dropout: 0, activation: "gelu", normFirst: true },
      });
    this.blocks = Array.from({ length: layers }, block);
    this.norm = new LayerNorm(width);
    this.head = new Linear(width, vocabulary, { bias: false });
  }

  override forward(ids: Tensor): Tensor {
    const { blocks } = this, length = this.segment || blocks.length;
    let x = this.tokens.call(ids).add(this.positions);
    for (let at = 0; at < blocks.length; at += length) {
      const part = (x: Tensor): Tensor =>
        blocks.slice(at, at + length).reduce((x, block) => block.call(x, { causal: true }), x);
      x = this.segment > 0 ? checkpoint(part)(x) : part(x);
    }
    return this.head.call(this.norm.call(x));
  }
}

const kinds: Kinds = {
  matmul({ batch: B, M, K, N, transposed: which }) {
    const operand = (seed: number, rows: number, columns: number, isTransposed: boolean): Tensor => {
      const x = random(seed, [B, rows, columns].slice(B > 1 ? 0 : 1));
      if (!isTransposed) return x;
      return tensor(transposed(numbers(seed, rows * columns), rows, columns), { shape: [columns, rows] })
        .mT();
    };
    const a = operand(1, M, K, which === "left" || which === "both");
    const b = operand(2, K, N, which === "right" || which === "both");
    return prepared(() => [a.matmul(b)]);
  },
  cheap({ shape }) {
    const x = random(1, shape), f = repeated(5, (t) => t.mul(1.01).add(0.1));
    return prepared(() => [f(x)]);
  },
  transcendental({ shape }) {
    const x = random(1, shape), f = repeated(5, (t) => t.tanh().exp());
    return prepared(() => [f(x)]);
  },
  softmax({ shape }) {
    const x = random(1, shape);
    return prepared(() => [x.softmax(-1)]);
  },
  layerNorm({ shape }) {
    const width = shape[1], ct = random(4, shape);
    const f = valueAndGrad(
      (x: Tensor, weight: Tensor, bias: Tensor) => layerNorm(x, [width], { weight, bias }).mul(ct).sum(),
      { argnums: [0, 1, 2] },
    );
    const x = random(1, shape), weight = random(2, [width]), bias = random(3, [width]);
    return prepared(() => f(x, weight, bias).flat());
  },
  attention({ heads, T, width }) {
    const [q, k, v, ct] = [1, 2, 3, 4].map((seed) => random(seed, [1, heads, T, width]));
    const f = valueAndGrad(
      (q: Tensor, k: Tensor, v: Tensor) => scaledDotProductAttention(q, k, v, { causal: true }).mul(ct).sum(),
      { argnums: [0, 1, 2] },
    );
    return prepared(() => f(q, k, v).flat());
  },
  chain({ ops, plain }) {
    const chain = repeated(ops / 2, (t) => t.mul(1.001).add(0.01)), x = random(1, [16]);
    const f = valueAndGrad((x: Tensor) => chain(x).sum()), step = plain ? f : jit(f);
    return prepared(() => step(x));
  },
  mlp(w) {
    const { sizes, batch } = w;
    const model = new Sequential(
      ...sizes.slice(1).flatMap((out, i) => [...(i > 0 ? [new ReLU()] : []), new Linear(sizes[i], out)]),
    );
    const y = tensor(integers(102, batch, sizes[sizes.length - 1]));
    const lossOf = (x: Tensor): Tensor => crossEntropy(model.call(x), y);
    return training(w, model, new Adam(model, { lr: 1e-3 }), lossOf, random(101, [batch, sizes[0]]));
  },
  gpt(w) {
    const { vocabulary, width, T, heads, layers, segment, batch } = w;
    const model = new Gpt(vocabulary, width, T, heads, layers, segment);
    const [ids, next] = [101, 102].map((seed) =>
      tensor(integers(seed, batch * T, vocabulary), { shape: [batch, T] })
    );
    const targets = next.flatten();
    const lossOf = (ids: Tensor): Tensor => crossEntropy(model.call(ids).flatten(0, 1), targets);
    return training(w, model, new AdamW(model, { lr: 1e-3, weightDecay: 0.01 }), lossOf, ids);
  },
};

await serve({
  versions: { deno: Deno.version.deno },
  kinds,
  firstGradient: () =>
    grad((x: Tensor) => x.tanh().square().sum())(tensor([0.5, 1, 2])).data() as Promise<Float32Array>,
  async peak(work) {
    for (let i = 0; i < 3; i++) await work.step();
    return { bytes: memory(defaultDevice()).peak, by: "memory().peak" };
  },
});
