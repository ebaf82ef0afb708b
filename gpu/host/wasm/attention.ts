/**
 * Attention in WebAssembly (Dao 2023, "FlashAttention-2"): a block of queries against all the keys that it sees, whose
 * scores stand in memory between two products; backwards, scores are computed once for all three gradients.
 */
import { attentionRows, word } from "./attention_rows.ts";
import { matmulText } from "./matmul.ts";
import {
  add,
  count,
  f32,
  get,
  i32,
  locals,
  max,
  min,
  mul,
  params,
  set,
  step,
  sub,
  sum,
  when,
} from "./text.ts";
import { HEADER } from "./threads.ts";
import { Vectorizer } from "./vector.ts";

/** Bytes that a thread needs for blocks of `each` queries. */
export function roomFor(each: number, line: number, D: number): number {
  return 2 * each * line + 4 * each * D + 4 * each + line + 64;
}

/** A matrix for `$product`: where it is, the distance of its lines in bytes, and whether they are its columns. */
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

/** Bytes in elements. */
function quarter(x: string): string {
  return `(i32.shr_u ${get(x)} ${i32(2)})`;
}

/** The first keys that query `i` of a block from `i0` on sees: min(S, max(0, first + i0 + i)) if causal, else S. */
const seen = (i: string): string =>
  `(select ${min(word("S"), max(i32(0), sum(word("first"), i)))} ${word("S")} ${word("causal")})`;

/** Zeros in place of scores from the first that row `len` does not see to the block's last. */
const hide = (at: string): string =>
  `(call $blank ${add(get(at), mul(get("len"), i32(4)))} ${sub(get("m"), get("len"))})`;

/** Tosses for a row, and drops at a place of its own. */
const toss = when(
  word("drops"),
  `(call $toss ${["g", "b", "h"].map(get).join(" ")} ${add(get("i0"), get("i"))} ${get("len")} ${
    get("bits")
  })`,
);
const drop = (at: string): string =>
  when(word("drops"), `(call $drop ${["g", at, "len", "bits"].map(get).join(" ")})`);

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

/** What a thread has of its room: scores, cotangents of weights, scaled queries, inverses of sums, random bits. */
const ROOM = `${
  set("z", add(word("room"), mul(`(i32.load ${sub(get("sums"), i32(HEADER))})`, word("roomOf"))))
}
${set("w", add(get("z"), mul(word("each"), word("line"))))}
${set("qs", add(get("w"), mul(word("each"), word("line"))))}
${set("inverses", add(get("qs"), mul(mul(word("each"), word("D")), i32(4))))}
${set("bits", `(i32.and ${sum(get("inverses"), mul(word("each"), i32(4)), i32(15))} ${i32(-16)})`)}`;

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
  locals("u b h hk i0 n m z w qs inverses bits i len zi wi y line")
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
        } ${i32(1)} ${add(get("inverses"), mul(get("i"), i32(4)))}) ${toss} ${drop("zi")} ${hide("zi")}`,
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
  locals("u b h hk end i0 n m z w qs inverses bits i len zi wi dq dkv line row stats")
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
                  ${toss} ${drop("wi")}
                  (call $gradients ${["zi", "wi", "len"].map(get).join(" ")} ${i32(1)} ${get("stats")})
                  ${drop("zi")}
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
  const rows = attentionRows(new Vectorizer(sources, fused));
  return [matmulText(fused), rows, PRODUCT, SCORES, FORWARD, BACKWARD].join("\n");
}
