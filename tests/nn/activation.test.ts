/** Activations as modules: each is the op of its name with the options that it was made with. */
import { assertEquals, assertThrows } from "@std/assert";
import * as api from "../../mod.ts";
import { gelu, type Module, type Tensor, tensor } from "../../mod.ts";
import { numbers } from "./support.ts";

const pairs: [Module, (x: Tensor) => Tensor][] = [
  [new api.ReLU(), (x) => x.relu()],
  [new api.ReLU6(), (x) => x.relu6()],
  [new api.LeakyReLU(0.2), (x) => x.leakyRelu(0.2)],
  [new api.PReLU(), (x) => x.leakyRelu(0.25)],
  [new api.ELU(0.5), (x) => x.elu(0.5)],
  [new api.CELU(0.5), (x) => x.celu(0.5)],
  [new api.SELU(), (x) => x.selu()],
  [new api.GELU(), (x) => x.gelu()],
  [new api.GELU({ approximate: "tanh" }), (x) => gelu(x, { approximate: "tanh" })],
  [new api.SiLU(), (x) => x.silu()],
  [new api.Mish(), (x) => x.mish()],
  [new api.Softplus({ beta: 2 }), (x) => x.softplus({ beta: 2 })],
  [new api.LogSigmoid(), (x) => x.logSigmoid()],
  [new api.Softsign(), (x) => x.softsign()],
  [new api.Tanhshrink(), (x) => x.tanhshrink()],
  [new api.Hardtanh(-2, 0.5), (x) => x.hardtanh(-2, 0.5)],
  [new api.Hardsigmoid(), (x) => x.hardsigmoid()],
  [new api.Hardswish(), (x) => x.hardswish()],
  [new api.Softshrink(0.3), (x) => x.softshrink(0.3)],
  [new api.Hardshrink(0.3), (x) => x.hardshrink(0.3)],
  [new api.Threshold(0.1, -5), (x) => x.threshold(0.1, -5)],
  [new api.GLU(0), (x) => x.glu(0)],
  [new api.Softmin(0), (x) => x.softmin(0)],
  [new api.LogSoftmax(0), (x) => x.logSoftmax(0)],
];

for (const [module, op] of pairs) {
  Deno.test(`${module} is the op of its name`, async () => {
    const x = tensor([[-3, -0.2, 0.2], [0.5, 1.5, 7]]);
    assertEquals(await numbers(module.call(x)), await numbers(op(x)));
  });
}

Deno.test("PReLU learns a slope for each channel", async () => {
  const layer = new api.PReLU(2, { init: 0.1 }), x = tensor([[-1, -2], [3, -4]]);
  layer.call(x).sum().backward();
  assertEquals(await numbers(layer.weight.grad!), [-1, -6]);
  assertThrows(
    () => layer.call(tensor([[1, 2, 3]])),
    RangeError,
    "there is one weight, or one for each of the 3 places",
  );
});
