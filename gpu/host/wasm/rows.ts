/** Rows of contiguous f32: softmax, log-sum-exp, cross-entropy, which need the largest of a row first, and attention. */
import { Rows } from "./row_function.ts";
import { add, get, i32, mul, set, ZEROS } from "./text.ts";
import { Vectorizer } from "./vector.ts";

const LOG = `(f32x4.extract_lane 0 ${get("low")})`;
/** m + ln s; where m is not finite, m itself. */
const LOGSUM = `(select (f32.add ${get("m")} ${LOG}) ${get("m")} (f32.lt (f32.abs ${
  get("m")
}) (f32.const inf)))`;

/**
 * Text of a module with `softmax(x, y, n, rows)`, `logsumexp(x, y, n, rows)` and `crossEntropy(x, y, n, rows, labels)`,
 * whose labels must be checked before; and for attention, in place: `weights(x, y, n, rows)`, softmax whose log-sum-exp
 * goes to y (weights 0 and -infinity for a row of -infinity); `scoreGradients(z, dw, n, rows, lse, delta)`,
 * z = e^(z - lse) (dw - delta) with an lse and a delta a row; `keyGradients(...)`, with one a column, which leaves the
 * weights in z and the product in dw.
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
  define(
    "weights",
    [],
    (r) =>
      `${r.largest()}
(if (f32.eq ${get("m")} (f32.const -inf)) (then
  ${r.fill("x", ZEROS)} (f32.store ${get("y")} ${get("m")})
) (else
  ${r.sum("x")} ${r.log()} (f32.store ${get("y")} ${LOGSUM}) ${r.scale("x")}))`,
    ["x"],
    ["y"],
  );
  define(
    "scoreGradients",
    ["stats", "deltas"],
    (r) =>
      `${set("low", `(v128.load32_splat ${get("stats")})`)} ${
        set("high", `(v128.load32_splat ${get("deltas")})`)
      }
${
        r.map(
          ["x", "y"],
          ([z, dw]) =>
            `(f32x4.mul ${r.exp(`(f32x4.sub ${z} ${get("low")})`)} (f32x4.sub ${dw} ${get("high")}))`,
          "x",
        )
      }`,
    ["x", "y"],
    ["stats", "deltas"],
  );
  define(
    "keyGradients",
    ["stats", "deltas"],
    (r) => {
      const weights = r.map(["x", "stats"], ([z, lse]) => r.exp(`(f32x4.sub ${z} ${lse})`), "x");
      const products = r.map(
        ["x", "y", "deltas"],
        ([w, dw, delta]) => `(f32x4.mul ${w} (f32x4.sub ${dw} ${delta}))`,
        "y",
      );
      return `${weights} ${products}`;
    },
    ["x", "y"],
    [],
  );
  return made.join("\n");
}
