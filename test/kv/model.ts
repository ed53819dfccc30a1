// What keys and values should do, in one Map: no rows, no generations, no sweeps. Revisions are the only
// thing that it cannot foretell, so it says whether an operation changes the key and learns the number.
import type { KvOpInput, KvResult } from '@flowmesh/protocol/gen/flowmesh.js';

type Members = Map<string, string | number>;

interface Entry {
  type: 'string' | 'hash' | 'set' | 'zset';
  value: string;
  members: Members;
  expireAtMs: number;
  revision: number;
}

/** What the answer must show, and whether the key got a new revision. */
export interface Expected {
  readonly shows: Record<string, unknown>;
  readonly changed: boolean;
}

const text = (bytes: Uint8Array | null | undefined) => Buffer.from(bytes ?? []).toString('latin1');
const wrong = (code: string): Expected => ({ shows: { error: code }, changed: false });
const answer = (shows: Record<string, unknown>, changed = false): Expected => ({ shows, changed });

export class Model {
  nowMs = 0;
  readonly entries = new Map<string, Entry>();
  newest = 0;

  live(key: string): Entry | undefined {
    const entry = this.entries.get(key);
    if (entry !== undefined && entry.expireAtMs <= this.nowMs) this.entries.delete(key);
    return this.entries.get(key);
  }

  #make(key: string, type: Entry['type']): Entry {
    const entry = {
      type,
      value: '',
      members: new Map(),
      expireAtMs: Number.POSITIVE_INFINITY,
      revision: 0,
    } satisfies Entry;
    this.entries.set(key, entry);
    return entry;
  }

  /** Call behind `apply` with the answer: unchanged keys keep their revision, changed ones get a newer. */
  learn(key: string, { changed }: Expected, result: KvResult): string | undefined {
    const entry = this.live(key);
    if (result.error !== null) return undefined;
    if (!changed || entry === undefined) {
      const revision = entry?.revision ?? 0;
      return result.revision === revision || result.revision === 0
        ? undefined
        : `revision is not ${revision}`;
    }
    if (result.revision <= this.newest) return `revision ${result.revision} is not new`;
    this.newest = result.revision;
    entry.revision = result.revision;
    return undefined;
  }

  apply(key: string, op: KvOpInput): Expected {
    const entry = this.live(key);
    const until = (ttlMs: number | null | undefined) =>
      ttlMs ? this.nowMs + ttlMs : Number.POSITIVE_INFINITY;
    if (op.get) {
      if (entry !== undefined && entry.type !== 'string') return wrong('WRONG_TYPE');
      return answer({ found: entry !== undefined, value: entry?.value ?? '' });
    }
    if (op.inspect) {
      const integer = entry?.type === 'string' ? entry.value.length : (entry?.members.size ?? 0);
      const ttlMs =
        entry === undefined ? 0 : Number.isFinite(entry.expireAtMs) ? entry.expireAtMs - this.nowMs : -1;
      return answer({ found: entry !== undefined, type: entry?.type ?? '', integer, ttlMs });
    }
    if (op.set) {
      const { ifAbsent, ifPresent, ifRevision, keepTtl, ttlMs } = op.set;
      const isUnmet =
        (ifAbsent && entry) || (ifPresent && !entry) || (ifRevision && entry?.revision !== ifRevision);
      if (isUnmet) return answer({ found: false });
      const made = this.#make(key, 'string');
      made.value = text(op.set.value);
      made.expireAtMs = keepTtl && entry ? entry.expireAtMs : until(ttlMs);
      return answer({ found: true }, true);
    }
    if (op.delete) {
      if (op.delete.ifRevision && entry?.revision !== op.delete.ifRevision) return answer({ found: false });
      return answer({ found: this.entries.delete(key) });
    }
    if (op.expire) {
      const expireAtMs = until(op.expire.ttlMs);
      const changed = entry !== undefined && entry.expireAtMs !== expireAtMs;
      if (entry !== undefined) entry.expireAtMs = expireAtMs;
      return answer({ found: entry !== undefined }, changed);
    }
    if (op.increment) {
      if (entry !== undefined && entry.type !== 'string') return wrong('WRONG_TYPE');
      if (entry !== undefined && !/^(0|-?[1-9]\d*)$/.test(entry.value)) return wrong('WRONG_VALUE');
      const integer = Number(entry?.value ?? 0) + (op.increment.delta ?? 0);
      (entry ?? this.#make(key, 'string')).value = String(integer);
      return answer({ integer }, true);
    }
    return this.#members(key, op, entry);
  }

  #members(key: string, op: KvOpInput, entry: Entry | undefined): Expected {
    const type =
      op.hashSet || op.hashGet || op.hashDelete || op.hashIncrement ? 'hash' : isSet(op) ? 'set' : 'zset';
    if (entry !== undefined && entry.type !== type) return wrong('WRONG_TYPE');
    const asked = op.hashGet?.fields ?? op.setContains?.members ?? op.sortedSetScore?.members;
    if (asked) {
      const values = asked.map((name) => entry?.members.get(text(name)));
      return answer({ found: entry !== undefined, entries: values.map((value) => value ?? null) });
    }
    const gone = op.hashDelete?.fields ?? op.setRemove?.members ?? op.sortedSetRemove?.members;
    if (gone) {
      const integer = gone.filter((name) => entry?.members.delete(text(name))).length;
      if (entry?.members.size === 0) this.entries.delete(key);
      return answer({ integer }, integer > 0);
    }
    const members: Members = entry?.members ?? new Map();
    const increment = op.hashIncrement ?? op.sortedSetIncrement;
    if (increment) {
      const name = text(op.hashIncrement?.field ?? op.sortedSetIncrement?.member);
      const before = members.get(name) ?? 0;
      if (type === 'hash' && !/^(0|-?[1-9]\d*)$/.test(String(before))) return wrong('WRONG_VALUE');
      const sum = Number(before) + (op.hashIncrement?.integer ?? op.sortedSetIncrement?.delta ?? 0);
      const changed = type === 'hash' || !members.has(name) || sum !== before;
      (entry ?? this.#make(key, type)).members.set(name, type === 'hash' ? String(sum) : sum);
      return answer(type === 'hash' ? { integer: sum } : { number: sum }, changed);
    }
    const puts: [string, string | number][] = [
      ...(op.hashSet?.fields ?? []).map(({ field, value }): [string, string] => [text(field), text(value)]),
      ...(op.setAdd?.members ?? []).map((member): [string, string] => [text(member), '']),
      ...(op.sortedSetAdd?.members ?? []).map(({ member, score }): [string, number] => [
        text(member),
        score ?? 0,
      ]),
    ];
    const after = new Map([...members, ...puts]);
    const integer = after.size - members.size;
    const changed =
      type === 'hash' || integer > 0 || [...after].some(([name, value]) => members.get(name) !== value);
    (entry ?? this.#make(key, type)).members = after;
    return answer({ integer }, changed);
  }
}

const isSet = (op: KvOpInput) => Boolean(op.setAdd || op.setContains || op.setRemove);
