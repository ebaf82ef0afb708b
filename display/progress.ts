/** Training progress: one display that shows the loss as it falls, and stays as a figure at the end. */

import { type LogEntry, ScalarLog } from "../ops/scalar_log.ts";
import { Tensor } from "../ops/tensor.ts";
import { type Bundle, displayHook } from "./bundle.ts";
import { inKernel } from "./kernel.ts";
import {
  consoleText,
  formatDuration,
  formatNumber,
  kindOf,
  messageLine,
  plainLine,
  shorten,
  sparkline,
} from "./parts.ts";
import { Curve, liveSvg, type TrainingCurves, trainingFigure } from "./progress_picture.ts";
import { isTerminal, type LiveDisplay, liveDisplay } from "./show.ts";

const REDRAW_MS = 500;

/** What is known before a training. */
export interface ProgressOptions {
  /** How many steps there will be, if that is known. */
  total?: number;
  /** How many epochs there will be, if that is known. */
  epochs?: number;
  /** Stands before the status. */
  title?: string;
  /** Of the loss; linear if left out. */
  yScale?: "linear" | "log";
  /** What gradients are clipped to: a line beside their norms. */
  clip?: number;
}

/** A number, or a tensor of one element, which is read when the display is drawn. */
export type Reading = number | Tensor | null | undefined;

/** Where a training stands. Readings of other names are shown too; null is as if left out. */
export interface ProgressState {
  /** Steps done; one more than before if left out. */
  step?: number;
  /** The epoch it is in, from 1. */
  epoch?: number;
  /** What the curve shows. */
  loss?: Reading;
  /** The learning rate; a curve of its own where it changes. */
  rate?: Reading;
  /** Norm of the gradients before clipping: a curve of its own. */
  gradNorm?: Reading;
  /** Duration so far; measured from the first call on if left out. */
  seconds?: number;
  /** Average speed; measured from the first call on if left out. */
  stepsPerSecond?: number;
  /** Any other metric, by name. */
  [metric: string]: Reading;
}

/** A running progress display. */
export interface TrainingProgress {
  /**
   * Notes the state, and draws it if the last drawing is half a second old. Cheap enough for every step: tensors stay on the
   * device, without their graphs, until the next drawing or the end, when all of them are read at once. A loop that never
   * lets the event loop run is thinned out to some hundred steps.
   */
  update(state: ProgressState): void;
  /** Draws the figure that stays; `note` says how it ended, if not by itself. */
  end(note?: string): Promise<void>;
}

/**
 * Shows the progress of a training: a curve and a line in a notebook, a line in a terminal, the last line in a file. It reads
 * the device at most twice a second, and where nothing is drawn until the end, then. What cannot be read is said and left out.
 *
 * ```ts
 * import { clipGradNorm, Linear, mseLoss, randn, SGD, trainingProgress } from "@cotangent/cotangent";
 * const x = randn([64, 3]), y = x.sum(1, { keepdim: true });
 * const model = new Linear(3, 1), optimizer = new SGD(model, { lr: 0.1 });
 * const progress = trainingProgress({ total: 50, clip: 5 });
 * for (let step = 1; step <= 50; step++) {
 *   const loss = mseLoss(model.call(x), y);
 *   optimizer.zeroGrad();
 *   loss.backward();
 *   const gradNorm = clipGradNorm(model.parameters(), 5);
 *   optimizer.step();
 *   progress.update({ step, loss, gradNorm, rate: optimizer.lr });
 * }
 * await progress.end();
 * ```
 */
export function trainingProgress(options: ProgressOptions = {}): TrainingProgress {
  return new Progress(options);
}

/** What is no reading: where the loop is. */
interface Place {
  epoch?: number;
  seconds?: number;
  stepsPerSecond?: number;
}

const PLACES = ["epoch", "seconds", "stepsPerSecond"] as const;

class Progress implements TrainingProgress {
  readonly #options: ProgressOptions;
  readonly #display: LiveDisplay = liveDisplay();
  readonly #draws = inKernel() || isTerminal();
  readonly #log = new ScalarLog();
  readonly #losses = new Curve();
  readonly #norms = new Curve("largest");
  readonly #rates = new Curve();
  readonly #start = performance.now();
  #from: number | undefined; // The step before the first.
  #step = 0;
  #place: Place = {};
  #values = new Map<string, number>();
  /** The step of the first loss that was not finite. */
  #strayed: number | null = null;
  #unread: { count: number; why: string } | null = null;
  #drawnAt = -Infinity;
  #isReading = false;
  #drawing: Promise<void> | null = null;
  #ended = false;

  constructor(options: ProgressOptions) {
    this.#options = options;
  }

