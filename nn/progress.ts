/** The seam through which a training loop shows how far it is; `display/` fills it. */

/** A step whose loss was read. */
export interface LossEntry {
  /** Counted from 1. */
  readonly step: number;
  /** Before the update. */
  readonly loss: number;
  /** The rate it was taken with. */
  readonly lr?: number;
  /** Norm of the gradients before clipping, where they are clipped. */
  readonly gradNorm?: number;
}

/** How far a loop is. */
export interface ProgressInfo {
  /** Steps taken. */
  readonly step: number;
  /** Steps in all, if that is known. */
  readonly steps: number | null;
  /** Epochs ended. */
  readonly epoch: number;
  /** Epochs in all, if that is known. */
  readonly epochs: number | null;
  /** The latest loss that was read. */
  readonly loss: number | null;
  /** Losses read since the last call. */
  readonly losses: readonly LossEntry[];
  /** Largest norm of the gradients, if they are clipped. */
  readonly clip?: number;
  /** Learning rate of the latest step. */
  readonly lr: number;
  /** Since the beginning. */
  readonly seconds: number;
  /** Average speed. */
  readonly stepsPerSecond: number;
  /** The latest evaluation. */
  readonly values: Readonly<Record<string, number>>;
}

/** How a loop ended. */
export interface ProgressEnd extends ProgressInfo {
  /** Stopped by a signal. */
  readonly stopped: boolean;
  /** What went wrong, if something did. */
  readonly error: Error | null;
}

/** Shows a loop; neither method should throw. */
export interface Progress {
  /** Called at most about twice a second. */
  update(info: ProgressInfo): void;
  /** Called once, also after an error, with what was read since the last update. */
  end(info: ProgressEnd): void | Promise<void>;
  /** Asks the loop to stop, as a notebook's Stop button does. */
  readonly signal?: AbortSignal;
}

let factory: (() => Progress) | null = null;

/** Sets what shows loops that are not told how to show themselves; null shows nothing. */
export function setProgressFactory(f: (() => Progress) | null): void {
  factory = f;
}

/** What shows a loop by default. */
export function defaultProgress(): Progress | null {
  return factory?.() ?? null;
}
