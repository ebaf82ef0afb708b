/**
 * How a workgroup of attention goes through a tile of scores, of its 64 rows and 32 or 64 others: a thread has 8 x 4 or 8 x 8
 * scores, and adds up 8 x 8 elements of the result. On a GPU the group shares what it multiplies.
 */
import type { Aval, KernelTarget } from "../primitive.ts";
import type { AttentionAttributes } from "./attention_definition.ts";

/** A tile of scores, the columns of a result that a workgroup adds up, and the steps of products kept in its memory. */
export const ROWS = 64, OTHERS = 32, COLUMNS = 64, DEPTH = 16;

/** Threads of a workgroup: 8 down the rows, 8 across. */
export const THREADS = 64;

/** Quads from one step to the next, one more than there are, so that steps lie in different banks. */
export const ROW_PITCH = ROWS / 4 + 1, OTHER_PITCH = OTHERS / 4 + 1, OTHERS_AT = DEPTH * ROW_PITCH;

/** How a kernel is written for its shapes and its device. */
export interface Style {
  /** Whether a thread reads what it multiplies, instead of sharing it with its group. */
  readonly own: boolean;
  /** Others of a thread, and its columns, in quads. */
  readonly others: number;
  readonly columns: number;
  /** Whether cotangents of keys and of values are one work, which needs registers for both. */
  readonly isJoint: boolean;
  /** Whether a row may be hidden from some of the others, whose lines are then nothing to it, be they NaN. */
  readonly hides: boolean;
  /** Whether rows take turns in a loop, where the text of one is long. */
  readonly loops: boolean;
  /** Whether lines of an operand are read by quads: they are whole, and on a CPU worth the compiler's time. */
  readonly isWhole: (operand: number) => boolean;
}

/** The style of a kernel whose results are as wide as these. */
export function styleOf(
  x: readonly Aval[],
  widths: readonly number[],
  p: AttentionAttributes,
  { isSoftware, workgroupMemory }: KernelTarget,
): Style {
  const widest = Math.max(...widths), [B, H, T, D] = x[0].shape, S = x[1].shape[2];
  // Tiles of 64 others are a fifth faster, and take the compiler a second longer.
  const work = B * H * T * S * (D + x[2].shape[3]), isLarge = work >= 2 ** 27;
  return {
    own: isSoftware,
    others: isSoftware && isLarge && workgroupMemory >= 24576 ? 2 : 1,
    columns: widest <= COLUMNS / 2 ? 1 : 2,
    isJoint: isSoftware && widest <= COLUMNS,
    hides: p.causal || p.mask !== "none",
    loops: p.rate > 0,
    isWhole: (operand) =>
      x[operand].shape[3] % 4 === 0 && x[operand].shape[3] > 0 && (!isSoftware || work >= 2 ** 22),
  };
}

/** Whole numbers from 0 on, and lines of WGSL, one for each. */
export const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);
export const lines = (n: number, f: (i: number) => string): string => range(n).map(f).join("\n");

/** Others of a tile. */
export const tiles = ({ others }: Style): number => others * OTHERS;

/** WGSL for each of a thread's rows: `r` its number, `a` the row; `of` reads what a row has in two quads, `set` writes it. */
export function eachRow(
  { loops }: Style,
  f: (of: (name: string) => string, set: (name: string, op: string, value: string) => string) => string,
): string {
  if (loops) {
    return `    for (var r = 0; r < 8; r++) { let a = row0 + 4 * y + (r & 3) + (r >> 2u) * 32;
      ${
      f(
        (name) => `select(${name}0[r & 3], ${name}1[r & 3], r >= 4)`,
        (name, op, value) =>
          `if (r < 4) { ${name}0[r] ${op} ${value}; } else { ${name}1[r - 4] ${op} ${value}; }`,
      )
    }
    }`;
  }
  return lines(8, (r) =>
    `    { const r = ${r}; let a = row0 + 4 * y + ${place(r)};
      ${
      f(
        (name) => `${name}${r >> 2}[${r & 3}]`,
        (name, op, value) => `${name}${r >> 2}[${r & 3}] ${op} ${value};`,
      )
    }
    }`);
}

/** Where line n of a thread stands: by fours, as far apart as its group reaches. */
export const place = (n: number): number => (n & 3) + (n >> 2) * 32;

/** Gives the scores of a thread, array `to`, other values: `f` of a score and of the other that it is with. */
export function change(
  { others }: Style,
  to: string,
  f: (z: string, other: string, at: string) => string,
): string {
  return range(others).map((g) => {
    const all = range(4).map((n) => f(`${to}${g}_[${n}]`, `c + ${n + 32 * g}`, `${g}_[${n}]`));
    return `let ${to}${g}_ = ${to}[r * ${others} + ${g}]; ${to}[r * ${others} + ${g}] = vec4<f32>(${
      all.join(", ")
    });`;
  }).join("\n      ");
}

