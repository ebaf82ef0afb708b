/** Which variant of a kernel computes what: chosen by shape and device, so that results repeat, or as a search found out. */
import { areDeterministicAlgorithmsEnabled } from "../../ops/determinism.ts";
import type { Limits } from "./device.ts";
import { THREADS } from "./kernels/kernel.ts";

/** What choices hang on. */
type Device = Pick<Limits, "isSoftware">;

/** How a matrix product is cut up. */
export interface Tile {
  /** Threads of a workgroup down the rows and across the columns of a tile; 1 by 1 where threads do not share one. */
  readonly down: number;
  readonly across: number;
  /** Rows and columns of each thread. */
  readonly rows: number;
  readonly columns: number;
  /** Steps along K that a workgroup keeps in its memory; 0 where each thread reads what it multiplies. */
  readonly depth: number;
}

/** Lengths of a batch of products, M x K by K x N. */
export interface ProductShape {
  readonly M: number;
  readonly N: number;
  readonly K: number;
  readonly batches: number;
}

/** Tiles by class of shape. */
export type Tiles = ReadonlyMap<string, Tile>;

/** Shapes that one measurement stands for: lengths up to the same power of 4. */
export function classOf({ M, N, K, batches }: ProductShape): string {
  const upTo = (n: number): number => 4 ** Math.ceil(Math.log2(Math.max(1, n)) / 2);
  return `${upTo(M)} ${upTo(K)} ${upTo(N)}${batches > 1 ? " batched" : ""}`;
}

const square = (side: number, each: number): Tile => ({
  down: side / each,
  across: side / each,
  rows: each,
  columns: each,
  depth: 16,
});

/** Tiles in workgroup memory, largest first: each reads its operands as often as its sides are short. */
const LARGE = square(128, 8), MIDDLE = square(64, 8), SMALL = square(32, 4);
/** For few rows or columns. */
const FLAT: Tile = { down: 4, across: 64, rows: 4, columns: 4, depth: 8 };
const TALL: Tile = { down: 64, across: 4, rows: 4, columns: 4, depth: 8 };
const FEW = 16;

/** Workgroups which keep a GPU busy, and threads which keep the few cores of a rasteriser busy. */
const ENOUGH_GROUPS = 256, ENOUGH_THREADS = 64;
/** How much more than its elements a product may compute at the edges of its tiles. */
const WASTE = 1.3;
/** Products worth the compiler's time for the largest tile of a thread on a rasteriser. */
const WORTHWHILE = 2 ** 20;

/** Rows and columns of a tile. */
export function tileSides({ down, across, rows, columns }: Tile): [number, number] {
  return [down * rows, across * columns];
}

/** Tiles of one split of a product. */
export function tilesOf(tile: Tile, { M, N, batches }: ProductShape): number {
  const [high, wide] = tileSides(tile);
  return Math.ceil(M / high) * Math.ceil(N / wide) * batches;
}

/** Bytes of workgroup memory: quads of rows and of columns for each step, and one more against bank conflicts. */
export function tileBytes(tile: Tile): number {
  const [high, wide] = tileSides(tile);
  return tile.depth * (high / 4 + 1 + wide / 4 + 1) * 16;
}

/**
 * Whether a product is better folded as the reduction that it is. A vector meets each element of a matrix once: nothing
 * is shared. Where loads cost more than arithmetic, a thread takes several columns.
 */
export function foldsProduct({ M, N }: ProductShape, { isSoftware }: Device): boolean {
  return isSoftware ? M * N === 1 : M === 1 || N === 1;
}

/** Every tile that a search tries. */
export function productTiles({ isSoftware, workgroupMemory }: Limits): readonly Tile[] {
  if (!isSoftware) {
    return [LARGE, MIDDLE, square(64, 4), SMALL, FLAT, TALL].filter((t) => tileBytes(t) <= workgroupMemory);
  }
  return [4, 8].flatMap((rows) => [4, 8].map((columns) => ({ down: 1, across: 1, rows, columns, depth: 0 })));
}

