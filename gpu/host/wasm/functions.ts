/**
 * WGSL of functions as vectors do them best, in place of the prelude's: without branches, since lanes take all of them,
 * but where hardly any lane goes. Here `min` and `max` keep the first operand where it is NaN, as compilers for GPUs need
 * not, and nothing is reassociated. Polynomials are minimax fits of the relative error.
 */
import { functionSources } from "../../webgpu/prelude.ts";
import { exponential } from "./functions/exponential.ts";
import { numbers } from "./functions/numbers.ts";
import { special } from "./functions/special.ts";
import { trigonometric } from "./functions/trigonometric.ts";

const sources = new Map([
  ...functionSources(),
  ...Object.entries({ ...exponential, ...trigonometric, ...special, ...numbers }),
]);

/** What kernels call, by name. */
export function vectorSources(): ReadonlyMap<string, string> {
  return sources;
}
