// Rows of a job's life that nobody needs to hand it out: attempts. Keyed by queue and offset, whatever the
// generation, so that they go with the log's retention (life-sweeper.ts).
import type { Table } from '../storage/contract.ts';
import { u32be, u53be } from '../storage/keys.ts';
import { CHILD, FLOW, LINK } from './flow-tables.ts';
import { tablePrefix } from './tables.ts';

/** An attempt that ended without an ack. */
export interface Attempt {
  /** Counts failed and timed-out attempts, from 1. */
  readonly number: number;
  readonly atMs: number;
  /** From the lease to its end. */
  readonly durationMs: number;
  readonly kind: 'failed' | 'timed_out';
  readonly worker: string;
  readonly build: string;
  readonly error: string;
}

export const ATTEMPT: Table<Attempt> = {
  id: 66,
  name: 'attempt',
  encode(v, w) {
    w.varint(v.number);
    w.varint(v.atMs);
    w.varint(v.durationMs);
    w.u8(v.kind === 'failed' ? 0 : 1);
    w.text(v.worker);
    w.text(v.build);
    w.text(v.error);
  },
  decode: (r) => ({
    number: r.varint(),
    atMs: r.varint(),
    durationMs: r.varint(),
    kind: r.u8() === 0 ? 'failed' : 'timed_out',
    worker: r.text(),
    build: r.text(),
    error: r.text(),
  }),
};

/** How a job ended, unless it was acked, purged or redriven. */
export interface Outcome {
  readonly kind: 'dead' | 'cancelled';
  readonly atMs: number;
  /** Dead: the queue it went to and its id there, with a space between; cancelled: why. */
  readonly note: string;
}

const OUTCOMES = ['dead', 'cancelled'] as const;

export const OUTCOME: Table<Outcome> = {
  id: 67,
  name: 'outcome',
  encode(v, w) {
    w.u8(OUTCOMES.indexOf(v.kind));
    w.varint(v.atMs);
    w.text(v.note);
  },
  decode: (r) => ({ kind: OUTCOMES[r.u8()] ?? 'dead', atMs: r.varint(), note: r.text() }),
};

/** What the handlers of a job said while they worked on it. */
export interface Report {
  /** Lines ever written; the last ones are kept. */
  readonly lines: number;
  /** JSON; empty: none. */
  readonly progress: string;
  readonly progressAtMs: number;
}

export const REPORT: Table<Report> = {
  id: 68,
  name: 'report',
  encode(v, w) {
    w.varint(v.lines);
    w.text(v.progress);
    w.varint(v.progressAtMs);
  },
  decode: (r) => ({ lines: r.varint(), progress: r.text(), progressAtMs: r.varint() }),
};

export interface LogLine {
  readonly number: number;
  readonly atMs: number;
  readonly text: string;
}

export const LOG_LINE: Table<LogLine> = {
  id: 69,
  name: 'job-log',
  encode(v, w) {
    w.varint(v.number);
    w.varint(v.atMs);
    w.text(v.text);
  },
  decode: (r) => ({ number: r.varint(), atMs: r.varint(), text: r.text() }),
};

/** What the handler returned. */
export interface JobResult {
  readonly atMs: number;
  readonly contentType: string;
  readonly value: Buffer;
}

export const RESULT: Table<JobResult> = {
  id: 70,
  name: 'result',
  encode(v, w) {
    w.varint(v.atMs);
    w.text(v.contentType);
    w.bytes(v.value);
  },
  decode: (r) => ({ atMs: r.varint(), contentType: r.text(), value: Buffer.from(r.bytes()) }),
};

/** Tables whose keys are queue, offset, and maybe more: they go when the log no longer has the offset. */
export const BY_OFFSET: readonly Table<unknown>[] = [
  ...[ATTEMPT, OUTCOME, REPORT, LOG_LINE, RESULT],
  ...[FLOW, CHILD, LINK],
];

/** Key prefixes of one queue. */
export class LifeKeys {
  readonly #tenant: number;
  readonly #queue: string;
  readonly #attempt: string;

  constructor(tenant: number, queueNo: number) {
    this.#tenant = tenant;
    this.#queue = u32be(queueNo);
    this.#attempt = this.prefix(ATTEMPT);
  }

  prefix(table: Table<unknown>): string {
    return tablePrefix(this.#tenant, table) + this.#queue;
  }

  /** Of OUTCOME, REPORT and RESULT. */
  key = (table: Table<unknown>, offset: number): string => this.prefix(table) + u53be(offset);
  lineKey = (offset: number, slot: number): string => this.key(LOG_LINE, offset) + String.fromCharCode(slot);
  attemptKey = (offset: number, slot: number): string =>
    this.#attempt + u53be(offset) + String.fromCharCode(slot);
}
