/** Mixed precision: a gradient has the type of what it is a gradient of, whatever it passed through. */
import { assertAlmostEquals, assertEquals } from "@std/assert";
import {
  checkpoint,
  cond,
  functionalCall,
  grad,
  hvp,
  jit,
  jvp,
  Linear,
  ones,
  scan,
  SGD,
  type Tensor,
  tensor,
  valueAndGrad,
  vjp,
  vmap,
} from "../../mod.ts";
import type { DType } from "../../ops/dtype.ts";
import { testEach } from "../support/engines.ts";
import { assertClose } from "../support/numbers.ts";

const W = [0.5, -0.25, 1, 0.75], X = [1, 2, -1, 0.5];

/** `sum tanh(x w)^2`, computed in `compute` and summed up in f32. */
function loss(w: Tensor, x: Tensor, compute: DType): Tensor {
  const y = x.to(compute).matmul(w.to(compute)).tanh();
  return y.to("f32").square().sum();
}

const square = (data: number[], dtype: DType): Tensor => tensor(data, { shape: [2, 2], dtype });

for (
  const [name, parameter, compute] of [
    ["f16 parameters, computed in f32", "f16", "f32"],
    ["f32 master weights, computed in f16", "f32", "f16"],
    ["bf16 parameters, computed in f32", "bf16", "f32"],
    ["f32 master weights, computed in bf16", "f32", "bf16"],
  ] as const
) {
  testEach(`a mixed-precision gradient has the dtype of what it is a gradient of: ${name}`, async () => {
    const w = square(W, parameter), x = square(X, "f32");
    const f = (w: Tensor): Tensor => loss(w, x, compute);
    const expected = await grad((w: Tensor) => loss(w, x, "f32"))(square(W, "f32")).data();
    const ways: Record<string, Tensor> = {
      grad: grad(f)(w),
      "under jit": jit(grad(f))(w),
      vjp: vjp(f, w)[1](tensor(1))[0],
      "under vmap": vmap((x: Tensor) => grad((w: Tensor) => loss(w, x, compute))(w))(x.unsqueeze(0)).squeeze(
        0,
      ),
      checkpointed: grad((w: Tensor) => checkpoint(f)(w))(w),
      "in a branch": grad((w: Tensor) => cond(x.sum().gt(0), f, (t: Tensor) => t.to("f32").sum(), w))(w),
      "in a loop": grad((w: Tensor) => scan((c: Tensor, _: Tensor) => [c, f(c)], w, ones([2]))[1].mean())(w),
    };
    w.requiresGrad = true;
    f(w).backward();
    ways.backward = w.grad!;
    for (const [how, g] of Object.entries(ways)) {
      assertEquals([g.dtype, g.shape], [parameter, [2, 2]], how);
      // f16 has 11 bits, bf16 8.
      assertClose(await g.data(), expected, parameter === "bf16" || compute === "bf16" ? 3e-2 : 4e-3, how);
    }
    // A tangent has the type of its primal, and comes out in the type of the result.
    const [y, dy] = jvp(f, [square(W, parameter)], [square(X, parameter)]);
    assertEquals([y.dtype, dy.dtype], ["f32", "f32"]);
    assertEquals(hvp(f, square(W, parameter), square(X, parameter)).dtype, parameter);
  });
}

testEach("a sum of parts in two precisions gives each part its own type", async () => {
  const p = { low: tensor([1, 2], { dtype: "f16" }), high: tensor([3, 4]) };
  const f = ({ low, high }: typeof p): Tensor => low.mul(high).sum(); // promotes to f32
  const g = grad(f)(p);
  assertEquals([g.low.dtype, g.high.dtype, f(p).dtype], ["f16", "f32", "f32"]);
  assertEquals([await g.low.toArray(), await g.high.toArray()], [[3, 4], [1, 2]]);
});

testEach("training in f16 with master weights in f32 gets steps that f16 would lose", async () => {
  const master = tensor([1], { requiresGrad: true }), sgd = new SGD([master], { lr: 1e-4 });
  for (let i = 0; i < 20; i++) {
    sgd.zeroGrad();
    master.to("f16").mul(2).to("f32").sum().backward();
    sgd.step();
  }
  // 20 steps of 2e-4: each is below half of f16's spacing at 1, 2^-11.
  assertAlmostEquals(await master.item(), 1 - 20 * 2e-4, 1e-6);
  let low = tensor([1], { dtype: "f16" });
  for (let i = 0; i < 20; i++) low = low.sub(tensor([2e-4], { dtype: "f16" }));
  assertEquals(await low.item(), 1);
});

testEach("a loss scale keeps gradients that f16 would flush to zero", async () => {
  // The gradient is 2^-26; the smallest number of f16 is 2^-24.
  const w = tensor([1]), small = 2 ** -13;
  const f = (w: Tensor, scale: number): Tensor =>
    w.to("f16").mul(small).mul(small).to("f32").sum().mul(scale);
  assertEquals(await grad((w: Tensor) => f(w, 1))(w).item(), 0);
  assertEquals(await grad((w: Tensor) => f(w, 2 ** 15))(w).item() / 2 ** 15, 2 ** -26);
});

testEach("a layer called with cast parameters has gradients in the type of its own", async () => {
  const layer = new Linear(2, 1);
  const parameters = { weight: tensor([[0.5, -1]]), bias: tensor([0.25]) };
  const f = (p: typeof parameters): Tensor => {
    const low = { weight: p.weight.to("f16"), bias: p.bias.to("f16") };
    return functionalCall(layer, low, tensor([[1, 2]], { dtype: "f16" })).to("f32").square().sum();
  };
  const [y, g] = valueAndGrad(f)(parameters);
  assertEquals([g.weight.dtype, g.bias.dtype], ["f32", "f32"]);
  assertEquals([await y.item(), await g.weight.toArray(), await g.bias.toArray()], [1.5625, [[-2.5, -5]], [
    -2.5,
  ]]);
});
