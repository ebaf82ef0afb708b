/** conv2d with both gradients on the host against plain loops, in turns, so that both meet the same machine. */
import { conv2d, setDefaultDevice, sync, type Tensor, tensor, vjp } from "../mod.ts";

setDefaultDevice("host");

/** B examples of C channels, H by H, to O channels with kernels K by K. */
interface Case {
  readonly B: number;
  readonly C: number;
  readonly O: number;
  readonly H: number;
  readonly K: number;
  readonly stride: number;
  readonly padding: number;
}

const numbers = (n: number): Float32Array<ArrayBuffer> =>
  Float32Array.from({ length: n }, () => Math.random() - 0.5);

/** y, the gradient by x and the gradient by w, each by its definition. */
function loops(c: Case, x: Float32Array, w: Float32Array, ct: Float32Array): Float32Array[] {
  const { B, C, O, H, K, stride, padding } = c, T = Math.floor((H + 2 * padding - K) / stride) + 1;
  const y = new Float32Array(B * O * T * T), dx = new Float32Array(x.length), dw = new Float32Array(w.length);
  for (let b = 0; b < B; b++) {
    for (let o = 0; o < O; o++) {
      for (let i = 0; i < T; i++) {
        for (let j = 0; j < T; j++) {
          const at = ((b * O + o) * T + i) * T + j, g = ct[at];
          let s = 0;
          for (let q = 0; q < C; q++) {
            for (let k = 0; k < K; k++) {
              const row = i * stride + k - padding;
              if (row < 0 || row >= H) continue;
              for (let l = 0; l < K; l++) {
                const column = j * stride + l - padding;
                if (column < 0 || column >= H) continue;
                const from = ((b * C + q) * H + row) * H + column, weight = ((o * C + q) * K + k) * K + l;
                s += x[from] * w[weight];
                dx[from] += g * w[weight];
                dw[weight] += g * x[from];
              }
            }
          }
          y[at] = s;
        }
      }
    }
  }
  return [y, dx, dw];
}

const ROUNDS = 7;
const median = (times: number[]): number => times.toSorted((a, b) => a - b)[times.length >> 1];

console.log("conv2d, value and both gradients (medians)");
for (
  const c of [
    { B: 50, C: 1, O: 8, H: 28, K: 5, stride: 1, padding: 0 },
    { B: 50, C: 8, O: 16, H: 12, K: 3, stride: 1, padding: 0 },
    { B: 8, C: 32, O: 32, H: 28, K: 3, stride: 1, padding: 1 },
    { B: 8, C: 32, O: 64, H: 28, K: 3, stride: 2, padding: 1 },
    { B: 4, C: 64, O: 64, H: 14, K: 1, stride: 1, padding: 0 },
  ] as Case[]
) {
  const { B, C, O, H, K, stride, padding } = c, T = Math.floor((H + 2 * padding - K) / stride) + 1;
  const x = numbers(B * C * H * H), w = numbers(O * C * K * K), ct = numbers(B * O * T * T);
  const a = tensor(x, { shape: [B, C, H, H] }), f = tensor(w, { shape: [O, C, K, K] });
  const cotangent = tensor(ct, { shape: [B, O, T, T] });
  const ours: number[] = [], plain: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    let start = performance.now();
    const [y, pull] = vjp((x: Tensor, w: Tensor) => conv2d(x, w, { stride, padding }), a, f);
    const results = [y, ...pull(cotangent)].map((t: Tensor) => t.keep());
    await sync();
    ours.push(performance.now() - start);
    start = performance.now();
    const expected = loops(c, x, w, ct);
    plain.push(performance.now() - start);
    if (round > 0) continue;
    for (const [i, e] of expected.entries()) {
      const got = await results[i].data();
      const scale = e.reduce((m, v) => Math.max(m, Math.abs(v)), 1);
      if (e.some((v, j) => Math.abs(v - got[j]) > 1e-3 * scale)) throw new Error(`Result ${i} differs`);
    }
  }
  const ms = median(ours), naive = median(plain), flops = 6 * B * O * T * T * C * K * K;
  console.log(
    `${JSON.stringify(c).replaceAll('"', "").padEnd(52)} ${ms.toFixed(1).padStart(7)} ms  loops ${
      naive.toFixed(1).padStart(7)
    } ms  ratio ${(naive / ms).toFixed(1).padStart(5)}  ${(flops / ms / 1e6).toFixed(2)} GFLOP/s`,
  );
}
