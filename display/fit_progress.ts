/** The progress of `fit`: the training display fed with what the loop reads, and Stop as the loop's signal. */
import type { Progress, ProgressEnd, ProgressInfo } from "../nn/progress.ts";
import { interruptSignal } from "./kernel.ts";
import { type ProgressOptions, type ProgressState, trainingProgress } from "./progress.ts";

/** Shows a loop of `fit`: a live curve in a notebook, a line in a terminal. */
export function fitProgress(): Progress {
  let shown: ReturnType<typeof trainingProgress> | null = null;
  const note = (info: ProgressInfo): void => {
    if (shown === null) {
      const options: ProgressOptions = {};
      if (info.steps !== null) options.total = info.steps;
      shown = trainingProgress(options);
    }
    for (const { step, loss } of info.losses) shown.update({ step, loss });
    const state: ProgressState = { step: info.step, epoch: info.epoch, rate: info.lr, ...info.values };
    shown.update(state);
  };
  return {
    signal: interruptSignal(),
    update: note,
    end: async (info: ProgressEnd): Promise<void> => {
      note(info);
      await shown!.end();
    },
  };
}
