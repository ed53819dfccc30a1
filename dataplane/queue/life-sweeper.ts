// Takes away what is kept of jobs that their queue's log no longer has: by offset below the log's start, and
// all of a queue that was deleted.
//   W1. Rows are looked for with scans beside the shard's work, a page at a time; the tick that follows takes
//       them away by an event, so that recovery does the same.
//   W2. What a crash leaves behind goes with the next trim of the same queue.
import type { Moment, ViewContext } from '../shard/state-machine.ts';
import { after, u53be } from '../storage/keys.ts';
import type { QueueCell } from './cell.ts';
import * as life from './life-events.ts';
import { BY_OFFSET } from './life-tables.ts';
import type { EmitThen } from './upkeep.ts';

const PAGE = 500;

interface Range {
  readonly table: (typeof BY_OFFSET)[number];
  readonly queueNo: number;
  readonly from: string;
  readonly to: string;
}

export class LifeSweeper {
  readonly #context: ViewContext;
  readonly #ranges: Range[] = [];
  #found: life.Forgotten | null = null;
  #isScanning = false;

  constructor(context: ViewContext) {
    this.#context = context;
  }

  /** The log was trimmed, or the queue is gone. */
  note(cell: QueueCell, isGone: boolean): void {
    for (const table of BY_OFFSET) {
      const from = cell.life.prefix(table);
      const to = isGone ? after(from) : from + u53be(cell.log.startOffset);
      this.#ranges.push({ table, queueNo: cell.queueNo, from, to });
    }
  }

  run(_at: Moment, emit: EmitThen): void {
    const found = this.#found;
    this.#found = null;
    if (found !== null) emit(found);
    const range = this.#ranges[0];
    if (range !== undefined && !this.#isScanning) void this.#scan(range);
  }

  async #scan(range: Range): Promise<void> {
    this.#isScanning = true;
    try {
      const { table, queueNo, from, to } = range;
      const page = await this.#context.rows.scan(table, { from, to, limit: PAGE });
      if (page.length < PAGE) this.#ranges.shift();
      const keys = page.map(({ key }) => key);
      if (keys.length > 0) this.#found = { type: life.FORGOTTEN, queueNo, table: table.id, keys };
    } catch {
      // Damage is reported by whoever reads the rows on purpose; here it only means that they stay.
      this.#ranges.shift();
    }
    this.#isScanning = false;
    if (this.#found !== null || this.#ranges.length > 0) this.#context.wake();
  }
}
