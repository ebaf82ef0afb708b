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
  /** Whether the pool knows that it has room. */
  listed = true;
  constructor(readonly buffer: GPUBuffer, readonly slot: number) {}
}

/** A piece of device memory with owners counted; its number names this piece for good. */
export class Block {
  readonly id = ids++;
  owners = 0;
  /** Whether it stands in a list of free blocks; it may have been claimed since. */
  listed = false;
  /** Its buffer is destroyed. */
  gone = false;
  constructor(
    readonly pool: BufferPool,
    readonly buffer: GPUBuffer,
    readonly offset: number,
    readonly bytes: number,
    readonly page: Page | null,
  ) {}

  /** Whether a run may have it. */
  get isFree(): boolean {
    return this.owners === 0 && !this.gone;
  }

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

/** The size class of a request: multiples of 256 bytes, eight classes to each doubling. */
export function classOf(bytes: number): number {
  for (const slot of SLOTS) if (bytes <= slot) return slot;
  const step = 2 ** Math.max(8, Math.floor(Math.log2(bytes - 1)) - 3);
  return Math.ceil(bytes / step) * step;
}

/** Whether a value of so many bytes has a buffer to itself. */
export function inOwnBuffer(bytes: number): boolean {
  return bytes > SLOTS[SLOTS.length - 1];
}

/** Buffers of one device. Work is in order on its queue, so freed memory can be written by the next run. */
export class BufferPool {
  /** Bytes in blocks that have owners. */
  live = 0;
  /** Most bytes that were live, with the intermediates of a run, since it was last set. */
  peak = 0;
  /** Bytes in free blocks of their own buffers. */
  pooled = 0;
  /** Bytes of all buffers made and not destroyed. */
  total = 0;

  #isTight = false;
  readonly #free = new Map<number, Block[]>();
  readonly #pages = new Map<number, Page[]>();

  constructor(readonly device: GPUDevice, readonly largest: number) {}

  /** A block of at least `bytes`, not in a buffer of `banned` (one buffer cannot be read and written at once). */
  acquire(bytes: number, banned: ReadonlySet<GPUBuffer> | null = null): Block {
    const size = Math.min(classOf(bytes), Math.max(this.largest, bytes));
    return this.#use(size <= SLOTS[SLOTS.length - 1] ? this.#fromPage(size, banned) : this.#whole(size));
  }

  /** Takes this very block, which must be free. */
  claim(block: Block): Block {
    if (block.page === null) this.pooled -= block.bytes;
    return this.#use(block);
  }

  #use(block: Block): Block {
    this.live += block.bytes;
    if (this.live > this.peak) this.peak = this.live;
    return block.retain();
  }

  #whole(size: number): Block {
    const block = nextFree(this.#free.get(size));
    if (block !== undefined) {
      this.pooled -= size;
      return block;
    }
    return new Block(this, this.#make(size), 0, size, null);
  }

  #fromPage(slot: number, banned: ReadonlySet<GPUBuffer> | null): Block {
    let pages = this.#pages.get(slot);
    if (pages === undefined) this.#pages.set(slot, pages = []);
    for (let i = pages.length - 1; i >= 0; i--) {
      const page = pages[i];
      if (banned !== null && banned.has(page.buffer)) continue;
      const block = nextFree(page.free);
      if (page.free.length === 0) {
        page.listed = false;
        pages.splice(i, 1);
      }
      if (block !== undefined) return block;
    }
    const page = new Page(this.#make(slot * SLOTS_PER_PAGE), slot);
    for (let i = SLOTS_PER_PAGE - 1; i > 0; i--) {
      const block = new Block(this, page.buffer, i * slot, slot, page);
      block.listed = true;
      page.free.push(block);
    }
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
    if (page === null) this.pooled += block.bytes;
    if (!block.listed) {
      block.listed = true;
      if (page !== null) page.free.push(block);
      else {
        const list = this.#free.get(block.bytes);
        if (list === undefined) this.#free.set(block.bytes, [block]);
        else list.push(block);
      }
    }
    if (page !== null && !page.listed) {
      page.listed = true;
      this.#pages.get(page.slot)!.push(page);
    }
    const most = this.#isTight ? this.live / 8 : Math.max(SPARE, this.live);
    if (this.pooled > most) this.trim(most / 2);
  }

  /** Lets go of all free buffers, and keeps few from now on: the device had no more memory. */
  tighten(): void {
    this.#isTight = true;
    this.trim(0);
  }

  /** Destroys free buffers, largest first, until at most `keep` bytes of them are left. */
  trim(keep: number): void {
    for (const size of [...this.#free.keys()].sort((a, b) => b - a)) {
      const list = this.#free.get(size)!;
      let block: Block | undefined;
      while (this.pooled > keep && (block = nextFree(list)) !== undefined) {
        block.gone = true;
        block.buffer.destroy();
        this.pooled -= size;
        this.total -= size;
      }
    }
  }
}

/** Takes the last block of a list that is still free. */
function nextFree(list: Block[] | undefined): Block | undefined {
  let block: Block | undefined;
  while ((block = list?.pop()) !== undefined) {
    block.listed = false;
    if (block.isFree) return block;
  }
  return undefined;
}

/** Free bytes which are kept in any case. */
const SPARE = 256 * 2 ** 20;

/** Rounds up to where a binding may begin. */
export function aligned(bytes: number): number {
  return Math.ceil(bytes / ALIGN) * ALIGN;
}
