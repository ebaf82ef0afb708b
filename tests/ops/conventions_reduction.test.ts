/** What reductions and order statistics do at ties, NaN, zeros, infinities and in empty lines: as PyTorch. */
import { assertEquals } from "@std/assert";
import { grad, hvp, searchsorted, type Tensor, tensor, zeros } from "../../mod.ts";
import { testEach } from "../support/engines.ts";
import { assertClose } from "../support/numbers.ts";

const INF = Infinity;
type F = (x: Tensor) => Tensor;

const values: [string, F, number[], number[]][] = [
  ["max takes the first of ties", (x) => x.max(0).indices, [1, 3, 3], [1]],
  ["max takes the first NaN", (x) => x.max(0).indices, [1, NaN, 3, NaN], [1]],
  ["min takes NaN", (x) => x.min(0).values, [1, NaN, 3], [NaN]],
  ["argmin takes the first of ties, NaN is smallest", (x) => x.argmin(), [NaN, -INF, NaN], [0]],
  ["median of an even number is the lower one", (x) => x.median(), [4, 1, 3, 2], [2]],
  ["median of a line with NaN is its first NaN", (x) => x.median(0).indices, [4, NaN, 3, NaN], [1]],
  ["nanmedian leaves NaN out", (x) => x.nanmedian(), [4, NaN, 3, NaN, 5], [4]],
  ["nanmedian of NaN is NaN", (x) => x.nanmedian(0).values, [NaN, NaN], [NaN]],
  ["mode is the smallest of the most frequent", (x) => x.mode().values, [3, 1, 3, 1, 2], [1]],
  ["mode stands at its last place", (x) => x.mode().indices, [3, 1, 3, 1, 2], [3]],
  ["cummax takes the last of ties and keeps NaN", (x) => x.cummax(0).indices, [1, 1, NaN, 5], [0, 1, 2, 2]],
  ["cummin takes the last of ties", (x) => x.cummin(0).indices, [1, 2, 1, 0], [0, 0, 2, 3]],
  ["cumprod does not overflow on the way", (x) => x.cumprod(0), [1e-30, 1e30, 1e30], [1e-30, 1, 1e30]],
  ["logcumsumexp does not overflow", (x) => x.logcumsumexp(0), [1000, -INF, 1000], [
    1000,
    1000,
    1000 + Math.LN2,
  ]],
  ["logcumsumexp of nothing is -infinity", (x) => x.logcumsumexp(0), [-INF, -INF, 1], [-INF, -INF, 1]],
  ["topk in order, NaN first", (x) => x.topk(3).values, [2, NaN, 5, 1], [NaN, 5, 2]],
  ["kthvalue counts NaN last", (x) => x.kthvalue(3).values, [NaN, 2, 1], [NaN]],
  ["quantile between elements", (x) => x.quantile(0.5), [1, 2, 4, 8], [3]],
  ["quantile of a line with NaN is NaN", (x) => x.quantile(0), [1, NaN, 4], [NaN]],
  ["quantile next to infinity", (x) => x.quantile(0.5), [-INF, 0], [-INF]],
  ["quantile, nearest, halves to even", (x) => x.quantile(0.5, 0, { interpolation: "nearest" }), [1, 2], [1]],
  ["nanquantile leaves NaN out", (x) => x.nanquantile(1), [1, NaN, 4], [4]],
  ["nanquantile of NaN is NaN", (x) => x.nanquantile(0.5), [NaN, NaN], [NaN]],
  ["several quantiles come first", (x) => x.quantile(tensor([0, 1]), 0), [3, 1, 2], [1, 3]],
  ["searchsorted before equal ones, NaN at the end", (x) => searchsorted(tensor([0, 1, 1]), x), [1, NaN], [
    1,
    3,
  ]],
  ["searchsorted behind equal ones", (x) => searchsorted(tensor([0, 1, 1]), x, { right: true }), [1, -1], [
    3,
    0,
  ]],
  [
    "searchsorted by a sorter",
    (x) => searchsorted(tensor([3, 1, 2]), x, { sorter: tensor([1, 2, 0], { dtype: "i32" }) }),
    [2.5],
    [2],
  ],
  ["searchsorted of a fraction among whole numbers", (x) => searchsorted(x.to("i32"), 1.5), [1, 2, 3], [1]],
  ["bucketize", (x) => x.bucketize(tensor([0, 1])), [-1, 0, 0.5, 1, 2], [0, 0, 1, 1, 2]],
  ["norm of order 0 counts", (x) => x.norm(0, { p: 0 }), [0, 2, NaN, -1], [3]],
  ["norm of order -1 with a zero is 0", (x) => x.norm(0, { p: -1 }), [0, 2], [0]],
  ["nansum of NaN is 0", (x) => x.nansum(), [NaN, NaN], [0]],
  ["nanmean of NaN is NaN", (x) => x.nanmean(), [NaN, NaN], [NaN]],
  ["any sees NaN", (x) => x.any(), [0, NaN], [1]],
  ["a scalar is a line of one", (x) => x.sum().softmax(0).add(x.sum().cumsum(-1)), [2], [3]],
  [
    "histc has its upper limit in the last interval",
    (x) => x.histc(2, { min: 0, max: 2 }),
    [0, 1, 2, 3, -1],
    [1, 2],
  ],
  ["diff more often than there are elements", (x) => x.diff(5), [1, 2], []],
];
for (const [name, f, at, expected] of values) {
  testEach(name, async () => assertClose(await f(tensor(at)).data(), expected, 1e-6, name));
}

