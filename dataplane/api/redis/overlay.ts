// Commands that read before they write, and transactions: an optimistic view on keys. What is read is
// remembered with its revision, what is written stays here until `commit` sends all of it as one transaction
// that holds only if no key has moved on.
//   V1. Reads see what was written here before.
//   V2. Every key that was looked at is a condition of the commit.
//   V3. A collection is read as far as it is needed: single members by name, all only where a command asks.
import { FlowError } from '@flowmesh/protocol';
import * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { Fabric } from '../../services.ts';
import type { Caller } from '../../shard/state-machine.ts';
import { RedisError } from './reply.ts';
import { wrongType } from './values.ts';

export type Kind = 'string' | 'hash' | 'set' | 'zset';
/** Of a hash, a sorted set, a set. */
export type Member = Buffer | number | true;

export interface OverlayParts {
  readonly fabric: Pick<Fabric, 'kv' | 'transactions'>;
  readonly caller: Caller;
  readonly keyspace: string;
  readonly nowMs: () => number;
}

/** A collection that is read whole has at most so many members: beyond it a command would hold up memory. */
const MEMBERS_MAX = 100_000;
const OPS_MAX = 10_000;

interface Key {
  readonly name: Buffer;
  /** 0: there was no such key. */
  readonly revision: number;
  kind: Kind | null;
  /** Wall clock; 0: none. */
  expireAtMs: number;
  value: Buffer;
  /** By latin1 name; undefined: looked for, not there. */
  readonly members: Map<string, Member | undefined>;
  isComplete: boolean;
  size: number;
  /** What was there goes before anything is written. */
  isReplaced: boolean;
  readonly changed: Set<string>;
  isValueChanged: boolean;
  isExpiryChanged: boolean;
}

export class Overlay {
  readonly #p: OverlayParts;
  readonly #keys = new Map<string, Key>();
  #questions = 0;

  constructor(parts: OverlayParts) {
    this.#p = parts;
  }

  /** What is said of the key, without its contents. */
  async look(name: Buffer): Promise<{ kind: Kind | null; size: number; expireAtMs: number }> {
    const key = await this.#key(name);
    return {
      kind: key.kind,
      size: key.kind === 'string' ? key.value.length : key.size,
      expireAtMs: key.expireAtMs,
    };
  }

  /** WRONGTYPE if the key is something else; none at all is fine. */
  async expectKind(name: Buffer, kind: Kind): Promise<void> {
    await this.#of(name, kind);
  }

