/** The order of steps, on any engine: what lets memory go is done as soon as it can be. */
import { bytesOf } from "../ops/cost.ts";
import type { Lowered, Step } from "../ops/lower.ts";
import { fuse, type LoopLimits } from "./fusion.ts";

/** What takes memory: the steps that one kernel computes together. */
interface Unit {
  /** Its steps, in order. */
  readonly steps: readonly number[];
  /** Steps in memory that it reads, each once. */
  readonly reads: readonly number[];
  /** Its steps that stay in memory for others. */
  readonly writes: readonly number[];
  readonly mayFail: boolean;
  /** Whether it replaces an input. */
  readonly replaces: boolean;
}

/** Bytes. */
const LITTLE = 65536;

/**
 * The same steps in an order with short lifetimes. Kernels come as the steps do, but for those after which less is in
 * memory than before: they go first as soon as what they read is there. So the gradient of a weight is computed when its
 * cotangent appears, and the cotangent goes. Folds wait for others of the same values. Movements and leaves stand before
 * what first reads them.
 */
export function inShortOrder(lowered: Lowered, limits: LoopLimits): Lowered {
  const { steps } = lowered;
  // What is little in any order stays as it comes: a loop over scalars, step by step.
  if (steps.reduce((n, step) => n + bytesOf(step), 0) <= LITTLE) return lowered;
  const units = unitsOf(lowered, limits);
  const order: number[] = [], isPlaced = new Uint8Array(steps.length);
  const place = (i: number): void => {
    const stack = [i];
    while (stack.length > 0) {
      const top = stack[stack.length - 1];
      const missing = isPlaced[top] ? [] : steps[top].inputs.filter((x) => !isPlaced[x]);
      if (missing.length > 0) {
        for (let k = missing.length - 1; k >= 0; k--) stack.push(missing[k]);
        continue;
      }
      if (!isPlaced[top]) order.push(top);
      isPlaced[top] = 1;
      stack.pop();
    }
  };
  for (const unit of foldsTogether(steps, inTurn(steps, units, bytesInMemory(lowered)))) {
    unit.steps.forEach(place);
  }
  lowered.roots.forEach(place);
  const to = new Int32Array(steps.length);
  order.forEach((i, at) => to[i] = at);
  return {
    steps: order.map((i): Step => ({ ...steps[i], inputs: steps[i].inputs.map((x) => to[x]) })),
    roots: lowered.roots.map((r) => to[r]),
    replaced: lowered.replaced?.map((x) => x < 0 ? -1 : to[x]),
  };
}

/**
 * Bytes that each step holds while others wait for it. Inputs and roots hold theirs anyway, but for a root that replaces an
 * input: it takes its place if it comes when that is not read any more.
 */
function bytesInMemory({ steps, roots, replaced = [] }: Lowered): Float64Array {
  const bytes = Float64Array.from(steps, (step) => step.leaf === null ? bytesOf(step) : 0);
  for (const r of roots) bytes[behindViews(steps, r)] = 0;
  roots.forEach((r, k) => {
    const x = replaced[k] ?? -1;
    if (x >= 0) bytes[x] = bytes[r] = bytesOf(steps[r]);
  });
  return bytes;
}

/** Whether a step may fail, as where an index is out of range; what replaces inputs comes after, so that they can be kept. */
export function mayFail({ op }: Step): boolean {
  return op?.family === "custom";
}

/** The step whose memory a movement shows. */
function behindViews(steps: readonly Step[], i: number): number {
  while (steps[i].op?.family === "movement") i = steps[i].inputs[0];
  return i;
}

function unitsOf(lowered: Lowered, limits: LoopLimits): Unit[] {
  const { steps, roots, replaced = [] } = lowered, { heads, members } = fuse(lowered, limits);
  const isRead = new Uint8Array(steps.length), units: Unit[] = [];
  const heirs = new Set(roots.filter((_, k) => (replaced[k] ?? -1) >= 0)), replacedSteps = new Set(replaced);
  steps.forEach(({ op }, head) => {
    if (op === null || op.family === "movement" || (op.family === "elementwise" && heads[head] !== head)) {
      return;
    }
    const loop = members.get(head) ?? [], own = op.family === "elementwise" ? loop : [...loop, head];
    const inside = new Set(own), reads = new Set<number>();
    for (const m of own) {
      for (const x of steps[m].inputs) {
        const from = behindViews(steps, x);
        if (!inside.has(from) && (steps[from].leaf === null || replacedSteps.has(from))) reads.add(from);
      }
    }
    for (const x of reads) isRead[x] = 1;
    units.push({
      ...{ steps: own, reads: [...reads], writes: [], mayFail: mayFail(steps[head]) },
      replaces: own.some((i) => heirs.has(i)),
    });
  });
  return units.map((unit) => ({
    ...unit,
    writes: unit.steps.filter((i, k) => isRead[i] === 1 || heirs.has(i) || k === unit.steps.length - 1),
  }));
}

