/** When values are computed: pending roots, flushing them as one run, reads, and what a run leaves behind. */
import type { Device } from "./ambient.ts";
import { bytesOf } from "./cost.ts";
import type { DType, TypedArray } from "./dtype.ts";
import type { RunGraph } from "./lower.ts";
import { BY_BACKWARD, Node, type Replacement, setSoftRootListener, type Storage } from "./node.ts";
import type { Recorder } from "./profile.ts";
import type { RunPlan } from "./report.ts";
import { sizeOf } from "./shape.ts";

/** What computes: the seam that `gpu/` fills. Without it the reference interpreter computes on the host. */
export interface Engine {
  readonly device: Device;
  /** Bits on the device, copied from `data`. */
  upload(data: TypedArray, dtype: DType): Storage;
  /** Realises all roots: sets `value` of each. May throw, or fail later and set `value.error`. */
  run(roots: Node[]): void;
  /**
   * Makes a run ready that is repeated with other values in the graph's inputs and other random keys, all else being as
   * it is: what it returns does as `run` would, or returns false where it cannot now. The graph is kept.
   */
  compile?(graph: RunGraph): () => boolean;
  /** What a run would be, for pictures: nothing is computed or kept. */
  describe?(graph: RunGraph): RunPlan;
  /** Gives memory of a value that was replaced back for later runs; nothing else can see it. */
  release?(storage: Storage): void;
  /** Copies values to the host; many reads at once share the wait. */
  read(values: { storage: Storage; dtype: DType; size: number }[]): Promise<TypedArray[]>;
  /** The bits, if they can be seen without waiting. */
  peek(storage: Storage, dtype: DType, size: number): TypedArray | null;
  /** Waits until the device has done everything. */
  sync(): Promise<void>;
  /** Gives memory back at once; later use of the storage is an error. */
  free(storage: Storage): void;
  /** Bytes in use. */
  memory(): MemoryReport;
  /** Throws an `OutOfMemoryError` where so many elements more do not fit; `action` is what they are for. */
  admit?(elements: number, dtype: DType, action: string): void;
  /** What a run of these roots takes, without running it. */
  planned?(roots: readonly Node[]): MemoryNeed;
  /** Tells `recorder` of every run and kernel from now on; null ends that, and waits until all times are told. */
  record?(recorder: Recorder | null): Promise<void>;
  /** The peak counts from now on. */
  resetPeak?(): void;
  /** Most bytes that may be in use; Infinity for what the machine gives. */
  setBudget?(bytes: number): void;
}

/** Bytes that a run takes beyond what is live before it. */
export interface MemoryNeed {
  /** For its results. */
  readonly results: number;
  /** For its intermediates, at most at once. */
  readonly arena: number;
}

/** Bytes on a device. */
export interface MemoryReport {
  /** Held by tensors. */
  readonly live: number;
  /** Free, kept for reuse. */
  readonly pooled: number;
  /** Held for intermediates of runs, which share it. */
  readonly arena: number;
  /** Most that tensors and the intermediates of a run needed at once, since the start or `resetPeakMemoryStats`. */
  readonly peak: number;
  /** Most that may be in use: what `setMemoryBudget` said, or Infinity. */
  readonly budget: number;
}

const active = new Map<Device, Engine>();

/** What computes, on all devices. */
export function engines(): readonly Engine[] {
  return [...active.values()];
}

/** Makes `engine` compute on its device from now on. */
export function setEngine(engine: Engine): void {
  active.set(engine.device, engine);
}

/** The engine of a device, or an error that says why there is none. */
export function engineOf(device: Device): Engine {
  const engine = active.get(device);
  if (engine === undefined) {
    if (device !== "host" && device !== "webgpu") {
      throw new TypeError(`Cannot use device ${device}: devices are host and webgpu`);
    }
    throw new Error(
      device === "webgpu"
        ? `No WebGPU device is ready: import @cotangent/cotangent with a GPU adapter at hand, or compute on the host ` +
          `with setDefaultDevice("host")`
        : `Internal: no host engine`,
    );
  }
  return engine;
}

/** Whether a device can compute. */
export function hasEngine(device: Device): boolean {
  return active.has(device);
}

const NONE: readonly Node[] = [];
const pending = new Set<Node>();
let pendingBytes = 0;
const PENDING_BYTES = 2 ** 27;
// Strong references, cleared at each flush: a WeakRef would keep its target until the current job ends, and a
// synchronous training loop is one job.
const soft = new Set<Node>();
let scheduled = false;

