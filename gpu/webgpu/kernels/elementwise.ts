/** Kernels of elementwise chains and of copies: operands and results of any strides. */
import {
  type ChainForm,
  chainKey,
  chainLines,
  chainTypes,
  chainWords,
  type Fours,
  heldFunction,
  quadLines,
  quadTypes,
  stepsKey,
} from "./chain.ts";
import { preludeFor } from "../prelude.ts";
import { cachedKernel, type Kernel, kernel, THREADS, word } from "./kernel.ts";

/** Where the parameters of a form stand. */
export const ELEMENTWISE = {
  /** Number of elements, and the number of the first. */
  n: 0,
  first: 1,
  zero: 2,
  chain: 3,
};

/** Characters of WGSL that a thread repeats for four elements; the text of more takes the compiler longer than it saves. */
const SHORT = 2500;

/** Whether a chain is worth going by fours: it is short, and no memory is read in both ways. */
export function goesByFours({ operands, steps }: ChainForm, fours: Fours): boolean {
  const quads = new Set(operands.filter((_, j) => fours[j]).map((o) => o.binding));
  if (operands.some((o, j) => !fours[j] && quads.has(o.binding))) return false;
  const text = stepsKey(steps);
  return text.length + preludeFor(text).length <= SHORT;
}

/** The kernel of a chain, whose threads take one element each, or four. */
export function elementwiseKernel(f: ChainForm, access: string, fours: Fours | null): Kernel {
  return cachedKernel(`e|${chainKey(f)}|${access}|${fours}`, () => {
    const types = new Array<string>(access.length);
    if (fours === null) chainTypes(f, types);
    else quadTypes(f, fours, types);
    const whole = `t + ${word(ELEMENTWISE.first)}`;
    const lines = [
      `let t = ${fours === null ? "" : "4 * "}i32(group * ${THREADS}u + lid);`,
      `if (t >= ${word(ELEMENTWISE.n)}) { return; }`,
      ...fours === null
        ? chainLines(f, ELEMENTWISE.chain, whole)
        : quadLines(f, fours, ELEMENTWISE.chain, whole),
    ];
    const body = "  " + lines.join("\n  ");
    return kernel({
      access,
      types,
      words: ELEMENTWISE.chain + chainWords(f),
      globals: heldFunction(body, ELEMENTWISE.zero),
      body,
    });
  });
}
