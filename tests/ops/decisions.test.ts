/** The decisions that laziness forces, one test each: what eager libraries get for free and a graph must earn. */
import { assert, assertAlmostEquals, assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  checkpoint,
  customJvp,
  customVjp,
  dropout,
  enableGrad,
  grad,
  hessian,
  jit,
  jvp,
  linearize,
  manualSeed,
  noGrad,
  ones,
  rand,
  randn,
  scan,
  stack,
  straightThrough,
  sync,
  Tensor,
  tensor,
  tidy,
  valueAndGrad,
  vjp,
  vmap,
  withSeed,
  zeros,
} from "../../mod.ts";
import { collect } from "../../ops/lower.ts";
import type { RunKey } from "../../ops/structure.ts";
import type { Node } from "../../ops/node.ts";
import { test, testEach } from "../support/engines.ts";
import { assertClose } from "../support/numbers.ts";

const key = (...ts: Tensor[]): RunKey => collect(ts.map((t) => t.node)).key;
const parameter = (x: number | number[], name?: string): Tensor =>
  tensor(x, { requiresGrad: true, ...name === undefined ? {} : { name } });
const turn = (): Promise<void> => new Promise((done) => setImmediate(done));

// ---- isolation ------------------------------------------------------------------------------------------------

testEach("isolation: x d/dy(x + y) counts y once", async () => {
  const f = (x: Tensor): Tensor => x.mul(grad((y: Tensor) => x.add(y))(tensor(1)));
  assertEquals(await grad(f)(tensor(1)).item(), 1);
  // The same point for both: what is captured is not what is differentiated by.
  const g = (x: Tensor): Tensor => x.mul(grad((y: Tensor) => x.mul(y))(x));
  assertEquals(await grad(g)(tensor(3)).item(), 6);
});

testEach("isolation: x d/dx(x + y) through jvp, in all four nestings", async () => {
  const one = tensor(1);
  const inner = {
    grad: (x: Tensor) => grad((y: Tensor) => x.mul(y).sin())(tensor(2)),
    jvp: (x: Tensor) => jvp((y: Tensor) => x.mul(y).sin(), [tensor(2)], [one])[1],
    vjp: (x: Tensor) => vjp((y: Tensor) => x.mul(y).sin(), tensor(2))[1](one)[0],
  };
  // d/dx (x cos 2x) = cos 2x - 2x sin 2x.
  const expected = Math.cos(1) - Math.sin(1), at = tensor(0.5);
  for (const f of Object.values(inner)) {
    assertClose([await grad(f)(at).item()], [expected], 1e-6, "grad of it");
    assertClose([await jvp(f, [at], [one])[1].item()], [expected], 1e-6, "jvp of it");
    assertClose([await vjp(f, at)[1](one)[0].item()], [expected], 1e-6, "vjp of it");
    assertClose([await vmap(grad(f))(at.unsqueeze(0)).item()], [expected], 1e-6, "vmap of grad of it");
    assertClose([await jit(grad(f))(at).item()], [expected], 1e-6, "jit of grad of it");
  }
});

testEach("isolation: the same tensor as two arguments is two variables", async () => {
  const x = tensor(3);
  const [a, b] = grad((p: Tensor, q: Tensor) => p.mul(p).mul(q), { argnums: [0, 1] })(x, x);
  assertEquals([await a.item(), await b.item()], [18, 9]);
});

testEach(
  "isolation: a pullback called inside another transform is differentiated by its cotangent",
  async () => {
    // Regression: the second transform's mark had the bit of the first one and was taken away.
    const [, pullback] = vjp((x: Tensor) => x.square(), tensor([1, 2]));
    assertEquals(await grad((ct: Tensor) => pullback(ct)[0].sum())(tensor([5, 7])).toArray(), [2, 4]);
    const [, push] = linearize((x: Tensor) => x.square(), tensor([1, 2]));
    assertEquals(await grad((dx: Tensor) => push(dx).mul(tensor([1, 10])).sum())(tensor([5, 7])).toArray(), [
      2,
      40,
    ]);
    assertEquals(
      await grad((dx: Tensor) => grad((u: Tensor) => push(u).sum())(dx).mul(dx).sum())(tensor([5, 7]))
        .toArray(),
      [2, 4],
    );
  },
);