/** The tile of a product: the one that was measured to be fastest, or by rule. */
export function productTile(shape: ProductShape, limits: Limits): Tile {
  const { M, N, K, batches } = shape, { isSoftware, workgroupMemory, tiles } = limits;
  const measured = areDeterministicAlgorithmsEnabled() ? undefined : tiles?.get(classOf(shape));
  if (measured !== undefined) return measured;
  if (isSoftware) {
    // Workgroup memory is no nearer than any other, and a load costs as much as a hundred multiplications.
    const few = M * N * batches < 64 * ENOUGH_THREADS || M * N * K * batches < WORTHWHILE, most = few ? 4 : 8;
    return { down: 1, across: 1, rows: powerFrom(M, most), columns: powerFrom(N, most), depth: 0 };
  }
  if (M <= FEW) return FLAT;
  if (N <= FEW) return TALL;
  for (const tile of [LARGE, MIDDLE]) {
    const [high, wide] = tileSides(tile), tiles = tilesOf(tile, shape);
    const fits = tileBytes(tile) <= workgroupMemory && tiles * high * wide <= WASTE * M * N * batches;
    if (fits && tiles >= ENOUGH_GROUPS / 2) return tile;
  }
  return SMALL;
}

/** The least power of 2 from n on, at most `most`. */
function powerFrom(n: number, most: number): number {
  let power = 1;
  while (power < n && power < most) power *= 2;
  return power;
}

/** Most elements of chains that share a kernel: each of a rasteriser's threads goes through the text of all of them. */
export function besideElements({ isSoftware }: Device): number {
  return isSoftware ? 2 ** 14 : Infinity;
}

/** Least of K that is worth a split of its own, and most: some devices end a thread's loops after 65,535 turns. */
const LEAST_SHARE = 256, MOST_SHARE = 32768;

/** How much of K a split takes, and how many splits there are. */
export function splitDepth(
  K: number,
  tiles: number,
  { isSoftware }: Device,
): { share: number; splits: number } {
  const enough = isSoftware ? ENOUGH_THREADS : ENOUGH_GROUPS;
  const useful = Math.min(Math.ceil(enough / tiles), Math.floor(K / LEAST_SHARE));
  const wanted = Math.max(useful, Math.ceil(K / MOST_SHARE));
  if (wanted < 2) return { share: Math.max(16, K), splits: 1 };
  const share = Math.ceil(K / wanted / 16) * 16;
  return { share, splits: Math.ceil(K / share) };
}

/** How a fold is spread over workgroups. */
export interface Spread {
  readonly lanes: number;
  readonly splits: number;
  readonly share: number;
}

/** Threads which a fold wants: of a GPU, and of the few cores of a rasteriser, in workgroups enough to go round. */
const FOLDING_THREADS = 131072, FEW_FOLDING_THREADS = 8 * THREADS;
/** Most steps of a lane: some devices end a thread's loops after 65,535 turns. */
const TURNS = 16384;

/** Lanes and splits for `outputs` folds of `folded` elements each; `lanesFirst` where those are neighbours in memory. */
export function spread(outputs: number, folded: number, lanesFirst: boolean, { isSoftware }: Device): Spread {
  const threads = isSoftware ? FEW_FOLDING_THREADS : FOLDING_THREADS;
  let lanes = 1;
  // Along contiguous axes neighbours must be lanes, so that they read neighbours in memory; a CPU does not care.
  const first = lanesFirst && !isSoftware, most = lanesFirst ? THREADS : outputs >= 32 ? 8 : THREADS;
  const useful = first ? 4 : 16;
  while (lanes < most && lanes * useful < folded && (first || outputs * lanes < threads)) lanes *= 2;
  const wanted = Math.ceil(threads / (outputs * lanes));
  const enough = Math.min(wanted, 1024, Math.floor(folded / (lanes * 16)));
  const splits = Math.max(1, enough, Math.ceil(folded / (lanes * TURNS)));
  if (splits < 2) return { lanes, splits: 1, share: folded };
  const share = Math.ceil(folded / splits / lanes) * lanes;
  return { lanes, splits: Math.ceil(folded / share), share };
}

/** Most elements of a row that a lane takes. */
export const ROW_TURNS = 4096;

/** Lanes for each of `rows` rows of n elements. Waiting for one another is what costs most where a CPU is all of them. */
export function rowLanes(rows: number, n: number, { isSoftware }: Device): number {
  let lanes = 1;
  while (
    lanes < THREADS &&
    (isSoftware
      ? (rows * lanes < FEW_FOLDING_THREADS && lanes * 16 < n) || n > lanes * ROW_TURNS
      : lanes * 4 < n)
  ) lanes *= 2;
  return lanes;
}
