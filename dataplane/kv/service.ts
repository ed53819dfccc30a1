// Keys and values for the adapters: splits a request by shard, runs the parts side by side, and puts the
// results back in request order. Owns no state.
//   S1. A request is refused as a whole only before anything was submitted, or when every part of it was
//       refused alike; else an operation whose shard refused carries that error in its own result.
import { FlowError } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { Runtime } from '../runtime.ts';
import type { KvService } from '../services.ts';
import type { Caller, ShardPort } from '../shard/state-machine.ts';
import type { Rows } from '../storage/contract.ts';
import { Caches, readDeclaration } from './caches.ts';
import {
  declareCommand,
  errorResult,
  type KvCommand,
  keyspaceOf,
  kvReply,
  mutationOf,
  planRequest,
  type Step,
} from './command.ts';
import { createPast } from './past.ts';
import { createPlain } from './plain.ts';
import { type Place, runScan } from './scans.ts';
import type { KvView } from './view.ts';
import { createWatches } from './watches.ts';

export interface KvServiceParts {
  /** All three by shard. */
  readonly shards: readonly ShardPort[];
  readonly rows: readonly Rows[];
  readonly views: readonly Pick<KvView, 'keyspaces' | 'declarations'>[];
  readonly runtime: Pick<Runtime, 'wallMs' | 'random' | 'after'>;
}

export interface KeyValues extends KvService {
  /** For AdminService: keyspaces of the caller's tenant that have keys. */
  listKeyspaces(caller: Caller): Promise<pb.ListKeyspacesResponseInput>;
  applyKeyspace(caller: Caller, spec: pb.KeyspaceSpec): Promise<pb.KeyspaceInput>;
  isCache(caller: Caller, keyspace: string): boolean;
  /** Ends the timers of caches. */
  close(): void;
}

export function createKvService(parts: KvServiceParts): KeyValues {
  const { shards, views } = parts;
  const durable = createDurable(parts);
  const caches = new Caches({
    home: shards[0] as ShardPort,
    runtime: parts.runtime,
    serve: (cache) => createDurable({ shards: [cache], rows: [cache.rows] }),
  });
  for (const each of views[0]?.declarations() ?? [])
    if (each.isCache) caches.open(each.tenant, each.name, each);
  const keyspaces = (caller: Caller) => countKeys(parts, caller.tenant);
  return {
    execute: (caller, request) => (caches.of(caller, request) ?? durable).execute(caller, request),
    openWatch: (caller, request, send, fail) =>
      (caches.of(caller, request) ?? durable).openWatch(caller, request, send, fail),
    getNow: (caller, keyspace, key) =>
      (caches.of(caller, { keyspace }) ?? durable).getNow(caller, keyspace, key),
    plain: (caller, keyspace, calls, done) =>
      (caches.of(caller, { keyspace }) ?? durable).plain(caller, keyspace, calls, done),
    isCache: (caller, keyspace) => caches.of(caller, { keyspace }) !== undefined,
    close: () => caches.close(),
    async listKeyspaces(caller) {
      const counted = await keyspaces(caller);
      const all = [...counted, ...caches.list(caller.tenant)];
      return { keyspaces: all.sort((a, b) => ((a.name ?? '') < (b.name ?? '') ? -1 : 1)) };
    },
    async applyKeyspace(caller, spec) {
      const declaration = readDeclaration(spec);
      const { name, isCache } = declaration;
      const keys = (await keyspaces(caller)).find((each) => each.name === name)?.keys ?? 0;
      if (isCache && keys > 0)
        throw new FlowError('NOT_EMPTY', `keyspace ${name} holds ${keys} durable keys: delete them first`);
      await (shards[0] as ShardPort).call(declareCommand(caller, declaration, mutationOf(spec)));
      if (!isCache) return { name, keys, mode: 'durable' };
      caches.open(caller.tenant, name, declaration);
      return caches.list(caller.tenant).find((each) => each.name === name) ?? { name };
    },
  };
}

async function countKeys({ shards, views }: KvServiceParts, tenant: number): Promise<pb.KeyspaceInput[]> {
  const counts = new Map<string, number>();
  for (const { name, keys } of views.flatMap((view) => view.keyspaces(tenant))) {
    counts.set(name, (counts.get(name) ?? 0) + keys);
  }
  await Promise.all(shards.map((shard) => shard.settled()));
  return [...counts].map(([name, keys]) => ({ name, keys, mode: 'durable' }));
}

function createDurable({ shards, rows }: Pick<KvServiceParts, 'shards' | 'rows'>): KvService {
  const places: Place[] = shards.map((shard, i) => ({ shard, rows: rows[i] as Rows }));
  const past = createPast(places);
  return {
    async execute(caller, request) {
      if (request.asOf) return past(caller, request, request.asOf);
      const { steps, results } = planRequest(caller, request, shards.length);
      for (const step of steps) {
        if (step.commands.length > 0) await submitAll(shards, step, results);
        if (step.scan === -1) continue;
        const parts = { places, caller, keyspace: keyspaceOf(request) };
        const op = request.ops[step.scan] as pb.KvOp;
        results[step.scan] = await runScan(parts, op).catch(errorResult);
      }
      return kvReply(results);
    },

    openWatch: createWatches(shards),
    ...createPlain(shards),
  };
}

/** Resolves when every command has answered and `results` is filled; rejects if all were refused (S1). */
function submitAll(shards: readonly ShardPort[], step: Step, results: pb.KvResultInput[]): Promise<void> {
  return new Promise((resolve, reject) => {
    let waiting = step.commands.reduce((count) => count + 1, 0);
    let answered = 0;
    const settle = (command: KvCommand, error: FlowError | null, reply: unknown) => {
      waiting--;
      if (error === null) answered++;
      fill(command, error === null ? (reply as pb.KvResultInput[]) : errorResult(error), results);
      if (waiting > 0) return;
      if (answered === 0 && error !== null) reject(error);
      else resolve();
    };
    step.commands.forEach((command, shard) => {
      shards[shard]?.submit(command, (error, reply) => settle(command, error, reply));
    });
  });
}

function fill(
  command: KvCommand,
  answer: readonly pb.KvResultInput[] | pb.KvResultInput,
  results: pb.KvResultInput[],
): void {
  for (let i = 0; i < command.plans.length; i++) {
    const plan = command.plans[i] as KvCommand['plans'][number];
    results[plan.index] = Array.isArray(answer)
      ? (answer[i] as pb.KvResultInput)
      : (answer as pb.KvResultInput);
  }
}
