/** Bad input: each error names the action, the operands, what is and what must be, and the engine goes on. */
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  Adam,
  AdamW,
  arange,
  bceWithLogits,
  broadcastTensors,
  cat,
  checkpoint,
  crossEntropy,
  customVjp,
  dropout,
  einsum,
  Embedding,
  embedding,
  eye,
  fit,
  full,
  grad,
  hessian,
  hvp,
  jacfwd,
  jacrev,
  jit,
  jvp,
  l1Loss,
  Linear,
  linearize,
  linspace,
  manualSeed,
  mseLoss,
  ones,
  rand,
  randint,
  randn,
  scan,
  setDefaultDevice,
  SGD,
  split,
  stack,
  Tensor,
  tensor,
  valueAndGrad,
  vjp,
  vmap,
  where,
  zeros,
} from "../../mod.ts";
import { testEach } from "../support/engines.ts";

// deno-lint-ignore no-explicit-any
type Any = any;

/** The engine computes as before: forward, backward and in a graph of its own. */
async function assertAlive(): Promise<void> {
  const x = tensor([1, 2, 3], { requiresGrad: true });
  x.mul(x).sum().backward();
  assertEquals(await x.grad!.toArray(), [2, 4, 6]);
}

/** `f` throws now, with all of `parts` in the message, without ending in a full stop. */
function refuses(name: string, f: () => unknown, kind: new (...x: Any[]) => Error, ...parts: string[]): void {
  testEach(name, async () => {
    const error = assertThrows(f, kind);
    checkMessage(error, parts);
    await assertAlive();
  });
}

/** The same for what awaits. */
function rejects(
  name: string,
  f: () => Promise<unknown>,
  kind: new (...x: Any[]) => Error,
  ...parts: string[]
): void {
  testEach(name, async () => {
    const error = await assertRejects(f, kind);
    checkMessage(error, parts);
    await assertAlive();
  });
}

function checkMessage(error: Error, parts: string[]): void {
  for (const part of parts) {
    assert(error.message.includes(part), `The message lacks "${part}": ${error.message}`);
  }
  assert(!error.message.endsWith("."), `The message ends with a full stop: ${error.message}`);
  assert(!error.message.startsWith("Internal"), `Bad input is not our broken invariant: ${error.message}`);
}

const x = (): Tensor => tensor([[1, 2, 3], [4, 5, 6]]);
const linear = (): Linear => new Linear(2, 3);
const leaf = (): Tensor => tensor([1], { requiresGrad: true });
const whole = (): Tensor => tensor([1, 2, 3], { dtype: "i32" });

// ---- shapes
refuses(
  "adding shapes that do not broadcast",
  () => x().add(zeros([2, 4])),
  RangeError,
  "Cannot add shapes [2,3] and [2,4]",
  "axis -1 has lengths 3 and 4",
  "must be equal or 1",
);
refuses(
  "where with a mask that does not broadcast",
  () => x().where(tensor([true, false]), 0),
  RangeError,
  "[2]",
  "[2,3]",
  "must be equal or 1",
);
refuses(
  "matmul of lengths that do not meet",
  () => x().matmul(x()),
  RangeError,
  "Cannot matmul shapes [2,3] and [2,3]",
  "3",
  "2",
  "must be equal",
);
refuses(
  "matmul of a scalar",
  () => tensor(2).matmul(x()),
  RangeError,
  "Cannot matmul shapes [] and [2,3]",
  "mul",
);
refuses(
  "matmul of batches that do not broadcast",
  () => zeros([2, 3, 4]).matmul(zeros([3, 4, 5])),
  RangeError,
  "Cannot matmul",
  "must be equal or 1",
);
refuses("dot of matrices", () => x().dot(x()), RangeError, "Cannot dot shapes [2,3] and [2,3]", "vectors");
refuses(
  "reshape to another number of elements",
  () => x().reshape([4, 2]),
  RangeError,
  "Cannot reshape [2,3] to [4,2]",
  "6 elements",
  "8 places",
);
refuses(
  "reshape with two holes",
  () => x().reshape([-1, -1]),
  RangeError,
  "Cannot reshape [2,3] to [-1,-1]",
  "-1",
);
refuses(
  "reshape with a hole that nothing fits",
  () => x().reshape([4, -1]),
  RangeError,
  "Cannot reshape [2,3] to [4,-1]",
);
refuses(
  "expand of an axis that is not 1",
  () => x().expand([4, 3]),
  RangeError,
  "Cannot expand [2,3] to [4,3]",
  "grow from 1",
);
refuses("expand to fewer axes", () => x().expand([3]), RangeError, "Cannot expand [2,3] to [3]");
refuses("a negative length", () => zeros([2, -1]), RangeError, "[2,-1]", "-1 is not a length");
refuses("a fractional length", () => zeros([2.5]), RangeError, "2.5 is not a length");
refuses("a length that is NaN", () => zeros([NaN]), RangeError, "NaN is not a length");
refuses(
  "a shape that is a number",
  () => zeros(3 as Any),
  TypeError,
  "a shape is an array of lengths",
  "number",
);
refuses(
  "cat of other axes that differ",
  () => cat([x(), zeros([2, 4])], 0),
  RangeError,
  "Cannot cat shapes [2,3] and [2,4] along axis 0",
  "must be equal",
);
refuses("cat of nothing", () => cat([]), RangeError, "Cannot cat no tensors");
refuses(
  "stack of shapes that differ",
  () => stack([zeros([2]), zeros([3])]),
  RangeError,
  "Cannot",
  "[",
  "must be equal",
);
refuses(
  "split into lengths that do not add up",
  () => split(zeros([5]), [2, 2]),
  RangeError,
  "Cannot split axis 0 of [5]",
  "add up to 5",
);
refuses(
  "gather with an index of another rank",
  () => x().gather(1, tensor([0], { dtype: "i32" })),
  RangeError,
  "Cannot gather shape [2,3] along axis 1",
  "[1]",
  "rank",
);
refuses(
  "scatterAdd with values of another shape",
  () => x().scatterAdd(1, tensor([[0, 1], [1, 2]], { dtype: "i32" }), zeros([2, 1])),
  RangeError,
  "Cannot scatterAdd",
  "[2,1]",
  "[2,2]",
);
refuses(
  "crossEntropy with targets of another shape",
  () => crossEntropy(x(), tensor([0, 1, 2], { dtype: "i32" })),
  RangeError,
  "Cannot take the crossEntropy",
  "[2,3]",
  "[3]",
  "one more axis",
);
refuses(
  "crossEntropy with no classes",
  () => crossEntropy(zeros([2, 0]), tensor([0, 0], { dtype: "i32" })),
  RangeError,
  "Cannot take the crossEntropy",
  "no classes",
);
refuses(
  "einsum with lengths that differ",
  () => einsum("ij,jk->ik", x(), x()),
  RangeError,
  "ij,jk->ik",
  "j",
  "3",
  "2",
);
refuses("einsum with too few letters", () => einsum("i->i", x()), RangeError, "2 axes");
refuses("einsum with an unknown result letter", () => einsum("ij->k", x()), RangeError, "k");
refuses(
  "assign of another shape",
  () => tensor([1, 2]).assign(tensor([1, 2, 3])),
  TypeError,
  "Cannot assign a tensor of shape [3]",
  "[2]",
  "must be the same",
);

