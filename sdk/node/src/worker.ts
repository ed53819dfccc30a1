// A worker: takes jobs of one queue, runs the handler on them, settles them.
//   K1. At most `concurrency` handlers run; at most `prefetch` more jobs wait here.
//   K2. A handler that returns acks its job, one that throws nacks it.
//   K3. A job stays known until its settlement is confirmed: sent again after a reconnect, not run twice.
//   K4. One timer per worker: timeouts of running jobs and the prefetch are looked at every TICK_MS.
import { EventEmitter } from 'node:events';
import { FlowError, readEntries, readHead } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { Call, isThenable } from './calls.ts';
import type { Connection } from './connection.ts';
import { Credits } from './credits.ts';
import { optionalMs } from './durations.ts';
import { checkName } from './enqueue.ts';
import { attemptTimedOut, nackOf } from './errors.ts';
import { ownBuild, ownName } from './identity.ts';
import { HeldJob, type JobHolder } from './job.ts';
import { type JobCalls, jobCalls, resultOf } from './job-reports.ts';
import { LeaseSessions } from './lease-sessions.ts';
import { currentOrigin, enterOrigin } from './origin.ts';
import type { Renewal } from './renewal.ts';
import { SessionStream } from './session-stream.ts';
import { heldRanges, type JobResult, Settlements } from './settlements.ts';
import type { DrainOptions, JobHandler, WorkerEvents, WorkerOptions } from './worker-options.ts';

const TICK_MS = 100;

export class Worker<T = unknown> extends EventEmitter<WorkerEvents<T>> implements JobHolder {
  readonly queue: string;
  readonly concurrency: number;
  readonly #handler: JobHandler<T>;
  /** @internal */
  readonly calls: JobCalls;
  readonly #options: WorkerOptions;
  readonly #visibilityMs: number;
  readonly #tracksEffects: boolean;
  readonly #session: SessionStream<pb.WorkRequestInput, pb.WorkResponse>;
  readonly #sessions: LeaseSessions;
  readonly #settlements = new Settlements();
  readonly #credits: Credits;
  /** By offset; see K3. */
  readonly #held = new Map<number, HeldJob<T>>();
  readonly #waiting: HeldJob<T>[] = [];
  #running = 0;
  #idPrefix = '';
  #timeoutMs = Number.POSITIVE_INFINITY;
  #nowMs = 0;
  #isPumping = false;
  #isFlushing = false;
  #ticker: NodeJS.Timeout;
  #draining: Promise<void> | undefined;
  #isIdle: (() => void) | undefined;
  #warned = '';

  /** @internal Use `fm.queue.worker`. */
  constructor(
    connection: Connection,
    renewal: Renewal,
    queue: string,
    handler: JobHandler<T>,
    options: WorkerOptions = {},
  ) {
    super();
    checkName(queue);
    this.queue = queue;
    this.concurrency = options.concurrency ?? 16;
    if (!Number.isInteger(this.concurrency) || this.concurrency < 1) {
      throw new FlowError('INVALID_ARGUMENT', `concurrency ${this.concurrency}: give a whole number from 1`);
    }
    this.#sessions = new LeaseSessions(connection, renewal, queue);
    this.calls = jobCalls(connection);
    this.#handler = handler;
    this.#options = options;
    this.#visibilityMs = optionalMs(options.visibility, 'visibility') ?? 0;
    this.#tracksEffects = options.trackEffects ?? true;
    this.#credits = new Credits(this.concurrency, options.prefetch);
    this.#session = new SessionStream<pb.WorkRequestInput, pb.WorkResponse>({
      open: () => connection.lanes.hold(({ queues }) => queues.work(connection.metadata())),
      hello: () => ({ hello: this.#hello() }),
      receive: (message) => this.#receive(message),
      broken: (error) => this.#onBroken(error),
    });
    this.#ticker = setInterval(() => this.#tick(), TICK_MS).unref();
    this.#session.connect();
  }

