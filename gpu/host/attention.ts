/** Attention on the host: blocks of queries or of keys, whose weights stand in scratch memory between two products. */
import type { AttentionAttributes } from "../../ops/fused/attention_definition.ts";
import { maskStrides } from "../../ops/fused/attention_definition.ts";
import type { TypedArray } from "../../ops/dtype.ts";
import type { HostArray } from "../../ops/primitive.ts";
import { type Placed, product } from "./wasm/product.ts";
import type { Runner } from "./wasm/runner.ts";

/** Scores of a block at most; so many are worth vectors at least. */
const BLOCK = 1 << 15, LEAST = 1 << 12;

/** A row-major matrix of `width` columns in shared memory, and the transpose of one. */
const lines = (at: number, width: number): Placed => ({ at, row: 4 * width, column: 4 });
const columns = (at: number, width: number): Placed => ({ at, row: 4, column: 4 * width });

/** Shapes, addresses of the operands, and scratch of the call at hand. */
class Call {
  readonly B: number;
  readonly H: number;
  readonly Hk: number;
  readonly T: number;
  readonly S: number;
  readonly D: number;
  readonly E: number;
  readonly #at: number[] = [];

  constructor(
    readonly x: readonly HostArray[],
    readonly p: AttentionAttributes,
    readonly runner: Runner,
    readonly more: number,
  ) {
    const [q, k, v] = x;
    [this.B, this.H, this.T, this.D] = q.shape;
    [, this.Hk, this.S] = k.shape;
    this.E = v.shape[3];
  }

  /** Places all operands but a mask; false where there is no room. */
  place(): boolean {
    for (const { data } of this.x.slice(0, this.more)) {
      const at = this.runner.address(data);
      if (at === null) return false;
      this.#at.push(at);
    }
    return true;
  }

  /** Address of rows of an operand: head `h` of batch `b`, from row `i` on. */
  rows(operand: number, b: number, h: number, i: number): number {
    const [, H, T, D] = this.x[operand].shape;
    return this.#at[operand] + 4 * (((b * H + h) * T + i) * D);
  }

  floats(n: number): Float32Array | null {
    const at = this.runner.borrow(4 * n);
    return at === null ? null : this.#array(at, n);
  }

  /** The result's elements, where they are reached. */
  result(data: TypedArray): Float32Array | null {
    const at = this.runner.result(data);
    return at === null ? null : this.#array(at, data.length);
  }

  #array(at: number, n: number): Float32Array {
    return new Float32Array(this.runner.memory.buffer, at, n);
  }

  /** The first key that query `i` does not see any more. */
  end(i: number): number {
    return this.p.causal
      ? Math.min(this.S, Math.max(0, this.p.firstQuery + i - this.p.firstKey + 1))
      : this.S;
  }

  /** The first query that sees key `j`. */
  start(j: number): number {
    return this.p.causal ? Math.min(this.T, Math.max(0, this.p.firstKey + j - this.p.firstQuery)) : 0;
  }

  /** The mask's share of scores `z(i, j)`, at index `at(i, j)`. */
  mask(
    z: Float32Array,
    b: number,
    h: number,
    queries: [number, number],
    keys: [number, number],
    at: (i: number, j: number) => number,
  ): void {
    if (this.p.mask === "none") return;
    const mask = this.x[this.more], s = maskStrides(mask), isBool = this.p.mask === "bool";
    for (let i = queries[0]; i < queries[1]; i++) {
      const from = b * s[0] + h * s[1] + i * s[2];
      for (let j = keys[0]; j < keys[1]; j++) {
        const m = mask.data[from + j * s[3]], to = at(i, j);
        if (!isBool) z[to] += m;
        else if (m === 0) z[to] = -Infinity;
      }
    }
  }

  /** Scores `z [n, m]` of queries from `i0` on and the first keys; `q` is room for the queries. */
  scores(z: Float32Array, q: Float32Array, b: number, h: number, i0: number, n: number, m: number): void {
    const { D, p, runner } = this, hk = Math.floor(h * this.Hk / this.H);
    this.scaled(q, b, h, i0, n);
    const keys = columns(this.rows(1, b, hk, 0), D);
    product(runner, [n, m, D], lines(q.byteOffset, D), keys, z.byteOffset);
    this.mask(z, b, h, [i0, i0 + n], [0, m], (i, j) => (i - i0) * m + j);
    if (!p.causal) return;
    for (let i = 0; i < n; i++) z.fill(-Infinity, i * m + Math.min(m, this.end(i0 + i)), (i + 1) * m);
  }

  /** Queries of a head times the scale, in scratch: `[n, D]` from `i` on. */
  scaled(to: Float32Array, b: number, h: number, i: number, n: number): void {
    const { D, T, H, p } = this, from = ((b * H + h) * T + i) * D, q = this.x[0].data;
    for (let d = 0; d < n * D; d++) to[d] = q[from + d] * p.scale;
  }
}