/** The name of quad g of what a thread has for row r. */
export const part = (name: string, r: number, g: number): string => `${name}${r}_${g}`;

/** Quads of all rows as an array. */
export const arrayOf = (name: string, n: number): string =>
  `array<vec4<f32>, ${8 * n}>(${range(8 * n).map((i) => part(name, Math.floor(i / n), i % n)).join(", ")})`;

/** Quads of zeros for all rows. */
export const zeros = (name: string, n: number): string =>
  lines(8 * n, (i) => `    var ${part(name, Math.floor(i / n), i % n)} = vec4<f32>();`);

/** Products of the tile's lines of operands `a` and `b`, of `width` elements each, in array `to`. */
export function scores(style: Style, a: number, b: number, width: string, to: string): string {
  const { own, others, isWhole } = style;
  const row = (n: string): string => `(rowBase + min(row0 + ${n}, rows - 1)) * ${width}`;
  const other = (n: string): string => `(otherBase + min(other0 + ${n}, others - 1)) * ${width}`;
  const four = (operand: number, at: string, left: string): string =>
    own ? `q${operand}(${at})` : `four${operand}(${at}, ${left})`;
  const add = (l: (r: number) => string, k: (g: number) => string): string =>
    lines(8 * others, (i) => {
      const sum = part(to, Math.floor(i / others), i % others);
      return `        ${sum} = fma(vec4<f32>(${l(Math.floor(i / others))}), ${k(i % others)}, ${sum});`;
    });
  const end = `    var ${to} = ${arrayOf(to, others)};`;
  if (own) {
    const byOne = `      for (var d = 0; d < ${width}; d++) {
${lines(8, (r) => `        let l${r} = x${a}(aAt${r} + d);`)}
${
      lines(others, (g) =>
        `        let k${g} = vec4<f32>(${
          range(4).map((c) => `x${b}(bAt${4 * g + c} + d)`).join(", ")
        });`)
    }
${add((r) => `l${r}`, (g) => `k${g}`)}
      }`;
    const byQuads = `      for (var d = 0; d < ${width}; d += 4) {
${lines(8, (r) => `        let l${r} = ${four(a, `aAt${r} + d`, `${width} - d`)};`)}
${lines(4 * others, (c) => `        let r${c} = ${four(b, `bAt${c} + d`, `${width} - d`)};`)}
${
      lines(4, (q) =>
        `${
          lines(others, (g) =>
            `        let k${q}_${g} = vec4<f32>(${
              range(4).map((c) =>
                `r${4 * g + c}[${q}]`
              ).join(", ")
            });`)
        }
${add((r) => `l${r}[${q}]`, (g) => `k${q}_${g}`)}`)
    }
      }`;
    return `${zeros(to, others)}
    {
${lines(8, (r) => `      let aAt${r} = ${row(`4 * y + ${place(r)}`)};`)}
${lines(4 * others, (c) => `      let bAt${c} = ${other(`4 * x + ${place(c)}`)};`)}
${isWhole(a) && isWhole(b) ? byQuads : byOne}
    }
${end}`;
  }
  const fill = (operand: number, at: number, pitch: number, line: (n: string) => string): string =>
    `let quad = i32(lid >> 2u); let step = 4 * i32(lid & 3u); let left = ${width} - d0 - step;
${lines(4, (j) => `      let v${j} = ${four(operand, `${line(`4 * quad + ${j}`)} + d0 + step`, "left")};`)}
${
      lines(4, (c) =>
        `      tile[${at} + (step + ${c}) * ${pitch} + quad] = vec4<f32>(${
          range(4).map((j) =>
            `v${j}[${c}]`
          ).join(", ")
        });`)
    }`;
  return `${zeros(to, others)}
    for (var d0 = 0; d0 < ${width}; d0 += ${DEPTH}) {
      { ${fill(a, 0, ROW_PITCH, row)} }
      if (lid < ${OTHERS * DEPTH / 16}u) { ${fill(b, OTHERS_AT, OTHER_PITCH, other)} }
      workgroupBarrier();
      for (var k = 0; k < ${DEPTH}; k += 4) {
${
    lines(4, (q) =>
      `        let l${q}_0 = tile[(k + ${q}) * ${ROW_PITCH} + y]; let l${q}_1 = tile[(k + ${q}) * ${ROW_PITCH} + 8 + y];
        let r${q} = tile[${OTHERS_AT} + (k + ${q}) * ${OTHER_PITCH} + x];
${
        add((r) => `l${q}_${r >> 2}[${r & 3}]`, () => `r${q}`)
      }`)
  }
      }
      workgroupBarrier();
    }
${end}`;
}

