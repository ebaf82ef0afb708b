/** The training loop: it reads the loss at most twice a second, can be stopped, stored and resumed. */
import { breathe } from "../ops/runs.ts";
import { ScalarLog } from "../ops/scalar_log.ts";
import { checkOptions, type Tensor } from "../ops/tensor.ts";
import { noGrad } from "../ops/transforms/backward.ts";
import { jit } from "../ops/transforms/jit.ts";
import type { Tree } from "../ops/transforms/tree.ts";
import { loadCheckpoint, saveCheckpoint, type Stateful } from "./checkpoint.ts";
import { clipGradNorm } from "./clip.ts";
import type { Module } from "./module.ts";
import { defaultProgress, type LossEntry, type Progress, type ProgressInfo } from "./progress.ts";
import type { Schedule } from "./schedule.ts";

/** What `fit` needs of an optimiser. */
export interface FitOptimizer extends Stateful {
  /** Learning rate. */
  lr: number;
  /** Updates the parameters. */
  step(): void;
  /** Forgets all gradients. */
  zeroGrad(): void;
  /** What it trains. */
  readonly parameters: readonly Tensor[];
}

/** A step that was just taken; its tensors are not read yet, and reading one waits for the device. */
export interface StepInfo<B> {
  /** Counted from 1. */
  readonly step: number;
  /** Epochs ended before. */
  readonly epoch: number;
  /** What it was taken on. */
  readonly batch: B;
  /** Before the update. */
  readonly loss: Tensor;
  /** Norm of the gradients before clipping; null without `clip`. */
  readonly gradNorm: Tensor | null;
  /** The rate it was taken with. */
  readonly lr: number;
}

/** Numbers by name. */
export type Metrics = Record<string, number>;

/** Options of {@linkcode fit}. */
export interface FitOptions<M extends Module, B> {
  /** Batches; each loop over it is an epoch. One with a state, like `DataLoader`, goes on where it stopped. */
  loader: AsyncIterable<B> | Iterable<B>;
  /** The scalar that is minimised. */
  loss: (model: M, batch: B) => Tensor;
  /** What updates the model. */
  optimizer: FitOptimizer;
  /** Epochs in all; default 1 without `steps`. */
  epochs?: number;
  /** Steps in all. */
  steps?: number;
  /** Largest norm of the gradients. */
  clip?: number;
  /** Rate of each step, counted from 0; default the optimiser's. */
  schedule?: Schedule;
  /** Ends the loop after the step at hand, with all state kept. */
  signal?: AbortSignal;
  /** Shows the loop; default what `setProgressFactory` was given; false: nothing. */
  progress?: Progress | boolean;
  /** Called after each step. */
  onStep?: (info: StepInfo<B>) => void | Promise<void>;
  /** Stores the run every `every` steps, and at the end; `resume` goes on from the file if it is there. */
  checkpoint?: { path: string; every?: number; resume?: boolean };
  /** Measures the model, in evaluation mode and without gradients. */
  evaluate?: (model: M) => number | Metrics | Promise<number | Metrics>;
  /** Steps between evaluations; default an epoch. */
  evaluateEvery?: number;
  /** What a loss of NaN or infinity does, when it is seen; default throw. */
  onNonfinite?: "throw" | "stop" | "ignore";
  /** Records the step once and repeats it; the loss must be a function of tensors. Default false. */
  jit?: boolean;
}

/** How a run went. */
export interface FitReport {
  /** Steps taken in all, with those before a resumption. */
  readonly steps: number;
  /** Epochs ended. */
  readonly epochs: number;
  /** Duration of this call. */
  readonly seconds: number;
  /** Whether a signal, or a loss that was not finite, ended the run early. */
  readonly stopped: boolean;
  /** The last loss; NaN if no step was taken. */
  readonly loss: number;
  /** Losses by step, as read; thinned out where steps are very fast. */
  readonly losses: { readonly step: number; readonly loss: number }[];
  /** What `evaluate` gave, by step. */
  readonly evaluations: { readonly step: number; readonly values: Metrics }[];
}

/** Losses on the device, read together now and then, and those that were read. */
class LossLog {
  readonly history: { step: number; loss: number }[] = [];
  readonly #log = new ScalarLog();
  #fresh: LossEntry[] = [];

  add(step: number, lr: number, loss: Tensor, gradNorm: Tensor | null): void {
    this.#log.add(step, gradNorm === null ? { loss, lr } : { loss, lr, gradNorm });
  }

  get due(): boolean {
    return this.#log.due;
  }

  /** Reads what is there; returns the first loss that is not finite. */
  async read(): Promise<{ step: number; loss: number } | null> {
    let bad: { step: number; loss: number } | null = null;
    for (const { step, values: { loss, ...rest } } of await this.#log.read()) {
      const entry = { step, loss };
      this.history.push(entry);
      this.#fresh.push({ ...entry, ...rest });
      if (!Number.isFinite(loss)) bad ??= entry;
    }
    return bad;
  }

