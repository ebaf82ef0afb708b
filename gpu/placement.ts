/** Where intermediates lie in an arena, so that no two that live at the same time overlap. */
import { Arena, inAlignment } from "./arena.ts";

/** An array: its bytes, and the kernels that write it first and use it last. */
export interface Lifetime {
  readonly bytes: number;
  readonly from: number;
  to: number;
}

/** Places, and bytes of the arena. */
export interface Placement {
  readonly places: readonly number[];
  readonly bytes: number;
}

/** Most arrays that are placed by size, and tried again: time goes with the square of their number. */
const MOST = 4096, MOST_AGAIN = 1024, TRIES = 16;

/**
 * Places in the order of time, or by size where that takes less and more than `enough` bytes; `list` is in the order of
 * `from`.
 */
export function placeAll(list: readonly Lifetime[], enough = 0): Placement {
  let best = placeInTime(list);
  if (best.bytes <= enough) return best;
  const least = mostAtOnce(list);
  if (list.length > MOST) return best;
  const order = [...list.keys()].sort((a, b) => list[b].bytes - list[a].bytes);
  for (let t = 0; t < (list.length > MOST_AGAIN ? 1 : TRIES) && best.bytes > least; t++) {
    const next = placeInOrder(list, order);
    if (next.bytes < best.bytes) best = next;
    // What stands at the end comes first in the next try.
    const last = order.findIndex((i) => next.places[i] + inAlignment(list[i].bytes) === next.bytes);
    order.unshift(...order.splice(last, 1));
  }
  return best;
}

/** The smallest buffer: less is not worth looking for. */
const SMALL = 65536;

/** A place for each array: a buffer and an offset in it; and the bytes of each buffer. */
export interface ChunkPlacement {
  readonly places: readonly { readonly chunk: number; readonly offset: number }[];
  readonly chunks: readonly number[];
}

/** The same in buffers of at most `capacity` bytes: in one where that does, or in the order of time. */
export function placeInChunks(list: readonly Lifetime[], capacity: number): ChunkPlacement {
  if (list.length === 0) return { places: [], chunks: [] };
  const one = placeAll(list, SMALL);
  if (one.bytes <= capacity) {
    return { places: one.places.map((offset) => ({ chunk: 0, offset })), chunks: [one.bytes] };
  }
  const arenas: Arena[] = [], places: { chunk: number; offset: number }[] = [], ends = byEnd(list);
  let e = 0;
  for (const { bytes, from } of list) {
    for (; list[ends[e]].to < from; e++) {
      const { chunk, offset } = places[ends[e]];
      arenas[chunk].give(offset, list[ends[e]].bytes);
    }
    let chunk = 0, offset = -1;
    while (chunk < arenas.length && (offset = arenas[chunk].take(bytes, capacity)) < 0) chunk++;
    if (offset < 0) arenas[chunk] = new Arena(), offset = arenas[chunk].take(bytes);
    places.push({ chunk, offset });
  }
  return { places, chunks: arenas.map((a) => a.bytes) };
}

/** The numbers of arrays by the kernel that uses them last. */
function byEnd(list: readonly Lifetime[]): number[] {
  return [...list.keys()].sort((a, b) => list[a].to - list[b].to);
}

/** Bytes that live at once, which no placement can undercut. */
function mostAtOnce(list: readonly Lifetime[]): number {
  const ends = byEnd(list);
  let most = 0, now = 0, e = 0;
  for (const { bytes, from } of list) {
    while (list[ends[e]].to < from) now -= inAlignment(list[ends[e++]].bytes);
    now += inAlignment(bytes);
    most = Math.max(most, now);
  }
  return most;
}

/** Each at the first place that is free when it is written. */
function placeInTime(list: readonly Lifetime[]): Placement {
  const arena = new Arena(), ends = byEnd(list), places: number[] = [];
  let e = 0;
  for (const { bytes, from } of list) {
    for (; list[ends[e]].to < from; e++) arena.give(places[ends[e]], list[ends[e]].bytes);
    places.push(arena.take(bytes));
  }
  return { places, bytes: arena.bytes };
}

/** One after the other in some order, each at the lowest place that is free all its life. */
function placeInOrder(list: readonly Lifetime[], order: readonly number[]): Placement {
  const places = new Array<number>(list.length).fill(0);
  /** Those that have a place, by it. */
  const placed: number[] = [];
  let end = 0;
  for (const i of order) {
    const { bytes, from, to } = list[i], size = inAlignment(bytes);
    let at = 0;
    for (const k of placed) {
      if (list[k].to < from || list[k].from > to) continue;
      if (places[k] - at >= size) break;
      at = Math.max(at, places[k] + inAlignment(list[k].bytes));
    }
    places[i] = at;
    end = Math.max(end, at + size);
    let before = placed.length;
    while (before > 0 && places[placed[before - 1]] > at) before--;
    placed.splice(before, 0, i);
  }
  return { places, bytes: end };
}
