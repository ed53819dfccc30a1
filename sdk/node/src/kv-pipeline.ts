// Key-value operations of one tick and one keyspace share a request; the requests of all keyspaces share a
// stream.
//   K1. Operations keep the order in which they were called.
//   K2. A request names one cause, and its operations are effects one after another: mutations of different
//       deliveries, or with something between, do not share one.
//   K3. How many reads share a request depends on how large values have been, so that no response is huge.
//   K4. A command that is large goes alone: with others the message could become too large for all of them.
import { FlowError, LIMITS } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { Batch } from './batch.ts';
import { Call, type CallOptions, deadlineOf, type Waiter } from './calls.ts';
import type { Connection } from './connection.ts';
import { shortReply } from './enqueue.ts';
import { clientClosed, fromWire } from './errors.ts';
import type { KvCommand } from './kv-commands.ts';
import { type Cause, causeOf, currentOrigin, type Origin } from './origin.ts';
import { Lane, Pipeline } from './pipeline.ts';

type KvPipelineOf = Pipeline<pb.KvRequestInput, pb.KvResponse>;

const SEAL_OPS = 1000;
const SEAL_BYTES = 1024 * 1024;
/**
 * K3: what the values of one response may take, and how large a value is thought to be before any was seen.
 */
const RESPONSE_BYTES = 4 * 1024 * 1024;
const FIRST_GUESS_BYTES = 16 * 1024;

/** Runs commands against one keyspace each. */
export class KvRunner {
  readonly connection: Connection;
  readonly #lanes = new Map<string, KvLane>();
  readonly pipeline: KvPipelineOf;

  constructor(connection: Connection) {
    this.connection = connection;
    this.pipeline = new Pipeline(
      {
        producerId: `${connection.options.producerId}.k`,
        open: () => connection.kv.pipeline(connection.metadata()),
        window: { messages: 16, bytes: 4 * SEAL_BYTES },
        error: (reply) => reply.error,
        seq: () => undefined,
        windowOf: () => null,
      },
      connection.deadlines,
      connection.budget,
    );
  }

  lane(keyspace: string): KvLane {
    let lane = this.#lanes.get(keyspace);
    if (lane === undefined) {
      lane = new KvLane(keyspace, this.connection, this.pipeline);
      this.#lanes.set(keyspace, lane);
    }
    return lane;
  }
}

const tooLarge = (bytes: number): FlowError =>
  new FlowError(
    'BATCH_TOO_LARGE',
    `one command of ${bytes} bytes, at most ${LIMITS.batchBytes} are accepted: split it`,
  );

class KvCall<T> extends Call<T> {
  readonly command: KvCommand<T>;

  constructor(command: KvCommand<T>, deadlineMs: number, signal: AbortSignal | undefined) {
    super(deadlineMs, signal);
    this.command = command;
  }

  override done(result: unknown): void {
    try {
      super.done(this.command.read(result as pb.KvResult));
    } catch (error) {
      this.fail(error);
    }
  }
}

export class KvLane extends Lane<pb.KvRequestInput, pb.KvResponse> {
  readonly keyspace: string;
  readonly connection: Connection;
  readonly pipeline: KvPipelineOf;
  /** K3: the size of recent values; rises at once, falls slowly. */
  valueBytes = FIRST_GUESS_BYTES;
  #open: KvBatch | undefined;

  constructor(keyspace: string, connection: Connection, pipeline: KvPipelineOf) {
    super();
    this.keyspace = keyspace;
    this.connection = connection;
    this.pipeline = pipeline;
  }

  run<T>(command: KvCommand<T>, options?: CallOptions): Promise<T> {
    const { budget, options: defaults, isClosed } = this.connection;
    const call = new KvCall(command, deadlineOf(options, defaults.deadlineMs), options?.signal);
    if (isClosed) call.fail(clientClosed());
    else if (budget.isFull) call.fail(budget.refusal());
    else if (command.bytes > LIMITS.batchBytes) call.fail(tooLarge(command.bytes));
    else if (!call.isSettled) this.#add(call as KvCall<unknown>);
    return call.promise;
  }

