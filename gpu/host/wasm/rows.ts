/** Rows of contiguous f32: softmax, log-sum-exp, cross-entropy, which need the largest of a row first, and attention. */
import { get, HIGH, madd, set, step } from "./text.ts";
import { Vectorizer } from "./vector.ts";

/** `p` from the row's start on: fours while they fit in `n` elements, then ones. */
function row(name: string, four: string, one: string): string {
  return `${set("p", get("x"))} ${set("q", get("y"))} ${set("k", get("n"))}
(block $${name}_end (loop $${name} (br_if $${name}_end (i32.lt_s ${get("k")} (i32.const 4)))
  ${four} ${step("p", 16)} ${step("q", 16)} ${step("k", -4)} (br $${name})))
(block $${name}1_end (loop $${name}1 (br_if $${name}1_end (i32.le_s ${get("k")} (i32.const 0)))
  ${one} ${step("p", 4)} ${step("q", 4)} ${step("k", -1)} (br $${name}1)))`;
}

const splat = (x: number): string => `(f32x4.splat (f32.const ${x}))`;

/**
 * `expBelow(x)`, e^x of numbers that are not positive, as all are once the largest of a row is taken off: 2^k e^r with
 * r = x - k ln 2 and the series of e^r; what is below the smallest normal number is 0. NaN stays.
 */
function expBelow(fused: boolean): string {
  const series = [1 / 720, 1 / 120, 1 / 24, 1 / 6, 0.5, 1, 1].map(splat)
    .reduce((sum, c) => madd(fused, sum, get("r"), c));
  const power = `(i32x4.add (i32x4.trunc_sat_f32x4_s ${get("k")}) (i32x4.splat (i32.const 127)))`;
  return `(func $expBelow (param $x v128) (result v128) (local $k v128) (local $r v128)
${set("x", `(f32x4.max ${get("x")} ${splat(-88)})`)}
${set("k", `(f32x4.nearest (f32x4.mul ${get("x")} ${splat(1.4426950408889634)}))`)}
${set("r", madd(fused, get("k"), splat(2.1219444e-4), madd(fused, get("k"), splat(-0.693359375), get("x"))))}
(f32x4.mul ${series} (i32x4.shl ${power} (i32.const 23))))`;
}

const LOCALS =
  `(local $p i32) (local $q i32) (local $k i32) (local $v v128) (local $low v128) (local $high v128)
(local $m f32) (local $s f64) (local $mm v128)`;

/** The largest of a row in `m` and, in each lane, `mm`. */
const LARGEST = `${set("mm", "(f32x4.splat (f32.const -inf))")}
${
  row(
    "most",
    set("mm", `(f32x4.max ${get("mm")} (v128.load ${get("p")}))`),
    set("mm", `(f32x4.max ${get("mm")} (v128.load32_splat ${get("p")}))`),
  )
}
${set("m", `(f32x4.extract_lane 0 ${get("mm")})`)}
${[1, 2, 3].map((i) => set("m", `(f32.max ${get("m")} (f32x4.extract_lane ${i} ${get("mm")}))`)).join(" ")}
${set("mm", `(f32x4.splat ${get("m")})`)}`;

/** The sum of e^(x - m) in `s`; `four` and `one` say what else becomes of the summands in `v`. */
const sum = (four: string, one: string): string =>
  `${set("low", "(f64x2.splat (f64.const 0))")} ${set("high", get("low"))} ${set("s", "(f64.const 0)")}
${
    row(
      "sum",
      `${set("v", `(call $expBelow (f32x4.sub (v128.load ${get("p")}) ${get("mm")}))`)} ${four}
      ${set("low", `(f64x2.add ${get("low")} (f64x2.promote_low_f32x4 ${get("v")}))`)}
      ${
        set(
          "high",
          `(f64x2.add ${get("high")} (f64x2.promote_low_f32x4 (i8x16.shuffle ${HIGH} ${get("v")} ${
            get("v")
          })))`,
        )
      }`,
      `${set("v", `(call $expBelow (f32x4.sub (v128.load32_splat ${get("p")}) ${get("mm")}))`)} ${one}
      ${set("s", `(f64.add ${get("s")} (f64.promote_f32 (f32x4.extract_lane 0 ${get("v")})))`)}`,
    )
  }
${
    ["low", "high"].flatMap((name) =>
      [0, 1].map((i) => set("s", `(f64.add ${get("s")} (f64x2.extract_lane ${i} ${get(name)}))`))
    ).join(" ")
  }`;

