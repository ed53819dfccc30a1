// Enqueuing: calls of one tick to one queue share a record batch; their payloads are encoded straight into
// it.
import {
  DEDUP_MODES,
  type DedupMode,
  type Envelope,
  FlowError,
  LIMITS,
  type RecordBatchBuilder,
  type RecordOptions,
  readEntries,
  readHead,
  sliceBatch,
} from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { Batch } from './batch.ts';
import { Call, type CallOptions, deadlineOf, GroupCall, type Waiter } from './calls.ts';
import type { Connection } from './connection.ts';
import { type Duration, durationMs } from './durations.ts';
import { clientClosed, fromWire } from './errors.ts';
import { type Headers, headersOf } from './headers.ts';
import { causeOf, currentOrigin, envelopeOf } from './origin.ts';
import { Lane, Pipeline } from './pipeline.ts';
import { BYTES_TYPE, contentTypeOf, textOf } from './values.ts';

/** How a job is enqueued. */
export interface EnqueueOptions extends CallOptions {
  /** Not before this long from now. Any length. */
  delay?: Duration | undefined;
  /** 0 to 255, higher first. Default: 0. */
  priority?: number | undefined;
  /** Jobs with one key are handled in order, one at a time. At most 1 KiB. */
  key?: string | Uint8Array | undefined;
  /**
   * Jobs with one limitKey share the limits per key of the queue, and one place in its turns; they may run
   * side by side and in any order. Default: key. At most 1 KiB.
   */
  limitKey?: string | Uint8Array | undefined;
  /** A second job with the same dedupKey within the queue's deduplication window is not enqueued. */
  dedupKey?: string | undefined;
  /**
   * What a second job with the dedupKey does. `throttle` (default): it is not enqueued within the window.
   * `simple`: it is not enqueued until the first is finished. `debounce`: it takes the place of the first
   * while that waits, and waits for `delay` (default: the window) from now. A key keeps to one mode.
   */
  dedupMode?: DedupMode | undefined;
  /** Default: the queue's. */
  dedupWindow?: Duration | undefined;
  /** At most 64, each at most 1 KiB with its name. */
  headers?: Headers | undefined;
  /** How long one attempt may run. Default: the queue's timeout. */
  timeout?: Duration | undefined;
  /** Tracing and causation; inside a handler they are filled in from the job in hand. */
  envelope?: Envelope | undefined;
}

export interface EnqueuedJob {
  /** Says where the job lives: `<shard>-<queue>-<offset>` in base 36. */
  id: string;
  /** True: nothing was enqueued, `id` is that of an earlier job with the same dedupKey. */
  deduplicated: boolean;
  /** debounce: the job whose place this one took. */
  replacedId?: string | undefined;
}

/** A batch is sealed at either; one more value of at most 1 MiB keeps it below LIMITS.batchBytes. */
export const SEAL_RECORDS = 2000;
export const SEAL_BYTES = 1024 * 1024;

/** Names that are remembered; beyond it those that are idle are forgotten. */
export const LANES_MAX = 10_000;

export function forgetIdle(lanes: Map<string, { readonly isIdle: boolean }>): void {
  for (const [name, lane] of lanes) if (lane.isIdle) lanes.delete(name);
}

export class Enqueuer {
  readonly #connection: Connection;
  readonly #lanes = new Map<string, EnqueueLane>();
  readonly pipeline: Pipeline<pb.EnqueueBatchInput, pb.EnqueueBatchReply>;

  constructor(connection: Connection) {
    this.#connection = connection;
    this.pipeline = new Pipeline(
      {
        producerId: `${connection.options.producerId}.q`,
        open: () => connection.queues.enqueueStream(connection.metadata()),
        window: { messages: 1, bytes: LIMITS.batchBytes },
        error: (reply) => reply.error,
        seq: (reply) => reply.seq,
        windowOf: (reply) => reply.window,
      },
      connection.deadlines,
      connection.budget,
    );
  }

