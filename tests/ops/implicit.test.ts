/** Implicit differentiation: roots, linear solves and fixed points against closed forms, unrolling and differences. */
import { assert, assertAlmostEquals, assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  cg,
  customLinearSolve,
  customRoot,
  fixedPoint,
  gmres,
  grad,
  jit,
  jvp,
  rootFind,
  stack,
  type Tensor,
  tensor,
  treeLeaves,
  vjp,
  vmap,
} from "../../mod.ts";
import { collect, lower } from "../../ops/lower.ts";
import { testEach } from "../support/engines.ts";
import { assertClose, draw, random, read } from "../support/numbers.ts";

// deno-lint-ignore no-explicit-any
type Loose = any;

const EXACT = { only: ["reference", "host"] as const };
const f64 = (x: Loose, shape?: number[]): Tensor =>
  tensor(x, { dtype: "f64", ...shape === undefined ? {} : { shape } });
const numbers = (n: number, seed: number, scale = 1): number[] => draw(random(seed), n, [-scale, scale]);

/** Newton's method for functions of each element. */
function newton(f: (x: Tensor) => Tensor, x: Tensor): Tensor {
  for (let i = 0; i < 12; i++) x = x.sub(f(x).div(grad((t: Tensor) => f(t).sum())(x)));
  return x;
}

const sqrt = (a: Tensor): Tensor =>
  customRoot((x: Tensor) => x.square().sub(a), a, newton, (g, b: Tensor) => b.div(g(b.onesLike())));

testEach("the derivatives of the square root, as a root, are its own to third order", async (b) => {
  const a = tensor(4, { dtype: b.float }), close = b.float === "f64" ? 1e-12 : 1e-6;
  const one = a.onesLike(), third = grad(grad(grad(sqrt)));
  const values = await read([
    sqrt(a),
    grad(sqrt)(a),
    jvp(sqrt, [a], [one])[1],
    grad(grad(sqrt))(a),
    jvp(grad(sqrt), [a], [one])[1],
    grad((t: Tensor) => jvp(sqrt, [t], [one])[1])(a),
    third(a),
    jit(third)(a),
  ]);
  const expected = [2, 1 / 4, 1 / 4, -1 / 32, -1 / 32, -1 / 32, 3 / 256, 3 / 256];
  assertClose(values.map((v) => v[0]), expected, close, "derivatives");
});

testEach("a root under vmap and jit, and vmap inside a gradient", async (b) => {
  const a = tensor([1, 4, 9], { dtype: b.float }), close = b.float === "f64" ? 1e-12 : 1e-5;
  assertClose(await vmap(sqrt)(a).data(), [1, 2, 3], close, "vmap");
  assertClose(await jit(vmap(grad(sqrt)))(a).data(), [1 / 2, 1 / 4, 1 / 6], close, "vmap of grad");
  assertClose(
    await grad((t: Tensor) => vmap(sqrt)(t).sum())(a).data(),
    [1 / 2, 1 / 4, 1 / 6],
    close,
    "grad of vmap",
  );
  assertClose(await vmap(grad(grad(sqrt)))(a).data(), [-1 / 4, -1 / 32, -1 / 108], close, "second order");
});

testEach("a root's solver may wait, read and stop where it wants; by backward too", async () => {
  let steps = 0;
  const find = (a: Tensor): Promise<Tensor> =>
    customRoot(
      (x: Tensor) => x.square().sub(a),
      a,
      async (f: (x: Tensor) => Tensor, x: Tensor) => {
        for (; Math.abs(await f(x).item()) > 1e-5; steps++) x = x.sub(f(x).div(x.mul(2)));
        return x;
      },
      (g, b: Tensor) => b.div(g(b.onesLike())),
    );
  assertAlmostEquals(await (await grad(find)(tensor(9))).item(), 1 / 6, 1e-6);
  assert(steps > 2 && steps < 10);
  const a = tensor(9, { requiresGrad: true });
  (await find(a)).backward();
  assertAlmostEquals(await a.grad!.item(), 1 / 6, 1e-6);
});

