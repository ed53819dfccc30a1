// A member of a consumer group, as an async iterator.
//   C1. An event is committed when the next one is asked for; leaving the loop does not commit the event in
//       hand.
//   C2. Nothing of a revoked partition is handed out after the revocation arrived. It is given up when the
//       event in hand is handled and what was handled is committed.
//   C3. The same (partition, epoch) over a reconnect goes on where it stood; a new epoch starts at the offset
//       given.
//   C4. Bytes received and not handed out yet never exceed the credit.
import { randomBytes } from 'node:crypto';
import { FlowError } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { pause } from './backoff.ts';
import { Commits, OwnedPartition } from './commits.ts';
import type { Connection } from './connection.ts';
import { ConsumedEvent, type StreamEvent } from './consumed-event.ts';
import { optionalMs } from './durations.ts';
import { checkName } from './enqueue.ts';
import { clientClosed, isWorthReconnecting } from './errors.ts';
import { ownName } from './identity.ts';
import { SessionStream } from './session-stream.ts';
import { type Place, placesOf } from './stream-record.ts';
import type { DrainOptions } from './worker-options.ts';

export interface ConsumerOptions {
  /** Where the group starts if it has committed nothing. Default: earliest. */
  from?: 'earliest' | 'latest' | undefined;
  /**
   * Aborting ends the loop as if there were no more events: what was handled is committed, the group is left.
   */
  signal?: AbortSignal | undefined;
  /** False: only `commit()` and transactions commit. Default: true. */
  autoCommit?: boolean | undefined;
  /** Bytes that may be on their way or wait here. Default: 4 MiB. */
  creditBytes?: number | undefined;
  /**
   * Hears of records that retention removed before this member had read them. Reading goes on behind them.
   */
  onSkipped?: ((skipped: SkippedRecords) => void) | undefined;
  /** Shown in the group's members. Default: POD_NAME, in a pod its host name, else `<host>:<process id>`. */
  name?: string | undefined;
}

/** Offsets `from` up to but not including `to`. */
export interface SkippedRecords {
  readonly partition: number;
  readonly from: number;
  readonly to: number;
}

const CREDIT_BYTES = 4 * 1024 * 1024;
/** How long leaving may take: the last commit and the goodbye. */
const LEAVE_MS = 5000;

interface Buffered {
  readonly owned: OwnedPartition;
  readonly places: Generator<Place, void, void>;
  readonly bytes: number;
}

type Next<T> = IteratorResult<StreamEvent<T>, undefined>;

export class Consumer<T = unknown> implements AsyncIterableIterator<StreamEvent<T>, undefined> {
  readonly stream: string;
  readonly group: string;
  readonly memberId = randomBytes(12).toString('hex');
  readonly #options: ConsumerOptions;
  readonly #creditBytes: number;
  readonly #session: SessionStream<pb.ConsumeRequestInput, pb.ConsumeResponse>;
  readonly #commits: Commits;
  readonly #owned = new Map<number, OwnedPartition>();
  readonly #buffer: Buffered[] = [];
  readonly #onLeft: (consumer: Consumer<T>) => void;
  #isStarted = false;
  #inHand: ConsumedEvent<T> | undefined;
  #owedBytes = 0;
  #waiting: { resolve: (next: Next<T>) => void; reject: (error: unknown) => void } | undefined;
  #heartbeat: NodeJS.Timeout | undefined;
  #failure: FlowError | undefined;
  #leaving: Promise<void> | undefined;
  #isDraining = false;
  #left: (() => void)[] = [];

  /** @internal Use `fm.stream.consumer`. */
  constructor(
    connection: Connection,
    names: { stream: string; group: string },
    options: ConsumerOptions,
    onLeft: (consumer: Consumer<T>) => void,
  ) {
    checkName(names.stream);
    checkName(names.group);
    this.stream = names.stream;
    this.group = names.group;
    this.#options = options;
    this.#creditBytes = options.creditBytes ?? CREDIT_BYTES;
    this.#onLeft = onLeft;
    this.#session = new SessionStream<pb.ConsumeRequestInput, pb.ConsumeResponse>({
      open: () => connection.lanes.hold(({ streams }) => streams.consume(connection.metadata())),
      hello: () => ({ hello: this.#hello() }),
      receive: (message) => this.#receive(message),
      broken: (error) => this.#onBroken(error),
    });
    this.#commits = new Commits(
      (commit) => {
        if (this.#session.isOpen) this.#session.send({ commit });
        return this.#session.isOpen;
      },
      (error) => this.#end(error),
    );
  }

