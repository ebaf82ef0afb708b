/** Runs WebAssembly on the engine's memory: modules by text, the arrays that they reach, and the threads that help. */
import type { TypedArray } from "../../../ops/dtype.ts";
import { columnsText } from "./columns.ts";
import { vectorSources } from "./functions.ts";
import { GEMM_SOURCE, lazyGemm } from "../blas.ts";
import { type HostMemory, isShared } from "../memory.ts";
import { assemble } from "./assembler.ts";
import { attentionText } from "./attention.ts";
import { LOOP_SCRATCH } from "./loops.ts";
import { MATMUL_SCRATCH, matmulText } from "./matmul.ts";
import { normsText } from "./norms.ts";
import { randomText } from "./random.ts";
import { rowsText } from "./rows.ts";
import {
  BOARD_WORDS,
  HEADER,
  MOST_PARTS,
  OWN,
  type Scratch,
  type SharedModule,
  threadCount,
  Threads,
} from "./threads.ts";

/** A function of numbers that a module exports. */
type Exported = (...x: number[]) => void;

/** A module in use. */
export interface Module extends SharedModule {
  readonly functions: Readonly<Record<string, Exported>>;
}

/** Arguments of a call on one part of the work; what is a thread's own comes from `scratch`. */
export type Part = (from: number, to: number, scratch: Scratch) => readonly number[];

/** That of the main thread, with the geometry of the kernel that runs: where it stands, and as an array. */
interface Own extends Scratch {
  readonly geometry: number;
  readonly words: Int32Array;
}

const FUSED =
  `(func $f (param $x v128) (result v128) (f32x4.relaxed_madd (local.get $x) (local.get $x) (local.get $x)))`;
/** Words of a kernel's geometry. */
const WORDS = 1024;
/** Work, in steps of about a nanosecond, from which on threads are woken: it takes them some 30 microseconds where they sleep. */
const WORTH = 60_000;

/** Parts for each thread where they cost nothing, so that one which is late, or slow, is not waited for. */
export const TURNS = 4;

/** Modules on one memory. */
export class Runner {
  readonly #modules = new Map<string, Module>();
  #fused: boolean | null = null;
  #own: Own | null = null;
  #threads: Threads | null | undefined;
  readonly #imports: WebAssembly.Imports;
  #matmul: Module | null = null;
  #rows: Module | null = null;
  #attention: Module | null = null;
  #norms: Module | null = null;
  #random: Module | null = null;
  #columns: Module | null = null;
  readonly #borrowed: [number, number][] = [];
  readonly #results: { readonly to: TypedArray; readonly at: number }[] = [];

  /** Takes memory when a kernel first asks for it: most programs start, and many end, without one. */
  constructor(readonly memory: HostMemory) {
    this.#imports = { m: { m: memory.memory!, gemm: lazyGemm(memory.memory!, GEMM_SOURCE) } };
  }

  /** Whether there is a fused multiply-add. */
  get fused(): boolean {
    return this.#fused ??= WebAssembly.validate(assemble(FUSED));
  }

  /** What the main thread's kernels work in. */
  get own(): Own {
    return this.#own ??= this.#takeOwn();
  }

