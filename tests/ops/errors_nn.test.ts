/** Bad input to losses, normalisation and attention: each error names the action, what is and what must be. */
import { assert, assertRejects, assertThrows } from "@std/assert";
import {
  bceLoss,
  cosineEmbeddingLoss,
  cosineSimilarity,
  crossEntropy,
  gaussianNllLoss,
  huberLoss,
  multiMarginLoss,
  nllLoss,
  normalize,
  ones,
  type Tensor,
  tensor,
  zeros,
} from "../../mod.ts";
import { testEach } from "../support/engines.ts";

// deno-lint-ignore no-explicit-any
type Any = any;

const whole = (...x: number[]): Tensor => tensor(x, { dtype: "i32" });

function check(error: Error, parts: string[]): void {
  for (const part of parts) {
    assert(error.message.includes(part), `The message lacks "${part}": ${error.message}`);
  }
  assert(!/^Internal|\.$/.test(error.message), error.message);
}

/** Calls that throw at once: kind of error, parts of its message. */
const atOnce: [string, () => unknown, new (...x: Any[]) => Error, ...string[]][] = [
  [
    "other shapes",
    () => huberLoss(zeros([2]), zeros([2, 1])),
    RangeError,
    "huberLoss",
    "[2]",
    "[2,1]",
    "the same",
  ],
  [
    "no such reduction",
    () => bceLoss(ones([2]), ones([2]), { reduction: "avg" as Any }),
    TypeError,
    "avg",
    "mean",
  ],
  ["no such option", () => huberLoss(ones([2]), ones([2]), { detla: 2 } as Any), TypeError, "detla", "delta"],
  ["delta of 0", () => huberLoss(ones([2]), ones([2]), { delta: 0 }), RangeError, "delta 0", "positive"],
  [
    "a weight that does not broadcast",
    () => bceLoss(ones([2]), ones([2]), { weight: ones([3]) }),
    RangeError,
    "[3]",
  ],
  [
    "classes that may be two axes",
    () => crossEntropy(zeros([2, 3, 3]), zeros([2, 3], { dtype: "i32" })),
    RangeError,
    "axis: 1",
    "axis: -1",
  ],
  [
    "classes at axis 1 unsaid",
    () => crossEntropy(zeros([2, 4, 3]), zeros([2, 3], { dtype: "i32" })),
    RangeError,
    "axis: 1",
  ],
  [
    "class weights of another length",
    () => nllLoss(zeros([2, 3]), whole(0, 1), { weight: ones([2]) }),
    RangeError,
    "[3]",
  ],
  [
    "probabilities with ignoreIndex",
    () => crossEntropy(zeros([2, 3]), zeros([2, 3]), { ignoreIndex: 1 }),
    TypeError,
    "ignoreIndex",
  ],
  [
    "smoothing beyond 1",
    () => crossEntropy(zeros([2, 3]), whole(0, 1), { labelSmoothing: 2 }),
    RangeError,
    "[0, 1]",
  ],
  [
    "targets that are no whole numbers",
    () => multiMarginLoss(zeros([2, 3]), zeros([2])),
    TypeError,
    "f32",
    "i32",
  ],
  [
    "targets for other rows",
    () => multiMarginLoss(zeros([2, 3]), whole(0, 1, 2)),
    RangeError,
    "[2,3]",
    "[3]",
    "[N]",
  ],
  [
    "a variance of another shape",
    () => gaussianNllLoss(zeros([2, 3]), zeros([2, 3]), ones([3, 3])),
    RangeError,
    "[3,3]",
  ],
  [
    "too many targets",
    () => cosineEmbeddingLoss(ones([2, 3]), ones([2, 3]), ones([3])),
    RangeError,
    "one target",
  ],
  ["an axis that there is not", () => normalize(ones([2])), RangeError, "axis 1", "rank 1"],
  [
    "vectors that do not broadcast",
    () => cosineSimilarity(ones([2, 3]), ones([2, 2])),
    RangeError,
    "[2,3]",
    "[2,2]",
  ],
];

for (const [name, f, kind, ...parts] of atOnce) {
  testEach(`bad input: ${name}`, () => check(assertThrows(f, kind), parts));
}

/** Values that only a run sees. */
const inRun: [string, () => Tensor, ...string[]][] = [
  [
    "a class above",
    () => nllLoss(zeros([2, 3]), whole(0, 3)),
    "nllLoss against class 3",
    "3 classes, 0 to 2",
  ],
  ["a class below, which is none from the back", () => nllLoss(zeros([2, 3]), whole(0, -1)), "class -1"],
  ["a class above in multiMarginLoss", () => multiMarginLoss(zeros([2, 3]), whole(0, 7)), "class 7"],
  ["PyTorch's padding", () => crossEntropy(zeros([2, 3]), whole(0, -100)), "class -100", "ignoreIndex: -100"],
];

for (const [name, f, ...parts] of inRun) {
  testEach(`bad input: ${name}`, async () => check(await assertRejects(() => f().data(), RangeError), parts));
}

testEach("predictions outside of [0, 1] and negative variances are NaN, not something near", async () => {
  for (const p of [-0.1, 1.1]) {
    assert(Number.isNaN(await bceLoss(tensor([p]), tensor([1])).item()));
  }
  assert(Number.isNaN(await gaussianNllLoss(tensor([1]), tensor([1]), tensor([-1])).item()));
});
