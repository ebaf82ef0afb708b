/** Products of matrices in WebAssembly, shared out among threads by whole tiles. */
import { areDeterministicAlgorithmsEnabled } from "../../../ops/determinism.ts";
import { type Blas, blas, wanted } from "../blas.ts";
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

/** Multiplications that are worth a call of the system's library, and those that it is measured with. */
const LIBRARY = 1 << 15, MEASURED = 1 << 20;

/** The library to use, once it is known: the faster one on the first large product. */
let chosen: Blas | null | undefined;

/** `c [M, N] = a [M, K] b [K, N]`; the rows of c lie `line` bytes apart. */
export function product(
  runner: Runner,
  shape: readonly number[],
  a: Placed,
  b: Placed,
  c: number,
  line: number = 4 * shape[1],
): void {
  const [M, N, K] = shape, size = M * N * K;
  if (size >= LIBRARY && !areDeterministicAlgorithmsEnabled()) {
    if (chosen === undefined && size >= MEASURED) chosen = faster(runner, shape, a, b, c, line);
    if (chosen != null && byLibrary(chosen, runner, shape, a, b, c, line)) return;
  }
  byVectors(runner, shape, a, b, c, line);
}

function faster(
  runner: Runner,
  shape: readonly number[],
  a: Placed,
  b: Placed,
  c: number,
  line: number,
): Blas | null | undefined {
  const library = blas();
  if (library === null || wanted() === "1") return library;
  const time = (run: () => boolean | void): number => {
    if (run() === false) return Infinity; // the first call starts threads and compiles
    let best = Infinity;
    for (let i = 0; i < 3; i++) {
      const start = performance.now();
      run();
      best = Math.min(best, performance.now() - start);
    }
    return best;
  };
  const theirs = time(() => byLibrary(library, runner, shape, a, b, c, line));
  if (theirs === Infinity) return undefined; // not a product that it does
  return theirs < time(() => byVectors(runner, shape, a, b, c, line)) ? library : null;
}

function byLibrary(
  library: Blas,
  runner: Runner,
  [M, N, K]: readonly number[],
  a: Placed,
  b: Placed,
  c: number,
  line: number,
): boolean {
  const { buffer } = runner.memory;
  const strided = ({ at, row, column }: Placed) => ({
    data: new Float32Array(buffer, at),
    row: row / 4,
    column: column / 4,
  });
  return library.multiply(strided(a), strided(b), new Float32Array(buffer, c), line / 4, M, N, K);
}

function byVectors(
  runner: Runner,
  [M, N, K]: readonly number[],
  a: Placed,
  b: Placed,
  c: number,
  line: number,
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