const SOFT_NODES = 256;
setSoftRootListener((node) => {
  // A newer total includes the older one.
  for (const x of node.inputs) soft.delete(x);
  soft.add(node);
  if (soft.size > SOFT_NODES) soft.delete(soft.values().next().value!);
});

/** Whether the next run computes a value, and keeps it, anyway. */
export function isWanted(node: Node): boolean {
  return pending.has(node);
}

/** Asks for a value to be computed in the next run. */
export function registerRoot(node: Node): void {
  if (node.value !== null || pending.has(node)) return;
  // What cannot be computed must not make the run of everything else fail.
  const inputs = node.origin === null ? node.inputs : NONE;
  for (let i = 0; i < inputs.length; i++) {
    const { value } = inputs[i];
    if (value !== null && value.error !== null) return poison(node, value.error);
  }
  pending.add(node);
  pendingBytes += bytesOf(node);
  // A loop that never yields does not heap up wishes: they are granted, and what nobody holds any more is freed.
  if (pendingBytes > PENDING_BYTES) flushQuietly();
  if (!scheduled) {
    scheduled = true;
    setImmediate(() => {
      scheduled = false;
      flushQuietly();
    });
  }
}

/** Computes all pending roots; what fails is told to whoever reads it, or else to the next assignment. */
export function flushQuietly(): void {
  const failure = computeAll([]);
  if (failure !== null && failure.isTakenBack) noteTakenBack(failure.error);
}

let unseen: unknown = null;

/** Remembers the error of a run whose assignments were taken back, until somebody gets it. */
export function noteTakenBack(error: unknown): void {
  unseen ??= error;
}

/** Throws the error of an assignment that was taken back and that nobody has got yet. */
export function throwTakenBack(): void {
  if (unseen === null) return;
  const error = unseen;
  unseen = null;
  throw error;
}

/** The error of a value, for a reader. */
function seen(error: Error): Error {
  if (error === unseen) unseen = null;
  return error;
}

/** A graph of numbers only, at most this large, rides along with any run. */
const SOFT_LIMIT = 4096;

/** Whether all that `node` still needs are scalars, so that computing it costs next to nothing. */
function isCheap(node: Node, running: Set<Node>): boolean {
  const seen = new Set<Node>([node]), stack = [node];
  while (stack.length > 0) {
    const n = stack.pop()!;
    if (n.origin !== null) return false;
    for (const x of n.inputs) {
      if (x.value !== null || running.has(x) || seen.has(x)) continue;
      if (
        x.shape.length > 0 || x.op.name === "placeholder" || x.op.family === "tuple" || seen.size > SOFT_LIMIT
      ) return false;
      seen.add(x);
      stack.push(x);
    }
  }
  return true;
}

/** Roots that ride along: scalars with a long unrealised past, like a running total of losses. */
function softRoots(running: Set<Node>): void {
  for (const node of soft) {
    if (node.value === null && !running.has(node) && isCheap(node, running)) running.add(node);
  }
  soft.clear();
}

/** Computes all pending roots, and `extra`, as one run on each device. */
export function flush(extra: readonly Node[] = []): void {
  const failure = computeAll(extra);
  if (failure !== null) throw failure.error;
}

/** The same; gives the first error, and whether assignments were taken back. */
function computeAll(extra: readonly Node[]): { error: unknown; isTakenBack: boolean } | null {
  const roots = new Set<Node>();
  for (const node of pending) if (node.value === null) roots.add(node);
  for (const node of extra) if (node.value === null) roots.add(node);
  pending.clear();
  pendingBytes = 0;
  if (roots.size === 0) return null;
  softRoots(roots);
  const byDevice = new Map<Device, Node[]>();
  let failure: unknown = null, isTakenBack = false;
  for (const node of roots) {
    if (node.origin !== null && node.value === null) node.origin.compute();
    if (node.value !== null) {
      failure ??= node.value.error;
      continue;
    }
    const list = byDevice.get(node.device);
    if (list === undefined) byDevice.set(node.device, [node]);
    else list.push(node);
  }
  const run = (device: Device, list: Node[]): void => {
    try {
      engineOf(device).run(list);
    } catch (error) {
      failure ??= error;
      const sound = computable(list), isMixed = sound.size > 0 && sound.size < list.length;
      for (const node of list) {
        if (isMixed && sound.has(node)) continue;
        if (node.value === null) poison(node, error);
        isTakenBack = takeBack(node) || isTakenBack;
      }
      if (isMixed) run(device, [...sound]);
    }
  };
  for (const [device, list] of byDevice) {
    run(device, list);
    for (const node of list) settle(node);
    // A loss that is computed in one run with the step that it led to.
    if (list.some(({ cell, track }) => cell !== null && track !== 0)) dropStaleGraphs();
  }
  return failure === null ? null : { error: failure, isTakenBack };
}

