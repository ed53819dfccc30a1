// Hashes, sets and sorted sets of one key. Fields and members cost one row each, however large the
// collection.
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { CallOptions } from './calls.ts';
import type { KvCommand, Name, Page, Scored } from './kv-commands.ts';
import * as commands from './kv-commands.ts';
import { decodeMember } from './values.ts';

const PAGE_SIZE = 500;

/** Runs the commands of one keyspace: as it is, or as it was. */
interface Lane {
  run<T>(command: KvCommand<T>, options?: CallOptions): Promise<T>;
}

/** One collection: what reads and changes of it start from. */
abstract class CollectionReader {
  protected readonly lane: Lane;
  protected readonly key: Name;

  /** @internal */
  constructor(lane: Lane, key: Name) {
    this.lane = lane;
    this.key = key;
  }
}

/** The fields of a hash as they are, or as they were at a moment (`fm.kv.asOf`). */
export class HashReader extends CollectionReader {
  /** The value of a field; undefined: it is not there. */
  async get<T = unknown>(field: Name, options?: CallOptions): Promise<T | undefined> {
    return this.lane.run(commands.hashGetCommand(this.key, [field], firstValue), options) as Promise<
      T | undefined
    >;
  }

  /** The value of a field as it is stored; undefined: it is not there. */
  async getBytes(field: Name, options?: CallOptions): Promise<Uint8Array | undefined> {
    return this.lane.run(commands.hashGetCommand(this.key, [field], firstBytes), options);
  }

  /** Values in the order of `fields`; undefined where there is none. */
  async getMany(fields: readonly Name[], options?: CallOptions): Promise<unknown[]> {
    return this.lane.run(commands.hashGetCommand(this.key, fields, allValues), options);
  }

  /** All fields; empty if there is no such key. */
  async getAll(options?: CallOptions): Promise<Record<string, unknown>> {
    const all: Record<string, unknown> = {};
    // A field may be called __proto__.
    for await (const [field, value] of this.entries(options)) {
      Object.defineProperty(all, field, { value, enumerable: true, writable: true, configurable: true });
    }
    return all;
  }

  /** Fields one by one, for hashes that are too large for `getAll`. */
  entries(options?: CallOptions): AsyncGenerator<[string, unknown], void, void> {
    return pages((cursor) => this.lane.run(commands.hashScanCommand(this.key, cursor, PAGE_SIZE), options));
  }

  /** How many fields there are. */
  async size(options?: CallOptions): Promise<number> {
    return (await this.lane.run(commands.inspectCommand(this.key), options))?.size ?? 0;
  }
}

/**
 * A hash. Values keep their type: strings are stored as they are, numbers and objects as JSON (a string that
 * reads as JSON, such as '12', is stored as a JSON string, so that it comes back as a string).
 */
export class HashKey extends HashReader {
  /** Sets fields; returns how many of them are new. */
  async set(fields: Readonly<Record<string, unknown>>, options?: CallOptions): Promise<number> {
    return this.lane.run(commands.hashSetCommand(this.key, fields), options);
  }

  /** Adds to a field and returns the sum; a field that is not there counts as 0. */
  async increment(field: Name, by = 1, options?: CallOptions): Promise<number> {
    return this.lane.run(commands.hashIncrementCommand(this.key, field, by), options);
  }

  /** Deletes fields; returns how many were there. */
  async delete(...fields: Name[]): Promise<number> {
    return this.lane.run(commands.hashDeleteCommand(this.key, fields));
  }
}

/** The members of a set as they are, or as they were at a moment (`fm.kv.asOf`). */
export class MembersReader extends CollectionReader {
  async has(member: Name, options?: CallOptions): Promise<boolean> {
    const [isMember] = await this.lane.run(commands.setContainsCommand(this.key, [member]), options);
    return isMember ?? false;
  }

  /** All members; empty if there is no such key. */
  async all(options?: CallOptions): Promise<Set<string>> {
    const all = new Set<string>();
    for await (const member of this.values(options)) all.add(member);
    return all;
  }

  /** Members one by one, for sets that are too large for `all`. */
  values(options?: CallOptions): AsyncGenerator<string, void, void> {
    return pages((cursor) => this.lane.run(commands.setScanCommand(this.key, cursor, PAGE_SIZE), options));
  }

