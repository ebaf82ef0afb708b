/** Panels of matrices: a few rows side by side, so that a product reads them one behind the other. */
import { add, each, get, i32, lanes, locals, loop, min, mul, params, set, step, sub, when } from "./text.ts";

const shuffle = (which: string, a: string, b: string): string =>
  `(i8x16.shuffle ${which} ${get(a)} ${get(b)})`;
const LOW = lanes(0, 4, 1, 5), HIGH = lanes(2, 6, 3, 7), LEFT = lanes(0, 1, 4, 5), RIGHT = lanes(2, 3, 6, 7);

/** Four elements of each of `size` rows, which lie from p on one behind the other, to \`to\`, column by column. */
function transposed(size: number): string {
  const four = (i: number): string => {
    const rows = [0, 1, 2, 3].map((r) => `r${r}`);
    const column = (k: number, which: string): string =>
      `(v128.store offset=${4 * (size * k + i)} ${get("to")} ${shuffle(which, "low", "high")})`;
    const pair = (which: string, k: number): string =>
      `${set("low", shuffle(which, "r0", "r1"))} ${set("high", shuffle(which, "r2", "r3"))}
      ${column(k, LEFT)} ${column(k + 1, RIGHT)}`;
    return `${rows.map((r) => `${set(r, `(v128.load ${get("p")})`)} ${step("p", get("row"))}`).join(" ")}
    ${pair(LOW, 0)} ${pair(HIGH, 2)}`;
  };
  const one = (i: number): string =>
    `${set("r0", `(v128.load ${get("p")})`)} ${step("p", get("row"))}
    ${each(4, (k) => `(v128.store32_lane offset=${4 * (size * k + i)} ${k} ${get("to")} ${get("r0")})`)}`;
  return each(size >> 2, (i) => four(4 * i)) + each(size & 3, (i) => one((size & ~3) + i));
}

/** `size` elements that lie one behind the other, from p to q. */
const copy = (size: number): string =>
  each(
    size >> 2,
    (i) => `(v128.store offset=${16 * i} ${get("q")} (v128.load offset=${16 * i} ${get("p")}))`,
  ) +
  each(size & 3, (i) => {
    const at = `offset=${4 * ((size & ~3) + i)}`;
    return `(f32.store ${at} ${get("q")} (f32.load ${at} ${get("p")}))`;
  });

/**
 * `pack(x, row, column, rows, depth, to)` for panels of `size` rows: element (i, k) of a panel lands at
 * `to + 4 (k size + i)`, missing rows are zero. Steps are in bytes.
 */
export function pack(name: string, size: number): string {
  return `(func $${name} ${params("x row column rows depth to")} ${locals("i k p n q")} ${
    locals("r0 r1 r2 r3 low high", "v128")
  }
${
    loop(
      "panel",
      `(i32.gt_s ${get("rows")} ${i32(0)})`,
      `${set("n", min(get("rows"), i32(size)))}
      ${set("k", i32(0))}
      ${
        when(
          `(i32.and (i32.eq ${get("n")} ${i32(size)}) (i32.eq ${get("column")} ${i32(4)}))`,
          loop(
            "fours",
            `(i32.le_s ${get("k")} ${sub(get("depth"), i32(4))})`,
            `${set("p", add(get("x"), mul(get("k"), i32(4))))} ${transposed(size)}
            ${step("to", i32(16 * size))} ${step("k", i32(4))}`,
          ),
        )
      }
      ${
        loop(
          "depth",
          `(i32.lt_s ${get("k")} ${get("depth")})`,
          `${set("p", add(get("x"), mul(get("k"), get("column"))))}
          ${set("q", get("to"))}
          (if (i32.eq ${get("n")} ${i32(size)}) (then
            (if (i32.eq ${get("row")} ${i32(4)}) (then ${copy(size)}) (else
            ${
            each(size, (i) =>
              `(f32.store ${i > 0 ? `offset=${4 * i} ` : ""}${get("q")} (f32.load ${get("p")})) ${
                i < size - 1 ? step("p", get("row")) : ""
              }`)
          }))
          ) (else
            ${set("i", i32(0))}
            ${
            loop(
              "row",
              `(i32.lt_s ${get("i")} ${i32(size)})`,
              `(if (i32.lt_s ${get("i")} ${get("n")})
                (then (f32.store ${get("q")} (f32.load ${get("p")})))
                (else (f32.store ${get("q")} (f32.const 0))))
              ${step("p", get("row"))} ${step("q", i32(4))} ${step("i", i32(1))}`,
            )
          }
          ))
          ${step("to", i32(4 * size))} ${step("k", i32(1))}`,
        )
      }
      ${step("x", mul(get("row"), i32(size)))}
      ${step("rows", i32(-size))}`,
    )
  })`;
}
