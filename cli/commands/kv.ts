// flowmesh kv: keys and values, hashes, sets and sorted sets. Values leave and arrive byte for byte.
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { type Command, Option } from 'commander';
import type { Action, Context } from '../context.ts';
import { CliError, usage } from '../failure.ts';
import { readInput } from '../input.ts';
import { jsonField } from '../json.ts';
import { duration, typedValue, whole, wholeOrNegative } from '../parsing.ts';
import { details, table } from '../table.ts';
import { count, preview, printable, span, textOf } from '../text.ts';
import { addCollectionCommands, member } from './kv-collections.ts';
import {
  atOption,
  bytes,
  type KeyspaceOption,
  noSuchKey,
  ofMoment,
  type ReadOptions,
  read,
  run,
} from './kv-run.ts';
import { addWatchCommand } from './kv-watch.ts';

export function addKvCommands(program: Command, action: Action): void {
  const kv = program.command('kv').description('keys and values, hashes, sets, sorted sets');
  kv.option('-k, --keyspace <name>', 'keyspace', 'default');
  addStringCommands(kv, action);
  addKeyCommands(kv, action);
  addCollectionCommands(kv, action);
  addWatchCommand(kv, action);
}

function addStringCommands(kv: Command, action: Action): void {
  ofMoment(kv.command('get <key>').description('print the value, byte for byte')).action(action(get));
  kv.command('set <key> [value]')
    .description('set a key; the value can come from a pipe')
    .option('--ttl <duration>', 'goes away after this long', duration)
    .addOption(new Option('--keep-ttl', 'keep the expiry it has').conflicts('ttl'))
    .addOption(
      new Option('--if-absent', 'only if there is no such key').conflicts(['ifPresent', 'ifRevision']),
    )
    .option('--if-present', 'only if there is such a key')
    .option('--if-revision <n>', 'only if it has this revision', whole(1))
    .option('--type <content-type>', 'content type (default: JSON if it is an object or a list, else text)')
    .action(action(set));
  kv.command('incr <key>')
    .argument('[by]', 'how much', wholeOrNegative, 1)
    .description('add a whole number, 1 if none is given')
    .action(action(increment));
}

function addKeyCommands(kv: Command, action: Action): void {
  kv.command('del <keys...>').description('delete keys of any type').action(action(remove));
  kv.command('ls [prefix]')
    .description('list keys')
    .addOption(new Option('--type <type>', 'of this type').choices(['string', 'hash', 'set', 'zset']))
    .option('--limit <n>', 'keys at most; 0 is all of them', whole(0), 100)
    .addOption(atOption())
    .action(action(list));
  ofMoment(kv.command('inspect <key>').description('type, size, revision and expiry')).action(
    action(inspect),
  );
  kv.command('expire <key>')
    .argument('<ttl>', undefined, (text: string) => (text === 'never' ? 0 : duration(text)))
    .description('set when a key goes away: 90s, 24h, or never')
    .action(action(expire));
  kv.command('cache')
    .description('make the keyspace (-k) a cache: in memory only, within a bound')
    .option('--max-bytes <n>', 'what it may take in memory', whole(65_536))
    .addOption(new Option('--evict <policy>', 'which keys go when it is full').choices(['lru', 'lfu', 'ttl']))
    .action(action(cache));
  kv.command('keyspaces').description('list keyspaces').action(action(keyspaces));
}

async function get(context: Context, options: ReadOptions, key: string): Promise<void> {
  const { found, value, contentType, revision, ttlMs } = await read(context, options, {
    get: { key: bytes(key) },
  });
  if (!found) throw noSuchKey(key);
  if (context.isJson) {
    const ttl = ttlMs > 0 ? { ttlMs } : {};
    context.show({ key, ...jsonField('value', value, contentType), contentType, revision, ...ttl }, () => '');
  } else if (context.terminal.isTty) {
    // A terminal is no place for binary data; `flowmesh kv get key > file` has all of it.
    const text = textOf(value);
    context.terminal.out(`${text === undefined ? preview(value) : printable(text, true)}\n`);
  } else context.terminal.out(value);
}

interface SetOptions extends KeyspaceOption {
  ttl?: number;
  keepTtl?: boolean;
  ifAbsent?: boolean;
  ifPresent?: boolean;
  ifRevision?: number;
  type?: string;
}

async function set(context: Context, options: SetOptions, key: string, given?: string): Promise<void> {
  const typed = given === undefined ? await piped(context) : typedValue(given);
  const { ttl, keepTtl, ifAbsent, ifPresent, ifRevision, type } = options;
  const contentType = type ?? typed.contentType;
  const conditions = { keepTtl, ifAbsent, ifPresent, ifRevision };
  const op = { set: { key: bytes(key), value: typed.bytes, contentType, ttlMs: ttl, ...conditions } };
  const { found, revision } = await run(context, options, op, true);
  const isConditional = ifAbsent === true || ifPresent === true || ifRevision !== undefined;
  if (isConditional && !found) {
    const now = revision === 0 ? 'there is no such key' : `the key has revision ${revision}`;
    throw new CliError(`not set: ${now}`, 'nothing was changed');
  }
  context.show({ key, revision }, () => `${printable(key)} set, revision ${revision}\n`);
}

