/** Functions that kernels use, right at NaN, zeros and infinities: a kernel gets those which its text names. */
import { exponentialFromBitsWgsl, normalFromBitsWgsl } from "../../ops/definitions/bits.ts";
import { threefryWgsl } from "../../ops/definitions/random.ts";
import { activation } from "./prelude/activation.ts";
import { basic } from "./prelude/basic.ts";
import { division } from "./prelude/division.ts";
import { exponential } from "./prelude/exponential.ts";
import { special } from "./prelude/special.ts";
import { trigonometric } from "./prelude/trigonometric.ts";

const FUNCTIONS: Record<string, string> = {
  ...basic,
  ...exponential,
  ...trigonometric,
  ...division,
  ...activation,
  ...special,
  normalFromBits: normalFromBitsWgsl,
  exponentialFromBits: exponentialFromBitsWgsl,
  threefry: threefryWgsl,
};

const sources = new Map(Object.entries(FUNCTIONS));

/** The functions by name. */
export function functionSources(): ReadonlyMap<string, string> {
  return sources;
}

const uses = new Map<string, string[]>();

function named(text: string, except = ""): string[] {
  return Object.keys(FUNCTIONS).filter((name) => name !== except && new RegExp(`\\b${name}\\(`).test(text));
}

/** The functions that `text` names, and those which they name, in order of definition. */
export function preludeFor(text: string): string {
  const wanted = new Set<string>();
  const stack = named(text);
  while (stack.length > 0) {
    const name = stack.pop()!;
    if (wanted.has(name)) continue;
    wanted.add(name);
    let inner = uses.get(name);
    if (inner === undefined) uses.set(name, inner = named(FUNCTIONS[name], name));
    stack.push(...inner);
  }
  return Object.keys(FUNCTIONS).filter((name) => wanted.has(name)).map((name) => FUNCTIONS[name]).join("\n");
}