/** A loop over rows, `n` elements each. */
const rows = (body: string, next: string): string =>
  `(block $rows_end (loop $rows (br_if $rows_end (i32.le_s ${get("rows")} (i32.const 0)))
  ${body} ${set("x", `(i32.add ${get("x")} (i32.mul ${get("n")} (i32.const 4)))`)} ${next} ${
    step("rows", -1)
  } (br $rows)))`;

/** ln(1 * s) of a finite s in `v`, by the f32 logarithm: sums of a row are between 1 and its length. */
const LOG = `(f32x4.extract_lane 0 (call $logf (f32x4.splat (f32.demote_f64 ${get("s")}))))`;
/** m + ln s; where m is not finite, m itself. */
const LOGSUM = `(select (f32.add ${get("m")} ${LOG}) ${get("m")} (f32.lt (f32.abs ${
  get("m")
}) (f32.const inf)))`;

/** Both operands of a row, four elements or one, by `body` of vectors `a` and `b` (of which `one` has a single lane). */
function pairs(name: string, body: (single: boolean) => string): string {
  return `${set("p", get("x"))} ${set("q", get("y"))} ${set("r", get("stats"))} ${set("d", get("deltas"))} ${
    set("k", get("n"))
  }
(block $${name}_end (loop $${name} (br_if $${name}_end (i32.lt_s ${get("k")} (i32.const 4)))
  ${body(false)} ${["p", "q", "r", "d"].map((x) => step(x, 16)).join(" ")} ${step("k", -4)} (br $${name})))
(block $${name}1_end (loop $${name}1 (br_if $${name}1_end (i32.le_s ${get("k")} (i32.const 0)))
  ${body(true)} ${["p", "q", "r", "d"].map((x) => step(x, 4)).join(" ")} ${step("k", -1)} (br $${name}1)))`;
}

const loadOf = (at: string, single: boolean): string => `(v128.load${single ? "32_splat" : ""} ${get(at)})`;
const storeTo = (at: string, v: string, single: boolean): string =>
  single ? `(v128.store32_lane 0 ${get(at)} ${v})` : `(v128.store ${get(at)} ${v})`;

/**
 * Text of a module with `softmax(x, y, n, rows)`, `logsumexp(x, y, n, rows)` and `crossEntropy(x, y, n, rows, labels)`,
 * whose labels must be checked before; and for attention, in place: `weights(x, y, n, rows)`, softmax whose log-sum-exp
 * goes to y (weights 0 and -infinity for a row of -infinity); `scoreGradients(z, dw, n, rows, lse, delta)`,
 * z = e^(z - lse) (dw - delta) with an lse and a delta a row; `keyGradients(...)`, with one a column, which leaves the
 * weights in z and the product in dw.
 */