function isWorthIt(
  x: readonly HostArray[],
  p: AttentionAttributes,
  runner: Runner | null,
  more: number,
): runner is Runner {
  const [q, k, v] = x;
  return runner !== null && x.slice(0, more).every((a) => a.dtype === "f32") && p.rate === 0 &&
    q.shape[2] * k.shape[2] >= LEAST && q.shape[3] >= 4 && v.shape[3] >= 4;
}

/** As the record's kernel of `attention`; false where it is not worth it. */
export function attention(
  x: readonly HostArray[],
  y: HostArray,
  p: AttentionAttributes,
  runner: Runner | null,
): boolean {
  if (!isWorthIt(x, p, runner, 3)) return false;
  const c = new Call(x, p, runner, 3), { B, H, Hk, T, S, D, E } = c;
  const each = Math.max(1, Math.min(T, Math.floor(BLOCK / S)));
  const scores = c.floats(each * S), q = c.floats(each * D), sums = c.floats(each), Y = c.result(y.data);
  try {
    if (!c.place() || Y === null || scores === null || q === null || sums === null) return false;
    const z = scores.byteOffset;
    for (let b = 0; b < B; b++) {
      for (let h = 0; h < H; h++) {
        const hk = Math.floor(h * Hk / H);
        for (let i0 = 0; i0 < T; i0 += each) {
          const n = Math.min(each, T - i0), m = c.end(i0 + n - 1), row = (b * H + h) * T + i0;
          if (m === 0) {
            for (let i = 0; i < n; i++) {
              Y.fill(0, (row + i) * (E + 1), (row + i) * (E + 1) + E);
              Y[(row + i) * (E + 1) + E] = -Infinity;
            }
            continue;
          }
          c.scores(scores, q, b, h, i0, n, m);
          runner.run(runner.rows, "weights", n, 1, 4 * n * m, (from, to) => [
            z + 4 * from * m,
            sums.byteOffset + 4 * from,
            m,
            to - from,
          ]);
          const values = lines(c.rows(2, b, hk, 0), E);
          product(
            runner,
            [n, E, m],
            lines(z, m),
            values,
            Y.byteOffset + 4 * row * (E + 1),
            4 * (E + 1),
          );
          for (let i = 0; i < n; i++) Y[(row + i) * (E + 1) + E] = sums[i];
        }
      }
    }
    return true;
  } finally {
    runner.finish();
  }
}

/** Log-sums and deltas of a head's queries, apart; a query that sees nothing gets an infinite sum, and so no weights. */
function statistics(c: Call, b: number, h: number, lse: Float32Array, delta: Float32Array): void {
  const stats = c.x[4].data, from = (b * c.H + h) * c.T;
  for (let i = 0; i < c.T; i++) {
    const s = stats[2 * (from + i)];
    lse[i] = s === -Infinity ? Infinity : s;
    delta[i] = stats[2 * (from + i) + 1];
  }
}