/** Those that stand on no placeholder and on no value that could not be had. */
function computable(list: readonly Node[]): Set<Node> {
  const known = new Map<Node, boolean>();
  const stack = [...list];
  while (stack.length > 0) {
    const node = stack[stack.length - 1];
    if (known.has(node)) {
      stack.pop();
    } else if (node.value !== null || node.op.name === "placeholder") {
      known.set(node, node.value?.error === null);
    } else {
      const open = node.origin === null ? node.inputs.find((x) => !known.has(x)) : undefined;
      if (open !== undefined) stack.push(open);
      else known.set(node, node.origin !== null || node.inputs.every((x) => known.get(x)));
    }
  }
  return new Set(list.filter((node) => known.get(node)));
}

/** Puts the node before a failed assignment behind its handle again. */
function takeBack(node: Node): boolean {
  const { cell, replaces, value } = node;
  if (cell?.node !== node || replaces === null || value === null || value.error === null) return false;
  cell.node = replaces;
  return true;
}

/** Marks a node's value as impossible to get. */
export function poison(node: Node, error: unknown): void {
  node.value = { device: node.device, error: error instanceof Error ? error : new Error(String(error)) };
}

/** Values with a graph since the last step: those before `firstHeld` are only watched, the others are held, and so small. */
let graphs: (Node | WeakRef<Node>)[] = [];
let firstHeld = 0, heldBytes = 0;
const HELD = 256, HELD_BYTES = 2 ** 22;
let mostGraphs = 4 * HELD;

/** Keeps an eye on a value with a graph; the oldest, where no step comes, and large ones are left to the collector. */
function watch(node: Node): void {
  graphs.push(node);
  heldBytes += bytesOf(node);
  while (graphs.length - firstHeld > HELD || heldBytes > HELD_BYTES) {
    const oldest = graphs[firstHeld] as Node;
    heldBytes -= bytesOf(oldest);
    graphs[firstHeld++] = new WeakRef(oldest);
  }
  if (graphs.length > mostGraphs) {
    setGraphs(graphs.filter((g) => g instanceof Node || g.deref() !== undefined));
    // A loop that never yields keeps them all: looking through them must not take longer each time.
    mostGraphs = Math.max(4 * HELD, 2 * graphs.length);
  }
}

function setGraphs(list: typeof graphs): void {
  graphs = list;
  const held = list.filter((g) => g instanceof Node);
  firstHeld = list.length - held.length;
  heldBytes = held.reduce((n, g) => n + bytesOf(g), 0);
}

/** After realisation: a value that nobody can differentiate lets go of its graph. */
export function settle(node: Node): void {
  node.replaces = null;
  if (node.op.family === "leaf") return;
  if (node.track === 0 || node.cell !== null) {
    node.inputs = NONE;
  } else if ((node.track & BY_BACKWARD) !== 0) {
    watch(node);
  }
}

/** Whether a leaf is a version of a parameter which has been replaced. */
function isReplaced(node: Node): boolean {
  // A hole of jit stands for whatever its handle holds.
  return node.cell !== null && node.cell.node !== node && node.op.name !== "placeholder";
}

/** What replaced a parameter that a node is a version of, or used; null: nothing did. */
export function replacementOf(node: Node): Replacement | null {
  if (node.stale !== null || !isReplaced(node)) return node.stale;
  const { replacedBy, name } = node.cell!;
  return { by: replacedBy ?? "an assignment", parameter: name };
}

/** Lets realised values drop graphs that lead to replaced parameters; they keep their values. */
export function dropStaleGraphs(): void {
  if (graphs.length === 0) return;
  const known = new Map<Node, Replacement | null>();
  const keep: (Node | WeakRef<Node>)[] = [];
  for (const ref of graphs) {
    const root = ref instanceof Node ? ref : ref.deref();
    if (root === undefined || (root.origin === null && root.inputs.length === 0)) continue;
    const stale = replacementBehind(root, known);
    if (stale !== null) {
      root.stale = stale;
      root.inputs = NONE;
    } else keep.push(ref);
  }
  setGraphs(keep);
}

