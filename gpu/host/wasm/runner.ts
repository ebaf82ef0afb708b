/** Runs WebAssembly on the engine's memory: modules by text, and the arrays that they reach. */
import type { TypedArray } from "../../../ops/dtype.ts";
import { type HostMemory, isShared } from "../memory.ts";
import { functionSources } from "../../webgpu/prelude.ts";
import { assemble } from "./assembler.ts";
import { LOOP_SCRATCH } from "./loops.ts";
import { MATMUL_SCRATCH, matmulText } from "./matmul.ts";
import { rowsText } from "./rows.ts";

/** A function of numbers that a module exports. */
export type Exported = (...x: number[]) => void;

const FUSED =
  `(func $f (param $x v128) (result v128) (f32x4.relaxed_madd (local.get $x) (local.get $x) (local.get $x)))`;
/** Words of a kernel's geometry. */
const WORDS = 1024;

/** Modules on one memory. */
export class Runner {
  /** Whether there is a fused multiply-add. */
  readonly fused: boolean;
  readonly #modules = new Map<string, Record<string, Exported>>();
  /** Where geometry, sums of loops, and panels of matrices stand. */
  readonly geometry: number;
  readonly sums: number;
  readonly panels: number;
  readonly words: Int32Array;
  #matmul: Exported | null = null;
  #rows: Record<string, Exported> | null = null;
  readonly #borrowed: [number, number][] = [];

  constructor(readonly memory: HostMemory) {
    this.fused = WebAssembly.validate(assemble(FUSED));
    const at = memory.take(4 * WORDS + LOOP_SCRATCH + MATMUL_SCRATCH);
    if (at === null) throw new Error("Internal: no memory for kernels");
    this.geometry = at;
    this.sums = at + 4 * WORDS;
    this.panels = this.sums + LOOP_SCRATCH;
    this.words = new Int32Array(memory.buffer, at, WORDS);
  }

  /** What a module's functions are called by; equal texts are one module. */
  module(text: string): Record<string, Exported> {
    let found = this.#modules.get(text);
    if (found === undefined) {
      const instance = new WebAssembly.Instance(new WebAssembly.Module(assemble(text)), {
        m: { m: this.memory.memory! },
      });
      this.#modules.set(text, found = instance.exports as unknown as Record<string, Exported>);
    }
    return found;
  }

  /** The matrix product. */
  get matmul(): Exported {
    return this.#matmul ??= this.module(matmulText(this.fused)).matmul;
  }

  /** Softmax and what is like it. */
  get rows(): Record<string, Exported> {
    return this.#rows ??= this.module(rowsText(this.functions, this.fused));
  }

  /** WGSL of the functions that kernels call. */
  get functions(): ReadonlyMap<string, string> {
    return functionSources();
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

  /** Gives back the copies that a kernel ran on. */
  finish(): void {
    for (const [at, bytes] of this.#borrowed) this.memory.give(at, bytes);
    this.#borrowed.length = 0;
  }
}

/** A runner on a memory, or null where there is none for it. */
export function createRunner(memory: HostMemory): Runner | null {
  return memory.memory === null ? null : new Runner(memory);
}
