/** Kernels which fold axes: lanes of a workgroup take turns along the axes, then join as a tree. */
import type { DType } from "../../../ops/dtype.ts";
import {
  type ChainForm,
  chainKey,
  chainLines,
  type ChainStep,
  chainTypes,
  chainWords,
  constant,
  type FormOperand,
  heldFunction,
  operandsKey,
  stepLines,
  stepsKey,
} from "./chain.ts";
import {
  cachedKernel,
  dot,
  type Kernel,
  kernel,
  load,
  splitIndex,
  storedType,
  THREADS,
  word,
} from "./kernel.ts";

/** How values are folded. */
export interface FoldStep {
  /** WGSL of the fold of `acc` and `x`. */
  readonly fold: (acc: string, x: string) => string;
  readonly init: number;
  /** Type that it accumulates in. */
  readonly through: "f32" | "i32" | "u32";
}

/** Everything about a folding kernel that is not a parameter. */
export interface ReductionForm extends FoldStep {
  /** Operands, by strides, of the chain whose value, of type `from`, is folded. */
  readonly operands: readonly FormOperand[];
  readonly steps: readonly ChainStep[];
  readonly value: string;
  readonly from: DType;
  readonly to: DType;
  /** What becomes of a result `s` of type `to`. */
  readonly finish: ChainForm;
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
  /** Workgroups for one split. */
  blocks: 5,
  zero: 6,
  /** An offset (or number) for each operand; lengths of kept and folded axes; steps of each walking operand along both. */
  operands: 7,
};

/** Where the parameters of what follows a fold stand. */
export function finishAt(f: ReductionForm): number {
  const walking = f.operands.filter((o) => o.mode === "walk").length;
  return REDUCTION.operands + f.operands.length + (f.keptRank + f.foldedRank) * (1 + walking);
}

/** Serial steps of a lane which are summed by themselves before they join the lane's sum. */
export const TURNS_APART = 64;

/** WGSL of which output, and which lane and split of it, a thread has; both kinds of kernel that fold have these parameters. */
export const SPREAD = `
  let lanes = u32(${word(REDUCTION.lanes)});
  let slots = ${THREADS}u / lanes;
  let across = ${word(REDUCTION.lanesFirst)} == 1;
  let lane = select(lid / slots, lid % lanes, across);
  let slot = select(lid % slots, lid / lanes, across);
  let blocks = u32(${word(REDUCTION.blocks)});
  let split = group / blocks;
  let output = i32((group % blocks) * slots + slot);`;

/** WGSL of the value that a fold begins with. */
export function literal(value: number, type: "f32" | "i32" | "u32"): string {
  if (type === "f32") {
    return value === Infinity ? "inf()" : value === -Infinity ? "-inf()" : `${value.toFixed(1)}`;
  }
  if (type === "u32") return `${value}u`;
  return `i32(${value})`;
}

/** The kernel of a form. */
export function reductionKernel(f: ReductionForm): Kernel {
  const fold = f.fold("acc", "x");
  const key = `r|${fold}|${f.init}|${operandsKey(f.operands)}|${
    stepsKey(f.steps)
  }|${f.value}|${f.from}|${f.through}|${f.to}|${f.keptRank}|${f.foldedRank}|${
    chainKey(f.finish)
  }|${f.access}`;
  return cachedKernel(key, () => {
    const R = REDUCTION, kept = R.operands + f.operands.length, folded = kept + f.keptRank;
    const init = literal(f.init, f.through), types = new Array<string>(f.access.length);
    for (const o of f.operands) if (o.binding >= 0) types[o.binding] = storedType(o.dtype);
    chainTypes(f.finish, types);
    const bases: string[] = [], loads: string[] = [];
    let steps = folded + f.foldedRank;
    f.operands.forEach((o, j) => {
      const offset = word(R.operands + j);
      if (o.mode === "constant") bases.push(`let a${j} = ${constant(o.dtype, offset)};`);
      else if (o.mode === "one") bases.push(`let a${j} = ${load(o.dtype, `b${o.binding}`, offset)};`);
      else {
        bases.push(`let base${j} = ${offset}${dot("o", f.keptRank, steps)};`);
        const index = `base${j}${dot("k", f.foldedRank, steps + f.keptRank)}`;
        loads.push(`let at${j} = ${index}; let a${j} = ${load(o.dtype, `b${o.binding}`, `at${j}`)};`);
        steps += f.keptRank + f.foldedRank;
      }
    });
    const element = f.from === "bool" ? `${f.through}(${f.value})` : f.value;
    const total = f.to === "bool" ? "scratch[lid] != 0u" : "scratch[lid]";
    const finish = finishAt(f);
    const body = `${SPREAD}
  let outputs = ${word(R.outputs)};
  let begin = i32(split) * ${word(R.share)};
  let end = min(${word(R.folded)}, begin + ${word(R.share)});
  var sum = ${init};
  if (output < outputs) {
    ${splitIndex("o", "output", f.keptRank, kept)}
    ${bases.join("\n    ")}
    var k = begin + i32(lane);
    while (k < end) {
      var part = ${init};
      let stop = min(end, k + ${TURNS_APART} * i32(lanes));
      for (; k < stop; k += i32(lanes)) {
        ${splitIndex("k", "k", f.foldedRank, folded)}
        ${[...loads, ...stepLines(f.steps)].join("\n        ")}
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
  if (lane == 0u && output < outputs) {
    let t = i32(split) * outputs + output; let s = ${total};
    ${chainLines(f.finish, finish, "t").join("\n    ")}
  }`;
    return kernel({
      access: f.access,
      types,
      words: finish + chainWords(f.finish),
      globals: `${heldFunction(body, R.zero)}var<workgroup> scratch: array<${f.through}, ${THREADS}>;
fn fold(acc: ${f.through}, x: ${f.through}) -> ${f.through} { return ${fold}; }`,
      body,
    });
  });
}
