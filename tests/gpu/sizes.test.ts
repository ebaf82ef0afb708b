/** Large, empty, odd and many: sizes at which kernels, bindings and dispatches change. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  arange,
  cat,
  conv1d,
  crossEntropy,
  embedding,
  grad,
  layerNorm,
  maxPool1d,
  ones,
  rmsNorm,
  scaledDotProductAttention,
  type Tensor,
  tensor,
  zeros,
} from "../../mod.ts";
import { splitDepth, spread } from "../../gpu/webgpu/heuristics.ts";
import { primitives } from "../../ops/primitive.ts";
import { random, read } from "../support/numbers.ts";
import { engine, rejection, test } from "./webgpu.ts";

test("ten million numbers are summed to a few units in the last place", async () => {
  const n = 10_000_000, x = new Float32Array(n), rng = random(1);
  let exact = 0;
  for (let i = 0; i < n; i++) exact += x[i] = rng();
  const [s] = await read([tensor(x).sum()]);
  assert(Math.abs(s[0] - exact) / exact < 1e-6, `${s[0]} is not ${exact}`);
});

test("columns and rows of any shape are summed right", async () => {
  for (const [M, N] of [[1, 1], [3, 1000], [1000, 3], [257, 129], [1, 70000], [70000, 1], [5000, 40]]) {
    const x = Float32Array.from({ length: M * N }, (_, i) => (i * 7919) % 13 - 6);
    const [rows, columns, all] = await read([
      tensor(x, { shape: [M, N] }).sum(1),
      tensor(x, { shape: [M, N] }).sum(0),
      tensor(x, { shape: [M, N] }).sum(),
    ]);
    const r = new Float64Array(M), c = new Float64Array(N);
    x.forEach((v, i) => {
      r[Math.floor(i / N)] += v;
      c[i % N] += v;
    });
    assertEquals([...rows], [...r], `rows of ${M} x ${N}`);
    assertEquals([...columns], [...c], `columns of ${M} x ${N}`);
    assertEquals(all[0], r.reduce((a, b) => a + b), `all of ${M} x ${N}`);
  }
});

test("products of matrices of odd sizes, transposed and batched, are right", async () => {
  for (
    const [B, M, K, N] of [
      [1, 1, 1, 1],
      [1, 65, 33, 17],
      [2, 1, 300, 70],
      [1, 70, 5000, 3],
      [3, 16, 16, 16],
      [1, 128, 1, 128],
      [2, 49, 100, 65],
    ]
  ) {
    const a = Float32Array.from({ length: B * M * K }, (_, i) => (i * 31) % 7 - 3);
    const b = Float32Array.from({ length: B * K * N }, (_, i) => (i * 17) % 5 - 2);
    const x = tensor(a, { shape: [B, M, K] }), y = tensor(b, { shape: [B, K, N] });
    const xt = tensor(a, { shape: [B, M, K] }).mT().add(0), yt = y.mT().add(0); // stored the other way round
    const e = new Float64Array(B * M * N);
    for (let t = 0; t < B; t++) {
      for (let i = 0; i < M; i++) {
        for (let k = 0; k < K; k++) {
          for (let j = 0; j < N; j++) {
            e[(t * M + i) * N + j] += a[(t * M + i) * K + k] * b[(t * K + k) * N + j];
          }
        }
      }
    }
    const [p, q] = await read([x.matmul(y), xt.mT().matmul(yt.mT())]);
    assertEquals([...p], [...e], `${B} x ${M} x ${K} x ${N}`);
    assertEquals([...q], [...e], `${B} x ${M} x ${K} x ${N} transposed`);
  }
});

test("arrays over the binding limit are computed in pieces", async () => {
  const limit = engine().info.limits.maxStorageBufferBindingSize;
  const n = limit / 4 + 1000;
  if (n > 40_000_000) return; // only where the limit is small
  const x = new Float32Array(n).fill(2);
  x[n - 1] = 5;
  const big = tensor(x), rows = big.reshape([n / 8, 8]);
  const [y, sum, largest, columns, inRows] = await read([
    big.mul(3).add(1),
    big.sum(),
    rows.amax(),
    rows.amax(0),
    rows.amax(1),
  ]);
  assertEquals([y[0], y[limit / 4 - 1], y[limit / 4], y[n - 2], y[n - 1]], [7, 7, 7, 7, 16]);
  assert(Math.abs(sum[0] / (2 * n + 3) - 1) < 1e-6, `${sum[0]} is not ${2 * n + 3}`);
  assertEquals([largest[0], ...columns, inRows[0], inRows[n / 8 - 1]], [5, 2, 2, 2, 2, 2, 2, 2, 5, 2, 5]);
});

test("what no kernel can reach is refused with sizes and a way out", async () => {
  const limit = engine().info.limits.maxStorageBufferBindingSize, side = Math.ceil(Math.sqrt(limit / 4)) + 64;
  if (side > 10_000) return;
  const x = zeros([side, side]);
  const error = await rejection(x.add(1).matmul(x.add(1)).data());
  assert(error instanceof RangeError);
  assert(error.message.includes(String(limit)) && error.message.includes("narrow"), error.message);
});

test("tensors without elements need no dispatch", async () => {
  const before = engine().counts.dispatches;
  const x = tensor([], { shape: [0, 3] });
  const [y, s, m, p] = await read([x.exp(), x.sum(0), x.mT().matmul(x), cat([x, x])]);
  assertEquals([y.length, [...s], [...m], p.length], [0, [0, 0, 0], [0, 0, 0, 0, 0, 0, 0, 0, 0], 0]);
  assertEquals(engine().counts.dispatches - before, 2); // the sum and the product have elements: zeros
});

test("more operands than a kernel can bind are joined", async () => {
  for (const count of [30, 100]) {
    const parts = Array.from({ length: count }, (_, i) => tensor([i, i + 0.5]));
    const sums = parts.map((x) => x.mul(2));
    const [all, computed, second] = await read([
      cat(parts),
      cat(sums),
      cat(parts.map((x) => x.reshape([2, 1])), 1),
    ]);
    assertEquals([...all], Array.from({ length: count }, (_, i) => [i, i + 0.5]).flat());
    assertEquals([...computed], Array.from({ length: count }, (_, i) => [2 * i, 2 * i + 1]).flat());
    assertEquals([...second], [...Array(count).keys(), ...Array.from({ length: count }, (_, i) => i + 0.5)]);
  }
});

test("views of eight axes, reversed, broadcast and sliced, are walked right", async () => {
  const x = arange(2 ** 8, { dtype: "f32" }).reshape([2, 2, 2, 2, 2, 2, 2, 2]);
  const y = x.permute([7, 0, 6, 1, 5, 2, 4, 3]).flip([0, 3, 6]);
  const [a, b] = await read([y.add(x.slice([0, 1], [1, 2])), y.reshape([256])]);
  const at = (i: number[]): number => i.reduce((s, v) => 2 * s + v, 0);
  const moved = (i: number[]): number => {
    const j = i.map((v, k) => [0, 3, 6].includes(k) ? 1 - v : v), o = new Array<number>(8);
    [7, 0, 6, 1, 5, 2, 4, 3].forEach((axis, k) => o[axis] = j[k]);
    return at(o);
  };
  for (let k = 0; k < 256; k++) {
    const i = Array.from({ length: 8 }, (_, d) => (k >> (7 - d)) & 1);
    assertEquals(b[k], moved(i));
    assertEquals(a[k], moved(i) + at([0, 1, ...i.slice(2)]));
  }
});

test("a chain of 20,000 ops is one run", async () => {
  let x: Tensor = ones([4]);
  for (let i = 0; i < 20_000; i++) x = x.add(i % 2 === 0 ? 1 : -1);
  const before = engine().counts.runs;
  assertEquals([...await x.data()], [1, 1, 1, 1]);
  assertEquals(engine().counts.runs - before, 1);
});

test("halves, whole numbers and booleans keep their types and odd lengths", async () => {
  const h = tensor([16, 32, 65504], { dtype: "f16" }), b = tensor([true, false, true]);
  const i = tensor([-5, 7, 2147483647], { dtype: "i32" }), u = tensor([1, 2, 4294967295], { dtype: "u32" });
  const [h2, sum, b2, i2, u2, count] = await read([
    h.mul(0.5),
    h.sum(),
    b.logicalNot(),
    i.add(1),
    u.mul(2),
    b.sum(),
  ]);
  assertEquals([...h2], [8, 16, 32752]);
  assert(
    h2 instanceof Float16Array && b2 instanceof Uint8Array && i2 instanceof Int32Array &&
      u2 instanceof Uint32Array,
  );
  assertEquals(sum[0], Infinity);
  assertEquals([[...b2], [...i2], [...u2], count[0]], [
    [0, 1, 0],
    [-4, 8, -2147483648],
    [2, 4, 4294967294],
    2,
  ]);
});

test("gradients of a large table are sums by id", async () => {
  const V = 300, D = 5, T = 200, rng = random(3);
  const ids = Array.from({ length: T }, () => Math.floor(rng() * 40) * 7 - (rng() < 0.1 ? V : 0));
  const ct = Float32Array.from({ length: T * D }, () => Math.floor(rng() * 9) - 4),
    exact = new Float64Array(V * D);
  ids.forEach((id, t) => {
    for (let d = 0; d < D; d++) exact[((id + V) % V) * D + d] += ct[t * D + d];
  });
  const table = zeros([V, D]);
  const [g] = await read([
    grad((w: Tensor) => embedding(w, tensor(ids, { dtype: "i32" })).mul(tensor(ct, { shape: [T, D] })).sum())(
      table,
    ) as Tensor,
  ]);
  assertEquals([...g], [...exact]);
});

test("rows of any length have the softmax, logsumexp and crossEntropy of the definition", async () => {
  for (const [rows, n] of [[1, 1], [3, 2], [5, 255], [2, 1000], [300, 10], [1, 5000]]) {
    const rng = random(n), z = Float32Array.from({ length: rows * n }, () => 20 * rng() - 10);
    const target = Array.from({ length: rows }, () => Math.floor(rng() * n));
    const x = tensor(z, { shape: [rows, n] });
    const [s, l, c] = await read([
      x.softmax(),
      x.logsumexp(1),
      crossEntropy(x, tensor(target, { dtype: "i32" }), { reduction: "none" }),
    ]);
    for (let r = 0; r < rows; r++) {
      const row = z.subarray(r * n, (r + 1) * n), sum = row.reduce((a, v) => a + Math.exp(v), 0);
      assert(
        Math.abs(l[r] - Math.log(sum)) < 1e-5 && Math.abs(c[r] - (Math.log(sum) - row[target[r]])) < 1e-5,
        `${rows} x ${n}`,
      );
      row.forEach((v, k) => assert(Math.abs(s[r * n + k] - Math.exp(v) / sum) < 1e-6, `${rows} x ${n}`));
    }
  }
});

/** More than the turns after which some devices end a thread's loops, and what is cut at other lengths. */
const LONG = 70_000, HALF = Math.floor(LONG / 2);

