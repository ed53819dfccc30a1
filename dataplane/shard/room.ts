// Whether a shard may take more data: a watermark for its disk, one for what is in memory because the disk is
// slower than those who write, and one for the memory of the process. Reads, acks and deletes never ask.
//   O1. What is not on its way to LevelDB or to a partition log yet is bounded: beyond it commands that add
//       data are refused with a time to come back, and it clears by itself.
//   O2. The same while the process is short of memory (memory-watch.ts).
import { FlowError } from '@flowmesh/protocol';
import type { Journal } from '../journal/journal.ts';
import type { LogStore } from '../storage/log-store.ts';
import type { RowStore } from '../storage/row-store.ts';
import type { MemoryWatch } from './memory-watch.ts';
import { diskFull } from './refusals.ts';

/** Several times what one checkpoint writes, and what a disk that stands still for a second is behind. */
const UNWRITTEN_BYTES_MAX = 128 * 1024 * 1024;
const RETRY_MS = 250;

export type Shortage = 'disk_full' | 'memory_full';

export class Room {
  readonly #journal: Journal;
  readonly #rows: RowStore;
  readonly #logs: LogStore;
  readonly #bytesMax: number;
  readonly #memory: MemoryWatch | undefined;

  constructor(
    parts: { journal: Journal; rows: RowStore; logs: LogStore; memory: MemoryWatch | undefined },
    bytesMax = UNWRITTEN_BYTES_MAX,
  ) {
    this.#journal = parts.journal;
    this.#rows = parts.rows;
    this.#logs = parts.logs;
    this.#memory = parts.memory;
    this.#bytesMax = bytesMax;
  }

  get shortage(): Shortage | null {
    if (this.#journal.state() === 'full') return 'disk_full';
    return this.#memory?.isShort || this.#isBehind ? 'memory_full' : null;
  }

  get #isBehind(): boolean {
    return this.#rows.dirtyBytes + this.#logs.unwrittenBytes > this.#bytesMax;
  }

  /** Throws what a command that adds data is refused with. */
  demand(): void {
    const shortage = this.shortage;
    if (shortage === 'disk_full') throw diskFull();
    if (shortage === null) return;
    throw new FlowError(
      'RESOURCE_EXHAUSTED',
      this.#isBehind
        ? 'the disk does not keep up: more data is taken once what waits in memory is written'
        : 'the memory of the process is short: more data is taken once some is free again',
      { retryAfterMs: RETRY_MS },
    );
  }
}
