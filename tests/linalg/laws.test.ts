/** Laws of linear algebra, on every engine: what factors, inverses and exponentials are by definition. */
import { assert, assertEquals } from "@std/assert";
import { cat, eye, grad, gradcheck, gradgradcheck, linalg, type Tensor, tensor, vmap } from "../../mod.ts";
import { type Backend, test, testEach } from "../support/engines.ts";
import { assertClose, draw, random } from "../support/numbers.ts";

const numbers = (shape: number[], seed: number): number[] =>
  draw(random(seed), shape.reduce((n, m) => n * m, 1), [-1, 1]);
/** A stack of random matrices in the engine's widest type. */
const matrix = (b: Backend, shape: number[], seed = 1): Tensor =>
  tensor(numbers(shape, seed), { shape, dtype: b.float });
const identity = (b: Backend, n: number): Tensor => eye(n, { dtype: b.float });
const positive = (b: Backend, shape: number[], seed = 1): Tensor => {
  const a = matrix(b, shape, seed);
  return a.matmul(a.mT()).add(identity(b, shape[shape.length - 1]));
};
const symmetric = (b: Backend, shape: number[], seed = 1): Tensor => {
  const a = matrix(b, shape, seed);
  return a.add(a.mT());
};
const diagonal = (d: Tensor): Tensor => {
  const n = d.shape[d.rank - 1];
  return d.unsqueeze(-1).mul(eye(n, { dtype: d.dtype }));
};

/** Both sides of an equation, within digits that the type has. */
async function equal(b: Backend, left: Tensor, right: Tensor, what: string, slack = 1): Promise<void> {
  assertEquals(left.shape, right.shape, what);
  assertClose(await left.data(), await right.data(), slack * (b.float === "f64" ? 1e-12 : 2e-5), what);
}

/** Small, and beyond what one thread may do in one go on software Vulkan. */
const SIZES = [[3, 3], [2, 5, 5], [33, 33]];

testEach("cholesky: L L^T is the matrix, L is lower triangular, and solves go through it", async (b) => {
  for (const shape of [...SIZES, [80, 80]]) {
    const a = positive(b, shape), l = linalg.cholesky(a), n = shape[shape.length - 1];
    await equal(b, l.matmul(l.mT()), a, `${shape}`, 10);
    await equal(b, l.triu(1), l.zerosLike(), "nothing above");
    await equal(b, linalg.cholesky(a, { upper: true }), l.mT(), "upper");
    const x = matrix(b, [n, 2], 7);
    await equal(
      b,
      a.matmul(linalg.choleskySolve(x, l)),
      x.expand([...shape.slice(0, -2), n, 2]),
      "solve",
      100,
    );
    await equal(b, linalg.choleskyInverse(l).matmul(a), identity(b, n).expand(shape), "inverse", 100);
    const { L, info } = linalg.choleskyEx(a);
    await equal(b, L, l, "Ex");
    assertEquals(new Set(await info.data()), new Set([0]));
  }
});

testEach("lu: P L U is the matrix, and luSolve inverts it from either side", async (b) => {
  for (const shape of [...SIZES, [70, 70], [4, 6], [2, 7, 3]]) {
    const a = matrix(b, shape, 3), { P, L, U } = linalg.lu(a);
    await equal(b, P.matmul(L).matmul(U), a, `${shape}`, 20);
    if (shape.at(-1) !== shape.at(-2)) continue;
    const { LU, pivots } = linalg.luFactor(a), n = shape[shape.length - 1];
    const x = matrix(b, [...shape.slice(0, -2), n, 2], 5);
    await equal(b, a.matmul(linalg.luSolve(LU, pivots, x)), x, "a x", 2000);
    await equal(b, a.mT().matmul(linalg.luSolve(LU, pivots, x, { adjoint: true })), x, "a^T x", 2000);
    await equal(b, linalg.luSolve(LU, pivots, x.mT(), { left: false }).matmul(a), x.mT(), "x a", 2000);
  }
});

