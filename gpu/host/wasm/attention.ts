/**
 * Attention in WebAssembly (Dao 2023, "FlashAttention-2"): a block of queries against all the keys that it sees, whose
 * scores stand in memory between two products; backwards, scores are computed once for all three gradients.
 */
import { matmulText } from "./matmul.ts";
import { Rows } from "./row_function.ts";
import { LOGSUM } from "./rows.ts";
import { add, get, i32, locals, loop, min, mul, params, set, step, sub, ZEROS } from "./text.ts";
import { HEADER } from "./threads.ts";
import { Vectorizer } from "./vector.ts";

/**
 * Words of a call's geometry. Steps are in bytes: `qb` from batch to batch, `qh` from head to head, `qi` from row to row of
 * q; likewise of k, v, the mask m and the output's cotangent u. `line` is that of a row of scores; `first` keys are seen by
 * query 0 where it is causal; a gradient at 0 is not wanted.
 */
export const WORDS = [
  ...["H", "Hk", "G", "T", "S", "D", "E", "each", "blocks", "line", "causal", "first", "scale", "library"],
  ...["q", "qb", "qh", "qi", "k", "kb", "kh", "ki", "v", "vb", "vh", "vi", "u", "ub", "uh", "ui"],
  ...["mask", "m", "mb", "mh", "mi", "mj", "y", "stats", "dq", "dkv", "room", "roomOf"],
] as const;

/** A word of a call's geometry. */
export type Word = (typeof WORDS)[number];

/** Bytes that a thread needs for blocks of `each` queries. */
export function roomFor(each: number, line: number, D: number): number {
  return 2 * each * line + 4 * each * D + 4 * each + 64;
}

const word = (name: Word, load = "i32.load"): string =>
  `(${load} offset=${4 * WORDS.indexOf(name)} ${get("g")})`;
const sum = (...x: string[]): string => x.reduce((a, b) => add(a, b));
const when = (condition: string, then: string, otherwise = ""): string =>
  `(if ${condition} (then ${then})${otherwise === "" ? "" : ` (else ${otherwise})`})`;
const splat = (x: string): string => `(f32x4.splat ${x})`;
const f32 = (x: number | string): string => `(f32.const ${x})`;

/** A loop from `from` on while below `to`. */
const count = (i: string, from: string, to: string, body: string, by: string | number = 1): string =>
  `${set(i, from)} ${loop(i, `(i32.lt_s ${get(i)} ${to})`, `${body} ${step(i, by)}`)}`;

/**
 * A matrix for `$product`: where it is, the distance of its lines in bytes, and whether they are its columns.
 */
interface Operand {
  readonly at: string;
  readonly line: string;
  readonly transposed?: boolean;
}

/** `c [M, N] (+)= a [M, K] b [K, N]` by the library or by our own. */
function product(M: string, N: string, K: string, a: Operand, b: Operand, c: Operand, adds = false): string {
  const flag = (x: Operand): string => i32(x.transposed === true ? 1 : 0);
  return `(call $product ${word("library")} ${flag(a)} ${
    flag(b)
  } ${M} ${N} ${K} ${a.at} ${a.line} ${b.at} ${b.line} ${i32(adds ? 1 : 0)} ${c.at} ${c.line} ${
    get("panels")
  })`;
}

const PRODUCT = `(func $product ${params("library s t M N K a lda b ldb adds c ldc panels")}
${
  when(
    get("library"),
    `(call $gemm ${i32(0)} ${["s", "t", "M", "N", "K"].map(get).join(" ")} ${get("a")} ${quarter("lda")} ${
      get("b")
    } ${quarter("ldb")} ${get("adds")} ${get("c")} ${quarter("ldc")})`,
    `(call $matmul ${["M", "N", "K", "a"].map(get).join(" ")}
    (select ${i32(4)} ${get("lda")} ${get("s")}) (select ${get("lda")} ${i32(4)} ${get("s")}) ${get("b")}
    (select ${i32(4)} ${get("ldb")} ${get("t")}) (select ${get("ldb")} ${i32(4)} ${get("t")})
    ${["c", "ldc", "adds", "panels"].map(get).join(" ")})`,
  )
})`;

function quarter(x: string): string {
  return `(i32.shr_u ${get(x)} ${i32(2)})`;
}