  seal(): KvBatch | undefined {
    const batch = this.#open;
    this.#open = undefined;
    return batch;
  }

  protected dropOpen(batch: Batch<pb.KvRequestInput, pb.KvResponse>): void {
    if (batch === this.#open) this.#open = undefined;
  }

  #add(call: KvCall<unknown>): void {
    const { command } = call;
    const origin = command.isMutation ? currentOrigin() : undefined;
    let batch = this.#open;
    const isApart = command.bytes > SEAL_BYTES || (command.isMutation && !batch?.takesEffectsOf(origin));
    if (batch !== undefined && isApart) {
      this.sealed.push(batch); // K2, K4
      batch = undefined;
    }
    if (batch === undefined) {
      batch = new KvBatch(this);
      this.#open = batch;
      this.pipeline.begin(batch);
    }
    batch.append(call, origin);
    if (batch.isFull) {
      this.#open = undefined;
      this.sealed.push(batch);
    }
    if (!this.isReady) this.pipeline.ready(this);
  }
}

class KvBatch extends Batch<pb.KvRequestInput, pb.KvResponse> {
  readonly #lane: KvLane;
  #bytes = 0;
  #expectedBytes = 0;
  #isMutation = false;
  #cause: Cause | undefined;

  constructor(lane: KvLane) {
    super(lane);
    this.#lane = lane;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get isFull(): boolean {
    return (
      this.calls.length >= SEAL_OPS || this.#bytes >= SEAL_BYTES || this.#expectedBytes >= RESPONSE_BYTES
    );
  }

  takesEffectsOf(origin: Origin | undefined): boolean {
    if (origin === undefined) return this.#cause === undefined;
    if (this.calls.length === 0) return true;
    const cause = this.#cause;
    return (
      cause?.deliveryId === origin.deliveryId && cause.ordinal + this.calls.length === origin.ordinal + 1
    );
  }

  append(call: KvCall<unknown>, origin: Origin | undefined): void {
    const { command } = call;
    this.add(call, command.bytes, this.#lane.connection.budget);
    this.#bytes += command.bytes;
    if (!command.isMutation) {
      this.#expectedBytes += this.#lane.valueBytes;
      return;
    }
    this.#isMutation = true;
    if (origin === undefined) return;
    const cause = causeOf(origin);
    this.#cause ??= cause;
  }

  prepare(): boolean {
    if (this.seq === 0) this.calls = this.calls.filter((call) => !call.isSettled);
    return this.calls.length > 0;
  }

  request(mutation: pb.MutationInput): pb.KvRequestInput {
    const ops = this.calls.map((call) => (call as KvCall<unknown>).command.op);
    const request: pb.KvRequestInput = { keyspace: this.#lane.keyspace, ops };
    if (this.#isMutation) request.mutation = { ...mutation, cause: this.#cause };
    return request;
  }

  accept(reply: pb.KvResponse): { batch: KvBatch; error: FlowError } | undefined {
    let again: { batch: KvBatch; error: FlowError } | undefined;
    let largest = 0;
    for (let i = 0; i < this.calls.length; i++) {
      const call = this.calls[i] as Waiter;
      const result = reply.results[i];
      if (result === undefined) {
        call.fail(shortReply(reply.results.length, this.calls.length));
        continue;
      }
      const error = fromWire(result.error);
      if (error === undefined) {
        if (result.value.length > largest) largest = result.value.length;
        call.done(result);
      } else if (error.retry === 'backoff' && !call.isSettled) {
        again ??= { batch: new KvBatch(this.#lane), error };
        again.batch.append(call as KvCall<unknown>, undefined);
        const { deliveryId, ordinal } = this.#cause ?? {};
        if (deliveryId !== undefined) again.batch.#cause ??= { deliveryId, ordinal: (ordinal ?? 0) + i };
      } else {
        call.fail(error);
      }
    }
    this.#lane.valueBytes = Math.max(largest, Math.ceil(this.#lane.valueBytes * 0.75));
    return again;
  }
}