// ---- axes
refuses(
  "an axis out of range",
  () => x().sum(2),
  RangeError,
  "Cannot sum along axis 2 of a tensor of rank 2",
  "-2 to 1",
);
refuses("a fractional axis", () => x().softmax(0.5), RangeError, "Cannot softmax along axis 0.5");
refuses(
  "an axis of a scalar",
  () => tensor(1).softmax(1),
  RangeError,
  "Cannot softmax along axis 1 of a scalar",
  "no axes",
);
refuses("an axis named twice", () => x().sum([0, -2]), RangeError, "Cannot sum", "axis 0 is named twice");
refuses(
  "a permutation that repeats an axis",
  () => x().permute([0, 0]),
  RangeError,
  "Cannot permute [2,3] by [0,0]",
  "named once",
);
refuses("a permutation of too few axes", () => x().permute([0]), RangeError, "Cannot permute [2,3] by [0]");
refuses(
  "narrow beyond the end",
  () => x().narrow(1, 2, 5),
  RangeError,
  "Cannot narrow axis 1 of [2,3] to 5 elements from 2",
  "length 3",
);
refuses(
  "a slice at a place beyond the end",
  () => x().slice(2),
  RangeError,
  "Cannot slice [2,3] at place 2 of axis 0",
  "length 2",
);
refuses(
  "a slice with too many ranges",
  () => x().slice(0, 0, 0),
  RangeError,
  "Cannot slice [2,3] by 3 ranges",
  "2 axes",
);
refuses("a slice with step 0", () => x().slice([0, 2, 0]), RangeError, "step 0");
refuses(
  "pad by a fraction",
  () => x().pad([[0.5, 0]]),
  RangeError,
  "Cannot pad [2,3]",
  "whole numbers",
);