/** The first keys that query `i` of a block from `i0` on sees: min(S, max(0, first + i0 + i)) if causal, else S. */
const seen = (i: string): string =>
  `(select ${min(word("S"), max(i32(0), sum(word("first"), i)))} ${word("S")} ${word("causal")})`;

/** Zeros in place of scores from the first that row `len` does not see to the block's last. */
const hide = (at: string): string =>
  `(call $blank ${add(get(at), mul(get("len"), i32(4)))} ${sub(get("m"), get("len"))})`;

function max(a: string, b: string): string {
  return `(select ${a} ${b} (i32.gt_s ${a} ${b}))`;
}

/**
 * `weights(x, y, n, rows, inverse)`: n scores of a row become e^(score - largest); the log of their sum goes to y, and its
 * inverse to `inverse`. `gradients(x, y, n, rows, stats)`: scores x and cotangents y of weights become weights
 * w = e^(x - lse) and the scores' cotangents w (y - delta).
 */
function rowFunctions(vectors: Vectorizer): string {
  const r = new Rows(vectors), g = new Rows(vectors);
  const inverse = "(f32.demote_f64 (f64.div (f64.const 1) (local.get $s)))";
  const weights = `${r.largest()}
${
    when(
      `(f32.eq ${get("m")} ${f32("-inf")})`,
      `${r.fill("x", ZEROS)} (f32.store ${get("y")} ${get("m")}) (f32.store ${get("inverse")} ${f32(0)})`,
      `${r.sum("x")} ${r.log()} (f32.store ${get("y")} ${LOGSUM}) (f32.store ${get("inverse")} ${inverse})`,
    )
  }`;
  const gradients = `${set("low", `(v128.load32_splat ${get("stats")})`)}
${set("high", `(v128.load32_splat offset=4 ${get("stats")})`)}
${g.map(["x"], ([z]) => g.exp(`(f32x4.sub ${z} ${get("low")})`), "x")}
${g.map(["x", "y"], ([w, dw]) => `(f32x4.mul ${w} (f32x4.sub ${dw} ${get("high")}))`, "y")}`;
  return `${r.function("weights", ["inverse"], weights, ["x"], [])}
${g.function("gradients", ["stats"], gradients, ["x", "y"], [])}`;
}

/** `scaled(x, y, n, by)`: y = by x, n elements. */
const SCALED = `(func $scaled ${params("x y n")} (param $by f32)
${
  loop(
    "fours",
    `(i32.ge_s ${get("n")} ${i32(4)})`,
    `(v128.store ${get("y")} (f32x4.mul (v128.load ${get("x")}) ${splat(get("by"))}))
    ${step("x", 16)} ${step("y", 16)} ${step("n", -4)}`,
  )
}
${
  loop(
    "ones",
    `(i32.gt_s ${get("n")} ${i32(0)})`,
    `(f32.store ${get("y")} (f32.mul (f32.load ${get("x")}) ${get("by")})) ${step("x", 4)} ${step("y", 4)} ${
      step("n", -1)
    }`,
  )
})`;

/** `blank(y, n)`: n zeros. */
const BLANK = `(func $blank ${params("y n")}
${
  loop(
    "fours",
    `(i32.ge_s ${get("n")} ${i32(4)})`,
    `(v128.store ${get("y")} ${ZEROS}) ${step("y", 16)} ${step("n", -4)}`,
  )
}
${
  loop(
    "ones",
    `(i32.gt_s ${get("n")} ${i32(0)})`,
    `(f32.store ${get("y")} ${f32(0)}) ${step("y", 4)} ${step("n", -1)}`,
  )
})`;

/** The address of rows of an operand: head `h` of batch `b`, from row `i` on. */
function rows(x: "q" | "k" | "v" | "u", h: string, i: string | null): string {
  const at = sum(word(x), mul(get("b"), word(`${x}b`)), mul(get(h), word(`${x}h`)));
  return i === null ? at : add(at, mul(get(i), word(`${x}i`)));
}