const gradients: [string, F, number[], number[]][] = [
  ["max gives ties' derivative to the first", (x) => x.max(0).values, [3, 1, 3], [1, 0, 0]],
  ["max of all shares ties equally", (x) => x.max(), [3, 1, 3], [0.5, 0, 0.5]],
  ["median gives the derivative to the element found", (x) => x.median(0).values, [2, 1, 2, 3], [1, 0, 0, 0]],
  ["median of all shares ties equally", (x) => x.median(), [2, 1, 2, 3], [0.5, 0, 0.5, 0]],
  ["cummax gives ties' derivative to the last", (x) => x.cummax(0).values, [1, 1, 0], [1, 2, 0]],
  ["cumprod with a zero", (x) => x.cumprod(0), [1, 0, 3], [1, 4, 0]],
  ["cumprod with two zeros", (x) => x.cumprod(0), [2, 0, 0, 5], [1, 2, 0, 0]],
  ["norm at 0", (x) => x.norm(), [0, 0], [0, 0]],
  ["norm of order 1.5 at 0", (x) => x.norm(0, { p: 1.5 }), [0, 0], [0, 0]],
  ["norm of order 0.5 with a zero", (x) => x.norm(0, { p: 0.5 }), [0, 4], [0, 1]],
  ["norm of order infinity shares ties", (x) => x.norm(0, { p: INF }), [-3, 3, 1], [-0.5, 0.5, 0]],
  ["nanmean", (x) => x.nanmean(), [1, NaN, 3], [0.5, 0, 0.5]],
  ["quantile of a line with NaN", (x) => x.quantile(0.5), [1, NaN, 3], [0, 1, 0]],
  ["logcumsumexp of nothing", (x) => x.logcumsumexp(0).narrow(0, 2, 1), [-INF, -INF, 1], [0, 0, 1]],
];
for (const [name, f, at, expected] of gradients) {
  testEach(`gradient: ${name}`, async () => {
    const g = grad((x: Tensor) => f(x).sum())(tensor(at)) as Tensor;
    assertClose(await g.data(), expected, 1e-6, name);
  });
}

testEach("second derivatives of cumprod are right at zeros", async () => {
  const f = (x: Tensor): Tensor => x.cumprod(0).sum(); // a + a b + a b c
  const rows = [[1, 0, 0], [0, 1, 0], [0, 0, 1]].map((v) => hvp(f, tensor([2, 0, 0]), tensor(v)) as Tensor);
  assertEquals(await Promise.all(rows.map((t) => t.toArray())), [[0, 1, 0], [1, 0, 2], [0, 2, 0]]);
});

testEach("variance in f16 does not overflow on the way", async () => {
  const x = tensor([1000, 1200, 1400, 1000], { dtype: "f16" });
  assertClose(await x.variance(0, { correction: 0 }).data(), [27_500], 20, "variance");
  assertClose(await x.mul(20).std(0, { correction: 0 }).data(), [3316.6], 4, "std");
});

testEach("any and all of no elements are false and true", async () => {
  assertEquals([await zeros([0]).any().toArray(), await zeros([0]).all().toArray()], [false, true]);
});

testEach("what hangs on values: places, selections, groups, counts", async () => {
  const x = tensor([[0, 2], [NaN, 0]]);
  assertEquals(await (await x.nonzero()).toArray(), [[0, 1], [1, 0]]);
  assertEquals((await tensor(0).nonzero()).shape, [0, 0]);
  assertEquals((await tensor(3).nonzero()).shape, [1, 0]);
  assertEquals(await (await x.maskedSelect(tensor([true, false]))).toArray(), [0, NaN]);
  const u = await tensor([3, 1, NaN, 3, NaN]).unique();
  assertEquals(await u.values.toArray(), [1, 3, NaN, NaN]);
  assertEquals(await u.inverse.toArray(), [1, 0, 2, 1, 3]);
  assertEquals(await u.counts.toArray(), [1, 2, 1, 1]);
  const rows = await tensor([[1, 2], [0, 5], [1, 2]]).unique({ axis: 0 });
  assertEquals(await rows.values.toArray(), [[0, 5], [1, 2]]);
  assertEquals(await rows.inverse.toArray(), [1, 0, 1]);
  const runs = await tensor([1, 1, 2, 1]).uniqueConsecutive();
  assertEquals(await runs.values.toArray(), [1, 2, 1]);
  assertEquals(await (await tensor([0, 2, 2], { dtype: "i32" }).bincount({ minlength: 4 })).toArray(), [
    1,
    0,
    2,
    0,
  ]);
});

testEach("maskedSelect and unique differentiate", async () => {
  const g = await grad(async (x: Tensor) => (await x.maskedSelect(x.gt(1))).square().sum())(
    tensor([1, 2, 3]),
  );
  assertEquals(await g.toArray(), [0, 4, 6]);
  const h = await grad(async (x: Tensor) => (await x.unique()).values.sum())(tensor([2, 2, 3]));
  assertEquals(await h.toArray(), [1, 0, 1]);
});
