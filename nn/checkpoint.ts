/** Checkpoints: everything a run depends on in one safetensors file, so that it goes on as if never stopped. */
import type { Device } from "../ops/ambient.ts";
import { rngState, setRngState } from "../ops/rng.ts";
import { flush, sync, throwTakenBack } from "../ops/runs.ts";
import { Tensor } from "../ops/tensor.ts";
import type { Tree } from "../ops/transforms/tree.ts";
import { readSafetensors, writeSafetensors } from "./safetensors.ts";

/** What knows how to store itself: modules, optimisers, loaders, schedulers. */
export interface Stateful {
  /** All state: tensors and plain values, nested. */
  // deno-lint-ignore no-explicit-any
  stateDict(): any;
  /** Goes on from what `stateDict` gave. */
  // deno-lint-ignore no-explicit-any
  loadStateDict(state: any): unknown;
}

/** Things with a state, tensors, and plain values, by name. */
export type CheckpointParts = Record<string, Stateful | Tree>;

const KEY = "cotangent.checkpoint";

function isStateful(x: unknown): x is Stateful {
  return typeof (x as Stateful | null)?.stateDict === "function" &&
    typeof (x as Stateful).loadStateDict === "function";
}

/** JSON with tensors taken out: each is replaced by its name in the file. */
function pack(value: Tree, path: string, tensors: Record<string, Tensor>): unknown {
  if (value instanceof Tensor) {
    tensors[path] = value.detach();
    return { $tensor: path };
  }
  if (isStateful(value)) return pack(value.stateDict(), path, tensors);
  if (typeof value === "number" && !Number.isFinite(value)) return { $number: String(value) };
  if (Array.isArray(value)) return value.map((v, i) => pack(v, `${path}.${i}`, tensors));
  if (typeof value === "object" && value !== null) {
    const prototype = Object.getPrototypeOf(value);
    if (prototype !== Object.prototype && prototype !== null) {
      throw new TypeError(
        `Cannot save ${path}, a ${value.constructor?.name}: give tensors, plain values, or objects with stateDict and loadStateDict`,
      );
    }
    return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, pack(v, `${path}.${k}`, tensors)]));
  }
  if (typeof value === "function" || typeof value === "bigint" || typeof value === "symbol") {
    throw new TypeError(`Cannot save ${path}: a ${typeof value} has no place in a file`);
  }
  return value;
}

function unpack(value: Tree, tensors: Record<string, Tensor>): Tree {
  if (Array.isArray(value)) return value.map((v) => unpack(v, tensors));
  if (typeof value !== "object" || value === null) return value;
  if (typeof value.$number === "string") return Number(value.$number);
  if (typeof value.$tensor === "string") {
    if (!Object.hasOwn(tensors, value.$tensor)) {
      throw new RangeError(
        `Cannot load a checkpoint: it mentions a tensor ${value.$tensor} that it does not hold`,
      );
    }
    return tensors[value.$tensor];
  }
  return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, unpack(v, tensors)]));
}

/**
 * Stores the parts - model, optimizer, loader, scheduler, step ... - and the state of the random numbers. All are
 * taken as they are at the call: training may go on while the file is written.
 *
 * ```ts ignore
 * await saveCheckpoint("run.safetensors", { model, optimizer, loader, step });
 * const { step } = await loadCheckpoint("run.safetensors", { model, optimizer, loader });
 * ```
 */
export async function saveCheckpoint(path: string | URL, parts: CheckpointParts): Promise<void> {
  const tensors: Record<string, Tensor> = {};
  const tree = Object.fromEntries(Object.entries(parts).map(([name, v]) => [name, pack(v, name, tensors)]));
  const text = JSON.stringify({ version: 1, rng: rngState(), parts: tree });
  await writeSafetensors(path, tensors, { [KEY]: text });
}

// deno-lint-ignore no-explicit-any
function parseStored(text: string): any {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new RangeError(`Cannot load a checkpoint: its text is damaged (${(error as Error).message})`);
  }
}

/**
 * Restores the given parts and the random numbers from a file of {@linkcode saveCheckpoint}, and returns the values
 * that were stored beside them. A part that is given and not stored is an error; `rng: false` leaves the random
 * numbers alone. Where anything fails, every part has the state that it had before.
 */
export async function loadCheckpoint(
  path: string | URL,
  parts: Record<string, Stateful> = {},
  options: { rng?: boolean; device?: Device } = {},
): Promise<Record<string, Tree>> {
  const { rng = true, ...rest } = options;
  const { tensors, metadata } = await readSafetensors(path, rest);
  if (!Object.hasOwn(metadata, KEY)) {
    throw new RangeError(
      `Cannot load a checkpoint from ${path}: it is a safetensors file without one; see readSafetensors`,
    );
  }
  const stored = parseStored(metadata[KEY]);
  if (stored?.version !== 1) {
    throw new RangeError(`Cannot load a checkpoint of version ${stored?.version}: this is version 1`);
  }
  if (typeof stored.parts !== "object" || stored.parts === null) {
    throw new RangeError(`Cannot load a checkpoint from ${path}: it holds no parts`);
  }
  const tree: Record<string, Tree> = unpack(stored.parts, tensors);
  for (const name of Object.keys(parts)) {
    if (!Object.hasOwn(tree, name)) {
      throw new RangeError(`Cannot load ${name} from ${path}: it holds ${Object.keys(tree).join(", ")}`);
    }
  }
  try {
    flush();
    throwTakenBack();
  } catch {
    // What waited may hang on values that were lost, which is why somebody loads a checkpoint: its readers are told.
  }
  // Uploads to a device can fail later: before anything changes, it is known that none did.
  await sync();
  for (const { node: { value } } of Object.values(tensors)) {
    if (value !== null && value.error !== null) throw value.error;
  }
  const before = rngState(), undo: (() => unknown)[] = [];
  try {
    for (const [name, part] of Object.entries(parts)) {
      const state = part.stateDict();
      undo.push(() => part.loadStateDict(state));
      part.loadStateDict(tree[name]);
    }
    if (rng) setRngState(stored.rng);
  } catch (error) {
    for (const back of undo.reverse()) {
      try {
        back();
      } catch {
        // What was lost with a device before stays lost.
      }
    }
    setRngState(before);
    throw error;
  }
  return Object.fromEntries(Object.entries(tree).filter(([name]) => !Object.hasOwn(parts, name)));
}
