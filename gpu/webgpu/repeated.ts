/** Dispatches that are done again for the backward pass, so that what they make need not wait for it. */
import { type Doing, type Part, type RepeatLimits, repeats } from "../rematerialise.ts";
import type { Binding, Draft, Value } from "./builder.ts";

/** What a dispatch costs besides its traffic, in bytes that could be read meanwhile; and operations for a byte. */
const LAUNCH = 1 << 20, OPERATIONS = 8;

/** Dispatches with those that are done again, and the values that these make. */
export interface Repeated {
  readonly drafts: Draft[];
  readonly values: readonly Value[];
  /** For each dispatch that was there, its end among all. */
  readonly ends: readonly number[];
}

/** Chooses what is done again: of values which are not kept anyway; `spares` make some again by themselves. */
export function repeated(
  drafts: readonly Draft[],
  isKept: (value: Value) => boolean,
  spares: ReadonlyMap<Value, Draft>,
  limits?: RepeatLimits,
): Repeated {
  const list: Value[] = [], slots = new Map<Value, number>(), lost = new Set<Value>();
  for (const { bindings } of drafts) {
    for (const { value } of bindings) {
      if (value === null) continue;
      const memory = value.home ?? value;
      if (!isKept(memory) && !slots.has(memory)) slots.set(memory, list.push(memory) - 1);
      if (value.home !== null) lost.add(value.home);
    }
  }
  const slotsOf = (values: readonly Value[]): number[] => values.flatMap((v) => slots.get(v.home ?? v) ?? []);
  // Faults are told once, and what is written over is there once.
  const isSound = ({ isRepeatable, bindings }: Draft): boolean =>
    isRepeatable && bindings.every(({ value }) => value !== null && !lost.has(value.home ?? value));
  let total = 0;
  const doings = drafts.map((draft, k): Doing => {
    const bound = draft.bindings.flatMap(({ value }) => value ?? []), cost = costOf(draft);
    total += cost;
    // What takes over another's memory counts as a use of that.
    const writes = bound.filter((v) => v.kind === "computed" && v.from === k && v.home?.kind !== "computed");
    const parts = new Map<number, Part>();
    for (const v of writes) {
      const spare = spares.get(v);
      if (spare === undefined || !isSound(spare)) continue;
      const reads = spare.bindings.flatMap(({ value }) => value === null || value === v ? [] : [value]);
      parts.set(slots.get(v)!, { reads: slotsOf(reads), cost: costOf(spare) });
    }
    return {
      reads: slotsOf(bound.filter((v) => !writes.includes(v))),
      writes: slotsOf(writes),
      cost: writes.length === 1 && isSound(draft) ? cost : Infinity,
      parts,
    };
  });
  const chosen = repeats(doings, total, (s) => list[s].bytes, limits);
  chosen.sort((a, b) => b.before - a.before || b.again - a.again);
  const out: Draft[] = [], values: Value[] = [], ends: number[] = [], now = new Map<Value, Value>();
  const renamed = (b: Binding): Binding =>
    b.value !== null && now.has(b.value) ? { ...b, value: now.get(b.value)! } : b;
  drafts.forEach((draft, k) => {
    while (chosen.at(-1)?.before === k) {
      const { again, slot } = chosen.pop()!, from = list[slot], to = { ...from };
      const own = doings[again].parts!.has(slot) ? spares.get(from)! : drafts[again];
      values.push(to);
      out.push({
        ...own,
        bindings: own.bindings.map((b) => b.value === from ? { ...b, value: to } : renamed(b)),
      });
      now.set(from, to);
    }
    out.push({ ...draft, bindings: draft.bindings.map(renamed) });
    ends.push(out.length);
  });
  return { drafts: out, values, ends };
}

function costOf({ work }: Draft): number {
  return LAUNCH + work.bytes + work.flops / OPERATIONS;
}