  #takeOwn(): Own {
    const geometry = this.memory.take(4 * WORDS), scratch = this.#takeScratch(0);
    if (geometry === null || scratch === null) throw new Error("Internal: no memory for kernels");
    return { ...scratch, geometry, words: new Int32Array(this.memory.buffer, geometry, WORDS) };
  }

  #takeScratch(thread: number): Scratch | null {
    const at = this.memory.take(HEADER + LOOP_SCRATCH + MATMUL_SCRATCH);
    if (at === null) return null;
    new Int32Array(this.memory.buffer, at, 1)[0] = thread;
    return { sums: at + HEADER, panels: at + HEADER + LOOP_SCRATCH };
  }

  /** The module of a text; equal texts are one. */
  module(text: string): Module {
    let found = this.#modules.get(text);
    if (found === undefined) {
      const module = new WebAssembly.Module(assemble(text));
      const { exports } = new WebAssembly.Instance(module, this.#imports);
      const functions = exports as unknown as Record<string, Exported>;
      found = { id: this.#modules.size, module, names: Object.keys(functions), functions };
      this.#modules.set(text, found);
    }
    return found;
  }

  /** The matrix product. */
  get matmul(): Module {
    return this.#matmul ??= this.module(matmulText(this.fused));
  }

  /** Softmax and what is like it. */
  get rows(): Module {
    return this.#rows ??= this.module(rowsText(this.functions, this.fused));
  }

  /** Normalisation of rows. */
  get norms(): Module {
    return this.#norms ??= this.module(normsText(this.fused));
  }

  /** Softmax and what is like it, along other axes than the last. */
  get columns(): Module {
    return this.#columns ??= this.module(columnsText(this.functions, this.fused));
  }

  /** Random bits. */
  get random(): Module {
    return this.#random ??= this.module(randomText());
  }

  /** Attention. */
  get attention(): Module {
    return this.#attention ??= this.module(attentionText(this.functions, this.fused));
  }

  /** WGSL of the functions that kernels call. */
  get functions(): ReadonlyMap<string, string> {
    return vectorSources();
  }

  /** How many threads may have a part in so much work. */
  threadsFor(work: number): number {
    return work < WORTH ? 1 : 1 + (this.#helpers()?.size ?? 0);
  }

  /**
   * Calls a function on parts from 0 to `n`, which begin at multiples of `grain`, on as many threads as `work` (steps of
   * about a nanosecond) is worth; each takes the next part when it is done with one, up to `turns` on average. Which
   * element is computed how does not hang on the number of threads.
   */
  run(module: Module, name: string, n: number, grain: number, work: number, part: Part, turns = 1): void {
    const call = module.functions[name], pieces = Math.ceil(n / grain);
    const ready = work < WORTH || pieces < 2 ? 0 : this.#helpers()?.ready ?? 0;
    const count = Math.min(ready, pieces - 1, Math.floor(work / WORTH));
    if (count === 0) return call(...part(0, n, this.own));
    const most = Math.min(MOST_PARTS, (count + 1) * turns, Math.max(count + 1, Math.floor(2 * work / WORTH)));
    const size = Math.ceil(pieces / most) * grain, parts: (readonly number[])[] = [];
    // The last is taken first.
    for (let from = 0; from < n; from += size) parts.unshift(part(from, Math.min(n, from + size), OWN));
    const { sums, panels } = this.own;
    const here = (x: readonly number[]): void =>
      call(...x.map((k) => k === OWN.sums ? sums : k === OWN.panels ? panels : k));
    this.#helpers()!.run(module, module.names.indexOf(name), parts, count, here);
  }

  #helpers(): Threads | null {
    if (this.#threads === undefined) {
      const board = this.memory.take(4 * BOARD_WORDS), scratch: Scratch[] = [];
      for (let i = threadCount(); i > 0; i--) {
        const own = this.#takeScratch(scratch.length + 1);
        if (own !== null) scratch.push(own);
      }
      this.#threads = board === null ? null : new Threads(this.memory.memory!, board, scratch);
    }
    return this.#threads;
  }

  /** The address of an array's elements, of a copy where WebAssembly does not reach it; `finish` ends its life. */
  address(data: TypedArray): number | null {
    if (isShared(data)) return data.byteOffset;
    const at = this.borrow(data.byteLength);
    if (at === null) return null;
    new Uint8Array(this.memory.buffer, at, data.byteLength).set(
      new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
    );
    return at;
  }

  /** A place of so many bytes, until `finish`. */
  borrow(bytes: number): number | null {
    const at = this.memory.take(bytes);
    if (at !== null) this.#borrowed.push([at, bytes]);
    return at;
  }

  /**
   * The address of a result's elements, which `finish` copies to where WebAssembly does not reach: which memory a result
   * gets must not decide how it is computed, nor its bits.
   */
  result(to: TypedArray): number | null {
    if (isShared(to)) return to.byteOffset;
    const at = this.borrow(to.byteLength);
    if (at !== null) this.#results.push({ to, at });
    return at;
  }

  /** Copies results to where they belong, and gives back the copies that a kernel ran on. */
  finish(): void {
    for (const { to, at } of this.#results) {
      new Uint8Array(to.buffer, to.byteOffset, to.byteLength).set(
        new Uint8Array(this.memory.buffer, at, to.byteLength),
      );
    }
    this.#results.length = 0;
    for (const [at, bytes] of this.#borrowed) this.memory.give(at, bytes);
    this.#borrowed.length = 0;
  }
}

/** A runner on a memory, or null where there is none for it. */
export function createRunner(memory: HostMemory): Runner | null {
  return memory.memory === null ? null : new Runner(memory);
}
