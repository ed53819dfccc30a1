// A bidi stream of batches: EnqueueStream, PublishStream and Pipeline. Batches what is waiting, never what
// must wait.
//   P1. Calls of one tick go into the open batch of their lane; it is sealed when the stream's window has
//       room.
//   P2. Replies come in request order. A reply that answers another batch breaks the stream.
//   P3. When the stream breaks, unanswered batches are sent again, in order, with the same seq: the server
//       knows what it has done already. Not after IDEMPOTENCE_MS, when it may have forgotten.
//   P4. A refusal ("again later") pauses its lane only, for a time and until all that the lane had sent is
//       answered. It is definite, so the repeat takes a new seq; but UNAVAILABLE may hide a success and
//       keeps its seq.
//   P6. Batches of a lane name the one before while it is not answered: what would overtake a refused one is
//       refused, too, and all go again in their first order, before those that were never sent.
//   P5. Every batch that is not settled is in #live, so that deadlines reach it wherever it is.
import type { FlowError } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { ClientDuplexStream } from '@grpc/grpc-js';
import { backoffMs, TIMER_MS_MAX } from './backoff.ts';
import type { Batch } from './batch.ts';
import type { Budget } from './budget.ts';
import type { DeadlineTimer, Watched } from './deadlines.ts';
import { clientClosed, fromStatus, fromWire, isWorthReconnecting } from './errors.ts';
import { withoutOrigin } from './origin.ts';

/** The server forgets an idle producer after 10 minutes (docs/architecture.md). */
const IDEMPOTENCE_MS = 9 * 60_000;

/** Where batches for one queue, partition or keyspace come from. */
export abstract class Lane<Request, Reply> {
  /** In the pipeline's list of lanes that have something to send. */
  isReady = false;
  isPaused = false;
  refusals = 0;
  /** The pause is over, answers are awaited (P4). */
  isRested = false;
  /** Batches that are sent and not answered, and the newest of them on this connection. */
  inFlight = 0;
  newest: Batch<Request, Reply> | undefined;
  /** Full or refused batches, to be sent before the open one. */
  readonly sealed: Batch<Request, Reply>[] = [];

  /** Seals and returns the open batch; undefined: there is none. */
  abstract seal(): Batch<Request, Reply> | undefined;

  /** Drops the open batch if it is this one. */
  protected abstract dropOpen(batch: Batch<Request, Reply>): void;

  forget(batch: Batch<Request, Reply>): void {
    const index = this.sealed.indexOf(batch);
    if (index === -1) this.dropOpen(batch);
    else this.sealed.splice(index, 1);
  }

  take(): Batch<Request, Reply> | undefined {
    return this.sealed.shift() ?? this.seal();
  }

  /** P6 */
  putBack(batch: Batch<Request, Reply>): void {
    const index = this.sealed.findIndex(({ place }) => place === 0 || place > batch.place);
    this.sealed.splice(index === -1 ? this.sealed.length : index, 0, batch);
  }
}

export interface PipelineOptions<Request, Reply> {
  producerId: string;
  open(): ClientDuplexStream<Request, Reply>;
  /** The window until the server gives one. */
  window: pb.Window;
  error(reply: Reply): pb.Error | null;
  /** seq of the batch that is answered; undefined: replies carry none. */
  seq(reply: Reply): number | undefined;
  windowOf(reply: Reply): pb.Window | null;
}

export class Pipeline<Request, Reply> implements Watched {
  readonly #options: PipelineOptions<Request, Reply>;
  readonly #deadlines: DeadlineTimer;
  readonly #budget: Budget;
  #stream: ClientDuplexStream<Request, Reply> | undefined;
  #window: pb.Window;
  /** In order of seq; the first #sentCount of them are on their way. */
  #unanswered: Batch<Request, Reply>[] = [];
  #sentCount = 0;
  #sentBytes = 0;
  readonly #ready: Lane<Request, Reply>[] = [];
  readonly #live = new Set<Batch<Request, Reply>>();
  #seq = 0;
  #place = 0;
  #attempt = 0;
  #isScheduled = false;
  #reconnect: NodeJS.Timeout | undefined;
  #idle: (() => void)[] = [];
  #isClosed = false;