  /** What stands before the offset in the ids of this queue's jobs. */
  get idPrefix(): string {
    return this.#idPrefix;
  }

  /** Handlers that run now. */
  get running(): number {
    return this.#running;
  }

  /**
   * Takes no more jobs, gives back those whose handler has not started, waits for the handlers that run and
   * for their acks to be durable, says goodbye. On SIGTERM it is called for you. Idempotent.
   */
  drain(options: DrainOptions = {}): Promise<void> {
    const timeoutMs = optionalMs(options.timeout, 'timeout');
    this.#draining ??= this.#drain();
    if (timeoutMs === undefined) return this.#draining;
    const timer = setTimeout(() => this.#isIdle?.(), timeoutMs);
    return this.#draining.finally(() => clearTimeout(timer));
  }

  /** @internal */
  ack(job: HeldJob): Promise<void> {
    if (job.lease === 'lost') return Promise.reject(job.leaseLost());
    if (job.lease === 'settled') return Promise.resolve();
    if (job.ackCall === undefined) {
      job.ackCall = new Call<void>(Number.POSITIVE_INFINITY);
      // A handler need not await it; then a lost lease shows as the event 'lost'.
      job.ackCall.promise.catch(() => {});
    }
    if (job.lease === 'held') this.#settleAs(job);
    return job.ackCall.promise;
  }

  /** @internal */
  extend(job: HeldJob, visibilityMs: number): Promise<void> {
    if (job.lease !== 'held') return Promise.reject(job.leaseLost());
    const done = this.#settlements.extend(job, visibilityMs);
    this.#flushSoon();
    return done;
  }

  /** @internal A transaction has acked the job. */
  settledElsewhere(job: HeldJob): void {
    job.lease = 'settled';
    this.#forget(job);
  }

  #hello(): pb.WorkHelloInput {
    return {
      queue: this.queue,
      sessionId: this.#sessions.current.id,
      credits: this.#draining === undefined ? this.#credits.restart(this.#waiting.length + this.#running) : 0,
      visibilityMs: this.#visibilityMs,
      worker: this.#options.name ?? ownName(),
      build: this.#options.build ?? ownBuild(),
      held: heldRanges(this.#held.values()),
      concurrency: this.concurrency,
    };
  }

  #receive(message: pb.WorkResponse): void {
    if (message.delivery !== null) this.#onDelivery(message.delivery);
    else if (message.settled !== null) this.#onSettled(message.settled);
    else if (message.lost !== null) this.#onLost(message.lost);
    else if (message.welcome !== null) this.#onWelcome(message.welcome);
  }

