// Publishing: the hot path of ready-made batches, and single requests whose records are grouped into batches
// here.
//   P1. A repeat of a request goes to the same partitions, so that its shard recognises it: records without a
//       key follow (producerId, seq), and a counter only where there is none.

import {
  type BatchRecord,
  FlowError,
  LIMITS,
  murmur2,
  partitionOf,
  RecordBatchBuilder,
  validateBatch,
} from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { mutationOf } from '../shard/mutation.ts';
import type { Caller, MutationId } from '../shard/state-machine.ts';
import type { StreamCell } from './cells.ts';
import { type Publish, type Published, publishCommand } from './commands.ts';
import { partitionNotFound } from './declare.ts';
import { InOrder, type Slot } from './in-order.ts';
import type { Locator } from './locator.ts';

const DURABILITY_FSYNC = 1;

type Reply = pb.PublishBatchReplyInput;

/** What a request of records becomes: one command for each partition, and how their replies become one. */
export interface PublishPlan {
  /** In the order of `partitions`. */
  readonly commands: readonly Publish[];
  readonly mutation: MutationId | undefined;
  readonly respond: (replies: readonly Published[]) => pb.PublishResponseInput;
}

export class Publisher {
  readonly #locator: Locator;
  readonly #orders = new WeakMap<Caller, InOrder<Reply>>();
  #round: number;

  constructor(locator: Locator, random: () => number) {
    this.#locator = locator;
    this.#round = Math.floor(random() * 0x7fffffff);
  }

  publishBatch(caller: Caller, request: pb.PublishBatch, done: (reply: Reply) => void): void {
    let order = this.#orders.get(caller);
    if (order === undefined) {
      order = new InOrder();
      this.#orders.set(caller, order);
    }
    const slot = order.open(done);
    const stream = this.#locator.ready(caller.tenant, request.stream);
    if (stream !== undefined) {
      this.#submit(caller, stream, request, order, slot);
      return;
    }
    this.#locator.create(caller, request.stream, (error, made) => {
      if (made === undefined) order.close(slot, refused(request, error as FlowError));
      else this.#submit(caller, made, request, order, slot);
    });
  }

  #submit(
    caller: Caller,
    stream: StreamCell,
    request: pb.PublishBatch,
    order: InOrder<Reply>,
    slot: Slot<Reply>,
  ): void {
    const { stream: name, partition, batch } = request;
    let command: Publish;
    try {
      if (partition >= stream.cell.value.partitions) throw partitionNotFound(stream, partition);
      const head = validateBatch(batch);
      command = publishCommand(
        caller,
        { stream: name, partition, batch, head, isPartial: request.partial },
        behind(mutationOf(request.mutation), request.afterSeq),
      );
    } catch (error) {
      order.close(slot, refused(request, error as FlowError));
      return;
    }
    this.#locator.shardOf(name, partition).submit(command, (error, reply) => {
      order.close(slot, error === null ? accepted(request, reply as Published) : refused(request, error));
    });
  }

  async publish(caller: Caller, request: pb.PublishRequest): Promise<pb.PublishResponseInput> {
    const plan = await this.plan(caller, request);
    const byShard = new Map<number, number[]>();
    plan.commands.forEach((command, i) => {
      const shard = this.#locator.shardOf(command.stream, command.partition).id;
      byShard.set(shard, [...(byShard.get(shard) ?? []), i]);
    });
    const replies: Published[] = [];
    const calls = [...byShard].map(async ([shard, indexes]) => {
      const commands = indexes.map((i) => plan.commands[i] as Publish);
      // One entry for all batches of a shard: the shard keeps one reply for each (producerId, seq).
      const made = await this.#locator.shards[shard]?.transact(commands, plan.mutation);
      indexes.forEach((i, at) => {
        replies[i] = made?.[at] as Published;
      });
    });
    await Promise.all(calls);
    return plan.respond(replies);
  }

  /** Also for transactions, which run the commands together with others. */
  async plan(caller: Caller, request: pb.PublishRequest): Promise<PublishPlan> {
    if (request.records.length === 0 || request.records.length > LIMITS.batchRecords) {
      const what = `${request.records.length} records; 1 to ${LIMITS.batchRecords} are accepted at once`;
      throw new FlowError(request.records.length === 0 ? 'INVALID_ARGUMENT' : 'BATCH_TOO_LARGE', what);
    }
    const stream = await this.#locator.need(caller, request.stream);
    const mutation = mutationOf(request.mutation);
    const places = this.#placesOf(stream, request.records, mutation);
    const builders = new Map<number, RecordBatchBuilder>();
    const requested = new Map<number, number[]>();
    const rows = places.map((partition, i) => {
      let builder = builders.get(partition);
      if (builder === undefined) {
        builder = new RecordBatchBuilder();
        builders.set(partition, builder);
        requested.set(partition, []);
      }
      requested.get(partition)?.push(i);
      const row = builder.count;
      builder.add(toBatchRecord(request.records[i] as pb.NewRecord, mutation, i));
      return row;
    });
    let bytes = 0;
    for (const builder of builders.values()) bytes += builder.byteLength;
    if (bytes > LIMITS.batchBytes) {
      throw new FlowError(
        'BATCH_TOO_LARGE',
        `${bytes} bytes of records, at most ${LIMITS.batchBytes} are accepted`,
      );
    }
    const indexes = new Map([...builders.keys()].map((partition, i) => [partition, i]));
    const commands = [...builders].map(([partition, builder]) => {
      const batch = builder.finish();
      const head = validateBatch(batch);
      const to = { stream: request.stream, partition, batch, head };
      return publishCommand(caller, { ...to, places: requested.get(partition) });
    });
    if (commands.length > 1) this.#locator.checkValues(stream, commands);
    const respond = (replies: readonly Published[]): pb.PublishResponseInput => ({
      offsets: places.map((partition, i) => {
        const first = replies[indexes.get(partition) ?? 0]?.firstOffset ?? 0;
        return { partition, offset: first + (rows[i] ?? 0) };
      }),
      durability: DURABILITY_FSYNC,
    });
    return { commands, mutation, respond };
  }

  #placesOf(
    stream: StreamCell,
    records: readonly pb.NewRecord[],
    mutation: MutationId | undefined,
  ): number[] {
    const { partitions } = stream.cell.value;
    let turn = this.#turnOf(records.length, mutation);
    return records.map((record) => {
      const { partition } = record;
      if (partition !== null && partition >= partitions) throw partitionNotFound(stream, partition);
      if (partition !== null) return partition;
      return record.key.length > 0 ? partitionOf(record.key, partitions) : turn++ % partitions;
    });
  }

  /** Where round robin begins (P1). */
  #turnOf(records: number, mutation: MutationId | undefined): number {
    if (mutation !== undefined && mutation.producerId !== '') {
      return (murmur2(Buffer.from(mutation.producerId)) & 0x7fffffff) + mutation.seq;
    }
    const turn = this.#round;
    this.#round = (this.#round + records) % 0x7fffffff;
    return turn;
  }
}

