// What became of a job's earlier attempts. Owns the ATTEMPT rows, and the form in which a dead job carries
// its attempts and lives with it (the `life` extension of a record batch, JSON).
//   A1. A job has at most ATTEMPTS_MAX rows: attempt n takes slot n % ATTEMPTS_MAX, so evolve writes blindly.
//   A2. `life` is at most LIFE_BYTES_MAX: the oldest attempts give way.
//   A3. `life` may come from anybody who can enqueue: what does not read as one counts as none.
import type { Moment } from '../shard/state-machine.ts';
import type { RowRef, Rows } from '../storage/contract.ts';
import type { Grant, QueueCell } from './cell.ts';
import type { PlacedJob, ReturnReason } from './events.ts';
import { ATTEMPT, type Attempt } from './life-tables.ts';

export const ATTEMPTS_MAX = 16;
const ERROR_CHARS_MAX = 1024;
const LIFE_BYTES_MAX = 24 * 1024;

export interface Life {
  /** How often the job came back from a dead-letter queue. */
  readonly redrives: number;
  /** When it was enqueued for the first time, 0: not known. */
  readonly enqueuedAtMs: number;
  /** Its first id; empty: it has had one life only. */
  readonly firstId: string;
  readonly attempts: readonly Attempt[];
}

export const NO_LIFE: Life = { redrives: 0, enqueuedAtMs: 0, firstId: '', attempts: [] };

/** evolve: the lease of `job`, held by `grant`, ended without an ack. */
export function recordAttempt(
  rows: Rows,
  cell: QueueCell,
  { job: { offset, meta }, grant, reason }: { job: PlacedJob; grant: Grant; reason: ReturnReason },
  at: Moment,
): void {
  if (reason === 'released') return;
  const number = meta.failed + meta.timedOut;
  rows.put(ATTEMPT, cell.life.attemptKey(offset, number % ATTEMPTS_MAX), {
    number,
    atMs: at.nowMs,
    durationMs: Math.max(0, at.nowMs - grant.leasedAtMs),
    kind: reason === 'timed_out' ? 'timed_out' : 'failed',
    worker: grant.worker,
    build: cell.sessions.get(grant.sessionId)?.build ?? '',
    error: meta.lastError.slice(0, ERROR_CHARS_MAX),
  });
}

/**
 * Rows of the attempts that ended without an ack; `count` of them are known of. So what failed just now is in
 * memory, and a job that dies moves in the same entry.
 */
export function attemptReads(cell: QueueCell, offset: number, count = ATTEMPTS_MAX): RowRef[] {
  const refs: RowRef[] = [];
  for (let number = 1; number <= Math.min(count, ATTEMPTS_MAX); number++)
    refs.push({ table: ATTEMPT, key: cell.life.attemptKey(offset, number % ATTEMPTS_MAX) });
  return refs;
}

/** Oldest first. The rows must be resident. */
export function attemptsOf(rows: Rows, cell: QueueCell, offset: number, count = ATTEMPTS_MAX): Attempt[] {
  const found = attemptReads(cell, offset, count).flatMap(({ key }) => rows.get(ATTEMPT, key) ?? []);
  return found.sort((a, b) => a.number - b.number);
}

export function encodeLife(life: Life): Buffer {
  for (let from = Math.max(0, life.attempts.length - ATTEMPTS_MAX); ; from++) {
    const bytes = Buffer.from(JSON.stringify({ ...life, attempts: life.attempts.slice(from) }));
    if (bytes.length <= LIFE_BYTES_MAX || from >= life.attempts.length) return bytes;
  }
}

export function decodeLife(bytes: Uint8Array | undefined): Life {
  if (bytes === undefined) return NO_LIFE;
  try {
    const { redrives, enqueuedAtMs, firstId, attempts } = JSON.parse(Buffer.from(bytes).toString()) as Life;
    return {
      redrives: numberOf(redrives),
      enqueuedAtMs: numberOf(enqueuedAtMs),
      firstId: textOf(firstId),
      attempts: attempts.slice(-ATTEMPTS_MAX).map((a) => ({
        number: numberOf(a.number),
        atMs: numberOf(a.atMs),
        durationMs: numberOf(a.durationMs),
        kind: a.kind === 'timed_out' ? 'timed_out' : 'failed',
        worker: textOf(a.worker),
        build: textOf(a.build),
        error: textOf(a.error),
      })),
    };
  } catch {
    return NO_LIFE; // A3
  }
}

const numberOf = (value: unknown): number =>
  typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : 0;
const textOf = (value: unknown): string => (typeof value === 'string' ? value.slice(0, ERROR_CHARS_MAX) : '');
