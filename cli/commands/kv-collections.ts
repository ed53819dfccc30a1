// flowmesh kv hget, sadd, zrange and so on: the members of collections.
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { Command } from 'commander';
import type { Action, Context } from '../context.ts';
import { CliError, usage } from '../failure.ts';
import { decimal, whole } from '../parsing.ts';
import { table } from '../table.ts';
import { count, preview, printable, textOf } from '../text.ts';
import { bytes, type KeyspaceOption, noSuchKey, ofMoment, type ReadOptions, read, run } from './kv-run.ts';

export function addCollectionCommands(kv: Command, action: Action): void {
  ofMoment(kv.command('hget <key> <field>').description('one field of a hash')).action(action(hashGet));
  kv.command('hset <key> <pairs...>')
    .usage('[options] <key> <field> <value> [<field> <value> ...]')
    .description('set fields of a hash')
    .action(action(hashSet));
  ofMoment(kv.command('hgetall <key>').description('every field of a hash')).action(action(hashGetAll));
  kv.command('hdel <key> <fields...>').description('remove fields of a hash').action(action(hashDelete));
  kv.command('hincr <key> <field>')
    .argument('[by]', 'how much', decimal, 1)
    .description('add to a field of a hash')
    .action(action(hashIncrement));
  kv.command('sadd <key> <members...>').description('add members to a set').action(action(setAdd));
  kv.command('srem <key> <members...>').description('remove members of a set').action(action(setRemove));
  ofMoment(kv.command('smembers <key>').description('every member of a set')).action(action(setMembers));
  ofMoment(
    kv.command('sismember <key> <member>').description('whether a set has a member: prints 1 or 0'),
  ).action(action(setContains));
  kv.command('zadd <key> <pairs...>')
    .usage('[options] <key> <score> <member> [<score> <member> ...]')
    .description('add members with scores to a sorted set')
    .action(action(sortedAdd));
  kv.command('zrem <key> <members...>')
    .description('remove members of a sorted set')
    .action(action(sortedRemove));
  ofMoment(kv.command('zscore <key> <member>').description('the score of a member of a sorted set')).action(
    action(sortedScore),
  );
  kv.command('zincr <key> <member>')
    .argument('[by]', 'how much', decimal, 1)
    .description('add to the score of a member of a sorted set')
    .action(action(sortedIncrement));
  ofMoment(kv.command('zrange <key>').description('members of a sorted set by score, lowest first'))
    .option('--reverse', 'highest first')
    .option('--min <score>', 'from this score', decimal)
    .option('--max <score>', 'up to this score', decimal)
    .option('--offset <n>', 'skip so many', whole(0), 0)
    .option('--limit <n>', 'so many at most', whole(1, 1000), 100)
    .action(action(sortedRange));
}

const text = (member: Uint8Array): string => Buffer.from(member).toString();

async function hashGet(context: Context, options: ReadOptions, key: string, field: string): Promise<void> {
  const { entries } = await read(context, options, { hashGet: { key: bytes(key), fields: [bytes(field)] } });
  const [entry] = entries;
  if (!entry?.found) throw new CliError(`there is no field ${field} in ${key}`);
  if (context.isJson) return context.show({ key, field, ...member('value', entry.value) }, () => '');
  const { terminal } = context;
  if (!terminal.isTty) return terminal.out(entry.value);
  terminal.out(
    `${textOf(entry.value) === undefined ? preview(entry.value) : printable(text(entry.value), true)}\n`,
  );
}

const base64 = (value: Uint8Array) => ({ base64: Buffer.from(value).toString('base64') });

/** Members have no content type: text where they are text. */
export function member(name: string, value: Uint8Array): Record<string, string> {
  const known = textOf(value);
  return known === undefined
    ? { [`${name}Base64`]: Buffer.from(value).toString('base64') }
    : { [name]: known };
}

function pairsOf(given: string[], names: [string, string]): [string, string][] {
  if (given.length % 2 !== 0) throw usage(`the last ${names[0]} has no ${names[1]}`);
  return Array.from({ length: given.length / 2 }, (_, index) => [
    given[2 * index] ?? '',
    given[2 * index + 1] ?? '',
  ]);
}

async function hashSet(
  context: Context,
  options: KeyspaceOption,
  key: string,
  given: string[],
): Promise<void> {
  const fields = pairsOf(given, ['field', 'value']).map(([field, value]) => ({
    field: bytes(field),
    value: bytes(value),
  }));
  const { integer } = await run(context, options, { hashSet: { key: bytes(key), fields } }, true);
  const set = fields.length;
  context.show({ key, set, added: integer }, () => `${count(set)} set, ${count(integer)} of them new\n`);
}

/** Every page of a scan. */
async function scanAll(
  context: Context,
  options: ReadOptions,
  op: (cursor: Uint8Array) => pb.KvOpInput,
): Promise<pb.KvEntry[]> {
  // A scan may return an entry twice.
  const seen = new Map<string, pb.KvEntry>();
  let cursor: Uint8Array = new Uint8Array();
  do {
    const result = await read(context, options, op(cursor));
    for (const entry of result.entries) seen.set(Buffer.from(entry.name).toString('latin1'), entry);
    cursor = result.cursor;
  } while (cursor.length > 0);
  return [...seen.values()];
}

