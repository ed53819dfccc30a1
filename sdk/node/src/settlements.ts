// What a worker has to tell the server about its jobs: acks, nacks, extensions. Collected during a loop turn,
// sent as one message, kept until the server answers it, sent again after a reconnect.
//   T1. Acks of consecutive jobs with consecutive lease epochs travel as one range, whatever order they ended
//       in.
//   T2. At most SENT_MAX messages are unanswered; meanwhile the next one grows.
//   T3. Settling again what was settled with the same lease epoch is answered as done, so resending is safe.
import type { FlowError } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { backoffMs } from './backoff.ts';
import { Call } from './calls.ts';
import { fromWire } from './errors.ts';
import type { HeldJob } from './job.ts';

const SENT_MAX = 8;

/** What is kept of what a handler returned. */
export interface JobResult {
  readonly value: Uint8Array;
  readonly contentType: string;
}

interface Extension {
  readonly job: HeldJob;
  readonly visibilityMs: number;
  readonly call: Call<void>;
}

interface Sent {
  readonly message: pb.WorkSettleInput;
  /** Acked or nacked. */
  readonly jobs: HeldJob[];
  readonly extensions: Extension[];
  readonly refusals: number;
}

export type Answered =
  /** All jobs of the message are settled, except those whose lease was not held any more. */
  | { readonly kind: 'settled'; readonly jobs: readonly HeldJob[]; readonly lost: ReadonlySet<HeldJob> }
  /** None of them is settled. */
  | { readonly kind: 'refused'; readonly jobs: readonly HeldJob[]; readonly error: FlowError }
  /** None of them is settled yet: send the message after the pause. */
  | { readonly kind: 'again'; readonly message: pb.WorkSettleInput; readonly afterMs: number };

/** Results of one message; one more of at most 64 KiB stays far below what a journal entry takes. */
const RESULT_BYTES_MAX = 512 * 1024;

/** What the next message says. */
class Draft {
  readonly ranges: { offset: number; epoch: number; count: number }[] = [];
  readonly nacks: pb.WorkNackInput[] = [];
  readonly results: pb.WorkResultInput[] = [];
  readonly jobs: HeldJob[] = [];
  readonly extensions: Extension[] = [];
  resultBytes = 0;

  get isEmpty(): boolean {
    return this.jobs.length === 0 && this.extensions.length === 0;
  }
}

export class Settlements {
  #open = new Draft();
  /** Full ones, in order. */
  readonly #full: Draft[] = [];
  readonly #sent: Sent[] = [];
  #seq = 0;

  get isEmpty(): boolean {
    return this.#sent.length === 0 && !this.#hasMore;
  }

  get #hasMore(): boolean {
    return this.#full.length > 0 || !this.#open.isEmpty;
  }

  ack(job: HeldJob, result?: JobResult): void {
    const { ranges, jobs, results } = this.#open;
    jobs.push(job);
    const last = ranges.at(-1);
    if (
      last !== undefined &&
      last.offset + last.count === job.offset &&
      last.epoch + last.count === job.leaseEpoch
    ) {
      last.count++;
    } else {
      ranges.push({ offset: job.offset, epoch: job.leaseEpoch, count: 1 });
    }
    if (result === undefined) return;
    results.push({ offset: job.offset, epoch: job.leaseEpoch, ...result });
    this.#open.resultBytes += result.value.length;
    if (this.#open.resultBytes < RESULT_BYTES_MAX) return;
    this.#full.push(this.#open);
    this.#open = new Draft();
  }

  nack(job: HeldJob, nack: pb.NackInput): void {
    this.#open.jobs.push(job);
    this.#open.nacks.push({ offset: job.offset, epoch: job.leaseEpoch, nack });
  }

  extend(job: HeldJob, visibilityMs: number): Promise<void> {
    const call = new Call<void>(Number.POSITIVE_INFINITY);
    this.#open.extensions.push({ job, visibilityMs, call });
    return call.promise;
  }

  /** The next message; undefined: there is nothing to send, or enough is unanswered (T2). */
  next(): pb.WorkSettleInput | undefined {
    if (!this.#hasMore || this.#sent.length >= SENT_MAX) return undefined;
    const { ranges, nacks, results, jobs, extensions } = this.#full.shift() ?? this.#open;
    const message: pb.WorkSettleInput = {
      seq: ++this.#seq,
      acks: ranges.length > 1 ? joined(ranges) : ranges,
      nacks,
      results,
      extends: extensions.map(({ job, visibilityMs }) => ({
        offset: job.offset,
        epoch: job.leaseEpoch,
        visibilityMs,
      })),
    };
    if (jobs === this.#open.jobs) this.#open = new Draft();
    this.#sent.push({ message, jobs, extensions, refusals: 0 });
    return message;
  }

  /** What has to be sent again after a reconnect, in order. */
  unanswered(): pb.WorkSettleInput[] {
    return this.#sent.map((sent) => sent.message);
  }

  /** undefined: the reply answers nothing that was sent (a repeat of one that came before the reconnect). */
  answered(reply: pb.WorkSettled): Answered | undefined {
    const index = this.#sent.findIndex((sent) => sent.message.seq === reply.seq);
    if (index === -1) return undefined;
    const [sent] = this.#sent.splice(index, 1) as [Sent];
    const error = fromWire(reply.error);
    if (error !== undefined) return this.#onRefused(sent, error);
    const lostOffsets = new Set(reply.lostOffsets);
    const lost = new Set<HeldJob>();
    if (lostOffsets.size > 0) for (const job of sent.jobs) if (lostOffsets.has(job.offset)) lost.add(job);
    for (const { job, call } of sent.extensions) {
      if (lostOffsets.has(job.offset)) call.fail(job.leaseLost());
      else call.done(undefined);
    }
    return { kind: 'settled', jobs: sent.jobs, lost };
  }

  #onRefused(sent: Sent, error: FlowError): Answered {
    if (error.retry === 'never') {
      for (const { call } of sent.extensions) call.fail(error);
      return { kind: 'refused', jobs: sent.jobs, error };
    }
    const message = { ...sent.message, seq: ++this.#seq };
    this.#sent.push({ ...sent, message, refusals: sent.refusals + 1 });
    return { kind: 'again', message, afterMs: Math.max(backoffMs(sent.refusals), error.retryAfterMs ?? 0) };
  }
}

/** The leases that are known here, as the server takes them. */
export const heldRanges = (jobs: Iterable<HeldJob>): pb.AckRangeInput[] =>
  joined(Array.from(jobs, ({ offset, leaseEpoch }) => ({ offset, epoch: leaseEpoch, count: 1 })));

/** T1: ranges as few as can be, by offset. */
export function joined(ranges: { offset: number; epoch: number; count: number }[]): pb.AckRangeInput[] {
  ranges.sort((a, b) => a.offset - b.offset);
  const out: { offset: number; epoch: number; count: number }[] = [];
  let last: { offset: number; epoch: number; count: number } | undefined;
  for (const range of ranges) {
    if (
      last !== undefined &&
      last.offset + last.count === range.offset &&
      last.epoch + last.count === range.epoch
    ) {
      last.count += range.count;
    } else {
      out.push(range);
      last = range;
    }
  }
  return out;
}
