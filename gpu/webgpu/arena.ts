/** Where intermediates of a run live: places are shared by values whose lives do not overlap. */

/** Life of a value: written by dispatch `from`, last read by dispatch `to`. */
export interface Life {
  readonly bytes: number;
  readonly from: number;
  readonly to: number;
}

/** A place for each life: a chunk (a buffer) and an offset in it; and the bytes of each chunk. */
export interface ArenaPlan {
  readonly places: { chunk: number; offset: number }[];
  readonly chunks: number[];
}

interface Hole {
  offset: number;
  bytes: number;
}

/** Free ranges of one chunk, ascending and never touching. */
class Chunk {
  readonly holes: Hole[];
  high = 0;
  constructor(capacity: number) {
    this.holes = [{ offset: 0, bytes: capacity }];
  }

  /** The smallest hole that fits, the lowest of equals; -1 if none does. */
  fit(bytes: number): number {
    let best = -1;
    // The last hole is the untouched end: only where nothing else fits.
    for (let i = 0; i < this.holes.length; i++) {
      const hole = this.holes[i];
      if (hole.bytes < bytes) continue;
      if (best < 0 || (i < this.holes.length - 1 && hole.bytes < this.holes[best].bytes)) best = i;
    }
    return best;
  }

  take(at: number, bytes: number): number {
    const hole = this.holes[at], { offset } = hole;
    hole.offset += bytes;
    hole.bytes -= bytes;
    if (hole.bytes === 0) this.holes.splice(at, 1);
    this.high = Math.max(this.high, offset + bytes);
    return offset;
  }

  give(offset: number, bytes: number): void {
    const { holes } = this;
    let low = 0, high = holes.length;
    while (low < high) {
      const mid = (low + high) >> 1;
      if (holes[mid].offset < offset) low = mid + 1;
      else high = mid;
    }
    const before = holes[low - 1], after = holes[low];
    const joinsBefore = before !== undefined && before.offset + before.bytes === offset;
    const joinsAfter = after !== undefined && offset + bytes === after.offset;
    if (joinsBefore && joinsAfter) {
      before.bytes += bytes + after.bytes;
      holes.splice(low, 1);
    } else if (joinsBefore) before.bytes += bytes;
    else if (joinsAfter) {
      after.offset = offset;
      after.bytes += bytes;
    } else holes.splice(low, 0, { offset, bytes });
  }
}

/** Plans places; lives are in order of `from`, sizes are multiples of 256 and at most `capacity`. */
export function planArena(lives: readonly Life[], capacity: number): ArenaPlan {
  const chunks: Chunk[] = [];
  const places: { chunk: number; offset: number }[] = [];
  const ending = new Map<number, number[]>();
  let done = -1;
  lives.forEach((life, i) => {
    // What ended before this dispatch is free; what ends with it is still read by it.
    for (; done < life.from - 1; done++) {
      for (const k of ending.get(done + 1) ?? []) {
        chunks[places[k].chunk].give(places[k].offset, lives[k].bytes);
      }
      ending.delete(done + 1);
    }
    let chunk = 0, at = -1;
    for (; chunk < chunks.length; chunk++) if ((at = chunks[chunk].fit(life.bytes)) >= 0) break;
    if (at < 0) {
      chunks.push(new Chunk(capacity));
      at = 0;
    }
    places.push({ chunk, offset: chunks[chunk].take(at, life.bytes) });
    const list = ending.get(Math.max(life.to, life.from));
    if (list === undefined) ending.set(Math.max(life.to, life.from), [i]);
    else list.push(i);
  });
  return { places, chunks: chunks.map((c) => c.high) };
}
