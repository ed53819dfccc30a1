// Offsets that a consumer has handled, on their way to the server.
//   M1. Only the newest offset of a partition matters; one commit is unanswered at a time, the next one
//       grows.
//   M2. A commit names the epoch of the assignment: a partition that has moved on refuses it.
//   M3. Sent DELAY_MS after the first handled event, or after EVENTS_MAX events, or at once when somebody
//       waits.
import { FlowError } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { Call } from './calls.ts';
import { fromWire } from './errors.ts';

const DELAY_MS = 100;
const EVENTS_MAX = 1000;

/** A partition while this member owns it. */
export class OwnedPartition {
  readonly partition: number;
  readonly epoch: number;
  /** The next offset to hand out. */
  position: number;
  /** Behind the last record that came. */
  received: number;
  /** The next offset to read for whoever comes after: everything below was handled. */
  handled: number;
  committed: number;
  isRevoking = false;
  /** It belongs to somebody else now, or was moved by a seek. */
  isGone = false;

  constructor({ partition, epoch, offset }: pb.AssignedPartition) {
    this.partition = partition;
    this.epoch = epoch;
    this.position = this.received = this.handled = this.committed = offset;
  }

  fenced(): FlowError {
    return new FlowError(
      'MEMBER_FENCED',
      `partition ${this.partition} is not assigned to this member any more (epoch ${this.epoch})`,
    );
  }
}

interface Waiting {
  readonly owned: OwnedPartition;
  readonly offset: number;
  readonly call: Call<void>;
}

export class Commits {
  readonly #send: (commit: pb.ConsumeCommitInput) => boolean;
  readonly #onRefused: (error: FlowError) => void;
  readonly #dirty = new Set<OwnedPartition>();
  #waiting: Waiting[] = [];
  #sent: { seq: number; items: { owned: OwnedPartition; offset: number }[] } | undefined;
  #seq = 0;
  #events = 0;
  #timer: NodeJS.Timeout | undefined;
  #idle: (() => void)[] = [];

  /**
   * `send` answers false when there is no stream at the moment. `onRefused`: something cannot be committed,
   * ever, and not because the partition has moved on.
   */
  constructor(send: (commit: pb.ConsumeCommitInput) => boolean, onRefused: (error: FlowError) => void) {
    this.#send = send;
    this.#onRefused = onRefused;
  }

  get isIdle(): boolean {
    return this.#sent === undefined && this.#dirty.size === 0;
  }

  /** Everything of the partition below `offset` was handled. */
  note(owned: OwnedPartition, offset: number): void {
    if (owned.isGone || offset <= owned.handled) return;
    owned.handled = offset;
    this.#dirty.add(owned);
    if (++this.#events >= EVENTS_MAX) this.flush();
    else this.#timer ??= setTimeout(() => this.flush(), DELAY_MS);
  }

  /** The same, and resolves when it is durable. */
  commit(owned: OwnedPartition, offset: number): Promise<void> {
    if (owned.isGone) return Promise.reject(owned.fenced());
    this.note(owned, offset);
    if (owned.committed >= offset) return Promise.resolve();
    const call = new Call<void>(Number.POSITIVE_INFINITY);
    this.#waiting.push({ owned, offset, call });
    this.flush();
    return call.promise;
  }

  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#sent !== undefined || this.#dirty.size === 0) return; // M1
    const items = [...this.#dirty].map((owned) => ({ owned, offset: owned.handled }));
    const offsets = items.map(({ owned: { partition, epoch }, offset }) => ({ partition, offset, epoch }));
    const seq = ++this.#seq;
    if (!this.#send({ seq, offsets })) return;
    this.#dirty.clear();
    this.#events = 0;
    this.#sent = { seq, items };
  }

  answered(reply: pb.ConsumeCommitted): void {
    const sent = this.#sent;
    if (sent === undefined || sent.seq !== reply.seq) return;
    this.#sent = undefined;
    sent.items.forEach(({ owned, offset }, i) => {
      const error = fromWire(reply.results[i] ?? null);
      if (error === undefined) owned.committed = Math.max(owned.committed, offset);
      else if (error.retry === 'never') {
        this.#drop(owned, error);
        // It has moved on, by a seek or to somebody else: nothing of it can be committed any more.
        if (error.code === 'MEMBER_FENCED') owned.isGone = true;
        else this.#onRefused(error);
      } else this.#dirty.add(owned);
    });
    this.#wake();
    if (this.#dirty.size > 0) this.#timer ??= setTimeout(() => this.flush(), DELAY_MS);
  }

  /** The stream broke: what was unanswered is committed again by the next flush. */
  reopen(): void {
    for (const { owned } of this.#sent?.items ?? []) if (!owned.isGone) this.#dirty.add(owned);
    this.#sent = undefined;
  }

  /** The partition has gone to somebody else. */
  forget(owned: OwnedPartition): void {
    owned.isGone = true;
    this.#drop(owned, owned.fenced());
    this.#wake();
  }

  /** Resolves when everything that was noted is durable or given up. */
  drained(): Promise<void> {
    this.flush();
    return this.isIdle ? Promise.resolve() : new Promise((resolve) => this.#idle.push(resolve));
  }

  close(error: FlowError): void {
    clearTimeout(this.#timer);
    this.#dirty.clear();
    this.#sent = undefined;
    for (const { call } of this.#waiting.splice(0)) call.fail(error);
    this.#wake();
  }

  #drop(owned: OwnedPartition, error: FlowError): void {
    this.#dirty.delete(owned);
    for (const waiting of this.#waiting) if (waiting.owned === owned) waiting.call.fail(error);
  }

  #wake(): void {
    this.#waiting = this.#waiting.filter(({ owned, offset, call }) => {
      if (owned.committed >= offset) call.done(undefined);
      return !call.isSettled;
    });
    if (this.isIdle) for (const wake of this.#idle.splice(0)) wake();
    else if (this.#waiting.length > 0 || this.#idle.length > 0) this.flush();
  }
}
