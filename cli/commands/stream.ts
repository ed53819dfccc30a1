// flowmesh stream: what streams there are, and who reads them. Their records are in records.ts.
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { formatDuration, formatSize } from '../../crds/values.ts';
import type { Action, Context } from '../context.ts';
import { usage } from '../failure.ts';
import { plain, plainWithout } from '../json.ts';
import { duration, durationOrNone, schemaRef, size, timestamp, whole } from '../parsing.ts';
import { confirm } from '../prompt.ts';
import { details, table } from '../table.ts';
import { count, counted, dataSize, perSecond, printable, relative, span, workersText } from '../text.ts';
import { addRecordEffects } from './effects.ts';
import { addDisownCommand, ownerJson, ownerText } from './owner.ts';
import { schemaText } from './schema.ts';
import { addReadCommands } from './stream-read.ts';
import { addWriteCommand } from './stream-write.ts';

export function addStreamCommands(program: Command, action: Action): void {
  const stream = program.command('stream').description('event streams and their consumer groups');
  stream.command('ls').description('list streams').action(action(list));
  stream.command('get <stream>').description('settings and partitions of a stream').action(action(get));
  stream
    .command('declare <stream>')
    .description('create a stream or change its settings; unset ones take the defaults')
    .option('--partitions <n>', 'parts that are read side by side; can grow, not shrink (4)', whole(1, 1024))
    .option('--retention <duration>', 'how long records are kept (7d)', duration)
    .option('--retention-size <size>', 'bytes of one partition at most (no limit)', size)
    .addOption(
      new Option(
        '--cleanup <policy>',
        'what goes: by retention, by key (the last of each stays), or both',
      ).choices(['delete', 'compact', 'both']),
    )
    .option('--schema <schema>', 'what values must match: order, or order@2 for that version', schemaRef)
    .option('--min-compaction-lag <duration>', 'compaction leaves younger records alone (0)', durationOrNone)
    .option('--tombstone-retention <duration>', 'how long a deleted key can be seen to be (24h)', duration)
    .action(action(declare));
  addWriteCommand(stream, action);
  addReadCommands(stream, action);
  addRecordEffects(stream, action);
  stream.command('groups <stream>').description('list consumer groups').action(action(groups));
  stream.command('group <stream> <group>').description('where a group stands').action(action(group));
  stream
    .command('seek <stream> <group>')
    .description('move a group; its consumers go on from there')
    .option('--to <position>', 'earliest, latest or an offset', position)
    .addOption(
      new Option('--time <time>', 'the first record at or after: 2026-01-31T12:00:00Z, or how long ago: 15m')
        .argParser(timestamp)
        .conflicts('to'),
    )
    .option('--partition <n>', 'this partition only', whole(0))
    .action(action(seek));
  stream
    .command('delete <stream>')
    .description('remove a stream with its records')
    .option('-y, --yes', 'do not ask')
    .action(action(remove));
  addDisownCommand(stream, action, 'stream');
}

const recordsOf = (stream: pb.Stream) =>
  stream.partitions.reduce((sum, { end, logStart }) => sum + end - logStart, 0);
const bytesOf = (stream: pb.Stream) => stream.partitions.reduce((sum, { bytes }) => sum + bytes, 0);

const streamJson = ({ spec, partitions, createdAtMs, ...of }: pb.Stream) => ({
  ...plainWithout(spec ?? {}, 'mutation'),
  createdAtMs,
  ...ownerJson(of),
  partitions: plain(partitions),
});

async function list(context: Context): Promise<void> {
  const api = await context.api();
  const { streams } = await api.listStreams({});
  streams.sort((a, b) => ((a.spec?.name ?? '') < (b.spec?.name ?? '') ? -1 : 1));
  context.show(streams.map(streamJson), () =>
    streams.length === 0
      ? ''
      : table(
          streams,
          [
            { title: 'STREAM', value: ({ spec }) => printable(spec?.name ?? ''), flexible: true },
            { title: 'PARTITIONS', value: ({ partitions }) => count(partitions.length), align: 'right' },
            { title: 'RECORDS', value: (row) => count(recordsOf(row)), align: 'right' },
            { title: 'SIZE', value: (row) => dataSize(bytesOf(row)), align: 'right' },
            { title: 'KEPT', value: ({ spec }) => keptShort(spec), align: 'right' },
          ],
          context.terminal,
        ),
  );
  if (streams.length === 0)
    context.hint('no streams yet; declare one: flowmesh stream declare orders.events');
}

async function get(context: Context, _: unknown, name: string): Promise<void> {
  const api = await context.api();
  const stream = await api.getStream({ name });
  context.show(streamJson(stream), () => streamDetails(stream, context));
}