testEach("isolation: transforms nest to depth 40", async () => {
  let f = (x: Tensor): Tensor => x.mul(0.5).exp();
  for (let i = 0; i < 40; i++) {
    const g = f;
    f = i % 2 === 0 ? (x) => grad(g)(x).mul(2) : (x) => jvp(g, [x], [x.onesLike()])[1].mul(2);
    if (i >= 4) f = ((h) => (x: Tensor) => h(x))(i % 7 === 0 ? f : g);
  }
  assertClose([await f(tensor(0.5)).item()], [Math.exp(0.25)], 1e-5, "derivatives of e^(x/2), scaled");
});

testEach(
  "isolation: backward does not see into a functional gradient's variable, and sees what it captures",
  async () => {
    const w = parameter(3);
    const y = grad((x: Tensor) => x.square().mul(w).sum())(tensor(2)); // 2 x w
    y.backward();
    assertEquals(await w.grad!.item(), 4);
  },
);

testEach("a leaked placeholder is an error that says so, and the engine goes on", async () => {
  let leaked: Tensor | null = null;
  vmap((x: Tensor) => {
    leaked = x.mul(2);
    return x;
  })(tensor([1, 2]));
  await assertRejects(() => leaked!.add(1).data(), Error, "placeholder");
  assertEquals(await tensor([1]).add(1).toArray(), [2]);
});

testEach("grad, vjp and jvp take asynchronous functions that read values", async () => {
  const f = async (x: Tensor): Promise<Tensor> => {
    const big = await x.sum().item() > 2;
    return big ? x.square().sum() : x.sum();
  };
  assertEquals(await (await grad(f)(tensor([1, 2]))).toArray(), [2, 4]);
  assertEquals(await (await grad(f)(tensor([0.5, 1]))).toArray(), [1, 1]);
  const [y, pullback] = await vjp(f, tensor([1, 2]));
  assertEquals([await y.item(), await pullback(tensor(2))[0].toArray()], [5, [4, 8]]);
  const [, dy] = await jvp(f, [tensor([1, 2])], [tensor([1, 0])]);
  assertEquals(await dy.item(), 2);
  const second = grad(async (x: Tensor) =>
    (await grad(async (z: Tensor) => {
      await z.data();
      return z.pow(3).sum();
    })(x)).sum()
  );
  assertEquals(await (await second(tensor([2]))).toArray(), [12]);
});

// ---- cache key ------------------------------------------------------------------------------------------------

test("cache key: JavaScript numbers, slice offsets and random counters are data", () => {
  const x = tensor([1, 2, 3, 4]);
  assertEquals(key(x.mul(2).add(1)), key(x.mul(3).add(-7)));
  assertEquals(key(x.narrow(0, 0, 2)), key(x.narrow(0, 2, 2)));
  assertEquals(key(x.narrow(0, 0, 2).pad([[0, 2]])), key(x.narrow(0, 1, 2).pad([[2, 0]])));
  assertEquals(key(rand([2])), key(rand([2])));
  assertEquals(key(x.clamp(0, 1)), key(x.clamp(-3, 5)));
  assert(key(x.mul(2)) !== key(x.add(2)), "another op is another structure");
  assert(key(x.narrow(0, 0, 2)) !== key(x.narrow(0, 0, 3)), "another length is another structure");
  assert(key(x.mul(2)) !== key(x.unsqueeze(0).mul(2)), "another shape is another structure");
  assert(key(x.sum(), x.amax()) !== key(x.amax(), x.sum()), "the order of roots is structure");
});

test("cache key: a thousand steps of Adam are one structure", async () => {
  const w = tensor([1, 2, 3], { requiresGrad: true }),
    m = zeros([3]),
    v = zeros([3]),
    keys = new Set<RunKey>();
  for (let t = 1; t <= 1000; t++) {
    const loss = w.sub(0.5).square().sum();
    w.zeroGrad();
    loss.backward();
    const [m1, v1] = [m.mul(0.9).add(w.grad!.mul(0.1)), v.mul(0.999).add(w.grad!.square().mul(0.001))];
    const update = m1.div(1 - 0.9 ** t).div(v1.div(1 - 0.999 ** t).sqrt().add(1e-8)).mul(0.01);
    if (t > 2) keys.add(key(loss, w.grad!, m1, v1, update));
    m.assign(m1), v.assign(v1);
    w.assign(noGrad(() => w.sub(update)), "adam.step");
    if (t % 50 === 0) await w.data();
    else if (t % 5 === 0) await turn();
  }
  assert(keys.size <= 3, `${keys.size} structures`);
  assertClose(await w.data(), [0.5, 0.5, 0.5], 1e-2, "and it converges");
});

// ---- values that cross runs -----------------------------------------------------------------------------------

