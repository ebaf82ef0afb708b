/** @jax-js/jax on the backend that the argument names (wasm or webgpu): functions under jit, unless a work is to be plain. */
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

const version = "0.1.25";
const jax: Peer = await import(`npm:@jax-js/jax@${version}`);
const { numpy: np, nn, tree } = jax;
const [backend] = Deno.args;
if (!(await jax.init(backend)).includes(backend)) throw new Error(`jax-js has no backend ${backend} here`);
jax.defaultDevice(backend);

// An array is consumed by what takes it: `x.ref` is given where x is needed again.

const array = (x: Float32Array | Int32Array, shape: readonly number[]): Peer =>
  np.array(x).reshape([...shape]);
const random = (seed: number, shape: number[]): Peer =>
  array(numbers(seed, shape.reduce((a, b) => a * b, 1)), shape);

/** Steps of a function that gives a tree of arrays; `view` puts them into the works' order and layout. */
function prepared(f: () => Peer, view = (x: Peer): Peer[] => tree.leaves(tree.ref(x))): Prepared {
  let last: Peer = [];
  return {
    step: () => {
      tree.dispose(last);
      last = f();
      return jax.blockUntilReady(last);
    },
    results: () => Promise.all(view(last).map((x: Peer) => x.data())) as Promise<Float32Array[]>,
  };
}

const compiled = (f: Peer, plain: boolean): Peer => plain ? f : jax.jit(f);
const call = (f: Peer, inputs: Peer[], plain = false): Prepared => {
  const g = compiled(f, plain);
  return prepared(() => g(...tree.ref(inputs)));
};
const valueAndGrad = (f: Peer, inputs: Peer[], plain = false): Prepared =>
  call(jax.valueAndGrad(f, { argnums: inputs.map((_, i) => i) }), inputs, plain);

const repeated = (times: number, f: (t: Peer) => Peer) => (x: Peer): Peer => {
  for (let i = 0; i < times; i++) x = f(x);
  return x;
};

const normalize = (x: Peer, weight: Peer, bias: Peer): Peer => nn.standardize(x, -1).mul(weight).add(bias);

/** Heads `[B, H, T, D]`. */
function attend(q: Peer, k: Peer, v: Peer): Peer {
  const [T, D] = q.shape.slice(-2);
  const scores = np.matmul(q, np.matrixTranspose(k)).mul(1 / Math.sqrt(D));
  return np.matmul(nn.softmax(np.where(np.tri(T, T, 0, { dtype: "bool" }), scores, -Infinity), -1), v);
}

function crossEntropy(logits: Peer, targets: Peer): Peer {
  const [n, classes] = logits.shape;
  return nn.logSoftmax(logits, -1).mul(nn.oneHot(targets, classes)).sum().mul(-1 / n);
}

/** Adam with decoupled decay, the whole step one function. */
function training(
  { parameters, upTo, plain }: Training & { plain: boolean },
  lossOf: (params: Peer, x: Peer, y: Peer) => Peer,
  data: Peer[],
  decay: number,
): Prepared {
  // Matrices of maps lie as [in, out], as this library's users write them; a table of vectors as it is.
  const isMap = (name: string, shape: readonly number[]): boolean =>
    shape.length === 2 && !/tokens|positions/.test(name);
  const params: Peer = Object.fromEntries(parameters.map((p, i) => {
    const [name, shape] = p, x = valuesOf(p, i);
    return [
      name,
      isMap(name, shape) ? array(transposed(x, shape[0], shape[1]), [shape[1], shape[0]]) : array(x, shape),
    ];
  }));
  if (upTo === "forward") return call(lossOf, [params, ...data], plain);
  if (upTo === "gradient") {
    const f = compiled(jax.valueAndGrad(lossOf), plain);
    return prepared(() => f(tree.ref(params), ...tree.ref(data)), ([loss, grads]) => [
      loss.ref,
      ...parameters.map(([name, shape]) =>
        isMap(name, shape) ? np.transpose(grads[name].ref) : grads[name].ref
      ),
    ]);
  }
  const update = compiled((params: Peer, m: Peer, v: Peer, c1: Peer, c2: Peer, x: Peer, y: Peer) => {
    const [loss, grads] = jax.valueAndGrad(lossOf)(tree.ref(params), x, y);
    c1 = c1.mul(0.9), c2 = c2.mul(0.999);
    const next: Peer = { params: {}, m: {}, v: {} };
    for (const [name] of parameters) {
      const g = grads[name];
      const m1 = m[name].mul(0.9).add(g.ref.mul(0.1)), v1 = v[name].mul(0.999).add(np.square(g).mul(0.001));
      next.m[name] = m1.ref, next.v[name] = v1.ref;
      const scale = np.sqrt(v1.div(np.subtract(1, c2.ref))).add(1e-8);
      const move = m1.div(np.subtract(1, c1.ref)).div(scale).mul(1e-3);
      next.params[name] = params[name].mul(1 - 1e-3 * decay).sub(move);
    }
    return [loss, next.params, next.m, next.v, c1, c2];
  }, plain);
  const zeros = (): Peer => tree.map((x: Peer) => np.zeros(x.shape), params);
  let state: Peer[] = [params, zeros(), zeros(), np.array(1), np.array(1)];
  return prepared(() => {
    const [loss, ...next] = update(...state, ...tree.ref(data));
    state = next;
    return [loss];
  });
}

