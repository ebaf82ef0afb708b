import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { inspectTensor } from "../../display/tensor.ts";
import { jit, randn, type Tensor, tensor, vmap, zeros } from "../../mod.ts";
import { test } from "../support/engines.ts";

async function shown(x: object): Promise<Record<string, string>> {
  return await (x as Record<symbol, () => Promise<Record<string, string>>>)[Symbol.for("Jupyter.display")]();
}

test("a name with control characters reaches no terminal", async () => {
  const x = tensor([1, 2]);
  x.name = "a\n\x1b[31mred";
  assertStringIncludes(Deno.inspect(x).split("\n")[0], "Tensor a [31mred [2]");
  // deno-lint-ignore no-control-regex
  assert(!/\x1b/.test((await shown(x))["text/plain"]));
});

test("a tensor inside an object is printed at the object's place", async () => {
  const x = tensor([[1, 2], [3, 4]]);
  await x.data();
  const lines = Deno.inspect({ b: [x] }, { colors: false }).split("\n");
  const at = lines.findIndex((line) => line.includes("[[1  2]"));
  assertEquals(lines[at].indexOf("[["), lines[at - 1].indexOf("Tensor"));
});

test("inside a transform a tensor says that it has no value there, not how to read it", async () => {
  const texts: string[] = [],
    seen = (x: Tensor): Tensor => {
      texts.push(inspectTensor(x), inspectTensor(x.sin()));
      return x.sin();
    };
  await vmap(seen)(randn([3, 2])).data();
  await jit(seen)(randn([2])).data();
  assertEquals(texts.length, 4);
  texts.forEach((text, i) => {
    assertStringIncludes(text, `without a value inside ${i < 2 ? "vmap" : "jit"}`);
    assert(!text.includes("await"));
  });
});

test("a tensor that cannot be read does not say how to read it", async () => {
  const x = randn([3]);
  await x.data();
  x.dispose();
  assertStringIncludes(Deno.inspect(x), "after dispose()");
  assert(!Deno.inspect(x).includes("await"));
});

test("the text of a tensor of many axes is small", async () => {
  for (const shape of [[5, 5, 5, 5, 5], [6, 6, 6, 6, 6, 6], Array<number>(14).fill(2)]) {
    const { "text/plain": text } = await shown(zeros(shape));
    assert(text.length < 25_000, `${shape}: ${text.length} characters`);
    assertStringIncludes(text, "…");
  }
});

test("showing a graph inside a transform leaves the transform's result and its parameters alone", async () => {
  const w = randn([2, 2], { requiresGrad: true }), texts: Promise<Record<string, string>>[] = [];
  const y = vmap((x: Tensor) => {
    const inner = x.matmul(w).sum();
    texts.push(shown(inner.graph()), shown(inner));
    return inner;
  })(randn([3, 2]));
  assertEquals((await y.data()).length, 3);
  assertEquals((await w.data()).length, 4);
  const [drawn] = await Promise.all(texts);
  assertStringIncludes(drawn["text/plain"], "placeholder");
});

test("whole numbers are shown with all their digits", async () => {
  const { "text/plain": text, "text/html": html } = await shown(
    tensor([4294967295, 12345678], { dtype: "u32" }),
  );
  assertStringIncludes(text, "[4294967295    12345678]");
  assertStringIncludes(html, "4,294,967,295");
});
