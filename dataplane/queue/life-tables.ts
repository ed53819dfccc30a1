// Rows of a job's life that nobody needs to hand it out: attempts. Keyed by queue and offset, whatever the
// generation, so that they go with the log's retention (life-sweeper.ts).
import type { Table } from '../storage/contract.ts';
import { u32be, u53be } from '../storage/keys.ts';
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

/** Tables whose keys are queue, offset, and maybe more: they go when the log no longer has the offset. */
export const BY_OFFSET: readonly Table<unknown>[] = [ATTEMPT];

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

  attemptKey = (offset: number, slot: number): string =>
    this.#attempt + u53be(offset) + String.fromCharCode(slot);
}
