/** Products of matrices in WebAssembly, shared out among threads by whole tiles. */
import type { Runner } from "./runner.ts";

/** A matrix in shared memory: where it begins, and its steps from row to row and from column to column, in bytes. */
export interface Placed {
  readonly at: number;
  readonly row: number;
  readonly column: number;
}

/** From so many multiplications on f32 goes through WebAssembly. */
export const VECTORS = 32768;
/** Multiplications in about a nanosecond. */
const SPEED = 16;

/** `c [M, N] = a [M, K] b [K, N]`; the rows of c lie `line` bytes apart. */
export function product(
  runner: Runner,
  [M, N, K]: readonly number[],
  a: Placed,
  b: Placed,
  c: number,
  line: number = 4 * N,
): void {
  const work = M * N * K / SPEED;
  // The longer side is shared out.
  if (M >= N) {
    runner.run(runner.matmul, "matmul", M, 6, work, (from, to, { panels }) => [
      ...[to - from, N, K, a.at + from * a.row, a.row, a.column, b.at, b.row, b.column],
      ...[c + from * line, line, panels],
    ]);
  } else {
    runner.run(runner.matmul, "matmul", N, 8, work, (from, to, { panels }) => [
      ...[M, to - from, K, a.at, a.row, a.column, b.at + from * b.column, b.row, b.column],
      ...[c + 4 * from, line, panels],
    ]);
  }
}

/** `count` products, whose matrices lie `aStep` and `bStep` bytes apart; results one behind the other. */
export function products(
  runner: Runner,
  [M, N, K]: readonly number[],
  a: Placed,
  b: Placed,
  c: number,
  count: number,
  aStep: number,
  bStep: number,
): void {
  const cStep = 4 * M * N;
  runner.run(runner.matmul, "many", count, 1, count * M * N * K / SPEED, (from, to, { panels }) => [
    ...[M, N, K, a.at + from * aStep, a.row, a.column, b.at + from * bStep, b.row, b.column],
    ...[c + from * cStep, 4 * N, panels, to - from, aStep, bStep, cStep],
  ]);
}
