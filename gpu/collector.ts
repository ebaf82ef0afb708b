/** Garbage collection when tensors ask for it: the engine of JavaScript sees neither device memory nor shared memory. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

let collect: (() => void) | null | undefined;

/** Collects garbage now; without the permission or the flag it does nothing. */
function collectGarbage(): void {
  if (collect === undefined) {
    try {
      setFlagsFromString("--expose-gc");
      collect = runInNewContext("gc") as () => void;
    } catch {
      collect = null;
    }
  }
  collect?.();
}

/** Bytes beyond which a collection is worth its milliseconds. */
const BUDGET = 256 * 2 ** 20;

/** Watches the bytes that tensors hold, and has those of unreachable ones given back when they grow. */
export class Collector {
  #limit = BUDGET;
  #asked = false;

  constructor(readonly live: () => number) {}

  /** Called after each run. Buffers return in a later macrotask: nothing can be freed inside one. */
  check(): void {
    if (this.#asked || this.live() <= this.#limit) return;
    this.#asked = true;
    setImmediate(() => {
      collectGarbage();
      setImmediate(() => {
        this.#asked = false;
        this.#limit = Math.max(BUDGET, 1.5 * this.live());
      });
    });
  }
}
