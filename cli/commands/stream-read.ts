// flowmesh stream read and tail: records on the screen, without a consumer group and without a trace.
import { decodeBatch, readHead } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { type Command, Option } from 'commander';
import type { Api } from '../client.ts';
import type { Action, Context } from '../context.ts';
import { usage } from '../failure.ts';
import { jsonField, plain } from '../json.ts';
import { timestamp, whole } from '../parsing.ts';
import { clip, clock, count, preview, width } from '../text.ts';

export function addReadCommands(stream: Command, action: Action): void {
  stream
    .command('read <stream>')
    .description('print records from the beginning, an offset or a time')
    .option('--partition <n>', 'this partition only', whole(0))
    .option('--offset <n>', 'from this offset', whole(0))
    .addOption(
      new Option(
        '--time <time>',
        'from the first record at or after: 2026-01-31T12:00:00Z, or how long ago: 15m',
      )
        .argParser(timestamp)
        .conflicts('offset'),
    )
    .option('--limit <n>', 'records at most of each partition', whole(1), 100)
    .action(action(read));
  stream
    .command('tail <stream>')
    .description('print the newest records')
    .option('--partition <n>', 'this partition only', whole(0))
    .option('-n, --lines <n>', 'records of each partition', whole(0, 10_000), 10)
    .option('-f, --follow', 'and those that come, until Ctrl-C')
    .action(action(tail));
}

interface Shown {
  partition: number;
  offset: number;
  timestamp: number;
  key: Uint8Array;
  /** null: the key was deleted. */
  value: Uint8Array | null;
  contentType: string;
  headers: [name: string, value: Uint8Array][];
  envelope: unknown;
}

interface ReadOptions {
  partition?: number;
  offset?: number;
  time?: (nowMs: number) => number;
  limit: number;
}

/** Records of one answer. */
const pageMax = 1000;

async function partitionsOf(
  api: Api,
  stream: string,
  only: number | undefined,
): Promise<pb.PartitionFigures[]> {
  const { partitions } = await api.getStream({ name: stream });
  if (only === undefined) return partitions;
  const found = partitions.filter(({ partition }) => partition === only);
  if (found.length > 0) return found;
  throw usage(`${stream} has no partition ${only}`, `its partitions are 0 to ${partitions.length - 1}`);
}

async function read(context: Context, options: ReadOptions, stream: string): Promise<void> {
  const { partition, offset, time, limit } = options;
  const from = time?.(context.terminal.nowMs());
  const api = await context.api();
  const partitions = await partitionsOf(api, stream, partition);
  const pages = partitions.map((figures) => {
    const start =
      from === undefined ? { offset: Math.max(offset ?? 0, figures.logStart) } : { timestampMs: from };
    return readPartition(api, { stream, partition: figures.partition, limit, start });
  });
  const found = await Promise.all(pages);
  const records = found.flat().sort(byTime);
  for (const record of records) showRecord(context, record);
  if (records.length === 0) context.hint(`no records in ${stream} from there`);
  const isMore = found.some((page, index) => {
    const next = (page.at(-1)?.offset ?? 0) + 1;
    return page.length === limit && next < (partitions[index]?.end ?? 0);
  });
  if (isMore) context.hint(`${count(limit)} records of each partition at most; see --limit`);
}

const byTime = (a: Shown, b: Shown) =>
  a.timestamp - b.timestamp || a.partition - b.partition || a.offset - b.offset;

interface PartitionRead {
  stream: string;
  partition: number;
  limit: number;
  start: { offset: number } | { timestampMs: number };
}

async function readPartition(api: Api, { stream, partition, limit, start }: PartitionRead): Promise<Shown[]> {
  const records: Shown[] = [];
  let from: PartitionRead['start'] = start;
  while (records.length < limit) {
    const max = Math.min(pageMax, limit - records.length);
    const page = await api.read({ stream, partition, max, ...from });
    for (const record of page.records) records.push(shown(record));
    if (page.records.length === 0 || page.nextOffset >= page.endOffset) break;
    from = { offset: page.nextOffset };
  }
  return records;
}

