import { assertEquals } from "@std/assert";
import { cat, grad, ones, type Tensor, tensor, vmap } from "../../mod.ts";
import type { Node } from "../../ops/node.ts";

/** The ops of a tensor's graph. */
function ops(t: Tensor): string[] {
  const seen = new Set<Node>(),
    visit = (node: Node): void => {
      if (!seen.has(node)) seen.add(node), node.inputs.forEach(visit);
    };
  visit(t.node);
  return [...seen].map(({ op }) => op.name);
}

const x = tensor([[1, 2, 3, 4], [5, 6, 7, 8]]);
const squares = (pieces: readonly Tensor[]) => cat(pieces.map((p, i) => p.square().mul(i + 1)), 1).sum();

Deno.test("the cotangent of a value that was split is its pieces' put together, in whatever order they were used", async () => {
  for (const order of [[0, 1, 2], [2, 0, 1], [1, 2, 0]]) {
    const f = (x: Tensor) => {
      const pieces = [x.narrow(1, 0, 1), x.narrow(1, 1, 2), x.narrow(1, 3, 1)];
      return squares(order.map((i) => pieces[i]));
    };
    const factor = [0, 1, 1, 2].map((piece) => 2 * (order.indexOf(piece) + 1));
    const expected = (await x.toArray() as number[][]).map((row) => row.map((v, i) => v * factor[i]));
    const g = grad(f)(x), used = ops(g);
    assertEquals([used.includes("cat"), used.includes("scatterWindow")], [true, false]);
    assertEquals(await g.toArray(), expected);
    assertEquals(await vmap(grad((r: Tensor) => f(r.unsqueeze(0))))(x).toArray(), expected);
    assertEquals(await grad((x: Tensor) => grad(f)(x).sum())(x).toArray(), [factor, factor]);
  }
});

Deno.test("pieces that leave a gap, overlap, or come twice add up", async () => {
  const uses: [number, number][][] = [[[0, 1], [2, 2]], [[0, 3], [2, 2]], [[0, 4], [0, 4], [1, 2]], [[0, 2], [
    2,
    2,
  ], [
    0,
    2,
  ]], [[1, 3]]];
  for (const windows of uses) {
    const f = (x: Tensor) =>
      windows.map(([at, n]) => x.narrow(1, at, n).square().sum()).reduce((a, b) => a.add(b));
    const times = [0, 1, 2, 3].map((i) => windows.filter(([at, n]) => at <= i && i < at + n).length);
    const expected = (await x.toArray() as number[][]).map((row) => row.map((v, i) => 2 * v * times[i]));
    assertEquals(await grad(f)(x).toArray(), expected);
  }
});

Deno.test("rows that were split in two ways add up", async () => {
  const f = (x: Tensor) =>
    [x.narrow(0, 0, 1), x.narrow(0, 1, 1), x.narrow(1, 0, 2), x.narrow(1, 2, 2)]
      .map((p) => p.sum()).reduce((a, b) => a.add(b));
  assertEquals(await grad(f)(ones([2, 4])).toArray(), [[2, 2, 2, 2], [2, 2, 2, 2]]);
});
