// Callers that wait for a reply. One object and one promise per call; no closure unless there is an
// AbortSignal.
//   C1. A call settles exactly once. What comes later (a reply after the deadline) is dropped.
import { FlowError } from '@flowmesh/protocol';
import type { Watched } from './deadlines.ts';
import { type Duration, durationMs } from './durations.ts';
import { cancelled } from './errors.ts';

/** Options that every call takes. */
export interface CallOptions {
  /**
   * How long the call may take, retries included; beyond it DEADLINE_EXCEEDED, outcome unknown. Default: 30
   * s.
   */
  deadline?: Duration | undefined;
  /** Aborting rejects with CANCELLED. What has been sent may still take effect. */
  signal?: AbortSignal | undefined;
}

/** Someone who waits for one entry of a batch. */
export interface Waiter {
  readonly isSettled: boolean;
  /** `performance.now()` at which the wait ends. */
  readonly deadlineMs: number;
  done(result: unknown): void;
  fail(error: FlowError): void;
}

type Resolve = (value: never) => void;
type Reject = (error: unknown) => void;

let takenResolve: Resolve = () => {};
let takenReject: Reject = () => {};
/**
 * One executor for all promises; a promise runs it at once, so what it takes belongs to the promise just
 * made.
 */
const take = (resolve: Resolve, reject: Reject): void => {
  takenResolve = resolve;
  takenReject = reject;
};

export class Call<T> implements Waiter {
  isSettled = false;
  readonly deadlineMs: number;
  readonly promise: Promise<T>;
  readonly #resolve: (value: T) => void;
  readonly #reject: Reject;
  #detach: (() => void) | undefined;

  constructor(deadlineMs: number, signal?: AbortSignal) {
    this.deadlineMs = deadlineMs;
    this.promise = new Promise<T>(take as (resolve: (value: T) => void, reject: Reject) => void);
    this.#resolve = takenResolve as (value: T) => void;
    this.#reject = takenReject;
    if (signal !== undefined) this.#listen(signal);
  }

  done(result: unknown): void {
    if (this.isSettled) return; // C1
    this.isSettled = true;
    if (this.#detach !== undefined) this.#detach();
    this.#resolve(result as T);
  }

  fail(error: unknown): void {
    if (this.isSettled) return; // C1
    this.isSettled = true;
    if (this.#detach !== undefined) this.#detach();
    this.#reject(error);
  }

  #listen(signal: AbortSignal): void {
    const abort = () => this.fail(cancelled(signal));
    if (signal.aborted) {
      abort();
      return;
    }
    signal.addEventListener('abort', abort, { once: true });
    this.#detach = () => signal.removeEventListener('abort', abort);
  }
}

/** One promise for the results of many entries, in order; the first failure fails it. */
export class GroupCall<T> implements Watched {
  readonly #call: Call<T[]>;
  readonly #results: T[];
  /** Resolves when the call has settled, either way. */
  readonly settled: Promise<void>;
  #missing: number;

  constructor(size: number, deadlineMs: number, signal?: AbortSignal) {
    this.#call = new Call(deadlineMs, signal);
    this.#results = new Array(size);
    this.#missing = size;
    if (size === 0) this.#call.done(this.#results);
    const settled = () => {};
    this.settled = this.#call.promise.then(settled, settled);
  }

  sweep(nowMs: number): boolean {
    if (this.#call.deadlineMs <= nowMs) this.#call.fail(deadlineExceeded());
    return !this.#call.isSettled;
  }

  get promise(): Promise<T[]> {
    return this.#call.promise;
  }

  get isSettled(): boolean {
    return this.#call.isSettled;
  }

  part(index: number): Waiter {
    return new GroupPart(this, this.#call, index);
  }

  done(index: number, result: T): void {
    this.#results[index] = result;
    if (--this.#missing === 0) this.#call.done(this.#results);
  }

  fail(error: unknown): void {
    this.#call.fail(error);
  }
}

class GroupPart<T> implements Waiter {
  readonly #group: GroupCall<T>;
  readonly #call: Call<T[]>;
  readonly #index: number;

  constructor(group: GroupCall<T>, call: Call<T[]>, index: number) {
    this.#group = group;
    this.#call = call;
    this.#index = index;
  }

  get isSettled(): boolean {
    return this.#call.isSettled;
  }

  get deadlineMs(): number {
    return this.#call.deadlineMs;
  }

  done(result: unknown): void {
    this.#group.done(this.#index, result as T);
  }

  /** A refusal of the entry itself says which one it is. */
  fail(error: FlowError): void {
    const isOwn = error.code === 'SCHEMA_VIOLATION';
    this.#group.fail(isOwn ? new FlowError(error.code, `entry ${this.#index}: ${error.message}`) : error);
  }
}

/** `performance.now()` at which a call that begins now has to end. */
export const deadlineOf = (options: CallOptions | undefined, defaultMs: number): number =>
  performance.now() +
  (options?.deadline === undefined ? defaultMs : durationMs(options.deadline, 'deadline'));

export const deadlineExceeded = (): FlowError =>
  new FlowError('DEADLINE_EXCEEDED', 'no answer within the deadline; whether it took effect is unknown');

export const isThenable = (value: unknown): value is PromiseLike<unknown> =>
  typeof value === 'object' && value !== null && typeof (value as PromiseLike<unknown>).then === 'function';
