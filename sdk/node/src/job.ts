// A job in a worker's hands. Small: id, payload, headers and signal are made when they are asked for.
//   J1. A job is settled at most once: by ack(), by its handler's end, by its timeout; or its lease is lost.
//   J2. Payload and headers are views on the delivered batch; nothing is copied until it is read.
import {
  type BatchHead,
  type DecodedRecord,
  decodeEntry,
  type EntrySpan,
  type Envelope,
  FlowError,
} from '@flowmesh/protocol';
import type { Call } from './calls.ts';
import { type Duration, durationMs } from './durations.ts';
import { type ChildJob, type ChildrenOptions, resultsOf } from './flows.ts';
import { decodeHeaders } from './headers.ts';
import type { JobCalls } from './job-reports.ts';
import type { LeaseSession } from './lease-sessions.ts';
import type { Origin } from './origin.ts';
import { BYTES_TYPE, decodeValue, JSON_TYPE, TEXT_TYPE, utf8 } from './values.ts';

/** What a handler is given. */
export interface Job<T = unknown> {
  /** `<shard>-<queue>-<offset>` in base 36. */
  readonly id: string;
  readonly queue: string;
  /** Decoded by its content type: JSON, string or bytes. Throws MALFORMED if it says JSON and is not. */
  readonly payload: T;
  readonly contentType: string;
  /** 1 for the first attempt. */
  readonly attempt: number;
  /**
   * Fencing token: larger for every later delivery. Hand it to what must refuse a handler that lost its
   * lease.
   */
  readonly leaseEpoch: number;
  /** Jobs with one key are handled in order. */
  readonly key: string | undefined;
  readonly headers: Readonly<Record<string, string>>;
  readonly envelope: Envelope | undefined;
  /** When it was enqueued, ms since the epoch. */
  readonly enqueuedAtMs: number;
  /**
   * Aborts when the lease is lost (reason: FlowError LEASE_LOST), the job is cancelled (CANCELLED), or the
   * attempt timed out
   * (DEADLINE_EXCEEDED).
   */
  readonly signal: AbortSignal;
  /**
   * Acks before the handler ends; resolves when that is durable. What the handler does after that is not
   * retried.
   * @throws FlowError LEASE_LOST if somebody else has the job or will get it
   */
  ack(): Promise<void>;
  /**
   * Sets the lease to end this long from now. Rarely needed: the SDK renews leases by itself.
   * @throws FlowError LEASE_LOST
   */
  extend(visibility: Duration): Promise<void>;
  /**
   * Says how far the job is: anything JSON, at most 4 KiB. Kept with the job; `admin.getJob` shows it.
   * @throws FlowError LEASE_LOST, VALUE_TOO_LARGE
   */
  progress(value: unknown): Promise<void>;
  /**
   * Notes lines of at most 4 KiB; the last 100 are kept with the job.
   * @throws FlowError LEASE_LOST, VALUE_TOO_LARGE, BATCH_TOO_LARGE
   */
  log(...lines: string[]): Promise<void>;
  /**
   * In a flow: its children, in their order, a page at a time: their states, results and errors.
   * @throws FlowError LEASE_LOST
   */
  children<R = unknown>(options?: ChildrenOptions): AsyncGenerator<ChildJob<R>, void, void>;
  /**
   * In a flow: what its completed children returned, by their names, or ids where they have none: at most
   * 1,000 results of 64 KiB.
   * @throws FlowError LEASE_LOST
   */
  childResults<R = unknown>(options?: ChildrenOptions): Promise<Record<string, R | undefined>>;
}

/** The worker, as its jobs see it. */
export interface JobHolder {
  readonly queue: string;
  readonly idPrefix: string;
  ack(job: HeldJob): Promise<void>;
  extend(job: HeldJob, visibilityMs: number): Promise<void>;
  readonly calls: JobCalls;
}

export type Phase = 'waiting' | 'running' | 'ended';
/** settling: it was sent or will be, the server has not confirmed it. */
export type Lease = 'held' | 'settling' | 'settled' | 'lost';