testEach("qr: Q R is the matrix, Q has orthonormal columns, R is upper triangular", async (b) => {
  for (const shape of [...SIZES, [7, 4], [2, 3, 6], [60, 50]]) {
    for (const mode of ["reduced", "complete"] as const) {
      const a = matrix(b, shape, 4), { Q, R } = linalg.qr(a, { mode });
      await equal(b, Q.matmul(R), a, `${shape} ${mode}`, 20);
      const n = Q.shape[Q.rank - 1];
      await equal(b, Q.mT().matmul(Q), identity(b, n).expand([...shape.slice(0, -2), n, n]), "Q^T Q", 10);
      await equal(b, R.tril(-1), R.zerosLike(), "nothing below");
    }
  }
});

testEach("eigh: A V = V diag(l), V is orthogonal, l ascends; equal eigenvalues do no harm", async (b) => {
  const cases = [[3, 3], [2, 5, 5], [33, 33], [1, 1]].map((shape) => symmetric(b, shape, 5));
  for (
    const a of [
      ...cases,
      identity(b, 4),
      identity(b, 3).mul(0),
      matrix(b, [4, 1]).matmul(matrix(b, [4, 1]).mT()),
    ]
  ) {
    const { eigenvalues, eigenvectors: v } = linalg.eigh(a), n = a.shape[a.rank - 1];
    await equal(b, a.matmul(v), v.mul(eigenvalues.unsqueeze(-2)), `${a.shape}`, 50);
    await equal(b, v.mT().matmul(v), identity(b, n).expand(a.shape), "V^T V", 20);
    await equal(b, eigenvalues.sort(-1).values, eigenvalues, "ascending");
  }
});

testEach("svd: U S Vh is the matrix, U and Vh are orthogonal, S descends; rank does no harm", async (b) => {
  const low = matrix(b, [6, 1], 8).matmul(matrix(b, [1, 4], 9));
  const wide = matrix(b, [40, 2], 8).matmul(matrix(b, [2, 40], 9)).mul(1e-6);
  const cases = [[3, 3], [2, 5, 3], [3, 5], [33, 33]].map((shape) => matrix(b, shape, 6));
  for (const a of [...cases, low, wide, identity(b, 3), identity(b, 3).mul(0)]) {
    for (const fullMatrices of [true, false]) {
      const { U, S, Vh } = linalg.svd(a, { fullMatrices }), K = S.shape[S.rank - 1];
      const product = U.narrow(-1, 0, K).mul(S.unsqueeze(-2)).matmul(Vh.narrow(-2, 0, K));
      await equal(b, product, a, `${a.shape}`, 50);
      for (const q of [U, Vh.mT()]) {
        const n = q.shape[q.rank - 1];
        await equal(
          b,
          q.mT().matmul(q),
          identity(b, n).expand([...a.shape.slice(0, -2), n, n]),
          "orthonormal",
          100,
        );
      }
      await equal(b, S.sort(-1, { descending: true }).values, S, "descending");
    }
  }
});

testEach("inv, solve and det: A A^-1 = 1, A x = b, det AB = det A det B, ln |det|", async (b) => {
  for (const shape of SIZES) {
    const n = shape[shape.length - 1];
    const a = matrix(b, shape, 10).add(identity(b, n).mul(2)),
      c = matrix(b, shape, 11).add(identity(b, n).mul(2));
    await equal(b, a.matmul(linalg.inv(a)), identity(b, n).expand(shape), `${shape}`, 200);
    const x = matrix(b, [n], 12);
    await equal(
      b,
      a.matmul(linalg.solve(a, x).unsqueeze(-1)).squeeze(-1),
      x.expand(shape.slice(0, -1)),
      "vector",
      200,
    );
    if (n > 5) continue;
    await equal(b, linalg.det(a.matmul(c)), linalg.det(a).mul(linalg.det(c)), "det", 10);
    const { sign, logabsdet } = linalg.slogdet(a);
    await equal(b, sign.mul(logabsdet.exp()), linalg.det(a), "slogdet", 10);
  }
});