// ---- types
refuses(
  "a fractional number with whole numbers",
  () => whole().add(0.5),
  TypeError,
  "Cannot add a tensor of type i32 and the fractional number 0.5",
  `x.to("f32")`,
);
refuses(
  "logarithm's partner: matmul of booleans",
  () => x().gt(1).matmul(x().gt(1).mT()),
  TypeError,
  "Cannot matmul tensors of type bool",
  `to("f32")`,
);
refuses("where with a mask of numbers", () => x().where(x() as Any, 0), TypeError, "where", "bool", "f32");
refuses(
  "gather with fractional indices",
  () => x().gather(1, zeros([2, 1])),
  TypeError,
  "Cannot gather with an index of type f32",
  `to("i32")`,
);
refuses("embedding with fractional ids", () => embedding(x(), zeros([2])), TypeError, "f32", `"i32"`);
refuses(
  "crossEntropy with fractional targets",
  () => crossEntropy(x(), zeros([2])),
  TypeError,
  "Cannot take the crossEntropy against targets of type f32",
  `to("i32")`,
);
refuses("a type that there is not", () => x().to("f8" as Any), TypeError, "Cannot convert to type f8", "f32");
refuses(
  "differences of types that differ",
  () => x().diff(1, -1, { prepend: x().to("i32") }),
  TypeError,
  "Cannot cat types i32 and f32",
  "convert",
);
refuses(
  "gradients asked of whole numbers",
  () => tensor([1, 2], { dtype: "i32", requiresGrad: true }),
  TypeError,
  "Cannot ask for gradients of a tensor of type i32",
  "floating point",
);
refuses(
  "gradients asked of booleans",
  () => tensor([true], { requiresGrad: true }),
  TypeError,
  "bool",
  "floating point",
);
refuses(
  "grad by whole numbers",
  () => grad((t: Tensor) => t.sum().to("f32"))(whole()),
  TypeError,
  "Cannot differentiate by a tensor of type i32",
  `x.to("f32")`,
);
refuses(
  "random numbers of a type without fractions",
  () => rand([2], { dtype: "i32" }),
  TypeError,
  "Cannot draw random numbers of type i32",
  "randint",
);
refuses(
  "a fractional number in a tensor of whole numbers",
  () => tensor([1, 0.5], { dtype: "i32" }),
  TypeError,
  "Cannot make a tensor of type i32 from 0.5",
  "whole numbers",
);
refuses(
  "NaN in a tensor of whole numbers",
  () => tensor([1, NaN], { dtype: "i32" }),
  TypeError,
  "Cannot make a tensor of type i32 from NaN",
);
refuses("data of bigints", () => tensor(new BigInt64Array(2) as Any), TypeError, "BigInt64Array", "convert");
refuses(
  "data of strings",
  () => tensor(["a"] as Any),
  TypeError,
  "Cannot make a tensor of string",
  "numbers",
);
refuses("data that is null", () => tensor(null as Any), TypeError, "Cannot make a tensor of null");
refuses(
  "data that is undefined",
  () => tensor(undefined as Any),
  TypeError,
  "Cannot make a tensor of undefined",
);
refuses("data with a hole", () => tensor([1, undefined] as Any), TypeError, "undefined");
refuses(
  "ragged arrays",
  () => tensor([[1, 2], [3]]),
  RangeError,
  "ragged",
  "element 1 has shape [1] and element 0 [2]",
);
refuses("arrays of uneven depth", () => tensor([1, [2]] as Any), RangeError, "ragged");
refuses(
  "a typed array that does not fill its shape",
  () => tensor(new Float32Array(5), { shape: [2, 3] }),
  RangeError,
  "Cannot make a tensor of shape [2,3] from 5 elements",
  "6",
);

// ---- operands that are no tensors
refuses(
  "a forgotten await: a Promise as operand",
  () => x().add(Promise.resolve(1) as Any),
  TypeError,
  "Cannot add a tensor and a Promise",
  "await",
);
refuses(
  "a Promise into matmul",
  () => x().matmul(Promise.resolve(x()) as Any),
  TypeError,
  "Cannot matmul",
  "Promise",
  "await",
);
refuses(
  "a Promise into a transform",
  () => grad((t: Tensor) => t.sum())(Promise.resolve(x()) as Any),
  TypeError,
  "Promise",
  "await",
);
refuses(
  "a Promise as data",
  () => tensor(Promise.resolve([1]) as Any),
  TypeError,
  "Cannot make a tensor of",
  "Promise",
  "await",
);
refuses(
  "an array as operand",
  () => x().add([1, 2, 3] as Any),
  TypeError,
  "Cannot add a tensor and an array",
  "tensor([...])",
);
refuses(
  "undefined as operand",
  () => x().mul(undefined as Any),
  TypeError,
  "Cannot mul a tensor and undefined",
  "must be a tensor or a number",
);
refuses("a string as operand", () => x().mul("2" as Any), TypeError, "Cannot mul a tensor and a string");
refuses("a + b", () => (x() as Any) + (x() as Any), TypeError, "operator", "a.add(b)");
refuses("a > 0", () => (x() as Any) > 0, TypeError, "operator", "a.gt(b)");
refuses("-a", () => -(x() as Any), TypeError, "operator");
refuses(
  "a class instance in a tree",
  () => jit((t: Any) => t)(new Map() as Any),
  TypeError,
  "Map",
  "plain objects",
);

