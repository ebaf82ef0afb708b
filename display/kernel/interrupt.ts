/**
 * Stop: an interruption aborts a signal, and ends loops that do not look at it at their next read or step, with all state
 * kept. Code that never comes back is ended by a watchdog, since whoever listens for SIGINT takes away the default, which
 * is to end the process.
 */

import { timers } from "./runtime.ts";

const GRACE_MS = 3000;
const PRESSES_TO_END = 3; // In one cell.
const NOTICE_MS = 1000;
const SAME_PRESS_MS = 250; // Both threads hear of one press within this time, unless one is busy.

let controller = new AbortController();
let presses = 0;
/** Whether the cell has called one of the functions that Stop reaches; without that there may be no cell at all. */
let seen = true;
/** Whether the cell has asked for the signal, so that it ends by itself. */
let asked = false;
/** Whether a read or step of this cell was ended. */
let thrown = false;

/**
 * The signal of Stop in a notebook. A cell that has asked for it ends by itself, so that the first Stop ends none of its
 * reads and steps. It stays aborted until the cell ends; the next cell has a fresh one.
 *
 * ```ts ignore
 * while (!interruptSignal().aborted) await trainStep();
 * ```
 */
export function interruptSignal(): AbortSignal {
  seen = asked = true;
  return controller.signal;
}

/** Aborts `interruptSignal()`, and until the cell ends also reads and steps where no one has asked for the signal. */
export function interrupt(): void {
  controller.abort(stopped());
}

const stopped = () => new DOMException("Stopped", "AbortError");

/** True if `error` is what an interruption rejected with. */
export function isInterruption(error: unknown): boolean {
  return error instanceof DOMException && error.name === "AbortError" && error.message === "Stopped";
}

/** The error that ends a read or a step after Stop, or null. */
export function interruption(): Error | null {
  seen = true;
  hearEarly();
  if (!controller.signal.aborted) return null;
  // A loop that never awaits cannot see the signal change.
  const blocked = early && performance.now() - pressedAt > NOTICE_MS;
  if (asked && presses < 2 && !blocked) return null;
  thrown = true;
  return stopped();
}

/** Says that the cell is over, and with it the interruption. */
export function cellEnded(): void {
  presses = 0;
  seen = asked = thrown = false;
  if (noticeTimer !== undefined) timers.stop(noticeTimer);
  noticeTimer = undefined;
  if (controller.signal.aborted) controller = new AbortController();
}

const cross: (resume: () => void) => void = typeof globalThis.setImmediate === "function"
  ? globalThis.setImmediate
  : (resume) => timers.start(resume, 0);

/** Lets pending events run: Stop, timers, messages, finalisers. Takes about 10 us. */
export function yieldToEvents(): Promise<void> {
  return new Promise((resolve) => cross(resolve));
}

// A press that the watchdog's thread has received and this one, which may be spinning, has not.
const received = new Int32Array(new SharedArrayBuffer(4));
/** Whether a press was heard through `received`, and its signal is still to come. */
let early = false;
let pressedAt = -Infinity;
let onPress = interrupt;

function hearEarly(): void {
  if (Atomics.load(received, 0) === 0) return;
  Atomics.store(received, 0, 0);
  if (performance.now() - pressedAt < SAME_PRESS_MS) return;
  early = true;
  press();
}

function press(): void {
  pressedAt = performance.now();
  presses++;
  onPress();
}

let noticeTimer: number | undefined;

// Runs on a thread of its own, where it receives SIGINT while the main thread spins.
const watchdogSource = `
  let deadline, received;
  self.onmessage = ({ data }) => {
    if (data === "alive") clearTimeout(deadline);
    else received = data;
  };
  Deno.addSignalListener("SIGINT", () => {
    clearTimeout(deadline);
    deadline = setTimeout(() => Deno.kill(Deno.pid, "SIGKILL"), ${GRACE_MS});
    if (received) Atomics.store(received, 0, 1);
    self.postMessage("alive?");
  });
`;

/** Makes Stop interrupt the cell instead of ending the kernel, and returns what undoes it. */
export function repairInterrupt(notice: (text: string) => void): () => void {
  const onSignal = () => {
    if (early) early = false;
    else press();
  };
  onPress = () => {
    if (presses >= PRESSES_TO_END) Deno.kill(Deno.pid, "SIGKILL");
    interrupt();
    if (presses === PRESSES_TO_END - 1) {
      notice(
        "Stop again to end the kernel, if the cell reads no tensor, takes no step and ignores interruptSignal()\n",
      );
    }
    noticeTimer ??= timers.start(() => {
      noticeTimer = undefined;
      // Whoever caught the error goes on.
      if (thrown) return cellEnded();
      if (presses === 1) notice(asked ? stillEnding : stillRunning);
    }, NOTICE_MS);
    // Between cells there is nothing to stop, and the next cell is not meant.
    if (!seen) controller = new AbortController();
  };
  try {
    Deno.addSignalListener("SIGINT", onSignal);
  } catch {
    return () => {}; // Not allowed, or no such signal: Stop ends the kernel, as it does without the repair.
  }
  const stopWatching = watch();
  return () => {
    stopWatching();
    Deno.removeSignalListener("SIGINT", onSignal);
    cellEnded();
    onPress = interrupt;
  };
}

const stillRunning =
  "Stopping, but the cell still runs: Stop ends loops that read tensors, take optimizer steps or look at " +
  "interruptSignal(). Two more presses end the kernel, with all its state\n";
const stillEnding =
  "Stopping, but the cell still runs: it ends where it next looks at interruptSignal(), as fit does after a step or an " +
  "evaluation. One more press ends it at its next read or step\n";

function watch(): () => void {
  try {
    const source = `data:text/javascript,${encodeURIComponent(watchdogSource)}`;
    const watchdog = new Worker(source, { type: "module", name: "cotangent watchdog" });
    watchdog.postMessage(received);
    watchdog.onmessage = () => {
      watchdog.postMessage("alive");
      Atomics.store(received, 0, 0);
      // The signal is here by now, or was lost.
      timers.start(() => early = false, SAME_PRESS_MS);
    };
    watchdog.onerror = (event) => event.preventDefault();
    return () => watchdog.terminate();
  } catch {
    return () => {};
  }
}
