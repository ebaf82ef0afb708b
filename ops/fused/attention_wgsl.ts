/** WGSL of attention: a thread computes some columns of one row, and goes through all keys (or queries) once. */
import type { Aval } from "../primitive.ts";
import { type AttentionAttributes, maskStrides } from "./attention_definition.ts";
import { f32Bits } from "./uniforms.ts";

/** Columns of a thread. */
export const CHUNK = 16;

/** Products that one turn of a loop adds up: some devices end a thread's loops after 65,535 turns. */
const UNROLL = 8;

/** Turns of a thread's loops for each key or query; the end of a loop counts as one. */
export function turnsEach(D: number, E: number): number {
  const turns = (n: number): number => Math.floor(n / UNROLL) + n % UNROLL + 2;
  return 1 + turns(D) + turns(E);
}

/** The numbers that `names` names, with mask and key from operand `more` on. */
export function uniforms(x: readonly Aval[], p: AttentionAttributes, more: number): number[] {
  const [q, k, v] = x, [B, H, T, D] = q.shape, [, Hk, S] = k.shape;
  return [
    ...[H, Hk, T, S, D, v.shape[3], f32Bits(p.scale), p.firstQuery, p.firstKey],
    ...(p.mask === "none" ? [0, 0, 0, 0] : maskStrides(x[more])),
    ...[Math.ceil(Math.fround(p.rate) * 2 ** 24), f32Bits(1 / (1 - p.rate)), p.queries, p.keys],
    p.rate === 0 ? 1 : B / x[x.length - 1].shape[0],
  ];
}

const names = `
  let H = u(0); let Hk = u(1); let T = u(2); let S = u(3); let D = u(4); let E = u(5);
  let scale = bitcast<f32>(u(6)); let first = u(7) - u(8);`;

/** `name` = sum over n elements of x[at + d] y[to + d]. */
function dot(name: string, x: string, at: string, y: string, to: string, n: string): string {
  const terms = Array.from({ length: UNROLL }, (_, d) => `${x}(${at} + d + ${d}) * ${y}(${to} + d + ${d})`);
  return `var ${name} = 0.0;
  { var d = 0;
    for (; d + ${UNROLL} <= ${n}; d += ${UNROLL}) { ${name} += ${terms.join(" + ")}; }
    for (; d < ${n}; d++) { ${name} += ${x}(${at} + d) * ${y}(${to} + d); } }`;
}

/** The score `z` of query i and key j, of row `row` and key row `kr`; goes on to the next where it is masked. */
function score(p: AttentionAttributes, more: number): string {
  const at = "b * u(9) + h * u(10) + i * u(11) + j * u(12)";
  return `${p.mask === "bool" ? `if (!x${more}(${at})) { continue; }` : ""}
  ${dot("z", "x0", "row * D", "x1", "kr * D", "D")}
  z = z * scale${p.mask === "float" ? ` + x${more}(${at})` : ""};
  if (eqf(z, -inf())) { continue; }`;
}

/** What the weight of query i and key j is multiplied by. */
function kept(x: readonly Aval[], p: AttentionAttributes): string {
  if (p.rate === 0) return "";
  const key = `x${x.length - 1}`;
  return `let n = 2 * (b / u(17));
  let counter = u32((((b % u(17)) * H + h) * u(15) + u(7) + i) * u(16) + u(8) + j);
  let bits = threefry(vec2<u32>(${key}(n), ${key}(n + 1)), vec2<u32>(counter, 0u)).x;
  let keep = select(0.0, bitcast<f32>(u(14)), i32(bits >> 8u) >= u(13));`;
}

/** One statement for each column of a thread; those beyond the last are computed of anything and not stored. */
const columns = (f: (c: number) => string): string =>
  Array.from({ length: CHUNK }, (_, c) => f(c)).join("\n");

const lastKey = (p: AttentionAttributes): string => p.causal ? "min(S, first + i + 1)" : "S";

const rowOfThread = (length: string): string =>
  `${names}
  let C = (${length} + ${CHUNK - 1}) / ${CHUNK}; let c0 = (t % C) * ${CHUNK}; let row = t / C;
  let i = row % T; let h = (row / T) % H; let b = row / (T * H);
  let kv = (b * Hk + h / (H / Hk)) * S;
  var sums: array<f32, ${CHUNK}>;`;

