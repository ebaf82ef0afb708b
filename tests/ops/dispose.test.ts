/** What `dispose` frees, and what it leaves to others. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import {
  defaultDevice,
  grad,
  jit,
  memory,
  sync,
  type Tensor,
  tensor,
  valueAndGrad,
  vmap,
} from "../../mod.ts";
import { testEach } from "../support/engines.ts";

const passing: [string, (x: Tensor) => Tensor][] = [
  ["a jitted function", (x) => jit((x: Tensor) => x)(x)],
  ["a jitted function that captures it", (x) => jit(() => x)()],
  ["a batched function", (x) => vmap((x: Tensor) => x)(x)],
  ["a gradient", (x) => grad((y: Tensor) => y.mul(x).sum())(x.detach())],
  ["detach", (x) => x.detach()],
  ["stopGradient", (x) => x.stopGradient()],
  ["reshape", (x) => x.reshape([2, 2])],
];

for (const [what, f] of passing) {
  testEach(`a tensor outlives what passes it on (${what})`, async () => {
    const x = tensor([1, 2, 3, 4]), y = f(x).keep();
    await sync();
    y.dispose();
    assertEquals(await x.toArray(), [1, 2, 3, 4]);
    assertEquals(await x.add(1).toArray(), [2, 3, 4, 5]);
  });
}

testEach("results of transforms give their memory back when they are disposed of", async () => {
  const x = tensor(new Float32Array(1 << 16).fill(1)), device = defaultDevice();
  const f = valueAndGrad((x: Tensor) => x.mul(2).sin().sum());
  const held: number[] = [];
  for (let i = 0; i < 6; i++) {
    const [value, gradient] = f(x);
    gradient.keep();
    await value.item();
    value.dispose();
    gradient.dispose();
    held.push(memory(device).live);
  }
  assert(held[5] < held[1] + 1024, `${held}`); // small values go together
}, { only: ["host", "webgpu"] });

testEach("what was disposed of says so: a computed tensor, a gradient, a parameter", async () => {
  const x = tensor([1, 2], { requiresGrad: true }),
    y = x.mul(2).keep(),
    g = grad((x: Tensor) => x.sin().sum())(x).keep();
  await sync();
  for (const t of [y, g, x]) {
    t.dispose();
    await assertRejects(() => t.toArray(), Error, "dispose");
  }
});

for (const how of ["as it is", "jitted"]) {
  testEach(
    `a gradient is no other tensor's: not the caller's cotangent, not another's gradient (${how})`,
    async () => {
      const compiled: typeof jit = how === "jitted" ? jit : ((f: unknown) => f) as typeof jit;
      const p = tensor([1, 2], { requiresGrad: true }), q = tensor([3, 4], { requiresGrad: true });
      const ct = tensor([5, 6]);
      await sync();
      const step = compiled((ct: Tensor) => {
        for (const x of [p, q]) x.zeroGrad();
        p.add(q).backward(ct);
      });
      for (let i = 0; i < 3; i++) {
        step(ct);
        await sync();
        p.grad!.dispose();
        assertEquals([await q.grad!.toArray(), await ct.toArray()], [[5, 6], [5, 6]]);
      }
      const add = compiled((ct: Tensor) => p.add(q).backward(ct));
      step(ct);
      add(ct);
      add(ct);
      assertEquals([await p.grad!.toArray(), await q.grad!.toArray()], [[15, 18], [15, 18]]);
    },
  );
}
