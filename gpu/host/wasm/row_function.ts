/** Functions over rows of contiguous f32: what passes over a row compute, store and sum. */
import { Frame } from "./frame.ts";
import { type Pass, passes } from "./passes.ts";
import { add, get, HIGH, i32, mul, set, step, ZEROS } from "./text.ts";
import type { Vectorizer } from "./vector.ts";

/** Vectors of a pass. */
const VECTORS = 4;

/** A function of rows: `(x, y, n, rows, ...)`, whose pointers move on after each. */
export class Rows {
  readonly #frame = new Frame();

  constructor(readonly vectors: Vectorizer) {
    for (const name of ["mm", "low", "high", "nan"]) this.#frame.local(name, "v128");
    this.#frame.local("m", "f32");
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
   * A loop over a row: `values` makes vectors of those at `loads`, pointers to the row's start; all of a pass go to `use`,
   * with what stores the pass's vector `u`.
   */
  each(
    loads: readonly string[],
    values: (x: readonly string[]) => readonly string[],
    use: (
      v: readonly (readonly string[])[],
      pass: Pass,
      store: (pointer: string, v: string, u: number) => void,
    ) => void,
  ): string {
    const frame = this.#frame;
    return passes(frame, i32(0), get("n"), VECTORS, (pass) =>
      frame.within(() => {
        const moved = frame.local("moved", "i32");
        frame.emit(set(moved, mul(get("j"), i32(4))));
        const out: string[][] = [];
        for (let u = 0; u < pass.vectors; u++) {
          const x = loads.map((pointer) => {
            const name = frame.fresh(pointer), at = add(get(pointer), get(moved));
            frame.emit(set(name, `(v128.load${pass.single ? "32_splat" : ""} offset=${16 * u} ${at})`));
            return get(name);
          });
          out.push(
            values(x).map((v) => {
              const name = frame.fresh("v");
              frame.emit(set(name, v));
              return get(name);
            }),
          );
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

  /** Declares a number in double precision. */
  number(name: string): string {
    return this.#frame.local(name, "f64");
  }

  /** A vector in a local. */
  local(name: string, value: string): string {
    return set(this.#frame.local(name, "v128"), value);
  }

  /** The largest of a row in `m` and, in each lane, `mm`; NaN if there is one. */
  largest(): string {
    const pass = this.each(["x"], (x) => x, (v) => {
      for (const [x] of v) {
        this.#frame.emit(set("mm", `(f32x4.pmax ${get("mm")} ${x})`));
        this.#frame.emit(set("nan", `(v128.or ${get("nan")} (f32x4.ne ${x} ${x}))`));
      }
    });
    return `${set("mm", "(f32x4.splat (f32.const -inf))")} ${set("nan", ZEROS)}
${pass}
${set("m", `(f32x4.extract_lane 0 ${get("mm")})`)}
${[1, 2, 3].map((i) => set("m", `(f32.max ${get("m")} (f32x4.extract_lane ${i} ${get("mm")}))`)).join(" ")}
(if (v128.any_true ${get("nan")}) (then ${set("m", "(f32.const nan)")}))
${set("mm", `(f32x4.splat ${get("m")})`)}`;
  }

  /** Sums over a row, by name: of what `values` makes of `loads`, in f64 locals. `use` stores the vectors. */
  sums(
    names: readonly string[],
    loads: readonly string[],
    values: (x: readonly string[]) => readonly string[],
    use: (v: readonly string[], store: (pointer: string, v: string, u: number) => void) => void = () => {},
  ): string {
    const frame = this.#frame, fill: string[] = [], join: string[] = [];
    for (const name of names) {
      frame.local(name, "f64");
      fill.push(set(name, "(f64.const 0)"));
      for (const half of [`${name}Low`, `${name}High`]) fill.push(set(frame.local(half, "v128"), ZEROS));
      const both = `(f64x2.add ${get(`${name}Low`)} ${get(`${name}High`)})`;
      for (const i of [0, 1]) {
        join.push(set(name, `(f64.add ${get(name)} (f64x2.extract_lane ${i} ${both}))`));
      }
    }
    const pass = this.each(loads, values, (v, { single }, store) => {
      use(v.map((x) => x[0]), store);
      names.forEach((name, k) => {
        const x = v.map((all) => all[k]);
        if (single) {
          frame.emit(set(name, `(f64.add ${get(name)} (f64.promote_f32 (f32x4.extract_lane 0 ${x[0]})))`));
          return;
        }
        // Vectors of a pass in single precision, everything else in double.
        const all = frame.fresh("all"), four = (a: string, b: string): string => `(f32x4.add ${a} ${b})`;
        frame.emit(set(all, x.length === 1 ? x[0] : four(four(x[0], x[1]), four(x[2], x[3]))));
        const high = `(i8x16.shuffle ${HIGH} ${get(all)} ${get(all)})`;
        for (const [half, part] of [["Low", get(all)], ["High", high]]) {
          frame.emit(
            set(`${name}${half}`, `(f64x2.add ${get(`${name}${half}`)} (f64x2.promote_low_f32x4 ${part}))`),
          );
        }
      });
    });
    return `${fill.join(" ")}\n${pass}\n${join.join(" ")}`;
  }

  /** The sum of e^(x - m) in `s`; what is summed goes to `to`, if there is one. */
  sum(to: string | null): string {
    return this.sums(
      ["s"],
      ["x"],
      ([x]) => [this.exp(`(f32x4.sub ${x} ${get("mm")})`)],
      (v, store) => to !== null && v.forEach((x, u) => store(to, x, u)),
    );
  }

  /** Divides what `sum` left at `to` by the sum. */
  scale(to: string): string {
    return `${set("mm", `(f32x4.splat (f32.demote_f64 (f64.div (f64.const 1) ${get("s")})))`)}
${this.map([to], ([y]) => `(f32x4.mul ${y} ${get("mm")})`, to)}`;
  }

  /** A row from others. */
  map(loads: readonly string[], value: (x: readonly string[]) => string, to: string): string {
    return this.each(loads, (x) => [value(x)], (v, _, store) => v.forEach(([y], u) => store(to, y, u)));
  }

  /** Fills a row. */
  fill(to: string, value: string): string {
    return this.map([], () => value, to);
  }

  /** ln s by the f32 logarithm: sums of a row are between 1 and its length. */
  log(): string {
    const s = `(f32x4.splat (f32.demote_f64 ${get("s")}))`;
    return this.#frame.within(() =>
      this.#frame.emit(set("low", this.vectors.apply("logf", [{ type: "f32", text: s }], this.#frame)))
    );
  }
}