test("values crossing runs: an RNN with carried state keeps its work per step", async () => {
  const w = tensor([[0.5, 0.1], [0.2, 0.3]]), x = tensor([0.1, -0.2]);
  let h = tensor([0, 0]);
  const sizes: number[] = [];
  for (let t = 0; t < 1000; t++) {
    h = w.matmul(h).add(x).tanh();
    const loss = h.square().sum();
    sizes.push(unrealised(loss.node));
    await loss.data();
  }
  assert(
    Math.max(...sizes.slice(3)) <= sizes[2] + 4,
    `nodes to compute: ${sizes.slice(0, 6)} ... ${sizes.slice(-3)}`,
  );
});

/** How many nodes a read would have to compute. */
function unrealised(root: Node): number {
  const seen = new Set<Node>(), todo = [root];
  while (todo.length > 0) {
    const n = todo.pop()!;
    if (seen.has(n) || n.value !== null) continue;
    seen.add(n);
    todo.push(...n.inputs);
  }
  return seen.size;
}

test("values crossing runs: a running total that nobody reads joins the runs of others", async () => {
  let total = tensor(0);
  const w = parameter([1, 2]);
  for (let t = 0; t < 2000; t++) {
    const loss = w.square().sum();
    w.zeroGrad();
    loss.backward();
    total = total.add(loss.detach());
    await turn();
  }
  assert(unrealised(total.node) < 300, `${unrealised(total.node)} nodes are left to compute`);
  assertEquals(await total.item(), 10_000);
});

testEach("values crossing runs: a deep scalar into a checkpoint is no root by itself", async () => {
  // Regression: a tuple deeper than the limit was taken for a running total and made a root.
  let x = tensor(0.5);
  for (let i = 0; i < 70; i++) x = x.mul(1.01);
  const y = checkpoint((c: Tensor) => c.sin())(x);
  assertEquals(await tensor(1).add(1).item(), 2);
  assertClose([await y.item()], [Math.sin(0.5 * 1.01 ** 70)], 1e-5, "its value");
});

// ---- old parameters -------------------------------------------------------------------------------------------

testEach(
  "old parameters: differentiating a graph from before a step names the step; values stay",
  async () => {
    const w = parameter([1, 2], "w");
    const loss = w.square().sum(), other = w.mul(3).sum();
    await loss.data();
    w.assign(tensor([5, 6]), "optimizer.step (step 12)");
    for (const stale of [loss, other, loss.add(1)]) {
      const error = assertThrows(() => stale.backward(), Error, "optimizer.step (step 12)");
      assert(error.message.includes("Compute the loss anew"), error.message);
    }
    assertEquals([await loss.item(), await other.item()], [5, 9]);
    w.square().sum().backward();
    assertEquals(await w.grad!.toArray(), [10, 12]);
  },
);

testEach(
  "old parameters: a tensor computed before assign has the old value, read before or after",
  async () => {
    const w = parameter([1, 2]), y = w.mul(10);
    w.assign(tensor([3, 4]));
    assertEquals([await y.toArray(), await w.toArray()], [[10, 20], [3, 4]]);
    assertEquals([w.version, w.requiresGrad, w.isLeaf], [1, true, true]);
  },
);

testEach("old parameters: assign in terms of itself, twice", async () => {
  const s = tensor(1);
  s.assign(s.mul(2));
  s.assign(s.add(1));
  assertEquals(await s.item(), 3);
});

// ---- jit ------------------------------------------------------------------------------------------------------

testEach("jit and state: captured parameters are read anew at each call", async () => {
  const w = parameter([1, 2]);
  const f = jit((x: Tensor) => w.mul(x).sum());
  assertEquals(await f(tensor([1, 1])).item(), 3);
  w.assign(tensor([10, 20]));
  assertEquals(await f(tensor([1, 1])).item(), 30);
  assertEquals(f.recordings(), 1);
});

testEach("jit and state: a result of jit is differentiated by captured parameters", async () => {
  const w = parameter([1, 2]);
  const f = jit((x: Tensor) => w.mul(x).sum());
  f(tensor([3, 4]));
  f(tensor([5, 6])).backward();
  assertEquals(await w.grad!.toArray(), [5, 6]);
});

