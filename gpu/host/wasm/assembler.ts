/**
 * Assembles WebAssembly from text in folded form, `(f32x4.add (local.get $x) (local.get $y))`: the part of the format
 * that our kernels use, so that they can be read. All functions are exported; memory 0 is imported as `m.m`, shared, and
 * `(import $f (param $x i32) ...)` as `m.f`.
 */

/** An expression: its head, then atoms and expressions. */
type Expression = (string | Expression)[];

function parse(text: string): Expression[] {
  const tokens = text.replaceAll(/;;[^\n]*/g, " ").match(/[()]|[^\s()]+/g) ?? [];
  const top: Expression[] = [], open: Expression[] = [];
  for (const token of tokens) {
    if (token === "(") open.push([]);
    else if (token === ")") {
      const done = open.pop()!;
      (open.length > 0 ? open[open.length - 1] : top as Expression).push(done);
    } else open[open.length - 1].push(token);
  }
  if (open.length > 0) {
    throw new Error(`Internal: ${open.length} parentheses are open at the end of a kernel`);
  }
  return top;
}

const TYPES: Record<string, number> = { i32: 0x7f, i64: 0x7e, f32: 0x7d, f64: 0x7c, v128: 0x7b };

/** Opcodes without immediates: of one byte, then of the vector extension (prefix 0xfd). */
const PLAIN: Record<string, number> = {
  return: 0x0f,
  drop: 0x1a,
  select: 0x1b,
  unreachable: 0x00,
  "i32.eqz": 0x45,
  "i32.eq": 0x46,
  "i32.ne": 0x47,
  "i32.lt_s": 0x48,
  "i32.lt_u": 0x49,
  "i32.gt_s": 0x4a,
  "i32.gt_u": 0x4b,
  "i32.le_s": 0x4c,
  "i32.le_u": 0x4d,
  "i32.ge_s": 0x4e,
  "i32.ge_u": 0x4f,
  "f32.eq": 0x5b,
  "f32.ne": 0x5c,
  "f32.lt": 0x5d,
  "f32.gt": 0x5e,
  "f32.le": 0x5f,
  "f32.ge": 0x60,
  "f64.ne": 0x62,
  "i32.add": 0x6a,
  "i32.sub": 0x6b,
  "i32.mul": 0x6c,
  "i32.div_s": 0x6d,
  "i32.div_u": 0x6e,
  "i32.rem_s": 0x6f,
  "i32.rem_u": 0x70,
  "i32.and": 0x71,
  "i32.or": 0x72,
  "i32.xor": 0x73,
  "i32.shl": 0x74,
  "i32.shr_s": 0x75,
  "i32.shr_u": 0x76,
  "f32.abs": 0x8b,
  "f32.neg": 0x8c,
  "f32.sqrt": 0x91,
  "f32.add": 0x92,
  "f32.sub": 0x93,
  "f32.mul": 0x94,
  "f32.div": 0x95,
  "f32.min": 0x96,
  "f32.max": 0x97,
  "f64.neg": 0x9a,
  "f64.sqrt": 0x9f,
  "f64.add": 0xa0,
  "f64.sub": 0xa1,
  "f64.mul": 0xa2,
  "f64.div": 0xa3,
  "f64.min": 0xa4,
  "f64.max": 0xa5,
  "i32.trunc_f32_s": 0xa8,
  "f32.convert_i32_s": 0xb2,
  "f32.demote_f64": 0xb6,
  "f64.convert_i32_s": 0xb7,
  "f64.promote_f32": 0xbb,
  "i32.reinterpret_f32": 0xbc,
  "f32.reinterpret_i32": 0xbe,
};
const VECTOR: Record<string, number> = {
  "i32x4.splat": 0x11,
  "f32x4.splat": 0x13,
  "f64x2.splat": 0x14,
  "i32x4.eq": 0x37,
  "i32x4.ne": 0x38,
  "i32x4.lt_s": 0x39,
  "i32x4.lt_u": 0x3a,
  "i32x4.gt_s": 0x3b,
  "i32x4.gt_u": 0x3c,
  "i32x4.le_s": 0x3d,
  "i32x4.ge_s": 0x3f,
  "i32x4.ge_u": 0x40,
  "f32x4.eq": 0x41,
  "f32x4.ne": 0x42,
  "f32x4.lt": 0x43,
  "f32x4.gt": 0x44,
  "f32x4.le": 0x45,
  "f32x4.ge": 0x46,
  "v128.not": 0x4d,
  "v128.and": 0x4e,
  "v128.andnot": 0x4f,
  "v128.or": 0x50,
  "v128.xor": 0x51,
  "v128.bitselect": 0x52,
  "v128.any_true": 0x53,
  "f32x4.demote_f64x2_zero": 0x5e,
  "f64x2.promote_low_f32x4": 0x5f,
  "f32x4.ceil": 0x67,
  "f32x4.floor": 0x68,
  "f32x4.trunc": 0x69,
  "f32x4.nearest": 0x6a,
  "i8x16.narrow_i16x8_u": 0x66,
  "i16x8.narrow_i32x4_u": 0x86,
  "i16x8.extend_low_i8x16_u": 0x89,
  "i32x4.extend_low_i16x8_u": 0xa9,
  "i32x4.abs": 0xa0,
  "i32x4.neg": 0xa1,
  "i32x4.shl": 0xab,
  "i32x4.shr_s": 0xac,
  "i32x4.shr_u": 0xad,
  "i32x4.add": 0xae,
  "i32x4.sub": 0xb1,
  "i32x4.mul": 0xb5,
  "i32x4.min_s": 0xb6,
  "i32x4.min_u": 0xb7,
  "i32x4.max_s": 0xb8,
  "i32x4.max_u": 0xb9,
  "f32x4.abs": 0xe0,
  "f32x4.neg": 0xe1,
  "f32x4.sqrt": 0xe3,
  "f32x4.add": 0xe4,
  "f32x4.sub": 0xe5,
  "f32x4.mul": 0xe6,
  "f32x4.div": 0xe7,
  "f32x4.min": 0xe8,
  "f32x4.max": 0xe9,
  "f32x4.pmin": 0xea,
  "f32x4.pmax": 0xeb,
  "f64x2.add": 0xf0,
  "f64x2.sub": 0xf1,
  "f64x2.mul": 0xf2,
  "f64x2.min": 0xf4,
  "f64x2.max": 0xf5,
  "i32x4.trunc_sat_f32x4_s": 0xf8,
  "i32x4.trunc_sat_f32x4_u": 0xf9,
  "f32x4.convert_i32x4_s": 0xfa,
  "f32x4.convert_i32x4_u": 0xfb,
  "f32x4.relaxed_madd": 0x105,
  "f64x2.relaxed_madd": 0x107,
};
/** Opcodes that reach memory: code, binary logarithm of the natural alignment, whether of the vector extension. */
const MEMORY: Record<string, readonly [number, number, boolean]> = {
  "i32.load": [0x28, 2, false],
  "f32.load": [0x2a, 2, false],
  "f64.load": [0x2b, 3, false],
  "i32.load8_u": [0x2d, 0, false],
  "i32.load16_u": [0x2f, 1, false],
  "i32.store": [0x36, 2, false],
  "f32.store": [0x38, 2, false],
  "f64.store": [0x39, 3, false],
  "i32.store8": [0x3a, 0, false],
  "i32.store16": [0x3b, 1, false],
  "v128.load": [0x00, 4, true],
  "v128.load16x4_u": [0x04, 3, true],
  "v128.load32_splat": [0x09, 2, true],
  "v128.load64_splat": [0x0a, 3, true],
  "v128.store": [0x0b, 4, true],
  "v128.load32_zero": [0x5c, 2, true],
  "v128.load64_zero": [0x5d, 3, true],
};
/** Opcodes that name a lane. */
const LANE: Record<string, number> = {
  "i32x4.extract_lane": 0x1b,
  "i32x4.replace_lane": 0x1c,
  "f32x4.extract_lane": 0x1f,
  "f32x4.replace_lane": 0x20,
  "f64x2.extract_lane": 0x21,
};
/** Stores and loads of one lane: `(v128.store32_lane offset=8 lane address value)`. */
const MEMORY_LANE: Record<string, readonly [number, number]> = {
  "v128.load32_lane": [0x56, 2],
  "v128.store32_lane": [0x5a, 2],
  "v128.store64_lane": [0x5b, 3],
};