function streamDetails(stream: pb.Stream, { terminal }: Context): string {
  const { spec, partitions } = stream;
  const sizeLimit = spec?.retentionBytes ? `, ${formatSize(spec.retentionBytes)} a partition` : '';
  const head = details(
    [
      ['stream', printable(spec?.name ?? '')],
      ['owner', ownerText(stream)],
      ['records', `${count(recordsOf(stream))} in ${dataSize(bytesOf(stream))}`],
      ['schema', schemaText(spec?.schemaRef)],
      ['kept', keptText(spec, formatDuration(spec?.retentionMs ?? 0) + sizeLimit)],
    ],
    terminal,
  );
  const rows = table(
    partitions,
    [
      { title: 'PARTITION', value: ({ partition }) => String(partition), align: 'right' },
      { title: 'FIRST', value: ({ logStart }) => String(logStart), align: 'right' },
      { title: 'NEXT', value: ({ end }) => String(end), align: 'right' },
      { title: 'RECORDS', value: ({ end, logStart }) => count(end - logStart), align: 'right' },
      { title: 'SIZE', value: ({ bytes }) => dataSize(bytes), align: 'right' },
      { title: 'SHARD', value: ({ shard }) => String(shard), align: 'right' },
    ],
    terminal,
  );
  return `${head}\n${rows}`;
}

function keptShort(spec: pb.StreamSpec | null): string {
  const retention = formatDuration(spec?.retentionMs ?? 0);
  if (spec?.cleanup === 'compact') return 'by key';
  return spec?.cleanup === 'both' ? `by key, ${retention}` : retention;
}

function keptText(spec: pb.StreamSpec | null, retention: string): string {
  if (spec === null || spec.cleanup === '' || spec.cleanup === 'delete') return retention;
  const last = 'the last record of each key';
  const tombstones = `tombstones ${formatDuration(spec.tombstoneRetentionMs)}`;
  return spec.cleanup === 'both' ? `${last} within ${retention}; ${tombstones}` : `${last}; ${tombstones}`;
}

interface DeclareOptions {
  schema?: pb.SchemaRefInput;
  partitions?: number;
  retention?: number;
  retentionSize?: number;
  cleanup?: string;
  minCompactionLag?: number;
  tombstoneRetention?: number;
}

async function declare(context: Context, options: DeclareOptions, name: string): Promise<void> {
  const api = await context.api();
  const { partitions, retention: retentionMs, retentionSize: retentionBytes } = options;
  const stream = await api.applyStream({
    name,
    partitions,
    retentionMs,
    retentionBytes,
    cleanup: options.cleanup,
    schemaRef: options.schema,
    minCompactionLagMs: options.minCompactionLag,
    tombstoneRetentionMs: options.tombstoneRetention,
    mutation: api.mutation(),
  });
  context.show(streamJson(stream), () => streamDetails(stream, context));
}

function stateText(state: string, { terminal }: Context): string {
  const { green, yellow, dim } = terminal.colors;
  if (state === 'stable') return green(state);
  return state === 'empty' ? dim(state) : yellow(state);
}

/** `empty 2h 10m`: for how long. */
function stateWords({ state, idleSinceMs }: pb.Group, { terminal }: Context): string {
  return idleSinceMs === 0 ? state : `${state} ${span(terminal.nowMs() - idleSinceMs)}`;
}

async function groups(context: Context, _: unknown, stream: string): Promise<void> {
  const api = await context.api();
  const { groups: found } = await api.listGroups({ stream });
  found.sort((a, b) => (a.group < b.group ? -1 : 1));
  context.show(plain(found), () =>
    found.length === 0
      ? ''
      : table(
          found,
          [
            { title: 'GROUP', value: (row) => printable(row.group), flexible: true },
            {
              title: 'STATE',
              value: (row) => stateWords(row, context),
              paint: (text) => text.replace(/\S+/, (state) => stateText(state, context)),
            },
            {
              title: 'BUSY',
              value: ({ members, figures }) =>
                workersText({ workers: members.length, busyWorkers: figures?.busyWorkers ?? 0 }),
              align: 'right',
            },
            ...(found.some(({ figures }) => wantedOf(figures) !== null)
              ? [
                  {
                    title: 'WANTED',
                    value: ({ figures }: pb.Group) => String(wantedOf(figures) ?? '-'),
                    align: 'right' as const,
                  },
                ]
              : []),
            { title: 'LAG', value: ({ lag }) => count(lag), align: 'right' },
            {
              title: 'OLDEST',
              value: ({ figures }) =>
                relative(figures?.oldestUncommittedAtMs ?? 0, context.terminal.nowMs()).replace(' ago', ''),
              align: 'right',
            },
            {
              title: 'COMMITTED',
              value: ({ committedAtMs }) => relative(committedAtMs, context.terminal.nowMs()),
              align: 'right',
            },
          ],
          context.terminal,
        ),
  );
  if (found.some(({ state }) => state === 'idle')) {
    context.hint('idle: no members for a week. Offsets are kept; nothing expires by itself');
  }
  if (found.length === 0) context.hint(`nobody reads ${stream} yet`);
}

