/** Memory as users see it: what is in use, what a run will need, and how much may be used. */
import type { Device } from "./ambient.ts";
import { defaultDevice } from "./create.ts";
import { engineOf, type MemoryReport, pendingRoots } from "./runs.ts";
import type { Tensor } from "./tensor.ts";

/** Bytes in use on a device; default the default device. */
export function memory(device: Device = defaultDevice()): MemoryReport {
  return engineOf(device).memory();
}

/** Lets the peak of {@linkcode memory} count from now on. */
export function resetPeakMemoryStats(device: Device = defaultDevice()): void {
  engineOf(device).resetPeak?.();
}

/**
 * Sets how many bytes may be in use on a device: tensors, intermediates and what is kept for reuse. What needs more
 * throws an {@linkcode OutOfMemoryError}, once garbage was collected and nothing is kept for reuse; null lifts the limit,
 * and then it is what the machine gives.
 */
export function setMemoryBudget(device: Device, bytes: number | null): void {
  if (bytes !== null && !(bytes >= 0)) {
    throw new RangeError(
      `Cannot set the memory budget of ${device} to ${bytes}: it is a number of bytes, or null`,
    );
  }
  engineOf(device).setBudget?.(bytes ?? Infinity);
}

/** What a run will take, in bytes. */
export interface MemoryPlan {
  /** What it computes and keeps. */
  readonly results: number;
  /** Intermediates: the most that live at once. */
  readonly arena: number;
  /** Results and intermediates with all that tensors hold now. */
  readonly peak: number;
}

/**
 * What the run takes that computes these tensors, with all that waits to be computed on their device: known from its plan,
 * which is made and kept, before anything is computed. Calls of jitted functions that it depends on are computed.
 *
 * ```ts
 * import { plannedMemory, randn } from "@cotangent/cotangent";
 * const x = randn([256, 256]);
 * console.log(plannedMemory(x.matmul(x).tanh().sum()).peak > 0); // true
 * ```
 */
export function plannedMemory(...tensors: readonly Tensor[]): MemoryPlan {
  const device = tensors[0]?.device ?? defaultDevice();
  const other = tensors.find((x) => x.device !== device);
  if (other !== undefined) {
    throw new TypeError(
      `Cannot plan a run on ${device} and ${other.device}: each device has runs of its own`,
    );
  }
  const engine = engineOf(device), roots = pendingRoots(device, tensors.map((x) => x.node));
  const { results, arena } = roots.length === 0 ? { results: 0, arena: 0 } : engine.planned?.(roots) ??
    { results: 0, arena: 0 };
  return { results, arena, peak: engine.memory().live + results + arena };
}