testEach("Hilbert's matrix of order 6 is solved as well as its condition allows", async (b) => {
  const i = Array.from({ length: 6 }, (_, k) => k);
  const hilbert = tensor(i.map((r) => i.map((c) => 1 / (r + c + 1))), { dtype: b.float });
  const ones = hilbert.matmul(hilbert.scalarLike(1).expand([6]));
  const limit = 1.5e7 * (b.float === "f64" ? 2 ** -52 : 2 ** -23) * 10;
  const x = await linalg.solve(hilbert, ones).data(),
    y = await linalg.choleskySolve(ones.unsqueeze(1), linalg.cholesky(hilbert)).data();
  for (const v of [...x, ...y]) assert(Math.abs(v - 1) < limit, `${v}`);
  const kappa = await linalg.cond(hilbert).item();
  if (b.float === "f64") assertClose([kappa], [14951058.6424659], 1e-10, "condition");
});

testEach("matrixExp: e^A e^-A = 1, e^diag is diag e, e of a nilpotent matrix is its sum", async (b) => {
  for (const shape of [[3, 3], [2, 4, 4], [20, 20]]) {
    const a = matrix(b, shape, 13).mul(2);
    const y = linalg.matrixExp(a).matmul(linalg.matrixExp(a.neg()));
    await equal(b, y, identity(b, shape[shape.length - 1]).expand(shape), `${shape}`, 1e5);
  }
  const d = matrix(b, [5], 14).mul(3);
  await equal(b, linalg.matrixExp(diagonal(d)), diagonal(d.exp()), "diagonal", 10);
  const nilpotent = matrix(b, [4, 4], 15).tril(-1).mul(100), n2 = nilpotent.matmul(nilpotent);
  const sum = identity(b, 4).add(nilpotent).add(n2.mul(0.5)).add(n2.matmul(nilpotent).mul(1 / 6));
  await equal(b, linalg.matrixExp(nilpotent), sum, "nilpotent", 10);
});

testEach("lstsq and pinv: normal equations, the four conditions of Penrose", async (b) => {
  for (const [m, n] of [[6, 3], [3, 6], [4, 4]]) {
    const a = matrix(b, [m, n], 16), x = linalg.lstsq(a, matrix(b, [m, 2], 17)).solution;
    const rest = a.matmul(x).sub(matrix(b, [m, 2], 17));
    await equal(b, a.mT().matmul(rest), x.zerosLike(), "normal equations", 100);
  }
  const low = matrix(b, [5, 2], 18).matmul(matrix(b, [2, 4], 19));
  const y = linalg.pinv(low), ay = low.matmul(y), ya = y.matmul(low);
  await equal(b, ay.matmul(low), low, "a y a", 50);
  await equal(b, ya.matmul(y), y, "y a y", 200);
  await equal(b, ay.mT(), ay, "a y symmetric", 50);
  await equal(b, ya.mT(), ya, "y a symmetric", 50);
  assertEquals(await linalg.matrixRank(low).item(), 2);
});

testEach("matrixPower, tensorinv, tensorsolve, multiDot, householderProduct", async (b) => {
  const a = matrix(b, [3, 3], 20).add(identity(b, 3).mul(2));
  await equal(b, linalg.matrixPower(a, 5), a.matmul(a).matmul(a).matmul(a).matmul(a), "power", 10);
  await equal(b, linalg.matrixPower(a, -2).matmul(a).matmul(a), identity(b, 3), "negative power", 100);
  await equal(b, linalg.multiDot([a, a, a]), a.matmul(a).matmul(a), "multiDot", 10);
  const t = matrix(b, [2, 3, 6], 21), y = matrix(b, [2, 3], 22);
  const x = linalg.tensorsolve(t, y);
  await equal(b, t.mul(x).sum(-1), y, "tensorsolve", 500);
  await equal(b, linalg.tensorinv(t.reshape([2, 3, 6]), 2).mul(y).sum([-2, -1]), x, "tensorinv", 500);
});