testEach("jit and state: a whole training step with backward, .grad and assign inside", async () => {
  const train = async (wrap: (f: (x: Tensor) => Tensor) => (x: Tensor) => Tensor): Promise<number[]> => {
    const w = parameter([1, -2]), count = tensor(0);
    const step = wrap((x: Tensor) => {
      w.zeroGrad();
      const loss = w.mul(x).sub(1).square().sum();
      loss.backward();
      w.assign(noGrad(() => w.sub(w.grad!.mul(0.1))), "sgd.step");
      count.assign(count.add(1));
      return loss;
    });
    const losses: number[] = [];
    for (let i = 0; i < 5; i++) losses.push(await step(tensor([1, 0.5 + i])).item());
    return [...losses, ...await w.data(), await count.item()];
  };
  const plain = await train((f) => f), jitted = await train((f) => jit(f));
  assertClose(jitted, plain, 1e-6, "five steps under jit");
});

testEach("jit and state: gradients accumulate over calls", async () => {
  const w = parameter([1, 2]), f = jit((x: Tensor) => w.mul(x).sum().backward());
  for (let i = 0; i < 3; i++) f(tensor([1, 10]));
  assertEquals(await w.grad!.toArray(), [3, 30]);
  w.zeroGrad();
  f(tensor([1, 10]));
  assertEquals(await w.grad!.toArray(), [1, 10]);
});

testEach("jit and state: random numbers are drawn anew at each call and follow the seed", async () => {
  const f = jit((x: Tensor) => x.add(rand([3])));
  manualSeed(5);
  const a = await f(zeros([3])).toArray(), b = await f(zeros([3])).toArray();
  assert(String(a) !== String(b), "two calls draw two times");
  manualSeed(5);
  assertEquals(await f(zeros([3])).toArray(), a);
  manualSeed(5);
  assertEquals(await zeros([3]).add(rand([3])).toArray(), a, "as without jit");
});

testEach(
  "jit and state: numbers, strings and noGrad in the arguments join the key, new shapes record anew",
  async () => {
    const f = jit((x: Tensor, o: { scale: number; mode: string }) =>
      o.mode === "double" ? x.mul(2 * o.scale) : x.mul(o.scale)
    );
    assertEquals(await f(tensor([1]), { scale: 3, mode: "double" }).toArray(), [6]);
    assertEquals(await f(tensor([1]), { scale: 3, mode: "single" }).toArray(), [3]);
    assertEquals(await f(tensor([1]), { scale: 4, mode: "single" }).toArray(), [4]);
    assertEquals(f.recordings(), 3);
    assertEquals(await f(tensor([1, 2]), { scale: 4, mode: "single" }).toArray(), [4, 8]);
    assertEquals(f.recordings(), 4);
    assertEquals(f.explain().length, 3);
  },
);

testEach(
  "jit and state: JavaScript runs once for a recording, and an error inside leaves nothing behind",
  async () => {
    let calls = 0;
    const w = parameter([1, 2]);
    const f = jit((x: Tensor) => (calls++, w.mul(x).sum()));
    for (let i = 0; i < 4; i++) f(tensor([i, i]));
    assertEquals(calls, 1);
    const broken = jit((x: Tensor) => {
      w.assign(w.mul(2));
      w.grad = w;
      throw new Error(`on purpose ${x.rank}`);
    });
    assertThrows(() => broken(tensor(1)), Error, "on purpose");
    assertEquals([await w.toArray(), w.grad], [[1, 2], null]);
  },
);

testEach("jit nests in every transform and every transform in jit", async () => {
  const f = (x: Tensor): Tensor => x.sin().mul(x).sum(), at = tensor([0.3, -0.7]);
  const g = await grad(f)(at).toArray();
  assertClose(await grad(jit(f))(at).data(), g, 1e-6, "grad of jit");
  assertClose(await jit(grad(jit(f)))(at).data(), g, 1e-6, "jit of grad of jit");
  assertClose(await vmap(jit(grad(f)))(stack([at, at])).data(), [...g, ...g], 1e-6, "vmap of jit of grad");
  const h = await hessian(f)(at).data();
  assertClose(await jit(hessian(jit(f)))(at).data(), h, 1e-6, "jit of hessian of jit");
});

// ---- effects --------------------------------------------------------------------------------------------------

testEach(
  "effects: a running statistic is updated once under checkpoint, however often it is rebuilt",
  async () => {
    const mean = tensor(0), w = parameter(2);
    let calls = 0;
    const layer = checkpoint((x: Tensor) => {
      calls++;
      mean.assign(mean.mul(0.9).add(x.mean().detach().mul(0.1)));
      return x.mul(w).sin();
    });
    layer(tensor([1, 2, 3])).sum().backward();
    assertClose([await mean.item()], [0.2], 1e-6, "the statistic");
    assertEquals(calls, 1);
    const expected = [1, 2, 3].reduce((s, x) => s + x * Math.cos(2 * x), 0);
    assertClose([await w.grad!.item()], [expected], 1e-5, "the gradient");
  },
);

