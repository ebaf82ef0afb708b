/** Modules as functions of their parameters. */
import { assert, assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import { grad, hvp, jit, randn, type Tensor, tensor, vmap, zeros } from "../../mod.ts";
import { ReLU } from "../../nn/activation.ts";
import { functionalCall } from "../../nn/functional_call.ts";
import { Linear } from "../../nn/linear.ts";
import { mseLoss } from "../../nn/loss.ts";
import { Module } from "../../nn/module.ts";
import { BatchNorm } from "../../nn/norm.ts";
import { Sequential } from "../../nn/sequential.ts";
import { numbers } from "./support.ts";

Deno.test("functionalCall gives per-example gradients that add up to the gradient of the batch", async () => {
  const model = new Sequential(new Linear(3, 4), new ReLU(), new Linear(4, 1));
  const x = randn([5, 3]), y = randn([5, 1]);
  const loss = (p: Record<string, Tensor>, x: Tensor, y: Tensor): Tensor =>
    mseLoss(functionalCall(model, p, x), y, { reduction: "sum" });
  const each = vmap(grad(loss), { inAxes: [null, 0, 0] })(model.namedParameters(), x, y) as Record<
    string,
    Tensor
  >;
  mseLoss(model.call(x), y, { reduction: "sum" }).backward();
  for (const [path, p] of Object.entries(model.namedParameters())) {
    assertEquals(each[path].shape, [5, ...p.shape]);
    const sum = await numbers(each[path].sum(0)), whole = await numbers(p.grad!);
    sum.forEach((v, i) => assert(Math.abs(v - whole[i]) < 1e-4, `${path} ${v} ${whole[i]}`));
  }
  assert(model.parameters().every((p) => p.isLeaf && p.requiresGrad));
});

Deno.test("functionalCall works for a step inside a gradient (MAML) and for Hessian products", async () => {
  const model = new Linear(1, 1, { bias: false });
  model.weight.assign(tensor([[3]]));
  // L(w) = w²; one inner step w' = w − a 2w; outer loss w'² has gradient 2 (1 − 2a)² w.
  const loss = (p: Record<string, Tensor>): Tensor => functionalCall(model, p, tensor([[1]])).square().sum();
  const outer = (p: { weight: Tensor }): Tensor => {
    const g = grad(loss)(p);
    return loss({ weight: p.weight.sub(g.weight.mul(0.1)) });
  };
  const g = grad(outer)({ weight: model.weight });
  assertEquals((await g.weight.item()).toFixed(4), (2 * 0.64 * 3).toFixed(4));
  const product = hvp(loss, model.namedParameters(), { weight: tensor([[5]]) });
  assertEquals(await product.weight.item(), 10);
  // Nested as the modules are, and only in part.
  const deep = new Sequential(new Linear(2, 2), new Linear(2, 1));
  const tree = deep.parameterTree();
  assertEquals(functionalCall(deep, { 0: tree[0] as Record<string, Tensor> }, randn([1, 2])).shape, [1, 1]);
});

Deno.test("functionalCall under jit reads the given tensors anew, not the model's", async () => {
  const model = new Linear(1, 1, { bias: false }), other = tensor([[2]]);
  const f = jit((x: Tensor) => functionalCall(model, { weight: other }, x));
  assertEquals(await f(tensor([[1]])).item(), 2);
  other.assign(tensor([[7]]));
  assertEquals(await f(tensor([[1]])).item(), 7);
});

Deno.test("functionalCall refuses unknown names, wrong shapes and asynchronous modules, and leaves the model as it was", () => {
  const model = new Linear(2, 1), x = randn([1, 2]), node = model.weight.node;
  assertThrows(
    () => functionalCall(model, { w: randn([1, 2]) }, x),
    Error,
    "no parameter or buffer of that name",
  );
  assertThrows(() => functionalCall(model, { weight: randn([2, 2]) }, x), RangeError, "[2,2]");
  class Slow extends Module {
    inner = new Linear(2, 1);
    // deno-lint-ignore require-await
    async forward(x: Tensor): Promise<Tensor> {
      return this.inner.call(x);
    }
  }
  const slow = new Slow();
  assertThrows(() => functionalCall(slow, slow.namedParameters(), x), TypeError, "asynchronous");
  assertStrictEquals(model.weight.node, node);
});

Deno.test("functionalCall refuses to lose an update of running statistics that others stand for", async () => {
  const norm = new BatchNorm(2), x = randn([4, 2]);
  const all = { ...norm.namedParameters(), runningMean: zeros([2]) };
  const f = vmap((t: Tensor) => functionalCall(norm, { ...all, runningMean: t }, x).sum());
  assertThrows(() => f(zeros([3, 2])), Error, "runningMean");
  assertThrows(() => functionalCall(norm, all, x), Error, "runningMean");
  assertEquals(await numbers(norm.runningMean!), [0, 0]);
  functionalCall(norm, norm.namedParameters(), x);
  assert((await numbers(norm.runningMean!)).some((v) => v !== 0));
});