function unsigned(n: number): number[] {
  const out: number[] = [];
  do {
    const byte = n & 0x7f;
    n >>>= 7;
    out.push(n === 0 ? byte : byte | 0x80);
  } while (n !== 0);
  return out;
}

function signed(n: number): number[] {
  const out: number[] = [];
  for (;;) {
    const byte = n & 0x7f;
    n >>= 7;
    if ((n === 0 && (byte & 0x40) === 0) || (n === -1 && (byte & 0x40) !== 0)) return [...out, byte];
    out.push(byte | 0x80);
  }
}

const vector = (items: readonly number[][]): number[] => [...unsigned(items.length), ...items.flat()];
const sized = (bytes: readonly number[]): number[] => [...unsigned(bytes.length), ...bytes];
const section = (id: number, bytes: readonly number[]): number[] => [id, ...sized(bytes)];
const name = (text: string): number[] => sized([...new TextEncoder().encode(text)]);

function floatBytes(text: string, width: 4 | 8): number[] {
  const value = text === "nan" ? NaN : text === "inf" ? Infinity : text === "-inf" ? -Infinity : Number(text);
  return [...new Uint8Array((width === 4 ? Float32Array : Float64Array).of(value).buffer)];
}

interface Signature {
  readonly params: readonly [string, string][];
  readonly results: readonly string[];
}

