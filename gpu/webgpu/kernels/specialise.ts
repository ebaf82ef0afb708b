/** Kernels for one shape: lengths and steps become literals, so that compilers know how far loops go. */
import type { Kernel } from "./kernel.ts";

/** Parameters that are lengths and steps: words from the first up to the second. */
export type Shapes = readonly (readonly [number, number])[];

const made = new WeakMap<Kernel, Map<string, Kernel>>();

/**
 * The kernel with the parameters in `shapes` as literals of `words`; what it reads as `u(k)` begins at word `uniforms`.
 * Numbers of the data stay parameters, and so do floats and the zero behind `held`.
 */
export function specialise(
  kernel: Kernel,
  words: readonly number[],
  shapes: Shapes,
  uniforms = Infinity,
): Kernel {
  const known = new Map<number, number>();
  for (const [from, to] of shapes) for (let k = from; k < to; k++) known.set(k, words[k]);
  const key = [...known.values()].join();
  let all = made.get(kernel);
  if (all === undefined) made.set(kernel, all = new Map());
  let found = all.get(key);
  if (found === undefined) {
    const literal = (k: number, text: string): string => known.has(k) ? `(${known.get(k)})` : text;
    const source = kernel.source
      .replace(
        /(?<!bitcast<f32>\()p\.w\[(\d+)\]\.([xyzw])/g,
        (text, i, part) => literal(4 * Number(i) + "xyzw".indexOf(part), text),
      )
      .replace(/(?<!bitcast<f32>\()\bu\((\d+)\)/g, (text, k) => literal(uniforms + Number(k), text));
    all.set(key, found = { ...kernel, source });
  }
  return found;
}
