/** One work by all contenders: first their results against each other, then their times in turns. */
import { loadavg } from "node:os";
import { type Answer, Process } from "./process.ts";
import type { Work } from "./works.ts";

/** What a contender did; a note says why it did no more. */
export interface Entry {
  ms?: number;
  least?: number;
  most?: number;
  /** The part of a step before the host waits. */
  hostMs?: number;
  /** The first call, with what is compiled for it. */
  firstMs?: number;
  bytes?: number;
  by?: string;
  note?: string;
}

export interface Row {
  readonly work: string;
  readonly date: string;
  /** Processes that wanted to run in the last minute, before and after. */
  readonly load: [number, number];
  readonly rounds: number;
  readonly entries: Record<string, Entry>;
  /** Ours / theirs: medians over the rounds, each of which meets one machine. */
  readonly ratios: Record<string, Record<string, number>>;
}

export interface Settings {
  readonly rounds: number;
  /** Milliseconds that a step may take. */
  readonly limit: number;
  readonly ours: readonly string[];
}

/** Time for the rounds of one work, after at least three of them, and for a slow contender's part, after one. */
const BUDGET = 30_000;
const PART = 10_000;
/** Repetitions of a short step last about as long. */
const BLOCK = 100;
/** Calls before any is timed, so that engines that compile what returns have done so; fewer where that takes long. */
const WARM_UP = 5;
const WARM_UP_LIMIT = 10_000;

const median = (list: readonly number[]): number => list.toSorted((a, b) => a - b)[list.length >> 1];
const digits = (x: number): number => Number(x.toPrecision(4));

/** A contender at one work. */
interface Part {
  readonly process: Process;
  readonly entry: Entry;
  readonly probes: number[][] | null;
  /** Steps in a timed block. */
  repeat: number;
  /** Milliseconds a step, by round. */
  readonly times: number[];
  readonly hosts: number[];
}

/** What a work is measured by in a process of its own: a start to the first gradient, or the peak of memory. */
async function alone(w: Work, { name, command }: Process, limit: number): Promise<Answer> {
  const process = new Process(name, command);
  try {
    if (w.memory) return await process.ask({ ask: "peak", work: w }, 6 * limit);
    const { ms, gradient } = await process.start();
    return { ms, probes: [gradient] };
  } catch (error) {
    return { error: (error as Error).message };
  } finally {
    process.end();
  }
}

/** The first step of a work, and its results. */
async function prepare(w: Work, process: Process, limit: number): Promise<Part> {
  const { error, probes = null, firstMs, bytes, by } = w.kind === "start" || w.memory
    ? await alone(w, process, limit)
    : await process.ask({ ask: "prepare", work: w }, 6 * limit);
  const entry: Entry = {
    ...error === undefined ? {} : { note: error },
    ...firstMs === undefined ? {} : { firstMs: digits(firstMs) },
    ...bytes === undefined ? {} : { bytes, by: by! },
  };
  return { process, entry, probes, repeat: 1, times: [], hosts: [] };
}

/** Notes those whose results differ from the median of all by more than the work's tolerance. */
function compare(w: Work, parts: readonly Part[]): void {
  const lists = parts.flatMap(({ probes }) => probes === null ? [] : [probes]);
  for (const { probes, entry } of parts) {
    if (probes === null) continue;
    let worst = probes.length === lists[0].length ? 0 : Infinity;
    for (const [i, values] of probes.entries()) {
      const scale = Math.max(median(lists.map((list) => list[i]?.[0])), 1e-12);
      for (const [j, value] of values.entries()) {
        const distance = Math.abs(value - median(lists.map((list) => list[i]?.[j])));
        worst = Math.max(worst, Number.isNaN(distance) ? Infinity : distance / scale);
      }
    }
    if (worst > w.tolerance) {
      entry.note = `differs from the others by ${worst.toPrecision(2)} of the root mean square`;
    }
  }
}

/** Runs until what is compiled for a work that returns has been, and finds how many steps make a block. */
async function warmUp(part: Part, limit: number): Promise<void> {
  const start = performance.now();
  for (let i = 0; i < WARM_UP && performance.now() - start < WARM_UP_LIMIT; i++) {
    const { ms = Infinity, error } = await part.process.ask({ ask: "time", repeat: 1 }, 2 * limit);
    if (error !== undefined) part.entry.note = error;
    else if (ms > limit) part.entry.note = `${digits(ms / 1000)} s a step: beyond ${limit / 1000} s`;
    if (part.entry.note !== undefined) return;
    part.repeat = Math.max(1, Math.min(100, Math.round(BLOCK / ms)));
  }
}

/** One block of steps. */
async function time(w: Work, part: Part, limit: number): Promise<void> {
  const { process, entry, repeat, times, hosts } = part;
  const { ms, hostMs, error } = w.kind === "start"
    ? await alone(w, process, limit)
    : await process.ask({ ask: "time", repeat }, 4 * limit + 10 * BLOCK);
  if (error !== undefined) entry.note = error;
  if (ms !== undefined) times.push(ms);
  if (hostMs !== undefined) hosts.push(hostMs);
}

/** Median over the rounds that both have. */
function ratio(ours: Part, theirs: Part): number {
  return digits(median(ours.times.slice(0, theirs.times.length).map((t, i) => t / theirs.times[i])));
}

export async function measure(w: Work, processes: readonly Process[], settings: Settings): Promise<Row> {
  const { rounds, limit, ours } = settings, before = loadavg()[0];
  const parts: Part[] = [];
  for (const process of processes) parts.push(await prepare(w, process, limit));
  compare(w, parts);

  const able = (): Part[] => w.memory ? [] : parts.filter(({ entry }) => entry.note === undefined);
  if (w.kind !== "start") { for (const part of able()) await warmUp(part, limit); }
  const start = performance.now();
  let round = 0;
  for (; able().length > 0 && round < rounds && (round < 3 || performance.now() - start < BUDGET); round++) {
    for (const part of able()) {
      const spent = part.repeat * part.times.reduce((a, b) => a + b, 0);
      if (spent < PART) await time(w, part, limit);
    }
  }

  const timed = able();
  for (const { entry, times, hosts } of timed) {
    entry.ms = digits(median(times));
    entry.least = digits(Math.min(...times));
    entry.most = digits(Math.max(...times));
    if (hosts.length > 0) entry.hostMs = digits(median(hosts));
  }
  const isOurs = ({ process }: Part): boolean => ours.includes(process.name);
  const ratios = timed.filter(isOurs).map((mine) => {
    const others = timed.filter((part) => !isOurs(part));
    return [
      mine.process.name,
      Object.fromEntries(others.map((part) => [part.process.name, ratio(mine, part)])),
    ];
  });
  return {
    ...{
      work: w.name,
      date: new Date().toISOString(),
      load: [digits(before), digits(loadavg()[0])],
      rounds: round,
    },
    entries: Object.fromEntries(parts.map(({ process, entry }) => [process.name, entry])),
    ratios: Object.fromEntries(ratios),
  };
}
