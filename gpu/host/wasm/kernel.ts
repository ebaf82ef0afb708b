/** A fused loop as a kernel of the host engine: WebAssembly where it can, the generated JavaScript elsewhere. */
import { type DType, roundTo } from "../../../ops/dtype.ts";
import { type Axes, compileLoop, type Kernel, type Loop } from "../loops.ts";
import { bytes, layoutOf, loopText, type VectorLoop } from "./loops.ts";
import type { Module, Runner } from "./runner.ts";
import { Unsupported } from "./wgsl.ts";

/** From so many elements on a loop goes through WebAssembly. */
const LEAST = 4096;
/** Shortest innermost axis that is worth vectors. */
const ROW = 8;

/**
 * The loop over `axes` in WebAssembly, whose geometry is that of the JavaScript: there slots and offsets are read. Null
 * where vectors cannot do it, or not faster. Kernels are kept: they hold the loop, which is data, and nothing of a run.
 */
export function vectorKernel(loop: Loop, axes: Axes, runner: Runner): Kernel | null {
  const { lengths, strides } = axes, last = loop.rank - 1;
  const size = lengths.reduce((n, m) => n * m, 1);
  if (loop.rank === 0 || size < LEAST || size >= 2 ** 31 || lengths[last] < ROW) return null;
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
    rank: loop.rank,
    loads: loop.loads.map((l, i) => ({ dtype: l.dtype, moves: strides[i][last] === 1 })),
    constants: loop.constants,
    applications: loop.applications,
    stores: loop.stores,
    fold: loop.fold === null ? null : { name: loop.fold.name, reduced: loop.fold.reduced },
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
  loop.stores.forEach((s, i) => {
    let step = bytes(s.dtype);
    for (let a = last; a >= 0; a--) {
      if (loop.fold?.reduced[a]) continue;
      if (a < last) template[layout.stores[i] + 1 + a] = step;
      step *= lengths[a];
    }
  });
  const reduced = loop.fold?.reduced;
  const first = reduced === undefined
    ? 0
    : !reduced[last]
    ? last
    : [...reduced.keys()].find((a) => !reduced[a]) ?? 0;
  const end = lengths[first], elements = lengths.reduce((n, m) => n * m, 1);
  // A fold of everything is one thread's; parts of a row begin where vectors do.
  const splits = reduced === undefined || !reduced[first], grain = first === last ? 64 : 1;
  const work = elements * (1 + loop.applications.length);
  // Places in the plain geometry: lengths; slot, offset and outer strides of each load; slots of stores; constants.
  const slots: number[] = [];
  let at = loop.rank;
  for (const l of loop.loads) {
    slots.push(at);
    at += 2 + l.strides.filter((s) => s === "s").length;
  }
  const stores = at,
    constants = at + loop.stores.length,
    floats = new Float32Array(words.buffer, geometry);
  // For arrays that WebAssembly has no room for.
  let made: Kernel | null = null;
  const plain = (): Kernel => made ??= compileLoop(loop);
  return (v, k, g, nodes) => {
    words.set(template);
    for (let i = 0; i < slots.length; i++) {
      const address = runner.address(v[g[slots[i]]]);
      if (address === null) {
        runner.finish();
        return plain()(v, k, g, nodes);
      }
      words[layout.loads[i]] = address + g[slots[i] + 1] * bytes(loop.loads[i].dtype);
    }
    for (let i = 0; i < loop.stores.length; i++) {
      const address = runner.result(v[g[stores + i]]);
      if (address === null) {
        runner.finish();
        return plain()(v, k, g, nodes);
      }
      words[layout.stores[i]] = address;
    }
    for (let c = 0; c < loop.constants; c++) {
      const value = k[g[constants + c]];
      if ((constantTypes[c] ?? "f32") === "f32") floats[layout.constants + c] = value;
      else words[layout.constants + c] = roundTo("i32", value);
    }
    runner.run(module, "run", splits ? end : 1, grain, work, (from, to, { sums }) => [
      geometry,
      from,
      splits ? to : end,
      sums,
    ]);
    runner.finish();
  };
}
