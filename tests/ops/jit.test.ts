/** Calls of jitted functions as compiled programs: what they make, hand on, give back, and leave to others. */
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  Adam,
  crossEntropy,
  Dropout,
  embedding,
  grad,
  graph,
  jit,
  jvp,
  Linear,
  manualSeed,
  noGrad,
  parameter,
  rand,
  randint,
  randn,
  ReLU,
  rngState,
  Sequential,
  setDefaultDevice,
  stack,
  sync,
  type Tensor,
  tensor,
  tidy,
  vmap,
} from "../../mod.ts";
import { nextSerial } from "../../ops/node.ts";
import { engineOf } from "../../ops/runs.ts";
import { testEach } from "../support/engines.ts";
import { assertClose } from "../support/numbers.ts";

const compiling = { only: ["host", "webgpu"] } as const;
const turn = (): Promise<void> => new Promise((done) => setImmediate(done));

/** Nodes and handles that `f` makes. */
function made(f: () => unknown): number {
  const first = nextSerial();
  f();
  return nextSerial() - first - 1;
}

function chain(n: number): (x: Tensor) => Tensor {
  return (x) => {
    for (let i = 0; i < n; i++) x = x.mul(1.01).add(0.01);
    return x;
  };
}

testEach("a call makes as many nodes as it has results, however long the graph is", async () => {
  const x = await leaf([1, 2]),
    counts = [1, 10, 300].map((n) => {
      const f = jit(chain(n));
      f(x);
      return made(() => f(x));
    });
  assertEquals(new Set(counts).size, 1, `${counts}`);
  assert(counts[0] <= 3, `${counts}`);
}, compiling);

async function leaf(values: number[]): Promise<Tensor> {
  const x = tensor(values);
  await x.data();
  return x;
}

function training(layers: number, p = 0): { step: (x: Tensor, y: Tensor) => Tensor; model: Sequential } {
  const model = new Sequential(
    ...Array.from({ length: layers }, () => [new Linear(4, 4), new ReLU(), new Dropout(p)]).flat(),
  );
  const optimizer = new Adam(model, { lr: 0.05 });
  const step = (x: Tensor, y: Tensor): Tensor => {
    optimizer.zeroGrad();
    const loss = crossEntropy(model.call(x), y);
    loss.backward();
    optimizer.step();
    return loss;
  };
  return { step, model };
}

testEach("a training step makes nodes for its loss, gradients, parameters and states", async () => {
  const x = randn([3, 4]), y = randint(0, 4, [3]);
  const counts = [1, 2, 3].map((layers) => {
    const step = jit(training(layers).step);
    for (let i = 0; i < 2; i++) step(x, y);
    return made(() => step(x, y));
  });
  // Of each layer two gradients with their handles, and two parameters.
  assertEquals([counts[1] - counts[0], counts[2] - counts[1]], [6, 6], `${counts}`);
  await sync();
}, compiling);

testEach("a compiled training step is the plain one, dropout included", async () => {
  const run = async (wrap: <F>(f: F) => F): Promise<number[]> => {
    manualSeed(7);
    const { step, model } = training(2, 0.3), f = wrap(step), losses: Tensor[] = [];
    const x = randn([8, 4]), y = randint(0, 4, [8]);
    for (let i = 0; i < 8; i++) losses.push(f(x, y));
    const values = [...losses, ...model.parameters(), ...model.parameters().map((p) => p.grad!)];
    return (await Promise.all(values.map((t) => t.data()))).flatMap((v) => [...v]);
  };
  const plain = await run((f) => f), jitted = await run(jit as <F>(f: F) => F);
  assertClose(jitted, plain, 1e-4, "losses, parameters and gradients");
});

testEach("memory of what a step replaced is given back, where nothing else sees it", async (b) => {
  const w = parameter(await leaf(new Array(4096).fill(1)));
  const step = jit(() => w.assign(noGrad(() => w.mul(0.5))));
  step();
  const node = w.node;
  step();
  assert(node.value!.error !== null, "the value before is gone");
  assertEquals((await w.data())[0], 0.25);
  await sync();
  const { live } = engineOf(b.device).memory();
  for (let i = 0; i < 50; i++) step();
  const more = engineOf(b.device).memory().live - live;
  assert(more <= 2 * 4 * 4096, `50 steps in one job hold ${more} bytes more`);
}, compiling);