async function hashGetAll(context: Context, options: ReadOptions, key: string): Promise<void> {
  const scan = (cursor: Uint8Array) => ({ hashScan: { key: bytes(key), cursor, limit: 500 } });
  const entries = await scanAll(context, options, scan);
  if (entries.length === 0) throw noSuchKey(key);
  const fields = Object.fromEntries(
    entries.map(({ name, value }) => [text(name), textOf(value) ?? base64(value)]),
  );
  context.show({ key, fields }, () =>
    table(
      entries,
      [
        { title: 'FIELD', value: ({ name }) => preview(name), flexible: true },
        { title: 'VALUE', value: ({ value }) => preview(value), flexible: true },
      ],
      context.terminal,
    ),
  );
}

async function hashDelete(
  context: Context,
  options: KeyspaceOption,
  key: string,
  given: string[],
): Promise<void> {
  const fields = given.map(bytes);
  const { integer } = await run(context, options, { hashDelete: { key: bytes(key), fields } }, true);
  context.show({ key, removed: integer }, () => `${count(integer)} removed\n`);
}

async function hashIncrement(
  context: Context,
  options: KeyspaceOption,
  key: string,
  field: string,
  amount: number,
): Promise<void> {
  const delta = Number.isSafeInteger(amount) ? { integer: amount } : { number: amount };
  const op = { hashIncrement: { key: bytes(key), field: bytes(field), ...delta } };
  const { integer, number } = await run(context, options, op, true);
  const value = 'integer' in delta ? integer : number;
  context.show({ key, field, value }, () => `${value}\n`);
}

async function setAdd(
  context: Context,
  options: KeyspaceOption,
  key: string,
  given: string[],
): Promise<void> {
  const op = { setAdd: { key: bytes(key), members: given.map(bytes) } };
  const { integer } = await run(context, options, op, true);
  context.show({ key, added: integer }, () => `${count(integer)} added\n`);
}

async function setRemove(
  context: Context,
  options: KeyspaceOption,
  key: string,
  given: string[],
): Promise<void> {
  const op = { setRemove: { key: bytes(key), members: given.map(bytes) } };
  const { integer } = await run(context, options, op, true);
  context.show({ key, removed: integer }, () => `${count(integer)} removed\n`);
}

async function setMembers(context: Context, options: ReadOptions, key: string): Promise<void> {
  const scan = (cursor: Uint8Array) => ({ setScan: { key: bytes(key), cursor, limit: 500 } });
  const entries = await scanAll(context, options, scan);
  if (entries.length === 0) throw noSuchKey(key);
  const members = entries.map(({ name }) => textOf(name) ?? base64(name));
  context.show({ key, members }, () => entries.map(({ name }) => `${preview(name)}\n`).join(''));
}

async function setContains(context: Context, options: ReadOptions, key: string, name: string): Promise<void> {
  const op = { setContains: { key: bytes(key), members: [bytes(name)] } };
  const { entries } = await read(context, options, op);
  const isMember = entries[0]?.found === true;
  context.show({ key, member: name, isMember }, () => `${isMember ? 1 : 0}\n`);
}

async function sortedAdd(
  context: Context,
  options: KeyspaceOption,
  key: string,
  given: string[],
): Promise<void> {
  const members = pairsOf(given, ['score', 'member']).map(([score, name]) => {
    const value = Number(score);
    if (score.trim() === '' || Number.isNaN(value))
      throw usage(`${score} is not a score`, 'scores come first: zadd key 1 a');
    return { member: bytes(name), score: value };
  });
  const { integer } = await run(context, options, { sortedSetAdd: { key: bytes(key), members } }, true);
  context.show({ key, added: integer }, () => `${count(integer)} added\n`);
}

async function sortedRemove(
  context: Context,
  options: KeyspaceOption,
  key: string,
  given: string[],
): Promise<void> {
  const op = { sortedSetRemove: { key: bytes(key), members: given.map(bytes) } };
  const { integer } = await run(context, options, op, true);
  context.show({ key, removed: integer }, () => `${count(integer)} removed\n`);
}

async function sortedScore(context: Context, options: ReadOptions, key: string, name: string): Promise<void> {
  const op = { sortedSetScore: { key: bytes(key), members: [bytes(name)] } };
  const { entries } = await read(context, options, op);
  const [entry] = entries;
  if (!entry?.found) throw new CliError(`there is no member ${name} in ${key}`);
  context.show({ key, member: name, score: entry.score }, () => `${entry.score}\n`);
}

async function sortedIncrement(
  context: Context,
  options: KeyspaceOption,
  key: string,
  name: string,
  delta: number,
): Promise<void> {
  const op = { sortedSetIncrement: { key: bytes(key), member: bytes(name), delta } };
  const { number } = await run(context, options, op, true);
  context.show({ key, member: name, score: number }, () => `${number}\n`);
}

interface RangeOptions extends ReadOptions {
  reverse?: boolean;
  min?: number;
  max?: number;
  offset: number;
  limit: number;
}

async function sortedRange(context: Context, options: RangeOptions, key: string): Promise<void> {
  const { reverse = false, min, max, offset, limit } = options;
  const range = { key: bytes(key), reverse, minScore: min, maxScore: max, offset, limit };
  const { entries } = await read(context, options, { sortedSetRange: range });
  const members = entries.map(({ name, score }) => ({ ...member('member', name), score }));
  context.show({ key, members }, () =>
    entries.length === 0
      ? ''
      : table(
          entries,
          [
            { title: 'SCORE', value: ({ score }) => String(score), align: 'right' },
            { title: 'MEMBER', value: ({ name }) => preview(name), flexible: true },
          ],
          context.terminal,
        ),
  );
  if (entries.length === 0) context.hint('no members in this range');
}
