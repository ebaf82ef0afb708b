/** scan, cond and whileLoop: what they compute, keep and leave out, beyond what the laws say of every op. */
import { assert, assertAlmostEquals, assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  cond,
  dropout,
  grad,
  hessian,
  jit,
  jvp,
  manualSeed,
  scan,
  type ScanOptions,
  type Tensor,
  tensor,
  vjp,
  vmap,
  whileLoop,
} from "../../mod.ts";
import { createHostEngine } from "../../gpu/host/engine.ts";
import { collect, lower } from "../../ops/lower.ts";
import { setEngine } from "../../ops/runs.ts";
import { testEach } from "../support/engines.ts";
import { assertClose, draw, random } from "../support/numbers.ts";

const numbers = (n: number, seed = 1): number[] => draw(random(seed), n, [-1, 1]);
type Checkpoint = NonNullable<ScanOptions["checkpoint"]>;
const MODES: Checkpoint[] = ["sqrt", "all", false];

/** The gradient of a recurrent net's last state by its first, which has T steps of width D. */
function recurrent(T: number, D: number, checkpoint: Checkpoint): Tensor {
  const a = tensor(numbers(D)), xs = tensor(numbers(T * D, 2), { shape: [T, D] });
  const loss = (h: Tensor): Tensor =>
    scan((h: Tensor, x: Tensor) => [h.mul(a).add(x).tanh(), []], h, xs, { checkpoint })[0].square().sum();
  return grad(loss)(tensor(numbers(D, 3)));
}

testEach("scan by default keeps 2 sqrt(T) carries for reverse mode, not T values", async () => {
  const T = 1000, D = 256, carry = 4 * D;
  const bytes = async (checkpoint: Checkpoint): Promise<number> => {
    const engine = createHostEngine();
    setEngine(engine); // testEach sets it back
    await recurrent(T, D, checkpoint).data();
    const { peak, live } = engine.memory();
    return peak - live;
  };
  const [sqrt, all, none] = [await bytes("sqrt"), await bytes("all"), await bytes(false)];
  assert(sqrt <= 80 * carry, `${sqrt / carry} carries; 2 sqrt(1,000) = 63`);
  assert(none >= 1000 * carry && all >= 1000 * carry, "what they are compared with");
  assert(none / sqrt > 12, `14 times less than keeping everything, here ${none / sqrt}`);
  assert(
    all / sqrt > 24,
    `28 times less than keeping each carry and what it is stacked to, here ${all / sqrt}`,
  );
}, { only: ["host"] });

testEach("scan rebuilds with one more forward pass and no second", () => {
  const T = 100;
  const products = (checkpoint: Checkpoint): number => {
    const w = tensor(numbers(16), { shape: [4, 4] }), xs = tensor(numbers(4 * T), { shape: [T, 4] });
    const loss = (h: Tensor): Tensor =>
      scan((h: Tensor, x: Tensor) => [h.matmul(w).add(x).tanh(), []], h, xs, { checkpoint })[0].sum();
    const { steps } = lower(collect([grad(loss)(tensor(numbers(4))).node]));
    return steps.filter((s) => s.op?.family === "contraction").length;
  };
  // A step forwards and a step backwards have one product each; the last of a segment need not be rebuilt.
  assertEquals(MODES.map(products), [3 * T - 10, 3 * T - 1, 2 * T]);
}, { only: ["host"] });

testEach("scan gives the same however it is checkpointed, random masks too", async (b) => {
  for (const T of [0, 1, 2, 7, 12, 23]) {
    const xs = tensor(numbers(3 * T), { shape: [T, 3] });
    const results: ArrayLike<number>[] = [];
    for (const checkpoint of MODES) {
      manualSeed(5);
      const f = (h: Tensor): Tensor => {
        const [last, ys] = scan(
          (h: Tensor, x: Tensor) => [dropout(h.mul(0.9).add(x), 0.3).sin(), h.square()],
          h,
          xs,
          { checkpoint, reverse: T % 2 === 1 },
        );
        return last.sum().add(ys.sum());
      };
      results.push(await grad(f)(tensor(numbers(3, 4))).data());
    }
    for (const r of results) assertClose(r, results[0], b.device === "host" ? 1e-6 : 2e-5, `T = ${T}`);
  }
});

