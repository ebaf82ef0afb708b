/** Bad input to linear algebra and products: the errors say which matrix and what to do. */
import { assert, assertRejects, assertThrows } from "@std/assert";
import {
  bilinear,
  cdist,
  chainMatmul,
  linalg,
  pdist,
  type Tensor,
  tensor,
  tensordot,
  zeros,
} from "../../mod.ts";
import { test, testEach } from "../support/engines.ts";

// deno-lint-ignore no-explicit-any
type Any = any;

/** [what, call, kind, parts of the message]. */
type Row = [string, () => unknown, new (...x: Any[]) => Error, ...string[]];

const rows: Row[] = [
  [
    "inv of a matrix that is not square",
    () => linalg.inv(zeros([2, 3])),
    RangeError,
    "Cannot inv shape [2,3]",
    "2 and 3",
    "equal",
  ],
  ["det of a vector", () => linalg.det(zeros([2])), RangeError, "Cannot det shape [2]", "two axes"],
  [
    "cholesky of whole numbers",
    () => linalg.cholesky(zeros([2, 2], { dtype: "i32" })),
    TypeError,
    "i32",
    'x.to("f32")',
  ],
  [
    "solve of two types",
    () => linalg.solve(zeros([2, 2]), zeros([2], { dtype: "f16", device: "host" }).to("f16")),
    TypeError,
    "f32 and f16",
  ],
  [
    "solve of rows that do not fit",
    () => linalg.solve(zeros([2, 2]), zeros([3])),
    RangeError,
    "2 unknowns and 3 rows",
  ],
  ["solve of an array", () => linalg.solve(zeros([2, 2]), [1, 2] as Any), TypeError, "Cannot solve", "array"],
  [
    "solveTriangular without upper",
    () => linalg.solveTriangular(zeros([2, 2]), zeros([2, 1]), {} as Any),
    TypeError,
    "{ upper }",
  ],
  [
    "luSolve with pivots of another shape",
    () => linalg.luSolve(zeros([2, 2]), zeros([3], { dtype: "i32" }), zeros([2, 1])),
    RangeError,
    "pivots [3]",
    "[2]",
  ],
  [
    "luSolve with floating point pivots",
    () => linalg.luSolve(zeros([2, 2]), zeros([2]), zeros([2, 1])),
    TypeError,
    "pivots of type f32",
    "i32",
  ],
  [
    "qr of an unknown mode",
    () => linalg.qr(zeros([2, 2]), { mode: "full" as Any }),
    TypeError,
    "mode full",
    "reduced, complete and r",
  ],
  [
    "an unknown option of svd",
    () => linalg.svd(zeros([2, 2]), { full_matrices: false } as Any),
    TypeError,
    "full_matrices",
    "fullMatrices",
  ],
  [
    "eigh of an unknown triangle",
    () => linalg.eigh(zeros([2, 2]), { uplo: "X" as Any }),
    TypeError,
    "uplo X",
    "L or U",
  ],
  [
    "matrixNorm of an unknown order",
    () => linalg.matrixNorm(zeros([2, 2]), { ord: 3 }),
    RangeError,
    "order 3",
    '"nuc"',
  ],
  [
    "matrixNorm over one axis twice",
    () => linalg.matrixNorm(zeros([2, 2]), { axes: [1, -1] }),
    RangeError,
    "two different axes",
  ],
  [
    "norm of order nuc of a vector",
    () => linalg.norm(zeros([2]), { ord: "nuc" }),
    RangeError,
    "order nuc over 1 axes",
  ],
  [
    "matrixPower by a fraction",
    () => linalg.matrixPower(zeros([2, 2]), 0.5),
    RangeError,
    "0.5",
    "whole number",
  ],
  [
    "tensorinv that is not square",
    () => linalg.tensorinv(zeros([2, 3, 4])),
    RangeError,
    "6 rows and 4 columns",
  ],
  [
    "tensorsolve that is not square",
    () => linalg.tensorsolve(zeros([2, 3, 4]), zeros([2, 3])),
    RangeError,
    "6 equations and 4 unknowns",
  ],
  [
    "lstsq of rows that do not fit",
    () => linalg.lstsq(zeros([3, 2]), zeros([2, 1])),
    RangeError,
    "same number of rows",
  ],
  [
    "householderProduct of too many scalars",
    () => linalg.householderProduct(zeros([3, 2]), zeros([3])),
    RangeError,
    "K <= N",
  ],
  ["vander without columns", () => linalg.vander(zeros([2]), 0), RangeError, "0 columns"],
  ["multiDot of one", () => linalg.multiDot([zeros([2, 2])]), RangeError, "at least two"],
  [
    "multiDot that does not fit",
    () => linalg.multiDot([zeros([2, 3]), zeros([2, 2])]),
    RangeError,
    "3 columns",
    "2 rows",
  ],
  [
    "multiDot of a stack",
    () => linalg.multiDot([zeros([2, 2, 2]), zeros([2, 2])]),
    RangeError,
    "matrices",
    "vectors",
  ],
  ["chainMatmul of an array", () => chainMatmul([1] as Any), TypeError, "must be a tensor"],
  [
    "mm of vectors",
    () => zeros([2]).mm(zeros([2])),
    RangeError,
    "Cannot mm",
    "both must be matrices",
    "matmul",
  ],
  ["mv of two matrices", () => zeros([2, 2]).mv(zeros([2, 2])), RangeError, "a matrix and a vector"],
  [
    "bmm of other stacks",
    () => zeros([2, 2, 2]).bmm(zeros([3, 2, 2])),
    RangeError,
    "first axes must be equal",
  ],
  ["outer of matrices", () => zeros([2, 2]).outer(zeros([2])), RangeError, "both must be vectors"],
  [
    "addmm to what does not broadcast",
    () => zeros([3]).addmm(zeros([2, 2]), zeros([2, 2])),
    RangeError,
    "[3]",
    "[2,2]",
  ],
  [
    "addmm with an unknown option",
    () => zeros([2]).addmm(zeros([2, 2]), zeros([2, 2]), { gamma: 1 } as Any),
    TypeError,
    "gamma",
  ],
  ["cross along a length of 2", () => zeros([2]).cross(zeros([2])), RangeError, "Cannot cross", "must be 3"],
  [
    "tensordot over lengths that differ",
    () => tensordot(zeros([2, 3]), zeros([4, 2]), 1),
    RangeError,
    "lengths 3 and 4",
  ],
  [
    "tensordot over an axis twice",
    () => tensordot(zeros([2, 2]), zeros([2, 2]), [[0, 0], [0, 1]]),
    RangeError,
    "named twice",
  ],
  [
    "bilinear of shapes that do not fit",
    () => bilinear(zeros([2, 3]), zeros([2, 4]), zeros([5, 4, 3])),
    RangeError,
    "[O, I, J]",
  ],
  ["cdist of vectors", () => cdist(zeros([2]), zeros([2])), RangeError, "[..., P, D]"],
  ["cdist of other lengths", () => cdist(zeros([2, 3]), zeros([2, 4])), RangeError, "lengths 3 and 4"],
  ["pdist of a stack", () => pdist(zeros([2, 2, 2])), RangeError, "[N, D]"],
];