const shown = (record: pb.Record): Shown => ({
  partition: record.partition,
  offset: record.offset,
  timestamp: record.timestampMs,
  key: record.key,
  value: record.tombstone ? null : record.value,
  contentType: record.contentType,
  headers: Object.entries(record.headers),
  envelope: record.envelope,
});

interface TailOptions {
  partition?: number;
  lines: number;
  follow?: boolean;
}

async function tail(
  context: Context,
  { partition, lines, follow }: TailOptions,
  stream: string,
): Promise<void> {
  const api = await context.api();
  const partitions = await partitionsOf(api, stream, partition);
  const last = partitions.map(({ partition: number, end, logStart }) => {
    const start = { offset: Math.max(logStart, end - lines) };
    return lines === 0 ? [] : readPartition(api, { stream, partition: number, limit: lines, start });
  });
  const records = (await Promise.all(last)).flat().sort(byTime);
  for (const record of records) showRecord(context, record);
  if (!follow) return;
  const signal = context.terminal.interrupted();
  // Each partition goes on behind what was shown of it, whatever arrived in between.
  const next = new Map(partitions.map(({ partition: number, end }) => [number, end]));
  for (const { partition: number, offset } of records)
    next.set(number, Math.max(next.get(number) ?? 0, offset + 1));
  context.hint(`following ${stream}, Ctrl-C to stop`);
  await Promise.all(
    [...next].map(async ([number, offset]) => {
      for await (const chunk of api.follow({ stream, partition: number, offset }, signal)) {
        for (const record of recordsOf(chunk)) {
          // A chunk may begin before the offset that was asked for.
          if (record.offset >= offset) showRecord(context, record);
        }
      }
    }),
  );
}

function* recordsOf({ partition, batches }: pb.RecordChunk): Generator<Shown> {
  const bytes = Buffer.from(batches.buffer, batches.byteOffset, batches.byteLength);
  for (let at = 0; at < bytes.length; at += readHead(bytes, at).length) {
    for (const record of decodeBatch(bytes, at)) {
      yield {
        partition,
        offset: record.offset,
        timestamp: record.appendTimeMs,
        key: record.key ?? new Uint8Array(),
        value: record.value,
        contentType: record.contentType,
        headers: [...(record.headers ?? [])],
        envelope: record.envelope ?? null,
      };
    }
  }
}

function showRecord(context: Context, record: Shown): void {
  context.showLine(recordJson(record), () => recordLine(record, context));
}

function recordJson({
  partition,
  offset,
  timestamp: time,
  key,
  value,
  contentType,
  headers,
  envelope,
}: Shown) {
  return {
    partition,
    offset,
    timestamp: time,
    ...(key.length > 0 ? jsonField('key', key, 'text/plain') : { key: null }),
    ...(value === null
      ? { value: null, tombstone: true }
      : { ...jsonField('value', value, contentType), contentType }),
    headers: plain(Object.fromEntries(headers)),
    envelope: plain(envelope),
  };
}

/** What a key takes of a terminal's line at most. */
const keyColumns = 24;

/** `12:00:01.123  3:1042  key  value`. */
function recordLine(
  { partition, offset, timestamp: time, key, value }: Shown,
  { terminal }: Context,
): string {
  const { dim, cyan, bold } = terminal.colors;
  const at = clock(time, terminal.nowMs());
  const place = `${partition}:${offset}`.padEnd(8);
  const shownKey = key.length === 0 ? '-' : preview(key);
  const name = `${terminal.isTty ? clip(shownKey, keyColumns) : shownKey}  `;
  const room = terminal.isTty
    ? Math.max(10, terminal.columns() - width(`${at}  ${place}  ${name}`))
    : Infinity;
  const text = value === null ? dim('(deleted)') : clip(preview(value), room);
  return `${dim(at)}  ${cyan(place)}  ${bold(name)}${text}\n`;
}