const wantedOf = (figures: pb.GroupSummary | null) => figures?.workersWanted ?? null;

/** What is written and committed, and how many members that takes. */
function figuresText(figures: pb.GroupSummary | null): [string, string][] {
  if (figures === null) return [];
  const { arrivalsPerSecond, completionsPerSecond, processingMs, busyWorkers, workersWanted } = figures;
  const handling = processingMs > 0 ? `, ${span(processingMs)} each` : '';
  const wanted = workersWanted === null ? '' : `, ${count(workersWanted)} wanted (flowmesh scaling says why)`;
  return [
    ['traffic', `${perSecond(arrivalsPerSecond)} in, ${perSecond(completionsPerSecond)} done${handling}`],
    ['busy', `${counted(busyWorkers, 'member')}${wanted}`],
  ];
}

async function group(context: Context, _: unknown, stream: string, name: string): Promise<void> {
  const api = await context.api();
  const found = await api.getGroup({ stream, group: name });
  context.show(plain(found), () => groupDetails(found, context));
}

function groupDetails(found: pb.Group, context: Context): string {
  const { terminal } = context;
  const clients = new Map(found.members.map(({ memberId, client }) => [memberId, client || memberId]));
  const head = details(
    [
      ['group', `${printable(found.group)} of ${printable(found.stream)}`],
      ['state', `${stateText(found.state, context)}, ${counted(found.members.length, 'member')}`],
      ['lag', counted(found.lag, 'record')],
      ...figuresText(found.figures),
      ['committed', relative(found.committedAtMs, terminal.nowMs())],
      ...(found.idleSinceMs === 0
        ? []
        : [['nobody since', relative(found.idleSinceMs, terminal.nowMs())] as [string, string]]),
    ],
    terminal,
  );
  const rows = table(
    found.partitions,
    [
      { title: 'PARTITION', value: ({ partition }) => String(partition), align: 'right' },
      { title: 'COMMITTED', value: ({ committed }) => String(committed), align: 'right' },
      { title: 'END', value: ({ end }) => String(end), align: 'right' },
      { title: 'LAG', value: ({ lag }) => count(lag), align: 'right' },
      {
        title: 'WHEN',
        value: ({ committedAtMs }) => relative(committedAtMs, terminal.nowMs()),
        align: 'right',
      },
      {
        title: 'MEMBER',
        value: ({ memberId }) => printable(clients.get(memberId) ?? memberId) || '-',
        flexible: true,
      },
    ],
    terminal,
  );
  return `${head}\n${rows}`;
}

type Position = { position: string } | { offset: number };

function position(to: string): Position {
  if (to === 'earliest' || to === 'latest') return { position: to };
  if (/^[0-9]{1,15}$/.test(to)) return { offset: Number(to) };
  throw new InvalidArgumentError('Write earliest, latest or an offset.');
}

interface SeekOptions {
  to?: Position;
  time?: (nowMs: number) => number;
  partition?: number;
}

async function seek(context: Context, { to, time, partition }: SeekOptions, stream: string, name: string) {
  const target = time ? { timestampMs: time(context.terminal.nowMs()) } : to;
  if (target === undefined)
    throw usage('say where to', '--to earliest, --to latest, --to 1042 or --time 15m');
  const api = await context.api();
  const { partitions } = await api.seek({
    stream,
    group: name,
    partition,
    ...target,
    mutation: api.mutation(),
  });
  const moved = partitions.map(({ partition: number, committed, lag }) => ({
    partition: number,
    committed,
    lag,
  }));
  context.show({ stream, group: name, partitions: moved }, () =>
    table(
      partitions,
      [
        { title: 'PARTITION', value: (row) => String(row.partition), align: 'right' },
        { title: 'NEXT', value: ({ committed }) => String(committed), align: 'right' },
        { title: 'LAG', value: ({ lag }) => count(lag), align: 'right' },
      ],
      context.terminal,
    ),
  );
}

async function remove(context: Context, { yes }: { yes?: boolean }, name: string): Promise<void> {
  const api = await context.api();
  const records = recordsOf(await api.getStream({ name }));
  await confirm(context.terminal, `Delete ${name} with its ${counted(records, 'record')}?`, yes);
  await api.deleteStream({ name, mutation: api.mutation() });
  context.show({ deleted: name }, () => `${printable(name)} deleted\n`);
}
