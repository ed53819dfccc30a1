// Change records: what an event of the journal means to somebody who watches keys.
//   R1. A key that was written over after its time, and before the sweeper came, shows its expiry first: no
//       value disappears without a record.
//   R2. A record copies every byte that it keeps.
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { Event } from '../shard/state-machine.ts';
import { fromByteString, part, toByteString } from '../storage/keys.ts';
import {
  ELEMENTS_ADDED,
  type ElementsAdded,
  EVICTED,
  EXPIRED,
  FIELDS_PUT,
  type FieldsPut,
  isGone,
  KEYSPACE_DECLARED,
  type KeyGone,
  type KeyPut,
  MEMBERS_REMOVED,
  type MembersRemoved,
  SCORES_PUT,
  type ScoresPut,
  SWEPT,
} from './events.ts';
import { keyspacePrefix, metaKey, nameOfKey, STRING, TYPE_NAMES } from './tables.ts';

/** Which keys: META keys that begin with `prefix`, or are it. */
export interface Selection {
  /** What META keys of the keyspace start with. */
  readonly keyspace: string;
  readonly prefix: string;
  readonly isExact: boolean;
}

export function selectKeys(
  tenant: number,
  keyspace: string,
  of: { key?: Uint8Array | undefined; prefix?: Uint8Array | undefined },
): Selection {
  const start = keyspacePrefix(tenant, keyspace);
  if (of.key !== undefined) {
    return { keyspace: start, prefix: metaKey(start, toByteString(of.key)), isExact: true };
  }
  // Without the end of the part: keys go on.
  const prefix = start + part(toByteString(of.prefix ?? new Uint8Array())).slice(0, -2);
  return { keyspace: start, prefix, isExact: false };
}

export const selects = ({ prefix, isExact }: Selection, key: string): boolean =>
  isExact ? key === prefix : key.startsWith(prefix);

/** META key of an event that changes a key; undefined: housekeeping. */
export const changedKey = (event: Event): string | undefined =>
  event.type === SWEPT || event.type === KEYSPACE_DECLARED ? undefined : (event as KeyPut | KeyGone).key;

/** The key had a value that nobody could see any more when this was written over it (R1). */
export const wroteOverExpired = ({ beforeExpireAtMs }: KeyPut, timeMs: number): boolean =>
  beforeExpireAtMs !== 0 && beforeExpireAtMs <= timeMs;

/** In order; every event of a key gives at least one. `timeMs`: of its entry. */
export function changesOf(event: Event, { keyspace }: Selection, timeMs: number): pb.KvChangeInput[] {
  const key = fromByteString(nameOfKey((event as KeyPut).key, keyspace.length));
  if (isGone(event)) {
    const { kind, expireAtMs } = event;
    const reason = event.type === EXPIRED ? 'expire' : event.type === EVICTED ? 'evict' : 'delete';
    return [{ key, reason, type: TYPE_NAMES[kind], expireAtMs, timeMs }];
  }
  const put = event as KeyPut;
  const { kind, revision, expireAtMs, contentType, value, count } = put.meta;
  const changes: pb.KvChangeInput[] = [];
  if (wroteOverExpired(put, timeMs)) {
    const type = TYPE_NAMES[put.staleKind === 0 ? STRING : put.staleKind];
    changes.push({ key, reason: 'expire', type, expireAtMs: put.beforeExpireAtMs, timeMs });
  }
  if (event.type === MEMBERS_REMOVED && count === 0) {
    changes.push({ key, reason: 'delete', type: TYPE_NAMES[kind], timeMs });
    return changes;
  }
  changes.push({
    key,
    reason: 'set',
    type: TYPE_NAMES[kind],
    revision,
    expireAtMs,
    timeMs,
    ...(kind === STRING ? { value: Buffer.from(value), contentType } : { members: membersOf(event) }),
  });
  return changes;
}

function membersOf(event: Event): pb.KvEntryInput[] {
  switch (event.type) {
    case FIELDS_PUT: {
      const { names, values } = event as FieldsPut;
      return names.map((name, i) => ({
        name: fromByteString(name),
        value: Buffer.from(values[i] ?? []),
        found: true,
      }));
    }
    case ELEMENTS_ADDED:
      return (event as ElementsAdded).names.map((name) => ({ name: fromByteString(name), found: true }));
    case SCORES_PUT: {
      const { names, scores } = event as ScoresPut;
      return names.map((name, i) => ({ name: fromByteString(name), score: scores[i] ?? 0, found: true }));
    }
    case MEMBERS_REMOVED:
      return (event as MembersRemoved).names.map((name) => ({ name: fromByteString(name), found: false }));
    default:
      return [];
  }
}

/** What a change takes in memory and on the wire, about. */
export function sizeOfChange({ key, value, members }: pb.KvChangeInput): number {
  let bytes = 96 + (key?.length ?? 0) + (value?.length ?? 0);
  for (const { name, value: field } of members ?? [])
    bytes += 32 + (name?.length ?? 0) + (field?.length ?? 0);
  return bytes;
}