testEach("effects: assigning what all elements share is fine under vmap, what differs is not", async () => {
  const state = tensor(1);
  vmap((x: Tensor) => {
    state.assign(state.mul(2));
    return x;
  })(tensor([1, 2, 3]));
  assertEquals(await state.item(), 2);
  assertThrows(() => vmap((x: Tensor) => (state.assign(x), x))(tensor([1, 2])), Error, "Cannot assign");
  assertEquals(await state.item(), 2);
});

testEach("effects: assigning inside scan is refused, and the cell keeps its value", async () => {
  const state = tensor(1);
  assertThrows(
    () => scan((c: Tensor, x: Tensor) => (state.assign(x), [c, x]), tensor(0), tensor([1, 2])),
    Error,
    "scan",
  );
  assertEquals(await state.item(), 1);
});

// ---- randomness -----------------------------------------------------------------------------------------------

testEach("random numbers: a checkpointed dropout repeats its mask in the backward pass", async () => {
  const w = ones([64]);
  w.requiresGrad = true;
  const y = checkpoint((x: Tensor) => dropout(x, 0.5))(w);
  y.sum().backward();
  assertEquals(await w.grad!.toArray(), await y.toArray());
});

testEach("random numbers: the counter is taken at creation, so recomputation repeats itself", async () => {
  const x = randn([8]);
  const first = await x.mul(1).toArray();
  assertEquals(await x.mul(1).toArray(), first);
  assertEquals(await x.toArray(), first);
  manualSeed(3);
  const [a, b] = [rand([2]), rand([2])];
  const second = await b.toArray(); // read in the other order
  const one = await a.toArray();
  manualSeed(3);
  assertEquals([await rand([2]).toArray(), await rand([2]).toArray()], [one, second]);
});

testEach("random numbers under vmap: error, same, different", async () => {
  const noisy = (x: Tensor): Tensor => x.add(rand([4])), xs = zeros([3, 4]);
  assertThrows(() => vmap(noisy)(xs), Error, "randomness");
  const same = await vmap(noisy, { randomness: "same" })(xs).toArray();
  assertEquals([same[1], same[2]], [same[0], same[0]]);
  const different = await vmap(noisy, { randomness: "different" })(xs).toArray();
  assertEquals(new Set(different.map(String)).size, 3);
});

testEach("random numbers: nested vmap, scan and jit draw all different numbers", async () => {
  // Regression: keys of one level were repeated over the other when both were batched.
  const two = vmap((x: Tensor) => vmap((y: Tensor) => y.add(rand([2])), { randomness: "different" })(x), {
    randomness: "different",
  });
  const flat = await two(zeros([3, 4, 2])).data();
  assertEquals(new Set(flat).size, 24);
  const [, ys] = scan((c: Tensor, x: Tensor) => [c, x.add(rand([3]))], tensor(0), zeros([5, 3]));
  assertEquals(new Set(await ys.data()).size, 15);
  const mapped = vmap((x: Tensor) => scan((c: Tensor, r: Tensor) => [c, r.add(rand([2]))], tensor(0), x)[1], {
    randomness: "different",
  });
  assertEquals(new Set(await mapped(zeros([3, 4, 2])).data()).size, 24);
  assertEquals(new Set(await jit(mapped)(zeros([3, 4, 2])).data()).size, 24);
});

testEach("random numbers: withSeed has its own and leaves those outside alone", async () => {
  manualSeed(1);
  const a = await rand([2]).toArray();
  manualSeed(1);
  const inside = withSeed(9, () => [rand([2]), rand([2])]);
  assertEquals(await rand([2]).toArray(), a);
  assertEquals(await withSeed(9, () => rand([2])).toArray(), await inside[0].toArray());
});

// ---- ambient state --------------------------------------------------------------------------------------------

testEach("ambient state: an awaiting noGrad does not leak to a concurrent task", async () => {
  const w = parameter([1, 2]);
  let inside = false;
  const quiet = noGrad(async () => {
    inside = w.mul(2).requiresGrad;
    await turn();
    await w.mul(2).data();
    inside ||= w.mul(2).requiresGrad;
  });
  const loud = (async () => {
    assert(w.mul(2).requiresGrad, "before the other awaits");
    await turn();
    assert(w.mul(2).requiresGrad, "while the other awaits");
  })();
  await Promise.all([quiet, loud]);
  assertEquals(inside, false);
  assert(w.mul(2).requiresGrad);
});