for (
  const [name, call, ...parts] of [
    [
      "Linear of an array",
      () => linear().call([[1, 2]] as Any),
      "Cannot apply Linear(2 -> 3)",
      "the input is an array",
    ],
    [
      "crossEntropy against an array",
      () => crossEntropy(x(), [0, 1] as Any),
      "Cannot take the crossEntropy",
      "the target is an array",
      `tensor([...], { dtype: "i32" })`,
    ],
    ["crossEntropy of an array", () => crossEntropy([1] as Any, whole()), "the prediction", "is an array"],
    [
      "mseLoss against an array",
      () => mseLoss(x(), [1, 2] as Any),
      "Cannot take the mseLoss",
      "target is an array",
    ],
    ["l1Loss of a number", () => l1Loss(1 as Any, x()), "Cannot take the l1Loss", "prediction is a number"],
    [
      "bceWithLogits against a typed array",
      () => bceWithLogits(x(), new Float32Array(6) as Any),
      "a Float32Array",
    ],
    ["where of a boolean", () => where(true as Any, x(), x()), "Cannot where", "the condition is a boolean"],
    [
      "where of an array of choices",
      () => where(x().gt(1), [1] as Any, 0),
      "Cannot where",
      "choice is an array",
    ],
    [
      "the method where of a boolean",
      () => x().where(true as Any, 0),
      "Cannot where",
      "the condition is a boolean",
    ],
    [
      "maskedFill by a boolean",
      () => x().maskedFill(true as Any, 0),
      "Cannot maskedFill",
      "the mask is a boolean",
    ],
    ["logicalAnd with a boolean", () => x().logicalAnd(true as Any), "Cannot logicalAnd", "is a boolean"],
    ["logicalOr with an array", () => x().logicalOr([true] as Any), "Cannot logicalOr", "is an array"],
    ["matmul with an array", () => x().matmul([1] as Any), "Cannot matmul", "is an array"],
    ["dot with an array", () => tensor([1]).dot([1] as Any), "Cannot dot", "is an array"],
    ["outer with an array", () => tensor([1]).outer([1] as Any), "Cannot outer", "is an array"],
    [
      "indexSelect by an array",
      () => x().indexSelect(0, [0] as Any),
      "Cannot indexSelect",
      "the index is an array",
    ],
    ["gather by an array", () => x().gather(1, [[0]] as Any), "Cannot gather", `{ dtype: "i32" }`],
    [
      "scatterAdd of an array",
      () => x().scatterAdd(1, tensor([[0]], { dtype: "i32" }), [[1]] as Any),
      "Cannot scatterAdd",
      "the source is an array",
    ],
    [
      "embedding by an array",
      () => embedding(x(), [0] as Any),
      "Cannot take an embedding",
      "ids is an array",
    ],
    [
      "the layer Embedding of an array",
      () => new Embedding(3, 2).call([0] as Any),
      "Cannot take an embedding",
    ],
    ["assigning an array", () => x().assign([1] as Any), "Cannot assign", "the value is an array"],
    ["dropout of an array", () => dropout([1] as Any), "Cannot drop out", "is an array"],
    [
      "cat of an array in the list",
      () => cat([x(), [1]] as Any),
      "Cannot cat",
      "list's element 1 is an array",
    ],
    ["einsum of an array", () => einsum("ij,i->", x(), [1] as Any), "Cannot einsum", "operand 2 is an array"],
    [
      "a cotangent that is an array",
      () => leaf().backward([1] as Any),
      "Cannot call backward",
      "the cotangent",
    ],
    ["broadcasting an array", () => broadcastTensors(x(), [1] as Any), "Cannot broadcast", "is an array"],
  ] as [string, () => unknown, ...string[]][]
) refuses(name, call, TypeError, ...parts, "tensor");
refuses("a Map as operand", () => x().add(new Map() as Any), TypeError, "Cannot add a tensor and a Map");

// ---- PyTorch's forms
refuses(
  "the spread form of reshape",
  () => (x() as Any).reshape(3, 2),
  TypeError,
  "Cannot reshape",
  "x.reshape([3, 2])",
);
refuses(
  "the spread form of permute",
  () => (x() as Any).permute(1, 0),
  TypeError,
  "Cannot permute",
  "x.permute([1, 0])",
);
refuses(
  "the spread form of expand",
  () => (x() as Any).expand(2, 3),
  TypeError,
  "Cannot expand",
  "x.expand([3, 2])",
);
refuses(
  "the spread form of cat",
  () => (cat as Any)(x(), x()),
  TypeError,
  "Cannot cat a tensor",
  "cat([a, b])",
);
refuses("stack of a tensor", () => stack(x() as Any), TypeError, "Cannot stack a tensor", "stack([a, b])");
refuses(
  "axes as an object",
  () => x().sum({ dim: 0 } as Any),
  TypeError,
  "Cannot sum",
  "an object",
  "x.sum(0)",
);
refuses("axes that are null", () => x().mean(null as Any), TypeError, "Cannot mean", "null", "x.mean(0)");
refuses(
  "several axes one by one",
  () => x().sum(0, 1 as Any),
  TypeError,
  "Cannot sum with 1",
  "x.sum([0, 1])",
);
refuses("argmax along several axes", () => x().argmax([0] as Any), TypeError, "Cannot argmax along axes [0]");
refuses(
  "a flat padding",
  () => x().pad([1, 1] as Any),
  TypeError,
  "Cannot pad [2,3] by [1,1]",
  "x.pad([[1, 1]])",
);
refuses(
  "a padding that is a number",
  () => x().pad(1 as Any),
  TypeError,
  "Cannot pad by 1",
  "x.pad([[1, 1]])",
);
refuses("flip by a word", () => x().flip("a" as Any), TypeError, "Cannot flip by a string", "x.flip([0, 1])");
refuses(
  "a slice in Python's notation",
  () => x().slice("0:2" as Any),
  TypeError,
  `"0:2"`,
  "[start, stop, step]",
);
refuses("pieces of length 0", () => split(x(), 0), RangeError, "Cannot split axis 0 of [2,3]", "above 0");
refuses(
  "einsum without an equation",
  () => einsum(x() as Any, x()),
  TypeError,
  "Cannot einsum",
  "comes first",
);
refuses("einsum of a list", () => einsum("ij->", [x()] as Any), TypeError, "Cannot einsum", "one by one");
refuses("a device as a type", () => x().to("webgpu" as Any), TypeError, `await x.toDevice("webgpu")`);
for (
  const name of [
    "sum",
    "mean",
    "prod",
    "amax",
    "amin",
    "variance",
    "std",
    "norm",
    "logsumexp",
    "argmax",
    "any",
    "all",
  ]
) {
  refuses(
    `${name} with keepdim by place`,
    () => (x() as Any)[name](0, true),
    TypeError,
    `Cannot ${name} with true`,
    "{ keepdim: true }",
  );
  refuses(
    `${name} with a misspelt option`,
    () => (x() as Any)[name](0, { keepdims: true }),
    TypeError,
    `Cannot ${name} with the option keepdims`,
    "is keepdim",
  );
}

