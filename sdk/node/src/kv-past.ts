// fm.kv.asOf and fm.kv.snapshot: keys as they were.
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { CallOptions } from './calls.ts';
import type { Connection } from './connection.ts';
import { fromWire } from './errors.ts';
import { HashReader, MembersReader, SortedSetReader } from './kv-collections.ts';
import type { KeyState, KeyType, KvCommand, KvEntry, Name } from './kv-commands.ts';
import * as commands from './kv-commands.ts';

/** A time; the change that gave a key its revision; the cursor of a change or of a snapshot. */
export type PastMoment = { time: Date } | { revision: number } | { cursor: string };

export interface PastScanOptions extends CallOptions {
  /** Only keys that begin with this. */
  prefix?: Name | undefined;
  type?: KeyType | undefined;
  /** Keys per request. Default: 1,000. */
  pageSize?: number | undefined;
}

/**
 * Keys of one keyspace as of one moment, whatever has been written since. Each call reads the server's
 * journal: it is for looking back, not for the fast path.
 * @throws FlowError HISTORY_TRIMMED: the moment, or what a key held then, is older than the history
 */
export class KvPast {
  readonly #connection: Connection;
  readonly #keyspace: string;
  readonly #asOf: pb.KvAsOfInput;

  /** @internal */
  constructor(connection: Connection, keyspace: string, asOf: pb.KvAsOfInput) {
    this.#connection = connection;
    this.#keyspace = keyspace;
    this.#asOf = asOf;
  }

  /** Of a snapshot: `watch({ cursor })` goes on from it without a gap. */
  get cursor(): string | undefined {
    return this.#asOf.cursor ?? undefined;
  }

  /** The value that the key had; undefined: there was no such key. */
  get<T = unknown>(key: Name, options?: CallOptions): Promise<T | undefined> {
    return this.#run(commands.getCommand(key), options) as Promise<T | undefined>;
  }

  /** The value with revision, content type, and the time to live that was left then. */
  getEntry<T = unknown>(key: Name, options?: CallOptions): Promise<KvEntry<T> | undefined> {
    return this.#run(commands.getEntryCommand(key), options) as Promise<KvEntry<T> | undefined>;
  }

  /** The fields that a hash had. */
  hash(key: Name): HashReader {
    return new HashReader(this.#lane, key);
  }

  /** The members that a set had. */
  members(key: Name): MembersReader {
    return new MembersReader(this.#lane, key);
  }

  /** The members that a sorted set had, with their scores. */
  sortedSet(key: Name): SortedSetReader {
    return new SortedSetReader(this.#lane, key);
  }

  inspect(key: Name, options?: CallOptions): Promise<KeyState | undefined> {
    return this.#run(commands.inspectCommand(key), options);
  }

  /** Every key that there was, each once. Not as of a revision. */
  async *scan(options: PastScanOptions = {}): AsyncGenerator<{ key: string; type: KeyType }, void, void> {
    const prefix = options.prefix === undefined ? undefined : Buffer.from(options.prefix as Uint8Array);
    let asOf = this.#asOf;
    let cursor: Uint8Array = new Uint8Array();
    do {
      const scan = { prefix, cursor, limit: options.pageSize ?? 1000, type: options.type };
      const command = commands.scanCommand(scan);
      const response = await this.#ask(asOf, command.op, options);
      const page = command.read(resultOf(response));
      yield* page.items;
      cursor = page.cursor;
      asOf = { cursor: response.asOf };
    } while (cursor.length > 0);
  }

  readonly #lane = {
    run: <T>(command: KvCommand<T>, options?: CallOptions) => this.#run(command, options),
  };

  async #run<T>(command: KvCommand<T>, options: CallOptions | undefined): Promise<T> {
    return command.read(resultOf(await this.#ask(this.#asOf, command.op, options)));
  }

  #ask(asOf: pb.KvAsOfInput, op: pb.KvOpInput, options: CallOptions | undefined): Promise<pb.KvResponse> {
    const { kv } = this.#connection;
    const request = { keyspace: this.#keyspace, ops: [op], asOf };
    return this.#connection.call(kv, kv.execute, request, options);
  }
}

export const asOfMoment = (moment: PastMoment): pb.KvAsOfInput => {
  if ('time' in moment) return { timeMs: moment.time.getTime() };
  return 'revision' in moment ? { revision: moment.revision } : { cursor: moment.cursor };
};

function resultOf({ results: [result] }: pb.KvResponse): pb.KvResult {
  const error = fromWire(result?.error ?? null);
  if (error !== undefined) throw error;
  return result as pb.KvResult;
}