/** Puts weights, array `w`, where all threads see them: for each of the others a line of quads of rows. */
export function share({ others }: Style, w: string): string {
  return lines(8 * others, (i) => {
    const c = i >> 1, half = i & 1;
    const rows = range(4).map((r) => `${w}[${(4 * half + r) * others + (c >> 2)}][${c & 3}]`);
    return `    weights[(4 * x + ${place(c)}) * ${ROW_PITCH} + ${8 * half} + y] = vec4<f32>(${
      rows.join(", ")
    });`;
  }) + "\n    workgroupBarrier();";
}

/** Adds shared weights times lines of an operand to sums; where there are two, `ofKey` says which, and how wide it is. */
export function addWeighted(
  { own, others, columns, hides, isWhole }: Style,
  to: string,
  ...of: readonly (readonly [number, string])[]
): string {
  const choose = (f: (operand: number, width: string) => string): string =>
    of.length === 1 ? f(...of[0]) : `if (ofKey) { ${f(...of[0])} } else { ${f(...of[1])} }`;
  const sumsOf = (add: (sum: string, weight: string, v: string) => string): string =>
    lines(8 * columns, (i) => {
      const r = Math.floor(i / columns), sum = part(to, r, i % columns);
      return `        ${sum} = ${add(sum, `w${r >> 2}[${r & 3}]`, `v${i % columns}`)};`;
    });
  const all = sumsOf((sum, weight, v) => `fma(vec4<f32>(${weight}), ${v}, ${sum})`);
  const sums = !hides ? all : `if (all(w0 != vec4<f32>()) && all(w1 != vec4<f32>())) {
${all}
        } else {
${sumsOf((sum, weight, v) => `select(fma(vec4<f32>(${weight}), ${v}, ${sum}), ${sum}, ${weight} == 0.0)`)}
        }`;
  const read = (k: string): string =>
    `let w0 = weights[(${k}) * ${ROW_PITCH} + y]; let w1 = weights[(${k}) * ${ROW_PITCH} + 8 + y];`;
  if (own) {
    // Columns beyond the last are computed of others, and not stored.
    const line = (operand: number, width: string): string =>
      range(columns).map((h) => {
        const column = `c0 + 4 * x + ${32 * h}`, at = `(otherBase + other0 + k) * ${width}`;
        return isWhole(operand)
          ? `v${h} = q${operand}(${at} + min(${column}, ${width} - 4));`
          : `v${h} = vec4<f32>(${
            range(4).map((c) => `x${operand}(${at} + min(${column} + ${c}, ${width} - 1))`).join(", ")
          });`;
      }).join(" ");
    return `    { let last = min(${others * OTHERS}, others - other0);
    for (var k = 0; k < last; k++) {
      ${range(columns).map((h) => `var v${h}: vec4<f32>;`).join(" ")} ${choose(line)}
      ${read("k")}
${sums}
    } }
    workgroupBarrier();`;
  }
  const wide = 8 * columns;
  return `    for (var slab = 0; slab < ${OTHERS}; slab += ${DEPTH}) {
      for (var n = i32(lid); n < ${DEPTH * wide}; n += ${THREADS}) {
        let line = other0 + slab + n / ${wide}; let column = c0 + 4 * (n % ${wide}); let to = n / ${wide} * ${ROW_PITCH} + n % ${wide};
        ${
    choose((operand, width) =>
      `tile[to] = four${operand}((otherBase + line) * ${width} + column, select(0, ${width} - column, line < others));`
    )
  }
      }
      workgroupBarrier();
      for (var k = 0; k < ${DEPTH}; k++) {
        ${read("slab + k")}
        ${range(columns).map((h) => `let v${h} = tile[k * ${ROW_PITCH} + ${8 * h} + x];`).join(" ")}
${sums}
      }
      workgroupBarrier();
    }`;
}

/** Writes sums; `value` of `v` in row `r` goes to `at`. */
export const write = ({ columns }: Style, sums: string, width: string, at: string, value: string): string => `
  { var all = ${arrayOf(sums, columns)};
  for (var r = 0; r < 8; r++) {
    let row = row0 + 4 * y + (r & 3) + (r >> 2u) * 32;
    for (var n = 0; n < ${4 * columns}; n++) {
      let column = c0 + 4 * x + (n & 3) + (n >> 2u) * 32;
      let v = all[${columns} * r + (n >> 2u)][n & 3];
      if (row < rows && column < ${width}) { put(${at}, ${value}); }
    }
  } }`;
