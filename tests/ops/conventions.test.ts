/** The numerical conventions, each by name, on every engine, plain and under jit: what PyTorch does at the corners. */
import { assert, assertEquals } from "@std/assert";
import {
  grad,
  jit,
  layerNorm,
  rmsNorm,
  scaledDotProductAttention,
  type Tensor,
  tensor,
  vmap,
} from "../../mod.ts";
import type { DType } from "../../ops/dtype.ts";
import { testEach } from "../support/engines.ts";
import { assertClose } from "../support/numbers.ts";

type F = (x: Tensor) => Tensor;
type Data = number | number[] | number[][];

const flat = (x: Data): number[] => [x].flat(2) as number[];

/** Checks `f(at)` plain, under jit, and under vmap of a batch of one. */
function value(
  name: string,
  f: F,
  at: Data,
  expected: Data,
  options: { dtype?: DType; tolerance?: number } = {},
): void {
  testEach(name, async () => {
    const x = tensor(at, { dtype: options.dtype ?? "f32" }), tolerance = options.tolerance ?? 0;
    assertClose(await f(x).data(), flat(expected), tolerance, "plain");
    assertClose(await jit(f)(x).data(), flat(expected), tolerance, "under jit");
    assertClose(await vmap(f)(x.unsqueeze(0)).data(), flat(expected), tolerance, "under vmap");
  });
}

/** Checks the gradient of `f(x).sum()` at `at` by grad, under jit, and by backward. */
function gradient(name: string, f: F, at: Data, expected: Data, tolerance = 0): void {
  testEach(name, async () => {
    const x = tensor(at), loss: F = (t) => f(t).sum();
    assertClose(await grad(loss)(x).data(), flat(expected), tolerance, "plain");
    assertClose(await jit(grad(loss))(x).data(), flat(expected), tolerance, "under jit");
    x.requiresGrad = true;
    loss(x).backward();
    // A gradient that is zero whatever the values are may be left out.
    const found = x.grad === null ? flat(expected).map(() => 0) : await x.grad.data();
    assertClose(found, flat(expected), tolerance, "by backward");
  });
}

