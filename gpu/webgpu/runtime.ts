/** One device and all that lives on it: memory, pipelines, the arena, and the encoding of runs. */
import { type DType, packBf16, type TypedArray } from "../../ops/dtype.ts";
import { outOfMemory, type OutOfMemoryError, type Saved, showBytes } from "../../ops/out_of_memory.ts";
import { availableMemory, LARGE_REQUEST } from "../available.ts";
import { Collector } from "../collector.ts";
import type { Limits, OpenDevice } from "./device.ts";
import { Faults } from "./faults.ts";
import { layoutKey, Pipelines } from "./pipelines.ts";
import type { Bound, Dispatch, Plan, RunAttributes } from "./plan.ts";
import { aligned, type Block, BufferPool, classOf } from "./pool.ts";
import type { Timer } from "./timer.ts";
import { type Held, type Home, type RunRecord } from "./storage.ts";

const STORAGE = 0x80 | 0x04 | 0x08; // STORAGE | COPY_SRC | COPY_DST
const PARAMETERS = 0x40 | 0x80 | 0x08; // UNIFORM | STORAGE | COPY_DST
/** Uploads go in pieces: large writes are slow. */
const PIECE = 2 ** 20;
/** Dispatches in one command buffer. */
const PASS = 8192;
/** Sets of result blocks which a plan remembers, and bind groups for all of its dispatches together. */
const SETS = 48, GROUPS = 16384;
/** Runs, and dispatches in them, that may be in flight together. */
const RUNS_IN_FLIGHT = 3, DISPATCHES_IN_FLIGHT = 256;

/** What is asked of a device: bytes of results, and of the parts of an arena. */
export interface Needs {
  /** "compute 3 ops (mul, add, sum)". */
  readonly action: string;
  readonly results: readonly number[];
  readonly chunks: readonly number[];
  readonly saved: Saved | null;
}

/** A plan's bind groups on a device. */
interface Prepared {
  /** Changes with the buffers of arena and parameters. */
  epoch: number;
  readonly groups: Map<string, GPUBindGroup>[];
  /** Those of all dispatches, by all the blocks of a run. */
  readonly runs: Map<string, GPUBindGroup[]>;
  readonly offsets: Uint32Array[];
  /** Parameters that stay, of a steady plan. */
  parameters: GPUBuffer | null;
  /** Bind groups that each dispatch keeps, for buffers that it has seen. */
  readonly keeps: number;
  /** Blocks that earlier runs wrote their results to: the same again makes the same bind groups. */
  readonly sets: Block[][];
}

/** One device. */
export class Runtime implements Home {
  /** What plans are made for: what the device has, but in tests. */
  limits: Limits;
  readonly device: GPUDevice;
  readonly pool: BufferPool;
  readonly pipelines: Pipelines;
  readonly faults: Faults;
  /** Why everything here is gone, or null. */
  lost: Error | null = null;
  /** Bytes of the arena. */
  arenaBytes = 0;
  /** Settles when the error scopes of all runs so far have been looked at. */
  checked: Promise<unknown> = Promise.resolve();
  /** How many uploads and passes were given to the device. */
  submitted = 0;
  readonly collector: Collector<Held>;
  /** Takes the times of dispatches while somebody wants them. */
  timer: Timer | null = null;

  readonly #prepared = new WeakMap<Plan, Prepared>();
  readonly #arena: GPUBuffer[] = [];
  #parameters: GPUBuffer | null = null;
  #epoch = 0;
  #runsInFlight = 0;
  #dispatchesInFlight = 0;

  constructor(readonly open: OpenDevice, public budget: number) {
    const { device, limits } = open;
    this.limits = limits;
    this.device = device;
    const pool = this.pool = new BufferPool(device, limits.buffer);
    this.collector = new Collector<Held>(({ block }) => block.release(), () => pool.live);
    this.pipelines = new Pipelines(device, open.info.isSoftware);
    this.faults = new Faults(device);
  }

  /** A block that holds `bits`. */
  upload(bits: ArrayBufferView<ArrayBuffer>): Block {
    const block = this.pool.acquire(Math.max(4, bits.byteLength));
    const { queue } = this.device;
    let { byteLength } = bits;
    if (byteLength % 4 !== 0) {
      const padded = new Uint8Array(Math.ceil(byteLength / 4) * 4);
      padded.set(new Uint8Array(bits.buffer, bits.byteOffset, byteLength));
      bits = padded;
      ({ byteLength } = bits);
    }
    for (let at = 0; at < byteLength; at += PIECE) {
      this.submitted++;
      queue.writeBuffer(
        block.buffer,
        block.offset + at,
        bits.buffer,
        bits.byteOffset + at,
        Math.min(PIECE, byteLength - at),
      );
    }
    return block;
  }

