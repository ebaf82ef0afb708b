/** What repeats in a sequence: the stretches that a drawing joins into one. */

/** `times` stretches of `period` items from `at` on, all alike; one item where nothing repeats. */
export interface Repeat {
  readonly at: number;
  readonly period: number;
  readonly times: number;
}

/** Longest stretch that is looked for, and what must repeat so that joining says more than it hides. */
const LONGEST = 256, HEAVY = 4;

/**
 * Splits a sequence of numbers, where equal ones stand for equal things, into repeats: at each place the one that covers
 * most, with the shortest period. `weights` say how much is in each thing: what is light counts from `often` times on. Time is that of the length times the longest period.
 */
export function findRepeats(
  sequence: readonly number[],
  weights: readonly number[],
  often: number,
): Repeat[] {
  const n = sequence.length;
  const covered = new Int32Array(n).fill(1), periods = new Int32Array(n).fill(1);
  const heavy = [0];
  for (const weight of weights) heavy.push(heavy[heavy.length - 1] + weight);
  for (let period = 1; period <= Math.min(LONGEST, n >> 1); period++) {
    let run = 0; // how far on from i the sequence equals itself one period later
    for (let i = n - period - 1; i >= 0; i--) {
      run = sequence[i] === sequence[i + period] ? run + 1 : 0;
      if (run < period) continue;
      const times = Math.floor(run / period) + 1;
      if (times < often && heavy[i + period] - heavy[i] < HEAVY) continue;
      if (times * period > covered[i]) {
        covered[i] = times * period;
        periods[i] = period;
      }
    }
  }
  const found: Repeat[] = [];
  for (let at = 0; at < n; at += covered[at]) {
    found.push({ at, period: periods[at], times: covered[at] / periods[at] });
  }
  return found;
}
