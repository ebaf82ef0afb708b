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

/** Median of the rounds that both have. */
function ratio(ours: readonly number[], theirs: readonly number[]): number {
  const both = ours.slice(0, theirs.length);
  return digits(median(both.map((t, i) => t / theirs[i])));
}

/** Notes those whose results differ from the median of all by more than the work's tolerance. */
function compare(w: Work, probes: Map<string, number[][]>, entries: Record<string, Entry>): void {
  const lists = [...probes.values()];
  for (const [name, list] of probes) {
    let worst = list.length === lists[0].length ? 0 : Infinity;
    for (const [i, values] of list.entries()) {
      for (const [j, value] of values.entries()) {
        const all = lists.map((other) => other[i]?.[j]),
          middle = median(all),
          scale = median(lists.map((l) => l[i]?.[0]));
        worst = Math.max(
          worst,
          Math.abs(value - middle) / Math.max(scale, 1e-12) || (value === middle ? 0 : Infinity),
        );
      }
    }
    if (worst <= w.tolerance) continue;
    entries[name].note = `differs from the others by ${worst.toPrecision(2)} of the root mean square`;
    probes.delete(name);
  }
}

/** Milliseconds of a start to the first gradient, in a new process each time. */
async function starts({ name, command }: Process): Promise<Answer> {
  const process = new Process(name, command);
  try {
    const { ms, gradient } = await process.start();
    return { ms, probes: [gradient] };
  } catch (error) {
    return { error: (error as Error).message };
  } finally {
    process.end();
  }
}

export async function measure(w: Work, processes: readonly Process[], settings: Settings): Promise<Row> {
  const { rounds, limit } = settings, before = loadavg()[0];
  const entries: Record<string, Entry> = {}, probes = new Map<string, number[][]>();
  const repeats = new Map<string, number>(),
    times = new Map<string, number[]>(),
    hosts = new Map<string, number[]>();

  for (const process of processes) {
    const entry: Entry = entries[process.name] = {};
    const answer = w.kind === "start"
      ? await starts(process)
      : w.memory
      ? await peak(w, process, limit)
      : await process.ask({ ask: "prepare", work: w }, 6 * limit);
    if (answer.error !== undefined) entry.note = answer.error;
    if (answer.firstMs !== undefined) entry.firstMs = digits(answer.firstMs);
    if (answer.bytes !== undefined) entry.bytes = answer.bytes, entry.by = answer.by!;
    if (answer.probes !== undefined) probes.set(process.name, answer.probes);
  }
  compare(w, probes, entries);

  const taking = processes.filter(({ name }) => !w.memory && probes.has(name));
  for (const process of taking) {
    repeats.set(process.name, 1), times.set(process.name, []), hosts.set(process.name, []);
    if (w.kind === "start") continue;
    let last: Answer = {};
    const start = performance.now();
    for (let i = 0; i < WARM_UP && performance.now() - start < WARM_UP_LIMIT; i++) {
      last = await process.ask({ ask: "time", repeat: 1 }, 2 * limit);
      if (last.error !== undefined || last.ms! > limit) break;
    }
    if (last.error !== undefined) entries[process.name].note = last.error;
    else if (last.ms! > limit) {
      entries[process.name].note = `${digits(last.ms! / 1000)} s a step: beyond ${limit / 1000} s`;
    } else repeats.set(process.name, Math.max(1, Math.min(100, Math.round(BLOCK / last.ms!))));
  }

  const timed = taking.filter(({ name }) => entries[name].note === undefined);
  const start = performance.now();
  let round = 0;
  for (; timed.length > 0 && round < rounds && (round < 3 || performance.now() - start < BUDGET); round++) {
    for (const process of timed) {
      const repeat = repeats.get(process.name)!,
        spent = times.get(process.name)!.reduce((a, b) => a + b * repeat, 0);
      if (spent > PART) continue;
      const { ms = NaN, hostMs, error } = w.kind === "start"
        ? await starts(process)
        : await process.ask({ ask: "time", repeat }, 4 * limit + 10 * BLOCK);
      if (error !== undefined) entries[process.name].note = error;
      times.get(process.name)!.push(ms);
      if (hostMs !== undefined) hosts.get(process.name)!.push(hostMs);
    }
  }

  for (const { name } of timed) {
    const list = times.get(name)!, host = hosts.get(name)!;
    if (list.some(Number.isNaN)) continue;
    Object.assign(entries[name], {
      ms: digits(median(list)),
      least: digits(Math.min(...list)),
      most: digits(Math.max(...list)),
    });
    if (host.length > 0) entries[name].hostMs = digits(median(host));
  }
  const measured = timed.map(({ name }) => name).filter((name) => entries[name].ms !== undefined);
  const ratios = Object.fromEntries(
    settings.ours.filter((name) => measured.includes(name)).map((mine) => [
      mine,
      Object.fromEntries(
        measured.filter((name) => !settings.ours.includes(name)).map((name) => [
          name,
          ratio(times.get(mine)!, times.get(name)!),
        ]),
      ),
    ]),
  );
  const load: [number, number] = [digits(before), digits(loadavg()[0])];
  return { work: w.name, date: new Date().toISOString(), load, rounds: round, entries, ratios };
}

/** The most bytes that steps of a work hold, in a new process. */
async function peak(w: Work, { name, command }: Process, limit: number): Promise<Answer> {
  const process = new Process(name, command);
  try {
    return await process.ask({ ask: "peak", work: w }, 6 * limit);
  } finally {
    process.end();
  }
}