// ---- options
for (
  const [name, make] of [
    ["tensor", (o) => tensor([1], o)],
    ["zeros", (o) => zeros([1], o)],
    ["full", (o) => full([1], 1, o)],
    ["eye", (o) => eye(2, o)],
    ["arange", (o) => arange(2, o)],
    ["linspace", (o) => linspace(0, 1, 2, o)],
    ["rand", (o) => rand([1], o)],
    ["randn", (o) => randn([1], o)],
    ["randint", (o) => randint(0, 2, [1], o)],
  ] as [string, (o: Any) => Tensor][]
) {
  refuses(
    `${name} with an unknown option`,
    () => make({ requires_grad: true }),
    TypeError,
    "Cannot make a tensor with the option requires_grad",
    "is requiresGrad",
  );
  refuses(
    `${name} on a device that there is not`,
    () => make({ device: "cuda" }),
    TypeError,
    "Cannot use device cuda",
    "devices are host and webgpu",
  );
  refuses(
    `${name} with options that are none`,
    () => make("f32"),
    TypeError,
    "with f32 for options",
    "an object",
  );
}
refuses(
  "a type that there is not, at the start",
  () => zeros([1], { dtype: "float32" as Any }),
  TypeError,
  "types are",
);
rejects(
  "moving to a device that there is not",
  () => x().toDevice("cuda" as Any),
  TypeError,
  "Cannot use device cuda",
);
for (
  const [name, make] of [
    ["SGD", (o) => new SGD(linear(), o)],
    ["Adam", (o) => new Adam(linear(), o)],
    ["AdamW", (o) => new AdamW(linear(), o)],
  ] as [string, (o: Any) => unknown][]
) {
  refuses(
    `${name} with another library's name of the rate`,
    () => make({ learningRate: 0.1 }),
    TypeError,
    `Cannot make ${name} with the option learningRate`,
    "is lr",
  );
  refuses(
    `${name} with a rate for options`,
    () => make(0.1),
    TypeError,
    `Cannot make ${name} with 0.1`,
    "{ lr: ... }",
  );
}
refuses(
  "a group with an unknown option",
  () => new Adam([{ params: linear(), beta: 0.9 } as Any]),
  TypeError,
  "Cannot make Adam with the option beta",
  "is betas",
);
refuses("a bias by place", () => new Linear(2, 3, false as Any), TypeError, "Cannot make Linear with false");
refuses("a loss's reduction by place", () => mseLoss(x(), x(), "sum" as Any), TypeError, "mseLoss with sum");
refuses(
  "a reduction that there is not",
  () => crossEntropy(x(), tensor([0, 1], { dtype: "i32" }), { reduction: "avg" as Any }),
  TypeError,
  "reduction avg",
  "mean, sum and none",
);
for (
  const [name, options, ...parts] of [
    ["nothing", undefined, "undefined for options"],
    ["no loader", { loss: () => x() }, "without loader", "DataLoader"],
    ["no loss", { loader: [] }, "without loss", "mseLoss(model.call(x), y)"],
    ["no optimiser", { loader: [], loss: () => x() }, "without optimizer", "new Adam(model"],
    ["a number for a loss", { loader: [], loss: 1 }, "with this loss"],
    ["a misspelt option", { epoch: 3 }, "the option epoch", "is epochs"],
  ] as [string, Any, ...string[]][]
) rejects(`fit with ${name}`, () => fit(linear(), options), TypeError, "Cannot fit", ...parts);

