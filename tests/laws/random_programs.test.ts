/** Random programs of ops and nested transforms: every engine, jit, loops in place of vmap and scan, differences. */
import { assertEquals } from "@std/assert";
import * as api from "../../mod.ts";
import { grad, jit, type Tensor, tensor, vmap } from "../../mod.ts";
import type { DType, TypedArray } from "../../ops/dtype.ts";
import { sizeOf } from "../../ops/shape.ts";
import { createHostEngine } from "../../gpu/host/engine.ts";
import { type Backend, byReference, testEach, use } from "../support/engines.ts";
import { assertClose, draw, inner, random, read } from "../support/numbers.ts";
import { type Api, INPUTS, plain, type Program, programOf } from "./programs.ts";

const isSoak = Deno.env.get("COTANGENT_SOAK") === "1";
const COUNT = isSoak ? 10_000 : 1_000;
const SHARDS = 10;
/** One program alone: `COTANGENT_PROGRAM=17 deno test -A tests/laws/random_programs.test.ts`. */
const only = Deno.env.get("COTANGENT_PROGRAM");

const thrifty = createHostEngine({ repeats: { least: 1, smallest: 1, share: 1 } });

type Numbers = number[][];

function numbersOf(seed: number): { at: Numbers; other: Numbers; direction: Numbers } {
  const rng = random(seed ^ 0x5eed);
  const some = (): Numbers => INPUTS.map((s) => draw(rng, sizeOf(s), [-1.2, 1.2]).map(Math.fround));
  return { at: some(), other: some(), direction: some() };
}

const make = (x: Numbers, dtype: DType): Tensor[] =>
  x.map((data, i) => tensor(data, { shape: INPUTS[i], dtype }));
const isFinite = (a: TypedArray): boolean => a.every((v) => Number.isFinite(v));

/** The program's value and the gradient of a sum of sines of it. */
function valueAndGradients(p: Program, ct: Api, x: Tensor[]): Tensor[] {
  const loss = (a: Tensor, b: Tensor, c: Tensor): Tensor => p.run(ct, a, b, c).sin().sum();
  const [a, b, c] = x;
  return [p.run(ct, a, b, c), ...grad(loss, { argnums: [0, 1, 2] })(a, b, c)];
}

async function check(seed: number, b: Backend): Promise<void> {
  const p = programOf(seed), { at, other, direction } = numbersOf(seed);
  if (b.name === "reference") {
    const x = make(at, "f64"), y = make(other, "f64");
    const [value, ...gradients] = valueAndGradients(p, api as Api, x);
    const naive = valueAndGradients(p, plain, x);
    const recorded = jit((a: Tensor, b: Tensor, c: Tensor) => valueAndGradients(p, api as Api, [a, b, c]));
    recorded(...y as [Tensor, Tensor, Tensor]);
    const repeated = recorded(...x as [Tensor, Tensor, Tensor]);
    // Batched over the first input alone, as per-example gradients are.
    const loss = (a: Tensor, b: Tensor, c: Tensor): Tensor => p.run(api, a, b, c).sin().sum();
    const mapped = vmap((a: Tensor) => grad(loss, { argnums: [0, 1, 2] })(a, x[1], x[2]))(
      api.stack([x[0], y[0]]),
    );
    const step = 1e-6,
      moved = (s: number): Tensor[] =>
        make(at.map((v, i) => v.map((e, k) => e + s * direction[i][k])), "f64");
    const losses = [step, -step, step / 4, -step / 4].map((s) =>
      loss(...moved(s) as [Tensor, Tensor, Tensor])
    );
    const groups: Tensor[][] = [
      [value, ...gradients],
      naive,
      repeated,
      mapped.map((t: Tensor) => t.select(0, 0)),
      losses,
    ];
    groups[0].forEach((t, i) =>
      assertEquals([naive[i].shape, repeated[i].shape], [t.shape, t.shape], `shape of result ${i}`)
    );
    const all = await read(groups.flat());
    let k = 0;
    const [now, loops, jitted, batched, [l1, l2, l3, l4]] = groups.map((g) => all.slice(k, k += g.length));
    if (!now.every(isFinite)) {
      throw new Error("the program is not finite: make the generator keep to moderate values");
    }
    now.forEach((v, i) =>
      assertClose(loops[i], v, 1e-9, `${i === 0 ? "value" : `gradient ${i - 1}`} by loops`)
    );
    now.forEach((v, i) =>
      assertClose(jitted[i], v, 1e-9, `${i === 0 ? "value" : `gradient ${i - 1}`} by jit`)
    );
    now.slice(1).forEach((v, i) => assertClose(batched[i], v, 1e-9, `gradient ${i} by vmap`));
    const slope = now.slice(1).reduce((s, g, i) => s + inner(g, direction[i]), 0);
    const wide = (l1[0] - l2[0]) / (2 * step), narrow = (l3[0] - l4[0]) / (step / 2);
    // Where two steps disagree there is a kink between them, and differences say nothing.
    if (Math.abs(wide - narrow) < 1e-6 * Math.max(1, Math.abs(wide))) {
      assertClose([slope], [wide], 2e-5, "gradient by differences");
    }
    return;
  }
  const run = async (dtype: DType): Promise<TypedArray[]> =>
    await read(valueAndGradients(p, api, make(at, dtype)));
  const got = await run(b.float);
  if (b.name === "host") {
    // Done again, kernels compute the same.
    use({ ...b, engine: thrifty });
    const again = await run(b.float);
    use(b);
    assertEquals(again, got, "where all is done again that can be");
  }
  const truth = await byReference(b, () => run("f64"));
  // What the same arithmetic loses in f32 says how well the program is conditioned.
  const rounded = b.float === "f32" ? await byReference(b, () => run("f32")) : truth;
  got.forEach((v, i) => {
    const scale = Math.max(1, ...Array.from(truth[i], Math.abs));
    const lost = Math.max(0, ...Array.from(truth[i], (t, k) => Math.abs(rounded[i][k] - t))) / scale;
    assertClose(
      v,
      truth[i],
      b.float === "f32" ? 1e-3 + 100 * lost : 1e-9,
      `${i === 0 ? "value" : `gradient ${i - 1}`} as the reference has it`,
    );
  });
}

async function checkAll(seeds: number[], b: Backend): Promise<void> {
  const failures: string[] = [];
  for (const seed of seeds) {
    try {
      await check(seed, b);
    } catch (error) {
      const { message, stack } = error as Error;
      failures.push(
        `program ${seed} on ${b.name}: ${message}\n${programOf(seed).text}\n${
          stack?.split("\n").slice(1, 6).join("\n")
        }`,
      );
    }
  }
  if (failures.length > 0) {
    throw new Error(
      `${failures.length} of ${seeds.length} programs fail:\n${failures.slice(0, 3).join("\n\n")}`,
    );
  }
}

for (let shard = 0; shard < SHARDS; shard++) {
  const n = COUNT / SHARDS,
    seeds = only === undefined
      ? Array.from({ length: n }, (_, i) => 1 + shard * n + i)
      : shard === 0
      ? [Number(only)]
      : [];
  if (seeds.length > 0) testEach(`random programs ${seeds[0]} to ${seeds.at(-1)}`, (b) => checkAll(seeds, b));
}
