/** Defects that were found, each by name, so that none comes back. */
import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import {
  AnomalyError,
  checkpoint,
  customVjp,
  detectAnomaly,
  grad,
  hvp,
  jacrev,
  jit,
  jvp,
  linearize,
  ones,
  scan,
  SGD,
  Tensor,
  tensor,
  tidy,
  treeMap,
  vjp,
  vmap,
} from "../../mod.ts";
import { userLine } from "../../ops/anomaly.ts";
import { flush } from "../../ops/runs.ts";
import { testEach } from "../support/engines.ts";

// deno-lint-ignore no-explicit-any
type Loose = any;

/** Functions of x that hold w in every way in which a transform can take it. */
const captures: Record<string, (w: Tensor) => (x: Tensor) => Tensor> = {
  "as an operand": (w) => (x) => x.mul(w),
  "as an argument of checkpoint": (w) => (x) => checkpoint((y: Tensor, v: Tensor) => y.mul(v))(x, w),
  "as the first carry of scan": (w) => (x) =>
    scan((c: Tensor, y: Tensor) => [c.mul(y), []] as Loose, w, x.reshape([1]))[0] as Tensor,
  "as what scan emits": (w) => (x) =>
    (scan((c: Tensor, y: Tensor) => [c.mul(y), w] as Loose, x, x.reshape([1]))[1] as Tensor).sum(),
  "as a shared argument of vmap": (w) => (x) =>
    vmap((y: Tensor, v: Tensor) => y.mul(v.square()), { inAxes: [0, null] })(x.reshape([1]), w).sum(),
  "as what vmap returns": (w) => (x) => vmap((_: Tensor) => w)(x.reshape([1])).sum(),
  "under a custom rule in grad": (w) => (x) => {
    const product = customVjp(
      (a: Tensor, b: Tensor) => [a.mul(b), [a, b]] as [Tensor, Tensor[]],
      ([a, b], ct) => [ct.mul(b), ct.mul(a)],
    );
    return grad((z: Tensor) => product(z, w))(x);
  },
  "as the result": (w) => () => w.reshape([]),
  "as grad's auxiliary": (w) => (x) =>
    (grad as Loose)((y: Tensor) => [y.square(), w], { hasAux: true })(x)[1],
  "in a nested jit": (w) => jit((x: Tensor) => jit((y: Tensor) => y.mul(w))(x).add(1)),
};

for (const [how, make] of Object.entries(captures)) {
  testEach(`jit reads a captured tensor anew ${how}`, async () => {
    const w = tensor(2), f = jit(make(w));
    await f(tensor(3)).item();
    w.assign(10);
    assertEquals(await f(tensor(3)).item(), await make(tensor(10))(tensor(3)).item());
  });
}

testEach("a jitted step inside another jit steps each time", async () => {
  const w = tensor(2, { requiresGrad: true }), optimizer = new SGD([w], { lr: 0.1 });
  const step = jit((x: Tensor) => {
    optimizer.zeroGrad();
    const loss = w.mul(x).square();
    loss.backward();
    optimizer.step();
    return loss;
  });
  const outer = jit((x: Tensor) => step(x)), losses: number[] = [];
  for (let i = 0; i < 3; i++) losses.push(await outer(tensor(1)).item());
  [4, 2.56, 1.6384].forEach((expected, i) => assertAlmostEquals(losses[i], expected, 1e-5));
});

testEach("a jitted function that holds part of a finished transform is recorded anew", async () => {
  let v = tensor(1);
  const j = jit((x: Tensor) => x.mul(v).square());
  const f = (u: Tensor): Tensor => {
    v = u;
    return j(tensor(3));
  };
  assertEquals(await grad(f)(tensor(2)).item(), 36);
  assertEquals(await grad(f)(tensor(5)).item(), 90);
});

testEach("trees are matched by their keys, not by the order in which these were written", async () => {
  const [state] = scan(
    (s: Loose, x: Tensor) => {
      const c = s.c.mul(0.5).add(x), h = c.tanh();
      return [{ c, h }, h];
    },
    { h: tensor(0), c: tensor(0) },
    tensor([1, 2, 3]),
  ) as Loose;
  assertAlmostEquals(await state.c.item(), 4.25, 1e-6);
  assertEquals(Object.keys(state), ["h", "c"]);
  const f = (p: Loose): Tensor => p.a.mul(p.a).mul(p.b);
  const at = { a: tensor(2), b: tensor(5) }, turned = { b: tensor(0), a: tensor(1) };
  assertEquals(await (jvp(f as Loose, [at], [turned]) as Loose)[1].item(), 20);
  assertEquals(await (hvp(f as Loose, at, turned) as Loose).a.item(), 10);
  const product = customVjp(
    (p: Loose) => [p.a.mul(p.b), p],
    (p: Loose, ct: Tensor) => [{ b: ct.mul(p.a), a: ct.mul(p.b) }],
  );
  assertEquals(await ((grad(product as Loose) as Loose)(at)).a.item(), 5);
  assertEquals(await (treeMap((x, y) => x.sub(y), at, turned) as Loose).a.item(), 1);
});

