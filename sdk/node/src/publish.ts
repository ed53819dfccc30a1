// Writing to streams: records of one tick for one partition share a record batch. The key decides the
// partition (murmur2, as in Kafka); records without a key stay on one partition until its batch leaves, then
// go to the next.
//   W1. The number of partitions is asked once and again every REFRESH_MS of use: it may grow.
//   W2. A stream that does not exist yet is made by a unary Publish, if the server creates streams by itself.
import { type Envelope, FlowError, LIMITS, partitionOf, type RecordOptions } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { Call, type CallOptions, deadlineExceeded, deadlineOf, GroupCall, type Waiter } from './calls.ts';
import type { Connection } from './connection.ts';
import type { Watched } from './deadlines.ts';
import {
  checkEnvelope,
  checkKey,
  checkName,
  forgetIdle,
  LANES_MAX,
  RecordBatch,
  RecordLane,
} from './enqueue.ts';
import { clientClosed, fromWire } from './errors.ts';
import { type Headers, headersOf } from './headers.ts';
import { causeOf, currentOrigin, envelopeOf } from './origin.ts';
import { Pipeline } from './pipeline.ts';
import { contentTypeOf, encodeValue } from './values.ts';

/** How a record is written. */
export interface WriteOptions extends CallOptions {
  /** Records with one key keep their order. At most 1 KiB. */
  key?: string | Uint8Array | undefined;
  /** At most 64, each at most 1 KiB with its name. */
  headers?: Headers | undefined;
  /** Overrides the partition that the key would choose. */
  partition?: number | undefined;
  /** Producer time, ms since the epoch. The server notes its own append time in any case. */
  timeMs?: number | undefined;
  /** Tracing and causation; inside a handler they are filled in from the job in hand. */
  envelope?: Envelope | undefined;
}

/** Options of many records: a function is called with each event. */
export interface WriteManyOptions<E> extends CallOptions {
  key?: ((event: E, index: number) => string | Uint8Array | undefined) | undefined;
  headers?: Headers | ((event: E, index: number) => Headers | undefined) | undefined;
  partition?: number | ((event: E, index: number) => number | undefined) | undefined;
  envelope?: Envelope | undefined;
}

export interface WrittenRecord {
  partition: number;
  offset: number;
}

type PublishPipeline = Pipeline<pb.PublishBatchInput, pb.PublishBatchReply>;

const REFRESH_MS = 30_000;

export class Publisher {
  readonly #connection: Connection;
  readonly #targets = new Map<string, Target>();
  readonly pipeline: PublishPipeline;

  constructor(connection: Connection) {
    this.#connection = connection;
    this.pipeline = new Pipeline(
      {
        producerId: `${connection.options.producerId}.s`,
        open: () => connection.streams.publishStream(connection.metadata()),
        window: { messages: 1, bytes: LIMITS.batchBytes },
        error: (reply) => reply.error,
        seq: (reply) => reply.seq,
        windowOf: (reply) => reply.window,
      },
      connection.deadlines,
      connection.budget,
    );
  }

  write(stream: string, event: unknown, options?: WriteOptions): Promise<WrittenRecord> {
    const connection = this.#connection;
    const call = new Call<WrittenRecord>(deadlineOf(options, connection.options.deadlineMs), options?.signal);
    if (connection.isClosed) call.fail(clientClosed());
    else if (connection.budget.isFull) call.fail(connection.budget.refusal());
    else if (!call.isSettled) {
      try {
        this.#target(stream).add(event, recordOptions(options), options?.partition, call);
      } catch (error) {
        call.fail(error);
      }
    }
    return call.promise;
  }

