/** Kernels of the batched matrix product: tiles in workgroup memory, operands of any strides. */
import type { DType } from "../../../ops/dtype.ts";
import { type ChainForm, chainKey, chainLines, chainTypes, chainWords, heldFunction } from "./chain.ts";
import { preludeFor } from "../prelude.ts";
import {
  cachedKernel,
  dot,
  type Kernel,
  kernel,
  load,
  splitIndex,
  storedType,
  THREADS,
  valueType,
  word,
} from "./kernel.ts";

/** Everything about a product's kernel that is not a parameter. */
export interface MatmulForm {
  readonly from: DType;
  /** What becomes of a result `s`. */
  readonly finish: ChainForm;
  /** Rows and columns of each thread: the tile is 16 times as high and wide. */
  readonly rows: number;
  readonly columns: number;
  readonly batchRank: number;
  /** Bindings of both operands. */
  readonly bindings: readonly [number, number];
  readonly access: string;
}

/** Where the parameters stand. */
export const MATMUL = {
  M: 0,
  N: 1,
  K: 2,
  /** How much of K one split takes. */
  share: 3,
  aOffset: 4,
  aRow: 5,
  aColumn: 6,
  bOffset: 7,
  bRow: 8,
  bColumn: 9,
  tilesM: 10,
  tilesN: 11,
  batches: 12,
  zero: 13,
  lengths: 14,
};

/** Where the parameters of what follows a product stand. */
export function finishAt({ batchRank }: MatmulForm): number {
  return MATMUL.lengths + 3 * batchRank;
}

/** Side of a tile step along K. */
const DEPTH = 16;

/** Characters of functions that are worth a loop over a thread's results instead of one copy for each. */
const COSTLY = 400;

/** The kernel of a form. */
export function matmulKernel(f: MatmulForm): Kernel {
  const { rows, columns, batchRank } = f;
  const key = `c|${f.from}|${rows}|${columns}|${batchRank}|${f.bindings}|${chainKey(f.finish)}|${f.access}`;
  return cachedKernel(key, () => {
    const P = MATMUL, type = valueType(f.from), [a, b] = f.bindings;
    const zero = type === "f32" ? "0.0" : type === "i32" ? "0" : "0u";
    const high = 16 * rows, wide = 16 * columns;
    const aSteps = P.lengths + batchRank, bSteps = aSteps + batchRank;
    const types = new Array<string>(f.access.length);
    types[a] = types[b] = storedType(f.from);
    chainTypes(f.finish, types);
    const finish = finishAt(f), finishLines = chainLines(f.finish, finish, "t").join("\n  ");
    const count = rows * columns, isCostly = count > 1 && preludeFor(finishLines).length > COSTLY;
    // From a zero that compilers do not know, so that they do not unroll.
    const loop = `  var all = array<${type}, ${count}>(${Array.from({ length: count }, (_, i) => `s${i}`)});
  for (var i = ${word(P.zero)}; i < ${count}; i++) {
    let r = row0 + y + 16 * (i / ${columns}); let c = column0 + x + 16 * (i % ${columns});
    if (r < M && c < N) { finish((at + r) * N + c, all[i]); }
  }`;
    const each = (n: number, line: (i: number) => string): string =>
      Array.from({ length: n }, (_, i) => line(i)).join("\n");
    const fma = (x: string, y: string, z: string): string =>
      type === "f32" ? `fma(${x}, ${y}, ${z})` : `${z} + ${x} * ${y}`;
    return kernel({
      access: f.access,
      types,
      words: finish + chainWords(f.finish),
      globals: `${heldFunction(finishLines, P.zero)}fn finish(t: i32, s: ${type}) {
  ${finishLines}
}
var<workgroup> left: array<${type}, ${DEPTH * (high + 1)}>;
var<workgroup> right: array<${type}, ${DEPTH * (wide + 1)}>;`,
      body: `
  let M = ${word(P.M)}; let N = ${word(P.N)};
  let tilesN = u32(${word(P.tilesN)}); let tilesM = u32(${word(P.tilesM)}); let batches = u32(${
        word(P.batches)
      });
  let column0 = i32(group % tilesN) * ${wide};
  let row0 = i32((group / tilesN) % tilesM) * ${high};
  let z = group / (tilesN * tilesM);
  let batch = i32(z % batches);
  let split = i32(z / batches);
  let begin = split * ${word(P.share)};
  let end = min(${word(P.K)}, begin + ${word(P.share)});
  ${splitIndex("z", "batch", batchRank, P.lengths)}
  let aBase = ${word(P.aOffset)}${dot("z", batchRank, aSteps)};
  let bBase = ${word(P.bOffset)}${dot("z", batchRank, bSteps)};
  let aRow = ${word(P.aRow)}; let aColumn = ${word(P.aColumn)};
  let bRow = ${word(P.bRow)}; let bColumn = ${word(P.bColumn)};
  let x = i32(lid % 16u); let y = i32(lid / 16u);
${each(rows * columns, (i) => `  var s${i} = ${zero};`)}
  for (var k0 = begin; k0 < end; k0 += ${DEPTH}) {
    // Neighbouring threads read along the axis whose elements are neighbours.
    for (var i = i32(lid); i < ${DEPTH * high}; i += ${THREADS}) {
      let k = select(i / ${high}, i % ${DEPTH}, aColumn == 1);
      let m = select(i % ${high}, i / ${DEPTH}, aColumn == 1);
      var v = ${zero};
      if (row0 + m < M && k0 + k < end) { v = ${
        load(f.from, `b${a}`, "aBase + (row0 + m) * aRow + (k0 + k) * aColumn")
      }; }
      left[k * ${high + 1} + m] = v;
    }
    for (var i = i32(lid); i < ${DEPTH * wide}; i += ${THREADS}) {
      let k = select(i % ${DEPTH}, i / ${wide}, bColumn == 1);
      let n = select(i / ${DEPTH}, i % ${wide}, bColumn == 1);
      var v = ${zero};
      if (column0 + n < N && k0 + k < end) { v = ${
        load(f.from, `b${b}`, "bBase + (k0 + k) * bRow + (column0 + n) * bColumn")
      }; }
      right[k * ${wide + 1} + n] = v;
    }
    workgroupBarrier();
    for (var k = 0; k < ${DEPTH}; k++) {
${each(rows, (r) => `      let l${r} = left[k * ${high + 1} + y + ${16 * r}];`)}
${each(columns, (c) => `      let r${c} = right[k * ${wide + 1} + x + ${16 * c}];`)}
${
        each(rows * columns, (i) =>
          `      s${i} = ${fma(`l${Math.floor(i / columns)}`, `r${i % columns}`, `s${i}`)};`)
      }
    }
    workgroupBarrier();
  }
  let at = (split * ${word(P.batches)} + batch) * M;
${
        isCostly ? loop : each(rows * columns, (i) => {
          const r = `row0 + y + ${16 * Math.floor(i / columns)}`, c = `column0 + x + ${16 * (i % columns)}`;
          return `  if (${r} < M && ${c} < N) { finish((at + ${r}) * N + ${c}, s${i}); }`;
        })
      }`,
    });
  });
}