  enqueue(queue: string, payload: unknown, options?: EnqueueOptions): Promise<EnqueuedJob> {
    const connection = this.#connection;
    const call = new Call<EnqueuedJob>(deadlineOf(options, connection.options.deadlineMs), options?.signal);
    if (connection.isClosed) call.fail(clientClosed());
    else if (connection.budget.isFull) call.fail(connection.budget.refusal());
    else if (!call.isSettled) {
      try {
        this.#lane(queue).add(payload, optionsOf(options), call);
      } catch (error) {
        call.fail(error);
      }
    }
    return call.promise;
  }

  async enqueueMany(
    queue: string,
    payloads: readonly unknown[],
    options?: EnqueueOptions,
  ): Promise<EnqueuedJob[]> {
    const connection = this.#connection;
    const group = new GroupCall<EnqueuedJob>(
      payloads.length,
      deadlineOf(options, connection.options.deadlineMs),
      options?.signal,
    );
    const lane = this.#lane(queue);
    try {
      for (let i = 0; i < payloads.length && !group.isSettled; i++) {
        while (connection.budget.isFull && !group.isSettled) await connection.room(group);
        if (group.isSettled) break;
        if (connection.isClosed) throw clientClosed();
        lane.add(payloads[i], optionsOf(options), group.part(i));
      }
    } catch (error) {
      group.fail(error);
    }
    return group.promise;
  }

