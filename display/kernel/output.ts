/**
 * Output that arrives. The kernel reports a cell as finished while messages still wait to be sent, and front ends stop
 * listening there, so output is sent in few messages and the end of a cell waits for them.
 */

import { answerHooksWith, type Presentation } from "../bundle.ts";
import { type KernelRuntime, pause, timers } from "./runtime.ts";
import { drawResult } from "./results.ts";

const GATHER_MS = 16; // One frame: what is logged within it leaves as one message.
const REST_MS = 12; // In which rejections and timers of a cell still speak.
// The kernel's other thread picks up what was sent 2 ms later, 10 where all cores are busy; once in some 270 cells it took 50.
const DRAIN_MS = 60;
const MESSAGE_MS = 0.5; // Encoding, signing and sending one message took it 0.2 to 0.4 ms ...
const CHARACTERS_PER_MS = 80_000; // ... and a long one 5 to 10 ms per million characters.
const UNSEEN_CHARACTERS = 250_000; // Assumed of a message whose length is not known.
const LONGEST_DRAIN_MS = 2000;

type Stream = "stdout" | "stderr";

/** Repairs the output of the kernel, tells `cellEnded` of each end, and returns what undoes it. */
export function repairOutput(runtime: KernelRuntime, cellEnded: () => void): () => void {
  const { api, results } = runtime;
  const broadcast = api.broadcast;
  const undo: (() => void)[] = [];

  let sentUntil = 0; // When the kernel will have sent what it was given.
  function account(characters: number): void {
    sentUntil = Math.max(sentUntil, performance.now()) + MESSAGE_MS + characters / CHARACTERS_PER_MS;
  }
  /** The next cell's first line comes after a silence, however soon it comes. */
  function silence(): void {
    cellEnded();
    flushedAt = -Infinity;
  }
  const waitingMs = () => Math.min(sentUntil + DRAIN_MS - performance.now(), LONGEST_DRAIN_MS);

  const pending: { name: Stream; text: string }[] = [];
  let flushedAt = -Infinity;
  let timer: number | undefined;
  function flush(): void {
    if (timer !== undefined) timers.stop(timer);
    timer = undefined;
    if (pending.length === 0) return;
    flushedAt = performance.now();
    for (const { name, text } of pending.splice(0)) {
      broadcast("stream", { name, text });
      account(text.length);
    }
  }
  function write(name: Stream, text: string): void {
    const last = pending.at(-1);
    if (last?.name === name) last.text += text;
    else pending.push({ name, text });
    // The first line after a silence leaves at once: what follows it may block, or hang.
    if (performance.now() - flushedAt >= GATHER_MS) flush();
    else timer ??= timers.start(flush, GATHER_MS);
  }
  undo.push(flush, replaceConsole(runtime, write));

  undo.push(replace(api, "broadcast", (type, content, ...rest: []) => {
    flush();
    const sent = broadcast.call(api, type, content, ...rest);
    account(charactersOf(content));
    return sent;
  }));
  const display = api.display;
  undo.push(replace(api, "display", async (...value) => {
    flush();
    await display.apply(api, value);
    account(UNSEEN_CHARACTERS);
  }));

  async function drain(): Promise<void> {
    const deadline = performance.now() + LONGEST_DRAIN_MS;
    flush();
    await pause(REST_MS);
    while ((pending.length > 0 || waitingMs() > 0) && performance.now() < deadline) {
      flush();
      await pause(Math.max(1, waitingMs()));
    }
  }

  if (results !== undefined) {
    const original = results.broadcastResult;
    undo.push(replace(results, "broadcastResult", async (executionCount, result) => {
      cellEnded(); // What is drawn now reads tensors, which Stop is not to end.
      flush();
      if (!(await drawResult(api, executionCount, result))) {
        await original.call(results, executionCount, result);
        if (result !== undefined) account(UNSEEN_CHARACTERS);
      }
      await drain();
      silence();
    }));
    undo.push(beforeThrownErrors(() => {
      flush();
      silence();
      const ms = waitingMs();
      // The error leaves on another thread as soon as this one answers, so waiting means blocking.
      if (ms > 0) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
    }));
  } else {
    // The end of a cell cannot be held back, but a hook can: it sends its drawing itself and leaves nothing to draw.
    answerHooksWith(async ({ data, metadata = {} }: Presentation) => {
      api.broadcast("display_data", { data, metadata, transient: {} });
      await pause(DRAIN_MS);
      return {};
    });
    undo.push(() => answerHooksWith(undefined));
  }

  return () => {
    for (const step of undo.reverse()) step();
  };
}

/** Makes the console write text: the native one keeps whatever it was given alive for the inspector. */
function replaceConsole(runtime: KernelRuntime, write: (name: Stream, text: string) => void): () => void {
  const native = console as unknown as Record<string, unknown>;
  const own: Record<string, unknown> = {};
  if (runtime.Console !== undefined) {
    Object.assign(own, new runtime.Console((text, level) => write(level > 1 ? "stderr" : "stdout", text)));
  } else {
    const line = (name: Stream) => (...values: unknown[]) =>
      write(
        name,
        values.map((value) => typeof value === "string" ? value : Deno.inspect(value)).join(" ") + "\n",
      );
    Object.assign(own, { log: line("stdout"), info: line("stdout"), debug: line("stdout") });
    Object.assign(own, { warn: line("stderr"), error: line("stderr") });
  }
  const undo = Object.keys(own)
    .filter((key) => typeof own[key] === "function" && typeof native[key] === "function")
    .map((key) => replace(native, key, own[key]));
  return () => undo.forEach((step) => step());
}

/**
 * Calls `action` when a cell has thrown, before the kernel sends the error. The only code that the kernel runs here in
 * between is a function which passes `{ name, message, stack }` to `JSON.stringify`.
 */
function beforeThrownErrors(action: () => void): () => void {
  const stringify = JSON.stringify;
  const observed = new Proxy(stringify, {
    apply(target, self, given) {
      if (given.length === 1 && isErrorReport(given[0]) && !calledFromModule()) action();
      return Reflect.apply(target, self, given);
    },
  });
  return replace(JSON, "stringify", observed);
}

function isErrorReport(value: unknown): boolean {
  if (typeof value !== "object" || value === null || !("stack" in value)) return false;
  return Object.keys(value).join() === "name,message,stack";
}

/** True if a frame of the stack lies in another module: the kernel's own call has none. */
function calledFromModule(): boolean {
  const frames = (new Error().stack ?? "").split("\n").slice(1);
  return frames.some((frame) =>
    /\.[cm]?[jt]sx?[:?]|file:|https?:/.test(frame) && !frame.includes(import.meta.url)
  );
}

function charactersOf(content: unknown): number {
  if (typeof content === "string") return content.length;
  if (typeof content !== "object" || content === null) return 8;
  let characters = 0;
  for (const value of Object.values(content)) characters += 8 + charactersOf(value);
  return characters;
}

/** Sets a property and returns what sets it back, unless someone else has set it since. */
function replace<Target extends object, Key extends keyof Target>(
  target: Target,
  key: Key,
  value: Target[Key],
): () => void {
  const original = target[key];
  target[key] = value;
  return () => {
    if (target[key] === value) target[key] = original;
  };
}