testEach("what somebody sees of a replaced value stays", async () => {
  for (const n of [2, 4096]) {
    const w = parameter(await leaf(Array.from({ length: n }, (_, i) => 1 + i % 2)));
    const step = jit(() => {
      const old = w.mul(1);
      w.assign(noGrad(() => w.mul(2)));
      return old;
    });
    const twice = jit(() => w.mul(2).detach());
    step();
    const ways: [string, () => Tensor, number][] = [
      ["pending", () => w.mul(10), 10],
      ["detached", () => w.detach(), 1],
      ["a view", () => w.reshape([n, 1]), 1],
      ["in a jitted call", () => twice(), 2],
    ];
    for (const [name, see, factor] of ways) {
      const before = [...await w.data()], seen = see();
      step();
      step();
      assertEquals([...await seen.data()], before.map((v) => v * factor), `${name} of ${n}`);
      assertEquals([...await w.data()], before.map((v) => v * 4), `${name} of ${n}`);
    }
    const values = [...await w.data()], read = w.data();
    step();
    step();
    assertEquals([...await read], values, `a read of ${n} under way`);
  }
});

testEach(
  "a jitted step writes over what it replaces: nothing of its model is there twice",
  (b) => {
    const model = new Linear(128, 512), optimizer = new Adam(model, { lr: 0.01 }), x = randn([4, 128]).keep();
    const step = jit(() => {
      optimizer.zeroGrad();
      const loss = model.call(x).square().mean();
      loss.backward();
      optimizer.step();
      return loss;
    });
    for (let i = 0; i < 3; i++) step();
    const engine = engineOf(b.device), { live } = engine.memory();
    engine.resetPeak!();
    step();
    step();
    // The gradient, gathered with the bias's, becomes the update in its place.
    const { peak } = engine.memory(), gradients = 4 * (128 * 512 + 512), most = live + 1.25 * gradients;
    assert(peak <= most, `${peak - live} bytes beside those that stay, at most ${most - live}`);
  },
  { only: ["host", "webgpu"] },
);

testEach("gradients that accumulate under jit do so in place, and whoever holds one keeps it", async () => {
  const w = parameter(await leaf(new Array(4096).fill(3)));
  const step = jit(() => w.square().sum().backward());
  for (let i = 0; i < 3; i++) step();
  const held = w.grad!;
  for (let i = 0; i < 2; i++) step();
  assertEquals([(await held.data())[7], (await w.grad!.data())[7]], [18, 30]);
});

testEach("a result's graph keeps a replaced value that no gradient leads to", async () => {
  const w = parameter(await leaf(new Array(4096).fill(2))),
    x = parameter(await leaf(new Array(4096).fill(1)));
  const step = jit((x: Tensor) => {
    const y = x.mul(w.detach()).sum();
    w.assign(noGrad(() => w.mul(2)));
    return y;
  });
  step(x);
  const y = step(x);
  step(x);
  y.backward();
  assertEquals([(await x.grad!.data())[5], await y.item(), (await w.data())[5]], [4, 4 * 4096, 16]);
});

testEach(
  "a step that fails on the host changes no parameter, though some could have been before",
  async () => {
    const a = parameter(await leaf(new Array(4096).fill(1))),
      table = parameter(await leaf(new Array(4096).fill(1)));
    const step = jit((ids: Tensor) => {
      for (const p of [a, table]) p.grad = null;
      const loss = a.square().sum().add(embedding(table.reshape([4, 1024]), ids).square().sum());
      loss.backward();
      for (const p of [a, table]) p.assign(noGrad(() => p.sub(p.grad!.mul(0.25))));
      return loss;
    });
    for (let i = 0; i < 3; i++) step(tensor([1], { dtype: "i32" }));
    await assertRejects(() => step(tensor([5], { dtype: "i32" })).item(), Error, "5");
    assertEquals([(await a.data())[0], (await table.data())[1024]], [0.125, 0.125]);
    step(tensor([1], { dtype: "i32" }));
    assertEquals([(await a.data())[0], (await table.data())[1024]], [0.0625, 0.0625]);
  },
  { only: ["host"] },
);