gradient("relu'(0) = 0", (x) => x.relu(), [0, -0, 1, -1], [0, 0, 1, 0]);
gradient("abs'(0) = 0", (x) => x.abs(), [0, -0, 2, -2], [0, 0, 1, -1]);
gradient("maximum shares ties by halves", (x) => x.maximum(tensor([1, 1, 1])), [1, 2, 0], [0.5, 1, 0]);
gradient("maximum shares ties by halves, second operand", (x) => tensor([1, 1, 1]).maximum(x), [1, 2, 0], [
  0.5,
  1,
  0,
]);
gradient("minimum shares ties by halves", (x) => x.minimum(tensor([1, 1, 1])), [1, 2, 0], [0.5, 0, 1]);
gradient("maximum of x with itself has derivative 1", (x) => x.maximum(x), [1, -2], [1, 1]);
gradient("amax shares ties equally", (x) => x.amax(), [3, 1, 3, 3], [1 / 3, 0, 1 / 3, 1 / 3], 1e-7);
gradient("amin shares ties equally, over an axis", (x) => x.amin(1), [[1, 1, 2], [5, 4, 6]], [[0.5, 0.5, 0], [
  0,
  1,
  0,
]]);
gradient("clamp' = 1 on its boundary", (x) => x.clamp(-1, 1), [-1, 1, 0, -2, 2], [1, 1, 1, 0, 0]);
gradient("sigmoid'(-100) is 0 and not NaN", (x) => x.sigmoid(), [-100, 100], [0, 0], 1e-30);
gradient("silu'(-100) = 0 and silu'(100) = 1", (x) => x.silu(), [-100, 100], [0, 1], 1e-30);
gradient("logSigmoid'(-100) = 1", (x) => x.logSigmoid(), [-100, 100], [1, 0], 1e-30);
gradient("softplus'(100) = 1", (x) => x.softplus(), [100, -100], [1, 0], 1e-30);
gradient("mish'(100) = 1", (x) => x.mish(), [100, -100], [1, 0], 1e-6);
gradient("elu'(100) = 1", (x) => x.elu(), [100, -100, 0], [1, 0, 1], 1e-30);
gradient("(x^2)' at 0 by pow = 0", (x) => x.pow(2), [0, 1, -1], [0, 2, -2], 1e-6);
gradient("(x^3)' at 0 by pow = 0", (x) => x.pow(3), [0, 1, -2], [0, 3, 12], 1e-5);
gradient("(x^1)' at 0 by pow = 1, (x^0)' = 0", (x) => x.pow(1).add(x.pow(0)), [0, 2], [1, 1], 1e-6);
gradient("grad prod([1, 0, 3]) = [0, 3, 0]", (x) => x.prod(), [1, 0, 3], [0, 3, 0]);
gradient("grad prod with two zeros = 0", (x) => x.prod(), [0, 0, 3], [0, 0, 0]);
gradient("grad sum(cumprod([1, 0, 3])) = [1, 4, 0]", (x) => x.cumprod(0), [1, 0, 3], [1, 4, 0]);
gradient("grad std(constant) = 0", (x) => x.std(), [2, 2, 2], [0, 0, 0]);
gradient("grad norm(0) = 0", (x) => x.norm(), [0, 0], [0, 0]);
gradient("sinc'(0) = 0", (x) => x.sinc(), [0, -0], [0, 0]);
gradient(
  "where stops a NaN cotangent of the branch not taken",
  (x) => x.where(tensor([true, false]), NaN).mul(tensor([2, NaN])),
  [1, 2],
  [2, 0],
);
gradient("relu stops a NaN cotangent where it is 0", (x) => x.relu().mul(tensor([2, NaN])), [1, -1], [2, 0]);
gradient(
  "round, floor and sign have derivative 0",
  (x) => x.round().add(x.floor()).add(x.sign()),
  [0.3, 1.7],
  [0, 0],
);

