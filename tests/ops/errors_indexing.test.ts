/** Bad input to movement and indexing: each error names the action, what is and what must be, on every engine. */
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  blockDiag,
  cartesianProd,
  combinations,
  embedding,
  embeddingBag,
  hstack,
  meshgrid,
  type Tensor,
  tensor,
  vander,
  zeros,
} from "../../mod.ts";
import { testEach } from "../support/engines.ts";

// deno-lint-ignore no-explicit-any
type Any = any;
type Refusal = [what: string, f: () => unknown, ...parts: string[]];

const x = (): Tensor => tensor([[1, 2, 3], [4, 5, 6]]);
const at = (...places: number[]): Tensor => tensor(places, { dtype: "i32" });

function checkMessage(error: Error, parts: readonly string[]): void {
  for (const part of parts) {
    assert(error.message.includes(part), `The message lacks "${part}": ${error.message}`);
  }
  assert(!error.message.endsWith("."), `The message ends with a full stop: ${error.message}`);
  assert(!error.message.startsWith("Internal"), `Bad input is not our broken invariant: ${error.message}`);
}

/** Refused when called, from shapes and types. */
const now: Refusal[] = [
  ["unflatten to lengths that do not fit", () => x().unflatten(1, [2, 2]), "Cannot unflatten axis 1", "3"],
  ["unflatten with two holes", () => x().unflatten(1, [-1, -1]), "Cannot unflatten", "one of them"],
  ["repeat with too few numbers", () => x().repeat([2]), "Cannot repeat [2,3]", "each axis"],
  ["repeat by a fraction", () => x().repeat([1, 0.5]), "Cannot repeat", "whole number"],
  ["repeatInterleave by a list of another length", () => x().repeatInterleave([1, 2], 1), "3 elements"],
  ["roll by several shifts without axes", () => x().roll([1, 2]), "Cannot roll", "axis for each"],
  ["roll by more shifts than axes", () => x().roll([1, 2], 0), "Cannot roll by 2 shifts along 1 axes"],
  ["rot90 in a plane of one axis", () => x().rot90(1, [0, 0]), "two different axes"],
  ["movedim with lists of two lengths", () => x().movedim([0, 1], [0]), "Cannot movedim"],
  ["movedim of an axis twice", () => x().movedim([0, 0], [0, 1]), "none twice"],
  ["a diagonal of one axis", () => x().diagonal(0, 1, 1), "Cannot take a diagonal", "the same"],
  ["diag of three axes", () => zeros([2, 2, 2]).diag(), "Cannot take diag of shape [2,2,2]", "diagEmbed"],
  ["the lower triangle of a vector", () => at(1, 2).tril(), "Cannot tril shape [2]", "a matrix"],
  ["flatten backwards", () => x().flatten(1, 0), "Cannot flatten axes 1 to 0 of [2,3]"],
  ["the trace of a vector", () => at(1, 2).trace(), "Cannot take the trace of shape [2]"],
  ["a window longer than the axis", () => x().unfold(1, 4, 1), "Cannot unfold axis 1 of [2,3]", "fits in 3"],
  ["a window with step 0", () => x().unfold(1, 2, 0), "Cannot unfold", "above 0"],
  ["reflect by the whole length", () => x().pad([[3, 0]], { mode: "reflect" }), "reflect", "at most 2"],
  ["circular by more than the length", () => x().pad([[0, 4]], { mode: "circular" }), "at most 3"],
  ["replicate of nothing", () => zeros([0]).pad([[1, 0]], { mode: "replicate" }), "it is empty"],
  ["pad in an unknown mode", () => x().pad([[1, 1]], { mode: "mirror" as Any }), "mode mirror", "reflect"],
  ["pad away more than there is", () => x().pad([[-2, -2]]), "less than nothing"],
  ["chunk into no pieces", () => x().chunk(0), "Cannot chunk axis 0", "above 0"],
  ["hsplit that does not divide", () => x().hsplit(2), "Cannot hsplit [2,3] into 2 pieces", "tensorSplit"],
  ["vsplit of a vector", () => at(1, 2).vsplit(2), "Cannot vsplit shape [2]", "at least 2 axes"],
  ["sliceScatter of another shape", () => x().sliceScatter(zeros([2]), [0]), "[2]", "[3]"],
  ["diagonalScatter of another shape", () => x().diagonalScatter(zeros([3])), "[3]", "[2]"],
  ["pixelShuffle of channels that do not divide", () => zeros([1, 3, 2, 2]).pixelShuffle(2), "C r^2"],
  ["channelShuffle of groups that do not divide", () => zeros([1, 3, 2]).channelShuffle(2), "divide C"],
  ["index with more keys than axes", () => x().index(0, 0, 0), "Cannot index [2,3] by 3 keys"],
  ["index with two ellipses", () => x().index("...", "..."), `two "..."`],
  ["index by a mask", () => x().index(tensor([true, false])), "type bool", "maskedFill"],
  ["index by floats", () => x().index(tensor([0, 1])), "Cannot index", "type f32"],
  ["index by places that do not broadcast", () => x().index(at(0, 1), at(0, 1, 2)), "[2]", "[3]"],
  ["indexPut of values that do not fit", () => x().indexPut([at(0, 1)], zeros([2, 2])), "[2,2]", "[2,3]"],
  ["put of more values than places", () => x().put(at(0), zeros([2])), "2 values at 1 places"],
  ["indexAdd of another shape", () => x().indexAdd(0, at(0), zeros([2, 3])), "[2,3]", "[1,3]"],
  ["indexCopy by a matrix of places", () => x().indexCopy(0, zeros([1, 1]).to("i32"), x()), "one axis"],
  ["takeAlongDim of another rank", () => x().takeAlongDim(at(0), 0), "equal ranks"],
  ["scatter by an index of another rank", () => x().scatter(0, at(0), 1), "Cannot scatter shape [2,3]"],
  ["scatter of a smaller source", () => x().scatter(0, zeros([1, 2]).to("i32"), zeros([1, 1])), "[1,1]"],
  ["scatter to no places", () => zeros([0]).scatter(0, at(0), 1), "length 0"],
  ["scatterAdd to no places", () => zeros([0]).scatterAdd(0, at(0), zeros([1])), "length 0"],
  [
    "scatterReduce by an unknown reduction",
    () => x().scatterReduce(0, zeros([1, 3]).to("i32"), zeros([1, 3]), "max" as Any),
    "scatterReduce by max",
    "amax",
  ],
  ["one-hot vectors of fractions", () => x().oneHot(3), "whole numbers"],
  ["hstack of nothing", () => hstack([]), "Cannot hstack no tensors"],
  ["meshgrid of a matrix", () => meshgrid([x()]), "Cannot meshgrid shape [2,3]", "vectors"],
  ["cartesianProd of a matrix", () => cartesianProd(x(), x()), "vectors"],
  ["combinations of a matrix", () => combinations(x()), "takes a vector"],
  ["blockDiag of three axes", () => blockDiag(zeros([1, 1, 1])), "Cannot blockDiag shape [1,1,1]"],
  ["no powers of a vector", () => vander(at(1, 2), 0), "at least one column"],
  ["a bag of a vector without offsets", () => embeddingBag(x(), at(0)), "offsets"],
  [
    "factors in a mean of a bag",
    () => embeddingBag(x(), at(0).unsqueeze(0), { perSampleWeights: zeros([1, 1]) }),
    "for sums",
  ],
  ["padding that is no row", () => embedding(x(), at(0), { paddingIdx: 2 }), "2"],
];

