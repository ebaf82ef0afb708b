/** Copies of values to the host: all that are asked for together share one copy, one submit and one wait. */
import { allocate, type DType, type TypedArray, unpackBf16 } from "../../ops/dtype.ts";
import { storedBytes } from "./kernels/kernel.ts";
import type { Runtime } from "./runtime.ts";
import type { WebGpuStorage } from "./storage.ts";

/** One value to be read. */
export interface Wanted {
  readonly storage: WebGpuStorage;
  readonly dtype: DType;
  readonly size: number;
}

interface Request extends Wanted {
  readonly resolve: (data: TypedArray) => void;
  readonly reject: (error: unknown) => void;
}

const MAP_READ = 0x01, COPY_DST = 0x08;
/** Values up to this many bytes keep a copy on the host once they were read. */
export const CACHED = 1024;
/** Bytes that one staging buffer takes, unless a single value is larger. */
const BATCH = 64 * 2 ** 20;
/** Bytes of idle staging buffers which are kept. */
const SPARE = 64 * 2 ** 20;
/**
 * Versions of Deno in which asking waits for the device: `getMappedRange` may be called without awaiting `mapAsync`, on
 * buffers that were mapped before. That saves 11 ms of sleep. Elsewhere it could end the process. It was tested on software
 * rasterisers only.
 */
const SYNCHRONOUS = new Set(["2.9.6"]);

/** The host's copy of a small value. */
function copyOut(bytes: ArrayBuffer, at: number, dtype: DType, size: number): TypedArray {
  switch (dtype) {
    case "f32":
      return new Float32Array(bytes.slice(at, at + 4 * size));
    case "f16":
      return new Float16Array(bytes.slice(at, at + 2 * size));
    case "bf16":
      return unpackBf16(new Uint16Array(bytes, at, size));
    case "i32":
      return new Int32Array(bytes.slice(at, at + 4 * size));
    case "u32":
      return new Uint32Array(bytes.slice(at, at + 4 * size));
    case "bool":
      return Uint8Array.from(new Uint32Array(bytes, at, size));
    case "f64":
      throw new Error("Internal: f64 on WebGPU");
  }
}

/** A buffer that the host can see. */
interface Staging {
  readonly buffer: GPUBuffer;
  /** It was mapped before. */
  readonly known: boolean;
  /** Why there is no memory behind it, if so. */
  readonly shortage: Promise<Error | null> | null;
}

/** Reads from one device. */
export class Reader {
  #waiting: Request[] = [];
  readonly #staging: GPUBuffer[] = [];
  #spare = 0;
  readonly #synchronous: boolean;
  /** What had been submitted when the device was last waited for. */
  #awaited = 0;

  constructor(readonly runtime: Runtime) {
    this.#synchronous = runtime.open.info.isSoftware && SYNCHRONOUS.has(Deno.version.deno);
  }