testEach("ambient state: noGrad ends when its function throws", () => {
  const w = parameter([1]);
  assertThrows(() =>
    noGrad(() => {
      throw new Error("on purpose");
    })
  );
  assert(w.mul(2).requiresGrad);
  assert(noGrad(() => enableGrad(() => w.mul(2))).requiresGrad);
});

testEach(
  "ambient state: a grad entered inside noGrad works, and its result is a constant outside",
  async () => {
    const w = parameter(3);
    const g = noGrad(() => grad((x: Tensor) => x.pow(3))(w));
    assertEquals([await g.item(), g.requiresGrad], [27, false]);
    const outer = grad((x: Tensor) => noGrad(() => grad((y: Tensor) => y.pow(3))(x)).mul(x));
    assertEquals(await outer(tensor(2)).item(), 12);
    const nested = noGrad(() => grad((x: Tensor) => grad((y: Tensor) => y.pow(3))(x))(tensor(2)));
    assertEquals(await nested.item(), 12);
  },
);

testEach("ambient state: tidy disposes what is not returned", async () => {
  let inner: Tensor | null = null;
  const y = tidy(() => {
    inner = tensor([1, 2]).mul(2);
    inner.keep();
    return inner.add(1);
  });
  assertEquals(await y.toArray(), [3, 5]);
});

// ---- custom rules ---------------------------------------------------------------------------------------------

const clipped = customVjp(
  (x: Tensor) => [x.exp(), [x]],
  ([x]: Tensor[], ct: Tensor) => [ct.mul(x.exp().clamp(-1, 1))],
);
/** x^3 with an honest rule: all modes and orders must agree with x.pow(3). */
const cube = customVjp(
  (x: Tensor) => [x.mul(x).mul(x), [x]],
  ([x]: Tensor[], ct: Tensor) => [ct.mul(x.square().mul(3))],
);

testEach("custom rules: customVjp under grad, jvp, vmap, jit, and in their combinations", async () => {
  assertEquals(await grad((x: Tensor) => clipped(x).sum())(tensor([2, -1])).data().then((d) => d[0]), 1);
  const [y, dy] = jvp(clipped, [tensor([2, 0])], [tensor([3, 3])]);
  assertClose(await dy.data(), [3, 3], 1e-6, "jvp transposes the rule");
  assertClose(await y.data(), [Math.exp(2), 1], 1e-5, "the value");
  assertClose(
    await vmap(grad((x: Tensor) => clipped(x)))(tensor([2, -1, 0])).data(),
    [1, Math.exp(-1), 1],
    1e-6,
    "vmap of grad",
  );
  assertClose(
    await grad((x: Tensor) => vmap(clipped)(x).sum())(tensor([2, -1])).data(),
    [1, Math.exp(-1)],
    1e-6,
    "grad of vmap",
  );
  assertClose(await jit(grad((x: Tensor) => clipped(x)))(tensor(2)).data(), [1], 1e-6, "jit of grad");
  assertClose(
    await vmap((x: Tensor) => jvp(clipped, [x], [x])[1])(tensor([2, 1])).data(),
    [2, 1],
    1e-6,
    "vmap of jvp",
  );
});

testEach("custom rules: gradients of gradients through customVjp and customJvp", async () => {
  const forward = customJvp(
    (x: Tensor) => x.mul(x).mul(x),
    ([x]: Tensor[], [dx]: Tensor[]) => dx.mul(x.square().mul(3)),
  );
  for (const f of [cube, forward]) {
    assertClose([await grad(f)(tensor(2)).item()], [12], 1e-6, "first");
    assertClose([await grad(grad(f))(tensor(2)).item()], [12], 1e-6, "second");
    assertClose([await grad(grad(grad(f)))(tensor(2)).item()], [6], 1e-6, "third");
    assertClose([await jvp(grad(f), [tensor(2)], [tensor(1)])[1].item()], [12], 1e-6, "forward over reverse");
    assertClose(
      [await grad((x: Tensor) => jvp(f, [x], [tensor(1)])[1])(tensor(2)).item()],
      [12],
      1e-6,
      "reverse over forward",
    );
    assertClose([await vmap(grad(grad(f)))(tensor([1, 2])).sum().item()], [18], 1e-6, "vmap of the second");
  }
});

