/** Dispatches that are done again for the backward pass, so that what they make need not wait for it. */
import { repeats } from "../rematerialise.ts";
import type { Binding, Draft, Value } from "./builder.ts";

/** What a dispatch costs besides its traffic, in bytes that could be read meanwhile; and operations for a byte. */
const LAUNCH = 1 << 20, OPERATIONS = 8;

/** Dispatches with those that are done again, the values that these make, and for each that was there its end among all. */
export function repeated(
  drafts: readonly Draft[],
  isKept: (value: Value) => boolean,
): { drafts: Draft[]; values: Value[]; ends: number[] } {
  const kept: Value[] = [], slots = new Map<Value, number>(), lost = new Set<Value>();
  for (const { bindings } of drafts) {
    for (const { value } of bindings) {
      if (value === null) continue;
      if (isKept(value) && !slots.has(value)) slots.set(value, kept.push(value) - 1);
      if (value.home !== null) lost.add(value.home);
    }
  }
  let total = 0;
  const doings = drafts.map(({ bindings, work, isRepeatable }, k) => {
    const cost = LAUNCH + work.bytes + work.flops / OPERATIONS;
    total += cost;
    const own = bindings.flatMap(({ value }) => value !== null && slots.has(value) ? [value] : []);
    const writes = own.filter((v) => v.from === k);
    // Who is written over, and faults, are there once.
    const isOnce = !isRepeatable || writes.length !== 1 || bindings.some(({ value: v }) =>
      v === null || lost.has(v) || (v.kind === "computed" && v.from === k && !isKept(v))
    );
    return {
      reads: own.filter((v) => v.from !== k).map((v) => slots.get(v)!),
      writes: writes.map((v) => slots.get(v)!),
      cost: isOnce ? Infinity : cost,
    };
  });
  const list = repeats(doings, total, (s) => kept[s].bytes);
  list.sort((a, b) => b.before - a.before || b.again - a.again);
  const out: Draft[] = [], values: Value[] = [], ends: number[] = [], now = new Map<Value, Value>();
  const renamed = (b: Binding): Binding =>
    b.value !== null && now.has(b.value) ? { ...b, value: now.get(b.value)! } : b;
  drafts.forEach((draft, k) => {
    while (list.at(-1)?.before === k) {
      const { again } = list.pop()!, { bindings } = drafts[again];
      const from = kept[doings[again].writes[0]], to = { ...from };
      values.push(to);
      out.push({
        ...drafts[again],
        bindings: bindings.map((b) => b.value === from ? { ...b, value: to } : renamed(b)),
      });
      now.set(from, to);
    }
    out.push({ ...draft, bindings: draft.bindings.map(renamed) });
    ends.push(out.length);
  });
  return { drafts: out, values, ends };
}
