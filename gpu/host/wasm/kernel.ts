/** A fused loop as a kernel of the host engine: WebAssembly where it can, the generated JavaScript elsewhere. */
import { type DType, isFloat, roundTo, type TypedArray } from "../../../ops/dtype.ts";
import { type Axes, compileLoop, type Fold, type Kernel, type Loop } from "../loops.ts";
import { bytes } from "./elements.ts";
import { layoutOf, loopText, type VectorLoop } from "./loops.ts";
import { type Module, type Runner, TURNS } from "./runner.ts";
import { Unsupported } from "./wgsl.ts";

/** From so many elements on a loop goes through WebAssembly. */
const LEAST = 4096;
/** Shortest innermost axis that is worth vectors; elements of it that a part is a multiple of. */
const ROW = 8, GRAIN = 256;
/** Elements of a part of a fold of everything; rows of one of columns; most parts of each, and columns. */
const PART = 1 << 14, PARTS = 1 << 12, ROWS = 64, ROW_PARTS = 16, COLUMNS = 1 << 12;

/** Axes of a fold that keep parts of the first one, which it folds, and how many elements of that one are over. */
interface Parts extends Axes {
  readonly rest: number;
}

/** So that threads can share folds along the first axis; how many parts there are hangs on lengths only. */
function inParts(loop: Loop, { lengths, strides, reduced }: Axes): Parts | null {
  const [n, ...inner] = lengths;
  if (loop.fold === null || !reduced[0] || productOf(lengths) < 4 * PART) return null;
  const apart = (parts: number): Parts => {
    const size = Math.floor(n / parts);
    return {
      lengths: [parts, size, ...inner],
      strides: strides.map(([s, ...more]) => [s * size, s, ...more]),
      reduced: [false, ...reduced],
      rest: n - parts * size,
    };
  };
  if (lengths.length === 2 && !reduced[1]) {
    return n < 4 * ROWS || inner[0] > COLUMNS ? null : apart(Math.min(ROW_PARTS, Math.floor(n / ROWS)));
  }
  if (reduced.includes(false)) return null;
  if (inner.length === 0) return apart(Math.min(PARTS, Math.floor(n / PART)));
  return n > PARTS ? null : { lengths, strides, reduced: reduced.map((_, a) => a > 0), rest: 0 };
}

/** The axis that threads share: the first one that is kept, but for columns, unless there are enough of others. */
function sharedAxis(lengths: readonly number[], reduced: readonly boolean[], isFold: boolean): number {
  if (!isFold) return 0;
  const first = Math.max(0, reduced.indexOf(false)), last = lengths.length - 1;
  return reduced[last] || lengths[first] >= ROW_PARTS ? first : last;
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
  if (loop.applications.length === 0 && loop.loads.length === 0) return null; // a number everywhere
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
    shared: parts === null ? sharedAxis(lengths, reduced, loop.fold !== null) : 0,
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
  const first = vectors.shared, end = lengths[first];
  // A fold of everything is one thread's; parts of a row begin where vectors do.
  const splits = loop.fold === null || !reduced[first], grain = first === last ? GRAIN : 1;
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
    ], TURNS);

  /** Folds each part, and what is over, then their results in order. */
  const runParts = ({ rest }: Parts, { init, host }: Fold, y: TypedArray): boolean => {
    const n = end + (rest > 0 ? 1 : 0), width = y.length, place = runner.borrow(8 * n * width);
    if (place === null) return false;
    words[layout.stores[0]] = place;
    run();
    if (rest > 0) {
      words[0] = 1;
      words[1] = rest;
      for (const l of layout.loads) words[l] += end * words[l + 1];
      words[layout.stores[0]] += 8 * end * width;
      run();
    }
    const folded = new Float64Array(runner.memory.buffer, place, n * width);
    for (let i = 0; i < width; i++) {
      let result = init;
      for (let k = i; k < folded.length; k += width) result = host(result, folded[k]);
      y[i] = result;
    }
    return true;
  };
  // For arrays that WebAssembly has no room for.
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
      if (isFloat(constantTypes[c] ?? "f32")) floats[layout.constants + c] = value;
      else words[layout.constants + c] = roundTo("i32", value);
    }
    for (let i = 0; parts === null && i < loop.stores.length; i++) {
      const address = runner.result(v[g[stores + i]]);
      isThere &&= address !== null;
      words[layout.stores[i]] = address!;
    }
    if (isThere && parts === null) run();
    else if (isThere) isThere = runParts(parts!, loop.fold!, v[g[stores]]);
    runner.finish();
    if (!isThere) (made ??= compileLoop(loop))(v, k, g, nodes);
  };
}
