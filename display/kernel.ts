/** The notebook repair: what the Deno kernel loses, swallows or dies of, mended from inside it. */

import { repairFaults } from "./kernel/faults.ts";
import { cellEnded, repairInterrupt } from "./kernel/interrupt.ts";
import { repairOutput } from "./kernel/output.ts";
import { kernelRuntime } from "./kernel/runtime.ts";

export { reportFault } from "./kernel/faults.ts";
export {
  interrupt,
  interruption,
  interruptSignal,
  isInterruption,
  yieldToEvents,
} from "./kernel/interrupt.ts";

// Shared by all copies of the package that a notebook may have imported: the newest one repairs.
const repairKey: unique symbol = Symbol.for("cotangent.kernelRepair");
const holder = globalThis as { [repairKey]?: () => void };

/** True in a Deno notebook. */
export function inKernel(): boolean {
  return kernelRuntime() !== undefined;
}

/**
 * Repairs the Deno notebook kernel this runs in: no output is lost, Stop ends loops and keeps all state, faults that no
 * one awaits are shown. Does nothing anywhere else. Importing the package calls it.
 */
export function repairKernel(): void {
  const runtime = kernelRuntime();
  if (runtime === undefined) return;
  restoreKernel();
  const undo = [
    repairOutput(runtime, cellEnded),
    repairInterrupt((text) => runtime.api.broadcast("stream", { name: "stderr", text })),
    repairFaults(),
  ];
  holder[repairKey] = () => undo.reverse().forEach((step) => step());
}

/** Undoes `repairKernel`. */
export function restoreKernel(): void {
  const restore = holder[repairKey];
  delete holder[repairKey];
  restore?.();
}
