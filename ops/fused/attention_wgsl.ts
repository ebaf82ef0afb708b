/**
 * WGSL of attention: a workgroup has 64 rows (queries, or keys) and goes once through the others that they meet (keys, or
 * queries), tile by tile; causal tiles that nobody sees are left out.
 */
import type { Aval, KernelTarget } from "../primitive.ts";
import { type AttentionAttributes, maskStrides } from "./attention_definition.ts";
import {
  addWeighted,
  change,
  COLUMNS,
  DEPTH,
  eachRow,
  lines,
  OTHER_PITCH,
  OTHERS,
  OTHERS_AT,
  part,
  range,
  ROW_PITCH,
  ROWS,
  scores,
  share,
  type Style,
  styleOf,
  tiles,
  write,
  zeros,
} from "./attention_tiles.ts";
import { f32Bits } from "./uniforms.ts";

/** Turns of a thread's loops for each of the others, the ends of loops counted: some devices end them after 65,535. */
export function turnsEach(D: number, E: number): number {
  return (D + E + 3 * 12 + 2 * (2 * OTHERS + 8)) / OTHERS;
}

const chunks = (width: number): number => Math.ceil(width / COLUMNS);
const blocks = ({ shape: [B, H, T] }: Aval): number => B * H * Math.ceil(T / ROWS);

/** Workgroups for rows of queries, and results of this width. */
export function queryGroups(q: Aval, width: number): number {
  return blocks(q) * Math.max(1, chunks(width));
}

/** Workgroups for rows of keys. */
export function keyValueGroups(x: readonly Aval[], p: AttentionAttributes, target: KernelTarget): number {
  const widths = [x[1].shape[3], x[2].shape[3]];
  return blocks(x[1]) * (styleOf(x, widths, p, target).isJoint ? 1 : chunks(widths[0]) + chunks(widths[1]));
}

/** The numbers that `NAMES` names, with mask and key from operand `more` on. */
export function uniforms(x: readonly Aval[], p: AttentionAttributes, more: number): number[] {
  const [q, k, v] = x, [B, H, T, D] = q.shape, [, Hk, S] = k.shape;
  return [
    ...[H, Hk, T, S, D, v.shape[3], f32Bits(p.scale), p.firstQuery, p.firstKey],
    ...(p.mask === "none" ? [0, 0, 0, 0] : maskStrides(x[more])),
    ...[Math.ceil(Math.fround(p.rate) * 2 ** 24), f32Bits(1 / (1 - p.rate)), p.queries, p.keys],
    p.rate === 0 ? 1 : B / x[x.length - 1].shape[0],
  ];
}

const NAMES = `
  let H = u(0); let Hk = u(1); let T = u(2); let S = u(3); let D = u(4); let E = u(5);
  let scale = bitcast<f32>(u(6)); let first = u(7) - u(8); let G = H / Hk;
  let x = i32(lid & 7u); let y = i32(lid >> 3u);`;