testEach("roots of trees: two coupled unknowns", async () => {
  // x + y = s, x y = q: x and y are the roots of t^2 - s t + q.
  const f = (p: { s: Tensor; q: Tensor }): { x: Tensor; y: Tensor } =>
    rootFind(
      ({ x, y }: { x: Tensor; y: Tensor }) => ({ x: x.add(y).sub(p.s), y: x.mul(y).sub(p.q) }),
      { x: f64(0.5), y: f64(4) },
      { maxSteps: 10 },
    );
  const at = { s: f64(5), q: f64(6) };
  const found = f(at);
  assertClose([await found.x.item(), await found.y.item()], [2, 3], 1e-12, "roots");
  // dx/ds = x / (x - y), dx/dq = -1 / (x - y).
  const g = grad((p: typeof at) => f(p).x)(at);
  assertClose([await g.s.item(), await g.q.item()], [-2, 1], 1e-10, "gradient");
}, EXACT);

/** x with A x = b, by Gauss and Jordan, differentiable by itself: A has a strong diagonal. */
function eliminate(A: Tensor, b: Tensor): Tensor {
  const n = b.size,
    rows = Array.from({ length: n }, (_, i) => A.select(0, i)),
    right = rows.map((_, i) => b.select(0, i));
  for (let k = 0; k < n; k++) {
    for (let i = 0; i < n; i++) {
      if (i === k) continue;
      const factor = rows[i].select(0, k).div(rows[k].select(0, k));
      rows[i] = rows[i].sub(rows[k].mul(factor));
      right[i] = right[i].sub(right[k].mul(factor));
    }
  }
  return stack(right.map((t, i) => t.div(rows[i].select(0, i))));
}

/** The matrix of a linear function on vectors `[n]`. */
const matrixOf = (f: (x: Tensor) => Tensor, n: number): Tensor =>
  stack(Array.from({ length: n }, (_, i) => f(f64(Array.from({ length: n }, (_, k) => k === i ? 1 : 0)))), 1);

const solve = (f: (x: Tensor) => Tensor, b: Tensor): Tensor => eliminate(matrixOf(f, b.size), b);
const byHand = (A: Tensor, b: Tensor): Tensor =>
  customLinearSolve((x: Tensor) => A.matmul(x), b, solve, solve);
const A3 = [5, 1, -1, 0.5, 4, 2, 1, -2, 6], b3 = [1, -2, 3];

testEach("customLinearSolve, gmres and elimination agree, in all derivatives to second order", async () => {
  const A = f64(A3, [3, 3]),
    b = f64(b3),
    dA = f64(numbers(9, 1), [3, 3]),
    db = f64(numbers(3, 2)),
    ct = f64([1, 2, -1]);
  const solvers = [eliminate, byHand, (A: Tensor, b: Tensor) => gmres((x: Tensor) => A.matmul(x), b)];
  const results = solvers.map((f) => {
    const loss = (A: Tensor, b: Tensor): Tensor => f(A, b).mul(ct).exp().sum();
    const gradient = (A: Tensor, b: Tensor): Tensor[] => grad(loss, { argnums: [0, 1] })(A, b);
    const [y, dy] = jvp(f, [A, b], [dA, db]);
    return [
      y,
      dy,
      ...gradient(A, b),
      ...jvp(gradient, [A, b], [dA, db])[1],
      ...grad((A: Tensor, b: Tensor) => {
        const [gA, gb] = gradient(A, b);
        return gA.mul(dA).sum().add(gb.mul(db).sum());
      }, { argnums: [0, 1] })(A, b),
      grad((b: Tensor) => jvp((b: Tensor) => f(A, b), [b], [db])[1].mul(ct).sum())(b),
      ...jit(gradient)(A, b),
    ];
  });
  const [expected, ...rest] = await Promise.all(results.map(read));
  rest.forEach((r) => r.forEach((v, i) => assertClose(v, expected[i], 1e-10, `result ${i}`)));
}, EXACT);