value("sigmoid(-100) does not underflow to NaN", (x) => x.sigmoid(), [-100, 0, 100], [0, 0.5, 1], {
  tolerance: 1e-30,
});
value("softplus does not overflow", (x) => x.softplus(), [1000, -1000], [1000, 0]);
value("logSigmoid does not overflow", (x) => x.logSigmoid(), [-1000, 1000], [-1000, 0]);
value("tanh does not overflow", (x) => x.tanh(), [1000, -1000, Infinity], [1, -1, 1]);
value("logsumexp does not overflow", (x) => x.logsumexp(), [1000, 1000], 1000 + Math.LN2, {
  tolerance: 1e-6,
});
value(
  "logsumexp of minus infinities is minus infinity",
  (x) => x.logsumexp(),
  [-Infinity, -Infinity],
  -Infinity,
);
value("softmax does not overflow", (x) => x.softmax(), [1000, 1000, -1000], [0.5, 0.5, 0], {
  tolerance: 1e-6,
});
value("logSoftmax of a sure class is exact", (x) => x.logSoftmax(), [0, -1000], [0, -1000]);
value("sinc(0) = 1", (x) => x.sinc(), [0, 1], [1, 0], { tolerance: 1e-6 });
value("pow(-3, 3) = -27 exactly", (x) => x.pow(3), [-3, -2, 3, 10], [-27, -8, 27, 1000]);
value("pow with whole powers is exact", (x) => x.pow(2), [-3, 5, 0.5, 1e3], [9, 25, 0.25, 1e6]);
value("pow(x, 0) = 1, for NaN too", (x) => x.pow(0), [0, NaN, -2, Infinity], [1, 1, 1, 1]);
value("pow of a negative number to a fraction is NaN", (x) => x.pow(0.5), [-1, 4], [NaN, 2], {
  tolerance: 1e-6,
});
value("NaN in, NaN out of maximum", (x) => x.maximum(1), [NaN, 0], [NaN, 1]);
value("NaN in, NaN out of maximum, second operand", (x) => tensor([1, 1]).maximum(x), [NaN, 0], [NaN, 1]);
value("NaN in, NaN out of minimum", (x) => x.minimum(1), [NaN, 0], [NaN, 0]);
value("NaN in, NaN out of relu", (x) => x.relu(), [NaN, -1, 1], [NaN, 0, 1]);
value("NaN in, NaN out of clamp", (x) => x.clamp(-1, 1), [NaN, 3], [NaN, 1]);
value("NaN in, NaN out of amax", (x) => x.amax(), [1, NaN, 3], NaN);
value("NaN in, NaN out of amin", (x) => x.amin(), [1, NaN, 3], NaN);
value("NaN is the largest for argmax", (x) => x.argmax(), [1, NaN, 3], 1);
value("argmax takes the first of ties", (x) => x.argmax(), [1, 3, 3], 1);
value("NaN sorts last", (x) => x.sort().values, [NaN, 1, -1], [-1, 1, NaN]);
value("sort is stable", (x) => x.argsort(), [1, 0, 1, 0], [1, 3, 0, 2]);
value("NaN compares unequal to itself", (x) => x.eq(x).to("f32").add(x.ne(x).to("f32").mul(10)), [NaN, 1], [
  10,
  1,
]);
value("comparisons with NaN are false", (x) => x.lt(1).logicalOr(x.ge(1)), [NaN], [0]);
value("isnan and isfinite see the bits", (x) => x.isnan().to("f32").add(x.isfinite().to("f32").mul(2)), [
  NaN,
  Infinity,
  1,
], [1, 0, 2]);
value("round takes halves to even", (x) => x.round(), [0.5, 1.5, 2.5, -0.5, -1.5], [0, 2, 2, 0, -2]);
value("floorDivide of whole numbers rounds down", (x) => x.floorDivide(2), [7, -7, 8, -8], [3, -4, 4, -4], {
  dtype: "i32",
});
value("floorDivide by a negative whole number", (x) => x.floorDivide(-2), [7, -7], [-4, 3], { dtype: "i32" });
value("remainder of whole numbers has the divisor's sign", (x) => x.remainder(3), [7, -7, 6, -6], [
  1,
  2,
  0,
  0,
], { dtype: "i32" });
value("remainder by a negative whole number", (x) => x.remainder(-3), [7, -7], [-2, -1], { dtype: "i32" });
value("remainder of fractions has the divisor's sign", (x) => x.remainder(1), [1.25, -0.25, -3], [
  0.25,
  0.75,
  0,
]);
value("floorDivide of fractions rounds down", (x) => x.floorDivide(2), [7.5, -7.5], [3, -4]);
value("div of whole numbers is f32", (x) => x.div(2), [1, -3], [0.5, -1.5], { dtype: "i32" });
value("1 / 0 is infinite and 0 / 0 is NaN", (x) => x.div(0), [1, -1, 0], [Infinity, -Infinity, NaN]);
value("32-bit sums wrap around", (x) => x.add(1), [2147483647], [-2147483648], { dtype: "i32" });
value("32-bit products keep the low bits", (x) => x.mul(65537), [65537, -3], [131073, -196611], {
  dtype: "i32",
});
value("casts to whole numbers cut towards 0", (x) => x.to("i32"), [1.9, -1.9, 0.5], [1, -1, 0]);
value("the sum of booleans counts", (x) => x.gt(0).sum(), [1, -1, 2], 2);
value("std divides by n - 1", (x) => x.std(), [1, 2, 3, 4], Math.sqrt(5 / 3), { tolerance: 1e-6 });
value(
  "the sum of no elements is 0, their product 1",
  (x) => x.slice([0, 0]).sum().add(x.slice([0, 0]).prod()),
  [1, 2],
  1,
);
value("the mean of no elements is NaN", (x) => x.slice([0, 0]).mean(), [1, 2], NaN);

