/** Softmax and log-sum-exp along an axis that is not the last: blocks of columns, whose rows come from memory in order. */
import { Frame } from "./frame.ts";
import { passes } from "./passes.ts";
import { add, get, HIGH, i32, mul, set, step, ZEROS } from "./text.ts";
import { Vectorizer } from "./vector.ts";

/** Columns of a block: largest elements and sums of so many lie in a thread's scratch memory. */
export const COLUMNS = 512;

const LOWS = "0 1 2 3 4 5 6 7 16 17 18 19 20 21 22 23";
/** Where the largest of column j stands, and its sum in double precision. */
const LARGEST = add(get("scratch"), mul(get("j"), i32(4)));
const SUM = add(add(get("scratch"), i32(4 * COLUMNS)), mul(get("j"), i32(8)));

/** Vector `u` of a pass over columns, or a single one in each lane. */
interface Part {
  readonly u: number;
  readonly single: boolean;
}

class Columns {
  readonly #frame = new Frame();

  constructor(readonly vectors: Vectorizer) {
    for (const name of ["blocks", "outer", "first", "size", "xp", "yp", "k"]) this.#frame.local(name, "i32");
  }

  load({ u, single }: Part, at: string): string {
    const v = this.#frame.fresh("v");
    this.#frame.emit(set(v, `(v128.load${single ? "32_splat" : ""} offset=${16 * u} ${at})`));
    return get(v);
  }

  store({ u, single }: Part, at: string, v: string): void {
    this.#frame.emit(
      single ? `(v128.store32_lane 0 ${at} ${v})` : `(v128.store offset=${16 * u} ${at} ${v})`,
    );
  }

  /** A vector in a local. */
  keep(v: string): string {
    const name = this.#frame.fresh("v");
    this.#frame.emit(set(name, v));
    return get(name);
  }

  call(name: string, x: string): string {
    return this.keep(this.vectors.apply(name, [{ type: "f32", text: x }], this.#frame));
  }

  /** Starts sums at 0. */
  clear({ u, single }: Part): void {
    if (single) return this.#frame.emit(`(f64.store ${SUM} (f64.const 0))`);
    for (const i of [0, 16]) this.#frame.emit(`(v128.store offset=${32 * u + i} ${SUM} ${ZEROS})`);
  }

  /** Adds to sums. */
  addTo({ u, single }: Part, v: string): void {
    if (single) {
      const one = `(f64.promote_f32 (f32x4.extract_lane 0 ${v}))`;
      return this.#frame.emit(`(f64.store ${SUM} (f64.add (f64.load ${SUM}) ${one}))`);
    }
    [v, `(i8x16.shuffle ${HIGH} ${v} ${v})`].forEach((half, i) => {
      const by = `offset=${32 * u + 16 * i}`, wide = `(f64x2.promote_low_f32x4 ${half})`;
      this.#frame.emit(`(v128.store ${by} ${SUM} (f64x2.add (v128.load ${by} ${SUM}) ${wide}))`);
    });
  }

  /** Sums in single precision. */
  sums({ u, single }: Part): string {
    if (single) return this.keep(`(f32x4.splat (f32.demote_f64 (f64.load ${SUM})))`);
    const [low, high] = [0, 16].map((i) =>
      `(f32x4.demote_f64x2_zero (v128.load offset=${32 * u + i} ${SUM}))`
    );
    return this.keep(`(i8x16.shuffle ${LOWS} ${low} ${high})`);
  }

  /** Over the columns of the block. */
  each(body: (part: Part) => void): string {
    return passes(this.#frame, i32(0), get("size"), 4, ({ vectors, single }) =>
      this.#frame.within(() => {
        for (let u = 0; u < vectors; u++) body({ u, single });
      }));
  }

  /** Over the rows of the block, and the columns of each. */
  rows(isMapped: boolean, body: (part: Part, x: string, y: string) => void): string {
    const at = (pointer: string): string => add(get(pointer), mul(get("j"), i32(4)));
    const line = mul(get("inner"), i32(4));
    return `${set("xp", this.#start("x", true))} ${set("yp", this.#start("y", isMapped))} ${
      set("k", get("n"))
    }
(loop $rows ${this.each((part) => body(part, at("xp"), at("yp")))}
  ${step("xp", line)} ${step("yp", line)} ${step("k", -1)} (br_if $rows (i32.gt_s ${get("k")} ${i32(0)})))`;
  }

  #start(pointer: string, hasAxis: boolean): string {
    const row = mul(get("outer"), hasAxis ? mul(get("n"), get("inner")) : get("inner"));
    return add(get(pointer), mul(add(row, get("first")), i32(4)));
  }

  /** Where results lie that have no rows. */
  result(): string {
    return add(this.#start("y", false), mul(get("j"), i32(4)));
  }

  function(name: string, body: string): string {
    const params = ["x", "y", "n", "inner", "from", "to", "scratch"].map((p) => `(param $${p} i32)`).join(
      " ",
    );
    return this.#frame.function(
      name,
      params,
      `${set("blocks", `(i32.div_u ${add(get("inner"), i32(COLUMNS - 1))} ${i32(COLUMNS)})`)}
(block $end (loop $next (br_if $end (i32.ge_s ${get("from")} ${get("to")}))
  ${set("outer", `(i32.div_u ${get("from")} ${get("blocks")})`)}
  ${set("first", mul(`(i32.rem_u ${get("from")} ${get("blocks")})`, i32(COLUMNS)))}
  ${set("size", `(i32.sub ${get("inner")} ${get("first")})`)}
  (if (i32.gt_s ${get("size")} ${i32(COLUMNS)}) (then ${set("size", i32(COLUMNS))}))
  ${body}
  ${step("from", 1)} (br $next)))`,
    );
  }
}