  #onWelcome(welcome: pb.WorkWelcome): void {
    this.#session.welcomed();
    if (this.#draining !== undefined) this.#session.send({ drain: {} });
    this.#idPrefix = welcome.idPrefix;
    if (welcome.timeoutMs > 0) this.#timeoutMs = welcome.timeoutMs;
    this.#sessions.welcomed(welcome.visibilityMs || this.#visibilityMs || 30_000);
    for (const settle of this.#settlements.unanswered()) this.#session.send({ settle });
    this.#flushSoon();
    this.emit('connected');
  }

  #onDelivery(delivery: pb.Delivery): void {
    const bytes = delivery.batch as Buffer;
    const head = readHead(bytes);
    const spans = readEntries(bytes, 0, head);
    const { offsets, attempts, firstEpoch } = delivery;
    const children = new Set(delivery.children);
    const session = this.#sessions.current;
    for (let i = 0; i < spans.length; i++) {
      const span = spans[i];
      if (span === undefined) break;
      const offset = offsets.length > 0 ? (offsets[i] ?? 0) : head.baseOffset + i;
      const epoch = firstEpoch + i;
      const before = this.#held.get(offset);
      if (before?.leaseEpoch === epoch) continue; // K3
      if (before?.lease === 'held') this.#lose(before, before.leaseLost());
      const job = new HeldJob<T>(this, { bytes, head, span, session }, offset, epoch, attempts[i] ?? 1);
      job.isChild = children.has(i);
      this.#held.set(offset, job);
      session.held++;
      this.#waiting.push(job);
    }
    if (this.#draining === undefined) this.#pump();
    else this.#giveBackWaiting();
  }

  /** Starts handlers while there are jobs and room (K1). */
  #pump(): void {
    if (this.#isPumping) return;
    this.#isPumping = true;
    this.#nowMs = performance.now();
    const origin = this.#tracksEffects ? currentOrigin() : undefined;
    let next = 0;
    while (this.#running < this.concurrency && next < this.#waiting.length) {
      const job = this.#waiting[next++] as HeldJob<T>;
      if (job.lease === 'held') this.#start(job);
      else this.#credits.finished();
    }
    if (next > 0) this.#waiting.splice(0, next);
    if (this.#tracksEffects) enterOrigin(origin);
    this.#isPumping = false;
  }

  #start(job: HeldJob<T>): void {
    job.phase = 'running';
    job.startedMs = this.#nowMs;
    this.#running++;
    let result: unknown;
    try {
      if (this.#tracksEffects) enterOrigin(job);
      result = this.#handler(job);
    } catch (error) {
      this.#onFailed(job, error);
      return;
    }
    if (isThenable(result)) void this.#whenDone(job, result);
    else this.#onReturned(job, result);
  }

  async #whenDone(job: HeldJob<T>, result: PromiseLike<unknown>): Promise<void> {
    let value: unknown;
    try {
      value = await result;
    } catch (error) {
      this.#onFailed(job, error);
      this.#pump();
      return;
    }
    this.#onReturned(job, value);
    if (this.#waiting.length > 0) this.#pump();
  }

  #onReturned(job: HeldJob<T>, value: unknown): void {
    if (job.phase !== 'running') return;
    if (job.lease === 'held') {
      const isKept = this.#options.keepResults || job.isChild;
      const result = isKept ? resultOf(value, (error) => this.#report(error)) : undefined;
      this.#settleAs(job, undefined, result);
    }
    this.#ended(job);
    if (job.lease !== 'lost' && this.listenerCount('completed') > 0) this.emit('completed', job);
  }

  #onFailed(job: HeldJob<T>, error: unknown): void {
    if (job.phase !== 'running') return;
    if (job.lease === 'held') this.#settleAs(job, nackOf(error));
    this.#ended(job);
    if (this.listenerCount('failed') > 0) this.emit('failed', job, error);
  }

  /** The slot is free again. */
  #ended(job: HeldJob<T>): void {
    job.phase = 'ended';
    this.#running--;
    this.#credits.finished();
    this.#flushSoon();
  }