/** Most units that are considered together. */
const TOGETHER = 16;

/** The units, those first after which less memory is taken. */
function inTurn(steps: readonly Step[], units: readonly Unit[], bytes: Float64Array): Unit[] {
  const out: Unit[] = [], isDone = new Uint8Array(units.length);
  /** Per step: the units that read it, and how many of them are still to come. */
  const readers: number[][] = [], left = new Int32Array(bytes.length);
  const missing = Int32Array.from(units, (unit) => unit.reads.filter((x) => steps[x].leaf === null).length);
  let unsure = units.reduce((n, unit) => n + Number(unit.mayFail), 0);
  units.forEach(({ reads }, u) => {
    for (const x of reads) {
      (readers[x] ??= []).push(u);
      left[x]++;
    }
  });
  /** What goes first, and what would replace an input before all is done that may fail. */
  const eager: number[] = [];
  let waiting: number[] = [];
  const considerAll = (group: readonly number[]): void => {
    const seen = new Map<number, number>();
    let more = 0;
    for (const u of group) {
      if (missing[u] > 0 || (units[u].replaces && unsure > 0)) return;
      for (const y of units[u].writes) more += bytes[y];
      for (const x of units[u].reads) seen.set(x, (seen.get(x) ?? 0) + 1);
    }
    for (const [x, n] of seen) if (n === left[x]) more -= bytes[x];
    if (more <= 0 && seen.size > 0) eager.push(...group);
  };
  /** All that still have to read a step: together they let it go, though none does so alone. */
  const considerReaders = (x: number): void => {
    if (bytes[x] === 0 || left[x] === 0 || left[x] > TOGETHER) return;
    considerAll(readers[x].filter((u) => isDone[u] === 0));
  };
  const consider = (u: number): void => {
    if (missing[u] > 0 || isDone[u] === 1) return;
    if (units[u].replaces && unsure > 0) waiting.push(u);
    considerAll([u]);
    for (const x of units[u].reads) if (left[x] > 1) considerReaders(x);
  };
  const perform = (u: number): void => {
    if (isDone[u] === 1) return;
    isDone[u] = 1;
    out.push(units[u]);
    const { reads, writes, mayFail } = units[u];
    for (const x of reads) left[x]--;
    if (mayFail && --unsure === 0) {
      waiting.forEach(consider);
      waiting = [];
    }
    reads.forEach(considerReaders);
    for (const y of writes) {
      for (const r of readers[y] ?? []) {
        missing[r]--;
        consider(r);
      }
    }
  };
  let next = 0;
  for (let u = 0; u < units.length; u++) {
    // The first one that is not done has all that it reads: the steps were in order.
    perform(u);
    while (next < eager.length) perform(eager[next++]);
  }
  return out;
}

/**
 * The same units, in which a fold comes just before the next one that reads all it reads, where nothing needs it before: a
 * kernel may compute both, and nothing lives longer.
 */
function foldsTogether(steps: readonly Step[], units: readonly Unit[]): Unit[] {
  const isFold = ({ steps: own, replaces }: Unit): boolean =>
    !replaces && steps[own[own.length - 1]].op?.family === "reduction";
  /** Per step: the first unit that reads it, and the next fold that does. */
  const firstReader = new Map<number, number>(), nextFold = new Map<number, number>();
  /** Folds to come before a unit. */
  const before = new Map<number, number[]>();
  for (let u = units.length - 1; u >= 0; u--) {
    const { reads, writes } = units[u];
    if (isFold(units[u]) && reads.length > 0) {
      const next = nextFold.get(reads[0]), others = next === undefined ? [] : units[next].reads;
      const isFree = writes.every((y) => (firstReader.get(y) ?? Infinity) > next!);
      if (next !== undefined && isFree && reads.every((x) => others.includes(x))) {
        before.set(next, [u, ...before.get(next) ?? []]);
      }
      nextFold.set(reads[0], u);
    }
    for (const x of reads) firstReader.set(x, u);
  }
  const out: Unit[] = [], moved = new Set([...before.values()].flat());
  const push = (u: number): void => {
    for (const other of before.get(u) ?? []) push(other);
    out.push(units[u]);
  };
  units.forEach((_, u) => !moved.has(u) && push(u));
  return out;
}
