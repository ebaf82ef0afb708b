/** Threads of the host engine: jobs that follow each other at once, of different kernels, are all done, each part once. */
import { assertEquals } from "@std/assert";
import { HostMemory } from "../../gpu/host/memory.ts";
import { Runner } from "../../gpu/host/wasm/runner.ts";

/** Adds `by` to `n` words from `at + 4 from` on. */
const text = (by: number): string =>
  `(func $run (param $at i32) (param $from i32) (param $to i32) (param $scratch i32) (local $p i32)
(local.set $p (i32.add (local.get $at) (i32.mul (local.get $from) (i32.const 4))))
(i32.store (local.get $scratch) (i32.const ${by}))
(block $end (loop $next (br_if $end (i32.ge_s (local.get $from) (local.get $to)))
  (i32.store (local.get $p) (i32.add (i32.load (local.get $p)) (i32.load (local.get $scratch))))
  (local.set $p (i32.add (local.get $p) (i32.const 4)))
  (local.set $from (i32.add (local.get $from) (i32.const 1))) (br $next))))`;

Deno.test("jobs one after the other, with modules of their own and any number of parts, do every part once", async () => {
  const memory = new HostMemory(), runner = new Runner(memory), n = 4099, at = memory.take(4 * n)!;
  const words = new Int32Array(memory.buffer, at, n).fill(0);
  let expected = 0;
  const job = (by: number, work: number, turns: number): void => {
    expected += by;
    runner.run(
      runner.module(text(by)),
      "run",
      n,
      3,
      work,
      (from, to, { sums }) => [at, from, to, sums],
      turns,
    );
    assertEquals(words.findIndex((x) => x !== expected), -1);
  };
  for (let round = 0; round < 20; round++) {
    for (let i = 0; i < 100; i++) job(1 + i % 17, i % 3 === 0 ? 1e9 : 4e5, 1 + i % 7);
    await new Promise((done) => setTimeout(done, 5)); // threads come up
  }
});

Deno.test("a job that fails says so in the thread that asked for it", () => {
  const runner = new Runner(new HostMemory());
  const module = runner.module("(func $run (param $from i32) (if (local.get $from) (then (unreachable))))");
  runner.run(module, "run", 100, 1, 1e9, () => [0]); // threads start
  let message = "";
  try {
    for (let i = 0; i < 100; i++) runner.run(module, "run", 100, 1, 1e9, () => [1]);
  } catch (error) {
    message = (error as Error).message;
  }
  assertEquals(message, "unreachable");
});