testEach("scan carries, reads and stacks any trees", async () => {
  const [last, { y, pair }] = scan(
    ({ a, rest: [b] }, { x, more: { z } }) => [
      { a: a.add(x), rest: [b.mul(z)] },
      { y: a, pair: [x.add(z), b] },
    ],
    { a: tensor(1), rest: [tensor([1, 2])] },
    { x: tensor([1, 2, 3, 4, 5]), more: { z: tensor([1, 2, 1, 2, 1]) } },
  );
  assertEquals(await last.a.item(), 16);
  assertEquals(await last.rest[0].toArray(), [4, 8]);
  assertEquals(await y.toArray(), [1, 2, 4, 7, 11]);
  assertEquals(await pair[0].toArray(), [2, 4, 4, 6, 6]);
  assertEquals(await pair[1].toArray(), [[1, 2], [1, 2], [2, 4], [2, 4], [4, 8]]);
});

testEach("scan has third derivatives, under vmap and jit", async (b) => {
  const xs = [0.1, 0.2, 0.3, 0.4, 0.5];
  const f = (w: Tensor): Tensor =>
    scan((s: Tensor, x: Tensor) => [s.mul(w).sin().add(x), []], w, tensor(xs, { dtype: b.float }))[0];
  const unrolled = (w: Tensor): Tensor => xs.reduce((s, x) => s.mul(w).sin().add(x), w);
  const third = (g: (w: Tensor) => Tensor) =>
    jit(vmap(grad(grad((w: Tensor) => jvp(g, [w], [w.onesLike()])[1]))));
  const at = tensor([0.5, -0.3, 1.2], { dtype: b.float });
  const expected = await third(unrolled)(at).data();
  assertClose(await third(f)(at).data(), expected, b.float === "f64" ? 1e-10 : 1e-4, "third derivative");
});

testEach("cond gives the branch that the predicate chooses", async () => {
  const f = (x: Tensor): Tensor => cond(x.sum().gt(0), (t: Tensor) => t.mul(2), (t: Tensor) => t.neg(), x);
  assertEquals(await f(tensor([1, 2])).toArray(), [2, 4]);
  assertEquals(await f(tensor([-1, -2])).toArray(), [1, 2]);
  assertEquals(await jit(grad((x: Tensor) => f(x).sum()))(tensor([-1, -2])).toArray(), [-1, -1]);
});

testEach("cond with a JavaScript boolean calls one function only", async () => {
  const never = (): Tensor => {
    throw new Error("called");
  };
  assertEquals(await cond(true, (x: Tensor) => x.add(1), never, tensor(1)).item(), 2);
  assertEquals(await cond(false, never, (x: Tensor) => x.sub(1), tensor(1)).item(), 0);
});

testEach("the branch that cond does not take leaks no NaN into any derivative", async () => {
  // At 0 the derivatives of the root, of the logarithm and of 1/x are infinite.
  const f = (x: Tensor): Tensor =>
    cond(x.gt(0), (t: Tensor) => t.sqrt().add(t.log()).add(t.reciprocal()), (t: Tensor) => t.square(), x);
  const zero = tensor(0);
  assertEquals(await f(zero).item(), 0);
  assertEquals(await grad(f)(zero).item(), 0);
  assertEquals(await jvp(f, [zero], [tensor(1)])[1].item(), 0);
  assertEquals(await grad(grad(f))(zero).item(), 2);
  assertEquals(await hessian(f)(zero).item(), 2);
  assertEquals(await grad((x: Tensor) => jvp(f, [x], [tensor(1)])[1])(zero).item(), 2);
  assertEquals(await jit(vmap(grad(grad(f))))(tensor([0, -1])).toArray(), [2, 2]);
  const at = tensor(0, { requiresGrad: true });
  f(at).backward();
  assertEquals(await at.grad!.item(), 0);
});

testEach(
  "under vmap each element chooses, and what they share gets no NaN from those that did not",
  async () => {
    const g = (w: Tensor): Tensor =>
      vmap((x: Tensor) => cond(x.gt(0), (t: Tensor) => t.mul(w.sqrt()), (t: Tensor) => t.mul(w), x))(
        tensor([-1, -2]),
      ).sum();
    assertEquals(await grad(g)(tensor(0)).item(), -3);
    const h = (x: Tensor, w: Tensor): Tensor => cond(x.gt(0), () => x.mul(w), () => x.square().mul(w));
    assertEquals(await vmap(h)(tensor([2, -3]), tensor([10, 10])).toArray(), [20, 90]);
    assertEquals(await grad((x: Tensor) => vmap(h)(x, tensor([10, 10])).sum())(tensor([2, -3])).toArray(), [
      10,
      -60,
    ]);
  },
);

