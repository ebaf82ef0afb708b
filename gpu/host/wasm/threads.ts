/** Threads that run WebAssembly on shared memory beside the main one: woken for each kernel, asleep in between. */
import { MessageChannel, type MessagePort, Worker } from "node:worker_threads";
import { GEMM_SOURCE, LAZY_GEMM } from "../blas.ts";

/**
 * Words of the board that all threads read: how many jobs there were, which sleepers wait on; parts of the job that nobody has
 * taken; parts that threads have done; the job's module and function; threads that are up; then parts.
 */
const JOBS = 0, LEFT = 1, DONE = 2, MODULE = 3, FUNCTION = 4, UP = 5, PARTS = 16;
/** Words of a part: whether it failed; which of its arguments are addresses of sums and of panels, as bits; arguments. */
const FAILED = 0, SUMS = 1, PANELS = 2, ARGUMENTS = 3, PART = 32;
/** Most parts of a job. */
export const MOST_PARTS = 64;
/** Words of the board. */
export const BOARD_WORDS = PARTS + PART * MOST_PARTS;

/** Bytes before a thread's own memory for sums, where its number stands. */
export const HEADER = 64;

/** Looks at a word before a thread sleeps: some 50 microseconds, about what it takes to wake it. */
const LOOKS = 800;

/** Looks for a word to change from `value`, for a while. */
function look(board: Int32Array, word: number, value: number, looks: number): void {
  const { pause } = Atomics as { pause?: () => void };
  for (let i = 0; i < looks && Atomics.load(board, word) === value; i++) pause?.();
}

/** Addresses of a thread's own memory: for sums of loops, and for panels of matrices. */
export interface Scratch {
  readonly sums: number;
  readonly panels: number;
}

/** Stands for a thread's own memory in arguments. */
export const OWN: Scratch = { sums: -1e12, panels: -2e12 };

// What a thread does. One that wakes late finds nothing left, or a part of the next job, which is as good. Modules are sent
// before the job that needs them is on the board.
const PROGRAM = `
const { workerData, receiveMessageOnPort } = require("node:worker_threads");
const { memory, at, port, sums, panels, source } = workerData;
const gemm = ${LAZY_GEMM}(memory, source);
const board = new Int32Array(memory.buffer, at, ${BOARD_WORDS});
const look = ${look};
const modules = new Map();
function find(id) {
  for (let m; !modules.has(id) && (m = receiveMessageOnPort(port)) !== undefined;) {
    const { exports } = new WebAssembly.Instance(m.message.module, { m: { m: memory, gemm } });
    modules.set(m.message.id, m.message.names.map((name) => exports[name]));
  }
  return modules.get(id);
}
let jobs = Atomics.load(board, ${JOBS});
Atomics.add(board, ${UP}, 1);
for (;;) {
  look(board, ${JOBS}, jobs, ${LOOKS});
  Atomics.wait(board, ${JOBS}, jobs);
  jobs = Atomics.load(board, ${JOBS});
  for (let i; (i = Atomics.sub(board, ${LEFT}, 1) - 1) >= 0;) {
    const part = board.subarray(${PARTS} + ${PART} * i, ${PARTS} + ${PART} * (i + 1));
    try {
      const x = Array.from(part.subarray(${ARGUMENTS}), (n, k) =>
        part[${SUMS}] >> k & 1 ? sums : part[${PANELS}] >> k & 1 ? panels : n);
      find(board[${MODULE}])[board[${FUNCTION}]](...x);
    } catch {
      part[${FAILED}] = 1;
    }
    Atomics.add(board, ${DONE}, 1);
    Atomics.notify(board, ${DONE});
  }
}`;

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
  readonly #board: Int32Array;
  readonly #ports: MessagePort[] = [];
  /** Modules that they have. */
  readonly #known = new Set<number>();
  #failed = false;

  /** `at`: where the board lies; `scratch`: of each thread. */
  constructor(memory: WebAssembly.Memory, at: number, scratch: readonly Scratch[]) {
    this.#board = new Int32Array(memory.buffer, at, BOARD_WORDS).fill(0);
    try {
      for (const { sums, panels } of scratch) {
        const { port1, port2 } = new MessageChannel();
        const worker = new Worker(PROGRAM, {
          eval: true,
          workerData: { memory, at, port: port2, sums, panels, source: GEMM_SOURCE },
          transferList: [port2],
        });
        worker.unref();
        port1.unref();
        worker.on("error", () => this.#failed = true);
        this.#ports.push(port1);
      }
    } catch {
      this.#failed = true; // there may be no permission for it
    }
  }

  /** Threads that there are, up or not. */
  get size(): number {
    return this.#ports.length;
  }

  /** Threads that are up. */
  get ready(): number {
    return this.#failed ? 0 : Atomics.load(this.#board, UP);
  }

  /**
   * Runs function `f` on parts, each given by its arguments, which name a thread's own memory by `OWN`: `helpers` threads are
   * woken, and the calling one takes parts as they do, by `call`, until there are none.
   */
  run(
    shared: SharedModule,
    f: number,
    parts: readonly (readonly number[])[],
    helpers: number,
    call: (part: readonly number[]) => void,
  ): void {
    const board = this.#board;
    if (!this.#known.has(shared.id)) {
      for (const port of this.#ports) {
        port.postMessage({ id: shared.id, module: shared.module, names: shared.names });
      }
      this.#known.add(shared.id);
    }
    // Nobody reads the board here: of the job before nothing is left.
    board[MODULE] = shared.id;
    board[FUNCTION] = f;
    parts.forEach((part, i) => {
      const at = PARTS + PART * i;
      board[at + FAILED] = board[at + SUMS] = board[at + PANELS] = 0;
      part.forEach((x, k) => {
        if (x === OWN.sums) board[at + SUMS] |= 1 << k;
        else if (x === OWN.panels) board[at + PANELS] |= 1 << k;
        else board[at + ARGUMENTS + k] = x;
      });
    });
    Atomics.store(board, DONE, 0);
    Atomics.store(board, LEFT, parts.length);
    Atomics.add(board, JOBS, 1);
    Atomics.notify(board, JOBS, helpers);
    let mine = 0;
    for (let i; (i = Atomics.sub(board, LEFT, 1) - 1) >= 0; mine++) call(parts[i]);
    for (let done; (done = Atomics.load(board, DONE)) < parts.length - mine;) {
      look(board, DONE, done, LOOKS);
      Atomics.wait(board, DONE, done, 1000);
    }
    // What a thread failed at is done here, so that its error comes up.
    parts.forEach((part, i) => {
      if (board[PARTS + PART * i + FAILED] === 0) return;
      this.#failed = true;
      call(part);
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
