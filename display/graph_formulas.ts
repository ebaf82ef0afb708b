/** The formulas of a graph's ops and of their derivatives, in the program's names and, for numbers, with the numbers put in. */
import type { Node } from "../ops/node.ts";
import { texName, texNumber, texText } from "../ops/tex.ts";
import type { GraphNode } from "./graph_picture.ts";
import { formatNumber } from "./parts.ts";

const LETTERS = ["x", "y", "z", "u", "v", "w", "a", "b", "c"];

/** Numbers of a scalar op: its cotangent, and its derivative by each operand. */
export interface LocalNumbers {
  readonly cotangent: number;
  /** By the place of the operand; undefined where nothing flows. */
  readonly partials: readonly (number | undefined)[];
  /** Whether more than this op gives to an operand's cotangent. */
  readonly isShared: (x: Node) => boolean;
}

/** What is said of an op. */
export type Formulas = Pick<GraphNode, "formula" | "derivative" | "pullback" | "numbers">;

/**
 * The formula of an op and what its derivative rule says, in the names of its operands, or letters that are free. With
 * `numbers` also how the cotangent of each operand comes about: `0.24 × a1 = 0.24 × 2 = 0.48`.
 */
export function formulas(
  n: Node,
  inputs: readonly Node[],
  nameOf: (x: Node) => string | null,
  taken: ReadonlySet<string>,
  isTurned: (k: number) => boolean = () => false,
  numbers?: LocalNumbers,
): { facts: Formulas; chains: ReadonlyMap<Node, string> } {
  const letters = LETTERS.filter((letter) => !taken.has(letter));
  const names = new Map<Node, string>();
  inputs.forEach((x, i) => {
    if (x.op.name === "constant" || names.has(x)) return;
    names.set(x, nameOf(x) ?? letters.shift() ?? `x${i + 1}`);
  });
  const result = nameOf(n) ?? (taken.has("out") ? "result" : "out");
  const operands = inputs.map((x, k) =>
    x.op.name === "constant"
      ? texNumber(Number(Number(x.p.value).toPrecision(6)))
      : `${texName(names.get(x)!)}${isTurned(k) ? "^\\top" : ""}`
  );
  // What comes back to an operand that is given twice adds up.
  const sumOf = (rules: string[], x: Node): string => {
    const terms = rules.filter((term, i) => inputs[i] === x && term !== "0");
    return terms.length === 0 ? "0" : terms.join(" + ");
  };
  const lines = (rules: string[] | undefined, left: (name: string) => string): string =>
    Array.from(
      names,
      ([x, name]) => {
        const turned = isTurned(inputs.indexOf(x)) ? "ᵀ" : "";
        return rules === undefined
          ? ""
          : `${texText(left(texName(name)))}${turned} = ${texText(sumOf(rules, x))}`;
      },
    ).filter((line) => line !== "").join(";  ");
  const chains = new Map<Node, string>();
  const found: Formulas = { formula: texText(n.op.tex(operands, n.p)) };
  const y = texName(result), partials = n.op.texPartials?.(operands, y, n.p);
  const derivative = lines(partials, (x) => `∂${y}/∂${x}`);
  if (derivative !== "") found.derivative = derivative;
  const pullback = lines(n.op.texPullbacks?.(operands, y, n.p), (x) => `\\bar{${x}}`);
  if (pullback !== "") found.pullback = pullback;
  if (numbers !== undefined && partials !== undefined) {
    const ct = formatNumber(numbers.cotangent);
    const put = Array.from(names, ([x, name]) => {
      const known = numbers.partials.filter((d, i): d is number => inputs[i] === x && d !== undefined);
      if (known.length === 0) return "";
      const local = known.reduce((sum, d) => sum + d, 0), text = texText(sumOf(partials, x));
      const factor = factorText(local), symbol = /^[^\s+\-·/]+$/.test(text) ? text : `(${text})`;
      const chain = [`${ct} × ${symbol}`, ...(symbol === factor ? [] : [`${ct} × ${factor}`])];
      chains.set(x, `${chain.join(" = ")} = ${formatNumber(numbers.cotangent * local)}`);
      return `${name}: ct ${numbers.isShared(x) ? "+=" : "="} ${chains.get(x)}`;
    }).filter((line) => line !== "");
    if (put.length > 0) found.numbers = put.join(";  ");
  }
  return { facts: found, chains };
}

function factorText(value: number): string {
  const text = formatNumber(value);
  return value < 0 ? `(${text})` : text;
}