  update(state: ProgressState): void {
    if (this.#ended) return;
    const readings: Record<string, number | Tensor> = {}, place: Place = {};
    for (const [name, value] of Object.entries(state)) {
      if (value === undefined || value === null) continue;
      const isPlace = name === "step" || PLACES.some((key) => key === name);
      if (typeof value !== "number" && (isPlace || !(value instanceof Tensor))) {
        const needed = isPlace ? "a number" : "a number or a tensor of one element";
        throw new TypeError(`Cannot show ${kindOf(value)} as ${plainLine(name)}: it is ${needed}`);
      }
      if (!isPlace) readings[name] = value;
      else if (name !== "step") place[name as keyof Place] = value as number;
    }
    const step = state.step ?? this.#step + 1;
    const isTurn = this.#log.isEmpty && !this.#isReading; // Curves go by steps.
    if (isTurn && Object.values(readings).every((value) => typeof value === "number")) {
      this.#note({ step, values: readings as Record<string, number> });
    } else if (Object.keys(readings).length > 0) this.#log.add(step, readings);
    this.#from ??= step - 1;
    this.#step = step;
    Object.assign(this.#place, place);
    if (this.#draws && this.#drawing === null && this.#isDue()) {
      this.#drawnAt = performance.now();
      this.#drawing = this.#draw().catch(() => {}).finally(() => this.#drawing = null);
    }
  }

  /** The first drawing waits for nothing; later ones for what there is to read. */
  #isDue(): boolean {
    return this.#drawnAt === -Infinity ||
      (performance.now() - this.#drawnAt >= REDRAW_MS && (this.#log.isEmpty || this.#log.due));
  }

  async #draw(): Promise<void> {
    if (!this.#log.isEmpty && this.#log.due) await this.#read();
    const text = this.#line(performance.now());
    const bundle: Bundle = { "text/plain": consoleText(text) };
    if (inKernel()) bundle["image/svg+xml"] = liveSvg(this.#options.title, text, this.#curves());
    await this.#display.update(bundle);
  }

  async #read(): Promise<void> {
    if (this.#log.isEmpty) return;
    this.#isReading = true;
    for (const entry of await this.#log.readQuietly()) this.#note(entry);
    this.#isReading = false;
  }

  #note({ step, values }: LogEntry<number | Error>): void {
    for (const [name, value] of Object.entries(values)) {
      if (typeof value === "number") this.#values.set(name, value);
      else {
        this.#values.delete(name); // An older one would pass for it.
        this.#unread = { count: (this.#unread?.count ?? 0) + 1, why: messageLine(value) };
      }
    }
    const { loss, gradNorm, rate } = values;
    if (typeof loss === "number") {
      this.#losses.add(step, loss);
      if (!Number.isFinite(loss)) this.#strayed ??= step;
    }
    if (typeof gradNorm === "number") this.#norms.add(step, gradNorm);
    // Rates that stand beside a loss or a norm; a status without either is no step of its own.
    if (typeof rate === "number" && (loss !== undefined || gradNorm !== undefined)) {
      this.#rates.add(step, rate);
    }
  }

  async end(note?: string): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    await this.#drawing;
    await this.#read();
    const line = this.#line(performance.now());
    const text = note === undefined
      ? line
      : `${line}${inKernel() ? " · " : "  "}${shorten(plainLine(note), 200)}`;
    const bundle: Bundle = {};
    if (inKernel() && this.#losses.y.length > 1) {
      Object.assign(bundle, await trainingFigure(this.#options.title, text, this.#curves())[displayHook]());
    }
    bundle["text/plain"] = consoleText(text);
    await this.#display.end(bundle);
  }

  #curves(): TrainingCurves {
    const { yScale, clip } = this.#options;
    return {
      loss: this.#losses,
      norm: this.#norms,
      rate: this.#rates,
      ...(yScale === undefined ? {} : { yScale }),
      ...(clip === undefined ? {} : { clip }),
    };
  }

  /** `title  ▇▅▃▂▁  400/1,000  loss 0.31  rate 0.001  52 it/s  12 s left`. */
  #line(now: number): string {
    const step = this.#step, { epoch, seconds: given, stepsPerSecond } = this.#place;
    const { total, epochs, title, yScale } = this.#options;
    const seconds = given ?? (now - this.#start) / 1000;
    const speed = stepsPerSecond ?? (step - (this.#from ?? 0)) / seconds;
    const parts: string[] = [];
    if (title !== undefined && !inKernel()) parts.push(plainLine(title));
    if (!inKernel() && this.#losses.y.length > 1) parts.push(sparkline(this.#losses.y, 20, yScale === "log"));
    parts.push(
      total === undefined ? `step ${formatNumber(step)}` : `${formatNumber(step)}/${formatNumber(total)}`,
    );
    if (epoch !== undefined) {
      parts.push(`epoch ${formatNumber(epoch)}${epochs === undefined ? "" : `/${formatNumber(epochs)}`}`);
    }
    const { loss, gradNorm, ...others } = Object.fromEntries(this.#values);
    if (loss !== undefined) parts.push(`loss ${formatNumber(loss)}`);
    if (this.#strayed !== null) parts.push(`loss not finite at step ${formatNumber(this.#strayed)}`);
    if (gradNorm !== undefined) parts.push(`gradient norm ${formatNumber(gradNorm)}`);
    for (const [name, value] of Object.entries(others)) {
      parts.push(`${plainLine(name)} ${formatNumber(value)}`);
    }
    const measured = speed > 0 && Number.isFinite(speed) && seconds > 0.2; // Earlier the speed is noise.
    if (measured) parts.push(`${formatNumber(speed, 3)} it/s`);
    if (this.#ended) parts.push(formatDuration(seconds));
    else if (total !== undefined && measured) parts.push(`${formatDuration((total - step) / speed)} left`);
    if (this.#unread !== null) {
      const { count, why } = this.#unread;
      parts.push(`${formatNumber(count)} reading${count > 1 ? "s" : ""} not to be had: ${shorten(why, 100)}`);
    }
    return parts.join(inKernel() ? " · " : "  ");
  }
}
