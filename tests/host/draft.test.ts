/** Drafts of schedules: kernels that are repeated, renamed and packed compute what they would one by one. */
import { assert, assertEquals } from "@std/assert";
import { Draft } from "../../gpu/host/draft.ts";
import type { Kernel } from "../../gpu/host/loops.ts";
import type { Schedule } from "../../gpu/host/schedule.ts";
import { whole } from "../../gpu/host/views.ts";
import type { Step } from "../../ops/lower.ts";
import { primitives } from "../../ops/primitive.ts";
import { generator } from "./compare.ts";

/** Bytes of what slots are multiples of. */
const UNIT = 1 << 19;
const OVERWRITTEN = -1;

/** A number for what kernel `k` makes of others, as good as the formula. */
const made = (k: number, x: readonly number[]): number =>
  x.includes(OVERWRITTEN)
    ? OVERWRITTEN
    : x.reduce((h, v) => (Math.imul(h ^ v, 0x9e3779b1) >>> 7) + h, k + 1) >>> 1;

/** What slots outside of the arena hold at the end, the arena being memory. */
function outcome({ kernels, geometry, slots }: Schedule, numbers: ReadonlyMap<Kernel, number>): number[] {
  const memory: number[] = [], own: number[] = [];
  const units = (slot: number): number[] => {
    const { at, size } = slots[slot];
    return Array.from({ length: 4 * size / UNIT }, (_, i) => at / UNIT + i);
  };
  const read = (slot: number): number => {
    if (slots[slot].kind !== "arena") return own[slot] ?? 0;
    const parts = new Set(units(slot).map((i) => memory[i]));
    return parts.size === 1 ? [...parts][0] : OVERWRITTEN;
  };
  kernels.forEach((kernel, k) => {
    const [to, ...reads] = geometry[k], value = made(numbers.get(kernel)!, reads.map(read));
    if (slots[to].kind !== "arena") own[to] = value;
    else for (const i of units(to)) memory[i] = value;
  });
  return own;
}

const aval = {
  shape: [1 << 11, 1 << 11],
  dtype: "f32" as const,
  p: null,
  segment: 0,
  source: -1,
  scope: null,
};
const leaf: Step = { ...aval, op: null, leaf: "input", inputs: [] };
const matmul: Step = { ...aval, op: primitives().get("matmul") as Step["op"], leaf: null, inputs: [0, 1] };

/** A draft whose kernels are given by what they read (0 the input, 1 the first kernel's) and the units that they write. */
class Fake {
  readonly draft = new Draft([leaf, leaf, matmul], []);
  readonly #numbers = new Map<Kernel, number>();
  readonly #slots: number[];
  readonly #values = [0];
  readonly #roots: number[] = [];

  constructor(input: number) {
    this.#slots = [this.draft.slot("f32", input * UNIT / 4, "input")];
  }

  add(inputs: readonly number[], units: number, { isProduct = false, isRoot = false, passes = false }): void {
    const { draft } = this, reads = inputs.map((i) => this.#slots[i]), kernel: Kernel = () => {};
    const to = draft.slot("f32", units * UNIT / 4, isRoot ? "root" : "arena"), k = this.#numbers.size;
    this.#numbers.set(kernel, k);
    draft.add({
      ...{ kernel, geometry: Int32Array.of(to, ...reads), places: [to, ...reads].map((_, i) => i) },
      ...{ reads: reads.map((slot) => whole(slot, [draft.slots[slot].size])), writes: [to] },
      ...{ steps: isProduct ? [2] : [], passes: passes ? reads : [] },
    });
    if (isRoot) this.#roots.push(to);
    this.#slots.push(to);
    this.#values.push(made(k, inputs.map((i) => this.#values[i])));
  }

  /** Finishes, and holds the results to those of one kernel after the other; how many kernels are done again. */
  check(name: string): number {
    const { schedule, ends } = this.draft.finish(this.#roots, this.#roots.map(() => -1));
    const own = outcome(schedule, this.#numbers), count = this.#numbers.size;
    this.#roots.forEach((r) => assertEquals(own[r], this.#values[this.#slots.indexOf(r)], name));
    assertEquals(ends[count - 1], schedule.kernels.length);
    return schedule.kernels.length - count;
  }
}

Deno.test("a kernel that is done again reads the newest of what was done again twice", () => {
  const fake = new Fake(16), product = { isProduct: true };
  fake.add([0], 4, {}); // 1: y
  fake.add([1], 16, product);
  fake.add([2], 16, product);
  fake.add([2, 3], 16, product); // y waits
  fake.add([1], 4, {}); // 5: z of the second y
  fake.add([4], 4, product); // 6: takes the place of the second y
  fake.add([4, 5], 16, product);
  fake.add([7], 16, product);
  fake.add([7, 8], 16, product); // y and z wait
  fake.add([1, 9], 4, product);
  fake.add([1, 5, 6, 10], 4, { ...product, isRoot: true });
  assertEquals(fake.check("by hand"), 3);
});

Deno.test("100 random drafts compute what their kernels do one by one, however they are repeated and packed", () => {
  let repeats = 0;
  for (let seed = 1; seed <= 100; seed++) {
    const rng = generator(seed), below = (n: number): number => Math.floor(rng() * n), fake = new Fake(2);
    for (let n = 1; n <= 200; n++) {
      // Mostly of what is recent, else of anything; functions of the input can always be repeated.
      const some = (): number => rng() < 0.5 ? n - 1 - below(Math.min(3, n)) : rng() < 0.4 ? 0 : below(n);
      const inputs = Array.from({ length: 1 + below(2) }, some), isRoot = rng() < 0.02 || n === 200;
      fake.add(inputs, 1 + below(3), { isProduct: rng() < 0.4, isRoot, passes: rng() < 0.5 });
    }
    repeats += fake.check(`draft ${seed}`);
  }
  assert(repeats > 100, `${repeats} repeats`);
});
