/** The progress of `fit`: the training display fed with what the loop reads, and Stop as the loop's signal. */
import type { Progress, ProgressEnd, ProgressInfo } from "../nn/progress.ts";
import { interruptSignal } from "./kernel.ts";
import { type ProgressOptions, type ProgressState, trainingProgress } from "./progress.ts";

/** What a state of the display says itself, so that an evaluation of that name is not taken for it. */
const OURS = new Set(["step", "epoch", "loss", "rate", "gradNorm", "seconds", "stepsPerSecond"]);

/** Shows a loop of `fit`: a live curve in a notebook, a line in a terminal. */
export function fitProgress(): Progress {
  let shown: ReturnType<typeof trainingProgress> | null = null;
  const note = (info: ProgressInfo): void => {
    if (shown === null) {
      const options: ProgressOptions = {};
      if (info.steps !== null) options.total = info.steps;
      if (info.epochs !== null) options.epochs = info.epochs;
      if (info.clip !== undefined) options.clip = info.clip;
      shown = trainingProgress(options);
    }
    for (const { step, loss, lr, gradNorm } of info.losses) {
      const state: ProgressState = { step, loss };
      if (lr !== undefined) state.rate = lr;
      if (gradNorm !== undefined) state.gradNorm = gradNorm;
      shown.update(state);
    }
    const { step, lr: rate, seconds, stepsPerSecond } = info;
    const state: ProgressState = { step, rate, seconds, stepsPerSecond };
    // The epoch it is in; where their number is not known, steps say enough.
    if (info.epochs !== null) state.epoch = Math.min(info.epoch + 1, info.epochs);
    for (const [name, value] of Object.entries(info.values)) {
      state[OURS.has(name) ? `evaluated ${name}` : name] = value;
    }
    shown.update(state);
  };
  return {
    signal: interruptSignal(),
    update: note,
    end: async (info: ProgressEnd): Promise<void> => {
      note(info);
      await shown!.end(info.error !== null ? String(info.error) : info.stopped ? "stopped" : undefined);
    },
  };
}
