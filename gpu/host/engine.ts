/** The host engine: schedules, cached by structure, run over typed arrays. */
import {
  allocate,
  bytesPerElement,
  type DType,
  roundTo,
  type TypedArray,
  workingBytes,
} from "../../ops/dtype.ts";
import { collect, type RunGraph } from "../../ops/lower.ts";
import type { Node, Storage } from "../../ops/node.ts";
import type { Recorder } from "../../ops/profile.ts";
import { elementsOf, HostStorage } from "../../ops/reference.ts";
import type { RunPlan } from "../../ops/report.ts";
import type { Engine, MemoryNeed, MemoryReport } from "../../ops/runs.ts";
import type { RunKey } from "../../ops/structure.ts";
import { arrayAt } from "./memory.ts";
import { planOf } from "./planner.ts";
import type { RepeatLimits } from "../rematerialise.ts";
import type { Schedule, Takeover } from "./schedule.ts";
import { type ArenaBlock, HostStore, NOTHING, type OwnedStorage, REPLACED } from "./store.ts";
import { createRunner } from "./wasm/runner.ts";

/** Limits of what {@linkcode HostEngine} keeps. */
export interface HostEngineOptions {
  /** Schedules in the cache; default 500. */
  readonly schedules?: number;
  /** Steps of all schedules in the cache together; default 200,000. */
  readonly steps?: number;
  /** When kernels are done again so that what they make need not wait for the backward pass. */
  readonly repeats?: RepeatLimits;
}

/** What runs of a schedule share: its arrays in an arena, and its numbers. */
interface Frame {
  readonly arena: ArenaBlock;
  /** Arrays by slot; those of inputs and roots are set for the time of a run only. */
  readonly values: TypedArray[];
  readonly numbers: Float64Array;
}

/** A schedule in the cache. Its frame may be collected while nothing runs. */
interface Entry {
  readonly schedule: Schedule;
  frame: WeakRef<Frame> | null;
}

/** An input whose array becomes that of a result. */
interface Taken extends Takeover {
  readonly storage: OwnedStorage;
}

/** Computes on the host in generated JavaScript. */
export class HostEngine implements Engine {
  readonly device = "host";
  readonly #cache = new Map<RunKey, Entry>();
  readonly #scheduleLimit: number;
  readonly #stepLimit: number;
  readonly #repeats: RepeatLimits | undefined;
  #cachedSteps = 0;
  readonly #store = new HostStore();
  readonly #runner = createRunner(this.#store.memory);
  /** The frame of the run that is being done: only weak references lead to those of schedules. */
  #running: Frame | null = null;
  #recorder: Recorder | null = null;

  constructor(options: HostEngineOptions = {}) {
    this.#scheduleLimit = options.schedules ?? 500;
    this.#stepLimit = options.steps ?? 200_000;
    this.#repeats = options.repeats;
  }

  upload(data: TypedArray, dtype: DType): Storage {
    return this.#store.upload(data, dtype);
  }

  admit(elements: number, dtype: DType, action: string): void {
    this.#store.admit(elements * bytesPerElement(dtype), 0, elements, action, null);
  }

  run(roots: Node[]): void {
    const start = this.#recorder === null ? 0 : performance.now(), graph = collect(roots);
    this.#execute(this.#entry(graph), graph, setNumbers, start);
  }

  record(recorder: Recorder | null): Promise<void> {
    this.#recorder = recorder;
    return Promise.resolve();
  }

  planned(roots: readonly Node[]): MemoryNeed {
    const { schedule } = this.#entry(collect(roots, false));
    return { results: schedule.results, arena: schedule.bytes };
  }

