/** Memory that JavaScript and WebAssembly share: arrays of the host engine live here, so that kernels need no copies. */
import type { DType, TypedArray } from "../../ops/dtype.ts";
import { Arena } from "../arena.ts";

const PAGE = 65536;
/** Blocks up to this many bytes are cut from slabs, by size class. */
const SMALL = 1 << 16, SLAB = 1 << 20;
/** Bytes that memory grows by at least. */
const GROWTH = 1 << 24;
/** Most pages, of 64 KiB: what 32 bits reach, or as much of it as the system reserves. */
const LIMITS = [65536, 32768, 16384, 4096];

function reserve(): WebAssembly.Memory | null {
  for (const maximum of LIMITS) {
    try {
      return new WebAssembly.Memory({ initial: 1, maximum, shared: true });
    } catch { /* So much address space is not to be had. */ }
  }
  return null;
}

/** An array of a type at a place in a buffer. */
export function arrayAt(dtype: DType, buffer: ArrayBuffer, at: number, size: number): TypedArray {
  switch (dtype) {
    case "f32":
    case "bf16":
      return new Float32Array(buffer, at, size);
    case "f16":
      return new Float16Array(buffer, at, size);
    case "f64":
      return new Float64Array(buffer, at, size);
    case "i32":
      return new Int32Array(buffer, at, size);
    case "u32":
      return new Uint32Array(buffer, at, size);
    case "bool":
      return new Uint8Array(buffer, at, size);
  }
}

/** Whether WebAssembly reaches an array. */
export function isShared(data: ArrayBufferView): boolean {
  return data.buffer instanceof SharedArrayBuffer;
}

/** Blocks of one shared memory, which grows and never moves. */
export class HostMemory {
  /** Null where the system has no address space for it: everything is then an array of its own. */
  readonly memory: WebAssembly.Memory | null = reserve();
  readonly #blocks = new Arena();
  /** Free small blocks by size class. */
  readonly #small = new Map<number, number[]>();
  /** Bytes in blocks that were taken and not given back. */
  #used = 0;

  constructor() {
    this.#blocks.take(64); // so that no block is at 0
  }

  /** The memory as typed arrays take it; arrays made before it grew stay good. */
  get buffer(): ArrayBuffer {
    return this.memory!.buffer as ArrayBuffer;
  }

  /** Bytes that blocks can have without more from the system. */
  get free(): number {
    return this.memory === null ? 0 : this.memory.buffer.byteLength - this.#used;
  }

  /** The place of a free block, or null where there is none. Its bytes are what they were. */
  take(bytes: number): number | null {
    if (this.memory === null) return null;
    const at = bytes > SMALL ? this.#grown(this.#blocks.take(bytes), bytes) : this.#takeSmall(classOf(bytes));
    if (at !== null) this.#used += bytes;
    return at;
  }

  #takeSmall(size: number): number | null {
    let free = this.#small.get(size);
    if (free === undefined) this.#small.set(size, free = []);
    if (free.length === 0) {
      const slab = this.#grown(this.#blocks.take(SLAB), SLAB);
      if (slab === null) return null;
      for (let at = slab + SLAB - SLAB % size - size; at >= slab; at -= size) free.push(at);
    }
    return free.pop()!;
  }

  /** Gives a block back. */
  give(at: number, bytes: number): void {
    this.#used -= bytes;
    if (bytes > SMALL) this.#blocks.give(at, bytes);
    else this.#small.get(classOf(bytes))!.push(at);
  }

  #grown(at: number, bytes: number): number | null {
    const missing = this.#blocks.bytes - this.memory!.buffer.byteLength;
    if (missing <= 0) return at;
    for (const more of [Math.max(missing, GROWTH), missing]) {
      try {
        this.memory!.grow(Math.ceil(more / PAGE));
        return at;
      } catch { /* Try with less. */ }
    }
    this.#blocks.give(at, bytes);
    return null;
  }
}

/** Four classes from one power of two to the next. */
function classOf(bytes: number): number {
  const power = 2 ** Math.floor(Math.log2(Math.max(bytes, 1024)));
  return Math.ceil(bytes / (power / 4)) * (power / 4);
}