testEach(
  "custom rules: straightThrough passes the cotangent, and nothing is computed for unused residuals",
  async () => {
    const q = straightThrough((x: Tensor) => x.round());
    assertEquals(await q(tensor([0.4, 1.6])).toArray(), [0, 2]);
    assertEquals(await grad((x: Tensor) => q(x).mul(tensor([3, 5])).sum())(tensor([0.4, 1.6])).toArray(), [
      3,
      5,
    ]);
    const bad = customVjp(
      (x: Tensor) => [x.mul(2), [x.gather(0, tensor([7], { dtype: "i32" }))]],
      (_: Tensor[], ct: Tensor) => [ct.mul(2)],
    );
    assertEquals(await bad(tensor([1, 2])).toArray(), [2, 4]); // the residual's index is out of range
  },
);

testEach("custom rules: null for an argument is no gradient", async () => {
  const f = customVjp(
    (a: Tensor, b: Tensor) => [a.mul(b), [a, b]],
    ([, b]: Tensor[], ct: Tensor) => [ct.mul(b), null],
  );
  const [da, db] = grad((a: Tensor, b: Tensor) => f(a, b), { argnums: [0, 1] })(tensor(2), tensor(5));
  assertEquals([await da.item(), await db.item()], [5, 0]);
});

testEach(
  "hooks: they run synchronously, in order of registration, on lazy cotangents, and can be removed",
  async () => {
    const w = parameter([1, 2]), y = w.mul(3), log: string[] = [];
    y.registerHook((ct) => {
      log.push("first");
      return ct.mul(2);
    });
    const remove = y.registerHook((ct) => {
      log.push("second");
      return ct.add(1);
    });
    w.registerHook(() => void log.push("leaf"));
    y.sum().backward();
    assertEquals(log, ["first", "second", "leaf"]);
    assertEquals(await w.grad!.toArray(), [9, 9]);
    remove();
    w.zeroGrad();
    w.mul(0).add(y).sum().backward();
    assertEquals(await w.grad!.toArray(), [6, 6]);
  },
);

testEach("hooks: a hook on a parameter outlives its replacement", async () => {
  const w = parameter([1, 2]);
  w.registerHook((ct) => ct.mul(10));
  w.assign(tensor([3, 4]));
  w.mul(2).sum().backward();
  assertEquals(await w.grad!.toArray(), [20, 20]);
});

testEach(
  "backward: accumulates, takes inputs, retains gradients of what was computed, and createGraph",
  async () => {
    const w = parameter([1, 2]), v = parameter([3, 4]);
    const y = w.mul(v).retainGrad(), loss = y.square().sum();
    loss.backward(undefined, { inputs: [w] });
    assertEquals(v.grad, null);
    loss.backward();
    assertEquals(await w.grad!.toArray(), [36, 128]);
    assertEquals(await v.grad!.toArray(), [6, 32]);
    const x = parameter(2);
    x.pow(3).backward(undefined, { createGraph: true });
    const first = x.grad!;
    x.zeroGrad();
    first.backward();
    assertEquals(await x.grad!.item(), 12);
  },
);

// ---- JavaScript's traps ---------------------------------------------------------------------------------------

test("JavaScript's traps: tensors are neither thenable nor callable", async () => {
  // deno-lint-ignore no-explicit-any
  const x = tensor([1, 2]) as any;
  assertEquals([typeof x, typeof x.then, x instanceof Function], ["object", "undefined", false]);
  assert(await x === x, "await gives the tensor itself");
});

test("JavaScript's traps: operators throw, templates show type and shape", () => {
  // deno-lint-ignore no-explicit-any
  const x = tensor([1, 2]) as any;
  for (
    const f of [
      () => x + 1,
      () => 1 + x,
      () => x > 0,
      () => x * 2,
      () => -x,
      () => x == 1,
      () => Math.max(x, 1),
      () => x + "",
    ]
  ) {
    assertThrows(f, TypeError, "operator");
  }
  assertEquals(`${x}`, "Tensor([2], f32)");
});

// ---- depth ----------------------------------------------------------------------------------------------------

const DEEP = 100_000;
function chain(x: Tensor, n: number): Tensor {
  let y = x;
  for (let i = 0; i < n; i++) y = i % 2 === 0 ? y.mul(1.0001) : y.add(0.00001);
  return y;
}
const value = (x: number, n: number): number => {
  let y = x;
  for (let i = 0; i < n; i++) y = i % 2 === 0 ? y * 1.0001 : y + 0.00001;
  return y;
};

