/** Counter-based random numbers: bits are a pure function of a key, so recomputation repeats itself. */
import { apply } from "../node.ts";
import { allBatched, custom } from "../families.ts";
import { sizeOf } from "../shape.ts";

/** Bits that rounds of {@linkcode threefry} rotate by. */
export const ROTATIONS: readonly number[] = [13, 15, 26, 6, 17, 29, 16, 24];

/** Threefry-2x32 with 20 rounds: Salmon et al. (2011), "Parallel random numbers: as easy as 1, 2, 3". */
export function threefry(key0: number, key1: number, c0: number, c1: number): [number, number] {
  const ks = [key0 >>> 0, key1 >>> 0, (key0 ^ key1 ^ 0x1bd11bda) >>> 0];
  let x0 = (c0 + ks[0]) >>> 0, x1 = (c1 + ks[1]) >>> 0;
  for (let group = 0; group < 5; group++) {
    for (let r = 0; r < 4; r++) {
      const bits = ROTATIONS[(group % 2) * 4 + r];
      x0 = (x0 + x1) >>> 0;
      x1 = ((x1 << bits) | (x1 >>> (32 - bits))) >>> 0;
      x1 = (x1 ^ x0) >>> 0;
    }
    x0 = (x0 + ks[(group + 1) % 3]) >>> 0;
    x1 = (x1 + ks[(group + 2) % 3] + group + 1) >>> 0;
  }
  return [x0, x1];
}

/** The same in WGSL, for the prelude of kernels. */
export const threefryWgsl = `
fn threefry(key: vec2<u32>, counter: vec2<u32>) -> vec2<u32> {
  var ks = array<u32, 3>(key.x, key.y, key.x ^ key.y ^ 0x1bd11bdau);
  var rotations = array<u32, 8>(${ROTATIONS.map((r) => `${r}u`).join(", ")});
  var x = counter + key;
  for (var group = 0u; group < 5u; group++) {
    for (var r = 0u; r < 4u; r++) {
      let bits = rotations[(group % 2u) * 4u + r];
      x.x += x.y;
      x.y = ((x.y << bits) | (x.y >> (32u - bits))) ^ x.x;
    }
    x.x += ks[(group + 1u) % 3u];
    x.y += ks[(group + 2u) % 3u] + group + 1u;
  }
  return x;
}`;

/** 32 random bits for each element of `p.shape`, for each key `[..., 2]`. */
export const randomBits = custom({
  name: "randomBits",
  tex: ([k]) => `\\operatorname{bits}(${k})`,
  discrete: true,
  infer: ([key], p) => ({ shape: [...key.shape.slice(0, -1), ...p.shape], dtype: "u32" }),
  host: ([key], y, { shape }) => {
    const n = sizeOf(shape);
    for (let i = 0; i < y.data.length; i++) {
      const k = 2 * Math.floor(i / n);
      y.data[i] = threefry(key.data[k], key.data[k + 1], i % n, 0)[0];
    }
  },
  wgsl: {
    threads: (_, y) => sizeOf(y.shape),
    uniforms: (_, __, { shape }) => [Math.max(1, sizeOf(shape))],
    body: () =>
      `let k = 2 * (t / u(0)); put(t, threefry(vec2<u32>(x0(k), x0(k + 1)), vec2<u32>(u32(t % u(0)), 0u)).x);`,
  },
  flops: (_, y) => 80 * sizeOf(y.shape),
  vjp: () => [null],
  jvp: () => null,
  batch: ([key], _, p) => apply(randomBits, [key], p),
});

/** The key of one element or iteration: keys `[..., 2]` with numbers `[...]`. */
export const foldKey = custom({
  name: "foldKey",
  tex: ([k, i]) => `\\operatorname{fold}(${k}, ${i})`,
  discrete: true,
  infer: ([key, i]) => ({
    shape: key.shape.length - 1 >= i.shape.length ? key.shape : [...i.shape, 2],
    dtype: "u32",
  }),
  host: ([key, i], y) => {
    const keys = key.data.length / 2, numbers = i.data.length;
    for (let j = 0; j < y.data.length / 2; j++) {
      const k = 2 * (j % keys);
      // The second counter word 1 keeps these apart from the bits of any shape, which use 0.
      const [a, b] = threefry(key.data[k], key.data[k + 1], i.data[j % numbers] >>> 0, 1);
      y.data[2 * j] = a;
      y.data[2 * j + 1] = b;
    }
  },
  wgsl: {
    threads: (_, y) => sizeOf(y.shape) / 2,
    uniforms: ([key, i]) => [sizeOf(key.shape) / 2, sizeOf(i.shape)],
    body: () => `
      let k = 2 * (t % u(0));
      let word = threefry(vec2<u32>(x0(k), x0(k + 1)), vec2<u32>(u32(x1(t % u(1))), 1u));
      put(2 * t, word.x); put(2 * t + 1, word.y);`,
  },
  flops: (_, y) => 80 * sizeOf(y.shape),
  vjp: () => [null, null],
  jvp: () => null,
  // The kernel repeats the shorter operand as a whole, so both are brought to all leading axes first.
  batch: ([key, i], batched, _, B) => {
    const k = batched[0] ? key.shape.slice(1, -1) : key.shape.slice(0, -1),
      n = batched[1] ? i.shape.slice(1) : i.shape;
    const lead = k.length >= n.length ? k : n, ones = (m: number): number[] => Array(lead.length - m).fill(1);
    return apply(foldKey, [
      key.reshape([batched[0] ? B : 1, ...ones(k.length), ...k, 2]).expand([B, ...lead, 2]),
      i.reshape([batched[1] ? B : 1, ...ones(n.length), ...n]).expand([B, ...lead]),
    ]);
  },
});

