/** MIME bundles: what any value looks like to a notebook, as JSON that a front end can read. */

import { printedIn, type PrintedPlace } from "../ops/presenter.ts";

/** Representations by MIME type; a front end takes the richest one it knows. */
export type Bundle = Record<string, unknown>;

/** A bundle with metadata, which is keyed by MIME type too. */
export interface Presentation {
  /** The bundle. */
  data: Bundle;
  /** What a front end needs to know besides, such as a width. */
  metadata?: Record<string, unknown>;
}

/** The method that a Deno notebook asks for a bundle. */
export const displayHook: unique symbol = Symbol.for("Jupyter.display");

/** The method that `Deno.inspect` and `console.log` ask for text. */
export const textHook: unique symbol = Symbol.for("Deno.customInspect");

const binaryImage = /^(image\/(?!svg)|application\/pdf|audio\/|video\/)/;
const mimeType = /^[a-z]+\/[\w.+-]+(;.*)?$/i;

/**
 * A copy of `value` that survives JSON: numbers that JSON lacks become the strings "NaN", "Infinity" and "-Infinity",
 * bigints end in `n`, typed arrays and sets become arrays, cycles become "[Circular]".
 */
export function sanitize(value: unknown): unknown {
  return jsonSafe(value, []);
}

function jsonSafe(value: unknown, ancestors: unknown[]): unknown {
  switch (typeof value) {
    case "number":
      return Number.isFinite(value) ? value : String(value);
    case "bigint":
      return `${value}n`;
    case "symbol":
    case "function":
      return String(value);
    case "object":
      break;
    case "string":
    case "boolean":
    case "undefined":
      return value;
  }
  if (value === null) return null;
  if (ancestors.includes(value)) return "[Circular]";
  if (value instanceof Error) return `${value.name}: ${value.message}`;
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? "Invalid Date" : value.toISOString();
  if (value instanceof ArrayBuffer || value instanceof DataView) return `[${value.byteLength} bytes]`;
  const path = [...ancestors, value];
  if (Array.isArray(value) || ArrayBuffer.isView(value) || value instanceof Set) {
    return Array.from(value as Iterable<unknown>, (item) => jsonSafe(item, path) ?? null);
  }
  const entries = value instanceof Map ? value.entries() : Object.entries(value);
  // `fromEntries` defines properties, so a key "__proto__" stays a key.
  return Object.fromEntries(
    Array.from(entries, ([key, item]) => [String(key), jsonSafe(item, path)] as const)
      .filter(([, item]) => item !== undefined),
  );
}

/** `sanitize` for a whole bundle: text becomes strings, bytes of an image base64. */
export function sanitizeBundle(bundle: Bundle): Bundle {
  const safe: Bundle = {};
  for (const [type, value] of Object.entries(bundle)) {
    if (value === undefined || value === null) continue;
    if (value instanceof Uint8Array && binaryImage.test(type)) safe[type] = base64(value);
    else if (type.endsWith("json")) safe[type] = sanitize(value);
    else {safe[type] = typeof value === "string"
        ? value
        : Array.isArray(value)
        ? value.join("")
        : String(value);}
  }
  return safe;
}

function base64(bytes: Uint8Array): string {
  let binary = "";
  for (let start = 0; start < bytes.length; start += 0x8000) {
    binary += String.fromCharCode(...bytes.subarray(start, start + 0x8000));
  }
  return btoa(binary);
}

/** True for a plain object all of whose keys are MIME types. */
export function isBundle(value: unknown): value is Bundle {
  if (!isPlainObject(value)) return false;
  const types = Object.keys(value);
  return types.length > 0 && types.every((type) => mimeType.test(type));
}

/** True for an object literal and its like. */
export function isPlainObject(value: unknown): value is Record<string, unknown> {
  if (typeof value !== "object" || value === null) return false;
  const prototype = Object.getPrototypeOf(value);
  return prototype === null || prototype === Object.prototype;
}

