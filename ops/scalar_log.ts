/** Scalars of a loop, which stay on the device until they are read: all together, and seldom. */
import { ambient } from "./ambient.ts";
import { detach } from "./definitions/structural.ts";
import { currentTrace, makeNode, Node } from "./node.ts";
import {
  checkInterruption,
  flush,
  flushQuietly,
  type Held,
  heldBy,
  isWanted,
  readHeld,
  readQuietly,
  registerRoot,
} from "./runs.ts";
import { sizeOf } from "./shape.ts";
import type { Tensor } from "./tensor.ts";

/** Numbers by name, some of them still on a device. */
export type Scalars = Readonly<Record<string, number | Tensor>>;

/** What was noted of a step, read. */
export interface LogEntry<V = number> {
  readonly step: number;
  readonly values: Readonly<Record<string, V>>;
}

interface Entry {
  readonly step: number;
  /** Its place among those with the same names since the last read. */
  readonly place: number;
  readonly names: readonly string[];
  /** A node until it is computed, then only its value. */
  readonly values: (number | Node | Held)[];
}

const READ_EVERY = 500;
const MOST_PENDING = 1024;
/** Entries after which what waits is computed, so that no more graphs than these are kept. */
const MOST_OPEN = 64;

/** Keeps of each step what was noted of it until that is read; thinned out evenly where steps are very fast. */
export class ScalarLog {
  #pending: Entry[] = [];
  #open: Entry[] = [];
  readonly #last = new Map<string, Entry>();
  /** Of so many entries one is kept. */
  #each = 1;
  #readAt = performance.now();

  /** Whether nothing waits to be read. */
  get isEmpty(): boolean {
    return this.#pending.length === 0;
  }

  /** Whether the last read is long enough ago. */
  get due(): boolean {
    return performance.now() - this.#readAt >= READ_EVERY;
  }

  /** Notes scalars of a step; tensors of one element are computed with the next run. */
  add(step: number, scalars: Scalars): void {
    const names = Object.keys(scalars);
    const values = names.map((name) => {
      const value = scalars[name];
      if (typeof value === "number") return value;
      if (currentTrace() !== null) {
        throw new Error(
          `Cannot note ${name} inside ${currentTrace()!.kind}: there it is a placeholder without a value. ` +
            `Return it from the function and note it outside`,
        );
      }
      const { node } = value;
      if (sizeOf(node.shape) !== 1) {
        throw new RangeError(
          `Cannot note a tensor of shape [${node.shape}] as ${name}: it must have exactly one element, as x.mean()`,
        );
      }
      // What nobody else computes is computed without its graph, which a loop without steps would heap up.
      return node.track === 0 || node.value !== null || isWanted(node)
        ? node
        : makeNode(detach, [node], null, true);
    });
    for (const node of values) {
      if (typeof node === "number") continue;
      node.isExclusive = false;
      ambient().tidy?.escaped.push(node);
      registerRoot(node);
    }
    const key = names.join(), before = this.#last.get(key);
    const entry = { step, place: before === undefined ? 0 : before.place + 1, names, values };
    this.#pending.push(entry);
    this.#last.set(key, entry);
    if (before !== undefined && !this.#stays(before)) {
      this.#pending.splice(this.#pending.lastIndexOf(before), 1);
    }
    this.#open.push(entry);
    if (this.#open.length >= MOST_OPEN) this.#close();
    if (this.#pending.length > MOST_PENDING) {
      this.#each *= 2;
      this.#pending = this.#pending.filter((entry) => this.#stays(entry));
    }
  }

  /** Of those with the same names every so many stay, and the last. */
  #stays(entry: Entry): boolean {
    return entry.place % this.#each === 0 || this.#last.get(entry.names.join()) === entry;
  }

  /** Reads what was noted, once for all; throws as a read does. */
  async read(): Promise<LogEntry[]> {
    checkInterruption();
    flush(); // with a step that is pending, whose error ends the loop
    const { entries, held } = this.#take();
    try {
      return filled(entries, held.length === 0 ? [] : await readHeld(held), (array) => array[0]);
    } finally {
      this.#readAt = performance.now();
    }
  }

  /** The same for an onlooker: never fails, and has an error in place of what cannot be read. */
  async readQuietly(): Promise<LogEntry<number | Error>[]> {
    const { entries, held } = this.#take(), found = held.length === 0 ? [] : await readQuietly(held);
    this.#readAt = performance.now();
    return filled(entries, found, (array) => array instanceof Error ? array : array[0]);
  }

  #take(): { entries: Entry[]; held: Held[] } {
    this.#close();
    const entries = this.#pending;
    this.#pending = [];
    this.#last.clear();
    this.#each = 1;
    return { entries, held: entries.flatMap(({ values }) => values.filter(isHeld)) };
  }

  /** Lets go of nodes, and so of graphs. */
  #close(): void {
    const nodes = this.#open.flatMap(({ values }) => values.filter((x) => x instanceof Node));
    if (nodes.some((node) => node.value === null)) flushQuietly();
    for (const { values } of this.#open) {
      values.forEach((x, i) => x instanceof Node && (values[i] = heldBy(x)));
    }
    this.#open = [];
  }
}

function isHeld(x: number | Node | Held): x is Held {
  return typeof x !== "number" && !(x instanceof Node);
}

function filled<A, V>(
  entries: readonly Entry[],
  found: readonly A[],
  of: (x: A) => V,
): LogEntry<number | V>[] {
  let at = 0;
  return entries.map(({ step, names, values }) => ({
    step,
    values: Object.fromEntries(names.map((name, i) => {
      const x = values[i];
      return [name, typeof x === "number" ? x : of(found[at++])];
    })),
  }));
}
