/** Random tensors: moments and frequencies by fixed seeds, the same bits everywhere, transforms, bad input. */
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  bernoulli,
  categorical,
  exponential,
  grad,
  gumbel,
  jit,
  manualSeed,
  multinomial,
  normal,
  rand,
  randint,
  randintLike,
  randLike,
  randn,
  randnLike,
  randperm,
  type Tensor,
  tensor,
  vmap,
} from "../../mod.ts";
import { byReference, testEach } from "../support/engines.ts";
import { assertClose } from "../support/numbers.ts";

const N = 20_000;

const mean = (x: ArrayLike<number>): number => Array.from(x).reduce((s, v) => s + v, 0) / x.length;
function variance(x: ArrayLike<number>): number {
  const m = mean(x);
  return mean(Array.from(x, (v) => (v - m) ** 2));
}

/** Mean and variance of N numbers are within five standard errors. */
function moments(name: string, draw: () => Tensor, m: number, v: number, fourth: number): void {
  testEach(`${name} has the right mean and variance`, async () => {
    manualSeed(11);
    const x = await draw().data();
    assertEquals(x.length, N);
    assert(Math.abs(mean(x) - m) < 5 * Math.sqrt(v / N), `mean ${mean(x)}, expected ${m}`);
    const error = Math.sqrt((fourth - v * v) / N);
    assert(Math.abs(variance(x) - v) < 5 * error + 1e-3, `variance ${variance(x)}, expected ${v}`);
  });
}

moments("rand", () => rand([N]), 0.5, 1 / 12, 1 / 80);
moments("randn", () => randn([N]), 0, 1, 3);
moments("normal", () => normal(2, 0.5, [N]), 2, 0.25, 3 / 16);
moments("exponential", () => exponential([N]), 1, 1, 9);
moments("exponential of rate 4", () => exponential([N], { rate: 4 }), 0.25, 1 / 16, 9 / 256);
moments("gumbel", () => gumbel([N]), 0.5772156649, Math.PI ** 2 / 6, 5.4 * (Math.PI ** 2 / 6) ** 2);
moments("bernoulli", () => bernoulli(0.3, [N]), 0.3, 0.21, 0.3 * 0.7 ** 4 + 0.7 * 0.3 ** 4);
moments("randint", () => randint(-2, 3, [N]), 0, 2, 6.8);

/** How often each of C classes came. */
function frequencies(x: ArrayLike<number>, C: number): number[] {
  const counts = Array<number>(C).fill(0);
  Array.from(x).forEach((k) => counts[k]++);
  return counts.map((n) => n / x.length);
}

const WEIGHTS = [0, 1, 0, 4, 2, 0, 3, 0];

testEach("classes come as often as their weights say, and never with weight 0", async () => {
  manualSeed(5);
  const w = tensor(WEIGHTS), expected = WEIGHTS.map((v) => v / 10);
  const draws = [multinomial(w, 5000, { replacement: true }), categorical(w.log(), [5000])];
  for (const draw of draws) {
    assertEquals([draw.shape, draw.dtype], [[5000], "i32"]);
    const found = frequencies(await draw.data(), 8);
    found.forEach((f, k) => {
      assert(
        Math.abs(f - expected[k]) <= 5 * Math.sqrt(expected[k] * (1 - expected[k]) / 5000),
        `${k}: ${f} of ${expected[k]}`,
      );
    });
  }
});

testEach("without replacement, each class comes at most once, and first ones as weights say", async () => {
  manualSeed(6);
  const draws = await multinomial(tensor(WEIGHTS).expand([2000, 8]), 4).toArray() as number[][];
  for (const row of draws) assertEquals([...row].sort(), [1, 3, 4, 6]);
  const first = frequencies(draws.map((row) => row[0]), 8);
  first.forEach((f, k) => assert(Math.abs(f - WEIGHTS[k] / 10) < 0.06, `${k}: ${f}`));
  // The second after the first: P(3 then 6) = 0.4 * 3 / 6.
  const both = draws.filter((row) => row[0] === 3 && row[1] === 6).length / draws.length;
  assert(Math.abs(both - 0.2) < 0.05, `${both}`);
});

testEach("randperm holds every number once, and each place gets each number", async () => {
  manualSeed(7);
  for (const n of [0, 1, 10, 3000]) {
    assertEquals([...await randperm(n).data()].sort((a, b) => a - b), Array.from({ length: n }, (_, i) => i));
  }
  const first = await Promise.all(Array.from({ length: 2000 }, async () => (await randperm(4).data())[1]));
  frequencies(first, 4).forEach((f) => assert(Math.abs(f - 0.25) < 0.05, `${f}`));
});

testEach("the same seed gives the same bits on every engine", async (b) => {
  const draw = async (): Promise<number[][]> => {
    manualSeed(99);
    const all = [
      rand([50]),
      randint(-5, 9, [50]),
      randperm(50),
      bernoulli(0.4, [50]),
      rand([50], { dtype: "f16" }),
    ];
    return await Promise.all(all.map(async (t) => [...await t.data()]));
  };
  assertEquals(await draw(), await byReference(b, draw));
});

testEach("the same seed gives the same normal, exponential and Gumbel numbers to a few ulp", async (b) => {
  const draw = async (): Promise<number[][]> => {
    manualSeed(98);
    return await Promise.all(
      [randn([500]), exponential([500]), gumbel([500])].map(async (t) => [...await t.data()]),
    );
  };
  const got = await draw(), want = await byReference(b, draw);
  got.forEach((x, i) => assertClose(x, want[i], 1e-6, `distribution ${i}`));
});

