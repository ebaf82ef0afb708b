/** Bad input to reductions, order statistics and what hangs on values: PyTorch's answer or an error that says what to do. */
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { checkpoint, jit, scan, searchsorted, Tensor, tensor, vmap, zeros } from "../../mod.ts";
import { testEach } from "../support/engines.ts";

// deno-lint-ignore no-explicit-any
type Any = any;
type Kind = new (...x: Any[]) => Error;

const x = (): Tensor => tensor([[1, 2, 3], [4, 5, 6]]);
const one = (): Tensor => tensor(1);
const whole = (): Tensor => tensor([1, 2, 3], { dtype: "i32" });

function checkMessage(error: Error, parts: readonly string[]): void {
  for (const part of parts) {
    assert(error.message.includes(part), `The message lacks "${part}": ${error.message}`);
  }
  assert(!error.message.endsWith("."), `The message ends with a full stop: ${error.message}`);
}

const refused: [string, () => unknown, Kind, ...string[]][] = [
  ["max along an axis that is not there", () => x().max(2), RangeError, "Cannot max along axis 2", "-2 to 1"],
  ["max of two tensors", () => x().max(x() as Any), TypeError, "Cannot max along a tensor", "one axis"],
  ["max along several axes", () => x().max([0, 1] as Any), TypeError, "Cannot max along axes [0,1]"],
  ["max over no elements", () => zeros([2, 0]).max(1), RangeError, "Cannot argmax along axis 1", "length 0"],
  ["argmin of no elements", () => zeros([0]).argmin(), RangeError, "Cannot argmin", "length 0"],
  ["keepdim by place", () => x().min(0, true as Any), TypeError, "{ keepdim: true }"],
  ["a misspelt option", () => x().median(0, { keepDim: true } as Any), TypeError, "keepDim", "keepdim"],
  ["median of no elements", () => zeros([0]).median(), RangeError, "Cannot take the median", "length 0"],
  ["nanmedian of no elements", () => zeros([0, 2]).nanmedian(0), RangeError, "Cannot take the nanmedian"],
  ["mode of no elements", () => zeros([0]).mode(), RangeError, "Cannot take the mode", "length 0"],
  ["topk of more than there are", () => x().topk(4), RangeError, "k = 4", "[2,3]", "from 0 to 3"],
  ["topk of a fraction", () => x().topk(1.5), RangeError, "k = 1.5", "whole number"],
  ["kthvalue counted from 0", () => x().kthvalue(0), RangeError, "k = 0", "from 1", "to 3"],
  ["an axis 1 of a scalar", () => one().sort(1), RangeError, "Cannot sort along axis 1 of a scalar"],
  ["a scalar's axis named twice", () => one().sum([0, -1]), RangeError, "axis 0 is named twice"],
  ["a scalar's other axis", () => one().sum([0, 1]), RangeError, "Cannot sum along axis 1 of a scalar"],
  ["quantile above 1", () => x().quantile(50), RangeError, "Cannot take the quantile at q = 50", "0 to 1"],
  ["quantile at NaN", () => x().quantile(NaN), RangeError, "q = NaN"],
  ["quantile at a matrix", () => x().quantile(x()), RangeError, "q of shape [2,3]", "one axis at most"],
  [
    "quantile of no elements",
    () => zeros([0]).quantile(0.5),
    RangeError,
    "Cannot take the quantile",
    "length 0",
  ],
  [
    "an unknown interpolation",
    () => x().quantile(0.5, 0, { interpolation: "cubic" as Any }),
    TypeError,
    "interpolation cubic",
    "linear, lower, higher, midpoint, nearest",
  ],
  ["norm by name", () => x().norm(0, { p: "fro" as Any }), TypeError, "p = fro", "2 for the Euclidean norm"],
  [
    "norm with p < 0 of no elements",
    () => zeros([0]).norm(0, { p: -1 }),
    RangeError,
    "p = -1",
    "no elements",
  ],
  [
    "searchsorted in lines that do not fit",
    () => searchsorted(zeros([2, 3]), zeros([3, 4])),
    RangeError,
    "Cannot search [2,3] for values of shape [3,4]",
    "equal leading axes",
  ],
  ["searchsorted in a scalar", () => searchsorted(one(), x()), RangeError, "Cannot search [] for"],
  [
    "searchsorted on a wrong side",
    () => searchsorted(x(), x(), { side: "up" as Any }),
    TypeError,
    "left or right",
  ],
  [
    "searchsorted on both sides",
    () => searchsorted(x(), x(), { side: "left", right: true }),
    TypeError,
    "one of them",
  ],
  ["bucketize by a matrix", () => x().bucketize(x()), RangeError, "boundaries of shape [2,3]", "one axis"],
  ["diff a negative number of times", () => x().diff(-1), RangeError, "Cannot diff -1 times"],
  ["diff of a scalar", () => one().diff(), RangeError, "Cannot diff along axis -1 of a scalar"],
  ["trapezoid with places and a distance", () => x().trapezoid({ x: x(), dx: 1 }), TypeError, "one of them"],
  [
    "trapezoid at too few places",
    () => x().trapezoid({ x: zeros([2]) }),
    RangeError,
    "one place for each of 3",
  ],
  ["cov of three axes", () => zeros([2, 2, 2]).cov(), RangeError, "Cannot take the cov of shape [2,2,2]"],
  [
    "cov with too few weights",
    () => x().cov({ aweights: zeros([2]) }),
    RangeError,
    "one for each of 3 observations",
  ],
  ["histc in no intervals", () => x().histc(0), RangeError, "in 0 intervals"],
  ["histc from above to below", () => x().histc(2, { min: 1, max: 0 }), RangeError, "not above the second"],
];
for (const [name, f, kind, ...parts] of refused) {
  testEach(`refuses ${name}`, () => checkMessage(assertThrows(f, kind), parts));
}