for (const [what, f, ...parts] of now) {
  testEach(what, () => checkMessage(assertThrows(f) as Error, parts));
}

/** Refused when computed, from values: what is out of range is never clamped. */
const late: [what: string, f: () => Tensor, ...parts: string[]][] = [
  ["index at a place beyond its axis", () => x().index(at(0), at(3)), "Cannot index at index 3", "2 and 3"],
  ["index too far from the back", () => x().index(at(-3)), "Cannot index at index -3", "length 2"],
  ["indexPut at a place beyond its axis", () => x().indexPut([":", at(3)], 0), "Cannot indexPut at index 3"],
  ["take beyond the last element", () => x().take(at(6)), "Cannot take at index 6", "length 6"],
  ["put beyond the last element", () => x().put(at(-7), zeros([1])), "Cannot put at index -7"],
  ["indexAdd at a place that is none", () => x().indexAdd(0, at(2), zeros([1, 3])), "indexAdd at index 2"],
  ["indexCopy at a place that is none", () => x().indexCopy(1, at(3), zeros([2, 1])), "indexCopy at index 3"],
  ["indexFill at a place that is none", () => x().indexFill(0, at(2), 0), "Cannot indexFill at index 2"],
  [
    "indexReduce at a place that is none",
    () => x().indexReduce(0, at(2), zeros([1, 3]), "amax"),
    "Cannot indexReduce at index 2",
  ],
  [
    "scatter at a place that is none",
    () => x().scatter(1, at(3).unsqueeze(0), 1),
    "Cannot scatter at index 3",
  ],
  [
    "scatterReduce at a place that is none",
    () => x().scatterReduce(0, at(-3).unsqueeze(0), zeros([1, 1]), "prod"),
    "at index -3",
    "length 2",
  ],
  ["a one-hot vector of a class that is none", () => at(0, 3).oneHot(3), "at index 3", "0 to 2"],
  ["a one-hot vector of a negative class", () => at(-1).oneHot(3), "at index -1", "0 to 2"],
  [
    "maskedScatter of too few elements",
    () => x().maskedScatter(tensor([true, true, false]), tensor([1, 2, 3])),
    "Cannot maskedScatter at index 3",
  ],
  [
    "maskedScatter of no elements",
    () => x().maskedScatter(tensor([true, false, false]), zeros([0])),
    "Cannot maskedScatter at index",
  ],
  [
    "bags that do not begin with the first id",
    () => embeddingBag(x(), at(0, 1), { offsets: at(1) }),
    "find the bag of an id at index -1",
  ],
];

for (const [what, f, ...parts] of late) {
  testEach(what, async () => {
    checkMessage(await assertRejects(() => f().data()) as Error, parts);
    assertEquals(await x().sum().item(), 21, "the engine goes on");
  });
}