/**
 * Text of a module with `softmax(x, y, n, inner, from, to, scratch)` and `logsumexp(...)` for arrays `[outer, n, inner]`:
 * blocks of columns `from` to `to`, counted through all of outer.
 */
export function columnsText(sources: ReadonlyMap<string, string>, fused: boolean): string {
  const made = ["softmax", "logsumexp"].map((name) => {
    const c = new Columns(new Vectorizer(sources, fused)), isSoftmax = name === "softmax";
    const start = c.each((part) => {
      c.store(part, LARGEST, "(f32x4.splat (f32.const -inf))");
      c.clear(part);
    });
    const largest = c.rows(
      isSoftmax,
      (part, x) => c.store(part, LARGEST, `(f32x4.max ${c.load(part, LARGEST)} ${c.load(part, x)})`),
    );
    const sum = c.rows(isSoftmax, (part, x, y) => {
      const e = c.call("expBelow", `(f32x4.sub ${c.load(part, x)} ${c.load(part, LARGEST)})`);
      if (isSoftmax) c.store(part, y, e);
      c.addTo(part, e);
    });
    if (!isSoftmax) {
      const finish = c.each((part) => {
        const m = c.load(part, LARGEST), log = c.call("logf", c.sums(part));
        const isFinite = `(f32x4.lt (f32x4.abs ${m}) (f32x4.splat (f32.const inf)))`;
        c.store(part, c.result(), `(v128.bitselect (f32x4.add ${m} ${log}) ${m} ${isFinite})`);
      });
      return c.function(name, `${start} ${largest} ${sum} ${finish}`);
    }
    const invert = c.each((part) =>
      c.store(part, LARGEST, `(f32x4.div (f32x4.splat (f32.const 1)) ${c.sums(part)})`)
    );
    const scale = c.rows(
      true,
      (part, _, y) => c.store(part, y, `(f32x4.mul ${c.load(part, y)} ${c.load(part, LARGEST)})`),
    );
    return c.function(name, `${start} ${largest} ${sum} ${invert} ${scale}`);
  });
  return made.join("\n");
}