/** As the record's kernel of `attentionQueryGrad`; false where it is not worth it. */
export function queryGrad(
  x: readonly HostArray[],
  y: HostArray,
  p: AttentionAttributes,
  runner: Runner | null,
): boolean {
  if (!isWorthIt(x, p, runner, 5)) return false;
  const c = new Call(x, p, runner, 5), { B, H, Hk, T, S, D, E } = c;
  const each = Math.max(1, Math.min(T, Math.floor(BLOCK / S)));
  const [scores, weights, q, lse, delta] = [each * S, each * S, each * D, T, T].map((n) => c.floats(n));
  const Y = c.result(y.data);
  try {
    if (
      !c.place() || Y === null || scores === null || weights === null || q === null || lse === null ||
      delta === null
    ) {
      return false;
    }
    const z = scores.byteOffset, dw = weights.byteOffset;
    for (let b = 0; b < B; b++) {
      for (let h = 0; h < H; h++) {
        const hk = Math.floor(h * Hk / H);
        statistics(c, b, h, lse, delta);
        for (let i0 = 0; i0 < T; i0 += each) {
          const n = Math.min(each, T - i0), m = c.end(i0 + n - 1), to = ((b * H + h) * T + i0) * D;
          if (m === 0) {
            Y.fill(0, to, to + n * D);
            continue;
          }
          c.scores(scores, q, b, h, i0, n, m);
          product(runner, [n, m, E], lines(c.rows(3, b, h, i0), E), columns(c.rows(2, b, hk, 0), E), dw);
          runner.run(runner.rows, "scoreGradients", n, 1, 4 * n * m, (from, until) => [
            ...[z + 4 * from * m, dw + 4 * from * m, m, until - from],
            ...[lse.byteOffset + 4 * (i0 + from), delta.byteOffset + 4 * (i0 + from)],
          ]);
          product(runner, [n, D, m], lines(z, m), lines(c.rows(1, b, hk, 0), D), Y.byteOffset + 4 * to);
          for (let d = to; d < to + n * D; d++) Y[d] *= p.scale;
        }
      }
    }
    return true;
  } finally {
    runner.finish();
  }
}

/** As the record's kernel of `attentionKeyValueGrad`; false where it is not worth it. */
export function keyValueGrad(
  x: readonly HostArray[],
  y: HostArray,
  p: AttentionAttributes,
  runner: Runner | null,
): boolean {
  if (!isWorthIt(x, p, runner, 5)) return false;
  const c = new Call(x, p, runner, 5), { B, H, Hk, T, S, D, E } = c, G = H / Hk, line = D + E;
  const each = Math.max(1, Math.min(S, Math.floor(BLOCK / T)));
  const sizes = [each * T, each * T, T * D, T, T, G > 1 ? each * line : 1];
  const [scores, weights, q, lse, delta, part] = sizes.map((n) => c.floats(n)), Y = c.result(y.data);
  try {
    if (
      !c.place() || Y === null || scores === null || weights === null || q === null || lse === null ||
      delta === null || part === null
    ) {
      return false;
    }
    const z = scores.byteOffset, dw = weights.byteOffset;
    for (let b = 0; b < B; b++) {
      for (let h = 0; h < H; h++) {
        const hk = Math.floor(h / G), isFirst = h % G === 0;
        statistics(c, b, h, lse, delta);
        c.scaled(q, b, h, 0, T);
        for (let j0 = 0; j0 < S; j0 += each) {
          const m = Math.min(each, S - j0),
            i0 = c.start(j0),
            n = T - i0,
            at = ((b * Hk + hk) * S + j0) * line;
          if (n === 0) {
            if (isFirst) Y.fill(0, at, at + m * line);
            continue;
          }
          product(
            runner,
            [m, n, D],
            lines(c.rows(1, b, hk, j0), D),
            columns(q.byteOffset + 4 * i0 * D, D),
            z,
          );
          product(runner, [m, n, E], lines(c.rows(2, b, hk, j0), E), columns(c.rows(3, b, h, i0), E), dw);
          c.mask(scores, b, h, [i0, T], [j0, j0 + m], (i, j) => (j - j0) * n + i - i0);
          if (p.causal) {
            for (let j = 0; j < m; j++) {
              scores.fill(-Infinity, j * n, j * n + Math.min(n, c.start(j0 + j) - i0));
            }
          }
          runner.run(runner.rows, "keyGradients", m, 1, 4 * n * m, (from, until) => [
            ...[z + 4 * from * n, dw + 4 * from * n, n, until - from],
            ...[lse.byteOffset + 4 * i0, delta.byteOffset + 4 * i0],
          ]);
          const to = isFirst ? Y.byteOffset + 4 * at : part.byteOffset;
          product(
            runner,
            [m, D, n],
            lines(dw, n),
            lines(q.byteOffset + 4 * i0 * D, D),
            to,
            4 * line,
          );
          product(
            runner,
            [m, E, n],
            lines(z, n),
            lines(c.rows(3, b, h, i0), E),
            to + 4 * D,
            4 * line,
          );
          if (!isFirst) { for (let d = 0; d < m * line; d++) Y[at + d] += part[d]; }
        }
      }
    }
    return true;
  } finally {
    runner.finish();
  }
}
