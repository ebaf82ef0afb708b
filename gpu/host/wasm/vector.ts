/** From WGSL to vectors of four lanes: expressions, and the functions that they call. */
import { Block } from "./branches.ts";
import type { Frame } from "./frame.ts";
import { get, madd, ONES, set } from "./text.ts";
import { type Expr, type Function, parseExpression, parseFunctions, Unsupported } from "./wgsl.ts";

/** The types of lanes; booleans are masks of ones or zeros. */
export type Lane = "f32" | "i32" | "u32" | "bool";

/** Text of a vector, and what its lanes are. */
export interface Vector {
  readonly type: Lane;
  readonly text: string;
}

/** Numbers without a suffix take the type of what they meet. */
type Open = Lane | "whole" | "real";

const splat = (type: Lane, value: string): string =>
  type === "f32" ? `(f32x4.splat (f32.const ${value}))` : `(i32x4.splat (i32.const ${value}))`;

const call = (op: string) => (...x: string[]): string => `(${op} ${x.join(" ")})`;

/** Functions of the prelude that vectors have by themselves, with the same NaN and zeros; `k` keeps constants. */
const NATIVE: Record<string, { type: Lane; text: (k: (text: string) => string, ...x: string[]) => string }> =
  {
    isNan: { type: "bool", text: (_, x) => `(f32x4.ne ${x} ${x})` },
    isFinite: { type: "bool", text: (k, x) => `(f32x4.lt (f32x4.abs ${x}) ${k(splat("f32", "inf"))})` },
    inf: { type: "f32", text: (k) => k(splat("f32", "inf")) },
    nan: { type: "f32", text: (k) => k(splat("f32", "nan")) },
    copysignf: {
      type: "f32",
      text: (k, x, y) => `(v128.bitselect ${y} ${x} ${k(splat("i32", "-2147483648"))})`,
    },
    maxf: { type: "f32", text: (_, ...x) => call("f32x4.max")(...x) },
    minf: { type: "f32", text: (_, ...x) => call("f32x4.min")(...x) },
    eqf: { type: "bool", text: (_, ...x) => call("f32x4.eq")(...x) },
    nef: { type: "bool", text: (_, ...x) => call("f32x4.ne")(...x) },
    ltf: { type: "bool", text: (_, ...x) => call("f32x4.lt")(...x) },
    lef: { type: "bool", text: (_, ...x) => call("f32x4.le")(...x) },
    gtf: { type: "bool", text: (_, ...x) => call("f32x4.gt")(...x) },
    gef: { type: "bool", text: (_, ...x) => call("f32x4.ge")(...x) },
  };

const ARITHMETIC: Record<string, string> = { "+": "add", "-": "sub", "*": "mul", "/": "div" };
const COMPARISON: Record<string, string> = {
  "==": "eq",
  "!=": "ne",
  "<": "lt",
  ">": "gt",
  "<=": "le",
  ">=": "ge",
};
const BITS: Record<string, string> = { "&": "and", "|": "or", "^": "xor", "&&": "and", "||": "or" };

/** Functions by their text. */
const trees = new Map<string, Function>();

/** Compiles expressions; the statements of the functions that they call stand in the place of the calls. */
export class Vectorizer {
  readonly #sources: ReadonlyMap<string, string>;
  /** Functions whose statements are being written. */
  readonly #open = new Set<string>();

  /** `sources`: WGSL of functions by name; `fused`: whether the machine has a fused multiply-add. */
  constructor(sources: ReadonlyMap<string, string>, readonly fused: boolean) {
    this.#sources = sources;
  }

  /** An expression of names, whose statements go to `frame`; throws `Unsupported` where vectors cannot say it. */
  expression(text: string, names: ReadonlyMap<string, Vector>, frame: Frame): Vector {
    return new Scope(this, frame, names).value(parseExpression(text));
  }

  /** A function by name. */
  find(name: string): Function {
    const source = this.#sources.get(name);
    if (source === undefined) throw new Unsupported(name);
    let f = trees.get(source);
    if (f === undefined) trees.set(source, f = parseFunctions(source)[0]);
    return f;
  }

  /** The value of a call. */
  apply(name: string, x: readonly Vector[], frame: Frame): string {
    if (this.#open.has(name)) throw new Unsupported(`${name} calls itself`);
    this.#open.add(name);
    try {
      const { params, result, body } = this.find(name), names = new Map<string, Vector>();
      params.forEach((p, i) =>
        names.set(p.name, { type: laneOf(p.type), text: keep(frame, p.name, x[i].text) })
      );
      return new Block(new Scope(this, frame, names), laneOf(result)).function(body);
    } finally {
      this.#open.delete(name);
    }
  }
}

/** A value that may be named more than once. */
function keep(frame: Frame, name: string, text: string): string {
  if (/^\(local\.get \$[^\s()]+\)$/.test(text)) return text;
  const local = frame.fresh(name);
  frame.emit(set(local, text));
  return get(local);
}

/** The lanes of a type of WGSL. */
export function laneOf(type: string): Lane {
  if (type === "f32" || type === "i32" || type === "u32" || type === "bool") return type;
  throw new Unsupported(type);
}

function isZero(e: Expr): boolean {
  return e.kind === "number" && Number(e.text.replace(/f$/, "")) === 0;
}

/** Names in reach, and expressions of them. */
export class Scope {
  readonly names: Map<string, Vector>;

