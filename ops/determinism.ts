/** Whether results must have the same bits in every run: what engines ask before they choose how to compute. */

let isOn = false;

/**
 * Has everything from here on computed so that the same program gives the same bits in every run on a machine: each
 * structure is computed in one way from its first run on (elsewhere it is fused once it returns), no way is chosen by
 * measurement, and the system's BLAS is not called. It may take longer, above all the first run of a structure on WebGPU.
 * Seed random numbers with `manualSeed`. The environment variable `COTANGENT_DETERMINISTIC=1` turns it on at the start.
 *
 * As `torch.use_deterministic_algorithms`, but that no op has to be refused.
 *
 * ```ts
 * import { areDeterministicAlgorithmsEnabled, useDeterministicAlgorithms } from "@cotangent/cotangent";
 *
 * useDeterministicAlgorithms(true);
 * console.assert(areDeterministicAlgorithmsEnabled());
 * useDeterministicAlgorithms(false);
 * ```
 */
export function useDeterministicAlgorithms(mode: boolean): void {
  if (typeof mode !== "boolean") {
    throw new TypeError(`Cannot use deterministic algorithms with ${typeof mode} ${mode}: say true or false`);
  }
  isOn = mode;
}

/** Whether {@linkcode useDeterministicAlgorithms} is on. */
export function areDeterministicAlgorithmsEnabled(): boolean {
  return isOn;
}