export function rowsText(sources: ReadonlyMap<string, string>, fused: boolean): string {
  const vectors = new Vectorizer(sources, fused);
  vectors.functionType("logf");
  const params = "(param $x i32) (param $y i32) (param $n i32) (param $rows i32)";
  return `${vectors.text}
${expBelow(fused)}
(func $softmax ${params} ${LOCALS}
${
    rows(
      `${LARGEST} ${
        sum(`(v128.store ${get("q")} ${get("v")})`, `(v128.store32_lane 0 ${get("q")} ${get("v")})`)
      }
      ${set("mm", `(f32x4.splat (f32.demote_f64 (f64.div (f64.const 1) ${get("s")})))`)}
      ${
        row(
          "scale",
          `(v128.store ${get("q")} (f32x4.mul (v128.load ${get("q")}) ${get("mm")}))`,
          `(f32.store ${get("q")} (f32.mul (f32.load ${get("q")}) (f32x4.extract_lane 0 ${get("mm")})))`,
        )
      }`,
      set("y", `(i32.add ${get("y")} (i32.mul ${get("n")} (i32.const 4)))`),
    )
  })
(func $logsumexp ${params} ${LOCALS}
${rows(`${LARGEST} ${sum("", "")} (f32.store ${get("y")} ${LOGSUM})`, step("y", 4))})
(func $crossEntropy ${params} (param $labels i32) ${LOCALS}
${
    rows(
      `${LARGEST} ${sum("", "")}
      (f32.store ${get("y")} (f32.add ${LOG} (f32.sub ${get("m")} (f32.load (i32.add ${
        get("x")
      } (i32.mul (i32.load ${get("labels")}) (i32.const 4)))))))`,
      `${step("y", 4)} ${step("labels", 4)}`,
    )
  })
(func $weights ${params} ${LOCALS}
${
    rows(
      `${LARGEST}
      (if (f32.eq ${get("m")} (f32.const -inf)) (then
        ${
        row(
          "none",
          `(v128.store ${get("p")} (f32x4.splat (f32.const 0)))`,
          `(f32.store ${get("p")} (f32.const 0))`,
        )
      }
        (f32.store ${get("y")} ${get("m")})
      ) (else
        ${sum(`(v128.store ${get("p")} ${get("v")})`, `(v128.store32_lane 0 ${get("p")} ${get("v")})`)}
        (f32.store ${get("y")} ${LOGSUM})
        ${set("mm", `(f32x4.splat (f32.demote_f64 (f64.div (f64.const 1) ${get("s")})))`)}
        ${
        row(
          "scale",
          `(v128.store ${get("p")} (f32x4.mul (v128.load ${get("p")}) ${get("mm")}))`,
          `(f32.store ${get("p")} (f32.mul (f32.load ${get("p")}) (f32x4.extract_lane 0 ${get("mm")})))`,
        )
      }
      ))`,
      step("y", 4),
    )
  })
(func $scoreGradients ${params} (param $stats i32) (param $deltas i32) (local $r i32) (local $d i32) ${LOCALS}
${
    rows(
      `${set("low", `(v128.load32_splat ${get("stats")})`)} ${
        set("high", `(v128.load32_splat ${get("deltas")})`)
      }
      ${
        pairs("pair", (single) =>
          storeTo(
            "p",
            `(f32x4.mul (call $expBelow (f32x4.sub ${loadOf("p", single)} ${get("low")})) (f32x4.sub ${
              loadOf("q", single)
            } ${get("high")}))`,
            single,
          ))
      }`,
      `${set("y", `(i32.add ${get("y")} (i32.mul ${get("n")} (i32.const 4)))`)} ${step("stats", 4)} ${
        step("deltas", 4)
      }`,
    )
  })
(func $keyGradients ${params} (param $stats i32) (param $deltas i32) (local $r i32) (local $d i32) ${LOCALS}
${
    rows(
      pairs("pair", (single) =>
        `${set("v", `(call $expBelow (f32x4.sub ${loadOf("p", single)} ${loadOf("r", single)}))`)}
        ${storeTo("p", get("v"), single)}
        ${
          storeTo(
            "q",
            `(f32x4.mul ${get("v")} (f32x4.sub ${loadOf("q", single)} ${loadOf("d", single)}))`,
            single,
          )
        }`),
      set("y", `(i32.add ${get("y")} (i32.mul ${get("n")} (i32.const 4)))`),
    )
  })`;
}
