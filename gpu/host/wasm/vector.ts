/** From WGSL to vectors of four lanes: branches become masks, so that every lane takes the path that it would alone. */
import { madd } from "./text.ts";
import {
  type Expr,
  type Function,
  parseExpression,
  parseFunctions,
  type Statement,
  Unsupported,
} from "./wgsl.ts";

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

const ones = "(i32x4.splat (i32.const -1))";
const call = (op: string) => (...x: string[]): string => `(${op} ${x.join(" ")})`;

/** Functions of the prelude that vectors have by themselves, with the same NaN and zeros. */
const NATIVE: Record<string, { type: Lane; text: (...x: string[]) => string }> = {
  isNan: { type: "bool", text: (x) => `(f32x4.ne ${x} ${x})` },
  isFinite: { type: "bool", text: (x) => `(f32x4.lt (f32x4.abs ${x}) ${splat("f32", "inf")})` },
  inf: { type: "f32", text: () => splat("f32", "inf") },
  nan: { type: "f32", text: () => splat("f32", "nan") },
  maxf: { type: "f32", text: call("f32x4.max") },
  minf: { type: "f32", text: call("f32x4.min") },
  eqf: { type: "bool", text: call("f32x4.eq") },
  nef: { type: "bool", text: call("f32x4.ne") },
  ltf: { type: "bool", text: call("f32x4.lt") },
  lef: { type: "bool", text: call("f32x4.le") },
  gtf: { type: "bool", text: call("f32x4.gt") },
  gef: { type: "bool", text: call("f32x4.ge") },
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

/** Compiles functions as they are asked for, and expressions that call them. */
export class Vectorizer {
  readonly #sources: ReadonlyMap<string, string>;
  /** Text of each compiled function; null while it is compiled. */
  readonly #functions = new Map<string, { result: Lane; text: string } | null>();

  /** `sources`: WGSL of functions by name; `fused`: whether the machine has a fused multiply-add. */
  constructor(sources: ReadonlyMap<string, string>, readonly fused: boolean) {
    this.#sources = sources;
  }

  /** Text of the functions that were asked for so far. */
  get text(): string {
    return [...this.#functions.values()].map((f) => f!.text).join("\n");
  }

  /** An expression of names; throws `Unsupported` where vectors cannot say it. */
  expression(text: string, types: ReadonlyMap<string, Lane>): Vector {
    return new Scope(this, types).value(parseExpression(text));
  }

  /** The type of what a function gives; compiles it. */
  functionType(name: string): Lane {
    let f = this.#functions.get(name);
    if (f === null) throw new Unsupported(`${name} calls itself`);
    if (f === undefined) {
      const source = this.#sources.get(name);
      if (source === undefined) throw new Unsupported(name);
      this.#functions.set(name, null);
      try {
        f = this.#compile(parseFunctions(source)[0]);
      } catch (error) {
        this.#functions.delete(name);
        throw error;
      }
      // Those that it calls are compiled by now; the order of functions does not matter.
      this.#functions.set(name, f);
    }
    return f.result;
  }

  #compile(f: Function): { result: Lane; text: string } {
    const types = new Map(f.params.map((p) => [p.name, laneOf(p.type)]));
    const scope = new Scope(this, types), body = new Block(scope, laneOf(f.result));
    const code = body.statements(f.body, null);
    const params = f.params.map((p) => `(param $${p.name} v128)`).join(" ");
    const locals = body.locals.map((l) => `(local $${l} v128)`).join(" ");
    return {
      result: laneOf(f.result),
      text: `(func $${f.name} ${params} (result v128) ${locals}\n${code}\n(local.get $result))`,
    };
  }
}

function laneOf(type: string): Lane {
  if (type === "f32" || type === "i32" || type === "u32" || type === "bool") return type;
  throw new Unsupported(type);
}

/** Names in reach, and expressions of them. */
class Scope {
  readonly types: Map<string, Lane>;
  constructor(readonly vectors: Vectorizer, types: ReadonlyMap<string, Lane>) {
    this.types = new Map(types);
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
      case "name": {
        if (e.name === "true" || e.name === "false") return "bool";
        const type = this.types.get(e.name);
        if (type === undefined) throw new Unsupported(e.name);
        return type;
      }
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
        return NATIVE[e.name]?.type ?? this.vectors.functionType(e.name);
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
        return splat(
          type,
          String(type === "f32" ? Number(e.text.replace(/f$/, "")) : Number(e.text.replace(/[ui]$/, ""))),
        );
      case "name":
        return e.name === "true" ? ones : e.name === "false" ? splat("bool", "0") : `(local.get $${e.name})`;
      case "unary": {
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
    const x = this.value(a, type).text;
    if (type === "f32") {
      if (op === "%") throw new Unsupported("%");
      return `(f32x4.${ARITHMETIC[op]} ${x} ${this.value(b, type).text})`;
    }
    if (op === "/" || op === "%") {
      // Halves only, rounded to zero.
      if (op === "%" || b.kind !== "number" || Number(b.text) !== 2 || type !== "i32") {
        throw new Unsupported(op);
      }
      return `(i32x4.shr_s (i32x4.add ${x} (i32x4.shr_u ${
        this.#text(a, type)
      } (i32.const 31))) (i32.const 1))`;
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
        return convert(this.value(x[0]), name);
      case "select":
        return `(v128.bitselect ${text(1)} ${text(0)} ${this.value(x[2]).text})`;
      case "min":
      case "max":
        // The second where they are equal or not ordered, as hardware does.
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
        const v = text(0), zero = splat("f32", "0");
        return `(v128.or (v128.and (f32x4.gt ${v} ${zero}) ${
          splat("f32", "1")
        }) (v128.and (f32x4.lt ${v} ${zero}) ${splat("f32", "-1")}))`;
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
    if (native !== undefined) return native.text(...x.map((e) => this.value(e, "f32").text));
    this.vectors.functionType(name);
    return `(call $${name} ${x.map((e) => this.value(e, "f32").text).join(" ")})`;
  }
}

function convert({ type, text }: Vector, to: Lane): string {
  if (type === to) return text;
  switch (to) {
    case "f32":
      return type === "bool"
        ? `(v128.and ${text} ${splat("f32", "1")})`
        : `(f32x4.convert_i32x4_${type === "i32" ? "s" : "u"} ${text})`;
    case "i32":
    case "u32":
      return type === "bool"
        ? `(v128.and ${text} ${splat("i32", "1")})`
        : type === "f32"
        ? `(i32x4.trunc_sat_f32x4_${to === "i32" ? "s" : "u"} ${text})`
        : text;
    case "bool":
      return type === "f32"
        ? `(f32x4.ne ${text} ${splat("f32", "0")})`
        : `(i32x4.ne ${text} ${splat("i32", "0")})`;
  }
}

/** Statements of a function: what happens on a branch happens to the lanes of its mask. */
class Block {
  readonly locals = ["result", "live"];
  #returned = false;
  #masks = 0;

  constructor(readonly scope: Scope, readonly result: Lane) {}

  statements(list: readonly Statement[], mask: string | null): string {
    return list.map((s) => this.#statement(s, mask)).join("\n");
  }

  #statement(s: Statement, mask: string | null): string {
    const { scope } = this;
    switch (s.kind) {
      case "let": {
        const { type, text } = scope.value(s.value);
        if (!scope.types.has(s.name)) this.locals.push(s.name);
        scope.types.set(s.name, type);
        return `(local.set $${s.name} ${text})`;
      }
      case "assign": {
        const type = scope.types.get(s.name);
        if (type === undefined) throw new Unsupported(s.name);
        const { text } = scope.value(s.value, type);
        return `(local.set $${s.name} ${
          mask === null ? text : `(v128.bitselect ${text} (local.get $${s.name}) ${mask})`
        })`;
      }
      case "return": {
        const { text } = scope.value(s.value, this.result);
        const live = this.#returned ? "(local.get $live)" : null;
        // Lanes that left earlier keep what they left with.
        const where = mask === null ? live : live === null ? mask : `(v128.and ${mask} ${live})`;
        const value = where === null ? text : `(v128.bitselect ${text} (local.get $result) ${where})`;
        const leave = mask === null ? "" : `(local.set $live (v128.andnot ${live ?? ones} ${mask}))`;
        this.#returned = true;
        return `(local.set $result ${value}) ${leave}`;
      }
      case "while": {
        // Lanes leave one by one; the loop ends with the last.
        const name = `mask${this.#masks++}`, got = `(local.get $${name})`, label = `w${name}`;
        this.locals.push(name);
        const condition = scope.value(s.condition).text;
        if (s.body.some(returns)) throw new Unsupported("return from a loop");
        // A lane whose own path does not come here may hold anything: only what any whole number ends is safe.
        if (!/\(i32x4\.(gt|lt|ne)/.test(condition)) throw new Unsupported("a loop over real numbers");
        return `(local.set $${name} ${mask ?? ones})
(block $${label}_end (loop $${label}
  (local.set $${name} (v128.and ${condition} ${got}))
  (br_if $${label}_end (i32.eqz (v128.any_true ${got})))
  ${this.statements(s.body, got)} (br $${label})))`;
      }
      case "if": {
        const name = `mask${this.#masks++}`, got = `(local.get $${name})`;
        this.locals.push(name);
        const condition = scope.value(s.condition).text;
        const set = `(local.set $${name} ${mask === null ? condition : `(v128.and ${condition} ${mask})`})`;
        const before = this.#returned;
        const started = before || !returns(s) ? "" : `(local.set $live ${ones})`;
        if (started !== "") this.#returned = true;
        const yes = `(if (v128.any_true ${got}) (then ${this.statements(s.yes, got)}))`;
        let no = "";
        if (s.no.length > 0) {
          const other = `mask${this.#masks++}`;
          this.locals.push(other);
          const rest = mask === null ? `(v128.not ${got})` : `(v128.andnot ${mask} ${got})`;
          no = `(local.set $${other} ${rest}) ${this.statements(s.no, `(local.get $${other})`)}`;
        }
        return `${started} ${set} ${yes} ${no}`;
      }
    }
  }
}

function returns(s: Statement): boolean {
  return s.kind === "return" || (s.kind === "while" && s.body.some(returns)) ||
    (s.kind === "if" && [...s.yes, ...s.no].some(returns));
}