/** What the threads of a group share, and functions of queries `i` and keys `j` of head `h` in batch `b`. */
export function shared(
  x: readonly Aval[],
  p: AttentionAttributes,
  target: KernelTarget,
  more: number,
): string {
  const { own, others } = styleOf(x, [0], p, target);
  const at = "b * u(9) + h * u(10) + i * u(11) + j * u(12)", key = `x${x.length - 1}`;
  const hides = ["i >= u(2)", "j >= u(3)"];
  if (p.causal) hides.push("j > u(7) - u(8) + i");
  // Four elements of a line from one on, of which `left` are there.
  const four = (o: Aval, n: number): string =>
    `fn four${n}(at: i32, left: i32) -> vec4<f32> { var v = vec4<f32>();
${
      o.shape[3] % 4 === 0
        ? `  if (left > 0) { v = q${n}(at); }`
        : lines(4, (c) => `  if (left > ${c}) { v[${c}] = x${n}(at + ${c}); }`)
    }
  return v; }`;
  return `var<workgroup> tile: array<vec4<f32>, ${own ? 8 * ROW_PITCH : OTHERS_AT + DEPTH * OTHER_PITCH}>;
var<workgroup> weights: array<vec4<f32>, ${others * OTHERS * ROW_PITCH}>;
var<private> b: i32; var<private> h: i32;
${own ? "" : x.slice(0, more === 3 ? 3 : 4).map(four).join("\n")}
fn isHidden(z: f32) -> bool { return bitcast<u32>(z) == 0xff800000u; }
fn scored(i: i32, j: i32, z: f32) -> f32 {
  if (${hides.join(" || ")}) { return -inf(); }
  ${p.mask === "bool" ? `if (!x${more}(${at})) { return -inf(); }` : ""}
  return z * bitcast<f32>(u(6))${p.mask === "float" ? ` + x${more}(${at})` : ""};
}
fn kept(i: i32, j: i32, w: f32) -> f32 {
  ${
    p.rate === 0 ? "return w;" : `let n = 2 * (b / u(17));
  let counter = u32((((b % u(17)) * u(0) + h) * u(15) + u(7) + i) * u(16) + u(8) + j);
  let bits = threefry(vec2<u32>(${key}(n), ${key}(n + 1)), vec2<u32>(counter, 0u)).x;
  return w * select(0.0, bitcast<f32>(u(14)), i32(bits >> 8u) >= u(13));`
  }
}
fn weight(z: f32, lse: f32) -> f32 {
  if (isHidden(z) || isHidden(lse)) { return 0.0; }
  return expf(z - lse);
}`;
}

/** The rows of a workgroup: queries, which meet keys. */
const queries = ({ columns }: Style, width: string, p: AttentionAttributes): string =>
  `${NAMES}
  let chunks = max(1, (${width} + ${COLUMNS - 1}) / ${COLUMNS}); let blocks = (T + ${ROWS - 1}) / ${ROWS};
  let c0 = i32(group) % chunks * ${COLUMNS}; let block = i32(group) / chunks;
  let row0 = block % blocks * ${ROWS}; h = block / blocks % H; b = block / (blocks * H);
  let rows = T; let others = S; let rowBase = (b * H + h) * T; let otherBase = (b * Hk + h / G) * S;
  let end = ${p.causal ? `min(S, first + row0 + ${ROWS})` : "S"};
${zeros("o", columns)}`;

