/** Faults outside the flow of a cell, which a kernel swallows in silence: shown in the cell, and never fatal. */

import { messageOf } from "../bundle.ts";
import { isInterruption } from "./interrupt.ts";
import { kernelRuntime, timers } from "./runtime.ts";

const QUIET_MS = 1000;

/** Where a fault's text goes; the notebook repair sends it to the cell. */
function print(text: string): void {
  const kernel = kernelRuntime();
  if (kernel === undefined) console.error(text.trimEnd());
  else kernel.api.broadcast("stream", { name: "stderr", text });
}

let last: { text: string; at: number } | undefined;
let repeats = 0;

/** Shows an error that no one awaits, as `where: name: message` and the line it comes from. Never throws. */
export function reportFault(error: unknown, where: string): void {
  if (isInterruption(error)) return;
  const text = `${where}: ${messageOf(error)}${origin(error)}\n`;
  const now = performance.now();
  // A fault in a loop is told once, then counted.
  if (last?.text === text && now - last.at < QUIET_MS) {
    if (repeats++ === 0) timers.start(tellRepeats, QUIET_MS);
    return;
  }
  last = { text, at: now };
  print(text);
}

function tellRepeats(): void {
  print(`(and ${repeats} more like it)\n`);
  repeats = 0;
  last = undefined;
}

/** The first frame of the stack that lies in a file or a cell. */
function origin(error: unknown): string {
  if (!(error instanceof Error) || typeof error.stack !== "string") return "";
  const frame = error.stack.split("\n").find((line) => /^\s+at /.test(line) && !/\((ext|node):/.test(line));
  return frame === undefined ? "" : `\n${frame}`;
}

/** Shows unhandled rejections and errors of timers and events, and returns what undoes it. */
export function repairFaults(): () => void {
  const onRejection = (event: PromiseRejectionEvent) => {
    event.preventDefault();
    reportFault(event.reason, "Unhandled rejection");
  };
  const onError = (event: ErrorEvent) => {
    event.preventDefault();
    reportFault(event.error ?? event.message, "Uncaught error");
  };
  globalThis.addEventListener("unhandledrejection", onRejection);
  globalThis.addEventListener("error", onError);
  return () => {
    globalThis.removeEventListener("unhandledrejection", onRejection);
    globalThis.removeEventListener("error", onError);
  };
}