// ---- derivatives
refuses(
  "backward of what is no scalar, without a cotangent",
  () => tensor([1, 2], { requiresGrad: true }).mul(2).backward(),
  RangeError,
  "Cannot call backward on a tensor of shape [2] without a cotangent",
  "y.sum().backward()",
);
refuses(
  "backward with a cotangent of another shape",
  () => tensor([1, 2], { requiresGrad: true }).mul(2).backward(tensor([1])),
  RangeError,
  "cotangent of shape [1]",
  "[2]",
);
refuses(
  "backward of a constant",
  () => x().sum().backward(),
  Error,
  "Cannot call backward",
  "requiresGrad = true",
);
refuses(
  "backward of whole numbers",
  () => tensor([1.5], { requiresGrad: true }).to("i32").sum().backward(),
  Error,
  "Cannot call backward",
  "i32",
);
refuses(
  "the gradient of a function that is no scalar",
  () => grad((t: Tensor) => t.mul(2))(x()),
  RangeError,
  "returns a tensor of shape [2,3]",
  "y.sum()",
  "jacrev",
);
refuses(
  "the gradient of a function that returns a number",
  () => grad((() => 3) as Any)(x()),
  RangeError,
  "number",
  "scalars",
);
refuses(
  "the gradient of a function that returns nothing",
  () => grad((() => {}) as Any)(x()),
  RangeError,
  "undefined",
);
refuses(
  "the gradient by an argument that is not there",
  () => grad((t: Tensor) => t.sum(), { argnums: 1 })(x()),
  RangeError,
  "Cannot differentiate by argument 1",
  "1 arguments",
);
refuses(
  "a pullback's cotangent of another shape",
  () => vjp((t: Tensor) => t.mul(2), x())[1](zeros([2])),
  RangeError,
  "cotangent of shape [2]",
  "[2,3]",
);
refuses(
  "a tangent of another shape",
  () => jvp((t: Tensor) => t.mul(2), [x()], [zeros([2])]),
  RangeError,
  "tangent of shape [2]",
  "[2,3]",
);
refuses(
  "too few tangents",
  () => jvp((a: Tensor, b: Tensor) => a.mul(b), [x(), x()], [x()] as Any),
  RangeError,
  "push forward",
  "there is none at",
);
refuses(
  "hvp with a vector of another shape",
  () => hvp((t: Tensor) => t.sum(), x(), zeros([3])),
  RangeError,
  "[2,3]",
  "[3]",
);
refuses(
  "requiresGrad of what was computed",
  () => {
    const y = tensor([1], { requiresGrad: true }).mul(2);
    y.requiresGrad = false;
  },
  Error,
  "Cannot change requiresGrad of a computed tensor",
  "detach()",
);
refuses(
  "a hook on a constant",
  () => x().registerHook(() => {}),
  Error,
  "Cannot register a hook",
  "does not require gradients",
);
refuses(
  "a hook that returns another shape",
  () => {
    const w = tensor([1, 2], { requiresGrad: true }), y = w.mul(2);
    y.registerHook(() => tensor([1]));
    y.sum().backward();
  },
  RangeError,
  "hook",
  "[1]",
  "[2]",
);
refuses(
  "a custom rule with too few cotangents",
  () =>
    grad(customVjp((a: Tensor, b: Tensor) => [a.mul(b).sum(), []], (_: Any, ct: Tensor) => [ct]))(x(), x()),
  RangeError,
  "custom rule",
  "2 arguments",
);
refuses(
  "a custom rule with a cotangent of another shape",
  () => grad(customVjp((a: Tensor) => [a.sum(), []], (_: Any, ct: Tensor) => [ct]))(x()),
  RangeError,
  "custom rule",
  "[]",
  "[2,3]",
);

