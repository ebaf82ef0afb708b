/** Batches of data, in order or shuffled, for loops that can be stopped and resumed. */
import { breathe } from "../ops/runs.ts";
import type { Device } from "../ops/ambient.ts";
import { defaultDevice } from "../ops/create.ts";
import { threefry } from "../ops/definitions/random.ts";
import { nextKeyWords } from "../ops/rng.ts";
import type { Tree } from "../ops/transforms/tree.ts";
import { type Rows, rowsOf } from "./columns.ts";

/** Options of {@linkcode DataLoader}. */
export interface LoaderOptions {
  /** Examples in a batch; default 1. */
  batchSize?: number;
  /** A new order in every epoch; default false. */
  shuffle?: boolean;
  /** Leaves out a last batch that is not full; default false. */
  dropLast?: boolean;
  /** Of the order; default drawn from the library's random numbers. */
  seed?: number;
  /** Where batches of host data go; default the default device. */
  device?: Device;
}

/** Where a loader is: all that the rest of its batches depends on. */
export interface LoaderState {
  /** Of the order. */
  seed: number;
  /** Epochs ended. */
  epoch: number;
  /** Batches of this epoch that were handed out. */
  batch: number;
}

/** The order of an epoch: a pure function of seed and epoch, by Fisher and Yates. */
export function shuffledOrder(n: number, seed: number, epoch: number): Int32Array<ArrayBuffer> {
  const order = Int32Array.from({ length: n }, (_, i) => i);
  for (let i = n - 1; i > 0; i--) {
    const [high, low] = threefry(seed, epoch, i, 2);
    // 53 bits make the bias of the remainder immeasurable.
    const k = Math.floor((high * 2 ** 21 + (low >>> 11)) / 2 ** 53 * (i + 1));
    [order[i], order[k]] = [order[k], order[i]];
  }
  return order;
}

/**
 * Batches with the structure of the data: a tensor or typed array, an object or tuple of such columns (rows along
 * axis 0), or a list of examples, which are put together. Each loop is an epoch; the event loop gets its turn at
 * least every 16 ms. Host data go to the device a batch at a time.
 *
 * ```ts
 * import { DataLoader, randn, zeros } from "@cotangent/cotangent";
 * const loader = new DataLoader({ x: randn([100, 4]), y: zeros([100]) }, { batchSize: 32, shuffle: true });
 * for await (const { x, y } of loader) console.log(x.shape, y.shape); // [32, 4] [32], ... [4, 4] [4]
 * ```
 */
// deno-lint-ignore no-explicit-any
export class DataLoader<B extends Tree = any> implements AsyncIterable<B> {
  /** Examples in a batch. */
  readonly batchSize: number;
  /** Whether each epoch has an order of its own. */
  readonly shuffle: boolean;
  /** Whether a last batch that is not full is left out. */
  readonly dropLast: boolean;
  /** Number of examples. */
  readonly examples: number;
  readonly #rows: Rows;
  #state: LoaderState;
  /** A loop that was stopped goes on only after `loadStateDict`. */
  #resume = false;

  /** Loads `data` by rows. */
  constructor(data: Tree, options: LoaderOptions = {}) {
    const { batchSize = 1, shuffle = false, dropLast = false, seed, device = defaultDevice() } = options;
    if (!Number.isInteger(batchSize) || batchSize < 1) {
      throw new RangeError(`Cannot load batches of ${batchSize} examples: the size is a whole number from 1`);
    }
    if (seed !== undefined && !Number.isSafeInteger(seed)) {
      throw new RangeError(`Cannot shuffle with seed ${seed}: a seed is a whole number`);
    }
    this.batchSize = batchSize;
    this.shuffle = shuffle;
    this.dropLast = dropLast;
    this.#rows = rowsOf(data, device);
    this.examples = this.#rows.length;
    const own = seed ?? (shuffle ? threefry(...nextKeyWords(), 0, 3)[0] : 0);
    this.#state = { seed: own >>> 0, epoch: 0, batch: 0 };
  }

  /** Number of batches of an epoch. */
  get length(): number {
    const n = this.examples / this.batchSize;
    return this.dropLast ? Math.floor(n) : Math.ceil(n);
  }

  /** Epochs that were begun and ended. */
  get epoch(): number {
    return this.#state.epoch;
  }

  /** The batches of one epoch; after `loadStateDict`, the rest of the stored one. */
  async *[Symbol.asyncIterator](): AsyncGenerator<B, void, unknown> {
    // A loop that was broken off ends its epoch: the next one has an order of its own.
    if (!this.#resume && this.#state.batch > 0) {
      this.#state = { ...this.#state, epoch: this.#state.epoch + 1, batch: 0 };
    }
    this.#resume = false;
    const { seed, epoch } = this.#state, n = this.examples;
    const order = this.shuffle ? shuffledOrder(n, seed, epoch) : Int32Array.from({ length: n }, (_, i) => i);
    for (let i = this.#state.batch; i < this.length; i++) {
      const pause = breathe();
      if (pause !== null) await pause;
      const batch = await this.#rows.gather(order.slice(i * this.batchSize, (i + 1) * this.batchSize));
      this.#state = { seed, epoch, batch: i + 1 };
      yield batch;
      // The state was loaded anew while the loop had the batch: this epoch is over.
      if (this.#resume) return;
    }
    this.#state = { seed, epoch: epoch + 1, batch: 0 };
  }

  /** What a checkpoint stores; in a loop, the batch at hand counts as done. */
  stateDict(): LoaderState {
    return { ...this.#state };
  }

  /** Goes on from a stored state: the next loop begins behind the batches that were handed out. */
  loadStateDict(state: LoaderState): void {
    if (![state.seed, state.epoch, state.batch].every((n) => Number.isSafeInteger(n) && n >= 0)) {
      throw new RangeError(
        `Cannot load the state ${JSON.stringify(state)}: seed, epoch and batch are whole numbers`,
      );
    }
    const { seed, epoch, batch } = state;
    this.#state = { seed, epoch, batch };
    this.#resume = true;
  }
}
