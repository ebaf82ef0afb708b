/** What a run on the GPU needs at once: what is made again instead of kept, and results in place of others. */
import { assert, assertEquals } from "@std/assert";
import {
  cat,
  grad,
  jit,
  layerNorm,
  manualSeed,
  noGrad,
  parameter,
  plannedMemory,
  randn,
  sync,
  type Tensor,
  tensor,
} from "../../mod.ts";
import * as api from "../../mod.ts";
import { sizeOf } from "../../ops/shape.ts";
import { draw, random, read } from "../support/numbers.ts";
import { INPUTS, programOf } from "../laws/programs.ts";
import { engine, test } from "./webgpu.ts";

/** Does `f` with all steps fused. */
async function fused<T>(f: () => Promise<T>): Promise<T> {
  const e = engine(), before = e.fusion;
  e.fusion = "always";
  try {
    return await f();
  } finally {
    e.fusion = before;
  }
}

const ROWS = 2048, WIDTH = 256, BYTES = 4 * ROWS * WIDTH;

/** The gradients of layers of products and `f`; with `isKept`, what `f` gave is among the results. */
async function gradients(f: (x: Tensor) => Tensor, layers: number, isKept: boolean): Promise<Tensor[]> {
  const draws = (n: number[]): Tensor => randn(n).mul(1 / 16).keep();
  const x = draws([ROWS, WIDTH]), weights = Array.from({ length: layers }, () => draws([WIDTH, WIDTH]));
  await sync();
  const kept: Tensor[] = [];
  const loss = (...w: Tensor[]): Tensor | [Tensor, Tensor[]] => {
    let y = x;
    kept.length = 0;
    for (const wi of w) kept.push(y = f(y.matmul(wi)));
    const sum = y.square().sum();
    return isKept ? [sum, [...kept]] : sum;
  };
  const argnums = weights.map((_, i) => i);
  if (!isKept) return grad(loss as (...w: Tensor[]) => Tensor, { argnums })(...weights) as Tensor[];
  const [gs, ys] = grad(loss as (...w: Tensor[]) => [Tensor, Tensor[]], { argnums, hasAux: true })(
    ...weights,
  ) as unknown as [Tensor[], Tensor[]];
  return [...gs, ...ys];
}

for (
  const [name, f] of [["a function after a product", (x) => x.sin()], [
    "rows of LayerNorm",
    (x) => layerNorm(x, WIDTH),
  ]] as [
    string,
    (x: Tensor) => Tensor,
  ][]
) {
  test(`${name}: made again for the backward pass instead of kept, with the same bits`, () =>
    fused(async () => {
      const layers = 6, most = (2 * layers + 1) * BYTES;
      manualSeed(4);
      const once = await gradients(f, layers, false), { arena } = plannedMemory(...once);
      assert(arena < most - 1.5 * BYTES, `${arena / BYTES} arrays at once, ${most / BYTES} without`);
      manualSeed(4);
      const kept = await gradients(f, layers, true);
      const numbers = await read(once);
      (await read(kept)).slice(0, layers).forEach((v, i) => assertEquals(v, numbers[i], `gradient ${i}`));
    }));
}

test("random programs have the same bits when all that can be is made again", async () => {
  let more = 0;
  for (let seed = 0; seed < 40; seed++) {
    const p = programOf(seed), rng = random(seed);
    const [a, b, c] = INPUTS.map((s) =>
      tensor(Float32Array.from(draw(rng, sizeOf(s), [-1.2, 1.2])), { shape: s }).keep()
    );
    const f = (): Tensor[] => {
      const loss = (a: Tensor, b: Tensor, c: Tensor): Tensor =>
        p.run(api as Parameters<typeof p.run>[0], a, b, c).sin().sum();
      return [loss(a, b, c), ...grad(loss, { argnums: [0, 1, 2] })(a, b, c)];
    };
    const e = engine(),
      of = async (): Promise<[number, Awaited<ReturnType<typeof read>>]> => {
        const { dispatches } = e.counts, values = await fused(() => read(f()));
        return [e.counts.dispatches - dispatches, values];
      };
    const [least, once] = await of();
    e.assume({ repeats: { least: 1, smallest: 1, share: 1 } });
    try {
      const [most, again] = await of();
      again.forEach((v, i) => assertEquals(v, once[i], `program ${seed}, result ${i}`));
      more += most - least;
    } finally {
      e.assume({});
    }
  }
  assert(more > 40, `${more} dispatches were done again`);
});

