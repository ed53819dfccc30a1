// Clients of a keyspace that is a cache, too small for its keys.
import {
  KeyspaceSpec,
  type KvOpInput,
  KvRequest,
  KvResponse,
  type KvResult,
  ListKeyspacesResponse,
} from '@flowmesh/protocol/gen/flowmesh.js';
import type { CacheBook } from './cache-book.ts';
import { Client, caller } from './sim.ts';

const KEYSPACE = 'cache';
const MAX_BYTES = 64 * 1024;
const KEYS = 24;
const VALUE_BYTES = 12_000;

export class CacheClient extends Client {
  #no = 0;

  async declare(eviction: string): Promise<void> {
    const spec = { name: KEYSPACE, mode: 'cache', maxBytes: MAX_BYTES, eviction, mutation: this.mutation() };
    const request = KeyspaceSpec.decode(KeyspaceSpec.encode(spec).finish());
    const outcome = await this.until('declare cache', (fabric) =>
      fabric.admin.applyKeyspace(caller, request),
    );
    if (outcome.kind === 'refused') this.sim.broken('a good request is served', outcome.error.message);
  }

  async run(book: CacheBook): Promise<void> {
    while (!this.sim.isClosing) {
      await this.think(5, 150);
      if (this.chance.hit(0.05)) await this.#look();
      else await this.#one(book, `c${this.chance.int(0, KEYS - 1)}`);
    }
  }

  async #one(book: CacheBook, name: string): Promise<void> {
    const key = Buffer.from(name);
    if (this.chance.hit(0.55)) {
      const begin = this.sim.order();
      const life = this.sim.machine.starts;
      const got = await this.#ask(`cache-get ${name}`, { get: { key } }, false);
      if (got !== null) book.got(name, got.found ? got.value.toString() : null, begin, life);
      return;
    }
    const isSet = this.chance.hit(0.85);
    const value = `${this.name}.${++this.#no}/${'x'.repeat(this.chance.int(0, VALUE_BYTES))}`;
    const write = book.begin(name, isSet ? value : null);
    const ttlMs = this.chance.hit(0.3) ? this.chance.int(20, 2000) : 0;
    const op = isSet ? { set: { key, value: Buffer.from(value), ttlMs } } : { delete: { key } };
    const done = await this.#ask(`cache-${isSet ? 'set' : 'delete'} ${name}`, op, true);
    if (done !== null) book.answered(write);
  }

  async #ask(what: string, op: KvOpInput, isWrite: boolean): Promise<KvResult | null> {
    const mutation = isWrite ? this.mutation() : undefined;
    const request = KvRequest.decode(KvRequest.encode({ keyspace: KEYSPACE, ops: [op], mutation }).finish());
    const ask = async (fabric: Parameters<Parameters<Client['once']>[1]>[0]) => {
      const reply = await fabric.kv.execute(caller, request);
      return KvResponse.decode(KvResponse.encode(reply).finish()).results[0] as KvResult;
    };
    const outcome = isWrite ? await this.until(what, ask) : await this.once(what, ask);
    if (outcome.kind === 'refused' && isWrite) {
      this.sim.broken('a good request is served', `${what}: ${outcome.error.message}`);
    }
    if (outcome.kind !== 'done') return null;
    const { error } = outcome.value;
    return error === null || error.code === '' ? outcome.value : null;
  }

  async #look(): Promise<void> {
    const outcome = await this.once('cache-figures', async (fabric) => {
      const reply = await fabric.admin.listKeyspaces(caller);
      return ListKeyspacesResponse.decode(ListKeyspacesResponse.encode(reply).finish());
    });
    if (outcome.kind !== 'done') return;
    const figures = outcome.value.keyspaces.find(({ name }) => name === KEYSPACE);
    if (figures === undefined) return;
    if (figures.evictedTotal > 0) this.sim.count('cache evicts');
    const how = () => `${figures.bytes} of ${MAX_BYTES}`;
    this.sim.expect(figures.bytes <= MAX_BYTES, 'a cache keeps to its bound', how);
  }
}
