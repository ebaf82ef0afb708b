/** Common subexpressions: the same op on the same operands is computed once. */
import type { Lowered, Step } from "../ops/lower.ts";
import type { Attributes } from "../ops/primitive.ts";

/**
 * Joins equal steps. Leaves are data and stay apart, and so do ops whose attributes hold data; what a barrier sets
 * apart (a rebuilt segment) stays apart too, and so does what an expansion made, which may rebuild a loop's steps.
 */
export function joinEqual(
  { steps, roots, replaced }: Lowered,
  attributes: (source: number) => Attributes,
): Lowered {
  const seen = new Map<string, number>(), to = new Int32Array(steps.length), kept: Step[] = [];
  steps.forEach((step, i) => {
    const inputs = step.inputs.map((x) => to[x]);
    const { op, source } = step;
    if (op !== null && source >= 0 && op.key === undefined) {
      const p = attributes(source);
      const text = `${op.name}|${step.segment}|${inputs}|${step.dtype}|${
        p === null ? "" : JSON.stringify(p)
      }`;
      const found = seen.get(text);
      if (found !== undefined) {
        to[i] = found;
        return;
      }
      seen.set(text, kept.length);
    }
    to[i] = kept.length;
    kept.push({ ...step, inputs });
  });
  return {
    steps: kept,
    roots: roots.map((r) => to[r]),
    replaced: replaced?.map((x) => x < 0 ? -1 : to[x]),
  };
}
