// The batch that is being filled: encoded events, and who waits for it. Two of them take turns: while one is
// being made durable, the other fills. Owns no decisions.
import type { FlowError } from '@flowmesh/protocol';
import { ByteWriter } from '../storage/bytes.ts';

export type Done = (error: FlowError | null, reply: unknown) => void;

/** For callers that are not hot. */
export const promised = <R>(ask: (done: Done) => void): Promise<R> =>
  new Promise((resolve, reject) =>
    ask((error, reply) => (error === null ? resolve(reply as R) : reject(error))),
  );

/** How long a batch that nobody needs soon waits for one that somebody does. */
const PATIENCE_MS = 2;

export class Batch {
  /** Sequence of the journal entry that this batch will be. */
  seq = 0;
  /** Shard time of all its events; set by the first. */
  timeMs = 0;
  readonly writer = new ByteWriter(64 * 1024);
  /** Its time is what a read has shown: it is sealed even without events. */
  holdsTime = false;
  /** Somebody needs it soon; otherwise it may wait for company (Command.patient). */
  isUrgent = false;
  #dones: Done[] = [];
  #errors: (FlowError | null)[] = [];
  #replies: unknown[] = [];
  #thens: (() => void)[] = [];

  get isEmpty(): boolean {
    return this.writer.length === 0 && !this.holdsTime;
  }

  /** Shard time until which it may wait for company; Infinity: there is nothing to seal. */
  get mayWaitUntilMs(): number {
    if (this.isEmpty) return Number.POSITIVE_INFINITY;
    return this.isUrgent ? 0 : this.timeMs + PATIENCE_MS;
  }

  get hasWaiters(): boolean {
    return this.#dones.length > 0 || this.#thens.length > 0;
  }

  /** To be filled anew, as the entry `seq`. */
  reset(seq: number): void {
    this.writer.length = 0;
    this.holdsTime = false;
    this.isUrgent = false;
    this.seq = seq;
  }

  /** Parallel arrays, so that a waiting caller costs no object of its own. */
  wait(done: Done, error: FlowError | null, reply: unknown): void {
    this.#dones.push(done);
    this.#errors.push(error);
    this.#replies.push(reply);
  }

  afterDurable(run: () => void): void {
    this.#thens.push(run);
  }

  /** Answers everybody, in order. */
  complete(): void {
    const dones = this.#dones;
    const errors = this.#errors;
    const replies = this.#replies;
    const thens = this.#thens;
    this.#dones = [];
    this.#errors = [];
    this.#replies = [];
    this.#thens = [];
    for (let i = 0; i < dones.length; i++) dones[i]?.(errors[i] ?? null, replies[i]);
    for (let i = 0; i < thens.length; i++) thens[i]?.();
  }

  fail(error: FlowError): void {
    const dones = this.#dones;
    this.#dones = [];
    this.#errors = [];
    this.#replies = [];
    this.#thens = [];
    for (const done of dones) done(error, undefined);
  }
}