const kinds: Kinds = {
  matmul({ batch: B, M, K, N, transposed: which }) {
    const operand = (seed: number, rows: number, columns: number, isTransposed: boolean): Peer =>
      isTransposed
        ? array(transposed(numbers(seed, rows * columns), rows, columns), [columns, rows])
        : random(seed, [B, rows, columns].slice(B > 1 ? 0 : 1));
    const left = which === "left" || which === "both", right = which === "right" || which === "both";
    const f = (a: Peer, b: Peer): Peer => np.matmul(left ? a.transpose() : a, right ? b.transpose() : b);
    return call(f, [operand(1, M, K, left), operand(2, K, N, right)]);
  },
  cheap: ({ shape }) => call(repeated(5, (t) => t.mul(1.01).add(0.1)), [random(1, shape)]),
  transcendental: ({ shape }) => call(repeated(5, (t) => np.exp(np.tanh(t))), [random(1, shape)]),
  softmax: ({ shape }) => call((x: Peer) => nn.softmax(x, -1), [random(1, shape)]),
  layerNorm({ shape }) {
    const ct = random(4, shape), inputs = [random(1, shape), random(2, [shape[1]]), random(3, [shape[1]])];
    const f = (x: Peer, weight: Peer, bias: Peer, ct: Peer): Peer => normalize(x, weight, bias).mul(ct).sum();
    return call(jax.valueAndGrad(f, { argnums: [0, 1, 2] }), [...inputs, ct]);
  },
  attention({ heads, T, width }) {
    const inputs = [1, 2, 3, 4].map((seed) => random(seed, [1, heads, T, width]));
    const f = (q: Peer, k: Peer, v: Peer, ct: Peer): Peer => attend(q, k, v).mul(ct).sum();
    return call(jax.valueAndGrad(f, { argnums: [0, 1, 2] }), inputs);
  },
  chain({ ops, plain }) {
    const f = repeated(ops / 2, (t) => t.mul(1.001).add(0.01));
    return valueAndGrad((x: Peer) => f(x).sum(), [random(1, [16])], plain);
  },
  mlp(w) {
    const { sizes, batch } = w, layers = sizes.length - 1;
    const lossOf = (params: Peer, x: Peer, y: Peer): Peer => {
      for (let i = 0; i < layers; i++) {
        x = np.matmul(x, params[`${2 * i}.weight`]).add(params[`${2 * i}.bias`]);
        if (i < layers - 1) x = nn.relu(x);
      }
      return crossEntropy(x, y);
    };
    const y = array(integers(102, batch, sizes[layers]), [batch]);
    return training(w, lossOf, [random(101, [batch, sizes[0]]), y], 0);
  },
  gpt(w) {
    const { vocabulary, width: C, T, heads, layers, segment, batch: B } = w;
    if (segment > 0) throw new Error("it has no checkpointing");
    const block = (p: (name: string) => Peer, x: Peer): Peer => {
      const h = normalize(x.ref, p("norm1.weight"), p("norm1.bias"));
      const qkv = np.matmul(h, p("self_attn.in_proj_weight")).add(p("self_attn.in_proj_bias"));
      const [q, k, v] = np.split(qkv, 3, -1).map((t: Peer) =>
        t.reshape([B, T, heads, C / heads]).transpose([0, 2, 1, 3])
      ); // [B, H, T, D]
      const y = attend(q, k, v).transpose([0, 2, 1, 3]).reshape([B, T, C]);
      x = x.add(np.matmul(y, p("self_attn.out_proj.weight")).add(p("self_attn.out_proj.bias")));
      const wide = np.matmul(
        normalize(x.ref, p("norm2.weight"), p("norm2.bias")),
        p("linear1.weight"),
      ).add(p("linear1.bias"));
      return x.add(
        np.matmul(nn.gelu(wide, { approximate: false }), p("linear2.weight")).add(p("linear2.bias")),
      );
    };
    const lossOf = (params: Peer, ids: Peer, targets: Peer): Peer => {
      // Its gradient of `take` fails under jit.
      let x = np.matmul(nn.oneHot(ids, vocabulary), params["tokens.weight"]).reshape([B, T, C]).add(
        params.positions,
      );
      for (let i = 0; i < layers; i++) x = block((name) => params[`blocks.${i}.${name}`], x);
      const y = normalize(x, params["norm.weight"], params["norm.bias"]);
      return crossEntropy(np.matmul(y, params["head.weight"]).reshape([B * T, vocabulary]), targets);
    };
    const data = [101, 102].map((seed) => array(integers(seed, B * T, vocabulary), [B * T]));
    return training(w, lossOf, data, 0.01);
  },
};

await serve({
  versions: { "@jax-js/jax": version, deno: Deno.version.deno },
  kinds,
  firstGradient: () => jax.grad((x: Peer) => np.square(np.tanh(x)).sum())(np.array([0.5, 1, 2])).data(),
});
