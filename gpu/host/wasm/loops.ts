/** Fused loops as WebAssembly: the same expressions as the WGSL kernels', four elements at a time. */
import type { DType } from "../../../ops/dtype.ts";
import { bytes, laneOfType, load, store } from "./elements.ts";
import { Frame } from "./frame.ts";
import { FOUR, type Pass, passes } from "./passes.ts";
import { add, get, HIGH, i32, mul, ODD, set } from "./text.ts";
import { type Vector, Vectorizer } from "./vector.ts";
import { Unsupported } from "./wgsl.ts";

/** One function application: WGSL of its operands' names, and the type of its result. */
export interface VectorApplication {
  readonly wgsl: string;
  readonly x: readonly string[];
  readonly types: readonly DType[];
  readonly dtype: DType;
}

/** A loop nest as vectors can do it: see `Loop` of the generated JavaScript, which it stands in for. */
export interface VectorLoop {
  readonly rank: number;
  /** Per load: its type, and whether the innermost axis moves it (by one element) or not. */
  readonly loads: readonly { readonly dtype: DType; readonly moves: boolean }[];
  readonly constants: number;
  readonly applications: readonly VectorApplication[];
  readonly stores: readonly { readonly value: string; readonly dtype: DType }[];
  readonly fold: { readonly name: string; readonly reduced: readonly boolean[] } | null;
  /** The axis of which a call does a part. */
  readonly shared: number;
}

/** Columns whose sums stand in memory while folded axes run outside of them. */
export const BLOCK = 1024;
/** Bytes of scratch memory that a loop needs. */
export const LOOP_SCRATCH = 8 * BLOCK;

const word = (k: number): string => `(i32.load offset=${4 * k} ${get("g")})`;

/** Stores the result of a fold, of `type`, as `dtype`: f32, or f64 where it is of a part only. */
function storeFolded(at: string, value: string, type: string, dtype: DType): string {
  if (dtype === "f64") return `(f64.store ${at} ${type === "f64" ? value : `(f64.promote_f32 ${value})`})`;
  if (dtype !== "f32") throw new Unsupported(dtype);
  return `(f32.store ${at} ${type === "f64" ? `(f32.demote_f64 ${value})` : value})`;
}

/** Sums and products run in double precision, in a pair of vectors of two; the largest and smallest as they are. */
const FOLDS: Record<string, { wide: boolean; op: string; init: string }> = {
  sum: { wide: true, op: "add", init: "0" },
  prod: { wide: true, op: "mul", init: "1" },
  amax: { wide: false, op: "max", init: "-inf" },
  amin: { wide: false, op: "min", init: "inf" },
};

/**
 * Where the words of a loop's geometry stand: lengths of axes; for each load, then each store, its address and its
 * steps in bytes along all axes but the innermost (along all kept ones for a fold); numbers as f32 bits, or as i32.
 */
export interface Layout {
  readonly lengths: number;
  readonly loads: readonly number[];
  readonly stores: readonly number[];
  readonly constants: number;
  readonly words: number;
}

/** The layout of a loop. */
export function layoutOf(loop: Pick<VectorLoop, "rank" | "loads" | "stores" | "constants">): Layout {
  let at = loop.rank;
  const access = (): number => {
    const mine = at;
    at += 1 + loop.rank;
    return mine;
  };
  const loads = loop.loads.map(access), stores = loop.stores.map(access), constants = at;
  return { lengths: 0, loads, stores, constants, words: at + loop.constants };
}

/**
 * Text of a module with `run(g, from, to, scratch)`: the loop over elements `from` to `to` of its shared axis. Throws
 * `Unsupported` where vectors cannot do it.
 */
export function loopText(loop: VectorLoop, sources: ReadonlyMap<string, string>, fused: boolean): string {
  return new LoopText(loop, new Vectorizer(sources, fused)).text();
}