  async writeMany<E>(
    stream: string,
    events: readonly E[],
    options?: WriteManyOptions<E>,
  ): Promise<WrittenRecord[]> {
    const { budget, options: defaults } = this.#connection;
    const group = new GroupCall<WrittenRecord>(
      events.length,
      deadlineOf(options, defaults.deadlineMs),
      options?.signal,
    );
    const target = this.#target(stream);
    try {
      for (let i = 0; i < events.length && !group.isSettled; i++) {
        while (budget.isFull && !group.isSettled) await this.#connection.room(group);
        if (group.isSettled) break;
        if (this.#connection.isClosed) throw clientClosed();
        const event = events[i] as E;
        const one = options === undefined ? undefined : optionsOfOne(options, event, i);
        target.add(event, recordOptions(one), one?.partition, group.part(i));
      }
    } catch (error) {
      group.fail(error);
    }
    return group.promise;
  }

  #target(stream: string): Target {
    let target = this.#targets.get(stream);
    if (target === undefined) {
      checkName(stream);
      if (this.#targets.size >= LANES_MAX) forgetIdle(this.#targets);
      target = new Target(stream, this.#connection, this.pipeline);
      this.#targets.set(stream, target);
    }
    return target;
  }
}

function optionsOfOne<E>(many: WriteManyOptions<E>, event: E, index: number): WriteOptions {
  const { key, headers, partition, envelope } = many;
  return {
    key: key?.(event, index),
    headers: typeof headers === 'function' ? headers(event, index) : headers,
    partition: typeof partition === 'function' ? partition(event, index) : partition,
    envelope,
  };
}

/** `isCaused`: the record says itself whose effect it is. */
export function recordOptions(o: WriteOptions | undefined, isCaused = true): RecordOptions | undefined {
  const origin = currentOrigin();
  if (o === undefined && origin === undefined) return undefined;
  const record: RecordOptions = {};
  if (o?.key !== undefined) record.key = checkKey(o.key);
  if (o?.headers !== undefined) record.headers = headersOf(o.headers);
  if (o?.timeMs !== undefined) record.timeMs = o.timeMs;
  if (o?.envelope !== undefined) record.envelope = checkEnvelope(o.envelope);
  if (origin !== undefined) {
    if (isCaused) record.cause = causeOf(origin);
    record.envelope = envelopeOf(origin, record.envelope);
  }
  return record;
}

interface WaitingRecord {
  event: unknown;
  record: RecordOptions | undefined;
  partition: number | undefined;
  call: Waiter;
}

/** One stream: its lanes, and what waits until their number is known. */
class Target implements Watched {
  readonly #stream: string;
  readonly #connection: Connection;
  readonly #pipeline: PublishPipeline;
  readonly #lanes: PublishLane[] = [];
  #waiting: WaitingRecord[] = [];
  #isLoading = false;
  #refreshAtMs = 0;
  #sticky = 0;

  constructor(stream: string, connection: Connection, pipeline: PublishPipeline) {
    this.#stream = stream;
    this.#connection = connection;
    this.#pipeline = pipeline;
  }

  add(event: unknown, record: RecordOptions | undefined, partition: number | undefined, call: Waiter): void {
    if (this.#lanes.length === 0) this.#wait({ event, record, partition, call });
    else this.#lane(partition, record?.key).add(event, record, call, event === null);
  }

  get isIdle(): boolean {
    return !this.#isLoading && this.#lanes.every((lane) => lane.isIdle);
  }

  sweep(nowMs: number): boolean {
    for (const { call } of this.#waiting) if (call.deadlineMs <= nowMs) call.fail(deadlineExceeded());
    return this.#waiting.length > 0;
  }

  #lane(partition: number | undefined, key: Uint8Array | undefined): PublishLane {
    const lanes = this.#lanes;
    if (partition !== undefined) {
      const lane = lanes[partition];
      if (lane !== undefined) return lane;
      throw new FlowError(
        'INVALID_ARGUMENT',
        `partition ${partition}: stream ${this.#stream} has ${lanes.length} partitions`,
      );
    }
    if (key !== undefined) return lanes[partitionOf(key, lanes.length)] as PublishLane;
    if (lanes[this.#sticky]?.isOpen !== true) this.#sticky = (this.#sticky + 1) % lanes.length;
    return lanes[this.#sticky] as PublishLane;
  }

  #wait(waiting: WaitingRecord): void {
    this.#waiting.push(waiting);
    this.#connection.budget.take(1, 0);
    this.#connection.deadlines.watch(this);
    if (!this.#isLoading) void this.#load();
  }

  /** Never rejects: what fails is handed to those who wait. */
  async #load(): Promise<void> {
    this.#isLoading = true;
    try {
      while (!(await this.#ask())) {
        const first = this.#takeWaiting();
        if (first === undefined) break;
        await this.#create(first);
      }
      for (let next = this.#takeWaiting(); next !== undefined; next = this.#takeWaiting())
        this.#forward(next);
    } catch (error) {
      for (let next = this.#takeWaiting(); next !== undefined; next = this.#takeWaiting()) {
        next.call.fail(error as FlowError);
      }
    }
    this.#isLoading = false;
  }

  #forward({ event, record, partition, call }: WaitingRecord): void {
    try {
      if (!call.isSettled) this.add(event, record, partition, call);
    } catch (error) {
      call.fail(error as FlowError);
    }
  }

  #takeWaiting(): WaitingRecord | undefined {
    const waiting = this.#waiting.shift();
    if (waiting !== undefined) this.#connection.budget.give(1, 0);
    return waiting;
  }

  /** False: there is no such stream yet. */
  async #ask(): Promise<boolean> {
    const { admin } = this.#connection;
    try {
      const stream = await this.#connection.call(admin, admin.getStream, { name: this.#stream });
      const count = stream.spec?.partitions || stream.partitions.length;
      while (this.#lanes.length < count) {
        this.#lanes.push(
          new PublishLane(this.#stream, this.#lanes.length, this.#connection, this.#pipeline, this),
        );
      }
      this.#refreshAtMs = performance.now() + REFRESH_MS;
      return true;
    } catch (error) {
      if (error instanceof FlowError && error.code === 'STREAM_NOT_FOUND') return false;
      throw error;
    }
  }

  /** W2 */
  async #create({ event, record, partition, call }: WaitingRecord): Promise<void> {
    const { streams } = this.#connection;
    try {
      const published = await this.#connection.call(streams, streams.publish, {
        stream: this.#stream,
        records: [newRecord(event, record, partition)],
        mutation: this.#connection.mutation(record?.cause),
      });
      const [written] = published.offsets;
      call.done({ partition: written?.partition ?? 0, offset: written?.offset ?? 0 });
    } catch (error) {
      call.fail(error as FlowError);
      throw error;
    }
  }

  /** W1, called when a batch leaves. */
  refresh(): void {
    const nowMs = performance.now();
    if (nowMs < this.#refreshAtMs) return;
    this.#refreshAtMs = nowMs + REFRESH_MS;
    this.#ask().catch(() => {});
  }
}

/** A record as the unary calls take it. */
export function newRecord(
  event: unknown,
  record: RecordOptions | undefined,
  partition: number | undefined,
): pb.NewRecordInput {
  return {
    key: record?.key,
    value: event === null ? undefined : encodeValue(event),
    contentType: event === null ? undefined : contentTypeOf(event),
    tombstone: event === null,
    headers: record?.headers === undefined ? undefined : Object.fromEntries(record.headers),
    envelope: record?.envelope,
    timeMs: record?.timeMs,
    partition,
  };
}

class PublishLane extends RecordLane<pb.PublishBatchInput, pb.PublishBatchReply> {
  readonly stream: string;
  readonly partition: number;
  readonly #target: Target;

  constructor(
    stream: string,
    partition: number,
    connection: Connection,
    pipeline: PublishPipeline,
    target: Target,
  ) {
    super(connection, pipeline);
    this.stream = stream;
    this.partition = partition;
    this.#target = target;
  }

  protected begin(): StreamBatch {
    this.#target.refresh();
    return new StreamBatch(this);
  }
}

class StreamBatch extends RecordBatch<pb.PublishBatchInput, pb.PublishBatchReply> {
  readonly #lane: PublishLane;

  constructor(lane: PublishLane) {
    super(lane);
    this.#lane = lane;
  }

  request(mutation: pb.MutationInput, afterSeq: number): pb.PublishBatchInput {
    const { stream, partition } = this.#lane;
    return { stream, partition, batch: this.encoded, mutation, afterSeq, partial: true };
  }

  accept(reply: pb.PublishBatchReply): undefined {
    const { partition } = this.#lane;
    let offset = reply.firstOffset;
    let next = 0;
    for (let i = 0; i < this.calls.length; i++) {
      const refused = reply.refused[next];
      if (refused?.index === i) {
        next++;
        this.calls[i]?.fail(fromWire(refused.error) ?? new FlowError('SCHEMA_VIOLATION', `record ${i}`));
      } else this.calls[i]?.done({ partition, offset: offset++ });
    }
  }
}
