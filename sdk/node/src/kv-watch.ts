// fm.kv.watch: changes of keys as an endless loop that survives lost connections.
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { Connection } from './connection.ts';
import { followed } from './following.ts';
import { type KeyType, type Name, nameBytes } from './kv-commands.ts';
import { decodeMember, decodeValue, utf8 } from './values.ts';

export interface WatchOptions {
  /** Only this key. */
  key?: Name | undefined;
  /** Only keys that begin with this. */
  prefix?: Name | undefined;
  /** Behind a change of an earlier watch. */
  cursor?: string | undefined;
  /** Behind the change that gave `key` this revision: no change is missed after a `getEntry`. */
  afterRevision?: number | undefined;
  /** With the first change at or after this time. */
  from?: Date | undefined;
  /** Called when the server has taken up the watch, and whenever it takes it up again. */
  onWatching?: (() => void) | undefined;
  /** Aborting ends the loop as if there were no more changes. */
  signal?: AbortSignal | undefined;
}

export interface ChangedMember {
  name: string;
  /** False: removed. */
  isPresent: boolean;
  /** Of a hash field. */
  value: unknown;
  /** Of a member of a sorted set. */
  score: number | undefined;
}

/** What became of one key. */
export interface KvChange<T = unknown> {
  key: string;
  /** `evict`: a cache made room. */
  reason: 'set' | 'delete' | 'expire' | 'evict';
  type: KeyType;
  /** Of the key after the change; undefined: it is gone. */
  revision: number | undefined;
  /** The string that was set; undefined for collections and for keys that are gone. */
  value: T | undefined;
  contentType: string | undefined;
  /** What the change put into, or took out of, a collection. */
  members: ChangedMember[];
  /** When the key will expire, or did. */
  expiresAt: Date | undefined;
  time: Date;
  shard: number;
  /** Journal entry of the shard; changes of one transaction share it. */
  position: number;
  /** For `cursor`: a watch that goes on behind this change. */
  cursor: string;
}

export async function* watchKeys<T>(
  connection: Connection,
  keyspace: string,
  options: WatchOptions,
): AsyncGenerator<KvChange<T>, void, void> {
  const { signal } = options;
  const selection = {
    keyspace,
    key: options.key === undefined ? undefined : nameBytes(options.key),
    prefix: options.prefix === undefined ? undefined : Buffer.from(options.prefix as Uint8Array),
  };
  let place: pb.KvWatchRequestInput = {
    cursor: options.cursor,
    afterRevision: options.afterRevision,
    fromTimeMs: options.from?.getTime(),
  };
  const messages = followed(
    connection,
    ({ kv }) => kv.watch({ ...selection, ...place }, connection.metadata()),
    options,
  );
  for await (const { changes, cursor } of messages) {
    for (const change of changes) {
      // The loop may stop at this one, and is not to see it again.
      place = { cursor: change.cursor };
      yield changeOf<T>(change);
      if (signal?.aborted) return;
    }
    place = { cursor };
  }
}

function changeOf<T>(change: pb.KvChange): KvChange<T> {
  const { key, revision, value, contentType, members, expireAtMs, timeMs, shard, position, cursor } = change;
  const reason = change.reason as KvChange['reason'];
  const type = change.type as KeyType;
  const isString = reason === 'set' && type === 'string';
  return {
    key: utf8(key),
    reason,
    type,
    revision: revision === 0 ? undefined : revision,
    value: isString ? (decodeValue(value, contentType) as T) : undefined,
    contentType: isString ? contentType : undefined,
    members: members.map((member) => memberOf(type, member)),
    expiresAt: expireAtMs === 0 ? undefined : new Date(expireAtMs),
    time: new Date(timeMs),
    shard,
    position,
    cursor,
  };
}

const memberOf = (type: KeyType, { name, value, score, found }: pb.KvEntry): ChangedMember => ({
  name: utf8(name),
  isPresent: found,
  value: type === 'hash' && found ? decodeMember(value) : undefined,
  score: type === 'zset' && found ? score : undefined,
});