testEach("a tree that lacks a place names it", () => {
  const [, pullback] = vjp((p: Loose) => ({ u: p.a, v: p.b }), { a: tensor(1), b: tensor(2) }) as Loose;
  assertThrows(() => pullback({ u: tensor(1), w: tensor(1) }), RangeError, "there is none at .v");
});

testEach("a custom rule may leave out part of a tree", async () => {
  const f = customVjp(
    (p: Loose) => [p.a.mul(p.b), p],
    (p: Loose, ct: Tensor) => [{ a: ct.mul(p.b), b: null }],
  );
  const g = (grad(f as Loose) as Loose)({ a: tensor(2), b: tensor(5) });
  assertEquals([await g.a.item(), await g.b.item()], [5, 0]);
});

testEach("backward inside vmap is refused and spoils no gradient", async () => {
  const w = tensor(2, { requiresGrad: true });
  assertThrows(
    () =>
      vmap((x: Tensor) => {
        x.mul(w).backward();
        return x;
      })(tensor([1, 2])),
    Error,
    "from inside vmap",
  );
  w.mul(3).backward();
  assertEquals(await w.grad!.item(), 3);
});

testEach("retainGrad counts once and comes after the hooks", async () => {
  const y = tensor(2, { requiresGrad: true }).mul(3);
  y.retainGrad().retainGrad();
  y.registerHook((ct) => ct.mul(10));
  y.backward();
  assertEquals(await y.grad!.item(), 10);
});

testEach("tidy keeps gradients, results in trees, and what others share", async () => {
  const w = tensor([1, 2], { requiresGrad: true });
  tidy(() => void w.square().sum().backward());
  assertEquals(await w.grad!.toArray(), [2, 4]);
  const lower = tensor([[1, 2], [3, 4]]).tril();
  tidy(() => void tensor([[1, 2], [3, 4]]).triu().keep());
  assertEquals(await lower.toArray(), [[1, 0], [3, 4]]);
  const { a } = tidy(() => ({ a: tensor([1]).mul(2) }));
  assertEquals(await a.toArray(), [2]);
  assertThrows(() => tidy(() => Promise.resolve(tensor(1))), TypeError, "asynchronous");
});

testEach("means and norms of f16 do not overflow on the way", async () => {
  assertEquals(await ones([100000], { dtype: "f16" }).mean().item(), 1);
  assertEquals(await ones([4096], { dtype: "f16" }).mul(100).variance().item(), 0);
  assertEquals(await ones([4], { dtype: "f16" }).mul(1000).norm().item(), 2000);
});

testEach("jit tells numbers from strings, and 0 from -0", async () => {
  const f = jit((x: Tensor, how: unknown) => x.mul(typeof how === "string" ? 2 : Object.is(how, -0) ? 3 : 5));
  const results = [];
  for (const how of [1, "1", "n1", 0, -0, undefined, "undefined"]) {
    results.push(await f(tensor(1), how).item());
  }
  assertEquals(results, [5, 2, 2, 5, 3, 5, 2]);
});

testEach("vmap takes axes for each tensor of a tree, in and out", async () => {
  const f = vmap((p: Loose, x: Tensor) => ({ y: p.w.mul(x).add(p.b), w: p.w }), {
    inAxes: [{ w: null, b: 0 }, 0],
    outAxes: { y: 0, w: null },
  }) as Loose;
  const out = f({ w: tensor(2), b: tensor([1, 2]) }, tensor([10, 20]));
  assertEquals([await out.y.toArray(), await out.w.item()], [[21, 42], 2]);
});

testEach("a hook that returns a promise, and a cotangent that is no tensor, are named", async () => {
  const w = tensor(2, { requiresGrad: true }), y = w.mul(3);
  y.registerHook((async (ct: Tensor) => await ct) as Loose);
  assertThrows(() => y.backward(), TypeError, "hooks are synchronous");
  assertThrows(() => w.mul(2).backward(3 as Loose), TypeError, "must be a tensor");
  assertEquals(await tensor(1).add(1).item(), 2);
});

