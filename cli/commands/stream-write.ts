// flowmesh stream write: one record from the command line, or many from a file or pipe with a progress bar.
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { type Command, Option } from 'commander';
import { sendLines } from '../bulk.ts';
import type { Api } from '../client.ts';
import type { Action, Context } from '../context.ts';
import { CliError, usage } from '../failure.ts';
import { header, typedValue, whole } from '../parsing.ts';

export function addWriteCommand(stream: Command, action: Action): void {
  stream
    .command('write <stream> [value]')
    .description('write a record, or one for each line of a file or pipe')
    .option('--key <key>', 'records of one key stay in order')
    .addOption(
      new Option('--key-field <name>', 'of lines that are JSON objects: the field that is the key').conflicts(
        'key',
      ),
    )
    .option('--tombstone', 'no value: the key is deleted; compaction forgets it')
    .option('--partition <n>', 'this partition, whatever the key', whole(0))
    .option('-H, --header <name=value>', 'may be given several times', header)
    .option('--file <file>', 'a record for each line; - is standard input')
    .action(action(write));
}

interface WriteOptions {
  key?: string;
  keyField?: string;
  partition?: number;
  tombstone?: boolean;
  header?: Record<string, string>;
  file?: string;
}

async function write(context: Context, options: WriteOptions, stream: string, value?: string): Promise<void> {
  if (options.tombstone) return writeTombstone(context, options, stream, value);
  if (value !== undefined && options.file !== undefined)
    throw usage('a value and --file', 'give one of the two');
  if (value === undefined && options.file === undefined && context.terminal.stdin.isTTY) {
    throw usage('the value is missing', 'write it after the stream, pipe lines in, or give --file');
  }
  const api = await context.api();
  if (value === undefined) return writeLines(context, api, options, stream);
  const records = [newRecord(value, options, 0)];
  const { offsets } = await api.publish({ stream, records, mutation: api.mutation() });
  const [{ partition, offset } = { partition: 0, offset: 0 }] = offsets;
  context.show({ partition, offset }, () => `partition ${partition}, offset ${offset}\n`);
}

async function writeTombstone(context: Context, options: WriteOptions, stream: string, value?: string) {
  const { key, file, partition } = options;
  if (value !== undefined || file !== undefined) throw usage('a tombstone has no value', 'leave it away');
  if (key === undefined) throw usage('a tombstone needs the key that it deletes', 'give --key');
  const api = await context.api();
  const records = [{ ...newRecord('', options, 0), value: undefined, tombstone: true, partition }];
  const { offsets } = await api.publish({ stream, records, mutation: api.mutation() });
  const [{ partition: at, offset } = { partition: 0, offset: 0 }] = offsets;
  context.show({ partition: at, offset }, () => `partition ${at}, offset ${offset}\n`);
}

function newRecord(text: string, options: WriteOptions, line: number): pb.NewRecordInput {
  const { bytes, contentType } = typedValue(text);
  const key = options.keyField === undefined ? options.key : keyIn(text, options.keyField, line);
  const headers = Object.entries(options.header ?? {}).map(
    ([name, given]) => [name, Buffer.from(given)] as const,
  );
  return {
    value: bytes,
    contentType,
    key: key === undefined ? null : Buffer.from(key),
    partition: options.partition,
    headers: Object.fromEntries(headers),
  };
}

function keyIn(text: string, field: string, line: number): string {
  let value: unknown;
  try {
    value = (JSON.parse(text) as Record<string, unknown> | null)?.[field];
  } catch {
    value = undefined;
  }
  if (typeof value === 'string' || typeof value === 'number') return String(value);
  const where = line === 0 ? 'the value' : `line ${line}`;
  throw new CliError(
    `${where} has no field ${field} that could be a key`,
    'it has to be there, as text or as a number',
  );
}

async function writeLines(context: Context, api: Api, options: WriteOptions, stream: string): Promise<void> {
  await sendLines(context, {
    ...{ file: options.file ?? '-', title: `write ${stream}`, unit: 'record', done: 'written' },
    item: ({ text, number }) => newRecord(text, options, number),
    send: (records) =>
      api.publish({ stream, records, mutation: api.mutation() }, { patient: true, deadlineMs: 60_000 }),
  });
}