testEach("customLinearSolve under vmap, with one matrix for all and with one each", async () => {
  const A = f64(A3, [3, 3]), B = f64(numbers(6, 3), [2, 3]), many = stack([A, A.mul(2)]);
  const loss = (f: typeof eliminate) => (A: Tensor, b: Tensor) => f(A, b).square().sum();
  const both = (f: typeof eliminate): Tensor[] => [
    vmap(f, { inAxes: [null, 0] })(A, B),
    vmap(f)(many, B),
    vmap(grad(loss(f)))(many, B),
    grad((A: Tensor) => vmap(loss(f), { inAxes: [null, 0] })(A, B).sum())(A),
  ];
  const got = await read(both(byHand)), want = await read(both(eliminate));
  got.forEach((v, i) => assertClose(v, want[i], 1e-10, `result ${i}`));
}, EXACT);

testEach("solvers may use what they capture, also where vmap or jit made it", async () => {
  // The solver takes the matrix itself, which is a placeholder inside vmap and jit; the gradient is taken outside.
  const direct = (A: Tensor, b: Tensor): Tensor =>
    customLinearSolve(
      (x: Tensor) => A.matmul(x),
      b,
      (_, c) => eliminate(A, c),
      (_, c) => eliminate(A.transpose(0, 1), c),
    );
  const many = stack([f64(A3, [3, 3]), f64(A3, [3, 3]).mul(2)]), B = f64(numbers(6, 3), [2, 3]);
  const outside = (f: typeof eliminate): Tensor[] => [
    grad((A: Tensor) => vmap(f)(A, B).square().sum())(many),
    grad((A: Tensor) => jit(f)(A, B.select(0, 1)).square().sum())(many.select(0, 1)),
    grad((A: Tensor) => jit(vmap(f))(A, B).square().sum())(many),
  ];
  const got = await read(outside(direct)), want = await read(outside(eliminate));
  got.forEach((v, i) => assertClose(v, want[i], 1e-10, `result ${i}`));
  const root = (a: Tensor): Tensor =>
    customRoot((x: Tensor) => x.square().sub(a), a, newton, (_, b: Tensor) => b.div(a.sqrt().mul(2)));
  assertClose(
    await grad((a: Tensor) => vmap(root)(a).sum())(f64([1, 4])).data(),
    [0.5, 0.25],
    1e-12,
    "a root's solver",
  );
}, EXACT);

testEach("a jitted step through a fixed point reads its parameter anew", async () => {
  const w = tensor(0.5, { requiresGrad: true });
  const step = jit(() => {
    w.zeroGrad();
    const x = fixedPoint((x: Tensor) => x.mul(w).cos(), tensor(1), { maxSteps: 30 });
    x.backward();
    return x;
  });
  for (const value of [0.5, 0.8]) {
    w.assign(value);
    const x = await step().item();
    assertAlmostEquals(x, Math.cos(value * x), 1e-5);
    assertAlmostEquals(
      await w.grad!.item(),
      -x * Math.sin(value * x) / (1 + value * Math.sin(value * x)),
      1e-4,
    );
  }
});

testEach("pushforward and pullback of implicit functions are transposes", async () => {
  const f = (A: Tensor, b: Tensor): Tensor => byHand(A, b.tanh());
  const x = [f64(A3, [3, 3]), f64(b3)] as [Tensor, Tensor];
  const dx = [f64(numbers(9, 5), [3, 3]), f64(numbers(3, 6))] as [Tensor, Tensor], ct = f64(numbers(3, 7));
  const [, dy] = jvp(f, x, dx), cts = vjp(f, ...x)[1](ct);
  const [left, right] = await read([
    dy.mul(ct).sum(),
    cts[0].mul(dx[0]).sum().add(cts[1].mul(dx[1]).sum()),
  ]);
  assertAlmostEquals(left[0], right[0], 1e-12);
}, EXACT);

