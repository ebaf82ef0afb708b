/** The one way out: everything that is shown, in a notebook or a terminal, is shown by these functions. */

import { AsyncLocalStorage } from "node:async_hooks";
import { describe, type Presentation } from "./bundle.ts";
import { kernelRuntime } from "./kernel/runtime.ts";

/**
 * Shows each value: by its `Jupyter.display` hook, as the MIME bundle that it is, or as text. In a terminal always as text.
 *
 * Also takes `{ data, metadata }`, a bundle with metadata by MIME type.
 */
export function show(...things: unknown[]): Promise<void> {
  // A hook that shows something itself is waited for by its own turn.
  if (showingNow.getStore()) return markShowing(showAll(things, Promise.resolve()));
  const shown = showingNow.run(true, () => showAll(things, turn));
  turn = shown.catch(() => {});
  return markShowing(shown);
}

const showingNow = new AsyncLocalStorage<boolean>();
/** Ends with the last call of `show`: what is not awaited still comes in the order of the calls. */
let turn: Promise<void> = Promise.resolve();

async function showAll(things: unknown[], before: Promise<void>): Promise<void> {
  for (const thing of things) {
    const presentation = await describe(thing);
    await before;
    if (kernelRuntime() === undefined) console.log(plainText(presentation));
    else emit("display_data", presentation);
  }
}

const showing = new WeakSet<object>();

function markShowing(promise: Promise<void>): Promise<void> {
  showing.add(promise);
  return promise;
}

/** True if `value` is what `show` or a live display returned: it has shown itself. */
export function isShowing(value: unknown): value is Promise<void> {
  return typeof value === "object" && value !== null && showing.has(value);
}

/** One place on the screen that is drawn again and again. */
export interface LiveDisplay {
  /** Draws `thing` in place of what was there. */
  update(thing: unknown): Promise<void>;
  /** Draws for the last time: `thing`, or what was there. */
  end(thing?: unknown): Promise<void>;
}

/**
 * A display that `update` redraws in place: in a notebook the same output, in a terminal the same line. Where a terminal
 * cannot rewrite (a file, a pipe), only what stands at the `end` is printed.
 */
export function liveDisplay(): LiveDisplay {
  const { update, end } = kernelRuntime() === undefined ? terminalDisplay() : notebookDisplay();
  return {
    update: (thing) => markShowing(update(thing)),
    end: (...last) => markShowing(end(...last)),
  };
}

function notebookDisplay(): LiveDisplay {
  const id = crypto.randomUUID();
  let drawn = false;
  const update = async (thing: unknown) => {
    const presentation = await describe(thing);
    emit(drawn ? "update_display_data" : "display_data", presentation, id);
    drawn = true;
  };
  return { update, end: async (...last) => last.length === 0 ? undefined : await update(last[0]) };
}

function terminalDisplay(): LiveDisplay {
  const rewrites = isTerminal();
  let text = "";
  let printed = "";
  return {
    async update(thing) {
      text = plainText(await describe(thing));
      if (!rewrites) return;
      const line = firstLine(text);
      if (line === printed) return;
      printed = line;
      writeTerminal(`\r\x1b[2K${line}`);
    },
    async end(...last) {
      if (last.length > 0) text = plainText(await describe(last[0]));
      if (rewrites) writeTerminal("\r\x1b[2K");
      if (text !== "") console.log(text);
      text = "";
    },
  };
}

/** True where a line can be rewritten in place. */
export function isTerminal(): boolean {
  const deno = (globalThis as { Deno?: typeof Deno }).Deno;
  return deno !== undefined && kernelRuntime() === undefined && deno.stdout.isTerminal();
}

function writeTerminal(text: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(text));
}

/** A line that fits, since only one that does not wrap can be rewritten. */
function firstLine(text: string): string {
  const columns = Deno.consoleSize().columns || 80; // A pseudo-terminal may say 0.
  return text.split("\n", 1)[0].slice(0, columns - 1);
}

function plainText({ data }: Presentation): string {
  return String(data["text/plain"] ?? `[${Object.keys(data).join(", ")}]`);
}

function emit(type: string, { data, metadata = {} }: Presentation, id?: string): void {
  if (Object.keys(data).length === 0) return; // A hook that has shown itself.
  const transient = id === undefined ? {} : { display_id: id };
  kernelRuntime()?.api.broadcast(type, { data, metadata, transient });
}