async function piped(context: Context): Promise<{ bytes: Uint8Array; contentType: string }> {
  if (context.terminal.stdin.isTTY)
    throw usage('the value is missing', 'write it after the key, or pipe it in');
  const content = await readInput(context.terminal.stdin);
  const text = textOf(content);
  const contentType = text === undefined ? 'application/octet-stream' : typedValue(text).contentType;
  return { bytes: content, contentType };
}

async function increment(context: Context, options: KeyspaceOption, key: string, delta: number) {
  const { integer } = await run(context, options, { increment: { key: bytes(key), delta } }, true);
  context.show({ key, value: integer }, () => `${integer}\n`);
}

async function remove(context: Context, options: KeyspaceOption, keys: string[]): Promise<void> {
  const deleted: string[] = [];
  for (const key of keys) {
    const { found } = await run(context, options, { delete: { key: bytes(key) } }, true);
    if (found) deleted.push(key);
  }
  const missing = keys.filter((key) => !deleted.includes(key));
  context.show({ deleted, missing }, () => deleted.map((key) => `${printable(key)} deleted\n`).join(''));
  if (deleted.length === 0) throw noSuchKey(missing.join(', '));
  if (missing.length > 0) context.hint(`no such key: ${missing.join(', ')}`);
}

interface ListOptions extends ReadOptions {
  type?: string;
  limit: number;
}

/** Keys of one answer at most. */
const pageMax = 500;

async function list(context: Context, options: ListOptions, prefix = ''): Promise<void> {
  const { type = '', limit } = options;
  const seen = new Map<string, pb.KvEntry>();
  let cursor: Uint8Array = new Uint8Array();
  let isMore = false;
  do {
    const page = limit === 0 ? pageMax : Math.min(pageMax, limit - seen.size);
    const result = await read(context, options, {
      scan: { prefix: bytes(prefix), cursor, limit: page, type },
    });
    // A scan may return a key twice.
    for (const entry of result.entries) seen.set(Buffer.from(entry.name).toString('latin1'), entry);
    cursor = result.cursor;
    isMore = cursor.length > 0;
  } while (isMore && (limit === 0 || seen.size < limit));
  const keys = [...seen.values()];
  const json = keys.map((entry) => ({ ...member('key', entry.name), type: entry.type }));
  context.show({ keys: json, isComplete: !isMore }, () =>
    keys.length === 0
      ? ''
      : table(
          keys,
          [
            { title: 'KEY', value: ({ name }) => preview(name), flexible: true },
            { title: 'TYPE', value: (row) => row.type },
          ],
          context.terminal,
        ),
  );
  if (keys.length === 0) context.hint(prefix === '' ? 'no keys' : `no keys begin with ${prefix}`);
  if (isMore) context.hint(`more keys than ${count(limit)}; all of them: --limit 0`);
}

async function inspect(context: Context, options: ReadOptions, key: string): Promise<void> {
  const result = await read(context, options, { inspect: { key: bytes(key) } });
  if (!result.found) throw noSuchKey(key);
  const { type, revision, ttlMs, integer } = result;
  const unit = type === 'string' ? 'bytes' : type === 'hash' ? 'fields' : 'members';
  const expires = ttlMs > 0 ? `in ${span(ttlMs)}` : 'never';
  context.show({ key, type, size: integer, revision, ttlMs: ttlMs > 0 ? ttlMs : null }, () =>
    details(
      [
        ['type', type],
        ['size', `${count(integer)} ${unit}`],
        ['revision', String(revision)],
        ['expires', expires],
      ],
      context.terminal,
    ),
  );
}

async function expire(context: Context, options: KeyspaceOption, key: string, ttlMs: number): Promise<void> {
  const { found } = await run(context, options, { expire: { key: bytes(key), ttlMs } }, true);
  if (!found) throw noSuchKey(key);
  const text = ttlMs === 0 ? 'does not expire any more' : `expires in ${span(ttlMs)}`;
  context.show({ key, ttlMs: ttlMs === 0 ? null : ttlMs }, () => `${printable(key)} ${text}\n`);
}

interface CacheOptions extends KeyspaceOption {
  maxBytes?: number;
  evict?: string;
}

async function cache(context: Context, { keyspace, maxBytes, evict }: CacheOptions): Promise<void> {
  const api = await context.api();
  const spec = { name: keyspace, mode: 'cache', maxBytes, eviction: evict, mutation: api.mutation() };
  const made = await api.applyKeyspace(spec);
  const { maxBytes: bound, eviction } = made;
  context.show({ name: keyspace, mode: 'cache', maxBytes: bound, eviction }, () => {
    return `${printable(keyspace)} is a cache of at most ${count(bound)} bytes, eviction ${eviction}\n`;
  });
}

async function keyspaces(context: Context): Promise<void> {
  const api = await context.api();
  const { keyspaces: found } = await api.listKeyspaces({});
  const named = found.map(({ name, keys, mode, maxBytes, eviction, bytes: size, evictedTotal }) => ({
    name: name || 'default',
    keys,
    mode: mode || 'durable',
    ...(mode === 'cache' ? { maxBytes, eviction, bytes: size, evictedTotal } : {}),
  }));
  context.show(named, () =>
    named.length === 0
      ? ''
      : table(
          named,
          [
            { title: 'KEYSPACE', value: ({ name }) => printable(name), flexible: true },
            { title: 'KEYS', value: ({ keys }) => count(keys), align: 'right' },
            { title: 'MODE', value: ({ mode }) => mode },
          ],
          context.terminal,
        ),
  );
  if (named.length === 0) context.hint('no keyspaces yet; the first key makes one');
}
