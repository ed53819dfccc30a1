// Decides acks, nacks, extensions and releases: only for the lease that is held under exactly the given
// epoch.
//   T1. A stale epoch changes nothing and is reported as lost, never silently accepted.
//   T2. When a keyed job ends, the next of its lane is let go in the same event.
import assert from 'node:assert/strict';
import { FlowError } from '@flowmesh/protocol';
import { COMMAND_BYTES_MAX } from '../shard/bounds.ts';
import type { Emit, Moment } from '../shard/state-machine.ts';
import type { RowRef, Rows } from '../storage/contract.ts';
import { type Grant, type QueueCell, VISIBILITY_MS_MAX } from './cell.ts';
import type { SettleCommand, SettleReply } from './commands.ts';
import * as ev from './events.ts';
import * as life from './life-events.ts';
import { readyPlace } from './limits.ts';
import { decideReturn, isDeadLetterName } from './policy.ts';
import { freshMeta, JOB, type JobMeta, LANE, metaBytes, NEXT } from './tables.ts';

/** A lease outlives a purge: from then on its job belongs to the new generation. */
export const heldMeta = (cell: QueueCell, { meta, leasedAtMs }: Grant): JobMeta =>
  meta !== null
    ? { ...meta, generation: cell.state.generation }
    : { ...freshMeta(cell.state.generation, leasedAtMs), acquired: 1 };

/** Where a job goes whose lease ends without an ack. */
export function returnedJob(
  cell: QueueCell,
  { offset, grant }: { offset: number; grant: Grant },
  why: { reason: ev.ReturnReason; error: string },
  at: Moment,
  random: () => number,
): ev.PlacedJob {
  const terms = { ...why, retryAfterMs: null, unrecoverable: false, neverDies: isDeadLetterName(cell.name) };
  return decideReturn(offset, heldMeta(cell, grant), terms, cell.spec, { nowMs: at.nowMs, random: random() });
}

/** Rows that the end of these jobs needs: lane, chain and successor of each keyed one. */
export function laneReads(
  rows: Rows & { isResident(ref: RowRef): boolean },
  cell: QueueCell,
  offsets: Iterable<number>,
  keyOf: (offset: number) => string,
): RowRef[] {
  const refs: RowRef[] = [];
  for (const offset of offsets) {
    const key = keyOf(offset);
    if (key === '') continue;
    const next: RowRef = { table: NEXT, key: cell.keys.nextKey(offset) };
    refs.push({ table: LANE, key: cell.keys.laneKey(key) }, next);
    const follower = rows.isResident(next) ? rows.get(NEXT, next.key) : undefined;
    if (follower !== undefined) refs.push({ table: JOB, key: cell.keys.jobKey(follower) });
  }
  return refs;
}

/** What ends with these keyed jobs; several of one lane cannot be leased at once. */
export function unblock(
  rows: Rows,
  cell: QueueCell,
  offset: number,
  meta: JobMeta,
  at: Moment,
): ev.Unblocked | null {
  if (meta.key === '' || meta.generation !== cell.state.generation) return null;
  const lane = rows.get(LANE, cell.keys.laneKey(meta.key));
  // Jobs of a dead-letter queue keep their key but were enqueued without a lane.
  if (lane === undefined || lane.head !== offset) return null;
  const next = rows.get(NEXT, cell.keys.nextKey(offset));
  if (next === undefined) return { change: { key: meta.key, lane: null }, dropNext: -1, released: null };
  const row = rows.get(JOB, cell.keys.jobKey(next));
  const waits = row?.meta ?? freshMeta(cell.state.generation, at.nowMs);
  const due = waits.readyAtMs > at.nowMs ? 'delayed' : readyPlace(cell.spec, waits);
  // A cancelled one only lets the next go, as a dead one does.
  const to = cell.tombs.has(next) ? 'dying' : due;
  return {
    change: { key: meta.key, lane: { head: next, tail: lane.tail } },
    dropNext: offset,
    released: { offset: next, to, meta: to === 'delayed' ? waits : { ...waits, readyAtMs: at.nowMs } },
  };
}

