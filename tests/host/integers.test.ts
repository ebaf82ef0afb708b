/** Whole numbers modulo 2^32 and sums of halves: the same on every engine. */
import { assert, assertEquals } from "@std/assert";
import { grad, ones, type Tensor, tensor, zeros } from "../../mod.ts";
import { read } from "../support/numbers.ts";
import { testEach } from "../support/engines.ts";

const MOST = 2147483647, LEAST = -2147483648, TOP = 4294967295;

testEach("products of whole numbers wrap", async () => {
  const x = tensor([MOST, 123456789, LEAST, -7], { dtype: "i32" });
  const u = tensor([TOP, 3000000000], { dtype: "u32" });
  const [a, b, c, d, e, f, g] = await read([
    x.mul(x),
    x.square(),
    x.reshape([2, 2]).prod(0),
    x.reshape([2, 2]).prod(1),
    x.reshape([2, 2]).matmul(x.reshape([2, 2])),
    u.mul(u),
    u.prod(),
  ]);
  const square = (v: number): number => Number(BigInt.asIntN(32, BigInt(v) * BigInt(v)));
  const squares = [MOST, 123456789, LEAST, -7].map(square);
  assertEquals([[...a], [...b]], [squares, squares]);
  assertEquals([[...c], [...d]], [
    [Math.imul(MOST, LEAST), Math.imul(123456789, -7)],
    [Math.imul(MOST, 123456789), Math.imul(LEAST, -7)],
  ]);
  const dot = (i: number, j: number): number => {
    const v = [MOST, 123456789, LEAST, -7].map(BigInt);
    return Number(BigInt.asIntN(32, v[2 * i] * v[j] + v[2 * i + 1] * v[2 + j]));
  };
  assertEquals([...e], [dot(0, 0), dot(0, 1), dot(1, 0), dot(1, 1)]);
  assertEquals([...f], [1, Number(BigInt.asUintN(32, 9000000000000000000n))]);
  assertEquals([...g], [Number(BigInt.asUintN(32, BigInt(TOP) * 3000000000n))]);
});

testEach("long products and sums of whole numbers wrap", async () => {
  const v = Int32Array.from({ length: 3000 }, (_, i) => 2 * ((i * 7919) % 100003) + 1);
  const [p, s] = await read([tensor(v).prod(), ones([3000], { dtype: "i32" }).mul(MOST).sum()]);
  assertEquals(p[0], v.reduce((a, b) => Math.imul(a, b), 1));
  assertEquals(s[0], Math.imul(3000, MOST));
});

testEach("powers of whole numbers wrap, and negative ones are whole", async () => {
  const x = [3, -3, 2, 65537, 7, 0, 0, 1, -1, -1, 5], y = [40, 21, 31, 2, 13, 0, -1, -5, -2, -3, -1];
  const [p, u] = await read([
    tensor(x, { dtype: "i32" }).pow(tensor(y, { dtype: "i32" })),
    tensor([TOP, 3], { dtype: "u32" }).pow(tensor([3, 41], { dtype: "u32" })),
  ]);
  const exact = x.map((v, i) => y[i] < 0 ? 0 : Number(BigInt.asIntN(32, BigInt(v) ** BigInt(y[i]))));
  exact.splice(7, 3, 1, 1, -1);
  assertEquals([...p], exact);
  assertEquals([...u], [TOP, Number(BigInt.asUintN(32, 3n ** 41n))]);
});

testEach("whole numbers by zero are zero", async () => {
  const x = [5, -5, 0, LEAST, LEAST, 7, -7], y = [0, 0, 0, 0, -1, -2, 2];
  const u = tensor([5, 0, TOP], { dtype: "u32" }), w = tensor([0, 0, 2], { dtype: "u32" });
  const i = tensor(x, { dtype: "i32" }), j = tensor(y, { dtype: "i32" });
  const [q, r, s, t] = await read([i.floorDivide(j), i.remainder(j), u.floorDivide(w), u.remainder(w)]);
  assertEquals([[...q], [...r]], [[0, 0, 0, 0, LEAST, -4, -4], [0, 0, 0, 0, 0, -1, 1]]);
  assertEquals([[...s], [...t]], [[0, 0, MOST], [0, 0, 1]]);
});

testEach("quotients of large floats are rounded down", async () => {
  const [q] = await read([tensor([3.4e38, -3.4e38, 3.4e38, 7]).floorDivide(tensor([-1e38, 1e38, 1e38, -2]))]);
  assertEquals([...q], [-4, -4, 3, -4]);
});

testEach("sums of halves at indices round once", async () => {
  const n = 4096, index = zeros([n], { dtype: "i32" }), x = ones([n], { dtype: "f16" });
  const nothing = zeros([2], { dtype: "f16" });
  const [a, b, c] = await read([
    nothing.scatterAdd(0, index, x),
    grad((t: Tensor) => t.gather(0, index).to("f32").sum())(nothing) as Tensor,
    zeros([2, 2], { dtype: "f16" }).scatterAdd(0, zeros([n, 1], { dtype: "i32" }), x.reshape([n, 1])),
  ]);
  assertEquals([[...a], [...b], [...c]], [[n, 0], [n, 0], [n, 0, 0, 0]]);
  assert(a instanceof Float16Array);
});