testEach("cg solves trees, also with fewer steps than unknowns once they suffice", async (b) => {
  const D = tensor([[2, 1], [1, 3]], { dtype: b.float }), w = tensor(4, { dtype: b.float });
  // The second unknown is coupled to the sum of the first.
  const A = ({ u, v }: { u: Tensor; v: Tensor }): { u: Tensor; v: Tensor } => ({
    u: D.matmul(u).add(v),
    v: v.mul(w).add(u.sum()),
  });
  const x = cg(A, { u: tensor([1, 2], { dtype: b.float }), v: tensor(3, { dtype: b.float }) });
  const [u, v] = await read(treeLeaves(A(x)));
  assertClose([...u, ...v], [1, 2, 3], b.float === "f64" ? 1e-12 : 1e-5, "A x");
  // Two distinct eigenvalues: two steps.
  const d = tensor([2, 2, 2, 5, 5], { dtype: b.float }), ones = d.onesLike();
  const y = cg((t: Tensor) => t.mul(d), ones, { maxSteps: 2 });
  assertClose(await y.data(), [0.5, 0.5, 0.5, 0.2, 0.2], 1e-6, "two steps");
});

testEach("gmres takes what conjugate gradients cannot: skew and indefinite matrices", async () => {
  const K = f64([0, 1, -1, 0], [2, 2]), J = f64([1, 0, 0, -1], [2, 2]);
  assertClose(await gmres((x: Tensor) => K.matmul(x), f64([1, 0])).data(), [0, 1], 1e-12, "skew");
  assertClose(await gmres((x: Tensor) => J.matmul(x), f64([1, 1])).data(), [1, -1], 1e-12, "indefinite");
  const n = 12, M = f64(numbers(n * n, 9), [n, n]), x = f64(numbers(n, 10));
  const found = gmres((t: Tensor) => M.matmul(t), M.matmul(x));
  assertClose(await found.data(), await x.data(), 1e-8, "random");
}, EXACT);

testEach("solvers end at 0 for 0, and show NaN", async () => {
  for (const method of [cg, gmres]) {
    assertEquals(await method((x: Tensor) => x.mul(2), tensor([0, 0])).toArray(), [0, 0]);
    assert(Number.isNaN((await method((x: Tensor) => x.mul(2), tensor([NaN, 1])).data())[0]));
  }
});

const n = 6, W6 = numbers(n * n, 11, 0.6), b6 = numbers(n, 12);
const zeros = f64(Array(n).fill(0));

for (const solver of ["iterate", "anderson", "newton"] as const) {
  testEach(`the gradient of the fixed point of tanh(W x + b) by ${solver} is the unrolled one`, async () => {
    const W = f64(W6, [n, n]), b = f64(b6);
    const loss = (x: Tensor): Tensor => x.pow(3).sum();
    const unrolled = (W: Tensor, b: Tensor): Tensor => {
      let x = zeros;
      for (let i = 0; i < 120; i++) x = W.matmul(x).add(b).tanh();
      return loss(x);
    };
    const bounded = (W: Tensor, b: Tensor): Tensor =>
      loss(fixedPoint((x: Tensor) => W.matmul(x).add(b).tanh(), zeros, { solver, maxSteps: 80 }));
    const awaited = async (W: Tensor, b: Tensor): Promise<Tensor> =>
      loss(await fixedPoint((x: Tensor) => W.matmul(x).add(b).tanh(), zeros, { solver }));
    const both = { argnums: [0, 1] };
    const want = await read(grad(unrolled, both)(W, b));
    const check = async (g: Tensor[], what: string): Promise<void> =>
      (await read(g)).forEach((v, i) => assertClose(v, want[i], 1e-8, what));
    await check(grad(bounded, both)(W, b), "bounded");
    await check(jit(grad(bounded, both))(W, b), "under jit");
    await check(await grad(awaited, both)(W, b), "awaited");
    await check(
      vmap(grad(bounded, both))(stack([W, W]), stack([b, b])).map((t: Tensor) => t.select(0, 1)),
      "vmap",
    );
    const v = f64(numbers(n, 13));
    const second = (f: typeof unrolled): Tensor => jvp(grad((b: Tensor) => f(W, b)), [b], [v])[1];
    const [h, u] = await read([second(bounded), second(unrolled)]);
    assertClose(h, u, 1e-7, "second order");
  }, EXACT);
}

