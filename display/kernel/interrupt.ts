/**
 * Stop: an interruption aborts a signal and leaves all state; code that never comes back is ended by a watchdog, since
 * whoever listens for SIGINT takes away the default, which is to end the process.
 */

import { timers } from "./runtime.ts";

const GRACE_MS = 3000;
const PRESSES_TO_END = 3; // In one cell.

let controller = new AbortController();

/** The signal of the next interruption (Stop in a notebook). Each interruption has its own, so ask anew for each loop. */
export function interruptSignal(): AbortSignal {
  return controller.signal;
}

/** Aborts `interruptSignal()` and puts a fresh one in its place. */
export function interrupt(): void {
  const interrupted = controller;
  controller = new AbortController();
  interrupted.abort(new DOMException("Stopped", "AbortError"));
}

/** True if `error` is what an interruption rejected with. */
export function isInterruption(error: unknown): boolean {
  return error instanceof DOMException && error.name === "AbortError" && error.message === "Stopped";
}

const cross: (resume: () => void) => void = typeof globalThis.setImmediate === "function"
  ? globalThis.setImmediate
  : (resume) => timers.start(resume, 0);

/** Lets pending events run: Stop, timers, messages, finalisers. Takes about 10 us. */
export function yieldToEvents(): Promise<void> {
  return new Promise((resolve) => cross(resolve));
}

// Runs on a thread of its own, where it receives SIGINT while the main thread spins.
const watchdogSource = `
  let deadline;
  self.onmessage = () => clearTimeout(deadline);
  Deno.addSignalListener("SIGINT", () => {
    clearTimeout(deadline);
    deadline = setTimeout(() => Deno.kill(Deno.pid, "SIGKILL"), ${GRACE_MS});
    self.postMessage("alive?");
  });
`;

let presses = 0;

/** Says that the cell is over, so Stop was heard. */
export function forgetPresses(): void {
  presses = 0;
}

/** Makes Stop abort `interruptSignal()` instead of ending the kernel, and returns what undoes it. */
export function repairInterrupt(notice: (text: string) => void): () => void {
  const onInterrupt = () => {
    presses++;
    if (presses >= PRESSES_TO_END) Deno.kill(Deno.pid, "SIGKILL");
    interrupt();
    if (presses === PRESSES_TO_END - 1) {
      notice("Stop again to end the kernel: what runs does not look at interruptSignal()\n");
    }
  };
  try {
    Deno.addSignalListener("SIGINT", onInterrupt);
  } catch {
    return () => {}; // Not allowed, or no such signal: Stop ends the kernel, as it does without the repair.
  }
  const stopWatching = watch();
  return () => {
    stopWatching();
    Deno.removeSignalListener("SIGINT", onInterrupt);
  };
}

function watch(): () => void {
  try {
    const source = `data:text/javascript,${encodeURIComponent(watchdogSource)}`;
    const watchdog = new Worker(source, { type: "module", name: "cotangent watchdog" });
    watchdog.onmessage = () => watchdog.postMessage("alive");
    watchdog.onerror = (event) => event.preventDefault();
    return () => watchdog.terminate();
  } catch {
    return () => {};
  }
}
