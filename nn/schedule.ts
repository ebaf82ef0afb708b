/** Learning rates over time: functions from a step, counted from 0, to a rate. */

/** The rate at a step. */
export type Schedule = (step: number) => number;

/** The same rate always. */
export function constant(rate: number): Schedule {
  return () => rate;
}

/**
 * Half a cosine from `rate` down to `floor` (default 0) in `steps` steps, then flat: Loshchilov and Hutter (2017),
 * "SGDR", equation 5 without restarts.
 */
export function cosine(rate: number, steps: number, options: { floor?: number } = {}): Schedule {
  const { floor = 0 } = options;
  return (step) => floor + (rate - floor) * (1 + Math.cos(Math.PI * Math.min(1, step / steps))) / 2;
}

/**
 * A straight line up to the rate of `schedule` (or up to a rate) over the first `steps` steps. The schedule counts
 * its steps from the end of the warm-up.
 */
export function linearWarmup(schedule: Schedule | number, steps: number): Schedule {
  const then = typeof schedule === "number" ? constant(schedule) : schedule;
  return (step) => step < steps ? then(0) * (step + 1) / (steps + 1) : then(step - steps);
}

/** `rate`, times `factor` (default 0.1) after every `every` steps. */
export function stepDecay(rate: number, every: number, options: { factor?: number } = {}): Schedule {
  const { factor = 0.1 } = options;
  return (step) => rate * factor ** Math.floor(step / every);
}

/** A straight line from one rate to another in `steps` steps, then flat. */
export function linear(from: number, to: number, options: { steps: number }): Schedule {
  return (step) => from + (to - from) * Math.min(1, step / options.steps);
}

/** Schedules one after the other: each runs for its number of steps, counted from 0; the last goes on. */
export function sequence(parts: readonly (readonly [Schedule, number])[]): Schedule {
  if (parts.length === 0) throw new RangeError("Cannot make a sequence of no schedules");
  return (step) => {
    let at = step;
    for (const [schedule, steps] of parts.slice(0, -1)) {
      if (at < steps) return schedule(at);
      at -= steps;
    }
    return parts[parts.length - 1][0](at);
  };
}

/** Sets the rate of an optimiser by a schedule. */
export class LRScheduler {
  #at = 0;

  /** Sets the rate of the first step at once. */
  constructor(readonly optimizer: { lr: number }, readonly schedule: Schedule) {
    optimizer.lr = schedule(0);
  }

  /** Steps counted so far. */
  get count(): number {
    return this.#at;
  }

  /** The rate of the next step; call it after `optimizer.step()`. */
  step(): void {
    this.optimizer.lr = this.schedule(++this.#at);
  }

  /** What a checkpoint stores. */
  stateDict(): { step: number } {
    return { step: this.#at };
  }

  /** Goes on from a stored step. */
  loadStateDict(state: { step: number }): void {
    this.#at = state.step;
    this.optimizer.lr = this.schedule(this.#at);
  }
}