/** What numbers are as a distribution. */
export type DistributionKind = "probability" | "weights" | "logits" | "deviation";

const KINDS: Record<
  DistributionKind,
  { readonly must: string; readonly good: (x: number) => boolean; readonly wgsl: string }
> = {
  probability: {
    must: "probabilities lie in [0, 1]",
    good: (x) => x >= 0 && x <= 1,
    wgsl: "!isNan(v) && v >= 0.0 && v <= 1.0",
  },
  deviation: {
    must: "standard deviations are at least 0",
    good: (x) => x >= 0,
    wgsl: "!isNan(v) && v >= 0.0",
  },
  weights: {
    must: "weights are finite and at least 0",
    good: (x) => x >= 0 && x < Infinity,
    wgsl: "isFinite(v) && v >= 0.0",
  },
  logits: {
    must: "logits are finite or -Infinity",
    good: (x) => x < Infinity,
    wgsl: "!isNan(v) && (isFinite(v) || v < 0.0)",
  },
};

/** What is wrong: with an element (0), or with a row that has only k - 1 possible classes. */
function complaint(k: number, p: { kind: DistributionKind; action: string; draws: number }): string {
  return k === 0
    ? `Cannot ${p.action} by these numbers: ${KINDS[p.kind].must}`
    : `Cannot ${p.action} by ${p.kind} of which ${k - 1} are possible: at least ${p.draws} must be`;
}

/**
 * The operand itself, if it is a distribution of its `kind`; a fault if not. In rows, a second operand says how many
 * classes are possible in each, and `draws` how many must be.
 */
export const checkDistribution = custom({
  name: "checkDistribution",
  tex: ([x]) => x,
  texPartials: () => ["1"],
  samples: [
    {
      shapes: [[2, 3]],
      call: (x) => {
        const possible = x.gt(0).to("i32").sum(-1);
        return apply(checkDistribution, [x, possible], { kind: "weights", action: "draw", draws: 2 });
      },
      domain: [[0.5, 2]],
      notSpecial: "what is no distribution is refused",
    },
    {
      shapes: [[3]],
      call: (x) => apply(checkDistribution, [x], { kind: "probability", action: "draw", draws: 1 }),
      domain: [[0.1, 0.9]],
      notSpecial: "what is no distribution is refused",
    },
  ],
  infer: ([x]) => ({ shape: x.shape, dtype: x.dtype }),
  host: ([x, possible], y, p) => {
    const { good } = KINDS[p.kind as DistributionKind];
    if (!x.data.every(good)) throw new RangeError(complaint(0, p));
    const few = possible?.data.find((n) => n < p.draws);
    if (few !== undefined && x.data.length > 0) throw new RangeError(complaint(few + 1, p));
    y.data.set(x.data);
  },
  fault: (k, _, p) => complaint(k, p),
  wgsl: {
    threads: ([x]) => sizeOf(x.shape),
    uniforms: ([x], _, { draws }) => [x.shape[x.shape.length - 1] ?? 1, draws],
    body: ([, possible], __, { kind }: { kind: DistributionKind }) =>
      `let v = x0(t); put(t, v);
      if (!(${KINDS[kind].wgsl})) { fault(0); }
      ${possible === undefined ? "" : "let n = x1(t / u(0)); if (n < u(1)) { fault(n + 1); }"}`,
  },
  flops: ([x]) => sizeOf(x.shape),
  vjp: (ct, { x }) => x.map((_, i) => i === 0 ? ct : null),
  jvp: ([dx]) => dx,
  batch: (x, batched, p, B) => apply(checkDistribution, allBatched(x, batched, B), p),
});