const rejected: [string, () => Promise<unknown>, Kind, ...string[]][] = [
  ["a mask of numbers", () => x().maskedSelect(x()), TypeError, "a mask of type f32", "mask.ne(0)"],
  [
    "a mask that does not fit",
    () => x().maskedSelect(tensor([true, false])),
    RangeError,
    "Cannot maskedSelect shapes [2,3] and [2]",
  ],
  ["bincount of a negative number", () => whole().sub(2).bincount(), RangeError, "the number -1"],
  ["bincount of fractions", () => tensor([1, 2]).bincount(), TypeError, "vector of whole numbers"],
  ["unique along an axis that is not there", () => x().unique({ axis: 2 }), RangeError, "along axis 2"],
  [
    "quantile at a q beyond 1 in a tensor",
    () => x().quantile(tensor([0.5, 1.5]), 1).data(),
    RangeError,
    "index 3",
  ],
  ["quantile at a q below 0 in a tensor", () => x().quantile(tensor(-0.1), 1).data(), RangeError, "index 3"],
  ["quantile at NaN in a tensor", () => x().quantile(tensor(NaN), 1).data(), RangeError, "index 3"],
];
for (const [name, f, kind, ...parts] of rejected) {
  testEach(`refuses ${name}`, async () => {
    checkMessage(await assertRejects(f, kind), parts);
    assertEquals(await x().sum().item(), 21, "the engine goes on");
  });
}

const readers: Record<string, (x: Tensor) => Promise<unknown>> = {
  nonzero: (x) => x.nonzero(),
  maskedSelect: (x) => x.maskedSelect(x.gt(0)),
  unique: (x) => x.unique(),
  uniqueConsecutive: (x) => x.uniqueConsecutive(),
  bincount: (x) => x.to("i32").bincount(),
};
const traces: Record<string, (f: (x: Tensor) => unknown) => unknown> = {
  vmap: (f) => vmap(f as Any)(x()),
  jit: (f) => jit(f as Any)(tensor([1, 2])),
  scan: (f) => scan(((c: Tensor, y: Tensor) => (f(y), [c, c])) as Any, one(), x()),
  checkpoint: (f) => checkpoint(f as Any)(tensor([1, 2])),
};
for (const [name, read] of Object.entries(readers)) {
  for (const [trace, run] of Object.entries(traces)) {
    testEach(`${name} inside ${trace} says that there are no values`, async () => {
      let promise: Promise<unknown> | null = null;
      run((t) => {
        promise = read(t);
        promise.catch(() => {});
        return t;
      });
      const error = await assertRejects(() => promise!, Error);
      checkMessage(error, [`inside ${trace}`, "placeholder without a value", "read it outside"]);
    });
  }
}
