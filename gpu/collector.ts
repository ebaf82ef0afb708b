/** Memory of what is unreachable comes back: through finalisers, between macrotasks, or at once where it runs short. */
import { setFlagsFromString } from "node:v8";
import { createContext, runInNewContext, Script } from "node:vm";

let collect: (() => void) | null | undefined;

/** How to collect garbage now; null without the permission or the flag. */
function collection(): (() => void) | null {
  if (collect !== undefined) return collect;
  try {
    setFlagsFromString("--expose-gc");
    const gc = runInNewContext("gc") as () => void;
    // Weak references keep their targets until the job ends, or microtasks are done: here, those of an empty context.
    const context = createContext({}, { microtaskMode: "afterEvaluate" }), nothing = new Script("0");
    return collect = () => {
      nothing.runInContext(context);
      gc();
    };
  } catch {
    return collect = null;
  }
}

/** What an owner holds, until it was given back. */
export interface Owned<H> {
  readonly owner: WeakRef<object> | null;
  held: H | null;
}

/** Bytes, and owners, beyond which a collection is worth its milliseconds. */
const BYTES = 256 * 2 ** 20, OWNERS = 2 ** 16;
/** Bytes from which on it is worth them where garbage is likely. */
const SOON = 4 * 2 ** 20;

/** Watches what owners hold, and gives back what belongs to unreachable ones. */
export class Collector<H extends object> {
  readonly #owned = new Set<Owned<H>>();
  readonly #registry = new FinalizationRegistry<Owned<H>>((owned) => this.giveBack(owned));
  #most = BYTES;
  #mostOwners = OWNERS;
  /** What was held after the last collection. */
  #before = 0;
  /** Whether weak references let go in the middle of a job, as far as was seen. */
  isPrompt = true;

  /** `release` gives back, `live` counts what is held. */
  constructor(readonly release: (held: H) => void, readonly live: () => number) {}

  /** Has `held` given back when `owner` is unreachable. */
  watch(owner: object, held: H): Owned<H> {
    const owned: Owned<H> = { owner: this.isPrompt ? new WeakRef(owner) : null, held };
    this.#owned.add(owned);
    this.#registry.register(owner, owned, owned);
    return owned;
  }

  /** Gives back now, unless that was done. */
  giveBack(owned: Owned<H>): void {
    const { held } = owned;
    if (held === null) return;
    owned.held = null;
    this.#owned.delete(owned);
    this.#registry.unregister(owned);
    this.release(held);
  }

  /** What is held. */
  *held(): Iterable<H> {
    for (const { held } of this.#owned) if (held !== null) yield held;
  }

  /**
   * Collects garbage and gives back what became unreachable, in the middle of a job too; false where finalisers alone
   * do that, in a later macrotask.
   */
  collect(): boolean {
    const now = collection();
    if (now === null) return this.isPrompt = false;
    const probe = unreachable();
    now();
    this.isPrompt = probe.deref() === undefined;
    for (const owned of [...this.#owned]) {
      if (owned.owner !== null && owned.owner.deref() === undefined) this.giveBack(owned);
    }
    this.#before = this.live();
    this.#most = Math.max(BYTES, 1.5 * this.#before);
    this.#mostOwners = Math.max(OWNERS, 2 * this.#owned.size);
    return this.isPrompt;
  }

  /** Called where much may have become unreachable: collects where more is held than after the last time by a quarter. */
  checkSoon(): void {
    if (this.live() > Math.max(SOON, 1.25 * this.#before)) this.collect();
  }

  /** Called after each run: collects where more is held than before by half. */
  check(): void {
    if (this.live() > this.#most || this.#owned.size > this.#mostOwners) this.collect();
  }
}

function unreachable(): WeakRef<object> {
  return new WeakRef({});
}
