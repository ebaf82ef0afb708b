/** Plans of the second tier: made and compiled between turns of the event loop, while runs go on without them. */
import type { Kernel } from "./kernels/kernel.ts";
import type { Plan } from "./plan.ts";
import type { Runtime } from "./runtime.ts";

/** Milliseconds of a turn that compiling takes at least and at most; in between, as many as the program took before. */
const LEAST = 4, MOST = 50;

/**
 * Runs without a turn after which a plan is compiled on the spot, as a loop that never yields asks for. On software
 * Vulkan compiling costs what fusion saves in 40 (an MLP) to 150 runs (a Transformer).
 */
const PATIENCE = 32;

/** A plan on its way. */
export class Upgrade {
  #make: (() => Plan) | null;
  #plan: Plan | null = null;
  #kernels: Kernel[] = [];
  /** Runs since compiling last had a turn. */
  #missed = 0;
  #failed = false;

  constructor(make: () => Plan, readonly runtime: Runtime) {
    this.#make = make;
  }

  /** Whether there is nothing left to do. */
  get isDone(): boolean {
    return this.#failed || (this.#plan !== null && this.#kernels.length === 0);
  }

  /** The plan for the next run: when all is compiled, or when there was no turn to do it in for long; else null. */
  take(): Plan | null {
    if (this.#failed) return null;
    return this.isDone || ++this.#missed > PATIENCE ? this.#made() : null;
  }

  /** Notes that there is a turn. */
  turn(): void {
    this.#missed = 0;
  }

  /** Does one part of the work. */
  async advance(): Promise<void> {
    if (this.#plan === null) {
      this.#kernels = [...new Set(this.#made().dispatches.map((d) => d.kernel))];
    } else {
      const kernel = this.#kernels.pop();
      if (kernel !== undefined) await this.runtime.pipelines.prepare(kernel);
    }
  }

  /** Gives up: runs go on as they were. */
  fail(): void {
    this.#failed = true;
    this.#plan = null;
    this.#kernels = [];
  }

  #made(): Plan {
    if (this.#plan === null) {
      this.#plan = this.#make!();
      this.#make = null; // it holds a run's attributes
    }
    return this.#plan;
  }
}

/** Works on plans, first come, first served. */
export class Upgrades {
  #queue: Upgrade[] = [];
  /** Whether the next turn is asked for, or there. */
  #isBusy = false;
  /** When the last slice ended. */
  #ended = 0;

  constructor(readonly report: (error: Error) => void) {}

  /** Whether there is nothing to do. */
  get isIdle(): boolean {
    return this.#queue.length === 0;
  }

  /** Has a plan made and its kernels compiled. */
  begin(make: () => Plan, runtime: Runtime): Upgrade {
    const upgrade = new Upgrade(make, runtime);
    this.#queue.push(upgrade);
    if (!this.#isBusy) this.#later();
    return upgrade;
  }

  /** Leaves off; the plan may have been taken. */
  drop(upgrade: Upgrade): void {
    this.#queue = this.#queue.filter((u) => u !== upgrade);
  }

  /** Gives up on a plan, and says why. */
  fail(upgrade: Upgrade, error: unknown): void {
    upgrade.fail();
    this.drop(upgrade);
    const { message } = error as Error;
    this.report(
      new Error(`A fused plan cannot be used, and runs go on with a kernel for each step: ${message}`, {
        cause: error,
      }),
    );
  }

  #later(): void {
    this.#isBusy = true;
    // A program does not wait for what may never be used.
    setImmediate(() => this.#work()).unref();
  }

  async #work(): Promise<void> {
    for (const upgrade of this.#queue) upgrade.turn();
    const start = performance.now(), end = start + Math.min(MOST, Math.max(LEAST, start - this.#ended));
    while (this.#queue.length > 0 && performance.now() < end) {
      const [upgrade] = this.#queue;
      try {
        await upgrade.advance();
      } catch (error) {
        // What a lost device cannot compile is compiled by the next one, when it is run.
        if (upgrade.runtime.lost === null) this.fail(upgrade, error);
        else this.drop(upgrade);
      }
      if (upgrade.isDone) this.drop(upgrade);
    }
    this.#isBusy = false;
    this.#ended = performance.now();
    if (this.#queue.length > 0) this.#later();
  }
}