/** `scores(g, b, h, i0, n, m, panels)`: of n queries from i0 on and the first m keys, mask included. */
const SCORES = `(func $scores ${params("g b h hk i0 n m z qs panels")} ${locals("i j x y")}
${
  count(
    "i",
    i32(0),
    get("n"),
    `(call $scaled ${add(rows("q", "h", "i0"), mul(get("i"), word("qi")))} ${
      add(get("qs"), mul(get("i"), mul(word("D"), i32(4))))
    } ${word("D")} ${word("scale", "f32.load")})`,
  )
}
${
  product(
    get("n"),
    get("m"),
    word("D"),
    { at: get("qs"), line: mul(word("D"), i32(4)) },
    { at: rows("k", "hk", null), line: word("ki"), transposed: true },
    { at: get("z"), line: word("line") },
  )
}
${
  when(
    word("mask"),
    count(
      "i",
      i32(0),
      get("n"),
      `${set("y", add(get("z"), mul(get("i"), word("line"))))}
      ${
        set(
          "x",
          sum(
            word("m"),
            mul(get("b"), word("mb")),
            mul(get("h"), word("mh")),
            mul(add(get("i0"), get("i")), word("mi")),
          ),
        )
      }
      ${
        count(
          "j",
          i32(0),
          get("m"),
          `${
            when(
              `(i32.eq ${word("mask")} ${i32(1)})`,
              when(`(i32.eqz (i32.load8_u ${get("x")}))`, `(f32.store ${get("y")} ${f32("-inf")})`),
              `(f32.store ${get("y")} (f32.add (f32.load ${get("y")}) (f32.load ${get("x")})))`,
            )
          } ${step("x", word("mj"))} ${step("y", 4)}`,
        )
      }`,
    ),
  )
})`;

/** What a thread has of its room: scores, cotangents of weights, scaled queries, inverses of sums. */
const ROOM = `${
  set("z", add(word("room"), mul(`(i32.load ${sub(get("sums"), i32(HEADER))})`, word("roomOf"))))
}
${set("w", add(get("z"), mul(word("each"), word("line"))))}
${set("qs", add(get("w"), mul(word("each"), word("line"))))}
${set("inverses", add(get("qs"), mul(mul(word("each"), word("D")), i32(4))))}`;

/** Block `i0` on of n queries, which see m keys at most. */
const BLOCK = `${set("n", min(word("each"), sub(word("T"), get("i0"))))}
${set("m", seen(sum(get("i0"), get("n"), i32(-1))))}`;

/** Every row of the block from `z` on (and `w`), with the number of keys that it sees in `len`. */
const eachRow = (body: string): string =>
  `${set("zi", get("z"))} ${set("wi", get("w"))}
${
    count(
      "i",
      i32(0),
      get("n"),
      `${set("len", min(get("m"), seen(add(get("i0"), get("i")))))} ${body} ${step("zi", word("line"))} ${
        step("wi", word("line"))
      }`,
    )
  }`;

const FORWARD = `(func $forward ${params("g from to sums panels")} ${
  locals("u b h hk i0 n m z w qs inverses i len zi wi y line")
}
${ROOM} ${set("line", mul(add(word("E"), i32(1)), i32(4)))}
${
  count(
    "u",
    get("from"),
    get("to"),
    `${set("h", `(i32.div_u ${get("u")} ${word("blocks")})`)}
    ${set("i0", mul(sub(get("u"), mul(get("h"), word("blocks"))), word("each")))}
    ${set("y", add(word("y"), mul(add(mul(get("h"), word("T")), get("i0")), get("line"))))}
    ${set("b", `(i32.div_u ${get("h")} ${word("H")})`)}
    ${set("h", sub(get("h"), mul(get("b"), word("H"))))} ${set("hk", `(i32.div_u ${get("h")} ${word("G")})`)}
    ${BLOCK}
    ${
      when(
        get("m"),
        `(call $scores ${["g", "b", "h", "hk", "i0", "n", "m", "z", "qs", "panels"].map(get).join(" ")})`,
      )
    }
    ${
      eachRow(
        `(call $weights ${get("zi")} ${sum(get("y"), mul(get("i"), get("line")), mul(word("E"), i32(4)))} ${
          get("len")
        } ${i32(1)} ${add(get("inverses"), mul(get("i"), i32(4)))}) ${hide("zi")}`,
      )
    }
    ${
      when(
        get("m"),
        product(
          get("n"),
          word("E"),
          get("m"),
          { at: get("z"), line: word("line") },
          { at: rows("v", "hk", null), line: word("vi") },
          { at: get("y"), line: get("line") },
        ),
      )
    }
    ${
      count(
        "i",
        i32(0),
        get("n"),
        `${
          when(
            get("m"),
            `(call $scaled ${get("y")} ${get("y")} ${word("E")} (f32.load ${
              add(get("inverses"), mul(get("i"), i32(4)))
            }))`,
            `(call $blank ${get("y")} ${word("E")})`,
          )
        } ${step("y", get("line"))}`,
      )
    }`,
  )
})`;