/** Normalised rows and their gradient, which sum over a row. */
async function longRows(f: (x: Tensor) => Tensor): Promise<void> {
  const x = Float32Array.from({ length: 2 * LONG }, (_, i) => ((i * 7919) % 1000) / 100 - 4);
  const both = (device: "host" | "webgpu"): Tensor[] => {
    const t = tensor(x, { shape: [2, LONG], device });
    return [f(t), grad((u: Tensor) => f(u).mul(t.sin()).sum())(t) as Tensor];
  };
  const [a, b] = await read(both("webgpu")), [c, d] = await read(both("host"));
  for (const i of [0, 1, HALF, LONG - 1, LONG, 2 * LONG - 1]) {
    assert(Math.abs(a[i] - c[i]) < 1e-4 && Math.abs(b[i] - d[i]) < 1e-4, `${i}: ${[a[i], c[i], b[i], d[i]]}`);
  }
}

/** Attention of and over many rows, and its gradients, which sum over either. */
async function longAttention(): Promise<void> {
  const numbers = (n: number, k: number): Float32Array<ArrayBuffer> =>
    Float32Array.from({ length: n }, (_, i) => Math.sin(i * k));
  for (const [T, S, causal] of [[2, LONG, false], [LONG, 2, false], [LONG, 2, true]] as const) {
    const both = (device: "host" | "webgpu"): Tensor[] => {
      const [q, k, v] = [T, S, S].map((n, i) =>
        tensor(numbers(2 * n, i === 0 ? 1 : 2), { shape: [n, 2], device })
      );
      const f = (...x: Tensor[]): Tensor => scaledDotProductAttention(x[0], x[1], x[2], { causal });
      const w = f(q, k, v).stopGradient().cos();
      const g = grad((...x: Tensor[]) => f(...x).mul(w).sum(), { argnums: [0, 1, 2] })(q, k, v) as Tensor[];
      return [f(q, k, v), ...g];
    };
    const got = await read(both("webgpu")), want = await read(both("host"));
    want.forEach((e, i) => {
      const expected = Array.from(e), scale = expected.reduce((m, x) => Math.max(m, Math.abs(x)), 0);
      expected.forEach((x, j) =>
        assert(Math.abs(got[i][j] - x) <= 1e-3 * scale, `${[T, S, causal, i, j]}: ${[got[i][j], x]}`)
      );
    });
  }
}