testEach("two handles that a call gives one value are two to the next call", async () => {
  const a = parameter(await leaf([1])), b = parameter(await leaf([1]));
  const same = jit(() => {
    const v = noGrad(() => a.mul(2));
    a.assign(v);
    b.assign(v);
    return v;
  });
  const one = jit(() => a.assign(noGrad(() => a.add(1))));
  const over = jit(() => b.assign(a));
  const v = same();
  one();
  one();
  assertEquals([await a.item(), await b.item(), await v.item()], [4, 2, 2]);
  over();
  one();
  one();
  assertEquals([await a.item(), await b.item()], [6, 4]);
});

testEach(
  "an error in a run is that of all results; on the host the call is taken back, elsewhere the next throws",
  async (b) => {
    const w = parameter(await leaf([1, 2, 3])), ids = tensor([7], { dtype: "i32" });
    const step = jit((ids: Tensor) => {
      const y = embedding(w.reshape([3, 1]), ids).sum();
      w.assign(noGrad(() => w.mul(y)));
      return y;
    });
    const good = step(tensor([1], { dtype: "i32" }));
    assertEquals(await good.item(), 2);
    const bad = step(ids);
    await assertRejects(() => bad.item(), Error, "7");
    if (b.name === "host") {
      assertEquals(await w.toArray(), [2, 4, 6]);
      step(ids);
      assertThrows(() => step(tensor([0], { dtype: "i32" })), Error, "7", "nobody had looked at the results");
      assertEquals(await step(tensor([0], { dtype: "i32" })).item(), 2);
      assertEquals(await w.toArray(), [4, 8, 12]);
    } else {
      await assertRejects(() => w.data(), Error, "7");
      assertThrows(() => step(ids), Error, "7");
    }
    assertEquals(await good.item(), 2);
  },
  compiling,
);

testEach("a pure call waits until its results are wanted, and errors go with them", async () => {
  const w = parameter(await leaf([1, 2, 3]));
  const f = jit((ids: Tensor) => embedding(w.reshape([3, 1]), ids).sum().detach());
  f(tensor([9], { dtype: "i32" }));
  const y = f(tensor([9], { dtype: "i32" })), z = y.add(1);
  await assertRejects(() => z.item(), Error, "9");
  assertEquals(await f(tensor([2], { dtype: "i32" })).item(), 3);
}, compiling);

testEach(
  "results are differentiated from outside by what is captured and given, before and after they are read",
  async () => {
    for (const isRead of [false, true]) {
      const w = parameter(await leaf([1, 2])), x = parameter(await leaf([3, 4]));
      const f = jit((x: Tensor) => ({ y: w.mul(x).square().sum(), stopped: w.detach().mul(2) }));
      f(x);
      const { y, stopped } = f(x);
      assertEquals([y.requiresGrad, stopped.requiresGrad], [true, false]);
      if (isRead) assertEquals([await y.item(), await stopped.toArray()], [73, [2, 4]]);
      y.mul(2).backward();
      assertEquals([await w.grad!.toArray(), await x.grad!.toArray()], [[36, 128], [12, 64]]);
      assertEquals(await y.item(), 73);
      const before = f(x).y;
      if (isRead) await before.data();
      w.assign(noGrad(() => w.mul(2)), "sgd.step");
      assertThrows(() => before.backward(), Error, "sgd.step");
    }
  },
);

testEach("a call's random numbers are those of the graph that is drawn out of it later", async () => {
  const w = parameter(await leaf([1, 1, 1, 1])), f = jit(() => w.mul(rand([4])).sum());
  f();
  const y = f(), value = await y.item(), other = await f().item();
  y.backward();
  const sum = [...await w.grad!.data()].reduce((a, v) => a + v, 0);
  assertClose([sum], [value], 1e-6, "the same mask");
  assert(Math.abs(other - value) > 1e-6, "another call draws others");
});

