/** Conventions of movement and indexing that the laws do not see: writing twice, ties, zeros, long lists, empty bags. */
import { assertEquals, assertThrows } from "@std/assert";
import {
  Embedding,
  embedding,
  embeddingBag,
  grad,
  jit,
  split,
  type Tensor,
  tensor,
  zeros,
} from "../../mod.ts";
import { testEach } from "../support/engines.ts";
import { assertClose, drawWhole, random } from "../support/numbers.ts";

const at = (...places: number[]): Tensor => tensor(places, { dtype: "i32" });

testEach("of several values for one place the last remains, and has the gradient", async () => {
  const x = tensor([1, 2, 3]), s = tensor([10, 20, 30]), i = at(1, 1, -2);
  const writes: [string, (x: Tensor, s: Tensor) => Tensor][] = [
    ["scatter", (x, s) => x.scatter(0, i, s)],
    ["indexPut", (x, s) => x.indexPut([i], s)],
    ["indexCopy", (x, s) => x.indexCopy(0, i, s)],
    ["put", (x, s) => x.put(i, s)],
  ];
  for (const [name, f] of writes) {
    assertEquals(await f(x, s).toArray(), [1, 30, 3], name);
    const loss = (x: Tensor, s: Tensor): Tensor => f(x, s).mul(tensor([1, 2, 3])).sum();
    const [dx, ds] = grad(loss, { argnums: [0, 1] })(x, s) as Tensor[];
    assertEquals(await dx.toArray(), [1, 0, 3], name);
    assertEquals(await ds.toArray(), [0, 0, 2], name);
    assertEquals(await jit(f)(x, s).toArray(), [1, 30, 3], `${name} under jit`);
  }
});

testEach("accumulating adds every value for a place", async () => {
  const x = tensor([[1, 2], [3, 4]]);
  assertEquals(
    await x.indexPut([at(1, 1), at(0, 0)], tensor([10, 20]), { accumulate: true }).toArray(),
    [[1, 2], [33, 4]],
  );
  assertEquals(await x.put(at(3, 3, 0), tensor([1, 1, 5]), { accumulate: true }).toArray(), [[6, 2], [3, 6]]);
});

testEach("a value that is overwritten may be NaN: nothing of it is left, nor in the gradient", async () => {
  const x = tensor([NaN, 2, Infinity]);
  const f = (x: Tensor): Tensor => x.scatter(0, at(0, 2), tensor([5, 6]));
  assertEquals(await f(x).toArray(), [5, 2, 6]);
  assertEquals(await grad((x: Tensor) => f(x).square().sum())(x).toArray(), [0, 4, 0]);
});

// Few places that many are sent to, and many of which few are: the GPU sorts the indices of either.
for (const [N, V] of [[5000, 37], [40, 700]]) {
  testEach(`writing ${N} values to ${V} places`, async () => {
    const rng = random(1);
    const places = drawWhole(rng, N, 0, V - 2), values = drawWhole(rng, N, -9, 9);
    const last = new Array(V).fill(-100), least = new Array(V).fill(0), product = new Array(V).fill(1);
    places.forEach((k, j) => {
      last[k] = values[j];
      least[k] = Math.min(least[k], values[j]);
      product[k] *= values[j] > 0 ? -1 : 1;
    });
    const i = at(...places), s = tensor(values);
    const signs = s.gt(0).to("f32").mul(-2).add(1);
    assertEquals(await zeros([V]).sub(100).scatter(0, i, s).toArray(), last);
    assertEquals(await zeros([V]).scatterReduce(0, i, s, "amin").toArray(), least);
    assertEquals(await zeros([V]).add(1).scatterReduce(0, i, signs, "prod").toArray(), product);
    const rows = s.unsqueeze(1).expand([N, 2]);
    assertEquals(
      await zeros([V, 2]).sub(100).scatter(0, i.unsqueeze(1).expand([N, 2]), rows).select(1, 1).toArray(),
      last,
    );
  });
}

testEach(
  "ties of a scattered maximum share the derivative equally, the place's own value among them",
  async () => {
    const x = tensor([3, 0]), s = tensor([3, 1, 3, 2]), i = at(0, 0, 0, 1);
    const of = (includeSelf: boolean): [Tensor, Tensor] =>
      grad((x: Tensor, s: Tensor) => x.scatterReduce(0, i, s, "amax", { includeSelf }).sum(), {
        argnums: [0, 1],
      })(x, s) as [Tensor, Tensor];
    const [dx, ds] = of(true);
    assertClose(await dx.data(), [1 / 3, 0], 1e-6, "with self");
    assertClose(await ds.data(), [1 / 3, 0, 1 / 3, 1], 1e-6, "with self");
    const [alone, sources] = of(false);
    assertClose(await alone.data(), [0, 0], 0, "without self");
    assertClose(await sources.data(), [0.5, 0, 0.5, 1], 1e-6, "without self");
  },
);