testEach("impossible shapes and places are refused", () => {
  assertThrows(() => tensor([1, 2, 3, 4], { shape: [-2, -2] }), RangeError, "-2 is not a length");
  assertThrows(() => tensor([1, 2, 3, 4], { shape: [0.5, 8] }), RangeError, "0.5 is not a length");
  assertThrows(() => tensor([1, 2, 3, 4]).slice([0.5, 2.5]), RangeError, "whole number");
});

testEach("a pullback through scan can be mapped", async () => {
  const powers = (w: Tensor): Tensor =>
    scan((c: Tensor, x: Tensor) => [c.mul(w), c.mul(x)] as [Tensor, Tensor], w, tensor([1, 1, 1]))[1];
  assertEquals(await jacrev(powers)(tensor(2)).toArray(), [1, 4, 12]);
  const [, pullback] = vjp(powers, tensor(2)), rows = tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1]]);
  assertEquals(await vmap((ct: Tensor) => pullback(ct)[0])(rows).toArray(), [1, 4, 12]);
  assertEquals(await jit((ct: Tensor) => pullback(ct)[0])(rows.select(0, 2)).item(), 12);
});

testEach("jit records a pullback and a linear map that were made outside of it", async () => {
  const [, pullback] = vjp((x: Tensor) => x.pow(3), tensor(2));
  assertEquals(await jit((ct: Tensor) => pullback(ct)[0])(tensor(1)).item(), 12);
  const [, push] = linearize((x: Tensor) => x.pow(3), tensor(2));
  assertEquals(await jit((dx: Tensor) => push(dx))(tensor(1)).item(), 12);
  const f = jit((ct: Tensor) => pullback(ct.square())[0]);
  assertEquals(await grad((x: Tensor) => f(x).add(push(x)))(tensor(5)).item(), 132);
});

testEach("backward inside jit does not lose the gradients of what was computed outside", async () => {
  const w = tensor([2], { requiresGrad: true }), v = tensor([3], { requiresGrad: true }), h = w.mul(2);
  const message = "through a tensor of shape [1] that was computed outside";
  const taken = jit((x: Tensor) => (x.mul(v).sum().backward(), x));
  assertThrows(() => taken(h), Error, message);
  assertThrows(() => jit(() => (h.mul(v).sum().backward(), v))(), Error, message);
  assertEquals([w.grad, v.grad], [null, null]);
  taken(h.detach());
  assertEquals(await v.grad!.toArray(), [4]);
  taken(w);
  assertEquals([await v.grad!.toArray(), await w.grad!.toArray()], [[6], [3]]);
});

testEach(
  "gradients accumulate under nested jit, and a failed recording leaves them as they were",
  async () => {
    const w = tensor([1], { requiresGrad: true }), optimizer = new SGD([w], { lr: 1 });
    const inner = jit((x: Tensor) => {
      w.mul(x).sum().backward();
      optimizer.step();
      return x;
    });
    const outer = jit((x: Tensor) => inner(x)), seen = [];
    for (let i = 0; i < 3; i++) {
      outer(tensor([1]));
      seen.push([await w.item(), await w.grad!.item()]);
    }
    assertEquals(seen, [[0, 1], [-2, 2], [-5, 3]]);
    w.grad = null;
    const failing = jit((x: Tensor) => {
      jit((y: Tensor) => (w.mul(y).sum().backward(), y))(x);
      throw new Error("after the inner one");
    });
    assertThrows(() => failing(tensor([1])), Error, "after the inner one");
    assertEquals(w.grad, null);
  },
);

/** The message of the anomaly in what `f` does; `f` has the number of its line. */
async function anomalyIn(f: () => unknown): Promise<{ message: string; line: string; cause?: unknown }> {
  try {
    await detectAnomaly(f);
  } catch (error) {
    if (error instanceof AnomalyError) return error;
    throw error;
  }
  return { message: "none", line: "", cause: null };
}
const lineOf = (error: Error): string => userLine(error.stack!).replace(/:\d+$/, "");

testEach("detectAnomaly does not blame the op that was given a NaN, also after a read", async () => {
  assertEquals((await anomalyIn(() => tensor([NaN]).mul(2).data())).message, "none");
  const inScan = () => scan((c: Tensor, x: Tensor) => [c.add(x), c], tensor(NaN), ones([3]))[0].item();
  assertEquals((await anomalyIn(inScan)).message, "none");
});

