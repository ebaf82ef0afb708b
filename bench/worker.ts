/** A contender's side of the benchmark: inputs by a rule that needs no library, and the answers to the driver's lines. */
import type { Kind, Parameter, Work } from "./works.ts";

/** What a library that is loaded at run time gives: its types are not those of this project. */
// deno-lint-ignore no-explicit-any
export type Peer = any;

/** A work that is ready to be timed. */
export interface Prepared {
  /** One step; what it does before it first waits is the host's part. */
  step(): Promise<unknown>;
  /** What the last step computed, an array for each result. */
  results(): Promise<ArrayLike<number>[]>;
}

type Of<K extends Kind["kind"]> = Extract<Work, { kind: K }>;

/** How a contender does each kind of work; a missing one it cannot do. */
export type Kinds = { [K in Exclude<Kind["kind"], "start">]?: (w: Of<K>) => Prepared };

export interface Contender {
  readonly versions: Record<string, string>;
  readonly kinds: Kinds;
  /** d sum(tanh(x)^2) / dx at 0.5, 1, 2. */
  firstGradient(): Promise<ArrayLike<number>>;
  /** The most bytes that steps of a prepared work held, and what says so. */
  peak?(prepared: Prepared): Promise<{ bytes: number; by: string }>;
}

/** A bijection of 32 bits that mixes well: Wellons (2018), "lowbias32". */
function mix(h: number): number {
  h = Math.imul(h ^ (h >>> 16), 0x7feb352d);
  h = Math.imul(h ^ (h >>> 15), 0x846ca68b);
  return (h ^ (h >>> 16)) >>> 0;
}

/** n numbers, uniform in ±scale. */
export function numbers(seed: number, n: number, scale = 1): Float32Array<ArrayBuffer> {
  const start = mix(seed + 1);
  return Float32Array.from({ length: n }, (_, i) => scale * (mix((start + i) | 0) / 2 ** 31 - 1));
}

/** n whole numbers below `bound`. */
export function integers(seed: number, n: number, bound: number): Int32Array<ArrayBuffer> {
  const start = mix(seed + 1);
  return Int32Array.from({ length: n }, (_, i) => mix((start + i) | 0) % bound);
}

/** A parameter's values; its place in the list is its seed. */
export function valuesOf([, shape, values]: Parameter, seed: number): Float32Array<ArrayBuffer> {
  const n = shape.reduce((a, b) => a * b, 1);
  return typeof values === "number" ? new Float32Array(n).fill(values) : numbers(seed, n, values.scale);
}

/** A matrix [rows, columns] as [columns, rows]. */
export function transposed<A extends ArrayLike<number>>(
  x: A,
  rows: number,
  columns: number,
): Float32Array<ArrayBuffer> {
  return Float32Array.from(
    { length: rows * columns },
    (_, i) => x[(i % rows) * columns + Math.floor(i / rows)],
  );
}

const SAMPLES = 16;

/** Root mean square, then samples: enough to tell results apart. */
function probe(x: ArrayLike<number>): number[] {
  let squares = 0;
  for (let i = 0; i < x.length; i++) squares += x[i] * x[i];
  const count = Math.min(SAMPLES, x.length);
  const samples = Array.from({ length: count }, (_, i) => x[Math.floor((i + 0.5) * x.length / count)]);
  return [Math.sqrt(squares / x.length), ...samples];
}

/** A question of the driver. */
export type Question =
  | { readonly ask: "prepare" | "peak"; readonly work: Work }
  | { readonly ask: "time"; readonly repeat: number };

/** Answers lines until there are no more. */
export async function serve(contender: Contender): Promise<never> {
  const say = (x: unknown): void => {
    const bytes = new TextEncoder().encode(JSON.stringify(x) + "\n");
    for (let at = 0; at < bytes.length;) at += Deno.stdout.writeSync(bytes.subarray(at));
  };
  let prepared: Prepared | null = null;

  async function prepare(w: Work): Promise<unknown> {
    const kind = contender.kinds[w.kind as keyof Kinds] as ((w: Work) => Prepared) | undefined;
    if (kind === undefined) return { error: `${w.kind} is not among its works` };
    prepared = null;
    const ready = kind(w), probes: number[][] = [];
    const start = performance.now();
    await ready.step();
    const firstMs = performance.now() - start;
    // A model's losses over three steps hold its gradients and its optimiser to each other.
    const steps = (w.kind === "mlp" || w.kind === "gpt") && w.upTo === "step" ? 3 : 1;
    for (let i = 0; i < steps; i++) {
      if (i > 0) await ready.step();
      probes.push(...(await ready.results()).map(probe));
    }
    prepared = ready;
    return { probes, firstMs };
  }

  async function answer(q: Question): Promise<unknown> {
    switch (q.ask) {
      case "prepare":
        return await prepare(q.work);
      case "peak": {
        if (contender.peak === undefined) return { error: "it reports no peak of memory" };
        const answer = await prepare(q.work) as { error?: string };
        return answer.error === undefined ? { ...answer, ...await contender.peak(prepared!) } : answer;
      }
      case "time": {
        let host = 0;
        const start = performance.now();
        for (let i = 0; i < q.repeat; i++) {
          const begin = performance.now(), running = prepared!.step();
          host += performance.now() - begin;
          await running;
        }
        return { ms: (performance.now() - start) / q.repeat, hostMs: host / q.repeat };
      }
    }
  }

  say({ versions: contender.versions, gradient: [...Array.from(await contender.firstGradient())] });
  // Loaded late: it is no part of the start.
  const [{ createInterface }, { stdin }] = await Promise.all([
    import("node:readline"),
    import("node:process"),
  ]);
  for await (const line of createInterface({ input: stdin })) {
    say(await answer(JSON.parse(line)).catch((error) => ({ error: String(error?.message ?? error) })));
  }
  Deno.exit();
}
