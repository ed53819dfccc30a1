// Events of the queue view; their bytes in the journal are in event-bytes.ts. A type never changes its
// meaning (M3). What an event says is complete: evolve writes rows from it and reads none.

import type { Event } from '../shard/state-machine.ts';
import type { KeyEvent, Refilled } from './key-events.ts';
import type { Ticked } from './schedule-events.ts';
import type { DedupRow, JobMeta, Lane, ResolvedSpec } from './tables.ts';

export const DECLARED = 64;
export const DELETED = 65;
export const ENQUEUED = 66;
export const LEASED = 67;
export const ACKED = 68;
export const RETURNED = 69;
export const EXTENDED = 70;
export const BECAME_DUE = 71;
export const DEAD_LETTERED = 72;
export const REMOVED = 73;
export const PURGED = 74;
export const PAUSED = 75;
export const SESSION_RENEWED = 76;
export const DEDUP_EXPIRED = 77;
export const TRIMMED = 78;

interface OfQueue extends Event {
  readonly queueNo: number;
}

export interface Declared extends OfQueue {
  readonly type: typeof DECLARED;
  readonly tenant: number;
  readonly name: string;
  readonly spec: ResolvedSpec;
}

export interface Deleted extends OfQueue {
  readonly type: typeof DELETED;
}

/** Where an exception goes. */
export type Destination = 'ready' | 'delayed' | 'retrying' | 'blocked' | 'dying' | 'keyed' | 'awaiting';
export const DESTINATIONS: readonly Destination[] = [
  'ready',
  'delayed',
  'retrying',
  'blocked',
  'dying',
  'keyed',
  'awaiting',
];

export interface PlacedJob {
  readonly offset: number;
  readonly meta: JobMeta;
  readonly to: Destination;
}

/** Changes to lanes, complete: the new rows. */
export interface LaneChange {
  readonly key: string;
  readonly lane: Lane | null;
}

export interface Enqueued extends OfQueue {
  readonly type: typeof ENQUEUED;
  /** Head already patched with offset and time. */
  readonly batch: Buffer;
  readonly firstOffset: number;
  readonly count: number;
  /** Jobs that get a row, in order; all others are plain. */
  readonly placed: readonly PlacedJob[];
  readonly lanes: readonly LaneChange[];
  readonly nexts: readonly { offset: number; next: number }[];
  /** `replacesUntilMs`: the expiry of a forgotten row of the same key; 0: none. */
  readonly dedups: readonly ({ key: string; replacesUntilMs: number } & DedupRow)[];
}

/** Consecutive offsets with consecutive epochs. */
export interface Run {
  readonly offset: number;
  readonly count: number;
  readonly epoch: number;
}

export interface SingleLease {
  readonly offset: number;
  readonly epoch: number;
  readonly meta: JobMeta;
  /** Its index; otherwise the cursor passed it. */
  readonly from: (typeof SOURCES)[number];
}
export const SOURCES = ['cursor', 'ready', 'keyed'] as const;

export interface Leased extends OfQueue {
  readonly type: typeof LEASED;
  readonly sessionId: string;
  readonly worker: string;
  readonly deadlineMs: number;
  /** Where the cursor stands afterwards. */
  readonly cursor: number;
  readonly runs: readonly Run[];
  readonly singles: readonly SingleLease[];
}

/** What the end of a keyed job does to its lane. */
export interface Unblocked {
  readonly change: LaneChange;
  /** Offset whose NEXT row goes; -1: none. */
  readonly dropNext: number;
  readonly released: PlacedJob | null;
}

export interface Acked extends OfQueue {
  readonly type: typeof ACKED;
  readonly ranges: readonly Run[];
  readonly unblocked: readonly Unblocked[];
}

export type ReturnReason = 'nacked' | 'released' | 'timed_out';
export const REASONS: readonly ReturnReason[] = ['nacked', 'released', 'timed_out'];

export interface Returned extends OfQueue {
  readonly type: typeof RETURNED;
  readonly reason: ReturnReason;
  readonly jobs: readonly PlacedJob[];
}

export interface Extended extends OfQueue {
  readonly type: typeof EXTENDED;
  readonly offset: number;
  readonly epoch: number;
  readonly deadlineMs: number;
}

export interface BecameDue extends OfQueue {
  readonly type: typeof BECAME_DUE;
  readonly jobs: readonly { offset: number; meta: JobMeta; wasRetry: boolean; to: 'ready' | 'keyed' }[];
}

export interface DeadLettered extends OfQueue {
  readonly type: typeof DEAD_LETTERED;
  readonly offset: number;
  readonly generation: number;
  readonly deadQueueNo: number;
  readonly batch: Buffer;
  readonly unblocked: readonly Unblocked[];
}

/** Waiting jobs taken out of a queue (redrive). */
export interface Removed extends OfQueue {
  readonly type: typeof REMOVED;
  readonly cursor: number;
  readonly plain: number;
  readonly ready: readonly { offset: number; meta: JobMeta }[];
}

export interface Purged extends OfQueue {
  readonly type: typeof PURGED;
  readonly generation: number;
  readonly cursor: number;
}

export interface Paused extends OfQueue {
  readonly type: typeof PAUSED;
  readonly paused: boolean;
}

export interface SessionRenewed extends OfQueue {
  readonly type: typeof SESSION_RENEWED;
  readonly sessionId: string;
  readonly worker: string;
  readonly untilMs: number;
}

export interface DedupExpired extends Event {
  readonly type: typeof DEDUP_EXPIRED;
  readonly keys: readonly { queueNo: number; key: string; untilMs: number }[];
}

export interface Trimmed extends OfQueue {
  readonly type: typeof TRIMMED;
  readonly offset: number;
}

export type QueueEvent =
  | Declared
  | Deleted
  | Enqueued
  | Leased
  | Acked
  | Returned
  | Extended
  | BecameDue
  | DeadLettered
  | Removed
  | Purged
  | Paused
  | SessionRenewed
  | DedupExpired
  | Trimmed
  | KeyEvent
  | Ticked;
export type OfOneQueue = Exclude<QueueEvent, Declared | DedupExpired | Refilled>;