testEach("cond takes and returns trees, and whole numbers pass", async () => {
  const pick = (n: Tensor): { x: Tensor; parts: Tensor[] } =>
    cond(
      n.gt(2),
      ({ a }: { a: Tensor[] }) => ({ x: a[0], parts: [n.mul(2)] }),
      ({ a }: { a: Tensor[] }) => ({ x: a[1], parts: [n] }),
      { a: [tensor([1, 2]), tensor([3, 4])] },
    );
  const high = pick(tensor(5, { dtype: "i32" })), low = pick(tensor(1, { dtype: "i32" }));
  assertEquals([await high.x.toArray(), await high.parts[0].item()], [[1, 2], 10]);
  assertEquals([await low.x.toArray(), await low.parts[0].item(), low.parts[0].dtype], [[3, 4], 1, "i32"]);
});

const isLarge = (x: Tensor): Tensor => x.gt(1), shrink = (x: Tensor): Tensor => x.mul(x).div(20);

testEach("whileLoop with a bound stops where the condition fails, and at the bound", async () => {
  const loop = (x: Tensor, maxSteps: number): Tensor => whileLoop(isLarge, shrink, x, { maxSteps });
  assertEquals(await loop(tensor(10), 9).item(), 1.25 * 1.25 / 20);
  assertEquals(await loop(tensor(10), 1).item(), 5);
  assertEquals(await loop(tensor(10), 0).item(), 10);
  assertEquals(await loop(tensor(0.5), 4).item(), 0.5);
  const counted = vmap((x: Tensor) =>
    whileLoop(
      ({ x }) => isLarge(x),
      ({ x, n }) => ({ x: shrink(x), n: n.add(1) }),
      { x, n: tensor(0, { dtype: "i32" }) },
      { maxSteps: 9 },
    ).n
  )(tensor([10, 0.5, 4, 19]));
  assertEquals(await counted.toArray(), [3, 0, 1, 6]);
});

testEach("whileLoop with a bound has all derivatives; steps after the end leak no NaN", async () => {
  // Three steps: x^8 / 20^7. The body divides by zero once the loop is over.
  const f = (x: Tensor): Tensor =>
    whileLoop(
      ({ left }) => left.gt(0),
      ({ x, left }) => ({ x: x.mul(x).div(20).mul(left.div(left)), left: left.sub(1) }),
      { x, left: tensor(3) },
      { maxSteps: 7 },
    ).x;
  const x = tensor(10);
  assertAlmostEquals(await grad(f)(x).item(), 8 * 10 ** 7 / 20 ** 7, 1e-6);
  assertAlmostEquals(await jvp(f, [x], [tensor(1)])[1].item(), 8 * 10 ** 7 / 20 ** 7, 1e-6);
  assertAlmostEquals(await jit(grad(grad(f)))(x).item(), 56 * 10 ** 6 / 20 ** 7, 1e-7);
});

testEach("whileLoop without a bound is awaited, whatever the number of steps between looks", async () => {
  for (const every of [1, 3, 8]) {
    assertEquals(await (await whileLoop(isLarge, shrink, tensor(10), { every })).item(), 1.25 * 1.25 / 20);
  }
  assertEquals(await (await whileLoop(isLarge, shrink, tensor(0.5))).item(), 0.5);
  let steps = 0;
  await whileLoop(() => steps < 5, (x: Tensor) => (steps++, x), tensor(1), { every: 1 });
  assertEquals(steps, 5);
});

testEach("whileLoop without a bound has derivatives in asynchronous functions", async () => {
  const f = (x: Tensor): Promise<Tensor> => whileLoop(isLarge, shrink, x, { every: 2 });
  const x = tensor(10), slope = 8 * 10 ** 7 / 20 ** 7;
  assertAlmostEquals(await (await grad(f)(x)).item(), slope, 1e-6);
  assertAlmostEquals(await (await jvp(f, [x], [tensor(1)]))[1].item(), slope, 1e-6);
  assertAlmostEquals(await (await vjp(f, x))[1](tensor(1))[0].item(), slope, 1e-6);
  const second = await jvp(async (x: Tensor) => (await jvp(f, [x], [tensor(1)]))[1], [x], [tensor(1)]);
  assertAlmostEquals(await second[1].item(), 56 * 10 ** 6 / 20 ** 7, 1e-7);
});