// ---- transforms
refuses(
  "vmap over lengths that differ",
  () => vmap((a: Tensor, b: Tensor) => a.add(b))(zeros([2]), zeros([3])),
  RangeError,
  "vmap",
  "2",
  "3",
);
refuses("vmap over a scalar", () => vmap((a: Tensor) => a)(tensor(1)), RangeError, "vmap");
refuses("vmap over nothing", () => vmap((a: Tensor) => a, { inAxes: null })(x()), Error, "vmap");
refuses(
  "vmap over an axis that is not there",
  () => vmap((a: Tensor) => a, { inAxes: 5 })(x()),
  RangeError,
  "5",
);
refuses(
  "vmap with a result axis that is not there",
  () => vmap((a: Tensor) => a, { outAxes: 5 })(x()),
  RangeError,
  "5",
);
refuses(
  "scan over lengths that differ",
  () => scan((c: Tensor, [a]: Tensor[]) => [c.add(a), c], tensor(0), [zeros([2]), zeros([3])]),
  RangeError,
  "Cannot scan",
  "2",
  "3",
);
refuses(
  "scan over a scalar",
  () => scan((c: Tensor, a: Tensor) => [c.add(a), c], tensor(0), tensor(1)),
  RangeError,
  "Cannot scan over a scalar",
);
refuses(
  "scan over nothing",
  () => scan((c: Tensor) => [c, c], tensor(0), null),
  TypeError,
  "Cannot scan",
  "length",
);
refuses(
  "a carry that changes its shape",
  () => scan((c: Tensor, a: Tensor) => [c.add(a.expand([2])), c], tensor(0), zeros([3])),
  RangeError,
  "Cannot scan",
  "carry",
  "[]",
  "[2]",
);
refuses(
  "a scan body that returns one thing",
  () => scan(((c: Tensor) => c) as Any, tensor(0), zeros([3])),
  TypeError,
  "Cannot scan",
  "[carry, y]",
);
refuses("a checkpoint of nothing", () => checkpoint(() => tensor(1))(), TypeError, "Cannot checkpoint");
for (
  const [name, call] of [
    ["differentiate", () => grad(x() as Any)],
    ["differentiate", () => hessian(x() as Any)],
    ["take the vjp of", () => vjp(x() as Any, x())],
    ["take the jvp of", () => jvp(x() as Any, [x()], [x()])],
    ["linearize", () => linearize(x() as Any, x())],
    ["take the Jacobian of", () => jacrev(x() as Any)],
    ["take the Jacobian of", () => jacfwd(x() as Any)],
    ["vmap", () => vmap(x() as Any)],
    ["jit", () => jit(x() as Any)],
    ["checkpoint", () => checkpoint(x() as Any)],
    ["scan", () => scan(x() as Any, x(), x())],
  ] as const
) {
  refuses(
    `a tensor for the function of: ${name}`,
    call,
    TypeError,
    `Cannot ${name} a tensor`,
    "give a function",
  );
}
refuses(
  "jvp without arrays",
  () => jvp((a: Tensor) => a, x() as Any, x() as Any),
  TypeError,
  "jvp(f, [x], [dx])",
);
refuses("hvp like grad", () => (hvp as Any)((a: Tensor) => a.sum()), TypeError, "hvp(f, x, v)");
refuses(
  "a tensor of tensors",
  () => tensor([x(), x()] as Any),
  TypeError,
  "Cannot make a tensor of tensors",
  "stack",
);
refuses(
  "stack of shapes",
  () => stack([zeros([2]), zeros([3])]),
  RangeError,
  "Cannot stack shapes [2] and [3]",
);
for (
  const [name, call] of [
    ["vmap", () => vmap(async (a: Tensor) => (await Promise.resolve(), a))(x())],
    ["jit", () => jit(async (a: Tensor) => (await Promise.resolve(), a))(x())],
    ["checkpoint", () => checkpoint(async (a: Tensor) => (await Promise.resolve(), a))(x())],
    ["scan", () => scan((async (c: Tensor) => (await Promise.resolve(), [c, c])) as Any, tensor(0), x())],
  ] as const
) {
  refuses(
    `an asynchronous function under ${name}`,
    call,
    TypeError,
    `Cannot ${name} an asynchronous function`,
    "placeholders",
    "grad",
  );
}
for (
  const [name, call] of [
    ["vmap", (leak: (t: Tensor) => void) => vmap((a: Tensor) => (leak(a), a))(x())],
    ["jit", (leak: (t: Tensor) => void) => jit((a: Tensor) => (leak(a.mul(2)), a))(x())],
    ["checkpoint", (leak: (t: Tensor) => void) => checkpoint((a: Tensor) => (leak(a.exp()), a))(x())],
    [
      "scan",
      (leak: (t: Tensor) => void) =>
        scan((c: Tensor, a: Tensor) => (leak(a), [c.add(a.sum()), c]), tensor(0), x()),
    ],
  ] as const
) {
  rejects(
    `a placeholder that leaked out of ${name}`,
    async () => {
      let leaked: Tensor | null = null;
      call((t) => leaked = t);
      await leaked!.data();
    },
    Error,
    "placeholder",
    "vmap, jit, scan",
    "Return it",
  );
}
rejects(
  "reading a value while jit records",
  async () => {
    let read: Promise<unknown> = Promise.resolve();
    const y = jit((a: Tensor) => {
      read = a.data();
      read.catch(() => {});
      return a;
    })(x());
    await y.data();
    await read;
  },
  Error,
  "Cannot read a tensor inside jit",
  "placeholder",
  "outside",
);
refuses(
  "random numbers under vmap without saying how",
  () => vmap((a: Tensor) => dropout(a, 0.5))(x()),
  Error,
  "Cannot draw random numbers inside vmap",
  `randomness: "different"`,
  `"same"`,
);
refuses(
  "assigning inside scan",
  () => {
    const state = tensor(0);
    scan((c: Tensor, a: Tensor) => (state.assign(a), [c, c]), tensor(0), zeros([3]));
  },
  Error,
  "Cannot assign",
  "scan",
  "carry",
);
refuses(
  "assigning something batched under vmap",
  () => {
    const state = tensor(0);
    vmap((a: Tensor) => (state.assign(a), a))(zeros([3]));
  },
  Error,
  "Cannot assign",
  "vmap",
  "reduce",
);

// ---- values and numbers
rejects(
  "item of more than one element",
  () => x().item(),
  RangeError,
  "Cannot take the item of a tensor of shape [2,3]",
  "data()",
);
rejects("item of no element", () => zeros([0]).item(), RangeError, "[0]", "exactly one");
rejects(
  "use after dispose",
  async () => {
    const t = tensor([1, 2]);
    t.dispose();
    await t.mul(2).data();
  },
  Error,
  "dispose",
);
refuses(
  "amax of no elements",
  () => zeros([2, 0]).amax(1),
  RangeError,
  "Cannot amax over an axis of length 0",
  "[2,0]",
);
refuses("argmax of no elements", () => zeros([0]).argmax(), RangeError, "Cannot argmax", "length 0");
refuses("clamp without a limit", () => x().clamp(), TypeError, "Cannot clamp without a limit");
refuses("dropout with an impossible probability", () => dropout(x(), 1.5), RangeError, "1.5", "[0, 1]");
refuses("dropout with NaN", () => dropout(x(), NaN), RangeError, "NaN");
refuses("randint without a range", () => randint(3, 3, [2]), RangeError, "[3, 3)");
refuses("a seed that is not whole", () => manualSeed(0.5), RangeError, "0.5", "whole number");
refuses("arange to a fraction", () => arange(2.5), RangeError, "2.5");
refuses("linspace of a negative number of elements", () => linspace(0, 1, -1), RangeError, "-1");
refuses(
  "full of a fraction in whole numbers",
  () => full([2], 0.5, { dtype: "i32" }),
  TypeError,
  "0.5",
  "i32",
);
refuses(
  "a device that there is not",
  () => setDefaultDevice("cuda" as Any),
  TypeError,
  "cuda",
  "host and webgpu",
);
rejects(
  "an embedding id out of range",
  () => embedding(x(), tensor([0, 2], { dtype: "i32" })).data(),
  RangeError,
  "2",
);
rejects(
  "a class number out of range",
  () => crossEntropy(x(), tensor([0, 3], { dtype: "i32" })).data(),
  RangeError,
  "3",
);
rejects(
  "a gather index out of range",
  () => x().gather(1, tensor([[0], [-4]], { dtype: "i32" })).data(),
  RangeError,
  "3",
);
testEach("f64 on webgpu is refused with what to do", async (b) => {
  if (b.device !== "webgpu") return;
  const error = assertThrows(() => x().to("f64"), TypeError);
  checkMessage(error, ["Cannot hold f64 on webgpu", "f32", `device: "host"`]);
  await assertAlive();
});