  /** Partitions that are assigned to this member now. */
  get partitions(): number[] {
    return [...this.#owned.keys()].sort((a, b) => a - b);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** The next event; asking for it commits the one before. */
  next(): Promise<Next<T>> {
    if (this.#waiting !== undefined) {
      return Promise.reject(
        new FlowError('INVALID_ARGUMENT', 'one next() at a time: the events are in order'),
      );
    }
    if (!this.#isStarted) this.#start();
    this.#release();
    if (this.#failure !== undefined) return this.#fail(this.#failure);
    if (this.isEnding) return this.return();
    const event = this.#take();
    if (event !== undefined) return Promise.resolve({ done: false, value: event });
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
    });
  }

  /** Leaves the group: what was handled is committed, partitions go to others at once. */
  async return(): Promise<Next<T>> {
    await this.close();
    return { done: true, value: undefined };
  }

  /** Ends the loop: the event in hand is not committed (C1), everything before it is. Idempotent. */
  close(): Promise<void> {
    this.#leaving ??= this.#leave();
    return this.#leaving;
  }

  /**
   * Ends the loop when it asks for the next event: the one in hand is committed like every one before it.
   * Resolves when the group is left. On SIGTERM it is called for you. Idempotent.
   */
  drain(options: DrainOptions = {}): Promise<void> {
    const timeoutMs = optionalMs(options.timeout, 'timeout');
    this.#isDraining = true;
    if (this.#leaving !== undefined || this.#inHand === undefined) return this.close();
    const timer = timeoutMs === undefined ? undefined : setTimeout(() => void this.close(), timeoutMs);
    return new Promise<void>((resolve) => this.#left.push(resolve)).finally(() => clearTimeout(timer));
  }

  /** @internal It hands out nothing more. */
  get isEnding(): boolean {
    return this.#leaving !== undefined || this.#isDraining || this.#options.signal?.aborted === true;
  }

  /** @internal The event in hand is not handled here: it is not committed. */
  abandon(event: ConsumedEvent<T>): void {
    if (this.#inHand !== event) return;
    this.#inHand = undefined;
    this.#giveUpRevoked();
  }

  /** @internal */
  settledElsewhere(owned: OwnedPartition, offset: number): void {
    owned.committed = Math.max(owned.committed, offset);
    owned.handled = Math.max(owned.handled, offset);
  }

  #start(): void {
    this.#isStarted = true;
    this.#session.connect();
    this.#options.signal?.addEventListener('abort', this.#onAbort, { once: true });
  }

  readonly #onAbort = (): void => {
    // With an event in hand, the loop ends when it asks for the next one.
    if (this.#waiting !== undefined) void this.close();
  };

  #hello(): pb.ConsumeHelloInput {
    return {
      stream: this.stream,
      group: this.group,
      memberId: this.memberId,
      creditBytes: this.#creditBytes,
      startFrom: this.#options.from ?? 'earliest',
      client: this.#options.name ?? ownName(),
    };
  }

  #receive(message: pb.ConsumeResponse): void {
    if (message.chunk !== null) this.#onChunk(message.chunk);
    else if (message.committed !== null) {
      this.#commits.answered(message.committed);
      this.#giveUpRevoked();
    } else if (message.assignment !== null) this.#onAssignment(message.assignment);
    else if (message.welcome !== null) this.#onWelcome(message.welcome);
  }

  #onWelcome({ heartbeatMs }: pb.ConsumeWelcome): void {
    this.#session.welcomed();
    clearInterval(this.#heartbeat);
    this.#heartbeat = setInterval(() => this.#session.send({ heartbeat: {} }), heartbeatMs || 5000);
    this.#commits.flush();
  }

  #onAssignment({ partitions, revoking }: pb.Assignment): void {
    const assigned = new Map(partitions.map((p) => [p.partition, p]));
    for (const [partition, owned] of this.#owned) {
      const now = assigned.get(partition);
      if (now?.epoch === owned.epoch)
        assigned.delete(partition); // C3
      else if (now !== undefined || !revoking.includes(partition)) this.#lose(owned);
    }
    for (const partition of assigned.values())
      this.#owned.set(partition.partition, new OwnedPartition(partition));
    for (const partition of revoking) this.#revoke(partition);
    this.#giveUpRevoked();
  }

  /** C2 */
  #revoke(partition: number): void {
    const owned = this.#owned.get(partition);
    if (owned !== undefined) {
      owned.isRevoking = true;
      this.#dropBuffered(owned);
    } else {
      this.#session.send({ revoked: { partitions: [partition] } });
    }
  }