  /** What was read since the last call. */
  fresh(): LossEntry[] {
    return this.#fresh.splice(0);
  }

  get last(): number | null {
    return this.history.at(-1)?.loss ?? null;
  }
}

function isStateful(x: unknown): x is Stateful {
  return typeof (x as Stateful).stateDict === "function";
}

const OPTIONS = Object.keys(
  {
    loader: true,
    loss: true,
    optimizer: true,
    epochs: true,
    steps: true,
    clip: true,
    schedule: true,
    signal: true,
    progress: true,
    onStep: true,
    checkpoint: true,
    evaluate: true,
    evaluateEvery: true,
    onNonfinite: true,
    jit: true,
    model: true, // a setup that is spread into the options may hold it
  } satisfies Record<keyof FitOptions<Module, unknown> | "model", true>,
);

function check(options: { epochs?: number; steps?: number; evaluateEvery?: number }): void {
  checkOptions("fit", options, OPTIONS);
  // deno-lint-ignore no-explicit-any
  const { loader, loss, optimizer } = options as any;
  if (typeof (loader?.[Symbol.asyncIterator] ?? loader?.[Symbol.iterator]) !== "function") {
    throw new TypeError(
      `Cannot fit ${loader === undefined ? "without" : "with this"} loader: it gives batches, as ` +
        `new DataLoader({ x, y }, { batchSize: 32 }) or an array of batches`,
    );
  }
  if (typeof loss !== "function") {
    throw new TypeError(
      `Cannot fit ${loss === undefined ? "without" : "with this"} loss: it is a function, as ` +
        `(model, { x, y }) => mseLoss(model.call(x), y)`,
    );
  }
  if (typeof optimizer?.step !== "function") {
    throw new TypeError(
      `Cannot fit ${
        optimizer === undefined ? "without" : "with this"
      } optimizer: give one, as new Adam(model, { lr: 1e-3 })`,
    );
  }
  for (const key of ["epochs", "steps", "evaluateEvery"] as const) {
    const n = options[key];
    if (n !== undefined && n !== Infinity && (!Number.isInteger(n) || n < 0)) {
      throw new RangeError(`Cannot fit with ${key} ${n}: it is a whole number`);
    }
  }
}

/**
 * Trains `model` on batches until the epochs, the steps or the signal end it. Losses are read together at most twice
 * a second, so the device never waits; the event loop gets its turn at least every 16 ms.
 *
 * ```ts
 * import { Adam, DataLoader, fit, Linear, mseLoss, randn } from "@cotangent/cotangent";
 * const x = randn([64, 3]), model = new Linear(3, 1);
 * const report = await fit(model, {
 *   loader: new DataLoader({ x, y: x.sum(1, { keepdim: true }) }, { batchSize: 16, shuffle: true }),
 *   loss: (model, { x, y }) => mseLoss(model.call(x), y),
 *   optimizer: new Adam(model, { lr: 0.1 }),
 *   epochs: 5,
 *   progress: false,
 * });
 * console.log(report.steps, report.losses.length); // 20 20
 * ```
 */
