// One worker's stream on the server: credits in, deliveries out, settlements in. Owns nothing durable: leases
// belong to the session id, and end by ack, nack, deadline or goodbye whatever becomes of this connection.
import { FlowError } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { WorkSession } from '../services.ts';
import type { Caller, ShardPort } from '../shard/state-machine.ts';
import { type QueueCell, VISIBILITY_MS_MAX } from './cell.ts';
import type { SettleCommand, SettleReply } from './commands.ts';
import type { Waiter } from './dispatch.ts';
import type { Granted } from './grants.ts';
import { RESULT_BYTES_MAX } from './reports.ts';
import type { QueueView } from './view.ts';

/** Most jobs that one worker may hold: what it cannot handle in time others should have. */
const CREDITS_MAX = 100_000;
/** Jobs named in one settle message. */
const SETTLE_MAX = 100_000;

export class WorkerSession implements WorkSession, Waiter {
  readonly sessionId: string;
  readonly worker: string;
  readonly visibilityMs: number;
  credits: number;
  readonly isOnce = false;
  isCongested = false;
  #isDraining = false;
  #caller: Caller;
  #shard: ShardPort;
  #view: QueueView;
  #cell: QueueCell;
  #send: (message: pb.WorkResponseInput) => boolean;

  constructor(
    caller: Caller,
    shard: ShardPort,
    view: QueueView,
    cell: QueueCell,
    hello: pb.WorkHello,
    send: (message: pb.WorkResponseInput) => boolean,
  ) {
    this.#caller = caller;
    this.#shard = shard;
    this.#view = view;
    this.#cell = cell;
    this.#send = send;
    this.sessionId = hello.sessionId;
    this.worker = hello.worker || hello.sessionId;
    this.visibilityMs = Math.min(hello.visibilityMs, VISIBILITY_MS_MAX);
    this.credits = Math.min(CREDITS_MAX, hello.credits);
    send({
      welcome: {
        sessionId: hello.sessionId,
        idPrefix: view.idPrefix(cell),
        visibilityMs: this.visibilityMs || cell.spec.visibilityTimeoutMs,
        timeoutMs: cell.spec.timeoutMs,
      },
    });
    view.addWaiter(cell, this);
  }

  receive(message: pb.WorkRequest): void {
    if (message.settle) this.#settle(message.settle);
    else if (message.drain) {
      this.credits = 0;
      this.#isDraining = true;
    } else if (message.credits && !this.#isDraining) {
      this.credits = Math.min(CREDITS_MAX, this.credits + message.credits);
      this.#view.context.wake();
    }
  }

  deliver(granted: readonly Granted[]): void {
    for (const g of granted) {
      const delivery = {
        batch: g.batch,
        offsets: g.offsets === null ? [] : [...g.offsets],
        firstEpoch: g.firstEpoch,
        attempts: g.attempts === null ? [] : [...g.attempts],
        children: g.children,
        deadlineMs: g.deadlineMs,
      };
      if (!this.#send({ delivery })) this.isCongested = true;
    }
  }

  lost(offsets: readonly number[], epochs: readonly number[], code = ''): void {
    this.#send({ lost: { offsets: [...offsets], epochs: [...epochs], code } });
  }

  resume(): void {
    this.isCongested = false;
    this.#view.context.wake();
  }

  disconnect(): void {
    this.#view.removeWaiter(this.#cell, this);
  }

  #settle(settle: pb.WorkSettle): void {
    const { seq } = settle;
    const refusal = refusalOf(settle);
    if (refusal !== null) {
      this.#send({ settled: { seq, error: errorMessage(refusal) } });
      return;
    }
    const command: SettleCommand = {
      view: 'queue',
      kind: 'settle',
      caller: this.#caller,
      name: this.#cell.name,
      acks: settle.acks,
      nacks: settle.nacks.map((n) => ({ offset: n.offset, epoch: n.epoch, ...nackTerms(n.nack) })),
      extends: settle.extends,
      results: settle.results.map(({ offset, epoch, value, contentType }) => ({
        ...{ offset, epoch, contentType },
        value: Buffer.from(value),
      })),
      strict: false,
      patient: true,
      // A settlement that is repeated after a reconnect gets the answer it had.
      mutation: seq > 0 ? { producerId: `worker ${this.sessionId}`, seq } : undefined,
    };
    this.#shard.submit(command, (error, reply) => {
      if (error !== null) this.#send({ settled: { seq, error: errorMessage(error) } });
      else this.#send({ settled: { seq, lostOffsets: [...(reply as SettleReply).lost] } });
    });
  }
}

/** Ranges are walked job by job: they must be of a size, and their ends must be numbers. */
function refusalOf(settle: pb.WorkSettle): FlowError | null {
  const { acks, nacks, extends: extensions } = settle;
  const jobs = acks.reduce((sum, range) => sum + range.count, nacks.length + extensions.length);
  if (jobs > SETTLE_MAX) {
    const message = `${jobs} settlements in one message, at most ${SETTLE_MAX} are accepted`;
    return new FlowError('BATCH_TOO_LARGE', message);
  }
  if (settle.results.some((r) => r.value.length > RESULT_BYTES_MAX))
    return new FlowError('VALUE_TOO_LARGE', 'a result has more than 64 KiB');
  const isBeyond = (r: pb.AckRange) =>
    !Number.isSafeInteger(r.offset + r.count) || !Number.isSafeInteger(r.epoch + r.count);
  return acks.some(isBeyond)
    ? new FlowError('INVALID_ARGUMENT', 'an ack range ends beyond 2^53: no job is there')
    : null;
}

export const nackTerms = (nack: pb.Nack | null | undefined) => ({
  error: nack?.error ?? '',
  retryAfterMs: nack?.retryAfterMs ?? null,
  unrecoverable: nack?.unrecoverable ?? false,
  release: nack?.release ?? false,
});

export const errorMessage = (error: unknown): pb.ErrorInput => {
  const e = error instanceof FlowError ? error : new FlowError('INTERNAL', String(error));
  return { code: e.code, message: e.message, retryAfterMs: e.retryAfterMs ?? 0 };
};