for (
  const [name, call] of [
    ["jit", (f: (x: Tensor) => Tensor) => jit(f)(tensor(1))],
    ["vmap", (f: (x: Tensor) => Tensor) => vmap(f)(tensor([1]))],
    ["scan", (f: (x: Tensor) => Tensor) => scan((c: Tensor) => [f(c), []], tensor(1), null, { length: 2 })],
    ["cond", (f: (x: Tensor) => Tensor) => cond(tensor(true), f, f, tensor(1))],
  ] as const
) {
  testEach(`whileLoop without a bound is refused inside ${name}, which says how to bound it`, () => {
    const f = (x: Tensor): Tensor => whileLoop(isLarge, shrink, x) as unknown as Tensor;
    assertThrows(() => call(f), Error, `Cannot loop inside ${name} without a bound`);
    assertThrows(() => call(f), Error, "{ maxSteps }");
  });
}

// deno-lint-ignore no-explicit-any
type Loose = any;

for (
  const [name, call, kind, part] of [
    [
      "branches of other shapes",
      () => cond(tensor(true), (x: Tensor) => x, (x: Tensor) => x.sum(), tensor([1, 2])),
      RangeError,
      "thenFn gives [2], f32 and elseFn [], f32",
    ],
    [
      "branches of other types",
      () => cond(tensor(true), (x: Tensor) => ({ y: x }), (x: Tensor) => ({ y: x.to("i32") }), tensor(1)),
      RangeError,
      "[], f32 at .y and elseFn [], i32",
    ],
    [
      "branches of other structure",
      () => cond(tensor(true), (x: Tensor) => ({ a: x }) as Loose, (x: Tensor) => ({ b: x }), tensor(1)),
      RangeError,
      "a tensor at .a and elseFn nothing",
    ],
    [
      "branches of other numbers",
      () => cond(tensor(true), () => [1] as Loose, () => [2]),
      RangeError,
      "1 at [0] and elseFn 2",
    ],
    [
      "a predicate of numbers",
      () => cond(tensor(1), (x: Tensor) => x, (x: Tensor) => x, tensor(1)),
      TypeError,
      "must be bool; compare it",
    ],
    [
      "a predicate with axes",
      () => cond(tensor([true]), (x: Tensor) => x, (x: Tensor) => x, tensor(1)),
      RangeError,
      "shape [1]: it must be a scalar",
    ],
    [
      "a predicate to be awaited",
      () => cond(Promise.resolve(true) as Loose, (x: Tensor) => x, (x: Tensor) => x, tensor(1)),
      TypeError,
      "is an await missing?",
    ],
    [
      "an assignment in a branch",
      () => {
        const state = tensor(0);
        cond(tensor(true), (x: Tensor) => (state.assign(x), x), (x: Tensor) => x, tensor(1));
      },
      Error,
      "Cannot assign to a tensor inside cond",
    ],
    [
      "an unknown checkpoint",
      () => scan((c: Tensor) => [c, []], tensor(1), null, { length: 2, checkpoint: "none" as Loose }),
      TypeError,
      `"sqrt", "all" or false`,
    ],
    [
      "a loop over nothing",
      () => whileLoop(() => true, (x: Loose) => x, [] as Loose, { maxSteps: 3 }),
      TypeError,
      "without any tensor",
    ],
    [
      "a loop whose state changes",
      () => whileLoop(() => true, (x: Tensor) => x.reshape([1]), tensor(1), { maxSteps: 3 }),
      RangeError,
      "the state gives [], f32 and bodyFn [1], f32",
    ],
    [
      "a loop of a fraction of steps",
      () => whileLoop(isLarge, shrink, tensor(1), { maxSteps: 1.5 }),
      RangeError,
      "maxSteps 1.5",
    ],
    [
      "a condition of numbers",
      () => whileLoop((x: Tensor) => x, shrink, tensor(1), { maxSteps: 3 }),
      TypeError,
      "must be bool",
    ],
  ] as [string, () => unknown, new (...x: Loose[]) => Error, string][]
) {
  testEach(`refused: ${name}`, () => {
    assertThrows(call, kind, "Cannot ");
    assertThrows(call, kind, part);
  });
}

testEach("refused: an asynchronous body of a loop", async () => {
  const body = ((x: Tensor) => Promise.resolve(x)) as Loose;
  await assertRejects(
    () => whileLoop(isLarge, body, tensor(3)) as Promise<Tensor>,
    TypeError,
    "asynchronous body",
  );
});