testEach("softmax of a fully masked row = 0 with zero gradient, in masked attention by hand", async () => {
  // Where a whole row is masked, the probabilities are set to 0 after the softmax, and no NaN flows back.
  const mask = tensor([[true, false], [false, false]]);
  const attend = (scores: Tensor): Tensor => {
    const masked = scores.where(mask, -1e30);
    return masked.softmax(-1).where(mask, 0);
  };
  const scores = tensor([[1, 2], [3, 4]]);
  assertEquals(await attend(scores).toArray(), [[1, 0], [0, 0]]);
  assertEquals(await grad((s: Tensor) => attend(s).mul(tensor([[1, 2], [3, 4]])).sum())(scores).toArray(), [[
    0,
    0,
  ], [0, 0]]);
});

testEach("attention of a fully masked row = 0 with zero gradient", async () => {
  const q = tensor([[[[1, 0], [0, 1]]]]), seen = tensor([[true, true], [false, false]]);
  for (const mask of [seen, tensor([[0, 0], [-Infinity, -Infinity]])]) {
    const f = (x: Tensor): Tensor => scaledDotProductAttention(x, q, q, { mask });
    const y = await f(q).toArray();
    assertEquals(y[0][0][1], [0, 0]);
    const g = await grad((x: Tensor) => f(x).sum())(q).toArray();
    assertEquals(g[0][0][1], [0, 0]);
  }
});

testEach("a key that no query sees changes nothing, be it NaN", async () => {
  const q = tensor([[1, 0], [0, 1]]), k = tensor([[1, 2], [NaN, NaN]]), mask = tensor([true, false]);
  const f = (x: Tensor, y: Tensor): Tensor => scaledDotProductAttention(x, y, y, { mask }).sum();
  assertEquals(await scaledDotProductAttention(q, k, k, { mask }).toArray(), [[1, 2], [1, 2]]);
  const [dq, dk] = grad(f, { argnums: [0, 1] })(q, k) as Tensor[];
  assertEquals([await dq.toArray(), await dk.toArray()], [[[0, 0], [0, 0]], [[2, 2], [0, 0]]]);
});

testEach("rows of equal numbers and of zeros have finite normalisations and gradients", async () => {
  for (const x of [tensor([[2, 2, 2]]), tensor([[0, 0, 0]])]) {
    for (const f of [(t: Tensor) => layerNorm(t, 3), (t: Tensor) => rmsNorm(t, 3, { eps: 1e-5 })]) {
      const g = grad((t: Tensor) => f(t).mul(tensor([1, 2, 3])).sum())(x) as Tensor;
      assert([...await f(x).data(), ...await g.data()].every(Number.isFinite));
    }
  }
});

testEach("types promote as PyTorch's", async () => {
  const types = async (a: DType, b: DType, scalar = false): Promise<DType> => {
    const x = tensor([1], { dtype: a }), y = tensor(scalar ? 1 : [1], { dtype: b });
    const z = x.add(y);
    await z.data();
    return z.dtype;
  };
  assertEquals(await types("i32", "f32"), "f32");
  assertEquals(await types("bool", "i32"), "i32");
  assertEquals(await types("f16", "f32"), "f32");
  assertEquals(await types("f16", "f32", true), "f16");
  assertEquals(await types("i32", "u32"), "i32");
  assertEquals(await types("bool", "bool"), "i32");
});

testEach("a JavaScript number takes the tensor's type", async () => {
  const y = tensor([1, 2], { dtype: "i32" }).add(1), z = tensor([1], { dtype: "f16" }).mul(0.5);
  assertEquals([y.dtype, await y.toArray()], ["i32", [2, 3]]);
  assertEquals([z.dtype, await z.toArray()], ["f16", [0.5]]);
});
