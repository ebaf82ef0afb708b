/** Words on the device in which kernels of a run say that they met an impossible index. */
import { FAULT_SLOTS } from "./kernels/kernel.ts";
import type { Plan } from "./plan.ts";
import type { RunRecord } from "./storage.ts";

/** The fault words of one device. */
export class Faults {
  /** A word for the number of the call, and in the second half one for the index. */
  readonly bytes = FAULT_SLOTS * 8;
  readonly buffer: GPUBuffer;
  readonly #free = Array.from({ length: FAULT_SLOTS - 1 }, (_, i) => FAULT_SLOTS - 2 - i);
  #watched: { record: RunRecord; plan: Plan; slot: number }[] = [];

  constructor(readonly device: GPUDevice) {
    this.buffer = device.createBuffer({ size: this.bytes, usage: 0x80 | 0x04 | 0x08 });
  }

  /** Number of runs that are not checked yet. */
  get unchecked(): number {
    return this.#watched.length;
  }

  /** A word for a run whose kernels can fail. */
  watch(record: RunRecord, plan: Plan): number {
    const slot = this.#free.pop() ?? FAULT_SLOTS - 1;
    record.open++;
    this.#watched.push({ record, plan, slot });
    return slot;
  }

  /** Judges all runs that were watched when the words were copied: the first `count`. */
  check(words: Uint32Array, count: number): void {
    const judged = this.#watched.slice(0, count);
    this.#watched = this.#watched.slice(count);
    for (const { record, plan, slot } of judged) {
      const fault = words[slot];
      if (fault === 0) record.pass();
      else {
        record.fail(
          new RangeError(
            plan.faults[fault - 1]?.message(words[FAULT_SLOTS + slot]) ?? "Cannot index: out of range",
          ),
        );
        this.device.queue.writeBuffer(this.buffer, slot * 4, new Uint32Array(1));
      }
      if (slot < FAULT_SLOTS - 1) this.#free.push(slot);
    }
  }
}
