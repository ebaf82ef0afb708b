/** What no model shows, the API says where it happens. */
import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { grad, jacfwd, jacrev, randn, scan, setAdvice, type Tensor, tensor, zeros } from "../../mod.ts";
import { test } from "../support/engines.ts";

/** What is said while `f` runs. */
async function advice(f: () => unknown): Promise<string[]> {
  const said: string[] = [];
  setAdvice((text) => said.push(text));
  try {
    await f();
  } finally {
    setAdvice(true);
  }
  return said;
}

test("a scalar that is differentiated by a pushforward for each input gets advice, once", async () => {
  const f = (x: Tensor): Tensor => x.square().sum(), x = randn([20]);
  const said = await advice(() => [jacfwd(f)(x), jacfwd(f)(x)]);
  assertEquals(said.length, 1);
  assertStringIncludes(said[0], "20 pushforwards");
  assertStringIncludes(said[0], "grad(f)");
  assertEquals(await advice(() => [jacrev(f)(x), grad(f)(x), jacfwd((x: Tensor) => x.square())(x)]), []);
});

test("Jacobians in the wrong order are told so by their shapes", () => {
  const f = randn([2, 4]), g = randn([4, 3]); // J(f ∘ g) = [2, 4] [4, 3]
  assertThrows(() => g.matmul(f), RangeError, "the Jacobian of the outer function comes first");
  assertEquals(f.matmul(g).shape, [2, 3]);
});

test("a second derivative of a gradient without a graph says createGraph", () => {
  const x = tensor(2);
  x.requiresGrad = true;
  x.pow(3).backward();
  const error = assertThrows(() => x.grad!.square().backward(), Error);
  assertStringIncludes(error.message, "createGraph: true");
});

test("a window in the middle of a sequence from a fresh state gets advice, a carried one does not", async () => {
  const xs = randn([10, 3]), body = (h: Tensor, x: Tensor): [Tensor, Tensor] => [h.add(x).tanh(), h];
  const said = await advice(() => [0, 5].map((at) => scan(body, zeros([3]), xs.narrow(0, at, 5))));
  assertEquals(said.length, 1);
  assertStringIncludes(said[0], "t.detach()");
  assertEquals(
    await advice(() => {
      let h: Tensor = zeros([3]);
      for (const at of [0, 5]) h = scan(body, h, xs.narrow(0, at, 5))[0].detach();
    }),
    [],
  );
});

test("shapes that do not broadcast stand below each other, with a mark where they differ", () => {
  const error = assertThrows(() => randn([2, 3]).add(randn([5, 10, 4])), RangeError);
  assertEquals(error.message.split("\n").slice(1), [
    "  [    2, 3]",
    "  [5, 10, 4]",
    "          ^",
  ]);
  const front = assertThrows(() => randn([7, 3]).mul(randn([12, 3])), RangeError);
  assertEquals(front.message.split("\n").slice(1), ["  [ 7, 3]", "  [12, 3]", "    ^"]);
});