type Keep = (t: Tensor) => Tensor;

/** By name: programs whose loops could write over what is read again; `k` has intermediates kept. */
const PROGRAMS: Record<string, (t: Tensor, k: Keep, w: Tensor) => Tensor[]> = {
  "nothing else": (t, k, w) => [k(k(t.cumsum(1)).exp()).matmul(w)],
  "another loop": (t, k) => {
    const y = k(t.cumsum(1));
    return [k(y.sin()).cumsum(0), k(y.cos()).cumsum(0)];
  },
  "loops of one text": (t, k) => {
    const y = k(t.cumsum(1)), z = k(t.cumsum(0));
    return [k(y.add(z).sin()).cumsum(0), k(z.add(y).sin()).cumsum(0)];
  },
  "a fold and a view later": (t, k, w) => {
    const y = k(t.cumsum(1)), z = k(y.sin());
    return [z.matmul(w), y.sum(0).add(z.sum(0)), k(y.permute([1, 0])).matmul(z)];
  },
  "itself, transposed": (t, k) => {
    const y = k(t.narrow(1, 0, 64).cumsum(1));
    return [k(y.add(y.permute([1, 0]))).cumsum(0)];
  },
  "a window of it": (t, k) => {
    const y = k(t.cumsum(1));
    return [cat([y.narrow(1, 0, 150), k(y.narrow(1, 150, 150).sin())], 1).cumsum(0)];
  },
  "one after another": (t, k) => {
    let y = t;
    for (let i = 0; i < 5; i++) y = k(k(y.cumsum(1)).sin());
    return [y.cumsum(0)];
  },
  "a view that is a result": (t, k) => {
    const y = k(t.cumsum(1)), z = k(y.sin());
    return [z.permute([1, 0]), z.cumsum(0), z.reshape([-1])];
  },
  "a result": (t, k) => {
    const y = t.cumsum(1);
    return [y, k(y.sin()).cumsum(0), y.reshape([-1])];
  },
};

for (const [name, f] of Object.entries(PROGRAMS)) {
  test(`a loop whose operand is also read by ${name}: values are as if all were kept`, () =>
    fused(async () => {
      const t = randn([64, 300]).keep(), w = randn([300, 300]).keep();
      const once = await read(f(t.mul(1.5), (y) => y, w));
      (await read(f(t.mul(1.5), (y) => y.keep(), w))).forEach((v, i) =>
        assertEquals(once[i], v, `result ${i}`)
      );
    }));
}

test("an update in place copies first where somebody sees the value before: views, reads under way, arguments", async () => {
  const w = parameter(tensor(Float32Array.from({ length: 4096 }, (_, i) => 1 + i % 7)));
  const step = jit((x: Tensor) => {
    w.assign(noGrad(() => w.mul(2).add(x)));
    return x.sum();
  });
  const x = tensor(new Float32Array(4096)).keep();
  for (let i = 0; i < 3; i++) step(x);
  const before = (await w.data()).slice(), view = w.detach(), read = w.data();
  // The parameter itself is the argument: it is read and replaced by one kernel.
  step(view);
  assertEquals(await read, before);
  assertEquals(await view.data(), before);
  assertEquals((await w.data())[9], 3 * before[9]);
  step(w.detach());
  assertEquals((await w.data())[9], 9 * before[9]);
});