  constructor(readonly vectors: Vectorizer, readonly frame: Frame, names: ReadonlyMap<string, Vector>) {
    this.names = new Map(names);
  }

  #name(name: string): Vector {
    const found = this.names.get(name);
    if (found === undefined) throw new Unsupported(name);
    return found;
  }

  #splat(type: Lane, value: string): string {
    return this.frame.constant(splat(type, value));
  }

  /** The type of an expression before it is known what it meets. */
  #open(e: Expr): Open {
    switch (e.kind) {
      case "number":
        return /^0x/.test(e.text)
          ? e.text.endsWith("u") ? "u32" : "whole"
          : e.text.endsWith("u")
          ? "u32"
          : e.text.endsWith("i")
          ? "i32"
          : /[.eEf]/.test(e.text)
          ? "real"
          : "whole";
      case "name":
        return e.name === "true" || e.name === "false" ? "bool" : this.#name(e.name).type;
      case "call":
        switch (e.name) {
          case "bitcast":
            return laneOf(e.type!);
          case "f32":
          case "i32":
          case "u32":
          case "bool":
            return e.name;
          case "select":
          case "min":
          case "max":
          case "clamp":
          case "abs":
          case "sign":
          case "fma":
            return this.#join(e.name === "select" ? e.x.slice(0, 2) : e.x);
          case "round":
          case "floor":
          case "ceil":
          case "trunc":
          case "sqrt":
            return "f32";
        }
        return NATIVE[e.name]?.type ?? laneOf(this.vectors.find(e.name).result);
      case "unary":
        return e.op === "!" ? "bool" : this.#open(e.x);
      case "binary":
        if (e.op in COMPARISON || e.op === "&&" || e.op === "||") return "bool";
        return e.op === "<<" || e.op === ">>" ? this.#open(e.a) : this.#join([e.a, e.b]);
    }
  }

  #join(list: readonly Expr[]): Open {
    const open = list.map((e) => this.#open(e));
    return open.find((t) => t !== "whole" && t !== "real") ?? (open.includes("real") ? "real" : "whole");
  }

  /** An expression as a vector, of type `as` where it is open. */
  value(e: Expr, as?: Lane): Vector {
    const open = this.#open(e);
    const type: Lane = open === "whole" ? as ?? "i32" : open === "real" ? "f32" : open;
    return { type, text: this.#text(e, type) };
  }

  #text(e: Expr, type: Lane): string {
    switch (e.kind) {
      case "number":
        return this.#splat(
          type,
          String(type === "f32" ? Number(e.text.replace(/f$/, "")) : Number(e.text.replace(/[ui]$/, ""))),
        );
      case "name":
        if (e.name === "true") return this.frame.constant(ONES);
        return e.name === "false" ? this.#splat("bool", "0") : this.#name(e.name).text;
      case "unary": {
        if (e.op === "-" && e.x.kind === "number" && type === "f32") {
          return this.#splat(type, String(-Number(e.x.text.replace(/f$/, ""))));
        }
        const x = this.value(e.x, type).text;
        if (e.op !== "-") return `(v128.not ${x})`;
        return type === "f32" ? `(f32x4.neg ${x})` : `(i32x4.neg ${x})`;
      }
      case "binary":
        return this.#binary(e, type);
      case "call":
        return this.#call(e, type);
    }
  }

  #binary({ op, a, b }: Extract<Expr, { kind: "binary" }>, type: Lane): string {
    if (op in COMPARISON) {
      const joined = this.#join([a, b]),
        of: Lane = joined === "whole" ? "i32" : joined === "real" ? "f32" : joined;
      const x = this.value(a, of).text, y = this.value(b, of).text;
      if (of === "bool") {
        const same = `(v128.xor ${x} ${y})`;
        if (op === "==") return `(v128.not ${same})`;
        if (op === "!=") return same;
        throw new Unsupported(`${op} of booleans`);
      }
      if (of === "f32") return `(f32x4.${COMPARISON[op]} ${x} ${y})`;
      const sign = op === "==" || op === "!=" ? "" : of === "u32" ? "_u" : "_s";
      if (sign === "_u" && op === "<=") return `(v128.not (i32x4.gt_u ${x} ${y}))`;
      return `(i32x4.${COMPARISON[op]}${sign} ${x} ${y})`;
    }
    if (op in BITS) return `(v128.${BITS[op]} ${this.value(a, type).text} ${this.value(b, type).text})`;
    if (op === "<<" || op === ">>") {
      if (b.kind !== "number") throw new Unsupported("a shift by lanes");
      const by = Number(b.text.replace(/[ui]$/, ""));
      return `(i32x4.${op === "<<" ? "shl" : type === "u32" ? "shr_u" : "shr_s"} ${
        this.value(a, type).text
      } (i32.const ${by}))`;
    }
    if (type === "f32") {
      if (op === "%") throw new Unsupported("%");
      return `(f32x4.${ARITHMETIC[op]} ${this.value(a, type).text} ${this.value(b, type).text})`;
    }
    const x = keep(this.frame, "whole", this.value(a, type).text);
    if (op === "/" || op === "%") {
      // Halves only, rounded to zero.
      if (op === "%" || b.kind !== "number" || Number(b.text) !== 2 || type !== "i32") {
        throw new Unsupported(op);
      }
      return `(i32x4.shr_s (i32x4.add ${x} (i32x4.shr_u ${x} (i32.const 31))) (i32.const 1))`;
    }
    return `(i32x4.${ARITHMETIC[op]} ${x} ${this.value(b, type).text})`;
  }

  #call({ name, x }: Extract<Expr, { kind: "call" }>, type: Lane): string {
    const text = (i: number, as: Lane = type): string => this.value(x[i], as).text;
    switch (name) {
      case "bitcast":
        return this.value(x[0]).text;
      case "f32":
      case "i32":
      case "u32":
      case "bool":
        return this.#convert(this.value(x[0]), name);
      case "select":
        // What is 0 otherwise is a mask away.
        if (type === "f32" && isZero(x[0])) return `(v128.and ${text(1)} ${this.value(x[2]).text})`;
        return `(v128.bitselect ${text(1)} ${text(0)} ${this.value(x[2]).text})`;
      case "min":
      case "max":
        // The first where they are equal or not ordered.
        return type === "f32"
          ? `(f32x4.p${name} ${text(0)} ${text(1)})`
          : `(i32x4.${name}_${type === "u32" ? "u" : "s"} ${text(0)} ${text(1)})`;
      case "abs":
        return type === "f32"
          ? `(f32x4.abs ${text(0)})`
          : type === "i32"
          ? `(i32x4.abs ${text(0)})`
          : text(0);
      case "sign": {
        if (type !== "f32") throw new Unsupported("sign of whole numbers");
        const v = keep(this.frame, "sign", text(0)), zero = this.#splat("f32", "0");
        return `(v128.or (v128.and (f32x4.gt ${v} ${zero}) ${
          this.#splat("f32", "1")
        }) (v128.and (f32x4.lt ${v} ${zero}) ${this.#splat("f32", "-1")}))`;
      }
      case "fma":
        return madd(this.vectors.fused, text(0), text(1), text(2));
      case "round":
        return `(f32x4.nearest ${text(0)})`;
      case "floor":
      case "ceil":
      case "trunc":
      case "sqrt":
        return `(f32x4.${name} ${text(0)})`;
    }
    const native = NATIVE[name];
    if (name === "maxf" && isZero(x[1])) {
      const v = keep(this.frame, name, text(0));
      return `(v128.andnot ${v} (f32x4.le ${v} ${this.#splat("f32", "0")}))`;
    }
    if (native !== undefined) {
      const values = x.map((e) => keep(this.frame, name, this.value(e, "f32").text));
      return native.text((text) => this.frame.constant(text), ...values);
    }
    const { params } = this.vectors.find(name);
    return this.vectors.apply(name, x.map((e, i) => this.value(e, laneOf(params[i].type))), this.frame);
  }

  #convert({ type, text }: Vector, to: Lane): string {
    if (type === to) return text;
    switch (to) {
      case "f32":
        return type === "bool"
          ? `(v128.and ${text} ${this.#splat("f32", "1")})`
          : `(f32x4.convert_i32x4_${type === "i32" ? "s" : "u"} ${text})`;
      case "i32":
      case "u32":
        return type === "bool"
          ? `(v128.and ${text} ${this.#splat("i32", "1")})`
          : type === "f32"
          ? `(i32x4.trunc_sat_f32x4_${to === "i32" ? "s" : "u"} ${text})`
          : text;
      case "bool":
        return type === "f32"
          ? `(f32x4.ne ${text} ${this.#splat("f32", "0")})`
          : `(i32x4.ne ${text} ${this.#splat("i32", "0")})`;
    }
  }
}
