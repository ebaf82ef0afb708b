/** The matrix product in WebAssembly: packed panels, a tile of 5 by 8 in registers (van Zee & van de Geijn 2015, BLIS). */
import { pack } from "./panels.ts";
import { add, each, get, i32, lanes, locals, loop, madd, min, mul, params, set, step, sub } from "./text.ts";

/** Rows and columns of the tile that a thread keeps in registers: ten sums, two of b, four of a, and one of these in all lanes. */
export const ROWS = 5, COLUMNS = 8;
/** Steps of the depth in one turn of the loop. */
const UNROLLED = 4;
/** Depth, rows and columns of what is packed at once: a panel of b stays in L1, a block of a in L2. */
const DEPTH = 256, HEIGHT = 100, WIDTH = 512;

/** Bytes of scratch memory that one product needs: packed a, packed b, and a tile. */
export const MATMUL_SCRATCH = 4 * (HEIGHT * DEPTH + WIDTH * DEPTH + ROWS * COLUMNS);

/** `c (+)= a b` for one tile of packed panels; `line` is the distance of c's rows in bytes. */
function micro(fused: boolean): string {
  const acc = (i: number, j: number): string => `s${i}${j}`;
  const sum = (i: number, j: number): string =>
    set(acc(i, j), madd(fused, get("a"), get(`b${j}`), get(acc(i, j))));
  const names = Array.from({ length: ROWS }, (_, i) => `${acc(i, 0)} ${acc(i, 1)}`).join(" ");
  const at = (offset: number): string => offset > 0 ? `offset=${offset} ` : "";
  /** The e-th element of a from here, in all lanes; `fours` are loaded at once, since a runtime may check each load's bounds. */
  const element = (e: number, fours: boolean): string => {
    if (!fours) return set("a", `(v128.load32_splat ${at(4 * e)}${get("pa")})`);
    const lane = e % 4, load = lane > 0 ? "" : set("a4", `(v128.load ${at(4 * e)}${get("pa")})`);
    return `${load} ${
      set("a", `(i8x16.shuffle ${lanes(lane, lane, lane, lane)} ${get("a4")} ${get("a4")})`)
    }`;
  };
  /** One column of a times one row of b, the k-th from here. */
  const column = (k: number, fours: boolean): string =>
    `${set("b0", `(v128.load ${at(4 * COLUMNS * k)}${get("pb")})`)}
    ${set("b1", `(v128.load ${at(4 * COLUMNS * k + 16)}${get("pb")})`)}
    ${each(ROWS, (i) => `${element(ROWS * k + i, fours)} ${sum(i, 0)} ${sum(i, 1)}`)}`;
  return `(func $micro ${params("depth pa pb c line first")} ${locals(`a a4 b0 b1 ${names}`, "v128")}
${
    loop(
      "fours",
      `(i32.ge_s ${get("depth")} ${i32(UNROLLED)})`,
      `${each(UNROLLED, (k) => column(k, true))}
      ${step("pa", i32(4 * ROWS * UNROLLED))} ${step("pb", i32(4 * COLUMNS * UNROLLED))}
      ${step("depth", i32(-UNROLLED))}`,
    )
  }
${
    loop(
      "ones",
      `(i32.gt_s ${get("depth")} ${i32(0)})`,
      `${column(0, false)}
      ${step("pa", i32(4 * ROWS))} ${step("pb", i32(4 * COLUMNS))} ${step("depth", i32(-1))}`,
    )
  }
(if ${get("first")} (then
  ${
    each(ROWS, (i) =>
      `(v128.store ${get("c")} ${get(acc(i, 0))}) (v128.store offset=16 ${get("c")} ${get(acc(i, 1))}) ${
        step("c", get("line"))
      }`)
  }
) (else
  ${
    each(ROWS, (i) =>
      each(2, (j) =>
        `(v128.store offset=${16 * j} ${get("c")} (f32x4.add (v128.load offset=${16 * j} ${get("c")}) ${
          get(acc(i, j))
        }))`) + step("c", get("line")))
  }
)))`;
}

