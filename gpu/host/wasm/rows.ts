/** Rows of contiguous f32: softmax, log-sum-exp, cross-entropy, which need the largest of a row first, and attention. */
import { Frame } from "./frame.ts";
import { type Pass, passes } from "./passes.ts";
import { add, get, HIGH, i32, mul, set, step, ZEROS } from "./text.ts";
import { Vectorizer } from "./vector.ts";

/** Vectors of a pass. */
const VECTORS = 4;

/** A function of rows: `(x, y, n, rows, ...)`, whose pointers move on after each. */
class Rows {
  readonly #frame = new Frame(true);

  constructor(readonly vectors: Vectorizer, readonly fused: boolean) {
    for (const name of ["mm", "low", "high", "nan"]) this.#frame.local(name, "v128");
    this.#frame.local("m", "f32");
    this.#frame.local("s", "f64");
  }

  /** The function: `body` for each row, after which pointers move by a row, or by one number. */
  function(name: string, more: readonly string[], body: string, byRow: string[], byOne: string[]): string {
    const params = ["x", "y", "n", "rows", ...more].map((p) => `(param $${p} i32)`).join(" ");
    const next = [...byRow.map((p) => step(p, mul(get("n"), i32(4)))), ...byOne.map((p) => step(p, 4))];
    return this.#frame.function(
      name,
      params,
      `(block $end (loop $next (br_if $end (i32.le_s ${get("rows")} ${i32(0)}))
${body}
${next.join(" ")} ${step("rows", -1)} (br $next)))`,
    );
  }

  /**
   * A loop over a row: `values` makes a vector of vectors by the names of `loads`, pointers to the row's start; all of a
   * pass go to `use`. `at` is where a store of vector `u` goes.
   */
  each(
    loads: readonly string[],
    values: (x: readonly string[]) => string,
    use: (v: readonly string[], pass: Pass, store: (pointer: string, v: string, u: number) => void) => void,
  ): string {
    const frame = this.#frame;
    return passes(frame, i32(0), get("n"), VECTORS, (pass) =>
      frame.within(() => {
        const moved = frame.local("moved", "i32");
        frame.emit(set(moved, mul(get("j"), i32(4))));
        const out: string[] = [];
        for (let u = 0; u < pass.vectors; u++) {
          const x = loads.map((pointer) => {
            const name = frame.fresh(pointer), at = add(get(pointer), get(moved));
            frame.emit(set(name, `(v128.load${pass.single ? "32_splat" : ""} offset=${16 * u} ${at})`));
            return get(name);
          });
          const name = frame.fresh("v");
          frame.emit(set(name, values(x)));
          out.push(get(name));
        }
        use(out, pass, (pointer, v, u) => {
          const at = add(get(pointer), get(moved));
          frame.emit(
            pass.single ? `(v128.store32_lane 0 ${at} ${v})` : `(v128.store offset=${16 * u} ${at} ${v})`,
          );
        });
      }));
  }

  /** e^x of vectors which are not positive. */
  exp(x: string): string {
    return this.vectors.apply("expBelow", [{ type: "f32", text: x }], this.#frame);
  }

  emit(statement: string): void {
    this.#frame.emit(statement);
  }

  /** The largest of a row in `m` and, in each lane, `mm`; NaN if there is one. */
  largest(): string {
    const pass = this.each(["x"], ([x]) => x, (v) => {
      for (const x of v) {
        this.emit(set("mm", `(f32x4.pmax ${get("mm")} ${x})`));
        this.emit(set("nan", `(v128.or ${get("nan")} (f32x4.ne ${x} ${x}))`));
      }
    });
    return `${set("mm", "(f32x4.splat (f32.const -inf))")} ${set("nan", ZEROS)}
${pass}
${set("m", `(f32x4.extract_lane 0 ${get("mm")})`)}
${[1, 2, 3].map((i) => set("m", `(f32.max ${get("m")} (f32x4.extract_lane ${i} ${get("mm")}))`)).join(" ")}
(if (v128.any_true ${get("nan")}) (then ${set("m", "(f32.const nan)")}))
${set("mm", `(f32x4.splat ${get("m")})`)}`;
  }

  /** The sum of e^(x - m) in `s`; what is summed goes to `to`, if there is one. */
  sum(to: string | null): string {
    const pass = this.each(
      ["x"],
      ([x]) => this.exp(`(f32x4.sub ${x} ${get("mm")})`),
      (v, { single }, store) => {
        if (to !== null) v.forEach((x, u) => store(to, x, u));
        if (single) {
          this.emit(set("s", `(f64.add ${get("s")} (f64.promote_f32 (f32x4.extract_lane 0 ${v[0]})))`));
          return;
        }
        // Vectors of a pass in single precision, everything else in double.
        const pairs = v.length === 1 ? v : [`(f32x4.add ${v[0]} ${v[1]})`, `(f32x4.add ${v[2]} ${v[3]})`];
        const all = get(this.#frame.local("all", "v128"));
        this.emit(set("all", pairs.length === 1 ? pairs[0] : `(f32x4.add ${pairs[0]} ${pairs[1]})`));
        this.emit(set("low", `(f64x2.add ${get("low")} (f64x2.promote_low_f32x4 ${all}))`));
        const high = `(i8x16.shuffle ${HIGH} ${all} ${all})`;
        this.emit(set("high", `(f64x2.add ${get("high")} (f64x2.promote_low_f32x4 ${high}))`));
      },
    );
    const lanes = [0, 1].map((i) =>
      set("s", `(f64.add ${get("s")} (f64x2.extract_lane ${i} (f64x2.add ${get("low")} ${get("high")})))`)
    );
    return `${set("low", ZEROS)} ${set("high", ZEROS)} ${set("s", "(f64.const 0)")}
${pass}
${lanes.join(" ")}`;
  }

  /** Divides what `sum` left at `to` by the sum. */
  scale(to: string): string {
    return `${set("mm", `(f32x4.splat (f32.demote_f64 (f64.div (f64.const 1) ${get("s")})))`)}
${
      this.each(
        [to],
        ([y]) => `(f32x4.mul ${y} ${get("mm")})`,
        (v, _, store) => v.forEach((y, u) => store(to, y, u)),
      )
    }`;
  }

  /** Fills a row. */
  fill(to: string, value: string): string {
    return this.each([], () => value, (v, _, store) => v.forEach((y, u) => store(to, y, u)));
  }

  /** ln s by the f32 logarithm: sums of a row are between 1 and its length. */
  log(): string {
    const s = `(f32x4.splat (f32.demote_f64 ${get("s")}))`;
    return this.#frame.within(() =>
      this.emit(set("low", this.vectors.apply("logf", [{ type: "f32", text: s }], this.#frame)))
    );
  }
}

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
    const rows = new Rows(vectors, fused);
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
        r.each(
          ["x", "y"],
          ([z, dw]) =>
            `(f32x4.mul ${r.exp(`(f32x4.sub ${z} ${get("low")})`)} (f32x4.sub ${dw} ${get("high")}))`,
          (v, _, store) => v.forEach((z, u) => store("x", z, u)),
        )
      }`,
    ["x", "y"],
    ["stats", "deltas"],
  );
  define(
    "keyGradients",
    ["stats", "deltas"],
    (r) => {
      const weights = r.each(
        ["x", "stats"],
        ([z, lse]) => r.exp(`(f32x4.sub ${z} ${lse})`),
        (v, _, store) => v.forEach((w, u) => store("x", w, u)),
      );
      const products = r.each(
        ["x", "y", "deltas"],
        ([w, dw, delta]) => `(f32x4.mul ${w} (f32x4.sub ${dw} ${delta}))`,
        (v, _, store) => v.forEach((p, u) => store("y", p, u)),
      );
      return `${weights} ${products}`;
    },
    ["x", "y"],
    [],
  );
  return `${vectors.text}\n${made.join("\n")}`;
}