export class HeldJob<T = unknown> implements Job<T>, Origin {
  readonly offset: number;
  readonly leaseEpoch: number;
  readonly attempt: number;
  phase: Phase = 'waiting';
  /** In a flow: its parent wants to know what the handler returns. */
  isChild = false;
  lease: Lease = 'held';
  /** `performance.now()` */
  startedMs = 0;
  /** The session that holds its lease. */
  readonly session: LeaseSession;
  /** Of ack(). */
  ackCall: Call<void> | undefined;
  /** The worker. */
  readonly holder: JobHolder;
  readonly #bytes: Buffer;
  readonly #head: BatchHead;
  readonly #span: EntrySpan;
  #payload: unknown = UNREAD;
  #record: DecodedRecord | undefined;
  #abort: AbortController | undefined;
  #abortReason: FlowError | undefined;
  #ordinal = 0;

  constructor(
    holder: JobHolder,
    delivered: { bytes: Buffer; head: BatchHead; span: EntrySpan; session: LeaseSession },
    offset: number,
    leaseEpoch: number,
    attempt: number,
  ) {
    this.holder = holder;
    this.#bytes = delivered.bytes;
    this.#head = delivered.head;
    this.#span = delivered.span;
    this.session = delivered.session;
    this.offset = offset;
    this.leaseEpoch = leaseEpoch;
    this.attempt = attempt;
  }

  get id(): string {
    return this.holder.idPrefix + this.offset.toString(36);
  }

  get queue(): string {
    return this.holder.queue;
  }

  get payload(): T {
    if (this.#payload === UNREAD) {
      const { bodyAt, bodyLength } = this.#span;
      this.#payload = decodeValue(this.#bytes.subarray(bodyAt, bodyAt + bodyLength), this.contentType);
    }
    return this.#payload as T;
  }

  get contentType(): string {
    return this.#span.extLength === 0
      ? (CONTENT_TYPES[this.#head.contentTypeCode] ?? BYTES_TYPE)
      : this.#decoded().contentType;
  }

  get key(): string | undefined {
    const key = this.#decoded().key;
    return key === undefined ? undefined : utf8(key);
  }

  get headers(): Readonly<Record<string, string>> {
    return decodeHeaders(this.#decoded().headers);
  }

  get envelope(): Envelope | undefined {
    return this.#span.extLength === 0 ? undefined : this.#decoded().envelope;
  }

  get enqueuedAtMs(): number {
    return this.#head.appendTimeMs;
  }

  /** How long this attempt may run, if the job says so itself. */
  get timeoutMs(): number | undefined {
    return this.#span.extLength === 0 ? undefined : this.#decoded().timeoutMs;
  }

  get signal(): AbortSignal {
    if (this.#abort === undefined) {
      this.#abort = new AbortController();
      if (this.#abortReason !== undefined) this.#abort.abort(this.#abortReason);
    }
    return this.#abort.signal;
  }

  get deliveryId(): string {
    return `${this.id}@${this.leaseEpoch}`;
  }

  get ordinal(): number {
    return this.#ordinal;
  }

  nextOrdinal(): number {
    return ++this.#ordinal;
  }

  ack(): Promise<void> {
    return this.holder.ack(this);
  }

  async extend(visibility: Duration): Promise<void> {
    return this.holder.extend(this, durationMs(visibility, 'visibility'));
  }

  async progress(value: unknown): Promise<void> {
    return this.holder.calls.report(this, { progress: JSON.stringify(value) ?? 'null' });
  }

  async log(...lines: string[]): Promise<void> {
    return this.holder.calls.report(this, { log: lines });
  }

  children<R>(options?: ChildrenOptions): AsyncGenerator<ChildJob<R>, void, void> {
    return this.holder.calls.children<R>(this, options);
  }

  async childResults<R>(options?: ChildrenOptions): Promise<Record<string, R | undefined>> {
    return resultsOf(this.children<R>(options));
  }

  /** Tells the handler to stop. */
  abort(reason: FlowError): void {
    this.#abortReason ??= reason;
    this.#abort?.abort(reason);
  }

  leaseLost(code = ''): FlowError {
    if (code === 'CANCELLED') return new FlowError('CANCELLED', `job ${this.id} was cancelled`);
    return new FlowError('LEASE_LOST', `the lease ${this.leaseEpoch} on job ${this.id} is no longer held`);
  }

  #decoded(): DecodedRecord {
    this.#record ??= decodeEntry(this.#bytes, this.#head, this.#span, this.offset);
    return this.#record;
  }
}

const UNREAD = Symbol('unread');

/** By the code in a batch's head. */
const CONTENT_TYPES = [BYTES_TYPE, JSON_TYPE, TEXT_TYPE];
