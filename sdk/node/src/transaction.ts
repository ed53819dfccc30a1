// All or nothing across keys, queues and streams: what a callback records is sent as one request and commits
// as one journal entry. Names must live on one shard: give them the same {tag}.
import { FlowError } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { CallOptions } from './calls.ts';
import type { Connection } from './connection.ts';
import { ConsumedEvent, type StreamEvent } from './consumed-event.ts';
import type { Duration } from './durations.ts';
import { type EnqueuedJob, type EnqueueOptions, enqueuedJob } from './enqueue.ts';
import { fromWire } from './errors.ts';
import { HeldJob, type Job } from './job.ts';
import { scoredOf } from './kv-collections.ts';
import type { KvCommand, Name, SetOptions } from './kv-commands.ts';
import * as commands from './kv-commands.ts';
import { newJob } from './new-job.ts';
import { causeOf, currentOrigin } from './origin.ts';
import { newRecord, recordOptions, type WriteOptions, type WrittenRecord } from './publish.ts';
import type { Worker } from './worker.ts';

/** What each recorded call came to, in order: what the same call on `fm` resolves to. */
export type TransactionResults = (
  | EnqueuedJob
  | WrittenRecord
  | commands.SetOutcome
  | number
  | boolean
  | undefined
)[];

interface Recorded {
  readonly op: pb.TransactionOpInput;
  readonly read: (result: pb.TransactionResult) => TransactionResults[number];
  /** Called once it is durable. */
  readonly committed?: () => void;
}

export class Transaction {
  readonly kv: TransactionKv;
  readonly queue: TransactionQueue;
  readonly stream: TransactionStream;
  readonly #recorded: Recorded[] = [];

  /** @internal */
  constructor() {
    const record = (recorded: Recorded) => void this.#recorded.push(recorded);
    this.kv = new TransactionKv(record, '');
    this.queue = new TransactionQueue(record);
    this.stream = new TransactionStream(record);
  }

  /** Acks a job. If its lease is lost by then, the whole transaction is refused with LEASE_LOST. */
  ack(job: Job): void {
    if (!(job instanceof HeldJob))
      throw new FlowError('INVALID_ARGUMENT', 'ack: this is not a job of a worker');
    if (job.lease !== 'held') throw job.leaseLost();
    const settlements = [{ id: job.id, leaseEpoch: job.leaseEpoch, ack: {} }];
    this.#recorded.push({
      op: { settle: { queue: job.queue, settlements } },
      read: (result) => throwing(result.settle?.results[0]),
      committed: () => (job.holder as Worker).settledElsewhere(job),
    });
  }

  /** Commits an event of a consumer, and those before it in its partition. */
  commit(event: StreamEvent): void {
    if (!(event instanceof ConsumedEvent)) {
      throw new FlowError('INVALID_ARGUMENT', 'commit: this is not an event of a consumer');
    }
    const { owned, consumer } = event;
    const { stream, group, memberId } = consumer;
    const offset = event.offset + 1;
    this.#recorded.push({
      op: {
        commit: {
          stream,
          group,
          memberId,
          offsets: [{ partition: event.partition, offset, epoch: owned.epoch }],
        },
      },
      read: (result) => throwing(result.commit?.results[0]),
      committed: () => consumer.settledElsewhere(owned, offset),
    });
  }

  /** @internal */
  async send(connection: Connection, options: CallOptions | undefined): Promise<TransactionResults> {
    const recorded = this.#recorded.splice(0);
    if (recorded.length === 0) return [];
    const origin = currentOrigin();
    const mutation = connection.mutation(origin === undefined ? undefined : causeOf(origin));
    // The operations are effects one after another.
    for (let i = 1; i < recorded.length; i++) origin?.nextOrdinal();
    const request = { ops: recorded.map(({ op }) => op), mutation };
    const { transactions } = connection;
    const response = await connection.call(transactions, transactions.commit, request, options);
    return recorded.map(({ read, committed }, i) => {
      committed?.();
      return read(response.results[i] as pb.TransactionResult);
    });
  }
}