function signatureOf(f: Expression): Signature {
  const parts = f.filter((e): e is Expression => Array.isArray(e));
  return {
    params: parts.filter((e) => e[0] === "param").map((e) => [e[1] as string, e[2] as string]),
    results: parts.filter((e) => e[0] === "result").map((e) => e[1] as string),
  };
}

/** Emits the code of one function. */
class Body {
  readonly code: number[] = [];
  readonly #locals = new Map<string, number>();
  readonly #labels: string[] = [];

  constructor(f: Expression, readonly functions: ReadonlyMap<string, number>) {
    const { params } = signatureOf(f), extra: string[] = [];
    for (const [id] of params) this.#locals.set(id, this.#locals.size);
    const rest = f.slice(2).filter((e): e is Expression => Array.isArray(e));
    for (const e of rest) {
      if (e[0] !== "local") continue;
      this.#locals.set(e[1] as string, this.#locals.size);
      extra.push(e[2] as string);
    }
    this.code.push(...vector(extra.map((type) => [1, TYPES[type]])));
    for (const e of rest) if (!["param", "result", "local"].includes(e[0] as string)) this.#emit(e);
    this.code.push(0x0b);
  }

  #emit(e: Expression): void {
    const op = e[0] as string;
    const operands = (from: number): void => {
      for (const x of e.slice(from)) this.#emit(x as Expression);
    };
    const local = (): number => {
      const i = this.#locals.get(e[1] as string);
      if (i === undefined) throw new Error(`Internal: there is no local ${e[1]}`);
      return i;
    };
    switch (op) {
      case "local.get":
        this.code.push(0x20, ...unsigned(local()));
        return;
      case "local.set":
      case "local.tee":
        operands(2);
        this.code.push(op === "local.set" ? 0x21 : 0x22, ...unsigned(local()));
        return;
      case "i32.const":
        this.code.push(0x41, ...signed(Number(e[1]) | 0));
        return;
      case "f32.const":
        this.code.push(0x43, ...floatBytes(e[1] as string, 4));
        return;
      case "f64.const":
        this.code.push(0x44, ...floatBytes(e[1] as string, 8));
        return;
      case "i8x16.shuffle":
        operands(17);
        this.code.push(0xfd, 0x0d, ...e.slice(1, 17).map(Number));
        return;
      case "block":
      case "loop":
        this.#labels.push(e[1] as string);
        this.code.push(op === "block" ? 0x02 : 0x03, 0x40);
        operands(2);
        this.code.push(0x0b);
        this.#labels.pop();
        return;
      case "if": // (if condition (then ...) (else ...)), without a value
        this.#emit(e[1] as Expression);
        this.#labels.push("");
        this.code.push(0x04, 0x40);
        for (const x of (e[2] as Expression).slice(1)) this.#emit(x as Expression);
        if (e.length > 3) {
          this.code.push(0x05);
          for (const x of (e[3] as Expression).slice(1)) this.#emit(x as Expression);
        }
        this.code.push(0x0b);
        this.#labels.pop();
        return;
      case "br":
      case "br_if": {
        operands(2);
        const depth = this.#labels.length - 1 - this.#labels.lastIndexOf(e[1] as string);
        if (depth >= this.#labels.length) throw new Error(`Internal: there is no label ${e[1]}`);
        this.code.push(op === "br" ? 0x0c : 0x0d, ...unsigned(depth));
        return;
      }
      case "call": {
        operands(2);
        const f = this.functions.get(e[1] as string);
        if (f === undefined) throw new Error(`Internal: there is no function ${e[1]}`);
        this.code.push(0x10, ...unsigned(f));
        return;
      }
    }
    if (op in PLAIN) {
      operands(1);
      this.code.push(PLAIN[op]);
    } else if (op in VECTOR) {
      operands(1);
      this.code.push(0xfd, ...unsigned(VECTOR[op]));
    } else if (op in LANE) {
      operands(2);
      this.code.push(0xfd, ...unsigned(LANE[op]), Number(e[1]));
    } else if (op in MEMORY || op in MEMORY_LANE) {
      const offset = /^offset=(\d+)$/.exec(String(e[1]))?.[1], first = offset === undefined ? 1 : 2;
      const immediate = (code: number, align: number): void =>
        void this.code.push(...unsigned(code), align, ...unsigned(Number(offset ?? 0)));
      if (op in MEMORY) {
        const [code, align, isVector] = MEMORY[op];
        operands(first);
        if (isVector) this.code.push(0xfd);
        immediate(code, align);
      } else {
        operands(first + 1);
        this.code.push(0xfd);
        immediate(...MEMORY_LANE[op]);
        this.code.push(Number(e[first]));
      }
    } else throw new Error(`Internal: there is no instruction ${op}`);
  }
}

