/** The issue's bounds against what was measured. */
import type { Row } from "./measure.ts";
import type { Target, Work } from "./works.ts";

export interface Verdict {
  readonly work: string;
  readonly what: string;
  /** By medians. */
  readonly value: number;
  /** By the fastest rounds, which say more on a machine that does other things meanwhile. */
  readonly least: number;
  readonly atMost: number;
  readonly met: boolean;
}

const units = {
  ms: "ms",
  firstMs: "ms of the first call",
  hostMs: "ms of host time",
  bytes: "bytes",
} as const;

/** The value that a target bounds, or null where something that it needs was not measured. */
function valueOf(
  { ours, measure, against }: Target,
  row: Row,
  rows: ReadonlyMap<string, Row>,
  by: "median" | "least",
): number | null {
  const key = measure === "ms" && by === "least" ? "least" : measure, own = row.entries[ours]?.[key];
  if (own === undefined) return null;
  if (against === null) return own;
  if (typeof against === "string") {
    const other = rows.get(against)?.entries[ours]?.[key];
    return other === undefined ? null : own / other;
  }
  const ratios = against.flatMap((name) => {
    const theirs = row.entries[name]?.[key];
    if (theirs === undefined) return [];
    return [key === "ms" ? row.ratios[ours][name] : own / theirs];
  });
  return ratios.length === 0 ? null : Math.max(...ratios);
}

function describe({ ours, measure, against }: Target): string {
  if (against === null) return `${ours}: ${units[measure]}`;
  const others = typeof against === "string" ? against : against.join(" or ");
  return `${ours} / ${others}${measure === "ms" ? "" : `, ${units[measure]}`}`;
}

/** A verdict for each target of these works that can be judged. */
export function judge(works: readonly Work[], rows: ReadonlyMap<string, Row>): Verdict[] {
  return works.flatMap((w) => {
    const row = rows.get(w.name);
    if (row === undefined) return [];
    return w.targets.flatMap((target) => {
      const value = valueOf(target, row, rows, "median"), least = valueOf(target, row, rows, "least");
      if (value === null || least === null) return [];
      const [atMost, ...found] = [target.atMost, value, least].map((x) => Number(x.toPrecision(3)));
      return [{
        work: w.name,
        what: describe(target),
        value: found[0],
        least: found[1],
        atMost,
        met: value <= target.atMost,
      }];
    });
  });
}