/** `c (+)= a b` for packed blocks of any height and width. */
function macro(): string {
  return `(func $macro ${params("rows columns depth pa pb c line first tile")} ${locals("i j m n p q r s t")}
${
    loop(
      "j",
      `(i32.lt_s ${get("j")} ${get("columns")})`,
      `${set("n", min(sub(get("columns"), get("j")), i32(COLUMNS)))}
      ${set("i", i32(0))}
      ${set("p", get("pa"))}
      ${
        loop(
          "i",
          `(i32.lt_s ${get("i")} ${get("rows")})`,
          `${set("m", min(sub(get("rows"), get("i")), i32(ROWS)))}
          ${set("q", add(get("c"), add(mul(get("i"), get("line")), mul(get("j"), i32(4)))))}
          (if (i32.and (i32.eq ${get("m")} ${i32(ROWS)}) (i32.eq ${get("n")} ${i32(COLUMNS)})) (then
            (call $micro ${get("depth")} ${get("p")} ${get("pb")} ${get("q")} ${get("line")} ${get("first")})
          ) (else
            (call $micro ${get("depth")} ${get("p")} ${get("pb")} ${get("tile")} ${i32(4 * COLUMNS)} ${
            i32(1)
          })
            ${set("r", i32(0))}
            ${
            loop(
              "r",
              `(i32.lt_s ${get("r")} ${get("m")})`,
              `${set("s", i32(0))}
              ${
                loop(
                  "s",
                  `(i32.lt_s ${get("s")} ${get("n")})`,
                  `${set("t", add(get("tile"), mul(i32(4), add(mul(get("r"), i32(COLUMNS)), get("s")))))}
                  (if ${get("first")}
                    (then (f32.store ${get("q")} (f32.load ${get("t")})))
                    (else (f32.store ${get("q")} (f32.add (f32.load ${get("q")}) (f32.load ${get("t")})))))
                  ${step("q", i32(4))} ${step("s", i32(1))}`,
                )
              }
              ${set("q", add(get("q"), sub(get("line"), mul(get("n"), i32(4)))))}
              ${step("r", i32(1))}`,
            )
          }
          ))
          ${step("p", mul(get("depth"), i32(4 * ROWS)))}
          ${step("i", i32(ROWS))}`,
        )
      }
      ${step("pb", mul(get("depth"), i32(4 * COLUMNS)))}
      ${step("j", i32(COLUMNS))}`,
    )
  })`;
}

const ARGUMENTS = "M N K a aRow aColumn b bRow bColumn c cRow adds scratch";
const LIBRARY = "wide s t M N K a lda b ldb adds c ldc";

/** `count` products, in steps of bytes along each array. */
function batch(name: string, product: string, names: string): string {
  return `(func $${name} ${params(`${names} count aStep bStep cStep`)}
${
    loop(
      "t",
      `(i32.gt_s ${get("count")} ${i32(0)})`,
      `(call $${product} ${names.split(" ").map(get).join(" ")})
      ${step("a", get("aStep"))} ${step("b", get("bStep"))} ${step("c", get("cStep"))} ${
        step("count", i32(-1))
      }`,
    )
  })`;
}

/**
 * `matmul(M, N, K, a, aRow, aColumn, b, bRow, bColumn, c, cRow, adds, scratch)`: c [M, N] with rows `cRow` bytes apart, from
 * operands with any steps, in bytes, is or is added to; `matmuls(..., count, aStep, bStep, cStep)`, which does it `count`
 * times; and `library` and `libraries`, which do it by the system's library with the arguments of `Gemm`.
 */
export function matmulText(fused: boolean): string {
  const bytes = 4 * HEIGHT * DEPTH;
  const call = `(call $gemm ${LIBRARY.split(" ").map(get).join(" ")})`;
  return `(import $gemm ${params(LIBRARY)})
(func $library ${params(LIBRARY)} ${call})
${batch("libraries", "gemm", LIBRARY)}
${batch("matmuls", "matmul", ARGUMENTS)}
${pack("packRows", ROWS)}
${pack("packColumns", COLUMNS)}
${micro(fused)}
${macro()}
(func $matmul ${params(ARGUMENTS)} ${locals("i j k m n d pb tile")}
${set("pb", add(get("scratch"), i32(bytes)))}
${set("tile", add(get("pb"), i32(4 * WIDTH * DEPTH)))}
${
    loop(
      "jc",
      `(i32.lt_s ${get("j")} ${get("N")})`,
      `${set("n", min(sub(get("N"), get("j")), i32(WIDTH)))}
      ${set("k", i32(0))}
      ${
        loop(
          "kc",
          `(i32.lt_s ${get("k")} ${get("K")})`,
          `${set("d", min(sub(get("K"), get("k")), i32(DEPTH)))}
          (call $packColumns ${
            add(get("b"), add(mul(get("k"), get("bRow")), mul(get("j"), get("bColumn"))))
          } ${get("bColumn")} ${get("bRow")} ${get("n")} ${get("d")} ${get("pb")})
          ${set("i", i32(0))}
          ${
            loop(
              "ic",
              `(i32.lt_s ${get("i")} ${get("M")})`,
              `${set("m", min(sub(get("M"), get("i")), i32(HEIGHT)))}
              (call $packRows ${
                add(get("a"), add(mul(get("i"), get("aRow")), mul(get("k"), get("aColumn"))))
              } ${get("aRow")} ${get("aColumn")} ${get("m")} ${get("d")} ${get("scratch")})
              (call $macro ${get("m")} ${get("n")} ${get("d")} ${get("scratch")} ${get("pb")} ${
                add(get("c"), add(mul(get("i"), get("cRow")), mul(get("j"), i32(4))))
              } ${get("cRow")} (i32.eqz (i32.or ${get("k")} ${get("adds")})) ${get("tile")})
              ${step("i", i32(HEIGHT))}`,
            )
          }
          ${step("k", i32(DEPTH))}`,
        )
      }
      ${step("j", i32(WIDTH))}`,
    )
  })`;
}
