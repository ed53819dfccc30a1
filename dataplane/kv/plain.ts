// Gets and sets without any terms: nearly everything that a pipeline of a Redis client asks for. They are
// what the messages of `execute` would ask for, without messages and promises.
//   P1. A value is given at once only if it is in memory and durable (ShardPort.peek). Whatever else there
//       is to say (no string, expired, not in memory, a bad key) is said by a command.
import { type FlowError, LIMITS } from '@flowmesh/protocol';
import type { KvResultInput } from '@flowmesh/protocol/gen/flowmesh.js';
import type { KvService, PlainCall } from '../services.ts';
import { type Caller, NOT_NOW, type ShardPort } from '../shard/state-machine.ts';
import { checkKey, errorResult, type KvCommand, keyspaceOf } from './command.ts';
import { type Keyed, noNames, type Operation, type Plan } from './operation.ts';
import { kvShardOf } from './routing.ts';
import { get, plainSet } from './strings.ts';
import { keyspacePrefix, META, type Meta, metaKey, STRING } from './tables.ts';

export function createPlain(shards: readonly ShardPort[]): Pick<KvService, 'getNow' | 'plain'> {
  const prefixes = new Prefixes();
  return {
    getNow(caller, keyspace, key) {
      if (key.length === 0 || key.length > LIMITS.keyBytes) return undefined;
      const shard = shards[kvShardOf(key, shards.length)] as ShardPort;
      const row = shard.peek(META, metaKey(prefixes.of(caller, keyspace), key.toString('latin1')));
      if (row === undefined) return null;
      if (row === NOT_NOW || (row as Meta).kind !== STRING) return undefined;
      const { value, expireAtMs } = row as Meta;
      return expireAtMs !== 0 && expireAtMs <= shard.momentMs() ? undefined : value;
    },

    plain(caller, keyspace, calls, done) {
      const results = new Array<KvResultInput>(calls.length);
      const groups: Plan<Keyed>[][] = [];
      let waiting = 0;
      for (let index = 0; index < calls.length; index++) {
        const call = calls[index] as PlainCall;
        try {
          const plan = planOf(prefixes.of(caller, keyspace), call, index);
          const shard = kvShardOf(call.key, shards.length);
          if (groups[shard] === undefined) waiting++;
          groups[shard] ??= [];
          groups[shard].push(plan);
        } catch (error) {
          results[index] = errorResult(error);
        }
      }
      if (waiting === 0) return done(results);
      groups.forEach((plans, shard) => {
        shards[shard]?.submit(commandOf(caller, plans), (error, reply) => {
          fill(plans, error, reply as KvResultInput[], results);
          if (--waiting === 0) done(results);
        });
      });
    },
  };
}

/** The beginning of keys of the keyspace that was asked for last: nearly always the next one as well. */
class Prefixes {
  #tenant = 0;
  #keyspace = '';
  #prefix = '';

  of({ tenant }: Caller, keyspace: string): string {
    if (tenant !== this.#tenant || keyspace !== this.#keyspace) {
      this.#prefix = keyspacePrefix(tenant, keyspaceOf({ keyspace }));
      this.#tenant = tenant;
      this.#keyspace = keyspace;
    }
    return this.#prefix;
  }
}

function planOf(prefix: string, call: PlainCall, index: number): Plan<Keyed> {
  const { key, value } = call;
  checkKey(key);
  const rowKey = metaKey(prefix, key.toString('latin1'));
  const operation = (value === null ? get : plainSet) as Operation<Keyed>;
  operation.check(call);
  return { table: META, key: rowKey, operation, body: call, names: noNames(), index };
}

function commandOf(caller: Caller, plans: readonly Plan<Keyed>[]): KvCommand {
  let mutates = false;
  for (const { operation } of plans) mutates ||= operation.writes;
  return {
    ...{ view: 'kv', caller, mutation: undefined, grows: mutates, mutates },
    ...{ plans, namesMembers: false, isAtomic: false },
  };
}

function fill(
  plans: readonly Plan<Keyed>[],
  error: FlowError | null,
  reply: readonly KvResultInput[],
  results: KvResultInput[],
): void {
  for (let i = 0; i < plans.length; i++) {
    const plan = plans[i] as Plan<Keyed>;
    results[plan.index] = error === null ? (reply[i] as KvResultInput) : errorResult(error);
  }
}
