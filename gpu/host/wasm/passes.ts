/** Loops over contiguous elements, in passes of several vectors, of one, and of single elements at the end. */
import type { Frame } from "./frame.ts";
import { add, get, i32, set } from "./text.ts";

/** How many elements one pass takes: vectors of four, or one in each lane of a vector. */
export interface Pass {
  readonly vectors: number;
  readonly single: boolean;
}

const ONE: Pass = { vectors: 1, single: true };
/** One vector. */
export const FOUR: Pass = { vectors: 1, single: false };

/** Local `j` from `from` to `to`: first in passes of `vectors`, then of one vector, then of one element. */
export function passes(
  frame: Frame,
  from: string,
  to: string,
  vectors: number,
  body: (pass: Pass) => string,
): string {
  const j = frame.local("j", "i32");
  const list = vectors > 1 ? [{ vectors, single: false }, FOUR, ONE] : [FOUR, ONE];
  const loops = list.map((pass) => {
    const by = pass.single ? 1 : 4 * pass.vectors, name = `by${by}`, stop = frame.local(`stop${by}`, "i32");
    const isMore = `(i32.lt_s ${get(j)} ${get(stop)})`;
    return `${set(stop, `(i32.sub ${to} ${i32(by - 1)})`)}
(if ${isMore} (then (loop $${name}
  ${body(pass)}
  ${set(j, add(get(j), i32(by)))} (br_if $${name} ${isMore}))))`;
  });
  return `${set(j, from)} ${loops.join("\n")}`;
}