const BACKWARD = `(func $backward ${params("g from to sums panels")} ${
  locals("u b h hk end i0 n m z w qs inverses i len zi wi dq dkv line row stats")
}
${ROOM} ${set("line", mul(add(word("D"), word("E")), i32(4)))}
${
  count(
    "u",
    get("from"),
    get("to"),
    `${set("b", `(i32.div_u ${get("u")} ${word("Hk")})`)} ${
      set("hk", sub(get("u"), mul(get("b"), word("Hk"))))
    }
    ${set("dkv", add(word("dkv"), mul(mul(get("u"), word("S")), get("line"))))}
    ${
      when(
        word("dkv"),
        `(call $blank ${get("dkv")} ${mul(word("S"), `(i32.shr_u ${get("line")} ${i32(2)})`)})`,
      )
    }
    ${set("end", mul(add(get("hk"), i32(1)), word("G")))}
    ${
      count(
        "h",
        mul(get("hk"), word("G")),
        get("end"),
        count(
          "i0",
          i32(0),
          word("T"),
          `${BLOCK}
          ${set("row", add(mul(add(mul(get("b"), word("H")), get("h")), word("T")), get("i0")))}
          ${set("dq", add(word("dq"), mul(get("row"), mul(word("D"), i32(4)))))}
          ${
            when(
              get("m"),
              `(call $scores ${["g", "b", "h", "hk", "i0", "n", "m", "z", "qs", "panels"].map(get).join(" ")})
              ${
                product(
                  get("n"),
                  get("m"),
                  word("E"),
                  { at: rows("u", "h", "i0"), line: word("ui") },
                  { at: rows("v", "hk", null), line: word("vi"), transposed: true },
                  { at: get("w"), line: word("line") },
                )
              }
              ${
                eachRow(
                  `${set("stats", add(word("stats"), mul(add(get("row"), get("i")), i32(8))))}
                  ${when(`(f32.eq (f32.load ${get("stats")}) ${f32("-inf")})`, set("len", i32(0)))}
                  (call $gradients ${["zi", "wi", "len"].map(get).join(" ")} ${i32(1)} ${get("stats")})
                  ${hide("zi")} ${hide("wi")}`,
                )
              }
              ${
                when(
                  word("dkv"),
                  product(
                    get("m"),
                    word("D"),
                    get("n"),
                    { at: get("w"), line: word("line"), transposed: true },
                    { at: get("qs"), line: mul(word("D"), i32(4)) },
                    { at: get("dkv"), line: get("line") },
                    true,
                  ) + product(
                    get("m"),
                    word("E"),
                    get("n"),
                    { at: get("z"), line: word("line"), transposed: true },
                    { at: rows("u", "h", "i0"), line: word("ui") },
                    { at: add(get("dkv"), mul(word("D"), i32(4))), line: get("line") },
                    true,
                  ),
                )
              }
              ${
                when(
                  word("dq"),
                  product(
                    get("n"),
                    word("D"),
                    get("m"),
                    { at: get("w"), line: word("line") },
                    { at: rows("k", "hk", null), line: word("ki") },
                    { at: get("dq"), line: mul(word("D"), i32(4)) },
                  ) +
                    `(call $scaled ${get("dq")} ${get("dq")} ${mul(get("n"), word("D"))} ${
                      word("scale", "f32.load")
                    })`,
                )
              }`,
              when(word("dq"), `(call $blank ${get("dq")} ${mul(get("n"), word("D"))})`),
            )
          }`,
          word("each"),
        ),
      )
    }`,
  )
})`;

/**
 * Text of a module with `forward(g, from, to, sums, panels)` over blocks of queries, `y [B, H, T, E + 1]` the output and
 * the log-sum-exp of each, and `backward(g, from, to, sums, panels)` over heads of keys, from `stats [B, H, T, 2]`, to dq
 * `[B, H, T, D]` and dkv `[B, Hk, S, D + E]`. Rows of operands are contiguous.
 */
export function attentionText(sources: ReadonlyMap<string, string>, fused: boolean): string {
  const vectors = new Vectorizer(sources, fused);
  return [matmulText(fused), rowFunctions(vectors), PRODUCT, SCALED, BLANK, SCORES, FORWARD, BACKWARD].join(
    "\n",
  );
}