for (const [what, call, kind, ...parts] of rows) {
  test(what, () => {
    const { message } = assertThrows(call, kind);
    for (const part of parts) assert(message.includes(part), `The message lacks "${part}": ${message}`);
    assert(!message.endsWith("."), message);
  });
}

/** Errors that hang on values come when these are read. */
const reads: [string, () => Tensor, ...string[]][] = [
  [
    "inv of a singular matrix",
    () => linalg.inv(tensor([[1, 2], [2, 4]])),
    "Cannot inv the matrix [2,2]",
    "singular",
    "pivot 1",
    "pinv",
  ],
  [
    "solve with a singular matrix of a stack",
    () => linalg.solve(tensor([[[1, 0], [0, 1]], [[0, 0], [0, 1]]]), tensor([1, 2])),
    "Cannot solve matrix 1 of [2,2,2]",
    "pivot 0",
  ],
  [
    "cholesky of a matrix that is not positive definite",
    () => linalg.cholesky(tensor([[4, 2], [2, 1]])),
    "Cannot cholesky the matrix [2,2]",
    "leading minor of order 2",
    "positive definite",
  ],
  [
    "cholesky of a stack",
    () => linalg.cholesky(tensor([[[1, 0], [0, 1]], [[-1, 0], [0, 1]], [[1, 0], [0, 1]]])),
    "matrix 1 of [3,2,2]",
    "order 1",
  ],
  ["inv of zeros", () => linalg.inv(zeros([3, 3])), "pivot 0"],
  ["cholesky of NaN", () => linalg.cholesky(tensor([[NaN]])), "order 1"],
  [
    "pivots beyond the rows",
    () => linalg.luUnpack(tensor([[1, 2], [3, 4]]), tensor([1, 3], { dtype: "i32" })).P,
    "pivot 3",
    "2 rows",
  ],
];

for (const [what, call, ...parts] of reads) {
  testEach(what, async () => {
    const { message } = await assertRejects(() => call().data(), RangeError);
    for (const part of parts) assert(message.includes(part), `The message lacks "${part}": ${message}`);
    // The engine goes on.
    const y = await linalg.inv(tensor([[2, 0], [0, 4]])).data();
    assert(y[0] === 0.5 && y[3] === 0.25);
  });
}

testEach("functions without errors say where it failed", async () => {
  const singular = tensor([[1, 2], [2, 4]]);
  const infos = [
    linalg.invEx(singular).info,
    linalg.solveEx(singular, tensor([1, 1])).info,
    linalg.luFactorEx(singular).info,
    linalg.choleskyEx(singular).info,
  ];
  for (const info of infos) assert(await info.item() === 2);
});

test("complete qr of a tall matrix has no derivative, and says what has", () => {
  const { message } = assertThrows(() => {
    const a = zeros([3, 2], { requiresGrad: true });
    linalg.qr(a, { mode: "complete" }).Q.sum().backward();
  });
  assert(message.includes("complete qr") && message.includes("reduced"), message);
});