  constructor(options: PipelineOptions<Request, Reply>, deadlines: DeadlineTimer, budget: Budget) {
    this.#options = options;
    this.#window = options.window;
    this.#deadlines = deadlines;
    this.#budget = budget;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  get isFull(): boolean {
    return this.#budget.isFull;
  }

  /** A lane has begun a batch (P5). */
  begin(batch: Batch<Request, Reply>): void {
    this.#live.add(batch);
    if (this.#live.size === 1) this.#deadlines.watch(this);
  }

  /** A lane has something to send. */
  ready(lane: Lane<Request, Reply>): void {
    if (lane.isReady || lane.isPaused) return;
    lane.isReady = true;
    this.#ready.push(lane);
    this.#schedule();
  }

  sweep(nowMs: number): boolean {
    for (const batch of this.#live) {
      if (batch.deadlineMs <= nowMs) batch.expire(nowMs);
      if (batch.wasSent || !batch.isDead) continue;
      batch.lane.forget(batch);
      this.#settle(batch);
    }
    return this.#live.size > 0;
  }

  /** Resolves when every batch is answered. */
  drained(): Promise<void> {
    return this.#live.size === 0 ? Promise.resolve() : new Promise((resolve) => this.#idle.push(resolve));
  }

  /** Fails what is left and closes the stream. */
  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#reconnect);
    this.#failAll(clientClosed());
    const stream = this.#stream;
    this.#stream = undefined;
    stream?.end();
  }

  /** Runs after the IO and the microtasks of this loop turn, so that all their calls share a batch. */
  #schedule(): void {
    if (this.#isScheduled || this.#reconnect !== undefined) return;
    this.#isScheduled = true;
    setImmediate(this.#flush);
  }

  readonly #flush = (): void => {
    this.#isScheduled = false;
    if (this.#isClosed) return;
    while (this.#hasRoom()) {
      const batch = this.#unanswered[this.#sentCount] ?? this.#next();
      if (batch === undefined) return;
      this.#send(batch);
    }
  };

  #hasRoom(): boolean {
    if (this.#sentCount === 0) return true;
    return this.#sentCount < this.#window.messages && this.#sentBytes < this.#window.bytes;
  }

  /** The next batch of the lane that waited longest; appended to #unanswered. */
  #next(): Batch<Request, Reply> | undefined {
    for (;;) {
      const lane = this.#ready.shift();
      if (lane === undefined) return undefined;
      const batch = lane.isPaused ? undefined : lane.take();
      if (batch === undefined) {
        lane.isReady = false;
        continue;
      }
      this.#ready.push(lane);
      if (!batch.prepare()) {
        this.#settle(batch);
        continue;
      }
      if (batch.seq === 0) batch.seq = ++this.#seq;
      if (batch.place === 0) batch.place = ++this.#place;
      lane.inFlight++;
      this.#unanswered.push(batch);
      return batch;
    }
  }

