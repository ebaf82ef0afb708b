/** Kernels of the batched matrix product: operands of any strides, a tile of results in the registers of each thread. */
import type { DType } from "../../../ops/dtype.ts";
import { type Tile, tileSides } from "../heuristics.ts";
import { preludeFor } from "../prelude.ts";
import { type ChainForm, chainKey, chainLines, chainTypes, chainWords, heldFunction } from "./chain.ts";
import {
  cachedKernel,
  dot,
  type Kernel,
  kernel,
  load,
  loadQuad,
  quadType,
  splitIndex,
  storedType,
  valueType,
  word,
} from "./kernel.ts";
import {
  each,
  ownProducts,
  type Quads,
  sharedMemory,
  sharedProducts,
  type Side,
  zeroOf,
} from "./products.ts";

/** Everything about a product's kernel that is not a parameter. */
export interface MatmulForm {
  readonly from: DType;
  /** What becomes of a result `s`. */
  readonly finish: ChainForm;
  readonly tile: Tile;
  readonly batchRank: number;
  /** Bindings of both operands. */
  readonly bindings: readonly [number, number];
  readonly quads: readonly [Quads, Quads];
  readonly access: string;
}

/** Where the parameters stand. */
export const MATMUL = {
  M: 0,
  N: 1,
  K: 2,
  /** How much of K one split takes. */
  share: 3,
  /** Of both operands: where they start, from one line to the next, and from one step along K to the next. */
  aOffset: 4,
  aLine: 5,
  aStep: 6,
  bOffset: 7,
  bLine: 8,
  bStep: 9,
  tilesM: 10,
  tilesN: 11,
  batches: 12,
  splits: 13,
  zero: 14,
  lengths: 15,
};

/** Where the parameters of what follows a product stand. */
export function finishAt({ batchRank }: MatmulForm): number {
  return MATMUL.lengths + 3 * batchRank;
}

/** Threads of a workgroup whose threads share nothing. */
const APART = 16;

/** Threads of a workgroup of a tile's kernel. */
export function tileThreads({ down, across, depth }: Tile): number {
  return depth === 0 ? APART : down * across;
}

/** Characters of WGSL that are worth a loop over a thread's results instead of one copy for each. */
const COSTLY = 400;

/** The kernel of a form. */
export function matmulKernel(f: MatmulForm): Kernel {
  const { tile, batchRank, quads } = f, { rows, columns, depth } = tile;
  const key = `c|${f.from}|${Object.values(tile)}|${batchRank}|${f.bindings}|${quads}|${
    chainKey(f.finish)
  }|${f.access}`;
  return cachedKernel(key, () => {
    const P = MATMUL, type = valueType(f.from), zero = zeroOf(type), [high, wide] = tileSides(tile);
    const aSteps = P.lengths + batchRank, bSteps = aSteps + batchRank;
    const types = new Array<string>(f.access.length);
    const [a, b] = f.bindings.map((binding, i): Side => {
      types[binding] = quads[i] === "none" ? storedType(f.from) : quadType(f.from);
      return {
        name: i === 0 ? "a" : "b",
        quads: quads[i],
        lines: i === 0 ? "M" : "N",
        each: i === 0 ? rows : columns,
        at: (index) => load(f.from, `b${binding}`, index),
        quadAt: (index) => loadQuad(f.from, `b${binding}`, index),
      };
    });
    chainTypes(f.finish, types);
    const finish = finishAt(f), finishLines = chainLines(f.finish, finish, "t").join("\n  ");
    return kernel({
      access: f.access,
      types,
      words: finish + chainWords(f.finish),
      threads: tileThreads(tile),
      globals: `${heldFunction(finishLines, P.zero)}fn finish(t: i32, s: ${type}) {
  ${finishLines}
}
${depth > 0 ? sharedMemory(tile, type) : ""}`,
      body: `
  let M = ${word(P.M)}; let N = ${word(P.N)}; let batches = ${word(P.batches)};
  let tilesN = ${word(P.tilesN)}; let tiles = tilesN * ${word(P.tilesM)};
  let unit = ${depth > 0 ? "i32(group)" : `i32(group * ${APART}u + lid)`};
  let z = unit / tiles; let split = z / batches; let batch = z % batches;
  if (split >= ${word(P.splits)}) { return; }
  let top = (unit % tiles) / tilesN * ${high}; let left = (unit % tiles) % tilesN * ${wide};
  let begin = split * ${word(P.share)};
  let end = min(${word(P.K)}, begin + ${word(P.share)});
  ${splitIndex("z", "batch", batchRank, P.lengths)}
  let aBase = ${word(P.aOffset)}${dot("z", batchRank, aSteps)};
  let bBase = ${word(P.bOffset)}${dot("z", batchRank, bSteps)};
  let aLine = ${word(P.aLine)}; let aStep = ${word(P.aStep)};
  let bLine = ${word(P.bLine)}; let bStep = ${word(P.bStep)};
${each(rows * columns, (i) => `  var s${i} = ${zero};`)}
${depth > 0 ? sharedProducts(tile, type, a, b) : ownProducts(type, a, b)}
  let at = (split * batches + batch) * M;
${stores(tile, type, P.zero, finishLines)}`,
    });
  });
}

/** What becomes of a thread's results; its lines stand together by fours, a workgroup's width apart. */
function stores(tile: Tile, type: string, zero: number, finishLines: string): string {
  const { rows, columns, down, across } = tile, count = rows * columns;
  const start = tile.depth > 0 ? ["top + y * 4", "left + x * 4"] : ["top", "left"];
  const head = `  let row0 = ${start[0]}; let column0 = ${start[1]};`;
  if (count > 1 && finishLines.length + preludeFor(finishLines).length > COSTLY) {
    // From a zero that compilers do not know, so that they do not unroll.
    return `${head}
  var all = array<${type}, ${count}>(${Array.from({ length: count }, (_, i) => `s${i}`)});
  for (var i = ${word(zero)}; i < ${count}; i++) {
    let m = i / ${columns}; let n = i % ${columns};
    let r = row0 + (m & 3) + (m >> 2u) * ${4 * down}; let c = column0 + (n & 3) + (n >> 2u) * ${4 * across};
    if (r < M && c < N) { finish((at + r) * N + c, all[i]); }
  }`;
  }
  const place = (i: number, pitch: number): number => (i & 3) + (i >> 2) * 4 * pitch;
  return `${head}
${
    each(count, (i) => {
      const r = `row0 + ${place(Math.floor(i / columns), down)}`;
      const c = `column0 + ${place(i % columns, across)}`;
      return `  if (${r} < M && ${c} < N) { finish((at + ${r}) * N + ${c}, s${i}); }`;
    })
  }`;
}