/** Largest memory that modules may import, in pages of 64 KiB: all that 32 bits reach. */
export const MOST_PAGES = 65536;

/** The bytes of a module of functions `(func $name (param $x i32) ... (result f32) (local $y v128) ...)`. */
export function assemble(text: string): Uint8Array<ArrayBuffer> {
  const parsed = parse(text), imports = parsed.filter((f) => f[0] === "import");
  const functions = parsed.filter((f) => f[0] !== "import"), all = [...imports, ...functions];
  const index = new Map(all.map((f, i) => [f[1] as string, i]));
  const nameOf = (f: Expression): number[] => name((f[1] as string).slice(1));
  const types = all.map((f) => {
    const { params, results } = signatureOf(f);
    return [0x60, ...vector(params.map(([, t]) => [TYPES[t]])), ...vector(results.map((t) => [TYPES[t]]))];
  });
  const memory = [...name("m"), ...name("m"), 0x02, 0x03, 0, ...unsigned(MOST_PAGES)];
  const imported = imports.map((f, i) => [...name("m"), ...nameOf(f), 0x00, ...unsigned(i)]);
  const exported = functions.map((f) => [...nameOf(f), 0x00, ...unsigned(index.get(f[1] as string)!)]);
  const bodies = functions.map((f) => sized(new Body(f, index).code));
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00],
    ...section(1, vector(types)),
    ...section(2, vector([memory, ...imported])),
    ...section(3, vector(functions.map((f) => unsigned(index.get(f[1] as string)!)))),
    ...section(7, vector(exported)),
    ...section(10, vector(bodies)),
  ]);
}
