/** Places for intermediates in one buffer. */

const ALIGNMENT = 64;

/** Bytes of a place for so many. */
export function inAlignment(bytes: number): number {
  return Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
}

/** First fit over free intervals. */
export class Arena {
  /** Bytes that were ever needed at once. */
  bytes = 0;
  /** Free intervals `[from, to)`, ascending and apart. */
  readonly #free: [number, number][] = [];

  /** A free place of so many bytes; -1 where there is none before `most`. */
  take(bytes: number, most = Infinity): number {
    const size = inAlignment(bytes);
    if (size === 0) return 0;
    for (let i = 0; i < this.#free.length; i++) {
      const [from, to] = this.#free[i];
      if (to - from < size) continue;
      if (to - from === size) this.#free.splice(i, 1);
      else this.#free[i][0] += size;
      return from;
    }
    const top = this.#free[this.#free.length - 1], isOpen = top !== undefined && top[1] === this.bytes;
    const from = isOpen ? top[0] : this.bytes;
    if (from + size > most) return -1;
    if (isOpen) this.#free.pop();
    this.bytes = from + size;
    return from;
  }

  /** Frees a place. */
  give(from: number, bytes: number): void {
    const size = inAlignment(bytes), to = from + size;
    if (size === 0) return;
    let i = 0;
    while (i < this.#free.length && this.#free[i][0] < from) i++;
    const before = this.#free[i - 1], after = this.#free[i];
    const joinsBefore = before !== undefined && before[1] === from,
      joinsAfter = after !== undefined && after[0] === to;
    if (joinsBefore && joinsAfter) {
      before[1] = after[1];
      this.#free.splice(i, 1);
    } else if (joinsBefore) before[1] = to;
    else if (joinsAfter) after[0] = from;
    else this.#free.splice(i, 0, [from, to]);
  }
}