class LoopText {
  readonly #layout: Layout;
  readonly #frame = new Frame();
  /** Axes that loops run over outside of the innermost, in order. */
  readonly #outer: number[];
  /** Numbers, and loads that the innermost axis does not move. */
  readonly #fixed = new Map<string, Vector>();
  /** Vectors of the longest pass. */
  readonly #vectors: number;

  constructor(readonly loop: VectorLoop, readonly vectors: Vectorizer) {
    this.#layout = layoutOf(loop);
    this.#outer = Array.from({ length: Math.max(0, loop.rank - 1) }, (_, a) => a);
    loop.loads.forEach((l, i) => {
      if (!l.moves) this.#fixed.set(`x${i}`, { type: laneOfType(l.dtype), text: get(`x${i}`) });
    });
    for (let c = 0; c < loop.constants; c++) this.#fixed.set(`c${c}`, { type: "f32", text: get(`c${c}`) });
    for (const a of loop.applications) {
      a.x.forEach((name, i) => {
        if (name[0] === "c") this.#fixed.set(name, { type: laneOfType(a.types[i]), text: get(name) });
      });
    }
    const trial = new Frame();
    const size = trial.within(() => this.#values(trial, new Map(), FOUR)).split("(").length;
    this.#vectors = size < 2000 ? 4 : size < 4000 ? 2 : 1;
  }

  #local(name: string, type: string): string {
    return this.#frame.local(name, type);
  }

  text(): string {
    const { loop } = this;
    if (loop.rank === 0) throw new Unsupported("a single element");
    const constants = this.#constants(), body = loop.fold === null ? this.#elements() : this.#fold();
    const signature = ["g", "from", "to", "scratch"].map((name) => `(param $${name} i32)`).join(" ");
    return this.#frame.function("run", signature, `${constants}\n${body}`);
  }

