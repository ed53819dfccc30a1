// Finds the children that a purge of their queue took, for their parents to know.
//   O1. Links are looked through a page at a time beside the shard's work; the tick that follows judges
//       each of them anew: one that is leased, or came back since, was not purged.
//   O2. How far it came is part of the queue's state, so that a restart goes on from there.
import type { Moment, ViewContext } from '../shard/state-machine.ts';
import type { Row, RowRef } from '../storage/contract.ts';
import { DEFAULT_TENANT } from '../storage/keys.ts';
import type { QueueCell } from './cell.ts';
import * as fe from './flow-events.ts';
import { flowKey, LINK, type LinkRow, placeIn } from './flow-tables.ts';
import { JOB } from './tables.ts';
import type { EmitThen } from './upkeep.ts';

const PAGE = 500;
const RETRY_MS = 1000;

interface Found {
  readonly links: readonly Row<LinkRow>[];
  readonly below: number;
  readonly from: number;
}

export class Orphans {
  readonly #context: ViewContext;
  #hasFailed = false;
  #notBeforeMs = 0;
  readonly #cells = new Map<QueueCell, Found | 'unread' | 'reading'>();

  constructor(context: ViewContext) {
    this.#context = context;
  }

  get isAtWork(): boolean {
    return this.#cells.size > 0;
  }

  wakeAtMs(): number {
    return this.#hasFailed || this.#notBeforeMs > 0 ? this.#notBeforeMs : Number.POSITIVE_INFINITY;
  }

  /** It may have been purged, now or before a restart. */
  note(cell: QueueCell): void {
    if (cell.state.orphansBelow > 0 && !this.#cells.has(cell)) this.#cells.set(cell, 'unread');
  }

  forget(cell: QueueCell): void {
    this.#cells.delete(cell);
  }

  run(at: Moment, emit: EmitThen): void {
    if (this.#hasFailed) this.#notBeforeMs = at.nowMs + RETRY_MS;
    this.#hasFailed = false;
    if (at.nowMs < this.#notBeforeMs) return;
    this.#notBeforeMs = 0;
    for (const [cell, found] of this.#cells) {
      if (found === 'reading') continue;
      if (found !== 'unread') this.#judge(cell, found, emit);
      if (cell.state.orphansBelow === 0) this.#cells.delete(cell);
      else if (this.#cells.get(cell) === 'unread') void this.#scan(cell);
    }
  }

  async #scan(cell: QueueCell): Promise<void> {
    const { rows } = this.#context;
    const { orphansFrom: from, orphansBelow: below } = cell.state;
    this.#cells.set(cell, 'reading');
    let found: Found | 'unread' = 'unread';
    try {
      const keyAt = (offset: number) => flowKey(DEFAULT_TENANT, LINK, cell.queueNo, offset);
      const links = await rows.scan(LINK, { from: keyAt(from), to: keyAt(below), limit: PAGE });
      await rows.fetch(links.flatMap(({ key }) => reads(cell, key)));
      found = { links, from, below };
    } catch {
      // Damage is reported by whoever reads the rows on purpose; here it is tried again, after a while.
      this.#hasFailed = true;
    }
    if (!this.#cells.has(cell)) return;
    this.#cells.set(cell, found);
    this.#context.wake();
  }

  #judge(cell: QueueCell, { links, from, below }: Found, emit: EmitThen): void {
    const { rows } = this.#context;
    this.#cells.set(cell, 'unread');
    const isStale = cell.state.orphansFrom !== from || cell.state.orphansBelow !== below;
    if (isStale || links.some(({ key }) => reads(cell, key).some((ref) => !rows.isResident(ref)))) return;
    const children = links.flatMap(({ key }) => {
      const { offset } = placeIn(key);
      const link = rows.get(LINK, key);
      const isThere = cell.leases.has(offset) || rows.get(JOB, cell.keys.jobKey(offset)) !== undefined;
      if (link === undefined || link.hasEnded || isThere) return [];
      return [{ offset, parent: { queueNo: link.queueNo, offset: link.offset, no: link.no } }];
    });
    const last = links.at(-1);
    const isDone = links.length < PAGE;
    const next = last === undefined ? below : placeIn(last.key).offset + 1;
    emit({ type: fe.ORPHANED, queueNo: cell.queueNo, children, from: next, isDone } as fe.Orphaned);
  }
}

const reads = (cell: QueueCell, key: string): RowRef[] => [
  { table: LINK, key },
  { table: JOB, key: cell.keys.jobKey(placeIn(key).offset) },
];
