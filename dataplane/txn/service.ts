// Transactions: any mix of key, queue and stream operations of one shard, in one journal entry. Builds the
// commands of each view; the shard runs them all or none.

import { FlowError } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { EnqueueRequest, Mutation, PublishRequest, TransactionOp } from '@flowmesh/protocol/gen/flowmesh.js';
import { kvCommand, kvReply } from '../kv/command.ts';
import { kvShardOf } from '../kv/routing.ts';
import type { EnqueueReply, SettleReply } from '../queue/commands.ts';
import { enqueuedJobs, settleResponse } from '../queue/messages.ts';
import type { Queues } from '../queue/service.ts';
import type { TransactionService } from '../services.ts';
import { mutationOf } from '../shard/mutation.ts';
import type { Caller, Command, ShardPort } from '../shard/state-machine.ts';
import type { StreamTransactions } from '../stream/service.ts';

const OPS_MAX = 1000;

interface Part {
  readonly shard: number;
  readonly commands: readonly Command[];
  readonly respond: (replies: readonly unknown[]) => pb.TransactionResultInput;
}

export interface TransactionParts {
  readonly shards: readonly ShardPort[];
  readonly queues: Queues;
  readonly streams: StreamTransactions;
  readonly isCache: (caller: Caller, keyspace: string) => boolean;
}

export class Transactions implements TransactionService {
  readonly #p: TransactionParts;

  constructor(parts: TransactionParts) {
    this.#p = parts;
  }

  async commit(caller: Caller, request: pb.TransactionRequest): Promise<pb.TransactionResponseInput> {
    const { ops } = request;
    if (ops.length === 0 || ops.length > OPS_MAX) {
      throw new FlowError(
        'INVALID_ARGUMENT',
        `a transaction has 1 to ${OPS_MAX} operations, not ${ops.length}`,
      );
    }
    const parts: Part[] = [];
    const { cause } = request.mutation ?? {};
    for (const [i, op] of ops.entries()) parts.push(await this.#part(caller, caused(op, cause, i)));
    const home = parts[0]?.shard ?? 0;
    const stray = parts.findIndex((part) => part.shard !== home);
    if (stray !== -1) {
      throw new FlowError(
        'CROSS_SHARD',
        `operation ${stray} lives on shard ${parts[stray]?.shard}, the first on ${home}: ` +
          'give all names the same {tag}',
      );
    }
    const commands = parts.flatMap(({ commands }, step) => commands.map((each) => ({ ...each, step })));
    const replies = await this.#shard(home).transact(commands, mutationOf(request.mutation));
    let from = 0;
    const results = parts.map((part) => {
      const mine = replies.slice(from, from + part.commands.length);
      from += part.commands.length;
      return part.respond(mine);
    });
    return { results, durability: 1 };
  }

  async #part(caller: Caller, op: pb.TransactionOp): Promise<Part> {
    const { queues, streams } = this.#p;
    if (op.kv) return this.#kvPart(caller, op.kv);
    if (op.enqueue) {
      const command = queues.enqueueCommand(caller, op.enqueue);
      const respond = ([reply]: readonly unknown[]) => ({
        enqueue: { jobs: enqueuedJobs(reply as EnqueueReply), durability: 1 as const },
      });
      return { shard: queues.at(op.enqueue.queue).shard.id, commands: [command], respond };
    }
    if (op.settle) {
      const { settle } = op;
      const command = queues.settleCommand(caller, settle, true);
      const respond = ([reply]: readonly unknown[]) => ({
        settle: settleResponse(settle, reply as SettleReply),
      });
      return { shard: queues.at(settle.queue).shard.id, commands: [command], respond };
    }
    if (op.publish) {
      const part = await streams.publish(caller, op.publish);
      return { ...part, respond: (replies) => ({ publish: part.respond(replies) }) };
    }
    if (op.commit) {
      const part = streams.commit(caller, op.commit);
      return { ...part, respond: (replies) => ({ commit: part.respond(replies) }) };
    }
    throw new FlowError('INVALID_ARGUMENT', 'an operation names one of kv, enqueue, settle, publish, commit');
  }

  #kvPart(caller: Caller, request: pb.KvRequest): Part {
    const first = keyOf(request.ops[0]);
    if (first === undefined)
      throw new FlowError(
        'INVALID_ARGUMENT',
        'a kv operation of a transaction names a key; scans are not possible',
      );
    if (this.#p.isCache(caller, request.keyspace))
      throw new FlowError(
        'INVALID_ARGUMENT',
        `${request.keyspace} is a cache, and has no part in transactions`,
      );
    const shard = kvShardOf(first, this.#p.shards.length);
    const command = kvCommand(caller, request, this.#shard(shard));
    return { shard, commands: [command], respond: ([reply]) => ({ kv: kvReply(reply) }) };
  }

  #shard(index: number): ShardPort {
    const shard = this.#p.shards[index];
    if (shard === undefined) throw new FlowError('INTERNAL', `shard ${index} is not here`);
    return shard;
  }
}

/** Records and jobs of an operation say that they are effects of what caused the transaction. */
function caused(op: pb.TransactionOp, cause: pb.Cause | null | undefined, step: number): pb.TransactionOp {
  if (!cause) return op;
  const { deliveryId, ordinal } = cause;
  const mutation = Mutation.create({ cause: { deliveryId, ordinal: ordinal + step } });
  if (op.enqueue) {
    const { queue, jobs } = op.enqueue;
    return TransactionOp.create({ enqueue: EnqueueRequest.create({ queue, jobs, mutation }) });
  }
  if (!op.publish) return op;
  const { stream, records } = op.publish;
  return TransactionOp.create({ publish: PublishRequest.create({ stream, records, mutation }) });
}

function keyOf(op: pb.KvOp | undefined): Buffer | undefined {
  if (op?.op === undefined) return undefined;
  const body = op[op.op] as { key?: Uint8Array } | null;
  return body?.key === undefined
    ? undefined
    : Buffer.from(body.key.buffer, body.key.byteOffset, body.key.length);
}
