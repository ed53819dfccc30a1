// fm.kv: one keyspace. Every method batches with the other callers of its tick; see kv-pipeline.ts.
import type { CallOptions } from './calls.ts';
import type { Duration } from './durations.ts';
import { HashKey, MembersKey, SortedSetKey } from './kv-collections.ts';
import type { KeyState, KeyType, KvEntry, Name, SetOptions, SetOutcome } from './kv-commands.ts';
import * as commands from './kv-commands.ts';
import { asOfMoment, KvPast, type PastMoment } from './kv-past.ts';
import type { KvLane, KvRunner } from './kv-pipeline.ts';
import { type KvChange, type WatchOptions, watchKeys } from './kv-watch.ts';

export interface ScanOptions extends CallOptions {
  /** Only keys that begin with this. */
  prefix?: Name | undefined;
  type?: KeyType | undefined;
  /** Keys per request. Default: 500. */
  pageSize?: number | undefined;
}

/**
 * Keys and values of one keyspace. Values: JSON, strings and bytes, at most 1 MiB; they come back as what
 * they were.
 */
export class KeyValue {
  /** Empty: the keyspace `default`. */
  readonly name: string;
  readonly #runner: KvRunner;
  readonly #lane: KvLane;

  /** @internal */
  constructor(runner: KvRunner, name: string) {
    this.name = name;
    this.#runner = runner;
    this.#lane = runner.lane(name);
  }

  /** The same API for another keyspace. */
  keyspace(name: string): KeyValue {
    return new KeyValue(this.#runner, name);
  }

  /**
   * Sets a key. With a condition (`ifAbsent`, `ifPresent`, `ifRevision`) that does not hold, nothing changes
   * and `applied` is false.
   * @throws FlowError VALUE_TOO_LARGE, KEY_TOO_LARGE, WRONG_TYPE (the key holds a collection), DISK_FULL
   */
  async set(key: Name, value: unknown, options?: SetOptions & CallOptions): Promise<SetOutcome> {
    return this.#lane.run(commands.setCommand(key, value, options), options);
  }

  /** The value, decoded by its content type; undefined: there is no such key. */
  async get<T = unknown>(key: Name, options?: CallOptions): Promise<T | undefined> {
    return this.#lane.run(commands.getCommand(key), options) as Promise<T | undefined>;
  }

  /** The value with revision, content type and time to live; undefined: there is no such key. */
  async getEntry<T = unknown>(key: Name, options?: CallOptions): Promise<KvEntry<T> | undefined> {
    return this.#lane.run(commands.getEntryCommand(key), options) as Promise<KvEntry<T> | undefined>;
  }

  /** Whether there was such a key (and it had the revision). */
  async delete(key: Name, options?: CallOptions & { ifRevision?: number }): Promise<boolean> {
    return this.#lane.run(commands.deleteCommand(key, options?.ifRevision), options);
  }

  /** Sets when the key goes away: this long from now. False: there is no such key. */
  async expire(key: Name, ttl: Duration, options?: CallOptions): Promise<boolean> {
    return this.#lane.run(commands.expireCommand(key, ttl), options);
  }

  /** The key does not expire any more. False: there is no such key. */
  async persist(key: Name, options?: CallOptions): Promise<boolean> {
    return this.#lane.run(commands.expireCommand(key, undefined), options);
  }

  /**
   * Adds a whole number and returns the sum; a key that is not there counts as 0. Keeps the expiry.
   * @throws FlowError WRONG_VALUE (not a whole number, or out of range)
   */
  async increment(key: Name, by = 1, options?: CallOptions): Promise<number> {
    return this.#lane.run(commands.incrementCommand(key, by), options);
  }

  /** Type, revision, size and time to live, without the value; undefined: there is no such key. */
  async inspect(key: Name, options?: CallOptions): Promise<KeyState | undefined> {
    return this.#lane.run(commands.inspectCommand(key), options);
  }

  /** Every key that is there during the whole scan, at least once. */
  async *scan(options: ScanOptions = {}): AsyncGenerator<{ key: string; type: KeyType }, void, void> {
    const prefix = options.prefix === undefined ? undefined : Buffer.from(options.prefix as Uint8Array);
    let cursor: Uint8Array = new Uint8Array();
    do {
      const scan = { prefix, cursor, limit: options.pageSize ?? 500, type: options.type };
      const page = await this.#lane.run(commands.scanCommand(scan), options);
      yield* page.items;
      cursor = page.cursor;
    } while (cursor.length > 0);
  }

  /**
   * Every durable change of the selected keys, from now on or from where `options` say. Reconnects by itself
   * and goes on behind the last change that the loop was given; `change.cursor` does the same for a loop that
   * begins anew, also in another process.
   * @throws FlowError HISTORY_TRIMMED: the place to go on from is older than the retained history
   */
  watch<T = unknown>(options: WatchOptions = {}): AsyncGenerator<KvChange<T>, void, void> {
    return watchKeys<T>(this.#runner.connection, this.name, options);
  }

  /** The keys as they were at a moment within the server's history. */
  asOf(moment: PastMoment): KvPast {
    return new KvPast(this.#runner.connection, this.name, asOfMoment(moment));
  }

  /** The keys as they are now, to be read at leisure; with `watch({ cursor })` a listing that goes on. */
  async snapshot(options?: CallOptions): Promise<KvPast> {
    const { connection } = this.#runner;
    const request = { keyspace: this.name, ops: [], asOf: { now: true } };
    const { asOf } = await connection.call(connection.kv, connection.kv.execute, request, options);
    return new KvPast(connection, this.name, { cursor: asOf });
  }

  /** A hash: fields with values below one key. */
  hash(key: Name): HashKey {
    return new HashKey(this.#lane, key);
  }

  /** A set: members below one key. */
  members(key: Name): MembersKey {
    return new MembersKey(this.#lane, key);
  }

  /** A sorted set: members with scores below one key. */
  sortedSet(key: Name): SortedSetKey {
    return new SortedSetKey(this.#lane, key);
  }
}