/** [output | lse]: a running maximum m, sum of weights l (of a thread's own keys) and sums of weighted values. */
export function forwardWgsl(x: readonly Aval[], p: AttentionAttributes, target: KernelTarget): string {
  const style = styleOf(x, [x[2].shape[3]], p, target), { others, columns } = style;
  const l = "select(l0[r & 3], l1[r & 3], r >= 4)", all = range(others).map((g) => `w[r * ${others} + ${g}]`);
  const fold = (f: (x: string, y: string) => string): string =>
    all.map((z) => f(f(`${z}.x`, `${z}.y`), f(`${z}.z`, `${z}.w`))).reduce(f);
  return `${queries(style, "E", p)}
  var m0 = vec4<f32>(-inf()); var m1 = m0; var l0 = vec4<f32>(); var l1 = l0;
  for (var other0 = 0; other0 < end; other0 += ${tiles(style)}) {
    let c = other0 + 4 * x;
${scores(style, 0, 1, "D", "w")}
    var t0 = m0; var t1 = m1;
${
    eachRow(style, (of, set) =>
      `${change(style, "w", (z, j) => `scored(a, ${j}, ${z})`)}
      ${set("t", "=", `max(${of("t")}, ${fold((x, y) => `max(${x}, ${y})`)})`)}`)
  }
    tile[x * ${ROW_PITCH} + y] = t0; tile[x * ${ROW_PITCH} + 8 + y] = t1;
    workgroupBarrier();
    for (var k = 0; k < 8; k++) {
      t0 = max(t0, tile[k * ${ROW_PITCH} + y]); t1 = max(t1, tile[k * ${ROW_PITCH} + 8 + y]);
    }
    // Rows that have seen nothing yet have -Infinity, which is not to be subtracted from itself.
    let n0 = select(vec4<f32>(), t0, t0 > vec4<f32>(-3.4e38)); let n1 = select(vec4<f32>(), t1, t1 > vec4<f32>(-3.4e38));
    let f0 = vec4<f32>(${range(4).map((r) => `expf(m0[${r}] - n0[${r}])`).join(", ")});
    let f1 = vec4<f32>(${range(4).map((r) => `expf(m1[${r}] - n1[${r}])`).join(", ")});
    m0 = t0; m1 = t1; l0 *= f0; l1 *= f1;
${
    eachRow(style, (of, set) =>
      `let m = ${of("n")}; { ${change(style, "w", (z) => `expf(${z} - m)`)} }
      ${set("l", "+=", fold((x, y) => `(${x} + ${y})`))}
      ${p.rate === 0 ? "" : change(style, "w", (z, j) => `kept(a, ${j}, ${z})`)}`)
  }
${
    lines(8 * columns, (i) => {
      const r = Math.floor(i / columns);
      return `    ${part("o", r, i % columns)} *= f${r >> 2}[${r & 3}];`;
    })
  }
${share(style, "w")}
${addWeighted(style, "o", [2, "E"])}
  }
  tile[x * ${ROW_PITCH} + y] = l0; tile[x * ${ROW_PITCH} + 8 + y] = l1;
  workgroupBarrier();
  l0 = vec4<f32>(); l1 = l0;
  for (var k = 0; k < 8; k++) { l0 += tile[k * ${ROW_PITCH} + y]; l1 += tile[k * ${ROW_PITCH} + 8 + y]; }
  ${write(style, "o", "E", "(rowBase + row) * (E + 1) + column", `select(v / ${l}, 0.0, eqf(${l}, 0.0))`)}
  if (c0 == 0 && x == 0) {
    for (var r = 0; r < 8; r++) {
      let row = row0 + 4 * y + (r & 3) + (r >> 2u) * 32;
      let sum = ${l}; let m = select(m0[r & 3], m1[r & 3], r >= 4);
      if (row < rows) { put((rowBase + row) * (E + 1) + E, select(m + logf(sum), -inf(), eqf(sum, 0.0))); }
    }
  }`;
}

/** The cotangent of a score of weight w, from that of the weight: nothing comes back where the weight is 0. */
export const COTANGENT = `
fn cotangent(w: f32, dw: f32, delta: f32) -> f32 { return select(w * (dw - delta), 0.0, eqf(w, 0.0)); }`;

/** Columns of the cotangent of queries. */
export function queryWgsl(x: readonly Aval[], p: AttentionAttributes, target: KernelTarget): string {
  const style = styleOf(x, [x[0].shape[3]], p, target);
  return `${queries(style, "D", p)}
  var lse0: vec4<f32>; var lse1: vec4<f32>; var delta0: vec4<f32>; var delta1: vec4<f32>;
  for (var r = 0; r < 4; r++) {
    let low = rowBase + min(row0 + 4 * y + r, T - 1); let high = rowBase + min(row0 + 4 * y + 32 + r, T - 1);
    lse0[r] = x4(2 * low); delta0[r] = x4(2 * low + 1); lse1[r] = x4(2 * high); delta1[r] = x4(2 * high + 1);
  }
  for (var other0 = 0; other0 < end; other0 += ${tiles(style)}) {
    let c = other0 + 4 * x;
${scores(style, 0, 1, "D", "w")}
${eachRow(style, (of) => change(style, "w", (z, j) => `weight(scored(a, ${j}, ${z}), ${of("lse")})`))}
${scores(style, 3, 2, "E", "g")}
${cotangents(style, (j) => `a, ${j}`, (of) => () => of("delta"))}
${share(style, "g")}
${addWeighted(style, "o", [1, "D"])}
  }
  ${write(style, "o", "D", "(rowBase + row) * D + column", "v * scale")}`;
}