// deno-lint-ignore no-explicit-any
export async function fit<M extends Module, B extends Tree = any>(
  model: M,
  options: FitOptions<M, B>,
): Promise<FitReport> {
  if (typeof model?.parameters !== "function") {
    throw new TypeError("Cannot fit what is no module: fit(model, { loader, loss, optimizer })");
  }
  check(options);
  const { loader, optimizer, schedule, signal, onNonfinite = "throw", evaluateEvery, onStep } = options;
  const steps = options.steps ?? Infinity,
    epochs = options.epochs ?? (options.steps === undefined ? 1 : Infinity);
  const progress = typeof options.progress === "object"
    ? options.progress
    : options.progress === false
    ? null
    : defaultProgress();
  const log = new LossLog(), begun = performance.now();
  const evaluations: FitReport["evaluations"] = [];
  let step = 0, epoch = 0, stopped = false, empty = false, first = 0, evaluatedAt = -1, savedAt = -1;

  const trainStep = takeStep(model, options);
  const run = options.jit ? jit(trainStep) : trainStep;
  const info = (): ProgressInfo => {
    const seconds = (performance.now() - begun) / 1000;
    return {
      step,
      steps: steps === Infinity ? null : steps,
      epoch,
      epochs: epochs === Infinity ? null : epochs,
      loss: log.last,
      losses: log.fresh(),
      ...(options.clip === undefined ? {} : { clip: options.clip }),
      lr: optimizer.lr,
      seconds,
      stepsPerSecond: (step - first) / seconds,
      values: evaluations.at(-1)?.values ?? {},
    };
  };
  const readLosses = async (): Promise<void> => {
    const bad = await log.read();
    if (bad === null || onNonfinite === "ignore") return;
    stopped = true;
    if (onNonfinite === "stop") return;
    throw new RangeError(
      `Cannot go on training: the loss was ${bad.loss} at step ${bad.step} (of ${step} taken so far, learning rate ` +
        `${optimizer.lr}). Look for the first operation that made it with detectAnomaly, or try a smaller rate or clip`,
    );
  };
  const evaluate = async (): Promise<void> => {
    if (options.evaluate === undefined || evaluatedAt === step) return;
    evaluatedAt = step;
    model.eval();
    try {
      const result = await noGrad(() => options.evaluate!(model));
      evaluations.push({ step, values: typeof result === "number" ? { value: result } : result });
    } finally {
      model.train();
    }
  };
  const parts = (): Record<string, Stateful> => ({
    model,
    optimizer,
    ...isStateful(loader) ? { loader } : {},
  });
  const save = async (): Promise<void> => {
    if (options.checkpoint === undefined || savedAt === step) return;
    savedAt = step;
    await saveCheckpoint(options.checkpoint.path, { ...parts(), step, epoch });
  };
  const aborted = (): boolean => (signal?.aborted ?? false) || (progress?.signal?.aborted ?? false);

  const mode = model.training;
  let error: Error | null = null, seconds = 0;
  model.train();
  try {
    if (options.checkpoint?.resume && await exists(options.checkpoint.path)) {
      ({ step, epoch } = await loadCheckpoint(options.checkpoint.path, parts()) as {
        step: number;
        epoch: number;
      });
      first = savedAt = step;
    }
    stopped = aborted();
    while (epoch < epochs && step < steps && !stopped) {
      let batches = 0;
      for await (const batch of loader) {
        batches++;
        if (schedule !== undefined) optimizer.lr = schedule(step);
        const [loss, gradNorm = null] = run(batch) as Tensor[];
        log.add(++step, optimizer.lr, loss, gradNorm);
        if (onStep !== undefined) await onStep({ step, epoch, batch, loss, gradNorm, lr: optimizer.lr });
        if (log.due) {
          await readLosses();
          progress?.update(info());
        }
        if (evaluateEvery !== undefined && step % evaluateEvery === 0) await evaluate();
        if (options.checkpoint?.every !== undefined && step % options.checkpoint.every === 0) await save();
        if (aborted()) stopped = true;
        if (stopped || step >= steps) break;
        const pause = breathe();
        if (pause !== null) await pause;
      }
      if (stopped || step >= steps) break;
      // A loader that was stopped behind its last batch has an empty rest of an epoch, once.
      if (batches === 0 && empty) {
        throw new RangeError(
          "Cannot train: the loader gives no batches; a generator gives them once, a DataLoader in every loop",
        );
      }
      empty = batches === 0;
      epoch++;
      if (evaluateEvery === undefined) await evaluate();
    }
    // The next loop goes on behind the last batch.
    if (isStateful(loader) && (stopped || step >= steps)) loader.loadStateDict(loader.stateDict());
    await readLosses();
    if (!stopped) await evaluate();
    await save();
  } catch (e) {
    error = e instanceof Error ? e : new Error(String(e));
    throw e;
  } finally {
    model.train(mode);
    const end = { ...info(), stopped, error };
    seconds = end.seconds; // The figure that stays takes time of its own.
    await progress?.end(end);
  }
  return printedShort({
    steps: step,
    epochs: epoch,
    seconds,
    stopped,
    loss: log.last ?? NaN,
    losses: log.history,
    evaluations,
  });
}

/** A report as the last line of a cell adds a line to its figure, not every loss. */
function printedShort(report: FitReport): FitReport {
  const { steps, epochs, seconds, stopped, loss, losses, evaluations } = report;
  const text =
    `FitReport { steps: ${steps}, epochs: ${epochs}, seconds: ${Number(seconds.toPrecision(3))}, ` +
    `stopped: ${stopped}, loss: ${Number(loss.toPrecision(4))}, losses: [${losses.length}], ` +
    `evaluations: [${evaluations.length}] }`;
  return Object.defineProperty(report, Symbol.for("Deno.customInspect"), { value: () => text });
}

/** One step: gradients, clipping, update. Gives the loss, and with clipping the norm before it. */
function takeStep<M extends Module, B>(
  model: M,
  { loss: lossOf, optimizer, clip }: FitOptions<M, B>,
): (batch: B) => Tensor[] {
  return (batch) => {
    optimizer.zeroGrad();
    const loss = lossOf(model, batch);
    if (loss?.size !== 1) {
      throw new RangeError(
        `Cannot minimise ${loss?.toString()}: the loss is a tensor with one element, as loss.mean()`,
      );
    }
    loss.backward();
    const norm = clip === undefined ? null : clipGradNorm(optimizer.parameters, clip);
    optimizer.step();
    return norm === null ? [loss] : [loss, norm];
  };
}

async function exists(path: string): Promise<boolean> {
  try {
    await Deno.stat(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