  async revision(name: Buffer): Promise<number> {
    return (await this.#key(name)).revision;
  }

  async string(name: Buffer): Promise<Buffer | undefined> {
    const key = await this.#of(name, 'string');
    return key.kind === null ? undefined : key.value;
  }

  async setString(name: Buffer, value: Buffer, expireAtMs: number | 'keep'): Promise<void> {
    const key = await this.#key(name);
    if (key.kind !== 'string') this.#replace(key, 'string');
    key.value = value;
    key.isValueChanged = true;
    this.#expire(key, expireAtMs === 'keep' ? key.expireAtMs : expireAtMs);
  }

  async remove(name: Buffer): Promise<boolean> {
    const key = await this.#key(name);
    if (key.kind === null) return false;
    this.#replace(key, null);
    return true;
  }

  /** 0: none. */
  async setExpiry(name: Buffer, expireAtMs: number): Promise<void> {
    this.#expire(await this.#key(name), expireAtMs);
  }

  async member(name: Buffer, kind: Kind, member: Buffer): Promise<Member | undefined> {
    const key = await this.#of(name, kind);
    const id = member.toString('latin1');
    if (key.kind !== null && !key.isComplete && !key.members.has(id)) {
      key.members.set(id, await this.#readMember(key, member));
    }
    return key.members.get(id);
  }

  /** All members, in byte order of their names; a copy. */
  async all(name: Buffer, kind: Kind): Promise<Map<string, Member>> {
    const key = await this.#of(name, kind);
    if (!key.isComplete) await this.#readAll(key);
    const present = [...key.members].filter((entry): entry is [string, Member] => entry[1] !== undefined);
    return new Map(present);
  }

  /** Puts or, with undefined, removes a member. Returns what was there. */
  async setMember(
    name: Buffer,
    kind: Kind,
    member: Buffer,
    value: Member | undefined,
  ): Promise<Member | undefined> {
    const before = await this.member(name, kind, member);
    const key = await this.#of(name, kind);
    if (value === undefined && before === undefined) return undefined;
    if (key.kind === null) this.#replace(key, kind);
    const id = member.toString('latin1');
    key.members.set(id, value);
    key.changed.add(id);
    key.size += (value === undefined ? 0 : 1) - (before === undefined ? 0 : 1);
    if (key.size === 0) this.#replace(key, null);
    return before;
  }

  /** The key becomes this collection, without expiry; none if it is empty. */
  async replaceAll(name: Buffer, kind: Kind, members: ReadonlyMap<string, Member>): Promise<void> {
    const key = await this.#key(name);
    this.#replace(key, members.size === 0 ? null : kind);
    for (const [id, member] of members) {
      key.members.set(id, member);
      key.changed.add(id);
    }
    key.size = members.size;
  }

  /** False: a key has moved on; read again and retry. What was read in one go needs no check. */
  async commit(): Promise<boolean> {
    const isWriting = [...this.#keys.values()].some(isWritten);
    if (!isWriting && this.#questions <= 1) return true;
    const ops = [...this.#keys.values()].flatMap((key) => this.#opsOf(key));
    if (ops.length > OPS_MAX)
      throw new RedisError(`ERR the command changes more than ${OPS_MAX} members at once`);
    const kv = pb.KvRequest.create({ keyspace: this.#p.keyspace, ops });
    try {
      const request = pb.TransactionRequest.create({ ops: [pb.TransactionOp.create({ kv })] });
      await this.#p.fabric.transactions.commit(this.#p.caller, request as pb.TransactionRequest);
      return true;
    } catch (error) {
      if (error instanceof FlowError && error.code === 'REVISION_MISMATCH') return false;
      throw error;
    }
  }

  async #key(name: Buffer): Promise<Key> {
    const id = name.toString('latin1');
    const known = this.#keys.get(id);
    if (known !== undefined) return known;
    // Side by side in one command: both see the same moment.
    const [seen = {}, found = {}] = await this.#askAll(
      { inspect: pb.KvInspect.create({ key: name }) },
      { get: pb.KvGet.create({ key: name }) },
    );
    if (seen.error?.code) throw failure(seen.error);
    const kind = (seen.type || null) as Kind | null;
    const key: Key = {
      name,
      revision: seen.revision ?? 0,
      kind,
      expireAtMs: kind !== null && (seen.ttlMs ?? -1) >= 0 ? this.#p.nowMs() + (seen.ttlMs ?? 0) : 0,
      value: kind === 'string' ? (found.value as Buffer) : EMPTY,
      members: new Map(),
      isComplete: kind === null || kind === 'string',
      size: kind === null || kind === 'string' ? 0 : Number(seen.integer ?? 0),
      isReplaced: false,
      changed: new Set(),
      isValueChanged: false,
      isExpiryChanged: false,
    };
    // Two questions at once may have been asked for the same key: the first answer counts.
    const first = this.#keys.get(id) ?? key;
    this.#keys.set(id, first);
    return first;
  }

  async #of(name: Buffer, kind: Kind): Promise<Key> {
    const key = await this.#key(name);
    if (key.kind !== null && key.kind !== kind) throw wrongType();
    return key;
  }

  #replace(key: Key, kind: Kind | null): void {
    key.kind = kind;
    key.isReplaced = true;
    key.isComplete = true;
    key.members.clear();
    key.changed.clear();
    key.size = 0;
    key.value = EMPTY;
    key.isValueChanged = false;
    key.expireAtMs = 0;
    key.isExpiryChanged = false;
  }

  #expire(key: Key, expireAtMs: number): void {
    if (key.expireAtMs === expireAtMs) return;
    key.expireAtMs = expireAtMs;
    key.isExpiryChanged = true;
  }

  async #readMember(key: Key, member: Buffer): Promise<Member | undefined> {
    const { name } = key;
    if (key.kind === 'hash') {
      const { entries = [] } = await this.#ask({
        hashGet: pb.HashGet.create({ key: name, fields: [member] }),
      });
      return entries?.[0]?.found ? (entries[0].value as Buffer) : undefined;
    }
    if (key.kind === 'set') {
      const { entries = [] } = await this.#ask({
        setContains: pb.SetContains.create({ key: name, members: [member] }),
      });
      return entries?.[0]?.found ? true : undefined;
    }
    const { entries = [] } = await this.#ask({
      sortedSetScore: pb.SortedSetScore.create({ key: name, members: [member] }),
    });
    return entries?.[0]?.found ? (entries[0].score ?? 0) : undefined;
  }

  /** Page by page; what was changed here stays as it is. That the pages fit together, the commit checks. */
  async #readAll(key: Key): Promise<void> {
    if (key.size > MEMBERS_MAX)
      throw new RedisError(`ERR the collection has more than ${MEMBERS_MAX} members`);
    const stored: [string, Member][] = [];
    const { name, kind } = key;
    let cursor: Uint8Array = EMPTY;
    for (;;) {
      const result: pb.KvResultInput =
        kind === 'hash'
          ? await this.#ask({ hashScan: pb.HashScan.create({ key: name, cursor, limit: 1000 }) })
          : kind === 'set'
            ? await this.#ask({ setScan: pb.SetScan.create({ key: name, cursor, limit: 1000 }) })
            : await this.#ask({
                sortedSetRange: pb.SortedSetRange.create({ key: name, offset: stored.length, limit: 1000 }),
              });
      for (const entry of result.entries ?? []) {
        const id = Buffer.from(entry.name as Uint8Array).toString('latin1');
        stored.push([
          id,
          kind === 'hash' ? (entry.value as Buffer) : kind === 'set' ? true : (entry.score ?? 0),
        ]);
      }
      cursor = result.cursor ?? EMPTY;
      const isLast = kind === 'zset' ? (result.entries ?? []).length < 1000 : cursor.length === 0;
      if (isLast) break;
    }
    const changes = new Map([...key.changed].map((id) => [id, key.members.get(id)]));
    key.members.clear();
    for (const [id, member] of stored) key.members.set(id, member);
    for (const [id, member] of changes) key.members.set(id, member);
    key.isComplete = true;
  }

  async #ask(op: pb.KvOpInput): Promise<pb.KvResultInput> {
    const [result = {}] = await this.#askAll(op);
    if (result.error?.code) throw failure(result.error);
    return result;
  }

  async #askAll(...ops: pb.KvOpInput[]): Promise<readonly pb.KvResultInput[]> {
    this.#questions++;
    const request = pb.KvRequest.create({
      keyspace: this.#p.keyspace,
      ops: ops.map((op) => pb.KvOp.create(op)),
    });
    const { results } = await this.#p.fabric.kv.execute(this.#p.caller, request as pb.KvRequest);
    return results ?? [];
  }

  #opsOf(key: Key): pb.KvOp[] {
    const { name, revision } = key;
    const ops: pb.KvOpInput[] = [{ check: pb.KvCheck.create({ key: name, revision }) }];
    if (key.isReplaced && revision > 0) ops.push({ delete: pb.KvDelete.create({ key: name }) });
    if (key.kind === 'string' && key.isValueChanged) {
      const keepTtl = !key.isExpiryChanged && !key.isReplaced && key.expireAtMs > 0;
      const ttlMs = keepTtl || key.expireAtMs === 0 ? 0 : this.#ttlMs(key);
      ops.push({ set: pb.KvSet.create({ key: name, value: key.value, keepTtl, ttlMs }) });
    } else if (key.kind !== null) {
      if (key.kind !== 'string' && key.changed.size > 0) ops.push(...memberOps(key));
      const ttlMs = key.expireAtMs === 0 ? 0 : this.#ttlMs(key);
      if (key.isExpiryChanged) ops.push({ expire: pb.KvExpire.create({ key: name, ttlMs }) });
    }
    return ops.map((op) => pb.KvOp.create(op) as pb.KvOp);
  }

  #ttlMs = (key: Key): number => Math.max(1, Math.round(key.expireAtMs - this.#p.nowMs()));
}

