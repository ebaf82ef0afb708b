/** A fused loop as a kernel of the host engine: WebAssembly where it can, the generated JavaScript elsewhere. */
import { type DType, roundTo, type TypedArray } from "../../../ops/dtype.ts";
import { type Axes, compileLoop, type Fold, type Kernel, type Loop } from "../loops.ts";
import { isShared } from "../memory.ts";
import { bytes, layoutOf, loopText, type VectorLoop } from "./loops.ts";
import type { Module, Runner } from "./runner.ts";
import { Unsupported } from "./wgsl.ts";

/** From so many elements on a loop goes through WebAssembly. */
const LEAST = 4096;
/** Shortest innermost axis that is worth vectors. */
const ROW = 8;
/** Elements of a part of a fold of everything, and most parts. */
const PART = 1 << 14, PARTS = 1 << 12;

/** Axes of a fold of everything that keep parts of the first one, and how many elements of that one are over. */
interface Parts extends Axes {
  readonly rest: number;
}

/** So that threads can share a fold of everything; how many parts there are hangs on lengths only. */
function inParts(loop: Loop, { lengths, strides, reduced }: Axes): Parts | null {
  const [n, ...inner] = lengths;
  if (loop.fold === null || reduced.includes(false) || productOf(lengths) < 4 * PART) return null;
  if (inner.length > 0) {
    return n > PARTS ? null : { lengths, strides, reduced: reduced.map((_, a) => a > 0), rest: 0 };
  }
  const size = PART * Math.ceil(n / (PART * PARTS)), parts = Math.floor(n / size);
  return {
    lengths: [parts, size],
    strides: strides.map(([s]) => [s * size, s]),
    reduced: [false, true],
    rest: n - parts * size,
  };
}

const productOf = (list: readonly number[]): number => list.reduce((a, b) => a * b, 1);

/**
 * The loop over `axes` in WebAssembly, whose geometry is that of the JavaScript: there slots and offsets are read. Null
 * where vectors cannot do it, or not faster. Kernels are kept: they hold the loop, which is data, and nothing of a run.
 */
export function vectorKernel(loop: Loop, axes: Axes, runner: Runner): Kernel | null {
  const parts = inParts(loop, axes), { lengths, strides, reduced } = parts ?? axes;
  const rank = lengths.length, last = rank - 1, size = productOf(lengths);
  if (rank === 0 || size < LEAST || size >= 2 ** 31 || lengths[last] < ROW) return null;
  if (loop.applications.length === 0 && loop.fold === null) return null;
  if (
    strides.some((s) => s[last] !== 0 && s[last] !== 1) || (loop.fold !== null && loop.fold.from !== "f32")
  ) return null;
  const constantTypes: DType[] = [];
  for (const a of loop.applications) {
    a.x.forEach((name, i) => {
      if (name[0] === "c") constantTypes[Number(name.slice(1))] = a.types[i];
    });
  }
  const vectors: VectorLoop = {
    rank,
    loads: loop.loads.map((l, i) => ({ dtype: l.dtype, moves: strides[i][last] === 1 })),
    constants: loop.constants,
    applications: loop.applications,
    stores: parts === null ? loop.stores : loop.stores.map((s) => ({ ...s, dtype: "f64" })),
    fold: loop.fold === null ? null : { name: loop.fold.name, reduced },
  };
  let module: Module;
  try {
    module = runner.module(loopText(vectors, runner.functions, runner.fused));
  } catch (error) {
    if (error instanceof Unsupported) return null;
    throw error;
  }
  const { words, geometry } = runner.own;
  const layout = layoutOf(vectors), template = new Int32Array(layout.words);
  if (layout.words > words.length) return null;
  template.set(lengths);
  loop.loads.forEach((l, i) => {
    for (let a = 0; a < last; a++) template[layout.loads[i] + 1 + a] = strides[i][a] * bytes(l.dtype);
  });
  vectors.stores.forEach((s, i) => {
    let step = bytes(s.dtype);
    for (let a = last; a >= 0; a--) {
      if (loop.fold !== null && reduced[a]) continue;
      if (a < last) template[layout.stores[i] + 1 + a] = step;
      step *= lengths[a];
    }
  });
  const isFold = loop.fold !== null;
  const first = !isFold ? 0 : !reduced[last] ? last : Math.max(0, reduced.indexOf(false));
  const end = lengths[first];
  // A fold of everything is one thread's; parts of a row begin where vectors do.
  const splits = !isFold || !reduced[first], grain = first === last ? 64 : 1;
  const work = size * (1 + loop.applications.length);
  // Places in the plain geometry: lengths; slot, offset and outer strides of each load; slots of stores; constants.
  const slots: number[] = [];
  let at = loop.rank;
  for (const l of loop.loads) {
    slots.push(at);
    at += 2 + l.strides.filter((s) => s === "s").length;
  }
  const stores = at, constants = at + loop.stores.length, floats = new Float32Array(words.buffer, geometry);
  const run = (): void =>
    runner.run(module, "run", splits ? words[first] : 1, grain, work, (from, to, { sums }) => [
      geometry,
      from,
      splits ? to : end,
      sums,
    ]);

  /** Folds each part, and what is over, then their results in order. */
  const runParts = ({ rest }: Parts, { name, init, host }: Fold, y: TypedArray): boolean => {
    const n = end + (rest > 0 ? 1 : 0), place = runner.borrow(8 * n);
    if (place === null) return false;
    words[layout.stores[0]] = place;
    run();
    if (rest > 0) {
      words[0] = 1;
      words[1] = rest;
      for (const l of layout.loads) words[l] += end * words[l + 1];
      words[layout.stores[0]] += 8 * end;
      run();
    }
    const folded = new Float64Array(runner.memory.buffer, place, n);
    y[0] = folded.reduce((a, b) => host(a, b), init);
    return true;
  };
  /** Runs on places of the results in shared memory, from where they are copied. */
  const runTo = (results: readonly TypedArray[]): boolean => {
    const places = results.map((y) => isShared(y) ? y.byteOffset : runner.borrow(y.byteLength));
    if (places.includes(null)) return false;
    places.forEach((place, i) => words[layout.stores[i]] = place!);
    run();
    results.forEach((y, i) => {
      if (!isShared(y)) bytesOf(y).set(new Uint8Array(runner.memory.buffer, places[i]!, y.byteLength));
    });
    return true;
  };
  // For arrays that WebAssembly does not reach.
  let made: Kernel | null = null;
  return (v, k, g, nodes) => {
    words.set(template);
    let isThere = true;
    for (let i = 0; i < slots.length; i++) {
      const address = runner.address(v[g[slots[i]]]);
      isThere &&= address !== null;
      words[layout.loads[i]] = address! + g[slots[i] + 1] * bytes(loop.loads[i].dtype);
    }
    for (let c = 0; c < loop.constants; c++) {
      const value = k[g[constants + c]];
      if ((constantTypes[c] ?? "f32") === "f32") floats[layout.constants + c] = value;
      else words[layout.constants + c] = roundTo("i32", value);
    }
    const results = loop.stores.map((_, i) => v[g[stores + i]]);
    const isDone = isThere && (parts === null ? runTo(results) : runParts(parts, loop.fold!, results[0]));
    runner.finish();
    if (!isDone) (made ??= compileLoop(loop))(v, k, g, nodes);
  };
}

const bytesOf = (y: TypedArray): Uint8Array => new Uint8Array(y.buffer, y.byteOffset, y.byteLength);
