/** Bad input of elementwise ops and activations, and what PyTorch does at their corners. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { grad, type Tensor, tensor } from "../../mod.ts";
import { testEach } from "../support/engines.ts";
import { assertClose } from "../support/numbers.ts";

// deno-lint-ignore no-explicit-any
type Any = any;

const x = (): Tensor => tensor([1, 2, 3]);

const refused: [string, () => unknown, new (...a: Any[]) => Error, string][] = [
  [
    "div",
    () => x().div(2, { rounding: "up" as Any }),
    TypeError,
    "rounding up: roundings are floor and trunc",
  ],
  [
    "div's options",
    () => x().div(2, { round: "floor" } as Any),
    TypeError,
    "option round: the nearest of rounding",
  ],
  ["round", () => x().round(0.5), RangeError, "Cannot round to 0.5 decimal places"],
  ["polygamma", () => x().polygamma(-1), RangeError, "Cannot take the polygamma of order -1"],
  ["polygamma of a fraction", () => x().polygamma(1.5), RangeError, "orders are whole numbers from 0"],
  ["isclose", () => x().isclose(2, { atol: -1 }), RangeError, "within rtol 0.00001 and atol -1"],
  ["gelu", () => x().gelu({ approximate: "erf" as Any }), TypeError, "approximate erf: it is none or tanh"],
  ["softplus", () => x().softplus({ beta: 0 }), RangeError, "Cannot softplus with beta 0"],
  ["celu", () => x().celu(0), RangeError, "Cannot celu with alpha 0"],
  ["hardtanh", () => x().hardtanh(1, -1), RangeError, "Cannot hardtanh to [1, -1]"],
  ["softshrink", () => x().softshrink(-1), RangeError, "Cannot softshrink by -1"],
  ["glu", () => x().glu(), RangeError, "shape [3]: its length must be even to be halved"],
  ["prelu", () => x().prelu(tensor([1, 2])), RangeError, "Cannot prelu shape [3] with weights [2]"],
  ["addcmul", () => x().addcmul(2 as Any, x()), TypeError, "Cannot addcmul"],
  ["logicalXor", () => x().logicalXor(1 as Any), TypeError, "Cannot logicalXor"],
  ["hypot", () => x().hypot(tensor([1, 2])), RangeError, "Cannot hypot shapes [3] and [2]"],
  ["fmod", () => tensor([1], { dtype: "i32" }).fmod(0.5), TypeError, "fractional number 0.5"],
  ["floor", () => tensor([true]).floor(), TypeError, "type bool"],
];

for (const [name, f, kind, part] of refused) {
  testEach(`${name} refuses what it cannot take`, () => {
    const { message } = assertThrows(f, kind);
    assert(message.includes(part), `${message}: ${part}`);
    assert(!message.endsWith("."), message);
  });
}

/** Checks values, and the derivative of their sum. */
function corner(
  name: string,
  f: (x: Tensor) => Tensor,
  at: number[],
  values: number[],
  slopes: number[] | null = null,
  tolerance = 1e-6,
): void {
  testEach(name, async () => {
    assertClose(await f(tensor(at)).data(), values, tolerance, "value");
    if (slopes === null) return;
    assertClose(await grad((x: Tensor) => f(x).sum())(tensor(at)).data(), slopes, tolerance, "derivative");
  });
}