testEach("a fixed point on single precision, on every engine", async () => {
  const W = tensor(W6, { shape: [n, n] }), b = tensor(b6);
  const f = (b: Tensor): Tensor =>
    fixedPoint((x: Tensor) => W.matmul(x).add(b).tanh(), b.zerosLike(), { maxSteps: 25 });
  const x = f(b), g = grad((b: Tensor) => f(b).sum())(b);
  // (1 - D W)^T w = 1 with D = 1 - x^2, and the gradient is D w.
  const D = x.square().neg().add(1), w = g.div(D);
  const [moved, stays, residual] = await read([
    W.matmul(x).add(b).tanh(),
    x,
    w.sub(W.transpose(0, 1).matmul(g)),
  ]);
  assertClose(moved, stays, 2e-6, "fixed");
  assertClose(residual, Array(n).fill(1), 2e-5, "adjoint");
  assertClose(
    await (await fixedPoint((x: Tensor) => W.matmul(x).add(b).tanh(), b.zerosLike(), { every: 3 })).data(),
    stays,
    5e-6,
    "awaited",
  );
});

testEach("anderson's mixing and newton need fewer steps than iteration", async () => {
  const steps = async (solver: "iterate" | "anderson" | "newton"): Promise<number> => {
    let count = 0;
    const a = f64([0.95, 0.9, 0.7]);
    await fixedPoint((x: Tensor) => (count++, x.mul(a).add(x.sin().mul(0.02)).add(1)), f64([0, 0, 0]), {
      solver,
    });
    return count;
  };
  const [iterate, anderson, newton] = [
    await steps("iterate"),
    await steps("anderson"),
    await steps("newton"),
  ];
  assert(iterate > 200 && anderson < 60 && newton < 60, `${iterate}, ${anderson}, ${newton}`);
}, EXACT);

testEach("a gradient costs the same however many steps were made", () => {
  const steps = (y: Tensor): number => lower(collect([y.node])).steps.length;
  const extra = (maxSteps: number): number => {
    const f = (a: Tensor): Tensor => fixedPoint((x: Tensor) => x.mul(a).cos(), f64(1), { maxSteps });
    return steps(grad(f)(f64(0.5))) - steps(f(f64(0.5)));
  };
  assertEquals(extra(10), extra(200));
}, EXACT);

testEach("implicit MAML: the gradient of an adapted loss by the prior is that of differences", async () => {
  // w* minimises the training loss + l/2 |w - prior|^2 (Rajeswaran et al., 2019); the test loss is differentiated by prior.
  const X = f64(numbers(20, 21), [5, 4]),
    y = f64(numbers(5, 22)),
    V = f64(numbers(12, 23), [3, 4]),
    z = f64(numbers(3, 24));
  const outer = (prior: Tensor): Tensor => {
    const training = (w: Tensor): Tensor =>
      X.matmul(w).tanh().sub(y).square().sum().add(w.sub(prior).square().sum().mul(2));
    const w = customRoot(
      grad(training),
      prior,
      (f: (w: Tensor) => Tensor, w: Tensor) => {
        for (let i = 0; i < 12; i++) w = w.sub(gmres((v: Tensor) => jvp(f, [w], [v])[1], f(w)));
        return w;
      },
      (g, b: Tensor) => cg(g, b),
    );
    return V.matmul(w).sub(z).square().sum();
  };
  const prior = numbers(4, 25), gradient = await grad(outer)(f64(prior)).data(), h = 1e-5;
  for (let i = 0; i < 4; i++) {
    const at = (d: number): Promise<number> => outer(f64(prior.map((p, k) => k === i ? p + d : p))).item();
    assertAlmostEquals(gradient[i], (await at(h) - await at(-h)) / (2 * h), 1e-7);
  }
}, EXACT);

