/**
 * Results of cells: whatever draws itself, alone or inside arrays and plain objects. NaN, infinities, -0, null and bigints
 * stay unseen: the kernel hands them on as undefined.
 */

import {
  type Bundle,
  describe,
  escapeHtml,
  isBundle,
  isDisplayable,
  isPlainObject,
  messageOf,
  type Presentation,
  textHook,
  textOf,
} from "../bundle.ts";
import { isShowing } from "../show.ts";
import type { JupyterApi } from "./runtime.ts";

const MOST_BLOCKS = 24; // Drawn one below the other.
const MOST_READ = 256; // Leaves whose values are in the text.
const MOST_SEARCHED = 10_000; // Entries of a tree that are looked at.
const DEEPEST = 5; // As deep as `textOf` shows.

/** Draws a result that draws itself or holds what does; false leaves it to the kernel. Never throws. */
export async function drawResult(api: JupyterApi, executionCount: number, result: unknown): Promise<boolean> {
  try {
    if (isShowing(result)) {
      await result;
      return true;
    }
    const presentation = await present(api, result);
    if (presentation === undefined) return false;
    const { data, metadata = {} } = presentation;
    if (Object.keys(data).length > 0) {
      // nbclient needs `transient` to be an object.
      api.broadcast("execute_result", { execution_count: executionCount, data, metadata, transient: {} });
    }
    return true;
  } catch (error) {
    if (!isShowing(result)) return false;
    api.broadcast("stream", { name: "stderr", text: `show: ${messageOf(error)}\n` });
    return true;
  }
}

async function present(api: JupyterApi, result: unknown): Promise<Presentation | undefined> {
  if (isDisplayable(result)) return await describe(result);
  const blocks = drawableLeaves(result);
  return blocks === undefined ? undefined : await compose(api, result, blocks);
}

interface Leaf {
  /** Where it is, such as `layers[0].weight`. */
  path: string;
  value: unknown;
}

/** The leaves of a tree, one of which draws itself; a subtree without such a leaf is one leaf. */
function drawableLeaves(tree: unknown): Leaf[] | undefined {
  let searched = 0;
  const walk = (value: unknown, path: string, ancestors: unknown[]): Leaf[] | undefined => {
    if (isDisplayable(value)) return [{ path, value }];
    if (!isContainer(value) || ancestors.includes(value) || ancestors.length > DEEPEST) return undefined;
    const leaves: Leaf[] = [];
    let found = false;
    for (const [key, item] of Object.entries(value)) {
      if (++searched > MOST_SEARCHED) break;
      const place = Array.isArray(value) ? `${path}[${key}]` : path === "" ? key : `${path}.${key}`;
      const below = walk(item, place, [...ancestors, value]);
      found ||= below !== undefined;
      leaves.push(...below ?? [{ path: place, value: item }]);
    }
    return found ? leaves : undefined;
  };
  return walk(tree, "", []);
}

function isContainer(value: unknown): value is Record<string, unknown> {
  return Array.isArray(value) || isPlainObject(value) && !isBundle(value);
}

/** Asks for a lazy value without waiting for it, so that all are computed in one run. */
function request(value: unknown): void {
  try {
    const keep = (value as { keep?: unknown }).keep;
    if (typeof keep === "function") keep.call(value);
  } catch {
    // Its own drawing says what is wrong.
  }
}

/** One bundle of all leaves where each is HTML or text; otherwise each is sent by itself, and the text is left. */
async function compose(api: JupyterApi, tree: unknown, leaves: Leaf[]): Promise<Presentation> {
  const drawn = [...new Set(leaves.map(({ value }) => value).filter(isDisplayable))].slice(0, MOST_READ);
  drawn.forEach(request);
  const forms = new Map<unknown, Presentation>();
  await Promise.all(drawn.map(async (value) => forms.set(value, await describe(value))));
  const text = textOf(withTexts(tree, forms, []));

  const shown: { path: string; data: Bundle; metadata: Record<string, unknown> }[] = [];
  for (const { path, value } of leaves.slice(0, MOST_BLOCKS)) {
    const { data, metadata = {} } = forms.get(value) ?? await describe(value);
    shown.push({ path, data, metadata });
  }
  const more = leaves.length > MOST_BLOCKS ? `… and ${leaves.length - MOST_BLOCKS} more` : "";
  if (shown.every(({ data }) => html(data) !== undefined)) {
    const blocks = shown.map(({ path, data }) => `${caption(path)}<div>${html(data)}</div>`);
    if (more !== "") blocks.push(`<div>${more}</div>`);
    return { data: { "text/html": blocks.join("\n"), "text/plain": text } };
  }
  for (const { path, data, metadata } of shown) {
    const title = { "text/html": caption(path), "text/plain": path };
    api.broadcast("display_data", { data: title, metadata: {}, transient: {} });
    api.broadcast("display_data", { data, metadata, transient: {} });
  }
  return { data: more === "" ? {} : { "text/plain": more } };
}

function html(data: Bundle): string | undefined {
  if (typeof data["text/html"] === "string") return data["text/html"];
  const isText = Object.keys(data).every((type) => type === "text/plain");
  return isText ? `<pre>${escapeHtml(String(data["text/plain"] ?? ""))}</pre>` : undefined;
}

/** The tree with drawn leaves in place of lazy ones. */
function withTexts(tree: unknown, forms: Map<unknown, Presentation>, ancestors: unknown[]): unknown {
  const form = forms.get(tree);
  if (form !== undefined) {
    const text = String(form.data["text/plain"] ?? textOf(tree));
    return { [textHook]: () => text };
  }
  if (!isContainer(tree) || ancestors.includes(tree) || ancestors.length > DEEPEST) return tree;
  const path = [...ancestors, tree];
  if (Array.isArray(tree)) return tree.map((item) => withTexts(item, forms, path));
  return Object.fromEntries(Object.entries(tree).map(([key, item]) => [key, withTexts(item, forms, path)]));
}

const caption = (path: string) => `<div style="opacity:.7"><code>${escapeHtml(path)}</code></div>`;
