// Blocks that could be read again from their files, within a bound for all logs together.
//   E1. Above the bound the log that holds more than its share (bound / logs) gives up its least recently
//       used block, so that a busy log does not push out the tails of quiet ones.
import type { Block, BlockOwner } from './log-block.ts';

interface Shelf {
  readonly owner: BlockOwner;
  /** Least recently used first. */
  readonly blocks: Set<Block>;
  bytes: number;
}

export class BlockCache {
  readonly #bytesMax: number;
  readonly #shelves = new Map<BlockOwner, Shelf>();
  #bytes = 0;
  /** A log that was above its share lately. */
  #largest: Shelf | undefined;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Capacity must not change while it is here. */
  add(block: Block): void {
    let shelf = this.#shelves.get(block.owner);
    if (shelf === undefined) {
      shelf = { owner: block.owner, blocks: new Set(), bytes: 0 };
      this.#shelves.set(block.owner, shelf);
    }
    shelf.blocks.add(block);
    shelf.bytes += block.capacity;
    this.#bytes += block.capacity;
    while (this.#bytes > this.#bytesMax) {
      const victim = this.#aboveShare(shelf);
      const [oldest] = victim.blocks;
      if (oldest === undefined || oldest === block) return;
      this.remove(oldest);
      victim.owner.evicted(oldest);
    }
  }

  remove(block: Block): void {
    const shelf = this.#shelves.get(block.owner);
    if (shelf?.blocks.delete(block) !== true) return;
    shelf.bytes -= block.capacity;
    this.#bytes -= block.capacity;
    if (shelf.blocks.size === 0) this.#shelves.delete(block.owner);
  }

  touch(block: Block): void {
    const blocks = this.#shelves.get(block.owner)?.blocks;
    if (blocks?.delete(block) === true) blocks.add(block);
  }

  /** There is one: together they hold more than all shares. */
  #aboveShare(adder: Shelf): Shelf {
    const share = this.#bytesMax / this.#shelves.size;
    if (adder.bytes > share && adder.blocks.size > 1) return adder;
    if (this.#largest !== undefined && this.#largest.bytes > share) return this.#largest;
    for (const shelf of this.#shelves.values()) {
      if (shelf.bytes <= share || shelf === adder) continue;
      this.#largest = shelf;
      return shelf;
    }
    return adder;
  }
}
