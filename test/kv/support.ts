// Builders for tests of the kv view: a service over fake shards, and requests from short literals.
import {
  type KvOpInput,
  KvRequest,
  KvResponse,
  type KvResult,
  type MutationInput,
} from '@flowmesh/protocol/gen/flowmesh.js';
import { createKvService, type KeyValues } from '../../dataplane/kv/service.ts';
import { createKvView, type KvView } from '../../dataplane/kv/view.ts';
import type { Caller } from '../../dataplane/shard/state-machine.ts';
import { type Clock, FakeShard } from './fake.ts';

export const caller = (tenant = 1): Caller => ({ identity: 'test', tenant, deadlineMs: 0 });
export const b = (text: string): Buffer => Buffer.from(text);

/** Through the codec, so that defaults are filled in as from the wire. */
export const aRequest = (ops: readonly KvOpInput[], keyspace = '', mutation?: MutationInput): KvRequest =>
  KvRequest.decode(KvRequest.encode({ keyspace, ops, mutation }).finish());

/** Questions to a service, whatever is below it. */
export abstract class Asking {
  readonly clock: Clock = { nowMs: 1_000_000 };
  abstract get service(): KeyValues;
  async all(ops: readonly KvOpInput[], keyspace = '', tenant = 1): Promise<KvResult[]> {
    const response = await this.service.execute(caller(tenant), aRequest(ops, keyspace));
    return KvResponse.decode(KvResponse.encode(response).finish()).results;
  }

  async one(op: KvOpInput, keyspace = '', tenant = 1): Promise<KvResult> {
    const [result] = await this.all([op], keyspace, tenant);
    return result as KvResult;
  }

  async keys(keyspace = '', tenant = 1): Promise<string[]> {
    const found: string[] = [];
    let cursor: Buffer = Buffer.alloc(0);
    do {
      const page = await this.one({ scan: { cursor, limit: 2 } }, keyspace, tenant);
      if (page.error !== null) throw new Error(page.error.message);
      found.push(...page.entries.map(({ name }) => name.toString()));
      cursor = page.cursor;
    } while (cursor.length > 0);
    return found.sort();
  }

  async counts(tenant = 1): Promise<Record<string, number>> {
    const { keyspaces } = await this.service.listKeyspaces(caller(tenant));
    return Object.fromEntries((keyspaces ?? []).map(({ name, keys }) => [name, keys]));
  }
}

export class Bench extends Asking {
  readonly shards: FakeShard<KvView>[];

  constructor(shards = 1) {
    super();
    this.shards = Array.from(
      { length: shards },
      (_, i) => new FakeShard(createKvView, this.clock, i, shards),
    );
  }

  get shard(): FakeShard<KvView> {
    return this.shards[0] as FakeShard<KvView>;
  }

  /** Made anew: a restart replaces rows and views. */
  override get service(): KeyValues {
    return createKvService({
      shards: this.shards,
      rows: this.shards.map(({ rows }) => rows),
      views: this.shards.map(({ view }) => view),
      runtime: { wallMs: () => this.clock.nowMs, random: () => 0.5, after: () => () => {} },
    });
  }

  async idle(): Promise<void> {
    for (const shard of this.shards) await shard.idle();
  }

  async restart(): Promise<void> {
    for (const shard of this.shards) await shard.restart();
  }

  checkpoint(): void {
    for (const shard of this.shards) shard.checkpoint();
  }

  get size(): number {
    return this.shards.length;
  }

  advance(ms: number): void {
    this.clock.nowMs += ms;
  }

  tick(): void {
    for (const shard of this.shards) shard.tick();
  }

  dump(): unknown {
    return this.shards.map(({ rows }) => rows.dump());
  }

  remains(): Record<number, number>[] {
    return this.shards.map(rowsByTable);
  }

  close(): void {}
}

/** Ids of the tables that have rows, with their number: what is left behind. */
export function rowsByTable(shard: FakeShard<KvView>): Record<number, number> {
  const counts: Record<number, number> = {};
  for (const key of Object.keys(shard.rows.dump())) {
    const table = Number.parseInt(key.slice(8, 10), 16);
    counts[table] = (counts[table] ?? 0) + 1;
  }
  return counts;
}
