// The content of one simulated file: what is read, and what a power loss leaves of it.
//   I1. A sync makes durable what was written before it began, sector by sector.
//   I2. After a failed sync the sectors count as clean: they can be read, but no later sync saves them.

export const SECTOR_BYTES = 512;

interface Syncing {
  finish(): void;
  /** I2 */
  fail(): void;
  /** Who asked for it is gone: the pages are still dirty. */
  abandon(): void;
  persist(): void;
}

export class Inode {
  live: Buffer = Buffer.alloc(0);
  #liveBytes = 0;
  #durable: Buffer = Buffer.alloc(0);
  #dirty = new Set<number>();
  /** Length that a sync has yet to make durable. */
  #isLengthDirty = false;
  #durableBytes = 0;
  /** In the order they began. */
  #syncing: Syncing[] = [];

  get size(): number {
    return this.#liveBytes;
  }

  read(into: Uint8Array, position: number): number {
    const end = Math.min(this.#liveBytes, position + into.length);
    if (end <= position) return 0;
    into.set(this.live.subarray(position, end), 0);
    return end - position;
  }

  write(bytes: Uint8Array, position: number): void {
    const end = position + bytes.length;
    this.live = withRoom(this.live, end);
    // A gap reads as zeros.
    if (position > this.#liveBytes) this.live.fill(0, this.#liveBytes, position);
    this.live.set(bytes, position);
    const from = Math.min(position, this.#liveBytes);
    this.#mark(from, end);
    if (end > this.#liveBytes) this.#setLength(end);
  }

  truncate(bytes: number): void {
    if (bytes > this.#liveBytes) {
      this.write(Buffer.alloc(bytes - this.#liveBytes), this.#liveBytes);
      return;
    }
    this.#setLength(bytes);
    this.#mark(bytes - (bytes % SECTOR_BYTES), bytes);
  }

  #setLength(bytes: number): void {
    this.#liveBytes = bytes;
    this.#isLengthDirty = true;
  }

  #mark(from: number, to: number): void {
    for (let at = from - (from % SECTOR_BYTES); at < to; at += SECTOR_BYTES) this.#dirty.add(at);
  }

  /** A sync begins: it is about what was written before. */
  beginSync(): Syncing {
    const sectors = [...this.#dirty].map((at) => ({
      at,
      bytes: Buffer.from(this.live.subarray(at, Math.min(at + SECTOR_BYTES, this.#liveBytes))),
    }));
    const length = this.#isLengthDirty ? this.#liveBytes : undefined;
    this.#clean();
    const persist = () => {
      for (const { at, bytes } of sectors) this.#persist(at, bytes);
      if (length !== undefined) this.#durableBytes = length;
    };
    const syncing: Syncing = {
      finish: () => {
        // What another one has begun to write out before is waited for.
        const upTo = this.#syncing.indexOf(syncing);
        for (const each of this.#syncing.splice(0, upTo + 1)) each.persist();
      },
      fail: () => {
        const at = this.#syncing.indexOf(syncing);
        if (at !== -1) this.#syncing.splice(at, 1);
      },
      persist,
      abandon: () => {
        syncing.fail();
        for (const { at } of sectors) this.#dirty.add(at);
        if (length !== undefined) this.#isLengthDirty = true;
      },
    };
    this.#syncing.push(syncing);
    return syncing;
  }

  #clean(): void {
    this.#dirty = new Set();
    this.#isLengthDirty = false;
  }

  #persist(at: number, bytes: Uint8Array): void {
    this.#durable = withRoom(this.#durable, at + bytes.length);
    if (at > this.#durableBytes) this.#durable.fill(0, this.#durableBytes, at);
    this.#durable.set(bytes, at);
    this.#durableBytes = Math.max(this.#durableBytes, at + bytes.length);
  }

  /** The power went: of the dirty sectors those survive that `survives` chooses. */
  settle(survives: () => boolean): void {
    for (const at of this.#dirty) {
      if (!survives() || at >= this.#liveBytes) continue;
      this.#persist(at, this.live.subarray(at, Math.min(at + SECTOR_BYTES, this.#liveBytes)));
    }
    // A file is never cut below what a sync has put there, but a cut may have happened on disk, or not.
    if (this.#isLengthDirty && survives()) this.#durableBytes = this.#liveBytes;
    this.#durable = withRoom(this.#durable, this.#durableBytes);
    this.live = Buffer.from(this.#durable.subarray(0, this.#durableBytes));
    this.#liveBytes = this.#durableBytes;
    this.#clean();
    this.#syncing = [];
  }
}

function withRoom(bytes: Buffer, length: number): Buffer {
  if (bytes.length >= length) return bytes;
  const grown = Buffer.alloc(Math.max(length, bytes.length * 2, 1024));
  bytes.copy(grown);
  return grown;
}