testEach("16-bit uniform numbers stay below 1", async () => {
  manualSeed(3);
  for (const dtype of ["f16", "bf16"] as const) {
    const x = await rand([60_000], { dtype }).data();
    assert(x.every((v) => v >= 0 && v < 1), `${dtype}: ${Math.max(...x.filter((v) => v >= 1))}`);
  }
});

testEach("jit draws anew in each call", async () => {
  manualSeed(1);
  const w = tensor([1, 1, 1, 1, 1, 1]);
  const calls = [
    jit(() => randperm(20)),
    jit(() => bernoulli(0.5, [40])),
    jit(() => multinomial(w, 30, { replacement: true })),
    jit(() => multinomial(w, 6)),
    jit(() => categorical(w, [30])),
    jit(() => gumbel([5])),
  ];
  for (const call of calls) {
    const [a, b, c] = await Promise.all([call(), call(), call()].map((t) => t.toArray()));
    assert(JSON.stringify(a) !== JSON.stringify(b) || JSON.stringify(b) !== JSON.stringify(c));
    assertEquals(call.recordings(), 1);
  }
});

testEach("vmap draws as `randomness` says", async () => {
  const w = tensor([[1, 2, 3, 4], [1, 2, 3, 4]]);
  const draws: ((w: Tensor) => Tensor)[] = [
    (w) => multinomial(w, 25, { replacement: true }),
    (w) => categorical(w.log(), [25]),
    (w) => bernoulli(w.div(5).expand([10, 4])),
    () => randperm(30),
  ];
  for (const f of draws) {
    assertThrows(() => vmap(f)(w), Error, "randomness");
    const [a, b] = await vmap(f, { randomness: "same" })(w).toArray();
    assertEquals(a, b);
    const [c, d] = await vmap(f, { randomness: "different" })(w).toArray();
    assert(JSON.stringify(c) !== JSON.stringify(d));
  }
});

testEach("tensors in the image of others have their shape, type and device", () => {
  const x = tensor([[1, 2, 3], [4, 5, 6]], { dtype: "f16" });
  for (const y of [randLike(x), randnLike(x), randintLike(x, 0, 5)]) {
    assertEquals([y.shape, y.dtype, y.device], [x.shape, x.dtype, x.device]);
  }
  assertEquals(randLike(x, { dtype: "f32" }).dtype, "f32");
});

testEach(
  "gradients reach mean and standard deviation of normal numbers, and stop at probabilities",
  async () => {
    const f = (m: Tensor, s: Tensor): Tensor => {
      manualSeed(4);
      return normal(m, s).sum();
    };
    const [gm, gs] = grad(f, { argnums: [0, 1] })(tensor([1, 2]), tensor([1, 3])) as unknown as Tensor[];
    manualSeed(4);
    assertEquals([await gm.toArray(), await gs.toArray()], [[1, 1], await randn([2]).toArray()]);
    assertEquals(await grad((p: Tensor) => bernoulli(p).sum())(tensor([0.5, 0.5])).toArray(), [0, 0]);
  },
);

testEach("what is no distribution is refused, at once or when it is computed", async () => {
  const half = tensor([0.5, 0.5]);
  const now: [() => unknown, string][] = [
    [() => bernoulli(1.5, [2]), "Cannot draw with probability 1.5: it lies in [0, 1]"],
    [() => bernoulli(0.5), "give it, as in bernoulli(0.5, [2, 3])"],
    [() => normal(0, 1), "give one, as in normal(0, 1, [2, 3])"],
    [() => normal(0, -1, [2]), "standard deviation -1"],
    [() => exponential([2], { rate: 0 }), "rate 0"],
    [() => randperm(1.5), "Cannot draw an order of 1.5 numbers"],
    [() => multinomial(half, 3), "Cannot draw 3 of 2 classes: give a whole number from 1, at most 2 without"],
    [() => multinomial(half, 0, { replacement: true }), "Cannot draw 0 of 2 classes"],
    [() => multinomial(tensor(1), 1), "the last axis holds the classes"],
    [() => categorical(tensor([[], []])), "the last axis holds the classes"],
    [() => rand([2], { dtype: "i32" }), "see randint"],
  ];
  for (const [f, part] of now) assert(assertThrows(f).message.includes(part), part);
  const later: [() => Tensor, string][] = [
    [() => bernoulli(tensor([0.5, 1.5])), "Cannot draw by these numbers: probabilities lie in [0, 1]"],
    [() => bernoulli(tensor([NaN])), "probabilities lie in [0, 1]"],
    [() => normal(0, tensor([1, -1])), "standard deviations are at least 0"],
    [() => multinomial(tensor([1, -1]), 1), "weights are finite and at least 0"],
    [() => multinomial(tensor([[1, 1], [0, 0]]), 1), "weights of which 0 are possible: at least 1 must be"],
    [() => multinomial(tensor([1, 0, 1]), 3), "weights of which 2 are possible: at least 3 must be"],
    [() => multinomial(tensor([1, Infinity]), 5, { replacement: true }), "weights are finite"],
    [() => categorical(tensor([0, NaN])), "logits are finite or -Infinity"],
    [() => categorical(tensor([-Infinity, -Infinity])), "logits of which 0 are possible"],
  ];
  for (const [f, part] of later) {
    const { message } = await assertRejects(() => f().data(), RangeError);
    assert(message.includes(part), `${message}: ${part}`);
  }
  assertEquals(await half.toArray(), [0.5, 0.5]);
});