const behind = (mutation: MutationId | undefined, after: number): MutationId | undefined =>
  mutation === undefined || after === 0 ? mutation : { ...mutation, after };

export const errorMessage = (error: FlowError): pb.ErrorInput => ({
  code: error.code,
  message: error.message,
  retryAfterMs: error.retryAfterMs ?? 0,
});

const accepted = (request: pb.PublishBatch, reply: Published): Reply => ({
  seq: request.mutation?.seq ?? 0,
  firstOffset: reply.firstOffset,
  count: reply.count,
  appendTimeMs: reply.appendTimeMs,
  refused: (reply.refused ?? []).map(({ index, message }) => ({
    index,
    error: { code: 'SCHEMA_VIOLATION', message },
  })),
});

const refused = (request: pb.PublishBatch, error: FlowError): Reply => ({
  seq: request.mutation?.seq ?? 0,
  error: errorMessage(error),
});

function toBatchRecord(record: pb.NewRecord, mutation: MutationId | undefined, index: number): BatchRecord {
  const cause = mutation?.cause;
  const names = Object.keys(record.headers);
  return {
    value: record.tombstone ? null : record.value,
    contentType: record.tombstone ? undefined : record.contentType,
    key: record.key.length === 0 ? undefined : record.key,
    headers: names.length === 0 ? undefined : new Map(Object.entries(record.headers)),
    timeMs: record.timeMs === 0 ? undefined : record.timeMs,
    envelope: record.envelope ?? undefined,
    cause: cause && { deliveryId: cause.deliveryId, ordinal: cause.ordinal + index },
  };
}
