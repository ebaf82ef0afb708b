/** Defects of the breadth of ops that a differential fuzzer against PyTorch and a newcomer's programs found. */
import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  batchNorm,
  cat,
  cdist,
  crossEntropy,
  fixedPoint,
  grad,
  linalg,
  multilabelMarginLoss,
  multiMarginLoss,
  ones,
  pdist,
  rootFind,
  stack,
  type Tensor,
  tensor,
} from "../../mod.ts";
import { testEach } from "../support/engines.ts";
import { assertClose } from "../support/numbers.ts";

testEach("logSoftmax of large logits keeps its digits: it was x - logsumexp(x)", async () => {
  const x = tensor([10000, 10000.5, 10001]);
  const expected = [-1.6802697, -1.1802697, -0.6802697];
  assertClose(await x.logSoftmax().data(), expected, 1e-6, "value");
  assertClose(await tensor([1e30, 1e30, 0]).logSoftmax().data(), [-Math.LN2, -Math.LN2, -1e30], 1e-6, "ties");
  const ct = tensor([1, 0, 0]), p = expected.map(Math.exp);
  assertClose(
    await grad((x) => x.logSoftmax().mul(ct).sum())(x).data(),
    [1 - p[0], -p[1], -p[2]],
    1e-6,
    "gradient",
  );
  assertClose(
    await crossEntropy(x, tensor([0.5, 0.25, 0.25]), { axis: 0 }).data(),
    [0.5 * 1.6802697 + 0.25 * 1.1802697 + 0.25 * 0.6802697],
    1e-6,
    "cross-entropy against probabilities",
  );
});

testEach(
  "logSoftmax of a line with an infinity is NaN all along, and empty where there is nothing",
  async () => {
    assertClose(await tensor([-Infinity, Infinity, 1]).logSoftmax().data(), [NaN, NaN, NaN], 0, "infinity");
    assertEquals(await ones([2, 0]).logSoftmax().data(), new Float32Array(0));
  },
);

testEach("a mask stays a mask under tril, triu, maskedFill, pad, scatter and indexFill", async () => {
  const mask = tensor([[true, true], [true, true]]), zero = tensor([0], { dtype: "i32" });
  for (
    const [y, expected] of [
      [mask.tril(), [1, 0, 1, 1]],
      [mask.triu(1), [0, 1, 0, 0]],
      [mask.maskedFill(mask.tril(), 0), [0, 1, 0, 0]],
      [mask.maskedFill(mask.tril(), 2.5), [1, 1, 1, 1]],
      [mask.select(0, 0).logicalNot().pad([[1, 0]], 1), [1, 0, 0]],
      [mask.scatter(0, zero.unsqueeze(0), 0), [0, 1, 1, 1]],
      [mask.indexFill(0, zero, 0), [0, 0, 1, 1]],
    ] as const
  ) {
    assertEquals(y.dtype, "bool");
    assertEquals([...await y.data()], [...expected]);
  }
});

testEach("sum and prod of a boolean scalar count, as those of more elements", async () => {
  const yes = tensor(true);
  for (const y of [yes.sum(), yes.prod(), yes.nansum(), yes.sum(0)]) {
    assertEquals(y.dtype, "i32");
    assertEquals(await y.item(), 1);
  }
});

testEach("cat and stack promote types as operators do", async () => {
  const whole = tensor([1, 2], { dtype: "i32" }), half = tensor([0.5, 1.5]), mask = tensor([true, false]);
  assertEquals(await cat([whole, half, mask]).data(), new Float32Array([1, 2, 0.5, 1.5, 1, 0]));
  assertEquals(await stack([mask, whole]).data(), new Int32Array([1, 0, 1, 2]));
  const g = grad((x) => cat([whole, x]).mul(tensor([1, 2, 3, 4])).sum())(half);
  assertEquals(await g.data(), new Float32Array([3, 4]));
});

testEach("whole numbers and an infinity or NaN are refused: it was 0", () => {
  const x = tensor([1, 2], { dtype: "i32" });
  for (const f of [() => x.lt(Infinity), () => x.maskedFill(x.gt(1), -Infinity), () => x.mul(NaN)]) {
    assertThrows(f, TypeError, "Cannot");
  }
});

testEach("margin losses have no gradient where the margin is just kept", async () => {
  const x = tensor([[1, 0, 0.5]]), multi = grad((x) => multiMarginLoss(x, tensor([0], { dtype: "i32" })));
  assertClose(await multi(x).data(), [-1 / 3, 0, 1 / 3], 1e-6, "multiMarginLoss");
  const labels = tensor([[0, -1, -1]], { dtype: "i32" });
  assertClose(
    await grad((x) => multilabelMarginLoss(x, labels))(x).data(),
    [-1 / 3, 0, 1 / 3],
    1e-6,
    "multilabelMarginLoss",
  );
});

testEach(
  "eigh and svd of matrices with NaN or infinities are NaN, and others in the stack are not",
  async () => {
    for (const lost of [NaN, Infinity]) {
      const a = tensor([[[2, 1], [1, 2]], [[lost, 1], [1, 2]], [[1, 0], [0, 3]]]);
      const { eigenvalues, eigenvectors } = linalg.eigh(a), { U, S, Vh } = linalg.svd(a);
      for (const y of [eigenvalues, eigenvectors, U, S, Vh]) {
        const [first, middle, last] = await Promise.all(y.unbind(0).map((t) => t.data()));
        assertEquals([...middle].every(Number.isNaN), true, `${middle}`);
        assertEquals([...first, ...last].some(Number.isNaN), false, `${first} ${last}`);
      }
    }
    // Above the diagonal eigh does not look.
    assertClose(await linalg.eigvalsh(tensor([[1, NaN], [0, 2]])).data(), [1, 2], 1e-6, "upper triangle");
  },
);

testEach("cdist and pdist refuse negative orders, and rows without elements are 0 apart", async () => {
  for (const f of [() => cdist(ones([2, 3]), ones([2, 3]), -1), () => pdist(ones([2, 3]), -Infinity)]) {
    assertThrows(f, RangeError, "it must not be negative");
  }
  for (const p of [0, 1, 2, Infinity]) {
    assertEquals(await cdist(ones([1, 0]), ones([2, 0]), p).data(), new Float32Array(2));
    assertEquals(await pdist(ones([2, 0]), p).data(), new Float32Array(1));
  }
});

testEach(
  "fixedPoint and rootFind say where they diverge, and refuse a function of other lengths",
  async () => {
    await assertRejects(
      () => fixedPoint((x: Tensor) => x.mul(2), ones([2])),
      Error,
      "Cannot find a fixed point: after",
    );
    for (
      const f of [
        () => fixedPoint((x: Tensor) => x.sum(), ones([2]), { maxSteps: 3 }),
        () => rootFind((x: Tensor) => x.sum(), ones([2]), { maxSteps: 3 }),
      ]
    ) {
      assertThrows(f, RangeError, "the function takes 2 numbers and returns 1");
    }
  },
);

testEach("dot names its own operands, batchNorm refuses channels of one value", () => {
  assertThrows(() => ones([3]).dot(ones([2])), RangeError, "Cannot dot vectors of 3 and 2 elements");
  assertThrows(() => batchNorm(ones([1, 3])), RangeError, "each channel must have more than one value");
});
