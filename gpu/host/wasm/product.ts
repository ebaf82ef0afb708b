/** Products of matrices in WebAssembly or by the system's library, shared out among threads by whole tiles. */
import { areDeterministicAlgorithmsEnabled } from "../../../ops/determinism.ts";
import { blas, layout, wanted } from "../blas.ts";
import { COLUMNS, ROWS } from "./matmul.ts";
import type { Runner } from "./runner.ts";

/** A matrix in shared memory: where it begins, and its steps from row to row and from column to column, in bytes. */
export interface Placed {
  readonly at: number;
  readonly row: number;
  readonly column: number;
}

/** From so many multiplications on f32 goes through WebAssembly. */
export const VECTORS = 32768;
/** Multiplications in about a nanosecond: in WebAssembly, and by a library. */
const SPEED = 16, LIBRARY_SPEED = 50;
/** Multiplications that are worth a call of the system's library, and those from which on it is worth looking for. */
const LIBRARY = 1 << 15, SOUGHT = 1 << 20;
/** Work, in steps of about a nanosecond, of which one product is enough for all threads. */
const LARGE = 1 << 21;

let isFaster: boolean | undefined;

/** Whether products of so many multiplications in all go to the system's library. */
export function usesLibrary(runner: Runner, multiplications: number): boolean {
  if (areDeterministicAlgorithmsEnabled() || (isFaster === undefined && multiplications < SOUGHT)) {
    return false;
  }
  return isFaster ??= measured(runner);
}

/** Whether there is a library, and it is faster on a product of 160 by 160 by 160. */
function measured(runner: Runner): boolean {
  if (blas() === null || wanted() === "1") return blas() !== null;
  const n = 160, { memory, matmul, own } = runner, at = memory.take(12 * n * n);
  if (at === null) return false;
  new Float32Array(memory.buffer, at, 3 * n * n).fill(1);
  const time = (run: () => void): number => {
    let best = Infinity;
    for (let i = 0; i < 6; i++) {
      const start = performance.now();
      run();
      best = Math.min(best, performance.now() - start);
    }
    return best;
  };
  const [a, b, c] = [0, 1, 2].map((i) => at + 4 * n * n * i), { library, matmul: vectors } = matmul.functions;
  const theirs = time(() => library(0, 0, 0, n, n, n, a, n, b, n, 0, c, n));
  const ours = time(() => vectors(n, n, n, a, 4 * n, 4, b, 4 * n, 4, c, 4 * n, 0, own.panels));
  memory.give(at, 12 * n * n);
  return theirs < ours;
}

/** How the library is told of operands; null where it does not take them. */
function told(
  runner: Runner,
  [M, N, K]: readonly number[],
  count: number,
  a: Placed,
  b: Placed,
  bytes: number,
): Told | null {
  const size = M * N * K;
  if (size < LIBRARY || !usesLibrary(runner, size * count)) return null;
  const l = layout(a.row / bytes, a.column / bytes, M, K), r = layout(b.row / bytes, b.column / bytes, K, N);
  return l === null || r === null ? null : { s: l[0], lda: l[1], t: r[0], ldb: r[1] };
}

interface Told {
  readonly s: number;
  readonly lda: number;
  readonly t: number;
  readonly ldb: number;
}

/** Parts of a product along its longer side. */
function parts([M, N]: readonly number[], a: Placed, b: Placed, c: number, line: number, bytes: number) {
  const byRows = M >= N;
  return {
    n: byRows ? M : N,
    grain: byRows ? ROWS : COLUMNS,
    part: (from: number, to: number) => ({
      rows: byRows ? to - from : M,
      columns: byRows ? N : to - from,
      x: byRows ? a.at + from * a.row : a.at,
      w: byRows ? b.at : b.at + from * b.column,
      y: byRows ? c + from * line : c + bytes * from,
    }),
  };
}

/** `c [M, N] = a [M, K] b [K, N]` of f32, or of f64 (8 bytes) by the library only; false where it does not. */
export function byLibrary(
  runner: Runner,
  shape: readonly number[],
  a: Placed,
  b: Placed,
  c: number,
  line: number,
  bytes: 4 | 8,
): boolean {
  const [M, N, K] = shape, how = told(runner, shape, 1, a, b, bytes);
  if (how === null) return false;
  const { n, grain, part } = parts(shape, a, b, c, line, bytes), { s, t, lda, ldb } = how;
  const work = blas()!.isSerial ? M * N * K * bytes / 4 / LIBRARY_SPEED : 0;
  runner.run(runner.matmul, "library", n, 4 * grain, work, (from, to) => {
    const { rows, columns, x, w, y } = part(from, to);
    return [bytes === 8 ? 1 : 0, s, t, rows, columns, K, x, lda, w, ldb, 0, y, line / bytes];
  });
  return true;
}

/** `c [M, N] = a [M, K] b [K, N]`; the rows of c lie `line` bytes apart. */
export function product(
  runner: Runner,
  shape: readonly number[],
  a: Placed,
  b: Placed,
  c: number,
  line: number = 4 * shape[1],
): void {
  if (byLibrary(runner, shape, a, b, c, line, 4)) return;
  const [M, N, K] = shape, { n, grain, part } = parts(shape, a, b, c, line, 4);
  runner.run(runner.matmul, "matmul", n, grain, M * N * K / SPEED, (from, to, { panels }) => {
    const { rows, columns, x, w, y } = part(from, to);
    return [rows, columns, K, x, a.row, a.column, w, b.row, b.column, y, line, 0, panels];
  });
}

/** `count` products, whose matrices lie `aStep` and `bStep` bytes apart; results one behind the other. */
export function products(
  runner: Runner,
  shape: readonly number[],
  a: Placed,
  b: Placed,
  c: number,
  count: number,
  aStep: number,
  bStep: number,
): void {
  const [M, N, K] = shape, cStep = 4 * M * N, how = told(runner, shape, count, a, b, 4), { matmul } = runner;
  const each = M * N * K / (how === null ? SPEED : LIBRARY_SPEED);
  if (each >= LARGE || (how !== null && !blas()!.isSerial)) {
    for (let i = 0; i < count; i++) {
      const [x, w] = [{ ...a, at: a.at + i * aStep }, { ...b, at: b.at + i * bStep }];
      product(runner, shape, x, w, c + i * cStep);
    }
    return;
  }
  const name = how === null ? "matmuls" : "libraries";
  runner.run(matmul, name, count, 1, count * each, (from, to, { panels }) => {
    const x = a.at + from * aStep, w = b.at + from * bStep, y = c + from * cStep;
    return [
      ...how === null
        ? [M, N, K, x, a.row, a.column, w, b.row, b.column, y, 4 * N, 0, panels]
        : [0, how.s, how.t, M, N, K, x, how.lda, w, how.ldb, 0, y, N],
      ...[to - from, aStep, bStep, cStep],
    ];
  });
}