  /** Acks, or nacks if there is a `nack`. */
  #settleAs(job: HeldJob, nack?: pb.NackInput, result?: JobResult): void {
    job.lease = 'settling';
    if (nack === undefined) this.#settlements.ack(job, result);
    else this.#settlements.nack(job, nack);
    this.#flushSoon();
  }

  #flushSoon(): void {
    if (this.#isFlushing) return;
    this.#isFlushing = true;
    setImmediate(this.#flush);
  }

  readonly #flush = (): void => {
    this.#isFlushing = false;
    if (this.#session.isOpen) this.#send();
    this.#checkIdle();
  };

  #send(): void {
    for (let settle = this.#settlements.next(); settle !== undefined; settle = this.#settlements.next()) {
      this.#session.send({ settle });
    }
    if (this.#draining !== undefined) return;
    const credits = this.#credits.take(this.#waiting.length);
    if (credits > 0) this.#session.send({ credits });
  }

  #onSettled(settled: pb.WorkSettled): void {
    const answered = this.#settlements.answered(settled);
    if (answered === undefined) return;
    if (answered.kind === 'again') {
      const { message, afterMs } = answered;
      // After a reconnect it is sent as one of the unanswered; a second time does no harm.
      setTimeout(() => this.#session.send({ settle: message }), afterMs);
      return;
    }
    if (answered.kind === 'refused') this.#report(answered.error);
    for (const job of answered.jobs) {
      if (answered.kind === 'refused') this.#lose(job, answered.error);
      else if (answered.lost.has(job)) this.#lose(job, job.leaseLost());
      else {
        job.lease = 'settled';
        job.ackCall?.done(undefined);
        this.#forget(job);
      }
    }
    this.#flushSoon();
  }

  #onLost({ offsets, epochs, code }: pb.WorkLost): void {
    offsets.forEach((offset, i) => {
      const job = this.#held.get(offset);
      // What is being settled is answered by its settlement.
      if (job?.leaseEpoch === epochs[i] && job?.lease === 'held') this.#lose(job, job.leaseLost(code));
    });
    this.#pump();
  }

  #lose(job: HeldJob, error: FlowError): void {
    job.lease = 'lost';
    job.ackCall?.fail(error);
    job.abort(error);
    this.#forget(job);
    this.emit('lost', job as HeldJob<T>);
  }

  /** Its lease is settled or lost; called once for each job. */
  #forget(job: HeldJob): void {
    if (this.#held.get(job.offset) === job) this.#held.delete(job.offset);
    if (--job.session.held === 0) this.#sessions.settled(job.session);
  }

  #onBroken(error: FlowError): void {
    this.#sessions.broken();
    this.#report(error);
    this.#flushSoon();
  }

  /** K4 */
  #tick(): void {
    const nowMs = performance.now();
    for (const job of this.#held.values()) {
      if (job.phase !== 'running') continue;
      const timeoutMs = job.timeoutMs ?? this.#timeoutMs;
      if (job.startedMs + timeoutMs <= nowMs) this.#timeOut(job, timeoutMs);
    }
    this.#credits.adapt(this.#running > 0);
    if (this.#running > 0) this.#flushSoon();
  }

  /** Its slot is given to the next job, even if the handler does not heed the signal. */
  #timeOut(job: HeldJob<T>, timeoutMs: number): void {
    const error = attemptTimedOut(timeoutMs);
    this.#onFailed(job, error);
    job.abort(error);
    this.#pump();
  }

  /** Never throws, unlike an 'error' event without a listener. */
  #report(error: FlowError): void {
    if (this.listenerCount('error') > 0) this.emit('error', error);
    else if (error.retry === 'never' && error.code !== 'CANCELLED' && error.code !== this.#warned) {
      this.#warned = error.code;
      process.emitWarning(`worker of ${this.queue}: ${error.message}`, { code: `FLOWMESH_${error.code}` });
    }
  }

  async #drain(): Promise<void> {
    // Else what is given back comes to this worker again, as long as it has credit.
    this.#session.send({ drain: {} });
    this.#giveBackWaiting();
    await new Promise<void>((resolve) => {
      this.#isIdle = resolve;
      this.#flushSoon();
    });
    for (const job of this.#held.values()) {
      if (job.phase === 'running') job.abort(new FlowError('CLIENT_CLOSED', 'the worker was drained'));
    }
    await this.#sessions.endAll().catch((error: FlowError) => this.#report(error));
    for (const job of [...this.#held.values()]) this.#lose(job, job.leaseLost());
    await this.#session.close();
    clearInterval(this.#ticker);
    this.emit('drained');
  }

  #giveBackWaiting(): void {
    for (const job of this.#waiting.splice(0)) {
      // Whoever drains within a handler finds started ones here.
      if (job.phase === 'waiting' && job.lease === 'held') this.#settleAs(job, { release: true });
    }
  }

  #checkIdle(): void {
    if (this.#running === 0 && !this.#session.isConnecting && this.#settlements.isEmpty) this.#isIdle?.();
  }
}
