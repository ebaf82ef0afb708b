/** The state of random numbers: a seed and a count of the random ops made since. */
import { ambient, type Device, withAmbient } from "./ambient.ts";
import { randomKey } from "./definitions/structural.ts";
import { currentTrace, makeLeaf, type Trace, wrap } from "./node.ts";
import type { Tensor } from "./tensor.ts";

/** Seed and count; all that random numbers depend on. */
export interface RngState {
  /** The seed. */
  seed: number;
  /** Random ops made since. */
  count: number;
}

const global: RngState = { seed: (Math.random() * 2 ** 32) >>> 0, count: 0 };

function state(): RngState {
  return ambient().rng ?? global;
}

/** Starts the random numbers over from `seed`. */
export function manualSeed(seed: number): void {
  if (!Number.isSafeInteger(seed)) throw new RangeError(`Cannot seed with ${seed}: a seed is a whole number`);
  const s = state();
  s.seed = seed >>> 0;
  s.count = 0;
}

/** Runs `f` with random numbers of its own, started from `seed`; those outside do not advance. */
export function withSeed<T>(seed: number, f: () => T): T {
  return withAmbient({ rng: { seed: seed >>> 0, count: 0 } }, f);
}

/** A copy of the state, to be stored with a checkpoint. */
export function rngState(): RngState {
  return { ...state() };
}

/** Goes on from a stored state. */
export function setRngState(saved: RngState): void {
  Object.assign(state(), saved);
}

/** The next key's words. */
export function nextKeyWords(): [number, number] {
  const s = state();
  return [s.seed, s.count++ >>> 0];
}

/** A fresh key `[2]`, made different for each iteration or element by the traces around it. */
export function nextKey(device: Device): Tensor {
  let key = wrap(makeLeaf(randomKey, { value: nextKeyWords() }, { shape: [2], dtype: "u32" }, device));
  const traces: Trace[] = [];
  for (let t = currentTrace(); t !== null; t = t.outer) traces.unshift(t);
  for (const t of traces) {
    if (t.kind === "vmap" && t.randomness === "error") {
      throw new Error(
        `Cannot draw random numbers inside vmap without saying how: pass { randomness: "different" } for numbers of ` +
          `their own for each element, or { randomness: "same" }`,
      );
    }
    if (t.foldKey !== null) key = t.foldKey(key);
  }
  return key;
}
