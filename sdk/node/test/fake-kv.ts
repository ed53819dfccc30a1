// Keys of the fake server: strings and hashes, as far as the tests need them.
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';

interface Value {
  value: Buffer;
  contentType: string;
  revision: number;
  hash: Map<string, Buffer>;
}

export class FakeKv {
  readonly keys = new Map<string, Value>();
  /** Size of each request. */
  readonly requests: number[] = [];
  #revision = 0;

  execute(request: pb.KvRequest): pb.KvResponseInput {
    this.requests.push(request.ops.length);
    return { results: request.ops.map((op) => this.#run(request.keyspace, op)) };
  }

  #run(keyspace: string, op: pb.KvOp): pb.KvResultInput {
    const at = (key: Uint8Array) => `${keyspace}/${Buffer.from(key)}`;
    if (op.get !== null) {
      const found = this.keys.get(at(op.get.key));
      return found === undefined ? {} : { found: true, ...found, ttlMs: -1 };
    }
    if (op.set !== null) return this.#set(at(op.set.key), op.set);
    if (op.delete !== null) return { found: this.keys.delete(at(op.delete.key)) };
    if (op.increment !== null) {
      const key = at(op.increment.key);
      const sum = Number(this.keys.get(key)?.value ?? 0) + op.increment.delta;
      this.#put(key, { value: Buffer.from(String(sum)) });
      return { integer: sum, revision: this.#revision };
    }
    if (op.hashSet !== null) {
      const entry = this.keys.get(at(op.hashSet.key)) ?? this.#put(at(op.hashSet.key), {});
      const before = entry.hash.size;
      for (const { field, value } of op.hashSet.fields) {
        entry.hash.set(String(Buffer.from(field)), Buffer.from(value));
      }
      return { integer: entry.hash.size - before };
    }
    if (op.hashGet !== null) {
      const hash = this.keys.get(at(op.hashGet.key))?.hash;
      return {
        entries: op.hashGet.fields.map((field) => {
          const value = hash?.get(String(Buffer.from(field)));
          return { name: field, value, found: value !== undefined };
        }),
      };
    }
    if (op.hashScan !== null) return this.#page(op.hashScan, this.keys.get(at(op.hashScan.key))?.hash);
    return { error: { code: 'UNIMPLEMENTED', message: `${op.op}` } };
  }

  /** Two entries a page, so that cursors are used. */
  #page({ cursor }: pb.HashScan, hash: Map<string, Buffer> | undefined): pb.KvResultInput {
    const from = Number(Buffer.from(cursor).toString() || 0);
    const entries = [...(hash ?? [])].slice(from, from + 2);
    const next = from + entries.length;
    return {
      entries: entries.map(([name, value]) => ({ name: Buffer.from(name), value })),
      cursor: next < (hash?.size ?? 0) ? Buffer.from(String(next)) : Buffer.alloc(0),
    };
  }

  #set(key: string, set: pb.KvSet): pb.KvResultInput {
    const revision = this.keys.get(key)?.revision ?? 0;
    if (set.ifAbsent && revision > 0) return { found: false, revision };
    if (set.ifRevision > 0 && set.ifRevision !== revision) return { found: false, revision };
    this.#put(key, { value: Buffer.from(set.value), contentType: set.contentType });
    return { found: true, revision: this.#revision };
  }

  #put(key: string, given: Partial<Value>): Value {
    const value = {
      value: Buffer.alloc(0),
      contentType: '',
      hash: new Map(),
      ...given,
      revision: ++this.#revision,
    };
    this.keys.set(key, value);
    return value;
  }
}
