// Whether a shard may take more data: a watermark for its disk, and one for what is in memory because the
// disk is slower than those who write. Reads, acks and deletes never ask.
//   O1. What is not on its way to LevelDB or to a partition log yet is bounded: beyond it commands that add
//       data are refused with a time to come back, and it clears by itself.
import { FlowError } from '@flowmesh/protocol';
import type { Journal } from '../journal/journal.ts';
import type { LogStore } from '../storage/log-store.ts';
import type { RowStore } from '../storage/row-store.ts';
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

  constructor(journal: Journal, rows: RowStore, logs: LogStore, bytesMax = UNWRITTEN_BYTES_MAX) {
    this.#journal = journal;
    this.#rows = rows;
    this.#logs = logs;
    this.#bytesMax = bytesMax;
  }

  get shortage(): Shortage | null {
    if (this.#journal.state() === 'full') return 'disk_full';
    return this.#rows.dirtyBytes + this.#logs.unwrittenBytes > this.#bytesMax ? 'memory_full' : null;
  }

  /** Throws what a command that adds data is refused with. */
  demand(): void {
    const shortage = this.shortage;
    if (shortage === 'disk_full') throw diskFull();
    if (shortage === null) return;
    throw new FlowError(
      'RESOURCE_EXHAUSTED',
      'the disk does not keep up: more data is taken once what waits in memory is written',
      { retryAfterMs: RETRY_MS },
    );
  }
}