testEach(
  "depth: a chain of 100,000 nodes has a value, a gradient by backward, and dies in peace",
  async () => {
    const x = parameter([0.5, -0.25]);
    const y = chain(x, DEEP);
    y.sum().backward();
    assertClose(await y.data(), [value(0.5, DEEP), value(-0.25, DEEP)], 2e-3, "value");
    assertClose(await x.grad!.data(), Array(2).fill(1.0001 ** (DEEP / 2)), 2e-3, "gradient");
  },
  { only: ["reference", "host"] },
);

testEach("depth: jvp, vmap and jit of a chain of 100,000 nodes", async () => {
  const x = tensor([0.5, -0.25]);
  const [, dy] = jvp((t: Tensor) => chain(t, DEEP), [x], [ones([2])]);
  assertClose(await dy.data(), Array(2).fill(1.0001 ** (DEEP / 2)), 2e-3, "jvp");
  assertClose(
    await vmap((t: Tensor) => chain(t, DEEP))(x).data(),
    [value(0.5, DEEP), value(-0.25, DEEP)],
    2e-3,
    "vmap",
  );
  assertClose(
    await jit((t: Tensor) => chain(t, DEEP))(x).data(),
    [value(0.5, DEEP), value(-0.25, DEEP)],
    2e-3,
    "jit",
  );
}, { only: ["host"] });

testEach("depth: a chain of 10,000 nodes, on every engine", async () => {
  const x = parameter([0.5]);
  chain(x, 10_000).sum().backward();
  assertClose(await x.grad!.data(), [1.0001 ** 5000], 2e-3, "gradient");
});

// ---- errors ---------------------------------------------------------------------------------------------------

testEach("a failed run poisons its tensors, and the next run works", async () => {
  const w = tensor([[1, 2], [3, 4]]),
    bad = w.gather(0, tensor([[5, 0]], { dtype: "i32" })),
    dependent = bad.mul(2);
  await assertRejects(() => dependent.data(), RangeError);
  await assertRejects(() => dependent.add(1).data(), RangeError);
  assertEquals(await w.sum().item(), 10);
  await sync().catch(() => {});
  assertEquals(await w.mul(2).sum().item(), 20);
});

testEach("a failed run of a kept tensor does not stop what runs with it later", async () => {
  const w = tensor([1, 2]), bad = w.gather(0, tensor([9], { dtype: "i32" })).keep();
  await turn();
  await assertRejects(() => bad.data(), RangeError);
  assertEquals(await w.add(1).toArray(), [2, 3]);
});

testEach("many reads at once give each its own", async () => {
  const ts = Array.from({ length: 50 }, (_, i) => tensor([i]).mul(2));
  const values = await Promise.all(ts.map((t) => t.item()));
  assertEquals(values, ts.map((_, i) => 2 * i));
});

testEach("valueAndGrad with an auxiliary result differentiates the loss alone", async () => {
  const f = valueAndGrad((x: Tensor) => [x.square().sum(), { twice: x.mul(2) }], { hasAux: true });
  const [[loss, aux], g] = f(tensor([1, 2]));
  assertEquals([await loss.item(), await aux.twice.toArray(), await g.toArray()], [5, [2, 4], [2, 4]]);
});

test("permissions: with none, importing mod.ts asks for nothing and computes on the host", async () => {
  const url = new URL("../../mod.ts", import.meta.url).href;
  const code = `
    const { tensor, grad } = await import(${JSON.stringify(url)});
    const y = await grad((x) => x.square().sum())(tensor([1, 2, 3])).toArray();
    console.log(JSON.stringify(y));
  `;
  const file = await Deno.makeTempFile({ suffix: ".ts" });
  try {
    // Static imports need no permission; a dynamic one of a local file would.
    await Deno.writeTextFile(
      file,
      code.replace(/const (\{[^}]*\}) = await import\(([^)]*)\);/, "import $1 from $2;"),
    );
    const config = new URL("../../deno.json", import.meta.url).pathname;
    const { code: exit, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--no-prompt", "--no-check", "--config", config, file],
      stdout: "piped",
      stderr: "piped",
    }).output();
    const decode = (b: Uint8Array): string => new TextDecoder().decode(b);
    assertEquals(exit, 0, decode(stderr));
    assertEquals(decode(stdout).trim(), "[2,4,6]");
  } finally {
    await Deno.remove(file);
  }
});

test("almost: gradients of f64 have twice the digits", async () => {
  const x = tensor(0.1, { dtype: "f64", device: "host" });
  assertAlmostEquals(await grad((t: Tensor) => t.sin())(x).item(), Math.cos(0.1), 1e-15);
});