const EMPTY = Buffer.alloc(0);

const failure = ({ code, message }: pb.ErrorInput) => new FlowError(code as FlowError['code'], message ?? '');

const isWritten = (key: Key): boolean =>
  key.isReplaced || key.isValueChanged || key.isExpiryChanged || key.changed.size > 0;

function memberOps(key: Key): pb.KvOpInput[] {
  const { name, kind } = key;
  const gone: Buffer[] = [];
  const put: [Buffer, Member][] = [];
  for (const id of key.changed) {
    const member = key.members.get(id);
    const bytes = Buffer.from(id, 'latin1');
    if (member === undefined) gone.push(bytes);
    else put.push([bytes, member]);
  }
  const ops: pb.KvOpInput[] = [];
  // What comes is written before what goes, so that the key never is empty, which would end it.
  if (kind === 'hash') {
    const fields = put.map(([field, value]) => pb.HashField.create({ field, value: value as Buffer }));
    if (fields.length > 0) ops.push({ hashSet: pb.HashSet.create({ key: name, fields }) });
    if (gone.length > 0) ops.push({ hashDelete: pb.HashDelete.create({ key: name, fields: gone }) });
  } else if (kind === 'set') {
    const members = put.map(([member]) => member);
    if (members.length > 0) ops.push({ setAdd: pb.SetAdd.create({ key: name, members }) });
    if (gone.length > 0) ops.push({ setRemove: pb.SetRemove.create({ key: name, members: gone }) });
  } else {
    const members = put.map(([member, score]) => pb.ScoredMember.create({ member, score: score as number }));
    if (members.length > 0) ops.push({ sortedSetAdd: pb.SortedSetAdd.create({ key: name, members }) });
    if (gone.length > 0)
      ops.push({ sortedSetRemove: pb.SortedSetRemove.create({ key: name, members: gone }) });
  }
  return ops;
}
