// Decides what becomes of a worker's session: opened, renewed, ended, or dead.
//   S1. A renewal lasts as long as the worker said when it connected, else as long as the queue says.
//   S2. Of a session that nobody renewed, only as many jobs as it has handlers can have been started: those
//       delivered first, because handlers start in the order of delivery. The others are released, uncounted.
import type { Emit, Moment } from '../shard/state-machine.ts';
import type { Grant, QueueCell } from './cell.ts';
import type { RenewCommand } from './commands.ts';
import * as ev from './events.ts';
import * as life from './life-events.ts';
import { returnedJob } from './settle.ts';
import { metaBytes } from './tables.ts';

/** Of jobs given back by one event. */
const RELEASE_BYTES = 512 * 1024;

type Random = () => number;

export function decideRenew(
  cell: QueueCell,
  c: RenewCommand,
  at: Moment,
  random: Random,
  emit: Emit,
): { untilMs: number; more: boolean } {
  const { queueNo } = cell;
  const { sessionId, worker, held } = c;
  const known = cell.sessions.get(sessionId);
  const visibilityMs =
    c.visibilityMs || (held === null ? known?.visibilityMs : 0) || cell.spec.visibilityTimeoutMs;
  const untilMs = at.nowMs + visibilityMs;
  if (held === null) {
    emit({ type: ev.SESSION_RENEWED, queueNo, sessionId, worker, untilMs } as ev.SessionRenewed);
    return { untilMs, more: false };
  }
  const { build, concurrency } = c;
  const opened = { queueNo, sessionId, worker, build, untilMs, visibilityMs, concurrency };
  emit({ type: life.SESSION_OPENED, ...opened } as life.SessionOpened);
  return { untilMs, more: releaseUnknown(cell, sessionId, held, at, random, emit) };
}

/** Deliveries that never reached the worker would be renewed with its session for ever. */
function releaseUnknown(
  cell: QueueCell,
  sessionId: string,
  held: readonly ev.Run[],
  at: Moment,
  random: Random,
  emit: Emit,
): boolean {
  const epochs = new Set<number>();
  for (const { epoch, count } of held) for (let i = 0; i < count; i++) epochs.add(epoch + i);
  return releaseSession(cell, sessionId, (epoch) => epochs.has(epoch), at, random, emit).more;
}

/** Gives back what a session holds, as much as one event takes; `more`: ask again for the rest. */
export function releaseSession(
  cell: QueueCell,
  sessionId: string,
  isKept: (epoch: number) => boolean,
  at: Moment,
  random: Random,
  emit: Emit,
): { released: number; more: boolean } {
  const jobs: ev.PlacedJob[] = [];
  let bytes = 0;
  let more = false;
  for (const [offset, grant] of cell.leases) {
    if (grant.sessionId !== sessionId || sessionId === '') continue;
    if (isKept(grant.firstEpoch + offset - grant.firstOffset)) continue;
    bytes += metaBytes(grant.meta);
    more = bytes > RELEASE_BYTES;
    if (more) break;
    jobs.push(returnedJob(cell, { offset, grant }, { reason: 'released', error: '' }, at, random));
  }
  if (jobs.length > 0)
    emit({ type: ev.RETURNED, queueNo: cell.queueNo, reason: 'released', jobs } as ev.Returned);
  return { released: jobs.length, more };
}

/** Jobs of the session with this epoch or a later one cannot have been started (S2). */
function unstartedFrom(cell: QueueCell, sessionId: string): number {
  const session = cell.sessions.get(sessionId);
  const concurrency = session?.concurrency ?? 0;
  if (session === undefined || concurrency === 0) return Number.POSITIVE_INFINITY;
  if (session.unstartedFrom !== undefined) return session.unstartedFrom;
  const epochs: number[] = [];
  for (const [offset, grant] of cell.leases)
    if (grant.sessionId === sessionId) epochs.push(grant.firstEpoch + offset - grant.firstOffset);
  epochs.sort((a, b) => a - b);
  // Kept until the session is heard of again: the leases are returned grant by grant.
  session.unstartedFrom = epochs[concurrency] ?? Number.POSITIVE_INFINITY;
  return session.unstartedFrom;
}

const EXPIRED = { reason: 'timed_out', error: 'lease expired: no ack and no renewal' } as const;
const UNSTARTED = { reason: 'released', error: '' } as const;

/** What becomes of the leases of a grant that ended: the events, and the epochs that are lost. */
export function endedGrant(
  cell: QueueCell,
  grant: Grant,
  at: Moment,
  random: Random,
): { events: ev.Returned[]; offsets: number[]; epochs: number[] } {
  const from = grant.sessionId === '' ? Number.POSITIVE_INFINITY : unstartedFrom(cell, grant.sessionId);
  const timedOut: ev.PlacedJob[] = [];
  const released: ev.PlacedJob[] = [];
  const offsets: number[] = [];
  const epochs: number[] = [];
  for (let i = 0; i < grant.count; i++) {
    const offset = grant.firstOffset + i;
    if (cell.leases.get(offset) !== grant) continue;
    const epoch = grant.firstEpoch + i;
    offsets.push(offset);
    epochs.push(epoch);
    if (epoch < from) timedOut.push(returnedJob(cell, { offset, grant }, EXPIRED, at, random));
    else released.push(returnedJob(cell, { offset, grant }, UNSTARTED, at, random));
  }
  const events: ev.Returned[] = [];
  const { queueNo } = cell;
  if (timedOut.length > 0) events.push({ type: ev.RETURNED, queueNo, reason: 'timed_out', jobs: timedOut });
  if (released.length > 0) events.push({ type: ev.RETURNED, queueNo, reason: 'released', jobs: released });
  return { events, offsets, epochs };
}