testEach("the picture of a jitted result shows the ops inside", async () => {
  const w = parameter(await leaf([1, 2]));
  w.name = "w";
  const pure = jit((x: Tensor) => w.mul(x).sin().sum());
  const step = jit((x: Tensor) => {
    const y = w.mul(x).cos().sum();
    w.assign(noGrad(() => w.add(1)));
    return y;
  });
  for (const [f, op] of [[pure, "sin"], [step, "cos"]] as const) {
    const text = graph(f(await leaf([3, 4]))).text();
    assert(text.includes(op) && text.includes("w "), text);
  }
});

testEach("calls inside and around transforms, also of what is compiled already", async () => {
  const w = parameter(await leaf([0.5, 2])), x = await leaf([0.3, -0.7]);
  const f = (x: Tensor): Tensor => x.mul(w).sin().sum(), g = jit(f), outer = jit((x: Tensor) => g(x).mul(2));
  for (let i = 0; i < 2; i++) {
    assertClose(await g(x).data(), await f(x).data(), 1e-6, "plain");
    assertClose(await outer(x).data(), await f(x).mul(2).data(), 1e-6, "jit of jit");
    assertClose(await grad(g)(x).data(), await grad(f)(x).data(), 1e-6, "grad");
    assertClose(await grad(outer)(x).data(), await grad(f)(x).mul(2).data(), 1e-6, "grad of jit of jit");
    const rows = stack([x, x.mul(2)]);
    assertClose(await vmap(g)(rows).data(), await vmap(f)(rows).data(), 1e-6, "vmap");
    assertClose(await jvp(g, [x], [x])[1].data(), await jvp(f, [x], [x])[1].data(), 1e-6, "jvp");
    const h = jit(grad(g)), y = h(x);
    assertClose(await y.data(), await grad(f)(x).data(), 1e-6, "jit of grad of jit");
  }
});

testEach("captured tensors are read anew, whatever they were computed from", async () => {
  const base = parameter(await leaf([1, 2])), f = jit((x: Tensor) => x.mul(base).sum());
  assertEquals(await f(tensor([1, 1])).item(), 3);
  base.assign(tensor([5, 5]));
  assertEquals(await f(tensor([1, 1]).add(1)).item(), 20, "pending arguments are computed");
  const pending = f(tensor([1, 1]));
  base.assign(tensor([0, 0]));
  assertEquals(await pending.item(), 10, "a call that waits has the values it was given");
});

testEach("calls of calls without a read between them do not nest without bound", async () => {
  const f = jit((x: Tensor) => x.add(1));
  let x = tensor(0), y = tensor(0);
  for (let i = 0; i < 3000; i++) x = f(x);
  for (let i = 0; i < 3000; i++) y = f(y).mul(1);
  assertEquals([await x.item(), await y.item()], [3000, 3000]);
});

testEach("a new recording says why it was made", () => {
  const w = parameter(tensor([1, 2])), model = new Linear(2, 2);
  w.name = "w";
  const f = jit((x: Tensor, o: { scale: number }) => model.training ? x.mul(w).mul(o.scale) : x);
  const x = tensor([1, 2]);
  f(x, { scale: 1 });
  f(x, { scale: 1 });
  f(x, { scale: 2 });
  f(tensor([[1, 2]]), { scale: 2 });
  f(x.to("i32"), { scale: 2 });
  model.eval();
  f(x, { scale: 1 });
  model.train();
  w.requiresGrad = false;
  f(x, { scale: 1 });
  noGrad(() => f(x, { scale: 1 }));
  const { device } = x;
  assertEquals(f.recordings(), 7);
  assertEquals(f.explain(), [
    "recording 2: argument 1.scale is 2, not 1",
    `recording 3: argument 0 is f32 [1,2] on ${device}, not f32 [2] on ${device}`,
    `recording 4: argument 0 is i32 [2] on ${device}, not f32 [2] on ${device}`,
    "recording 5: training of Linear is false, not true",
    `recording 6: w is f32 [2] on ${device}, not f32 [2] on ${device}, with gradients`,
    "recording 7: noGrad is true, not false",
  ]);
});