  compile(graph: RunGraph): () => boolean {
    // A schedule of its own, in whose frame the numbers stay.
    const entry: Entry = { schedule: planOf(graph, this.#runner, this.#repeats).schedule, frame: null };
    let numbers: Float64Array | null = null;
    const prepare: typeof setNumbers = (schedule, nodes, frame) => {
      if (frame.numbers !== numbers) setNumbers(schedule, nodes, frame);
      ({ numbers } = frame);
    };
    let calls = 0;
    return () => {
      // A model's first values, which were replaced by others, and those that the first call replaces are nobody's then.
      if (calls++ < 2) this.#store.collector.checkSoon();
      this.#execute(entry, graph, prepare, this.#recorder === null ? 0 : performance.now());
      return true;
    };
  }

  describe(graph: RunGraph): RunPlan {
    const { schedule: { kernels, bytes }, lowered, groups } = planOf(graph, this.#runner, this.#repeats);
    return {
      lowered,
      kernels: groups.map(({ steps, from, to }) => {
        return { steps, dispatches: to - from, source: kernels.slice(from, to).map(String).join("\n\n") };
      }),
      arena: bytes,
    };
  }

  /** Runs a schedule on the values of the graph's inputs; `start` is when the run began, for a recorder. */
  #execute(entry: Entry, graph: RunGraph, prepare: typeof setNumbers, start: number): void {
    const { schedule } = entry, { bytes, largest } = schedule, taken = this.#taken(schedule, graph);
    const results = taken.reduce((n, { storage }) => n - storage.data.byteLength, schedule.results);
    this.#store.admit(results, bytes, largest, "compute", graph);
    this.#store.withMemory(results + bytes, "compute", graph, () => {
      const frame = this.#running = this.#frame(entry);
      prepare(schedule, graph.nodes, frame);
      this.#attempt(schedule, graph, frame, taken);
    });
    this.#store.note(bytes);
    this.#recorder?.run({
      device: "host",
      start,
      duration: performance.now() - start,
      kernels: entry.schedule.kernels.length,
    });
    this.#store.collector.check();
  }

  /** The inputs whose arrays become those of results: nothing else sees them. */
  #taken({ takeovers, slots }: Schedule, { nodes }: RunGraph): Taken[] {
    return takeovers.flatMap((takeover) => {
      const { isExclusive, value } = nodes[slots[takeover.input].source];
      return isExclusive && this.#store.isOwn(value) ? [{ ...takeover, storage: value }] : [];
    });
  }

  /** Does all kernels of a run; where one fails, nothing has changed: those that write over inputs come last and do not fail. */
  #attempt(
    schedule: Schedule,
    { nodes, roots }: RunGraph,
    { values, numbers }: Frame,
    taken: readonly Taken[],
  ): void {
    const { slots, bound, kernels, works, geometry } = schedule;
    let isDone = false, at = 0;
    try {
      for (const { root, storage } of taken) values[root] = elementsOf(storage);
      for (let k = 0; k < bound.length; k++) {
        const i = bound[k], { kind, dtype, size, source } = slots[i];
        if (kind === "input") values[i] = elementsOf(nodes[source].value as HostStorage);
        else if (kind === "root") {
          if (values[i] === NOTHING) values[i] = this.#store.allocate(dtype, size);
        } else {
          values[i] = allocate(dtype, size);
          values[i].set(nodes[source].p.value);
        }
      }
      const recorder = this.#recorder;
      for (; at < kernels.length; at++) {
        const start = recorder === null ? 0 : performance.now();
        kernels[at](values, numbers, geometry[at], nodes);
        recorder?.kernel({ ...works[at], device: "host", start, duration: performance.now() - start });
      }
      this.#store.realise(nodes, roots, schedule, values, taken);
      isDone = true;
    } catch (error) {
      // Only memory that JavaScript itself lacks can end a run here.
      for (const { kernel, storage } of taken) if (kernel <= at) this.#store.lose(storage, error);
      throw error;
    } finally {
      for (const { root } of taken) values[root] = NOTHING;
      for (let k = 0; k < bound.length; k++) {
        const i = bound[k];
        if (!isDone && slots[i].kind === "root") this.#store.giveBack(values[i]);
        values[i] = NOTHING;
      }
      this.#running = null;
    }
  }

  read(values: { storage: Storage }[]): Promise<TypedArray[]> {
    // Copies, of arrays that nobody else shares.
    return Promise.resolve(values.map(({ storage }) => {
      const elements = elementsOf(storage as HostStorage), { length, byteLength } = elements;
      return this.#store.withMemory(byteLength, `read ${length} elements`, null, () => elements.slice());
    }));
  }

  peek(storage: Storage): TypedArray | null {
    return storage instanceof HostStorage && storage.error === null ? elementsOf(storage).slice() : null;
  }

  sync(): Promise<void> {
    return Promise.resolve();
  }

  free(storage: Storage): void {
    this.#store.free(storage, new Error("Cannot use a tensor after dispose()"));
  }

  release(storage: Storage): void {
    this.#store.free(storage, REPLACED);
  }

  memory(): MemoryReport {
    return this.#store.report();
  }

  resetPeak(): void {
    this.#store.resetPeak();
  }

  setBudget(bytes: number): void {
    this.#store.budget = bytes;
  }

  #entry(graph: RunGraph): Entry {
    const { key } = graph, entry = this.#cache.get(key);
    if (entry === undefined) return this.#add(key, planOf(graph, this.#runner, this.#repeats).schedule);
    if (this.#cache.size > this.#scheduleLimit >> 1) {
      // Last used, last in the map; while there is plenty of room the order does not matter.
      this.#cache.delete(key);
      this.#cache.set(key, entry);
    }
    return entry;
  }

  #add(key: RunKey, schedule: Schedule): Entry {
    const entry: Entry = { schedule, frame: null };
    this.#cache.set(key, entry);
    this.#cachedSteps += schedule.steps;
    for (const [oldest, { schedule: old }] of this.#cache) {
      const isFull = this.#cache.size > this.#scheduleLimit || this.#cachedSteps > this.#stepLimit;
      if (!isFull || oldest === key) break;
      this.#cache.delete(oldest);
      this.#cachedSteps -= old.steps;
    }
    return entry;
  }

  /** Arrays for the intermediates of a schedule, in an arena which all schedules share. */
  #frame(entry: Entry): Frame {
    const { schedule } = entry, made = entry.frame?.deref();
    const arena = this.#store.arena(schedule.bytes), { buffer, at } = arena;
    if (made !== undefined && made.arena === arena) return made;
    const values = schedule.slots.map((s) => {
      if (s.kind !== "arena") return NOTHING;
      if (s.at + s.size * workingBytes(s.dtype) > arena.bytes) throw new Error("Internal: arena too small");
      return arrayAt(s.dtype, buffer, at + s.at, s.size);
    });
    const numbers = Float64Array.from(schedule.constants, (c) => c.value);
    const frame: Frame = { arena, values, numbers };
    entry.frame = new WeakRef(frame);
    return frame;
  }
}

/** Puts numbers, and where slices start, into a schedule and its frame. */
function setNumbers(
  { constants, dynamics }: Schedule,
  nodes: readonly Node[],
  { numbers }: Frame,
): void {
  for (let i = 0; i < constants.length; i++) {
    const { source, dtype } = constants[i];
    if (source >= 0) numbers[i] = roundTo(dtype, Number(nodes[source].p.value));
  }
  for (let i = 0; i < dynamics.length; i++) {
    const { g, index, base, parts } = dynamics[i];
    let offset = base;
    for (const part of parts) offset += part.op.view(part.x, nodes[part.source].p, part.y)!.offset;
    g[index] = offset;
  }
}

/** The engine of device "host". */
export function createHostEngine(options: HostEngineOptions = {}): HostEngine {
  return new HostEngine(options);
}