/** Custom primitives whose kernels loop, along what length. */
const loops: Record<string, () => Promise<void>> = {
  convolution: async () => {
    const [wide, deep] = await read([
      conv1d(ones([1, 1, LONG + 1]), ones([1, 1, LONG])),
      conv1d(ones([1, 300, 300]), ones([2, 300, 300])),
    ]);
    assertEquals([...wide, ...deep], [LONG, LONG, 90_000, 90_000]);
    assertThrows(() => maxPool1d(ones([1, 1, LONG]), 40_000), RangeError, "at most 32768");
    const count = arange(LONG, { dtype: "f32" }).reshape([1, 1, LONG]);
    assertEquals(await maxPool1d(count, 30_000).toArray(), [[[29_999, 59_999]]]);
  },
  softmax: async () => {
    const x = Float32Array.from({ length: 2 * LONG }, (_, i) => ((i * 7919) % 1000) / 100);
    const [rows, columns] = await read([
      tensor(x, { shape: [2, LONG] }).softmax(1),
      tensor(x, { shape: [LONG, 2] }).softmax(0),
    ]);
    let row = 0, column = 0;
    for (let i = 0; i < LONG; i++) {
      row += Math.exp(x[i]);
      column += Math.exp(x[2 * i]);
    }
    for (const i of [0, 1, HALF, LONG - 1]) {
      assertNear(rows[i], Math.exp(x[i]) / row);
      assertNear(columns[2 * i], Math.exp(x[2 * i]) / column);
    }
  },
  logsumexp: async () => {
    const n = 200_000;
    const [rows, columns, all, low, half] = await read([
      zeros([2, n]).logsumexp(1),
      zeros([n, 2]).logsumexp(0),
      zeros([6_000_000]).logsumexp(0),
      tensor(new Float32Array(LONG * 2).fill(-Infinity), { shape: [LONG, 2] }).logsumexp(0),
      zeros([LONG, 2], { dtype: "f16" }).logsumexp(0),
    ]);
    for (const y of [...rows, ...columns]) assertNear(y, Math.log(n));
    assertNear(all[0], Math.log(6_000_000));
    assertEquals([[...low], [...half]], [
      [-Infinity, -Infinity],
      Array(2).fill(Math.f16round(Math.log(LONG))),
    ]);
  },
  attention: longAttention,
  attentionQueryGrad: () => Promise.resolve(), // with attention
  attentionKeyValueGrad: () => Promise.resolve(),
  layerNorm: () => longRows((x) => layerNorm(x, LONG)),
  layerNormGrad: () => longRows((x) => layerNorm(x, LONG)),
  rmsNorm: () => longRows((x) => rmsNorm(x, LONG)),
  rmsNormGrad: () => longRows((x) => rmsNorm(x, LONG)),
  crossEntropy: async () => {
    const long = crossEntropy(zeros([2, LONG]), tensor([0, LONG - 1], { dtype: "i32" }), {
      reduction: "none",
    });
    const longer = crossEntropy(zeros([1, 6_000_000]), tensor([5_999_999], { dtype: "i32" }));
    const [a, b] = await read([long, longer]);
    for (const y of a) assertNear(y, Math.log(LONG));
    assertNear(b[0], Math.log(6_000_000));
  },
  cumsum: async () => {
    const x = Int32Array.from({ length: LONG * 3 }, (_, i) => (i * 31) % 11 - 5);
    const [a, b, c, d, e] = await read([
      ones([LONG]).cumsum(0),
      tensor(x, { shape: [LONG, 3] }).cumsum(0),
      grad((t: Tensor) => t.cumsum(0).sum())(zeros([LONG])) as Tensor,
      ones([1_200_000]).cumsum(0),
      ones([1500], { dtype: "f16" }).cumsum(0),
    ]);
    const sums = [0, 0, 0];
    x.forEach((v, i) => assertEquals(b[i], sums[i % 3] += v));
    assertEquals([a[0], a[HALF], a[LONG - 1]], [1, HALF + 1, LONG]);
    assertEquals([c[0], c[HALF], c[LONG - 1]], [LONG, LONG - HALF, 1]);
    assertEquals([d[65_535], d[1_199_999], e[1499]], [65_536, 1_200_000, 1500]);
  },
  argmax: async () => {
    const x = new Float32Array(2 * LONG), y = new Float32Array(2 * LONG);
    x[2 * (LONG - 7)] = x[2 * (LONG - 3)] = 1;
    x[2 * 300 + 1] = x[2 * HALF + 1] = 2;
    y[2 * 66_000] = y[2 * 67_000] = NaN;
    const [a, b, c, d] = await read([
      arange(LONG, { dtype: "f32" }).argmax(0),
      tensor(x, { shape: [LONG, 2] }).argmax(0),
      tensor(y, { shape: [LONG, 2] }).argmax(0),
      zeros([LONG]).argmax(0),
    ]);
    assertEquals([[...a], [...b], [...c], [...d]], [[LONG - 1], [LONG - 7, 300], [66_000, 0], [0]]);
  },
  argmin: async () => {
    const x = new Float32Array(2 * LONG), y = new Float32Array(2 * LONG);
    x[2 * (LONG - 7)] = x[2 * (LONG - 3)] = -1;
    y[2 * 66_000] = y[2 * 67_000] = NaN;
    const [a, b, c] = await read([
      arange(LONG, { dtype: "f32" }).neg().argmin(0),
      tensor(x, { shape: [LONG, 2] }).argmin(0),
      tensor(y, { shape: [LONG, 2] }).argmin(0),
    ]);
    assertEquals([[...a], [...b], [...c]], [[LONG - 1], [LONG - 7, 0], [66_000, 0]]);
  },
  recurrence: async () => {
    // Powers of 2 and signs, so that products are exact.
    const x = Float32Array.from(
      { length: 2 * LONG },
      (_, i) => [1, 2, -1, 0.5][(i >> 1) % 4] * (i % 2 ? 1 : -1),
    );
    const of = (device?: "host"): Tensor[] => {
      const t = tensor(x, { shape: [LONG, 2], ...(device && { device }) });
      return [t.cumprod(0), grad((u: Tensor) => u.cumprod(0).narrow(0, LONG - 3, 3).sum())(t) as Tensor];
    };
    const [a, b] = await read(of()), [c, d] = await read(of("host"));
    assertEquals([a, b], [c, d]);
  },
  argcummax: async () => await sameAsHost((x) => x.cummax(0).indices),
  argcummin: async () => await sameAsHost((x) => x.cummin(0).indices),
  logcumsumexp: async () => {
    const [a, b, c] = await read([
      zeros([LONG]).logcumsumexp(0),
      arange(LONG, { dtype: "f32" }).mul(100).logcumsumexp(0),
      grad((x: Tensor) => x.logcumsumexp(0).narrow(0, LONG - 1, 1).sum())(zeros([LONG])) as Tensor,
    ]);
    assertNear(a[LONG - 1], Math.log(LONG));
    assertEquals([b[0], b[LONG - 1]], [0, Math.fround(100 * (LONG - 1))]);
    for (const i of [0, HALF, LONG - 1]) {
      assert(Math.abs(c[i] * LONG - 1) < 2e-3, `${c[i]} is not 1 / ${LONG}`);
    }
  },
  argsort: async () => {
    const x = Float32Array.from({ length: LONG }, (_, i) => i % 9973 === 5 ? NaN : (i * 7919) % 1009);
    const rows = new Float32Array(3 * 1000).map((_, i) => (i * 7919) % 101);
    for (const descending of [false, true]) {
      const [a, b] = await read([
        tensor(x).argsort(0, { descending }),
        tensor(rows, { shape: [1000, 3] }).argsort(0, { descending }),
      ]);
      const [c, d] = await read([
        tensor(x, { device: "host" }).argsort(0, { descending }),
        tensor(rows, { shape: [1000, 3], device: "host" }).argsort(0, { descending }),
      ]);
      assertEquals(a, c);
      assertEquals(b, d);
    }
  },
  scatterAdd: async () => {
    const same = ones([LONG], { dtype: "i32" });
    const spread = Int32Array.from({ length: LONG }, (_, i) => (i * 7919) % 5000 - (i % 3 === 0 ? 5000 : 0));
    const values = Float32Array.from({ length: LONG }, (_, i) => i % 7 - 3),
      exact = new Float32Array(5000).fill(2);
    spread.forEach((k, i) => exact[(k + 5000) % 5000] += values[i]);
    const wide = tensor(spread, { shape: [LONG / 2, 2] }), two = tensor(values, { shape: [LONG / 2, 2] });
    const [a, b, c, d, e] = await read([
      zeros([2]).scatterAdd(0, same, ones([LONG])),
      ones([5000]).mul(2).scatterAdd(0, tensor(spread), tensor(values)),
      ones([5000, 3]).mul(2).scatterAdd(0, wide, two),
      grad((t: Tensor) => t.gather(0, same).sum())(zeros([3])) as Tensor,
      zeros([2], { dtype: "f16" }).scatterAdd(
        0,
        same.narrow(0, 0, 6000),
        ones([6000], { dtype: "f16" }).mul(0.5),
      ),
    ]);
    assertEquals([[...a], [...d], [...e]], [[0, LONG], [0, LONG, 0], [0, 3000]]);
    assertEquals([...b], [...exact]);
    const columns = new Float32Array(15_000).fill(2);
    spread.forEach((k, i) => columns[((k + 5000) % 5000) * 3 + i % 2] += values[i]);
    assertEquals([...c], [...columns]);
  },
  lastWriter: async () => {
    const k = Int32Array.from({ length: LONG }, (_, i) => (i * 7919) % 5000);
    const last = new Float32Array(5001).fill(-1);
    k.forEach((place, i) => last[place] = i);
    const values = tensor(Float32Array.from({ length: LONG }, (_, i) => i));
    const [a, b] = await read([
      zeros([5001]).sub(1).scatter(0, tensor(k), values),
      zeros([2, 3]).indexCopy(1, ones([LONG], { dtype: "i32" }), values.expand([2, LONG])),
    ]);
    assertEquals(a, last);
    assertEquals([...b], [0, LONG - 1, 0, 0, LONG - 1, 0]);
  },
  scatterFold: async () => {
    const same = ones([LONG], { dtype: "i32" });
    const values = tensor(Float32Array.from({ length: LONG }, (_, i) => i - 5));
    const [a, b, c] = await read([
      zeros([2]).scatterReduce(0, same, values, "amax"),
      zeros([2]).scatterReduce(0, same, values, "amin"),
      ones([2]).scatterReduce(0, same, values.ge(0).to("f32").mul(2).sub(1), "prod"),
    ]);
    assertEquals([...a, ...b, ...c], [0, LONG - 6, 0, -5, 1, -1]);
  },
  foldAlong: async () => {
    const [g, d] = await read([
      grad((x: Tensor) => x.unfold(0, LONG, 1).sum())(zeros([LONG + 2])) as Tensor,
      grad((x: Tensor) => x.unfold(0, HALF, 1, 2).sum())(zeros([LONG])) as Tensor,
    ]);
    assertEquals([g[0], g[1], g[2], g[HALF], g[LONG], g[LONG + 1]], [1, 2, 3, 3, 2, 1]);
    assertEquals([d[0], d[1], d[HALF], d[LONG - 1]], [1, 1, 1, 1]);
    const [few, far] = await read([
      grad((x: Tensor) => x.unfold(0, 2, 1).sum())(zeros([LONG])) as Tensor,
      grad((x: Tensor) => x.unfold(0, 2, 1, LONG).sum())(zeros([2 * LONG])) as Tensor,
    ]);
    assertEquals([few[0], few[HALF], few[LONG - 1], far[0], far[LONG], far[2 * LONG - 1]], [
      1,
      2,
      1,
      1,
      1,
      1,
    ]);
  },
  embeddingGrad: async () => {
    for (const V of [2, 100_000]) {
      const ids = Int32Array.from({ length: LONG }, (_, i) => i % 5 === 0 ? -1 : 0);
      const [g] = await read([
        grad((w: Tensor) => embedding(w, tensor(ids)).sum())(zeros([V, 2])) as Tensor,
      ]);
      assertEquals([g[0], g[1], g[2 * V - 2], g[2 * V - 1]], [56_000, 56_000, 14_000, 14_000]);
    }
  },
};

