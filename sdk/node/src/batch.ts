// Calls that travel together. The kinds of batch (jobs, records, operations) differ in what they encode and
// in how they hand a reply to their calls.
import type { FlowError } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { Budget } from './budget.ts';
import { deadlineExceeded, type Waiter } from './calls.ts';
import type { Lane } from './pipeline.ts';

export abstract class Batch<Request, Reply> {
  readonly lane: Lane<Request, Reply>;
  /** 0 until it is sent. */
  seq = 0;
  /** Among all that were sent, by the first time; 0 until then. */
  place = 0;
  firstSentMs = 0;
  /** The earliest deadline of its calls. */
  deadlineMs = Number.POSITIVE_INFINITY;
  calls: Waiter[] = [];
  /** Why it has to be sent again. */
  refusal: FlowError | undefined;
  /** What it takes from the budget. */
  #heldCalls = 0;
  #heldBytes = 0;

  constructor(lane: Lane<Request, Reply>) {
    this.lane = lane;
  }

  get wasSent(): boolean {
    return this.firstSentMs !== 0;
  }

  /** Nobody waits for it any more. */
  get isDead(): boolean {
    return this.calls.every((call) => call.isSettled);
  }

  /** Size on the wire, about. */
  abstract get bytes(): number;

  /** Called before the first sending; leaves out what nobody waits for. False: nothing is left. */
  abstract prepare(): boolean;

  /** `afterSeq`: of the batch of its lane that was sent before and is not answered; 0: there is none. */
  abstract request(mutation: pb.MutationInput, afterSeq: number): Request;

  /** Settles the calls. Entries that were refused for now come back as a batch to be sent later. */
  abstract accept(reply: Reply): { batch: Batch<Request, Reply>; error: FlowError } | undefined;

  add(call: Waiter, bytes: number, budget: Budget): void {
    this.calls.push(call);
    if (call.deadlineMs < this.deadlineMs) this.deadlineMs = call.deadlineMs;
    this.#heldCalls++;
    this.#heldBytes += bytes;
    budget.take(1, bytes);
  }

  /** Gives back to the budget. Idempotent. */
  release(budget: Budget): void {
    budget.give(this.#heldCalls, this.#heldBytes);
    this.#heldCalls = this.#heldBytes = 0;
  }

  fail(error: FlowError): void {
    for (const call of this.calls) call.fail(error);
  }

  /** Rejects the calls whose deadline is not after `nowMs`. */
  expire(nowMs: number, error: FlowError = this.refusal ?? deadlineExceeded()): void {
    let earliestMs = Number.POSITIVE_INFINITY;
    for (const call of this.calls) {
      if (call.deadlineMs <= nowMs) call.fail(error);
      else if (!call.isSettled && call.deadlineMs < earliestMs) earliestMs = call.deadlineMs;
    }
    this.deadlineMs = earliestMs;
  }
}
