/** What a Deno notebook kernel offers beyond a plain Deno process, found without disturbing one that is not a kernel. */

/** What the kernel calls with each result, and waits for. */
export type BroadcastResult = (executionCount: number, result: unknown) => Promise<void>;

interface Internals {
  jupyter?: { broadcastResult?: BroadcastResult };
  Console?: new (print: (text: string, level: number) => void) => Console;
}

/** The part of `Deno.jupyter` through which messages leave. */
export interface JupyterApi {
  /** Sends a message; its content is JSON. */
  broadcast(type: string, content: Record<string, unknown>): unknown;
  /** Formats a value and sends it. */
  display(value: unknown, options?: unknown): Promise<void>;
}

/** A running kernel; `results` and `Console` are internals of Deno which a later version may not have. */
export interface KernelRuntime {
  /** What Deno documents. */
  api: JupyterApi;
  /** Holds the function called with each result, which can be replaced. */
  results?: { broadcastResult: BroadcastResult };
  /** A console that prints into a function. */
  Console?: new (print: (text: string, level: number) => void) => Console;
}

const { setTimeout: startTimer, clearTimeout: stopTimer } = globalThis;
/** The timers as they were on import, so that a fake clock in a cell stops nothing of ours. */
export const timers: { start: (action: () => void, ms: number) => number; stop: (id: number) => void } = {
  start: (action, ms) => startTimer(action, ms) as unknown as number,
  stop: (id) => stopTimer(id),
};

/** Resolves after `ms` milliseconds. */
export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => timers.start(resolve, ms));
}

/** The kernel that this code runs in, or undefined in a plain process, a test, a worker or a browser. */
export function kernelRuntime(): KernelRuntime | undefined {
  const deno = (globalThis as { Deno?: typeof Deno & { internal?: symbol } }).Deno;
  if (deno === undefined) return undefined;
  let api: JupyterApi | undefined;
  try {
    // Throws outside a kernel, although `"jupyter" in Deno` is true everywhere.
    api = (deno as unknown as { jupyter?: JupyterApi }).jupyter;
  } catch {
    return undefined;
  }
  if (typeof api?.broadcast !== "function") return undefined;
  const internals = deno.internal === undefined
    ? undefined
    : (deno as unknown as Record<symbol, Internals | undefined>)[deno.internal];
  const runtime: KernelRuntime = { api };
  if (typeof internals?.jupyter?.broadcastResult === "function") {
    runtime.results = internals.jupyter as { broadcastResult: BroadcastResult };
  }
  if (typeof internals?.Console === "function") runtime.Console = internals.Console;
  return runtime;
}
