/** Kernels of elementwise chains and of copies: operands and results of any strides. */
import { type ChainForm, chainKey, chainLines, chainTypes, chainWords, heldFunction } from "./chain.ts";
import { cachedKernel, type Kernel, kernel, THREADS, word } from "./kernel.ts";

/** Where the parameters of a form stand. */
export const ELEMENTWISE = {
  /** Number of elements, and the number of the first. */
  n: 0,
  first: 1,
  zero: 2,
  chain: 3,
};

/** The kernel of a chain. */
export function elementwiseKernel(f: ChainForm, access: string): Kernel {
  return cachedKernel(`e|${chainKey(f)}|${access}`, () => {
    const types = new Array<string>(access.length);
    chainTypes(f, types);
    const lines = [
      `let t = i32(group * ${THREADS}u + lid);`,
      `if (t >= ${word(ELEMENTWISE.n)}) { return; }`,
      ...chainLines(f, ELEMENTWISE.chain, `t + ${word(ELEMENTWISE.first)}`),
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
