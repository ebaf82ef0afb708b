/** Training progress: one display that shows the loss as it falls, and stays as a figure at the end. */

import { type Bundle, displayHook } from "./bundle.ts";
import { inKernel } from "./kernel.ts";
import { consoleText, formatDuration, formatNumber, kindOf, plainLine, shorten, sparkline } from "./parts.ts";
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

/** Where a training stands. Numbers of other names are shown too. */
export interface ProgressState {
  /** Steps done; one more than before if left out. */
  step?: number;
  /** The epoch it is in, from 1. */
  epoch?: number;
  /** What the curve shows. */
  loss?: number;
  /** The learning rate; a curve of its own where it changes. */
  rate?: number;
  /** Norm of the gradients before clipping: a curve of its own. */
  gradNorm?: number;
  /** Duration so far; measured from the first call on if left out. */
  seconds?: number;
  /** Average speed; measured from the first call on if left out. */
  stepsPerSecond?: number;
  /** Any other metric, by name. */
  [metric: string]: number | undefined;
}

/** A running progress display. */
export interface TrainingProgress {
  /** Notes the state, and draws it if the last drawing is half a second old. Cheap enough for every step. */
  update(state: ProgressState): void;
  /** Draws the figure that stays; `note` says how it ended, if not by itself. */
  end(note?: string): Promise<void>;
}

/** Shows the progress of a training: a curve and a line in a notebook, a line in a terminal, the last line in a file. */
export function trainingProgress(options: ProgressOptions = {}): TrainingProgress {
  return new Progress(options);
}

class Progress implements TrainingProgress {
  readonly #options: ProgressOptions;
  readonly #display: LiveDisplay = liveDisplay();
  readonly #draws = inKernel() || isTerminal();
  readonly #losses = new Curve();
  readonly #norms = new Curve("largest");
  readonly #rates = new Curve();
  readonly #start = performance.now();
  #from: number | undefined; // The step before the first.
  #state: ProgressState = {};
  #drawnAt = -Infinity;
  #drawing: Promise<void> = Promise.resolve();
  #ended = false;

  constructor(options: ProgressOptions) {
    this.#options = options;
  }

  update(state: ProgressState): void {
    if (this.#ended) return;
    for (const [name, value] of Object.entries(state)) {
      if (typeof value !== "object" || value === null) continue;
      throw new TypeError(
        `Cannot show ${kindOf(value)} as ${plainLine(name)}: it is a number, as await loss.item() gives`,
      );
    }
    const step = state.step ?? (this.#state.step ?? 0) + 1;
    this.#from ??= step - 1;
    this.#state = { ...this.#state, ...state, step };
    if (state.loss !== undefined) this.#losses.add(step, state.loss);
    if (state.gradNorm !== undefined) this.#norms.add(step, state.gradNorm);
    // Rates that stand beside a loss or a norm; a status without either is no step of its own.
    if (state.rate !== undefined && (state.loss !== undefined || state.gradNorm !== undefined)) {
      this.#rates.add(step, state.rate);
    }
    const now = performance.now();
    if (!this.#draws || now - this.#drawnAt < REDRAW_MS) return;
    this.#drawnAt = now;
    const text = this.#line(now);
    const bundle: Bundle = { "text/plain": consoleText(text) };
    if (inKernel()) bundle["image/svg+xml"] = liveSvg(this.#options.title, text, this.#curves());
    this.#drawing = this.#drawing.then(() => this.#display.update(bundle)).catch(() => {});
  }

  async end(note?: string): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    await this.#drawing;
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
    const { step = 0, epoch, loss, gradNorm, seconds: given, stepsPerSecond, ...others } = this.#state;
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
    if (loss !== undefined) parts.push(`loss ${formatNumber(loss)}`);
    if (gradNorm !== undefined) parts.push(`gradient norm ${formatNumber(gradNorm)}`);
    for (const [name, value] of Object.entries(others)) {
      if (typeof value === "number") parts.push(`${plainLine(name)} ${formatNumber(value)}`);
    }
    const measured = speed > 0 && Number.isFinite(speed) && seconds > 0.2; // Earlier the speed is noise.
    if (measured) parts.push(`${formatNumber(speed, 3)} it/s`);
    if (this.#ended) parts.push(formatDuration(seconds));
    else if (total !== undefined && measured) parts.push(`${formatDuration((total - step) / speed)} left`);
    return parts.join(inKernel() ? " · " : "  ");
  }
}