type Recorder = (recorded: Recorded) => void;

/** The mutations of fm.kv. Their results come from `fm.transaction`. */
export class TransactionKv {
  readonly #record: Recorder;
  readonly #keyspace: string;

  /** @internal */
  constructor(record: Recorder, keyspace: string) {
    this.#record = record;
    this.#keyspace = keyspace;
  }

  keyspace(name: string): TransactionKv {
    return new TransactionKv(this.#record, name);
  }

  set(key: Name, value: unknown, options?: SetOptions): void {
    this.#run(commands.setCommand(key, value, options));
  }

  delete(key: Name, options?: { ifRevision?: number }): void {
    this.#run(commands.deleteCommand(key, options?.ifRevision));
  }

  expire(key: Name, ttl: Duration): void {
    this.#run(commands.expireCommand(key, ttl));
  }

  persist(key: Name): void {
    this.#run(commands.expireCommand(key, undefined));
  }

  increment(key: Name, by = 1): void {
    this.#run(commands.incrementCommand(key, by));
  }

  hash(key: Name) {
    return {
      set: (fields: Readonly<Record<string, unknown>>): void =>
        this.#run(commands.hashSetCommand(key, fields)),
      delete: (...fields: Name[]): void => this.#run(commands.hashDeleteCommand(key, fields)),
      increment: (field: Name, by = 1): void => this.#run(commands.hashIncrementCommand(key, field, by)),
    };
  }

  members(key: Name) {
    return {
      add: (...members: Name[]): void => this.#run(commands.setAddCommand(key, members)),
      remove: (...members: Name[]): void => this.#run(commands.setRemoveCommand(key, members)),
    };
  }

  sortedSet(key: Name) {
    return {
      add: (members: Name | Readonly<Record<string, number>>, score?: number): void =>
        this.#run(commands.sortedSetAddCommand(key, scoredOf(members, score))),
      remove: (...members: Name[]): void => this.#run(commands.sortedSetRemoveCommand(key, members)),
      increment: (member: Name, by = 1): void =>
        this.#run(commands.sortedSetIncrementCommand(key, member, by)),
    };
  }

  #run<T extends TransactionResults[number]>(command: KvCommand<T>): void {
    this.#record({
      op: { kv: { keyspace: this.#keyspace, ops: [command.op] } },
      read: ({ kv }) => {
        const [result] = kv?.results ?? [];
        if (result === undefined) return undefined;
        throwing(result.error);
        return command.read(result);
      },
    });
  }
}

export class TransactionQueue {
  readonly #record: Recorder;

  /** @internal */
  constructor(record: Recorder) {
    this.#record = record;
  }

  enqueue(queue: string, payload: unknown, options: Omit<EnqueueOptions, keyof CallOptions> = {}): void {
    const job = newJob(payload, options);
    this.#record({
      op: { enqueue: { queue, jobs: [job] } },
      read: ({ enqueue }) => {
        const [enqueued] = enqueue?.jobs ?? [];
        return enqueued && enqueuedJob(enqueued);
      },
    });
  }
}

export class TransactionStream {
  readonly #record: Recorder;

  /** @internal */
  constructor(record: Recorder) {
    this.#record = record;
  }

  write(stream: string, event: unknown, options: Omit<WriteOptions, keyof CallOptions> = {}): void {
    const record = newRecord(event, recordOptions(options, false), options.partition);
    this.#record({
      op: { publish: { stream, records: [record] } },
      read: ({ publish }) => {
        const [written] = publish?.offsets ?? [];
        return written && { partition: written.partition, offset: written.offset };
      },
    });
  }
}

function throwing(error: pb.Error | null | undefined): undefined {
  const failure = fromWire(error ?? null);
  if (failure !== undefined) throw failure;
}
