// Which rows commands need that are not in memory, and their fetch.
import type { RowRef, Rows } from '../storage/contract.ts';
import { FETCH_ROWS_MAX } from './bounds.ts';
import type { Inbox, Pending } from './inbox.ts';
import type { Producers } from './producers.ts';
import type { ViewTable } from './view-table.ts';

export interface MissingParts {
  readonly rows: Rows;
  readonly producers: Producers;
}

export class Missing {
  readonly #p: MissingParts;
  readonly #views: ViewTable;

  constructor(parts: MissingParts, views: ViewTable) {
    this.#p = parts;
    this.#views = views;
  }

  /** Counts rows that are not resident, and collects them in `into`. */
  count({ commands, mutation }: Pending, into: RowRef[] | null = null): number {
    const { rows, producers } = this.#p;
    let count = 0;
    const note = (ref: RowRef) => {
      if (rows.isResident(ref)) return;
      count++;
      into?.push(ref);
    };
    for (const command of commands) {
      const refs = this.#views.of(command).reads(command);
      rows.expect?.(refs);
      for (const ref of refs) note(ref);
    }
    const [first] = commands;
    if (first !== undefined && mutation?.seq === 0) note(producers.keyRef(first.caller, mutation));
    return count;
  }

  /** Fetches what all waiting commands read, in one go. */
  fetch(inbox: Inbox): Promise<void> {
    const refs: RowRef[] = [];
    for (const pending of inbox.waiting()) {
      if (refs.length >= FETCH_ROWS_MAX) break;
      this.count(pending, refs);
    }
    return this.#p.rows.fetch(refs);
  }
}
