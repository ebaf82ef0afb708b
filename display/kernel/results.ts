/** Results of cells: whatever draws itself, alone or as an element of an array or a plain object. */

import {
  type Bundle,
  describe,
  escapeHtml,
  isDisplayable,
  isPlainObject,
  type Presentation,
  textOf,
} from "../bundle.ts";
import type { JupyterApi } from "./runtime.ts";

const MOST_ELEMENTS = 24;

/** Draws a result that draws itself or holds what does; false leaves it to the kernel. Never throws. */
export async function drawResult(api: JupyterApi, executionCount: number, result: unknown): Promise<boolean> {
  try {
    const elements = isDisplayable(result) ? undefined : drawableElements(result);
    if (elements === undefined && !isDisplayable(result)) return false;
    const { data, metadata = {} } = elements === undefined
      ? await describe(result)
      : await compose(api, elements, textOf(result));
    if (Object.keys(data).length > 0) {
      // nbclient needs `transient` to be an object.
      api.broadcast("execute_result", { execution_count: executionCount, data, metadata, transient: {} });
    }
    return true;
  } catch {
    return false;
  }
}

/** The entries of a short array or plain object, if one of them draws itself. */
function drawableElements(result: unknown): [label: string, element: unknown][] | undefined {
  if (!Array.isArray(result) && !isPlainObject(result)) return undefined;
  const keys = Object.keys(result);
  if (keys.length === 0 || keys.length > MOST_ELEMENTS) return undefined;
  const entries = keys.map((key): [string, unknown] => [
    Array.isArray(result) ? `[${key}]` : key,
    (result as Record<string, unknown>)[key],
  ]);
  return entries.some(([, element]) => isDisplayable(element)) ? entries : undefined;
}

/** One bundle of all elements where each is HTML or text; otherwise each is sent by itself, and nothing is left. */
async function compose(api: JupyterApi, elements: [string, unknown][], text: string): Promise<Presentation> {
  const parts: { label: string; data: Bundle; metadata: Record<string, unknown> }[] = [];
  for (const [label, element] of elements) {
    const { data, metadata = {} } = await describe(element);
    parts.push({ label, data, metadata });
  }
  const html = (data: Bundle): string | undefined =>
    typeof data["text/html"] === "string"
      ? data["text/html"]
      : Object.keys(data).every((type) => type === "text/plain")
      ? `<pre>${escapeHtml(String(data["text/plain"] ?? ""))}</pre>`
      : undefined;
  if (parts.every(({ data }) => html(data) !== undefined)) {
    const blocks = parts.map(({ label, data }) => `${caption(label)}<div>${html(data)}</div>`);
    return { data: { "text/html": blocks.join("\n"), "text/plain": text } };
  }
  for (const { label, data, metadata } of parts) {
    const title = { "text/html": caption(label), "text/plain": label };
    api.broadcast("display_data", { data: title, metadata: {}, transient: {} });
    api.broadcast("display_data", { data, metadata, transient: {} });
  }
  return { data: {} };
}

const caption = (label: string) => `<div style="opacity:.7"><code>${escapeHtml(label)}</code></div>`;