test("gradcheck and gradgradcheck of functions that do not hang on signs or order", async () => {
  const host = { dtype: "f64" as const, device: "host" as const };
  const make = (shape: number[], seed: number): Tensor => tensor(numbers(shape, seed), { shape, ...host });
  const at = make([3, 3], 30).add(diagonal(tensor([3, 5, 7], host)));
  const functions: Record<string, (a: Tensor) => Tensor> = {
    cholesky: (a) => linalg.cholesky(a.matmul(a.mT())),
    lu: (a) => linalg.luFactor(a).LU,
    qr: (a) => cat(Object.values(linalg.qr(a))),
    eigh: (a) => {
      const { eigenvalues: l, eigenvectors: v } = linalg.eigh(a.add(a.mT()));
      return v.mul(l.exp().unsqueeze(-2)).matmul(v.mT());
    },
    svd: (a) => {
      const { U, S, Vh } = linalg.svd(a);
      return U.mul(S.sqrt().unsqueeze(-2)).matmul(Vh);
    },
    svdvals: (a) => linalg.svdvals(a),
    inv: (a) => linalg.inv(a),
    solve: (a) => linalg.solve(a, a.mT()),
    det: (a) => linalg.det(a),
    logabsdet: (a) => linalg.slogdet(a).logabsdet,
    pinv: (a) => linalg.pinv(a.narrow(1, 0, 2)),
    lstsq: (a) => linalg.lstsq(a.narrow(1, 0, 2), a.narrow(1, 2, 1)).solution,
    matrixExp: (a) => linalg.matrixExp(a.mul(0.3)),
    matrixPower: (a) => linalg.matrixPower(a, -3),
    nuclear: (a) => linalg.matrixNorm(a, { ord: "nuc" }),
    spectral: (a) => linalg.matrixNorm(a, { ord: 2 }),
    cond: (a) => linalg.cond(a),
  };
  for (const [name, f] of Object.entries(functions)) {
    try {
      await gradcheck(f, [at]);
      await gradgradcheck(f, [at]);
    } catch (error) {
      throw new Error(`${name}: ${(error as Error).message}`, { cause: error });
    }
  }
});

testEach(
  "det has finite gradients to second order at singular matrices, slogdet is -infinity there",
  async (b) => {
    const rank1 = tensor([[1, 2, 3], [2, 4, 6], [1, 1, 1]], { dtype: b.float });
    const g = await grad(linalg.det)(rank1).data();
    assertClose(g, [-2, 4, -2, 1, -2, 1, 0, 0, 0], 1e-5, "cofactors");
    const zero = tensor([[0, 0], [0, 0]], { dtype: b.float });
    const second = grad((a: Tensor) =>
      grad(linalg.det)(a).mul(tensor([[1, 2], [3, 4]], { dtype: b.float })).sum()
    );
    assertClose(await second(zero).data(), [4, -3, -2, 1], 1e-5, "second derivative at 0");
    const { sign, logabsdet } = linalg.slogdet(zero);
    assertEquals([await sign.item(), await logabsdet.item()], [0, -Infinity]);
    assertEquals(await linalg.logdet(zero).item(), -Infinity);
    assertEquals(await linalg.logdet(tensor([[0, 1], [1, 0]], { dtype: b.float })).item(), NaN);
  },
);

testEach("eigenvalues and singular values have finite gradients where they are equal", async (b) => {
  const one = identity(b, 3);
  assertClose(
    await grad((a: Tensor) => linalg.eigvalsh(a).sum())(one).data(),
    await one.data(),
    1e-6,
    "eigvalsh",
  );
  assertClose(
    await grad((a: Tensor) => linalg.svdvals(a).sum())(one).data(),
    await one.data(),
    1e-6,
    "svdvals",
  );
});

testEach("the gradient of cdist is 0 where two points coincide", async (b) => {
  const { cdist } = await import("../../mod.ts");
  const x = tensor([[1, 2], [3, 4]], { dtype: b.float });
  for (const p of [1, 2, 3, Infinity]) {
    const g = await grad((t: Tensor) => cdist(t, x.narrow(0, 0, 1), p).sum())(x).data();
    assert(g.every(Number.isFinite), `${p}: ${g}`);
    assertEquals([g[0], g[1]], [0, 0]);
  }
});

testEach("vmap over matrices is the stack", async (b) => {
  const a = matrix(b, [4, 3, 3], 40).add(identity(b, 3).mul(3));
  await equal(b, vmap((m: Tensor) => linalg.inv(m))(a), linalg.inv(a), "inv");
  await equal(b, vmap((m: Tensor) => linalg.svdvals(m))(a), linalg.svdvals(a), "svdvals");
});