  /** How many members there are. */
  async size(options?: CallOptions): Promise<number> {
    return (await this.lane.run(commands.inspectCommand(this.key), options))?.size ?? 0;
  }
}

/** A set of strings. */
export class MembersKey extends MembersReader {
  /** Adds members; returns how many of them are new. */
  async add(...members: Name[]): Promise<number> {
    return this.lane.run(commands.setAddCommand(this.key, members));
  }

  /** Removes members; returns how many were there. */
  async remove(...members: Name[]): Promise<number> {
    return this.lane.run(commands.setRemoveCommand(this.key, members));
  }
}

export interface RangeOptions extends CallOptions {
  /** Lowest score, inclusive. Default: open. */
  min?: number | undefined;
  /** Highest score, inclusive. Default: open. */
  max?: number | undefined;
  /** Highest score first. */
  reverse?: boolean | undefined;
  /** How many to skip. */
  offset?: number | undefined;
  /** How many to return. Default: 1,000, the most one call returns. */
  limit?: number | undefined;
}

/** The members of a sorted set as they are, or as they were at a moment (`fm.kv.asOf`). */
export class SortedSetReader extends CollectionReader {
  /** The score of a member; undefined: it is not there. */
  async score(member: Name, options?: CallOptions): Promise<number | undefined> {
    return this.lane.run(commands.sortedSetScoreCommand(this.key, member), options);
  }

  async range(options: RangeOptions = {}): Promise<Scored[]> {
    const range: pb.SortedSetRangeInput = {
      key: commands.nameBytes(this.key),
      minScore: options.min,
      maxScore: options.max,
      reverse: options.reverse,
      offset: options.offset,
      limit: options.limit,
    };
    return this.lane.run(commands.sortedSetRangeCommand(range), options);
  }

  /** How many members there are. */
  async size(options?: CallOptions): Promise<number> {
    return (await this.lane.run(commands.inspectCommand(this.key), options))?.size ?? 0;
  }
}

/** Members ordered by score, then by name. */
export class SortedSetKey extends SortedSetReader {
  /**
   * Adds members or changes their scores: `add('ada', 10)`, `add({ ada: 10, bob: 5 })`. Returns how many are
   * new.
   */
  async add(member: Name, score: number): Promise<number>;
  async add(members: Readonly<Record<string, number>>): Promise<number>;
  async add(members: Name | Readonly<Record<string, number>>, score?: number): Promise<number> {
    return this.lane.run(commands.sortedSetAddCommand(this.key, scoredOf(members, score)));
  }

  /** Removes members; returns how many were there. */
  async remove(...members: Name[]): Promise<number> {
    return this.lane.run(commands.sortedSetRemoveCommand(this.key, members));
  }

  /** Adds to a score and returns the sum; a member that is not there counts as 0. */
  async increment(member: Name, by = 1, options?: CallOptions): Promise<number> {
    return this.lane.run(commands.sortedSetIncrementCommand(this.key, member, by), options);
  }
}

export function scoredOf(
  members: Name | Readonly<Record<string, number>>,
  score: number | undefined,
): Iterable<readonly [Name, number]> {
  if (typeof members === 'string' || members instanceof Uint8Array) {
    return [[members as Name, score ?? Number.NaN]];
  }
  return Object.entries(members);
}

const firstValue = (r: pb.KvResult): unknown => {
  const [entry] = r.entries;
  return entry?.found ? decodeMember(entry.value) : undefined;
};
const firstBytes = (r: pb.KvResult): Uint8Array | undefined =>
  r.entries[0]?.found ? r.entries[0].value : undefined;
const allValues = (r: pb.KvResult): unknown[] =>
  r.entries.map((e) => (e.found ? decodeMember(e.value) : undefined));

async function* pages<T>(fetch: (cursor: Uint8Array) => Promise<Page<T>>): AsyncGenerator<T, void, void> {
  let cursor: Uint8Array = new Uint8Array();
  do {
    const page = await fetch(cursor);
    yield* page.items;
    cursor = page.cursor;
  } while (cursor.length > 0);
}