/** True if a value says itself how it is drawn. */
export function isDisplayable(value: unknown): value is { [displayHook](): Bundle | Promise<Bundle> } {
  if (value === null || (typeof value !== "object" && typeof value !== "function")) return false;
  try {
    return typeof (value as Record<symbol, unknown>)[displayHook] === "function";
  } catch {
    return false; // A proxy or getter that throws.
  }
}

/** The text of a value: a string as it is, all else as `console.log` shows it. Never throws. */
export function textOf(value: unknown): string {
  if (typeof value === "string") return value;
  try {
    const deno = (globalThis as { Deno?: typeof Deno }).Deno;
    if (deno !== undefined) return deno.inspect(value, { colors: false, depth: 6 });
    const inspect = (value as { [textHook]?: () => string } | null)?.[textHook];
    return typeof inspect === "function" ? inspect.call(value) : String(value);
  } catch (error) {
    return `[${Object.prototype.toString.call(value).slice(8, -1)}: cannot be shown, ${messageOf(error)}]`;
  }
}

/** `name: message` of an error, the text of anything else. Never throws. */
export function messageOf(error: unknown): string {
  try {
    return error instanceof Error ? `${error.name}: ${error.message}` : textOf(error);
  } catch {
    return "unknown error";
  }
}

/** The text with what means something in HTML replaced. */
export function escapeHtml(text: string): string {
  const entities: Record<string, string> = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    '"': "&quot;",
    "'": "&#39;",
  };
  return text.replace(/[&<>"']/g, (character) => entities[character]);
}

/** How any value is presented. A hook that throws falls back to text, which says so. Never throws. */
export async function describe(thing: unknown): Promise<Presentation> {
  try {
    if (thing instanceof Drawing) return await thing.present();
    if (isDisplayable(thing)) return { data: sanitizeBundle(await thing[displayHook]()) };
    if (isBundle(thing)) return { data: sanitizeBundle(thing) };
    if (isPlainObject(thing) && isBundle(thing.data)) {
      const { data, metadata } = thing;
      return { data: sanitizeBundle(data), metadata: (sanitize(metadata ?? {})) as Record<string, unknown> };
    }
    return { data: { "text/plain": textOf(thing) } };
  } catch (error) {
    return { data: { "text/plain": `${textOf(thing)}\n(drawing failed: ${messageOf(error)})` } };
  }
}

/** Something that is drawn: richly in a notebook, as text in a terminal. Subclasses may throw; its hooks do not. */
export abstract class Drawing {
  /** The drawing for a terminal. */
  abstract text(): string;

  /** Every representation except the text. */
  protected abstract render(): Promise<Presentation>;

  /** Every representation, with text last, which is all that remains if the others fail. */
  async present(): Promise<Presentation> {
    let text: string;
    try {
      text = this.text();
    } catch (error) {
      text = `(drawing failed: ${messageOf(error)})`;
    }
    try {
      const { data, metadata } = await this.render();
      const presentation: Presentation = { data: { ...sanitizeBundle(data), "text/plain": text } };
      if (metadata !== undefined) presentation.metadata = sanitize(metadata) as Record<string, unknown>;
      return presentation;
    } catch (error) {
      return { data: { "text/plain": `${text}\n(drawing failed: ${messageOf(error)})` } };
    }
  }

  /** For a notebook. */
  async [displayHook](): Promise<Bundle> {
    return await respond(await this.present());
  }

  /** For `console.log`. */
  [textHook](_inspect?: unknown, place?: PrintedPlace): string {
    try {
      return printedIn(place, this.text());
    } catch (error) {
      return `(drawing failed: ${messageOf(error)})`;
    }
  }
}

let respond: (presentation: Presentation) => Bundle | Promise<Bundle> = ({ data }) => data;

/** Replaces what a hook answers to the kernel; the notebook repair uses it where results cannot be waited for. */
export function answerHooksWith(answer?: (presentation: Presentation) => Bundle | Promise<Bundle>): void {
  respond = answer ?? (({ data }) => data);
}
