/** Recordings of jit, ready to run: a call makes nodes for its results only, and their graph if somebody walks it. */
import { ambient, type Device, withAmbient } from "../ambient.ts";
import { alias, constant, data, randomKey } from "../definitions/structural.ts";
import { collect } from "../lower.ts";
import {
  bareTrace,
  BY_BACKWARD,
  inTrace,
  makeLeaf,
  Node,
  type Origin,
  outsideTraces,
  recordedAs,
  type Storage,
} from "../node.ts";
import { savedForBackward } from "../out_of_memory.ts";
import { type Engine, engineOf, flush, poison, settle } from "../runs.ts";
import type { Program } from "./program.ts";

/** A value that is computed: the first output that it is, and what gradients of it would flow to. */
interface Slot {
  readonly output: number;
  readonly root: Node;
  /** Inputs, by number. */
  readonly dependencies: readonly number[];
  /** How many outputs it is. */
  uses: number;
}

/** Calls over so many pending calls have their operands computed first, so that none nest too deep. */
const DEEPEST = 64;
const NONE: readonly Node[] = [];
const VALUE: Storage = { device: "host", error: null };

const TEMPLATE = bareTrace("jit", 0);

/** A program as an engine repeats it. */
export class Compiled {
  /** Positions among the holes, then among the constants, of what a call brings; the rest is fixed. */
  readonly params: readonly number[];
  readonly consts: readonly number[];
  /** Positions among the constants of random keys. */
  readonly keys: readonly number[];
  /** For each output: an input (from 0 on), or a slot (-1 the first). */
  readonly outputs: readonly number[];
  readonly slots: readonly Slot[];
  /** Leaves in place of the inputs, which hold their values while it runs; and those which it reads. */
  readonly #holes: readonly Node[];
  readonly #bound: readonly number[];
  readonly #keyLeaves: readonly Node[];
  readonly #run: (() => boolean) | null;
  /** What it was made for; another engine of the device would not know it. */
  readonly engine: Engine;

  /** `replaced` has the constants that outputs replace, by position. */
  constructor(readonly program: Program, readonly device: Device, replaced: ReadonlyMap<number, number>) {
    const { params, consts } = program;
    this.engine = engineOf(device);
    const isKey = (c: Node): boolean => c.op === randomKey;
    const isFixed = (c: Node): boolean => isKey(c) || (c.op === constant && c.value === null);
    this.params = params.map((_, i) => i);
    this.consts = consts.flatMap((c, i) => isFixed(c) ? [] : [i]);
    this.keys = consts.flatMap((c, i) => isKey(c) ? [i] : []);
    const input = new Map<Node, number>(
      [...params, ...this.consts.map((i) => consts[i])].map((node, i) => [node, i]),
    );
    const hole = (like: Node): Node => {
      const leaf = makeLeaf(data, null, like, device);
      leaf.value = VALUE;
      return leaf;
    };
    const filled = consts.map((c) =>
      isKey(c) ? makeLeaf(randomKey, { value: [0, 0] }, c, device) : isFixed(c) ? c : hole(c)
    );
    const holes = params.map(hole);
    this.#holes = [...holes, ...this.consts.map((i) => filled[i])];
    this.#keyLeaves = this.keys.map((i) => filled[i]);
    // Inside a trace, so that no run takes the copies along.
    const copies = withAmbient(
      { noGrad: true, anomaly: null, tidy: null },
      () => inTrace(TEMPLATE, () => program.fill(holes, filled)),
    );
    const slots: Slot[] = [], slotOf = new Map<Node, number>();
    this.outputs = program.outputs.map((y, output) => {
      const given = input.get(y);
      if (given !== undefined) return given;
      let slot = slotOf.get(y);
      if (slot === undefined) {
        slotOf.set(y, slot = slots.length);
        const dependencies = (y.track & BY_BACKWARD) === 0
          ? []
          : program.dependencies(y, BY_BACKWARD).flatMap((n) => input.get(n) ?? []);
        slots.push({ output, root: copies[output], dependencies, uses: 0 });
      }
      slots[slot].uses++;
      return -1 - slot;
    });
    this.slots = slots;
    if (slots.length === 0) {
      this.#bound = [];
      this.#run = null;
    } else {
      const saved = savedForBackward({ nodes: program.interior });
      const collected = collect(slots.map((s) => s.root)), read = new Set(collected.nodes);
      const places = new Map(collected.nodes.map((node, i) => [node, i]));
      const graph = {
        ...collected,
        saved,
        replaced: slots.map(({ output, uses }) => {
          const at = uses === 1 ? replaced.get(output) : undefined;
          return at === undefined ? -1 : places.get(filled[at]) ?? -1;
        }),
      };
      this.#bound = this.#holes.flatMap((h, i) => read.has(h) ? [i] : []);
      this.#run = this.engine.compile!(graph);
    }
  }

