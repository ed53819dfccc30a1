// Clients of keys: some share keys, some have keys of their own that expire.
import { type KvOpInput, KvRequest, KvResponse, type KvResult } from '@flowmesh/protocol/gen/flowmesh.js';
import { type KeyOp, type KvBook, sorted } from './kv-book.ts';
import { Client, caller } from './sim.ts';

const STRINGS = ['s0', 's1', 's2', '{t0}s'];
const COUNTERS = ['c0', 'c1'];
const HASHES = ['h0', 'h1'];
const FIELDS = ['a', 'b', 'c'];

const bytes = (text: string) => Buffer.from(text);

export class KvClient extends Client {
  #revision = 0;
  #values = 0;

  async run(book: KvBook): Promise<void> {
    while (!this.sim.isClosing) {
      await this.think(1, 60);
      if (this.chance.hit(0.12)) await this.#expire();
      else await this.#one(book);
    }
  }

  async #one(book: KvBook): Promise<void> {
    const { key, op, read } = this.#choose();
    const begin = this.sim.order();
    const mutation = isReading(op) ? null : this.mutation();
    const ask = () => this.ask(`kv ${Object.keys(op)[0]} ${key}`, op, mutation);
    const result = await ask();
    if (result === null) return;
    if (result.error !== null && result.error.code !== '') return; // A read that was refused shows nothing.
    book.add(key, { begin, end: this.sim.order(), op: read(result) });
    if (result.revision > 0) this.#revision = result.revision;
  }

  /** The result of the operation; null: nothing is known, of a read. */
  async ask(what: string, op: KvOpInput, mutation: ReturnType<Client['mutation']> | null) {
    const request = KvRequest.decode(
      KvRequest.encode({ ops: [op], mutation: mutation ?? undefined }).finish(),
    );
    const ask = async (fabric: Parameters<Parameters<Client['once']>[1]>[0]) => {
      const reply = await fabric.kv.execute(caller, request);
      return KvResponse.decode(KvResponse.encode(reply).finish()).results[0] as KvResult;
    };
    const outcome = mutation === null ? await this.once(what, ask) : await this.until(what, ask);
    if (outcome.kind === 'done') return outcome.value;
    if (outcome.kind === 'refused' && mutation !== null) {
      this.sim.broken('a good request is served', `${this.name} ${what}: ${outcome.error.message}`);
    }
    return null;
  }

  #choose(): { key: string; op: KvOpInput; read: (result: KvResult) => KeyOp } {
    const value = `${this.name}.${++this.#values}`;
    return this.chance.weigh([
      [5, () => this.#string(value)],
      [2, () => this.#counter()],
      [3, () => this.#hash(value)],
    ])();
  }

  #string(value: string): { key: string; op: KvOpInput; read: (result: KvResult) => KeyOp } {
    const name = this.chance.pick(STRINGS);
    const key = bytes(name);
    const ifRevision = this.#revision;
    const set = { key, value: bytes(value + 'x'.repeat(this.chance.hit(0.1) ? 3000 : 0)) };
    const text = set.value.toString();
    return this.chance.weigh<() => { key: string; op: KvOpInput; read: (result: KvResult) => KeyOp }>([
      [
        3,
        () => ({ key: name, op: { set }, read: (r) => ({ do: 'set', value: text, revision: r.revision }) }),
      ],
      [4, () => ({ key: name, op: { get: { key } }, read: (r) => getOf(r) })],
      [1, () => ({ key: name, op: { delete: { key } }, read: (r) => ({ do: 'delete', found: r.found }) })],
      [
        ifRevision === 0 ? 0 : 2,
        () => ({
          key: name,
          op: { set: { ...set, ifRevision } },
          read: (r) => ({ do: 'cas', value: text, ifRevision, found: r.found, revision: r.revision }),
        }),
      ],
    ])();
  }

  #counter(): { key: string; op: KvOpInput; read: (result: KvResult) => KeyOp } {
    const name = this.chance.pick(COUNTERS);
    const delta = this.chance.int(-3, 9);
    if (this.chance.hit(0.2)) return { key: name, op: { get: { key: bytes(name) } }, read: getOf };
    return {
      key: name,
      op: { increment: { key: bytes(name), delta } },
      read: (r) => ({ do: 'increment', delta, integer: r.integer, revision: r.revision }),
    };
  }

  #hash(value: string): { key: string; op: KvOpInput; read: (result: KvResult) => KeyOp } {
    const name = this.chance.pick(HASHES);
    const key = bytes(name);
    const field = this.chance.pick(FIELDS);
    return this.chance.weigh<() => { key: string; op: KvOpInput; read: (result: KvResult) => KeyOp }>([
      [
        3,
        () => ({
          key: name,
          op: { hashSet: { key, fields: [{ field: bytes(field), value: bytes(value) }] } },
          read: (r) => ({ do: 'field-set', field, value, added: r.integer }),
        }),
      ],
      [
        2,
        () => ({
          key: name,
          op: { hashDelete: { key, fields: [bytes(field)] } },
          read: (r) => ({ do: 'field-delete', field, removed: r.integer }),
        }),
      ],
      [
        3,
        () => ({
          key: name,
          op: { hashGet: { key, fields: FIELDS.map(bytes) } },
          read: (r) => ({ do: 'fields', fields: JSON.stringify(fieldsOf(r)) }),
        }),
      ],
    ])();
  }

  /** A key of one's own that expires: never shown when its time is over, never gone before. */
  async #expire(): Promise<void> {
    const { sim } = this;
    const key = bytes(`ttl-${this.name}`);
    const value = `${this.name}.${++this.#values}`;
    const ttlMs = this.chance.int(50, 1500);
    const beganMs = this.#latestMs();
    const set = await this.ask('kv-ttl set', { set: { key, value: bytes(value), ttlMs } }, this.mutation());
    if (set === null) return;
    const writtenMs = this.#latestMs();
    await this.pause(0, 2 * ttlMs);
    const askedMs = this.#latestMs();
    const got = await this.ask('kv-ttl get', { get: { key } }, null);
    if (got === null || (got.error !== null && got.error.code !== '')) return;
    // While an entry waits for a slow disk, the shard's time stands still.
    const isOver = sim.isCalm && writtenMs > 0 && askedMs > writtenMs + ttlMs + 100;
    const isEarly = sim.isCalm && this.#latestMs() < beganMs + ttlMs - 100 && beganMs > 0;
    if (got.found) {
      sim.expect(
        got.value.toString() === value,
        'an expired key does not come back',
        () => `${key}: ${got.value}`,
      );
      sim.expect(
        !isOver,
        'an expired key is not shown',
        () => `${key} ${ttlMs} ms, ${askedMs - writtenMs} later`,
      );
    } else
      sim.expect(!isEarly, 'a key is there until it expires', () => `${key}, ${ttlMs} ms from ${beganMs}`);
  }

  #latestMs(): number {
    return this.sim.shardMs(`ttl-${this.name}`);
  }
}

const isReading = (op: KvOpInput): boolean => 'get' in op || 'hashGet' in op;

const getOf = (r: KvResult): KeyOp => ({
  do: 'get',
  found: r.found,
  value: r.value.toString(),
  revision: r.revision,
});

const fieldsOf = (r: KvResult): Record<string, string> =>
  sorted(
    Object.fromEntries(
      r.entries.filter(({ found }) => found).map(({ name, value }) => [name.toString(), value.toString()]),
    ),
  );
