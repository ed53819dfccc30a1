// Commands that walk over keys or members: SCAN and its sisters, KEYS, RANDOMKEY, FLUSHDB.
import { FlowError } from '@flowmesh/protocol';
import * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { Fabric } from '../../services.ts';
import { at, word } from './command.ts';
import type { Cursors } from './cursors.ts';
import type { Place } from './executor.ts';
import { glob } from './glob.ts';
import { OK, RedisError, type Reply } from './reply.ts';
import { parseInt64, syntax } from './values.ts';

const PAGE = 1000;
const EMPTY = Buffer.alloc(0);
/** KEYS answers with at most so many: beyond it, SCAN. */
const KEYS_MAX = 1_000_000;

interface ScanTerms {
  readonly matches: (name: Uint8Array) => boolean;
  readonly limit: number;
  readonly type: string;
}

export class Scans {
  readonly #kv: Fabric['kv'];
  readonly #cursors: Cursors;

  constructor(kv: Fabric['kv'], cursors: Cursors) {
    this.#kv = kv;
    this.#cursors = cursors;
  }

  async scan(place: Place, args: readonly Buffer[]): Promise<Reply> {
    const { matches, limit, type } = scanTerms(args, 2, true);
    const of = `keys ${place.caller.tenant} ${place.keyspace}`;
    const cursor = this.#cursorOf(of, at(args, 1));
    const page = await this.#ask(place, { scan: pb.KvScan.create({ cursor, limit, type }) });
    const names = (page.entries ?? []).map(({ name }) => name as Buffer).filter(matches);
    return [this.#numberOf(of, page.cursor), names];
  }

  /** HSCAN, SSCAN, ZSCAN. */
  async scanMembers(place: Place, args: readonly Buffer[], kind: 'hash' | 'set' | 'zset'): Promise<Reply> {
    const { matches, limit } = scanTerms(args, 3, false);
    const key = at(args, 1);
    const of = `${kind} ${place.caller.tenant} ${place.keyspace} ${key.toString('latin1')}`;
    const cursor = this.#cursorOf(of, at(args, 2));
    if (kind === 'zset') return ['0', await this.#zsetMembers(place, key, matches)];
    const page = await this.#ask(
      place,
      kind === 'hash'
        ? { hashScan: pb.HashScan.create({ key, cursor, limit }) }
        : { setScan: pb.SetScan.create({ key, cursor, limit }) },
    );
    const entries = (page.entries ?? []).filter(({ name }) => matches(name as Buffer));
    const shown = entries.flatMap(({ name, value }) =>
      kind === 'hash' ? [name as Buffer, (value ?? EMPTY) as Buffer] : [name as Buffer],
    );
    return [this.#numberOf(of, page.cursor), shown];
  }

  async keys(place: Place, args: readonly Buffer[]): Promise<Reply> {
    const matches = glob(at(args, 1));
    const names: Buffer[] = [];
    for await (const name of this.#all(place)) {
      if (!matches(name)) continue;
      if (names.push(name) > KEYS_MAX) throw new RedisError(`ERR more than ${KEYS_MAX} keys match: use SCAN`);
    }
    return names;
  }

  /** One of the first page from a random place would be one of few: the whole keyspace is walked. */
  async randomKey(place: Place, random: () => number): Promise<Reply> {
    let chosen: Buffer | null = null;
    let seen = 0;
    for await (const name of this.#all(place)) if (random() * ++seen < 1) chosen = name;
    return chosen;
  }

  async flush(place: Place): Promise<Reply> {
    let names: Buffer[] = [];
    const remove = async () => {
      const ops = names.map((key) => pb.KvOp.create({ delete: pb.KvDelete.create({ key }) }));
      names = [];
      if (ops.length > 0) await this.#execute(place, ops as pb.KvOp[]);
    };
    for await (const name of this.#all(place)) if (names.push(name) >= PAGE) await remove();
    await remove();
    return OK;
  }

  async #zsetMembers(place: Place, key: Buffer, matches: ScanTerms['matches']): Promise<Reply[]> {
    const shown: Reply[] = [];
    for (let offset = 0; ; offset += PAGE) {
      const page = await this.#ask(place, {
        sortedSetRange: pb.SortedSetRange.create({ key, offset, limit: PAGE }),
      });
      const entries = page.entries ?? [];
      for (const { name, score } of entries)
        if (matches(name as Buffer)) shown.push(name as Buffer, String(score ?? 0));
      if (entries.length < PAGE) return shown;
    }
  }

  async *#all(place: Place): AsyncGenerator<Buffer> {
    let cursor: Uint8Array = EMPTY;
    do {
      const page: pb.KvResultInput = await this.#ask(place, {
        scan: pb.KvScan.create({ cursor, limit: PAGE }),
      });
      for (const { name } of page.entries ?? []) yield name as Buffer;
      cursor = page.cursor ?? EMPTY;
    } while (cursor.length > 0);
  }

  async #ask(place: Place, op: pb.KvOpInput): Promise<pb.KvResultInput> {
    const [result = {}] = await this.#execute(place, [pb.KvOp.create(op) as pb.KvOp]);
    if (!result.error?.code) return result;
    throw new FlowError(result.error.code as FlowError['code'], result.error.message ?? '');
  }

  async #execute({ caller, keyspace }: Place, ops: pb.KvOp[]): Promise<readonly pb.KvResultInput[]> {
    const request = pb.KvRequest.create({ keyspace, ops }) as pb.KvRequest;
    return (await this.#kv.execute(caller, request)).results ?? [];
  }

  #cursorOf(of: string, given: Buffer): Buffer {
    const number = parseInt64(given);
    if (number === undefined || number < 0n) throw new RedisError('ERR invalid cursor');
    if (number === 0n) return EMPTY;
    const cursor = this.#cursors.find(of, Number(number));
    if (cursor === undefined) throw new RedisError('ERR invalid cursor: it is too old, begin again with 0');
    return cursor;
  }

  #numberOf(of: string, cursor: Uint8Array | null | undefined): string {
    return cursor === null || cursor === undefined || cursor.length === 0
      ? '0'
      : String(this.#cursors.give(of, cursor));
  }
}

function scanTerms(args: readonly Buffer[], from: number, hasType: boolean): ScanTerms {
  const terms = { matches: (_: Uint8Array) => true, limit: 10, type: '' };
  for (let i = from; i < args.length; i += 2) {
    const option = word(args[i]);
    const value = args[i + 1];
    if (value === undefined) throw syntax();
    if (option === 'MATCH') terms.matches = glob(value);
    else if (option === 'TYPE' && hasType) terms.type = value.toString('latin1').toLowerCase();
    else if (option === 'COUNT') {
      const count = Number(parseInt64(value) ?? 0n);
      if (count < 1) throw syntax();
      terms.limit = Math.min(count, PAGE);
    } else throw syntax();
  }
  return terms;
}