testEach(
  "a jitted function around a recorded one follows the mode that the inner one depends on",
  async () => {
    const model = new Linear(1, 1), inner = jit((x: Tensor) => x.mul(model.training ? 2 : 3));
    const outer = jit((x: Tensor) => inner(x).add(1)), x = tensor(1);
    assertEquals(await inner(x).item(), 2);
    assertEquals(await outer(x).item(), 3);
    model.eval();
    assertEquals(await outer(x).item(), 4);
  },
);

testEach("memory stays flat over ten thousand calls", async (b) => {
  const { step } = training(1), f = jit(step), x = randn([3, 4]), y = randint(0, 4, [3]);
  const pure = jit((x: Tensor) => x.mul(2).sum());
  const calls = async (n: number): Promise<void> => {
    for (let i = 0; i < n; i++) {
      f(x, y);
      pure(x);
      if (i % 50 === 0) await turn();
    }
    await f(x, y).item();
    for (let i = 0; i < 3; i++) await turn();
  };
  await calls(1000);
  const before = engineOf(b.device).memory().live;
  await calls(9000);
  const after = engineOf(b.device).memory().live;
  assert(after < 2 * before + 2 ** 22, `${before} bytes, then ${after}`);
}, compiling);

testEach("a recorded step inside another, which clears gradients before, is recorded once", async () => {
  const w = parameter(await leaf([1, 2]));
  const inner = jit((x: Tensor) => {
    w.mul(x).sum().backward();
    return x.sum();
  });
  const x = await leaf([3, 4]);
  inner(x);
  w.zeroGrad();
  inner(x);
  const outer = jit((x: Tensor) => {
    w.zeroGrad();
    return inner(x);
  });
  for (let i = 0; i < 3; i++) outer(x);
  assertEquals([outer.recordings() <= 2, await w.grad!.toArray()], [true, [3, 4]]);
});

testEach("gradients that nobody looked at give their memory back, the others stay", async () => {
  const w = parameter(await leaf([1, 2]));
  const step = jit((x: Tensor) => {
    w.zeroGrad();
    w.mul(x).sum().backward();
  });
  const more = jit((x: Tensor) => w.mul(x).sum().backward());
  step(await leaf([1, 2]));
  const first = w.grad!;
  step(await leaf([3, 4]));
  step(await leaf([5, 6]));
  assertEquals([await first.toArray(), await w.grad!.toArray()], [[1, 2], [5, 6]]);
  more(await leaf([1, 1]));
  more(await leaf([1, 1]));
  assertEquals(await w.grad!.toArray(), [7, 8]);
  const held = w.grad!.mul(2);
  step(await leaf([0, 0]));
  step(await leaf([0, 0]));
  assertEquals(await held.toArray(), [14, 16]);
});

testEach("what a jitted function does to an argument happens to the tensor of each call", async () => {
  const a = parameter(await leaf([1, 2])), b = parameter(await leaf([3, 4]));
  const derive = jit((x: Tensor, y: Tensor) => x.mul(y).sum().backward());
  derive(a, a);
  assertEquals(await a.grad!.toArray(), [2, 4], "both arguments");
  a.zeroGrad();
  derive(b, a);
  assertEquals([await a.grad!.toArray(), await b.grad!.toArray()], [[3, 4], [1, 2]]);
  const descend = jit((x: Tensor) => {
    x.zeroGrad();
    x.square().sum().backward();
    x.assign(noGrad(() => x.sub(x.grad!.mul(0.5))));
    return x.add(1).detach();
  });
  for (const x of [a, b, a]) {
    x.assign(tensor([1, 2]));
    assertEquals(await descend(x).toArray(), [1, 1]);
    assertEquals([await x.toArray(), await x.grad!.toArray()], [[0, 0], [2, 4]]);
  }
  const clear = jit((x: Tensor) => x.zeroGrad()), seen = jit((x: Tensor) => x.grad!.add(1));
  assertEquals([await seen(a).toArray(), await seen(a).toArray()], [[3, 5], [3, 5]]);
  a.grad = tensor([5, 5]);
  assertEquals([await seen(a).toArray(), await seen(b).toArray()], [[6, 6], [3, 5]]);
  clear(a);
  assertEquals([a.grad, await b.grad!.toArray()], [null, [2, 4]]);
  clear(b);
  assertEquals(b.grad, null);
});

