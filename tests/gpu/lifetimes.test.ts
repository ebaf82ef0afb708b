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
async function gradients(
  f: (x: Tensor) => Tensor,
  layers: number,
  isKept: boolean,
  start: (x: Tensor) => Tensor = (x) => x,
): Promise<Tensor[]> {
  const draws = (n: number[]): Tensor => randn(n).mul(1 / 16).keep();
  const x = draws([ROWS, WIDTH]), weights = Array.from({ length: layers }, () => draws([WIDTH, WIDTH]));
  await sync();
  const kept: Tensor[] = [];
  const loss = (...w: Tensor[]): Tensor | [Tensor, Tensor[]] => {
    kept.length = 0;
    let y = start(x);
    kept.push(y);
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

test("what cat puts into one array is made again with all its parts, or not at all", () =>
  fused(async () => {
    const half = WIDTH / 2;
    const swap = (x: Tensor): Tensor => cat([x.narrow(1, half, half), x.narrow(1, 0, half)], 1);
    const run = async (isKept: boolean): Promise<Awaited<ReturnType<typeof read>>> => {
      manualSeed(4);
      return await read(await gradients((y) => y.sin(), 6, isKept, swap));
    };
    const kept = await run(true);
    (await run(false)).forEach((g, i) => assert(g.every((v, k) => v === kept[i][k]), `gradient ${i}`));
  }));

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
  "its halves, put together again": (t, k, w) => {
    const y = k(t.cumsum(1)), again = cat([y.narrow(0, 0, 32), y.narrow(0, 32, 32)], 0);
    return [k(y.sin()).cumsum(0), again, k(again.cos()).matmul(w)];
  },
  "parts of it in order, and a result": (t, k) => {
    const y = k(t.cumsum(1)), part = cat([y.narrow(0, 8, 8), y.narrow(0, 16, 24)], 0);
    const z = k(y.sin());
    return [z.cumsum(0), k(part.cos()).cumsum(0), part.reshape([-1])];
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
      const kept = await read(f(t.mul(1.5), (y) => y.keep(), w)),
        step = jit((t: Tensor) => f(t, (y) => y, w));
      (await read(f(t.mul(1.5), (y) => y, w))).forEach((v, i) => assertEquals(v, kept[i], `result ${i}`));
      for (let call = 0; call < 2; call++) {
        (await read(step(t.mul(1.5)))).forEach((v, i) => assertEquals(v, kept[i], `result ${i}, jitted`));
      }
    }));
}

for (
  const [name, use] of Object.entries({
    "as they are": (y) => y,
    "detached": (y) => y.detach(),
    "in a sum": (y) => y.sin().sum(),
    "in a product": (y) => y.matmul(y),
  } as Record<string, (y: Tensor) => Tensor>)
) {
  test(`a jitted step that uses halves of a parameter put together ${name}: they are of the value before`, async () => {
    const start = Float32Array.from({ length: 4096 }, (_, i) => 1 + i % 7);
    const w = parameter(tensor(start, { shape: [64, 64] }));
    const step = jit(() => {
      const again = cat([w.narrow(0, 0, 32), w.narrow(0, 32, 32)], 0);
      w.assign(noGrad(() => w.mul(2)));
      return use(again);
    });
    const shown = Array.from({ length: 5 }, () => step().keep());
    for (const [i, y] of shown.entries()) {
      const is = await y.data(), before = tensor(start, { shape: [64, 64] }).mul(2 ** i);
      const must = await use(before).data();
      is.forEach((v, k) =>
        assert(Math.abs(v - must[k]) <= 1e-5 * (1 + Math.abs(must[k])), `call ${i}: ${v}`)
      );
    }
  });
}

test("random jitted steps of views, parts and loops that replace a parameter compute what the host does", async () => {
  const n = 48, shape = [n, n];
  const data = (seed: number, device: "host" | "webgpu"): Tensor =>
    tensor(draw(random(seed), n * n, [-1, 1]), { shape, dtype: "f32", device });
  for (let seed = 0; seed < 60; seed++) {
    const step = (w: Tensor, x: Tensor): Tensor[] => {
      const rng = random(1000 + seed), pool = [w, x];
      const pick = (): Tensor => pool[Math.floor(rng() * pool.length)];
      const replace = Math.floor(rng() * 12);
      for (let i = 0; i < 12; i++) {
        const a = pick(), b = pick(), at = 4 * Math.floor(rng() * 12), kind = Math.floor(rng() * 8);
        const top = a.narrow(0, 0, at), rest = a.narrow(0, at, n - at);
        pool.push([
          () => cat([top, rest], 0),
          () => cat([rest, top], 0),
          () => cat([top, b.narrow(0, at, n - at)], 0),
          () => cat([a.narrow(0, 8, 20), a.narrow(0, 28, 12), b.narrow(1, 0, 16).permute([1, 0])], 0),
          () => a.sin().add(b),
          () => a.add(b.permute([1, 0])).cos(),
          () => a.matmul(b).mul(1 / n),
          () => a.mul(0.5).cumsum(1).sin(),
        ][kind]());
        if (i === replace) w.assign(noGrad(() => pool[pool.length - 1].add(w).sin()));
      }
      return [pool[pool.length - 1], pick(), pick()];
    };
    const of = async (device: "host" | "webgpu"): Promise<Tensor[]> => {
      const w = parameter(data(seed, device)), x = data(seed + 1, device).keep();
      const f = device === "host" ? (): Tensor[] => step(w, x) : jit(() => step(w, x));
      const all: Tensor[] = [];
      for (let call = 0; call < 3; call++) all.push(...f().map((y) => y.detach().keep()));
      await sync();
      return [...all, w];
    };
    const expected = await read(await of("host"));
    (await read(await of("webgpu"))).forEach((v, i) =>
      v.forEach((y, k) =>
        assert(Math.abs(Number(y) - Number(expected[i][k])) < 1e-3, `program ${seed}, result ${i}`)
      )
    );
  }
});

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
