/**
 * TensorFlow.js on the backend that the argument names (wasm or webgpu). Deno counts as Node there, where its wasm backend
 * has vectors and no threads.
 */
import {
  integers,
  type Kinds,
  numbers,
  type Peer,
  type Prepared,
  serve,
  transposed,
  valuesOf,
} from "../worker.ts";
import type { Training } from "../works.ts";

const version = "4.22.0";
const [backend] = Deno.args;
const tf: Peer = await import(`npm:@tensorflow/tfjs@${version}`);
await import(`npm:@tensorflow/tfjs-backend-${backend}@${version}`);
if (!await tf.setBackend(backend)) throw new Error(`TensorFlow.js has no backend ${backend} here`);

const random = (seed: number, shape: number[]): Peer =>
  tf.tensor(numbers(seed, shape.reduce((a, b) => a * b, 1)), shape);

/** On wasm kernels have run when a call returns; a queue is waited for without reading what it makes. */
async function done(): Promise<void> {
  if (backend !== "webgpu") return;
  const queued = tf.backend();
  queued.endComputePassEncoder();
  if (queued.commandEncoder) queued.submitQueue();
  await queued.device.queue.onSubmittedWorkDone();
}

function prepared(f: () => Peer[]): Prepared {
  let last: Peer[] = [];
  return {
    step: () => {
      tf.dispose(last);
      last = tf.tidy(f);
      return done();
    },
    results: () => Promise.all(last.map((x) => x.data())) as Promise<Float32Array[]>,
  };
}

/** Steps of f by its inputs: the value and the gradients. */
function valueAndGrad(f: (...x: Peer[]) => Peer, inputs: Peer[]): Prepared {
  const g = tf.valueAndGrads(f);
  return prepared(() => {
    const { value, grads } = g(inputs);
    return [value, ...grads];
  });
}

const repeated = (times: number, f: (t: Peer) => Peer) => (x: Peer): Peer => {
  for (let i = 0; i < times; i++) x = f(x);
  return x;
};

function normalize(x: Peer, weight: Peer, bias: Peer): Peer {
  const { mean, variance } = tf.moments(x, -1, true);
  return tf.add(tf.mul(tf.mul(tf.sub(x, mean), tf.rsqrt(tf.add(variance, 1e-5))), weight), bias);
}

/** Its wasm kernel for transposed operands is some twenty times slower than a copy and the plain one. */
function product(a: Peer, b: Peer, left: boolean, right: boolean): Peer {
  if (backend !== "wasm") return tf.matMul(a, b, left, right);
  const turned = (x: Peer): Peer => tf.transpose(x, [...Array(x.rank - 2).keys(), x.rank - 1, x.rank - 2]);
  return tf.matMul(left ? turned(a) : a, right ? turned(b) : b);
}

/** 0 where a query sees a key, and very negative where it does not. */
const causal = (T: number): Peer =>
  tf.tidy(() => tf.mul(tf.sub(1, tf.linalg.bandPart(tf.ones([T, T]), -1, 0)), -1e9));

function attend(q: Peer, k: Peer, v: Peer, mask: Peer): Peer {
  const scores = tf.mul(product(q, k, false, true), 1 / Math.sqrt(q.shape[q.rank - 1]));
  return tf.matMul(tf.softmax(tf.add(scores, mask)), v);
}

/** x W + b over the last axis, as one product of matrices. */
function linear(x: Peer, weight: Peer, bias?: Peer): Peer {
  const y = tf.matMul(tf.reshape(x, [-1, x.shape[x.rank - 1]]), weight);
  return tf.reshape(bias === undefined ? y : tf.add(y, bias), [...x.shape.slice(0, -1), weight.shape[1]]);
}

const gelu = (x: Peer): Peer => tf.mul(tf.mul(x, 0.5), tf.add(tf.erf(tf.mul(x, Math.SQRT1_2)), 1));

function training(
  { parameters, upTo }: Training,
  lossOf: (params: Peer) => Peer,
  decay: number,
): Prepared {
  const params: Peer = {};
  for (const [i, p] of parameters.entries()) {
    const [name, shape] = p, x = valuesOf(p, i);
    // Matrices of maps lie as [in, out], as this library's layers keep them; a table of vectors as it is.
    const isMap = shape.length === 2 && !/tokens|positions/.test(name);
    params[name] = tf.variable(
      isMap ? tf.tensor(transposed(x, shape[0], shape[1]), [shape[1], shape[0]]) : tf.tensor(x, shape),
    );
  }
  const list = Object.values(params) as Peer[];
  const loss = (): Peer => lossOf(params);
  if (upTo === "forward") return prepared(() => [loss()]);
  const optimizer = tf.train.adam(1e-3, 0.9, 0.999, 1e-8);
  const steps = prepared(() => {
    const { value, grads } = tf.variableGrads(loss, list);
    if (upTo === "gradient") return [value, ...list.map((x) => grads[x.name])];
    if (decay > 0) { for (const x of list) x.assign(tf.mul(x, 1 - 1e-3 * decay)); }
    optimizer.applyGradients(grads);
    return [value];
  });
  return {
    step: steps.step,
    async results() {
      const found = await steps.results();
      return found.map((x, i) => {
        const shape = i > 0 && parameters[i - 1][1];
        return shape && !/tokens|positions/.test(parameters[i - 1][0]) && shape.length === 2
          ? transposed(x, shape[1], shape[0])
          : x;
      });
    },
  };
}

