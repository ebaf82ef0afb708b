/** The seam through which values show themselves; without `display/` they are plain text. */
import type { Tensor } from "./tensor.ts";

/** MIME types with their contents. */
export type MimeBundle = Record<string, unknown>;

/** How a graph is drawn. */
export interface GraphOptions {
  /** Stands above the drawing. */
  title?: string;
  /** Where the data flows; by default to the right if that fits the page, else down. */
  direction?: "right" | "down";
  /** How many levels of groups are opened; by default as many as are readable, at most 300 boxes. */
  depth?: number;
}

/** How the graph of a tensor is drawn. */
export interface TensorGraphOptions extends GraphOptions {
  /** Compute and show cotangents; default: where the tensor is a scalar that requires gradients. */
  cotangents?: boolean;
  /** Compute and show values and cotangents; default: where that takes less than 2 billion operations. */
  values?: boolean;
}

/** Something that a notebook draws. */
export interface Picture {
  /** The drawing for a terminal. */
  text(): string;
}

/** How tensors look. */
export interface Presenter {
  /** For the last expression of a notebook cell. */
  display(x: Tensor): Promise<MimeBundle>;
  /** For `console.log`, without waiting for a device. */
  inspect(x: Tensor): string;
  /** The graph behind a tensor. */
  graph(x: Tensor, options: TensorGraphOptions): Picture;
  /** What holds tensors, as a module or an optimiser: for the last expression of a notebook cell. */
  displayHolder?(x: object): Promise<MimeBundle>;
}

let presenter: Presenter = {
  display: (x) => Promise.resolve({ "text/plain": presenter.inspect(x) }),
  inspect: (x) => `Tensor(shape [${x.shape}], ${x.dtype}, ${x.device})`,
  graph: (x) => ({ text: () => presenter.inspect(x) }),
};

/** Replaces the presenter. */
export function setPresenter(p: Presenter): void {
  presenter = p;
}

/** The presenter in use. */
export function currentPresenter(): Presenter {
  return presenter;
}

/** Where the printed text stands in an object or array that `Deno.inspect` prints. */
export interface PrintedPlace {
  /** Columns that later lines are moved by. */
  readonly indentationLvl?: number;
}

/** A text of several lines as a part of what `Deno.inspect` prints. */
export function printedIn(place: PrintedPlace | undefined, text: string): string {
  return text.replaceAll("\n", `\n${" ".repeat(place?.indentationLvl ?? 0)}`);
}

/** What a notebook shows for an object that holds tensors; its text where it cannot be drawn. Never throws. */
export async function displayHolder(x: object): Promise<MimeBundle> {
  try {
    return await presenter.displayHolder?.(x) ?? { "text/plain": String(x) };
  } catch (error) {
    return { "text/plain": `${x}\n(${error instanceof Error ? error.message : error})` };
  }
}
