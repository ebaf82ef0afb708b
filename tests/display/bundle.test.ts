import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { describe, displayHook, Drawing, sanitize, sanitizeBundle } from "../../display/bundle.ts";

Deno.test("sanitize marks what JSON cannot say", () => {
  assertEquals(sanitize([1, NaN, Infinity, -Infinity, 3n, undefined, null]), [
    1,
    "NaN",
    "Infinity",
    "-Infinity",
    "3n",
    null,
    null,
  ]);
  assertEquals(
    sanitize({ a: new Float32Array([0.5, NaN]), b: undefined, c: new Map([["k", new Set([1n])]]) }),
    {
      a: [0.5, "NaN"],
      c: { k: ["1n"] },
    },
  );
});

Deno.test("sanitize survives cycles, shared parts, and keys that mean something to JavaScript", () => {
  const shared = { x: 1 };
  const cycle: Record<string, unknown> = { first: shared, second: shared };
  cycle.self = cycle;
  assertEquals(sanitize(cycle), { first: { x: 1 }, second: { x: 1 }, self: "[Circular]" });
  const parsed = sanitize(JSON.parse('{"__proto__": {"polluted": true}}')) as Record<string, unknown>;
  assertEquals(parsed.polluted, undefined);
  assertEquals(Object.keys(parsed), ["__proto__"]);
});

Deno.test("a bundle's images become base64 and its text strings", () => {
  const bundle = sanitizeBundle({
    "image/png": new Uint8Array([1, 2, 255]),
    "text/plain": ["a\n", "b"],
    "application/json": { n: NaN },
    "text/html": undefined,
  });
  assertEquals(bundle, { "image/png": "AQL/", "text/plain": "a\nb", "application/json": { n: "NaN" } });
});

Deno.test("describe takes hooks, bundles, bundles with metadata, and anything else as text", async () => {
  assertEquals((await describe({ [displayHook]: () => ({ "text/plain": "hook" }) })).data, {
    "text/plain": "hook",
  });
  assertEquals((await describe({ "text/html": "<b>" })).data, { "text/html": "<b>" });
  assertEquals(await describe({ data: { "text/plain": "t" }, metadata: { "text/plain": { a: 1 } } }), {
    data: { "text/plain": "t" },
    metadata: { "text/plain": { a: 1 } },
  });
  assertEquals((await describe("line")).data, { "text/plain": "line" });
  assertEquals((await describe({ a: 1 })).data, { "text/plain": "{ a: 1 }" });
  assertEquals((await describe({})).data, { "text/plain": "{}" });
});

Deno.test("a hook that throws falls back to text that says so", async () => {
  const broken = {
    [displayHook](): never {
      throw new TypeError("no device");
    },
  };
  assertStringIncludes(String((await describe(broken)).data["text/plain"]), "no device");
});

Deno.test("a drawing whose parts throw still shows text", async () => {
  class Broken extends Drawing {
    override text(): string {
      throw new Error("no text");
    }
    protected override render(): never {
      throw new Error("no picture");
    }
  }
  const drawing = new Broken();
  const text = String((await drawing[displayHook]())["text/plain"]);
  assertStringIncludes(text, "no text");
  assertStringIncludes(text, "no picture");
  assertStringIncludes(Deno.inspect(drawing), "no text");
});

Deno.test("text that cannot be made does not throw", async () => {
  const hostile = {
    [Symbol.for("Deno.customInspect")](): string {
      throw new Error("hostile");
    },
  };
  assert(String((await describe(hostile)).data["text/plain"]).includes("hostile"));
});
