// Which rows a command needs that are not in memory.
import type { RowRef, Rows } from '../storage/contract.ts';
import type { Pending } from './inbox.ts';
import type { Producers } from './producers.ts';
import type { ViewTable } from './view-table.ts';

/** Counts rows that are not resident, and collects them in `into`. */
export function countMissing(
  { rows, producers }: { readonly rows: Rows; readonly producers: Producers },
  views: ViewTable,
  { commands, mutation }: Pending,
  into: RowRef[] | null,
): number {
  let count = 0;
  const note = (ref: RowRef) => {
    if (rows.isResident(ref)) return;
    count++;
    into?.push(ref);
  };
  for (const command of commands) {
    for (const ref of views.of(command).reads(command)) note(ref);
  }
  const [first] = commands;
  if (first !== undefined && mutation?.seq === 0) note(producers.keyRef(first.caller, mutation));
  return count;
}
