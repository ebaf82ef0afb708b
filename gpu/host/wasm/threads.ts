/** Threads that run WebAssembly on shared memory beside the main one: woken for each kernel, asleep in between. */
import { MessageChannel, type MessagePort, Worker } from "node:worker_threads";

/** Words of a thread's control block: state, module, function, then arguments. */
const STATE = 0, MODULE = 1, FUNCTION = 2, ARGUMENTS = 3;
const IDLE = 0, BUSY = 1, FAILED = 2;
/** Words of a control block; blocks lie a cache line apart. */
export const CONTROL_WORDS = 32;

// What a thread does; `receiveMessageOnPort` takes modules that were sent before it was woken.
const PROGRAM = `
const { workerData, receiveMessageOnPort } = require("node:worker_threads");
const { memory, at, port } = workerData;
const control = new Int32Array(memory.buffer, at, ${CONTROL_WORDS});
const modules = new Map();
Atomics.store(control, ${STATE}, ${IDLE});
Atomics.notify(control, ${STATE});
for (;;) {
  Atomics.wait(control, ${STATE}, ${IDLE});
  try {
    for (let m; (m = receiveMessageOnPort(port)) !== undefined;) {
      const { exports } = new WebAssembly.Instance(m.message.module, { m: { m: memory } });
      modules.set(m.message.id, m.message.names.map((name) => exports[name]));
    }
    modules.get(control[${MODULE}])[control[${FUNCTION}]](...control.subarray(${ARGUMENTS}));
    Atomics.store(control, ${STATE}, ${IDLE});
  } catch {
    Atomics.store(control, ${STATE}, ${FAILED});
  }
  Atomics.notify(control, ${STATE});
}`;

interface Thread {
  readonly control: Int32Array;
  readonly port: MessagePort;
  /** Modules that it has. */
  readonly has: Set<number>;
}

/** A module as threads get it. */
export interface SharedModule {
  readonly id: number;
  readonly module: WebAssembly.Module;
  readonly names: readonly string[];
}

/** How many more threads are worth having. */
function spareCores(): number {
  return Math.min(7, (globalThis.navigator?.hardwareConcurrency ?? 1) - 1);
}

/** The threads of one memory; they do not keep the process alive. */
export class Threads {
  readonly #threads: Thread[] = [];
  #failed = false;

  /** `controls`: where the control block of each thread lies. */
  constructor(memory: WebAssembly.Memory, controls: readonly number[]) {
    try {
      for (const at of controls) {
        const control = new Int32Array(memory.buffer, at, CONTROL_WORDS);
        Atomics.store(control, STATE, BUSY);
        const { port1, port2 } = new MessageChannel();
        const worker = new Worker(PROGRAM, {
          eval: true,
          workerData: { memory, at, port: port2 },
          transferList: [port2],
        });
        worker.unref();
        port1.unref();
        worker.on("error", () => this.#failed = true);
        this.#threads.push({ control, port: port1, has: new Set() });
      }
    } catch {
      this.#failed = true; // there may be no permission for it
    }
  }

  /** Threads that are up, and idle; a starting one is left alone. */
  get ready(): number {
    if (this.#failed) return 0;
    return this.#threads.filter(({ control }) => Atomics.load(control, STATE) === IDLE).length;
  }

  /** Starts function `f` on the first `count` ready threads, with arguments by thread. */
  start(shared: SharedModule, f: number, args: readonly (readonly number[])[]): Thread[] {
    const busy: Thread[] = [];
    for (const thread of this.#threads) {
      if (busy.length === args.length) break;
      if (Atomics.load(thread.control, STATE) !== IDLE) continue;
      if (!thread.has.has(shared.id)) {
        thread.port.postMessage({ id: shared.id, module: shared.module, names: shared.names });
        thread.has.add(shared.id);
      }
      thread.control[MODULE] = shared.id;
      thread.control[FUNCTION] = f;
      thread.control.set(args[busy.length], ARGUMENTS);
      Atomics.store(thread.control, STATE, BUSY);
      Atomics.notify(thread.control, STATE);
      busy.push(thread);
    }
    return busy;
  }

  /** Waits until all of these are done; false for those whose work failed and must be done again. */
  finish(busy: readonly Thread[]): boolean[] {
    return busy.map(({ control }) => {
      while (Atomics.load(control, STATE) === BUSY) Atomics.wait(control, STATE, BUSY, 1000);
      const failed = Atomics.load(control, STATE) === FAILED;
      if (failed) this.#failed = true;
      return !failed;
    });
  }
}

/** How many threads to make beside the main one; none where waiting is not allowed. */
export function threadCount(): number {
  try {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 1, 0);
    return spareCores();
  } catch {
    return 0;
  }
}
