/** Training progress: one display that shows the loss as it falls, and stays as a figure at the end. */

import { lineChart } from "./chart.ts";
import { type Bundle, displayHook, escapeHtml } from "./bundle.ts";
import { inKernel } from "./kernel.ts";
import {
  consoleText,
  extent,
  formatDuration,
  formatNumber,
  ink,
  palette,
  plainLine,
  shorten,
  sparkline,
} from "./parts.ts";
import { isTerminal, type LiveDisplay, liveDisplay } from "./show.ts";

const REDRAW_MS = 500;
const MOST_LOSSES = 1000; // Kept; beyond that neighbours are averaged.

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
}

/** Where a training stands. Numbers of other names are shown too. */
export interface ProgressState {
  /** Steps done; one more than before if left out. */
  step?: number;
  /** The epoch it is in, from 1. */
  epoch?: number;
  /** What the curve shows. */
  loss?: number;
  /** The learning rate. */
  rate?: number;
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
  readonly #losses = new LossCurve();
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
    const step = state.step ?? (this.#state.step ?? 0) + 1;
    this.#from ??= step - 1;
    this.#state = { ...this.#state, ...state, step };
    if (state.loss !== undefined) this.#losses.add(step, state.loss);
    const now = performance.now();
    if (!this.#draws || now - this.#drawnAt < REDRAW_MS) return;
    this.#drawnAt = now;
    const text = this.#line(now);
    const bundle: Bundle = { "text/plain": consoleText(text) };
    // Vega would take a tenth of the time between two drawings, and flicker.
    if (inKernel()) {
      bundle["image/svg+xml"] = liveSvg(this.#options.title, text, this.#losses, this.#options.yScale);
    }
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
      const { title, yScale = "linear" } = this.#options;
      const chart = lineChart({
        series: { "": { x: this.#losses.x, y: this.#losses.y } },
        ...(title === undefined ? {} : { title }),
        subtitle: text,
        xTitle: "step",
        yTitle: "loss",
        yScale,
        height: 240,
      });
      Object.assign(bundle, await chart[displayHook]());
    }
    bundle["text/plain"] = consoleText(text);
    await this.#display.end(bundle);
  }

  /** `title  ▇▅▃▂▁  400/1,000  loss 0.31  rate 0.001  52 it/s  12 s left`. */
  #line(now: number): string {
    const { step = 0, epoch, loss, seconds: given, stepsPerSecond, ...others } = this.#state;
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

/** Losses by step, of bounded length: when it is full, neighbours are averaged and from then on twice as many join. */
class LossCurve {
  x: number[] = [];
  y: number[] = [];
  #each = 1;
  #sum = 0;
  #count = 0;

  add(step: number, loss: number): void {
    this.#sum += loss;
    if (++this.#count < this.#each) return;
    this.x.push(step);
    this.y.push(this.#sum / this.#count);
    this.#sum = this.#count = 0;
    if (this.y.length < MOST_LOSSES) return;
    this.x = this.x.filter((_, i) => i % 2 === 1);
    this.y = this.y.filter((_, i) => i % 2 === 1).map((loss, i) => (this.y[2 * i] + loss) / 2);
    this.#each *= 2;
  }
}

/** The curve so far as a small SVG, in less than a millisecond. */
export function liveSvg(
  title: string | undefined,
  status: string,
  { x, y }: { readonly x: number[]; readonly y: number[] },
  yScale?: "linear" | "log",
): string {
  const scaled = y.map((loss) => yScale === "log" ? Math.log(loss > 0 ? loss : NaN) : loss);
  const up = extent(scaled),
    across = extent(x),
    shown = extent(y.filter((_, i) => Number.isFinite(scaled[i])));
  const labels = up.finite === 0 ? [] : [formatNumber(shown.high, 3), formatNumber(shown.low, 3)];
  const digit = 6.6; // Pixels, of the widest system font at 11 pixels.
  const width = 560, height = 150, top = 30, right = 8, bottom = 8;
  const left = Math.max(52, Math.ceil(10 + digit * Math.max(0, ...labels.map((text) => text.length))));
  const place = (value: number, low: number, high: number, from: number, to: number) =>
    (high === low ? (from + to) / 2 : from + (value - low) / (high - low) * (to - from)).toFixed(1);
  let path = "", pen = "M";
  scaled.forEach((value, i) => {
    if (!Number.isFinite(value)) return void (pen = "M");
    const pointX = place(x[i], across.low, across.high, left, width - right);
    path += `${pen}${pointX} ${place(value, up.low, up.high, height - bottom, top)}`;
    pen = "L";
  });
  const text = (x: number, y: number, content: string, rest = "") =>
    `<text x="${x}" y="${y}" font-family="system-ui, sans-serif" font-size="11" fill="${ink}"${rest}>${
      escapeHtml(content)
    }</text>`;
  const label = (y: number, content = "") =>
    content === "" ? "" : text(left - 6, y, content, ' text-anchor="end" dominant-baseline="middle"');
  const line = [title === undefined ? "" : plainLine(title), status].filter(Boolean).join(" · ");
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">` +
    text(4, 16, line) + label(top + 4, labels[0]) + label(height - bottom - 4, labels[1]) +
    `<path d="M${left} ${top}V${height - bottom}H${
      width - right
    }" fill="none" stroke="${ink}" stroke-opacity=".5"/>` +
    `<path d="${path}" fill="none" stroke="${palette[0]}" stroke-width="1.6" stroke-linejoin="round"/></svg>`;
}