function replacementBehind(root: Node, known: Map<Node, Replacement | null>): Replacement | null {
  const stack = [root];
  while (stack.length > 0) {
    const node = stack[stack.length - 1];
    if (known.has(node)) {
      stack.pop();
      continue;
    }
    let open = false, found = replacementOf(node);
    if (found !== null) {
      known.set(node, found);
      continue;
    }
    for (const x of node.origin?.dependencies(node) ?? node.inputs) {
      if ((x.track & BY_BACKWARD) === 0) continue;
      const k = known.get(x);
      if (k === undefined) {
        stack.push(x);
        open = true;
      } else found ??= k;
    }
    if (open && found === null) continue;
    known.set(node, found);
  }
  return known.get(root)!;
}

const YIELD_MS = 16;
let yielded = performance.now();

/**
 * Lets the rest of the program run (timers, finalizers, a notebook's Stop) if it has not for 16 ms, or in any case: a
 * loop that only awaits values which are there never leaves the microtask queue by itself. Null: no need to wait.
 */
export function breathe(always = false): Promise<void> | null {
  if (!always && performance.now() - yielded < YIELD_MS) return null;
  return new Promise((resolve) =>
    setImmediate(() => {
      yielded = performance.now();
      resolve();
    })
  );
}

let interruption: () => Error | null = () => null;

/** Sets what is asked before and after each read and before each step of an optimiser: the error that ends it, or null. */
export function setInterruption(ask: () => Error | null): void {
  interruption = ask;
}

/** Throws if the program was interrupted; the places that call it leave all state whole. */
export function checkInterruption(): void {
  const error = interruption();
  if (error !== null) throw error;
}

/** Bits on a device without their graph: what an engine reads. */
export interface Held {
  readonly storage: Storage;
  readonly dtype: DType;
  readonly size: number;
}

/** The value of a node that has one, or its error. */
export function heldBy(node: Node): Held {
  node.isExclusive = false; // a step meanwhile must not take what is being read
  return { storage: node.value!, dtype: node.dtype, size: sizeOf(node.shape) };
}

/** Values of several nodes on the host; computes what is missing, and waits once. */
export async function readNodes(nodes: readonly Node[]): Promise<TypedArray[]> {
  checkInterruption();
  flush(nodes);
  return await readHeld(nodes.map(heldBy));
}

/** Copies values to the host, and waits once. */
export async function readHeld(values: readonly Held[]): Promise<TypedArray[]> {
  for (const { storage } of values) if (storage.error !== null) throw seen(storage.error);
  const out = await copied(values);
  const pause = breathe();
  if (pause !== null) await pause;
  checkInterruption();
  for (const { storage } of values) if (storage.error !== null) throw seen(storage.error);
  return out;
}

/** The same for an onlooker: in place of a value that cannot be had comes its error, which whoever is in charge still gets. */
export async function readQuietly(values: readonly Held[]): Promise<(TypedArray | Error)[]> {
  const out: (TypedArray | Error)[] = values.map(() => new Error("Internal: a value that was not read"));
  let left = values.map((_, i) => i);
  while (left.length > 0) {
    const sound = left.filter((i) => values[i].storage.error === null);
    for (const i of left) out[i] = values[i].storage.error ?? out[i];
    try {
      const arrays = await copied(sound.map((i) => values[i]));
      sound.forEach((i, k) => out[i] = values[i].storage.error ?? arrays[k]);
      break;
    } catch (error) {
      // One that failed takes the others along, which are read again without it.
      left = sound.some((i) => values[i].storage.error !== null) ? sound : [];
      for (const i of sound) out[i] = error instanceof Error ? error : new Error(String(error));
    }
  }
  return out;
}

/** One read of each device. */
async function copied(values: readonly Held[]): Promise<TypedArray[]> {
  const out = new Array<TypedArray>(values.length), byDevice = new Map<Device, number[]>();
  values.forEach(({ storage: { device } }, i) => {
    const list = byDevice.get(device);
    if (list === undefined) byDevice.set(device, [i]);
    else list.push(i);
  });
  await Promise.all(
    [...byDevice].map(async ([device, list]) => {
      const arrays = await engineOf(device).read(list.map((i) => values[i]));
      list.forEach((i, k) => out[i] = arrays[k]);
    }),
  );
  return out;
}

/** Computes what is pending and waits until every device is done. */
export async function sync(): Promise<void> {
  checkInterruption();
  flush();
  for (const engine of active.values()) await engine.sync();
  const pause = breathe();
  if (pause !== null) await pause;
  checkInterruption();
}

/** The roots that the next run on a device would have, with `extra`. */
export function pendingRoots(device: Device, extra: readonly Node[]): Node[] {
  return [...new Set([...pending, ...extra])].filter((node) => node.device === device && node.value === null);
}
