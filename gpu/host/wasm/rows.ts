/** Rows of contiguous f32: softmax, log-sum-exp, cross-entropy, which need the largest of a row first. */
import { Rows } from "./row_function.ts";
import { add, get, i32, mul } from "./text.ts";
import { Vectorizer } from "./vector.ts";

const LOG = `(f32x4.extract_lane 0 ${get("low")})`;
/** m + ln s; where m is not finite, m itself. */
export const LOGSUM = `(select (f32.add ${get("m")} ${LOG}) ${get("m")} (f32.lt (f32.abs ${
  get("m")
}) (f32.const inf)))`;

/**
 * Text of a module with `softmax(x, y, n, rows)`, `logsumexp(x, y, n, rows)` and `crossEntropy(x, y, n, rows, labels)`,
 * whose labels must be checked before.
 */
export function rowsText(sources: ReadonlyMap<string, string>, fused: boolean): string {
  const vectors = new Vectorizer(sources, fused), made: string[] = [];
  const define = (
    name: string,
    more: readonly string[],
    body: (rows: Rows) => string,
    byRow: string[],
    byOne: string[],
  ): void => {
    const rows = new Rows(vectors);
    made.push(rows.function(name, more, body(rows), byRow, byOne));
  };

  define("softmax", [], (r) => `${r.largest()} ${r.sum("y")} ${r.scale("y")}`, ["x", "y"], []);
  define(
    "logsumexp",
    [],
    (r) => `${r.largest()} ${r.sum(null)} ${r.log()} (f32.store ${get("y")} ${LOGSUM})`,
    ["x"],
    ["y"],
  );
  define(
    "crossEntropy",
    ["labels"],
    (r) => {
      const label = `(f32.load ${add(get("x"), mul(`(i32.load ${get("labels")})`, i32(4)))})`;
      return `${r.largest()} ${r.sum(null)} ${r.log()}
(f32.store ${get("y")} (f32.add ${LOG} (f32.sub ${get("m")} ${label})))`;
    },
    ["x"],
    ["y", "labels"],
  );
  return made.join("\n");
}
