/** Kernels which fold axes: lanes of a workgroup take turns along the axes, then join as a tree. */
import type { DType } from "../../../ops/dtype.ts";
import {
  cachedKernel,
  dot,
  type Kernel,
  kernel,
  load,
  resultType,
  splitIndex,
  store,
  storedType,
  THREADS,
  word,
} from "./kernel.ts";

/** Everything about a folding kernel that is not a parameter. */
export interface ReductionForm {
  /** WGSL of the fold of `acc` and `x`. */
  readonly fold: (acc: string, x: string) => string;
  readonly init: number;
  readonly from: DType;
  /** Type that it accumulates in. */
  readonly through: "f32" | "i32" | "u32";
  readonly to: DType;
  readonly keptRank: number;
  readonly foldedRank: number;
  readonly access: string;
}

/** Where the parameters stand. */
export const REDUCTION = {
  outputs: 0,
  /** Elements folded into one output, and how many of them one split takes. */
  folded: 1,
  share: 2,
  /** Lanes for each output (a power of 2), and whether neighbouring threads are lanes or outputs. */
  lanes: 3,
  lanesFirst: 4,
  offset: 5,
  /** Workgroups for one split. */
  blocks: 6,
  /** Where the results begin. */
  result: 7,
  lengths: 8,
};

/** How a fold is spread over workgroups. */
export interface Spread {
  readonly lanes: number;
  readonly splits: number;
  readonly share: number;
}

/** Serial steps of a lane which are summed by themselves before they join the lane's sum. */
const BLOCK = 64;
const ENOUGH_THREADS = 131072;
/** Most steps of a lane: some devices end a thread's loops after 65,535 turns. */
const TURNS = 16384;

/** Chooses lanes and splits by shape alone, so that results repeat. */
export function spread(outputs: number, folded: number, lanesFirst: boolean): Spread {
  let lanes = 1;
  // Along contiguous axes neighbours must be lanes, so that they read neighbours in memory.
  const most = lanesFirst ? THREADS : outputs >= 32 ? 8 : THREADS;
  const useful = lanesFirst ? 4 : 16;
  while (lanes < most && lanes * useful < folded && (lanesFirst || outputs * lanes < ENOUGH_THREADS)) {
    lanes *= 2;
  }
  const wanted = Math.ceil(ENOUGH_THREADS / (outputs * lanes));
  const enough = Math.min(wanted, 1024, Math.floor(folded / (lanes * 16)));
  const splits = Math.max(1, enough, Math.ceil(folded / (lanes * TURNS)));
  if (splits < 2) return { lanes, splits: 1, share: folded };
  const share = Math.ceil(folded / splits / lanes) * lanes;
  return { lanes, splits: Math.ceil(folded / share), share };
}

function literal(value: number, type: "f32" | "i32" | "u32"): string {
  if (type === "f32") {
    return value === Infinity ? "inf()" : value === -Infinity ? "-inf()" : `${value.toFixed(1)}`;
  }
  if (type === "u32") return `${value}u`;
  return `i32(${value})`;
}

/** The kernel of a form: binding 0 is folded into binding 1. */
export function reductionKernel(f: ReductionForm): Kernel {
  const fold = f.fold("acc", "x");
  const key = `r|${fold}|${f.init}|${f.from}|${f.through}|${f.to}|${f.keptRank}|${f.foldedRank}|${f.access}`;
  return cachedKernel(key, () => {
    const R = REDUCTION, kept = R.lengths, keptSteps = kept + f.keptRank;
    const folded = keptSteps + f.keptRank, foldedSteps = folded + f.foldedRank;
    const init = literal(f.init, f.through);
    const element = f.from === "bool" ? `${f.through}(b0[at])` : load(f.from, "b0", "at");
    const total = f.to === "bool" ? "scratch[lid] != 0u" : "scratch[lid]";
    const result = store(f.to, "b1", `${word(R.result)} + i32(split) * outputs + output`, total);
    return kernel({
      access: f.access,
      types: [storedType(f.from), resultType(f.to)],
      words: foldedSteps + f.foldedRank,
      globals: `var<workgroup> scratch: array<${f.through}, ${THREADS}>;
fn fold(acc: ${f.through}, x: ${f.through}) -> ${f.through} { return ${fold}; }`,
      body: `
  let lanes = u32(${word(R.lanes)});
  let slots = ${THREADS}u / lanes;
  let across = ${word(R.lanesFirst)} == 1;
  let lane = select(lid / slots, lid % lanes, across);
  let slot = select(lid % slots, lid / lanes, across);
  let blocks = u32(${word(R.blocks)});
  let split = group / blocks;
  let output = i32((group % blocks) * slots + slot);
  let outputs = ${word(R.outputs)};
  let begin = i32(split) * ${word(R.share)};
  let end = min(${word(R.folded)}, begin + ${word(R.share)});
  var sum = ${init};
  if (output < outputs) {
    ${splitIndex("o", "output", f.keptRank, kept)}
    let base = ${word(R.offset)}${dot("o", f.keptRank, keptSteps)};
    var k = begin + i32(lane);
    while (k < end) {
      var part = ${init};
      let stop = min(end, k + ${BLOCK} * i32(lanes));
      for (; k < stop; k += i32(lanes)) {
        ${splitIndex("k", "k", f.foldedRank, folded)}
        let at = base${dot("k", f.foldedRank, foldedSteps)};
        part = fold(part, ${element});
      }
      sum = fold(sum, part);
    }
  }
  scratch[lid] = sum;
  let step = select(slots, 1u, across);
  for (var s = lanes / 2u; s > 0u; s = s / 2u) {
    workgroupBarrier();
    if (lane < s) { scratch[lid] = fold(scratch[lid], scratch[lid + s * step]); }
  }
  if (lane == 0u && output < outputs) { ${result} }`,
    });
  });
}
