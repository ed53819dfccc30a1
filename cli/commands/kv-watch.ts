// flowmesh kv watch: changes of keys as they come, one line each.
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { type Command, Option } from 'commander';
import type { Action, Context } from '../context.ts';
import { usage } from '../failure.ts';
import { jsonField, plain } from '../json.ts';
import { timestamp } from '../parsing.ts';
import { clip, clock, preview, width } from '../text.ts';
import type { KeyspaceOption } from './kv-run.ts';

export function addWatchCommand(kv: Command, action: Action): void {
  kv.command('watch [prefix]')
    .description('print every change of keys as it comes, until Ctrl-C')
    .option('--key <key>', 'of this key only')
    .addOption(
      new Option(
        '--time <time>',
        'begin with changes since: 2026-01-31T12:00:00Z, or how long ago: 15m',
      ).argParser(timestamp),
    )
    .addOption(new Option('--cursor <cursor>', 'go on behind a change (see -o json)').conflicts('time'))
    .action(action(watch));
}

interface WatchOptions extends KeyspaceOption {
  key?: string;
  time?: (nowMs: number) => number;
  cursor?: string;
}

async function watch(context: Context, options: WatchOptions, prefix?: string): Promise<void> {
  const { key, time, cursor, keyspace } = options;
  if (key !== undefined && prefix !== undefined)
    throw usage('a prefix and --key exclude each other', 'give one of them, or none for the whole keyspace');
  const request = {
    keyspace: keyspace === 'default' ? '' : keyspace,
    key: key === undefined ? undefined : Buffer.from(key),
    prefix: prefix === undefined ? undefined : Buffer.from(prefix),
    fromTimeMs: time?.(context.terminal.nowMs()),
    cursor,
  };
  const api = await context.api();
  const signal = context.terminal.interrupted();
  let isFirst = true;
  for await (const { changes } of api.watch(request, signal)) {
    if (isFirst) context.hint(`watching ${key ?? (prefix ? `${prefix}*` : keyspace)}, Ctrl-C to stop`);
    isFirst = false;
    for (const change of changes) context.showLine(changeJson(change), () => changeLine(change, context));
  }
}

function changeJson(change: pb.KvChange): Record<string, unknown> {
  const { key, value, contentType, members, ...more } = plain(change) as Record<string, unknown>;
  const isString = change.reason === 'set' && change.type === 'string';
  return {
    ...jsonField('key', change.key, 'text/plain'),
    ...more,
    ...(isString ? { ...jsonField('value', change.value, change.contentType), contentType } : { members }),
  };
}

/** `12:00:01.123  set     key  value`. */
function changeLine(change: pb.KvChange, { terminal }: Context): string {
  const { dim, cyan, bold } = terminal.colors;
  const at = clock(change.timeMs, terminal.nowMs());
  const head = `${change.reason.padEnd(6)}  `;
  const key = preview(change.key);
  const what = whatOf(change);
  const room = terminal.isTty ? Math.max(10, terminal.columns() - width(`${at}  ${head}${key}  `)) : Infinity;
  return `${dim(at)}  ${cyan(head)}${bold(key)}${what === '' ? '' : `  ${clip(what, room)}`}\n`;
}

function whatOf({ reason, type, value, members }: pb.KvChange): string {
  if (reason !== 'set') return '';
  if (type === 'string') return preview(value);
  const named = members.map(({ name, found }) => `${found ? '+' : '-'}${preview(name)}`);
  return `${type} ${named.join(' ')}`.trimEnd();
}