/** Makes cotangents of scores, in array `g`, of weights in `w` and what came back to weights as they were kept in `g`. */
function cotangents(
  style: Style,
  place: (other: string) => string,
  delta: (of: (name: string) => string) => (n: string) => string,
): string {
  return eachRow(
    style,
    (of) =>
      `${range(style.others).map((g) => `let w${g}_ = w[r * ${style.others} + ${g}];`).join(" ")}
      ${change(style, "g", (z, j, at) => `cotangent(w${at}, kept(${place(j)}, ${z}), ${delta(of)(at)})`)}`,
  );
}

/** Columns of the cotangents of keys and values: the rows of a workgroup are keys, which meet queries. */
export function keyValueWgsl(x: readonly Aval[], p: AttentionAttributes, target: KernelTarget): string {
  const style = styleOf(x, [x[1].shape[3], x[2].shape[3]], p, target), { isJoint, others, columns } = style;
  const kept = p.rate === 0 ? "" : eachRow(style, () => change(style, "w", (z, j) => `kept(${j}, a, ${z})`));
  const scored = `${scores(style, 2, 3, "E", "g")}
${cotangents(style, (j) => `${j}, a`, () => (at) => `delta${at}`)}`;
  // Weights that were dropped come back in the cotangents of others.
  const work = isJoint
    ? `    { var v = w; ${kept.replaceAll(/\bw\b/g, "v").replaceAll(/\bw(\d)_/g, "v$1_")}
${share(style, "v")} }
${addWeighted(style, "o", [3, "E"])}
${scored}
${share(style, "g")}
${addWeighted(style, "k", [0, "D"])}`
    : `    if (ofKey) {
${scored}
      w = g;
    } else {
${kept}
    }
${share(style, "w")}
${addWeighted(style, "o", [0, "D"], [3, "E"])}`;
  const to = (column: string): string => `(rowBase + row) * (D + E) + ${column} + column`;
  return `${NAMES}
  let keys = (D + ${COLUMNS - 1}) / ${COLUMNS}; let chunks = ${
    isJoint ? "1" : `keys + (E + ${COLUMNS - 1}) / ${COLUMNS}`
  };
  let chunk = i32(group) % chunks; let ofKey = chunk < keys; let c0 = select(chunk - keys, chunk, ofKey) * ${COLUMNS};
  let block = i32(group) / chunks; let blocks = (S + ${ROWS - 1}) / ${ROWS};
  let row0 = block % blocks * ${ROWS}; let hk = block / blocks % Hk; b = block / (blocks * Hk);
  let rows = S; let others = T; let rowBase = (b * Hk + hk) * S;
  let begin = ${p.causal ? `max(0, row0 - first) / ${tiles(style)}` : "0"};
  let tiles = max(0, (T + ${tiles(style) - 1}) / ${tiles(style)} - begin);
${zeros("o", columns)}
${isJoint ? zeros("k", columns) : ""}
  for (var turn = 0; turn < G * tiles; turn++) {
    h = hk * G + turn / tiles; let other0 = (begin + turn % tiles) * ${
    tiles(style)
  }; let otherBase = (b * H + h) * T;
    let c = other0 + 4 * x;
${scores(style, 1, 0, "D", "w")}
${
    range(others).map((g) =>
      `    var lse${g}_: vec4<f32>; var delta${g}_: vec4<f32>;
    for (var n = 0; n < 4; n++) {
      let line = otherBase + min(c + ${32 * g} + n, T - 1);
      lse${g}_[n] = x4(2 * line); delta${g}_[n] = x4(2 * line + 1);
    }`
    ).join("\n")
  }
${eachRow(style, () => change(style, "w", (z, j, at) => `weight(scored(${j}, a, ${z}), lse${at})`))}
${work}
  }
  ${
    isJoint
      ? write(style, "o", "E", to("D"), "v") + write(style, "k", "D", to("0"), "v * scale")
      : `let width = select(E, D, ofKey); let factor = select(1.0, scale, ofKey);
  ${write(style, "o", "width", to("select(D, 0, ofKey)"), "v * factor")}`
  }`;
}