  /** The value on the host, once everything that it depends on is done and checked. */
  read(wanted: Wanted): Promise<TypedArray> {
    const { storage, dtype, size } = wanted;
    if (storage.error !== null) return Promise.reject(storage.error);
    if (storage.cached !== null) return Promise.resolve(storage.cached.slice());
    if (size === 0) return Promise.resolve(allocate(dtype, 0));
    if (this.#waiting.length === 0) queueMicrotask(() => void this.#start());
    return new Promise((resolve, reject) => this.#waiting.push({ ...wanted, resolve, reject }));
  }

  /** Waits until everything submitted is done, and its faults are known. */
  async sync(): Promise<void> {
    const { faults, submitted, device } = this.runtime;
    if (faults.unchecked > 0) await this.#transfer([]);
    else if (submitted !== this.#awaited) {
      // Reading nothing waits for the device as well, without the 11 ms that the answer to a question takes.
      if (this.#synchronous) await this.#transfer([]);
      else await device.queue.onSubmittedWorkDone();
    }
    this.#awaited = submitted;
    await this.runtime.checked;
  }

  async #start(): Promise<void> {
    const requests = this.#waiting;
    this.#waiting = [];
    const batches: Request[][] = [];
    let bytes = Infinity;
    for (const request of requests) {
      if (request.storage.error !== null || request.storage.block === null) {
        request.reject(request.storage.error ?? new Error("Internal: a value without memory"));
        continue;
      }
      bytes += bytesOf(request);
      if (bytes > BATCH) {
        batches.push([]);
        bytes = bytesOf(request);
      }
      batches[batches.length - 1].push(request);
    }
    await Promise.all(batches.map(async (batch) => {
      try {
        await this.#transfer(batch);
      } catch (error) {
        for (const { reject } of batch) reject(this.runtime.lost ?? error);
      }
    }));
  }

  /** One copy, one submit, one wait. */
  async #transfer(batch: readonly Request[]): Promise<void> {
    const { device, faults } = this.runtime;
    const unchecked = faults.unchecked;
    let total = unchecked > 0 ? faults.bytes : 0;
    const places = batch.map((request) => {
      const at = total;
      total += bytesOf(request);
      return at;
    });
    const staging = this.#take(total, `read ${batch.length} values`);
    try {
      // A buffer that was never mapped must be awaited.
      const synchronous = this.#synchronous && staging.known;
      const encoder = device.createCommandEncoder();
      if (unchecked > 0) encoder.copyBufferToBuffer(faults.buffer, 0, staging.buffer, 0, faults.bytes);
      else if (batch.length === 0) encoder.clearBuffer(staging.buffer, 0, 4); // what is mapped must be in use
      batch.forEach(({ storage, dtype, size }, i) => {
        encoder.copyBufferToBuffer(
          storage.buffer,
          storage.offset,
          staging.buffer,
          places[i],
          copied(dtype, size),
        );
      });
      device.queue.submit([encoder.finish()]);
      const mapped = staging.buffer.mapAsync(MAP_READ, 0, staging.buffer.size);
      if (synchronous) mapped.catch(() => {});
      else await mapped;
      const bytes = staging.buffer.getMappedRange();
      if (unchecked > 0) faults.check(new Uint32Array(bytes, 0, faults.bytes / 4), unchecked);
      const data = batch.map(({ dtype, size }, i) => copyOut(bytes, places[i], dtype, size));
      staging.buffer.unmap();
      this.#giveBack(staging.buffer);
      this.runtime.idle();
      await this.runtime.checked;
      batch.forEach(({ storage, resolve, reject }, i) => {
        if (storage.error !== null) return reject(storage.error);
        if (data[i].byteLength <= CACHED) storage.cached = data[i].slice();
        resolve(data[i]);
      });
    } catch (cause) {
      staging.buffer.destroy();
      const error = await staging.shortage ?? cause;
      if (this.runtime.lost === null) await new Promise((resolve) => setTimeout(resolve, 1)); // the loss is told later
      throw error;
    }
  }

  #take(bytes: number, action: string): Staging {
    const size = 2 ** Math.ceil(Math.log2(Math.max(4096, bytes)));
    const i = this.#staging.findIndex((b) => b.size === size);
    if (i >= 0) {
      this.#spare -= size;
      return { buffer: this.#staging.splice(i, 1)[0], known: true, shortage: null };
    }
    const { device, open: { limits } } = this.runtime;
    const exact = Math.min(size, Math.max(bytes, limits.buffer));
    device.pushErrorScope("out-of-memory");
    const buffer = device.createBuffer({ size: exact, usage: MAP_READ | COPY_DST });
    const needs = { action, results: [exact], chunks: [], saved: null };
    const shortage = device.popErrorScope().then(
      (error) => error === null ? null : this.runtime.shortage(needs, "the device has no more", error),
      () => null, // the device is lost
    );
    return { buffer, known: false, shortage };
  }

  #giveBack(buffer: GPUBuffer): void {
    if (buffer.size > BATCH || this.#spare + buffer.size > SPARE) return buffer.destroy();
    this.#spare += buffer.size;
    this.#staging.push(buffer);
  }
}

/** Bytes that a copy moves: whole words. */
function copied(dtype: DType, size: number): number {
  return Math.ceil(size * storedBytes(dtype) / 4) * 4;
}

/** Bytes that a value takes among others: a multiple of 8, so that every type is aligned. */
function bytesOf({ dtype, size }: Wanted): number {
  return Math.ceil(copied(dtype, size) / 8) * 8;
}
