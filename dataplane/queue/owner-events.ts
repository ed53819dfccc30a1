// OWNED: who declares a queue from now on, at which generation. Behind DECLARED where both happen, so that a
// declaration in the name of the owner is told from one by somebody else.
//   W1. `changedAt` is the position of the last event that changed what people see of a queue but its jobs.
import { type Ownership, readOwnership, writeOwnership } from '../admin/ownership.ts';
import type { Event, Moment } from '../shard/state-machine.ts';
import type { ByteReader, ByteWriter } from '../storage/bytes.ts';
import type { QueueCell } from './cell.ts';
import { DECLARED, DELETED, PAUSED } from './events.ts';
import type { QueueState } from './evolve.ts';
import { DRAINING } from './life-events.ts';

export const OWNED = 104;

export interface Owned extends Event {
  readonly type: typeof OWNED;
  readonly queueNo: number;
  /** Null: nobody. */
  readonly ownership: Ownership | null;
}

export const isOwned = (event: Event): event is Owned => event.type === OWNED;

export function encodeOwned({ queueNo, ownership }: Owned, w: ByteWriter): void {
  w.varint(queueNo);
  writeOwnership(ownership, w);
}

export const decodeOwned = (r: ByteReader): Owned => ({
  type: OWNED,
  queueNo: r.varint(),
  ownership: readOwnership(r),
});

export function evolveOwned(state: QueueState, { queueNo, ownership }: Owned): void {
  const cell = state.byNumber.get(queueNo);
  if (cell !== undefined) setOwnership(state, cell, ownership);
}

function setOwnership(state: QueueState, cell: QueueCell, ownership: Ownership | null): void {
  const before = cell.ownership;
  cell.ownership = ownership;
  cell.isDirty = true;
  state.context.rows.onRollback(() => {
    cell.ownership = before;
  });
}

const CHANGES = new Set<number>([DECLARED, DELETED, PAUSED, DRAINING, OWNED]);

/** After an event has been evolved. `cell`: of its queue; of one that it deleted, too. */
export function noteChange(state: QueueState, cell: QueueCell, { type }: Event, at: Moment): void {
  if (!CHANGES.has(type)) return;
  const isNew = type === DECLARED && cell.bornAt === at.position && cell.changedAt === 0;
  if (type === DECLARED && !isNew && cell.ownership !== null)
    setOwnership(state, cell, { ...cell.ownership, isDrifted: true });
  if (type === DELETED) state.deletedAt = at.position;
  cell.changedAt = at.position;
  cell.isDirty = true;
  const change = isNew ? 'declared' : type === DELETED ? 'deleted' : 'changed';
  state.onChange(change, cell.tenant, cell.name, at.position);
}