  /** Blocks for the results of a run, each with one owner: those taken over or, where it can be, of an earlier run. */
  slots(plan: Plan, banned: ReadonlySet<GPUBuffer>, taken: ReadonlyMap<number, Block>): Block[] {
    const { pool } = this, { slots } = plan;
    if (taken.size === slots.length) return slots.map((_, i) => taken.get(i)!.retain());
    if (slots.length === 0) return [];
    const { sets } = this.#prepare(plan);
    // Some results, like losses, may be held for long: half of a set is enough.
    let free = 0;
    const usable = (block: Block): boolean => block.isFree && !banned.has(block.buffer);
    let set = sets.find((s) =>
      (free = s.reduce((n, block) => n + (usable(block) ? 1 : 0), 0)) * 2 > s.length - taken.size
    );
    if (set === undefined) {
      free = 0;
      set = [];
      if (sets.length < SETS) sets.push(set);
    }
    const old = set;
    return slots.map((bytes, i) => {
      const block = old[i], own = taken.get(i);
      if (own !== undefined) return own.retain();
      if (free > 0 && block !== undefined && usable(block)) return pool.claim(block);
      return old[i] = pool.acquire(bytes, banned);
    });
  }

  /** Submits a run; results are in `slots`. Errors of the device reach the record later. */
  run(
    plan: Plan,
    inputs: readonly (Block | null)[],
    slots: readonly Block[],
    attributes: RunAttributes,
    record: RunRecord,
  ): void {
    if (plan.dispatches.length === 0) return;
    const { device } = this;
    this.#awaitRoom(plan.dispatches.length);
    this.#reserve(plan);
    for (const patch of plan.patches) patch(plan.words, attributes);
    if (plan.faults.length > 0) {
      const slot = this.faults.watch(record, plan);
      for (const { word } of plan.faults) plan.words.i32[word] = slot;
    }
    const prepared = this.#prepare(plan), { buffer } = plan.words.i32;
    let parameters = this.#parameters!, isWritten = false;
    if (plan.steady) {
      if (prepared.parameters !== null) isWritten = plan.patches.length === 0 && plan.faults.length === 0;
      else prepared.parameters = device.createBuffer({ size: aligned(buffer.byteLength), usage: PARAMETERS });
      parameters = prepared.parameters;
    }
    for (let at = 0; at < buffer.byteLength && !isWritten; at += PIECE) {
      device.queue.writeBuffer(parameters, at, buffer, at, Math.min(PIECE, buffer.byteLength - at));
    }
    let blocks = "";
    for (const position of plan.inputs) blocks += `${inputs[position]!.id},`;
    for (const block of slots) blocks += `${block.id},`;
    let bound = prepared.runs.get(blocks);
    const isBound = bound !== undefined;
    bound ??= new Array<GPUBindGroup>(plan.dispatches.length);
    const fail = (error: Error): void => record.fail(error);
    const { dispatches } = plan;
    let last: GPUComputePipeline | null = null;
    const encode = (pass: GPUComputePassEncoder, i: number): void => {
      const d = dispatches[i], { pipeline, layout } = this.pipelines.get(d.kernel, fail);
      if (pipeline !== last) pass.setPipeline(last = pipeline);
      if (!isBound) bound[i] = this.#boundGroup(d, i, prepared, layout, parameters, inputs, slots);
      pass.setBindGroup(0, bound[i], prepared.offsets[i], 0, 1);
      pass.dispatchWorkgroups(d.groups[0], d.groups[1]);
    };
    this.#copyIntoTaken(plan, inputs, slots);
    if (this.timer !== null) {
      this.timer.run(dispatches, (pass, i) => {
        last = null;
        encode(pass, i);
      });
      this.submitted++;
    } else {
      for (let first = 0; first < dispatches.length; first += PASS) {
        const encoder = device.createCommandEncoder(), pass = encoder.beginComputePass();
        last = null;
        const end = Math.min(dispatches.length, first + PASS);
        for (let i = first; i < end; i++) encode(pass, i);
        pass.end();
        device.queue.submit([encoder.finish()]);
        this.submitted++;
      }
    }
    if (isBound) return;
    if (prepared.runs.size >= prepared.keeps) prepared.runs.delete(prepared.runs.keys().next().value!);
    prepared.runs.set(blocks, bound);
  }

