// The cache keyspaces of a server: which there are, and the service of each.
import { FlowError, LIMITS } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { Durability } from '@flowmesh/protocol/gen/flowmesh.js';
import type { Runtime } from '../runtime.ts';
import type { KvService } from '../services.ts';
import type { Caller, ShardPort } from '../shard/state-machine.ts';
import { CacheShard } from './cache-shard.ts';
import { keyspaceOf } from './command.ts';
import { type Declaration, POLICIES } from './tables.ts';

const MAX_BYTES_DEFAULT = 64 * 1024 * 1024;
const MAX_BYTES_LEAST = 64 * 1024;

export interface CachesParts {
  /** Whose clock the caches go by. */
  readonly home: ShardPort;
  readonly runtime: Pick<Runtime, 'wallMs' | 'random' | 'after'>;
  readonly serve: (cache: CacheShard) => KvService;
}

interface Cache {
  readonly tenant: number;
  readonly name: string;
  declaration: Declaration;
  readonly shard: CacheShard;
  readonly service: KvService;
}

export class Caches {
  readonly #p: CachesParts;
  readonly #all = new Map<string, Cache>();

  constructor(parts: CachesParts) {
    this.#p = parts;
  }

  of({ tenant }: Caller, request: { readonly keyspace: string }): KvService | undefined {
    if (this.#all.size === 0) return undefined;
    return this.#all.get(`${tenant}/${keyspaceOf(request)}`)?.service;
  }

  open(tenant: number, name: string, declaration: Declaration): void {
    const there = this.#all.get(`${tenant}/${name}`);
    if (there !== undefined) {
      there.declaration = declaration;
      there.shard.bound = declaration;
      return;
    }
    const { home, runtime, serve } = this.#p;
    const shard = new CacheShard(declaration, { runtime, nowMs: () => home.nowMs() });
    const service = answersFromMemory(serve(shard));
    this.#all.set(`${tenant}/${name}`, { tenant, name, declaration, shard, service });
  }

  list(tenant: number): pb.KeyspaceInput[] {
    const mine = [...this.#all.values()].filter((cache) => cache.tenant === tenant);
    return mine.map(({ name, declaration, shard }) => ({
      name,
      keys: shard.view.keyspaces(tenant).find((each) => each.name === name)?.keys ?? 0,
      mode: 'cache',
      maxBytes: declaration.maxBytes,
      eviction: declaration.eviction,
      bytes: shard.rows.bytes,
      evictedTotal: shard.evictedTotal,
    }));
  }

  close(): void {
    for (const { shard } of this.#all.values()) shard.close();
  }
}

const answersFromMemory = (service: KvService): KvService => ({
  ...service,
  async execute(caller, request) {
    if (request.asOf)
      throw new FlowError('INVALID_ARGUMENT', `${request.keyspace} is a cache: it keeps no history`);
    const response = await service.execute(caller, request);
    return { ...response, durability: Durability.DURABILITY_MEMORY };
  },
});

export function readDeclaration(spec: pb.KeyspaceSpec): Declaration & { name: string } {
  const { mode, maxBytes, eviction } = spec;
  const name = keyspaceOf({ keyspace: spec.name });
  if (mode !== '' && mode !== 'durable' && mode !== 'cache') throw invalid('mode must be durable or cache');
  const isCache = mode === 'cache';
  if (!isCache && (maxBytes !== 0 || eviction !== ''))
    throw invalid('max_bytes and eviction are for a cache');
  const policy = POLICIES.find((each) => each === (eviction || 'lru'));
  if (policy === undefined) throw invalid(`eviction must be one of ${POLICIES.join(', ')}`);
  if (isCache && maxBytes !== 0 && maxBytes < MAX_BYTES_LEAST)
    throw invalid(`max_bytes must be at least ${MAX_BYTES_LEAST}; a value may have ${LIMITS.valueBytes}`);
  return { name, isCache, maxBytes: isCache ? maxBytes || MAX_BYTES_DEFAULT : 0, eviction: policy };
}

const invalid = (message: string) => new FlowError('INVALID_ARGUMENT', message);