testEach("detectAnomaly finds the op and the line inside scan, checkpoint, vmap and jit", async () => {
  let here = "";
  const log = (x: Tensor): Tensor => {
    here = lineOf(new Error()), x = x.log();
    return x;
  };
  const ways: Record<string, () => unknown> = {
    scan: () => scan((c: Tensor, x: Tensor) => [c.add(log(x)), c], tensor(0), tensor([1, 2, 0, 3])),
    checkpoint: () => checkpoint(log)(tensor([1, 0])),
    vmap: () => vmap(log)(tensor([1, 0])),
    jit: () => jit(log)(tensor([1, 0])),
    "scan in vmap": () =>
      vmap((v: Tensor) => scan((c: Tensor, x: Tensor) => [c.add(log(x)), c], tensor(0), v))(
        tensor([[1, 2], [1, 0]]),
      ),
  };
  for (const [way, run] of Object.entries(ways)) {
    const { message, line } = await anomalyIn(run);
    assertStringIncludes(message, "log made the first infinity: ln x", way);
    assertEquals(line.replace(/:\d+$/, ""), here, way);
    assertStringIncludes(
      (await anomalyIn(() => jit(run as () => Loose)())).message,
      "log made",
      `jit of ${way}`,
    );
  }
});

testEach("detectAnomaly finds a backward pass inside checkpoint and scan", async () => {
  const x = tensor([0, 1], { requiresGrad: true });
  const rooted = await anomalyIn(() => checkpoint((t: Tensor) => t.sqrt().sum())(x).backward());
  assertStringIncludes(rooted.message, "the backward pass of sqrt made the first infinity");
  assertStringIncludes(rooted.line, "regressions.test.ts");
  const body = (c: Tensor, t: Tensor) => [c.add(t.sqrt()), c] as [Tensor, Tensor];
  const looped = await anomalyIn(() => scan(body, tensor(0), x)[0].backward());
  assertStringIncludes(looped.message, "the backward pass of sqrt made the first infinity");
});

testEach("detectAnomaly has its say where the loss of NaN ended fit", async () => {
  const w = tensor([0], { requiresGrad: true });
  const { message, cause } = await anomalyIn(async () => {
    if (!Number.isFinite(await w.log().sum().item())) throw new Error("the loss is not finite");
  });
  assertStringIncludes(message, "log made the first infinity");
  assertEquals((cause as Error).message, "the loss is not finite");
});

testEach("reading a placeholder that left its transform does not fail the step that is pending", async () => {
  const w = tensor([1, 2], { requiresGrad: true }),
    optimizer = new SGD([w], { lr: 0.5 }),
    left: Tensor[] = [];
  vmap((x: Tensor) => {
    left.push(x.sin());
    return x;
  })(ones([2, 2]));
  w.square().sum().backward();
  optimizer.step();
  await assertRejects(() => left[0].data(), Error, "placeholder");
  assertEquals(await w.toArray(), [0, 0]);
  await assertRejects(() => left[0].data(), Error, "placeholder");
});

testEach("the sign of -0 is 0, of few elements and of many", async () => {
  for (const n of [1, 20_000]) {
    const signs = await tensor(new Float32Array(n).fill(-0)).sign().data();
    assert(signs.every((v) => Object.is(v, 0)), `of ${n} elements: ${signs[0]}`);
  }
});

testEach(
  "detectAnomaly tells the numbers that an op has read, also of what is broadcast and of products",
  async () => {
    const y = tensor([[1, 2], [3, 4]], { requiresGrad: true });
    const divided = await anomalyIn(() => y.div(tensor([[5], [0]])).sum().data());
    assertStringIncludes(divided.message, "element 2, with x = 3, y = 0");
    const column = await anomalyIn(() => y.div(tensor([7, 0])).sum().data());
    assertStringIncludes(column.message, "element 1, with x = 2, y = 0");
    // An element of a product reads a row and a column.
    const large = tensor([[1, 3e38], [0, 1]], { requiresGrad: true });
    const product = await anomalyIn(() => large.matmul(tensor([[1, 1], [1, 3]])).sum().data());
    assertStringIncludes(product.message, "element 1, with x = [2,2], y = [2,2]");
  },
);

testEach(
  "values with a graph that a loop without steps keeps take no longer the more there are",
  async () => {
    /** Least time of 6,000, each time in a job of its own. */
    const time = async (requiresGrad: boolean): Promise<number> => {
      const x = tensor(2, { requiresGrad });
      let least = Infinity;
      for (let k = 0; k < 3; k++) {
        await new Promise((done) => setImmediate(done));
        const begun = performance.now();
        for (let i = 0; i < 6000; i++) {
          x.mul(i).keep();
          if (i % 64 === 63) flush();
        }
        least = Math.min(least, performance.now() - begun);
      }
      return least;
    };
    const plain = await time(false), tracked = await time(true);
    assert(tracked < 30 * plain, `${(tracked / plain).toFixed(1)} times as long as without a graph`);
  },
  { only: ["host"] },
);