for (
  const [name, call, kind, part] of [
    [
      "a root of whole numbers",
      () => rootFind((x: Tensor) => x, tensor(1, { dtype: "i32" }), { maxSteps: 3 }),
      TypeError,
      "of floating point",
    ],
    [
      "a root of nothing",
      () => customRoot((x: Loose) => x, [], (_, x) => x, (_, b) => b),
      TypeError,
      "without any tensor",
    ],
    [
      "a solver that returns another shape",
      () => customRoot((x: Tensor) => x, tensor([1, 2]), (_, x) => x.sum(), (_, b) => b),
      RangeError,
      "the unknown gives [2], f32 and solver [], f32",
    ],
    [
      "an equation of another shape",
      () => customRoot((x: Tensor) => x.sum(), tensor([1, 2]), (_, x) => x, (_, b) => b),
      RangeError,
      "and f [], f32",
    ],
    [
      "a tangentSolve to be awaited",
      () =>
        grad((a: Tensor) =>
          customRoot(
            (x: Tensor) => x.sub(a),
            a,
            (_, x) => x,
            ((_: unknown, b: Tensor) => Promise.resolve(b)) as Loose,
          ) as Tensor
        )(tensor(1)),
      TypeError,
      "tangentSolve returns a promise",
    ],
    [
      "a gradient without a transposed solver",
      () => grad((b: Tensor) => customLinearSolve((x: Tensor) => x.mul(2), b, (_, c) => c.div(2)))(tensor(1)),
      Error,
      "give transposeSolve",
    ],
    ["a matvec of another shape", () => cg((x: Tensor) => x.sum(), tensor([1, 2])), RangeError, "[2], f32"],
    [
      "cg with a fraction of steps",
      () => cg((x: Tensor) => x, tensor([1, 2]), { maxSteps: 0.5 }),
      RangeError,
      "maxSteps 0.5",
    ],
    [
      "a tree of two types",
      () => cg((x: Loose) => x, { a: f64(1), b: tensor(1) }),
      TypeError,
      "f64, f32: give them one type",
    ],
    [
      "an unknown solver",
      () => fixedPoint((x: Tensor) => x, tensor(1), { maxSteps: 3, solver: "gauss" as Loose }),
      TypeError,
      "iterate, anderson and newton",
    ],
    [
      "a fixed point without a bound inside jit",
      () => jit((x: Tensor) => fixedPoint((t: Tensor) => t.cos(), x) as Loose)(tensor(1)),
      Error,
      "inside jit without a bound",
    ],
    [
      "a fixed point without a bound inside vmap",
      () => vmap((x: Tensor) => fixedPoint((t: Tensor) => t.cos(), x) as Loose)(tensor([1])),
      Error,
      "Give { maxSteps }",
    ],
  ] as [string, () => unknown, new (...x: Loose[]) => Error, string][]
) {
  testEach(`refused: ${name}`, () => {
    assertThrows(call, kind, "Cannot ");
    assertThrows(call, kind, part);
  }, EXACT);
}

testEach("a forward derivative needs no transposed solver", async () => {
  const f = (b: Tensor): Tensor => customLinearSolve((x: Tensor) => x.mul(2), b, (_, c) => c.div(2));
  assertEquals(await jvp(f, [tensor(3)], [tensor(1)])[1].item(), 0.5);
});

testEach("refused: a fixed point that does not come", async () => {
  await assertRejects(
    () => fixedPoint((x: Tensor) => x.mul(2).add(1), tensor(1), { limit: 16 }),
    Error,
    "Cannot find a fixed point: after 16 steps the residual is",
  );
});