/** Lines with ties, and with NaN near their ends. */
async function sameAsHost(f: (x: Tensor) => Tensor): Promise<void> {
  const x = Float32Array.from({ length: 2 * LONG }, (_, i) => i > 2 * LONG - 9 ? NaN : (i * 7919) % 10_007);
  const [a] = await read([f(tensor(x, { shape: [LONG, 2] }))]);
  const [b] = await read([f(tensor(x, { shape: [LONG, 2], device: "host" }))]);
  assertEquals(a, b);
}

function assertNear(x: number, y: number): void {
  assert(Math.abs(x - y) <= 1e-5 * Math.abs(y), `${x} is not ${y}`);
}

test("no kernel's loop is so long that a device ends it", async (t) => {
  for (const [name, f] of Object.entries(loops)) await t.step(name, f);
  // Loops over the axes of a shape, over rounds of a cipher, or that halve an interval, are short.
  const short = [
    "cat",
    "scatterWindow",
    "gather",
    "embedding",
    "flatIndex",
    "nllLoss",
    "randomBits",
    "foldKey",
    "searchsorted",
    "checkDistribution",
    // Over the elements of a window, of which maxPool takes few enough on a GPU, or over the windows at a place.
    ...["windowArgmax", "windowTake", "windowPut", "unfoldWindows", "foldWindows"],
    // Over a row or a column of a matrix: one fits in memory before it is too long. Rounds and pivots are turns.
    ...["choleskyKernel", "luKernel", "rowOrder", "qrKernel", "eighKernel", "svdKernel", "solveTriangular"],
  ];
  const custom = [...primitives().values()].filter((p) => p.family === "custom").map((p) => p.name);
  assertEquals(custom.filter((name) => !short.includes(name) && !(name in loops)), []);
  await t.step("folds and products", async () => {
    const wide = ones([1, 1]).expand([LONG, 140_000]);
    const [a, b, c, d] = await read([
      ones([LONG, 40]).sum(0),
      ones([40, LONG]).sum(1),
      wide.narrow(1, 0, 40).amax(0),
      ones([2, LONG]).matmul(ones([LONG, 2])),
    ]);
    assertEquals([a[39], b[39], c[39], ...d], [LONG, LONG, 1, ...Array(4).fill(LONG)]);
    for (const n of [1, 40, 256, 4000, 131_072, 1_000_000]) {
      for (const folded of [30_000, LONG, 1_000_000, 2 ** 30]) {
        for (const isSoftware of [false, true]) {
          const { share, splits } = splitDepth(folded, n, { isSoftware });
          // 25 turns for each 16 elements: of the loop over tiles, of filling them, and of multiplying.
          assert(share * 25 / 16 < 65_000 && share * splits >= folded);
          for (const lanesFirst of [false, true]) {
            const { lanes, share, splits } = spread(n, folded, lanesFirst, { isSoftware });
            assert(share / lanes < 32_768 && share * splits >= folded, `${n} ${folded}`);
          }
        }
      }
    }
  });
});