export function decideSettle(
  rows: Rows,
  cell: QueueCell,
  command: SettleCommand,
  at: Moment,
  random: () => number,
  emit: Emit,
): SettleReply {
  const lost: number[] = [];
  const ranges = heldRanges(cell, command, lost);
  const nacks = onceEach(command.nacks.filter((n) => isHeld(cell, n, lost)));
  const extensions = command.extends.filter((e) => isHeld(cell, e, lost));
  if (command.strict && lost.length > 0) {
    throw new FlowError('LEASE_LOST', `the lease of job ${lost[0]} in queue ${cell.name} is no longer held`);
  }
  const unblocked = unblockAll(rows, cell, ranges, at);
  const asked = command.results ?? NO_RESULTS;
  const acked = nacks.length + asked.length > 0 ? offsetsOf(ranges) : NO_OFFSETS;
  const results = asked.filter((r) => acked.has(r.offset) && cell.held(r.offset, r.epoch) !== undefined);
  const kept = nacks.filter(({ offset }) => !acked.has(offset));
  const [nacked = [], released = []] = [false, true].map((release) =>
    kept.filter((nack) => nack.release === release).map((nack) => nackedJob(cell, nack, at, random)),
  );
  // All of it is known before the first event, because nothing can be taken back afterwards.
  let bytes = ranges.length * 16 + extensions.length * 16;
  for (const { change, released: next } of unblocked)
    bytes += change.key.length + metaBytes(next?.meta ?? null);
  for (const jobs of [nacked, released]) for (const { meta } of jobs) bytes += metaBytes(meta);
  for (const { value } of results) bytes += 32 + value.length;
  if (bytes > COMMAND_BYTES_MAX) {
    const count = ranges.length + nacks.length + extensions.length;
    throw new FlowError('BATCH_TOO_LARGE', `${count} settlements take ${bytes} bytes: split them`);
  }
  if (ranges.length > 0) emit({ type: ev.ACKED, queueNo: cell.queueNo, ranges, unblocked } as ev.Acked);
  for (const { offset, contentType, value } of results)
    emit({ type: life.KEPT, queueNo: cell.queueNo, offset, contentType, value } as life.Kept);
  for (const [reason, jobs] of [
    ['nacked', nacked],
    ['released', released],
  ] as const) {
    if (jobs.length > 0) emit({ type: ev.RETURNED, queueNo: cell.queueNo, reason, jobs } as ev.Returned);
  }
  for (const { offset, epoch, visibilityMs } of extensions) {
    const grant = cell.held(offset, epoch);
    if (grant === undefined) continue;
    const deadlineMs = Math.min(at.nowMs + visibilityMs, grant.leasedAtMs + VISIBILITY_MS_MAX);
    emit({ type: ev.EXTENDED, queueNo: cell.queueNo, offset, epoch, deadlineMs } as ev.Extended);
  }
  return { lost, nowMs: at.nowMs };
}

function nackedJob(
  cell: QueueCell,
  nack: SettleCommand['nacks'][number],
  at: Moment,
  random: () => number,
): ev.PlacedJob {
  const grant = cell.held(nack.offset, nack.epoch);
  assert(grant !== undefined, 'only nacks of leases that are held are decided');
  const terms = {
    reason: nack.release ? 'released' : 'nacked',
    error: nack.error,
    retryAfterMs: nack.retryAfterMs,
    unrecoverable: nack.unrecoverable,
    neverDies: isDeadLetterName(cell.name),
  } as const;
  const when = { nowMs: at.nowMs, random: random() };
  return decideReturn(nack.offset, heldMeta(cell, grant), terms, cell.spec, when);
}

const NO_RESULTS: NonNullable<SettleCommand['results']> = [];
const NO_OFFSETS: ReadonlySet<number> = new Set();

function offsetsOf(ranges: readonly ev.Run[]): ReadonlySet<number> {
  const offsets = new Set<number>();
  for (const { offset, count } of ranges) for (let i = 0; i < count; i++) offsets.add(offset + i);
  return offsets;
}

/** A job named twice is settled once, by the first. */
function onceEach<J extends { offset: number }>(jobs: J[]): J[] {
  if (jobs.length < 2) return jobs;
  const seen = new Set<number>();
  return jobs.filter(({ offset }) => !seen.has(offset) && seen.add(offset));
}

function isHeld(cell: QueueCell, job: { offset: number; epoch: number }, lost: number[]): boolean {
  if (cell.held(job.offset, job.epoch) !== undefined) return true;
  lost.push(job.offset);
  return false;
}

/** The parts of the asked ranges that are held; the rest goes to `lost`. A job named twice counts once. */
function heldRanges(cell: QueueCell, { acks: asked, strict }: SettleCommand, lost: number[]): ev.Run[] {
  const ranges: ev.Run[] = [];
  const seen = asked.length > 1 ? new Set<number>() : null;
  for (const range of asked) {
    let from = -1;
    const end = range.offset + range.count;
    for (let offset = range.offset; offset <= end; offset++) {
      const epoch = range.epoch + offset - range.offset;
      let ok = offset < end && cell.held(offset, epoch) !== undefined;
      if (ok && seen !== null) {
        if (seen.has(offset)) ok = false;
        else seen.add(offset);
      }
      if (ok && from === -1) from = offset;
      if (!ok && from !== -1) {
        ranges.push({ offset: from, count: offset - from, epoch: range.epoch + from - range.offset });
        from = -1;
      }
      // In a transaction the ack is a condition: what was settled before must not carry its other effects
      // again.
      const isRepeat = seen?.has(offset) === true || (!strict && cell.recentAcks.get(offset) === epoch);
      if (!ok && offset < end && !isRepeat) lost.push(offset);
    }
  }
  return ranges;
}

function unblockAll(rows: Rows, cell: QueueCell, ranges: readonly ev.Run[], at: Moment): ev.Unblocked[] {
  const unblocked: ev.Unblocked[] = [];
  for (const range of ranges) {
    for (let offset = range.offset; offset < range.offset + range.count; offset++) {
      const meta = cell.leases.get(offset)?.meta;
      if (meta === undefined || meta === null || meta.key === '') continue;
      const change = unblock(rows, cell, offset, meta, at);
      if (change !== null) unblocked.push(change);
    }
  }
  return unblocked;
}