  #send(batch: Batch<Request, Reply>): void {
    this.#stream ??= this.#connect();
    if (!batch.wasSent) batch.firstSentMs = performance.now();
    this.#sentCount++;
    this.#sentBytes += batch.bytes;
    const { lane, seq } = batch;
    const afterSeq = lane.newest?.seq ?? 0;
    lane.newest = batch;
    this.#stream.write(batch.request({ producerId: this.#options.producerId, seq }, afterSeq));
  }

  #connect(): ClientDuplexStream<Request, Reply> {
    const stream = withoutOrigin(() => this.#options.open());
    stream.on('data', (reply: Reply) => {
      if (stream === this.#stream) this.#onReply(stream, reply);
    });
    // 'status' follows every end, with or without an error.
    stream.on('error', () => {});
    stream.on('status', (status) => {
      if (stream === this.#stream) this.#onBroken(fromStatus(status));
    });
    return stream;
  }

  #onReply(stream: ClientDuplexStream<Request, Reply>, reply: Reply): void {
    this.#attempt = 0;
    const window = this.#options.windowOf(reply);
    if (window !== null && window.messages > 0) this.#window = window;
    const seq = this.#options.seq(reply);
    if (seq === 0) {
      this.#schedule();
      return;
    }
    const batch = this.#unanswered[0];
    if (this.#sentCount === 0 || batch === undefined || (seq !== undefined && seq !== batch.seq)) {
      this.#onBroken(undefined); // P2
      stream.cancel();
      return;
    }
    this.#unanswered.shift();
    this.#sentCount--;
    this.#sentBytes -= batch.bytes;
    batch.lane.inFlight--;
    if (batch.lane.newest === batch) batch.lane.newest = undefined;
    const error = fromWire(this.#options.error(reply));
    if (error === undefined) {
      batch.lane.refusals = 0;
      this.#settle(batch);
      const again = batch.accept(reply);
      if (again !== undefined) this.#refused(again.batch, again.error);
    } else if (error.retry === 'backoff') {
      this.#refused(batch, error);
    } else {
      batch.fail(error);
      this.#settle(batch);
    }
    this.#resume(batch.lane);
    if (this.#ready.length > 0 || this.#unanswered.length > this.#sentCount) this.#schedule();
  }

  /** P4 */
  #refused(batch: Batch<Request, Reply>, error: FlowError): void {
    const lane = batch.lane;
    // It is the one before that was refused, and has its pause.
    const isLate = error.code === 'OUT_OF_ORDER';
    const pauseMs = () => Math.max(backoffMs(lane.refusals++), error.retryAfterMs ?? 0);
    const waitMs = isLate ? 0 : Math.min(pauseMs(), TIMER_MS_MAX);
    if (!isLate) batch.refusal = error;
    batch.expire(performance.now() + waitMs);
    if (batch.isDead) {
      this.#settle(batch);
      return;
    }
    this.#live.add(batch);
    this.#deadlines.watch(this);
    if (error.code !== 'UNAVAILABLE') batch.seq = 0;
    lane.putBack(batch);
    if (lane.isPaused) return;
    lane.isPaused = true;
    this.#keep((each, i) => i < this.#sentCount || each.lane !== lane);
    setTimeout(() => {
      lane.isRested = true;
      this.#resume(lane);
    }, waitMs);
  }

  /** Of the unanswered; the others wait until their lane goes on, as one before them was refused (P6). */
  #keep(isKept: (batch: Batch<Request, Reply>, index: number) => boolean): void {
    const back = this.#unanswered.filter((batch, i) => !isKept(batch, i));
    if (back.length === 0) return;
    this.#unanswered = this.#unanswered.filter(isKept);
    for (const batch of back) {
      batch.lane.inFlight--;
      batch.lane.putBack(batch);
    }
    for (const { lane } of back) this.#resume(lane);
  }

  #resume(lane: Lane<Request, Reply>): void {
    if (!lane.isRested || lane.inFlight > 0) return;
    lane.isPaused = lane.isRested = false;
    this.ready(lane);
  }

  /** `error` is undefined when the client broke it off. */
  #onBroken(error: FlowError | undefined): void {
    this.#stream = undefined;
    this.#sentCount = 0;
    this.#sentBytes = 0;
    this.#window = this.#options.window;
    if (this.#isClosed) return;
    if (error !== undefined && !isWorthReconnecting(error)) {
      this.#failAll(error);
      return;
    }
    const nowMs = performance.now();
    this.#unanswered = this.#unanswered.filter((batch) => {
      if (batch.firstSentMs + IDEMPOTENCE_MS < nowMs) batch.expire(Number.POSITIVE_INFINITY); // P3
      batch.lane.newest = undefined;
      if (!batch.isDead) return true;
      batch.lane.inFlight--;
      this.#settle(batch);
      return false;
    });
    this.#keep(({ lane }) => !lane.isPaused);
    if (this.#unanswered.length === 0 && this.#ready.length === 0) return;
    this.#reconnect ??= setTimeout(
      () => {
        this.#reconnect = undefined;
        this.#schedule();
      },
      backoffMs(this.#attempt++),
    );
  }

  #settle(batch: Batch<Request, Reply>): void {
    this.#live.delete(batch);
    batch.release(this.#budget);
    if (this.#live.size > 0 || this.#idle.length === 0) return;
    const idle = this.#idle;
    this.#idle = [];
    for (const wake of idle) wake();
  }

  #failAll(error: FlowError): void {
    for (const { lane } of this.#unanswered) {
      lane.inFlight = 0;
      lane.newest = undefined;
    }
    this.#unanswered = [];
    this.#sentCount = 0;
    this.#sentBytes = 0;
    for (const batch of this.#live) {
      batch.fail(error);
      this.#settle(batch);
    }
  }
}