/** Columns of [output | lse]: a running maximum m, sum of weights l and sums of weighted values. */
export function forwardWgsl(x: readonly Aval[], p: AttentionAttributes): string {
  return `${rowOfThread("E + 1")}
  var m = -inf(); var l = 0.0;
  let end = ${lastKey(p)};
  for (var j = 0; j < end; j++) {
    let kr = kv + j;
    ${score(p, 3)}
    if (gtf(z, m)) {
      let shrink = expf(m - z); m = z; l *= shrink;
      ${columns((c) => `sums[${c}] *= shrink;`)}
    }
    let w = expf(z - m); l += w;
    ${kept(x, p)}
    let wk = w${p.rate === 0 ? "" : " * keep"}; let base = kr * E + c0;
    ${columns((c) => `sums[${c}] += wk * x2(base + ${c});`)}
  }
  let none = eqf(l, 0.0); let to = row * (E + 1);
  ${columns((c) => `if (c0 + ${c} < E) { put(to + c0 + ${c}, select(sums[${c}] / l, 0.0, none)); }`)}
  if (c0 + ${CHUNK} > E) { put(to + E, select(m + logf(l), -inf(), none)); }`;
}

/** The cotangent `dz` of a score whose weight is `w`. */
function share(p: AttentionAttributes): string {
  return `${dot("dw", "x3", "row * E", "x2", "kr * E", "E")}
    let dz = w * (dw${p.rate === 0 ? "" : " * keep"} - x4(2 * row + 1));`;
}

/** Columns of the cotangent of queries. */
export function queryWgsl(x: readonly Aval[], p: AttentionAttributes): string {
  return `${rowOfThread("D")}
  let lse = x4(2 * row);
  let end = select(${lastKey(p)}, 0, eqf(lse, -inf()));
  for (var j = 0; j < end; j++) {
    let kr = kv + j;
    ${score(p, 5)}
    ${kept(x, p)}
    let w = expf(z - lse);
    ${share(p)}
    let base = kr * D + c0;
    ${columns((c) => `sums[${c}] += dz * x1(base + ${c});`)}
  }
  ${columns((c) => `if (c0 + ${c} < D) { put(row * D + c0 + ${c}, sums[${c}] * scale); }`)}`;
}

/** Threads for each key: some for columns of its cotangent, some for those of its value's. */
export function keyValueThreads(D: number, E: number): number {
  return Math.ceil(D / CHUNK) + Math.ceil(E / CHUNK);
}

/** Columns of the cotangents of keys and values. */
export function keyValueWgsl(x: readonly Aval[], p: AttentionAttributes): string {
  return `${names}
  let CK = (D + ${CHUNK - 1}) / ${CHUNK}; let C = CK + (E + ${CHUNK - 1}) / ${CHUNK};
  let kr = t / C; let ofKey = t % C < CK; let c0 = select(t % C - CK, t % C, ofKey) * ${CHUNK};
  let j = kr % S; let hk = (kr / S) % Hk; let b = kr / (S * Hk); let G = H / Hk;
  var sums: array<f32, ${CHUNK}>;
  for (var r = 0; r < G * T; r++) {
    let h = hk * G + r / T; let i = r % T; let row = (b * H + h) * T + i;
    let lse = x4(2 * row);
    if (eqf(lse, -inf())${p.causal ? " || j > first + i" : ""}) { continue; }
    ${score(p, 5)}
    ${kept(x, p)}
    let w = expf(z - lse);
    if (ofKey) {
      ${share(p)}
      let dzs = dz * scale; let base = row * D + c0;
      ${columns((c) => `sums[${c}] += dzs * x0(base + ${c});`)}
    } else {
      let wk = w${p.rate === 0 ? "" : " * keep"}; let base = row * E + c0;
      ${columns((c) => `sums[${c}] += wk * x3(base + ${c});`)}
    }
  }
  let length = select(E, D, ofKey); let to = kr * (D + E) + select(D, 0, ofKey) + c0;
  ${columns((c) => `if (c0 + ${c} < length) { put(to + ${c}, sums[${c}]); }`)}`;
}
