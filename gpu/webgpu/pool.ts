/** Device memory: blocks in size classes which are used again, small ones cut from shared pages. */

const USAGE = 0x80 | 0x04 | 0x08; // STORAGE | COPY_SRC | COPY_DST
const ALIGN = 256;
/** Sizes of the slots of pages, in bytes. */
const SLOTS = [256, 1024, 4096];
const SLOTS_PER_PAGE = 64;

let ids = 0;

/** A buffer that small blocks share. */
class Page {
  readonly free: Block[] = [];
  constructor(readonly buffer: GPUBuffer, readonly slot: number) {}
}

/** A piece of device memory with owners counted; its number names this piece for good. */
export class Block {
  readonly id = ids++;
  owners = 0;
  constructor(
    readonly pool: BufferPool,
    readonly buffer: GPUBuffer,
    readonly offset: number,
    readonly bytes: number,
    readonly page: Page | null,
  ) {}

  /** One more owner. */
  retain(): this {
    this.owners++;
    return this;
  }

  /** One owner less; without owners it goes back to the pool. */
  release(): void {
    if (--this.owners === 0) this.pool.takeBack(this);
  }
}

/** The size class of a request: multiples of 256 bytes, four classes to each doubling. */
export function classOf(bytes: number): number {
  for (const slot of SLOTS) if (bytes <= slot) return slot;
  const step = 2 ** Math.max(8, Math.floor(Math.log2(bytes - 1)) - 2);
  return Math.ceil(bytes / step) * step;
}

/** Buffers of one device. Work is in order on its queue, so freed memory can be written by the next run. */
export class BufferPool {
  /** Bytes in blocks that have owners. */
  live = 0;
  /** Most bytes that were ever live. */
  peak = 0;
  /** Bytes in free blocks of their own buffers. */
  pooled = 0;
  /** Bytes of all buffers made and not destroyed. */
  total = 0;

  readonly #free = new Map<number, Block[]>();
  readonly #pages = new Map<number, Page[]>();

  constructor(readonly device: GPUDevice, readonly largest: number) {}

  /** A block of at least `bytes`, not in a buffer of `banned` (one buffer cannot be read and written at once). */
  acquire(bytes: number, banned: ReadonlySet<GPUBuffer> | null = null): Block {
    const size = Math.min(classOf(bytes), Math.max(this.largest, bytes));
    const block = size <= SLOTS[SLOTS.length - 1] ? this.#fromPage(size, banned) : this.#whole(size);
    this.live += block.bytes;
    if (this.live > this.peak) this.peak = this.live;
    return block.retain();
  }

  #whole(size: number): Block {
    const block = this.#free.get(size)?.pop();
    if (block !== undefined) {
      this.pooled -= size;
      return block;
    }
    return new Block(this, this.#make(size), 0, size, null);
  }

  #fromPage(slot: number, banned: ReadonlySet<GPUBuffer> | null): Block {
    let pages = this.#pages.get(slot);
    if (pages === undefined) this.#pages.set(slot, pages = []);
    // Pages with room stand at the end.
    for (let i = pages.length - 1; i >= 0; i--) {
      const page = pages[i];
      if (banned !== null && banned.has(page.buffer)) continue;
      const block = page.free.pop()!;
      if (page.free.length === 0) pages.splice(i, 1);
      return block;
    }
    const page = new Page(this.#make(slot * SLOTS_PER_PAGE), slot);
    for (let i = SLOTS_PER_PAGE - 1; i > 0; i--) page.free.push(new Block(this, page.buffer, i * slot, slot, page));
    pages.push(page);
    return new Block(this, page.buffer, 0, slot, page);
  }

  #make(bytes: number): GPUBuffer {
    this.total += bytes;
    return this.device.createBuffer({ size: bytes, usage: USAGE });
  }

  /** Called by blocks without owners. */
  takeBack(block: Block): void {
    this.live -= block.bytes;
    const { page } = block;
    if (page !== null) {
      if (page.free.push(block) === 1) this.#pages.get(page.slot)!.push(page);
      return;
    }
    const list = this.#free.get(block.bytes);
    if (list === undefined) this.#free.set(block.bytes, [block]);
    else list.push(block);
    this.pooled += block.bytes;
    if (this.pooled > Math.max(SPARE, this.live)) this.trim(Math.max(SPARE, this.live) / 2);
  }

  /** Destroys free buffers, largest first, until at most `keep` bytes of them are left. */
  trim(keep: number): void {
    for (const size of [...this.#free.keys()].sort((a, b) => b - a)) {
      const list = this.#free.get(size)!;
      while (list.length > 0 && this.pooled > keep) {
        list.shift()!.buffer.destroy();
        this.pooled -= size;
        this.total -= size;
      }
    }
  }
}

/** Free bytes which are kept in any case. */
const SPARE = 256 * 2 ** 20;

/** Rounds up to where a binding may begin. */
export function aligned(bytes: number): number {
  return Math.ceil(bytes / ALIGN) * ALIGN;
}