testEach("an argument that is also state of the function is the state", async () => {
  const total = await leaf([1, 1]), other = await leaf([5, 5]);
  const add = jit((x: Tensor) => {
    total.assign(total.add(x));
    return x.mul(1);
  });
  assertEquals(await add(other).toArray(), [5, 5]);
  assertEquals(await add(total).toArray(), [12, 12]);
  assertEquals(await add(other).toArray(), [5, 5]);
  assertEquals(await total.toArray(), [17, 17]);
});

testEach("tidy around a first jitted call and inside a jitted function keeps what is needed", async () => {
  const w = parameter(await leaf([1, 2]));
  const step = jit((x: Tensor) => {
    const scale = tensor([2, 2]), y = tidy(() => w.mul(scale).mul(x).sum());
    w.zeroGrad();
    y.backward();
    w.assign(noGrad(() => w.sub(w.grad!)));
    return y.detach();
  });
  for (const expected of [6, -2, -10]) assertEquals(await tidy(() => step(tensor([1, 1]))).item(), expected);
  assertEquals([await w.toArray(), await w.grad!.toArray()], [[-5, -4], [2, 2]]);
});

testEach(
  "an argument may be assigned to before it is trained, in a recording inside another, too",
  async () => {
    const a = parameter(await leaf([1, 2])), b = parameter(await leaf([3, 4]));
    const inner = jit((x: Tensor) => {
      x.zeroGrad();
      x.square().sum().backward();
      x.assign(noGrad(() => x.sub(x.grad!.mul(0.25))));
      return x.sum().detach();
    });
    const outer = jit((x: Tensor) => inner(x).add(inner(x)));
    for (const [x, sum, values] of [[a, 2.25, [0.25, 0.5]], [b, 5.25, [0.75, 1]]] as const) {
      assertEquals([await outer(x).item(), await x.toArray()], [sum, values]);
    }
  },
);

testEach("hooks that come and go after the recording are heard", async () => {
  const w = parameter(await leaf([1, 2]));
  const step = jit((x: Tensor) => {
    w.zeroGrad();
    w.mul(x).sum().backward();
  });
  step(await leaf([1, 1]));
  const remove = w.registerHook((g) => g.mul(3));
  step(await leaf([1, 2]));
  assertEquals(await w.grad!.toArray(), [3, 6]);
  remove();
  step(await leaf([1, 2]));
  assertEquals(await w.grad!.toArray(), [1, 2]);
});

testEach(
  "what a jitted function makes lies on the default device of the call; a seed inside is refused",
  (b) => {
    const f = jit(() => rand([2]));
    f();
    setDefaultDevice("host");
    assertEquals(f().device, "host");
    setDefaultDevice(b.device);
    assertEquals(f().device, b.device);
    const seeded = jit(() => {
      manualSeed(4);
      return rand([2]);
    });
    const before = rngState();
    assertThrows(() => seeded(), Error, "withSeed");
    assertEquals(rngState(), before);
  },
);

testEach(
  "a hook that a jitted function registers on its argument acts once, though it is recorded twice",
  async () => {
    const w = tensor([1, 2], { requiresGrad: true });
    const f = jit((w: Tensor) => {
      w.registerHook((ct) => ct.mul(2));
      w.square().sum().backward();
    });
    for (let i = 0; i < 2; i++) {
      w.zeroGrad();
      f(w);
      assertEquals(await w.grad!.toArray(), [4, 8]);
    }
  },
);

testEach("a recording that fails takes back the hooks that it registered", async () => {
  const w = tensor([1, 2], { requiresGrad: true });
  const f = jit((w: Tensor) => {
    w.registerHook((ct) => ct.mul(2));
    throw new Error("no more");
  });
  assertThrows(() => f(w), Error, "no more");
  w.square().sum().backward();
  assertEquals(await w.grad!.toArray(), [2, 4]);
});