  #lane(queue: string): EnqueueLane {
    let lane = this.#lanes.get(queue);
    if (lane === undefined) {
      checkName(queue);
      if (this.#lanes.size >= LANES_MAX) forgetIdle(this.#lanes);
      lane = new EnqueueLane(queue, this.#connection, this.pipeline);
      this.#lanes.set(queue, lane);
    }
    return lane;
  }
}

/** Options as the record batch takes them; undefined: there are none. */
function optionsOf(options: EnqueueOptions | undefined): RecordOptions | undefined {
  const origin = currentOrigin();
  if (origin === undefined && (options === undefined || !hasRecordOptions(options))) return undefined;
  const record: RecordOptions = {};
  if (options !== undefined) jobOptions(options, record);
  if (origin !== undefined) {
    record.cause = causeOf(origin);
    record.envelope = envelopeOf(origin, record.envelope);
  }
  return record;
}

/** Whether there is more than deadline and signal. */
const hasRecordOptions = (o: EnqueueOptions): boolean =>
  o.delay !== undefined ||
  o.priority !== undefined ||
  o.key !== undefined ||
  o.dedupKey !== undefined ||
  o.dedupMode !== undefined ||
  o.dedupWindow !== undefined ||
  o.limitKey !== undefined ||
  o.headers !== undefined ||
  o.timeout !== undefined ||
  o.envelope !== undefined;

export function jobOptions(o: EnqueueOptions, record: RecordOptions): void {
  if (o.delay !== undefined) record.delayMs = durationMs(o.delay, 'delay');
  if (o.priority !== undefined) record.priority = checkPriority(o.priority);
  if (o.key !== undefined) record.key = checkKey(o.key);
  if (o.limitKey !== undefined) record.limitKey = checkKey(o.limitKey);
  if (o.dedupKey !== undefined) record.dedupKey = checkText(o.dedupKey, 'dedupKey');
  if (o.dedupMode !== undefined) record.dedupMode = checkDedupMode(o);
  if (o.dedupWindow !== undefined) record.dedupWindowMs = durationMs(o.dedupWindow, 'dedupWindow');
  if (o.headers !== undefined) record.headers = headersOf(o.headers);
  if (o.timeout !== undefined) record.timeoutMs = durationMs(o.timeout, 'timeout');
  if (o.envelope !== undefined) record.envelope = checkEnvelope(o.envelope);
}

function checkPriority(priority: number): number {
  if (Number.isInteger(priority) && priority >= 0 && priority <= 255) return priority;
  throw new FlowError('INVALID_ARGUMENT', `priority ${priority}: give a whole number from 0 to 255`);
}

function checkDedupMode({ dedupMode: mode, dedupKey, key }: EnqueueOptions): DedupMode {
  if (mode === undefined || !DEDUP_MODES.includes(mode))
    throw new FlowError('INVALID_ARGUMENT', `dedupMode ${mode}: give one of ${DEDUP_MODES.join(', ')}`);
  if (!dedupKey) throw new FlowError('INVALID_ARGUMENT', `dedupMode ${mode} without a dedupKey`);
  if (mode === 'debounce' && key !== undefined)
    throw new FlowError('INVALID_ARGUMENT', 'a job with a key cannot be debounced');
  return mode;
}

/** Before it is in a batch: there it would fail its neighbours as well. */
export function checkKey(key: string | Uint8Array): Uint8Array {
  const bytes = typeof key === 'string' ? Buffer.from(key) : key;
  if (bytes.length <= LIMITS.keyBytes) return bytes;
  throw new FlowError(
    'KEY_TOO_LARGE',
    `key of ${bytes.length} bytes, at most ${LIMITS.keyBytes} are accepted`,
  );
}

function checkText(text: string, name: string): string {
  if (text.length * 3 <= LIMITS.keyBytes || Buffer.byteLength(text) <= LIMITS.keyBytes) return text;
  throw new FlowError('KEY_TOO_LARGE', `${name} is longer than ${LIMITS.keyBytes} bytes`);
}

export function checkEnvelope(envelope: Envelope): Envelope {
  if (envelope.traceparent !== undefined) checkText(envelope.traceparent, 'envelope.traceparent');
  if (envelope.causationId !== undefined) checkText(envelope.causationId, 'envelope.causationId');
  if (envelope.correlationId !== undefined) checkText(envelope.correlationId, 'envelope.correlationId');
  if (envelope.schema !== undefined) checkText(envelope.schema, 'envelope.schema');
  for (const tag of envelope.tags ?? []) checkText(tag, 'envelope.tags');
  return envelope;
}

export function checkName(name: string): void {
  if (typeof name === 'string' && name !== '' && Buffer.byteLength(name) <= LIMITS.nameBytes) return;
  throw new FlowError(
    'INVALID_ARGUMENT',
    `name ${JSON.stringify(name)}: give 1 to ${LIMITS.nameBytes} bytes of text`,
  );
}

/** A lane whose batches are record batches, of jobs or of records. */
export abstract class RecordLane<Request, Reply> extends Lane<Request, Reply> {
  readonly connection: Connection;
  readonly pipeline: Pipeline<Request, Reply>;
  /** Only while a batch is open: there may be thousands of lanes. */
  #builder: RecordBatchBuilder | undefined;
  #open: RecordBatch<Request, Reply> | undefined;

  constructor(connection: Connection, pipeline: Pipeline<Request, Reply>) {
    super();
    this.connection = connection;
    this.pipeline = pipeline;
  }

  protected abstract begin(): RecordBatch<Request, Reply>;

  get isOpen(): boolean {
    return this.#open !== undefined;
  }

  get isIdle(): boolean {
    const isEmpty = this.#open === undefined && this.sealed.length === 0 && this.inFlight === 0;
    return isEmpty && !this.isReady && !this.isPaused;
  }

  /** Encodes one record. Throws, without a trace in the batch, if it is too large. */
  add(value: unknown, options: RecordOptions | undefined, call: Waiter, tombstone = false): void {
    this.#builder ??= this.connection.takeBuilder();
    const builder = this.#builder;
    const text = tombstone ? undefined : textOf(value);
    const before = builder.byteLength;
    if (text !== undefined) {
      // Within a third of the limit no text can be too large, so that only few are measured.
      if (text.length * 3 > LIMITS.valueBytes) checkSize(Buffer.byteLength(text));
      builder.addText(text, contentTypeOf(value), options);
    } else if (tombstone) {
      builder.add({ ...options, value: null });
    } else {
      checkSize((value as Uint8Array).length);
      builder.add({ ...options, value: value as Uint8Array, contentType: BYTES_TYPE });
    }
    let batch = this.#open;
    if (batch === undefined) {
      batch = this.begin();
      this.#open = batch;
      this.pipeline.begin(batch);
    }
    batch.add(call, builder.byteLength - before, this.connection.budget);
    if (builder.count >= SEAL_RECORDS || builder.byteLength >= SEAL_BYTES) {
      this.#close(batch);
      this.sealed.push(batch);
    }
    if (!this.isReady) this.pipeline.ready(this);
  }

