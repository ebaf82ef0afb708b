/** What attention does to rows of scores, and the words of its geometry. */
import { randomText } from "./random.ts";
import { Rows } from "./row_function.ts";
import { LOGSUM } from "./rows.ts";
import {
  add,
  f32,
  get,
  i32,
  locals,
  loop,
  mul,
  params,
  set,
  splat,
  step,
  sub,
  sum,
  when,
  ZEROS,
} from "./text.ts";
import type { Vectorizer } from "./vector.ts";

/**
 * Words of a call's geometry. Steps are in bytes: `qb` from batch to batch, `qh` from head to head, `qi` from row to row of
 * q; likewise of k, v, the mask m and the output's cotangent u. `line` is that of a row of scores; `first` keys are seen by
 * query 0 where it is causal; a gradient at 0 is not wanted. Where it `drops` weights, those whose bits are below `limit`
 * become 0 and the others are multiplied by `factor`; bits come from a key for `perKey` batches.
 */
export const WORDS = [
  ...["H", "Hk", "G", "T", "S", "D", "E", "each", "blocks", "line", "causal", "first", "scale", "library"],
  ...["q", "qb", "qh", "qi", "k", "kb", "kh", "ki", "v", "vb", "vh", "vi", "u", "ub", "uh", "ui"],
  ...["mask", "m", "mb", "mh", "mi", "mj", "y", "stats", "dq", "dkv", "room", "roomOf"],
  ...["drops", "key", "perKey", "limit", "factor", "queries", "keys", "firstQuery", "firstKey"],
] as const;

/** A word of a call's geometry. */
export type Word = (typeof WORDS)[number];

/** The value of a word. */
export const word = (name: Word, load = "i32.load"): string =>
  `(${load} offset=${4 * WORDS.indexOf(name)} ${get("g")})`;
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

/** `toss(g, b, h, i, n, bits)`: random bits for the first n weights of query i, of which `drop(z, n, bits)` makes factors. */
const DROP = `(func $toss ${params("g b h i n bits")} ${locals("from key")}
${set("key", `(i32.div_u ${get("b")} ${word("perKey")})`)}
${set("from", add(mul(sub(get("b"), mul(get("key"), word("perKey"))), word("H")), get("h")))}
${set("from", sum(mul(get("from"), word("queries")), word("firstQuery"), get("i")))}
${set("from", add(mul(get("from"), word("keys")), word("firstKey")))}
${set("key", add(word("key"), mul(get("key"), i32(8))))}
(call $bits ${sub(get("bits"), mul(get("from"), i32(4)))} ${get("from")} ${
  add(get("from"), get("n"))
} (i32.load ${get("key")}) (i32.load offset=4 ${get("key")})))
(func $drop ${params("g z n bits")}
${
  loop(
    "fours",
    `(i32.gt_s ${get("n")} ${i32(0)})`,
    `(v128.store ${get("z")} (f32x4.mul (v128.load ${get("z")}) (v128.and ${splat(word("factor", "f32.load"))}
    (i32x4.ge_s (i32x4.shr_u (v128.load ${get("bits")}) ${i32(8)}) (i32x4.splat ${word("limit")})))))
    ${step("z", 16)} ${step("bits", 16)} ${step("n", -4)}`,
  )
})`;

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

/** Text of all functions of rows, random bits included. */
export function attentionRows(vectors: Vectorizer): string {
  return [rowFunctions(vectors), randomText(), DROP, SCALED, BLANK].join("\n");
}