  #lose(owned: OwnedPartition): void {
    this.#owned.delete(owned.partition);
    this.#commits.forget(owned);
    this.#dropBuffered(owned);
  }

  #dropBuffered(owned: OwnedPartition): void {
    for (let i = this.#buffer.length - 1; i >= 0; i--) {
      const buffered = this.#buffer[i];
      if (buffered?.owned !== owned) continue;
      this.#buffer.splice(i, 1);
      this.#owe(buffered.bytes);
    }
  }

  #giveUpRevoked(): void {
    const revoked: number[] = [];
    for (const owned of this.#owned.values()) {
      if (!owned.isRevoking || this.#inHand?.owned === owned) continue;
      if (!owned.isGone && owned.handled > owned.committed) this.#commits.flush();
      else revoked.push(owned.partition);
    }
    if (revoked.length === 0 || !this.#session.isOpen) return;
    for (const partition of revoked) {
      const owned = this.#owned.get(partition);
      if (owned !== undefined) this.#lose(owned);
    }
    this.#session.send({ revoked: { partitions: revoked } });
  }

  #onChunk(chunk: pb.RecordChunk): void {
    const bytes = chunk.batches.length;
    const owned = this.#owned.get(chunk.partition);
    if (owned === undefined || owned.isRevoking) {
      this.#owe(bytes);
      return;
    }
    const { received } = owned;
    if (chunk.firstOffset > received) {
      this.#options.onSkipped?.({ partition: chunk.partition, from: received, to: chunk.firstOffset });
    }
    owned.received = Math.max(received, chunk.nextOffset);
    this.#buffer.push({ owned, places: placesOf(chunk, owned.position), bytes });
    if (this.#waiting === undefined) return;
    const event = this.#take();
    if (event !== undefined) this.#answer(event);
  }

  #answer(event: ConsumedEvent<T>): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.resolve({ done: false, value: event });
  }

  #take(): ConsumedEvent<T> | undefined {
    for (let first = this.#buffer[0]; first !== undefined; first = this.#buffer[0]) {
      const { value: place } = first.places.next();
      if (place) {
        // A chunk that was sent again after a reconnect begins with what was handed out before.
        if (place.offset < first.owned.position) continue;
        first.owned.position = place.offset + 1;
        this.#inHand = new ConsumedEvent<T>(place, this, first.owned, this.#commits);
        return this.#inHand;
      }
      this.#buffer.shift();
      this.#owe(first.bytes);
    }
    return undefined;
  }

  /** The event in hand is handled. */
  #release(): void {
    const event = this.#inHand;
    if (event === undefined) return;
    this.#inHand = undefined;
    if (this.#options.autoCommit !== false) this.#commits.note(event.owned, event.offset + 1);
    if (event.owned.isRevoking) this.#giveUpRevoked();
  }

  /** C4: credit goes back in quarters. */
  #owe(bytes: number): void {
    this.#owedBytes += bytes;
    if (this.#owedBytes < this.#creditBytes / 4 && this.#buffer.length > 0) return;
    if (!this.#session.isOpen || this.#owedBytes === 0) return;
    this.#session.send({ creditBytes: this.#owedBytes });
    this.#owedBytes = 0;
  }

  #onBroken(error: FlowError): void {
    clearInterval(this.#heartbeat);
    this.#buffer.length = 0;
    this.#owedBytes = 0;
    this.#commits.reopen();
    if (isWorthReconnecting(error) || error.code === 'MEMBER_FENCED') return;
    this.#end(error);
  }

  /** The loop ends with an error. */
  #end(error: FlowError): void {
    this.#failure ??= error;
    const waiting = this.#waiting;
    this.#waiting = undefined;
    void this.close();
    waiting?.reject(error);
  }

  async #fail(error: FlowError): Promise<never> {
    await this.close();
    throw error;
  }

  async #leave(): Promise<void> {
    this.#options.signal?.removeEventListener('abort', this.#onAbort);
    this.#inHand = undefined;
    if (this.#session.isOpen) {
      const giveUp = new AbortController();
      await Promise.race([this.#commits.drained(), pause(LEAVE_MS, giveUp.signal)]);
      giveUp.abort();
      this.#session.send({ leave: {} });
    }
    clearInterval(this.#heartbeat);
    await this.#session.close();
    this.#commits.close(clientClosed());
    this.#buffer.length = 0;
    this.#onLeft(this);
    for (const resolve of this.#left.splice(0)) resolve();
    this.#waiting?.resolve({ done: true, value: undefined });
    this.#waiting = undefined;
  }
}
