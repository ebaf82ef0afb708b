/** Lets the event loop in now and then: finalizers, Stop and charts run only when the macrotask changes. */

const INTERVAL = 16;

/** Waits for the next macrotask if the last one began 16 ms ago; a call costs a clock reading otherwise. */
export class Breath {
  #last = performance.now();

  /** A promise to await, or null when there is no need. */
  next(): Promise<void> | null {
    return performance.now() - this.#last < INTERVAL ? null : this.now();
  }

  /** Crosses `setImmediate` in any case. */
  now(): Promise<void> {
    return new Promise((resolve) =>
      setImmediate(() => {
        this.#last = performance.now();
        resolve();
      })
    );
  }
}