// ---- what is unusual and works
testEach("NaN in the data goes through and poisons nothing else", async () => {
  const y = tensor([1, NaN, 3]).mul(2);
  assertEquals(await y.toArray(), [2, NaN, 6]);
  await assertAlive();
});
testEach("tensors of no elements compute, reduce and have gradients", async () => {
  const e = zeros([0, 3], { requiresGrad: true });
  assertEquals(await e.mul(2).toArray(), []);
  assertEquals(await e.sum(0).toArray(), [0, 0, 0]);
  assertEquals(await e.matmul(ones([3, 2])).data().then((d) => d.length), 0);
  assertEquals(await ones([2, 0]).matmul(ones([0, 2])).toArray(), [[0, 0], [0, 0]]);
  assertEquals(await cat([e, ones([1, 3])]).toArray(), [[1, 1, 1]]);
  e.mul(2).sum().backward();
  assertEquals(e.grad!.shape, [0, 3]);
  assertEquals((await e.grad!.data()).length, 0);
  assertEquals(await vmap((t: Tensor) => t.sum())(zeros([0, 3])).data().then((d) => d.length), 0);
  assertEquals(await e.softmax().data().then((d) => d.length), 0);
  assertEquals(await zeros([2, 0]).logsumexp(1).toArray(), [-Infinity, -Infinity]);
  assertEquals((await e.transpose().reshape([0]).cumsum(0).data()).length, 0);
  await assertAlive();
});
testEach("a scan of no steps gives back its carry", async () => {
  const [last, ys] = scan((c: Tensor, a: Tensor) => [c.add(a), c], tensor(2), zeros([0]));
  assertEquals(await last.item(), 2);
  assertEquals(ys.shape, [0]);
  const g = grad((c: Tensor) => scan((s: Tensor, a: Tensor) => [s.mul(a), s], c, zeros([0]))[0])(tensor(2));
  assertEquals(await g.item(), 1);
});
testEach("rank 0 works like any other rank", async () => {
  const t = tensor(3, { requiresGrad: true });
  assertEquals([t.shape, t.rank, t.size], [[], 0, 1]);
  assertEquals(await t.sum().add(t.mean()).add(t.amax()).add(t.prod()).item(), 12);
  assertEquals(await t.reshape([1, 1]).squeeze().unsqueeze(0).toArray(), [3]);
  t.mul(t).backward();
  assertEquals(await t.grad!.item(), 6);
  assertEquals(await t.flatten().toArray(), [3]);
});
testEach("a parameter without a type is a tensor", async () => {
  const at = tensor([1, 2]);
  assertEquals(await grad((t) => t.square().sum())(at).toArray(), [2, 4]);
  assertEquals(await grad((t, k) => t.mul(k).sum())(at, 3).toArray(), [3, 3]);
  assertEquals(await (await grad(async (t) => t.mul(await t.amax().item()).sum())(at)).toArray(), [2, 2]);
  assertEquals(await valueAndGrad((t) => t.square().sum())(at)[1].toArray(), [2, 4]);
  assertEquals(await vjp((t) => t.square(), at)[1](at)[0].toArray(), [2, 8]);
  assertEquals(await jvp((t) => t.square(), [at], [at])[1].toArray(), [2, 8]);
});
testEach("JSON has what a tensor is, and jit still tells arguments apart", async (b) => {
  assertEquals(JSON.parse(JSON.stringify({ a: x() })), {
    a: { shape: [2, 3], dtype: "f32", device: b.device },
  });
  const f = jit(({ t }: { t: Tensor }) => t.mul(2).sum());
  assertEquals(await f({ t: ones([2]) }).item(), 4);
  assertEquals(await f({ t: ones([3]) }).item(), 6);
  assertEquals(await f({ t: ones([3]) }).item(), 6);
  assertEquals(f.recordings(), 2);
  f({ t: tensor([1, 1, 1], { requiresGrad: true }) });
  f({ t: ones([3]).to("i32") });
  assertEquals(f.recordings(), 4);
});
