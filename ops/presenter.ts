/** The seam through which values show themselves; without `display/` they are plain text. */
import type { Tensor } from "./tensor.ts";

/** MIME types with their contents. */
export type MimeBundle = Record<string, unknown>;

/** How tensors look. */
export interface Presenter {
  /** For the last expression of a notebook cell. */
  display(x: Tensor): Promise<MimeBundle>;
  /** For `console.log`, without waiting for a device. */
  inspect(x: Tensor): string;
}

let presenter: Presenter = {
  display: (x) => Promise.resolve({ "text/plain": presenter.inspect(x) }),
  inspect: (x) => `Tensor(shape [${x.shape}], ${x.dtype}, ${x.device})`,
};

/** Replaces the presenter. */
export function setPresenter(p: Presenter): void {
  presenter = p;
}

/** The presenter in use. */
export function currentPresenter(): Presenter {
  return presenter;
}
