/** A search for the fastest tiles of matrix products on the adapter at hand, kept on disk for programs that come later. */
import { tensor } from "../../ops/create.ts";
import { recordKernels } from "../../ops/profile.ts";
import { engines } from "../../ops/runs.ts";
import { checkOptions } from "../../ops/tensor.ts";
import { WebGpuEngine } from "./engine.ts";
import { classOf, type ProductShape, productTile, productTiles, type Tile } from "./heuristics.ts";
import { isSame, saveTiles, tilesPath } from "./tiles_file.ts";

/** Options of {@linkcode tuneProducts}. */
export interface TuneOptions {
  /** Products to measure, `[M, K] x [K, N]`; each stands for lengths up to the same powers of 4. Default: a grid. */
  shapes?: readonly (readonly [M: number, K: number, N: number])[];
  /** Keeps what was found for later programs, in the user's cache folder, where the program may write; default true. */
  save?: boolean;
}

/** What a search found for one shape. */
export interface TunedProduct {
  /** Rows of the result, length of the sums, and columns of the result. */
  readonly shape: readonly [M: number, K: number, N: number];
  /** Milliseconds of the device with the tile that the rule gives. */
  readonly before: number;
  /** Milliseconds with the fastest tile, at most `before`. */
  readonly after: number;
  /** The fastest: rows and columns of a workgroup's tile, and those of each thread. */
  readonly tile: string;
}

/** Calls of a kernel that are timed, after one that compiles it. */
const ROUNDS = 5;
/** A tile must be this much faster than the rule's to take its place. */
const GAIN = 0.95;

/** Lengths of the grid, and most multiplications of a product in it: on a GPU, and on a rasteriser. */
const SIDES = [64, 256, 1024, 4096], MOST = 2 ** 36, FEW_SIDES = [16, 64, 256, 1024], FEW = 2 ** 25;

/**
 * Measures on this machine's WebGPU device which tiles multiply matrices fastest, and uses them from now on, in later
 * programs too. Without a search a rule picks tiles by shape. Results differ in rounding only;
 * `useDeterministicAlgorithms` goes by the rule. Takes seconds to a minute; throws where there is no WebGPU device.
 *
 * ```ts ignore
 * import { tuneProducts } from "@cotangent/cotangent";
 *
 * console.table(await tuneProducts({ shapes: [[1024, 1024, 1024], [64, 4096, 1024]] }));
 * ```
 */
export async function tuneProducts(options: TuneOptions = {}): Promise<TunedProduct[]> {
  const action = "tune products";
  checkOptions(action, options, ["shapes", "save"]);
  const engine = engines().find((e) => e instanceof WebGpuEngine);
  if (engine === undefined) {
    throw new Error(
      `Cannot ${action}: there is no WebGPU device here, and the host engine has nothing to tune`,
    );
  }
  const { save = true, shapes = grid(engine.isSoftware) } = options;
  if (!Array.isArray(shapes)) throw new TypeError(`Cannot ${action}: shapes must be a list of [M, K, N]`);
  for (const shape of shapes) {
    if (!Array.isArray(shape) || shape.length !== 3 || shape.some((n) => !Number.isInteger(n) || n < 1)) {
      throw new RangeError(
        `Cannot ${action} of shape ${JSON.stringify(shape)}: it must be [M, K, N], whole numbers from 1 on`,
      );
    }
  }
  const found = await search(engine, shapes), path = tilesPath(engine.info);
  if (save && path !== null) saveTiles(path, engine.limits.tiles!);
  return found;
}

/** Products of all lengths that are worth a search. */
function grid(isSoftware: boolean): [number, number, number][] {
  const sides = isSoftware ? FEW_SIDES : SIDES, most = isSoftware ? FEW : MOST;
  return sides.flatMap((M) => sides.flatMap((K) => sides.map((N): [number, number, number] => [M, K, N])))
    .filter(([M, K, N]) => M * K * N <= most);
}

/** Measures every tile on products `[M, K] x [K, N]`, and has plans use the fastest from now on. */
async function search(
  engine: WebGpuEngine,
  shapes: readonly (readonly [number, number, number])[],
): Promise<TunedProduct[]> {
  const { tiles: known } = engine.limits, found = new Map(known), out: TunedProduct[] = [];
  try {
    for (const [M, K, N] of shapes) {
      const product: ProductShape = { M, K, N, batches: 1 }, name = classOf(product);
      found.delete(name);
      const byRule = productTile(product, { ...engine.limits, tiles: new Map() });
      const before = await time(engine, product, byRule);
      let after = before, best = byRule;
      for (const tile of productTiles(engine.limits)) {
        const ms = isSame(tile, byRule) ? before : await time(engine, product, tile);
        if (ms < (best === byRule ? GAIN * before : after)) [after, best] = [ms, tile];
      }
      if (best !== byRule) found.set(name, best);
      out.push({ shape: [M, K, N], before, after, tile: textOf(best) });
    }
  } finally {
    engine.assume({ tiles: found });
  }
  return out;
}

/** Least milliseconds of the device for a product with a tile. */
async function time(engine: WebGpuEngine, product: ProductShape, tile: Tile): Promise<number> {
  const { M, K, N } = product, device = "webgpu";
  engine.assume({ tiles: new Map([[classOf(product), tile]]) });
  const filled = (...shape: [number, number]) =>
    tensor(new Float32Array(shape[0] * shape[1]).fill(0.5), { shape, device });
  const a = filled(M, K), b = filled(K, N);
  let least = Infinity;
  for (let i = 0; i <= ROUNDS; i++) {
    const { result, kernels } = await recordKernels(() => a.matmul(b).keep());
    result.dispose();
    const ms = kernels.filter((k) => k.device === device).reduce((sum, k) => sum + k.duration, 0);
    if (i > 0) least = Math.min(least, ms);
  }
  a.dispose(), b.dispose();
  return least;
}

function textOf({ down, across, rows, columns }: Tile): string {
  return `${down * rows} x ${across * columns}, ${rows} x ${columns} a thread`;
}
