import { assertEquals, assertStringIncludes } from "@std/assert";
import {
  brailleDots,
  consoleText,
  extent,
  formatDuration,
  formatNumber,
  plainLine,
  plainNumber,
  shorten,
  sparkline,
} from "../../display/parts.ts";
import { displayTensor } from "../../display/tensor.ts";
import { tensor } from "../../mod.ts";

Deno.test("numbers are written as a reader expects them", () => {
  const written = [0, 1, -2, 0.1 + 0.2, 1234567, 1e9, 1.5e-7, -1e-5, 123.456, NaN, Infinity, -Infinity]
    .map((value) => formatNumber(value));
  assertEquals(written, [
    "0",
    "1",
    "−2",
    "0.3",
    "1,234,567",
    "1e9",
    "1.5e−7",
    "−1e−5",
    "123.5",
    "NaN",
    "∞",
    "−∞",
  ]);
});

Deno.test("numbers for programs can be pasted back", () => {
  const values = [-2, 1234567, -1.5e-7, NaN, Infinity, -Infinity];
  assertEquals(values.map((value) => plainNumber(value)), [
    "-2",
    "1234567",
    "-1.5e-7",
    "NaN",
    "Infinity",
    "-Infinity",
  ]);
  assertEquals(
    consoleText(values.map((value) => formatNumber(value)).join()),
    "-2,1,234,567,-1.5e-7,NaN,Infinity,-Infinity",
  );
});

Deno.test("the text of a tensor can be pasted back, its picture is typeset", async () => {
  const bundle = await displayTensor(tensor([-1, 12345, -Infinity]));
  assertStringIncludes(String(bundle["text/plain"]), "[       -1      12345  -Infinity]");
  assertStringIncludes(String(bundle["text/html"]), "−1<");
  assertStringIncludes(String(bundle["text/html"]), "−∞");
});

Deno.test("durations are written in the units that matter", () => {
  assertEquals([0.42, 12.3, 200, 7500, NaN].map(formatDuration), [
    "0.4 s",
    "12 s",
    "3 min 20 s",
    "2 h 5 min",
    "?",
  ]);
});

Deno.test("a sparkline shows its extremes, its gaps and constants", () => {
  assertEquals(sparkline([0, 1, 2, 3, 4, 5, 6, 7]), "▁▂▃▄▅▆▇█");
  assertEquals(sparkline([1, NaN, 2]), "▁×█");
  assertEquals(sparkline([5, 5]), "▅▅");
  assertEquals(sparkline([]), "");
  assertEquals(sparkline(Array.from({ length: 1000 }, (_, i) => i), 4).length, 4);
  assertEquals(sparkline([1, 10, 100, 0], 4, true), "▁▅█×");
  assertEquals(sparkline([-1e308, 1e308]), "▁█");
});

Deno.test("braille dots stand in the corners of the picture", () => {
  assertEquals(brailleDots([[0, 0], [1, 1]], 1, 1), ["⡈"]);
  assertEquals(brailleDots([], 2, 1), ["⠀⠀"]);
});

Deno.test("the extent ignores and counts what is not finite", () => {
  assertEquals(extent([3, NaN, -1, Infinity]), { low: -1, high: 3, finite: 2, other: 2 });
});

Deno.test("text is cut by characters and freed of controls", () => {
  assertEquals(shorten("αβγδ", 3), "αβ…");
  assertEquals(plainLine("a\n\x1b[31mb\u2028c"), "a [31mb c");
});

Deno.test("zero has no sign in pictures", () => {
  assertEquals([formatNumber(-0), formatNumber(-0.5), formatNumber(NaN)], ["0", "−0.5", "NaN"]);
});
