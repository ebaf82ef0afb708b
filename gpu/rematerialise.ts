/** What is computed again for the backward pass instead of being kept: little work for much memory. */

/** A kernel as far as memory goes. */
export interface Doing {
  /** Slots of intermediates. */
  readonly reads: readonly number[];
  readonly writes: readonly number[];
  /** Nanoseconds, about; Infinity for what is done once only. */
  readonly cost: number;
  /** Results that a part of it, or another kernel, makes of what is there. */
  readonly parts?: ReadonlyMap<number, Part>;
}

/** How one result is made again. */
export interface Part {
  readonly reads: readonly number[];
  readonly cost: number;
}

/** Slot `slot` of kernel `again` is made once more before kernel `before`; from there on all read that, later repeats too. */
export interface Repeat {
  readonly again: number;
  readonly slot: number;
  readonly before: number;
}

/** When repeats are worth it. */
export interface RepeatLimits {
  /** Runs that need fewer bytes at once repeat nothing. */
  readonly least: number;
  /** Smaller arrays are kept. */
  readonly smallest: number;
  /** Most of a run's time that goes into it. */
  readonly share: number;
}

const LIMITS: RepeatLimits = { least: 1 << 22, smallest: 1 << 16, share: 0.02 };
/** Most kernels that are looked at, and repeats. */
const MOST = 4096, REPEATS = 512;

/** An array: the kernel that makes it, when, and when it is read, ascending. A repeat stands half a kernel before another. */
interface Life {
  readonly slot: number;
  readonly kernel: number;
  readonly written: number;
  reads: number[];
  readonly bytes: number;
}

const endOf = ({ written, reads }: Life): number => reads[reads.length - 1] ?? written;

/**
 * Chooses what to repeat, one after the other: of what waits while most is in memory, that which gives most bytes for its
 * time. Its operands must be there anyway when it is repeated.
 */
export function repeats(
  doings: readonly Doing[],
  total: number,
  bytesOf: (slot: number) => number,
  limits: RepeatLimits = LIMITS,
): Repeat[] {
  const out: Repeat[] = [], lives = new Map<number, Life>();
  if (doings.length > MOST) return out;
  doings.forEach(({ reads, writes }, k) => {
    for (const s of new Set(reads)) lives.get(s)?.reads.push(k);
    for (const s of writes) lives.set(s, { slot: s, kernel: k, written: k, reads: [], bytes: bytesOf(s) });
  });
  const all = [...lives.values()];
  const { least, smallest, share } = limits;
  let budget = share * total;
  while (out.length < REPEATS) {
    const { time, bytes } = fullest(all, doings.length);
    if (bytes < least) break;
    let best: Life | null = null, most = 0, before = 0;
    for (const life of all) {
      const { cost, reads } = partOf(doings[life.kernel], life.slot), { bytes } = life;
      if (bytes < smallest || cost > budget || bytes / cost <= most) continue;
      const next = life.written <= time ? life.reads.find((t) => t > time) : undefined;
      // What is read late only cannot be let go before.
      if (next === undefined || next === life.reads[0]) continue;
      if (!reads.every((s) => endOf(lives.get(s)!) >= next)) continue;
      [best, most, before] = [life, bytes / cost, Math.ceil(next)];
    }
    if (best === null) break;
    const { kernel, slot } = best, { cost, reads } = partOf(doings[kernel], slot), at = before - 0.5;
    budget -= cost;
    out.push({ again: kernel, slot, before });
    all.push({ ...best, written: at, reads: best.reads.filter((t) => t >= at) });
    best.reads = best.reads.filter((t) => t < at);
    for (const s of reads) insert(lives.get(s)!.reads, at);
  }
  return out;
}

/** How a result is made again: by its whole kernel where it is the only one. */
function partOf(doing: Doing, slot: number): Part {
  const { reads, writes, cost, parts } = doing;
  return parts?.get(slot) ?? { reads, cost: writes.length > 1 ? Infinity : cost };
}

/** When most is in memory, after which kernel, and how much. */
function fullest(lives: readonly Life[], length: number): { time: number; bytes: number } {
  const more = new Float64Array(length + 1);
  for (const life of lives) {
    const from = Math.ceil(life.written), to = Math.ceil(endOf(life));
    more[from] += life.bytes;
    more[to] -= life.bytes;
  }
  let now = 0, bytes = 0, time = 0;
  more.forEach((n, t) => {
    now += n;
    if (now > bytes) [bytes, time] = [now, t];
  });
  return { time, bytes };
}

/** Puts a time among others. */
function insert(times: number[], t: number): void {
  const at = times.findIndex((other) => other > t);
  times.splice(at < 0 ? times.length : at, 0, t);
}