const kinds: Kinds = {
  matmul({ batch: B, M, K, N, transposed: which }) {
    const operand = (seed: number, rows: number, columns: number, isTransposed: boolean): Peer =>
      isTransposed
        ? tf.tensor(transposed(numbers(seed, rows * columns), rows, columns), [columns, rows])
        : random(seed, [B, rows, columns].slice(B > 1 ? 0 : 1));
    const left = which === "left" || which === "both", right = which === "right" || which === "both";
    const a = operand(1, M, K, left), b = operand(2, K, N, right);
    return prepared(() => [product(a, b, left, right)]);
  },
  cheap({ shape }) {
    const x = random(1, shape), f = repeated(5, (t) => tf.add(tf.mul(t, 1.01), 0.1));
    return prepared(() => [f(x)]);
  },
  transcendental({ shape }) {
    const x = random(1, shape), f = repeated(5, (t) => tf.exp(tf.tanh(t)));
    return prepared(() => [f(x)]);
  },
  softmax({ shape }) {
    const x = random(1, shape);
    return prepared(() => [tf.softmax(x)]);
  },
  layerNorm({ shape }) {
    const ct = random(4, shape);
    return valueAndGrad(
      (x, weight, bias) => tf.sum(tf.mul(normalize(x, weight, bias), ct)),
      [random(1, shape), random(2, [shape[1]]), random(3, [shape[1]])],
    );
  },
  attention({ heads, T, width }) {
    const [ct, mask] = [random(4, [1, heads, T, width]), causal(T)];
    return valueAndGrad(
      (q, k, v) => tf.sum(tf.mul(attend(q, k, v, mask), ct)),
      [1, 2, 3].map((seed) => random(seed, [1, heads, T, width])),
    );
  },
  chain({ ops }) {
    const f = repeated(ops / 2, (t) => tf.add(tf.mul(t, 1.001), 0.01));
    return valueAndGrad((x) => tf.sum(f(x)), [random(1, [16])]);
  },
  mlp(w) {
    const { sizes, batch } = w, layers = sizes.length - 1;
    const x = random(101, [batch, sizes[0]]), y = tf.tensor(integers(102, batch, sizes[layers]));
    return training(w, (params) => {
      let h = x;
      for (let i = 0; i < layers; i++) {
        h = linear(h, params[`${2 * i}.weight`], params[`${2 * i}.bias`]);
        if (i < layers - 1) h = tf.relu(h);
      }
      return tf.losses.softmaxCrossEntropy(tf.oneHot(y, sizes[layers]), h);
    }, 0);
  },
  gpt(w) {
    const { vocabulary, width: C, T, heads, layers, segment, batch: B } = w;
    if (segment > 0) throw new Error("it has no checkpointing");
    const [ids, targets] = [101, 102].map((seed) => tf.tensor(integers(seed, B * T, vocabulary)));
    const mask = causal(T);
    const block = (p: (name: string) => Peer, x: Peer): Peer => {
      const qkv = linear(
        ...[normalize(x, p("norm1.weight"), p("norm1.bias")), p("self_attn.in_proj_weight")] as [Peer, Peer],
        p("self_attn.in_proj_bias"),
      );
      const [q, k, v] = tf.split(qkv, 3, -1).map((t: Peer) =>
        tf.transpose(tf.reshape(t, [B, T, heads, C / heads]), [0, 2, 1, 3])
      ); // [B, H, T, D]
      const y = tf.reshape(tf.transpose(attend(q, k, v, mask), [0, 2, 1, 3]), [B, T, C]);
      x = tf.add(x, linear(y, p("self_attn.out_proj.weight"), p("self_attn.out_proj.bias")));
      const h = normalize(x, p("norm2.weight"), p("norm2.bias"));
      const wide = gelu(linear(h, p("linear1.weight"), p("linear1.bias")));
      return tf.add(x, linear(wide, p("linear2.weight"), p("linear2.bias")));
    };
    return training(w, (params) => {
      // The gradient of its `gather` has no kernel on wasm.
      const rows = tf.matMul(tf.oneHot(ids, vocabulary).cast("float32"), params["tokens.weight"]);
      let x = tf.add(tf.reshape(rows, [B, T, C]), params.positions);
      for (let i = 0; i < layers; i++) x = block((name) => params[`blocks.${i}.${name}`], x);
      const logits = linear(normalize(x, params["norm.weight"], params["norm.bias"]), params["head.weight"]);
      return tf.losses.softmaxCrossEntropy(
        tf.oneHot(targets, vocabulary),
        tf.reshape(logits, [B * T, vocabulary]),
      );
    }, 0.01);
  },
};

await serve({
  versions: { "@tensorflow/tfjs": version, deno: Deno.version.deno },
  kinds,
  firstGradient: () => tf.grad((x: Peer) => tf.sum(tf.square(tf.tanh(x))))(tf.tensor([0.5, 1, 2])).data(),
  async peak(work) {
    let bytes = 0;
    for (let i = 0; i < 3; i++) {
      const { peakBytes } = await tf.profile(() => {
        work.step();
        return [];
      });
      bytes = Math.max(bytes, peakBytes);
    }
    return { bytes, by: "tf.profile" };
  },
});