  /** The values of all slots; null where the engine cannot now. Throws the errors of inputs, and of the run. */
  run(inputs: readonly Node[], keys: readonly (readonly number[])[]): Storage[] | null {
    if (this.#run === null) return [];
    const bound = this.#bound, holes = this.#holes;
    const missing = bound.flatMap((i) => inputs[i].value === null ? [inputs[i]] : []);
    if (missing.length > 0) flush(missing);
    for (const i of bound) {
      const { error } = inputs[i].value!;
      if (error !== null) throw error;
    }
    try {
      for (const i of bound) {
        holes[i].value = inputs[i].value;
        holes[i].isExclusive = inputs[i].isExclusive;
      }
      this.#keyLeaves.forEach((leaf, k) => leaf.p.value = keys[k]);
      return this.#run() ? this.slots.map(({ root }) => root.value!) : null;
    } finally {
      for (const { root } of this.slots) root.value = null;
      for (const i of bound) holes[i].value = VALUE;
    }
  }
}

/** One call: what it was given, and the nodes of what it gives. */
export class Call implements Origin {
  /** Nodes of slots, made when asked for. */
  readonly results: (Node | null)[];
  readonly #noGrad = ambient().noGrad;
  readonly #depth: number;
  #graph: Node[] | null = null;

  constructor(
    readonly compiled: Compiled,
    readonly inputs: readonly Node[],
    readonly keys: readonly (readonly number[])[],
  ) {
    this.results = compiled.slots.map(() => null);
    let depth = 0;
    for (const x of inputs) if (x.value === null && x.depth >= depth) depth = x.depth + 1;
    if (depth > DEEPEST) {
      flush(inputs);
      depth = 0;
    }
    this.#depth = depth;
  }

  /** The node of an output. */
  result(output: number): Node {
    const at = this.compiled.outputs[output];
    if (at >= 0) return this.inputs[at];
    const { program, device } = this.compiled, y = program.outputs[output];
    return this.results[-1 - at] ??= new Node(
      alias,
      NONE,
      null,
      y.shape,
      y.dtype,
      device,
      y.track & BY_BACKWARD,
      this.#depth,
      false,
    );
  }

  /** Whether an output's value is that of no other output and no input. */
  isOwn(output: number): boolean {
    const at = this.compiled.outputs[output];
    return at < 0 && this.compiled.slots[-1 - at].uses === 1;
  }

  /** Leaves the results to whoever asks for them. */
  defer(): void {
    this.#keep(() => true);
  }

  /** Makes itself the origin of some results; then nothing that it was given may be taken. */
  #keep(of: (slot: number, result: Node) => boolean): void {
    let isKept = false;
    this.results.forEach((node, slot) => {
      if (node === null || !of(slot, node)) return;
      node.origin = this;
      isKept = true;
    });
    if (isKept) { for (const x of this.inputs) x.isExclusive = false; }
  }

  /** Keeps the graph of results that lead to none of the replaced inputs; the others say what replaced them. */
  keepGraphs(replaced: ReadonlySet<number>, by: string): void {
    this.#keep((slot, node) => {
      if (node.track === 0) return false;
      if (!this.compiled.slots[slot].dependencies.some((i) => replaced.has(i))) return true;
      node.stale = { by, parameter: null };
      recordedAs.set(node, this.compiled.program.outputs[this.compiled.slots[slot].output]);
      return false;
    });
  }

  /** Gives the results their values or the error that prevents them, and returns what `run` does, or that error. */
  realise(): Storage[] | Error | null {
    let values: Storage[] | Error | null;
    try {
      values = this.compiled.run(this.inputs, this.keys);
    } catch (error) {
      values = error instanceof Error ? error : new Error(String(error));
    }
    if (values === null) return null;
    for (let slot = 0; slot < this.results.length; slot++) {
      const node = this.results[slot];
      if (node === null || node.value !== null) continue;
      if (values instanceof Error) poison(node, values);
      else node.value = values[slot];
    }
    return values;
  }

  compute(): void {
    if (this.realise() === null) {
      // As ordinary nodes they wait for a device.
      for (const node of this.results) if (node !== null && node.value === null) node.inputs;
      return;
    }
    for (const node of this.results) if (node !== null) settle(node);
  }

  unfold(result: Node): Node {
    const { program, consts, keys, params, slots } = this.compiled;
    if (this.#graph === null) {
      const filled = [...program.consts];
      consts.forEach((at, k) => filled[at] = this.inputs[params.length + k]);
      keys.forEach((at, k) => {
        const c = program.consts[at];
        filled[at] = makeLeaf(randomKey, { value: this.keys[k] }, c, c.device);
      });
      this.#graph = outsideTraces(() =>
        withAmbient(
          { noGrad: this.#noGrad, anomaly: null, tidy: null },
          () => program.fill(this.inputs.slice(0, params.length), filled),
        )
      );
    }
    const node = this.#graph[slots[this.results.indexOf(result)].output];
    node.value ??= result.value;
    return node;
  }

  dependencies(result: Node): readonly Node[] {
    return this.compiled.slots[this.results.indexOf(result)].dependencies.map((i) => this.inputs[i]);
  }
}