const inf = Infinity;
corner("relu6' = hardtanh' = 0 on the boundary", (x) => x.relu6(), [0, 3, 6], [0, 3, 6], [0, 1, 0]);
corner("hardshrink keeps what is beyond the boundary", (x) => x.hardshrink(), [0.5, -0.5, 0.6], [0, 0, 0.6], [
  0,
  0,
  1,
]);
corner("softshrink' = 0 on the boundary", (x) => x.softshrink(), [0.5, -0.5, 2], [0, 0, 1.5], [0, 0, 1]);
corner("elu'(0) = alpha", (x) => x.elu(0.5), [0, 1, -100], [0, 1, -0.5], [0.5, 1, 0]);
corner("leakyRelu'(0) is the slope", (x) => x.leakyRelu(0.1), [0, 1], [0, 1], [0.1, 1]);
corner("elu keeps small numbers", (x) => x.elu(), [-1e-10], [-1e-10], [1], 1e-16);
corner("silu' and gelu' are 0 and 1 at infinity", (x) => x.silu().add(x.gelu()), [inf], [inf], [2]);
corner("gelu by tanh stays finite for large numbers", (x) => x.gelu({ approximate: "tanh" }), [3e38, -1e30], [
  3e38,
  -0,
], [1, 0]);
corner("hypot' = 0 at the origin", (x) => x.hypot(0), [0, 3], [0, 3], [0, 1]);
corner("hypot of large numbers is finite", (x) => x.hypot(x), [1e38], [Math.SQRT2 * 1e38], [Math.SQRT2]);
corner("atan2' = 0 at the origin", (x) => x.atan2(0), [0], [0], [0]);
corner(
  "logaddexp of infinities is theirs, shared by halves",
  (x) => x.logaddexp(x),
  [-inf, inf],
  [-inf, inf],
  [1, 1],
);
corner("xlogy is 0 at x = 0", (x) => x.xlogy(0), [0, 1], [0, -inf], [0, -inf]);
corner("xlogy keeps NaN", (x) => x.xlogy(NaN), [0], [NaN], [NaN]);
corner("fmax gives ties to the first", (x) => x.fmax(1), [1, 0, NaN], [1, 1, 1], [1, 0, 0]);
corner("nanToNum replaces and stops", (x) => x.nanToNum(9, 8, 7), [NaN, inf, -inf, 2], [9, 8, 7, 2], [
  0,
  0,
  0,
  1,
]);
corner("heaviside takes its value at 0", (x) => x.heaviside(0.5), [-1, 0, 1], [0, 0.5, 1], [0, 0, 0]);
corner("halves go to the even place", (x) => x.round(1), [0.25, 0.75, -0.25], [0.2, 0.8, -0.2], [0, 0, 0]);
corner("numbers round to hundreds", (x) => x.round(-2), [149, 150, 250], [100, 200, 200]);
corner("lerp ends at its end", (x) => x.lerp(0.125, 1), [1e8], [0.125], [0], 0);
corner("sinc is 0 at whole numbers, sinc'(0) = 0", (x) => x.sinc(), [0, 1, -7], [1, 0, 0], [0, -1, 1 / 7]);
corner(
  "sinc' near 0",
  (x) => x.sinc(),
  [1e-4],
  [1],
  [-(Math.PI ** 2) * 1e-4 / 3],
  1e-8,
);
corner("erfinv is infinite at its ends, NaN beyond", (x) => x.erfinv(), [1, -1, 1.5], [inf, -inf, NaN]);
corner("lgamma is infinite at its poles", (x) => x.lgamma(), [0, -1, -inf, inf], [inf, inf, inf, inf]);
corner("digamma has signed infinities at 0, NaN at other poles", (x) => x.digamma(), [0, -0, -1], [
  -inf,
  inf,
  NaN,
]);
corner("logit of what is limited", (x) => x.logit(0.25), [0, 0.25, 1], [
  -Math.log(3),
  -Math.log(3),
  Math.log(3),
], [
  0,
  16 / 3,
  0,
]);

testEach("a quotient rounded down is that of the exact remainder", async () => {
  // Defect: 1 / 0.001 rounds to 1000 in f64 although 0.001 is a little more than a thousandth; -1 // inf was -0.
  const dtype = "f32",
    a = tensor([1, 1, -1, 7, -7], { dtype }),
    b = tensor([0.001, -inf, inf, -2, 2], { dtype });
  const [q, r] = [await a.floorDivide(b).toArray(), await a.remainder(b).toArray()];
  assertEquals(q, [999, -1, -1, -4, -4]);
  assertEquals(r.slice(3), [-1, 1]);
  assertEquals(await tensor(1, { dtype: "f64", device: "host" }).floorDivide(0.001).item(), 999);
});

testEach("whole numbers round to themselves, divide to whole numbers, and have no infinities", async () => {
  const i = tensor([-7, 7, 0], { dtype: "i32" });
  assertEquals(i.floor().dtype, "i32");
  assertEquals(await i.div(2, { rounding: "trunc" }).toArray(), [-3, 3, 0]);
  assertEquals(await i.div(2, { rounding: "floor" }).toArray(), [-4, 3, 0]);
  assertEquals(await i.fmod(4).toArray(), [-3, 3, 0]);
  assertEquals(await i.fmod(0).toArray(), [0, 0, 0]);
  assertEquals(await i.isinf().toArray(), [false, false, false]);
  assertEquals(i.erf().dtype, "f32");
});
