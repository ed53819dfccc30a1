// The operations of the KV API on an overlay, with the results that the KV service would give: so that a
// command which is one operation elsewhere is the same one in a transaction. Those of direct commands only:
// counters have their fallbacks.
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { Member, Overlay } from './overlay.ts';

type Result = Promise<pb.KvResultInput>;

export function applyOp(overlay: Overlay, op: pb.KvOp, nowMs: number): Result {
  const name = op.op as keyof typeof OPS;
  const run = OPS[name] as (overlay: Overlay, body: unknown, nowMs: number) => Result;
  return run(overlay, op[name as 'get'], nowMs);
}

const OPS = {
  async get(o: Overlay, { key }: pb.KvGet, nowMs: number): Result {
    const value = await o.string(key as Buffer);
    if (value === undefined) return { found: false };
    return { found: true, value, ttlMs: ttlMs(await o.look(key as Buffer), nowMs) };
  },
  async inspect(o: Overlay, { key }: pb.KvInspect, nowMs: number): Result {
    const seen = await o.look(key as Buffer);
    if (seen.kind === null) return { found: false };
    return { found: true, type: seen.kind, ttlMs: ttlMs(seen, nowMs), integer: seen.size };
  },
  async set(o: Overlay, body: pb.KvSet, nowMs: number): Result {
    const { kind } = await o.look(body.key as Buffer);
    if ((body.ifAbsent && kind !== null) || (body.ifPresent && kind === null)) return { found: false };
    const until = body.keepTtl ? 'keep' : body.ttlMs === 0 ? 0 : nowMs + body.ttlMs;
    await o.setString(body.key as Buffer, body.value as Buffer, until);
    return { found: true };
  },
  async delete(o: Overlay, { key }: pb.KvDelete): Result {
    return { found: await o.remove(key as Buffer) };
  },
  async expire(o: Overlay, { key, ttlMs: forMs }: pb.KvExpire, nowMs: number): Result {
    const { kind } = await o.look(key as Buffer);
    if (kind === null) return { found: false };
    await o.setExpiry(key as Buffer, forMs === 0 ? 0 : nowMs + forMs);
    return { found: true };
  },
  async hashSet(o: Overlay, { key, fields }: pb.HashSet): Result {
    let integer = 0;
    for (const { field, value } of fields) {
      if ((await o.setMember(key as Buffer, 'hash', field as Buffer, value as Buffer)) === undefined)
        integer++;
    }
    return { integer };
  },
  async hashGet(o: Overlay, { key, fields }: pb.HashGet): Result {
    return { entries: await entriesOf(o, key as Buffer, 'hash', fields as Buffer[]) };
  },
  async hashDelete(o: Overlay, { key, fields }: pb.HashDelete): Result {
    return { integer: await removed(o, key as Buffer, 'hash', fields as Buffer[]) };
  },
  async setAdd(o: Overlay, { key, members }: pb.SetAdd): Result {
    let integer = 0;
    for (const member of members as Buffer[]) {
      if ((await o.setMember(key as Buffer, 'set', member, true)) === undefined) integer++;
    }
    return { integer };
  },
  async setRemove(o: Overlay, { key, members }: pb.SetRemove): Result {
    return { integer: await removed(o, key as Buffer, 'set', members as Buffer[]) };
  },
  async setContains(o: Overlay, { key, members }: pb.SetContains): Result {
    return { entries: await entriesOf(o, key as Buffer, 'set', members as Buffer[]) };
  },
  async sortedSetAdd(o: Overlay, { key, members }: pb.SortedSetAdd): Result {
    let integer = 0;
    for (const { member, score } of members) {
      if ((await o.setMember(key as Buffer, 'zset', member as Buffer, score)) === undefined) integer++;
    }
    return { integer };
  },
  async sortedSetRemove(o: Overlay, { key, members }: pb.SortedSetRemove): Result {
    return { integer: await removed(o, key as Buffer, 'zset', members as Buffer[]) };
  },
  async sortedSetScore(o: Overlay, { key, members }: pb.SortedSetScore): Result {
    return { entries: await entriesOf(o, key as Buffer, 'zset', members as Buffer[]) };
  },
};

const ttlMs = ({ expireAtMs }: { expireAtMs: number }, nowMs: number): number =>
  expireAtMs === 0 ? -1 : Math.max(1, expireAtMs - nowMs);

async function entriesOf(o: Overlay, key: Buffer, kind: 'hash' | 'set' | 'zset', names: readonly Buffer[]) {
  const entries: pb.KvEntryInput[] = [];
  for (const name of names) {
    const member: Member | undefined = await o.member(key, kind, name);
    const value = Buffer.isBuffer(member) ? member : undefined;
    const score = typeof member === 'number' ? member : undefined;
    entries.push({ name, value, score, found: member !== undefined });
  }
  return entries;
}

async function removed(o: Overlay, key: Buffer, kind: 'hash' | 'set' | 'zset', names: readonly Buffer[]) {
  let count = 0;
  for (const name of names) if ((await o.setMember(key, kind, name, undefined)) !== undefined) count++;
  return count;
}