  /** Where an input cannot be written over, its copy is. */
  #copyIntoTaken(
    { takeovers, slots: bytes }: Plan,
    inputs: readonly (Block | null)[],
    slots: readonly Block[],
  ): void {
    const left = takeovers.filter(({ slot, input }) => slots[slot] !== inputs[input]);
    if (left.length === 0) return;
    const encoder = this.device.createCommandEncoder();
    for (const { slot, input } of left) {
      const from = inputs[input]!, to = slots[slot];
      encoder.copyBufferToBuffer(from.buffer, from.offset, to.buffer, to.offset, bytes[slot]);
    }
    this.device.queue.submit([encoder.finish()]);
    this.submitted++;
  }

  /** Throws where new buffers of these sizes do not fit, also once garbage is collected and nothing kept for reuse. */
  admit(needs: Needs): void {
    const wanted = needs.results.reduce((n, bytes) => n + classOf(bytes), 0);
    const lacks = (): string | null => {
      // As it is reported: what is free in pages that small values share is not counted.
      const { live, pooled } = this.pool, more = wanted + this.#arenaGrowth(needs.chunks);
      if (live + pooled + this.arenaBytes + more > this.budget) {
        return `the budget is ${showBytes(this.budget)}`;
      }
      if (more < LARGE_REQUEST || !this.open.info.isSoftware) return null;
      const available = availableMemory() + this.pool.pooled;
      return more > available ? `the machine has ${showBytes(available)} left` : null;
    };
    if (lacks() === null) return;
    this.collector.collect();
    this.pool.trim(0);
    if (lacks() === null) return;
    this.#dropArena();
    const limit = lacks();
    if (limit !== null) throw this.shortage(needs, limit);
  }

  /** The error for what does not fit. */
  shortage({ action, results, chunks, saved }: Needs, limit: string, cause?: unknown): OutOfMemoryError {
    const blocks = new Map([...this.collector.held()].map(({ block, label }) => [block, label]));
    return outOfMemory({
      device: "webgpu",
      action,
      asked: [...results, ...chunks].reduce((n, bytes) => n + bytes, 0),
      limit,
      live: this.pool.live,
      arena: this.arenaBytes,
      held: [...blocks].map(([{ bytes }, label]) => ({ label, bytes })),
      saved,
      cause,
    });
  }

  #arenaGrowth(chunks: readonly number[]): number {
    return chunks.reduce((n, bytes, i) => {
      const had = this.#arena[i]?.size ?? 0;
      return had >= bytes ? n : n + classOf(bytes) - had;
    }, 0);
  }

  #dropArena(): void {
    for (const buffer of this.#arena) buffer.destroy();
    this.#arena.length = 0;
    this.arenaBytes = 0;
    this.#epoch++;
  }

  /** Runs `work` and tells `record` of the errors that the device finds in it. */
  watched(record: RunRecord, needs: Needs, work: () => void): void {
    const { device } = this;
    device.pushErrorScope("out-of-memory");
    device.pushErrorScope("validation");
    record.open++;
    try {
      work();
    } finally {
      const validation = device.popErrorScope(), memory = device.popErrorScope();
      this.checked = Promise.all([validation, memory]).then(([v, m]) => {
        const error = m ?? v;
        if (error === null) return record.pass();
        if (m === null) {
          return record.fail(
            new Error(`Internal: WebGPU refused to ${needs.action}: ${error.message}`, { cause: error }),
          );
        }
        const used = this.pool.total + this.arenaBytes;
        record.fail(this.shortage(needs, `the device had no more when buffers took ${showBytes(used)}`, m));
        this.collector.collect();
        this.#dropArena();
        this.pool.tighten();
      }, (error) => record.fail(this.lost ?? error));
    }
  }

  /** Keeps few runs in flight: asking when work is done waits for it, without awaiting. */
  #awaitRoom(dispatches: number): void {
    if (this.#runsInFlight >= RUNS_IN_FLIGHT && this.#dispatchesInFlight >= DISPATCHES_IN_FLIGHT) {
      this.device.queue.onSubmittedWorkDone().catch(() => {});
      this.idle();
    }
    this.#runsInFlight++;
    this.#dispatchesInFlight += dispatches;
  }

  /** Called when everything submitted is known to be done. */
  idle(): void {
    this.#runsInFlight = this.#dispatchesInFlight = 0;
  }

  #reserve(plan: Plan): void {
    plan.chunks.forEach((bytes, i) => {
      const old = this.#arena[i];
      if (old !== undefined && old.size >= bytes) return;
      const size = Math.min(Math.max(classOf(bytes), 65536), Math.max(bytes, this.open.limits.buffer));
      this.#arena[i] = this.device.createBuffer({ size, usage: STORAGE });
      this.arenaBytes += size - (old?.size ?? 0);
      old?.destroy();
      this.#epoch++;
    });
    const { byteLength } = plan.words.i32.buffer;
    if (this.#parameters === null || this.#parameters.size < byteLength) {
      this.#parameters?.destroy();
      const size = Math.max(65536, aligned(byteLength * 1.5));
      this.#parameters = this.device.createBuffer({ size, usage: PARAMETERS });
      this.#epoch++;
    }
  }

  #prepare(plan: Plan): Prepared {
    let prepared = this.#prepared.get(plan);
    if (prepared === undefined) {
      prepared = {
        epoch: this.#epoch,
        groups: sharedGroups(plan),
        runs: new Map(),
        parameters: null,
        keeps: Math.min(2 * SETS, Math.max(2, Math.floor(GROUPS / plan.dispatches.length))),
        sets: [],
        offsets: plan.dispatches.map((d) => Uint32Array.of(d.at)),
      };
      this.#prepared.set(plan, prepared);
    } else if (prepared.epoch !== this.#epoch) {
      for (const groups of prepared.groups) groups.clear();
      prepared.runs.clear();
      prepared.epoch = this.#epoch;
    }
    return prepared;
  }

  /** The bind group of dispatch `i`, which one for the same blocks may have made. */
  #boundGroup(
    d: Dispatch,
    i: number,
    prepared: Prepared,
    layout: GPUBindGroupLayout,
    parameters: GPUBuffer,
    inputs: readonly (Block | null)[],
    slots: readonly Block[],
  ): GPUBindGroup {
    let key = "";
    for (const b of d.bindings) {
      if (b.kind === "input") key += `${inputs[b.index]!.id},`;
      else if (b.kind === "root") key += `${slots[b.index].id},`;
    }
    const groups = prepared.groups[i];
    let group = groups.get(key);
    if (group === undefined) {
      if (groups.size >= prepared.keeps) groups.delete(groups.keys().next().value!);
      groups.set(key, group = this.#group(d, layout, parameters, inputs, slots));
    }
    return group;
  }

  #group(
    d: Dispatch,
    layout: GPUBindGroupLayout,
    parameters: GPUBuffer,
    inputs: readonly (Block | null)[],
    slots: readonly Block[],
  ): GPUBindGroup {
    const entries: GPUBindGroupEntry[] = [
      { binding: 0, resource: { buffer: parameters, offset: 0, size: d.kernel.words * 4 } },
    ];
    const resource = ({ kind, index, offset, bytes }: Bound): GPUBufferBinding => {
      switch (kind) {
        case "input":
        case "root": {
          const block = kind === "input" ? inputs[index]! : slots[index];
          return { buffer: block.buffer, offset: block.offset + offset, size: bytes };
        }
        case "arena":
          return { buffer: this.#arena[index], offset, size: bytes };
        case "parameters":
          return { buffer: parameters, offset, size: bytes };
        case "faults":
          return { buffer: this.faults.buffer, offset: 0, size: this.faults.bytes };
      }
    };
    d.bindings.forEach((b, i) => entries.push({ binding: i + 1, resource: resource(b) }));
    return this.device.createBindGroup({ layout, entries });
  }

  /** Frees everything at once. */
  destroy(): void {
    this.device.destroy();
  }
}

/** Where each dispatch keeps its bind groups: together with those that bind the same, as most steps of a loop do. */
function sharedGroups({ dispatches }: Plan): Map<string, GPUBindGroup>[] {
  const shared = new Map<string, Map<string, GPUBindGroup>>();
  return dispatches.map(({ kernel, bindings }) => {
    let key = layoutKey(kernel);
    for (const { kind, index, offset, bytes } of bindings) key += `${kind}${index},${offset},${bytes}`;
    let groups = shared.get(key);
    if (groups === undefined) shared.set(key, groups = new Map());
    return groups;
  });
}

/** The bits of a host array as the device stores them: booleans as 32-bit words. */
export function deviceBits(data: TypedArray, dtype: DType): ArrayBufferView<ArrayBuffer> {
  if (dtype === "bf16") return packBf16(data);
  return data instanceof Uint8Array ? Uint32Array.from(data, (x) => x === 0 ? 0 : 1) : data;
}