  seal(): RecordBatch<Request, Reply> | undefined {
    const batch = this.#open;
    if (batch !== undefined) this.#close(batch);
    return batch;
  }

  protected dropOpen(batch: Batch<Request, Reply>): void {
    if (batch === this.#open) this.#close(this.#open);
  }

  #close(batch: RecordBatch<Request, Reply>): void {
    const builder = this.#builder;
    this.#builder = undefined;
    this.#open = undefined;
    if (builder === undefined) return;
    batch.encoded = builder.finish();
    this.connection.giveBuilder(builder);
  }
}

function checkSize(bytes: number): void {
  if (bytes <= LIMITS.valueBytes) return;
  throw new FlowError(
    'VALUE_TOO_LARGE',
    `value of ${bytes} bytes, at most ${LIMITS.valueBytes} are accepted`,
  );
}

export abstract class RecordBatch<Request, Reply> extends Batch<Request, Reply> {
  encoded: Buffer = Buffer.alloc(0);

  get bytes(): number {
    return this.encoded.length;
  }

  prepare(): boolean {
    const alive = this.calls.filter((call) => !call.isSettled);
    if (alive.length === this.calls.length) return true;
    if (alive.length === 0) return false;
    if (this.seq !== 0) return true;
    const head = readHead(this.encoded);
    const spans = readEntries(this.encoded, 0, head).filter((_, i) => this.calls[i]?.isSettled === false);
    this.encoded = sliceBatch(this.encoded, head, spans);
    this.calls = alive;
    return true;
  }
}

class EnqueueLane extends RecordLane<pb.EnqueueBatchInput, pb.EnqueueBatchReply> {
  readonly queue: string;

  constructor(
    queue: string,
    connection: Connection,
    pipeline: Pipeline<pb.EnqueueBatchInput, pb.EnqueueBatchReply>,
  ) {
    super(connection, pipeline);
    this.queue = queue;
  }

  protected begin(): JobBatch {
    return new JobBatch(this, this.queue);
  }
}

class JobBatch extends RecordBatch<pb.EnqueueBatchInput, pb.EnqueueBatchReply> {
  readonly #queue: string;

  constructor(lane: EnqueueLane, queue: string) {
    super(lane);
    this.#queue = queue;
  }

  request(mutation: pb.MutationInput): pb.EnqueueBatchInput {
    return { queue: this.#queue, batch: this.encoded, mutation, partial: true };
  }

  accept(reply: pb.EnqueueBatchReply): undefined {
    const calls = this.calls;
    if (reply.jobs.length > 0) {
      for (let i = 0; i < calls.length; i++) {
        const job = reply.jobs[i];
        const error = fromWire(job?.error ?? null);
        if (job === undefined) calls[i]?.fail(shortReply(reply.jobs.length, calls.length));
        else if (error !== undefined) calls[i]?.fail(error);
        else calls[i]?.done(enqueuedJob(job));
      }
      return;
    }
    const { idPrefix, firstOffset } = reply;
    for (let i = 0; i < calls.length; i++) {
      calls[i]?.done({ id: idPrefix + (firstOffset + i).toString(36), deduplicated: false });
    }
  }
}

export const enqueuedJob = ({ id, deduplicated, replacedId }: pb.EnqueuedJob): EnqueuedJob =>
  replacedId === '' ? { id, deduplicated } : { id, deduplicated, replacedId };

export const shortReply = (answered: number, asked: number): FlowError =>
  new FlowError('INTERNAL', `the server answered ${answered} of ${asked} entries of a batch`);
