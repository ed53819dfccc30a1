// TICKED: a schedule's tick was looked at. It carries the job, if it made one: so a tick makes at most one
// job, whatever happens in between.
import assert from 'node:assert/strict';
import type { Event, Moment } from '../shard/state-machine.ts';
import type { ByteReader, ByteWriter } from '../storage/bytes.ts';
import type { Rows } from '../storage/contract.ts';
import type { QueueCell } from './cell.ts';
import type { ScheduleState } from './schedule-spec.ts';

export const TICKED = 85;

export interface Ticked extends Event {
  readonly type: typeof TICKED;
  readonly queueNo: number;
  readonly name: string;
  readonly lastMs: number;
  /** The tick of the job; 0: no job. */
  readonly firedMs: number;
  readonly bufferedMs: number;
  readonly skipped: number;
  /** Head already patched; empty: no job. */
  readonly batch: Buffer;
}

export const isScheduleEvent = (e: Event): e is Ticked => e.type === TICKED;

export function encodeTicked(e: Ticked, w: ByteWriter): void {
  w.varint(e.queueNo);
  w.text(e.name);
  w.varint(e.lastMs);
  w.varint(e.firedMs);
  w.varint(e.bufferedMs);
  w.varint(e.skipped);
  w.bytes(e.batch);
}

export const decodeTicked = (r: ByteReader): Ticked => ({
  type: TICKED,
  queueNo: r.varint(),
  name: r.text(),
  lastMs: r.varint(),
  firedMs: r.varint(),
  bufferedMs: r.varint(),
  skipped: r.varint(),
  batch: r.bytes(),
});

export function evolveTicked(rows: Rows, cell: QueueCell, e: Ticked, at: Moment): void {
  const before = cell.schedules.get(e.name);
  assert(before !== undefined, 'a schedule that ticks is declared');
  const isJob = e.batch.length > 0;
  const next: ScheduleState = {
    ...before,
    lastMs: e.lastMs,
    bufferedMs: e.bufferedMs,
    skippedTotal: before.skippedTotal + e.skipped,
    ...(isJob ? { firedMs: e.firedMs, offset: cell.log.endOffset } : {}),
  };
  cell.schedules.set(e.name, next);
  rows.onRollback(() => cell.schedules.set(e.name, before));
  if (!isJob) return;
  cell.log.append(e.batch, 1, at.nowMs);
  rows.onRollback(() => cell.log.unappend());
  cell.state.enqueuedTotal++;
  cell.state.plain++;
}