  #constants(): string {
    return Array.from({ length: this.loop.constants }, (_, c) => {
      const { type } = this.#fixed.get(`c${c}`)!, at = 4 * (this.#layout.constants + c);
      this.#local(`c${c}`, "v128");
      const bits = `(v128.load32_splat offset=${at} ${get("g")})`;
      return set(`c${c}`, type === "bool" ? `(i32x4.ne ${bits} (i32x4.splat ${i32(0)}))` : bits);
    }).join("\n");
  }

  /** A loop over axis `a`; pointers of accesses that it moves have a local for it. */
  #nest(
    axes: readonly number[],
    pointers: ReadonlyMap<string, string>,
    inner: (p: ReadonlyMap<string, string>) => string,
    first: number,
  ): string {
    if (axes.length === 0) return inner(pointers);
    const [a, ...rest] = axes, i = this.#local(`i${a}`, "i32"), end = this.#local(`n${a}`, "i32");
    const mine = new Map<string, string>(), start: string[] = [], move: string[] = [];
    for (const [access, at] of pointers) {
      const base = this.#base(access),
        isMoved = access[0] !== "y" || this.loop.fold === null || !this.loop.fold.reduced[a];
      if (!isMoved) {
        mine.set(access, at);
        continue;
      }
      const name = this.#local(`${access}p${a}`, "i32");
      const by = word(base + 1 + a);
      start.push(set(name, a === first ? add(at, mul(get("from"), by)) : at));
      move.push(set(name, add(get(name), by)));
      mine.set(access, get(name));
    }
    return `${set(i, a === first ? get("from") : i32(0))} ${set(end, a === first ? get("to") : word(a))}
${start.join(" ")}
(block $end${a} (loop $axis${a}
  (br_if $end${a} (i32.ge_s ${get(i)} ${get(end)}))
  ${this.#nest(rest, mine, inner, first)}
  ${move.join(" ")}
  ${set(i, add(get(i), i32(1)))} (br $axis${a})))`;
  }

  #base(access: string): number {
    const i = Number(access.slice(1));
    return access[0] === "x" ? this.#layout.loads[i] : this.#layout.stores[i];
  }

  #start(stores: boolean): Map<string, string> {
    const out = new Map<string, string>();
    this.loop.loads.forEach((_, i) => out.set(`x${i}`, word(this.#layout.loads[i])));
    if (stores) this.loop.stores.forEach((_, i) => out.set(`y${i}`, word(this.#layout.stores[i])));
    return out;
  }

  /** Emits what computes all values of a pass from element `j` on; they have names ending in the vector's number. */
  #values(frame: Frame, pointers: ReadonlyMap<string, string>, { vectors, single }: Pass): void {
    const { loop } = this, names = Array.from({ length: vectors }, () => new Map(this.#fixed));
    const keep = (name: string, u: number, { type, text }: Vector): void => {
      const local = frame.local(`${name}_${u}`, "v128");
      frame.emit(set(local, text));
      names[u].set(name, { type, text: get(local) });
    };
    loop.loads.forEach((l, i) => {
      if (!l.moves) return;
      const at = frame.local(`at${i}`, "i32"), size = bytes(l.dtype), type = laneOfType(l.dtype);
      frame.emit(set(at, add(pointers.get(`x${i}`) ?? "", mul(get("j"), i32(size)))));
      names.forEach((_, u) =>
        keep(`x${i}`, u, { type, text: this.#loaded(frame, l.dtype, get(at), single, 4 * size * u) })
      );
    });
    // One function of all vectors after the other: what waits for a result lets the others go on.
    loop.applications.forEach((a, t) =>
      names.forEach((known, u) => {
        const v = this.vectors.expression(a.wgsl, known, frame);
        if (v.type !== laneOfType(a.dtype)) {
          throw new Unsupported(`${a.wgsl} of type ${v.type} for ${a.dtype}`);
        }
        const round = a.dtype === "f16" ? "roundHalf" : a.dtype === "bf16" ? "roundBrain" : null;
        keep(`t${t}`, u, round === null ? v : { ...v, text: this.vectors.apply(round, [v], frame) });
      })
    );
  }

  /** An operand in memory as the number that it stands for. */
  #loaded(frame: Frame, dtype: DType, at: string, single: boolean, offset = 0): string {
    const text = load(dtype, at, single, offset);
    return dtype === "f16" ? this.vectors.apply("halfBits", [{ type: "u32", text }], frame) : text;
  }

  /** A pass: its values, and what becomes of vector `u`, whose values `valueOf` has by name. */
  #pass(
    pointers: ReadonlyMap<string, string>,
    pass: Pass,
    use: (valueOf: (name: string) => string, u: number) => string,
  ): string {
    return this.#frame.within(() => {
      this.#values(this.#frame, pointers, pass);
      for (let u = 0; u < pass.vectors; u++) {
        this.#frame.emit(use((name) => this.#fixed.get(name)?.text ?? get(`${name}_${u}`), u));
      }
    });
  }

  /** Loads that the innermost axis does not move. */
  #hoisted(pointers: ReadonlyMap<string, string>): string {
    const frame = this.#frame;
    return frame.within(() =>
      this.loop.loads.forEach((l, i) => {
        if (l.moves) return;
        const value = this.#loaded(frame, l.dtype, pointers.get(`x${i}`)!, true);
        frame.emit(set(frame.local(`x${i}`, "v128"), value));
      })
    );
  }

  /** `j` over the innermost axis. */
  #row(from: string, to: string, pass: (p: Pass) => string): string {
    return passes(this.#frame, from, to, this.#vectors, pass);
  }

  #elements(): string {
    const { loop } = this, last = loop.rank - 1;
    return this.#nest(this.#outer, this.#start(true), (p) => {
      const stores = (valueOf: (name: string) => string, u: number, single: boolean): string =>
        loop.stores.map((s, i) => {
          const at = this.#local(`to${i}`, "i32"), size = bytes(s.dtype);
          const first = u > 0 ? "" : set(at, add(p.get(`y${i}`)!, mul(get("j"), i32(size))));
          const value = valueOf(s.value), x: Vector = { type: "f32", text: value };
          const text = s.dtype === "f16" ? this.vectors.apply("toHalf", [x], this.#frame) : value;
          return `${first} ${store(s.dtype, get(at), text, single, 4 * size * u)}`;
        }).join(" ");
      const [from, to] = last === 0 ? [get("from"), get("to")] : [i32(0), word(last)];
      return `${this.#hoisted(p)} ${
        this.#row(from, to, (pass) => this.#pass(p, pass, (valueOf, u) => stores(valueOf, u, pass.single)))
      }`;
    }, loop.shared);
  }

  #fold(): string {
    const { loop } = this, fold = loop.fold!, f = FOLDS[fold.name], value = loop.stores[0].value;
    if (f === undefined) throw new Unsupported(fold.name);

    const last = loop.rank - 1, kept = this.#outer.filter((a) => !fold.reduced[a]);
    const folded = this.#outer.filter((a) => fold.reduced[a]);
    return fold.reduced[last]
      ? this.#foldRows(kept, folded, f, value)
      : this.#foldColumns(kept, folded, f, value);
  }

  /** The innermost axis is folded: partial results in vectors, joined at the end. */
  #foldRows(kept: number[], folded: number[], f: (typeof FOLDS)[string], value: string): string {
    const last = this.loop.rank - 1, first = this.loop.shared;
    const type = f.wide ? "f64" : "f32", total = this.#local("total", type);
    // Each vector of a pass has its own partial results: in double precision, of its lower and its upper half.
    const halves = f.wide ? ["low", "high"] : ["low"], partial: string[] = [];
    for (let u = 0; u < this.#vectors; u++) {
      for (const half of halves) partial.push(this.#local(`${half}${u}`, "v128"));
    }
    const init = f.wide ? `(f64x2.splat (f64.const ${f.init}))` : `(f32x4.splat (f32.const ${f.init}))`;
    const wide = (name: string, v: string): string =>
      set(name, `(f64x2.${f.op} ${get(name)} (f64x2.promote_low_f32x4 ${v}))`);
    const four = (v: string, u: number): string =>
      f.wide
        ? `${wide(`low${u}`, v)} ${wide(`high${u}`, `(i8x16.shuffle ${HIGH} ${v} ${v})`)}`
        : set(`low${u}`, `(f32x4.${f.op} ${get(`low${u}`)} ${v})`);
    // In each lane, where that changes nothing: a scalar's largest or smallest costs a branch.
    const one = (v: string): string =>
      f.wide
        ? set(total, `(f64.${f.op} ${get(total)} (f64.promote_f32 (f32x4.extract_lane 0 ${v})))`)
        : four(v, 0);
    const shape = f.wide ? "f64x2" : "f32x4", low = "low0";
    const joined = (x: string): string => set(low, `(${shape}.${f.op} ${get(low)} ${x})`);
    const swapped = (lanes: string): string => `(i8x16.shuffle ${lanes} ${get(low)} ${get(low)})`;
    const lane = (i: number): string => `(${shape}.extract_lane ${i} ${get(low)})`;
    const join = [
      ...partial.slice(1).map((name) => joined(get(name))),
      ...f.wide
        ? [0, 1].map((i) => set(total, `(f64.${f.op} ${get(total)} ${lane(i)})`))
        : [joined(swapped(HIGH)), joined(swapped(ODD)), set(total, lane(0))],
    ];
    return this.#nest(
      kept,
      this.#start(true),
      (p) =>
        `${set(total, `(${type}.const ${f.init})`)} ${partial.map((name) => set(name, init)).join(" ")}
      ${
          this.#nest(folded, new Map([...p].filter(([x]) => x[0] === "x")), (q) => {
            const [from, to] = first === last ? [get("from"), get("to")] : [i32(0), word(last)];
            return `${this.#hoisted(q)} ${
              this.#row(
                from,
                to,
                (pass) =>
                  this.#pass(
                    q,
                    pass,
                    (valueOf, u) => pass.single ? one(valueOf(value)) : four(valueOf(value), u),
                  ),
              )
            }`;
          }, first)
        }
      ${join.join(" ")}
      ${storeFolded(p.get("y0")!, get(total), type, this.loop.stores[0].dtype)}`,
      first,
    );
  }

  /** The innermost axis is kept and others are folded outside of it: a block of columns in memory. */
  #foldColumns(kept: number[], folded: number[], f: (typeof FOLDS)[string], value: string): string {
    const size = f.wide ? 8 : 4;
    for (const name of ["block", "size", "q"]) this.#local(name, "i32");
    const fill = f.wide
      ? `(f64.store ${get("q")} (f64.const ${f.init}))`
      : `(f32.store ${get("q")} (f32.const ${f.init}))`;
    const at = add(get("scratch"), mul(`(i32.sub ${get("j")} ${get("block")})`, i32(size)));
    const four = (v: string, u: number): string => {
      const first = u > 0 ? "" : set("q", at);
      const step = (offset: number, x: string): string =>
        `(v128.store offset=${offset} ${get("q")} (${
          f.wide ? "f64x2" : "f32x4"
        }.${f.op} (v128.load offset=${offset} ${get("q")}) ${x}))`;
      if (!f.wide) return `${first} ${step(16 * u, v)}`;
      const high = `(i8x16.shuffle ${HIGH} ${v} ${v})`;
      return `${first} ${step(32 * u, `(f64x2.promote_low_f32x4 ${v})`)} ${
        step(32 * u + 16, `(f64x2.promote_low_f32x4 ${high})`)
      }`;
    };
    const one = (v: string): string =>
      f.wide
        ? `${set("q", at)} (f64.store ${get("q")} (f64.${f.op} (f64.load ${
          get("q")
        }) (f64.promote_f32 (f32x4.extract_lane 0 ${v}))))`
        : `${set("q", at)} (f32.store ${get("q")} (f32.${f.op} (f32.load ${
          get("q")
        }) (f32x4.extract_lane 0 ${v})))`;
    const type = f.wide ? "f64" : "f32", result = `(${type}.load ${get("q")})`;
    const { dtype } = this.loop.stores[0];
    const bound = add(get("block"), get("size")), last = this.loop.rank - 1, first = this.loop.shared;
    const [from, to] = first === last ? [get("from"), get("to")] : [i32(0), word(last)];
    return this.#nest(kept, this.#start(true), (p) =>
      `${set("block", from)}
      (block $blocks_end (loop $blocks
        (br_if $blocks_end (i32.ge_s ${get("block")} ${to}))
        ${set("size", `(i32.sub ${to} ${get("block")})`)}
        (if (i32.gt_s ${get("size")} ${i32(BLOCK)}) (then ${set("size", i32(BLOCK))}))
        ${this.#each(bound, `${set("q", at)} ${fill}`)}
        ${
        this.#nest(
          folded,
          new Map([...p].filter(([x]) => x[0] === "x")),
          (q) =>
            `${this.#hoisted(q)} ${
              this.#row(
                get("block"),
                bound,
                (pass) =>
                  this.#pass(
                    q,
                    pass,
                    (valueOf, u) => pass.single ? one(valueOf(value)) : four(valueOf(value), u),
                  ),
              )
            }`,
          -1,
        )
      }
        ${
        this.#each(
          bound,
          `${set("q", at)} ${
            storeFolded(add(p.get("y0")!, mul(get("j"), i32(bytes(dtype)))), result, type, dtype)
          }`,
        )
      }
        ${set("block", bound)} (br $blocks)))`, first);
  }

  /** `j` from the block's start to `to`. */
  #each(to: string, body: string): string {
    this.#local("j", "i32");
    return `${set("j", get("block"))}
(block $each_end (loop $each (br_if $each_end (i32.ge_s ${get("j")} ${to})) ${body} ${
      set("j", add(get("j"), i32(1)))
    } (br $each)))`;
  }
}
