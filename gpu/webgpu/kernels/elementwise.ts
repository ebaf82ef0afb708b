/** Kernels of elementwise chains and of copies: operands and results of any strides. */
import {
  type ChainForm,
  chainKey,
  chainLines,
  chainTypes,
  chainWords,
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

/** Whether a chain may go by fours: what it has in memory it has once, in order, and it is short. */
export function goesByFours(f: ChainForm): boolean {
  const { operands, stores } = f,
    flat = new Set(operands.filter((o) => o.mode === "flat").map((o) => o.binding));
  if ([...operands, ...stores].some((o) => o.mode === "walk")) return false;
  if (operands.some((o) => o.mode === "one" && flat.has(o.binding))) return false;
  const text = stepsKey(f.steps);
  return text.length + preludeFor(text).length <= SHORT;
}

/** The kernel of a chain, whose threads take one element each, or four. */
export function elementwiseKernel(f: ChainForm, access: string, byFours: boolean): Kernel {
  return cachedKernel(`e|${chainKey(f)}|${access}|${byFours}`, () => {
    const types = new Array<string>(access.length);
    (byFours ? quadTypes : chainTypes)(f, types);
    const lines = [
      `let t = ${byFours ? "4 * " : ""}i32(group * ${THREADS}u + lid);`,
      `if (t >= ${word(ELEMENTWISE.n)}) { return; }`,
      ...byFours
        ? quadLines(f, ELEMENTWISE.chain)
        : chainLines(f, ELEMENTWISE.chain, `t + ${word(ELEMENTWISE.first)}`),
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