testEach(
  "the derivative of a scattered product is that of all others, where elements are 0 too",
  async () => {
    const s = tensor([0, 2, 0, 0, 5]), i = at(0, 0, 1, 1, 2), x = tensor([3, 7, 0]);
    const [dx, ds] = grad((x: Tensor, s: Tensor) => x.scatterReduce(0, i, s, "prod").sum(), {
      argnums: [0, 1],
    })(x, s) as Tensor[];
    assertEquals(await dx.toArray(), [0, 0, 5]);
    assertEquals(await ds.toArray(), [6, 0, 0, 0, 0]);
  },
);

testEach("a scattered mean without the place's own value leaves alone where nothing is sent", async () => {
  const y = tensor([1, 2, 3]).scatterReduce(0, at(0, 0), tensor([4, 8]), "mean", { includeSelf: false });
  assertEquals(await y.toArray(), [6, 2, 3]);
});

testEach("places side by side put their axes where they stand, apart from each other in front", async () => {
  const x = zeros([2, 3, 4, 5]), i = at(0, 1, 0, 1, 0, 1);
  assertEquals(x.index(":", i, i).shape, [2, 6, 5]);
  assertEquals(x.index(i, ":", i).shape, [6, 3, 5]);
  assertEquals(x.index(i, 0, i).shape, [6, 5], "a number is picked first, as in PyTorch");
  assertEquals(x.index(":", i, ":", at(0).squeeze()).shape, [2, 6, 4], "and so is a scalar place");
  assertEquals(x.index(null, i, "...", 0).shape, [1, 6, 3, 4]);
  assertEquals(await x.index(i.unsqueeze(1), at(0, 2)).sum().item(), 0);
});

testEach("windows of any length give their gradients back", async () => {
  const n = 5003, size = 5000, x = zeros([n]);
  const g = await grad((x: Tensor) => x.unfold(0, size, 1).sum())(x).data();
  assertEquals([g[0], g[1], g[3], g[4096], g[n - 2], g[n - 1]], [1, 2, 4, 4, 2, 1]);
});

testEach("the row of the padding gets no gradient, by either of its names", async () => {
  const w = tensor([[1, 2], [3, 4], [5, 6]]), ids = at(0, 2, -1, 1);
  for (const paddingIdx of [2, -1]) {
    const f = (w: Tensor): Tensor => embedding(w, ids, { paddingIdx });
    assertEquals(await f(w).toArray(), [[1, 2], [5, 6], [5, 6], [3, 4]]);
    assertEquals(await grad((w: Tensor) => f(w).sum())(w).toArray(), [[1, 1], [1, 1], [0, 0]]);
  }
});

testEach("an Embedding's padding starts as zeros and stays so", async () => {
  const layer = new Embedding(3, 2, { paddingIdx: -1 });
  assertEquals(await layer.weight.select(0, 2).toArray(), [0, 0]);
  layer.call(at(0, 2)).sum().backward();
  assertEquals(await layer.weight.grad!.toArray(), [[1, 1], [0, 0], [0, 0]]);
});

testEach("an empty bag, and one of padding only, is 0 in every mode and has no gradient", async () => {
  const w = tensor([[-1, 2], [3, -4]]), ids = at(0, 1, 1);
  for (const mode of ["sum", "mean", "max"] as const) {
    const f = (w: Tensor): Tensor => embeddingBag(w, ids, { mode, offsets: at(0, 1, 3), paddingIdx: 1 });
    assertEquals(await f(w).toArray(), [[-1, 2], [0, 0], [0, 0]], mode);
    assertEquals(await grad((w: Tensor) => f(w).sum())(w).toArray(), [[1, 1], [0, 0]], mode);
  }
});

testEach("a split of an empty axis is one empty piece, as in PyTorch", () => {
  assertEquals(split(zeros([0, 2]), 3).map((t) => t.shape), [[0, 2]]);
  assertEquals(zeros([0, 2]).chunk(2).map((t) => t.shape), [[0, 2], [0, 2]]);
});

testEach("a table without rows refuses ids on the way back too", () => {
  assertThrows(
    () => grad((w: Tensor) => embedding(w, at(0)).sum())(zeros([0, 2])),
    RangeError,
    "Cannot look up an embedding in a table without rows",
  );
});

testEach(
  "padding that cuts at one end takes the rest from the whole tensor, circular from what is kept",
  async () => {
    const x = tensor([1, 2, 3, 4]);
    const padded = (mode: "reflect" | "replicate" | "circular"): Promise<number[]> =>
      x.pad([[-1, 2]], { mode }).toArray();
    assertEquals(await padded("reflect"), [2, 3, 4, 3, 2]);
    assertEquals(await padded("replicate"), [2, 3, 4, 4, 4]);
    assertEquals(await padded("circular"), [2, 3, 4, 2, 3]);
    assertEquals(await x.pad([[-1, 2]], 9).toArray(), [2, 3, 4, 9, 9]);
  },
);
