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

/** Where the parameters of chains side by side stand: after the zero those of each, one after the other. */
export const SIDE_BY_SIDE = {
  zero: 0,
  chains: 1,
  /** In those of a chain: the workgroup after its last, its number of elements, what is its own. */
  end: 0,
  n: 1,
  chain: 2,
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

/** Words of a chain among others. */
function besideWords(f: ChainForm): number {
  return SIDE_BY_SIDE.chain + chainWords(f);
}

/** Where the parameters of each of these chains begin, and of one more. */
export function besideAt(forms: readonly ChainForm[]): number[] {
  const at = [SIDE_BY_SIDE.chains];
  for (const f of forms) at.push(at[at.length - 1] + besideWords(f));
  return at;
}

/** The kernel of independent chains: a workgroup is of one of them. `fours` for all of them or for none. */
export function sideBySideKernel(
  forms: readonly ChainForm[],
  access: string,
  fours: readonly Fours[] | null,
): Kernel {
  return cachedKernel(`s|${forms.map(chainKey).join("|")}|${access}|${fours?.join(";")}`, () => {
    const types = new Array<string>(access.length), at = besideAt(forms);
    const body = forms.map((f, i) => {
      if (fours === null) chainTypes(f, types);
      else quadTypes(f, fours[i], types);
      const begin = i === 0 ? "0u" : `u32(${word(at[i - 1] + SIDE_BY_SIDE.end)})`;
      const own = at[i] + SIDE_BY_SIDE.chain;
      return `if (group < u32(${word(at[i] + SIDE_BY_SIDE.end)})) {
    let t = ${fours === null ? "" : "4 * "}i32((group - ${begin}) * ${THREADS}u + lid);
    if (t >= ${word(at[i] + SIDE_BY_SIDE.n)}) { return; }
    ${(fours === null ? chainLines(f, own, "t") : quadLines(f, fours[i], own, "t")).join("\n    ")}
  }`;
    }).join(" else ");
    return kernel({
      access,
      types,
      words: at[forms.length],
      globals: heldFunction(body, SIDE_BY_SIDE.zero),
      body: `  ${body}`,
    });
  });
}
