/** Times of dispatches: by the device's own clock, or where it has none by waiting for each. */
import type { Work } from "../../ops/cost.ts";
import type { Recorder } from "../../ops/profile.ts";
import type { Dispatch } from "./plan.ts";

/** Dispatches that share a set of timestamps: a set has at most 4,096. */
const SHARED = 2048;
const RESOLVE = 0x200 | 0x04, READ = 0x01 | 0x08; // QUERY_RESOLVE | COPY_SRC, MAP_READ | COPY_DST

/** Timestamps on their way to the host. */
interface Pending {
  readonly works: readonly Work[];
  readonly staging: GPUBuffer;
  readonly made: readonly { destroy(): void }[];
  readonly submitted: number;
}

/** Tells a recorder of the dispatches of one device. */
export class Timer {
  #pending: Pending[] = [];

  constructor(readonly device: GPUDevice, readonly recorder: Recorder) {}

  /** Submits dispatches, each in a pass of its own. */
  run(dispatches: readonly Dispatch[], encode: (pass: GPUComputePassEncoder, i: number) => void): void {
    if (!this.device.features.has("timestamp-query")) return this.#waiting(dispatches, encode);
    for (let from = 0; from < dispatches.length; from += SHARED) {
      this.#stamped(dispatches, from, Math.min(dispatches.length, from + SHARED), encode);
    }
  }

  #stamped(
    dispatches: readonly Dispatch[],
    from: number,
    to: number,
    encode: (pass: GPUComputePassEncoder, i: number) => void,
  ): void {
    const { device } = this, count = 2 * (to - from), size = 8 * count;
    const querySet = device.createQuerySet({ type: "timestamp", count });
    const resolved = device.createBuffer({ size, usage: RESOLVE });
    const staging = device.createBuffer({ size, usage: READ });
    const encoder = device.createCommandEncoder();
    for (let i = from; i < to; i++) {
      const at = 2 * (i - from);
      const timestampWrites = { querySet, beginningOfPassWriteIndex: at, endOfPassWriteIndex: at + 1 };
      const pass = encoder.beginComputePass({ timestampWrites });
      encode(pass, i);
      pass.end();
    }
    encoder.resolveQuerySet(querySet, 0, count, resolved, 0);
    encoder.copyBufferToBuffer(resolved, 0, staging, 0, size);
    const submitted = performance.now();
    device.queue.submit([encoder.finish()]);
    const works = dispatches.slice(from, to).map((d) => d.work);
    this.#pending.push({ works, staging, made: [querySet, resolved, staging], submitted });
  }

  #waiting(
    dispatches: readonly Dispatch[],
    encode: (pass: GPUComputePassEncoder, i: number) => void,
  ): void {
    const { device } = this;
    device.queue.onSubmittedWorkDone().catch(() => {});
    dispatches.forEach(({ work }, i) => {
      const encoder = device.createCommandEncoder(), pass = encoder.beginComputePass();
      encode(pass, i);
      pass.end();
      const start = performance.now();
      device.queue.submit([encoder.finish()]);
      // Asking waits for it, without awaiting.
      device.queue.onSubmittedWorkDone().catch(() => {});
      this.recorder.kernel({ ...work, device: "webgpu", start, duration: performance.now() - start });
    });
  }

  /** Tells all times that are not told yet. The device's clock is set by the run that began soonest after its submit. */
  async finish(): Promise<void> {
    const pending = this.#pending;
    this.#pending = [];
    const stamps = await Promise.all(pending.map(async ({ staging, made }) => {
      await staging.mapAsync(1);
      const stamps = new BigUint64Array(staging.getMappedRange()).slice();
      for (const thing of made) thing.destroy();
      return stamps;
    })).catch(() => []); // The device is lost: whoever reads its results is told.
    if (stamps.length === 0) return;
    const first = stamps[0][0], ms = (t: bigint): number => Number(t - first) / 1e6;
    const offset = Math.max(...pending.map(({ submitted }, i) => submitted - ms(stamps[i][0])));
    pending.forEach(({ works }, i) =>
      works.forEach((work, k) => {
        const [start, end] = [ms(stamps[i][2 * k]), ms(stamps[i][2 * k + 1])];
        this.recorder.kernel({
          ...work,
          device: "webgpu",
          start: start + offset,
          duration: Math.max(0, end - start),
        });
      })
    );
  }
}
